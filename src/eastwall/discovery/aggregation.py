"""Rows become counts, and long lists and texts become short: changes of a body's form that need no look at what its values are.

Rows are the items of a list of objects or lists, the records of a CSV text, and the lines of line-delimited JSON. The result of an MCP tool is
not what its envelope makes of it: rows are looked for in `structuredContent` and in the JSON of its texts, each a document of its own.

In a stream of events that are JSON objects or lists each is a row, but the messages of protocols with an envelope (JSON-RPC, MCP, GraphQL).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from eastwall.discovery.data_rows import edit_json_lines, json_lines, records, table_of
from eastwall.discovery.data_values import decode_text
from eastwall.model.operation import Operation

MIN_ROWS = 5
"""Rows that a field's smallest and largest value is told of, at least: of few rows it would tell somebody's."""
MAX_DEPTH = 64
_JSON = msgspec.json.Decoder(float_hook=lambda text: msgspec.Raw(text.encode()))
"""Keeps each float as its own text."""


def rows_of(operation: Operation, places: Collection[str] = ()) -> bool:
    """Whether there are rows: in lists at one of `places` (`items`, `$`; empty: anywhere)."""
    if operation.body_kind == "text":
        return bool(records(_text(operation)))
    if operation.protocol == "mcp":
        wanted = frozenset(places)
        return any(_rows(document, "$", wanted, 0) for document in _documents(operation.body))
    return _rows(operation.body, "$", frozenset(places), 0)


_ENVELOPES = frozenset({"mcp", "jsonrpc", "graphql", "grpc"})


def is_row(operation: Operation) -> bool:
    """Whether an event of a stream is a row."""
    return operation.protocol not in _ENVELOPES and operation.body_kind == "json" and isinstance(operation.body, dict | list)


class StreamRows:
    """Rows of one stream so far, as `aggregate` tells of those of a list. A field in which sensitive data stood once is never measured again."""

    __slots__ = ("_count", "_fields", "_hidden")

    def __init__(self) -> None:
        self._count = 0
        self._fields: dict[str, tuple[int, Any, Any]] = {}
        """Name -> (rows with a number there, the smallest, the largest)."""
        self._hidden: set[str] = set()

    def take(self, operation: Operation, measures: Sequence[str], hidden: Collection[str]) -> bytes:
        """One row more; what goes on in its place."""
        self._count += 1
        self._hidden.update(name for name in measures if name in hidden)
        row = _exact(operation)
        for name in measures:
            number = _number(row.get(name)) if type(row) is dict else None
            if number is not None:
                count, low, high = self._fields.get(name, (0, number, number))
                self._fields[name] = count + 1, min(low, number, key=_size), max(high, number, key=_size)
        told: dict[str, Any] = {"count": self._count}
        fields: dict[str, Any] = {}
        for name in measures:
            if name not in self._hidden:
                count, low, high = self._fields.get(name, (0, None, None))
                fields[name] = {"count": count} | ({"min": low[1], "max": high[1]} if count >= MIN_ROWS else {})
        return msgspec.json.encode({**told, "fields": fields} if fields else told)


def _documents(body: Any) -> Iterator[Any]:
    """What MCP tools answer with, without the envelope."""
    for one in body if type(body) is list else [body]:
        result = one.get("result") if type(one) is dict else None
        if type(result) is not dict:
            continue
        yield result.get("structuredContent")
        content = result.get("content")
        for item in content if type(content) is list else ():
            text = item.get("text") if type(item) is dict else None
            if type(text) is str and text[:1] in ("[", "{"):
                yield _decoded(text)


def _decoded(text: str) -> Any:
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError):
        return None


def _text(operation: Operation) -> str:
    return operation.body if isinstance(operation.body, str) else decode_text(operation.raw_body)


def _is_rows(node: Any) -> bool:
    return type(node) is list and any(type(item) is dict or type(item) is list for item in node)


def _wanted(place: str, places: Collection[str]) -> bool:
    return not places or place in places


def _below(place: str, key: str) -> str:
    return key if place == "$" else f"{place}.{key}"


def _rows(node: Any, place: str, places: frozenset[str], depth: int) -> bool:
    if depth > MAX_DEPTH:
        return False
    if type(node) is list:
        if _wanted(place, places) and (_is_rows(node) or place in places):
            return True
        inner = "[]" if place == "$" else place + "[]"
        return any(_rows(item, inner, places, depth + 1) for item in node)
    return type(node) is dict and any(_rows(item, _below(place, key), places, depth + 1) for key, item in node.items())


def aggregate(
    operation: Operation, places: Sequence[str] = (), measures: Sequence[str] = (), hidden: Collection[str] = ()
) -> bytes | None:
    """The body with each outermost list of rows at `places` (empty: every one) as `{"count": n}`; None when there is none.

    `measures` are names of fields of the rows: beside the count stands, under `fields`, how many rows have a number there, and the smallest
    and the largest, where that are `MIN_ROWS` at least. Never of a field whose place is in `hidden` (it holds sensitive data).
    """
    if operation.body_kind == "text":
        return _aggregate_text(_text(operation))
    if operation.body_kind != "json" or operation.body is None:
        return None
    work = _Aggregation(frozenset(places), tuple(measures), frozenset(hidden))
    new = work.answers(_exact(operation)) if operation.protocol == "mcp" else work.tree(_exact(operation), "$", 0)
    return msgspec.json.encode(new) if work.changed else None


def _exact(operation: Operation) -> Any:
    try:
        return _JSON.decode(operation.raw_body)
    except (ValueError, RecursionError):
        return operation.body  # what a lenient reader made of it is what will be sent


def _aggregate_text(text: str) -> bytes | None:
    if json_lines(text):
        lines = sum(1 for line in text.split("\n") if line.strip())
        return msgspec.json.encode({"count": lines}) + b"\n" if text[:1] == "{" else _events(text)
    table = table_of(text)
    if table is None:
        return None
    return b"count\n%d\n" % sum(1 for line in text[table.start :].split("\n") if line.strip())


def _events(text: str) -> bytes:
    return edit_json_lines(text, lambda _: '{"count":1}').encode("utf-8", "surrogateescape")


class _Aggregation:
    __slots__ = ("changed", "hidden", "measures", "places")

    def __init__(self, places: frozenset[str], measures: tuple[str, ...], hidden: frozenset[str]) -> None:
        self.places, self.measures, self.hidden = places, measures, hidden
        self.changed = False

    def tree(self, node: Any, place: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            return node
        if type(node) is list:
            if _wanted(place, self.places) and (_is_rows(node) or place in self.places):
                self.changed = True
                return self.counted(node, place)
            inner = "[]" if place == "$" else place + "[]"
            return [self.tree(item, inner, depth + 1) for item in node]
        if type(node) is dict:
            return {key: self.tree(item, _below(place, key), depth + 1) for key, item in node.items()}
        return node

    def answers(self, body: Any) -> Any:
        """What MCP tools answered, the envelope as it was."""
        if type(body) is list:
            return [self.answers(one) for one in body]
        result = body.get("result") if type(body) is dict else None
        if type(result) is not dict:
            return body
        # Places of sensitive data begin outside: within texts they are not known at all.
        inside = "result.structuredContent."
        hidden, self.hidden = self.hidden, frozenset(place.removeprefix(inside) for place in self.hidden)
        new = dict(result)
        if "structuredContent" in result:
            new["structuredContent"] = self.tree(result["structuredContent"], "$", 0)
        measures = self.measures
        if any(place.startswith("result.content") for place in hidden):
            self.measures = ()
        content = result.get("content")
        if type(content) is list:
            new["content"] = [self.item(item) for item in content]
        self.hidden, self.measures = hidden, measures
        return {**body, "result": new}

    def item(self, item: Any) -> Any:
        text = item.get("text") if type(item) is dict else None
        if type(text) is not str or text[:1] not in ("[", "{"):
            return item
        document = _decoded(text)
        if document is None or not _rows(document, "$", self.places, 0):
            return item
        return {**item, "text": msgspec.json.encode(self.tree(document, "$", 0)).decode()}

    def counted(self, rows: list[Any], place: str) -> dict[str, Any]:
        told: dict[str, Any] = {"count": len(rows)}
        inner = "[]" if place == "$" else place + "[]"
        fields: dict[str, Any] = {}
        for name in self.measures:
            if f"{inner}.{name}" in self.hidden:
                continue
            numbers = [number for row in rows if type(row) is dict and (number := _number(row.get(name))) is not None]
            fields[name] = {"count": len(numbers)}
            if len(numbers) >= MIN_ROWS:
                fields[name] |= {"min": min(numbers, key=_size)[1], "max": max(numbers, key=_size)[1]}
        if fields:
            told["fields"] = fields
        return told


def _number(value: Any) -> tuple[float | int, Any] | None:
    """(what it is worth, as it was written) of a JSON number."""
    if type(value) is int or type(value) is float:
        return value, value
    return (float(bytes(value)), value) if type(value) is msgspec.Raw else None


def _size(number: tuple[float | int, Any]) -> float | int:
    return number[0]


def trim(operation: Operation, places: Sequence[str], items: int | None, characters: int | None) -> bytes | None:
    """The body with lists cut to their first `items` and texts at `places` to their first `characters`; None when nothing is longer.
    Lists are cut at `places`, or all of them where there are none; texts at `places` alone."""
    if operation.body_kind != "json" or operation.body is None:
        return None
    work = _Trimming(frozenset(places), items, characters)
    new = work.tree(_exact(operation), "$", 0)
    return msgspec.json.encode(new) if work.changed else None


def longer(operation: Operation, places: Sequence[str], items: int | None, characters: int | None) -> bool:
    """Whether `trim` would change anything."""
    if operation.body_kind != "json" or operation.body is None:
        return False
    work = _Trimming(frozenset(places), items, characters)
    work.tree(operation.body, "$", 0)
    return work.changed


class _Trimming:
    __slots__ = ("changed", "characters", "items", "places")

    def __init__(self, places: frozenset[str], items: int | None, characters: int | None) -> None:
        self.places, self.items, self.characters = places, items, characters
        self.changed = False

    def tree(self, node: Any, place: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            return node
        if type(node) is list:
            if self.items is not None and len(node) > self.items and _wanted(place, self.places):
                self.changed = True
                node = node[: self.items]
            inner = "[]" if place == "$" else place + "[]"
            return [self.tree(item, inner, depth + 1) for item in node]
        if type(node) is dict:
            return {key: self.tree(item, _below(place, key), depth + 1) for key, item in node.items()}
        if type(node) is str and self.characters is not None and place in self.places and len(node) > self.characters:
            self.changed = True
            return node[: self.characters]
        return node
