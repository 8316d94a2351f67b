"""The classes that names, labels and further forms tell: found, left alone, how sure, and what is shown of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bench.data_classes import HELD_OUT, SEEDS, measure, scores

from eastwall.discovery.data_classes import CLASSES, SENSITIVITY, find
from eastwall.model.operation import Operation


def hits(body: Any, **rest: Any) -> dict[tuple[str, str], tuple[float, str]]:
    raw = json.dumps(body).encode()
    operation = Operation("rest", "POST", ("x",), "/x", body=body, body_kind="json", raw_body=raw)
    return {(hit.data_class, hit.place): (hit.confidence, hit.masked) for hit in find(operation, **rest)}


@pytest.mark.parametrize(
    ("name", "value", "data_class", "confidence", "masked"),
    [
        ("nino", "AB123456C", "national-id", 0.9, "GB *****456C"),
        ("bsn", "111222333", "national-id", 1.0, "NL *****2333"),
        ("bsn", 111222333, "national-id", 1.0, "NL *****2333"),
        ("tax_id", "52998224725", "national-id", 0.9, "BR *******4725"),
        ("x", "529.982.247-25", "national-id", 1.0, "BR ***.***.**7-25"),
        ("x", "RSSMRA85T10A562S", "national-id", 1.0, "IT ************562S"),
        ("x", "756.9217.0769.85", "national-id", 1.0, "CH ***.****.***9.85"),
        ("x", "11010519491231002X", "national-id", 1.0, "CN **************002X"),
        ("nationalId", "ZX-99812-77", "national-id", 0.6, "**-****2-77"),
        ("nhsNumber", "943 476 5919", "health-id", 1.0, "GB *** *** 5919"),
        ("npi", 1234567893, "health-id", 1.0, "US ******7893"),
        ("x", "1EG4-TE5-MK73", "health-id", 0.8, "US ****-***-MK73"),
        ("icd10", "E11.9", "diagnosis", 0.9, "****"),
        ("diagnosis", "Type 2 diabetes", "diagnosis", 0.6, "****"),
        ("passportNo", "C01X00T47", "passport", 0.9, "*****0T47"),
        ("x", "L898902C36UTO7408122F1204159ZE184226B<<<<<10", "passport", 1.0, None),
        ("driverLicense", "D1234562", "driver-license", 0.9, "****4562"),
        ("dob", "1980-02-29", "date-of-birth", 0.9, "****-**-**"),
        ("birthDate", "29 February 1980", "date-of-birth", 0.9, "*** *** ***"),
        ("dob", 19800229, "date-of-birth", 0.9, "********"),
        ("firstName", "Anna", "person-name", 0.8, "****"),
        ("nachname", "Müller-Lüdenscheidt", "person-name", 0.8, "****"),
        ("shippingAddress", "12 Main Street, Springfield", "address", 0.7, "****"),
        ("zip", 10115, "address", 0.7, "****"),
        ("latitude", 52.52001, "geo", 0.9, "**.*****"),
        ("gps", "52.5200, 13.4050", "geo", 0.9, "**.****, **.****"),
        ("ip", "203.0.113.9", "ip-address", 0.8, "***.*.*13.9"),
        ("x", "2001:db8:0:1:1:1:1:1", "ip-address", 1.0, None),
        ("routingNumber", "021000021", "bank-account", 1.0, "ABA *****0021"),
        ("swift", "DEUTDEFF", "bank-account", 0.9, "BIC ****DEFF"),
        ("account_number", "0012345678", "bank-account", 0.6, "******5678"),
        ("password", "hunter2!", "credential", 0.8, "****"),
        ("cvv", 123, "credential", 0.9, "****"),
        ("clientSecret", "8Zq0aVt3nLw5xYb7KcRd", "secret", 0.8, "****"),
        ("x", "postgres://app:s3cr3tpw@db:5432/shop", "secret", 0.9, "****"),
        ("x", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "crypto-wallet", 1.0, None),
        ("x", "0xdAC17F958D2ee523a2206206994597C13D831ec7", "crypto-wallet", 0.8, None),
        ("card", "378282246310005", "pan", 1.0, "***********0005"),
    ],
)
def test_found_with_its_confidence_and_shown_masked(
    name: str, value: Any, data_class: str, confidence: float, masked: str | None
) -> None:
    found = hits({name: value})
    assert list(found) == [(data_class, name)]
    assert found[(data_class, name)][0] == confidence
    if masked is not None:
        assert found[(data_class, name)][1] == masked
    assert str(value) not in found[(data_class, name)][1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bsn", "111222334"),
        ("order", "111222333"),
        ("nino", "BG123456C"),
        ("nhsNumber", "9434765918"),
        ("dob", "yesterday"),
        ("dob", "2026-13-01"),
        ("firstName", "agent-7"),
        ("productName", "Espresso Machine"),
        ("shippingAddress", "https://example.org/x"),
        ("address", "0xdeadbeef"),
        ("lat", True),
        ("password", "********"),
        ("password", "must have eight characters or more"),
        ("password", True),
        ("clientSecret", "${CLIENT_SECRET}"),
        ("cvv", "12"),
        ("version", "1.2.3.4"),
        ("gtin", "4006381333931"),
        ("tracking", "123456789012"),
        ("note", "version 10.20.30.40 is out"),
        ("ip", "127.0.0.1"),
        ("routingNumber", "021000022"),
        ("time", "12:30:15"),
        ("mac", "00:1b:44:11:3a:b7"),
        ("x", "git@github.com:acme/shop.git"),
        ("x", "postgres://app:${PASSWORD}@db/shop"),
        ("x", "0123456789abcdef0123456789abcdef01234567"),
    ],
)
def test_left_alone(name: str, value: Any) -> None:
    assert hits({name: value}) == {}


@pytest.mark.parametrize(
    ("text", "data_class"),
    [
        ("SSN: 536221234 on file", "ssn"),
        ("her NHS number is 943 476 5919, call her", "health-id"),
        ("passport no. C01X00T47 expired", "passport"),
        ("born 29.02.1980, blood group 0", None),
        ("dob=1980-02-29 zone=3", "date-of-birth"),
        ("login failed: user=ann password=hunter2! source=app", "credential"),
        ("BSN 111222333", "national-id"),
        ("routing number: 021000021", "bank-account"),
        ('add(ssn: "536221234")', "ssn"),
        ("the password is wrong", None),
        ("phone: none given", None),
        ("order 111222333 was sent", None),
    ],
)
def test_labels_in_text(text: str, data_class: str | None) -> None:
    found = {name for name, _ in hits({"note": text})}
    assert found == ({data_class} if data_class else set()) or (data_class is None and found <= {"date-of-birth"})


def test_a_name_is_a_persons_by_what_is_around_it() -> None:
    assert ("person-name", "customer.name") in hits({"customer": {"name": "Anna Lee"}})
    assert ("person-name", "name") in hits({"name": "Anna Lee", "email": "anna@example.org"})
    assert ("person-name", "user.name.first") in hits({"user": {"name": {"first": "Anna", "last": "Lee"}}})
    assert hits({"product": {"name": "Anna Lee"}}) == {}
    assert hits({"name": "Desk Lamp", "price": 3}) == {}


def test_a_part_of_an_address_is_one_inside_of_an_address() -> None:
    found = hits({"address": {"line1": "5 High Road", "city": "Leeds", "country": "GB"}})
    assert set(found) == {("address", "address.line1"), ("address", "address.city")}
    assert hits({"city": "Leeds"}) == {}


def test_what_is_said_about_fields_is_no_value() -> None:
    assert hits({"errors": {"password": "weak", "firstName": "missing", "dob": "1980-02-29"}}) == {}


def test_the_surest_hit_of_a_place_is_reported() -> None:
    found = hits({"accounts": [{"tax_id": "536-22-1234"}, {"tax_id": "536221235"}]})
    assert set(found) == {("ssn", "accounts[].tax_id")}


def test_direction_and_skipped_classes() -> None:
    body = {"firstName": "Anna", "email": "anna@example.org"}
    operation = Operation("rest", "GET", ("x",), "/x", body=body, body_kind="json", raw_body=json.dumps(body).encode())
    assert {hit.direction for hit in find(operation, direction="response")} == {"response"}
    assert {hit.data_class for hit in find(operation, skip=frozenset({"person-name"}))} == {"email"}


def test_every_class_has_a_sensitivity_and_is_found_and_told_from_near_misses() -> None:
    assert set(SENSITIVITY) == set(CLASSES)
    for seeds in (SEEDS[:1], (HELD_OUT,)):
        figures = measure(seeds, messages=400)
        for name in CLASSES:
            precision, recall = scores(figures[name])
            assert precision >= 0.95, (name, precision)
            assert recall >= 0.95, (name, recall)
