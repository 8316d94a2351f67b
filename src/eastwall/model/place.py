"""Where a value stands in a message: `path.order_id`, `query.q`, `header.NAME`, `body.items[3].note`."""

from __future__ import annotations

from re import compile as regex

_INDEX = regex(r"\[\d+\]")


def without_indices(place: str) -> str:
    """The place that all items of its arrays share: `body.items[3].note` -> `body.items[].note`."""
    return _INDEX.sub("[]", place)


FILE_CONTENT = ".{content}"
"""Ends the place of an uploaded file's text: `body.attachment.{content}`."""
