"""Compares the values of a request with what is learned of them, and notes which of them belong together in sampled calls."""

from __future__ import annotations

from re import compile as regex
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from eastwall import behaviours
from eastwall.behaviours import World
from eastwall.behaviours.functions.matrix import authority
from eastwall.behaviours.sketch import hash64
from eastwall.behaviours.values import relations
from eastwall.behaviours.values.model import ENOUGH, MAX_TOLD, Held, Knowledge
from eastwall.behaviours.values.numbers import Number, Words
from eastwall.behaviours.values.prices import (
    ANSWERED,
    MAX_CLAIMED,
    PRICES,
    Prices,
    amount_of,
    claims,
    kind_named,
    may_tell,
    priced,
    product_key,
)
from eastwall.behaviours.values.relations import Relation
from eastwall.discovery.bounded import Recent
from eastwall.discovery.objects import SAFE_METHODS, changes, holder, identifier
from eastwall.model.call import Completion, Phase
from eastwall.model.decision import Decision, Verdict
from eastwall.model.deviations import Deviation, NumberOutside, RelationBroken, WordNotSeen
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts

FACTOR = 10.0
"""Times the greatest number that several callers sent."""
FAR_FACTOR = 100.0
"""The same, where it is beyond all doubt."""
SPREADS = 6.0
"""Standard deviations of the logarithm that are added above the greatest number."""
MAX_ITEMS = 500
"""Items of arrays whose values are compared, per place."""
MAX_FOUND = 8
"""Deviations of one message."""
SETTLED = 100
"""Learned calls with words at a place, after which it is said who sends which."""
FEW = 5
"""Calls with a word, likewise."""
MISSED = 20
"""Answers without a price, after which one in so many is read."""
MAX_LOOKED = 20_000
MAX_KINDS = 1_000
REREAD = 600.0
"""Seconds in which the same answer of an operation is not read again."""
MAX_READ_BODIES = 8_192
MAX_PAIRS = 2
"""Pairs of a price and a product that one note tells."""
OFF = 0.05
"""Share by which a relation is broken by more than rounding and small charges."""

_NUMBER = regex(r" *+[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]{1,4})? *+")


class _Place(Struct, frozen=True):
    """One place of a body or a query, and what is known of it."""

    place: str
    number: Number | None
    words: dict[str, tuple[str, ...]] | None
    known: Words | None
    answered: frozenset[str]
    low: float
    high: float
    above: dict[str, tuple[str, ...]]
    """Words that classes of authority alone send, with these."""


class _Node(Struct):
    """Keys of an object that something is known of."""

    places: tuple[tuple[str, _Place], ...] = ()
    children: tuple[tuple[str, Any], ...] = ()
    """Key -> _Node."""
    relations: tuple[tuple[Held, Relation], ...] = ()


class _Operation(Struct, frozen=True):
    body: _Node
    query: dict[str, _Place]
    claimed: tuple[Held, ...] = ()
    """Prices that are what answers gave: see `values.prices`."""


Known = dict[str, _Operation]


def compile(knowledge: Knowledge, world: World) -> Known:
    """Look-up tables: per operation a tree of the keys that are looked at."""
    endpoints = {endpoint.id: endpoint for endpoint in world.endpoints}
    answered = _answered(world.endpoints)
    found: Known = {}
    for one in knowledge.operations:
        endpoint = endpoints.get(one.endpoint)
        if endpoint is None:
            continue
        places: dict[str, list[Any]] = {}
        for number in one.numbers:
            places.setdefault(number.place, [None, None])[0] = number
        for words in one.words:
            places.setdefault(words.place, [None, None])[1] = words
        root: dict[str, Any] = {}
        query: dict[str, _Place] = {}
        told = answered.get(endpoint.service, {})
        for place, (number, words) in places.items():
            compiled = _place(place, number, words, told)
            if place.startswith("query."):
                query[place.removeprefix("query.")] = compiled
            elif place != "$":
                _hang(root, steps_of(place), compiled)
        for held in one.relations:
            if held.how != ANSWERED:
                _hang(root, held.frame, held)
        claimed = tuple(held for held in one.relations if held.how == ANSWERED and kind_named(held.sources[0]))
        found[one.endpoint] = _Operation(_node(root), query, claimed)
    return found


def steps_of(place: str) -> tuple[str, ...]:
    """Keys of a place, `[]` for the items of an array: `items[].price` -> (`items`, `[]`, `price`)."""
    found: list[str] = []
    for part in place.split("."):
        depth = 0
        while part.endswith("[]"):
            part, depth = part[:-2], depth + 1
        found += [part] if part else []
        found += ["[]"] * depth
    return tuple(found)


def _hang(root: dict[str, Any], steps: tuple[str, ...], what: Any) -> None:
    for step in steps:
        root = root.setdefault(step, {})
    root.setdefault("", []).append(what)


def _node(tree: dict[str, Any]) -> _Node:
    places = []
    children = []
    for key, below in tree.items():
        if key == "":
            continue
        places += [(key, one) for one in below.get("", ()) if isinstance(one, _Place)]
        if len(below) > ("" in below) or any(isinstance(one, Held) for one in below.get("", ())):
            children.append((key, _node(below)))
    held = tuple([(one, (one.how, one.target, one.sources)) for one in tree.get("", ()) if isinstance(one, Held)])
    return _Node(tuple(places), tuple(children), _leading(held))


def _leading(held: tuple[tuple[Held, Relation], ...]) -> tuple[tuple[Held, Relation], ...]:
    """Without what follows from another: of one value the relation that most calls bear, of equal ones that with fewest parts."""
    best: dict[tuple[str, bool], tuple[Held, Relation]] = {}
    for one in held:
        key = (one[0].target, one[0].how == "before")
        known = best.get(key)
        if known is None or (one[0].of, -len(one[0].sources)) > (known[0].of, -len(known[0].sources)):
            best[key] = one
    return tuple(best.values())


def _answered(endpoints: tuple[Endpoint, ...]) -> dict[str, dict[str, frozenset[str]]]:
    """Service -> name of a property -> words that answers hold there."""
    found: dict[str, dict[str, frozenset[str]]] = {}
    for endpoint in endpoints:
        into = found.setdefault(endpoint.service, {})
        for status, schema in endpoint.responses:
            if 200 <= status < 300:
                for field in schema.fields:
                    if field.enum:
                        name = _last(field.place)
                        into[name] = into.get(name, frozenset()) | frozenset(field.enum)
    return found


def _last(place: str) -> str:
    return place.rpartition(".")[2].replace("[]", "").lower()


def _place(place: str, number: Number | None, words: Words | None, answered: dict[str, frozenset[str]]) -> _Place:
    low, high = -1e308, 1e308
    if number is not None:
        reach = FACTOR * number.most if number.most > 0 else 1e308
        high = max(reach, number.most + 100.0)
        low = 5e-324 if number.least > 0 else 0.0 if number.least >= 0 else -1e308
        if number.calls < ENOUGH:
            low, number = -1e308, replace(number, whole=False)
    above: dict[str, tuple[str, ...]] = {}
    if words is not None and words.calls >= SETTLED:
        above = {word: classes for word, calls, classes in words.words if calls >= FEW and all(map(authority, classes))}
        above = {} if len(above) == len(words.words) else above
    return _Place(
        place, number, {word: classes for word, _, classes in words.words} if words is not None else None, words,
        answered.get(_last(place), frozenset()), low, high, above,
    )  # fmt: skip


class Watch(behaviours.Watch):
    """Remembers what answers say that products cost, and nothing of callers."""

    def __init__(self) -> None:
        self.prices = Prices()
        self._priceless: dict[str, int] = {}
        """Operation -> answers in a row that held no price of a product that requests claim prices of."""
        self._claimed_kinds: set[str] = set()
        """Kinds of products of which a request claimed a price: what others cost, an order and the like, nobody will ask about."""
        self._read: Recent[int, float] = Recent(MAX_READ_BODIES)
        """Hash of an answer (that of this process) -> when it was read: a catalogue is asked for again and again."""

    def __len__(self) -> int:
        return len(self.prices)

    def learned(self, known: Known) -> None:
        for one in known.values():
            for held in one.claimed:
                self._claims_of(kind_named(held.sources[0]))

    def _claims_of(self, kind: str) -> None:
        """A request claims what such a product costs: from now on answers that tell it are read."""
        if kind not in self._claimed_kinds and len(self._claimed_kinds) < MAX_KINDS:
            self._claimed_kinds.add(kind)
            self._priceless.clear()

    def remembers(self, phase: Phase, endpoint: Endpoint, known: Known) -> bool:
        return phase is Phase.RESPONSE and not changes(endpoint.method, endpoint.operation) and may_tell(endpoint)

    def notes(self, endpoint: Endpoint, known: Known) -> bool:
        return endpoint.method not in SAFE_METHODS

    def after(self, facts: Facts, verdict: Verdict, known: Known) -> None:
        """Read the prices of an answer to a call that changes nothing."""
        call, endpoint, body = facts.call, facts.match.endpoint, facts.operation.body
        if endpoint is None or call.response is None or not (type(body) is dict or type(body) is list) or call.prior is None:
            return
        asked = call.prior.facts.operation
        if verdict.action == "block" or not 200 <= call.response.status < 300 or changes(asked.method, asked.name):
            return
        missed = self._priceless.get(endpoint.id, 0)
        if missed >= MISSED and missed % MISSED:
            self._priceless[endpoint.id] = missed + 1
            return
        raw = facts.operation.raw_body
        again = hash((endpoint.id, raw))
        if 0.0 <= call.time - (self._read.get(again) or -REREAD) < REREAD:
            return
        self._read.put(again, call.time)
        if raw and b"price" not in raw and PRICES.search(raw) is None:
            return
        caller, seen = facts.identity.actor or call.peer.address, False
        for kind, text, price in priced(body, holder(facts.operation, facts.match)):
            seen = seen or kind in self._claimed_kinds
            self.prices.read(product_key(call.service, kind, text), price, call.time, caller)
        if seen:
            self._priceless.pop(endpoint.id, None)
        else:
            if len(self._priceless) >= MAX_LOOKED:
                self._priceless.clear()
            self._priceless[endpoint.id] = missed + 1

    def asks(self, phase: Phase, endpoint: Endpoint, known: Known) -> bool:
        return endpoint.id in known

    def request(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        endpoint = facts.match.endpoint
        if endpoint is None:
            return ()
        one = known.get(endpoint.id)
        if one is None:
            return ()
        found: list[Deviation] = []
        operation = facts.operation
        if one.query and operation.query:
            for name, text in operation.query:
                place = one.query.get(name)
                if place is not None:
                    _in_query(place, text, facts.identity.cls, found)
        if type(operation.body) is dict or type(operation.body) is list:
            _compare(operation.body, one.body, facts.identity.cls, found)
            for held in one.claimed:
                self._claimed(operation.body, held, facts, found)
        return tuple(found[:MAX_FOUND]) if found else ()

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        facts = request.facts
        body = facts.operation.body
        if type(body) is not dict or not facts.sampled or facts.operation.method in SAFE_METHODS:
            return None
        if response is None or not 200 <= completion.status < 300:
            return None
        note = []
        for steps, node in relations.frames(body):
            found = relations.operands(node)
            names = relations.present(*found)
            if len(names) < 2:
                continue
            held = [
                [how, target, list(sources), hash64(values) if values else 0]
                for (how, target, sources), values in relations.held(*found)
            ]
            if len(held) <= MAX_TOLD:
                note.append([list(steps), list(names), held])
        if (asked := request.facts.call) is not None:
            note += self._claims(body, asked.service, asked.time)
        return note or None

    def _claims(self, body: dict[str, Any], service: str, now: float) -> list[Any]:
        """Which prices of a request are what answers gave, of products that answers told."""
        found: dict[tuple[tuple[str, ...], str, str], list[Any]] = {}
        for steps, node in relations.frames(body):
            places = [(steps, node)]
            for key, items in node.items():
                if type(items) is list and len(key) <= relations.MAX_NAME:
                    places += [((*steps, key, "[]"), item) for item in items[:MAX_CLAIMED] if type(item) is dict]
            for at, one in places:
                for name, key, text, amount in claims(one):
                    kind = kind_named(key)
                    self._claims_of(kind)
                    product = product_key(service, kind, text)
                    told = self.prices.of(product, now)
                    if told:
                        entry = found.setdefault((at, name, key), [True, product])
                        entry[0] &= any(relations.near(amount, price) for price in told)
        return [
            [list(at), [name, key], [[ANSWERED, name, [key], product]] if held else []]
            for (at, name, key), (held, product) in list(found.items())[:MAX_PAIRS]
        ]

    def _claimed(self, body: Any, held: Held, facts: Facts, found: list[Deviation]) -> None:
        """Compare the prices at one place with what answers gave."""
        name, key = held.target, held.sources[0]
        kind = kind_named(key)
        for node in _nodes(body, held.frame):
            amount, text = amount_of(node.get(name)), identifier(node.get(key))
            if amount is None or not text or len(found) >= MAX_FOUND:
                continue
            told = self.prices.of(product_key(facts.call.service, kind, text), facts.call.time)
            if told and not any(relations.near(amount, price) for price in told):
                far = self.prices.certain and amount < (1.0 - OFF) * min(told)
                place = ".".join(("body", *held.frame, name)).replace(".[]", "[]")[:120]
                said = relations.sentence((held.how, name, held.sources))
                found.append(
                    RelationBroken(place, said, f"{amount:.12g}", f"{told[-1]:.12g}", held.held, held.of, held.actors, far)
                )


def _nodes(body: Any, steps: tuple[str, ...]) -> list[dict[str, Any]]:
    """The objects at a place."""
    nodes = [body]
    for step in steps:
        if step == "[]":
            nodes = [item for node in nodes if type(node) is list for item in node][:MAX_CLAIMED]
        else:
            nodes = [node[step] for node in nodes if type(node) is dict and step in node]
    return [node for node in nodes if type(node) is dict]


def _in_query(place: _Place, text: str, cls: str, found: list[Deviation]) -> None:
    if place.number is not None and len(text) < 400 and _NUMBER.fullmatch(text):
        value = float(text)
        if not place.low <= value <= place.high:
            _number(place, value, found)
    elif place.words is not None and text not in place.words:
        _word(place, text, cls, found)


def _compare(node: Any, known: _Node, cls: str, found: list[Deviation]) -> None:
    if type(node) is not dict:
        if type(node) is list:
            for key, child in known.children:
                if key == "[]":
                    for item in node[:MAX_ITEMS]:
                        _compare(item, child, cls, found)
            for key, place in known.places:
                if key == "[]":
                    for item in node[:MAX_ITEMS]:
                        _value(item, place, cls, found)
        return
    for key, place in known.places:
        value = node.get(key)
        kind = type(value)
        if kind is float or kind is int:
            if place.number is not None and (not place.low <= value <= place.high or (place.number.whole and value % 1)):  # type: ignore[operator]
                _number(place, _finite(value), found)
        elif kind is str:
            if place.words is not None and (value not in place.words or (value in place.above and not authority(cls))):
                _word(place, value, cls, found)  # type: ignore[arg-type]
            elif place.number is not None:
                _text(place, value, found)
    for held, relation in known.relations:
        values = relations.expected(relation, node)
        if values is not None and not _holds(held.how, *values):
            found.append(_broken(held, relation, *values))
    for key, child in known.children:
        below = node.get(key)
        if below.__class__ is dict or below.__class__ is list:
            _compare(below, child, cls, found)


def _value(value: Any, place: _Place, cls: str, found: list[Deviation]) -> None:
    """An item of an array of numbers or words."""
    kind = type(value)
    if (kind is int or kind is float) and place.number is not None and not place.low <= value <= place.high:
        _number(place, _finite(value), found)
    elif kind is str and place.words is not None and value not in place.words:
        _word(place, value, cls, found)


def _finite(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return 1e308 if value > 0 else -1e308


def _number(place: _Place, value: float, found: list[Deviation]) -> None:
    known = place.number
    if known is None or len(found) >= MAX_FOUND:
        return
    far = False
    if value > place.high:
        how = "huge"
        far = known.most > 0 and value > max(
            FAR_FACTOR * known.most, known.most * 2.0 ** min(SPREADS * known.spread, 900.0), 1_000.0
        )
    elif value < 0:
        how = "negative"
    elif value == 0:
        how = "zero"
    elif value % 1 and known.whole:
        how = "fraction"
    else:
        return
    found.append(NumberOutside(_shown_place(place), how, value, known.least, known.most, known.calls, known.actors, far))


def _text(place: _Place, value: Any, found: list[Deviation]) -> None:
    known = place.number
    if known is not None and len(found) < MAX_FOUND and len(value) < 64 and _NUMBER.fullmatch(value):
        found.append(NumberOutside(_shown_place(place), "text", float(value), known.least, known.most, known.calls, known.actors))


def _word(place: _Place, value: str, cls: str, found: list[Deviation]) -> None:
    known = place.known
    if known is None or len(found) >= MAX_FOUND:
        return
    told = tuple([word for word, _, _ in known.words[:6]])
    found.append(
        WordNotSeen(
            _shown_place(place),
            _shown(value),
            told,
            known.calls,
            known.actors,
            value in place.answered,
            place.above.get(value, ()),
        )
    )


def _shown_place(place: _Place) -> str:
    return (place.place if place.place.startswith("query.") else f"body.{place.place}")[:120]


def _shown(value: str) -> str:
    """A short word as it is: what is longer may be of a person."""
    text = "".join([letter if letter.isprintable() and letter != "`" else "?" for letter in value[:24]])
    return text if len(value) <= 24 else f"{text[:8]}... ({len(value)} characters)"


def _holds(how: str, there: Any, expected: Any) -> bool:
    if how == "before":
        return bool(expected <= there)
    if how == "count" or how == "equal":
        return bool(there == expected) or relations.near(there, expected)
    return relations.near(there, expected)


def _broken(held: Held, relation: Relation, there: Any, expected: Any) -> RelationBroken:
    place = ".".join(("body", *held.frame, held.target))[:120]
    if held.how == "before":
        return RelationBroken(
            place, relations.sentence(relation), there, f"{expected} or later", held.held, held.of, held.actors, True
        )
    far = abs(there - expected) > OFF * max(abs(there), abs(expected))
    return RelationBroken(
        place, relations.sentence(relation), f"{there:.12g}", f"{expected:.12g}", held.held, held.of, held.actors, far
    )
