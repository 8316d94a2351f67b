"""MCP as its official SDK speaks it, client and server, in both generations of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.unit.protocols.recorded_traffic import Recorder, served

pytest.importorskip("mcp", reason="both sides of these tests are the `mcp` SDK")
from mcp import Client
from mcp.server import MCPServer


def build() -> MCPServer:
    server = MCPServer("shop")

    @server.tool()
    def search(text: str) -> str:
        """Search orders."""
        if text == "break":
            raise ValueError("broken")
        return f"found {text}"

    @server.tool(name="café ☕")
    def coffee() -> str:
        """A name that no header can hold as it is."""
        return "hot"

    @server.prompt()
    def review(order: str) -> str:
        """Review an order."""
        return f"review {order}"

    @server.resource("orders://all")
    def everything() -> str:
        return "[]"

    return server


@pytest.fixture(params=["json", "sse"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, Recorder]]:
    with served(build().streamable_http_app(json_response=request.param == "json")) as (address, recorder):
        yield f"http://{address}/mcp", recorder


async def session(address: str, mode: str) -> None:
    async with Client(address, mode=mode) as client:
        await client.list_tools()
        assert not (await client.call_tool("search", {"text": "x"})).is_error
        assert (await client.call_tool("search", {"text": "break"})).is_error
        await client.call_tool("café ☕", {})
        await client.get_prompt("review", {"order": "7"})
        await client.read_resource("orders://all")


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_every_message_of_a_session_is_told(server: tuple[str, Recorder], mode: str) -> None:
    address, recorder = server
    asyncio.run(asyncio.wait_for(session(address, mode), 60))
    found = recorder.operations(6)
    assert {request.protocol for request, _ in found} == {"mcp"}
    assert [fault for request, _ in found for fault in request.faults] == []
    posted = [(request, response) for request, response in found if request.method == "POST"]
    names = [request.name for request, _ in posted]
    assert names[-6:] == [
        "tools/list",
        "tools/call search",
        "tools/call search",
        "tools/call café ☕",
        "prompts/get review",
        "resources/read",
    ]
    assert all(response.name == request.name for request, response in found)
    failed = [index for index, (_, response) in enumerate(posted[-6:]) if "fault" in response.traits]
    assert failed == [2]
    modern = mode != "legacy"
    sent = recorder.exchanges[-1][0].headers
    assert ("mcp-method" in sent) == modern
    if not modern:
        assert names[0] == "initialize"
        by_name = {request.name: request.traits for request, _ in posted}
        assert by_name["notifications/initialized"] == ("notification",)


def test_streams_are_told(server: tuple[str, Recorder]) -> None:
    address, recorder = server
    asyncio.run(asyncio.wait_for(session(address, "legacy"), 60))
    found = recorder.operations(6)
    types = [response.headers.get("content-type", "") for _, response in recorder.exchanges]
    for (_, response), kind in zip(found, types, strict=True):
        assert ("sse" in response.traits) == kind.startswith("text/event-stream")
