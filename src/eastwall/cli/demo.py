"""`eastwall demo`: a small shop, mapped, attacked, defended."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from pathlib import Path

import click
import msgspec
from rich.console import Console

from eastwall.cli.client import Client, json_option, print_json
from eastwall.cli.demo_screen import DemoScreen, print_places, print_summary
from eastwall.cli.failure import USAGE, Failure
from eastwall.cli.up import build_options
from eastwall.dataplanes.envoy.process import EnvoyError
from eastwall.dataplanes.envoy.proxy import ProxyError
from eastwall.runtime.demo.processes import DemoError
from eastwall.runtime.demo.run import Api, Demo, Settings, StoppedError
from eastwall.runtime.supervisor import Options, StartError

_CONSOLE_PORT = 9440
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
    attacker with an account of the shop tries eight things. Exit code 0 only if every API was found, every attack was stopped and no
    ordinary call was.

    All of it is on loopback: real services with real holes, invented people, test card numbers.
    """
    if data is not None and data.exists() and any(data.iterdir()):
        raise Failure(f"`{data}` is not empty; the demo wants a directory of its own, so that it starts knowing nothing", USAGE)
    if report is not None and not report.absolute().parent.is_dir():
        raise Failure(f"`{report}` cannot be written: there is no directory `{report.absolute().parent}`", USAGE)
    work = Path(tempfile.mkdtemp(prefix="eastwall-demo-"))
    out = _console(record, as_json=as_json)
    screen = DemoScreen(out, live=out.is_terminal and record is None)

    def options(upstreams: tuple[str, ...], policy: Path) -> Options:
        # Each service has a listener of its own; the shared address is not used.
        where = console or f"127.0.0.1:{_console_port(once)}"
        return build_options(upstreams, "127.0.0.1:8080", where, policy, "discover", data or work / "data", adapter, 1, 1_000)

    def connect(root: Path) -> Api:
        return Client(root)

    pace = _STEP_PACE if screen.live else 0.0
    run = Demo(Settings(work=work, seed=seed, options=options, connect=connect, pace=pace), screen)
    screen.demo = run
    succeeded = False
    try:
        succeeded = _play(run, screen, once=once)
        if report is not None:
            report.write_bytes(msgspec.json.format(msgspec.json.encode(run.report), indent=2) + b"\n")
        if as_json:
            print_json(msgspec.to_builtins(run.report))
        if not once:
            print_places(run, out)
            run.linger()
    except StoppedError:
        out.print("stopped before the end")
    except Failure as failure:
        if run.supervisor is None:
            raise
        raise Failure(f"{failure.message}; kept for a look: {work}", failure.exit_code) from None
    except (DemoError, StartError, EnvoyError, ProxyError) as error:
        raise Failure(f"{error}; kept for a look: {work}") from None
    except OSError as error:
        raise Failure(f"`{error.filename}` cannot be used: {error.strerror}") from None
    finally:
        screen.close()
        if run.supervisor is not None and not once:
            out.print("draining ...")
        run.close()
        if succeeded:
            shutil.rmtree(work, ignore_errors=True)
    if record is not None:
        out.save_svg(str(record), title="eastwall demo --once")
    if not succeeded:
        out.print(f"[dim]kept for a look: {work}[/]", soft_wrap=True)
        sys.exit(1)


def _play(run: Demo, screen: DemoScreen, *, once: bool) -> bool:
    """Both acts. Whether all went as it must."""
    screen.begin()
    run.start()
    screen.ready()
    run.discover()
    run.enforce()
    screen.close()
    print_summary(run.report, screen.out)
    return not run.report.faults()


def _console(record: Path | None, *, as_json: bool) -> Console:
    if record is not None:
        return Console(
            record=True, width=110, force_terminal=True, color_system="truecolor", highlight=False, legacy_windows=False
        )
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
