"""What `_raw.c` offers."""

def triggers(data: bytes, /) -> int:
    """Which further databases of `data_prefilter` are to be asked, as bits: 1 that of UNMARKED, 2 that of WALLETS."""

def links(data: bytes, /) -> bool:
    """Whether one of `links.MARKS` is in `data`."""
