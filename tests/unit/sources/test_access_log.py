"""Lines of access logs that recordings do not have: odd requests, escapes, units."""

from __future__ import annotations

import json

import pytest

from eastwall.sources.access_log import call_of
from eastwall.sources.log_call import NotACall, clf_time, unescape
from eastwall.sources.observed import ObservedCall, SourceError
from eastwall.sources.ordering import in_time_order


def combined(request: str, status: str = "200", user: str = "-", rest: str = "") -> bytes:
    return f'10.0.0.7 - {user} [22/Nov/2026:14:00:01 +0100] "{request}" {status} 5 "-" "curl/8"{rest}'.encode()


@pytest.mark.parametrize(
    ("request_line", "reason"),
    [
        ("-", "no-request"),
        ("", "no-request"),
        ("\\x16\\x03\\x01", "not-http"),
        ("CONNECT shop.example:443 HTTP/1.1", "no-path"),
        ("OPTIONS * HTTP/1.0", "no-path"),
        ("GET ftp://x/a HTTP/1.1", "not-http"),
        ("GET", "not-http"),
    ],
)
def test_what_is_no_call(request_line: str, reason: str) -> None:
    with pytest.raises(NotACall) as caught:
        call_of(combined(request_line))
    assert str(caught.value) == reason


def test_a_line_with_everything() -> None:
    call = call_of(combined("GET /a\\x22b?c=\\xC3\\xA9 HTTP/2.0", "000", "alice", ' rt=0.250 host="shop.example"'))
    assert (call.url, call.status, call.user, call.duration_us) == ('http://shop.example/a"b?c=\u00e9', 0, "alice", 250_000)
    assert call.time == clf_time("22/Nov/2026:13:00:01 +0000")
    assert call_of(combined("GET http://proxy.example/x HTTP/1.1")).service == "proxy.example"
    assert call_of(combined("GET / HTTP/1.1", rest=' 12 "web@docker" "http://10.0.0.2:80" 7ms')).duration_us == 7_000
    assert call_of(b'::1 - - [22/Nov/2026:14:00:01 +0000] "GET / HTTP/1.0" 200 -').peer_address == "::1"


@pytest.mark.parametrize(
    ("fields", "microseconds"),
    [
        ({"request_time": "0.003"}, 3_000),
        ({"request_time": 0}, 0),
        ({"duration": 46}, 46_000),
        ({"duration": 0.0021}, 2_100),
        ({"Duration": 2_100_000}, 2_100),
        ({"duration_ms": 1.5}, 1_500),
        ({"latency": "0.012s"}, 12_000),
        ({"took": "15ms"}, 15_000),
        ({"duration": "never"}, 0),
        ({"duration": -1}, 0),
    ],
)
def test_units_of_durations(fields: dict[str, object], microseconds: int) -> None:
    line = {"method": "GET", "path": "/a", "status": 200, **fields}
    assert call_of(json.dumps(line).encode()).duration_us == microseconds


@pytest.mark.parametrize(
    "when",
    [1_795_000_000, 1_795_000_000.0, 1_795_000_000_000, "1795000000", 1_795_000_000_000_000_000, "2026-11-18T14:26:40+03:20"],
)
def test_units_of_times(when: object) -> None:
    assert call_of(json.dumps({"method": "GET", "path": "/a", "ts": when}).encode()).time == 1_795_000_000.0


def test_nested_and_cloud_fields() -> None:
    google = {
        "httpRequest": {"requestMethod": "GET", "requestUrl": "https://shop.example/a?b=1", "status": 200, "remoteIp": "203.0.113.7", "latency": "0.5s", "userAgent": "x"},
        "timestamp": "2026-11-18T11:06:40Z",
        "trace": "projects/p/traces/1",
    }  # fmt: skip
    call = call_of(json.dumps(google).encode())
    assert (call.url, call.status, call.peer_address, call.duration_us) == (
        "https://shop.example/a?b=1",
        200,
        "203.0.113.7",
        500_000,
    )
    caddy = {"request": {"method": "POST", "host": "shop.example", "uri": "/a", "headers": {"User-Agent": ["x"], "Traceparent": [f"00-{'a' * 32}-{'b' * 16}-01"]}}, "status": 200, "resp_headers": {"Content-Type": ["text/plain"]}}  # fmt: skip
    call = call_of(json.dumps(caddy).encode())
    assert (call.service, call.trace, call.response_headers) == ("shop.example", "a" * 32, {"content-type": "text/plain"})


@pytest.mark.parametrize(
    "line", [b"{}", b"{", b'{"a": ' + b"[" * 5_000, b'{"method": 7, "path": "/"}', b'{"method": "G T", "path": ""}']
)
def test_json_that_is_no_call(line: bytes) -> None:
    with pytest.raises(NotACall):
        call_of(line)


def test_unescape() -> None:
    assert unescape("a\\x22\\\\\\t\\u20AC\\q") == 'a"\\\t\u20ac\\q'
    assert unescape("\\xe2\\x82\\xac") == "\u20ac"
    assert unescape("\\xff") == "\u00ff"


def test_order_of_time_and_a_fault_at_the_end() -> None:
    def calls():  # type: ignore[no-untyped-def]
        for number in (3, 1, 2, 0, 5, 4):
            yield ObservedCall("GET", f"/{number}", time=float(number))
        raise SourceError("in:7: broken")

    found = []
    with pytest.raises(SourceError):  # noqa: PT012 - what came before counts
        for call in in_time_order(calls()):
            found.append(call.url)  # noqa: PERF401
    # A time of 0 is none: that call keeps its place behind the one before.
    assert found == ["/1", "/2", "/0", "/3", "/4", "/5"]
    narrow = [c.url for c in in_time_order([ObservedCall("GET", f"/{n}", time=float(n)) for n in (5, 4, 3, 2, 1)], window=2)]
    assert narrow == ["/3", "/2", "/1", "/4", "/5"]
