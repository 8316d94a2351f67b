"""The scanner for elements of a JSON array, held against a real parser."""

from __future__ import annotations

import io
import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eastwall.sources import json_stream
from eastwall.sources.json_stream import Elements, JsonFault

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab"\\{}[],: \n\u20ac', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"\\{[', max_size=4), inner, max_size=3),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.text("ab", max_size=3), VALUES, max_size=3)


class Dripping(io.RawIOBase):
    """Gives a few bytes at a time, whatever is asked for."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = data, step

    def read(self, size: int = -1) -> bytes:
        taken, self._data = self._data[: self._step], self._data[self._step :]
        return taken


@given(
    before=OBJECTS,
    elements=st.lists(OBJECTS, max_size=5),
    after=OBJECTS,
    indent=st.sampled_from([None, 1]),
    step=st.integers(1, 99),
)
@example(before={}, elements=[{"a": [[[[[[[[[[{"b": '"}'}]]]]]]]]]]}], after={}, indent=None, step=1)
def test_finds_what_a_parser_finds(before: dict, elements: list, after: dict, indent: int | None, step: int) -> None:  # type: ignore[type-arg]
    document = {
        **{f"x{k}": v for k, v in before.items()},
        "log": {**before, "entries": elements, **{f"y{k}": v for k, v in after.items()}},
    }
    document["log"].pop("log", None)
    data = json.dumps(document, indent=indent, ensure_ascii=False).encode()
    found = list(Elements(Dripping(data, step), ("log", "entries")))  # type: ignore[arg-type]
    assert [json.loads(raw) for _, raw in found] == elements
    for line, raw in found:
        assert data.split(b"\n")[line - 1].lstrip().startswith(raw.split(b"\n")[0][:1])


@given(elements=st.lists(OBJECTS, min_size=1, max_size=5), cut=st.floats(0, 0.999), step=st.integers(1, 99))
def test_a_cut_document_gives_whole_elements_and_a_fault(elements: list, cut: float, step: int) -> None:  # type: ignore[type-arg]
    data = json.dumps({"log": {"entries": elements}}).encode()
    found: list[object] = []
    scanner = iter(Elements(Dripping(data[: int(cut * len(data))], step), ("log", "entries")))  # type: ignore[arg-type]

    def exhaust() -> None:
        found.extend(json.loads(raw) for _, raw in scanner)

    with pytest.raises(JsonFault) as fault:
        exhaust()
    assert found == elements[: len(found)]
    assert fault.value.line == 1


def test_an_element_that_is_too_large_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_ELEMENT", 1 << 19)
    big = b'{"a": "' + b'x\\"' * (1 << 19) + b'"}'
    data = b'{"log": {"entries": [{"b": 1},' + big + b',{"c": 2}]}}'
    assert [raw for _, raw in Elements(io.BytesIO(data), ("log", "entries"))] == [b'{"b": 1}', b"", b'{"c": 2}']


def test_long_texts_cost_linear_time() -> None:
    def seconds(size: int) -> float:
        data = b'{"log": {"entries": [{"a": "' + b"x" * size + b'"}]}}'
        started = time.process_time()
        assert len(list(Elements(io.BytesIO(data), ("log", "entries")))) == 1
        return time.process_time() - started

    seconds(1 << 20)
    assert seconds(16 << 20) < 40 * max(seconds(1 << 20), 0.002)
