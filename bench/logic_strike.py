"""What an attack flow is, and what is noted of it. Classes are named after the OWASP API Security Top 10 2023 and the issue they are from."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from bench.logic_clients import Ask
from bench.logic_rig import SERVICE, Outcome, Rig
from bench.logic_service import Result
from bench.logic_worlds import Item, User


class Strike:
    """One attack by one user. Ordinary calls on the way (`honest`) are not counted."""

    def __init__(self, rig: Rig, user: User, rng: random.Random) -> None:
        self.rig = rig
        self.world = rig.world
        self.user = user
        self.rng = rng
        self.calls = 0
        self.stopped_at = 0
        """Which abusive call was the first to be refused, or to lose what it asked for; 0: none."""
        self.told: set[str] = set()
        """Detections that had something to say, blocking or not."""

    def honest(self, op: str, **args: Any) -> Outcome:
        return self.rig.call(self.user, self.rig.ask(self.user, op, **args), gap=self.rng.uniform(1, 6))

    def hit(
        self,
        op: str,
        *,
        by: User | None = None,
        gap: float = 0.7,
        address: str = "",
        agent: str = "",
        token: str = "",
        **args: Any,
    ) -> Outcome:
        caller = by or self.user
        return self.send(self.rig.ask(caller, op, **args), by=caller, gap=gap, address=address, agent=agent, token=token)

    def send(
        self,
        made: Ask,
        *,
        by: User | None = None,
        gap: float = 0.7,
        address: str = "",
        agent: str = "",
        token: str = "",
        service: str = SERVICE,
        reply: Result | None = None,
        location: str = "",
    ) -> Outcome:
        outcome = self.rig.call(
            by or self.user,
            made,
            gap=gap,
            address=address,
            agent=agent,
            token=token,
            service=service,
            reply=reply,
            location=location,
        )
        self.calls += 1
        self.told.update(finding.id for finding in outcome.findings)
        if self.stopped_at == 0 and (
            outcome.blocked or (outcome.result is not None and outcome.touched != outcome.result.touched)
        ):
            self.stopped_at = self.calls
        return outcome

    def victims(self, count: int, which: int = 0) -> list[Item]:
        pool = self.world.foreign(self.user, self.world.kind(which))
        return self.rng.sample(pool, min(count, len(pool)))

    def got(self, outcome: Outcome, by: User | None = None) -> int:
        """How many objects of others the caller got, or changed."""
        items = self.world.items
        return sum(one in items and not self.world.may(by or self.user, items[one]) for one in set(outcome.touched))

    def own(self, which: int = 0) -> Item | None:
        """A fresh object of the user's own, made the ordinary way."""
        quantity, price = 2, 25.5
        given = {"quantity": quantity, "price": price, "total": 51.0, "currency": "EUR", "note": "please"}
        before = len(self.world.items)
        self.honest("create", which=which, given={**given, "lines": [{"product_id": self.rng.randrange(1, 200), "quantity": 1}]})
        mine = list(self.world.items.values())[before:]
        return mine[-1] if mine else None


Carry = Callable[[Strike], bool | None]
"""Carries the attack out. True: it got what it is for. False: it did not. None: this world has nothing for it."""


class Flow(Struct, frozen=True):
    """A class of attack."""

    name: str
    carry: Carry
    within: int = 0
    """Abusive calls within which it must be seen (0: only that it wins nothing counts)."""
    tell: tuple[str, ...] = ()
    """Not stopped but told, by design: words of which one must be in the id of a finding."""
