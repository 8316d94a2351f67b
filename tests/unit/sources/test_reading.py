"""HAR and line readers: the samples, and what they say about bad input."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eastwall.model.call import BodyState
from eastwall.sources import lines
from eastwall.sources.observed import ObservedCall, SourceError
from eastwall.sources.reading import read

GOLDEN = Path(__file__).parents[2] / "golden" / "sources"


def calls(data: bytes, name: str = "in") -> list[ObservedCall]:
    return list(read(io.BytesIO(data), name))


def fault(data: bytes) -> str:
    with pytest.raises(SourceError) as caught:
        calls(data)
    text = str(caught.value)
    assert "\n" not in text
    assert text.isprintable()
    assert len(text) < 400
    return text


def test_har_sample() -> None:
    first, second, third = calls((GOLDEN / "shop.har").read_bytes())
    assert first == ObservedCall(
        method="GET",
        url="https://shop.example:8443/orders/17?full=1",
        status=200,
        service="shop.example:8443",
        time=1772439301.123,
        duration_us=18_400,
        request_headers={"accept": "application/json"},
        response_headers={"content-type": "application/json"},
        response_body=b'{"id":17,"total":"12.50"}',
        response_body_state=BodyState.COMPLETE,
        response_bytes=27,
        tls=True,
        origin="har",
    )
    assert (second.method, second.url, second.status) == ("POST", "https://Shop.example:8443/orders", 201)
    assert (second.service, second.request_body_state, second.response_body_state) == (
        "shop.example:8443",
        BodyState.SKIPPED,
        BodyState.SKIPPED,
    )
    assert (third.url, third.status, third.service) == ("https://metrics.example/collect", 0, "metrics.example")


def test_lines_sample() -> None:
    assert calls((GOLDEN / "shop.lines").read_bytes()) == [
        ObservedCall("GET", "/orders/17?full=1", 200, "default"),
        ObservedCall("GET", "https://user:secret@Shop.example:8443/orders/18", 404, "shop.example:8443"),
        ObservedCall("POST", "http://shop.example/orders", 201, "shop.example"),
        ObservedCall("DELETE", "/orders/19", None, "default"),
    ]


def test_byte_order_mark_and_windows_line_ends() -> None:
    assert calls(b"\xef\xbb\xbfGET /a 200\r\nGET /b\r\n") == [ObservedCall("GET", "/a", 200), ObservedCall("GET", "/b")]
    document = json.dumps({"log": {"entries": []}}).encode()
    assert calls(b"\xef\xbb\xbf" + document) == []


@pytest.mark.parametrize(
    ("data", "where", "what"),
    [
        (b"", "in:", "is empty"),
        (b" \n\t\n" * 5000, "in:", "is empty"),
        (b"GET /a\nGET\n", "in:2:", "`GET` is not `METHOD URL [STATUS]`"),
        (b"GET /a b c 200\n", "in:1:", "%20"),
        (b"G(T /a\n", "in:1:", "`G(T` is not an HTTP method"),
        (b"GET /a 99\n", "in:1:", "`99` is not an HTTP status"),
        (b"GET /a two\n", "in:1:", "`two` is not an HTTP status"),
        (b"GET ftp://x/a\n", "in:1:", "`ftp://x/a` is neither a path"),
        (b"GET http://[bad/a\n", "in:1:", "neither a path"),
        (b"\n\n\x7fELF\x02\x01\x00\x00", "in:3:", "binary data"),
        (b"GET /a\nGET /\xff\xfe\n", "in:2:", "not UTF-8"),
        (b"GET /\x1b[31mred x y z\n", "in:1:", "?[31mred"),
        (b'{"log": {"entries": [\n{"request": }\n]}}', "in:2:", "not valid JSON"),
        (b'{\n"log": {"entries": [\n', "in:3:", "not valid JSON"),
        (b'{"log": {}}', "in:1:", "entries"),
        (b'{"log": {"entries": [{"request": {"method": "GET", "url": 7}}]}}', "in:1:", "$.log.entries[0].request.url"),
        (b'{"log": {"entries": [{"request": {"method": "GET", "url": "http://"}}]}}', "in:1:", "entry 0"),
        (b'{"log": {"entries": []}}\n{"a": 1}', "in:2:", "not valid JSON"),
        (b'{"log": ' + b"[" * 100_000, "in:1:", "JSON"),
        (b'{"log": {"entries": [{"request": {"method": "\xff", "url": "/"}}]}}', "in:1:", ""),
    ],
)
def test_bad_input_is_one_line_with_its_place(data: bytes, where: str, what: str) -> None:
    text = fault(data)
    assert text.startswith(where)
    assert what in text


class Endless(io.RawIOBase):
    """A gigabyte without a line end, never in memory."""

    def __init__(self) -> None:
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        size = min(len(buffer), (1 << 30) - self.given)
        buffer[:size] = b"A" * size
        self.given += size
        return size


def test_a_gigabyte_line_is_refused_without_being_read() -> None:
    source = Endless()
    with pytest.raises(SourceError, match="in:1: line is over 64 KiB"):
        list(read(io.BufferedReader(source), "in"))
    assert source.given < 1 << 20


def test_faults_come_after_the_good_calls_before_them() -> None:
    found = read(io.BytesIO(b"GET /a\nnonsense\n"), "in")
    assert next(found).url == "/a"
    with pytest.raises(SourceError, match="in:2"):
        next(found)


@given(
    st.lists(
        st.tuples(st.sampled_from(["GET", "POST", "PURGE"]), st.text("abc/%20", max_size=9000), st.sampled_from([None, 200, 404]))
    )
)
def test_lines_survive_any_cut_of_the_head(rows: list[tuple[str, str, int | None]]) -> None:
    text = "".join(f"{m} /{u}{'' if s is None else f' {s}'}\n" for m, u, s in rows).encode()
    whole = [ObservedCall(m, f"/{u}", s) for m, u, s in rows]
    assert list(lines.read(io.BytesIO(text), "in")) == whole
    assert (calls(text) if rows else whole) == whole


@given(st.binary(max_size=300))
def test_any_bytes_give_calls_or_one_error(data: bytes) -> None:
    error: SourceError | None = None
    try:
        calls(data)
    except SourceError as caught:
        error = caught
    assert error is None or "\n" not in str(error)
