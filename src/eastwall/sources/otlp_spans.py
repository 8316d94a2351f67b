"""Spans out of OTLP: protobuf and JSON, as receivers get them and as the collector's file exporter writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from eastwall.sources.observed import SourceError

SERVER, CLIENT = 2, 3
"""`Span.kind` of the two ends of a call."""


class Span(Struct):
    """What is read of a span."""

    service: str
    """`service.name` of its resource."""
    trace: str
    """Hex digits."""
    id: str
    parent: str
    kind: int
    start: float
    """Unix seconds."""
    end: float
    attributes: Mapping[str, Any]


def spans_of(request: Any) -> Iterator[Span]:
    """Spans of an `ExportTraceServiceRequest` or `TracesData`."""
    for resource in request.resource_spans:
        service = next((a.value.string_value for a in resource.resource.attributes if a.key == "service.name"), "")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    service,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.kind,
                    span.start_time_unix_nano / 1e9,
                    span.end_time_unix_nano / 1e9,
                    {a.key: _any(a.value) for a in span.attributes},
                )


def _any(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_any(v) for v in value.array_value.values]
    if kind is None or kind == "kvlist_value":
        return None
    return getattr(value, kind)


class _Attribute(Struct):
    key: str
    value: dict[str, Any] = {}


class _Resource(Struct):
    attributes: list[_Attribute] = []


class _JsonSpan(Struct):
    trace: str = msgspec.field(name="traceId", default="")
    id: str = msgspec.field(name="spanId", default="")
    parent: str = msgspec.field(name="parentSpanId", default="")
    kind: int | str = 0
    start: int | str = msgspec.field(name="startTimeUnixNano", default=0)
    end: int | str = msgspec.field(name="endTimeUnixNano", default=0)
    attributes: list[_Attribute] = []


class _Scope(Struct):
    spans: list[_JsonSpan] = []


class _ResourceSpans(Struct):
    resource: _Resource = msgspec.field(default_factory=_Resource)
    scopes: list[_Scope] = msgspec.field(name="scopeSpans", default_factory=list)


class _Traces(Struct):
    resources: list[_ResourceSpans] = msgspec.field(name="resourceSpans", default_factory=list)


_DECODER = msgspec.json.Decoder(_Traces)
_KINDS = {"SPAN_KIND_SERVER": SERVER, "SPAN_KIND_CLIENT": CLIENT}


def spans_of_json(data: bytes) -> list[Span]:
    """Spans of the JSON form (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding). Raises ValueError."""
    try:
        found = _DECODER.decode(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    spans = []
    for resource in found.resources:
        service = next((str(_json_any(a.value)) for a in resource.resource.attributes if a.key == "service.name"), "")
        for scope in resource.scopes:
            for span in scope.spans:
                kind = _KINDS.get(span.kind, 0) if isinstance(span.kind, str) else span.kind
                attributes = {a.key: _json_any(a.value) for a in span.attributes}
                ids = (span.trace.lower(), span.id.lower(), span.parent.lower())
                spans.append(Span(service, *ids, kind, _nano(span.start), _nano(span.end), attributes))
    return spans


def _nano(given: int | str) -> float:
    if isinstance(given, str):
        given = int(given) if given.isdigit() and len(given) < 22 else 0
    return given / 1e9


def _json_any(value: Mapping[str, Any]) -> Any:
    for kind, inner in value.items():
        if kind == "intValue":
            return int(inner) if isinstance(inner, int) or (isinstance(inner, str) and inner.lstrip("-").isdigit()) else None
        if kind == "arrayValue" and isinstance(inner, dict):
            return [_json_any(v) for v in inner.get("values") or () if isinstance(v, dict)]
        if kind in ("stringValue", "boolValue", "doubleValue"):
            return inner
    return None


def traces_from_bytes(name: str) -> Any:
    """The protobuf decoder of an export request; raises ValueError on bad bytes. Raises SourceError when the package is not there."""
    try:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ImportError as error:
        raise SourceError(f"{name}: OTLP in protobuf needs the package `{error.name}`: install eastwall[all]") from None

    def decode(data: bytes) -> Any:
        try:
            return ExportTraceServiceRequest.FromString(data)
        except DecodeError as error:
            raise ValueError(str(error)) from None

    return decode
