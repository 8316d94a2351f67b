"""A service to stand behind the data plane: HTTP/1.1 written by hand (so that it does exactly what a test says), WebSocket, gRPC, TLS.

Run as a program; prints its ports as one JSON line, then serves until its stdin closes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import ssl
import sys

import grpc
import grpc.aio
import websockets.asyncio.server

Head = tuple[str, str, list[tuple[str, str]]]


async def read_head(reader: asyncio.StreamReader) -> Head:
    raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = raw[:-4].split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return method, target, headers


async def read_body(reader: asyncio.StreamReader, headers: list[tuple[str, str]]) -> bytes:
    values = dict(headers)
    if "content-length" in values:
        return await reader.readexactly(int(values["content-length"]))
    body = b""
    if values.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        while await reader.readline() != b"\r\n":
            pass
    return body


def whole(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


JSON = "content-type: application/json"


class Service:
    def __init__(self) -> None:
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                method, target, headers = await read_head(reader)
                await self.answer(method, target, headers, reader, writer)
                await writer.drain()
        writer.close()

    async def answer(
        self, method: str, target: str, headers: list[tuple[str, str]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        path = target.partition("?")[0]
        argument = target.partition("?")[2]
        if path == "/early":  # answers before it has read the body, in pieces, the last one after the body's end
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b'{"early":')
            )
            await writer.drain()
            body = await read_body(reader, headers)
            writer.write(chunk(b"%d}" % len(body)) + b"0\r\n\r\n")
            return
        body = await read_body(reader, headers)
        stream = getattr(self, "stream_" + path[1:], None)
        if stream is not None:
            await stream(writer, argument)
        elif path == "/echo":
            shown = {"method": method, "target": target, "headers": headers, "body": base64.b64encode(body).decode()}
            writer.write(whole("200 OK", b"" if method == "HEAD" else json.dumps(shown).encode(), JSON))
        elif path == "/raw":
            writer.write(
                whole(
                    "200 OK",
                    body,
                    "content-type: application/octet-stream",
                    "set-cookie: a=1",
                    "set-cookie: b=2; path=/",
                    "x-odd: \xe9",
                )
            )
        elif path == "/card":
            writer.write(whole("200 OK", b'{"card":"4111111111111111","name":"Ada"}', JSON))
        elif path == "/big":
            size = int(argument)
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n{JSON}\r\n\r\n".encode())
            piece = b"z" * 65536
            while size:
                writer.write(piece[:size])
                size -= min(size, len(piece))
                await writer.drain()
        elif path == "/sink":
            writer.write(
                whole("200 OK", json.dumps({"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}).encode(), JSON)
            )
        elif path == "/head":
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n{JSON}\r\n\r\n".encode())
        elif path in ("/204", "/304"):
            writer.write(f"HTTP/1.1 {path[1:]} Nothing\r\netag: x\r\n\r\n".encode())
        elif path == "/hints":
            writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n" + whole("200 OK", b"{}", JSON))
        elif path == "/hang":
            await asyncio.sleep(3600)
        else:
            writer.write(whole("404 Not Found", b'{"error":"no such path"}', JSON))

    async def _stream(
        self, writer: asyncio.StreamWriter, kind: str, pieces: list[bytes], pause: float, trailer: bytes = b""
    ) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for piece in pieces:
            writer.write(chunk(piece))
            await writer.drain()
            await asyncio.sleep(pause)
        writer.write(b"0\r\n" + trailer + b"\r\n")

    async def stream_sse(self, writer: asyncio.StreamWriter, _: str) -> None:
        await self._stream(writer, "text/event-stream", [b"data: %d\n\n" % i for i in range(4)], 0.4)

    async def stream_ndjson(self, writer: asyncio.StreamWriter, _: str) -> None:
        await self._stream(writer, "application/x-ndjson; charset=utf-8", [b'{"n":%d}\n' % i for i in range(4)], 0.4)

    async def stream_script(self, writer: asyncio.StreamWriter, argument: str) -> None:
        """What the caller says: a content type and (pause in seconds, text) pairs."""
        kind, steps = json.loads(base64.urlsafe_b64decode(argument.partition("&")[0]))
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for pause, text in steps:
            await asyncio.sleep(pause)
            writer.write(chunk(text.encode("latin-1")))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async def stream_many(self, writer: asyncio.StreamWriter, argument: str) -> None:
        """So many lines, as fast as they are taken."""
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(int(argument.partition("&")[0])):
            writer.write(chunk(b"%d CARD %b\n" % (number, b"x" * 500)))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async def stream_trickle(self, writer: asyncio.StreamWriter, seconds: str) -> None:
        """JSON that nobody said would be a stream: one byte at a time, without a length."""
        count = int(float(seconds.partition("&")[0]) / 0.1)
        await self._stream(writer, "application/json", [b"[", *[b"1,"] * count, b"1]"], 0.1)

    async def stream_trailers(self, writer: asyncio.StreamWriter, _: str) -> None:
        await self._stream(writer, "application/json", [b'{"a":', b"1}"], 0.0, b"x-sum: 42\r\n")


async def unary(request: bytes, _: grpc.aio.ServicerContext) -> bytes:
    return b"re:" + request


async def both(requests: grpc.aio.ServicerContext, _: grpc.aio.ServicerContext):  # type: ignore[no-untyped-def]
    async for request in requests:
        yield b"re:" + request


async def count(request: bytes, _: grpc.aio.ServicerContext):  # type: ignore[no-untyped-def]
    number, _, bad = request.decode().partition(" bad at ")
    for i in range(int(number)):
        yield b"BAD\n" if str(i) == bad else b"%d\n" % i
        await asyncio.sleep(0.05)


async def echo(socket: websockets.asyncio.server.ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


async def main() -> None:
    plain = await asyncio.start_server(Service().serve, "127.0.0.1", 0, limit=1 << 20, backlog=1024)
    ports = {"http": plain.sockets[0].getsockname()[1]}
    if len(sys.argv) > 1:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
        secret = await asyncio.start_server(Service().serve, "127.0.0.1", 0, ssl=context)
        ports["https"] = secret.sockets[0].getsockname()[1]
    sockets = await websockets.asyncio.server.serve(echo, "127.0.0.1", 0)
    ports["websocket"] = next(iter(sockets.sockets)).getsockname()[1]
    server = grpc.aio.server()
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Count": grpc.unary_stream_rpc_method_handler(count),
    }
    names = ("Echo", "Echo10", "Echo40000", "Echo300000", "EchoBroken", "Stream")
    server.add_generic_rpc_handlers(tuple(grpc.method_handlers_generic_handler(f"test.{name}", handlers) for name in names))
    ports["grpc"] = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps(ports), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
