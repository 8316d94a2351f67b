"""Recorded calls through the engine: judged, recorded with their origin, never acted on; and the receivers' refusals."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eastwall.model.call import BodyState, Mode
from eastwall.model.event_id import event_id
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import SNAPSHOT_FORMAT, ServiceScope, Snapshot
from eastwall.runtime import automata_file, importing
from eastwall.runtime.addresses import is_loopback
from eastwall.runtime.collector import Collector, ingest_token
from eastwall.runtime.importing import Importer, SpoolFullError
from eastwall.runtime.layout import DataDir, open_data_dir
from eastwall.sources.observed import ObservedCall
from eastwall.stores import spool
from eastwall.stores.snapshots import FileSnapshotStore
from eastwall.stores.spool import SpoolReader

NOW = 1_795_000_000.0


@pytest.fixture(scope="module")
def automata(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Compiled once: it takes a second."""
    importer = Importer(open_data_dir(tmp_path_factory.mktemp("first")), "first")
    importer.close()
    return importer.engine.automata()


@pytest.fixture
def data(tmp_path: Path, automata: dict[str, bytes]) -> DataDir:
    made = open_data_dir(tmp_path / "data")
    automata_file.write(made.run / "automata", automata)
    return made


def records(data: DataDir, *calls: ObservedCall, **options: Any) -> tuple[list[CallRecord], Importer]:
    importer = Importer(data, "import-1", clock=lambda: NOW, **options)
    for call in calls:
        importer.add(call)
    importer.close()
    reader = SpoolReader(data.spool)
    batch = reader.read(10_000)
    reader.close()
    return list(batch.records) if batch else [], importer


def test_a_record_says_what_the_recording_knows(data: DataDir) -> None:
    call = ObservedCall(
        method="POST",
        url="https://user:secret@shop.example/orders?full=1#top",
        status=201,
        service="shop.example",
        time=NOW - 60,
        duration_us=1_500,
        request_headers={"content-type": "application/json"},
        request_body=b'{"email": "alice@shop.example"}',
        request_body_state=BodyState.COMPLETE,
        response_headers={"content-type": "application/json"},
        response_body=b'{"id": 1}',
        response_body_state=BodyState.COMPLETE,
        response_bytes=9,
        peer_address="10.0.0.7",
        trace="a" * 32,
        span="b" * 16,
        parent="c" * 16,
        caller="gateway",
        user="alice",
        egress=True,
        origin="otlp",
    )
    (record,), importer = records(data, call)
    assert (record.time, record.service, record.method, record.path, record.authority) == (
        NOW - 60,
        "shop.example",
        "POST",
        "/orders",
        "shop.example",
    )
    assert (record.status, record.duration_us, record.response_bytes, record.source) == (201, 1_500, 9, "10.0.0.7")
    assert (record.origin, record.caller, record.egress) == ("otlp", "gateway", True)
    assert (record.trace, record.span, record.parent) == ("a" * 32, "b" * 16, "c" * 16)
    assert "user:alice" in record.principals
    assert record.query_names == ("full",)
    assert {f.place for f in record.request_fields} >= {"body.email"} or record.request_fields
    assert record.response_fields
    assert "secret" not in str(record)
    assert "alice@shop.example" not in str(record)
    assert importer.taken.services == {"shop.example": 1}


def test_nothing_is_blocked_by_an_import(data: DataDir) -> None:
    scope = ServiceScope("shop", mode=Mode.ENFORCE, hosts=("shop.example",))
    FileSnapshotStore(data.snapshots).publish(
        Snapshot(format=SNAPSHOT_FORMAT, version=1, created=NOW, hash_key=bytes(32), services=(scope,))
    )
    attack = ObservedCall(
        "GET", "http://shop.example/search?q=%27%20UNION%20SELECT%20password%20FROM%20users--", 200, "shop.example"
    )
    (record,), _ = records(data, attack)
    assert record.service == "shop"
    assert record.findings
    assert (record.action, record.would, record.matches) == ("allow", "allow", ())


def test_times_that_cannot_be(data: DataDir) -> None:
    times = [-5.0, 1e300, float("nan"), float("inf"), NOW + 200_000, 1.0]
    found, importer = records(data, *[ObservedCall("GET", "/a", 200, time=when) for when in [0.0, *times]])
    assert [r.time for r in found] == [NOW] * 7
    assert importer.skipped.counts == {"time-replaced": len(times)}


def test_services_are_bounded_and_may_be_named(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_SERVICES", 3)
    found, importer = records(data, *[ObservedCall("GET", "/a", 200, f"s{n}") for n in range(5)])
    assert {r.service for r in found} == {"s0", "s1", "s2"}
    assert importer.skipped.counts == {"too-many-services": 2}


def test_one_service_for_all(data: DataDir) -> None:
    found, _ = records(data, *[ObservedCall("GET", "/a", 200, f"s{n}") for n in range(5)], service="shop")
    assert {r.service for r in found} == {"shop"}


def test_request_targets(data: DataDir) -> None:
    targets = [
        ("/a/b", "", "/a/b"),
        ("http://h", "h", "/"),
        ("http://h?x=1", "h", "/"),
        ("http://h:8080/a//b/../c", "h:8080", "/a//b/../c"),
        ("http://[::1]:80/a", "[::1]:80", "/a"),
        ("/caf\u00e9/\u20ac", "", "/caf%C3%A9/%E2%82%AC"),
        ("//evil/x", "", "//evil/x"),
    ]
    found, _ = records(data, *[ObservedCall("GET", url, 200) for url, _, _ in targets])
    assert [(r.authority, r.path) for r in found] == [(authority, path) for _, authority, path in targets]


def test_event_ids_are_ulids_in_order() -> None:
    make = importing._EventIds()
    ids = [make(NOW) for _ in range(5_000)]
    assert len(set(ids)) == 5_000
    assert ids == sorted(ids)
    assert {i[:10] for i in ids} == {event_id(NOW, bytes(10))[:10]}
    assert all(len(i) == 26 and set(i) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ") for i in ids)
    assert make(NOW + 1)[:10] > ids[0][:10]


def test_a_spool_that_takes_nothing_stops_an_import(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SPOOL_BYTES", -1)
    monkeypatch.setattr(importing, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(importing, "WAIT_BYTES", 10_000)
    importer = Importer(data, "import-1", clock=lambda: NOW)

    def fill() -> None:
        for _ in range(2_000):
            importer.add(ObservedCall("GET", "/a", 200))

    with pytest.raises(SpoolFullError, match="wait unread"):
        fill()
    assert importer.taken.calls < 500


async def post(collector: Collector, body: bytes, **headers: str) -> tuple[int, dict[str, str]]:
    """One OTLP/HTTP request, as uvicorn would hand it over."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await collector.asgi({"type": "http", "method": "POST", "path": "/v1/traces", "headers": given}, receive, send)
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_senders_wait_while_records_cannot_be_written(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SPOOL_BYTES", -1)
    monkeypatch.setattr(importing, "WAIT_BYTES", 2_000)
    importer = Importer(data, "collector", wait=False)
    collector = Collector(importer)
    attributes = [
        {"key": "http.request.method", "value": {"stringValue": "GET"}},
        {"key": "url.path", "value": {"stringValue": "/a"}},
    ]
    span = {"traceId": "a" * 32, "spanId": "b" * 16, "kind": 2, "attributes": attributes}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span] * 50}]}]}).encode()
    assert asyncio.run(post(collector, body, content_type="application/json"))[0] == 200
    importer.tick()
    status, headers = asyncio.run(post(collector, body, content_type="application/json"))
    assert (status, headers["retry-after"]) == (503, "5")
    assert importer.taken.calls == 50
    monkeypatch.undo()
    importer.flush()
    assert asyncio.run(post(collector, body, content_type="application/json"))[0] == 200
    assert collector.refused == {"full": 1}
    importer.close()


def test_the_token_is_asked_for(data: DataDir) -> None:
    importer = Importer(data, "collector", wait=False)
    token = ingest_token(data.secrets)
    assert token == ingest_token(data.secrets)
    assert len(token) >= 32
    assert stat.S_IMODE((data.secrets / "ingest-token").stat().st_mode) == 0o600
    collector = Collector(importer, token)
    for header, allowed in (
        (f"Bearer {token}", True),
        (f"bearer  {token}", True),
        (token, False),
        ("Bearer ", False),
        ("", False),
        ("Bearer \u00e9", False),
    ):
        assert collector.allowed(header) is allowed
    importer.close()


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1:1", True), ("127.9.9.9:1", True), ("[::1]:1", True), ("localhost:1", True), ("0.0.0.0:1", False), ("[::]:1", False), ("10.0.0.1:1", False), ("host:1", False), (":1", False)],
)  # fmt: skip
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


def test_records_keep_their_wire_form(data: DataDir) -> None:
    (record,), _ = records(data, ObservedCall("GET", "/a", None))
    assert record.status == 0
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=CallRecord) == record


def test_gathered_records_are_those_that_the_spool_would_have_had_and_none_is_lost(data: DataDir) -> None:
    calls = [ObservedCall("GET", f"/orders/{n}", status=200, time=NOW - n, origin="har") for n in range(5)]
    spooled, _ = records(data, *calls)
    importer = Importer(data, "import-2", clock=lambda: NOW, gather=True)
    for call in calls[:3]:
        importer.add(call)
    importer.flush()
    taken = importer.gathered()
    assert importer.gathered() == []
    assert not list(importer.directory.glob("*.seg"))
    assert [(r.path, r.origin, r.time) for r in taken] == [(r.path, r.origin, r.time) for r in spooled[:3]]
    importer.spill(taken[:1])  # it could not be stored
    for call in calls[3:]:
        importer.add(call)
    importer.close()  # nobody took these
    reader = SpoolReader(data.spool)
    left: list[str] = []
    while (batch := reader.read(10_000)) is not None:
        left += [r.path for r in batch.records]
        reader.acknowledge(batch)
    reader.close()
    assert left == [f"/orders/{n}" for n in (0, 1, 2, 3, 4, 0, 3, 4)]
