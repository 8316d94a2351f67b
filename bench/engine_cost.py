"""What the engine process spends on one call, without the socket: request, response, completion, record and spool.

    python -m bench.engine_cost [--size 0.5|4|64] [--split] [--against DIR]

The figure is CPU time of the process (not wall time, so that other load on the machine counts less), the best of many short batches:
what else the machine does can only add to it. Even so a busy machine's caches make it larger; to compare two versions, measure them
in turns in one run: `--against DIR` does so with another checkout in DIR (its `src` and `bench`) and prints the ratio.

`--split` says where the time goes, by the functions that `decide` calls; their sum is less than the whole by what calling them takes.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import decide_cost
from eastwall.model.call import BodyState, Call, Completion, Response
from eastwall.runtime.engine import Engine
from eastwall.stores.snapshots import FileSnapshotStore
from eastwall.stores.spool import SpoolWriter

BATCHES = 40
CALLS = {"0.5": 400, "4": 100, "64": 10}
"""Calls per batch, by body size: about 20 ms."""
TICK = 32
"""Calls between two looks at the clock, the snapshot file and the buffer of records, as in a busy engine."""


class Rig:
    """An engine on a real snapshot file and a real spool."""

    def __init__(self, directory: Path, size: int) -> None:
        store = FileSnapshotStore(directory / "snapshot")
        store.publish(decide_cost.snapshot())
        self.engine = Engine("bench", store, SpoolWriter(directory / "spool", "bench"))
        # As in runtime/engine_main.py.
        gc.collect()
        gc.freeze()
        gc.set_threshold(200_000, 20, 20)
        self.body, answer = decide_cost.bodies(size)
        self.response = Response(
            status=200, headers={"content-type": "application/json"}, body=answer, body_state=BodyState.COMPLETE
        )
        self.number = 0

    def batch(self, calls: int) -> float:
        """CPU seconds per call. What the data plane would build (calls, completions) is built before."""
        made = [self.call() for _ in range(calls)]
        engine, response = self.engine, self.response
        begin = time.process_time()
        for number, (call, completion) in enumerate(made):
            engine.request(call)
            engine.response(call.id, response)
            engine.completed(completion)
            if number % TICK == TICK - 1:
                engine.tick(time.time())
        return (time.process_time() - begin) / calls

    def call(self) -> tuple[Call, Completion]:
        call = decide_cost.call(self.body, self.number)
        self.number += 1
        completion = Completion(
            id=call.id,
            service="orders",
            time=call.time,
            method="POST",
            path="/orders",
            authority="orders",
            status=200,
            request_bytes=len(self.body),
            response_bytes=len(self.response.body),
            duration_us=1000,
            peer_address="127.0.0.1",
        )
        return call, completion


def measure(sizes: list[str], batches: int = BATCHES) -> dict[str, float]:
    """us of CPU per call by body size: the best batch, and the median one."""
    figures: dict[str, float] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as directory:
            rig = Rig(Path(directory), decide_cost.SIZES[size])
            rig.batch(CALLS[size] * 2)
            times = [rig.batch(CALLS[size]) * 1e6 for _ in range(batches)]
        figures[f"engine_us_{size}"] = min(times)
        figures[f"engine_us_{size}_median"] = statistics.median(times)
    return figures


def compare(sizes: list[str], other: Path, rounds: int = 8) -> dict[str, float]:
    """Both checkouts in turns, best of all rounds."""
    best: dict[str, float] = {}
    here = Path(__file__).resolve().parent.parent
    for _ in range(rounds):
        for name, root in (("here", here), ("there", other.resolve())):
            environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
            # This very file runs in both, so that it is the engines that differ and not the bench.
            command = [sys.executable, str(Path(__file__).resolve()), "--json", "--batches", "10"]
            command += [word for size in sizes for word in ("--size", size)]
            done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"`{root}` cannot be measured: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
            for key, value in json.loads(done.stdout).items():
                best[f"{key}_{name}"] = min(best.get(f"{key}_{name}", value), value)
    return best


def split(size: str) -> dict[str, float]:
    """us per call of the steps of `decide`, record and spool, on calls whose shape is not sampled."""
    from msgspec.structs import replace

    from eastwall.decision.decide import compare, decide, evaluate, examine, extract, identify, remember, resolve
    from eastwall.decision.extract import find, read_request, read_response
    from eastwall.protocols.decode import decode_request, decode_response

    with tempfile.TemporaryDirectory() as directory:
        rig = Rig(Path(directory), decide_cost.SIZES[size])
        live, state = rig.engine.snapshot, rig.engine.state
        call, _ = rig.call()
        decide(call, live, state)
        first = decide(call, live, state)
        answered = replace(call, response=rig.response, prior=first)
        second = decide(answered, live, state)
        op, op2, match, who = first.facts.operation, second.facts.operation, first.match, first.identity
        steps: dict[str, Callable[[], Any]] = {
            "decode_request": lambda: decode_request(call.request, live.limits),
            "identify": lambda: identify(call.service, op, live.inventory),
            "resolve": lambda: resolve(call, live.trust),
            "extract (request)": lambda: extract(call, op, match, who, live, state),
            "  walk of the request": lambda: read_request(op, match, live.hash_key, ""),
            "  prefilter": lambda: live.prefilter.scan(call.request, op),
            "  sensitive data (request)": lambda: find(op),
            "compare (request)": lambda: compare(first.facts, live, state),
            "examine (request)": lambda: examine(first.facts, live),
            "evaluate": lambda: evaluate(live.plan, first.facts, (), (), state.limits),
            "decode_response": lambda: decode_response(rig.response, call.request, live.limits, op),
            "extract (response)": lambda: extract(answered, op2, match, who, live, state),
            "  walk of the response": lambda: read_response(op2, match, live.hash_key, ""),
            "  sensitive data (response)": lambda: find(op2),
            "compare (response)": lambda: compare(second.facts, live, state),
            "examine (response)": lambda: examine(second.facts, live),
            "remember (request)": lambda: remember(first.facts, first.verdict, live, state),
            "remember (response)": lambda: remember(second.facts, second.verdict, live, state),
            "decide, both phases": lambda: decide(
                replace(call, response=rig.response, prior=decide(call, live, state)), live, state
            ),
        }
        return {name: _best(step, CALLS[size]) * 1e6 for name, step in steps.items()}


def _best(step: Callable[[], Any], calls: int) -> float:
    times = []
    for _ in range(BATCHES):
        begin = time.process_time()
        for _ in range(calls):
            step()
        times.append((time.process_time() - begin) / calls)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.engine_cost", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=tuple(CALLS), action="append", help="body of the request in KB; may be given again")
    parser.add_argument("--split", action="store_true", help="where the time goes, for the first size")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, measured in turns")
    parser.add_argument("--batches", type=int, default=BATCHES, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="figures for programs")
    options = parser.parse_args()
    sizes = options.size or list(CALLS)
    if options.split:
        figures = split(sizes[0])
    elif options.against:
        figures = compare(sizes, options.against)
    else:
        figures = measure(sizes, options.batches)
    if options.json:
        print(json.dumps(figures))
        return
    shown = Table("engine CPU for one call", "us", box=None)
    for name, value in figures.items():
        shown.add_row(name, f"{value:,.1f}")
    for size in sizes if options.against else ():
        shown.add_row(f"{size} KB: here / there", f"{figures[f'engine_us_{size}_here'] / figures[f'engine_us_{size}_there']:.3f}")
    Console(width=100).print(shown)


if __name__ == "__main__":
    main()
