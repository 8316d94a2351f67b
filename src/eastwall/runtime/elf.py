"""Reads the dynamic symbols of an ELF file: what it gives to others and what it wants of them.

Enough of the format (System V ABI, "Object Files") for `eastwall doctor`, which has no binutils to rely on. 64-bit,
little-endian files, as Envoy is built for.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from struct import Struct as Layout
from struct import error as struct_error

_HEADER = Layout("<16sHHIQQQIHHHHHH")
_SECTION = Layout("<IIQQQQIIQQ")
_SYMBOL = Layout("<IBBHQQ")
_DYNSYM = 11
_MACHINES = {62: "x86-64", 183: "arm64"}


class ElfError(ValueError):
    """The file cannot be read as ELF; the message names it."""


def symbols(path: Path) -> tuple[str, set[str], set[str]]:
    """(machine, defined, undefined dynamic symbols). Raises ElfError."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _symbols(data, path)
    except (OSError, ValueError, struct_error, IndexError, OverflowError) as error:
        if isinstance(error, ElfError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is cut short or damaged"
        raise ElfError(f"`{path}` cannot be read: {reason}") from None


def _symbols(data: mmap.mmap, path: Path) -> tuple[str, set[str], set[str]]:
    ident, _, machine, _, _, _, table, _, _, _, _, size, count, _ = _HEADER.unpack_from(data)
    if ident[:4] != b"\x7fELF":
        raise ElfError(f"`{path}` is not an ELF file")
    if ident[4] != 2 or ident[5] != 1:
        raise ElfError(f"`{path}` is not a 64-bit little-endian ELF file")
    name = _MACHINES.get(machine, f"machine {machine}")
    defined: set[str] = set()
    undefined: set[str] = set()
    sections = [_SECTION.unpack_from(data, table + index * size) for index in range(count)]
    for _, kind, _, _, offset, length, link, _, _, entry in sections:
        if kind != _DYNSYM:
            continue
        if entry != _SYMBOL.size or offset + length > len(data):
            raise ElfError(f"`{path}` cannot be read: its symbol table is damaged")
        texts, texts_size = sections[link][4], sections[link][5]
        strings = data[texts : texts + texts_size]
        for index in range(1, length // entry):
            where, _, _, section, _, _ = _SYMBOL.unpack_from(data, offset + index * entry)
            end = strings.find(b"\0", where)
            text = strings[where : end if end >= 0 else None].decode("latin-1")
            (defined if section else undefined).add(text)
    return name, defined, undefined
