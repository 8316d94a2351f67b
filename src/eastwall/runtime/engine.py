"""The engine: puts `decide` behind a data plane. One per process, one thread; no learning, no queries, no background work.

What it keeps beside the live state is the set of open calls (between request and completion), bounded by MAX_OPEN: the oldest is
given up first, its response then passes unjudged and is counted as `engine-lost`.

Over 500 lines: every step between the data plane and `decide` is here, in the order in which a call takes it.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from eastwall import detections
from eastwall.decision.changing import changed
from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.copies import brings_more, meant_status, with_copies
from eastwall.decision.decide import decide
from eastwall.decision.extract import login_endpoint, sign_in
from eastwall.decision.remember import not_done, remember
from eastwall.decision.state import LiveState
from eastwall.detections.prefilter import Prefilter
from eastwall.discovery.data_classes import find
from eastwall.discovery.data_values import automaton, restore_automaton
from eastwall.discovery.identity import source_of
from eastwall.model.call import BodyState, Call, Completion, Mode, Peer, Phase, Request, Response
from eastwall.model.decision import PASS, Answer, Decision, Deny, Piece, Quota, Redact, Release, Throttle, Verdict
from eastwall.model.record import RECORD_VERSION, CallRecord
from eastwall.model.snapshot import SNAPSHOT_FORMAT, Snapshot
from eastwall.policy.actions.problem import UNCUT, answer, rate_limit_fields
from eastwall.policy.steps import limits
from eastwall.ports.snapshots import SnapshotCorrupt, SnapshotStore
from eastwall.ports.spool import RecordWriter
from eastwall.protocols import xml
from eastwall.runtime.call_streams import CallStreams, told_by_data_plane

log = logging.getLogger("eastwall.engine")

MAX_OPEN = 50_000
HOLD_TOTAL = 64 << 20
"""Bytes of unfinished events of streams that are held, over all calls; beyond it each is too large."""
FLUSH = 0.01
"""Seconds for which records are gathered before they are written; a killed engine loses at most these and the calls in flight."""
SNAPSHOT_CHECK = 0.2
HEARTBEAT = 1.0
_STALE = ("content-encoding", "etag", "content-md5", "digest", "content-digest", "repr-digest")
_JSON = {"content-type": "application/json", "authorization": "Bearer e30.e30.e30", "cookie": "a=b"}
_REHEARSAL = (
    Request("GET", "/a/1?b=c", {"accept": "*/*"}),
    Request("POST", "/a", _JSON, body=b'{"id":1,"b":[{"c":"d@example.com"}]}', body_state=BodyState.COMPLETE),
    Request("POST", "/a?b=../../etc/passwd", _JSON, body=b'{"b":"\' or 1=1 -- ;id"}', body_state=BodyState.COMPLETE),
)
"""An ordinary call, one with a body, one that makes the content detections look closely."""
_REHEARSED = Response(200, {"content-type": "application/json"}, b'{"id":1,"b":[{"c":"d@example.com"}]}', BodyState.COMPLETE)


class _Open:
    """A call between its request and its completion."""

    __slots__ = ("answered", "call", "request", "response", "spent", "streams", "uninspected")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.request: Decision | None = None
        self.response: Decision | None = None
        self.answered = False
        self.spent = 0.0
        self.uninspected: tuple[str, ...] = ()
        self.streams: CallStreams | None = None
        """Of the messages that come in pieces."""


class Engine:
    """Implements `ports.Inspector`."""

    def __init__(
        self,
        name: str,
        snapshots: SnapshotStore,
        spool: RecordWriter,
        *,
        beat: Path | None = None,
        clock: Callable[[], float] = time.time,
        automata: Mapping[str, bytes] | None = None,
        ready: bool = True,
    ) -> None:
        """`automata`: what `automata()` gave an earlier engine, which spares the compiling. Without `ready`, the first calls wait for what
        is made or compiled at first use, and what no call uses is not made: for recorded calls."""
        self.name = name
        self.state = LiveState()
        self.uninspected: Counter[str] = Counter()
        self.calls = 0
        self._snapshots = snapshots
        self._spool = spool
        self._beat = beat
        self._clock = clock
        self._open: dict[str, _Open] = {}
        self._held = 0
        """Bytes of unfinished events, over all streams."""
        self._due: tuple[_Open, Decision, LiveSnapshot] | None = None
        """The message that was judged last, until it is remembered: after its answer has left, and before anything else is judged."""
        self._detectors = detections.load()
        kept = automata or {}
        self._prefilter = Prefilter(self._detectors, kept.get("prefilter", b""), later=not ready)
        if ready or "data" in kept:
            restore_automaton(kept.get("data", b""))
        self._next_flush = 0.0
        self._next_check = 0.0
        self._next_beat = 0.0
        self.snapshot = self._compile(Snapshot(format=SNAPSHOT_FORMAT, version=0, created=0.0, hash_key=os.urandom(32)))
        if ready:
            self._warm()
        self.load()

    # -- ports.Inspector ------------------------------------------------------------------------------------------

    def request(self, call: Call) -> Answer:
        if self._due is not None:
            self.settle()
        entry = _Open(call)
        if len(self._open) >= MAX_OPEN:
            given_up = self._open.pop(next(iter(self._open)))
            self._held -= given_up.streams.held if given_up.streams is not None else 0
            self.uninspected["engine-lost"] += 1
        self._open[call.id] = entry
        started = time.perf_counter()
        try:
            decision = entry.request = decide(call, self.snapshot, self.state, remembered=False)
            self._due = entry, decision, self.snapshot
            result = PASS if not decision.verdict.effects else self._carry_out(decision, entry)
        except Exception:
            log.exception("call %s: deciding on the request failed", call.id)
            result = self._failed(entry)
        entry.answered = result.deny
        entry.spent += time.perf_counter() - started
        return result

    def response(self, call_id: str, response: Response) -> Answer:
        if self._due is not None:
            self.settle()
        entry = self._open.get(call_id)
        if entry is None or entry.request is None:
            self.uninspected["engine-lost"] += 1
            return PASS
        started = time.perf_counter()
        try:
            call, prior = entry.call, entry.request
            call = Call(call.id, call.service, call.time, call.peer, call.request, response, prior)
            decision = entry.response = decide(call, self.snapshot, self.state, remembered=False)
            self._due = entry, decision, self.snapshot
            result = PASS if not decision.verdict.effects else self._carry_out(decision, entry)
        except Exception:
            log.exception("call %s: deciding on the response failed", call_id)
            result = self._failed(entry)
        entry.answered = entry.answered or result.deny
        entry.spent += time.perf_counter() - started
        return result

    def piece(self, piece: Piece) -> Release:
        if self._due is not None:
            self.settle()
        entry = self._open.get(piece.call_id)
        if entry is None or entry.request is None:
            self.uninspected["engine-lost"] += 1
            return Release(len(piece.data))
        started = time.perf_counter()
        if entry.streams is None:
            entry.streams = CallStreams()
        stream = entry.streams.of(piece.phase, entry.call, entry.request, entry.response, self.snapshot)
        if stream is None:
            release = Release(len(piece.data))
        else:
            held = stream.held
            room = HOLD_TOTAL - self._held + held
            release = stream.take(piece.data, self.snapshot, self.state, end=piece.end, watched=piece.watched, room=room)
            self._held += stream.held - held
            entry.answered = entry.answered or release.end
        entry.spent += time.perf_counter() - started
        return release

    def completed(self, completion: Completion) -> None:
        if self._due is not None:
            self.settle()
        self.calls += 1
        entry = self._open.pop(completion.id, None)
        if entry is not None and entry.streams is not None:
            self._tell_streams(entry, entry.streams, completion)
        if entry is not None and entry.request is not None and brings_more(completion):
            self._look_at_copies(entry, entry.request, completion)
        if entry is not None and entry.request is not None and entry.response is None:
            not_done(entry.request, self.state, counted=False)
        limits.completed(self.state.limits, completion, refused=entry is not None and entry.answered)
        if self.state.guards.rules and entry is not None and entry.request is not None and not entry.answered:
            self.state.guards.passed(entry.request, completion.status)
        try:
            record = (
                self._bare(completion, entry)
                if entry is None or entry.request is None
                else self._record(completion, entry, entry.request)
            )
            self._spool.append(record)
            if entry is not None and entry.request is not None:
                self._note_sign_in(entry, entry.request, meant_status(completion))
        except Exception:
            log.exception("call %s: its record could not be written", completion.id)
            self.uninspected["record-lost"] += 1

    def tick(self, now: float) -> None:
        self.state.limits.tick(now)
        if self._due is not None:
            self.settle()
        if now >= self._next_flush:
            # A write costs as much as judging a small call: records wait up to FLUSH for company.
            self._next_flush = now + FLUSH
            self._spool.flush()
        if now >= self._next_check:
            self._next_check = now + SNAPSHOT_CHECK
            if self._snapshots.changed():
                self.load()
        if now >= self._next_beat or self.state.guards.fresh:
            self._next_beat = now + HEARTBEAT
            self._write_beat()

    def settle(self) -> None:
        """Remember the message that was judged last. Whoever serves calls `tick` once the answer has left; if the next message is there
        before that, it comes first here."""
        due, self._due = self._due, None
        if due is None:
            return
        entry, decision, snapshot = due
        try:
            remember(decision.facts, decision.verdict, snapshot, self.state)
        except Exception:
            log.exception("call %s: it could not be remembered", decision.call_id)
            entry.uninspected += ("engine-error",)

    # -- start ----------------------------------------------------------------------------------------------------

    def automata(self) -> dict[str, bytes]:
        """The compiled patterns, for the next engine's `automata`."""
        return {"prefilter": self._prefilter.save(), "data": automaton().save()}

    def _warm(self) -> None:
        """Judge made-up calls, so that the first real one does not wait for what is made at first use. They go by a state and a
        snapshot that are thrown away, and leave no record."""
        state = LiveState()
        for request in _REHEARSAL:
            call = Call(id="", service="", time=0.0, peer=Peer(address=""), request=request)
            decision = decide(call, self.snapshot, state)
            decide(replace(call, response=_REHEARSED, prior=decision), self.snapshot, state)

    # -- snapshots ------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Take the newest snapshot; keep the present one when the newest is broken."""
        try:
            snapshot = self._snapshots.load()
            if snapshot is not None:
                self._take(snapshot)
        except SnapshotCorrupt as error:
            if self.snapshot.version == 0:  # just started: an older world is better than none
                self._load_previous()
            log.error("%s; going on with snapshot %d", error, self.snapshot.version)
            self.uninspected["snapshot-corrupt"] += 1
        except Exception:
            log.exception("the newest snapshot cannot be used; going on with snapshot %d", self.snapshot.version)
            self.uninspected["snapshot-unusable"] += 1

    def _load_previous(self) -> None:
        try:
            previous = self._snapshots.load_previous()
            if previous is not None:
                self._take(previous)
        except Exception:
            log.exception("the previous snapshot cannot be used either")

    def _take(self, snapshot: Snapshot) -> None:
        found = self.snapshot = self._compile(snapshot)
        self.state.guards.follow(found.guards, found.stepped_back, found.rearmed)
        self.state.limits.approvals.follow(snapshot.approvals)

    def _compile(self, snapshot: Snapshot) -> LiveSnapshot:
        return LiveSnapshot(snapshot, self._detectors, self._prefilter)

    # -- verdict -> answer ----------------------------------------------------------------------------------------

    def _carry_out(self, decision: Decision, entry: _Open) -> Answer:
        if any(isinstance(effect, Deny | Throttle) for effect in decision.verdict.effects):
            return answer(decision.verdict, decision.facts.call, decision.facts)
        done = changed(decision, self.snapshot)
        entry.uninspected += done.reasons
        if done.uncut:
            entry.response = replace(decision, verdict=replace(decision.verdict, action="block", would="block"))
            return answer(UNCUT, decision.facts.call, decision.facts)
        if done.asked:
            self._note_left(decision, done.asked, done.body, entry)
        headers = tuple(
            field
            for effect in decision.verdict.effects
            if isinstance(effect, Quota)
            for field in rate_limit_fields(effect.standings)
        )
        if done.body is None:
            return Answer(headers=headers) if headers else PASS
        # The replaced body is plain, whatever coding it had on the wire; validators of the original no longer hold.
        return Answer(headers=headers, body=done.body, remove_headers=_STALE)

    def _note_left(self, decision: Decision, asked: frozenset[str], body: bytes | None, entry: _Open) -> None:
        """Bodies alone are written anew, and not of every form: a value elsewhere passes, and the call says so."""
        facts = decision.facts
        found = {hit.data_class for hit in facts.data} & asked
        if not found:
            return
        request = decision.phase is Phase.REQUEST
        message = facts.call.request if request else facts.call.response
        left = body is None or any(
            hit.data_class in found
            for hit in find(
                replace(facts.operation, body=None, raw_body=b"", body_kind="none"),
                self.snapshot.data_classes,
                message.headers if message is not None else None,
                params=facts.match.params,
                path=request,
            )
        )
        if not left and body is not None and facts.operation.body_kind == "xml":
            # Elements that spell a value with references or in pieces stay as they were. A masked value still looks like one: not told.
            tree = xml.parse(body, self.snapshot.limits).tree
            before = {(hit.data_class, hit.place) for hit in facts.data if hit.data_class in found}
            masks = {effect.style for effect in decision.verdict.effects if isinstance(effect, Redact)} <= {"mask", "format"}
            now = find(replace(facts.operation, query=(), body=tree, raw_body=body), self.snapshot.data_classes)
            left = not masks and any((hit.data_class, hit.place) in before for hit in now)
        if left:
            entry.uninspected += ("request-not-redacted" if request else "response-not-redacted",)

    def _failed(self, entry: _Open) -> Answer:
        """An error of ours follows the scope's fail mode, and is counted."""
        entry.uninspected += ("engine-error",)
        scope = self.snapshot.scope(entry.call.service)
        if scope.mode is Mode.ENFORCE and scope.fail == "closed":
            deny = Deny(status=503, title="Not inspected", detail="This call could not be inspected.", type="not-inspected")
            return answer(Verdict(action="block", would="block", effects=(deny,)), entry.call, None)
        return PASS

    # -- completion -> record -------------------------------------------------------------------------------------

    def _note_sign_in(self, entry: _Open, request: Decision, status: int) -> None:
        if request.facts.login is None:
            return
        account = sign_in(request.facts.operation, entry.call, self.snapshot)
        if account is None:
            return
        endpoint = login_endpoint(request.match, request.facts.operation)
        blocked = entry.answered
        failed = blocked or status in (400, 401, 403, 404, 422, 429)
        self.state.logins.record(
            endpoint, source_of(request.identity, entry.call), account, entry.call.time, failed=failed, blocked=blocked
        )

    def _tell_streams(self, entry: _Open, streams: CallStreams, completion: Completion) -> None:
        self._held -= streams.held
        entry.uninspected += streams.reasons
        if entry.request is not None:
            entry.request = streams.joined(Phase.REQUEST, entry.request, copied=bool(completion.request_copy))
        if entry.response is not None:
            entry.response = streams.joined(Phase.RESPONSE, entry.response, copied=bool(completion.response_copy))

    def _look_at_copies(self, entry: _Open, request: Decision, completion: Completion) -> None:
        """The bodies of a stream, now that it is over: for the record. An error of ours leaves what its headers told."""
        try:
            judged = entry.streams.judged if entry.streams is not None else frozenset()
            entry.request, entry.response = with_copies(request, entry.response, completion, self.snapshot, self.state, judged)
        except Exception:
            log.exception("call %s: the copies of its messages could not be read", completion.id)
            entry.uninspected += ("engine-error",)

    def _bare(self, completion: Completion, entry: _Open | None) -> CallRecord:
        """The record of a call that no decision exists for: it was not inspected, and says why."""
        uninspected = completion.uninspected + (entry.uninspected if entry is not None else ()) or ("engine-lost",)
        done = "block" if entry is not None and entry.answered else "allow"
        self.uninspected.update(uninspected)
        return CallRecord(
            version=RECORD_VERSION,
            id=completion.id,
            time=completion.time,
            service=completion.service,
            method=completion.method,
            path=completion.path.partition("?")[0],
            authority=completion.authority,
            status=completion.status,
            request_bytes=completion.request_bytes,
            response_bytes=completion.response_bytes,
            duration_us=completion.duration_us,
            source=completion.peer_address,
            action=done,
            would=done,
            uninspected=uninspected,
            engine=self.name,
        )

    def _record(self, completion: Completion, entry: _Open, request: Decision) -> CallRecord:
        """Over 60 lines because each field of the wire form has its own; by position, which costs half of what names do."""
        call, facts, response = entry.call, request.facts, entry.response
        endpoint, identity = request.match.endpoint, request.identity
        uninspected = completion.uninspected + facts.uninspected + entry.uninspected
        verdict = request.verdict
        findings, matches, data = request.findings, verdict.matches, facts.data
        action, would = verdict.action, verdict.would
        if response is not None:
            uninspected += response.facts.uninspected
            findings += response.findings
            matches += response.verdict.matches
            data += response.facts.data
            action = _stronger(action, response.verdict.action)
            would = _stronger(would, response.verdict.would)
        if uninspected:
            uninspected = told_by_data_plane(tuple(dict.fromkeys(uninspected)), completion)
            self.uninspected.update(uninspected)
        headers = call.request.headers
        trace = headers.get("traceparent", "")
        answered = response.facts.call.response.headers if response and response.facts.call.response else None
        return CallRecord(
            RECORD_VERSION,
            call.id,
            call.time,
            call.service,
            call.request.method,
            facts.operation.path,
            call.request.authority,
            completion.status,
            completion.request_bytes,
            completion.response_bytes,
            completion.duration_us,
            call.peer.address,
            endpoint.id if endpoint else "",
            endpoint.template if endpoint else "",
            identity.actor,
            identity.kind,
            identity.cls,
            int(identity.strength),
            tuple([f"{p.kind}:{p.name}" for p in identity.chain]),
            identity.roles,
            identity.faults,
            facts.operation.body_kind,
            response.facts.operation.body_kind if response else "",
            tuple([name for name, _ in facts.operation.query]),
            facts.properties,
            facts.sampled,
            facts.fields,
            response.facts.fields if response else (),
            tuple([(place, kind, key) for place, kind, key, _ in facts.used]),
            response.facts.given if response else (),
            findings,
            data,
            action,
            would,
            matches,
            uninspected,
            self.snapshot.version,
            int(entry.spent * 1e6),
            headers.get("user-agent", "")[:200],
            trace[3:35],
            self.name,
            facts.operation.protocol,
            facts.operation.name,
            _together(facts.operation.traits, response.facts.operation.traits) if response else facts.operation.traits,
            facts.operation.selection,
            trace[36:52],
            "",
            tuple([int(p.strength) for p in identity.chain]),
            identity.agent,
            identity.human,
            identity.tenant,
            identity.scopes,
            identity.workload,
            "",
            self.snapshot.scope(call.service).exposure == "external",
            _deprecation(answered) if answered else "",
            facts.echoed,
            _media_type(headers),
            _media_type(answered) if answered else "",
            "",
            entry.streams.events(Phase.REQUEST) if entry.streams is not None else 0,
            entry.streams.events(Phase.RESPONSE) if entry.streams is not None else 0,
            self.state.watches.completed(request, response, completion),
            _release(answered, headers) if answered else "",
        )

    def _write_beat(self) -> None:
        if self._beat is None:
            return
        now = self._clock()
        asked, used = self.state.limits.approvals.told(now)
        beat = {
            "name": self.name,
            "pid": os.getpid(),
            "time": now,
            "snapshot": self.snapshot.version,
            "policy": self.snapshot.policy_status.digest,
            "calls": self.calls,
            "open_calls": len(self._open),
            "tables": self.state.sizes(),
            "uninspected": dict(self.uninspected),
            "lost_records": getattr(self._spool, "lost", 0),
            "stepped_back": msgspec.to_builtins(list(self.state.guards.stepped.values())),
            "guard_hits": msgspec.to_builtins(self.state.guards.recent()),
            "approvals_asked": msgspec.to_builtins(asked),
            "approvals_used": msgspec.to_builtins(used),
        }
        self.state.guards.fresh.clear()
        part = self._beat.with_suffix(".part")
        try:
            part.write_text(json.dumps(beat))
            part.replace(self._beat)
        except OSError as error:
            log.warning("the heartbeat %s cannot be written: %s", self._beat, error)


def _together(asked: tuple[str, ...], answered: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*asked, *answered})) if asked or answered else ()


def _media_type(headers: Mapping[str, str]) -> str:
    return headers["content-type"].partition(";")[0].strip().lower()[:100] if "content-type" in headers else ""


def _deprecation(headers: Mapping[str, str]) -> str:
    """RFC 9745 and RFC 8594: the endpoint is, or is about to be, out of service."""
    if "deprecation" not in headers and "sunset" not in headers:
        return ""
    return (headers.get("deprecation") or f"sunset {headers['sunset']}")[:64]


_RELEASES = ("x-app-version", "x-release", "x-version", "x-build", "x-build-id", "x-revision", "x-git-sha", "x-service-version")
"""Headers by which services tell their own version. Those that name the version of an API are the caller's choice."""


def _release(headers: Mapping[str, str], asked: Mapping[str, str]) -> str:
    """The release that answered; one that the caller named is an echo."""
    for name in _RELEASES:
        value = headers.get(name)
        if value and value != asked.get(name):
            return f"{name} {value}"[:80]
    return ""


_ORDER = ("allow", "redact", "limit", "block")


def _stronger(a: str, b: str) -> str:
    return a if a == b or _ORDER.index(a) >= _ORDER.index(b) else b
