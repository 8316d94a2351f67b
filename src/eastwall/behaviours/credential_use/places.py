"""Networks and makes of clients: as coarse as people and programs keep them while they use one credential."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from re import compile as regex

from eastwall.model.facts import Facts
from eastwall.model.identity import Identity

PRIVATE = "private"
"""All addresses of no public network (RFC 1918, RFC 4193, loopback): within a site workloads move from one to the other."""

_VERSION = regex(r"[0-9][0-9A-Za-z.]*")


@lru_cache(maxsize=16384)
def network(address: str) -> str:
    """The network of an address: /24 of IPv4, /48 of IPv6; of no address the text itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found.is_private:
        return PRIVATE
    return str(ipaddress.ip_network((found, 24 if found.version == 4 else 48), strict=False))


@lru_cache(maxsize=4096)
def make(agent: str) -> str:
    """A user agent without what changes when it is brought up to date."""
    return _VERSION.sub("", agent[:200]).strip()


def address_of(identity: Identity) -> str:
    """The address that the call comes from: the forwarded client of a trusted proxy, else the direct peer. It is the weakest principal."""
    last = identity.chain[-1] if identity.chain else None
    return last.name if last is not None and last.kind == "address" else ""


def shown(agent: str) -> str:
    """The first product of a user agent, fit to show."""
    product = agent.partition(" ")[0].partition("/")[0]
    return "".join(character for character in product[:40] if character.isprintable()) or "no user agent"


def agent_of(facts: Facts) -> str:
    return facts.call.request.headers.get("user-agent", "")
