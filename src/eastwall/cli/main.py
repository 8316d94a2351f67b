"""The command line. Exit codes are part of the interface: see EXIT_CODES and docs/cli.md."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module

import click

from eastwall import __version__
from eastwall.cli.failure import INTERRUPTED, USAGE, Failure

EXIT_CODES = """\
Exit codes: 0 done; 1 the answer is no (faults in a policy, a failed check, an attack that passed);
2 wrong usage or unreadable input; 3 Eastwall does not run or does not answer; 4 not found; 130 interrupted."""

# name -> (module, attribute): a command's module is imported when it is used, so that `eastwall why` does not load the engine.
COMMANDS = {
    "up": "eastwall.cli.up:up",
    "demo": "eastwall.cli.demo:demo",
    "status": "eastwall.cli.show:status",
    "apis": "eastwall.cli.apis:apis",
    "changes": "eastwall.cli.blueprint:changes",
    "identities": "eastwall.cli.blueprint:identities",
    "data": "eastwall.cli.blueprint:data",
    "graph": "eastwall.cli.blueprint:graph",
    "paths": "eastwall.cli.blueprint:paths",
    "findings": "eastwall.cli.show:findings",
    "why": "eastwall.cli.show:why",
    "mode": "eastwall.cli.manage:mode",
    "policy": "eastwall.cli.manage:policy",
    "quarantine": "eastwall.cli.quarantine:quarantine",
    "approval": "eastwall.cli.approval:approval",
    "audit": "eastwall.cli.audit:audit",
    "playbook": "eastwall.cli.playbooks:playbook",
    "discover": "eastwall.cli.offline:discover",
    "baselines": "eastwall.cli.learning:baselines",
    "feedback": "eastwall.cli.learning:feedback",
    "learn": "eastwall.cli.learn:learn",
    "import": "eastwall.cli.importing:import_",
    "inspect": "eastwall.cli.offline:inspect",
    "doctor": "eastwall.cli.doctor:doctor",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Lazy, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="eastwall")
def cli() -> None:
    """Runtime security for the APIs inside the perimeter: discover, learn, detect, defend, prove.

    Start with `eastwall demo`, or put it before a service of yours: `eastwall up --upstream NAME=http://127.0.0.1:9000`.
    """


def main() -> None:
    """Entry point. A user never sees a traceback, unless EASTWALL_DEBUG=1 asks for it."""
    try:
        code = cli(standalone_mode=False)
        sys.stdout.flush()
    except Failure as failure:
        failure.show()
        code = failure.exit_code
    except click.exceptions.NoArgsIsHelpError as asked:
        asked.show()
        code = USAGE
    except click.ClickException as error:
        click.echo(f"eastwall: {usage_line(error)}", err=True)
        code = USAGE
    except (KeyboardInterrupt, click.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough (`eastwall apis | head`): not an error of ours, and flushing stdout at exit would raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1  # as click and rich do, which mostly notice first
    except Exception as error:
        if os.environ.get("EASTWALL_DEBUG") == "1":
            raise
        click.echo(
            f"eastwall: internal error: {type(error).__name__}: {error} (EASTWALL_DEBUG=1 shows where; please report it)",
            err=True,
        )
        code = 1
    sys.exit(code)


def usage_line(error: click.ClickException) -> str:
    """Click's words on one line in our form: what is wrong, then where to read how it is meant."""
    text = " ".join(error.format_message().split()).rstrip(".")
    text = re.sub(r"(?<!\w)'([^']*)'(?!\w)", r"`\1`", text[:1].lower() + text[1:])
    context = getattr(error, "ctx", None)
    return text if context is None else f"{text}; see `{context.command_path} --help`"


if __name__ == "__main__":
    main()
