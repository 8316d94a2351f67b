"""What the service's own answers say that its products cost, and which numbers of a request claim to be such a price.

Answers to calls that change nothing are read for objects that stand for themselves (`{"id": 17, "price": 19.99}` in `/products`), not for
what refers to others (`{"product_id": 17, "price": ...}` in a cart, which may hold what its caller sent). Each engine remembers the prices
of a product that answers gave within `GRACE` of the newest: carts and pages keep a price for a while. Nothing is said of a product whose
price was not answered for `FRESH`, or that has many prices at once (variants, offers of one's own).

Bounded: `MAX_PRODUCTS`, of which those leave that were read longest ago for the caller for whom most were read first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import isfinite
from re import compile as regex
from typing import Any

from eastwall.behaviours.sketch import hash64
from eastwall.discovery.objects import ENVELOPES, identifier, kind_of, reference
from eastwall.discovery.shares import Shares
from eastwall.model.endpoint import Endpoint

ANSWERED = "answered"
"""How a request's number relates to another value: answers gave it for the product that the value names."""
MAX_PRODUCTS = 100_000
MAX_PRICES = 6
"""Prices of one product within `GRACE`; one with more is not judged."""
GRACE = 86_400.0
FRESH = 21_600.0
OVERTAKEN = 60.0
"""Seconds by which an answer may come before one that began later."""
ENOUGH = 20
"""Answers whose properties were learned, before it is said that answers of the operation have no price."""
MAX_READ = 200
"""Products that are read of one answer."""
MAX_NODES = 2_000
MAX_DEPTH = 6
MAX_CLAIMED = 40
"""Items of a request that are compared."""
MAX_NAME = 64

_PRICE = regex(r"(?i)(?!\w*(?:total|sum|old|max|min|ship))\w{0,40}?(?:price|cost|fare|fee)(?:_?(?:cents|minor|amount|value))?")
PRICES = regex(rb"(?i)price|cost|fare|fee")
"""What the text of an answer with a price has."""
_DECIMAL = regex(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")


class Prices:
    """Product -> the prices that answers gave, newest last. A product is the hash of its service, kind and id."""

    __slots__ = ("_limit", "_payers", "_shares", "_table", "certain", "told")

    def __init__(self, limit: int = MAX_PRODUCTS) -> None:
        self._limit = limit
        self._table: dict[int, list[tuple[float, float]]] = {}
        """Product -> (price, last time that it was answered), at most `MAX_PRICES`."""
        self._payers: dict[int, int] = {}
        self._shares = Shares()
        self.told: list[tuple[int, float, float, str]] | None = None
        """Arguments of `take` since other engines were told; None: nobody is told."""
        self.certain = True
        """Whether other engines' prices are heard at once."""

    def read(self, product: int, price: float, now: float, caller: str) -> None:
        """An answer gave a price."""
        if self.take(product, price, now, caller) and self.told is not None:
            self.told.append((product, price, now, caller))

    def take(self, product: int, price: float, now: float, caller: str) -> bool:
        """`read`, told to nobody. Whether that is news: a price that the product did not have, or not for an hour."""
        known = self._table.get(product)
        if known is None:
            self._enter(product, caller)
            self._table[product] = [(price, now)]
            return True
        for at, (one, last) in enumerate(known):
            if one == price:
                if at == len(known) - 1:  # nearly always
                    if now > last:
                        known[at] = (price, now)
                elif now > last:
                    del known[at]
                    self._insert(known, price, now)
                return now - last > 3_600.0
        self._insert(known, price, now)
        if len(known) > MAX_PRICES:
            del known[0]
        return True

    def of(self, product: int, now: float) -> tuple[float, ...]:
        """Prices that count, newest last; empty: nothing can be said."""
        known = self._table.get(product)
        if known is None:
            return ()
        newest = known[-1][1]
        if not -OVERTAKEN <= now - newest <= FRESH:
            return ()
        found = tuple([price for price, last in known if newest - last <= GRACE])
        return found if len(found) < MAX_PRICES else ()

    def __len__(self) -> int:
        return len(self._table)

    @staticmethod
    def _insert(known: list[tuple[float, float]], price: float, now: float) -> None:
        known.append((price, now))
        if len(known) > 1 and known[-2][1] > now:
            known.sort(key=lambda one: one[1])

    def _enter(self, product: int, caller: str) -> None:
        shares = self._shares
        while shares.full(caller):
            self._drop(shares.oldest(shares.smallest(), self._payers.get))
        if len(self._table) >= self._limit:
            self._drop(shares.oldest(shares.largest(), self._payers.get))
        number = self._payers[product] = shares.number(caller)
        shares.charge(number, product)

    def _drop(self, product: int) -> None:
        del self._table[product]
        self._shares.discharge(self._payers.pop(product))


def product_key(service: str, kind: str, text: str) -> int:
    """A product as `Prices` has it: 63 bits."""
    return hash64(f"{service}\0{kind}\0{text}") >> 1


@lru_cache(maxsize=8_192)
def named_price(name: str) -> bool:
    """Whether a property is a price by its name."""
    return len(name) <= MAX_NAME and _PRICE.fullmatch(name) is not None


def may_tell(endpoint: Endpoint) -> bool:
    """Whether answers of an operation may hold prices: not where none of `ENOUGH` did. What GraphQL answers is the caller's choice."""
    learned = [schema for status, schema in endpoint.responses if 200 <= status < 300]
    if endpoint.operation or sum(schema.samples for schema in learned) < ENOUGH:
        return True
    return any(named_price(field.place.rpartition(".")[2].replace("[]", "")) for schema in learned for field in schema.fields)


@lru_cache(maxsize=8_192)
def _says(name: str) -> tuple[str | None, bool]:
    """(which object a property refers to, whether it is a price), by its name."""
    return reference(name), named_price(name)


def amount_of(value: Any) -> float | None:
    """The number that a price is; also of a plain decimal text, as many services write prices."""
    kind = type(value)
    if kind is int or kind is float:
        return float(value) if 0 <= value < 1e12 and isfinite(value) else None
    if kind is str and len(value) < 24 and _DECIMAL.fullmatch(value):
        return float(value)
    return None


def priced(body: Any, collection: str) -> Iterator[tuple[str, str, float]]:
    """(kind, id, price) of the objects of an answer that stand for themselves and have one price. `collection`: what the answer is about."""
    left = [MAX_NODES, MAX_READ]
    yield from _priced(body, collection, 0, left)


def _priced(node: Any, holder: str, depth: int, left: list[int]) -> Iterator[tuple[str, str, float]]:
    if type(node) is list:
        for item in node:
            if left[0] <= 0 or left[1] <= 0:
                return
            if type(item) is dict:
                yield from _priced(item, holder, depth + 1, left)
        return
    if type(node) is not dict or depth > MAX_DEPTH:
        return
    left[0] -= 1 + len(node) // 8
    own, price, several = "", None, False
    kind = kind_of("id", holder)
    for name, value in node.items():
        if type(value) is dict or type(value) is list:
            yield from _priced(value, holder if name.lower() in ENVELOPES else name, depth + 1, left)
            continue
        of, prices = _says(name) if len(name) <= MAX_NAME else (None, False)
        if not own and (of == "" or of == kind):
            own = identifier(value)
        elif prices and (amount := amount_of(value)) is not None:
            several, price = price is not None, amount
    if own and price is not None and not several and left[1] > 0:
        left[1] -= 1
        yield kind, own, price


Claim = tuple[str, str, str, float]
"""(property that is a price, property that names a product, its id, the price)."""


def claims(node: Mapping[str, Any]) -> Iterator[Claim]:
    """What an object of a request claims to cost: pairs of a price and the id of something else. One price alone: of two nobody knows which
    is the product's."""
    prices = [(name, amount) for name, value in node.items() if named_price(name) and (amount := amount_of(value)) is not None]
    if len(prices) != 1:
        return
    name, amount = prices[0]
    for key, value in node.items():
        if key != name and len(key) <= MAX_NAME and kind_named(key) and (text := identifier(value)):
            yield name, key, text, amount


@lru_cache(maxsize=8_192)
def kind_named(name: str) -> str:
    """The kind of product that a property names: `product` for `product_id` and for `product`; empty for what names none."""
    return reference(name) or (kind_of(name, "") if reference(name) is None and _NOUN.fullmatch(name) else "")


_NOUN = regex(
    r"(?i)(?:product|item|article|sku|offer|plan|ticket|room|book|variant|service|listing|course|menu_?item)(?:_?(?:code|ref|no))?"
)
