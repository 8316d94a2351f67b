"""API worlds with ground truth: shops, clinics, banks, SaaS tenants, carriers and schools, drawn by seed.

What differs between worlds: how calls are written (REST, GraphQL, RPC, MCP tools); how ids look, and whether they change their form between
answer and request; where in a request they stand; where an answer says whose an object is (a claim, an internal number that only `/me` tells,
the owner's e-mail address, the path, the tenant alone, nowhere); who else may see an object (colleagues, holders of a link, assistants, new
owners); which roles there are and where their functions live; what the business does (carts, one-time codes, coupons, gift cards). Each trait
is dealt from a shuffled deck of twelve, so that any twelve seeds that follow one another hold the same mixture, in combinations of their own.

The service itself (`bench.logic_service`) checks nothing but who calls: what stops an attacker is Eastwall or nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import uuid
from typing import Any

from msgspec import Struct

DOMAINS: dict[str, tuple[tuple[str, str], tuple[str, str], str]] = {
    "shop": (("order", "orders"), ("invoice", "invoices"), "products"),
    "clinic": (("appointment", "appointments"), ("prescription", "prescriptions"), "doctors"),
    "bank": (("account", "accounts"), ("statement", "statements"), "branches"),
    "saas": (("project", "projects"), ("document", "documents"), "templates"),
    "carrier": (("shipment", "shipments"), ("claim", "claims"), "depots"),
    "school": (("enrolment", "enrolments"), ("report", "reports"), "courses"),
}
"""Domain -> (two private kinds as (singular, plural), the public collection)."""
DECKS: dict[str, tuple[Any, ...]] = {
    "domain": tuple(sorted(DOMAINS)) * 2,
    "style": ("rest",) * 6 + ("graphql",) * 3 + ("rpc",) * 2 + ("mcp",),
    "ids": ("integer",) * 4 + ("uuid",) * 3 + ("prefixed",) * 2 + ("slug", "hex", "composite"),
    "relation": ("same",) * 5 + ("text",) * 2 + ("gid",) * 2 + ("url",) * 2 + ("base64",),
    "evidence": ("field",) * 3 + ("internal",) * 2 + ("path",) * 2 + ("claim", "nested", "email", "tenant", "nowhere"),
    "place": ("path",) * 7 + ("query",) * 2 + ("body",) * 2 + ("header",),
    "tenants": (True,) * 4 + (False,) * 8,
    "sharing": ("none",) * 4 + ("colleague",) * 3 + ("link",) * 3 + ("assistant",) * 2,
    "handover": (True,) * 3 + (False,) * 9,
    "admin": ("admin",) * 6 + ("plain",) * 6,
    "office": (True,) * 4 + (False,) * 8,
    "subject": ("name",) * 5 + ("uuid",) * 4 + ("auth0",) * 3,
    "cart": (True,) * 8 + (False,) * 4,
    "transfers": (True,) * 6 + (False,) * 6,
    "giftcards": (True,) * 6 + (False,) * 6,
    "people": (True,) * 7 + (False,) * 5,
    "legacy": (True,) * 4 + (False,) * 8,
    "partner": (True,) * 6 + (False,) * 6,
    "scopes": (True,) * 5 + (False,) * 7,
    "lines": ("numbered",) * 6 + ("global",) * 6,
    "deletes": (True,) * 5 + (False,) * 7,
    "telling": (True,) * 5 + (False,) * 7,
    "managers": (True,) * 6 + (False,) * 6,
}
"""Trait -> twelve cards. `relation`: how an id in an answer differs from the one in requests (`url`: requests name a hash that an answer only
shows within a link). `office`: many users share one address. `telling`: sign-in and password reset answer differently for unknown accounts."""
_WORDS = "amber birch cedar delta ember fjord grove haven iris juniper kelp lotus maple north ochre pine quartz river slate tide umber vale".split()
CURRENCIES = ("EUR", "EUR", "EUR", "USD", "GBP")
MEMBERS = 24
TOKEN_SECONDS = 8 * 3_600
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0) Firefox/139.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5) Safari/604.1",
    "app/3.2 (Android 15)",
)


class User(Struct):
    """Somebody, or something, with a token."""

    name: str
    role: str
    tenant: str
    sub: str = ""
    """The subject of the token."""
    internal: int = 0
    """What the service's database calls the user; no token holds it."""
    phone: str = ""
    password: str = ""
    addresses: tuple[str, ...] = ()
    """Where the user calls from: at home, on the way, at work."""
    agents: tuple[str, ...] = ()
    assists: str = ""
    """Name of the user whose objects this one may read."""
    scope: str = ""
    credit: float = 0.0
    verified: bool = True
    otp: bool = False
    """A one-time code was confirmed and not used up."""
    cart: list[tuple[int, int]] = []
    """(product, quantity)."""
    cart_state: str = ""
    coupons: list[str] = []
    """Codes redeemed, each time."""
    language: str = "en"

    @property
    def email(self) -> str:
        return f"{self.name}@mail.example"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Item(Struct):
    """An object of a private kind."""

    id: str
    kind: str
    owner: str
    """Name of the user."""
    tenant: str
    lines: tuple[dict[str, Any], ...] = ()
    state: str = "open"
    quantity: int = 1
    price: float = 0.0
    total: float = 0.0
    currency: str = "EUR"
    note: str = ""
    history: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    link: str = ""
    former: tuple[str, ...] = ()


def dealt(seed: int, trait: str) -> Any:
    """The card that a seed gets of a trait's deck."""
    deck = list(DECKS[trait])
    random.Random(f"{trait}/{seed // len(deck)}").shuffle(deck)
    return deck[seed % len(deck)]


class World:
    """One service's users and objects, and what is true of them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.traits: dict[str, Any] = {trait: dealt(seed - 1, trait) for trait in DECKS}
        self.main, self.side, self.public = DOMAINS[self.traits["domain"]]
        self.style: str = self.traits["style"]
        self.evidence: str = self.traits["evidence"]
        self.ids: str = self.traits["ids"]
        self.relation: str = self.traits["relation"]
        self.tenants: bool = self.traits["tenants"] or self.evidence == "tenant" or self.ids == "composite"
        self.place: str = self.traits["place"] if self.style == "rest" else "path"
        self.owner_field = rng.choice(("owner_id", "user_id", "customer_id", "created_by", "patient"))
        self.prefix = rng.choice(("/api", "/api/v2", "", "/v2"))
        self.camel = self.style in ("graphql", "rpc") or rng.random() < 0.3
        self.users: dict[str, User] = {}
        self.by_email: dict[str, User] = {}
        self.items: dict[str, Item] = {}
        self._written: dict[tuple[str, str], Item] = {}
        self._next = rng.randrange(1_000, 90_000)
        self._internal = rng.randrange(200, 5_000)
        self._lines = rng.randrange(10_000, 800_000)
        self.secret = rng.randbytes(32)
        self._tokens: dict[str, tuple[str, float]] = {}
        """User -> (token, until when it is good)."""
        self.refresh: dict[str, str] = {}
        """Refresh token -> user."""
        self.resets: dict[str, str] = {}
        """Password-reset token -> user."""
        self.codes: dict[str, str] = {}
        """User -> one-time code sent."""
        self.giftcards = {f"GC-{rng.randrange(10**9):09d}": float(rng.randrange(10, 200)) for _ in range(400)}
        self.unread: list[tuple[str, str]] = []
        """(user, item) of objects that somebody gave or showed to a user who has not looked yet."""
        self.deployed = False
        """A release added a field and an endpoint."""
        self.leaking: frozenset[str] = frozenset()
        """Fields that a bad release lets slip out of objects."""
        self.office = f"198.51.100.{rng.randrange(1, 250)}"
        for _ in range(MEMBERS):
            self.join()
        self._staff()
        self.catalogue = [
            {"id": n, "name": f"{rng.choice(_WORDS)} {n}", "price": rng.randrange(100, 9_000) / 100} for n in range(1, 241)
        ]
        self.stock()

    def _staff(self) -> None:
        for name, role in (
            ("staff-1", "support"), ("staff-2", "support"), ("staff-3", "support"), ("admin-1", "admin"), ("admin-2", "admin"),
        ):  # fmt: skip
            self._add(name, role, "")
        if self.traits["managers"]:
            self._add("manager-1", "manager", "t1")
            self._add("manager-2", "manager", "t2")
        self._add("svc-fulfilment", "service", "")
        self._add("svc-billing", "service", "")

    def _add(self, name: str, role: str, tenant: str) -> User:
        rng = self.rng
        self._internal += rng.randrange(1, 5)
        subject = {"uuid": str(uuid.UUID(int=rng.getrandbits(128), version=4)), "auth0": f"auth0|{rng.getrandbits(96):024x}"}
        addresses = tuple(
            f"{rng.randrange(11, 99)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}" for _ in "ab"
        )
        office = role in ("support", "admin", "manager") or (self.traits["office"] and rng.random() < 0.8)
        user = User(
            name=name,
            role=role,
            tenant=tenant,
            sub=name if role == "service" else subject.get(self.traits["subject"], name),
            internal=self._internal,
            phone=f"+49 30 {rng.randrange(10_000, 99_999)}",
            password=f"{rng.choice(_WORDS)}-{rng.randrange(10_000)}",
            addresses=("10.1.0.9",) if role == "service" else (*addresses, self.office) if office else addresses,
            agents=("python-httpx/0.28",) if role == "service" else tuple(rng.sample(AGENTS, rng.choice((1, 2)))),
        )
        if self.traits["scopes"]:
            user.scope = "profile read" if rng.random() < 0.3 and role == "member" else "profile read write"
        self.users[name] = self.by_email[user.email] = user
        return user

    def join(self) -> User:
        """A new member."""
        number = sum(user.role == "member" for user in self.users.values())
        user = self._add(f"u{number:03d}-{self.seed % 997}", "member", f"t{number % 5}")
        if self.traits["sharing"] == "assistant" and number % 6 == 5:
            boss = self.users[f"u{number - 5:03d}-{self.seed % 997}"]
            user.assists, user.tenant = boss.name, boss.tenant
        return user

    def members(self) -> list[User]:
        return [user for user in self.users.values() if user.role == "member"]

    def stock(self) -> None:
        """What was there before anybody looked: nobody sees it being made."""
        rng = self.rng
        for user in self.members():
            for which, count in ((0, rng.randrange(1, 5)), (1, rng.randrange(3))):
                for _ in range(count):
                    quantity, price = rng.randrange(1, 4), rng.randrange(200, 30_000) / 100
                    self.make(self.kind(which), user, {"quantity": quantity, "price": price, "total": round(quantity * price, 2)})

    # -- tokens ---------------------------------------------------------------------------------------------------

    def token(self, user: User, now: float) -> str:
        """The user's token, as it was issued last: a role that was gained since is not in it. Clients get a new one before it runs out."""
        token, until = self._tokens.get(user.name, ("", 0.0))
        return token if now < until - 60.0 else self.issue(user, now)

    def issue(self, user: User, now: float) -> str:
        """A new HS256 JWT whose claims say who and what the user is."""
        claims: dict[str, Any] = {"iss": "https://login.example", "sub": user.sub, "roles": [user.role]}
        claims |= {"iat": int(now), "exp": int(now) + TOKEN_SECONDS, "jti": f"{self.rng.getrandbits(64):016x}"}
        if user.tenant:
            claims["tenant"] = user.tenant
        if self.evidence == "email":
            claims["email"] = user.email
        if user.scope:
            claims["scope"] = user.scope
        if user.role == "service":
            claims["azp"] = user.name
        message = ".".join(_b64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT", "kid": "k1"}, claims))
        token = f"{message}.{_b64(hmac.digest(self.secret, message.encode(), 'sha256'))}"
        self._tokens[user.name] = token, now + TOKEN_SECONDS
        return token

    def jwks(self) -> bytes:
        return json.dumps({"keys": [{"kty": "oct", "kid": "k1", "k": _b64(self.secret)}]}).encode()

    # -- objects --------------------------------------------------------------------------------------------------

    def make(self, kind: str, owner: User, given: dict[str, Any]) -> Item:
        """An object of a user's own, as the caller describes it."""
        rng = self.rng
        lines = []
        for number, line in enumerate(given.get("lines") or [{"product_id": rng.randrange(1, 200), "quantity": 1}], 1):
            self._lines += rng.randrange(1, 9)
            lines.append({**line, "id": number if self.traits["lines"] == "numbered" else self._lines})
        item = Item(
            id=self._new_id(owner),
            kind=kind,
            owner=owner.name,
            tenant=owner.tenant,
            lines=tuple(lines),
            state=str(given.get("state", "open")),
            quantity=int(given.get("quantity", 1)),
            price=float(given.get("price", 0)),
            total=float(given.get("total", 0)),
            currency=str(given.get("currency", "EUR")),
            note=str(given.get("note", "")),
        )
        self.items[item.id] = item
        for written in {item.id, self.answered(item), self.asked(item)}:
            self._written[kind, str(written)] = item
        return item

    def _new_id(self, owner: User) -> str:
        rng = self.rng
        if self.ids in ("integer", "composite"):
            self._next += rng.randrange(1, 4)
            return f"{owner.tenant or 't0'}:{self._next}" if self.ids == "composite" else str(self._next)
        if self.ids == "uuid":
            return str(uuid.UUID(int=rng.getrandbits(128), version=4))
        if self.ids == "hex":
            return f"{rng.getrandbits(96):024x}"
        if self.ids == "prefixed":
            return f"{self.main[0][:3]}_{''.join(rng.choices('0123456789abcdefghjkmnpqrstvwxyz', k=14))}"
        return f"{rng.choice(_WORDS)}-{rng.choice(_WORDS)}-{rng.getrandbits(24):06x}"

    def found(self, kind: str, written: object) -> Item | None:
        """The object of an id, in whatever form it is written."""
        return self._written.get((kind, str(written)))

    def answered(self, item: Item) -> str | int:
        """The id as answers write it."""
        if self.relation == "gid":
            return f"gid://{self.traits['domain']}/{item.kind.capitalize()}/{item.id}"
        if self.relation == "base64":
            return base64.b64encode(f"{item.kind.capitalize()}:{item.id}".encode()).decode()
        return int(item.id) if self.ids == "integer" and self.relation != "text" else item.id

    def asked(self, item: Item) -> str:
        """The id as most requests write it, as text."""
        if self.relation == "url":
            return hashlib.blake2b(item.id.encode(), key=self.secret, digest_size=8).hexdigest()
        if self.style == "graphql" and self.relation in ("gid", "base64"):
            return str(self.answered(item))
        return item.id

    def key(self, name: str) -> str:
        """A property name as this service writes it: `order_id` or `orderId`."""
        if not self.camel:
            return name
        first, *rest = name.split("_")
        return first + "".join(part.capitalize() for part in rest)

    def owner_value(self, user: User) -> str | int:
        """How objects and filters name a user."""
        if self.evidence in ("internal", "nested", "nowhere", "tenant") or (self.evidence == "path" and self.seed % 2):
            return user.internal
        return user.email if self.evidence == "email" else user.sub

    def view(self, item: Item, *, whole: bool = True) -> dict[str, Any]:
        """An object as answers show it; not `whole`: as an entry of a list."""
        key, owner = self.key, self.users[item.owner]
        shown: dict[str, Any] = {"id": self.answered(item), "state": item.state, "total": item.total, "currency": item.currency}
        if self.relation == "url":
            shown["links"] = {"self": f"{self.prefix}/{item.kind}s/{self.asked(item)}"}
        if whole:
            shown |= {"quantity": item.quantity, "price": item.price, "note": item.note}
        if self.evidence in ("field", "claim", "internal", "email"):
            shown[key(self.owner_field)] = self.owner_value(owner)
        elif self.evidence == "nested":
            shown["customer"] = {"id": owner.internal, "name": owner.name.title()}
        if self.tenants:
            shown[key("tenant_id")] = item.tenant
        if self.deployed:
            shown["eta"] = "2026-04-02"
        for name in sorted(self.leaking):
            shown[key(name)] = {"internal_margin": 0.31, "card_number": "4556737586899855", "national_id": "078-05-1120"}[name]
        return shown

    def may(self, caller: User, item: Item) -> bool:
        """The ground truth: whether an object is the caller's to see."""
        if caller.role in ("support", "admin", "service") or caller.name in item.shared or caller.name == item.owner:
            return True
        if caller.role == "manager" and caller.tenant == item.tenant:
            return True
        if caller.assists and caller.assists == item.owner:
            return True
        return self.tenants and item.tenant == caller.tenant and self.evidence in ("tenant", "nowhere")

    def kind(self, which: int) -> str:
        return (self.main, self.side)[which][0]

    def seen_by(self, user: User, kind: str) -> list[Item]:
        """Objects that a user may see and that still are, oldest first."""
        return [i for i in self.items.values() if i.kind == kind and i.state != "deleted" and self.may(user, i)]

    def foreign(self, user: User, kind: str) -> list[Item]:
        """Objects that are not the user's to see."""
        return [i for i in self.items.values() if i.kind == kind and i.state != "deleted" and not self.may(user, i)]

    def told(self) -> str:
        """The world in a few words."""
        t = self.traits
        return " ".join(
            map(
                str,
                (
                    t["domain"],
                    self.style,
                    self.ids,
                    self.relation,
                    self.evidence,
                    self.place,
                    "tenants" if self.tenants else "users",
                    t["sharing"],
                ),
            )
        )
