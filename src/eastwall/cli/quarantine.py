"""`eastwall quarantine add | list | lift`."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from eastwall.cli.client import Client, Refused, data_option, json_option, plain, print_json
from eastwall.cli.duration import Duration
from eastwall.cli.failure import USAGE, Failure
from eastwall.cli.policy_history import who_text
from eastwall.cli.show import clean, printer, table, when


@click.group(short_help="Close operations, services, callers or tools at once.")
def quarantine() -> None:
    """Close operations, services, callers or tools at once, on every engine, until a time or until it is lifted."""


@quarantine.command(short_help="Close something now.")
@click.option("--service", "services", multiple=True, help="Of this service (a glob).")
@click.option("--operation", "operations", multiple=True, help="`METHOD /path`: `* /v1/**`.")
@click.option("--identity", "identities", multiple=True, help="Of this caller, `kind:name` (a glob): `user:mallory`, `agent:*`.")
@click.option("--tool", "tools", multiple=True, help="Calls of this MCP tool (a glob).")
@click.option("--maintenance", multiple=True, help="Who may still enter, `kind:name` (a glob).")
@click.option("--rate", default="", help="How often they may call, e.g. 10/m.")
@click.option("--for", "length", type=Duration(), help="How long; without this, --until and --indefinite: 1h.")
@click.option("--until", default="", help="When it ends, RFC 3339 or a date.")
@click.option("--indefinite", is_flag=True, help="Until it is lifted.")
@click.option("--reason", default="", help="Shown to refused callers and to analysts.")
@click.option("--name", default="", help="What it is called; not given: made from what is closed.")
@data_option
@json_option
def add(
    services: tuple[str, ...],
    operations: tuple[str, ...],
    identities: tuple[str, ...],
    tools: tuple[str, ...],
    maintenance: tuple[str, ...],
    rate: str,
    length: float | None,
    until: str,
    indefinite: bool,
    reason: str,
    name: str,
    data: Path,
    as_json: bool,
) -> None:
    """Close what all the options together name: on every engine within a second, recorded in the audit log.

    Services in discover or monitor mode go on answering; their calls are recorded.
    """
    if (length is not None) + bool(until) + indefinite > 1:
        raise Failure("name one of --for, --until and --indefinite", USAGE)
    scope: dict[str, Any] = {"services": services, "operations": operations}
    if identities:
        scope["identities"] = {"actors": identities}
    spec: dict[str, Any] = {"scope": {key: value for key, value in scope.items() if value}, "tools": tools, "rate": rate}
    spec["reason"] = reason
    if maintenance:
        spec["maintenance"] = {"actors": maintenance}
    if indefinite:
        spec["indefinite"] = True
    else:
        end = datetime.fromtimestamp(time.time() + (length if length is not None else 3600.0), UTC)
        spec["until"] = until or end.strftime("%Y-%m-%dT%H:%M:%SZ")
    spec = {key: value for key, value in spec.items() if value}
    name = name or _name((*services, *operations, *identities, *tools))
    try:
        found = Client(data).send("PUT", f"/quarantine/{Client.quoted(name)}", spec)
    except Refused as refused:
        faults = refused.problem.get("faults")
        if not faults:
            raise
        raise Failure("; ".join(re.sub(r"^.*?:\d+:\d+: ", "", fault["text"]) for fault in faults)) from None
    if as_json:
        print_json(found)
        return
    for note in found["notes"]:
        click.echo(f"note: {plain(note, 300)}", err=True)
    click.echo(
        f"in quarantine {_end(found['spec'])}: `{plain(name, 253)}`; open it with: eastwall quarantine lift {plain(name, 253)}"
    )


@quarantine.command(name="list", short_help="What is closed by hand.")
@data_option
@json_option
def listed(data: Path, as_json: bool) -> None:
    """What was put into quarantine by hand. Policies of kind Quarantine are listed by `eastwall policy show`."""
    found = Client(data).get("/quarantine")
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("nothing is in quarantine")
        return
    rows = table("name", "what", "until", "since", "by", "reason")
    for one in found:
        state = "over" if one["over"] else _end(one["spec"])
        rows.add_row(clean(one["name"]), clean(_what(one["spec"])), state, when(one["since"]), clean(who_text(one["who"])),
                     clean(one["spec"].get("reason", "")))  # fmt: skip
    printer().print(rows)


@quarantine.command(short_help="Open it again.")
@click.argument("name")
@data_option
@json_option
def lift(name: str, data: Path, as_json: bool) -> None:
    """Open what was put into quarantine by hand as NAME."""
    found = Client(data).send("DELETE", f"/quarantine/{Client.quoted(name)}")
    if as_json:
        print_json(found)
        return
    click.echo(f"lifted: `{plain(name, 253)}`")


def _name(parts: tuple[str, ...]) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "-", " ".join(parts)).strip("-").lower()[:60].strip("-")
    return f"{words or 'all'}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}"


def _end(spec: dict[str, Any]) -> str:
    return f"until {spec['until']}" if spec.get("until") else "until it is lifted"


def _what(spec: dict[str, Any]) -> str:
    scope = spec.get("scope", {})
    callers = scope.get("identities", {})
    parts = [*scope.get("services", ()), *scope.get("operations", ()), *(str(one) for named in callers.values() for one in named)]
    return ", ".join([*parts, *spec.get("tools", ())])
