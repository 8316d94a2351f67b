"""Where each bearer token was used and with what client, and whether a workload calls from its networks.

A network alone says nothing (people roam, offices and carriers share addresses), nor does a client alone (people have several). A token that turns up
at a network and with a make of client that are *both* new to its actor is in another's hands: surely so when nobody of the class uses that make, or
when the token's own place goes on using it. A token that is first seen there may as well be its owner's, who signed in anew: that is noted for a
day (`issued`), and accuses nobody by itself.

Bounds: `MAX_TOKENS` tokens, `ACTOR_TOKENS` of one actor, `MAX_ACTORS` actors with `MAX_PLACES` networks and makes each; no token is kept, only its hash. What was quiet longest
leaves first; what is forgotten is new, and the next place it is seen at is its own.
"""

from __future__ import annotations

from collections import deque
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

    __slots__ = ("address", "agent", "doubted", "elsewhere", "last", "networks")

    def __init__(self, address: str, agent: str, now: float, *, doubted: float = 0.0) -> None:
        self.address = address
        self.agent = agent
        self.last = now
        self.networks = 1
        self.doubted = doubted
        """When it was first seen, if both its network and its make of client were new to its actor then; else 0."""
        self.elsewhere = 0
        """Uses at places that are none of its actor's."""


class _Places:
    """Where an actor is, with whatever token."""

    __slots__ = ("makes", "networks", "since", "tokens")

    def __init__(self, now: float) -> None:
        self.since = now
        self.networks: dict[str, float] = {}
        """Network -> when it was first seen."""
        self.makes: dict[str, float] = {}
        self.tokens: deque[int] = deque()

    def add(self, address: str, agent: str, now: float) -> None:
        for known, name in ((self.networks, network(address)), (self.makes, make(agent))):
            if name not in known:
                if len(known) >= MAX_PLACES:
                    del known[next(iter(known))]
                known[name] = now

    def strange(self, address: str, agent: str) -> bool:
        """Both are new."""
        return network(address) not in self.networks and make(agent) not in self.makes

    def doubtful(self, address: str, agent: str, now: float) -> bool:
        """Both are new, or have been for less than a day, to an actor who was known before."""
        if now - self.since < SETTLED:
            return False
        seen = (self.networks.get(network(address), now), self.makes.get(make(agent), now))
        return all(at - self.since >= SETTLED and now - at < NEW for at in seen)


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

    def __len__(self) -> int:
        return len(self._tokens) + len(self._actors)

    def request(self, facts: Facts, known: _Known) -> tuple[Deviation, ...]:
        identity = facts.identity
        if not identity.strength:
            return ()
        headers = facts.call.request.headers
        found: tuple[Deviation, ...] = ()
        if identity.kind != "user" and known.pins:
            found = _abroad(facts, known)
        authorization = headers.get("authorization")
        if authorization is None or len(authorization) < SHORTEST:
            return found
        token = self._tokens.get(hash(authorization))
        if token is None:
            self._note(facts)
            return found + self._issued(facts, known)
        last = identity.chain[-1] if identity.chain else None
        address = last.name if last is not None and last.kind == "address" else ""  # `address_of`, for nearly all calls
        if token.agent == headers.get("user-agent", "") and token.address == address:
            token.last = facts.call.time
            return found if not token.doubted else found + _doubted(facts, token, known)
        self._note(facts)
        return found + self._moved(facts, token, known)

    def _note(self, facts: Facts) -> None:
        """Something may be learned of the token when the call is over."""
        if len(self._open) >= MAX_OPEN:
            del self._open[next(iter(self._open))]
        self._open[facts.call.id] = None

    def notes(self, endpoint: Endpoint, known: _Known) -> dict[str, Any]:
        return self._open

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        if not self._open or request.call_id not in self._open:
            return None
        del self._open[request.call_id]
        facts = request.facts
        identity = facts.identity
        headers = facts.call.request.headers
        authorization = headers.get("authorization", "")
        if completion.status == 401:
            return None
        key, agent, address = hash(authorization), headers.get("user-agent", ""), address_of(identity)
        token = self._tokens.get(key)
        if token is None:
            if request.verdict.action == "block" or authorization[:6].lower() == "basic ":
                return None  # a password is used wherever its owner is
            now = facts.call.time
            places = self._places(identity.actor, now)
            if len(places.tokens) >= ACTOR_TOKENS:  # its own oldest leaves, and nobody else's
                self._tokens.pop(places.tokens.popleft(), None)
            elif len(self._tokens) >= MAX_TOKENS:
                del self._tokens[next(iter(self._tokens))]
            self._tokens[key] = _Token(address, agent, now, doubted=now if places.doubtful(address, agent, now) else 0.0)
            places.tokens.append(key)
            places.add(address, agent, now)
            return [0, 1]
        if token.agent == agent and token.address == address:
            token.last = facts.call.time
            return None
        places = self._places(identity.actor, facts.call.time)
        if places.strange(address, agent):
            token.elsewhere += 1
            return [min(token.elsewhere, 100), token.networks + 1] if request.verdict.action != "block" else None
        if network(address) != network(token.address):
            token.networks = min(token.networks + 1, 100)
        token.address, token.agent, token.last = address, agent, facts.call.time
        places.add(address, agent, facts.call.time)
        return [0, token.networks]

    def _places(self, actor: str, now: float) -> _Places:
        places = self._actors.pop(actor, None)
        if places is None:
            if len(self._actors) >= MAX_ACTORS:
                del self._actors[next(iter(self._actors))]
            places = _Places(now)
        self._actors[actor] = places
        return places

    def _issued(self, facts: Facts, known: _Known) -> tuple[Deviation, ...]:
        """A token that was never seen, where its actor never was."""
        places, agent = self._actors.get(facts.identity.actor), facts.call.request.headers.get("user-agent", "")
        if places is None or not places.doubtful(address_of(facts.identity), agent, facts.call.time):
            return ()
        return (_doubt(agent, 0.0, known),)

    def _moved(self, facts: Facts, token: _Token, known: _Known) -> tuple[Deviation, ...]:
        identity, agent = facts.identity, facts.call.request.headers.get("user-agent", "")
        places = self._actors.get(identity.actor)
        if places is None or not places.strange(address_of(identity), agent):
            return ()
        moves = known.moves_of(identity)
        since = max(0.0, facts.call.time - token.last)
        how = "moved"
        callers, credentials = (moves.usual.callers, moves.usual.calls) if moves is not None else (0, 0)
        if moves is not None and callers >= CALLERS and not agent.startswith(_BROWSER) and hash64(make(agent)) not in moves.makes:
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
