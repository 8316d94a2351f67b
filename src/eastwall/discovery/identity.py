"""Who really calls: all evidence of one call, weighed.

Evidence, strongest first: client certificate (mTLS), verified JWT, forwarded user of a trusted peer, workload known by its address,
API key, unverified JWT, basic user name, session cookie, what headers suggest, network address. All of it stands in the chain. The
*actor* is whoever is furthest from the wire: a human before the agent that acts for the human, both before the client, key or workload that
carries the call, and those before an address. So a JWT user beats the certificate of the gateway that forwards the token.
A trusted proxy that names the client's address is on the way and never the actor.

No credential is ever kept in an Identity: keys and cookies only as keyed hashes, tokens as their claims, passwords not at all.
"""

from __future__ import annotations

import binascii
import hashlib
import ipaddress
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from eastwall.discovery import agents
from eastwall.discovery.bounded import Recent
from eastwall.discovery.claims import claim_at, clean, kept, scalar, words
from eastwall.discovery.name_globs import GlobTable
from eastwall.discovery.tokens import LEEWAY, TrustError, Verifier
from eastwall.discovery.workloads import (
    Network,
    Workloads,
    forwarded_certificates,
    namespace_of,
    parse_address,
    service_account,
    workload_name,
)
from eastwall.model.call import Call, Peer
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.model.snapshot import TrustConfig, Workload
from eastwall.protocols import urlencoded

__all__ = ["Trust", "TrustError", "compile_trust", "resolve"]

_CACHE = 8192
_CACHED_CREDENTIALS = 8192
"""Characters of credentials per remembered call: with _CACHE, the bound of the memory."""
_CLASS_ROLES = 4
"""Roles in the name of an identity class: the number of classes must stay small."""
_MAX_HOPS = 32
_NO_MATTER = frozenset(("jwt-key-url", "jwt-weak-secret"))
"""Faults that leave a verified token what it is: its signature was checked with the configured key. They are told as findings."""
_FOREVER = (0.0, float("inf"))
_FURTHEST = {"user": 0, "agent": 1, "client": 2, "key": 3, "workload": 4, "address": 5}
"""Who is the actor when several are known: the furthest from the wire."""
_FIXED = ("authorization", "cookie", "user-agent", "signature-agent", "mcp-protocol-version")
"""Headers that always count; those of the configuration follow."""
_Window = tuple[float, float]


class _Told(Struct):
    """What one token says of its bearer."""

    strength: Strength
    principals: tuple[Principal, ...] = ()
    claims: dict[str, str] = {}
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    tenant: str = ""


class _Evidence(Struct):
    """What the credentials of one call say, gathered."""

    chain: list[Principal]
    faults: list[str]
    tokens: list[_Told]
    window: _Window = _FOREVER
    """Call times for which this holds: until a token begins or ends, or the address gets another owner."""
    agents: tuple[Principal, ...] = ()
    """Whom claims call an agent, the one that acts now first."""
    guess: str = ""
    """Name of the agent or MCP client that headers suggest."""
    passing: tuple[Principal, ...] = ()
    """Trusted proxies on the way, which are not the caller."""
    owner: Workload | None = None
    """Whose the client's address is."""
    mcp: bool = False
    """The caller speaks MCP."""

    def hold(self, begin: float, end: float) -> None:
        """What is gathered holds only for calls at `begin <= time < end`."""
        self.window = (max(self.window[0], begin), min(self.window[1], end))


class Trust:
    """A compiled TrustConfig, with bounded memories. Build it with `compile_trust`."""

    __slots__ = (
        "_hash_key",
        "agents",
        "classes",
        "config",
        "headers",
        "known",
        "networks",
        "query",
        "sans",
        "verifier",
        "workloads",
    )

    def __init__(
        self,
        config: TrustConfig,
        hash_key: bytes,
        networks: tuple[Network, ...],
        sans: frozenset[str],
        verifier: Verifier,
        classes: Iterable[tuple[str, str]],
    ) -> None:
        """Raises TrustError."""
        self.config = config
        self.networks = networks
        self.sans = sans
        self.verifier = verifier
        self.workloads = Workloads(config.workloads)
        self.agents = GlobTable((glob, True) for glob in config.agents)
        self.classes = GlobTable(classes, steps=True)
        names = (
            *_FIXED,
            config.certificate_header,
            config.user_header,
            config.address_header,
            *config.token_headers,
            *config.api_key_headers,
        )
        self.headers = tuple(name.lower() for name in names)
        self.query = tuple(name + "=" for name in config.api_key_query)
        self.known: Recent[Any, tuple[Identity, float, float]] = Recent(_CACHE)
        self._hash_key = hashlib.blake2b(hash_key, digest_size=32, person=b"eastwall-ident").digest()

    def hash(self, secret: str) -> str:
        """16 hex digits of a keyed hash, the only form in which a credential leaves this module."""
        return hashlib.blake2b(secret.encode("utf-8", "replace"), key=self._hash_key, digest_size=8).hexdigest()


def compile_trust(config: TrustConfig, hash_key: bytes, classes: Iterable[tuple[str, str]] = ()) -> Trust:
    """Raises TrustError with one line that names the issuer or the entry, what is wrong, and how to mend it.

    `classes`: (glob over `kind:name`, identity class), as learned; the first match holds. `*` stands for a text within one step of the
    name. Only identities that are verified or asserted join such a class.
    """
    networks: list[Network] = []
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
    return Trust(config, hash_key, tuple(networks), frozenset(sans), Verifier(config.jwks, config.audiences), classes)


def resolve(call: Call, trust: Trust) -> Identity:
    """The identity behind a call. Never raises. Remembered by the credentials as sent, for as long as their tokens hold."""
    request, peer = call.request, call.peer
    headers = request.headers
    seen = tuple(map(headers.get, trust.headers))
    query_key = ""
    if "?" in request.path:
        for name in trust.query:
            if name in request.path:
                query_key = _query_key(request.path, trust.config.api_key_query)
                break
    # Of an MCP session only that there is one counts: its id would make every session a stranger to the memory.
    key = (seen, query_key, "mcp-session-id" in headers, peer.address, peer.uri_sans, peer.dns_sans, peer.subject)
    known = trust.known.get(key)
    if known is not None and known[1] <= call.time < known[2]:
        return known[0]
    evidence = _gather(seen, query_key, "mcp-session-id" in headers, call, trust)
    identity = _weigh(evidence, trust)
    if sum(len(text) for text in seen if text) + len(query_key) <= _CACHED_CREDENTIALS:
        trust.known.put(key, (identity, *evidence.window))
    return identity


def _gather(seen: tuple[str | None, ...], query_key: str, session: bool, call: Call, trust: Trust) -> _Evidence:
    peer, time = call.peer, call.time
    authorization, cookie, user_agent, signature_agent, mcp, forwarded_certificate, forwarded_user, forwarded_for, *rest = seen
    tokens, api_keys = rest[: len(trust.config.token_headers)], rest[len(trust.config.token_headers) :]
    found = _Evidence([], [], [])
    trusted = bool(trust.sans.intersection(peer.uri_sans)) or _inside(peer.address, trust.networks)
    address = _client_address(peer.address, forwarded_for, trust) if forwarded_for and trusted else peer.address
    forwarded = _client_certificate(forwarded_certificate, trust) if forwarded_certificate and trusted else ""
    _workload(peer, address, forwarded, time, trust, found)
    if authorization:
        _authorization(authorization, time, trust, found)
    for token in tokens:
        if token:
            _token(token.strip().removeprefix("Bearer "), time, trust, found, padded=True)
    if forwarded_user:
        if trusted:
            found.chain.append(Principal("user", clean(forwarded_user), Strength.ASSERTED))
        else:
            found.faults.append("forwarded-user-untrusted")
    api_key = next((value for value in api_keys if value), query_key)
    if api_key:
        found.chain.append(Principal("key", trust.hash(api_key), Strength.ASSERTED))
    if cookie and (cookie_session := _session(cookie, trust.config.session_cookies)):
        found.chain.append(Principal("key", "session:" + trust.hash(cookie_session), Strength.GUESSED))
    found.chain.append(Principal("address", address, Strength.NONE))
    found.mcp = session or mcp is not None
    if user_agent or signature_agent or found.mcp:
        most = agents.MAX_HEADER
        found.guess = agents.from_headers((user_agent or "")[:most], (signature_agent or "")[:most], mcp=found.mcp)
    return found


def _workload(peer: Peer, address: str, forwarded: str, time: float, trust: Trust, found: _Evidence) -> None:
    """The workload at the other end: by its certificate, and by whose its address is. The certificate is proof, so where the two do
    not agree the address is worth a guess. `forwarded`: whose certificate a trusted proxy saw."""
    san = next(iter(peer.uri_sans[:1] or peer.dns_sans[:1]), "") or peer.subject
    proxied = address != peer.address or bool(forwarded)
    if forwarded:
        found.chain.append(Principal("workload", clean(forwarded), Strength.ASSERTED))
    if san:
        principal = Principal("workload", clean(san), Strength.VERIFIED)
        found.chain.append(principal)
        if proxied:
            found.passing += (principal,)
    if trust.workloads:
        _owner(peer.address, san, time, trust, found, passing=proxied)
        if address != peer.address:
            _owner(address, forwarded, time, trust, found, passing=False)


def _owner(address: str, certificate: str, time: float, trust: Trust, found: _Evidence, *, passing: bool) -> None:
    """The workload that has an address, next to what its certificate says. `passing`: it is a proxy on the way."""
    owner, begin, end = trust.workloads.find(address, time)
    found.hold(begin, end)
    if owner is None:
        return
    agree = not certificate or _agree(certificate, owner)
    principal = Principal("workload", clean(owner.name), Strength.ASSERTED if agree else Strength.GUESSED)
    found.chain.append(principal)
    if not agree:
        found.faults.append("workload-mismatch")
    elif not passing:
        found.owner = owner
    if passing:
        found.passing += (principal,)


def _agree(san: str, owner: Workload) -> bool:
    """Whether a certificate may be that of the workload that has the address, as far as its name can tell."""
    if account := service_account(san):
        return account == owner.name or "/" not in owner.name
    namespace = "" if "://" in san else namespace_of(san)
    return not namespace or "/" not in owner.name or namespace == owner.name.partition("/")[0]


def _weigh(found: _Evidence, trust: Trust) -> Identity:
    """The actor is the furthest from the wire, and among equals the best proved."""
    chain = list(dict.fromkeys(found.chain))
    agent = _agent(found, chain, trust)
    actor = min(
        (principal for principal in chain if principal not in found.passing),
        key=lambda principal: (_FURTHEST[principal.kind], -principal.strength),
    )
    if agent is not None and agent not in chain:  # a guess from headers, which many callers share: it is nobody in particular
        chain.append(agent)
    human = max(
        (principal for principal in chain if principal.kind == "user" and principal != agent),
        key=lambda p: p.strength,
        default=None,
    )
    workload = _carrier(found, chain, actor, trust)
    told = _told(found, actor)
    return Identity(
        actor=f"{actor.kind}:{actor.name}",
        kind=actor.kind,
        strength=actor.strength,
        cls=_class(actor, told.roles, workload, trust),
        chain=tuple(sorted(chain, key=lambda principal: -principal.strength)),
        roles=told.roles,
        scopes=told.scopes,
        tenant=told.tenant,
        claims=told.claims,
        faults=tuple(dict.fromkeys(found.faults)),
        agent=f"{agent.kind}:{agent.name}" if agent is not None else "",
        human=f"{human.kind}:{human.name}" if human is not None else "",
        workload=workload,
        proxies=tuple(dict.fromkeys(principal.name for principal in found.passing)),
    )


def _told(found: _Evidence, actor: Principal) -> _Told:
    """The token whose roles and claims hold: the one that names the actor; else the best proved, unless the actor is proved better. Two
    tokens are never mixed, nor is a token that nobody checked with a user that a proxy vouches for: whoever attaches a second token would
    get its roles."""
    for token in found.tokens:
        if actor in token.principals:
            return token
    best = max(found.tokens, key=lambda token: token.strength, default=None)
    return best if best is not None and best.strength >= actor.strength else _Told(Strength.NONE)


def _agent(found: _Evidence, chain: list[Principal], trust: Trust) -> Principal | None:
    """The agent of a call: whom a claim calls so, whom the configuration does, and last what the headers suggest."""
    if found.agents:
        return max(found.agents, key=lambda principal: principal.strength)  # the first of the strongest
    if trust.agents:
        for principal in sorted(chain, key=lambda principal: -principal.strength):
            if trust.agents.get(f"{principal.kind}:{principal.name}"):
                return principal
    if found.mcp:
        # Whoever speaks MCP is an MCP client, so a client that is known by name is the one.
        for principal in chain:
            if principal.kind == "client":
                return principal
    return Principal("agent", found.guess, Strength.GUESSED) if found.guess else None


def _carrier(found: _Evidence, chain: list[Principal], actor: Principal, trust: Trust) -> str:
    """Name of the workload that made the call: the actor if it is one, else the best proved that carries it."""
    carriers = [p for p in chain if p.kind == "workload" and p.strength > Strength.GUESSED]
    near = actor if actor in carriers else None
    near = near or max((p for p in carriers if p not in found.passing), key=lambda p: p.strength, default=None)
    near = near or max(carriers, key=lambda p: p.strength, default=None)
    if near is None:
        return ""
    if learned := trust.classes.get(f"workload:{near.name}"):
        return learned.removeprefix("workload:")
    name = workload_name(near.name)
    owner = found.owner
    if owner is not None and owner.owner and owner.name == name and name.endswith("/default"):
        # Every workload of a namespace that was given no service account of its own has this one.
        name = f"{name}/{clean(owner.owner)[:64]}"
    return name


def _class(actor: Principal, roles: tuple[str, ...], workload: str, trust: Trust) -> str:
    if actor.kind == "user":
        return "+".join(("user", *sorted(roles)[:_CLASS_ROLES]))
    if actor.kind == "workload":
        # Who only says that it is a workload (an unverified token) does not get into the class of that workload.
        return f"workload:{workload}" if actor.strength > Strength.GUESSED else "workload"
    if actor.strength > Strength.GUESSED and (learned := trust.classes.get(f"{actor.kind}:{actor.name}")):
        return learned
    if actor.kind in ("client", "agent") and actor.strength is Strength.VERIFIED:
        return f"{actor.kind}:{workload_name(actor.name)}"
    return {"client": "client", "key": "key", "agent": "agent"}.get(actor.kind, "anonymous")


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
            found.chain.append(Principal("user", clean(user), Strength.GUESSED))
        else:
            found.faults.append("basic-malformed")


def _token(sent: str, time: float, trust: Trust, found: _Evidence, *, padded: bool = False) -> None:
    token = trust.verifier.read(sent, padded=padded)
    faults = list(token.faults)
    claims = token.claims
    if claims is None:
        found.faults.extend(faults)
        return
    begin, end = token.not_before - LEEWAY, token.expires + LEEWAY
    if time >= end:
        faults.append("jwt-expired")
        found.hold(end, float("inf"))
    elif time < begin:
        faults.append("jwt-not-yet-valid")
        found.hold(float("-inf"), min(begin, end))
    else:
        found.hold(begin, end)
    # A token that was good once, or is meant for others, still tells who sent it, but proves nothing now.
    strength = Strength.VERIFIED if token.verified and _NO_MATTER.issuperset(faults) else Strength.GUESSED
    issuer = claims.get("iss")
    prefix = f"{issuer}|" if trust.verifier.several_issuers and isinstance(issuer, str) else ""
    first = len(found.chain)
    _principals(claims, prefix, strength, found)
    if len(found.chain) == first:
        faults.append("jwt-no-subject")
    found.faults.extend(faults)
    config = trust.config
    told = _Told(
        strength,
        tuple(found.chain[first:]),
        kept(claims),
        words(claims, config.role_claims, ","),
        words(claims, ("scope", "scp", "scopes"), " "),
        next(filter(None, (scalar(claim_at(claims, name)) for name in config.tenant_claims)), ""),
    )
    found.tokens.append(told)


def _principals(claims: dict[str, Any], prefix: str, strength: Strength, found: _Evidence) -> None:
    """Who stands in a token: subject, client, and who acts."""
    subject = scalar(claims.get("sub"))
    client = next(filter(None, (scalar(claims.get(name)) for name in ("azp", "client_id", "cid", "appid"))), None)
    kind = agents.subject_kind(claims)
    _acting(claims.get("act"), prefix, strength, found)
    if named := agents.agent_claim(claims):
        agent = Principal("agent", clean(prefix + named), strength)
        found.agents += (agent,)
        found.chain.append(agent)
    if subject and subject != client and not (kind == "client" and client):
        _add(subject, kind, prefix, strength, found)
    if client:
        _add(client, agents.client_kind(claims) if kind != "agent" or subject != client else "agent", prefix, strength, found)
    if delegator := scalar(claims.get("delegator_sub")):
        _add(delegator, "user", prefix, strength, found)


def _acting(act: Any, prefix: str, strength: Strength, found: _Evidence) -> None:
    """RFC 8693 section 4.1: who acts on behalf of the subject, the current one first, earlier ones nested."""
    for _ in range(_MAX_HOPS):
        if not isinstance(act, dict):
            return
        if name := scalar(act.get("sub")) or scalar(act.get("client_id")):
            _add(name, agents.actor_kind(act), prefix, strength, found)
        act = act.get("act")


def _add(name: str, kind: str, prefix: str, strength: Strength, found: _Evidence) -> None:
    """A principal that a token names. Service accounts (of projected tokens) and SPIFFE ids (JWT-SVID) are workloads."""
    if name.startswith("spiffe://"):
        principal = Principal("workload" if kind != "agent" else kind, clean(name), strength)
    elif account := service_account(name):
        principal = Principal("workload" if kind != "agent" else kind, clean(account), strength)
    else:
        principal = Principal(kind, clean(prefix + name), strength)
    found.chain.append(principal)
    if kind == "agent":
        found.agents += (principal,)


def _session(cookie: str, names: tuple[str, ...]) -> str:
    for part in cookie.split(";", 100):
        name, _, value = part.strip().partition("=")
        if value and name in names:
            return f"{name}={value}"
    return ""


def _query_key(path: str, names: tuple[str, ...]) -> str:
    found, _, _ = urlencoded.pairs(path.partition("?")[2], 100)
    return next((value for name, value in found if name in names and value), "")


def _inside(address: str, networks: tuple[Network, ...]) -> bool:
    if not networks:
        return False
    parsed = parse_address(address)
    return parsed is not None and any(parsed.version == network.version and parsed in network for network in networks)


def _client_certificate(header: str, trust: Trust) -> str:
    """Whose certificate the last trusted proxy saw: the nearest that is not itself a trusted proxy's."""
    for name in reversed(forwarded_certificates(header)):
        if name not in trust.sans:
            return name
    return ""


def _client_address(peer: str, forwarded_for: str, trust: Trust) -> str:
    """The last address in X-Forwarded-For that was not itself added by a trusted proxy: what stands before it, a caller may
    have written. The peer is known to be trusted."""
    client = peer
    for hop in reversed(forwarded_for.split(",")[-_MAX_HOPS:]):
        parsed = parse_address(hop)
        if parsed is None:
            break
        client = str(parsed)
        if not _inside(client, trust.networks):
            break
    return client


def source_of(identity: Identity, call: Call) -> str:
    """The network address a call comes from: the forwarded client of a trusted proxy, else the direct peer."""
    for principal in identity.chain:
        if principal.kind == "address":
            return principal.name
    return call.peer.address
