"""`eastwall policy show | history | rollback | drift`: what is applied, what was, and what a repository says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from eastwall.cli.client import Client, Refused, data_option, json_option, print_json
from eastwall.cli.policies import end_with_faults
from eastwall.cli.policy_effect import print_effect
from eastwall.cli.policy_source import read_source, source_options
from eastwall.cli.show import clean, printer, table, told, when
from eastwall.runtime.policy_sources import difference


def origin_text(origin: dict[str, Any]) -> str:
    """Where a set came from, on one line."""
    said = [origin.get("source", "")]
    if origin.get("path"):
        said.append(origin["path"])
    if origin.get("commit"):
        ref = f"{origin['ref']} " if origin.get("ref") else ""
        said.append(
            f"{ref}{origin['commit'][:12]}{' with changes' if origin.get('changed') else ''} by {origin.get('author', '')}"
        )
    if origin.get("signer"):
        said.append(f"signed by {origin['signer']}")
    return ", ".join(part for part in said if part) or "not told"


def who_text(who: dict[str, Any]) -> str:
    """`alice@host (token)`"""
    return f"{who['name']} ({who['by']})" if who.get("name") else who["by"]


@click.command(short_help="What is applied, from where, by whom.")
@data_option
@json_option
def show(data: Path, as_json: bool) -> None:
    """What is applied: digest, time, who, Git commit, the policies; and which set each engine judges by."""
    client = Client(data)
    found = client.get("/policy")
    status = client.get("/status")
    if as_json:
        engines = {engine["name"]: engine.get("policy", "") for engine in status["engines"] if "policy" in engine}
        print_json(found | {"repository": status["policy"]["repository"], "engines": engines})
        return
    out = printer()
    if not found["digest"]:
        out.print("nothing is applied: only the built-in policy holds")
    else:
        out.print(f"digest     {found['digest']}, {found['act']} at {when(found['applied'])}")
        told(out, Text.assemble("by         ", clean(who_text(found["who"]))), 0)
        told(out, Text.assemble("from       ", clean(origin_text(found["origin"]))), 0)
    behind = [e["name"] for e in status["engines"] if e.get("alive") and e.get("policy", found["digest"]) != found["digest"]]
    out.print(f"engines    {'all judge by it' if not behind else 'not yet: ' + ', '.join(behind)}")
    repository = status["policy"]["repository"]
    if repository is not None:
        state = repository["fault"] or ("in step" if repository["in_step"] else "not in step: `eastwall policy drift`")
        told(
            out,
            Text.assemble(
                "watched    ",
                clean(f"{' '.join(repository[name] for name in ('source', 'ref', 'path') if repository[name])}: {state}"),
            ),
            0,
        )
    rows = table("policy", "kind", "at")
    for one in found["policies"]:
        rows.add_row(clean(one["name"]), one["kind"], clean(one["location"]))
    out.print()
    out.print(rows)
    out.print()
    print_effect(client.get("/policy/effect"))


@click.command(short_help="Every applied set: when, who, what changed.")
@data_option
@json_option
def history(data: Path, as_json: bool) -> None:
    """Every applied set that is kept, the latest first: when, who, from which commit, how many policies, what changed.

    The audit log (`eastwall audit log`) holds all of them, also those whose files are no longer kept.
    """
    found = Client(data, at_rest=True).get("/policy/history")
    if as_json:
        print_json(found)
        return
    out = printer()
    if not found:
        out.print("nothing was applied yet")
    for past in found:
        mark = "* " if past["current"] else "  "
        out.print(
            f"{mark}[bold]{past['digest']}[/]  {when(past['time'])}  {past['act']}, {past['count']} policies", soft_wrap=True
        )
        told(out, Text.assemble("by ", clean(who_text(past["who"])), "; from ", clean(origin_text(past["origin"]))), 4)
        told(out, clean(past["change_text"]), 4)


@click.command(short_help="Apply an earlier set again.", context_settings={"ignore_unknown_options": True})
@click.argument("to", default="-1")
@data_option
@json_option
def rollback(to: str, data: Path, as_json: bool) -> None:
    """Apply an earlier set again: TO is its digest (or the beginning of it), or -1 for the set before the present one, -2, ...

    It is checked against services and endpoints of today first. The audit log records who did it.
    """
    try:
        result = Client(data).send("POST", "/policy/rollback", {"to": to})
    except Refused as refused:
        end_with_faults(refused, as_json=as_json)
    if as_json:
        print_json(result)
        return
    click.echo(f"rolled back to {result['digest']}: {len(result['policies'])} policies, snapshot {result['snapshot']}")


@click.command(short_help="Applied against repository or directory.")
@click.argument("source", default="")
@source_options
@data_option
@json_option
def drift(
    source: str,
    ref: str,
    within: str,
    require_signed: bool,
    signers: Path | None,
    keyring: Path | None,
    data: Path,
    as_json: bool,
) -> None:
    """Files that applying SOURCE would add (+), change (~) and remove (-). Without SOURCE: the repository that is watched.

    Exit code 1 when there are any.
    """
    client = Client(data, at_rest=True)
    if source:
        there = read_source(source, ref, within, require_signed, signers, keyring)
        applied = client.get("/policy")
        found = difference(applied["files"], applied["origin"].get("base", ""), there.files, there.origin.base)
        result: dict[str, Any] = {
            "applied": {"digest": applied["digest"], "act": applied["act"], "who": applied["who"], "applied": applied["applied"]},
            "difference": {"added": found.added, "changed": found.changed, "removed": found.removed},
            "drifted": bool(found),
            "by_hand": False,
            "fault": "",
        }
    else:
        result = client.get("/policy/drift")
    if as_json:
        print_json(result)
    else:
        _show_drift(result)
    if result["drifted"]:
        raise SystemExit(1)


def _show_drift(result: dict[str, Any]) -> None:
    out = printer()
    for mark, names in zip("+~-", result["difference"].values(), strict=True):
        for name in names:
            out.print(Text.assemble(f"{mark} ", clean(name)))
    applied = result["applied"]
    if result["by_hand"]:
        said = f"applied by hand since: {applied['digest']} at {when(applied['applied'])} by {who_text(applied['who'])}"
        told(out, clean(said), 0)
    if result["fault"]:
        told(out, clean(result["fault"]), 0)
    if not result["drifted"]:
        out.print("no drift: what is applied is what is there")
