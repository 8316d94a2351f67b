"""`eastwall policy explain`: which policies are asked about a call, in which order, and what comes of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.text import Text

from eastwall.cli.client import Client, data_option, json_option, print_json
from eastwall.cli.failure import NOT_FOUND, Failure
from eastwall.cli.policies import read_policies
from eastwall.cli.policy_replay import Api
from eastwall.cli.show import clean, printer
from eastwall.model.record import CallRecord
from eastwall.policy import explain as explain_verdict
from eastwall.policy.explain import held, named

SAYS = {True: ("applies", "green"), False: ("does not apply", "dim"), None: ("cannot be told", "yellow")}


@click.command(short_help="Which policies are asked about a call, in which order, and why.")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.argument("call")
@click.option("--service", default="", help="Service of an operation.")
@click.option("--caller", default="", metavar="KIND:NAME", help="Who calls an operation [default: somebody unknown].")
@click.option("--role", "roles", multiple=True, help="A role of the caller; several times for several.")
@click.option("--tenant", default="", help="Tenant of the caller.")
@data_option
@json_option
def explain(
    path: Path, call: str, service: str, caller: str, roles: tuple[str, ...], tenant: str, data: Path, as_json: bool
) -> None:
    """Which policies at PATH are asked about CALL, in the order in which they are asked, and which decides.

    CALL is the event id of a recorded call, or an operation with a path, `GET /orders/17`, with --service and --caller. Judged as if all were
    in enforce; limits as if it were the first call. What is not known (bodies, headers) is said to be so.
    """
    from eastwall.discovery.inventory import compile_inventory
    from eastwall.policy.recorded import Identities, UnrecordedError, read_record
    from eastwall.policy.tracing import trace, verdicts
    from eastwall.runtime.policy_replay import World, judge

    policies, _ = read_policies(path)
    method, space, target = call.partition(" ")
    if space:
        record, world = _made_up(method, target.strip(), service, caller, roles, tenant), World()
    else:
        record, world = _recorded(Client(data, at_rest=True), call)
    plan = judge(policies, (*world.services, *_scope(record.service, world)), enforced=True).plan
    read = read_record(record, compile_inventory(world.endpoints), Identities())
    asked = trace(plan, read)
    try:
        lines = [line for one in verdicts(plan, read) for line in explain_verdict(one)]
    except UnrecordedError as error:
        lines = [f"what would be done cannot be told: {error}"]
    if as_json:
        print_json({"asked": [msgspec.to_builtins(one) for one in asked], "explanation": lines})
        return
    out = printer()
    for number, one in enumerate(asked, 1):
        word, style = SAYS[one.applies]
        what = named(one.kind, one.policy, one.location) + held(one.mode)
        out.print(Text.assemble(f"{number:>3}  {one.step}: ", clean(f"{what}  "), (word, style),
                                clean(f": {one.why}" if one.why else "")))  # fmt: skip
    if not asked:
        out.print("no policy has this call in its scope")
    out.print("")
    for line in lines:
        out.print(clean(line))


def _scope(service: str, world: Any) -> tuple[Any, ...]:
    from eastwall.model.snapshot import ServiceScope

    return () if any(one.name == service for one in world.services) else (ServiceScope(service),)


def _recorded(client: Client, event: str) -> tuple[CallRecord, Any]:
    from eastwall.runtime.policy_replay import World, records

    if not event.isalnum() or len(event) > 64:
        raise Failure(f"`{event[:64]}` is neither an event id nor an operation such as `GET /orders/17`", NOT_FOUND)
    at, lake = float(client.get(f"/calls/{event}")["time"]), Api(client)
    found = next((one for one in records(lake, at - 0.001, at + 0.001) if one.id == event), None)
    if found is None:
        raise Failure(f"the call `{event}` is not stored yet; try again in a second", NOT_FOUND)
    return found, msgspec.convert(lake.extent(at, at)["world"], World)


def _made_up(method: str, target: str, service: str, caller: str, roles: tuple[str, ...], tenant: str) -> CallRecord:
    if not target.startswith("/") or not method.isalpha():
        raise click.UsageError(f"`{method} {target}` is no operation: write e.g. `GET /orders/17`")
    if not service:
        raise click.UsageError("say of which --service the operation is")
    caller = caller or "address:127.0.0.1"
    kind, _, name = caller.partition(":")
    if kind not in ("user", "agent", "workload", "client", "key", "address") or not name:
        raise click.UsageError(f"`{caller}` is not KIND:NAME, e.g. `user:alice`")
    strength = 0 if kind == "address" else 3
    path, _, query = target.partition("?")
    return CallRecord(
        1, "explained", time.time(), service, method.upper(), path, "", 200, 0, 0, 0, "127.0.0.1",
        actor=caller,
        actor_kind=kind,
        actor_class="anonymous" if kind == "address" else "+".join((kind, *sorted(roles))),
        strength=strength,
        principals=(caller,),
        strengths=(strength,),
        roles=roles,
        tenant=tenant,
        human=caller if kind == "user" else "",
        agent=caller if kind == "agent" else "",
        caller=name if kind == "workload" else "",
        body_kind="none" if method.upper() in ("GET", "HEAD") else "json",
        query_names=tuple(part.partition("=")[0] for part in query.split("&") if part),
    )  # fmt: skip
