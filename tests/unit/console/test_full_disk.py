"""A disk that is really full, under each of the folders that hold what is in force: an act is refused with one line, or kept and said to be;
nothing is lost, and with room again all goes on."""

from __future__ import annotations

import contextlib
import errno
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import Process

FOLDERS = ("policy", "audit", "snapshot")
MOUNT = 'd=$0; for f in policy audit snapshot; do mount -t tmpfs -o size=192k,mode=700 none "$d/$f" || exit 9; done; exec "$@"'
RULE = "apiVersion: eastwall.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: %s}\nspec: {action: deny, scope: {operations: [GET /admin]}}\n"


def namespace() -> tuple[str, ...]:
    """The command that gives a process mounts of its own; skips where that is not possible."""
    if shutil.which("unshare") is None:
        pytest.skip("the program `unshare` is not installed: no small disk can be mounted")
    for ways in (("unshare", "--mount"), ("unshare", "--map-root-user", "--mount")):
        try_out = [*ways, "mount", "-t", "tmpfs", "none", "/mnt"]
        if subprocess.run(try_out, capture_output=True, check=False).returncode == 0:
            return ways
    pytest.skip("neither root nor user namespaces: no small disk can be mounted")


@pytest.fixture(scope="module")
def small() -> Iterator[Process]:
    """Control, each of FOLDERS on a disk of 192 KiB that only it sees."""
    ways = namespace()
    data = Path(tempfile.mkdtemp(prefix="ew"))
    for folder in FOLDERS:
        (data / folder).mkdir(mode=0o700)
    control = Process(data, within=(*ways, "sh", "-c", MOUNT, str(data))).ready()
    yield control
    assert control.stop() == 0, control.log.read_text()
    shutil.rmtree(data, ignore_errors=True)


@contextlib.contextmanager
def full(control: Process, folder: str) -> Iterator[None]:
    """Not one byte is left there."""
    filler = Path(f"/proc/{control.process.pid}/root") / str(control.data / folder).lstrip("/") / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 4096
        while size:
            try:
                file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC
                size //= 2
    try:
        yield
    finally:
        filler.unlink()


def apply(control: Process, name: str) -> tuple[int, str]:
    status, _, told = control.send("PUT", "/api/v1/policy", {"files": {"p.yaml": RULE % name}, "force": True})
    return status, told.get("detail", "")


def in_force(control: Process) -> list[str]:
    return [one["name"] for one in control.send("GET", "/api/v1/policy")[2]["policies"] if one["location"] != "builtin"]


def history(control: Process) -> list[str]:
    return [one["digest"] for one in control.send("GET", "/api/v1/policy/history")[2]]


@pytest.mark.parametrize("folder", ["policy", "audit"])
def test_where_an_act_cannot_be_written_it_is_refused_and_nothing_changes(small: Process, folder: str) -> None:
    assert apply(small, f"before-{folder}")[0] == 200
    before = in_force(small), history(small), small.send("GET", "/api/v1/quarantine")[2]
    quarantine = {"scope": {"services": ["orders"]}, "indefinite": True}
    with full(small, folder):
        for _ in range(2):
            assert apply(small, f"after-{folder}") == (503, "cannot write: No space left on device")
            status, _, told = small.send("PUT", "/api/v1/quarantine/shut", quarantine)
            assert (status, told["detail"]) == (503, "cannot write: No space left on device")
            if len(before[1]) > 1:
                assert small.send("POST", "/api/v1/policy/rollback", {"to": "-1"})[0] == 503
        assert (in_force(small), history(small), small.send("GET", "/api/v1/quarantine")[2]) == before
    assert apply(small, f"after-{folder}")[0] == 200
    assert in_force(small) == [f"after-{folder}"]
    assert len(history(small)) == len(before[1]) + 1
    assert small.send("PUT", "/api/v1/quarantine/shut", quarantine)[0] == 200
    assert small.send("DELETE", "/api/v1/quarantine/shut")[0] == 200
    assert small.send("GET", "/api/v1/audit/verification")[2]["ok"]
    refused = [one["about"].get("act") for one in small.send("GET", "/api/v1/audit")[2] if one["act"] == "failed"]
    if folder == "policy":
        assert {"apply", "quarantine"} <= set(refused), "what was begun and not done is said not to be"


def test_where_engines_cannot_be_told_it_is_kept_said_and_told_later(small: Process) -> None:
    assert apply(small, "first")[0] == 200
    version = small.send("GET", "/api/v1/status")[2]["snapshot"]["version"]
    with full(small, "snapshot"):
        status, detail = apply(small, "second")
        assert status == 503
        assert "it is kept, but engines cannot be told of it yet, which is tried again by itself: No space left" in detail
        assert in_force(small) == ["second"]
        small.until("/api/v1/status", lambda told: "publisher" in told["faults"])
        assert small.send("GET", "/api/v1/status")[2]["snapshot"]["version"] == version
    told = small.until("/api/v1/status", lambda told: told["snapshot"]["version"] > version and "publisher" not in told["faults"])
    assert told["policy"]["count"] >= 1
    assert small.send("GET", "/api/v1/audit/verification")[2]["ok"]
