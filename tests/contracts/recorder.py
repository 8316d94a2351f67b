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

from eastwall.model.call import Call, Completion, Response
from eastwall.model.decision import Answer

DENIED = Answer(
    deny=True, status=403, headers=(("content-type", "application/problem+json"), ("x-why", "test")), body=b'{"title":"no"}'
)


def redacted(body: bytes) -> Answer:
    return Answer(body=body.replace(b"4111111111111111", b"[card]"))


class Recorder:
    def __init__(self, log: Path) -> None:
        self._log = log.open("a", buffering=1)
        self._wishes: dict[str, str] = {}

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
