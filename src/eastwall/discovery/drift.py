"""What is declared against what is seen, in both directions.

Declared fields that a published profile bears with `seen` 0 were not seen. What was never sampled is not missed: nothing is called
unseen, or missing, before `ENOUGH` samples. One odd call is no drift either where the kind needs more (`looser-validation`,
`type-mismatch`: `FEW` samples), because learning itself lets only clean calls in.

Severity: `high` where what is not declared is sensitive or privileged, or authentication is missing; `medium` where the service takes more
than it says it does; `low` for other differences; `info` for what is declared and was not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from eastwall.discovery.body_schemas import SILENT_QUERY
from eastwall.discovery.inventory import Inventory, compile_inventory, declares, endpoint_id, identify, split_template
from eastwall.discovery.lifecycle import identified
from eastwall.discovery.privilege import privileged
from eastwall.model.blueprint import Drift
from eastwall.model.endpoint import Endpoint, FieldProfile, Schema
from eastwall.model.operation import Operation

ENOUGH = 20
"""Samples before something counts as never seen."""
FEW = 3
"""Samples of a field before what they look like counts."""
MAX_PER_ENDPOINT = 100
"""Differences told of one endpoint; the most severe, and then the most seen, first."""

_RANK = {"high": 0, "medium": 1, "low": 2, "info": 3}
_ORDINARY_STATUSES = frozenset({301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 412, 413, 415, 422, 429})
"""Every service may answer so; not to declare them says little."""
_NUMBERS = frozenset({"integer", "number"})


def drift(declared: Endpoint, observed: Endpoint) -> tuple[Drift, ...]:
    """Every difference between one operation's declaration and its observation, most severe first."""
    found: list[Drift] = []
    if observed.calls:
        found += _fields(declared, observed)
        found += _responses(declared, observed)
        found += _operation(declared, observed)
    else:
        found.append(_unseen(declared))
    return ordered(found)[:MAX_PER_ENDPOINT]


def service_drift(
    declared: Iterable[Endpoint], observed: Iterable[Endpoint], speaks: Callable[[Endpoint], bool] = lambda _: True
) -> tuple[Drift, ...]:
    """The differences of a whole service: operations that only one side has, and the differences of those that both have.

    Endpoints are compared by id; a seen template that is one value of a declared parameter (`/orders/latest` of `/orders/{id}`) counts as
    that one's. `speaks`: False for operations that the specification does not speak for (see `discovery.lifecycle`); they are no drift.
    """
    named = {endpoint.id: endpoint for endpoint in declared}
    inventory = compile_inventory(named.values())
    seen: dict[str, list[Endpoint]] = {}
    found: list[Drift] = []
    for endpoint in observed:
        if not endpoint.calls:
            continue
        key = endpoint.id if endpoint.id in named else _declared_id(endpoint, inventory)
        if key in named:
            seen.setdefault(key, []).append(endpoint)
        elif (
            endpoint.method not in ("HEAD", "OPTIONS")
            and speaks(endpoint)
            and not declares(named, endpoint.service, endpoint.method, endpoint.template, endpoint.operation)
        ):
            found.append(undeclared(endpoint))
    for key, endpoint in named.items():
        if key in seen:
            for each in seen[key]:
                found += drift(endpoint, each)
        elif not any(
            endpoint_id(endpoint.service, endpoint.method, t, endpoint.operation) in seen for t in endpoint.alternatives
        ):
            found.append(_unseen(endpoint))
    return ordered(found)


def _declared_id(endpoint: Endpoint, inventory: Inventory) -> str:
    segments = split_template(endpoint.template)
    operation = Operation(
        protocol=endpoint.protocol, method=endpoint.method, segments=segments, path=endpoint.template, name=endpoint.operation
    )
    match = identify(endpoint.service, operation, inventory).endpoint
    return match.id if match is not None else ""


def undeclared(endpoint: Endpoint) -> Drift:
    """The drift of a shadow operation as a whole."""
    sensitive = sorted({name for _, _, name in endpoint.data_classes})
    carries = f"; it carries {', '.join(sensitive[:4])}" if sensitive else ""
    message = f"it is called ({endpoint.calls:,} calls) and not declared{carries}"
    return _drift("undeclared-operation", endpoint, "", message, "high" if sensitive else "medium", endpoint.calls)


def _unseen(declared: Endpoint) -> Drift:
    return _drift("unseen-operation", declared, "", "it is declared and was never seen", "info", 0)


def _drift(kind: str, endpoint: Endpoint, place: str, message: str, severity: str, seen: int) -> Drift:
    return Drift(
        kind=kind,
        service=endpoint.service,
        endpoint=endpoint.id,
        method=endpoint.method,
        template=endpoint.template,
        place=place,
        message=message,
        severity=severity,
        seen=seen,
    )


def ordered(found: Iterable[Drift]) -> tuple[Drift, ...]:
    """Most severe first, then what was seen most."""
    return tuple(
        sorted(found, key=lambda d: (_RANK.get(d.severity, 9), -d.seen, d.service, d.template, d.method, d.kind, d.place))
    )


# --- the operation as a whole


def _operation(declared: Endpoint, observed: Endpoint) -> Iterator[Drift]:
    share = identified(observed)
    if declared.secured and share is not None and share < 0.95:
        succeeded = sum(count for status, count in observed.statuses if 200 <= status < 300)
        open_calls = round(succeeded * (1 - share))
        message = f"authentication is declared, and {open_calls:,} of {succeeded:,} successful calls had none"
        yield _drift("missing-authentication", observed, "", message, "high", open_calls)
    if declared.deprecated:
        yield _drift(
            "deprecated-in-use",
            observed,
            "",
            f"it is declared as deprecated, and is called ({observed.calls:,} calls)",
            "low",
            observed.calls,
        )


# --- query and request body


def _fields(declared: Endpoint, observed: Endpoint) -> Iterator[Drift]:
    accepted = sum(count for status, count in observed.statuses if 200 <= status < 300)
    if observed.query.fields or declared.query.fields:
        yield from _compare(declared.query, observed.query, observed, "", accepted, "undeclared-parameter")
    if declared.protocol == "graphql":
        return  # callers name the variables, and write arguments into the document
    if declared.request.fields or (observed.request.samples and not declared.request.media_types):
        yield from _compare(declared.request, observed.request, observed, "request.", accepted, "undeclared-field")


def _compare(declared: Schema, observed: Schema, endpoint: Endpoint, prefix: str, accepted: int, kind: str) -> Iterator[Drift]:
    named = {field.place: field for field in declared.fields}
    open_places = _open_places(declared.fields)
    typed = _typed(observed)
    files = _files(observed)
    for field in observed.fields:
        if not field.seen or field.place == "$" or field.place.rpartition(".")[0] in files:
            continue
        place = prefix + field.place
        known = named.get(field.place)
        if known is not None and field.place in files:
            continue
        if known is not None and typed:
            yield from _looser(known, field, endpoint, place, accepted)
        elif (
            known is None
            and not _allowed(field.place, named, open_places)
            and field.place.removeprefix("query.") not in SILENT_QUERY
        ):
            yield _undeclared(kind, field, endpoint, place)
    if observed.samples >= ENOUGH:
        seen = {field.place: field for field in observed.fields if field.seen}
        yield from _missing(declared.fields, seen, endpoint, prefix, observed.samples)


def _typed(observed: Schema) -> bool:
    """XML has no types but text, and does not tell a list of one from its item: nothing of it can be of the wrong type."""
    return not any("xml" in media for media in observed.media_types)


def _files(observed: Schema) -> frozenset[str]:
    """Uploaded files: declared as strings (OpenAPI 3, "Considerations for File Uploads"), decoded as a description of the part
    (`model.operation.Operation.body`)."""
    if not any("multipart" in media for media in observed.media_types):
        return frozenset()
    places = {field.place for field in observed.fields if field.seen}
    named = {place.removesuffix(".filename") for place in places if place.endswith(".filename")}
    return frozenset(place for place in named if place in places and {f"{place}.content_type", f"{place}.size"} <= places)


def _undeclared(kind: str, field: FieldProfile, endpoint: Endpoint, place: str) -> Drift:
    carries = f", and holds {field.data_class}" if field.data_class else ""
    grave = bool(field.data_class) or (kind == "undeclared-field" and privileged(field.place))
    word = "parameter" if kind == "undeclared-parameter" else "field"
    why = "" if field.data_class or not grave else "; its name means privilege or state"
    message = f"this {word} is not declared and was sent in {field.seen:,} accepted calls{carries}{why}"
    return _drift(kind, endpoint, place, message, "high" if grave else "medium", field.seen)


def _allowed(place: str, named: Mapping[str, FieldProfile], open_places: frozenset[str]) -> bool:
    """Whether a place is declared by what it is in: a map's entries, an object or array about whose inside nothing is said."""
    parent = place
    while parent:
        cut = max(parent.rfind("."), parent.rfind("[]"))
        if cut < 0:
            return "$" in open_places
        parent = parent[:cut]
        if parent in open_places or f"{parent}.{{}}" in named:
            return True
        if parent in named:
            return False
    return "$" in open_places


def _open_places(fields: Sequence[FieldProfile]) -> frozenset[str]:
    """Objects and arrays that are declared without anything inside, and open ones (`{}`): they may hold whatever they like."""
    holders = {f.place for f in fields if not f.kinds or "object" in f.kinds or "array" in f.kinds}
    parents = set()
    for field in fields:
        cut = max(field.place.rfind("."), field.place.rfind("[]"))
        parents.add(field.place[:cut] if cut > 0 else "$")
        if field.place.endswith("[]"):
            parents.add(field.place[:-2] or "$")
    return frozenset(holders - parents) | (frozenset({"$"}) if "{}" in {f.place for f in fields} else frozenset())


def _missing(
    fields: Sequence[FieldProfile], seen: Mapping[str, FieldProfile], endpoint: Endpoint, prefix: str, samples: int
) -> Iterator[Drift]:
    for field in fields:
        place = field.place
        # Path parameters are always there, headers and cookies are not in the shape of a call.
        if place == "$" or place.endswith(("[]", "{}")) or place.startswith(("path.", "header.", "cookie.")):
            continue
        found = seen.get(place)
        if found is None:
            if _parent(place) in seen or _parent(place) == "$":
                message = f"this is declared and was in none of {samples:,} samples"
                severity = "low" if field.required else "info"
                yield _drift("unseen-field", endpoint, prefix + place, message, severity, 0)
        elif field.required and found.of >= FEW and found.seen < found.of:
            lacking = found.of - found.seen
            message = f"this is declared as required, and {lacking:,} of {found.of:,} samples were accepted without it"
            yield _drift(
                "missing-required", endpoint, prefix + place, message, "medium" if prefix != "response." else "low", lacking
            )


def _parent(place: str) -> str:
    if place.startswith("query."):
        return "$"
    cut = place.rfind(".")
    return place[:cut] if cut > 0 else "$"


def _looser(declared: FieldProfile, field: FieldProfile, endpoint: Endpoint, place: str, accepted: int) -> Iterator[Drift]:
    """Values that the declaration does not allow and the service took."""
    if field.seen < FEW:
        return
    other = _other_kinds(declared, field)
    if other:
        told = " or ".join(declared.kinds)
        message = f"declared as {told}, seen as {' and '.join(other)} ({field.seen:,} samples)"
        yield _drift("type-mismatch", endpoint, place, message, "medium", field.seen)
        return
    if place.startswith("response."):
        return
    loose = "; ".join(_beyond(declared, field))
    if loose and accepted:
        message = f"{loose}; such calls were accepted ({field.seen:,} samples)"
        yield _drift("looser-validation", endpoint, place, message, "medium", field.seen)


def _other_kinds(declared: FieldProfile, field: FieldProfile) -> list[str]:
    if not declared.kinds:
        return []
    allowed = set(declared.kinds)
    if "number" in allowed:
        allowed.add("integer")
    # In a query, a form or XML everything is text that may be read as something.
    if field.place.startswith("query."):
        return []
    return [kind for kind in field.kinds if kind not in allowed]


def _beyond(declared: FieldProfile, field: FieldProfile) -> Iterator[str]:
    if declared.minimum is not None and field.minimum is not None and field.minimum < declared.minimum:
        yield f"declared at least {declared.minimum:g}, seen {field.minimum:g}"
    if declared.maximum is not None and field.maximum is not None and field.maximum > declared.maximum:
        yield f"declared at most {declared.maximum:g}, seen {field.maximum:g}"
    if declared.max_length and field.max_length > declared.max_length:
        yield f"declared at most {declared.max_length} long, seen {field.max_length}"
    if declared.min_length and 0 < field.min_length < declared.min_length:
        yield f"declared at least {declared.min_length} long, seen {field.min_length}"
    if declared.enum and field.enum and not set(field.enum) <= set(declared.enum):
        more = sorted(set(field.enum) - set(declared.enum))
        yield f"declared as one of {len(declared.enum)} words, seen {', '.join(f'`{word[:40]}`' for word in more[:3])} too"
    if declared.format and not field.format and "string" in field.kinds and field.seen >= ENOUGH:
        yield f"declared as {declared.format}, and not all were"
    elif declared.format and field.format and declared.format != field.format and not _NUMBERS & set(declared.kinds):
        yield f"declared as {declared.format}, seen as {field.format}"


# --- responses


def _responses(declared: Endpoint, observed: Endpoint) -> Iterator[Drift]:
    schemas = dict(declared.responses)
    stated = {status for status, _ in declared.statuses} | schemas.keys()
    if not stated:
        return
    for status, count in observed.statuses:
        if count < FEW or not 100 <= status <= 599 or _stated(status, stated):
            continue
        severity = "info" if status in _ORDINARY_STATUSES else "low"
        message = f"the status {status} is not declared and was answered {count:,} times"
        yield _drift("undeclared-status", observed, f"response.{status}", message, severity, count)
    for status, schema in observed.responses:
        expected = _schema_for(status, schemas)
        if expected is None or not expected.fields:
            continue
        yield from _answer(expected, schema, observed, f"response.{status}.")


def _stated(status: int, stated: Iterable[int]) -> bool:
    """Declared as itself, as its range (`2XX` is 2) or by `default` (0)."""
    return status in stated or status // 100 in stated or 0 in stated


def _schema_for(status: int, schemas: Mapping[int, Schema]) -> Schema | None:
    return schemas.get(status) or schemas.get(status // 100) or schemas.get(0)


def _answer(declared: Schema, observed: Schema, endpoint: Endpoint, prefix: str) -> Iterator[Drift]:
    named = {field.place: field for field in declared.fields}
    open_places = _open_places(declared.fields)
    typed = _typed(observed)
    for field in observed.fields:
        if not field.seen or field.place == "$":
            continue
        known = named.get(field.place)
        if known is not None and typed:
            yield from _looser(known, field, endpoint, prefix + field.place, 0)
        elif known is None and not _allowed(field.place, named, open_places):
            carries = f"; it holds {field.data_class}" if field.data_class else ""
            grave = bool(field.data_class) or privileged(field.place)
            message = f"answers hold this, which is not declared ({field.seen:,} samples){carries}"
            yield _drift(
                "undeclared-field",
                endpoint,
                prefix + field.place,
                message,
                "high" if field.data_class else "medium" if grave else "low",
                field.seen,
            )
    if observed.samples >= ENOUGH:
        seen = {field.place: field for field in observed.fields if field.seen}
        for found in _missing(declared.fields, seen, endpoint, prefix, observed.samples):
            # What an answer leaves out harms nobody but its reader.
            yield (
                found
                if found.kind != "missing-required"
                else _drift(
                    "missing-required", endpoint, found.place, found.message.replace("accepted", "answered"), "low", found.seen
                )
            )
