"""Callers who name only what they were given: learned per place and kind, and told of an object that no answer ever gave."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.behaviours.driven import Engine

from eastwall.behaviours.ownership_claims.judging import Broad
from eastwall.behaviours.ownership_claims.model import Knowledge, Model
from eastwall.model.call import Mode
from eastwall.model.endpoint import Endpoint, ObjectParameter, Parameter
from eastwall.model.record import CallRecord

ID = (Parameter("order_id", "integer"),)
ORDERS = Endpoint("ep_orders", "orders", "GET", "/orders", status="learned")
ORDER = Endpoint("ep_order", "orders", "GET", "/orders/{order_id}", ID, status="learned")
PAY = Endpoint("ep_pay", "orders", "POST", "/orders/{order_id}/pay", ID, status="learned")
TRACK = Endpoint("ep_track", "orders", "GET", "/track/{order_id}", ID, status="learned")
ME = Endpoint("ep_me", "orders", "GET", "/me", status="learned")
OWNER = Endpoint("ep_owner", "orders", "POST", "/orders/{order_id}/owner", ID, status="learned")
MOVE = Endpoint("ep_move", "orders", "POST", "/orders/{order_id}/move", ID, status="learned")
SHARE = Endpoint("ep_share", "orders", "POST", "/shares", status="learned")
ALL = (ORDERS, ORDER, PAY, TRACK, ME, SHARE, OWNER, MOVE)
PEOPLE = [f"p{n}" for n in range(8)]


class Learned:
    """A monitoring engine and the model that folds what its watch notes."""

    def __init__(self, *, owners: bool = False) -> None:
        self.owners = owners
        """Answers tell whose an order is."""
        self.engine = Engine(mode=Mode.MONITOR, endpoints=ALL)
        self.model = Model()

    def ask(self, endpoint: Endpoint, path: str, answer: Any, user: str) -> None:
        told = self.engine.ask(endpoint.method, path, answer=answer, user=user)
        record = CallRecord(
            1, "x", 1.0, "orders", endpoint.method, path, "", 200, 0, 0, 0, "", actor=told.actor, actor_class="user"
        )
        self.model.fold(record, endpoint.id, told.notes.get("ownership_claims"), clean=True)

    def visits(self, turns: int) -> Learned:
        """Everybody lists, opens and pays."""
        for turn in range(turns):
            for at, user in enumerate(PEOPLE):
                number = 100 * at + turn
                order = {"id": number} | ({"owner_id": user} if self.owners else {})
                self.ask(ORDERS, "/orders", {"items": [order]}, user)
                self.ask(ORDER, f"/orders/{number}", order, user)
                self.ask(PAY, f"/orders/{number}/pay", {"state": "paid"}, user)
        return self

    def known(self) -> Knowledge:
        found = self.model.publish(ALL)
        assert isinstance(found, Knowledge)
        return found


@pytest.fixture(scope="module")
def learned() -> Learned:
    return Learned().visits(10)


@pytest.fixture(scope="module")
def known(learned: Learned) -> Knowledge:
    return learned.known()


def _engine(known: Knowledge) -> Engine:
    """Somebody who was given an order of their own, and somebody who holds another one."""
    engine = Engine(endpoints=ALL, ownership_claims=known)
    engine.ask("GET", "/orders", answer={"items": [{"id": 7_001}]}, user="p1")
    engine.ask("GET", "/orders", answer={"items": [{"id": 7_002}]}, user="p2")
    return engine


def test_who_lists_before_opening_is_learned_for_places_and_for_the_kind(known: Knowledge) -> None:
    found = {(one.endpoint, one.kind): (one.given, one.of, one.actors, one.exceptions) for one in known.given if one.actors}
    assert found["ep_order", "order"] == (80, 80, 8, ())
    assert found["", "order"] == (160, 160, 8, ())


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/orders/7002"), ("POST", "/orders/7002/pay"), ("DELETE", "/orders/7002"), ("GET", "/orders/7002/papers")],
)
def test_another_s_order_is_refused_by_operations_known_and_unknown(known: Knowledge, method: str, path: str) -> None:
    told = _engine(known).ask(method, path, answer={"ok": True}, user="p1")
    assert told.blocked
    finding = told.of("object-not-granted")
    assert finding is not None
    assert "callers of its class named what an answer had given them before" in finding.message


def test_what_nobody_holds_is_refused_to_who_was_given_something(known: Knowledge) -> None:
    engine = _engine(known)
    assert engine.ask("POST", "/orders/9999/pay", answer={"ok": True}, user="p1").blocked
    stranger = engine.ask("POST", "/orders/9999/pay", answer={"ok": True}, user="newcomer")
    assert not stranger.blocked, "its first list may have been before we looked"


def test_one_s_own_passes(known: Knowledge) -> None:
    engine = _engine(known)
    for method, path in (("GET", "/orders/7001"), ("POST", "/orders/7001/pay"), ("DELETE", "/orders/7001")):
        assert not engine.ask(method, path, answer={"ok": True}, user="p1").findings


def test_a_place_that_links_in_mails_lead_to_is_not_judged() -> None:
    learned = Learned().visits(10)
    for at, user in enumerate(PEOPLE):
        for turn in range(4):
            learned.ask(TRACK, f"/track/{5_000 + 100 * at + turn}", {"state": "on its way"}, user)
    known = learned.known()
    engine = _engine(known)
    assert not engine.ask("GET", "/track/7002", answer={"ok": True}, user="p1").findings
    assert not engine.ask("DELETE", "/orders/7002", answer={"ok": True}, user="p1").findings, "nor what nobody ever called"
    assert engine.ask("POST", "/orders/7002/pay", answer={"ok": True}, user="p1").blocked, "places that are kept to still are"


def test_one_caller_who_reads_everybody_s_while_we_learn_is_an_exception_and_opens_nothing() -> None:
    learned = Learned().visits(10)
    for turn in range(10):
        learned.ask(ORDER, f"/orders/{100 + turn}", {"state": "open"}, "p0")
    engine = _engine(learned.known())
    assert not engine.ask("POST", "/orders/7002/pay", answer={"ok": True}, user="p0").findings
    assert engine.ask("POST", "/orders/7002/pay", answer={"ok": True}, user="p1").blocked


def test_too_few_calls_say_nothing() -> None:
    found = Learned().visits(1).model.publish(ALL)
    assert found is None or not [one for one in getattr(found, "given", ()) if one.actors]


def test_state_of_before_is_read_and_judges_nobody(learned: Learned) -> None:
    places, named = learned.model.dump()
    before = [
        [endpoint, [[place, kind, [[c, [[a, n[:2]] for a, n in actors]] for c, actors in cls]] for place, kind, cls in found]]
        for endpoint, found in named
    ]
    assert Model.load([places, named]).dump() == [places, named]
    found = Model.load([places, before]).publish(ALL)
    assert isinstance(found, Knowledge)
    assert not [one for one in found.given if one.actors]


def test_who_is_named_deep_in_a_request_has_it_shared(known: Knowledge) -> None:
    engine = _engine(known)
    engine.ask("GET", "/me", answer={"data": {"me": {"id": 3, "name": "Ann Lee"}}}, user="p1")
    assert engine.ask("POST", "/orders/7002/pay", answer={"ok": True}, user="p1").blocked
    body = {"variables": {"order_id": 7002, "input": {"with": "ann lee"}}}
    engine.ask("POST", "/shares", body, answer={"ok": True}, user="p2")
    assert not engine.ask("POST", "/orders/7002/pay", answer={"ok": True}, user="p1").findings


def test_what_is_a_name_in_a_path_and_held_by_nobody_is_not_judged(known: Knowledge) -> None:
    told = _engine(known).ask("PUT", "/orders/export", {"a": 1}, answer={"ok": True}, user="p1")
    assert told.of("object-not-granted") is None


def test_digits_elsewhere_in_the_path_make_no_id_of_a_name(known: Knowledge) -> None:
    """A verb that is not known yet, taken for an order's id: whose path it is has a number, the verb has none."""
    inside = (Parameter("user_id", "string"), *ID)
    nested = Endpoint("ep_nested", "orders", "POST", "/users/{user_id}/orders/{order_id}", inside, status="learned")
    engine = Engine(endpoints=(*ALL, nested), ownership_claims=known)
    engine.ask("GET", "/orders", answer={"items": [{"id": 7_001}]}, user="p1")
    assert (
        engine.ask("POST", "/users/p1/orders/archive", {"a": 1}, answer={"ok": True}, user="p1").of("object-not-granted") is None
    )
    assert engine.ask("POST", "/users/p1/orders/8001", {"a": 1}, answer={"ok": True}, user="p1").of("object-not-granted")


@pytest.mark.parametrize(
    ("roles", "settled", "blocked"), [((), True, True), (("night",), True, False), (("night",), False, True)]
)
def test_a_class_that_was_not_seen_with_a_kind_is_not_judged_by_who_holds_it(
    roles: tuple[str, ...], settled: bool, blocked: bool
) -> None:
    private = ObjectParameter("path.order_id", "order", exclusive=True, confidence=0.97, settled=("user",) if settled else ())
    engine = Engine(endpoints=(ORDERS, replace(ORDER, objects=(private,))))
    engine.ask("GET", "/orders", answer={"items": [{"id": 7_002}]}, user="p2")
    assert engine.ask("GET", "/orders/7002", answer={"id": 7_002}, user="p1", roles=roles).blocked is blocked


def test_what_was_shared_before_the_operation_was_known_stays_shared(known: Knowledge) -> None:
    engine = _engine(known)
    engine.ask("GET", "/me", answer={"id": 3, "name": "Ann Lee"}, user="p1")
    engine.ask("POST", "/orders/7001/visitors", {"who": "ann lee"}, answer={"ok": True}, user="p1")
    engine.ask("POST", "/orders/7002/visitors", {"who": "ann lee"}, answer={"ok": True}, user="p3")
    assert engine.ask("POST", "/orders/7002/pay", answer={"ok": True}, user="p1").blocked, "nobody shares what is another's"
    engine.ask("POST", "/orders/7002/visitors", {"who": "ann lee"}, answer={"ok": True}, user="p2")
    assert not engine.ask("POST", "/orders/7002/pay", answer={"ok": True}, user="p1").findings


@pytest.mark.parametrize("path", ["/orders/7001/owner", "/orders/7001/move"])
def test_who_hands_an_object_over_is_refused_a_while_later(path: str) -> None:
    """By the name of the operation, or by the owner that its answer tells."""
    engine = _engine(Learned(owners=True).visits(10).known())
    engine.ask("GET", "/me", answer={"id": 3, "email": "p2@mail.example"}, user="p2")
    told = engine.ask("POST", path, {"to": "p2@mail.example"}, answer={"id": 7001, "owner_id": "p2"}, user="p1")
    assert not told.blocked
    assert not engine.ask("POST", "/orders/7001/pay", answer={"ok": True}, user="p1").blocked, "pages are loaded anew"
    assert engine.ask("POST", "/orders/7001/pay", answer={"ok": True}, user="p1", gap=3_600.0).blocked
    assert not engine.ask("POST", "/orders/7001/pay", answer={"ok": True}, user="p2").findings
    engine.ask("GET", "/orders", answer={"items": [{"id": 7001}]}, user="p1")
    assert not engine.ask("POST", "/orders/7001/pay", answer={"ok": True}, user="p1").findings, "it was given back"


@pytest.mark.parametrize(("path", "blocked"), [("/orders/7001/ownership", True), ("/orders/7001/owner-17", False)])
def test_who_handed_an_object_over_before_the_operation_was_known_is_refused_too(path: str, blocked: bool) -> None:
    engine = _engine(Learned(owners=True).visits(10).known())
    engine.ask("GET", "/me", answer={"id": 3, "email": "p2@mail.example"}, user="p2")
    engine.ask("POST", path, {"to": "p2@mail.example"}, answer={"done": True}, user="p1")
    assert engine.ask("POST", "/orders/7001/pay", answer={"ok": True}, user="p1", gap=3_600.0).blocked is blocked
    assert not engine.ask("POST", "/orders/7001/pay", answer={"ok": True}, user="p2").findings


def test_who_shares_an_object_keeps_it() -> None:
    engine = _engine(Learned(owners=True).visits(10).known())
    engine.ask("GET", "/me", answer={"id": 3, "email": "p2@mail.example"}, user="p2")
    engine.ask("POST", "/orders/7001/move", {"with": "p2@mail.example"}, answer={"id": 7001, "owner_id": "p1"}, user="p1")
    for user in ("p1", "p2"):
        assert not engine.ask("POST", "/orders/7001/pay", answer={"ok": True}, user=user, gap=3_600.0).findings


def test_what_a_plain_list_shows_is_shared_and_what_a_list_of_another_shows_is_not() -> None:
    known = Learned(owners=True).visits(10).known()
    engine = Engine(mode=Mode.MONITOR, endpoints=ALL, ownership_claims=known)
    shown = {"items": [{"id": 7_100, "owner_id": "p1"}, {"id": 7_101, "owner_id": "p2"}]}
    engine.ask("GET", "/orders", answer=shown, user="p1")
    assert engine.ask("POST", "/orders/7101/pay", answer={"ok": True}, user="p1").of("object-not-granted") is None
    engine.ask("GET", "/orders?owner_id=p2", answer={"items": [{"id": 7_102, "owner_id": "p2"}]}, user="p1")
    assert engine.ask("POST", "/orders/7102/pay", answer={"ok": True}, user="p1").of("object-not-granted") is not None


def test_who_chooses_from_a_catalogue_is_no_staff(known: Knowledge) -> None:
    """Only who sees all of what others see their own of alone makes room for owners."""
    everybody = Broad("orders", "product", ("user",))
    engine = Engine(endpoints=ALL, ownership_claims=replace(known, broad=(*known.broad, everybody)))
    engine.ask("GET", "/orders", answer={"items": [{"product_id": 5}]}, user="p1")
    assert not engine.state.grants.is_staff("user:p1")
    staff = Broad("orders", "product", ("user",), judged=("client",))
    engine = Engine(endpoints=ALL, ownership_claims=replace(known, broad=(*known.broad, staff)))
    engine.ask("GET", "/orders", answer={"items": [{"product_id": 5}]}, user="p1")
    assert engine.state.grants.is_staff("user:p1")
