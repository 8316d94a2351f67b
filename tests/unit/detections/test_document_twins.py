"""The readers of markup, addresses and pickles against other readers of the same: the standard library's and the C library's."""

from __future__ import annotations

import base64
import ipaddress
import os
import pickle
import socket
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.detections.cross_site_scripting import markup
from eastwall.detections.cross_site_scripting.xss import cross_site_scripting
from eastwall.detections.ssrf.address import carried_v4, ipv4, parse
from eastwall.detections.unsafe_deserialization.formats import serialised

NAMES = st.sampled_from(["p", "b", "a", "img", "svg", "x-y", "IMG", "Td", "h1"])
ATTRIBUTES = st.sampled_from(["href", "src", "title", "onclick", "ONLOAD", "data-x", "x:y", "@click", "v-on:a"])
TEXTS = st.text(alphabet="abc 019<>=/\n'&;é", max_size=12)
BARE = st.text(alphabet="abc019/.:()é", min_size=1, max_size=8)


@st.composite
def attributes(draw: st.DrawFn) -> str:
    name = draw(ATTRIBUTES)
    kind = draw(st.integers(0, 3))
    space = draw(st.sampled_from(["", " ", "\n"]))
    if kind == 0:
        return name
    if kind == 1:
        return f'{name}{space}={space}"{draw(TEXTS)}"'
    if kind == 2:
        return f"{name}{space}={space}'{draw(TEXTS).replace(chr(39), '')}'"
    return f"{name}={draw(BARE.filter(lambda text: not text.endswith('/')))}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    parts = []
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.booleans()):
            inner = " ".join(draw(st.lists(attributes(), max_size=3)))
            parts.append(f"<{draw(NAMES)} {inner} >" if inner else f"<{draw(NAMES)}>")
        elif draw(st.booleans()):
            parts.append(f"</{draw(NAMES)}>")
        else:
            parts.append(draw(st.text(alphabet="abc 019\n", max_size=10)))
    return "".join(parts)


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[tuple[str, str], ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple((name, value or "") for name, value in attrs)))


@settings(max_examples=300, deadline=None)
@given(documents())
def test_tags_are_those_of_the_standard_librarys_parser(document: str) -> None:
    reader = Reader()
    reader.feed(document)
    reader.close()
    ours = [(tag.name, tuple((a.name, a.value) for a in tag.attributes)) for tag in markup.tags(document) if not tag.closing]
    assert ours == reader.found


@settings(max_examples=300, deadline=None)
@given(documents())
def test_a_document_without_handlers_is_no_script_and_with_one_is(document: str) -> None:
    quiet = document.lower().replace("onclick", "title").replace("onload", "title")
    assert cross_site_scripting(quiet) is None
    assert cross_site_scripting(quiet + "<img src=x onerror=alert(1)>") is not None


NUMBERS = st.builds(
    lambda value, form: {0: str(value), 1: hex(value), 2: f"0{value:o}", 3: f"0X{value:X}"}[form],
    st.integers(0, 300) | st.integers(0, 2**33),
    st.integers(0, 3),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=4).map(".".join))
def test_ipv4_is_what_the_c_library_reads(host: str) -> None:
    try:
        expected = ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        expected = None
    assert ipv4(host) == expected


@settings(max_examples=300, deadline=None)
@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:{}", "64:ff9b::{}", "{}"]), st.sampled_from(["http", "https", "ftp"]))
def test_an_address_survives_every_spelling(address: ipaddress.IPv4Address, form: str, scheme: str) -> None:
    host = form.format(address)
    spelled = f"[{host}]" if ":" in host else host
    for url in (
        f"{scheme}://{spelled}:80/a",
        f"{scheme}://shop.example@{spelled}/",
        f"{scheme}:\\\\{spelled}\\a",
        f"//{spelled}",
    ):
        target = parse(url)
        assert target is not None
        assert target.address is not None
        assert (carried_v4(target.address) or target.address) == address


class Callable:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("id",)


DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(DATA, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_pickles_of_data_are_data_and_of_callables_are_not(data: object, protocol: int) -> None:
    plain = base64.b64encode(pickle.dumps(data, protocol)).decode()
    assert serialised(plain) is None
    if protocol >= 2:
        verdict = serialised(base64.b64encode(pickle.dumps(Callable(), protocol)).decode())
        assert verdict is not None
        assert "system" in verdict.reason
