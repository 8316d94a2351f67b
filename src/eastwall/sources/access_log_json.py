"""Access logs as JSON lines. There is no standard: fields are recognised by the names that nginx recipes, Envoy, Istio, Traefik, Caddy
and cloud load balancers give them, written with or without underscores, alone or below `request`, `response` or `httpRequest`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from eastwall.sources.har import seconds
from eastwall.sources.log_call import assembled, clf_time, made, split_address, whole_number
from eastwall.sources.observed import ObservedCall, join_headers, trace_context

_NAMES = {
    "method": "method requestmethod httpmethod verb httprequestmethod",
    "target": "path uri requesturi requestpath url requesturl target originalpath httptarget urlpath httpurl xenvoyoriginalpath urlfull",
    "query": "query querystring args urlquery",
    "line": "request requestline httprequest",
    "status": "status statuscode responsecode downstreamstatus originstatus httpstatus httpstatuscode httpresponsestatuscode elbstatuscode "
    "responsestatus responsestatuscode",
    "host": "host authority httphost requesthost vhost servername domain serveraddress virtualhost requestaddr",
    "scheme": "scheme requestscheme urlscheme xforwardedproto",
    "time": "starttime startutc time ts timestamp timeiso8601 timelocal msec date datetime eventtime startlocal",
    "duration": "duration requesttime durationms durationus responsetime latency elapsed took requesttimems responsetimems latencyms durationseconds",
    "peer": "remoteaddr clientip downstreamremoteaddress clienthost remoteip clientaddr clientaddress remotehost sourceip downstreamdirectremoteaddress client",
    "port": "remoteport clientport",
    "user": "remoteuser user clientusername userid username",
    "agent": "useragent httpuseragent requestuseragent agent",
    "referer": "referer referrer httpreferer requestreferer httpreferrer",
    "received": "bytesreceived requestlength requestcontentsize requestsize bytesread requestbytes",
    "sent": "bodybytessent bytessent size downstreamcontentsize responsesize responsebytes bytes",
    "trace": "traceid otrace xb3traceid",
    "traceparent": "traceparent requesttraceparent",
    "type": "contenttype requestcontenttype",
}
_MEANING = {name: meaning for meaning, names in _NAMES.items() for name in names.split()}
_NESTED = frozenset({"request", "response", "httprequest", "http", "req", "res", "resp", "labels", "fields", "jsonpayload"})
_MEANINGS: dict[str, str] = {}
"""Field name as written -> meaning, remembered."""
_DECODER = msgspec.json.Decoder(dict[str, Any])


def json_call(raw: bytes) -> ObservedCall:
    """One line. Raises ValueError whose text is the reason for which it is no call."""
    try:
        given = _DECODER.decode(raw)
    except (ValueError, RecursionError):
        raise ValueError("bad-json") from None
    known: dict[str, Any] = {}
    durations: list[str] = []
    headers: list[tuple[str, str]] = []
    answered: list[tuple[str, str]] = []
    _gather(given, known, durations, headers, answered)
    return _made(known, durations[0] if durations else "", join_headers(headers), join_headers(answered))


def _gather(
    given: dict[str, Any],
    known: dict[str, Any],
    durations: list[str],
    headers: list[tuple[str, str]],
    answered: list[tuple[str, str]],
    depth: int = 0,
) -> None:
    """What is told by known names; what stands higher goes before what stands deeper."""
    inner = []
    for name, value in given.items():
        meaning = _MEANINGS.get(name)
        if meaning is None:
            plain = name.lower().replace("_", "").replace("-", "").replace("@", "").replace(".", "").replace(":", "")
            meaning = _MEANING.get(plain) or ("nested" if plain in _NESTED else plain if plain.endswith("headers") else "")
            if len(_MEANINGS) < 2_000:
                _MEANINGS[name] = meaning
        if not meaning or value is None or value == "-":
            continue
        if isinstance(value, dict):
            if meaning.endswith("headers"):
                _headers(value, answered if meaning.startswith("res") else headers)
            elif depth < 3:
                inner.append(value)
        elif meaning not in known:
            known[meaning] = value
            if meaning == "duration":
                durations.append(name)
    for value in inner:
        _gather(value, known, durations, headers, answered, depth + 1)


def _headers(given: dict[str, Any], into: list[tuple[str, str]]) -> None:
    for name, value in list(given.items())[:200]:
        values = value if isinstance(value, list) else (value,)
        into.extend((name, str(one)) for one in values if isinstance(one, (str, int, float)))


def _made(known: dict[str, Any], duration_name: str, headers: dict[str, str], answered: dict[str, str]) -> ObservedCall:
    text = {name: value for name, value in known.items() if isinstance(value, str)}
    for field, header in (
        ("agent", "user-agent"),
        ("referer", "referer"),
        ("traceparent", "traceparent"),
        ("type", "content-type"),
    ):
        if field in text:
            headers.setdefault(header, text[field])
    trace, parent = trace_context(headers)
    address, port = split_address(text.get("peer", "").partition(",")[0].strip())
    fields: dict[str, Any] = {
        "status": _status(known.get("status")),
        "time": _time(known.get("time")),
        "duration_us": _duration(duration_name, known.get("duration")),
        "request_headers": headers,
        "response_headers": answered,
        "request_bytes": _size(known.get("received")),
        "response_bytes": _size(known.get("sent")),
        "peer_address": address,
        "peer_port": port or min(_size(known.get("port")), 65_535),
        "user": text.get("user", ""),
        "trace": trace or (text["trace"] if len(text.get("trace", "")) == 32 else ""),
        "parent": parent,
    }
    scheme = text.get("scheme", "").lower()
    fields["tls"] = scheme in ("https", "wss")
    host = text.get("host") or headers.get("host", "")
    scheme = scheme if scheme in ("http", "https", "ws", "wss") else "http"
    if "method" in text and "target" in text:
        method, target = text["method"], text["target"]
        if text.get("query") and "?" not in target:
            target += "?" + text["query"].removeprefix("?")
        if not method:
            raise ValueError("no-request")
        if not method.isascii() or not method[:1].isalpha() or len(method) > 32:
            raise ValueError("not-http")
        return assembled(method.upper(), target, host, scheme, **fields)
    if "line" in text:
        status = fields.pop("status")
        return made(text["line"], host, status=status, scheme=scheme, **fields)
    raise ValueError("json-without-request")


def _status(given: Any) -> int | None:
    if isinstance(given, str) and given.isdigit() and len(given) < 4:
        given = int(given)
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return int(given) if 100 <= given <= 599 else 0
    return None


def _size(given: Any) -> int:
    if isinstance(given, str):
        return whole_number(given)
    return int(given) if isinstance(given, (int, float)) and 0 < given < 1 << 50 else 0


def _time(given: Any) -> float:
    if isinstance(given, str):
        found = seconds(given) or clf_time(given)
        if found:
            return found
        try:
            given = float(given)
        except ValueError:
            return 0.0
    if not isinstance(given, (int, float)) or not 0 < given < 1e20:
        return 0.0
    value = float(given)
    # Seconds, milliseconds, microseconds or nanoseconds: by size, which holds until the year 5138.
    while value > 1e11:
        value /= 1000
    return value


def _duration(name: str, given: Any) -> int:
    """Microseconds. The unit is told by the name, a suffix, or by who writes it so: `duration` is milliseconds with Envoy (whole numbers) and
    seconds with Caddy (fractions), `Duration` nanoseconds with Traefik, `request_time` seconds with nginx."""
    unit = 0.0
    if isinstance(given, str):
        for suffix, factor in (("ms", 1e3), ("us", 1.0), ("µs", 1.0), ("ns", 1e-3), ("s", 1e6)):
            if given.endswith(suffix):
                given, unit = given.removesuffix(suffix).strip(), factor
                break
        try:
            given = float(given) if "." in given or unit else int(given)
        except ValueError:
            return 0
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given < 1e18:
        return 0
    plain = name.lower().replace("_", "")
    if not unit:
        if plain.endswith("ms"):
            unit = 1e3
        elif plain.endswith("us"):
            unit = 1.0
        elif plain.endswith("seconds") or plain == "requesttime":
            unit = 1e6
        elif name == "Duration":
            unit = 1e-3
        else:
            unit = 1e6 if isinstance(given, float) else 1e3
    return int(given * unit)
