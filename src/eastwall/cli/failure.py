"""How a command ends when it cannot do what was asked: one line on stderr, and an exit code."""

from __future__ import annotations

from typing import IO, Any

import click


class Failure(click.ClickException):
    """One clear line: what, where, how to mend."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"eastwall: {self.message}", err=True)


USAGE = 2
NOT_RUNNING = 3
NOT_FOUND = 4
INTERRUPTED = 130
"""Ctrl-C, as shells count it: 128 + SIGINT."""
