"""`eastwall policy replay` and `policy diff`: policies on the calls that were recorded."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from eastwall.cli.client import Client, data_option, json_option, print_json
from eastwall.cli.duration import Duration
from eastwall.cli.failure import Failure
from eastwall.cli.policies import read_policies
from eastwall.cli.show import clean, printer, table, when
from eastwall.policy import PolicySet, parse_files
from eastwall.sources.reading import FORMATS

if TYPE_CHECKING:
    from eastwall.model.record import CallRecord
    from eastwall.policy.replay import Comparison
    from eastwall.runtime.policy_replay import World

SHOWN = 40
"""Groups that are printed; JSON has them all."""
TITLES = {
    "blocked": "newly blocked",
    "passed": "newly passed",
    "changed": "done otherwise",
    "unjudged": "cannot be judged: records hold no bodies, and no values of headers, queries and claims",
}


class Allowance(click.ParamType[tuple[float, bool]]):
    """`3` calls, or `0.5%` of the legitimate ones."""

    name = "calls"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, bool]:
        found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(%?)", str(value))
        if found is None or ("." in found[1] and not found[2]) or (found[2] and float(found[1]) > 100):
            self.fail(f"`{str(value)[:40]}` is neither a number of calls nor a share: write e.g. `3` or `0.5%`", param, ctx)
        return float(found[1]), bool(found[2])


since_option = click.option(
    "--since", type=Duration(), default="7d", show_default=True, help="Calls of so long a time until now."
)
service_option = click.option("--service", default="", help="Calls to one service.")
limit_option = click.option(
    "--limit", type=click.IntRange(0), default=0, help="At most so many calls, the oldest of that time; 0: all."
)
modes_option = click.option(
    "--modes",
    type=click.Choice(["enforce", "as-set"]),
    default="enforce",
    show_default=True,
    help="Judge as if every policy and service were in enforce, or with the modes as they are set.",
)
allowed_option = click.option(
    "--allow-blocked",
    "allowed",
    type=Allowance(),
    default="0",
    show_default=True,
    metavar="N|P%",
    help="Exit with 1 when more calls that passed so far, with no finding, would be blocked.",
)


@click.command(short_help="New policies on recorded calls: who would be blocked.")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(allow_dash=True),
    help="Calls of a recording (all that `import` reads) or of exported records, in place of what was recorded here; may be repeated.",
)
@click.option(
    "--format", "format_", type=click.Choice(list(FORMATS)), help="Format of the files [default: told by their content]."
)
@since_option
@service_option
@limit_option
@modes_option
@allowed_option
@data_option
@json_option
@click.pass_context
def replay(
    context: click.Context,
    path: Path,
    files: tuple[str, ...],
    format_: str | None,
    since: float,
    service: str,
    limit: int,
    modes: str,
    allowed: tuple[float, bool],
    data: Path,
    as_json: bool,
) -> None:
    """What the policies at PATH would have done with the calls of the last days, against what was done.

    Exit code 1 when calls that passed, with no finding, would be blocked or limited (more than --allow-blocked). What records do not hold
    (bodies, values of headers, queries and claims) is never guessed: where it makes a difference, the call is counted apart.

    With --file the calls of that file, all of them; needs no data directory. --service is then the service of all its calls, as for `import`.
    """
    new, _ = read_policies(path)
    if files:
        if context.get_parameter_source("since") is not ParameterSource.DEFAULT:
            raise click.UsageError("--since is about what was recorded here; a file is replayed whole, up to --limit")
        found = _of_files(new, files, format_ or "", service, data, limit, enforced=modes == "enforce", quiet=as_json)
        _print(found, "of " + ", ".join(files), modes, as_json, "the applied policies would do so too")
        _end(found["totals"], allowed)
        return
    client = Client(data, at_rest=True)
    found = _compared(
        client, new, _applied(client), since, service, limit, enforced=modes == "enforce", against_old=False, quiet=as_json
    )
    _print(found, f"of the last {_span(since)}", modes, as_json, "the applied policies would do so too")
    _end(found["totals"], allowed)


@click.command(short_help="Which recorded calls two policy directories judge differently.")
@click.argument("paths", nargs=-1, required=True, metavar="[A] B", type=click.Path(path_type=Path, exists=True))
@since_option
@service_option
@limit_option
@modes_option
@allowed_option
@data_option
@json_option
def diff(
    paths: tuple[Path, ...],
    since: float,
    service: str,
    limit: int,
    modes: str,
    allowed: tuple[float, bool],
    data: Path,
    as_json: bool,
) -> None:
    """Which recorded calls change their verdict from the policies at A (what is applied, when only B is given) to those at B.

    Exit code 1 when calls that passed, with no finding, are blocked or limited by B and not by A (more than --allow-blocked).
    """
    if len(paths) > 2:
        raise click.UsageError("give one path (against what is applied) or two")
    client = Client(data, at_rest=True)
    old = read_policies(paths[0])[0] if len(paths) == 2 else _applied(client)
    new, _ = read_policies(paths[-1])
    found = _compared(client, new, old, since, service, limit, enforced=modes == "enforce", against_old=True, quiet=as_json)
    _print(found, f"of the last {_span(since)}", modes, as_json, "")
    _end(found["totals"], allowed)


def _applied(client: Client) -> PolicySet:
    policies, _ = parse_files(client.get("/policy")["files"])
    return policies


class Api:
    """The lake behind the API."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def extent(self, since: float, until: float, service: str = "") -> dict[str, Any]:
        found: dict[str, Any] = self._client.get("/records/extent", since=since, until=until, service=service)
        return found

    def in_order(self, since: float, until: float, *, after: str = "", service: str = "", limit: int = 10_000) -> bytes:
        return self._client.content("/records", since=since, until=until, after=after, service=service, limit=limit)


def _compared(
    client: Client,
    new: PolicySet,
    old: PolicySet,
    since: float,
    service: str,
    limit: int,
    *,
    enforced: bool,
    against_old: bool,
    quiet: bool,
) -> dict[str, Any]:
    from eastwall.runtime.policy_replay import World, notes, records, result

    lake, until = Api(client), time.time()
    extent = lake.extent(until - since, until, service)
    compared = _comparison(new, old, msgspec.convert(extent["world"], World), enforced=enforced, against_old=against_old)
    began = time.perf_counter()
    total = min(limit, extent["calls"]) if limit else extent["calls"]
    _add(compared, records(lake, until - since, until, service, limit), total, quiet=quiet)
    remarks = notes(new, old)
    if not compared.totals.calls:
        remarks.append(
            f"no calls{f' to `{service}`' if service else ''} were recorded in that time: this says nothing about the policies"
        )
    return result(compared, time.perf_counter() - began, remarks)


def _of_files(
    new: PolicySet, files: tuple[str, ...], format_: str, service: str, data: Path, limit: int, *, enforced: bool, quiet: bool
) -> dict[str, Any]:
    from eastwall.cli.replay_files import replayed
    from eastwall.runtime.policy_replay import notes, result

    with replayed(files, format_, service, data, quiet=quiet) as found:
        compared = _comparison(new, found.applied, found.world, enforced=enforced, against_old=False)
        began = time.perf_counter()
        count = min(limit, found.kept.stored) if limit else found.kept.stored
        _add(compared, islice(found.kept.records(), count), count, quiet=quiet)
        return result(compared, time.perf_counter() - began, [*notes(new, found.applied), *found.notes])


def _comparison(new: PolicySet, old: PolicySet, world: World, *, enforced: bool, against_old: bool) -> Comparison:
    """Raises Failure."""
    from eastwall.runtime.policy_replay import comparison

    try:
        return comparison(new, old, world, enforced=enforced, against_old=against_old)
    except ValueError as error:
        raise Failure(f"the policy has faults: {error}") from None


def _add(compared: Comparison, calls: Iterable[CallRecord], total: int, *, quiet: bool) -> None:
    with _bar(quiet) as bar:
        task = bar.add_task("replaying", total=total)
        for number, record in enumerate(calls, 1):
            compared.add(record)
            if not number % 1_000:
                bar.update(task, completed=number)


def _bar(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet or not sys.stderr.isatty(),
        transient=True,
    )


def _end(totals: dict[str, int], allowed: tuple[float, bool]) -> None:
    most = totals["legitimate"] * allowed[0] / 100 if allowed[1] else allowed[0]
    if totals["blocked_legitimate"] > most:
        raise SystemExit(1)


def _print(found: dict[str, Any], which: str, modes: str, as_json: bool, already: str) -> None:
    if as_json:
        print_json(found)
        return
    out, totals = printer(), found["totals"]
    seconds = found["seconds"]
    out.print(
        f"{totals['calls']:,} calls {clean(which).plain}, judged in {seconds:.1f} s,"
        f" {'as if all were enforced' if modes == 'enforce' else 'with the modes as they are set'}"
    )
    counts = table("", "calls", "")
    for name in ("blocked", "passed", "changed", "unjudged"):
        more = ""
        if name == "blocked" and totals["blocked"]:
            more = f"{totals['blocked_legitimate']:,} of them with no finding"
            more += f"; of {totals['blocked_already']:,} {already}" if already and totals["blocked_already"] else ""
        counts.add_row(TITLES[name].partition(":")[0], f"{totals[name]:,}", more)
    counts.add_row("unchanged", f"{totals['unchanged']:,}", "")
    out.print(counts)
    for note in found["notes"]:
        out.print(Text.assemble(("note: ", "bold"), clean(note)))
    shown = found["groups"][:SHOWN]
    for change, title in TITLES.items():
        groups = [group for group in shown if group["change"] == change]
        if groups:
            out.print(f"\n[bold]{title}[/]")
            for group in groups:
                _print_group(out, group)
    if len(found["groups"]) > len(shown):
        out.print(f"\n{len(found['groups']) - len(shown):,} more groups; --json has them all")


def _print_group(out: Console, group: dict[str, Any]) -> None:
    at = "" if group["location"] in ("", "builtin") else f" ({group['location']})"
    does = f"{group['before'] or 'cannot be judged'} -> {group['after'] or '?'}"
    out.print(
        Text.assemble(
            (f"  {group['calls']:,} calls", "bold"),
            f" of {group['callers']:,} caller{'s' if group['callers'] != 1 else ''} ({group['legitimate']:,} with no finding)  ",
            clean(f"{group['service']} {group['operation']}, {group['caller_class'] or 'nobody known'}"),
            f"  {does}",
        )
    )
    if group["policy"]:
        out.print(Text.assemble("    ", clean(f"{group['kind']} `{group['policy']}`{at}: {group['reason']}")))
    elif group["reason"]:
        out.print(Text.assemble("    ", clean(group["reason"])))
    for example in group["examples"]:
        out.print(Text.assemble("    e.g. ", (example["id"], "bold"), f"  {when(example['time'])}  ", clean(example["caller"])))


def _span(seconds: float) -> str:
    for name, unit in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= unit and not seconds % unit:
            count = int(seconds // unit)
            return f"{count} {name}{'s' if count != 1 else ''}"
    return f"{seconds:g} seconds"
