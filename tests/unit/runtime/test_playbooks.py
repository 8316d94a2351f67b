"""Playbooks, carried out: recorded before they act, told to real receivers, taken back, the same after a restart."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.unit.policy.build import NOW, policies
from tests.unit.policy.build import document as policy_document
from tests.unit.policy.test_playbooks import STAGES, record

from eastwall.exports.delivery import DeliveryError
from eastwall.model.audit import Who
from eastwall.policy.kinds import Notify, PolicySet
from eastwall.policy.playbooks import MAX_PER_HOUR
from eastwall.policy.world import World
from eastwall.runtime import notifying
from eastwall.runtime import playbooks as runtime_playbooks
from eastwall.runtime.audit import AuditLog
from eastwall.runtime.notifying import Notice, Notifier, Secrets, document, slack
from eastwall.runtime.playbooks import KEPT, PlaybookRunner, notification_lost

ALICE = Who("token", "alice@desk")


class Desk:
    """What control does around it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now, self.published, self.broken = folder, NOW, 0, ""
        self.audit = AuditLog(folder / "audit", lambda: self.now)
        self.notifier = Notifier(Secrets(folder / "secrets"), notification_lost(self.audit), pauses=(0.01, 0.01))
        self.runner = PlaybookRunner(
            folder / "playbooks", audit=self.audit, notifier=self.notifier, publish=self.publish, evidence=self.evidence,
            clock=lambda: self.now, random=os.urandom,
        )  # fmt: skip

    def publish(self) -> None:
        if self.broken == "disk":
            raise OSError(28, "No space left on device")
        self.published += 1

    def evidence(self, firing: Any) -> dict[str, Any]:
        if self.broken == "lake":
            raise RuntimeError("the lake is away")
        return {"policy": {"digest": "d"}, "calls": [firing.record.id]}

    def use(self, *steps: dict[str, Any], on: dict[str, Any] | None = None, **spec: Any) -> None:
        text = policy_document("Playbook", "guard", on={"findings": ["sql-*"], **(on or {})}, steps=list(steps), **spec)
        self.runner.use(PolicySet(policies(text).policies), STAGES, World({}))

    def come(self, *numbers: int, **fields: Any) -> None:
        self.runner.see([record(number, at=self.now, **fields) for number in numbers])
        self.runner.work()

    def acts(self) -> list[str]:
        return [entry.act for entry in self.audit.entries()]

    def in_force(self) -> list[str]:
        return [policy.kind for policy in self.runner.policies()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_run_from_its_beginning_to_its_end(desk: Desk) -> None:
    desk.use({"quarantine": "identity"}, {"limit": {"rate": "1/m"}}, on={"count": 3}, **{"for": "10m"})
    desk.come(1, 2)
    assert desk.in_force() == []
    desk.come(3)
    assert (desk.in_force(), desk.published) == (["Quarantine", "LimitPolicy"], 1)
    desk.come(4, 5, 6, 7)
    assert (len(desk.runner.acts()), desk.published) == (1, 1), "while it is in force nothing new happens"
    desk.now += 599
    desk.runner.work()
    assert len(desk.in_force()) == 2
    desk.now += 1
    desk.runner.work()
    assert (desk.in_force(), desk.published) == ([], 2)
    assert desk.acts() == ["playbook", "playbook-step", "playbook-step", "playbook-end"]
    started, *_, over = desk.audit.entries()
    assert (started.who.by, started.about["key"], started.about["count"]) == ("playbook", "identity user:alice", 3)
    assert (over.about["run"], over.about["why"]) == (started.about["run"], "its time is over")
    (run,) = desk.runner.acts()
    assert (run["ended"], run["steps"][0]) == (desk.now, "quarantine of identity user:alice")
    desk.come(11, 12, 13)
    assert len(desk.in_force()) == 2, "and it may run again"


def test_a_call_that_is_seen_before_it_is_stored_and_then_again_counts_once(desk: Desk) -> None:
    desk.use({"quarantine": "identity"}, on={"count": 2}, **{"for": "1m"})
    desk.come(1, 2)
    assert desk.in_force() == ["Quarantine"]
    desk.come(1, 2)  # as they are stored
    desk.now += 90.0
    desk.runner.work()
    assert desk.in_force() == []
    desk.come(3)
    assert desk.in_force() == [], "one call since"
    desk.come(4)
    assert desk.in_force() == ["Quarantine"]


def test_what_engines_have_just_written_is_acted_on_without_waiting_for_it_to_be_stored(desk: Desk) -> None:
    fresh: list[list[Any]] = []
    desk.runner._ahead = lambda: fresh.pop() if fresh else []
    desk.use({"quarantine": "identity"}, on={"count": 1})
    desk.runner.start()
    fresh.append([record(1, at=desk.now)])
    until = time.monotonic() + 10
    while not desk.published and time.monotonic() < until:
        time.sleep(0.01)
    desk.runner.stop()
    assert desk.in_force() == ["Quarantine"]
    assert desk.published == 1


def test_a_restart_keeps_what_is_in_force_and_takes_back_what_has_had_its_time(desk: Desk) -> None:
    desk.use({"quarantine": "identity"})
    desk.come(1)
    desk.come(2, actor="user:bob")
    before = desk.runner.policies()
    again = Desk(desk.folder)
    assert again.runner.policies() == before
    again.runner.undo(again.runner.acts()[0]["id"], ALICE)
    late = Desk(desk.folder)
    late.now += 3_600
    late.runner.work()
    assert late.in_force() == []
    assert [e.about["why"] for e in late.audit.entries() if e.act == "playbook-end"] == ["undone by hand", "its time is over"]


def test_calls_that_were_acted_on_before_a_kill_are_not_acted_on_again(desk: Desk) -> None:
    calls = [record(number, at=desk.now) for number in range(1, 13)]
    desk.use({"quarantine": "identity"}, on={"count": 12})
    desk.runner.see(calls)
    desk.runner.work()
    assert desk.in_force() == ["Quarantine"]
    again = Desk(desk.folder)
    again.use({"quarantine": "identity"}, on={"count": 12})
    again.runner.undo(again.runner.acts()[0]["id"], ALICE)
    again.runner.see(calls)  # they were not stored when it was killed
    again.runner.work()
    assert again.in_force() == []
    again.now += 1
    again.come(*range(13, 24))
    assert again.in_force() == [], "eleven since"
    again.come(24)
    assert again.in_force() == ["Quarantine"]


def test_runs_that_cannot_be_read_close_nothing_and_are_told(desk: Desk) -> None:
    desk.use({"quarantine": "identity"})
    desk.come(1)
    (desk.folder / "playbooks" / "runs.json").write_text("[{")
    again = Desk(desk.folder)
    assert again.in_force() == []
    assert "cannot be read" in again.runner.faults()["playbooks"]


def test_undoing_by_hand(desk: Desk) -> None:
    desk.use({"quarantine": "identity"})
    desk.come(1)
    (run,) = desk.runner.acts()
    assert desk.runner.undo(run["id"], ALICE)["why_ended"] == "undone by hand"
    assert (desk.in_force(), desk.published) == ([], 2)
    assert desk.audit.entries()[-1].who == ALICE
    with pytest.raises(ValueError, match="over already"):
        desk.runner.undo(run["id"], ALICE)
    with pytest.raises(LookupError, match="no run"):
        desk.runner.undo("run_x", ALICE)


def test_a_dry_run_only_records(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        desk.use(
            {"quarantine": "identity"},
            {"notify": {"syslog": f"tcp://127.0.0.1:{server.getsockname()[1]}"}},
            {"snapshot": True},
            dryRun=True,
        )
        desk.notifier.start()
        desk.come(1)
        desk.come(2)
        desk.notifier.stop()
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
    assert (desk.in_force(), desk.published, desk.acts()) == ([], 0, ["playbook-dry-run"])
    assert not (desk.folder / "playbooks" / "evidence").exists()
    (run,) = desk.runner.acts()
    assert run["dry"] is True
    assert "quarantine of identity user:alice" in run["steps"]


def test_caps_hold_and_are_told_once(desk: Desk) -> None:
    desk.use({"quarantine": "identity"}, maxPerHour=2)
    for number in range(6):
        desk.come(number, actor=f"user:u{number}")
    assert desk.in_force() == ["Quarantine"] * 2
    assert desk.acts().count("playbook-capped") == 1
    desk.use({"quarantine": "identity"}, maxPerHour=100)
    for number in range(10, 50):
        desk.come(number, actor=f"user:u{number}")
    assert len(desk.in_force()) == MAX_PER_HOUR


def test_evidence_is_kept_and_its_hash_is_in_the_audit_log(desk: Desk) -> None:
    desk.use({"snapshot": True}, {"quarantine": "identity"})
    desk.come(1)
    entry = next(e for e in desk.audit.entries() if e.act == "evidence")
    data = (desk.folder / entry.about["file"]).read_bytes()
    assert entry.about["sha256"] == hashlib.sha256(data).hexdigest()
    assert json.loads(data)["calls"] == ["E1"]
    assert (desk.folder / entry.about["file"]).stat().st_mode & 0o777 == 0o600


def test_a_lake_that_is_away_keeps_nothing_from_being_closed(desk: Desk) -> None:
    desk.broken = "lake"
    desk.use({"snapshot": True}, {"quarantine": "identity"})
    desk.come(1)
    assert desk.in_force() == ["Quarantine"]
    (file,) = (desk.folder / "playbooks" / "evidence").iterdir()
    assert "the lake is away" in file.read_text()


def test_engines_that_could_not_be_told_are_told_later(desk: Desk) -> None:
    desk.broken = "disk"
    desk.use({"quarantine": "identity"})
    desk.come(1)
    assert "engines cannot be told" in desk.runner.faults()["playbooks"]
    desk.broken = ""
    desk.runner.work()
    assert (desk.published, desk.runner.faults()) == (1, {})
    desk.runner.work()
    assert desk.published == 1


def test_what_cannot_be_recorded_waits_and_is_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.use({"quarantine": "identity"})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(desk.audit, "record", full)
        desk.come(1)
        assert desk.in_force() == []
        assert desk.runner.faults() == {"playbooks": "what playbooks do cannot be recorded: No space left on device"}
    desk.runner.work()
    assert (desk.in_force(), desk.runner.faults()) == (["Quarantine"], {})


def test_a_step_that_would_hit_others_is_left_out_and_told(desk: Desk) -> None:
    desk.use({"quarantine": "identity"}, {"snapshot": True})
    desk.come(1, actor="user:*")
    assert desk.in_force() == []
    (run,) = desk.runner.acts()
    assert run["steps"][0].startswith("not done, quarantine of identity user:*: ")


def test_applying_the_same_playbook_again_keeps_its_counts(desk: Desk) -> None:
    desk.use({"quarantine": "identity"}, on={"count": 2})
    desk.come(1)
    desk.use({"quarantine": "identity"}, on={"count": 2})
    desk.come(2)
    assert desk.in_force() == ["Quarantine"]
    desk.use({"snapshot": True})
    assert desk.in_force() == ["Quarantine"], "what is in force has its own time"


def test_what_is_kept_is_bounded(desk: Desk) -> None:
    desk.use({"quarantine": "identity"})
    desk.come(1)
    (run,) = desk.runner.runs
    old = [type(run)(f"run_{n}", "x", "k", 1.0, 2.0, 1, (), (), (), ended=2.0) for n in range(KEPT + 50)]
    desk.runner._keep([*old, run])
    assert len(desk.runner.runs) == KEPT + 1
    assert desk.in_force() == ["Quarantine"]


# -- notifications ----------------------------------------------------------------------------------------------------


class Receiver(ThreadingHTTPServer):
    """Answers the statuses it is given, then 204."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.got, self.came = list(statuses), [], threading.Semaphore(0)  # type: ignore[var-annotated]
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.headers.get("authorization"), json.loads(body)))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.end_headers()
        self.server.came.release()

    def log_message(self, *_: Any) -> None:
        pass


def test_a_playbook_tells_a_webhook_slack_and_syslog(desk: Desk) -> None:
    secrets = desk.folder / "secrets"
    secrets.mkdir()
    with Receiver() as hook, Receiver() as chat, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
        log.bind(("127.0.0.1", 0))
        log.settimeout(10)
        (secrets / "chat").write_text(f"{chat.url}\n")
        (secrets / "token").write_text("t0ken\n")
        desk.use(
            {"quarantine": "identity"},
            {"notify": {"webhook": hook.url, "bearerSecret": "token"}},
            {"notify": {"webhookSecret": "chat", "format": "slack"}},
            {"notify": {"syslog": f"udp://127.0.0.1:{log.getsockname()[1]}"}},
        )
        desk.notifier.start()
        desk.come(1, actor="user:<!channel>")
        assert hook.came.acquire(timeout=10)
        assert chat.came.acquire(timeout=10)
        datagram = log.recv(65_536)
        desk.notifier.stop()
        hook.shutdown()
        chat.shutdown()
    ((bearer, document_),) = hook.got
    assert bearer == "Bearer t0ken"
    assert (document_["kind"], document_["about"]["playbook"], document_["about"]["events"]) == ("playbook-run", "guard", ["E1"])
    ((none, told),) = chat.got
    assert none is None
    assert "identity user:&lt;!channel&gt;" in told["text"], "a name must not ring everybody's bell"
    assert b'playbook="guard"' in datagram
    assert desk.notifier.sent == 3
    everything = (desk.folder / "audit" / "audit.jsonl").read_text() + (desk.folder / "playbooks" / "runs.json").read_text()
    assert "t0ken" not in everything
    assert chat.url not in everything


def test_notifications_are_tried_again_and_given_up_with_a_word_in_the_log(desk: Desk) -> None:
    with Receiver(500, 503) as hook, Receiver(500, 500, 500, 500) as dead:
        desk.notifier.start()
        notice = Notice(NOW, "playbook-run", "high", "text", {"playbook": "guard", "run": "run_1"})
        desk.notifier.tell(Notify(webhook=hook.url), notice)
        for _ in range(3):
            assert hook.came.acquire(timeout=10)
        desk.notifier.tell(Notify(webhook=dead.url), notice)
        for _ in range(3):
            assert dead.came.acquire(timeout=10)
        desk.notifier.stop(10)
        hook.shutdown()
        dead.shutdown()
    assert (desk.notifier.sent, desk.notifier.lost) == (1, 1)
    (entry,) = desk.audit.entries()
    assert (entry.act, entry.about) == ("notification-lost", {"run": "run_1", "why": "the receiver answered 500"})
    assert "given up" in desk.runner.faults()["notifications"]


def test_the_queue_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifying, "MAX_QUEUED", 5)
    for _ in range(7):
        desk.notifier.tell(Notify(webhook="http://127.0.0.1:1/"), Notice(NOW, "x", "high", "", {}))
    assert desk.notifier.lost == 2
    assert desk.acts() == ["notification-lost"] * 2


def test_secrets_come_by_name_from_environment_or_file_and_from_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "a-b").write_text("of the file\n")
    (tmp_path / "latin").write_bytes(b"\xff")
    assert Secrets(tmp_path, {})("a-b") == "of the file"
    assert Secrets(tmp_path, {"EASTWALL_NOTIFY_A_B": "of the environment"})("a-b") == "of the environment"
    for name in ("none", "../x", "/etc/hostname", "A", "", "latin"):
        with pytest.raises(DeliveryError):
            Secrets(tmp_path, {"EASTWALL_NOTIFY_": "x", "EASTWALL_NOTIFY_../X": "x"})(name)


def test_a_secret_that_is_no_address_is_in_no_message(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("ftp://user:hunter2@h/")
    (tmp_path / "token").write_text("hunter2\r\nx: y")
    told: list[str] = []
    sender = Notifier(Secrets(tmp_path), lambda _to, _notice, why: told.append(why))
    sender.start()
    notice = Notice(NOW, "x", "high", "", {})
    sender.tell(Notify(webhook_secret="hook"), notice)
    sender.tell(Notify(webhook="http://127.0.0.1:1/", bearer_secret="token"), notice)
    sender.stop(10)
    assert len(told) == 2
    assert not any("hunter2" in why for why in [*told, sender.fault])


def test_documents_are_bounded_and_plain() -> None:
    notice = Notice(NOW, "x", "high", "a\n\x1b[31m<b>&" + "y" * 9_000, {"key": "ü"})
    text = json.loads(slack(notice))["text"]
    assert text.startswith("a [31m&lt;b&gt;&amp;y")
    assert len(text) < 3_100
    assert document(notice).isascii()


def test_evidence_is_bounded_and_none_is_thrown_away(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.use({"snapshot": True}, {"quarantine": "identity"})
    desk.come(1)
    monkeypatch.setattr(runtime_playbooks, "MAX_EVIDENCE", 10)
    desk.come(2, actor="user:bob")
    assert len(list((desk.folder / "playbooks" / "evidence").iterdir())) == 1
    latest = desk.runner.acts()[0]
    assert (latest["evidence"], len(desk.in_force())) == ("", 2)
    assert "move files away" in latest["steps"][-1]
