"""`eastwall import`: learn from recorded traffic, as if it had passed through."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import heapq
import io
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from eastwall.cli.client import Client, json_option, print_json
from eastwall.cli.failure import USAGE, Failure
from eastwall.cli.show import clean, printer, table, when
from eastwall.runtime.layout import DataDir, DataDirError, default_data_dir, open_data_dir
from eastwall.sources.observed import ObservedCall, Skipped, SourceError
from eastwall.sources.ordering import in_time_order
from eastwall.sources.reading import FORMATS, HEAD, is_specification, read

if TYPE_CHECKING:
    from eastwall.runtime.control import Control
    from eastwall.runtime.importing import Importer

DRAIN = 100
"""Calls after which what was learned so far is stored and made known to the engine; then after half as many again, each time."""
MOST = 20_000
"""At the latest after so many calls, so that the spool stays short."""
STORE_SECONDS = 120.0
"""How long to wait for a control that runs elsewhere to take the records."""


@click.command("import", short_help="Learn from recorded traffic.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True))
@click.option(
    "--format", "format_", type=click.Choice(list(FORMATS)), help="Format of the files [default: told by their content]."
)
@click.option("--service", default="", metavar="NAME", help="Service of all calls [default: the host they went to].")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_data_dir,
    show_default="$EASTWALL_DATA or .eastwall",
    help="Where Eastwall keeps what it learns; it may be running there.",
)
@json_option
def import_(files: tuple[str, ...], format_: str | None, service: str, data: Path, as_json: bool) -> None:
    """Learn from recorded traffic in each FILE (or `-`): HAR, mitmproxy, pcap, access logs, OTLP traces.

    The calls take the way that live calls take, with the times of the recording; nothing is blocked. `eastwall apis` shows them then.
    A FILE that declares an API (OpenAPI, Postman, GraphQL SDL, proto) is kept as the specification of the service.
    """
    from eastwall.runtime.importing import Importer, SpoolFullError, search_cycles_seldom

    specs = [file for file in files if file != "-" and declares(file)]
    recordings = tuple(file for file in files if file not in specs)
    try:
        directory = open_data_dir(data)
    except DataDirError as error:
        raise Failure(str(error), USAGE) from None
    faults: list[str] = []
    declared: list[str] = []
    with contextlib.ExitStack() as stack:
        control = _control(directory)
        if control is not None:
            stack.callback(control.stop)
        if service:  # first, so that the calls are told by what is declared
            declared += declare(specs, service, control, data)
        progress = stack.enter_context(progress_bar(as_json))
        importer = Importer(directory, f"import-{os.getpid()}", service=service, gather=control is not None)
        search_cycles_seldom()
        try:
            take(importer, control, calls_of(recordings, format_ or "", importer.skipped, faults, progress))
        except SpoolFullError as error:
            raise Failure(error.strerror or str(error)) from None
        finally:
            with contextlib.suppress(SpoolFullError):
                importer.close()
        if control is not None:
            drain(control)
            control.publish()
        else:
            _await_stored(importer)
        if specs and not service:
            seen = list(importer.taken.services)
            if len(seen) != 1:
                raise Failure(f"`{specs[0]}` declares an API: name its service with --service", USAGE)
            declared += declare(specs, seen[0], control, data)
        with contextlib.suppress(OSError):
            importer.directory.rmdir()
    _tell(importer, faults, declared, data, as_json=as_json)
    if faults:
        raise Failure("; ".join(faults), USAGE)


def take(importer: Importer, control: Control | None, calls: Iterable[ObservedCall]) -> None:
    """Judge, record and learn calls. Raises SpoolFullError, Failure."""
    due = DRAIN
    if control is not None:
        control.publish()  # the key under which ids are hashed is in it: without, those of the first calls would be nobody's
        importer.reload()
    for call in calls:
        importer.add(call)
        if control is not None and importer.taken.calls >= due:
            due += min(max(DRAIN, due // 2), MOST)
            _store(importer, control)
            control.publish()
            importer.reload()
    if control is not None:
        _store(importer, control)


def declares(file: str) -> bool:
    """Raises Failure when it cannot be read."""
    try:
        with open(file, "rb") as stream:
            return is_specification(stream.read(HEAD), file)
    except OSError as error:
        raise Failure(f"`{file}` cannot be read: {error.strerror}", USAGE) from None


def declare(files: Sequence[str], service: str, control: Control | None, data: Path) -> list[str]:
    """Keep specifications, here or with the control that runs; one line about each. Raises Failure."""
    told = []
    for file in files:
        try:
            document = Path(file).read_bytes()
            if control is not None:
                found = control.add_spec(service, Path(file).name, document)
            else:
                body = {"name": Path(file).name, "document": base64.b64encode(document).decode()}
                found = Client(data).send("PUT", f"/specs/{Client.quoted(service)}", body)
        except OSError as error:
            raise Failure(f"`{file}` cannot be read: {error.strerror}", USAGE) from None
        except ValueError as error:
            raise Failure(str(error), USAGE) from None
        told.append(f"{file}: {found['kind']}, {found['endpoints']} operations of {service}")
        told += [f"{file}: {fault}" for fault in found["faults"]]
    return told


def _control(data: DataDir) -> Control | None:
    """A control of our own to store the records; None when one runs on the directory. Raises Failure."""
    if supervised(data):
        return None
    try:
        from eastwall.runtime.control import Control
        from eastwall.stores.chdb.lake import LakeError
        from eastwall.stores.spool import SpoolBusyError
    except ImportError as error:
        raise Failure(f"importing needs the package `{error.name}`: install eastwall[all]") from None
    try:
        return Control(data)
    except SpoolBusyError:
        return None
    except (LakeError, ValueError, OSError) as error:
        raise Failure(str(error)) from None


def supervised(data: DataDir) -> bool:
    """Whether `eastwall up` runs there, also while it is starting its control again."""
    with contextlib.suppress(OSError), (data.run / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _store(importer: Importer, control: Control) -> None:
    """Store and learn what was recorded, after what others left in the spool. What cannot be stored goes there. Raises Failure."""
    from eastwall.stores.chdb.lake import LakeError

    records = importer.gathered()
    if not records:
        return
    try:
        drain(control)
        control.record(records, f"{records[0].id}-{records[-1].id}-{len(records)}")
    except LakeError as error:
        importer.spill(records)
        raise Failure(f"{error}; the records are safe in the spool") from None
    except OSError as error:
        raise Failure(f"what was learned cannot be kept: {error.strerror or error}") from None


def drain(control: Control) -> None:
    while control.record_batch(MOST):
        pass


def _await_stored(importer: Importer) -> None:
    """Wait until the running control has taken the records: it removes the files that it has stored."""
    deadline = time.monotonic() + STORE_SECONDS
    while any(importer.directory.glob("*.seg")):
        if time.monotonic() > deadline:
            click.echo(
                "eastwall: the records are safe in the spool, but control has not stored them yet: see `eastwall status`",
                err=True,
            )
            return
        time.sleep(0.1)


class _Counted(io.RawIOBase):
    """A file that moves a progress bar as it is read."""

    def __init__(self, stream: IO[bytes], progress: Progress, task: Any) -> None:
        self._stream = stream
        self._progress = progress
        self._task = task

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._progress.update(self._task, advance=len(data))
        return len(data)


def progress_bar(as_json: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=as_json or not sys.stderr.isatty(),
        transient=True,
    )


def calls_of(
    files: tuple[str, ...], format_: str, skipped: Skipped, faults: list[str], progress: Progress
) -> Iterator[ObservedCall]:
    """The calls of all files, in the order of their times: the parts of a rotated log may come in any order."""
    # Without a recording (specifications alone) there is nothing to merge.
    streams = [_calls_in(file, format_, skipped, faults, progress) for file in files]
    return streams[0] if len(streams) == 1 else heapq.merge(*streams, key=lambda call: call.time)


def _calls_in(file: str, format_: str, skipped: Skipped, faults: list[str], progress: Progress) -> Iterator[ObservedCall]:
    name = "standard input" if file == "-" else file
    size = os.stat(file).st_size if file != "-" else None
    task = progress.add_task(clean(name[-40:]).plain, total=size)
    try:
        with click.open_file(file, "rb") as stream:
            yield from in_time_order(read(io.BufferedReader(_Counted(stream, progress, task), 1 << 18), name, format_, skipped))
    except SourceError as error:
        faults.append(str(error))
    except OSError as error:
        faults.append(f"`{file}` cannot be read: {error.strerror or error}")


def _tell(importer: Importer, faults: list[str], declared: list[str], data: Path, *, as_json: bool) -> None:
    taken, skipped = importer.taken, importer.skipped
    if as_json:
        print_json(
            {
                "calls": taken.calls,
                "services": dict(taken.services.most_common()),
                "sources": dict(taken.origins),
                "from": taken.first,
                "to": taken.last,
                "skipped": {reason: {"count": n, "first": skipped.first[reason]} for reason, n in skipped.counts.most_common()},
                "faults": faults,
                "declared": declared,
                "data": str(data),
            }
        )
        return
    out = printer()
    if taken.calls:
        shown = table("service", "calls")
        for service, count in taken.services.most_common(20):
            shown.add_row(clean(service), f"{count:,}")
        out.print(shown)
        if len(taken.services) > 20:
            out.print(f"and {len(taken.services) - 20} services more")
    span = f", {when(taken.first)} to {when(taken.last)}" if taken.calls else ""
    for line in declared:
        out.print("declared   ", clean(line), sep="", soft_wrap=True)
    out.print(f"\nimported   {taken.calls:,} calls of {len(taken.services)} services{span}")
    for reason, count in skipped.counts.most_common():
        out.print(f"[yellow]left out[/]   {count:,} {reason}, first ", clean(skipped.first[reason]), sep="", soft_wrap=True)
    if taken.calls:
        out.print("`eastwall apis` shows what was found")
