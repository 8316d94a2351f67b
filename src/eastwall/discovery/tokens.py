"""JWTs (RFC 7519, best practice RFC 8725): read, verified against the configured keys, remembered by hash.

The algorithm must fit the key that verifies, whatever the token's header asks for: `none`, an HMAC made with a public key,
and keys of the wrong kind are faults, never a weaker check.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from eastwall.discovery.bounded import Recent
from eastwall.discovery.token_attacks import WeakSecrets, header_faults

MAX_TOKEN = 16_384
"""Characters. Larger tokens are not read (`jwt-too-large`)."""
LEEWAY = 5.0
"""Seconds by which the clocks of an issuer and of this machine may differ."""
_MAX_KEYS = 100
_MAX_JWKS = 1_000_000
_MAX_TRIES = 8
"""Keys tried for a token that names none."""
_CACHE = 8192
_SEGMENT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_ALGORITHMS: dict[tuple[str, str], tuple[str, ...]] = {
    ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("EC", "secp256k1"): ("ES256K",),
    ("OKP", "Ed25519"): ("EdDSA", "Ed25519"),
    ("OKP", "Ed448"): ("EdDSA", "Ed448"),
    ("oct", ""): ("HS256", "HS384", "HS512"),
}
"""(key type, curve) -> the algorithms that such a key may verify (RFC 7518 section 3.1, RFC 8037, RFC 8812, RFC 9864)."""


class TrustError(ValueError):
    """The trust configuration cannot be used; the message is one line: what is wrong, where, how to mend it."""


class Token(Struct, frozen=True):
    """What a token says, apart from the time."""

    claims: dict[str, Any] | None
    """The payload, or None when nothing in it may be believed."""
    verified: bool = False
    """Whether the signature was checked and is good."""
    faults: tuple[str, ...] = ()
    """Faults that do not depend on the time."""
    not_before: float = 0.0
    """Unix seconds; the later of `nbf` and `iat`."""
    expires: float = float("inf")
    """Unix seconds."""


class _Key(Struct, frozen=True):
    kid: str
    algorithms: frozenset[str]
    key: Any


class Verifier:
    """The keys of all issuers, compiled, with a bounded memory of the tokens seen."""

    def __init__(self, jwks: Iterable[tuple[str, bytes]], audiences: Iterable[str]) -> None:
        """Raises TrustError."""
        self._keys: dict[str, tuple[_Key, ...]] = {}
        for issuer, data in jwks:
            self._keys[issuer] = self._keys.get(issuer, ()) + _compile(issuer, data)
        self._audiences = frozenset(audiences)
        self._seen: Recent[bytes, Token] = Recent(_CACHE)
        self._secrets = WeakSecrets()
        self.several_issuers = len([issuer for issuer in self._keys if issuer]) > 1
        """Whether a subject needs its issuer beside it to be one person."""

    def read(self, token: str, *, padded: bool = False) -> Token:
        """What the token says. Never raises. The token itself is not kept, only a hash of it.

        `padded`: its parts may end in `=`, against RFC 7515, as those of some load balancers do (`x-amzn-oidc-data`).
        """
        if len(token) > MAX_TOKEN:
            return Token(None, faults=("jwt-too-large",))
        if padded and "=" not in token:
            padded = False
        digest = hashlib.blake2b(token.encode("utf-8", "replace"), digest_size=32, person=b"padded" if padded else b"").digest()
        known = self._seen.get(digest)
        if known is None:
            known = self._read(token, padded)
            self._seen.put(digest, known)
        return known

    def _read(self, token: str, padded: bool) -> Token:
        sent = token.split(".")
        parts = [part.rstrip("=") for part in sent] if padded else sent
        if len(parts) == 5:
            return Token(None, faults=("jwt-encrypted",))
        if len(parts) != 3:
            return Token(None, faults=("jwt-malformed",))
        header, claims, signature = _object(parts[0]), _object(parts[1]), _bytes(parts[2])
        if header is None or claims is None or signature is None or "crit" in header:
            # No extension named in `crit` is understood here, and RFC 7515 section 4.1.11 then forbids to believe the token.
            return Token(None, faults=("jwt-malformed",))
        faults = header_faults(header, claims)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm.lower() == "none":
            return Token(None, faults=("jwt-alg-none", *faults))
        times = _times(claims)
        if times is None:
            return Token(None, faults=("jwt-malformed", *faults))
        message = f"{sent[0]}.{sent[1]}".encode()
        if self._secrets.guessed(header, claims, message, signature):
            faults += ("jwt-weak-secret",)
        if not self._keys:
            return Token(claims, False, ("jwt-unverified", *faults), *times)
        fault = self._verify(header, claims, algorithm, message, signature)
        if fault:
            return Token(None, faults=(fault, *faults))
        if self._audiences and not self._audiences.intersection(_texts(claims.get("aud"))):
            faults = ("jwt-wrong-audience", *faults)
        return Token(claims, True, faults, *times)

    def _verify(self, header: dict[str, Any], claims: dict[str, Any], algorithm: str, message: bytes, signature: bytes) -> str:
        """The fault of a token's signature, empty when it is good."""
        from joserfc.errors import JoseError  # costs a start a tenth of a second: only with keys
        from joserfc.jws import JWSRegistry

        issuer = claims.get("iss")
        keys = self._keys.get(issuer, ()) if isinstance(issuer, str) and issuer else ()
        keys += self._keys.get("", ())
        if not keys:
            return "jwt-wrong-issuer"
        kid = header.get("kid")
        if kid is not None:
            keys = tuple(key for key in keys if key.kid in ("", kid))
            if not keys:
                return "jwt-unknown-key"
        keys = tuple(key for key in keys if algorithm in key.algorithms)
        if not keys:
            return "jwt-alg-mismatch"
        model = JWSRegistry.algorithms[algorithm]
        for key in keys[:_MAX_TRIES]:
            try:
                if model.verify(message, signature, key.key):
                    return ""
            except (JoseError, ValueError, TypeError):
                continue
        return "jwt-bad-signature"


def _compile(issuer: str, data: bytes) -> tuple[_Key, ...]:
    where = f"jwks of issuer `{issuer}`" if issuer else "jwks for all issuers"
    if len(data) > _MAX_JWKS:
        raise TrustError(f"{where}: {len(data)} bytes are too many; give the key set alone")
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TrustError(f'{where}: not JSON ({error}); give a JWK set such as {{"keys": [...]}}') from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if isinstance(document, dict) and entries is None and "kty" in document:
        entries = [document]
    if not isinstance(entries, list):
        raise TrustError(f'{where}: no `keys` array; give a JWK set such as {{"keys": [...]}} (RFC 7517)')
    if len(entries) > _MAX_KEYS:
        raise TrustError(f"{where}: {len(entries)} keys; at most {_MAX_KEYS} are taken")
    keys = [key for number, entry in enumerate(entries, 1) if (key := _key(entry, f"{where}, key {number}")) is not None]
    if not keys:
        raise TrustError(
            f"{where}: no key that can verify a signature (RSA, EC, OKP or oct, not `use: enc`); export the signing keys"
        )
    return tuple(keys)


def _key(entry: Any, where: str) -> _Key | None:
    """A key of a set; None for one that is not for signatures or of an unknown type (RFC 7517 section 5 says to ignore those)."""
    from joserfc.errors import JoseError  # see `_verify`
    from joserfc.jwk import JWKRegistry

    if not isinstance(entry, dict):
        raise TrustError(f"{where}: not an object; each key is a JWK object (RFC 7517)")
    kid, kty = entry.get("kid", ""), entry.get("kty")
    if isinstance(kid, str) and kid:
        where += f" (`{kid[:60]}`)"
    if not isinstance(kty, str):
        raise TrustError(f"{where}: `kty` is missing; each key needs its type (RFC 7517 section 4.1)")
    operations = entry.get("key_ops")
    if entry.get("use", "sig") != "sig" or (
        isinstance(operations, list) and "verify" not in operations and "sign" not in operations
    ):
        return None
    curve = entry.get("crv", "") if kty in ("EC", "OKP") else ""
    algorithms = _ALGORITHMS.get((kty, curve)) if isinstance(curve, str) else None
    if algorithms is None:
        return None
    declared = entry.get("alg")
    if declared is not None:
        if declared not in algorithms:
            raise TrustError(
                f"{where}: `alg` `{str(declared)[:20]}` does not fit a key of type {kty} {curve}".rstrip()
                + "; correct it or leave it out"
            )
        algorithms = (declared,) if declared not in ("EdDSA", "Ed25519", "Ed448") else algorithms
    try:
        # The private parts of an asymmetric key are not needed and are dropped; `use` and `key_ops` were judged above.
        public = {name: value for name, value in entry.items() if name not in ("use", "key_ops", "alg", *_private(kty))}
        key = JWKRegistry.import_key(public)
        if kty == "RSA" and key.public_key.key_size < 2048:  # type: ignore[union-attr]
            raise TrustError(f"{where}: RSA key of {key.public_key.key_size} bits; use 2048 or more (RFC 7518 section 3.3)")  # type: ignore[union-attr]
    except TrustError:
        raise
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise TrustError(f"{where}: cannot be read as a {kty} key ({reason}); export it again from the issuer") from None
    return _Key(kid if isinstance(kid, str) else str(kid), frozenset(algorithms), key)


def _private(kty: str) -> tuple[str, ...]:
    return () if kty == "oct" else ("d", "p", "q", "dp", "dq", "qi", "oth")


def _bytes(segment: str) -> bytes | None:
    """Strict base64url without padding (RFC 7515 section 2); None for anything else."""
    raw = segment.encode("ascii", "replace")
    if not _SEGMENT.issuperset(raw) or len(raw) % 4 == 1:
        return None
    try:
        return binascii.a2b_base64(raw.replace(b"-", b"+").replace(b"_", b"/") + b"=" * (-len(raw) % 4))
    except binascii.Error:
        return None


def _object(segment: str) -> dict[str, Any] | None:
    data = _bytes(segment)
    if not data:
        return None
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _times(claims: dict[str, Any]) -> tuple[float, float] | None:
    """(not before, expires); None when a time claim is no number (RFC 7519 section 2, NumericDate)."""
    begin, end = 0.0, float("inf")
    for name in ("nbf", "iat", "exp"):
        value = claims.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e15:
            return None
        if name == "exp":
            end = float(value)
        else:
            begin = max(begin, float(value))
    return begin, end


def _texts(claim: Any) -> tuple[str, ...]:
    if isinstance(claim, str):
        return (claim,)
    return tuple(item for item in claim if isinstance(item, str)) if isinstance(claim, list) else ()
