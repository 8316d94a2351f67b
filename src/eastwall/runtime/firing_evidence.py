"""What a playbook keeps when it fires: the calls, findings and policies of the moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eastwall.model.record import CallRecord
from eastwall.policy.playbooks import Firing
from eastwall.runtime.control_views import named
from eastwall.runtime.policy_store import Applied
from eastwall.stores.chdb.lake import ChdbLake

SECONDS_BEFORE = 900.0
"""Seconds before the first call that counted from which calls are kept."""
MAX_CALLS = 1_000


def evidence(
    firing: Firing, lake: ChdbLake, call: Callable[[str], CallRecord | None], applied: Applied, snapshot: int
) -> dict[str, Any]:
    """`call`: a call by its event id, also one that is still on its way into the lake. `snapshot`: the version in force. Raises LakeError."""
    kind, _, name = firing.key.partition(" ")
    where: dict[str, Any] = {"identity": {"actor": name}}.get(kind, {"service": firing.record.service})
    if kind == "endpoint" and firing.record.endpoint:
        where["endpoint"] = firing.record.endpoint
    records = lake.calls(**where, since=firing.since - SECONDS_BEFORE, limit=MAX_CALLS)
    stored = {record.id for record in records}
    late = [record for event in firing.events if event not in stored and (record := call(event)) is not None]
    records = sorted([*records, *late], key=lambda record: record.time, reverse=True)
    return {
        "policy": {"digest": applied.digest, "commit": applied.origin.commit, "snapshot": snapshot},
        "timeline": [
            [r.time, r.id, f"{r.method} {r.path}", r.status, r.action, [f.id for f in r.findings]] for r in reversed(records)
        ],
        "calls": [named(r) for r in records],
    }
