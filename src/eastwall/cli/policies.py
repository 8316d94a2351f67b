"""Policy files from disk: what the commands that take `--policy` or DIR share."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import click

from eastwall.cli.client import Refused, print_json
from eastwall.cli.failure import USAGE, Failure
from eastwall.discovery.identity import compile_trust
from eastwall.model.snapshot import TrustConfig
from eastwall.policy import PolicySet, parse_files, trust_of
from eastwall.runtime import policy_files
from eastwall.sources import kubernetes


def end_with_faults(refused: Refused, *, as_json: bool) -> NoReturn:
    """Show the faults for which control did not take policies, and end with 1. Raises what was refused for anything else."""
    if "faults" not in refused.problem:
        raise refused
    if as_json:
        print_json({"ok": False, "faults": refused.problem["faults"]})
    else:
        for fault in refused.problem["faults"]:
            click.echo(fault["text"], err=True)
    raise SystemExit(1) from None


def policy_texts(path: Path) -> dict[str, str]:
    """See `runtime.policy_files`. Raises Failure."""
    try:
        return policy_files.policy_texts(path)
    except policy_files.PolicyFilesError as error:
        raise Failure(str(error), USAGE) from None


def attachments(policies: PolicySet) -> dict[str, str]:
    """See `runtime.policy_files`. Raises Failure."""
    try:
        return policy_files.attachments(policies)
    except policy_files.PolicyFilesError as error:
        raise Failure(str(error), USAGE) from None


def trust_in(policies: PolicySet, attached: dict[str, str]) -> TrustConfig:
    """Whom the policies trust, tried out. Raises ValueError, one line, on a key set that an engine could not use."""
    trust = trust_of(policies, {name: text.encode() for name, text in attached.items()}, read_workloads=kubernetes.read)
    compile_trust(trust, bytes(32))
    return trust


def read_policies(path: Path) -> tuple[PolicySet, TrustConfig]:
    """Parsed policies, and whom they trust. Raises Failure with all faults."""
    policies, faults = parse_files(policy_texts(path))
    hard = [str(fault) for fault in faults if not fault.warning]
    if hard:
        raise Failure("the policy has faults: " + "; ".join(hard))
    try:
        return policies, trust_in(policies, attachments(policies))
    except ValueError as error:
        raise Failure(f"the policy has faults: {error}") from None
