"""The learned inventory as an OpenAPI document, and an OpenAPI document as declared endpoints.

Export is OpenAPI 3.1 (JSON Schema 2020-12). Import takes 3.0 and 3.1 in their common part: paths, methods, parameters, and the
places of request properties. `$ref` is followed inside the document only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from re import compile as regex
from typing import Any
from urllib.parse import urlsplit

from eastwall.discovery.inventory import endpoint_id
from eastwall.model.endpoint import Endpoint, FieldProfile, Parameter, Schema

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
MAX_DEPTH = 12
"""Levels of a declared request schema that are read; recursive schemas end here."""
MAX_PLACES = 500
"""Property places of one declared request."""
MAX_SCHEMAS = 5000
"""Schemas visited for one declared request: alternatives that name each other multiply at every level."""

_PARAMETER = regex(r"\{([^{}]*)\}")
_UNSAFE = regex(r"[^A-Za-z0-9]+")
_FORMATS = {"uuid": "uuid", "date": "date", "date-time": "date-time", "email": "email", "uri": "uri", "ipv4": "ipv4"}
_PARAMETER_SCHEMAS: dict[str, dict[str, Any]] = {
    "integer": {"type": "integer"},
    "uuid": {"type": "string", "format": "uuid"},
    "date": {"type": "string", "format": "date"},
    "email": {"type": "string", "format": "email"},
}
_KIND_OF_SCHEMA = {"uuid": "uuid", "date": "date", "email": "email"}


# --- export


def openapi(endpoints: Iterable[Endpoint], service: str) -> dict[str, Any]:
    """OpenAPI 3.1 document of one service's endpoints. Methods OpenAPI has no word for (`CONNECT`, custom ones) are left out."""
    paths: dict[str, dict[str, Any]] = {}
    taken: set[str] = set()
    for endpoint in sorted(endpoints, key=lambda e: (e.template, e.method)):
        method = endpoint.method.lower()
        if endpoint.service != service or method not in METHODS:
            continue
        template, parameters = _path(endpoint)
        item = paths.setdefault(template, {})
        if method not in item:
            item[method] = _operation(endpoint, parameters, taken)
    return {"openapi": "3.1.0", "info": {"title": service, "version": "learned"}, "paths": paths}


def _path(endpoint: Endpoint) -> tuple[str, list[dict[str, Any]]]:
    """The template with distinct parameter names, which OpenAPI requires, and their descriptions."""
    kinds = {parameter.name: parameter.kind for parameter in endpoint.parameters}
    names: list[str] = []
    parameters: list[dict[str, Any]] = []
    parts = _PARAMETER.split(endpoint.template)
    for at in range(1, len(parts), 2):
        name = unique = parts[at] or "value"
        count = 2
        while unique in names:
            unique, count = f"{name}{count}", count + 1
        names.append(unique)
        schema = _PARAMETER_SCHEMAS.get(kinds.get(name, ""), {"type": "string"})
        parameters.append({"name": unique, "in": "path", "required": True, "schema": schema})
        parts[at] = "{" + unique + "}"
    return "".join(parts), parameters


def _operation(endpoint: Endpoint, parameters: list[dict[str, Any]], taken: set[str]) -> dict[str, Any]:
    name = unique = _UNSAFE.sub("_", f"{endpoint.method.lower()}_{endpoint.template}").strip("_")
    count = 2
    while unique in taken:
        unique, count = f"{name}_{count}", count + 1
    taken.add(unique)
    for field in endpoint.query.fields:
        if not field.place.startswith("query."):
            continue
        required = 0 < endpoint.query.samples == field.seen
        parameters.append({"name": field.place[6:], "in": "query", "required": required, "schema": _scalar(field)})
    operation: dict[str, Any] = {"operationId": unique, "parameters": parameters, "responses": {}}
    if endpoint.request.fields:
        operation["requestBody"] = {"content": {"application/json": {"schema": json_schema(endpoint.request)}}}
    schemas = dict(endpoint.responses)
    for status in sorted({status for status, _ in endpoint.statuses if 100 <= status <= 599} | schemas.keys()):
        response: dict[str, Any] = {"description": f"seen {dict(endpoint.statuses).get(status, 0)} times"}
        if status in schemas and schemas[status].fields:
            response["content"] = {"application/json": {"schema": json_schema(schemas[status])}}
        operation["responses"][str(status)] = response
    if not operation["responses"]:
        operation["responses"]["default"] = {"description": "never seen"}
    operation["x-eastwall"] = {"origin": endpoint.origin, "status": endpoint.status, "calls": endpoint.calls}
    return operation


def json_schema(schema: Schema) -> dict[str, Any]:
    """JSON Schema (2020-12) of a learned message."""
    root: dict[str, Any] = {}
    for field in sorted(schema.fields, key=lambda f: f.place.count(".") + f.place.count("[]")):
        node = root
        if field.place != "$":
            steps = _steps(field.place)
            for step in steps[:-1]:
                node = _child(node, step)
            if _required(field) and steps[-1] not in ("[]", "{}"):
                node.setdefault("required", []).append(steps[-1])
            node = _child(node, steps[-1])
        _describe(node, field)
    _finish(root)
    return root


def _steps(place: str) -> list[str]:
    return [step for part in place.split(".") for step in part.replace("[]", "\0[]").split("\0") if step]


def _child(node: dict[str, Any], step: str) -> dict[str, Any]:
    found: dict[str, Any]
    if step == "[]":
        found = node.setdefault("items", {})
    elif step == "{}":
        found = node.setdefault("additionalProperties", {})
    else:
        found = node.setdefault("properties", {}).setdefault(step, {})
    return found


def _required(field: FieldProfile) -> bool:
    return 0 < field.of == field.seen


def _describe(node: dict[str, Any], field: FieldProfile) -> None:
    node.update({key: value for key, value in _scalar(field).items() if key not in node})


def _scalar(field: FieldProfile) -> dict[str, Any]:
    kinds = [kind for kind in field.kinds if not (kind == "integer" and "number" in field.kinds)]
    found: dict[str, Any] = {}
    if kinds:
        found["type"] = kinds[0] if len(kinds) == 1 else kinds
    if field.format in _FORMATS and "string" in kinds:
        found["format"] = _FORMATS[field.format]
    if field.data_class:
        found["x-data-class"] = field.data_class
    return found


def _finish(node: dict[str, Any]) -> None:
    """Types that follow from structure, and `required` in order."""
    if "type" not in node and ("properties" in node or "additionalProperties" in node):
        node["type"] = "object"
    if "type" not in node and "items" in node:
        node["type"] = "array"
    if "required" in node:
        node["required"] = sorted(set(node["required"]))
    for child in node.get("properties", {}).values():
        _finish(child)
    for key in ("items", "additionalProperties"):
        if key in node:
            _finish(node[key])


# --- import


class SpecError(ValueError):
    """The document is not one to read endpoints from; the message says where and why."""


def declared(document: dict[str, Any], service: str = "") -> tuple[Endpoint, ...]:
    """Endpoints of an OpenAPI 3.0 or 3.1 document, origin `declared`, sorted by template and method.

    Request schemas hold the declared property places, query schemas the query parameters, both with `seen` 0. The path of the
    first server is put before every template. Raises `SpecError` with one clear line.
    """
    version = document.get("openapi") if isinstance(document, dict) else None
    if not isinstance(version, str) or not version.startswith("3."):
        shown = f"`openapi: {version}`" if version is not None else "no `openapi` field"
        raise SpecError(f"not an OpenAPI 3 document: {shown}; convert it to OpenAPI 3.0 or 3.1")
    paths = document.get("paths") or {}
    if not isinstance(paths, dict):
        raise SpecError("`paths` is not an object; it must map path templates to operations")
    base = _base(document)
    found: dict[str, Endpoint] = {}
    for template, item in paths.items():
        if not isinstance(template, str) or not template.startswith("/"):
            raise SpecError(f"path `{template}` does not start with a slash")
        item = _resolve(document, item)
        if not isinstance(item, dict):
            raise SpecError(f"path `{template}` is not an object")
        for method in METHODS:
            operation = item.get(method)
            if isinstance(operation, dict):
                endpoint = _declared(document, service, method.upper(), base + template, item, operation)
                found.setdefault(endpoint.id, endpoint)
    return tuple(sorted(found.values(), key=lambda e: (e.template, e.method)))


def _declared(
    document: dict[str, Any], service: str, method: str, template: str, item: dict[str, Any], operation: dict[str, Any]
) -> Endpoint:
    described: dict[tuple[str, str], dict[str, Any]] = {}
    for source in (item.get("parameters"), operation.get("parameters")):
        for parameter in source if isinstance(source, list) else ():
            parameter = _resolve(document, parameter)
            if isinstance(parameter, dict) and isinstance(parameter.get("name"), str):
                described[(str(parameter.get("in")), parameter["name"])] = parameter
    query = tuple(
        FieldProfile(
            place=f"query.{name}", kinds=_kinds(_schema(document, parameter)), format=_format(_schema(document, parameter))
        )
        for (where, name), parameter in sorted(described.items())
        if where == "query"
    )
    parameters = tuple(
        Parameter(name=name, kind=_parameter_kind(_schema(document, described.get(("path", name), {}))))
        for name in _PARAMETER.findall(template)
    )
    return Endpoint(
        id=endpoint_id(service, method, template),
        service=service,
        method=method,
        template=template,
        parameters=parameters,
        origin="declared",
        request=Schema(fields=_request_fields(document, operation)),
        query=Schema(fields=query),
    )


def _request_fields(document: dict[str, Any], operation: dict[str, Any]) -> tuple[FieldProfile, ...]:
    body = _resolve(document, operation.get("requestBody"))
    content = body.get("content") if isinstance(body, dict) else None
    fields: dict[str, FieldProfile] = {}
    budget = [MAX_SCHEMAS]
    for media in content.values() if isinstance(content, dict) else ():
        if isinstance(media, dict):
            for place, schema in _places(document, media.get("schema"), "", budget, 0):
                if len(fields) < MAX_PLACES:
                    fields.setdefault(place, FieldProfile(place=place, kinds=_kinds(schema), format=_format(schema)))
    return tuple(fields[place] for place in sorted(fields))


def _places(
    document: dict[str, Any], schema: Any, prefix: str, budget: list[int], depth: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, schema) of every property below a schema."""
    schema = _resolve(document, schema)
    budget[0] -= 1
    if not isinstance(schema, dict) or depth > MAX_DEPTH or budget[0] < 0:
        return
    for word in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(word) or ():
            yield from _places(document, part, prefix, budget, depth + 1)
    properties = schema.get("properties")
    for name, child in properties.items() if isinstance(properties, dict) else ():
        child = _resolve(document, child)
        if isinstance(child, dict):
            place = f"{prefix}.{name}" if prefix else str(name)
            yield place, child
            yield from _places(document, child, place, budget, depth + 1)
    if "items" in schema:
        yield from _places(document, schema["items"], prefix + "[]", budget, depth + 1)
    if isinstance(schema.get("additionalProperties"), dict):
        place = prefix + ".{}" if prefix else "{}"
        yield place, schema["additionalProperties"]
        yield from _places(document, schema["additionalProperties"], place, budget, depth + 1)


def _base(document: dict[str, Any]) -> str:
    """Path of the first server, with its variables at their defaults, without a slash at the end."""
    servers = document.get("servers")
    server = servers[0] if isinstance(servers, list) and servers else None
    if not isinstance(server, dict) or not isinstance(server.get("url"), str):
        return ""
    url = server["url"]
    variables = server.get("variables")
    for name, variable in variables.items() if isinstance(variables, dict) else ():
        if isinstance(variable, dict):
            url = url.replace("{" + str(name) + "}", str(variable.get("default", "")))
    try:
        path = urlsplit(url).path
    except ValueError as fault:
        raise SpecError(f"server `{server['url']}` is not a URL: {fault}") from fault
    path = path.rstrip("/")
    return path if path.startswith("/") or not path else "/" + path


def _resolve(document: dict[str, Any], node: Any) -> Any:
    """Follow `$ref`s within the document. Raises `SpecError` for one that leads nowhere, or out, or in a circle."""
    for _ in range(MAX_DEPTH):
        if not isinstance(node, dict) or not isinstance(node.get("$ref"), str):
            return node
        reference: str = node["$ref"]
        if not reference.startswith("#/"):
            raise SpecError(f"reference `{reference}` leads out of the document; bundle it into one file")
        node = document
        for step in reference[2:].split("/"):
            step = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict) or step not in node:
                raise SpecError(f"reference `{reference}` leads nowhere")
            node = node[step]
    raise SpecError("references go in a circle")


def _schema(document: dict[str, Any], parameter: dict[str, Any]) -> dict[str, Any]:
    schema = _resolve(document, parameter.get("schema"))
    return schema if isinstance(schema, dict) else {}


def _kinds(schema: dict[str, Any]) -> tuple[str, ...]:
    kind = schema.get("type")
    kinds = [kind] if isinstance(kind, str) else [k for k in kind if isinstance(k, str)] if isinstance(kind, list) else []
    if schema.get("nullable") is True:
        kinds.append("null")
    if not kinds and "properties" in schema:
        kinds.append("object")
    return tuple(sorted(set(kinds)))


def _format(schema: dict[str, Any]) -> str:
    form = schema.get("format")
    return form if isinstance(form, str) and form in _FORMATS else ""


def _parameter_kind(schema: dict[str, Any]) -> str:
    form = _KIND_OF_SCHEMA.get(_format(schema), "")
    return form or ("integer" if "integer" in _kinds(schema) else "string")
