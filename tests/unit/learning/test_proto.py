"""Descriptor sets as declared endpoints, and `.proto` text by the real compiler."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path

import pytest

from eastwall.discovery.inventory import endpoint_id
from eastwall.learning.proto import MAX_PLACES, declared_proto
from eastwall.model.endpoint import Endpoint
from eastwall.protocols.grpc import methods_of
from eastwall.sources.proto_files import attachment, compile_proto, is_proto

SHOP = Path(__file__).parents[2] / "e2e/protos/shop.proto"


@cache
def shop() -> dict[str, Endpoint]:
    data = compile_proto(SHOP.read_bytes(), "shop.proto")
    endpoints, given_back = declared_proto(data, "shop.pb", "orders")
    assert given_back == data
    return {endpoint.operation: endpoint for endpoint in endpoints}


def places(endpoint: Endpoint, *, response: bool = False) -> dict[str, tuple[str, ...]]:
    schema = endpoint.responses[0][1] if response else endpoint.request
    return {field.place: field.kinds for field in schema.fields}


def test_methods_are_endpoints() -> None:
    assert set(shop()) == {"shop.v1.Orders/Get", "shop.v1.Orders/Create", "shop.v1.Orders/Talk"}
    get = shop()["shop.v1.Orders/Get"]
    assert (get.service, get.method, get.template, get.protocol, get.origin) == (
        "orders",
        "POST",
        "/shop.v1.Orders/Get",
        "grpc",
        "declared",
    )
    assert get.id == endpoint_id("orders", "POST", "/shop.v1.Orders/Get", "shop.v1.Orders/Get")
    assert places(get) == {"order_id": ("string",)}
    assert places(get, response=True) == {
        "counts": ("object",),
        "counts.{}": ("integer",),
        "created": ("string",),
        "email": ("string",),
        "items": ("array",),
        "items[]": ("object",),
        "items[].quantity": ("integer",),
        "items[].sku": ("string",),
        "order_id": ("string",),
        "state": ("string",),
        "total": ("number",),
    }
    fields = {field.place: field for field in get.responses[0][1].fields}
    assert fields["state"].enum == ("STATE_PAID", "STATE_UNKNOWN")
    assert fields["created"].format == "date-time"
    assert not any(field.required for field in fields.values())


def test_messages_of_a_stream_stand_in_a_list() -> None:
    talk = shop()["shop.v1.Orders/Talk"]
    assert talk.traits == ("client-stream", "server-stream")
    assert places(talk) == {"[].text": ("string",), "[].number": ("integer",)}


def declared(text: str, name: str = "x.proto") -> tuple[Endpoint, ...]:
    return declared_proto(compile_proto(text.encode(), name), name, "x")[0]


def test_recursive_messages_end() -> None:
    fields = " ".join(f"Node n{number} = {number};" for number in range(1, 60))
    (endpoint,) = declared(f'syntax = "proto3"; service S {{ rpc M(Node) returns (Node); }} message Node {{ {fields} }}')
    assert len(endpoint.request.fields) == MAX_PLACES
    assert {f"n{number}" for number in range(1, 60)} <= {field.place for field in endpoint.request.fields}


def test_what_is_deprecated_or_required_is_known() -> None:
    (endpoint,) = declared(
        'syntax = "proto2"; service S { rpc M(A) returns (A) { option deprecated = true; } }'
        " message A { required string a = 1; optional bytes b = 2 [deprecated = true]; optional bool c = 3; }"
    )
    assert endpoint.deprecated
    assert [(f.place, f.required, f.deprecated, f.kinds) for f in endpoint.request.fields] == [
        ("a", True, False, ("string",)),
        ("b", False, True, ("string",)),
        ("c", False, False, ("boolean",)),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("syntax =", "`x.proto`: 1:9: Expected"),
        ('syntax = "proto3"; import "other/y.proto";', "imports `other/y.proto`, which is not at hand; give a descriptor set"),
        ('syntax = "proto3"; message A { string a = 1; string b = 1; }', "1:"),
        ('syntax = "proto3"; message A {}', "`x.proto`: the descriptor set holds no service"),
        ("", "the descriptor set holds no service"),
        ("\x1b[31m\x00", "`x.proto`: "),
    ],
)
def test_bad_text_is_one_clear_line(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        declared(text)
    message = str(caught.value)
    assert reason in message
    assert message.isprintable()
    assert "/tmp" not in message


@pytest.mark.parametrize("name", ["../../etc/passwd", "--plugin=x.proto", "a\nb.proto", "no extension", "", "`x`.proto"])
def test_hostile_names_stay_in_the_folder(name: str) -> None:
    assert compile_proto(SHOP.read_bytes(), name)


def test_files_that_import_each_other_travel_as_text(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/money.proto").write_text('syntax = "proto3"; package parts; message Money { int64 units = 1; }')
    (tmp_path / "pay.proto").write_text(
        'syntax = "proto3"; import "parts/money.proto"; service Pay { rpc Pay(parts.Money) returns (parts.Money); }'
    )
    text = attachment(tmp_path / "pay.proto")
    assert text.isascii()
    endpoints, descriptors = declared_proto(text.encode(), "pay.proto", "pay")
    assert [endpoint.operation for endpoint in endpoints] == ["Pay/Pay"]
    assert set(methods_of(descriptors)) == {"Pay/Pay"}
    (tmp_path / "pay.pb").write_bytes(descriptors)
    assert base64.b64decode(attachment(tmp_path / "pay.pb")) == descriptors
    assert is_proto("a/Pay.PROTO")
    assert is_proto("pay.pb")
    assert not is_proto("pay.yaml")
    with pytest.raises(OSError):
        attachment(tmp_path / "none.proto")


@pytest.mark.parametrize("data", [b"AAAAAAAA=", b"AAAAAAAAA", b"QUJDREVGRw==", b"        ", b"=" * 9])
def test_text_that_is_no_descriptor_set(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"`x\.pb`: "):
        declared_proto(data, "x.pb", "x")
