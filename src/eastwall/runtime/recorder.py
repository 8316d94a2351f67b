"""Records on their way into lake and learner, and the learner's own life: loaded, saved, merged, taught again.

A batch is taken from the spool, stored, folded, the learner saved and the batch acknowledged, in this order: killed at any point, the
batch comes again, and neither lake nor learner takes it twice. When the lake stalls or the disk is full, the spool keeps the records.

Two locks: `alone` is held by whoever reads or changes the learner; the record lock from storing calls to learning from them, so that
learning anew takes each once. The record lock is taken first.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from eastwall.learning.learner import Learner
from eastwall.model.endpoint import Endpoint
from eastwall.model.record import CallRecord
from eastwall.runtime import learner_state
from eastwall.runtime.baselines import ActLog, recover
from eastwall.runtime.feedback import FeedbackStore, Relearning
from eastwall.runtime.layout import DataDir
from eastwall.runtime.learning import read_state, write_state
from eastwall.stores.chdb.lake import ChdbLake, LakeError
from eastwall.stores.spool import SpoolReader

log = logging.getLogger("eastwall.control")

BATCH_RECORDS = 5_000
BATCH_SECONDS = 1.0
EXPIRE_SECONDS = 3_600.0
"""Days that are too old are looked for this often."""


class Recorder:
    """One per data directory, beside control. Its loop is run by a thread of control's."""

    def __init__(
        self,
        data: DataDir,
        hash_key: bytes,
        *,
        lake: ChdbLake | None = None,
        stop: threading.Event,
        changed: threading.Event,
        faults: dict[str, str],
        retention_days: int = 0,
    ) -> None:
        """`lake`: in place of the directory's own. `stop` ends the loop, `changed` is set when calls were learned, `faults` are shown in
        `status`. Opens spool, lake and learner. Raises LakeError, SpoolBusyError, SpoolCorruptError, ValueError: one clear line each."""
        self.spool = SpoolReader(data.spool)
        self.lake = lake if lake is not None else ChdbLake(data.lake)
        self.feedback = FeedbackStore(data.root / "learner" / "feedback.json")
        self.acts = ActLog(data.root / "baselines" / "promotions.jsonl")
        """What was done to the baselines, by the rules and by people."""
        self.last_batch_at = 0.0
        self.save_seconds = 0.0
        self.see: Callable[[Sequence[CallRecord]], None] = lambda records: None
        """Shown each batch once it is stored and learned; again when it comes again after a crash."""
        self._hash_key = hash_key
        self._stop = stop
        self._changed = changed
        self._faults = faults
        self._retention_days = retention_days
        self._expired_at = -EXPIRE_SECONDS
        self._learner_file = data.root / "learner" / "state"
        self._learner_lock = threading.Lock()
        self._record_lock = threading.Lock()
        self._last_token = ""
        self._unlearned = 0
        if self.acts.fault:
            log.error("%s", self.acts.fault)
            faults["baselines"] = self.acts.fault
        self._learner = self._load()

    def close(self) -> None:
        """Close lake and spool; what waits in the spool stays there."""
        self.lake.close()
        self.spool.close()

    @contextlib.contextmanager
    def alone(self) -> Iterator[Learner]:
        """The learner, for one thread at a time."""
        with self._learner_lock:
            yield self._learner

    def loop(self) -> None:
        """Record until stopped; then what is left in the spool, as far as it goes."""
        while True:
            stopping = self._stop.is_set()
            taken = 0
            try:
                taken = self.batch()
                self._faults.pop("recorder", None)
            except (LakeError, OSError) as error:
                if self._faults.get("recorder") != str(error):
                    log.error("records wait in the spool: %s", error)
                self._faults["recorder"] = str(error)
                if stopping:
                    return
            except Exception as error:
                # An unforeseen fault must not end recording for good: it is shown, and tried again.
                log.exception("recording a batch failed")
                self._faults["recorder"] = f"{type(error).__name__}: {error}"
                if stopping:
                    return
            if stopping and not taken:
                return
            if taken < BATCH_RECORDS and not stopping:
                # Saving a big learner state takes its time; it may take a tenth of ours.
                self._stop.wait(max(BATCH_SECONDS, 10 * self.save_seconds))

    def batch(self, limit: int = BATCH_RECORDS) -> int:
        """Move one batch from the spool to lake and learner; the number of its records, 0 when there was nothing."""
        batch = self.spool.read(limit)
        if batch is None:
            self._expire()
            return 0
        self.record(batch.records, batch.token, batch.encoded)
        self.spool.acknowledge(batch)
        return len(batch.records)

    def record(self, records: Sequence[CallRecord], token: str, encoded: Sequence[bytes] = ()) -> None:
        """Store and learn records. `token`: a name of just these; the same one twice in a row stores and learns once. `encoded`: them in
        MessagePack, where that is at hand. Raises LakeError, OSError."""
        with self._record_lock:
            self.lake.insert(records, token, encoded)
            if token != self._last_token:
                with self._learner_lock:
                    self._learner.fold(self.feedback.book.teaching(records))
                    self._save(token)
                    if self._learner.unlearned > self._unlearned:
                        self._unlearned = self._learner.unlearned
                        fault = f"{self._unlearned:,} calls could not be learned from; the last: {self._learner.fault}"
                        log.error("%s", fault)
                        self._faults["learner"] = fault
                self._last_token = token
            self.see(records)
        self.last_batch_at = time.time()
        self._changed.set()

    def learned(self, *, lazy: bool = False) -> tuple[Endpoint, ...]:
        """What engines are to judge by, with the learner alone. What was promoted is written down before it counts. Raises OSError."""
        endpoints = self._learner.endpoints(lazy=lazy)
        self._write_acts()
        return self.feedback.book.excuse(endpoints, time.time())

    def knowledge(self, endpoints: Sequence[Endpoint]) -> tuple[tuple[str, bytes], ...]:
        """What models of behaviour know, likewise; `endpoints` as `learned` gave them. Raises OSError."""
        known = self._learner.knowledge(endpoints)
        self._write_acts()
        return known

    def _write_acts(self) -> None:
        acts = self._learner.baselines.since(self.acts.seq)
        if acts:
            self.acts.append(acts)

    def teach(self, record: CallRecord) -> None:
        """Learn from one call that was said to be fine. Raises OSError."""
        with self._learner_lock:
            self._learner.fold([record])
            self._save(self._last_token)
            self.feedback.known(self.feedback.marks())

    def relearn(self, declared: Callable[[], Mapping[str, tuple[Endpoint, ...]]]) -> None:
        """Learn anew from the lake, with what analysts said, and put it in place of what was learned. `declared`: what specifications say, by
        service. Raises LakeError, OSError."""
        fresh = self._fresh()
        marks, book = self.feedback.marks(), self.feedback.book
        learning = Relearning(fresh, self.lake.following, book)
        for _ in learning.run():
            if self._stop.is_set():
                return
        with self._record_lock:
            for _ in learning.run():  # what was stored meanwhile
                pass
            with self._learner_lock:
                for name, endpoints in declared().items():
                    fresh.declare(name, endpoints)
                for act in self._learner.baselines.acts():
                    fresh.baselines.replay(act)
                self._learner = fresh
                self.learned()
                self._save(self._last_token)
                self.feedback.known(marks)
        self._changed.set()

    def take_in(self, learned: Learner) -> None:
        """Add what another learner has learned. It is kept beside, since its calls are not in the lake. Raises OSError."""
        with self._record_lock, self._learner_lock:
            number = 1 + max((int(file.stem) for file in self._taken_in()), default=0)
            write_state(self._learner_file.parent / "taught" / f"{number:06d}.state", learned)
            self._learner.merge(learned)
            self._save(self._last_token)

    def _save(self, token: str) -> None:
        """With the learner alone. Raises OSError."""
        started = time.monotonic()
        learner_state.save(self._learner_file, self._learner.to_bytes(), token)
        self.save_seconds = time.monotonic() - started

    def _taken_in(self) -> list[Path]:
        return sorted((self._learner_file.parent / "taught").glob("[0-9]*.state"))

    def _fresh(self) -> Learner:
        """A learner that knows what `take_in` gave and no call, and what was done to the baselines: that is done again as it learns."""
        learner = Learner(self._hash_key)
        for file in self._taken_in():
            try:
                learner.merge(read_state(file, self._hash_key))
            except ValueError as error:
                log.error("%s: it is left out", error)
                self._faults["learner"] = f"{error}: it is left out"
        for act in self.acts.acts:
            learner.baselines.replay(act)
        return learner

    def _load(self) -> Learner:
        try:
            found = learner_state.load(self._learner_file)
            if found is None:
                return self._fresh()
            self._last_token = found.token
            learner = Learner.from_bytes(found.state, self._hash_key)
            recover(learner.baselines, self.acts)
            return learner
        except ValueError as error:
            log.error("%s; learning again from the lake", error)
            self._faults["learner"] = (
                f"{error}; learned again from the lake at {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
            )
            with contextlib.suppress(OSError):
                self._learner_file.rename(self._learner_file.with_suffix(".corrupt"))
            learner = self._fresh()
            for _ in Relearning(learner, self.lake.following, self.feedback.book).run():
                pass
            with contextlib.suppress(OSError):  # else it is learned again at the next start
                learner_state.save(self._learner_file, learner.to_bytes(), "")
                self.feedback.known(self.feedback.marks())
            return learner

    def _expire(self) -> None:
        if self._retention_days and time.monotonic() - self._expired_at > EXPIRE_SECONDS:
            self._expired_at = time.monotonic()
            for day in self.lake.expire(time.time() - self._retention_days * 86_400):
                log.info("dropped the calls of %s: older than %d days", day, self._retention_days)
