"""What all tests share."""

from __future__ import annotations


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names bytes by their argument: packed ones hold the time of packing, and workers that name a test differently run none at all."""
    return argname if isinstance(val, bytes) else None
