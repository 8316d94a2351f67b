"""JSON Schemas of the policy kinds, for completion and checks in editors. Generated from `kinds`, docstrings included.

The files in `schema/` are what this gives; a test says so and rewrites them (`EASTWALL_REWRITE=1`).
"""

from __future__ import annotations

import ast
import inspect
import sys
from itertools import pairwise
from typing import Any

import msgspec

from eastwall.policy import kinds
from eastwall.policy.parse import METADATA, NAME

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, bytes]:
    """File name -> content: one schema per kind, and `policy.json` for any of them."""
    made = {kind: _document(kind, cls) for kind, cls in kinds.KINDS.items()}
    files = {f"{kind}.json": {"$schema": DIALECT, "title": kind, **schema} for kind, schema in made.items()}
    files["PolicyTest.json"] = {"$schema": DIALECT, "title": "PolicyTest", **_document("PolicyTest", kinds.PolicyTest)}
    files["policy.json"] = {"$schema": DIALECT, "title": "Eastwall policy", "oneOf": [{"$ref": f"{kind}.json"} for kind in made]}
    return {name: msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n" for name, content in files.items()}


def _document(kind: str, cls: type[Any]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([cls], ref_template="#/$defs/{name}")
    defs = {name: _described(name, definition) for name, definition in components.items()}
    spec = defs.pop(cls.__name__)
    spec["properties"].pop("kind")
    spec["required"] = [name for name in spec["required"] if name != "kind"]
    label = {"type": "object", "additionalProperties": {"type": "string"}}
    return {
        "type": "object",
        "description": inspect.cleandoc(cls.__doc__ or ""),
        "properties": {
            "apiVersion": {"const": kinds.API_VERSION},
            "kind": {"const": kind},
            "metadata": {
                "type": "object",
                "properties": {
                    name: {"type": "string", "pattern": f"^{NAME.pattern}$"}
                    if name == "name"
                    else {"type": "string"}
                    if name == "namespace"
                    else label
                    for name in METADATA
                },
                "required": ["name"],
                "additionalProperties": False,
            },
            "spec": spec,
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": False,
        "$defs": defs,
    }


def _described(name: str, definition: dict[str, Any]) -> dict[str, Any]:
    """With the docstrings that stand under the fields, and single items allowed where lists are."""
    struct = getattr(kinds, name)
    words = _field_docs(struct)
    names = dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True))
    properties = {}
    for encoded, schema in definition["properties"].items():
        field = _nullless(schema)
        if field.get("type") == "array":
            items = field["items"]
            field = {"anyOf": [items, {"type": "array", "items": items}]}
        # A default that a reader cannot see from the schema is no help; empty ones say nothing.
        if schema.get("default") not in (None, "", [], (), {}):
            field["default"] = schema["default"]
        if text := words.get(names.get(encoded, ""), ""):
            field["description"] = text
        properties[encoded] = field
    required = definition.get("required", [])
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _nullless(schema: dict[str, Any]) -> dict[str, Any]:
    """`null` is not written in a policy: what is not set is left out."""
    plain = {key: value for key, value in schema.items() if key != "default"}
    options = [option for option in plain.get("anyOf", []) if option.get("type") != "null"]
    if len(options) == 1:
        return dict(options[0])
    if None in plain.get("enum", ()):
        plain["enum"] = [value for value in plain["enum"] if value is not None]
    return plain


def _field_docs(struct: type) -> dict[str, str]:
    tree = ast.parse(inspect.getsource(sys.modules[struct.__module__]))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == struct.__name__).body
    docs: dict[str, str] = {}
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            value = text.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                docs[field.target.id] = " ".join(value.value.split())
    return docs
