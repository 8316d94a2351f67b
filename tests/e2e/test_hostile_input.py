"""Input made to break parsers: bounded memory, a finding or a 4xx, never a hang, and the service behind goes on."""

from __future__ import annotations

import gzip
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.e2e.harness import Running, Upstream, eventually, free_port

pytestmark = pytest.mark.e2e

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def running(upstream: Upstream, short_dir: Path, adapter: str) -> Iterator[Running]:
    directory = short_dir / adapter
    directory.mkdir()
    up = Running(directory, "--upstream", f"orders={upstream.url}@{free_port()}", "--adapter", adapter, "--mode", "enforce")
    with httpx.Client(base_url=up.address("orders"), timeout=20) as client:
        eventually(lambda: client.get("/search", params={"q": "' OR 1=1 --"}).status_code == 403, what="enforcing")
    yield up
    assert up.stop() == 0


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.address("orders"), timeout=30) as client:
        yield client
        assert client.get("/orders/1").status_code == 200, "the service must go on"


def rss_megabytes(running: Running) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{running.pid_of('engine_main')}/status").read_text())
    assert found
    return int(found[1]) / 1024


def finding_of(running: Running, detection: str) -> dict[str, object]:
    return dict(
        eventually(
            lambda: [f for f in running.api.get("/findings", params={"limit": 200}).json() if f["id"] == detection],
            what=detection,
        )[0]
    )


def test_fifty_megabytes_pass_with_bounded_memory_and_are_counted(
    running: Running, client: httpx.Client, upstream: Upstream
) -> None:
    body = b"x" * (50 << 20)
    answer = client.post("/orders", content=body, headers={"content-type": "application/octet-stream"})
    assert answer.status_code in (201, 413)
    assert rss_megabytes(running) < 400
    eventually(
        lambda: any("truncated" in reason for reason in json.dumps(running.status()["uninspected"]).split('"')), what="counted"
    )


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("depth", b"[" * 100_000 + b"]" * 100_000),
        ("keys", b"{" + b",".join(b'"k%d":1' % n for n in range(100_000)) + b"}"),
        ("numbers", b"[" + b",".join(b"1" for _ in range(400_000)) + b"]"),
    ],
)
def test_json_bomb(running: Running, client: httpx.Client, name: str, body: bytes) -> None:
    started = time.monotonic()
    answer = client.post("/orders", content=body, headers=JSON)
    assert time.monotonic() - started < 10
    assert answer.status_code in (201, 400, 403, 413), name
    assert rss_megabytes(running) < 400
    finding_of(running, "parser-differential")


def test_gzip_bomb(running: Running, client: httpx.Client) -> None:
    bomb = gzip.compress(b"0" * (200 << 20), 9)
    assert len(bomb) < 1 << 20
    answer = client.post("/orders", content=bomb, headers=JSON | {"content-encoding": "gzip"})
    assert answer.status_code in (201, 400, 403, 413)
    assert rss_megabytes(running) < 400
    finding_of(running, "parser-differential")


def test_an_injection_inside_gzip_is_read(client: httpx.Client) -> None:
    body = gzip.compress(json.dumps({"q": "x' UNION SELECT password FROM users --"}).encode())
    assert client.post("/orders", content=body, headers=JSON | {"content-encoding": "gzip"}).status_code == 403


def test_duplicate_keys_are_a_finding(running: Running, client: httpx.Client) -> None:
    client.post("/orders", content=b'{"role":"user","role":"admin"}', headers=JSON)
    assert "duplicate" in str(finding_of(running, "parser-differential")["message"]) or eventually(
        lambda: any("duplicate" in f["message"] for f in running.api.get("/findings", params={"limit": 200}).json())
    )


@pytest.mark.parametrize("body", [b'{"a":"\xff\xfe"}', b"\xef\xbb\xbf{}", b'{"a":NaN}', b"{} trailing", b"", b"\x00" * 1000])
def test_broken_json_never_hangs(client: httpx.Client, body: bytes) -> None:
    assert client.post("/orders", content=body, headers=JSON).status_code in (201, 400, 403)


def test_invalid_utf8_in_path_and_headers(running: Running) -> None:
    host, port = running.address("orders").removeprefix("http://").split(":")
    for request in (
        b"GET /orders/%ff%fe HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        b"GET /orders/1?q=%c0%ae%c0%ae HTTP/1.1\r\nhost: a\r\nx-strange: \xff\xfe\xfd\r\nconnection: close\r\n\r\n",
        b"GET /orders/\xff HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    ):
        with socket.create_connection((host, int(port)), timeout=10) as raw:
            raw.sendall(request)
            assert re.match(rb"HTTP/1\.1 (200|400|403|404)", raw.recv(4096))


@pytest.mark.parametrize(
    "headers",
    [
        b"content-length: 4\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        b"content-length: 4\r\ncontent-length: 5\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding: chunked, identity\r\n",
    ],
)
def test_framing_that_servers_read_differently_is_refused_before_it_is_judged(running: Running, headers: bytes) -> None:
    """What parser-differential's README says of a stock Envoy."""
    host, port = running.address("orders").removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(b"POST /orders HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n" + headers + b"\r\n0\r\n\r\n")
        assert re.match(rb"HTTP/1\.1 (400|501)", raw.recv(4096))


def test_two_hosts_pass_a_stock_envoy_and_are_blocked_here(running: Running) -> None:
    host, port = running.address("orders").removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(b"GET /orders/1 HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 403")
    assert finding_of(running, "parser-differential")


def test_ten_thousand_headers(client: httpx.Client) -> None:
    try:
        answer = client.get("/orders/1", headers=[(f"x-{n}", "1") for n in range(10_000)])
        assert answer.status_code == 431
    except httpx.HTTPError:
        pass  # a closed connection is an answer too; the fixture checks that the service goes on


def test_slow_senders_do_not_hold_others_up(running: Running, client: httpx.Client) -> None:
    host, port = running.address("orders").removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port)), timeout=5) for _ in range(200)]
    try:
        for raw in slow:
            raw.sendall(b"POST /orders HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{")
        started = time.monotonic()
        assert client.get("/orders/1").status_code == 200
        assert time.monotonic() - started < 2
    finally:
        for raw in slow:
            raw.close()
