"""Remembers which codes each caller used with success, and tells when one is used again.

A use counts when the answer was a success. (Many at the same moment are racing, which `sessions` judges.) Bounds: `MAX_CALLERS` callers, `MAX_VALUES` codes of each, `MAX_USED` codes in all; a caller who is full is judged by
what is known, and adds nothing, so a flood of codes makes nobody else's forgotten.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from eastwall import behaviours
from eastwall.behaviours import World
from eastwall.behaviours.outcomes import refused
from eastwall.behaviours.sessions import kinship
from eastwall.behaviours.single_use.model import MAX_NOTED, MAX_PLACE, Knowledge, Single
from eastwall.discovery.bounded import Recent
from eastwall.discovery.objects import SAFE_METHODS, words
from eastwall.model.call import Completion, Phase
from eastwall.model.decision import Decision
from eastwall.model.deviations import Deviation, ValueReused
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts

MAX_CALLERS = 50_000
MAX_VALUES = 64
MAX_USED = 200_000
MAX_DEPTH = 4
MAX_OBJECTS = 8
"""Objects of a body that are searched for codes."""
LENGTHS = range(4, 257)
"""Characters of a code."""

_CODES = frozenset("coupon coupons voucher vouchers promo promotion otp giftcard redemption".split())
_BEFORE = frozenset(
    "coupon voucher promo promotion gift otp verification confirmation reset invite invitation activation redeem redemption discount referral auth security time".split()
)
"""What comes before `code`, `token`, `number`, `pin` where it is for once."""
_KINDS = frozenset("code codes token number pin".split())

Known = dict[tuple[str, str], Single]


def compile(knowledge: Knowledge, world: World) -> Known:
    """By operation and place."""
    return {(one.endpoint, one.place): one for one in knowledge.places}


@lru_cache(maxsize=8192)
def is_code(name: str) -> bool:
    """Whether a property is by its name a code that may be for once: `code`, `coupon`, `promo_code`, `resetToken`; not `country_code`."""
    parts = words(name)
    if not parts:
        return False
    if parts[-1] in _CODES or (len(parts) == 1 and parts[0] == "code"):
        return True
    return len(parts) > 1 and parts[-1] in _KINDS and parts[-2] in _BEFORE


@lru_cache(maxsize=4096)
def _asks(names: tuple[str, ...]) -> bool:
    """Whether a body with these property places may hold a code."""
    return any(is_code(name.rpartition(".")[2][:64]) for name in names)


def codes(body: Any) -> list[tuple[str, str]]:
    """(place, value) of the codes of a body."""
    found: list[tuple[str, str]] = []
    waiting: list[tuple[str, int, Any]] = [("body", 0, body)]
    for at in range(MAX_OBJECTS):
        if at >= len(waiting) or len(found) >= MAX_NOTED:
            break
        prefix, depth, node = waiting[at]
        for key, value in node.items():
            if type(value) is dict:
                if depth < MAX_DEPTH:
                    waiting.append((f"{prefix}.{key}", depth + 1, value))
            elif (type(value) is str or type(value) is int) and len(key) <= 64 and is_code(key):
                text = str(value) if isinstance(value, str) or abs(value) < 1e18 else ""
                if len(text) in LENGTHS:
                    found.append((f"{prefix}.{key}"[:MAX_PLACE], text.strip().lower()))
    return found[:MAX_NOTED]


class Watch(behaviours.Watch):
    """See above. Values are kept as hashes of this process alone."""

    def __init__(self) -> None:
        self._callers: Recent[str, dict[int, int]] = Recent(MAX_CALLERS)
        """Caller -> code -> successful uses."""
        self._used: Recent[int, int] = Recent(MAX_USED)
        """Code -> hash of its first user."""

    def __len__(self) -> int:
        return len(self._used) + len(self._callers)

    def asks(self, phase: Phase, endpoint: Endpoint, known: Known) -> bool:
        return self.notes(endpoint, known) and any(operation == endpoint.id for operation, _ in known)

    def request(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        endpoint = facts.match.endpoint
        if not known or endpoint is None or not _asks(facts.properties):
            return ()
        found: tuple[Deviation, ...] = ()
        for place, value in codes(facts.operation.body):
            single = known.get((endpoint.id, place))
            if single is None:
                continue
            own, other = self._uses(facts.identity.actor, hash((endpoint.id, place, value)))
            times = own + other if single.by == "anybody" else own
            if times:
                found += (ValueReused(place[:120], _masked(value), times, single.by, single.uses, single.actors),)
        return found

    def notes(self, endpoint: Endpoint, known: Known) -> bool:
        # Who asks what a gift card holds uses nothing up.
        return endpoint.method not in SAFE_METHODS and not kinship.reads(endpoint) and not kinship.holds_value(endpoint)

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        facts = request.facts
        endpoint = facts.match.endpoint
        if endpoint is None or not facts.properties or not _asks(facts.properties):
            return None
        if response is None or request.verdict.action == "block" or response.verdict.action == "block":
            return None
        if not 200 <= completion.status < 300 or refused(response):
            return None
        if facts.operation.method in SAFE_METHODS:
            return None
        note = []
        for place, value in codes(facts.operation.body):
            key = hash((endpoint.id, place, value))
            own, other = self._uses(facts.identity.actor, key)
            self._remember(facts.identity.actor, key)
            note.append([place, min(own, 1), other])
        return note or None

    def _uses(self, actor: str, key: int) -> tuple[int, int]:
        """Uses by the caller, and whether somebody else was first."""
        mine = self._callers.get(actor)
        first = self._used.get(key)
        return mine.get(key, 0) if mine is not None else 0, int(first is not None and first != hash(actor))

    def _remember(self, actor: str, key: int) -> None:
        mine = self._callers.get(actor)
        if mine is None:
            mine = {}
            self._callers.put(actor, mine)
        if key in mine:
            mine[key] += 1
        elif len(mine) < MAX_VALUES:
            mine[key] = 1
            if self._used.get(key) is None:
                self._used.put(key, hash(actor))


def _masked(value: str) -> str:
    """A code's first letter: the rest is worth something."""
    return value[:1] + "*" * min(len(value) - 1, 8)
