"""What is changed by hand: `mode` and `policy`."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from eastwall.cli.client import Client, Refused, data_option, json_option, plain, print_json
from eastwall.cli.failure import NOT_RUNNING, Failure
from eastwall.cli.policies import attachments, end_with_faults, policy_texts
from eastwall.cli.policy_effect import effect, rearm
from eastwall.cli.policy_explain import explain
from eastwall.cli.policy_history import drift, history, origin_text, rollback, show
from eastwall.cli.policy_replay import diff, replay
from eastwall.cli.policy_source import read_source, source_options
from eastwall.cli.policy_suggest import suggest
from eastwall.cli.policy_tests import run_tests
from eastwall.model.call import Mode
from eastwall.model.endpoint import Endpoint
from eastwall.policy import Fault, parse_files
from eastwall.policy import check as check_policies


@click.command(short_help="Set the mode of services.")
@click.argument("mode", type=click.Choice([m.name.lower() for m in Mode]))
@click.option("--service", default="all", show_default=True, help="Of one service.")
@data_option
@json_option
def mode(mode: str, service: str, data: Path, as_json: bool) -> None:
    """Set MODE at once, without a lost connection.

    discover: learn and record. monitor: also record what enforce would do. enforce: verdicts are carried out.
    """
    found = Client(data).send("PUT", f"/services/{service}/mode", {"mode": mode})
    if as_json:
        print_json(found)
        return
    out = Console(highlight=False)
    for s in found:
        out.print(f"{s['name']}: {s['mode']}")


@click.group(short_help="Check, try and apply policies.")
def policy() -> None:
    """Check, try and apply policies."""


def _texts(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Policy files, and the files that they refer to (key sets)."""
    texts = policy_texts(path)
    policies, _ = parse_files(texts)
    return texts, attachments(policies)


def _show(faults: list[dict[str, Any]]) -> None:
    for fault in faults:
        click.echo(fault["text"], err=True)


@policy.command(name="check", short_help="All faults, nothing applied.")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@data_option
@json_option
def check(path: Path, data: Path, as_json: bool) -> None:
    """Check the policies at PATH (a file or a directory): all faults at once, with file and line.

    Against a running Eastwall also services and endpoints are checked, else only what the files themselves say.
    """
    texts, attached = _texts(path)
    try:
        result = Client(data).send("POST", "/policy/check", {"files": texts, "attachments": attached})
    except Failure as failure:
        if failure.exit_code != NOT_RUNNING:
            raise
        result = _check_offline(texts, attached)
    if as_json:
        print_json(result)
    else:
        _show(result["faults"])
    if not result["ok"]:
        raise SystemExit(1)
    if not as_json:
        click.echo(f"{len(texts)} file{'s' if len(texts) != 1 else ''}, no faults{' but warnings' if result['faults'] else ''}")


def _check_offline(texts: dict[str, str], attached: dict[str, str]) -> dict[str, Any]:
    from eastwall import detections
    from eastwall.runtime.policy_store import Applied, compile_applied, with_declared

    policies, faults = parse_files(texts)
    endpoints: Sequence[Endpoint] = ()
    try:
        endpoints = with_declared((), compile_applied(Applied(texts, attached), policies).declared)
    except ValueError as error:
        faults = [*faults, _fault(str(error))]
    # Services are known to a running Eastwall only, and endpoints but for those that are declared: that they are unknown here is no news.
    meta = [d.meta for d in detections.load()]
    known = check_policies(policies, services=(), endpoints=endpoints, detections=meta, now=time.time())
    faults = faults + [fault for fault in known if not fault.warning]
    listed = [{"file": f.file, "line": f.line, "column": f.column, "text": str(f), "warning": f.warning} for f in sorted(faults)]
    return {"ok": all(f["warning"] for f in listed), "faults": listed}


def _fault(text: str) -> Fault:
    """`file:line: what is wrong` as a Fault; a text without a place stays whole."""
    found = re.fullmatch(r"(.+?):(\d+): (.*)", text, re.DOTALL)
    return Fault(found[1], int(found[2]), 1, found[3]) if found else Fault("key sets", 1, 1, text)


@policy.command(name="apply", short_help="Apply in place of what was applied before.")
@click.argument("source")
@source_options
@click.option("--force", is_flag=True, help="Also when they would block most of what callers legitimately do.")
@data_option
@json_option
def apply(
    source: str,
    force: bool,
    ref: str,
    within: str,
    require_signed: bool,
    signers: Path | None,
    keyring: Path | None,
    data: Path,
    as_json: bool,
) -> None:
    """Apply the policies at SOURCE in place of those applied before: all or nothing, on every engine within a second.

    SOURCE is a file or directory, the address of a Git repository (`https://...`, `git@host:team/policies.git`), or a bare repository.
    With --ref or --require-signed what is committed is applied, also of a work tree, not what lies in it.

    Refused, without --force, when more than half of a service's recorded legitimate calls of the last 7 days would be blocked.
    """
    found = read_source(source, ref, within, require_signed, signers, keyring)
    body = {"force": force, "files": found.files, "attachments": found.attachments, "origin": msgspec.to_builtins(found.origin)}
    try:
        result = Client(data).send("PUT", "/policy", body)
    except Refused as refused:
        end_with_faults(refused, as_json=as_json)
    if as_json:
        print_json(result)
        return
    _show(result.get("warnings", []))
    tried = result.get("tried") or {}
    if "fault" in tried:
        click.echo(f"not tried on recorded calls: {plain(tried['fault'], 500)}", err=True)
    elif tried:
        click.echo(_tried(tried), err=True)
    click.echo(f"applied {len(result['policies'])} policies, digest {result['digest']}, snapshot {result['snapshot']}")
    if found.origin.commit:
        click.echo(f"from {plain(origin_text(msgspec.to_builtins(found.origin)), 500)}")


for _command in (show, effect, rearm, history, rollback, drift, suggest, replay, diff, run_tests, explain):
    policy.add_command(_command)


def _tried(tried: dict[str, Any]) -> str:
    if not tried["calls"]:
        return f"no calls were recorded in the last {tried['days']} days: not tried on any"
    return (
        f"tried on {tried['calls']:,} calls of the last {tried['days']} days: {tried['blocked']:,} of {tried['legitimate']:,}"
        " legitimate ones would newly be blocked in enforce mode"
    )
