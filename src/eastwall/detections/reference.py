"""The table of detections in docs/detections.md, from their metadata."""

from __future__ import annotations

from collections.abc import Iterable

from eastwall.detections import Detector

COLUMNS = ("Detection", "Finds", "Severity", "Enforced", "On error", "OWASP", "CWE", "ATT&CK", "Stage")


def table(detectors: Iterable[Detector]) -> str:
    """Markdown, one row per detection in the order given. `Enforced`: what the built-in policy does in enforce mode."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS)]
    for detector in detectors:
        meta = detector.meta
        folder = meta.id.replace("-", "_")
        link = f"[`{meta.id}`](../src/eastwall/detections/{folder}/README.md)"
        ids = (", ".join(meta.owasp), ", ".join(meta.cwe), ", ".join(meta.attack))
        rows.append((link, meta.title, meta.severity, meta.default_action, meta.on_error, *ids, meta.stage))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
