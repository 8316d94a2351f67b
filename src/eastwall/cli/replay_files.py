"""`eastwall policy replay --file`: calls of recordings, and of records that were written out, in place of those in the lake.

Recordings (all that `import` and `learn` read) go through the live engine first, in a working directory that is gone afterwards: what is known
of the data directory is known there too, and what the recording teaches is learned on the way, as `learn` does.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from eastwall.cli.client import Client
from eastwall.cli.failure import USAGE, Failure
from eastwall.cli.importing import calls_of, progress_bar, take
from eastwall.model.call import Mode
from eastwall.model.facts import Field
from eastwall.model.record import CallRecord
from eastwall.policy import PolicySet, parse_files
from eastwall.runtime.layout import DataDir, open_data_dir
from eastwall.runtime.learning import NoLake, working_copy

if TYPE_CHECKING:
    from eastwall.runtime.control import Control
    from eastwall.runtime.policy_replay import World

HEAD = 4 << 10
"""Bytes that are looked at to tell records from recordings."""
_LENGTH = struct.Struct("<I")
_NAMES = CallRecord.__struct_fields__
_NEEDED = ("id", "time", "service", "method", "path", "status", "action")


class Kept(NoLake):
    """Stands where the lake stands, and keeps records in a file of its own, in the order in which they come."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        super().__init__()
        self._path = path
        self._file = path.open("wb")
        self.stored = 0

    def insert(self, records: Sequence[CallRecord], token: str, encoded: Sequence[bytes] = ()) -> None:
        for record in records:
            data = msgspec.msgpack.encode(record)
            self._file.write(_LENGTH.pack(len(data)) + data)
            self.stored += 1

    def extent(self, since: float, until: float, service: str = "") -> dict[str, Any]:
        return {"calls": self.stored, "first": 0.0, "last": 0.0}

    def records(self) -> Iterator[CallRecord]:
        self._file.flush()
        decode = msgspec.msgpack.Decoder(CallRecord).decode
        with self._path.open("rb") as file:
            while head := file.read(_LENGTH.size):
                yield decode(file.read(_LENGTH.unpack(head)[0]))

    def close(self) -> None:
        self._file.close()


class Replayed(msgspec.Struct):
    """What a replay of files goes on."""

    world: World
    applied: PolicySet
    kept: Kept
    notes: list[str]


@contextlib.contextmanager
def replayed(files: tuple[str, ...], format_: str, service: str, data: Path, *, quiet: bool) -> Iterator[Replayed]:
    """Judge the recordings, read the records. Raises Failure: a file cannot be read (to its end), or nothing is in any of them."""
    directory = DataDir(data.resolve())
    known = directory.token_file.exists()
    notes = [
        "event ids are those of this replay alone, unless the file holds records: `eastwall why` does not know them",
    ]
    if not known:
        notes.append(
            f"there is no data directory `{data}`: nothing is applied, and what is known of services is what the files tell"
        )
    from eastwall.runtime.importing import search_cycles_seldom

    search_cycles_seldom()
    exported = [file for file in files if file != "-" and _is_records(file)]
    with contextlib.ExitStack() as stack:
        applied, world = _known(data) if known else (PolicySet(()), None)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eastwall-replay-")))
        work = _working(directory, folder / "work") if known else open_data_dir(folder / "work")
        kept = Kept(folder / "records")
        control = _control(work, kept)
        stack.callback(control.close)
        if len(exported) < len(files):
            recordings = tuple(file for file in files if file not in exported)
            progress = stack.enter_context(progress_bar(quiet))
            notes += _judge(recordings, format_, service, work, control, progress)
        if exported:
            records = sorted(
                (r for file in exported for r in _records_in(file) if not service or r.service == service), key=_when
            )
            _insert(control, kept, records, merge=len(exported) < len(files))
        if not kept.stored:
            raise Failure(f"there are no calls in {', '.join(f'`{file}`' for file in files)}", USAGE)
        yield Replayed(_joined(control, world, kept), applied, kept, notes)


def _known(data: Path) -> tuple[PolicySet, World]:
    from eastwall.runtime.policy_replay import World

    client = Client(data, at_rest=True)
    policies, _ = parse_files(client.get("/policy")["files"])
    return policies, msgspec.convert(client.get("/records/extent", since=time.time(), until=time.time())["world"], World)


def _working(directory: DataDir, at: Path) -> DataDir:
    made = working_copy(directory, at)
    learned = directory.root / "learner"
    if learned.exists():
        shutil.copytree(learned, made.root / "learner", dirs_exist_ok=True)
    return made


def _control(work: DataDir, kept: Kept) -> Control:
    """Raises Failure."""
    try:
        from eastwall.runtime.control import Control
        from eastwall.stores.chdb.lake import LakeError
        from eastwall.stores.spool import SpoolBusyError
    except ImportError as error:
        raise Failure(f"a replay needs the package `{error.name}`: install eastwall[all]") from None
    try:
        return Control(work, lake=kept)
    except (LakeError, SpoolBusyError, ValueError, OSError) as error:
        raise Failure(str(error)) from None


def _judge(files: tuple[str, ...], format_: str, service: str, work: DataDir, control: Control, progress: Any) -> list[str]:
    """Put the recordings through the engine; what was left out of them."""
    from eastwall.runtime.importing import Importer

    importer = Importer(work, "replay", service=service, gather=True)
    faults: list[str] = []
    take(importer, control, calls_of(files, format_, importer.skipped, faults, progress))
    importer.close()
    if faults:
        raise Failure("; ".join(faults), USAGE)
    control.publish()
    skipped = importer.skipped
    return [f"left out: {count:,} {reason}, first {skipped.first[reason]}" for reason, count in skipped.counts.most_common()]


def _insert(control: Control, kept: Kept, records: list[CallRecord], *, merge: bool) -> None:
    if merge:
        raise Failure("records and recordings cannot be replayed together: replay one after the other", USAGE)
    control.record(records, "replay")  # they teach what recordings teach: which operations there are


def _joined(control: Control, world: World | None, kept: Kept) -> World:
    """What the working directory knows, with the modes of the data directory's services."""
    from eastwall.runtime.policy_replay import World

    control.publish()
    made: World = msgspec.convert(control.recorded.extent(0.0, 0.0)["world"], World)
    if world is None:
        return made
    services = {scope.name: scope for scope in (*made.services, *world.services)}
    return World(tuple(services.values()), made.endpoints)


def _when(record: CallRecord) -> tuple[float, str]:
    return record.time, record.id


# -- records that were written out --------------------------------------------------------------------------------


def _is_records(file: str) -> bool:
    """Raises Failure when it cannot be read."""
    try:
        with open(file, "rb") as stream:
            head = stream.read(HEAD)
    except OSError as error:
        raise Failure(f"`{file}` cannot be read: {error.strerror}", USAGE) from None
    if head[:1] and (0x90 <= head[0] <= 0x9F or head[0] in (0xDC, 0xDD)):  # a MessagePack array
        return True
    start = head.lstrip()[:1] in (b"{", b"[")
    return start and all(f'"{name}"'.encode() in head for name in ("principals", "identity_faults", "strength"))


def _records_in(file: str) -> Iterator[CallRecord]:
    """Records as `GET /api/v1/records` gives them, one JSON object a line (as `eastwall why ID --json` prints, on one line), in a JSON array,
    or under `calls` as in a snapshot of evidence. Raises Failure."""
    with open(file, "rb") as stream:
        data = stream.read()
    try:
        if data[:1] not in (b"{", b"[") and data.lstrip()[:1] not in (b"{", b"["):
            for encoded in msgspec.msgpack.decode(data, type=list[bytes]):
                yield msgspec.msgpack.decode(encoded, type=CallRecord)
            return
        for number, told in _objects(data):
            yield _record(told, f"{file}:{number}")
    except msgspec.DecodeError as error:
        raise Failure(f"`{file}` does not hold records: {error}", USAGE) from None


def _objects(data: bytes) -> Iterator[tuple[int, Any]]:
    """(line, object)."""
    if data.lstrip()[:1] == b"{":
        lines = data.splitlines()
        if len([line for line in lines if line.strip()]) > 1 and lines[0].rstrip().endswith(b"}"):
            yield from ((number, msgspec.json.decode(line)) for number, line in enumerate(lines, 1) if line.strip())
            return
    whole = msgspec.json.decode(data)
    if isinstance(whole, dict):
        whole = whole.get("calls", [whole])
    yield from ((1, one) for one in whole) if isinstance(whole, list) else ((1, whole),)


def _record(told: Any, where: str) -> CallRecord:
    if not isinstance(told, dict) or (lacking := [name for name in _NEEDED if name not in told]):
        lacks = f"it has no `{lacking[0]}`" if isinstance(told, dict) else "it is no object"
        raise Failure(f"{where}: not the record of a call: {lacks}", USAGE)
    values: list[Any] = []
    for name in _NAMES:
        value: Any = told.get(name, _DEFAULTS.get(name))
        if name in ("request_fields", "response_fields"):
            value = [[one.get(key) for key in Field.__struct_fields__] if isinstance(one, dict) else one for one in value or ()]
        elif name == "matches":
            value = [one | {"mode": _mode(one.get("mode"))} if isinstance(one, dict) else one for one in value or ()]
        values.append(value)
    try:
        return msgspec.convert(values, CallRecord)
    except (msgspec.ValidationError, AttributeError) as error:
        raise Failure(f"{where}: not the record of a call: {error}", USAGE) from None


def _mode(said: Any) -> Any:
    return Mode[said.upper()].value if isinstance(said, str) and said.upper() in Mode.__members__ else said


_DEFAULTS: dict[str, Any] = {
    "version": 1, "authority": "", "request_bytes": 0, "response_bytes": 0, "duration_us": 0, "source": ""
} | msgspec.to_builtins(dict(zip(_NAMES[-len(CallRecord.__struct_defaults__) :], CallRecord.__struct_defaults__, strict=True)))  # fmt: skip
