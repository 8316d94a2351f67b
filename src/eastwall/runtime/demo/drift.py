"""What the shop's OpenAPI files say against what Eastwall saw: shadow, ghost and forgotten operations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from msgspec import Struct

from eastwall.runtime.demo import shop

_PARAMETER = re.compile(r"\{[^{}]*\}")
_VERSION = re.compile(r"/v(\d+)(?=/|$)")
_DEBUG = re.compile(r"/(?:debug|actuator|internal|test|metrics)(?=/|$)")
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})

Key = tuple[str, str, str]
"""Service, method, template with nameless parameters: `("orders", "GET", "/orders/{}")`."""


class Finding(Struct, frozen=True):
    """One difference."""

    kind: str
    """`shadow` (seen, not declared), `ghost` (declared, never seen) or `parameter` (seen in the query, not declared)."""
    service: str
    method: str
    template: str
    note: str
    """What makes it worth a look: `old version`, `debug endpoint`, the parameter's name; else empty."""


class Declared(Struct, frozen=True):
    """One operation of an OpenAPI file."""

    template: str
    query: frozenset[str]
    """Names of its query parameters."""


def key(service: str, method: str, template: str) -> Key:
    return service, method.upper(), _PARAMETER.sub("{}", template)


def declared(services: Iterable[str]) -> dict[Key, Declared]:
    """Every operation of the services' OpenAPI files."""
    found: dict[Key, Declared] = {}
    for service in services:
        paths: Mapping[str, Any] = yaml.safe_load(shop.openapi(service))["paths"]
        for template, item in paths.items():
            for method, operation in item.items():
                if method in _METHODS:
                    listed = [*item.get("parameters", ()), *operation.get("parameters", ())]
                    names = frozenset(p["name"] for p in listed if p.get("in") == "query")
                    found[key(service, method, template)] = Declared(template, names)
    return found


def compare(apis: Iterable[Mapping[str, Any]], said: Mapping[Key, Declared]) -> list[Finding]:
    """`apis` as `/api/v1/apis?full=1` gives them (in short they do, without the parameters). Most telling first."""
    seen: dict[Key, Mapping[str, Any]] = {key(a["service"], a["method"], a["template"]): a for a in apis if a["calls"]}
    found = [
        Finding("shadow", api["service"], api["method"], api["template"], _note(api["template"]))
        for place, api in seen.items()
        if place not in said
    ]
    found += [Finding("ghost", p[0], p[1], operation.template, "") for p, operation in said.items() if p not in seen]
    for place in seen.keys() & said.keys():
        api = seen[place]
        fields = api["query"]["fields"] if "query" in api else ()
        names = sorted({_query_name(field["place"]) for field in fields} - said[place].query)
        found += [Finding("parameter", api["service"], api["method"], api["template"], name) for name in names]
    order = ("shadow", "ghost", "parameter")
    return sorted(found, key=lambda f: (order.index(f.kind), f.note == "", f.service, f.template, f.method, f.note))


def _query_name(place: str) -> str:
    """`page` of the place `query.page`; `filter` of `query.filter[]`."""
    return place.removeprefix("query.").partition("[")[0]


def _note(template: str) -> str:
    if _VERSION.search(template):
        return "old version"
    return "debug endpoint" if _DEBUG.search(template) else ""
