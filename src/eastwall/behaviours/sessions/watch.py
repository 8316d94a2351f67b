"""What an engine remembers of sessions, and makes of a call: steps that are missing or come again, pace, strangeness.
A change counts from its request on, until an answer says that it failed: of ten calls at once each sees those before it (CWE-362), and what
is on its way is not called missing. So nothing here waits for the records.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from eastwall import behaviours
from eastwall.behaviours.outcomes import says_no
from eastwall.behaviours.sessions import kinship
from eastwall.behaviours.sessions.begun import Begun, News, news_of, since_last, value_at
from eastwall.behaviours.sessions.contexts import ORDER
from eastwall.behaviours.sessions.invariants import LATE, MIN_WATCHED, Once
from eastwall.behaviours.sessions.lookup import Info, Known
from eastwall.behaviours.sessions.memory import DAY, MAX_GUESSED, SESSION, Actor, Actors, Trails, Turns
from eastwall.behaviours.sessions.model import MAX_WEIGHT, Knowledge
from eastwall.behaviours.sessions.told import again, age, missing, twice
from eastwall.behaviours.sketch import hash64
from eastwall.discovery.objects import SAFE_METHODS, made_kind, shown
from eastwall.model.call import Completion, Phase
from eastwall.model.decision import Decision, Verdict
from eastwall.model.deviations import AutomatedPace, Deviation, SkippedStep, UnusualSequence
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity, Strength

MAX_PENDING = 20_000
"""Calls on their way."""
CREATED = ""
"""Stands for the making of an object among what was done to it."""
NOTED_OF_ONE = 5
"""Calls of one operation by one actor within a day that are noted: nobody teaches alone."""
MIN_RUN = 12
"""Changes without a pause, before their pace is asked about."""
RESTLESS = 22
"""Hours of a day with a change: nobody sleeps so little."""
USUAL_HOURS = 16
ALL_DAY = 0x3FFFFF
"""The last 22 hours."""
STRANGE = 6.0
"""Bits of a step that may make a session strange: one in 64."""
MAX_STRANGE = 1_000
MIN_STEPS = 8
"""Calls of a session before it may be called strange."""
_PLACES = 1_000
_NEW: Any = object()  # stands for an operation that was not asked about
_GUESSED, _REQUEST = (
    int(Strength.GUESSED),
    Phase.REQUEST,
)  # looking up members of enumerations takes longer than most of what is done here


def compile(knowledge: Knowledge, world: behaviours.World) -> Known:
    """Look-up tables for the watch."""
    return Known(knowledge, world.endpoints)


class Watch(behaviours.Watch):
    """See the module."""

    def __init__(self) -> None:
        self._certain = Actors()
        self._guessed = Actors(MAX_GUESSED)
        self._trails = Trails()
        self._pending: dict[str, Begun | list[Any]] = {}
        """Call on its way -> what it changes, or of one that changes nothing, what its record is to keep of its session."""
        self._known: Any = None
        self._since: dict[str, float] = {}
        """Operation -> since when it is known here: before that, nobody could tell that it was called."""
        self._places: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._strange: set[str] = set()
        """Actors whose sessions are to be told."""
        self._turns = Turns()
        self._started = -1.0
        self.alone = True
        """Whether all that an actor does is known here at once. If not, what is missing here may have been done elsewhere."""
        self.told: list[News] | None = None
        """What was done since other engines were told; None: nobody is told."""

    # -- before the call ------------------------------------------------------------------------------------------

    def asks(self, phase: Phase, endpoint: Endpoint, known: Known) -> Any:
        return True if known.info(endpoint) is not None else self._strange

    def request(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        endpoint = facts.match.endpoint
        if endpoint is not None:
            info = known.ops.get(endpoint.id, _NEW)
            if info is None and not self._strange:
                return ()  # most calls
        identity = facts.identity
        if not identity.strength or facts.call.id in self._pending:
            return ()
        actors = self._guessed if identity.strength == _GUESSED else self._certain
        actor = actors.get(identity.actor)
        if endpoint is None:
            once = known.codes.get(facts.call.service)
            return self._used_up(actor, _unknown(facts), once, facts) if actor is not None and once is not None else ()
        info = known.info(endpoint)
        found: tuple[Deviation, ...] = ()
        if actor is not None and actor.strange:
            found = self._unusual(actor, identity, facts.call.service, known)
        if info is None:
            return found
        if actor is not None and (actor.run >= MIN_RUN or actor.hours & ALL_DAY == ALL_DAY):
            found += self._pace(actor, identity, facts, info, known)
        if info.once and actor is not None:
            found += self._repeated(actor, facts, info)
        if info.after and self._known is known:
            found += self._skipped(actor, actors.floor, facts, info)
        return found

    def _skipped(self, actor: Actor | None, floor: float, facts: Facts, info: Info) -> tuple[Deviation, ...]:
        """What should have come before. What was done before this engine looked, or was forgotten, is not called missing."""
        now = facts.call.time
        if not self.alone:
            return ()
        found: tuple[Deviation, ...] = ()
        own = info.endpoint.id
        if self._turns.taken(own, now):
            return ()
        for rule, ids in info.after:
            if rule.cls and rule.cls != facts.identity.cls:
                continue
            begun = max(self._started, max(self._since.get(name, now) for name in ids[:1]))
            if rule.kind:
                long = rule.calls >= MIN_WATCHED and now - max(begun, self._trails.floor) >= max(rule.horizon, DAY)
                watched = long and (actor is None or not actor.lossy)
                for place, kind, key, value in info.things(facts.used):
                    if kind == rule.kind:
                        trail = self._trails.of(key)
                        whole = watched or trail.get(CREATED, -1.0) >= begun
                        if whole and not any(name in trail for name in ids):
                            found += (missing(rule, place, value, 0),)
                            break
                continue
            if now - max(begun, floor, actor.floor if actor is not None else 0.0) < rule.horizon:
                continue
            done = actor.done if actor is not None else {}
            last = max((done[name][1] for name in ids if name in done), default=-1)
            self_done = done.get(own)
            if last < 0 or (rule.each and self_done is not None and self_done[1] > last and not twice(ids, done, self_done, now)):
                retries = actor.retries(own, now) if actor is not None and last >= 0 else 0
                if retries and self._same_key(actor, facts, info):
                    continue
                found += (missing(rule, "session", "", retries),)
            elif old := age(rule.within, ids, done, now):
                found += (missing(rule, "session", "", 0, old),)
        return found

    def _repeated(self, actor: Actor, facts: Facts, info: Info) -> tuple[Deviation, ...]:
        """What is done once, and was done."""
        own, now = info.endpoint.id, facts.call.time
        if self._same_key(actor, facts, info):
            return ()
        found: tuple[Deviation, ...] = ()
        if info.once_value is not None:
            found = self._used_up(actor, own, info.once_value, facts)
        if info.once_objects:
            for place, kind, key, value in info.things(facts.used):
                once, times = info.once_objects.get(kind), actor.marks.get((own, key))
                if once is not None and times is not None:
                    found += (again(once, place, value, times, now),)
        if info.once_actor is not None and (done := actor.done.get(own)) is not None:
            found += (again(info.once_actor, "session", "", (done[0], done[2]), now),)
        return found

    def _used_up(self, actor: Actor, operation: str, once: Once, facts: Facts) -> tuple[Deviation, ...]:
        """Codes that the caller used already."""
        found: tuple[Deviation, ...] = ()
        for place, thing, value in self._codes(facts):
            times = actor.marks.get((operation, thing))
            if times is not None:
                found += (again(once, f"body.{place}", shown(value), times, facts.call.time),)
        return found

    @staticmethod
    def _same_key(actor: Actor | None, facts: Facts, info: Info) -> bool:
        """Whether this is a retry by the service's own means."""
        if actor is None or not info.keyed:
            return False
        key = facts.call.request.headers.get("idempotency-key")
        return bool(key) and ("\0" + info.endpoint.id, hash64(str(key))) in actor.marks

    def _pace(self, actor: Actor, identity: Identity, facts: Facts, info: Info, known: Known) -> tuple[Deviation, ...]:
        if identity.kind != "user":
            return ()  # workloads are regular by nature
        usual = known.paces.get((facts.call.service, identity.cls))
        if usual is None or len(usual.most) < 3:
            return ()
        hours = actor.hours.bit_count()
        if hours >= RESTLESS and usual.most[2] <= USUAL_HOURS:
            told = AutomatedPace("session", identity.cls, 0, 0, 0, 0.0, 0, 0, usual.callers, hours, usual.most[2])
            return (told,)
        level, run, gaps, squares = actor.paced(facts.call.time)
        if run < MIN_RUN or run <= 2 * usual.most[1] or level <= 2 * usual.most[0]:
            return ()
        mean = gaps / (run - 1)
        variation = sqrt(max(0.0, squares / (run - 1) - mean * mean)) / mean if mean > 0 else 0.0
        operations = len({*actor.run_operations, info.endpoint.id})
        counts = (int(level), run, operations, round(variation, 3), usual.most[0], usual.most[1], usual.callers)
        return (AutomatedPace("session", identity.cls, *counts),)

    def _unusual(self, actor: Actor, identity: Identity, service: str, known: Known) -> tuple[Deviation, ...]:
        usual, predictor = known.paces.get((service, identity.cls)), known.predictors.get(service)
        if usual is None or predictor is None:
            return ()
        _, before, operation = actor.worst
        times, of = predictor.after(before, operation)
        mean = round(actor.bits / actor.steps, 2)
        names = known.label(operation), known.label(before)
        return (UnusualSequence("session", *names, times, of, mean, usual.most[3] / 100, usual.callers, actor.steps),)

    # -- the call was judged --------------------------------------------------------------------------------------

    def remembers(self, phase: Phase, endpoint: Endpoint, known: Known) -> bool:
        return phase is Phase.RESPONSE or known.info(endpoint) is not None

    def after(self, facts: Facts, verdict: Verdict, known: Known) -> None:
        identity, call = facts.identity, facts.call
        if not identity.strength:
            return
        now = call.time
        if known is not self._known:
            self._learned(known, now)
        response, prior = call.response, call.prior
        if response is None:
            self._asked(facts, verdict, known)
            return
        if prior is None or prior.verdict.action == "block":
            return
        done = 200 <= response.status < 300 and not says_no(facts.operation)
        begun = self._pending.get(call.id) if self._pending else None
        if begun is not None:
            if isinstance(begun, list) or begun.answered:
                return  # a further event of the same answer
            begun.answered = True
            if not done:
                self._take_back(begun)
        if not done:
            return
        actors = self._guessed if identity.strength == _GUESSED else self._certain
        actor = actors.get(identity.actor) or actors.of(identity.actor, now)
        if actor.call == call.id:
            return  # a further event of the same answer
        actor.call = call.id
        if 0.0 < now - actor.last <= SESSION:
            actor.last = now  # what `seen` does for nearly all
        else:
            actor.seen(now)
        endpoint = facts.match.endpoint
        if begun is not None:
            self._changed(actor, endpoint, begun, facts)
        elif endpoint is None and facts.operation.method not in SAFE_METHODS:
            actor.blurred = now
        if endpoint is None:
            return
        if actor.strange:  # it was told
            self._strange.discard(identity.actor)
            actor.bits, actor.steps, actor.worst, actor.strange = 0.0, 0, (0.0, "", ""), False
        own = endpoint.id
        history = actor.history
        if history and (predictor := known.predictors.get(call.service)) is not None:
            bits = predictor.surprise(history, own)
            actor.bits += bits
            actor.steps += 1
            if bits > STRANGE:
                self._stranger(actor, bits, own, facts, known)
        if facts.sampled and prior.facts.sampled:
            noted = [min(endpoint.sample_every, MAX_WEIGHT), *history]
            if begun is None:
                self._keep(call.id, noted)
            elif begun.note is not None:
                begun.note["x"] = noted
        actor.history = (history[1], history[2], own) if len(history) == ORDER else (*history, own)

    def _asked(self, facts: Facts, verdict: Verdict, known: Known) -> None:
        """A request was judged."""
        endpoint, identity = facts.match.endpoint, facts.identity
        if endpoint is not None and known.ops.get(endpoint.id, _NEW) is None:
            return  # most calls
        if facts.call.id in self._pending:
            return
        if endpoint is None:
            if verdict.action != "block" and facts.operation.method not in SAFE_METHODS:
                self._unknown(facts)
            return
        info = known.info(endpoint)
        if info is None:
            return
        if info.after and identity.strength > _GUESSED:
            missed = bool(facts.deviations) and any(type(one) is SkippedStep for one in facts.deviations)
            self._turns.note(endpoint.id, identity.actor, facts.call.time, missed=missed)
        if verdict.action == "block":
            self._attempted(facts, info)
        else:
            self._begin(facts, info)

    def _changed(self, actor: Actor, endpoint: Endpoint | None, begun: Begun, facts: Facts) -> None:
        """What changes something was answered well."""
        now = facts.call.time
        if endpoint is None:
            if facts.operation.method not in SAFE_METHODS:
                actor.blurred = now
            if self.told is not None:
                self.told.append(news_of(facts.identity, begun, now, None))
            return
        made = self._made(actor, endpoint, begun, facts) if facts.given else None
        if self.told is not None and not begun.settled:
            self.told.append(news_of(facts.identity, begun, now, made))

    def _learned(self, known: Known, now: float) -> None:
        """New knowledge: remember since when which operation is known."""
        self._known = known
        if self._started < 0:
            self._started = now
        for name in known.endpoints:
            self._since.setdefault(name, now)
        if len(self._since) > 2 * len(known.endpoints) + 100:
            self._since = {name: at for name, at in self._since.items() if name in known.endpoints}

    def _attempted(self, facts: Facts, info: Info) -> None:
        """A blocked call: whoever goes on at the same pace has made no pause."""
        identity = facts.identity
        actors = self._guessed if identity.strength == _GUESSED else self._certain
        actor = actors.get(identity.actor)
        if actor is not None:
            actor.changed(info.endpoint.id, facts.call.time)

    def _unknown(self, facts: Facts) -> None:
        """A call of an operation that is not known: the codes in it are used all the same."""
        codes = self._codes(facts)
        if not codes:
            return
        identity, now = facts.identity, facts.call.time
        actors = self._guessed if identity.strength == _GUESSED else self._certain
        begun = Begun(actors.of(identity.actor, now), _unknown(facts))
        begun.things = [thing for _, thing, _ in codes]
        begun.settled = False
        for thing in begun.things:
            begun.actor.mark(begun.operation, thing, now)
        self._keep(facts.call.id, begun)

    def _keep(self, call: str, begun: Begun | list[Any]) -> None:
        if len(self._pending) >= MAX_PENDING:
            self._pending.pop(next(iter(self._pending)))
        self._pending[call] = begun

    def _begin(self, facts: Facts, info: Info) -> None:
        identity, call = facts.identity, facts.call
        now, own = call.time, info.endpoint.id
        actors = self._guessed if identity.strength == _GUESSED else self._certain
        actor = actors.of(identity.actor, now)
        actor.seen(now)
        begun = Begun(actor, own)
        begun.settled = False
        key = call.request.headers.get("idempotency-key")
        known_done = actor.done.get(own)
        times = known_done[0] if known_done is not None and now - known_done[4] <= 86_400.0 else 0
        noted = times < NOTED_OF_ONE and not actor.retries(own, now) and now - actor.blurred > 1_800.0
        note: dict[str, Any] = {}
        if noted:
            since, late = since_last(actor, known_done, own, now)
            note["f"] = [int(known_done is None), int(key is not None), since, late, int(max(0.0, now - self._started) // 60)]
        marks: list[list[Any]] = [["actor", times]] if noted else []
        trails: list[list[Any]] = []
        for _, kind, thing, _ in info.things(facts.used):
            if thing not in begun.things:
                self._on_object(begun, kind, thing, now, trails, marks)
        for _, thing, _ in self._codes(facts):
            marks.append(["value", (actor.marks.get((own, thing)) or (0,))[0]])
            begun.things.append(thing)
        for thing in begun.things:
            actor.mark(own, thing, now)
        if key is not None:
            actor.mark("\0" + own, hash64(str(key)), now)
        begun.before = actor.begin(own, now)
        actor.changed(own, now)
        if noted:
            note["o"], note["m"] = trails, marks
        mean = int(100 * actor.bits / actor.steps) if actor.steps >= MIN_STEPS else 0
        note["p"] = [int(actor.level), actor.run, actor.hours.bit_count(), mean]
        begun.note = note
        self._keep(call.id, begun)

    def _on_object(
        self, begun: Begun, kind: str, thing: int, now: float, trails: list[list[Any]], marks: list[list[Any]]
    ) -> None:
        trail = self._trails.of(thing)
        own = begun.operation
        before = [name for name in trail if name not in (own, CREATED)]
        # Of an object from before, what was done to it may have been missed: not counted at first, and later against the rule.
        if CREATED in trail or now - self._since.get(own, now) >= LATE:
            trails.append([kind, before, [name for name in before if now - trail[name] > LATE]])
        marks.append([f"object {kind}", (begun.actor.marks.get((own, thing)) or (0,))[0]])
        begun.things.append(thing)
        begun.objects += [thing] if self._trails.add(thing, own, now, begun.actor) else []

    def _codes(self, facts: Facts) -> list[tuple[str, int, str]]:
        """(place, hash, value) of what is used up."""
        properties = facts.properties
        if not properties:
            return []
        places = self._places.get(properties)
        if places is None:
            if len(self._places) >= _PLACES:
                self._places.clear()
            places = self._places[properties] = tuple(p for p in properties if "[" not in p and kinship.code_place(p))[:2]
        found = []
        for place in places:
            value = value_at(facts.operation.body, place)
            if type(value) is str and 3 <= len(value) <= 128:
                found.append((place, hash64(value), value))
        return found

    def _stranger(self, actor: Actor, bits: float, own: str, facts: Facts, known: Known) -> None:
        """A step that few would have taken: told with the next call, when the session as a whole is strange."""
        if bits > actor.worst[0]:
            actor.worst = (bits, actor.history[-1], own)
        usual = known.paces.get((facts.call.service, facts.identity.cls))
        if usual is not None and actor.steps >= MIN_STEPS and len(usual.most) == 4 and usual.most[3] > 0:
            actor.strange = 100 * actor.bits > actor.steps * (1.25 * usual.most[3] + 100)
            if actor.strange and len(self._strange) < MAX_STRANGE:
                self._strange.add(facts.identity.actor)

    def _made(self, actor: Actor, endpoint: Endpoint, begun: Begun, facts: Facts) -> int | None:
        """A POST that is answered with one object of its kind unasked has made it, by its status or its name: nothing was done to it before.
        The object's key; None: nothing was made."""
        response = facts.call.response
        made_by = response is not None and (response.status == 201 or kinship.makes(endpoint))
        if endpoint.method != "POST" or not made_by or begun.settled:
            return None
        kind = made_kind(endpoint)
        made = [key for one, key in facts.given if one == kind and key not in begun.things]
        if len(made) != 1 or self._trails.of(made[0]):
            return None
        self._trails.add(made[0], CREATED, facts.call.time, actor)
        return made[0]

    # -- several engines ------------------------------------------------------------------------------------------

    def share(self, *, at_once: bool) -> None:
        """Keep what other engines are to be told. `at_once`: they hear it before they are asked what follows from it; else nothing is called
        missing here."""
        self.told, self.alone = [], at_once

    def pending(self, call: str) -> bool:
        """Whether a call that is on its way changes something."""
        return call in self._pending

    def take(self, news: News) -> None:
        """What another engine saw being done."""
        name, guessed, operation, now, things, objects, made = news
        actor = (self._guessed if guessed else self._certain).of(name, now)
        actor.seen(now)
        if operation[:1] != "?":
            actor.begin(operation, now)
        for thing in things:
            actor.mark(operation, thing, now)
        for key in objects:
            self._trails.add(key, operation, now, actor)
        if made is not None and not self._trails.of(made):
            self._trails.add(made, CREATED, now, actor)

    def forget(self) -> None:
        """Something that was done elsewhere was not heard of: nothing is known from its beginning any more."""
        self._started = -1.0
        self._known = None

    def _take_back(self, begun: Begun) -> None:
        """What was begun has failed."""
        if begun.settled:
            return
        begun.settled, begun.note = True, None
        begun.actor.failed(begun.operation, begun.before)
        for thing in begun.things:
            begun.actor.unmark(begun.operation, thing)
        for key in begun.objects:
            self._trails.take_back(key, begun.operation)

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        begun = self._pending.pop(request.call_id, None)
        if begun is None:
            return None
        if not 200 <= completion.status < 300 or completion.grpc_status > 0:
            if isinstance(begun, Begun) and (response is None or completion.grpc_status > 0):
                self._take_back(begun)
            return None
        return begun.note if isinstance(begun, Begun) else {"x": begun}

    def __len__(self) -> int:
        return len(self._certain) + len(self._guessed) + len(self._trails)


def _unknown(facts: Facts) -> str:
    """Stands for the operations of a service that are not known."""
    return f"?{facts.call.service}"
