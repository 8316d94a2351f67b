"""What `eastwall demo` shows: live tables in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from eastwall.cli.show import clean, print_why
from eastwall.runtime.demo import drift
from eastwall.runtime.demo.attacker import STEPS, StepResult
from eastwall.runtime.demo.catalog import SERVICES
from eastwall.runtime.demo.run import Demo, Report, Screen

_METHOD_STYLE = {"GET": "green", "POST": "yellow", "PUT": "blue", "PATCH": "magenta", "DELETE": "red"}
_ROWS = 14
"""Of the table that stays on the screen after act 1."""
_EVENT_WIDTH = 108
"""Columns of the terminal from which on event ids have room."""
_DATA_WIDTH = 100
"""The same for the data classes of APIs."""
_BARS = " ▁▂▃▄▅▆▇█"
_ACTS = {
    "discover": ("Act 1: discover", "Envoy copies the calls of 20 customers to the engine and goes on; nothing waits, nothing changes."),
    "enforce": ("Act 2: enforce", "Switched while everybody goes on. Then somebody with an account of the shop tries their luck."),
}  # fmt: skip


class DemoScreen(Screen):
    """Listens to a Demo. With `live`, a display that moves; else lines as things happen."""

    def __init__(self, out: Console, *, live: bool) -> None:
        self.out = out
        self.live = live
        self.demo: Demo | None = None
        self._lines = not live and not out.record
        self._display: Live | None = None
        self._order: list[str] = []
        """Ids of the APIs in the order they were found."""
        self._running = ""
        self._rates: list[float] = []
        self._rate_at = 0.0
        self._spinner = Spinner("dots", style="cyan")

    # -- life ---------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        self.out.print("[bold]Eastwall demo[/]  a small shop: [cyan]storefront[/] -> [cyan]orders[/] -> [cyan]billing[/]")
        if self.live:
            self._show(lambda: Spinner("dots", "starting the shop and Eastwall before it ...", style="cyan"))

    def ready(self) -> None:
        assert self.demo is not None
        self.close()
        adapter = {"shim": "the C shim inside Envoy", "extproc": "Envoy's ext_proc filter"}[self.demo.report.adapter]
        self.out.print(f"[dim]three services, Envoy and the engine are up; calls are inspected through {adapter}[/]")

    def close(self) -> None:
        """End what moves; the terminal is as it was."""
        if self._display is not None:
            self._display.stop()
            self._display = None

    def _show(self, render: Any) -> None:
        self.close()
        self._display = Live(
            get_renderable=render, console=self.out, refresh_per_second=8, transient=True, vertical_overflow="crop"
        )
        self._display.start()

    # -- what happens -------------------------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        self.out.print(Text.assemble(("! ", "yellow"), clean(text)), soft_wrap=True)

    def act(self, name: str) -> None:
        self.close()
        title, subtitle = _ACTS[name]
        self.out.print()
        self.out.print(Rule(f"[bold]{title}[/]", style="cyan", align="left"))
        self.out.print(f"[dim]{subtitle}[/]")
        if self.live:
            self._show(self._discovering if name == "discover" else self._enforcing)

    def found(self, api: Mapping[str, Any]) -> None:
        self._order.append(api["id"])
        if self._lines:
            self.out.print(Text.assemble("found     ", clean(f"{api['service']:<11} {api['method']:<7} {api['template']}")))

    def mapped(self, apis: list[dict[str, Any]], differences: list[drift.Finding]) -> None:
        assert self.demo is not None
        self.close()
        notes = _notes(differences)
        rows = sorted(apis, key=lambda a: (_note(a, notes)[1], not a["data_classes"], -a["calls"]))
        shown = rows if self._lines else rows[:_ROWS]
        self.out.print()
        self.out.print(_api_table(shown, notes, self.out.width))
        if len(shown) < len(rows):
            self.out.print(f"[dim]... and {len(rows) - len(shown)} more: `eastwall apis` lists all[/]")
        self.out.print()
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column()
        grid.add_row("mapped", self._mapped_words(apis))
        for label, words in _drift_rows(differences):
            grid.add_row(label, words)
        self.out.print(grid)

    def _mapped_words(self, apis: list[dict[str, Any]]) -> Text:
        assert self.demo is not None
        report = self.demo.report
        per = ", ".join(f"{sum(a['service'] == name and a['calls'] > 0 for a in apis)} of {name}" for name in SERVICES)
        return Text.assemble(
            (f"{report.templates_found} of {report.templates_expected}", "bold green"), f" operations ({per}) from ",
            (f"{self.demo.tally.sent:,}", "bold"), " ordinary calls",
        )  # fmt: skip

    def step_begins(self, name: str, title: str) -> None:
        self._running = name

    def step_ends(self, result: StepResult) -> None:
        self._running = ""
        if self._lines:
            what = _outcome(result)
            self.out.print(
                clean(f"attack    {result.name}: {result.title}: {what}; {result.blocked} of {result.sent} calls blocked"
                      f"{f', first with {result.status}, event {result.event_id}' if result.event_id else ''}"),
                soft_wrap=True,
            )  # fmt: skip

    def attacked(self, steps: list[StepResult]) -> None:
        self.close()
        if not self._lines:
            self.out.print()
            self.out.print(_step_table(steps, self.out.width))

    def explained(self, steps: list[dict[str, Any]]) -> None:
        if not steps:
            return
        self.out.print()
        self.out.print("[dim]Nobody wrote a rule about these. What was learned from the customers' calls, and what it said:[/]")
        for step in steps:
            self.out.print(
                Text.assemble((f"{step['name']}  ", "bold"), (f"{step['by']}: ", "cyan"), clean(step["evidence"])), soft_wrap=True
            )

    def stopped(self, why: dict[str, Any]) -> None:
        self.out.print()
        self.out.print(f"[bold]$ eastwall why {why['id']}[/]")
        print_why(why, self.out)

    # -- live displays ------------------------------------------------------------------------------------------------

    def _discovering(self) -> RenderableType:
        demo = self.demo
        assert demo is not None
        apis = {api["id"]: api for api in demo.apis}
        differences = drift.compare([a for a in demo.apis if a["calls"]], demo.said) if demo.apis else []
        room = max(3, self.out.height - 10)
        newest = [apis[i] for i in reversed(self._order) if i in apis][:room]
        learned = sum(api["status"] == "learned" for api in apis.values())
        shadow = sum(d.kind == "shadow" for d in differences)
        classes = sorted({name for api in apis.values() for name in api["data_classes"]})
        head = Text.assemble(
            ("calls ", "dim"), (f"{demo.tally.sent:,}", "bold"), "   ", self._rate(), "   ",
            ("APIs ", "dim"), (str(len(apis)), "bold cyan"), ("   learned ", "dim"), (str(learned), "bold green"),
            ("   not declared ", "dim"), (str(shadow), "bold yellow"), ("   ", ""), (" ".join(classes), "magenta"),
        )  # fmt: skip
        return Group(head, Text(), _api_table(newest, _notes([d for d in differences if d.kind == "shadow"]), self.out.width))

    def _enforcing(self) -> RenderableType:
        demo = self.demo
        assert demo is not None
        blocked = sum(step.blocked for step in demo.steps)
        head = Text.assemble(
            ("ordinary calls ", "dim"), (f"{demo.tally.sent:,}", "bold"), ("   of them blocked ", "dim"),
            (str(demo.tally.blocked), "bold red" if demo.tally.blocked else "bold green"), "   ", self._rate(),
            ("   attack calls blocked ", "dim"), (str(blocked), "bold red"),
        )  # fmt: skip
        return Group(head, Text(), _step_table(demo.steps, self.out.width, self._running, self._spinner))

    def _rate(self) -> Text:
        assert self.demo is not None
        if time.monotonic() - self._rate_at > 0.5:
            self._rate_at = time.monotonic()
            self._rates = [*self._rates[-15:], self.demo.tally.rate(1.0)]
        top = max(*self._rates, 1.0)
        bars = "".join(_BARS[round(rate / top * (len(_BARS) - 1))] for rate in self._rates)
        return Text.assemble((bars.rjust(16), "cyan"), f" {self._rates[-1]:>4.0f}/s")


def _notes(differences: Iterable[drift.Finding]) -> dict[drift.Key, str]:
    """What to say about an operation that is not as declared."""
    notes: dict[drift.Key, str] = {}
    for d in differences:
        if d.kind == "shadow":
            notes[drift.key(d.service, d.method, d.template)] = f"not declared{f', {d.note}' if d.note else ''}"
        elif d.kind == "parameter":
            notes.setdefault(drift.key(d.service, d.method, d.template), f"?{d.note} not declared")
    return notes


def _note(api: Mapping[str, Any], notes: Mapping[drift.Key, str]) -> tuple[str, int]:
    """The note, and its rank: most telling first."""
    note = notes.get(drift.key(api["service"], api["method"], api["template"]), "")
    return note, 0 if note.startswith("not") else 1 if note else 2


def _api_table(apis: Iterable[Mapping[str, Any]], notes: Mapping[drift.Key, str], width: int) -> Table:
    """In a narrow terminal without the data classes, and with templates cut."""
    wide = width >= _DATA_WIDTH
    shown = _table()
    for column in ("service", "method"):
        shown.add_column(column, no_wrap=True)
    shown.add_column("template", no_wrap=True, overflow="ellipsis", max_width=None if wide else max(16, width - 46))
    shown.add_column("calls", justify="right", no_wrap=True)
    if wide:
        shown.add_column("data", no_wrap=True, overflow="ellipsis")
    shown.add_column("note", no_wrap=True, overflow="ellipsis", max_width=None if wide else 16)
    for api in apis:
        template = clean(api["template"])
        template.highlight_regex(r"\{[^}]*\}", "cyan")
        data = [Text(", ".join(api["data_classes"]), "magenta")] if wide else []
        method = Text(api["method"], _METHOD_STYLE.get(api["method"], ""))
        shown.add_row(api["service"], method, template, f"{api['calls']:,}", *data, Text(_note(api, notes)[0], "yellow"))
    return shown


def _drift_rows(differences: list[drift.Finding]) -> Iterable[tuple[str, Text]]:
    """Shadow, ghost, parameter: what it means, and the places."""
    told = {
        "shadow": "served, but in no OpenAPI file",
        "ghost": "in the OpenAPI file, never served",
        "parameter": "used, not declared",
    }
    for kind, meaning in told.items():
        listed = [d for d in differences if d.kind == kind]
        if listed:
            words = Text.assemble((str(len(listed)), "bold yellow"), f" {meaning}")
            for d in listed:
                place = f"{d.service} {d.method} {d.template}"
                words.append(f"\n  {place}{f'?{d.note}' if kind == 'parameter' else ''}", "yellow")
            yield kind, words


def _outcome(step: StepResult) -> str:
    if step.stopped:
        return "stopped"
    return f"PASSED: got {step.loot}" if step.loot else "NOT STOPPED: failed, but not because of Eastwall"


def _step_table(steps: Iterable[StepResult], width: int, running: str = "", spinner: Spinner | None = None) -> Table:
    done = {step.name: step for step in steps}
    shown = _table()
    shown.add_column("", width=1)
    shown.add_column("attack", no_wrap=True)
    shown.add_column("what it tries", no_wrap=True, overflow="ellipsis", max_width=max(20, width - 41))
    shown.add_column("blocked", justify="right", no_wrap=True)
    shown.add_column("http", justify="right", no_wrap=True)
    if width >= _EVENT_WIDTH:
        shown.add_column("event", no_wrap=True)
    for name, (title, _) in STEPS.items():
        step = done.get(name)
        if step is None:
            mark: RenderableType = spinner if name == running and spinner is not None else Text("·", "dim")
            shown.add_row(mark, Text(name, "" if name == running else "dim"), Text(title, "dim"))
            continue
        mark = Text("✔", "bold green") if step.stopped else Text("✘", "bold red")
        what = Text(title) if step.stopped else Text(_outcome(step), "bold red")
        cells: list[RenderableType] = [
            mark,
            Text(name, "bold"),
            what,
            f"{step.blocked}/{step.sent}",
            str(step.status or "-"),
            step.event_id or "-",
        ]
        shown.add_row(*cells[: len(shown.columns)])
    return shown


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))


def print_summary(report: Report, out: Console) -> None:
    """The counts and the verdict."""
    faults = report.faults()
    out.print()
    out.print(Rule("[bold]What came of it[/]", style="cyan", align="left"))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(justify="right")
    grid.add_column()
    found = report.templates_found == report.templates_expected
    stopped = report.attacks_blocked == report.attacks_sent
    calls = sum(step["blocked"] for step in report.steps)
    for label, value, good, more in (
        ("operations found", f"{report.templates_found}/{report.templates_expected}", found, _excess(report)),
        ("attacks stopped", f"{report.attacks_blocked}/{report.attacks_sent}", stopped, f"{calls} of {sum(s['sent'] for s in report.steps)} calls blocked"),
        ("ordinary calls blocked", f"{report.legit_blocked}/{report.legit_sent:,}", not report.legit_blocked, ""),
        ("ordinary calls failed", f"{report.legit_failed}/{report.legit_sent:,}", not report.legit_failed, ""),
        ("not inspected", str(report.uninspected), not report.uninspected, ""),
        ("seconds", f"{report.seconds:.0f}", True, ""),
    ):  # fmt: skip
        grid.add_row(label, Text(value, "bold green" if good else "bold red"), Text(more, "dim"))
    out.print(grid)
    for example in report.examples if report.legit_blocked or report.legit_failed else ():
        out.print(Text.assemble(("  ", ""), clean(example)), soft_wrap=True)
    out.print()
    if not faults:
        out.print("[bold green]Found everything, stopped every attack, disturbed nobody.[/]")
    for fault in faults:
        out.print(Text.assemble(("FAILED  ", "bold red"), clean(fault)), soft_wrap=True)


def _excess(report: Report) -> str:
    return f"and {len(report.invented)} that the services do not have" if report.invented else ""


def print_places(demo: Demo, out: Console) -> None:
    """Where to look while the demo stays up."""
    assert demo.supervisor is not None
    data = demo.supervisor.options.data
    out.print()
    out.print("[bold]Still up[/], enforcing, with a few customers about. Have a look:")
    out.print(f"  console  [link={demo.api.url}]{demo.api.url}[/link]", soft_wrap=True)
    out.print(f"  token    {data.token()}", soft_wrap=True)
    out.print(f"  try      EASTWALL_DATA={data.root} eastwall apis", soft_wrap=True)
    for name, url in demo.places().items():
        out.print(f"  [cyan]{name:<11}[/]{url}", soft_wrap=True)
    out.print("Ctrl-C drains and stops.")
