"""OpenAPI 3.1 of what was learned: one document per service, from its endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eastwall.model.endpoint import Endpoint, FieldProfile, Parameter, Schema

_FORMATS = {"integer": {"type": "integer"}} | {name: {"type": "string", "format": name} for name in ("uuid", "date", "email")}
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


def openapi(service: str, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The document. Methods that OpenAPI 3.1 does not know are listed under `x-other-methods` of their path."""
    paths: dict[str, Any] = {}
    for endpoint in sorted(endpoints, key=lambda e: (e.template, e.method)):
        item = paths.setdefault(endpoint.template, {})
        method = endpoint.method.lower()
        if method in _METHODS:
            item[method] = _operation(endpoint)
        else:
            item.setdefault("x-other-methods", []).append(endpoint.method)
    return {
        "openapi": "3.1.0",
        "info": {"title": service, "version": "observed", "description": "Written by Eastwall from observed traffic."},
        "paths": paths,
    }


def _operation(e: Endpoint) -> dict[str, Any]:
    seen = {name: getattr(e, name) for name in ("status", "origin", "calls", "actors")}
    operation: dict[str, Any] = {
        "operationId": e.id,
        "x-eastwall": seen | {"authenticated": round(e.authenticated, 3)},
        "responses": _responses(e),
    }
    parameters = [_path_parameter(p) for p in e.parameters]
    parameters += [_query_parameter(f) for f in e.query.fields if f.place.startswith("query.") and len(f.place) > 6]
    if parameters:
        operation["parameters"] = parameters
    if e.request.fields:
        operation["requestBody"] = {"content": {"application/json": {"schema": _schema(e.request)}}}
    return operation


def _path_parameter(p: Parameter) -> dict[str, Any]:
    return {"name": p.name, "in": "path", "required": True, "schema": dict(_FORMATS.get(p.kind, {"type": "string"}))}


def _query_parameter(f: FieldProfile) -> dict[str, Any]:
    return {"name": f.place.removeprefix("query."), "in": "query", "required": 0 < f.of == f.seen, "schema": _leaf(f)}


def _responses(e: Endpoint) -> dict[str, Any]:
    known = dict(e.responses)
    statuses = sorted({status for status, _ in e.statuses if 100 <= status <= 599} | known.keys())
    found: dict[str, Any] = {}
    for status in statuses:
        found[str(status)] = {"description": "observed"}
        schema = known.get(status)
        if schema is not None and schema.fields:
            found[str(status)]["content"] = {"application/json": {"schema": _schema(schema)}}
    return found or {"default": {"description": "none observed yet"}}


def _schema(schema: Schema) -> dict[str, Any]:
    """A tree from dotted places; `[]` is an array's item."""
    root: dict[str, Any] = {}
    for f in schema.fields:
        node, parts = root, [part for part in f.place.replace("[]", ".[]").split(".") if part]
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            if part == "[]":
                node["type"] = "array"
                node = node.setdefault("items", {})
            else:
                node["type"] = "object"
                if last and 0 < f.of == f.seen and part not in node.setdefault("required", []):
                    node["required"].append(part)
                node = node.setdefault("properties", {}).setdefault(part, {})
        for key, value in _leaf(f).items():
            node.setdefault(key, value)
    return root


def _leaf(f: FieldProfile) -> dict[str, Any]:
    leaf: dict[str, Any] = {}
    if f.kinds:
        leaf["type"] = f.kinds[0] if len(f.kinds) == 1 else list(f.kinds)
    if f.format:
        leaf["format"] = f.format
    if f.data_class:
        leaf["x-data-class"] = f.data_class
    return leaf
