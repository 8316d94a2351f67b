"""Text of a specification -> plain tree: JSON, or YAML 1.2 in its core schema, within bounds.

YAML is read from its events and not by PyYAML's own constructor, which ends the process on deep nesting (it recurses in C), expands
merge keys without bound, and reads `NO` as false and `2020-01-01` as a date (YAML 1.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from re import IGNORECASE
from re import compile as regex
from typing import Any

import msgspec
import yaml
from msgspec import Struct

MAX_BYTES = 48_000_000
"""Of a document; larger ones are refused."""
MAX_NESTING = 200
MAX_NODES = 4_000_000
"""Values of a YAML document, each alias counted as what it stands for."""
MAX_SHOWN = 500
"""Characters of a fault's place and of its message."""
MAX_FAULTS = 200
"""Faults told of one document; the rest is counted."""

_INTEGER = regex(r"[-+]?[0-9]+")
_OTHER_INTEGER = regex(r"0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = regex(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = regex(r"[-+]?\.inf|\.nan", IGNORECASE)
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_UNPRINTABLE = regex(r"[^\x20-\x7e\xa1-\u024f\u0370-\u058f\u1e00-\u1fff\u3040-\u9fff\uac00-\ud7a3]")


class SpecFault(Struct, frozen=True):
    """Something in a specification that is wrong; what it concerns is left out, the rest is used."""

    where: str
    """JSON pointer (`/paths/~1orders/get`), or `line 7, column 3` for a text that cannot be read; empty for the document."""
    message: str
    """Lower case, one line; what was written is in backticks."""
    hint: str = ""
    """How to mend it."""

    def __str__(self) -> str:
        return f"{self.where or 'document'}: {self.message}" + (f"; {self.hint}" if self.hint else "")


class SpecError(ValueError):
    """The document is not one to read endpoints from; `where` says where, as in `SpecFault`."""

    def __init__(self, message: str, where: str = "", hint: str = "") -> None:
        self.fault = SpecFault(_plain(where), _plain(message), hint)
        super().__init__(self.fault.message + (f"; {hint}" if hint else ""))


class Faults:
    """Collects faults, `MAX_FAULTS` at most, each once."""

    def __init__(self) -> None:
        self._found: dict[SpecFault, None] = {}
        self._more = 0

    def add(self, where: str, message: str, hint: str = "") -> None:
        fault = SpecFault(_plain(where), _plain(message), hint)
        if fault not in self._found:
            if len(self._found) < MAX_FAULTS:
                self._found[fault] = None
            else:
                self._more += 1

    def told(self) -> tuple[SpecFault, ...]:
        """In order of appearance, and at the end how many more there were."""
        more = (SpecFault("", f"{self._more:,} more faults", "mend those above first"),) if self._more else ()
        return (*self._found, *more)


def _plain(text: str) -> str:
    """One line of what a terminal shows as it is; the document's own names stand in pointers and messages."""
    if len(text) > MAX_SHOWN:
        text = text[: MAX_SHOWN // 2] + "..." + text[-MAX_SHOWN // 2 :]
    return _UNPRINTABLE.sub("?", text)


def shown(value: Any, limit: int = 60) -> str:
    """A value of the document, fit for a message: in backticks, one line, nothing a terminal would obey."""
    text = _UNPRINTABLE.sub("?", str(value)[: limit + 1]).replace("`", "'")
    return f"`{text[:limit]}...`" if len(text) > limit else f"`{text}`"


def pointer(*steps: object) -> str:
    """JSON pointer (RFC 6901) of these steps."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def read_tree(data: bytes, name: str = "") -> Any:
    """The document's tree. JSON when it begins like it, else YAML. Raises `SpecError`, one line with line and column."""
    if len(data) > MAX_BYTES:
        raise SpecError(
            f"the document has {len(data) / 1e6:,.1f} MB; {MAX_BYTES // 1_000_000} MB are the limit",
            hint="split it, or bundle less",
        )
    text = _text(data)
    begin = text.lstrip()[:1]
    if not begin:
        raise SpecError("the document is empty")
    if begin in "{[" and not name.lower().endswith((".yaml", ".yml")):
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _json_error(text, error) from None
    return _yaml(text)


def _text(data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise SpecError(f"byte {error.start:,} is no {encoding[:6].upper().rstrip('-')}", hint="save it as UTF-8") from None


def _json_error(text: str, error: Exception) -> SpecError:
    if isinstance(error, RecursionError):
        return SpecError("the JSON is nested too deeply")
    message = str(error)
    _, _, place = message.rpartition("(byte ")
    at = place.rstrip(")")
    if not at.isdigit() and "truncated" not in message:
        return SpecError(f"not JSON: {message[:1].lower()}{message[1:]}")
    if not at.isdigit():
        end = text.rstrip()
        where = f"line {end.count(chr(10)) + 1}"
        return SpecError(f"the JSON is not whole: {message[:1].lower()}{message[1:]}", where, "it may have been cut off")
    head = text.encode()[: int(at)].decode("utf-8", "replace")
    where = f"line {head.count(chr(10)) + 1}, column {len(head) - head.rfind(chr(10))}"
    return SpecError(f"not JSON: {message.partition(' (byte')[0].removeprefix('JSON is malformed: ')}", where)


class _Open:
    """A list or mapping being read."""

    __slots__ = ("anchor", "key", "merged", "node", "size", "waiting")

    def __init__(self, node: Any, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.key: Any = None
        self.waiting = False
        """A key was read, its value comes next."""
        self.merged: list[Any] = []
        self.size = 1


class _Builder:
    """Puts a tree together from YAML events, without recursion."""

    def __init__(self) -> None:
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.stack: list[_Open] = []
        self.total = 0
        self.root: Any = None
        self.done = False

    def add(self, value: Any, size: int, where: Any, plain: str | None = None) -> None:
        """A value; `plain`: as it is written, of one without quotes."""
        self.total += size
        if self.total > MAX_NODES:
            raise _at(where, f"the document stands for more than {MAX_NODES:,} values", "aliases multiply what they stand for")
        if not self.stack:
            self.root, self.done = value, True
            return
        top = self.stack[-1]
        top.size += size
        if type(top.node) is list:
            top.node.append(value)
        elif top.waiting:
            top.waiting = False
            if top.key is _MERGE:
                self.merge(top, value, where)
            else:
                top.node[top.key] = value
        else:
            top.key = self.key(value, where, plain)
            top.waiting = True

    def key(self, value: Any, where: Any, plain: str | None) -> Any:
        if isinstance(value, (list, dict)):
            raise _at(where, "a key is a list or mapping", "write a word")
        return _MERGE if plain == "<<" else plain if plain is not None else str(value)

    def merge(self, top: _Open, value: Any, where: Any) -> None:
        parts = value if isinstance(value, list) else [value]
        for part in parts:
            if not isinstance(part, dict):
                raise _at(where, "`<<` merges something that is no mapping")
            self.total += len(part)
            top.merged.append(part)

    def close(self, where: Any) -> None:
        top = self.stack.pop()
        for part in top.merged:
            for key, value in part.items():
                top.node.setdefault(key, value)
        if top.anchor is not None:
            self.anchors[top.anchor] = (top.node, top.size)
        size, top.size = top.size, 0
        self.total -= size
        self.add(top.node, size, where)

    def alias(self, event: Any) -> None:
        known = self.anchors.get(event.anchor)
        if known is None:
            within = any(each.anchor == event.anchor for each in self.stack)
            problem = "stands within what it stands for" if within else "stands for nothing"
            raise _at(event.start_mark, f"alias {shown('*' + event.anchor)} {problem}")
        self.add(known[0], known[1], event.start_mark)


_MERGE = object()


def _yaml(text: str) -> Any:
    builder = _Builder()
    try:
        for event in _events(text):
            kind = type(event)
            if kind is yaml.ScalarEvent:
                value = event.value if event.style else _scalar(event.value)
                if event.tag in ("!", "tag:yaml.org,2002:str"):
                    value = event.value
                if event.anchor is not None:
                    builder.anchors[event.anchor] = (value, 1)
                builder.add(value, 1, event.start_mark, None if event.style else event.value)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                if len(builder.stack) >= MAX_NESTING:
                    raise _at(event.start_mark, f"nested deeper than {MAX_NESTING} levels")
                builder.stack.append(_Open({} if kind is yaml.MappingStartEvent else [], event.anchor))
                builder.total += 1
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                builder.close(event.start_mark)
            elif kind is yaml.AliasEvent:
                builder.alias(event)
            elif kind is yaml.DocumentStartEvent and builder.done:
                raise _at(event.start_mark, "the file holds more than one document", "keep one")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise SpecError(f"not YAML: {problem}", _mark(mark)) from None
    return builder.root


def _events(text: str) -> Iterator[Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    yield from yaml.parse(text, loader)


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "+-.0123456789" and len(text) <= 300:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _OTHER_INTEGER.fullmatch(text):
            return int(text, 0)
        if _NUMBER.fullmatch(text):
            return float(text)
        if _SPECIAL.fullmatch(text):
            return float(text.replace(".", "", 1))
    return text


def _mark(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""


def _at(mark: Any, message: str, hint: str = "") -> SpecError:
    return SpecError(message, _mark(mark), hint)
