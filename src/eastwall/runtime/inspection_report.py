"""What `eastwall inspect` says about one call: everything that `decide` concluded, as plain JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from eastwall.detections.decoding import readings
from eastwall.detections.places import bearer, places, response_places
from eastwall.detections.texts import BASE64, COMPATIBLE, ESCAPE, HEX, NESTED, PERCENT, REFERENCE, UTF7, signs
from eastwall.model.call import Phase, Response
from eastwall.model.decision import Decision, Deny, Throttle
from eastwall.model.facts import Facts
from eastwall.model.finding import Finding

ENCODINGS = {
    PERCENT: "percent", ESCAPE: "escapes", REFERENCE: "html-references", COMPATIBLE: "unicode-forms", BASE64: "base64", HEX: "hex",
    UTF7: "utf-7", NESTED: "json",
}  # fmt: skip
"""Layers of encoding by the signs of `detections.texts`."""
STOPPED = ("block", "limit")


def report(decisions: Sequence[Decision], response: Response | None) -> dict[str, Any]:
    """`verdict`, `status`, `findings`, `event_id`; and, where there is anything to say, `would`, `policies`, `parser_faults`,
    `not_inspected`, `data`. `decisions`: of the request, and of the response where there is one."""
    deciding = decisions[0] if decisions[0].verdict.action in STOPPED else decisions[-1]
    action = deciding.verdict.action if deciding.verdict.action != "allow" else decisions[0].verdict.action
    said: dict[str, Any] = {
        "verdict": action,
        "status": _status(deciding, response),
        "findings": [_finding(finding, decision.facts) for decision in decisions for finding in decision.findings],
        "event_id": decisions[0].call_id,
        "operation": _operation(decisions[0]),
    }
    would = next((d.verdict.would for d in reversed(decisions) if d.verdict.would != "allow"), "allow")
    if would != action:
        said["would"] = would
    more = {
        "policies": [
            {"name": m.policy, "action": m.action, "mode": m.mode.name.lower(), "reason": m.reason, "finding": m.finding}
            for decision in decisions
            for m in decision.verdict.matches
            if m.action != "allow"
        ],
        "parser_faults": [
            {"id": fault.id, "where": fault.where, "detail": fault.detail, "phase": decision.phase.name.lower()}
            for decision in decisions
            for fault in decision.facts.operation.faults
        ],
        "not_inspected": [reason for decision in decisions for reason in decision.facts.uninspected],
        "data": [
            {
                "class": hit.data_class,
                "where": hit.place,
                "masked": hit.masked,
                "confidence": hit.confidence,
                "direction": hit.direction,
            }
            for decision in decisions
            for hit in decision.facts.data
        ],
    }
    return said | {name: items for name, items in more.items() if items}


def _status(decision: Decision, response: Response | None) -> int:
    """What the caller gets: 200 where nobody knows the service's own answer."""
    for effect in decision.verdict.effects:
        if isinstance(effect, Deny):
            return effect.status
        if isinstance(effect, Throttle):
            return 429
    return response.status if response is not None else 200


def _operation(decision: Decision) -> dict[str, str]:
    asked, endpoint = decision.facts.operation, decision.match.endpoint
    known = {
        "protocol": asked.protocol,
        "name": asked.name,
        "endpoint": f"{endpoint.method} {endpoint.template}" if endpoint is not None else "",
        "service": decision.facts.call.service,
        "caller": decision.identity.actor,
    }
    return {name: text for name, text in known.items() if text}


def _finding(finding: Finding, facts: Facts) -> dict[str, Any]:
    said: dict[str, Any] = {
        "id": finding.id,
        "severity": finding.severity,
        "confidence": finding.confidence,
        "owasp": list(finding.owasp),
        "where": finding.where,
        "message": finding.message,
        "evidence": finding.evidence,
        "phase": facts.phase.name.lower(),
    }
    layers = decoded_layers(finding, facts)
    if layers:
        said["decoded"] = layers
    return said


def decoded_layers(finding: Finding, facts: Facts) -> list[str]:
    """Which encodings had to be undone to see a finding's evidence, outermost first; empty when it stands there as it is."""
    evidence = " ".join(finding.evidence.split())
    if not evidence:
        return []
    for place, text in _values(facts):
        if place != finding.where and not finding.where.startswith((f"{place}:", f"{place}.")) and not place.endswith(":token"):
            continue
        if _holds(text, evidence):
            return []
        undone, current = [], text
        for _, layer in readings(place, text)[0]:
            undone += [name for name in _signs(current) if name not in undone]
            if _holds(layer, evidence):
                return undone
            current = layer
    return []


def _values(facts: Facts) -> Iterable[tuple[str, str]]:
    call = facts.call
    if facts.phase is Phase.RESPONSE and call.response is not None:
        yield from response_places(call.response, facts.operation)
        return
    yield from places(call.request, facts.operation)
    if token := bearer(call.request.headers):
        yield "header.authorization:token", token


def _holds(text: str, evidence: str) -> bool:
    return evidence in " ".join(text.split())


def _signs(text: str) -> list[str]:
    found = signs(text.encode("utf-8", "replace"))
    return [name for bit, name in ENCODINGS.items() if found & bit]
