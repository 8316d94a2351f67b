"""Where notifications may go, and how one failed."""

from __future__ import annotations

import ipaddress
import socket


class DeliveryError(Exception):
    """A notification did not arrive; one line without the address, which may be a secret."""

    def __init__(self, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.again = again
        """Trying again later may help."""


def addresses_of(host: str, port: int, kind: socket.SocketKind) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    """Where a configured host is now. Link-local addresses (a cloud's metadata service is one), multicast and the unspecified address are
    no place for notifications. Raises DeliveryError."""
    try:
        found = socket.getaddrinfo(host, port, type=kind)
    except (OSError, UnicodeError):
        raise DeliveryError("the host is not known", again=True) from None
    good: list[tuple[socket.AddressFamily, tuple[object, ...]]] = []
    for family, _, _, _, where in found:
        address = ipaddress.ip_address(str(where[0]).partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped if mapped is not None else address
        if not (address.is_link_local or address.is_multicast or address.is_unspecified):
            good.append((family, where))
    if not good:
        raise DeliveryError("the host has no address that notifications may go to", again=False)
    return good
