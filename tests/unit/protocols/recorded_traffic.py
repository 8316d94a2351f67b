"""A real server on a free port, and what passed between it and its clients, as Eastwall's messages."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from eastwall.model.call import BodyState, Request, Response
from eastwall.model.operation import Operation
from eastwall.protocols.decode import decode_request, decode_response
from eastwall.protocols.limits import DEFAULT


class Recorder:
    """ASGI middleware that keeps every HTTP exchange (a WebSocket's opening too)."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.exchanges: list[tuple[Request, Response]] = []
        self._open = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        place, self._open = len(self.exchanges) + self._open, self._open + 1
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        target = scope["raw_path"].decode() + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
        sent, got, answer = bytearray(), bytearray(), {"status": 0, "headers": {}}

        async def receiving() -> Any:
            message = await receive()
            if message["type"] == "http.request":
                sent.extend(message.get("body", b""))
            return message

        async def sending(message: Any) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                answer["status"] = message.get("status", 101)
                answer["headers"] = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in message.get("headers", ())}
            elif message["type"] == "http.response.body":
                got.extend(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receiving, sending)
        finally:
            request = Request(
                method=scope.get("method", "GET"),
                path=target,
                headers=headers,
                body=bytes(sent),
                body_state=BodyState.COMPLETE if sent else BodyState.NONE,
            )
            state = BodyState.COMPLETE if got else BodyState.NONE
            # In the order in which they began: streams end late.
            self.exchanges.insert(place, (request, Response(answer["status"], answer["headers"], bytes(got), state)))
            self._open -= 1

    def operations(self, count: int = 1) -> list[tuple[Operation, Operation]]:
        """Every exchange decoded, request and response, once there are `count` and none is open: a client has its answer before the
        app ends."""
        until = time.monotonic() + 10
        while len(self.exchanges) < count or self._open:
            assert time.monotonic() < until, f"{len(self.exchanges)} of {count} exchanges"
            time.sleep(0.002)
        found = []
        for request, response in self.exchanges:
            asked = decode_request(request, DEFAULT)
            found.append((asked, decode_response(response, request, DEFAULT, asked)))
        return found


@contextmanager
def served(app: Any) -> Iterator[tuple[str, Recorder]]:
    """(base address, recorder) of a server that runs the app until the end of the block."""
    recorder = Recorder(app)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(recorder, log_level="error", lifespan="auto", ws="websockets-sansio"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        until = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < until, "the server did not start"
            assert thread.is_alive(), "the server ended"
            time.sleep(0.01)
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}", recorder
        finally:
            server.should_exit = True
            thread.join(10)
