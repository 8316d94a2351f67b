"""Addresses, names and paths of the inside in answers (CWE-200): RFC 1918 and link-local addresses, internal names, UNC and file paths."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address

from eastwall.detections.answer_places import failed
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="internal-address-disclosure",
    title="Internal address, name or file path in an answer",
    severity="low",
    confidence="medium",
    audience="service-owner",
    phases=("response",),
    owasp=("API8:2023", "A05:2021"),
    cwe=("CWE-200", "CWE-497"),
    attack=("T1590.005", "T1592"),
    stage="reconnaissance",
    on_error="monitor",
    default_action="report",
    families=("internal-address",),
)

MAX_FINDINGS = 10
"""Per answer."""
_V4 = re.compile(r"(?<![0-9A-Za-z.:_-])(?:10|127|169\.254|172|192\.168)(?:\.\d{1,3}){2,3}(?![0-9A-Za-z_]|[.-]\d|/\d{1,2}\b)")
_V6 = re.compile(r"(?<![0-9A-Za-z:.])(?:f[cd][0-9a-f]{2}|fe80):[0-9a-f:]{2,40}(?![0-9A-Za-z:.])", re.IGNORECASE)
_NAME = re.compile(
    r"(?<![\w.@-])(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,6}(?:internal|svc|svc\.cluster\.local|cluster\.local|intranet|corp|lan|localdomain|consul)(?::\d{1,5})?(?![\w-]|\.[a-z])",
    re.IGNORECASE,
)
_UNC = re.compile(r"(?<![\\\w:])\\\\[A-Za-z][\w-]{1,30}\\[\w$.-]{2,60}\\?")
_PATH = re.compile(
    r"(?<![\w/.:<-])(?:/(?:var/www|usr/src/app|usr/share/nginx|usr/local/(?:lib|share|app|tomcat)|srv/(?:www|app|http)|opt/(?:app|tomcat|bitnami|wildfly|jboss)|home/[a-z][\w-]{1,30}|root|app/(?:src|node_modules|dist))/[\w./-]{2,200}"
    r"|[A-Z]:\\(?:inetpub|Users|Windows|Program Files|home|src|web|sites|projects|agent)\\[^\s\"'<>|*?]{2,200})"
)
_OPEN = frozenset(
    "ip ips address addresses addr host hosts hostname node nodes server servers endpoint endpoints subnet subnets cidr cidrs network networks interface"
    " interfaces gateway peer peers client clients source remote upstream upstreams dns nameserver nameservers path paths file files filename dir directory"
    " folder cwd image images registry target targets instance instances container containers mount mounts volume volumes machine machines device devices".split()
)
"""Fields whose subject is an address or a path: an API of networks, machines or files tells them by design."""
_SKIPPED_HEADERS = frozenset({"header.access-control-allow-origin", "header.content-security-policy", "header.set-cookie"})


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    response = facts.call.response
    if response is None:
        return ()
    findings: dict[str, Finding] = {}
    own = facts.call.request.authority.partition(":")[0].lower()
    for value, families in facts.suspects:
        place = value.place
        if "internal-address" not in families or place in findings or place in _SKIPPED_HEADERS or place.endswith("}"):
            continue
        sure = _confidence(facts, place)
        if not sure:
            continue
        found = next((one for one in internal(value.text) if one[1].partition(":")[0].lower() != own), None)
        if found is None:
            continue
        findings[place] = Finding(
            id=META.id,
            severity=META.severity,
            confidence=sure,
            owasp=META.owasp,
            where=place,
            message=f"the answer names {found[0]}",
            evidence=" ".join(found[1].split())[:120],
            phase="response",
        )
        if len(findings) >= MAX_FINDINGS:
            break
    return tuple(findings.values())


def _confidence(facts: Facts, place: str) -> str:
    """Medium in headers and errors, where nobody means to tell them; low elsewhere; empty where the field's subject is an address."""
    if place.startswith("header.") or failed(facts):
        return "medium"
    leaf = place.rpartition(".")[2].partition("[")[0]
    if place != "body" and not _OPEN.isdisjoint(_WORDS.sub("_", _HUMP.sub("_", leaf.replace("IPs", "Ips"))).lower().split("_")):
        return ""
    return "low"


_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORDS = re.compile(r"[^A-Za-z0-9]+")


def internal(text: str) -> Iterator[tuple[str, str]]:
    """(what, the text of it) of internal addresses, names and paths. Never raises, linear."""
    for match in _V4.finditer(text):
        try:
            address = IPv4Address(match[0])
        except AddressValueError:
            continue
        before = text[max(0, match.start() - 9) : match.start()].lower().rstrip(" :=\"'(v")
        if address.is_loopback or before.endswith(("version", "ver", "release", "build")) or match[0].endswith(".0.0"):
            continue
        if address.is_link_local or any(address in network for network in _PRIVATE):
            yield ("an address of the link" if address.is_link_local else "a private address"), match[0]
    for match in _V6.finditer(text):
        try:
            IPv6Address(match[0])
        except AddressValueError:
            continue
        yield "a private address", match[0]
    for what, expression in (("an internal name", _NAME), ("a network share", _UNC), ("a path of the server", _PATH)):
        for match in expression.finditer(text):
            yield what, match[0]


_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
