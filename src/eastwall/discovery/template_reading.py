"""Places told as templates, and the way from a path to its template."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from re import compile as regex
from urllib.parse import quote

from msgspec import Struct

from eastwall.discovery.parameter_names import name_parameter, snake
from eastwall.discovery.template_evidence import SUFFIX
from eastwall.discovery.template_inference import Place, skeleton
from eastwall.discovery.value_kinds import format_of, kind_of
from eastwall.model.endpoint import Parameter

_RECOMBINED = 12
"""So many values, at least, show whether their halves are chosen one by one."""
_DATED = regex(r"([A-Za-z][A-Za-z_.-]*[-_.])[12][0-9]{3}-?[01][0-9]-?[0-3][0-9]")
WEAK_ENOUGH = 3
"""Calls answered only by what may not be the service (401, 403, ...) that make an operation all the same."""
_KEY = regex(r"([A-Za-z0-9_]+)(?:=|\()'?$")
_WEB_FILES = regex(
    r"[._].*|favicon.*|robots|sitemap.*|apple-touch-icon.*|humans|ads|crossdomain|browserconfig|index|default|home|manifest|wp-.*"
)


class Found(Struct, frozen=True):
    """One operation of a reading."""

    method: str
    template: str
    parameters: tuple[Parameter, ...]
    count: int


class Reading:
    """The templates of one reading."""

    def __init__(self, root: Place) -> None:
        self.root = root
        self.operations: list[Found] = []
        self._by_place: dict[tuple[int, str], Found] = {}
        self._tell(root, [], "", ())
        self.operations.sort(key=lambda o: (o.template, o.method))

    def match(self, method: str, steps: Sequence[str]) -> Found | None:
        """The operation of a path, given as steps; names are preferred, a branch that leads nowhere is left."""
        return self._match(self.root, method, steps, 0)

    def _match(self, place: Place, method: str, steps: Sequence[str], at: int) -> Found | None:
        if at == len(steps):
            return self._by_place.get((place.number, method))
        step = steps[at]
        ways = [place.names.get(step), place.patterns.get(skeleton(step)) if place.patterns else None]
        ways.append((place if place.glued else None) if step[:1] == SUFFIX else place.parameter)
        for way in ways:
            found = self._match(way, method, steps, at + 1) if way is not None else None
            if found is not None:
                return found
        return None

    def _tell(self, place: Place, texts: list[str], before: str, parameters: tuple[Parameter, ...]) -> None:
        for method in sorted(place.methods):
            good, weak, slash = place.methods[method]
            if not good and weak < WEAK_ENOUGH:
                continue
            template = "/" + "/".join(texts) + ("/" if slash * 2 > good + weak and texts else "")
            found = Found(method=method, template=template, parameters=parameters, count=good + weak)
            self.operations.append(found)
            self._by_place[place.number, method] = found
        for step in sorted(place.names):
            if not texts and self._web_file(step, place.names[step]):
                continue
            if step[:1] == SUFFIX:
                self._tell(place.names[step], [*texts[:-1], texts[-1] + _quoted(step[1:])], before, parameters)
            else:
                self._tell(place.names[step], [*texts, _quoted(step)], step, parameters)
        for blank in sorted(place.patterns):
            text, more = _named_pattern(blank, parameters)
            self._tell(place.patterns[blank], [*texts, text], "", more)
        if place.parameter is not None:
            text, more = _named_parameter(place.parameter, before, parameters)
            self._tell(place.parameter, [*texts, text], "", more)

    def _web_file(self, step: str, place: Place) -> bool:
        """Whether a name at the root is what browsers and crawlers ask every server for, answered now and then: no API."""
        return place.calls * 20 < self.root.calls and place.calls < 20 and _WEB_FILES.fullmatch(step) is not None


def _named_parameter(place: Place, before: str, parameters: tuple[Parameter, ...]) -> tuple[str, tuple[Parameter, ...]]:
    kind = format_of(place.kinds)
    shape = shape_of(place.values)
    taken = [p.name for p in parameters]
    if shape == ("", ""):
        name = name_parameter(before or None, kind, taken)
        return f"{{{name}}}", (*parameters, Parameter(name=name, kind=kind))
    text, more = _quoted(shape[0]), parameters
    for number, joint in enumerate(shape[1:]):
        parts = {kind_of(part) for value in place.values if (part := _part(value, shape, number))}
        kind = format_of(parts)
        name = name_parameter(before or None, kind, [p.name for p in more])
        text += f"{{{name}}}" + _quoted(joint)
        more = (*more, Parameter(name=name, kind=kind))
    return text, more


def _part(value: str, shape: tuple[str, ...], number: int) -> str:
    value = value.removeprefix(shape[0])
    return value.split(shape[1])[number] if len(shape) > 2 else value


def shape_of(values: Sequence[str]) -> tuple[str, ...]:
    """The texts around the parameters of a segment whose values are these: `("", "")` for one parameter, `("", ",", "")` for two,
    `("report-", "")` for a date behind a text that is always the same.

    `-` joins words of slugs, too; two parameters are told where both halves come back with many others.
    """
    whole = ("", "")
    if len(values) < 4:
        return whole
    for joint in ",;~|":
        counts = {value.count(joint) for value in values}
        if len(counts) == 1 and 1 <= (count := counts.pop()) <= 3 and all(all(value.split(joint)) for value in values):
            return ("", *([joint] * count), "")
    for joint in ("...", "..", "-"):
        pairs = [value.split(joint) for value in values]
        if len(pairs) < _RECOMBINED or not all(len(pair) == 2 and all(pair) for pair in pairs):
            continue
        if max(len({pair[0] for pair in pairs}), len({pair[1] for pair in pairs})) * 2 <= len(pairs):
            return ("", joint, "")
    before = {found[1] if (found := _DATED.fullmatch(value)) else "" for value in values}
    return (before.pop(), "") if len(before) == 1 and "" not in before else whole


def _named_pattern(blank: str, parameters: tuple[Parameter, ...]) -> tuple[str, tuple[Parameter, ...]]:
    pieces = blank.split("{}")
    text, more = _quoted(pieces[0]), parameters
    for piece, after in pairwise(pieces):
        key = _KEY.search(piece)
        name = snake(key[1]) if key and "=" in piece else ""
        taken = [p.name for p in more]
        if not name or name in taken:
            name = name_parameter(key[1] if key else None, "string", taken)
        text += f"{{{name}}}" + _quoted(after)
        more = (*more, Parameter(name=name, kind="string"))
    return text, more


def _quoted(text: str) -> str:
    return quote(text, safe=":@!$&'()*+,;=~")
