"""What a protocol's reader says of a message beyond what `rest` made of it."""

from __future__ import annotations

from msgspec import Struct

from eastwall.model.operation import Argument, ParserFault

MAX_NAME = 256
"""Characters of an operation's name that are kept."""


class Reading(Struct, frozen=True):
    """What a message is in the terms of its protocol. Body, query and path stay as `rest` gave them."""

    protocol: str
    """See `Operation.protocol`."""
    name: str = ""
    """See `Operation.name`."""
    traits: tuple[str, ...] = ()
    """See `Operation.traits`; sorted."""
    selection: tuple[str, ...] = ()
    """See `Operation.selection`."""
    faults: tuple[ParserFault, ...] = ()
    """Beside those of `rest`."""
    arguments: tuple[Argument, ...] = ()
    """See `Operation.arguments`."""


def label(text: str) -> str:
    """A name that callers chose, fit to be a key: at most `MAX_NAME` characters, none of them a control character."""
    if len(text) > MAX_NAME:
        text = text[: MAX_NAME - 1] + "\u2026"
    return text if text.isprintable() else "".join([c if c.isprintable() else "\ufffd" for c in text])
