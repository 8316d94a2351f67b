"""Envoy's access-log service (gRPC): log entries as calls.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/accesslog/v3/als.proto. `proto/access_log.proto` is the part of it that is read;
`access_log_pb2.py` beside it is generated (`python -m eastwall.sources.envoy_als.proto`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eastwall.model.call import BodyState
from eastwall.sources.log_call import assembled
from eastwall.sources.observed import ObservedCall, Skipped, join_headers, trace_context

ORIGIN = "envoy-als"
METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
_METHODS = ("", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


def calls_of(message: Any, skipped: Skipped) -> Iterator[ObservedCall]:
    """Calls of a `StreamAccessLogsMessage`; what is none is counted."""
    if message.WhichOneof("log_entries") == "tcp_logs":
        skipped.add("tcp-log-entry", "", len(message.tcp_logs.log_entry))
        return
    for entry in message.http_logs.log_entry:
        try:
            yield _call(entry)
        except ValueError as reason:
            skipped.add(str(reason), f"{entry.request.authority}{entry.request.path}")


def _call(entry: Any) -> ObservedCall:
    """Raises ValueError whose text is the reason for which it is no call."""
    common, request, response = entry.common_properties, entry.request, entry.response
    if common.intermediate_log_entry:
        raise ValueError("unfinished-call")
    number = request.request_method
    method = request.request_headers.get(":method") or (_METHODS[number] if 0 < number < len(_METHODS) else "")
    if not method:
        raise ValueError("no-request")
    pairs = [(name, value) for name, value in request.request_headers.items()]
    known = (("user-agent", request.user_agent), ("referer", request.referer), ("x-forwarded-for", request.forwarded_for))
    headers = join_headers(pairs)
    for name, value in (*known, ("x-request-id", request.request_id)):
        if value:
            headers.setdefault(name, value)
    answered = join_headers([*response.response_headers.items(), *response.response_trailers.items()])
    # The direct peer, not what a forwarding header made of it: identity is never taken from a header here.
    direct = common.downstream_direct_remote_address.socket_address
    peer = direct if direct.address else common.downstream_remote_address.socket_address
    certificate = common.tls_properties.peer_certificate_properties
    trace, parent = trace_context(headers)
    took = common.duration if common.HasField("duration") else common.time_to_last_downstream_tx_byte
    status = response.response_code.value
    tls = common.HasField("tls_properties")
    return assembled(
        method.upper(),
        request.original_path or request.path,
        request.authority,
        request.scheme if request.scheme in ("http", "https") else "https" if tls else "http",
        origin=ORIGIN,
        status=status if 100 <= status <= 599 else 0,
        time=common.start_time.seconds + common.start_time.nanos / 1e9,
        duration_us=max(0, took.seconds * 1_000_000 + took.nanos // 1_000),
        request_headers=headers,
        request_bytes=request.request_body_bytes,
        request_body_state=BodyState.NONE,
        response_headers=answered,
        response_bytes=response.response_body_bytes,
        peer_address=peer.address,
        peer_port=min(peer.port_value, 65_535),
        tls=tls,
        uri_sans=tuple(san.uri for san in certificate.subject_alt_name if san.uri),
        trace=trace,
        parent=parent,
    )
