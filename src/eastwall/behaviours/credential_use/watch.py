"""Where each bearer token was used and with what client, and whether a workload calls from its networks.

A network alone says nothing (people roam, offices and carriers share addresses), nor does a client alone (people have several). A token that turns up
at a network and with a make of client that are *both* new to its actor is in another's hands: surely so when nobody of the class uses that make, or
when the token's own place goes on using it. A token that is first seen there may as well be its owner's, who signed in anew: that is noted for a
day (`issued`), and accuses nobody by itself.

Bounds: `MAX_TOKENS` tokens, `ACTOR_TOKENS` of one actor, `MAX_ACTORS` actors with `MAX_PLACES` networks and makes each; no token is kept, only its hash. What was quiet longest
leaves first; what is forgotten is new, and the next place it is seen at is its own.
"""

from __future__ import annotations

from typing import Any

from eastwall import behaviours
from eastwall.behaviours import World
from eastwall.behaviours.credential_use.model import Knowledge, Moves, Pins
from eastwall.behaviours.credential_use.places import address_of, make, network, shown
from eastwall.behaviours.sketch import hash64
from eastwall.model.call import Completion
from eastwall.model.decision import Decision
from eastwall.model.deviations import CredentialMoved, Deviation
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity, Strength

MAX_TOKENS = 100_000
MAX_ACTORS = 50_000
MAX_PLACES = 16
ACTOR_TOKENS = 32
"""Tokens of one actor."""
MAX_OPEN = 10_000
MAX_SEEN = 16_384
TOGETHER = 600.0
"""Seconds within which two uses are at the same time: nobody changes both place and client so fast and back."""
CALLERS = 8
"""Callers of a class from which on it is known what clients they use."""
SETTLED = 3_600.0
"""Seconds that an actor was known for, before a further place is new."""
NEW = 86_400.0
"""Seconds that it stays new."""
USES = 150
"""Learned uses of credentials at new places, before "hardly any moved" is said."""
_BROWSER = "Mozilla/"
"""Anybody may have a further browser (RFC 9110, section 10.1.5: all of them begin so)."""
SHORTEST = 20
"""Characters of an `authorization` header that can hold a token."""


class _Token:
    """One token, where it was last used by its owner."""

    __slots__ = ("address", "agent", "doubted", "elsewhere", "here", "last", "network", "networks")

    def __init__(self, address: str, agent: str, where: str, now: float, *, doubted: float = 0.0) -> None:
        self.address = address
        self.network = where
        self.agent = agent
        self.last = now
        self.networks = 1
        self.doubted = doubted
        """When it was first seen, if both its network and its make of client were new to its actor then; else 0."""
        self.elsewhere = 0
        """Uses at places that are none of its actor's."""
        self.here = 0
        """`id` of the identity that uses it at its own place, as `Watch._seen` knows it; 0: not known, -1: the token is forgotten."""


class _Seen:
    """An identity that is at no place where it should not be."""

    __slots__ = ("address", "agent", "client", "identity", "network", "token")

    def __init__(self, identity: Identity, token: _Token | None, address: str, agent: str, where: str, client: str) -> None:
        self.identity = identity
        self.address = address
        self.agent = agent
        self.token = token
        """None: there is none to look at, nor anything else."""
        self.network = where
        self.client = client


class _Places:
    """Where an actor is, with whatever token."""

    __slots__ = ("makes", "networks", "since", "tokens")

    def __init__(self, now: float) -> None:
        self.since = now
        self.networks: dict[str, float] = {}
        """Network -> when it was first seen."""
        self.makes: dict[str, float] = {}
        self.tokens: list[int] = []

    def add(self, where: str, client: str, now: float) -> None:
        """A network and a make of client."""
        for known, name in ((self.networks, where), (self.makes, client)):
            if name not in known:
                if len(known) >= MAX_PLACES:
                    del known[next(iter(known))]
                known[name] = now

    def strange(self, where: str, client: str) -> bool:
        """Both are new."""
        return where not in self.networks and client not in self.makes

    def doubtful(self, where: str, client: str, now: float) -> bool:
        """Both are new, or have been for less than a day, to an actor who was known before."""
        since = self.since
        if now - since < SETTLED:
            return False
        at, other = self.networks.get(where, now), self.makes.get(client, now)
        return at - since >= SETTLED and other - since >= SETTLED and now - at < NEW and now - other < NEW


class _Known:
    """Knowledge by class and by workload."""

    __slots__ = ("callers", "makes", "moves", "pins", "widest")

    def __init__(self, knowledge: Knowledge) -> None:
        self.moves = {one.cls: one for one in knowledge.moves}
        self.pins: dict[int, Pins] = {one.actor: one for one in knowledge.pins}
        self.widest = max(knowledge.moves, key=lambda one: (one.usual.most, one.usual.callers), default=None)
        self.makes = frozenset(one for moves in knowledge.moves for one in moves.makes)
        """Of all classes."""
        self.callers = sum(one.usual.callers for one in knowledge.moves)

    def moves_of(self, identity: Identity) -> Moves | None:
        """How credentials of the caller's class move; None: not learned."""
        found = self.moves.get(identity.cls)
        if found is None and (identity.kind == "user" or identity.strength < Strength.ASSERTED):
            return self.widest
        return found

    def foreign(self, agent: str) -> bool:
        """Whether no two learned callers of any class use such a client."""
        return self.callers >= CALLERS and not agent.startswith(_BROWSER) and hash64(make(agent)) not in self.makes


def compile(knowledge: Knowledge, world: World) -> _Known:
    """Look-up tables."""
    return _Known(knowledge)


class Watch(behaviours.Watch):
    """See above."""

    def __init__(self) -> None:
        self._tokens: dict[int, _Token] = {}
        self._actors: dict[str, _Places] = {}
        self._open: dict[str, None] = {}
        """Calls under way whose token is new, or elsewhere."""
        self._seen: dict[int, _Seen] = {}
        """By `id` of an identity, of which `resolve` gives the same one for the same credentials, address and client. What nearly all calls are
        answered from."""

    def __len__(self) -> int:
        return len(self._tokens) + len(self._actors)

    def learned(self, known: _Known) -> None:
        self._seen.clear()

    def request(self, facts: Facts, known: _Known) -> tuple[Deviation, ...]:
        identity = facts.identity
        seen = self._seen.get(id(identity))
        if seen is not None and seen.identity is identity:
            token = seen.token
            if token is None:
                return ()
            if token.here == id(identity):
                token.last = facts.call.time
                return () if not token.doubted else _doubted(facts, token, known)
            if token.here >= 0 and (token.agent != seen.agent or token.address != seen.address):
                self._note(facts)
                return self._moved(facts, token, seen.network, seen.client, known)
        if not identity.strength:
            return ()
        headers = facts.call.request.headers
        found: tuple[Deviation, ...] = ()
        if identity.kind != "user" and known.pins:
            found = _abroad(facts, known)
        authorization = headers.get("authorization")
        if authorization is None or len(authorization) < SHORTEST:
            if not found:
                self._see(_Seen(identity, None, "", "", "", ""))
            return found
        agent, address = headers.get("user-agent", ""), address_of(identity)
        token = self._tokens.get(hash(authorization))
        if token is None:
            self._note(facts)
            return found + self._issued(facts, known)
        where, client = network(address), make(agent)
        if not found:
            self._see(_Seen(identity, token, address, agent, where, client))
        if token.agent == agent and token.address == address:
            token.last = facts.call.time
            token.here = id(identity) if not found else 0
            return found if not token.doubted else found + _doubted(facts, token, known)
        if token.here == id(identity):  # of another one, which is gone
            token.here = 0
        self._note(facts)
        return found + self._moved(facts, token, where, client, known)

    def _see(self, seen: _Seen) -> None:
        known = self._seen
        if len(known) >= MAX_SEEN:
            del known[next(iter(known))]
        known[id(seen.identity)] = seen

    def _note(self, facts: Facts) -> None:
        """Something may be learned of the token when the call is over."""
        if len(self._open) >= MAX_OPEN:
            del self._open[next(iter(self._open))]
        self._open[facts.call.id] = None

    def notes(self, endpoint: Endpoint, known: _Known) -> dict[str, Any]:
        return self._open

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        if request.call_id not in self._open:
            return None
        del self._open[request.call_id]
        facts = request.facts
        identity, now = facts.identity, facts.call.time
        if completion.status == 401:
            return None
        headers = facts.call.request.headers
        agent, address = headers.get("user-agent", ""), address_of(identity)
        where, client = network(address), make(agent)
        authorization = headers.get("authorization", "")
        key = hash(authorization)
        token = self._tokens.get(key)
        if token is None:
            if request.verdict.action == "block" or authorization[:6].lower() == "basic ":
                return None  # a password is used wherever its owner is
            places = self._places(identity.actor, now)
            if len(places.tokens) >= ACTOR_TOKENS:  # its own oldest leaves, and nobody else's
                self._forget(places.tokens.pop(0))
            elif len(self._tokens) >= MAX_TOKENS:
                self._forget(next(iter(self._tokens)))
            doubted = now if places.doubtful(where, client, now) else 0.0
            token = self._tokens[key] = _Token(address, agent, where, now, doubted=doubted)
            places.tokens.append(key)
            places.add(where, client, now)
            self._settle(identity, token, where, client)
            return [0, 1]
        if token.agent == agent and token.address == address:
            token.last = now
            return None
        places = self._places(identity.actor, now)
        if places.strange(where, client):
            token.elsewhere += 1
            return [min(token.elsewhere, 100), token.networks + 1] if request.verdict.action != "block" else None
        if where != token.network:
            token.networks = min(token.networks + 1, 100)
        token.address, token.agent, token.network, token.last = address, agent, where, now
        places.add(where, client, now)
        self._settle(identity, token, where, client)
        return [0, token.networks]

    def _settle(self, identity: Identity, token: _Token, where: str, client: str) -> None:
        """The token is at its own place. Whether a workload is at its own, each request says until it is seen there."""
        token.here = 0
        if identity.kind == "user":
            token.here = id(identity)
            self._see(_Seen(identity, token, token.address, token.agent, where, client))

    def _forget(self, key: int) -> None:
        gone = self._tokens.pop(key, None)
        if gone is not None:
            gone.here = -1

    def _places(self, actor: str, now: float) -> _Places:
        actors = self._actors
        places = actors.get(actor)
        if places is None:
            if len(actors) >= MAX_ACTORS:
                del actors[next(iter(actors))]
            places = actors[actor] = _Places(now)
        elif len(actors) * 2 > MAX_ACTORS:  # before, nobody is to go soon
            actors[actor] = actors.pop(actor)
        return places

    def _issued(self, facts: Facts, known: _Known) -> tuple[Deviation, ...]:
        """A token that was never seen, where its actor never was."""
        places, agent = self._actors.get(facts.identity.actor), facts.call.request.headers.get("user-agent", "")
        if places is None or facts.call.time - places.since < SETTLED:
            return ()
        if not places.doubtful(network(address_of(facts.identity)), make(agent), facts.call.time):
            return ()
        return (_doubt(agent, 0.0, known),)

    def _moved(self, facts: Facts, token: _Token, where: str, client: str, known: _Known) -> tuple[Deviation, ...]:
        identity = facts.identity
        places = self._actors.get(identity.actor)
        if places is None or not places.strange(where, client):
            return ()
        agent = facts.call.request.headers.get("user-agent", "")
        moves = known.moves_of(identity)
        since = max(0.0, facts.call.time - token.last)
        how = "moved"
        callers, credentials = (moves.usual.callers, moves.usual.calls) if moves is not None else (0, 0)
        if moves is not None and callers >= CALLERS and not agent.startswith(_BROWSER) and hash64(client) not in moves.makes:
            how = "stranger"
        elif callers >= CALLERS and credentials >= USES and moves is not None and moves.usual.most[:1] == (0,):
            # Of who came a while ago all places are new: its second device is no thief's.
            known_for = facts.call.time - places.since
            how = "together" if token.elsewhere > 1 and since < TOGETHER and known_for >= SETTLED else "moved"
        return (
            CredentialMoved(
                "header.authorization",
                how,
                shown(agent),
                shown(token.agent),
                token.networks,
                since,
                credentials,
                callers,
                known.foreign(agent),
            ),
        )


def _doubted(facts: Facts, token: _Token, known: _Known) -> tuple[Deviation, ...]:
    """A token that was first seen where its actor never was, less than a day ago."""
    age = facts.call.time - token.doubted
    if not 0.0 <= age < NEW:
        token.doubted = 0.0
        return ()
    return (_doubt(token.agent, age, known),)


def _doubt(agent: str, age: float, known: _Known) -> CredentialMoved:
    return CredentialMoved("header.authorization", "issued", shown(agent), "", 1, age, 0, known.callers, known.foreign(agent))


def _abroad(facts: Facts, known: _Known) -> tuple[Deviation, ...]:
    """A workload calls from where it never did."""
    pins = known.pins.get(hash64(facts.identity.actor))
    if pins is None or hash64(network(address_of(facts.identity) or facts.call.peer.address)) in pins.networks:
        return ()
    agent = shown(facts.call.request.headers.get("user-agent", ""))
    return (CredentialMoved("identity", "network", agent, "", len(pins.networks), 0.0, pins.calls, 1),)
