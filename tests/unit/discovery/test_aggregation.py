"""Rows become counts, lists and texts become short, and what comes out is JSON."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from eastwall.discovery.aggregation import aggregate, longer, rows_of, trim
from eastwall.model.call import BodyState, Request, Response
from eastwall.model.operation import Operation
from eastwall.protocols.decode import decode_request, decode_response
from eastwall.protocols.limits import Limits


def message(body: Any, kind: str = "application/json") -> Operation:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_request(Request("POST", "/a", {"content-type": kind}, body=raw, body_state=BodyState.COMPLETE), Limits())


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.just("SECRET"),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=20,
)


def holds_rows(node: Any) -> bool:
    if isinstance(node, list):
        return any(isinstance(item, (dict, list)) for item in node) or any(map(holds_rows, node))
    return isinstance(node, dict) and any(map(holds_rows, node.values()))


@given(trees)
def test_no_row_is_left(tree: Any) -> None:
    operation = message(tree)
    new = aggregate(operation, measures=("a",))
    assert (new is not None) == rows_of(operation) == holds_rows(tree)
    if new is not None:
        assert not holds_rows(json.loads(new))


@given(trees, st.integers(0, 3))
def test_lists_are_cut_to_their_beginning(tree: Any, items: int) -> None:
    def cut(node: Any) -> Any:
        if isinstance(node, list):
            return [cut(item) for item in node[:items]]
        return {key: cut(item) for key, item in node.items()} if isinstance(node, dict) else node

    operation = message(tree)
    new = trim(operation, (), items, None)
    assert (new is not None) == longer(operation, (), items, None)
    assert (json.loads(new) if new is not None else tree) == cut(tree)


def test_rows_become_a_count_and_what_is_asked_is_measured() -> None:
    rows = [{"id": i, "total": i + 0.5, "salary": 100 * i, "name": "Anna"} for i in range(6)]
    body = message({"customers": rows, "page": 1, "tags": ["x", "y"]})
    new = aggregate(body, measures=("total", "salary", "none"), hidden=("customers[].salary",))
    assert json.loads(new or b"") == {
        "customers": {"count": 6, "fields": {"total": {"count": 6, "min": 0.5, "max": 5.5}, "none": {"count": 0}}},
        "page": 1,
        "tags": ["x", "y"],
    }


def test_of_few_rows_nothing_is_measured() -> None:
    new = aggregate(message([{"total": 1}, {"total": 2}]), measures=("total",))
    assert json.loads(new or b"") == {"count": 2, "fields": {"total": {"count": 2}}}


def test_the_envelope_of_a_tool_s_answer_stays() -> None:
    asked = Request(
        "POST", "/mcp", {"content-type": "application/json"},
        body=b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{}}}', body_state=BodyState.COMPLETE,
    )  # fmt: skip
    rows = [{"id": i, "total": i} for i in range(6)]
    told = {"count": 6, "fields": {"total": {"count": 6, "min": 0, "max": 5}}}
    body = {
        "jsonrpc": "2.0", "id": 1,
        "result": {
            "content": [{"type": "text", "text": json.dumps(rows)}, {"type": "text", "text": "six orders"}],
            "structuredContent": {"orders": rows},
        },
    }  # fmt: skip
    given_ = Response(200, {"content-type": "application/json"}, json.dumps(body).encode(), BodyState.COMPLETE)
    operation = decode_response(given_, asked, Limits(), decode_request(asked, Limits()))
    assert operation.protocol == "mcp"
    assert rows_of(operation)
    new = json.loads(aggregate(operation, measures=("total",)) or b"")
    assert new["result"]["structuredContent"] == {"orders": told}
    assert [json.loads(new["result"]["content"][0]["text"]), new["result"]["content"][1]["text"]] == [told, "six orders"]
    assert {**new, "result": 0} == {**body, "result": 0}
    unmeasured = aggregate(
        operation, measures=("total",), hidden=("result.structuredContent.orders[].total", "result.content[].text")
    )
    assert b"max" not in (unmeasured or b"")
    prose = replace(operation, body={"result": {"content": [{"type": "text", "text": "hello"}]}})
    assert not rows_of(prose)


def test_places_name_the_lists() -> None:
    body = message({"a": [{"x": 1}], "b": [{"c": [{"y": 1}]}], "tags": ["x"]})
    assert json.loads(aggregate(body, ("b[].c", "tags")) or b"") == {
        "a": [{"x": 1}],
        "b": [{"c": {"count": 1}}],
        "tags": {"count": 1},
    }
    assert aggregate(body, ("nowhere",)) is None
    assert not rows_of(body, ("nowhere",))


def test_tables_and_lines_are_rows() -> None:
    assert aggregate(message(b"name,total\nAnna,1\nBert,2\n", "text/csv")) == b"count\n2\n"
    assert aggregate(message(b'{"a":1}\n{"a":2}\n\n{"a":3}', "application/x-ndjson")) == b'{"count":3}\n'
    assert aggregate(message(b"no rows here", "text/plain")) is None


def test_texts_are_cut_where_a_policy_names_them() -> None:
    body = message(b'{"note":"a long story","items":[{"note":"another"}],"x":1.10}')
    assert trim(body, ("note", "items[].note"), None, 6) == b'{"note":"a long","items":[{"note":"anothe"}],"x":1.10}'
