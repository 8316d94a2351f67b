"""Who was given several objects of one owner reads them for that one; who looked at the same products does not."""

from __future__ import annotations

from msgspec.structs import replace
from tests.unit.behaviours.driven import Engine

from eastwall.behaviours.ownership_claims import watch
from eastwall.decision.extract import _without
from eastwall.model.endpoint import Endpoint, ObjectParameter, Parameter
from eastwall.model.identity import Identity, Strength

ORDER = Endpoint(
    "ep_order",
    "orders",
    "GET",
    "/orders/{order_id}",
    (Parameter("order_id", "integer"),),
    objects=(ObjectParameter("path.order_id", "order", True, 0.95, alone=0.9),),
    status="learned",
)
ORDERS = Endpoint("ep_orders", "orders", "GET", "/orders", status="learned")
PRODUCTS = Endpoint("ep_products", "orders", "GET", "/products", status="learned")
PUBLIC = Endpoint(
    "ep_product",
    "orders",
    "GET",
    "/products/{product_id}",
    (Parameter("product_id", "integer"),),
    objects=(ObjectParameter("path.product_id", "product", False, 0.0, alone=0.1),),
    status="learned",
)


def _engine() -> Engine:
    engine = Engine(endpoints=(ORDER, ORDERS, PRODUCTS, PUBLIC))
    engine.ask("GET", "/orders", answer=[{"id": n} for n in range(1, 9)], user="alice")
    return engine


def _given(count: int) -> list[dict[str, int]]:
    return [{"id": n} for n in range(1, 1 + count)]


def test_four_orders_of_one_owner_make_an_assistant() -> None:
    engine = _engine()
    engine.ask("GET", "/orders", answer=_given(watch.ASSISTS), user="bob")
    assert not engine.ask("GET", "/orders/8", answer={"id": 8}, user="bob").blocked
    engine.ask("GET", "/orders", answer=_given(watch.ASSISTS - 1), user="carol")
    assert engine.ask("GET", "/orders/8", answer={"id": 8}, user="carol").of("object-not-granted") is not None


def test_products_of_a_catalogue_do_not() -> None:
    engine = _engine()
    for user in ("alice", "bob"):
        engine.ask("GET", "/products", answer=_given(20), user=user)
    assert engine.ask("GET", "/orders/8", answer={"id": 8}, user="bob").of("object-not-granted") is not None


def test_nor_those_that_looked_private_while_few_were_seen() -> None:
    few = tuple(replace(one, objects=tuple(replace(each, alone=0.9) for each in one.objects)) for one in (ORDER, PUBLIC))
    engine = Engine(endpoints=(*few, ORDERS, PRODUCTS))
    engine.ask("GET", "/orders", answer=[{"id": n} for n in range(1, 9)], user="alice")
    for user in ("alice", "bob"):
        engine.ask("GET", "/products", answer=_given(20), user=user)
    assert not engine.ask("GET", "/orders/8", answer={"id": 8}, user="bob").blocked, "nothing else is known"
    engine.snapshot = _engine().snapshot
    assert engine.ask("GET", "/orders/7", answer={"id": 7}, user="bob").of("object-not-granted") is not None
    engine.ask("GET", "/orders", answer=_given(watch.ASSISTS), user="bob")
    assert not engine.ask("GET", "/orders/7", answer={"id": 7}, user="bob").blocked, "an assistant all the same"


def test_what_went_to_another_tenant_is_no_longer_the_former_one_s() -> None:
    bob = Identity("user:bob", "user", Strength.VERIFIED, cls="user", tenant="t1")
    within, elsewhere = ("user:bob", "tenant:t1", "user:eve"), ("user:bob", "tenant:t1", "user:dan", "tenant:t2")
    assert _without(bob, within) == ("tenant:t1", "user:eve")
    assert _without(bob, elsewhere) == ("user:dan", "tenant:t2")
    assert _without(replace(bob, tenant=""), ("user:bob", "tenant:t2")) == ("tenant:t2",)


def test_what_was_given_before_anything_was_known_of_its_kind_counts() -> None:
    """An object is given for the first time once."""
    engine = Engine(endpoints=(replace(ORDER, objects=()), ORDERS, PRODUCTS, replace(PUBLIC, objects=())))
    engine.ask("GET", "/orders", answer=[{"id": n} for n in range(1, 9)], user="alice")
    engine.ask("GET", "/orders", answer=_given(watch.ASSISTS), user="bob")
    for user in ("alice", "carol"):
        engine.ask("GET", "/products", answer=_given(20), user=user)
    engine.snapshot = _engine().snapshot
    assert not engine.ask("GET", "/orders/8", answer={"id": 8}, user="bob").blocked
    assert engine.ask("GET", "/orders/8", answer={"id": 8}, user="carol").of("object-not-granted") is not None
