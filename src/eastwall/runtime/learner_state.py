"""The learner's state on disk, saved together with the name of the last batch it has folded.

Order per batch: lake insert, fold, save here, acknowledge to the spool. Killed before the save, the old state folds the batch
again; killed after it, the batch comes again with the token that is written here and is not folded twice.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from msgspec import Struct

MAGIC = b"EWLEARN1"


class LearnerFile(Struct, frozen=True):
    """What `load` gives."""

    state: bytes
    token: str


class LearnerStateCorruptError(ValueError):
    """The file does not verify; the message names it."""


def save(path: Path, state: bytes, token: str) -> None:
    """Atomic and durable. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = token.encode()
    body = len(name).to_bytes(2, "little") + name + state
    part = path.with_suffix(".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(MAGIC + hashlib.sha256(body).digest())
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def load(path: Path) -> LearnerFile | None:
    """None when there never was one. Raises LearnerStateCorruptError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    head = len(MAGIC) + 32
    body = data[head:]
    if len(data) < head + 2 or not data.startswith(MAGIC) or hashlib.sha256(body).digest() != data[len(MAGIC) : head]:
        raise LearnerStateCorruptError(f"the learner's state `{path}` does not verify")
    length = int.from_bytes(body[:2], "little")
    return LearnerFile(state=body[2 + length :], token=body[2 : 2 + length].decode())
