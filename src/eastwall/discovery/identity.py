"""Who really calls: all evidence of one call, weighed.

Evidence, strongest first: client certificate (mTLS), verified JWT, forwarded user of a trusted peer, API key, unverified JWT,
basic user name, session cookie, network address. All of it stands in the chain. The *actor* is whoever is furthest from
the wire: a human before the client, key or workload that carries the human's call, and those before an address. So a JWT
user beats the certificate of the gateway that forwards the token.

No credential is ever kept in an Identity: keys and cookies only as keyed hashes, tokens as their claims, passwords not at all.
"""

from __future__ import annotations

import binascii
import hashlib
import ipaddress
import re
from typing import Any

from msgspec import Struct

from eastwall.discovery.bounded import Recent
from eastwall.discovery.tokens import LEEWAY, TrustError, Verifier
from eastwall.model.call import Call, Peer
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.model.snapshot import TrustConfig
from eastwall.protocols import urlencoded

__all__ = ["Trust", "TrustError", "compile_trust", "resolve"]

_CACHE = 8192
_CACHED_CREDENTIALS = 8192
"""Characters of credentials per remembered call: with _CACHE, the bound of the memory."""
_MAX_NAME = 256
_MAX_CLAIMS = 64
_SECRET = ("password", "secret", "access_token", "refresh_token", "api_key", "apikey", "private")
"""Parts of claim names whose values are not kept."""
_MAX_ROLES = 32
_CLASS_ROLES = 4
"""Roles in the name of an identity class: the number of classes must stay small."""
_MAX_HOPS = 32
_FOREVER = (0.0, float("inf"))
_FURTHEST = {"user": 0, "client": 1, "key": 2, "workload": 3, "address": 4}
"""Who is the actor when several are known: the furthest from the wire."""
_INSTANCE = re.compile(r"(?:-[0-9a-f]{6,10})?-(?=[a-z]*[0-9])[bcdfghjklmnpqrstvwxz2456789]{5}$|-[0-9a-f]{8,10}$|-\d{1,4}$")
"""What Kubernetes appends to make pod names: ReplicaSet hash, random suffix (alphabet of apimachinery's `rand`), ordinal."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Window = tuple[float, float]


class _Evidence(Struct):
    """What the credentials of one call say, gathered."""

    chain: list[Principal]
    faults: list[str]
    claims: dict[str, str]
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    tenant: str = ""
    window: _Window = _FOREVER
    """Call times for which this holds: until a token begins or ends."""


class Trust:
    """A compiled TrustConfig, with bounded memories. Build it with `compile_trust`."""

    __slots__ = ("_hash_key", "config", "headers", "known", "networks", "query", "sans", "verifier")

    def __init__(
        self, config: TrustConfig, hash_key: bytes, networks: tuple[_Network, ...], sans: frozenset[str], verifier: Verifier
    ) -> None:
        self.config = config
        self.networks = networks
        self.sans = sans
        self.verifier = verifier
        names = ("authorization", "cookie", config.user_header, config.address_header, *config.api_key_headers)
        self.headers = tuple(name.lower() for name in names)
        self.query = tuple(name + "=" for name in config.api_key_query)
        self.known: Recent[Any, tuple[Identity, float, float]] = Recent(_CACHE)
        self._hash_key = hashlib.blake2b(hash_key, digest_size=32, person=b"eastwall-ident").digest()

    def hash(self, secret: str) -> str:
        """16 hex digits of a keyed hash, the only form in which a credential leaves this module."""
        return hashlib.blake2b(secret.encode("utf-8", "replace"), key=self._hash_key, digest_size=8).hexdigest()


def compile_trust(config: TrustConfig, hash_key: bytes) -> Trust:
    """Raises TrustError with one line that names the issuer or the entry, what is wrong, and how to mend it."""
    networks: list[_Network] = []
    sans: set[str] = set()
    for entry in config.trusted_proxies:
        if "://" in entry:
            sans.add(entry)
            continue
        try:
            networks.append(ipaddress.ip_network(entry, strict=False))
        except ValueError:
            raise TrustError(
                f"trusted proxy `{entry}` is neither an address range nor a URI SAN; write `10.0.0.0/8` or `spiffe://domain/path`"
            ) from None
    return Trust(config, hash_key, tuple(networks), frozenset(sans), Verifier(config.jwks, config.audiences))


def resolve(call: Call, trust: Trust) -> Identity:
    """The identity behind a call. Never raises. Remembered by the credentials as sent, for as long as their tokens hold."""
    request, peer = call.request, call.peer
    seen = tuple(map(request.headers.get, trust.headers))
    query_key = ""
    if "?" in request.path:
        for name in trust.query:
            if name in request.path:
                query_key = _query_key(request.path, trust.config.api_key_query)
                break
    key = (seen, query_key, peer.address, peer.uri_sans, peer.dns_sans)
    known = trust.known.get(key)
    if known is not None and known[1] <= call.time < known[2]:
        return known[0]
    evidence = _gather(seen, query_key, peer, call.time, trust)
    identity = _weigh(evidence)
    if sum(len(text) for text in seen if text) + len(query_key) <= _CACHED_CREDENTIALS:
        trust.known.put(key, (identity, *evidence.window))
    return identity


def _gather(seen: tuple[str | None, ...], query_key: str, peer: Peer, time: float, trust: Trust) -> _Evidence:
    authorization, cookie, forwarded_user, forwarded_for, *api_keys = seen
    found = _Evidence([], [], {})
    for san in peer.uri_sans[:1] or peer.dns_sans[:1]:
        found.chain.append(Principal("workload", _clean(san), Strength.VERIFIED))
    trusted = bool(trust.sans.intersection(peer.uri_sans)) or _inside(peer.address, trust.networks)
    if authorization:
        _authorization(authorization, time, trust, found)
    if forwarded_user:
        if trusted:
            found.chain.append(Principal("user", _clean(forwarded_user), Strength.ASSERTED))
        else:
            found.faults.append("forwarded-user-untrusted")
    api_key = next((value for value in api_keys if value), query_key)
    if api_key:
        found.chain.append(Principal("key", trust.hash(api_key), Strength.ASSERTED))
    if cookie and (session := _session(cookie, trust.config.session_cookies)):
        found.chain.append(Principal("key", "session:" + trust.hash(session), Strength.GUESSED))
    address = _client_address(peer.address, forwarded_for, trust) if forwarded_for and trusted else peer.address
    found.chain.append(Principal("address", address, Strength.NONE))
    return found


def _weigh(found: _Evidence) -> Identity:
    """The actor is the furthest from the wire, and among equals the best proved."""
    actor = min(found.chain, key=lambda principal: (_FURTHEST[principal.kind], -principal.strength))
    return Identity(
        actor=f"{actor.kind}:{actor.name}",
        kind=actor.kind,
        strength=actor.strength,
        cls=_class(actor, found.roles),
        chain=tuple(sorted(found.chain, key=lambda principal: -principal.strength)),
        roles=found.roles,
        scopes=found.scopes,
        tenant=found.tenant,
        claims=found.claims,
        faults=tuple(dict.fromkeys(found.faults)),
    )


def _class(actor: Principal, roles: tuple[str, ...]) -> str:
    if actor.kind == "user":
        return "+".join(("user", *sorted(roles)[:_CLASS_ROLES]))
    if actor.kind == "workload" or (actor.kind == "client" and actor.strength is Strength.VERIFIED):
        return f"{actor.kind}:{_workload_name(actor.name)}"
    return {"client": "client", "key": "key"}.get(actor.kind, "anonymous")


def _workload_name(name: str) -> str:
    """`spiffe://shop/ns/web/sa/front` and `front-7d9f8b6c5-x2x4z.web.svc` are both `front`: a new pod is no stranger."""
    if "://" in name:
        last = name.rstrip("/").rpartition("/")[2]
    else:
        last = name.partition(".")[0]
    return (_INSTANCE.sub("", last) or last)[:64]


def _authorization(header: str, time: float, trust: Trust, found: _Evidence) -> None:
    scheme, _, credentials = header.partition(" ")
    scheme, credentials = scheme.lower(), credentials.strip()
    if not credentials:
        return
    if scheme in ("bearer", "dpop", "jwt"):
        if "." in credentials:
            _token(credentials, time, trust, found)
        else:
            # An opaque token is to us what an API key is.
            found.chain.append(Principal("key", trust.hash(credentials), Strength.ASSERTED))
    elif scheme in ("token", "apikey", "api-key"):
        found.chain.append(Principal("key", trust.hash(credentials), Strength.ASSERTED))
    elif scheme == "basic":
        try:
            user = binascii.a2b_base64(credentials).decode("utf-8", "replace").partition(":")[0]
        except (binascii.Error, ValueError):
            user = ""
        if user:
            found.chain.append(Principal("user", _clean(user), Strength.GUESSED))
        else:
            found.faults.append("basic-malformed")


def _token(text: str, time: float, trust: Trust, found: _Evidence) -> None:
    token = trust.verifier.read(text)
    found.faults.extend(token.faults)
    claims = token.claims
    if claims is None:
        return
    begin, end = token.not_before - LEEWAY, token.expires + LEEWAY
    if time >= end:
        found.faults.append("jwt-expired")
        found.window = (end, float("inf"))
    elif time < begin:
        found.faults.append("jwt-not-yet-valid")
        found.window = (float("-inf"), min(begin, end))
    else:
        found.window = (begin, end)
    # A token that was good once, or is meant for others, still tells who sent it, but proves nothing now.
    strength = Strength.VERIFIED if token.verified and not found.faults else Strength.GUESSED
    issuer = claims.get("iss")
    prefix = f"{issuer}|" if trust.verifier.several_issuers and isinstance(issuer, str) else ""
    subject = _text(claims.get("sub"))
    client = _text(claims.get("azp")) or _text(claims.get("client_id")) or _text(claims.get("cid"))
    if subject and subject != client:
        found.chain.append(Principal("user", _clean(prefix + subject), strength))
    if client:
        found.chain.append(Principal("client", _clean(prefix + client), strength))
    if not subject and not client:
        found.faults.append("jwt-no-subject")
    _acting(claims.get("act"), prefix, strength, found)
    config = trust.config
    found.roles = _words(claims, config.role_claims, ",")
    found.scopes = _words(claims, ("scope", "scp", "scopes"), " ")
    found.tenant = next(filter(None, (_text(_at(claims, name)) for name in config.tenant_claims)), "")
    for name, value in list(claims.items())[:_MAX_CLAIMS]:
        if (told := _text(value)) is not None and not any(word in name.lower() for word in _SECRET):
            found.claims[name[:_MAX_NAME]] = told


def _acting(act: Any, prefix: str, strength: Strength, found: _Evidence) -> None:
    """RFC 8693 section 4.1: who acts on behalf of the subject, the current one first, earlier ones nested."""
    for _ in range(_MAX_HOPS):
        if not isinstance(act, dict):
            return
        if name := _text(act.get("sub")) or _text(act.get("client_id")):
            found.chain.append(Principal("client", _clean(prefix + name), strength))
        act = act.get("act")


def _words(claims: dict[str, Any], names: tuple[str, ...], separator: str) -> tuple[str, ...]:
    """The values of list or text claims, in order, each once."""
    words: dict[str, None] = {}
    for name in names:
        value = _at(claims, name)
        items = value.split(separator) if isinstance(value, str) else value if isinstance(value, list) else ()
        for item in items[:_MAX_ROLES]:
            if isinstance(item, str) and (word := _clean(item.strip())):
                words[word[:64]] = None
    return tuple(words)[:_MAX_ROLES]


def _at(claims: dict[str, Any], name: str) -> Any:
    """A claim by name, or by a dotted path (`realm_access.roles`)."""
    if name in claims or "." not in name:
        return claims.get(name)
    node: Any = claims
    for step in name.split("."):
        node = node.get(step) if isinstance(node, dict) else None
    return node


def _text(value: Any) -> str | None:
    """A scalar claim as text, None for others."""
    if isinstance(value, str):
        return value[:_MAX_NAME]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)[:_MAX_NAME] if not isinstance(value, int) or abs(value) < 10**100 else None
    return None


def _clean(name: str) -> str:
    """A name fit for logs and keys: bounded, without control characters."""
    name = name[:_MAX_NAME]
    return name if name.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in name)


def _session(cookie: str, names: tuple[str, ...]) -> str:
    for part in cookie.split(";", 100):
        name, _, value = part.strip().partition("=")
        if value and name in names:
            return f"{name}={value}"
    return ""


def _query_key(path: str, names: tuple[str, ...]) -> str:
    found, _, _ = urlencoded.pairs(path.partition("?")[2], 100)
    return next((value for name, value in found if name in names and value), "")


def _inside(address: str, networks: tuple[_Network, ...]) -> bool:
    if not networks:
        return False
    parsed = _parse(address)
    return parsed is not None and any(parsed.version == network.version and parsed in network for network in networks)


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    text = address.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, ipaddress.IPv6Address) else parsed


def _client_address(peer: str, forwarded_for: str, trust: Trust) -> str:
    """The last address in X-Forwarded-For that was not itself added by a trusted proxy: what stands before it, a caller may
    have written. The peer is known to be trusted."""
    client = peer
    for hop in reversed(forwarded_for.split(",")[-_MAX_HOPS:]):
        parsed = _parse(hop)
        if parsed is None:
            break
        client = str(parsed)
        if not _inside(client, trust.networks):
            break
    return client
