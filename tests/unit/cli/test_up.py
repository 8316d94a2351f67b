"""What `eastwall up` makes of its options, as properties; and terminal escapes from traffic are never written to a terminal."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eastwall.cli.failure import USAGE, Failure
from eastwall.cli.main import usage_line
from eastwall.cli.show import clean
from eastwall.cli.up import client_address, parse_address, parse_upstream
from eastwall.dataplanes.envoy.proxy import Proxy
from eastwall.model.call import Mode


@given(st.text(max_size=60))
def test_any_text_is_an_upstream_or_one_line(text: str) -> None:
    try:
        upstream = parse_upstream(text, "127.0.0.1", Mode.DISCOVER)
    except Failure as failure:
        assert failure.exit_code == USAGE
        assert text in failure.message
    else:
        assert text.startswith(upstream.name + "=http")


@given(
    name=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True),
    scheme=st.sampled_from(["http", "https"]),
    host=st.sampled_from(["127.0.0.1", "orders.shop.svc", "[::1]"]),
    port=st.none() | st.integers(1, 65535),
    listen=st.none() | st.integers(1, 65535),
)
def test_every_upstream_that_is_one_is_read(name: str, scheme: str, host: str, port: int | None, listen: int | None) -> None:
    url = f"{scheme}://{host}" + (f":{port}" if port else "")
    upstream = parse_upstream(f"{name}={url}" + (f"@{listen}" if listen else ""), "0.0.0.0", Mode.ENFORCE)
    assert (upstream.name, upstream.url, upstream.scope.mode) == (name, url, Mode.ENFORCE)
    assert upstream.listen == (("0.0.0.0", listen) if listen else None)


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), (":80", ("127.0.0.1", 80)), ("80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, "--listen") == address


@given(st.text(max_size=20))
def test_any_text_is_an_address_or_one_line(text: str) -> None:
    try:
        _, port = parse_address(text, "--listen")
    except Failure as failure:
        assert failure.exit_code == USAGE
    else:
        assert 0 <= port <= 65535


@pytest.mark.parametrize("text", ["", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:\u00b2", "a:-1", "a:" + "9" * 5000])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(Failure, match="--listen"):
        parse_address(text, "--listen")


def test_an_ipv6_listener_is_shown_in_brackets() -> None:
    upstream = parse_upstream("a=http://127.0.0.1:1@8081", "::1", Mode.DISCOVER)
    assert (
        client_address(Proxy(upstreams=(upstream,), engine_sockets=("/e.sock",), run_dir=Path("/run")), upstream)
        == "http://[::1]:8081"
    )


@given(st.text())
def test_text_from_traffic_holds_no_terminal_escapes(text: str) -> None:
    shown = clean(text).plain
    assert shown.isprintable()
    assert clean(shown).plain == shown


def test_usage_errors_keep_to_one_line() -> None:
    line = usage_line(click.UsageError("Don't do\n  'this' or 'that'."))
    assert line == "don't do `this` or `that`"
