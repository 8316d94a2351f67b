"""What is found of a call against a rule, as a deviation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eastwall.behaviours.sessions.invariants import Once, Precedence
from eastwall.behaviours.sessions.memory import SESSION, Done
from eastwall.model.deviations import RepeatedStep, SkippedStep


def missing(rule: Precedence, place: str, value: str, retries: int, old: float = 0.0) -> SkippedStep:
    """What should have come before did not, or `old` seconds ago."""
    return SkippedStep(
        place, rule.label, rule.kind, value, rule.calls, rule.held, rule.each, rule.causal, retries, rule.cls, rule.named, old,
        rule.pooled,
    )  # fmt: skip


def again(once: Once, place: str, value: str, times: tuple[int, float], now: float) -> RepeatedStep:
    """What is done once was done."""
    seconds = round(max(0.0, now - times[1]), 3)
    return RepeatedStep(place, once.scope, value, times[0], seconds, once.things, once.again, once.named, once.pooled)


def age(within: float, names: Iterable[str], done: Mapping[str, Done], now: float) -> float:
    """Seconds since the actor last did one of these, if they are more than a rule allows; else 0."""
    if not within:
        return 0.0
    old = now - max((done[name][2] for name in names if name in done), default=now)
    return old if old > within else 0.0


def twice(names: Iterable[str], done: Mapping[str, Done], own: Done | None, now: float) -> bool:
    """Whether the actor did one of these twice, in this session, since it did its own step the time before last: it goes the same way in two windows
    at once, and each step of the one is still due in the other."""
    since = max(own[5] if own is not None else 0.0, now - SESSION)
    return any(done[name][5] > since for name in names if name in done)
