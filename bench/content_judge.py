"""One way to judge a call in the bench: through `decide`, in enforce mode, under the built-in policy; and the same call at the peer."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from bench.modsecurity import ModSecurity
from eastwall import detections
from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.decide import decide
from eastwall.decision.state import LiveState
from eastwall.detections.prefilter import Prefilter
from eastwall.model.call import Call, Mode, Peer, Request, Response
from eastwall.model.finding import Finding
from eastwall.model.snapshot import SNAPSHOT_FORMAT, ServiceScope, Snapshot

SERVICE = "shop"


class Judged(Struct, frozen=True):
    """What `decide` made of one call."""

    blocked: bool
    """The call is refused: a finding of high or critical severity and at least medium confidence, as the built-in policy has it."""
    findings: tuple[Finding, ...]
    skipped: tuple[str, ...]
    """What was not inspected."""

    @property
    def ids(self) -> str:
        return ", ".join(sorted({finding.id for finding in self.findings}))


class Judge:
    """Eastwall as installed: all detections, the built-in policy, nothing learned."""

    def __init__(self) -> None:
        detectors = detections.load()
        scope = ServiceScope(name=SERVICE, mode=Mode.ENFORCE)
        snapshot = Snapshot(format=SNAPSHOT_FORMAT, version=1, created=0.0, hash_key=b"k" * 32, services=(scope,))
        self.live = LiveSnapshot(snapshot, detectors, Prefilter(detectors))
        self._number = 0

    def call(self, request: Request) -> Call:
        self._number += 1
        return Call(f"{self._number:026d}", SERVICE, 1_800_000_000.0 + self._number, Peer(address="127.0.0.1"), request)

    def judge(self, request: Request, response: Response | None = None) -> Judged:
        """A fresh state each time: no call of a corpus has to do with the one before it."""
        state = LiveState()
        call = self.call(request)
        decisions = [decide(call, self.live, state)]
        if response is not None:
            later = Call(call.id, call.service, call.time, call.peer, request, response, decisions[0])
            decisions.append(decide(later, self.live, state))
        return Judged(
            any(decision.verdict.action == "block" for decision in decisions),
            tuple(finding for decision in decisions for finding in decision.findings),
            tuple(reason for decision in decisions for reason in decision.facts.uninspected),
        )


class Score(Struct):
    """Counts over a set of calls."""

    total: int = 0
    blocked: int = 0
    found: int = 0
    """Any finding at all."""

    def add(self, judged: Judged) -> None:
        self.total += 1
        self.blocked += judged.blocked
        self.found += bool(judged.findings)

    @property
    def rate(self) -> float:
        return self.blocked / self.total if self.total else 0.0


def asked(request: Request) -> tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]:
    """A request as `ModSecurity` takes it."""
    headers = [(name.encode(), value.encode("utf-8", "replace")) for name, value in request.headers.items()]
    return request.method.encode(), request.path.encode("utf-8", "replace"), headers, request.body


def refused(peer: ModSecurity, requests: Iterable[Request]) -> Score:
    """How many of them the peer stops."""
    score = Score()
    for request in requests:
        score.total += 1
        score.blocked += peer.refuses(*asked(request))
    score.found = score.blocked
    return score
