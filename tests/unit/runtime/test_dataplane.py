"""The data plane's description, shared by `up` and control."""

from __future__ import annotations

import json
from pathlib import Path

from eastwall.dataplanes.envoy.proxy import Proxy, Upstream
from eastwall.model.call import Mode
from eastwall.model.snapshot import ServiceScope
from eastwall.runtime.dataplane import apply_scopes, load_proxy, save_proxy
from eastwall.runtime.layout import open_data_dir


def test_policies_of_the_first_start_come_before_envoy_has_a_directory(tmp_path: Path) -> None:
    data = open_data_dir(tmp_path / "d")
    proxy = Proxy(
        upstreams=(Upstream(name="a", url="http://127.0.0.1:1", scope=ServiceScope("a")),),
        listen=("127.0.0.1", 1),
        engine_sockets=(str(data.run / "e.sock"),),
        run_dir=data.run / "envoy",
    )
    save_proxy(data, proxy)
    apply_scopes(data.root, [ServiceScope("a", mode=Mode.ENFORCE)])
    stored = load_proxy(data)
    assert stored is not None
    assert stored.upstreams[0].scope.mode == Mode.ENFORCE
    assert json.loads((proxy.run_dir / "bootstrap.json").read_bytes())
    assert (proxy.run_dir.stat().st_mode & 0o777) == 0o700
