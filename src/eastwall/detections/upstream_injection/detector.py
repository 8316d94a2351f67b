"""A third party's answer holds what is meant to be carried out: by a browser, a database, a template, a shell, a model (OWASP API10:2023)."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.command_injection.code import runs
from eastwall.detections.command_injection.shell import injection as shell
from eastwall.detections.cross_site_scripting.xss import cross_site_scripting
from eastwall.detections.sql_injection.grammar import injection as sql
from eastwall.detections.ssrf.detector import forgery
from eastwall.detections.template_injection.expression import template_injection
from eastwall.model.deviations import UpstreamValue
from eastwall.model.facts import Facts
from eastwall.model.finding import CONFIDENCES, SEVERITIES, Detection, Finding

META = Detection(
    id="upstream-injection",
    title="A third party's answer carries an injection",
    severity="high",
    confidence="high",
    audience="both",
    phases=("response",),
    owasp=("API10:2023", "LLM01:2025"),
    cwe=("CWE-20", "CWE-79", "CWE-89", "CWE-94", "CWE-78", "CWE-918"),
    attack=("T1195", "T1059"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding for each place: the gravest."""
    best: dict[str, Finding] = {}
    for value in facts.deviations:
        if type(value) is not UpstreamValue:
            continue
        judged = _judge(value)
        if judged is None:
            continue
        confidence, severity, reason = judged
        found = Finding(
            id=META.id,
            severity=severity,
            confidence=confidence,
            owasp=META.owasp,
            where=value.place,
            message=f"the value of `{value.place}` in the answer of {facts.call.service} {reason}; it never held such",
            evidence=" ".join("".join(c if c.isprintable() else " " for c in value.text[:480]).split())[:120],
            phase="response",
        )
        known = best.get(value.place)
        if known is None or _weight(known) < _weight(found):
            best[value.place] = found
    return list(best.values())


def _weight(finding: Finding) -> int:
    return CONFIDENCES.index(finding.confidence) * len(SEVERITIES) + SEVERITIES.index(finding.severity)


def _judge(value: UpstreamValue) -> tuple[str, str, str] | None:
    """(confidence, severity, why); None for what only looks so."""
    text = value.text
    if value.hint == "prompt":
        return "medium", "medium", "gives orders to a language model"
    if value.hint == "sql":
        reason = sql(text)
        return ("high", "high", f"read as SQL, {reason}") if reason else None
    if value.hint == "command":
        reason = shell(text) or runs(text)
        return ("medium", "high", f"read by a shell, {reason}") if reason else None
    if value.hint == "markup":
        verdict = cross_site_scripting(text)
    elif value.hint == "template":
        verdict = template_injection(text)
    else:
        verdict = forgery(text, value.place)
    if verdict is None:
        return None
    severity = "medium" if value.hint == "url" else "high"
    return verdict.confidence or "high", severity, verdict.reason
