"""The streamed messages of one open call: how their events are told apart, and what of them joins the call's record."""

from __future__ import annotations

from msgspec.structs import replace

from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.streams import EventStream, joined_verdict
from eastwall.model.call import Call, Completion, Phase, Response
from eastwall.model.decision import Decision
from eastwall.protocols.streams import Splitter, splitter
from eastwall.protocols.websocket import WebSocketSplitter


class CallStreams:
    """Per direction an `EventStream`; None where no events are known."""

    __slots__ = ("_streams",)

    def __init__(self) -> None:
        self._streams: dict[Phase, EventStream | None] = {}

    def of(
        self, phase: Phase, call: Call, request: Decision, response: Decision | None, snapshot: LiveSnapshot
    ) -> EventStream | None:
        """The stream of a message of `call`, begun with its first piece. `request`, `response`: what was decided on the headers."""
        if phase not in self._streams:
            answered = response.facts.call.response if response is not None else None
            self._streams[phase] = _begun(phase, call, request, answered, snapshot)
        return self._streams[phase]

    @property
    def held(self) -> int:
        """Bytes of unfinished events."""
        return sum(stream.held for stream in self._streams.values() if stream is not None)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why events were not wholly inspected or not changed as wanted."""
        return tuple(reason for stream in self._streams.values() if stream is not None for reason in stream.reasons)

    @property
    def judged(self) -> frozenset[Phase]:
        """The messages of which events were judged."""
        return frozenset(phase for phase, stream in self._streams.items() if stream is not None and stream.events)

    def events(self, phase: Phase) -> int:
        """How many were judged."""
        stream = self._streams.get(phase)
        return stream.events if stream is not None else 0

    def joined(self, phase: Phase, headers: Decision, *, copied: bool) -> Decision:
        """The decision on a message's headers with what came of its events. `copied`: a copy of the message will tell its data."""
        stream = self._streams.get(phase)
        if stream is None or stream.decided is None:
            return headers
        events = stream.decided
        findings = headers.findings + tuple(finding for finding in events.findings if finding not in headers.findings)
        decision = replace(headers, findings=findings, verdict=joined_verdict(headers.verdict, events.verdict))
        if copied:  # by the places of the whole message
            return decision
        return replace(decision, facts=replace(decision.facts, data=decision.facts.data + tuple(stream.data.values())))


def _begun(phase: Phase, call: Call, request: Decision, answered: Response | None, snapshot: LiveSnapshot) -> EventStream | None:
    if phase is Phase.RESPONSE:
        if answered is None:
            return None
        call = replace(call, response=answered)
    found: Splitter | None
    if "websocket" in call.request.headers.get("upgrade", "").lower():
        extensions = answered.headers.get("sec-websocket-extensions", "") if answered is not None else ""
        found = WebSocketSplitter(extensions, from_caller=phase is Phase.REQUEST, limit=snapshot.limits.max_decoded)
    else:
        found = splitter((call.response or call.request).headers.get("content-type", ""))
    if found is None:
        return None
    scope = snapshot.scope(call.service)
    return EventStream(call, request, found, limit=scope.max_body, block_over_limit=scope.over_limit == "block")


def told_by_data_plane(uninspected: tuple[str, ...], completion: Completion) -> tuple[str, ...]:
    """Without `request-streamed` and `response-streamed` that the data plane does not say: it alone knows whether a stream passed unseen,
    whose headers always look as if it did."""
    return tuple(reason for reason in uninspected if not reason.endswith("-streamed") or reason in completion.uninspected)
