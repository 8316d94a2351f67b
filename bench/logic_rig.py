"""A world behind an engine and its learner, in one process: the same `decide`, records and snapshots as a running Eastwall's."""

from __future__ import annotations

import json
import time

from bench.in_memory import Kept, Published
from bench.logic_clients import Ask, ask, dressed
from bench.logic_service import Result, perform
from bench.logic_worlds import User, World
from eastwall.learning.learner import Learner
from eastwall.model.call import BodyState, Call, Completion, Mode, Peer, Request, Response
from eastwall.model.event_id import event_id
from eastwall.model.finding import Finding
from eastwall.model.snapshot import SNAPSHOT_FORMAT, ServiceScope, Snapshot, TrustConfig
from eastwall.policy import encode, parse_files
from eastwall.policy.defaults import builtin_text
from eastwall.runtime.engine import Engine

SERVICE = "world"
PARTNER = "rates"
"""A third party that the service asks."""
OWNERSHIP = 100_000


class Outcome:
    """What became of one call."""

    __slots__ = ("blocked", "body", "findings", "result", "touched")

    def __init__(
        self, result: Result | None, touched: tuple[str, ...], body: bytes, findings: tuple[Finding, ...], *, blocked: bool
    ) -> None:
        self.result = result
        """What the caller got; None when Eastwall answered."""
        self.touched = touched
        """Of `result.touched` what reached the caller: Eastwall may have taken entries out of a list."""
        self.body = body
        """As delivered."""
        self.findings = findings
        self.blocked = blocked

    @property
    def done(self) -> bool:
        """The service did what it was asked, and the caller was told."""
        return self.result is not None and self.result.status < 300


class Rig:
    """A world, an engine and a learner. `carried` is what the service did, blocked answers included."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.time = 1_772_409_600.0
        self.calls = 0
        self.records = 0
        self.cut = 0
        """Answers out of which Eastwall took objects that the service had given."""
        self.fold_seconds = 0.0
        self._kept = Kept()
        self.store = Published()
        self._version = 0
        self.learner = Learner(bytes(range(32)))
        self.mode = Mode.MONITOR
        self.recording: list[tuple[Call, Response | None, Completion]] | None = None
        """Where calls are kept as they come, when somebody wants to see them again."""
        policies, faults = parse_files(dict(builtin_text()))
        assert not faults, faults
        self._policy = encode(policies)
        self.engine = Engine("bench", self.store, self._kept, clock=lambda: self.time)
        self.publish()

    def publish(self, mode: Mode | None = None) -> None:
        """Learn from what was recorded, and let the engine know."""
        self.mode = self.mode if mode is None else mode
        started = time.perf_counter()
        self.learner.fold(self._kept.records)
        assert not self.learner.unlearned, self.learner.fault  # to ask makes it learn from those too that wait for a template
        self.fold_seconds += time.perf_counter() - started
        self.records += len(self._kept.records)
        self._kept.records.clear()
        self._version += 1
        endpoints = self.learner.endpoints()
        self.store.publish(
            Snapshot(
                format=SNAPSHOT_FORMAT,
                version=self._version,
                created=self.time,
                hash_key=bytes(range(32)),
                services=(ServiceScope(SERVICE, mode=self.mode), ServiceScope(PARTNER, mode=self.mode, exposure="external")),
                trust=TrustConfig(jwks=(("", self.world.jwks()),)),
                endpoints=endpoints,
                policy=self._policy,
                ownership=self.learner.ownership(OWNERSHIP),
                identity_classes=self.learner.identities.classes(),
                behaviours=self.learner.knowledge(endpoints),
            )
        )
        self.engine.load()

    def ask(self, caller: User, op: str, **args: object) -> Ask:
        if op in ("login", "refresh"):
            args["now"] = self.time
        return ask(self.world, caller, op, **args)

    def call(
        self,
        caller: User,
        made: Ask,
        *,
        gap: float = 0.4,
        address: str = "",
        agent: str = "",
        token: str = "",
        service: str = SERVICE,
        reply: Result | None = None,
        location: str = "",
    ) -> Outcome:
        """One call: judged, carried out by the service unless it was blocked, its answer judged before it is delivered. `reply`: what is
        answered instead; `location`: whereto the answer redirects."""
        self.calls += 1
        self.time += gap
        body = b"" if made.body is None else json.dumps(made.body).encode()
        headers = {"user-agent": agent or caller.agents[0], "accept": "application/json", **made.headers}
        if not made.anonymous:
            headers["authorization"] = f"Bearer {token or self.world.token(caller, self.time)}"
        if body:
            headers["content-type"] = "application/json"
        source = address or caller.addresses[0]
        state = BodyState.COMPLETE if body else BodyState.NONE
        request = Request(made.method, made.path, headers, authority=f"{service}.example", body=body, body_state=state)
        call = Call(event_id(self.time, self.calls.to_bytes(10, "big")), service, self.time, Peer(source, 1), request)
        answer = self.engine.request(call)
        result: Result | None = None
        response: Response | None = None
        delivered, shown = b"", 0
        if not answer.deny:
            result = perform(self.world, caller, made.op, made.args) if reply is None else reply
            shown, content = dressed(self.world, made, result.status, result.body)
            delivered = b"" if content is None else json.dumps(content).encode()
            told = {"content-type": "application/json"} | ({"location": location} if location else {})
            response = Response(shown, told, delivered, BodyState.COMPLETE if delivered else BodyState.NONE)
            answer = self.engine.response(call.id, response)
            if answer.body is not None:
                delivered = answer.body
        status = answer.status if answer.deny else shown
        path = made.path.partition("?")[0]
        host, sizes = f"{service}.example", (len(body), len(delivered))
        completion = Completion(call.id, service, self.time, made.method, path, host, status, *sizes, 900, source)
        self.engine.completed(completion)
        if self.recording is not None:
            self.recording.append((call, response, completion))
        self.engine.tick(self.time)
        findings = self._kept.records[-1].findings
        if result is None or (answer.deny and not result.changed):
            return Outcome(None, (), b"", findings, blocked=True)
        touched = result.touched
        if answer.deny:
            return Outcome(None, touched, b"", findings, blocked=True)
        if answer.body is not None and not result.changed:
            text = delivered.decode("utf-8", "replace")
            touched = tuple(one for one in touched if self._stands(one, text))
            self.cut += touched != result.touched
        return Outcome(result, touched, delivered, findings, blocked=False)

    def _stands(self, touched: str, text: str) -> bool:
        item = self.world.items.get(touched)
        return item is None or str(self.world.answered(item)) in text
