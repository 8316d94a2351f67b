"""Approvals at control: heard from heartbeats, decided, published, kept, audited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from eastwall.model.audit import Who
from eastwall.policy.approvals import Asked
from eastwall.runtime import engine as engine_module
from eastwall.runtime.approvals import KEPT, MAX_OF_ONE, MAX_WAITING, Approvals
from eastwall.runtime.audit import AuditLog
from eastwall.runtime.engine import Engine
from eastwall.stores.snapshots import FileSnapshotStore

ALICE = Who("token", "alice@desk")


class Desk:
    def __init__(self, folder: Path) -> None:
        self.now = 1_000_000_000.0
        self.published = 0
        self.audit = AuditLog(folder / "audit", lambda: self.now)
        self.folder = folder
        self.beats: list[dict[str, Any]] = []
        self.made = self.again()

    def again(self) -> Approvals:
        return Approvals(self.folder / "a.json", self.audit, lambda: self.now, lambda: self.beats, self.publish)

    def publish(self) -> None:
        self.published += 1

    def hear(self, *names: str, used: tuple[tuple[str, float], ...] = (), actor: str = "client:bot") -> bool:
        """A heartbeat that tells of calls of just now."""
        asked = [Asked(name, self.now, "01HF", "bank", "pay", actor, "", "", "big", "why", {"amount": "9"}) for name in names]
        self.beats = [{"name": "0", "approvals_asked": msgspec.to_builtins(asked), "approvals_used": list(used)}]
        return self.made.look()

    def waiting(self) -> list[str]:
        return [one["id"] for one in self.made.all()["waiting"]]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_heard_granted_published_kept_and_audited_without_arguments(desk: Desk) -> None:
    assert desk.hear("ap-a")
    assert not desk.made.look(), "the same heartbeat tells nothing new"
    assert desk.waiting() == ["ap-a"]
    assert [one["id"] for one in desk.again().all()["waiting"]] == ["ap-a"], "a restart forgets nothing"
    desk.now += 1
    told = desk.made.decide("ap-a", "grant", None, ALICE)
    assert (told["state"], told["once"], told["until"]) == ("granted", True, desk.now + 900)
    assert (desk.waiting(), desk.published) == ([], 1)
    (given,) = desk.again().in_force()
    assert (given.id, given.by, given.once, given.denied) == ("ap-a", "alice@desk", True, False)
    (entry,) = desk.audit.entries()
    assert (entry.act, entry.about["tool"], entry.about["caller"]) == ("approve", "pay", "client:bot")
    assert "arguments" not in entry.about
    desk.made.look()
    assert desk.waiting() == [], "heartbeats tell it for a minute, whatever was said since"
    assert desk.hear("ap-b", used=(("ap-a", given.granted),))
    assert (desk.made.in_force(), desk.waiting()) == ((), ["ap-b"])
    assert [one["state"] for one in desk.made.all()["given"]] == ["used"]
    desk.now += 1
    desk.hear("ap-a")
    assert set(desk.waiting()) == {"ap-a", "ap-b"}, "asked for again once it was used"


def test_denied_for_a_time_and_changed_afterwards(desk: Desk) -> None:
    desk.hear("ap-a")
    desk.now += 1
    assert desk.made.decide("ap-a", "deny", 60.0, ALICE)["state"] == "denied"
    assert desk.made.in_force()[0].denied
    desk.hear("ap-a")
    assert desk.waiting() == [], "what was refused does not wait"
    assert desk.made.decide("ap-a", "grant", 120.0, ALICE)["once"] is False
    desk.now += 120
    assert desk.made.in_force() == ()
    assert desk.made.all()["given"][0]["state"] == "granted, over"
    desk.now += KEPT
    desk.made.look()
    assert desk.made.all() == {"waiting": [], "given": []}


@pytest.mark.parametrize(
    ("name", "decision", "seconds", "fault", "said"),
    [
        ("ap-x", "grant", None, LookupError, "no call waits for approval as `ap-x`"),
        ("ap-a", "maybe", None, ValueError, "write `grant` or `deny`"),
        ("ap-a", "grant", 1e9, ValueError, "1 second to 24 hours"),
        ("ap-a", "grant", float("nan"), ValueError, "1 second to 24 hours"),
    ],
)
def test_what_cannot_be_is_one_line_and_changes_nothing(
    desk: Desk, name: str, decision: str, seconds: float | None, fault: type[Exception], said: str
) -> None:
    desk.hear("ap-a")
    with pytest.raises(fault, match=said):
        desk.made.decide(name, decision, seconds, ALICE)
    assert (desk.published, desk.waiting(), list(desk.audit.entries())) == (0, ["ap-a"], [])


def test_a_loop_does_not_push_out_what_others_wait_for(desk: Desk) -> None:
    desk.hear("ap-calm", actor="client:calm")
    for number in range(MAX_OF_ONE + 20):
        desk.now += 1
        desk.hear(f"ap-{number}")
    assert "ap-calm" in desk.waiting()
    assert len(desk.waiting()) == MAX_OF_ONE + 1 < MAX_WAITING


def test_a_file_that_cannot_be_read_approves_nothing_and_says_so(desk: Desk) -> None:
    (desk.folder / "a.json").write_text("{")
    again = desk.again()
    assert (again.in_force(), "cannot be read" in again.faults()["approvals"]) == ((), True)


def test_a_heartbeat_that_is_none_harms_nobody(desk: Desk) -> None:
    desk.beats = [{"name": "0", "approvals_asked": [{"id": 7}]}, {}]
    assert not desk.made.look()


POLICY = """
apiVersion: eastwall.dev/v1alpha1
kind: ToolPolicy
metadata: {name: big}
spec: {servers: [orders], tools: [pay], approval: operator, show: [amount]}
"""
PAY = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "pay", "arguments": {"amount": 9}}}


class Nowhere:
    """A RecordWriter that keeps nothing."""

    def append(self, record: object) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


def test_from_an_engines_refusal_to_its_next_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.unit.decision.world import DETECTORS, NOW, PREFILTER, call, snapshot

    monkeypatch.setattr(engine_module.detections, "load", lambda: DETECTORS)
    monkeypatch.setattr(engine_module, "Prefilter", lambda *_, later: PREFILTER)
    store = FileSnapshotStore(tmp_path / "snapshots")
    first = snapshot(policy=POLICY)
    store.publish(first)
    it = Engine("0", store, Nowhere(), beat=tmp_path / "engine-0.json", clock=lambda: NOW)

    def beats() -> list[dict[str, Any]]:
        it.tick(NOW + 2 * len(passed) + 2)
        return [msgspec.json.decode((tmp_path / "engine-0.json").read_bytes())]

    def publish() -> None:
        store.publish(msgspec.structs.replace(first, version=first.version + 1, approvals=made.in_force()))

    passed: list[bool] = []
    made = Approvals(tmp_path / "a.json", AuditLog(tmp_path / "audit", lambda: NOW), lambda: NOW + 1, beats, publish)
    number = iter(range(10))

    def pays() -> bool:
        passed.append(not it.request(call("POST", "/mcp", PAY, user="alice", number=next(number))).deny)
        return passed[-1]

    assert not pays()
    assert made.look()
    (waits,) = made.all()["waiting"]
    assert (waits["actor"], waits["arguments"]) == ("user:alice", {"amount": "9"})
    made.decide(waits["id"], "grant", None, ALICE)
    it.load()
    assert [pays(), pays()] == [True, False]
    assert made.look()
    assert [one["state"] for one in made.all()["given"]] == ["used"]
