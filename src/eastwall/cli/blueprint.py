"""`graph`, `paths`, `data`, `identities`, `changes`: who calls what, what it carries, and where that leads an attacker."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.text import Text

from eastwall.cli.apis import write
from eastwall.cli.client import Client, data_option, json_option, plain, print_json
from eastwall.cli.duration import Duration
from eastwall.cli.failure import NOT_FOUND, Failure
from eastwall.cli.show import NARROW, clean, printer, table, told, when

KINDS = ("user", "agent", "workload", "client", "key", "address")


@click.group()
def graph() -> None:
    """The graph of identities, services, operations, data classes and third parties."""


@graph.command("export", short_help="The graph for other tools.")
@click.option(
    "--format", "form", type=click.Choice(["dot", "json", "graphml"]), default="json", show_default=True, help="What to write."
)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="File to write; standard output otherwise.")
@data_option
def graph_export(form: str, output: Path | None, data: Path) -> None:
    """The graph for Graphviz (`dot`), for programs (`json`), or for Gephi, yEd and networkx (`graphml`)."""
    write(output, Client(data, at_rest=True).text("/graph", format=form))


@click.command(short_help="Attack paths, worst first.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@data_option
@json_option
def paths(limit: int, data: Path, as_json: bool) -> None:
    """Ways from where an attacker can stand (the internet, an agent) to sensitive data and admin operations, worst first, each with the
    edge whose removal cuts most at the least cost."""
    found = Client(data, at_rest=True).get("/paths", limit=limit)
    if as_json:
        print_json(found)
        return
    out = printer()
    if not found:
        out.print("no attack path: nothing sensitive is reached from the internet or by an agent, as far as was seen")
        return
    for number, path in enumerate(found, 1):
        told(
            out,
            Text.assemble((f"{number:>3}. ", "dim"), (f"{path['score']:.0f}  ", "bold"), clean("  →  ".join(path["labels"]))),
            0,
        )
        for reason in path["reasons"]:
            told(out, clean(reason), 7)
        if path["advice"]:
            told(out, Text.assemble(("cut  ", "green"), clean(path["advice"])), 7)


@click.command(short_help="Where sensitive data flows.")
@click.argument("data_class", required=False, default="")
@data_option
@json_option
def data(data_class: str, data: Path, as_json: bool) -> None:
    """Where sensitive data flows: which operation takes or gives it, at which place, to whom. DATA_CLASS narrows: pan, email ..."""
    found = Client(data, at_rest=True).get("/data", **{"class": data_class})
    if as_json:
        print_json(found)
        return
    out = printer()
    if not found:
        out.print(f"no `{clean(data_class).plain}` seen" if data_class else "no sensitive data seen yet")
        return
    shown = table("class", "direction", "operation", "place", "sure", "callers")
    for flow in found:
        callers = ", ".join(f"{caller} ({calls:,})" for caller, calls in flow["callers"][:4])
        more = f", {len(flow['callers']) - 4} more" if len(flow["callers"]) > 4 else ""
        direction = flow["direction"] + (" to a third party" if flow["egress"] else "")
        shown.add_row(clean(flow["data_class"]), direction, clean(f"{flow['service']} {flow['method']} {flow['template']} {flow['operation']}".rstrip()),
                      clean(flow["place"]), f"{flow['confidence']:.0%}", clean(callers + more))  # fmt: skip
    out.print(shown)


@click.command(short_help="Who calls.")
@click.argument("actor", required=False, default="")
@click.option("--kind", type=click.Choice(KINDS), metavar="KIND", help=f"Only of one kind: {', '.join(KINDS)}.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@data_option
@json_option
def identities(actor: str, kind: str | None, limit: int, data: Path, as_json: bool) -> None:
    """Who calls, most calls first; with ACTOR (`user:alice`) everything that identity does."""
    client = Client(data, at_rest=True)
    if actor:
        one = client.get(f"/identities/{client.quoted(actor)}")
        if as_json:
            print_json(one)
            return
        out = printer()
        strength = ("nobody said who", "guessed", "asserted", "verified")[one["strength"]]
        out.print(Text.assemble(clean(one["actor"]), f"  {strength}, class ", clean(one["cls"])), style="bold")
        out.print(
            f"{one['calls']:,} calls from {one['sources']} addresses, {when(one['first_seen'])} to {when(one['last_seen'])}"
        )
        for title, names in (
            ("services", one["services"]),
            ("data given", one["data_classes"]),
            ("agents", one["agents"]),
            ("credentials", one["faults"]),
        ):
            if names:
                out.print(Text.assemble((f"{title}  ", "dim"), clean(", ".join(names))))
        shown = table("calls", "operation")
        for operation in one["operations"]:
            shown.add_row(f"{operation['calls']:,}", clean(operation["title"]))
        out.print(shown)
        return
    found = client.get("/identities", kind=kind, limit=limit)
    if as_json:
        print_json(found)
        return
    out = printer()
    if not found:
        out.print(f"no {kind} called yet" if kind else "nobody called yet")
        return
    wide = out.width >= NARROW
    shown = table("actor", "class", *(("strength", "calls", "operations", "data") if wide else ("calls",)), "last seen")
    for who in found:
        strength = ("none", "guessed", "asserted", "verified")[who["strength"]]
        calls = f"{who['calls']:,}"
        more = (strength, calls, str(len(who["operations"])), clean(", ".join(who["data_classes"]))) if wide else (calls,)
        shown.add_row(clean(who["actor"]), clean(who["cls"]), *more, when(who["last_seen"]))
    out.print(shown)


@click.command(short_help="What is new, changed or gone.")
@click.option("--since", type=Duration(), default="24h", show_default=True, help="So long ago: 90m, 24h, 7d.")
@click.option("--service", default="", help="Of one service.")
@data_option
@json_option
def changes(since: float, service: str, data: Path, as_json: bool) -> None:
    """What is new, changed or gone, newest first."""
    client = Client(data, at_rest=True)
    found = client.get("/changes", since=time.time() - since, service=service)
    if not found and service and service not in {s["name"] for s in client.get("/services")}:
        raise Failure(f"there is no service `{plain(service)}`", NOT_FOUND)
    if as_json:
        print_json(found)
        return
    out = printer()
    if not found:
        out.print("nothing changed")
        return
    shown = table("time", "what", "operation", "detail")
    for change in found:
        shown.add_row(
            when(change["time"]),
            change["kind"],
            clean(f"{change['service']} {change['method']} {change['template']} {change['operation']}".rstrip()),
            clean(change["detail"]),
        )
    out.print(shown)
