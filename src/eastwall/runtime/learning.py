"""Learning without keeping calls: a control of its own in a working directory, states as files, and what was learned in a few words."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from eastwall.learning.learner import Learner
from eastwall.model.record import CallRecord
from eastwall.runtime import learner_state
from eastwall.runtime.layout import DataDir, open_data_dir
from eastwall.stores.chdb.lake import ChdbLake

MAX_SHOWN = 5
"""Kinds and operations named in a summary, of each sort."""


class NoLake(ChdbLake):
    """Keeps no calls."""

    def __init__(self) -> None:
        """Opens nothing."""

    def insert(self, records: Sequence[CallRecord], token: str, encoded: Sequence[bytes] = ()) -> None:
        """They are learned from, and gone."""

    def following(self, after: str, limit: int) -> list[CallRecord]:
        return []

    def close(self) -> None:
        """Closes nothing."""


def working_copy(data: DataDir, at: Path) -> DataDir:
    """A directory at `at` with the key, the policies and the specifications of `data`, and nothing learned. Raises OSError."""
    for folder in (data.secrets, data.policy, data.specs):
        if folder.exists():
            shutil.copytree(folder, at / folder.name)
    made = open_data_dir(at)
    compiled = data.run / "automata"
    if compiled.is_file():  # a second or two to make again
        shutil.copyfile(compiled, made.run / "automata")
        (made.run / "automata").chmod(0o600)
    return made


def write_state(path: Path, learner: Learner) -> None:
    """What was learned, for `read_state`. Raises OSError."""
    learner_state.save(path, learner.to_bytes(), _mark(learner.hash_key))


def read_state(path: Path, hash_key: bytes) -> Learner:
    """Raises ValueError: no such file, something else, or learned under another key, so that ids would not be those of live calls."""
    found = learner_state.load(path)
    if found is None:
        raise ValueError(f"`{path}` does not exist")
    if found.token != _mark(hash_key):
        raise ValueError(
            f"`{path}` was learned under the key of another data directory; copy its secrets/hash.key, or learn here"
        )
    return Learner.from_bytes(found.state, hash_key)


def _mark(hash_key: bytes) -> str:
    """Tells keys apart, and gives none away."""
    return "key:" + hashlib.blake2b(b"eastwall learned state", key=hash_key, digest_size=12).hexdigest()


class Summary(Struct, frozen=True):
    """What is known of a service."""

    service: str
    learned: int
    """Operations that are learned."""
    learning: int
    exclusive: tuple[str, ...]
    """Kinds of objects that belong to one actor or tenant each."""
    functions: int
    """Rows of the function matrix: operation and identity class."""
    properties: int
    """(operation, class, property) that are known to be sent."""
    ranges: int
    """Numbers with a learned range."""
    orders: int
    """Operations that come after another one."""
    once: int
    """Operations that are done once."""
    sensitive: int
    """Operations that carry sensitive data."""
    unjudged: tuple[str, ...]
    """What could not be judged yet, and why: plain lines."""


def summaries(learner: Learner) -> list[Summary]:
    """By service."""
    endpoints = learner.endpoints()
    found = []
    for name in sorted({e.service for e in endpoints}):
        own = [e for e in endpoints if e.service == name and e.calls]
        learning = [e for e in own if e.status != "learned"]
        kinds = learner.kinds(name)
        lacking = [f"{e.operation or f'{e.method} {e.template}'}: {_lacks(e.calls, e.actors, learner)}" for e in learning]
        unjudged = _few(lacking, "operations")
        unjudged += _few([j.evidence for _, j in sorted(kinds.items()) if not j.exclusive and not j.public], "kinds of objects")
        if not any(e.authenticated for e in own):
            unjudged.append("no caller could be told from others: nothing is known of owners, classes and functions")
        fields = [f for e in own for f in (*e.request.fields, *e.query.fields)]
        found.append(
            Summary(
                name,
                len(own) - len(learning),
                len(learning),
                tuple(sorted(kind for kind, judged in kinds.items() if judged.exclusive)),
                sum(len(e.users) for e in own),
                sum(len(places) for e in own for cls, places in e.properties if cls != "*"),
                sum(f.minimum is not None and f.seen > 0 for f in fields),
                sum(bool(e.after) for e in own),
                sum(e.once is not None for e in own),
                sum(bool(e.data_classes) for e in own),
                tuple(unjudged),
            )
        )
    return found


def _lacks(calls: int, actors: int, learner: Learner) -> str:
    window = learner.window
    if calls < window.calls:
        return f"{calls} of {window.calls} calls"
    if actors < window.actors and calls < window.lone_calls:
        return f"{actors} of {window.actors} callers"
    return f"too few of its {calls} calls worked without a finding, or they lasted less than {window.seconds:g} seconds"


def _few(lines: list[str], noun: str) -> list[str]:
    rest = len(lines) - MAX_SHOWN
    return [*lines[:MAX_SHOWN], f"and {rest} more {noun}"] if rest > 0 else lines


def as_json(summary: Summary) -> dict[str, Any]:
    return {name: getattr(summary, name) for name in summary.__struct_fields__}
