"""Sessions through the real `decide`: what engines note is learned, and what was learned is held against calls."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.decision.world import NOW, answer, call, completion, live

from eastwall.behaviours.sessions import kinship
from eastwall.behaviours.sessions.contexts import MAX_CONTEXTS, Contexts, Predictor
from eastwall.behaviours.sessions.flows import MAX_BEFORE, Flow
from eastwall.behaviours.sessions.invariants import invariants
from eastwall.behaviours.sessions.memory import MAX_DONE, MAX_MARKS, MAX_OWNED, Actor, Actors, Trails
from eastwall.behaviours.sessions.model import Knowledge, Model
from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.decide import decide
from eastwall.decision.state import LiveState
from eastwall.discovery.inventory import endpoint_id
from eastwall.model.endpoint import Endpoint, Parameter
from eastwall.model.finding import Finding
from eastwall.model.record import RECORD_VERSION, CallRecord

OURS = frozenset(("sequence-broken", "step-repeated", "automated-use", "unusual-sequence"))


def _endpoint(method: str, template: str, **more: Any) -> Endpoint:
    return Endpoint(endpoint_id("orders", method, template), "orders", method, template, status="learned", calls=500, **more)


_ID = (Parameter("order_id", "integer"),)
ENDPOINTS = (
    _endpoint("GET", "/products"),
    _endpoint("POST", "/recommendations"),
    *(_endpoint("POST", f"/cart/{step}") for step in ("items", "checkout", "payment", "place", "coupon")),
    _endpoint("PUT", "/cart/address"),
    _endpoint("POST", "/otp/verify"),
    _endpoint("POST", "/transfers"),
    _endpoint("POST", "/payouts"),
    _endpoint("POST", "/orders", gives=(("id", "order"),)),
    *(_endpoint("POST", f"/orders/{{order_id}}/{step}", parameters=_ID) for step in ("confirm", "pay", "refund", "coupon")),
    *(_endpoint("POST", f"/orders/{{order_id}}/{step}", parameters=_ID) for step in ("update", "edit-payment", "print")),
    _endpoint("PATCH", "/orders/{order_id}", parameters=_ID),
)
CART = ("items", "checkout", "payment", "place")


class Store:
    """One engine that watches, and a model that learns from its notes."""

    def __init__(self, endpoints: tuple[Endpoint, ...] = ENDPOINTS) -> None:
        self.endpoints = endpoints
        self.model = Model()
        self.state = LiveState()
        self.time = NOW
        self.number = 0
        self.orders = 1_000
        self.learning = True
        self.live: LiveSnapshot
        self.publish()

    def publish(self) -> None:
        known = self.model.publish(self.endpoints)
        told = (("sessions", msgspec.msgpack.encode(known)),) if known is not None else ()
        self.live = live(endpoints=self.endpoints, behaviours=told)

    def restart(self) -> None:
        self.state = LiveState()

    def begin(self, method: str, path: str, body: Any = None, *, user: str, gap: float = 4.0, **headers: str) -> Any:
        """A request that is judged and not answered yet."""
        self.time += gap
        self.number += 1
        made = call(method, path, body, user=user, time=self.time, number=self.number, headers=headers)
        return made, decide(made, self.live, self.state)

    def end(self, begun: Any, status: int = 200, body: Any = None, cls: str = "user") -> None:
        made, request = begun
        shown = answer({} if body is None else body, status)
        response = decide(replace(made, response=shown, prior=request), self.live, self.state)
        note = self.state.watches.of("sessions").completed(request, response, completion(made, status))
        record = CallRecord(
            RECORD_VERSION, made.id, made.time, made.service, made.request.method, made.request.path, "", status, 9, 9, 9, "10.0.0.1",
            actor=request.identity.actor, actor_class=cls, strength=3,
        )  # fmt: skip
        if self.learning and request.match.endpoint is not None:
            self.model.fold(
                record, request.match.endpoint.id, msgspec.msgpack.decode(msgspec.msgpack.encode(note)), clean=status < 300
            )

    def do(
        self, method: str, path: str, body: Any = None, *, user: str, gap: float = 4.0, status: int = 200, **more: Any
    ) -> list[Finding]:
        begun = self.begin(method, path, body, user=user, gap=gap, **more)
        self.end(begun, status, {"id": self.orders} if path == "/orders" else None)
        return [finding for finding in begun[1].findings if finding.id in OURS]

    def cart(self, user: str, *steps: str, gap: float = 4.0) -> list[Finding]:
        """The last step's findings."""
        found: list[Finding] = []
        for step in steps:
            found = self.do("POST", f"/cart/{step}", {"n": 1}, user=user, gap=gap)
        return found

    def order(self, user: str, *steps: str, gap: float = 4.0) -> list[Finding]:
        self.orders += 1
        found = self.do("POST", "/orders", {"n": 1}, user=user, status=201)
        for step in steps:
            found = self.do("POST", f"/orders/{self.orders}/{step}", {"n": 1}, user=user, gap=gap)
        return found

    def transfer(self, user: str) -> None:
        self.do("POST", "/otp/verify", {"pin": "1234"}, user=user)
        self.do("POST", "/transfers", {"amount": 5}, user=user)


def _learned(visits: int = 80, users: int = 16) -> Store:
    store = Store()
    for n in range(visits):
        user = f"u{n % users}"
        store.time += 1_900.0
        store.do("GET", "/products", user=user)
        store.do("POST", "/recommendations", {"n": 1}, user=user)
        store.cart(user, *CART[: 4 if n % 4 else 2])
        if n % 2 == 0:
            store.transfer(user)
        store.order(user, "confirm", "pay", *(("refund",) if n % 7 == 0 else ()))
        if n < users:
            store.do("POST", "/cart/coupon", {"code": "SPRING"}, user=user)
        if n % 5 == 0:
            store.do("PUT", "/cart/address", {"city": "X"}, user=user)
    store.publish()
    return store


@pytest.fixture(scope="module")
def knowledge() -> tuple[Model, float]:
    store = _learned()
    return store.model, store.time


@pytest.fixture
def store(knowledge: tuple[Model, float]) -> Store:
    """An engine that has watched for days, and learns no more."""
    made = Store()
    made.model, made.time, made.learning = Model.load(knowledge[0].dump()), knowledge[1], False
    made.publish()
    made.do("GET", "/products", user="early")
    made.time += 4 * 86_400.0
    return made


def _sure(found: list[Finding]) -> list[str]:
    return [one.id for one in found if one.confidence != "low"]


def test_a_cart_is_paid_before_it_is_placed(store: Store) -> None:
    assert _sure(store.cart("alice", *CART)) == []
    store.time += 7_000.0
    found = store.cart("alice", "items", "checkout", "place")
    assert _sure(found) == ["sequence-broken"]
    assert "`POST /cart/payment` came before each such call in 60 of 60 learned cases" in found[0].message
    assert _sure(store.cart("bob", "items", "place")) == ["sequence-broken"], "of a newcomer too"


def test_money_needs_a_code_each_time(store: Store) -> None:
    store.transfer("alice")
    assert _sure(store.do("POST", "/transfers", {"amount": 6}, user="alice", gap=3_000.0)) == ["sequence-broken"]
    assert _sure(store.do("POST", "/transfers", {"amount": 6}, user="bob")) == ["sequence-broken"]


def test_a_code_does_not_stay_good_for_ever(store: Store) -> None:
    store.learning = True
    for n in range(30):  # what is said of a time needs more calls than what is said of an order
        store.time += 20_000.0
        store.transfer(f"u{n % 16}")
    store.publish()
    store.learning = False
    store.time += 4 * 86_400.0
    for wait, sure in ((1_700.0, []), (7_000.0, []), (9_000.0, ["sequence-broken"])):
        user = f"alice-{wait}"
        store.do("POST", "/otp/verify", {"pin": "1234"}, user=user)
        found = store.do("POST", "/transfers", {"amount": 6}, user=user, gap=wait)
        assert _sure(found) == sure, wait
    assert "within half an hour; the last time of user:alice-9000.0 was 2.5 h ago" in found[0].message
    store.order("alice", "confirm")
    assert _sure(store.do("POST", f"/orders/{store.orders}/pay", {"n": 1}, user="alice", gap=90_000.0)) == [], "no gate"


def test_one_more_at_once_is_a_double_click_and_the_third_is_not(store: Store) -> None:
    store.do("POST", "/otp/verify", {"pin": "1"}, user="alice")
    racing = [store.begin("POST", "/transfers", {"amount": 5}, user="alice", gap=0.003) for _ in range(6)]
    sure = [_sure([f for f in request.findings if f.id in OURS]) for _, request in racing]
    assert sure[:2] == [[], []]
    assert all(sure[2:]), "none was answered, each is judged by those on their way"


def test_what_failed_was_not_done(store: Store) -> None:
    store.do("POST", "/otp/verify", {"pin": "1"}, user="alice", status=401)
    assert _sure(store.do("POST", "/transfers", {"amount": 6}, user="alice")) == ["sequence-broken"]
    store.do("POST", "/otp/verify", {"pin": "1"}, user="bob")
    assert store.do("POST", "/transfers", {"amount": 6}, user="bob", status=503) == []
    assert store.do("POST", "/transfers", {"amount": 6}, user="bob") == [], "the code is not used up by a call that failed"


def test_what_is_on_its_way_is_not_missing(store: Store) -> None:
    begun = store.begin("POST", "/otp/verify", {"pin": "1"}, user="alice")
    assert store.do("POST", "/transfers", {"amount": 6}, user="alice") == []
    store.end(begun)


def test_a_habit_of_the_page_blocks_nothing(store: Store) -> None:
    """All carts began after the recommendations and the products were asked for."""
    assert _sure(store.cart("alice", *CART)) == []
    assert [f for f in store.cart("alice", *CART) if f.confidence != "low"] == []


def test_after_a_start_nothing_is_missing(store: Store) -> None:
    store.restart()
    assert store.cart("alice", "items", "place") == []
    store.time += 3_000.0
    assert store.cart("bob", "place") == []


def test_an_engine_that_is_not_alone_calls_nothing_missing(store: Store) -> None:
    store.state.watches.of("sessions").alone = False
    assert store.cart("alice", "items", "place") == []


def test_engines_tell_each_other_what_was_done(store: Store) -> None:
    """A code confirmed here, money sent there."""
    here, there = store.state, LiveState()
    for state in (here, there):
        state.share(at_once=True)
    store.state = there
    store.do("GET", "/products", user="early")
    store.time += 4 * 86_400.0
    store.state = here
    store.do("POST", "/otp/verify", {"pin": "1"}, user="alice")
    assert here.urgent()
    for topic, entry in here.news():
        there.hear(topic, entry)
    store.state = there
    assert store.do("POST", "/transfers", {"amount": 6}, user="alice") == []
    assert _sure(store.do("POST", "/transfers", {"amount": 6}, user="bob")) == ["sequence-broken"]
    there.watches.of("sessions").forget()
    assert store.do("POST", "/transfers", {"amount": 6}, user="carol") == []
    with pytest.raises(ValueError, match="sessions"):
        there.hear("sessions", b"\x91\x01")


def test_a_refund_presumes_a_payment(store: Store) -> None:
    assert _sure(store.order("alice", "confirm", "pay", "refund")) == []
    found = store.order("alice", "confirm", "refund")
    assert _sure(found) == ["sequence-broken"]
    assert found[0].where == "path.order_id"


def test_an_object_from_before_is_held_against_nobody_on_little_evidence() -> None:
    """It may have been paid before anybody looked."""
    store = Store()
    for n in range(11):
        store.order(f"u{n}", "confirm", "pay", "refund", gap=600.0)
    store.publish()
    store.do("GET", "/products", user="early")
    store.time += 30 * 86_400.0
    assert store.do("POST", "/orders/7/refund", {"n": 1}, user="alice") == []
    assert _sure(store.order("alice", "confirm", "refund")) == ["sequence-broken"], "its making was seen"


def test_what_an_object_lies_in_is_not_what_a_step_is_about() -> None:
    """Nobody pays once per tenant."""
    ids = (Parameter("tenant_id", "string"), Parameter("order_id", "integer"))
    pay = _endpoint("POST", "/tenants/{tenant_id}/orders/{order_id}/pay", parameters=ids)
    make = _endpoint("POST", "/tenants/{tenant_id}/orders", parameters=ids[:1])
    close = _endpoint("POST", "/tenants/{tenant_id}/close", parameters=ids[:1])
    assert [kinship.of_kind(one, "tenant") for one in (pay, make, close)] == [False, False, True]
    assert kinship.of_kind(pay, "order")
    user = (Parameter("user_id", "string"),)
    confirm = _endpoint("POST", "/users/{user_id}/orders/confirm", parameters=user)
    assert not kinship.of_kind(confirm, "user"), "which order, the query says"
    assert kinship.of_kind(_endpoint("POST", "/users/{user_id}/confirm", parameters=user), "user")


def test_a_one_time_step_again_and_again(store: Store) -> None:
    assert store.order("alice", "confirm", "pay", "refund") == []
    again = [store.do("POST", f"/orders/{store.orders}/refund", {"n": 1}, user="alice", gap=0.01) for _ in range(4)]
    assert [_sure(found) for found in again] == [[], ["step-repeated"], ["step-repeated"], ["step-repeated"]]
    assert "alice did this on order" in again[1][0].message


@pytest.mark.parametrize(
    ("method", "step", "told"),
    [("POST", "/update", False), ("PATCH", "", False), ("POST", "/edit-payment", True), ("POST", "/print", True)],
)
def test_what_is_set_may_be_set_again(method: str, step: str, told: bool) -> None:
    """As a PUT may: by the name of the operation, unless it is of money."""
    store = Store()
    for n in range(40):
        store.do("POST", "/orders", {"n": n}, user=f"u{n}")
        store.orders += 1
        store.do(method, f"/orders/{store.orders}{step}", {"note": "x"}, user=f"u{n}", gap=40_000.0)
    store.publish()
    store.time += 4 * 86_400.0
    again = [store.do(method, f"/orders/7{step}", {"note": f"{n}"}, user="alice") for n in range(5)]
    assert any(map(_sure, again)) is told


def test_one_code_everywhere(store: Store) -> None:
    assert _sure(store.do("POST", "/cart/coupon", {"code": "SPRING"}, user="alice")) == []
    assert _sure(store.do("POST", "/cart/coupon", {"code": "SPRING"}, user="alice", gap=9_000.0)) == []
    found = store.do("POST", "/cart/coupon", {"code": "SPRING"}, user="alice", gap=9_000.0)
    assert _sure(found) == ["step-repeated"]
    assert "SPRING" not in found[0].message
    assert _sure(store.do("POST", "/cart/coupon", {"code": "SPRING"}, user="bob")) == []
    assert _sure(store.do("POST", "/cart/coupon", {"code": "AUTUMN"}, user="alice")) == []


def test_codes_are_used_up_at_operations_that_nobody_called_before(store: Store) -> None:
    for path in ("/orders/7/coupon", "/vouchers/unknown"):
        found = [store.do("POST", path, {"code": "SUMMER"}, user="alice") for _ in range(4)]
        assert [_sure(one) for one in found] == [[], [], ["step-repeated"], ["step-repeated"]]


def test_the_code_of_what_holds_a_value_is_asked_for_again_and_again() -> None:
    check, redeem = _endpoint("POST", "/shop.v1.Shop/Giftcard"), _endpoint("POST", "/giftcards/redeem")
    assert [kinship.holds_value(one) for one in (check, redeem)] == [True, False]
    flows = {endpoint.id: Flow() for endpoint in (check, redeem)}
    for flow in flows.values():
        for actor in range(6):
            flow.fold((), (), first=True, keyed=False, actor=actor)
    for actor in range(2):
        flows[check.id].tally("value", 0, actor)
    for actor in range(20):
        flows[redeem.id].tally("value", 0, actor)
    once = {rules.endpoint: rules.once for rules in invariants(flows, (check, redeem))}
    assert once[check.id] == (), "other codes are used up; of these two nothing is known"
    assert [one.things for one in once[redeem.id]] == [20]


def test_a_release_that_needs_a_step_no_longer(store: Store) -> None:
    """The first callers are held up; when many callers go the new way, it is theirs."""
    held = [_sure(store.cart(f"n{n}", "items", "checkout", "place", gap=60.0)) for n in range(20)]
    assert held[0] == ["sequence-broken"]
    assert held[11:] == [["sequence-broken"]] + [[]] * 8, "and stays so for the day"
    store.time += 90_000.0
    one = [_sure(store.cart("mallory", "items", "checkout", "place", gap=60.0)) for _ in range(30)]
    assert all(one), "one caller alone does not turn it"


def test_one_actor_does_not_hide_that_codes_are_used_once() -> None:
    store = Store()
    for n in range(20):
        store.do("POST", "/cart/coupon", {"code": "SPRING"}, user=f"u{n}", gap=600.0)
        store.do("POST", "/cart/coupon", {"code": f"C{n}00"}, user="mallory", gap=40_000.0)
        store.do("POST", "/cart/coupon", {"code": f"C{n}00"}, user="mallory", gap=600.0)
    assert any(rules.once for rules in store.model.publish(ENDPOINTS).rules if rules.endpoint)


def test_put_may_be_repeated(store: Store) -> None:
    for _ in range(20):
        assert _sure(store.do("PUT", "/cart/address", {"city": "X"}, user="alice")) == []


def test_a_retry_with_its_idempotency_key_is_one_where_callers_send_keys() -> None:
    store = Store()
    for n in range(60):
        store.do("POST", "/otp/verify", {"pin": "1"}, user=f"u{n % 12}")
        store.do("POST", "/transfers", {"n": n}, user=f"u{n % 12}", gap=600.0, **{"idempotency-key": f"k{n}"})
    store.publish()
    store.time += 4 * 86_400.0
    store.do("POST", "/otp/verify", {"pin": "1"}, user="alice")
    for _ in range(6):
        assert store.do("POST", "/transfers", {"n": 1}, user="alice", gap=1.0, **{"idempotency-key": "mine"}) == []
    assert store.do("POST", "/transfers", {"n": 1}, user="alice", gap=1.0, **{"idempotency-key": "other"})


def test_a_script_that_buys_is_stopped_and_stays_so(store: Store) -> None:
    found = [_sure(store.cart("alice", step, gap=0.05)) for _ in range(12) for step in CART]
    first = next(n for n, one in enumerate(found) if one)
    assert first < 30
    assert "automated-use" in found[-1]
    alone = [_sure(store.do("PUT", "/cart/address", {"city": "X"}, user="bob", gap=0.05)) for _ in range(60)]
    assert not any(alone), "one operation many times is how a page marks all as read"


def test_a_workload_may_be_regular(store: Store) -> None:
    """Only people have a pace that is unusual."""
    watch = store.state.watches.of("sessions")
    _, request = store.begin("POST", "/cart/items", {"n": 1}, user="alice", gap=0.01)
    actor = watch._certain.get("user:alice")
    actor.run, actor.level, actor.level_at = 500, 400.0, store.time
    machine = replace(request.facts.identity, kind="workload")
    assert watch._pace(actor, machine, request.facts, None, store.live.behaviours[_place()]) == ()


def _place() -> int:
    from eastwall.behaviours import BEHAVIOURS

    return [one.name for one in BEHAVIOURS].index("sessions")


def test_clocks_that_jump_invent_nothing(store: Store) -> None:
    rng = random.Random(5)
    for _ in range(60):
        user = rng.choice(("a", "b"))
        for step in CART:
            store.time += rng.choice((-90_000.0, -3.0, 0.0, 2.0, 50_000.0))
            assert _sure(store.cart(user, step, gap=0.0)) == []


def test_names_tell_reads_gates_and_kinship() -> None:
    by = {f"{e.method} {e.template}": e for e in ENDPOINTS}
    assert kinship.reads(by["GET /products"])
    assert kinship.reads(_endpoint("POST", "/shop.v1.OrderService/GetOrder"))
    assert kinship.reads(replace(_endpoint("POST", "/mcp"), operation="tools/call order_history", protocol="mcp"))
    assert not kinship.reads(replace(_endpoint("POST", "/mcp"), operation="tools/call pay_order", protocol="mcp"))
    common = kinship.common_words(ENDPOINTS)
    assert kinship.kin(by["POST /cart/place"], by["POST /cart/payment"], common)
    assert not kinship.kin(by["POST /transfers"], by["POST /cart/place"], common)
    assert kinship.gate(by["POST /otp/verify"])
    assert kinship.presumes(by["POST /orders/{order_id}/refund"], by["POST /orders/{order_id}/pay"])
    assert not kinship.gate(by["POST /recommendations"])


# -- bounds, merging ----------------------------------------------------------------------------------------------


def test_memory_is_bounded_and_says_what_it_forgot() -> None:
    actors = Actors(100)
    for n in range(1_000):
        actors.of(f"a{n}", float(n)).seen(float(n))
    assert len(actors) == 100
    assert 800.0 < actors.floor < 1_000.0
    busy = Actor(0.0)
    for n in range(10 * MAX_DONE):
        busy.begin(f"ep_{n}", float(n))
        busy.mark("ep", n, float(n))
    assert len(busy.done) == MAX_DONE
    assert len(busy.marks) <= MAX_MARKS
    assert busy.floor > 0.0, "what it did before is not called missing"


def test_a_flood_of_objects_drops_the_flood_s_own() -> None:
    trails, flood, other = Trails(10_000), Actor(0.0), Actor(0.0)
    trails.add(-1, "confirm", 1.0, other)
    for n in range(3 * MAX_OWNED):
        trails.add(n, "confirm", 2.0, flood)
    assert "confirm" in trails.of(-1)
    assert len(trails) <= MAX_OWNED + 1
    assert flood.lossy
    assert not other.lossy


def test_counts_are_bounded_under_made_up_names() -> None:
    flow, contexts = Flow(), Contexts()
    for n in range(5_000):
        flow.fold([f"x{n}"], [], first=True, keyed=False, actor=n)
        flow.on_object(f"k{n}", [f"x{n}"], [])
        flow.tally(f"object k{n}", 0, n)
        contexts.fold([f"x{n}"], f"y{n}", n, 1)
    assert len(flow.before) <= 2 * MAX_BEFORE
    assert len(flow.objects) <= 8
    assert len(flow.tallies) <= 8
    assert len(contexts.seen) <= MAX_CONTEXTS


@pytest.mark.parametrize(
    "note",
    [7, [], {"f": 3}, {"f": [1, 0, "x", [], 0]}, {"f": [1, 0, ["a"] * 99, [], 0]}, {"o": [[3, [], []]], "f": 1}, {"x": []}, {"x": [1, 3]},
     {"x": [10**9, "a"]}, {"p": [1, 2, 3]}, {"p": [1, 2, 3, -4]}, {"m": [["value", "x"]], "f": None}, {"x": [1, "a", "b", "c", "d"]}],
)  # fmt: skip
def test_notes_that_are_none_are_passed_over(note: Any) -> None:
    model = Model()
    record = CallRecord(
        RECORD_VERSION, "1", NOW, "orders", "POST", "/x", "", 200, 1, 1, 1, "10.0.0.1", actor="user:a", actor_class="user"
    )
    model.fold(record, "ep_1", note, clean=True)
    assert model.publish(ENDPOINTS) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_eight_shards_are_one_stream(seed: int) -> None:
    rng = random.Random(seed)
    notes = [
        (
            f"ep_{rng.randrange(6)}", f"user:{rng.randrange(12)}",
            {"x": [rng.randrange(1, 9), *(f"ep_{rng.randrange(6)}" for _ in range(rng.randrange(4)))],
             "f": [rng.randrange(2), 0, [f"ep_{n}" for n in range(rng.randrange(5))], [], rng.randrange(90)],
             "o": [["order", ["ep_1"], []]], "m": [["value", rng.randrange(3)]], "p": [rng.randrange(9), rng.randrange(5), 1, 0]},
        )
        for _ in range(120)
    ]  # fmt: skip

    def folded(part: list[Any]) -> Model:
        model = Model()
        for endpoint, actor, note in part:
            record = CallRecord(
                RECORD_VERSION, "1", NOW, "orders", "POST", "/x", "", 200, 1, 1, 1, "", actor=actor, actor_class="user"
            )
            model.fold(record, endpoint, note, clean=True)
        return model

    whole = folded(notes).dump()
    rng.shuffle(notes)
    shards = [Model.load(msgspec.msgpack.decode(msgspec.msgpack.encode(folded(notes[at::8]).dump()))) for at in range(8)]
    rng.shuffle(shards)
    for other in shards[1:]:
        shards[0].merge(other)
    assert shards[0].dump() == whole


def test_one_actor_alone_makes_no_rule() -> None:
    store = Store()
    for _ in range(60):
        store.time += 90_000.0
        store.cart("mallory", *CART)
    assert [r for r in (store.model.publish(ENDPOINTS) or Knowledge()).rules if r.after] == []


def test_what_follows_what_is_less_surprising() -> None:
    contexts = Contexts()
    for n in range(200):
        contexts.fold(["list"], "get", n % 9, 1)
        contexts.fold(["list", "get"], "pay", n % 9, 1)
    contexts.fold(["list"], "pay", 1, 1)
    predictor = Predictor(contexts.known())
    assert predictor.surprise(("list",), "get") < 0.1
    assert predictor.surprise(("list",), "pay") > predictor.surprise(("get",), "pay") + 2
    assert predictor.surprise(("list",), "never seen") > 6
    assert predictor.after("list", "get") == (200, 200), "what one actor did once is not known"


def test_an_order_of_calls_that_nobody_has_is_told(knowledge: tuple[Model, float]) -> None:
    store = Store()
    store.model, store.time, store.learning = Model.load(knowledge[0].dump()), knowledge[1], True
    store.publish()
    for n in range(200):  # with what was learned, engines note how surprising ordinary sessions are
        store.time += 1_900.0
        user = f"u{n % 16}"
        store.do("GET", "/products", user=user)
        store.do("POST", "/recommendations", {"n": 1}, user=user)
        store.cart(user, *CART)
        store.order(user, "confirm", "pay")
        store.order(user, "confirm", "pay")
    store.publish()
    store.learning = False
    odd = [
        store.do(*one, {"n": 1}, user="mallory")
        for _ in range(6)
        for one in (("POST", "/transfers"), ("PUT", "/cart/address"), ("POST", "/payouts"))
    ]
    told = [finding for found in odd for finding in found if finding.id == "unusual-sequence"]
    assert told
    assert all(finding.confidence == "low" for finding in told)
    assert "came directly after" in told[0].message
    calm = []
    for _ in range(4):
        calm += store.cart("alice", *CART) + store.order("alice", "confirm", "pay")
    assert "unusual-sequence" not in {finding.id for finding in calm}
