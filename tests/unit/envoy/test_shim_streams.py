"""The shim's streams under sanitizers: Envoy and the engine are played at random, both ways at once, with losses and refusals."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests.unit.envoy.building import build

SOURCES = ("filter.c", "stream.c", "message.c", "frames.c", "settings.c", "ulid.c")


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("streams"), "streams", "address,undefined", "stream_harness.c", *SOURCES)


@pytest.mark.parametrize("seed", range(4))
def test_what_goes_in_comes_out_or_the_stream_ends(harness: Path, seed: int) -> None:
    done = subprocess.run([str(harness), str(seed + 1), "1500"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[:4000]
    counts = json.loads(done.stdout)
    assert counts["pieces"] > 5_000
    assert min(counts["refusals"], counts["failures"], counts["whole"]) > 80
