"""A thread that looks at something every so often, and outlives whatever goes wrong with a look."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger("eastwall.control")


class Watcher:
    """`start`, later `stop`."""

    def __init__(self, name: str, seconds: float, look: Callable[[], object], failed: Callable[[OSError], None]) -> None:
        """`look` every `seconds`. `failed` is told of an OSError; anything else is logged."""
        self._name, self._seconds, self._look, self._failed = name, seconds, look, failed
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self._look()
            except OSError as error:
                self._failed(error)
            except Exception:
                log.exception("the look of %s failed", self._name)
