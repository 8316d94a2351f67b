"""`eastwall import`, and the receivers of `eastwall up`, with what real recorders and senders give."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.contracts import source_writers as writers
from tests.e2e.harness import Running, Upstream, eventually, free_port, run_cli

from eastwall.dataplanes.envoy.process import envoy_binary

pytestmark = pytest.mark.e2e
GOLDEN = Path(__file__).parents[1] / "golden" / "sources"
SHOP = {
    ("GET", "/orders/{order_id}"),
    ("POST", "/orders"),
    ("DELETE", "/orders/{order_id}"),
    ("GET", "/users/{email}/orders"),
}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.shutdown()


def imported(*arguments: str, code: int = 0, stdin: bytes | None = None) -> dict[str, Any]:
    done = run_cli("import", "--json", *arguments, stdin=stdin)
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def apis(data: Path) -> list[dict[str, Any]]:
    done = run_cli("apis", "--json", "--data", str(data))
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_recordings_become_a_blueprint_without_anything_running(tmp_path: Path) -> None:
    data = tmp_path / "data"
    spec = tmp_path / "shop.yaml"
    spec.write_text(
        "openapi: 3.1.0\ninfo: {title: shop, version: '1'}\npaths:\n  /ghost:\n    get: {responses: {'200': {description: ok}}}\n"
    )
    files = [str(GOLDEN / name) for name in ("shop.mitm", "shop.pcap", "nginx-json.log", "otlp.jsonl")]
    told = imported(*files, str(spec), "--service", "shop", "--data", str(data))
    assert told["calls"] == 25
    assert told["services"] == {"shop": 25}
    assert told["sources"] == {"mitmproxy": 5, "pcap": 5, "access-log": 5, "otlp": 10}
    assert {reason: s["count"] for reason, s in told["skipped"].items()} == {"no-request": 2}
    assert 1_795_356_000 < told["from"] < told["to"] < 1_795_359_600
    assert "openapi, 1 operations of shop" in told["declared"][0]
    found = apis(data)
    # The spans say `http.route`: the service's own name of the parameter goes before one that was made up.
    wanted = {(method, template.replace("{order_id}", "{oid}")) for method, template in SHOP}
    assert {(a["method"], a["template"].replace("{order_id}", "{oid}")) for a in found} >= wanted | {("GET", "/ghost")}
    order = next(a for a in found if (a["method"], a["template"]) == ("GET", "/orders/{oid}"))
    assert order["calls"] == 6
    assert "email" in str(order["data_classes"])
    assert 1_795_356_000 < order["first_seen"] < 1_795_359_600
    again = imported(files[0], "--service", "shop", "--data", str(data))
    assert again["calls"] == 5
    assert next(a for a in apis(data) if a["id"] == order["id"])["calls"] == 7


def test_a_broken_recording_is_used_as_far_as_it_is_whole(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    whole = (GOLDEN / "shop.mitm").read_bytes()
    done = run_cli("import", "--data", data, "-", stdin=whole[: len(whole) * 3 // 4])
    assert done.returncode == 2
    assert "3 calls of 1 services" in done.stdout
    assert done.stderr.startswith("eastwall: standard input: flow 3 at byte ")
    assert done.stderr.count("\n") == 1
    done = run_cli("import", "--data", data, "-", stdin=b"\0" * 5_000)
    assert (done.returncode, done.stderr.count("\n"), "Traceback" in done.stderr) == (2, 1, False)
    done = run_cli("import", str(tmp_path / "missing.har"), "--data", data)
    assert (done.returncode, "No such file" in done.stderr) == (2, True)
    done = run_cli("import", str(GOLDEN / "shop.pcap"), "--format", "har", "--data", data)
    assert (done.returncode, "not HAR" in done.stderr or "not valid JSON" in done.stderr) == (2, True)


ALS = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          access_log:
          - name: als
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
              common_config:
                log_name: x
                transport_api_version: V3
                buffer_flush_interval: 0.1s
                grpc_service:
                  envoy_grpc: {{cluster_name: als}}
                  initial_metadata: [{{key: authorization, value: "Bearer {token}"}}]
              additional_request_headers_to_log: [traceparent, content-type]
          route_config: {{virtual_hosts: [{{name: a, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: up}}}}]}}]}}
          http_filters: [{{name: router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]
  clusters:
  - name: up
    load_assignment: {{cluster_name: up, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]}}
  - name: als
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment: {{cluster_name: als, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {als}}}}}}}}}]}}]}}
"""


def test_receivers_take_traces_and_access_logs(tmp_path: Path, upstream: Upstream) -> None:
    otlp, http, als, envoy = (free_port() for _ in range(4))
    addresses = ["--otlp", f"127.0.0.1:{otlp}", "--otlp-http", f"127.0.0.1:{http}", "--als", f"127.0.0.1:{als}", "--ingest-token"]
    running = Running(tmp_path, "--upstream", f"shop={upstream.url}@{free_port()}", *addresses)
    token = (running.data / "secrets" / "ingest-token").read_text().strip()
    process: subprocess.Popen[bytes] | None = None
    try:
        _send_traces(otlp, http, token)
        config = tmp_path / "envoy.yaml"
        config.write_text(ALS.format(port=envoy, upstream=upstream.server_port, als=als, token=token))
        command = [str(envoy_binary()), "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1", "-l", "error"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with httpx.Client(base_url=f"http://127.0.0.1:{envoy}", headers={"host": "shop.example"}) as client:
            eventually(lambda: client.get("/orders/17").status_code == 200, what="envoy")
            assert client.post("/orders", json={"a": 1}).status_code == 201

        def calls() -> dict[str, int]:
            return {s["name"]: s["calls"] for s in running.status()["services"]}

        eventually(lambda: calls().get("shop.example", 0) >= 2 and calls().get("orders", 0) >= 2, 30, "records of both")
        beat = next(e for e in running.status()["engines"] if e["name"] == "collector")
        assert beat["alive"]
        want = {"unauthenticated": 2, "malformed": 2, "too large": 1}
        state = running.data / "run" / "collector.json"
        eventually(lambda: json.loads(state.read_text())["refused"] == want, what="counters, written once a second")
    finally:
        if process is not None:
            process.kill()
            process.wait()
        assert running.stop() == 0


def _send_traces(otlp: int, http: int, token: str) -> None:
    made = [writers.Made("GET", "/stock/17", 200, "orders", "agent", b"", b"", 0)]
    request: ExportTraceServiceRequest = writers.otlp_request(made)
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.start_time_unix_nano = time.time_ns() - 10**9
    span.end_time_unix_nano = time.time_ns()
    data = request.SerializeToString()
    allowed = (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(f"127.0.0.1:{otlp}") as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        assert export(data, metadata=allowed, timeout=10) == b""
        for metadata, body, code in (
            ((), data, grpc.StatusCode.UNAUTHENTICATED),
            (allowed, b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.RpcError) as error:
                export(body, metadata=metadata, timeout=10)
            assert error.value.code() is code
    with httpx.Client(base_url=f"http://127.0.0.1:{http}") as client:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/x-protobuf"}
        assert client.post("/v1/traces", content=data, headers=headers).status_code == 200
        assert client.post("/v1/traces", content=data, headers=headers | {"authorization": "Bearer x"}).status_code == 401
        assert client.post("/v1/traces", content=b"\xff", headers=headers).status_code == 400
        assert client.post("/v1/traces", content=bytes(17 << 20), headers=headers).status_code == 413


def test_import_into_a_running_eastwall(tmp_path: Path, upstream: Upstream) -> None:
    running = Running(tmp_path, "--upstream", f"shop={upstream.url}@{free_port()}", "--mode", "enforce")
    try:
        done: list[dict[str, Any]] = []
        files = [str(GOLDEN / name) for name in ("shop.mitm", "envoy-json.log")]
        thread = threading.Thread(
            target=lambda: done.append(imported(*files, "--service", "shop", "--data", str(running.data))), daemon=True
        )
        thread.start()
        thread.join(60)
        assert done[0]["calls"] == 10
        assert running.status()["lake"]["calls"] == 10
        found = eventually(lambda: running.api.get("/apis").json(), what="learned")
        assert {(a["method"], a["template"]) for a in found} >= SHOP
        assert running.status()["lake"]["blocked"] == 0
        assert not [p for p in (running.data / "spool").iterdir() if p.name.startswith("import-")]
    finally:
        assert running.stop() == 0
