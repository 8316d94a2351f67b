"""How a policy is put in force: for a part of the callers first, and with a guard that takes it back."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Rollout(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """For which part of the calls a policy is enforced; for the rest it is monitored."""

    percent: int
    """1 to 100."""
    by: Literal["identity", "source", "call"] = "identity"
    """What is drawn: a caller stays in the part that he is in, and is still in it when the part grows."""


class Guard(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """When a policy steps back to `monitor` by itself, until `eastwall policy rearm NAME`: when it stops too many calls that look legitimate."""

    legitimate: int = 5
    """So many calls that look legitimate may be stopped; one more, and the policy steps back."""
    within: str = "10m"
    """In this time: `30s`, `10m`, `2h`."""
    callers: int = 2
    """Of at least so many callers: one account alone takes no policy back."""
    share: str = ""
    """Besides, only when they are more than this share of all calls that look legitimate, of the operations in scope: `2%`. Not set: any."""
