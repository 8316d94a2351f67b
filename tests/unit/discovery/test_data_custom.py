"""Classes of the user's own: what they find, that the prefilter never hides a value, and that no pattern can be slow."""

from __future__ import annotations

import json
import time
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery.data_classes import CLASSES, compile_classes, find, redact
from eastwall.discovery.data_custom import MAX_WORDS, SENSITIVITIES, VALIDATORS, compile_custom, pattern_problem, problems
from eastwall.model.operation import Operation
from eastwall.model.snapshot import CustomDataClass
from eastwall.policy.kinds import DataClass

BADGE = CustomDataClass("badge", patterns=(r"\bBDG-[0-9]{6}\b",))
TICKER = CustomDataClass("ticker", patterns=("^[A-Z]{3}$",))
PROJECT = CustomDataClass("project", words=("Bluebird", "Grüner Salat", "C++17"), sensitivity="critical")
STAFF = CustomDataClass("staff-no", names=("*staff_no", "employeeNumber"), validator="luhn")
NOTE = CustomDataClass("remark", names=("*_remark",))
ALL = (BADGE, TICKER, PROJECT, STAFF, NOTE)


def operation(body: Any, raw: bytes = b"") -> Operation:
    data = raw or json.dumps(body, ensure_ascii=False).encode()
    return Operation("rest", "POST", ("x",), "/x", body=body, body_kind="json", raw_body=data)


def found(body: Any, *custom: CustomDataClass, raw: bytes = b"") -> set[tuple[str, str]]:
    return {(hit.data_class, hit.place) for hit in find(operation(body, raw), compile_classes(custom or ALL))}


def test_patterns_words_and_names() -> None:
    body = {
        "note": "badge BDG-123456 of bluebird",
        "code": "ABC",
        "text": "ABC and more",
        "salad": "ein grüner salat",
        "lang": "we use c++17.",
        "main_staff_no": 79927398713,
        "employeenumber": "7992-7398-714",
        "my_remark": "anything",
        "number": "79927398713",
    }
    assert found(body) == {
        ("badge", "note"), ("project", "note"), ("ticker", "code"), ("project", "salad"), ("project", "lang"), ("staff-no", "main_staff_no"),
        ("remark", "my_remark"),
    }  # fmt: skip


def test_confidence_mask_and_redaction() -> None:
    classes = compile_classes(ALL)
    body = {"a": "badge BDG-123456 here", "x_remark": "anything", "staff_no": "79927398713", "mail": "a@example.org"}
    hits = {hit.data_class: hit for hit in find(operation(body), classes)}
    assert (hits["badge"].confidence, hits["remark"].confidence, hits["staff-no"].confidence) == (0.9, 0.6, 1.0)
    assert hits["badge"].masked == "***-**3456"
    out = redact(operation(body), ["badge", "remark", "staff-no"], "redact", b"k" * 16, classes)
    assert json.loads(out or b"") == {
        "a": "badge [redacted] here",
        "x_remark": "[redacted]",
        "staff_no": "[redacted]",
        "mail": "a@example.org",
    }
    assert classes.sensitivity["project"] == "critical"
    assert classes.names == (*CLASSES, "badge", "ticker", "project", "staff-no", "remark")


def test_escapes_and_other_letters_do_not_hide_a_value() -> None:
    assert found({"a": "grüner salat"}, PROJECT, raw=b'{"a":"gr\\u00fcner salat"}') == {("project", "a")}
    assert found({"a/b": 'x"BDG-123456"'}, BADGE) == {("badge", "a/b")}
    assert found({"code": "ABC", "n": 'q"\\'}, TICKER) == {("ticker", "code")}


def test_equal_sets_are_compiled_once() -> None:
    assert compile_classes(ALL) is compile_classes(tuple(ALL))
    assert compile_classes() is compile_classes(())


@pytest.mark.parametrize(
    "pattern", ["(?=a)b", r"(a)\1", "", "x*", ".*", "(", r"\Aabc", "(?:(?:a{1,500}){1,500}b){1,500}", "a" * 1_001]
)
def test_patterns_that_are_refused(pattern: str) -> None:
    assert pattern_problem(pattern) is not None
    with pytest.raises(ValueError, match="data class `bad`: ") as raised:
        compile_classes([CustomDataClass("bad", patterns=(pattern,))])
    assert "\n" not in str(raised.value)


def test_what_else_is_refused() -> None:
    def said(**fields: Any) -> list[str]:
        return [message for _, message, _ in problems(CustomDataClass("x", **fields))]

    assert said() == ["neither `patterns` nor `words` nor `names`, so nothing is ever of the class"]
    assert said(words=tuple(f"word{n}" for n in range(MAX_WORDS + 1))) == [
        f"{MAX_WORDS + 1} words, at most {MAX_WORDS} are allowed"
    ]
    assert said(names=("*",))[0].startswith("name `*` must have")
    assert said(words=("a\x1b[2J",))[0] == "word `a?[2J` must have 2 to 200 printable characters"
    assert said(words=("ok",), validator="nope") == ["validator `nope` is not known"]
    assert said(words=("ok",), sensitivity="huge") == ["sensitivity `huge` is not known"]


def test_what_is_catastrophic_elsewhere_is_linear_here() -> None:
    evil = compile_custom(CustomDataClass("evil", patterns=("(a+)+c", "(x|xx)+y")))
    text = "a" * 50_000 + "x" * 50_000
    begin = time.perf_counter()
    assert evil.spans(text) == []
    assert time.perf_counter() - begin < 30


def test_a_dictionary_of_the_greatest_size_is_compiled_at_once() -> None:
    begin = time.perf_counter()
    classes = compile_classes((CustomDataClass("many", words=tuple(f"word number {n} of us" for n in range(MAX_WORDS))),))
    assert time.perf_counter() - begin < 30
    (hit,) = find(operation({"a": "the Word Number 4999 of us, and others"}), classes)
    assert (hit.data_class, hit.place, hit.masked) == ("many", "a", "**** ****** **** *f us")


@pytest.mark.parametrize("name", sorted(VALIDATORS))
def test_validators_take_any_text(name: str) -> None:
    for text in ("", "0", "X", "ABC", "٣", "1" * 60, "79927398713", "DE89370400440532013000", "9434765919", "é"):
        assert VALIDATORS[name](text) in (True, False)


VALUES = st.recursive(
    st.one_of(
        st.integers(), st.booleans(), st.none(), st.text(max_size=8),
        st.sampled_from(["BDG-123456", "xBDG-123456", "ABC", "ABCD", "bluebird", "GRÜNER SALAT", "c++17", 'a"b\\c', "79927398713", 79927398713]),
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["staff_no", "STAFF_NO", "q_remark", "employeeNumber"]), inner, max_size=4)
    ),
    max_leaves=10,
)  # fmt: skip


@given(VALUES, st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_prefilter_never_hides_a_value(body: Any, ascii_only: bool) -> None:
    if not isinstance(body, (dict, list)):
        return
    try:
        raw = json.dumps(body, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    classes = compile_classes(ALL)
    slow: dict[tuple[str, str], tuple[str, float]] = {}
    classes.search(frozenset(classes.names)).walk(body, "", "", slow)
    assert {key for key in slow if key[0] not in CLASSES} == {key for key in found(body, raw=raw) if key[0] not in CLASSES}


def test_the_policy_kind_offers_just_these_validators_and_sensitivities() -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(DataClass)}
    assert {name for name in get_args(get_args(fields["validator"])[0]) if name} == set(VALIDATORS)
    assert get_args(fields["sensitivity"]) == SENSITIVITIES


@pytest.mark.parametrize("pattern", [r"[a-c]+(?:-\.)", r"(a+)+c", r"(?:a|aa)+b", r"(?:[a-c]+\.)+x", r"(?:x{1,3})+y"])
def test_expressions_on_which_hyperscans_search_for_beginnings_crashes(pattern: str) -> None:
    """In a process of its own each of these ended with a segmentation fault."""
    custom = compile_custom(CustomDataClass(name="own", patterns=(pattern,)))
    for text in ("aab" * 1000, "ax" * 2000, "abc-x1.aa " * 300, "xxxy aac aab abc.x abc-. "):
        for start, end in custom.spans(text):
            assert 0 <= start < end <= len(text)


def test_a_value_is_the_longest_from_its_first_character_and_none_overlap() -> None:
    custom = compile_custom(CustomDataClass(name="own", patterns=(r"[0-9]{4}", r"ID-[a-z]+")))
    assert custom.spans("12345678 ż ID-abc, 99") == [(0, 4), (4, 8), (11, 17)]
