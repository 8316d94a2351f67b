"""Where each bearer token was used and with what client, and whether a workload calls from its networks.

A network alone says nothing (people roam, offices and carriers share addresses), nor does a client alone (an app has several). A token that is used
from a network and with a make of client that are *both* new to it is in another's hands, unless credentials of its class are known to move so.

Bounds: `MAX_TOKENS` tokens with `MAX_PLACES` places each; no token is kept, only its hash. The token that was quiet longest leaves first; what is
forgotten is new, and the next place it is seen at is its own.
"""

from __future__ import annotations

from typing import Any

from eastwall import behaviours
from eastwall.behaviours import World
from eastwall.behaviours.credential_use.model import Knowledge, Pins
from eastwall.behaviours.credential_use.places import address_of, make, network, shown
from eastwall.behaviours.maxima import Usual, hash64
from eastwall.model.call import Completion
from eastwall.model.decision import Decision
from eastwall.model.deviations import CredentialMoved, Deviation
from eastwall.model.facts import Facts
from eastwall.model.identity import Strength

MAX_TOKENS = 200_000
MAX_PLACES = 8
TOGETHER = 600.0
"""Seconds within which two uses are at the same time: nobody changes both place and client so fast and back."""
SHORTEST = 20
"""Characters of an `authorization` header that can hold a token."""


class _Token:
    """One token."""

    __slots__ = ("address", "agent", "elsewhere", "last", "makes", "networks")

    def __init__(self, address: str, agent: str, now: float) -> None:
        self.address = address
        self.agent = agent
        """As last used at its own places."""
        self.last = now
        self.networks = [network(address)]
        self.makes = [make(agent)]
        self.elsewhere = 0
        """Uses at places that are none of its own."""


class _Known:
    """Knowledge by class and by workload."""

    __slots__ = ("moves", "pins", "widest")

    def __init__(self, knowledge: Knowledge) -> None:
        self.moves = {one.cls: one.usual for one in knowledge.moves}
        self.pins: dict[int, Pins] = {one.actor: one for one in knowledge.pins}
        self.widest = max((one.usual for one in knowledge.moves), key=lambda usual: usual.most, default=None)

    def usual(self, facts: Facts) -> Usual | None:
        identity = facts.identity
        found = self.moves.get(identity.cls)
        if found is None and (identity.kind == "user" or identity.strength < Strength.ASSERTED):
            return self.widest
        return found


def compile(knowledge: Knowledge, world: World) -> _Known:
    """Look-up tables."""
    return _Known(knowledge)


class Watch(behaviours.Watch):
    """See above."""

    def __init__(self) -> None:
        self._tokens: dict[int, _Token] = {}

    def __len__(self) -> int:
        return len(self._tokens)

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
        if token is None or (token.agent == headers.get("user-agent", "") and token.address == address_of(identity)):
            return found
        return found + self._moved(facts, token, known)

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        facts = request.facts
        identity = facts.identity
        if not identity.strength:
            return None
        headers = facts.call.request.headers
        authorization = headers.get("authorization")
        if authorization is None or len(authorization) < SHORTEST or completion.status == 401:
            return None
        key, agent, address = hash(authorization), headers.get("user-agent", ""), address_of(identity)
        token = self._tokens.get(key)
        if token is None:
            if request.verdict.action == "block" or authorization[:6].lower() == "basic ":
                return None  # a password is used wherever its owner is
            if len(self._tokens) >= MAX_TOKENS:
                del self._tokens[next(iter(self._tokens))]
            self._tokens[key] = _Token(address, agent, facts.call.time)
            return [0, 1]
        if token.agent == agent and token.address == address:
            token.last = facts.call.time
            return None
        where, what = network(address), make(agent)
        if where not in token.networks and what not in token.makes:
            token.elsewhere += 1
            return [min(token.elsewhere, 100), len(token.networks) + 1] if request.verdict.action != "block" else None
        token.address, token.agent, token.last = address, agent, facts.call.time
        if where in token.networks and what in token.makes:
            return None
        if where not in token.networks and len(token.networks) < MAX_PLACES:
            token.networks.append(where)
        if what not in token.makes and len(token.makes) < MAX_PLACES:
            token.makes.append(what)
        return [0, len(token.networks)]

    @staticmethod
    def _moved(facts: Facts, token: _Token, known: _Known) -> tuple[Deviation, ...]:
        agent = facts.call.request.headers.get("user-agent", "")
        if network(address_of(facts.identity)) in token.networks or make(agent) in token.makes:
            return ()
        usual = known.usual(facts)
        if usual is not None and usual.most and usual.most[0] > 0:
            return ()  # a gateway for browsers, or whatever it is: credentials of this class do move so
        since = max(0.0, facts.call.time - token.last)
        how = "together" if token.elsewhere and since < TOGETHER else "moved"
        callers, credentials = (usual.callers, usual.calls) if usual is not None else (0, 0)
        return (
            CredentialMoved(
                "header.authorization", how, shown(agent), shown(token.agent), len(token.networks), since, credentials, callers
            ),
        )


def _abroad(facts: Facts, known: _Known) -> tuple[Deviation, ...]:
    """A workload calls from where it never did."""
    pins = known.pins.get(hash64(facts.identity.actor))
    if pins is None or hash64(network(address_of(facts.identity) or facts.call.peer.address)) in pins.networks:
        return ()
    agent = shown(facts.call.request.headers.get("user-agent", ""))
    return (CredentialMoved("identity", "network", agent, "", len(pins.networks), 0.0, pins.calls, 1),)
