"""Cases of the detections (`cases.yaml`), and how one becomes facts: a call goes the real way, decoder and prefilter included."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import yaml
from msgspec import Struct, convert
from msgspec.structs import replace

from eastwall import detections
from eastwall.detections.prefilter import Prefilter
from eastwall.model import deviations
from eastwall.model.call import BodyState, Call, Peer, Phase, Request, Response
from eastwall.model.decision import ALLOWED, Decision
from eastwall.model.endpoint import Endpoint, Match
from eastwall.model.facts import Facts, FunctionUse, LoginWindow, ObjectUse, Property, StepUse, ValueUse
from eastwall.model.finding import Finding
from eastwall.model.identity import Identity, Strength
from eastwall.protocols.decode import Limits, decode_request, decode_response

ROOT = Path(detections.__file__).parent
DETECTORS = detections.load()
PREFILTER = Prefilter(DETECTORS)
LIMITS = Limits()
NOBODY = Identity(actor="address:127.0.0.1", kind="address", strength=Strength.NONE, cls="anonymous")


class CallPart(Struct, frozen=True, forbid_unknown_fields=True):
    method: str
    url: str
    headers: dict[str, str] = {}
    body: str = ""
    body_state: str = ""


class ResponsePart(Struct, frozen=True, forbid_unknown_fields=True):
    status: int = 200
    headers: dict[str, str] = msgspec.field(default_factory=lambda: {"content-type": "application/json"})
    body: str = ""


class FactsPart(Struct, frozen=True, forbid_unknown_fields=True):
    actor: str
    strength: str
    cls: str = "user"
    objects: tuple[ObjectUse, ...] = ()
    new_properties: tuple[Property, ...] = ()
    login: LoginWindow | None = None
    faults: tuple[str, ...] = ()
    """What is wrong with the credentials."""
    endpoint: Endpoint | None = None
    """The learned operation that the call goes to."""
    beside: Endpoint | None = None
    """The operation of another method at its path."""
    function: FunctionUse | None = None
    values: tuple[ValueUse, ...] = ()
    steps: tuple[StepUse, ...] = ()
    audited: bool = True
    source: str = "127.0.0.1"
    deviations: tuple[dict[str, Any], ...] = ()
    """Fields of structs of `model.deviations`, each with the struct's name as `type`; of the response where there is one."""


class Case(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    kind: str
    call: CallPart | None = None
    response: ResponsePart | None = None
    """Judged in the response phase, as the answer to `call` (not set: `GET /`)."""
    facts: FactsPart | None = None
    where: str = ""
    severity: str = ""
    confidence: str = ""


def read(folder: Path) -> list[Case]:
    return convert(yaml.safe_load((folder / "cases.yaml").read_text("utf-8")), list[Case])


def request(
    method: str, url: str, headers: dict[str, str] | None = None, body: str | bytes = "", body_state: str = ""
) -> Request:
    data = body.encode() if isinstance(body, str) else body
    state = BodyState[body_state.upper()] if body_state else BodyState.COMPLETE if data else BodyState.NONE
    return Request(method=method, path=url, headers=headers or {}, authority="shop.example", body=data, body_state=state)


def facts_of(message: Request, identity: Identity = NOBODY, **more: Any) -> Facts:
    operation = decode_request(message, LIMITS)
    call = Call(id="0" * 26, service="shop", time=1_700_000_000.0, peer=Peer(address="127.0.0.1"), request=message)
    return Facts(
        call=call,
        phase=Phase.REQUEST,
        operation=operation,
        match=Match(endpoint=None),
        identity=identity,
        suspects=PREFILTER.scan(message, operation),
        unjudged=PREFILTER.unjudged,
        **more,
    )


def response_facts(message: Request, answer: Response, *, tls: bool = False, **more: Any) -> Facts:
    """Facts of the response phase, as `decide` makes them."""
    operation = decode_response(answer, message, LIMITS)
    call = Call(
        id="0" * 26,
        service="shop",
        time=1_700_000_000.0,
        peer=Peer(address="127.0.0.1", tls=tls),
        request=message,
        response=answer,
    )
    return Facts(
        call=call,
        phase=Phase.RESPONSE,
        operation=operation,
        match=Match(endpoint=None),
        identity=NOBODY,
        suspects=PREFILTER.scan_response(answer, operation),
        unjudged=PREFILTER.unjudged,
        **{"audited": True, **more},
    )


def case_facts(case: Case) -> Facts:
    if case.facts is not None:
        return _told_facts(case, case.facts)
    if case.response is not None:
        asked = case.call or CallPart(method="GET", url="/")
        return response_facts(_request(asked), _response(case.response))
    assert case.call is not None, f"{case.name}: a case has a call or facts"
    return facts_of(_request(case.call))


def _request(part: CallPart) -> Request:
    return request(part.method, part.url, part.headers, part.body, part.body_state)


def _response(part: ResponsePart) -> Response:
    data = part.body.encode()
    return Response(part.status, part.headers, data, BodyState.COMPLETE if data else BodyState.NONE)


def _told_facts(case: Case, known: FactsPart) -> Facts:
    """Facts as a case tells them; with a response, those of the response phase, whose request had these facts."""
    identity = Identity(
        actor=known.actor,
        kind=known.actor.partition(":")[0],
        strength=Strength[known.strength],
        cls=known.cls,
        faults=known.faults,
    )
    message = _request(case.call or CallPart(method="POST", url="/"))
    asked = facts_of(message, identity, objects=known.objects, new_properties=known.new_properties, login=known.login)
    asked = replace(asked, function=known.function, values=known.values, steps=known.steps)
    peer = Peer(address=known.source)
    asked = replace(
        asked, match=Match(known.endpoint, beside=known.beside), audited=known.audited, call=replace(asked.call, peer=peer)
    )
    differs = tuple([_deviation(dict(one)) for one in known.deviations])
    if case.response is None:
        return replace(asked, deviations=differs)
    prior = Decision(asked.call.id, Phase.REQUEST, asked.match, identity, asked, (), ALLOWED)
    told = response_facts(message, _response(case.response))
    call = replace(told.call, prior=prior, peer=peer)
    return replace(told, match=asked.match, identity=identity, call=call, audited=known.audited, deviations=differs)


def _deviation(told: dict[str, Any]) -> deviations.Deviation:
    found: deviations.Deviation = convert(told, getattr(deviations, told.pop("type")))
    return found


def findings(message: Request) -> tuple[Finding, ...]:
    found, errors = detections.detect(facts_of(message), DETECTORS)
    assert not errors
    return found


def in_query(value: str) -> Request:
    return request("GET", "/search?q=" + quote(value, safe=""))
