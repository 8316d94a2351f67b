"""What values mean under further decoding: each layer, what is nested, the limits and the time."""

from __future__ import annotations

import base64
import gzip
import json
import time
import zlib
from collections.abc import Callable
from urllib.parse import quote

import msgspec
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.detections.detection_cases import DETECTORS, LIMITS, PREFILTER, request

from eastwall.detections import decoding, prefilter
from eastwall.detections.decoding import readings
from eastwall.detections.prefilter import Prefilter
from eastwall.model.call import Request
from eastwall.protocols.decode import decode_request

SQL = "x' or 1=1 --"
JSON = {"content-type": "application/json"}


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def token(claims: dict[str, object], header: dict[str, object] | None = None) -> str:
    parts = [
        base64.urlsafe_b64encode(msgspec.json.encode(part)).decode().rstrip("=") for part in (header or {"alg": "HS256"}, claims)
    ]
    return ".".join([*parts, "c2lnbmF0dXJl"])


@pytest.mark.parametrize(
    ("text", "place", "meaning"),
    [
        (quote(SQL), "v", SQL),
        (quote(quote(SQL, safe=""), safe=""), "v", SQL),
        ("%u0078%u0027 or 1", "v", "x' or 1"),
        ("%c0%27%c0%ae", "v", "\ufffd'."),
        (b64(SQL), "v", SQL),
        (b64(SQL).rstrip("="), "v", SQL),
        (base64.urlsafe_b64encode(b"a>?>?>?b' or 1").decode().rstrip("="), "v", "a>?>?>?b' or 1"),
        ("data:text/plain;base64," + b64(SQL), "v", SQL),
        (base64.encodebytes(SQL.encode() * 8).decode(), "v", SQL * 8),
        (b64("GET /x\r\nHost: a"), "v", "GET /x\r\nHost: a"),
        (f"next={b64(SQL)};x", "v", SQL),
        (b64(b64(SQL)), "v", SQL),
        (b64(gzip.compress(SQL.encode() * 3, mtime=0)), "v", SQL * 3),
        (b64(zlib.compress(SQL.encode() * 3)), "v", SQL * 3),
        (b64(zstandard.ZstdCompressor().compress(SQL.encode() * 3)), "v", SQL * 3),
        (SQL.encode().hex(), "v", SQL),
        ("0x" + b"' or 1".hex(), "v", "' or 1"),
        ("".join(f"\\x{ord(c):02x}" for c in SQL), "v", SQL),
        ("".join(f"\\{ord(c):03o}" for c in SQL), "v", SQL),
        ("\\u{27} or \\U00000031", "v", "' or 1"),
        ("&#39; or 1&equals;1", "v", "' or 1=1"),
        ("+ACc- or 1+AD0-1", "v", "' or 1=1"),
        ("\uff07\u3000or \uff11", "v", "' or 1"),
        ("se\u200ble\u00adct \u202ex", "v", "select x"),
        ("\U0001d42c\U0001d41e\U0001d425", "v", "sel"),
        (json.dumps({"a": [{"q": SQL}]}), "v:json.a[0].q", SQL),
        (json.dumps({SQL: 1}), "v:json.{" + SQL + "}", SQL),
        (b64(json.dumps({"q": SQL})), "v:json.q", SQL),
        (json.dumps({"q": b64(SQL)}), "v:json.q", SQL),
        (json.dumps({"q": json.dumps({"r": SQL})}), "v:json.q:json.r", SQL),
        ("a=1&q=" + quote(SQL), "v:form.q", SQL),
        ("https://x.example/y?a=1&q=" + quote(SQL), "v:form.q", SQL),
        (token({"sub": SQL}), "claim.sub", SQL),
        (token({"roles": ["a", SQL]}), "claim.roles[1]", SQL),
        (token({"a": 1}, {"alg": "HS256", "kid": "../../etc/passwd"}), "jose.kid", "../../etc/passwd"),
        ("session " + token({"sub": SQL}), "claim.sub", SQL),
    ],
)
def test_meaning(text: str, place: str, meaning: str) -> None:
    found, complete = readings("v", text)
    assert (place, meaning) in found
    assert complete


@pytest.mark.parametrize(
    "text",
    [
        "hello", "O'Brien & Sons", "100 %", "C:\\Users\\new\\x", "3f2b9c1e-5d7a-4c9e-9d8f-0b1c2d3e4f50", "d41d8cd98f00b204e9800998ecf8427e", "4111111111111111",
        "internationalization", "bWVtYmVyOjEyMzQ1"[:11], "a < b && c > d", "x = {1, 2}", "+49 30 1234567", "1.5e+10", "R&D; T&C", "caf\u00e9 \u4e2d\u6587",
        "AKIAIOSFODNN7EXAMPLE", "01HZX3V9K6M8Q2W4E5R6T7Y8U9", "sha256:" + "ab" * 32, "2026-01-02T10:00:00+01:00", "v1.2.3-rc.1+build.5", "{not json}", "[x](y)",
    ],
)  # fmt: skip
def test_what_is_no_encoding_stays(text: str) -> None:
    assert readings("v", text) == ([], True)


def test_limits_are_said() -> None:
    deep = SQL
    for _ in range(6):
        deep = b64(deep)
    assert not readings("v", deep)[1]
    many = json.dumps([f"%{n:02x}" for n in range(33, 33 + decoding.MAX_NESTED + 1)])
    assert not readings("v", many)[1]
    bomb = b64(gzip.compress(b"a" * 10_000_000))
    found, _ = readings("v", bomb)
    assert max(len(text) for _, text in found) <= decoding.MAX_PACKED
    filter_ = Prefilter(DETECTORS, PREFILTER.save())
    message = request("POST", "/", JSON, msgspec.json.encode({"v": [f"%25{n}%20" * 6000 for n in range(27, 77)], "w": SQL}))
    filter_.scan(message, decode_request(message, LIMITS))
    assert filter_.dropped
    plain = request("POST", "/", JSON, msgspec.json.encode({"v": "a%20b"}))
    assert filter_.scan(plain, decode_request(plain, LIMITS)) == ()
    assert not filter_.dropped


pieces = st.sampled_from(
    ["%", "%25", "%u00", "\\", "\\u", "\\u{", "\\x2", "&", "&#", "&#x", ";", "{", "}", "[", '"', ":", "=", "+A", "+ACc", "-", "0x", "27", "eyJ", ".", "ey", "H4sI",
     "eJx", "AAAA", b64(SQL), SQL, token({"a": "b"}), '{"a":', "\uff07", "\u200b", "\ud7ff", "\U0010ffff", "data:,", " ", "\n", "a", "?", "://"]
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.lists(pieces | st.text(max_size=3), max_size=12).map("".join))
@example("[" * 3000 + '"')
@example('{"a":' * 500 + "1" + "}" * 500)
@example("\\u{110000}\\U99999999&#99999999999;%uffff")
def test_any_text_has_a_bounded_meaning(text: str) -> None:
    found, _ = readings("v", text)
    assert len(found) <= decoding.LAYERS * (1 + decoding.MAX_NESTED) + decoding.MAX_NESTED
    assert len({child for _, child in found}) == len(found)
    assert all(child and place and child != text for place, child in found)
    # What the walk finds, the look at many values at once has found before.
    states = list(decoding.unwrapped(text))
    seen = "\n".join(state for state, _ in states)
    if not all(whole for _, whole in states):
        return
    for place, child in found:
        if ":form." not in place and "\n" not in child and len(child) < 40 and child in (SQL, "' or 1=1"):
            assert child in seen, (place, child)


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=9, max_size=60),
    st.lists(st.sampled_from("pbjheu"), max_size=3),
)
def test_stacks_of_encodings_are_undone(text: str, stack: list[str]) -> None:
    encoded = text
    for layer in stack:
        encoded = {
            "p": lambda t: quote(t, safe=""), "b": b64, "j": lambda t: json.dumps({"k": t}), "h": lambda t: t.encode().hex(),
            "e": lambda t: "".join(f"&#{ord(c)};" for c in t), "u": lambda t: "".join(f"\\u{ord(c):04x}" for c in t),
        }[layer](encoded)  # fmt: skip
    hexed_digits = "h" in stack  # of digits and spaces only, hexadecimal digits look like a number
    assert hexed_digits or encoded == text or text in [child for _, child in readings("v", encoded)[0]]


def jsons(size: int) -> str:
    return json.dumps([json.dumps({"a": "x%20y"})] * (size // 24))


ADVERSE: dict[str, Callable[[int], str]] = {
    **{piece: lambda size, piece=piece: piece * (size // len(piece)) for piece in (
        "'", "\\", "%", "%25", "%41", "{", "[", "(", "<", "&", "&#x41;", ";", "../", "\\u0041", "41", "+ACc-", "${", "\u200b", "\uff07", "' or 1=1 ", "a=b&",
        '{"a":', "eyJ", "ey.", "/*", " ", "\n", "\0", "=", "A", "select from ", "{{", "$(", "://")},
    "base64": lambda size: b64("word " * (size // 7)),
    "base64 of base64": lambda size: b64(b64("%41 " * (size // 8))),
    "base64 and blanks": lambda size: "TWFuTWFuTWFu" + " " * size + "!",
    "nested": jsons,
    "packed": lambda size: " ".join([b64(zlib.compress(b"a" * 60_000))] * (size // 120)),
}  # fmt: skip


@pytest.mark.parametrize("name", ADVERSE)
def test_time_is_linear(name: str) -> None:
    def spent(size: int) -> float:
        body = msgspec.json.encode({"v": ADVERSE[name](size)})
        message = request("POST", "/", JSON, body)
        operation = decode_request(message, LIMITS)
        best = 9.0
        for _ in range(2):
            PREFILTER._clean.clear()
            begin = time.process_time()
            PREFILTER.scan(message, operation)
            best = min(best, time.process_time() - begin)
        return best

    short, long = spent(8_000), spent(64_000)
    assert long < 24 * max(short, 0.0005)
    assert long < 0.5


@pytest.mark.parametrize(
    "value",
    ["x' or %d=%d", "%%2%d%d", '{"a":"%%20%d%d"}', "a&#x41;%d%d", "https://shop.example/?a=%d&b=%%20%d"],
    ids=lambda value: value[:12],
)
def test_many_values_are_linear(value: str) -> None:
    def spent(count: int) -> float:
        message = request("POST", "/", JSON, msgspec.json.encode([value % (n, n) for n in range(1000, 1000 + count)]))
        operation = decode_request(message, LIMITS)
        PREFILTER._clean.clear()
        begin = time.process_time()
        PREFILTER.scan(message, operation)
        return time.process_time() - begin

    assert min(spent(4000), spent(4000)) < 24 * max(min(spent(500), spent(500)), 0.001)


def test_tokens_are_judged_once() -> None:
    filter_ = Prefilter(DETECTORS, PREFILTER.save())
    clean = token({"iss": "https://idp.example.com/", "sub": "alice@example.com", "name": "Alice O'Neil"})
    for _ in range(2):
        message = request("GET", "/", {"authorization": f"Bearer {clean}"})
        assert filter_.scan(message, decode_request(message, LIMITS)) == ()
    assert clean in filter_._tokens
    for _ in range(2):
        bad = request("GET", "/", {"authorization": "Bearer " + token({"sub": SQL})})
        assert [(value.place, value.text) for value, _ in filter_.scan(bad, decode_request(bad, LIMITS))] == [("claim.sub", SQL)]
    for index in range(3 * prefilter._REMEMBERED):
        message = request("GET", "/", {"authorization": "Bearer " + token({"sub": f"user-{index}"})})
        filter_.scan(message, decode_request(message, LIMITS))
    assert len(filter_._tokens) <= prefilter._REMEMBERED
    assert len(filter_._clean) <= prefilter._REMEMBERED


def test_bodies_in_declared_charsets_are_read() -> None:
    for charset in ("utf-16", "utf-16le", "utf-32", "utf-7"):
        body = msgspec.json.encode({"q": SQL}).decode().encode(charset)
        message: Request = request("POST", "/", {"content-type": f"application/json; charset={charset}"}, body)
        assert "body.q" in {value.place for value, _ in PREFILTER.scan(message, decode_request(message, LIMITS))}
