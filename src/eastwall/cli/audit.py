"""`eastwall audit log | verify`: what was done to policies and modes, by whom, and whether the log of it is whole."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from eastwall.cli.client import Client, data_option, json_option, print_json
from eastwall.cli.duration import Duration
from eastwall.cli.failure import NOT_FOUND, USAGE, Failure
from eastwall.cli.policy_history import origin_text, who_text
from eastwall.cli.show import clean, printer, told, when
from eastwall.evidence.chain import Head
from eastwall.runtime.audit import verify_file
from eastwall.runtime.policy_acts import report_of


@click.group(short_help="Who changed what; whether the log is whole.")
def audit() -> None:
    """The tamper-evident log of what was done to policies, modes and quarantine."""


@audit.command(name="log", short_help="What was done, oldest first.")
@click.option("--since", type=Duration(), help="Only what was done so long ago at most: 90m, 24h, 7d.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1_000, show_default=True, help="At most so many, the latest.")
@data_option
@json_option
def log(since: float | None, limit: int, data: Path, as_json: bool) -> None:
    """What was done, when and by whom; oldest first."""
    start = time.time() - since if since else None
    found = Client(data, at_rest=True).get("/audit", since=start, limit=limit)
    if as_json:
        print_json(found)
        return
    out = printer()
    if not found:
        out.print("nothing was done yet")
    for entry in found:
        out.print(
            Text.assemble(
                f"{entry['seq']:>5}  {when(entry['time'])}  ", (entry["act"], "bold"), "  ", clean(who_text(entry["who"]))
            )
        )
        told(out, clean(about_text(entry["about"])), 7)


def about_text(about: dict[str, Any]) -> str:
    """Particulars of an act, on one line."""
    said = []
    for name, value in about.items():
        if value in ("", [], {}, None):
            continue
        if name == "origin":
            said.append(f"from {origin_text(value)}")
        elif name == "change":
            said += [f"{word} {', '.join(value[word])}" for word in ("added", "changed", "removed") if value.get(word)]
        else:
            said.append(f"{name} {_plain(name, value)}")
    return "; ".join(said)


def _plain(name: str, value: Any) -> str:
    if name == "ends" and isinstance(value, float):
        return when(value)
    if isinstance(value, list):
        return ", ".join(one if isinstance(one, str) else json.dumps(one) for one in value)
    return str(value) if isinstance(value, str | int | float) else json.dumps(value)


@audit.command(name="verify", short_help="Whether the log was altered.")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--head", default="", metavar="NUMBER:HASH", help="The end of the log as it was noted earlier; printed by every verification."
)
@data_option
@json_option
def verify(file: Path | None, head: str, data: Path, as_json: bool) -> None:
    """Read the log from its first line on: says which lines were altered, put in, moved or are missing. Exit code 1 when there are any.

    Needs nothing that runs. Without FILE the log of the data directory is read. The last lines being gone shows against `head.json`
    beside the log, or against --head; only what is noted elsewhere shows that somebody wrote the whole log anew.
    """
    path = file or data / "audit" / "audit.jsonl"
    if not path.is_file():
        raise Failure(f"there is no audit log `{path}`", NOT_FOUND)
    noted = _head(head) if head else None
    try:
        report, _ = verify_file(path, path.with_name("head.json"), noted)
    except OSError as error:
        raise Failure(f"`{path}` cannot be read: {error.strerror}", USAGE) from None
    except ValueError as error:
        raise Failure(str(error)) from None
    if as_json:
        print_json(report_of(report) | {"file": str(path)})
    else:
        for fault in report.faults:
            click.echo(f"{path}:{fault.line}: {fault.message}", err=True)
        if report.more:
            click.echo(f"{report.more} more", err=True)
        if not report.faults:
            click.echo(f"{report.entries} entries, unaltered; head {report.head.seq}:{report.head.hash}")
    if report.faults:
        raise SystemExit(1)


def _head(text: str) -> Head:
    found = re.fullmatch(r"([0-9]{1,12}):([0-9a-f]{64})", text)
    if found is None:
        raise Failure(f"--head `{text[:100]}`: write NUMBER:HASH as `eastwall audit verify` prints it", USAGE)
    return Head(int(found[1]), found[2])
