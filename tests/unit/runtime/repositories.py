"""Git repositories for tests, by the real program, in no configuration but their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="the program `git` is not installed")
needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="the program `ssh-keygen` is not installed")
needs_gpg = pytest.mark.skipif(shutil.which("gpg") is None, reason="the program `gpg` is not installed")

DENY = """apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: %s}
spec: {action: deny, scope: {services: [orders], operations: ["%s"]}, reason: Not from here.}
"""


def deny(name: str, operation: str = "DELETE /orders/{id}") -> str:
    return DENY % (name, operation)


class Repo:
    """A work tree with commits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str, date: int = 1_700_000_000, **environment: str) -> str:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        identity = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com"}
        identity |= {"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com"}
        when = {"GIT_AUTHOR_DATE": f"{date} +0000", "GIT_COMMITTER_DATE": f"{date} +0000"}
        nowhere = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        done = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            capture_output=True,
            text=True,
            env=clean | identity | when | nowhere | environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(
        self,
        files: dict[str, str | None],
        *,
        config: tuple[str, ...] = (),
        sign: bool = False,
        date: int = 1_700_000_000,
        **environment: str,
    ) -> str:
        """Write (or remove, with None) and commit; the commit's hash. `config`: `name=value` for git."""
        for name, text in files.items():
            path = self.folder / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A")
        options = [part for one in config for part in ("-c", one)]
        self.git(*options, "commit", "-q", "-m", "policies", *(["-S"] if sign else []), date=date, **environment)
        return self.git("rev-parse", "HEAD")

    @property
    def url(self) -> str:
        return f"file://{self.folder}"


def ssh_key(folder: Path, name: str) -> Path:
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)], check=True)
    return path


def allowed(folder: Path, **keys: Path) -> Path:
    """An allowed signers file: principal -> key."""
    path = folder / "allowed_signers"
    path.write_text("".join(f"{who}@example.com {key.with_suffix('.pub').read_text()}" for who, key in keys.items()))
    return path


def signing(key: Path) -> tuple[str, ...]:
    """`config` of a `Repo.commit` that signs with an SSH key."""
    return ("gpg.format=ssh", f"user.signingkey={key}")
