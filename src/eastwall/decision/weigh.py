"""What is wrong with a message: what the detections say, and findings that the operation is used to count for less."""

from __future__ import annotations

from msgspec.structs import replace

from eastwall.decision.compile import LiveSnapshot
from eastwall.detections import DetectorError, detect
from eastwall.model.endpoint import Match
from eastwall.model.facts import Facts
from eastwall.model.finding import Finding
from eastwall.model.place import without_indices


def examine(facts: Facts, snapshot: LiveSnapshot) -> tuple[tuple[Finding, ...], tuple[DetectorError, ...]]:
    """Run the detections, and weigh what they find: a SQL console gets SQL."""
    findings, errors = detect(facts, snapshot.detectors)
    return (weigh(findings, facts.match, snapshot) if findings else findings), errors


def weigh(findings: tuple[Finding, ...], match: Match, snapshot: LiveSnapshot) -> tuple[Finding, ...]:
    """The findings, with confidence `low` and the reason in the message where the operation's callers cause them as a matter of course.

    Only what detections read in content is weighed so: what rests on learned ownership, properties or sign-ins knows its callers already.
    """
    if match.endpoint is None:
        return findings
    used_to = snapshot.profiles[match.endpoint.id].accustomed
    if not used_to:
        return findings
    return tuple(_weighed(finding, used_to, snapshot) for finding in findings)


def _weighed(finding: Finding, used_to: dict[tuple[str, str], int], snapshot: LiveSnapshot) -> Finding:
    calls = used_to.get((finding.id, without_indices(finding.where)))
    if calls is None or not snapshot.detectors.reads_content(finding.id):
        return finding
    message = f"{finding.message}; most callers of this operation do so as a matter of course ({calls:,} calls)"
    return replace(finding, confidence="low", message=message)
