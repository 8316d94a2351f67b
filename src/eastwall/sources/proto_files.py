"""`.proto` text -> a serialized FileDescriptorSet, by the real compiler (`grpcio-tools`), in a temporary folder and another process."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath

LIMIT = 4 << 20
"""Bytes of one file."""
SECONDS = 30.0
_NOISE = re.compile(r"WARNING: |[IW]\d{4} |.*\bwarning: ")


def compile_proto(data: bytes, name: str) -> bytes:
    """The descriptor set of one `.proto` file with everything that it imports. Of imports only `google/protobuf/*` are at hand: of
    several files a descriptor set is to be made by `protoc`. Raises ValueError with one line on what is wrong and how to mend it."""
    shown = name.replace("`", "'")
    if importlib.util.find_spec("grpc_tools") is None:
        raise ValueError(f"`{shown}`: reading .proto text needs `grpcio-tools`; install it, or give a descriptor set")
    if len(data) > LIMIT:
        raise ValueError(f"`{shown}`: larger than {LIMIT} bytes")
    base = PurePosixPath(name.replace("\\", "/")).name
    file = (
        base if base.endswith(".proto") and base.isascii() and not base.startswith("-") and base.isprintable() else "given.proto"
    )
    with tempfile.TemporaryDirectory(prefix="eastwall-proto-") as folder:
        (Path(folder) / file).write_bytes(data)
        command = [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            "-I",
            folder,
            "--include_imports",
            "--descriptor_set_out=out.pb",
            file,
        ]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise ValueError(f"`{shown}`: not compiled within {SECONDS:.0f} s") from None
        if done.returncode != 0:
            raise ValueError(_reason(shown, file, done.stderr.replace(f"{folder}/", "")))
        return (Path(folder) / "out.pb").read_bytes()


def _reason(shown: str, file: str, text: str) -> str:
    """The compiler's first complaint in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _NOISE.match(line)]
    missing = next((line for line in lines if "File not found" in line), "")
    if missing:
        wanted = missing.partition(":")[0]
        return (
            f"`{shown}`: imports `{wanted}`, which is not at hand; give a descriptor set "
            "(`protoc --include_imports --descriptor_set_out=FILE ...`)"
        )
    first = lines[0] if lines else "the compiler gave no reason"
    first = first.removeprefix(file + ":").strip()
    clean = "".join(character if character.isprintable() else "?" for character in first)
    return f"`{shown}`: {clean[:300]}"
