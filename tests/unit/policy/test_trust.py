"""Agents, token headers and workloads in `Service.identity`: from YAML to the identity of a call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.policy.build import document
from tests.unit.sources.cluster import listing, pod

from eastwall.cli.failure import Failure
from eastwall.cli.policies import read_policies
from eastwall.discovery.identity import compile_trust, resolve
from eastwall.model.call import Call, Peer, Request
from eastwall.model.snapshot import TrustConfig, Workload
from eastwall.policy import parse_files, referenced_files, trust_of
from eastwall.sources import kubernetes

PODS = json.dumps(listing(pod("front-1", "10.1.2.3"))).encode()


def faults(identity: dict[str, Any]) -> list[str]:
    _, found = parse_files({"p.yaml": document("Service", "a", identity=identity)})
    return [str(fault) for fault in found]


def test_from_policy_files_to_who_calls(tmp_path: Path) -> None:
    (tmp_path / "pods.json").write_bytes(PODS)
    (tmp_path / "more.yaml").write_text(
        document(
            "Service",
            "a",
            identity={
                "workloads": "pods.json",
                "agents": ["workload:web/*"],
                "tokenHeaders": ["X-Token"],
                "certificateHeader": "X-Forwarded-Client-Cert",
            },
        )
        + document("Service", "b", identity={"workloads": "own/list", "agents": "client:bot-*"})
    )
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "list").write_text("workloads: [{address: 10.9.0.0/16, name: mainframe}]")
    policies, trust = read_policies(tmp_path / "more.yaml")
    assert referenced_files(policies) == (str(tmp_path / "pods.json"), str(tmp_path / "own" / "list"))
    assert trust.agents == ("workload:web/*", "client:bot-*")
    assert (trust.token_headers, trust.certificate_header) == (("x-token",), "x-forwarded-client-cert")
    assert [workload.name for workload in trust.workloads] == ["web/front", "mainframe"]
    compiled = compile_trust(trust, b"k" * 32)
    identity = resolve(Call("1", "a", 2e9, Peer("10.1.2.3"), Request("GET", "/", {})), compiled)
    assert (identity.actor, identity.agent) == ("workload:web/front", "workload:web/front")
    assert resolve(Call("1", "a", 2e9, Peer("10.9.8.7"), Request("GET", "/", {})), compiled).actor == "workload:mainframe"


def test_what_no_policy_says_stays_as_it_was() -> None:
    base = TrustConfig(workloads=(Workload("10.0.0.1", "a/b"),), agents=("client:x",))
    own, _ = parse_files({"p.yaml": document("Service", "a", identity={"workloads": "pods.json"})})
    trust = trust_of(own, {"pods.json": PODS}, base, kubernetes.read)
    assert [workload.address for workload in trust.workloads] == ["10.0.0.1", "10.1.2.3"]
    assert trust.agents == ("client:x",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "p.yaml:2: the list of workloads `pods.json` cannot be read"),
        (b"{", "p.yaml:2: `pods.json`: not valid JSON"),
        (b"[5]", "p.yaml:2: `pods.json`: workload 0: expected `object`"),
        (PODS.replace(b"10.1.2.3", b"10.1.2.x"), "p.yaml:2: `pods.json`: item 0: `10.1.2.x` is not an IP address"),
    ],
)
def test_a_bad_list_of_workloads_is_one_clear_line(content: bytes | None, said: str) -> None:
    own, _ = parse_files({"p.yaml": document("Service", "a", identity={"workloads": "pods.json"})})
    with pytest.raises(ValueError) as caught:
        trust_of(own, {} if content is None else {"pods.json": content}, read_workloads=kubernetes.read)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_missing_list_is_told_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(document("Service", "a", identity={"workloads": "pods.json"}))
    with pytest.raises(Failure, match=r"pods\.json`, which a policy refers to, cannot be read: No such file"):
        read_policies(tmp_path / "p.yaml")


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        ({"agents": ["support-bot"]}, "`support-bot` names no caller (write e.g. `client:support-bot`; kinds: client, workload"),
        ({"agents": [""]}, "an empty text names no caller (write e.g. `client:support-*`"),
        ({"agents": ["robot:x"]}, "`robot:x` names no caller"),
        ({"tokenHeaders": ["x token"]}, "`x token` is not a header name"),
        ({"tokenHeaders": ["Authorization"]}, "`authorization` is read in any case (leave it out)"),
        ({"certificateHeader": "x y"}, "`x y` is not a header name"),
        ({"workloads": ["a", "b"]}, "`spec.identity.workloads` must be text"),
        ({"workload": "a"}, "workloads"),
    ],
)
def test_faults(identity: dict[str, Any], said: str) -> None:
    (found,) = faults(identity)
    assert said in found
    assert faults({"agents": ["client:a", "user:bot-*", "workload:ai/*"], "tokenHeaders": ["x-a"], "workloads": "f"}) == []
