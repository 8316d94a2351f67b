"""Access logs: the common and combined formats (nginx, Apache, Traefik, with what is often appended), Envoy's and Istio's default, AWS
application load balancers', and JSON lines (`access_log_json`). Told apart line by line, so that a log whose format changed half-way reads.

    10.0.0.7 - alice [22/Nov/2026:14:00:01 +0000] "GET /orders/17?full=1 HTTP/1.1" 200 512 "-" "curl/8.9" rt=0.003
    [2026-11-22T14:00:01.000Z] "GET /orders/17 HTTP/1.1" 200 - 0 512 3 2 "-" "curl/8.9" "9cbf1a2e-..." "orders:8080" "10.0.0.9:80"

Proxies write arbitrary bytes of a request as escapes (`\\x22`, `\\"`): they are undone. Lines that are no call (a TLS handshake on a
plain port, a truncated line) are counted by reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

from eastwall.sources.access_log_json import json_call
from eastwall.sources.har import seconds
from eastwall.sources.log_call import NotACall, clf_time, made, split_address, unescape, whole_number
from eastwall.sources.observed import ObservedCall, Skipped, SourceError
from eastwall.sources.text_lines import numbered

MAX_LINE = 64 << 10

_QUOTED = r'"((?:[^"\\]|\\.)*+)"'
_COMMON = re.compile(
    # Apache's vhost_combined has the virtual host before the address.
    r"(?:([^\s\"\[]{1,255}+) (?=(?:\d{1,3}\.){3}\d|[0-9a-fA-F]*:[0-9a-fA-F:.]+ ))?(\S{1,255}+) (\S{1,64}+) ([^\[\"]{1,255}) \[(\d\d/[A-Za-z]{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    + _QUOTED
    + r" (\d{3}|-) (\d+|-)(?: "
    + _QUOTED
    + " "
    + _QUOTED
    + r")?(.*)",
    re.DOTALL,
)
# Envoy escapes nothing: a user agent may hold quotes, so it is what stands between the fields that cannot.
_ENVOY = re.compile(
    r'\[(\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d))\] "(\S{1,64} \S* \S{1,16}|[^"\s]*)" (\d{1,4}) (\S+) (?:(\S+) (\S+) "([^"]*)" )?'
    r'(\d+|-) (\d+|-) (\d+|-) (\S+) "([^"]*)" "(.*)" "([^"]*)" "([^"]*)" "([^"]*)"(.*)',
    re.DOTALL,
)
_ALB = re.compile(
    r"(https?|h2|grpcs|wss?) (\d{4}-\d\d-\d\dT[0-9:.]+Z) (\S+) (\S+):(\d+) (\S+) (-?[0-9.]+) (-?[0-9.]+) (-?[0-9.]+) (\d+|-) (\d+|-) "
    r"(\d+|-) (\d+|-) " + _QUOTED + " " + _QUOTED + "(.*)",
    re.DOTALL,
)
_SECONDS = re.compile(r'\b(?:rt|request_time)[=:]"?([0-9]{1,9}(?:\.[0-9]+)?)|^ "?[^ "=]*"? ?([0-9]{1,9}\.[0-9]{3})\b')
_MILLISECONDS = re.compile(r" ([0-9]{1,12})ms\s*$")
_HOST = re.compile(r'\b(?:host|vhost|authority)[=:]"?([^\s",]{1,255})')
_TRACE = re.compile(r"\b[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}\b")
_TRACED = re.compile(r"Root=1-([0-9a-f]{8})-([0-9a-f]{24})")


def read(stream: IO[bytes], name: str, head: bytes = b"", skipped: Skipped | None = None) -> Iterator[ObservedCall]:
    """The calls, in the order of the lines. Raises `SourceError` at the end when no line was a call."""
    skipped = Skipped() if skipped is None else skipped
    calls = lines = 0
    for number, raw in numbered(stream, head, MAX_LINE):
        if raw is None:
            skipped.add("line-too-long", f"{name}:{number}")
            continue
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw.strip() or raw.startswith(b"#"):
            continue
        lines += 1
        try:
            call = call_of(raw)
        except NotACall as reason:
            skipped.add(str(reason), f"{name}:{number}: {raw[:100].decode('utf-8', 'replace')}")
            continue
        calls += 1
        yield call
    if not calls and lines:
        raise SourceError(
            f"{name}: none of {lines} lines is a call of an access log; known are common, combined, Envoy, ALB and JSON lines"
        )


def call_of(raw: bytes) -> ObservedCall:
    """One line. Raises NotACall."""
    if raw[:1] == b"{":
        return _json(raw)
    text = raw.decode("utf-8", "replace")
    if (found := _COMMON.fullmatch(text)) is not None:
        return _common(found)
    if text[:1] == "[" and (found := _ENVOY.fullmatch(text)) is not None:
        return _envoy(found)
    if (found := _ALB.fullmatch(text)) is not None:
        return _alb(found)
    raise NotACall("binary-line" if b"\0" in raw else "not-a-log-line")


def like(line: bytes) -> bool:
    """Whether a line looks like one of an access log, also when it is no call."""
    try:
        call_of(line)
    except NotACall as reason:
        return str(reason) not in ("not-a-log-line", "binary-line", "json-without-request")
    return True


def _json(raw: bytes) -> ObservedCall:
    try:
        return json_call(raw)
    except ValueError as fault:
        raise NotACall(str(fault)) from None


def _common(found: re.Match[str]) -> ObservedCall:
    vhost, address, _, user, when, request, status, size, referer, agent, rest = found.groups()
    headers = _headers(referer, agent)
    host = vhost or ""
    duration = 0
    trace = parent = ""
    if rest:
        if (took := _SECONDS.search(rest)) is not None:
            duration = int(float(took[1] or took[2]) * 1e6)
        elif (took := _MILLISECONDS.search(rest)) is not None:
            duration = int(took[1]) * 1000
        if not host and (named := _HOST.search(rest)) is not None:
            host = named[1]
        if (traced := _TRACE.search(rest)) is not None:
            trace, parent = traced.groups()
    return made(
        request,
        host,
        status=int(status) if status != "-" else None,
        time=clf_time(when),
        duration_us=duration,
        request_headers=headers,
        response_bytes=whole_number(size),
        # Apache logs a host name where it looks names up: not an address, so nobody's.
        peer_address=address if address[:1].isdigit() or ":" in address else "",
        user=_plain(user),
        trace=trace,
        parent=parent,
    )


def _envoy(found: re.Match[str]) -> ObservedCall:
    when, request, status, _, _, _, _, received, sent, took, _, _, agent, _, authority, _, rest = found.groups()
    # Istio goes on: upstream cluster, upstream local, downstream local and downstream remote address.
    after = rest.split()
    remote = after[3] if len(after) >= 4 else ""
    address, port = split_address(remote)
    return made(
        request,
        "" if authority == "-" else authority,
        status=int(status),
        time=seconds(when),
        duration_us=whole_number(took) * 1000,
        request_headers={} if agent == "-" else {"user-agent": agent},
        request_bytes=whole_number(received),
        response_bytes=whole_number(sent),
        peer_address=address,
        peer_port=port,
    )


def _alb(found: re.Match[str]) -> ObservedCall:
    kind, when, _, address, port, _, waited, took, answered, status, _, received, sent, request, agent, rest = found.groups()
    root = _TRACED.search(rest)
    parts = [float(part) for part in (waited, took, answered)]
    duration = int(sum(parts) * 1e6) if min(parts) >= 0 else 0
    end = seconds(when)
    return made(
        # The port of the listener stands in the URL, also where it is the scheme's own.
        re.sub(
            r"(?<= )(https?|wss?)(://[^/:\s]+):(80(?!\d)|443(?!\d))",
            lambda m: m[1] + m[2] if (m[3] == "443") == (m[1][-1] == "s") else m[0],
            request,
        ),
        "",
        status=int(status) if status != "-" else 0,
        time=end - duration / 1e6 if end else 0.0,
        duration_us=duration,
        request_headers=_headers(None, agent),
        request_bytes=whole_number(received),
        response_bytes=whole_number(sent),
        peer_address=address.strip("[]"),
        peer_port=int(port[:5]),
        tls=kind in ("https", "h2", "grpcs", "wss"),
        trace=root[1] + root[2] if root else "",
    )


def _headers(referer: str | None, agent: str | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    if referer and referer != "-":
        headers["referer"] = _plain(referer)
    if agent and agent != "-":
        headers["user-agent"] = _plain(agent)
    return headers


def _plain(text: str) -> str:
    if text == "-":
        return ""
    return unescape(text) if "\\" in text else text
