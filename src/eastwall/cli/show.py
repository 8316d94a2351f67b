"""What runs and what was found: `status`, `findings`, `why`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eastwall.cli.client import Client, data_option, json_option, print_json
from eastwall.cli.failure import NOT_FOUND, Failure
from eastwall.model.event_id import named

SEVERITY_STYLE = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan", "info": "dim"}
ACTION_STYLE = {"block": "bold red", "limit": "magenta", "redact": "yellow", "allow": "green"}


def when(seconds: float) -> str:
    """Local time of a Unix time, to the second."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clean(text: object) -> Text:
    """Text from traffic: control characters (terminal escapes) made visible, markup not interpreted."""
    return Text("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)))


def printer() -> Console:
    """A console as wide as the terminal; into a file or a pipe, as wide as it needs."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=400)


NARROW = 110
"""Terminals of fewer columns are shown less of each item in a line, or more lines."""
RIGHT = ("calls", "callers seen", "endpoints", "identified", "risk", "sure", "operations")
WHOLE = (*RIGHT, "time", "last seen", "severity", "strength", "mode", "fail", "event")


def table(*columns: str) -> Table:
    """Numbers, times and ids stay whole; the other columns share what is left of the terminal and go on in the next line."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(
            column,
            justify="right" if column in RIGHT else "left",
            overflow="fold",
            no_wrap=column in WHOLE,
            min_width=len(column),
        )
    return shown


def told(out: Console, text: Text, indent: int = 2) -> None:
    """A line of text whose continuations stay below its beginning."""
    out.print(Padding(text, (0, 0, 0, indent), expand=False))


@click.command(short_help="What runs, what was seen, what was not inspected.")
@data_option
@json_option
def status(data: Path, as_json: bool) -> None:
    """What runs, what was seen, and, loudly, what was not inspected."""
    found = Client(data).get("/status")
    if as_json:
        print_json(found)
        return
    out = printer()
    services = table("service", "mode", "fail", "endpoints", "calls")
    for s in found["services"]:
        services.add_row(s["name"], s["mode"], s["fail"], str(s["endpoints"]), f"{s['calls']:,}")
    out.print(services)
    lake, learner, spool = found["lake"], found["learner"], found["spool"]
    out.print(
        f"\nrecorded   {lake['calls']:,} calls, {lake['findings']:,} findings, {lake['blocked']:,} blocked, {lake['redacted']:,} redacted"
    )
    out.print(
        f"learned    {learner['learned']} endpoints, {learner['learning']} still learning; snapshot {found['snapshot']['version']}"
    )
    out.print(f"spool      {spool['pending_bytes']:,} bytes waiting, {spool['lost_records']:,} records lost")
    for engine in found["engines"]:
        alive = "[green]alive[/]" if engine["alive"] else f"[bold red]silent for {engine['age']} s[/]"
        out.print(f"engine {engine['name']}   {alive}, {engine['calls']:,} calls, snapshot {engine['snapshot']}")
    uninspected = found["uninspected"]
    if uninspected["total"]:
        out.print("\n[bold yellow]NOT INSPECTED (wholly)[/]")
        for reason, count in uninspected["by_reason"].items():
            out.print(f"  {count:>8,}  {escape(reason)}")
    else:
        out.print("\nnot inspected: 0")
    for service, policies in found["envoy"].get("refused", {}).items():
        for name, count in policies.items():
            out.print(f"refused by Envoy itself   {count:,} calls of {escape(service)}, policy {escape(name)}")
    for part, fault in found["faults"].items():
        out.print(f"[bold red]{part}:[/] {escape(fault)}")


@click.command(short_help="What is wrong, newest first.")
@click.option("--service", default="", help="Of one service.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@data_option
@json_option
def findings(service: str, limit: int, data: Path, as_json: bool) -> None:
    """What is wrong, newest first."""
    found = Client(data).get("/findings", service=service, limit=limit)
    if as_json:
        print_json(found)
        return
    out = printer()
    if not found:
        out.print("no findings")
        return
    shown = table("time", "severity", "finding", "operation", "actor", "done", "event")
    for f in found:
        done = f["action"] if f["action"] == f["would"] else f"{f['action']} (would {f['would']})"
        row = (Text(when(f["time"])), Text(f["severity"], SEVERITY_STYLE.get(f["severity"], "")), Text(f["id"]),
               clean(f"{f['service']} {f['method']} {f['template'] or f['path']}"), clean(f["actor"]),
               Text(done, ACTION_STYLE.get(f["action"], "")), Text(f["call"]))  # fmt: skip
        if out.width < NARROW:
            time, severity, name, operation, actor, action, event = row
            told(out, Text("  ").join((time, severity, name, action)), 0)
            told(out, Text("  ").join((operation, actor, event)), 21)
        else:
            shown.add_row(*row)
    if out.width >= NARROW:
        out.print(shown)


@click.command(short_help="Everything about one call.")
@click.argument("event_id")
@data_option
@json_option
def why(event_id: str, data: Path, as_json: bool) -> None:
    """Everything about the call EVENT_ID: who, what, which facts, which policy at which line, what would have made it pass."""
    event_id = named(event_id)
    if not event_id.isalnum() or len(event_id) > 64:
        raise Failure(f"`{event_id}` is no event id; they are 26 letters and digits, e.g. in the block response", NOT_FOUND)
    found = Client(data).get(f"/calls/{event_id}")
    if as_json:
        print_json(found)
        return
    print_why(found, printer())


def print_why(call: dict[str, Any], out: Console) -> None:
    """The story of one call."""
    action = call["action"]
    out.print(
        Text.assemble((f"{action.upper()} ", ACTION_STYLE.get(action, "")), (call["id"], "bold"), f"  {when(call['time'])}")
    )
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    grid.add_row("call", clean(f"{call['method']} {call['path']} of {call['service']} -> {call['status'] or 'no answer'}"))
    grid.add_row("endpoint", clean(call["template"] or "not known at that time"))
    strength = ("nobody said who", "guessed", "asserted", "verified")[call["strength"]]
    if call["engine"] == "envoy" and not call["actor"]:
        strength = "not looked at: Envoy refused it by itself"
    grid.add_row(
        "who", clean(f"{call['actor'] or 'unknown'} ({strength}; class {call['actor_class'] or '-'}) from {call['source']}")
    )
    for principal in call["principals"][1:]:
        grid.add_row("", clean(f"and {principal}"))
    for fault in call["identity_faults"]:
        grid.add_row("credentials", clean(fault))
    grid.add_row(
        "took", f"{call['duration_us'] / 1000:.1f} ms, of which deciding {call['decide_us']} us; snapshot {call['snapshot']}"
    )
    out.print(grid)
    for f in call["findings"]:
        out.print(Text.assemble("\nfinding   ", (f["id"], SEVERITY_STYLE.get(f["severity"], "")),
                                f"  {', '.join([f['severity'], f['confidence'] + ' confidence', *f['owasp']])}"))  # fmt: skip
        out.print(Text.assemble("  ", clean(f["message"])))
        if f["evidence"]:
            out.print(Text.assemble("  evidence at ", (f["where"], "cyan"), ": ", clean(f["evidence"])))
    out.print("")
    for number, line in enumerate(call["explanation"]):
        # The finding has just been told; its words need not come twice.
        told = next((f["message"] for f in call["findings"] if f": {f['message']}" in line), "")
        out.print(Text.assemble(clean(line.replace(f": {told}", "") if told else line), style="bold" if number == 0 else ""))
    if call["data"]:
        classes = ", ".join(sorted({f"{d['data_class']} at {d['place']} ({d['masked']})" for d in call["data"]}))
        out.print(Text.assemble("\ndata      ", clean(classes)))
    if call["uninspected"]:
        out.print(f"\n[bold yellow]not inspected[/] {escape(', '.join(call['uninspected']))}")
    if not call["findings"]:
        out.print("no detection had anything to say about it")
