"""Objects that are maps although their keys are words: user names, currency codes, locales.

Nothing in one message tells `{"alice": 3, "bob": 5}` from a record with two optional properties; many do. The keys of a map are many and
all hold values of one shape, and few of them come together again. Keys that are data by their form (numbers, uuids, dates, ...) are
written `{}` by `discovery.shapes` already.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from re import compile as regex

from eastwall.discovery.body_schemas import parent_of
from eastwall.learning.places import Place

MIN_SAMPLES = 4
"""Of the object, before it is judged."""
MIN_KEYS = 5
ONE_SHAPE = 0.95
"""Share of the values that must be of the same types."""
RARE = 0.5
"""Presence in the object's samples up to which a key may be a map's; others are names."""
ALIKE = 0.7
"""Likeness of the values' own properties from which on they count as records of one kind."""
ENOUGH = 40
"""Samples from which on keys seen once say all they can."""

# Weights of the evidence, as natural logarithms of likelihood ratios; a map when their sum is positive. Set by hand on objects drawn from
# published schemas (`bench.discovery_schemas`, development providers): of a record's optional properties about half are in most samples.
PRIOR = -3.5
PER_KEY = 0.35
"""For each rare key."""
PER_NAME = 1.5
"""Against, for each key that is in most samples."""
UNSEEN = 20.0
"""For the chance (Good and Turing) that the next key is one never seen."""
UNSEEN_MOST = 3.5
CODED = 3.0
"""When all keys are codes of one kind."""
RECORDS = 2.5
"""When the values are records of one kind."""
BESIDE = 1.5
"""When there are keys that are data by their form beside them."""

_CODES = (
    regex(r"[A-Z]{3}"),  # currencies (ISO 4217), airports
    regex(r"[A-Z]{2}"),  # countries
    regex(r"[a-z]{2,3}(?:[-_][A-Za-z]{4})?(?:[-_](?:[A-Za-z]{2}|[0-9]{3}))?"),  # languages (BCP 47)
)
_LANGUAGES = frozenset(
    "aa ab af am an ar as az ba be bg bn bo br bs ca ceb co cs cy da de el en eo es et eu fa fi fil fj fo fr fy ga gd gl gn gu ha haw he "
    "hi hmn hr ht hu hy id ig is it iw ja jv ka kk km kn ko ku ky la lb lo lt lv mg mi mk ml mn mr ms mt my nb ne nl nn no ny or pa pl "
    "ps pt ro ru rw sd si sk sl sm sn so sq sr st su sv sw ta te tg th tk tl tr tt ug uk ur uz vi xh yi yo zh zu".split()
)


class _Object:
    """An object place with its direct properties."""

    __slots__ = ("children", "samples")

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.children: dict[str, str] = {}
        """Name -> place."""


def below(place: str) -> str:
    """What the places of an object's properties begin with."""
    return "" if place == "$" else place + "."


def collapse(places: Mapping[str, Place], known: Iterable[str] = ()) -> tuple[dict[str, Place], set[str]]:
    """The places with the keys of every map written `{}`, and which objects are maps. `places` is left as it is.

    Keys that are in most samples keep their names: they are properties that stand beside a map's. `known`: objects that are maps anyway.
    """
    found: set[str] = set()
    now = dict(places)
    # Outer maps first: the values of a map are judged together.
    for _ in range(4):
        objects = _objects(now)
        maps = {place: keys for place, each in objects.items() if place not in found and (keys := _map_keys(each, now, objects))}
        for place in known:
            if place in objects and place not in found:
                maps.setdefault(place, _rare(objects[place], now))
        outer = {place for place in maps if not any(place != other and place.startswith(below(other)) for other in maps)}
        if not outer:
            break
        found |= outer
        now = _merged(now, {place: maps[place] for place in outer})
    return now, found


def _merged(places: Mapping[str, Place], maps: Mapping[str, set[str]]) -> dict[str, Place]:
    """The places with these keys of these objects written `{}` and what is at and below them added up."""
    written: dict[str, str] = {"$": "$"}

    def write(name: str) -> str:
        known = written.get(name)
        if known is None:
            above, step = parent_of(name, places)
            into = write(above) if above in places else above
            if step in maps.get(above, ()):
                step = "{}"
            known = written[name] = below(into) + step if step != "[]" else ("" if into == "$" else into) + "[]"
        return known

    merged: dict[str, Place] = {}
    copied: set[str] = set()
    for name, place in places.items():
        into = write(name)
        if into not in merged:
            merged[into] = place
            continue
        if into not in copied:
            merged[into] = merged[into].copy()
            copied.add(into)
        merged[into].merge(place)
    return merged


def step_into(name: str, maps: set[str], places: Container[str]) -> str:
    """A place with each key of these maps that is no known property written `{}`; of a key with dots, what comes before the first."""
    for place in sorted(maps, key=len):
        prefix = below(place)
        if name.startswith(prefix) and name not in ("$", place) and not name.startswith((prefix + "{}", "[]")):
            rest = name[len(prefix) :]
            ends = [at for at in (rest.find("."), rest.find("[]")) if at > 0]
            key = rest[: min(ends)] if ends else rest
            if prefix + key not in places:
                name = f"{prefix}{{}}{rest[len(key) :]}"
    return name


def _objects(places: Mapping[str, Place]) -> dict[str, _Object]:
    """Objects with more than a few properties."""
    found: dict[str, _Object] = {}
    for name in places:
        if name == "$" or name.endswith("[]") or name.startswith("query."):
            continue
        above, step = parent_of(name, places)
        if above not in found:
            parent = places.get(above)
            found[above] = _Object(parent.kinds.get("object", 0) if parent is not None else 0)
        found[above].children[step] = name
    return found


def _rare(judged: _Object, places: Mapping[str, Place]) -> set[str]:
    """Keys that are in at most `RARE` of the object's samples, and in every object of a sample's array at that."""
    most = RARE * judged.samples
    return {name for name, at in judged.children.items() if name != "{}" and places[at].seen - places[at].absent <= most}


def _map_keys(judged: _Object, places: Mapping[str, Place], objects: Mapping[str, _Object]) -> set[str]:
    """The keys of an object that are those of a map; empty when it is none."""
    if judged.samples < MIN_SAMPLES or len(judged.children) < MIN_KEYS:
        return set()
    keys = _rare(judged, places)
    names = len(judged.children) - len(keys) - ("{}" in judged.children)
    values = [places[judged.children[key]] for key in keys]
    if len(keys) < MIN_KEYS or not _one_shape(values):
        return set()
    unseen = sum(1 for value in values if value.seen == 1) / sum(value.seen for value in values)
    open_ended = min(UNSEEN_MOST, UNSEEN * unseen) * min(1.0, judged.samples / ENOUGH)
    weight = PRIOR + PER_KEY * len(keys) - PER_NAME * names + open_ended
    if _coded(keys):
        weight += CODED
    if _records([judged.children[key] for key in keys], objects) >= ALIKE:
        weight += RECORDS
    if "{}" in judged.children:
        weight += BESIDE
    return keys if weight > 0 else set()


def _one_shape(values: list[Place]) -> bool:
    """Whether nearly all values have the same types, null aside."""
    kinds: dict[str, int] = {}
    for value in values:
        for kind, count in value.kinds.items():
            if kind != "null":
                kind = "number" if kind == "integer" else kind
                kinds[kind] = kinds.get(kind, 0) + count
    return not kinds or max(kinds.values()) >= ONE_SHAPE * sum(kinds.values())


def _coded(keys: set[str]) -> bool:
    """Whether all keys are codes of one kind: currencies, countries, languages."""
    for pattern in _CODES[:2]:
        if all(pattern.fullmatch(key) for key in keys):
            return True
    pattern = _CODES[2]
    return all(pattern.fullmatch(key) and key.replace("_", "-").partition("-")[0] in _LANGUAGES for key in keys)


def _records(children: list[str], objects: Mapping[str, _Object]) -> float:
    """How alike the values are, where they are objects with two properties or more: the mean share of all their properties that one
    has. 0 where they are not."""
    names = [objects[child].children.keys() for child in children if child in objects and len(objects[child].children) > 1]
    if len(names) < 0.8 * len(children):
        return 0.0
    every = set().union(*names)
    return sum(len(each) for each in names) / (len(every) * len(names))
