"""One automaton over all content patterns: the usual call holds none of them, and this says so in a few microseconds.

One scan over the raw bytes answers "clean" for messages without escapes; otherwise the decoded texts are scanned, and only a hit makes
the values be walked one by one with their places. Requests and responses have databases of their own: what an attacker sends is not
what a service should not say. The prefilter may be wrong only to one side: whatever a detector would confirm, it must hit (held by a
property test).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from eastwall.detections import Detector
from eastwall.detections.decoding import readings, unwrapped
from eastwall.detections.patterns import compiled as _compiled
from eastwall.detections.patterns import sources as _sources
from eastwall.detections.places import (
    bearer,
    body_places,
    chunks,
    header_places,
    request_header_texts,
    request_texts,
    response_header_texts,
    response_places,
    response_texts,
    target_places,
)
from eastwall.detections.texts import BETWEEN, signs, special
from eastwall.discovery import automata
from eastwall.model.call import Request, Response
from eastwall.model.operation import Operation, Value

_NONE: frozenset[str] = frozenset()
_TRAVERSAL = frozenset(("traversal",))
MAX_SUSPECTS = 128
"""Suspects per message. More are not judged, and `Prefilter.unjudged` says how many."""
MAX_JUDGED = 65_536
"""Characters of the suspects of a request, all together: what is handed to detectors, and so the time that one request can buy."""
MAX_JUDGED_ANSWER = 262_144
"""The same of an answer, whose detectors do less per character. Of both, the shortest suspects are judged first: attacks are short, and
what is put in front of them to use up the limit has to be long or in many pieces."""
MAX_COLLECTED = 262_144
"""Characters of suspects among which the shortest are taken; pieces of values that come after so many are not looked at."""
MAX_PLACE = 512
"""Characters of a suspect's place."""
MAX_DECODED = 1_000_000
"""Characters that further decodings of one message may give. What is beyond is not decoded, and counts as dropped."""
PIECE = 65_536
"""Characters of a value that are decoded together: what is packed or nested is read as a whole up to here."""
_REMEMBERED, _REMEMBERED_LENGTH = 1024, 2048
"""Texts of headers, and encoded values, known to be clean, and the characters of the longest one kept."""
_SMALL = 256
"""Bytes of texts up to which the values are walked without sifting them first."""
_BETWEEN = BETWEEN.decode()
GROUP = 16
"""Values scanned together when looking for those that hit."""

Suspects = tuple[tuple[Value, frozenset[str]], ...]
_Scans = tuple[Callable[..., Any], Callable[..., Any]]
"""Of the patterns for all texts, and of those for texts with a special character."""


class Prefilter:
    """Compiled once; holds hyperscan scratch, so one instance belongs to one thread (a second caller gets an error, not garbage)."""

    def __init__(self, detectors: Sequence[Detector], saved: bytes = b"", *, later: bool = False) -> None:
        """`saved`: what `save` gave an earlier process; compiled anew when it does not fit, `later`: not before it is needed. Raises
        `LoadError` for a pattern file or pattern that cannot be used (`later`: for a pattern, the scan that needs it does)."""
        self._mark = automata.fingerprint(_sources(detectors))
        kept = automata.restore(saved, self._mark) if saved else None
        families, databases = kept if kept is not None else _compiled(detectors, later=later)
        self._families = families
        self._databases = databases
        scans = [database.scan for database in databases]
        self._asked: _Scans = (scans[0], scans[1])
        self._answered: _Scans = (scans[2], scans[3])
        self._hits: list[int] = []
        self._headers: dict[str, Suspects] = {}
        self._tokens: dict[str, Suspects] = {}  # of these only the claims are looked at: never to be taken for a clean header
        self._clean: dict[str, None] = {}
        self._clean_answers: dict[str, None] = {}
        self._left = self._hot = 0
        self.dropped = 0
        """What of the last `scan` or `scan_response` was not looked at: `unjudged`, and values whose decoding ended at a limit. Not 0:
        that message was not wholly inspected."""
        self.unjudged = 0
        """Suspects of that message beyond `MAX_SUSPECTS` and `MAX_JUDGED`, and values that came after so many suspects."""

    def save(self) -> bytes:
        """The compiled patterns, for the next process's `saved`."""
        return automata.save(self._mark, self._families, self._databases)

    def _on_match(self, pattern: int, start: int, end: int, flags: int, context: Any) -> None:
        self._hits.append(pattern)

    def _found(self, scan: _Scans, data: bytes) -> frozenset[str]:
        scan[0](data, self._on_match)
        scan[1](data, self._on_match)
        if not self._hits:
            return _NONE
        found = frozenset([self._families[pattern] for pattern in self._hits])
        self._hits.clear()
        return found

    def families(self, data: bytes) -> frozenset[str]:
        """Families of requests that hit `data` as it stands."""
        return self._found(self._asked, data)

    def scan(self, request: Request, operation: Operation) -> Suspects:
        """Values of the request that hit a family, decoded, in order of place; empty for nearly all calls."""
        self.dropped = self.unjudged = 0
        scan = self._asked
        headers = self._of_headers(request.headers, scan)
        dropped = self.dropped
        data, marked = request_texts(request, operation)
        if not self._is_clean(data, marked, scan) or self.dropped > dropped:
            self.dropped = dropped
            values = [*target_places(request, operation), *self._sifted(data, body_places(operation), scan)]
            headers = self._search(values, scan, decode=True) + headers
        return self._within(headers, MAX_JUDGED) if headers else headers

    def _within(self, suspects: Suspects, most: int) -> Suspects:
        """Those that are judged: all of nearly every message, else the shortest ones, in their order."""
        if len(suspects) <= MAX_SUSPECTS and sum([len(value.text) for value, _ in suspects]) <= most:
            return suspects
        kept: set[int] = set()
        for index in sorted(range(len(suspects)), key=lambda index: len(suspects[index][0].text))[:MAX_SUSPECTS]:
            most -= len(suspects[index][0].text)
            if most < 0:
                break
            kept.add(index)
        self._skip(len(suspects) - len(kept))
        return tuple([suspect for index, suspect in enumerate(suspects) if index in kept])

    def _skip(self, values: int) -> None:
        self.dropped += values
        self.unjudged += values

    def _of_headers(self, headers: dict[str, str], scan: _Scans) -> Suspects:
        """Suspects among the headers, with the claims of a bearer token. A client sends the same ones again and again, so clean ones, and
        what was found in tokens, are remembered."""
        token = bearer(headers)
        text = _BETWEEN.join(request_header_texts(headers))
        found = self._headers.get(text) if text else ()
        if found is None:
            found = ()
            data = text.encode("utf-8", "replace")
            if self._is_clean(data, data if special(data.replace(b"\n", b"")) else b"", scan):
                self._remember(self._headers, text, found)
            else:  # not remembered: the same values under other names have other places
                found = self._search(header_places(headers), scan, decode=True)
        if token:
            claims = self._tokens.get(token)
            if claims is None:
                claims = ()
                if self._hidden(token.encode("utf-8", "replace"), scan):
                    claims = self._search([(_BEARER_PLACE, token)], scan, decode=True)
                self._remember(self._tokens, token, claims)
            return found + claims
        return found

    def _remember(self, known: dict[str, Suspects], text: str, found: Suspects) -> None:
        if len(text) <= _REMEMBERED_LENGTH and not self.dropped:
            if len(known) >= _REMEMBERED:
                known.clear()
            known[text] = found

    def scan_response(self, response: Response, operation: Operation) -> Suspects:
        """Values of the response that hit a family, in order of place; empty for nearly all calls.

        `operation` is the response message as decoded. Places: `header.NAME`, `body.items[3].note` for JSON, `body` (in pieces) for text
        and HTML. One decoding only, the content's own: a service does not hide what it says.
        """
        self.dropped = self.unjudged = 0
        scan = self._answered
        data, special = response_texts(operation)
        if data:
            scan[0](data, self._on_match)
            if special:
                scan[1](special, self._on_match)
        if self._hits:
            self._hits.clear()
        else:
            text = _BETWEEN.join(response_header_texts(response.headers))
            if not text or text in self._clean_answers:
                return ()
            if not self._found(scan, text.encode("utf-8", "replace")):
                _keep(self._clean_answers, text)
                return ()
        return self._within(self._search(response_places(response, operation), scan, decode=False), MAX_JUDGED_ANSWER)

    def _is_clean(self, data: bytes, special: bytes, scan: _Scans) -> bool:
        """Whether nothing hits, also not under further decodings. `special`: those lines of `data` that hold a special character."""
        scan[0](data, self._on_match)
        if special:
            scan[1](special, self._on_match)
        if self._hits:
            self._hits.clear()
            return False
        return not signs(data) or not self._hidden(data, scan)

    def _hidden(self, data: bytes, scan: _Scans) -> bool:
        """Whether a family hits under a further decoding of a text of many lines. Only lines that bear a sign of one are decoded."""
        lines: dict[str, None] = {}
        for line in data.split(b"\n"):
            if signs(line):
                text = line.decode("utf-8", "replace")
                if text not in self._clean:
                    lines[text] = None
        if not lines:
            return False
        size = 0
        for layer, whole in unwrapped(_BETWEEN.join(lines)):
            size += len(layer)
            scan[0](layer.encode("utf-8", "replace"), self._on_match)
            if not self._hits:
                # Values one by one, since the line end before a value is none of its characters.
                marked = [part for part in layer.encode("utf-8", "replace").split(BETWEEN) if special(part)]
                scan[1](BETWEEN.join(marked), self._on_match)
            if self._hits or not whole:  # what a limit cut off is looked at value by value
                self._hits.clear()
                return True
            if size > 8 * MAX_DECODED:
                self.dropped += 1
                return False
        for text in lines:
            _keep(self._clean, text)
        return False

    def _sifted(self, data: bytes, values: Iterable[tuple[str, str]], scan: _Scans) -> Iterable[tuple[str, str]]:
        """Those values of which `data` holds the lines that need a closer look: nearly none of a large body that has one."""
        if len(data) < _SMALL:
            return values
        hot: set[str] = set()
        self._hot = 0
        self._sift(list(dict.fromkeys(data.split(b"\n"))), 64, scan, hot)
        return [(place, text) for place, text in values if text in hot or "\n" in text]

    def _sift(self, lines: list[bytes], width: int, scan: _Scans, hot: set[str]) -> None:
        """Add the lines that hit or bear signs of a further encoding to `hot`, by looking at groups, and at smaller ones of those in which
        something is. Lines, not values: a value of several lines is always looked at. After more than is judged anyway, the rest of the
        lines is added as it stands: sifting it would cost more than it spares."""
        for start in range(0, len(lines), width):
            group = lines[start : start + width]
            if self._hot > MAX_COLLECTED:
                hot.update([line.decode("utf-8", "replace") for line in group])
                continue
            joined = BETWEEN.join(group)
            marked = joined if width == 1 else BETWEEN.join([line for line in group if special(line)])
            scan[0](joined, self._on_match)
            scan[1](marked, self._on_match)
            if self._hits or signs(joined):
                self._hits.clear()
                if width == 1:
                    self._hot += len(joined)
                    hot.add(joined.decode("utf-8", "replace"))
                else:
                    self._sift(group, width // 8, scan, hot)

    def _search(self, values: Iterable[tuple[str, str]], scan: _Scans, *, decode: bool) -> Suspects:
        suspects: list[tuple[Value, frozenset[str]]] = []
        characters = 0
        self._left = MAX_DECODED
        values = list(values)
        for start in range(0, len(values), GROUP):
            if len(suspects) >= MAX_SUSPECTS or characters > MAX_COLLECTED:
                self._skip(len(values) - start)
                break
            group = values[start : start + GROUP]
            if len(values) > GROUP:
                data = _BETWEEN.join([text for _, text in group]).encode("utf-8", "replace")
                if not self._found(scan, data) and not (decode and signs(data)):
                    continue
            for place, text in group:
                for at in range(0, len(text), PIECE):
                    if characters > MAX_COLLECTED:
                        self._skip(1)
                        continue
                    found = self._judge(place, text[max(0, at - 512) : at + PIECE] if at else text[:PIECE], scan, decode=decode)
                    characters += sum([len(value.text) for value, _ in found]) if found else 0
                    suspects += found
        return tuple(suspects)

    def _judge(self, place: str, text: str, scan: _Scans, *, decode: bool) -> list[tuple[Value, frozenset[str]]]:
        data = text.encode("utf-8", "replace")
        hit = self._found(scan, data)
        sign = signs(data) if decode else 0
        itself = hit and place != _BEARER_PLACE
        if not (sign or (hit and decode and "=" in text)):
            return self._pieces(place, text, scan) if itself else []
        if self._left <= 0:
            self.dropped += 1
            return self._pieces(place, text, scan) if itself else []
        read, complete = readings(place, text)
        self.dropped += not complete
        found = self._pieces(place, text, scan) if itself else []
        if found and read and read[0][0].startswith(f"{place}:json"):
            # JSON in a string says what its values say: its quotes and escapes are no signs of an injection.
            found = [(value, names & _STRUCTURE) for value, names in found if names & _STRUCTURE]
        if read:
            for where, reading in read:
                self._left -= len(reading)
                if where != _BEARER_PLACE:
                    found += self._pieces(where, reading, scan)
        return found

    def _pieces(self, place: str, text: str, scan: _Scans) -> list[tuple[Value, frozenset[str]]]:
        """Those pieces of a text that hit."""
        found = []
        for chunk in chunks(text):
            hit = self._found(scan, chunk.encode("utf-8", "replace"))
            if place == "path":
                # The whole path is looked at beside its segments only for what needs several of them.
                hit &= _TRAVERSAL
            if hit:
                found.append((Value(_short(place), chunk), hit))
        return found


_STRUCTURE = frozenset(("serialised",))
"""Families that know JSON by its structure."""
_BEARER_PLACE = "header.authorization:token"
"""Place of a bearer token, which is looked at for its claims only."""


def _short(place: str) -> str:
    """A place that a caller made long by names inside names, without its middle: detectors read both its ends."""
    return place if len(place) <= MAX_PLACE else f"{place[: MAX_PLACE // 2]}...{place[-MAX_PLACE // 2 :]}"


def _keep(known: dict[str, None], text: str) -> None:
    if len(text) <= _REMEMBERED_LENGTH:
        if len(known) >= _REMEMBERED:
            known.clear()
        known[text] = None
