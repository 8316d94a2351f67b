"""HTML as a browser's tokenizer reads it: tags and their attributes, wherever in a page the text may come to stand.

States are those of the WHATWG HTML standard, section 13.2.5, as far as tags need them. Two things differ on purpose, because it is
not known where the text will stand: what is inside comments and raw text (`<!--`, `<style>`, `<title>`) is read as markup too, and a tag
that the text does not end is told nevertheless, for the page after it will end it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from msgspec import Struct

MAX_TAGS = 400
"""Tags read of one text."""
MAX_ATTRIBUTES = 5_000
"""Attributes read of one tag."""

_TAG = re.compile(r"<(/?)([a-zA-Z][^\t\n\f\r />]*+)")
# Tab, line feed, form feed, carriage return and space separate; any other control character is part of a name.
_ATTRIBUTE = re.compile(
    r"[\t\n\f\r /]*+(?:(?P<end>>)|(?P<name>[^\t\n\f\r />][^\t\n\f\r />=]*+)"
    r"(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"(?P<double>[^\"]*+)\"?+|'(?P<single>[^']*+)'?+|(?P<bare>[^\t\n\f\r >]*+))|))"
)


class Attribute(Struct, frozen=True):
    name: str
    """In lower case."""
    value: str
    """References decoded; None and empty are the same."""


class Tag(Struct, frozen=True):
    name: str
    """In lower case."""
    attributes: tuple[Attribute, ...]
    closing: bool
    """An end tag."""
    ended: bool
    """Whether its `>` is in the text."""
    start: int
    """Of its `<`."""
    end: int
    """Behind its `>`, or the text's end."""

    def get(self, name: str) -> str | None:
        for attribute in self.attributes:  # the first one counts
            if attribute.name == name:
                return attribute.value
        return None


def tags(text: str) -> Iterator[Tag]:
    """Tags of `text` in order, at most `MAX_TAGS`. Linear: every character is read once."""
    position = 0
    for _ in range(MAX_TAGS):
        match = _TAG.search(text, position)
        if match is None:
            return
        attributes, ended, position = attributes_at(text, match.end())
        yield Tag(match[2].lower(), attributes, bool(match[1]), ended, match.start(), position)


def attributes_at(text: str, position: int, most: int = MAX_ATTRIBUTES) -> tuple[tuple[Attribute, ...], bool, int]:
    """(at most `most` attributes, whether the tag ends, where it ends) when `position` is inside a tag ("before attribute name state")."""
    found: list[Attribute] = []
    while len(found) < most and (match := _ATTRIBUTE.match(text, position)):
        position = match.end()
        if match["end"]:
            return tuple(found), True, position
        value = match["double"] or match["single"] or match["bare"] or ""
        found.append(Attribute(match["name"].lower(), html.unescape(value) if "&" in value else value))
    return tuple(found), False, len(text) if len(found) < most else position
