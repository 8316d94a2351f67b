"""The log of what was done to baselines, and the questions about them.

The log (`DIR/baselines/promotions.jsonl`) is append-only, one JSON object a line, each with the hash of the one before and its own (SHA-256): a line
that was changed, added or taken out shows, but for the last ones being gone. An act is written and fsynced here before engines get it, and is carried out again
at the start when the learner's state, which is saved later, does not have it yet.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec

from eastwall.learning.baseline_acts import Act, Candidate
from eastwall.learning.baselines import Baselines
from eastwall.learning.learner import Learner

FIRST = "0" * 64
"""What stands in the first line for the hash of the one before."""


class ActLog:
    """The file. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        """Reads and verifies it. What does not verify is set aside with all that follows, and told in `fault`; a last line that a crash
        cut short is dropped. Raises OSError."""
        self.path = path
        self.fault = ""
        self.acts: list[Act] = []
        self._last = FIRST
        self._read()

    @property
    def seq(self) -> int:
        """Number of the last act."""
        return self.acts[-1].seq if self.acts else 0

    def append(self, acts: Iterable[Act]) -> None:
        """Write and fsync. Raises OSError; then none of them counts as written."""
        acts = list(acts)
        if not acts:
            return
        lines, last = [], self._last
        for act in acts:
            line, last = _line(act, last)
            lines.append(line)
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = not self.path.exists()
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(fd, "ab") as file:
            at = file.tell()
            try:
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), at)
                raise
        if fresh:
            _sync_folder(self.path.parent)
        self.acts += acts
        self._last = last

    def _read(self) -> None:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        good = 0
        for number, line in enumerate(data.splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                break  # cut short by a crash: it never counted
            verified = _verified(line, self._last)
            if verified is None:
                aside = self.path.with_suffix(".corrupt")
                aside.write_bytes(data)
                self.fault = f"line {number} of the log of promotions does not verify; what follows it is set aside in `{aside}`"
                break
            self.acts.append(verified[0])
            self._last = verified[1]
            good += len(line)
        if good < len(data):
            with self.path.open("r+b") as file:
                file.truncate(good)
                os.fsync(file.fileno())


def _line(act: Act, previous: str) -> tuple[bytes, str]:
    """(the line, its hash: the SHA-256 of all that stands before it)"""
    text = json.dumps({"previous": previous, **msgspec.to_builtins(act)}, separators=(",", ":"))[:-1]
    own = hashlib.sha256(text.encode()).hexdigest()
    return f'{text},"hash":"{own}"}}\n'.encode(), own


def _verified(line: bytes, previous: str) -> tuple[Act, str] | None:
    """(act, hash of the line); None when it is not what was written."""
    text, _, tail = line.rpartition(b',"hash":"')
    own = hashlib.sha256(text).hexdigest()
    try:
        if tail != f'{own}"}}\n'.encode():
            return None
        whole = json.loads(line)
        if whole.pop("previous") != previous:
            return None
        return msgspec.convert(whole, Act), own
    except (ValueError, TypeError, KeyError, AttributeError, msgspec.ValidationError):
        return None


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def recover(baselines: Baselines, log: ActLog) -> None:
    """Bring state and log together: acts that only one of them has. Raises OSError."""
    for act in log.acts:
        baselines.replay(act)
    log.append(baselines.since(log.seq))


class BaselineApi:
    """What is asked of baselines, and done to them by hand. Thread-safe."""

    def __init__(
        self,
        learner: Callable[[], AbstractContextManager[Learner]],
        log: ActLog,
        publish: Callable[[], object],
        clock: Callable[[], float],
    ) -> None:
        """`learner`: gives the learner to one thread at a time. `publish`: tells engines."""
        self._learner = learner
        self._log = log
        self._publish = publish
        self._clock = clock

    def overview(self, service: str = "") -> dict[str, Any]:
        """Services with their versions, and the candidates that wait. Raises LookupError."""
        with self._learner() as learner:
            known = learner.baselines
            names = [service] if service else list(known.services())
            return {
                "services": [known.summary(name) for name in names],
                "candidates": [_candidate(one) for one in known.candidates(service)],
            }

    def history(self, service: str) -> dict[str, Any]:
        """What was done to a service's baselines, oldest first. Raises LookupError."""
        with self._learner() as learner:
            return learner.baselines.summary(service) | {"acts": [_act(act) for act in learner.baselines.acts(service)]}

    def promote(self, candidate: str, by: str = "operator") -> dict[str, Any]:
        """Raises LookupError."""
        return self._do(lambda known, now: known.promote(candidate, now, by))

    def reject(self, candidate: str, by: str = "operator") -> dict[str, Any]:
        """Raises LookupError."""
        return self._do(lambda known, now: known.reject(candidate, now, by))

    def rollback(self, service: str, version: int, by: str = "operator") -> dict[str, Any]:
        """Raises LookupError, ValueError."""
        return self._do(lambda known, now: known.rollback(service, version, now, by))

    def unpin(self, service: str, by: str = "operator") -> dict[str, Any]:
        """Raises LookupError."""
        return self._do(lambda known, now: known.unpin(service, now, by))

    def deploy(self, service: str, reason: str, by: str = "operator") -> dict[str, Any]:
        """Raises LookupError."""
        return self._do(lambda known, now: known.deploy(service, known.clock or now, by, reason))

    def _do(self, act: Callable[[Baselines, float], Act]) -> dict[str, Any]:
        with self._learner() as learner:
            done = act(learner.baselines, self._clock())
            self._log.append(learner.baselines.since(self._log.seq))
        self._publish()
        return _act(done)


def _candidate(candidate: Candidate) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(candidate)
    return found


def _act(act: Act) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(act)
    return found
