"""Records of a small shop as engines would write them: bodies go through the real shape and object functions."""

from __future__ import annotations

import json
import random
from typing import Any

from eastwall.discovery.objects import given, used
from eastwall.discovery.shapes import properties, shape
from eastwall.model.endpoint import Endpoint, Match, Parameter
from eastwall.model.finding import Finding
from eastwall.model.operation import Operation
from eastwall.model.record import CallRecord

KEY = b"0123456789abcdef"
FINDING = Finding(id="sql-injection", severity="high", confidence="high", owasp=("API8:2023",), where="body.x", message="m")


def message(method: str, path: str, body: Any, query: tuple[tuple[str, str], ...] = ()) -> Operation:
    return Operation(
        protocol="rest",
        method=method,
        segments=tuple(part for part in path.split("/") if part),
        path=path,
        query=query,
        body=body,
        body_kind="none" if body is None else "json",
        raw_body=b"" if body is None else json.dumps(body).encode(),
    )


def record(
    method: str,
    path: str,
    *,
    status: int = 200,
    user: str = "alice",
    cls: str = "user",
    body: Any = None,
    answer: Any = None,
    template: str = "",
    params: tuple[tuple[str, str], ...] = (),
    query: tuple[tuple[str, str], ...] = (),
    time: float = 1000.0,
    service: str = "shop",
    strength: int = 3,
    **rest: Any,
) -> CallRecord:
    """One call; with `template` the engine knew the endpoint already."""
    request, response = message(method, path, body, query), message(method, path, answer)
    match = Match(None)
    if template:
        parameters = tuple(Parameter(name, "integer") for name, _ in params)
        match = Match(Endpoint(id="ep", service=service, method=method, template=template, parameters=parameters), params)
    return CallRecord(
        version=1,
        id=f"{random.Random(f'{time}{path}{user}').getrandbits(80):026d}",
        time=time,
        service=service,
        method=method,
        path=path,
        authority="shop",
        status=status,
        request_bytes=len(request.raw_body),
        response_bytes=len(response.raw_body),
        duration_us=900,
        source="127.0.0.1",
        actor=f"user:{user}" if strength else "address:127.0.0.1",
        actor_kind="user" if strength else "address",
        actor_class=cls if strength else "anonymous",
        strength=strength,
        properties=properties(request),
        sampled=True,
        request_fields=shape(request),
        response_fields=shape(response) if answer is not None else (),
        used=tuple((place, kind, key) for place, kind, key, _ in used(request, match, KEY, service)),
        given=given(response, match, KEY, service) if strength and 200 <= status < 300 else (),
        **rest,
    )


def shop(calls: int, *, seed: int = 1, users: int = 20, admin: bool = True, seconds: float = 60.0) -> list[CallRecord]:
    """Users order products and look at their orders; an administrator looks at everybody's."""
    rng = random.Random(seed)
    orders: dict[str, list[int]] = {f"u{n}": [] for n in range(users)}
    records: list[CallRecord] = []
    number = 1000
    while len(records) < calls:
        time = 1000.0 + len(records) * seconds / calls
        user = f"u{rng.randrange(users)}"
        dice = rng.random()
        if dice < 0.25 or not orders[user]:
            number += rng.randrange(1, 5)
            orders[user].append(number)
            body: Any = {"items": [{"product_id": rng.randrange(1, 30), "quantity": 1 + rng.randrange(3)}], "note": "please"}
            answer = {"id": number, "status": "new", "total": rng.randrange(100, 9000) / 100, "customer": user}
            records.append(
                record("POST", "/orders", status=201, user=user, body=body, answer=answer, template="/orders", time=time)
            )
        elif dice < 0.35:
            products = [{"id": n, "name": f"product {n}", "price": 1.5} for n in range(1, 30)]
            records.append(record("GET", "/products", user=user, answer=products, template="/products", time=time))
        elif dice < 0.5:
            listed = {"items": [{"id": n, "status": "new"} for n in orders[user][-20:]]}
            records.append(record("GET", "/orders", user=user, answer=listed, template="/orders", time=time))
        elif dice < 0.55 and admin:
            everything = {"items": [{"id": n, "status": "new"} for own in orders.values() for n in own]}
            staff = "user+admin"
            records.append(record("GET", "/orders", user="root", cls=staff, answer=everything, template="/orders", time=time))
        else:
            chosen = str(rng.choice(orders[user]))
            answer = {"id": int(chosen), "status": "new", "total": 12.5, "customer": user}
            path, params = f"/orders/{chosen}", (("order_id", chosen),)
            records.append(record("GET", path, user=user, answer=answer, template="/orders/{order_id}", params=params, time=time))
    return records
