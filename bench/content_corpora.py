"""The public corpora of attacks and of harmless texts, read into requests: GoTestWAF (with the encoders and placeholders of its own
sender, as its source shows them) and HttpParamsDataset.

They are not part of this project. `EASTWALL_CORPORA` names a folder with `gotestwaf/` (its `testcases`) and `httpparams/payload_full.csv`;
without it there is nothing to read, and `missing` says so.
"""

from __future__ import annotations

import base64
import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import yaml
from msgspec import Struct

from eastwall.model.call import BodyState, Request

ENVIRONMENT = "EASTWALL_CORPORA"
HOST = "shop.example"
BROWSER = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "accept": "application/json, text/plain, */*",
    "accept-language": "en-GB,en;q=0.9",
}
"""What an ordinary client sends besides: a rule set that counts points for missing headers is not to gain by their absence."""
NAME = "5d1a8f0c3b"
"""A parameter's name as GoTestWAF draws one: ten hexadecimal digits."""


class Case(Struct, frozen=True):
    """One call of a corpus."""

    source: str
    """The file it came from: `owasp/sql-injection`."""
    payload: str
    encoder: str
    place: str
    """Name of the placeholder."""
    request: Request
    benign: bool = False


def folder() -> Path | None:
    """Where the corpora are; None when `EASTWALL_CORPORA` is not set or names nothing."""
    named = os.environ.get(ENVIRONMENT, "")
    return Path(named) if named and Path(named).is_dir() else None


def missing() -> str:
    """Why the corpora cannot be read; empty when they can."""
    if folder() is not None:
        return ""
    named = os.environ.get(ENVIRONMENT, "")
    said = f"{ENVIRONMENT} names `{named}`, which is no folder" if named else f"{ENVIRONMENT} is not set"
    return f"{said}: it must name a folder with gotestwaf/ (the test cases of GoTestWAF) and httpparams/payload_full.csv"


def request(method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Request:
    """A call of an ordinary client; `target` is path and query as sent."""
    own = {"host": HOST, **BROWSER, **(headers or {})}
    if body and "transfer-encoding" not in own:
        own["content-length"] = str(len(body))
    state = BodyState.COMPLETE if body else BodyState.NONE
    return Request(method=method, path=target, headers=own, authority=HOST, body=body, body_state=state)


def httpparams(root: Path) -> Iterator[tuple[str, str]]:
    """(class, value): `norm`, `sqli`, `xss`, `cmdi`, `path-traversal`."""
    with (root / "httpparams" / "payload_full.csv").open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            yield row["attack_type"], row["payload"]


def gotestwaf(root: Path, *parts: str) -> Iterator[Case]:
    """All cases, or those of the files named (`owasp/crlf`)."""
    base = root / "gotestwaf"
    for path in sorted(base.rglob("*.yml")):
        source = path.relative_to(base).with_suffix("").as_posix()
        if parts and source not in parts:
            continue
        # Go's YAML takes `\'` inside double quotes.
        case = yaml.safe_load(path.read_text("utf-8").replace("\\'", "'"))
        benign = source.startswith("false-pos")
        for payload in map(str, case["payload"]):
            for encoder in case["encoder"]:
                for place in case["placeholder"]:
                    name = place if isinstance(place, str) else next(iter(place))
                    options = {} if isinstance(place, str) else place[name]
                    yield Case(source, payload, encoder, name, _placed(encoded(payload, encoder), name, options), benign)


def encoded(payload: str, encoder: str) -> str:
    """As GoTestWAF's encoders do."""
    match encoder:
        case "URL":
            return quote_plus(payload, safe="~")
        case "Base64":
            return base64.b64encode(payload.encode()).decode()
        case "Base64Flat":
            return base64.b64encode(payload.encode()).decode().replace("=", "")
        case "Plain":
            return payload
    raise ValueError(f"the encoder `{encoder}` is not known")


def _target(text: str) -> str:
    """What an HTTP client makes of a text in a URL: it is sent as it stands but for what cannot stand there at all."""
    return quote(text, safe="/?&=%:@!$'()*+,;~-._[]{}|\\^`\"<>")


def _placed(text: str, place: str, options: dict[str, Any]) -> Request:
    match place:
        case "URLParam":
            return request("GET", f"/?{NAME}={_target(text)}")
        case "URLPath":
            return request("GET", f"/{_target(text)}")
        case "Header":
            return request("GET", "/", {f"x-{NAME}": text})
        case "UserAgent":
            return request("GET", "/", {"user-agent": text})
        case "HTMLForm":
            return request("POST", "/", {"content-type": "application/x-www-form-urlencoded"}, f"{NAME}={text}".encode())
        case "HTMLMultipartForm":
            body = f'--b0b0\r\nContent-Disposition: form-data; name="{NAME}"\r\n\r\n{text}\r\n--b0b0--\r\n'
            return request("POST", "/", {"content-type": "multipart/form-data; boundary=b0b0"}, body.encode())
        case "JSONRequest":
            escaped = "".join(f"\\u{unit:04x}" for unit in _utf16(text))
            return request("POST", "/", {"content-type": "application/json"}, f'{{"test":true, "{NAME}": "{escaped}"}}'.encode())
        case "XMLBody":
            return request("POST", "/", {"content-type": "text/xml"}, text.encode())
        case "SOAPBody":
            return request("POST", "/", {"content-type": "text/xml", "soapaction": '"urn:next"'}, _soap(text).encode())
        case "GraphQL" if options["method"] == "GET":
            return request("GET", f"/graphql?query={quote_plus(text)}")
        case "GraphQL":
            return request("POST", "/graphql", {"content-type": "application/json"}, text.encode())
        case "gRPC":
            return grpc("/encoder.ServiceFooBar/foo", text)
        case "RawRequest":
            filled = {
                key.lower(): str(value).replace("{{payload}}", text) for key, value in (options.get("headers") or {}).items()
            }
            body = str(options.get("body", "")).replace("{{payload}}", text)
            return request(options["method"], _target(options["path"].replace("{{payload}}", text)), filled, body.encode())
    raise ValueError(f"the placeholder `{place}` is not known")


def _utf16(text: str) -> list[int]:
    data = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


def _soap(text: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/">'
        f"<soapenv:Body><getByStatement><filter><ab{NAME}>{escape(text)}</ab{NAME}></filter></getByStatement></soapenv:Body>"
        "</soapenv:Envelope>"
    )


def grpc(path: str, text: str) -> Request:
    """A unary gRPC call whose message has one field, a text."""
    data = text.encode("utf-8", "surrogatepass")
    size, length = len(data), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    message = b"\x0a" + length + bytes([size]) + data
    frame = b"\x00" + len(message).to_bytes(4, "big") + message
    return request("POST", path, {"content-type": "application/grpc", "te": "trailers"}, frame)


def graphql(query: str, variables: dict[str, Any] | None = None) -> Request:
    """A GraphQL call by POST."""
    body: dict[str, Any] = {"query": query}
    if variables is not None:
        body["variables"] = variables
    return request("POST", "/graphql", {"content-type": "application/json"}, json.dumps(body).encode())
