"""A file that declares an API, of whichever kind it is, as declared endpoints."""

from __future__ import annotations

from importlib import import_module
from re import MULTILINE
from re import compile as regex
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from eastwall.learning import openapi_import
from eastwall.learning.spec_text import MAX_BYTES, SpecError, SpecFault, read_tree
from eastwall.model.endpoint import Endpoint

__all__ = ["Declared", "SpecError", "SpecFault", "read_declared"]

_SDL = regex(rb"^\s*(?:extend\s+)?(?:type|schema|interface|input|enum|union|scalar|directive)\b[^:;=]*[{@&=\w]", MULTILINE)
_PROTO = regex(
    rb"^\s*(?:syntax\s*=|edition\s*=|package\s+[\w.]+\s*;|service\s+\w+\s*\{|import\s+(?:public\s+|weak\s+)?\")", MULTILINE
)
_BASE64_SET = regex(rb"C[g-v][A-Za-z0-9+/\s]{60,98}={0,2}\s*")
"""How a FileDescriptorSet begins in base64: a line feed, and the length of its first file."""
_SUFFIXES = {
    ".graphql": "graphql", ".graphqls": "graphql", ".gql": "graphql", ".sdl": "graphql", ".proto": "proto", ".pb": "proto",
    ".protoset": "proto", ".binpb": "proto", ".desc": "proto",
}  # fmt: skip
_KINDS_HINT = "give an OpenAPI, Swagger, Postman, GraphQL SDL or .proto file, or a descriptor set"


class Declared(Struct, frozen=True):
    """What a file declares."""

    kind: str
    """`openapi`, `swagger`, `postman`, `graphql`, `proto`, or `unknown` (nothing could be read)."""
    endpoints: tuple[Endpoint, ...] = ()
    """Origin `declared`, sorted by template and method."""
    faults: tuple[SpecFault, ...] = ()
    """What is wrong with it. What a fault concerns is left out, the rest is in `endpoints`."""
    descriptors: bytes = b""
    """FileDescriptorSet, for reading gRPC calls."""


def read_declared(data: bytes, name: str, service: str) -> Declared:
    """Reads a declaration. The kind is told by the content, and where that says nothing, by the end of the name.

    Never raises for what is in the file: what is wrong is in `faults`. Of protobuf it takes descriptor sets, as they are or in base64;
    `.proto` text is compiled before (`sources.proto_files`).
    """
    if len(data) > MAX_BYTES:
        said = f"the file has {len(data) / 1e6:,.1f} MB; {MAX_BYTES // 1_000_000} MB are the limit"
        return Declared("unknown", faults=(SpecFault("", said, "split it, or bundle less"),))
    kind = "unknown"
    try:
        kind = _text_kind(data, name)
        if kind == "proto":
            endpoints, descriptors = import_module("eastwall.learning.proto").declared_proto(data, name, service)
            return Declared("proto", _declared(endpoints, service), descriptors=descriptors)
        if kind == "graphql":
            endpoints, faults = import_module("eastwall.learning.graphql_sdl").declared(data.decode("utf-8-sig"), service)
            return Declared("graphql", _declared(endpoints, service), faults)
        tree = read_tree(data, name)
        kind = _tree_kind(tree)
        if kind == "postman":
            endpoints, faults = import_module("eastwall.learning.postman").declared(tree, service)
        else:
            endpoints, faults = openapi_import.declared(tree, service)
        return Declared(kind, _declared(endpoints, service), faults)
    except SpecError as error:
        return Declared(kind, faults=(error.fault,))
    except ModuleNotFoundError as error:
        missing = SpecFault("", f"{kind} files need `{error.name}`, which is not installed", "install `eastwall[all]`")
        return Declared(kind, faults=(missing,))
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        return Declared(kind, faults=(SpecFault("", _line(error)),))


def _text_kind(data: bytes, name: str) -> str:
    """`proto`, `graphql`, or `tree` (JSON or YAML)."""
    head = data[:200_000]
    if head[:1] == b"\n" and not head[:64].isspace() and any(byte < 32 and byte not in b"\t\r\n" for byte in head[:4096]):
        return "proto"  # a FileDescriptorSet is binary and begins with the tag of its first file
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if begin in (b"{", b"["):
        return "tree"
    if _PROTO.search(head) or _BASE64_SET.fullmatch(head[:100]):
        return "proto"
    for end, kind in _SUFFIXES.items():
        if name.lower().endswith(end):
            return kind
    if name.lower().endswith((".yaml", ".yml", ".json")):
        return "tree"
    return "graphql" if _SDL.search(head) else "tree"


def _tree_kind(tree: Any) -> str:
    if isinstance(tree, dict):
        if "openapi" in tree:
            return "openapi"
        if "swagger" in tree:
            return "swagger"
        collection = tree.get("collection", tree)
        if isinstance(collection, dict) and isinstance(collection.get("info"), dict) and isinstance(collection.get("item"), list):
            return "postman"
    raise SpecError("the file declares no API that Eastwall knows", hint=_KINDS_HINT)


def _declared(endpoints: tuple[Endpoint, ...], service: str) -> tuple[Endpoint, ...]:
    whole = [replace(e, origin="declared", calls=0, service=service) for e in endpoints]
    return tuple(sorted(whole, key=lambda e: (e.template, e.method, e.operation)))


def _line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the file is nested too deeply"
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__
