"""An engine for tests: writes down what it is shown, and answers as the request's `x-test` header says. Run as a program:

recorder.py ADAPTER SOCKET LOG
"""

from __future__ import annotations

import base64
import json
import logging
import signal
import sys
import threading
import time
from pathlib import Path

from eastwall.model.call import Call, Completion, Phase, Response
from eastwall.model.decision import Answer, Piece, Release

DENIED = Answer(
    deny=True, status=403, headers=(("content-type", "application/problem+json"), ("x-why", "test")), body=b'{"title":"no"}'
)


def redacted(body: bytes) -> Answer:
    return Answer(body=body.replace(b"4111111111111111", b"[card]"))


class Recorder:
    def __init__(self, log: Path) -> None:
        self._log = log.open("a", buffering=1)
        self._wishes: dict[str, str] = {}
        self._streams: dict[str, str] = {}
        self._held: dict[tuple[str, int], bytes] = {}

    def _write(self, kind: str, **values: object) -> None:
        self._log.write(json.dumps({"kind": kind, **values}) + "\n")

    def request(self, call: Call) -> Answer:
        request, peer = call.request, call.peer
        wish = request.headers.get("x-test", "")
        if wish != "silent":
            self._write(
                "request",
                id=call.id,
                service=call.service,
                method=request.method,
                path=request.path,
                headers=request.headers,
                authority=request.authority,
                scheme=request.scheme,
                body=base64.b64encode(request.body).decode(),
                body_state=request.body_state.name,
                address=peer.address,
                port=peer.port,
                tls=peer.tls,
                uri_sans=peer.uri_sans,
                dns_sans=peer.dns_sans,
                subject=peer.subject,
                late=time.time() - call.time,
            )
        if wish.startswith("stream-"):
            self._streams[call.id] = wish
        if wish.startswith("response-"):
            self._wishes[call.id] = wish
        match wish:
            case "deny":
                return DENIED
            case "redact":
                return redacted(request.body)
            case "set":
                return Answer(headers=(("x-set", "by engine"), ("x-both", "new")), remove_headers=("x-gone",))
            case "want-0":
                return Answer(want_response=0)
            case "want-1":
                return Answer(want_response=1)
            case "raise":
                raise RuntimeError("asked to")
        return Answer()

    def response(self, call_id: str, response: Response) -> Answer:
        wish = self._wishes.pop(call_id, "")
        if wish != "response-silent":
            self._write(
                "response",
                id=call_id,
                status=response.status,
                headers=response.headers,
                body=base64.b64encode(response.body).decode(),
                body_state=response.body_state.name,
            )
        match wish:
            case "response-deny":
                return DENIED
            case "response-redact":
                return redacted(response.body)
            case "response-set":
                return Answer(headers=(("x-set", "by engine"),), remove_headers=("x-odd",))
        return Answer()

    def piece(self, piece: Piece) -> Release:
        """Lines are events here. What follows the last line stays held; `CARD` is replaced, `BAD` ends the stream."""
        wish = self._streams.get(piece.call_id, "")
        key = (piece.call_id, piece.phase)
        held = self._held.pop(key, b"") + piece.data
        self._write(
            "piece",
            id=piece.call_id,
            phase=piece.phase.name,
            body=base64.b64encode(piece.data).decode(),
            end=piece.end,
            watched=piece.watched,
            at=time.time(),
        )
        if wish == "stream-hang":
            time.sleep(3600)
        if wish == "stream-raise":
            raise RuntimeError("asked to")
        if not wish or piece.watched:
            return Release(len(held))
        cut = len(held) if piece.end else held.rfind(b"\n") + 1
        self._held[key] = held[cut:]
        if b"BAD" in held[:cut]:
            before = held[: held.rfind(b"\n", 0, held.index(b"BAD")) + 1]
            trailers = (("grpc-status", "7"), ("grpc-message", "no")) if wish == "stream-grpc" else ()
            if piece.phase is Phase.REQUEST:
                before = b""  # what is said then goes to the caller
            return Release(0, before + (b"" if trailers else b"REFUSED\n"), True, trailers)
        if b"CARD" in held[:cut]:
            return Release(cut, held[:cut].replace(b"CARD", b"[redacted]"))
        return Release(cut)

    def completed(self, completion: Completion) -> None:
        c = completion
        self._wishes.pop(c.id, None)
        self._write(
            "completed",
            id=c.id,
            service=c.service,
            method=c.method,
            path=c.path,
            status=c.status,
            request_bytes=c.request_bytes,
            response_bytes=c.response_bytes,
            duration_us=c.duration_us,
            address=c.peer_address,
            uninspected=list(c.uninspected),
            request_copy=base64.b64encode(c.request_copy).decode(),
            request_copy_state=c.request_copy_state.name,
            response_copy=base64.b64encode(c.response_copy).decode(),
            response_copy_state=c.response_copy_state.name,
            grpc_status=c.grpc_status,
        )

    def tick(self, now: float) -> None:
        pass


def main() -> None:
    adapter, socket, log = sys.argv[1:]
    logging.basicConfig(level=logging.INFO)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if adapter == "shim":
        from eastwall.dataplanes.envoy.server import serve

        serve(socket, Recorder(Path(log)), stop.is_set)
    else:
        from eastwall.dataplanes.extproc.server import serve as serve_extproc

        serve_extproc(f"unix:{socket}", Recorder(Path(log)), stop.is_set)


if __name__ == "__main__":
    main()
