"""Any input gives an Operation: nothing raises, whatever the bytes, the headers and the state say."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import Any

import brotli
import msgspec
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eastwall.model.call import BodyState, Request, Response
from eastwall.model.operation import Operation
from eastwall.protocols.rest import Limits, decode_request, decode_response

SMALL = Limits(max_depth=4, max_values=20, max_decoded=500, max_parts=3, max_query=3, max_segments=3, max_file_text=10)
TYPES = [
    "",
    "application/json",
    "application/json; charset=utf-16",
    "application/json;charset=utf-7",
    "application/json; charset=idna",
    "application/vnd.x+json",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=gbk",
    "multipart/form-data; boundary=b",
    'multipart/form-data; boundary="b"; boundary=c',
    "multipart/form-data",
    "text/plain; charset=shift_jis",
    "text/html",
    "application/xml",
    "text/xml; charset=utf-16",
    "image/png",
    ";;;==\"'",
]
SEEDS = [
    b'{"a":1,"a":[{"b":"\\u003a"}],"n":12345678901234567890,"x":NaN}',
    b"[[[[[[[[[[1]]]]]]]]]] trailing",
    b"--b\r\nContent-Disposition: form-data; name=\"a\"; filename*=utf-8''%e2%82\r\n\r\nx\r\n--b--",
    b"--b\nContent-Disposition: form-data\n\n\n--b\n--b--b",
    b"a=1&a=%ff&&=&%=+;b",
    '{"a":"é"}'.encode("utf-16"),
    b"\xef\xbb\xbf\xef\xbb\xbf{}",
    b"\xff\xfe\x00\x00",
    b"<a b='1'>x<c>&lt;<![CDATA[y]]></c><c/></a>",
    b"<?xml version='1.0' encoding='utf-16'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
]
CODERS = [lambda b: b, gzip.compress, zlib.compress, brotli.compress, zstandard.compress]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A seed with bytes changed, cut, doubled, or spliced with another; perhaps compressed, perhaps broken again."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            data[at : at + draw(st.integers(0, 5))] = draw(st.binary(max_size=5))
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = data[:at]
        else:
            data[at:at] = draw(st.sampled_from(SEEDS))
    packed = bytearray(draw(st.sampled_from(CODERS))(bytes(data[:4000])))
    if packed and draw(st.booleans()):
        packed[draw(st.integers(0, len(packed) - 1))] ^= draw(st.integers(1, 255))
    return bytes(packed)


headers = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(TYPES) | st.text(max_size=40),
        "content-encoding": st.lists(
            st.sampled_from(["gzip", "deflate", "br", "zstd", "identity", "x", "gzip "]), max_size=6
        ).map(",".join)
        | st.text(max_size=20),
    },
)
targets = st.text(st.sampled_from("/?&=%;+ab0fF.:*#\u00e9\udc80 "), max_size=60) | st.text(max_size=40)


def texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        yield from texts(list(node))
        yield from texts(list(node.values()))
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from texts(item)


def check(operation: object, limits: Limits) -> None:
    assert isinstance(operation, Operation)
    assert operation.body_kind in ("none", "json", "xml", "form", "multipart", "text", "binary", "unread")
    assert len(operation.query) <= limits.max_query
    assert len(operation.segments) <= limits.max_segments + 1
    assert len(operation.faults) <= 40
    assert all(fault.id and fault.where and len(fault.detail) <= 200 for fault in operation.faults)
    for text in texts([operation.path, *operation.segments, *operation.query, operation.body]):
        text.encode()  # lone surrogates would break whoever encodes the text next
    if operation.body_kind in ("form", "multipart"):
        assert isinstance(operation.body, dict)
    if operation.body_kind == "text":
        assert isinstance(operation.body, str)


@settings(max_examples=1500, deadline=None)
@given(targets, headers, mutated() | st.binary(max_size=300), st.sampled_from(BodyState), st.sampled_from([Limits(), SMALL]))
@example("/", {"content-type": "application/json"}, b'{"a":1e400}', BodyState.COMPLETE, SMALL)
@example("/\udc80%ff?\ud800=%", {}, b"", BodyState.NONE, Limits())
@example("/", {"content-type": "application/json"}, b'["\\udc80",{"\\ud800":1}]', BodyState.COMPLETE, Limits())
@example("/%", {"content-type": "application/json"}, b"-" + b"1" * 6000, BodyState.COMPLETE, Limits())
def test_any_message_gives_an_operation(path: str, fields: dict[str, str], body: bytes, state: BodyState, limits: Limits) -> None:
    request = Request("POST", path, fields, body=body, body_state=state)
    check(decode_request(request, limits), limits)
    check(decode_response(Response(200, fields, body, state), request, limits), limits)


@settings(max_examples=500, deadline=None)
@given(st.text(st.sampled_from('{}[]",:\\u003ab10-.eE \n\ud800'), max_size=80))
def test_any_text_called_json_gives_the_tree_a_strict_parser_gives(text: str) -> None:
    body = text.encode("utf-8", "replace")
    operation = decode_request(
        Request("POST", "/", {"content-type": "application/json"}, body=body, body_state=BodyState.COMPLETE), Limits()
    )
    check(operation, Limits())
    try:
        strict = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Never in silence: what a strict parser refuses carries a fault.
        assert operation.faults or not body
    else:
        assert operation.body == strict
