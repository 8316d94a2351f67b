"""Sensitive values outside of trees: query, headers, cookies, path, text, CSV and line-delimited JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from re import compile as regex
from urllib.parse import unquote

from eastwall.discovery.data_rows import records
from eastwall.discovery.data_values import DataClasses, Found, Search, decode_text
from eastwall.discovery.objects import generated
from eastwall.model.operation import Operation

MAX_COOKIES = 200
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


_CREDENTIAL = regex("auth|token|key|secret|session|csrf|xsrf|signature|jwt|assertion")
"""Headers that are there for credentials: that they hold one is no finding."""
_CREDENTIALS = frozenset({"secret", "credential"})


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
        for name, value in custom:
            wanted = suspects - _CREDENTIALS if _CREDENTIAL.search(name) is not None else suspects
            search = classes.search(wanted)
            search.value(value, f"header.{name[:128]}", search.entry(name), found)


def find_cookies(headers: Mapping[str, str], classes: DataClasses, skip: frozenset[str], found: Found) -> None:
    """Hits at `cookie.NAME`. That a cookie is a token is its nature, so secrets are not looked for in cookies."""
    text = headers.get("cookie") or headers.get("set-cookie")
    if not text:
        return
    text = _unquoted(text[:MAX_HEADER])
    suspects = classes.classes(text.encode("utf-8", "replace")) - skip - _CREDENTIALS
    if suspects:
        search = classes.search(suspects)
        pairs = text.split(";") if "cookie" in headers else [line.partition(";")[0] for line in text.split("\n")]
        for pair in pairs[:MAX_COOKIES]:
            name, _, value = pair.strip().partition("=")
            search.value(value.strip('"'), f"cookie.{name[:128]}", search.entry(name), found)


def _unquoted(value: str) -> str:
    return unquote(value) if "%" in value else value


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
    for row in records(text) or ():
        search.walk(row, "[]", "", found)
        text = ""
    if text:
        search.value(text, "body", search.entry(""), found)
