"""What honest callers do that looks like a repeated or a skipped step."""

from __future__ import annotations

import pytest
from tests.unit.behaviours.test_sessions import CART, Store, _endpoint, _sure
from tests.unit.behaviours.test_sessions import knowledge as knowledge
from tests.unit.behaviours.test_sessions import store as store

from eastwall.behaviours.sessions import kinship
from eastwall.behaviours.single_use.model import Single
from eastwall.behaviours.single_use.watch import Watch as SingleUse
from eastwall.model.call import Phase
from eastwall.model.endpoint import Parameter

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
