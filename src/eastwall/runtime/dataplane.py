"""The data plane as `up` and control share it: its description in DIR/run/proxy.json, rendered to Envoy's files."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from eastwall.dataplanes.envoy.process import EnvoyError, EnvoyProcess
from eastwall.dataplanes.envoy.proxy import Proxy
from eastwall.dataplanes.envoy.render import render
from eastwall.model.native import NativeRule
from eastwall.model.snapshot import ServiceScope
from eastwall.runtime.layout import DataDir


def save_proxy(data: DataDir, proxy: Proxy) -> None:
    """Write the description; atomic."""
    part = data.proxy_file.with_suffix(".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(proxy, enc_hook=_encode), indent=1))
    part.replace(data.proxy_file)


def load_proxy(data: DataDir) -> Proxy | None:
    """The running data plane's description, None when there is none."""
    try:
        return msgspec.json.decode(data.proxy_file.read_bytes(), type=Proxy, dec_hook=_decode)
    except FileNotFoundError:
        return None


def apply_scopes(data_dir: Path, scopes: Sequence[ServiceScope], native: Sequence[NativeRule] = ()) -> None:
    """Bring modes, fail modes and limits of services, and what Envoy refuses by itself, to the running Envoy: it reloads the changed
    files, connections stay.

    Raises `ProxyError` for scopes that cannot be rendered, OSError when the files cannot be written.
    """
    data = DataDir(data_dir.resolve())
    proxy = load_proxy(data)
    if proxy is None:
        return
    by_name = {scope.name: scope for scope in scopes}
    upstreams = tuple(
        msgspec.structs.replace(
            u, scope=by_name.get(u.name, u.scope), native=tuple(rule for rule in native if rule.service == u.name)
        )
        for u in proxy.upstreams
    )
    if upstreams == proxy.upstreams:
        return
    proxy = msgspec.structs.replace(proxy, upstreams=upstreams)
    files = render(proxy)
    save_proxy(data, proxy)
    # When control comes first Envoy has not made it yet; it starts from the description saved above.
    proxy.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Clusters before the routes that name them, listeners last; what did not change is not touched, or Envoy would reload it.
    order = {"bootstrap.json": 0, "cds.json": 1, "lds.json": 3}
    for name in sorted(files, key=lambda name: (order.get(name, 2), name)):
        path = proxy.run_dir / name
        if path.exists() and path.read_bytes() == files[name]:
            continue
        part = proxy.run_dir / f".{name}.part"
        part.write_bytes(files[name])
        part.replace(path)


def envoy_stats(data_dir: Path) -> dict[str, Any]:
    """What Envoy counts: {"calls": {service: n}, "uninspected": {service: {reason: n}}, "refused": {service: {policy: n}}}; empty when no
    Envoy answers."""
    proxy = load_proxy(DataDir(data_dir.resolve()))
    if proxy is None:
        return {}
    envoy = EnvoyProcess(proxy)
    with contextlib.suppress(EnvoyError):
        uninspected: dict[str, dict[str, int]] = {}
        for (service, reason), count in envoy.uninspected().items():
            uninspected.setdefault(service, {})[reason] = count
        refused: dict[str, dict[str, int]] = {}
        for (service, name), count in envoy.refused().items():
            refused.setdefault(service, {})[name] = count
        return {"calls": envoy.calls(), "uninspected": uninspected, "refused": refused}
    return {}


def _encode(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot encode {type(value).__name__}")


def _decode(kind: type, value: Any) -> Any:
    if issubclass(kind, Path):
        return Path(value)
    raise TypeError(f"cannot decode {kind.__name__}")
