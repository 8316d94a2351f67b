"""What a repetition means, and how it is told."""

from __future__ import annotations

import pytest

from eastwall.detections.repetition import abusive, often


@pytest.mark.parametrize(("things", "times", "expected"), [(1_000, 1, False), (12, 2, True), (5, 2, False), (5, 5, True)])
def test_one_retry_is_honest_and_many_on_few_are_not(things: int, times: int, expected: bool) -> None:
    assert abusive(things, times) is expected


def test_how_often() -> None:
    assert [often(1), often(2), often(1_200)] == ["once", "2 times", "1,200 times"]
