"""How Eastwall itself is: what engines and Envoy say of themselves, and what was not inspected.

Everything here is read anew from files, Envoy's counters and the lake; questions that cost something are asked once a second at most, however
many pages are open.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from eastwall.runtime.control_views import by_reason, text_keys
from eastwall.runtime.layout import DataDir

CACHE_SECONDS = 1.0
"""Costly questions are asked this often at most."""
ENGINE_DEAD = 5.0
"""Seconds without a heartbeat after which an engine is shown as dead."""


class Cached:
    """Answers that are kept for `CACHE_SECONDS`, by name."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, Any]] = {}

    def __call__(self, name: str, ask: Callable[[], Any]) -> Any:
        """The kept answer, or a new one. Raises what `ask` raises, and keeps nothing then."""
        at, value = self._kept.get(name, (0.0, None))
        if time.monotonic() - at > CACHE_SECONDS or value is None:
            value = ask()
            self._kept[name] = (time.monotonic(), value)
        return value


def heartbeats(data: DataDir) -> list[dict[str, Any]]:
    """What each engine last said of itself; `age` in seconds and `alive` by its file."""
    beats = []
    for path in sorted(data.run.glob("engine-*.json")):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            beat = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
            age = max(0.0, time.time() - path.stat().st_mtime)
            beats.append({**beat, "age": round(age, 1), "alive": age < ENGINE_DEAD})
    return beats


def sharing_fault(data: DataDir) -> str:
    """Why engines cannot tell each other what they count and learn, as those that are alive say; empty when they can."""
    for path in sorted(data.run.glob("sharing-*.json")):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            told = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
            if told.get("fault") and time.time() - path.stat().st_mtime < ENGINE_DEAD:
                return (
                    f"{told['fault']}; engine {told.get('name', '?')} counts what it sees itself, limits go by their `onOutage`"
                )
    return ""


def envoy_counters(data: DataDir) -> dict[str, Any]:
    """Envoy's own counters; `{"fault": ...}` when they cannot be had."""
    try:
        from eastwall.runtime.dataplane import envoy_stats

        found: dict[str, Any] = text_keys(envoy_stats(data.root))
        return found
    except Exception as error:  # noqa: BLE001 - whatever is wrong with Envoy's counters, the rest of the status is still true
        return {"fault": str(error) or type(error).__name__}


def uninspected(recorded: Mapping[str, int], engines: Sequence[Mapping[str, Any]], envoy: Mapping[str, Any]) -> dict[str, Any]:
    """Calls of which something was not inspected: by reason as recorded, as engines count, and as Envoy counts."""
    counted: Counter[str] = Counter()
    for engine in engines:
        counted.update({str(k): int(v) for k, v in dict(engine.get("uninspected") or {}).items()})
    by_envoy = by_reason(envoy.get("uninspected"))
    # The same call may be counted by Envoy, by an engine and in its record; any of the three may also be the only one.
    reasons = {r: max(recorded.get(r, 0), counted[r], by_envoy[r]) for r in {*recorded, *counted, *by_envoy}}
    return {
        "total": sum(reasons.values()),
        "by_reason": dict(sorted(reasons.items(), key=lambda item: -item[1])),
        "counted_by": {"records": dict(recorded), "engines": dict(counted), "envoy": dict(by_envoy)},
    }
