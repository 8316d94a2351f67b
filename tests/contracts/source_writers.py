"""Writes calls in the formats of recorded traffic, as plainly as their specifications say: what readers are held against."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

START = 1_795_000_000


class Made(NamedTuple):
    """A call to write."""

    method: str
    path: str
    status: int
    host: str
    agent: str
    request: bytes
    response: bytes
    gap: int
    """Seconds after the one before."""


def timed(made: list[Made]) -> Iterator[tuple[float, Made]]:
    at = float(START)
    for call in made:
        at += call.gap
        yield at, call


def json_text(text: str) -> bytes:
    return json.dumps(text).encode()


def har_parts(made: Made, at: float = START) -> tuple[bytes, bytes, bytes]:
    pairs = [{"name": "User-Agent", "value": made.agent}, {"name": "Host", "value": made.host}]
    request: dict[str, Any] = {"method": made.method, "url": f"http://{made.host}{made.path}", "headers": pairs}
    if made.request:
        # HAR holds request bodies as text only: what is no text is lost in it.
        request["postData"] = {"mimeType": "application/octet-stream", "text": made.request.decode("latin-1")}
    content = {"size": len(made.response), "encoding": "base64", "text": base64.b64encode(made.response).decode()}
    entry = {
        "startedDateTime": datetime.fromtimestamp(at, UTC).isoformat(),
        "time": 1.5,
        "request": request,
        "response": {"status": made.status, "headers": [], "content": content},
    }
    return b'{"log": {"version": "1.2", "entries": [\n', json.dumps(entry).encode(), b'], "pages": [{"a": [1, "]}"]}]}}\n'


def har(made: list[Made]) -> bytes:
    parts = [har_parts(call, at) for at, call in timed(made)]
    return parts[0][0] + b",\n".join(part[1] for part in parts) + parts[0][2]


def _tnet(value: Any) -> bytes:
    if isinstance(value, dict):
        body, kind = b"".join(_tnet(k) + _tnet(v) for k, v in value.items()), b"}"
    elif isinstance(value, (list, tuple)):
        body, kind = b"".join(map(_tnet, value)), b"]"
    elif value is None:
        body, kind = b"", b"~"
    elif isinstance(value, bool):
        body, kind = str(value).lower().encode(), b"!"
    elif isinstance(value, int):
        body, kind = b"%d" % value, b"#"
    elif isinstance(value, float):
        body, kind = repr(value).encode(), b"^"
    elif isinstance(value, str):
        body, kind = value.encode(), b";"
    else:
        body, kind = value, b","
    return b"%d:%s%s" % (len(body), body, kind)


def mitmproxy(made: list[Made]) -> bytes:
    return b"".join(
        _tnet(
            {
                "websocket": None,
                "response": {
                    "status_code": c.status,
                    "headers": [],
                    "content": c.response,
                    "trailers": None,
                    "timestamp_end": at + 0.5,
                },
                "request": {
                    "path": c.path.encode(),
                    "authority": b"",
                    "scheme": b"http",
                    "method": c.method.encode(),
                    "port": 80,
                    "host": "10.0.0.1",
                    "headers": [(b"Host", c.host.encode()), (b"User-Agent", c.agent.encode())],
                    "content": c.request,
                    "timestamp_start": at,
                },
                "client_conn": {"peername": ("10.1.2.3", 4000), "tls_established": False},
                "type": "http",
                "version": 21,
            }
        )
        for at, c in timed(made)
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\x5C").replace('"', "\\x22")


def combined(made: list[Made]) -> bytes:
    return "".join(
        f"10.1.2.3 - - [{datetime.fromtimestamp(at, UTC):%d/%b/%Y:%H:%M:%S +0000}] "
        f'"{c.method} {_escaped(c.path)} HTTP/1.1" {c.status} {len(c.response)} "-" "{_escaped(c.agent)}" rt=0.500 host="{c.host}"\n'
        for at, c in timed(made)
    ).encode()


def json_log(made: list[Made]) -> bytes:
    return b"".join(
        json.dumps(
            {
                "time": datetime.fromtimestamp(at, UTC).isoformat(),
                "request_method": c.method,
                "request_uri": c.path,
                "status": c.status,
                "http_host": c.host,
                "http_user_agent": c.agent,
                "remote_addr": "10.1.2.3",
                "request_time": 0.5,
            }
        ).encode()
        + b"\n"
        for at, c in timed(made)
    )


def caddy_log(made: list[Made]) -> bytes:
    return b"".join(
        json.dumps(
            {
                "level": "info",
                "ts": at,
                "logger": "http.log.access",
                "msg": "handled request",
                "request": {
                    "remote_ip": "10.1.2.3",
                    "method": c.method,
                    "host": c.host,
                    "uri": c.path,
                    "headers": {"User-Agent": [c.agent]},
                },
                "duration": 0.5,
                "size": len(c.response),
                "status": c.status,
            }
        ).encode()
        + b"\n"
        for at, c in timed(made)
    )


def traefik_log(made: list[Made]) -> bytes:
    return b"".join(
        json.dumps(
            {
                "ClientHost": "10.1.2.3",
                "ClientUsername": "-",
                "DownstreamContentSize": len(c.response),
                "DownstreamStatus": c.status,
                "Duration": 500_000_000,
                "RequestHost": c.host,
                "RequestMethod": c.method,
                "RequestPath": c.path,
                "StartUTC": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", ".123456789Z"),
                "request_User-Agent": c.agent,
            }
        ).encode()
        + b"\n"
        for at, c in timed(made)
    )


def alb_log(made: list[Made]) -> bytes:
    return "".join(
        f"http {datetime.fromtimestamp(at + 0.5, UTC):%Y-%m-%dT%H:%M:%S}.000000Z app/lb/50dc6c495c0c9188 10.1.2.3:2817 10.0.0.1:80 "
        f"0.100 0.300 0.100 {c.status} {c.status} 34 {len(c.response)} "
        f'"{c.method} http://{c.host if ":" in c.host else c.host + ":80"}{c.path} HTTP/1.1" "{_escaped(c.agent)}" - - '
        'arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/t/73e2d6bc24d8a067 "Root=1-58337262-36d228ad5d99923122bbe354" "-" "-"\n'
        for at, c in timed(made)
    ).encode()


def otlp_request(made: list[Made]) -> Any:
    request = ExportTraceServiceRequest()
    for number, (at, c) in enumerate(timed(made)):
        resource = request.resource_spans.add()
        resource.resource.attributes.add(key="service.name").value.string_value = c.host
        span = resource.scope_spans.add().spans.add()
        span.trace_id, span.span_id, span.kind = b"t" * 16, struct.pack(">Q", number + 1), 2
        span.start_time_unix_nano, span.end_time_unix_nano = int(at * 1e9), int(at * 1e9) + 500_000_000
        path, _, query = c.path.partition("?")
        texts = {"http.request.method": c.method, "url.path": path, "server.address": c.host.partition(":")[0]}
        texts |= {"user_agent.original": c.agent, "client.address": "10.1.2.3"} | ({"url.query": query} if query else {})
        for key, value in texts.items():
            span.attributes.add(key=key).value.string_value = value
        span.attributes.add(key="http.response.status_code").value.int_value = c.status
    return request


def otlp(made: list[Made]) -> bytes:
    encoded = json_format.MessageToDict(otlp_request(made))
    # The JSON form of OTLP writes ids in hex, where protobuf's writes base64.
    for resource in encoded["resourceSpans"]:
        for span in resource["scopeSpans"][0]["spans"]:
            for key in ("traceId", "spanId"):
                span[key] = base64.b64decode(span[key]).hex()
    return json.dumps(encoded).encode() + b"\n"


def otlp_protobuf(made: list[Made]) -> bytes:
    data = otlp_request(made).SerializeToString()
    return len(data).to_bytes(4, "big") + data


def lines(made: list[Made]) -> bytes:
    return "".join(f"{c.method} http://{c.host}{c.path} {c.status}\n" for c in made).encode()


# -- packets -----------------------------------------------------------------------------------------------------------------


def packet(
    time: float, source: tuple[str, int], target: tuple[str, int], sequence: int, flags: int, payload: bytes = b""
) -> bytes:
    """A pcap record (raw IPv4)."""
    tcp = struct.pack(">HHIIBBHHH", source[1], target[1], sequence % 2**32, 0, 5 << 4, flags, 65535, 0, 0) + payload
    ends = b"".join(bytes(map(int, end[0].split("."))) for end in (source, target))
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + ends + tcp
    return struct.pack("<IIII", int(time), int(time % 1 * 1e6), len(ip), len(ip)) + ip


PCAP_HEAD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101)


def messages(c: Made) -> tuple[bytes, bytes]:
    """Request and answer of HTTP/1.1."""
    request = (
        f"{c.method} {c.path} HTTP/1.1\r\nHost: {c.host}\r\nUser-Agent: {c.agent}\r\nContent-Length: {len(c.request)}\r\n\r\n"
    )
    answer = f"HTTP/1.1 {c.status} X\r\nContent-Length: {len(c.response)}\r\n\r\n"
    return request.encode() + c.request, answer.encode() + c.response


def pcap_stream(made: list[Made], size: int = 1_400) -> Iterator[bytes]:
    """One connection with keep-alive; sequence numbers that wrap."""
    client, server = ("10.1.2.3", 4000), ("10.0.0.1", 80)
    sequence = {client: 2**32 - 500, server: 7}
    yield PCAP_HEAD
    yield packet(START, client, server, sequence[client] - 1, 2)
    yield packet(START, server, client, sequence[server] - 1, 18)
    for at, c in timed(made):
        for source, target, data in ((client, server, messages(c)[0]), (server, client, messages(c)[1])):
            for start in range(0, len(data), size):
                yield packet(at, source, target, sequence[source], 24, data[start : start + size])
                sequence[source] += len(data[start : start + size])
    yield packet(at, client, server, sequence[client], 17)
    yield packet(at, server, client, sequence[server], 17)


def pcap(made: list[Made]) -> bytes:
    return b"".join(pcap_stream(made))


def pcapng(made: list[Made]) -> bytes:
    """The same in a big-endian pcapng with nanoseconds and Ethernet under a VLAN tag."""

    def block(kind: int, body: bytes) -> bytes:
        body += b"\0" * (-len(body) % 4)
        size = len(body) + 12
        return struct.pack(">II", kind, size) + body + struct.pack(">I", size)

    parts = [block(0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1))]
    parts.append(block(1, struct.pack(">HHI", 1, 0, 0) + struct.pack(">HHB3x", 9, 1, 9) + struct.pack(">HH", 0, 0)))
    for record in list(pcap_stream(made))[1:]:
        seconds, micro = struct.unpack("<II", record[:8])
        ticks = seconds * 10**9 + micro * 1000
        frame = b"\x02" * 12 + b"\x81\0\0\x05\x08\0" + record[16:]
        parts.append(block(6, struct.pack(">IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame)) + frame))
    return b"".join(parts)


Writer = Callable[[list[Made]], bytes]
_LOG = {"host", "time", "agent", "peer"}
WRITERS: dict[str, tuple[Writer, set[str]]] = {
    "har": (har, {"host", "time", "agent"}),
    "mitmproxy": (mitmproxy, {*_LOG, "body"}),
    "pcap": (pcap, {*_LOG, "body"}),
    "pcapng": (pcapng, {*_LOG, "body"}),
    "access-log": (combined, _LOG),
    "access-log-json": (json_log, _LOG),
    "caddy": (caddy_log, _LOG),
    "traefik": (traefik_log, _LOG),
    "alb": (alb_log, _LOG),
    "otlp": (otlp, _LOG),
    "otlp-protobuf": (otlp_protobuf, _LOG),
    "lines": (lines, {"host"}),
}
"""Format -> what writes it, and what it knows."""
