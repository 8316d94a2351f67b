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
from eastwall.model.snapshot import ServiceScope
from eastwall.runtime.policy_store import PolicyState


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


def services(scopes: Sequence[ServiceScope], endpoints: Sequence[Endpoint]) -> list[dict[str, Any]]:
    """Scopes with how many operations are known of each, and how many calls of these."""
    counts: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for endpoint in endpoints:
        counts[endpoint.service] += 1
        calls[endpoint.service] += endpoint.calls
    return [
        {
            **msgspec.to_builtins(scope),
            "mode": scope.mode.name.lower(),
            "endpoints": counts[scope.name],
            "calls": calls[scope.name],
        }
        for scope in scopes
    ]


def applied_set(state: PolicyState) -> dict[str, Any]:
    """The policies that are applied, and who applied them."""
    applied = state.applied
    return {
        "digest": applied.digest,
        "applied": applied.time,
        "act": applied.act,
        "who": msgspec.to_builtins(applied.who),
        "origin": msgspec.to_builtins(applied.origin),
        "files": applied.files,
        "attachments": sorted(applied.attachments),
        "policies": [
            {"name": p.name, "kind": p.kind, "location": p.location, "mode": getattr(p.spec, "mode", None)}
            for p in state.policies.policies
        ],
    }


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
