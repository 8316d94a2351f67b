"""Which values a message holds, and where: what the prefilter scans, and what is walked when it hits."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from eastwall.detections.decoding import layers, overlong, percent_decoded, values_of
from eastwall.detections.texts import BETWEEN, gathered, special
from eastwall.model.call import Request, Response
from eastwall.model.operation import Operation
from eastwall.model.place import FILE_CONTENT

CHUNK = 4096
"""Characters of a long value that are judged together."""
OVERLAP = 512
"""Characters that neighbouring chunks share, so that a construct on a border is whole in one of them."""


def _listed(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Sent by clients and proxies in formats of their own, with quotes, `;` and `*` in ordinary use; no service stores or executes them.
_SKIPPED_HEADERS = _listed(
    "authorization proxy-authorization accept accept-encoding cache-control connection content-length content-type date "
    "dpop host if-none-match if-match sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode "
    "sec-fetch-site sec-fetch-user sec-websocket-key te traceparent tracestate transfer-encoding upgrade-insecure-requests "
    "x-forwarded-proto x-request-id "
)
_SCANNED_BODIES = frozenset(("json", "form", "multipart", "text", "xml"))
_READ_AS_TREES = frozenset(("xml", "protobuf"))
"""Bodies whose bytes do not show their values: character data of XML may be cut by comments, CDATA and references."""


_HARMLESS = frozenset(("big-integer", "duplicate-key"))
"""Faults of JSON whose bytes are still read as they stand."""
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.~-]*+")
_BETWEEN = BETWEEN.decode()
_BASIC, _BEARER = "basic ", "bearer "


def request_texts(request: Request, operation: Operation) -> tuple[bytes, bytes]:
    """All texts of target and body, decoded, one per line, and those of them once more that hold a special character (see
    `texts.SPECIAL`). Headers are not in it."""
    kind = operation.body_kind
    head = _BETWEEN.join(_target_texts(request, operation)).encode("utf-8", "replace")
    # Line ends between them are none of their characters, and those inside them come from a `%0A`.
    marked = head if "%" in request.path or special(head.replace(b"\n", b"")) else b""
    if kind == "none":
        return head, marked
    if kind == "json" and operation.protocol != "graphql" and (not operation.faults or _harmless(operation)):
        data, found = gathered(head, operation.raw_body)
        return data, _lines(marked, found)
    if kind == "text" and operation.protocol != "graphql":
        data = operation.raw_body
        return _lines(head, data), _lines(marked, data if special(data) else b"")
    texts: list[str] = []
    if operation.protocol == "graphql":
        texts += [text for _, text in _graphql_places(operation)]
    else:
        _collect(operation.body, texts)
    if _lossy(operation):
        texts += [text for _, text in _raw_places(operation)]
    data, found = _parted(texts)
    return _lines(head, data), _lines(marked, found)


def request_bytes(request: Request, operation: Operation) -> bytes:
    """All of `request_texts`."""
    return request_texts(request, operation)[0]


def _lines(first: bytes, second: bytes) -> bytes:
    return first + BETWEEN + second if first and second else first or second


def _parted(texts: list[str]) -> tuple[bytes, bytes]:
    lines = [text.encode("utf-8", "replace") for text in texts]
    return BETWEEN.join(lines), BETWEEN.join([line for line in lines if special(line)])


def _harmless(operation: Operation) -> bool:
    return all(fault.id in _HARMLESS for fault in operation.faults)


def _target_texts(request: Request, operation: Operation) -> list[str]:
    path = operation.path
    texts = [path]
    if _PLAIN_PATH.fullmatch(path) is not None:
        texts.append(path.replace("/", _BETWEEN))  # its segments one by one
    else:
        texts.append("/".join(("", *operation.segments)))
        for segment in operation.segments:
            texts.append(segment)
            if "+" in segment and "%" in path:
                texts.append(segment.replace("+", " "))
            if ";" in segment:
                texts += [value for _, value in _matrix("", segment)]
    if overlong(request.path):
        texts.append(percent_decoded(request.path.replace("+", " ")))
    texts += [text for _, text in _query_places(operation)] if operation.query else ()
    return texts


def _query_places(operation: Operation) -> Iterator[tuple[str, str]]:
    graphql = operation.protocol == "graphql"
    for name, value in operation.query:
        if graphql and name == "query" and "{" in value:
            yield from _document("query.query", value, _understood(operation))
        else:
            yield f"query.{name[:64]}", value
        yield f"query.{{{name[:64]}}}", name


def _matrix(place: str, segment: str) -> Iterator[tuple[str, str]]:
    """Matrix parameters of a path segment: `/cars;color=red` (RFC 3986 section 3.3)."""
    for part in segment.split(";", 16)[1:]:
        name, _, value = part.partition("=")
        yield f"{place};{name[:64]}", value


def request_header_texts(headers: dict[str, str]) -> list[str]:
    """Values of the request headers that are looked at, cookies also one by one."""
    texts = [headers[name] for name in headers if name not in _SKIPPED_HEADERS]
    if "cookie" in headers:
        texts += [value for _, value in _cookies(headers["cookie"])]
    if "authorization" in headers and (basic := _basic(headers)):
        texts.append(basic)
    return texts


def bearer(headers: dict[str, str]) -> str:
    """The bearer token of a request (RFC 6750), else empty."""
    value = headers.get("authorization", "")
    return value[7:].strip() if value[:7].lower() == _BEARER else ""


def _cookies(header: str) -> Iterator[tuple[str, str]]:
    for part in header.split(";"):
        key, _, text = part.partition("=")
        yield f"cookie.{key.strip()[:64]}", text


def _basic(headers: dict[str, str]) -> str:
    """`user:password` of basic authorization (RFC 7617), else empty."""
    value = headers.get("authorization", "")
    if value[:6].lower() != _BASIC:
        return ""
    decoded = layers(value[6:].strip()[:2048])
    return decoded[0] if decoded else ""


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
    faults = [fault for fault in operation.faults if fault.id != "big-integer"]
    return bool(faults) or (operation.body_kind == "form" and overlong(operation.raw_body.decode("latin-1")))


_JSON_STRING = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)


def places(request: Request, operation: Operation) -> Iterator[tuple[str, str]]:
    """Every decoded value of a request with its place."""
    yield from target_places(request, operation)
    yield from body_places(operation)
    yield from header_places(request.headers)


def header_places(headers: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Values of the request headers that are looked at."""
    for name, value in headers.items():
        if name == "cookie":
            yield from _cookies(value)
        elif name not in _SKIPPED_HEADERS:
            yield f"header.{name}", value
    if basic := _basic(headers):
        yield "header.authorization", basic


def target_places(request: Request, operation: Operation) -> Iterator[tuple[str, str]]:
    """Values of path and query."""
    yield "path", "/".join(("", *operation.segments))
    for index, segment in enumerate(operation.segments):
        yield f"path[{index}]", segment
        if "+" in segment and "%" in operation.path:
            # Written as a form is written: some servers read `+` as a space in paths too.
            yield f"path[{index}]", segment.replace("+", " ")
        if ";" in segment:
            yield from _matrix(f"path[{index}]", segment)
    yield from _query_places(operation)
    target, _, query = request.path.partition("?")
    if overlong(target):
        yield "path", percent_decoded(target)
    if overlong(query):
        yield from _pairs("query", query)


def body_places(operation: Operation) -> Iterator[tuple[str, str]]:
    """Values of the body of a request."""
    if operation.protocol == "graphql":
        yield from _graphql_places(operation)
    elif operation.body_kind == "multipart":
        yield from _multipart_places(operation.body)
    else:
        yield from values_of("body", operation.body)
    if _lossy(operation):
        yield from _raw_places(operation)


def _multipart_places(body: Any) -> Iterator[tuple[str, str]]:
    """Fields, and of files their names, types and texts: `body.FIELD`, `body.FIELD.{filename}`, `body.FIELD.{content_type}`,
    `body.FIELD.{content}`."""
    if type(body) is not dict:
        return
    for name, value in body.items():
        yield f"body.{{{name[:64]}}}", name
        for index, part in enumerate(value if type(value) is list else [value]):
            place = f"body.{name[:64]}[{index}]" if type(value) is list else f"body.{name[:64]}"
            if type(part) is dict:
                yield f"{place}.{{filename}}", part.get("filename", "")
                yield f"{place}.{{content_type}}", part.get("content_type", "")
                yield f"{place}{FILE_CONTENT}", part.get("text", "")
            else:
                yield place, part


# Which quotes of a block string do not end it is told by what comes next, each case in full: a look ahead in a possessive group is what
# CPython before 3.11.5 loses its place by (gh-106052).
_GRAPHQL_TEXT = re.compile(
    r'#[^\n\r]*+|"""((?:[^"\\]|\\(?:""")?+|"[^"\\]|""[^"\\]|"\\(?:""")?+|""\\(?:""")?+)*+)"""|"((?:[^"\\\n\r]|\\.)*+)"'
    r"|([_A-Za-z][_0-9A-Za-z]*+)[\s,]*+:",
    re.DOTALL,
)


def _graphql_places(operation: Operation) -> Iterator[tuple[str, str]]:
    """Values of a GraphQL request. A document that was understood holds values only in its literals, `body.query:ARGUMENT`; of one that
    was not, the text itself is looked at too."""
    understood = _understood(operation)
    body = operation.body
    if type(body) is str:
        yield from _document("body", body, understood)
        return
    for place, text in values_of("body", body):
        if text and "{" in text and place.endswith("query"):
            yield from _document(place, text, understood)
        else:
            yield place, text


def _understood(operation: Operation) -> bool:
    return not any(fault.id.startswith("graphql") for fault in operation.faults)


def _document(place: str, text: str, understood: bool) -> Iterator[tuple[str, str]]:
    if not understood:
        yield place, text
    name = ""
    for match in _GRAPHQL_TEXT.finditer(text):
        block, quoted, argument = match.groups()
        if argument:
            name = argument
        elif block is not None:
            yield f"{place}:{name[:64]}", block
        elif quoted is not None:
            try:
                yield f"{place}:{name[:64]}", msgspec.json.decode(f'"{quoted}"', type=str)
            except msgspec.DecodeError:
                yield f"{place}:{name[:64]}", quoted


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


def chunks(text: str) -> Iterable[str]:
    """A value in pieces of at most `CHUNK` characters that overlap by `OVERLAP`."""
    if len(text) <= CHUNK:
        return (text,)
    return (text[start : start + CHUNK] for start in range(0, len(text) - OVERLAP, CHUNK - OVERLAP))


# Written by every server and proxy in formats of their own, with nothing of the service in them.
_SKIPPED_ANSWER_HEADERS = _listed(
    "accept-ranges age alt-svc cache-control connection content-encoding content-language content-length content-type date etag "
    "expires keep-alive last-modified nel report-to strict-transport-security trailer traceparent transfer-encoding vary "
    "x-content-type-options x-envoy-upstream-service-time x-frame-options x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset "
    "x-request-id x-response-time x-runtime "
)


def response_header_texts(headers: dict[str, str]) -> list[str]:
    """Values of the response headers that are looked at."""
    return [headers[name] for name in headers if name not in _SKIPPED_ANSWER_HEADERS]


def response_texts(operation: Operation) -> tuple[bytes, bytes]:
    """The same of a response body as `request_texts`; empty where there is none to read."""
    kind = operation.body_kind
    if kind == "json" and (not operation.faults or _harmless(operation)):
        return gathered(b"", operation.raw_body)
    if kind == "text":
        data = _plain(operation).encode("utf-8", "replace")
        return data, data
    if kind not in _SCANNED_BODIES and kind not in _READ_AS_TREES:
        return b"", b""
    texts: list[str] = []
    _collect(operation.body, texts)
    return _parted(texts)


def response_bytes(operation: Operation) -> bytes:
    """All of `response_texts`."""
    return response_texts(operation)[0]


def _plain(operation: Operation) -> str:
    """A text body; of HTML with its character references undone, as a browser would show it."""
    text = operation.body if type(operation.body) is str else ""
    return html.unescape(text) if "&" in text and "<" in text[:1024] else text


def response_places(response: Response, operation: Operation) -> Iterator[tuple[str, str]]:
    """Every decoded value of a response with its place."""
    for name, value in response.headers.items():
        if name not in _SKIPPED_ANSWER_HEADERS:
            for line in value.split("\n"):
                yield f"header.{name}", line
    if operation.body_kind == "text":
        yield "body", _plain(operation)
    else:
        yield from values_of("body", operation.body)
