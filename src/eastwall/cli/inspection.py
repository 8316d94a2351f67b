"""What `inspect --explain` shows of one call: the verdict, what was found and where, and what nobody looked at."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eastwall.cli.show import clean, printer

COLOURS = {"block": "red", "limit": "yellow", "redact": "yellow", "allow": "green"}
SEVERITIES = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan", "info": "dim"}


def show(what: str, result: dict[str, Any]) -> None:
    """Print one call's result."""
    console = printer()
    if "error" in result:
        console.print(Text.assemble((_plain(what), "bold"), "  ", ("cannot be read: ", "red"), _plain(result["error"])), "")
        return
    verdict = result["verdict"]
    line = Text.assemble((_plain(what)[:120], "bold"), "  ", (f"{verdict} {result['status']}", COLOURS.get(verdict, "")))
    if "would" in result:
        line.append(f" (enforce: {result['would']})", "yellow")
    console.print(line)
    asked = result["operation"]
    console.print(Text("  " + "  ".join(f"{name} {_plain(asked[name])}" for name in asked), "dim"))
    for title, rows in (
        ("findings", [_finding(one) for one in result["findings"]]),
        (
            "policies",
            [
                (Text(one["name"]), one["action"], one["mode"], one["finding"], one["reason"])
                for one in result.get("policies", ())
            ],
        ),
        (
            "data",
            [
                (one["class"], one["where"], one["masked"], f"{one['confidence']:.2f}", one["direction"])
                for one in result.get("data", ())
            ],
        ),
        (
            "parser faults",
            [(one["id"], one["where"], one["detail"], "", one["phase"]) for one in result.get("parser_faults", ())],
        ),
        ("not inspected", [(one, "", "", "", "") for one in result.get("not_inspected", ())]),
    ):
        if rows:
            _table(console, title, rows)
    if not result["findings"]:
        console.print("  nothing found", style="dim")
    console.print("")


def _finding(one: dict[str, Any]) -> tuple[Any, ...]:
    undone = f" [{', '.join(one['decoded'])}]" if "decoded" in one else ""
    said = f"{one['message']}\n{one['evidence']}{undone}" if one["evidence"] else one["message"]
    severity = Text(f"{one['severity']}, {one['confidence']} confidence", SEVERITIES.get(one["severity"], ""))
    return one["id"], one["where"], severity, one["phase"], said


def _table(console: Console, title: str, rows: list[tuple[Any, ...]]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    for number in range(5):
        table.add_column(overflow="fold", ratio=3 if number == 4 else None)
    for number, row in enumerate(rows):
        cells = [one if isinstance(one, Text) else Text(_lines(str(one))) for one in row]
        table.add_row("  " + (title if number == 0 else ""), *cells)
    console.print(table)


def _lines(text: str) -> str:
    return "\n".join(_plain(line) for line in text.split("\n"))


def _plain(text: str) -> str:
    return clean(text).plain
