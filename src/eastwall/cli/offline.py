"""`eastwall discover` and `eastwall inspect`: the same engine on files, nothing running, nothing sent anywhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from eastwall.cli.client import json_option, print_json
from eastwall.cli.failure import USAGE, Failure
from eastwall.cli.policies import read_policies
from eastwall.model.call import Mode
from eastwall.model.snapshot import Snapshot
from eastwall.policy import encode

if TYPE_CHECKING:
    from eastwall.runtime.offline import Inspection

MAX_LINE = 64 << 20
"""Bytes of one line of input; a longer one is refused, not read."""


@click.command(short_help="Find API templates in recorded traffic.")
@click.argument("file", type=click.Path(allow_dash=True))
@json_option
def discover(file: str, as_json: bool) -> None:
    """Find API templates in FILE (or `-`): any recording that `import` reads, or lines `METHOD URL [STATUS]`."""
    from eastwall.discovery.templates import templates_of
    from eastwall.sources.reading import Skipped, SourceError, read

    skipped = Skipped()
    try:
        with click.open_file(file, "rb") as stream:
            found = templates_of(read(stream, "standard input" if file == "-" else file, skipped=skipped))
    except SourceError as error:
        raise Failure(str(error), USAGE) from None
    except OSError as error:
        raise Failure(f"`{file}` cannot be read: {error.strerror}", USAGE) from None
    for reason, count in skipped.counts.most_common():
        click.echo(f"eastwall: left out {count:,} {reason}, first {skipped.first[reason]}", err=True)
    if as_json:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("service", "method", "template", "parameters"):
        table.add_column(column)
    table.add_column("calls", justify="right")
    for row in found:
        table.add_row(row["service"], row["method"], row["template"], ", ".join(row["parameters"]), str(row["count"]))
    Console(highlight=False).print(table)


def lines(stream: IO[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """Numbered non-empty lines. Raises Failure on one that is too long."""
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise Failure(f"{name}:{number}: a line over {MAX_LINE >> 20} MiB; one call is one line", USAGE)
        if line.strip():
            yield number, line


@click.command(short_help="Judge recorded calls (JSON lines).")
@click.argument("file", type=click.Path(allow_dash=True))
@click.option(
    "--policy", type=click.Path(path_type=Path, exists=True), help="Policy file or directory [default: the built-in policies]."
)
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Use what was learned in this data directory."
)
@click.option("--service", default="", help="Service of calls that name none.")
@click.option(
    "--mode", type=click.Choice([m.name.lower() for m in Mode]), default="enforce", show_default=True, help="Mode to judge in."
)
@click.option("--http", "raw", is_flag=True, help="FILE is one HTTP request as text, with its answer behind it if there is one.")
@click.option("--recording", is_flag=True, help="FILE is a recording that `import` reads: HAR, mitmproxy, pcap, ...")
@click.option("--explain", is_flag=True, help="Print tables for people in place of JSON lines.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines: it does so unless --explain is given.")
def inspect(
    file: str,
    policy: Path | None,
    data: Path | None,
    service: str,
    mode: str,
    raw: bool,
    recording: bool,
    explain: bool,
    as_json: bool,
) -> None:
    """Judge the calls in FILE (or `-`), one JSON object per line, by the same `decide` that judges live traffic.

    A line is {"method", "url", "headers", "body"}, optional "identity" (a name, or token claims with "sub"), "response" {"status",
    "headers", "body"}, "service", "time" (Unix seconds), "source" (IP address). Prints one JSON line each: {"verdict", "status",
    "findings", "event_id", "operation"}, and where there is anything to say "would", "policies", "parser_faults", "not_inspected", "data".
    A line that cannot be read gets {"error", "line"}, and the exit code is 2.
    """
    from eastwall.cli.inspection import show
    from eastwall.runtime.offline import Inspection

    if raw and recording:
        raise Failure("`--http` and `--recording` say two things about the same file; give one of them", USAGE)
    policies, trust = read_policies(policy) if policy else (None, None)
    inspection = Inspection(_snapshot(data), service, Mode[mode.upper()], encode(policies) if policies else b"", trust)
    name = "standard input" if file == "-" else file
    judged = _of_http if raw else _of_recording if recording else _of_lines
    bad = 0
    try:
        with click.open_file(file, "rb") as stream:
            for what, result in judged(inspection, stream, name):
                bad += "error" in result
                if explain and not as_json:
                    show(what, result)
                else:
                    sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Failure(f"`{file}` cannot be read: {error.strerror}", USAGE) from None
    sys.stdout.flush()
    if bad:
        raise SystemExit(USAGE)


Judged = Iterator[tuple[str, dict[str, Any]]]
"""(what was judged, in a few words; what came out)"""


def _of_lines(inspection: Inspection, stream: IO[bytes], name: str) -> Judged:
    from eastwall.runtime.offline import BadCall

    for number, line in lines(stream, name):
        what = f"line {number}"
        try:
            given = _decoded(line)
            what = f"{given.get('method', 'GET')} {given.get('url')}"
            yield what, inspection.inspect(given)
        except BadCall as error:
            click.echo(f"eastwall: {name}:{number}: {error}", err=True)
            yield what, {"error": str(error), "line": number}


def _of_http(inspection: Inspection, stream: IO[bytes], name: str) -> Judged:
    from eastwall.sources import raw_http
    from eastwall.sources.reading import SourceError

    data = stream.read(MAX_LINE + 1)
    if len(data) > MAX_LINE:
        raise Failure(f"{name}: over {MAX_LINE >> 20} MiB", USAGE)
    try:
        request, response = raw_http.read(data, name)
    except SourceError as error:
        raise Failure(str(error), USAGE) from None
    yield f"{request.method} {request.path}", inspection.inspect_http(request, response)


def _of_recording(inspection: Inspection, stream: IO[bytes], name: str) -> Judged:
    from eastwall.runtime.offline import BadCall
    from eastwall.sources.reading import Skipped, SourceError, read

    skipped = Skipped()
    try:
        for call in read(stream, name, skipped=skipped):
            what = f"{call.method} {call.url}"
            try:
                yield what, inspection.inspect_observed(call)
            except BadCall as error:
                click.echo(f"eastwall: {name}: {what}: {error}", err=True)
                yield what, {"error": str(error)}
    except SourceError as error:
        raise Failure(str(error), USAGE) from None
    for reason, count in skipped.counts.most_common():
        click.echo(f"eastwall: left out {count:,} {reason}, first {skipped.first[reason]}", err=True)


def _decoded(line: bytes) -> dict[str, Any]:
    from eastwall.runtime.offline import BadCall

    try:
        given = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        text = str(error).removeprefix("JSON is malformed: ").partition(" - at ")[0]
        raise BadCall(f"not JSON: {text[:1].lower()}{text[1:]}") from None
    except UnicodeDecodeError as error:
        raise BadCall(f"not UTF-8 text (byte 0x{error.object[error.start]:02x})") from None
    except RecursionError:
        raise BadCall("nested too deeply") from None
    if not isinstance(given, dict):
        raise BadCall("not a JSON object")
    return given


def _snapshot(data: Path | None) -> Snapshot | None:
    if data is None:
        return None
    from eastwall.ports.snapshots import SnapshotCorrupt
    from eastwall.runtime.layout import DataDir
    from eastwall.stores.snapshots import FileSnapshotStore

    try:
        snapshot = FileSnapshotStore(DataDir(data.resolve()).snapshots).load()
    except SnapshotCorrupt as error:
        raise Failure(str(error), USAGE) from None
    if snapshot is None:
        raise Failure(f"nothing was learned in `{data}` yet", USAGE)
    return snapshot
