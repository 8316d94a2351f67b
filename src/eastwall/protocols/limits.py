"""How much of a message the decoders read before they give up, say so, and hand over what they have."""

from __future__ import annotations

from msgspec import Struct


class Limits(Struct, frozen=True):
    """Bounds of one message. Past any of them the Operation carries a fault; nothing is dropped without one."""

    max_depth: int = 64
    """Nesting of JSON containers. Deeper bodies are handed over as text (`too-deep`)."""
    max_values: int = 50_000
    """JSON values (containers, keys' values, items) in a body. More: handed over as text (`too-many-values`)."""
    max_decoded: int = 10_000_000
    """Bytes of a body after content-decoding (`decompression-limit`)."""
    max_ratio: int = 200
    """Decoded bytes per encoded byte; bodies that decode to at most 64 KiB are exempt (`decompression-limit`)."""
    max_parts: int = 200
    """Parts of a multipart body (`too-many-values`)."""
    max_query: int = 1000
    """Query parameters, and fields of a form (`too-many-values`)."""
    max_segments: int = 256
    """Path segments; the rest stays in the last one (`too-many-values`)."""
    max_file_text: int = 65_536
    """Bytes up to which a textual multipart file is handed over as text for inspection."""
    max_codings: int = 4
    """Layers of content-coding (`unknown-encoding`)."""


DEFAULT = Limits()
