"""API worlds with ground truth: shops, clinics, banks and tenants of a SaaS, drawn by seed. Each is a service without any authorization of
its own beyond knowing who calls, so that whatever an attacker asks for is given: what stops it is Eastwall or nothing.

What differs between worlds: REST or GraphQL; numeric ids, UUIDs or slugs; where an answer says whose an object is (a field of the object,
a claim repeated in path or body, the path, nowhere); tenants or single users; names of everything.
"""

from __future__ import annotations

import base64
import hmac
import json
import random
import uuid
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct

DOMAINS: dict[str, tuple[tuple[str, str], tuple[str, str], str]] = {
    "shop": (("order", "orders"), ("invoice", "invoices"), "products"),
    "clinic": (("appointment", "appointments"), ("prescription", "prescriptions"), "doctors"),
    "bank": (("account", "accounts"), ("transfer", "transfers"), "branches"),
    "saas": (("project", "projects"), ("document", "documents"), "templates"),
}
"""Domain -> (two private kinds as (singular, plural), the public collection)."""
STYLES = ("rest", "rest", "graphql")
IDS = ("integer", "uuid", "slug")
OWNERS = ("field", "claim", "path", "nowhere")
_WORDS = "amber birch cedar delta ember fjord grove haven iris juniper kelp lotus maple north ochre pine quartz river slate tide umber vale".split()


class User(Struct):
    """Somebody with a token."""

    name: str
    role: str
    tenant: str
    phone: str = ""

    def token(self, secret: bytes) -> str:
        """An HS256 JWT whose claims say who and what the user is."""
        claims = {"sub": self.name, "roles": [self.role], "tenant": self.tenant, "iss": "https://login.example"}
        message = ".".join(_b64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT", "kid": "k1"}, claims))
        return f"{message}.{_b64(hmac.digest(secret, message.encode(), 'sha256'))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Item(Struct):
    """An object of a private kind."""

    id: str
    kind: str
    owner: str
    tenant: str
    state: str = "open"
    amount: float = 0.0
    shared: tuple[str, ...] = ()


class Ask(Struct, frozen=True):
    """A call as a client makes it."""

    method: str
    path: str
    body: Any = None


class Reply(Struct, frozen=True):
    """What the service answers, and the ground truth: whose objects the answer holds or the call changed."""

    status: int
    body: Any
    touched: tuple[str, ...] = ()
    """Ids of private objects that were read or changed."""


class World:
    """One service with its users and objects."""

    def __init__(self, seed: int, users: int = 20) -> None:
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.domain = rng.choice(sorted(DOMAINS))
        (self.main, self.side, self.public) = DOMAINS[self.domain]
        self.style = rng.choice(STYLES)
        self.ids = rng.choice(IDS)
        self.evidence = rng.choice(OWNERS) if self.style == "rest" else rng.choice(("field", "nowhere"))
        self.tenants = self.domain == "saas" or rng.random() < 0.2
        self.owner_field = rng.choice(("owner_id", "user_id", "customer", "created_by"))
        self.prefix = rng.choice(("/api", "/api/v2", "", "/v1"))
        self.users: dict[str, User] = {}
        self.items: dict[str, Item] = {}
        self.used_codes: set[tuple[str, str]] = set()
        self._next = rng.randrange(1_000, 90_000)
        self.secret = rng.randbytes(32)
        self._tokens: dict[str, str] = {}
        for number in range(users):
            self.user(number)
        self.users["staff-1"] = User("staff-1", "support", "")
        self.users["staff-2"] = User("staff-2", "support", "")
        self.users["admin-1"] = User("admin-1", "admin", "")
        self.users["admin-2"] = User("admin-2", "admin", "")
        self.catalogue = [
            {"id": n, "name": f"{rng.choice(_WORDS)} {n}", "price": rng.randrange(100, 9_000) / 100} for n in range(1, 41)
        ]

    def user(self, number: int) -> User:
        """The ordinary user of a number, made when new."""
        name = f"u{number:03d}-{self.seed % 997}"
        if name not in self.users:
            self.users[name] = User(name, "member", f"t{number % 5}", f"+49 30 {10_000 + number}")
        return self.users[name]

    def token(self, user: User) -> str:
        """The user's token, as it was issued: a role that was gained since is not in it."""
        if user.name not in self._tokens:
            self._tokens[user.name] = user.token(self.secret)
        return self._tokens[user.name]

    def jwks(self) -> bytes:
        return json.dumps({"keys": [{"kty": "oct", "kid": "k1", "k": _b64(self.secret)}]}).encode()

    def members(self) -> list[User]:
        return [user for user in self.users.values() if user.role == "member"]

    def new_id(self) -> str:
        if self.ids == "integer":
            self._next += self.rng.randrange(1, 4)
            return str(self._next)
        if self.ids == "uuid":
            return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        return f"{self.rng.choice(_WORDS)}-{self.rng.choice(_WORDS)}-{self.rng.getrandbits(24):06x}"

    # -- the service ----------------------------------------------------------------------------------------------

    def answer(self, caller: User, ask: Ask) -> Reply:
        """What the service does, without asking whether the caller may."""
        path, _, query = ask.path.partition("?")
        if self.style == "graphql" and path == f"{self.prefix}/graphql":
            return self._graphql(caller, ask.body)
        parts = path.removeprefix(self.prefix).strip("/").split("/")
        if parts[0] == "users" and len(parts) > 2:
            parts = parts[2:]  # ownership in the path is taken on trust
        return self._rest(caller, ask, parts, dict(parse_qsl(query)))

    def _rest(self, caller: User, ask: Ask, parts: list[str], query: dict[str, str]) -> Reply:
        head = parts[0]
        if head == "me":
            if ask.method == "PATCH":
                caller.phone = str(ask.body.get("phone", caller.phone))
                if "role" in ask.body:
                    caller.role = str(ask.body["role"])
            return Reply(
                200, {"name": caller.name, "role": caller.role, "phone": caller.phone, "tenant": caller.tenant, "verified": True}
            )
        if head == self.public:
            if len(parts) == 1:
                start = int(query.get("offset", 0))
                return Reply(200, {"items": self.catalogue[start : start + min(40, int(query.get("limit", 10)))]})
            return Reply(200, self.catalogue[int(parts[1]) % len(self.catalogue)])
        if head == "admin":
            return self._admin(ask, parts[1:])
        for kind, plural in (self.main, self.side):
            if head == plural:
                return self._private(caller, ask, kind, parts[1:])
        return Reply(404, {"error": "not found"})

    def _admin(self, ask: Ask, parts: list[str]) -> Reply:
        if parts[0] == "users":
            return Reply(
                200, {"users": [{"name": user.name, "role": user.role} for user in self.users.values()][:20]}, ("admin",)
            )
        if parts[0] == "export":
            some = list(self.items.values())[:25]
            return Reply(200, {"rows": [self.view(item) for item in some]}, ("admin", *(item.id for item in some)))
        return Reply(200, {"settings": {"maintenance": False}}, ("admin",))

    def _private(self, caller: User, ask: Ask, kind: str, parts: list[str]) -> Reply:
        if not parts:
            return self._collection(caller, ask, kind)
        item = self.items.get(parts[0])
        if item is None or item.kind != kind:
            return Reply(404, {"error": "not found"})
        if len(parts) > 1:
            return self._step(caller, ask, item, parts[1])
        if ask.method in ("PATCH", "PUT"):
            item.amount = float((ask.body or {}).get("amount", item.amount))
            item.state = str((ask.body or {}).get("state", item.state))
        if ask.method == "DELETE":
            item.state = "deleted"
            return Reply(204, None, (item.id,))
        return Reply(200, self.view(item), (item.id,))

    def _collection(self, caller: User, ask: Ask, kind: str) -> Reply:
        if ask.method == "POST":
            item = Item(self.new_id(), kind, caller.name, caller.tenant, amount=float(ask.body.get("amount", 0)))
            item.state = str(ask.body.get("state", "open"))
            self.items[item.id] = item
            return Reply(201, self.view(item), (item.id,))
        mine = [i for i in self.items.values() if i.kind == kind and i.state != "deleted" and self.may(caller, i)][-10:]
        return Reply(200, {"items": [self.view(item) for item in mine]}, tuple(item.id for item in mine))

    def _step(self, caller: User, ask: Ask, item: Item, step: str) -> Reply:
        if step == "share":
            item.shared += (str((ask.body or {}).get("with", "")),)
        elif step == "coupon":
            self.used_codes.add((caller.name, str((ask.body or {}).get("code", ""))))
        elif step in ("confirm", "pay"):
            item.state = {"confirm": "confirmed", "pay": "paid"}[step]
        elif step == "history":
            return Reply(200, {"events": [{"at": "2026-03-01T12:00:00Z", "what": item.state}]}, (item.id,))
        return Reply(200, self.view(item), (item.id,))

    def _graphql(self, caller: User, body: Any) -> Reply:
        variables = body.get("variables") or {}
        query = body["query"]
        for kind, plural in (self.main, self.side):
            for verb, method in (
                ("update", "PATCH"),
                ("delete", "DELETE"),
                ("create", "POST"),
                ("confirm", "confirm"),
                ("pay", "pay"),
                ("history", "history"),
            ):
                name = f"{kind}History" if verb == "history" else f"{verb}{kind.capitalize()}"
                if name in query:
                    return self._wrapped(name, self._mutate(caller, kind, method, variables))
            if f"{plural} " in query or f"{plural}{{" in query:
                return self._wrapped(plural, self._collection(caller, Ask("GET", ""), kind))
            if f"{kind}(" in query:
                return self._wrapped(kind, self._private(caller, Ask("GET", ""), kind, [str(variables.get("id"))]))
        if "adminUsers" in query:
            return self._wrapped("adminUsers", self._admin(Ask("GET", ""), ["users"]))
        if "updateMe" in query:
            return self._wrapped("updateMe", self._rest(caller, Ask("PATCH", "", variables.get("input", {})), ["me"], {}))
        if "me" in query:
            return self._wrapped("me", self._rest(caller, Ask("GET", ""), ["me"], {}))
        return self._wrapped(self.public, self._rest(caller, Ask("GET", ""), [self.public], {}))

    def _mutate(self, caller: User, kind: str, method: str, variables: dict[str, Any]) -> Reply:
        given = dict(variables.get("input") or {})
        if method == "POST":
            return self._collection(caller, Ask("POST", "", given), kind)
        item = [str(variables.get("id") or variables.get(f"{kind}Id"))]
        if method in ("confirm", "pay", "history"):
            return self._private(caller, Ask("POST", "", given), kind, [*item, method])
        return self._private(caller, Ask(method, "", given), kind, item)

    @staticmethod
    def _wrapped(name: str, reply: Reply) -> Reply:
        if reply.status >= 400:
            return Reply(200, {"data": {name: None}, "errors": [{"message": "not found"}]})
        return Reply(200, {"data": {name: reply.body}}, reply.touched)

    def view(self, item: Item) -> dict[str, Any]:
        """An object as answers show it."""
        shown: dict[str, Any] = {
            "id": int(item.id) if self.ids == "integer" else item.id,
            "state": item.state,
            "amount": item.amount,
            "note": "as agreed",
        }
        if self.evidence in ("field", "claim"):
            shown[self.owner_field] = item.owner
        if self.tenants:
            shown["tenant_id"] = item.tenant
        return shown

    def may(self, caller: User, item: Item) -> bool:
        """The ground truth: whether an object is the caller's to see."""
        if caller.role in ("support", "admin") or caller.name in item.shared:
            return True
        return item.tenant == caller.tenant if self.tenants else item.owner == caller.name

    # -- how clients speak ----------------------------------------------------------------------------------------

    def path(self, caller: User, plural: str, *rest: str) -> str:
        base = f"/users/{caller.name}" if self.evidence == "path" else ""
        return "/".join((f"{self.prefix}{base}/{plural}", *rest))

    def ask(self, caller: User, action: str, which: int, item_id: str = "", given: dict[str, Any] | None = None) -> Ask:
        """`list`, `get`, `create`, `update`, `delete`, `confirm`, `pay`, `history`, `share`, `coupon` on private kind 0 or 1."""
        kind, plural = (self.main, self.side)[which]
        body = dict(given or {})
        if self.style == "graphql" and action not in ("share", "coupon"):
            return self._ask_graphql(action, kind, plural, item_id, body)
        if self.evidence == "claim" and action in ("create", "update"):
            body[self.owner_field] = caller.name
        if action == "list":
            return Ask("GET", self.path(caller, plural))
        if action == "create":
            return Ask("POST", self.path(caller, plural), body)
        if action in ("get", "update", "delete"):
            return Ask(
                {"get": "GET", "update": "PATCH", "delete": "DELETE"}[action], self.path(caller, plural, item_id), body or None
            )
        if action == "history":
            return Ask("GET", self.path(caller, plural, item_id, "history"))
        return Ask("POST", self.path(caller, plural, item_id, action), body)

    def _ask_graphql(self, action: str, kind: str, plural: str, item_id: str, body: dict[str, Any]) -> Ask:
        at, fields = f"{self.prefix}/graphql", "{ id state amount note }"
        name = kind.capitalize()
        if action == "list":
            return Ask("POST", at, {"query": f"query {{ {plural} {fields} }}"})
        if action == "get":
            return Ask("POST", at, {"query": f"query($id: ID!) {{ {kind}(id: $id) {fields} }}", "variables": {"id": item_id}})
        verb = f"{action}{name}"
        if action == "create":
            query = f"mutation($input: {name}Input!) {{ {verb}(input: $input) {fields} }}"
            return Ask("POST", at, {"query": query, "variables": {"input": body}})
        if action == "update":
            query = f"mutation($id: ID!, $input: {name}Input!) {{ {verb}(id: $id, input: $input) {fields} }}"
            return Ask("POST", at, {"query": query, "variables": {"id": item_id, "input": body}})
        if action == "history":
            query = f"query($item: ID!) {{ {kind}History({kind}Id: $item) {{ events {{ at what }} }} }}".replace(
                "$item", f"${kind}Id"
            )
            return Ask("POST", at, {"query": query, "variables": {f"{kind}Id": item_id}})
        return Ask("POST", at, {"query": f"mutation($id: ID!) {{ {verb}(id: $id) {fields} }}", "variables": {"id": item_id}})

    def ask_admin(self, what: str) -> Ask:
        if self.style == "graphql":
            return Ask("POST", f"{self.prefix}/graphql", {"query": "query { adminUsers { name role } }"})
        return Ask("POST" if what == "export" else "GET", f"{self.prefix}/admin/{what}", {} if what == "export" else None)

    def ask_me(self, given: dict[str, Any] | None = None) -> Ask:
        if self.style == "graphql":
            if given:
                return Ask(
                    "POST",
                    f"{self.prefix}/graphql",
                    {
                        "query": "mutation($input: MeInput!) { updateMe(input: $input) { name role phone } }",
                        "variables": {"input": given},
                    },
                )
            return Ask("POST", f"{self.prefix}/graphql", {"query": "query { me { name role phone tenant } }"})
        return Ask("PATCH" if given else "GET", f"{self.prefix}/me", given)

    def ask_public(self, offset: int = 0, limit: int = 10) -> Ask:
        if self.style == "graphql":
            return Ask("POST", f"{self.prefix}/graphql", {"query": f"query {{ {self.public} {{ id name price }} }}"})
        return Ask("GET", f"{self.prefix}/{self.public}?offset={offset}&limit={limit}")
