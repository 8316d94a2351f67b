"""What was put into quarantine by hand (`eastwall quarantine`, the console, a playbook): beside the applied policies, and in force with them.

    DIR/policy/quarantine.json      name -> the Quarantine's YAML text, since when, by whom

Applying policies leaves it alone: what was closed in an emergency stays closed until it ends or is lifted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from eastwall import policy
from eastwall.model.audit import Who
from eastwall.model.call import Mode
from eastwall.model.snapshot import ServiceScope
from eastwall.policy.kinds import API_VERSION, Policy, Quarantine
from eastwall.policy.patterns import compile_globs
from eastwall.policy.times import parse_end
from eastwall.runtime.audit import UNFINISHED, AuditLog
from eastwall.runtime.durable import write_whole
from eastwall.runtime.policy_store import PolicyFaultsError

MAX_ENTRIES = 1_000
LOCATION = "by hand"


class Entry(Struct, frozen=True):
    """One that was added."""

    text: str
    """The policy as YAML (JSON)."""
    time: float
    """Unix seconds."""
    who: Who


class Quarantines:
    """One per control. Thread-safe by control's policy lock."""

    def __init__(
        self,
        path: Path,
        audit: AuditLog,
        clock: Callable[[], float],
        publish: Callable[[], Any],
        scopes: Callable[[], Sequence[ServiceScope]],
        lock: contextlib.AbstractContextManager[Any],
    ) -> None:
        """`publish`: makes a snapshot of what is in force. `lock`: may be taken again by who holds it. Raises ValueError, one line, on a file that cannot be read."""
        self._path, self._audit, self._clock, self._publish, self._scopes = path, audit, clock, publish, scopes
        self._lock = lock
        try:
            self._entries = msgspec.json.decode(path.read_bytes(), type=dict[str, Entry]) if path.exists() else {}
        except msgspec.DecodeError as error:
            raise ValueError(f"`{path}` cannot be read ({error}); delete it, and what is in quarantine is free") from None
        self._policies = {name: _policy(entry.text) for name, entry in self._entries.items()}

    def add(self, name: str, spec: Mapping[str, Any], who: Who) -> dict[str, Any]:
        """Close what `spec` (a Quarantine's, as in YAML) says, in place of one of the same name. Raises PolicyFaultsError, ValueError, OSError."""
        document = {"apiVersion": API_VERSION, "kind": "Quarantine", "metadata": {"name": name}, "spec": dict(spec)}
        text = msgspec.json.encode(document).decode()
        made = _policy(text)
        now = self._clock()
        assert isinstance(made.spec, Quarantine)
        if made.spec.until and parse_end(made.spec.until) <= now:
            raise ValueError(f"`{made.spec.until}` is over already")
        with self._lock:
            self._add(name, made, text, now, spec, who)
            return self._told(name) | {"notes": self._notes(made.spec)}

    def _add(self, name: str, made: Policy, text: str, now: float, spec: Mapping[str, Any], who: Who) -> None:
        kept = {other: entry for other, entry in self._entries.items() if not self._over(other, now)}
        if len(kept) >= MAX_ENTRIES:
            raise ValueError(f"{MAX_ENTRIES:,} are in quarantine, which is as many as can be; lift one")
        self._audit.record("quarantine", who, {"name": name, "since": now, "spec": dict(spec), "before": name in kept})
        self._save("quarantine", who, name, {**kept, name: Entry(text, now, who)}, {**self._policies, name: made})
        self._publish()

    def lift(self, name: str, who: Who) -> dict[str, Any]:
        """Open it again. Raises LookupError, OSError."""
        with self._lock:
            if name not in self._entries:
                raise LookupError(
                    f"nothing was put into quarantine by hand as `{name}`; `eastwall quarantine list` shows what was"
                )
            told = self._told(name)
            self._audit.record("lift", who, {"name": name})
            entries = {other: entry for other, entry in self._entries.items() if other != name}
            self._save("lift", who, name, entries, self._policies)
            self._publish()
            return told

    def settle(self) -> None:
        """Say so in the audit log when the last act was not carried out: control may have been killed in between. At each start."""
        begun = self._audit.unfinished(("quarantine", "lift"))
        if begun is None:
            return
        name = str(begun.about.get("name"))
        entry = self._entries.get(name)
        done = entry is None if begun.act == "lift" else entry is not None and entry.time == begun.about.get("since", entry.time)
        if not done:
            self._audit.failed(Who("control"), {"act": begun.act, "name": name, "why": UNFINISHED})

    def all(self) -> list[dict[str, Any]]:
        """What was added by hand, the latest first."""
        with self._lock:
            return sorted((self._told(name) for name in self._entries), key=lambda one: -float(one["since"]))

    def merged(self, encoded: bytes) -> bytes:
        """An encoded set of policies with these in it."""
        # No lock: it is asked while engines are told, and whoever changes something holds the lock and waits for that.
        now = self._clock()
        mine = tuple(made for made in self._policies.values() if not _is_over(made, now))
        if not mine:
            return encoded
        found = policy.decode(encoded)
        return policy.encode(msgspec.structs.replace(found, policies=(*found.policies, *mine)))

    def _over(self, name: str, now: float) -> bool:
        return _is_over(self._policies[name], now)

    def _told(self, name: str) -> dict[str, Any]:
        entry, made = self._entries[name], self._policies[name]
        spec = msgspec.to_builtins(made.spec)
        spec.pop("kind", None)
        return {
            "name": name,
            "since": entry.time,
            "who": msgspec.to_builtins(entry.who),
            "spec": spec,
            "over": self._over(name, self._clock()),
        }

    def _notes(self, spec: Quarantine) -> list[str]:
        """Where it will not refuse calls, since the service's mode holds."""
        in_scope = compile_globs(spec.scope.services)
        scopes = self._scopes()
        found = [scope for scope in scopes if in_scope is None or in_scope(scope.name)]
        if spec.scope.services and not found:
            return [f"no service is known that is named {' or '.join(f'`{name}`' for name in spec.scope.services)}"]
        mild = [scope for scope in found if scope.mode is not Mode.ENFORCE]
        return [f"`{scope.name}` is in {scope.mode.name.lower()} mode: calls are not refused there" for scope in mild[:20]]

    def _save(self, act: str, who: Who, name: str, entries: dict[str, Entry], policies: Mapping[str, Policy]) -> None:
        try:
            write_whole(self._path, msgspec.json.encode(entries))
        except OSError as error:
            self._audit.failed(who, {"act": act, "name": name, "why": error.strerror or str(error)})
            raise
        self._entries = entries
        self._policies = {name: made for name, made in policies.items() if name in entries}


def _is_over(made: Policy, now: float) -> bool:
    return isinstance(made.spec, Quarantine) and bool(made.spec.until) and parse_end(made.spec.until) <= now


def _policy(text: str) -> Policy:
    """Raises PolicyFaultsError."""
    found, faults = policy.parse_files({"quarantine": text})
    mine = [one for one in found.policies if isinstance(one.spec, Quarantine)]
    if faults or not mine:
        raise PolicyFaultsError(faults)
    return msgspec.structs.replace(mine[0], location=LOCATION, marks={})
