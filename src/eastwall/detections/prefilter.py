"""One automaton over all content patterns: the usual call holds none of them, and this says so in a few microseconds.

Two databases of the same patterns would be faster still for nothing: one scan over the raw bytes answers "clean" for calls without
escapes; otherwise the decoded texts are scanned, and only a hit makes the values be walked one by one with their places. The prefilter
may be wrong only to one side: whatever a detector would confirm, it must hit (held by a property test).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hyperscan
import msgspec
from msgspec import Struct

from eastwall.detections import Detector, LoadError
from eastwall.detections.decoding import layers, overlong, percent_decoded, unwrapped
from eastwall.discovery import automata
from eastwall.model.call import Request
from eastwall.model.operation import Operation, Value

_NONE: frozenset[str] = frozenset()
ENCODED = "encoded"
"""Pseudo-family: the text holds a further encoding; looked at under every layer."""
_ENCODED_ONLY = frozenset((ENCODED,))
CHUNK = 4096
"""Characters of a long value that are judged together."""
OVERLAP = 512
"""Characters that neighbouring chunks share, so that a construct on a border is whole in one of them."""
MAX_SUSPECTS = 128
"""Suspects per call. More are not judged, and `Prefilter.dropped` says how many."""
_REMEMBERED, _REMEMBERED_LENGTH = 1024, 2048
"""Sets of header values known to be clean, and the characters of the longest one kept."""
GROUP = 16
"""Values scanned together when looking for those that hit."""


def _listed(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Sent by clients and proxies in formats of their own, with quotes, `;` and `*` in ordinary use; no service stores or executes them.
_SKIPPED_HEADERS = _listed(
    "authorization proxy-authorization accept accept-encoding cache-control connection content-length content-type date "
    "dpop host if-none-match if-match sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec- "
    "fetch-site sec-fetch-user sec-websocket-key te traceparent tracestate transfer-encoding upgrade-insecure-requests "
    "x-forwarded-proto x-request-id "
)
_SCANNED_BODIES = frozenset(("json", "form", "multipart", "text", "xml"))
_READ_AS_TREES = frozenset(("xml", "protobuf"))
"""Bodies whose bytes do not show their values: character data of XML may be cut by comments, CDATA and references."""
# Base64 of readable ASCII: no byte has its top bit set and each is at least 0x20, so three of four characters are confined. A random
# token of twelve characters passes once in 3,000. `eyJ` (a JSON object: every JWT) is left out.
_B64 = r"[C-HS-Xi-nyz0-3]", r"[ABEFIJMNQRUVYZcdghklopstwx014589]", r"[A-Za-z0-9+/_-]"
# The first is compiled on its own: it has no literal to skip by, and together with the others it slows them more than a second scan costs.
_ENCODINGS = (
    (rf"(?:^|[^A-Za-z0-9+_-])(?:[I-Za-df]{_B64[0]}{_B64[1]}|e[C-HS-Xi-nz0-3]{_B64[1]}|ey[ABEFIMNQRUVYZcdghklopstwx014589]){_B64[2]}(?:[I-Za-f]{''.join(_B64)}){{2}}", 0),
    (r"%[0-9a-f]{2}|%u[0-9a-f]{4}", hyperscan.HS_FLAG_CASELESS),
    (r"\\(?:u[0-9a-f{]|x[0-9a-f]{2})", hyperscan.HS_FLAG_CASELESS),
    (r"&(?:#|[a-z]{2,6};)", hyperscan.HS_FLAG_CASELESS),
    (r"\xef(?:[\xbc\xbd]|\xb9[\x90-\xab])", 0),
)  # fmt: skip


class Pattern(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a `patterns.yaml`."""

    pattern: str
    """Hyperscan (PCRE subset) expression; caseless, `.` matches newlines, `^` and `$` are line ends (values are joined by newlines)."""
    family: str
    """One of the families in the detection's metadata."""
    detects: str
    """One sentence: what it is there for."""
    does_not_detect: str
    """One sentence: what comes near and stays quiet."""


class _Entry(Struct, frozen=True):
    expression: bytes
    flags: int
    family: str
    source: str
    """`file:line`, for messages."""


_FLAGS = hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_DOTALL | hyperscan.HS_FLAG_MULTILINE
Suspects = tuple[tuple[Value, frozenset[str]], ...]


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
        self._scans: tuple[Callable[..., Any], ...] = tuple(database.scan for database in databases)
        self._hits: list[int] = []
        self._clean: set[str] = set()
        self.dropped = 0
        """Suspects of the last `scan` beyond `MAX_SUSPECTS`: that call was not wholly inspected."""

    def save(self) -> bytes:
        """The compiled patterns, for the next process's `saved`."""
        return automata.save(self._mark, self._families, self._databases)

    def _on_match(self, pattern: int, start: int, end: int, flags: int, context: Any) -> None:
        self._hits.append(pattern)

    def families(self, data: bytes) -> frozenset[str]:
        """Families (with `ENCODED`) that hit `data`."""
        for scan in self._scans:
            scan(data, self._on_match)
        if not self._hits:
            return _NONE
        found = frozenset(self._families[pattern] for pattern in self._hits)
        self._hits.clear()
        return found

    def scan(self, request: Request, operation: Operation) -> Suspects:
        """Values of the request that hit a family, decoded, in order of place; empty for nearly all calls."""
        self.dropped = 0
        raw = _raw(request, operation)
        if raw is not None and self._clean_headers(request.headers) and not self.families(raw):
            return ()
        text = _joined(request, operation)
        hit = self.families(text.encode("utf-8", "replace"))
        if not hit or (hit == _ENCODED_ONLY and not self._hidden(text)):
            return ()
        return self._search(list(places(request, operation)))

    def _clean_headers(self, headers: dict[str, str]) -> bool:
        """Whether no header hits. A client sends the same ones again and again, so clean sets of them are remembered."""
        text = "\n".join(_header_texts(headers))
        if text in self._clean:
            return True
        if self.families(text.encode("utf-8", "replace")):
            return False
        if len(text) <= _REMEMBERED_LENGTH:
            if len(self._clean) >= _REMEMBERED:
                self._clean.clear()
            self._clean.add(text)
        return True

    def _hidden(self, text: str) -> bool:
        """Whether a family hits under a further layer of the joined texts. Spares the walk for a `%20` in a link."""
        return any(self.families(layer.encode("utf-8", "replace")) - _ENCODED_ONLY for layer in unwrapped(text))

    def _search(self, values: list[tuple[str, str]]) -> Suspects:
        suspects: list[tuple[Value, frozenset[str]]] = []
        for start in range(0, len(values), GROUP):
            group = values[start : start + GROUP]
            if len(values) > GROUP and not self.families("\n".join([text for _, text in group]).encode("utf-8", "replace")):
                continue
            for place, text in group:
                for chunk in chunks(text):
                    suspects += self._judge(place, chunk)
        if len(suspects) > MAX_SUSPECTS:
            self.dropped = len(suspects) - MAX_SUSPECTS
        return tuple(suspects[:MAX_SUSPECTS])

    def _judge(self, place: str, text: str) -> list[tuple[Value, frozenset[str]]]:
        hit = self.families(text.encode("utf-8", "replace"))
        if not hit:
            return []
        found = []
        real = _applicable(place, hit)
        if real:
            found.append((Value(place, text), real))
        if ENCODED in hit:
            for layer in layers(text):
                real = _applicable(place, self.families(layer.encode("utf-8", "replace")))
                if real:
                    found.append((Value(place, layer), real))
        return found


_TRAVERSAL = frozenset(("traversal",))


def _applicable(place: str, hit: frozenset[str]) -> frozenset[str]:
    # The whole path is looked at beside its segments only for what needs several of them.
    return hit & _TRAVERSAL if place == "path" else hit - _ENCODED_ONLY


def _raw(request: Request, operation: Operation) -> bytes | None:
    """Path and body as bytes, when they say the same before and after decoding; None when they may not."""
    path, kind = request.path, operation.body_kind
    if "%" in path or "+" in path or operation.faults:
        return None
    if kind in _READ_AS_TREES:
        return None
    if kind not in _SCANNED_BODIES:
        return path.encode("utf-8", "replace")
    body = operation.raw_body
    if b"\\" in body or b"%" in body:
        return None
    if kind == "json":
        # JSON without a backslash holds no quote but delimiters; as line ends they keep values apart like `_joined` does.
        body = body.replace(b'"', b"\n")
    elif kind != "text" and b"+" in body:
        return None
    return path.encode("utf-8", "replace") + b"\n" + body


def _header_texts(headers: dict[str, str]) -> list[str]:
    texts = [headers[name] for name in headers if name not in _SKIPPED_HEADERS]
    if "authorization" in headers and (basic := _basic(headers)):
        texts.append(basic)
    return texts


def _basic(headers: dict[str, str]) -> str:
    """`user:password` of basic authorization (RFC 7617), else empty."""
    value = headers.get("authorization", "")
    if value[:6].lower() != "basic ":
        return ""
    decoded = layers(value[6:].strip()[:2048])
    return decoded[0] if decoded else ""


def _joined(request: Request, operation: Operation) -> str:
    """All decoded texts of the request, one per line."""
    texts = ["/".join(("", *operation.segments)), *operation.segments]
    for pair in operation.query:
        texts += pair
    texts += _header_texts(request.headers)
    _collect(operation.body, texts)
    if overlong(request.path):
        texts.append(percent_decoded(request.path.replace("+", " ")))
    if _lossy(operation):
        texts += [text for _, text in _raw_places(operation)]
    return "\n".join(texts)


def _collect(tree: Any, texts: list[str]) -> None:
    # Iterative: depth is bounded by the decoder, but a stack of our own is also faster.
    stack = [tree]
    while stack:
        node = stack.pop()
        kind = type(node)
        if kind is str:
            texts.append(node)
        elif kind is dict:
            texts += node
            stack += node.values()
        elif kind is list:
            stack += node


def _lossy(operation: Operation) -> bool:
    """Whether the decoded body may lack something of the raw one: a reader that keeps the first of two equal keys saw another value."""
    if operation.body_kind not in _SCANNED_BODIES or not operation.raw_body:
        return False
    return bool(operation.faults) or (operation.body_kind == "form" and overlong(operation.raw_body.decode("latin-1")))


_JSON_STRING = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)


def places(request: Request, operation: Operation) -> Iterator[tuple[str, str]]:
    """Every decoded value of a request with its place."""
    yield "path", "/".join(("", *operation.segments))
    for index, segment in enumerate(operation.segments):
        yield f"path[{index}]", segment
    for name, value in operation.query:
        yield f"query.{name[:64]}", value
        yield f"query.{{{name[:64]}}}", name
    target, _, query = request.path.partition("?")
    if overlong(target):
        yield "path", percent_decoded(target)
    if overlong(query):
        yield from _pairs("query", query)
    for name, value in request.headers.items():
        if name == "cookie":
            for part in value.split(";"):
                key, _, text = part.partition("=")
                yield f"cookie.{key.strip()[:64]}", text
        elif name not in _SKIPPED_HEADERS:
            yield f"header.{name}", value
    basic = _basic(request.headers)
    if basic:
        yield "header.authorization", basic
    yield from _body_places(operation.body)
    if _lossy(operation):
        yield from _raw_places(operation)


def _raw_places(operation: Operation) -> Iterator[tuple[str, str]]:
    text = operation.raw_body.decode("utf-8", "replace")
    if operation.body_kind == "form":
        yield from _pairs("body", text)
    elif operation.body_kind == "json":
        for match in _JSON_STRING.finditer(text):
            try:
                yield "body", msgspec.json.decode(match[0])
            except msgspec.DecodeError:
                yield "body", match[1]
    else:
        yield "body", text


def _pairs(place: str, raw: str) -> Iterator[tuple[str, str]]:
    for part in raw.split("&", 1000):
        name, _, value = part.partition("=")
        yield f"{place}.{name[:64]}", percent_decoded(value.replace("+", " "))


def _body_places(body: Any) -> Iterator[tuple[str, str]]:
    stack: list[tuple[str, Any]] = [("body", body)]
    while stack:
        place, node = stack.pop()
        if isinstance(node, str):
            yield place, node
        elif isinstance(node, dict):
            for key, value in node.items():
                yield f"{place}.{{{key[:64]}}}", key
                stack.append((f"{place}.{key[:64]}", value))
        elif isinstance(node, list):
            stack += ((f"{place}[{index}]", value) for index, value in enumerate(node))


def chunks(text: str) -> Iterable[str]:
    """A value in pieces of at most `CHUNK` characters that overlap by `OVERLAP`."""
    if len(text) <= CHUNK:
        return (text,)
    return (text[start : start + CHUNK] for start in range(0, len(text) - OVERLAP, CHUNK - OVERLAP))


def read_patterns(path: Path, families: Sequence[str]) -> Iterator[tuple[int, Pattern]]:
    """(line, pattern) of a `patterns.yaml`. Raises `LoadError`."""
    import yaml  # not needed where the patterns are compiled already

    try:
        text = path.read_text("utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        entries = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", -1) + 1
        raise LoadError(f"{path}:{line}: cannot be read: {' '.join(str(error).split())[:200]}") from error
    if node is None or not isinstance(entries, list) or not entries:
        raise LoadError(f"{path}:1: must be a list of patterns; write `- pattern: ...`")
    for entry, part in zip(entries, node.value, strict=True):
        line = part.start_mark.line + 1
        try:
            pattern = msgspec.convert(entry, Pattern)
        except msgspec.ValidationError as error:
            raise LoadError(f"{path}:{line}: {error}; a pattern has pattern, family, detects, does_not_detect") from error
        if pattern.family not in families:
            raise LoadError(
                f"{path}:{line}: family `{pattern.family}` is not in the detection's `families` ({', '.join(families)})"
            )
        yield line, pattern


def _sources(detectors: Sequence[Detector]) -> Iterator[bytes]:
    """Everything that the databases are made of."""
    yield repr((_ENCODINGS, _FLAGS)).encode()
    for detector in detectors:
        if detector.meta.families:
            yield repr((detector.folder, detector.meta.families)).encode()
            try:
                yield (Path(detector.folder) / "patterns.yaml").read_bytes()
            except OSError:
                yield b""  # `read_patterns` will say what is wrong


def _compiled(detectors: Sequence[Detector]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """(family of each pattern, databases). Raises `LoadError`."""
    entries = [_Entry(pattern.encode("latin-1"), flag, ENCODED, "prefilter.py") for pattern, flag in _ENCODINGS]
    for detector in detectors:
        if detector.meta.families:
            path = Path(detector.folder) / "patterns.yaml"
            entries += [
                _Entry(found.pattern.encode(), hyperscan.HS_FLAG_CASELESS, found.family, f"{path}:{line}")
                for line, found in read_patterns(path, detector.meta.families)
            ]
    return tuple(entry.family for entry in entries), (_compile(entries, 0, 1), _compile(entries, 1, len(entries)))


def _compile(entries: Sequence[_Entry], start: int, end: int) -> Any:
    """A database of `entries[start:end]`, with ids counted over all. Raises `LoadError`."""
    part = entries[start:end]
    flags = [entry.flags | _FLAGS for entry in part]
    try:
        return automata.build([entry.expression for entry in part], flags, range(start, end))
    except hyperscan.error as error:
        for entry, flag in zip(part, flags, strict=True):
            try:
                hyperscan.Database().compile(expressions=[entry.expression], ids=[0], elements=1, flags=[flag])
            except hyperscan.error as reason:
                text = entry.expression.decode("latin-1")[:120]
                raise LoadError(f"{entry.source}: pattern `{text}` does not compile: {reason}") from reason
        raise LoadError(f"{part[-1].source}: patterns do not compile together: {error}") from error
