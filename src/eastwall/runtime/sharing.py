"""An engine that tells others what it learns live, and hears what they do: one caller whose calls reach several is judged as by one.

News is told once per tick. Steps of business flows are told before the answer leaves, and what others told is heard before a call is judged:
so on one machine a call that follows from another's answer finds its step done, whichever engine saw it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from eastwall.model.call import Call, Response
from eastwall.model.decision import Answer, Piece, Release
from eastwall.ports.shared_state import Entry, SharedState
from eastwall.runtime.engine import Engine

log = logging.getLogger("eastwall.engine")

ADDRESS = "EASTWALL_SHARED_STATE"
"""Environment variable that names the store, see `open_shared_state`; a variable, because a URL may have a password in it."""
REPORT = 1.0
"""Seconds between two looks at how sharing goes."""


def open_shared_state(address: str, directory: Path, name: str) -> SharedState | None:
    """The store that `address` names: `off` for none, empty for files in `directory`, or a `valkey://` or `valkeys://` URL.

    Raises `ValueError` for any other; the message never holds the URL, which may have a password in it.
    """
    if address == "off":
        return None
    if not address:
        from eastwall.stores.shared_rings import SharedRings

        return SharedRings(directory, name)
    if address.startswith(("valkey://", "valkeys://")):
        from eastwall.stores.shared_valkey import SharedValkey

        return SharedValkey(address, name)
    raise ValueError("the address of shared state is none: write `off`, or a URL that begins with valkey:// or valkeys://")


class SharingEngine(Engine):
    """An `Engine` with a `SharedState`."""

    def __init__(self, *args: Any, shared: SharedState, told: Path | None = None, **options: Any) -> None:
        """`told`: a file in which it says once a second how sharing goes."""
        super().__init__(*args, **options)
        self._shared = shared
        self._waiting: Callable[[], bool] = shared.waiting
        self._report = told
        self._next_report = 0.0
        self._at_once = shared.at_once
        self._damaged = 0
        self._fault = ""
        self.state.share(at_once=shared.at_once, engine=self.name)
        past: list[Entry] = []
        while found := shared.hear():
            past += found
        health = shared.health()
        missed = health.lost + health.damaged
        self._damaged = self.state.recall([(one.topic, one.data) for one in past], whole=not missed)
        self._missed = missed + self._damaged

    def request(self, call: Call) -> Answer:
        if self._waiting():
            self.settle()
            self._hear()
        answer = super().request(call)
        if self._at_once and self.state.limits.urgent():
            self._tell()
        return answer

    def response(self, call_id: str, response: Response) -> Answer:
        answer = super().response(call_id, response)
        if self._due is not None and self.state.presumed(self._due[1].facts):
            self.settle()
        if self.state.urgent():
            self._tell()
        return answer

    def piece(self, piece: Piece) -> Release:
        release = super().piece(piece)
        if self.state.urgent():
            self._tell()
        return release

    def tick(self, now: float) -> None:
        super().tick(now)
        self._tell()
        self._hear()
        if now >= self._next_report:
            self._next_report = now + REPORT
            self._tell_health()

    def _tell(self) -> None:
        news = self.state.news()
        if news:
            self._shared.tell([Entry(topic, data) for topic, data in news])

    def _hear(self) -> None:
        for entry in self._shared.hear():
            try:
                self.state.hear(entry.topic, entry.data)
            except ValueError as fault:
                self._damaged += 1
                if self._damaged == 1:
                    log.warning("shared state: %s", fault)
        health = self._shared.health()
        self.state.limits.outage = health.fault
        if health.lost + health.damaged + self._damaged > self._missed:
            self._missed = health.lost + health.damaged + self._damaged
            self.state.steps.forget()
            self.state.limits.tools.forget()
            self.state.watches.of("sessions").forget()

    def _tell_health(self) -> None:
        health = self._shared.health()
        if health.fault != self._fault:
            self._fault = health.fault
            if health.fault:
                log.warning("shared state: %s; this engine goes by what it sees itself", health.fault)
            else:
                log.info("shared state: works again")
        if self._report is None:
            return
        said: Mapping[str, object] = {
            **msgspec.to_builtins(health),
            "name": self.name,
            "damaged": health.damaged + self._damaged,
            "dropped": health.dropped + self.state.untold,
        }
        part = self._report.with_suffix(".part")
        try:
            part.write_text(json.dumps(said))
            os.replace(part, self._report)
        except OSError as fault:
            log.warning("`%s` cannot be written: %s", self._report, fault)
