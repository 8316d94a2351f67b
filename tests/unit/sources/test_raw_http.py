"""One request as text: what people paste, and what is wrong with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eastwall.model.call import BodyState
from eastwall.sources.observed import SourceError
from eastwall.sources.raw_http import read


def test_a_request_and_its_answer() -> None:
    data = (
        b"\r\nPOST /orders?full=1 HTTP/1.1\r\nHost: shop.example\r\nCookie: a=1\r\ncookie: b=2\r\nContent-Length: 7\r\n\r\n"
        b'{"a":1}\r\nHTTP/1.1 201 Created\r\nSet-Cookie: x=1\r\nSet-Cookie: y=2\r\nServer:  nginx \r\n\r\nhello'
    )
    request, response = read(data, "r")
    assert (request.method, request.path, request.authority, request.body) == (
        "POST",
        "/orders?full=1",
        "shop.example",
        b'{"a":1}',
    )
    assert request.headers["cookie"] == "a=1; b=2"
    assert request.body_state is BodyState.COMPLETE
    assert response is not None
    assert (response.status, response.headers["set-cookie"], response.headers["server"]) == (201, "x=1\ny=2", "nginx")
    assert response.body == b"hello"


@pytest.mark.parametrize(
    ("data", "path", "body"),
    [
        (b"GET /a", "/a", b""),
        (b"GET /a b?c=d e HTTP/1.1\n\n", "/a b?c=d e", b""),
        (b"get http://h/x?y HTTP/1.0\nHost: z\n\n", "/x?y", b""),
        (b"POST / HTTP/1.1\nA: b\n\nrest\n\nof it\n", "/", b"rest\n\nof it\n"),
        (b"POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", "/", b"abcde"),
        (b"POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n", "/", b"abc"),
    ],
)
def test_forms(data: bytes, path: str, body: bytes) -> None:
    request, response = read(data, "r")
    assert (request.path, request.body, response) == (path, body, None)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "r: is empty"),
        (b"\r\n\r\n", "r: is empty"),
        (b"\nhello\n", "r:2: `hello` is no request line"),
        (b"GET / HTTP/1.1\nHost: a\nno header\n\n", "r:3: `no header` is no header"),
        (b"GET / HTTP/1.1\nContent-Length: x\n\n", "r:4: `content-length` is `x`"),
        (b"GET / HTTP/1.1\nContent-Length: 9\n\nabc", "r:4: the body has 3 bytes, `content-length` says 9"),
        (b"GET / HTTP/1.1\nContent-Length: 2\n\nabc", "r:4: the body has 3 bytes, `content-length` says 2"),
        (b"GET / HTTP/1.1\nContent-Length: 1\n\na\nHTTP/1.1 nonsense\n\n", "r:5: `HTTP/1.1 nonsense` follows the request"),
        (b"GET / HTTP/1.1\nTransfer-Encoding: chunked\n\nzz\n", "r:4: the size of a chunk is expected"),
        (b"GET / HTTP/1.1\nTransfer-Encoding: chunked\n\n5\nab\n", "a chunk of 5 bytes is cut"),
        (b"GET / HTTP/1.1\n" + b"a: b\n" * 1001 + b"\n", "r:1: more than 1,000 headers"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_place(data: bytes, said: str) -> None:
    with pytest.raises(SourceError) as error:
        read(data, "r")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"GET / HTTP/1.1\n", b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"]),
)
def test_any_bytes_are_read_or_refused(data: bytes, start: bytes) -> None:
    try:
        request, _ = read(start + data, "r")
    except SourceError as error:
        assert str(error).startswith("r:")
    else:
        assert request.method
