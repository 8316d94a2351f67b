"""What can be wrong with how a policy is rolled out."""

from __future__ import annotations

from collections.abc import Iterator

from eastwall.policy.kinds import Guard, Rollout, Rule
from eastwall.policy.rollout import parse_share, parse_within


def faults(spec: Rule) -> Iterator[tuple[str, str, str]]:
    """(place, message, hint)"""
    rollout: Rollout | None = getattr(spec, "rollout", None)
    guard: Guard | None = getattr(spec, "guard", None)
    if rollout is not None:
        if not 1 <= rollout.percent <= 100:
            hint = "for nobody: `mode: monitor`"
            yield "spec.rollout.percent", f"`spec.rollout.percent` must be 1 to 100, not {rollout.percent}", hint
        if spec.mode != "enforce":
            said = f"`spec.rollout` says for whom the policy is enforced, and its mode is `{spec.mode}`"
            yield "spec.rollout", said, "write `mode: enforce`, or leave it out"
    if guard is None:
        return
    if not 1 <= guard.legitimate <= 1_000:
        yield "spec.guard.legitimate", f"`spec.guard.legitimate` must be 1 to 1000, not {guard.legitimate}", ""
    if not 1 <= guard.callers <= guard.legitimate + 1:
        said = f"`spec.guard.callers` must be 1 to {max(1, guard.legitimate) + 1}, since so many calls take it back, not {guard.callers}"
        yield "spec.guard.callers", said, ""
    try:
        parse_within(guard.within)
    except ValueError as error:
        yield "spec.guard.within", str(error), ""
    if guard.share:
        try:
            parse_share(guard.share)
        except ValueError as error:
            yield "spec.guard.share", str(error), ""
