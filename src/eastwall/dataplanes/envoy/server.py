"""The engine's side of the socket to the shim: one thread, one epoll loop, no asyncio (this is the hot path).

Whatever arrives in one read is decoded and judged as a batch, and the verdicts go out in one send.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from eastwall.dataplanes.envoy import frames
from eastwall.dataplanes.envoy.frames import FrameError
from eastwall.ports.inspector import Inspector

log = logging.getLogger(__name__)

READ_SIZE: Final = 1 << 18
TICK: Final = 0.05
"""Seconds between calls of `Inspector.tick` at most."""
PENDING_LIMIT: Final = 64 << 20
"""Bytes of verdicts that may wait for a peer that does not read; beyond it the connection is dropped."""


class SocketInUse(OSError):
    """Another engine is listening on this socket."""


class _Connection:
    """One shim (an Envoy process) that asks."""

    __slots__ = ("buffer", "dead", "needed", "number", "out", "sock")

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self.buffer = bytearray()
        self.needed = 0
        """Bytes that `buffer` must hold before its first frame is whole."""
        self.out = bytearray()
        self.dead = False


def serve(
    socket_path: str, inspector: Inspector, stop: Callable[[], bool] | threading.Event, ready: Callable[[], None] | None = None
) -> None:
    """Answer shims on a Unix socket until `stop` is true or set (looked at every 50 ms), then finish what has arrived and return.

    `ready` is called once the socket accepts. Raises `SocketInUse` when another process serves it, `OSError` when it
    cannot be bound.
    """
    stopped = stop.is_set if isinstance(stop, threading.Event) else stop
    listener = _listen(socket_path)
    inode = os.stat(socket_path).st_ino
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    connections: dict[int, _Connection] = {}
    server = _Server(inspector, poll, connections)
    try:
        if ready is not None:
            ready()
        while not stopped():
            server.turn(listener, TICK)
        # What the shims have sent is judged and recorded before the door closes.
        server.turn(listener, 0.0)
    finally:
        for connection in list(connections.values()):
            server.drop(connection, "")
        listener.close()
        poll.close()
        # A successor may have bound the path anew: remove only what is ours.
        with contextlib.suppress(OSError):
            if os.stat(socket_path).st_ino == inode:
                os.unlink(socket_path)


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if Path(path).exists():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(1.0)
                try:
                    probe.connect(path)
                except ConnectionRefusedError:
                    os.unlink(path)
                except (FileNotFoundError, TimeoutError):
                    pass
                else:
                    raise SocketInUse(errno.EADDRINUSE, f"`{path}` is served by another engine")
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(64)
    except BaseException:
        listener.close()
        raise
    return listener


class _Server:
    """State of the loop; split from `serve` so that each step is short."""

    def __init__(self, inspector: Inspector, poll: select.epoll, connections: dict[int, _Connection]) -> None:
        self._inspector = inspector
        self._poll = poll
        self._connections = connections
        self._accepted = 0
        self._scratch = memoryview(bytearray(READ_SIZE))

    def turn(self, listener: socket.socket, timeout: float) -> None:
        """One round: wait, serve what is ready, tick."""
        for fd, event in self._poll.poll(timeout, 64):
            if fd == listener.fileno():
                self._accept(listener)
                continue
            connection = self._connections.get(fd)
            if connection is None:
                continue
            if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._read(connection)
            if event & select.EPOLLOUT and not connection.dead:
                self._send(connection, b"")
        self._inspector.tick(time.time())

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EINTR):
                log.error("cannot accept a connection: %s", error.strerror)
                time.sleep(TICK)  # out of descriptors: level-triggered epoll would spin
            return
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._accepted += 1
        self._connections[sock.fileno()] = _Connection(sock, self._accepted)
        self._poll.register(sock.fileno(), select.EPOLLIN)

    def drop(self, connection: _Connection, reason: str) -> None:
        """Close; with a reason, say so in one line."""
        if connection.dead:
            return
        connection.dead = True
        if reason:
            log.error("dropped connection %d from the data plane: %s", connection.number, reason)
        fd = connection.sock.fileno()
        del self._connections[fd]
        with contextlib.suppress(OSError):
            self._poll.unregister(fd)
        connection.sock.close()

    def _read(self, connection: _Connection) -> None:
        try:
            # Into one buffer: `recv` with so large a size would map and unmap memory on every call.
            got = connection.sock.recv_into(self._scratch)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.drop(connection, str(error.strerror))
            return
        data = bytes(self._scratch[:got])
        if not data:
            # A peer that ends in the middle of a frame has died; what was whole has been judged.
            self.drop(connection, "")
            return
        buffer = connection.buffer
        if buffer:
            buffer += data
            if len(buffer) < connection.needed:
                return
            data = bytes(buffer)
            buffer.clear()
        try:
            used, answers = self._judge(data)
        except FrameError as error:
            self.drop(connection, str(error))
            return
        rest = len(data) - used
        if rest:
            buffer += data[used:] if used else data
            connection.needed = frames.parse_header(data, used)[0] if rest >= frames.HEADER.size else frames.HEADER.size
        if answers:
            self._send(connection, b"".join(answers))

    def _judge(self, data: bytes) -> tuple[int, list[bytes]]:
        """Handle every whole frame in `data`: (bytes used, answers). Raises `FrameError`."""
        inspector = self._inspector
        answers: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= 16:
            length, kind, flags, wire = frames.parse_header(data, at)
            if length > end - at:
                break
            # The common case is one frame per read: then no copy is made.
            frame = data if length == end else data[at : at + length]
            at += length
            if kind == frames.PING:
                answers.append(frames.encode_bare(frames.PONG, wire))
                continue
            if kind == frames.COMPLETED:
                completion = frames.decode_completed(frame)
                try:
                    inspector.completed(completion)
                except Exception:
                    log.exception("the inspector failed to record call %s", completion.id)
                continue
            try:
                if kind == frames.PIECE:
                    piece = frames.decode_piece(frame, watched=bool(flags & frames.NO_REPLY))
                    release = inspector.piece(piece)
                    if not piece.watched:
                        answers.append(frames.encode_release(wire, release))
                    continue
                if kind == frames.REQUEST:
                    answer = inspector.request(frames.decode_request(frame))
                elif kind == frames.RESPONSE:
                    answer = inspector.response(*frames.decode_response(frame))
                else:
                    raise FrameError(f"unexpected frame kind {kind}")
                if not flags & frames.NO_REPLY:
                    answers.append(frames.encode_verdict(wire, answer))
            except FrameError:
                raise
            except Exception:
                # The port says this cannot happen. When it does, the scope's fail mode decides, not this loop.
                log.exception("the inspector failed on a call")
                if not flags & frames.NO_REPLY:
                    answers.append(frames.encode_bare(frames.FAILED, wire))
        return at, answers

    def _send(self, connection: _Connection, data: bytes) -> None:
        out = connection.out
        if out:
            out += data
            data = bytes(out)
        try:
            sent = connection.sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.drop(connection, "")
            return
        if sent == len(data):
            if out:
                out.clear()
                self._poll.modify(connection.sock.fileno(), select.EPOLLIN)
            return
        waiting = bool(out)
        connection.out = bytearray(data[sent:])
        if len(connection.out) > PENDING_LIMIT:
            self.drop(connection, f"it does not read its verdicts ({len(connection.out)} bytes pending)")
        elif not waiting:
            self._poll.modify(connection.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)
