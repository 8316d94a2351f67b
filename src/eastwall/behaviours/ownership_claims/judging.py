"""From counts to what is believed: rules, aliases, and the engine's knowledge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from eastwall.behaviours.intervals import wilson
from eastwall.behaviours.ownership_claims.counts import MAX_ACTORS, MIN_ACTORS, Actor, Place

MIN_CALLS = 15
MIN_ALIAS_ACTORS = 5
SHARE = 0.98
"""Of the calls of ordinary callers that must have held their own."""
FLOOR = 0.8
"""Lower end of the 95 % interval of that share at least."""
SURE = 0.95
"""From here on the rule is of high confidence, and speaks for rarer operations with a field of the same name."""
EXCEPTIONS = 0.25
"""Share of the actors that may be exceptions at most."""
STRAYS = 0.2
"""Share of a judged class's members that may be exceptions (assistants, colleagues) by the upper end of the 95 % interval, up to which a member is
judged that was never seen: none of 16 were, 1 of 25, 2 of 34."""
CROWD_CALLS = 40
"""Calls that this takes at least: an assistant is told by the calls for others alone."""
KEPT = 5
"""Calls in which one actor had its own, at all places of a service that the same claim tells, and nothing else, after which it is held to that."""


class Rule(Struct, frozen=True):
    """A place that held the caller's own."""

    endpoint: str
    place: str
    """`?path.user_id` (request), `=body.items[].user_id` (answer)."""
    claim: str
    """Claim, `alias` or `tenant-alias`."""
    space: str
    """What the values number; aliases hold for all places of a space."""
    equal: int
    of: int
    high: bool
    classes: tuple[str, ...] = ()
    """Classes that are judged: others see others' data as a matter of course, or too few of them were seen."""
    exceptions: tuple[int, ...] = ()
    """Actors (hashes) that are not judged: they had others' too while learning."""
    few: bool = False
    """So few callers were seen, or some of them proved to be exceptions, that nothing is known of one who was not: only `keepers` are judged."""
    keepers: tuple[int, ...] = ()
    """Actors (hashes) that were seen to keep to their own `KEPT` times; told where `few`."""


class Broad(Struct, frozen=True):
    """Classes that name objects of a kind that no answer gave them: they see everybody's."""

    service: str
    kind: str
    classes: tuple[str, ...]
    judged: tuple[str, ...] = ()
    """Classes known to keep to what they were given. Of others nobody knows yet; empty: there is none."""


class GivenFirst(Struct, frozen=True):
    """Callers of a class name, at a place or of a kind, what an answer had given them before, and nothing else."""

    service: str
    endpoint: str
    """The operation; empty: wherever objects of the kind are named."""
    place: str
    kind: str
    cls: str
    given: int
    """Learned calls that named what their callers had been given."""
    of: int
    actors: int
    high: bool
    exceptions: tuple[int, ...] = ()
    """Actors (hashes) that are not judged: they named others while learning."""
    by: str = "actor"
    """`tenant`: what colleagues were given counts as given, too."""


class Knowledge(Struct, frozen=True):
    """What engines are to know."""

    rules: tuple[Rule, ...] = ()
    choices: tuple[tuple[str, str], ...] = ()
    """(operation, place) whose ids callers do not have from answers alone (`body.lines[].product_id`): provenance says nothing of them."""
    broad: tuple[Broad, ...] = ()
    aliases: tuple[tuple[str, str, int, int], ...] = ()
    """(service, space, hash of the actor or tenant, hash of its id at the service), of sampled actors."""
    given: tuple[GivenFirst, ...] = ()
    taught: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(operation, classes of callers of which so many calls were noted that engines need not note each one more)."""


def judge_claims(endpoint: str, place: str, counts: Place) -> Rule | None:
    """The claim that the place equals, if any."""
    labels = sorted({label for known in counts.classes.values() for label in known}, key=lambda label: (label != "sub", label))
    best: Rule | None = None
    for label in labels:
        rule = _judge_label(endpoint, place, counts, label)
        if rule is not None and (best is None or rule.equal > best.equal):
            best = rule
    return best


def _judge_label(endpoint: str, place: str, counts: Place, label: str) -> Rule | None:
    having = {key: one for key, one in counts.actors.items() if label in one.labels}
    broad = {
        cls
        for cls, labels in counts.classes.items()
        if label in labels and labels[label][1] >= 4 and labels[label][0] < 0.5 * labels[label][1]
    }
    judged = {key: one for key, one in having.items() if one.cls not in broad}
    exceptions = tuple(sorted(key for key, one in judged.items() if one.labels[label][0] < 0.9 * one.labels[label][1]))
    regular = [one for key, one in judged.items() if key not in exceptions]
    if len(having) >= MAX_ACTORS:
        exceptions = ()
        pairs = [labels[label] for cls, labels in counts.classes.items() if cls not in broad and label in labels]
        equal, of = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    else:
        equal, of = (sum(one.labels[label][n] for one in regular) for n in (0, 1))
    own = {one.usual()[0] for one in regular if one.labels[label][0]} - {0}
    needed = 2 if label == "tenant" else MIN_ACTORS
    if len(regular) < MIN_ACTORS or len(own) < needed or len(exceptions) > EXCEPTIONS * len(judged):
        return None
    if of < MIN_CALLS or equal < SHARE * of or (low := wilson(equal, of)) < FLOOR:
        return None
    classes = _judged_classes(regular)
    few = _few(classes, regular, (judged[key] for key in exceptions), of)
    return Rule(endpoint, place, label, counts.space, equal, of, low >= SURE, classes, exceptions, few)


def _judged_classes(regular: Iterable[Actor]) -> tuple[str, ...]:
    """Classes of which at least two actors keep to their own."""
    members = Counter(one.cls for one in regular)
    return tuple(sorted(cls for cls, count in members.items() if count >= 2))


def judge_alias(endpoint: str, place: str, counts: Place) -> tuple[Rule | None, list[tuple[int, int]]]:
    """Whether the place holds an id of the caller that no token tells, and whose is which."""
    if not counts.space:
        return None, []
    members = Counter(one.cls for one in counts.actors.values())
    loose = Counter(one.cls for one in counts.actors.values() if one.usual()[1] < 0.9 * one.calls)
    broad = {cls for cls in members if 2 * loose[cls] >= members[cls]}
    judged = {key: one for key, one in counts.actors.items() if one.cls not in broad and one.calls >= 2}
    exceptions = tuple(sorted(key for key, one in judged.items() if one.usual()[1] < 0.9 * one.calls))
    regular = {key: one for key, one in judged.items() if key not in exceptions}
    if len(regular) < MIN_ALIAS_ACTORS or len(exceptions) > EXCEPTIONS * len(judged):
        return None, []
    if len(counts.actors) >= MAX_ACTORS and len(exceptions) > 0.02 * len(judged):
        return None, []  # of those who are not in the sample nobody knows who else is one
    equal, of = sum(one.usual()[1] for one in regular.values()), sum(one.calls for one in regular.values())
    if of < MIN_CALLS or equal < SHARE * of or (low := wilson(equal, of)) < FLOOR:
        return None, []
    claim, pairs = "alias", [(key, one.usual()[0]) for key, one in regular.items()]
    holders = Counter(value for _, value in pairs)
    if sum(count == 1 for count in holders.values()) < 0.9 * len(pairs):
        by_tenant = {(one.tenant, one.usual()[0]) for one in regular.values() if one.tenant}
        tenants = {tenant for tenant, _ in by_tenant}
        if len(tenants) < MIN_ACTORS or not len(tenants) == len(by_tenant) == len({value for _, value in by_tenant}):
            return None, []
        claim, pairs = "tenant-alias", sorted(by_tenant)
    else:
        pairs = [(key, value) for key, value in pairs if holders[value] == 1]
    classes = _judged_classes(regular.values())
    few = _few(classes, regular.values(), (judged[key] for key in exceptions), of)
    return Rule(endpoint, place, claim, counts.space, equal, of, low >= SURE, classes, exceptions, few), pairs


def _few(classes: Collection[str], regular: Iterable[Actor], exceptions: Iterable[Actor], calls: int) -> bool:
    """Whether too little is known of the judged classes to judge those of their members who were not seen."""
    kept = sum(one.cls in classes for one in regular)
    strays = sum(one.cls in classes for one in exceptions)
    return calls < CROWD_CALLS or not kept or 1.0 - wilson(kept, kept + strays) > STRAYS


def own_calls(counts: Place, claim: str) -> dict[int, int]:
    """Actor -> calls in which a place held its own, by a claim or an alias."""
    if claim in ("alias", "tenant-alias"):
        return {key: one.usual()[1] for key, one in counts.actors.items()}
    return {key: one.labels[claim][0] for key, one in counts.actors.items() if claim in one.labels}


def agrees(counts: Place, claim: str, rule: Rule, own: Mapping[int, int]) -> bool:
    """Whether what little is known of a place says the same as a sure rule of a field of its name elsewhere."""
    if claim in ("alias", "tenant-alias"):
        told = [
            (one.calls, one.values.get(own[holder], 0))
            for key, one in counts.actors.items()
            if one.cls in rule.classes
            and key not in rule.exceptions
            and (holder := key if claim == "alias" else one.tenant) in own
        ]
        calls, equal = sum(one[0] for one in told), sum(one[1] for one in told)
        return counts.space == rule.space and calls >= 2 and equal == calls
    pairs = [labels[claim] for cls, labels in counts.classes.items() if cls in rule.classes and claim in labels]
    equal, of = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    return of >= 2 and equal == of
