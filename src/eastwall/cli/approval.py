"""`eastwall approval list | grant | deny`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eastwall.cli.client import Client, data_option, json_option, plain, print_json
from eastwall.cli.duration import Duration
from eastwall.cli.policy_history import who_text
from eastwall.cli.show import clean, printer, table, when


@click.group(short_help="Approve tool calls of agents that wait for it.")
def approval() -> None:
    """Approve tool calls of agents that wait for it, or refuse them."""


@approval.command(name="list", short_help="What waits, and what was said.")
@data_option
@json_option
def listed(data: Path, as_json: bool) -> None:
    """Calls of tools that wait for approval, and what was said in the last day."""
    found = Client(data).get("/approvals")
    if as_json:
        print_json(found)
        return
    out = printer()
    if not found["waiting"]:
        out.print("nothing waits for approval")
    else:
        rows = table("id", "tool", "arguments", "caller", "times", "last", "why")
        for one in found["waiting"]:
            rows.add_row(one["id"], clean(f"{one['service']} {one['tool']}"), clean(_arguments(one)), clean(_caller(one)), str(one["times"]),
                         when(one["time"]), clean(one["why"]))  # fmt: skip
        out.print(rows)
    if found["given"]:
        rows = table("id", "tool", "caller", "state", "until", "by")
        for one in found["given"]:
            rows.add_row(one["id"], clean(f"{one['service']} {one['tool']}"), clean(_caller(one)), _state(one), when(one["until"]),
                         clean(who_text(one["who"])))  # fmt: skip
        out.print(rows)


@approval.command(short_help="Let a call that waits through.")
@click.argument("name", metavar="ID")
@click.option(
    "--for", "length", type=Duration(), help="Any number of the same call for so long; without this: one, within 15 minutes."
)
@data_option
@json_option
def grant(name: str, length: float | None, data: Path, as_json: bool) -> None:
    """Let the call that was refused with ID through when it is made again: by the same caller, of the same tool, with the same arguments."""
    _decide(name, "grant", length, data, as_json)


@approval.command(short_help="Refuse a call that waits.")
@click.argument("name", metavar="ID")
@click.option("--for", "length", type=Duration(), help="How long; without this: 1h.")
@data_option
@json_option
def deny(name: str, length: float | None, data: Path, as_json: bool) -> None:
    """Refuse the call: whoever makes it again within that time is told so, and it waits no more."""
    _decide(name, "deny", length, data, as_json)


def _decide(name: str, decision: str, length: float | None, data: Path, as_json: bool) -> None:
    body = {"decision": decision, **({"seconds": length} if length is not None else {})}
    found = Client(data).send("PUT", f"/approvals/{Client.quoted(name)}", body)
    if as_json:
        print_json(found)
        return
    what = f"{plain(found['service'], 80)} {plain(found['tool'], 80)} for {plain(_caller(found), 160)}"
    until = f"until {when(found['until'])}"
    if decision == "deny":
        click.echo(f"refused {until}: {what}")
    else:
        click.echo(f"approved {'once, ' if found['once'] else ''}{until}: {what}")


def _caller(one: dict[str, Any]) -> str:
    actor, agent = str(one["actor"]), str(one["agent"])
    return f"{actor} by {agent}" if agent and agent != actor else actor


def _arguments(one: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in one["arguments"].items()) or "(not shown)"


def _state(one: dict[str, Any]) -> str:
    return f"{one['state']}, once" if one["once"] and one["state"] == "granted" else str(one["state"])
