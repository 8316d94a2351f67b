"""Certificates, engines and Envoys for the data-plane contract suite."""

from __future__ import annotations

import base64
import contextlib
import datetime
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from eastwall.dataplanes.envoy.process import EnvoyProcess, envoy_binary
from eastwall.dataplanes.envoy.proxy import Proxy, Upstream
from eastwall.model.call import Mode
from eastwall.model.snapshot import ServiceScope

HERE = Path(__file__).parent
SPIFFE = "spiffe://shop/ns/web/sa/front"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(probe: Callable[[], Any], seconds: float = 5.0, what: str = "the condition") -> Any:
    """The first true value of `probe`; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come about within {seconds} s")
        time.sleep(0.02)


@functools.cache
def holds_both_ways(adapter: str) -> bool:
    """Whether both messages of a call can be held piece by piece: with the shim not before Envoy 1.39 (docs/dataplane.md, "Limits known")."""
    version = subprocess.run([str(envoy_binary()), "--version"], capture_output=True, text=True, check=True).stdout
    return adapter != "shim" or "/1.38." not in version


# --- certificates ---


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def make_certificate(
    directory: Path, name: str, sans: list[x509.GeneralName], issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Shop"), x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    certificate = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    (directory / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / f"{name}.key").write_bytes(_key_pem(key))
    return certificate, key


# --- the engine ---


class Engine:
    """tests/contracts/recorder.py as a process."""

    def __init__(self, adapter: str, directory: Path, name: str = "engine") -> None:
        self.adapter = adapter
        self.socket = str(directory / f"{name}.sock")
        self.log = directory / f"{name}.jsonl"
        self.errors = directory / f"{name}.err"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Engine:
        with self.errors.open("ab") as errors:
            command = [sys.executable, str(HERE / "recorder.py"), self.adapter, self.socket, str(self.log)]
            self.process = subprocess.Popen(command, stdout=errors, stderr=errors)
        eventually(self._listens, 20.0, "the engine's socket")
        return self

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(self.socket)
            return True
        return False

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def records(self, kind: str = "", **wanted: object) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]
        return [r for r in found if (not kind or r["kind"] == kind) and all(r.get(key) == value for key, value in wanted.items())]

    def record(self, kind: str, **wanted: object) -> dict[str, Any]:
        """The one record of this kind, waited for."""
        found: list[dict[str, Any]] = eventually(lambda: self.records(kind, **wanted), 5.0, f"a record {kind} {wanted}")
        assert len(found) == 1, found
        return found[0]


def body_of(record: dict[str, Any]) -> bytes:
    return base64.b64decode(record["body"])


# --- the data plane ---


@dataclass
class Plane:
    """A running Envoy with its engine."""

    adapter: str
    engine: Engine
    envoy: EnvoyProcess
    ports: dict[str, int]
    engines: list[Engine] = field(default_factory=list)

    def url(self, service: str, path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.ports[service]}{path}"

    def uninspected(self, service: str) -> dict[str, int]:
        return {reason: count for (name, reason), count in self.envoy.uninspected().items() if name == service}


def scope(name: str, mode: Mode = Mode.ENFORCE, **more: Any) -> ServiceScope:
    return ServiceScope(name=name, mode=mode, **more)


def build(
    adapter: str, directory: Path, upstreams: list[tuple[ServiceScope, str, dict[str, Any]]], engines: list[Engine], **more: Any
) -> tuple[Proxy, dict[str, int]]:
    ports = {scope.name: free_port() for scope, _, _ in upstreams}
    listed = tuple(
        Upstream(name=scope.name, url=url, scope=scope, listen=("127.0.0.1", ports[scope.name]), **extra)
        for scope, url, extra in upstreams
    )
    sockets = tuple(engine.socket for engine in engines)
    return Proxy(upstreams=listed, run_dir=directory, engine_sockets=sockets, adapter=adapter, **more), ports  # type: ignore[arg-type]


@contextlib.contextmanager
def running(
    adapter: str, directory: Path, upstreams: list[tuple[ServiceScope, str, dict[str, Any]]], engines: int = 1, **more: Any
) -> Iterator[Plane]:
    directory.mkdir(parents=True, exist_ok=True)
    all_engines = [Engine(adapter, directory, f"engine{number}").start() for number in range(engines)]
    proxy, ports = build(adapter, directory, upstreams, all_engines, **more)
    envoy = EnvoyProcess(proxy)
    try:
        envoy.start()
        yield Plane(adapter, all_engines[0], envoy, ports, all_engines)
        assert envoy.poll() is None, "envoy died: " + (directory / "envoy.log").read_text()
    finally:
        envoy.stop(0.0)
        for engine in all_engines:
            engine.stop()


SHARED_LIMIT = 64 << 10
