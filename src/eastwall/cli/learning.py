"""What is believed of what was learned: `baselines`, and `feedback`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from eastwall.cli.client import Client, data_option, json_option, print_json
from eastwall.cli.failure import NOT_FOUND, Failure
from eastwall.cli.show import clean, printer, table, told, when


class _ListFirst(click.Group):
    """A group that lists when no command is given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListFirst, short_help="Baselines that calls are judged by, and what waits to change them.")
def baselines() -> None:
    """Baselines that calls are judged by, and what waits to change them. Without a command: `list`.

    What loosens a learned operation (a property, a function, a range more) waits as a candidate until its callers agree.
    """


@baselines.command(name="list", short_help="Versions, and candidates that wait.")
@click.option("--service", default="", help="Of one service.")
@data_option
@json_option
def list_(service: str, data: Path, as_json: bool) -> None:
    """Versions, and candidates that wait, with their evidence and what they wait for."""
    found = Client(data, at_rest=True).get("/baselines", service=service)
    if as_json:
        print_json(found)
        return
    out = printer()
    if not found["services"]:
        out.print("no operation is learned yet")
        return
    shown = table("service", "version", "operations", "models", "candidates", "state")
    for s in found["services"]:
        state = f"pinned to version {s['pinned']}" if s["pinned"] else f"deploy at {when(s['deployed'])}" if s["deployed"] else ""
        shown.add_row(clean(s["service"]), str(s["version"]), str(s["operations"]), _held(s["held"]), str(s["candidates"]), state)
    out.print(shown)
    heading = ""
    for c in sorted(found["candidates"], key=lambda one: one["model"]):
        if c["model"] != heading:
            heading = c["model"]
            out.print(clean(f"model {heading}"), style="bold")
        out.print(Text.assemble("\n", (c["id"], "cyan"), f"  {c['state']}  ", clean(f"{c['service']}: {c['what']}")))
        told(out, clean(f"was: {c['was']}; would be: {c['would']}"))
        told(out, clean(c["why"]))
    if found["candidates"]:
        out.print("\n`eastwall baselines promote ID` takes one in, `reject ID` keeps it out")


def _held(held: dict[str, int]) -> Text:
    """What is held of each model's knowledge: `values 12, volumes 40`."""
    return clean(", ".join(f"{model} {count:,}" for model, count in held.items()))


@baselines.command(short_help="What changed, version by version.")
@click.argument("service")
@data_option
@json_option
def diff(service: str, data: Path, as_json: bool) -> None:
    """What was promoted, rejected and rolled back in SERVICE: what was, what is, on which evidence. One list per model; what holds for all
    services has the name `*`."""
    found = Client(data, at_rest=True).get(f"/baselines/{Client.quoted(service)}")
    if as_json:
        print_json(found)
        return
    out = printer()
    if not found["acts"]:
        out.print(f"version {found['version']}: nothing was changed since it was first learned")
    for act in found["acts"]:
        _show_act(out, act)


def _show_act(out: Console, act: dict[str, Any]) -> None:
    by = f" by {act['by']}" if act["by"] else ""
    reason = f": {act['reason']}" if act["reason"] else ""
    out.print(Text.assemble(f"version {act['version']}  {when(act['time'])}  ", (act["kind"], "bold"), clean(f"{by}{reason}")))
    models = [step["cls"] if step["aspect"] == "model" else "" for step in act["steps"]]
    models += [""] * (len(act["lines"]) - len(models))
    heading = ""
    for model, line in sorted(zip(models, act["lines"], strict=False), key=lambda one: one[0]):
        if model != heading:
            heading = model
            out.print(clean(f"  model {model}"), style="bold")
        told(out, clean(line.replace(f"{model}: ", "", 1) if model else line))


def _done(act: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(act)
    else:
        _show_act(printer(), act)


@baselines.command(short_help="Take a candidate in by hand.")
@click.argument("candidate", metavar="ID")
@data_option
@json_option
def promote(candidate: str, data: Path, as_json: bool) -> None:
    """Take the candidate ID in, whether its callers agree or not."""
    _done(Client(data, at_rest=True).send("POST", f"/baselines/candidates/{Client.quoted(candidate)}/promote"), as_json=as_json)


@baselines.command(short_help="Keep a candidate out.")
@click.argument("candidate", metavar="ID")
@data_option
@json_option
def reject(candidate: str, data: Path, as_json: bool) -> None:
    """Never take the candidate ID in by agreement; `promote` still does."""
    _done(Client(data, at_rest=True).send("POST", f"/baselines/candidates/{Client.quoted(candidate)}/reject"), as_json=as_json)


@baselines.command(short_help="Go back to an earlier version, and pin it.")
@click.argument("service")
@click.argument("version", type=click.IntRange(1))
@data_option
@json_option
def rollback(service: str, version: int, data: Path, as_json: bool) -> None:
    """Undo what was promoted in SERVICE after VERSION. It is pinned: nothing is promoted by agreement until `unpin` or a deploy."""
    _done(
        Client(data, at_rest=True).send("POST", f"/baselines/{Client.quoted(service)}/rollback", {"version": version}),
        as_json=as_json,
    )


@baselines.command(short_help="End a pin.")
@click.argument("service")
@data_option
@json_option
def unpin(service: str, data: Path, as_json: bool) -> None:
    """Let candidates of SERVICE be promoted by agreement again."""
    _done(Client(data, at_rest=True).send("POST", f"/baselines/{Client.quoted(service)}/unpin"), as_json=as_json)


@baselines.command(short_help="Say that a release begins.")
@click.argument("service")
@click.argument("reason", metavar="VERSION")
@data_option
@json_option
def deploy(service: str, reason: str, data: Path, as_json: bool) -> None:
    """Say that the release VERSION of SERVICE begins: what its callers agree on is promoted within a minute. For pipelines."""
    _done(
        Client(data, at_rest=True).send("POST", f"/baselines/{Client.quoted(service)}/deploy", {"reason": reason}),
        as_json=as_json,
    )


class _Feedback(_ListFirst):
    """`feedback EVENT fine|attack`, beside the commands."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            return "say", self.commands["say"], args
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Feedback, short_help="Say that a call was fine, or an attack.", subcommand_metavar="EVENT fine|attack | COMMAND ..."
)
def feedback() -> None:
    """Say that the call EVENT was fine, or an attack; or list what was said, or undo it.

    fine: its findings, at this operation and place and for this class of callers, are told with low confidence for 30 days, and the call
    teaches. attack: its actor's calls an hour before and after teach nothing. Both can be undone.
    """


@feedback.command(name="say", short_help="Say that a call was fine, or an attack.")
@click.argument("event")
@click.argument("judgement", type=click.Choice(["fine", "attack"]))
@click.option("--note", default="", help="Why, for those who read it later.")
@click.option(
    "--days", type=click.FloatRange(0, 366, min_open=True), default=30.0, show_default=True, help="For how long `fine` holds."
)
@click.option(
    "--window",
    type=click.FloatRange(0, 30 * 86_400),
    default=3_600.0,
    show_default=True,
    help="Seconds around an attack that do not teach.",
)
@data_option
@json_option
def say(event: str, judgement: str, note: str, days: float, window: float, data: Path, as_json: bool) -> None:
    """Say that the call EVENT was fine, or an attack."""
    body = {"judgement": judgement, "note": note, "days": days, "window": window}
    found = Client(data, at_rest=True).send("POST", f"/calls/{Client.quoted(event)}/feedback", body)
    if as_json:
        print_json(found)
        return
    out = printer()
    out.print(clean(found["said"]), soft_wrap=True)
    out.print(f"{found['state']}; `eastwall feedback undo {found['id']}` takes it back")


@feedback.command(name="list", short_help="What was said, newest first.")
@data_option
@json_option
def list_said(data: Path, as_json: bool) -> None:
    """What was said of calls, newest first."""
    found = Client(data, at_rest=True).get("/feedback")
    if as_json:
        print_json(found)
        return
    out = printer()
    if not found:
        out.print("nothing was said of any call")
    for f in found:
        out.print(Text.assemble((f["id"], "cyan"), f"  {when(f['time'])}  {f['kind']}  {f['state']}  call {f['event']}"))
        told(out, clean(f["said"]))
        if f["note"]:
            told(out, clean(f"note: {f['note']}"))


@feedback.command(short_help="Take a judgement back.")
@click.argument("identity", metavar="ID")
@data_option
@json_option
def undo(identity: str, data: Path, as_json: bool) -> None:
    """Take the judgement ID back: what was learned is built anew without it."""
    found = Client(data, at_rest=True).send("DELETE", f"/feedback/{Client.quoted(identity)}")
    if found is None:
        raise Failure(f"there is no judgement `{identity}`", NOT_FOUND)
    if as_json:
        print_json(found)
    else:
        printer().print(f"{found['state']}: ", clean(found["said"]), sep="", soft_wrap=True)
