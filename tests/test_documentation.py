"""The documentation names what exists: every command, option, exit code, environment variable, detection and policy field."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

import eastwall
from eastwall import detections
from eastwall.cli import failure
from eastwall.cli.main import cli
from eastwall.discovery.data_classes import CLASSES
from eastwall.discovery.data_custom import VALIDATORS
from eastwall.policy import kinds

DOCS = Path(__file__).parent.parent / "docs"
SOURCE = Path(eastwall.__file__).parent
CLI = (DOCS / "cli.md").read_text("utf-8")


def commands(group: click.Group = cli, above: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{above}{name} ")
        else:
            yield above + name, command


def section(name: str) -> str:
    """The part of docs/cli.md about one command."""
    found = re.search(rf"^## `{re.escape(name)}\b.*?(?=^## |\Z)", CLI, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no section for `{name}`"
    return found[0]


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_every_command_and_option_is_in_the_docs(name: str, command: click.Command) -> None:
    text = section(name)
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            spelled = max(parameter.opts, key=len)
            assert f"`{spelled}" in text, f"docs/cli.md does not explain `{spelled}` of `{name}`"
            assert parameter.help, f"`{spelled}` of `{name}` has no help text"
    assert command.help


def test_the_docs_name_no_option_that_is_not_there() -> None:
    known = {option for _, command in commands() for parameter in command.params for option in parameter.opts}
    named = set(re.findall(r"`(--[a-z][a-z-]*)", CLI))
    assert named <= known | {"--help", "--version"}


def test_every_exit_code_is_in_the_docs() -> None:
    codes = {value for name, value in vars(failure).items() if name.isupper() and isinstance(value, int)}
    assert codes == {2, 3, 4, 130}
    for code in (0, 1, *codes):
        assert f"\n| {code} | " in CLI


def environment() -> set[str]:
    """Names of environment variables in the program (string literals, so not those only spoken of in comments)."""
    names: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"EASTWALL_[A-Z_]+", node.value):
                names.add(node.value)
    return names


def test_every_environment_variable_is_in_the_docs() -> None:
    names = environment()
    assert {"EASTWALL_DATA", "EASTWALL_DEBUG"} <= names
    for name in names:
        assert f"`{name}`" in CLI, f"docs/cli.md does not explain {name}"


def test_every_detection_is_in_the_docs() -> None:
    text = (DOCS / "detections.md").read_text("utf-8")
    for detector in detections.load():
        assert f"`{detector.meta.id}`" in text


def test_every_data_class_and_validator_is_in_the_docs() -> None:
    text = (DOCS / "data-classes.md").read_text("utf-8")
    for name in CLASSES:
        assert re.search(rf"^\| `{re.escape(name)}` \|", text, re.MULTILINE), f"docs/data-classes.md does not list `{name}`"
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", text.partition("## Redaction")[0], re.MULTILINE))
    assert listed == set(CLASSES)
    policy = (DOCS / "policy.md").read_text("utf-8")
    for validator in VALIDATORS:
        assert f"`{validator}`" in policy


@pytest.mark.parametrize(
    "kind",
    [
        "Service",
        "AccessPolicy",
        "LimitPolicy",
        "DataPolicy",
        "DetectionPolicy",
        "DataClass",
        "TrustZone",
        "Quarantine",
        "Exception",
        "ToolPolicy",
        "SchemaPolicy",
    ],
)
def test_every_policy_field_is_in_the_docs(kind: str) -> None:
    text = (DOCS / "policy.md").read_text("utf-8")
    assert re.search(rf"^\*\*{kind}\b", text, re.MULTILINE)
    for field in msgspec.structs.fields(kinds.KINDS[kind]):
        if field.encode_name == "thresholds":  # reserved: `policy check` refuses it
            continue
        assert re.search(rf"`{field.encode_name}\b", text), f"docs/policy.md does not explain `{field.encode_name}` of {kind}"


def test_documents_that_are_pointed_to_are_there() -> None:
    root = DOCS.parent
    missing = {
        f"{document.name} points to {target}"
        for document in (*DOCS.glob("*.md"), root / "README.md", root / "ARCHITECTURE.md")
        if document.exists()
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text("utf-8"))
        if "://" not in target and not (document.parent / target).exists()
    }
    assert not missing
