"""Policies on recorded calls: what an engine did with calls is what a replay of its policies says, and where a record does not tell, nothing is
guessed."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.decision.world import DETECTORS, ENDPOINTS, NOW, PREFILTER, answer, call, completion, snapshot
from tests.unit.policy.build import document

from eastwall.decision.state import LiveState
from eastwall.model.call import Call, Mode, Response
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import ServiceScope
from eastwall.policy import parse_files
from eastwall.policy.kinds import PolicySet
from eastwall.policy.replay import MAX_CALLERS, Comparison
from eastwall.runtime import engine as engine_module
from eastwall.runtime import policy_replay
from eastwall.runtime.engine import Engine
from eastwall.runtime.policy_replay import BlocksTrafficError, World, bare, guard
from eastwall.stores.snapshots import FileSnapshotStore

WORLD = World((ServiceScope("orders", Mode.MONITOR),), tuple(map(bare, ENDPOINTS)))
USERS = ("alice", "bob", "carol", "")
RECORDED = """
path.order_id == '7'
identity.sub == 'bob'
identity.strength != 'none' && identity.kind == 'user'
request.method == 'PATCH' && call.source.startsWith('10.0.')
call.time > timestamp('2023-11-14T22:14:20Z')
request.path.matches('^/orders/[0-4]$')
""".strip().splitlines()
"""Conditions that a record always tells, or that fail alike."""
UNRECORDED = (
    "!has(query.page)",
    "has(identity.claims.team)",
    "request.headers['x-debug'] == '1'",
    "has(request.headers.x) || identity.sub == 'bob'",
    "query.page == '2'",
    "body.name == 'x'",
)


class Records(list[CallRecord]):
    def flush(self) -> None: ...
    def close(self) -> None: ...


class Lived:
    """An engine: what it does with calls under policies, as records. One for all tests here: to start one takes a second."""

    def __init__(self, directory: Path) -> None:
        self.store = FileSnapshotStore(directory)
        self.store.publish(snapshot())
        self.records = Records()
        self.engine = Engine("0", FileSnapshotStore(directory), self.records)

    def __call__(self, policy: str, calls: list[tuple[Call, Response]], mode: Mode = Mode.ENFORCE) -> list[CallRecord]:
        self.store.publish(snapshot(mode, policy))
        engine = self.engine
        engine.load()
        engine.state = LiveState()
        self.records.clear()
        for sent, answered in calls:
            status = answered.status
            if engine.request(sent).deny or engine.response(sent.id, answered).deny:
                status = 403
            engine.completed(completion(sent, status))
        return list(self.records)


@pytest.fixture(scope="module")
def lived() -> Iterator[Lived]:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ew") as directory:
        patch.setattr(engine_module.detections, "load", lambda: DETECTORS)
        patch.setattr(engine_module, "Prefilter", lambda *_, later: PREFILTER)
        yield Lived(Path(directory))


def policies(text: str) -> PolicySet:
    found, faults = parse_files({"p.yaml": text} if text else {})
    assert not [fault for fault in faults if not fault.warning], faults
    return found


def traffic(rng: random.Random, count: int) -> list[tuple[Call, Response]]:
    made = []
    for number in range(count):
        user = rng.choice(USERS)
        path, body, method = rng.choice(
            [
                (f"/orders/{rng.randrange(9)}", None, "GET"),
                ("/orders?page=2", None, "GET"),
                ("/orders?page=2&page=3", None, "GET"),
                ("/me", {"name": rng.choice(["x", "x' UNION SELECT username, password FROM users --"])}, "PATCH"),
                ("/nowhere/at/all", None, "GET"),
                ("/Orders/7;v=1", None, "GET"),
            ]
        )
        headers = rng.choice([{}, {}, {"x-debug": "1"}, {"user-agent": "curl/8"}])
        roles = ("admin",) if rng.random() < 0.2 else ()
        sent = call(method, path, body, user=user, roles=roles, time=NOW + number * 0.7, number=number, headers=headers,
                    source=rng.choice(["10.0.0.1", "10.0.0.2", "192.0.2.1"]))  # fmt: skip
        made.append((sent, answer({"id": 7, "card": "4111 1111 1111 1111"} if rng.random() < 0.5 else {"id": 7})))
    return made


def made_up(rng: random.Random, conditions: tuple[str, ...]) -> str:
    documents = []
    for number in range(rng.randrange(1, 7)):
        scope: dict[str, Any] = {}
        if rng.random() < 0.7:
            scope["operations"] = [
                rng.choice(["GET /orders/{order_id}", "* /orders/**", "PATCH /me", "GET /orders", "* /nowhere/**"])
            ]
        if rng.random() < 0.4:
            scope["identities"] = rng.choice(
                [{"kinds": ["user"]}, {"actors": ["user:b*"]}, {"roles": ["admin"], "strength": "verified"}]
            )
        spec: dict[str, Any] = {"scope": scope, "mode": rng.choice(["enforce", "enforce", "monitor"])}
        if rng.random() < 0.5:
            spec["when"] = [rng.choice(conditions)]
            spec["onError"] = rng.choice(["block", "allow", "monitor"])
        kind, more = rng.choice(
            [
                ("AccessPolicy", {"action": "allow"}),
                ("AccessPolicy", {"action": "deny"}),
                ("AccessPolicy", {"action": "deny"}),
                ("LimitPolicy", {"rate": "20/m", "burst": 3, "per": ["identity"]}),
                ("DataPolicy", {"classes": ["pan"], "action": rng.choice(["mask", "block"])}),
                ("DetectionPolicy", {"detections": ["*"], "action": rng.choice(["block", "report", "default"])}),
            ]
        )
        documents.append(document(kind, f"p{number}", **more, **spec))
    return "".join(documents)


def replayed(records: list[CallRecord], new: PolicySet, old: PolicySet, *, enforced: bool, world: World = WORLD) -> Comparison:
    compared = policy_replay.comparison(new, old, world, enforced=enforced)
    for record in records:
        compared.add(record)
    return compared


ENFORCED = World((ServiceScope("orders", Mode.ENFORCE),), WORLD.endpoints)


@pytest.mark.parametrize("seed", range(8))
def test_a_replay_of_what_was_applied_changes_nothing(seed: int, lived: Lived) -> None:
    rng = random.Random(seed)
    text = made_up(rng, tuple(RECORDED))
    records = lived(text, traffic(rng, 150))
    compared = replayed(records, policies(text), policies(text), enforced=False, world=ENFORCED)
    assert compared.totals.unchanged == 150, (text, msgspec.to_builtins(compared.groups()))


@pytest.mark.parametrize("seed", range(8))
def test_what_records_do_not_hold_is_never_guessed(seed: int, lived: Lived) -> None:
    rng = random.Random(100 + seed)
    text = made_up(rng, (*UNRECORDED, *RECORDED[:2]))
    records = lived(text, traffic(rng, 150))
    compared = replayed(records, policies(text), policies(text), enforced=False, world=ENFORCED)
    assert compared.totals.unchanged + compared.totals.unjudged == 150, (text, msgspec.to_builtins(compared.groups()))


def test_unrecorded_conditions_that_make_no_difference_are_judged(lived: Lived) -> None:
    calls = [(call("GET", f"/orders/{n}", user="bob", number=n, time=NOW + n), answer({"id": n})) for n in range(6)]
    records = lived("", calls, Mode.MONITOR)
    unknown = document("AccessPolicy", "unknown", action="deny", when=["request.headers['x-debug'] == '1'"])
    both = unknown + document("AccessPolicy", "all", action="deny")
    assert replayed(records, policies(unknown), policies(""), enforced=True).totals.unjudged == 6
    found = replayed(records, policies(both), policies(""), enforced=True)
    assert (found.totals.blocked, found.totals.unjudged) == (6, 0)
    (group,) = found.groups()
    assert group.policy == "all"
    (told,) = replayed(records, policies(unknown), policies(""), enforced=True).groups()
    assert (told.change, told.policy, told.location) == ("unjudged", "unknown", "p.yaml:2")
    assert told.reason == "its condition `request.headers['x-debug'] == '1'`: records do not hold values of headers"


def test_groups_tell_who_is_hit_by_what(lived: Lived) -> None:
    calls = [(call("GET", f"/orders/{n}", user=USERS[n % 3], number=n, time=NOW + n), answer({"id": n})) for n in range(9)]
    records = lived("", calls, Mode.MONITOR)
    text = document(
        "AccessPolicy", "not-bob", action="deny", scope={"identities": {"actors": ["user:bob"]}}, reason="Bob is out."
    )
    found = replayed(records, policies(text), policies(""), enforced=True)
    assert (found.totals.calls, found.totals.blocked, found.totals.blocked_legitimate, found.totals.unchanged) == (9, 3, 3, 6)
    (group,) = found.groups()
    assert (group.service, group.operation, group.caller_class, group.calls, group.callers) == (
        "orders",
        "GET /orders/{order_id}",
        "user",
        3,
        1,
    )
    assert (group.before, group.after, group.reason, group.location) == ("allow", "block", "Bob is out.", "p.yaml:2")
    assert [example[2] for example in group.examples] == ["user:bob"] * 3
    # The other way round: what the applied policies blocked passes.
    blocked = lived(text, calls)
    back = replayed(blocked, policies(""), policies(text), enforced=True)
    assert (back.totals.passed, back.totals.blocked) == (3, 0)
    assert back.groups()[0].policy == "not-bob"


def test_examples_are_of_different_callers_and_callers_are_bounded(lived: Lived) -> None:
    records = lived("", [(call("GET", "/orders/1", user="bob"), answer({"id": 1}))], Mode.MONITOR)
    many = [replace(records[0], actor=f"user:u{n // 2}", id=f"{n:026d}") for n in range(2 * MAX_CALLERS + 100)]
    found = replayed(many, policies(document("AccessPolicy", action="deny")), policies(""), enforced=True)
    (group,) = found.groups()
    assert (group.calls, group.callers) == (2 * MAX_CALLERS + 100, MAX_CALLERS)
    assert [example[2] for example in group.examples] == ["user:u0", "user:u1", "user:u2"]


def test_calls_that_nobody_inspected_are_not_judged(lived: Lived) -> None:
    bare_record = CallRecord(
        1, "x", NOW, "orders", "GET", "/orders/1", "", 200, 0, 0, 0, "10.0.0.1", uninspected=("engine-lost",)
    )
    found = replayed([bare_record], policies(document("AccessPolicy", action="deny")), policies(""), enforced=True)
    assert found.totals.unjudged == 1


class Kept:
    """A lake of a list."""

    def __init__(self, records: list[CallRecord]) -> None:
        self.records = sorted(records, key=lambda record: (record.time, record.id))

    def extent(self, since: float, until: float, service: str = "") -> dict[str, Any]:
        times = [record.time for record in self.records if since <= record.time <= until]
        return {"calls": len(times), "first": min(times, default=0.0), "last": max(times, default=0.0)}

    def in_order(self, since: float, until: float, *, after: str = "", service: str = "", limit: int = 10_000) -> bytes:
        found = [r for r in self.records if since <= r.time <= until and (r.time > since or r.id > after)]
        return msgspec.msgpack.encode([msgspec.msgpack.encode(record) for record in found[:limit]])


def test_a_set_that_blocks_most_of_a_service_is_refused_with_the_numbers(lived: Lived) -> None:
    calls = [(call("GET", f"/orders/{n}", user=USERS[n % 3], number=n, time=NOW + n), answer({"id": n})) for n in range(60)]
    lake = Kept(lived("", calls, Mode.DISCOVER))
    now = NOW + 100
    allow_nobody = document("AccessPolicy", "staff-only", action="allow", scope={"identities": {"roles": ["staff"]}})
    with pytest.raises(
        BlocksTrafficError, match=r"would block (\d+) of \1 legitimate calls to `orders` of the last 7 days \(100 %\)"
    ) as refused:
        guard(policies(allow_nobody), policies(""), lake, WORLD, now)
    assert "`staff-only` (p.yaml:2) on `GET /orders/{order_id}`" in str(refused.value)
    one_third = document("AccessPolicy", action="deny", scope={"identities": {"actors": ["user:bob"]}})
    third = guard(policies(one_third), policies(""), lake, WORLD, now)
    assert (third["calls"], third["blocked"]) == (60, 20)
    assert 58 <= third["legitimate"] <= 60  # what the engine found in the odd one makes it none
    # On trial it blocks nobody; and what is applied already is not refused when it is applied again.
    on_trial = document("AccessPolicy", "staff-only", action="allow", mode="monitor", scope={"identities": {"roles": ["staff"]}})
    assert guard(policies(on_trial), policies(""), lake, WORLD, now)["blocked"] == 0
    assert guard(policies(allow_nobody), policies(allow_nobody), lake, WORLD, now)["blocked"] == 0
    assert guard(policies(allow_nobody), policies(""), lake, WORLD, now + 30 * 86_400) == {
        "calls": 0, "legitimate": 0, "blocked": 0, "days": 7,
    }  # fmt: skip
