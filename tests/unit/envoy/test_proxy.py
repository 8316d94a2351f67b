"""What cannot be configured is refused in one line that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eastwall.dataplanes.envoy.proxy import Proxy, ProxyError, Target, Tls, Upstream, check, target_of
from eastwall.model.snapshot import ServiceScope

HERE = ("127.0.0.1", 8001)


def upstream(name: str = "a", url: str = "http://127.0.0.1:80", listen: tuple[str, int] | None = HERE, **more: Any) -> Upstream:
    scope = more.pop("scope", ServiceScope(name))
    return Upstream(name, url, scope, listen, **more)


def proxy(*upstreams: Upstream, **more: Any) -> Proxy:
    return Proxy(upstreams=upstreams, run_dir=Path("/run/ew"), **{"engine_sockets": ("/run/ew/e.sock",), **more})


def test_a_sensible_proxy_passes() -> None:
    check(proxy(upstream(), upstream("b", listen=None), listen=("0.0.0.0", 80), tls=Tls(Path("c"), Path("k"))))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (proxy(), "there is no upstream"),
        (proxy(upstream(), engine_sockets=()), "0 engine sockets"),
        (proxy(upstream(), engine_sockets=("/x" * 60,)), "is longer than 107 bytes"),
        (proxy(upstream(), admin="/x" * 60), "is longer than 107 bytes"),
        (proxy(upstream(), adapter="lua"), "unknown adapter `lua`"),
        (proxy(upstream("a b")), "`a b` is no name for an upstream"),
        (proxy(upstream("a\n")), "is no name for an upstream"),
        (proxy(upstream(), upstream(listen=("127.0.0.1", 2))), "two upstreams are named `a`"),
        (proxy(upstream(scope=ServiceScope("b"))), "upstream `a` has the scope of `b`"),
        (proxy(upstream(), upstream("b")), "upstream `b` and upstream `a` both listen on 127.0.0.1:8001"),
        (proxy(upstream(), listen=HERE), "upstream `a` and the shared listener both listen"),
        (proxy(upstream(listen=None)), "upstream `a` has no port of its own"),
        (proxy(upstream(listen=None), upstream("b", listen=None), listen=HERE), "upstreams `a` and `b` both have no host name"),
        (
            proxy(upstream(listen=None, hosts=("x",)), upstream("b", listen=None, hosts=("x",)), listen=HERE),
            "upstreams `a` and `b` both claim the host `x`",
        ),
        (proxy(upstream(listen=None, hosts=("x/y",)), listen=HERE), "`x/y` is not a host name"),
        (proxy(upstream(listen=("127.0.0.1", 70000))), "the port is not between 1 and 65535"),
        (proxy(upstream(scope=ServiceScope("a", fail="ajar"))), "fail is `open` or `closed`"),
        (proxy(upstream(scope=ServiceScope("a", max_body=1 << 30))), "max_body 1073741824 is not between"),
        (proxy(upstream(client_certificate=Path("c"))), "a client certificate and its key go together"),
        (proxy(upstream(), tls=Tls(Path("c"), Path("k"), require_client=True)), "no CA to verify them"),
        (proxy(upstream(), problem_base='x"y'), "is not a plain URI"),
    ],
)
def test_nonsense_is_named(bad: Proxy, message: str) -> None:
    with pytest.raises(ProxyError) as caught:
        check(bad)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value).replace("a\n", "a")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:80",
        "ftp://a",
        "http://",
        "http://a:x",
        "http://a:99999",
        "http://u:p@a",
        "http://a/base",
        "http://a?q",
        "http://a:0",
        "http://[::1",
    ],
)
def test_bad_urls(url: str) -> None:
    with pytest.raises(ProxyError) as caught:
        target_of(upstream(url=url))
    assert f"`{url}`" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://127.0.0.1:8080", Target("127.0.0.1", 8080, False)),
        ("https://api.example/", Target("api.example", 443, True)),
        ("http://[::1]:9", Target("::1", 9, False)),
        ("http://a", Target("a", 80, False)),
        ("grpc://a:9", Target("a", 9, False, http2=True)),
        ("h2c://a", Target("a", 80, False, http2=True)),
        ("grpcs://a", Target("a", 443, True, http2=True)),
    ],
)
def test_good_urls(url: str, target: Target) -> None:
    assert target_of(upstream(url=url)) == target
