"""Identifiers of answers are recognised in later paths; words under other names are not."""

from __future__ import annotations

from eastwall.discovery.echo import MAX_ECHOES, MAX_GIVEN, Echoes, identifying


def test_values_under_identifying_names_only() -> None:
    answer = {"items": [{"id": 17, "slug": "quiet-river", "status": "active", "price": 12}, {"id": 18, "note": "id"}], "total": 2}
    assert identifying(answer) == [*["17", "quiet-river"], "18"]


def test_bounded_and_any_tree() -> None:
    assert len(identifying([{"id": n} for n in range(5000)])) == MAX_GIVEN
    assert identifying(None) == identifying("text") == identifying([[[]]]) == []
    assert identifying({"id": "x" * 65, "order_id": 10**30, "key": True}) == []
    deep: object = {"id": 1}
    for _ in range(10_000):
        deep = [deep]
    assert identifying(deep) == []  # beyond the bound of nodes


def test_segments_that_an_answer_gave() -> None:
    echoes = Echoes()
    assert echoes.segments(("orders", "17")) == ()
    echoes.add(["17", "quiet-river"])
    assert echoes.segments(("orders", "17", "items", "quiet-river")) == (1, 3)


def test_old_echoes_leave() -> None:
    echoes = Echoes()
    echoes.add(["first"])
    for start in range(0, 3 * MAX_ECHOES, 1000):
        echoes.add([f"v{n}" for n in range(start, start + 1000)])
    assert len(echoes) <= 2 * MAX_ECHOES + 2000
    assert echoes.segments(("first",)) == ()
