"""The pieces of Envoy configuration that the ext_proc adapter needs, as plain JSON-able dictionaries.

Pure: `dataplanes/envoy/render.py` places them; README.md beside this file says where each goes and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eastwall.model.call import Mode

FILTER_ENFORCE = "eastwall.extproc.enforce"
"""Name of the HTTP filter that waits for the engine's answer."""
FILTER_OBSERVE = "eastwall.extproc.observe"
"""Name of the HTTP filter that copies the call to the engine and goes on (`observability_mode`)."""

META_SERVICE = "x-eastwall-service"
META_MODE = "x-eastwall-mode"
META_FAIL = "x-eastwall-fail"
META_MAX_BODY = "x-eastwall-max-body"
META_OVER_LIMIT = "x-eastwall-over-limit"

NAMESPACE = "eastwall"
"""Dynamic metadata namespace in which answers of ours carry `event_id`."""

REQUEST_ATTRIBUTES = (
    "request.protocol",
    "source.address",
    "connection.tls_version",
    "connection.uri_san_peer_certificate",
    "connection.dns_san_peer_certificate",
    "connection.subject_peer_certificate",
)
"""What Envoy tells of protocol and peer. Absent ones (no TLS, no client certificate) are left out of the message by Envoy."""

_TYPE = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3."


def filter_config(*, observe: bool, cluster: str, timeout: float = 1.0) -> dict[str, Any]:
    """One entry for `http_filters`, disabled until a route enables it with `route_config`.

    Both the observing and the enforcing one go into every filter chain that has routes of both sorts: whether Envoy waits
    (`observability_mode`) cannot be changed per route, so a route chooses between the two filters instead.
    `timeout` (seconds) is how long Envoy waits for one answer before it follows the route's fail mode.
    """
    config: dict[str, Any] = {
        "@type": _TYPE + "ExternalProcessor",
        "grpc_service": {"envoy_grpc": {"cluster_name": cluster}},
        "stat_prefix": "eastwall",
        "request_attributes": list(REQUEST_ATTRIBUTES),
        # Observing needs the content-length kept too: without this Envoy drops it from every message whose body it streams out.
        "allow_content_length_header": True,
    }
    if observe:
        config |= {
            "observability_mode": True,
            "failure_mode_allow": True,
            # A stream whose end Envoy does not tell (a reset, a WebSocket) is over this long after it.
            "deferred_close_timeout": "2s",
            "processing_mode": {
                "request_header_mode": "SEND",
                "response_header_mode": "SEND",
                "request_body_mode": "STREAMED",
                "response_body_mode": "STREAMED",
                # Only to know the end of a message that has trailers (gRPC).
                "request_trailer_mode": "SEND",
                "response_trailer_mode": "SEND",
            },
        }
    else:
        config |= {
            # Bodies are asked for message by message (`mode_override`), so calls without one and streams cost no buffering.
            "processing_mode": {
                "request_header_mode": "SEND",
                "response_header_mode": "SEND",
                "request_body_mode": "NONE",
                "response_body_mode": "NONE",
            },
            "allow_mode_override": True,
            "message_timeout": f"{timeout:g}s",
            "failure_mode_allow": True,
            "status_on_error": {"code": 503},
            "metadata_options": {"receiving_namespaces": {"untyped": [NAMESPACE]}},
        }
    return {"name": FILTER_OBSERVE if observe else FILTER_ENFORCE, "disabled": True, "typed_config": config}


def route_config(*, service: str, mode: Mode, fail: str, max_body: int, over_limit: str = "pass") -> dict[str, Any]:
    """The `typed_per_filter_config` of a virtual host or route: enables the one filter that fits `mode` and names the service.

    The values are those of `ServiceScope`. `fail` is `open` or `closed`; it can only close in enforce mode, because the other modes never change a call.
    """
    metadata = (
        (META_SERVICE, service),
        (META_MODE, mode.name.lower()),
        (META_FAIL, fail),
        (META_MAX_BODY, str(max_body)),
        (META_OVER_LIMIT, over_limit),
    )
    overrides: dict[str, Any] = {"grpc_initial_metadata": [{"key": key, "value": value} for key, value in metadata]}
    if mode is Mode.ENFORCE:
        overrides["failure_mode_allow"] = fail != "closed"
    name = FILTER_ENFORCE if mode is Mode.ENFORCE else FILTER_OBSERVE
    return {name: {"@type": _TYPE + "ExtProcPerRoute", "overrides": overrides}}


def cluster_config(name: str, sockets: Sequence[str]) -> dict[str, Any]:
    """The cluster of the engines: one endpoint per Unix socket path.

    The health check ejects an engine that hangs (its socket still accepts) within about two seconds; with none left Envoy
    applies the fail mode at once instead of waiting for a timeout per call (panic threshold 0).
    """
    limits = {"max_connections": 1_000_000, "max_pending_requests": 1_000_000, "max_requests": 1_000_000}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "0.5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": path}}}} for path in sockets]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        # One gRPC stream per call in flight, WebSockets and event streams included: the default 1024 would run out.
        "circuit_breakers": {"thresholds": [limits]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "0.5s",
                "no_traffic_interval": "0.5s",
                "unhealthy_interval": "0.25s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {},
            }
        ],
    }
