"""What control makes of what it knows, without asking anybody: pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from eastwall import policy
from eastwall.model.call import Mode
from eastwall.model.decision import Verdict
from eastwall.model.endpoint import Endpoint, Schema
from eastwall.model.finding import Detection
from eastwall.model.record import CallRecord


def text_keys(value: Any) -> Any:
    """Dictionary keys as text, so that JSON can hold them: `("orders", "engine-timeout")` becomes two levels."""
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for key, inner in value.items():
        first, *rest = key if isinstance(key, tuple) else (key,)
        node = found
        for part in (first, *rest[:-1]) if rest else ():
            node = node.setdefault(str(part), {})
        node[str(rest[-1] if rest else first)] = text_keys(inner)
    return found


def by_reason(counts: Any) -> Counter[str]:
    """Counts by reason out of `{reason: n}` or `{service: {reason: n}}`."""
    found: Counter[str] = Counter()
    for name, value in dict(counts or {}).items():
        if isinstance(value, Mapping):
            found.update(by_reason(value))
        else:
            found[str(name)] += int(value)
    return +found


def graphql_at(endpoints: Sequence[Endpoint]) -> frozenset[tuple[str, str]]:
    """(service, path) where GraphQL was seen."""
    return frozenset((e.service, e.template) for e in endpoints if e.protocol == "graphql" and e.operation and e.calls)


def for_engines(e: Endpoint) -> Endpoint:
    """An endpoint without what no engine looks at: a large specification is mostly response schemas."""
    return replace(e, responses=(), selection=(), alternatives=())


def essence(endpoints: Sequence[Endpoint]) -> object:
    """What engines act on, without mere counters: two equal ones need no new snapshot."""
    return hash(tuple(_essence(e) for e in endpoints))


def _essence(e: Endpoint) -> object:
    def fields(schema: Schema) -> object:
        return tuple((f.place, f.kinds, f.format, f.data_class, f.seen == f.of) for f in schema.fields)

    return (
        (e.id, e.service, e.method, e.template, e.parameters, e.status, e.origin, e.login, e.sample_every, e.actors > 1),
        (fields(e.request), fields(e.query)),
        (e.properties, e.response_only, e.gives, e.data_classes),
        tuple((o.place, o.kind, o.exclusive, o.broad, round(o.confidence, 1)) for o in e.objects),
        tuple((cls, calls.bit_length()) for cls, calls in e.property_calls),
        (
            e.excused,
            tuple(p.endpoint for p in e.after),
            e.once is None,
            tuple(one[:2] for one in e.accustomed),
            tuple((cls, actors > 1) for cls, _, actors in e.users),
        ),
    )


def named(record: CallRecord) -> dict[str, Any]:
    """A record with its field names: its wire form is an array."""
    found = {name: getattr(record, name) for name in record.__struct_fields__}
    for name in ("request_fields", "response_fields"):
        found[name] = [{key: getattr(field, key) for key in field.__struct_fields__} for field in found[name]]
    return found


def explained(record: CallRecord, endpoint: Endpoint | None, detections: Mapping[str, Detection]) -> dict[str, Any]:
    """Everything known about one call, for people and machines. `endpoint`: as it is known now; `detections`: by id."""
    whole: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(named(record)))
    for finding in whole["findings"]:
        meta = detections.get(finding["id"])
        if meta is not None:
            finding |= {
                "title": meta.title,
                "cwe": meta.cwe,
                "attack": meta.attack,
                "stage": meta.stage,
                "audience": meta.audience,
            }
    for match, original in zip(whole["matches"], record.matches, strict=True):
        match["mode"] = Mode(original.mode).name.lower()
    verdict = Verdict(action=record.action, would=record.would, matches=record.matches)
    return whole | {
        "explanation": policy.explain(verdict),
        "to_pass": list(dict.fromkeys(match.to_pass for match in record.matches if match.to_pass)),
        "endpoint_now": None if endpoint is None else msgspec.to_builtins(endpoint),
    }
