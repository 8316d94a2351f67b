"""Settled workloads and the edges they never had."""

from __future__ import annotations

import pytest

from eastwall.behaviours import World
from eastwall.behaviours.edges.model import MAX_NETWORKS, Model, network_of
from eastwall.behaviours.edges.watch import Watch, compile
from eastwall.detections.new_edge.detector import detect as told
from eastwall.detections.pivot.detector import detect as pivots
from eastwall.discovery.inventory import compile_inventory
from eastwall.model.call import BodyState, Call, Peer, Phase, Request, Response
from eastwall.model.decision import ALLOWED, Decision
from eastwall.model.deviations import NewEdge
from eastwall.model.endpoint import Endpoint, Match, ObjectParameter
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity, Strength
from eastwall.model.operation import Operation
from eastwall.model.record import CallRecord

START = 1_772_409_600.0
USUAL = Endpoint("ep_usual", "shop", "GET", "/orders/{order_id}")
PRIVATE = Endpoint(
    "ep_private", "shop", "GET", "/invoices/{invoice_id}", objects=(ObjectParameter("path.invoice_id", "invoice", True, 0.9),)
)
ADMIN = Endpoint("ep_admin", "shop", "GET", "/admin/users")
HARMLESS = Endpoint("ep_harmless", "shop", "GET", "/products")
BY_USE = Endpoint("ep_rows", "shop", "POST", "/exchange/outgoing", users=(("user+admin", 9, 2),))
ENDPOINTS = (USUAL, PRIVATE, ADMIN, HARMLESS, BY_USE)


def record(number, endpoint="ep_usual", source="10.1.0.9", service="shop", at=None, cls="client:billing"):
    return CallRecord(
        1, str(number), START + number * 300 if at is None else at, service, "GET", "/", "shop", 200, 0, 0, 0, source, endpoint,
        actor=cls, actor_class=cls, strength=3,
    )  # fmt: skip


def learned(calls=60, more=()):
    model = Model()
    for one in [*(record(number) for number in range(calls)), *more]:
        model.fold(one, one.endpoint, None, clean=True)
    return model


def known(model):
    knowledge = model.publish(ENDPOINTS)
    assert knowledge is not None
    return compile(knowledge, World(ENDPOINTS, bytes(32), compile_inventory(ENDPOINTS)))


def facts(endpoint, number=0, source="10.1.0.9", service="shop", cls="client:billing", response=None, prior=None):
    at = START + 60 * 300 + number
    request = Request("GET", "/x", {})
    call = Call(f"{number} {source}", service, at, Peer(source), request, response, prior)
    return Facts(
        call,
        Phase.REQUEST if response is None else Phase.RESPONSE,
        Operation("rest", "GET", ("x",), "/x"),
        Match(endpoint),
        Identity(cls, "client", Strength.VERIFIED, cls),
        used=(("path.invoice_id", "invoice", number, str(number)),),
    )


def ask(watch, table, one):
    found = watch.request(one, table)
    whole = Facts(one.call, one.phase, one.operation, one.match, one.identity, used=one.used, deviations=found)
    watch.after(whole, ALLOWED, table)
    return whole


def test_first_use_of_an_operation_is_told_and_the_fourth_object_is_lateral_movement():
    watch, table = Watch(), known(learned())
    assert ask(watch, table, facts(USUAL)).deviations == ()
    first = ask(watch, table, facts(PRIVATE, 1))
    (edge,) = first.deviations
    assert (edge.kind, edge.calls, edge.known, edge.uses, edge.reach) == ("operation", 60, 1, 1, ("objects of single callers",))
    assert [f.confidence for f in told(first)] == ["low"]
    assert pivots(first) == ()
    later = [ask(watch, table, facts(PRIVATE, number)) for number in range(2, 6)]
    assert [bool(pivots(one)) for one in later] == [False, False, True, True]
    (found,) = pivots(later[-1])
    assert (found.severity, found.confidence) == ("high", "medium")
    assert "5 objects" in found.message
    assert "after 60 calls" in found.message


@pytest.mark.parametrize("endpoint", [ADMIN, BY_USE])
def test_administration_is_lateral_movement_at_once(endpoint):
    assert pivots(ask(Watch(), known(learned()), facts(endpoint)))


def test_what_reaches_nothing_is_only_told():
    watch, table = Watch(), known(learned())
    for number in range(30):
        one = ask(watch, table, facts(HARMLESS, number))
        assert told(one)
        assert pivots(one) == ()


def test_what_several_instances_begin_to_do_is_a_release():
    watch, table = Watch(), known(learned())
    for number in range(20):
        one = ask(watch, table, facts(PRIVATE, number, source=f"10.1.0.{number % 3}"))
    assert pivots(one) == ()


@pytest.mark.parametrize(("users", "uses"), [(("client:billing",), 1), (("client:billing", "user"), 6), ((), 6)])
def test_what_nobody_else_ever_called_is_a_release(users, uses):
    own = Endpoint("ep_private", "shop", "GET", "/x", objects=PRIVATE.objects, users=tuple((cls, 5, 1) for cls in users))
    watch, table = Watch(), known(learned())
    told_of = [ask(watch, table, facts(own, number)) for number in range(1, 7)]
    assert told_of[-1].deviations[0].uses == uses
    assert bool(pivots(told_of[-1])) is (uses > 1)


@pytest.mark.parametrize(("alone", "found"), [(0.9, True), (0.8, False)])
def test_objects_of_which_colleagues_were_shown_some_are_still_those_of_single_callers(alone, found):
    shared = Endpoint(
        "ep_private", "shop", "GET", "/x", objects=(ObjectParameter("path.invoice_id", "invoice", False, 0.0, alone=alone),)
    )
    model = learned()
    knowledge = model.publish((shared, USUAL))
    assert knowledge is not None
    table = compile(knowledge, World((shared, USUAL), bytes(32), compile_inventory((shared, USUAL))))
    watch = Watch()
    told_of = [ask(watch, table, facts(shared, number)) for number in range(1, 5)]
    assert bool(pivots(told_of[-1])) is found


def test_refusals_around_a_new_edge_count_and_are_forgotten():
    watch, table = Watch(), known(learned())
    for number in range(3):
        refused = facts(USUAL, number, response=Response(403, {}, b"", BodyState.NONE))
        watch.after(refused, ALLOWED, table)
    assert pivots(ask(watch, table, facts(PRIVATE, 10)))
    assert pivots(ask(Watch(), table, facts(PRIVATE, 10))) == ()
    assert pivots(ask(watch, table, facts(PRIVATE, 10 + 3_601))) == ()


def test_an_attack_by_the_same_caller_counts():
    watch, table = Watch(), known(learned())
    from eastwall.model.finding import Finding

    seen = Finding("sql-injection", "critical", "high", ("A03:2021",), "query.q", "an injection")
    asked = facts(USUAL)
    prior = Decision("1", Phase.REQUEST, asked.match, asked.identity, asked, (seen,), ALLOWED)
    watch.after(facts(USUAL, response=Response(200, {}, b"", BodyState.NONE), prior=prior), ALLOWED, table)
    assert pivots(ask(watch, table, facts(PRIVATE, 5)))


def test_a_public_source_of_who_was_always_inside():
    watch, table = Watch(), known(learned())
    one = ask(watch, table, facts(USUAL, source="185.220.101.9"))
    (edge,) = one.deviations
    assert (edge.kind, edge.target, edge.reach) == ("source", "185.220.101.0/24", ("public network",))
    assert pivots(one)
    inside = ask(watch, table, facts(USUAL, source="10.200.7.7"))
    assert inside.deviations == ()


def test_who_is_at_home_everywhere_is_not_judged_by_networks():
    roaming = [record(number, source=f"185.{number}.101.9") for number in range(60, 60 + MAX_NETWORKS)]
    one = ask(Watch(), known(learned(more=roaming)), facts(USUAL, source="9.9.9.9"))
    assert one.deviations == ()


def test_callers_that_are_not_settled_are_not_judged():
    assert learned(10).publish(ENDPOINTS) is None
    wandering = Model()
    for number in range(60):
        wandering.fold(record(number, endpoint=f"ep_{number}"), f"ep_{number}", None, clean=True)
    assert wandering.publish(ENDPOINTS) is None
    hasty = Model()
    for number in range(500):
        hasty.fold(record(number, at=START + number), "ep_usual", None, clean=True)
    assert hasty.publish(ENDPOINTS) is None


def test_an_edge_becomes_known_with_time_and_not_by_a_burst():
    burst = [record(60 + n, endpoint="ep_private", at=START + 60 * 300 + n) for n in range(5)]
    assert ask(Watch(), known(learned(more=burst)), facts(PRIVATE, 9)).deviations != ()
    steady = [record(60 + n, endpoint="ep_private", at=START + 60 * 300 + n * 600) for n in range(30)]
    assert ask(Watch(), known(learned(more=steady)), facts(PRIVATE, 9)).deviations == ()


def test_users_are_judged_by_service_alone():
    model = Model()
    for number in range(60):
        model.fold(record(number, cls="user+member"), "ep_usual", None, clean=True)
    table = known(model)
    assert ask(Watch(), table, facts(ADMIN, cls="user+member")).deviations == ()
    (edge,) = ask(Watch(), table, facts(None, cls="user+member", service="payroll")).deviations
    assert (edge.kind, edge.target) == ("service", "payroll")


def test_what_is_remembered_is_bounded():
    watch, table = Watch(), known(learned())
    for number in range(2_000):
        endpoint = Endpoint(f"ep_{number}", "shop", "GET", f"/new/{number}")
        for key in range(2):
            ask(watch, table, facts(endpoint, number * 2 + key))
    assert len(watch) == 1
    session = watch._sessions.get("client:billing")
    assert len(session.edges) <= 32
    assert all(len(edge.objects) <= 256 for edge in session.edges.values())


def test_networks():
    assert [network_of(a) for a in ("10.0.0.1", "8.8.4.4", "2001:4860:4860::8888", "::1", "nobody")] == [
        "private", "8.8.4.0/24", "2001:4860:4860::/48", "private", "",
    ]  # fmt: skip
    assert NewEdge("operation", "operation", "a", "b", 1, 1, 0.1).uses == 0


def test_an_edge_that_was_begun_grows_old_though_its_caller_is_silent():
    """The second job of a program began an hour ago, and the program was not seen since: that is what it does, too."""
    table = known(learned(more=[record(n, "ep_private", at=START + 59 * 300 + n) for n in range(1, 6)]))
    watch = Watch()
    assert ask(watch, table, facts(PRIVATE, 1)).deviations != (), "begun within the hour: whoever took it over may have begun it"
    assert ask(watch, table, facts(PRIVATE, 3_600)).deviations == ()
    assert ask(watch, table, facts(ADMIN, 3_601)).deviations != ()
