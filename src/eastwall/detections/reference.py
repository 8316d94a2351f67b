"""What docs/detections.md says of each detection, from its metadata and its README."""

from __future__ import annotations

import re
from collections.abc import Iterable

from eastwall.detections import Detector

COLUMNS = ("Detection", "Finds", "In", "Severity", "Enforced", "On error", "OWASP", "CWE", "ATT&CK", "Stage")
_ADVICE = re.compile(r"^\*\*False positives\.\*\*\s*(.*?)(?=\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)


def table(detectors: Iterable[Detector]) -> str:
    """Markdown, one row per detection in the order given. `Enforced`: what the built-in policy does in enforce mode."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS)]
    for detector in detectors:
        meta = detector.meta
        ids = (", ".join(meta.owasp), ", ".join(meta.cwe), ", ".join(meta.attack))
        phases = "both" if len(meta.phases) > 1 else meta.phases[0]
        rows.append((_link(meta.id), meta.title, phases, meta.severity, meta.default_action, meta.on_error, *ids, meta.stage))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def advice(readmes: Iterable[tuple[str, str]]) -> str:
    """Markdown, one line per detection: what its README (given as id and text) says about false positives.

    Raises ValueError, one line, for a README that says nothing about them."""
    rows = []
    for name, text in readmes:
        found = _ADVICE.search(text)
        if found is None:
            raise ValueError(f"the README of `{name}` has no paragraph **False positives.**")
        rows.append(f"- {_link(name)}: {' '.join(found[1].split())}")
    return "\n".join(rows)


def _link(name: str) -> str:
    return f"[`{name}`](../src/eastwall/detections/{name.replace('-', '_')}/README.md)"
