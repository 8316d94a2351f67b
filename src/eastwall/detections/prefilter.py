"""One automaton over all content patterns: the usual call holds none of them, and this says so in a few microseconds.

One scan over the raw bytes answers "clean" for messages without escapes; otherwise the decoded texts are scanned, and only a hit makes
the values be walked one by one with their places. Requests and responses have databases of their own: what an attacker sends is not
what a service should not say. The prefilter may be wrong only to one side: whatever a detector would confirm, it must hit (held by a
property test).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from eastwall.detections import Detector
from eastwall.detections.decoding import layers, unwrapped
from eastwall.detections.patterns import ENCODED
from eastwall.detections.patterns import compiled as _compiled
from eastwall.detections.patterns import sources as _sources
from eastwall.detections.places import (
    chunks,
    joined,
    places,
    raw_request,
    request_header_texts,
    response_bytes,
    response_header_texts,
    response_places,
)
from eastwall.discovery import automata
from eastwall.model.call import Request, Response
from eastwall.model.operation import Operation, Value

_NONE: frozenset[str] = frozenset()
_ENCODED_ONLY = frozenset((ENCODED,))
_TRAVERSAL = frozenset(("traversal",))
MAX_SUSPECTS = 128
"""Suspects per message. More are not judged, and `Prefilter.dropped` says how many."""
_REMEMBERED, _REMEMBERED_LENGTH = 1024, 2048
"""Sets of header values known to be clean, and the characters of the longest one kept."""
GROUP = 16
"""Values scanned together when looking for those that hit."""

Suspects = tuple[tuple[Value, frozenset[str]], ...]
_Scans = tuple[Callable[..., Any], ...]


class Prefilter:
    """Compiled once; holds hyperscan scratch, so one instance belongs to one thread (a second caller gets an error, not garbage)."""

    def __init__(self, detectors: Sequence[Detector], saved: bytes = b"") -> None:
        """`saved`: what `save` gave an earlier process; compiled anew when it does not fit. Raises `LoadError` for a pattern
        file or pattern that cannot be used."""
        self._mark = automata.fingerprint(_sources(detectors))
        kept = automata.restore(saved, self._mark) if saved else None
        families, databases = kept if kept is not None else _compiled(detectors)
        self._families = families
        self._databases = databases
        self._scans: _Scans = tuple(database.scan for database in databases[:2])
        self._answer_scans: _Scans = tuple(database.scan for database in databases[2:])
        self._hits: list[int] = []
        self._clean: set[str] = set()
        self._clean_answers: set[str] = set()
        self.dropped = 0
        """Suspects of the last `scan` or `scan_response` beyond `MAX_SUSPECTS`: that message was not wholly inspected."""

    def save(self) -> bytes:
        """The compiled patterns, for the next process's `saved`."""
        return automata.save(self._mark, self._families, self._databases)

    def _on_match(self, pattern: int, start: int, end: int, flags: int, context: Any) -> None:
        self._hits.append(pattern)

    def _found(self, scans: _Scans, data: bytes) -> frozenset[str]:
        for scan in scans:
            scan(data, self._on_match)
        if not self._hits:
            return _NONE
        found = frozenset(self._families[pattern] for pattern in self._hits)
        self._hits.clear()
        return found

    def families(self, data: bytes) -> frozenset[str]:
        """Families (with `ENCODED`) of requests that hit `data`."""
        return self._found(self._scans, data)

    def scan(self, request: Request, operation: Operation) -> Suspects:
        """Values of the request that hit a family, decoded, in order of place; empty for nearly all calls."""
        self.dropped = 0
        raw = raw_request(request, operation)
        if raw is not None and self._clean_headers(request.headers) and not self.families(raw):
            return ()
        text = joined(request, operation)
        hit = self.families(text.encode("utf-8", "replace"))
        if not hit or (hit == _ENCODED_ONLY and not self._hidden(text)):
            return ()
        return self._search(list(places(request, operation)), self._scans)

    def scan_response(self, response: Response, operation: Operation) -> Suspects:
        """Values of the response that hit a family, in order of place; empty for nearly all calls.

        `operation` is the response message as decoded. Places: `header.NAME`, `body.items[3].note` for JSON, `body` (in pieces) for text
        and HTML. One decoding only, the content's own: a service does not hide what it says.
        """
        self.dropped = 0
        scans = self._answer_scans
        if not scans:
            return ()
        data = response_bytes(operation)
        clean = self._remembered(self._clean_answers, response_header_texts(response.headers), scans)
        if clean and not (data and self._found(scans, data)):
            return ()
        return self._search(list(response_places(response, operation)), scans)

    def _clean_headers(self, headers: dict[str, str]) -> bool:
        return self._remembered(self._clean, request_header_texts(headers), self._scans)

    def _remembered(self, known: set[str], texts: list[str], scans: _Scans) -> bool:
        """Whether none of these header values hits. The same ones come again and again, so clean sets of them are remembered."""
        if not texts:
            return True
        text = "\n".join(texts)
        if text in known:
            return True
        if self._found(scans, text.encode("utf-8", "replace")):
            return False
        if len(text) <= _REMEMBERED_LENGTH:
            if len(known) >= _REMEMBERED:
                known.clear()
            known.add(text)
        return True

    def _hidden(self, text: str) -> bool:
        """Whether a family hits under a further layer of the joined texts. Spares the walk for a `%20` in a link."""
        return any(self.families(layer.encode("utf-8", "replace")) - _ENCODED_ONLY for layer in unwrapped(text))

    def _search(self, values: list[tuple[str, str]], scans: _Scans) -> Suspects:
        suspects: list[tuple[Value, frozenset[str]]] = []
        for start in range(0, len(values), GROUP):
            group = values[start : start + GROUP]
            if len(values) > GROUP and not self._found(scans, "\n".join([text for _, text in group]).encode("utf-8", "replace")):
                continue
            for place, text in group:
                for chunk in chunks(text):
                    suspects += self._judge(place, chunk, scans)
        if len(suspects) > MAX_SUSPECTS:
            self.dropped = len(suspects) - MAX_SUSPECTS
        return tuple(suspects[:MAX_SUSPECTS])

    def _judge(self, place: str, text: str, scans: _Scans) -> list[tuple[Value, frozenset[str]]]:
        hit = self._found(scans, text.encode("utf-8", "replace"))
        if not hit:
            return []
        found = []
        real = _applicable(place, hit)
        if real:
            found.append((Value(place, text), real))
        if ENCODED in hit:
            for layer in layers(text):
                real = _applicable(place, self._found(scans, layer.encode("utf-8", "replace")))
                if real:
                    found.append((Value(place, layer), real))
        return found


def _applicable(place: str, hit: frozenset[str]) -> frozenset[str]:
    # The whole path is looked at beside its segments only for what needs several of them.
    return hit & _TRAVERSAL if place == "path" else hit - _ENCODED_ONLY
