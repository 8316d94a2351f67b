"""Private keys in answers (CWE-321, CWE-522): PEM blocks whose content is a key's, JWKs with their private part, PuTTY's files."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from eastwall.detections.credentials import given
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="private-key-disclosure",
    title="Private key in an answer",
    severity="critical",
    confidence="high",
    audience="both",
    phases=("response",),
    owasp=("API3:2023", "API8:2023", "A02:2021"),
    cwe=("CWE-321", "CWE-522"),
    attack=("T1552.004",),
    stage="exfiltration",
    on_error="monitor",
    default_action="block",
    families=("private-key",),
)

_PEM = re.compile(r"-----BEGIN ((?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?)-----")
_BODY = re.compile(r"[A-Za-z0-9+/=]{1,120}")
_PUTTY = re.compile(r"PuTTY-User-Key-File-[23]: [\w-]{3,40}[^\0]{0,2000}?Private-Lines: \d{1,4}")
MAX_BLOCKS = 20
"""Blocks of one text that are looked at."""
MAX_NODES = 5_000
"""Objects of a body that are searched for keys in JSON form (RFC 7517)."""


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    findings: dict[str, Finding] = {}
    for value, families in facts.suspects:
        if "private-key" in families and value.place not in findings:
            kind = pem(value.text)
            if kind:
                findings[value.place] = _finding(facts, value.place, kind)
    if facts.suspects and isinstance(facts.operation.body, dict | list) and b'"kty"' in facts.operation.raw_body:
        for place, kind in jwks(facts.operation.body):
            findings.setdefault(place, _finding(facts, place, kind))
    return tuple(findings.values())


def _finding(facts: Facts, place: str, kind: str) -> Finding:
    return Finding(
        id=META.id,
        severity=META.severity,
        # Whoever asks a service to make a key gets it, once.
        confidence="low" if given(facts, place) else META.confidence,
        owasp=META.owasp,
        where=place,
        message=f"the answer holds a private key: {kind}",
        evidence=f"{kind}: ****",
        phase="response",
    )


def pem(text: str) -> str:
    """What private key stands in a text; empty when none does. Never raises, linear."""
    for match in islice(_PEM.finditer(text), MAX_BLOCKS):
        start = match.end()
        following = text[start : start + 1200].replace("\\n", "\n").replace("\\r", "").replace("\\/", "/")
        if _is_key(following):
            return f"BEGIN {match[1]}"
    return "PuTTY-User-Key-File" if "PuTTY-User-Key-File-" in text and _PUTTY.search(text) else ""


def _is_key(following: str) -> bool:
    """Whether what follows the first line is a key and not `...` or `MIIE...`: DER begins with a SEQUENCE, OpenSSH's with its name; what is
    encrypted (RFC 1421 headers) or OpenPGP (RFC 9580) must have length and all kinds of letters."""
    lines = [line.strip() for line in following.split("\n")]
    headers = any(":" in line[:20] for line in lines[:4])
    data = "".join(line for line in lines if _BODY.fullmatch(line))
    if not headers and "\n" not in following.strip()[:80] and " " in following[:200]:
        data = "".join(part for part in following.split(" ")[:60] if _BODY.fullmatch(part) and part != "KEY")
    if len(data) < 48 or len(set(data)) < 20:
        return False
    if headers:
        return True
    try:
        start = b64decode(data[: len(data[:96]) // 4 * 4])
    except (Error, ValueError):
        return False
    return start[:1] == b"\x30" or start.startswith(b"openssh-key-v1") or start[:1] in (b"\x94", b"\x95", b"\xc5", b"\x97")


_PRIVATE = {"RSA": ("n", "d"), "EC": ("x", "d"), "OKP": ("x", "d"), "oct": ("k",)}


def jwks(tree: Any) -> Iterator[tuple[str, str]]:
    """(place, kind) of JSON Web Keys with their private part (RFC 7518, section 6)."""
    stack: list[tuple[str, Any]] = [("body", tree)]
    seen = 0
    while stack and seen < MAX_NODES:
        place, node = stack.pop()
        seen += 1
        if type(node) is dict:
            kind = node.get("kty")
            parts = _PRIVATE.get(kind) if type(kind) is str else None
            if parts and all(type(node.get(part)) is str and len(node[part]) >= 16 for part in parts):
                yield place, f"JSON Web Key {kind}"
            stack += ((f"{place}.{key[:64]}", value) for key, value in node.items() if type(value) in (dict, list))
        elif type(node) is list:
            stack += ((f"{place}[{at}]", value) for at, value in enumerate(node) if type(value) in (dict, list))
