"""Who lives in the demo: people, products, cards, secrets worth stealing, and the keys that sign tokens. All invented."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from pathlib import Path

from joserfc.jwk import RSAKey
from msgspec import Struct

ISSUER = "https://login.shop.example"
AUDIENCE = "shop"
SERVICES = ("storefront", "orders", "billing")
BILLING_SECRET = "ewdemo-billing-signing-key-5f2c"  # noqa: S105 - an invented file content that the attacker looks for
DEBUG_SECRET = "ewdemo-database-password-9d41"  # noqa: S105 - likewise, behind the forgotten debug endpoint


class Person(Struct, frozen=True):
    """Somebody with an account."""

    name: str
    email: str
    password: str
    role: str = "customer"
    """`customer`, `support` or `admin`."""

    @property
    def id(self) -> str:
        """The account's UUID, the same in every run."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"shop.example/users/{self.email}"))

    @property
    def card(self) -> str:
        """A card number of the test range 4000 00, with a right check digit (ISO/IEC 7812-1)."""
        body = "400000" + f"{int(hashlib.sha256(self.email.encode()).hexdigest(), 16) % 10**9:09d}"
        doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(body)]
        return body + str(-sum(value - 9 if value > 9 else value for value in doubled) % 10)


class Product(Struct, frozen=True):
    """Something to buy."""

    id: int
    name: str
    category: str
    price: float
    hidden: bool = False
    """Not on sale yet: no list and no honest search shows it."""


def _person(name: str, role: str = "customer") -> Person:
    word = name.split()[0].lower().replace("'", "")
    return Person(
        name, f"{name.lower().replace(' ', '.').replace(chr(39), '')}@shop.example", f"{word}-Quiet-River-{len(name)}", role
    )


_NAMES = (
    "Alice Moreau,Bruno O'Neil,Carla Jensen,Dmitri Volkov,Elena Rossi,Farid Haddad,Grace Okafor,Hugo Lindqvist,Ines Duarte,"
    "Jamal Wright,Keiko Tanaka,Lars Nygaard,Maria D'Souza,Noor Rahman,Oscar Bennett,Priya Nair,Quentin Dubois,Rosa Ortega,"
    "Sven Keller,Tomas Novak"
)
CUSTOMERS = tuple(_person(name) for name in _NAMES.split(","))
SUPPORT = (_person("Uma Fields", "support"), _person("Victor Stone", "support"))
ADMIN = _person("Wanda Price", "admin")
MALLORY = _person("Mallory Finch")
"""The attacker: an ordinary customer by all that the shop knows."""
EVERYBODY = (*CUSTOMERS, *SUPPORT, ADMIN, MALLORY)

_GOODS = (
    "kitchen:Copper kettle:49.5,Drop leaf table:189,Table select oak:240,Rock 'n' roll poster:12.5,Union suit red:35|"
    "outdoor:O'Neill hiking boots:129,Insert soles wool:14,Order by mail kit:22,Where to camp guide:18.9,Two person tent:210|"
    "office:Update planner:9.9,Delete-key cap set:7.5,Cat & mouse pad:11,Script font stamps:16,Exec chair:320|"
    "garden:50% peat mix:8.4,Group by herbs seeds:6.2,Having fun gnome:25,Like grass mat:44,Cast iron trough:75"
)


def _products() -> tuple[Product, ...]:
    goods: list[Product] = []
    for group in _GOODS.split("|"):
        category, _, rest = group.partition(":")
        for entry in rest.split(","):
            name, _, price = entry.rpartition(":")
            goods.append(Product(len(goods) + 1, name, category, float(price)))
    return (*goods, Product(len(goods) + 1, "Prototype lantern", "outdoor", 999.0, hidden=True))


PRODUCTS = _products()


class Keys:
    """The signing key of the shop, in its state directory: `signing-key.json` (mode 0600) and the public `jwks.json`."""

    def __init__(self, state: Path) -> None:
        self.jwks = state / "jwks.json"
        """What Eastwall and the services verify tokens with."""
        self.private = state / "signing-key.json"

    def prepare(self) -> None:
        """Make the key when there is none. Safe when several processes do so at once: one makes it, the others wait."""
        self.private.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(self.private, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            until = time.monotonic() + 20
            while not self.jwks.exists():
                if time.monotonic() > until:
                    raise TimeoutError(
                        f"`{self.private}` exists but `{self.jwks}` does not; remove the directory and start again"
                    ) from None
                time.sleep(0.02)
            return
        key = RSAKey.generate_key(2048, {"kid": "shop-1", "use": "sig", "alg": "RS256"})
        with os.fdopen(handle, "w") as file:
            json.dump(key.as_dict(private=True), file)
        # The public file comes last and at once: who sees it, sees both whole.
        draft = self.jwks.with_suffix(".new")
        draft.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
        draft.replace(self.jwks)


def digest_of(password: str) -> str:
    """How the storefront stores a password. Real services use a slow hash; twenty invented customers do not need one."""
    return hashlib.sha256(f"shop.example:{password}".encode()).hexdigest()
