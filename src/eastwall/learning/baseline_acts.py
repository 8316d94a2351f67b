"""What is done to baselines: candidates, and acts, which are numbered, written down, done again after a crash, and undone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b

from msgspec import Struct

from eastwall.behaviours.holding import Key
from eastwall.learning.adopted import Adopted, Step
from eastwall.learning.agreement import Backing, Crowd, Element
from eastwall.learning.held import MODEL, Held, key_of, read_value
from eastwall.learning.releases import Releases
from eastwall.model.endpoint import Endpoint, ObjectParameter

MAX_ACTS = 1_000
"""Acts of a service that are kept, and so versions that can be gone back to. The log has all."""


class Act(Struct, frozen=True):
    """One change of the baselines of a service."""

    seq: int
    """1 for the first of this learner."""
    time: float
    service: str
    kind: str
    """`promoted`, `rejected`, `rolled-back`, `unpinned`, `deployed`."""
    version: int
    """Of the service's baselines from now on."""
    by: str = ""
    """Empty: by agreement. Else who did it by hand."""
    reason: str = ""
    steps: tuple[Step, ...] = ()
    lines: tuple[str, ...] = ()
    """One plain line for each step: what was, what is, on which evidence."""


class Candidate(Struct, frozen=True):
    """Something that would loosen a baseline."""

    id: str
    service: str
    what: str
    """`user` may send `gift` in POST /orders."""
    why: str
    """The evidence, and what it waits for."""
    aspect: str
    endpoint: str
    cls: str
    place: str
    was: str
    would: str
    calls: int
    actors: int
    share: float
    largest: float
    first: float
    last: float
    state: str = "waiting"
    """`waiting`, `rejected`, `rolled back`, `pinned`."""
    model: str = ""
    """The model of behaviour whose knowledge it is; empty: the operation's own baseline."""


class State:
    __slots__ = (
        "acts",
        "adopted",
        "backings",
        "candidates",
        "crowds",
        "deployed",
        "held",
        "held_candidates",
        "kinds",
        "pinned",
        "refused",
        "releases",
        "version",
        "waived",
    )

    def __init__(self) -> None:
        self.adopted: dict[str, Adopted] = {}
        """By endpoint id."""
        self.backings: dict[Element, Backing] = {}
        self.crowds: dict[tuple[str, str], Crowd] = {}
        """(endpoint id, identity class) -> callers."""
        self.kinds: dict[str, ObjectParameter] = {}
        """Kind of object that is settled as owned -> how (without a place)."""
        self.waived: set[Element] = set()
        """Orders and ownerships that are over, though they may still be learned."""
        self.refused: dict[Element, str] = {}
        """Element -> `rejected` or `rolled back`: not promoted by agreement."""
        self.acts: list[Act] = []
        self.version = 1
        self.pinned = 0
        """The version that was gone back to; 0: none."""
        self.deployed = 0.0
        """When the last deploy began, Unix seconds."""
        self.releases = Releases()
        """As answers name them."""
        self.candidates: dict[str, tuple[Candidate, Step]] = {}
        """As of the last `adopt`."""
        self.held: dict[tuple[str, Key], Held] = {}
        """(model of behaviour, thing) -> what was agreed on of it."""
        self.held_candidates: dict[str, tuple[Candidate, Step]] = {}
        """As of the last `learning.baselines_models.hold`."""


def first(service: State, e: Endpoint, lone: frozenset[str]) -> Adopted:
    """The first baseline of an operation, with what was decided before: the state may have been learned anew."""
    made = Adopted.of(e, e.first_seen, lone)
    for act in service.acts:
        for step in act.steps:
            if step.endpoint == e.id:
                if act.kind == "promoted":
                    made.take(step)
                elif act.kind in ("rolled-back", "rejected"):
                    made.undo(step)
    return made


def carry_out(service: State, act: Act) -> None:
    for step in act.steps:
        known = service.adopted.get(step.endpoint)
        element = step.element
        service.held_candidates.pop(candidate_id(act.service, element), None)
        if step.aspect == MODEL and act.kind in ("promoted", "rolled-back"):
            _carry_over(service, step, back=act.kind == "rolled-back")
        if act.kind == "promoted":
            service.refused.pop(element, None)
            service.backings.pop(element, None)
            if step.aspect in ("after", "once", "exclusive"):
                service.waived.add(element)
            if known is not None:
                known.take(step)
        elif act.kind == "rolled-back":
            service.refused[element] = "rolled back"
            service.waived.discard(element)
            if known is not None:
                known.undo(step)
        elif act.kind == "rejected":
            service.refused[element] = "rejected"
        service.candidates.pop(candidate_id(act.service, element), None)
    service.version = max(service.version, act.version)
    if act.kind == "rolled-back":
        service.pinned = int(act.reason.rpartition(" ")[2])
    elif act.kind in ("unpinned", "deployed"):
        service.pinned = 0
        service.refused = {element: how for element, how in service.refused.items() if how != "rolled back"}
        if act.kind == "deployed":
            service.deployed = act.time


def _carry_over(service: State, step: Step, *, back: bool) -> None:
    """What is held of a model's knowledge is this from now on."""
    text, thing = step.was if back else step.now, (step.cls, key_of(step.place))
    service.held.pop(thing, None)
    if text:
        with suppress(ValueError):  # of a model that was another then: it is held anew as it is learned
            service.held[thing] = Held(read_value(*thing, text), since=0.0)


def standing(acts: Sequence[Act], version: int) -> list[Act]:
    """What was promoted after a version and was not gone back on since."""
    found: list[Act] = []
    for act in acts:
        if act.kind == "promoted":
            found.append(act)
        elif act.kind == "rolled-back":
            back = int(act.reason.rpartition(" ")[2])
            found = [one for one in found if one.version <= back]
    return [act for act in found if act.version > version]


def candidate_id(service: str, element: Element) -> str:
    return "c_" + blake2b("\0".join((service, *element)).encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
