"""Who really calls: real keys, real tokens, and the ways in which they are forged."""

from __future__ import annotations

import base64
import hmac
import json
import re
import warnings
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe, jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from eastwall.discovery.bounded import Recent
from eastwall.discovery.identity import Trust, TrustError, compile_trust, resolve
from eastwall.model.call import Call, Peer, Request
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.model.snapshot import TrustConfig

NOW = 1_700_000_000.0
ISSUER = "https://login.shop"
HASH_KEY = b"k" * 32

RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
EC521 = ECKey.generate_key("P-521", {"kid": "ec521"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
OCT = OctKey.generate_key(256, {"kid": "oct"})
PUBLIC = [RSA.as_dict(private=False), EC.as_dict(private=False), EC521.as_dict(private=False), ED.as_dict(private=False)]
JWKS = json.dumps({"keys": [*PUBLIC, OCT.as_dict(private=True)]}).encode()
CONFIG = TrustConfig(
    jwks=((ISSUER, JWKS),), audiences=("shop",), trusted_proxies=("10.0.0.0/8", "spiffe://shop/ns/edge/sa/gateway")
)
TRUST = compile_trust(CONFIG, HASH_KEY)
OPEN = compile_trust(TrustConfig(), HASH_KEY)
"""No JWKS configured."""

CLAIMS: dict[str, Any] = {"iss": ISSUER, "sub": "alice", "aud": "shop", "iat": NOW - 10, "exp": NOW + 300}


def sign(key: Any = RSA, alg: str = "RS256", *, kid: str | None = "", **changes: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    header = {"alg": alg}
    if kid is not None:
        header["kid"] = kid or key.kid
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return jwt.encode(header, claims, key, algorithms=[alg])


def b64(data: Any) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def who(
    token: str = "", *, trust: Trust = TRUST, time: float = NOW, peer: Peer | None = None, path: str = "/", **headers: str
) -> Identity:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        fields["authorization"] = f"Bearer {token}"
    call = Call("01J", "shop", time, peer or Peer("192.0.2.7"), Request("GET", path, fields))
    identity = resolve(call, trust)
    assert resolve(call, trust) == identity, "a remembered answer differs from the first"
    return identity


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (RSA, "RS256"),
        (RSA, "RS512"),
        (RSA, "PS256"),
        (EC, "ES256"),
        (EC521, "ES512"),
        (ED, "EdDSA"),
        (OCT, "HS256"),
        (OCT, "HS512"),
    ],
)
def test_good_tokens_are_verified(key: Any, alg: str) -> None:
    identity = who(sign(key, alg))
    assert (identity.actor, identity.kind, identity.strength, identity.faults) == ("user:alice", "user", Strength.VERIFIED, ())
    assert identity.chain[-1] == Principal("address", "192.0.2.7", Strength.NONE)


def test_a_key_set_need_not_name_its_keys_nor_the_token() -> None:
    bare = [{name: value for name, value in key.items() if name != "kid"} for key in PUBLIC]
    trust = compile_trust(TrustConfig(jwks=(("", json.dumps({"keys": bare}).encode()),)), HASH_KEY)
    assert who(sign(EC, "ES256", kid=None), trust=trust).strength is Strength.VERIFIED
    assert who(sign(EC, "ES256", kid="whatever"), trust=trust).strength is Strength.VERIFIED


def pem(key: RSAKey) -> bytes:
    return key.public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def forged(alg: str, key: bytes, kid: str = "rsa") -> str:
    """HMAC with bytes that everybody knows."""
    head = f"{b64({'alg': alg, 'kid': kid})}.{b64(CLAIMS)}"
    return f"{head}.{b64(hmac.digest(key, head.encode(), 'sha' + alg[2:]))}"


def tampered() -> str:
    head, _, signature = sign().split(".")
    return f"{head}.{b64({**CLAIMS, 'sub': 'admin'})}.{signature}"


def encrypted() -> str:
    return jwe.encrypt_compact({"alg": "A256KW", "enc": "A256GCM"}, json.dumps(CLAIMS), OCT)


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        (tampered(), "jwt-bad-signature"),
        (sign(STRANGER), "jwt-bad-signature"),
        (sign()[:-4] + "AAAA", "jwt-bad-signature"),
        (sign().rpartition(".")[0] + ".", "jwt-bad-signature"),
        (f"{b64({'alg': 'none'})}.{b64(CLAIMS)}.", "jwt-alg-none"),
        (f"{b64({'alg': 'NoNe', 'kid': 'rsa'})}.{b64(CLAIMS)}.x", "jwt-malformed"),
        (f"{b64({'alg': 'NoNe', 'kid': 'rsa'})}.{b64(CLAIMS)}.xx", "jwt-alg-none"),
        (f"{b64({'kid': 'rsa'})}.{b64(CLAIMS)}.xx", "jwt-alg-none"),
        (forged("HS256", pem(RSA)), "jwt-alg-mismatch"),
        (forged("HS256", json.dumps(RSA.as_dict(private=False)).encode()), "jwt-alg-mismatch"),
        (forged("HS256", pem(RSA), kid="oct"), "jwt-bad-signature"),
        (sign(EC, "ES256", kid="rsa"), "jwt-alg-mismatch"),
        (sign(EC, "ES256", kid="ec521"), "jwt-alg-mismatch"),
        (f"{b64({'alg': 'RS1', 'kid': 'rsa'})}.{b64(CLAIMS)}.xx", "jwt-alg-mismatch"),
        (sign(kid="unknown"), "jwt-unknown-key"),
        (f"{b64({'alg': 'RS256', 'kid': ['rsa']})}.{b64(CLAIMS)}.xx", "jwt-unknown-key"),
        (sign(iss="https://evil"), "jwt-wrong-issuer"),
        (sign(iss=None), "jwt-wrong-issuer"),
        (encrypted(), "jwt-encrypted"),
        ("a.b.c", "jwt-malformed"),
        (f"{b64([1])}.{b64(CLAIMS)}.xx", "jwt-malformed"),
        (f"{b64({'alg': 'RS256', 'crit': ['b64'], 'b64': False})}.{b64(CLAIMS)}.xx", "jwt-malformed"),
        (sign() + "=", "jwt-malformed"),
        (sign() + ", Bearer x", "jwt-malformed"),
        (f"{b64({'alg': 'RS256', 'kid': 'rsa'})}.{b64({**CLAIMS, 'exp': 'x'})}.xx", "jwt-malformed"),
        (sign(pad="x" * 20_000), "jwt-too-large"),
        ("." * 100_000, "jwt-too-large"),
        (f"{b64(b'[' * 5000)}.{b64(CLAIMS)}.xx", "jwt-malformed"),
    ],
)
def test_a_token_that_proves_nothing_names_nobody(token: str, fault: str) -> None:
    identity = who(token)
    assert identity.faults == (fault,)
    assert (identity.actor, identity.cls, identity.claims, identity.roles) == ("address:192.0.2.7", "anonymous", {}, ())


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"exp": NOW - 3600}, "jwt-expired"),
        ({"nbf": NOW + 3600}, "jwt-not-yet-valid"),
        ({"iat": NOW + 3600}, "jwt-not-yet-valid"),
        ({"aud": "billing"}, "jwt-wrong-audience"),
        ({"aud": None}, "jwt-wrong-audience"),
        ({"aud": ["a", "b"]}, "jwt-wrong-audience"),
    ],
)
def test_a_good_signature_out_of_its_bounds_is_worth_a_guess(changes: dict[str, Any], fault: str) -> None:
    identity = who(sign(**changes))
    assert (identity.actor, identity.strength, identity.faults) == ("user:alice", Strength.GUESSED, (fault,))


def test_one_token_over_time_with_memory_between() -> None:
    token = sign(nbf=NOW)
    times = [NOW - 60, NOW, NOW + 299, NOW + 400, NOW + 1, NOW - 60, NOW + 10_000]
    faults = [who(token, time=time).faults for time in times]
    assert faults == [("jwt-not-yet-valid",), (), (), ("jwt-expired",), (), ("jwt-not-yet-valid",), ("jwt-expired",)]


def test_without_keys_a_token_is_a_guess_and_said_to_be() -> None:
    identity = who(sign(STRANGER, roles=["admin"]), trust=OPEN)
    assert (identity.actor, identity.strength, identity.cls) == ("user:alice", Strength.GUESSED, "user+admin")
    assert identity.faults == ("jwt-unverified",)
    assert who(sign(exp=NOW - 60), trust=OPEN).faults == ("jwt-unverified", "jwt-expired")
    assert who(f"{b64({'alg': 'none'})}.{b64(CLAIMS)}.", trust=OPEN).actor == "address:192.0.2.7"


def test_claims() -> None:
    identity = who(
        sign(
            roles=["support", "admin", "support"],
            groups="eu,us",
            scope="orders:read orders:write",
            tenant_id=42,
            azp="web",
            email="a@shop.example",
            client_secret="hunter2",
            nested={"x": 1},
            verified=True,
        )
    )
    assert identity.roles == ("support", "admin", "eu", "us")
    assert identity.cls == "user+admin+eu+support+us"
    assert identity.scopes == ("orders:read", "orders:write")
    assert identity.tenant == "42"
    assert identity.claims["verified"] == "true"
    assert identity.claims["email"] == "a@shop.example"
    assert "nested" not in identity.claims
    assert "hunter2" not in repr(identity)
    assert Principal("client", "web", Strength.VERIFIED) in identity.chain


def test_nested_role_claims() -> None:
    trust = compile_trust(TrustConfig(jwks=CONFIG.jwks, role_claims=("realm_access.roles",)), HASH_KEY)
    assert who(sign(realm_access={"roles": ["ops"]}), trust=trust).roles == ("ops",)
    assert who(sign(realm_access="odd"), trust=trust).roles == ()


def test_an_agent_acts_for_a_human() -> None:
    identity = who(sign(act={"sub": "agent-7", "act": {"sub": "planner"}}))
    assert identity.actor == "user:alice"
    assert [p.name for p in identity.chain if p.kind == "client"] == ["agent-7", "planner"]
    assert who(sign(act={"act": {"act": 5}})).faults == ()


def test_a_client_without_a_human() -> None:
    identity = who(sign(sub="billing-job", azp="billing-job"))
    assert (identity.actor, identity.cls) == ("client:billing-job", "client:billing-job")
    assert who(sign(sub=None)).faults == ("jwt-no-subject",)


def test_subjects_of_several_issuers_are_several_people() -> None:
    trust = compile_trust(TrustConfig(jwks=((ISSUER, JWKS), ("https://other", JWKS))), HASH_KEY)
    assert who(sign(), trust=trust).actor == f"user:{ISSUER}|alice"
    assert who(sign(iss="https://other"), trust=trust).actor == "user:https://other|alice"


FRONT = Peer("10.1.2.3", tls=True, uri_sans=("spiffe://shop/ns/web/sa/front",))


def test_the_human_is_who_really_calls_and_both_are_known() -> None:
    identity = who(sign(), peer=FRONT)
    assert identity.actor == "user:alice"
    assert [(p.kind, p.name) for p in identity.chain] == [
        ("workload", "spiffe://shop/ns/web/sa/front"),
        ("user", "alice"),
        ("address", "10.1.2.3"),
    ]


@pytest.mark.parametrize(
    ("peer", "cls"),
    [
        (FRONT, "workload:web/front"),
        (Peer("10.1.2.3", dns_sans=("front-7d9f8b6c5-x2x4z.web.svc",)), "workload:front"),
        (Peer("10.1.2.3", dns_sans=("db-0.db.svc",)), "workload:db"),
        (Peer("10.1.2.3", dns_sans=("front-proxy.web.svc",)), "workload:front-proxy"),
        (Peer("10.1.2.3", dns_sans=("api-v2.svc",)), "workload:api-v2"),
        (Peer("10.1.2.3", uri_sans=("spiffe://shop/",)), "workload:shop"),
    ],
)
def test_a_certificate_names_a_workload_and_a_new_pod_is_no_stranger(peer: Peer, cls: str) -> None:
    identity = who(peer=peer)
    assert (identity.kind, identity.strength, identity.cls) == ("workload", Strength.VERIFIED, cls)


def test_keys_are_hashed() -> None:
    secret = "sk_live_0123456789"
    ways = [who(x_api_key=secret), who(path=f"/?a=1&api_key={secret}"), who(secret), who(authorization=f"ApiKey {secret}")]
    assert len({identity.actor for identity in ways}) == 1
    for identity in ways:
        assert re.fullmatch(r"key:[0-9a-f]{16}", identity.actor)
        assert (identity.kind, identity.cls, identity.strength) == ("key", "key", Strength.ASSERTED)
        assert secret not in repr(identity)
    assert who(x_api_key=secret, trust=compile_trust(CONFIG, b"other")).actor != ways[0].actor
    assert who(x_api_key=secret + "0").actor != ways[0].actor
    assert who(sign(), x_api_key=secret).actor == "user:alice"


def test_sessions_are_hashed_guesses() -> None:
    identity = who(cookie="theme=dark; sid=s3cr3t")
    assert re.fullmatch(r"key:session:[0-9a-f]{16}", identity.actor)
    assert (identity.strength, identity.cls) == (Strength.GUESSED, "key")
    assert "s3cr3t" not in repr(identity)
    assert who(cookie="theme=dark; sid=").actor == "address:192.0.2.7"


def test_basic() -> None:
    identity = who(authorization="Basic " + base64.b64encode(b"bob:pa:ss").decode())
    assert (identity.actor, identity.strength, identity.cls) == ("user:bob", Strength.GUESSED, "user")
    assert "pa:ss" not in repr(identity)
    assert who(authorization="Basic !!!").faults == ("basic-malformed",)
    assert who(authorization="Basic").faults == ()
    assert who(authorization="Negotiate abc").actor == "address:192.0.2.7"


def test_forwarded_users_are_believed_from_trusted_peers_only() -> None:
    inside = who(peer=Peer("10.9.9.9"), x_forwarded_user="carol")
    assert (inside.actor, inside.strength, inside.faults) == ("user:carol", Strength.ASSERTED, ())
    mapped = who(peer=Peer("::ffff:10.9.9.9"), x_forwarded_user="carol")
    assert mapped.actor == "user:carol"
    gateway = who(peer=Peer("192.0.2.9", uri_sans=("spiffe://shop/ns/edge/sa/gateway",)), x_forwarded_user="carol")
    assert gateway.actor == "user:carol"
    outside = who(x_forwarded_user="carol")
    assert (outside.actor, outside.faults) == ("address:192.0.2.7", ("forwarded-user-untrusted",))
    assert who(sign(), peer=Peer("10.9.9.9"), x_forwarded_user="carol").actor == "user:alice"
    assert who(sign(STRANGER), trust=OPEN, x_forwarded_user="carol").actor == "user:alice"


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.5, 10.0.0.2", "203.0.113.5"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "203.0.113.5:4711", "203.0.113.5"),
        ("10.0.0.1", "[2001:db8::1]:80", "2001:db8::1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.5, junk", "10.0.0.1"),
        ("192.0.2.7", "203.0.113.5", "192.0.2.7"),
    ],
)
def test_the_client_address_comes_from_trusted_hops_only(peer: str, forwarded: str, client: str) -> None:
    assert who(peer=Peer(peer), x_forwarded_for=forwarded).actor == f"address:{client}"


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (TrustConfig(jwks=((ISSUER, b"<html>"),)), [ISSUER, "not JSON", "give"]),
        (TrustConfig(jwks=((ISSUER, b"\xff"),)), [ISSUER, "not JSON"]),
        (TrustConfig(jwks=((ISSUER, b"[" * 5000),)), [ISSUER, "not JSON"]),
        (TrustConfig(jwks=((ISSUER, b"{}"),)), [ISSUER, "no `keys` array"]),
        (TrustConfig(jwks=(("", b'{"keys":[]}'),)), ["all issuers", "no key", "export"]),
        (TrustConfig(jwks=((ISSUER, b'{"keys":[1]}'),)), [ISSUER, "key 1", "not an object"]),
        (TrustConfig(jwks=((ISSUER, b'{"keys":[{"kid":"a"}]}'),)), [ISSUER, "key 1 (`a`)", "`kty` is missing"]),
        (TrustConfig(jwks=((ISSUER, b'{"keys":[{"kty":"RSA","kid":"a","n":"AQAB"}]}'),)), [ISSUER, "key 1 (`a`)", "RSA"]),
        (
            TrustConfig(jwks=((ISSUER, json.dumps({"keys": [{**EC.as_dict(private=False), "alg": "HS256"}]}).encode()),)),
            ["`HS256`", "EC"],
        ),
        (TrustConfig(jwks=((ISSUER, b'{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}'),)), ["key 1", "EC"]),
        (TrustConfig(jwks=((ISSUER, json.dumps({"keys": [{**PUBLIC[0], "use": "enc"}]}).encode()),)), ["no key that can verify"]),
        (TrustConfig(jwks=((ISSUER, b'{"keys":[{"kty":"ML-DSA"}]}'),)), ["no key that can verify"]),
        (TrustConfig(jwks=((ISSUER, b" " * 2_000_000),)), ["too many"]),
        (TrustConfig(trusted_proxies=("10.0.0.0/99",)), ["`10.0.0.0/99`", "write"]),
    ],
)
def test_a_bad_configuration_is_one_clear_line(config: TrustConfig, parts: list[str]) -> None:
    with pytest.raises(TrustError) as caught:
        compile_trust(config, HASH_KEY)
    message = str(caught.value)
    assert "\n" not in message
    assert not message.endswith(".")
    for part in parts:
        assert part in message


def test_weak_rsa_keys_are_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weak = RSAKey.generate_key(1024)
    with pytest.raises(TrustError, match="1024 bits"):
        compile_trust(TrustConfig(jwks=((ISSUER, json.dumps({"keys": [weak.as_dict(private=False)]}).encode()),)), HASH_KEY)


def test_a_single_key_and_a_private_one_are_taken_as_public_keys() -> None:
    trust = compile_trust(TrustConfig(jwks=((ISSUER, json.dumps(RSA.as_dict(private=True)).encode()),)), HASH_KEY)
    assert who(sign(), trust=trust).strength is Strength.VERIFIED


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["authorization", "cookie", "x-api-key", "x-forwarded-for", "x-forwarded-user"]),
        st.text(max_size=60)
        | st.sampled_from(
            ["Bearer ", "bearer a.b", "Basic ==", "basic " + "A" * 50, "10.0.0.1,", ",,,", "sid=;sid", "Bearer " + sign()]
        )
        | st.builds(
            lambda h, p, s: f"Bearer {b64(h)}.{b64(p)}.{s}", st.binary(max_size=9), st.binary(max_size=9), st.text(max_size=9)
        ),
    ),
    st.sampled_from(["/", "/?api_key=", "/?apikey=%ff&api_key=x", "/?\udc80api_key=1"]),
    st.sampled_from([TRUST, OPEN]),
)
def test_any_credentials_give_an_identity(headers: dict[str, str], path: str, trust: Trust) -> None:
    identity = resolve(Call("1", "s", NOW, Peer("10.0.0.1"), Request("GET", path, headers)), trust)
    assert isinstance(identity, Identity)
    assert identity.actor.startswith(identity.kind + ":")
    assert len(identity.actor) < 300
    assert identity.actor.isprintable() or "\udc80" in path


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "act", "azp", "roles", "scope", "scp", "tenant", "groups"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["sub", "act", "x"]), inner, max_size=3),
        ),
    )
)
def test_any_claims_give_an_identity(claims: dict[str, Any]) -> None:
    assert isinstance(who(f"{b64({'alg': 'HS256'})}.{b64(claims)}.xx", trust=OPEN), Identity)


def test_memories_are_bounded_and_keep_what_is_used() -> None:
    memory: Recent[int, int] = Recent(100)
    for i in range(10_000):
        memory.put(i, i)
        assert memory.get(0) == 0
    assert len(memory) <= 102
    assert memory.get(9_999) == 9_999
    assert memory.get(5_000) is None
    trust = compile_trust(CONFIG, HASH_KEY)
    for i in range(20_000):
        resolve(Call("1", "s", NOW, Peer("192.0.2.7"), Request("GET", "/", {"x-api-key": f"key{i}"})), trust)
    assert len(trust.known) <= 8_200
    resolve(Call("1", "s", NOW, Peer("192.0.2.7"), Request("GET", "/", {"x-api-key": "k" * 50_000})), trust)
    assert all(len(part or "") < 50_000 for key in trust.known._young for part in key[0])
