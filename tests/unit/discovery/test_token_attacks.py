"""Tokens made for careless verifiers, and secrets that anybody can guess: real tokens, read as the engine reads them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery.token_attacks import WeakSecrets, header_faults
from eastwall.discovery.tokens import Verifier
from eastwall.discovery.weak_secrets import COMMON, FIRST

STRONG = bytes(range(7, 39))
CLAIMS = {"sub": "alice", "iss": "https://login.shop.example/"}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(secret: bytes = STRONG, claims: dict[str, Any] | None = None, **header: Any) -> str:
    head = {"alg": "HS256", "typ": "JWT"} | header
    message = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims or CLAIMS).encode())}"
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}.get(head["alg"], hashlib.sha256)
    return f"{message}.{b64(hmac.new(secret, message.encode(), digest).digest())}"


def faults(sent: str, *, keys: bytes | None = None) -> tuple[str, ...]:
    jwks = [] if keys is None else [("", json.dumps({"keys": [{"kty": "oct", "k": b64(keys), "kid": "a"}]}).encode())]
    return Verifier(jwks, ()).read(sent).faults


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ({"alg": "none"}, "jwt-alg-none"),
        ({"alg": "nOnE"}, "jwt-alg-none"),
        ({"jwk": {"kty": "oct", "k": "AAAA"}}, "jwt-embedded-key"),
        ({"jku": "https://evil.example/keys.json"}, "jwt-foreign-key-url"),
        ({"jku": "http://login.shop.example/keys.json"}, "jwt-foreign-key-url"),
        ({"x5u": "https://login.shop.example@evil.example/c.pem"}, "jwt-foreign-key-url"),
        ({"jku": "https://["}, "jwt-foreign-key-url"),
        ({"jku": 7}, "jwt-key-url"),
        ({"kid": "../../../dev/null"}, "jwt-kid-injection"),
        ({"kid": "/dev/null"}, "jwt-kid-injection"),
        ({"kid": "x' UNION SELECT 'k"}, "jwt-kid-injection"),
        ({"kid": "k;curl evil.example"}, "jwt-kid-injection"),
        ({"kid": "key\n"}, "jwt-kid-injection"),
    ],
)
def test_what_a_header_tries(header: dict[str, Any], fault: str) -> None:
    assert fault in faults(token(**header))
    assert fault in faults(token(**header), keys=STRONG)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"kid": "2011-04-29"},
        {"kid": "https://login.shop.example/keys/7"},
        {"kid": "arn:aws:kms:eu-west-1:111122223333:key/1234abcd"},
        {"kid": "projects/shop/locations/global/keyRings/a/cryptoKeys/b/cryptoKeyVersions/1"},
        {"kid": "6iYRZ+3Tf0oE/2n9c8sVvw=="},
        {"jku": "https://login.shop.example/keys.json"},
        {"jku": "https://keys.eu.login.shop.example/keys.json"},
        {"x5t": "dGVzdA", "x5c": ["MIIB"]},
    ],
)
def test_ordinary_headers(header: dict[str, Any]) -> None:
    assert faults(token(**header)) == ("jwt-unverified",)


@pytest.mark.parametrize("secret", [FIRST[0], FIRST[1], COMMON[0], COMMON[-1], b"your-256-bit-secret"])
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_common_secrets_are_found(secret: bytes, algorithm: str) -> None:
    assert "jwt-weak-secret" in faults(token(secret, alg=algorithm))


def test_a_guessed_secret_is_told_of_verified_tokens_too_and_they_stay_verified() -> None:
    sent = token(b"your-256-bit-secret", kid="a")
    found = Verifier(
        [("", json.dumps({"keys": [{"kty": "oct", "k": b64(b"your-256-bit-secret"), "kid": "a"}]}).encode())], ()
    ).read(sent)
    assert (found.verified, found.faults) == (True, ("jwt-weak-secret",))


def test_a_forged_token_says_how_it_was_forged() -> None:
    assert faults(token(b"secret"), keys=STRONG) == ("jwt-bad-signature", "jwt-weak-secret")


def test_what_was_found_once_is_tried_with_every_token() -> None:
    verifier = Verifier([], ())
    odd = COMMON[-1]
    for number in range(20):
        assert "jwt-weak-secret" in verifier.read(token(odd, {"sub": f"u{number}"})).faults


def test_made_up_issuers_cannot_buy_time() -> None:
    """Searching is bounded: a flood of tokens of made-up issuers costs no more per token than a few hashes in the long run."""
    secrets = WeakSecrets()
    message, signature = b"a.b", bytes(32)

    def spend(first: int) -> float:
        began = time.process_time()
        for number in range(first, first + 2_000):
            assert not secrets.guessed({"alg": "HS256"}, {"iss": str(number)}, message, signature)
        return time.process_time() - began

    spend(0)
    assert spend(10_000) < 2_000 * 300e-6


def test_made_up_issuers_do_not_end_the_search_for_others() -> None:
    """A secret that stands late among the common ones, of an issuer whose tokens come only after a flood."""
    verifier = Verifier([], ())
    for number in range(3_000):
        verifier.read(token(b"one-that-nobody-guesses", {"iss": f"made-up-{number}"}))
    found = ["jwt-weak-secret" in verifier.read(token(COMMON[-1], {"iss": "real", "sub": str(n)})).faults for n in range(1_100)]
    assert found[-1]


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["kid", "jku", "x5u", "jwk", "alg"]), st.one_of(st.none(), st.text(), st.integers(), st.lists(st.text()))
    ),
    st.text(),
)
def test_any_header_is_read(header: dict[str, Any], issuer: str) -> None:
    assert all(fault.startswith("jwt-") for fault in header_faults(header, {"iss": issuer}))
