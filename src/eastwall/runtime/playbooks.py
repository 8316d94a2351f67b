"""Playbooks, carried out: what `policy.playbooks` decides is recorded, put in force, told, and taken back.

    DIR/playbooks/runs.json     runs that are in force, and the latest that are over
    DIR/playbooks/evidence/     snapshots of evidence, <run>.json; their SHA-256 is in the audit log

`see` takes the records that were just stored, in the recorder's thread, and only counts. A thread of its own looks at what engines have just
written (records wait up to a second and more to be stored together), carries out what follows, and takes back what has had its time: at once after a restart, too. The policies of a run end by themselves besides, by the time of the call, so
that they end when control is down. Each act is in the audit log before it is done; what cannot be recorded waits, and is shown in `faults`.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from eastwall.model.audit import Who
from eastwall.model.event_id import event_id
from eastwall.model.finding import SEVERITIES
from eastwall.model.record import CallRecord
from eastwall.policy import playbooks
from eastwall.policy.kinds import Notify, Playbook, Policy, PolicySet, decode, encode
from eastwall.policy.playbooks import Firing, Run, Watcher
from eastwall.policy.world import World
from eastwall.runtime.audit import UNFINISHED, AuditLog
from eastwall.runtime.durable import write_whole
from eastwall.runtime.notifying import Notice, Notifier

log = logging.getLogger("eastwall.playbooks")

MAX_PENDING = 200
"""Firings that wait to be carried out."""
KEPT = 500
"""Runs that are over and still listed."""
MAX_EVIDENCE = 1 << 30
"""Bytes of all snapshots of evidence together."""
POLL = 1.0
"""Seconds between two looks at what has had its time."""
AHEAD = 0.05
"""Seconds between two looks at what engines have just written, while there are playbooks."""
MAX_SEEN = 50_000
"""Records that are remembered as counted: they come twice, just written and when they are stored."""
BY = Who("playbook")


class PlaybookRunner:
    """One per control. Thread-safe."""

    def __init__(
        self,
        folder: Path,
        *,
        audit: AuditLog,
        notifier: Notifier,
        publish: Callable[[], object],
        evidence: Callable[[Firing], Mapping[str, Any]],
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        ahead: Callable[[], Sequence[CallRecord]] = tuple,
    ) -> None:
        """`publish`: tells engines what is in force. `evidence`: calls, findings and policies of the moment, as JSON holds them. `ahead`:
        records that engines have just written; they come to `see` as well, sooner or later."""
        self._folder = folder
        self._file = folder / "runs.json"
        self._audit, self._notifier = audit, notifier
        self._publish, self._evidence, self._clock, self._random = publish, evidence, clock, random
        self._ahead = ahead
        self._lock = threading.RLock()
        self._seen: OrderedDict[str, None] = OrderedDict()
        """Event ids that were counted."""
        self._watchers: dict[str, Watcher] = {}
        self._pending: deque[Firing] = deque(maxlen=MAX_PENDING)
        self._told: dict[str, float] = {}
        """Playbook -> when the audit log was last told that it has run as often as it may."""
        self.fault = ""
        self._unpublished = False
        """Engines have not been told of the latest yet."""
        self.runs: list[Run] = []
        self._load()
        self._acted_on = {(run.playbook, run.key): run.began for run in sorted(self.runs, key=lambda run: run.began)}
        """(playbook, key) -> when an earlier process carried it out. What it had counted by then may come once more: a process that was
        killed has stored less than it has seen, and calls that were acted on are not to be acted on again once that is undone."""
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        begun = self._audit.unfinished(("playbook",))
        if begun is not None and all(run.id != begun.about.get("run") for run in self.runs):
            self._audit.failed(BY, {"act": "playbook", "run": begun.about.get("run"), "why": UNFINISHED})
        self._notifier.start()
        self._thread = threading.Thread(target=self._loop, name="playbooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._notifier.stop()

    def use(self, policies: PolicySet, stages: Mapping[str, str], world: World) -> None:
        """Watch for what the applied playbooks name. What an unchanged one has counted stays."""
        fresh = playbooks.watchers_of(policies.policies, stages, world)
        with self._lock:
            for name, watcher in fresh.items():
                before = self._watchers.get(name)
                if before is not None and before.spec == watcher.spec:
                    watcher.go_on(before)
            self._watchers = fresh

    def faults(self) -> dict[str, str]:
        """What does not work right now."""
        found = {"playbooks": self.fault} if self.fault else {}
        return found | ({"notifications": self._notifier.fault} if self._notifier.fault else {})

    # -- what happens ---------------------------------------------------------------------------------------------

    def see(self, records: Sequence[CallRecord]) -> None:
        """Count records that were just stored, each once. Never raises: recording goes on whatever is wrong here."""
        if not self._watchers:
            return
        now = self._clock()
        try:
            with self._lock:
                for record in records:
                    if (record.findings or record.action != "allow") and self._first_time(record.id):
                        for watcher in self._watchers.values():
                            firing = watcher.see(record, now)
                            if firing is not None and not self._in_force(firing) and not self._was_acted_on(firing, now):
                                self._pending.append(firing)
                                watcher.forget(firing.key)
        except Exception as error:
            log.exception("counting for playbooks failed")
            self.fault = f"{type(error).__name__}: {error}"
        if self._pending:
            self._wake.set()

    def _first_time(self, event: str) -> bool:
        if event in self._seen:
            return False
        self._seen[event] = None
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        return True

    def _in_force(self, firing: Firing) -> bool:
        mine = (firing.playbook, firing.key)
        return any(mine == (run.playbook, run.key) and not run.ended for run in self.runs) or any(
            mine == (one.playbook, one.key) for one in self._pending
        )

    def _was_acted_on(self, firing: Firing, now: float) -> bool:
        """Whether a call that counts had happened when an earlier process acted; not by a clock that has jumped back since."""
        return firing.since <= self._acted_on.get((firing.playbook, firing.key), -1.0) <= now

    def _loop(self) -> None:
        while not self._stop.is_set():
            self.work()
            self._await()

    def _await(self) -> None:
        """Until something is to be done, POLL seconds at most."""
        until = time.monotonic() + POLL
        while not self._wake.wait(AHEAD) and time.monotonic() < until:
            with contextlib.suppress(OSError):  # they come with what is stored
                if self._watchers and (records := self._ahead()):
                    self.see(records)
        self._wake.clear()

    def work(self) -> None:
        """Carry out what waits, take back what has had its time, tell engines."""
        fault = self._decide()
        if self._unpublished:
            try:
                self._tell_engines()
            except OSError as error:
                fault = f"engines cannot be told what playbooks have put in force: {error.strerror or error}"
        if fault and fault != self.fault:
            log.error("%s", fault)
        self.fault = fault

    def _decide(self) -> str:
        """What went wrong; empty: nothing."""
        before = self.policies()
        try:
            with self._lock:
                while self._pending:
                    firing = self._pending[0]
                    try:
                        self._carry_out(firing)
                    except OSError:
                        raise  # it is tried again
                    except Exception:
                        self._pending.popleft()  # the next one is not held up by it
                        raise
                    self._pending.popleft()
                self._take_back([run for run in self.runs if playbooks.is_over(run, self._clock())], "its time is over", BY)
        except OSError as error:
            return f"what playbooks do cannot be recorded: {error.strerror or error}"
        except Exception as error:
            log.exception("carrying out a playbook failed")
            return f"{type(error).__name__}: {error}"
        finally:
            self._unpublished = self._unpublished or self.policies() != before
        return ""

    def _tell_engines(self) -> None:
        """Raises OSError; then it is tried again."""
        self._unpublished = True
        self._publish()
        self._unpublished = False

    def _carry_out(self, firing: Firing) -> None:
        """Raises OSError: then it has not happened, and is tried again."""
        watcher = self._watchers.get(firing.playbook)
        if watcher is None:
            return  # taken away meanwhile
        now = self._clock()
        why_not = playbooks.may_run(firing, watcher.spec, self.runs, now)
        if why_not:
            self._capped(firing, why_not, now)
            return
        run, notices = self._run_of(watcher, firing, now)
        about = {"run": run.id, "playbook": run.playbook, "key": run.key, "count": run.count, "ends": run.ends, "steps": run.steps,
                 "findings": run.findings, "events": run.events}  # fmt: skip
        if watcher.spec.dry_run:
            self._audit.record("playbook-dry-run", BY, about)
            self._keep([*self.runs, run])
            return
        self._audit.record("playbook", BY, about)
        try:
            if any(step.snapshot for step in watcher.spec.steps):
                run = self._snapshot(run, firing)
            for text in run.steps:
                self._audit.record("playbook-step", BY, {"run": run.id, "step": text})
            self._keep([*self.runs, run])
        except OSError as error:
            self._audit.failed(BY, {"act": "playbook", "run": run.id, "why": error.strerror or str(error)})
            raise
        for to, notice in notices:
            self._notifier.tell(to, notice)

    def _run_of(self, watcher: Watcher, firing: Firing, now: float) -> tuple[Run, list[tuple[Notify, Notice]]]:
        spec = watcher.spec
        identity = f"run_{event_id(now, self._random(10))}"
        ends = now + watcher.lasts
        done, policies, notices = [], [], []
        for number, step in enumerate(spec.steps):
            try:
                rule = playbooks.policy_of(spec, number, firing, identity, ends)
            except ValueError as error:
                done.append(f"not done, {playbooks.words(step, firing)}: {error}")
                continue
            if rule is not None:
                policies.append(rule)
            done.append(playbooks.words(step, firing))
            if step.notify is not None:
                notices.append((step.notify, _notice(spec, firing, identity, now, ends)))
        run = Run(identity, firing.playbook, firing.key, now, ends, firing.count, firing.events, firing.findings,
                  tuple(done), () if spec.dry_run else tuple(policies), spec.dry_run)  # fmt: skip
        return run, notices

    def _capped(self, firing: Firing, why: str, now: float) -> None:
        if why == "in force" or abs(now - self._told.get(firing.playbook, 0.0)) < 3_600:
            return
        self._audit.record("playbook-capped", BY, {"playbook": firing.playbook, "key": firing.key, "why": why})
        self._told[firing.playbook] = now

    def _snapshot(self, run: Run, firing: Firing) -> Run:
        """Raises OSError."""
        about = {"run": run.id, "playbook": run.playbook, "key": run.key, "began": run.began}
        try:
            gathered = self._evidence(firing)
        except Exception as error:  # the lake may be away: what is to be closed is closed all the same
            log.exception("the evidence of run %s cannot be gathered", run.id)
            gathered = {"fault": f"{type(error).__name__}: {error}"}
        data = msgspec.json.encode({**about, **gathered}, enc_hook=str)
        folder = self._folder / "evidence"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if sum(file.stat().st_size for file in folder.iterdir()) + len(data) > MAX_EVIDENCE:
            # What was kept is not thrown away for it.
            full = f"not done, snapshot of the evidence: `{folder}` holds {MAX_EVIDENCE >> 20:,} MiB; move files away"
            return msgspec.structs.replace(run, steps=(*(s for s in run.steps if s != playbooks.SNAPSHOT), full))
        name = f"{run.id}.json"
        write_whole(folder / name, data)
        self._audit.record(
            "evidence", BY, {"run": run.id, "file": f"playbooks/evidence/{name}", "sha256": hashlib.sha256(data).hexdigest()}
        )
        return msgspec.structs.replace(run, evidence=name)

    def _take_back(self, over: Iterable[Run], why: str, who: Who) -> None:
        """Raises OSError."""
        for run in list(over):
            about = {"run": run.id, "playbook": run.playbook, "key": run.key, "why": why, "policies": len(run.policies)}
            if run.policies or who is not BY:  # where nothing was closed there is no end to tell
                self._audit.record("playbook-end", who, about)
            self._keep([playbooks.ended(one, self._clock(), why) if one.id == run.id else one for one in self.runs])

    # -- what is asked --------------------------------------------------------------------------------------------

    def policies(self) -> tuple[Policy, ...]:
        """What is in force by playbooks."""
        return tuple(policy for run in self.runs if not run.ended for policy in run.policies)

    def merged(self, encoded: bytes) -> bytes:
        """An encoded set of policies with these in it. Takes no lock: it is asked while engines are told, and whoever acts waits for that."""
        mine = self.policies()
        if not mine:
            return encoded
        found = decode(encoded)
        return encode(msgspec.structs.replace(found, policies=(*found.policies, *mine)))

    def list(self) -> Sequence[dict[str, Any]]:
        """The applied playbooks."""
        with self._lock:
            return [
                _listed(watcher, [run for run in self.runs if run.playbook == name]) for name, watcher in self._watchers.items()
            ]

    def acts(self) -> Sequence[dict[str, Any]]:
        """Runs, the latest first."""
        with self._lock:
            found = []
            for run in reversed(self.runs):
                shown: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(run, policies=()))
                found.append(shown | {"policies": [f"{p.kind}/{p.name}" for p in run.policies]})
            return found

    def undo(self, identity: str, who: Who) -> dict[str, Any]:
        """Take a run's policies back now. Raises LookupError, ValueError, OSError."""
        with self._lock:
            run = next((run for run in self.runs if run.id == identity), None)
            if run is None:
                raise LookupError(f"there is no run `{identity}`; `eastwall playbook acts` lists them")
            if run.ended:
                raise ValueError(f"run `{identity}` is over already: {run.why_ended}")
            self._take_back([run], "undone by hand", who)
        self._tell_engines()
        return next(one for one in self.acts() if one["id"] == identity)

    # -- on disk --------------------------------------------------------------------------------------------------

    def _keep(self, runs: Sequence[Run]) -> None:
        over = [run for run in runs if run.ended]
        gone = {run.id for run in over[:-KEPT]} if len(over) > KEPT else set()
        kept = [run for run in runs if run.id not in gone]
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self._file, msgspec.json.encode(kept))
        self.runs = kept

    def _load(self) -> None:
        try:
            self.runs = msgspec.json.decode(self._file.read_bytes(), type=list[Run])
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            # What cannot be read is in force no longer: it ends by itself, and nothing is closed for good by a broken file.
            self.fault = f"the runs of playbooks in `{self._file}` cannot be read ({error}): what was in force is not any more"
            log.error("%s", self.fault)


def notification_lost(audit: AuditLog) -> Callable[[Notify, Notice, str], None]:
    """What to do with a notification that was given up: the audit log tells."""

    def lost(_: Notify, notice: Notice, why: str) -> None:
        with contextlib.suppress(OSError):
            audit.record("notification-lost", BY, {"run": notice.about.get("run", ""), "why": why})

    return lost


def _notice(spec: Playbook, firing: Firing, run: str, now: float, ends: float) -> Notice:
    worst = max((f.severity for f in firing.record.findings if f.id in firing.findings), key=SEVERITIES.index, default="medium")
    steps = [playbooks.words(step, firing) for step in spec.steps if step.notify is None]
    found = f" ({', '.join(firing.findings)})" if firing.findings else ""
    text = f"{firing.playbook}: {firing.count} call{'s' if firing.count != 1 else ''} of {firing.key}{found}: {', '.join(steps) or 'nothing is closed'}"
    about = {"run": run, "playbook": firing.playbook, "key": firing.key, "count": firing.count, "findings": list(firing.findings),
             "events": list(firing.events), "service": firing.record.service, "steps": steps, "ends": ends}  # fmt: skip
    return Notice(now, "playbook-run", worst, text, about)


def _listed(watcher: Watcher, runs: Sequence[Run]) -> dict[str, Any]:
    spec: dict[str, Any] = msgspec.to_builtins(watcher.spec)
    return {
        "name": watcher.name,
        "spec": spec,
        "dry_run": watcher.spec.dry_run,
        "runs": len(runs),
        "in_force": sum(not run.ended for run in runs),
        "last": max((run.began for run in runs), default=0.0),
    }
