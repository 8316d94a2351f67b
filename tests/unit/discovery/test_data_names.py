"""What names of fields say, and that the prefilter never misses a name that says something."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery.data_names import EVIDENCE, MAX_NAME, canonical, context, evidence, people
from eastwall.discovery.data_prefilter import _suspects, automaton


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("birthDate", "_birth_date_"),
        ("HomeAddressLine2", "_home_address_line_"),
        ("DATE-OF-BIRTH", "_date_of_birth_"),
        ("prénom", "_prenom_"),
        ("Straße", "_strasse_"),
        ("userSSN", "_user_ssn_"),
        ("@dob", "_dob_"),
        ("ns:FirstName", "_ns_first_name_"),
        ("17", ""),
        ("x" * (MAX_NAME + 1), ""),
    ],
)
def test_one_form_for_all_spellings(name: str, plain: str) -> None:
    assert canonical(name) == plain


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("dob", "birth"), ("userDob", "birth"), ("birth_date", "birth"), ("Geburtsdatum", "birth"), ("fechaNacimiento", "birth"),
        ("firstName", "person"), ("first-name", "person"), ("LASTNAME", "person"), ("vorname", "person"), ("nom_de_famille", "person"),
        ("shippingAddress", "address"), ("addressLine1", "address"), ("postal_code", "address"), ("zip", "address"),
        ("lat", "lat"), ("longitude", "lon"), ("cvv2", "cvv"), ("newPassword", "password"), ("passwd", "password"),
        ("client_secret", "secret"), ("apiKey", "secret"), ("nhsNumber", "nhs"), ("passportNo", "passport"), ("ssn", "ssn"),
        ("taxId", "tax-id"), ("patient_id", "mrn"), ("icd10Code", "icd"), ("swiftCode", "bic"), ("routing_number", "routing"),
    ],
)  # fmt: skip
def test_names_that_tell(name: str, kind: str) -> None:
    assert kind in evidence(name)


@pytest.mark.parametrize(
    "name",
    [
        "password_changed_at", "passwordPolicy", "token_type", "email_verified", "address_type", "ip_address", "emailAddress", "macAddress",
        "next_page_token", "csrf_token", "publicKey", "hotel", "platform", "flat", "translate", "spinner", "opinion", "pinned", "shipping",
        "phone_verified", "street_id", "walletAddress", "status", "name", "prompt_tokens", "personalization", "dobby", "usage",
    ],
)  # fmt: skip
def test_names_that_do_not_tell(name: str) -> None:
    assert evidence(name) - {"ip", "wallet", "email"} == frozenset()


def test_objects_have_a_meaning_too() -> None:
    assert context("customer", "") == "person"
    assert context("assignedUser", "") == "person"
    assert context("shipping_address", "") == "place"
    assert context("ip_address", "") == ""
    assert context("items", "person") == "person"
    assert people(("v1", "users", "17"))
    assert not people(("v1", "orders", "17"))


JOINTS = st.sampled_from(["", "_", "-", " ", ".", "camel", "CAPS"])


@given(
    words=st.sampled_from([(k, w) for k, ws in EVIDENCE.items() for w in ws.split()]),
    joint=JOINTS,
    before=st.sampled_from(["", "user", "my_"]),
)
@settings(max_examples=400, deadline=None)
def test_the_prefilter_hits_every_name_that_tells(words: tuple[str, str], joint: str, before: str) -> None:
    parts = words[1].split("_")
    if joint == "camel":
        name = parts[0] + "".join(part.capitalize() for part in parts[1:])
    elif joint == "CAPS":
        name = "_".join(parts).upper()
    else:
        name = joint.join(parts)
    if before:
        name = before + (name[0].upper() + name[1:] if before == "user" else name)
    wanted = {found for kind in evidence(name) for found in _suspects(f"@{kind}")}
    assert wanted <= automaton().classes(f'{{"{name}":1}}'.encode())
