"""The log of what was done to baselines, and the questions about them.

The log (`DIR/baselines/promotions.jsonl`) is append-only and hash-chained (`evidence.chain`): a line that was changed, added or taken out
shows, but for the last ones being gone. An act is written and fsynced here before engines get it, and is carried out again
at the start when the learner's state, which is saved later, does not have it yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec

from eastwall.evidence import chain
from eastwall.learning.baseline_acts import Act, Candidate
from eastwall.learning.baselines import Baselines
from eastwall.learning.learner import Learner
from eastwall.runtime.chained_file import ChainedFile


class ActLog:
    """The file. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        """Reads and verifies it. What does not verify is set aside with all that follows, and told in `fault`; a last line that a crash
        cut short is dropped. Raises OSError."""
        self.path = path
        self.fault = ""
        self.acts: list[Act] = []
        self._file = ChainedFile(path)
        self._read()

    @property
    def seq(self) -> int:
        """Number of the last act."""
        return self.acts[-1].seq if self.acts else 0

    def append(self, acts: Iterable[Act]) -> None:
        """Write and fsync. Raises OSError; then none of them counts as written."""
        acts = list(acts)
        self._file.append(msgspec.to_builtins(act) for act in acts)
        self.acts += acts

    def _read(self) -> None:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        good = 0
        for number, line in enumerate(data.splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                break  # cut short by a crash: it never counted
            verified = _verified(line, self._file.last)
            if verified is None:
                aside = self.path.with_suffix(".corrupt")
                aside.write_bytes(data)
                self.fault = f"line {number} of the log of promotions does not verify; what follows it is set aside in `{aside}`"
                break
            self.acts.append(verified[0])
            self._file.last = verified[1]
            good += len(line)
        if good < len(data):
            self._file.cut(good)


def _verified(line: bytes, previous: str) -> tuple[Act, str] | None:
    """(act, hash of the line); None when it is not what was written."""
    found = chain.read(line)
    if found is None or found.previous != previous:
        return None
    try:
        return msgspec.convert(found.entry, Act), found.hash
    except msgspec.ValidationError:
        return None


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
