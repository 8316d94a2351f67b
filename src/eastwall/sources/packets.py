"""TCP segments out of packet captures: the containers pcap and pcapng, link layers, IP.

pcap: https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/; pcapng: draft-ietf-opsawg-pcapng; link types: tcpdump.org/linktypes.html.
Streaming: one packet in memory at a time. IP fragments are counted, not put together (TCP avoids them by path MTU discovery).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from typing import IO

from msgspec import Struct

from eastwall.sources.observed import Skipped, SourceError

MAX_PACKET = 1 << 20
"""Bytes of one captured packet; with more the file is taken for broken (the largest snapshot length of tcpdump is 256 KiB)."""
MAX_BLOCK = 16 << 20
MAX_INTERFACES = 1_000

_PCAP = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
_PCAPNG = b"\x0a\x0d\x0d\x0a"
MAGICS = (*_PCAP, _PCAPNG)

_NULL, _ETHERNET, _RAW_OLD, _RAW, _LOOP, _SLL, _IPV4, _IPV6, _SLL2 = 0, 1, 12, 101, 108, 113, 228, 229, 276
_LINK_TYPES = frozenset({_NULL, _ETHERNET, _RAW_OLD, 14, _RAW, _LOOP, _SLL, _IPV4, _IPV6, _SLL2})
_VLAN = frozenset({0x8100, 0x88A8, 0x9100})
_EXTENSIONS = frozenset({0, 43, 60, 135, 139, 140})
"""IPv6 extension headers that say their own length (RFC 8200, section 4)."""


class Segment(Struct):
    """One TCP segment."""

    time: float
    """Unix seconds."""
    source: tuple[str, int]
    target: tuple[str, int]
    sequence: int
    flags: int
    payload: bytes
    missing: int = 0
    """Bytes of the payload that the capture cut off (snapshot length)."""


FIN, SYN, RST, ACK = 1, 2, 4, 16


def segments(stream: IO[bytes], name: str, head: bytes, skipped: Skipped) -> Iterator[Segment]:
    """The TCP segments in file order; everything else is counted. Raises `SourceError` where the file breaks off or is none."""
    source = _Input(stream, head, name)
    magic = source.peek(4)
    if magic in _PCAP:
        packets = _pcap(source, *_PCAP[magic], skipped)
    elif magic == _PCAPNG:
        packets = _pcapng(source, skipped)
    else:
        raise SourceError(f"{name}: not a packet capture (pcap or pcapng)")
    for time, link, data, missing in packets:
        segment = _segment(time, link, data, missing, skipped)
        if segment is not None:
            yield segment


class _Input:
    """Counts its position, and says where a file breaks off."""

    def __init__(self, stream: IO[bytes], head: bytes, name: str) -> None:
        self._stream = stream
        self._head = head
        self.name = name
        self.at = 0

    def peek(self, size: int) -> bytes:
        return b"" if self.ended() else self._head[:size]

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises SourceError."""
        data = self._head[:size]
        self._head = self._head[size:]
        while len(data) < size:
            more = self._stream.read(size - len(data))
            if not more:
                raise SourceError(f"{self.name}: breaks off at byte {self.at + len(data)}, in the middle of a packet")
            data += more
        self.at += size
        return data

    def ended(self) -> bool:
        if not self._head:
            self._head = self._stream.read(1 << 16)
        return not self._head

    def broken(self, what: str) -> SourceError:
        return SourceError(f"{self.name}: broken at byte {self.at}: {what}")


Packet = tuple[float, int, bytes, int]


def _pcap(source: _Input, order: str, unit: float, skipped: Skipped) -> Iterator[Packet]:
    link = struct.unpack(order + "I", source.take(24)[20:])[0] & 0x0FFF_FFFF
    if link not in _LINK_TYPES:
        raise SourceError(f"{source.name}: link type {link} is not known; capture on an Ethernet, loopback or `any` interface")
    header = struct.Struct(order + "IIII")
    while not source.ended():
        seconds, fraction, captured, length = header.unpack(source.take(16))
        if captured > MAX_PACKET:
            raise source.broken(f"a packet of {captured} bytes")
        yield seconds + fraction * unit, link, source.take(captured), max(0, length - captured)


def _pcapng(source: _Input, skipped: Skipped) -> Iterator[Packet]:
    order = "<"
    interfaces: list[tuple[int, float, int]] = []
    """(link type, seconds of a tick, seconds to add) of each interface of the section."""
    while not source.ended():
        kind_bytes, size_bytes = source.take(4), source.take(4)
        if kind_bytes == _PCAPNG:
            magic = source.take(4)
            if magic not in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"):
                raise source.broken("a section without byte-order magic")
            order = ">" if magic[0] == 0x1A else "<"
            interfaces = []
        kind, size = struct.unpack(order + "I", kind_bytes)[0], struct.unpack(order + "I", size_bytes)[0]
        already = 12 if kind_bytes == _PCAPNG else 8
        if size < already + 4 or size % 4 or size > MAX_BLOCK:
            raise source.broken(f"a block of {size} bytes")
        body = source.take(size - already)[:-4]
        if kind_bytes == _PCAPNG:
            continue
        if kind == 1 and len(body) >= 8:
            if len(interfaces) >= MAX_INTERFACES:
                raise source.broken(f"more than {MAX_INTERFACES} interfaces")
            interfaces.append(_interface(body, order))
        elif kind in (6, 2) and len(body) >= 20:
            found = _enhanced(body, order, kind, interfaces)
            if found is None:
                skipped.add("packet-without-interface", f"{source.name}: byte {source.at}")
            else:
                yield found
        elif kind == 3 and len(body) >= 4 and interfaces:
            # A simple packet has no time.
            length = struct.unpack(order + "I", body[:4])[0]
            yield 0.0, interfaces[0][0], body[4 : 4 + length], max(0, length - len(body) + 4)


def _interface(body: bytes, order: str) -> tuple[int, float, int]:
    link = struct.unpack(order + "H", body[:2])[0]
    tick, offset, at = 1e-6, 0, 8
    while at + 4 <= len(body):
        code, length = struct.unpack(order + "HH", body[at : at + 4])
        value = body[at + 4 : at + 4 + length]
        if code == 9 and length == 1:  # if_tsresol: a power of ten, or of two with the high bit
            tick = 2.0 ** -(value[0] & 0x7F) if value[0] & 0x80 else 10.0 ** -min(value[0], 30)
        elif code == 14 and length == 8:  # if_tsoffset
            offset = struct.unpack(order + "q", value)[0]
        elif code == 0:
            break
        at += 4 + (length + 3) // 4 * 4
    return link, tick, offset


def _enhanced(body: bytes, order: str, kind: int, interfaces: list[tuple[int, float, int]]) -> Packet | None:
    number, high, low, captured, length = struct.unpack(order + ("IIIII" if kind == 6 else "HxxIIII"), body[:20])
    if number >= len(interfaces):
        return None
    link, tick, offset = interfaces[number]
    data = body[20 : 20 + captured]
    return ((high << 32) | low) * tick + offset, link, data, max(0, length - len(data))


def _segment(time: float, link: int, data: bytes, missing: int, skipped: Skipped) -> Segment | None:
    found = _network(link, data)
    if found is None:
        skipped.add("packet-not-ip")
        return None
    version, at = found
    ip = _ipv4(data, at) if version == 4 else _ipv6(data, at)
    if isinstance(ip, str):
        skipped.add(ip)
        return None
    source, target, at, end = ip
    if at + 20 > len(data):
        skipped.add("packet-cut")
        return None
    sport, dport, sequence, _, offset, flags = struct.unpack_from(">HHIIBB", data, at)
    start = at + (offset >> 4) * 4
    if start < at + 20 or start > max(end, at + 20):
        skipped.add("packet-malformed")
        return None
    # Ethernet pads short packets: the IP header says how long it really is. 0: left to the card (segmentation offload).
    whole = end if end > at else len(data) + missing
    payload = data[start:whole]
    return Segment(time, (source, sport), (target, dport), sequence, flags, payload, max(0, whole - start - len(payload)))


def _network(link: int, data: bytes) -> tuple[int, int] | None:
    """IP version and where its header begins; None for other protocols."""
    at, kind = 0, -1
    if link == _ETHERNET:
        at = 14
    elif link == _SLL:
        at = 16
    elif link == _SLL2:
        at, kind = 20, 0
    elif link in (_NULL, _LOOP):
        at, kind = 4, -2
    elif link in (_RAW, _RAW_OLD, 14, _IPV4, _IPV6):
        kind = -2
    else:
        return None
    if len(data) < at + 20:
        return None
    if kind == -2:
        version = data[at] >> 4
        return (version, at) if version in (4, 6) else None
    kind = int.from_bytes(data[:2] if kind == 0 else data[at - 2 : at], "big")
    for _ in range(4):
        if kind not in _VLAN or len(data) < at + 24:
            break
        kind = int.from_bytes(data[at + 2 : at + 4], "big")
        at += 4
    return (4, at) if kind == 0x0800 else (6, at) if kind == 0x86DD else None


def _ipv4(data: bytes, at: int) -> tuple[str, str, int, int] | str:
    """Source, target, where TCP begins and ends; or why it is left out."""
    if data[at] >> 4 != 4 or (data[at] & 15) < 5:
        return "packet-malformed"
    if data[at + 9] != 6:
        return "packet-not-tcp"
    if int.from_bytes(data[at + 6 : at + 8], "big") & 0x3FFF:
        return "ip-fragment"
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    source, target = (".".join(map(str, data[i : i + 4])) for i in (at + 12, at + 16))
    return source, target, at + (data[at] & 15) * 4, at + length if length else 0


def _ipv6(data: bytes, at: int) -> tuple[str, str, int, int] | str:
    if len(data) < at + 40 or data[at] >> 4 != 6:
        return "packet-malformed"
    length, following = int.from_bytes(data[at + 4 : at + 6], "big"), data[at + 6]
    source, target = (str(ipaddress.IPv6Address(data[i : i + 16])) for i in (at + 8, at + 24))
    end = at + 40 + length if length else 0
    at += 40
    for _ in range(8):
        if following == 6:
            return source, target, at, end
        if following == 44:
            return "ip-fragment"
        if following not in _EXTENSIONS or len(data) < at + 8:
            break
        following, at = data[at], at + (data[at + 1] + 1) * 8
    return "packet-not-tcp"
