"""The engine process: `python -m eastwall.runtime.engine_main --data DIR --name NAME --adapter shim|extproc --socket PATH [--share]`."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from eastwall.discovery import walk
from eastwall.protocols import json
from eastwall.runtime import automata_file
from eastwall.runtime.engine import Engine
from eastwall.runtime.layout import DataDir
from eastwall.runtime.sharing import ADDRESS, SharingEngine, open_shared_state
from eastwall.stores.snapshots import FileSnapshotStore
from eastwall.stores.spool import SpoolWriter

log = logging.getLogger("eastwall.engine")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="eastwall-engine")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--adapter", choices=("shim", "extproc"), required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--share", action="store_true", help="tell other engines what is learned live, and hear what they do")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    data = DataDir(options.data.resolve())
    spool = SpoolWriter(data.spool, options.name)
    known = automata_file.known(data.run / "automata")
    try:
        shared = open_shared_state(os.environ.get(ADDRESS, ""), data.run / "shared", options.name) if options.share else None
    except ValueError as fault:
        log.error("%s: %s", ADDRESS, fault)
        return 2
    store, beat = FileSnapshotStore(data.snapshots), data.run / f"engine-{options.name}.json"
    if shared is None:
        engine = Engine(options.name, store, spool, beat=beat, automata=known)
    else:
        told = data.run / f"sharing-{options.name}.json"
        engine = SharingEngine(options.name, store, spool, beat=beat, automata=known, shared=shared, told=told)
    automata_file.keep(data.run / "automata", engine.automata())
    if not (walk.accelerated and json.accelerated):
        log.warning("the loops in C were not built at installation: their Python twins take twice the CPU per call")
    # What is loaded by now lives as long as the process. Calls make no reference cycles, so the collector only costs time;
    # a high threshold keeps it as a safety net.
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    if options.adapter == "shim":
        from eastwall.dataplanes.envoy.server import serve

        serve(options.socket, engine, stop.is_set)
    else:
        from eastwall.dataplanes.extproc.server import serve as serve_extproc

        serve_extproc(f"unix:{options.socket}", engine, stop)
    spool.close()
    if shared is not None:
        shared.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
