"""Sizes as policies write them."""

from __future__ import annotations

import re

SIZE = re.compile(r"([1-9][0-9]{0,9}) ?(B|KiB|MiB|GiB|KB|MB|GB)?")
UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def parse_size(text: str) -> int:
    """`512KiB` -> bytes. Raises `ValueError` with one line."""
    found = SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"`{text[:60]}` is not a size: write e.g. `512KiB`, `1MiB`")
    return int(found[1]) * UNITS[found[2] or ""]
