"""The shape of a message: which places it has, of which JSON types and formats, and no values.

Places: `items[].price` in a body, `$` for the body itself, `query.NAME`. A key that is data and not a name (a number, UUID, date,
e-mail address, ...: an object used as a map) is written `{}`, as in `prices.{}.amount`; other keys beside it keep their names, so
that nothing can hide among ids. Bounds: `MAX_DEPTH` levels, `MAX_FIELDS` fields, the first `MAX_ITEMS` items of an array, merged.

What is kept of a value is its type, format and length, the number of a plain number, and the text of a word that may be one of an
enumeration: short, in a field that by its name and class is no secret, person or id (`wordy`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from re import compile as regex
from typing import Any

from eastwall.discovery import data_classes
from eastwall.discovery.formats import format_of, lexical_of
from eastwall.discovery.objects import NO_NAME, generated, reference, singular, words
from eastwall.model.facts import DataHit, Field
from eastwall.model.operation import Operation

__all__ = ["ABSENT", "FORM", "format_of", "properties", "shape"]

MAX_DEPTH = 20
MAX_FIELDS = 500
MAX_ITEMS = 20
MAX_PROPERTIES = 500
MAX_NAME = 128
"""Characters of a property name that are kept."""
ROOT_NAME = '"$"'
"""How a property is written whose name is that of the body's own place."""
MAX_WORD = 32
"""Characters of a word that may be one of an enumeration."""
MAX_WORDS = 8
"""Different words at one place of one message; more are no enumeration."""
MAX_FORM = 64
"""Properties that are told of a form, and forms of one message."""
MAP_ENTRIES = 32
"""So many objects with the same properties in one object are the entries of a map."""
ABSENT = "absent"
"""Kind of a Field that says: some object of this message did not have this place, which another at the same place had."""
FORM = "form"
"""Kind of a Field at a telling property (`items[].type`): `text` is its word, `format` the names of the properties that objects with this
word had beside it, one a line, with a `?` before those that only some had, and `length` how many objects there were."""

_WORD = regex(r"[A-Za-z][A-Za-z0-9]*(?:[_.:/+-][A-Za-z0-9]+)*")
_DIGITS = regex(r"(?:[^0-9]*[0-9]){5}")
_TELLING = frozenset(
    "type kind object event class discriminator variant typename model action method op operation category mode".split()
)
"""Last words of the names of properties that tell which form an object has."""
_PRIVATE = frozenset(
    "password passwd pwd pass passphrase pin otp cvv cvc secret secrets token tokens key keys auth authorization credential "
    "credentials session cookie signature hash nonce salt digest jwt bearer csrf "
    "username user users login nick nickname first last firstname lastname surname given family middle initials email mail phone "
    "mobile fax address street city town birth birthday birthplace dob gender sex religion ethnicity race nationality marital diagnosis "
    "disease illness blood allergy medication patient person people customer owner author creator contact employee member assignee "
    "reporter sender recipient sent to from cc bcc by subject title bio about comment comments message text content description note "
    "notes summary body caption headline query q search term keyword keywords url uri link href path file filename folder directory "
    "fname lname uname usr msg addr tel ssn iban bic passport participant attendee friend follower guest student pupil teacher doctor "
    "driver passenger buyer seller tenant payee payer beneficiary recipient host hostname ip company account handle label answer question reason place location".split()
)
"""Words of names whose values may be of a person, secret, or free text."""
_NAMED = frozenset(
    "event type class role plan status state action method currency country region locale language category level service object".split()
)
"""What comes before `name` where the name is one of a closed set."""
_CODED = frozenset("zip postal post promo coupon otp verification reset invite invitation activation security access".split())
"""What comes before `code` where the code is a person's or a secret."""


@lru_cache(maxsize=8192)
def wordy(name: str) -> bool:
    """Whether values of a field of this name may be kept as words: its name says neither secret nor person nor id nor free text."""
    parts = words(name)
    if not parts or reference(name) is not None or not _PRIVATE.isdisjoint(parts):
        return False
    if not _PRIVATE.isdisjoint(map(singular, parts)):
        return False
    if parts[-1] in ("name", "names"):
        return len(parts) > 1 and parts[-2] in _NAMED
    return not (parts[-1] in ("code", "codes") and not _CODED.isdisjoint(parts))


def is_word(text: str) -> bool:
    """Whether a text of at most `MAX_WORD` characters reads like a word of an enumeration: `PENDING`, `credit_card`, `v1.2`, `image/png`;
    at most four digits."""
    if text.isalpha() and text.isascii():
        return True
    return _WORD.fullmatch(text) is not None and not _DIGITS.match(text)


@lru_cache(maxsize=8192)
def _measured(name: str) -> bool:
    """Whether numbers of a field of this name are kept: ids are none to measure."""
    return reference(name) is None


@lru_cache(maxsize=8192)
def _step(key: str) -> tuple[str, bool, bool]:
    """(name as it stands in a place, whether the key is data, whether it may tell forms apart)."""
    name = key if 0 < len(key) <= MAX_NAME else key[:MAX_NAME] or NO_NAME
    if generated(name):
        return "{}", True, False
    if name == "$":
        return ROOT_NAME, False, False
    parts = words(name)
    return name, False, bool(parts) and parts[-1] in _TELLING and wordy(name)


class _Many:
    """What is known of a place, for one kind, that a message has more than once."""

    __slots__ = ("data_class", "format", "high", "kind", "least", "length", "low", "place", "words")

    def __init__(self, first: Field) -> None:
        self.place = first.place
        self.kind = first.kind
        self.data_class = first.data_class
        self.format = first.format
        self.length = self.least = first.length
        self.low = self.high = first.number
        self.words: dict[str, None] | None = {first.text: None} if first.text else None

    def fields(self) -> list[Field]:
        """One Field for each word, or for the longest and the shortest, or the smallest and the largest."""
        place, kind, data_class = self.place, self.kind, self.data_class
        if self.words is not None:
            return [Field(place, kind, "", data_class, len(word), None, word) for word in self.words]
        found = [Field(place, kind, self.format, data_class, self.length, self.low)]
        if self.high is not None and self.high != self.low:
            found.append(Field(place, kind, self.format, data_class, 0, self.high))
        elif self.least != self.length and kind != "object":
            found.append(Field(place, kind, self.format, data_class, self.least))
        return found


class _Walk:
    """Collects the fields of one message."""

    __slots__ = ("absent", "classes", "firsts", "forms", "lexical", "seen")

    def __init__(self, classes: dict[str, str], lexical: bool) -> None:
        self.classes = classes
        self.lexical = lexical
        """The message is text: numbers and booleans are told by their form."""
        self.seen: dict[str, Field | _Many] = {}
        """By place; by place, NUL and kind for further kinds of a place."""
        self.absent: dict[str, None] = {}
        self.firsts: dict[str, dict[str, Any]] = {}
        """Place -> the first object there."""
        self.forms: dict[tuple[str, str], list[dict[str, Any]]] = {}

    def value(self, place: str, name: str, node: Any, depth: int) -> None:
        """One value; `name` is its own or, of an array's items, the array's."""
        kind = type(node)
        if kind is str:
            self.text(place, name, node)
        elif kind is int or kind is float:
            self.number(place, name, node, "integer" if kind is int else "number")
        elif kind is dict:
            self.plain(place, "object", len(node))
            if depth < MAX_DEPTH:
                self.object("" if place == "$" else place + ".", node, depth + 1)
        elif kind is list:
            self.plain(place, "array", len(node))
            if depth < MAX_DEPTH:
                inner = "[]" if place == "$" else place + "[]"
                for item in node if len(node) <= MAX_ITEMS else node[:MAX_ITEMS]:
                    self.value(inner, name, item, depth + 1)
        elif kind is bool:
            self.plain(place, "boolean", 0)
        elif node is None:
            self.plain(place, "null", 0)

    def slot(self, place: str, kind: str) -> tuple[str, Field | _Many | None]:
        """Where a further kind of a place is kept."""
        slot = f"{place}\0{kind}"
        return slot, self.seen.get(slot)

    def plain(self, place: str, kind: str, length: int) -> None:
        seen = self.seen
        slot, known = place, seen.get(place)
        if known is not None and known.kind != kind:
            slot, known = self.slot(place, kind)
        if known is None:
            if len(seen) < MAX_FIELDS:
                seen[slot] = Field(place, kind, "", self.classes.get(place, "") if self.classes else "", length)
        elif length != known.length:
            many = seen[slot] = _Many(known) if isinstance(known, Field) else known
            if length > many.length:
                many.length = length
            elif length < many.least:
                many.least = length

    def text(self, place: str, name: str, node: str) -> None:
        seen = self.seen
        slot, known = place, seen.get(place)
        if known is not None and known.kind != "string":
            slot, known = self.slot(place, "string")
        length = len(node)
        if isinstance(known, _Many) and known.words is None and not known.format:
            if length > known.length:
                known.length = length
            elif length < known.least:
                known.least = length
            return
        form, number, word = format_of(node), None, ""
        if not form:
            if self.lexical:
                form, number = lexical_of(node)
                if number is not None and not self.measured(place, name):
                    number = None
            if not form and 0 < length <= MAX_WORD and wordy(name) and is_word(node) and place not in self.classes:
                word = node
        if known is None:
            if len(seen) < MAX_FIELDS:
                data_class = self.classes.get(place, "") if self.classes else ""
                seen[slot] = Field(place, "string", form, data_class, length, number, word)
            return
        many = seen[slot] = _Many(known) if isinstance(known, Field) else known
        if many.format != form:
            many.format = "number" if {many.format, form} == {"integer", "number"} else ""
        if length > many.length:
            many.length = length
        elif length < many.least:
            many.least = length
        if number is not None:
            many.low = number if many.low is None or number < many.low else many.low
            many.high = number if many.high is None or number > many.high else many.high
        if many.words is not None:
            if word and (word in many.words or len(many.words) < MAX_WORDS):
                many.words[word] = None
            else:
                many.words = None

    def number(self, place: str, name: str, node: float, kind: str) -> None:
        seen = self.seen
        slot, known = place, seen.get(place)
        if known is not None and known.kind != kind:
            slot, known = self.slot(place, kind)
        if known is None:
            if len(seen) < MAX_FIELDS:
                number = float(node) if -9007199254740992 <= node <= 9007199254740992 and self.measured(place, name) else None
                seen[slot] = Field(place, kind, "", self.classes.get(place, "") if self.classes else "", 0, number)
            return
        low = known.number if isinstance(known, Field) else known.low
        if low is None or node == low or not -9007199254740992 <= node <= 9007199254740992:
            return
        many = seen[slot] = _Many(known) if isinstance(known, Field) else known
        if node < low:
            many.low = float(node)
        elif many.high is None or node > many.high:
            many.high = float(node)

    def measured(self, place: str, name: str) -> bool:
        return _measured(name) and not (self.classes and place in self.classes)

    def object(self, prefix: str, node: dict[str, Any], depth: int) -> None:
        """The properties of an object; `depth` is theirs."""
        first = self.firsts.get(prefix)
        if first is None:
            self.firsts[prefix] = node
        elif first.keys() != node.keys():
            self.gaps(prefix, first.keys() ^ node.keys())
        whole_map = len(node) >= MAP_ENTRIES and _entries_alike(node)
        keyed = 0
        for key, item in node.items():
            name, data, telling = _step(key)
            if data or whole_map:
                # Of a map's entries a few show what all are like; names beside them are still looked at, each.
                keyed += 1
                if keyed > MAX_ITEMS:
                    continue
                name, telling = "{}", False
            place = prefix + name
            if telling and type(item) is str and 0 < len(item) <= MAX_WORD and is_word(item) and place not in self.classes:
                self.forms.setdefault((place, item), []).append(node)
            self.value(place, name, item, depth)

    def gaps(self, prefix: str, missing: set[str]) -> None:
        """Places that one object of several had and another had not."""
        for key in sorted(missing):
            if len(self.absent) >= MAX_FIELDS:
                return
            name, data, _ = _step(key)
            if not data:
                self.absent[prefix + name] = None

    def fields(self) -> tuple[Field, ...]:
        """What was collected, in order of appearance."""
        found: list[Field] = []
        for known in self.seen.values():
            if isinstance(known, Field):
                found.append(known)
            else:
                found += known.fields()
        if self.absent:
            found += [Field(place, ABSENT) for place in self.absent]
        if self.forms:
            found += [_form(place, word, nodes) for (place, word), nodes in list(self.forms.items())[:MAX_FORM]]
        return tuple(found[:MAX_FIELDS] if len(found) > MAX_FIELDS else found)


def _entries_alike(node: dict[str, Any]) -> bool:
    """Whether the first values of an object are objects with the same properties."""
    first: Any = None
    for at, item in enumerate(node.values()):
        if type(item) is not dict or not item:
            return False
        if first is None:
            first = item.keys()
        elif item.keys() != first:
            return False
        if at > MAP_ENTRIES:
            break
    return True


def _form(place: str, word: str, nodes: list[dict[str, Any]]) -> Field:
    """The Field of objects with one word. Names that would not read as one are left out: they are hardly what tells forms apart."""
    names = nodes[0].keys()
    if all(node.keys() == names for node in nodes):
        listed = "\n".join([name for name in islice(names, MAX_FORM) if _listed(name)])
        return Field(place, FORM, listed, "", len(nodes), None, word)
    counts: dict[str, int] = {}
    for node in nodes:
        for name in node:
            counts[name] = counts.get(name, 0) + 1
    listed = "\n".join([name if n == len(nodes) else "?" + name for name, n in islice(counts.items(), MAX_FORM) if _listed(name)])
    return Field(place, FORM, listed, "", len(nodes), None, word)


@lru_cache(maxsize=8192)
def _listed(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and name.isprintable() and name[0] != "?" and not generated(name)


def shape(operation: Operation, hits: Iterable[DataHit] | None = None) -> tuple[Field, ...]:
    """Fields of the body and the query, in order of appearance.

    There is one Field for each (place, kind), and further ones when values at one place of the message differ: for the smallest and the
    largest number, the longest and the shortest text or array, or each word. A query parameter that comes twice is an array. In what is
    text by itself (query, forms, XML), `format` tells `integer`, `number` and `boolean`. `ABSENT` marks places that some items of an
    array lack, `FORM` what objects with a telling word had beside it. `hits`: what `data_classes.find` said of this message, to save a
    scan.
    """
    if hits is None:
        hits = data_classes.find(operation)
    body_kind = operation.body_kind
    walk = _Walk({hit.place: hit.data_class for hit in hits}, body_kind in _TEXTUAL)
    if operation.body is not None or body_kind == "json":
        walk.value("$", "", operation.body, 0)
    if operation.query:
        walk.lexical = True
        texts: dict[str, list[str]] = {}
        for name, text in operation.query[:MAX_FIELDS]:
            texts.setdefault(name[:MAX_NAME], []).append(text)
        for name, values in texts.items():
            walk.value("query." + name, name, values[0] if len(values) == 1 else values, MAX_DEPTH - 1)
    return walk.fields()


_TEXTUAL = frozenset({"form", "multipart", "xml"})


def properties(operation: Operation) -> tuple[str, ...]:
    """Distinct property places of a JSON, form or multipart body (`items[].price`), in order of appearance.

    At most `MAX_PROPERTIES`.
    """
    body = operation.body
    if type(body) is dict:
        found: dict[str, None] = {}
        _properties(body, "", found, 0)
        return tuple(found)
    if type(body) is list:
        found = {}
        _items(body, "[]", found, 0)
        return tuple(found)
    return ()


def _properties(node: dict[str, Any], prefix: str, found: dict[str, None], depth: int) -> None:
    if depth >= MAX_DEPTH:
        return
    for key, value in node.items():
        if not 0 < len(key) <= MAX_NAME:
            key = key[:MAX_NAME] or NO_NAME
        place = prefix + "{}" if generated(key) else prefix + key
        if place not in found:
            if len(found) >= MAX_PROPERTIES:
                return
            found[place] = None
        if type(value) is dict:
            _properties(value, place + ".", found, depth + 1)
        elif type(value) is list:
            _items(value, place + "[]", found, depth + 1)


def _items(node: list[Any], place: str, found: dict[str, None], depth: int) -> None:
    for item in node:
        if type(item) is dict:
            _properties(item, place + ".", found, depth + 1)
        elif type(item) is list and depth < MAX_DEPTH:
            _items(item, place + "[]", found, depth + 1)
        if len(found) >= MAX_PROPERTIES:
            return


def records_of(body: Any) -> int:
    """Items of the longest list of an answer: the body itself, or one of its properties, or of theirs (`data.items`)."""
    if type(body) is list:
        return len(body)
    if type(body) is not dict:
        return 0
    most = 0
    for value in body.values():
        if type(value) is list:
            if len(value) > most:
                most = len(value)
        elif type(value) is dict:
            for inner in value.values():
                if type(inner) is list and len(inner) > most:
                    most = len(inner)
    return most
