"""Which calls a policy is enforced for, while it is rolled out.

A caller's part is a keyed hash of the policy's name and the caller, in ten-thousandths: the same on every engine and after every restart, other
callers for other policies, and nobody outside can work out who is in. Whoever is in at 10 % is in at 20 %.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from eastwall.discovery.identity import source_of
from eastwall.model.facts import Facts
from eastwall.policy.kinds import Guard, Rollout

PARTS = 10_000
WITHIN = re.compile(r"([1-9][0-9]{0,5})(s|m|h)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_within(text: str) -> float:
    """`10m` -> 600.0. Raises `ValueError` with one line."""
    found = WITHIN.fullmatch(text)
    if found is None or int(found[1]) * _SECONDS[found[2]] > 86_400:
        raise ValueError(f"`{text[:60]}` is not a time: write e.g. `30s`, `10m`, `2h`; a day at most")
    return int(found[1]) * _SECONDS[found[2]]


SHARE = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,3})?)%")


def parse_share(text: str) -> float:
    """`2.5%` -> 0.025. Raises `ValueError` with one line."""
    found = SHARE.fullmatch(text)
    if found is None or not float(found[1]):
        raise ValueError(f"`{text[:60]}` is no share: write e.g. `2%`, `0.5%`; more than 0% and less than 100%")
    return float(found[1]) / 100


class Share:
    """The part of the calls that a policy is enforced for."""

    __slots__ = ("_by", "_key", "_name", "_parts")

    def __init__(self, name: str, spec: Rollout, key: bytes) -> None:
        """`key`: the installation's."""
        self._name, self._by, self._key = name.encode(), spec.by, key[:64]
        self._parts = spec.percent * PARTS // 100

    def holds(self, facts: Facts) -> bool:
        """Whether this call is in it."""
        if self._parts >= PARTS:
            return True
        if self._by == "identity":
            who = facts.identity.actor
        elif self._by == "source":
            who = source_of(facts.identity, facts.call)
        else:
            who = facts.call.id
        digest = blake2b(self._name + b"\0" + who.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "little") % PARTS < self._parts


class GuardRule:
    """A guard, ready to be asked."""

    __slots__ = ("callers", "legitimate", "share", "within", "words")

    def __init__(self, spec: Guard) -> None:
        self.legitimate, self.callers, self.within, self.words = (
            spec.legitimate,
            spec.callers,
            parse_within(spec.within),
            spec.within,
        )
        self.share = parse_share(spec.share) if spec.share else 0.0
        """0: not asked."""
