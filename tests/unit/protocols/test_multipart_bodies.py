"""multipart/form-data: against what real clients write, and what they should not."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eastwall.protocols.limits import Limits
from eastwall.protocols.multipart import parameters_of, parse

LIMITS = Limits()


def boundary_of(content_type: str) -> str:
    return parameters_of(content_type)[1]["boundary"]


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


@given(
    st.dictionaries(names, st.text(st.characters(exclude_categories=("Cs",)), max_size=30), max_size=4),
    st.lists(
        st.tuples(names, st.text(st.sampled_from("ab.;=%"), min_size=1, max_size=8), st.binary(max_size=60)),
        min_size=1,
        max_size=3,
    ),
)
def test_reads_what_a_real_client_writes(fields: dict[str, str], files: list[tuple[str, str, bytes]]) -> None:
    request = httpx.Request(
        "POST", "http://h/", data=fields, files=[(name, (filename, content, "text/plain")) for name, filename, content in files]
    )
    tree, faults = parse(request.read(), boundary_of(request.headers["content-type"]), LIMITS)
    assert not faults
    flat: dict[str, list[Any]] = {name: value if isinstance(value, list) else [value] for name, value in tree.items()}
    for name, text in fields.items():
        assert text in flat[escaped(name)]
    for name, filename, content in files:
        described = [item for item in flat[escaped(name)] if isinstance(item, dict) and item["filename"] == escaped(filename)]
        assert len(content) in [item["size"] for item in described]
        assert all(item["content_type"] == "text/plain" for item in described)


def escaped(name: str) -> str:
    # HTML standard, "multipart/form-data encoding algorithm": quotes are written %22, which RFC 7578 readers leave as it is.
    return name.replace('"', "%22")


def body(*parts: str, end: str = "--b--\r\n") -> bytes:
    return ("".join(f"--b\r\n{part}\r\n" for part in parts) + end).encode()


def field(name: str, value: str, extra: str = "") -> str:
    return f'Content-Disposition: form-data; name="{name}"\r\n{extra}\r\n{value}'


def test_repeated_names_and_small_textual_files() -> None:
    tree, faults = parse(
        body(
            field("a", "1"),
            field("a", "2"),
            field("a", ""),
            'content-disposition: form-data; name=f; filename="x.sh"\r\n\r\n; rm',
        ),
        "b",
        LIMITS,
    )
    assert faults == ()
    assert tree == {"a": ["1", "2", ""], "f": {"filename": "x.sh", "content_type": "", "size": 4, "text": "; rm"}}


def test_large_and_binary_files_stay_descriptions() -> None:
    large = field("f", "x" * 70_000).replace('name="f"', 'name="f"; filename="big"')
    tree, _ = parse(body(large, 'Content-Disposition: form-data; name="p"; filename="p.png"\r\n\r\n\x00\x01'), "b", LIMITS)
    assert tree["f"] == {"filename": "big", "content_type": "", "size": 70_000}
    assert tree["p"] == {"filename": "p.png", "content_type": "", "size": 2}


@pytest.mark.parametrize(
    ("raw", "note"),
    [
        (body(field("a", "1"), end=""), "no final boundary"),
        (body(field("a", "1")).replace(b"\r\n", b"\n"), "bare line feeds"),
        (body('Content-Disposition: attachment; name="a"\r\n\r\n1'), "a part without a name"),
        (body("\r\n1"), "a part without a name"),
        (body('Content-Disposition: form-data; name="a"'), "a part whose headers do not end"),
        (b"preamble\r\n" + body(field("a", "1")), "text before the first part"),
        (body(field("a", "MQ==", "Content-Transfer-Encoding: base64\r\n")), "transfer encoding `base64`"),
        (body(field("a", "1", 'Content-Disposition: form-data; name="b"\r\n')), "a part's header comes twice"),
    ],
)
def test_what_readers_disagree_on_is_told(raw: bytes, note: str) -> None:
    tree, faults = parse(raw, "b", LIMITS)
    assert note in [fault.detail for fault in faults]
    assert {fault.id for fault in faults} == {"bad-multipart"}
    assert tree


def test_a_truncated_body_gives_what_is_there_without_blame() -> None:
    whole = body(field("a", "1"), field("b", "two"))
    tree, faults = parse(whole[:-12], "b", LIMITS, truncated=True)
    assert tree["a"] == "1"
    assert "no final boundary" not in [fault.detail for fault in faults]


def test_parts_are_bounded() -> None:
    tree, faults = parse(body(*(field(f"n{i}", "v") for i in range(5000))), "b", LIMITS)
    assert len(tree) == LIMITS.max_parts
    assert [fault.id for fault in faults] == ["too-many-values"]
    exactly, none = parse(body(*(field(f"n{i}", "v") for i in range(LIMITS.max_parts))), "b", LIMITS)
    assert (len(exactly), none) == (LIMITS.max_parts, ())


@pytest.mark.parametrize("boundary", ["", "x" * 71, "zzz"])
def test_a_boundary_that_cannot_be(boundary: str) -> None:
    tree, faults = parse(body(field("a", "1")), boundary, LIMITS)
    assert tree == {}
    assert [fault.id for fault in faults] == ["bad-multipart"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('form-data; name="a b"; filename="C:\\dir\\x.txt"', {"name": "a b", "filename": "C:\\dir\\x.txt"}),
        ('form-data; name="q\\"uote"', {"name": 'q"uote'}),
        ("form-data; name=plain; FILENAME=y", {"name": "plain", "filename": "y"}),
        ("form-data; name=a; filename*=UTF-8''%e2%82%ac.txt", {"name": "a", "filename*": "\u20ac.txt"}),
        ('form-data; name="one"; name="two"', {"name": "one"}),
        ('form-data; name="semi;colon"; x', {"name": "semi;colon"}),
        ("form-data", {}),
        ('form-data; name="open', {"name": "open"}),
    ],
)
def test_parameters(header: str, expected: dict[str, str]) -> None:
    assert parameters_of(header) == ("form-data", expected)
