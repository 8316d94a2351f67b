"""Refusals of Envoy's own: `NativeRule`s as routes that answer directly, before any filter of ours. Pure.

A refused call reaches neither the engine nor the service. The route's answer is the engine's own, with an event id that Envoy makes (time and
a random UUID); an access log of these calls alone has a line for each, of which control makes the record. The RBAC filter counts them under the policy's
name. Its rules are shadow rules: they decide nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from eastwall.model.native import NativeRefusal, NativeRule

_CORE: Final = "type.googleapis.com/envoy."
_RBAC: Final = "envoy.filters.http.rbac"
_RBAC_TYPE: Final = _CORE + "extensions.filters.http.rbac.v3."
_ANY: Final = {"permissions": [{"any": True}], "principals": [{"any": True}]}
COUNTERS: Final = re.compile(r"^http\..*\.rbac\.policy\.(?P<service>[^/]+)/(?P<policy>.+)\.shadow_denied$")
"""Names of the counters."""
COUNTER_FILTER: Final = r"\.rbac\.policy\..*\.shadow_denied$"
"""The same for Envoy's admin interface."""
LOG: Final = "refused.jsonl"
"""The access log, in the run directory."""
FLUSH_MS: Final = 100
"""How long a line of it may wait in Envoy's memory."""
EVENT_HEADER: Final = "x-eastwall-event-id"
MAX_LOGGED: Final = 4_000
"""Bytes of a path that the log keeps."""
_META: Final = "eastwall"
_ANSWERED: Final[dict[str, Any]] = {
    "extension_filter": {
        "name": "envoy.access_loggers.extension_filters.cel",
        "typed_config": {
            "@type": _CORE + "extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            "expression": "response.code_details == 'direct_response'",
        },
    }
}
_LARGEST: Final = (1 << 63) - 1
RUNTIME: Final[dict[str, Any]] = {
    "layers": [
        {"name": "eastwall", "static_layer": {"re2.max_program_size.error_level": 100_000}},
        {"name": "admin", "admin_layer": {}},
    ]
}
"""Envoy refuses regular expressions of more than 100 instructions otherwise, and with one of them all routes."""


def filters() -> list[dict[str, Any]]:
    """What counts, before the filters that ask the engine; without effect where no route says otherwise."""
    return [{"name": _RBAC, "typed_config": {"@type": _RBAC_TYPE + "RBAC"}}]


def reply() -> dict[str, Any]:
    """The answer's form: a mapper of local replies."""
    body = {name: _of_route(name) for name in ("type", "title", "detail")}
    event = f"%RESP({EVENT_HEADER})%"
    body |= {"status": "%RESPONSE_CODE%", "instance": f"urn:eastwall:event:{event}", "event_id": event}
    form = {"json_format": body, "omit_empty_values": True, "content_type": "application/problem+json"}
    return {"filter": _ANSWERED, "body_format_override": form}


def log(run_dir: Path) -> dict[str, Any]:
    """The access log of refused calls: JSON lines, each a `NativeRefusal`."""
    line = {
        "event": f"%RESP({EVENT_HEADER})%",
        "time": "%START_TIME(%s.%6f)%",
        "duration_ms": "%DURATION%",
        "method": "%REQ(:METHOD)%",
        "path": f"%REQ(:PATH):{MAX_LOGGED}%",
        "authority": "%REQ(:AUTHORITY):300%",
        "status": "%RESPONSE_CODE%",
        "source": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
        "request_bytes": "%BYTES_RECEIVED%",
        "response_bytes": "%BYTES_SENT%",
        "user_agent": "%REQ(USER-AGENT):200%",
        **{name: _of_route(name) for name in ("service", "policy", "kind", "location", "reason", "to_pass")},
    }
    return {
        "name": "envoy.access_loggers.file",
        "filter": _ANSWERED,
        "typed_config": {
            "@type": _CORE + "extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(run_dir / LOG),
            "log_format": {"json_format": line, "omit_empty_values": True},
        },
    }


def refusal(line: bytes) -> NativeRefusal:
    """A line of that log. Raises ValueError."""
    try:
        # What there is not is null. `time` is a text: Envoy has no other form with a fraction.
        said = {name: value for name, value in msgspec.json.decode(line, type=dict[str, Any]).items() if value is not None}
        return msgspec.convert(said, NativeRefusal, strict=False)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a line of the log of refused calls: {error}") from None


def routes(rules: Iterable[NativeRule], inspection: Sequence[str]) -> list[dict[str, Any]]:
    """Routes that refuse. `inspection`: names of the filters that ask the engine, which is not asked."""
    return [_route(rule, inspection) for rule in rules]


def _of_route(name: str) -> str:
    return f"%METADATA(ROUTE:{_META}:{name})%"


def _route(rule: NativeRule, inspection: Sequence[str]) -> dict[str, Any]:
    match: dict[str, Any] = {"safe_regex": {"regex": rule.path}} if rule.path else {"prefix": "/"}
    # gRPC has its own form of error, which the engine knows.
    match["headers"] = [
        {
            "name": "content-type",
            "string_match": {"prefix": "application/grpc", "ignore_case": True},
            "invert_match": True,
            "treat_missing_header_as_empty": True,
        }
    ]
    if rule.over:
        # Other media types may be streams, whose events are measured one by one.
        json = {"safe_regex": {"regex": r"(?i)application/json[ \t]*(;.*)?"}}
        match["headers"] = [
            {"name": "content-type", "string_match": json},
            {"name": "content-length", "range_match": {"start": rule.over + 1, "end": _LARGEST}},
        ]
    if rule.methods:
        methods = {"safe_regex": {"regex": "|".join(map(re.escape, rule.methods))}}
        match["headers"].append({"name": ":method", "string_match": methods})
    if rule.without_certificate:
        match["tls_context"] = {"presented": False}
    shadow = {"action": "DENY", "policies": {f"{rule.service}/{rule.policy}": _ANY}}
    off = {"@type": _CORE + "config.route.v3.FilterConfig", "disabled": True}
    told = {
        name: getattr(rule, name)
        for name in ("type", "title", "detail", "service", "policy", "kind", "location", "reason", "to_pass")
    }
    return {
        "match": match,
        "metadata": {"filter_metadata": {_META: {name: value for name, value in told.items() if value}}},
        "direct_response": {"status": rule.status},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in (("cache-control", "no-store"), (EVENT_HEADER, "%START_TIME(%s%3f)%-%UNIQUE_ID%"))
        ],
        "typed_per_filter_config": {
            _RBAC: {
                "@type": _RBAC_TYPE + "RBACPerRoute",
                "rbac": {"shadow_rules": shadow, "track_per_rule_stats": True},
            },
            **dict.fromkeys(inspection, off),
        },
    }
