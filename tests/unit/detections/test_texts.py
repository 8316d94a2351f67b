"""The texts of a JSON body and the signs of encodings: C and Python give the same answers, in linear time."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eastwall.detections import texts

C_TWINS = pytest.mark.skipif(not texts.accelerated, reason="installed without a C compiler")
names = st.text(max_size=8) | st.sampled_from(["id", "name", "a" * 63, "a" * 64, "a" * 65])
trees = st.recursive(
    st.none() | st.integers() | st.text(max_size=80) | st.sampled_from(["x", "a" * 8, "line\nline", "\u2028\U0001f600"]),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(names, inner, max_size=6),
    max_leaves=30,
)


def strings(tree: object) -> set[str]:
    if isinstance(tree, str):
        return {tree}
    if isinstance(tree, dict):
        return {text for key, value in tree.items() for text in {key} | strings(value)}
    return {text for value in tree for text in strings(value)} if isinstance(tree, list) else set()


@C_TWINS
@settings(max_examples=500, deadline=None)
@given(trees, st.booleans(), st.booleans(), st.sampled_from([b"", b"/a\nb"]))
def test_every_string_is_gathered(tree: object, ascii_only: bool, spaced: bool, head: bytes) -> None:
    body = json.dumps(tree, ensure_ascii=ascii_only, indent=1 if spaced else None).encode("utf-8", "surrogatepass")
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    expected = {line for text in strings(tree) for line in text.encode("utf-8", "replace").split(b"\n")}
    for gather in (texts.gathered, texts.gathered_of):
        found, marked = gather(head, body)
        assert found.startswith(head)
        special = {text for text in strings(tree) if texts.special(text.encode("utf-8", "replace"))}
        assert {line for text in special for line in text.encode("utf-8", "replace").split(b"\n")} ^ set(marked.split(b"\n")) <= {
            b"",
            b"\x1e",
        }
        lines = set(found.removeprefix(head).split(b"\n"))
        assert expected - lines <= {b""}
        assert lines - expected <= {b"", b"\x1e"}


@pytest.mark.parametrize("gather", [texts.gathered, texts.gathered_of])
def test_escapes_are_undone(gather: Callable[[bytes, bytes], tuple[bytes, bytes]]) -> None:
    body = rb'{"a\"b": "\\u0027 \u0027 \/ \n \t\r\b\f \uD83D\uDE00 \u00e9 \u4e2d", "": ""}'
    assert gather(b"", body)[0].split(texts.BETWEEN, 1) == [
        b'a"b', "\\u0027 ' / \n \t\r\b\f \U0001f600 \u00e9 \u4e2d".encode(),
    ]  # fmt: skip


@C_TWINS
@settings(max_examples=1000, deadline=None)
@given(
    st.binary(max_size=120)
    | st.lists(st.sampled_from([b'"', b"\\", b"\\u", b"\\ud83d", b"\\udc00", b"12", b"{", b"a", b'\\"']), max_size=30).map(
        b"".join
    )
)
@example(b'"\\')
@example(b'"\\u')
@example(b'"\\ud83d\\u')
def test_any_bytes_are_safe(data: bytes) -> None:
    found, marked = texts.gathered(b"head", data)
    assert found.startswith(b"head")
    assert len(found) <= 2 * len(data) + 5
    assert len(marked) <= 2 * len(data)
    assert texts.gathered_of(b"head", data)[0].startswith(b"head")
    assert texts.signs(data) == texts.signs_of(data)


PIECES = [
    b"%", b"2", b"7", b"u0027", b"%27", b"\\", b"\\x2", b"\\u{", b"\\047", b"&", b"#", b"&quot;", b"&toolongname;", b"&a;", b"+", b"+ADw-", b"+AI",
    b"eyJhbGciOiJSUzI1NiJ9", b"H4sIAAAAAAAAA", b"eJwrSSwuUQAABF4B", b"/", b" ", b"\n", b"{", b"[", b'"', b"{ \n[", b"0x", b"2720", b"6f72", b"61",
    b"\xc2\xad", b"\xe2\x80\x8b", b"\xe2\x80", b"\xef\xbc\x87", b"\xef", b"\xf0\x9d\x90\x80", b"\xe2\x91\xa0", b"word", b"-", b"_", b"=", b".",
]  # fmt: skip


@C_TWINS
@settings(max_examples=2000, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=14).map(b"".join))
def test_signs_agree(data: bytes) -> None:
    assert texts.signs(data) == texts.signs_of(data)


@pytest.mark.parametrize("signs", [texts.signs, texts.signs_of])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("The quick brown fox, 100 % of it & more; C:\\users\\new [1] {2} (a+b)", 0),
        ("3f2b9c1e-5d7a-4c9e-9d8f-0b1c2d3e4f50 2026-01-02T10:00:00Z 5555555555554444 internationalization", 0),
        ("d41d8cd98f00b204e9800998ecf8427e", 0),
        ("100%25", texts.PERCENT),
        ("%u0027", texts.PERCENT),
        ("\\u0027", texts.ESCAPE),
        ("\\x27", texts.ESCAPE),
        ("\\047", texts.ESCAPE),
        ("a &lt; b", texts.REFERENCE),
        ("&#39", texts.REFERENCE),
        ("sel\u200bect", texts.COMPATIBLE),
        ("\uff07", texts.COMPATIBLE),
        ("caf\u00e9 \u4e2d\u6587 \u2026 \u201cquoted\u201d \u20ac", 0),
        (base64.b64encode(b"hello, world").decode(), texts.BASE64),
        ("a/b/" + base64.b64encode(b"hello, world").decode(), texts.BASE64),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.x", texts.BASE64),
        ("27206f7220313d31", texts.HEX),
        ("0x27206f723131", texts.HEX),
        ("+ACc- or", texts.UTF7),
        ('{"a": 1}', texts.NESTED),
        ('x\n[{"a": 1}]', texts.NESTED),
        ('see {"a": 1}', 0),
    ],
)
def test_signs(signs: Callable[[bytes], int], text: str, expected: int) -> None:
    assert signs(text.encode()) == expected


ADVERSE = [
    b'"',
    b"\\",
    b"%",
    b"{",
    b"{ ",
    b"[\n",
    b"&a",
    b"+A",
    b"+",
    b"/",
    b"A/",
    b"TWFuTWFuTWFu",
    b"\\u",
    b'"a',
    b'"a"',
    b"\xe2\x80",
    b"0x27",
    b"2",
    b" ",
]


@pytest.mark.parametrize("piece", ADVERSE)
@pytest.mark.parametrize(
    "function", [lambda data: texts.gathered(b"", data), texts.signs, lambda data: texts.gathered_of(b"", data), texts.signs_of]
)
def test_time_is_linear(function: Callable[[bytes], object], piece: bytes) -> None:
    def spent(size: int) -> float:
        data = piece * (size // len(piece))
        best = 9.0
        for _ in range(3):
            begin = time.process_time()
            function(data)
            best = min(best, time.process_time() - begin)
        return best

    assert spent(256_000) < 24 * max(spent(32_000), 0.0005)
