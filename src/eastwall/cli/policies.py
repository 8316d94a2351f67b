"""Policy files from disk: what the commands that take `--policy` or DIR share."""

from __future__ import annotations

from pathlib import Path

from eastwall.cli.failure import USAGE, Failure
from eastwall.policy import Fault, encode, parse_files

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


def fault_lines(faults: list[Fault]) -> list[str]:
    return [str(fault) for fault in faults]


def read_policies(path: Path) -> bytes:
    """Parsed and encoded policies. Raises Failure with all faults."""
    policies, faults = parse_files(policy_texts(path))
    if faults:
        raise Failure("the policy has faults:\n" + "\n".join(fault_lines(faults)), 1)
    return encode(policies)
