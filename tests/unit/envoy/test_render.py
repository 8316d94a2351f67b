"""The rendered Envoy configuration against golden files, and against Envoy itself.

Rewrite the golden files with EASTWALL_OVERRIDE_GOLDEN=1, and read the difference before it is committed.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from eastwall.dataplanes.envoy.process import envoy_binary, shim_library
from eastwall.dataplanes.envoy.proxy import Proxy, Tls, Upstream
from eastwall.dataplanes.envoy.render import render
from eastwall.model.call import Mode
from eastwall.model.snapshot import ServiceScope

GOLDEN = Path(__file__).parents[2] / "golden" / "envoy"
RUN = Path("/run/eastwall")

ORDERS = Upstream("orders", "http://127.0.0.1:8080", ServiceScope("orders", Mode.ENFORCE, "closed"), ("127.0.0.1", 9001))
BILLING = Upstream(
    "billing",
    "https://billing.internal",
    ServiceScope("billing", Mode.MONITOR, hosts=("billing.shop", "*.billing.shop"), max_body=65536, over_limit="block"),
    ca=Path("/etc/shop/ca.pem"),
    client_certificate=Path("/etc/shop/me.pem"),
    client_key=Path("/etc/shop/me.key"),
)
RPC = Upstream("rpc", "http://localhost:50051", ServiceScope("rpc"), hosts=("rpc.shop:8443",), http2=True)
MTLS = Tls(Path("/etc/shop/server.pem"), Path("/etc/shop/server.key"), Path("/etc/shop/ca.pem"), require_client=True)

PROXIES: dict[str, Proxy] = {
    "one": Proxy(upstreams=(ORDERS,), run_dir=RUN, engine_sockets=("/run/eastwall/e0.sock",)),
    "mesh": Proxy(
        upstreams=(ORDERS, BILLING, RPC),
        run_dir=RUN,
        engine_sockets=("/run/eastwall/e0.sock", "/run/eastwall/e1.sock"),
        listen=("0.0.0.0", 8443),
        tls=MTLS,
    ),
    "extproc": Proxy(
        upstreams=(ORDERS, BILLING),
        run_dir=RUN,
        engine_sockets=("/run/eastwall/e0.sock",),
        listen=("0.0.0.0", 8443),
        adapter="extproc",
    ),
}


@pytest.mark.parametrize("name", PROXIES)
def test_golden(name: str) -> None:
    files = render(PROXIES[name])
    directory = GOLDEN / name
    if os.environ.get("EASTWALL_OVERRIDE_GOLDEN") == "1":
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.iterdir():
            old.unlink()
        for file, content in files.items():
            (directory / file).write_bytes(content)
    assert {path.name for path in directory.iterdir()} == files.keys()
    for file, content in files.items():
        assert content.decode() == (directory / file).read_text(), f"{name}/{file}; EASTWALL_OVERRIDE_GOLDEN=1 rewrites it"


def changed(proxy: Proxy, **fields: Any) -> Proxy:
    return Proxy(**{**{name: getattr(proxy, name) for name in proxy.__struct_fields__}, **fields})


@pytest.mark.parametrize("adapter", ["shim", "extproc"])
def test_a_change_of_mode_touches_the_routes_only(adapter: str) -> None:
    before = changed(PROXIES["one"], adapter=adapter)
    scope = ServiceScope("orders", Mode.DISCOVER, "open", over_limit="block")
    after = changed(before, upstreams=(Upstream("orders", ORDERS.url, scope, ORDERS.listen),))
    old, new = render(before), render(after)
    assert {name for name in old if old[name] != new[name]} == {"routes-own-orders.json"}


def test_rendering_is_repeatable() -> None:
    assert render(PROXIES["mesh"]) == render(PROXIES["mesh"])


def test_versions_follow_the_content() -> None:
    def versions(proxy: Proxy) -> dict[str, str]:
        return {name: json.loads(content)["version_info"] for name, content in render(proxy).items() if name != "bootstrap.json"}

    before, after = versions(PROXIES["mesh"]), versions(changed(PROXIES["mesh"], hold_ms=1))
    assert len(set(before.values())) == len(before)
    assert {name for name in before if before[name] != after[name]} == {"lds.json"}


@pytest.mark.parametrize("name", PROXIES)
def test_envoy_accepts_it(name: str) -> None:
    """Envoy checks the bootstrap in validation mode, and everything else when it is put into one static bootstrap."""
    if PROXIES[name].adapter == "shim" and shim_library() is None:
        pytest.skip("the shim is not built here (no C compiler)")
    files = {file: json.loads(content) for file, content in render(PROXIES[name]).items()}
    bootstrap = files["bootstrap.json"]
    bootstrap["dynamic_resources"] = {}
    listeners = [_without_type(resource) for resource in files["lds.json"]["resources"]]
    for listener in listeners:
        for chain in listener["filter_chains"]:
            manager = chain["filters"][0]["typed_config"]
            routes = files[f"routes-{manager.pop('rds')['route_config_name']}.json"]["resources"][0]
            manager["route_config"] = _without_type(routes)
            chain.pop("transport_socket", None)  # its files are not there
    clusters = [_without_type(resource) for resource in files["cds.json"]["resources"]]
    for cluster in clusters:
        if "transport_socket" in cluster:
            cluster["transport_socket"]["typed_config"]["common_tls_context"] = {}
    bootstrap["static_resources"] = {"listeners": listeners, "clusters": clusters}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(bootstrap, file)
        file.flush()
        library = shim_library()
        done = subprocess.run(
            [str(envoy_binary()), "-c", file.name, "--mode", "validate", "--log-level", "warning"],
            env={"ENVOY_DYNAMIC_MODULES_SEARCH_PATH": str(library.parent) if library else ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "Deprecated" not in done.stderr, done.stderr


def _without_type(resource: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key != "@type"}
