"""The external processor as a gRPC server: one thread, one loop, one inspector."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from eastwall.dataplanes.extproc.codec import MAX_BODY_CEILING, Ask, Settings, Stream, settings
from eastwall.dataplanes.extproc.proto.external_processor_pb2 import ProcessingRequest
from eastwall.model.call import Call
from eastwall.model.decision import Answer, Piece
from eastwall.ports.inspector import Inspector

log = logging.getLogger(__name__)

TICK = 0.05
"""Seconds between two ticks of the inspector."""
GRACE = 3.0
"""Seconds that calls in flight get to end after `stop`; streams without an end are cut then, and completed."""
_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse{status: SERVING}
_OPTIONS = (
    # Room for the headers beside a body of the largest size.
    ("grpc.max_receive_message_length", MAX_BODY_CEILING + (8 << 20)),
    ("grpc.max_send_message_length", MAX_BODY_CEILING + (8 << 20)),
    # Two servers on one port would share its calls unseen; a taken port must be an error.
    ("grpc.so_reuseport", 0),
    ("grpc.max_metadata_size", 65536),
)


class AddressError(OSError):
    """The address cannot be listened on; the message says so in one line."""


def serve(
    address: str, inspector: Inspector, stop: Callable[[], bool] | threading.Event, ready: Callable[[], None] | None = None
) -> None:
    """Serve on `unix:/path` or `host:port` until `stop` is true or set (looked at every 50 ms), then let the calls in flight end.

    All calls of the inspector come from this thread. `ready` is called once the address accepts. Raises AddressError.
    """
    asyncio.run(_serve(address, inspector, stop.is_set if isinstance(stop, threading.Event) else stop, ready))


async def _serve(address: str, inspector: Inspector, stop: Callable[[], bool], ready: Callable[[], None] | None) -> None:
    _refuse_taken_socket(address)
    server = grpc.aio.server(options=_OPTIONS)
    processor = Processor(inspector)
    server.add_generic_rpc_handlers((processor.handlers(),))
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if not bound:
        raise AddressError(f"cannot listen on `{address}`: it is in use or not allowed; name another address")
    await server.start()
    if ready is not None:
        ready()
    try:
        while not stop():
            inspector.tick(time.time())
            await asyncio.sleep(TICK)
    finally:
        await server.stop(GRACE)
        inspector.tick(time.time())


def _refuse_taken_socket(address: str) -> None:
    """gRPC would silently unlink a Unix socket on which another engine is listening, and leave that one deaf."""
    if not address.startswith("unix:"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(address.removeprefix("unix:"))
        except OSError:
            return
    raise AddressError(f"cannot listen on `{address}`: another process is; stop it or name another address")


class Processor:
    """The gRPC methods. Counters are for tests and gauges; the records carry the same, call by call."""

    def __init__(self, inspector: Inspector) -> None:
        self.inspector = inspector
        self.errors: Counter[str] = Counter()
        """Errors of ours by exception name; bounded, since exception types are."""
        self._told: set[str] = set()

    def handlers(self) -> grpc.GenericRpcHandler:
        return _Handlers(self)

    async def health(self, request: bytes, context: Any) -> bytes:
        """grpc.health.v1.Health/Check. Runs on the inspector's loop: an engine that hangs does not answer it."""
        return _SERVING

    async def process(self, messages: Any, context: Any) -> None:
        """envoy.service.ext_proc.v3.ExternalProcessor/Process: one stream per call."""
        stream = Stream(ulid(), self._settings(context.invocation_metadata()), time=time.time(), clock=time.monotonic())
        read, write, end = context.read, context.write, grpc.aio.EOF
        try:
            while (message := await read()) is not end:
                asks = self._receive(stream, message)
                if stream.passive:
                    # Never hold a call that must not be delayed: answer first (if at all), inspect then.
                    reply = stream.reply()
                    try:
                        if reply is not None:
                            await write(reply)
                    finally:
                        # Also when Envoy, with its last answer in hand, has ended the stream, which cancels the write.
                        self._ask(stream, asks)
                    if stream.over:
                        return
                    continue
                self._ask(stream, asks)
                reply = stream.reply()
                if reply is not None:
                    await write(reply)
                    self.inspector.tick(time.time())
        finally:
            # Also when Envoy reset the stream, which cancels this coroutine.
            self._complete(stream)

    def _settings(self, metadata: Any) -> Settings:
        try:
            return settings(metadata)
        except ValueError as error:
            text = str(error)
            if text not in self._told and len(self._told) < 100:
                self._told.add(text)
                log.error("the Envoy configuration gives bad metadata: %s; using the defaults", text)
            self.errors["ValueError"] += 1
            return Settings()

    def _receive(self, stream: Stream, message: Any) -> tuple[Ask, ...]:
        try:
            return stream.receive(message)
        except Exception as error:  # noqa: BLE001 - an error of ours must follow the fail mode, whatever it is
            self._failed(stream, error)
            return ()

    def _ask(self, stream: Stream, asks: tuple[Ask, ...]) -> None:
        for ask in asks:
            if stream.denied:
                return
            try:
                answer: Answer
                if isinstance(ask, Piece):
                    stream.release(ask, self.inspector.piece(ask))
                    continue
                if isinstance(ask, Call):
                    answer = self.inspector.request(ask)
                else:
                    answer = self.inspector.response(stream.call_id, ask)
                stream.answer(ask, answer)
            except Exception as error:  # noqa: BLE001 - as above
                self._failed(stream, error)

    def _complete(self, stream: Stream) -> None:
        try:
            self._ask(stream, stream.close())
            completion = stream.completion(time.monotonic())
            if completion is not None:
                self.inspector.completed(completion)
        except Exception as error:  # noqa: BLE001 - the stream is over; nothing may stop the next
            self._failed(stream, error)

    def _failed(self, stream: Stream, error: Exception) -> None:
        self.errors[type(error).__name__] += 1
        if self.errors[type(error).__name__] <= 10:
            log.error("call %s: the external processor failed", stream.call_id, exc_info=error)
        stream.failed()


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """By hand instead of generated service code: replies are bytes already."""

    def __init__(self, processor: Processor) -> None:
        self._methods = {
            "/envoy.service.ext_proc.v3.ExternalProcessor/Process": grpc.stream_stream_rpc_method_handler(
                processor.process, request_deserializer=ProcessingRequest.FromString
            ),
            "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(processor.health),
        }

    def service(self, handler_call_details: Any) -> Any:
        return self._methods.get(handler_call_details.method)


_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def ulid() -> str:
    """A ULID: 48 bits of milliseconds, 80 random bits, Crockford base 32 (github.com/ulid/spec)."""
    number = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    pairs = _PAIRS
    return "".join([pairs[(number >> shift) & 1023] for shift in range(120, -1, -10)])
