"""SOURCE of the policy commands: a directory or file, a Git repository's address, or a bare repository; with the options that go with it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from eastwall.cli.failure import USAGE, Failure
from eastwall.runtime.policy_files import PolicyFilesError
from eastwall.runtime.policy_sources import PolicySource, from_directory, from_repository
from eastwall.sources import git

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--ref`, `--path` and what signatures are asked for."""
    for option in (
        click.option(
            "--keyring", type=_FOLDER, help="OpenPGP: a GnuPG home directory that holds the accepted keys and no others."
        ),
        click.option("--signers", type=_FILE, help="SSH signatures: allowed signers file (ssh-keygen(1))."),
        click.option("--require-signed", is_flag=True, help="Only a commit with a signature of --signers or --keyring."),
        click.option("--path", "within", default="", metavar="FOLDER", help="Folder or file within SOURCE."),
        click.option("--ref", default="", help="Branch, tag or commit of a Git repository [default: HEAD]."),
    ):
        command = option(command)
    return command


def read_source(
    source: str,
    ref: str = "",
    within: str = "",
    require_signed: bool = False,
    signers: Path | None = None,
    keyring: Path | None = None,
) -> PolicySource:
    """Policy files with their origin. Raises Failure."""
    accepted = accepted_signers(require_signed, signers, keyring)
    path = Path(source)
    try:
        if path.exists():
            if not ref and accepted is None and not (path.is_dir() and git.is_bare(path)):
                inside = path / within if within else path
                if not inside.exists():
                    raise Failure(f"there is no `{inside}`", USAGE)
                return from_directory(inside)
            source = str(path.resolve())
        elif not git.is_address(source) or source.startswith("-"):
            raise Failure(f"there is no `{source}`; name a file, a directory or the address of a Git repository", USAGE)
        with tempfile.TemporaryDirectory(prefix="eastwall-git-") as folder:
            repository = git.Repository(source, Path(folder) / "policy.git")
            revision = repository.fetch(ref or "HEAD")
            return from_repository(repository, revision, ref or "HEAD", within, accepted)
    except (PolicyFilesError, git.GitError) as error:
        raise Failure(str(error), USAGE) from None


def accepted_signers(require_signed: bool, signers: Path | None, keyring: Path | None) -> git.Signers | None:
    """None: signatures are not asked for. Raises Failure."""
    if not require_signed:
        if signers is not None or keyring is not None:
            raise Failure("--signers and --keyring go with --require-signed", USAGE)
        return None
    if signers is None and keyring is None:
        raise Failure("--require-signed needs --signers FILE or --keyring DIR: whose signatures are accepted", USAGE)
    return git.Signers(signers and signers.resolve(), keyring and keyring.resolve())
