"""What is wrong with a message: what the detections say, and findings that the operation is used to count for less."""

from __future__ import annotations

from re import compile as regex

from msgspec.structs import replace

from eastwall.decision.compile import LiveSnapshot
from eastwall.detections import DetectorError, detect
from eastwall.discovery.data_classes import DataClasses
from eastwall.discovery.data_entries import NAMELESS
from eastwall.model.endpoint import Match
from eastwall.model.facts import Facts
from eastwall.model.finding import Finding
from eastwall.model.place import FILE_CONTENT, without_indices

_FOR_PARSERS = frozenset(("xml-external-entity", "unsafe-deserialization", "jndi-injection"))
_RUN_BY_SERVERS = regex(r"(?i)\.(?:php\d?|phtml|phar|jspx?|jspf|aspx?|ashx|asmx|cfm|cgi|shtml|htaccess)(?:[.;:%\s\x00]|$)")
"""Names of files that a web server may execute, or read as its configuration."""
_SENSITIVE = frozenset(("critical", "high"))
"""Of data classes: what no evidence shows. An address of the network, which is the evidence of some findings, is less."""


def examine(facts: Facts, snapshot: LiveSnapshot) -> tuple[tuple[Finding, ...], tuple[DetectorError, ...]]:
    """Run the detections, and weigh what they find: a SQL console gets SQL. What is secret in their evidence is masked."""
    findings, errors = detect(facts, snapshot.detectors)
    if not findings:
        return findings, errors
    told = tuple(_in_file(_masked(finding, snapshot.data_classes), facts) for finding in findings)
    return excuse(weigh(told, facts.match, snapshot), facts), errors


def _in_file(finding: Finding, facts: Facts) -> Finding:
    """What an uploaded file holds is no argument: a dump holds SQL and a page scripts. A parser's own attacks stay, and files that a web
    server runs."""
    if not finding.where.endswith(FILE_CONTENT) or finding.id in _FOR_PARSERS:
        return finding
    body = facts.operation.body
    name = without_indices(finding.where.removeprefix("body.").removesuffix(FILE_CONTENT)).removesuffix("[]")
    parts = body.get(name) if isinstance(body, dict) else None
    names = [str(part.get("filename", "")) for part in (parts if isinstance(parts, list) else [parts]) if isinstance(part, dict)]
    if not names or any(_RUN_BY_SERVERS.search(one) for one in names):
        return finding
    return replace(finding, confidence="low", message=f"{finding.message}; it is the text of an uploaded file")


def _masked(finding: Finding, known: DataClasses) -> Finding:
    """The finding without numbers of cards, people and accounts, keys and passwords that stood beside what it found."""
    text = finding.evidence
    classes = known.classes(text.encode("utf-8", "replace")) if text else frozenset()
    if not classes:
        return finding
    parts, at = [], 0
    for start, end, data_class, _, _ in known.search(classes).spans(text, NAMELESS):
        if known.sensitivity.get(data_class) in _SENSITIVE:
            parts += [text[at:start], known.mask(data_class, text[start:end])]
            at = end
    return replace(finding, evidence="".join([*parts, text[at:]])[:120]) if at else finding


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


def excuse(findings: tuple[Finding, ...], facts: Facts) -> tuple[Finding, ...]:
    """The findings, with confidence `low` where an analyst said that this is fine here, or callers agree on it since a release: of this class of
    callers, and until now."""
    endpoint = facts.match.endpoint
    if endpoint is None or not endpoint.excused:
        return findings
    cls, now = facts.identity.cls, facts.call.time
    fine = {(detection, place) for detection, place, of, until in endpoint.excused if of == cls and now < until}
    return tuple(
        replace(
            finding,
            confidence="low",
            message=f"{finding.message}; an analyst said, or its callers agree since a release, that this is fine here",
        )
        if (finding.id, without_indices(finding.where)) in fine
        else finding
        for finding in findings
    )


def _weighed(finding: Finding, used_to: dict[tuple[str, str], int], snapshot: LiveSnapshot) -> Finding:
    calls = used_to.get((finding.id, without_indices(finding.where)))
    if calls is None or not snapshot.detectors.reads_content(finding.id):
        return finding
    message = f"{finding.message}; most callers of this operation do so as a matter of course ({calls:,} calls)"
    return replace(finding, confidence="low", message=message)
