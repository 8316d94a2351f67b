"""A third party sends us on to a host that it never sent us to, or into our own network (OWASP API10:2023, API7:2023)."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.ssrf.address import parse
from eastwall.detections.ssrf.places import kind_of
from eastwall.model.deviations import UpstreamRedirect
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

FEW = 10
"""Answers that must be known before a redirect to another host of the internet says anything."""
_INTERNAL = {
    "metadata": "the metadata service of the cloud",
    "loopback": "the service's own machine",
    "link-local": "a link-local address",
    "private": "an address of a private network",
    "rebinding": "a name that changes its address between check and use",
}

META = Detection(
    id="upstream-redirect",
    title="A third party redirects to another host or into the own network",
    severity="high",
    confidence="high",
    audience="both",
    phases=("response",),
    owasp=("API10:2023", "API7:2023"),
    cwe=("CWE-601", "CWE-918"),
    attack=("T1195", "T1552"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("deviations",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding."""
    return [one for found in facts.deviations if type(found) is UpstreamRedirect and (one := _finding(found)) is not None]


def _finding(found: UpstreamRedirect) -> Finding | None:
    target = parse(found.url)
    internal = _INTERNAL.get(kind_of(target.host, target.address)) if target is not None else None
    if internal is None and found.answers < FEW:
        return None
    known = f"it redirected to {', '.join(found.known)} only" if found.known else "none redirected to another host"
    message = f"the answer of {found.own} redirects to {internal or found.host}; of {found.answers:,} answers {known}"
    return Finding(
        id=META.id,
        severity="critical" if internal == _INTERNAL["metadata"] else "high" if internal else "medium",
        confidence=META.confidence if internal else "medium",
        owasp=META.owasp,
        where=found.place,
        message=message,
        evidence=found.url[:120],
        phase="response",
    )
