"""Compares what messages say of whose the data is with who calls, before the request goes on and before the answer is delivered.

Over 500 lines: comparing and remembering share what is known of one caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from re import compile as regex
from typing import Any

from eastwall import behaviours
from eastwall.behaviours import World
from eastwall.behaviours.ownership_claims.choosing import others_listed
from eastwall.behaviours.ownership_claims.counts import CROWDED, FOREIGN, STRANGE
from eastwall.behaviours.ownership_claims.known import IDS, OF_TENANTS, Known, LiveRule
from eastwall.behaviours.ownership_claims.model import Knowledge
from eastwall.behaviours.ownership_claims.reading import (
    EVERY_SERVICE,
    MAX_ROWS,
    Comparison,
    Found,
    actor_key,
    alias_key,
    also_own,
    asks_for_nobodys,
    at,
    own_claim,
    own_values,
    text_at,
    text_of,
    texts_at,
)
from eastwall.behaviours.ownership_claims.sharing import Sharing
from eastwall.discovery.bounded import Recent
from eastwall.discovery.objects import SAFE_METHODS, changes, identifier, object_key, shown, used
from eastwall.model.call import Completion, Phase
from eastwall.model.decision import Decision, Verdict
from eastwall.model.deviations import ChosenFreely, Deviation, NeverGiven, OwnerMismatch
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts, ForeignUse
from eastwall.model.identity import Identity, Strength

MAX_ALIASES = 200_000
"""Aliases that one engine remembers; the oldest leave. An actor has one for each space, so nobody fills them alone."""
MAX_SEEN = 2_000
"""Operations of which it is remembered which places ever held the caller's own."""
FIRST, EVERY = 100, 10
"""So many sampled calls of a class at an operation are noted, and then one in so many."""
MAX_CALLERS = 10_000
"""Callers of whom it is remembered what names them."""
MAX_ITEMS = 2_000
"""Items of an answer that are compared."""
MAX_SHOWN_ITEMS = 2_000
MAX_OWNED = 50_000
MAX_TOLD = 200
"""Items of one answer of which it is remembered whose they are."""
_PEOPLE = frozenset("user person member people profile contact customer patient employee student friend owner".split())
has_digit = regex("[0-9]").search
_PERSONAL = frozenset(("sub", "name", "email", "preferred_username", "username"))
MAX_ASSISTANTS = 100_000
ASSISTS = 4
"""Objects of one owner that an actor was given, after which further ones are not held against it: an assistant."""
_NONE: frozenset[str] = frozenset()


def compile(knowledge: Knowledge, world: World) -> Known:
    return Known(knowledge, world)


class Watch(behaviours.Watch):
    """Remembers which id each actor has at a service, and which places ever held a caller's own."""

    def __init__(self) -> None:
        self._own: dict[tuple[str, str, int], int] = {}
        """(service, space, hash of the actor or tenant) -> hash of its id."""
        self._holders: dict[tuple[str, str, int], int] = {}
        """(service, space, hash of the id) -> hash of its holder; 0: two claim it."""
        self._seen: dict[str, set[str]] = {}
        self._owned: dict[int, tuple[LiveRule, int]] = {}
        """Object -> (the rule by which an answer told whose it is, hash of the owner), of those that staff and services saw."""
        self._callers: Recent[str, _Caller] = Recent(MAX_CALLERS)
        self._noted: dict[tuple[str, str], int] = {}
        """(operation, class) -> sampled calls."""
        self._assistants: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {}
        """(actor, owner) -> (service, kind) of objects of the owner that answers gave the actor, up to `ASSISTS` of them."""
        self._hash_key = b""
        self._known: Known | None = None
        self.holders: Callable[[int], tuple[str, ...]] = _nobody
        """Who was given an object (its key) lately; `LiveState` sets it."""
        self.knows: Callable[[str], bool] = _unknown
        """Whether an actor was given anything lately; `LiveState` sets it."""
        self.is_staff: Callable[[str], bool] = _unknown
        """Whether an actor is known to see everybody's; `LiveState` sets it."""
        self.sharing = Sharing()

    def __len__(self) -> int:
        return len(self._own)

    # -- comparing ------------------------------------------------------------------------------------------------

    def asks(self, phase: Phase, endpoint: Endpoint, known: Known) -> Any:
        if phase is Phase.RESPONSE:
            return endpoint.id in known.responses or endpoint.id in known.lists
        return True if endpoint.id in known.requests else behaviours.STRANGE

    def request(self, facts: Facts, known: Any) -> tuple[Deviation, ...]:
        found = self._named_others(facts, known) if facts.match.endpoint is not None else ()
        if facts.strange and self._owned:
            found += self._told_before(facts, known)
        if facts.foreign and known.given:
            found += self._never_given(facts, known)
        return found + self._excused(facts, known) if facts.objects else found

    def _never_given(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        """Objects that the caller was never given, where its class names nothing else."""
        identity, endpoint, service = facts.identity, facts.match.endpoint, facts.call.service
        if identity.strength == Strength.NONE:
            return ()
        operation = endpoint.id if endpoint is not None else ""
        found: tuple[Deviation, ...] = ()
        for use in facts.foreign:
            if use.others < 0:
                continue  # the caller may be one that no room was left for
            told = known.given_first(service, operation, use.place, use.kind, identity.cls)
            if (
                told is None
                or (told.exceptions and self._actor(identity, known.hash_key) in told.exceptions)
                or (use.tenant and (told.by == "tenant" or (service, use.kind) not in known.alone))
                or (not use.others and not self._can_tell(use, facts, known))
                or self._mine(use.key, facts, known)
                or (use.tenant and self.assists(identity.actor, use.key) and not self._left(use, facts))
            ):
                continue
            confidence = "high" if told.high and use.others else "medium"
            found += (
                NeverGiven(use.place, use.kind, use.shown, told.given, told.of, told.actors, use.others, confidence=confidence),
            )
        return found

    def _left(self, use: ForeignUse, facts: Facts) -> bool:
        return self.sharing.left(use.key, facts.identity.actor, facts.call.time)

    def _can_tell(self, use: ForeignUse, facts: Facts, known: Known) -> bool:
        """Whether it can be held against the caller that it was not given what nobody holds: it was given something since we look, it is no
        name of somebody (`/users/bob`) or of something (`/orders/export`), and no answer will tell whose the object is."""
        endpoint = facts.match.endpoint
        if not self.knows(facts.identity.actor) or use.kind in _PEOPLE:
            return False
        named = [value for name, value in facts.match.params if "path." + name == use.place]
        if named and not has_digit(named[0]):
            return False
        if endpoint is None or facts.operation.method not in SAFE_METHODS:
            return True
        rules = known.responses.get(endpoint.id, ())
        return not any(rule.claim not in OF_TENANTS and facts.identity.cls in rule.classes for rule in rules)

    def _excused(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        """Places at which callers name what they were never given as a matter of course."""
        endpoint = facts.match.endpoint
        if all(use.granted or not use.owners for use in facts.objects):
            return ()
        operation = endpoint.id if endpoint is not None else ""
        found: tuple[Deviation, ...] = ()
        crowded = {use.key for use in facts.foreign if use.others < 0}
        for use in facts.objects:
            if use.granted or not use.owners:
                continue
            if use.key in crowded:
                found += (ChosenFreely(place=use.place),)  # the caller may be one that no room was left for
                continue
            everybodys = use.kind in known.everybodys(facts.call.service, facts.identity.cls)
            if (
                self._mine(use.key, facts, known)
                or everybodys
                or (operation, use.place) in known.choices
                or self.assists(facts.identity.actor, use.key)
            ):
                found += (ChosenFreely(place=use.place),)
        return found

    def everybodys(self, facts: Facts) -> tuple[frozenset[str], frozenset[str]]:
        """Kinds of which the caller sees everybody's objects, and those of them that others see their own of alone."""
        known = self._known
        if known is None:
            return _NONE, _NONE
        return known.everybodys(facts.call.service, facts.identity.cls), known.kept(facts.call.service)

    def _told_before(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        """Named objects that the caller was never given, of which answers to others (staff, a service) told that they are somebody else's."""
        found: tuple[Deviation, ...] = ()
        crowded = {use.key for use in facts.foreign if use.others < 0}
        for index, _ in facts.strange:
            place, kind, key, told = facts.used[index]
            if self._mine(key, facts, known) is False and key not in crowded:
                rule = self._owned[key][0].rule
                kept = self._kept(self._owned[key][0], facts.identity, known)
                subject, confidence = f"{kind} {told}", "low" if not kept else "high" if rule.high else "medium"
                found += (OwnerMismatch(place, rule.claim, "another's", rule.equal, rule.of, confidence, subject),)
        return found

    def _mine(self, key: int, facts: Facts, known: Known) -> bool | None:
        """Whether an object is the caller's by what an answer to somebody else told of it; None: nothing is known."""
        told = self._owned.get(key)
        if told is None or facts.identity.cls not in told[0].classes:
            return None
        rule, value = told
        identity, space = facts.identity, rule.rule.space
        if rule.exceptions and self._actor(identity, known.hash_key) in rule.exceptions:
            return None
        if rule.alias:
            holder = self._holder(identity, rule, known.hash_key)
            own = self._alias(rule.service, space, holder, known) if holder else 0
            return own == value if own else None
        if not own_claim(identity, rule.claim):
            return None
        mine = also_own(identity) | set(own_values(identity).values())
        return any(alias_key(known.hash_key, space, text) == value for text in mine)

    def _tell(self, rule: LiveRule, facts: Facts, known: Known) -> None:
        """Whose objects are that somebody sees who sees everybody's."""
        for text, path in at(facts.operation.body, rule.steps, MAX_TOLD):
            for kind, node in _objects(facts.operation.body, path, rule)[:1]:
                if named := _id_of(node):
                    key = object_key(known.hash_key, EVERY_SERVICE, kind, named)
                    self._owned.pop(key, None)
                    if len(self._owned) >= MAX_OWNED:
                        del self._owned[next(iter(self._owned))]
                    self._owned[key] = (rule, alias_key(known.hash_key, rule.rule.space, text))

    def gave(self, service: str, kind: str, owner: str, actor: str) -> None:
        """An answer gave the actor an object that somebody else holds. Of a kind that many share (products), who was given it first is nobody's
        principal."""
        if self._known is None or (service, kind) not in self._known.private:
            return
        kinds = self._assistants.get((actor, owner), ())
        if len(kinds) >= ASSISTS:
            kinds = self._still_private(kinds)
            if len(kinds) >= ASSISTS:
                return
        elif not kinds and len(self._assistants) >= MAX_ASSISTANTS:
            del self._assistants[next(iter(self._assistants))]
        self._assistants[actor, owner] = (*kinds, (service, kind))

    def assists(self, actor: str, key: int) -> bool:
        """Whether the actor was given several objects of one of those who hold this one."""
        for owner in self.holders(key):
            kinds = self._assistants.get((actor, owner), ())
            if len(kinds) >= ASSISTS and len(self._still_private(kinds)) >= ASSISTS and not self.is_staff(owner):
                return True
        return False

    def _still_private(self, kinds: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """Of a catalogue the first entries look as if each were somebody's, until more is known."""
        private = self._known.private if self._known is not None else {}
        return tuple([one for one in kinds if one in private])

    def _named_others(self, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        endpoint = facts.match.endpoint
        if endpoint is None or endpoint.id not in known.requests or not facts.identity.strength:
            return ()
        found: tuple[Deviation, ...] = ()
        for rule in known.requests[endpoint.id]:
            if rule.source.startswith("body"):
                values = at(facts.operation.body, rule.steps, MAX_ITEMS)
            else:
                values = _named(facts, rule.source, rule.steps[0])
            if values and (others := self._foreign(values, rule, facts.identity, known)):
                held = any(use.granted and use.place != rule.place for use in facts.objects)
                found += (self._mismatch(rule, facts, others, known, held=held),)
        return found

    def response(self, facts: Facts, known: Any) -> tuple[Deviation, ...]:
        endpoint, identity = facts.match.endpoint, facts.identity
        if endpoint is None or not identity.strength:
            return ()
        response, body = facts.call.response, facts.operation.body
        if response is None or not 200 <= response.status < 300 or body is None:
            return ()
        found: tuple[Deviation, ...] = others_listed(facts, known, self) if endpoint.id in known.lists else ()
        for rule in known.responses.get(endpoint.id, ()):
            if identity.cls not in rule.classes:
                continue
            if rule.listed:
                texts = texts_at(body, rule.steps, MAX_ITEMS)
                if not texts or (len(texts) == 1 and self._is_own(next(iter(texts)), rule, identity, known)):
                    continue  # nearly all answers
            else:
                text = text_at(body, rule.steps)
                if not text or self._is_own(text, rule, identity, known):
                    continue
                texts = {text}
            if not self._foreign([(text, ()) for text in texts], rule, facts.identity, known):
                continue
            values = at(body, rule.steps, MAX_ITEMS)
            if values and (others := self._foreign(values, rule, facts.identity, known)):
                found += self._answered(rule, facts, others, known)
        return found

    def _is_own(self, text: str, rule: LiveRule, identity: Identity, known: Known) -> bool:
        """Whether a value is the caller's by what the rule goes by."""
        if not rule.alias:
            return own_claim(identity, rule.claim) == text
        holder = self._holder(identity, rule, known.hash_key)
        own = self._alias(rule.service, rule.space, holder, known) if holder else 0
        return own != 0 and alias_key(known.hash_key, rule.space, text) == own

    def _foreign(self, values: list[Found], rule: LiveRule, identity: Identity, known: Known) -> list[Found]:
        """The values that are not the caller's own."""
        if identity.cls not in rule.classes:
            return []
        if rule.alias:
            return self._foreign_ids(values, rule, identity, known)
        own = own_claim(identity, rule.claim)
        if not own:
            return []
        others = [value for value in values if value[0] != own]
        if not others:
            return []
        if rule.exceptions and self._actor(identity, known.hash_key) in rule.exceptions:
            return []
        mine = also_own(identity) | set(own_values(identity).values())
        return [value for value in others if value[0] not in mine]

    def _foreign_ids(self, values: list[Found], rule: LiveRule, identity: Identity, known: Known) -> list[Found]:
        holder = self._holder(identity, rule, known.hash_key)
        if not holder:
            return []
        space, service, key = rule.rule.space, rule.service, known.hash_key
        own = self._alias(service, space, holder, known)
        hashes = {text: alias_key(key, space, text) for text in {text for text, _ in values}}
        if own:
            others = [value for value in values if hashes[value[0]] != own]
        else:
            others = [value for value in values if self._holds(service, space, hashes[value[0]], known) not in (0, holder)]
        if not others or (rule.exceptions and self._actor(identity, key) in rule.exceptions):
            return []
        mine = set(own_values(identity).values())
        return [value for value in others if value[0] not in mine]

    def _kept(self, rule: LiveRule, identity: Identity, known: Known) -> bool:
        """Whether it can be held against the caller that it has another's: it was seen to keep to its own, or the whole crowd was."""
        return not rule.rule.few or self._actor(identity, known.hash_key) in rule.keepers

    def _alias(self, service: str, space: str, holder: int, known: Known) -> int:
        """The holder's id at the service, 0 where it is not known, or two claim it."""
        own = known.aliases.get((service, space, holder)) or self._own.get((service, space, holder), 0)
        return own if own and self._holds(service, space, own, known) == holder else 0

    def _holds(self, service: str, space: str, value: int, known: Known) -> int:
        """Whose an id at the service is; 0 where it is not known, or two claim it. What was learned of many calls goes before what one answer told:
        who was first shown another's list has not got that one's id."""
        claimed = (service, space, value)
        return known.holders.get(claimed) or self._holders.get(claimed, 0)

    def _answered(self, rule: LiveRule, facts: Facts, others: list[Found], known: Known) -> tuple[Deviation, ...]:
        """Foreign values of an answer: those of objects that the caller was given before are told, not acted upon."""
        if not rule.listed:
            prior = facts.call.prior
            asked = prior is not None and any(use.granted for use in prior.facts.objects)
            held = asked or self._held(others[0][1], rule, facts, known)
            return (self._mismatch(rule, facts, others, known, held=held, path=others[0][1]),)
        strange = [value for value in others if not self._held(value[1], rule, facts, known)]
        items = tuple(dict.fromkeys(_item(path) for _, path in strange))
        if not strange:
            return ()
        # Who is shown one other's objects unasked is that one's assistant more often than the service's leak is.
        shown = len({text for text, _ in strange}) == 1 and asks_for_nobodys(facts)
        return (self._mismatch(rule, facts, strange, known, held=shown, path=strange[0][1], items=items[:MAX_SHOWN_ITEMS]),)

    def _held(self, path: tuple[str | int, ...], rule: LiveRule, facts: Facts, known: Known) -> bool:
        """Whether the object at the path is known as one that the caller was given or shown before."""
        me = facts.identity.actor
        for kind, node in _objects(facts.operation.body, path, rule):
            text = _id_of(node)
            if text and me in self.holders(object_key(known.hash_key, EVERY_SERVICE, kind, text)):
                return True
        return False

    def _mismatch(
        self,
        rule: LiveRule,
        facts: Facts,
        others: list[Found],
        known: Known,
        *,
        held: bool,
        path: tuple[str | int, ...] = (),
        items: tuple[tuple[str | int, ...], ...] = (),
    ) -> OwnerMismatch:
        subject, listed = "", 0
        if facts.phase is Phase.RESPONSE:
            for kind, node in _objects(facts.operation.body, path, rule):
                if text := _id_of(node):
                    subject = f"{kind} {shown(text)}"
                    break
            listed = len({_item(where) for _, where in at(facts.operation.body, rule.steps, MAX_ITEMS)}) if items else 0
        delegated = len(facts.identity.chain) > 1 and bool(
            facts.identity.agent or facts.identity.human != facts.identity.actor != ""
        )
        unsure = held or not self._kept(rule, facts.identity, known)
        confidence = "low" if unsure else "medium" if delegated or not rule.rule.high else "high"
        return OwnerMismatch(
            place=rule.place,
            claim=rule.claim,
            shown=_shown(others[0][0]),
            equal=rule.rule.equal,
            of=rule.rule.of,
            confidence=confidence,
            subject=subject,
            items=items,
            listed=listed,
        )

    # -- remembering ----------------------------------------------------------------------------------------------

    def learned(self, known: Known) -> None:
        self._hash_key, self._known = known.hash_key, known

    def remembers(self, phase: Phase, endpoint: Endpoint, known: Known) -> bool:
        return phase is Phase.RESPONSE and (
            endpoint.method != "GET" or endpoint.id in known.responses or endpoint.id in known.selves
        )

    def after(self, facts: Facts, verdict: Verdict, known: Any) -> None:
        """What nobody asked for by an id tells the caller's own ids: an answer to `GET /orders`, to a POST that makes one."""
        self._hash_key, self._known = known.hash_key, known
        endpoint, prior = facts.match.endpoint, facts.call.prior
        if facts.phase is not Phase.RESPONSE or prior is None:
            return
        if endpoint is None:
            asked = prior.facts
            if verdict.action != "block" and changes(asked.operation.method, asked.operation.name):
                self._share(asked, used(asked.operation, asked.match, known.hash_key, EVERY_SERVICE), facts, known)
            return
        if prior.facts.used:
            if facts.call.request.method != "GET" and verdict.action != "block":
                self._share(prior.facts, prior.facts.used, facts, known)
        elif endpoint.id in known.selves:
            self.sharing.introduce(facts, known.hash_key)
        if endpoint.id not in known.responses:
            return
        if facts.identity.strength > Strength.NONE and verdict.action != "block":
            for rule in known.responses[endpoint.id]:
                if rule.claim in ("sub", "alias", "email", "name") and facts.identity.cls not in rule.classes:
                    self._tell(rule, facts, known)
        if prior.facts.used or verdict.action == "block" or facts.deviations or facts.identity.strength == Strength.NONE:
            return
        for rule in known.responses[endpoint.id]:
            if rule.alias and facts.identity.cls in rule.classes:
                values = texts_at(facts.operation.body, rule.steps, MAX_ITEMS)
                holder = self._holder(facts.identity, rule, known.hash_key)
                if len(values) == 1 and holder and not any(finding.suspicious for finding in prior.findings):
                    self._learn(rule, holder, alias_key(known.hash_key, rule.rule.space, values.pop()), known)

    def _share(self, asked: Facts, named: Iterable[tuple[str, str, int, str]], facts: Facts, known: Known) -> None:
        """What a holder does with an object that names somebody else; `named`: (place, kind, key, value fit to show) of objects, also by
        operations that are not known yet: who was shown something before they are is shown it ever after."""
        me = facts.identity.actor
        mine = [key for _, _, key, _ in named if me in self.holders(key)]
        if mine:
            self.sharing.shared(
                asked, facts, mine, known, lambda space, value: self._holds(facts.call.service, space, value, known)
            )

    def _learn(self, rule: LiveRule, holder: int, value: int, known: Known) -> None:
        own, claimed = (rule.service, rule.rule.space, holder), (rule.service, rule.rule.space, value)
        if own in self._own or own in known.aliases:
            return
        if len(self._own) >= MAX_ALIASES:
            oldest = next(iter(self._own))
            self._holders.pop((*oldest[:2], self._own.pop(oldest)), None)
        self._own[own] = value
        self._holders[claimed] = holder if self._holders.get(claimed, holder) == holder else 0

    def completed(self, request: Decision, response: Decision | None, completion: Completion) -> Any:
        """Of sampled calls that succeeded: (actor, tenant, labels, rows of place, space, which labels were equal, hash of the value)."""
        facts = request.facts
        if (
            not facts.sampled
            or not 200 <= completion.status < 300
            or facts.identity.strength == Strength.NONE
            or not self._hash_key
        ):
            return None
        if not self._wanted(facts):
            return None
        caller = self._caller(facts.identity)
        endpoint = facts.match.endpoint
        seen = self._places(
            endpoint.id if endpoint is not None else f"{facts.call.service} {facts.operation.method} {facts.operation.name}"
        )
        compared = Comparison(caller.masks, seen)
        compared.request(facts.operation, facts.match.params, facts.call.request.headers)
        if response is not None:
            compared.answer(response.facts.operation)
        rows, named = compared.rows(self._hash_key), _names(facts) if facts.used else []
        return [caller.actor, caller.tenant, caller.labels, rows, named] if rows or named else None

    def _caller(self, identity: Identity) -> _Caller:
        """What names a caller: the same as long as it comes with the same credential."""
        found = self._callers.get(identity.actor)
        if found is None or found.identity is not identity:
            key, own = self._hash_key, own_values(identity)
            for label, text in own.items():
                if label in _PERSONAL:
                    self.sharing.name(text, identity.actor, key)
            found = _Caller(identity, own, key)
            self._callers.put(identity.actor, found)
        return found

    def _wanted(self, facts: Facts) -> bool:
        """Whether the model wants the call: the first of each class at each operation, and then a few; those of callers who are not judged before
        more is known of them."""
        endpoint = facts.match.endpoint
        key = (endpoint.id if endpoint is not None else "", facts.identity.cls)
        count = self._noted.get(key, 0)
        if count == 0 and len(self._noted) >= MAX_SEEN:
            self._noted.clear()
        self._noted[key] = count + 1
        if count < FIRST or count % EVERY == 0:
            return True
        known = self._known
        settled = known.settled.get((facts.call.service, facts.identity.cls)) if known is not None else None
        return settled is not None and self._actor(facts.identity, self._hash_key) not in settled

    def _places(self, operation: str) -> set[str]:
        found = self._seen.get(operation)
        if found is None:
            if len(self._seen) >= MAX_SEEN:
                del self._seen[next(iter(self._seen))]
            found = self._seen[operation] = set()
        return found

    def _holder(self, identity: Identity, rule: LiveRule, key: bytes) -> int:
        if rule.claim == "tenant-alias":
            return alias_key(key, "tenant", identity.tenant) if identity.tenant else 0
        return self._actor(identity, key)

    @staticmethod
    def _actor(identity: Identity, key: bytes) -> int:
        return actor_key(key, identity.actor)


class _Caller:
    """What names a caller."""

    __slots__ = ("actor", "identity", "labels", "masks", "tenant")

    def __init__(self, identity: Identity, own: dict[str, str], key: bytes) -> None:
        self.identity = identity
        self.actor = actor_key(key, identity.actor)
        self.tenant = alias_key(key, "tenant", identity.tenant) if identity.tenant else 0
        self.labels = list(own)
        self.masks: dict[str, int] = {}
        """Value -> a bit for each of `labels` that has it."""
        for bit, text in enumerate(own.values()):
            self.masks[text] = self.masks.get(text, 0) | 1 << bit


def _names(facts: Facts) -> list[tuple[str, str, int]]:
    """(place, kind, what of it the caller was not given) of the objects that a request names."""
    if not facts.foreign:
        if len(facts.used) == 1:
            place, kind, _, _ = facts.used[0]
            return [(place, kind, 0)]
        named = dict.fromkeys([(place, kind) for place, kind, _, _ in facts.used], 0)
    else:
        named = {}
        strange = {index for index, _ in facts.strange}
        foreign = {use.key: CROWDED if use.others < 0 else FOREIGN for use in facts.foreign}
        for index, (place, kind, object_, _) in enumerate(facts.used):
            bits = (STRANGE if index in strange else 0) | foreign.get(object_, 0)
            named[place, kind] = named.get((place, kind), 0) | bits
    return [(*where, bits) for where, bits in named.items()][:MAX_ROWS]


def _unknown(actor: str) -> bool:
    return False


def _nobody(key: int) -> tuple[str, ...]:
    return ()


def _named(facts: Facts, source: str, name: str) -> list[Found]:
    """Values of a parameter or a header."""
    if source == "path":
        pairs = facts.match.params
    elif source == "query":
        pairs = facts.operation.query
    else:
        value = facts.call.request.headers.get(name)
        pairs = ((name, value),) if value is not None else ()
    return [(text, ()) for key, value in pairs if key == name and (text := text_of(value))]


def _item(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The path of the innermost item of a list that a path leads through."""
    for end in range(len(path), 0, -1):
        if type(path[end - 1]) is int:
            return path[:end]
    return ()


def _objects(body: Any, path: tuple[str | int, ...], rule: LiveRule) -> list[tuple[str, dict[str, Any]]]:
    """(kind, object) of those that the value stands in, from the innermost outwards; without the one that is the owner itself
    (`customer.id`)."""
    nodes, node = [body], body
    for step in path[:-1]:
        node = node[step]
        nodes.append(node)
    found = [(kind, one) for kind, one in zip(rule.kinds, nodes, strict=False) if type(one) is dict]
    if found and path and str(path[-1]).lower() in IDS:
        found.pop()
    return found[::-1]


def _id_of(node: dict[str, Any]) -> str:
    """An object's id as keys are made of it."""
    for name in IDS:
        if text := identifier(node.get(name)):
            return text
    return ""


def _shown(text: str) -> str:
    """Another's name or number: not whole, unless it is a plain number or UUID."""
    return shown(text) if len(text) > 8 or "@" in text or not text.isalnum() else text
