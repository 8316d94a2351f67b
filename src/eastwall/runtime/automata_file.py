"""The file in which an engine leaves its compiled patterns for the next one: a restart must not spend its first second compiling.

It lies in the run folder (0700) and may be deleted at any time. It is believed only when nobody else could have written it; whether
it fits is for `discovery.automata` to say. Anything that is wrong with it costs a compile, never a start.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

log = logging.getLogger("eastwall.engine")

MAX_BYTES = 64 << 20


def read(path: Path) -> dict[str, bytes]:
    """What `write` left, by name; empty when there is nothing that may be used."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as error:
        log.warning("the compiled patterns `%s` cannot be read (%s): compiling them anew", path, error.strerror)
        return {}
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077 or facts.st_size > MAX_BYTES:
        os.close(fd)
        log.warning("the compiled patterns `%s` are not only ours to write: compiling them anew", path)
        return {}
    with open(fd, "rb") as file:
        try:
            return msgspec.msgpack.decode(file.read(), type=dict[str, bytes])
        except (OSError, msgspec.DecodeError):
            log.warning("the compiled patterns `%s` are damaged: compiling them anew", path)
            return {}


def write(path: Path, automata: Mapping[str, bytes]) -> None:
    """Replace the file as a whole. A disk that takes nothing is no reason not to start."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(msgspec.msgpack.encode(dict(automata)))
        part.replace(path)
    except OSError as error:
        log.warning("the compiled patterns cannot be kept in `%s`: %s", path, error.strerror)
        with contextlib.suppress(OSError):
            part.unlink()
