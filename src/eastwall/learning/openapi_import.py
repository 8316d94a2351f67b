"""OpenAPI 3.0, 3.1 and Swagger 2.0 documents as declared endpoints.

Every fault is told with its JSON pointer and the rest is used. Places are those of learned schemas, so that declared and seen can be
held against each other. `$ref` is followed inside the document only.
"""

from __future__ import annotations

from collections.abc import Iterator
from re import compile as regex
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from eastwall.discovery.inventory import endpoint_id
from eastwall.learning.openapi_schema import MAX_NAME, SchemaReader, View, field, kind_name
from eastwall.learning.spec_text import Faults, SpecError, SpecFault, pointer, shown
from eastwall.model.endpoint import Endpoint, FieldProfile, Parameter, Schema

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
MAX_OPERATIONS = 20_000
MAX_BASES = 6
"""Base paths of one operation; further servers are told as a fault."""
MAX_PARAMETERS = 300

_PARAMETER = regex(r"\{([^{}]*)\}")
_KIND_OF_FORMAT = {"uuid": "uuid", "date": "date", "email": "email"}
_PLACES = ("path", "query", "header", "cookie")
_TRANSPORT_HEADERS = frozenset({"accept", "content-type", "authorization"})
"""OpenAPI 3.1, 4.8.12.2: parameters of these names are to be ignored."""
_STATUS = regex(r"[1-5][0-9]{2}")
_RANGE = regex(r"[1-5][Xx]{2}")
_NOT_OPENAPI = "give an OpenAPI 3.0 or 3.1 or a Swagger 2.0 document"


class Bodies(Struct, frozen=True):
    """The media types of a message and its fields."""

    media_types: tuple[str, ...] = ()
    fields: tuple[FieldProfile, ...] = ()


def body_kind(media_type: str) -> str:
    """`json`, `form`, `multipart`, `xml`, `text` or `binary`: how a body of this media type is decoded."""
    kind = media_type.partition(";")[0].strip().lower()
    if "json" in kind or kind in ("*/*", "application/*"):
        return "json"
    if kind == "application/x-www-form-urlencoded":
        return "form"
    if kind.startswith("multipart/"):
        return "multipart"
    if kind.endswith(("/xml", "+xml")):
        return "xml"
    return "text" if kind.startswith("text/") else "binary"


def declared(document: Any, service: str = "") -> tuple[tuple[Endpoint, ...], tuple[SpecFault, ...]]:
    """Endpoints of a document, origin `declared`, sorted by template and method; and its faults.

    Raises `SpecError` with one clear line when it is none that endpoints can be read from.
    """
    if not isinstance(document, dict):
        raise SpecError(f"not an OpenAPI document: it is {kind_name(document)}", hint=_NOT_OPENAPI)
    version = document.get("openapi", document.get("swagger"))
    text = str(version)
    if not ("openapi" in document and isinstance(version, str) and text.startswith(("3.0", "3.1"))) and not (
        "swagger" in document and text in ("2.0", "2")
    ):
        named = "openapi" if "openapi" in document else "swagger"
        said = f"`{named}` is {shown(version)}" if version is not None else "it has neither `openapi` nor `swagger`"
        raise SpecError(f"not an OpenAPI document: {said}", pointer(named) if version is not None else "", _NOT_OPENAPI)
    return _Reader(document, service, swagger="swagger" in document).read()


class _Reader:
    """One document being read."""

    def __init__(self, document: dict[str, Any], service: str, *, swagger: bool) -> None:
        self.document = document
        self.service = service
        self.swagger = swagger
        self.faults = Faults()
        self.schemas = SchemaReader(document, self.faults)
        self.found: dict[str, tuple[Endpoint, str]] = {}
        self.names: dict[str, str] = {}
        self.templates: dict[str, str] = {}
        self.made: list[Any] = []
        """Schemas that are not of the document: kept, because views are known by the identity of their schema."""
        self.bases = self.swagger_bases() if swagger else self.server_bases(document.get("servers"), pointer("servers")) or ("",)

    def read(self) -> tuple[tuple[Endpoint, ...], tuple[SpecFault, ...]]:
        paths = self.document.get("paths", {} if not self.swagger else None)
        if not isinstance(paths, dict):
            said = f"`paths` is {kind_name(paths)}" if paths is not None else "`paths` is missing"
            raise SpecError(said, pointer("paths"), "it must map path templates to operations")
        for template, item in paths.items():
            if template.startswith("x-"):
                continue
            where = pointer("paths", template)
            if not template.startswith("/"):
                self.faults.add(where, f"path {shown(template)} does not start with a slash", "begin it with `/`")
                continue
            self.item(template, item, where)
            if len(self.found) > MAX_OPERATIONS:
                self.faults.add("/paths", f"more than {MAX_OPERATIONS:,} operations", "split the document")
                break
        endpoints = sorted((endpoint for endpoint, _ in self.found.values()), key=lambda e: (e.template, e.method))
        return tuple(endpoints), self.faults.told()

    def item(self, template: str, item: Any, where: str) -> None:
        resolved = self.schemas.resolve(item, where)
        if resolved is None:
            return
        item, place = resolved
        if not isinstance(item, dict):
            self.faults.add(where, f"path {shown(template)} is {kind_name(item)}", "write an object of operations")
            return
        path = template
        for mark in "?#":
            if mark in path:
                path = path.partition(mark)[0]
                self.faults.add(
                    where, f"path {shown(template)} holds `{mark}`, which no path has", "declare query parameters as such"
                )
        self.same_path(path, where)
        bases = (not self.swagger and self.server_bases(item.get("servers"), place + "/servers")) or self.bases
        for method in METHODS:
            operation = item.get(method)
            if operation is None:
                continue
            spot = f"{place}/{method}"
            if isinstance(operation, dict):
                own = (not self.swagger and self.server_bases(operation.get("servers"), spot + "/servers")) or bases
                self.operation(method.upper(), path, item, operation, own, (place, spot))
            else:
                self.faults.add(spot, f"operation is {kind_name(operation)}", "write an object")

    def same_path(self, path: str, where: str) -> None:
        """Paths that differ in parameter names only are one path."""
        blank = _PARAMETER.sub("{}", path)
        other = self.templates.setdefault(blank, path)
        if other != path:
            hint = "give the parameters the same names, or make it one path"
            self.faults.add(where, f"path {shown(path)} is the same as {shown(other)}", hint)

    def operation(
        self,
        method: str,
        path: str,
        item: dict[str, Any],
        operation: dict[str, Any],
        bases: tuple[str, ...],
        where: tuple[str, str],
    ) -> None:
        spot = where[1]
        name = operation.get("operationId")
        if isinstance(name, str) and self.names.setdefault(name, spot) != spot:
            self.faults.add(
                spot + "/operationId", f"{shown(name)} is also the id of `{self.names[name]}`", "give each operation its own"
            )
        parameters = self.parameters(item.get("parameters"), where[0]) | self.parameters(operation.get("parameters"), spot)
        self.undeclared(path, parameters, where)
        request = self.swagger_request(operation, parameters) if self.swagger else self.request(operation, spot)
        templates = [base + path for base in bases]
        query = tuple(sorted(_parameter_fields(self.schemas, parameters.values()), key=lambda f: f.place))
        endpoint = Endpoint(
            id="",
            service=self.service,
            method=method,
            template=templates[0],
            parameters=tuple(_path_parameter(n, parameters, self.schemas) for n in _PARAMETER.findall(path)),
            origin="declared",
            request=Schema(fields=request.fields, media_types=request.media_types),
            responses=self.responses(operation, spot),
            query=Schema(fields=query),
            deprecated=operation.get("deprecated") is True,
            secured=self.secured(operation, spot),
            body_kinds=tuple(sorted({body_kind(media) for media in request.media_types})),
        )
        for base, template in zip(bases, templates, strict=True):
            key = endpoint_id(self.service, method, template)
            others = tuple(other for other in templates if other != template)
            first = self.found.setdefault(key, (_at(endpoint, key, template, others, base), spot))
            if first[1] != spot:
                said = f"{method} {shown(template)} is declared before, at `{first[1]}`"
                self.faults.add(spot, said, "the first one is used")

    def undeclared(self, path: str, parameters: dict[tuple[str, str], _Declared], at: tuple[str, str]) -> None:
        names = _PARAMETER.findall(path)
        for name in dict.fromkeys(names):
            if ("path", name) not in parameters:
                self.faults.add(at[1], f"path parameter {shown(name)} is not described", "add it to `parameters`")
        for (where, name), parameter in parameters.items():
            if where == "path" and name not in names and pointer("{" + name + "}")[1:] not in at[0]:
                self.faults.add(parameter.where, f"the path has no parameter {shown(name)}", "put it into the path, or drop it")

    # --- servers

    def server_bases(self, servers: Any, where: str) -> tuple[str, ...]:
        """Distinct paths of the servers, in order, without a slash at the end; empty when none is given."""
        if servers is None:
            return ()
        if not isinstance(servers, list):
            self.faults.add(where, f"`servers` is {kind_name(servers)}", "write a list")
            return ()
        found: dict[str, None] = {}
        for at, server in enumerate(servers):
            spot = f"{where}/{at}"
            url = server.get("url") if isinstance(server, dict) else None
            if not isinstance(url, str):
                self.faults.add(spot, "the server has no `url`", "write its address")
                continue
            base = self.base(self.filled(url, server, spot), spot + "/url")
            if base is not None:
                found[base] = None
        if len(found) > MAX_BASES:
            self.faults.add(where, f"{len(found)} base paths; the first {MAX_BASES} are used", "name those that serve this API")
        return tuple(found)[:MAX_BASES]

    def filled(self, url: str, server: dict[str, Any], where: str) -> str:
        """The URL with its variables at their defaults."""
        variables = server.get("variables")
        variables = variables if isinstance(variables, dict) else {}
        for name in _PARAMETER.findall(url):
            variable = variables.get(name)
            default = variable.get("default") if isinstance(variable, dict) else None
            if default is None:
                self.faults.add(where, f"server variable {shown(name)} has no default", "add it to `variables`")
                default = name
            url = url.replace("{" + name + "}", str(default))
        return url

    def base(self, url: str, where: str) -> str | None:
        try:
            path = urlsplit(url).path
        except ValueError as error:
            self.faults.add(where, f"{shown(url)} is no URL: {error}", "mend it")
            return None
        path = path.strip("/")
        return "/" + path if path else ""

    def swagger_bases(self) -> tuple[str, ...]:
        base = self.document.get("basePath", "")
        if not isinstance(base, str):
            self.faults.add("/basePath", f"`basePath` is {kind_name(base)}", "write a path")
            return ("",)
        found = self.base(base, "/basePath")
        return (found or "",)

    # --- parameters

    def parameters(self, listed: Any, where: str) -> dict[tuple[str, str], _Declared]:
        if listed is None:
            return {}
        if not isinstance(listed, list):
            self.faults.add(where + "/parameters", f"`parameters` is {kind_name(listed)}", "write a list")
            return {}
        found: dict[tuple[str, str], _Declared] = {}
        for at, parameter in enumerate(listed[:MAX_PARAMETERS]):
            spot = f"{where}/parameters/{at}"
            resolved = self.schemas.resolve(parameter, spot)
            if resolved is None:
                continue
            node, place = resolved
            if not isinstance(node, dict):
                self.faults.add(spot, f"parameter is {kind_name(node)}", "write an object")
                continue
            name, within = node.get("name"), node.get("in")
            if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
                said = "parameter has no name" if not name else f"parameter name {shown(name)} is no name"
                self.faults.add(spot, said, f"write a text of 1 to {MAX_NAME} characters")
            elif not isinstance(within, str) or within not in (_PLACES if not self.swagger else (*_PLACES, "body", "formData")):
                self.faults.add(spot, f"parameter {shown(name)} is in {shown(within)}", f"write one of {', '.join(_PLACES)}")
            else:
                found[(within, name)] = self.described(name, within, node, place)
        return found

    def described(self, name: str, within: str, node: dict[str, Any], where: str) -> _Declared:
        schema, spot = node.get("schema"), where + "/schema"
        content = node.get("content")
        joined = node.get("explode") is False or node.get("style") in ("spaceDelimited", "pipeDelimited")
        if self.swagger and within != "body":
            schema, spot = {key: value for key, value in node.items() if key != "required"}, where
            joined = node.get("collectionFormat", "csv") != "multi"
            self.made.append(schema)
        elif schema is None and isinstance(content, dict):
            schema, joined = {"type": "string"}, False
            self.made.append(schema)
        view = self.schemas.view(schema, spot) if schema is not None else View()
        return _Declared(name, within, node, where, schema, spot, view, joined)

    # --- messages

    def request(self, operation: dict[str, Any], spot: str) -> Bodies:
        if "requestBody" not in operation:
            return Bodies()
        resolved = self.schemas.resolve(operation["requestBody"], spot + "/requestBody")
        if resolved is None:
            return Bodies()
        body, where = resolved
        if not isinstance(body, dict):
            self.faults.add(spot + "/requestBody", f"`requestBody` is {kind_name(body)}", "write an object")
            return Bodies()
        return self.content(body.get("content"), where + "/content", "request")

    def responses(self, operation: dict[str, Any], spot: str) -> tuple[tuple[int, Schema], ...]:
        responses = operation.get("responses")
        if responses is None:
            return ()
        if not isinstance(responses, dict):
            self.faults.add(spot + "/responses", f"`responses` is {kind_name(responses)}", "write an object")
            return ()
        found: dict[int, Schema] = {}
        for status, response in responses.items():
            where = spot + pointer("responses", status)
            number = _status(status)
            if number is None:
                if not status.startswith("x-"):
                    self.faults.add(where, f"{shown(status)} is no status", "write e.g. `200`, `4XX` or `default`")
                continue
            resolved = self.schemas.resolve(response, where)
            if resolved is None:
                continue
            node, place = resolved
            if not isinstance(node, dict):
                self.faults.add(where, f"response is {kind_name(node)}", "write an object")
                continue
            bodies = self.swagger_response(operation, node, place) if self.swagger else self.response(node, place)
            found[number] = Schema(fields=bodies.fields, media_types=bodies.media_types)
        return tuple(sorted(found.items(), key=lambda each: each[0]))

    def response(self, node: dict[str, Any], place: str) -> Bodies:
        return self.content(node.get("content"), place + "/content", "response")

    def content(self, content: Any, where: str, side: str) -> Bodies:
        if content is None:
            return Bodies()
        if not isinstance(content, dict):
            self.faults.add(where, f"`content` is {kind_name(content)}", "write an object of media types")
            return Bodies()
        found: dict[str, FieldProfile] = {}
        for media_type, media in content.items():
            spot = where + pointer(media_type)
            resolved = self.schemas.resolve(media, spot)
            if resolved is None:
                continue
            node, place = resolved
            if not isinstance(node, dict):
                self.faults.add(spot, f"media type {shown(media_type)} is {kind_name(node)}", "write an object")
            elif "schema" in node and body_kind(media_type) != "binary":
                for each in self.schemas.fields(node["schema"], place + "/schema", side):
                    found.setdefault(each.place, each)
        return Bodies(tuple(sorted(content)), tuple(found[place] for place in sorted(found)))

    def swagger_request(self, operation: dict[str, Any], parameters: dict[tuple[str, str], _Declared]) -> Bodies:
        consumes = _texts(operation.get("consumes", self.document.get("consumes")))
        forms = [parameter for (within, _), parameter in parameters.items() if within == "formData"]
        if forms:
            has_file = any(parameter.node.get("type") == "file" for parameter in forms)
            media = "multipart/form-data" if has_file else "application/x-www-form-urlencoded"
            fields = [FieldProfile("$", ("object",)), *(_form_field(parameter) for parameter in forms)]
            return Bodies(tuple(consumes) or (media,), tuple(sorted(fields, key=lambda f: f.place)))
        for (within, _), parameter in parameters.items():
            if within == "body" and parameter.schema is not None:
                fields_ = self.schemas.fields(parameter.schema, parameter.spot, "request")
                return Bodies(tuple(consumes) or ("application/json",), fields_)
        return Bodies()

    def swagger_response(self, operation: dict[str, Any], node: dict[str, Any], place: str) -> Bodies:
        schema = node.get("schema")
        if schema is None:
            return Bodies()
        produces = _texts(operation.get("produces", self.document.get("produces"))) or ("application/json",)
        return Bodies(tuple(produces), self.schemas.fields(schema, place + "/schema", "response"))

    def secured(self, operation: dict[str, Any], spot: str) -> bool | None:
        """Whether a security requirement applies; one that may be empty does not."""
        where = spot if "security" in operation else ""
        stated = operation.get("security", self.document.get("security"))
        if stated is None:
            return None
        if not isinstance(stated, list):
            self.faults.add(where + "/security", f"`security` is {kind_name(stated)}", "write a list of requirements")
            return None
        return bool(stated) and all(isinstance(each, dict) and each for each in stated)


class _Declared:
    """A declared parameter."""

    __slots__ = ("joined", "name", "node", "schema", "spot", "view", "where", "within")

    def __init__(
        self, name: str, within: str, node: dict[str, Any], where: str, schema: Any, spot: str, view: View, joined: bool
    ) -> None:
        self.name = name
        self.within = within
        self.node = node
        self.where = where
        self.schema = schema
        self.spot = spot
        self.view = view
        self.joined = joined
        """Several values stand in one text."""


def _at(endpoint: Endpoint, key: str, template: str, others: tuple[str, ...], base: str) -> Endpoint:
    return Endpoint(
        id=key,
        service=endpoint.service,
        method=endpoint.method,
        template=template,
        parameters=endpoint.parameters,
        origin="declared",
        request=endpoint.request,
        responses=endpoint.responses,
        query=endpoint.query,
        deprecated=endpoint.deprecated,
        secured=endpoint.secured,
        body_kinds=endpoint.body_kinds,
        alternatives=others,
        base=base,
    )


def _parameter_fields(schemas: SchemaReader, parameters: Any) -> Iterator[FieldProfile]:
    """Fields of path, query, header and cookie parameters."""
    for parameter in parameters:
        view, within = parameter.view, parameter.within
        if within in ("body", "formData") or (within == "header" and parameter.name.lower() in _TRANSPORT_HEADERS):
            continue
        name = parameter.name.lower() if within == "header" else parameter.name
        place = f"{within}.{name}"
        required = within == "path" or parameter.node.get("required") is True
        if within == "query" and view.kinds == {"object"} and view.properties:
            deep = parameter.node.get("style") == "deepObject"
            for inner, nodes in view.properties.items():
                inner_place = f"{place}[{inner}]" if deep else f"query.{inner}"
                yield field(inner_place, schemas.together(nodes), required and inner in view.required)
            continue
        described = field(place, view, required)
        deprecated = parameter.node.get("deprecated") is True or described.deprecated
        kinds = (
            tuple(sorted({*described.kinds, "string"})) if "array" in described.kinds and parameter.joined else described.kinds
        )
        yield FieldProfile(
            place=place,
            kinds=kinds,
            format=described.format,
            minimum=described.minimum,
            maximum=described.maximum,
            min_length=described.min_length,
            max_length=described.max_length,
            enum=described.enum,
            deprecated=deprecated,
            required=required,
        )
        if within == "query" and view.items and not parameter.joined:
            yield field(place + "[]", schemas.together(view.items), None)


def _path_parameter(name: str, parameters: dict[tuple[str, str], _Declared], schemas: SchemaReader) -> Parameter:
    parameter = parameters.get(("path", name))
    if parameter is None:
        return Parameter(name=name, kind="string")
    kinds = parameter.view.kinds or frozenset()
    kind = _KIND_OF_FORMAT.get(parameter.view.format, "")
    return Parameter(name=name, kind=kind or ("integer" if "integer" in kinds else "string"))


def _form_field(parameter: _Declared) -> FieldProfile:
    return field(parameter.name, parameter.view, parameter.node.get("required") is True)


def _status(text: str) -> int | None:
    if _STATUS.fullmatch(text):
        return int(text)
    if _RANGE.fullmatch(text):
        return int(text[0])
    return 0 if text == "default" else None


def _texts(node: Any) -> tuple[str, ...]:
    return tuple(text for text in node if isinstance(text, str)) if isinstance(node, list) else ()
