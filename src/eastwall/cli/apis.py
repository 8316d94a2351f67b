"""`eastwall apis`: the inventory as a tree, one API whole, exports, and a specification against what was seen."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eastwall.cli.client import Client, data_option, json_option, plain, print_json
from eastwall.cli.duration import Duration
from eastwall.cli.failure import NOT_FOUND, USAGE, Failure
from eastwall.cli.show import NARROW, clean, printer, table, told, when

STATE_STYLE = {"shadow": "bold red", "zombie": "red", "ghost": "yellow", "managed": "green", "observed": ""}
STATES = ("managed", "observed", "shadow", "ghost", "zombie")
FLAGS = (
    "orphan", "deprecated", "old-version", "weaker-version", "internet-facing", "agent-reachable", "third-party", "vanished", "new", "unauthenticated",
    "non-production", "admin", "missing-authentication",
)  # fmt: skip
RISK_STYLE = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "dim"}
SEVERITY_ORDER = ("info", "low", "medium", "high")
CSV_COLUMNS = (
    "service", "method", "template", "protocol", "operation", "state", "flags", "owner", "exposure", "risk", "calls", "actors",
    "authenticated", "data_classes", "first_seen", "last_seen", "id",
)  # fmt: skip
MAX_SPEC = 32 << 20


class _Apis(click.Group):
    """`eastwall apis`, `eastwall apis orders` and `eastwall apis --changed 24h` list; `show`, `export` and `diff` are commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("--help", "-h")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Apis, short_help="APIs found: tree, filters, export, drift.")
def apis() -> None:
    """APIs found. Without a command they are listed: `eastwall apis orders --changed 24h` is `eastwall apis list orders --changed 24h`."""


@apis.command("list", short_help="Endpoints found, as a tree.")
@click.argument("name", required=False, default="")
@click.option("--changed", type=Duration(), help="Only what is new or changed since so long ago: 90m, 24h, 7d.")
@click.option(
    "--state",
    type=click.Choice([*STATES, *FLAGS]),
    metavar="STATE",
    help="Only in this lifecycle state or with this flag: shadow, zombie, ghost, orphan, unauthenticated ...",
)
@click.option("--class", "data_class", default="", help="Only what carries this data class: pan, email ...")
@click.option("--search", default="", help="Only where these words are in service, method, path or operation.")
@click.option(
    "--sort",
    type=click.Choice(["path", "risk", "calls", "last"]),
    default="path",
    show_default=True,
    help="Order; all but `path` give a flat list.",
)
@data_option
@json_option
def list_apis(
    name: str, changed: float | None, state: str | None, data_class: str, search: str, sort: str, data: Path, as_json: bool
) -> None:
    """Endpoints found, of all services or of service NAME."""
    client = Client(data, at_rest=True)
    since = time.time() - changed if changed else None
    found = client.get("/apis", service=name, state=state, data=data_class, search=search, changed=since)
    filtered = bool(state or data_class or search or changed)
    if not found and name and not filtered and name not in {s["name"] for s in client.get("/services")}:
        raise Failure(f"there is no service `{plain(name)}`", NOT_FOUND)
    found.sort(
        key={"path": _by_path, "risk": lambda a: -a["risk"], "calls": lambda a: -a["calls"], "last": lambda a: -a["last_seen"]}[
            sort
        ]
    )
    if as_json:
        print_json(found)
        return
    out = printer()
    if not found:
        out.print("no API matches" if filtered else "no API seen yet; send some calls through Eastwall")
        return
    if sort == "path":
        _tree(found, out)
    else:
        shown = _table("API", out)
        for api in found:
            shown.add_row(clean(f"{api['service']}  {_title(api)}"), *_cells(api, out))
        out.print(shown)


def _by_path(api: dict[str, Any]) -> tuple[str, list[str], str, str]:
    return api["service"], api["template"].strip("/").split("/"), api["method"], api["operation"]


def _title(api: dict[str, Any]) -> str:
    name = f"{api['method']} {api['template']}"
    return f"{name}  {api['operation']}" if api["operation"] and api["protocol"] != "grpc" else name


def _table(first: str, out: Console) -> Table:
    more = () if out.width < NARROW else ("callers", "identified")
    shown = table(first, "calls", *more, "risk", "state", "data")
    for column in shown.columns[2 : 2 + len(more)]:
        column.justify, column.no_wrap = "right", True
    if out.is_terminal:  # the paths get the room that there is
        shown.columns[-2].max_width = shown.columns[-1].max_width = 18 if out.width < NARROW else 26
    return shown


def _cells(api: dict[str, Any], out: Console) -> list[Text | str]:
    identified = f"{api['authenticated']:.0%}" if api["calls"] and api["identifiable"] else "-"
    flags = [flag for flag in api["flags"] if flag != "new"] if out.width >= NARROW else []
    state = Text.assemble((api["state"], STATE_STYLE.get(api["state"], "")), *[(f" {flag}", "dim") for flag in flags])
    more = [] if out.width < NARROW else [f"{api['actors']:,}", identified]
    return [f"{api['calls']:,}", *more, Text(str(api["risk"]), RISK_STYLE.get(api["risk_level"], "")), state,
            clean(", ".join(api["data_classes"]))]  # fmt: skip


class _Branch:
    """A path segment with what hangs on it."""

    def __init__(self) -> None:
        self.below: dict[str, _Branch] = {}
        self.apis: list[dict[str, Any]] = []


def _tree(found: Sequence[dict[str, Any]], out: Console) -> None:
    """One tree of paths per service; segments without anything of their own are drawn together with the next."""
    services: dict[str, _Branch] = {}
    for api in found:
        branch = services.setdefault(api["service"], _Branch())
        for segment in api["template"].strip("/").split("/"):
            branch = branch.below.setdefault(segment, _Branch()) if segment else branch
        branch.apis.append(api)
    shown = _table("API", out)
    for service, branch in services.items():
        count = sum(1 for api in found if api["service"] == service)
        shown.add_row(Text.assemble(clean(service), (f"  {count} API{'s' if count != 1 else ''}", "dim"), style="bold"))
        _draw(branch, "/", 1, shown, out)
    out.print(shown)


def _draw(branch: _Branch, label: str, depth: int, shown: Table, out: Console) -> None:
    indent = "  " * depth
    for api in branch.apis:
        operation = f"  {api['operation']}" if api["operation"] and api["protocol"] != "grpc" else ""
        shown.add_row(Text.assemble(indent, (f"{api['method']:<6} ", "cyan"), clean(label), clean(operation)), *_cells(api, out))
    deeper = depth + (1 if branch.apis else 0)
    for segment, child in branch.below.items():
        name = "/" + segment
        while not child.apis and len(child.below) == 1:
            ((inner, child),) = child.below.items()
            name += "/" + inner
        if not child.apis:
            shown.add_row(Text.assemble("  " * deeper, (" " * 7, ""), (name, "dim")))
            _draw(child, "", deeper + 1, shown, out)
        else:
            _draw(child, name, deeper, shown, out)


def find(client: Client, wanted: str) -> dict[str, Any]:
    """The API with this id, or the one that `[SERVICE] METHOD /template [operation]` tells. Raises Failure."""
    if re.fullmatch(r"ep_[0-9a-f]{12}", wanted):
        return dict(client.get(f"/apis/{wanted}"))
    words = wanted.split()
    if not words:
        raise Failure("name an API: its id, or `GET /orders/{order_id}`", USAGE)
    blank = re.compile(r"\{[^{}]*\}")
    matches = [
        api
        for api in client.get("/apis")
        if {blank.sub("{}", word) for word in words}
        <= {api["service"], api["method"], blank.sub("{}", api["template"]), *api["operation"].split()}
    ]
    if len(matches) == 1:
        return dict(client.get(f"/apis/{matches[0]['id']}"))
    if matches:
        listed = "; ".join(f"{a['id']} {a['service']} {_title(a)}" for a in matches[:5])
        raise Failure(f"`{plain(wanted)}` is not one API; name one by its id: {plain(listed, 400)}", USAGE)
    raise Failure(f"there is no API `{plain(wanted)}`; `eastwall apis --json` lists the ids", NOT_FOUND)


@apis.command(short_help="Everything about one API.")
@click.argument("api")
@data_option
@json_option
def show(api: str, data: Path, as_json: bool) -> None:
    """Everything learned and concluded about API: its id, or `GET /orders/{order_id}` (a service before it, where several have it)."""
    found = find(Client(data, at_rest=True), api)
    if as_json:
        print_json(found)
        return
    print_api(found, printer())


def print_api(api: dict[str, Any], out: Console) -> None:
    """One API for people."""
    life, risk = api["lifecycle"], api["risk"]
    out.print(
        Text.assemble(
            (f"{api['method']} ", "bold cyan"),
            (clean(api["template"]).plain, "bold"),
            clean(f"  {api['operation']}" if api["operation"] and api["protocol"] != "grpc" else ""),
            "  of ",
            clean(api["service"]),
        )
    )
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    grid.add_row("state", Text.assemble((life["state"], STATE_STYLE.get(life["state"], "")), "  ", ", ".join(life["flags"])))
    for reason in life["reasons"]:
        grid.add_row("", clean(reason))
    grid.add_row("owner", clean(" · ".join(filter(None, (life["owner"], life["repository"], life["environment"]))) or "nobody"))
    grid.add_row("exposure", life["exposure"])
    grid.add_row("risk", Text(f"{risk['score']} {risk['level']}", RISK_STYLE.get(risk["level"], "")))
    for reason in risk["reasons"]:
        grid.add_row("", clean(f"+{reason['points']}  {reason['text']}"))
    if api["calls"]:
        grid.add_row(
            "calls",
            f"{api['calls']:,} by {api['actors']:,}, {api['authenticated']:.0%} identified; {when(api['first_seen'])} to {when(api['last_seen'])}",
        )
        grid.add_row("answers", ", ".join(f"{status}: {count:,}" for status, count in api["statuses"]))
    grid.add_row("protocol", clean(", ".join(dict.fromkeys([api["protocol"], *api["traits"], *api["body_kinds"]]))))
    for parameter in api["parameters"]:
        grid.add_row("parameter", clean(f"{parameter['name']} ({parameter['kind']})"))
    for used in api["objects"]:
        grid.add_row(
            "object",
            clean(
                f"{used['kind']} at {used['place']}: {'one holder' if used['exclusive'] else 'not judged'}. {used['evidence']}"
            ),
        )
    grid.add_row("id", api["id"])
    out.print(grid)
    for title, schema in [
        ("query", api["query"]),
        ("request", api["request"]),
        *[(f"response {status}", s) for status, s in api["responses"]],
    ]:
        _fields(title, schema, out)
    if api["selection"]:
        out.print("\nfields asked for")
        for path, count in api["selection"]:
            told(out, Text.assemble(clean(path), (f"  {count:,}", "dim")))
    _list("callers", [f"{c['caller']}  {c['calls']:,} calls, last {when(c['last_seen'])}" for c in api["callers"][:20]], out)
    _list("evidence", [_ready(one) for one in api.get("readiness", ())], out)
    _list("drift", [f"{d['severity']:<6} {d['kind']}  {d['message']}" for d in api["drift"]], out)
    _list("changes", [f"{when(c['time'])}  {c['kind']}  {c['detail']}" for c in api["changes"][:20]], out)


def _ready(one: dict[str, Any]) -> str:
    """`values  12 of 30 sampled requests: not judged yet`."""
    about = f" of {one['about']}" if one["about"] else ""
    lacks = ": not judged yet" if one["have"] < one["need"] else ""
    return f"{one['model']:<10}  {one['have']:,} of {one['need']:,} {one['of']}{about}{lacks}"


def _list(title: str, lines: Sequence[str], out: Console) -> None:
    if lines:
        out.print(f"\n{title}")
        for line in lines:
            told(out, clean(line))


def _fields(title: str, schema: dict[str, Any], out: Console) -> None:
    if not schema["fields"]:
        return
    out.print(Text.assemble(f"\n{title}", (f"  {schema['samples']:,} samples", "dim")))
    rows = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(4):
        rows.add_column(overflow="fold")
    for f in schema["fields"]:
        there = (
            "never seen"
            if not f["seen"]
            else "always"
            if f["of"] and f["seen"] >= f["of"]
            else f"{f['seen'] / max(1, f['of']):.0%}"
        )
        kinds = "|".join(f["kinds"]) + (f" ({f['format']})" if f["format"] else "")
        more = [f["data_class"], "in " + "|".join(f["enum"]) if f["enum"] else ""]
        rows.add_row(Text.assemble("  ", clean(f["place"])), clean(kinds), there, clean("  ".join(filter(None, more))))
    out.print(rows)


@apis.command(short_help="The inventory as OpenAPI, GraphQL SDL or CSV.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["openapi", "graphql", "csv"]),
    default="openapi",
    show_default=True,
    help="What to write.",
)
@click.option("--service", default="", help="Of one service; OpenAPI and GraphQL need one when there are several.")
@click.option("--version", type=click.Choice(["3.0", "3.1"]), default="3.1", show_default=True, help="OpenAPI version.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="File to write; standard output otherwise.")
@data_option
def export(form: str, service: str, version: str, output: Path | None, data: Path) -> None:
    """The inventory for other tools. Names that come from traffic are made harmless for what reads the format."""
    client = Client(data, at_rest=True)
    if form == "csv":
        write(output, csv_of(client.get("/apis", service=service)))
        return
    service = service or _only_service(client)
    if form == "graphql":
        write(output, client.text(f"/graphql/{client.quoted(service)}"))
    else:
        write(
            output,
            json.dumps(client.get(f"/openapi/{client.quoted(service)}", version=version), indent=2, ensure_ascii=False) + "\n",
        )


def _only_service(client: Client) -> str:
    """The service that is meant when none is named. Raises Failure."""
    names = [s["name"] for s in client.get("/services")]
    if not names:
        raise Failure("no service is known yet", NOT_FOUND)
    if len(names) > 1:
        raise Failure(f"name the service with --service; known are {', '.join(f'`{plain(n)}`' for n in names)}", USAGE)
    return str(names[0])


def csv_of(found: Iterable[dict[str, Any]]) -> str:
    """RFC 4180. A cell that a spreadsheet would take for a formula begins with an apostrophe."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(CSV_COLUMNS)
    for api in found:
        rows.writerow([_cell(api[name]) for name in CSV_COLUMNS])
    return text.getvalue()


def _cell(value: Any) -> str | int | float:
    if isinstance(value, (int, float)):
        return value
    text = " ".join(value) if isinstance(value, (list, tuple)) else str(value)
    text = "".join(c if c.isprintable() else " " for c in text)
    return "'" + text if text[:1] in ("=", "+", "-", "@") or text[:1].isspace() else text


def write(output: Path | None, text: str) -> None:
    """To the file, or to standard output. Raises Failure."""
    if output is None:
        click.echo(text, nl=not text.endswith("\n"))
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise Failure(f"`{output}` cannot be written: {error.strerror}", USAGE) from None


@apis.command(short_help="A specification against what was seen.")
@click.argument("spec", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--service", default="", help="The service it speaks of; needed when there are several.")
@click.option(
    "--fail-on",
    type=click.Choice(["info", "low", "medium", "high", "never"]),
    default="low",
    show_default=True,
    help="Exit with 1 when something at least so grave differs.",
)
@data_option
@json_option
def diff(spec: Path, service: str, fail_on: str, data: Path, as_json: bool) -> None:
    """SPEC (OpenAPI, Swagger, Postman collection, GraphQL SDL) against what was seen, in both directions.

    Exit code 1 when they differ, 2 when SPEC cannot be read.
    """
    try:
        if spec.stat().st_size > MAX_SPEC:
            raise Failure(f"`{spec}` is over {MAX_SPEC >> 20} MiB", USAGE)
        text = spec.read_text("utf-8")
    except OSError as error:
        raise Failure(f"`{spec}` cannot be read: {error.strerror}", USAGE) from None
    except UnicodeDecodeError:
        raise Failure(f"`{spec}` is not UTF-8 text", USAGE) from None
    client = Client(data, at_rest=True)
    service = service or _only_service(client)
    found = client.send("POST", f"/diff/{client.quoted(service)}", {"document": text, "name": str(spec)})
    if not found["endpoints"] and not as_json:
        fault = plain(found["faults"][0], 500) if found["faults"] else "it declares no operation"
        raise Failure(f"`{spec}` cannot be used: {fault}", USAGE)
    grave = [
        d for d in found["drift"] if fail_on != "never" and SEVERITY_ORDER.index(d["severity"]) >= SEVERITY_ORDER.index(fail_on)
    ]
    if as_json:
        print_json(found)
    else:
        out = printer()
        for fault in found["faults"]:
            out.print(Text.assemble(("fault in the specification  ", "yellow"), clean(fault)))
        shown = table("severity", "kind", "operation", "difference")
        for d in found["drift"]:
            where = f"{d['method']} {d['template']} {d['operation']}".rstrip()
            said = f"{d['place']}: {d['message']}" if d["place"] else d["message"]
            shown.add_row(d["severity"], d["kind"], clean(where), clean(said))
        out.print(shown if found["drift"] else "what was seen is what is declared")
    if not found["endpoints"]:
        raise SystemExit(USAGE)
    if grave:
        raise SystemExit(1)


@apis.command(short_help="Ask a gRPC server what it serves.")
@click.argument("target", metavar="HOST:PORT")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="File to write; the server's name with .pb otherwise."
)
@click.option("--tls", is_flag=True, help="Speak TLS.")
@click.option(
    "--ca", type=click.Path(dir_okay=False, path_type=Path), help="CA of the server's certificate (PEM); the system's otherwise."
)
def reflect(target: str, output: Path | None, tls: bool, ca: Path | None) -> None:
    """Ask the gRPC server at HOST:PORT what it serves, by server reflection, and write it as a descriptor set.

    `eastwall import FILE.pb --service NAME`, or `spec: FILE.pb` in a Service policy, makes Eastwall read the service's messages by it.
    """
    from eastwall.sources.grpc_reflection import ReflectionError, fetch

    try:
        data = fetch(target, tls=tls, ca=ca.read_bytes() if ca is not None else None)
    except ReflectionError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise Failure(f"`{ca}` cannot be read: {error.strerror}", USAGE) from None
    file = output or Path("".join(c if c.isalnum() or c in ".-" else "_" for c in target) + ".pb")
    try:
        file.write_bytes(data)
    except OSError as error:
        raise Failure(f"`{file}` cannot be written: {error.strerror}", USAGE) from None
    click.echo(f"written: {file} ({len(data):,} bytes)")
