"""What analysts said, kept in a file, and what was learned built anew from the lake where that is what follows from it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eastwall.learning import feedback
from eastwall.learning.feedback import MAX_ENTRIES, Book, Feedback
from eastwall.learning.learner import Learner
from eastwall.model.event_id import event_id
from eastwall.model.record import CallRecord

log = logging.getLogger("eastwall.control")

FORMAT = 1
PAGE = 1_000
"""Calls after which the baselines are looked at when learning anew; then after half as many again each time, as an import does."""
MOST = 20_000
WAIT_SECONDS = 30.0
"""How long an answer waits until what was learned is built anew; it goes on after that."""


class _File(Struct):
    format: int
    entries: tuple[Feedback, ...]
    built: tuple[str, ...] = ()
    """Ids of entries that the learner's state knows of; of undone ones with `-` before."""


class FeedbackFileError(ValueError):
    """The file is something else; the message names it."""


class FeedbackStore:
    """The entries on disk, atomic and durable. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        """Raises FeedbackFileError, OSError."""
        self.path = path
        self.built: frozenset[str] = frozenset()
        entries: tuple[Feedback, ...] = ()
        try:
            found = msgspec.json.decode(path.read_bytes(), type=_File)
            if found.format != FORMAT:
                raise FeedbackFileError(f"`{path}` has format {found.format}, expected {FORMAT}")
            entries, self.built = found.entries, frozenset(found.built)
        except FileNotFoundError:
            pass
        except msgspec.MsgspecError as fault:
            raise FeedbackFileError(f"`{path}` holds no feedback: {fault}; move it away to start without") from None
        self.book = Book(entries)

    @property
    def due(self) -> bool:
        """Whether the learner's state does not know yet what was said."""
        return self.marks() != self.built

    def marks(self) -> frozenset[str]:
        return frozenset(("-" if entry.undone else "") + entry.id for entry in self.book.entries)

    def add(self, entry: Feedback) -> None:
        """Raises OSError, ValueError when there are too many."""
        if len(self.book.entries) >= MAX_ENTRIES:
            raise ValueError(f"there are {MAX_ENTRIES:,} judgements already")
        self._save((*self.book.entries, entry), self.built)

    def undo(self, identity: str, now: float) -> Feedback:
        """Raises OSError, LookupError, ValueError."""
        for at, entry in enumerate(self.book.entries):
            if entry.id == identity:
                if entry.undone:
                    raise ValueError(f"`{identity}` was undone before")
                undone = replace(entry, undone=now)
                self._save((*self.book.entries[:at], undone, *self.book.entries[at + 1 :]), self.built)
                return undone
        raise LookupError(f"there is no judgement `{identity}`; `eastwall feedback list` shows them")

    def known(self, marks: frozenset[str]) -> None:
        """The learner's state on disk knows these. Raises OSError."""
        self._save(self.book.entries, marks)

    def _save(self, entries: tuple[Feedback, ...], built: frozenset[str]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self.path.with_suffix(".part")
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(_File(FORMAT, entries, tuple(sorted(built)))))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.path)
        self.book, self.built = Book(entries), built


Following = Callable[[str, int], Sequence[CallRecord]]
"""Stored calls after the one of an id, in the order of ids, at most so many."""


class Relearning:
    """What the stored calls teach, page by page."""

    def __init__(self, learner: Learner, following: Following, book: Book) -> None:
        self.learner = learner
        self._following = following
        self._book = book
        self._after = ""
        self._page = PAGE

    def run(self) -> Iterator[int]:
        """Learn what is stored; yields the calls of each page. May be run again to take in what came since."""
        while records := self._following(self._after, self._page):
            self.learner.fold(self._book.teaching(records))
            self.learner.endpoints(lazy=True)
            self._after = records[-1].id
            self._page = min(self._page + self._page // 2, MOST)
            yield len(records)


class FeedbackApi:
    """What is said of calls. Thread-safe."""

    def __init__(
        self,
        store: FeedbackStore,
        call: Callable[[str], CallRecord | None],
        relearn: Callable[[], None],
        teach: Callable[[CallRecord], None],
        publish: Callable[[], object],
    ) -> None:
        """`relearn`: builds what was learned anew. `teach`: folds one call. `publish`: tells engines."""
        self._store = store
        self._call = call
        self._relearn = relearn
        self._teach = teach
        self._publish = publish
        self._lock = threading.Lock()
        self._running: threading.Thread | None = None

    def list(self) -> list[dict[str, Any]]:
        """All that was said, newest first."""
        due = self._store.marks() - self._store.built
        return [
            msgspec.to_builtins(entry)
            | {"state": _state(entry, ("-" if entry.undone else "") + entry.id in due and self.building)}
            for entry in reversed(self._store.book.entries)
        ]

    @property
    def building(self) -> bool:
        """Whether what was learned is being built anew."""
        running = self._running
        return running is not None and running.is_alive()

    def say(
        self,
        event: str,
        kind: str,
        *,
        note: str = "",
        days: float = feedback.DAYS,
        window: float = feedback.WINDOW,
        by: str = "operator",
    ) -> dict[str, Any]:
        """Raises LookupError, ValueError, OSError."""
        record = self._call(event)
        if record is None:
            raise LookupError(f"there is no call `{event}`; calls appear about a second after they end")
        now = time.time()
        identity = "f_" + event_id(now, os.urandom(10))[-12:].lower()
        if kind == "fine":
            entry = feedback.fine(record, identity, now, days=days, note=note, by=by)
        elif kind == "attack":
            entry = feedback.attack(record, identity, now, window=window, note=note, by=by)
        else:
            raise ValueError(f"`{kind}` is no judgement: say fine or attack")
        with self._lock:
            self._store.add(entry)
            if kind == "fine":
                self._teach(feedback.cleared(record, frozenset(entry.findings)))
        return self._follow(entry, anew=kind == "attack")

    def undo(self, identity: str) -> dict[str, Any]:
        """Raises LookupError, ValueError, OSError."""
        with self._lock:
            entry = self._store.undo(identity, time.time())
        return self._follow(entry, anew=True)

    def resume(self) -> None:
        """Build anew what a crash kept from being built."""
        if self._store.due:
            self._start()

    def close(self) -> None:
        """Wait until nothing is being built."""
        running = self._running
        if running is not None:
            running.join()

    def _follow(self, entry: Feedback, *, anew: bool) -> dict[str, Any]:
        if anew:
            self._start().join(WAIT_SECONDS)
        else:
            self._publish()
        return msgspec.to_builtins(entry) | {"state": _state(entry, self.building)}  # type: ignore[no-any-return]

    def _start(self) -> threading.Thread:
        with self._lock:
            if self._running is not None:
                self._running.join()
            self._running = threading.Thread(target=self._build, name="relearn", daemon=True)
            self._running.start()
            return self._running

    def _build(self) -> None:
        try:
            self._relearn()
            self._publish()
        except Exception:
            # What was learned before stays, and the entry is due: it is built at the next start.
            log.exception("what was learned could not be built anew")


def _state(entry: Feedback, building: bool) -> str:
    if building:
        return "being learned anew"
    if entry.undone:
        return "undone"
    return "over" if entry.kind == "fine" and entry.until < time.time() else "holds"
