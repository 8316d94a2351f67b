"""Two engines on real ring files judge as one: what was given or done at one counts at the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.decision.test_expected import CONFIRM, MAKE, PAY
from tests.unit.decision.world import DETECTORS, ENDPOINTS, NOW, PREFILTER, answer, call, completion, snapshot
from tests.unit.runtime.test_engine import Records

from eastwall.model.call import Call
from eastwall.model.decision import Answer
from eastwall.ports.shared_state import Entry
from eastwall.runtime import engine as engine_module
from eastwall.runtime.sharing import SharingEngine, open_shared_state
from eastwall.stores.shared_rings import SharedRings
from eastwall.stores.snapshots import FileSnapshotStore


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real prefilter and detectors, but one compilation for all tests here: it takes over a second."""
    monkeypatch.setattr(engine_module.detections, "load", lambda: DETECTORS)
    monkeypatch.setattr(engine_module, "Prefilter", lambda *_, later: PREFILTER)


class Rig:
    """Engines that share through one folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        FileSnapshotStore(directory / "snapshots").publish(snapshot(endpoints=(*ENDPOINTS, MAKE, CONFIRM, PAY)))
        self.number = 0
        self.rings: list[SharedRings] = []

    def engine(self, name: str, size: int = 1 << 20, **options: Any) -> SharingEngine:
        self.rings.append(SharedRings(self.directory / "shared", name, size=size))
        store = FileSnapshotStore(self.directory / "snapshots")
        return SharingEngine(name, store, Records(), shared=self.rings[-1], ready=False, **options)

    def call(self, method: str, path: str, body: Any = None, user: str = "alice") -> Call:
        self.number += 1
        return call(method, path, body, user=user, number=self.number, time=NOW + self.number)

    def through(self, engine: SharingEngine, asked: Call, given: Any, status: int = 200) -> Answer:
        """The verdict on the request; an answer that was let through is given."""
        verdict = engine.request(asked)
        if not verdict.deny:
            verdict = engine.response(asked.id, answer(given, status))
        engine.completed(completion(asked, status))
        return verdict

    def make(self, engine: SharingEngine, order: int, user: str = "alice") -> None:
        asked = self.call("POST", "/orders", {"items": [{"quantity": 1}]}, user)
        assert not self.through(engine, asked, {"id": order}, 201).deny


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    found = Rig(tmp_path)
    yield found
    for one in found.rings:
        one.close()


def test_what_one_engine_gave_is_foreign_at_the_other(rig: Rig) -> None:
    first, second = rig.engine("0"), rig.engine("1")
    for engine in (first, second):
        engine.tick(1.0)
    assert not rig.through(first, rig.call("GET", "/orders"), {"items": [{"id": 41}, {"id": 42}]}).deny
    first.tick(2.0)
    stolen = second.request(rig.call("GET", "/orders/41", user="bob"))
    assert stolen.deny, "told by the other engine"
    assert stolen.status == 403
    assert not rig.through(second, rig.call("GET", "/orders/41"), {"id": 41}).deny, "its owner may, at either"


def test_a_flow_that_alternates_between_engines_is_in_order(rig: Rig) -> None:
    """No tick in between: a step is told before its answer leaves, and heard before the next call is judged."""
    engines = [rig.engine("0"), rig.engine("1")]
    for engine in engines:
        engine.tick(1.0)
    for order in range(500, 540):
        here, there = engines[order % 2], engines[1 - order % 2]
        rig.make(here, order)
        assert not rig.through(there, rig.call("POST", f"/orders/{order}/confirm"), {"ok": True}).deny
        assert not rig.through(here, rig.call("POST", f"/orders/{order}/pay"), {"ok": True}).deny
    findings = [f for engine in engines for record in engine._spool.got for f in record.findings]  # type: ignore[attr-defined]
    assert {f.id for f in findings} <= {"credentials-in-clear"}, "40 ordinary flows"


def test_a_step_repeated_at_the_other_engine_is_seen(rig: Rig) -> None:
    first, second = rig.engine("0"), rig.engine("1")
    for engine in (first, second):
        engine.tick(1.0)
    rig.make(first, 501)
    verdicts = [
        rig.through(engine, rig.call("POST", "/orders/501/confirm"), {"ok": True}).deny for engine in (first, second, first)
    ]
    assert verdicts == [False, False, True], "one honest retry, as at one engine"


def test_a_step_skipped_at_the_other_engine_is_seen(rig: Rig) -> None:
    first, second = rig.engine("0"), rig.engine("1")
    for engine in (first, second):
        engine.tick(1.0)
    rig.make(first, 501)
    assert second.request(rig.call("POST", "/orders/501/pay")).deny


def test_sign_in_failures_add_up(rig: Rig) -> None:
    engines = [rig.engine("0"), rig.engine("1")]
    for engine in engines:
        engine.tick(1.0)
    for n in range(8):
        asked = rig.call("POST", "/login", {"username": f"user-{n}", "password": "x"}, user="")
        rig.through(engines[n % 2], asked, {"error": "no"}, 401)
    for now in (2.0, 3.0):
        for engine in engines:
            engine.tick(now)
    for engine in engines:
        window = engine.state.logins.window("any", "10.0.0.1", 0, NOW + 10)
        assert (window.source_failures, window.source_accounts) == (8, 8)


def test_an_engine_that_was_killed_knows_again_what_was_told(rig: Rig) -> None:
    first, second = rig.engine("0"), rig.engine("1")
    for engine in (first, second):
        engine.tick(1.0)
    rig.make(first, 501)
    rig.make(second, 502)
    assert not rig.through(second, rig.call("POST", "/orders/501/confirm"), {"ok": True}).deny
    second.tick(2.0)
    first.tick(2.0)
    own = rig.rings[0]._own
    assert own is not None
    own.put(own.words[3], b"\xff" * 100)  # killed in mid-write
    again = rig.engine("0")
    again.tick(3.0)
    assert again.request(rig.call("GET", "/orders/502", user="mallory")).deny
    assert not rig.through(again, rig.call("POST", "/orders/501/pay"), {"ok": True}).deny, "confirmed at the other engine"
    assert again.request(rig.call("POST", "/orders/502/pay")).deny, "never confirmed"


def test_who_missed_something_calls_no_step_missing(rig: Rig) -> None:
    """The ring went round before the other read it: its confirmations are gone, and nothing is concluded from that."""
    first, second = rig.engine("0", size=4096), rig.engine("1", size=4096)
    for engine in (first, second):
        engine.tick(1.0)
    rig.make(first, 501)
    second.tick(2.0)
    assert second.state.steps.of(next(iter(second.state.steps._done))) == {}
    for order in range(600, 800):
        rig.make(first, order)
        assert not rig.through(first, rig.call("POST", f"/orders/{order}/confirm"), {"ok": True}).deny
    assert not second.request(rig.call("POST", "/orders/501/pay")).deny
    for order in range(600, 800):
        assert not second.request(rig.call("POST", f"/orders/{order}/pay")).deny
    late = rig.engine("2", size=4096)
    assert not late.request(rig.call("POST", "/orders/799/pay")).deny


def test_a_store_that_fails_leaves_the_engine_to_itself_and_says_so(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("in the way")
    report = tmp_path / "sharing-0.json"
    engine = rig.engine("0", told=report)
    rig.make(engine, 501)
    engine.tick(1.0)
    said = json.loads(report.read_text())
    assert "shared" in said["fault"]
    assert said["dropped"] > 0
    assert engine.request(rig.call("GET", "/orders/501", user="bob")).deny, "it goes by what it sees itself"


@pytest.mark.parametrize("topic", ["grants", "steps", "logins", "of-a-later-version"])
@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x91\x92\x01\x02", b"\x91\x92\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1a", b"x" * 1000]
)
def test_a_damaged_entry_is_counted_and_hinders_nobody(rig: Rig, topic: str, data: bytes) -> None:
    engine = rig.engine("0")
    other = SharedRings(rig.directory / "shared", "1", size=4096)
    rig.rings.append(other)
    other.tell([Entry(topic, data)])
    engine.tick(1.0)
    rig.make(engine, 501)
    assert engine.request(rig.call("GET", "/orders/501", user="bob")).deny
    assert (engine._damaged > 0) is (topic != "of-a-later-version")


def test_the_address_of_a_store(tmp_path: Path) -> None:
    assert open_shared_state("off", tmp_path, "0") is None
    rings = open_shared_state("", tmp_path / "s", "0")
    assert isinstance(rings, SharedRings)
    rings.close()
    with pytest.raises(ValueError, match="valkey://") as told:
        open_shared_state("redis://:hunter2@somewhere", tmp_path, "0")
    assert "hunter2" not in str(told.value)
    with pytest.raises(ValueError, match="cannot be read") as told:
        open_shared_state("valkey://:hunter2@host:port-that-is-none/0", tmp_path, "0")
    assert "hunter2" not in str(told.value)
