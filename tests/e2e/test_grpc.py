"""gRPC through the whole inline path: a real server and client, real Envoy, both adapters, the real engine; its records tell what passed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.e2e.harness import eventually, free_port

from eastwall.dataplanes.envoy.process import EnvoyProcess
from eastwall.dataplanes.envoy.proxy import Proxy, Upstream
from eastwall.discovery.shapes import ABSENT
from eastwall.model.call import Mode
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import SNAPSHOT_FORMAT, ServiceScope, Snapshot
from eastwall.policy import encode, parse_files
from eastwall.protocols.grpc import Method, methods_of
from eastwall.runtime.engine import Engine
from eastwall.sources.proto_files import compile_proto
from eastwall.stores.snapshots import FileSnapshotStore

pytestmark = pytest.mark.e2e

SERVICE = "shop.v1.Orders"
INJECTION = "x' UNION SELECT username, password FROM users --"


@pytest.fixture(scope="module")
def descriptors() -> bytes:
    return compile_proto((Path(__file__).parent / "protos/shop.proto").read_bytes(), "shop.proto")


@pytest.fixture(scope="module")
def methods(descriptors: bytes) -> dict[str, Method]:
    return methods_of(descriptors)


def _order(methods: dict[str, Method], order_id: str) -> Any:
    order = methods[f"{SERVICE}/Get"].response(order_id=order_id, state=1, email="bob@example.com", total=12.5, counts={"a": 3})
    order.items.add(sku="a-1", quantity=2)
    return order


@pytest.fixture(scope="module")
def server(methods: dict[str, Method]) -> Iterator[int]:
    def get(request: Any, context: grpc.ServicerContext) -> Any:
        if request.order_id == "none":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such order")
        return _order(methods, request.order_id)

    def talk(requests: Any, _: grpc.ServicerContext) -> Any:
        for note in requests:
            yield type(note)(text=f"re:{note.text}", number=note.number)

    handlers = {}
    for name, make in (
        ("Get", lambda m: grpc.unary_unary_rpc_method_handler(get, m.request.FromString, m.response.SerializeToString)),
        (
            "Create",
            lambda m: grpc.unary_unary_rpc_method_handler(lambda r, _: r, m.request.FromString, m.response.SerializeToString),
        ),
        ("Talk", lambda m: grpc.stream_stream_rpc_method_handler(talk, m.request.FromString, m.response.SerializeToString)),
    ):
        handlers[name] = make(methods[f"{SERVICE}/{name}"])
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(0).wait()


class Records:
    """A `RecordWriter` that keeps the records at hand."""

    def __init__(self) -> None:
        self.kept: list[CallRecord] = []

    def append(self, record: CallRecord) -> None:
        self.kept.append(record)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing to close."""


class Plane:
    def __init__(self, directory: Path, adapter: str, port: int) -> None:
        directory.mkdir()
        self.adapter = adapter
        self.records = Records()
        self.scopes = (ServiceScope("watched", mode=Mode.MONITOR), ServiceScope("held", mode=Mode.ENFORCE))
        self.store = FileSnapshotStore(directory / "snapshot")
        self.version = 0
        self.publish()
        self.engine = Engine("0", FileSnapshotStore(directory / "snapshot"), self.records)
        self.ports = {scope.name: free_port() for scope in self.scopes}
        socket = str(directory / "e.sock")
        upstreams = tuple(
            Upstream(scope.name, f"grpc://127.0.0.1:{port}", scope, ("127.0.0.1", self.ports[scope.name]))
            for scope in self.scopes
        )
        self._stop = threading.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(socket, ready), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        self.envoy = EnvoyProcess(
            Proxy(upstreams=upstreams, run_dir=directory / "run", engine_sockets=(socket,), adapter=adapter)  # type: ignore[arg-type]
        )
        self.envoy.start()

    def _serve(self, socket: str, ready: threading.Event) -> None:
        if self.adapter == "shim":
            from eastwall.dataplanes.envoy.server import serve

            serve(socket, self.engine, self._stop, ready.set)
        else:
            from eastwall.dataplanes.extproc.server import serve as serve_extproc

            serve_extproc(f"unix:{socket}", self.engine, self._stop, ready.set)

    def publish(self, descriptors: bytes = b"", policy: str = "") -> None:
        self.version += 1
        policies, faults = parse_files({"p.yaml": policy} if policy else {})
        assert not faults
        pairs = (("watched", descriptors), ("held", descriptors)) if descriptors else ()
        self.store.publish(
            Snapshot(
                SNAPSHOT_FORMAT, self.version, time.time(), b"k" * 32, self.scopes, descriptors=pairs, policy=encode(policies)
            )
        )
        if self.version > 1:
            eventually(lambda: self.engine.snapshot.version == self.version, what="the new snapshot")

    def channel(self, service: str) -> grpc.Channel:
        return grpc.insecure_channel(f"127.0.0.1:{self.ports[service]}")

    def record(self, agent: str) -> CallRecord:
        """The one record of the call made with this primary user agent."""
        found = eventually(lambda: [r for r in self.records.kept if r.user_agent.startswith(agent + " ")], what=f"record {agent}")
        assert len(found) == 1
        return found[0]

    def stop(self) -> None:
        self.envoy.stop(0.0)
        self._stop.set()
        self._thread.join(10)


@pytest.fixture(scope="module")
def plane(short_dir: Path, adapter: str, server: int) -> Iterator[Plane]:
    plane = Plane(short_dir / adapter, adapter, server)
    yield plane
    plane.stop()


def call(plane: Plane, service: str, methods: dict[str, Method], name: str, message: Any, agent: str) -> Any:
    method = methods[f"{SERVICE}/{name}"]
    with grpc.insecure_channel(
        f"127.0.0.1:{plane.ports[service]}", options=(("grpc.primary_user_agent", agent), ("grpc.enable_http_proxy", 0))
    ) as channel:
        ask = channel.unary_unary(f"/{SERVICE}/{name}", method.request.SerializeToString, method.response.FromString)
        return ask(message, timeout=10)


def places(fields: Any) -> dict[str, str]:
    return {field.place: field.kind for field in fields if field.kind != ABSENT}


@pytest.mark.parametrize("service", ["watched", "held"])
def test_a_call_is_named_and_its_messages_have_shapes_by_field_numbers(
    plane: Plane, methods: dict[str, Method], service: str
) -> None:
    plane.publish()
    agent = f"numbers-{service}"
    answer = call(plane, service, methods, "Get", methods[f"{SERVICE}/Get"].request(order_id="o-17"), agent)
    assert answer.email == "bob@example.com"
    record = plane.record(agent)
    assert (record.protocol, record.operation, record.status) == ("grpc", f"{SERVICE}/Get", 200)
    assert record.traits == ("field-numbers",)
    assert places(record.request_fields) == {"$": "object", "#1": "string"}
    found = places(record.response_fields)
    assert found["#3.#1"] == "string"
    assert (found["#1"], found["#2"], found["#7"]) == ("string", "integer", "number")
    assert {(hit.data_class, hit.place, hit.direction) for hit in record.data if hit.data_class == "email"} == {
        ("email", "#6", "response")
    }


@pytest.mark.parametrize("service", ["watched", "held"])
def test_with_descriptors_fields_have_their_names(
    plane: Plane, methods: dict[str, Method], descriptors: bytes, service: str
) -> None:
    plane.publish(descriptors)
    agent = f"names-{service}"
    held = service == "held"
    with pytest.raises(grpc.RpcError) if held else contextlib.nullcontext() as caught:
        call(plane, service, methods, "Create", _order(methods, INJECTION), agent)
    record = plane.record(agent)
    assert (record.operation, record.traits) == (f"{SERVICE}/Create", ())
    assert (record.request_events, record.response_events) == ((1, 0) if held else (1, 1))
    assert record.uninspected == ()
    for fields in (record.request_fields,) if held else (record.request_fields, record.response_fields):
        found = places(fields)
        assert found["order_id"] == "string"
        assert found["items[].quantity"] == "integer"
        assert found["state"] == "string"
        assert found["counts.a"] == "integer"
    assert ("sql-injection", "body.order_id") in {(finding.id, finding.where) for finding in record.findings}
    assert len(record.findings) == len(set(record.findings))
    assert (record.action, record.would) == (("block", "block") if held else ("allow", "block"))
    if held:
        assert caught is not None
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


MASKED = """
apiVersion: eastwall.dev/v1alpha1
kind: DataPolicy
metadata: {name: no-mail}
spec: {classes: [email], action: mask, direction: response}
"""


@pytest.mark.parametrize("service", ["watched", "held"])
@pytest.mark.parametrize("known", [False, True], ids=["by-field-numbers", "by-descriptors"])
def test_values_of_a_message_are_redacted_and_no_other_byte(
    plane: Plane, methods: dict[str, Method], descriptors: bytes, service: str, known: bool
) -> None:
    plane.publish(descriptors if known else b"", MASKED)
    agent = f"masked-{service}-{known}"
    answer = call(plane, service, methods, "Get", methods[f"{SERVICE}/Get"].request(order_id="o-17"), agent)
    expected = _order(methods, "o-17")
    if service == "held":
        assert answer.email.startswith("b")
        assert "ob@" not in answer.email
        assert answer.email.endswith("@example.com")
        expected.email = answer.email
    assert answer == expected
    record = plane.record(agent)
    assert record.would == "redact"
    assert record.action == ("redact" if service == "held" else "allow")
    assert record.uninspected == ()


@pytest.mark.parametrize("service", ["watched", "held"])
def test_failures_are_faults(plane: Plane, methods: dict[str, Method], service: str) -> None:
    agent = f"fault-{service}"
    with pytest.raises(grpc.RpcError) as caught:
        call(plane, service, methods, "Get", methods[f"{SERVICE}/Get"].request(order_id="none"), agent)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    record = plane.record(agent)
    assert {"fault", "grpc-status-5"} <= set(record.traits)


@pytest.mark.parametrize("service", ["watched", "held"])
def test_a_conversation_is_not_held_up(plane: Plane, methods: dict[str, Method], descriptors: bytes, service: str) -> None:
    plane.publish(descriptors)
    agent = f"talk-{service}"
    method = methods[f"{SERVICE}/Talk"]
    heard: list[Any] = []
    said = threading.Semaphore(1)

    def notes() -> Iterator[Any]:
        for number in range(20):  # each waits for the answer to the one before
            assert said.acquire(timeout=10)
            yield method.request(text=f"note {number}", number=number)

    with grpc.insecure_channel(
        f"127.0.0.1:{plane.ports[service]}", options=(("grpc.primary_user_agent", agent), ("grpc.enable_http_proxy", 0))
    ) as channel:
        ask = channel.stream_stream(f"/{SERVICE}/Talk", method.request.SerializeToString, method.response.FromString)
        for note in ask(notes(), timeout=20):
            heard.append(note)
            said.release()
    assert [note.text for note in heard] == [f"re:note {number}" for number in range(20)]
    record = plane.record(agent)
    assert (record.protocol, record.operation) == ("grpc", f"{SERVICE}/Talk")
    assert {"client-stream", "server-stream"} <= set(record.traits)
    assert places(record.request_fields) == {"$": "array", "[]": "object", "[].text": "string", "[].number": "integer"}
    assert "[].text" in places(record.response_fields)
