"""Keeps the applied policies in step with a branch of a Git repository.

Each interval the branch is fetched. When it has moved, its policies are checked and applied, all or nothing; a commit that is broken, not
signed as asked, or older than the applied one (where signatures are asked for: whoever can move a branch and cannot sign must not bring old
policies back) is not applied, is told in `fault` and once in the audit log, and what is applied stays. What is applied by hand stays
until the branch moves; `drift` shows it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from eastwall.model.audit import Origin, Who
from eastwall.runtime.audit import AuditLog
from eastwall.runtime.policy_files import PolicyFilesError
from eastwall.runtime.policy_sources import PolicySource, from_repository
from eastwall.runtime.policy_store import PolicyFaultsError
from eastwall.sources import git

log = logging.getLogger("eastwall.policy_watch")

MIN_INTERVAL = 1.0
AGAIN = 600.0
"""Seconds after which a refused commit is looked at again: services and endpoints change, and trying it on recorded calls takes its time."""


class Watched(Struct, frozen=True):
    """What to watch."""

    url: str
    ref: str = "HEAD"
    path: str = ""
    interval: float = 60.0
    """Seconds."""
    signers: git.Signers | None = None
    """None: commits need not be signed."""


class _Done(Struct, frozen=True):
    commit: str
    ref: str
    path: str


class PolicyWatch:
    """A thread of control's. `look` is one round, for whoever brings a thread of their own."""

    def __init__(
        self,
        watched: Watched,
        folder: Path,
        *,
        audit: AuditLog,
        apply_policy: Callable[..., dict[str, Any]],
        applied: Callable[[], Origin],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`folder`: where the copy of the repository is kept. `applied`: where what is applied came from. Raises GitError."""
        self.watched = watched
        self.fault = ""
        """Why the branch's present commit is not applied; empty: it is, or was."""
        self.source: PolicySource | None = None
        """The last commit that could be read."""
        self.looked = 0.0
        """When the repository was last reached."""
        git.checked_ref(watched.ref)
        self._repository = git.Repository(watched.url, folder)
        self._done_file = folder.with_suffix(".json")
        self._audit = audit
        self._apply = apply_policy
        self._applied = applied
        self._clock = clock
        self._done = self._load_done()
        """The commit that was applied last by this watch, also before control was started again: what was rolled back by hand since must
        not come back with a restart."""
        self._told = ""
        """Commit and fault that the audit log has."""
        self._refused = ("", 0.0)
        """The commit that was refused last, and when."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="policy-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def status(self, commit: str, by: str) -> dict[str, Any]:
        """For `status`: `commit` and `by` are those of the applied set."""
        head = self.source.origin.commit if self.source is not None else ""
        return {
            "source": git.shown(self.watched.url),
            "ref": self.watched.ref,
            "path": self.watched.path,
            "signed": self.watched.signers is not None,
            "commit": head,
            "looked": self.looked,
            "in_step": bool(head) and head == commit,
            "by_hand": by != "git",
            "fault": self.fault,
        }

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:
                # An unforeseen fault must not end the watch for good: it is shown, and tried again.
                log.exception("watching the policy repository failed")
                self.fault = f"{type(error).__name__}: {error}"
            if self._stop.wait(max(MIN_INTERVAL, self.watched.interval)):
                return

    def look(self) -> None:
        """One round: fetch, and apply what is new."""
        try:
            revision = self._repository.fetch(self.watched.ref)
        except git.GitError as error:
            self._fail(str(error))  # the network, or who runs it: no commit's fault, and none for the audit log
            return
        self.looked = self._clock()
        if revision.commit == self._done:
            self.fault = ""
            if self.source is not None:
                return
        if revision.commit == self._refused[0] and abs(self._clock() - self._refused[1]) < AGAIN:
            return
        try:
            source = self._read(revision)
            self.source = source
            if revision.commit != self._done:
                self._take(source, revision)
        except PolicyFaultsError as error:
            self._refuse(revision, "; ".join(str(fault) for fault in error.faults if not fault.warning)[:500])
        except (git.GitError, PolicyFilesError, ValueError) as error:
            self._refuse(revision, str(error))
        except OSError as error:
            self._fail(f"it cannot be applied: {error.strerror or error}")
        else:
            self.fault = ""

    def _read(self, revision: git.Revision) -> PolicySource:
        if self.source is not None and self.source.origin.commit == revision.commit:
            return self.source
        return from_repository(self._repository, revision, self.watched.ref, self.watched.path, self.watched.signers)

    def _take(self, source: PolicySource, revision: git.Revision) -> None:
        now = self._applied()
        if self.watched.signers is not None and now.source == source.origin.source and revision.committed < now.committed:
            raise git.GitError(
                "it is older than the applied commit, and an old signature proves nothing of today; if it is meant, apply it by hand"
            )
        self._apply(
            source.files, source.attachments, who=Who("git", name=source.origin.signer or revision.author), origin=source.origin
        )
        self._done = revision.commit
        part = self._done_file.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(_Done(revision.commit, self.watched.ref, self.watched.path)))
        part.replace(self._done_file)
        log.info("applied commit %s of the policy repository", revision.commit[:12])

    def _load_done(self) -> str:
        try:
            done = msgspec.json.decode(self._done_file.read_bytes(), type=_Done)
        except (OSError, msgspec.DecodeError):
            return ""
        return done.commit if (done.ref, done.path) == (self.watched.ref, self.watched.path) else ""

    def _refuse(self, revision: git.Revision, why: str) -> None:
        self._refused = (revision.commit, self._clock())
        self._fail(f"commit {revision.commit[:12]} is not applied: {why}")
        if self._told != self.fault:
            self._told = self.fault
            about = {"source": git.shown(self.watched.url), "ref": self.watched.ref, "commit": revision.commit, "why": why}
            try:
                self._audit.record("refused", Who("git", name=revision.author), about)
            except OSError as error:
                log.error("the audit log cannot be written: %s", error)

    def _fail(self, fault: str) -> None:
        if fault != self.fault:
            log.error("policy repository: %s", fault)
        self.fault = fault
