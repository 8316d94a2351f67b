"""Runs the cases of policy tests through the live `decide`, offline: nothing is learned, nothing is sent anywhere."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.jwk import OctKey
from msgspec import UNSET, Struct
from msgspec.structs import replace

from eastwall import detections, policy
from eastwall.decision.changing import changed
from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.decide import decide
from eastwall.decision.state import LiveState
from eastwall.detections import Detector
from eastwall.detections.prefilter import Prefilter
from eastwall.discovery.data_values import restore_automaton
from eastwall.model.call import BodyState, Call, Completion, Mode, Peer, Request, Response
from eastwall.model.decision import Decision, Deny, PolicyMatch, Throttle
from eastwall.model.event_id import event_id
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.model.snapshot import SNAPSHOT_FORMAT, ServiceScope, Snapshot
from eastwall.policy.cases import TestedCase
from eastwall.policy.kinds import CaseCall, CaseCaller, CaseStep, Service
from eastwall.policy.replay import PASSING
from eastwall.policy.steps import limits as rate_limits
from eastwall.runtime import automata_file
from eastwall.runtime.message_schemas import known_schemas
from eastwall.runtime.policy_store import PolicyState

ISSUER = "urn:eastwall:policy-test"
STOPPED = ("block", "limit")
STRENGTHS = {strength.name.lower(): strength for strength in Strength}


class Failed(Struct, frozen=True):
    """One expectation that was not met."""

    file: str
    line: int
    step: int
    """Of the case's steps, from 1."""
    expected: str
    happened: str
    why: list[str]
    """The verdict in plain lines: which policy, at which line."""


class Ran(Struct, frozen=True):
    """One case that was run."""

    name: str
    file: str
    line: int
    seconds: float
    failed: list[Failed]


@cache
def _detection() -> tuple[tuple[Detector, ...], Prefilter]:
    """Detectors, and the patterns before them: to compile these takes seconds where they were not built with the program."""
    detectors = tuple(detections.load())
    built = automata_file.built()
    restore_automaton(built.get("data", b""))
    return detectors, Prefilter(detectors, built.get("prefilter", b""))


class CaseRunner:
    """Takes cases one by one; each begins afresh."""

    def __init__(self, state: PolicyState) -> None:
        """`state`: the policies, compiled as control compiles them. Raises ValueError, one line."""
        self._detectors, self._prefilter = _detection()
        self._key = OctKey.generate_key(256)
        self._state = state
        self._live: dict[tuple[str, frozenset[str]], LiveSnapshot] = {}
        self._services = frozenset(one.name for one in state.policies.policies if isinstance(one.spec, Service))

    def run(self, case: TestedCase) -> Ran:
        """Judge the calls of a case, and compare."""
        began = time.perf_counter()
        state, live = LiveState(), self._snapshot(case)
        state.audit_all = True
        start = case.time or time.time()
        now, failed = start, []
        for number, (step, line) in enumerate(zip(case.steps, case.lines, strict=True), 1):
            now = max(now, start + step.at) if step.at is not None else now
            for _ in range(step.repeat):
                problem = _judge(self._call(step.call, now), step, live, state)
                if problem is not None:
                    failed.append(Failed(case.file, line, number, *problem))
                    break
        return Ran(case.name, case.file, case.line, time.perf_counter() - began, failed)

    def _snapshot(self, case: TestedCase) -> LiveSnapshot:
        named = frozenset(service for step in case.steps if (service := step.call.service)) | self._services
        found = self._live.get((case.mode, named))
        if found is None:
            found = self._live[case.mode, named] = self._compiled(case.mode, named)
        return found

    def _compiled(self, mode: str, services: frozenset[str]) -> LiveSnapshot:
        state = self._state
        level = Mode[mode.upper()]
        scopes = policy.scopes_of(state.policies, [ServiceScope(name) for name in sorted(services)])
        keys = (ISSUER, msgspec.json.encode({"keys": [self._key.as_dict()]}))
        endpoints = tuple(one for found in state.declared.values() for one in found)
        snapshot = Snapshot(
            format=SNAPSHOT_FORMAT,
            version=0,
            created=0.0,
            hash_key=os.urandom(32),
            services=tuple(replace(scope, mode=level) for scope in scopes),
            trust=replace(state.trust, jwks=(*state.trust.jwks, keys)),
            endpoints=endpoints,
            policy=state.encoded,
            data_classes=policy.custom_classes(state.policies),
            descriptors=tuple(state.descriptors.items()),
            schemas=known_schemas(state.policies, endpoints, state.declared),
        )
        return LiveSnapshot(snapshot, self._detectors, self._prefilter)

    def _call(self, given: CaseCall, now: float) -> tuple[Call, Identity | None]:
        headers = {name.lower(): value for name, value in given.headers.items()}
        body = _body(given.body, headers)
        if given.token:
            token = jwt.encode({"alg": "HS256"}, {**given.token, "iss": ISSUER}, self._key)
            headers["authorization"] = f"Bearer {token}"
        service = given.service or next(iter(self._services))
        peer = Peer(given.source, 0, bool(given.certificate), (given.certificate,) if given.certificate else ())
        state = BodyState.COMPLETE if body else BodyState.NONE
        host = given.host or headers.get("host", service)
        request = Request(given.method.upper(), given.path, headers, host, given.scheme, body, state)
        call = Call(event_id(now, os.urandom(10)), service, now, peer, request)
        return call, _identity(given.caller) if given.caller is not None else None


def _identity(given: CaseCaller) -> Identity:
    kind, _, name = given.actor.partition(":")
    strength = STRENGTHS[given.strength]
    chain = tuple(Principal(one.partition(":")[0], one.partition(":")[2], strength) for one in (given.actor, *given.chain))
    cls = given.cls or ("anonymous" if kind == "address" else "+".join((kind, *sorted(given.roles))) if kind == "user" else kind)
    workload = given.workload or (name if kind == "workload" else "")
    if kind == "workload" and not given.cls:
        cls = f"workload:{workload}"
    return Identity(
        actor=given.actor,
        kind=kind,
        strength=strength,
        cls=cls,
        chain=chain,
        roles=given.roles,
        scopes=given.scopes,
        tenant=given.tenant,
        claims={"sub": name, **given.claims},
        agent=given.agent or (given.actor if kind == "agent" else ""),
        human=given.human or (given.actor if kind == "user" else ""),
        workload=workload,
    )


def _body(given: Any, headers: dict[str, str]) -> bytes:
    if given is None:
        return b""
    if isinstance(given, str):
        return given.encode()
    headers.setdefault("content-type", "application/json")
    return msgspec.json.encode(given)


Problem = tuple[str, str, list[str]]


def _judge(asked: tuple[Call, Identity | None], step: CaseStep, live: LiveSnapshot, state: LiveState) -> Problem | None:
    """What is otherwise than expected: (expected, happened, why); None: nothing."""
    call, identity = asked
    decisions = [decide(call, live, state, identity=identity)]
    status, body = 200, call.request.body
    answer = changed(decisions[0], live)
    if answer.body is not None:
        body = answer.body
    if step.response is not None and decisions[0].verdict.action not in STOPPED:
        headers = {name.lower(): value for name, value in step.response.headers.items()}
        body = _body(step.response.body, headers)
        response = Response(step.response.status, headers, body, BodyState.COMPLETE if body else BodyState.NONE)
        decisions.append(decide(replace(call, response=response, prior=decisions[0]), live, state))
        answer = changed(decisions[1], live)
        status, body = response.status, body if answer.body is None else answer.body
    stopped = next((one for one in decisions if one.verdict.action in STOPPED), None)
    uncut = answer.uncut and stopped is None
    for effect in stopped.verdict.effects if stopped is not None else ():
        status = effect.status if isinstance(effect, Deny) else 429 if isinstance(effect, Throttle) else status
    done = Completion(call.id, call.service, call.time, call.request.method, call.request.path, call.request.authority, status,
                      len(call.request.body), len(body), 0)  # fmt: skip
    rate_limits.completed(state.limits, done, refused=stopped is not None)
    problems = _compared(step, decisions, 403 if uncut else status, body, uncut=uncut)
    if not problems:
        return None
    expected = step.expect
    wanted = expected.action + (f" by `{expected.policy}`" if expected.policy else "")
    why = [line for one in decisions for line in policy.explain(one.verdict)[1:]]
    findings = [
        f"found: {f.id} ({f.severity}, {f.confidence} confidence) at {f.where}: {f.message}"
        for d in decisions
        for f in d.findings
    ]
    return wanted, "; ".join(problems), list(dict.fromkeys([*why, *findings]))


def _action(decisions: list[Decision], view: str) -> str:
    actions: list[str] = [getattr(one.verdict, view) for one in decisions]
    return max(actions, key=("allow", "redact", "limit", "block").index)


def _deciding(decisions: list[Decision], action: str) -> list[PolicyMatch]:
    """Policies that may be meant: the deciding one; of calls that pass, all that let them in, or that report."""
    matches = [match for one in decisions for match in one.verdict.matches]
    if action in ("allow", "report"):
        return [
            match for match in matches if match.action in (("allow", "excused") if action == "allow" else ("report", "block"))
        ]
    for one in decisions:
        if one.verdict.action == action or one.verdict.would == action:
            first = next((match for match in one.verdict.matches if match.action not in PASSING), None)
            return [first] if first is not None else []
    return []


def _compared(step: CaseStep, decisions: list[Decision], status: int, body: bytes, *, uncut: bool) -> list[str]:
    expected = step.expect
    action = "block" if uncut else _action(decisions, "action")
    told = "report" if expected.action == "report" and action == "allow" else action
    if told == "report" and not any(match.action == "report" for one in decisions for match in one.verdict.matches):
        return ["it was let through, and nothing was reported"]
    deciding = _deciding(decisions, expected.action if told == expected.action else action)
    by = f" by {deciding[0].kind} `{deciding[0].policy}` ({deciding[0].location})" if deciding and action != "allow" else ""
    if told != expected.action:
        return [f"{action}{by}"]
    problems = []
    meant = [match for match in deciding if not expected.policy or match.policy == expected.policy]
    if expected.policy and not meant:
        others = ", ".join(f"`{match.policy}` ({match.location})" for match in deciding) or "no policy"
        problems.append(f"{action} by {others}")
    if expected.reason and meant and not any(expected.reason in match.reason for match in meant):
        problems.append(f"the reason was: {meant[0].reason}")
    if expected.would is not None and (would := _action(decisions, "would")) != expected.would:
        problems.append(f"would {would}, not {expected.would}")
    if expected.status is not None and expected.status != status:
        problems.append(f"status {status}, not {expected.status}")
    if expected.body is not UNSET and (got := _shown(body)) != expected.body:
        problems.append(
            f"body {msgspec.json.encode(got).decode()[:500]}, not {msgspec.json.encode(expected.body).decode()[:500]}"
        )
    return problems


def _shown(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body) if body else None
    except msgspec.DecodeError:
        return body.decode("utf-8", "replace")


def summary(ran: list[Ran]) -> Mapping[str, Any]:
    """As JSON has it."""
    return {
        "ok": not any(one.failed for one in ran),
        "cases": [msgspec.to_builtins(one) for one in ran],
    }
