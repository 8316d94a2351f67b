"""The policies that come with Eastwall, as YAML like anybody's own."""

from __future__ import annotations

from importlib import resources


def builtin_text() -> list[tuple[str, str]]:
    """(name, YAML text) of each built-in policy file. Part of the program, as code is: read once, at load."""
    folder = resources.files(__name__)
    return [
        (f"builtin/{entry.name}", entry.read_text("utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda e: e.name)
        if entry.name.endswith(".yaml")
    ]
