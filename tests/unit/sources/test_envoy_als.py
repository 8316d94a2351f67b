"""Entries of Envoy's access-log service, beside those that a real Envoy sends in tests/e2e/test_import.py."""

from __future__ import annotations

from eastwall.sources.envoy_als import calls_of
from eastwall.sources.envoy_als.proto import access_log_pb2
from eastwall.sources.observed import Skipped


def message() -> tuple[access_log_pb2.StreamAccessLogsMessage, access_log_pb2.HTTPAccessLogEntry]:
    made = access_log_pb2.StreamAccessLogsMessage()
    entry = made.http_logs.log_entry.add()
    entry.request.request_method = 3
    entry.request.authority, entry.request.path, entry.request.scheme = "Shop.example:443", "/orders?x=1", "https"
    entry.request.request_headers["traceparent"] = f"00-{'a' * 32}-{'b' * 16}-01"
    entry.request.user_agent = "app/1"
    entry.request.forwarded_for = "203.0.113.9"
    entry.response.response_code.value = 201
    entry.response.response_body_bytes = 7
    entry.common_properties.start_time.seconds = 1_795_000_000
    entry.common_properties.time_to_last_downstream_tx_byte.nanos = 2_500_000
    entry.common_properties.downstream_remote_address.socket_address.address = "203.0.113.9"
    direct = entry.common_properties.downstream_direct_remote_address.socket_address
    direct.address, direct.port_value = "10.0.0.7", 4000
    return made, entry


def test_an_entry_with_mutual_tls() -> None:
    made, entry = message()
    certificate = entry.common_properties.tls_properties.peer_certificate_properties
    certificate.subject_alt_name.add(uri="spiffe://shop/ns/a/sa/gateway")
    certificate.subject_alt_name.add(dns="gateway")
    skipped = Skipped()
    (call,) = calls_of(made, skipped)
    assert (call.method, call.url, call.status, call.service) == ("POST", "https://shop.example/orders?x=1", 201, "shop.example")
    assert (call.time, call.duration_us, call.response_bytes, call.origin) == (1_795_000_000.0, 2_500, 7, "envoy-als")
    assert (call.peer_address, call.peer_port, call.tls) == ("10.0.0.7", 4000, True)
    assert call.uri_sans == ("spiffe://shop/ns/a/sa/gateway",)
    assert (call.trace, call.parent) == ("a" * 32, "b" * 16)
    assert call.request_headers["user-agent"] == "app/1"
    assert call.request_headers["x-forwarded-for"] == "203.0.113.9"
    assert not skipped.counts


def test_what_is_no_finished_http_call_is_counted() -> None:
    skipped = Skipped()
    made, entry = message()
    entry.common_properties.intermediate_log_entry = True
    assert not list(calls_of(made, skipped))
    made, entry = message()
    entry.request.request_method = 0
    assert not list(calls_of(made, skipped))
    made, entry = message()
    entry.request.path = "\x1b[31m"
    assert not list(calls_of(made, skipped))
    tcp = access_log_pb2.StreamAccessLogsMessage()
    tcp.tcp_logs.log_entry.add()
    tcp.tcp_logs.log_entry.add()
    assert not list(calls_of(tcp, skipped))
    assert skipped.counts == {"unfinished-call": 1, "no-request": 1, "not-http": 1, "tcp-log-entry": 2}
    assert all(text.isprintable() for text in skipped.first.values())
