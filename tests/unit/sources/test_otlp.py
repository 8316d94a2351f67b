"""Spans as calls: every set of attribute names, and the two ends of a call put together in any order."""

from __future__ import annotations

import itertools

import pytest

from eastwall.sources.observed import Skipped
from eastwall.sources.otlp import Join, call_of, outside
from eastwall.sources.otlp_spans import Span

SERVER, CLIENT, INTERNAL = 2, 3, 1


def span(kind: int = SERVER, id: str = "1", parent: str = "", service: str = "orders", **attributes: object) -> Span:
    names = {name.replace("__", "."): value for name, value in attributes.items()}
    return Span(service, "a" * 32, id * 16 if len(id) == 1 else id, parent * 16, kind, 1000.0, 1000.5, names)


NEW = {"http__request__method": "GET", "url__path": "/a/1", "url__query": "x=1", "http__response__status_code": 200}
OLD = {"http__method": "GET", "http__target": "/a/1?x=1", "http__status_code": 200}
FULL = {"http__request__method": "GET", "url__full": "http://o.example/a/1?x=1", "http__response__status_code": 200}


@pytest.mark.parametrize("attributes", [NEW, OLD, FULL, {**OLD, "http__status_code": "200"}])
def test_conventions_old_and_new(attributes: dict[str, object]) -> None:
    call = call_of(span(**attributes))
    assert (call.method, call.url.rpartition("o.example")[2], call.status) == ("GET", "/a/1?x=1", 200)
    assert (call.service, call.span, call.trace, call.duration_us) == ("orders", "1" * 16, "a" * 32, 500_000)


def test_ebpf_instrumentation() -> None:
    """Attributes as OBI (Beyla) documents them for an HTTP server."""
    call = call_of(
        span(
            http__request__method="POST",
            http__response__status_code=201,
            url__path="/orders",
            http__route="/orders",
            client__address="10.0.0.7",
            server__address="orders",
            server__port=8080,
            http__request__body__size=41,
            http__response__body__size=7,
            url__scheme="https",
        )
    )
    assert (call.url, call.peer_address, call.request_bytes, call.response_bytes, call.tls, call.route) == (
        "https://orders:8080/orders",
        "10.0.0.7",
        41,
        7,
        True,
        "/orders",
    )


def test_headers_user_and_peer() -> None:
    call = call_of(
        span(
            **NEW,
            network__peer__address="10.0.0.9",
            network__peer__port=4000,
            client__address="203.0.113.7",
            enduser__id="alice",
            **{"http.request.header.x-tenant": ["a", "b"], "http.response.header.content_type": ["text/csv"]},
        )
    )
    assert call.request_headers == {"x-tenant": "a, b"}
    assert call.response_headers == {"content-type": "text/csv"}
    assert (call.peer_address, call.peer_port, call.user) == ("10.0.0.9", 4000, "alice")


@pytest.mark.parametrize(
    "attributes",
    [
        {"rpc__system": "grpc", "rpc__service": "shop.Orders", "rpc__method": "Get", "rpc__grpc__status_code": 5},
        {"rpc__system__name": "grpc", "rpc__method": "shop.Orders/Get", "rpc__response__status_code": "NOT_FOUND"},
    ],
)
def test_grpc(attributes: dict[str, object]) -> None:
    call = call_of(span(**attributes))
    assert (call.method, call.url, call.status) == ("POST", "/shop.Orders/Get", 200)
    assert call.request_headers["content-type"] == "application/grpc"
    assert call.response_headers["grpc-status"] == "5"


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"db__system": "postgresql"}, "span-not-http"),
        ({"http__request__method": "GET"}, "span-without-path"),
        ({"http__request__method": "\x1b[31m", "url__path": "/"}, "span-not-http"),
        ({"rpc__system": "dubbo", "rpc__method": "x"}, "span-other-rpc"),
    ],
)
def test_what_is_no_call(attributes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        call_of(span(**attributes))


def test_the_two_ends_of_a_call_in_any_order() -> None:
    spans = [
        span(SERVER, "1", service="gateway", **NEW),
        span(INTERNAL, "2", "1", service="gateway"),
        span(CLIENT, "3", "2", service="gateway", server__address="orders", **FULL),
        span(SERVER, "4", "3", service="orders", **NEW),
    ]
    for order in itertools.permutations(spans):
        skipped = Skipped()
        join = Join(skipped)
        found = [*join.add(order), *join.flush()]
        assert sorted((c.service, c.caller, c.span[:1], c.parent[:1], c.egress) for c in found) == [
            ("gateway", "", "1", "", False),
            ("orders", "gateway", "4", "1", False),
        ]
        assert skipped.counts == {"span-internal": 1}


def test_calls_to_who_does_not_report() -> None:
    skipped = Skipped()
    join = Join(skipped)
    client = {"http__request__method": "POST", "http__response__status_code": 200}
    spans = [
        span(
            CLIENT,
            "1",
            "9",
            url__full="https://api.payments.example/v1/charges",
            server__address="api.payments.example",
            **client,
        ),
        span(CLIENT, "2", "9", url__full="http://legacy:8080/x", server__address="legacy", server__port=8080, **client),
        span(CLIENT, "3", "9", url__full="http://10.0.0.4/x", server__address="10.0.0.4", **client),
        span(
            CLIENT,
            "4",
            "9",
            url__full="http://orders.shop.svc.cluster.local/x",
            server__address="orders.shop.svc.cluster.local",
            **client,
        ),
        span(SERVER, "5", service="orders", **NEW),
    ]
    found = [*join.add(spans), *join.flush()]
    assert sorted((c.service, c.caller, c.egress) for c in found) == [
        ("10.0.0.4", "orders", False),
        ("api.payments.example", "orders", True),
        ("legacy:8080", "orders", False),
        ("orders", "", False),
    ]
    assert skipped.counts == {"client-span-of-known-service": 1}


def test_the_window_is_bounded() -> None:
    join = Join(Skipped(), window=100)
    told = 0
    for number in range(1_000):
        told += len(list(join.add([span(SERVER, f"{number:016x}", "f", **NEW)])))
    assert told == 900
    assert len(list(join.flush(before=2000.0))) == 100


@pytest.mark.parametrize(
    ("host", "is_outside"),
    [("api.stripe.example", True), ("8.8.8.8", True), ("10.0.0.1", False), ("orders", False), ("a.svc.cluster.local", False), ("[::1]", False)],
)  # fmt: skip
def test_outside(host: str, is_outside: bool) -> None:
    assert outside(host) is is_outside
