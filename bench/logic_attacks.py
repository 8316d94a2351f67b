"""Attack flows on a world by one of its own users, and whether each got what it is for. Classes after OWASP API Top 10 2023."""

from __future__ import annotations

import random
from collections.abc import Callable

from bench.logic_traffic import Rig, foreign, holds_foreign
from bench.logic_worlds import Ask, Item, User, World

Flow = Callable[[Rig, User, random.Random], bool | None]
"""Carries the attack out. True: it got what it is for. False: it was stopped. None: this world has nothing for it."""


def _victims(rig: Rig, user: User, rng: random.Random, count: int, which: int = 0) -> list[Item]:
    pool = foreign(rig.world, user, (rig.world.main, rig.world.side)[which][0])
    return rng.sample(pool, min(count, len(pool)))


def _look_round(rig: Rig, user: User) -> None:
    """What every attacker does first: be an ordinary user."""
    rig.call(user, rig.world.ask_me())
    rig.call(user, rig.world.ask(user, "list", 0))


def bola_read(rig: Rig, user: User, rng: random.Random) -> bool | None:
    """Reads somebody's object by its id."""
    _look_round(rig, user)
    return _touch(rig, user, rng, "get", 0)


def bola_side(rig: Rig, user: User, rng: random.Random) -> bool | None:
    """The same on the second, rarer kind."""
    _look_round(rig, user)
    return _touch(rig, user, rng, "get", 1)


def bola_write(rig: Rig, user: User, rng: random.Random) -> bool | None:
    """Changes somebody's object."""
    return _touch(rig, user, rng, "update", 0, {"amount": 1.0})


def bola_delete(rig: Rig, user: User, rng: random.Random) -> bool | None:
    """Deletes somebody's object; nobody deletes ordinarily."""
    return _touch(rig, user, rng, "delete", 0)


def bola_child(rig: Rig, user: User, rng: random.Random) -> bool | None:
    """Reads what hangs below somebody's object."""
    return _touch(rig, user, rng, "history", 0)


def _touch(
    rig: Rig, user: User, rng: random.Random, action: str, which: int, given: dict[str, object] | None = None
) -> bool | None:
    victims = _victims(rig, user, rng, 3, which)
    if not victims:
        return None
    return any(
        holds_foreign(rig.world, user, rig.call(user, rig.world.ask(user, action, which, victim.id, given)).reply)
        for victim in victims
    )


def enumeration(rig: Rig, user: User, rng: random.Random) -> bool | None:
    """Tries ids one after another; has won with more than three foreign objects within ten tries."""
    world = rig.world
    if world.ids != "integer":
        return None
    own = [int(i.id) for i in world.items.values() if i.kind == world.main[0]]
    start = rng.choice(own) - 5
    got = sum(
        holds_foreign(world, user, rig.call(user, world.ask(user, "get", 0, str(start + n)), gap=0.1).reply) for n in range(40)
    )
    return got > 3


def function_level(rig: Rig, user: User, rng: random.Random) -> bool | None:
    """Calls what only administrators call."""
    return any(
        holds_foreign(rig.world, user, rig.call(user, rig.world.ask_admin(what)).reply)
        for what in ("users", "export", "settings")
    )


def mass_assignment(rig: Rig, user: User, rng: random.Random) -> bool | None:
    """Sets a role in the own profile."""
    before = user.role
    outcome = rig.call(user, rig.world.ask_me({"phone": "+49 30 12345", "role": "admin"}))
    won, user.role = user.role != before, before
    return won and not outcome.blocked


def state_by_hand(rig: Rig, user: User, rng: random.Random) -> bool | None:
    """Creates an object that is paid already."""
    outcome = rig.call(user, rig.world.ask(user, "create", 0, given={"amount": 10.0, "state": "paid"}))
    return outcome.reply is not None and outcome.reply.status < 300


def skipped_step(rig: Rig, user: User, rng: random.Random) -> bool | None:
    """Pays without confirming."""
    item = _made(rig, user)
    return None if item is None else rig.call(user, rig.world.ask(user, "pay", 0, item.id)).reply is not None


def repeated_step(rig: Rig, user: User, rng: random.Random) -> bool | None:
    """Redeems one coupon again and again, within milliseconds."""
    if rig.world.style != "rest":
        return None
    item = _made(rig, user)
    if item is None:
        return None
    ask = rig.world.ask(user, "coupon", 0, item.id, {"code": f"WELCOME-{user.name}"})
    return sum(rig.call(user, ask, gap=0.004).reply is not None for _ in range(10)) > 3


def negative_value(rig: Rig, user: User, rng: random.Random) -> bool | None:
    """A negative amount."""
    outcome = rig.call(user, rig.world.ask(user, "create", 0, given={"amount": -500.0, "note": "please"}))
    return outcome.reply is not None and outcome.reply.status < 300


def harvest(rig: Rig, user: User, rng: random.Random) -> bool | None:
    """A page size that nobody uses, again and again."""
    if rig.world.style != "rest":
        return None
    return sum(rig.call(user, rig.world.ask_public(0, 100_000), gap=0.1).reply is not None for _ in range(30)) > 20


def _made(rig: Rig, user: User) -> Item | None:
    """An object of the user's own, made the ordinary way."""
    rig.call(user, rig.world.ask(user, "create", 0, given={"amount": 25.0, "note": "please"}))
    mine = [i for i in rig.world.items.values() if i.owner == user.name and i.kind == rig.world.main[0]]
    return mine[-1] if mine else None


FLOWS: dict[str, Flow] = {
    "API1 read": bola_read,
    "API1 read, second kind": bola_side,
    "API1 change": bola_write,
    "API1 delete": bola_delete,
    "API1 child": bola_child,
    "API1 enumeration": enumeration,
    "API3 role": mass_assignment,
    "API3 state": state_by_hand,
    "API4 page size": harvest,
    "API5 function": function_level,
    "API6 skipped step": skipped_step,
    "API6 repeated step": repeated_step,
    "API6 negative value": negative_value,
}


def attackers(world: World, rng: random.Random) -> list[User]:
    """Ordinary members who turn."""
    return rng.sample(world.members(), min(3, len(world.members())))


__all__ = ["FLOWS", "Ask", "attackers"]
