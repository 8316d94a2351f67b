"""The search for sensitive values: a walk over the decoded tree that confirms what the prefilter suspects, and names the place.

What is looked for is in `data_forms` (values whose form tells), `data_named` (values whose field's name tells) and `data_custom` (the user's
own classes); the classes themselves are described in `data_classes`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from re import compile as regex
from typing import Any, NamedTuple

import msgspec

from eastwall.discovery import data_named, data_names
from eastwall.discovery.data_custom import Custom, Suspicion, compile_custom
from eastwall.discovery.data_entries import BARRED, KEY_VALUE, NAMELESS, REFERENCE, REFERENCED, WORDS, Entry
from eastwall.discovery.data_forms import FORMS, MASKS, Form, mask_tail
from eastwall.discovery.data_labels import MAX_TEXT, labelled
from eastwall.discovery.data_named import Named
from eastwall.discovery.data_prefilter import CLASSES
from eastwall.discovery.data_prefilter import SENSITIVITY as SENSITIVITY
from eastwall.discovery.data_prefilter import Automaton as Automaton
from eastwall.discovery.data_prefilter import automaton as automaton
from eastwall.discovery.data_prefilter import restore_automaton as restore_automaton
from eastwall.discovery.objects import ENVELOPES, generated
from eastwall.model.operation import Operation
from eastwall.model.snapshot import CustomDataClass

try:
    from eastwall.discovery import _values
except ImportError:  # no C compiler at installation: `accelerated` says so
    accelerated = False
else:
    accelerated = True

MAX_HITS = 200
"""Distinct (class, place) reported for one message."""
MAX_DEPTH = 64
MAX_PLANS = 5_000
MAX_KEYS = 200
"""Objects with more keys are not remembered."""

_DIGITS = "[0-9](?:[ .()/-]{0,2}[0-9]){8}"
_TRIGGERS: dict[str, str] = {
    "pan": _DIGITS,
    "ssn": _DIGITS,
    "phone": _DIGITS + "|[+][ (]{0,2}[1-9]",
    "iban": "[A-Z]{2}[0-9]{2}",
    "email": "@",
    "secret": "[A-Za-z0-9_.-]{14}|://|-----BEGIN|AccountKey",
    "national-id": "[0-9A-Z]{10}|" + _DIGITS + "|[A-Z]{2} [0-9]{2} |[0-9A-Z]{3}[.][0-9A-Z]{3}[-/]|[0-9]{6}[-+A-Y][0-9]{3}",
    "passport": "[A-Z<]{3}[0-9<]{6}|<",
    "health-id": "[A-Y]{2}[0-9]{2}",
    "ip-address": "[0-9][.][0-9]{1,3}[.][0-9]|:[0-9A-Fa-f:]",
    "crypto-wallet": "[0-9A-Za-z]{14}",
}
"""Per class, what a value must hold for one of its forms to match: spares most values of a walk the closer look."""
HOLDS: dict[str, int] = {
    "pan": 1,
    "ssn": 1,
    "phone": 1 | 2,
    "iban": 4,
    "email": 8,
    "secret": 16,
    "national-id": 1 | 32,
    "passport": 64,
    "health-id": 128,
    "ip-address": 256,
    "crypto-wallet": 512,
}
"""The same as bits of `_values.features`, which tells all of them in one pass."""
_LABELLED_BIT = 1024
"""Of `_values.features`: a label and a value may be in the text."""
_SUREST = {name: max(form.confidence for form in FORMS if form.data_class == name) for name in HOLDS}
_NUMERIC = frozenset({"pan", "ssn", "phone", "national-id"})
_LEAST = 999_999_999_999
"""JSON numbers up to this have too few digits for any form, unless a name speaks for them or the class is the user's own."""
_WORD = 20
"""Letters alone make a value from this length on only (an access key of AWS may have no digit)."""
_UNLABELLED = frozenset({"email", "ip-address", "crypto-wallet", "iban", "person-name", "address", "geo"})
"""Classes that no label in text is needed for, or believed about."""
_LABELLED = regex("[:=]|[0-9][^0-9]{0,3}[0-9][^0-9]{0,3}[0-9]")
"""What a text must hold for a label and a value to be in it."""


class Span(NamedTuple):
    """A value found in a text."""

    start: int
    end: int
    data_class: str
    confidence: float
    label: str


class DataClasses:
    """The classes to look for: the built-in ones and the user's own. Immutable but for what it remembers, which is bounded."""

    def __init__(self, custom: Sequence[Custom] = ()) -> None:
        self.custom = tuple(custom)
        self._suspicion = Suspicion(custom) if custom else None
        self.names: tuple[str, ...] = (*CLASSES, *(one.name for one in custom))
        self.sensitivity: Mapping[str, str] = {**SENSITIVITY, **{one.name: one.sensitivity for one in custom}}
        self._searches: dict[frozenset[str], Search] = {}
        self._plans = 0

    def make_room(self, more: int) -> None:
        """Of all searches together no more than `MAX_PLANS` plans are remembered: past that all are forgotten."""
        self._plans += more
        if self._plans > MAX_PLANS:
            self._plans = more
            for search in self._searches.values():
                search.forget()

    def suspected(self, operation: Operation) -> frozenset[str]:
        """Classes worth looking for in the body."""
        kind, data = operation.body_kind, operation.raw_body
        body = operation.body
        if type(body) is dict or type(body) is list:
            if kind != "json" or (b"\\" in data and b"\\u00" in data):  # one byte is looked for fast
                # Percent signs, entities and escapes hide values from the automaton: it reads the decoded tree, encoded plainly.
                data = plain(body) or data
        elif kind == "binary":
            return frozenset()
        return self.classes(data) if data else frozenset()

    def classes(self, data: bytes) -> frozenset[str]:
        """Classes that may be in `data`."""
        found = automaton().classes(data)
        return found if self._suspicion is None else found | self._suspicion.classes(data)

    def search(self, wanted: frozenset[str]) -> Search:
        """The search for some classes, remembered: bodies of an API come with few combinations."""
        found = self._searches.get(wanted)
        if found is None:
            if len(self._searches) >= 500:
                self._searches.clear()
                self._plans = 0
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

    __slots__ = (
        "classes",
        "custom",
        "forms",
        "gate",
        "holds",
        "labels",
        "least",
        "letters",
        "numeric",
        "plans",
        "tried",
        "walker",
        "wanted",
    )

    def __init__(self, wanted: Collection[str], classes: DataClasses | None = None) -> None:
        self.wanted = frozenset(wanted)
        self.classes = classes = classes or BUILTIN
        self.forms = [
            (form, regex(_TRIGGERS[form.data_class]).search, HOLDS[form.data_class])
            for form in FORMS
            if form.data_class in self.wanted
        ]
        self.custom = [one for one in classes.custom if one.name in self.wanted]
        triggers = dict.fromkeys(_TRIGGERS[form.data_class] for form, _, _ in self.forms)
        self.gate = regex(
            "" if any(one.anywhere for one in self.custom) else "|".join(dict.fromkeys("|".join(triggers).split("|"))) or "(?!)"
        ).search
        """Whether a look at a text for other than what its name says can find anything."""
        self.holds = 0
        """The same, of `_values.features`; not for the user's own classes."""
        for _, _, bits in self.forms:
            self.holds |= bits
        self.numeric = bool(self.custom) or not self.wanted.isdisjoint(_NUMERIC)
        self.least = 999_999 if self.custom else _LEAST
        self.labels = not self.wanted <= _UNLABELLED
        self.letters = any(one.anywhere for one in self.custom)
        """Whether a text of nothing but letters may be a value."""
        self.plans: dict[tuple[str, str, tuple[str, ...]], tuple[Entry, ...]] = {}
        self.tried: dict[int, tuple[Form, ...]] = {}
        """What a text holds -> forms that are tried."""
        self.walker: _values.Walker | None = None
        """`walk` in C, where it was built; the user's own classes may look for anything anywhere, so with them it is done here."""
        if accelerated and not self.custom:
            self.walker = _values.Walker(
                self._planned,
                self._looked_at,
                gate=self.holds,
                labels=self.labels,
                numeric=self.numeric,
                max_depth=MAX_DEPTH,
                max_hits=MAX_HITS,
            )

    def forget(self) -> None:
        """Forget what names were found to say."""
        self.plans.clear()
        if self.walker is not None:
            self.walker.forget()

    def _planned(self, place: str, inside: str, keys: tuple[str, ...], parent: str) -> tuple[bool, tuple[Any, ...]]:
        """A plan as `_values.c` takes it."""
        plan = self.plan(place, inside, keys, parent)
        kept = (place, inside, keys) in self.plans
        return kept, tuple([(one, one.place, one.inside, one.telling, one.is_value, one.alone()) for one in plan])

    def _looked_at(self, value: Any, place: str, entry: Entry | None, found: Found, holds: int) -> None:
        """A value that `_values.c` met; `holds`: what its text holds, -1: not known."""
        self.value(value, place, entry if entry is not None else NAMELESS, found, holds)

    def entry(self, name: str, inside: str = "") -> Entry:
        """What a name says on its own, for places outside of objects."""
        return self.plan(name, inside, (name,))[0] if name else NAMELESS

    def plan(self, place: str, inside: str, keys: tuple[str, ...], parent: str = "") -> tuple[Entry, ...]:
        """What the keys of an object at `place` say, as far as it is wanted."""
        plans = self.plans
        found = plans.get((place, inside, keys))
        if found is None:
            found = tuple(self._entries(place, inside, keys, parent))
            if len(keys) <= MAX_KEYS and not any(entry.is_value for entry in found) and len(place) <= 512:
                self.classes.make_room(1 + sum(map(len, keys)) // 256)
                plans[(place, inside, keys)] = found
        return found

    def _entries(self, place: str, inside: str, keys: tuple[str, ...], parent: str) -> Iterator[Entry]:
        personal = data_named.beside(keys[:MAX_KEYS])
        wanted = self.wanted
        for key in keys:
            name = parent if key == "#text" else key
            label = "{}" if generated(key) else key[:128] or '""'  # as in `shapes`
            first, last = data_named.named(name, inside, personal) if label != "{}" else ((), ())
            first = tuple(one for one in first if one.data_class in wanted)
            last = tuple(one for one in last if one.data_class in wanted)
            canonical = data_names.canonical(name)
            stem = canonical.strip("_")
            if stem.rpartition("_")[2] in WORDS or stem in WORDS:
                within = "words"
            elif stem in ("name", "names"):
                within = "name"
            else:
                within = data_names.context(name, inside if inside == "words" or key in ENVELOPES else "")
            yield Entry(
                key=key,
                place=f"{place}.{label}" if place else label,
                first=first,
                last=last,
                barred=frozenset().union(*(names for pattern, names in BARRED.items() if pattern.search(canonical) is not None)),
                inside=within,
                is_value=not key.isidentifier() and KEY_VALUE.search(key) is not None,
                custom=tuple([one for one in self.custom if one.of_name(name)]),
                aside=REFERENCE.search(canonical) is not None,
            )

    def spans(self, text: str, entry: Entry, holds: int = -1) -> list[Span]:
        """Values in a text, in order, without overlaps. `holds`: its `_values.features`, -1: not known."""
        first, last = entry.first, entry.last
        stripped = text.strip()
        if first and (found := _named(stripped, first)) is not None:
            return [_whole(text, stripped, found.data_class, found.confidence, found.label)]
        for one in entry.custom:
            if one.whole(stripped):
                return [_whole(text, stripped, one.name, one.confidence, "")]
        spans: list[Span] = []
        if self._gated(text, holds):
            self._forms(text, entry, spans, holds)
        if last and (found := _named(stripped, last)) is not None:
            _claim(spans, _whole(text, stripped, found.data_class, found.confidence, found.label))
        elif self.labels and not first and not last and _may_be_labelled(text):
            for start, end, named in labelled(text, automaton()):
                if named.data_class in self.wanted:
                    _claim(spans, Span(start, end, named.data_class, named.confidence, named.label), over=("phone",))
        return spans

    def _tried(self, text: str, holds: int) -> tuple[Form, ...]:
        """Forms that a text may have."""
        if holds < 0:
            if not accelerated:
                return tuple([form for form, trigger, _ in self.forms if trigger(text) is not None])
            holds = _values.features(text)
        found = self.tried.get(holds & self.holds)
        if found is None:  # at most 512 combinations
            found = self.tried[holds & self.holds] = tuple([form for form, _, bits in self.forms if holds & bits])
        return found

    def _forms(self, text: str, entry: Entry, spans: list[Span], holds: int) -> None:
        """Add values whose form tells, and those of the user's own patterns."""
        length = len(text)
        barred = entry.barred
        whole = len(text.strip()) if entry.aside else -1
        for form in self._tried(text, holds):
            if length >= form.shortest and form.data_class not in barred:
                for match in form.pattern.finditer(text):
                    if form.valid(match):
                        if match.end() - match.start() == whole and form.data_class in REFERENCED:
                            continue
                        group = (match.lastindex or 0) if form.group < 0 else form.group
                        span = Span(*match.span(group), form.data_class, form.confidence, form.label)
                        if spans:
                            _claim(spans, span)
                        else:
                            spans.append(span)
        for one in self.custom:
            for start, end in one.spans(text):
                _claim(spans, Span(start, end, one.name, one.confidence, ""))

    def _gated(self, text: str, holds: int) -> bool:
        return self.gate(text) is not None if holds < 0 else holds & self.holds != 0

    def _settled(self, place: str, entry: Entry, found: Found, holds: int) -> bool:
        """Whether whatever may be in a text was found at its place already, as sure as it gets: items of a list are much alike."""
        if not found or entry.first or entry.custom or holds & _LABELLED_BIT or (entry.last and entry.only is None):
            return False
        one = entry.only
        if one is not None and ((known := found.get((one.data_class, place))) is None or known[1] < one.confidence):
            return False
        for form in self._tried("", holds):
            known = found.get((form.data_class, place))
            if known is None or known[1] < _SUREST[form.data_class]:
                return False
        return True

    def value(self, value: Any, place: str, entry: Entry, found: Found, holds: int = -1) -> None:
        """Add the hits of one value. `holds`: its `_values.features`, -1: not known."""
        if type(value) is not str:
            value, holds = self.number(value, entry), -1
        if not value or (holds > 0 and self._settled(place, entry, found, holds)):
            return
        one = entry.only
        if one is not None and (
            (value.isalpha() and len(value) < _WORD and not self.letters)
            or not self._gated(value, holds)
            or (one.data_class == "phone" and value[0] == "+" and not self.letters)
        ):
            # Most values of fields with a telling name: no more than a look at that, and for the items of an array one.
            if (one.data_class, place) not in found:
                value = value.strip()
                if value and one.valid(value):
                    self._add(one.data_class, place, value, one.confidence, one.label, found)
            return
        for start, end, data_class, confidence, label in self.spans(value, entry, holds):
            self._add(data_class, place, value[start:end], confidence, label, found)

    def _add(self, data_class: str, place: str, value: str, confidence: float, label: str, found: Found) -> None:
        known = found.get((data_class, place))
        if known is None:
            if len(found) >= MAX_HITS:
                return
        elif known[1] >= confidence:
            return
        masked = MASKS.get(data_class, mask_tail)(value)
        found[(data_class, place)] = (f"{label} {masked}" if label else masked, confidence)

    def number(self, value: Any, entry: Entry) -> str:
        """The text of a JSON number that may be a value, empty for what cannot be one."""
        kind = type(value)
        if kind is int:
            if self.numeric and self.least < value < 10**19:
                return str(value)
        elif kind is not float:
            return ""
        if entry.custom or any(named.numbers for named in (*entry.first, *entry.last)):
            return repr(value) if kind is float or abs(value) < 10**40 else ""
        return ""

    def walk(self, node: Any, place: str, inside: str, found: Found) -> None:
        """Add the hits below a dict or list."""
        if self.walker is not None:
            self.walker.walk(node, place, inside, found)
        else:
            self.walk_slowly(node, place, inside, found)

    def walk_slowly(self, node: Any, place: str, inside: str, found: Found, depth: int = 0, entry: Entry | None = None) -> None:
        """The readable twin of `_values.Walker.walk`. Places are built only where something may be found."""
        if depth > MAX_DEPTH:
            return
        gate, labels, letters = self.gate, self.labels, self.letters
        if type(node) is list:
            place += "[]"
            entry = entry or NAMELESS
            telling = entry.telling
            for item in node:
                kind = type(item)
                if kind is dict or kind is list:
                    self.walk_slowly(item, place, inside, found, depth + 1, entry)
                elif kind is not str or telling or gate(item) is not None or (labels and _may_be_labelled(item)):
                    self.value(item, place, entry, found)
            return
        keys = tuple(node)
        plan = self.plans.get((place, inside, keys)) or self.plan(place, inside, keys, entry.key if entry is not None else "")
        for one, item in zip(plan, node.values(), strict=True):
            if one.is_value:
                self.value(one.key, one.place, NAMELESS, found)
            kind = type(item)
            if kind is str:
                only = one.only
                if letters or not item.isalpha() or len(item) >= _WORD:
                    if gate(item) is not None:
                        self.value(item, one.place, one, found)
                        continue
                    if only is None:
                        if one.telling or (
                            labels and len(item) > 8 and (" " in item or ":" in item or "=" in item) and _may_be_labelled(item)
                        ):
                            self.value(item, one.place, one, found)
                        continue
                elif only is None:
                    if one.telling:
                        self.value(item, one.place, one, found)
                    continue
                # The value of a field with a telling name, in which nothing else can be.
                if one.hit not in found and only.valid(item) and len(found) < MAX_HITS:
                    masked = MASKS.get(only.data_class, mask_tail)(item)
                    found[one.hit] = (f"{only.label} {masked}" if only.label else masked, only.confidence)
            elif kind is dict or kind is list:
                if item:
                    self.walk_slowly(item, one.place, one.inside, found, depth + 1, one)
            elif (kind is int or kind is float) and (one.telling or (self.numeric and kind is int)):
                self.value(item, one.place, one, found)


def _may_be_labelled(text: str) -> bool:
    return (
        len(text) > 8
        and not text[0].isdigit()
        and (" " in text or ":" in text or "=" in text)
        and _LABELLED.search(text, 0, MAX_TEXT) is not None
    )


def _named(text: str, tried: tuple[Named, ...]) -> Named | None:
    for named in tried:
        if text and named.valid(text):
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
