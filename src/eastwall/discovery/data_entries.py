"""What a field's name says to the search of `data_values`: what is tried on its values, and what it speaks against."""

from __future__ import annotations

from collections.abc import Callable
from re import Pattern
from re import compile as regex

from eastwall.discovery.data_custom import Custom
from eastwall.discovery.data_forms import MASKS, mask_tail
from eastwall.discovery.data_named import Named

_NO_ADDRESS = regex(r"_(?:version|ver|build|release|firmware|revision|oid|sdk|semver|range|section|chapter)_")
_NO_NUMBER = regex(
    r"_(?:gtin|ean|upc|isbn|barcode|imei|imsi|iccid|tracking|sku|asin|serial|timestamp|epoch|millis|nanos|etag|hash|sha|md|checksum"
    r"|cost|amount|balance|price|total|fee|nonce|block|height|bytes|size|quantity|count|offset|duration|gas|score|points)_"
)
BARRED: dict[Pattern[str], frozenset[str]] = {
    _NO_ADDRESS: frozenset({"ip-address"}),
    _NO_NUMBER: frozenset({"pan", "ssn", "phone", "national-id", "health-id", "crypto-wallet"}),
}
REFERENCE = regex(
    r"_(?:order|invoice|ticket|case|shipment|parcel|booking|reservation|transaction|trace|session|request|batch|lot|contract|part|article|model"
    r"|catalog|catalogue|item|product|asset|job|claim|reference|ref)(?:_(?:number|no|nr|num|id|ref|reference|code|key))?_$"
)
REFERENCED = frozenset({"pan", "ssn", "phone", "national-id", "health-id"})
"""Where a name says that the value is a reference, a value that is nothing but such a number is one. In a longer text it is not."""
WORDS = frozenset(
    "error errors message messages label labels translation translations i_n schema properties validation violations field_errors".split()
)
"""Objects under such a name say something about fields, under the fields' own names."""
KEY_VALUE = regex("@|(?:[0-9][^0-9]{0,100}){4}|[A-Z]{6}")


class Entry:
    """What a field's name says, worked out once for all objects with the same keys at the same place."""

    __slots__ = ("aside", "barred", "custom", "first", "hit", "inside", "is_value", "key", "last", "only", "place", "telling")

    def __init__(
        self,
        key: str = "",
        place: str = "",
        first: tuple[Named, ...] = (),
        last: tuple[Named, ...] = (),
        barred: frozenset[str] = frozenset(),
        inside: str = "",
        is_value: bool = False,
        custom: tuple[Custom, ...] = (),
        aside: bool = False,
    ) -> None:
        self.key = key
        self.place = place
        self.first = first
        """What is tried before the forms that need no name."""
        self.last = last
        """What is tried after them."""
        self.barred = barred
        """Classes that the name speaks against."""
        self.aside = aside
        """Whether it is the name of a reference (`REFERENCED`)."""
        self.inside = inside
        """See `data_names.context`: of what stands under the name."""
        self.is_value = is_value
        """The key may itself be a value."""
        self.custom = custom
        """Classes of the user's own whose globs match the name."""
        self.telling = bool(first or last or custom)
        self.only = last[0] if len(last) == 1 and not first and not custom else None
        """The one thing that is tried, where it is one."""
        self.hit = (self.only.data_class, place) if self.only is not None else ("", "")

    def alone(self) -> tuple[tuple[str, str], Callable[[str], object], Callable[[str], str], str, float] | None:
        """(class and place, what holds of a value, mask, label, confidence) of the one thing that is tried."""
        only = self.only
        if only is None:
            return None
        return self.hit, only.valid, MASKS.get(only.data_class, mask_tail), only.label, only.confidence


NAMELESS = Entry()
