"""Policy text -> `PolicySet`, with the file, line and column of every fault, all of them at once.

YAML is composed to nodes, never constructed to objects: positions stay, tags make nothing. Anchors and aliases are refused (a
policy is read by people, and nested aliases are how a kilobyte of YAML becomes gigabytes), as are duplicate keys, unknown
fields, and anything over the size limits below.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec
from msgspec import inspect
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from eastwall.policy.defaults import builtin_text
from eastwall.policy.kinds import API_VERSION, BUILTIN, KINDS, Fault, Policy, PolicySet, Spec
from eastwall.policy.meaning import faults_of
from eastwall.policy.wording import shown, suggestion
from eastwall.policy.yaml_nodes import documents

MAX_FILE = 512 * 1024
"""Characters of one file."""
MAX_POLICIES = 10_000
"""Documents over all files."""
MAX_FAULTS = 200
"""After so many faults of one file the rest is not listed."""
NAME = re.compile(r"(builtin/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
METADATA = ("name", "labels", "annotations", "namespace")
"""The last two mean nothing here; they are let pass because the same files go to `kubectl apply`."""


def parse_files(files: Mapping[str, str]) -> tuple[PolicySet, list[Fault]]:
    """Parse policy files, given as name -> text, in the order of their names.

    Returns the built-in policies and all documents without a fault, and all faults, sorted by place. Never raises on content.
    """
    return Parser().parse(files)


class Parser:
    """Parses one set after another. What a file holds is remembered as long as it is in the sets, by the digest of its text: of a set in
    which one file has changed, one file is read."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], tuple[list[Policy], list[Fault]]] = {}

    def parse(self, files: Mapping[str, str]) -> tuple[PolicySet, list[Fault]]:
        """See `parse_files`."""
        known: dict[tuple[str, bytes], tuple[list[Policy], list[Fault]]] = {}
        faults: list[Fault] = []
        own: list[Policy] = []
        for name in sorted(files):
            text = files[name]
            key = (name, hashlib.sha256(text.encode(errors="surrogatepass")).digest())
            policies, found = known[key] = self._known.get(key) or _parse_text(name, text)
            own += policies
            faults += found
        self._known = known
        if len(own) > MAX_POLICIES:
            faults.append(
                Fault("", 1, 1, f"{len(own)} policies, at most {MAX_POLICIES} are allowed", "merge scopes into fewer policies")
            )
            own = own[:MAX_POLICIES]
        replaced = {policy.name for policy in own}
        built_in = tuple(policy for policy in builtin_policies() if policy.name not in replaced)
        own.sort(key=lambda policy: not policy.name.startswith(BUILTIN))
        return PolicySet(built_in + tuple(own)), sorted(faults)


_builtin: list[tuple[Policy, ...]] = []


def builtin_policies() -> tuple[Policy, ...]:
    """The policies that come with Eastwall. Raises `ValueError` when the installation is damaged."""
    if not _builtin:
        found: list[Policy] = []
        for name, text in builtin_text():
            policies, faults = _parse_text(name, text)
            if faults:
                raise ValueError(f"built-in policy {faults[0]}")
            found += [msgspec.structs.replace(policy, location="builtin", marks={}) for policy in policies]
        _builtin.append(tuple(found))
    return _builtin[0]


def _parse_text(file: str, text: str) -> tuple[list[Policy], list[Fault]]:
    if len(text) > MAX_FILE:
        return [], [Fault(file, 1, 1, f"the file has {len(text)} characters, at most {MAX_FILE} are allowed", "split the file")]
    faults: list[Fault] = []
    policies: list[Policy] = []
    for node in documents(file, text, faults):
        reader = Reader(file)
        policy = reader.document(node)
        if policy is not None:
            reader.faults += faults_of(policy)
            if not any(not fault.warning for fault in reader.faults):
                policies.append(policy)
        faults += reader.faults
        if len(faults) > MAX_FAULTS:
            last = faults[MAX_FAULTS]
            return policies, [
                *faults[:MAX_FAULTS],
                Fault(file, last.line, last.column, "there are more faults, the rest is not listed"),
            ]
    return policies, faults


class Reader:
    """Reads one document; gathers faults and goes on."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.marks: dict[str, tuple[int, int]] = {}

    def fault(self, node: Node, message: str, hint: str = "") -> None:
        self.faults.append(Fault(self.file, node.start_mark.line + 1, node.start_mark.column + 1, message, hint))

    def document(self, node: Node, kinds: Mapping[str, type[Any]] = KINDS) -> Policy | None:
        """One document of some kind, None with at least one fault when it cannot be read."""
        fields = self.mapping(node, "a policy document", ("apiVersion", "kind", "metadata", "spec"))
        if fields is None:
            return None
        for key in ("apiVersion", "kind", "metadata", "spec"):
            if key not in fields:
                self.fault(node, f"`{key}` is missing")
        if "apiVersion" in fields:
            version = self.text(fields["apiVersion"], "apiVersion")
            if version is not None and version != API_VERSION:
                self.fault(fields["apiVersion"], f"apiVersion {shown(version)} is not known", f"write `{API_VERSION}`")
        name, labels = self.metadata(fields["metadata"]) if "metadata" in fields else (None, {})
        kind = self.text(fields["kind"], "kind") if "kind" in fields else None
        if kind is not None and kind not in kinds:
            hint = "files with tests are named `*.test.yaml`" if kind == "PolicyTest" else suggestion(kind, tuple(kinds))
            self.fault(fields["kind"], f"kind {shown(kind)} is not known", hint)
            kind = None
        if kind is None or "spec" not in fields:
            return None
        spec: Spec | None = self.struct(fields["spec"], kinds[kind], "spec")
        if spec is None or name is None or self.faults:
            return None
        return Policy(name, spec, f"{self.file}:{node.start_mark.line + 1}", labels, self.marks)

    def metadata(self, node: Node) -> tuple[str | None, dict[str, str]]:
        fields = self.mapping(node, "metadata", METADATA)
        if fields is None:
            return None, {}
        labels = self.string_map(fields["labels"], "metadata.labels") if "labels" in fields else {}
        if "name" not in fields:
            self.fault(node, "`metadata.name` is missing")
            return None, labels
        name = self.text(fields["name"], "metadata.name")
        self.mark("metadata.name", fields["name"])
        if name is not None and not NAME.fullmatch(name):
            self.fault(fields["name"], f"name {shown(name)} is not allowed", "use letters, digits, `-`, `.` and `_`, at most 253")
            return None, labels
        return name, labels

    def mark(self, place: str, node: Node) -> None:
        self.marks[place] = (node.start_mark.line + 1, node.start_mark.column + 1)

    def mapping(self, node: Node, what: str, known: tuple[str, ...]) -> dict[str, Node] | None:
        """The fields of a mapping; unknown and duplicate keys are faults."""
        if not isinstance(node, MappingNode):
            self.fault(node, f"{what} must be a mapping, not {_kind_of(node)}")
            return None
        fields: dict[str, Node] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.fault(key, f"a key of {what} must be text")
            elif key.value in fields:
                self.fault(key, f"duplicate key {shown(key.value)} in {what}", "keep one of them")
            elif known and key.value not in known:
                self.fault(key, f"unknown field {shown(key.value)} in {what}", suggestion(key.value, known))
            else:
                fields[key.value] = value
        return fields

    def struct(self, node: Node, cls: Any, place: str) -> Any:
        """A struct from a mapping, None with a fault."""
        info = _struct_info(cls)
        by_name = {field.encode_name: field for field in info.fields}
        self.mark(place, node)
        if isinstance(node, ScalarNode) and node.value == "" and node.style is None:
            fields: dict[str, Node] | None = {}  # `spec:` with nothing below: only defaults
        else:
            fields = self.mapping(node, f"`{place}`", tuple(by_name))
        if fields is None:
            return None
        before = len(self.faults)
        values: dict[str, Any] = {}
        for name, field in by_name.items():
            if name in fields:
                values[field.name] = self.value(fields[name], field.type, f"{place}.{name}")
            elif field.required:
                self.fault(node, f"`{place}.{name}` is missing", _choices(field.type))
        return cls(**values) if len(self.faults) == before else None

    def value(self, node: Node, kind: inspect.Type, place: str) -> Any:
        """A value of a field's type, None with a fault."""
        self.mark(place, node)
        match kind:
            case inspect.UnionType(types=types):
                return self.value(node, next(t for t in types if not isinstance(t, inspect.NoneType)), place)
            case inspect.StructType(cls=cls):
                return self.struct(node, cls, place)
            case inspect.VarTupleType(item_type=item):
                # One item need not be written as a list.
                nodes = node.value if isinstance(node, SequenceNode) else [node]
                return tuple(self.value(item_node, item, f"{place}[{i}]") for i, item_node in enumerate(nodes))
            case inspect.AnyType():
                return self.plain(node, place)
            case inspect.DictType(value_type=inspect.StrType()):
                return self.string_map(node, place)
            case inspect.DictType(value_type=item):
                fields = self.mapping(node, f"`{place}`", ()) or {}
                return {key: self.value(value, item, f"{place}.{key}") for key, value in fields.items()}
            case inspect.LiteralType(values=values):
                text = self.text(node, place)
                if text is not None and text not in values:
                    known = [str(v) for v in values]
                    self.fault(
                        node, f"`{place}` cannot be {shown(text)}", suggestion(text, known) or f"known: {', '.join(known)}"
                    )
                    return None
                return text
            case inspect.BoolType():
                return self.truth(node, place)
            case inspect.IntType():
                return self.number(node, place, whole=True)
            case inspect.FloatType():
                return self.number(node, place, whole=False)
            case inspect.StrType():
                return self.text(node, place)
            case _:
                return _unreachable(place)

    def text(self, node: Node, place: str) -> str | None:
        if not isinstance(node, ScalarNode):
            self.fault(node, f"`{place}` must be text, not {_kind_of(node)}")
            return None
        # A date without quotes means what stands there to every reader, since no field takes the one and the other.
        if node.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp"):
            hint = "put it in quotes" if node.tag.startswith("tag:yaml.org,2002:") and node.value else ""
            self.fault(node, f"`{place}` must be text, not {_kind_of(node)}", hint)
            return None
        return str(node.value)

    def number(self, node: Node, place: str, *, whole: bool) -> int | float | None:
        text = node.value if isinstance(node, ScalarNode) and node.tag.endswith((":int", ":float")) else ""
        if not re.fullmatch(r"-?[0-9]{1,15}" if whole else r"-?[0-9]{1,15}(\.[0-9]{1,15})?", text):
            self.fault(node, f"`{place}` must be a {'whole ' if whole else ''}number, not {_kind_of(node)}")
            return None
        return int(text) if whole else float(text)

    def truth(self, node: Node, place: str) -> bool | None:
        # YAML 1.1 has more words for it, which other readers take for text.
        if isinstance(node, ScalarNode) and node.tag.endswith(":bool") and node.value in ("true", "false"):
            return bool(node.value == "true")
        self.fault(node, f"`{place}` must be `true` or `false`, not {_kind_of(node)}")
        return None

    def plain(self, node: Node, place: str) -> Any:
        """JSON of any form."""
        if isinstance(node, MappingNode):
            fields = self.mapping(node, f"`{place}`", ()) or {}
            return {key: self.plain(value, f"{place}.{key}") for key, value in fields.items()}
        if isinstance(node, SequenceNode):
            return [self.plain(item, f"{place}[{i}]") for i, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        match node.tag.removeprefix("tag:yaml.org,2002:"):
            case "null":
                return None
            case "bool":
                return self.truth(node, place)
            case "int" | "float":
                return self.number(node, place, whole=node.tag.endswith(":int"))
            case "str" | "timestamp":
                return str(node.value)
            case _:
                self.fault(node, f"`{place}` cannot be {_kind_of(node)}")
                return None

    def string_map(self, node: Node, place: str) -> dict[str, str]:
        fields = self.mapping(node, f"`{place}`", ()) or {}
        read = {key: self.text(value, f"{place}.{key}") for key, value in fields.items()}
        return {key: value for key, value in read.items() if value is not None}


_infos: dict[Any, inspect.StructType] = {}


def _struct_info(cls: Any) -> inspect.StructType:
    info = _infos.get(cls)
    if info is None:
        found = inspect.type_info(cls)
        assert isinstance(found, inspect.StructType)
        info = _infos[cls] = found
    return info


def _choices(kind: inspect.Type) -> str:
    return f"one of {', '.join(str(value) for value in kind.values)}" if isinstance(kind, inspect.LiteralType) else ""


def _kind_of(node: Node) -> str:
    """What stands there, in words."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    tag = node.tag.removeprefix("tag:yaml.org,2002:")
    if tag == "null" or (tag == "str" and not node.value):
        return "empty"
    words = {"int": "the number ", "float": "the number ", "bool": "the truth value ", "timestamp": "the date ", "str": ""}
    return f"{words[tag]}{shown(node.value)}" if tag in words else f"a value tagged {shown(node.tag)}"


def _unreachable(place: str) -> NoReturn:
    raise AssertionError(f"the kinds hold a type that the parser does not read, at {place}")
