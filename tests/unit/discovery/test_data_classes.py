"""The six data classes: what is found, what is not, and that the automaton never hides what the expressions would find."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eastwall.discovery.data_checks import luhn
from eastwall.discovery.data_classes import CLASSES, REDACTED, STYLES, find, redact
from eastwall.discovery.data_forms import FORMS
from eastwall.discovery.data_values import Found, Search, automaton
from eastwall.model.operation import Operation

KEY = b"0123456789abcdef"


def message(body: Any, kind: str = "json", raw: bytes | None = None, query: tuple[tuple[str, str], ...] = ()) -> Operation:
    if raw is None:
        raw = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass") if kind == "json" else str(body).encode()
    return Operation(
        protocol="rest", method="POST", segments=("x",), path="/x", query=query, body=body, body_kind=kind, raw_body=raw
    )


def classes(body: Any, **rest: Any) -> set[tuple[str, str]]:
    return {(hit.data_class, hit.place) for hit in find(message(body, **rest))}


FOUND = [
    ("pan", "4111111111111111"),
    ("pan", "4111 1111 1111 1111"),
    ("pan", "4111-1111-1111-1111"),
    ("pan", "378282246310005"),
    ("pan", "3782 822463 10005"),
    ("pan", "5555555555554444"),
    ("pan", "2223003122003222"),
    ("pan", "6011111111111117"),
    ("pan", "3530111333300000"),
    ("pan", "paid by 4242424242424242, thanks"),
    ("ssn", "536-22-1234"),
    ("ssn", "her number (536 22 1234) is known"),
    ("iban", "DE89370400440532013000"),
    ("iban", "GB82 WEST 1234 5698 7654 32"),
    ("iban", "NO93 8601 1117 947"),
    ("iban", "FR1420041010050500013M02606"),
    ("email", "a.b+c@example.co.uk"),
    ("email", "write to <jane@example.org>."),
    ("phone", "+49 30 901820"),
    ("phone", "+14155552671"),
    ("phone", "(415) 555-2671"),
    ("phone", "call 415-555-2671 now"),
    ("secret", "AKIAIOSFODNN7EXAMPLE"),
    ("secret", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
    ("secret", "xoxb-123456789012-abcdefGHIJkl"),
    ("secret", "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"),
    ("secret", "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY"),
    ("secret", "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"),
    ("secret", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"),
]


@pytest.mark.parametrize(("data_class", "text"), FOUND)
def test_finds_a_value_in_a_string(data_class: str, text: str) -> None:
    assert classes({"note": text}) == {(data_class, "note")}
    assert classes(text, kind="text", raw=text.encode()) == {(data_class, "body")}


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # fails Luhn
        "1234567812345670",  # passes Luhn, no issuer
        "0000000000000000",
        "1763809351000",  # milliseconds
        "order 1234-5678-9012-3456",
        "4111 1111-1111 1111",  # mixed groups are no card
        "a4111111111111111b",
        "41111111-1111-4111-8111-111111111111",
        "2026-11-22T11:02:31.123456Z",
        "536-00-1234",
        "666-22-1234",
        "900-22-1234",
        "078-05-1120",
        "12536-22-12345",
        "DE88370400440532013000",  # checksum
        "DE8937040044053201300",  # length
        "QQ89370400440532013000",  # no such country
        "a@b",
        "user@host",
        "@handle",
        "https://user@example.com/x",
        "3.14.15",
        "555-1234",
        "1.415.555.2671.9",
        "AKIAAAAAAAAAAAAAAAAA",
        "AKIA1234",
        "eyJub3RoaW5nIjoxfQ.eyJhIjoxMjM0NTZ9.c2lnbmF0dXJl",  # no JOSE header
        "-----BEGIN CERTIFICATE-----",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ],
)
def test_leaves_what_only_looks_like_it(text: str) -> None:
    assert classes({"note": text}) == set()


def test_finds_numbers_and_names_the_place() -> None:
    body = {
        "cards": [{"n": 4111111111111111}, {"n": 17}],
        "by": {"4b3c6f7e-0000-4000-8000-000000000000": {"mail": "a@example.com"}},
    }
    assert classes(body) == {("pan", "cards[].n"), ("email", "by.{}.mail")}


def test_a_name_makes_bare_digits_a_class() -> None:
    assert classes({"ssn": "536221234", "customer_phone": "4155552671", "tel": 4155552671}) == {
        ("ssn", "ssn"),
        ("phone", "customer_phone"),
        ("phone", "tel"),
    }
    assert classes({"order": "536221234", "reference": 4155552671, "hotel": "4155552671"}) == set()


def test_finds_values_in_keys_and_in_the_query() -> None:
    assert classes({"a@example.com": 1}) == {("email", "{}")}
    assert classes(None, kind="none", raw=b"", query=(("q", "x"), ("mail", "a@example.com"))) == {("email", "query.mail")}


def test_escapes_do_not_hide_a_value() -> None:
    assert classes({"a": "jane@example.com"}, raw=b'{"a":"jane\\u0040example.com"}') == {("email", "a")}
    assert classes({"a": "4111 1111 1111 1111"}, kind="form", raw=b"a=4111+1111%201111+1111") == {("pan", "a")}


def test_a_body_that_cannot_be_decoded_is_read_as_text() -> None:
    assert classes(None, raw=b'{"card": "4111111111111111", ') == {("pan", "body")}


def test_masks_keep_little() -> None:
    hits = {hit.data_class: hit.masked for _, text in FOUND for hit in find(message({"x": text}))}
    assert hits["pan"].endswith(("1111", "4242"))
    for _, text in FOUND:
        for hit in find(message({"x": text})):
            assert text not in hit.masked
            assert hit.masked != text


# Lookarounds keep hypothesis from generating from the expressions themselves, so the same constructs stand here without them.
SHAPES = st.one_of(
    st.from_regex(r"\A[2-6][0-9]{12,18}\Z"),
    st.from_regex(r"\A[2-6][0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}\Z"),
    st.from_regex(r"\A[0-8][0-9]{2}([- ])[0-9]{2}\1[0-9]{4}\Z"),
    st.from_regex(r"\A[A-Z]{2}[0-9]{2}[0-9A-Z]{11,30}\Z"),
    st.from_regex(r"\A[A-Z]{2}[0-9]{2}(?: [0-9A-Z]{4}){2,7}(?: [0-9A-Z]{1,3})?\Z"),
    st.from_regex(r"\A[0-9A-Za-z_+-]{1,8}@[0-9A-Za-z]{1,8}\.[A-Za-z]{2,4}\Z"),
    st.from_regex(r"\A\+[ (]{0,2}[1-9](?:[ .()-]{0,2}[0-9]){7,14}\Z"),
    st.from_regex(r"\A(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}\Z"),
    st.sampled_from([text for _, text in FOUND]),
)


@given(before=st.text(max_size=5), value=SHAPES, after=st.text(max_size=5))
@settings(max_examples=400, deadline=None)
def test_the_automaton_hits_whatever_an_expression_matches(before: str, value: str, after: str) -> None:
    text = before + value + after
    hits = set(automaton().classes(text.encode("utf-8", "surrogatepass")))
    for form in FORMS:
        if form.pattern.search(text):
            assert form.data_class in hits


NAMED_VALUES = st.sampled_from(
    ["Anna Lee", "Main Street 5", "Leeds", "1980-02-29", 19800229, "52.5201", 13.4051, "hunter2!", "9434765919", "111222333", 536221234,
     "Type 2 diabetes", "8Zq0aVt3nLw5xYb7KcRd", "DEUTDEFF", "10115", "SSN: 536221234"]
)  # fmt: skip
TELLING = st.sampled_from(
    ["phone", "ssn", "firstName", "user", "customers", "address", "street", "name", "email", "dob", "lat", "password", "nhsNumber", "tax_id",
     "#text", "errors", "diagnosis", "zip", "apiKey", "bic"]
)  # fmt: skip
"""Names that make their values ones of a class, or what stands under them."""
JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20), SHAPES, NAMED_VALUES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12) | TELLING, inner, max_size=4),
    max_leaves=12,
)


def slow_find(body: Any) -> set[tuple[str, str]]:
    """The obvious twin: every class, no prefilter."""
    found: Found = {}
    search = Search(CLASSES)
    if isinstance(body, (dict, list)):
        search.walk(body, "", "", found)
    else:
        search.value(body, "body", search.entry(""), found)
    return set(found)


@given(JSON_VALUES)
@example({"a": "\\u0040", "b": "x@example.com"})
@settings(max_examples=300, deadline=None)
def test_find_agrees_with_its_slow_twin(body: Any) -> None:
    try:
        raw = msgspec.json.encode(body)
    except UnicodeEncodeError:
        return
    if body is None:
        return
    assert classes(body, raw=raw) == slow_find(body)


def leaves(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{place}.{key}")
    elif isinstance(node, list):
        for at, value in enumerate(node):
            yield from leaves(value, f"{place}[{at}]")
    else:
        yield place, node


BODY = {
    "id": 123456789012345678901234567890,
    "price": 1.1,
    "card": "4111 1111 1111 1111",
    "number": 4111111111111111,
    "text": "mail jane@example.com or call +49 30 901820 about order 4711",
    "ok": [True, None, "plain", {"iban": "DE89370400440532013000"}],
    "phone": "4155552671",
    "jane@example.com": {"seen": 1},
}


@pytest.mark.parametrize("style", STYLES)
def test_redaction_leaves_no_value_and_changes_nothing_else(style: str) -> None:
    operation = message(BODY)
    out = redact(operation, CLASSES, style, KEY)
    assert out is not None
    again = message(json.loads(out), raw=out)
    assert find(again) == () or style in ("mask", "format")
    for value in ("4111 1111", "4111111111111111", "jane@example", "901820", "DE8937", "4155552671"):
        assert value not in out.decode()
    tree = json.loads(out)
    assert tree["id"] == BODY["id"]
    assert tree["price"] == 1.1
    assert tree["ok"][:3] == [True, None, "plain"]
    if style != "drop":
        assert list(tree)[:7] == list(BODY)[:7]
        assert tree["text"].endswith("about order 4711")
        assert tree["text"].startswith("mail ")


def test_redaction_keeps_number_texts_exactly() -> None:
    raw = b'{"a":1.10,"b":1E400,"c":-0.0,"d":100000000000000000000001,"e":"jane@example.com"}'
    out = redact(message(json.loads(raw), raw=raw), ["email"], "redact", KEY)
    assert out == b'{"a":1.10,"b":1E400,"c":-0.0,"d":100000000000000000000001,"e":"[redacted]"}'


def test_redaction_of_chosen_classes_only() -> None:
    out = redact(message(BODY), ["pan"], "redact", KEY)
    assert out is not None
    tree = json.loads(out)
    assert tree["card"] == REDACTED
    assert tree["number"] == REDACTED
    assert "jane@example.com" in tree["text"]


def test_nothing_to_replace_is_none() -> None:
    assert redact(message({"a": 1}), CLASSES, "mask", KEY) is None
    assert redact(message({"note": "4111111111111112"}), CLASSES, "mask", KEY) is None
    assert redact(message(BODY), [], "mask", KEY) is None


def test_unknown_style_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown redaction style `blur`"):
        redact(message(BODY), CLASSES, "blur", KEY)


def test_equal_values_hash_equally_and_keyed() -> None:
    body = {"a": "jane@example.com", "b": "jane@example.com", "c": "joe@example.com"}
    first = json.loads(redact(message(body), ["email"], "hash", KEY) or b"")
    other = json.loads(redact(message(body), ["email"], "hash", b"another") or b"")
    assert first["a"] == first["b"] != first["c"]
    assert first["a"].startswith("email_")
    assert first["a"] != other["a"]


def test_keys_that_look_the_same_after_redaction_stay_apart() -> None:
    out = redact(message({"a@example.com": 1, "b@example.com": 2}), ["email"], "redact", KEY)
    assert json.loads(out or b"") == {"[redacted]": 1, "[redacted]2": 2}


def test_forms_text_multipart_and_broken_json() -> None:
    form = message({"card": "4111 1111 1111 1111", "x": "ä b"}, kind="form", raw=b"card=4111+1111+1111+1111&x=%C3%A4+b")
    assert redact(form, CLASSES, "redact", KEY) == b"card=%5Bredacted%5D&x=%C3%A4+b"
    assert redact(form, CLASSES, "drop", KEY) == b"x=%C3%A4+b"
    text = message("to jane@example.com\n", kind="text", raw=b"to jane@example.com\n")
    assert redact(text, CLASSES, "redact", KEY) == b"to [redacted]\n"
    raw = b'--b\r\nContent-Disposition: form-data; name="phone"\r\n\r\n4155552671\r\n--b--\r\n'
    parts = message({"phone": "4155552671"}, kind="multipart", raw=raw)
    assert redact(parts, CLASSES, "redact", KEY) == raw.replace(b"4155552671", b"[redacted]")
    broken = message(None, raw=b'{"a": "jane@example.com", \xff')
    assert redact(broken, CLASSES, "redact", KEY) == b'{"a": "[redacted]", \xff'


@given(JSON_VALUES, st.sampled_from(STYLES))
@settings(max_examples=200, deadline=None)
def test_redacted_json_is_json_without_the_values(body: Any, style: str) -> None:
    try:
        raw = msgspec.json.encode(body)
    except UnicodeEncodeError:
        return
    out = redact(message(body, raw=raw), CLASSES, style, KEY)
    if out is None:
        assert body is None or find(message(body, raw=raw)) == ()
        return
    tree = msgspec.json.decode(out)
    if style == "redact":
        assert find(message(tree, raw=out)) == ()


@pytest.mark.parametrize(
    "text",
    [
        "eyJ" * 100_000,
        "-eyJaaaaaaaaaa.eyJ" * 20_000,
        "-----BEGIN PRIVATE KEY-----" * 20_000,
        "a@" * 200_000,
        "a." * 200_000 + "@",
        "+1" * 200_000,
        "4 " * 200_000,
        "DE12 " * 100_000,
        "1.2-3(" * 100_000,
    ],
)
def test_hostile_text_is_searched_in_linear_time(text: str) -> None:
    # No clock: a quadratic search of these would outlast the test's time limit by far.
    find(message({"note": text}))
    redact(message({"note": text}), CLASSES, "mask", KEY)


def test_threads_do_not_share_scratch_space() -> None:
    operation = message({"rows": [{"n": 4111111111111111, "t": "x" * 2000}] * 20})
    wrong: list[Any] = []

    def work() -> None:
        for _ in range(200):
            got = find(operation)
            if [(hit.data_class, hit.place) for hit in got] != [("pan", "rows[].n")]:
                wrong.append(got)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@given(st.integers(min_value=10**11, max_value=10**18))
def test_luhn_agrees_with_the_definition(number: int) -> None:
    digits = [int(c) for c in str(number)]
    check = digits.pop()
    total = sum(d if at % 2 else sum(divmod(2 * d, 10)) for at, d in enumerate(reversed(digits)))
    assert luhn(str(number)) == ((total + check) % 10 == 0)
