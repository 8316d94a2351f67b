"""How much an endpoint is worth an attacker's while, and a defender's: a score of 0..100 that is the sum of its stated reasons.

| points | reason |
|---|---|
| 20 | the internet reaches it |
| 10 | agents call it |
| 5 | a partner, or a third party, is at the other end |
| 25 | authentication is missing: declared or usual beside it, and it answers without |
| 12 | it answers without identity (0 where it is meant to: sign-in, health) |
| 15 | it is administrative |
| 8, 15, 22, 30 | it gives data of low, medium, high, critical sensitivity; half of it where it only takes it; 3 more for each further class, at most 9 |
| 15 | zombie |
| 12 | shadow |
| 10 | it names objects of a kind of which Eastwall has not learned whether they belong to single actors |
| 10 | another version of it checks more |
| 4 | non-production on a path of its own |
| 3 | nobody owns it |
| 5 / 10 | drift of medium / high severity |
| 4 | it changes something (POST, PUT, PATCH, DELETE) |
| up to 25 | findings of the last days: 5 low, 10 medium, 20 high, 25 critical |

An endpoint that was never called (a ghost) scores 0 but for what is declared about it, halved: it may be there nevertheless.
Levels: `critical` from 70, `high` from 45, `medium` from 20. The weights are judgement, not measurement; what they are for is an order
in which to look, and each is told with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from eastwall.discovery.data_values import SENSITIVITY as BUILT_IN
from eastwall.discovery.lifecycle import OPEN_SHARE, identified, open_by_nature
from eastwall.model.blueprint import Drift, Lifecycle, Risk, RiskReason
from eastwall.model.endpoint import Endpoint

SENSITIVITY = {"low": 8, "medium": 15, "high": 22, "critical": 30}
FINDING = {"info": 0, "low": 5, "medium": 10, "high": 20, "critical": 25}
LEVELS = ((70, "critical"), (45, "high"), (20, "medium"), (0, "low"))
_Add = Callable[[int, str], None]
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def sensitivity(data_class: str, custom: Mapping[str, str] | None = None) -> str:
    """`low`, `medium`, `high` or `critical`. `custom`: what policies say of their own classes; what nobody knows is `medium`."""
    return (custom or {}).get(data_class) or BUILT_IN.get(data_class, "medium")


def risk(
    endpoint: Endpoint,
    lifecycle: Lifecycle,
    drifts: Sequence[Drift] = (),
    findings: Mapping[str, int] | None = None,
    custom: Mapping[str, str] | None = None,
) -> Risk:
    """`findings`: severity -> how many of late. `custom`: data class -> sensitivity."""
    reasons: list[RiskReason] = []

    def add(points: int, text: str) -> None:
        if points > 0:
            reasons.append(RiskReason(points, text))

    flags = lifecycle.flags
    if "internet-facing" in flags:
        add(20, "the internet reaches it")
    if "agent-reachable" in flags:
        add(10, "agents call it")
    if lifecycle.exposure in ("partner", "external"):
        add(5, "a partner calls it" if lifecycle.exposure == "partner" else "it is a third party's")
    _authentication(endpoint, lifecycle, add)
    if "admin" in flags:
        add(15, "it is administrative")
    _data(endpoint, custom, add)
    if lifecycle.state == "zombie":
        add(15, "it is deprecated or of an old version, and still called")
    elif lifecycle.state == "shadow":
        add(12, "its service's specification does not have it, so nobody reviews it")
    unknown = sorted({o.kind for o in endpoint.objects if not o.exclusive and not _judged(o.evidence)})
    if unknown and endpoint.calls:
        add(10, f"it names objects ({', '.join(unknown[:3])}), and whose they are is not learned")
    if "weaker-version" in flags:
        add(10, "another version of it checks more")
    if "non-production" in flags:
        add(4, "it is not for production, or its path says so")
    if "orphan" in flags:
        add(3, "nobody owns it")
    worst = {d.severity for d in drifts if d.kind not in ("unseen-operation", "undeclared-operation", "missing-authentication")}
    if "high" in worst:
        add(10, "it takes or gives what is not declared, and that is sensitive")
    elif "medium" in worst:
        add(5, "it does not keep to its specification")
    if endpoint.operation.startswith("mutation ") or (endpoint.method in _WRITES and endpoint.protocol == "rest"):
        add(4, "it changes something")
    _findings(findings or {}, add)
    if not endpoint.calls:
        reasons = [RiskReason(r.points // 2, r.text) for r in reasons if r.points >= 2]
    reasons.sort(key=lambda r: (-r.points, r.text))
    score = min(100, sum(r.points for r in reasons))
    return Risk(score=score, level=next(name for least, name in LEVELS if score >= least), reasons=tuple(reasons))


def _judged(evidence: str) -> bool:
    """Whether there was enough to say that objects of a kind are shared (see `learning.ownership`)."""
    return "used by one actor only" in evidence or "given to everybody" in evidence


def _authentication(endpoint: Endpoint, lifecycle: Lifecycle, add: _Add) -> None:
    if "missing-authentication" in lifecycle.flags:
        add(25, "authentication is missing where it is declared, or usual beside it")
        return
    share = identified(endpoint)
    if share is not None and share <= OPEN_SHARE and not endpoint.login and not open_by_nature(endpoint.template):
        add(12, "it answers callers without identity")
    elif endpoint.secured is False and not endpoint.calls and not open_by_nature(endpoint.template):
        add(12, "its specification asks for no authentication")


def _data(endpoint: Endpoint, custom: Mapping[str, str] | None, add: _Add) -> None:
    given: dict[str, int] = {}
    for direction, _, name in endpoint.data_classes:
        # Who signs in sends secrets and is given one.
        if endpoint.login and (direction == "request" or name in ("secret", "credential")):
            continue
        points = SENSITIVITY[sensitivity(name, custom)]
        given[name] = max(given.get(name, 0), points if direction == "response" else points // 2)
    if not given:
        return
    worst = min(given, key=lambda name: (-given[name], name))
    more = min(9, 3 * (len(given) - 1))
    gives = any(direction == "response" and name == worst for direction, _, name in endpoint.data_classes)
    beside = f", and {len(given) - 1} more data classes" if len(given) > 1 else ""
    add(given[worst] + more, f"it {'gives' if gives else 'takes'} {worst}{beside}")


def _findings(findings: Mapping[str, int], add: _Add) -> None:
    seen = {severity: count for severity, count in findings.items() if count and severity in FINDING}
    if seen:
        worst = max(seen, key=lambda severity: FINDING[severity])
        add(FINDING[worst], f"{sum(seen.values()):,} findings of late, the worst of {worst} severity")
