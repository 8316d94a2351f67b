"""Recorded calls through the live `decide`: what `eastwall inspect` and policy tests run on."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
from joserfc import jwt
from joserfc.jwk import OctKey

from eastwall import detections
from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.decide import decide
from eastwall.decision.state import LiveState
from eastwall.detections.prefilter import Prefilter
from eastwall.discovery.data_values import restore_automaton
from eastwall.model.call import BodyState, Call, Mode, Peer, Request, Response
from eastwall.model.event_id import event_id
from eastwall.model.snapshot import SNAPSHOT_FORMAT, ServiceScope, Snapshot, TrustConfig
from eastwall.policy import custom_classes, decode
from eastwall.runtime import automata_file
from eastwall.runtime.inspection_report import STOPPED, report
from eastwall.sources.observed import ObservedCall, shown

ISSUER = "urn:eastwall:inspect"
MAX_TIME = 253402300799.0
"""The last second of the year 9999."""

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
"""A token, RFC 9110 section 5.6.2."""


class BadCall(ValueError):
    """A recorded call that cannot be read; the message says what is wrong."""


class Inspection:
    """Judges recorded calls one by one; live state (rates, sign-ins, object grants) carries over from one to the next."""

    def __init__(
        self, snapshot: Snapshot | None, service: str, mode: Mode, policy: bytes = b"", trust: TrustConfig | None = None
    ) -> None:
        """`snapshot`: what was learned. `policy` (encoded) and `trust` stand in place of the snapshot's own."""
        self._detectors = detections.load()
        built = automata_file.built()
        self._prefilter = Prefilter(self._detectors, built.get("prefilter", b""))
        restore_automaton(built.get("data", b""))
        self._key = OctKey.generate_key(256)
        self._state = LiveState()
        self._state.audit_all = True
        base = snapshot or Snapshot(format=SNAPSHOT_FORMAT, version=0, created=0.0, hash_key=os.urandom(32))
        self.service = service or (base.services[0].name if len(base.services) == 1 else "default")
        scopes = {scope.name: msgspec.structs.replace(scope, mode=mode) for scope in base.services}
        scopes.setdefault(self.service, ServiceScope(name=self.service, mode=mode))
        believed = trust or base.trust
        # The `identity` of a recorded call becomes a token that this run alone has signed: it takes the road that live identities take.
        trust = msgspec.structs.replace(
            believed, jwks=(*believed.jwks, (ISSUER, msgspec.json.encode({"keys": [self._key.as_dict()]})))
        )
        self._snapshot = msgspec.structs.replace(base, services=tuple(scopes.values()), trust=trust, policy=policy or base.policy)
        if policy:
            self._snapshot = msgspec.structs.replace(self._snapshot, data_classes=custom_classes(decode(policy)))
        self._mode = mode
        self._live = self._compile()

    def _compile(self) -> LiveSnapshot:
        return LiveSnapshot(self._snapshot, self._detectors, self._prefilter)

    def inspect(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Judge one call: keys `method`, `url`, `headers`, `body`, optional `identity`, `response`, `service`, `time`, `source`.

        Returns what `inspection_report.report` gives. Raises BadCall.
        """
        return self._judge(self._call(given), _response(given.get("response")))

    def inspect_http(
        self, request: Request, response: Response | None = None, service: str = "", when: float = 0.0
    ) -> dict[str, Any]:
        """The same of a call as it came over the wire. `when`: Unix seconds, 0: now. Raises BadCall."""
        service = service or self.service
        self._know(service)
        when = when or time.time()
        return self._judge(Call(event_id(when, os.urandom(10)), service, when, Peer(address="127.0.0.1"), request), response)

    def inspect_observed(self, call: ObservedCall) -> dict[str, Any]:
        """The same of a call from a recording. Raises BadCall."""
        parts = urlsplit(call.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        request = Request(
            method=call.method,
            path=path,
            headers=call.request_headers,
            authority=parts.netloc or call.request_headers.get("host", ""),
            scheme=parts.scheme or "http",
            body=call.request_body,
            body_state=call.request_body_state,
        )
        response = None
        if call.status:
            response = Response(call.status, call.response_headers, call.response_body, call.response_body_state)
        return self.inspect_http(request, response, call.service, call.time)

    def _judge(self, call: Call, response: Response | None) -> dict[str, Any]:
        decisions = [decide(call, self._live, self._state)]
        if response is not None:
            # The answer to a refused request is looked at for what it says, and nothing is learned from it.
            state = LiveState() if decisions[0].verdict.action in STOPPED else self._state
            state.audit_all = True
            decisions.append(decide(msgspec.structs.replace(call, response=response, prior=decisions[0]), self._live, state))
        return report(decisions, response)

    def _call(self, given: Mapping[str, Any]) -> Call:
        method, url = given.get("method", "GET"), given.get("url")
        if not isinstance(method, str) or not isinstance(url, str):
            raise BadCall("`method` and `url` must be texts")
        if not _METHOD.fullmatch(method):
            raise BadCall(f"`{shown(method, 40)}` is not an HTTP method")
        if not url.strip():
            raise BadCall("`url` is empty")
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise BadCall(f"`url` cannot be read: {str(error)[:1].lower()}{str(error)[1:]}") from None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = _headers(given.get("headers"), "headers")
        body = _body(given.get("body"), headers)
        if given.get("identity") is not None:
            headers["authorization"] = f"Bearer {self._token(given['identity'])}"
        service = given.get("service") or self.service
        if not isinstance(service, str):
            raise BadCall("`service` must be a text")
        self._know(service)
        when = _time(given.get("time"))
        request = Request(
            method=method.upper(),
            path=quote(path, safe="/?&=%:@!$'()*+,;~-._[]{}|\\^`\"<> "),
            headers=headers,
            authority=parts.netloc or headers.get("host", ""),
            scheme=parts.scheme or "http",
            body=body,
            body_state=BodyState.COMPLETE if body else BodyState.NONE,
        )
        source = given.get("source")
        peer = Peer(address=source if isinstance(source, str) else "127.0.0.1")
        return Call(id=event_id(when, os.urandom(10)), service=service, time=when, peer=peer, request=request)

    def _know(self, service: str) -> None:
        if service in self._live.scopes:
            return
        if len(self._live.scopes) >= 1_000:
            raise BadCall("more than 1,000 services in one run; split the file")
        services = (*self._snapshot.services, ServiceScope(name=service, mode=self._mode))
        self._snapshot = msgspec.structs.replace(self._snapshot, services=services)
        self._live = self._compile()

    def _token(self, identity: Any) -> str:
        if isinstance(identity, str):
            claims: dict[str, Any] = {"sub": identity}
        elif isinstance(identity, dict) and isinstance(identity.get("sub") or identity.get("actor"), str):
            claims = {**identity, "sub": identity.get("sub") or identity["actor"]}
        else:
            raise BadCall("`identity` must be a text or an object with `sub`")
        return jwt.encode({"alg": "HS256"}, {**claims, "iss": ISSUER}, self._key)


def _time(given: Any) -> float:
    if given is None:
        return time.time()
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= MAX_TIME:
        raise BadCall("`time` must be Unix seconds")
    return float(given)


def _headers(given: Any, name: str) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BadCall(f"`{name}` must be an object of texts")
    headers: dict[str, str] = {}
    for key, value in given.items():
        if not isinstance(value, (str, int, float, list)):
            raise BadCall(f"`{name}.{shown(str(key))}` must be a text")
        headers[str(key).lower()] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return headers


def _body(given: Any, headers: dict[str, str]) -> bytes:
    if given is None:
        return b""
    if isinstance(given, str):
        return given.encode("utf-8", "surrogatepass")
    headers.setdefault("content-type", "application/json")
    return msgspec.json.encode(given)


def _response(given: Any) -> Response | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise BadCall("`response` must be an object with `status`, `headers`, `body`")
    status = given.get("status", 200)
    if isinstance(status, bool) or not isinstance(status, int) or not 100 <= status <= 599:
        raise BadCall("`response.status` must be a number from 100 to 599")
    headers = _headers(given.get("headers"), "response.headers")
    body = _body(given.get("body"), headers)
    return Response(status=status, headers=headers, body=body, body_state=BodyState.COMPLETE if body else BodyState.NONE)
