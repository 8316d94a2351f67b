"""Specifications that were imported (`eastwall import openapi.yaml`), beside those that Service policies name.

    DIR/specs/<service, percent-encoded>/<name, percent-encoded>     the document as it was given

A document of the same name takes the place of the one before.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote

from eastwall.learning.declare import Declared, read_declared
from eastwall.model.endpoint import Endpoint

MAX_BYTES = 64 << 20
MAX_DOCUMENTS = 200
"""Per service."""
MAX_NAME = 240
"""Bytes of a service's or a document's name as a file name."""


class SpecStore:
    """A folder of documents; not thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.faults: list[str] = []
        """What is wrong with the stored documents, one line each."""
        self._known: dict[Path, tuple[int, Declared]] = {}

    def add(self, service: str, name: str, data: bytes) -> Declared:
        """Store a document; what it declares. Raises ValueError, one line, when it cannot be used at all; OSError."""
        if len(data) > MAX_BYTES:
            raise ValueError(f"`{name}` is over {MAX_BYTES >> 20} MiB")
        declared = read_declared(data, name, service)
        if not declared.endpoints:
            told = f": {declared.faults[0]}" if declared.faults else ""
            raise ValueError(f"`{name}` declares no operation that can be read{told}")
        folder = self._directory / _file_name(service)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = folder / _file_name(name)
        if not file.exists() and sum(1 for _ in folder.iterdir()) >= MAX_DOCUMENTS:
            raise ValueError(f"service `{service}` has {MAX_DOCUMENTS} documents already; remove some")
        part = file.with_name("." + file.name)  # no document's file begins with a dot
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
        return declared

    def load(self) -> dict[str, tuple[Endpoint, ...]]:
        """Service -> endpoints of all its documents. What cannot be read is told in `faults`, the rest is used."""
        return {service: tuple(e for d in found for e in d.endpoints) for service, found in self._documents().items()}

    def descriptors(self) -> tuple[tuple[str, bytes], ...]:
        """(service, FileDescriptorSet) of the stored gRPC descriptions."""
        return tuple((service, d.descriptors) for service, found in self._documents().items() for d in found if d.descriptors)

    def _documents(self) -> dict[str, list[Declared]]:
        self.faults = []
        found: dict[str, list[Declared]] = {}
        if not self._directory.is_dir():
            return found
        for folder in sorted(path for path in self._directory.iterdir() if path.is_dir()):
            service = unquote(folder.name)
            for file in sorted(folder.iterdir()):
                if not file.name.startswith("."):
                    declared = self._read(file, service)
                    if declared is not None:
                        found.setdefault(service, []).append(declared)
        return found

    def _read(self, file: Path, service: str) -> Declared | None:
        try:
            stamp = file.stat().st_mtime_ns
            known = self._known.get(file)
            if known is None or known[0] != stamp:
                known = self._known[file] = (stamp, read_declared(file.read_bytes(), unquote(file.name), service))
        except (OSError, ValueError) as error:
            self.faults.append(f"specification `{unquote(file.name)}` of `{service}` cannot be used: {error}")
            return None
        return known[1]


def _file_name(name: str) -> str:
    """A name as one file name: no separators, no dots in front. Raises ValueError for one that is too long to be read back whole."""
    quoted = quote(name, safe="") or "%00"
    if quoted.startswith("."):
        quoted = "%2E" + quoted[1:]
    if len(quoted) > MAX_NAME:
        raise ValueError(f"the name `{name[:40]}...` is too long: at most {MAX_NAME} bytes, percent-encoded")
    return quoted
