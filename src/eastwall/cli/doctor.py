"""`eastwall doctor`: what is wrong with this machine, and how to mend it."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from eastwall.cli.client import data_option, json_option, print_json
from eastwall.runtime.doctor import checks

MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[bold red]FAIL[/]"}


@click.command(short_help="Check this machine.")
@data_option
@json_option
def doctor(data: Path, as_json: bool) -> None:
    """Check this machine: programs, libraries, ports, permissions, limits. Exit code 1 when something must be mended."""
    found = checks(data)
    if as_json:
        print_json([{"name": c.name, "status": c.status, "detail": c.detail, "mend": c.mend} for c in found])
    else:
        out = Console(highlight=False)
        for c in found:
            out.print(f"{MARKS[c.status]}  {escape(c.name):<22} {escape(c.detail)}", soft_wrap=True)
            if c.mend and c.status != "ok":
                out.print(f"{'':<29}-> {escape(c.mend)}", soft_wrap=True)
    if any(c.status == "fail" for c in found):
        raise SystemExit(1)
