"""Which values a message holds, and where: what the prefilter scans, and what is walked when it hits."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from eastwall.detections.decoding import layers, overlong, percent_decoded
from eastwall.model.call import Request, Response
from eastwall.model.operation import Operation

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


def raw_request(request: Request, operation: Operation) -> bytes | None:
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
        # JSON without a backslash holds no quote but delimiters; as line ends they keep values apart like `joined` does.
        body = body.replace(b'"', b"\n")
    elif kind != "text" and b"+" in body:
        return None
    return path.encode("utf-8", "replace") + b"\n" + body


def request_header_texts(headers: dict[str, str]) -> list[str]:
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


def joined(request: Request, operation: Operation) -> str:
    """All decoded texts of the request, one per line."""
    texts = ["/".join(("", *operation.segments)), *operation.segments]
    for pair in operation.query:
        texts += pair
    texts += request_header_texts(request.headers)
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


def response_bytes(operation: Operation) -> bytes:
    """All texts of a response body, one per line; empty where there is none to read."""
    body, kind = operation.raw_body, operation.body_kind
    if kind == "json":
        if b"\\" not in body:
            # As in `raw_request`.
            return body.replace(b'"', b"\n")
    elif kind == "text":
        return _plain(operation).encode("utf-8", "replace")
    elif kind not in _SCANNED_BODIES and kind not in _READ_AS_TREES:
        return b""
    texts: list[str] = []
    _collect(operation.body, texts)
    return "\n".join(texts).encode("utf-8", "replace")


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
        yield from _body_places(operation.body)
