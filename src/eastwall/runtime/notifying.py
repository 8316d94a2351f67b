"""Sends notifications: a bounded queue, tried again with growing pauses, in a thread of its own."""

from __future__ import annotations

import heapq
import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from eastwall.exports import syslog, webhook
from eastwall.exports.delivery import DeliveryError
from eastwall.policy.kinds import Notify
from eastwall.policy.meaning_playbooks import SECRET, webhook_problem

log = logging.getLogger("eastwall.notifying")

MAX_QUEUED = 1_000
PAUSES = (1.0, 5.0, 30.0, 120.0)
"""Seconds before the 2nd, 3rd, ... try; after the last one it is given up."""
MAX_SECRET = 4_096
PREFIX = "EASTWALL_NOTIFY_"
"""Environment variables that may hold a secret: EASTWALL_NOTIFY_ and its name in capitals, `-` as `_`."""


class Notice(Struct, frozen=True):
    """What there is to tell."""

    at: float
    """Unix seconds."""
    kind: str
    """`playbook-run`, `playbook-end`, ..."""
    severity: str
    text: str
    """One plain sentence."""
    about: dict[str, Any]
    """Particulars for machines; nothing secret."""


class Secrets:
    """Secrets of notifications by name: the environment, then files of a folder; read when they are used."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environment = os.environ if environment is None else environment

    def __call__(self, name: str) -> str:
        """Raises DeliveryError."""
        if not SECRET.fullmatch(name):
            raise DeliveryError("the name of the secret is not one", again=False)
        found = self._environment.get(PREFIX + name.upper().replace("-", "_"), "")
        if not found:
            try:
                with (self._folder / name).open("rb") as file:
                    found = file.read(MAX_SECRET).decode()
            except (OSError, UnicodeDecodeError):
                raise DeliveryError(
                    f"there is no secret `{name}` in the environment or in `{self._folder}`", again=False
                ) from None
        return found.strip()


class _Queued(Struct, frozen=True):
    to: Notify
    notice: Notice
    tries: int


class Notifier:
    """Thread-safe."""

    def __init__(
        self, secrets: Secrets, failed: Callable[[Notify, Notice, str], None], *, pauses: tuple[float, ...] = PAUSES
    ) -> None:
        """`failed`: told of what was given up."""
        self._secrets = secrets
        self._failed = failed
        self._pauses = pauses
        self._queue: list[tuple[float, int, _Queued]] = []
        self._number = 0
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.sent = 0
        self.lost = 0
        self.fault = ""
        """Why the last one did not arrive; gone when one arrives."""

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 3.0) -> None:
        """Send what is due, for so long at most; what waits to be tried again is given up."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(seconds)

    def tell(self, to: Notify, notice: Notice) -> None:
        """Queue; returns at once."""
        self._put(_Queued(to, notice, 0), 0.0)

    def _put(self, queued: _Queued, pause: float) -> None:
        with self._wake:
            full = len(self._queue) >= MAX_QUEUED
            if not full:
                self._number += 1
                heapq.heappush(self._queue, (time.monotonic() + pause, self._number, queued))
                self._wake.notify()
        if full:
            self._give_up(queued, f"{MAX_QUEUED} notifications wait already")

    def _next(self) -> _Queued | None:
        with self._wake:
            while True:
                due = self._queue[0][0] - time.monotonic() if self._queue else None
                if due is not None and due <= 0:
                    return heapq.heappop(self._queue)[2]
                if self._stopping:
                    return None
                self._wake.wait(due)

    def _run(self) -> None:
        while (queued := self._next()) is not None:
            try:
                self._deliver(queued.to, queued.notice)
            except DeliveryError as error:
                self.fault = f"a notification of `{queued.notice.about.get('playbook', '')}` did not arrive: {error}"
                log.warning("%s", self.fault)
                if error.again and queued.tries < len(self._pauses):
                    self._put(_Queued(queued.to, queued.notice, queued.tries + 1), self._pauses[queued.tries])
                else:
                    self._give_up(queued, str(error))
            except Exception as error:  # what is wrong with one must not end all
                log.exception("a notification failed")
                self._give_up(queued, type(error).__name__)
            else:
                self.sent += 1
                self.fault = ""

    def _deliver(self, to: Notify, notice: Notice) -> None:
        if to.syslog:
            about = {name: ", ".join(value) if isinstance(value, list) else str(value) for name, value in notice.about.items()}
            data = syslog.message(
                notice.at, notice.severity, notice.kind, about, notice.text, host=socket.gethostname(), pid=os.getpid()
            )
            syslog.send(to.syslog, data)
            return
        url = self._secrets(to.webhook_secret) if to.webhook_secret else to.webhook
        try:
            wrong = webhook_problem(url)
        except ValueError:
            wrong = "it is not an address"
        if wrong:
            raise DeliveryError(f"the webhook's address cannot be used: {wrong}", again=False)
        bearer = self._secrets(to.bearer_secret) if to.bearer_secret else ""
        if not bearer.isascii() or not bearer.isprintable():
            raise DeliveryError(f"the secret `{to.bearer_secret}` is not a token", again=False)
        webhook.post(url, slack(notice) if to.format == "slack" else document(notice), bearer=bearer)

    def _give_up(self, queued: _Queued, why: str) -> None:
        self.lost += 1
        self.fault = f"a notification of `{queued.notice.about.get('playbook', '')}` was given up: {why}"
        self._failed(queued.to, queued.notice, why)


def document(notice: Notice) -> bytes:
    """The JSON that a webhook gets."""
    return json.dumps(
        {"source": "eastwall", "kind": notice.kind, "time": notice.at, "severity": notice.severity, "text": notice.text, "about": notice.about},
        ensure_ascii=True,
    ).encode()  # fmt: skip


def slack(notice: Notice) -> bytes:
    """The same for Slack and what is compatible: `&`, `<` and `>` have a meaning there, which names out of calls must not have."""
    said = "".join(char if char.isprintable() else " " for char in notice.text)[:3_000]
    for char, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        said = said.replace(char, escaped)
    return json.dumps({"text": re.sub(r"\s+", " ", said)}).encode()
