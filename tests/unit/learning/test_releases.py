"""A release that answers name is a deploy."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.learning.adapting_shop import DAY, Shop

from eastwall.learning.baselines import Baselines
from eastwall.learning.releases import MAX_IN_A_DAY, MAX_RELEASES, Releases
from eastwall.runtime.engine import _release


def told(made: Shop) -> list[str]:
    return [act.reason for act in made.learner.baselines.acts("shop") if act.kind == "deployed"]


def test_a_version_header_begins_a_deploy(automata: dict[str, bytes]) -> None:
    made = Shop(12, automata)
    made.headers = {"x-app-version": "1.0"}
    made.ordinary(300, DAY / 300, every=100)
    assert told(made) == [], "the first release is none"
    made.headers = {"x-app-version": "2.0"}
    made.call(made.users[0], "GET", "/catalogue")
    made.publish()
    assert told(made) == [], "one answer"
    began = made.time
    made.ordinary(40, 5.0, every=10)
    assert told(made) == ["answers name a new release: x-app-version 2.0"]
    assert abs(made.learner.baselines.summary("shop")["deployed"] - began) < 30
    made.headers = {"x-app-version": "1.0"}
    made.ordinary(40, 5.0, every=10)
    assert len(told(made)) == 1, "back to the former one"
    state = made.learner.baselines
    assert Baselines.load(state.dump()).dump() == state.dump()


def test_a_version_that_the_caller_sent_is_an_echo() -> None:
    assert _release({"x-version": "9", "x-build": "7"}, {"x-version": "9"}) == "x-build 7"
    assert _release({"x-version": "9"}, {"x-version": "8"}) == "x-version 9"
    assert _release({"x-api-version": "2", "x-version": ""}, {}) == ""
    assert len(_release({"x-release": "v" * 500}, {})) == 80


def test_what_changes_with_every_answer_is_no_version() -> None:
    releases = Releases()
    for number in range(MAX_IN_A_DAY + 2):
        for at in range(10):
            releases.note(f"x-build {number}", at, 1_000.0 + 60 * number + at)
    assert releases.begun(0.0) is None
    for at in range(10):
        releases.note("x-build last", at, 1_000.0 + 2 * DAY)
    assert releases.begun(0.0) == ("x-build last", 1_000.0 + 2 * DAY)
    assert releases.begun(1_000.0 + 2 * DAY) is None
    for number in range(5_000):
        releases.note(f"x-build made-up-{number}", 1, 9_000.0 + number)
    assert len(releases.seen) == MAX_RELEASES


@settings(max_examples=40, deadline=None)
@given(notes=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.floats(1, 1e6)), max_size=60), order=st.randoms())
def test_shards_merge_to_one_stream(notes: list[tuple[str, int, float]], order: random.Random) -> None:
    whole, parts = Releases(), [Releases(), Releases()]
    for note in notes:
        whole.note(*note)
    mixed = list(notes)
    order.shuffle(mixed)
    for at, note in enumerate(mixed):
        parts[at % 2].note(*note)
    parts[0].merge(parts[1])
    assert parts[0].dump() == whole.dump() == Releases.load(whole.dump()).dump()
    assert parts[0].begun(0.0) == whole.begun(0.0)
