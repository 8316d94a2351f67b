"""Models of behaviour: what callers ordinarily do, learned from records and compared with each call. One folder per model, found, never registered.

A model has two halves that meet in what is published:

    records ──► model.py: Model ──publish──► knowledge (in the snapshot) ──compile──► watch.py: Watch ──► deviations ──► a detection
                                                                                        │
    records ◄──────────────────────────── notes (in the call's record) ◄────────────────┘

- `model.py` folds records into mergeable counts and publishes knowledge (a frozen Struct). It runs in control.
- `watch.py` keeps what an engine remembers between calls, compares each message with the knowledge, and notes in the call's record what
  the model learns from. It runs in engines, on the way of every call.

What a watch finds is a `model.deviations.Deviation`: what was expected, what happened, and the counts behind it. Whether that is wrong,
and how wrong, a detection says.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
from msgspec import Struct

from eastwall.behaviours.holding import Holding
from eastwall.discovery.inventory import Inventory
from eastwall.discovery.objects import GIVEN_LIMIT
from eastwall.model.call import Completion, Phase
from eastwall.model.decision import Decision, Verdict
from eastwall.model.deviations import Deviation
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts
from eastwall.model.record import CallRecord


class Model(Protocol):
    """The learning half: mergeable state over all services. Nothing depends on the order of records.

    Like all that is learned it is bounded, and one actor alone moves nothing. A model that learns from notes alone says so (`noted_only = True`
    in its class), and is not told of calls without one of its own. Its class says the format of what it dumps (`format = 2`; 1 where it says
    nothing): what was written in another is learned again from the lake, with all else.
    """

    def fold(self, record: CallRecord, endpoint: str, note: Any, *, clean: bool) -> None:
        """Learn from one call. `endpoint`: id of its operation as known now. `note`: what the watch noted of it, None for nothing;
        plain data that came from a file: whatever is not as expected is passed over. `clean`: see docs/learning.md, "What teaches"."""

    def merge(self, other: Self) -> None:
        """Add what another shard has learned."""

    def move(self, renamed: Mapping[str, str]) -> None:
        """Operations have new ids (old -> new); several may become one."""

    def dump(self) -> Any:
        """Plain data for `load`, in one order whatever the order of records."""

    @classmethod
    def load(cls, data: Any) -> Self:
        """The model of `dump`. Raises TypeError, ValueError, KeyError, IndexError on anything else."""

    def publish(self, endpoints: Sequence[Endpoint]) -> Struct | None:
        """What engines are to know, of the type `Knowledge` of the folder; None: nothing yet."""


STRANGE = "strange"
"""See `Watch.asks`: for requests that are `out_of_the_ordinary`. See `Watch.remembers`: for messages that are `out_of_place`."""

OVERRIDING = ("x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url")
"""Headers by which frameworks take another method (Rails, Express, Spring, ASP.NET), and the last two another path (Symfony, IIS), than the
request line's."""


class World(Struct, frozen=True):
    """What else there is to know when knowledge is compiled."""

    endpoints: tuple[Endpoint, ...]
    hash_key: bytes
    inventory: Inventory


def out_of_the_ordinary(facts: Facts) -> bool:
    """Whether a request names an object which the caller was not given (`facts.foreign`), or one that others hold and neither the caller nor
    its tenant (of `facts.objects`), or bears one of the headers `OVERRIDING`."""
    if facts.foreign or not facts.call.request.headers.keys().isdisjoint(OVERRIDING):
        return True
    found = False
    for use in facts.objects:
        found = found or (use.owners > 0 and not use.granted)
    return found


def out_of_place(facts: Facts, verdict: Verdict) -> bool:
    """Whether a message that was judged is more than most: a request that names what its caller was not given, or deviates, or is blocked; an
    answer that is no success, was not read to its end or gives `GIVEN_LIMIT` objects, or whose request had findings."""
    call = facts.call
    response = call.response
    if response is None:
        return facts.foreign != () or facts.deviations != () or verdict.action == "block"
    return (
        not 200 <= response.status < 300
        or facts.uninspected != ()
        or len(facts.given) >= GIVEN_LIMIT
        or (call.prior is not None and call.prior.findings != ())
    )


class Watch:
    """The live half: what one engine remembers. Override what is needed; what is not overridden costs nothing.

    State is bounded, with a cap per actor. `known` is what `compile` of the folder made of the knowledge. Time is `facts.call.time`, and
    may go back.
    """

    name: str
    """The folder's."""

    def learned(self, known: Any) -> None:
        """There is new knowledge; called before the first message that is compared with it."""

    def asks(self, phase: Phase, endpoint: Endpoint, known: Any) -> Any:
        """When `request` (or `response`, by `phase`) is to be called for messages of an operation: True, False, `STRANGE`, or a container
        of the watch's own that stays the same object, for "unless it is empty". Asked once per operation and knowledge. What is not
        called is what would have found nothing and changed nothing. tests/unit/behaviours/conftest.py holds that in every test of a watch."""
        return True

    def remembers(self, phase: Phase, endpoint: Endpoint, known: Any) -> Any:
        """When `after` is to be called for messages of an operation, as `asks` says it."""
        return True

    def notes(self, endpoint: Endpoint, known: Any) -> Any:
        """When `completed` is to be called for calls of an operation: True, False, or a container, as `asks` says it."""
        return True

    def request(self, facts: Facts, known: Any) -> tuple[Deviation, ...]:
        """How the request deviates. State stays as it is: a call may be judged twice (a stream's events, copies)."""
        return ()

    def response(self, facts: Facts, known: Any) -> tuple[Deviation, ...]:
        """How the answer deviates, before it is delivered. The request's deviations stand in `facts.call.prior`."""
        return ()

    def after(self, facts: Facts, verdict: Verdict, known: Any) -> None:
        """The message was judged: remember. Called once per message, for each event of a streamed answer."""

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        """The call is over: what its record is to keep, plain data for MessagePack, None for nothing."""
        return None

    def __len__(self) -> int:
        """Entries held: a gauge."""
        return 0


class Behaviour(Struct, frozen=True):
    """One folder."""

    name: str
    knowledge: type[Struct]
    model: type[Model]
    watch: type[Watch]
    compile: Any
    """`compile(knowledge, world)`: look-up tables for the watch. `knowledge` is the Struct's default where nothing was published."""
    holding: Holding | None = None
    """How baselines hold its knowledge: `HOLDING` of `holding.py`, where the folder has one."""


def _load(folder: Path) -> Behaviour:
    model = importlib.import_module(f"{__name__}.{folder.name}.model")
    watch = importlib.import_module(f"{__name__}.{folder.name}.watch")
    watch.Watch.name = folder.name
    held = (folder / "holding.py").exists()
    holding = importlib.import_module(f"{__name__}.{folder.name}.holding").HOLDING if held else None
    return Behaviour(folder.name, model.Knowledge, model.Model, watch.Watch, watch.compile, holding)


BEHAVIOURS: tuple[Behaviour, ...] = tuple(_load(path.parent) for path in sorted(Path(__file__).parent.glob("*/watch.py")))
"""By name. Places in it are places in `LiveSnapshot.behaviours`."""


_FORMATS = "formats"
_FORMAT = {one.name: int(getattr(one.model, "format", 1)) for one in BEHAVIOURS}
"""Of what each model dumps."""
_TOLD_ALL = frozenset(one.name for one in BEHAVIOURS if not getattr(one.model, "noted_only", False))

Told = tuple[CallRecord, str, Mapping[str, Any], bool]
"""(a call, id of its operation as known now, what was noted of it by model, whether it was clean): see `Model.fold`."""


class Models:
    """All models of one learner."""

    __slots__ = ("_models",)

    def __init__(self) -> None:
        self._models: dict[str, Any] = {one.name: one.model() for one in BEHAVIOURS}

    def fold(self, told: Sequence[Told]) -> list[tuple[CallRecord, Exception]]:
        """Learn from calls, one model after the other. Returns those that a model could not learn from, once for each such model."""
        faulty: list[tuple[CallRecord, Exception]] = []
        noted: dict[str, list[Told]] = {name: [] for name in self._models if name not in _TOLD_ALL}
        for one in told:
            for name in one[2]:
                if name in noted:
                    noted[name].append(one)
        for name, model in self._models.items():
            fold = model.fold
            for record, endpoint, notes, clean in noted.get(name, told):
                try:
                    fold(record, endpoint, notes.get(name), clean=clean)
                except Exception as fault:  # noqa: BLE001 - a fault of ours that some caller has found
                    faulty.append((record, fault))
        return faulty

    def merge(self, other: Models) -> None:
        for name, model in self._models.items():
            model.merge(other._models[name])

    def move(self, renamed: Mapping[str, str]) -> None:
        if renamed:
            for model in self._models.values():
                model.move(renamed)

    def publish(self, endpoints: Sequence[Endpoint]) -> tuple[tuple[str, bytes], ...]:
        """(model, its knowledge in MessagePack), for the snapshot."""
        return encode_known(self.known(endpoints))

    def known(self, endpoints: Sequence[Endpoint]) -> dict[str, Struct]:
        """Model -> its knowledge, as it was learned."""
        found = ((name, model.publish(endpoints)) for name, model in self._models.items())
        return {name: known for name, known in found if known is not None}

    def of(self, name: str) -> Any:
        """The model of a folder."""
        return self._models[name]

    def dump(self) -> Any:
        """Plain data for `load`: by model, and the format of each."""
        return {name: model.dump() for name, model in self._models.items()} | {_FORMATS: dict(_FORMAT)}

    @classmethod
    def load(cls, data: Any) -> Models:
        """Raises what the models raise, and ValueError where one was written in another format. A model that the data does not know begins
        empty."""
        state = cls()
        formats = data.get(_FORMATS, {})
        for name, expected in _FORMAT.items():
            if name in data and formats.get(name, 1) != expected:
                raise ValueError(f"what model `{name}` learned has format {formats.get(name, 1)!r}, expected {expected}")
        state._models.update({one.name: one.model.load(data[one.name]) for one in BEHAVIOURS if one.name in data})
        return state


def encode_known(known: Mapping[str, Struct]) -> tuple[tuple[str, bytes], ...]:
    """(model, its knowledge in MessagePack), for the snapshot."""
    return tuple((name, msgspec.msgpack.encode(one)) for name, one in sorted(known.items()))


def compile_known(published: Sequence[tuple[str, bytes]], world: World) -> tuple[Any, ...]:
    """Knowledge for the watches, aligned with `BEHAVIOURS`. Raises msgspec.MsgspecError on what no model published."""
    told = dict(published)
    return tuple(
        one.compile(msgspec.msgpack.decode(told[one.name], type=one.knowledge) if one.name in told else one.knowledge(), world)
        for one in BEHAVIOURS
    )


_Look = tuple[Any, Any, Any]
"""(method of a watch, its knowledge, what must not be empty)."""
_Looks = tuple[_Look, ...]


class _Asked:
    """Which methods are called for one operation: of requests, and of what is remembered, (for any, for one that is out of the ordinary)."""

    __slots__ = ("answered", "completed", "remembered", "request", "response")

    def __init__(
        self, request: tuple[_Looks, _Looks], response: _Looks, remembered: tuple[_Looks, _Looks], answered: tuple[_Looks, _Looks],
        completed: tuple[tuple[str, Any, Any], ...],
    ) -> None:  # fmt: skip
        self.request = request
        self.response = response
        self.remembered = remembered
        self.answered = answered
        self.completed = completed
        """(name of the watch, its method, what must not be empty)."""


class Watches:
    """All watches of one engine. For a message of a known operation those are called that may have something to say: see `Watch.asks`."""

    __slots__ = ("_after", "_all", "_asked", "_completed", "_known", "_request", "_response")

    def __init__(self) -> None:
        self._all = tuple(one.watch() for one in BEHAVIOURS)

        def having(method: str) -> tuple[tuple[int, Any], ...]:
            return tuple(
                (at, getattr(watch, method))
                for at, watch in enumerate(self._all)
                if getattr(type(watch), method) is not getattr(Watch, method)
            )

        self._request, self._response, self._after = having("request"), having("response"), having("after")
        self._completed = having("completed")
        self._known: Sequence[Any] = ()
        self._asked: dict[str, _Asked] = {}
        """By operation."""

    def request(self, facts: Facts, known: Sequence[Any]) -> tuple[Deviation, ...]:
        """How a request deviates, by all models."""
        if known is not self._known:
            self._learned(known)
        found: tuple[Deviation, ...] = ()
        endpoint = facts.match.endpoint
        if endpoint is None:
            for at, look in self._request:
                found += look(facts, known[at])
            return found
        looks = (self._asked.get(endpoint.id) or self._ask(endpoint)).request
        for look, told, when in looks[1] if facts.foreign or out_of_the_ordinary(facts) else looks[0]:
            if when:
                found += look(facts, told)
        return found

    def response(self, facts: Facts, known: Sequence[Any]) -> tuple[Deviation, ...]:
        """How an answer deviates."""
        if known is not self._known:
            self._learned(known)
        found: tuple[Deviation, ...] = ()
        endpoint = facts.match.endpoint
        if endpoint is None:
            for at, look in self._response:
                found += look(facts, known[at])
            return found
        for look, told, when in (self._asked.get(endpoint.id) or self._ask(endpoint)).response:
            if when:
                found += look(facts, told)
        return found

    def _learned(self, known: Sequence[Any]) -> None:
        self._known = known
        self._asked.clear()
        for watch, told in zip(self._all, known, strict=True):
            watch.learned(told)

    def _ask(self, endpoint: Endpoint) -> _Asked:
        """What the watches ask about an operation."""

        def looks(hooks: tuple[tuple[int, Any], ...], when: Callable[[Watch, Any], Any]) -> _Looks:
            asked = [(look, self._known[at], when(self._all[at], self._known[at])) for at, look in hooks]
            return tuple([one for one in asked if one[2] is not False])

        def split(of: _Looks) -> tuple[_Looks, _Looks]:
            return (
                tuple([look for look in of if look[2] is not STRANGE]),
                tuple([(look, told, True if when is STRANGE else when) for look, told, when in of]),
            )

        names = {note: self._all[at].name for at, note in self._completed}
        noting = looks(self._completed, lambda watch, known: watch.notes(endpoint, known))
        found = self._asked[endpoint.id] = _Asked(
            split(looks(self._request, lambda watch, known: watch.asks(Phase.REQUEST, endpoint, known))),
            looks(self._response, lambda watch, known: watch.asks(Phase.RESPONSE, endpoint, known)),
            split(looks(self._after, lambda watch, known: watch.remembers(Phase.REQUEST, endpoint, known))),
            split(looks(self._after, lambda watch, known: watch.remembers(Phase.RESPONSE, endpoint, known))),
            tuple([(names[look], look, when) for look, _, when in noting]),
        )
        return found

    def after(self, facts: Facts, verdict: Verdict, known: Sequence[Any]) -> None:
        """The message was judged."""
        if known is not self._known:
            self._learned(known)
        endpoint = facts.match.endpoint
        if endpoint is None:
            for at, remember in self._after:
                remember(facts, verdict, known[at])
            return
        asked = self._asked.get(endpoint.id) or self._ask(endpoint)
        looks = asked.remembered if facts.call.response is None else asked.answered
        for remember, told, when in looks[1] if out_of_place(facts, verdict) else looks[0]:
            if when:
                remember(facts, verdict, told)

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> tuple[tuple[str, Any], ...]:
        """What the call's record is to keep."""
        notes: tuple[tuple[str, Any], ...] = ()
        endpoint = request.match.endpoint
        if endpoint is None or not self._known:
            for at, note in self._completed:
                told = note(request, response, completion)
                if told is not None:
                    notes += ((self._all[at].name, told),)
            return notes
        for name, note, when in (self._asked.get(endpoint.id) or self._ask(endpoint)).completed:
            if when:
                told = note(request, response, completion)
                if told is not None:
                    notes += ((name, told),)
        return notes

    def of(self, name: str) -> Any:
        """The watch of a folder."""
        return next(watch for watch in self._all if watch.name == name)

    def sizes(self) -> dict[str, int]:
        """Entries by model."""
        return {watch.name: len(watch) for watch in self._all}
