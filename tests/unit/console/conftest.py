"""Data directories, and a control process that a module's tests share."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from .processes import Process, attack, call, write


@pytest.fixture
def data():
    path = Path(tempfile.mkdtemp(prefix="ew"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def served():
    """A control process with 200 calls and one attack in it, shared by a module's tests."""
    path = Path(tempfile.mkdtemp(prefix="ew"))
    blocked = attack()
    write(path, [*(call(n) for n in range(200, 0, -1)), blocked])
    control = Process(path).ready()
    control.until("/api/v1/status", lambda s: s["lake"]["calls"] == 201 and s["learner"]["endpoints"] >= 2)
    control.attack = blocked
    yield control
    assert control.stop() == 0, control.log.read_text()
    shutil.rmtree(path, ignore_errors=True)
