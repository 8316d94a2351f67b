"""Learned and declared endpoints of a service as one OpenAPI document, 3.1 or 3.0.

What OpenAPI cannot say (operations of GraphQL, gRPC, MCP, ..., methods it has no word for, names that are not plain text) is left out
and counted under `info.x-eastwall.omitted`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from re import compile as regex
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from eastwall.learning.openapi_import import METHODS
from eastwall.learning.openapi_message import Writer, hostile
from eastwall.model.endpoint import Endpoint, FieldProfile, Schema

VERSIONS = {"3.1": "3.1.0", "3.0": "3.0.3"}
ALWAYS = 0.95
"""Share of successful calls with an identity from which on an operation is told to need one."""
SOMETIMES = 0.05
"""The same for taking one."""

_PARAMETER = regex(r"\{([^{}]*)\}")
_UNSAFE = regex(r"[^A-Za-z0-9]+")
_NOT_IN_NAME = regex(r"[^A-Za-z0-9._~-]+")
_PARAMETER_SCHEMAS: dict[str, dict[str, Any]] = {
    "integer": {"type": "integer"},
    "uuid": {"type": "string", "format": "uuid"},
    "date": {"type": "string", "format": "date"},
    "email": {"type": "string", "format": "email"},
    "hex": {"type": "string", "pattern": "^[0-9a-fA-F]+$"},
    "ulid": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"},
}
_MEDIA_TYPES = {
    "json": "application/json", "form": "application/x-www-form-urlencoded", "multipart": "multipart/form-data",
    "xml": "application/xml", "text": "text/plain", "binary": "application/octet-stream",
}  # fmt: skip
_MEDIA_TYPE = regex(r"[A-Za-z0-9!#$&^_.+*-]{1,80}/[A-Za-z0-9!#$&^_.+*-]{1,80}(?:; ?[A-Za-z0-9=\"._/-]{1,80})*")
_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "Calls carried credentials. Eastwall keeps that they did, not which kind: set the scheme that the service uses.",
}

_FILE = {"filename", "content_type", "size"}
"""What is kept of an uploaded file (`protocols.multipart`)."""


def openapi(endpoints: Iterable[Endpoint], service: str, version: str = "3.1") -> dict[str, Any]:
    """OpenAPI document of one service's endpoints. `version`: `3.1` or `3.0`; raises `ValueError` for another."""
    if version not in VERSIONS:
        raise ValueError(f"OpenAPI `{version[:20]}` is not written; choose {' or '.join(VERSIONS)}")
    return _Document(service, version).write(endpoints)


class _Document:
    def __init__(self, service: str, version: str) -> None:
        self.service = service
        self.version = version
        self.writer = Writer(version)
        self.paths: dict[str, dict[str, Any]] = {}
        self.templates: dict[str, tuple[str, list[str]]] = {}
        """Template with blank parameters -> path as written, and the names of its parameters: OpenAPI takes a path once."""
        self.taken: set[str] = set()
        self.secured = False

    def write(self, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
        for endpoint in sorted(endpoints, key=lambda e: (e.template, e.method, e.operation, e.id)):
            if endpoint.service != self.service:
                continue
            if endpoint.operation or endpoint.protocol not in ("rest", ""):
                self.writer.omit(f"{_plain(endpoint.protocol)} operations")
            elif endpoint.method.lower() not in METHODS:
                self.writer.omit("methods that OpenAPI has no word for")
            else:
                self.endpoint(endpoint)
        found: dict[str, Any] = {"openapi": VERSIONS[self.version], "info": self.info(), "paths": self.paths}
        components: dict[str, Any] = {}
        if self.writer.components:
            components["schemas"] = dict(sorted(self.writer.components.items()))
        if self.secured:
            components["securitySchemes"] = {"credentials": dict(_SCHEME)}
        if components:
            found["components"] = components
        return found

    def info(self) -> dict[str, Any]:
        omitted = dict(sorted(self.writer.omitted.items()))
        text = "What Eastwall learned from traffic and read from declarations."
        if omitted:
            text += " Left out: " + ", ".join(f"{count:,} {what}" for what, count in omitted.items()) + "."
        info: dict[str, Any] = {"title": _plain(self.service) or "service", "version": "learned", "description": text}
        if omitted:
            info["x-eastwall"] = {"omitted": omitted}
        return info

    def endpoint(self, endpoint: Endpoint) -> None:
        path, names = self.path(endpoint)
        item = self.paths.setdefault(path, {})
        method = endpoint.method.lower()
        if method in item:
            self.writer.omit("operations of a path that is there already")
            return
        item[method] = self.operation(endpoint, names)

    def path(self, endpoint: Endpoint) -> tuple[str, list[str]]:
        """The path as written, with distinct plain parameter names, and these."""
        parts = _PARAMETER.split(endpoint.template)
        literals = [quote(part, safe="/-._~!$&'()*+,;=:@%", errors="replace") for part in parts[::2]]
        blank = "{}".join(literals)
        if blank not in self.templates:
            names: list[str] = []
            for name in parts[1::2]:
                plain = unique = _NOT_IN_NAME.sub("_", name).strip("_") or "value"
                count = 2
                while unique in names:
                    unique, count = f"{plain}{count}", count + 1
                names.append(unique)
            written = literals[0] + "".join("{" + name + "}" + literal for name, literal in zip(names, literals[1:], strict=True))
            self.templates[blank] = ("/" + written.lstrip("/") if written.startswith("/") else "/" + written, names)
        return self.templates[blank]

    def operation(self, endpoint: Endpoint, names: list[str]) -> dict[str, Any]:
        name = self.name(endpoint)
        operation: dict[str, Any] = {"operationId": name}
        parameters = [*self.path_parameters(endpoint, names), *self.parameters(endpoint.query)]
        if parameters:
            operation["parameters"] = parameters
        body = self.body(endpoint, name)
        if body is not None:
            operation["requestBody"] = body
        operation["responses"] = self.responses(endpoint, name)
        if endpoint.deprecated:
            operation["deprecated"] = True
        security = self.security(endpoint)
        if security is not None:
            operation["security"] = security
        operation["x-eastwall"] = {
            "id": endpoint.id,
            "origin": endpoint.origin,
            "status": endpoint.status,
            "calls": endpoint.calls,
            "actors": endpoint.actors,
            "authenticated": round(endpoint.authenticated, 3),
        }
        return operation

    def name(self, endpoint: Endpoint) -> str:
        name = unique = _UNSAFE.sub("_", f"{endpoint.method.lower()}_{endpoint.template}").strip("_")[:120]
        count = 2
        while unique in self.taken:
            unique, count = f"{name}_{count}", count + 1
        self.taken.add(unique)
        return unique

    def path_parameters(self, endpoint: Endpoint, names: list[str]) -> list[dict[str, Any]]:
        kinds = [parameter.kind for parameter in endpoint.parameters]
        told = [parameter.name for parameter in endpoint.parameters]
        described = {field.place: field for field in endpoint.query.fields if field.place.startswith("path.")}
        found = []
        for at, name in enumerate(names):
            field = described.get("path." + told[at]) if at < len(told) else None
            if field is not None and field.kinds:
                schema = self.writer.scalar(field)
            else:
                schema = dict(_PARAMETER_SCHEMAS.get(kinds[at] if at < len(kinds) else "", {"type": "string"}))
            found.append({"name": name, "in": "path", "required": True, "schema": schema})
        return found

    def parameters(self, query: Schema) -> list[dict[str, Any]]:
        """Query, header and cookie parameters."""
        known = {field.place: field for field in query.fields}
        found = []
        for field in query.fields:
            within, dot, name = field.place.partition(".")
            if not dot or within not in ("query", "header", "cookie"):
                continue
            if name.endswith("[]") and "array" in getattr(known.get(field.place[:-2]), "kinds", ()):
                continue  # the values of a parameter that is repeated
            if hostile(name):
                self.writer.omit("names that are not plain text")
                continue
            required = field.required is True if not field.of else field.of == field.seen >= 3
            parameter: dict[str, Any] = {"name": name, "in": within, "required": required}
            if field.deprecated:
                parameter["deprecated"] = True
            parameter["schema"] = self.writer.scalar(field, known.get(field.place + "[]"))
            found.append(parameter)
        return found

    def body(self, endpoint: Endpoint, name: str) -> dict[str, Any] | None:
        if not endpoint.request.fields and not endpoint.request.media_types and not endpoint.body_kinds:
            return None
        request = with_files(endpoint.request) if "multipart" in endpoint.body_kinds else endpoint.request
        schema = self.writer.message(request, name + "_request") if request.fields else {}
        return {"content": {media: {"schema": schema} for media in _media_types(endpoint.request, endpoint.body_kinds)}}

    def responses(self, endpoint: Endpoint, name: str) -> dict[str, Any]:
        schemas = dict(endpoint.responses)
        seen = dict(endpoint.statuses)
        found: dict[str, Any] = {}
        for status in sorted({status for status in seen if 100 <= status <= 599} | schemas.keys()):
            word = _status(status)
            if word is None:
                continue
            times = seen.get(status, 0)
            response: dict[str, Any] = {"description": f"seen {times:,} times" if times else "declared" if not seen else "seen"}
            schema = schemas.get(status)
            if schema is not None and schema.fields:
                content = self.writer.message(schema, f"{name}_{word}")
                response["content"] = {media: {"schema": content} for media in _media_types(schema, ())}
            found[word] = response
        return found or {"default": {"description": "never seen"}}

    def security(self, endpoint: Endpoint) -> list[dict[str, list[str]]] | None:
        if endpoint.authenticated >= SOMETIMES or endpoint.secured:
            self.secured = True
            need: dict[str, list[str]] = {"credentials": []}
            must = endpoint.secured or endpoint.authenticated >= ALWAYS
            return [need] if must else [{}, need]
        return [] if endpoint.secured is False else None


def with_files(schema: Schema) -> Schema:
    """A multipart request with its files as such: what the learner saw of each is a name, a type and a size."""
    below: dict[str, set[str]] = {}
    for field in schema.fields:
        above, dot, name = field.place.rpartition(".")
        if dot:
            below.setdefault(above, set()).add(name)
    files = {place for place, names in below.items() if names == _FILE}
    kept = []
    for field in schema.fields:
        if field.place in files:
            kept.append(replace(field, kinds=("string",), format="binary", max_length=0, min_length=0))
        elif field.place.rpartition(".")[0] not in files:
            kept.append(field)
    return replace(schema, fields=tuple(kept))


def _media_types(schema: Schema, kinds: tuple[str, ...]) -> list[str]:
    """What the message comes as: as declared, else by the kinds of bodies seen, else by its form."""
    declared = [media for media in schema.media_types if _MEDIA_TYPE.fullmatch(media)]
    if declared:
        return declared[:20]
    found = [_MEDIA_TYPES[kind] for kind in kinds if kind in _MEDIA_TYPES]
    return found or [_MEDIA_TYPES[_form(schema.fields)]]


def _form(fields: Iterable[FieldProfile]) -> str:
    found: Mapping[str, FieldProfile] = {field.place: field for field in fields}
    root = found.get("$")
    if root is not None and root.kinds == ("string",) and len(found) == 1:
        return "text"
    marks = [place.rpartition(".")[2] for place in found]
    return "xml" if any(mark.startswith("@") or mark == "#text" for mark in marks) else "json"


def _status(status: int) -> str | None:
    if 100 <= status <= 599:
        return str(status)
    return "default" if status == 0 else f"{status}XX" if 1 <= status <= 5 else None


def _plain(text: str) -> str:
    """A name for people: what could mislead is left out."""
    return "".join(c for c in text[:200] if not hostile(c)).strip()
