"""What was learned compared with the baselines: what is taken at once, what waits, what is agreed on; and what engines get."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from eastwall.discovery.lifecycle import is_admin
from eastwall.discovery.privilege import privileged
from eastwall.learning.adopted import RELEASED, Adopted, Step
from eastwall.learning.agreement import Agreement, Backing, Crowd, Element, active, agree
from eastwall.learning.baseline_acts import Act, Candidate, State, candidate_id, first
from eastwall.model.endpoint import Endpoint, FieldProfile, ObjectParameter, Precedent, Schema

FIRM_KIND = 0.93
"""Confidence from which on an ownership is settled: that of 55 objects, each with one owner. Below, it comes and goes as it is learned."""
RELEASE_SECONDS = 86_400.0
"""For how long what begins is of a release; and for how long findings that callers agree on since count for less: models learn what has
changed in that time."""
BURST_SECONDS = 900.0
BURST_ELEMENTS = 3
BURST_SHARE = 0.2
"""A deploy: so many elements that began within so many seconds, from such a share of all callers."""


def since_deploy(began: float, deployed: float) -> bool:
    """Whether what began then may be of a release that began at `deployed`; 0: there was none."""
    return bool(deployed) and deployed - BURST_SECONDS <= began <= deployed + RELEASE_SECONDS


class Adoption:
    """One comparison of what was learned of a service with its baselines."""

    def __init__(self, append: Callable[..., Act], name: str, service: State, endpoints: Sequence[Endpoint], now: float) -> None:
        self.append = append
        self.name = name
        self.service = service
        self.endpoints = {e.id: e for e in endpoints}
        self.now = now
        most: dict[str, int] = {}
        for e in endpoints:
            for cls, _, actors in e.users:
                most[cls] = max(most.get(cls, 0), actors)
        self.lone = frozenset(cls for cls, actors in most.items() if actors < 2)
        self._groups: dict[int, dict[str, list[Crowd]]] = {}
        self.calls = sum(e.calls for e in endpoints)
        self.since = min((a.since for a in service.adopted.values()), default=now)

    def run(self) -> list[Act]:
        """Take in what may be taken at once, and promote what is agreed on; the acts."""
        service = self.service
        for e in self.endpoints.values():
            known = service.adopted.get(e.id)
            if known is None:
                if e.status == "learned" and e.calls:
                    service.adopted[e.id] = first(service, e, self.lone)
            else:
                known.tighten(e)
        self._settle_kinds()
        acts = self._deploys()
        elements = set(service.backings) | set(self._learned())
        service.candidates = {}
        agreed: list[tuple[Step, str]] = []
        for element in sorted(elements):
            judged = self._judge(element)
            if judged is None:
                service.backings.pop(element, None)
                continue
            if element.aspect == "release" and judged[0].actors < 2:
                continue  # an attacker, so far
            candidate, step, agreement = judged
            if agreement.agreed and candidate.state == "waiting":
                agreed.append((step, f"{candidate.what} (was: {candidate.was}; is: {candidate.would}): {candidate.why}"))
                service.backings.pop(element, None)
            else:
                service.candidates[candidate.id] = (candidate, step)
        if agreed:
            reason = "callers agree"
            if service.deployed:
                last = next((a for a in reversed(service.acts) if a.kind == "deployed"), None)
                reason += f", after a deploy ({last.reason})" if last is not None else ""
            steps, lines = tuple(step for step, _ in agreed), tuple(line for _, line in agreed)
            acts.append(self.append(self.name, "promoted", self.now, reason=reason, steps=steps, lines=lines))
        return acts

    def _learned(self) -> Iterable[Element]:
        """What was learned of settled operations and their baselines do not have."""
        for e in self.endpoints.values():
            known = self.service.adopted.get(e.id)
            if known is None:
                continue
            for cls, _, actors in e.users:
                if actors >= 2 and cls not in known.users:
                    yield Element("function", e.id, cls, "")
            for cls, places in e.properties:
                if cls in known.classes:
                    for place in places:
                        if place not in known.classes[cls]:
                            yield Element("property", e.id, cls, place)
            for detection, place, _ in e.accustomed:
                if (detection, place) not in known.accustomed:
                    yield Element("accustomed", e.id, detection, place)
            for field in (*e.request.fields, *e.query.fields):
                bounds = known.ranges.get(field.place)
                if bounds is None or field.minimum is None or field.maximum is None:
                    continue
                if field.minimum < bounds[0] or field.maximum > bounds[1]:
                    yield Element("range", e.id, "", field.place)

        for e in self.endpoints.values():
            for one in e.objects:
                if one.kind in self.service.kinds and not one.exclusive:
                    yield Element("exclusive", "", "learned", one.kind)

    def _settle_kinds(self) -> None:
        for e in self.endpoints.values():
            for one in e.objects:
                if one.exclusive and one.confidence >= FIRM_KIND:
                    self.service.kinds[one.kind] = replace(one, place="")
                    self.service.waived.discard(Element("exclusive", "", "learned", one.kind))

    def _judge(self, element: Element) -> tuple[Candidate, Step, Agreement] | None:
        """The candidate that an element is; None when it is none any more."""
        service = self.service
        backing = service.backings.get(element) or Backing()
        known = service.adopted.get(element.endpoint)
        endpoint = self.endpoints.get(element.endpoint)
        if element.endpoint and (known is None or endpoint is None):
            return None
        since = known.since if known is not None else self.since
        grave = backing.grave or self._grave(element, endpoint)
        began = backing.first if backing.calls else self.now
        deployed = since_deploy(began, service.deployed)
        crowd = active(self._crowds(element), began, deployed=deployed)
        calls = endpoint.calls if endpoint is not None else self.calls
        agreement = agree(backing, crowd, calls=calls, age=max(began - since, 0.0), deployed=deployed, grave=grave)
        if element.aspect == "accustomed" or element.cls == "learned":
            # `learning.habits` asks for half of the callers, known for certain, for an hour, and `learning.ownership` for a tenth of the
            # objects without the callers who share most: that is agreement.
            why = next((o.evidence for e in self.endpoints.values() for o in e.objects if o.kind == element.place), "")
            agreement = Agreement(True, why or "most of its callers do so as a matter of course", 0, 0, 0.0, 0.0)
        if element in service.waived:
            return None
        if element.aspect == "release":
            agreement = _since_deploy(agreement, deployed=deployed)
            until = self.now + RELEASE_SECONDS
            told = _released(element, known, endpoint, self.now, until)
        else:
            told = _told(element, known, endpoint, backing, agreement)
        if told is None:
            return None
        step, what, was, would = told
        state = service.refused.get(element) or ("pinned" if service.pinned else "waiting")
        candidate = Candidate(
            candidate_id(self.name, element), self.name, what, agreement.why, *element[:1], element.endpoint, element.cls, element.place, was,
            would, backing.calls, agreement.actors, agreement.share, agreement.largest, began, backing.last, state,
        )  # fmt: skip
        return candidate, step, agreement

    def _crowds(self, element: Element) -> list[Crowd]:
        if element.aspect in ("property", "release"):
            found = self.service.crowds.get((element.endpoint, element.cls))
            return [found] if found is not None else []
        if element.aspect == "function":
            return self._grouped(1).get(element.cls, [])
        return self._grouped(0).get(element.endpoint, []) if element.endpoint else list(self.service.crowds.values())

    def _grouped(self, by: int) -> dict[str, list[Crowd]]:
        """Crowds by endpoint (0) or by identity class (1): the lowest callers of all are among the lowest of each."""
        found = self._groups.get(by)
        if found is None:
            found = self._groups[by] = {}
            for key, crowd in self.service.crowds.items():
                found.setdefault(key[by], []).append(crowd)
        return found

    def _grave(self, element: Element, endpoint: Endpoint | None) -> bool:
        if element.aspect == "property":
            return privileged(element.place) or (endpoint is not None and element.place in endpoint.response_only)
        if element.aspect == "function":
            return endpoint is not None and is_admin(endpoint)
        return element.aspect in ("after", "once", "exclusive")

    def _deploys(self) -> list[Act]:
        """A release shows in its name, which answers tell, or in much that is new at once, from many callers."""
        service = self.service
        named = service.releases.begun(service.deployed)
        if named is not None:
            reason = f"answers name a new release: {named[0]}"
            return [self.append(self.name, "deployed", named[1], reason=reason)]
        fresh = {
            e: b
            for e, b in service.backings.items()
            if len(b.actors) >= 2 and e not in service.refused and b.first > max(service.deployed, self.since + BURST_SECONDS)
        }
        if len(fresh) < BURST_ELEMENTS:
            return []
        start = max(b.first for b in fresh.values()) - BURST_SECONDS
        burst = {e: b for e, b in fresh.items() if b.first >= start}
        actors = {actor for b in burst.values() for actor in b.actors}
        crowd = active(list(service.crowds.values()), start)
        share = len(crowd & actors) / len(crowd) if crowd else 0.0
        if len(burst) < BURST_ELEMENTS or len(actors) < 3 or share < BURST_SHARE:
            return []
        at = min(b.first for b in burst.values())
        operations = len({e.endpoint for e in burst})
        reason = f"{len(burst)} new shapes at {operations} operations from {share:.0%} of the callers within {BURST_SECONDS / 60:.0f} minutes"
        return [self.append(self.name, "deployed", at, reason=reason)]


class Published:
    """The endpoints of a service as its baselines have them."""

    def __init__(self, service: State, endpoints: Sequence[Endpoint], now: float) -> None:
        self.service = service
        self.now = now
        self.learned = endpoints
        touched = {e.place for e in (*service.waived, *service.refused) if e.aspect == "exclusive"}
        self.kinds = {kind: owned for kind, owned in service.kinds.items() if kind in touched}

    def endpoints(self) -> dict[str, Endpoint]:
        found = {}
        for e in self.learned:
            known = self.service.adopted.get(e.id)
            if known is not None:
                found[e.id] = self._one(e, known)
            elif self.kinds:
                found[e.id] = self._owned(e)
        return found

    def _one(self, e: Endpoint, known: Adopted) -> Endpoint:
        users = {cls: (calls, actors) for cls, calls, actors in e.users}
        for cls, (calls, actors) in list(users.items()):
            if cls not in known.users and actors >= 2:
                users[cls] = (min(calls, 2), 1)
        for cls, (calls, actors) in known.users.items():
            mine = users.get(cls, (0, 0))
            users[cls] = (max(mine[0], calls), max(mine[1], actors))
        properties = {cls: known.classes.get(cls, places) for cls, places in e.properties if cls != "*"}
        if properties:
            properties["*"] = {place for places in properties.values() for place in places}
        own = self._owned(e)
        return replace(
            own,
            status="learned",
            users=tuple(sorted((cls, calls, actors) for cls, (calls, actors) in users.items())),
            properties=tuple(sorted((cls, tuple(sorted(places))) for cls, places in properties.items())),
            request=_ranged(e.request, known),
            query=_ranged(e.query, known),
            accustomed=tuple(one for one in e.accustomed if one[:2] in known.accustomed),
            excused=tuple(sorted({*e.excused, *((*one, until) for one, until in known.released.items() if until > self.now)})),
            after=own.after if Element("after", e.id, "", "") in self.service.waived else _after(e, known),
            once=None if Element("once", e.id, "", "") in self.service.waived else e.once or known.once,
        )

    def _owned(self, e: Endpoint) -> Endpoint:
        if not self.kinds:
            return e
        return replace(e, objects=tuple(self._object(o) for o in e.objects))

    def _object(self, learned: ObjectParameter) -> ObjectParameter:
        settled = self.kinds.get(learned.kind)
        if settled is None:
            return learned
        if Element("exclusive", "", "", learned.kind) in self.service.waived:
            return replace(learned, exclusive=False)
        if not learned.exclusive and Element("exclusive", "", "learned", learned.kind) in self.service.refused:
            return replace(settled, place=learned.place)
        return learned


def _after(e: Endpoint, known: Adopted) -> tuple[Precedent, ...]:
    found = {(p.kind, p.endpoint): p for p in known.after} | {(p.kind, p.endpoint): p for p in e.after}
    return tuple(found[key] for key in sorted(found))


def _ranged(schema: Schema, known: Adopted) -> Schema:
    ranges = known.ranges
    if not any(field.place in ranges and (field.minimum, field.maximum) != ranges[field.place] for field in schema.fields):
        return schema
    return replace(schema, fields=tuple(_within(field, ranges.get(field.place)) for field in schema.fields))


def _within(field: FieldProfile, bounds: tuple[float, float] | None) -> FieldProfile:
    return field if bounds is None else replace(field, minimum=bounds[0], maximum=bounds[1])


def _since_deploy(agreement: Agreement, *, deployed: bool) -> Agreement:
    """What models stop is let through since a deploy alone: else a crowd of accounts would open what it likes."""
    return agreement if deployed else replace(agreement, agreed=False, why=f"{agreement.why}; it waits for a deploy")


def _released(
    element: Element, known: Adopted | None, endpoint: Endpoint | None, now: float, until: float
) -> tuple[Step, str, str, str] | None:
    """As `_told`, of a finding that a release causes."""
    detection, _, place = element.place.partition(RELEASED)
    if known is None or endpoint is None or known.released.get((detection, place, element.cls), 0.0) > now:
        return None
    label = endpoint.operation or f"{endpoint.method} {endpoint.template}"
    step = Step(element.aspect, element.endpoint, element.cls, element.place, after=(until,))
    return (
        step,
        f"`{detection}` at `{place}` of `{element.cls}` in {label}",
        "stopped",
        "told with low confidence for a day, and learned",
    )


def _told(
    element: Element, known: Adopted | None, endpoint: Endpoint | None, backing: Backing, agreement: Agreement
) -> tuple[Step, str, str, str] | None:
    """(step, what it is, what was, what would be); None when the baseline has it."""
    aspect, key, cls, place = element
    label = (endpoint.operation or f"{endpoint.method} {endpoint.template}") if endpoint is not None else ""
    if aspect == "exclusive":
        return (
            Step(aspect, key, cls, place), f"objects of kind `{place}` belong to nobody any more", "each to its owner", "to everybody",
        )  # fmt: skip
    assert known is not None
    match aspect:
        case "property":
            if place in known.classes.get(cls, {place}):
                return None
            return Step(aspect, key, cls, place), f"`{cls}` may send `{place}` in {label}", "never sent", "sent"
        case "function":
            if cls in known.users:
                return None
            after = (backing.calls, max(2, agreement.actors))
            return Step(aspect, key, cls, place, after=after), f"`{cls}` may call {label}", "never called", "called"
        case "range":
            bounds = known.ranges.get(place)
            if bounds is None:
                return None
            low, high = backing.reach(agreement.needed)
            new = (min(low, bounds[0]), max(high, bounds[1]))
            shown = f"{new[0]:g} to {new[1]:g}" if new != bounds else "more"
            step = Step(aspect, key, cls, place, before=bounds, after=new)
            return step, f"`{place}` of {label} may be {shown}", f"{bounds[0]:g} to {bounds[1]:g}", shown
        case "after" if known.after:
            before = ", ".join(sorted(p.label for p in known.after))
            return Step(aspect, key), f"{label} needs nothing before it", f"after {before}", "at any time"
        case "once" if known.once is not None:
            return Step(aspect, key), f"{label} may be done again", "once", "more often"
        case "accustomed" if (cls, place) not in known.accustomed:
            return (
                Step(aspect, key, cls, place),
                f"{label} gets what {cls} finds at `{place}`",
                "told",
                "told with low confidence",
            )
    return None
