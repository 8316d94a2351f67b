"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.harness import Upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def short_dir() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ew"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module", params=["shim", "extproc"])
def adapter(request: pytest.FixtureRequest) -> str:
    """Every end-to-end test runs over both adapters. EASTWALL_TEST_ADAPTER narrows it while developing."""
    only = os.environ.get("EASTWALL_TEST_ADAPTER")
    if only and only != request.param:
        pytest.skip(f"EASTWALL_TEST_ADAPTER={only}")
    return str(request.param)
