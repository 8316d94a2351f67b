"""Limits and guards through real engines: what completions release and charge, what callers are told, what engines tell each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.decision.world import DETECTORS, ENDPOINTS, NOW, ORDER, PREFILTER, answer, call, completion, snapshot

from eastwall.model.audit import Who
from eastwall.model.call import BodyState, Call, Response
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import Snapshot
from eastwall.policy.open_calls import FORGET, LONGEST
from eastwall.runtime import engine as engine_module
from eastwall.runtime.audit import AuditLog
from eastwall.runtime.engine import Engine
from eastwall.runtime.policy_guards import PolicyGuards
from eastwall.runtime.sharing import SharingEngine
from eastwall.stores.shared_rings import SharedRings
from eastwall.stores.snapshots import FileSnapshotStore


class Records:
    """A RecordWriter that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[CallRecord] = []

    def append(self, record: CallRecord) -> None:
        self.got.append(record)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing waits."""


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real prefilter and detectors, but one compilation for all tests here: it takes over a second."""
    monkeypatch.setattr(engine_module.detections, "load", lambda: DETECTORS)
    monkeypatch.setattr(engine_module, "Prefilter", lambda *_, later: PREFILTER)


def limit(**spec: Any) -> str:
    body = {"apiVersion": "eastwall.dev/v1alpha1", "kind": "LimitPolicy", "metadata": {"name": "l"}, "spec": spec}
    return msgspec.json.encode(body).decode()


def engine(tmp_path: Path, policy: str, **fields: Any) -> Engine:
    store = FileSnapshotStore(tmp_path / "snapshots")
    store.publish(snapshot(policy=policy, **fields))
    return Engine("0", store, Records())


def asked(number: int, *, user: str = "alice", time: float = NOW, path: str = "/orders", **more: Any) -> Call:
    return call("GET", path, user=user, number=number, time=time, **more)


def test_calls_open_at_once_until_their_completion(tmp_path: Path) -> None:
    it = engine(tmp_path, limit(concurrency=2))
    assert [it.request(asked(n)).deny for n in range(3)] == [False, False, True]
    assert not it.request(asked(9, user="bob")).deny, "each caller has his own"
    it.completed(completion(asked(2), 429))
    assert it.request(asked(3)).deny, "a refused call was never open"
    it.completed(completion(asked(0)))
    refused = it.request(asked(4))
    assert not refused.deny
    given = it.request(asked(5))
    assert ("ratelimit-policy", '"concurrency";q=2;qu="concurrent-requests"') in given.headers


def test_a_call_whose_completion_is_lost_does_not_count_for_ever(tmp_path: Path) -> None:
    it = engine(tmp_path, limit(concurrency=1))
    it.tick(NOW)
    assert not it.request(asked(0)).deny
    it.tick(NOW + LONGEST - 1)
    assert it.request(asked(1, time=NOW + LONGEST - 1)).deny
    it.tick(NOW + LONGEST + 1)
    assert not it.request(asked(2, time=NOW + LONGEST + 1)).deny


def test_an_answer_over_the_budget_is_withheld_and_the_next_smaller_one_passes(tmp_path: Path) -> None:
    it = engine(tmp_path, limit(records="10/h"))
    rows = [{"id": n} for n in range(8)]
    first, second, third = asked(0), asked(1), asked(2)
    assert not it.request(first).deny
    assert not it.response(first.id, answer(rows)).deny
    it.completed(completion(first))
    assert not it.request(second).deny
    withheld = it.response(second.id, answer(rows))
    assert (withheld.deny, withheld.status) == (True, 429)
    assert ("ratelimit", '"records";r=2;t=2160') in withheld.headers, "6 records too many, at 10 an hour"
    it.completed(completion(second, 429))
    assert not it.request(third).deny
    assert not it.response(third.id, answer(rows[:2])).deny
    it.completed(completion(third))
    assert it.request(asked(3)).deny, "and what is used up stops the next request"


def test_bytes_of_a_stream_are_charged_when_it_is_over(tmp_path: Path) -> None:
    it = engine(tmp_path, limit(bytes="1KiB/h", direction="response"))
    first = asked(0)
    assert not it.request(first).deny
    stream = Response(200, {"content-type": "application/octet-stream"}, b"", BodyState.STREAMED)
    assert not it.response(first.id, stream).deny, "nobody knows how much will come"
    it.completed(msgspec.structs.replace(completion(first), response_bytes=5_000))
    refused = it.request(asked(1))
    assert refused.deny
    assert ("ratelimit-policy", '"bytes";q=1024;w=3600;qu="content-bytes"') in refused.headers


def test_a_size_that_is_told_beforehand_is_refused_beforehand(tmp_path: Path) -> None:
    it = engine(tmp_path, limit(bytes="1KiB/h"))
    first = asked(0)
    assert not it.request(first).deny
    large = Response(200, {"content-type": "application/octet-stream", "content-length": "5000"}, b"", BodyState.STREAMED)
    assert it.response(first.id, large).deny


def test_values_are_counted_one_by_one_and_not_when_they_are_redacted(tmp_path: Path) -> None:
    people = [{"email": f"user{n}@example.com"} for n in range(3)]
    budget = limit(values="4/d", classes=["email"])
    it = engine(tmp_path, budget)
    first, second = asked(0), asked(1)
    it.request(first)
    assert not it.response(first.id, answer(people)).deny
    it.request(second)
    assert it.response(second.id, answer(people)).deny, "3 and 3 are more than 4"
    redact = budget.replace('"LimitPolicy"', '"DataPolicy"').replace('"l"', '"r"').replace('"values":"4/d"', '"action":"redact"')
    it = engine(tmp_path / "b", f"{budget}\n---\n{redact}")
    for n in range(5):
        it.request(asked(n))
        given = it.response(asked(n).id, answer(people))
        assert (given.deny, b"example.com" in (given.body or b"")) == (False, False)


def test_distinct_objects_and_not_their_calls(tmp_path: Path) -> None:
    it = engine(tmp_path, limit(objects="2/h"))
    paths = ["/orders/1", "/orders/2", "/orders/1", "/orders/2", "/orders/3", "/orders/1"]
    assert [it.request(asked(n, path=path)).deny for n, path in enumerate(paths)] == [False, False, False, False, True, False]


def test_answers_that_pass_tell_how_much_is_left(tmp_path: Path) -> None:
    it = engine(tmp_path, limit(rate="60/m", burst=5, headers=True))
    first = asked(0)
    it.request(first)
    given = it.response(first.id, answer([]))
    assert not given.deny
    assert given.headers == (("ratelimit", '"default";r=4;t=1'), ("ratelimit-policy", '"default";q=60;w=60'))


# -- several engines --------------------------------------------------------------------------------------------------


class Pair:
    """Two engines of one machine."""

    def __init__(self, directory: Path, published: Snapshot) -> None:
        self.directory = directory
        self.store = FileSnapshotStore(directory / "snapshots")
        self.store.publish(published)
        self.ends: list[SharedRings] = []
        self.a, self.b = self.open("a"), self.open("b")
        self.tick(NOW)

    def open(self, name: str) -> SharingEngine:
        end = SharedRings(self.directory / "shared", name, size=1 << 20)
        self.ends.append(end)
        beat = self.directory / f"engine-{name}.json"
        return SharingEngine(name, FileSnapshotStore(self.directory / "snapshots"), Records(), beat=beat, shared=end)

    def tick(self, now: float) -> None:
        self.a.tick(now)
        self.b.tick(now)

    def close(self) -> None:
        for end in self.ends:
            end.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Any]:
    opened: list[Pair] = []

    def open_pair(policy: str, **fields: Any) -> Pair:
        opened.append(Pair(tmp_path, snapshot(policy=policy, **fields)))
        return opened[-1]

    yield open_pair
    for one in opened:
        one.close()


def test_one_rate_for_both(pair: Any) -> None:
    two = pair(limit(rate="10/h", burst=4))
    let_in = [not (two.a, two.b)[n % 2].request(asked(n)).deny for n in range(10)]
    assert let_in == [True] * 4 + [False] * 6
    assert not two.b.request(asked(11, user="bob")).deny


def test_what_was_taken_is_known_after_a_restart_and_as_of_then(pair: Any) -> None:
    two = pair(limit(rate="60/m", burst=3))
    for n in range(3):
        assert not two.a.request(asked(n)).deny
    third = two.open("c")
    third.tick(NOW)
    assert third.request(asked(4)).deny
    late = two.open("d")
    late.tick(NOW + 3600)
    assert not late.request(asked(5, time=NOW + 3600)).deny, "an hour later it is long paid back"


def test_open_calls_are_counted_over_both_and_forgotten_with_their_engine(pair: Any) -> None:
    two = pair(limit(concurrency=2))
    assert not two.a.request(asked(0)).deny
    assert not two.b.request(asked(1)).deny
    assert two.a.request(asked(2)).deny
    two.b.completed(completion(asked(1)))
    two.tick(NOW + 0.1)
    assert not two.a.request(asked(3, time=NOW + 0.1)).deny
    assert two.b.request(asked(4, time=NOW + 0.1)).deny
    # `a` dies with two open calls and says no more: what it said holds for a while, and no longer.
    two.b.tick(NOW + 1)
    assert two.b.request(asked(5, time=NOW + 1)).deny
    two.b.tick(NOW + 1 + FORGET)
    assert not two.b.request(asked(6, time=NOW + 1 + FORGET)).deny


def test_an_outage_of_the_shared_store_goes_by_policy(tmp_path: Path) -> None:
    for wanted, denied in (("local", [False, True]), ("block", [True, True]), ("allow", [False, False])):
        it = engine(tmp_path / wanted, limit(rate="1/h", onOutage=wanted))
        it.state.limits.outage = "the Valkey server: it cannot be reached"
        given = [it.request(asked(n)) for n in range(2)]
        assert [one.deny for one in given] == denied
        if wanted == "block":
            assert given[0].status == 503


# -- guards -----------------------------------------------------------------------------------------------------------

USED = tuple(msgspec.structs.replace(one, users=(("user", 400, 4),)) for one in ENDPOINTS)
GUARDED = """
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: no-orders}
spec: {action: deny, scope: {operations: ["GET /orders/*"]}, when: "request.method == 'GET' && call.time > timestamp('2023-11-14T22:13:30Z')",
       guard: {legitimate: 3, within: 10m, callers: 2}}
"""
"""In force from ten seconds after NOW on, so that calls pass before."""


def use(it: Engine, user: str, number: int, time: float, **more: Any) -> bool:
    """One call, to an order of the caller's own, from its request to its completion; whether it was stopped."""
    own = int.from_bytes(user.encode()[:5], "big") * 1000 + number
    one = asked(own, user=user, time=time, path=f"/orders/{own}", **more)
    stopped = it.request(one).deny
    if not stopped:
        it.response(one.id, answer({"id": own}))
    it.completed(completion(one, 403 if stopped else 200))
    return stopped


def warmed(it: Engine, *users: str) -> None:
    for user in users:
        for n in range(3):
            assert not use(it, user, n, NOW + n)


def test_a_policy_that_stops_legitimate_calls_steps_back_and_one_caller_alone_takes_none_back(tmp_path: Path) -> None:
    it = engine(tmp_path, GUARDED, endpoints=USED)
    warmed(it, "alice", "bob")
    assert all(use(it, "alice", n, NOW + 20 + n) for n in range(10, 40)), "one caller takes no policy back"
    assert use(it, "bob", 50, NOW + 60)
    assert list(it.state.guards.stepped) == ["no-orders"]
    assert not use(it, "bob", 51, NOW + 61)
    assert it._spool.got[-1].would == "block", "and it tells what it would have done"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("why", "more"),
    [
        ("nobody proved who they are", {"user": ""}),
        ("an attack", {"headers": {"x-note": "' UNION SELECT username, password FROM users --"}}),
        ("their class does not use it", {"roles": ("admin",)}),
    ],
)
def test_what_does_not_look_legitimate_takes_no_policy_back(tmp_path: Path, why: str, more: dict[str, Any]) -> None:
    it = engine(tmp_path, GUARDED, endpoints=USED)
    warmed(it, "alice", "bob", "carol")
    for n in range(30):
        user = ("alice", "bob", "carol")[n % 3]
        assert use(it, **{"user": user, "number": 10 + n, "time": NOW + 20 + n, **more})
    assert not it.state.guards.stepped, why


def test_a_caller_who_never_called_before_does_not_look_legitimate(tmp_path: Path) -> None:
    it = engine(tmp_path, GUARDED, endpoints=USED)
    assert all(use(it, f"user{n}", n, NOW + 20 + n) for n in range(20))
    assert not it.state.guards.stepped


def test_engines_count_together_and_control_writes_down_tells_and_arms_again(pair: Any, tmp_path: Path) -> None:
    two = pair(GUARDED, endpoints=USED)
    warmed(two.a, "alice", "bob")
    warmed(two.b, "alice", "bob")
    for n in range(4):
        it, user = ((two.a, "alice"), (two.b, "bob"))[n % 2]
        assert use(it, user, 10 + n, NOW + 20 + n)
        two.tick(NOW + 20 + n)
    two.tick(NOW + 24)
    assert [list(it.state.guards.stepped) for it in (two.a, two.b)] == [["no-orders"]] * 2

    published = two.store.load()
    assert published is not None
    beats = lambda: [msgspec.json.decode((two.directory / f"engine-{name}.json").read_bytes()) for name in "ab"]  # noqa: E731
    version = iter(range(8, 20))

    def publish() -> None:
        two.store.publish(
            msgspec.structs.replace(published, version=next(version), stepped_back=guards.stepped_back, rearmed=guards.rearmed)
        )

    from eastwall.policy import decode

    audit = AuditLog(tmp_path / "audit", lambda: NOW)
    file = tmp_path / "guards.json"
    own = decode(published.policy).policies
    guards = PolicyGuards(file, audit, lambda: own, lambda: published.services, beats, lambda _: [], publish)
    assert guards.look()
    assert not guards.look(), "once"
    assert "eastwall policy rearm no-orders" in guards.faults()["policy no-orders"]
    (shown,) = (one for one in guards.effect() if one["policy"] == "no-orders")
    assert (shown["services"], shown["stepped_back"]["policy"]) == ({"orders": "monitor"}, "no-orders")

    third = two.open("c")
    assert list(third.state.guards.stepped) == ["no-orders"], "an engine that starts now knows of it"
    again = PolicyGuards(file, audit, lambda: own, lambda: published.services, beats, lambda _: [], publish)
    assert [step.policy for step in again.stepped_back] == ["no-orders"], "and so does a control"

    with pytest.raises(LookupError, match="those that have: `no-orders`"):
        guards.rearm("nothing", Who("token"))
    guards.rearm("no-orders", Who("token", "ada"))
    for it in (two.a, two.b, third):
        it.load()
        assert not it.state.guards.stepped
    two.tick(NOW + 30)
    assert not guards.look(), "what was hit before counts no more"
    assert [(entry.act, entry.who.name) for entry in audit.entries()] == [("step-back", ""), ("rearm", "ada")]
    assert use(two.a, "alice", 90, NOW + 40)


SHARED = GUARDED.replace("request.method == 'GET'", "request.path.endsWith('7')").replace("callers: 2", "callers: 2, share: 20%")
"""Stops every tenth call."""


def test_a_share_takes_a_policy_back_only_when_it_stops_many_of_those_that_look_legitimate(tmp_path: Path) -> None:
    it = engine(tmp_path, SHARED, endpoints=USED)
    warmed(it, "alice", "bob")
    stopped = [use(it, ("alice", "bob")[n % 2], n // 2, NOW + 20 + n) for n in range(20, 80)]
    assert (sum(stopped), it.state.guards.stepped) == (6, {}), "a tenth, and 20 % are allowed"
    for n in range(12):
        use(it, ("alice", "bob")[n % 2], 7, NOW + 200 + n)
    (step,) = it.state.guards.stepped.values()
    assert step.reason.endswith("were stopped within 10m, 20.6% of all that look legitimate"), step.reason
    bare = engine(tmp_path / "bare", SHARED.replace(", share: 20%", ""), endpoints=USED)
    warmed(bare, "alice", "bob")
    assert sum(use(bare, ("alice", "bob")[n % 2], n // 2, NOW + 20 + n) for n in range(20, 80)) == 4


def test_engines_count_what_passed_together_and_control_leaves_it_to_them(pair: Any, tmp_path: Path) -> None:
    two = pair(SHARED, endpoints=USED)
    for it in (two.a, two.b):
        warmed(it, "alice", "bob")
    for n in range(20, 80):  # all that is stopped, at one engine; all that passes, at the other
        number = n // 2
        use(two.a if number % 10 == 7 else two.b, ("alice", "bob")[n % 2], number, NOW + 20 + n)
        two.tick(NOW + 20 + n)
    assert not two.a.state.guards.stepped
    assert not two.b.state.guards.stepped
    published = two.store.load()
    assert published is not None
    from eastwall.policy import decode

    own = decode(published.policy).policies
    hits = [msgspec.to_builtins(hit) for hit in two.a.state.guards.recent()]
    assert len(hits) == 6
    guards = PolicyGuards(
        tmp_path / "guards.json", AuditLog(tmp_path / "audit", lambda: NOW), lambda: own, lambda: published.services,
        lambda: [{"name": "a", "guard_hits": hits}], lambda _: [], lambda: None,
    )  # fmt: skip
    assert not guards.look()


def test_a_roll_out_keeps_its_callers_and_grows_by_others(tmp_path: Path) -> None:
    def stopped(percent: int) -> set[int]:
        it = engine(tmp_path / str(percent), limit(rate="1/d", burst=1, rollout={"percent": percent}), endpoints=(ORDER,))
        users = range(200)
        for user in users:
            it.request(asked(user, user=f"u{user}"))
        return {user for user in users if it.request(asked(1000 + user, user=f"u{user}")).deny}

    few, more, all_ = stopped(10), stopped(40), stopped(100)
    assert few < more < all_ == set(range(200))
    assert 8 <= len(few) <= 40
    assert 55 <= len(more) <= 105
