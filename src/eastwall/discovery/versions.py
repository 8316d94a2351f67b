"""Which operations are versions of one another, and which of them checks less, by what traffic shows (OWASP API9:2023).

Versions of one operation have the same method and the same template but for a version (`/v1/orders/{id}`, `/v2/orders/{id}`) and for what is
mere structure (`/api/orders`, `/internal/orders`, `/orders`), in one service or on several hosts.

| check | the one lacks it | the other has it |
|---|---|---|
| authentication | answers 2xx without identity | calls without identity are refused (401, 403), or there are none |
| authorization | gives objects that belong to others | refuses them (403, 404) |
| validation | never refuses | refuses (400, 422) what is wrong |
| rate limit | never refuses | refuses (429) what is too much |
| data | gives classes of sensitive data | does not |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from eastwall.discovery.data_prefilter import SENSITIVITY
from eastwall.discovery.lifecycle import STRUCTURE, open_by_nature, versioned
from eastwall.discovery.objects import singular, words
from eastwall.model.endpoint import Endpoint

MIN_OPEN = 5
"""Answers without identity (or with others' objects) on the weaker side."""
MIN_CALLS = 30
"""Calls on the stronger side."""
MIN_REFUSED = 5
"""Refusals on the stronger side; on the weaker one so many would have been to be expected, and there was none."""
SELDOM = 4
MAX_SIBLINGS = 32
"""Versions of one operation that are compared."""
_READING = ("get", "read", "fetch", "find", "show")
_SENSITIVE = ("medium", "high", "critical")


class Answers(Struct, frozen=True, array_like=True):
    """What was counted of an operation's answers."""

    anonymous: int = 0
    """2xx to callers without identity."""
    anonymous_callers: int = 0
    """How many such callers, at most 4."""
    anonymous_refused: int = 0
    """401 and 403 to them."""
    identified: int = 0
    """2xx to callers with identity."""
    foreign: int = 0
    """2xx to calls that named an object which the caller was never given and others hold."""
    foreign_refused: int = 0
    """403 and 404 to them."""
    wrong: int = 0
    """400 and 422."""
    limited: int = 0
    """429."""
    calls: int = 0
    """Calls that the service answered."""


class Weakness(Struct, frozen=True, array_like=True):
    """An operation checks less than another version of it."""

    endpoint: str
    other: str
    """Endpoint id of the one that checks more."""
    label: str
    other_label: str
    check: str
    """`authentication`, `authorization`, `validation`, `rate limit`, `data`."""
    told: str
    """The evidence, a clause."""
    customary: bool = False
    """Several callers use what is missing as a matter of course."""


def sentence(one: Weakness) -> str:
    """What is said of a weaker operation where APIs are shown."""
    lacks = "gives more than" if one.check == "data" else f"lacks the {one.check} of"
    return f"it {lacks} {one.other_label}: {one.told}"


def key_of(method: str, template: str, operation: str = "") -> tuple[str, str, str]:
    """What versions of one operation have in common."""
    rest = versioned(template)[1].split("/")
    return method, "/".join(part for part in rest if part and part.lower() not in STRUCTURE), operation


def label_of(endpoint: Endpoint) -> str:
    return endpoint.operation or f"{endpoint.method} {endpoint.template}"


def siblings(endpoints: Iterable[Endpoint]) -> dict[tuple[str, str, str], list[Endpoint]]:
    """Operations that have other versions, by what they have in common."""
    found: dict[tuple[str, str, str], list[Endpoint]] = {}
    for endpoint in endpoints:
        if endpoint.calls:
            for key in _keys(endpoint):
                found.setdefault(key, []).append(endpoint)
    return {key: some[:MAX_SIBLINGS] for key, some in found.items() if len(some) > 1}


def _keys(endpoint: Endpoint) -> Iterable[tuple[str, str, str]]:
    """Under what an operation meets its versions: its template, and of what reads one thing by its id, the kind of thing, in whatever
    protocol (`GET /v1/orders/{id}`, `query order`, `tools/call get_order`)."""
    if endpoint.protocol == "rest":
        key = key_of(endpoint.method, endpoint.template)
        if key[1]:
            yield key
        parts = key[1].split("/")
        if endpoint.method == "GET" and len(parts) > 1 and parts[-2] != "{}":
            kind = singular(parts[-2].lower())
            # Where the id stands elsewhere (`/orders/current?id=17`), what is learned of objects says so.
            if parts[-1] == "{}" or any(one.kind == kind and not one.place.startswith("path.") for one in endpoint.objects):
                yield "", kind, "item"
        elif (
            endpoint.method == "POST" and (kind := _read_by_name(parts[-1])) and any(one.kind == kind for one in endpoint.objects)
        ):
            yield "", kind, "item"  # RPC: `/shop.v1.Orders/GetOrder`
    elif endpoint.operation and not endpoint.operation.startswith("mutation "):
        kind = _read_by_name(endpoint.operation.rpartition("/")[2].rpartition(" ")[2])
        if kind:
            yield "", kind, "item"


def _read_by_name(name: str) -> str:
    """What one of is read, by the name of an operation: `getOrder`, `order`; empty where the name says something else."""
    parts = words(name) if "{" not in name else []
    if len(parts) == 2 and parts[0] in _READING:
        parts = parts[1:]
    return parts[0] if len(parts) == 1 and singular(parts[0]) == parts[0] else ""


def older(one: Endpoint, other: Endpoint) -> bool:
    """Whether `one` is of an older version than `other`: by its number, or, of one without a number, because it is hardly called any more.
    The numbers of two protocols (`/v1/orders/{id}`, `/shop.v1.Orders/GetOrder`) do not count on from one another; there the one is old that is called
    `SELDOM` times less."""
    mine, theirs = versioned(one.template)[0], versioned(other.template)[0]
    if mine and theirs and key_of("", one.template) == key_of("", other.template):
        return mine < theirs
    if mine and theirs:
        return one.calls * SELDOM < other.calls
    if bool(mine) == bool(theirs):
        return False
    return one.calls < other.calls


def weaknesses(endpoints: Sequence[Endpoint], answers: Mapping[str, Answers]) -> tuple[Weakness, ...]:
    """Every operation that checks less than another version, with the evidence; sorted by operation."""
    found: dict[tuple[str, str], Weakness] = {}
    for some in siblings(endpoints).values():
        for weak in some:
            for strong in some:
                if weak is not strong:
                    for one in _compare(weak, strong, answers):
                        known = found.get((one.endpoint, one.check))
                        if known is None or (known.other_label, known.other) > (one.other_label, one.other):
                            found[one.endpoint, one.check] = one
    return tuple(found[key] for key in sorted(found))


def _compare(weak: Endpoint, strong: Endpoint, answers: Mapping[str, Answers]) -> Iterable[Weakness]:
    here, there = answers.get(weak.id, Answers()), answers.get(strong.id, Answers())
    names = label_of(weak), label_of(strong)

    def lacks(check: str, told: str, *, customary: bool = False) -> Weakness:
        return Weakness(weak.id, strong.id, *names, check, told, customary)

    closed = not there.anonymous and (there.anonymous_refused or there.identified >= MIN_CALLS)
    if closed and here.anonymous >= MIN_OPEN and not open_by_nature(weak.template) and not weak.login:
        refused = f", and {there.anonymous_refused:,} refused" if there.anonymous_refused else ""
        yield lacks(
            "authentication",
            f"{here.anonymous:,} anonymous 2xx on {names[0]}, none of {there.identified:,} on {names[1]}{refused}",
            customary=here.anonymous_callers > 2,
        )
    if here.foreign and not here.foreign_refused and there.foreign_refused and not there.foreign:
        yield lacks(
            "authorization",
            f"{here.foreign:,} calls for others' objects were answered on {names[0]}, and all {there.foreign_refused:,} refused on {names[1]}",
        )
    for check, mine, theirs in (("validation", here.wrong, there.wrong), ("rate limit", here.limited, there.limited)):
        # Where the refusals of the other were as likely here, and there was none: e^-5 by chance.
        if not mine and theirs and there.calls >= MIN_CALLS and theirs / there.calls * here.calls >= MIN_REFUSED:
            what = "refused as wrong" if check == "validation" else "limited"
            yield lacks(
                check, f"{theirs:,} of {there.calls:,} calls were {what} on {names[1]}, none of {here.calls:,} on {names[0]}"
            )
    more = _data(weak) - _data(strong)
    if more and strong.calls >= MIN_CALLS and any(200 <= status < 300 for status, _ in strong.responses):
        yield lacks("data", f"{names[0]} gives {', '.join(sorted(more)[:3])}, and {names[1]} does not")


def _data(endpoint: Endpoint) -> set[str]:
    return {n for way, _, n in endpoint.data_classes if way == "response" and SENSITIVITY.get(n, "medium") in _SENSITIVE}
