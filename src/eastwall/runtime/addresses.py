"""Who can reach an address that we listen on."""

from __future__ import annotations

import contextlib
import ipaddress


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `HOST:PORT`."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
