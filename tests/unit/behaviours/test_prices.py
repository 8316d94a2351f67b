"""The price that a request claims, against the prices that the service's own answers gave: learned and judged through `decide`."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.behaviours.driven import Engine, Outcome

from eastwall.behaviours.values.model import Model
from eastwall.behaviours.values.prices import FRESH, GRACE, MAX_PRICES, Prices, amount_of, claims, named_price, priced
from eastwall.discovery.inventory import endpoint_id
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord


def endpoint(method: str, template: str) -> Endpoint:
    return Endpoint(endpoint_id("orders", method, template), "orders", method, template, status="learned")


BUY, LOOK, CART, MOVE = (
    endpoint("POST", "/orders"),
    endpoint("GET", "/products"),
    endpoint("GET", "/cart"),
    endpoint("PUT", "/products"),
)
SHOP = (BUY, LOOK, CART, MOVE)


class Shop:
    """A catalogue of twelve products, behind an engine."""

    def __init__(self, **knowledge: Any) -> None:
        self.engine = Engine(endpoints=SHOP, **knowledge)
        self.prices = {number: 9.99 + number for number in range(100, 112)}

    def look(self, user: str = "alice", gap: float = 1.0) -> None:
        items = [{"id": number, "name": "x", "price": price} for number, price in self.prices.items()]
        self.engine.ask("GET", "/products", user=user, answer={"items": items}, gap=gap)

    def buy(self, user: str, *lines: tuple[int, float], gap: float = 1.0) -> Outcome:
        body = {"note": "x", "lines": [{"product_id": product, "quantity": 1, "price": price} for product, price in lines]}
        return self.engine.ask("POST", "/orders", body, user=user, answer={"id": 1}, gap=gap)


def learned(cheats: int = 0, seed: int = 1) -> Any:
    """What is known after 80 calls of ten callers, and `cheats` more of one who names its own price."""
    shop, model, rng = Shop(), Model(), random.Random(seed)
    for number in range(80 + cheats):
        user = "mallory" if number >= 80 else f"user{number % 10}"
        if number % 8 == 0:
            shop.look(user)
        chosen = rng.sample(sorted(shop.prices), rng.choice((1, 2)))
        outcome = shop.buy(user, *((one, 0.01 if number >= 80 else shop.prices[one]) for one in chosen))
        record = CallRecord(
            1, str(number), shop.engine.time, "orders", "POST", "/orders", "orders", 200, 0, 0, 9, "10.0.0.1", BUY.id,
            actor=outcome.actor, actor_class="user", strength=3, sampled=True,
        )  # fmt: skip
        model.fold(record, BUY.id, outcome.notes.get("values"), clean=True)
    return model.publish(SHOP)


@pytest.fixture(scope="module")
def known() -> Any:
    found = learned()
    (held,) = [one for operation in found.operations for one in operation.relations if one.how == "answered"]
    assert (held.frame, held.target, held.sources, held.held, held.of) == (("lines", "[]"), "price", ("product_id",), 80, 80)
    return found


def test_a_price_of_ones_own_is_stopped(known: Any) -> None:
    shop = Shop(values=known)
    shop.look()
    outcome = shop.buy("mallory", (104, shop.prices[104]), (105, 0.01))
    assert outcome.blocked
    found = outcome.of("value-relation")
    assert found is not None
    assert found.where == "body.lines[].price"
    assert found.message == "`price` = what answers gave for `product_id` in 80 of 80 learned calls; here 0.01 instead of 114.99"
    assert not shop.buy("alice", (104, shop.prices[104]), (105, shop.prices[105])).findings


def test_dearer_and_a_little_cheaper_is_told(known: Any) -> None:
    shop = Shop(values=known)
    shop.look()
    for price in (500.0, shop.prices[104] * 0.97):
        outcome = shop.buy("mallory", (104, price))
        assert not outcome.blocked
        assert outcome.of("value-relation") is not None


def test_answers_teach_the_new_price(known: Any) -> None:
    """Also at once, and old ones are good for a day: a cart was filled before."""
    shop = Shop(values=known)
    shop.look()
    before = dict(shop.prices)
    shop.prices = {number: round(price / 2, 2) for number, price in shop.prices.items()}
    assert shop.buy("mallory", (104, shop.prices[104])).blocked, "nobody was told of that price"
    shop.look("bob")
    assert not shop.buy("bob", (104, shop.prices[104])).findings
    assert not shop.buy("alice", (104, before[104]), gap=600.0).findings
    shop.look("bob", gap=GRACE)
    outcome = shop.buy("carol", (104, before[104]))
    assert outcome.of("value-relation") is not None
    assert not outcome.blocked, "it is dearer"


def test_what_others_lists_say_of_a_product_teaches_nothing(known: Any) -> None:
    """A cart holds what its caller sent; an answer to a change may too."""
    shop = Shop(values=known)
    shop.look()
    shop.engine.ask("GET", "/cart", user="mallory", answer={"lines": [{"id": 1, "product_id": 104, "price": 0.01}]})
    shop.engine.ask("PUT", "/products", {"id": 104, "price": 0.01}, user="mallory", answer={"id": 104, "price": 0.01})
    shop.engine.ask("GET", "/products", user="mallory", status=404, answer={"items": [{"id": 104, "price": 0.01}]})
    assert shop.buy("mallory", (104, 0.01)).blocked


def test_nothing_is_said_of_what_is_not_known_for_certain(known: Any) -> None:
    shop = Shop(values=known)
    assert not shop.buy("mallory", (104, 0.01)).findings, "an engine that has just begun"
    shop.look()
    assert not shop.buy("mallory", (999, 0.01)).findings, "a product of which no answer told"
    assert not shop.buy("mallory", (104, 0.01), gap=FRESH + 1).findings, "read too long ago"
    for number in range(MAX_PRICES):
        shop.prices[104] = 10.0 + number
        shop.look()
    assert not shop.buy("mallory", (104, 0.01)).findings, "a product with many prices"
    shop = Shop(values=known)
    shop.look()
    assert not shop.buy("mallory", (104, 0.01), gap=-3_600.0).findings, "a clock that was set back"
    shop.engine.time += 3_600.0
    assert shop.buy("mallory", (104, 0.01)).blocked


def test_where_callers_name_their_price_it_is_not_judged() -> None:
    assert learned(cheats=40) is None


def test_engines_tell_each_other(known: Any) -> None:
    one, two = Shop(values=known), Shop(values=known)
    for shop in (one, two):
        shop.engine.state.share(at_once=True)
    one.look()
    news = [entry for entry in one.engine.state.news() if entry[0] == "prices"]
    assert len(news) == 1
    for topic, entry in news:
        two.engine.state.hear(topic, entry)
    two.engine.time = one.engine.time
    assert two.buy("mallory", (104, 0.01)).blocked
    one.look()
    assert not [entry for entry in one.engine.state.news() if entry[0] == "prices"], "nothing new"
    late = Shop(values=known)
    late.engine.state.share(at_once=False)
    assert late.engine.state.recall(news, whole=False) == 0
    assert not len(late.engine.state.watches.of("values")), "the newest price may be lost"
    assert late.engine.state.recall(news, whole=True) == 0
    late.engine.time = one.engine.time
    outcome = late.buy("mallory", (104, 0.01))
    assert outcome.of("value-relation") is not None
    assert not outcome.blocked, "another engine may have read a newer price"


def test_one_callers_products_drive_out_its_own() -> None:
    prices = Prices(limit=100)
    for product in range(50):
        prices.read(product, 5.0, 1e9, f"user{product % 10}")
    for product in range(1_000, 6_000):
        prices.read(product, 5.0, 1e9, "mallory")
    assert len(prices) == 100
    assert all(prices.of(product, 1e9) == (5.0,) for product in range(50))


@settings(max_examples=80, deadline=None)
@given(
    reads=st.lists(st.tuples(st.sampled_from((1.0, 2.0, 3.0)), st.floats(0, 3 * GRACE)), min_size=1, max_size=MAX_PRICES - 1),
    order=st.randoms(),
)
def test_the_order_of_answers_does_not_matter(reads: list[tuple[float, float]], order: random.Random) -> None:
    one, two = Prices(), Prices()
    for price, at in reads:
        one.read(7, price, at, "a")
    mixed = list(reads)
    order.shuffle(mixed)
    for price, at in mixed:
        two.read(7, price, at, "b")
    now = max(at for _, at in reads)
    assert sorted(one.of(7, now)) == sorted(two.of(7, now))


def test_what_is_a_price() -> None:
    assert all(map(named_price, ("price", "unit_price", "unitPrice", "price_cents", "listPrice", "fee", "fare")))
    assert not any(map(named_price, ("total_price", "quantity", "amount", "maxPrice", "shipping_fee", "p" * 400, "price_list")))
    assert [amount_of(one) for one in (5, "19.99", "-1", float("nan"), True, None, "1e5", 10**13)] == [
        5.0, 19.99, None, None, None, None, None, None,
    ]  # fmt: skip
    nested = {"data": {"items": [{"sku": "A-1", "price": "5.00", "vendor": {"id": 3, "fee": 1}}]}, "id": 9}
    assert list(priced(nested, "products")) == [("vendor", "3", 1.0), ("product", "A-1", 5.0)]
    assert list(priced({"id": 1, "price": 5, "cost": 4}, "products")) == [], "two prices"
    assert list(claims({"product": 7, "price": 5, "fee": 1})) == []
    deep: Any = {"id": 1, "price": 1}
    for _ in range(500):
        deep = {"x": deep}
    assert list(priced(deep, "products")) == []
    assert len(list(priced([{"id": n, "price": 1} for n in range(100_000)], "products"))) == 200
