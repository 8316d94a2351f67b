"""Who is called what, and what a holder does with an object in a call that names somebody: shares it, or hands it over.

A share tells at once who may ask for the object next; a hand-over also who may not any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eastwall.behaviours.ownership_claims.known import Known, names_handing_over, owner_field
from eastwall.behaviours.ownership_claims.reading import actor_key, alias_key, answer_values, called_key, steps_of, text_of
from eastwall.model.facts import Facts

MAX_SHARE = 8
"""Members of an object of a request's body that may name with whom something is shared, objects, and people."""
MAX_NAMES = 200_000
MAX_LEFT = 50_000
MAX_WAITING = 20_000
LEAVING = 600.0
"""Seconds for which who handed an object over may still ask for it: a page is loaded anew, other requests are on their way."""
_CALLED = frozenset(("name", "username", "userName", "user_name", "login", "email", "handle", "phone"))


class Sharing:
    """Bounded: the oldest leave."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        """Hash of what somebody is called (a claim, what `/me` told) -> actor; empty: two are."""
        self._waiting: dict[int, list[int]] = {}
        """Hash of a name -> objects shared with somebody of that name, who has not come yet."""
        self._left: dict[tuple[int, str], float] = {}
        """(object, actor that handed it over to somebody else) -> when."""
        self.grant: Callable[[int, str], None] = _nothing
        """An actor holds an object from now on; `LiveState` sets it."""

    @property
    def handed_over(self) -> bool:
        """Whether anybody handed anything over: mostly not, and then `left` and `returned` need not be called."""
        return bool(self._left)

    def left(self, key: int, actor: str, now: float) -> bool:
        """Whether the actor handed the object over, some time ago."""
        since = self._left.get((key, actor))
        return since is not None and now - since > LEAVING

    def returned(self, key: int, facts: Facts) -> None:
        """An answer gives the caller an object: where the call did not name it, it is the caller's again."""
        if (key, facts.identity.actor) in self._left:
            prior = facts.call.prior
            if prior is None or all(used != key for _, _, used, _ in prior.facts.used):
                del self._left[key, facts.identity.actor]

    def introduce(self, facts: Facts, hash_key: bytes) -> None:
        """What an answer about oneself says one is called."""
        for node in _dicts(facts.operation.body):
            for name, value in node.items():
                if name in _CALLED and type(value) is str and (text := text_of(value)):
                    self.name(text, facts.identity.actor, hash_key)

    def name(self, text: str, actor: str, hash_key: bytes) -> None:
        """An actor is called so."""
        key = called_key(hash_key, text)
        known = self._names.get(key)
        if known is None:
            if len(self._names) >= MAX_NAMES:
                del self._names[next(iter(self._names))]
            self._names[key] = actor
            for shared in self._waiting.pop(key, ()):
                self.grant(shared, actor)
        elif known != actor:
            self._names[key] = ""

    def shared(self, asked: Facts, facts: Facts, mine: list[int], known: Known, holds: Callable[[str, int], int]) -> None:
        """A holder of the objects `mine` named them in a call that changes something. `holds`: (space, hash of an id there) -> hash of whose
        it is."""
        response, me = facts.call.response, facts.identity.actor
        if response is None or not 200 <= response.status < 300:
            return
        given_away = names_handing_over(asked.match.endpoint, asked.operation)
        for text in _short_texts(asked.operation.body):
            called = called_key(known.hash_key, text)
            other = self._names.get(called)
            if other == me:
                continue
            if other is None and " " not in text:
                self._wait(called, mine)
            elif other:
                for key in mine[:MAX_SHARE]:
                    self.grant(key, other)
            if other:
                gone = given_away or _owned_by(other, text, facts, known, holds)
            else:
                gone = given_away and other is None and "@" in text
            if gone:
                self._leave(mine, me, facts.call.time)

    def _wait(self, called: int, mine: list[int]) -> None:
        """Somebody who was not here yet, or nobody: it is told when one of that name comes."""
        if len(self._waiting) >= MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        waiting = self._waiting.setdefault(called, [])
        waiting += [key for key in mine[:MAX_SHARE] if key not in waiting][: MAX_SHARE - len(waiting)]

    def _leave(self, keys: list[int], actor: str, now: float) -> None:
        for key in keys[:MAX_SHARE]:
            if len(self._left) >= MAX_LEFT:
                del self._left[next(iter(self._left))]
            self._left[key, actor] = now


def _owned_by(other: str, text: str, facts: Facts, known: Known, holds: Callable[[str, int], int]) -> bool:
    """Whether the answer tells, where answers tell owners, that the object is now of whom the request named."""
    service, key = facts.call.service, known.hash_key
    named, holder = {text, text_of(other.partition(":")[2])}, actor_key(key, other)
    return any(
        told in named or holds(space, alias_key(key, space, told)) == holder
        for place, space, told in answer_values(facts.operation)
        if (service, owner_field(steps_of(place))) in known.owner_fields
    )


def _short_texts(body: Any) -> list[str]:
    """The texts of a small request that may name somebody, with those of GraphQL variables and MCP arguments."""
    found: dict[str, None] = {}
    for node in _dicts(body):
        if len(node) <= MAX_SHARE:
            found.update((text, None) for value in node.values() if type(value) is str and (text := text_of(value)))
    return list(found)[:MAX_SHARE]


def _dicts(body: Any) -> list[dict[str, Any]]:
    """A body and the objects within it that stand in no list, the outermost first; at most `MAX_SHARE`."""
    found = [body] if type(body) is dict else []
    for node in found:  # grows on the way
        found += [value for value in node.values() if type(value) is dict][: MAX_SHARE - len(found)]
    return found


def _nothing(key: int, actor: str) -> None:
    pass
