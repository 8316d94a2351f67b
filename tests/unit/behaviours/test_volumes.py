"""What callers are given by hour, day and week: learned, counted live, judged."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from eastwall.behaviours import World
from eastwall.behaviours.volumes.model import Model
from eastwall.behaviours.volumes.tally import EXACT, Objects, Tally
from eastwall.behaviours.volumes.watch import Watch, compile
from eastwall.detections.data_class_not_seen.detector import detect as detect_data
from eastwall.detections.unusual_volume.detector import detect
from eastwall.discovery.inventory import compile_inventory
from eastwall.discovery.shapes import records_of
from eastwall.model.call import BodyState, Call, Completion, Peer, Phase, Request, Response
from eastwall.model.decision import ALLOWED, Decision, Verdict
from eastwall.model.endpoint import Endpoint, Match
from eastwall.model.facts import DataHit, Facts
from eastwall.model.finding import Finding
from eastwall.model.identity import Identity, Strength
from eastwall.model.operation import Operation
from eastwall.model.record import CallRecord

HOUR, DAY = 3_600.0, 86_400.0
START = 1_772_409_600.0 - 1_772_409_600.0 % 604_800
ORDER = Endpoint(
    "ep_order", "shop", "GET", "/orders/{order_id}", status="learned", calls=900, users=(("user", 900, 4),), responses=()
)


def record(actor, at, number=0, cls="user", data=(), given=1, size=500):
    return CallRecord(
        1, str(number), at, "shop", "GET", "/orders/1", "shop", 200, 0, size, 900, "10.0.0.1", "ep_order",
        actor=actor, actor_class=cls, strength=3, given=tuple(("order", random.Random(f"{actor} {number} {n}").getrandbits(63)) for n in range(given)), data=data,
    )  # fmt: skip


def learned(users=12, hours=30, calls=10, data=(), cls="user"):
    """`users` who each read `calls` orders in every hour."""
    return [
        record(f"user:u{user}", START + hour * HOUR + call, hour * 100 + call, cls, data)
        for hour in range(hours)
        for user in range(users)
        for call in range(calls)
    ]


def model_of(records):
    model = Model()
    for one in records:
        model.fold(one, "ep_order", None, clean=True)
    return model


def known(model, endpoints=(ORDER,)):
    return compile(model.publish(endpoints), World(endpoints, bytes(32), compile_inventory(endpoints)))


def answer(actor, at, keys, body=None, data=(), cls="user", call_id="", status=200, endpoint=ORDER, raw=b"{}"):
    request = Request("GET", "/orders/1", {})
    call = Call(
        call_id or f"{actor}{at}{keys}", "shop", at, Peer("10.0.0.1"), request, Response(status, {}, raw, BodyState.COMPLETE)
    )
    return Facts(
        call,
        Phase.RESPONSE,
        Operation("rest", "GET", ("orders", "1"), "/orders/1", body={} if body is None else body),
        Match(endpoint),
        Identity(actor, "user", Strength.VERIFIED, cls),
        given=tuple(("order", key) for key in keys),
        data=data,
    )


def play(watch, table, facts, verdict=ALLOWED):
    found = watch.response(facts, table)
    watch.after(facts, verdict, table)
    return found


def first_told(watch, table, count, gap, actor="user:alice", start=START + 100 * DAY):
    for number in range(count):
        found = play(watch, table, answer(actor, start + number * gap, [number]))
        if found:
            return number, found[0]
    return None


@pytest.mark.parametrize(("hours", "limit"), [(2, 210), (6, 90)])
def test_of_few_hours_the_greatest_says_little(hours, limit):
    """12 callers with 30 orders in each of them: 24 caller-hours, and 72."""
    table = known(model_of(learned(hours=hours, calls=30)))
    number, found = first_told(Watch(), table, 400, 1.0)
    assert (number, found.limit, found.cells) == (limit, limit, 12 * hours)


def test_who_takes_many_times_what_anybody_took_in_an_hour_is_told_with_the_figures():
    table = known(model_of(learned()))
    told = first_told(Watch(), table, 400, 1.0)
    assert told is not None
    number, found = told
    assert 30 <= number <= 60
    assert (found.window, found.greatest, found.actors, found.confidence) == ("hour", 10, 12, "medium")
    facts = answer("user:alice", START, [1])
    (finding,) = detect(
        Facts(*(getattr(facts, f) for f in ("call", "phase", "operation", "match", "identity")), deviations=(found,))
    )
    assert finding.severity == "high"
    assert "the greatest had 10" in finding.message
    assert f"{found.amount:,}" in finding.message


def test_what_is_learned_stays_legitimate_and_heavy_classes_have_limits_of_their_own():
    batch = [
        record("workload:export", START + hour * HOUR + n, hour * 1000 + n, "workload:export")
        for hour in range(48)
        for n in range(300)
    ]
    table = known(model_of(learned() + batch))
    watch = Watch()
    assert first_told(watch, table, 30, 60.0) is None
    for hour in range(6):
        for n in range(300):
            at = START + 100 * DAY + hour * HOUR + n * 10
            assert play(watch, table, answer("workload:export", at, [hour * 1000 + n], cls="workload:export")) == ()


def test_low_and_slow_is_told_within_days():
    table = known(model_of(learned(hours=10 * 24)))
    assert first_told(Watch(), table, 24 * 18, 200.0) is None  # not twice the usual in a day
    told = first_told(Watch(), table, 3 * 24 * 29, 124.0)
    assert told is not None
    assert told[1].window == "day"


def test_before_enough_is_known_nothing_is_judged():
    assert Model().publish((ORDER,)) is None
    table = known(model_of(learned(users=2, hours=1)))
    assert first_told(Watch(), table, 2_000, 1.0) is None
    assert first_told(Watch(), known(model_of(learned())), 500, 1.0, actor="user:x") is not None
    unknown = answer("user:x", START, range(600), cls="somebody-new")
    assert play(Watch(), table, unknown) == ()


def test_one_caller_alone_moves_no_limit():
    poison = [record("user:mallory", START + n, n) for n in range(5_000)]
    told = first_told(Watch(), known(model_of(learned() + poison)), 5_000, 0.5)
    assert told is not None
    assert told[1].greatest == 10
    assert told[1].confidence == "low"  # one did come near: told, and not blocked


def test_an_answer_that_adds_nothing_to_what_is_too_much_passes():
    table, watch = known(model_of(learned())), Watch()
    assert first_told(watch, table, 400, 1.0) is not None
    other = Endpoint("ep_me", "shop", "GET", "/me")
    assert play(watch, table, answer("user:alice", START + 100 * DAY + 500, [], endpoint=other)) == ()


def test_a_blocked_answer_was_not_given_and_the_window_moves_on():
    table, watch = known(model_of(learned())), Watch()
    start = START + 100 * DAY
    number, _ = first_told(watch, table, 400, 1.0)
    blocked = Verdict("block", "block")
    for more in range(50):
        facts = answer("user:alice", start + number + more, [10_000 + more])
        assert watch.response(facts, table) != ()
        watch.after(facts, blocked, table)
    assert play(watch, table, answer("user:alice", start + 3 * HOUR, [77])) == ()


@pytest.mark.parametrize("jump", [-50 * DAY, 0.0, 50 * DAY])
def test_clocks_that_jump(jump):
    table, watch = known(model_of(learned())), Watch()
    assert play(watch, table, answer("user:alice", START + 100 * DAY, [1])) == ()
    assert play(watch, table, answer("user:alice", START + 100 * DAY + jump, [2])) == ()
    assert len(watch) == 1


def test_callers_are_bounded_and_one_flood_leaves_others_alone(monkeypatch):
    monkeypatch.setattr("eastwall.behaviours.volumes.watch.MAX_CALLERS", 100)
    watch, table = Watch(), known(model_of(learned()))
    for number in range(1_000):
        play(watch, table, answer("user:flood", START + 100 * DAY, range(number * 20, number * 20 + 20)))
        play(watch, table, answer(f"user:{number}", START + 100 * DAY, [1]))
    assert len(watch) <= 100


def test_events_of_one_answer_are_one_call():
    table, watch = known(model_of(learned())), Watch()
    for n in range(40):
        assert play(watch, table, answer("user:alice", START + 100 * DAY, [1], call_id="one", raw=b"e" * n)) == ()
    tally = watch._tallies.get(("shop", "user:alice"))
    assert (tally.present.calls, tally.present.size) == (1, sum(range(40)))


def test_bytes_that_pass_unread_count():
    watch, table = Watch(), known(model_of(learned()))
    facts = answer("user:alice", START, [1])
    call = facts.call
    streamed = Facts(
        Call(call.id, "shop", call.time, call.peer, call.request, Response(200, {}, b"", BodyState.STREAMED)),
        Phase.RESPONSE, facts.operation, facts.match, facts.identity,
    )  # fmt: skip
    watch.after(streamed, ALLOWED, table)
    decision = Decision(call.id, Phase.RESPONSE, facts.match, facts.identity, streamed, (), ALLOWED)
    over = Completion(call.id, "shop", call.time, "GET", "/orders/1", "shop", 200, 0, 9_000_000, 900)
    assert watch.completed(decision, decision, over) is None
    assert watch._tallies.get(("shop", "user:alice")).present.size == 9_000_000


def test_records_are_the_longest_list_at_the_top():
    assert [records_of(b) for b in ([1, 2], {"a": [1], "b": {"c": [1, 2, 3]}}, {"n": 1}, "text", None)] == [2, 3, 0, 0, 0]


def test_a_data_class_that_a_class_never_had():
    email = DataHit("email", "user.email", "a***", "response")
    number = DataHit("pan", "card.number", "****1111", "response")
    table = known(model_of(learned(data=(email,))))
    assert Watch().response(answer("user:alice", START, [1], data=(email,)), table) == ()
    (found,) = Watch().response(answer("user:alice", START, [1], data=(email, number)), table)
    assert (found.data_class, found.answers, found.sure) == ("pan", 900, True)
    facts = answer("user:alice", START, [1])
    told = Facts(facts.call, facts.phase, facts.operation, facts.match, facts.identity, deviations=(found,))
    (finding,) = detect_data(told)
    assert (finding.severity, finding.confidence) == ("high", "medium")
    fresh = Endpoint("ep_order", "shop", "GET", "/orders/{order_id}", status="learned", users=(("user", 12, 2),))
    assert Watch().response(answer("user:alice", START, [1], data=(number,), endpoint=fresh), table) == ()


def test_one_caller_alone_teaches_no_data_class():
    email = DataHit("email", "user.email", "a***", "response")
    records = learned() + [record("user:mallory", START + n, n, data=(email,)) for n in range(50)]
    (found,) = Watch().response(answer("user:alice", START, [1], data=(email,)), known(model_of(records)))
    assert found.data_class == "email"


def test_operations_with_new_ids_keep_their_counts():
    model = model_of(learned())
    model.move({"ep_order": "ep_new"})
    names = {measure.name for group in model.publish(()).groups for _, _, of in group.spans for measure in of}
    assert "call ep_new" in names
    assert "call ep_order" not in names


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(-(2**63), 2**63 - 1)), max_size=60), st.integers(1, 5))
def test_distinct_objects_join_to_what_all_are(given, parts):
    whole, joined = Objects(), Objects()
    whole.add(given)
    for at in range(parts):
        part = Objects()
        part.add(given[at::parts])
        joined.join(part)
    assert joined.counts() == whole.counts() == {kind: len({k for n, k in given if n == kind}) for kind in {n for n, _ in given}}


def test_many_objects_are_counted_within_five_percent():
    rng, objects = random.Random(7), Objects()
    for _ in range(100):
        objects.add([("order", rng.getrandbits(63)) for _ in range(100)])
    assert len(objects.seen) <= EXACT
    assert objects.counts()["order"] == pytest.approx(10_000, rel=0.05)


def test_the_previous_window_counts_by_what_is_left_of_it():
    tally = Tally(START)
    tally.records_left -= 100
    tally.turn(START + HOUR)
    assert [tally.amount(0, "records", "", START + HOUR + part * HOUR) for part in (0, 0.5, 0.99)] == [100, 50, 1]
    assert tally.amount(1, "records", "", START + HOUR) == 100
    tally.turn(START + 5 * HOUR)
    assert tally.amount(0, "records", "", START + 5 * HOUR) == 0
    tally.turn(START)  # goes back: stands still
    assert tally.amount(1, "records", "", START + 5 * HOUR) == 100


@pytest.mark.parametrize(("users", "hours", "confidence"), [(2, 2, "low"), (1, 9, "low"), (2, 3, "medium"), (1, 10, "medium")])
def test_a_day_of_which_few_hours_are_known_stops_nobody(users, hours, confidence):
    """What is done at night, or in a busy afternoon, was not seen. Of a single caller twice as many hours must be known."""
    table = known(model_of(learned(users=users, hours=hours, calls=6)))
    _, found = first_told(Watch(), table, 400, 300.0)
    assert (found.cells, found.window, found.derived, found.confidence) == (users * hours, "day", True, confidence)


def test_how_much_there_is_of_what_is_new_to_a_class_is_learned_all_the_same():
    """Else what some were told for, all would be stopped for later."""
    new = Finding("function-not-used", "medium", "medium", (), "operation", "new", "")
    other = Finding("sql-injection", "high", "high", (), "query.q", "bad", "")
    for findings, action, cells in (((new,), "allow", 4), ((new,), "block", 0), ((new, other), "allow", 0)):
        model = Model()
        for one in learned(users=2, hours=2):
            model.fold(replace(one, findings=findings, action=action), "ep_order", None, clean=False)
        told = model.publish((ORDER,))
        groups = told.groups if told is not None else ()
        assert [m.cells for g in groups for m in g.spans[0][2] if m.name == "calls"] == ([cells] if cells else [])
