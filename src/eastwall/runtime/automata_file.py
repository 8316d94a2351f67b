"""Compiled patterns in files: a start must not spend its first second compiling.

The wheel brings those of the built-in patterns, made where it was built (`built`); they fit unless the CPU or hyperscan is another.
Then an engine leaves what it had to compile for the next one, in the run folder (0700), which may be deleted at any time. That file is
believed only when nobody else could have written it; whether either fits is for `discovery.automata` to say. Anything that is wrong with
them costs a compile, never a start.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from eastwall.discovery import automata

log = logging.getLogger("eastwall.engine")

MAX_BYTES = 64 << 20
BUILT = Path(__file__).with_name("automata.built")
"""Written by setup.py; not there in a source tree, nor where the wheel was built without hyperscan."""


def built() -> dict[str, bytes]:
    """What the wheel brings, by name; empty when it brings nothing."""
    try:
        return msgspec.msgpack.decode(BUILT.read_bytes(), type=dict[str, bytes])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        log.warning("the compiled patterns `%s` that were installed do not read (%s): compiling them anew", BUILT, error)
        return {}


def known(path: Path) -> dict[str, bytes]:
    """What was installed and what `write` left at `path`, for `Engine`, which takes what fits."""
    installed, left = built(), read(path)
    return {name: automata.either(installed.get(name, b""), left.get(name, b"")) for name in {**installed, **left}}


def keep(path: Path, databases: Mapping[str, bytes]) -> None:
    """`write`, unless the same is there or installed already."""
    if databases not in (built(), read(path)):
        write(path, databases)


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


def write(path: Path, databases: Mapping[str, bytes]) -> None:
    """Replace the file as a whole. A disk that takes nothing is no reason not to start."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(msgspec.msgpack.encode(dict(databases)))
        part.replace(path)
    except OSError as error:
        log.warning("the compiled patterns cannot be kept in `%s`: %s", path, error.strerror)
        with contextlib.suppress(OSError):
            part.unlink()
