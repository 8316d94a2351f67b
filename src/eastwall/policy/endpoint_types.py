"""What the inventory knows of an endpoint's parameters, for the check of conditions that read them.

Only what can be told for certain, or seldom goes wrong: a place that was seen in few calls has no type, and a message in which values are
written as texts (a form, XML) has none either. What is not known says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from eastwall.discovery.body_schemas import parent_of
from eastwall.discovery.objects import NO_NAME
from eastwall.model.endpoint import Endpoint, FieldProfile, Schema
from eastwall.policy.expression_types import FORMS, Place
from eastwall.policy.patterns import OperationPattern

MIN_SAMPLES = 5
"""Samples before a name that is in none of them is told to be unknown, and before a place has a type."""
MAX_PLACES = 400
"""Places of a learned schema; of a larger one parts may not have been recorded."""
_KINDS = {"string": "text", "integer": "number", "number": "number", "boolean": "truth", "object": "record", "array": "list"}
_FORM = "application/x-www-form-urlencoded"


def variables_of(endpoint: Endpoint) -> dict[str, Place]:
    """What `path`, `query` and `body` are in calls of an endpoint, `path` under the names of the inventory."""
    return {"path": _path(endpoint), "query": _query(endpoint), "body": _body(endpoint)}


def with_own_names(path: Place, endpoint: Endpoint, patterns: Iterable[OperationPattern]) -> Place:
    """`path` with the names that patterns which the endpoint's calls are in give to its segments."""
    segments = [segment for segment in endpoint.template.split("/") if segment]
    fields = dict(path.fields)
    for pattern in patterns:
        for position, _, name in pattern.names:
            segment = segments[position] if position < len(segments) else ""
            same = path.fields.get(segment[1:-1]) if segment[:1] == "{" and pattern.segments[position] is None else None
            own = Place(f"path.{name}", "text")
            fields[name] = own if same is None else same._replace(name=own.name)
    return path._replace(fields=fields)


def _declared(endpoint: Endpoint) -> bool:
    return endpoint.origin != "observed"


def _path(endpoint: Endpoint) -> Place:
    declared = {field.place[5:]: field for field in endpoint.query.fields if field.place.startswith("path.")}
    samples = 0 if _declared(endpoint) else max(endpoint.calls, 1)
    fields = {}
    for parameter in endpoint.parameters:
        words = declared[parameter.name].enum if parameter.name in declared else ()
        form = parameter.kind if parameter.kind in FORMS else ""
        fields[parameter.name] = Place(f"path.{parameter.name}", "text", samples, words=words, form=form)
    return Place("path", "map", samples, fields, open=False)


def _query(endpoint: Endpoint) -> Place:
    if endpoint.protocol != "rest":
        return Place("query", "map")
    schema = endpoint.query
    fields: dict[str, Place] = {}
    for field in schema.fields:
        name = field.place.removeprefix("query.").removesuffix("[]")
        if not field.place.startswith("query.") or name in fields:
            continue
        settled = _settled(field)
        # Whatever it stands for: in the query it is written as text.
        form = "integer" if field.kinds == ("integer",) else field.format if field.kinds == ("string",) else ""
        words = field.enum if settled and set(field.kinds) <= {"string"} else ()
        fields[name] = Place(f"query.{name}", "text", field.seen, words=words, form=form if settled and form in FORMS else "")
    open_ended = "{}" in fields or not (_declared(endpoint) or schema.samples >= MIN_SAMPLES) or len(fields) >= MAX_PLACES
    return Place("query", "map", 0 if _declared(endpoint) else schema.samples, fields, open=open_ended)


def _settled(field: FieldProfile) -> bool:
    """Declared and never seen, or seen often enough."""
    return field.seen == 0 or field.seen >= MIN_SAMPLES


def _body(endpoint: Endpoint) -> Place:
    """A Place of kind `any` where nothing can be told."""
    schema = endpoint.request
    media = schema.media_types or tuple("json" if kind == "json" else kind for kind in endpoint.body_kinds)
    typed = bool(media) and all("json" in one for one in media)
    named = bool(media) and all("json" in one or one in (_FORM, "form") for one in media)
    if endpoint.protocol != "rest" or not named or not schema.fields:
        return Place("body", "any")
    return _Body(schema, declared=_declared(endpoint), typed=typed).place("$")


class _Body:
    """The tree of a body, from its list of places."""

    def __init__(self, schema: Schema, *, declared: bool, typed: bool) -> None:
        outside = ("query.", "path.", "header.", "cookie.")
        self.fields = {field.place: field for field in schema.fields if not field.place.startswith(outside)}
        self.samples = 0 if declared else schema.samples
        self.typed = typed
        self.whole = len(self.fields) < MAX_PLACES and (declared or schema.samples >= MIN_SAMPLES)
        self.below: dict[str, dict[str, str]] = {}
        """Place -> step -> place."""
        for name in self.fields:
            if name != "$":
                above, step = parent_of(name, self.fields)
                self.below.setdefault(above, {})["" if step == NO_NAME else "$" if step == '"$"' else step] = name

    def place(self, at: str) -> Place:
        """What is known of a place and of all below it."""
        field = self.fields.get(at)
        below = self.below.get(at, {})
        item = self.place(below["[]"]) if "[]" in below else None
        inner = {step: self.place(name) for step, name in below.items() if step not in ("[]", "{}")}
        name = "body" if at == "$" else f"body{at}" if at.startswith("[]") else f"body.{at}"
        kind = self._kind(field, bool(inner), item is not None)
        is_open = not inner or "{}" in below or not self.whole
        samples = self.samples if kind == "record" or field is None else field.seen
        settled = field is not None and _settled(field) and set(field.kinds) <= {"string", "null"}
        return Place(name, kind, samples, inner, is_open, item, field.enum if field is not None and settled else ())

    def _kind(self, field: FieldProfile | None, has_fields: bool, has_items: bool) -> str:
        if field is None:
            return "record" if has_fields and not has_items else "any"
        kinds = {_KINDS.get(kind, "any") for kind in field.kinds}
        if not _settled(field) or len(kinds) != 1 or (not self.typed and not kinds & {"record", "list"}):
            return "any"
        return kinds.pop()
