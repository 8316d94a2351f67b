"""Control's part of guards: it hears from the engines' heartbeats which calls that look legitimate were stopped and which policies stepped back,
writes that down, tells all engines with the next snapshot, and arms policies again when somebody says so."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from eastwall.decision.guards import GuardTable, Hit
from eastwall.model.audit import Who
from eastwall.model.call import Mode
from eastwall.model.snapshot import ServiceScope, StepBack
from eastwall.policy import Policy
from eastwall.policy.patterns import compile_globs
from eastwall.policy.rollout import GuardRule
from eastwall.runtime.audit import AuditLog
from eastwall.runtime.durable import write_whole
from eastwall.runtime.watcher import Watcher

log = logging.getLogger("eastwall.control")

WATCH_SECONDS = 0.5
COUNTED = 3_600.0
"""Seconds over which `effect` counts calls."""
_COUNTS = (
    "SELECT policy, count() AS matched, countIf(action IN ('block', 'limit')) AS stopped,"
    " countIf(action NOT IN ('block', 'limit') AND would IN ('block', 'limit')) AS would"
    " FROM calls ARRAY JOIN policies AS policy WHERE time >= fromUnixTimestamp64Micro({since}) GROUP BY policy"
)


def guards_of(policies: Sequence[Policy]) -> dict[str, GuardRule]:
    """The guards of a set, by policy."""
    found = {policy.name: getattr(policy.spec, "guard", None) for policy in policies}
    return {name: GuardRule(guard) for name, guard in found.items() if guard is not None}


class _Kept(Struct):
    """What is kept in the file."""

    stepped_back: tuple[StepBack, ...] = ()
    rearmed: tuple[tuple[str, float], ...] = ()


class PolicyGuards:
    """One per control. `policies`, `scopes`: those of today; `beats`: the engines' heartbeats; `query`: the lake's."""

    def __init__(
        self,
        file: Path,
        audit: AuditLog,
        policies: Callable[[], Sequence[Policy]],
        scopes: Callable[[], Sequence[ServiceScope]],
        beats: Callable[[], Sequence[Mapping[str, Any]]],
        query: Callable[[str], list[dict[str, Any]]],
        publish: Callable[[], object],
    ) -> None:
        self._file, self._audit, self._policies, self._scopes = file, audit, policies, scopes
        self._beats, self._query, self._publish = beats, query, publish
        self._lock = threading.Lock()
        self._watcher = Watcher("guards", WATCH_SECONDS, self.look, self._unwritten)
        self._table = GuardTable()
        self._table.counts = False
        self._fault = ""
        try:
            kept = msgspec.json.decode(file.read_bytes(), type=_Kept)
        except FileNotFoundError:
            kept = _Kept()
        except (OSError, msgspec.DecodeError) as error:
            self._fault = f"`{file}` cannot be read, so policies that had stepped back are enforced again: {error}"
            log.error("%s", self._fault)
            kept = _Kept()
        self._table.follow({}, kept.stepped_back, kept.rearmed)
        self._written = {step.policy for step in kept.stepped_back}
        """Policies whose step-back is in the audit log and in the file; the others' is tried again at each look."""
        self._recorded: set[StepBack] = set()
        """Of these, what is in the audit log already."""

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._watcher.start()

    def stop(self) -> None:
        self._watcher.stop()

    def _unwritten(self, error: OSError) -> None:
        self._fault = f"that a policy stepped back cannot be written down: {error.strerror or error}"

    # -- what is published ----------------------------------------------------------------------------------------

    @property
    def stepped_back(self) -> tuple[StepBack, ...]:
        return tuple(self._table.stepped.values())

    @property
    def rearmed(self) -> tuple[tuple[str, float], ...]:
        return tuple(self._table.rearmed.items())

    def faults(self) -> dict[str, str]:
        """What somebody should look at: one line for each policy that has stepped back."""
        found = {"guards": self._fault} if self._fault else {}
        for step in self.stepped_back:
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(step.time))
            found[f"policy {step.policy}"] = (
                f"stepped back to monitor at {at}: {step.reason}; see `eastwall policy show`, then `eastwall policy rearm {step.policy}`"
            )
        return found

    # -- acts -----------------------------------------------------------------------------------------------------

    def look(self) -> bool:
        """Take in what the engines say; whether a policy has stepped back since the last look. Raises OSError."""
        with self._lock:
            table = self._table
            rules = guards_of(self._policies())
            table.follow(rules, table.stepped.values(), table.rearmed.items())
            self._written &= table.stepped.keys()
            for steps, hits in self._told():
                for one in steps:
                    if one.policy in rules and one.time > table.rearmed.get(one.policy, 0.0):
                        table.stepped.setdefault(one.policy, one)
                for hit in hits:
                    table.take(hit)
            table.fresh.clear()
            fresh = [step for name, step in table.stepped.items() if name not in self._written]
            if not fresh:
                return False
            for step in fresh:
                if step in self._recorded:
                    continue
                log.warning("policy %s stepped back to monitor: %s", step.policy, step.reason)
                about = {"policy": step.policy, "why": step.reason, "calls": list(step.calls), "at": step.time}
                self._audit.record("step-back", Who("control"), about)
                self._recorded.add(step)
            self._save()
            self._written = set(table.stepped)
            self._recorded.clear()
        self._publish()
        return True

    def rearm(self, name: str, who: Who) -> dict[str, Any]:
        """Enforce a policy again that had stepped back. Raises LookupError, OSError."""
        with self._lock:
            step = self._table.stepped.get(name)
            if step is None:
                known = ", ".join(f"`{one}`" for one in self._table.stepped) or "none"
                raise LookupError(f"policy `{name[:80]}` has not stepped back; those that have: {known}")
            now = max(time.time(), step.time)
            self._audit.record("rearm", who, {"policy": name, "stepped_back": step.time})
            stepped = [one for one in self._table.stepped.values() if one.policy != name]
            rearmed = {**self._table.rearmed, name: now}
            self._table.stepped.pop(name)
            self._table.follow(self._table.rules, stepped, rearmed.items())
            self._save()
        self._publish()
        return {"policy": name, "rearmed": now}

    def _told(self) -> Iterable[tuple[list[StepBack], list[Hit]]]:
        for beat in self._beats():
            try:
                steps = msgspec.convert(beat.get("stepped_back", []), list[StepBack])
                yield steps, msgspec.convert(beat.get("guard_hits", []), list[Hit])
            except msgspec.ValidationError as error:
                log.warning("the heartbeat of engine %s: %s", beat.get("name", "?"), error)

    def _save(self) -> None:
        write_whole(self._file, msgspec.json.encode(_Kept(self.stepped_back, self.rearmed)))
        self._fault = ""

    # -- what policies do -----------------------------------------------------------------------------------------

    def effect(self) -> list[dict[str, Any]]:
        """Of each applied policy that judges calls: how it stands, and what it matched in the last hour. Raises LakeError."""
        rows = self._query(_COUNTS.format(since=int((time.time() - COUNTED) * 1e6)))
        counts = {row["policy"]: row for row in rows}
        found = []
        for policy in self._policies():
            mode = getattr(policy.spec, "mode", None)
            scope = getattr(policy.spec, "scope", None)
            if mode is None or policy.kind == "Service":
                continue
            rollout, guard = getattr(policy.spec, "rollout", None), getattr(policy.spec, "guard", None)
            step = self._table.stepped.get(policy.name) if guard is not None else None
            test = compile_globs(scope.services) if scope is not None else None
            modes = {one.name: one.mode for one in self._scopes() if test is None or test(one.name)}
            own = Mode.MONITOR if step is not None and mode == "enforce" else Mode[mode.upper()]
            row = counts.get(policy.name, {})
            found.append(
                {
                    "policy": policy.name,
                    "kind": policy.kind,
                    "mode": mode,
                    "services": {name: min(own, level).name.lower() for name, level in sorted(modes.items())},
                    "rollout": None if rollout is None else {"percent": rollout.percent, "by": rollout.by},
                    "guard": None if guard is None else msgspec.to_builtins(guard),
                    "stepped_back": None if step is None else msgspec.to_builtins(step),
                    "last_hour": {name: int(row.get(name, 0)) for name in ("matched", "stopped", "would")},
                }
            )
        return found
