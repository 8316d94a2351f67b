"""One service of the demo as a process: `python -m eastwall.runtime.demo.shop SERVICE --state DIR --port 0 --port-file F`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from importlib import resources
from pathlib import Path

import yaml

from eastwall.runtime.demo.billing import Billing
from eastwall.runtime.demo.catalog import SERVICES, Keys
from eastwall.runtime.demo.orders import Orders
from eastwall.runtime.demo.service import Route, Server, Service, Upstreams
from eastwall.runtime.demo.storefront import Storefront

GHOSTS = {"orders": (("DELETE", "/orders/{order_id}"),)}
"""Operations that an OpenAPI file declares and no service has."""


def routes_of(name: str, state: Path, upstreams: Upstreams) -> list[Route]:
    """The operations of a service. Raises ValueError for an unknown name."""
    Keys(state).prepare()
    if name == "storefront":
        return Storefront(state, upstreams).routes()
    if name == "orders":
        return Orders(upstreams).routes()
    if name == "billing":
        return Billing(state / "billing").routes()
    raise ValueError(f"no service `{name}`; there are {', '.join(SERVICES)}")


def expected_templates(name: str) -> list[tuple[str, str]]:
    """Ground truth of discovery: (method, template) of all operations that the service really has, declared or not, sorted."""
    return sorted(key for key, _ in _table(name))


def declared_templates(name: str) -> list[tuple[str, str]]:
    """Those of them that the service's OpenAPI file declares, sorted."""
    return sorted(key for key, declared in _table(name) if declared)


def _table(name: str) -> list[tuple[tuple[str, str], bool]]:
    # The tables are methods of the services; to read one, no database and no key is needed.
    kinds: dict[str, type[Storefront] | type[Orders] | type[Billing]] = {
        "storefront": Storefront,
        "orders": Orders,
        "billing": Billing,
    }
    if name not in kinds:
        raise ValueError(f"no service `{name}`; there are {', '.join(SERVICES)}")
    blank = kinds[name].__new__(kinds[name])
    return [((route.method, route.template), route.declared) for route in blank.routes()]


def openapi(name: str) -> str:
    """The OpenAPI file (YAML) that the team of a service hands out. That of `orders` is wrong in three places, as in life."""
    return (resources.files("eastwall.runtime.demo") / "openapi" / f"{name}.yaml").read_text("utf-8")


def write_policies(directory: Path, state: Path) -> Path:
    """The policies of the demo as files in `directory`, with keys and OpenAPI documents beside them, ready for `--policy`."""
    Keys(state).prepare()
    directory.mkdir(parents=True, exist_ok=True)
    for entry in (resources.files("eastwall.runtime.demo") / "policies").iterdir():
        if entry.name.endswith(".yaml"):
            (directory / entry.name).write_text(entry.read_text("utf-8"), "utf-8")
    for name in SERVICES:  # as JSON: what ends in .yaml here is taken for a policy
        (directory / f"{name}.openapi.json").write_text(json.dumps(yaml.safe_load(openapi(name)), default=str), "utf-8")
    (directory / Keys(state).jwks.name).write_bytes(Keys(state).jwks.read_bytes())
    return directory


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="shop", description="one service of the demo shop (deliberately vulnerable, loopback only)"
    )
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("--state", type=Path, required=True, help="directory for keys and files, shared by the three services")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path, help="written when the service listens")
    parser.add_argument(
        "--upstream", action="append", default=[], metavar="NAME=URL", help="where another service is to be called"
    )
    options = parser.parse_args(arguments)
    upstreams: dict[str, str] = {}
    for entry in options.upstream:
        name, equals, url = entry.partition("=")
        if not equals or name not in SERVICES or not url.startswith("http://"):
            parser.error(f"`--upstream {entry}` is not NAME=http://HOST:PORT with NAME one of {', '.join(SERVICES)}")
        upstreams[name] = url
    routes = routes_of(options.service, options.state, Upstreams(upstreams))
    try:
        # Loopback only, whatever happens: the holes are real.
        server = Server(Service(options.service, routes, options.state), "127.0.0.1", options.port)
    except OSError as error:
        sys.stderr.write(f"{options.service}: cannot listen on 127.0.0.1:{options.port}: {error.strerror}; give another --port\n")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    if options.port_file is not None:
        draft = options.port_file.with_suffix(".new")
        draft.write_text(f"{server.server_address[1]}\n")
        draft.replace(options.port_file)
    server.serve_forever(poll_interval=3600)
    return 0


def _follow(parent: int) -> None:
    """A vulnerable service has no business outliving the demo that started it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
