"""Approvals of tool calls, at control: what waits is heard from the engines' heartbeats, what somebody said is told with the next snapshot.

    DIR/policy/approvals.json      what waits, and what was said in the last day

What waits holds the arguments that a policy's `show` names, and goes a day after it was last asked for. The audit log holds no arguments.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eastwall.model.audit import Who
from eastwall.model.snapshot import Approval
from eastwall.policy.approvals import Asked
from eastwall.runtime.audit import AuditLog
from eastwall.runtime.durable import write_whole
from eastwall.runtime.watcher import Watcher

log = logging.getLogger("eastwall.control")

WATCH_SECONDS = 0.5
KEPT = 86_400.0
"""Seconds for which what waits, and what was said, is listed."""
MAX_WAITING = 1_000
MAX_OF_ONE = 50
"""Of one caller that wait: a loop does not push out what others wait for."""
MAX_GIVEN = 1_000
LONGEST = 86_400.0
"""Seconds for which an approval may hold."""
ONCE = 900.0
"""Seconds within which a single use must be made, where nothing is said."""
DENIED = 3_600.0
"""Seconds for which a refusal holds, where nothing is said."""


class Waiting(Struct, frozen=True):
    """A call that waits."""

    asked: Asked
    first: float
    """When it was first asked for, Unix seconds."""
    times: int = 1


class Given(Struct, frozen=True):
    """What somebody said of a call."""

    approval: Approval
    asked: Asked
    who: Who
    used: float = 0.0
    """When control heard that a single use was made; 0: it was not."""


class _Kept(Struct):
    waiting: list[Waiting] = []
    given: list[Given] = []


class Approvals:
    """One per control. Thread-safe."""

    def __init__(
        self,
        file: Path,
        audit: AuditLog,
        clock: Callable[[], float],
        beats: Callable[[], Sequence[Mapping[str, Any]]],
        publish: Callable[[], object],
    ) -> None:
        """`beats`: the engines' heartbeats. `publish`: makes a snapshot of what is in force."""
        self._file, self._audit, self._clock, self._beats, self._publish = file, audit, clock, beats, publish
        self._lock = threading.Lock()
        self._watcher = Watcher("approvals", WATCH_SECONDS, self.look, self._unwritten)
        self._fault = ""
        try:
            kept = msgspec.json.decode(file.read_bytes(), type=_Kept)
        except FileNotFoundError:
            kept = _Kept()
        except (OSError, msgspec.DecodeError) as error:
            self._fault = f"`{file}` cannot be read, so no tool call is approved: {error}"
            log.error("%s", self._fault)
            kept = _Kept()
        self._waiting = {one.asked.id: one for one in kept.waiting}
        self._given = {one.approval.id: one for one in kept.given}

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._watcher.start()

    def stop(self) -> None:
        self._watcher.stop()

    def _unwritten(self, error: OSError) -> None:
        self._fault = f"which tool calls wait for approval cannot be written down: {error.strerror or error}"

    def faults(self) -> dict[str, str]:
        """What does not work right now."""
        return {"approvals": self._fault} if self._fault else {}

    def in_force(self) -> tuple[Approval, ...]:
        """What engines are to be told."""
        # No lock: it is asked while something is published, and whoever changes something makes new tables.
        now = self._clock()
        return tuple(one.approval for one in self._given.values() if not one.used and one.approval.until > now)

    # -- what engines say -----------------------------------------------------------------------------------------

    def look(self) -> bool:
        """Take in what the engines say; whether anything is new. Raises OSError."""
        with self._lock:
            now = self._clock()
            waiting = {name: one for name, one in self._waiting.items() if one.asked.time > now - KEPT}
            given = {name: one for name, one in self._given.items() if max(one.approval.granted, one.used) > now - KEPT}
            for asked, used in self._told():
                for one in asked:
                    self._wait(one, waiting, given, now)
                for name, granted in used:
                    found = given.get(name)
                    if found is not None and found.approval.granted == granted and not found.used:
                        given[name] = replace(found, used=now)
            if waiting == self._waiting and given == self._given:
                return False
            self._save(waiting, given)
            return True

    def _wait(self, asked: Asked, waiting: dict[str, Waiting], given: Mapping[str, Given], now: float) -> None:
        said = given.get(asked.id)
        if asked.time <= now - KEPT or (said is not None and (asked.time <= said.approval.granted or _holds(said, now))):
            return  # a heartbeat tells it for a minute, whatever was said since
        before = waiting.get(asked.id)
        if before is not None and asked.time <= before.asked.time:
            return
        if before is None:
            mine = [one for one in waiting.values() if one.asked.actor == asked.actor]
            if len(mine) >= MAX_OF_ONE or len(waiting) >= MAX_WAITING:
                oldest = min(mine if len(mine) >= MAX_OF_ONE else waiting.values(), key=lambda one: one.asked.time)
                del waiting[oldest.asked.id]
        first, times = (before.first, before.times + 1) if before is not None else (asked.time, 1)
        waiting[asked.id] = Waiting(asked, first, times)

    def _told(self) -> list[tuple[list[Asked], list[tuple[str, float]]]]:
        found = []
        for beat in self._beats():
            try:
                asked = msgspec.convert(beat.get("approvals_asked", []), list[Asked])
                found.append((asked, msgspec.convert(beat.get("approvals_used", []), list[tuple[str, float]])))
            except msgspec.ValidationError as error:
                log.warning("the heartbeat of engine %s: %s", beat.get("name", "?"), error)
        return found

    # -- acts -----------------------------------------------------------------------------------------------------

    def decide(self, name: str, decision: str, seconds: float | None, who: Who) -> dict[str, Any]:
        """`grant`: for one call, or with `seconds` for any number of the same for so long; `deny`: refuse it for so long.

        Raises ValueError, LookupError, OSError.
        """
        if decision not in ("grant", "deny"):
            raise ValueError(f"`{decision[:40]}` is no decision: write `grant` or `deny`")
        if seconds is not None and not 1.0 <= seconds <= LONGEST:
            raise ValueError(f"an approval holds for 1 second to {LONGEST / 3600:.0f} hours, not {seconds:g} seconds")
        with self._lock:
            now = self._clock()
            waits, said = self._waiting.get(name), self._given.get(name)
            if waits is None and said is None:
                raise LookupError(f"no call waits for approval as `{name[:40]}`; `eastwall approval list` shows those that do")
            asked = waits.asked if waits is not None else said.asked  # type: ignore[union-attr]
            denied, once = decision == "deny", decision == "grant" and seconds is None
            until = now + (seconds or (DENIED if denied else ONCE))
            about = {"id": name, "tool": asked.tool, "service": asked.service, "caller": asked.actor, "policy": asked.policy}
            self._audit.record("approve" if not denied else "deny", who, {**about, "once": once, "ends": until})
            approval = Approval(name, now, until, who.name or who.by, once=once, denied=denied)
            kept = {other: one for other, one in self._given.items() if other != name}
            while len(kept) >= MAX_GIVEN:
                over = [other for other, one in kept.items() if not _holds(one, now)] or list(kept)
                del kept[over[0]]
            given = Given(approval, asked, who)
            self._save({other: one for other, one in self._waiting.items() if other != name}, {**kept, name: given})
        self._publish()
        return _told_of(given, now)

    def all(self) -> dict[str, list[dict[str, Any]]]:
        """`waiting`, the latest first, and `given`: what was said in the last day."""
        now = self._clock()
        waiting = sorted(self._waiting.values(), key=lambda one: -one.asked.time)
        given = sorted(self._given.values(), key=lambda one: -one.approval.granted)
        return {
            "waiting": [{**msgspec.to_builtins(one.asked), "first": one.first, "times": one.times} for one in waiting],
            "given": [_told_of(one, now) for one in given],
        }

    def _save(self, waiting: dict[str, Waiting], given: dict[str, Given]) -> None:
        write_whole(self._file, msgspec.json.encode(_Kept(list(waiting.values()), list(given.values()))))
        self._waiting, self._given = waiting, given
        self._fault = ""


def _holds(given: Given, now: float) -> bool:
    return not given.used and given.approval.until > now


def _told_of(given: Given, now: float) -> dict[str, Any]:
    approval = given.approval
    state = "denied" if approval.denied else "used" if given.used else "granted"
    return {
        **msgspec.to_builtins(given.asked),
        "state": state if given.used or approval.until > now else f"{state}, over",
        "granted": approval.granted,
        "until": approval.until,
        "once": approval.once,
        "who": msgspec.to_builtins(given.who),
    }
