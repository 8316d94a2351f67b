"""Compiled hyperscan databases as bytes, so that a process need not compile them again.

Compiling all patterns takes more than half a second of CPU, reading them back less than a millisecond. What comes back is taken only if
its checksum holds, if it was made of the very same patterns by the same hyperscan, and if hyperscan says that it runs on this CPU;
in any doubt it is compiled anew. Where the bytes lie is not for here: see `runtime.automata_file`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any

import hyperscan
import msgspec

_CHECKSUM = 32
_Kept = tuple[bytes, tuple[str, ...], tuple[bytes, ...]]
"""(fingerprint, names, databases)"""


def fingerprint(sources: Iterable[bytes]) -> bytes:
    """32 bytes that stand for these sources, in this order, compiled by this version of hyperscan."""
    digest = blake2b(hyperscan.__version__.encode(), digest_size=32)  # type: ignore[attr-defined]
    for source in sources:
        digest.update(len(source).to_bytes(8, "little"))
        digest.update(source)
    return digest.digest()


def build(expressions: Sequence[bytes], flags: Sequence[int], ids: Sequence[int]) -> Any:
    """A database in block mode, with its scratch. Raises `hyperscan.error`."""
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(expressions=list(expressions), ids=list(ids), elements=len(expressions), flags=list(flags))
    database.scratch = hyperscan.Scratch(database)
    return database


class Later:
    """A database that is built when it is first asked: an import of a log without bodies asks one of seven."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build

    @cached_property
    def whole(self) -> Any:
        """The database. Raises what building it raises."""
        return self._build()

    @property
    def scratch(self) -> Any:
        return self.whole.scratch

    def scan(self, *asked: Any) -> None:
        self.whole.scan(*asked)


def save(mark: bytes, names: Iterable[str], databases: Iterable[Any]) -> bytes:
    """`mark` is the `fingerprint` of what the databases were made of; `names` are the caller's."""
    kept: _Kept = (mark, tuple(names), tuple(hyperscan.dumpb(getattr(database, "whole", database)) for database in databases))
    data = msgspec.msgpack.encode(kept)
    return blake2b(data, digest_size=_CHECKSUM).digest() + data


_EITHER = b"either:"


def either(*saved: bytes) -> bytes:
    """Several results of `save` as one: `restore` takes the first that fits."""
    some = [one for one in saved if one]
    return _EITHER + msgspec.msgpack.encode(some) if len(some) > 1 else b"".join(some)


def restore(saved: bytes, mark: bytes) -> tuple[tuple[str, ...], tuple[Any, ...]] | None:
    """(names, databases with scratch) of what `save` or `either` gave; None when it is damaged, of other patterns, or not for this
    machine."""
    if saved.startswith(_EITHER):
        try:
            some = msgspec.msgpack.decode(saved[len(_EITHER) :], type=tuple[bytes, ...])
        except msgspec.DecodeError:
            return None
        # Not recursive: one that begins like this inside another has no checksum that holds.
        return next((found for one in some if (found := _restored(one, mark)) is not None), None)
    return _restored(saved, mark)


def _restored(saved: bytes, mark: bytes) -> tuple[tuple[str, ...], tuple[Any, ...]] | None:
    if blake2b(saved[_CHECKSUM:], digest_size=_CHECKSUM).digest() != saved[:_CHECKSUM]:
        return None
    try:
        made_of, names, dumps = msgspec.msgpack.decode(saved[_CHECKSUM:], type=_Kept)
        if made_of != mark:
            return None
        databases = tuple(hyperscan.loadb(dump, hyperscan.HS_MODE_BLOCK) for dump in dumps)
        for database in databases:
            database.scratch = hyperscan.Scratch(database)
    except (msgspec.DecodeError, hyperscan.error):
        return None
    return names, databases
