"""`eastwall playbook list | acts | undo`: what acts by itself, what it did, and taking it back."""

from __future__ import annotations

from pathlib import Path

import click
from rich.text import Text

from eastwall.cli.client import Client, data_option, json_option, print_json
from eastwall.cli.show import clean, printer, table, told, when


@click.group(short_help="What acts by itself, what it did; undo.")
def playbook() -> None:
    """What acts by itself when something happens, what it did, and taking that back."""


@playbook.command(name="list", short_help="The applied playbooks.")
@data_option
@json_option
def listed(data: Path, as_json: bool) -> None:
    """The applied playbooks: for how long they act, how often they ran, what of it is in force."""
    found = Client(data, at_rest=True).get("/playbooks")
    if as_json:
        print_json(found)
        return
    out = printer()
    if not found:
        out.print("no playbook is applied")
        return
    rows = table("playbook", "steps", "for", "runs", "in force", "last seen")
    for one in found:
        spec = one["spec"]
        steps = ", ".join(name if value is True else f"{name} {value}" if isinstance(value, str) else name
                          for step in spec["steps"] for name, value in step.items())  # fmt: skip
        name = f"{one['name']}{' (dry run)' if one['dry_run'] else ''}"
        last = when(one["last"]) if one["last"] else "never"
        rows.add_row(clean(name), clean(steps), spec.get("for", "1h"), str(one["runs"]), str(one["in_force"]), last)
    out.print(rows)


@playbook.command(name="acts", short_help="What playbooks did, latest first.")
@data_option
@json_option
def acts(data: Path, as_json: bool) -> None:
    """What playbooks did or, in a dry run, would have done; the latest first, `*` what is in force."""
    found = Client(data, at_rest=True).get("/playbooks/runs")
    if as_json:
        print_json(found)
        return
    out = printer()
    if not found:
        out.print("no playbook ran yet")
    for run in found:
        mark = " " if run["ended"] or run["dry"] else "*"
        out.print(Text.assemble(f"{mark} ", (run["id"], "bold"), f"  {when(run['began'])}  ", clean(run["playbook"]),
                                "  ", clean(run["key"]), "  (dry run)" if run["dry"] else ""))  # fmt: skip
        for step in run["steps"]:
            told(out, clean(step), 4)
        over = f"over since {when(run['ended'])}: {run['why_ended']}" if run["ended"] else f"until {when(run['ends'])}"
        told(out, clean(f"{over}; {run['count']} calls, the latest {', '.join(run['events'][-3:])}"), 4)


@playbook.command(name="undo", short_help="Take back what a run put in force.")
@click.argument("run")
@data_option
@json_option
def undo(run: str, data: Path, as_json: bool) -> None:
    """Take back at once what RUN (its id is in `eastwall playbook acts`) put in force. The audit log records who did it."""
    client = Client(data)
    result = client.send("DELETE", f"/playbooks/runs/{client.quoted(run)}")
    if as_json:
        print_json(result)
        return
    count = len(result["policies"])
    click.echo(f"undone: {result['id']}, {count} {'policy' if count == 1 else 'policies'} taken back")
