"""Values that stand in for others and look like them: same length, same separators, digits for digits and letters for letters.

What reads the message goes on working (columns of fixed width, input masks, parsers of dates and addresses), and equal values get equal
stand-ins under one key, so that records can still be joined. This is a keyed one-way mapping, not format-preserving encryption (NIST
SP 800-38G): there is no way back, and two values may, rarely, share a stand-in. Of a short value (a PIN) little is hidden from who has the key.

Numbers with a check digit are made so that no check of ours agrees with them: a stand-in is nobody's card, account or id, and is not found
again as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from re import Match
from re import compile as regex

from eastwall.discovery.data_forms import FORMS
from eastwall.discovery.data_named import BY_EVIDENCE, NAMED

TRIES = 64
"""Stand-ins that are tried until no check agrees."""
CHECKED = frozenset({"pan", "ssn", "iban", "national-id", "health-id", "bank-account", "crypto-wallet"})
"""Classes whose stand-ins no check may agree with."""

_DIGITS = regex("[0-9]+")
_TIME = regex("[T ][0-9]{1,2}:")
_VALID: dict[str, tuple[Callable[[str], object], ...]] = {
    name: tuple(
        {one.valid: None for tried in BY_EVIDENCE.values() for one in tried if one.data_class == name and one.confidence >= NAMED}
    )
    for name in CHECKED
}


def stand_in(value: str, data_class: str, key: bytes) -> str:
    """The stand-in for a value; it differs from it wherever there is a digit or letter to change. `key`: at most 64 bytes."""
    candidate = value
    for turn in range(TRIES):
        drawn = _stream(value, data_class, key, turn)
        if data_class == "date-of-birth":
            candidate = _date(value, drawn)
        elif data_class == "geo":
            candidate = _coordinates(value, drawn)
        elif data_class == "ip-address" and ":" not in value:
            candidate = _DIGITS.sub(lambda found, drawn=drawn: _within(found, drawn, 199), value)  # type: ignore[misc]
        else:
            candidate = _plain(value, drawn, hexadecimal=data_class == "ip-address" or value[:2] in ("0x", "0X"))
        if candidate != value and not (data_class in CHECKED and _agrees(candidate, data_class)):
            break
    return candidate


def _stream(value: str, data_class: str, key: bytes, turn: int) -> Iterator[int]:
    """Bytes without end that follow from the value and the key alone."""
    seed = blake2b(f"{turn}\0{data_class}\0{value}".encode("utf-8", "surrogateescape"), key=key, person=b"stand-in").digest()
    block = 0
    while True:
        yield from blake2b(block.to_bytes(8, "little"), key=seed).digest()
        block += 1


def _plain(value: str, drawn: Iterator[int], *, hexadecimal: bool) -> str:
    letters = 6 if hexadecimal else 26
    made: list[str] = []
    begun = False
    for at, character in enumerate(value):
        if "0" <= character <= "9":
            if hexadecimal and at == 0 and value[1:2] in ("x", "X"):
                made.append(character)
                continue
            # A number does not get or lose a leading zero.
            made.append(str(next(drawn) % 10) if begun else character if character == "0" else str(1 + next(drawn) % 9))
            begun = True
        elif character.isalpha():
            if hexadecimal and at == 1 and character in "xX":
                made.append(character)
            else:
                made.append(chr((65 if character.isupper() else 97) + next(drawn) % letters))
                begun = True
        elif character.isalnum():  # digits of other scripts
            made.append(str(next(drawn) % 10))
        else:
            made.append(character)
    return "".join(made)


def _within(found: Match[str], drawn: Iterator[int], most: int) -> str:
    """A number of as many digits, at most `most` where it has as many digits as that."""
    size = len(found.group())
    least = 10 ** (size - 1) if size > 1 else 0
    limit = min(10**size - 1, most) if size <= len(str(most)) else 10**size - 1
    number = (next(drawn) << 16 | next(drawn) << 8 | next(drawn)) % max(1, limit - least + 1) + least
    return str(number).zfill(size)


def _date(value: str, drawn: Iterator[int]) -> str:
    """A date that is one in either order of day and month; the names of months, and a time behind it, stay."""
    end = len(value)
    if (time := _TIME.search(value)) is not None:
        end = time.start()

    def part(found: Match[str]) -> str:
        size = len(found.group())
        year, month, day = 1930 + next(drawn) % 70, 1 + next(drawn) % 12, 1 + next(drawn) % 12
        if size == 8:
            return f"{year}{month:02d}{day:02d}"
        if size == 4:
            return str(year)
        return f"{month:02d}" if size == 2 else str(1 + month % 9)

    return _DIGITS.sub(part, value[:end]) + value[end:]


def _coordinates(value: str, drawn: Iterator[int]) -> str:
    """Degrees stay below 90 or 180, fractions keep their length."""

    def part(found: Match[str]) -> str:
        if value[found.start() - 1 : found.start()] == "." if found.start() else False:
            return "".join(str(next(drawn) % 10) for _ in found.group())
        return _within(found, drawn, 89 if len(found.group()) < 3 else 179)

    return _DIGITS.sub(part, value)


def _agrees(text: str, data_class: str) -> bool:
    for form in FORMS:
        if form.data_class == data_class and (found := form.pattern.fullmatch(text)) is not None and form.valid(found):
            return True
    return any(valid(text) for valid in _VALID[data_class])
