"""A call that changes something, on its way: what is taken back if it fails, noted of it, and told other engines."""

from __future__ import annotations

from typing import Any

from eastwall.behaviours.sessions.memory import Actor, Done
from eastwall.model.identity import Identity, Strength

MAX_NOTED = 16
"""Operations that a note names as done before."""

News = tuple[str, bool, str, float, list[int], list[int], int | None]
"""(actor, whether its name costs nothing, operation, time, codes and objects it is done on, objects with a trail, object that was made)."""


class Begun:
    """A call on its way."""

    __slots__ = ("actor", "answered", "before", "note", "objects", "operation", "settled", "things")

    def __init__(self, actor: Actor, operation: str) -> None:
        self.actor = actor
        self.operation = operation
        self.note: dict[str, Any] | None = None
        self.before: Done | None = None
        self.things: list[int] = []
        self.objects: list[int] = []
        self.answered = False
        """Whether its answer was judged."""
        self.settled = True
        """Whether it needs no taking back."""


def since_last(actor: Actor, own_done: Done | None, own: str, now: float) -> tuple[list[str], list[str]]:
    """What the actor did since it last did this, latest first, and what of it more than half an hour ago."""
    number = own_done[1] if own_done is not None else -1
    since: list[str] = []
    late: list[str] = []
    for name in reversed(actor.done):
        done = actor.done[name]
        if done[1] <= number or len(since) >= MAX_NOTED:
            break
        if name != own:
            since.append(name)
            if now - done[2] > 1_800.0:
                late.append(name)
    return since, late


def news_of(identity: Identity, begun: Begun, now: float, made: int | None) -> News:
    """What other engines are told of it."""
    return identity.actor, identity.strength == Strength.GUESSED, begun.operation, now, begun.things, begun.objects, made


def value_at(body: Any, place: str) -> Any:
    """The value at a dotted place without arrays; None: there is none."""
    for name in place.split("."):
        if type(body) is not dict or name not in body:
            return None
        body = body[name]
    return body
