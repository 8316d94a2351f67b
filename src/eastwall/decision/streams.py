"""The events of a stream, judged one by one while they pass.

`judge_event` is `decide` for one event: the event is decoded as a message of the call's endpoint and goes the same way, with the
identity and the endpoint that its call's headers gave. An event of a request spends no limit (the call has paid), one of an answer what
limits count in answers; what is refused is the stream.
"""

from __future__ import annotations

from msgspec.structs import replace

from eastwall.decision.changing import changed
from eastwall.decision.compare import compare
from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.extract import extract, of_message
from eastwall.decision.remember import remember
from eastwall.decision.state import LiveState
from eastwall.decision.weigh import examine
from eastwall.discovery.aggregation import StreamRows
from eastwall.model.call import BodyState, Call, Phase
from eastwall.model.decision import Decision, Deny, PolicyMatch, Release, Throttle, Verdict
from eastwall.model.facts import DataHit
from eastwall.model.finding import Finding
from eastwall.policy.actions.problem import answer
from eastwall.policy.evaluate import evaluate
from eastwall.protocols.decode import decode_request, decode_response
from eastwall.protocols.streams import Event, Splitter

MAX_TOLD = 64
"""Findings and policy matches of a stream's events that its record keeps."""
HOLD_LIMIT = 256 << 10
"""Bytes of an unfinished event that are held back, at most (and at most the scope's `max_body`)."""
_ORDER = ("allow", "redact", "limit", "block")


def judge_event(call: Call, prior: Decision, event: Event, snapshot: LiveSnapshot, state: LiveState, kind: str = "") -> Decision:
    """Judge one event of a stream: of the request's, or, when `call.response` is there, of the response's.

    `prior` is the decision on the headers of the request. `kind`: the Content-Type of the event's data, empty for the message's own.
    """
    messages = snapshot.descriptors(call.service)
    body_state = BodyState.COMPLETE if event.whole else BodyState.TRUNCATED
    if call.response is None:
        headers = {**call.request.headers, "content-type": kind} if kind else call.request.headers
        call = replace(call, request=replace(call.request, headers=headers, body=event.data, body_state=body_state))
        operation = decode_request(call.request, snapshot.limits, messages)
    else:
        headers = call.response.headers
        if kind:
            headers = {**headers, "content-type": kind}
        call = replace(
            call, response=replace(call.response, headers=headers, body=event.data, body_state=body_state), prior=prior
        )
        assert call.response is not None
        operation = decode_response(call.response, call.request, snapshot.limits, prior.facts.operation, messages)
    facts = compare(extract(call, operation, prior.match, prior.identity, snapshot, state), snapshot, state)
    if call.response is None:
        facts = of_message(facts, prior.facts)
    findings, errors = examine(facts, snapshot)
    verdict = evaluate(snapshot.plan, facts, findings, errors, state.limits, event=True, stepped_back=state.guards.stepped)
    if call.response is not None:
        remember(facts, verdict, snapshot, state, {key for _, _, key, _ in prior.facts.used})
    return Decision(call.id, facts.phase, prior.match, prior.identity, facts, findings, verdict)


def redacted(
    decision: Decision, snapshot: LiveSnapshot, rows: StreamRows | None = None
) -> tuple[bytes | None, bool, tuple[str, ...]]:
    """(the event's data as its verdict wants it, whether a value that was to be replaced was left in it, what else could not be done)."""
    done = changed(decision, snapshot, event=True, rows=rows)
    left = done.body is None and any(hit.data_class in done.asked for hit in decision.facts.data)
    return b"null" if done.uncut else done.body, left, done.reasons


class EventStream:
    """One direction of a stream of one call: its splitter, and what is to be told of its events."""

    __slots__ = ("_block", "_call", "_limit", "_prior", "_rows", "_splitter", "data", "decided", "ended", "events", "reasons")

    def __init__(self, call: Call, prior: Decision, splitter: Splitter, *, limit: int, block_over_limit: bool) -> None:
        """`call`: with the response's headers when it is the response's events. `limit`: the scope's `max_body`."""
        self._call = call
        self._prior = prior
        self._splitter = splitter
        self._rows = StreamRows()
        self._limit = min(limit, HOLD_LIMIT)
        self._block = block_over_limit
        self.events = 0
        """Judged so far."""
        self.decided: Decision | None = None
        """What all events together came to: their findings, and the strongest verdict."""
        self.data: dict[tuple[str, str], DataHit] = {}
        """Sensitive data of the events, once per class and place, `MAX_TOLD` at most."""
        self.ended = False
        """By our refusal."""
        self.reasons: dict[str, None] = {}
        """Why a part of it was not inspected, or not changed as wanted."""

    @property
    def held(self) -> int:
        """Bytes of the event that is not yet whole."""
        return self._splitter.held

    def take(
        self, data: bytes, snapshot: LiveSnapshot, state: LiveState, *, end: bool, watched: bool, room: int = HOLD_LIMIT
    ) -> Release:
        """Judge the events that end in these bytes. `watched`: they have passed already, and only what is told counts.

        `room`: bytes of an unfinished event that may be held yet, over all streams.
        """
        wire: list[bytes] = []
        consumed = 0
        changed = part = ended = False
        refuse_large = self._block and not watched
        events = self._splitter.take(data, end=end)
        if not end and self._splitter.held > min(self._limit, room):
            if refuse_large:
                ended = True
            else:
                events.append(self._splitter.skip())
        for event in events:
            consumed += event.size
            out = event.wire
            if not event.whole:
                if refuse_large:
                    return self._too_large(wire)
                part = True
                self._told_large()
            if event.data:
                refused, new = self._judge(event, snapshot, state)
                if refused is not None and not watched:
                    return self._end(b"".join(wire), refused)
                out = self._splitter.keep(event) if new is None else new
            changed = changed or out is not event.wire or len(out) != event.size
            wire.append(out)
        if ended:
            return self._too_large(wire)
        return Release(consumed, b"".join(wire) if changed else None, part=part)

    def _judge(self, event: Event, snapshot: LiveSnapshot, state: LiveState) -> tuple[bytes | None, bytes | None]:
        """(the problem document that refuses it, what goes on in its place)."""
        decision = judge_event(self._call, self._prior, event, snapshot, state, self._splitter.content_type(event.data))
        self.events += 1
        self._note(decision, whole=event.whole)
        effects = decision.verdict.effects
        if not effects:
            return None, None
        if any(isinstance(effect, Deny | Throttle) for effect in effects):
            return answer(decision.verdict, decision.facts.call).body or b"{}", None
        side = "request" if decision.phase is Phase.REQUEST else "response"
        body, left, reasons = redacted(decision, snapshot, self._rows)
        self.reasons.update(dict.fromkeys(reasons))
        new = self._splitter.change(event, body) if body is not None and event.whole else None
        if left or (body is not None and new is None):
            self.reasons[f"{side}-not-redacted"] = None
        return None, new

    def _note(self, decision: Decision, *, whole: bool) -> None:
        for reason in decision.facts.uninspected:
            if whole or not reason.endswith("-truncated"):
                self.reasons[reason] = None
        for hit in decision.facts.data:
            if len(self.data) < MAX_TOLD:
                self.data.setdefault((hit.data_class, hit.place), hit)
        before = self.decided
        if before is None:
            self.decided = decision
            return
        if not decision.findings and not decision.verdict.matches:
            return
        self.decided = replace(
            before,
            findings=_more(before.findings, decision.findings),
            verdict=joined_verdict(before.verdict, decision.verdict),
        )

    def _too_large(self, wire: list[bytes]) -> Release:
        self._told_large()
        refusal = Deny(413, "Content Too Large", "An event of the stream is larger than can be inspected.", "event-too-large")
        problem = answer(Verdict("block", "block", (refusal,)), self._call).body
        return self._end(b"".join(wire), problem or b"{}")

    def _told_large(self) -> None:
        self.reasons[f"{'request' if self._call.response is None else 'response'}-event-too-large"] = None

    def _end(self, before: bytes, problem: bytes) -> Release:
        self.ended = True
        last, trailers = self._splitter.refusal(problem)
        # Of a request nothing more reaches the service; what is said then is said to the caller.
        return Release(0, last if self._call.response is None else before + last, end=True, trailers=trailers)


def _more(before: tuple[Finding, ...], found: tuple[Finding, ...]) -> tuple[Finding, ...]:
    if not found or len(before) >= MAX_TOLD:
        return before
    return (before + tuple(finding for finding in found if finding not in before))[:MAX_TOLD]


def joined_verdict(before: Verdict, now: Verdict) -> Verdict:
    """The stronger of two, with what matched in both (each policy once per finding); its effects have been carried out."""
    if not now.matches:
        return before
    known = {(match.policy, match.finding) for match in before.matches}
    fresh: tuple[PolicyMatch, ...] = tuple(match for match in now.matches if (match.policy, match.finding) not in known)
    return Verdict(
        max(before.action, now.action, key=_ORDER.index),
        max(before.would, now.would, key=_ORDER.index),
        (),
        (fresh + before.matches if _ORDER.index(now.would) > _ORDER.index(before.would) else before.matches + fresh)[:MAX_TOLD],
    )
