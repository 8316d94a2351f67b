"""What is counted at one place of a message. Each count is of samples, not of values."""

from __future__ import annotations

from typing import Any

from eastwall.model.facts import Field

MAX_WORDS = 40
"""Different words of a place that are kept; with more they are forgotten, for good: such a place is no enumeration."""


class Place:
    """Counts of one place; `merge` adds."""

    __slots__ = (
        "absent", "classes", "first", "formats", "kinds", "longest", "maximum", "minimum", "sample", "seen", "shortest", "told",
        "wordless", "words",
    )  # fmt: skip

    def __init__(self, first: float) -> None:
        self.seen = 0
        self.absent = 0
        """Samples in which some objects of one place lacked the property and others had it."""
        self.kinds: dict[str, int] = {}
        self.formats: dict[str, int] = {}
        self.classes: dict[str, int] = {}
        self.minimum: float | None = None
        self.maximum: float | None = None
        self.longest = 0
        self.shortest: int | None = None
        """Of strings and arrays."""
        self.words: dict[str, int] | None = {}
        """Word -> samples that held it; None: they were too many."""
        self.wordless = 0
        """Samples with a string that is no word of an enumeration."""
        self.first = first
        """Time of the first sample that had it, Unix seconds."""
        self.sample = 0
        """Number of the sample that was counted last, while it is counted; not stored."""
        self.told = ""
        """Of that sample, the first kind; not stored."""

    def value(self, field: Field, kind: str, first: bool) -> None:
        """Add what one Field of a sample says; `first`: it is the first one of its kind. By position: this is the learner's hot function."""
        if first:
            kinds = self.kinds
            if kind in kinds:
                kinds[kind] += 1
            else:
                kinds[kind] = 1
        number = field.number
        if number is not None:
            minimum = self.minimum
            if minimum is None:
                self.minimum = self.maximum = number
            elif number < minimum:
                self.minimum = number
            elif number > self.maximum:  # type: ignore[operator]
                self.maximum = number
            if kind != "string":
                return
        if kind == "string":
            if first:
                formats, form = self.formats, field.format
                if form in formats:
                    formats[form] += 1
                else:
                    formats[form] = 1
            text = field.text
            if text:
                words = self.words
                if words is not None:
                    words[text] = words.get(text, 0) + 1
                    if len(words) > MAX_WORDS:
                        self.words = None
            elif first:
                self.wordless += 1
            if number is not None:
                return
        length = field.length
        if length > self.longest:
            self.longest = length
        if kind == "string" or kind == "array":
            shortest = self.shortest
            if shortest is None or length < shortest:
                self.shortest = length

    def merge(self, other: Place) -> None:
        """Add the counts of another."""
        self.seen += other.seen
        self.absent += other.absent
        for into, counts in ((self.kinds, other.kinds), (self.formats, other.formats), (self.classes, other.classes)):
            for key, count in counts.items():
                into[key] = into.get(key, 0) + count
        self.minimum = _least(self.minimum, other.minimum)
        self.maximum = _most(self.maximum, other.maximum)
        self.longest = max(self.longest, other.longest)
        self.shortest = _least(self.shortest, other.shortest)
        self.wordless += other.wordless
        if self.words is None or other.words is None:
            self.words = None
        else:
            for word, count in other.words.items():
                self.words[word] = self.words.get(word, 0) + count
            if len(self.words) > MAX_WORDS:
                self.words = None
        self.first = min(self.first, other.first)

    def copy(self) -> Place:
        copied = Place(self.first)
        copied.merge(self)
        return copied

    def dump(self) -> list[Any]:
        return [
            self.seen, self.absent, self.kinds, self.formats, self.classes, self.minimum, self.maximum, self.longest, self.first,
            self.shortest, self.words, self.wordless,
        ]  # fmt: skip

    @classmethod
    def load(cls, data: Any) -> Place:
        place = cls(data[8])
        (place.seen, place.absent, place.kinds, place.formats, place.classes, place.minimum, place.maximum, place.longest) = data[
            :8
        ]
        if len(data) > 9:
            place.shortest, place.words, place.wordless = data[9:12]
        else:
            place.words = None
        return place


def _least(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else min(a, b)


def _most(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else max(a, b)
