"""`eastwall demo`: a small shop, mapped, attacked, defended."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import msgspec
from rich.console import Console

from eastwall.cli.client import Client, json_option, print_json
from eastwall.cli.demo_recording import recording_console, save
from eastwall.cli.demo_screen import DemoScreen, print_places, print_summary
from eastwall.cli.failure import USAGE, Failure
from eastwall.cli.up import build_options, parse_address
from eastwall.dataplanes.envoy.process import EnvoyError
from eastwall.dataplanes.envoy.proxy import ProxyError
from eastwall.runtime.demo.processes import DemoError
from eastwall.runtime.demo.run import Api, Demo, Settings, StoppedError
from eastwall.runtime.layout import DataDirError, open_data_dir
from eastwall.runtime.supervisor import StartError, Supervisor

_CONSOLE_PORT = 9440
_INTERRUPTED = 130
_STEP_PACE = 0.7
"""Seconds between attack steps when somebody watches."""


@click.command(short_help="A small shop: mapped, attacked, defended.")
@click.option("--once", is_flag=True, help="End after the attack instead of staying up until Ctrl-C.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write what came of it to this JSON file.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Other people, other numbers.")
@click.option("--adapter", type=click.Choice(["auto", "shim", "extproc"]), default="auto", show_default=True,
              help="How Envoy asks the engine.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path, file_okay=False),
              help="A new or empty directory to keep what Eastwall learns [default: a temporary one, removed at the end].")  # fmt: skip
@click.option(
    "--console", metavar="HOST:PORT", help=f"Where console and API listen [default: 127.0.0.1:{_CONSOLE_PORT}, or a free port]."
)
@click.option(
    "--record", type=click.Path(path_type=Path, dir_okay=False), hidden=True, help="Write the output as SVG to this file."
)
@json_option
def demo(
    once: bool,
    report: Path | None,
    seed: int,
    adapter: str,
    data: Path | None,
    console: str | None,
    record: Path | None,
    as_json: bool,
) -> None:
    """Start three small services, put Eastwall before them, and watch two acts.

    discover: twenty customers shop, and their calls become a map of the APIs. enforce: the mode is switched while they go on, and an
    attacker with an account of the shop tries thirteen things. Exit code 0 only if every API was found, every attack was stopped and no
    ordinary call was.

    All of it is on loopback: real services with real holes, invented people, test card numbers.
    """
    _check_places(data, console, report, record)
    work = Path(tempfile.mkdtemp(prefix="eastwall-demo-"))
    out = _console(record, as_json=as_json)
    screen = DemoScreen(out, live=out.is_terminal and record is None)

    def supervise(upstreams: tuple[str, ...], policy: Path) -> Supervisor:
        # Each service has a listener of its own; the shared address is not used.
        where = console or f"127.0.0.1:{_console_port(once)}"
        root = data or work / "data"
        options = build_options(upstreams, "127.0.0.1:8080", where, policy, "discover", root, adapter, 1, 1_000)
        supervisor = Supervisor(options, screen.tell)
        supervisor.install_signals()
        return supervisor

    def connect(root: Path) -> Api:
        return Client(root)

    pace = _STEP_PACE if screen.live else 0.0
    run = Demo(Settings(work=work, seed=seed, supervise=supervise, connect=connect, pace=pace), screen)
    screen.demo = run

    def finished() -> None:
        if report is not None:
            report.write_bytes(msgspec.json.format(msgspec.json.encode(run.report), indent=2) + b"\n")
        if as_json:
            print_json(msgspec.to_builtins(run.report))

    code = _play(run, screen, work, finished, once=once)
    if record is not None:
        save(out, record, "eastwall demo --once")
    if code in (0, _INTERRUPTED):
        shutil.rmtree(work, ignore_errors=True)
    else:
        out.print(f"[dim]kept for a look: {work}[/]", soft_wrap=True)
    sys.exit(code)


def _check_places(data: Path | None, console: str | None, *files: Path | None) -> None:
    """Before anything is started. Raises Failure."""
    if data is not None and data.exists() and any(data.iterdir()):
        raise Failure(f"`{data}` is not empty; the demo wants a directory of its own, so that it starts knowing nothing", USAGE)
    if console is not None:
        parse_address(console, "--console")
    for file in files:
        if file is not None and not file.absolute().parent.is_dir():
            raise Failure(f"`{file}` cannot be written: there is no directory `{file.absolute().parent}`", USAGE)
    if data is not None:
        try:
            open_data_dir(data)
        except DataDirError as error:
            raise Failure(str(error), USAGE) from None


def _play(run: Demo, screen: DemoScreen, work: Path, finished: Callable[[], None], *, once: bool) -> int:
    """Everything from start to end; the exit code. Raises Failure. Nothing runs afterwards, whatever happens."""
    out = screen.out
    try:
        screen.begin()
        run.start()
        screen.ready()
        run.discover()
        run.enforce()
        screen.close()
        print_summary(run.report, out)
        finished()
        if not once:
            print_places(run, out)
            run.linger()
            out.print("draining ...")
        return 1 if run.report.faults() else 0
    except (StoppedError, KeyboardInterrupt):
        screen.close()
        out.print("stopped before the end; draining ...")
        return _INTERRUPTED
    except (Failure, DemoError, StartError, EnvoyError, ProxyError) as error:
        if run.supervisor is not None and run.supervisor.stop.is_set():
            return _INTERRUPTED
        text = error.message if isinstance(error, Failure) else str(error)
        raise Failure(f"{text}; kept for a look: {work}", error.exit_code if isinstance(error, Failure) else 1) from None
    except OSError as error:
        raise Failure(f"`{error.filename}` cannot be used: {error.strerror}; kept for a look: {work}") from None
    finally:
        screen.close()
        run.close()


def _console(record: Path | None, *, as_json: bool) -> Console:
    if record is not None:
        return recording_console()
    out = Console(stderr=as_json, highlight=False)
    # Into a file or a pipe, lines are as long as they need to be.
    return out if out.is_terminal else Console(stderr=as_json, highlight=False, width=140)


def _console_port(once: bool) -> int:
    """The usual port of the console when somebody may look at it and it is free, else any."""
    if not once:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", _CONSOLE_PORT))
            except OSError:
                return 0
            return _CONSOLE_PORT
    return 0
