"""What engines judge by: not all that was learned, but what callers agreed on (`learning.agreement`).

The learner learns on and on. Each time its endpoints are published, `adopt` compares them with the baseline: an operation that is new or
still being learned is taken as it is, and what tightens is taken at once. What loosens a settled operation (a class gains a function or a
property, a range widens, an order or an ownership ends) becomes a **candidate**, which is withheld until enough callers agree. Every change
of that kind is an `Act`: numbered, with the steps that it consists of, so that it can be written down before it counts, done again after a
crash, and undone.

Bounded: `MAX_ELEMENTS` elements per service, of which those with the fewest callers leave, so that who makes up names drives out no others'.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eastwall.behaviours import Models
from eastwall.behaviours.sketch import hash64
from eastwall.learning.adopted import RELEASED, Adopted, Step
from eastwall.learning.adoption import Adoption, Published
from eastwall.learning.agreement import Backing, Crowd, Element
from eastwall.learning.baseline_acts import MAX_ACTS, Act, Candidate, State, carry_out, standing
from eastwall.learning.baselines_models import Holder
from eastwall.learning.held import MODEL, dump_held, load_held, merge_held, moved_held, moved_text
from eastwall.learning.releases import Releases
from eastwall.model.endpoint import Endpoint, ObjectParameter
from eastwall.model.finding import Finding
from eastwall.model.identity import Strength
from eastwall.model.place import without_indices
from eastwall.model.record import CallRecord

FORMAT = 2
MAX_ELEMENTS = 512
"""Elements of a service that wait."""
MAX_CROWDS = 20_000
"""Crowds of a service (operation and class)."""
MAX_NEW = 20
"""New properties of one call that are looked at."""
_LET_THROUGH = ("allow", "redact")
MODELS = frozenset({"mass-assignment", "function-not-used", "value-out-of-range", "step-out-of-order", "object-not-granted"})
"""Detections that say: this is not in the baseline. A call that has no other suspicious finding may back its elements."""


RELEASABLE = frozenset(
    (
        "value-out-of-range", "value-relation", "value-not-seen", "unusual-volume", "harvesting", "automated-use", "sequence-broken",
        "step-repeated", "excessive-exposure", "data-class-not-seen",
    )
)  # fmt: skip
"""Detections of what models of behaviour learned that a release may change. Blocked calls teach no model; what half of the callers do since
a deploy is let through for a day (`adoption.RELEASE_SECONDS`), so that the models learn it. None of them is about whose an object is, who a
caller is, or what an attacker sends."""


class Baselines:
    """Mergeable state of all services. One thread at a time."""

    def __init__(self) -> None:
        self.seq = 0
        """Number of the last act."""
        self.clock = 0.0
        """Time of the latest call, Unix seconds."""
        self._services: dict[str, State] = {}

    # -- learning -------------------------------------------------------------------------------------------------

    def fold(self, record: CallRecord, key: str) -> None:
        """Count one call at the operation `key`: who could, and who does what the baseline does not have."""
        if record.time > self.clock:
            self.clock = record.time
        service = self._services.get(record.service)
        if service is None:
            return
        if record.release and 200 <= record.status < 400:
            service.releases.note(record.release, hash64(record.actor or record.source), record.time)
        if not record.strength or not record.actor:
            return
        if record.findings:
            if not _backs(record):
                return
        elif record.action not in _LET_THROUGH or not 200 <= record.status < 300 or "fault" in record.traits:
            return
        actor, cls, time = hash64(record.actor), record.actor_class, record.time
        crowd = service.crowds.get((key, cls))
        if crowd is None:
            crowd = service.crowds[key, cls] = Crowd()
            if len(service.crowds) > MAX_CROWDS:
                del service.crowds[key, cls]
        if crowd.last.get(actor, inf) < time:
            crowd.last[actor] = time
        else:
            crowd.note(actor, time)
        known = service.adopted.get(key)
        if known is None:
            return
        grave = _grave(record.findings) if record.findings else frozenset()
        if cls not in known.users:
            self._note(service, Element("function", key, cls, ""), record, actor, grave="function-not-used" in grave)
        if record.properties:
            for place in known.strange(cls, record.properties)[:MAX_NEW]:
                self._note(service, Element("property", key, cls, place), record, actor, grave=place in grave)
        if known.ranges and record.request_fields:
            for field in record.request_fields:
                if field.number is not None:
                    self._number(service, known, key, field.place, field.number, record, actor)
        if record.findings:
            self._found(service, known, key, record, actor)

    def _found(self, service: State, known: Adopted, key: str, record: CallRecord, actor: int) -> None:
        """What findings tell, and shapes do not."""
        for finding in record.findings:
            if finding.suspicious and finding.id in RELEASABLE:
                # Half of those who could must, and be known by more than a guess: what models stop gives somebody something.
                said = f"{finding.id}{RELEASED}{without_indices(finding.where)}"
                self._note(service, Element("release", key, record.actor_class, said), record, actor, grave=True)
            if finding.id == "step-out-of-order":
                aspect = "after" if finding.evidence.startswith("without") else "once"
                self._note(service, Element(aspect, key, "", ""), record, actor, grave=True)
            elif finding.id == "value-out-of-range" and not record.sampled:
                try:
                    number = float(finding.evidence)
                except ValueError:
                    continue
                self._number(service, known, key, finding.where.removeprefix("body."), number, record, actor)
            elif finding.id == "object-not-granted":
                for place, kind, _ in record.used:
                    if place == finding.where and kind in service.kinds:
                        self._note(service, Element("exclusive", "", "", kind), record, actor, grave=True)
                        break

    def _number(
        self, service: State, known: Adopted, key: str, place: str, number: float, record: CallRecord, actor: int
    ) -> None:
        bounds = known.ranges.get(place)
        if bounds is not None and not bounds[0] <= number <= bounds[1]:
            self._note(service, Element("range", key, "", place), record, actor, number)

    def _note(
        self, service: State, element: Element, record: CallRecord, actor: int, value: float | None = None, *, grave: bool = False
    ) -> None:
        if grave and record.strength < Strength.ASSERTED:
            return  # names that cost nothing give nobody privilege
        backing = service.backings.get(element)
        if backing is None:
            backing = service.backings[element] = Backing()
            if len(service.backings) > MAX_ELEMENTS:
                backing.note(actor, record.time, value, grave=grave)
                _prune(service)
                return
        backing.note(actor, record.time, value, grave=grave)

    # -- adopting -------------------------------------------------------------------------------------------------

    def adopt(self, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        """The endpoints as the baselines have them, in the same order. What callers agree on is promoted: see `acts`."""
        by_service: defaultdict[str, list[Endpoint]] = defaultdict(list)
        for endpoint in endpoints:
            by_service[endpoint.service].append(endpoint)
        found: dict[str, Endpoint] = {}
        for name, own in by_service.items():
            service = self._services.get(name)
            if service is None:
                if all(e.status != "learned" for e in own):
                    continue
                service = self._services[name] = State()
            Adoption(self.append, name, service, own, self.clock).run()
            found.update(Published(service, own, self.clock).endpoints())
        return tuple(found.get(e.id, e) for e in endpoints)

    def hold(self, models: Models, endpoints: Sequence[Endpoint]) -> dict[str, Struct]:
        """Model -> its knowledge as the baselines have it; `endpoints` as `adopt` gave them. What callers agree on is promoted: see `acts`."""
        return Holder(self._services, self.append, self.clock).run(models, endpoints)

    def append(self, name: str, kind: str, now: float, **more: Any) -> Act:
        """Carry out an act, and number it."""
        service = self._services.setdefault(name, State())
        version = service.version + (kind in ("promoted", "rolled-back"))
        act = Act(self.seq + 1, now, name, kind, version, **more)
        self.replay(act)
        return act

    def replay(self, act: Act) -> bool:
        """Carry out an act that was written down; False when it was carried out before."""
        if act.seq <= self.seq:
            return False
        service = self._services.setdefault(act.service, State())
        self.seq = act.seq
        carry_out(service, act)
        service.acts.append(act)
        del service.acts[:-MAX_ACTS]
        return True

    # -- by hand --------------------------------------------------------------------------------------------------

    def promote(self, candidate_id: str, now: float, by: str) -> Act:
        """Take a candidate in. Raises LookupError."""
        name, (candidate, step) = self._candidate(candidate_id)
        return self.append(name, "promoted", now, by=by, reason="by hand", steps=(step,), lines=(_by_hand(candidate),))

    def reject(self, candidate_id: str, now: float, by: str) -> Act:
        """A candidate is not taken in by agreement from now on. Raises LookupError."""
        name, (candidate, step) = self._candidate(candidate_id)
        return self.append(name, "rejected", now, by=by, steps=(step,), lines=(f"not: {candidate.what}",))

    def since(self, seq: int) -> tuple[Act, ...]:
        """Acts after the one of this number, oldest first."""
        return tuple(act for act in self.acts() if act.seq > seq)

    def rollback(self, name: str, version: int, now: float, by: str) -> Act:
        """Undo what was promoted after a version, and pin it: nothing is promoted by agreement until `unpin` or a deploy.

        Raises LookupError, ValueError.
        """
        service = self._known(name)
        if not 1 <= version < service.version:
            raise ValueError(f"`{name}` has version {service.version} and earlier ones, not {version} to go back to")
        undone = standing(service.acts, version)
        oldest = service.acts[0].version if len(service.acts) >= MAX_ACTS else 1
        if version < oldest:
            raise ValueError(f"only versions from {oldest} on are kept of `{name}`")
        steps = tuple(step for act in reversed(undone) for step in reversed(act.steps))
        lines = tuple(f"no more: {line}" for act in reversed(undone) for line in act.lines)
        return self.append(name, "rolled-back", now, by=by, reason=f"to version {version}", steps=steps, lines=lines)

    def unpin(self, name: str, now: float, by: str) -> Act:
        """Let candidates be promoted by agreement again. Raises LookupError."""
        self._known(name)
        return self.append(name, "unpinned", now, by=by)

    def deploy(self, name: str, now: float, by: str, reason: str) -> Act:
        """A release of the service began. Raises LookupError."""
        self._known(name)
        return self.append(name, "deployed", now, by=by, reason=reason[:200])

    # -- questions ------------------------------------------------------------------------------------------------

    def services(self) -> tuple[str, ...]:
        return tuple(sorted(self._services))

    def summary(self, name: str) -> dict[str, Any]:
        """Version, pin and counts of a service. Raises LookupError."""
        service = self._known(name)
        return {
            "service": name,
            "version": service.version,
            "pinned": service.pinned,
            "deployed": service.deployed,
            "operations": len(service.adopted),
            "candidates": len(service.candidates) + len(service.held_candidates),
            "held": dict(sorted(Counter(model for model, _ in service.held).items())),
        }

    def candidates(self, name: str = "") -> tuple[Candidate, ...]:
        """What waits, most callers first."""
        found = [
            candidate
            for known, s in self._services.items()
            if not name or known == name
            for candidate, _ in (*s.candidates.values(), *s.held_candidates.values())
        ]
        return tuple(sorted(found, key=lambda c: (-c.actors, -c.calls, c.service, c.id)))

    def acts(self, name: str = "") -> tuple[Act, ...]:
        """What was done, oldest first."""
        found = [a for known, s in self._services.items() if not name or known == name for a in s.acts]
        return tuple(sorted(found, key=lambda a: a.seq))

    def _known(self, name: str) -> State:
        service = self._services.get(name)
        if service is None:
            raise LookupError(f"no baseline of a service `{name}` is known")
        return service

    def _candidate(self, candidate_id: str) -> tuple[str, tuple[Candidate, Step]]:
        for name, service in self._services.items():
            found = service.candidates.get(candidate_id) or service.held_candidates.get(candidate_id)
            if found is not None:
                return name, found
        raise LookupError(f"no candidate `{candidate_id}` waits; `eastwall baselines` lists them")

    # -- state ----------------------------------------------------------------------------------------------------

    def move(self, name: str, renamed: Mapping[str, str]) -> None:
        """Operations of a service have new ids (old -> new); several may become one."""
        service = self._services.get(name)
        if service is None or not renamed:
            return
        taken = [(renamed[old], service.adopted.pop(old)) for old in sorted(renamed.keys() & service.adopted.keys())]
        for new, adopted in taken:
            into = service.adopted.setdefault(new, adopted)
            if into is not adopted:
                into.merge(adopted)
        for adopted in service.adopted.values():
            adopted.renamed(renamed)
        moved = State()
        for element, backing in service.backings.items():
            _merge_into(moved.backings, element._replace(endpoint=renamed.get(element.endpoint, element.endpoint)), backing)
        for (endpoint, cls), crowd in service.crowds.items():
            _merge_into(moved.crowds, (renamed.get(endpoint, endpoint), cls), crowd)
        service.backings, service.crowds = moved.backings, moved.crowds
        service.waived = {_moved(e, renamed) for e in service.waived}
        service.refused = {_moved(e, renamed): how for e, how in service.refused.items()}
        service.held = moved_held(service.held, renamed)
        service.acts = [replace(act, steps=tuple(_moved_step(s, renamed) for s in act.steps)) for act in service.acts]

    def merge(self, other: Baselines) -> None:
        """Take in another shard's; `other` is left as it is."""
        self.seq = max(self.seq, other.seq)
        self.clock = max(self.clock, other.clock)
        for name, theirs in other._services.items():
            mine = self._services.setdefault(name, State())
            for key, adopted in theirs.adopted.items():
                mine.adopted.setdefault(key, Adopted(adopted.since)).merge(adopted)
            for element, backing in theirs.backings.items():
                mine.backings.setdefault(element, Backing()).merge(backing)
            if len(mine.backings) > MAX_ELEMENTS:
                _prune(mine)
            for at, crowd in theirs.crowds.items():
                if at in mine.crowds or len(mine.crowds) < MAX_CROWDS:
                    mine.crowds.setdefault(at, Crowd()).merge(crowd)
            for kind, owned in theirs.kinds.items():
                known = mine.kinds.get(kind, owned)
                mine.kinds[kind] = max(known, owned, key=lambda o: (o.confidence, o.evidence, o.broad))
            mine.waived |= theirs.waived
            merge_held(mine.held, theirs.held)
            mine.releases.merge(theirs.releases)
            mine.refused = {**theirs.refused, **mine.refused}
            acts = {(a.time, a.seq, a.kind): a for a in (*theirs.acts, *mine.acts)}
            mine.acts = [acts[key] for key in sorted(acts)][-MAX_ACTS:]
            mine.version = max(mine.version, theirs.version)
            mine.pinned = max(mine.pinned, theirs.pinned)
            mine.deployed = max(mine.deployed, theirs.deployed)

    def dump(self) -> list[Any]:
        """Plain data for `load`, in one order."""
        return [
            FORMAT,
            self.seq,
            self.clock,
            {
                name: [
                    {key: s.adopted[key].dump() for key in sorted(s.adopted)},
                    [[*element, s.backings[element].dump()] for element in sorted(s.backings)],
                    [[*at, s.crowds[at].dump()] for at in sorted(s.crowds)],
                    {kind: s.kinds[kind] for kind in sorted(s.kinds)},
                    sorted(map(list, s.waived)),
                    [[*element, s.refused[element]] for element in sorted(s.refused)],
                    s.acts,
                    [s.version, s.pinned, s.deployed],
                    dump_held(s.held),
                    s.releases.dump(),
                ]
                for name, s in sorted(self._services.items())
            },
        ]

    @classmethod
    def load(cls, data: Any) -> Baselines:
        """Raises ValueError when the data is something else, or of another version."""
        made = cls()
        try:
            version, made.seq, made.clock, services = data
            if version not in (1, FORMAT):  # 1: before models were held
                raise ValueError(f"it has format {version!r}, expected {FORMAT}")
            for name, (adopted, backings, crowds, kinds, waived, refused, acts, numbers, *held) in services.items():
                service = made._services[name] = State()
                service.adopted = {key: Adopted.load(one) for key, one in adopted.items()}
                service.backings = {Element(*element): Backing.load(one) for *element, one in backings}
                service.crowds = {(endpoint, cls_): Crowd.load(one) for endpoint, cls_, one in crowds}
                service.kinds = msgspec.convert(kinds, dict[str, ObjectParameter])
                service.waived = {Element(*element) for element in waived}
                service.refused = {Element(*element): how for *element, how in refused}
                service.acts = msgspec.convert(acts, list[Act])
                service.version, service.pinned, service.deployed = numbers
                service.held = load_held(held[0]) if held else {}
                service.releases = Releases.load(held[1]) if len(held) > 1 else Releases()
        except (TypeError, ValueError, AttributeError, KeyError, IndexError, msgspec.ValidationError) as fault:
            raise ValueError(f"not baselines: {fault}") from fault
        return made


def _by_hand(candidate: Candidate) -> str:
    if candidate.model:
        return f"{candidate.model}: {candidate.what} (was: {candidate.was}; is: {candidate.would}): {candidate.why}"
    return f"{candidate.what}: {candidate.why}"


def _backs(record: CallRecord) -> bool:
    """Whether a call with findings may stand for what its caller ordinarily does: it worked, or Eastwall alone kept it from working, for
    a baseline."""
    worked = record.action in _LET_THROUGH and 200 <= record.status < 300 and "fault" not in record.traits
    return (worked or record.action == "block") and all(
        f.id in MODELS or f.id in RELEASABLE or not f.suspicious for f in record.findings
    )


def _grave(findings: tuple[Finding, ...]) -> frozenset[str]:
    """Detections, and places of properties, that were called grave."""
    found = {f.id for f in findings if f.severity in ("high", "critical")}
    found |= {f.evidence for f in findings if f.id == "mass-assignment" and f.severity in ("high", "critical")}
    return frozenset(found)


def _moved(element: Element, renamed: Mapping[str, str]) -> Element:
    place = moved_text(element.place, renamed) if element.aspect == MODEL else element.place
    return element._replace(endpoint=renamed.get(element.endpoint, element.endpoint), place=place)


def _moved_step(step: Step, renamed: Mapping[str, str]) -> Step:
    element = _moved(step.element, renamed)
    was, now = (moved_text(text, renamed) for text in (step.was, step.now))
    return replace(step, endpoint=element.endpoint, place=element.place, was=was, now=now)


def _prune(service: State) -> None:
    """Make room: elements of the fewest callers leave."""
    order = sorted(service.backings, key=lambda e: (-len(service.backings[e].actors), -service.backings[e].calls, e))
    service.backings = {element: service.backings[element] for element in order[: MAX_ELEMENTS * 3 // 4]}


def _merge_into(into: dict[Any, Any], key: Any, value: Any) -> None:
    known = into.setdefault(key, value)
    if known is not value:
        known.merge(value)
