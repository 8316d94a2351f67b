"""Who changed what stands guard, and where the change came from."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Who(Struct, frozen=True, omit_defaults=True):
    """Who did something to Eastwall itself."""

    by: str
    """How they were known: `token` (the API's), `session` (signed in on the console), `command-line` (an option of `eastwall up`),
    `git` (the watched repository), `playbook`, `control` (by itself)."""
    name: str = ""
    """Whom they said they are (user and host of the CLI; author of the commit): told and not proved, but for a signer."""
    address: str = ""
    """Network address of the API's client."""


class Origin(Struct, frozen=True, omit_defaults=True):
    """Where a set of policy files came from."""

    source: str = ""
    """Directory or Git repository, without credentials."""
    path: str = ""
    """Folder or file within it; empty: all of it."""
    base: str = ""
    """What the names of the files begin with, and what is no part of them for comparisons."""
    ref: str = ""
    """Branch, tag or commit that was asked for."""
    commit: str = ""
    """Hash of the Git commit; empty: not from Git."""
    author: str = ""
    """`Name <address>` as the commit says."""
    committed: float = 0.0
    """Unix seconds as the commit says."""
    signer: str = ""
    """Whose signature on the commit was verified; empty: nobody's."""
    changed: bool = False
    """The working tree had changes that are not in the commit."""


class AuditEntry(Struct, frozen=True):
    """One act, as the audit log holds it."""

    seq: int
    """From 1, without gaps."""
    time: float
    """Unix seconds."""
    act: str
    """`apply`, `rollback`, `refused`, `mode`, `quarantine`, ..."""
    who: Who
    about: dict[str, Any] = {}
    """Names, digests, counts: nothing secret, nothing of a call's content."""
