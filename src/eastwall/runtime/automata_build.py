"""`python -m eastwall.runtime.automata_build FILE`: compile the built-in patterns into a file. setup.py runs it for the wheel."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from eastwall import detections
from eastwall.detections.prefilter import Prefilter
from eastwall.discovery.data_values import automaton


def main(target: str) -> None:
    """Write what `automata_file.built` reads."""
    compiled = {"prefilter": Prefilter(detections.load()).save(), "data": automaton().save()}
    Path(target).write_bytes(msgspec.msgpack.encode(compiled))


if __name__ == "__main__":
    main(sys.argv[1])
