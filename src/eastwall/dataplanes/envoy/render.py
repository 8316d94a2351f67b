"""A `Proxy` as Envoy configuration. Pure and deterministic: equal proxies give equal bytes (golden files in tests/golden/envoy).

Files: `bootstrap.json` (read once), `lds.json`, `cds.json` and `routes-*.json` (watched by Envoy, replaced by rename). What may
change while calls are running, modes and fail modes above all, stands in the routes only: replacing routes drains nothing.

Ordinary calls must pass unchanged, and the engine must see what the service will see. Hence: no path normalisation, no
`server`, `x-request-id`, `x-forwarded-for` or `x-envoy-*` of Envoy's own, no retries, no timeouts of whole calls.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from typing import Any, Final

from eastwall.dataplanes.envoy import native
from eastwall.dataplanes.envoy.proxy import Proxy, Target, Upstream, check, hosts_of, target_of
from eastwall.dataplanes.extproc import envoy_config

MODULE: Final = "eastwall_shim"
"""Envoy looks for `lib<MODULE>.so` in ENVOY_DYNAMIC_MODULES_SEARCH_PATH."""
FILTER: Final = "eastwall"
_MODULE: Final = {"name": MODULE, "do_not_close": True, "metrics_namespace": "eastwall"}
ENGINES: Final = "eastwall_engines"
"""Cluster of the engines (ext_proc only; the shim connects by itself)."""
MAX_HEADERS: Final = 200
MAX_HEADERS_KB: Final = 96

_CORE = "type.googleapis.com/envoy."
_HCM = _CORE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

# What Envoy answers when it cannot pass a call on, the first that fits: (response flags, status shown, slug, title, detail).
_FAULTS: Final = (
    (
        ("UF", "UH", "UC", "UR", "LR", "URX", "UPE", "DF"),
        502,
        "bad-gateway",
        "Bad Gateway",
        "The service could not be reached, or broke off.",
    ),
    (("UT",), 504, "gateway-timeout", "Gateway Timeout", "The service did not answer in time."),
)
_STATUSES: Final = (
    (400, "bad-request", "Bad Request", "The request is not valid HTTP."),
    (403, "forbidden", "Forbidden", "The request is not allowed here."),
    (404, "no-such-service", "Not Found", "No service is known by this host name."),
    (408, "request-timeout", "Request Timeout", "The request did not arrive in time."),
    (413, "body-too-large", "Content Too Large", "The body is larger than can be handled."),
    (426, "upgrade-required", "Upgrade Required", "This protocol version is not spoken here."),
    (431, "headers-too-large", "Request Header Fields Too Large", "The request has too many or too large header fields."),
    (500, "internal-error", "Internal Server Error", "The proxy failed on this call."),
    (503, "unavailable", "Service Unavailable", "The call could not be passed on."),
    (504, "gateway-timeout", "Gateway Timeout", "The service did not answer in time."),
)


def render(proxy: Proxy) -> dict[str, bytes]:
    """File name -> content. Raises `ProxyError` when the proxy makes no sense."""
    check(proxy)
    listeners = []
    files: dict[str, bytes] = {}
    shared = tuple(upstream for upstream in proxy.upstreams if upstream.listen is None)
    if shared and proxy.listen is not None:
        listeners.append(_listener(proxy, "shared", proxy.listen))
        files[_routes_file("shared")] = _resources(_routes(proxy, "shared", shared), "config.route.v3.RouteConfiguration")
    for upstream in proxy.upstreams:
        if upstream.listen is not None:
            name = f"own-{upstream.name}"
            listeners.append(_listener(proxy, name, upstream.listen))
            files[_routes_file(name)] = _resources(_routes(proxy, name, (upstream,)), "config.route.v3.RouteConfiguration")
    clusters = [_cluster(proxy, upstream) for upstream in proxy.upstreams]
    if proxy.adapter == "extproc":
        clusters.append(envoy_config.cluster_config(ENGINES, proxy.engine_sockets))
    files["bootstrap.json"] = _json(_bootstrap(proxy))
    files["lds.json"] = _resources(listeners, "config.listener.v3.Listener")
    files["cds.json"] = _resources(clusters, "config.cluster.v3.Cluster")
    return dict(sorted(files.items()))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _resources(resources: list[dict[str, Any]], kind: str) -> bytes:
    typed = [{"@type": _CORE + kind, **resource} for resource in resources]
    version = hashlib.sha256(json.dumps(typed).encode()).hexdigest()[:16]
    return _json({"version_info": version, "resources": typed})


def _routes_file(listener: str) -> str:
    return f"routes-{listener}.json"


def _watched(proxy: Proxy, file: str) -> dict[str, Any]:
    return {"path_config_source": {"path": str(proxy.run_dir / file)}, "resource_api_version": "V3"}


def _bootstrap(proxy: Proxy) -> dict[str, Any]:
    return {
        "node": {"id": "eastwall", "cluster": "eastwall"},
        **({"layered_runtime": native.RUNTIME} if proxy.native_offload else {}),
        "admin": {"address": {"pipe": {"path": proxy.admin_socket(), "mode": 0o600}}},
        "dynamic_resources": {"lds_config": _watched(proxy, "lds.json"), "cds_config": _watched(proxy, "cds.json")},
        "overload_manager": {
            "refresh_interval": "0.25s",
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _CORE + "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": proxy.connections,
                    },
                },
                {
                    "name": "envoy.resource_monitors.fixed_heap",
                    "typed_config": {
                        "@type": _CORE + "extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                        "max_heap_size_bytes": proxy.memory_mb << 20,
                    },
                },
            ],
            "actions": [
                _when_heap("envoy.overload_actions.shrink_heap", 0.85),
                _when_heap("envoy.overload_actions.stop_accepting_requests", 0.95),
            ],
        },
    }


def _when_heap(action: str, share: float) -> dict[str, Any]:
    return {"name": action, "triggers": [{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": share}}]}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _listener(proxy: Proxy, name: str, listen: tuple[str, int]) -> dict[str, Any]:
    chain: dict[str, Any] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": _connection_manager(proxy, name)}]
    }
    if proxy.tls is not None:
        chain["transport_socket"] = _downstream_tls(proxy)
    listener: dict[str, Any] = {"name": name, "address": _address(*listen), "filter_chains": [chain]}
    if proxy.adapter == "extproc":
        # What bounds how much of a body ext_proc holds back (the shim raises its limit itself, call by call).
        listener["per_connection_buffer_limit_bytes"] = max(65536, *(upstream.scope.max_body for upstream in proxy.upstreams))
    return listener


def _connection_manager(proxy: Proxy, name: str) -> dict[str, Any]:
    return {
        "@type": _HCM,
        "stat_prefix": name,
        "codec_type": "AUTO",
        "rds": {"config_source": _watched(proxy, _routes_file(name)), "route_config_name": name},
        "http_filters": [
            *(native.filters() if proxy.native_offload else ()),
            *_inspection(proxy),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": _CORE + "extensions.filters.http.router.v3.Router", "suppress_envoy_headers": True},
            },
        ],
        # --- the call as it is ---
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": False,
        "preserve_external_request_id": True,
        "use_remote_address": False,
        "skip_xff_append": True,
        # The peer is the peer of the connection, whatever x-forwarded-for says: no header has that many hops.
        "original_ip_detection_extensions": [
            {
                "name": "envoy.http.original_ip_detection.xff",
                "typed_config": {
                    "@type": _CORE + "extensions.http.original_ip_detection.xff.v3.XffConfig",
                    "xff_num_trusted_hops": 1_000_000,
                    "skip_xff_append": True,
                },
            }
        ],
        "forward_client_cert_details": "ALWAYS_FORWARD_ONLY",
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "localhost"},
        "http2_protocol_options": {"allow_connect": True, "max_concurrent_streams": 1024},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        # --- bounds ---
        "common_http_protocol_options": {"idle_timeout": "3600s", "max_headers_count": MAX_HEADERS},
        "max_request_headers_kb": MAX_HEADERS_KB,
        "request_headers_timeout": "10s",
        "stream_idle_timeout": f"{proxy.idle_timeout}s",
        "delayed_close_timeout": "1s",
        "drain_timeout": "5s",
        "local_reply_config": {"mappers": _local_replies(proxy)},
        **({"access_log": [native.log(proxy.run_dir)]} if proxy.native_offload else {}),
    }


def _inspection(proxy: Proxy) -> list[dict[str, Any]]:
    if proxy.adapter == "extproc":
        return [
            envoy_config.filter_config(observe=True, cluster=ENGINES),
            envoy_config.filter_config(observe=False, cluster=ENGINES, timeout=proxy.deadline_ms / 1000),
        ]
    lines = [f"engine={path}" for path in proxy.engine_sockets]
    lines += [
        f"{key}={getattr(proxy, key)}"
        for key in ("deadline_ms", "hold_ms", "probe_ms", "misses", "outstanding", "copy_bytes", "problem_base")
    ]
    return [
        {
            "name": FILTER,
            "typed_config": {
                "@type": _CORE + "extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
                "dynamic_module_config": _MODULE,
                "filter_name": FILTER,
                "filter_config": _text("\n".join(lines)),
            },
        }
    ]


def _text(text: str) -> dict[str, str]:
    return {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": text}


def _treatment(proxy: Proxy, upstream: Upstream) -> dict[str, Any]:
    """`typed_per_filter_config`: how calls to this upstream are inspected."""
    scope = upstream.scope
    if proxy.adapter == "extproc":
        return envoy_config.route_config(service=upstream.name, mode=scope.mode, fail=scope.fail, max_body=scope.max_body)
    lines = (
        f"service={upstream.name}",
        f"mode={scope.mode.name.lower()}",
        f"fail={scope.fail}",
        f"max_body={scope.max_body}",
        f"over_limit={scope.over_limit}",
    )
    return {
        FILTER: {
            "@type": _CORE + "extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute",
            "dynamic_module_config": _MODULE,
            "filter_config": _text("\n".join(lines)),
        }
    }


def _routes(proxy: Proxy, name: str, upstreams: tuple[Upstream, ...]) -> list[dict[str, Any]]:
    hosts = []
    filters = (FILTER,) if proxy.adapter == "shim" else (envoy_config.FILTER_OBSERVE, envoy_config.FILTER_ENFORCE)
    for upstream in upstreams:
        domains = ["*"]
        if upstream.listen is None and hosts_of(upstream):
            # With and without a port: the client's Host header may or may not have one.
            domains = [
                d
                for host in hosts_of(upstream)
                for d in ((host,) if ":" in host or host.startswith("*") else (host, f"{host}:*"))
            ]
        hosts.append(
            {
                "name": upstream.name,
                "domains": domains,
                "routes": [
                    *(native.routes(upstream.native, filters) if proxy.native_offload else ()),
                    {"match": {"prefix": "/"}, "route": {"cluster": upstream.name, "timeout": "0s"}},
                ],
                "typed_per_filter_config": _treatment(proxy, upstream),
            }
        )
    return [{"name": name, "virtual_hosts": hosts}]


def _cluster(proxy: Proxy, upstream: Upstream) -> dict[str, Any]:
    target = target_of(upstream)
    try:
        ipaddress.ip_address(target.host)
        kind = "STATIC"
    except ValueError:
        # `localhost` is one service at 127.0.0.1 or ::1: try both in turn. Of other names every address is an instance.
        kind = "LOGICAL_DNS" if target.host == "localhost" else "STRICT_DNS"
    most = 1_000_000  # the service's own limits are what counts
    cluster: dict[str, Any] = {
        "name": upstream.name,
        "type": kind,
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": upstream.name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(target.host, target.port)}}]}],
        },
        "circuit_breakers": {"thresholds": [{"max_connections": most, "max_pending_requests": most, "max_requests": most}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _CORE + "extensions.upstreams.http.v3.HttpProtocolOptions",
                # Below the keep-alive time of common servers (5 s), so that they do not close a connection as we use it.
                "common_http_protocol_options": {"idle_timeout": "4s", "max_headers_count": 1000},
                **_upstream_protocol(target),
            }
        },
    }
    if kind != "STATIC":
        cluster["dns_lookup_family"] = "ALL" if kind == "LOGICAL_DNS" else "V4_PREFERRED"
    if target.tls:
        cluster["transport_socket"] = _upstream_tls(proxy, upstream, target)
    return cluster


def _upstream_protocol(target: Target) -> dict[str, Any]:
    if target.http2:
        return {"explicit_http_config": {"http2_protocol_options": {"allow_connect": True}}}
    if target.http2 is None and target.tls:
        return {"auto_config": {"http_protocol_options": {}, "http2_protocol_options": {"allow_connect": True}}}
    return {"explicit_http_config": {"http_protocol_options": {}}}


def _file(path: object) -> dict[str, str]:
    return {"filename": str(path)}


def _downstream_tls(proxy: Proxy) -> dict[str, Any]:
    tls = proxy.tls
    assert tls is not None
    common: dict[str, Any] = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificates": [{"certificate_chain": _file(tls.certificate), "private_key": _file(tls.key)}],
    }
    if tls.client_ca is not None:
        common["validation_context"] = {"trusted_ca": _file(tls.client_ca)}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _CORE + "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": common,
            "require_client_certificate": tls.require_client,
        },
    }


def _upstream_tls(proxy: Proxy, upstream: Upstream, target: Target) -> dict[str, Any]:
    name = upstream.server_name or target.host
    try:
        ipaddress.ip_address(name)
        kind = "IP_ADDRESS"
    except ValueError:
        kind = "DNS"
    common: dict[str, Any] = {
        "validation_context": {
            "trusted_ca": _file(upstream.ca or proxy.system_ca),
            "match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": name}}],
        },
    }
    if target.http2:
        common["alpn_protocols"] = ["h2"]
    if upstream.client_certificate is not None:
        pair = {"certificate_chain": _file(upstream.client_certificate), "private_key": _file(upstream.client_key)}
        common["tls_certificates"] = [pair]
    context: dict[str, Any] = {
        "@type": _CORE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": common,
    }
    if kind == "DNS":
        context["sni"] = name
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _local_replies(proxy: Proxy) -> list[dict[str, Any]]:
    """Answers of Envoy's own get a problem document (RFC 9457) with the event id. The first mapper that fits is taken."""
    ours = {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": {
                "@type": _CORE + "extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                "expression": "response.code_details.contains('eastwall_')",
            },
        }
    }
    grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    mappers: list[dict[str, Any]] = [
        {"filter": ours},  # our own answers are complete as they are
        *([native.reply()] if proxy.native_offload else ()),
        {"filter": {"header_filter": {"header": grpc}}},  # gRPC has its own form of error
    ]
    for flags, status, slug, title, detail in _FAULTS:
        problem = _problem(proxy, slug, title, status, detail)
        mappers.append({"filter": {"response_flag_filter": {"flags": list(flags)}}, "status_code": status, **problem})
    for status, slug, title, detail in _STATUSES:
        equal = {"comparison": {"op": "EQ", "value": {"default_value": status, "runtime_key": "eastwall.unused"}}}
        mappers.append({"filter": {"status_code_filter": equal}, **_problem(proxy, slug, title, status, detail)})
    return mappers


def _problem(proxy: Proxy, slug: str, title: str, status: int, detail: str) -> dict[str, Any]:
    body = {
        "type": proxy.problem_base + slug,
        "title": title,
        "status": status,
        "detail": detail,
        "event_id": "%DYNAMIC_METADATA(eastwall:event_id)%",
    }
    return {"body_format_override": {"json_format": body, "omit_empty_values": True, "content_type": "application/problem+json"}}
