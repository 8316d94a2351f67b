"""From what was observed to the least that must be allowed: policies with the evidence beside each line.

What comes out hurts no call that it was made from, and is the same for the same traffic in any order: lines are sorted, names follow from
the content, and numbers are rounded up to round ones, so that a little more traffic does not change a policy. Everything is in `mode:
monitor`: whoever applies it sees what it would stop before it stops anything.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from msgspec import Struct

from eastwall.discovery.data_prefilter import SENSITIVITY
from eastwall.model.identity import Strength
from eastwall.policy.kinds import API_VERSION
from eastwall.policy.patterns import is_odd, parse_operation

KINDS = ("access", "limits", "data", "schemas")
FEW = 5
"""Calls up to which a line says that it was seen a few times only."""
MIN_BODIES = 20
"""Bodies of an operation that its schema must have been learned from."""
PREFIX = "suggested-"
_GUARDED = {"critical": "redact", "high": "mask"}
"""Sensitivity of a data class -> what is suggested for those who never got it."""
_DONE = {"redact": "redacted", "mask": "masked"}
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_PARAMETER = re.compile(r"\{\w+\}")
_BARE = re.compile(r"[\s?#]")
"""What a path as sent cannot hold, but a decoded one may."""
_WORDS = frozenset("y n yes no true false on off null none".split())


class Use(Struct, frozen=True):
    """Clean use of one operation by one class of callers."""

    service: str
    method: str
    template: str
    """Template of the endpoint; the path where no endpoint is known."""
    cls: str
    kind: str
    strength: int
    """The weakest proof of identity that one of these calls had."""
    calls: int
    callers: int
    days: int
    last: float
    """Unix seconds."""
    known: bool = True
    """An endpoint is known; else `template` is a path."""


class Pace(Struct, frozen=True):
    """How fast callers of a class are."""

    service: str
    cls: str
    kind: str
    most: int
    """Most calls of one caller in one calendar minute."""
    callers: int
    calls: int


class DataUse(Struct, frozen=True):
    """A data class in answers to a class of callers."""

    service: str
    data_class: str
    cls: str
    kind: str
    strength: int
    calls: int
    operations: int
    """In whose answers it stands."""


class Owned(Struct, frozen=True):
    """A parameter that always held the caller's own claim."""

    service: str
    method: str
    template: str
    parameter: str
    """`path.user_id`, `query.owner`: as conditions name it."""
    claim: str
    """`sub`, or another claim."""
    classes: tuple[str, ...]
    """Of whose callers this is known."""
    equal: int
    of: int
    """Calls."""


class Shaped(Struct, frozen=True):
    """An operation whose schema is learned."""

    service: str
    method: str
    template: str
    requests: int
    """Bodies."""
    fields: int
    """Of requests."""


class Evidence(Struct, frozen=True):
    """What was observed in a span of time."""

    since: float
    until: float
    """Unix seconds of the first and the last call."""
    calls: int
    callers: int
    left_out: int
    """Calls that failed, were stopped, or had a finding of high severity."""
    suspects: tuple[tuple[str, int], ...] = ()
    """(actor, findings of high severity): callers that were left out whole."""
    uses: tuple[Use, ...] = ()
    paces: tuple[Pace, ...] = ()
    data: tuple[DataUse, ...] = ()
    owned: tuple[Owned, ...] = ()
    shaped: tuple[Shaped, ...] = ()


class Line(Struct, frozen=True):
    """One line of YAML within `spec`, with its evidence."""

    text: str
    evidence: str = ""


class Suggestion(Struct, frozen=True):
    """One policy."""

    kind: str
    name: str
    why: tuple[str, ...]
    """Sentences that stand above it."""
    spec: tuple[Line, ...]
    """Lines of its `spec`, indented by two."""


def suggest(evidence: Evidence, kinds: Iterable[str] = KINDS) -> tuple[Suggestion, ...]:
    """The policies that follow, sorted by service; `kinds` of `KINDS`."""
    wanted = frozenset(kinds)
    found: list[Suggestion] = []
    for service in sorted({use.service for use in evidence.uses}):
        uses = [use for use in evidence.uses if use.service == service]
        if "access" in wanted:
            found += _access(service, uses, [one for one in evidence.owned if one.service == service])
        if "limits" in wanted:
            found += _limits(service, [one for one in evidence.paces if one.service == service])
        if "data" in wanted:
            found += _data(service, [one for one in evidence.data if one.service == service])
        if "schemas" in wanted:
            found += _schemas(service, [one for one in evidence.shaped if one.service == service])
    return tuple(_distinct(found))


def written(suggestions: Sequence[Suggestion], evidence: Evidence) -> str:
    """YAML, commented. Empty policies sets are a comment that says so."""
    lines = [
        f"# Suggested by Eastwall from {evidence.calls:,} calls of {evidence.callers:,} callers, {_day(evidence.since)} to {_day(evidence.until)}.",
        f"# Left out: {evidence.left_out:,} calls that failed, were stopped, or had a finding of high severity.",
    ]
    if evidence.suspects:
        named = ", ".join(f"{_shown(actor)} ({bad})" for actor, bad in evidence.suspects[:10])
        more = f" and {len(evidence.suspects) - 10} more" if len(evidence.suspects) > 10 else ""
        lines.append(f"# Left out whole, for their findings of high severity: {named}{more}.")
    lines += [
        "# All of it is in `mode: monitor`: apply it, see what it would stop (`eastwall policy replay`, `eastwall why ID`), then write `enforce`.",
    ]
    if not suggestions:
        lines.append("# Nothing to suggest: there is too little clean traffic in this time.")
    for one in suggestions:
        lines += ["---", *(f"# {_shown(sentence)}" for sentence in one.why)]
        lines += [f"apiVersion: {API_VERSION}", f"kind: {one.kind}", "metadata:", f"  name: {_scalar(one.name)}", "spec:"]
        lines += [f"  {line.text}" + (f"  # {_shown(line.evidence)}" if line.evidence else "") for line in one.spec]
    return "\n".join(lines) + "\n"


# -- access ---------------------------------------------------------------------------------------------------------


def _access(service: str, uses: Sequence[Use], owned: Sequence[Owned]) -> list[Suggestion]:
    """Operations that the same classes use share one policy; what nobody used is closed by a last one."""
    by_operation: dict[str, list[Use]] = defaultdict(list)
    unwritten: set[str] = set()
    for use in uses:
        operation = _operation(use.method, use.template)
        if operation:
            by_operation[operation].append(use)
        else:
            unwritten.add(f"{use.method} {use.template}")
    rules = {(f"{one.method} {one.template}", cls): one for one in owned for cls in one.classes}
    groups: dict[tuple[tuple[str, ...], str], list[str]] = defaultdict(list)
    for operation, users in by_operation.items():
        everybody = any(_anonymous(use) for use in users)
        classes = () if everybody else tuple(sorted({use.cls for use in users}))
        conditions: dict[str, list[str]] = defaultdict(list)
        for cls in classes:
            rule = rules.get((operation, cls))
            conditions[_condition(rule) if rule is not None else ""].append(cls)
        for condition, some in conditions.items() or [("", [])]:
            groups[tuple(some), condition].append(operation)
    least = {cls: min(use.strength for use in uses if use.cls == cls) for cls in {use.cls for use in uses}}
    found = [
        _allow(service, classes, condition, operations, by_operation, rules, least)
        for (classes, condition), operations in sorted(groups.items())
    ]
    if found:
        found.append(_closed(service, sorted(unwritten)))
    return found


def _allow(
    service: str,
    classes: tuple[str, ...],
    condition: str,
    operations: Sequence[str],
    uses: Mapping[str, Sequence[Use]],
    rules: Mapping[tuple[str, str], Owned],
    least: Mapping[str, int],
) -> Suggestion:
    lines = [
        Line("mode: monitor"),
        Line("action: allow"),
        Line("scope:"),
        Line(f"  services: [{_scalar(service)}]"),
        Line("  operations:"),
    ]
    for operation in sorted(operations, key=_by_path):
        users = [use for use in uses[operation] if not classes or use.cls in classes]
        lines.append(Line(f"    - {_scalar(operation)}", _used(users)))
    if classes:
        lines.append(Line("  identities:"))
        lines.append(Line(f"    classes: [{', '.join(map(_scalar, classes))}]"))
        strength = Strength(min(least[cls] for cls in classes))
        if strength < Strength.ASSERTED:
            lines.append(Line(f"    strength: {strength.name.lower()}", "some of these calls proved no more than that"))
    if condition:
        one = next(rules[operation, cls] for operation in sorted(operations) for cls in classes if (operation, cls) in rules)
        lines.append(Line("when:"))
        lines.append(Line(f"  - {_scalar(condition)}", f"so in {one.equal:,} of {one.of:,} calls"))
    who = ", ".join(classes) if classes else "everybody, since callers without an identity use it"
    name = _name(service, *(classes or ("everybody",)), *(("own",) if condition else ()))
    why = f"What {who} did with {service}" + (", each with what is their own." if condition else ".")
    return Suggestion("AccessPolicy", name, (why,), tuple(lines))


def _closed(service: str, unwritten: Sequence[str]) -> Suggestion:
    lines = (
        Line("mode: monitor"),
        Line("action: allow"),
        Line("scope:"),
        Line(f"  services: [{_scalar(service)}]"),
        Line("  identities:"),
        Line("    classes: [nobody]", "write here who may try what is new, e.g. a class of testers"),
        Line("reason: Nobody was seen to use this operation; if it is new, allow it."),
    )
    why = [f"Closes every operation of {service} that no other policy opens: an allow that selects nobody."]
    why += [f"It also closes {operation}, which was used: its path can be read in several ways." for operation in unwritten[:20]]
    if len(unwritten) > 20:
        why.append(f"And {len(unwritten) - 20} more of that sort.")
    return Suggestion("AccessPolicy", _name(service, "nothing-else"), tuple(why), lines)


def _condition(rule: Owned) -> str:
    return f"{rule.parameter} == identity.{'sub' if rule.claim == 'sub' else 'claims.' + rule.claim}"


def _anonymous(use: Use) -> bool:
    return use.kind == "address" or use.cls == "anonymous"


def _used(uses: Sequence[Use]) -> str:
    calls, days = sum(use.calls for use in uses), max(use.days for use in uses)
    last = max(use.last for use in uses)
    callers = sum(use.callers for use in uses)
    said = f"{_plural(calls, 'call')} of {_plural(callers, 'caller')} on {_plural(days, 'day')}, last {_day(last)}"
    if calls <= FEW:
        said += "; a few only: look whether they ought to"
    if not all(use.known for use in uses):
        said += "; a path, no endpoint is known yet"
    return said


# -- limits ---------------------------------------------------------------------------------------------------------


def _limits(service: str, paces: Sequence[Pace]) -> list[Suggestion]:
    """One per class: twice the most that one caller did in a calendar minute, as burst and per minute. No window of the traffic that it
    was made from goes over that: within t minutes there are at most (t + 2) such minutes."""
    most: dict[str, list[Pace]] = defaultdict(list)
    for pace in paces:
        most["" if _nameless(pace) else pace.cls].append(pace)
    found = []
    for cls, some in sorted(most.items()):
        peak = max(pace.most for pace in some)
        rate = round_up(2 * peak)
        lines = [
            Line("mode: monitor"),
            Line(
                f"rate: {rate}/m",
                f"the most of one caller in a minute was {peak:,}, of {_plural(sum(p.callers for p in some), 'caller')}",
            ),
            Line(f"burst: {rate}"),
            Line("per: [identity]" if cls else "per: [source]"),
            Line("scope:"),
            Line(f"  services: [{_scalar(service)}]"),
            Line("  identities:"),
            Line(f"    classes: [{_scalar(cls)}]" if cls else "    kinds: [address]"),
        ]
        why = f"Twice as fast as {cls or 'anybody without an identity'} ever was with {service}, in {_plural(sum(p.calls for p in some), 'call')}."
        found.append(Suggestion("LimitPolicy", _name(service, cls or "anonymous", "pace"), (why,), tuple(lines)))
    return found


def _nameless(pace: Pace) -> bool:
    return pace.kind == "address" or pace.cls == "anonymous"


def round_up(number: int) -> int:
    """The next of 10, 20, 30, 50, 100, 200, ... that is not below."""
    unit = 10
    while True:
        for step in (1, 2, 3, 5):
            if number <= step * unit:
                return step * unit
        unit *= 10


# -- data -----------------------------------------------------------------------------------------------------------


def _data(service: str, uses: Sequence[DataUse]) -> list[Suggestion]:
    """Sensitive data goes on to those classes of callers that got it; classes with the same receivers share a policy."""
    by_class: dict[str, list[DataUse]] = defaultdict(list)
    for use in uses:
        if SENSITIVITY.get(use.data_class) in _GUARDED:
            by_class[use.data_class].append(use)
    groups: dict[tuple[tuple[str, ...], str], list[str]] = defaultdict(list)
    for data_class, got in by_class.items():
        if any(use.kind == "address" or use.cls == "anonymous" for use in got):
            continue  # what goes to callers whom nobody knows has no receivers that could be named
        groups[tuple(sorted({use.cls for use in got})), _GUARDED[SENSITIVITY[data_class]]].append(data_class)
    found = []
    for (receivers, action), classes in sorted(groups.items()):
        got = [use for name in classes for use in by_class[name]]
        lines = [Line("mode: monitor"), Line("classes:")]
        for name in sorted(classes):
            some = by_class[name]
            where = max(use.operations for use in some)
            lines.append(
                Line(
                    f"  - {_scalar(name)}", f"in {_plural(sum(u.calls for u in some), 'answer')} of {_plural(where, 'operation')}"
                )
            )
        lines += [Line(f"action: {action}"), Line("scope:"), Line(f"  services: [{_scalar(service)}]"), Line("except:")]
        lines.append(Line(f"  classes: [{', '.join(map(_scalar, receivers))}]", "who got it"))
        strength = Strength(min(use.strength for use in got))
        if strength < Strength.ASSERTED:
            lines.append(Line(f"  strength: {strength.name.lower()}", "some of these calls proved no more than that"))
        why = f"{', '.join(sorted(classes))} of {service} went to {', '.join(receivers)} only; others get it {_DONE[action]}."
        found.append(Suggestion("DataPolicy", _name(service, *sorted(classes)), (why,), tuple(lines)))
    return found


# -- schemas --------------------------------------------------------------------------------------------------------


def _schemas(service: str, shaped: Sequence[Shaped]) -> list[Suggestion]:
    """Bodies of the operations whose requests are learned: another type and an unknown property are refused, a missing one is reported
    (it may be optional, and nobody left it out yet)."""
    lines = []
    for one in sorted(shaped, key=lambda one: (one.template, one.method)):
        operation = _operation(one.method, one.template)
        if operation and one.requests >= MIN_BODIES:
            said = f"learned from {_plural(one.requests, 'body', 'bodies')} with {_plural(one.fields, 'field')}"
            lines.append(Line(f"    - {_scalar(operation)}", said))
    if not lines:
        return []
    head = (
        "mode: monitor",
        "source: learned",
        "direction: request",
        "types: block",
        "unknown: block",
        "missing: report",
        "scope:",
    )
    spec = (*map(Line, head), Line(f"  services: [{_scalar(service)}]"), Line("  operations:"), *lines)
    return [Suggestion("SchemaPolicy", _name(service, "bodies"), (f"Bodies to {service} look as they always did.",), spec)]


# -- writing --------------------------------------------------------------------------------------------------------


def _distinct(found: Sequence[Suggestion]) -> list[Suggestion]:
    """Names that came out alike are numbered; the order is that of the content, so the numbers are stable."""
    seen: dict[tuple[str, str], int] = defaultdict(int)
    named = []
    for one in found:
        seen[one.kind, one.name] += 1
        number = seen[one.kind, one.name]
        named.append(Suggestion(one.kind, f"{one.name}-{number}", one.why, one.spec) if number > 1 else one)
    return named


def _name(service: str, *parts: str) -> str:
    words = [re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-._") for part in (service, *parts)]
    return PREFIX + "-".join(word for word in words if word)[:180].rstrip("-._")


def _operation(method: str, template: str) -> str:
    """The pattern of an operation; empty where none can be written. A path that services read in several ways is opened from the
    segment on where they begin to differ."""
    path = template
    if is_odd(path):
        parts = path.strip("/").split("/")
        plain = next((n for n, part in enumerate(parts) if not part or is_odd("/" + part)), len(parts))
        if not plain:
            return ""
        path = f"/{'/'.join(parts[:plain])}/**"
    for found in _PARAMETER.findall(path):  # a name may stand once in a pattern
        if path.count(found) > 1:
            first, _, rest = path.partition(found)
            path = f"{first}{found}{rest.replace(found, '*')}"
    operation = f"{method} {_BARE.sub(lambda found: quote(found[0]), path)}"
    try:
        parse_operation(operation)
    except ValueError:
        return ""
    return operation if operation.isprintable() else ""


def _by_path(operation: str) -> tuple[str, str]:
    method, _, path = operation.partition(" ")
    return path, method


def _scalar(text: str) -> str:
    """A YAML scalar that reads back as this very text; JSON strings are YAML."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return (
        '"'
        + "".join(
            c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
            for c in text
        )
        + '"'
    )


def _shown(text: str) -> str:
    """A comment's text: one line, whatever callers call themselves."""
    return "".join(c if c.isprintable() else "?" for c in text)[:240]


def _plural(count: int, word: str, several: str = "") -> str:
    return f"{count:,} {word if count == 1 else several or word + 's'}"


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
