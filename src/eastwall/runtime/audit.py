"""The audit log: what was done to policies, modes, quarantine, and by whom.

    DIR/audit/audit.jsonl       append-only, hash-chained (`evidence.chain`), one act a line
    DIR/audit/head.json         number and hash of the last act, written after it: the last ones being gone shows
    DIR/audit/*.altered.jsonl   logs that did not verify, kept as they were found

An act is written here and fsynced before it is carried out: what cannot be recorded is not done. An act that could not be carried out
then is followed by `failed`; where control ended in between, the next one says so (`unfinished`). Opening only reads; a log that does not verify is set
aside with the next act, and the new one begins by saying so.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from eastwall.evidence import chain
from eastwall.model.audit import AuditEntry, Who
from eastwall.runtime.chained_file import ChainedFile
from eastwall.runtime.durable import sync_folder, write_whole

MAX_ABOUT = 16_384
"""Characters of one act's particulars; longer lists in it are cut, and say so."""
MAX_ITEMS = 50
MAX_TEXT = 500
UNFINISHED = "control ended before it was carried out, or its files were taken away"
"""Why an act is not in force, found at a start."""
MAX_OWED = 50
"""Failures that wait to be written."""


class AuditLog:
    """Thread-safe."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        """Reads and verifies it. Raises OSError."""
        self.path = folder / "audit.jsonl"
        self._head_file = folder / "head.json"
        self._clock = clock
        self._lock = threading.Lock()
        self._file = ChainedFile(self.path)
        self._seq = 0
        self._torn: int | None = None
        """How many bytes are whole lines, where a crash cut the last one short."""
        self._altered = ""
        self._kept = ""
        """Name of the log that was set aside and not told of yet."""
        self._owed: list[tuple[Who, dict[str, Any]]] = []
        """Failures that could not be written so far."""
        self._read()

    @property
    def fault(self) -> str:
        """What is wrong with it, one line; stays until the logs that were set aside have been taken away."""
        if self._altered:
            return self._altered
        aside = sorted(self.path.parent.glob("*.altered.jsonl"))
        return f"an audit log did not verify and is kept in `{aside[-1]}`; look into it, then move it away" if aside else ""

    def record(self, act: str, who: Who, about: Mapping[str, Any] | None = None) -> AuditEntry:
        """Write down what is about to be done. Raises OSError: then it must not be done."""
        with self._lock:
            if self._altered:
                self._set_aside()
            if self._torn is not None:
                self._file.cut(self._torn)
                self._torn = None
            while self._owed:
                self._append("failed", *self._owed[0])
                del self._owed[0]
            return self._append(act, who, about or {})

    def failed(self, who: Who, about: Mapping[str, Any]) -> None:
        """An act that was recorded was not carried out. Never raises: what cannot be written now comes before the next act."""
        try:
            self.record("failed", who, about)
        except OSError:
            with self._lock:
                self._owed = [*self._owed, (who, dict(about))][-MAX_OWED:]

    def unfinished(self, acts: Collection[str]) -> AuditEntry | None:
        """The last of these acts, unless `failed` follows it: whether it was carried out is to be seen where it was to change something."""
        found = [
            entry for entry in self.entries() if entry.act in acts or (entry.act == "failed" and entry.about.get("act") in acts)
        ]
        return found[-1] if found and found[-1].act != "failed" else None

    def entries(self, since: float = 0.0, limit: int = 1_000) -> list[AuditEntry]:
        """The latest acts, oldest first; lines that cannot be read are left out (`fault` tells of them). Raises OSError."""
        found: list[AuditEntry] = []
        for line in _lines(self.path):
            link = chain.read(line)
            if link is None or not line.endswith(b"\n"):
                continue
            try:
                entry = msgspec.convert(link.entry, AuditEntry)
            except msgspec.ValidationError:
                continue
            if entry.time >= since:
                found.append(entry)
                if len(found) > 2 * limit:
                    del found[:-limit]
        return found[-limit:]

    def head(self) -> chain.Head:
        """Where it ends now; noted elsewhere, it shows later whether the log was written anew."""
        return chain.Head(self._seq, self._file.last)

    def _append(self, act: str, who: Who, about: Mapping[str, Any]) -> AuditEntry:
        entry = AuditEntry(self._seq + 1, self._clock(), act, who, _bounded(about))
        self._file.append([msgspec.to_builtins(entry)])
        self._seq = entry.seq
        try:
            # An older head verifies too: it is not worth waiting for.
            write_whole(self._head_file, msgspec.json.encode(self.head()), durable=False)
        except OSError:
            self._file.take_back()  # it is not going to be done
            self._seq -= 1
            raise
        return entry

    def _read(self) -> None:
        try:
            report, whole = verify_file(self.path, self._head_file)
        except ValueError as error:
            self._altered = str(error)
            report, whole = verify_file(self.path)
        if report.faults:
            self._altered = f"the audit log does not verify: {report.faults[0]}" + (
                f"; {len(report.faults) + report.more - 1} more" if len(report.faults) > 1 else ""
            )
        if self.path.exists() and self.path.stat().st_size > whole:
            self._torn = whole
        self._seq, self._file.last = report.head.seq, report.head.hash

    def _set_aside(self) -> None:
        if self.path.exists() and not self._kept:
            aside = self.path.with_name(f"audit-{int(self._clock() * 1000)}.altered.jsonl")
            os.replace(self.path, aside)
            self._kept = aside.name
            sync_folder(self.path.parent)
        self._file = ChainedFile(self.path)
        self._seq, self._torn = 0, None
        self._append("log-restarted", Who("control"), {"fault": self._altered, "kept": self._kept})
        self._altered = self._kept = ""


def verify_file(path: Path, head_file: Path | None = None, head: chain.Head | None = None) -> tuple[chain.Report, int]:
    """(what came of it, bytes of the whole lines). A last line without its end, cut short by a crash, never counted.

    `head`: in place of what `head_file` says. Raises OSError; ValueError when `head_file` cannot be read."""
    if head is None and head_file is not None and head_file.exists():
        try:
            head = msgspec.json.decode(head_file.read_bytes(), type=chain.Head)
        except msgspec.DecodeError as error:
            raise ValueError(f"`{head_file}` cannot be read ({error}); without it the end of the log is not checked") from None
    whole = 0

    def lines() -> Iterator[bytes]:
        nonlocal whole
        for line in _lines(path):
            if line.endswith(b"\n"):
                whole += len(line)
                yield line

    return chain.verify(lines(), head), whole


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except FileNotFoundError:
        return


def _bounded(about: Mapping[str, Any]) -> dict[str, Any]:
    """Particulars of bounded size, as JSON holds them."""
    made: dict[str, Any] = msgspec.to_builtins(_cut(about))
    if len(msgspec.json.encode(made)) > MAX_ABOUT:
        return {name: value if isinstance(value, int | float | bool) else str(value)[:MAX_TEXT] for name, value in made.items()}
    return made


def _cut(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value)
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else value[: MAX_TEXT - 3] + "..."
    if isinstance(value, Mapping):
        return {str(name)[:MAX_TEXT]: _cut(one) for name, one in list(value.items())[:MAX_ITEMS]}
    if isinstance(value, list | tuple):
        more = [f"{len(value) - MAX_ITEMS} more"] if len(value) > MAX_ITEMS else []
        return [*(_cut(one) for one in value[:MAX_ITEMS]), *more]
    return value
