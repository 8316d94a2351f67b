"""Policy files from disk: what the commands that take `--policy` or DIR share."""

from __future__ import annotations

from pathlib import Path

from eastwall.cli.failure import USAGE, Failure
from eastwall.discovery.identity import compile_trust
from eastwall.model.snapshot import TrustConfig
from eastwall.policy import PolicySet, parse_files, referenced_files, trust_of
from eastwall.sources import kubernetes

MAX_FILES = 1_000
MAX_BYTES = 4 << 20


def policy_texts(path: Path) -> dict[str, str]:
    """The YAML files at `path` (a file, or a directory with sub-directories; `*.test.yaml` are left out) by display name. Raises Failure."""
    if path.is_file():
        files = [path]
    else:
        files = sorted(p for p in path.rglob("*") if p.suffix in (".yaml", ".yml") and p.is_file() and ".test." not in p.name)
    if not files:
        raise Failure(f"no policy files (*.yaml) in `{path}`", USAGE)
    if len(files) > MAX_FILES:
        raise Failure(f"`{path}` holds more than {MAX_FILES:,} policy files; name a smaller directory", USAGE)
    texts = {}
    for file in files:
        try:
            if file.stat().st_size > MAX_BYTES:
                raise Failure(f"`{file}` is over {MAX_BYTES >> 20} MiB; split it", USAGE)
            texts[str(file)] = file.read_text("utf-8")
        except OSError as error:
            raise Failure(f"`{file}` cannot be read: {error.strerror}", USAGE) from None
        except UnicodeDecodeError as error:
            raise Failure(f"`{file}` is not UTF-8 (byte {error.start})", USAGE) from None
    return texts


def attachments(policies: PolicySet) -> dict[str, str]:
    """The files that policies refer to (key sets), by the path `policy.referenced_files` gives. Raises Failure."""
    found = {}
    for name in referenced_files(policies):
        try:
            found[name] = Path(name).read_text("utf-8")
        except OSError as error:
            raise Failure(f"`{name}`, which a policy refers to, cannot be read: {error.strerror}", USAGE) from None
        except UnicodeDecodeError:
            raise Failure(f"`{name}`, which a policy refers to, is not text", USAGE) from None
    return found


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
