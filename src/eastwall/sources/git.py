"""Files out of Git repositories, by the `git` program: no work tree, no hooks, no shell.

A repository is fetched (one commit deep) into a bare one of ours, and files are read from its objects, so nothing that is in it runs and
no link in it is followed. Addresses may be `https`, `http`, `ssh`, `git`, `file` or a local path; `ext::` and other helpers that run
commands are refused, as is whatever git could take for an option. Credentials come from git's own helpers or ssh, never from an
address, and are in no message of ours.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

TIMEOUT = 60.0
"""Seconds for one run of git."""
MAX_FILES = 20_000
"""Files of a repository that are looked at."""
MAX_PACKS = 100
"""Fetches that brought something, after which the copy is made anew."""
PROTOCOLS = "file:git:http:https:ssh"
_USERINFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/@\s]*@")
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}")
_SCP = re.compile(r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9._-]+:(?!/{2}|:)\S+")
_OURS = "refs/eastwall/head"
_SIGNER = re.compile(r'Good "git" signature for (.+?) with \S+ key (\S+)')
_OPTIONS = (
    *("-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", "-c", "fetch.fsckObjects=true"),
    *("-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false"),
    *("-c", "submodule.recurse=false", "-c", "fetch.unpackLimit=1", "-c", "log.showSignature=false"),
)
_KEPT = ("GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "GIT_CONFIG_GLOBAL", "GIT_CEILING_DIRECTORIES")
"""Of git's variables in our environment; the others (GIT_DIR, GIT_TRACE, ...) would change what is read or what is told."""


class GitError(ValueError):
    """It cannot be read, or is not to be trusted; one line: what, and how to mend it."""


class Revision(Struct, frozen=True):
    """A commit."""

    commit: str
    """Its hash, hex."""
    author: str
    """`Name <address>` as it says."""
    committed: float
    """Unix seconds as it says."""
    subject: str
    """First line of its message, at most 200 characters."""


class Blob(Struct, frozen=True):
    """A file's content in a repository."""

    id: str
    """Hash of the object, hex."""
    size: int
    """Bytes."""


class Signers(Struct, frozen=True):
    """Whose signatures on commits are accepted."""

    allowed: Path | None = None
    """For SSH signatures: an allowed signers file (ssh-keygen(1), ALLOWED SIGNERS)."""
    keyring: Path | None = None
    """For OpenPGP signatures: a GnuPG home directory that holds the accepted keys and no others."""


def shown(url: str) -> str:
    """An address without credentials."""
    return _USERINFO.sub(r"\1", url)


def checked_url(url: str) -> str:
    """An address that git may be given. Raises GitError."""
    if not url or url.startswith("-") or any(c.isspace() or not c.isprintable() for c in url):
        raise GitError(f"`{shown(url)}` is not the address of a Git repository")
    if "::" in url.partition("/")[0]:
        raise GitError(f"`{shown(url)}`: transports that run a program are not taken; use https, ssh or a path")
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
        secret, host = parts.password, parts.hostname or ""
    except ValueError:
        raise GitError(f"`{shown(url)}` is not the address of a Git repository") from None
    if parts.scheme not in PROTOCOLS.split(":"):
        raise GitError(f"`{shown(url)}`: `{parts.scheme}` is not taken; use {', '.join(PROTOCOLS.split(':'))}")
    if secret is not None:
        raise GitError(f"`{shown(url)}`: a password in an address is seen in lists of processes; use a credential helper or ssh")
    if host.startswith("-") or (parts.username or "").startswith("-"):
        raise GitError(f"`{shown(url)}` is not the address of a Git repository")
    return url


def checked_ref(ref: str) -> str:
    """A branch, tag or commit that git may be given. Raises GitError."""
    if not _REF.fullmatch(ref) or ".." in ref or ref.endswith((".lock", "/", ".")) or "//" in ref or "/." in ref:
        raise GitError(f"`{ref[:200]}` is not a branch, tag or commit")
    return ref


def is_address(text: str) -> bool:
    """Whether a text that is no file's name is an address of a repository (`https://...`, `git@host:team/policies.git`)."""
    return "://" in text or "::" in text or _SCP.fullmatch(text) is not None


def is_bare(path: Path) -> bool:
    """Whether a folder is a bare repository."""
    return (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()


class Repository:
    """A copy of a repository, one commit deep. Not thread-safe."""

    def __init__(self, url: str, folder: Path, *, timeout: float = TIMEOUT) -> None:
        """`folder`: where the copy is kept; made when it is not there. Raises GitError."""
        self.url = checked_url(url)
        self._folder = folder
        self._timeout = timeout

    def fetch(self, ref: str) -> Revision:
        """The commit that `ref` (`HEAD`, a branch, a tag, a commit's hash) now names. Raises GitError."""
        checked_ref(ref)
        if sum(1 for _ in self._folder.glob("objects/pack/*.pack")) > MAX_PACKS:
            shutil.rmtree(self._folder, ignore_errors=True)  # of each commit that was fetched something is left
        if not is_bare(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _run(["init", "-q", "--bare", "--template=", "--", str(self._folder)], None, self._timeout)
        try:
            self._git("fetch", "-q", "--depth=1", "--no-tags", "--no-recurse-submodules", "--force", "--",
                      self.url, f"+{ref}:{_OURS}")  # fmt: skip
        except GitError as error:
            if "couldn't find remote ref" in str(error):
                raise GitError(f"`{shown(self.url)}` has no branch or tag `{ref}`") from None
            raise
        return self.revision(f"{_OURS}^{{commit}}")

    def revision(self, of: str) -> Revision:
        """Raises GitError."""
        return _revision(self._git("log", "-1", "--no-decorate", _FORMAT, of, "--"))

    def verify(self, commit: str, signers: Signers) -> str:
        """Who signed a commit. Raises GitError when nobody did whose signature is accepted."""
        with tempfile.TemporaryDirectory(prefix="eastwall-gnupg-") as empty:
            # What is not named accepts nobody: a signature must not pass by the keys of whoever runs us.
            keyring = str(signers.keyring) if signers.keyring is not None else empty
            allowed = str(signers.allowed) if signers.allowed is not None else os.devnull
            options = ("-c", f"gpg.ssh.allowedSignersFile={allowed}", "-c", "gpg.program=gpg", "-c", "gpg.ssh.program=ssh-keygen",
                       "-c", "gpg.x509.program=false", "-c", "gpg.minTrustLevel=undefined")  # fmt: skip
            try:
                # --raw: GnuPG's own words for machines, in no language.
                told = _run([*options, "verify-commit", "--raw", "--", commit], self._folder, self._timeout,
                            environment={"GNUPGHOME": keyring}, errors=True).decode(errors="replace")  # fmt: skip
            except GitError as error:
                raise GitError(f"commit {commit[:12]} has no accepted signature ({_why_not(str(error))})") from None
        return _signer(told)

    def files(self, commit: str) -> dict[str, Blob]:
        """Regular files of a commit by their paths. Links and submodules are left out. Raises GitError."""
        found: dict[str, Blob] = {}
        for entry in self._git("ls-tree", "-r", "-z", "-l", "--full-tree", commit, "--").split(b"\0"):
            about, _, name = entry.partition(b"\t")
            fields = about.split()
            if len(fields) == 4 and fields[0] in (b"100644", b"100755", b"100664"):
                # Names that are not UTF-8 are nobody's policy; they stay tellable.
                found[name.decode(errors="backslashreplace")] = Blob(fields[2].decode(), int(fields[3]))
                if len(found) > MAX_FILES:
                    raise GitError(
                        f"`{shown(self.url)}` has more than {MAX_FILES:,} files; keep policies in a repository of their own"
                    )
        return found

    def read(self, blobs: Iterable[Blob]) -> list[bytes]:
        """Contents of files that `files` gave, in their order. Raises GitError."""
        asked = list(blobs)
        out = _run(["cat-file", "--batch"], self._folder, self._timeout, given="".join(f"{blob.id}\n" for blob in asked).encode())
        found, at = [], 0
        for blob in asked:
            end = out.find(b"\n", at)
            if out[at:end].split() != [blob.id.encode(), b"blob", str(blob.size).encode()]:
                raise GitError(f"`{shown(self.url)}`: object {blob.id[:12]} cannot be read")
            found.append(out[end + 1 : end + 1 + blob.size])
            at = end + 2 + blob.size
        return found

    def _git(self, *arguments: str) -> bytes:
        return _run(list(arguments), self._folder, self._timeout)


class WorkTree(Struct, frozen=True):
    """Where in a work tree a path is."""

    source: str
    """The address of its remote `origin`, without credentials; the folder where it has none."""
    path: str
    """Relative to the top; empty: the top."""
    revision: Revision
    changed: bool
    """There are changes at the path that are not committed."""


def work_tree(path: Path) -> WorkTree | None:
    """What Git says of files on disk; None when they are in no work tree, or git is not there, or it cannot say."""
    folder = path if path.is_dir() else path.parent
    try:
        top = _run(["rev-parse", "--show-toplevel"], folder, TIMEOUT).decode().rstrip("\n")
        revision = _revision(_run(["log", "-1", "--no-decorate", _FORMAT, "HEAD", "--"], folder, TIMEOUT))
        changed = bool(
            _run(["status", "--porcelain", "--untracked-files=all", "--", str(path.resolve())], folder, TIMEOUT).strip()
        )
    except GitError:
        return None
    try:
        remote = _run(["config", "--get", "remote.origin.url"], folder, TIMEOUT).decode().strip()
    except GitError:
        remote = ""
    within = os.path.relpath(path.resolve(), Path(top).resolve())
    return WorkTree(shown(remote) or top, "" if within == "." else within, revision, changed)


_FORMAT = "--format=%H%x00%an <%ae>%x00%ct%x00%s"


def _revision(line: bytes) -> Revision:
    commit, author, seconds, subject = line.decode(errors="replace").rstrip("\n").split("\0", 3)
    return Revision(commit, _printable(author), float(seconds), _printable(subject))


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:200]


def _signer(told: str) -> str:
    if found := _SIGNER.search(told):
        return _printable(f"{found[1]} {found[2]}")
    if found := re.search(r"^\[GNUPG:\] GOODSIG \S+ (.+)$", told, re.MULTILINE):
        key = re.search(r"^\[GNUPG:\] VALIDSIG (\S+)", told, re.MULTILINE)
        return _printable(f"{found[1]} {key[1] if key else ''}".strip())
    raise GitError("git verified a signature and did not say whose; a newer git is needed")


def _why_not(told: str) -> str:
    if "NO_PUBKEY" in told or "No principal matched" in told or "no principal matched" in told.lower():
        return "the key is not among the accepted ones"
    for word, why in (("BADSIG", "it does not fit the commit"), ("EXPKEYSIG", "the key has expired"), ("REVKEYSIG", "the key was revoked"),
                      ("EXPSIG", "it has expired"), ("cannot run", told), ("not installed", told)):  # fmt: skip
        if word in told:
            return why
    if "allowedsignersfile" in told.lower() or "Unable to open allowed keys" in told:
        return "the file of allowed signers cannot be read"
    return "it is not signed" if told.endswith("said nothing") else told


def _environment(more: dict[str, str] | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in _KEPT}
    return {
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        **kept,
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_ALLOW_PROTOCOL": PROTOCOLS,
        "GIT_OPTIONAL_LOCKS": "0",
        **(more or {}),
    }


def _run(
    arguments: list[str],
    folder: Path | None,
    timeout: float,
    *,
    environment: dict[str, str] | None = None,
    errors: bool = False,
    given: bytes = b"",
) -> bytes:
    """What git printed (`errors`: also on stderr) when it was `given` this. Raises GitError with its words."""
    program = shutil.which("git")
    if program is None:
        raise GitError("the program `git` is not installed; install it, or apply a directory")
    where = [] if folder is None else ["-C", str(folder)]
    try:
        process = subprocess.Popen(
            [program, *where, *_OPTIONS, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(environment),
            start_new_session=True,
        )
    except OSError as error:
        raise GitError(f"git cannot be run: {error.strerror}") from None
    try:
        out, err = process.communicate(given, timeout=timeout)
    except subprocess.TimeoutExpired:
        # Its helpers (ssh, git-remote-https) too: they would keep the pipes open.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise GitError(f"git {arguments[0]} did not end within {timeout:g} s") from None
    if process.returncode:
        raise GitError(_told(err.decode(errors="replace"), arguments))
    return out + err if errors else out


def _told(text: str, arguments: list[str]) -> str:
    """Git's complaint on one line, credentials taken out: what it calls fatal, else all of it."""
    lines = [" ".join(line.split()) for line in shown(text).splitlines() if line.strip()]
    fatal = [line.partition(": ")[2] for line in lines if line.startswith(("fatal: ", "error: "))]
    said = "; ".join(dict.fromkeys(fatal or lines))
    said = "".join(c for c in said if c.isprintable())[:400].rstrip(".")
    name = next((a for a in arguments if not a.startswith("-") and "=" not in a), "")
    return f"git {name}: {said}" if said else f"git {name} failed and said nothing"
