"""Specifications that Service policies name: several of any kind, faults as warnings, and what gives nothing is refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from click.testing import CliRunner
from tests.unit.learning.test_openapi_import import PETS, broken
from tests.unit.learning.test_postman import SHOP

from eastwall import policy
from eastwall.cli.manage import policy as group
from eastwall.runtime.policy_store import MAX_WARNINGS, PolicyState, PolicyStore
from eastwall.sources.proto_files import compile_proto

SDL = "type Query { order(id: ID!): Order }\ntype Order { id: ID! }\n"
PROTO = b'syntax = "proto3"; package shop; message M { string id = 1; } service Orders { rpc Get(M) returns (M); }'


def check(directory: Path, specs: dict[str, str], spec: str = "") -> tuple[PolicyState | None, list[policy.Fault]]:
    lines = ["apiVersion: eastwall.dev/v1alpha1", "kind: Service", "metadata: {name: shop}", "spec:"]
    lines += [f"  spec: {spec}"] if spec else []
    lines += ["  specs: [" + ", ".join(name for name in specs if name != spec) + "]"]
    files = {"policies/shop.yaml": "\n".join(lines) + "\n"}
    attached = {f"policies/{name}": text for name, text in specs.items() if text}
    return PolicyStore(directory).check(files, attached, services=(), endpoints=(), detections=())


def test_several_of_any_kind(tmp_path: Path) -> None:
    specs = {
        "pets.json": json.dumps(PETS),
        "shop.json": json.dumps(SHOP),
        "shop.graphql": SDL,
        "orders.proto": base64.b64encode(compile_proto(PROTO, "orders.proto")).decode(),
    }
    state, faults = check(tmp_path, specs, spec="pets.json")
    assert state is not None, faults
    assert not faults
    told = {(e.method, e.template, e.operation) for e in state.declared["shop"]}
    assert {
        ("GET", "/api/v1/pets/{petId}", ""), ("POST", "/login", ""), ("POST", "/graphql", "query order"), ("POST", "/shop.Orders/Get", "shop.Orders/Get"),
    } <= told  # fmt: skip
    assert state.descriptors["shop"]
    assert PolicyStore(tmp_path).state.declared == {}  # nothing is applied by looking


def test_faults_of_a_specification_are_warnings(tmp_path: Path) -> None:
    state, faults = check(tmp_path, {"broken.json": json.dumps(broken())})
    assert state is not None
    assert len(state.declared["shop"]) == 6
    assert len(faults) == MAX_WARNINGS + 1
    assert all(fault.warning and fault.file == "policies/shop.yaml" for fault in faults)
    assert any("`policies/broken.json`: /paths/pets: path `pets` does not start with a slash" in str(fault) for fault in faults)
    assert any("more faults" in fault.message for fault in faults)


def test_what_gives_nothing_is_refused(tmp_path: Path) -> None:
    for text, message in {
        "": "the specification `policies/x.json` cannot be read",
        "{": "`policies/x.json`: line 1: the JSON is not whole",
        "a: [": "`policies/x.json`: line",
        "hello": "`policies/x.json`: document: the file declares no API that Eastwall knows",
        '{"openapi": "1.0"}': "`policies/x.json`: /openapi: not an OpenAPI document",
    }.items():
        state, faults = check(tmp_path, {"x.json": text})
        assert state is None
        (fault,) = faults
        assert (fault.file, fault.warning) == ("policies/shop.yaml", False)
        assert message in str(fault)
        assert "\n" not in str(fault)


ACCESS = """---
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: own-pets}
spec:
  action: deny
  scope: {services: [shop], operations: ["GET /api/v1/pets/{petId}"]}
  when: path.petid == identity.sub
"""


def test_conditions_are_compared_with_a_specification_of_the_same_set(tmp_path: Path) -> None:
    service = "apiVersion: eastwall.dev/v1alpha1\nkind: Service\nmetadata: {name: shop}\nspec: {spec: pets.json}\n"
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "pets.json").write_text(json.dumps(PETS))
    (folder / "shop.yaml").write_text(service + ACCESS)
    wanted = "there is no `path.petid` in `GET /api/v1/pets/{petId}`, as declared (did you mean `petId`?)"

    files, attached = {"shop.yaml": service + ACCESS}, {"pets.json": json.dumps(PETS)}
    store = PolicyStore(tmp_path / "store")
    state, faults = store.check(files, attached, services=(), endpoints=(), detections=())
    assert state is None
    assert wanted in str(faults[0])
    right = {"shop.yaml": (service + ACCESS).replace("petid", "petId")}
    assert store.check(right, attached, services=(), endpoints=(), detections=())[1] == []

    done = CliRunner().invoke(group, ["check", str(folder), "--data", str(tmp_path / "nothing")])
    assert done.exit_code == 1
    assert wanted in done.output
