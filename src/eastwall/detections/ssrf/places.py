"""What a host is to the service that would be sent there: a metadata service, itself, its network, or a name made to mislead."""

from __future__ import annotations

import ipaddress
import re

from eastwall.detections.ssrf.address import Address, carried_v4, ipv4

_METADATA = frozenset(
    map(ipaddress.ip_address, (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.169.253", "169.254.169.123", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
        "168.63.129.16",
    ))
)  # fmt: skip
"""Addresses of metadata services: AWS, ECS, EKS, Azure, GCP, Oracle, DigitalOcean; Alibaba; Oracle (old); AWS and GCP over IPv6; Azure's wire server."""
_METADATA_NAMES = re.compile(
    r"(?:metadata|instance-data)(?:\.google\.internal|\.goog|\.ec2\.internal|\.platformequinix\.com|\.packet\.net|\.tencentyun\.com|\.nicepage\.internal|\.internal)?"
    r"|rancher-metadata|metadata\.[\w-]{1,40}\.internal|kubernetes(?:\.default(?:\.svc(?:\.cluster\.local)?)?)?"
)
_LOOPBACK_NAMES = re.compile(
    r"(?:[\w.-]{1,200}\.)?localhost|localhost\.localdomain|localhost6(?:\.localdomain6)?|ip6-(?:localhost|loopback)|loopback"
)
_OWN_DNS = re.compile(
    r"(?:[\w.-]{1,200}\.)?(?:localtest\.me|lvh\.me|vcap\.me|lacolhost\.com|fbi\.com\.localtest\.me|yoogle\.com|127-0-0-1\.org\.uk|readme\.localtest\.me|bugbounty\.dod\.network|spoofed\.burpcollaborator\.net"
    r"|mail\.ebc\.apple\.com|customer\d?-app-[\w-]{1,40}\.my\.local\.ip)"
)
"""Public names that resolve to loopback."""
_WILDCARD = re.compile(
    r"(?:^|[\w.-]*?[.-])(?P<address>(?:\d{1,3}[.-]){3}\d{1,3}|[0-9a-f]{8})\.(?:nip\.io|sslip\.io|xip\.io|xip\.name|ip6\.name|traefik\.me|backname\.io|local\.gd)"
)
_REBINDING = re.compile(
    r"(?:[\w.-]{1,200}\.)?(?:rbndr\.us|1u\.ms|rebind\.it|rebind\.network|lock\.cmpxchg8b\.com|make-\d[\w.-]{1,100}-rr\.1u\.ms)"
)
OUT_OF_BAND = re.compile(
    r"(?:[\w.-]{1,200}\.)?(?:burpcollaborator\.net|oastify\.com|oast\.(?:pro|live|site|online|fun|me)|interact\.sh|interactsh\.com|dnslog\.cn|ceye\.io|bxss\.me|xss\.ht|canarytokens\.com|requestrepo\.com|"
    r"pingb\.in|r87\.me|eyes\.sh|dnsbin\.zhack\.ca)"
)
"""Services whose only use is to see who calls: out-of-band testing."""
_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "fc00::/7", "fec0::/10"),
    )
)
_ITSELF = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "0.0.0.0/8", "::1/128", "::/128")))
_LINK = tuple(map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10")))


def kind_of(host: str, address: Address | None) -> str:
    """`metadata`, `loopback`, `link-local`, `private`, `rebinding`, `out-of-band`, or empty for other hosts."""
    if address is not None:
        inner = carried_v4(address)
        return _of_address(address) or (_of_address(inner) if inner is not None else "")
    if _METADATA_NAMES.fullmatch(host):
        return "metadata"
    if _LOOPBACK_NAMES.fullmatch(host) or _OWN_DNS.fullmatch(host):
        return "loopback"
    if _REBINDING.fullmatch(host):
        return "rebinding"
    if OUT_OF_BAND.fullmatch(host):
        return "out-of-band"
    match = _WILDCARD.fullmatch(host)
    if match:
        text = match["address"]
        inside = ipv4(text.replace("-", ".") if not text.isalnum() or text.isdigit() else str(int(text, 16)))
        return _of_address(inside) if inside is not None else ""
    return ""


def _of_address(address: Address) -> str:
    if address in _METADATA:
        return "metadata"
    for kind, networks in (("loopback", _ITSELF), ("link-local", _LINK), ("private", _PRIVATE)):
        if any(address.version == network.version and address in network for network in networks):
            return kind
    return ""


def named_by_dns(host: str) -> bool:
    """Whether the host is a public name that was made to resolve to an inner address."""
    return bool(_OWN_DNS.fullmatch(host) or _WILDCARD.fullmatch(host) or _REBINDING.fullmatch(host))
