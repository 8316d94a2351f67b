"""Attack flows on objects: reading, changing and counting through what is somebody else's (API1), and harvesting what is everybody's (API4)."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from bench.logic_clients import Ask, aliases
from bench.logic_strike import Flow, Strike
from bench.logic_worlds import Item

ENOUGH = 10
"""Foreign ids after which an enumeration has won: it must be seen within ten."""


def _look_round(strike: Strike) -> None:
    """What every attacker does first: be an ordinary user."""
    strike.honest("me")
    strike.honest("list", which=0)


def _touch(strike: Strike, op: str, which: int = 0, **more: Any) -> bool | None:
    """The same operation on three objects of others, by ids that the attacker came by elsewhere."""
    victims = strike.victims(3, which)
    if not victims or (which == 1 and strike.world.traits["legacy"] and op == "get"):
        return None
    return sum(strike.got(strike.hit(op, which=which, item=victim, **more)) > 0 for victim in victims) > 0


def read(strike: Strike) -> bool | None:
    _look_round(strike)
    return _touch(strike, "get")


def read_side(strike: Strike) -> bool | None:
    _look_round(strike)
    return _touch(strike, "get", 1)


def read_own_path(strike: Strike) -> bool | None:
    """The attacker's own name in the path, somebody else's object after it."""
    if strike.world.evidence != "path" or strike.world.style != "rest":
        return None
    return _touch(strike, "get", of=strike.user)


def change(strike: Strike) -> bool | None:
    return _touch(strike, "update", given={"quantity": 1, "price": 10.0, "total": 10.0})


def delete(strike: Strike) -> bool | None:
    return _touch(strike, "delete")


def step(strike: Strike) -> bool | None:
    """Takes a step of somebody's business."""
    return _touch(strike, "confirm")


def child(strike: Strike) -> bool | None:
    return _touch(strike, "history")


def nested(strike: Strike) -> bool | None:
    """A line of somebody's object: below that object, or below the attacker's own."""
    victims, mine = strike.victims(3), strike.own()
    if not victims or mine is None:
        return None
    won = False
    for victim in victims:
        below = mine if strike.world.traits["lines"] == "global" else victim
        won |= strike.got(strike.hit("line", which=0, item=below, line=victim.lines[0]["id"])) > 0
    return won


def unseen(strike: Strike) -> bool | None:
    """An operation that nobody ever called, on somebody's object."""
    return _touch(strike, "documents")


def batch(strike: Strike) -> bool | None:
    """Somebody's objects among one's own, in one call."""
    victims, mine = strike.victims(4), strike.own()
    if not victims or mine is None:
        return None
    ids = [strike.world.asked(item) for item in (mine, *victims)]
    return strike.got(strike.hit("batch", which=0, ids=ids)) > 0


def alias(strike: Strike) -> bool | None:
    """Many objects in one GraphQL call, each under an alias."""
    victims = strike.victims(6)
    if strike.world.style != "graphql" or not victims:
        return None
    return strike.got(strike.send(aliases(strike.world, 0, [strike.world.asked(item) for item in victims]))) > 0


def listed(strike: Strike) -> bool | None:
    """A list filtered by somebody else."""
    victims = strike.victims(2)
    if not victims or strike.world.evidence in ("nowhere", "tenant"):
        return None
    won = False
    for victim in victims:
        owner = strike.world.users[victim.owner]
        won |= strike.got(strike.hit("list", which=0, owner=strike.world.owner_value(owner))) > 0
    return won


def cross_tenant(strike: Strike) -> bool | None:
    """An object of another tenant, from a caller of a tenant that shares its own."""
    world, user = strike.world, strike.user
    if not world.tenants:
        return None
    victims = [i for i in world.foreign(user, world.kind(0)) if i.tenant != user.tenant][:3]
    return sum(strike.got(strike.hit("get", which=0, item=victim)) > 0 for victim in victims) > 0 if victims else None


def former(strike: Strike) -> bool | None:
    """Goes on reading, and changing, what was handed over a month ago."""
    world, user = strike.world, strike.user
    if not world.traits["handover"]:
        return None
    item = strike.own()
    others = [other for other in world.members() if other is not user and other.tenant != user.tenant]
    if item is None or not others:
        return None
    new = strike.rng.choice(others)
    strike.honest("reassign", which=0, item=item, given={"to": new.email})
    if item.owner != new.name:
        return None
    strike.rig.time += 86_400.0
    for op in ("list", "get"):
        strike.rig.call(new, strike.rig.ask(new, op, which=0, **({"item": item} if op == "get" else {})))
    strike.rig.time += 30 * 86_400.0
    return sum(strike.got(strike.hit(op, which=0, item=item)) > 0 for op in ("get", "history", "get")) > 0


def claim_mismatch(strike: Strike) -> bool | None:
    """Makes an object in somebody else's name."""
    world = strike.world
    if world.evidence != "claim" or world.style != "rest":
        return None
    victim = strike.rng.choice([user for user in world.members() if user is not strike.user])
    given = {
        "quantity": 1,
        "price": 5.0,
        "total": 5.0,
        "currency": "EUR",
        "note": "",
        world.owner_field: world.owner_value(victim),
    }
    return strike.hit("create", which=0, given=given).done


# -- counting through ---------------------------------------------------------------------------------------------


def _numbers(strike: Strike, count: int) -> list[str]:
    """Consecutive ids around those that exist."""
    world = strike.world
    known = sorted(int(item.id.rpartition(":")[2]) for item in world.items.values() if item.kind == world.kind(0))
    start = known[len(known) // 3]
    if world.ids == "composite":  # which tenant a number is of must be guessed too
        return [f"t{tenant}:{start + n}" for n in range(count) for tenant in range(5)]
    return [str(start + n) for n in range(count)]


def _guess(strike: Strike, number: str) -> str:
    """A guessed id in the form in which this world's clients write ids."""
    ghost = Item(number, strike.world.kind(0), strike.user.name, "")
    return strike.world.asked(ghost)


def _enumerate(strike: Strike, count: int, gap: float) -> bool | None:
    world = strike.world
    if world.ids not in ("integer", "composite") or world.relation == "url":
        return None
    return sum(strike.got(strike.hit("get", which=0, id=_guess(strike, n), gap=gap)) for n in _numbers(strike, count)) > ENOUGH


def enumerate_fast(strike: Strike) -> bool | None:
    return _enumerate(strike, 60, 0.1)


def enumerate_slow(strike: Strike) -> bool | None:
    """One a minute."""
    return _enumerate(strike, 60, 60.0)


def enumerate_addresses(strike: Strike) -> bool | None:
    """One token, each call from another address."""
    world = strike.world
    if world.ids not in ("integer", "composite") or world.relation == "url":
        return None
    got = 0
    for at, number in enumerate(_numbers(strike, 60)):
        made = strike.rig.ask(strike.user, "get", which=0, id=_guess(strike, number))
        got += strike.got(strike.send(made, gap=3.0, address=f"45.{at % 250}.{at // 250}.9"))
    return got > ENOUGH


def enumerate_tokens(strike: Strike) -> bool | None:
    """Many fresh accounts, five ids each, one address."""
    world = strike.world
    if world.ids not in ("integer", "composite") or world.relation == "url":
        return None
    numbers, got = _numbers(strike, 60), 0
    for at in range(0, len(numbers), 5):
        puppet = world.join()
        for number in numbers[at : at + 5]:
            made = strike.rig.ask(puppet, "get", which=0, id=_guess(strike, number))
            got += strike.got(strike.send(made, by=puppet, gap=0.5, address="45.9.9.9"), puppet)
    return got > ENOUGH


def people_scraped(strike: Strike) -> bool | None:
    """The directory, number by number: each entry is anybody's to see, all of them are not."""
    world = strike.world
    if not world.traits["people"]:
        return None
    first = min(user.internal for user in world.users.values())
    got = sum(strike.hit("profile", id=first + n, gap=0.3).done for n in range(80))
    return got > 2 * ENOUGH


def people_scraped_slowly(strike: Strike) -> bool | None:
    world = strike.world
    if not world.traits["people"]:
        return None
    first = min(user.internal for user in world.users.values())
    got = sum(strike.hit("profile", id=first + n, gap=60.0).done for n in range(100))
    return got > 2 * ENOUGH


def codes_guessed(strike: Strike) -> bool | None:
    """Codes of gift cards at random: nearly all fail."""
    if not strike.world.traits["giftcards"]:
        return None
    rng, real = strike.rng, strike.rng.sample(sorted(strike.world.giftcards), 4)
    order = [f"GC-{rng.randrange(10**9):09d}" for _ in range(60)]
    for code in real:
        order.insert(rng.randrange(2 * ENOUGH, len(order)), code)
    return sum(strike.hit("giftcard", code=code, gap=0.4).done for code in order) > 0


def page_size(strike: Strike) -> bool | None:
    """A page size that nobody uses, again and again."""
    return sum(strike.hit("catalogue", offset=0, limit=100_000, gap=0.1).done for _ in range(30)) > ENOUGH


def list_size(strike: Strike) -> bool | None:
    """A whole tenant's objects in one page."""
    world = strike.world
    if world.evidence not in ("tenant", "nowhere") or not world.tenants:
        return None
    return sum(strike.hit("list", which=0, page=1, size=5_000, gap=0.5).done for _ in range(5)) > 2


def pages_harvested(strike: Strike) -> bool | None:
    """The whole catalogue, page by page, over and over."""
    got = 0
    for _ in range(4):
        got += sum(strike.hit("catalogue", offset=at, limit=10, gap=0.15).done for at in range(0, 240, 10))
    return got > 60


def alias_batching(strike: Strike) -> bool | None:
    """One's own object three hundred times in one GraphQL call."""
    mine = strike.own()
    if strike.world.style != "graphql" or mine is None:
        return None
    made = aliases(strike.world, 0, [strike.world.asked(mine)] * 300)
    return sum(strike.send(made).done for _ in range(3)) > 0


def header_override(strike: Strike) -> bool | None:
    """A GET that a header turns into DELETE, on somebody's object."""
    world, victims = strike.world, strike.victims(3)
    if world.style != "rest" or world.place != "path" or not victims:
        return None
    won = False
    for victim in victims:
        made = strike.rig.ask(strike.user, "get", which=0, item=victim)
        made = Ask("delete", made.args, "POST", made.path, None, {"x-http-method-override": "DELETE"})
        won |= strike.got(strike.send(replace(made, body={}))) > 0
    return won


OBJECTS: tuple[Flow, ...] = (
    Flow("API1 read", read, 3), Flow("API1 read, second kind", read_side, 3), Flow("API1 read, own name in path", read_own_path, 3),
    Flow("API1 change", change, 3), Flow("API1 delete", delete, 3), Flow("API1 step", step, 3), Flow("API1 child", child, 3),
    Flow("API1 nested", nested, 3), Flow("API1 unseen operation", unseen, 3), Flow("API1 batch", batch, 1), Flow("API1 GraphQL alias", alias, 1),
    Flow("API1 list of another", listed, 2), Flow("API1 cross-tenant", cross_tenant, 3), Flow("API1 former owner", former, 3),
    Flow("API1 claim mismatch", claim_mismatch, 1), Flow("API1 method override", header_override, 3),
    Flow("API1 enumeration, fast", enumerate_fast, 10), Flow("API1 enumeration, slow", enumerate_slow, 10),
    Flow("API1 enumeration, many addresses", enumerate_addresses, 10), Flow("API1 enumeration, many tokens", enumerate_tokens, 10),
    Flow("API1 enumeration, directory", people_scraped), Flow("API1 enumeration, directory slowly", people_scraped_slowly),
    Flow("API1 enumeration, codes", codes_guessed, 10),
    Flow("API4 page size", page_size), Flow("API4 list size", list_size), Flow("API4 harvesting by pages", pages_harvested),
    Flow("API4 GraphQL batching", alias_batching),
)  # fmt: skip
