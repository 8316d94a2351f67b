"""`eastwall policy effect | rearm`: how policies stand, what they do, and enforcing one again that its guard took back."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from rich.text import Text

from eastwall.cli.client import Client, data_option, json_option, print_json
from eastwall.cli.show import clean, printer, table, told, when


def force_text(one: dict[str, Any]) -> str:
    """How far a policy goes, over the services that it concerns: `enforce`, `enforce 10%`, `monitor (stepped back)`."""
    modes = sorted(set(one["services"].values())) or [one["mode"]]
    said = ", ".join(modes)
    if one["stepped_back"]:
        return f"{said} (stepped back)"
    if one["rollout"] and "enforce" in modes:
        said += f" {one['rollout']['percent']}%"
    return said


def print_effect(found: list[dict[str, Any]]) -> None:
    """The table, and below it why policies have stepped back."""
    out = printer()
    rows = table("policy", "kind", "in force", "matched", "stopped", "would stop")
    for one in found:
        hour = one["last_hour"]
        rows.add_row(
            clean(one["policy"]),
            one["kind"],
            force_text(one),
            f"{hour['matched']:,}",
            f"{hour['stopped']:,}",
            f"{hour['would']:,}",
        )
    out.print(rows)
    out.print(
        "calls of the last hour: those that a policy matched; of these, those that were stopped, and those that would have been"
    )
    for one in found:
        step = one["stepped_back"]
        if step:
            said = f"{one['policy']} stepped back to monitor at {when(step['time'])}: {step['reason']}; last: {', '.join(step['calls'])}"
            told(out, Text.assemble(clean(said)), 0)
            told(
                out, Text.assemble("look into it with `eastwall why`, then `eastwall policy rearm ", clean(one["policy"]), "`"), 0
            )


@click.command(short_help="How policies stand, and what they do.")
@data_option
@json_option
def effect(data: Path, as_json: bool) -> None:
    """Of each policy: how far it goes now (mode, roll-out, stepped back or not), and what it matched and stopped in the last hour."""
    found = Client(data).get("/policy/effect")
    if as_json:
        print_json(found)
        return
    print_effect(found)


@click.command(short_help="Enforce a policy again that stepped back.")
@click.argument("name")
@data_option
@json_option
def rearm(name: str, data: Path, as_json: bool) -> None:
    """Enforce policy NAME again, which its guard took back to monitor. The audit log records who did it."""
    result = Client(data).send("POST", f"/policy/rearm/{quote(name, safe='')}", {})
    if as_json:
        print_json(result)
        return
    click.echo(f"policy {result['policy']} is enforced again, and its guard counts anew")
