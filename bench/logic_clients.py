"""How clients of the worlds write what they want: REST with ids in path, query, header or body, GraphQL, RPC, MCP tools; and how answers look."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from msgspec import Struct

from bench.logic_service import Args
from bench.logic_worlds import Item, User, World


class Ask(Struct, frozen=True):
    """A call as a client makes it, and what it means to the service."""

    op: str
    args: Args
    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = {}
    anonymous: bool = False


_READS = frozenset(
    "me profile list get batch history lines line documents eta guarded_get catalogue product giftcard admin_users admin_settings".split()
)
_OBJECT = frozenset(
    "get guarded_get update delete confirm pay refund ship coupon share reassign link history lines line documents eta approve".split()
)
_OPEN = {
    "login": "/login", "refresh": "/token/refresh", "forgot": "/password/forgot", "reset": "/password/reset", "by_link": "/s",
}  # fmt: skip
"""What is REST in all worlds, and asks for no token."""
_PLAIN = {
    "me": ("GET", "/me"), "update_me": ("PATCH", "/me"), "giftcard": ("GET", "/giftcards/{code}"), "profile": ("GET", "/people/{id}"),
    "cart_add": ("POST", "/cart/items"), "cart_coupon": ("POST", "/cart/coupon"), "cart_checkout": ("POST", "/cart/checkout"),
    "cart_pay": ("POST", "/cart/payment"), "cart_place": ("POST", "/cart/place"),
    "otp_send": ("POST", "/otp"), "otp_verify": ("POST", "/otp/verify"), "transfer": ("POST", "/transfers"),
}  # fmt: skip
_ADMIN = {
    "admin": {"admin_users": ("GET", "/admin/users"), "admin_export": ("POST", "/admin/export"),
              "admin_settings": ("GET", "/admin/settings"), "admin_role": ("POST", "/admin/roles")},
    "plain": {"admin_users": ("GET", "/members"), "admin_export": ("POST", "/exchange/outgoing"),
              "admin_settings": ("GET", "/configuration"), "admin_role": ("POST", "/members/standing")},
}  # fmt: skip
_VERBS = {"get": "", "guarded_get": "", "update": "", "delete": "", "reassign": "owner"}
_METHODS = {"get": "GET", "guarded_get": "GET", "update": "PATCH", "delete": "DELETE"} | dict.fromkeys(
    ("history", "lines", "line", "documents", "eta"), "GET"
)
_SELECTIONS = {
    "me": "{ id name email role phone }", "update_me": "{ id name role phone }", "profile": "{ id name about }",
    "catalogue": "{ items { id name price } count }", "product": "{ id name price }", "giftcard": "{ balance currency }",
    "history": "{ events { at what } }", "eta": "{ events { at what } }", "lines": "{ lines { id quantity } }",
    "documents": "{ lines { id quantity } }", "line": "{ id quantity }", "link": "{ link }", "transfer": "{ status amount }",
    "admin_users": "{ users { name role email } }", "admin_export": "{ rows { id } }", "admin_settings": "{ settings }",
    "admin_role": "{ name role }", "otp_send": "{ status }", "otp_verify": "{ status }", "cart_place": "{ state delivery }",
}  # fmt: skip


def ask(world: World, caller: User, op: str, **args: Any) -> Ask:
    """The call of an operation. `item` is written as this world writes it (`id`, in whatever form, instead: as it stands)."""
    if (item := args.pop("item", None)) is not None:
        args.setdefault("of", world.users[item.owner])
        args["id"] = _form(world, item, op)
    of: User = args.pop("of", caller)
    if op == "get" and args.get("which") == 1 and world.traits["legacy"]:
        op = "guarded_get"
    if op in _OPEN:
        return _open(world, op, args)
    if op == "legacy_get":
        return Ask(op, args, "GET", f"/v1/{_kinds(world, args)[1]}/{quote(str(args['id']), safe='')}")
    return {"graphql": _graphql, "rpc": _rpc, "mcp": _mcp}.get(world.style, _rest)(world, caller, of, op, args)


def _form(world: World, item: Item, op: str) -> str:
    """Of GraphQL's two ways to name an object, some operations take the other one."""
    return item.id if world.relation in ("gid", "base64") and op in ("history", "lines") else world.asked(item)


def _kinds(world: World, args: Args) -> tuple[str, str]:
    return (world.main, world.side)[args.get("which", 0)]


def _json_id(world: World, written: object) -> Any:
    text = str(written)
    return int(text) if world.ids == "integer" and world.style != "graphql" and text.isdecimal() and len(text) < 18 else text


def _open(world: World, op: str, args: Args) -> Ask:
    if op == "by_link":
        return Ask(op, args, "GET", f"/s/{args['link']}", anonymous=True)
    body = {name: value for name, value in args.items() if name != "now"}
    return Ask(op, args, "POST", f"{world.prefix}{_OPEN[op]}", body, anonymous=True)


# -- REST ---------------------------------------------------------------------------------------------------------


def _base(world: World, of: User) -> str:
    if world.evidence == "path":
        return f"{world.prefix}/users/{quote(str(world.owner_value(of)), safe='')}"
    return f"{world.prefix}/tenants/{of.tenant}" if world.evidence == "tenant" and world.seed % 2 and of.tenant else world.prefix


def _rest(world: World, caller: User, of: User, op: str, args: Args) -> Ask:
    prefix = world.prefix
    if op in _PLAIN or op in _ADMIN["admin"]:
        method, path = _PLAIN.get(op) or _ADMIN[world.traits["admin"]][op]
        path = prefix + path.format(**{name: quote(str(value), safe="") for name, value in args.items()})
        return Ask(op, args, method, path, args.get("given") or ({} if method == "POST" else None))
    if op == "catalogue":
        return Ask(op, args, "GET", f"{prefix}/{world.public}?{urlencode(args)}")
    if op == "product":
        return Ask(op, args, "GET", f"{prefix}/{world.public}/{args['id']}")
    if op == "rates":
        return Ask(op, args, "GET", "/latest?base=EUR")
    kind, plural = _kinds(world, args)
    place = f"{_base(world, of)}/{plural}"
    given = dict(args.get("given") or {})
    if world.evidence == "claim" and op in ("create", "update"):
        given.setdefault(world.owner_field, world.owner_value(of))
        args["given"] = given
    if op == "list":
        asked: dict[str, Any] = {name: args[name] for name in ("page", "size") if name in args}
        if world.evidence == "claim" or "owner" in args:
            asked[world.owner_field] = args.setdefault("owner", world.owner_value(of))
        return Ask(op, args, "GET", place + ("?" + urlencode(asked) if asked else ""))
    if op == "batch":
        ids = [_json_id(world, one) for one in args["ids"]]
        if world.seed % 2:
            return Ask(op, args, "POST", f"{prefix}/batch", [{"op": f"get_{kind}", world.key(f"{kind}_id"): one} for one in ids])
        return Ask(op, args, "POST", f"{place}/batch", {"ids": ids})
    if op == "create":
        return Ask(op, args, "POST", place, given)
    return _rest_object(world, kind, place, op, args, given)


def _rest_object(world: World, kind: str, place: str, op: str, args: Args, given: dict[str, Any]) -> Ask:
    written, name = str(args["id"]), world.key(f"{kind}_id")
    verb = _VERBS.get(op, op)
    method = _METHODS.get(op, "POST")
    if op == "line":
        verb = f"lines/{quote(str(args['line']), safe='')}"
    tail = f"/{verb}" if verb else ""
    if world.place == "query":
        path = f"{place}{tail or '/detail'}?{urlencode({name: written})}"
        return Ask(op, args, method, path, given or None)
    if world.place == "body":
        return Ask(op, args, "POST", f"{place}{tail or '/' + op}", {name: _json_id(world, written), **given})
    if world.place == "header":
        return Ask(op, args, method, f"{place}/current{tail}", given or None, {f"x-{kind}-id": written})
    return Ask(op, args, method, f"{place}/{quote(written, safe=':')}{tail}", given or None)


# -- the others ---------------------------------------------------------------------------------------------------


def _named(world: World, op: str, args: Args) -> str:
    """`get_order`, `list_orders`, `order_history`, `add_to_cart`."""
    kind, plural = _kinds(world, args)
    if op in ("list", "batch"):
        return f"{op}_{plural}"
    if op in ("history", "lines", "line", "documents", "eta"):
        return f"{kind}_{op}"
    if op in _OBJECT or op == "create":
        return f"{op.removeprefix('guarded_')}_{kind}"
    return {"cart_add": "add_to_cart", "catalogue": f"search_{world.public}", "product": f"get_{world.public[:-1]}"}.get(
        op, op if world.traits["admin"] == "admin" else op.replace("admin_", "fetch_")
    )


def _arguments(world: World, caller: User, of: User, op: str, args: Args) -> dict[str, Any]:
    """What an operation takes, besides `given`."""
    kind, _ = _kinds(world, args)
    found: dict[str, Any] = {}
    if op in _OBJECT:
        found[world.key(f"{kind}_id")] = _json_id(world, args["id"])
    elif op == "batch":
        found["ids"] = [_json_id(world, one) for one in args["ids"]]
    elif op in ("profile", "product"):
        found["id"] = args["id"]
    if op == "list" and (world.evidence == "claim" or "owner" in args):
        found[world.key(world.owner_field)] = args.setdefault("owner", world.owner_value(of))
    for name in ("line", "page", "size", "offset", "limit", "code"):
        if name in args:
            found["lineId" if name == "line" else name] = args[name]
    return found


def _graphql(world: World, caller: User, of: User, op: str, args: Args) -> Ask:
    variables = _arguments(world, caller, of, op, args)
    kind, plural = _kinds(world, args)
    snake = {"get": kind, "guarded_get": kind, "list": plural, "product": world.public[:-1], "catalogue": world.public}.get(op)
    name = _camel(snake or _named(world, op, args).replace("admin_", ""))
    if op in ("get", "guarded_get"):
        variables = {"id": str(args["id"])}
    types = {n: "Int" if isinstance(v, int) else "[ID!]!" if isinstance(v, list) else "ID!" for n, v in variables.items()}
    if "given" in args:
        variables["input"] = args["given"]
        types["input"] = f"{name[:1].upper()}{name[1:]}Input!"
    head = f"({', '.join(f'${n}: {t}' for n, t in types.items())})" if types else ""
    call = f"({', '.join(f'{n}: ${n}' for n in types)})" if types else ""
    kind_of = "query" if op in _READS else "mutation"
    text = f"{kind_of} {name[:1].upper()}{name[1:]}{head} {{ {name}{call} {_selection(world, op, args)} }}"
    body = {"query": text, "variables": variables} if variables else {"query": text}
    return Ask(op, {**args, "field": name}, "POST", f"{world.prefix}/graphql", body)


def aliases(world: World, which: int, ids: list[str]) -> Ask:
    """One GraphQL call that asks for many objects, each under an alias, the ids in its text."""
    kind = world.kind(which)
    fields = _selection(world, "get", {"which": which})
    text = "query { " + " ".join(f'a{n}: {kind}(id: "{one}") {fields}' for n, one in enumerate(ids)) + " }"
    return Ask("batch", {"which": which, "ids": ids, "aliased": True}, "POST", f"{world.prefix}/graphql", {"query": text})


def _selection(world: World, op: str, args: Args) -> str:
    if op in _SELECTIONS:
        return _SELECTIONS[op]
    if op.startswith("cart_"):
        return "{ state lines { productId quantity } }"
    kind = world.kind(args.get("which", 0))
    owner = next(iter(world.users))
    fields = _fields(world.view(Item("1", kind, owner, "t0"), whole=op not in ("list", "batch")))
    return f"{{ page items {fields} }}" if op in ("list", "batch") else fields


def _fields(shown: dict[str, Any]) -> str:
    return (
        "{ " + " ".join(f"{name} {_fields(value)}" if isinstance(value, dict) else name for name, value in shown.items()) + " }"
    )


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _rpc(world: World, caller: User, of: User, op: str, args: Args) -> Ask:
    service = "Admin" if op.startswith("admin_") and world.traits["admin"] == "admin" else _kinds(world, args)[0].capitalize()
    name = "".join(part.capitalize() for part in _named(world, op, args).split("_"))
    body = {**_arguments(world, caller, of, op, args), **(args.get("given") or {})}
    return Ask(op, args, "POST", f"/{world.traits['domain']}.v1.{service}Service/{name}", body)


def _mcp(world: World, caller: User, of: User, op: str, args: Args) -> Ask:
    arguments = {**_arguments(world, caller, of, op, args), **(args.get("given") or {})}
    params = {"name": _named(world, op, args), "arguments": arguments}
    body = {"jsonrpc": "2.0", "id": world.rng.randrange(1, 1_000), "method": "tools/call", "params": params}
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
    return Ask(op, args, "POST", "/mcp", body, headers)


def dressed(world: World, made: Ask, status: int, body: Any) -> tuple[int, Any]:
    """(status, body) as this world's services answer."""
    if made.op in _OPEN or made.op in ("legacy_get", "rates") or world.style in ("rest", "rpc"):
        return status, body
    if world.style == "graphql":
        field = made.args.get("field", "result")
        if made.args.get("aliased"):
            return 200, {"data": {f"a{n}": one for n, one in enumerate(body["items"])}}
        if status >= 400:
            return 200, {"data": {field: None}, "errors": [{"message": body["error"], "path": [field]}]}
        return 200, {"data": {field: body if body is not None else True}}
    text = {"type": "text", "text": json.dumps(body)}
    result = (
        {"content": [text], "isError": True}
        if status >= 400
        else {"content": [text], "structuredContent": body or {}, "isError": False}
    )
    return 200, {"jsonrpc": "2.0", "id": made.body["id"] if isinstance(made.body, dict) else 1, "result": result}
