"""Recorded calls as policies are tried on them: what the API gives to `policy replay`, and the guard before `policy apply`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from eastwall.policy.kinds import PolicySet
from eastwall.runtime.policy_replay import PAGE, World, guard
from eastwall.stores.chdb.lake import ChdbLake, LakeError


class RecordedCalls:
    """One per control."""

    def __init__(self, lake: ChdbLake, world: Callable[[], World]) -> None:
        self._lake, self._world = lake, world

    def extent(self, since: float, until: float, service: str = "") -> dict[str, Any]:
        """How many calls there are, from when to when, and what a replay needs beside them. Raises LakeError."""
        return self._lake.extent(since, until, service) | {"world": msgspec.to_builtins(self._world())}

    def in_order(self, since: float, until: float, *, after: str = "", service: str = "", limit: int = PAGE) -> bytes:
        """See `ChdbLake.in_order`. Raises LakeError."""
        return self._lake.in_order(since, until, after=after, service=service, limit=limit)

    def guard(self, new: PolicySet, old: PolicySet) -> dict[str, Any]:
        """See `policy_replay.guard`; of a lake that does not answer the `fault`. Raises BlocksTrafficError, ValueError."""
        try:
            return guard(new, old, self._lake, self._world(), time.time())
        except LakeError as error:
            return {"fault": str(error)}
