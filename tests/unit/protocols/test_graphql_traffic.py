"""GraphQL as a real server (strawberry) and its clients speak it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Iterator
from hashlib import sha256

import httpx
import pytest
import websockets
from tests.unit.protocols.recorded_traffic import Recorder, served

strawberry = pytest.importorskip("strawberry", reason="the server of these tests is strawberry-graphql")
from strawberry.asgi import GraphQL  # noqa: E402
from strawberry.file_uploads import Upload  # noqa: E402
from strawberry.schema.config import StrawberryConfig  # noqa: E402


@strawberry.type
class Item:
    sku: str
    price: float


@strawberry.type
class Order:
    id: strawberry.ID
    items: list[Item]


def some_order(id: str = "7") -> Order:
    return Order(id=strawberry.ID(id), items=[Item(sku="A", price=1.5)])


@strawberry.type
class Query:
    @strawberry.field
    def order(self, id: strawberry.ID) -> Order | None:
        if id == "0":
            raise ValueError("no such order")
        return some_order(id)

    @strawberry.field
    def orders(self) -> list[Order]:
        return [some_order()]

    @strawberry.field
    def must(self) -> int:
        raise ValueError("never")


@strawberry.type
class Mutation:
    @strawberry.mutation
    def create_order(self, sku: str) -> Order:
        return some_order()

    @strawberry.mutation
    async def read(self, file: Upload) -> str:
        return (await file.read()).decode()


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def ticks(self) -> AsyncGenerator[int, None]:
        yield 1


SCHEMA = strawberry.Schema(Query, Mutation, Subscription, config=StrawberryConfig(batching_config={"max_operations": 10}))


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Recorder]]:
    with served(GraphQL(SCHEMA, multipart_uploads_enabled=True)) as found:
        yield found


def asked(server: tuple[str, Recorder], *args: object, path: str = "/graphql", method: str = "POST", **kwargs: object):  # type: ignore[no-untyped-def]
    address, recorder = server
    recorder.exchanges.clear()
    answer = httpx.request(method, f"http://{address}{path}", **kwargs)  # type: ignore[arg-type]
    ((request, response),) = recorder.operations()
    return request, response, answer


def test_query_with_variables(server: tuple[str, Recorder]) -> None:
    text = "query Q($id: ID!) { mine: order(id: $id) { id ...lines } orders { id } } fragment lines on Order { items { sku cost: price } }"
    request, response, answer = asked(server, json={"query": text, "operationName": "Q", "variables": {"id": "5"}})
    assert answer.json()["data"]["mine"]["items"] == [{"sku": "A", "cost": 1.5}]
    assert (request.protocol, request.name, request.traits) == ("graphql", "query order,orders", ())
    assert request.selection == ("order.id", "order.items.price", "order.items.sku", "orders.id")
    assert request.body["variables"] == {"id": "5"}
    assert request.body_kind == "json"
    assert (response.protocol, response.name, response.traits) == ("graphql", "query order,orders", ())
    assert response.body["data"]["orders"] == [{"id": "7"}]


def test_the_path_need_not_say_so(server: tuple[str, Recorder]) -> None:
    request, _, answer = asked(server, path="/api", json={"query": "{ orders { id } }"})
    assert answer.json()["data"]
    assert (request.protocol, request.name) == ("graphql", "query orders")


def test_mutation_and_an_error_in_an_answer_of_200(server: tuple[str, Recorder]) -> None:
    request, response, answer = asked(server, json={"query": 'mutation { createOrder(sku: "x") { id } }'})
    assert (request.name, response.traits) == ("mutation createOrder", ())
    request, response, answer = asked(server, json={"query": "{ must }"})
    assert answer.status_code == 200
    assert answer.json()["data"] is None
    assert (request.name, response.traits) == ("query must", ("fault",))
    # A part that failed beside others that did not is no failed call.
    _, response, answer = asked(server, json={"query": '{ order(id: "0") { id } orders { id } }'})
    assert answer.json()["errors"]
    assert response.traits == ()


def test_what_does_not_parse_is_a_fault_and_refused_by_the_server(server: tuple[str, Recorder]) -> None:
    request, response, answer = asked(server, json={"query": "{ orders { id }"})
    assert (request.protocol, request.name) == ("graphql", "")
    assert [fault.id for fault in request.faults] == ["graphql-syntax"]
    assert answer.json()["errors"]
    assert "fault" in response.traits


def test_get(server: tuple[str, Recorder]) -> None:
    request, response, answer = asked(server, method="GET", params={"query": "{ orders { items { sku } } }"})
    assert answer.json()["data"]["orders"]
    assert (request.protocol, request.name, request.selection) == ("graphql", "query orders", ("orders.items.sku",))
    assert response.name == "query orders"


def test_batch(server: tuple[str, Recorder]) -> None:
    batch = [{"query": "{ orders { id } }"}, {"query": 'mutation { createOrder(sku: "x") { id } }'}]
    request, response, answer = asked(server, json=batch)
    assert [one["data"] is not None for one in answer.json()] == [True, True]
    assert (request.name, request.traits) == ("mutation createOrder; query orders", ("batch",))
    assert response.traits == ()


def test_upload(server: tuple[str, Recorder]) -> None:
    operations = json.dumps({"query": "mutation($file: Upload!) { read(file: $file) }", "variables": {"file": None}})
    form = {"operations": operations, "map": json.dumps({"0": ["variables.file"]})}
    request, _, answer = asked(server, data=form, files={"0": ("a.txt", b"hello")})
    assert answer.json() == {"data": {"read": "hello"}}
    assert (request.protocol, request.name, request.body_kind) == ("graphql", "mutation read", "multipart")


def test_introspection_is_seen_and_typename_is_none(server: tuple[str, Recorder]) -> None:
    from graphql import get_introspection_query

    request, _, answer = asked(server, json={"query": get_introspection_query()})
    assert answer.json()["data"]["__schema"]
    assert (request.name, request.traits, request.selection) == ("query __schema", ("introspection",), ())
    request, _, _ = asked(server, json={"query": "{ __typename orders { __typename id } }"})
    assert (request.name, request.traits, request.selection) == ("query orders", (), ("orders.id",))


def test_persisted_query_that_the_server_does_not_know(server: tuple[str, Recorder]) -> None:
    digest = sha256(b"{ orders { id } }").hexdigest()
    body = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": digest}}}
    request, _, answer = asked(server, json=body)
    assert answer.status_code >= 400 or answer.json().get("errors")
    assert (request.protocol, request.name, request.traits) == ("graphql", f"persisted {digest[:12]}", ("persisted-query",))
    request, _, answer = asked(server, json={**body, "query": "{ orders { id } }"})
    assert answer.json()["data"]
    assert (request.name, request.traits, request.faults) == ("query orders", ("persisted-query",), ())


def test_subscription_over_websocket(server: tuple[str, Recorder]) -> None:
    address, recorder = server
    recorder.exchanges.clear()

    async def listen() -> object:
        async with websockets.connect(f"ws://{address}/graphql", subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
            await socket.send(json.dumps({"type": "connection_init"}))
            assert json.loads(await socket.recv())["type"] == "connection_ack"
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": "subscription { ticks }"}}))
            return json.loads(await socket.recv())

    assert asyncio.run(listen()) == {"id": "1", "type": "next", "payload": {"data": {"ticks": 1}}}
    ((request, response),) = recorder.operations()
    assert (request.protocol, request.name, request.traits) == ("websocket", "", ("websocket",))
    assert (response.protocol, response.traits) == ("websocket", ("websocket",))
    assert base64.b64decode(recorder.exchanges[0][0].headers["sec-websocket-key"])


def test_subscription_over_http(server: tuple[str, Recorder]) -> None:
    request, _, _ = asked(server, json={"query": "subscription { ticks }"})
    assert (request.name, request.traits) == ("subscription ticks", ("subscription",))
