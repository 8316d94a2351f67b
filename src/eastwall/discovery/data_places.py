"""Sensitive values outside of trees: query, headers, cookies, path, text, CSV and line-delimited JSON."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from eastwall.discovery.data_names import evidence
from eastwall.discovery.data_values import BUILTIN, DataClasses, Entry, Found, Search, decode_text
from eastwall.discovery.objects import generated
from eastwall.model.operation import Operation

MAX_LINES = 1_000
"""Lines of a table or of line-delimited JSON that are looked at."""
MAX_COLUMNS = 200
MAX_HEADER = 8_192
"""Characters of a header that are looked at."""
ORDINARY = frozenset(
    "accept accept-charset accept-encoding accept-language accept-ranges access-control-allow-credentials access-control-allow-headers "
    "access-control-allow-methods access-control-allow-origin access-control-expose-headers access-control-max-age "
    "access-control-request-headers access-control-request-method age allow alt-svc authorization cache-control connection "
    "content-disposition content-encoding content-language content-length content-location content-range content-security-policy "
    "content-type cookie date dnt etag expect expires host if-match if-modified-since if-none-match if-range if-unmodified-since "
    "keep-alive last-modified location origin permissions-policy pragma priority proxy-authorization range referer referrer-policy "
    "retry-after sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user "
    "sec-websocket-accept sec-websocket-key sec-websocket-version server server-timing set-cookie strict-transport-security te "
    "traceparent tracestate trailer transfer-encoding upgrade upgrade-insecure-requests user-agent vary via www-authenticate "
    "x-content-type-options x-envoy-attempt-count x-envoy-expected-rq-timeout-ms x-envoy-upstream-service-time x-eastwall-event-id "
    "x-forwarded-host x-forwarded-port x-forwarded-proto x-frame-options x-powered-by x-request-id x-xss-protection".split()
)
"""Headers that carry no data of an application, or (`authorization`, `cookie`) are looked at elsewhere."""


def find_query(operation: Operation, classes: DataClasses, skip: frozenset[str], found: Found) -> None:
    """Hits at `query.NAME`."""
    text = "\n".join([f"{name}={value}" for name, value in operation.query])
    suspects = classes.classes(text.encode("utf-8", "replace")) - skip
    if suspects:
        search = classes.search(suspects)
        for name, value in operation.query:
            search.value(value, "query." + name, search.entry(name), found)


def find_headers(headers: Mapping[str, str], classes: DataClasses, skip: frozenset[str], found: Found) -> None:
    """Hits at `header.NAME`."""
    custom = [(name, value[:MAX_HEADER]) for name, value in headers.items() if name not in ORDINARY and value]
    if not custom:
        return
    text = "\n".join([f"{name}: {value}" for name, value in custom])
    suspects = classes.classes(text.encode("utf-8", "replace")) - skip
    if suspects:
        search = classes.search(suspects)
        for name, value in custom:
            search.value(value, f"header.{name[:128]}", search.entry(name), found)


def find_cookies(headers: Mapping[str, str], classes: DataClasses, skip: frozenset[str], found: Found) -> None:
    """Hits at `cookie.NAME`. That a cookie is a token is its nature, so secrets are not looked for in cookies."""
    text = headers.get("cookie") or headers.get("set-cookie")
    if not text:
        return
    text = text[:MAX_HEADER]
    suspects = classes.classes(text.encode("utf-8", "replace")) - skip - {"secret", "credential"}
    if suspects:
        search = classes.search(suspects)
        pairs = text.split(";") if "cookie" in headers else [line.partition(";")[0] for line in text.split("\n")]
        for pair in pairs[:MAX_COLUMNS]:
            name, _, value = pair.strip().partition("=")
            search.value(_unquoted(value), f"cookie.{name[:128]}", search.entry(name), found)


def _unquoted(value: str) -> str:
    if "%" in value:
        from urllib.parse import unquote

        value = unquote(value)
    return value.strip('"')


def find_path(
    segments: Sequence[str], params: Sequence[tuple[str, str]], classes: DataClasses, skip: frozenset[str], found: Found
) -> None:
    """Hits at `path.NAME` for the parameters of a template, `path[2]` for the segments of a path without one."""
    if params:
        named = [(f"path.{name}", name, value) for name, value in params]
    else:
        before = ["", *segments]
        named = [(f"path[{at}]", "" if generated(before[at]) else before[at], value) for at, value in enumerate(segments)]
    text = "\n".join([f"{name}={value}" for _, name, value in named])
    suspects = classes.classes(text.encode("utf-8", "replace")) - skip
    if suspects:
        search = classes.search(suspects)
        for place, name, value in named:
            search.value(value, place, search.entry(name), found)


def find_text(operation: Operation, search: Search, found: Found) -> None:
    """Hits in a body that is no tree: tables and line-delimited JSON by column and field (`[].email`), other text at `body`."""
    body = operation.body
    text = body if isinstance(body, str) else decode_text(operation.raw_body)
    rows = records(text)
    if rows is None:
        search.value(text, "body", search.entry(""), found)
        return
    for row in rows:
        search.walk(row, "[]", "", found)


def records(text: str) -> list[dict[str, Any]] | None:
    """The rows of CSV (with a header line) or line-delimited JSON as objects, at most `MAX_LINES`; None for other text."""
    start = text[:1]
    if start == "{":
        return _json_lines(text)
    line, end, _ = text.partition("\n")
    if not end or len(line) > 4_096:
        return None
    delimiter = next((one for one in ",;\t|" if line.count(one)), "")
    names = _cells(line, delimiter) if delimiter else [line.strip().strip('"')]
    if not _is_header(names, single=not delimiter):
        return None
    rows = []
    for cells in _rows(text, end_of=len(line) + 1, delimiter=delimiter or ","):
        if delimiter and len(cells) != len(names):
            return None
        rows.append(dict(zip(names, cells, strict=False)))
    return rows or None


def _rows(text: str, end_of: int, delimiter: str) -> Iterator[list[str]]:
    lines = text[end_of:].split("\n", MAX_LINES)[:MAX_LINES]
    try:
        yield from (row for row in csv.reader((line.rstrip("\r") for line in lines), delimiter=delimiter) if row)
    except csv.Error:
        return


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\r")], delimiter=delimiter), [])
    except csv.Error:
        return []


def _is_header(names: list[str], *, single: bool) -> bool:
    """Whether a first line names columns: distinct short words without digits before letters, one of them telling when alone."""
    if not 0 < len(names) <= MAX_COLUMNS or len(set(names)) != len(names):
        return False
    if not all(0 < len(name.strip()) <= 48 and name.strip()[0].isalpha() and "@" not in name for name in names):
        return False
    return any(evidence(name) for name in names) if single else True


def _json_lines(text: str) -> list[dict[str, Any]] | None:
    rows: list[dict[str, Any]] = []
    for line in text.split("\n", MAX_LINES)[:MAX_LINES]:
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
        if not isinstance(row, dict):
            return None
        rows.append(row)
    return rows if len(rows) > 1 else None


__all__ = ["BUILTIN", "Entry", "find_cookies", "find_headers", "find_path", "find_query", "find_text", "records"]
