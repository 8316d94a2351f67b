"""Whatever a detection confirms anywhere, the prefilter hits everywhere: each match of each `cases.yaml`, in every place and encoding."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape, quoteattr

import msgspec
import pytest
from tests.unit.detections.detection_cases import DETECTORS, LIMITS, PREFILTER, case_facts, read, request

from eastwall.detections import Detector
from eastwall.model.call import Request
from eastwall.model.facts import Facts
from eastwall.protocols.decode import decode_request

JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
XML = {"content-type": "application/xml"}
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}


def dump(tree: object) -> bytes:
    return msgspec.json.encode(tree)


def part(disposition: str, text: str) -> bytes:
    return f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{text}\r\n--b--\r\n".encode()


def printable(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()


def xml_text(text: str) -> bool:
    return (
        all(character.isprintable() or character in "\n" for character in text) and text == text.strip() and "\ufffe" not in text
    )


PLACEMENTS: dict[str, tuple[str, Callable[[str], Request], Callable[[str], bool]]] = {
    "query": ("query.q", lambda text: request("GET", "/x?a=1&q=" + quote(text, safe="")), lambda text: True),
    "form": ("body.q", lambda text: request("POST", "/x", FORM, "a=1&q=" + quote_plus(text)), lambda text: True),
    "json value": ("body.a[1].q", lambda text: request("POST", "/x", JSON, dump({"a": [1, {"q": text}]})), lambda text: True),
    "json key": ("body.a.{", lambda text: request("POST", "/x", JSON, dump({"a": {text: 1}})), lambda text: True),
    "header": ("header.x-note", lambda text: request("GET", "/x", {"x-note": text}), printable),
    "cookie": ("cookie.sid", lambda text: request("GET", "/x", {"cookie": f"a=1; sid={text}"}), lambda text: printable(text) and ";" not in text),
    "path segment": ("path[1]", lambda text: request("GET", "/x/" + quote(text, safe="") + "/y"), lambda text: True),
    "multipart value": ("body.f", lambda text: request("POST", "/x", MULTIPART, part('name="f"', text)), lambda text: "\n--b" not in text),
    "multipart file name": (
        "body.f.{filename}",
        lambda text: request("POST", "/x", MULTIPART, part('name="f"; filename="' + text.replace("\\", "\\\\").replace('"', '\\"') + '"', "x")),
        printable,
    ),
    "xml element": ("body.q", lambda text: request("POST", "/x", XML, f"<r><a>1</a><q>{escape(text)}</q></r>"), xml_text),
    "xml attribute": ("body.a.@q", lambda text: request("POST", "/x", XML, f"<r><a q={quoteattr(text)}/></r>"), lambda text: xml_text(text) and "\n" not in text),
    "graphql variable": (
        "body.variables.q",
        lambda text: request("POST", "/graphql", JSON, dump({"query": "query($q: String) { find(q: $q) { id } }", "variables": {"q": text}})),
        lambda text: True,
    ),
    "graphql literal": (
        "body.query:q",
        lambda text: request("POST", "/graphql", JSON, dump({"query": "{ find(q: " + dump(text).decode() + ") { id } }"})),
        lambda text: text.isprintable(),
    ),
    "mcp argument": (
        "body.params.arguments.q",
        lambda text: request(
            "POST", "/mcp", JSON, dump({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "find", "arguments": {"q": text}}})
        ),
        lambda text: True,
    ),
    "json in a string": ("body.q:json.a", lambda text: request("POST", "/x", JSON, dump({"q": dump({"a": text}).decode()})), lambda text: True),
    "claim": (
        "claim.sub",
        lambda text: request("GET", "/x", {"authorization": "Bearer eyJhbGciOiJIUzI1NiJ9." + base64.urlsafe_b64encode(dump({"sub": text})).decode().rstrip("=") + ".c2ln"}),
        lambda text: True,
    ),
}  # fmt: skip
ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "percent": lambda text: quote(text, safe=""),
    "double percent": lambda text: quote(quote(text, safe=""), safe=""),
    "base64": lambda text: base64.b64encode(text.encode("utf-8", "replace")).decode(),
    "base64 for urls, unpadded": lambda text: base64.urlsafe_b64encode(text.encode("utf-8", "replace")).decode().rstrip("="),
    "unicode escapes": lambda text: "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\u{{{ord(c):x}}}" for c in text),
    "html references": lambda text: "".join(f"&#x{ord(c):x};" for c in text),
    "html names": lambda text: html.escape(text),
}


def confirmed(detector: Detector) -> Iterator[str]:
    """Texts of the matches of a detection in which it found something."""
    for case in read(Path(detector.folder)):
        if case.kind != "match" or case.call is None or case.response is not None:
            continue
        facts: Facts = case_facts(case)
        places = {finding.where for finding in detector.detect(facts)}
        for value, families in facts.suspects:
            if value.place in places and not families.isdisjoint(detector.meta.families) and len(value.text) < 1000:
                yield value.text


CONFIRMED = {detector.meta.id: tuple(dict.fromkeys(confirmed(detector))) for detector in DETECTORS if detector.meta.families}
CONTENT = [d for d in DETECTORS if CONFIRMED.get(d.meta.id)]


def missing(detector: Detector, placement: str, encoding: str) -> list[str]:
    place, put, possible = PLACEMENTS[placement]
    encode, families = ENCODINGS[encoding], frozenset(detector.meta.families)
    wrong = []
    for text in CONFIRMED[detector.meta.id]:
        encoded = encode(text)
        readable = (
            all(character >= " " or character in "\t\r\n" for character in text) and len(text.encode("utf-8", "replace")) >= 9
        )
        if not possible(encoded) or encoded.encode("utf-8", "replace") != encoded.encode("utf-8", "ignore"):
            continue
        if "base64" in encoding and (not readable or not text.isascii()):
            continue  # see decoding: what is short or not readable is not taken for Base64
        if "html" in encoding and html.unescape(encoded) != text:
            continue  # HTML has no reference for a null byte and the like
        message = put(encoded)
        suspects = PREFILTER.scan(message, decode_request(message, LIMITS))
        if not any(value.place.startswith(place) and text in value.text and families & found for value, found in suspects):
            wrong.append(f"{place}: {text!r} as {encoded[:200]!r}: {[(v.place, v.text) for v, _ in suspects][:4]}")
    return wrong


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("detector", CONTENT, ids=[detector.meta.id for detector in CONTENT])
def test_what_is_confirmed_is_hit_everywhere(detector: Detector, placement: str) -> None:
    assert [text for encoding in ENCODINGS for text in missing(detector, placement, encoding)] == []
