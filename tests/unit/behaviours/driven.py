"""Calls through `decide` with what models published, answered and completed: for tests of watches and of what they find."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from tests.unit.decision.world import DETECTORS, ENDPOINTS, NOW, PREFILTER, call, snapshot

from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.decide import decide
from eastwall.decision.state import LiveState
from eastwall.model.call import BodyState, Completion, Mode, Response
from eastwall.model.decision import Decision
from eastwall.model.endpoint import Endpoint
from eastwall.model.finding import Finding
from eastwall.policy import encode, parse_files
from eastwall.policy.defaults import builtin_text


class Outcome(Struct, frozen=True):
    """What became of a call."""

    findings: tuple[Finding, ...]
    blocked: bool
    notes: dict[str, Any]
    actor: str

    def of(self, detection: str) -> Finding | None:
        return next((finding for finding in self.findings if finding.id == detection), None)


class Engine:
    """The core of an engine: one state, one snapshot with the built-in policies."""

    def __init__(self, *, mode: Mode = Mode.ENFORCE, endpoints: tuple[Endpoint, ...] = ENDPOINTS, **knowledge: Struct) -> None:
        policies, faults = parse_files(dict(builtin_text()))
        assert not faults
        published = tuple((name, msgspec.msgpack.encode(known)) for name, known in knowledge.items())
        world = msgspec.structs.replace(snapshot(mode, endpoints=endpoints, behaviours=published), policy=encode(policies))
        self.snapshot = LiveSnapshot(world, DETECTORS, PREFILTER)
        self.state = LiveState()
        self.time = NOW
        self.calls = 0

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        status: int = 200,
        answer: Any = None,
        gap: float = 1.0,
        agent: str = "app/1.0",
        credential: dict[str, str] | None = None,
        **more: Any,
    ) -> Outcome:
        """One call from its request to its completion."""
        self.calls += 1
        self.time += gap
        made = call(
            method, path, body, time=self.time, number=self.calls, headers={"user-agent": agent, **(credential or {})}, **more
        )
        request = decide(made, self.snapshot, self.state)
        response: Decision | None = None
        if request.verdict.action == "block":
            status = 403
        else:
            data = b"" if answer is None else msgspec.json.encode(answer)
            told = Response(status, {"content-type": "application/json"}, data, BodyState.COMPLETE if data else BodyState.NONE)
            response = decide(msgspec.structs.replace(made, response=told, prior=request), self.snapshot, self.state)
        completion = Completion(made.id, "orders", self.time, method, path.partition("?")[0], "x", status, 0, 0, 900)
        notes = dict(self.state.watches.completed(request, response, completion))
        findings = request.findings + (response.findings if response is not None else ())
        return Outcome(findings, request.verdict.action == "block", notes, request.identity.actor)
