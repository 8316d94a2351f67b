"""Credentials of clouds in answers, and what their metadata services answer (CWE-918's harvest, CWE-522)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from eastwall.detections.credentials import given, placeholder, random
from eastwall.discovery.content_rules import entropy
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="cloud-credential-disclosure",
    title="Credentials or metadata of a cloud in an answer",
    severity="critical",
    confidence="high",
    audience="security",
    phases=("response",),
    owasp=("API7:2023", "API8:2023", "A10:2021"),
    cwe=("CWE-522", "CWE-918"),
    attack=("T1552.005", "T1552.001"),
    stage="exfiltration",
    on_error="monitor",
    default_action="block",
    families=("cloud-credential",),
)

_KEY, _TEMPORARY, _GOOGLE = "an AWS secret access key", "temporary credentials of an AWS role", "an access token of Google Cloud"
_MADE = frozenset((_KEY, _TEMPORARY, _GOOGLE))
"""What token services and APIs of clouds answer to POST and PUT, to whom asked for it."""
MAX_NODES = 5_000
"""Objects of a body that are searched."""
_ACCESS_KEY = re.compile(r"(?<![0-9A-Za-z])(?:AKIA|ASIA)[A-Z2-7]{16}(?![0-9A-Za-z])")
_SIGNED = re.compile(r"(?:X-Amz-Credential|AWSAccessKeyId|Credential)(?:=|%3D)$", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"(?i:secret_?access_?key|secretaccesskey|aws_secret_key|secret_key)[\"']?\s{0,4}[:=>]{1,2}\s{0,4}[\"']?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"
)
_ACCOUNT_KEY = re.compile(r"(?:AccountKey|SharedAccessKey)=([A-Za-z0-9+/]{40,88}={0,2})(?![A-Za-z0-9+/])")
_GOOGLE_TOKEN = re.compile(r"(?<![0-9A-Za-z])ya29\.[A-Za-z0-9_-]{60,2000}")
_USER_DATA = re.compile(
    r"\A(?:#cloud-config\s|#!/bin/(?:ba)?sh[^\n]{0,40}\n[^\0]{0,2000}?(?:yum |apt-get |cloud-init|/etc/ecs/|/etc/eks/|user-data))"
)
_LISTING = re.compile(
    r"\A(?:ami-id\nami-launch-index\n|attributes/\ndisks/\n|instance/\noslogin/|iam/\ninstance-action|attributes/\n[\w-]{1,40}/?\n(?:[\w/-]{1,40}\n){0,20}service-accounts/)"
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    findings: dict[str, Finding] = {}
    body = facts.operation.body
    here = [value for value, families in facts.suspects if "cloud-credential" in families]
    if not here:
        return ()
    if isinstance(body, dict | list):
        for place, what, severity in documents(body, facts.call.request.method):
            findings.setdefault(place, _finding(facts, place, what, severity))
    for value in here:
        if value.place in findings or any(value.place.startswith(f"{place}.") for place in findings):
            continue
        found = text(value.text)
        if found:
            findings[value.place] = _finding(facts, value.place, *found)
    return tuple(findings.values())


def _finding(facts: Facts, place: str, what: str, severity: str) -> Finding:
    return Finding(
        id=META.id,
        severity=severity,
        confidence="low"
        if given(facts, place) or (what in _MADE and facts.call.request.method in ("POST", "PUT"))
        else META.confidence,
        owasp=META.owasp,
        where=place,
        message=f"the answer holds {what}",
        evidence=f"{what}: ****"[:120],
        phase="response",
    )


def text(value: str) -> tuple[str, str] | None:
    """(what, severity) of what one text holds; None when nothing. Never raises, linear."""
    found = _SECRET_TEXT.search(value)
    if found is not None and _secret_key(found[1]):
        return _KEY, "critical"
    found = _ACCOUNT_KEY.search(value)
    if found is not None and _real(found[1]):
        return "an access key of Azure", "critical"
    found = _GOOGLE_TOKEN.search(value)
    if found is not None and _real(found[0][5:]):
        return _GOOGLE, "high"
    if _LISTING.search(value):
        return "what a cloud's metadata service answers", "high"
    if _USER_DATA.search(value):
        return "the user data with which a machine was started", "high"
    for key in _ACCESS_KEY.finditer(value):
        # A link that was signed for its reader names the key that signed it (AWS Signature Version 4).
        if not _SIGNED.search(value[max(0, key.start() - 24) : key.start()]) and not placeholder(key[0][4:]) and random(key[0]):
            return f"the id of an AWS access key ({key[0][:4]})", "medium"
    return None


def _real(part: str) -> bool:
    return not placeholder(part) and random(part) and entropy(part) >= 3.5


def _secret_key(part: str) -> bool:
    return _real(part) and any(c.isdigit() for c in part) and any(c.islower() for c in part) and any(c.isupper() for c in part)


_NAME = re.compile(r"[^a-z]")


def documents(tree: Any, method: str) -> Iterator[tuple[str, str, str]]:
    """(place, what, severity) of credentials and metadata documents in a tree. `method`: token endpoints answer to POST."""
    stack: list[tuple[str, Any]] = [("body", tree)]
    seen = 0
    while stack and seen < MAX_NODES:
        place, node = stack.pop()
        seen += 1
        if type(node) is list:
            stack += ((f"{place}[{at}]", value) for at, value in enumerate(node) if type(value) in (dict, list))
        elif type(node) is dict:
            found = _document(node, method)
            if found is not None:
                yield place, *found
            else:
                stack += ((f"{place}.{key[:64]}", value) for key, value in node.items() if type(value) in (dict, list))


_AWS_IDENTITY = frozenset("accountid architecture availabilityzone imageid instanceid instancetype privateip region".split())
_AZURE_COMPUTE = frozenset(("azenvironment", "subscriptionid", "vmid"))


def _document(node: dict[str, Any], method: str) -> tuple[str, str] | None:
    named = {_NAME.sub("", key.lower()): value for key, value in list(node.items())[:200] if type(key) is str}
    secret = next((named[name] for name in ("secretaccesskey", "awssecretaccesskey", "awssecretkey") if name in named), None)
    if type(secret) is str and len(secret) == 40 and _secret_key(secret):
        key = named.get("accesskeyid") or named.get("awsaccesskeyid") or ""
        temporary = type(key) is str and key.startswith("ASIA")
        if named.get("code") == "Success" and "lastupdated" in named:
            return "credentials as the metadata service of AWS gives them", "critical"
        return (_TEMPORARY if temporary else _KEY), "critical"
    token = named.get("accesstoken")
    if method == "GET" and type(token) is str and named.get("tokentype") == "Bearer":
        if token.startswith("ya29."):
            return _GOOGLE, "critical"
        resource = named.get("resource")
        if type(resource) is str and "azure" in resource and "clientid" in named:
            return "an access token of an Azure managed identity", "critical"
    if named.keys() >= _AWS_IDENTITY:
        return "the identity document of an AWS machine", "high"
    if named.keys() >= _AZURE_COMPUTE:
        return "the metadata of an Azure machine", "high"
    if "serviceaccounts" in named and "machinetype" in named and "zone" in named:
        return "the metadata of a Google Cloud machine", "high"
    return None
