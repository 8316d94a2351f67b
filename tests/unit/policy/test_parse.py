"""Policy text in, policies and faults out."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from yaml.nodes import ScalarNode, SequenceNode

from eastwall.policy import Fault, Parser, decode, encode, parse, parse_files, yaml_nodes
from eastwall.policy.kinds import AccessPolicy, DataPolicy, LimitPolicy, Service
from eastwall.policy.parse import MAX_FAULTS, MAX_FILE, builtin_policies
from eastwall.policy.yaml_nodes import MAX_DEPTH

from .build import document, policies

GOLDEN = sorted((Path(__file__).parents[2] / "golden" / "policy").glob("*.yaml"))
EXAMPLES = [
    file for file in sorted((Path(__file__).parents[3] / "examples" / "policies").rglob("*.yaml")) if ".test." not in file.name
]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_faults_are_the_ones_written_beside_the_file(path: Path) -> None:
    own, faults = parse_files({path.name: path.read_text()})
    listed = "".join(f"{fault}\n" for fault in faults)
    names = ", ".join(policy.name for policy in own.policies if policy.location != "builtin")
    text = f"{listed}accepted: {names or 'none'}\n"
    expected = path.with_suffix(".faults")
    if os.environ.get("EASTWALL_REWRITE") == "1":
        expected.write_text(text)
    assert text == expected.read_text()
    assert all(len(line) < 400 and line.isprintable() for line in text.splitlines())


def test_there_are_golden_files_and_examples() -> None:
    assert len(GOLDEN) >= 15
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_have_no_fault(path: Path) -> None:
    own, faults = parse_files({path.name: path.read_text()})
    assert faults == []
    assert len(own.policies) > len(builtin_policies())


def test_values_are_read() -> None:
    own = policies(next(path for path in GOLDEN if path.stem == "ok-all-kinds").read_text())
    by_name = {policy.name: policy for policy in own.policies}
    orders = by_name["orders"].spec
    assert isinstance(orders, Service)
    assert orders.identity is not None
    assert (orders.mode, orders.max_body, orders.identity.jwks[0].file) == ("enforce", "512KiB", "keys/login.json")
    access = by_name["own-orders"].spec
    assert isinstance(access, AccessPolicy)
    assert access.scope.services == ("orders",)
    assert access.when == ("path.user_id == identity.sub",)
    assert (access.mode, access.on_error) == ("enforce", "block")
    limit = by_name["slow"].spec
    assert isinstance(limit, LimitPolicy)
    assert (limit.rate, limit.burst, limit.per) == ("20/s", 40, ("identity", "operation"))
    data = by_name["cards"].spec
    assert isinstance(data, DataPolicy)
    assert data.exempt is not None
    assert data.exempt.roles == ("billing",)
    assert by_name["orders"].labels == {"team": "shop"}
    assert [by_name[name].location for name in ("orders", "own-orders", "slow")] == ["p.yaml:1", "p.yaml:26", "p.yaml:36"]


def test_built_in_policies_come_first_and_give_way_to_their_name() -> None:
    text = document("AccessPolicy", "mine", action="deny") + document(
        "DetectionPolicy", "builtin/detections", detections=["*"], action="report"
    )
    own = policies(text)
    assert [policy.name for policy in own.policies] == ["builtin/detections", "mine"]
    assert own.policies[0].location == "p.yaml:4"
    assert [policy.name for policy in parse_files({})[0].policies] == ["builtin/detections"]


def test_a_set_survives_encoding() -> None:
    own = policies(next(path for path in GOLDEN if path.stem == "ok-all-kinds").read_text())
    again = decode(encode(own))
    assert [(p.name, p.spec, p.location, p.labels) for p in again.policies] == [
        (p.name, p.spec, p.location, p.labels) for p in own.policies
    ]
    with pytest.raises(ValueError, match="cannot be read"):
        decode(b"\x81nonsense")


def test_faults_of_all_files_come_together_and_sorted() -> None:
    own, faults = parse_files(
        {
            "b.yaml": "nonsense",
            "a.yaml": document("AccessPolicy", action="dney"),
            "c.yaml": document("AccessPolicy", action="deny"),
        }
    )
    assert [fault.file for fault in faults] == ["a.yaml", "b.yaml"]
    assert [policy.location for policy in own.policies] == ["builtin", "c.yaml:2"]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "- " * 100_000,
        "{a: " * 50_000,
        "a: " + "!" * 100_000,
        "? " * 100_000,
        "\n".join(f"k{i}: v" for i in range(40_000)),
        "x" * (MAX_FILE + 1),
        "&a " * 1000,
        "--- a\n" * 20_000,
        "\x00",
        "a: \ud800",
        "%YAML 9.9\n---\na: b\n",
        "'unclosed" * 1000,
        "|\n" + " " * 100_000,
    ],
    ids=range(14),
)
def test_hostile_yaml_is_one_bounded_fault_each(text: str) -> None:
    began = time.process_time()
    own, faults = parse_files({"bad.yaml": text})
    assert time.process_time() - began < 20
    assert 1 <= len(faults) <= MAX_FAULTS + 1
    assert [policy.location for policy in own.policies] == ["builtin"]


def test_depth_is_limited_before_python_is() -> None:
    text = document("AccessPolicy", action="deny").replace('"deny"', "[" * (MAX_DEPTH + 5) + "]" * (MAX_DEPTH + 5))
    _, faults = parse_files({"p.yaml": text})
    assert any("nested deeper" in fault.message for fault in faults)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300) | st.text(alphabet="ab:-[]{},&*!|>'\"%@\n #?0", max_size=300))
def test_any_text_gives_faults_and_never_raises(text: str) -> None:
    _, faults = parse_files({"p.yaml": text})
    for fault in faults:
        assert fault.line >= 1
        assert fault.column >= 1
        assert fault.message
        assert str(fault).isprintable()


def _flat(node: Any) -> Any:
    """A node for comparison. libyaml counts the spaces before an empty value, PyYAML does not."""
    mark = (node.start_mark.line, node.start_mark.column)
    if isinstance(node, ScalarNode):
        return node.tag, node.value, node.style, mark if node.value or node.style else ()
    if isinstance(node, SequenceNode):
        return node.tag, mark, [_flat(item) for item in node.value]
    return node.tag, mark, [(_flat(key), _flat(value)) for key, value in node.value]


_PIECES = (
    *" \n\t:-,[]{}#&*!|>'\"%@`?~.0aé\\=<", "- ", "? ", ": ", "---\n", "...\n", "\r\n", "\ufeff", "\x85", "\u2028", "\U0001f600", " #",
    "!!str ", "!<x> ", "%YAML 1.1\n", "|-\n", "''", '"\\x41"', "null", "{a: 1, b: [x, y]}", "key:\n  - 1\n",
)  # fmt: skip


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([path.read_text() for path in (*GOLDEN, *EXAMPLES) if path.stat().st_size < 3_000]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.sampled_from(_PIECES)), max_size=4),
)
def test_both_ways_to_read_yaml_give_the_same_nodes(text: str, edits: list[tuple[float, int, str]]) -> None:
    for where, gone, piece in edits:
        at = int(where * len(text))
        text = text[:at] + piece + text[at + gone :]
    faults: list[Fault] = []
    slow = [_flat(node) for node in yaml_nodes._loaded("p.yaml", text, faults)]
    fast = yaml_nodes._scanned(text)
    if fast is not None:
        assert [_flat(node) for node in fast] == slow
        assert faults == []


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")
def test_ordinary_policies_are_read_by_libyaml() -> None:
    assert [path.name for path in EXAMPLES if yaml_nodes._scanned(path.read_text()) is None] == []


def test_without_libyaml_the_same_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {path.name: path.read_text() for path in (*GOLDEN, *EXAMPLES)}
    fast = parse_files(texts)
    monkeypatch.setattr(yaml_nodes, "_PARSER", None)
    assert parse_files(texts) == fast


def test_a_file_that_did_not_change_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = parse._parse_text

    def counted(file: str, text: str) -> Any:
        read.append(file)
        return real(file, text)

    files = {name: document("AccessPolicy", name[0], action="deny") for name in ("a.yaml", "b.yaml", "c.yaml")}
    changed = {**files, "b.yaml": document("AccessPolicy", "other", action="dney"), "d.yaml": files["a.yaml"]}
    sets = (files, changed, files, {"a.yaml": files["a.yaml"]})
    expected = [parse_files(one) for one in sets]
    monkeypatch.setattr(parse, "_parse_text", counted)
    parser = Parser()
    assert [parser.parse(one) for one in sets] == expected
    assert read == ["a.yaml", "b.yaml", "c.yaml", "b.yaml", "d.yaml", "b.yaml"]
