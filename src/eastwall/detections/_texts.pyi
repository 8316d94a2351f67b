"""What `_texts.c` offers."""

def gathered(head: bytes, body: bytes, /) -> tuple[bytes, bytes]:
    """See `texts.gathered_of`."""

def signs(data: bytes, /) -> int:
    """See `texts.signs_of`."""
