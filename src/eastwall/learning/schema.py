"""Message schemas from samples: counts that add up, so that shards merge to what one stream would have learned.

`maps` concludes which objects are maps with words as keys, `forms` which come in several forms told by a word. Both are concluded anew
from the counts each time a schema is published; only when places get too many are maps written as such in the state itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eastwall.discovery.body_schemas import parent_of
from eastwall.discovery.formats import MAYBE_BYTE
from eastwall.discovery.shapes import ABSENT, FORM
from eastwall.learning.maps import below, collapse, step_into
from eastwall.learning.places import Place
from eastwall.model.endpoint import FieldProfile, Schema, Variant
from eastwall.model.facts import Field

MAX_PLACES = 1000
"""Places of one schema. When there are more (a body that uses data as property names), maps are written as maps, and then the quarter
seen least leaves."""
MAX_TELLING = 16
"""Properties of one schema that may tell forms apart. When there are more, the one seen least leaves."""
MAX_FORMS = 16
"""Words of such a property; one with more tells no forms."""
MAX_FORM_PROPERTIES = 100
CLASS_SHARE = 0.5
"""Share of the samples of a place that must hold a data class for the place to be of that class."""
FLOW_SHARE = 0.2
"""The same for the class to count as flowing through the place at all."""
MIN_ENUM = 20
"""Samples before the words of a place are published as its only ones."""
MAX_ENUM = 30
NEW_WORD = 0.02
"""Greatest chance that the next word is a new one, for the words to count as all: that of Good and Turing, the words seen once by all
(I. J. Good 1953, The population frequencies of species)."""
MIN_FORM = 5
"""Samples of each form before forms are published."""

_LEXICAL = {"integer": {"integer"}, "number": {"integer", "number"}, "boolean": {"boolean"}}


class SchemaState:
    """What samples of one message have shown."""

    __slots__ = ("_changed", "_made", "forms", "maps", "places", "samples")

    def __init__(self) -> None:
        self.samples = 0
        self.places: dict[str, Place] = {}
        self.forms: dict[str, dict[str, tuple[int, dict[str, int]]] | None] = {}
        """Telling place -> word -> (samples, property -> samples that had it); None: it has too many words to tell forms."""
        self.maps: set[str] = set()
        """Places of objects whose keys are written `{}` from now on."""
        self._made: Schema | None = None
        self._changed = 0.0

    def fold(self, fields: Iterable[Field], time: float) -> None:
        """Add one sample."""
        stamp = self.samples = self.samples + 1
        self._made = None
        places, maps = self.places, self.maps
        more: set[tuple[str, str]] | None = None
        for field in fields:
            name, kind = field.place, field.kind
            if maps:
                name = self._written(name)
            if kind == FORM:
                self._form(name, field.text, field.format)
                continue
            place = places.get(name)
            if place is None:
                if len(places) >= MAX_PLACES:
                    self._prune()
                    places, maps = self.places, self.maps
                    name = self._written(name)
                place = places.setdefault(name, Place(time))
            if time < place.first:
                place.first = time
            if kind == ABSENT:
                place.absent += 1
            elif place.sample != stamp:
                place.sample = stamp
                place.told = kind
                place.seen += 1
                data_class = field.data_class
                if data_class:
                    place.classes[data_class] = place.classes.get(data_class, 0) + 1
                place.value(field, kind, True)
            elif kind == place.told:
                place.value(field, kind, False)
            else:
                # Several kinds at one place of one sample: few samples have that.
                if more is None:
                    more = set()
                place.value(field, kind, (name, kind) not in more)
                more.add((name, kind))

    def _form(self, place: str, word: str, listed: str) -> None:
        known = self._words(place)
        if known is None:
            return
        names = listed.split("\n") if listed else []
        count, had = known.get(word, (0, {}))
        known[word] = (count + 1, had)
        for name in names:
            always = name[:1] != "?"
            name = name if always else name[1:]
            if name in had or len(had) < MAX_FORM_PROPERTIES:
                had[name] = had.get(name, 0) + always
        if len(known) > MAX_FORMS:
            self.forms[place] = None

    def _words(self, place: str) -> dict[str, tuple[int, dict[str, int]]] | None:
        """The words of a telling place, which is made room for."""
        if place not in self.forms:
            if len(self.forms) >= MAX_TELLING:
                least = min(self.forms, key=lambda p: (sum(n for n, _ in (self.forms[p] or {}).values()), p))
                del self.forms[least]
            self.forms[place] = {}
        return self.forms[place]

    def merge(self, other: SchemaState) -> None:
        """Add the samples of another state."""
        self.samples += other.samples
        self._made = None
        if other.maps - self.maps:
            self._write_maps(other.maps)
        for name, theirs in other.places.items():
            name = self._written(name)
            mine = self.places.get(name)
            if mine is None:
                if len(self.places) >= MAX_PLACES:
                    self._prune()
                    name = self._written(name)
                mine = self.places.setdefault(name, Place(theirs.first))
            mine.merge(theirs)
        for name, words in other.forms.items():
            name = self._written(name)
            known = self._words(name)
            if known is None or words is None:
                self.forms[name] = None
                continue
            for word, (count, had) in words.items():
                mine_count, mine_had = known.get(word, (0, {}))
                for each, times in had.items():
                    if each in mine_had or len(mine_had) < MAX_FORM_PROPERTIES:
                        mine_had[each] = mine_had.get(each, 0) + times
                known[word] = (mine_count + count, mine_had)
            if len(known) > MAX_FORMS:
                self.forms[name] = None

    def _written(self, name: str) -> str:
        return step_into(name, self.maps, self.places) if self.maps else name

    def _prune(self) -> None:
        """Make room: otherwise who sends much junk would keep what is real from being learned."""
        self._write_maps(self.maps)
        if len(self.places) >= MAX_PLACES * 3 // 4:
            kept = sorted(self.places, key=lambda name: (-self.places[name].seen, name))[: MAX_PLACES * 3 // 4]
            self.places = {name: self.places[name] for name in kept}

    def _write_maps(self, known: set[str]) -> None:
        """Write the keys of maps `{}`, now and from now on; `known` are maps anyway."""
        self.places, found = collapse(self.places, known)
        self.maps = self.maps | found | known
        self.forms = {name: words for name, words in self.forms.items() if name in self.places}

    @property
    def changed(self) -> float:
        """When a place was last new, Unix seconds; 0 without samples. Another key of a map is no new place."""
        self.schema()
        return self._changed

    def schema(self) -> Schema:
        """The learned schema. A field is required when `seen == of`: every sample whose parent object was there had it."""
        if self._made is None:
            places, _ = collapse(self.places)
            self._changed = max((place.first for place in places.values()), default=0.0)
            fields = tuple(self._field(name, places) for name in sorted(places) if places[name].seen)
            self._made = Schema(samples=self.samples, fields=fields, variants=self._variants(places))
        return self._made

    def _field(self, name: str, places: dict[str, Place]) -> FieldProfile:
        place = places[name]
        kinds, form = _kinds(name, place)
        data_class, share = _dominant(place)
        seen, of = place.seen, self._parents(name, places)
        if place.absent and not name.endswith("{}"):
            # What some objects of a sample lacked is not required, and yet it was seen.
            seen, of = max(seen - place.absent, 1), max(of, 2)
        return FieldProfile(
            place=name,
            kinds=tuple(sorted(kinds)),
            format=form,
            seen=seen,
            of=of,
            data_class=data_class if share >= CLASS_SHARE else "",
            minimum=place.minimum,
            maximum=place.maximum,
            max_length=place.longest,
            min_length=place.shortest or 0,
            enum=_enum(place) if "string" in kinds else (),
            confidence=round(share, 4) if share >= CLASS_SHARE else 0.0,
        )

    def _parents(self, name: str, places: dict[str, Place]) -> int:
        if name == "$" or name.startswith("query."):
            return self.samples if not name.endswith("[]") else max(places[name].seen, 0)
        above, step = parent_of(name, places)
        parent = places.get(above)
        kind = "array" if step == "[]" else "object"
        return max(parent.kinds.get(kind, 0), places[name].seen) if parent else self.samples

    def _variants(self, places: dict[str, Place]) -> tuple[Variant, ...]:
        found: list[Variant] = []
        for name, words in sorted(self.forms.items()):
            if words is None or not 2 <= len(words) <= MAX_FORMS or name not in places:
                continue
            place = places[name]
            always = set(place.kinds) == {"string"} and place.seen - place.absent == self._parents(name, places)
            if not always or _enum(place) != tuple(sorted(words)) or not _differ(words):
                continue
            if min(count for count, _ in words.values()) < MIN_FORM:
                continue
            above, step = parent_of(name, places)
            if any(variant.place == above for variant in found):
                continue  # one property tells; the first by name, where two do
            for word, (count, had) in sorted(words.items()):
                fields = tuple(sorted((each, n) for each, n in had.items() if below(above) + each in places))
                found.append(Variant(above, step, word, count, fields))
        return tuple(found)

    def flows(self) -> list[tuple[str, str]]:
        """(place, data class) of the places where sensitive data was seen often enough to be no accident."""
        found = ((name, *_dominant(self.places[name])) for name in sorted(self.places))
        return [(name, data_class) for name, data_class, share in found if data_class and share >= FLOW_SHARE]

    def dump(self) -> list[Any]:
        """Plain data for `load`."""
        forms = {
            name: words if words is None else {w: [n, had] for w, (n, had) in words.items()} for name, words in self.forms.items()
        }
        return [self.samples, {name: place.dump() for name, place in self.places.items()}, forms, sorted(self.maps)]

    @classmethod
    def load(cls, data: Any) -> SchemaState:
        """From what `dump` gave, also before there were forms and maps."""
        state = cls()
        state.samples = data[0]
        state.places = {name: Place.load(fields) for name, fields in data[1].items()}
        if len(data) > 2:
            for name, words in data[2].items():
                state.forms[name] = words if words is None else {word: (n, had) for word, (n, had) in words.items()}
            state.maps = set(data[3])
        return state


def _kinds(name: str, place: Place) -> tuple[set[str], str]:
    """JSON types and format. What stands in text (a query, a form, XML) is told by its form when all agree."""
    kinds = set(place.kinds)
    formats = {form for form, count in place.formats.items() if count}
    lexical = "integer" if formats == {"integer"} else "number" if formats and formats <= {"integer", "number"} else ""
    if formats == {"boolean"}:
        lexical = "boolean"
    if lexical and "string" in kinds:
        kinds = (kinds - {"string"}) | (_LEXICAL[lexical] if lexical != "number" else {"number"})
    if name.startswith("query.") and "array" in kinds:
        kinds = {"array"}  # a parameter that is repeated in some calls holds one value in the others
    if formats and formats <= {"byte", MAYBE_BYTE} and "byte" in formats:
        return kinds, "byte"
    form = next(iter(formats)) if len(formats) == 1 else ""
    return kinds, "" if form in _LEXICAL or form == MAYBE_BYTE or "string" not in kinds else form


def _enum(place: Place) -> tuple[str, ...]:
    """The words of a place, when they are all that its strings ever are."""
    words = place.words
    if not words or place.wordless or len(words) > MAX_ENUM:
        return ()
    samples = place.kinds.get("string", 0)
    once = sum(1 for count in words.values() if count == 1)
    if samples < MIN_ENUM * max(1, len(words) // 4) or once > NEW_WORD * samples:
        return ()
    return tuple(sorted(words))


def _differ(words: dict[str, tuple[int, dict[str, int]]]) -> bool:
    """Whether some property is always there with one word and never with another."""
    always = {name for count, had in words.values() for name, times in had.items() if times == count}
    return any(not had.keys() >= always for _, had in words.values())


def _dominant(place: Place) -> tuple[str, float]:
    """The data class seen most at a place, and its share of the samples."""
    if not place.classes or not place.seen:
        return "", 0.0
    name, count = min(place.classes.items(), key=lambda item: (-item[1], item[0]))
    return name, min(count / place.seen, 1.0)
