"""A learned shop as a snapshot, and calls to it: the values that decision tests are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.jwk import OctKey

from eastwall import detections
from eastwall.decision.compile import LiveSnapshot
from eastwall.detections.prefilter import Prefilter
from eastwall.discovery.inventory import endpoint_id
from eastwall.model.call import BodyState, Call, Completion, Mode, Peer, Request, Response
from eastwall.model.endpoint import Endpoint, FieldProfile, ObjectParameter, Parameter, Schema
from eastwall.model.event_id import event_id
from eastwall.model.snapshot import SNAPSHOT_FORMAT, ServiceScope, Snapshot, TrustConfig
from eastwall.policy import encode, parse_files

NOW = 1_700_000_000.0
HASH_KEY = b"k" * 32
SIGNING = OctKey.import_key({"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"})
DETECTORS = detections.load()
PREFILTER = Prefilter(DETECTORS)

ORDER = Endpoint(
    id=endpoint_id("orders", "GET", "/orders/{order_id}"),
    service="orders",
    method="GET",
    template="/orders/{order_id}",
    parameters=(Parameter("order_id", "integer"),),
    status="learned",
    objects=(
        ObjectParameter(
            "path.order_id", "order", exclusive=True, confidence=0.97, evidence="in 400 calls", broad=("user+support",)
        ),
    ),
)
ORDERS = Endpoint(
    id=endpoint_id("orders", "GET", "/orders"),
    service="orders",
    method="GET",
    template="/orders",
    status="learned",
    gives=(("items[].id", "order"),),
)
PROFILE = Endpoint(
    id=endpoint_id("orders", "PATCH", "/me"),
    service="orders",
    method="PATCH",
    template="/me",
    status="learned",
    properties=(("user", ("name", "email")), ("user+admin", ("name", "email", "role")), ("*", ("name", "email", "role"))),
    property_calls=(("user", 40), ("user+admin", 30), ("*", 70)),
    response_only=("created",),
)
LOGIN = Endpoint(
    id=endpoint_id("orders", "POST", "/login"), service="orders", method="POST", template="/login", status="learned", login=True
)
DECLARED = msgspec.structs.replace(
    PROFILE,
    id=endpoint_id("orders", "PUT", "/me"),
    method="PUT",
    origin="both",
    request=Schema(samples=0, fields=(FieldProfile("nickname", ("string",)),)),
)
ENDPOINTS = (ORDER, ORDERS, PROFILE, LOGIN, DECLARED)


def snapshot(
    mode: Mode = Mode.ENFORCE, policy: str = "", *, endpoints: Sequence[Endpoint] = ENDPOINTS, fail: str = "open", **fields: Any
) -> Snapshot:
    policies, faults = parse_files({"p.yaml": policy} if policy else {})
    assert not faults, faults
    keys = msgspec.json.encode({"keys": [SIGNING.as_dict()]})
    return Snapshot(
        format=SNAPSHOT_FORMAT,
        version=7,
        created=NOW,
        hash_key=HASH_KEY,
        services=(ServiceScope("orders", mode=mode, fail=fail),),
        trust=TrustConfig(jwks=(("", keys),)),
        endpoints=tuple(endpoints),
        policy=encode(policies),
        **fields,
    )


def live(mode: Mode = Mode.ENFORCE, policy: str = "", **fields: Any) -> LiveSnapshot:
    return LiveSnapshot(snapshot(mode, policy, **fields), DETECTORS, PREFILTER)


_TOKENS: dict[tuple[str, tuple[str, ...]], str] = {}


def token(user: str, roles: tuple[str, ...] = ()) -> str:
    if (user, roles) not in _TOKENS:
        _TOKENS[(user, roles)] = jwt.encode({"alg": "HS256"}, {"sub": user, "roles": list(roles)}, SIGNING)
    return _TOKENS[(user, roles)]


def call(
    method: str,
    path: str,
    body: Any = None,
    *,
    user: str = "",
    roles: tuple[str, ...] = (),
    source: str = "10.0.0.1",
    time: float = NOW,
    number: int = 0,
    headers: dict[str, str] | None = None,
) -> Call:
    raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
    sent = {"content-type": "application/json"} if raw else {}
    sent |= {"authorization": f"Bearer {token(user, roles)}"} if user else {}
    return Call(
        id=event_id(time, number.to_bytes(10, "big")),
        service="orders",
        time=time,
        peer=Peer(address=source),
        request=Request(
            method,
            path,
            sent | (headers or {}),
            "orders.shop",
            body=raw,
            body_state=BodyState.COMPLETE if raw else BodyState.NONE,
        ),
    )


def answer(body: Any, status: int = 200, **headers: str) -> Response:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Response(status, {"content-type": "application/json", **headers}, raw, BodyState.COMPLETE if raw else BodyState.NONE)


def completion(of: Call, status: int = 200, uninspected: tuple[str, ...] = ()) -> Completion:
    return Completion(
        of.id, of.service, of.time, of.request.method, of.request.path, of.request.authority, status, 100, 100, 900, of.peer.address,
        uninspected,
    )  # fmt: skip
