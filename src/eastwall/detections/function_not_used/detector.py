"""Broken function level authorization (OWASP API5:2023): an operation that the caller's class does not use, and others do."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.deviations import FunctionDeviation
from eastwall.model.facts import Facts, FunctionUse
from eastwall.model.finding import Detection, Finding

SURE, LIKELY = 5.0, 2.0
"""Calls that the class would have made had it used the operation as it uses the service: by chance alone, none of five happens in less than one
of a hundred cases, none of two in one of seven."""
RARE = 0.01
"""Chance that nobody of less authority happened to call it, below which it is theirs who did."""
GRANTS = 0.2
"""The same of what gives roles and permissions, which is theirs by its nature (CWE-269)."""
MANY = 10.0
"""The same where only staff or programs use it: what people do rarely (a refund) may be what staff do all day. Or `RARE`, as a chance that is reckoned
for that."""

SEVERAL, SEVERAL_OF_STAFF = 2, 8
"""Calls of others from which on it is known whose it is, where the caller's class is so well known that its first use is no chance: staff do more of
what others come to do as well."""

META = Detection(
    id="function-not-used",
    title="Operation that this class of caller does not use",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("API5:2023",),
    cwe=("CWE-285", "CWE-269"),
    attack=("T1190", "T1078", "T1548"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("function", "deviations"),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding: severe where the operation is for those who run the service, else told."""
    use, endpoint = facts.function, facts.match.endpoint
    if use is not None and endpoint is not None and _strange(use):
        what = endpoint.operation or f"{endpoint.method} {endpoint.template}"
        who, severity, confidence = _who(use.classes), *_weight(use)
        message = f"{facts.identity.cls} never uses {what}; {use.calls:,} calls were made by {who}, and {_expected(use, facts.identity.cls)}"
        return [_finding("operation", severity, confidence, message, what)]
    found = [one for one in facts.deviations if type(one) is FunctionDeviation and one.place == "operation"]
    if not found:
        return ()
    strongest = max(found, key=lambda one: (one.expected, -one.chance))
    if strongest.expected < LIKELY and strongest.chance > RARE:
        return ()
    confidence = "high" if strongest.expected >= SURE else "medium"
    return [_finding("operation", "high", confidence, told(strongest, facts.identity.cls), strongest.what)]


def _strange(use: FunctionUse) -> bool:
    return use.expected >= LIKELY or min(use.chance, use.change_chance) <= (GRANTS if use.grants else RARE) or _settled(use)


def _settled(use: FunctionUse) -> bool:
    return use.settled and use.calls >= (SEVERAL if use.ruled or use.apart else SEVERAL_OF_STAFF)


def told(one: FunctionDeviation, cls: str) -> str:
    """In one sentence what was expected, from which evidence."""
    if one.scope:
        return (
            f"the caller lacks the scope {one.scope[:60]}, which all callers of {one.what} bore in {one.calls:,} calls; by chance {one.expected:,.0f} of them "
            "would have lacked it"
        )
    where = f"anything below {one.group[:100]}" if one.group else one.what
    return f"{cls} never uses {where}; {one.calls:,} calls were made by {_who(one.classes)}, and {_expected(one, cls)}"


def _expected(use: FunctionUse | FunctionDeviation, cls: str) -> str:
    if use.expected >= LIKELY:
        return f"{use.expected:,.0f} were to be expected of {cls} if it did"
    return "classes of less authority made none, which is no chance"


def _who(classes: Sequence[str]) -> str:
    return ", ".join(classes[:3]) + (f" and {len(classes) - 3} more" if len(classes) > 3 else "")


def _weight(use: FunctionUse) -> tuple[str, str]:
    """(severity, confidence)."""
    if use.privileged and use.ruled:
        return "high", "high" if use.expected >= SURE else "medium"
    if use.privileged or use.apart:
        return "high", "medium" if use.expected >= MANY or use.change_chance <= RARE or _settled(use) else "low"
    return "medium", "medium"


def _finding(where: str, severity: str, confidence: str, message: str, what: str) -> Finding:
    return Finding(
        id=META.id,
        severity=severity,
        confidence=confidence,
        owasp=META.owasp,
        where=where,
        message=message,
        evidence=what[:120],
    )
