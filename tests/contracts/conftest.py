"""What the data-plane contract suite runs on: certificates, a service, an engine that records, Envoy. All real, all on loopback."""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.contracts.rig import HERE, SHARED_LIMIT, SPIFFE, Plane, free_port, make_certificate, running, scope

from eastwall.dataplanes.envoy.process import shim_library
from eastwall.dataplanes.envoy.proxy import Tls
from eastwall.model.call import Mode
from eastwall.model.snapshot import ServiceScope


@pytest.fixture(scope="session")
def short_dir() -> Iterator[Path]:
    """A directory with a short path: Unix socket paths are limited to 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="ew"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def certificates(short_dir: Path) -> Path:
    """A directory with ca, stranger-ca, server (localhost), client (SPIFFE) and stranger (of the other CA): NAME.pem, NAME.key."""
    directory = short_dir / "pki"
    directory.mkdir()
    ca = make_certificate(directory, "ca", [], None)
    other = make_certificate(directory, "stranger-ca", [], None)
    local = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    make_certificate(directory, "server", list(local), ca)
    make_certificate(directory, "client", [x509.UniformResourceIdentifier(SPIFFE), x509.DNSName("front.shop")], ca)
    make_certificate(directory, "stranger", [x509.UniformResourceIdentifier(SPIFFE)], other)
    return directory


# --- the service ---


@pytest.fixture(scope="session")
def service(certificates: Path) -> Iterator[dict[str, int]]:
    """Ports of tests/contracts/upstream.py: http, https, websocket, grpc."""
    command = [sys.executable, str(HERE / "upstream.py"), str(certificates / "server.pem"), str(certificates / "server.key")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    yield json.loads(process.stdout.readline())
    process.stdin.close()
    process.terminate()
    process.wait()


@pytest.fixture(scope="session", params=["shim", "extproc"])
def adapter(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if (only := os.environ.get("EASTWALL_TEST_ADAPTER")) and only != name:
        pytest.skip(f"EASTWALL_TEST_ADAPTER={only}")
    if name == "shim" and shim_library() is None:
        if os.environ.get("EASTWALL_REQUIRE_SHIM") == "1":
            pytest.fail("the shim is not built")
        pytest.skip("the shim is not built here (no C compiler)")
    if name == "extproc" and importlib.util.find_spec("eastwall.dataplanes.extproc.server") is None:
        pytest.skip("there is no ext_proc adapter yet")
    return name


@pytest.fixture(scope="session")
def plane(adapter: str, short_dir: Path, service: dict[str, int]) -> Iterator[Plane]:
    """One Envoy for all tests that break nothing."""
    http = f"http://127.0.0.1:{service['http']}"
    limit = {"max_body": SHARED_LIMIT}
    upstreams: list[tuple[ServiceScope, str, dict[str, Any]]] = [
        (scope("enforce", **limit), http, {}),
        (scope("monitor", Mode.MONITOR, **limit), http, {}),
        (scope("discover", Mode.DISCOVER, **limit), http, {}),
        (scope("closed", fail="closed", **limit), http, {}),
        (scope("block", over_limit="block", **limit), http, {}),
        (scope("dead", **limit), f"http://127.0.0.1:{free_port()}", {}),
        (scope("websocket", **limit), f"http://127.0.0.1:{service['websocket']}", {}),
        (scope("grpc", **limit), f"http://127.0.0.1:{service['grpc']}", {"http2": True}),
        (scope("watched-grpc", Mode.MONITOR, **limit), f"http://127.0.0.1:{service['grpc']}", {"http2": True}),
    ]
    with running(adapter, short_dir / adapter, upstreams, hold_ms=600) as plane:
        yield plane


@pytest.fixture(scope="session")
def server_tls(certificates: Path) -> Tls:
    return Tls(certificates / "server.pem", certificates / "server.key", client_ca=certificates / "ca.pem")
