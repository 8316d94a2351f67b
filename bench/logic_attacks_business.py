"""Attack flows on functions (API5), properties (API3) and the business itself (API6)."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from bench.logic_clients import Ask
from bench.logic_strike import Flow, Strike

FAIR = 2
"""Times that a one-time step may happen before it is abuse: the second may be a double click, which a service must bear."""


def _function(strike: Strike, *ops: str) -> bool:
    more: dict[str, dict[str, Any]] = {
        "admin_role": {"given": {"email": strike.user.email, "role": "admin"}},
        "admin_export": {},
    }
    return sum("admin" in strike.hit(op, **more.get(op, {})).touched for op in ops) > 0


def function_users(strike: Strike) -> bool | None:
    return _function(strike, "admin_users")


def function_export(strike: Strike) -> bool | None:
    return _function(strike, "admin_export")


def function_role(strike: Strike) -> bool | None:
    """Gives itself a role by the administrators' function."""
    return _function(strike, "admin_role")


def function_approve(strike: Strike) -> bool | None:
    """Approves its own object, which managers do."""
    mine = strike.own()
    if not strike.world.traits["managers"] or mine is None:
        return None
    return "admin" in strike.hit("approve", which=0, item=mine).touched


def function_ship(strike: Strike) -> bool | None:
    """Calls what service accounts alone call."""
    mine = strike.own()
    return None if mine is None else strike.hit("ship", which=0, item=mine).done


def function_staff(strike: Strike) -> bool | None:
    """Support calls what is administrators'."""
    staff = [user for user in strike.world.users.values() if user.role == "support"]
    strike.user = strike.rng.choice(staff)
    return _function(strike, "admin_role", "admin_export")


def function_method(strike: Strike) -> bool | None:
    """A method that the administrators' path was never called with."""
    if strike.world.style != "rest":
        return None
    made = strike.rig.ask(strike.user, "admin_users")
    made = Ask("admin_role", {"given": {"email": strike.user.email, "role": "admin"}}, "PUT", made.path, {"role": "admin"})
    return "admin" in strike.send(made).touched


def function_override(strike: Strike) -> bool | None:
    """POSTs to a path of its own, and a header says which method and path are meant."""
    if strike.world.style != "rest":
        return None
    target = strike.rig.ask(strike.user, "admin_users")
    me = strike.rig.ask(strike.user, "me")
    one = Ask("admin_users", {}, "GET", me.path, None, {"x-original-url": target.path, "x-rewrite-url": target.path})
    two = Ask("admin_users", {}, "POST", target.path, {}, {"x-http-method-override": "GET"})
    return sum("admin" in strike.send(made).touched for made in (one, two)) > 0


def function_verb(strike: Strike) -> bool | None:
    """Verbs of no standard, where GET is refused: many frameworks take them for GET."""
    if strike.world.style != "rest":
        return None
    made = strike.rig.ask(strike.user, "admin_users")
    return sum("admin" in strike.send(replace(made, method=method)).touched for method in ("JEFF", "ARBITRARY")) > 0


def function_scope(strike: Strike) -> bool | None:
    """A token that may read, writes."""
    world = strike.world
    readers = [user for user in world.members() if user.scope and "write" not in user.scope]
    if not readers:
        return None
    strike.user = strike.rng.choice(readers)
    given = {"quantity": 1, "price": 10.0, "total": 10.0, "currency": "EUR", "note": ""}
    return strike.hit("create", which=0, given=given).done


# -- properties ---------------------------------------------------------------------------------------------------


def role_flat(strike: Strike) -> bool | None:
    return _profile(strike, {"phone": "+49 30 12345", "role": "admin"}, "role")


def role_nested(strike: Strike) -> bool | None:
    return _profile(strike, {"preferences": {"language": "de", "role": "admin"}}, "role")


def credit(strike: Strike) -> bool | None:
    return _profile(strike, {"phone": "+49 30 12345", "credit": 9_999}, "credit")


def _profile(strike: Strike, given: dict[str, Any], name: str) -> bool | None:
    before = getattr(strike.user, name)
    strike.hit("update_me", given=given)
    won: bool = getattr(strike.user, name) != before
    setattr(strike.user, name, before)
    return won


def state_by_hand(strike: Strike) -> bool | None:
    """Creates an object that is paid already."""
    return _create(strike, quantity=1, price=10.0, total=10.0, state="paid")


def owner_by_hand(strike: Strike) -> bool | None:
    """Gives its own object to somebody else, by the property that answers show."""
    world, mine = strike.world, strike.own()
    if mine is None or world.evidence not in ("field", "internal", "email"):
        return None
    victim = strike.rng.choice([user for user in world.members() if user is not strike.user])
    given = {"quantity": 1, "price": 10.0, "total": 10.0, world.key(world.owner_field): world.owner_value(victim)}
    return strike.hit("update", which=0, item=mine, given=given).done


def discount_in_array(strike: Strike) -> bool | None:
    """A property inside the entries of a list that no client sends there."""
    lines = [{"product_id": 3, "quantity": 1, "discount": 100}, {"product_id": 4, "quantity": 2, "unit_price": 0.01}]
    return _create(strike, quantity=1, price=10.0, total=10.0, lines=lines)


def _create(strike: Strike, **given: Any) -> bool:
    lines = [{"product_id": 3, "quantity": 1}]
    return strike.hit("create", which=0, given={"currency": "EUR", "note": "please", "lines": lines, **given}).done


def _exposed(strike: Strike, *names: str) -> bool | None:
    """After a bad release answers carry more than they ought to; whether the callers get it."""
    world, mine = strike.world, strike.own()
    if mine is None or world.style == "graphql":
        return None
    world.leaking = frozenset(names)
    try:
        outcomes = [strike.hit("get", which=0, item=mine) for _ in range(3)]
    finally:
        world.leaking = frozenset()
    return any(
        world.key(names[0]) in outcome.body.decode() and not _masked(outcome.body, world.key(names[0])) for outcome in outcomes
    )


def _masked(body: bytes, name: str) -> bool:
    return f'"{name}": "***' in body.decode() or f'"{name}":"***' in body.decode()


def exposure_secret(strike: Strike) -> bool | None:
    """A card and a national id in every answer."""
    return _exposed(strike, "card_number", "national_id")


def exposure_field(strike: Strike) -> bool | None:
    """A property of no class of sensitive data, that no caller ever got: told, since every release adds properties."""
    return _exposed(strike, "internal_margin")


# -- flows --------------------------------------------------------------------------------------------------------


def skipped_step(strike: Strike) -> bool | None:
    """Pays without confirming."""
    mine = strike.own()
    return None if mine is None else strike.hit("pay", which=0, item=mine).done


def refund_unpaid(strike: Strike) -> bool | None:
    """Money back for what was never paid."""
    mine = strike.own()
    return None if mine is None else strike.hit("refund", which=0, item=mine).done


def repeated_step(strike: Strike) -> bool | None:
    """One refund after another."""
    return _repeat(strike, "refund", gap=3.0)


def racing_step(strike: Strike) -> bool | None:
    """The same refund ten times within milliseconds."""
    return _repeat(strike, "refund", gap=0.004)


def _repeat(strike: Strike, op: str, gap: float) -> bool | None:
    mine = strike.own()
    if mine is None:
        return None
    for before in ("confirm", "pay"):
        strike.honest(before, which=0, item=mine)
    return sum(strike.hit(op, which=0, item=mine, gap=gap, racing=True).done for _ in range(10)) > FAIR


def coupon_repeated(strike: Strike) -> bool | None:
    """One code on one object again and again, within milliseconds."""
    mine = strike.own()
    if mine is None:
        return None
    strike.honest("confirm", which=0, item=mine)
    return sum(strike.hit("coupon", which=0, item=mine, given={"code": "WELCOME10"}, gap=0.004).done for _ in range(10)) > FAIR


def coupon_everywhere(strike: Strike) -> bool | None:
    """One code, which is for once per person, on one object after another."""
    won = 0
    for _ in range(6):
        mine = strike.own()
        if mine is None:
            return None
        strike.honest("confirm", which=0, item=mine)
        won += strike.hit("coupon", which=0, item=mine, given={"code": "WELCOME10"}).done
    return won > FAIR


def cart_unpaid(strike: Strike) -> bool | None:
    """The session's cart is placed without being paid."""
    if not strike.world.traits["cart"]:
        return None
    strike.honest("cart_add", given={"product_id": 5, "quantity": 1})
    strike.honest("cart_checkout", given={"delivery": "post"})
    return strike.hit("cart_place", given={"terms": True}).done


def cart_jump(strike: Strike) -> bool | None:
    """Placed straight from the first article."""
    if not strike.world.traits["cart"]:
        return None
    strike.honest("cart_add", given={"product_id": 5, "quantity": 1})
    return strike.hit("cart_place", given={"terms": True}).done


def cart_coupons(strike: Strike) -> bool | None:
    if not strike.world.traits["cart"]:
        return None
    won = 0
    for _ in range(6):
        strike.honest("cart_add", given={"product_id": 5, "quantity": 1})
        won += strike.hit("cart_coupon", given={"code": "SPRING"}).done
        for op, given in (
            ("cart_checkout", {"delivery": "post"}),
            ("cart_pay", {"method": "card"}),
            ("cart_place", {"terms": True}),
        ):
            strike.honest(op, given=given)
    return won > FAIR


def transfer_without_code(strike: Strike) -> bool | None:
    """Sends money without the one-time code."""
    if not strike.world.traits["transfers"]:
        return None
    strike.honest("me")
    given = {"to": strike.rng.choice(strike.world.members()).phone, "amount": 420.0, "currency": "EUR"}
    return strike.hit("transfer", given=given).done


def transfers_on_one_code(strike: Strike) -> bool | None:
    """One code, ten transfers at the same moment."""
    world = strike.world
    if not world.traits["transfers"]:
        return None
    strike.honest("otp_send", given={})
    strike.honest("otp_verify", given={"code": world.codes.get(strike.user.name, "0000")})
    given = {"to": strike.rng.choice(world.members()).phone, "amount": 420.0, "currency": "EUR"}
    return sum(strike.hit("transfer", given=given, gap=0.004).done for _ in range(10)) > FAIR


def negative(strike: Strike) -> bool | None:
    return _create(strike, quantity=-20, price=25.0, total=-500.0)


def huge(strike: Strike) -> bool | None:
    return _create(strike, quantity=2_000_000_000, price=25.0, total=50_000_000_000.0)


def zero(strike: Strike) -> bool | None:
    """Something for nothing."""
    return _create(strike, quantity=1, price=0.0, total=0.0)


def wrong_total(strike: Strike) -> bool | None:
    """Three of something dear, at the total of something cheap: each number is ordinary, together they are not."""
    return _create(strike, quantity=3, price=250.0, total=7.5)


def other_currency(strike: Strike) -> bool | None:
    """The number of the price, in money that is worth a thousandth."""
    return _create(strike, quantity=1, price=250.0, total=250.0, currency="VND")


def scalper(strike: Strike) -> bool | None:
    """A bot buys what is for people: at a machine's pace, all evenly."""
    if not strike.world.traits["cart"]:
        return None
    won = 0
    for _ in range(25):
        for op, given in (
            ("cart_add", {"product_id": 7, "quantity": 1}), ("cart_checkout", {"delivery": "post"}),
            ("cart_pay", {"method": "card"}), ("cart_place", {"terms": True}),
        ):  # fmt: skip
            done = strike.hit(op, given=given, gap=0.05).done
        won += done
    return won > ENOUGH_PURCHASES


ENOUGH_PURCHASES = 8
"""Purchases within seconds after which a scalper has won."""


def first_privilege(strike: Strike) -> bool | None:
    """Support has always been able to change and delete objects, and never did: now somebody does, with a stolen token."""
    world = strike.world
    strike.user = strike.rng.choice([user for user in world.users.values() if user.role == "support"])
    pool = [item for item in world.items.values() if item.kind == world.kind(0) and item.state != "deleted"]
    won = False
    for item in strike.rng.sample(pool, min(3, len(pool))):
        wanted: tuple[tuple[str, dict[str, Any]], ...] = (("reassign", {"given": {"to": "nobody@mail.example"}}), ("delete", {}))
        for op, more in wanted:
            won |= strike.hit(op, which=0, item=item, address="45.66.6.6", agent="curl/8.9", **more).done
    return won


BUSINESS: tuple[Flow, ...] = (
    Flow("API5 function of administrators", function_users, 3), Flow("API5 export", function_export, 3), Flow("API5 role given", function_role, 3),
    Flow("API5 function of managers", function_approve, 3), Flow("API5 function of services", function_ship, 3),
    Flow("API5 support as administrator", function_staff, 3), Flow("API5 method", function_method, 3),
    Flow("API5 override header", function_override, 3), Flow("API5 hidden verb", function_verb, 3), Flow("API5 scope", function_scope, 3),
    Flow("API5 privilege first used", first_privilege, 3),
    Flow("API3 role", role_flat, 1), Flow("API3 role, nested", role_nested, 1), Flow("API3 credit", credit, 1),
    Flow("API3 state", state_by_hand, 1), Flow("API3 owner", owner_by_hand, 1), Flow("API3 in an array", discount_in_array, 1),
    Flow("API3 exposure of data", exposure_secret, 1),
    Flow("API3 exposure of a field", exposure_field, tell=("expos", "excess", "field", "schema")),
    Flow("API6 skipped step", skipped_step, 1), Flow("API6 refund unpaid", refund_unpaid, 1), Flow("API6 repeated step", repeated_step, 3),
    Flow("API6 racing", racing_step, 3), Flow("API6 coupon repeated", coupon_repeated, 3), Flow("API6 coupon everywhere", coupon_everywhere, 3),
    Flow("API6 cart unpaid", cart_unpaid, 1), Flow("API6 cart jumped", cart_jump, 1), Flow("API6 cart coupons", cart_coupons, 3),
    Flow("API6 transfer without code", transfer_without_code, 1), Flow("API6 transfers on one code", transfers_on_one_code, 3),
    Flow("API6 negative", negative, 1), Flow("API6 huge", huge, 1), Flow("API6 zero", zero, 1), Flow("API6 wrong total", wrong_total, 1),
    Flow("API6 other currency", other_currency, 1), Flow("API6 scalper", scalper),
)  # fmt: skip
