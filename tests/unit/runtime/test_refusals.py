"""Calls that Envoy refused by itself, from its log into the spool: each once, over restarts and turned-over logs; junk hurts nobody."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from eastwall.dataplanes.envoy import native
from eastwall.dataplanes.envoy.process import EnvoyProcess
from eastwall.dataplanes.envoy.proxy import Proxy
from eastwall.model.event_id import event_id, named
from eastwall.model.record import CallRecord
from eastwall.runtime import refusals
from eastwall.runtime.refusals import Refusals
from eastwall.stores.spool import SpoolReader


def line(number: int, **changes: Any) -> bytes:
    said = {
        "event": f"{1_795_403_949_000 + number}-ce61539f-4dc5-451e-992c-{number:012x}", "time": f"{1_795_403_949 + number / 1000:.6f}", "duration_ms": 2,
        "service": "orders", "method": "GET", "path": f"/admin/{number}?token=secret", "authority": "a.example", "status": 403, "source": "10.0.0.9",
        "request_bytes": 0, "response_bytes": 120, "user_agent": "curl/8", "policy": "no-admin", "kind": "AccessPolicy", "location": "p.yaml:1",
        "reason": "Not here.", "to_pass": "nothing passes",
    }  # fmt: skip
    return json.dumps(said | changes).encode() + b"\n"


class Desk:
    """A run directory with Envoy's log, and a spool."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.faults = folder, dict[str, str]()
        self.log = folder / "run" / native.LOG
        self.log.parent.mkdir()
        self.known: set[str] = set()

    def reader(self) -> Refusals:
        proxy = Proxy((), self.log.parent, ("e",), native_offload=True)
        return Refusals(proxy, self.folder / "spool", self.faults, lambda event: event in self.known)

    def write(self, *lines: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(b"".join(lines))

    def stored(self) -> list[CallRecord]:
        """What is in the spool, which is then empty."""
        spool = SpoolReader(self.folder / "spool")
        found: list[CallRecord] = []
        while (batch := spool.read(10_000)) is not None:
            found += batch.records
            spool.acknowledge(batch)
        spool.close()
        self.known |= {record.id for record in found}
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def all_of(reader: Refusals) -> None:
    while reader.look():
        pass


def test_a_line_becomes_a_record_and_a_half_line_waits(desk: Desk) -> None:
    reader = desk.reader()
    all_of(reader)  # Envoy has written nothing yet
    whole = line(1)
    desk.write(whole[:50])
    all_of(reader)
    assert desk.stored() == []
    desk.write(whole[50:], line(2, method="HEAD", reason=None, user_agent=None, location=None))
    all_of(reader)
    first, second = desk.stored()
    assert (first.service, first.method, first.path, first.status, first.source) == ("orders", "GET", "/admin/1", 403, "10.0.0.9")
    assert (first.action, first.would, first.engine, first.actor, first.duration_us) == ("block", "block", "envoy", "", 2_000)
    (match,) = first.matches
    assert (match.policy, match.kind, match.location, match.action, match.reason) == (
        "no-admin",
        "AccessPolicy",
        "p.yaml:1",
        "block",
        "Not here.",
    )
    assert first.id == named("1795403949001-ce61539f-4dc5-451e-992c-000000000001") < second.id
    assert first.id[:10] == event_id(first.time, bytes(10))[:10]
    reader.stop()
    assert desk.faults == {}


def test_killed_before_the_place_is_noted_nothing_is_recorded_twice(desk: Desk) -> None:
    reader = desk.reader()
    desk.write(*(line(n) for n in range(10)))
    all_of(reader)
    noted = reader._place_file.read_bytes()
    desk.write(*(line(n) for n in range(10, 20)))
    all_of(reader)
    reader.stop()
    assert len(desk.stored()) == 20
    reader._place_file.write_bytes(noted)  # as if it had been killed between the two
    desk.write(*(line(n) for n in range(20, 30)))
    again = desk.reader()
    all_of(again)
    again.stop()
    assert [record.path for record in desk.stored()] == [f"/admin/{n}" for n in range(20, 30)]
    last = desk.reader()
    all_of(last)
    last.stop()
    assert desk.stored() == []


def test_a_long_log_is_moved_away_and_read_to_its_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "LONG", 2_000)
    asked: list[bool] = []
    monkeypatch.setattr(EnvoyProcess, "reopen_logs", lambda self: asked.append(True))
    reader = desk.reader()
    desk.write(*(line(n) for n in range(10)))
    all_of(reader)
    old = desk.log.with_suffix(".old.jsonl")
    assert asked == [True]
    assert old.exists()
    with old.open("ab") as file:  # Envoy goes over at its next line only
        file.write(line(10))
    desk.write(line(11))
    all_of(reader)
    assert old.exists(), "it may still grow"
    reader.stop()
    reader = desk.reader()  # control was started again in between
    all_of(reader)
    later = time.monotonic() + refusals.SETTLED + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    all_of(reader)
    all_of(reader)
    reader.stop()
    assert not old.exists()
    assert [record.path for record in desk.stored()] == [f"/admin/{n}" for n in range(12)]


def test_junk_is_passed_over_and_a_log_begun_anew_is_read_from_its_beginning(desk: Desk) -> None:
    reader = desk.reader()
    desk.write(b"junk\n", b"{}\n", line(1, status="x"), line(2), os.urandom(300).replace(b"\n", b"") + b"\n", line(3))
    all_of(reader)
    assert reader.unread == 4
    desk.log.unlink()
    desk.write(line(4))
    reader._grew -= 10.0
    all_of(reader)
    all_of(reader)
    desk.log.write_bytes(line(5)[:40])  # cut down to less than was read
    reader.stop()
    again = desk.reader()
    desk.log.write_bytes(line(6, reason="", to_pass=""))
    all_of(again)
    again.stop()
    assert [record.path for record in desk.stored()] == ["/admin/2", "/admin/3", "/admin/4", "/admin/6"]


def test_what_comes_too_fast_for_too_long_is_passed_over(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "READ", 1_000)
    monkeypatch.setattr(refusals, "MOST_BEHIND", 10_000)
    reader = desk.reader()
    desk.write(*(line(n) for n in range(100)))
    all_of(reader)
    desk.write(line(100))
    all_of(reader)
    reader.stop()
    assert [record.path for record in desk.stored()] == ["/admin/0", "/admin/1", "/admin/100"]


@pytest.mark.parametrize("text", ["01M8367374VF1T3CN8TRA49DGR", "x", "1795403949001-CE61539F-4dc5-451e-992c-000000000001", ""])
def test_other_ids_stand_for_themselves(text: str) -> None:
    assert named(text) == text
