"""One contract for all readers of recorded traffic: what they know they tell alike, and bad input is one line or a counted skip."""

from __future__ import annotations

import gzip
import io
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contracts import source_writers as writers

from eastwall.model.call import BodyState
from eastwall.sources import otlp, reading
from eastwall.sources.observed import ObservedCall, Skipped, SourceError

GOLDEN = Path(__file__).parents[1] / "golden" / "sources"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

CALLS = (
    ("GET", "/orders/17?full=1", 200, b"", b'{"id": 17, "total": "12.50", "owner": "alice@shop.example"}'),
    ("POST", "/orders", 201, b'{"total":"9.90","items":[{"sku":"a-1","qty":2}]}', b'{"id": 18, "total": "9.90"}'),
    ("GET", "/users/alice%40shop.example/orders", 200, b"", b'[{"id": 17}, {"id": 18}]'),
    ("DELETE", "/orders/17", 204, b"", b""),
    ("GET", "/missing", 404, b"", b'{"error": "not found"}'),
)
"""What the recordings hold: see tests/golden/sources/README.md."""
EVERYTHING = {"body", "time", "duration", "peer", "host", "agent", "trace", "headers"}
LOGGED = {"time", "peer", "agent"}
SAMPLES = {
    "shop.mitm": ("mitmproxy", EVERYTHING),
    "shop-mitmproxy.har": ("har", EVERYTHING - {"peer"}),
    "shop.pcap": ("pcap", EVERYTHING),
    "shop-h2c.pcap": ("pcap", EVERYTHING),
    "shop-any-with-tls.pcap": ("pcap", EVERYTHING),
    "nginx-combined.log": ("access-log", LOGGED),
    "nginx-timed.log": ("access-log", LOGGED | {"duration", "host", "trace"}),
    "nginx-json.log": ("access-log", LOGGED | {"duration", "host", "trace"}),
    "apache-vhost.log": ("access-log", LOGGED | {"host"}),
    "apache-common.log": ("access-log", {"time", "peer"}),
    "envoy.log": ("access-log", {"time", "duration", "host", "agent"}),
    "envoy-json.log": ("access-log", LOGGED | {"duration", "host", "trace"}),
    "envoy-istio.log": ("access-log", LOGGED | {"duration", "host"}),
}
RECORDINGS = sorted(path for path in GOLDEN.iterdir() if path.suffix != ".md")


def everything(data: bytes, name: str = "in", format: str = "") -> tuple[list[ObservedCall], Skipped, str]:
    """Calls, what was left out, and the fault (empty when there was none). Any other exception fails the test."""
    skipped = Skipped()
    calls: list[ObservedCall] = []
    try:
        for call in reading.read(io.BytesIO(data), name, format, skipped):
            calls.append(call)  # noqa: PERF402 - the calls before a fault count
    except SourceError as error:
        fault = str(error)
        assert fault.startswith(f"{name}:")
        assert "\n" not in fault
        assert fault.isprintable()
        assert len(fault) < 500
        return calls, skipped, fault
    return calls, skipped, ""


def plain(call: ObservedCall) -> bytes:
    body = call.response_body
    return gzip.decompress(body) if call.response_headers.get("content-encoding") == "gzip" else body


def path_of(call: ObservedCall) -> str:
    return call.url if call.url.startswith("/") else "/" + call.url.split("/", 3)[3]


# -- the same calls in every format ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", SAMPLES)
def test_real_recordings_tell_the_same_calls(file: str) -> None:
    origin, knows = SAMPLES[file]
    calls, _, fault = everything((GOLDEN / file).read_bytes(), file)
    assert not fault
    found = {(call.method, path_of(call)): call for call in calls if path_of(call)[1:4] not in ('a"b',)}
    if file.startswith("apache"):  # mod_http2 logs the path decoded
        found = {(m, path.replace("alice@", "alice%40")): call for (m, path), call in found.items()}
    assert set(found) == {(m, p) for m, p, *_ in CALLS}
    for method, path, status, sent, answered in CALLS:
        call = found[method, path]
        assert call.status == status
        assert call.origin == origin
        assert (call.peer_address == "127.0.0.1") is ("peer" in knows)
        assert (call.service.partition(":")[0] == "shop.example") is ("host" in knows)
        assert bool(call.time) is ("time" in knows)
        if "time" in knows:
            assert 1_795_356_000 < call.time < 1_795_359_600
        assert (call.trace == TRACE) is ("trace" in knows and path.endswith("full=1"))
        if "duration" in knows:
            assert 0 <= call.duration_us < 1_000_000
        if "agent" in knows:
            assert call.request_headers["user-agent"] == ('"quoted" \\\\ agent' if status == 404 else "shop-app/1.2")
        if "headers" in knows and answered:
            assert call.response_headers["content-type"] == "application/json"
        if "body" in knows:
            assert (call.request_body, plain(call)) == (sent, answered)
            assert call.response_body_state is (BodyState.COMPLETE if answered else BodyState.NONE)
        else:
            assert (call.request_body, call.response_body) == (b"", b"")


@pytest.mark.parametrize("file", ["otlp.jsonl", "otlp-old-conventions.bin"])
def test_traces_tell_who_calls_whom(file: str) -> None:
    calls, skipped, fault = everything((GOLDEN / file).read_bytes(), file)
    assert not fault
    assert not skipped.counts
    edges = [(c.caller, c.service, c.method, path_of(c), c.status, c.egress) for c in calls]
    assert sorted(edges) == sorted(
        [("", "gateway", "GET", f"/orders/{n}", 200, False) for n in (17, 18, 19)]
        + [("", "gateway", "GET", "/nothing", 404, False)]
        + [("gateway", "orders", "GET", f"/stock/{n}?warehouse=3", 200, False) for n in (17, 18, 19)]
        + [("gateway", "api.payments.example", "POST", "/v1/charges", 404, True)] * 3
    )
    spans = {call.span: call for call in calls}
    assert len(spans) == 10
    for call in calls:
        if call.caller:
            assert spans[call.parent].service == call.caller
            assert spans[call.parent].trace == call.trace
        if call.service == "orders":
            assert call.route == "/stock/<int:oid>"


def test_an_upgrade_to_h2c_and_a_call_that_was_never_answered() -> None:
    calls, skipped, fault = everything((GOLDEN / "shop-h2c-upgrade.pcap").read_bytes())
    assert not fault
    assert not skipped.counts
    assert [(c.method, path_of(c), c.status) for c in calls] == [
        (m, p, 0 if m == "DELETE" else status) for m, p, status, _, _ in CALLS
    ]
    assert plain(calls[0]) == CALLS[0][4]


def test_tls_connections_are_counted() -> None:
    _, skipped, _ = everything((GOLDEN / "shop-any-with-tls.pcap").read_bytes())
    assert skipped.counts == {"tls": 1}
    assert ":18005" in skipped.first["tls"]


def test_what_is_no_call_in_a_log_is_counted() -> None:
    _, skipped, _ = everything((GOLDEN / "nginx-combined.log").read_bytes())
    assert skipped.counts == {"not-http": 1}
    _, skipped, _ = everything((GOLDEN / "nginx-json.log").read_bytes())
    assert skipped.counts == {"no-request": 2}


PATHS = st.from_regex(r"/[a-z]{1,8}(/[a-z0-9%_.-]{1,12}){0,3}(\?[a-z]=[a-z0-9]{0,5})?", fullmatch=True)
RANDOM = st.lists(
    st.builds(
        writers.Made,
        method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
        path=PATHS,
        status=st.sampled_from([200, 201, 301, 400, 404, 500]),
        host=st.sampled_from(["shop.example", "orders:8080", "10.0.0.9"]),
        agent=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)
        .map(str.strip)
        .filter(lambda agent: agent not in ("", "-")),
        request=st.binary(max_size=300),
        response=st.binary(max_size=300),
        gap=st.integers(0, 5),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("format", writers.WRITERS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=RANDOM)
def test_what_is_written_is_read(format: str, made: list[writers.Made]) -> None:
    write, knows = writers.WRITERS[format]
    calls, skipped, fault = everything(write(made))
    assert (fault, dict(skipped.counts)) == ("", {})
    assert len(calls) == len(made)
    for call, (at, want) in zip(calls, writers.timed(made), strict=True):
        assert (call.method, path_of(call), call.status) == (want.method, want.path, want.status)
        if "host" in knows:
            assert call.service == want.host
        if "time" in knows:
            assert abs(call.time - at) < 1.0
        if "agent" in knows:
            assert call.request_headers["user-agent"] == want.agent
        if "peer" in knows:
            assert call.peer_address == "10.1.2.3"
        if "body" in knows:
            assert (call.request_body, call.response_body) == (want.request, want.response)
            assert call.request_body_state is (BodyState.COMPLETE if want.request else BodyState.NONE)


# -- bad input -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", RECORDINGS, ids=lambda path: path.name)
def test_a_cut_recording_gives_what_is_whole(file: Path) -> None:
    data = file.read_bytes()
    whole, _, _ = everything(data)
    keys = [(c.method, c.url) for c in whole]
    cuts = sorted({*range(0, len(data), max(1, len(data) // 40)), len(data) - 1})
    counts = []
    for cut in cuts:
        calls, skipped, fault = everything(data[:cut], format="" if cut > 500 else reading.detect(data))
        counts.append(len(calls))
        assert len(calls) <= len(whole) + 1
        assert fault or skipped.counts or calls or not data[:cut].strip() or file.suffix in (".jsonl", ".lines", ".bin")
        known = [key for key in ((c.method, c.url) for c in calls) if key in keys]
        assert len(known) >= len(calls) - 1  # a cut line may end in a shorter path
    assert counts[-1] >= len(whole) - 1
    assert counts[len(cuts) * 3 // 4] > 0 or len(whole) < 4


@pytest.mark.parametrize("file", RECORDINGS, ids=lambda path: path.name)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=20), junk=st.binary(max_size=50))
def test_damage_gives_calls_faults_or_skips(file: Path, places: list[tuple[float, int]], junk: bytes) -> None:
    data = bytearray(file.read_bytes())
    for place, value in places:
        data[min(int(place * len(data)), len(data) - 1)] = value
    at = int(places[0][0] * len(data))
    data[at:at] = junk
    started = time.monotonic()
    calls, skipped, _ = everything(bytes(data), format=reading.detect(file.read_bytes()))
    assert time.monotonic() - started < 5
    assert all(text.isprintable() for text in skipped.first.values())
    assert all(call.method and (call.url[:1] == "/" or "://" in call.url) for call in calls)
    assert all(call.status is None or 0 <= call.status <= 999 for call in calls)


@pytest.mark.parametrize("format", reading.FORMATS)
@settings(max_examples=60, deadline=None)
@given(junk=st.binary(max_size=400))
def test_junk_in_any_format(format: str, junk: bytes) -> None:
    everything(junk, format=format)
    everything(junk)


@pytest.mark.parametrize("file", RECORDINGS, ids=lambda path: path.name)
def test_format_is_told_by_content_and_gzip_is_undone(file: Path) -> None:
    data = file.read_bytes()
    whole = everything(data)[0]
    assert whole
    assert everything(gzip.compress(data))[0] == whole
    calls, _, fault = everything(gzip.compress(data)[:-20])
    assert "gzip" in fault
    assert len(calls) <= len(whole)


HOSTILE = [
    "/\x1b[31mred",
    "/<script>alert(1)</script>",
    "/=cmd|'/c calc'!A1",
    "/\u202eevil",
    "/" + "a" * 20_000,
    "/%00%ff",
    "//evil.example/x",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_names_are_kept_as_data_and_shown_harmlessly(path: str) -> None:
    for format in ("har", "mitmproxy", "access-log-json", "otlp"):
        write, _ = writers.WRITERS[format]
        calls, skipped, fault = everything(write([writers.Made("GET", path, 200, "shop.example", "agent", b"", b"", 0)]))
        assert not fault
        assert [c.service for c in calls] == ["shop.example"] or skipped.counts
        assert all(text.isprintable() for text in skipped.first.values())


@pytest.mark.parametrize("host", ["\x1b[31m", "<b>", "a b", "x" * 400, "evil.example/../../etc", "[::", "a:b:c"])
def test_a_host_that_is_none_makes_no_service(host: str) -> None:
    line = b'{"method":"GET","path":"/a","status":200,"host":%s}\n' % writers.json_text(host)
    (call,) = everything(line)[0]
    assert call.service == "default"


# -- bounds ----------------------------------------------------------------------------------------------------------------


class Generated(io.RawIOBase):
    """A stream that is made while it is read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        while not self._rest:
            try:
                self._rest = next(self._pieces)
            except StopIteration:
                return 0
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def long(format: str) -> Iterator[bytes]:
    """Ten and more MB of a format."""
    made = writers.Made("POST", "/orders/17", 200, "shop.example", "agent", b"x" * 3_000, b"y" * 20_000, 0)
    if format == "har":
        head, entry, tail = writers.har_parts(made)
        yield head + entry
        for _ in range(1_200):
            yield b"," + entry
        yield tail
    elif format == "access-log":
        line = writers.combined([made])
        for _ in range(3_000):
            yield line * 100
    elif format == "mitmproxy":
        flow = writers.mitmproxy([made])
        for _ in range(1_200):
            yield flow
    elif format == "pcap":
        yield from writers.pcap_stream([made] * 400)
    else:
        line = writers.otlp([made])
        for _ in range(300):
            yield line * 100


@pytest.mark.parametrize("format", ["har", "access-log", "mitmproxy", "pcap", "otlp"])
def test_memory_does_not_grow_with_the_recording(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "WINDOW", 500)  # spans that wait are bounded by number: 20,000 would be 40 MB
    stream = io.BufferedReader(Generated(long(format)))
    calls = 0
    tracemalloc.start()
    try:
        for _ in reading.read(stream, "in", "", Skipped()):
            calls += 1
            if calls > 8_000:
                break
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert calls >= 400
    assert peak < 12 << 20, f"{peak >> 20} MiB"


@pytest.mark.parametrize(
    "bomb",
    [
        b'{"log": {"entries": [' + b'{"request": {"method": "GET", "url": "' + b"a" * (3 << 20),
        b'{"log": {"entries": [' + b"[" * 100_000,
        b'{"log": {"x": ' + b'{"a":' * 100_000,
        b'{"log": {"entries": [{"a": "' + b'\\"' * (1 << 20),
        b"99999999999:" + b"a" * 100_000,
        b"200000000:" + b"1:" * 100_000,
        b"\xd4\xc3\xb2\xa1" + bytes(16) + b"\xff\xff\0\0\1\0\0\0" + b"\xff" * 100_000,
        b"\x0a\x0d\x0d\x0a" + b"\xff" * 1_000,
        b"\0\xff\xff\xff\x0a" + b"\xff" * 100_000,
        b'{"resourceSpans":' + b"[" * 100_000,
        b'1.1.1.1 - - [22/Nov/2026:14:00:01 +0000] "' + b"\\" * 60_000 + b"\n",
        b"1.1.1.1 - " + b"- " * 30_000 + b"\n",
        b'[2026-11-22T14:00:01Z] "GET / HTTP/1.1' + b'" 200 - 1 1 1 1 "a" "' * 3_000 + b"\n",
        b'[2026-11-22T14:00:01Z] "' + b'" 200 - - - "" 1 1 1 - "" "' * 2_300 + b"\n",
        gzip.compress(bytes(30 << 20)),
    ],
    ids=range(15),
)  # fmt: skip
def test_bombs_cost_little(bomb: bytes) -> None:
    started = time.process_time()
    calls, skipped, fault = everything(bomb)
    assert time.process_time() - started < 1
    assert not calls
    assert fault or skipped.counts
