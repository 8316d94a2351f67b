"""Builds the shim's C with a sanitizer, for tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SHIM = HERE.parents[2] / "src/eastwall/dataplanes/envoy/shim"
FLAGS = ["-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-D_GNU_SOURCE", "-fno-omit-frame-pointer"]


def build(directory: Path, name: str, sanitizer: str, harness: str, *sources: str) -> Path:
    """The program, or a skip with the reason where it cannot be built."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    probe = directory / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    flags = [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    if subprocess.run(
        [compiler, *flags, str(probe), "-o", str(directory / "probe")], capture_output=True, check=False
    ).returncode:
        pytest.skip(f"this compiler has no {sanitizer} sanitizer")
    program = directory / name
    files = [str(HERE / harness), *[str(SHIM / source) for source in sources]]
    done = subprocess.run(
        [compiler, *FLAGS, *flags, f"-I{SHIM}", *files, "-o", str(program), "-lpthread"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return program
