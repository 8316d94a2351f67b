"""The search for sensitive values: a prefilter automaton over raw bytes, and a walk over the decoded tree that confirms and names the place.

What is looked for is in `data_forms` (values whose form tells), `data_named` (values whose field's name tells) and `data_custom` (the user's
own classes); the classes themselves are described in `data_classes`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from re import Pattern
from re import compile as regex
from typing import Any, NamedTuple

import hyperscan
import msgspec

from eastwall.discovery import automata, data_named, data_names
from eastwall.discovery.data_custom import Custom, compile_custom
from eastwall.discovery.data_forms import FORMS, MASKS, PREFILTER, Form, mask_tail
from eastwall.discovery.data_labels import labelled
from eastwall.discovery.data_named import Named
from eastwall.discovery.objects import ENVELOPES, generated
from eastwall.model.operation import Operation
from eastwall.model.snapshot import CustomDataClass

SENSITIVITY: dict[str, str] = {
    "pan": "critical",
    "ssn": "critical",
    "national-id": "high",
    "iban": "high",
    "bank-account": "high",
    "passport": "high",
    "driver-license": "high",
    "health-id": "critical",
    "diagnosis": "critical",
    "date-of-birth": "medium",
    "person-name": "low",
    "address": "medium",
    "geo": "medium",
    "email": "medium",
    "phone": "medium",
    "ip-address": "low",
    "crypto-wallet": "medium",
    "credential": "critical",
    "secret": "critical",
}
"""Built-in class -> `low`, `medium`, `high`, `critical`."""
CLASSES = tuple(SENSITIVITY)
BY_NAME = frozenset({"person-name", "address", "geo", "date-of-birth"})
"""Classes that no value shows by itself, only its field's name, and that many bodies hold."""
MAX_HITS = 200
"""Distinct (class, place) reported for one message."""
MAX_DEPTH = 64
MAX_PLANS = 5_000
MAX_KEYS = 200
"""Objects with more keys are not remembered."""

_TRIGGERS: dict[str, str] = {
    "pan": "[0-9](?:[ .()/-]{0,2}[0-9]){6}",
    "ssn": "[0-9](?:[ .()/-]{0,2}[0-9]){6}",
    "phone": "[0-9](?:[ .()/-]{0,2}[0-9]){6}",
    "iban": "[A-Z]{2}[0-9]{2}",
    "email": "@",
    "secret": "[A-Za-z0-9_.-]{14}|://|-----BEGIN|AccountKey",
    "national-id": "[0-9A-Z]{10}|[0-9](?:[ .()/-]{0,2}[0-9]){6}|[A-Z]{2} [0-9]{2} |[0-9A-Z]{3}[.][0-9A-Z]{3}[-/]|[0-9]{6}[-+A-Y][0-9]{3}",
    "passport": "[A-Z<]{3}[0-9<]{6}|<",
    "health-id": "[A-Y]{2}[0-9]{2}",
    "ip-address": "[0-9][.][0-9]{1,3}[.][0-9]|:[0-9A-Fa-f:]",
    "crypto-wallet": "[0-9A-Za-z]{14}",
}
"""Per class, what a value must hold for one of its forms to match: spares most values of a walk the closer look."""
_NUMERIC = frozenset({"pan", "ssn", "phone", "national-id"})
_NO_ADDRESS = regex(r"_(?:version|ver|build|release|firmware|revision|oid|sdk|semver|range|section|chapter)_")
_NO_NUMBER = regex(
    r"_(?:gtin|ean|upc|isbn|barcode|imei|imsi|iccid|tracking|sku|asin|serial|timestamp|epoch|millis|nanos|etag|hash|sha|md)_"
)
_BARRED: dict[Pattern[str], frozenset[str]] = {
    _NO_ADDRESS: frozenset({"ip-address"}),
    _NO_NUMBER: frozenset({"pan", "ssn", "phone", "national-id", "health-id", "crypto-wallet"}),
}
_WORDS = frozenset(
    "error errors message messages label labels translation translations i_n schema properties validation violations field_errors".split()
)
"""Objects under such a name say something about fields, under the fields' own names."""
_KEY_VALUE = regex("@|(?:[0-9][^0-9]{0,100}){4}|[A-Z]{6}")
Nothing: tuple[Named, ...] = ()


class Span(NamedTuple):
    """A value found in a text."""

    start: int
    end: int
    data_class: str
    confidence: float
    label: str


class Entry(NamedTuple):
    """What a field's name says, worked out once for all objects with the same keys at the same place."""

    key: str
    place: str
    first: tuple[Named, ...]
    last: tuple[Named, ...]
    barred: frozenset[str]
    inside: str
    is_value: bool
    """The key may itself be a value."""
    custom: tuple[int, ...] = ()
    """Custom classes whose globs match the name."""


class Automaton:
    """The compiled prefilter. `scan` lets go of the interpreter lock: each scan takes a scratch of its own from the free ones."""

    def __init__(self, saved: bytes = b"") -> None:
        """`saved`: what `save` gave an earlier process; compiled anew when it does not fit."""
        sources = _sources()
        expressions = [pattern for _, pattern in sources]
        flags = [hyperscan.HS_FLAG_SINGLEMATCH] * len(expressions)
        self._mark = automata.fingerprint([*expressions, bytes(flags)])
        kept = automata.restore(saved, self._mark) if saved else None
        self.database = kept[1][0] if kept else automata.build(expressions, flags, range(len(expressions)))
        self.first = self.database.scratch
        self.free = [self.first.clone()]
        self.scan = self.database.scan
        self.suspects = tuple(_suspects(kind) for kind, _ in sources)
        """Per pattern, the classes that it makes worth looking for."""
        self.kinds = tuple(kind for kind, _ in sources)
        self._sets: dict[int, frozenset[str]] = {0: frozenset()}
        self._bits = tuple(sum(1 << CLASSES.index(name) for name in names) for names in self.suspects)

    def save(self) -> bytes:
        """For the next process's `restore_automaton`."""
        return automata.save(self._mark, (), (self.database,))

    def hits(self, data: bytes) -> list[int]:
        """Numbers of the patterns that hit, each once."""
        try:
            scratch = self.free.pop()
        except IndexError:
            scratch = self.first.clone()
        hits: list[int] = []
        try:
            self.scan(data, _hit, 0, hits, scratch)
        finally:
            self.free.append(scratch)
        return hits

    def classes(self, data: bytes) -> frozenset[str]:
        """Classes that may be in `data`; empty for clean data."""
        bits = 0
        for pattern in self.hits(data):
            bits |= self._bits[pattern]
        found = self._sets.get(bits)
        if found is None:
            if len(self._sets) > 5_000:
                self._sets.clear()
            found = self._sets[bits] = frozenset(name for at, name in enumerate(CLASSES) if bits >> at & 1)
        return found


def _hit(pattern: int, start: int, end: int, flags: int, hits: Any) -> None:
    hits.append(pattern)


def _sources() -> list[tuple[str, bytes]]:
    """(class or evidence, pattern)."""
    people = "|".join(sorted(data_names.PERSONS | {"name", "names"}))
    within = rf'(?i)(?:{people})[^A-Za-z"]{{0,8}}"[ \t\r\n]{{0,16}}:[ \t\r\n]{{0,16}}[\[{{]'.encode()
    names = [(kind, pattern) for kind, pattern in data_names.prefilter() if _suspects(kind)]
    return [*PREFILTER, *names, ("within", within)]


def _suspects(kind: str) -> frozenset[str]:
    if kind in SENSITIVITY:
        # An e-mail address or a telephone number beside a `name` makes it a person's.
        return frozenset({kind})
    if kind == "within":
        return frozenset({"person-name"})
    found = data_named.CLASSES_OF.get(kind, frozenset())
    return found | {"person-name"} if kind in data_named.PERSONAL else found


_automaton: list[Automaton] = []


def automaton() -> Automaton:
    """Compiled at first use, not at import: commands that inspect nothing do not pay for it."""
    if not _automaton:
        _automaton.append(Automaton())
    return _automaton[0]


def restore_automaton(saved: bytes) -> None:
    """Make the automaton of this process of what `Automaton.save` gave an earlier one."""
    _automaton[:] = [Automaton(saved)]


class DataClasses:
    """The classes to look for: the built-in ones and the user's own. Immutable but for what it remembers, which is bounded."""

    def __init__(self, custom: Sequence[Custom] = ()) -> None:
        self.custom = tuple(custom)
        self.names: tuple[str, ...] = (*CLASSES, *(one.name for one in custom))
        self.sensitivity: Mapping[str, str] = {**SENSITIVITY, **{one.name: one.sensitivity for one in custom}}
        self._searches: dict[frozenset[str], Search] = {}
        self.plans: dict[tuple[str, str, tuple[str, ...]], tuple[Entry, ...]] = {}

    def suspected(self, operation: Operation) -> frozenset[str]:
        """Classes worth looking for in the body."""
        kind, data = operation.body_kind, operation.raw_body
        body = operation.body
        if type(body) is dict or type(body) is list:
            if kind != "json" or (b"\\u" in data and b"\\u00" in data):
                # Percent signs, entities and escapes hide values from the automaton: it reads the decoded tree, encoded plainly.
                data = plain(body) or data
        elif kind == "binary":
            return frozenset()
        return self.classes(data) if data else frozenset()

    def classes(self, data: bytes) -> frozenset[str]:
        """Classes that may be in `data`."""
        found = automaton().classes(data)
        for one in self.custom:
            if one.suspects(data):
                found |= {one.name}
        return found

    def search(self, wanted: frozenset[str]) -> Search:
        """The search for some classes, remembered: bodies of an API come with few combinations."""
        found = self._searches.get(wanted)
        if found is None:
            if len(self._searches) >= 500:
                self._searches.clear()
            found = self._searches[wanted] = Search(wanted, self)
        return found

    def mask(self, data_class: str, value: str) -> str:
        """The masked form: at most the last four; see `MASKS`."""
        return MASKS.get(data_class, mask_tail)(value)


def compile_classes(custom: Sequence[CustomDataClass] = ()) -> DataClasses:
    """The built-in classes and `custom` ones, ready to look for. Raises ValueError, one line, for one that cannot be used.

    Equal ones are compiled once: snapshots come often, classes seldom change.
    """
    return _compiled(tuple(custom))


@lru_cache(maxsize=4)
def _compiled(custom: tuple[CustomDataClass, ...]) -> DataClasses:
    return DataClasses([compile_custom(one) for one in custom])


BUILTIN = compile_classes()
Found = dict[tuple[str, str], tuple[str, float]]
"""(class, place) -> (masked, confidence)"""


def suspected(operation: Operation) -> Collection[str]:
    """Built-in classes worth looking for in the body."""
    return BUILTIN.suspected(operation)


def plain(tree: Any) -> bytes:
    """A tree as JSON without escapes of letters; empty when it cannot be written."""
    try:
        return msgspec.json.encode(tree)
    except (ValueError, TypeError, RecursionError):
        return b""


def decode_text(raw: bytes) -> str:
    """Bytes as text that encodes back to the same bytes."""
    return raw.decode("utf-8", "surrogateescape")


class Search:
    """Looks for some classes in texts and trees."""

    __slots__ = ("classes", "custom", "forms", "gate", "labels", "numeric", "wanted")

    def __init__(self, wanted: Collection[str], classes: DataClasses = BUILTIN) -> None:
        self.wanted = frozenset(wanted)
        self.classes = classes
        self.forms: list[Form] = [form for form in FORMS if form.data_class in self.wanted]
        triggers = dict.fromkeys(_TRIGGERS[form.data_class] for form in self.forms)
        self.gate = regex("|".join(triggers)).search if triggers else None
        self.custom = [one for one in classes.custom if one.name in self.wanted]
        self.numeric = bool(self.custom) or not self.wanted.isdisjoint(_NUMERIC)
        self.labels = not self.wanted <= {"email", "ip-address", "crypto-wallet", "iban", "person-name", "address", "geo"}

    def entry(self, name: str, inside: str = "") -> Entry:
        """What a name says on its own, for places outside of objects."""
        return self.plan(name, inside, (name,))[0] if name else _NAMELESS

    def plan(self, place: str, inside: str, keys: tuple[str, ...], parent: str = "") -> tuple[Entry, ...]:
        """What the keys of an object at `place` say."""
        plans = self.classes.plans
        found = plans.get((place, inside, keys))
        if found is None:
            found = tuple(self._entries(place, inside, keys, parent))
            if len(keys) <= MAX_KEYS and not any(entry.is_value for entry in found) and len(place) <= 512:
                if len(plans) >= MAX_PLANS:
                    plans.clear()
                plans[(place, inside, keys)] = found
        return found

    def _entries(self, place: str, inside: str, keys: tuple[str, ...], parent: str) -> Iterable[Entry]:
        personal = data_named.beside(keys[:MAX_KEYS])
        for key in keys:
            name = parent if key == "#text" else key
            label = "{}" if generated(key) else key[:128] or '""'  # as in `shapes`
            first, last = data_named.named(name, inside, personal) if label != "{}" else (Nothing, Nothing)
            canonical = data_names.canonical(name)
            barred: frozenset[str] = frozenset()
            for pattern, names in _BARRED.items():
                if pattern.search(canonical) is not None:
                    barred |= names
            stem = canonical.strip("_")
            if stem.rpartition("_")[2] in _WORDS or stem in _WORDS:
                within = "words"
            elif stem in ("name", "names"):
                within = "name"
            else:
                within = data_names.context(name, inside if inside == "words" or key in ENVELOPES else "")
            custom = tuple(at for at, one in enumerate(self.classes.custom) if one.of_name(name))
            is_value = not key.isidentifier() and _KEY_VALUE.search(key) is not None
            yield Entry(key, f"{place}.{label}" if place else label, first, last, barred, within, is_value, custom)

    def spans(self, text: str, entry: Entry) -> list[Span]:
        """Values in a text, in order, without overlaps."""
        spans: list[Span] = []
        wanted, length = self.wanted, len(text)
        first, last = entry.first, entry.last
        if first or last or entry.custom:
            stripped = text.strip()
            if first and (found := _named(stripped, first, wanted)) is not None:
                return [_whole(text, stripped, found.data_class, found.confidence, found.label)]
            for at in entry.custom:
                one = self.classes.custom[at]
                if one.name in wanted and stripped and one.whole(stripped):
                    return [_whole(text, stripped, one.name, one.confidence, "")]
        else:
            stripped = ""
        if self.gate is not None and self.gate(text) is not None:
            barred = entry.barred
            for form in self.forms:
                if length >= form.shortest and form.data_class not in barred:
                    for match in form.pattern.finditer(text):
                        if form.valid(match):
                            group = (match.lastindex or 0) if form.group < 0 else form.group
                            _claim(
                                spans, Span(match.start(group), match.end(group), form.data_class, form.confidence, form.label)
                            )
        for one in self.custom:
            for start, end in one.spans(text):
                _claim(spans, Span(start, end, one.name, one.confidence, ""))
        if last and (found := _named(stripped, last, wanted)) is not None:
            _claim(spans, _whole(text, stripped, found.data_class, found.confidence, found.label))
        elif self.labels and length >= 9 and not first and not last:
            for start, end, named in labelled(text, automaton()):
                if named.data_class in wanted:
                    _claim(spans, Span(start, end, named.data_class, named.confidence, named.label), over=("phone",))
        return spans

    def value(self, value: Any, place: str, entry: Entry, found: Found) -> None:
        """Add the hits of one value."""
        kind = type(value)
        if kind is not str:
            value = self.number(value, entry)
        if not value or len(found) >= MAX_HITS:
            return
        for start, end, data_class, confidence, label in self.spans(value, entry):
            known = found.get((data_class, place))
            if known is None or known[1] < confidence:
                masked = self.classes.mask(data_class, value[start:end])
                found[(data_class, place)] = (f"{label} {masked}" if label else masked, confidence)

    def number(self, value: Any, entry: Entry) -> str:
        """The text of a JSON number that may be a value, empty for what cannot be one."""
        kind = type(value)
        if kind is int:
            if self.numeric and 999_999 < value < 10**19:
                return str(value)
        elif kind is not float:
            return ""
        if entry.custom or any(named.numbers and named.data_class in self.wanted for named in (*entry.first, *entry.last)):
            return repr(value)
        return ""

    def walk(self, node: Any, place: str, inside: str, found: Found, depth: int = 0, entry: Entry | None = None) -> None:
        """Add the hits below a dict or list. Places are built only where something may be found."""
        if depth > MAX_DEPTH:
            return
        if type(node) is list:
            place += "[]"
            entry = entry or _NAMELESS
            named = bool(entry.first or entry.last or entry.custom)
            gate, close = self.gate, self.labels or bool(self.custom)
            for item in node:
                kind = type(item)
                if kind is dict or kind is list:
                    self.walk(item, place, inside, found, depth + 1, entry)
                elif kind is not str or named or close or (gate is not None and gate(item) is not None):
                    self.value(item, place, entry, found)
            return
        parent = entry.key if entry is not None else ""
        gate, close = self.gate, self.labels or bool(self.custom)
        for entry, item in zip(self.plan(place, inside, tuple(node), parent), node.values(), strict=True):
            kind = type(item)
            if kind is str:
                if (
                    entry.first
                    or entry.last
                    or entry.custom
                    or (gate is not None and gate(item) is not None)
                    or (close and len(item) > 8)
                ):
                    self.value(item, entry.place, entry, found)
            elif kind is dict or kind is list:
                if item:
                    self.walk(item, entry.place, entry.inside, found, depth + 1, entry)
            elif (kind is int or kind is float) and (self.numeric or entry.first or entry.last or entry.custom):
                self.value(item, entry.place, entry, found)
            if entry.is_value:
                self.value(entry.key, entry.place, _NAMELESS, found)


_NAMELESS = Entry("", "", (), (), frozenset(), "", False)


def _named(text: str, tried: tuple[Named, ...], wanted: frozenset[str]) -> Named | None:
    for named in tried:
        if named.data_class in wanted and text and named.valid(text):
            return named
    return None


def _whole(text: str, stripped: str, data_class: str, confidence: float, label: str) -> Span:
    at = len(text) - len(text.lstrip())
    return Span(at, at + len(stripped), data_class, confidence, label)


def _claim(spans: list[Span], span: Span, over: tuple[str, ...] = ()) -> None:
    """Add a span to those in order, unless it overlaps one that is there. Those of the classes `over` give way."""
    if over:
        spans[:] = [old for old in spans if old.data_class not in over or old.end <= span.start or old.start >= span.end]
    at = bisect_left(spans, (span.start,))
    if (at == 0 or spans[at - 1].end <= span.start) and (at == len(spans) or spans[at].start >= span.end):
        spans.insert(at, span)
