"""What the services of the worlds do: everything that is asked, for anybody with a token. The holes are the point."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from bench.logic_worlds import Item, User, World

Args = dict[str, Any]


class Result(Struct, frozen=True):
    """What the service answers, and the ground truth of it."""

    status: int
    body: Any
    touched: tuple[str, ...] = ()
    """Ids of private objects that the answer holds or the call changed; `admin`: what administrators alone may have."""
    changed: bool = False
    """Something is no longer as it was, whatever becomes of the answer."""


MISSING = Result(404, {"error": "not found"})
Action = Callable[[World, User, Args], Result]
LIMIT = 200
"""Entries that one page gives at most."""


def perform(world: World, caller: User, op: str, args: Args) -> Result:
    """Carry out an operation. `args`: `which` (0 or 1: of which private kind), `id`, and what the operation takes."""
    return _ACTIONS[op](world, caller, args)


# -- oneself ------------------------------------------------------------------------------------------------------


def _me(world: World, caller: User, args: Args) -> Result:
    shown = {"id": caller.internal, "name": caller.name, "email": caller.email, "role": caller.role, "phone": caller.phone}
    shown |= {"verified": caller.verified, "credit": caller.credit, "preferences": {"language": caller.language, "news": False}}
    return Result(200, shown | ({world.key("tenant_id"): caller.tenant} if world.tenants else {}))


def _update_me(world: World, caller: User, args: Args) -> Result:
    # Hole: whatever is sent is set, however deep it stands.
    given = dict(args["given"])
    given |= given.pop("preferences", None) or {}
    caller.phone, caller.language = str(given.get("phone", caller.phone)), str(given.get("language", caller.language))
    caller.role, caller.credit = str(given.get("role", caller.role)), float(given.get("credit", caller.credit))
    caller.verified = bool(given.get("verified", caller.verified))
    return Result(200, _me(world, caller, args).body, changed=True)


def _profile(world: World, caller: User, args: Args) -> Result:
    """The directory: who a number is. Public to whoever is signed in."""
    for user in world.users.values():
        if str(user.internal) == str(args["id"]):
            return Result(200, {"id": user.internal, "name": user.name, "about": "hello"}, (f"person:{user.name}",))
    return MISSING


# -- objects ------------------------------------------------------------------------------------------------------


def _item(world: World, args: Args) -> Item | None:
    item = world.found(world.kind(args.get("which", 0)), args.get("id"))
    return None if item is None or item.state == "deleted" else item


def _list(world: World, caller: User, args: Args) -> Result:
    kind, owner = world.kind(args["which"]), args.get("owner")
    size, page = min(LIMIT, int(args.get("size", 10))), int(args.get("page", 1))
    if owner is not None:
        # Hole: whoever's objects are asked for.
        found = [i for i in world.items.values() if i.kind == kind and str(world.owner_value(world.users[i.owner])) == str(owner)]
    else:
        found = world.seen_by(caller, kind)
    found = [item for item in reversed(found) if item.state != "deleted"][(page - 1) * size : page * size]
    touched = tuple(item.id for item in found)
    return Result(200, {"page": page, "items": [world.view(item, whole=False) for item in found]}, touched)


def _get(world: World, caller: User, args: Args) -> Result:
    item = _item(world, args)
    return MISSING if item is None else Result(200, world.view(item), (item.id,))


def _guarded_get(world: World, caller: User, args: Args) -> Result:
    """The same in a version that does check."""
    item = _item(world, args)
    if item is not None and not world.may(caller, item):
        return Result(403, {"error": "not yours"})
    return _get(world, caller, args)


def _batch(world: World, caller: User, args: Args) -> Result:
    kind = world.kind(args["which"])
    found = [item for i in args["ids"] if (item := world.found(kind, i)) is not None and item.state != "deleted"]
    return Result(200, {"items": [world.view(item, whole=False) for item in found]}, tuple(item.id for item in found))


def _create(world: World, caller: User, args: Args) -> Result:
    item = world.make(world.kind(args["which"]), caller, args["given"])
    return Result(201, world.view(item), (item.id,), changed=True)


def _update(world: World, caller: User, args: Args) -> Result:
    item, given = _item(world, args), args["given"]
    if item is None:
        return MISSING
    item.quantity, item.price = int(given.get("quantity", item.quantity)), float(given.get("price", item.price))
    item.total, item.state = float(given.get("total", item.total)), str(given.get("state", item.state))
    item.note = str(given.get("note", item.note))
    for user in world.users.values():
        if world.owner_field in given and str(world.owner_value(user)) == str(given[world.owner_field]):
            item.owner = user.name
    return Result(200, world.view(item), (item.id,), changed=True)


def _delete(world: World, caller: User, args: Args) -> Result:
    item = _item(world, args)
    if item is None:
        return MISSING
    item.state = "deleted"
    return Result(204, None, (item.id,), changed=True)


def _step(name: str, state: str) -> Action:
    """A step in the life of an object. Hole: any step from any state, as often as asked within a moment."""

    def act(world: World, caller: User, args: Args) -> Result:
        item = _item(world, args)
        if item is None:
            return MISSING
        if name in item.history and not args.get("racing"):
            return Result(409, {"error": f"{name} was done"})
        item.history += (name,)
        item.state = state
        return Result(200, world.view(item), (item.id,), changed=True)

    return act


def _coupon(world: World, caller: User, args: Args) -> Result:
    # Hole: a code is redeemed as often as it is sent, and on every object.
    item = _item(world, args)
    if item is None:
        return MISSING
    code = str(args["given"]["code"])
    caller.coupons.append(code)
    item.total = round(item.total * 0.9, 2)
    return Result(200, world.view(item), (item.id,), changed=True)


def _share(world: World, caller: User, args: Args) -> Result:
    item = _item(world, args)
    if item is None:
        return MISSING
    whom = str(args["given"].get("with", ""))
    item.shared += (whom,)
    return Result(200, world.view(item), (item.id,), changed=True)


def _reassign(world: World, caller: User, args: Args) -> Result:
    item, to = _item(world, args), args["given"]["to"]
    if item is None:
        return MISSING
    new = next((user for user in world.users.values() if user.email == to), None)
    if new is None:
        return Result(422, {"error": "nobody has this address"})
    item.former += (item.owner,)
    item.owner, item.tenant = new.name, new.tenant
    return Result(200, world.view(item), (item.id,), changed=True)


def _link(world: World, caller: User, args: Args) -> Result:
    item = _item(world, args)
    if item is None:
        return MISSING
    item.link = item.link or f"{world.rng.getrandbits(96):024x}"
    return Result(200, {"link": f"https://world.example/s/{item.link}"}, (item.id,), changed=True)


def _by_link(world: World, caller: User, args: Args) -> Result:
    for item in world.items.values():
        if item.link and item.link == args["link"]:
            return Result(200, world.view(item))
    return MISSING


def _history(world: World, caller: User, args: Args) -> Result:
    item = _item(world, args)
    if item is None:
        return MISSING
    events = [{"at": "2026-03-01T12:00:00Z", "what": what} for what in ("open", *item.history)]
    return Result(200, {"events": events}, (item.id,))


def _lines(world: World, caller: User, args: Args) -> Result:
    item = _item(world, args)
    return MISSING if item is None else Result(200, {"lines": list(item.lines)}, (item.id,))


def _line(world: World, caller: User, args: Args) -> Result:
    item = _item(world, args)
    if item is None:
        return MISSING
    number = str(args["line"])
    if world.traits["lines"] == "global":
        # Hole: a line is found by its own number, whatever order the path names.
        everywhere = (i for i in world.items.values() if i.kind == item.kind)
        item = next((i for i in everywhere if any(str(line["id"]) == number for line in i.lines)), None)
    if item is None:
        return MISSING
    line = next((line for line in item.lines if str(line["id"]) == number), None)
    return MISSING if line is None else Result(200, line, (item.id,))


# -- what everybody sees ------------------------------------------------------------------------------------------


def _catalogue(world: World, caller: User, args: Args) -> Result:
    start, size = int(args.get("offset", 0)), min(LIMIT, int(args.get("limit", 10)))
    return Result(200, {"items": world.catalogue[start : start + size], "count": len(world.catalogue)})


def _product(world: World, caller: User, args: Args) -> Result:
    number = int(args["id"])
    return Result(200, world.catalogue[number - 1]) if 0 < number <= len(world.catalogue) else MISSING


def _giftcard(world: World, caller: User, args: Args) -> Result:
    value = world.giftcards.get(str(args["code"]))
    return MISSING if value is None else Result(200, {"balance": value, "currency": "EUR"}, ("giftcard",))


# -- the cart of the session --------------------------------------------------------------------------------------


def _cart_view(caller: User, **more: Any) -> dict[str, Any]:
    return {"lines": [{"product_id": p, "quantity": q} for p, q in caller.cart], "state": caller.cart_state, **more}


def _cart_add(world: World, caller: User, args: Args) -> Result:
    given = args["given"]
    if caller.cart_state in ("", "placed"):
        caller.cart, caller.cart_state = [], "open"
    caller.cart.append((int(given["product_id"]), int(given["quantity"])))
    return Result(201, _cart_view(caller), changed=True)


def _cart_step(state: str) -> Action:
    def act(world: World, caller: User, args: Args) -> Result:
        # Hole: nobody asks which step came before.
        if not caller.cart:
            return Result(409, {"error": "the cart is empty"})
        caller.cart_state = state
        if state != "placed":
            return Result(200, _cart_view(caller), changed=True)
        caller.cart = []
        return Result(201, {"state": "placed", "delivery": "2026-03-09"}, changed=True)

    return act


def _cart_coupon(world: World, caller: User, args: Args) -> Result:
    caller.coupons.append(str(args["given"]["code"]))
    return Result(200, _cart_view(caller, discount=10), changed=True)


# -- signing in ---------------------------------------------------------------------------------------------------


def _login(world: World, caller: User, args: Args) -> Result:
    # Hole: no limit on attempts.
    user = world.by_email.get(str(args["email"]))
    if user is None or user.password != args["password"]:
        unknown = world.traits["telling"] and user is None
        return Result(401, {"error": "no such account" if unknown else "wrong e-mail or password"})
    refresh = f"{world.rng.getrandbits(128):032x}"
    world.refresh[refresh] = user.name
    body = {"access_token": world.issue(user, args["now"]), "refresh_token": refresh, "expires_in": 3600}
    return Result(200, body, (f"account:{user.name}",), changed=True)


def _refresh(world: World, caller: User, args: Args) -> Result:
    name = world.refresh.pop(str(args["token"]), "")
    if not name:
        return Result(401, {"error": "unknown token"})
    fresh = f"{world.rng.getrandbits(128):032x}"
    world.refresh[fresh] = name
    return Result(200, {"access_token": world.issue(world.users[name], args["now"]), "refresh_token": fresh}, changed=True)


def _forgot(world: World, caller: User, args: Args) -> Result:
    user = world.by_email.get(str(args["email"]))
    if user is not None:
        world.resets[f"{world.rng.randrange(10**6):06d}"] = user.name
    elif world.traits["telling"]:
        return Result(404, {"error": "no such account"})
    return Result(202, {"status": "a message was sent"}, changed=True)


def _reset(world: World, caller: User, args: Args) -> Result:
    # Hole: six digits, as many attempts as one likes.
    name = world.resets.pop(str(args["code"]), "")
    if not name:
        return Result(400, {"error": "wrong code"})
    world.users[name].password = str(args["password"])
    return Result(200, {"status": "changed"}, (f"account:{name}",), changed=True)


def _otp_send(world: World, caller: User, args: Args) -> Result:
    world.codes[caller.name] = f"{world.rng.randrange(10**4):04d}"
    return Result(202, {"status": "sent"}, changed=True)


def _otp_verify(world: World, caller: User, args: Args) -> Result:
    # Hole: four digits, as many attempts as one likes.
    caller.otp = str(args["given"]["code"]) == world.codes.get(caller.name)
    return Result(200, {"status": "confirmed"}, changed=True) if caller.otp else Result(401, {"error": "wrong code"})


def _transfer(world: World, caller: User, args: Args) -> Result:
    # Hole: carried out with or without a confirmed code.
    given, caller.otp = args["given"], False
    return Result(201, {"status": "sent", "amount": given["amount"], "currency": given.get("currency", "EUR")}, changed=True)


# -- administration -----------------------------------------------------------------------------------------------


def _admin_users(world: World, caller: User, args: Args) -> Result:
    users = [{"name": user.name, "role": user.role, "email": user.email} for user in world.users.values()][:25]
    return Result(200, {"users": users}, ("admin",))


def _admin_export(world: World, caller: User, args: Args) -> Result:
    some = random.Random(len(world.items)).sample(list(world.items.values()), min(25, len(world.items)))
    return Result(200, {"rows": [world.view(item) for item in some]}, ("admin",))


def _admin_settings(world: World, caller: User, args: Args) -> Result:
    return Result(200, {"settings": {"maintenance": False, "session_minutes": 60}}, ("admin",))


def _admin_role(world: World, caller: User, args: Args) -> Result:
    user = world.by_email.get(str(args["given"]["email"]))
    return MISSING if user is None else Result(200, {"name": user.name, "role": args["given"]["role"]}, ("admin",), changed=True)


def _approve(world: World, caller: User, args: Args) -> Result:
    item = _item(world, args)
    if item is None:
        return MISSING
    item.history += ("approve",)
    return Result(200, world.view(item), ("admin", item.id), changed=True)


def _rates(world: World, caller: User, args: Args) -> Result:
    """A third party's answer."""
    return Result(200, {"base": "EUR", "rates": {"USD": 1.08, "GBP": 0.85}, "date": "2026-03-01"})


_ACTIONS: dict[str, Action] = {
    "me": _me, "update_me": _update_me, "profile": _profile,
    "list": _list, "get": _get, "batch": _batch, "create": _create, "update": _update, "delete": _delete,
    "confirm": _step("confirm", "confirmed"), "pay": _step("pay", "paid"), "refund": _step("refund", "refunded"),
    "ship": _step("ship", "shipped"), "coupon": _coupon, "share": _share, "reassign": _reassign, "link": _link, "by_link": _by_link,
    "history": _history, "lines": _lines, "line": _line, "documents": _lines, "legacy_get": _get, "guarded_get": _guarded_get, "eta": _history,
    "catalogue": _catalogue, "product": _product, "giftcard": _giftcard,
    "cart_add": _cart_add, "cart_coupon": _cart_coupon, "cart_checkout": _cart_step("checked out"), "cart_pay": _cart_step("paid"),
    "cart_place": _cart_step("placed"),
    "login": _login, "refresh": _refresh, "forgot": _forgot, "reset": _reset, "otp_send": _otp_send, "otp_verify": _otp_verify,
    "transfer": _transfer,
    "admin_users": _admin_users, "admin_export": _admin_export, "admin_settings": _admin_settings, "admin_role": _admin_role,
    "approve": _approve, "rates": _rates,
}  # fmt: skip
