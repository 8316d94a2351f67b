"""The search for values in C agrees with its readable twin, on anything, and costs what it should."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eastwall.discovery import data_values
from eastwall.discovery.data_prefilter import CLASSES
from eastwall.discovery.data_values import BUILTIN, HOLDS, Found, Search, regex

pytestmark = pytest.mark.skipif(not data_values.accelerated, reason="the search in C is not built (no compiler at installation)")

PIECES = st.sampled_from(
    "0 1 7 12 999 1980 4111 11111 111111111 A AB ABC Y Z a b z abcdef AKIA eyJ + ( ) . - / _ : :: = @ < > ' \" \\ x@example.com 10.0.0.1 "
    "+48 password ssn: NHS -----BEGIN AccountKey ://u:p@h é ß 名 \U0001f600 \ud800 ² ٣".split()
) | st.sampled_from([" ", "  ", "\n", "\t", ""])
TEXTS = st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=40)
KEYS = st.sampled_from(
    "id name email phone ssn card password customer address street city items dob lat order_number gtin tags errors note #text a@b.example "
    "4111111111111111 17 client_secret iban user".split()
)
VALUES = st.sampled_from(
    "4111 1111 1111 1111|536-22-1234|marie@example.com|+48 565 665 566|DE89370400440532013000|Marie Curie|Rue de Rivoli 112|Łódź|52.2297"
    "|1980-02-29|AKIAIOSFODNN7EXAMPLE|NHS number: 943 476 5919|hunter22|Abcdef|2001:db8::1|192.0.2.7|BC1QAR0SRRR7XFKVY5L643LYDNW9RE59GTZZWF5MDQ".split(
        "|"
    )
)
SCALARS = st.one_of(
    TEXTS, VALUES, st.integers(-5, 10**20), st.sampled_from([4111111111111111, 1_712_345_678_901, 5e12, 52.2297, 10**30]),
    st.booleans(), st.none(), st.floats(),
)  # fmt: skip
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=7), max_leaves=8)
ROOTS = st.lists(TREES, max_size=5) | st.dictionaries(KEYS, TREES, max_size=7)
WANTED = st.frozensets(st.sampled_from(CLASSES), min_size=1) | st.just(frozenset(CLASSES))
_LABELLED, _LETTERS, _UNKNOWN = 1024, 2048, 4096


@settings(max_examples=800, deadline=None)
@given(TEXTS)
@example("+ (4")
@example("+ ( 4")
@example("1.22.3")
@example("1.2222.3")
@example("12 345-67(89 0")
@example("AB 12 ")
@example("123456A123")
@example("-----BEGIN")
@example("éAccountKey")
def test_what_a_text_holds_is_what_the_expressions_say(text: str) -> None:
    from eastwall.discovery import _values

    held = _values.features(text)
    for name, bits in HOLDS.items():
        assert (held & bits != 0) == (regex(data_values._TRIGGERS[name]).search(text) is not None), name
    assert held & _UNKNOWN or (held & _LETTERS != 0) == (text.isalpha() and len(text) < data_values._WORD)
    if data_values._may_be_labelled(text):
        assert held & _LABELLED


def twins(wanted: frozenset[str], tree: Any, place: str = "", inside: str = "") -> tuple[Found, Found]:
    search = Search(wanted, BUILTIN)
    assert search.walker is not None
    fast: Found = {}
    for _ in range(2):  # with plans and without
        fast.clear()
        search.walk(tree, place, inside, fast)
    slow: Found = {}
    search.walk_slowly(tree, place, inside, slow)
    return fast, slow


@settings(max_examples=400, deadline=None)
@given(ROOTS, WANTED, st.sampled_from(["", "[]", "a.b"]), st.sampled_from(["", "person", "place", "words"]))
@example(
    {"customer": {"name": "Marie", "#text": "536-22-1234"}, "tags": [["x@example.com"], [{"ssn": 536221234}]]},
    frozenset(CLASSES),
    "",
    "",
)
@example([[["a@example.com"]], "b@example.com", {"email": "c@example.com"}], frozenset({"email"}), "", "")
def test_the_walks_agree(tree: Any, wanted: frozenset[str], place: str, inside: str) -> None:
    fast, slow = twins(wanted, tree, place, inside)
    assert fast == slow
    assert list(fast) == list(slow)


def test_depth_is_bounded_alike() -> None:
    for wrap in (lambda inner: {"a": inner}, lambda inner: [inner], lambda inner: {"a": [inner]}):
        for depth in (30, 31, 32, 33, 62, 63, 64, 65, 66, 500):
            tree: Any = "x@example.com"
            for _ in range(depth):
                tree = wrap(tree)  # type: ignore[no-untyped-call]
            fast, slow = twins(frozenset({"email"}), tree)
            assert fast == slow


def test_hits_are_bounded_alike() -> None:
    tree = {f"f{n}": {"email": f"u{n}@example.com", "firstName": "Marie"} for n in range(300)}
    fast, slow = twins(frozenset({"email", "person-name"}), tree)
    assert fast == slow
    assert len(fast) == data_values.MAX_HITS


def test_an_error_in_a_callback_comes_out_and_leaves_the_walker_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(frozenset({"email"}), BUILTIN)

    def fails(*args: object) -> None:
        raise RuntimeError("no")

    with monkeypatch.context() as patched:
        patched.setattr(Search, "value", fails)
        with pytest.raises(RuntimeError):
            search.walk({"a": [{"b": "x@example.com"}]}, "", "", {})
    found: Found = {}
    search.walk({"a": [{"b": "x@example.com"}]}, "", "", found)
    assert list(found) == [("email", "a[].b")]


def test_plans_that_are_forgotten_during_a_walk_are_no_harm() -> None:
    search = Search(frozenset({"email", "person-name"}), BUILTIN)
    tree = {
        "users": [
            {"email": f"u{n}@example.com", f"k{n}": {"firstName": "Ann", "more": {"email": "a@example.com"}}} for n in range(50)
        ]
    }
    expected: Found = {}
    search.walk_slowly(tree, "", "", expected)
    value = search.value

    class Forgetful(Search):
        def value(self, *args: Any) -> None:
            self.forget()
            value(*args)

    forgetful = Forgetful(search.wanted, BUILTIN)
    for _ in range(3):
        found: Found = {}
        forgetful.walk(tree, "", "", found)
        assert found == expected


def test_bodies_without_end_of_key_combinations_take_no_memory_without_end() -> None:
    classes = data_values.DataClasses()
    search = classes.search(frozenset({"email"}))
    tracemalloc.start()
    sizes = []
    for turn in range(4):
        for number in range(4_000):
            search.walk({f"key{turn}x{number}": {"email": "a@example.com"}}, "", "", {})
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert max(sizes) < 40e6
    assert len(search.plans) <= data_values.MAX_PLANS


ADVERSARIAL: dict[str, Callable[[int], str]] = {
    "digits": lambda n: "4" * n,
    "grouped digits": lambda n: "4111 " * (n // 5),
    "many @": lambda n: "@" * n,
    "addresses without end": lambda n: "a." * (n // 2) + "@",
    "near addresses": lambda n: "a@a." * (n // 4),
    "base64": lambda n: "Ab3+/" * (n // 5),
    "base64url": lambda n: "eyJ" + "Ab3_-" * (n // 5),
    "JWTs without end": lambda n: "eyJhbGciOiJ." * (n // 12),
    "capitals and digits": lambda n: "AB12" * (n // 4),
    "IBAN groups": lambda n: "DE12 ABCD " * (n // 10),
    "hex and colons": lambda n: "ab:" * (n // 3),
    "dots and digits": lambda n: "1." * (n // 2),
    "dashes": lambda n: "-" * n,
    "key headers": lambda n: "-----BEGIN PRIVATE KEY-----" * (n // 27),
    "URLs": lambda n: "a://b:" * (n // 6),
    "plus signs": lambda n: "+1 (" * (n // 4),
    "labels": lambda n: "ssn: " * (n // 5),
    "passwords": lambda n: "password=" * (n // 9),
    "angle brackets": lambda n: "P<<<" * (n // 4),
    "spaces": lambda n: " " * n,
    "letters": lambda n: "x" * n,
    "phone pieces": lambda n: "(202) 555-" * (n // 10),
}


@pytest.mark.parametrize("name", sorted(ADVERSARIAL))
def test_the_search_is_linear_in_hostile_texts(name: str) -> None:
    search = Search(frozenset(CLASSES), BUILTIN)

    def spent(size: int) -> float:
        tree = {"note": ADVERSARIAL[name](size), "items": [ADVERSARIAL[name](size // 2)]}
        best = 1e9
        for _ in range(3):
            began = time.process_time()
            search.walk(tree, "", "", {})
            best = min(best, time.process_time() - began)
        return best

    spent(1_000)
    small, large = spent(16_000), spent(128_000)
    assert large < 0.002 + 8 * 3 * small, (small, large)
    assert large < 0.5, large
