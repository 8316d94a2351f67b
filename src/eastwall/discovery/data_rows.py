"""Text that holds records: CSV with a header line, line-delimited JSON, the JSON in the events of a stream (`data: {...}`)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from eastwall.discovery.data_names import evidence

MAX_RECORDS = 1_000
"""Records that are looked at for what a text holds; all of them are when it is redacted."""
MAX_COLUMNS = 200
MAX_HEADER = 4_096
"""Characters of the line that names the columns."""
_EVENT = ("data:", "event:", "id:", "retry:", ":")


class Table(NamedTuple):
    """How a CSV text is to be read."""

    names: tuple[str, ...]
    delimiter: str
    start: int
    """Where the first record begins."""


def table_of(text: str) -> Table | None:
    """The table that a text is, None for other text. Every one of the first records must have a cell for each column."""
    line, end, _ = text.partition("\n")
    if not end or len(line) > MAX_HEADER:
        return None
    delimiter = next((one for one in ",;\t|" if one in line), "")
    names = next(_cells([line], delimiter or ","), ([], ""))[0]
    table = Table(tuple(names), delimiter or ",", len(line) + 1)
    if not _is_header(names, single=not delimiter):
        return None
    first = text[table.start : table.start + 65_536].split("\n", 20)[:20]
    rows = [cells for cells, _ in _cells([one + "\n" for one in first[:-1] or first], table.delimiter) if cells]
    return table if rows and all(len(cells) == len(names) for cells in rows) else None


def _is_header(names: list[str], *, single: bool) -> bool:
    """Whether a first line names columns: distinct short words; a lone one must say what it is."""
    if not 0 < len(names) <= MAX_COLUMNS or len(set(names)) != len(names):
        return False
    if not all(0 < len(name.strip()) <= 48 and name.strip()[0].isalpha() and "@" not in name for name in names):
        return False
    return not single or bool(evidence(names[0]))


def _cells(lines: list[str], delimiter: str) -> Iterator[tuple[list[str], str]]:
    """(cells, the very text) of each record."""
    reader, done = csv.reader(lines, delimiter=delimiter), 0
    try:
        for cells in reader:
            yield cells, "".join(lines[done : reader.line_num])
            done = reader.line_num
    except csv.Error:  # a field larger than csv allows: the rest is handed over as it is
        pass
    if done < len(lines):
        yield [], "".join(lines[done:])


def json_lines(text: str) -> bool:
    """Whether a text is records of JSON, one a line, more than one."""
    if text[:1] != "{" and not text.startswith(_EVENT):
        return False
    found = 0
    for line in text[:65_536].split("\n", 40)[:40]:
        _, body, _ = _parts(line)
        if body:
            if not isinstance(_decoded(body), dict):
                return found > 1 or (found == 1 and text[:1] != "{")
            found += 1
            if found > 1:
                return True
    return found == 1 and text[:1] != "{"


def _parts(line: str) -> tuple[str, str, str]:
    """(what stands before, the JSON, what stands behind) of a line; no JSON in lines of other fields of an event."""
    if line.startswith("data:"):
        body = line[5:].strip()
    else:
        body = line.strip() if line[:1] == "{" else ""
    start = line.find(body) if body else 0
    return line[:start], body, line[start + len(body) :]


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def records(text: str) -> list[dict[str, Any]] | None:
    """The first records as objects; None for text that holds none."""
    if json_lines(text):
        trees = (_decoded(_parts(line)[1]) for line in text.split("\n", MAX_RECORDS)[:MAX_RECORDS])
        return [tree for tree in trees if isinstance(tree, dict)]
    table = table_of(text)
    if table is None:
        return None
    lines = text[table.start :].split("\n", MAX_RECORDS)[:MAX_RECORDS]
    rows = _cells([line + "\n" for line in lines], table.delimiter)
    return [dict(zip(table.names, cells, strict=False)) for cells, _ in rows if cells]


class _Lines(list[str]):
    """What `csv.writer` writes to."""

    def write(self, text: str) -> None:
        self.append(text)


def edit_table(text: str, table: Table, change: Callable[[int, str], str]) -> str:
    """The table with each cell as `change(column, cell)` gives it; records in which nothing changes keep their very text."""
    out = [text[: table.start]]
    for cells, raw in _cells(text[table.start :].splitlines(keepends=True), table.delimiter):
        new = [change(at, cell) for at, cell in enumerate(cells)]
        if new == cells:
            out.append(raw)
            continue
        line = _Lines()
        csv.writer(line, delimiter=table.delimiter, lineterminator="").writerow(new)
        out.append("".join(line) + raw[len(raw.rstrip("\r\n")) :])
    return "".join(out)


def edit_json_lines(text: str, change: Callable[[str], str]) -> str:
    """The text with the JSON of each line as `change` gives it."""
    out = []
    for line in text.split("\n"):
        before, body, behind = _parts(line)
        out.append(before + change(body) + behind if body else line)
    return "\n".join(out)
