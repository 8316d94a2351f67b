"""Postman collections (v2.0, v2.1) as declared endpoints.

A collection declares by example: its requests give methods, paths (`:id` and `{{id}}` are parameters), query parameters and body fields,
its saved responses the fields per status. https://schema.postman.com/collection/json/v2.1.0/docs/index.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from re import compile as regex
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from eastwall.discovery.inventory import endpoint_id
from eastwall.discovery.shapes import shape
from eastwall.learning.openapi_import import METHODS, body_kind
from eastwall.learning.openapi_schema import kind_name
from eastwall.learning.schema import SchemaState
from eastwall.learning.spec_text import Faults, SpecError, SpecFault, shown
from eastwall.model.endpoint import Endpoint, FieldProfile, Parameter, Schema
from eastwall.model.operation import Operation

MAX_REQUESTS = 20_000
MAX_FOLDERS = 50
"""Levels of folders."""
MAX_BODY = 1 << 20
"""Characters of an example that are read."""

_VARIABLE = regex(r"\{\{([^{}]{1,100})\}\}")
_NAME = regex(r"[^A-Za-z0-9_.-]+")
_SCHEME = regex(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
MAX_STAND_IN_DEPTH = 50
"""Levels of an example body in which stand-ins are read."""
_LANGUAGES = {"json": "application/json", "xml": "application/xml", "text": "text/plain", "html": "text/html"}


class _Found:
    """What the examples of one operation say."""

    __slots__ = ("bodies", "media_types", "names", "query", "responses", "secured", "where")

    def __init__(self, names: list[str], where: str) -> None:
        self.names = names
        self.where = where
        self.query: dict[str, FieldProfile] = {}
        self.bodies = SchemaState()
        self.media_types: set[str] = set()
        self.responses: dict[int, tuple[SchemaState, set[str]]] = {}
        self.secured: bool | None = None


def declared(document: Any, service: str = "") -> tuple[tuple[Endpoint, ...], tuple[SpecFault, ...]]:
    """Endpoints of a collection, origin `declared`, sorted by template and method; and its faults. Raises `SpecError`."""
    if isinstance(document, dict) and isinstance(document.get("collection"), dict):
        document = document["collection"]  # as the API of Postman wraps it
    items = document.get("item") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise SpecError("not a Postman collection: it has no list `item`", hint="export the collection as v2.1")
    return _Reader(document, service).read(items)


class _Reader:
    def __init__(self, document: dict[str, Any], service: str) -> None:
        self.service = service
        self.faults = Faults()
        self.variables = _variables(document)
        self.auth = document.get("auth")
        self.found: dict[tuple[str, str], _Found] = {}

    def read(self, items: list[Any]) -> tuple[tuple[Endpoint, ...], tuple[SpecFault, ...]]:
        for at, (node, where, auth) in enumerate(self.requests(items, "/item", self.auth, 0)):
            if at >= MAX_REQUESTS:
                self.faults.add("/item", f"more than {MAX_REQUESTS:,} requests", "split the collection")
                break
            self.request(node, where, auth)
        endpoints = [self.endpoint(method, blank, found) for (method, blank), found in self.found.items()]
        return tuple(sorted(endpoints, key=lambda e: (e.template, e.method))), self.faults.told()

    def requests(self, items: Any, where: str, auth: Any, depth: int) -> Iterator[tuple[dict[str, Any], str, Any]]:
        """Requests of folders in folders, with the authentication that holds for them."""
        if not isinstance(items, list):
            self.faults.add(where, f"`item` is {kind_name(items)}", "write a list")
            return
        if depth > MAX_FOLDERS:
            self.faults.add(where, f"folders deeper than {MAX_FOLDERS} levels", "flatten them")
            return
        for at, item in enumerate(items):
            spot = f"{where}/{at}"
            if not isinstance(item, dict):
                self.faults.add(spot, f"item is {kind_name(item)}", "write an object")
            elif "item" in item:
                yield from self.requests(item["item"], spot + "/item", item.get("auth", auth), depth + 1)
            elif "request" in item:
                yield item, spot, auth
            else:
                self.faults.add(spot, "item is neither a folder nor a request", "give it `request` or `item`")

    def request(self, item: dict[str, Any], where: str, auth: Any) -> None:
        request = item["request"]
        if isinstance(request, str):
            request = {"method": "GET", "url": request}
        if not isinstance(request, dict):
            self.faults.add(where + "/request", f"`request` is {kind_name(request)}", "write an object")
            return
        method = request.get("method", "GET")
        if not isinstance(method, str) or method.lower() not in METHODS:
            self.faults.add(where + "/request/method", f"method {shown(method)} is none of HTTP", "write e.g. `GET`")
            return
        parts = self.address(request.get("url"), where + "/request/url")
        if parts is None:
            return
        template, names, query = parts
        found = self.found.setdefault((method.upper(), template), _Found(names, where))
        for name, text in query:
            place = f"query.{name}"
            found.query.setdefault(place, _query_field(place, text))
        self.body(request.get("body"), found)
        own = request.get("auth", auth)
        if isinstance(own, dict):
            found.secured = own.get("type") != "noauth" if found.secured is not True else True
        responses = item.get("response")
        for at, response in enumerate(responses if isinstance(responses, list) else ()):
            self.response(response, f"{where}/response/{at}", found)

    # --- addresses

    def address(self, url: Any, where: str) -> tuple[str, list[str], list[tuple[str, str]]] | None:
        """(template with blank parameters, their names, query)."""
        raw = url if isinstance(url, str) else url.get("raw") if isinstance(url, dict) else None
        query: list[tuple[str, str]] = []
        if isinstance(url, dict):
            listed = url.get("query")
            query = [
                (each["key"], str(each.get("value") or ""))
                for each in (listed if isinstance(listed, list) else ())
                if isinstance(each, dict) and isinstance(each.get("key"), str) and each["key"]
            ]
        path = url.get("path") if isinstance(url, dict) else None
        if isinstance(path, str):
            segments = path.strip("/").split("/")
        elif isinstance(path, list):
            segments = [
                each if isinstance(each, str) else str(each.get("value", "")) for each in path if isinstance(each, (str, dict))
            ]
        elif isinstance(raw, str):
            text, _, after = self.filled(raw).partition("?")
            query = query or [(name, value) for name, value in parse_qsl(after, keep_blank_values=True) if name]
            text = _SCHEME.sub("", text.partition("#")[0], count=1)
            if not _SCHEME.match(self.filled(raw)) and not text.startswith("/"):
                text = text.partition("/")[2]  # `{{host}}/orders`, `localhost:8080/orders`: what comes first is the host
            segments = text.strip("/").split("/")
        else:
            self.faults.add(where, "the request has no address", "give it a `url`")
            return None
        host = url.get("host") if isinstance(url, dict) else None
        prefix = self.base(host) if path is not None else []
        names: list[str] = []
        template = "".join("/" + self.segment(each, names) for each in [*prefix, *segments] if each)
        return template or "/", names, query

    def base(self, host: Any) -> list[str]:
        """Path segments that a variable such as `{{baseUrl}}` brings along: `https://shop.test/api/v1`."""
        text = ".".join(str(part) for part in host) if isinstance(host, list) else host if isinstance(host, str) else ""
        if "{{" not in text:
            return []
        filled = self.filled(text)
        try:
            path = urlsplit(filled if "://" in filled else "//" + filled).path
        except ValueError:
            return []
        return [each for each in path.split("/") if each]

    def filled(self, text: str) -> str:
        """Known variables written out, those of a path excepted: they are parameters."""
        for _ in range(5):
            head, slash, rest = text.partition("/") if not _SCHEME.match(text) else (text, "", "")
            replaced = _VARIABLE.sub(lambda m: self.variables.get(m[1], m[0]), head)
            if replaced == head:
                break
            text = replaced + slash + rest
        return text

    def segment(self, text: str, names: list[str]) -> str:
        """A segment with its parameters blanked."""
        if text.startswith(":") and len(text) > 1:
            names.append(_NAME.sub("_", text[1:]).strip("_") or "id")
            return "{}"

        def blank(match: Any) -> str:
            names.append(_NAME.sub("_", match[1]).strip("_") or "id")
            return "{}"

        found = _VARIABLE.sub(blank, text)
        return found if found != text else unquote(text).replace("{", "(").replace("}", ")")

    # --- bodies

    def body(self, body: Any, found: _Found) -> None:
        if not isinstance(body, dict) or body.get("disabled") is True:
            return
        mode = body.get("mode")
        if mode == "raw" and isinstance(body.get("raw"), str):
            options = body.get("options")
            raw = options.get("raw") if isinstance(options, dict) else None
            language = raw.get("language") if isinstance(raw, dict) else ""
            media = _LANGUAGES.get(str(language), "application/json" if body["raw"].lstrip()[:1] in ("{", "[") else "text/plain")
            found.media_types.add(media)
            _learn(found.bodies, body["raw"], media)
        elif mode in ("urlencoded", "formdata"):
            pairs = body.get(mode)
            tree = {
                each["key"]: str(each.get("value") or "")
                for each in (pairs if isinstance(pairs, list) else ())
                if isinstance(each, dict) and isinstance(each.get("key"), str) and each["key"]
            }
            found.media_types.add("application/x-www-form-urlencoded" if mode == "urlencoded" else "multipart/form-data")
            found.bodies.fold(shape(_message(tree, "form"), ()), 0.0)
        elif mode == "graphql":
            found.media_types.add("application/json")
        elif mode == "file":
            found.media_types.add("application/octet-stream")

    def response(self, response: Any, where: str, found: _Found) -> None:
        status = response.get("code") if isinstance(response, dict) else None
        if not isinstance(response, dict) or not isinstance(status, int) or not 100 <= status <= 599:
            self.faults.add(where, f"saved response with status {shown(status)}", "give it a `code` such as 200")
            return
        headers = response.get("header")
        media = "application/json"
        for header in headers if isinstance(headers, list) else ():
            if isinstance(header, dict) and str(header.get("key", "")).lower() == "content-type":
                media = str(header.get("value", "")).partition(";")[0].strip().lower() or media
        state, media_types = found.responses.setdefault(status, (SchemaState(), set()))
        if isinstance(response.get("body"), str) and response["body"]:
            media_types.add(media)
            _learn(state, response["body"], media)

    # --- endpoints

    def endpoint(self, method: str, blank: str, found: _Found) -> Endpoint:
        names: list[str] = []
        for name in found.names:
            unique, count = name, 2
            while unique in names:
                unique, count = f"{name}{count}", count + 1
            names.append(unique)
        parts = blank.split("{}")
        template = parts[0] + "".join("{" + name + "}" + part for name, part in zip(names, parts[1:], strict=True))
        return Endpoint(
            id=endpoint_id(self.service, method, template),
            service=self.service,
            method=method,
            template=template,
            parameters=tuple(Parameter(name, "string") for name in names),
            origin="declared",
            request=_schema(found.bodies, found.media_types),
            responses=tuple((status, _schema(*each)) for status, each in sorted(found.responses.items())),
            query=Schema(fields=tuple(found.query[place] for place in sorted(found.query))),
            secured=found.secured,
            body_kinds=tuple(sorted({body_kind(media) for media in found.media_types})),
        )


def _variables(document: Mapping[str, Any]) -> dict[str, str]:
    listed = document.get("variable")
    return {
        str(each["key"]): str(each.get("value") or "")
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict) and "key" in each and each.get("value")
    }


def _query_field(place: str, text: str) -> FieldProfile:
    state = SchemaState()
    state.fold(shape(_message(None, "none", ((place[6:], "" if "{{" in text else text),)), ()), 0.0)
    fields = {field.place: field for field in state.schema().fields}
    learned = fields.get(place)
    return _example(learned) if learned is not None else FieldProfile(place, ("string",))


def _learn(state: SchemaState, text: str, media: str) -> None:
    """Fields of an example. What is no whole JSON (variables in it, comments) says no more than that there is a body."""
    if body_kind(media) != "json" or len(text) > MAX_BODY:
        return
    try:
        tree = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        try:
            tree = msgspec.json.decode(_VARIABLE.sub("0", text))
        except (msgspec.DecodeError, RecursionError):
            return
    state.fold(shape(_message(_typed(tree), "json"), ()), 0.0)


_STAND_INS: dict[str, Any] = {
    "<integer>": 1, "<long>": 1, "<number>": 0.5, "<float>": 0.5, "<double>": 0.5, "<boolean>": True, "<null>": None,
    "<uuid>": "00000000-0000-4000-8000-000000000000", "<date>": "2000-01-01", "<dateTime>": "2000-01-01T00:00:00Z",
    "<email>": "a@example.com", "<uri>": "https://example.com/",
}  # fmt: skip
"""What Postman's own converter from OpenAPI writes where a value of a type belongs."""


def _typed(node: Any, depth: int = 0) -> Any:
    """A body with values of the types that stand-ins name."""
    if depth > MAX_STAND_IN_DEPTH:
        return node
    if isinstance(node, dict):
        return {key: _typed(value, depth + 1) for key, value in node.items()}
    if isinstance(node, list):
        return [_typed(value, depth + 1) for value in node]
    return _STAND_INS.get(node, node) if isinstance(node, str) else node


def _message(body: Any, kind: str, query: tuple[tuple[str, str], ...] = ()) -> Operation:
    return Operation("rest", "POST", (), "/", query, body, kind)


def _schema(state: SchemaState, media_types: set[str]) -> Schema:
    """What examples show is declared; that they all have it does not make it required."""
    fields = tuple(_example(field) for field in state.schema().fields)
    return Schema(fields=fields, media_types=tuple(sorted(media_types)))


def _example(field: FieldProfile) -> FieldProfile:
    """What one example shows of a field: where it is, and what it is like at least. A whole number stands for any, null for anything."""
    kinds = set(field.kinds) - {"null"}
    if "integer" in kinds:
        kinds.add("number")
    return FieldProfile(field.place, () if "null" in field.kinds else tuple(sorted(kinds)), required=False)
