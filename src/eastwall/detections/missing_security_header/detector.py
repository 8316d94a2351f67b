"""Headers whose absence matters to an API's answers: caching of personal data, a type that browsers guess, HSTS (CWE-525, CWE-693)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from eastwall.detections.answer_headers import over_tls
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding
from eastwall.model.identity import Strength

META = Detection(
    id="missing-security-header",
    title="Header that keeps an answer safe is missing",
    severity="low",
    confidence="medium",
    audience="service-owner",
    phases=("response",),
    owasp=("API8:2023", "A05:2021"),
    cwe=("CWE-525", "CWE-693", "CWE-319"),
    attack=("T1539",),
    stage="reconnaissance",
    on_error="monitor",
    default_action="report",
    posture=True,
)

_SENSITIVE = frozenset(
    "pan ssn national-id iban bank-account passport driver-license health-id diagnosis date-of-birth address credential secret".split()
)
"""Classes of data that no cache should hold."""
_SHARED = re.compile(r"\bpublic\b|\bs-maxage\s?=\s?[1-9]")
_KEPT = re.compile(r"\bmax-age\s?=\s?[1-9]")
_JSON = re.compile(rb"\s{0,20}(?:\{\s{0,200}[\"}]|\[\s{0,200}[\"\[\]{\dtfn-])")
"""How a JSON object or array begins; a template in braces does not."""
_MARKUP = re.compile(rb"<(?:[a-zA-Z!/]|\?php)")


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per header."""
    response = facts.call.response
    if response is None or response.status == 304:
        return ()
    return [
        Finding(
            id=META.id,
            severity=severity,
            confidence=META.confidence,
            owasp=META.owasp,
            where=f"header.{header}",
            message=message,
            evidence=evidence[:120],
            phase="response",
        )
        for header, severity, message, evidence in _missing(facts)
    ]


def _missing(facts: Facts) -> Iterator[tuple[str, str, str, str]]:
    """(header, severity, message, evidence)"""
    call = facts.call
    assert call.response is not None
    headers = call.response.headers
    body = facts.operation.raw_body
    content_type = headers.get("content-type", "").lower()
    if body:
        yield from _type(content_type, facts, body)
    if facts.data and call.request.method == "GET" and call.response.status == 200:
        yield from _caching(facts, headers.get("cache-control", "").lower())
    if "text/html" in content_type and "strict-transport-security" not in headers and over_tls(facts):
        yield (
            "strict-transport-security",
            "low",
            "a page came over TLS without HSTS (RFC 6797), so that the next visit may begin without TLS",
            f"content-type: {content_type}",
        )


def _type(content_type: str, facts: Facts, body: bytes) -> Iterator[tuple[str, str, str, str]]:
    nosniff = "nosniff" in facts.call.response.headers.get("x-content-type-options", "").lower()  # type: ignore[union-attr]
    json = facts.operation.body_kind in ("json", "text") and _JSON.match(body) is not None
    if json and "text/html" in content_type and body.rstrip()[-1:] in b"}]":
        markup = _MARKUP.search(body[:65_536]) is not None
        yield (
            "content-type",
            "medium" if markup else "low",
            "JSON is sent as text/html, so that a browser renders whatever of the caller's input is in it",
            f"content-type: {content_type}",
        )
    elif not content_type and not nosniff:
        yield (
            "content-type",
            "low",
            "the answer has a body and no content-type, so that browsers guess what it is",
            f"{len(body)} bytes, no content-type",
        )
    elif (
        not nosniff and content_type.startswith(("text/plain", "application/octet-stream", "*/*")) and _MARKUP.search(body[:1024])
    ):
        yield (
            "x-content-type-options",
            "low",
            "text with markup is sent without `x-content-type-options: nosniff`, so that browsers may render it",
            f"content-type: {content_type}",
        )


def _caching(facts: Facts, control: str) -> Iterator[tuple[str, str, str, str]]:
    """RFC 9111: what shared caches may keep (section 3.5: answers to requests with `authorization` only if told so)."""
    if "no-store" in control:
        return
    found = sorted({hit.data_class for hit in facts.data if hit.direction == "response" and hit.data_class in _SENSITIVE})
    if not found:
        return
    request = facts.call.request.headers
    signed_in = facts.identity.strength > Strength.NONE or "authorization" in request or "cookie" in request
    if not signed_in:
        return
    shared = _SHARED.search(control) is not None or (
        "authorization" not in request
        and "private" not in control
        and "no-cache" not in control
        and _KEPT.search(control) is not None
    )
    if shared:
        yield (
            "cache-control",
            "medium",
            f"shared caches may keep this answer to a signed-in caller, which holds {', '.join(found[:4])}",
            f"cache-control: {control}",
        )
    elif "no-cache" not in control and "max-age=0" not in control.replace(" ", ""):
        yield (
            "cache-control",
            "low",
            f"an answer to a signed-in caller holds {', '.join(found[:4])} and may be kept by the browser: no `cache-control: no-store`",
            f"cache-control: {control or '(none)'}",
        )
