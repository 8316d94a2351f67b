"""Asks a gRPC server for its descriptors (grpc.reflection.v1, else v1alpha; github.com/grpc/grpc doc/server-reflection.md)."""

from __future__ import annotations

import logging
import time
from itertools import islice
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

log = logging.getLogger(__name__)

VERSIONS = ("grpc.reflection.v1", "grpc.reflection.v1alpha")
MAX_FILES = 5000
MAX_BYTES = 32 << 20
"""Of all descriptors."""
_TOLD = ("grpc.reflection.",)
"""Services that only serve this question."""


class ReflectionError(Exception):
    """The descriptors cannot be had; the message says why, in one line."""


def fetch(target: str, *, tls: bool = False, timeout: float = 10, ca: bytes | None = None) -> bytes:
    """A serialized FileDescriptorSet of all services of the server at `target` (`host:port`), with what they import.

    `timeout`: seconds for all of it. `tls`: the server's certificate is verified by the CAs in `ca` (PEM), else by those that this
    system trusts. Raises ReflectionError.
    """
    options = (("grpc.max_receive_message_length", MAX_BYTES), ("grpc.enable_http_proxy", 0))
    channel = (
        grpc.secure_channel(target, grpc.ssl_channel_credentials(ca), options=options)
        if tls
        else grpc.insecure_channel(target, options=options)
    )
    until = time.monotonic() + timeout
    with channel:
        for version in VERSIONS:
            try:
                return _gather(channel, version, until)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED and version != VERSIONS[-1]:
                    continue
                raise ReflectionError(_reason(target, error, tls=tls)) from None
    raise AssertionError("unreachable")


def _reason(target: str, error: Any, *, tls: bool) -> str:
    code = error.code()
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return (
            f"`{target}` has no server reflection; switch it on there, or give a descriptor set (`protoc --descriptor_set_out`)"
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"`{target}` did not answer in time"
    detail = "".join(c if c.isprintable() else " " for c in str(error.details() or ""))[:200]
    if code is grpc.StatusCode.UNAVAILABLE:
        advice = "is it a gRPC server with TLS that this system trusts?" if tls else "is it a gRPC server, and without TLS?"
        return f"`{target}` cannot be reached ({detail}); {advice}"
    return f"`{target}` refused server reflection: {code.name.lower().replace('_', ' ')} ({detail})"


def _ask(channel: grpc.Channel, version: str, questions: list[Any], until: float) -> list[Any]:
    """The answers to the questions, in order: a server answers each once."""
    stream = channel.stream_stream(
        f"/{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=_REQUEST.SerializeToString,
        response_deserializer=_RESPONSE.FromString,
    )(iter(questions), timeout=max(0.001, until - time.monotonic()))
    answers = list(islice(stream, len(questions) + 1))
    if len(answers) != len(questions):
        stream.cancel()
        raise ReflectionError(f"server reflection gave {len(answers)} answers to {len(questions)} questions")
    return answers


def _gather(channel: grpc.Channel, version: str, until: float) -> bytes:
    """Rounds of questions: the services, their files, what those import and the server did not give along."""
    (listed,) = _ask(channel, version, [_REQUEST(list_services="*")], until)
    names = [service.name for service in listed.list_services_response.service if not service.name.startswith(_TOLD)]
    if listed.HasField("error_response"):
        raise ReflectionError(f"server reflection: {_clean(listed.error_response.error_message)}")
    if not names:
        raise ReflectionError("the server names no service beside reflection itself")
    files: dict[str, bytes] = {}
    wanted: set[str] = set()
    size, missed = 0, ""
    questions = [_REQUEST(file_containing_symbol=name) for name in names[:MAX_FILES]]
    about = [f"service `{_clean(name)}`" for name in names[:MAX_FILES]]
    while questions:
        for answer, what in zip(_ask(channel, version, questions, until), about, strict=True):
            if answer.HasField("error_response"):
                # A server may list a service whose descriptor it was not built with; the others are still worth having.
                missed = f"server reflection knows no {what}: {_clean(answer.error_response.error_message)}"
                log.warning("%s", missed)
                continue
            for data in answer.file_descriptor_response.file_descriptor_proto:
                try:
                    file = FileDescriptorProto.FromString(data)
                except DecodeError:
                    raise ReflectionError(f"server reflection gave no descriptor for {what}") from None
                if file.name in files:
                    continue
                files[file.name] = data
                size += len(data)
                wanted.update(file.dependency)
                if len(files) > MAX_FILES or size > MAX_BYTES:
                    raise ReflectionError(f"the descriptors are more than {MAX_FILES} files or {MAX_BYTES >> 20} MB")
        missing = sorted(wanted - files.keys())
        asked = {f"file `{_clean(name)}`" for name in missing}
        if asked & set(about):
            raise ReflectionError(f"server reflection does not give {min(asked & set(about))}")
        questions, about = [_REQUEST(file_by_filename=name) for name in missing], [f"file `{_clean(name)}`" for name in missing]
    if not files:
        raise ReflectionError(missed)
    return FileDescriptorSet(file=[FileDescriptorProto.FromString(data) for data in files.values()]).SerializeToString()


def _clean(text: str) -> str:
    return "".join(character if character.isprintable() and character != "`" else "?" for character in text)[:200]


def _messages() -> tuple[Any, Any]:
    """The two messages, in what of them is used; the same in both versions but for the package's name."""
    text, number, message, data = (
        FieldDescriptorProto.TYPE_STRING,
        FieldDescriptorProto.TYPE_INT32,
        FieldDescriptorProto.TYPE_MESSAGE,
        FieldDescriptorProto.TYPE_BYTES,
    )
    file = FileDescriptorProto(name="eastwall/reflection.proto", package="eastwall.reflection", syntax="proto3")

    def add(name: str, *fields: tuple[str, int, int, str, bool]) -> None:
        described = file.message_type.add(name=name)
        for field, at, kind, of, repeated in fields:
            label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
            made = described.field.add(name=field, number=at, type=kind, label=label)
            if of:
                made.type_name = f".eastwall.reflection.{of}"

    add(
        "Request",
        ("host", 1, text, "", False),
        ("file_by_filename", 3, text, "", False),
        ("file_containing_symbol", 4, text, "", False),
        ("list_services", 7, text, "", False),
    )
    add("Files", ("file_descriptor_proto", 1, data, "", True))
    add("Service", ("name", 1, text, "", False))
    add("Services", ("service", 1, message, "Service", True))
    add("Error", ("error_code", 1, number, "", False), ("error_message", 2, text, "", False))
    add(
        "Response",
        ("file_descriptor_response", 4, message, "Files", False),
        ("list_services_response", 6, message, "Services", False),
        ("error_response", 7, message, "Error", False),
    )
    pool = DescriptorPool()
    pool.Add(file)
    return tuple(GetMessageClass(pool.FindMessageTypeByName(f"eastwall.reflection.{name}")) for name in ("Request", "Response"))  # type: ignore[return-value]


_REQUEST, _RESPONSE = _messages()
