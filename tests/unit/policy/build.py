"""Short ways to the values that policy tests are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, unquote

from eastwall.discovery.inventory import endpoint_id
from eastwall.model.call import BodyState, Call, Mode, Peer, Phase, Request, Response
from eastwall.model.decision import ALLOWED, Decision, Verdict
from eastwall.model.endpoint import Endpoint, Match
from eastwall.model.facts import DataHit, Facts
from eastwall.model.finding import Detection, Finding
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.model.operation import Operation
from eastwall.model.snapshot import ServiceScope
from eastwall.policy import LimitTable, Plan, PolicySet, compile_plan, encode, evaluate, parse_files

NOW = 1_700_000_000.0


def detection(id: str, default_action: str = "block") -> Detection:
    return Detection(id, id, "high", "high", "both", ("request",), (), (), (), "exploitation", "monitor", default_action)


DETECTIONS = (detection("sql-injection"), detection("object-not-granted"), detection("mass-assignment", "report"))


def finding(id: str = "sql-injection", severity: str = "critical", confidence: str = "high") -> Finding:
    return Finding(id, severity, confidence, ("API8:2023",), "query.q", "text where a name is expected")


def policies(text: str) -> PolicySet:
    """The policies of a YAML text; fails the test on any fault."""
    found, faults = parse_files({"p.yaml": text})
    assert not faults, "\n".join(map(str, faults))
    return found


def document(kind: str, name: str = "p", **spec: object) -> str:
    """One YAML document (JSON is YAML)."""
    import msgspec

    body = {"apiVersion": "eastwall.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    return "---\n" + msgspec.json.encode(body).decode() + "\n"


def plan(text: str, mode: Mode = Mode.ENFORCE, endpoints: Sequence[Endpoint] = (), service: str = "orders") -> Plan:
    scopes = [ServiceScope(service, mode)]
    return compile_plan(encode(policies(text)), services=scopes, endpoints=endpoints, detections=DETECTIONS)


def user(name: str = "alice", strength: Strength = Strength.VERIFIED, **fields: object) -> Identity:
    values: dict[str, object] = {"cls": "user", "claims": {"sub": name}, **fields}
    return Identity(f"user:{name}", "user", strength, chain=(Principal("user", name, strength),), **values)  # type: ignore[arg-type]


def endpoint(method: str, template: str, service: str = "orders") -> Endpoint:
    return Endpoint(endpoint_id(service, method, template), service, method, template)


def operation(method: str, target: str, body: object = None) -> Operation:
    import msgspec

    path, _, query = target.partition("?")
    segments = tuple(unquote(part) for part in path.strip("/").split("/")) if path.strip("/") else ()
    kind, raw = ("json", msgspec.json.encode(body)) if body is not None else ("none", b"")
    return Operation("rest", method, segments, path, tuple(parse_qsl(query)), body, kind, raw_body=raw)


def request(
    method: str = "GET",
    target: str = "/orders/1",
    identity: Identity | None = None,
    *,
    service: str = "orders",
    match: Match | None = None,
    time: float = NOW,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    data: Sequence[str] = (),
    source: str = "10.0.0.9",
    used: Sequence[int] = (),
    id: str = "01HF0000000000000000000000",
) -> Facts:
    asked = operation(method, target, body)
    sent = Request(method, target, dict(headers or {}), "orders.shop", body=asked.raw_body, body_state=BodyState.COMPLETE)
    call = Call(id, service, time, Peer(source), sent)
    hits = tuple(DataHit(name, "body.x", "****") for name in data)
    return Facts(
        call,
        Phase.REQUEST,
        asked,
        match or Match(None),
        identity or user(),
        used=tuple(("path.id", "order", one, str(one)) for one in used),
        data=hits,
    )


def response(
    asked: Facts,
    data: Sequence[str] = (),
    status: int = 200,
    body: object = None,
    *,
    amounts: Mapping[str, int] | None = None,
    given: Sequence[int] = (),
    answered: Response | None = None,
) -> Facts:
    """The response to a request, as `decide` sees it."""
    prior = Decision(asked.call.id, Phase.REQUEST, asked.match, asked.identity, asked, (), ALLOWED)
    call = Call(
        asked.call.id,
        asked.call.service,
        asked.call.time,
        asked.call.peer,
        asked.call.request,
        answered or Response(status, {}, body_state=BodyState.COMPLETE),
        prior,
    )
    hits = tuple(DataHit(name, "body.x", "****") for name in data)
    got = asked.operation if body is None else operation(asked.call.request.method, asked.call.request.path, body)
    counted, objects = tuple(sorted((amounts or {}).items())), tuple(("order", one) for one in given)
    return Facts(call, Phase.RESPONSE, got, asked.match, asked.identity, data=hits, amounts=counted, given=objects)


def judge(
    text: str, facts: Facts, findings: Sequence[Finding] = (), *, mode: Mode = Mode.ENFORCE, limits: LimitTable | None = None
) -> Verdict:
    return evaluate(plan(text, mode), facts, findings, (), limits or LimitTable())
