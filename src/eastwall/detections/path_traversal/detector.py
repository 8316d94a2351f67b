"""Path traversal (CWE-22): a value that, used as a path, would leave the directory it is meant for or names a file of the system."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.path_traversal.path import UNSURE, traversal
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="path-traversal",
    title="Path traversal",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A01:2021", "API8:2023"),
    cwe=("CWE-22", "CWE-73"),
    attack=("T1190", "T1083"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("traversal",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    findings: list[Finding] = []
    seen: set[str] = set()
    for value, families in facts.suspects:
        if "traversal" not in families or value.place in seen or ("path" in seen and value.place.startswith("path[")):
            continue
        reason = traversal(value.text, value.place)
        if reason:
            seen.add(value.place)
            findings.append(
                Finding(
                    id=META.id,
                    severity=META.severity,
                    confidence="medium" if reason in UNSURE else META.confidence,
                    owasp=META.owasp,
                    where=value.place,
                    message=f"the value of `{value.place}`, used as a path, {reason}",
                    evidence=" ".join(value.text.replace("\x00", "\\0").split())[:120],
                )
            )
    return findings
