"""The collector process: `python -m eastwall.runtime.collector_main --data DIR [--otlp HOST:PORT] [--otlp-http HOST:PORT] [--als HOST:PORT]`.

It says once a second what it does in DIR/run/engine-collector.json (as engines do, so that `status` shows it) and DIR/run/collector.json.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from eastwall.runtime.addresses import is_loopback
from eastwall.runtime.layout import DataDir


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="eastwall-collector")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--otlp", default="")
    parser.add_argument("--otlp-http", default="")
    parser.add_argument("--als", default="")
    parser.add_argument("--token", action="store_true", help="ask senders for the token, also on loopback")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        from eastwall.runtime.collector import AddressError, Addresses, Collector, ingest_token
        from eastwall.runtime.importing import Importer
        from eastwall.sources.observed import SourceError
    except ImportError as error:
        print(f"eastwall collector: receivers need the package `{error.name}`: install eastwall[all]", file=sys.stderr)
        return 1
    # Recordings can wait, calls that pass through cannot.
    os.nice(5)
    data = DataDir(options.data.resolve())
    addresses = Addresses(options.otlp, options.otlp_http, options.als)
    used = [address for address in (addresses.otlp, addresses.otlp_http, addresses.als) if address]
    token = ingest_token(data.secrets) if options.token or not all(map(is_loopback, used)) else ""
    beat = data.run / "engine-collector.json"
    importer = Importer(data, "collector", beat=beat, wait=False)
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    try:
        collector = Collector(importer, token, data.run / "collector.json")
        asyncio.run(collector.run(addresses, stop.is_set, importer.tick))
    except (AddressError, SourceError) as error:
        print(f"eastwall collector: {error}", file=sys.stderr)
        return 1
    finally:
        importer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
