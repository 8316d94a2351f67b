"""Policies from where they are kept: a directory, or a commit of a Git repository, each with its origin."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from msgspec import Struct

from eastwall.model.audit import Origin
from eastwall.policy import parse_files, referenced_files
from eastwall.runtime.policy_files import MAX_BYTES, MAX_FILES, PolicyFilesError, is_policy, read_policies
from eastwall.sources import git, proto_files

MAX_REFERRED = 16 << 20
"""Bytes of all policy files of a repository, of one file that they refer to, and of all `.proto` files there together."""


class PolicySource(Struct, frozen=True):
    """Files as `Control.apply_policy` takes them."""

    files: dict[str, str]
    attachments: dict[str, str]
    origin: Origin


class Difference(Struct, frozen=True, omit_defaults=True):
    """Files of two sets that are not the same, by their names without what each set's begin with."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def from_directory(path: Path) -> PolicySource:
    """Files as they are on disk. Raises PolicyFilesError."""
    files, attachments = read_policies(path)
    base = str(path if path.is_dir() else path.parent)
    tree = git.work_tree(path)
    if tree is None:
        return PolicySource(files, attachments, Origin(source=str(path.resolve()), base=base))
    said = tree.revision
    origin = Origin(
        source=tree.source,
        path=tree.path,
        base=base,
        commit=said.commit,
        author=said.author,
        committed=said.committed,
        changed=tree.changed,
    )
    return PolicySource(files, attachments, origin)


def from_repository(
    repository: git.Repository, revision: git.Revision, ref: str, path: str, signers: git.Signers | None
) -> PolicySource:
    """Files of a commit; `signers`: who must have signed it, None asks nobody. Raises GitError, PolicyFilesError."""
    signer = repository.verify(revision.commit, signers) if signers is not None else ""
    path = _within(path)
    known = repository.files(revision.commit)
    under = f"{path}/" if path else ""
    names = [name for name in known if is_policy(PurePosixPath(name)) and (name == path or name.startswith(under))]
    where = f"`{git.shown(repository.url)}` at {revision.commit[:12]}"
    if not names:
        raise PolicyFilesError(f"no policy files (*.yaml) in {where}{f' under `{path}`' if path else ''}")
    if len(names) > MAX_FILES:
        raise PolicyFilesError(f"{where} holds more than {MAX_FILES:,} policy files; name a folder with --path")
    if large := next((name for name in names if known[name].size > MAX_BYTES), None):
        raise PolicyFilesError(f"`{large}` in {where} is over {MAX_BYTES >> 20} MiB; split it")
    if sum(known[name].size for name in names) > MAX_REFERRED:
        raise PolicyFilesError(f"the policy files in {where} are over {MAX_REFERRED >> 20} MiB; name a folder with --path")
    files = {name: _text(data, name) for name, data in zip(names, repository.read(map(known.__getitem__, names)), strict=True)}
    policies, _ = parse_files(files)
    attachments = _referred(repository, known, referenced_files(policies), where)
    origin = Origin(
        source=git.shown(repository.url),
        path=path,
        base=path if path not in known else posixpath.dirname(path),
        ref=ref,
        commit=revision.commit,
        author=revision.author,
        committed=revision.committed,
        signer=signer,
    )
    return PolicySource(files, attachments, origin)


def difference(applied: Mapping[str, str], base: str, source: Mapping[str, str], source_base: str) -> Difference:
    """What applying `source` would add, change and remove of `applied`."""
    old, new = _relative(applied, base), _relative(source, source_base)
    return Difference(
        added=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(sorted(name for name in new.keys() & old.keys() if new[name] != old[name])),
        removed=tuple(sorted(old.keys() - new.keys())),
    )


def _relative(files: Mapping[str, str], base: str) -> dict[str, str]:
    start = f"{base.rstrip('/')}/" if base not in ("", ".") else ""
    return {name.removeprefix(start): text for name, text in files.items()}


def _within(path: str) -> str:
    clean = posixpath.normpath(path.strip()) if path.strip() else ""
    if clean.startswith(("/", "..")):
        raise PolicyFilesError(f"`{path}` is not a folder in a repository; write it relative to the top")
    return "" if clean == "." else clean


def _referred(repository: git.Repository, known: Mapping[str, git.Blob], names: tuple[str, ...], where: str) -> dict[str, str]:
    """Files that policies refer to, from the same commit and from nowhere else: a repository must not name files of this machine."""
    found: dict[str, str] = {}
    protos = {}
    for name in names:
        path = posixpath.normpath(name)
        if path not in known:
            raise PolicyFilesError(f"`{name}`, which a policy refers to, is no file in {where}")
        if known[path].size > MAX_REFERRED:
            raise PolicyFilesError(f"`{name}`, which a policy refers to, is over {MAX_REFERRED >> 20} MiB in {where}")
        if proto_files.is_proto(path):
            protos[name] = path
        else:
            found[name] = _text(repository.read([known[path]])[0], name)
    return found | (_compiled(repository, known, protos) if protos else {})


def _compiled(repository: git.Repository, known: Mapping[str, git.Blob], protos: Mapping[str, str]) -> dict[str, str]:
    """Protos with all others of the commit beside them, which they may import."""
    beside = [path for path in known if proto_files.is_proto(path)]
    if sum(known[path].size for path in beside) > MAX_REFERRED:
        raise PolicyFilesError(f"the .proto files of the repository are over {MAX_REFERRED >> 20} MiB; refer to a descriptor set")
    with tempfile.TemporaryDirectory(prefix="eastwall-policy-") as folder:
        top = Path(folder).resolve()
        for path, data in zip(beside, repository.read(map(known.__getitem__, beside)), strict=True):
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_bytes(data)
        try:
            return {name: proto_files.attachment(top / path) for name, path in protos.items()}
        except (OSError, ValueError) as error:
            raise PolicyFilesError(str(error).replace(f"{top}/", "")) from None


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyFilesError(f"`{name}` is not UTF-8 (byte {error.start})") from None
