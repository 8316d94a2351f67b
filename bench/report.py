"""What every bench writes: a table for people, build/bench/NAME.json for machines."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

BUILD = Path(__file__).resolve().parent.parent / "build" / "bench"


def machine() -> dict[str, Any]:
    model = ""
    try:
        model = next(
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        model = platform.processor()
    return {"cpus": os.cpu_count(), "model": model, "python": platform.python_version(), "kernel": platform.release()}


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=BUILD.parent.parent, check=False
    )
    return done.stdout.strip()


def target(name: str, wanted: str, value: float | None, met: bool | None) -> dict[str, Any]:
    """One target; `met` None: could not be measured here."""
    return {"name": name, "target": wanted, "value": value, "met": met}


def write(name: str, figures: dict[str, Any], targets: list[dict[str, Any]]) -> Path:
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / f"{name}.json"
    path.write_text(
        json.dumps({"figures": figures, "targets": targets, "machine": machine(), "commit": commit()}, indent=2) + "\n"
    )
    return path
