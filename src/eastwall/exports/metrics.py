"""Prometheus text exposition format 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats), from control's status."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MODES = ("discover", "monitor", "enforce")


class Family(Struct, frozen=True):
    """One metric with its samples."""

    name: str
    """`[a-zA-Z_:][a-zA-Z0-9_:]*`; a counter's ends with `_total`."""
    kind: str
    """`counter` or `gauge`."""
    help: str
    samples: tuple[tuple[tuple[tuple[str, str], ...], float], ...]
    """((label, value), ...), sample."""


def exposition(families: Iterable[Family]) -> str:
    """The families as text. Label values and help texts are escaped, whatever is in them."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {_escape(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, value in family.samples:
            inside = ",".join(f'{name}="{_escape(text, quote=True)}"' for name, text in labels)
            lines.append(f"{family.name}{{{inside}}} {_number(value)}" if inside else f"{family.name} {_number(value)}")
    return "\n".join(lines) + "\n"


def families(status: Mapping[str, Any]) -> list[Family]:
    """Metrics of a `status` as control gives it; what it does not hold is left out."""
    lake, spool = _map(status.get("lake")), _map(status.get("spool"))
    engines = [_map(e) for e in status.get("engines") or ()]
    services = [_map(s) for s in status.get("services") or ()]
    uninspected = _map(status.get("uninspected"))
    snapshot = _map(status.get("snapshot"))
    modes = [({"service": s["name"]}, MODES.index(s["mode"])) for s in services]
    tables = [({"engine": e.get("name"), "table": table}, size) for e in engines for table, size in _map(e.get("tables")).items()]
    reasons = [
        ({"counted_by": by, "reason": reason}, n)
        for by, counts in _map(uninspected.get("counted_by")).items()
        for reason, n in _flat(counts)
    ]
    refused = [
        ({"service": service, "policy": name}, count)
        for service, names in _map(_map(status.get("envoy")).get("refused")).items()
        for name, count in _flat(names)
    ]
    faults = [({"part": part}, 1) for part in _map(status.get("faults"))]
    found = [
        _one("eastwall_info", "gauge", "Version of control.", 1, version=status.get("version", "")),
        _one("eastwall_calls_stored_total", "counter", "Calls stored in the lake.", lake.get("calls")),
        _one("eastwall_findings_total", "counter", "Findings stored in the lake.", lake.get("findings")),
        _one("eastwall_calls_flagged_total", "counter", "Calls with at least one finding.", lake.get("flagged")),
        _one("eastwall_calls_blocked_total", "counter", "Calls answered by Eastwall (block, limit).", lake.get("blocked")),
        _many("eastwall_envoy_refused_total", "counter", "Calls that Envoy refused by itself, since it started.", refused),
        _one("eastwall_calls_redacted_total", "counter", "Calls whose body was redacted.", lake.get("redacted")),
        _one("eastwall_lake_bytes", "gauge", "Bytes of the lake on disk.", lake.get("bytes")),
        _one("eastwall_spool_pending_bytes", "gauge", "Bytes the lake does not have yet.", spool.get("pending_bytes")),
        _one("eastwall_records_lost_total", "counter", "Records that engines had to drop.", spool.get("lost_records")),
        _one("eastwall_spool_corrupt_bytes_total", "counter", "Spool bytes that did not verify.", spool.get("corrupt_bytes")),
        _one("eastwall_snapshot_version", "gauge", "Version of the published snapshot.", snapshot.get("version")),
        _many(
            "eastwall_endpoints", "gauge", "Known endpoints.", [({"service": s["name"]}, s.get("endpoints")) for s in services]
        ),
        _many("eastwall_service_mode", "gauge", "Mode: 0 discover, 1 monitor, 2 enforce.", modes),
        _each("eastwall_engine_up", "gauge", "Whether an engine's heartbeat is fresh.", engines, "alive"),
        _each("eastwall_engine_calls_total", "counter", "Completed calls, by engine.", engines, "calls"),
        _each("eastwall_engine_open_calls", "gauge", "Calls an engine has open.", engines, "open_calls"),
        _each("eastwall_engine_snapshot_version", "gauge", "Version of the snapshot an engine uses.", engines, "snapshot"),
        _many("eastwall_engine_table_size", "gauge", "Entries of an engine's tables of live state.", tables),
        _many("eastwall_uninspected_total", "counter", "Calls not (wholly) inspected, by reason and by who counted.", reasons),
        _many("eastwall_fault", "gauge", "Parts of control that do not work right now.", faults),
    ]
    return [family for family in found if family.samples]


def _one(name: str, kind: str, text: str, value: Any, **labels: object) -> Family:
    return _many(name, kind, text, [(labels, value)])


def _each(name: str, kind: str, text: str, engines: Iterable[Mapping[str, Any]], key: str) -> Family:
    return _many(name, kind, text, [({"engine": e.get("name")}, e.get(key)) for e in engines])


def _many(name: str, kind: str, text: str, samples: Iterable[tuple[Mapping[str, object], Any]]) -> Family:
    kept = [(labels, float(number)) for labels, number in samples if number is not None]
    return Family(name, kind, text, tuple((tuple((label, str(text)) for label, text in labels.items()), n) for labels, n in kept))


def _flat(reasons: Any, prefix: str = "") -> Iterable[tuple[str, float]]:
    """Counts by reason, of whatever depth (`{service: {reason: n}}` gives `service/reason`)."""
    for name, value in _map(reasons).items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", float(value)


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _escape(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(value)
