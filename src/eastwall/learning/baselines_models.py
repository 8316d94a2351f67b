"""What models of behaviour learned, held to what callers agreed on: the second half of `learning.baselines`.

Each time their knowledge is published, `hold` compares it thing by thing (`behaviours.holding`) with what was published before. A thing
that rests on few calls, or on less than a day, is taken as it is learned. Later what is tighter is taken at once, and a limit may drift as
far as twice what was agreed on, in however many steps. What goes further, and what a model no longer says, is a **candidate**: it is
withheld until enough callers do so (a share of the model's own uniform sample, so that one or a few of many move nothing, however
patient), for long enough; where a model does not tell callers apart, until it has been so for long enough. Then it is promoted by an
`Act`, with a line that says what was and what is, and can be rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from re import Match
from re import compile as regex
from typing import Any, NamedTuple

from msgspec import Struct

from eastwall.behaviours import BEHAVIOURS, Models
from eastwall.behaviours.holding import Backers, Holding, Key, Part
from eastwall.learning.adopted import Step
from eastwall.learning.adoption import since_deploy
from eastwall.learning.agreement import DEPLOY_SECONDS, MIN_ACTORS, MIN_SECONDS, SECONDS, SHARE, Element
from eastwall.learning.baseline_acts import Act, Candidate, State, candidate_id
from eastwall.learning.held import MODEL, Held, place_of, write_value
from eastwall.model.endpoint import Endpoint

ALL = "*"
"""Stands for a service where a thing holds for all of them."""
MAX_HELD = 20_000
"""Things of one service; further ones are published as they are learned."""
MAX_CANDIDATES = 512
_IDS = regex(r"ep_[0-9a-f]+")


class _Judged(NamedTuple):
    agreed: bool
    why: str
    actors: int
    share: float


class Holder:
    """One comparison of the models' knowledge with what is held."""

    def __init__(self, services: dict[str, State], append: Callable[..., Act], now: float) -> None:
        """`append`: carries out an act of a service, numbered. `now`: time of the latest call."""
        self.services = services
        self.append = append
        self.now = now
        self._of: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._agreed: dict[str, list[tuple[Step, str]]] = {}

    def run(self, models: Models, endpoints: Sequence[Endpoint]) -> dict[str, Struct]:
        """Model -> its knowledge as engines are to have it."""
        self._of = {e.id: e.service for e in endpoints}
        self._of |= {e.service: e.service for e in endpoints}
        self._labels = {e.id: e.operation or f"{e.method} {e.template}" for e in endpoints}
        for state in self.services.values():
            state.held_candidates = {}
        known = models.known(endpoints)
        split = {one.name: one.holding.split(known[one.name]) for one in BEHAVIOURS if one.holding and one.name in known}
        # Promotions first, so that what is agreed on is published now and in one act per service.
        for one in BEHAVIOURS:
            if one.holding is not None:
                self._judge(one.name, one.holding, models.of(one.name), split.get(one.name, {}))
        for service, agreed in sorted(self._agreed.items()):
            steps, lines = tuple(step for step, _ in agreed), tuple(line for _, line in agreed)
            self.append(service, "promoted", self.now, reason="callers agree", steps=steps, lines=lines)
        for one in BEHAVIOURS:
            if one.holding is not None:
                things = self._published(one.name, one.holding, split.get(one.name, {}))
                if things != split.get(one.name, {}):
                    known[one.name] = one.holding.join(known.get(one.name) or one.knowledge(), things)
        return known

    def _service(self, key: Key) -> str:
        return self._of.get(key[1], ALL)

    def _judge(self, model: str, holding: Holding, learned_by: Any, things: Mapping[Key, Any]) -> None:
        """Take what may be taken at once, and find what waits."""
        for key, value in things.items():
            part, service = holding.parts[key[0]], self._service(key)
            state = self.services.get(service)
            held = state.held.get((model, key)) if state is not None else None
            if held is None:
                if part.calls(value) >= part.firm:
                    state = self.services.setdefault(service, State())
                    if len(state.held) < MAX_HELD:
                        state.held[model, key] = Held(value, since=self.now)
            elif not self._taken(part, key, held, value):
                assert state is not None
                self._waits(model, holding, learned_by, service, state, key, value)
        for service, state in list(self.services.items()):
            for name, key in [thing for thing in state.held if thing[0] == model and thing[1] not in things]:
                held = state.held[name, key]
                part = holding.parts[key[0]]
                if not part.lost or self._learning(part, key, held):
                    del state.held[name, key]
                else:
                    self._waits(model, holding, learned_by, service, state, key, None)

    def _learning(self, part: Part, key: Key, held: Held) -> bool:
        """Whether it is not settled yet."""
        return 0.0 <= self.now - held.since < part.settle(key)

    def _taken(self, part: Part, key: Key, held: Held, value: Any) -> bool:
        """Whether a value is taken as it is learned."""
        if self._learning(part, key, held):
            held.base = value
        elif part.looser(held.base, value) and not part.within(held.base, value):
            return False
        held.current, held.began = value, 0.0
        return True

    def _waits(self, model: str, holding: Holding, learned_by: Any, service: str, state: State, key: Key, value: Any) -> None:
        """A candidate, or what is promoted now. `value`: None where the model says nothing any more."""
        held, part = state.held[model, key], holding.parts[key[0]]
        if not held.began or held.began > self.now:
            held.began = self.now
        endpoint = key[1] if key[1] in self._labels else ""
        element = Element(MODEL, endpoint, model, place_of(key))
        deployed = max((one.deployed for one in self.services.values()), default=0.0) if service == ALL else state.deployed
        age = held.began - held.since if held.since else 10 * SECONDS
        seconds = min(SECONDS, max(MIN_SECONDS, age / 10))
        if since_deploy(held.began, deployed):
            seconds = min(seconds, DEPLOY_SECONDS)
        judged = _judge(holding.backers(learned_by, key, held.base), self.now - held.began, seconds)
        refused = state.refused.get(element) or ("pinned" if state.pinned else "waiting")
        label = self._labels.get(endpoint, "")
        what = _IDS.sub(self._label, part.what(key)) + (f" of {label}" if label else "")
        was, would = part.shown(held.base), part.shown(value) if value is not None else "not known any more"
        step = Step(
            MODEL, endpoint, model, element.place, was=write_value(held.base), now=write_value(value) if value is not None else ""
        )
        if judged.agreed and refused == "waiting":
            line = f"{model}: {what} (was: {was}; is: {would}): {judged.why}"
            self._agreed.setdefault(service, []).append((step, line))
        elif len(state.held_candidates) < MAX_CANDIDATES:
            candidate = Candidate(
                candidate_id(service, element), service, what, judged.why, MODEL, endpoint, "", place_of(key[2:]).replace("\0", " "), was, would,
                part.calls(value) if value is not None else 0, judged.actors, judged.share, 0.0, held.began, self.now, refused, model,
            )  # fmt: skip
            state.held_candidates[candidate.id] = (candidate, step)

    def _label(self, match: Match[str]) -> str:
        return self._labels.get(match[0], match[0])

    def _published(self, model: str, holding: Holding, things: Mapping[Key, Any]) -> dict[Key, Any]:
        """What is learned, with what is held in the place of what waits."""
        found = dict(things)
        for state in self.services.values():
            for (name, key), held in state.held.items():
                if name == model and (held.began or key not in things):
                    found[key] = held.current
        return found


def _judge(backers: Backers | None, stood: float, seconds: float) -> _Judged:
    """Whether it is agreed on, for what goes beyond `stood` seconds of the `seconds` needed."""
    lacks = []
    actors, share = 0, 0.0
    told = "the model finds it no more"
    if backers is not None:
        crowd = backers.all
        actors = len(backers.beyond & crowd)
        share = actors / len(crowd) if crowd else 0.0
        needed = min(MIN_ACTORS, max(1, len(crowd)))
        told = f"{actors} of {len(crowd)} callers told apart"
        if actors < needed:
            lacks.append(f"{actors} of the {needed} callers needed")
        if share < SHARE:
            lacks.append(f"{share:.0%} of the callers, {SHARE:.0%} are needed")
    if stood < seconds:
        lacks.append(f"it lasts {stood:,.0f} of the {seconds:,.0f} seconds needed")
    why = f"{told}; it waits: {'; '.join(lacks)}" if lacks else f"{told}, for {stood:,.0f} seconds"
    return _Judged(not lacks, why, actors, round(share, 4))
