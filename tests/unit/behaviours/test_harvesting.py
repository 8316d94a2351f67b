"""What one caller asks one operation for: pages, queries, objects; and who is left alone."""

from __future__ import annotations

import random

from tests.unit.behaviours.driven import Engine
from tests.unit.decision.world import ENDPOINTS

from eastwall.behaviours.harvesting.model import Group, Knowledge, Model
from eastwall.behaviours.harvesting.watch import FREE_HOUR, MAX_OPERATIONS, MAX_TARGETS, _reads
from eastwall.behaviours.maxima import Usual
from eastwall.discovery.inventory import endpoint_id
from eastwall.model.endpoint import Endpoint, Parameter
from eastwall.model.record import RECORD_VERSION, CallRecord

PEOPLE = Endpoint(
    id=endpoint_id("orders", "GET", "/people/{person_id}"), service="orders", method="GET", template="/people/{person_id}",
    parameters=(Parameter("person_id", "integer"),), status="learned",
)  # fmt: skip
SEARCH = Endpoint(
    id=endpoint_id("orders", "GET", "/search"), service="orders", method="GET", template="/search", status="learned"
)
POST = Endpoint(
    id=endpoint_id("orders", "POST", "/search"), service="orders", method="POST", template="/search", status="learned"
)
ALL = (*ENDPOINTS, PEOPLE, SEARCH, POST)
PERSON = Usual(callers=20, calls=400, some=20, most=(3, 4, 9))


def engine() -> Engine:
    groups = [Group(one.id, "user", PERSON) for one in (PEOPLE, SEARCH, POST)]
    groups.append(Group(SEARCH.id, "user+sync", Usual(callers=1, calls=4_000, some=1, most=(500, 900, 9_000))))
    return Engine(endpoints=ALL, harvesting=Knowledge(tuple(groups)))


def stopped_at(outcomes: list) -> int:
    return next((at for at, outcome in enumerate(outcomes, 1) if outcome.blocked), 0)


def test_a_directory_read_entry_by_entry():
    e = engine()
    tried = [e.ask("GET", f"/people/{n}", user="mallory", gap=20.0) for n in range(500, 530)]
    assert stopped_at(tried) == 16
    found = tried[15].of("harvesting")
    assert found.confidence == "high"
    assert "asked GET /people/{person_id} for 15 different objects whose ids follow one another within an hour" in found.message
    assert "20 learned callers of its class had 4 at most" in found.message


def test_a_search_asked_from_aa_to_zz():
    e = engine()
    words = [a + b for a in "abcdefgh" for b in "abcdefgh"]
    tried = [e.ask("GET", f"/search?q={word}", user="mallory", gap=8.0) for word in words]
    assert stopped_at(tried) == FREE_HOUR + 4 * 4 + 2
    assert "different queries within an hour" in next(one for one in tried if one.blocked).of("harvesting").message


def test_the_same_pages_over_and_over():
    e = engine()
    tried = [e.ask("GET", f"/search?page={n % 5}", user="mallory", gap=0.2) for n in range(60)]
    assert stopped_at(tried) == 30 + 2 * 3 + 2


def test_slowly_through_a_day():
    e = engine()
    tried = [e.ask("GET", f"/search?q=w{n}", user="mallory", gap=300.0) for n in range(130)]
    assert stopped_at(tried) == 60 + 4 * 9 + 2


def test_bodies_of_a_search_are_targets_too():
    e = engine()
    tried = [e.ask("POST", "/search", {"q": f"w{n}"}, user="mallory", gap=10.0) for n in range(60)]
    assert stopped_at(tried) == FREE_HOUR + 4 * 4 + 2


def test_a_busy_person_is_left_alone():
    e, rng = engine(), random.Random(1)
    tried = [e.ask("GET", f"/people/{rng.randrange(10**6)}", user="alice", gap=rng.uniform(20, 400)) for _ in range(60)]
    assert stopped_at(tried) == 0


def test_a_nightly_job_is_learned():
    e = engine()
    assert stopped_at([e.ask("GET", f"/search?page={n}", user="sync", roles=("sync",), gap=0.2) for n in range(300)]) == 0


def test_what_is_not_learned_is_not_judged():
    e = Engine(endpoints=ALL)
    assert stopped_at([e.ask("GET", f"/people/{n}", user="mallory", gap=0.2) for n in range(300)]) == 0
    new_class = engine()
    assert stopped_at([new_class.ask("GET", f"/search?page={n}", user="x", roles=("etl",), gap=0.2) for n in range(99)]) == 0


def test_it_ends_when_the_caller_stops():
    e = engine()
    assert stopped_at([e.ask("GET", f"/search?q={n}", user="mallory", gap=1.0) for n in range(60)])
    assert not e.ask("GET", "/search?q=last", user="mallory", gap=90_000.0).blocked


def test_state_is_bounded_per_caller():
    e = engine()
    for n in range(1_500):
        e.ask("GET", f"/search?q={n}", user="sync", roles=("sync",), gap=0.01)
    watch = e.state.watches.of("harvesting")
    tracks = watch._callers["user:sync"]
    assert len(tracks) <= MAX_OPERATIONS
    assert len(tracks[SEARCH.id].targets) == MAX_TARGETS
    assert watch._held == sum(len(track.targets) for one in watch._callers.values() for track in one.values())


def test_which_operations_read():
    assert _reads("GET", "/x", "")
    assert _reads("POST", "/graphql", "query orders")
    assert _reads("POST", "/shop.v1.Orders/ListOrders", "shop.v1.Orders/ListOrders")
    assert _reads("POST", "/orders/search", "")
    assert _reads("POST", "/mcp", "tools/call get_order")
    assert _reads("POST", "/shop.v1.Users/Profile", "")
    assert _reads("POST", "/shop.v1.Orders/OrderHistory", "shop.v1.Orders/OrderHistory")
    assert not _reads("POST", "/shop.v1.Orders/RefundOrder", "")
    assert not _reads("POST", "/orders", "")
    assert not _reads("POST", "/graphql", "mutation createOrder")
    assert not _reads("DELETE", "/orders/{id}", "")


def test_operations_that_become_one_keep_the_greater():
    model = Model()
    for name, count in (("a", 4), ("b", 9)):
        for caller in range(8):
            for at in range(10):
                record = CallRecord(
                    RECORD_VERSION,
                    "i",
                    1e9 + 1e5 * at,
                    "s",
                    "GET",
                    "/x",
                    "",
                    200,
                    0,
                    0,
                    0,
                    "",
                    actor=f"user:{caller}",
                    actor_class="user",
                )
                model.fold(record, name, (1, count, count, count), clean=True)
    model.move({"a": "c", "b": "c"})
    found = model.publish(())
    assert found is not None
    assert [(group.endpoint, group.usual.most) for group in found.groups] == [("c", (9, 9, 9))]
