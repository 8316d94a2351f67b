"""Tokens stand in for values and are turned back, and nothing that was not made here is."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery.data_classes import redact
from eastwall.discovery.data_tokens import MAX_TOKENS, Tokens, turn_back
from eastwall.model.call import BodyState, Request
from eastwall.model.operation import Operation
from eastwall.protocols.decode import decode_request
from eastwall.protocols.limits import Limits

KEY = b"k" * 32
PAN = "4111111111111111"
CLASSES = ("pan", "email", "credential", "person-name")
HIDDEN = (PAN, "5500005555555559", "anna.jones@example.com", "tr0ub4dor and 3")


def message(body: bytes, kind: str = "application/json") -> Operation:
    request = Request("POST", "/cards", {"content-type": kind}, body=body, body_state=BodyState.COMPLETE)
    return decode_request(request, Limits())


def tokenised(body: bytes, kind: str = "application/json") -> bytes:
    new = redact(message(body, kind), CLASSES, "tokenise", KEY)
    assert new is not None
    return new


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-10, 10**6),
        st.sampled_from([*HIDDEN, f"card {PAN}, please", 4111111111111111, "x", ""]),
        st.text(max_size=8).filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text)),
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["card", "password", "note", "email", "n", 'we"ird', "ü"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "card", "password", "items"]), values, min_size=1))
def test_what_is_tokenised_is_valid_holds_no_value_and_comes_back(tree: dict[str, Any]) -> None:
    body = json.dumps(tree).encode()
    new = redact(message(body), CLASSES, "tokenise", KEY)
    if new is None:
        return
    json.loads(new)
    # Values that stand alone are gone wherever a class found them; a field's name finds the password.
    for hidden in HIDDEN[:3]:
        assert hidden.encode() not in new
    assert redact(message(new), CLASSES, "tokenise", KEY) in (None, new), "tokens stay as they are"
    back = turn_back(message(new), CLASSES, KEY)
    assert back.body is not None
    assert json.loads(back.body) == tree
    assert back.refused == 0


def test_equal_values_of_a_class_have_equal_tokens_and_other_keys_others() -> None:
    first, second = Tokens(KEY), Tokens(b"other")
    assert first.make(PAN, "pan") == Tokens(KEY).make(PAN, "pan")
    assert (
        len({first.make(PAN, "pan"), first.make(PAN, "email"), second.make(PAN, "pan"), first.make(PAN, "pan", number=True)}) == 4
    )
    assert first.make("x" * 5000, "pan") is None


def test_numbers_come_back_as_they_were_written() -> None:
    body = b'{"card":4111111111111111,"list":[4111111111111111],"password":1.10,"ratio":1.10e3}'
    assert turn_back(message(tokenised(body)), CLASSES, KEY).body == body


def test_a_tampered_token_is_left_and_told() -> None:
    new = tokenised(json.dumps({"card": PAN, "note": PAN}).encode())
    token = json.loads(new)["card"]
    flipped = token[:10] + ("A" if token[10] != "A" else "B") + token[11:]
    for bad in (flipped, token.replace("_pan_", "_email_"), token[:-5] + "~", token.replace("ewt_pan_", "ewt_pan_ewt_pan_")):
        body = json.dumps({"card": bad, "other": token}).encode()
        back = turn_back(message(body), CLASSES, KEY)
        assert back.body is not None
        tree = json.loads(back.body)
        assert tree["other"] == PAN
        if "ewt_pan_ewt_" not in bad:
            assert (tree["card"], back.refused) == (bad, 1)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 60), st.integers(1, 255))
def test_no_changed_token_is_taken(at: int, other: int) -> None:
    token = Tokens(KEY).make(PAN, "pan")
    assert token is not None
    at = min(at, len(token) - 1)
    changed = token[:at] + chr((ord(token[at]) ^ other) & 0x7F or 65) + token[at + 1 :]
    if changed != token:
        back = turn_back(message(json.dumps({"card": changed}).encode()), CLASSES, KEY)
        assert back.body is None


def test_other_installations_and_other_classes_are_not_turned_back() -> None:
    new = tokenised(json.dumps({"card": PAN}).encode())
    assert turn_back(message(new), CLASSES, b"another").body is None
    assert turn_back(message(new), ("email",), KEY) == (None, 0)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"card=4111111111111111&note=a+b&card=x%26", "application/x-www-form-urlencoded"),
        (b"name,card\nAnna,4111111111111111\nBert,5500005555555559\n", "text/csv"),
        (b'{"card":"4111111111111111"}\n{"card":5500005555555559}\n', "application/x-ndjson"),
        (b"<a><card>4111111111111111</card><b c='5500005555555559'/></a>", "application/xml"),
        (b"pay with 4111111111111111 or 5500005555555559.", "text/plain"),
    ],
)
def test_other_forms_of_bodies_come_back_too(body: bytes, kind: str) -> None:
    new = tokenised(body, kind)
    assert PAN.encode() not in new
    back = turn_back(message(new, kind), CLASSES, KEY)
    assert back.body == body
    assert back.refused == 0


def test_forms_whose_writer_escapes_the_tilde_come_back() -> None:
    new = tokenised(b"card=4111111111111111", "application/x-www-form-urlencoded").replace(b"~", b"%7E")
    assert turn_back(message(new, "application/x-www-form-urlencoded"), CLASSES, KEY).body == b"card=4111111111111111"


def test_values_that_need_escapes_stay_inside_of_their_text() -> None:
    tokens = Tokens(KEY)
    nasty = 'a"b\\c\n</x>\u2028é'
    token = tokens.make(nasty, "pan")
    body = json.dumps({"a": token, f"k {token}": [f'"{token}"', f"\\{token}"]}).encode()
    back = turn_back(message(body), CLASSES, KEY)
    assert back.body is not None
    assert json.loads(back.body) == {"a": nasty, f"k {nasty}": [f'"{nasty}"', f"\\{nasty}"]}


def test_work_is_bounded() -> None:
    one = Tokens(KEY).make(PAN, "pan")
    bodies = [
        json.dumps([one] * (MAX_TOKENS + 10)).encode(),
        b'"' + b"ewt_pan_" * 100_000 + b'~"',
        json.dumps(["ewt_pan_" * 500] * 200).encode(),
        b'["' + b"ewt_pan_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA~" * 20_000 + b'"]',
    ]
    for body in bodies:
        operation = Operation("rest", "POST", ("a",), "/a", body=[], body_kind="json", raw_body=body)
        before = time.process_time()
        back = turn_back(operation, CLASSES, KEY)
        assert time.process_time() - before < 2.0
        assert back.refused > 0 or back.body is None
