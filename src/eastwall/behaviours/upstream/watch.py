"""Answers of third parties, looked at before our own service sees them."""

from __future__ import annotations

from re import compile as regex
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from eastwall import behaviours
from eastwall.behaviours.upstream.markers import suspicious
from eastwall.behaviours.upstream.model import Answered, Knowledge, Party
from eastwall.discovery.shapes import shape
from eastwall.model.call import Completion, Phase
from eastwall.model.decision import Decision
from eastwall.model.deviations import Deviation, UpstreamChange, UpstreamRedirect, UpstreamValue
from eastwall.model.endpoint import Endpoint, Schema
from eastwall.model.facts import Facts

ENOUGH = 4
"""Answers from which on their shape is known: the next has another with a probability of 1 / (4 + 2)^2 (see `sessions.evidence`). That alone is told;
see `upstream_changed` for what must come together before it is held up."""
FEW_ANSWERS = 10
"""Answers of a third party before a redirect to another host is told; to an internal address it always is."""
LARGER = 8
"""Times the largest answer seen, ..."""
LARGE = 262_144
"""... and so many bytes at least."""
_TYPES = frozenset(("string", "integer", "number", "boolean", "object", "array"))
_REFRESH = regex(r"(?i)\burl\s*=\s*[\"']?([^\"';\s]+)")


class Known(Struct, frozen=True):
    """Look-up tables of `Knowledge`."""

    parties: dict[str, Party]
    answered: dict[str, Answered]
    schemas: dict[str, dict[int, Schema]]
    """Operations of third parties -> status -> what their answers look like."""


def compile(knowledge: Knowledge, world: behaviours.World) -> Known:
    """By service and by operation."""
    parties = {party.service: party for party in knowledge.parties}
    return Known(
        parties,
        {one.endpoint: one for one in knowledge.answered},
        {e.id: dict(e.responses) for e in world.endpoints if e.service in parties} if parties else {},
    )


class Watch(behaviours.Watch):
    """Keeps nothing but who is a third party."""

    def __init__(self) -> None:
        self._parties: frozenset[str] = frozenset()

    def asks(self, phase: Phase, endpoint: Endpoint, known: Known) -> bool:
        return endpoint.service in known.parties

    def response(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        party = known.parties.get(facts.call.service)
        response = facts.call.response
        if party is None or response is None:
            return ()
        if len(self._parties) != len(known.parties):
            self._parties = frozenset(known.parties)
        found = _redirect(facts, party)
        endpoint = facts.match.endpoint
        if not 200 <= response.status < 300:
            return found
        if endpoint is not None and facts.operation.body is not None:
            schema = known.schemas.get(endpoint.id, {}).get(response.status)
            if schema is not None and schema.samples >= ENOUGH:
                found += _changes(facts, schema)
        answered = known.answered.get(endpoint.id) if endpoint is not None else None
        if answered is not None and answered.answers >= ENOUGH:
            size = len(response.body)
            if size > max(LARGE, LARGER * answered.largest):
                expected = f"at most {answered.largest:,} bytes"
                found += (UpstreamChange("body", "size", expected, f"{size:,} bytes", answered.answers),)
        usual = frozenset(answered.marks) if answered is not None else frozenset()
        for place, text, hint in suspicious(facts.operation.body, facts.operation.raw_body):
            if (place, hint) not in usual:
                found += (UpstreamValue(place, text, hint),)
        return found

    def notes(self, endpoint: Endpoint, known: Known) -> bool:
        return endpoint.service in known.parties

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        """Whereto the answer redirected, and the marks that it bore."""
        if completion.service not in self._parties or response is None:
            return None
        facts = response.facts
        url, note = _target(facts), {}
        if url and (host := _host(url)):
            note["to"] = host
        marks = sorted({f"{hint} {place}" for place, _, hint in suspicious(facts.operation.body, facts.operation.raw_body)})
        return {**note, **({"marks": marks} if marks else {})} or None


def _target(facts: Facts) -> str:
    """The URL that an answer sends its reader to."""
    response = facts.call.response
    if response is None:
        return ""
    if 300 <= response.status < 400 and response.status != 304:
        return response.headers.get("location", "")[:2_000]
    refresh = response.headers.get("refresh", "")
    found = _REFRESH.search(refresh[:2_000]) if refresh else None
    return found[1] if found else ""


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()[:100]
    except ValueError:
        return "not a URL"


def _redirect(facts: Facts, party: Party) -> tuple[Deviation, ...]:
    url = _target(facts)
    if not url:
        return ()
    host = _host(url)
    own = facts.call.request.authority.partition(":")[0].lower()
    if not host or host == own or host in party.hosts:
        return ()
    where = "header.location" if "location" in (facts.call.response.headers if facts.call.response else {}) else "header.refresh"
    return (UpstreamRedirect(where, host, url.partition("?")[0][:200], party.answers, party.hosts[:4], own),)


def _changes(facts: Facts, schema: Schema) -> tuple[Deviation, ...]:
    """How the answer's shape differs: one deviation for each way, with the first place and how many there are."""
    kinds: dict[str, set[str]] = {}
    for field in shape(facts.operation):
        if not field.place.startswith("query."):
            kinds.setdefault(field.place, set()).add(field.kind)
    learned = {field.place: field for field in schema.fields}
    other, new = [], []
    for place, seen in kinds.items():
        profile = learned.get(place)
        if profile is None:
            above = place.rpartition(".")[0].removesuffix("[]")
            if place != "$" and "{}" not in place and (not above or above in learned):
                new.append(place)
            continue
        allowed = set(profile.kinds) | ({"integer"} if "number" in profile.kinds else set())
        wrong = (seen & _TYPES) - allowed
        # Where there was nothing but null so far, anything may come.
        if wrong and allowed & _TYPES and profile.seen >= ENOUGH:
            other.append((place, "/".join(sorted(profile.kinds)), "/".join(sorted(wrong))))
    missing = [
        f.place
        for f in schema.fields
        if f.seen == f.of == schema.samples
        and f.place not in kinds
        and f.place.rpartition(".")[0] in ("", *kinds)
        and "[]" not in f.place
    ]
    found: tuple[Deviation, ...] = ()
    if other:
        place, was, now = other[0]
        found += (UpstreamChange(f"body.{place}", "type", was, now, schema.samples, len(other)),)
    if missing:
        found += (UpstreamChange(f"body.{missing[0]}", "missing", "always there", "missing", schema.samples, len(missing)),)
    if new:
        found += (UpstreamChange(f"body.{new[0]}", "new", "never there", "there", schema.samples, len(new)),)
    return found
