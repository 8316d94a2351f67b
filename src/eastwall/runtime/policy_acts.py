"""What was done to the applied policies, by whom, and undoing it: history, roll-back, drift; and the watched repository."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from eastwall.evidence import chain
from eastwall.model.audit import Origin, Who
from eastwall.runtime.audit import UNFINISHED, AuditLog, verify_file
from eastwall.runtime.policy_sources import difference
from eastwall.runtime.policy_store import PolicyState, PolicyStore
from eastwall.runtime.policy_watch import PolicyWatch


class PolicyActs:
    """One per control. `apply_policy`: `Control.apply_policy`."""

    def __init__(
        self,
        store: PolicyStore,
        audit: AuditLog,
        apply_policy: Callable[..., dict[str, Any]],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._audit = audit
        self._apply_policy = apply_policy
        self._clock = clock
        self._watch: PolicyWatch | None = None

    # -- the watched repository -----------------------------------------------------------------------------------

    def follow(self, watch: PolicyWatch) -> None:
        """Keep in step with a repository. Before `start`."""
        self._watch = watch

    def start(self) -> None:
        self._store.complete()
        begun = self._audit.unfinished(("apply", "rollback"))
        if begun is not None and begun.about.get("digest") != self._store.state.applied.digest:
            about = {"act": begun.act, "digest": begun.about.get("digest"), "why": UNFINISHED}
            self._audit.failed(Who("control"), about)
        if self._watch is not None:
            self._watch.start()

    def stop(self) -> None:
        if self._watch is not None:
            self._watch.stop()

    def faults(self) -> dict[str, str]:
        """What does not work right now."""
        found = {}
        if self._audit.fault:
            found["audit log"] = self._audit.fault
        if self._watch is not None and self._watch.fault:
            found["policy repository"] = self._watch.fault
        return found

    # -- acts -----------------------------------------------------------------------------------------------------

    def apply(self, state: PolicyState, who: Who, origin: Origin, act: str, *, forced: bool = False) -> None:
        """Record it, then make a checked set the applied one. `forced`: nobody asked whether it blocks most traffic. Raises OSError: then
        nothing has changed."""
        applied = state.applied
        about = {
            "digest": applied.digest,
            "before": self._store.state.applied.digest,
            "policies": applied.count,
            "change": self._store.change(state),
            "origin": origin,
        }
        self._audit.record(act, who, about | ({"forced": True} if forced else {}))
        try:
            self._store.apply(state, self._clock(), act=act, who=who, origin=origin)
        except OSError as error:
            self._audit.failed(who, {"act": act, "digest": applied.digest, "why": error.strerror or str(error)})
            raise

    def rollback(self, which: str, who: Who) -> dict[str, Any]:
        """Apply an earlier set, checked against what is known today. Raises LookupError, ValueError, PolicyFaultsError, OSError."""
        earlier = self._store.earlier(which)
        if earlier.digest == self._store.state.applied.digest:
            raise ValueError(f"{earlier.digest} is what is applied now")
        # The way back is never barred: what was recorded since may well be what the roll-back is to stop.
        return self._apply_policy(earlier.files, earlier.attachments, who=who, origin=earlier.origin, act="rollback", force=True)

    # -- questions ------------------------------------------------------------------------------------------------

    def history(self) -> list[dict[str, Any]]:
        """Applied sets, the latest first."""
        current = self._store.state.applied
        return [
            msgspec.to_builtins(past) | {"change_text": str(past.change), "current": (past.time, past.digest) == (current.time, current.digest)}
            for past in self._store.history()
        ]  # fmt: skip

    def status(self) -> dict[str, Any]:
        """In short, for `status`."""
        applied = self._store.state.applied
        return {
            "digest": applied.digest,
            "applied": applied.time,
            "count": len(self._store.state.policies.policies),
            "commit": applied.origin.commit,
            "author": applied.origin.author,
            "repository": None if self._watch is None else self._watch.status(applied.origin.commit, applied.who.by),
        }

    def drift(self) -> dict[str, Any]:
        """Applied against the watched repository. Raises LookupError when none is watched."""
        if self._watch is None:
            raise LookupError(
                "no repository is watched; name one: `eastwall policy drift SOURCE`, or `eastwall up --policy-git URL`"
            )
        applied = self._store.state.applied
        source = self._watch.source
        if source is None:
            raise ValueError(f"the repository could not be read yet: {self._watch.fault or 'control has just started'}")
        found = difference(applied.files, applied.origin.base, source.files, source.origin.base)
        return {
            "repository": msgspec.to_builtins(source.origin),
            "applied": self.status() | {"act": applied.act, "who": msgspec.to_builtins(applied.who)},
            "difference": {"added": found.added, "changed": found.changed, "removed": found.removed},
            "drifted": bool(found),
            "by_hand": applied.who.by != "git" and bool(found),
            "fault": self._watch.fault,
        }

    def audit(self, since: float = 0.0, limit: int = 1_000) -> list[dict[str, Any]]:
        """Acts, oldest first."""
        return [msgspec.to_builtins(entry) for entry in self._audit.entries(since, limit)]

    def verify_audit(self) -> dict[str, Any]:
        """The audit log read again from its first line on."""
        head = self._audit.head()
        report, _ = verify_file(self._audit.path, head=head)
        return report_of(report) | {"file": str(self._audit.path)}


def report_of(report: chain.Report) -> dict[str, Any]:
    """A verification for machines."""
    found: Mapping[str, Any] = msgspec.to_builtins(report)
    return {**found, "ok": not report.faults}
