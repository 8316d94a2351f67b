"""Rules of the user's own: what one matches, what is refused, and that time stays linear whatever the author wrote."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from eastwall.discovery import content_rules
from eastwall.discovery.content_rules import MAX_EXPANDED, ContentRules, entropy, expanded, pattern_problem, problems
from eastwall.model.content_rule import ContentRule

HOST = ContentRule(id="pack-a/host", title="host", pattern=r"\b[a-z0-9-]{1,40}\.corp\.example\b")
VOUCHER = ContentRule(
    id="pack-a/voucher", title="voucher", pattern=r"\bVC-[0-9]{12}\b", caseful=True, confirm="[0-9]{12}", validator="luhn"
)
TOKEN = ContentRule(id="pack-a/token", title="token", pattern=r"tok_[A-Za-z0-9]{20,40}", min_entropy=3.5)


def test_the_pattern_alone() -> None:
    rules = ContentRules((HOST,))
    assert rules.hits("see DB1.corp.example, please")[0].part.endswith("DB1.corp.example")
    assert rules.hits("www.example") == []
    assert rules.suspected(b"a\ndb1.corp.example\nb") == {0}


def test_what_is_asked_besides_is_asked_of_what_was_matched() -> None:
    rules = ContentRules((HOST, VOUCHER, TOKEN))
    assert [hit.rule for hit in rules.hits("VC-450000000007")] == [1]
    assert rules.hits("VC-450000000008") == []
    assert rules.hits("vc-450000000007") == []
    # The second one of a text is looked at when the first does not agree.
    assert rules.hits("VC-450000000008 VC-450000000007")[0].part == "VC-450000000007"
    assert rules.hits("tok_aaaaaaaaaaaaaaaaaaaaaaaa") == []
    assert [hit.rule for hit in rules.hits("tok_x8Kq2LmZ0pRt5VwYb3Nc7Df")] == [2]
    assert rules.hits("VC-450000000007 db1.corp.example", frozenset({0})) == rules.hits("VC-450000000007 db1.corp.example")[:1]


def test_letters_beyond_ascii() -> None:
    rules = ContentRules((ContentRule(id="pack-a/ru", title="t", pattern="секрет[ыа]"), HOST))
    assert [hit.rule for hit in rules.hits("Наши СЕКРЕТЫ тут, zażółć db1.corp.example")] == [0, 1]
    assert rules.suspected(b"\xff\xfe db1.corp.example \xff") == {1}


def test_saved_rules_are_taken_only_for_the_same_rules() -> None:
    made = ContentRules((HOST, VOUCHER))
    content_rules._compiled.cache_clear()
    again = ContentRules((HOST, VOUCHER), made.save())
    assert not again.compiled_here
    assert [hit.rule for hit in again.hits("VC-450000000007 x.corp.example")] == [0, 1]
    # A title does not make other databases; a pattern does, and so does a damaged copy.
    assert not ContentRules((replace(HOST, title="other"), VOUCHER), made.save()).compiled_here
    assert ContentRules((replace(HOST, caseful=True), VOUCHER), made.save()).compiled_here
    damaged = ContentRules((HOST, VOUCHER), made.save()[:-9] + b"x" * 9)
    assert damaged.compiled_here
    assert [hit.rule for hit in damaged.hits("VC-450000000007")] == [1]
    assert ContentRules(()).save() == b""


@pytest.mark.parametrize(
    ("pattern", "places"),
    [("abc", 3), ("a{3}", 3), ("(ab){1,50}", 100), ("((a{10}){10}){10}", 1000), ("[a-z{]{5}x", 6), (r"\{2,3}", 5), ("a{2,}", 2), ("", 0)],
)  # fmt: skip
def test_places_with_repeats_written_out(pattern: str, places: int) -> None:
    assert expanded(pattern) == places


def test_what_is_too_large_is_refused_before_it_is_compiled() -> None:
    began = time.perf_counter()
    assert f"{MAX_EXPANDED:,}" in (pattern_problem("(?:a{1,99999}b){1,99999}") or ("", ""))[0]
    with pytest.raises(ValueError, match="too large"):
        ContentRules((replace(HOST, pattern="(?:a{1,500}b){1,500}"),))
    assert time.perf_counter() - began < 1


def test_examples_are_tried() -> None:
    wrong = replace(HOST, matches=("db1.corp.example", "corp.example"), near_misses=("www.example", "a.corp.example"))
    assert [place for place, _, _ in problems(wrong)] == ["matches[1]", "nearMisses[1]"]
    assert problems(replace(HOST, matches=("db1.corp.example",), near_misses=("www.example",))) == []


def test_the_longest_part_is_asked() -> None:
    card = ContentRule(id="pack-a/card", title="t", pattern="[0-9]{13,19}", validator="luhn")
    rules = ContentRules((card, replace(TOKEN, min_entropy=4.0)))
    assert rules.hits("no 4111111111111111.")[0].part == "4111111111111111"
    assert rules.hits("no 4111111111111112.") == []
    # All forty characters have more than four bits each, the last twenty have not.
    assert rules.hits("tok_x8Kq2LmZ0pRt5VwYb3NcaAaAaAaAaAaAaAaAaAaA") == []
    assert rules.hits("ż tok_x8Kq2LmZ0pRt5VwYb3Nc7Df ż")[0].part == "tok_x8Kq2LmZ0pRt5VwYb3Nc7Df"


def test_when_there_is_too_much_to_confirm_it_is_told_and_not_dropped() -> None:
    rules, budget = ContentRules((VOUCHER,)), content_rules.Budget(3)
    text = "VC-450000000008 " * 5
    assert rules.hits(text) == []
    (hit,) = rules.hits(text, None, budget)
    assert not hit.confirmed
    assert budget.left == 0


@pytest.mark.parametrize("pattern", [r"(a+)+x", r"(?:a|aa)+b", r"(x+x+)+y", r".*.*.*=.*", r"([a-z]+[0-9]*)*!"])
def test_time_is_linear_in_the_text(pattern: str) -> None:
    """Patterns that keep a backtracking engine busy for hours."""
    rules = ContentRules((ContentRule(id="pack-a/x", title="t", pattern=pattern, confirm="[a-z]", min_entropy=0.1),))

    def spent(size: int) -> float:
        text = ("ax" * size)[:size]
        times = []
        for _ in range(5):
            began = time.process_time()
            rules.hits(text)
            times.append(time.process_time() - began)
        return min(times)

    assert spent(64_000) < 40 * spent(4_000) + 0.1


@given(st.text(max_size=300))
def test_any_text_is_judged(text: str) -> None:
    for hit in ContentRules((HOST, VOUCHER, TOKEN)).hits(text):
        assert hit.part


@given(st.text(alphabet=st.sampled_from("ab{}[]()\\|?*+.^$0123456789,é:=!<"), min_size=1, max_size=40))
def test_any_pattern_is_compiled_or_refused(pattern: str) -> None:
    rule = ContentRule(id="pack-a/x", title="t", pattern=pattern, matches=("a",), near_misses=("b",))
    found = problems(rule)
    assert all("\n" not in message and place for place, message, _ in found)
    if not any(place == "pattern" for place, _, _ in found):
        ContentRules((rule,)).hits("aaaa bbbb (a)")


def test_entropy_is_shannons() -> None:
    assert entropy("") == 0
    assert entropy("aaaa") == 0
    assert entropy("abcd") == 2
    assert entropy("0123456789abcdef") == 4


def test_threads_do_not_share_scratch() -> None:
    rules = ContentRules((HOST, VOUCHER))
    failures: list[str] = []

    def work() -> None:
        for _ in range(300):
            if [hit.rule for hit in rules.hits("VC-450000000007 db1.corp.example")] != [0, 1]:
                failures.append("wrong")  # noqa: PERF401 - a list for all threads

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
