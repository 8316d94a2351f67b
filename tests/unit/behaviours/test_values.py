"""Numbers, words, relations, codes of requests and properties of answers: learned from calls through `decide`, then judged."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.behaviours.driven import Engine, Outcome

from eastwall.behaviours.exposure.model import Model as Exposure
from eastwall.behaviours.single_use.model import Model as SingleUse
from eastwall.behaviours.single_use.watch import codes, is_code
from eastwall.behaviours.values import relations
from eastwall.behaviours.values.model import Model as Values
from eastwall.behaviours.values.numbers import NumberState
from eastwall.behaviours.values.watch import steps_of
from eastwall.discovery.inventory import endpoint_id
from eastwall.discovery.shapes import shape
from eastwall.model.endpoint import Endpoint
from eastwall.model.operation import Operation
from eastwall.model.record import CallRecord

BUY = Endpoint(id=endpoint_id("orders", "POST", "/orders"), service="orders", method="POST", template="/orders", status="learned")
LOOK = Endpoint(id=endpoint_id("orders", "GET", "/orders"), service="orders", method="GET", template="/orders", status="learned")


def published(model: Any, endpoint: Endpoint = BUY) -> Any:
    known = model.publish((endpoint,))
    assert known is not None
    return known


def fields(body: Any) -> Any:
    return shape(Operation("rest", "POST", ("orders",), "/orders", body=body, body_kind="json"))


def order(rng: random.Random, **more: Any) -> dict[str, Any]:
    quantity, price = rng.choice((1, 1, 2, 3, 5, 8)), rng.randrange(200, 30_000) / 100
    lines = [
        {"product": n, "quantity": rng.choice((1, 2, 3)), "price": rng.randrange(100, 900) / 100}
        for n in range(rng.choice((1, 2, 3)))
    ]
    day = rng.randrange(1, 14)
    return {
        "quantity": quantity,
        "price": price,
        "total": round(quantity * price, 2),
        "currency": rng.choice(("EUR", "EUR", "USD", "GBP")),
        "net": round(sum(line["quantity"] * line["price"] for line in lines), 2),
        "lines": lines,
        "from": f"2026-03-{day:02d}",
        "until": f"2026-03-{day + rng.randrange(1, 9):02d}",
    } | more


def ask(engine: Engine, body: Any, user: str = "alice") -> Outcome:
    return engine.ask("POST", "/orders", body, user=user, answer={"id": 1})


def learn(bodies: list[tuple[str, Any]], *models: Any) -> None:
    engine = Engine(endpoints=(BUY,))
    for number, (user, body) in enumerate(bodies):
        outcome = ask(engine, body, user)
        record = CallRecord(
            1, str(number), engine.time, "orders", "POST", "/orders", "orders", 200, 0, 0, 9, "10.0.0.1", BUY.id,
            actor=outcome.actor, actor_class="user", strength=3, sampled=True, request_fields=fields(body),
        )  # fmt: skip
        for model in models:
            name = type(model).__module__.split(".")[-2]
            model.fold(record, BUY.id, outcome.notes.get(name), clean=True)


def ordinary(seed: int = 1, calls: int = 120) -> list[tuple[str, Any]]:
    rng = random.Random(seed)
    return [(f"user{number % 12}", order(rng)) for number in range(calls)]


@pytest.fixture(scope="module")
def shop() -> Engine:
    model = Values()
    learn(ordinary(), model)
    return Engine(endpoints=(BUY,), values=published(model))


ATTACKS: tuple[tuple[str, str, dict[str, Any], bool], ...] = (
    ("value-out-of-range", "body.quantity", {"quantity": 2_000_000_000, "price": 25.0, "total": 5e10}, True),
    ("value-out-of-range", "body.price", {"quantity": 2, "price": 0, "total": 0}, True),
    ("value-out-of-range", "body.quantity", {"quantity": -2, "price": 25.0, "total": -50.0}, True),
    ("value-out-of-range", "body.quantity", {"quantity": 0.5, "price": 50.0, "total": 25.0}, False),
    ("value-out-of-range", "body.quantity", {"quantity": "2", "price": 50.0, "total": 100.0}, False),
    ("value-out-of-range", "body.quantity", {"quantity": 300, "price": 5.0, "total": 1500.0}, False),
    ("value-relation", "body.total", {"quantity": 3, "price": 250.0, "total": 7.5}, True),
    ("value-relation", "body.total", {"quantity": 3, "price": 250.0, "total": 745.0}, False),
    ("value-relation", "body.net", {"net": 0.01}, True),
    ("value-relation", "body.until", {"from": "2026-03-20", "until": "2026-03-01"}, True),
    ("value-not-seen", "body.currency", {"currency": "VND"}, True),
)


@pytest.mark.parametrize(("detection", "place", "given_", "blocked"), ATTACKS)
def test_what_no_client_sends(shop: Engine, detection: str, place: str, given_: dict[str, Any], blocked: bool) -> None:
    outcome = ask(shop, order(random.Random(5), **given_), "mallory")
    found = [one for one in outcome.findings if one.id == detection and one.where == place]
    assert found, outcome.findings
    assert outcome.blocked is blocked
    assert "learned calls" in found[0].message


def test_the_sentence_of_a_relation_tells_its_counts(shop: Engine) -> None:
    found = ask(shop, order(random.Random(5), quantity=2, price=174.95, total=1.0), "mallory").of("value-relation")
    assert found is not None
    assert found.message == "`total` = `price` x `quantity` in 120 of 120 learned calls; here 1 instead of 349.9"


def test_other_people_of_the_same_kind_are_let_be(shop: Engine) -> None:
    found = [finding for _, body in ordinary(seed=99, calls=300) for finding in ask(shop, body, "bob").findings]
    told = [finding for finding in found if finding.id.startswith("value-")]
    assert told == []


def test_one_caller_widens_nothing() -> None:
    model = Values()
    rng = random.Random(3)
    poison = [("mallory", order(rng, quantity=10**6, price=1.0, total=1e6)) for _ in range(40)]
    words = [("mallory", order(rng, currency="VND")) for _ in range(10)]
    learn(ordinary() + poison + words, model)
    known = model.publish((BUY,))
    assert known is not None
    quantity = next(one for one in known.operations[0].numbers if one.place == "quantity")
    assert (quantity.least, quantity.most) == (1.0, 8.0)
    currency = next(one for one in known.operations[0].words if one.place == "currency")
    assert [word for word, _, _ in currency.words] == ["EUR", "USD", "GBP"] or {w for w, _, _ in currency.words} == {
        "EUR",
        "USD",
        "GBP",
    }


def test_a_word_that_only_staff_send() -> None:
    model = Values()
    for number in range(160):
        staff = number % 4 == 0
        body = {"id": number, "state": "approved" if staff else "open"}
        record = CallRecord(
            1, str(number), 1.0, "orders", "POST", "/orders", "orders", 200, 0, 0, 9, "10.0.0.1", BUY.id, actor=f"u{staff}{number % 5}",
            actor_class="user+support" if staff else "user", strength=3, sampled=True, request_fields=fields(body),
        )  # fmt: skip
        model.fold(record, BUY.id, None, clean=True)
    engine = Engine(endpoints=(BUY,), values=published(model))
    body = {"id": 1, "state": "approved"}
    outcome = ask(engine, body, "mallory")
    found = outcome.of("value-not-seen")
    assert found is not None
    assert (
        found.message
        == "`body.state` is `approved`, which only user+support send; in 160 learned calls it was `open`, `approved`"
    )
    assert outcome.blocked
    assert engine.ask("POST", "/orders", body, user="eve", roles=("support",)).of("value-not-seen") is None
    assert ask(engine, {"id": 1, "state": "open"}, "bob").of("value-not-seen") is None


def test_few_calls_and_few_callers_say_nothing() -> None:
    few, alone = Values(), Values()
    learn(ordinary(calls=20), few)
    learn([("alice", body) for _, body in ordinary()], alone)
    assert few.publish((BUY,)) is None
    assert alone.publish((BUY,)) is None


def test_a_page_size_is_known_from_few_calls() -> None:
    for calls, known in ((9, False), (10, True)):
        values = Values()
        learn([(f"user-{n % 4}", {"size": 10, "depth": 10}) for n in range(calls)], values)
        if not known:
            assert values.publish((BUY,)) is None
            continue
        engine = Engine(endpoints=(BUY,), values=published(values))
        finding = ask(engine, {"size": 5_000, "depth": 5_000}).of("value-out-of-range")
        assert finding is not None
        assert (finding.where, finding.severity, finding.confidence) == ("body.size", "high", "medium")
        for size in (0, -1, 7.5, 50):
            assert not ask(engine, {"size": size}).blocked


def test_numbers_that_belong_together_by_chance_are_not_believed() -> None:
    model = Values()
    rng = random.Random(4)
    bodies = [(f"user{n % 9}", {"page": 1, "size": 1, "a": rng.randrange(9), "b": rng.randrange(9), "c": 3}) for n in range(200)]
    learn(bodies, model)
    known = model.publish((BUY,))
    assert known is not None
    assert known.operations[0].relations == ()


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(-1e9, 1e9)), min_size=1, max_size=60), st.randoms())
def test_extremes_are_the_same_in_any_order(numbers: list[tuple[int, float]], rng: random.Random) -> None:
    whole = NumberState()
    for actor, number in numbers:
        whole.fold(number, actor, True)
    rng.shuffle(numbers)
    shards = [NumberState() for _ in range(8)]
    for at, (actor, number) in enumerate(numbers):
        shards[at % 8].fold(number, actor, True)
    for other in shards[1:]:
        shards[0].merge(other)
    assert shards[0].dump() == whole.dump()
    best: dict[int, float] = {}
    for actor, number in numbers:
        best[actor] = max(best.get(actor, number), number)
    assert sorted(whole.high.values()) == sorted(best.values())[-3:]


hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("2026-01-01"),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=70) | st.sampled_from(["a", "b"]), inner, max_size=8)
    ),
    max_leaves=30,
)


@settings(max_examples=150, deadline=None)
@given(hostile)
def test_bodies_of_any_form_are_read(body: Any) -> None:
    for _, node in relations.frames(body):
        found = relations.operands(node)
        relations.present(*found)
        for relation, _ in relations.held(*found):
            values = relations.expected(relation, node)
            assert values is not None
            assert relations.sentence(relation)
    if isinstance(body, dict):
        codes(body)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["quantity", "price", "total", "net", "lines", "currency", "from", "until"]), hostile))
def test_learned_places_may_hold_anything(body: dict[str, Any]) -> None:
    engine = _SHOP.setdefault("engine", _learned())
    try:
        raw = msgspec.json.encode(body)
    except (UnicodeEncodeError, msgspec.MsgspecError):
        return
    ask(engine, raw, "mallory")


_SHOP: dict[str, Engine] = {}


def _learned() -> Engine:
    model = Values()
    learn(ordinary(), model)
    return Engine(endpoints=(BUY,), values=published(model))


def test_steps() -> None:
    assert steps_of("items[].price") == ("items", "[]", "price")
    assert steps_of("[].price") == ("[]", "price")
    assert steps_of("a.b[][]") == ("a", "b", "[]", "[]")


# -- codes --------------------------------------------------------------------------------------------------------


def coupons(users: int = 12) -> Any:
    model = SingleUse()
    learn([(f"user{n}", {"code": "WELCOME10"}) for n in range(users)], model)
    return model


def test_a_coupon_is_used_once_by_each() -> None:
    known = coupons().publish((BUY,))
    assert known is not None
    assert (known.places[0].place, known.places[0].by) == ("body.code", "caller")
    engine = Engine(endpoints=(BUY,), single_use=known)
    outcomes = [ask(engine, {"code": "welcome10"}, "mallory") for _ in range(4)]
    assert [outcome.blocked for outcome in outcomes] == [False, False, True, True]
    assert outcomes[0].of("value-reused") is None
    told = outcomes[1].of("value-reused")
    assert told is not None
    assert told.confidence == "low"
    assert "elcome10" not in told.message
    assert ask(engine, {"code": "WELCOME10"}, "bob").of("value-reused") is None


def test_codes_that_people_use_again_are_learned_as_such() -> None:
    model = coupons()
    learn([(f"user{n}", {"code": "AGAIN"}) for n in range(3) for _ in range(2)], model)
    assert model.publish((BUY,)) is None
    assert coupons(users=4).publish((BUY,)) is None


@pytest.mark.parametrize("name", ["code", "coupon", "promo_code", "resetToken", "otp", "voucherNumber"])
def test_names_of_codes(name: str) -> None:
    assert is_code(name)


@pytest.mark.parametrize("name", ["country_code", "zip_code", "statusCode", "token", "number", "encoding", "pin", ""])
def test_names_of_others(name: str) -> None:
    assert not is_code(name)


# -- answers ------------------------------------------------------------------------------------------------------


def exposure() -> Exposure:
    model = Exposure()
    for cls, body, calls in (
        ("user", {"id": 1, "total": 2.0}, 120),
        ("user+support", {"id": 1, "total": 2.0, "margin": 0.3}, 60),
    ):
        for number in range(calls):
            record = CallRecord(
                1, str(number), 1.0, "orders", "GET", "/orders", "orders", 200, 0, 0, 9, "10.0.0.1", LOOK.id,
                actor=f"{cls}{number % 5}", actor_class=cls, strength=3, sampled=True, response_fields=fields(body),
            )  # fmt: skip
            model.fold(record, LOOK.id, None, clean=True)
    return model


def test_staffs_property_for_a_customer_is_stopped_and_a_new_one_told() -> None:
    engine = Engine(endpoints=(LOOK,), exposure=published(exposure(), LOOK))

    def look(answer: Any, **who: Any) -> Any:
        return engine.ask("GET", "/orders", user="alice", answer=answer, **who).of("excessive-exposure")

    assert look({"id": 4, "total": 9.0}) is None
    staffs = look({"id": 4, "total": 9.0, "margin": 0.2})
    assert (staffs.severity, staffs.confidence, staffs.where) == ("high", "medium", "body.margin")
    new = look({"id": 4, "total": 9.0, "eta": "2026-04-02"})
    assert (new.severity, new.confidence) == ("low", "low")
    assert look({"id": 4, "total": 9.0, "margin": 0.2}, roles=("support",)) is None


def test_maps_without_end_are_not_judged_and_cost_no_memory() -> None:
    engine = Engine(endpoints=(LOOK,), exposure=published(exposure(), LOOK))
    watch = engine.state.watches.of("exposure")
    for number in range(400):
        engine.ask("GET", "/orders", user="alice", answer={f"key{number}": 1})
    assert len(watch) <= 200
