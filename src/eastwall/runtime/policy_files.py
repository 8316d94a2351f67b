"""Policy files from disk, and the files that they refer to: for the commands that take a policy, and for control's `--policy`."""

from __future__ import annotations

from pathlib import Path, PurePath

from eastwall.policy import PolicySet, parse_files, referenced_files
from eastwall.sources import proto_files

MAX_FILES = 1_000
MAX_BYTES = 4 << 20
"""Of one policy file."""


class PolicyFilesError(ValueError):
    """They cannot be read; one line: which file, why."""


def is_policy(path: PurePath) -> bool:
    """Whether a file's name is that of a policy file: `*.yaml`, `*.yml`, but not `*.test.yaml`."""
    return path.suffix in (".yaml", ".yml") and ".test." not in path.name


def policy_texts(path: Path) -> dict[str, str]:
    """The YAML files at `path` (a file, or a directory with sub-directories; `*.test.yaml` are left out) by their paths.

    Raises PolicyFilesError.
    """
    if path.is_file():
        files = [path]
    else:
        files = sorted(p for p in path.rglob("*") if is_policy(p) and p.is_file())
    if not files:
        raise PolicyFilesError(f"no policy files (*.yaml) in `{path}`")
    if len(files) > MAX_FILES:
        raise PolicyFilesError(f"`{path}` holds more than {MAX_FILES:,} policy files; name a smaller directory")
    texts = {}
    for file in files:
        try:
            if file.stat().st_size > MAX_BYTES:
                raise PolicyFilesError(f"`{file}` is over {MAX_BYTES >> 20} MiB; split it")
            texts[str(file)] = file.read_text("utf-8")
        except OSError as error:
            raise PolicyFilesError(f"`{file}` cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise PolicyFilesError(f"`{file}` is not UTF-8 (byte {error.start})") from None
    return texts


def attachments(policies: PolicySet) -> dict[str, str]:
    """The files that policies refer to (key sets, specifications), by the path `policy.referenced_files` gives. Protos are compiled,
    as base64. Raises PolicyFilesError."""
    found = {}
    for name in referenced_files(policies):
        try:
            path = Path(name)
            found[name] = proto_files.attachment(path) if proto_files.is_proto(name) else path.read_text("utf-8")
        except OSError as error:
            raise PolicyFilesError(f"`{name}`, which a policy refers to, cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise PolicyFilesError(f"`{name}`, which a policy refers to, is not text") from None
        except ValueError as error:
            raise PolicyFilesError(f"`{name}`, which a policy refers to: {error}") from None
    return found


def read_policies(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Texts of the policy files at `path`, and of the files they refer to. Raises PolicyFilesError."""
    texts = policy_texts(path)
    policies, _ = parse_files(texts)
    return texts, attachments(policies)
