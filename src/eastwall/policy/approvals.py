"""Calls that wait for somebody's word, and the words that were given: one engine's view.

An approval goes by what is called: its id is a keyed hash of service, tool, caller and arguments, so that the same call made again is let
through, on any engine and after any restart, and another is not. Nobody outside can work out an id, nor learn arguments from it.

What is given comes with the snapshot. That a single use was made is told to other engines at once (`LimitTable.objects`) and to control with
the next heartbeat. Losing this state loses what waits, which comes again with the next call; a single use may then be made once more.
"""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from eastwall.model.snapshot import Approval

MAX_ASKED = 500
"""Calls that are told to control as waiting."""
MAX_OF_ONE = 20
"""The same, of one caller."""
TOLD = 60.0
"""Seconds for which control is told of a call that waits, or of a use."""


class Asked(Struct, frozen=True):
    """A call that was refused until somebody approves it."""

    id: str
    time: float
    """Unix seconds of the call, the latest of its kind."""
    call: str
    """Event id of the latest."""
    service: str
    tool: str
    actor: str
    agent: str
    human: str
    policy: str
    why: str
    """Why it needs approval: one plain sentence."""
    arguments: dict[str, str] = {}
    """Those that the policy shows, as text; sensitive values are masked."""


def approval_id(key: bytes, service: str, tool: str, actor: str, agent: str, arguments: Mapping[str, Any]) -> str:
    """`ap-` and 16 characters of 80 bits. `key`: the installation's. Arguments that differ only in the order of names are the same."""
    whole = msgspec.json.encode([service, tool, actor, agent, arguments], order="sorted")
    return "ap-" + b32encode(blake2b(whole, digest_size=10, key=key[:64], person=b"ew-approval").digest()).decode().lower()


class ApprovalTable:
    """What is approved, and what waits."""

    def __init__(self) -> None:
        self.given: Mapping[str, Approval] = {}
        """By id; as control published it."""
        self._asked: dict[str, Asked] = {}
        self._used: dict[tuple[str, float], float] = {}

    def __len__(self) -> int:
        return len(self._asked) + len(self._used)

    def follow(self, given: Iterable[Approval]) -> None:
        """Take over what control has published."""
        self.given = {one.id: one for one in given}

    def ask(self, asked: Asked) -> None:
        """A call waits. One caller's flood drops the flood's own."""
        waiting = self._asked
        waiting.pop(asked.id, None)
        mine = [one.id for one in waiting.values() if one.actor == asked.actor] if len(waiting) >= MAX_OF_ONE else []
        if len(mine) >= MAX_OF_ONE:
            del waiting[mine[0]]
        elif len(waiting) >= MAX_ASKED:
            del waiting[next(iter(waiting))]
        waiting[asked.id] = asked

    def use(self, approval: Approval, time: float) -> None:
        """A single use was made."""
        if len(self._used) >= MAX_ASKED:
            del self._used[next(iter(self._used))]
        self._used[approval.id, approval.granted] = time

    def told(self, now: float) -> tuple[list[Asked], list[tuple[str, float]]]:
        """(what waits, (id, when it was granted) of single uses that were made) lately. `now`: Unix seconds."""
        for key in [key for key, one in self._asked.items() if not -TOLD < now - one.time < TOLD]:
            del self._asked[key]
        for used in [used for used, time in self._used.items() if not -TOLD < now - time < TOLD]:
            del self._used[used]
        return list(self._asked.values()), list(self._used)
