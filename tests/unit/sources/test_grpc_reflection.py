"""Descriptors from real servers: grpcio's reflection service, one of version 1, and ones that refuse or lie."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from tests.contracts.rig import make_certificate

from eastwall.learning.proto import declared_proto
from eastwall.protocols.grpc import methods_of, pool_of
from eastwall.sources.grpc_reflection import ReflectionError, fetch
from eastwall.sources.proto_files import compile_proto

SERVICE = "shop.v1.Orders"
ALPHA, V1 = "grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection"


@pytest.fixture(scope="module")
def shop() -> bytes:
    return compile_proto((Path(__file__).parents[2] / "e2e/protos/shop.proto").read_bytes(), "shop.proto")


@contextlib.contextmanager
def serving(*handlers: grpc.GenericRpcHandler, also: Any = None) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers(handlers)
    if also is not None:
        also(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def answering(answer: Any, name: str = ALPHA) -> grpc.GenericRpcHandler:
    """A reflection service that says what `answer` gives for each question."""

    def talk(requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for request in requests:
            yield from answer(request)

    method = grpc.stream_stream_rpc_method_handler(
        talk, ServerReflectionRequest.FromString, ServerReflectionResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method})


def real(pool: Any, names: tuple[str, ...]) -> Any:
    """What grpcio's own reflection service says, as `answer`."""
    servicer = reflection.ReflectionServicer(service_names=names, pool=pool)
    return lambda request: servicer.ServerReflectionInfo(iter([request]), None)


def test_grpcios_own_reflection(shop: bytes) -> None:
    pool, _ = pool_of(shop)
    with serving(
        also=lambda server: reflection.enable_server_reflection((SERVICE, reflection.SERVICE_NAME), server, pool=pool)
    ) as target:
        got = fetch(target)
    files = {file.name for file in FileDescriptorSet.FromString(got).file}
    assert files == {"shop.proto", "google/protobuf/timestamp.proto"}
    assert set(methods_of(got)) == {f"{SERVICE}/{name}" for name in ("Get", "Create", "Talk")}
    assert declared_proto(got, target, "orders")[0] == declared_proto(shop, "shop.pb", "orders")[0]


def test_a_server_that_has_version_1_only(shop: bytes) -> None:
    with serving(answering(real(pool_of(shop)[0], (SERVICE, V1)), V1)) as target:
        assert f"{SERVICE}/Get" in methods_of(fetch(target))


def test_a_file_that_does_not_come_along_is_asked_for(shop: bytes) -> None:
    asked: list[str] = []
    talk = real(pool_of(shop)[0], (SERVICE,))

    def alone(request: Any) -> Iterator[Any]:
        asked.append(request.WhichOneof("message_request"))
        for answer in talk(request):
            if answer.HasField("file_descriptor_response"):
                del answer.file_descriptor_response.file_descriptor_proto[1:]  # a server may give the one file alone
            yield answer

    with serving(answering(alone)) as target:
        got = fetch(target)
    assert asked == ["list_services", "file_containing_symbol", "file_by_filename"]
    assert f"{SERVICE}/Get" in methods_of(got)


def test_a_service_without_descriptor_does_not_hide_the_others(shop: bytes) -> None:
    with serving(answering(real(pool_of(shop)[0], (SERVICE, "shop.v1.Unknown")))) as target:
        assert f"{SERVICE}/Get" in methods_of(fetch(target))


def listing(*names: str) -> ServerReflectionResponse:
    answer = ServerReflectionResponse()
    answer.list_services_response.SetInParent()
    for name in names:
        answer.list_services_response.service.add(name=name)
    return answer


def lying(request: Any) -> Iterator[Any]:
    if request.WhichOneof("message_request") == "list_services":
        yield listing("a.B\x1b[31m`")
        return
    answer = ServerReflectionResponse()
    answer.file_descriptor_response.file_descriptor_proto.append(b"\xff\xff")
    yield answer


def needy(request: Any) -> Iterator[Any]:
    if request.WhichOneof("message_request") == "list_services":
        yield listing("a.B")
        return
    answer = ServerReflectionResponse()
    answer.file_descriptor_response.file_descriptor_proto.append(b"\x0a\x01a\x1a\x07x.proto")
    yield answer


def ignorant(request: Any) -> Iterator[Any]:
    if request.WhichOneof("message_request") == "list_services":
        yield listing("a.B")
        return
    answer = ServerReflectionResponse()
    answer.error_response.error_message = "no such\nthing"
    yield answer


def endless(request: Any) -> Iterator[Any]:
    while True:
        yield listing("a.B")


def silent(request: Any) -> Iterator[Any]:
    time.sleep(1.0)
    yield from ()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: iter([listing()]), "names no service beside reflection itself"),
        (lambda _: iter([listing("grpc.reflection.v1.ServerReflection")]), "names no service beside reflection itself"),
        (lambda _: iter(()), "gave 0 answers to 1 questions"),
        (lying, "gave no descriptor for service `a.B?[31m?`"),
        (needy, "does not give file `x.proto`"),
        (ignorant, "knows no service `a.B`: no such?thing"),
        (endless, "gave 2 answers to 1 questions"),
        (silent, "did not answer in time"),
    ],
)
def test_answers_that_are_none(answer: Any, reason: str) -> None:
    with serving(answering(answer, V1)) as target, pytest.raises(ReflectionError) as caught:
        fetch(target, timeout=0.5)
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()


def test_tls_is_verified(shop: bytes, tmp_path: Path) -> None:
    for name, issuer in (("ca", None), ("stranger", None)):
        made = make_certificate(tmp_path, name, [], issuer)
        if name == "ca":
            make_certificate(tmp_path, "server", [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))], made)
    credentials = grpc.ssl_server_credentials([((tmp_path / "server.key").read_bytes(), (tmp_path / "server.pem").read_bytes())])
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((answering(real(pool_of(shop)[0], (SERVICE,))),))
    target = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    server.start()
    try:
        assert f"{SERVICE}/Get" in methods_of(fetch(target, tls=True, ca=(tmp_path / "ca.pem").read_bytes()))
        for options in ({"tls": True, "ca": (tmp_path / "stranger.pem").read_bytes()}, {"tls": False}):
            with pytest.raises(ReflectionError, match="cannot be reached"):
                fetch(target, timeout=3, **options)  # type: ignore[arg-type]
    finally:
        server.stop(0).wait()


def test_no_reflection_and_no_server() -> None:
    with serving() as target, pytest.raises(ReflectionError, match="has no server reflection; switch it on there, or give"):
        fetch(target)
    with pytest.raises(ReflectionError, match=r"`127\.0\.0\.1:\d+` cannot be reached .* without TLS\?"):
        fetch(target, timeout=2)


def test_what_is_no_grpc_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ReflectionError) as caught:
            fetch(target, timeout=0.5)
    assert "\n" not in str(caught.value)
    assert target in str(caught.value)


def test_the_default_pool_is_left_alone(shop: bytes) -> None:
    methods_of(shop)
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindFileByName("shop.proto")
