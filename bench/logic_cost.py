"""What the models of behaviour cost: the same calls through two engines that differ in them alone, and the same records through two learners.

Only what stands in `eastwall.behaviours` is told apart; the ownership, steps and functions of the core are in both. Inline is what a caller
waits for: judging its request and judging its answer. What an engine remembers once the answer has left, and the call's record, come on top
in the figures of all the work. A caller waits longer than the models take (`own`): what they and their remembering used meanwhile has pushed
the rest of the engine out of the processor's caches. `python -m bench.logic_cost SEED` takes another world than that of seed 5.
"""

from __future__ import annotations

import gc
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from bench.in_memory import Kept
from bench.logic_rig import Rig
from bench.logic_traffic import legitimate
from bench.logic_worlds import World
from eastwall.behaviours import BEHAVIOURS, Models, Watches
from eastwall.learning.learner import Learner
from eastwall.model.call import Call, Completion, Mode, Response
from eastwall.model.decision import Decision, Verdict
from eastwall.model.deviations import Deviation
from eastwall.model.facts import Facts
from eastwall.model.record import CallRecord
from eastwall.ports.spool import RecordWriter
from eastwall.runtime.engine import Engine

Exchange = tuple[Call, Response | None, Completion]
PASSES = 4
"""Times that all calls go through an engine with the models and through one without, in turn and each time afresh; the least time of each call
counts. Engines that took turns call by call would push each other out of the caches."""
WARM_UP = 200
"""Calls that do not count."""
COLLECT = (50_000, 20, 50)
"""Thresholds of the garbage collector, as `runtime.control_main` sets them: with Python's own, a tenth goes there."""
_PHASES = ("_request", "_response", "_after", "_completed")


def measure(seed: int = 5, learned: int = 2_000, calls: int = 1_500) -> dict[str, float]:
    """Figures of one world: microseconds per call, and records per second and core."""
    world, rng = World(seed), random.Random(seed)
    rig = Rig(world)
    legitimate(rig, learned, rng)
    rig.publish(Mode.ENFORCE)
    exchanges: list[Exchange] = []
    rig.recording = exchanges
    legitimate(rig, calls, rng)
    with_: list[tuple[float, float]] = []
    without: list[tuple[float, float]] = []
    for _ in range(PASSES):
        for times, watches in ((with_, Watches), (without, _NoWatches)):
            engine = _engine(rig)
            engine.state.watches = watches() if watches is _NoWatches else engine.state.watches
            _least(times, [_took(engine, one) for one in _quietly(exchanges)])
    figures: dict[str, float] = {}
    for at, what in enumerate(("inline", "all")):
        more = [a[at] - b[at] for a, b in zip(with_, without, strict=True)]
        figures |= {
            f"{what}_us_p50": statistics.median(one[at] for one in with_) * 1e6,
            f"{what}_without_us_p50": statistics.median(one[at] for one in without) * 1e6,
            f"behaviours_{what}_us_p50": statistics.median(more) * 1e6,
            f"behaviours_{what}_us_mean": statistics.fmean(more) * 1e6,
        }
    figures |= _own(rig, exchanges) | _by_model(rig, exchanges)
    figures |= _folds(_records(rig, exchanges))
    return {name: round(value, 2) for name, value in figures.items()}


def _quietly(exchanges: list[Exchange]) -> Iterator[Exchange]:
    """All of them, without the garbage collector."""
    gc.collect()
    gc.disable()
    yield from exchanges
    gc.enable()


def _least(times: list[tuple[float, float]], took: list[tuple[float, float]]) -> None:
    """Keeps the least of each call; the first calls warm an engine up and do not count."""
    took = took[WARM_UP:]
    times[:] = [(min(a, c), min(b, d)) for (a, b), (c, d) in zip(times, took, strict=True)] if times else took


def _own(rig: Rig, exchanges: list[Exchange]) -> dict[str, float]:
    """What the models themselves take of a call: while its caller waits, and of all its work."""
    times: list[tuple[float, float]] = []
    for _ in range(PASSES):
        engine = _engine(rig)
        watches: Any = _Stopwatch(engine.state.watches)
        engine.state.watches = watches
        took = []
        for one in _quietly(exchanges):
            watches.inline = watches.later = 0.0
            _took(engine, one)
            took.append((watches.inline, watches.inline + watches.later))
        _least(times, took)
    return {
        "own_inline_us_p50": statistics.median(inline for inline, _ in times) * 1e6,
        "own_all_us_p50": statistics.median(all_ for _, all_ in times) * 1e6,
    }


class _Stopwatch:
    """The watches of an engine, and the seconds that they took."""

    def __init__(self, watches: Watches) -> None:
        self._watches = watches
        self.inline = self.later = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watches, name)

    def request(self, *arguments: Any) -> Any:
        started = time.perf_counter()
        told = self._watches.request(*arguments)
        self.inline += time.perf_counter() - started
        return told

    def response(self, *arguments: Any) -> Any:
        started = time.perf_counter()
        told = self._watches.response(*arguments)
        self.inline += time.perf_counter() - started
        return told

    def after(self, *arguments: Any) -> None:
        started = time.perf_counter()
        self._watches.after(*arguments)
        self.later += time.perf_counter() - started

    def completed(self, *arguments: Any) -> Any:
        started = time.perf_counter()
        told = self._watches.completed(*arguments)
        self.later += time.perf_counter() - started
        return told


def _engine(rig: Rig, spool: RecordWriter | None = None) -> Engine:
    return Engine("bench", rig.store, spool or _Encoded(), clock=lambda: rig.time)


class _Encoded(Kept):
    """Encodes each record and lets it go, as the engine's spool does: records that are kept are always fresh memory, which no engine pays for."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer = bytearray()
        self._encode_into = msgspec.msgpack.Encoder().encode_into

    def append(self, record: CallRecord) -> None:
        self._encode_into(record, self._buffer)


def _records(rig: Rig, exchanges: list[Exchange]) -> list[CallRecord]:
    spool = Kept()
    engine = _engine(rig, spool)
    for one in exchanges:
        _took(engine, one)
    return spool.records


def _took(engine: Engine, exchange: Exchange) -> tuple[float, float]:
    """Seconds (inline, of all work)."""
    call, response, completion = exchange
    clock = time.perf_counter
    started = clock()
    engine.request(call)
    asked = clock()
    engine.settle()
    settled = clock()
    if response is not None:
        engine.response(call.id, response)
    answered = clock()
    engine.completed(completion)
    return asked - started + answered - settled, clock() - started


def _by_model(rig: Rig, exchanges: list[Exchange]) -> dict[str, float]:
    """Mean microseconds per call of each model, its methods timed one by one (which itself costs some tenths)."""
    engine, spent = _engine(rig), dict.fromkeys((one.name for one in BEHAVIOURS), 0.0)

    def timed(name: str, method: Any) -> Any:
        def run(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*arguments)
            finally:
                spent[name] += time.perf_counter() - started

        return run

    watches: Any = engine.state.watches
    for phase in _PHASES:
        setattr(watches, phase, tuple((at, timed(BEHAVIOURS[at].name, method)) for at, method in getattr(watches, phase)))
    gc.disable()
    for one in exchanges:
        _took(engine, one)
    gc.enable()
    return {f"{name}_us_mean": seconds / len(exchanges) * 1e6 for name, seconds in spent.items()}


class _NoWatches(Watches):
    def request(self, facts: Facts, known: Sequence[Any]) -> tuple[Deviation, ...]:
        return ()

    response = request

    def after(self, facts: Facts, verdict: Verdict, known: Sequence[Any]) -> None:
        pass

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> tuple[tuple[str, Any], ...]:
        return ()


class _NoModels(Models):
    def fold(self, told: Any) -> list[Any]:
        return []


def _folds(records: list[Any]) -> dict[str, float]:
    """Records per second, with and without the models: those of services that are new to a learner, and the same ones to a learner that has
    found its operations (`settled`). The best of five each, in turn, with the interpreter set as control sets it."""
    best: dict[str, float] = {}
    gc.collect()
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(*COLLECT)
    for _ in range(5):
        for models in ("", "_without"):
            learner = Learner(bytes(range(32)))
            if models:
                learner.behaviours = _NoModels()
            for stage in ("", "_settled"):
                started = time.perf_counter()
                learner.fold(records)
                assert not learner.unlearned, learner.fault  # to ask makes it learn from those too that wait for a template
                rate = len(records) / (time.perf_counter() - started)
                name = f"fold{stage}{models}_per_second"
                best[name] = max(best.get(name, 0.0), rate)
    gc.set_threshold(*before)
    gc.unfreeze()
    return best


if __name__ == "__main__":
    for name, value in measure(*map(int, sys.argv[1:2])).items():
        print(f"{name:32} {value:,}")
