"""The engine around `decide`: faults follow the fail mode and are counted, nothing grows without bound, every call has a record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.decision.world import DETECTORS, NOW, PREFILTER, answer, call, completion, snapshot

from eastwall.decision import decide as decide_module
from eastwall.model.call import BodyState, Mode, Response
from eastwall.model.decision import PASS
from eastwall.model.facts import Facts
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import Snapshot
from eastwall.runtime import engine as engine_module
from eastwall.runtime.engine import Engine
from eastwall.stores.snapshots import FileSnapshotStore

SQL = {"name": "x' UNION SELECT username, password FROM users --"}


class Records:
    """A RecordWriter that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[CallRecord] = []
        self.flushes = 0
        self.full = False

    def append(self, record: CallRecord) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.got.append(record)

    def flush(self) -> None:
        self.flushes += 1

    def close(self) -> None:
        self.flush()


class Rig:
    """An engine on real snapshot files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = FileSnapshotStore(directory)
        self.records = Records()

    def engine(self, published: Snapshot | None = None, **options: Any) -> Engine:
        if published is not None:
            self.store.publish(published)
        return Engine("0", FileSnapshotStore(self.directory), self.records, **options)


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real prefilter and detectors, but one compilation for all tests here: it takes over a second."""
    monkeypatch.setattr(engine_module.detections, "load", lambda: DETECTORS)
    monkeypatch.setattr(engine_module, "Prefilter", lambda *_, later: PREFILTER)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "snapshot")


def test_a_blocked_call_has_its_answer_and_its_record(rig: Rig) -> None:
    engine = rig.engine(snapshot())
    attack = call("PATCH", "/me?token=secret", SQL, user="alice")
    given = engine.request(attack)
    assert given.deny
    assert given.status == 403
    assert attack.id in (given.body or b"").decode()
    engine.completed(completion(attack, 403))
    (record,) = rig.records.got
    assert (record.id, record.action, record.would, record.status, record.actor) == (
        attack.id,
        "block",
        "block",
        403,
        "user:alice",
    )
    assert record.path == "/me", "query values are never kept"
    assert "secret" not in str(record)
    assert [f.id for f in record.findings] == ["sql-injection"]
    assert record.snapshot == 7
    assert record.uninspected == ()


def test_a_call_nobody_judged_has_a_bare_record(rig: Rig) -> None:
    engine = rig.engine(snapshot())
    lost = call("GET", "/orders/1?token=secret")
    engine.completed(completion(lost))
    engine.completed(completion(call("GET", "/orders/2", number=1), uninspected=("engine-timeout",)))
    assert [r.uninspected for r in rig.records.got] == [("engine-lost",), ("engine-timeout",)]
    assert [r.path for r in rig.records.got] == ["/orders/1", "/orders/2"]
    assert rig.records.got[0].snapshot == 0
    assert engine.uninspected == {"engine-lost": 1, "engine-timeout": 1}
    assert engine.calls == 2


def test_an_answer_is_remembered_after_it_left_and_before_the_next_call_is_judged(rig: Rig) -> None:
    engine = rig.engine(snapshot())
    for user in ("alice", "bob"):
        asked = call("GET", "/orders", user=user, number=len(user))
        engine.request(asked)
        engine.response(asked.id, answer({"items": [{"id": 17 if user == "alice" else 99}]}))
        assert engine.state.grants.held(f"user:{user}") == 0, "nobody waits for what is remembered"
        if user == "alice":
            engine.tick(NOW)
            assert engine.state.grants.held("user:alice") == 1, "an engine with nothing to judge remembers"
    other = call("GET", "/orders/99", user="bob", number=9)
    engine.request(other)
    assert engine.state.grants.held("user:bob") == 1, "a call that comes at once finds what was before it"
    assert not engine.response(other.id, answer({"id": 99})).deny
    engine.completed(completion(other))
    (record,) = rig.records.got
    assert record.findings == ()


def test_what_cannot_be_remembered_is_counted_and_stops_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("in remember")

    engine = rig.engine(snapshot())
    monkeypatch.setattr(engine_module, "remember", broken)
    asked = call("GET", "/orders", user="alice")
    assert not engine.request(asked).deny
    assert not engine.response(asked.id, answer({"items": [{"id": 17}]})).deny
    engine.completed(completion(asked))
    (record,) = rig.records.got
    assert record.uninspected == ("engine-error",)


def test_the_response_of_an_unknown_call_passes_and_is_counted(rig: Rig) -> None:
    engine = rig.engine(snapshot())
    assert engine.response("01HZZZZZZZZZZZZZZZZZZZZZZZ", answer({})) == PASS
    assert engine.uninspected["engine-lost"] == 1


def test_open_calls_are_bounded_and_the_oldest_is_given_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_OPEN", 10)
    engine = rig.engine(snapshot())
    calls = [call("GET", "/orders", number=n) for n in range(15)]
    for asked in calls:
        engine.request(asked)
    assert len(engine._open) == 10
    assert engine.uninspected["engine-lost"] == 5
    assert engine.response(calls[0].id, answer({})) == PASS
    engine.completed(completion(calls[14]))
    engine.completed(completion(calls[0]))
    assert [r.uninspected for r in rig.records.got] == [(), ("engine-lost",)]


@pytest.mark.parametrize(
    ("mode", "fail", "denied"),
    [
        (Mode.ENFORCE, "open", False),
        (Mode.ENFORCE, "closed", True),
        (Mode.MONITOR, "closed", False),
        (Mode.DISCOVER, "closed", False),
    ],
)
@pytest.mark.parametrize("phase", ["request", "response"])
def test_an_error_of_ours_follows_the_fail_mode(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, mode: Mode, fail: str, denied: bool, phase: str
) -> None:
    engine = rig.engine(snapshot(mode, fail=fail))
    asked = call("GET", "/orders", user="alice")

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("in decide")

    if phase == "request":
        monkeypatch.setattr(engine_module, "decide", broken)
        given = engine.request(asked)
    else:
        engine.request(asked)
        monkeypatch.setattr(engine_module, "decide", broken)
        given = engine.response(asked.id, answer({"items": []}))
    assert given.deny is denied
    if denied:
        assert given.status == 503
        assert asked.id in (given.body or b"").decode()
        assert "ZeroDivisionError" not in (given.body or b"").decode()
    engine.completed(completion(asked, 503 if denied else 200))
    (record,) = rig.records.got
    assert "engine-error" in record.uninspected
    assert engine.uninspected["engine-error"] == 1


@pytest.mark.parametrize(
    ("on_error", "denied", "would"), [("block", True, "block"), ("monitor", False, "block"), ("allow", False, "allow")]
)
def test_a_detector_that_raises_is_never_silence(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, on_error: str, denied: bool, would: str
) -> None:
    def broken(facts: Facts) -> list[Any]:
        raise KeyError(facts.phase.name)

    first, *others = DETECTORS
    meta = replace(first.meta, id="broken", on_error=on_error, families=(), phases=("request",), needs=())
    monkeypatch.setattr(engine_module.detections, "load", lambda: (replace(first, meta=meta, detect=broken), *others))
    engine = rig.engine(snapshot())
    asked = call("GET", "/orders", user="alice")
    given = engine.request(asked)
    assert given.deny is denied
    engine.completed(completion(asked))
    (record,) = rig.records.got
    assert record.would == would
    assert any("broken" in (m.policy + m.reason + m.finding) for m in record.matches) or on_error == "allow"


def test_a_full_disk_loses_the_record_and_says_so(rig: Rig) -> None:
    engine = rig.engine(snapshot())
    asked = call("GET", "/orders")
    engine.request(asked)
    rig.records.full = True
    engine.completed(completion(asked))
    assert engine.uninspected["record-lost"] == 1
    assert engine.calls == 1


def test_a_new_snapshot_is_taken_and_a_corrupt_one_is_not(rig: Rig) -> None:
    engine = rig.engine(snapshot())
    rig.store.publish(replace(snapshot(), version=8))
    engine.tick(NOW)
    assert engine.snapshot.version == 8
    current = rig.directory / "current"
    data = bytearray(current.read_bytes())
    data[-5] ^= 0xFF
    part = rig.directory / "bad"
    part.write_bytes(data)
    part.replace(current)
    engine.tick(NOW + 0.1)
    assert engine.uninspected["snapshot-corrupt"] == 0, "it looks every 200 ms"
    engine.tick(NOW + 0.3)
    assert engine.snapshot.version == 8
    assert engine.uninspected["snapshot-corrupt"] == 1
    assert engine.request(call("PATCH", "/me", SQL)).deny, "the old knowledge stays in force"
    rig.store.publish(replace(snapshot(), version=9))
    engine.tick(NOW + 0.6)
    assert engine.snapshot.version == 9


def test_an_engine_that_starts_on_a_corrupt_snapshot_takes_the_one_before(rig: Rig) -> None:
    rig.store.publish(snapshot())
    rig.store.publish(replace(snapshot(), version=8))
    for path in (rig.directory / "current", rig.directory / f"{8:012d}.snap"):
        path.unlink()
        path.write_bytes(b"EWSNAP1\n garbage")
    engine = rig.engine()
    assert engine.uninspected["snapshot-corrupt"] == 1
    assert engine.snapshot.version == 7
    assert engine.request(call("PATCH", "/me", SQL)).deny


def test_a_snapshot_that_cannot_be_compiled_is_not_taken(rig: Rig) -> None:
    engine = rig.engine(snapshot())
    rig.store.publish(replace(snapshot(), version=8, policy=b"\xc1"))
    engine.tick(NOW)
    assert engine.snapshot.version == 7
    assert engine.uninspected["snapshot-unusable"] == 1


def test_two_styles_on_one_body(rig: Rig) -> None:
    policy = "".join(
        "---\napiVersion: eastwall.dev/v1alpha1\nkind: DataPolicy\n"
        f"metadata: {{name: {name}}}\nspec: {{mode: enforce, classes: [{name}], direction: response, action: {action}}}\n"
        for name, action in (("pan", "mask"), ("email", "redact"))
    )
    engine = rig.engine(snapshot(policy=policy))
    asked = call("GET", "/orders", user="alice")
    engine.request(asked)
    given = engine.response(asked.id, answer({"card": "4111111111111111", "mail": "ann@shop.example", "total": 1.50}, etag='"x"'))
    assert not given.deny
    body = json.loads(given.body or b"")
    assert body["card"].endswith("1111")
    assert not body["card"].startswith("4111")
    assert "ann@" not in body["mail"]
    assert body["total"] == 1.5
    assert "etag" in given.remove_headers
    engine.completed(completion(asked))
    (record,) = rig.records.got
    assert record.action == "redact"
    assert "4111111111111111" not in str(record)
    assert "ann@shop.example" not in str(record)


REDACT_EMAIL = (
    "apiVersion: eastwall.dev/v1alpha1\nkind: DataPolicy\nmetadata: {name: email}\n"
    "spec: {mode: enforce, classes: [email], direction: %s, action: redact}\n"
)


@pytest.mark.parametrize(
    ("kind", "body", "header", "replaced", "told"),
    [
        ("application/json", b'{"mail":"ann@shop.example"}', "", b'{"mail":"[redacted]"}', False),
        ("application/xml", b"<u><mail>ann@shop.example</mail></u>", "", b"<u><mail>[redacted]</mail></u>", False),
        ("application/xml", b"<u><mail>ann&#64;shop.example</mail></u>", "", None, True),
        (
            "application/xml",
            b"<u><mail>ann@shop.example</mail><copy>bob&#64;shop.example</copy></u>",
            "",
            b"<u><mail>[redacted]</mail><copy>bob&#64;shop.example</copy></u>",
            True,
        ),
        ("application/json", b'{"total":1}', "ann@shop.example", None, True),
        ("application/json", b'{"mail":"ann@shop.example"}', "bob@shop.example", b'{"mail":"[redacted]"}', True),
        ("application/json", b'{"total":1}', "", None, False),
    ],
)
def test_a_redaction_that_cannot_be_carried_out_is_counted(
    rig: Rig, kind: str, body: bytes, header: str, replaced: bytes | None, told: bool
) -> None:
    engine = rig.engine(snapshot(policy=REDACT_EMAIL % "response"))
    asked = call("GET", "/orders", user="alice")
    engine.request(asked)
    headers = {"content-type": kind} | ({"x-contact": header} if header else {})
    given = engine.response(asked.id, Response(200, headers, body, BodyState.COMPLETE))
    assert (given.deny, given.body) == (False, replaced)
    engine.completed(completion(asked))
    (record,) = rig.records.got
    assert record.uninspected == (("response-not-redacted",) if told else ())
    assert engine.uninspected["response-not-redacted"] == told


def test_what_a_query_holds_is_not_redacted_and_counted(rig: Rig) -> None:
    engine = rig.engine(snapshot(policy=REDACT_EMAIL % "request"))
    asked = call("GET", "/orders?mail=ann@shop.example", user="alice")
    given = engine.request(asked)
    assert (given.deny, given.body) == (False, None)
    engine.completed(completion(asked))
    assert rig.records.got[0].uninspected == ("request-not-redacted",)


def test_failed_sign_ins_are_counted_when_they_complete(rig: Rig) -> None:
    engine = rig.engine(snapshot())
    denied = 0
    for number in range(40):
        asked = call("POST", "/login", {"username": f"u{number}", "password": "x"}, source="10.6.6.6", number=number)
        given = engine.request(asked)
        denied += given.deny
        engine.completed(completion(asked, 403 if given.deny else 401))
    assert denied >= 25
    person = call("POST", "/login", {"username": "u3", "password": "x"}, source="10.0.0.1", number=99)
    assert not engine.request(person).deny, "the account must not be locked by the attacker's blocked attempts"


def test_the_beat_says_what_was_not_inspected(rig: Rig, tmp_path: Path) -> None:
    beat = tmp_path / "engine-0.json"
    engine = rig.engine(snapshot(), beat=beat, clock=lambda: NOW)
    engine.completed(completion(call("GET", "/x")))
    engine.tick(NOW)
    said = json.loads(beat.read_text())
    assert (said["snapshot"], said["calls"], said["open_calls"], said["uninspected"]) == (7, 1, 0, {"engine-lost": 1})
    assert rig.records.flushes == 1
    engine = rig.engine(beat=tmp_path / "gone" / "beat.json")
    engine.tick(NOW)
    assert engine.snapshot.version == 7, "a heartbeat that cannot be written stops nothing"


def test_the_test_breaks_what_the_engine_calls() -> None:
    """The tests above replace `engine.decide`: it must be the real one otherwise."""
    assert engine_module.decide is decide_module.decide
