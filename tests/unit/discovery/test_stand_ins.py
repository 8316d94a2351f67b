"""Stand-ins: same form, nobody's number, the same for the same value."""

from __future__ import annotations

import json
import random
from datetime import date
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eastwall.discovery.data_classes import CLASSES, find, redact
from eastwall.discovery.stand_ins import CHECKED, stand_in
from eastwall.model.operation import Operation

KEY = b"k" * 32


def kind(character: str) -> str:
    if character.isalpha():
        return "A" if character.isupper() else "a"
    return "0" if character.isalnum() else character


@settings(max_examples=400, deadline=None)
@given(st.text(min_size=1, max_size=60), st.sampled_from(sorted({*CLASSES} - {"date-of-birth"})))
@example("4111 1111 1111 1111", "pan")
@example("0x52908400098527886E0F7030069857D2E4169EE7", "crypto-wallet")
@example("2001:db8::ff00:42:8329", "ip-address")
def test_the_form_stays(value: str, data_class: str) -> None:
    new = stand_in(value, data_class, KEY)
    assert list(map(kind, new)) == list(map(kind, value))
    assert stand_in(value, data_class, KEY) == new
    new.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("data_class", "value"),
    [
        ("pan", "4111 1111 1111 1111"),
        ("pan", "378282246310005"),
        ("ssn", "536-22-1234"),
        ("iban", "DE89370400440532013000"),
        ("iban", "GB29 NWBK 6016 1331 9268 19"),
        ("national-id", "123.456.789-09"),
        ("national-id", "RSSMRA85T10A562S"),
        ("national-id", "44051401359"),
        ("health-id", "943 476 5919"),
        ("bank-account", "021000021"),
        ("crypto-wallet", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
    ],
)
def test_no_check_agrees_with_it_under_any_key(data_class: str, value: str) -> None:
    assert data_class in CHECKED
    random_keys = random.Random(7)
    for _ in range(40):
        key = random_keys.randbytes(32)
        new = stand_in(value, data_class, key)
        assert new != value
        body = {"x": new, "ssn" if data_class == "ssn" else "y": new}
        raw = json.dumps(body).encode()
        hits = find(Operation("rest", "POST", ("a",), "/a", body=body, body_kind="json", raw_body=raw))
        assert data_class not in {hit.data_class for hit in hits}


def test_dates_addresses_and_coordinates_stay_such() -> None:
    for n in range(200):
        key = n.to_bytes(4, "little")
        assert date.fromisoformat(stand_in("1980-02-29", "date-of-birth", key)).year < 2000
        day, month, year = stand_in("29.02.1980", "date-of-birth", key).split(".")
        date(int(year), int(month), int(day))
        compact = stand_in("19800229", "date-of-birth", key)
        date(int(compact[:4]), int(compact[4:6]), int(compact[6:]))
        assert stand_in("1980-02-29T12:30:00Z", "date-of-birth", key).endswith("T12:30:00Z")
        ip_address(stand_in("192.168.12.7", "ip-address", key))
        ip_address(stand_in("2001:db8::ff00:42:8329", "ip-address", key))
        assert abs(float(stand_in("-52.2297", "geo", key))) < 90
        assert abs(float(stand_in("121.4737", "geo", key))) < 180


def test_other_keys_and_classes_give_others() -> None:
    value = "marie.curie@example.com"
    made = {stand_in(value, "email", bytes([n])) for n in range(20)} | {stand_in(value, "secret", b"\0")}
    assert len(made) == 21


def redacted(body: Any, classes: tuple[str, ...]) -> Any:
    raw = json.dumps(body).encode()
    operation = Operation("rest", "POST", ("a",), "/a", body=body, body_kind="json", raw_body=raw)
    new = redact(operation, classes, "format", KEY)
    assert new is not None
    return json.loads(new)


def test_a_body_keeps_its_types() -> None:
    body = {
        "card": 4111111111111111,
        "lat": 52.2297,
        "note": "card 4111 1111 1111 1111 of Ann",
        "n": 7,
        "email": "ann@example.com",
    }
    new = redacted(body, ("pan", "geo", "email"))
    assert list(new) == list(body)
    assert [type(v) for v in new.values()] == [type(v) for v in body.values()]
    assert len(str(new["card"])) == 16
    assert new["card"] != body["card"]
    assert new["note"].startswith("card ")
    assert new["note"].endswith(" of Ann")
    assert new["n"] == 7
    assert len(new["email"]) == len(body["email"])
    assert new["email"][3] == "@"
    assert redacted(body, ("pan", "geo", "email")) == new
    again = Operation("rest", "POST", ("a",), "/a", body=new, body_kind="json", raw_body=json.dumps(new).encode())
    assert "pan" not in {hit.data_class for hit in find(again)}
