"""What honest callers do that looks like a repeated or a skipped step."""

from __future__ import annotations

import pytest
from tests.unit.behaviours.test_sessions import CART, OURS, Store, _endpoint, _sure
from tests.unit.behaviours.test_sessions import knowledge as knowledge
from tests.unit.behaviours.test_sessions import store as store

from eastwall.behaviours.sessions import kinship
from eastwall.behaviours.sessions.model import Model
from eastwall.behaviours.single_use.model import Single
from eastwall.behaviours.single_use.watch import Watch as SingleUse
from eastwall.model.call import Phase
from eastwall.model.endpoint import Endpoint, Parameter

_LINE = (Parameter("line_id", "integer"),)
_NESTED = (Parameter("order_id", "integer"), Parameter("line_id", "integer"))
LINES = (
    _endpoint("GET", "/products"),
    _endpoint("POST", "/orders/lines/{line_id}", parameters=_LINE),
    _endpoint("POST", "/orders/{order_id}/lines/{line_id}/cancel", parameters=_NESTED),
)


def _line(store: Store, order: int, line: int, user: str, *, nested: bool) -> list[str]:
    if nested:
        return _sure(store.do("POST", f"/orders/{order}/lines/{line}/cancel", {"n": 1}, user=user))
    return _sure(store.do("POST", f"/orders/lines/{line}", {"order_id": order}, user=user))


def _lines(*, nested: bool) -> Store:
    """Twenty callers, each with one line of one order."""
    store = Store(LINES)
    for n in range(20):
        _line(store, 4_000 + n, 1, f"u{n}", nested=nested)
    store.publish()
    store.learning = False
    store.do("GET", "/products", user="early")
    store.time += 4 * 86_400.0
    return store


@pytest.mark.parametrize("nested", [False, True])
def test_the_first_line_of_another_order_is_another_line(nested: bool) -> None:
    store = _lines(nested=nested)
    assert [_line(store, 7_000 + n, 1, "alice", nested=nested) for n in range(6)] == [[]] * 6
    again = [_line(store, 7_000, 1, "alice", nested=nested) for _ in range(3)]
    assert again[-1] == ["step-repeated"], "the same line of the same order"


def test_a_long_id_is_one_thing_whatever_else_is_named() -> None:
    """Else a step is repeated by naming another container each time."""
    store = _lines(nested=False)
    again = [_line(store, 7_000 + n, 88_412, "alice", nested=False) for n in range(5)]
    assert again[-1] == ["step-repeated"]


def test_who_reads_by_post_comes_back() -> None:
    """Where no name says that a step is taken once, one who came back is enough for it to be none, until many did not."""
    store = Store(LINES)
    for n in range(24):
        _line(store, 4_000 + n, 88_000 + n, f"u{n}", nested=False)
    _line(store, 4_000, 88_000, "u0", nested=False)
    store.publish()
    store.do("GET", "/products", user="early")
    store.time += 4 * 86_400.0
    assert [_line(store, 4_100, 88_100, "alice", nested=False) for _ in range(5)] == [[]] * 5
    for n in range(100):
        _line(store, 5_000 + n, 89_000 + n, f"v{n}", nested=False)
    store.publish()
    assert [_line(store, 4_101, 88_101, "bob", nested=False) for _ in range(5)][-1] == ["step-repeated"]


def test_two_windows_are_two_carts_in_the_making(store: Store) -> None:
    """Both are paid before either is placed: the second one is due too. A third one is not."""
    assert _sure(store.cart("alice", *CART[:3], *CART[:3], "place")) == []
    assert _sure(store.cart("alice", "items", "place")) == [], "the second cart's"
    assert _sure(store.cart("alice", "items", "place")) == ["sequence-broken"]


def test_what_was_left_undone_long_ago_is_no_second_window(store: Store) -> None:
    assert _sure(store.cart("alice", *CART[:3])) == []
    store.time += 3_600.0
    assert _sure(store.cart("alice", *CART)) == []
    assert _sure(store.cart("alice", "items", "place")) == ["sequence-broken"]


def test_what_an_object_is_says_not_what_is_done_to_it() -> None:
    """Who wants the link of a claim once more claims nothing."""
    ids = (Parameter("claim_id", "integer"),)
    link, approve = (_endpoint("POST", f"/claims/{{claim_id}}/{step}", parameters=ids) for step in ("link", "vote"))
    assert [kinship.one_time(one) for one in (link, approve)] == [False, True]
    linked = _endpoint("POST", "/graphql", protocol="graphql", operation="mutation linkClaim")
    assert kinship.one_time(linked)
    assert not kinship.one_time(linked, ("claim",))


@pytest.mark.parametrize(
    ("template", "operation", "noted"),
    [
        ("/graphql", "query giftcard", False),
        ("/shop.v1.Shop/GetGiftcard", "", False),
        ("/giftcards/check", "", False),
        ("/giftcards/redeem", "", True),
        ("/graphql", "mutation applyCoupon", True),
    ],
)
def test_who_asks_what_a_gift_card_holds_uses_nothing_up(template: str, operation: str, noted: bool) -> None:
    endpoint = _endpoint("POST", template, operation=operation, protocol="graphql" if operation else "rest")
    assert SingleUse().notes(endpoint, {}) is noted
    known = {(endpoint.id, "body.code"): Single(endpoint.id, "body.code", "caller", 40, 12)}
    assert SingleUse().asks(Phase.REQUEST, endpoint, known) is noted


def test_of_an_object_from_before_a_day_must_have_been_watched(store: Store) -> None:
    """Support gives back today what was paid this morning, before the engine began."""
    fresh = Store()
    fresh.model, fresh.time, fresh.learning = Model.load(store.model.dump()), store.time, False
    fresh.publish()
    fresh.do("GET", "/products", user="early")
    fresh.time += 20 * 3_600.0
    assert _sure(fresh.do("POST", "/orders/7/refund", {"n": 1}, user="staff")) == []
    fresh.time += 5 * 3_600.0
    assert _sure(fresh.do("POST", "/orders/8/refund", {"n": 1}, user="staff")) == ["sequence-broken"]


_GRAPHQL = tuple(
    Endpoint(
        f"ep_{name}", "orders", "POST", "/graphql", operation=f"mutation {name}", protocol="graphql", status="learned", calls=500
    )
    for name in ("otpVerify", "transfer")
)


def _mutate(store: Store, name: str, user: str, *, fails: bool = False) -> list[str]:
    begun = store.begin("POST", "/graphql", {"query": f"mutation M {{ {name}(n: 1) {{ ok }} }}"}, user=user)
    store.end(begun, 200, {"data": {name: None}, "errors": [{"message": "no"}]} if fails else {"data": {name: {"ok": True}}})
    return _sure([found for found in begun[1].findings if found.id in OURS])


def test_a_mutation_that_failed_was_not_done() -> None:
    """GraphQL answers 200 with errors beside a null: the code was wrong."""
    store = Store(_GRAPHQL)
    for n in range(40):
        store.time += 600.0
        _mutate(store, "otpVerify", f"u{n % 20}")
        _mutate(store, "transfer", f"u{n % 20}")
    store.publish()
    store.learning = False
    _mutate(store, "otpVerify", "early")
    store.time += 4 * 86_400.0
    _mutate(store, "otpVerify", "alice", fails=True)
    assert _mutate(store, "transfer", "alice") == ["sequence-broken"]
    _mutate(store, "otpVerify", "bob")
    assert _mutate(store, "transfer", "bob", fails=True) == []
    assert _mutate(store, "transfer", "bob") == [], "nothing was sent: the code is still good"
