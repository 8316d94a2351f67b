"""Workloads by network address, and the names of workloads without what differs between their instances."""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect_right
from collections.abc import Iterable

from eastwall.discovery.tokens import TrustError
from eastwall.model.snapshot import Workload

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]{5}"
"""The alphabet of apimachinery's `rand`: one in five of its suffixes holds no digit, and is told from a word by the hash before it."""
_INSTANCE = re.compile(rf"-[0-9a-f]{{6,10}}-{_RANDOM}$|-(?=[a-z]*[0-9]){_RANDOM}$|-[0-9a-f]{{8,10}}$|-\d{{1,4}}$")
"""What Kubernetes appends to make pod names: ReplicaSet hash, random suffix, ordinal."""
_ADDRESS = re.compile(r"(?:-\d{1,3}){4}$")
"""The end of a machine's name that is its address (`ip-10-0-0-7`): machines that share its beginning need have nothing else in common."""
_SERVICE_ACCOUNT = "system:serviceaccount:"
"""Begin of the user name of a Kubernetes service account; namespace and account follow."""
_ISTIO = re.compile(r"spiffe://[^/]*(?:/[^/]+)*?/ns/([^/]+)/sa/([^/]+)(?:/.*)?")
"""SPIFFE ids as the meshes make them: namespace, service account."""
_MAX_NAME = 128
_MAX_FORWARDED = 16_384
"""Characters of a forwarded-certificate header that are read."""
_FORWARDED_FIELD = re.compile(r'\s*(?:([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^,;"]*)))?[^,;]*(,|;|$)')
_COMMON_NAME = re.compile(r"(?:^|[,+/])\s*CN=((?:[^,+/\\]|\\.)+)")
"""In a subject as RFC 2253 or OpenSSL write it."""


class Workloads:
    """Look-up of the workload that held an address at a time; the longest prefix wins."""

    __slots__ = ("_tables",)

    def __init__(self, workloads: Iterable[Workload]) -> None:
        """Raises TrustError with one line that names the entry."""
        tables: dict[tuple[int, int], dict[int, list[Workload]]] = {}
        for workload in workloads:
            version, length, number = _range(workload)
            table = tables.setdefault((version, length), {})
            table.setdefault(number, []).append(workload)
        for table in tables.values():
            for entries in table.values():
                if len(entries) > 1:
                    entries.sort(key=lambda entry: (entry.since, entry.name, entry.owner))
        # Longest prefix first.
        self._tables = sorted(((version, length, table) for (version, length), table in tables.items()), key=lambda t: -t[1])

    def __bool__(self) -> bool:
        return bool(self._tables)

    def find(self, address: str, time: float) -> tuple[Workload | None, float, float]:
        """(workload, begin, end): whose the address was at `time`, and the Unix seconds for which that answer holds."""
        begin, end = 0.0, float("inf")
        parsed = parse_address(address)
        if parsed is None:
            return None, begin, end
        number, bits = int(parsed), parsed.max_prefixlen
        for version, length, table in self._tables:
            if version != parsed.version:
                continue
            entries = table.get(number >> (bits - length))
            if entries is None:
                continue
            at = bisect_right(entries, time, key=lambda entry: entry.since)
            if at < len(entries):
                end = min(end, entries[at].since)
            if at:
                return entries[at - 1], max(begin, entries[at - 1].since), end
        # Before the first of them the address was nobody's that we know; that holds since ever.
        return None, float("-inf"), end


def _range(workload: Workload) -> tuple[int, int, int]:
    """(IP version, prefix length, network number); addresses mapped into IPv6 count as IPv4."""
    text = workload.address
    try:
        if "/" not in text:  # by far the most, and a third of the work of a network
            address = ipaddress.ip_address(text)
            address = (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
            return address.version, address.max_prefixlen, int(address)
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise TrustError(
            f"workload `{shown(workload.name)}`: `{shown(text)}` is neither an address nor an address range; "
            "write `10.1.2.3` or `10.1.2.0/24`"
        ) from None
    number, length = int(network.network_address), network.prefixlen
    if network.version == 6 and length >= 96 and (number >> 32) == 0xFFFF:
        return 4, length - 96, (number & 0xFFFFFFFF) >> (128 - length)
    return network.version, length, number >> (network.max_prefixlen - length)


def parse_address(text: str) -> Address | None:
    """An address as it stands in headers and peers: maybe with port, brackets or zone; mapped IPv4 as IPv4. None: it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, ipaddress.IPv6Address) else parsed


def service_account(name: str) -> str:
    """`namespace/service-account` of a workload's name: of a SPIFFE id of a mesh or the user name of a service account; empty: neither."""
    if name.startswith(_SERVICE_ACCOUNT):
        namespace, _, account = name[len(_SERVICE_ACCOUNT) :].partition(":")
        return f"{namespace}/{account}" if namespace and account and "/" not in namespace else ""
    found = _ISTIO.fullmatch(name)
    return f"{found[1]}/{found[2]}" if found else ""


def forwarded_certificates(header: str) -> list[str]:
    """Names in an `X-Forwarded-Client-Cert` header of Envoy, one for each proxy on the way, the nearest last: the first URI SAN, else the first
    DNS SAN, else the subject; empty where an element names nobody."""
    found: list[str] = []
    names: dict[str, str] = {}
    for key, quoted, plain, end in _FORWARDED_FIELD.findall(header[:_MAX_FORWARDED]):
        if key:
            names.setdefault(key.lower(), quoted.replace('\\"', '"') or plain)
        if end != ";":
            found.append(names.get("uri") or names.get("dns") or names.get("subject") or "")
            names = {}
            if not end:
                break
    return found


def namespace_of(host: str) -> str:
    """The namespace in a host name of a cluster (`front.web.svc.cluster.local`); empty: it is none."""
    labels = host.split(".")
    at = labels.index("svc") if "svc" in labels else 0
    return labels[at - 1] if at >= 2 else ""


def workload_name(name: str) -> str:
    """`spiffe://shop/ns/web/sa/front` is `web/front`, `front-7d9f8b6c5-x2x4z.web.svc` and `spiffe://shop/front` are `front`: a new pod is
    no stranger."""
    if account := service_account(name):
        return account[:_MAX_NAME]
    if common := _COMMON_NAME.search(name):
        name = common[1]
    if "://" in name:
        last = name.rstrip("/").rpartition("/")[2]
    elif "/" in name:
        return name[:_MAX_NAME]
    else:
        last = name.partition(".")[0]
    return (last if _ADDRESS.search(last) else _INSTANCE.sub("", last) or last)[:64]


def shown(text: str) -> str:
    """User input for an error text: printable, bounded."""
    return "".join(char if char.isprintable() else "?" for char in text[:60])
