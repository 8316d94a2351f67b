"""What telling the protocol of a call costs: us per call of `decode` and of `rest` alone on the same message, and of `identify`, warm."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.decide_cost import HEADERS, bodies, call, snapshot
from eastwall.discovery.inventory import compile_inventory, endpoint_id, identify
from eastwall.model.call import BodyState, Request, Response
from eastwall.model.endpoint import Endpoint
from eastwall.model.operation import Operation
from eastwall.protocols import decode, graphql, rest
from eastwall.protocols.limits import DEFAULT

BATCHES = 25
DOCUMENT = "query A($id: ID!) { order(id: $id) { id items { sku price quantity } customer { name email } } }"
XML = b"<orders>" + b'<order id="5"><sku>AX-1</sku><price>19.95</price><note>hello world</note></order>' * 50 + b"</orders>"
SOAP = (
    b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><m:GetLastTradePrice xmlns:m="Some-URI">'
    b"<symbol>DIS</symbol></m:GetLastTradePrice></e:Body></e:Envelope>"
)


def message(body: Any, path: str, content_type: str = "application/json", **headers: str) -> Request:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {**HEADERS, "content-type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Request("POST", path, sent, body=data, body_state=BodyState.COMPLETE)


def messages() -> dict[str, Request]:
    tool = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search", "arguments": {"q": "x"}}}
    return {
        "GET with two parameters": Request("GET", "/orders/17?full=1&page=2", dict(HEADERS)),
        "JSON, 0.5 KB": call(bodies(500)[0], 1).request,
        "JSON, 4 KB": call(bodies(4_000)[0], 1).request,
        "JSON, a search: {query: shoes}": message({"query": "shoes", "limit": 10}, "/search"),
        "GraphQL, known document": message({"query": DOCUMENT, "variables": {"id": "1"}, "operationName": "A"}, "/graphql"),
        "JSON-RPC": message({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": []}, "/rpc"),
        "MCP": message(tool, "/mcp", mcp_protocol_version="2026-07-28", mcp_method="tools/call", mcp_name="search"),
        "SOAP 1.1, 0.2 KB": message(SOAP, "/stock", "text/xml", soapaction='"Some-URI"'),
        f"XML, {len(XML) / 1000:.0f} KB": message(XML, "/orders", "application/xml"),
    }


def best(step: Callable[[], Any], calls: int) -> float:
    """us, the fastest of `BATCHES`."""
    times = []
    for _ in range(BATCHES):
        begin = time.process_time()
        for _ in range(calls):
            step()
        times.append((time.process_time() - begin) / calls)
    return min(times) * 1e6


def _identified(name: str) -> float:
    path = "/graphql" if name else "/orders"
    operation = Operation("graphql" if name else "rest", "POST", (path[1:],), path, name=name)
    one = Endpoint(endpoint_id("orders", "POST", path, name), "orders", "POST", path, operation=name)
    inventory = compile_inventory([*(e for e in snapshot().endpoints if e.template != path), one])
    assert identify("orders", operation, inventory).endpoint is one
    return best(lambda: identify("orders", operation, inventory), 20_000)


def main() -> None:
    argparse.ArgumentParser(prog="bench.protocol_cost", description=(__doc__ or "").splitlines()[0]).parse_args()
    table = Table("message", "rest alone", "decode", "more", title="us per call, warm, one core")
    for name, request in messages().items():
        calls = 20_000 if len(request.body) < 1_000 else 1_000
        plain = best(lambda request=request: rest.decode_request(request, DEFAULT), calls)  # type: ignore[misc]
        whole = best(lambda request=request: decode.decode_request(request, DEFAULT), calls)  # type: ignore[misc]
        table.add_row(name, f"{plain:.2f}", f"{whole:.2f}", f"{whole - plain:.2f}")
    request = call(bodies(500)[0], 1).request
    response = Response(200, {"content-type": "application/json"}, bodies(500)[1], BodyState.COMPLETE)
    asked = decode.decode_request(request, DEFAULT)
    plain = best(lambda: rest.decode_response(response, request, DEFAULT), 10_000)
    whole = best(lambda: decode.decode_response(response, request, DEFAULT, asked), 10_000)
    table.add_row("answer, JSON, 1 KB", f"{plain:.2f}", f"{whole:.2f}", f"{whole - plain:.2f}")
    fresh = best(lambda: graphql._read(DOCUMENT), 200)
    table.add_row("GraphQL, parsing a new document", "", f"{fresh:.0f}", "")
    table.add_row("identify, no name", "", f"{_identified(''):.2f}", "")
    table.add_row("identify, by name", "", f"{_identified('query order'):.2f}", "")
    Console().print(table)


if __name__ == "__main__":
    main()
