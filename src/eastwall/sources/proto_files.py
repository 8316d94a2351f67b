"""`.proto` text -> a serialized FileDescriptorSet, by the real compiler (`grpcio-tools`), in a temporary folder and another process.

Where files travel as text (policies with what they refer to), a descriptor set travels in base64: `attachment`.
"""

from __future__ import annotations

import base64
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath

LIMIT = 4 << 20
"""Bytes of one file."""
SECONDS = 30.0
BINARY = (".pb", ".protoset", ".binpb", ".desc")
"""How names of descriptor sets end."""
_NOISE = re.compile(r"WARNING: |[IW]\d{4} |.*\bwarning: ")


def is_proto(name: str) -> bool:
    """Whether a file's name says `.proto` text or a descriptor set."""
    return name.lower().endswith((".proto", *BINARY))


def attachment(path: Path) -> str:
    """A `.proto` file (compiled here, where the files are that it imports) or a descriptor set, as base64 text that
    `learning.proto.declared_proto` takes. Raises OSError, and ValueError with one line."""
    with path.open("rb") as file:
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise ValueError(f"`{path}`: larger than {LIMIT} bytes")
    if path.suffix.lower() == ".proto":
        data = compile_proto(data, str(path), imports=path.parent)
    return base64.b64encode(data).decode()


def compile_proto(data: bytes, name: str, *, imports: Path | None = None) -> bytes:
    """The descriptor set of one `.proto` file with everything that it imports, from the folder `imports`; without one, only
    `google/protobuf/*` is at hand. Raises ValueError with one line on what is wrong and how to mend it."""
    shown = name.replace("`", "'")
    if importlib.util.find_spec("grpc_tools") is None:
        raise ValueError(f"`{shown}`: reading .proto text needs `grpcio-tools`; install it, or give a descriptor set")
    if len(data) > LIMIT:
        raise ValueError(f"`{shown}`: larger than {LIMIT} bytes")
    file = PurePosixPath(name.replace("\\", "/")).name
    if not file.endswith(".proto") or not file.isascii() or not file.isprintable() or file.startswith("-"):
        file = "given.proto"
    with tempfile.TemporaryDirectory(prefix="eastwall-proto-") as folder:
        (Path(folder) / file).write_bytes(data)
        # The first folder that has a file gives it: the text that was given stands before one of its name.
        include = ["-I", folder, *(["-I", str(imports.resolve())] if imports is not None else ())]
        command = [sys.executable, "-m", "grpc_tools.protoc", *include, "--include_imports", "--descriptor_set_out=out.pb", file]
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
