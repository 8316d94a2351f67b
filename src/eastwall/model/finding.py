"""What a detection says, and what it says about itself."""

from __future__ import annotations

from msgspec import Struct

SEVERITIES = ("info", "low", "medium", "high", "critical")
CONFIDENCES = ("low", "medium", "high")
STAGES = ("reconnaissance", "exploitation", "lateral-movement", "exfiltration")


class Finding(Struct, frozen=True):
    """One thing that is wrong with one call. Cannot be built without a place."""

    id: str
    """Id of the detection: its folder's name with hyphens."""
    severity: str
    """One of SEVERITIES."""
    confidence: str
    """One of CONFIDENCES."""
    owasp: tuple[str, ...]
    """e.g. `API1:2023`, `LLM01:2025`, `A03:2021`."""
    where: str
    """Place of the evidence: `body.note`, `path.order_id`, `query.q`."""
    message: str
    """One plain sentence: what was expected, what happened. Safe to show an analyst; holds no unmasked sensitive value."""
    evidence: str = ""
    """The matched part, at most 120 characters, sensitive values masked."""
    phase: str = "request"
    standing: bool = False
    """A fault of the service's set-up that each of its calls shows (a weak key, tokens in URLs): it says nothing of this caller."""

    @property
    def suspicious(self) -> bool:
        """Whether the call teaches nothing for it: what the caller sent is likely an attack, or what the service answered a breach.
        A banner in the answer is a fault of the service and none of the caller's."""
        if self.confidence == "low" or self.standing:
            return False
        return self.severity in _GRAVE if self.phase == "response" else self.severity not in _SLIGHT


_GRAVE = frozenset(("high", "critical"))
_SLIGHT = frozenset(("info", "low"))


class Detection(Struct, frozen=True):
    """Metadata of a detection, `META` in its `detector.py`. Severity and confidence are those of its usual finding."""

    id: str
    title: str
    severity: str
    confidence: str
    audience: str
    """Who acts on it: `service-owner`, `security`, `both`."""
    phases: tuple[str, ...]
    """`request`, `response`."""
    owasp: tuple[str, ...]
    cwe: tuple[str, ...]
    """e.g. `CWE-89`."""
    attack: tuple[str, ...]
    """MITRE ATT&CK / ATLAS technique ids."""
    stage: str
    """One of STAGES."""
    on_error: str
    """`block`, `monitor` or `allow`: what happens to a call on which the detector raised."""
    default_action: str = "block"
    """What the built-in DetectionPolicy does in enforce mode: `block` or `report`."""
    families: tuple[str, ...] = ()
    """Prefilter families it needs; with any set, it runs only when one of them hit a value."""
    posture: bool = False
    """It finds faults of the set-up, which each call shows again (a banner, a missing header): it runs in audited calls only."""
    needs: tuple[str, ...] = ()
    """Attributes of `Facts` (`values`, `identity.faults`) of which one must hold something for it to find anything: without, it is not
    called."""
