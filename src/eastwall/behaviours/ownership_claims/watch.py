"""Compares what messages say of whose the data is with who calls, before the request goes on and before the answer is delivered.

Over 500 lines: comparing and remembering share what is known of one caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from re import compile as regex
from typing import Any

from eastwall.behaviours import STRANGE, World
from eastwall.behaviours.ownership_claims.choosing import others_listed
from eastwall.behaviours.ownership_claims.judging import GivenFirst
from eastwall.behaviours.ownership_claims.known import OF_TENANTS, Known, LiveRule, Plan
from eastwall.behaviours.ownership_claims.model import Knowledge
from eastwall.behaviours.ownership_claims.noting import Noting
from eastwall.behaviours.ownership_claims.reading import (
    EVERY_SERVICE,
    Found,
    actor_key,
    alias_key,
    all_are,
    also_own,
    asks_for_nobodys,
    at,
    own_claim,
    own_values,
    text_of,
    texts_at,
    value_at,
)
from eastwall.behaviours.ownership_claims.standing import fit_to_show, id_of, item_of, objects_on, told_owners, values_named
from eastwall.discovery.objects import SAFE_METHODS, changes, object_key, shown, used
from eastwall.model.call import Phase
from eastwall.model.decision import Verdict
from eastwall.model.deviations import ChosenFreely, Deviation, NeverGiven, OwnerMismatch
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import Facts, ForeignUse, ObjectUse
from eastwall.model.identity import Identity

MAX_ALIASES = 200_000
"""Aliases that one engine remembers; the oldest leave. An actor has one for each space, so nobody fills them alone."""
MAX_ITEMS = 2_000
"""Items of an answer that are compared."""
MAX_SHOWN_ITEMS = 2_000
MAX_OWNED = 50_000
MAX_TOLD = 200
"""Items of one answer of which it is remembered whose they are."""
_PEOPLE = frozenset("user person member people profile contact customer patient employee student friend owner".split())
has_digit = regex("[0-9]").search
MAX_ASSISTANTS = 100_000
ASSISTS = 4
"""Objects of one owner that an actor was given, after which further ones are not held against it: an assistant."""
_NONE: frozenset[str] = frozenset()


def compile(knowledge: Knowledge, world: World) -> Known:
    return Known(knowledge, world)


class Watch(Noting):
    """Remembers which id each actor has at a service, and whose objects are."""

    def __init__(self) -> None:
        super().__init__()
        self._own: dict[tuple[str, str, int], int] = {}
        """(service, space, hash of the actor or tenant) -> hash of its id."""
        self._holders: dict[tuple[str, str, int], int] = {}
        """(service, space, hash of the id) -> hash of its holder; 0: two claim it."""
        self._owned: dict[int, tuple[LiveRule, int]] = {}
        """Object -> (the rule by which an answer told whose it is, hash of the owner), of those that staff and services saw."""
        self._assistants: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {}
        """(actor, owner) -> (service, kind) of objects of the owner that answers gave the actor, up to `ASSISTS` of them."""
        self.holders: Callable[[int], tuple[str, ...]] = _nobody
        """Who was given an object (its key) lately; `LiveState` sets it."""
        self.knows: Callable[[str], bool] = _unknown
        """Whether an actor was given anything lately; `LiveState` sets it."""
        self.is_staff: Callable[[str], bool] = _unknown
        """Whether an actor is known to see everybody's; `LiveState` sets it."""

    def __len__(self) -> int:
        return len(self._own)

    # -- comparing ------------------------------------------------------------------------------------------------

    def asks(self, phase: Phase, endpoint: Endpoint, known: Known) -> Any:
        if phase is Phase.RESPONSE:
            return endpoint.id in known.responses or endpoint.id in known.lists
        return True if endpoint.id in known.requests else STRANGE

    def request(self, facts: Facts, known: Any) -> tuple[Deviation, ...]:
        endpoint, identity = facts.match.endpoint, facts.identity
        plan = known.plan(endpoint.id if endpoint is not None else "")
        found: tuple[Deviation, ...] = ()
        if plan.requests and identity.strength:
            found += self._named_others(facts, plan, known)
        if self._owned:
            for index, _ in facts.strange:
                if facts.used[index][2] in self._owned:
                    found += self._told_before(facts, known)
                    break
        if known.given and identity.strength:
            for use in facts.foreign:
                # Where others are fewer than none, the caller may be one that no room was left for.
                if use.others >= 0 and (told := plan.given_first(facts.call.service, use.place, use.kind, identity.cls)):
                    found += self._never_given(use, told, facts, known)
        for named in facts.objects:
            if named.owners and not named.granted and self._excused(named, plan, facts, known):
                found += (ChosenFreely(place=named.place),)
        return found

    def _never_given(self, use: ForeignUse, told: GivenFirst, facts: Facts, known: Known) -> tuple[Deviation, ...]:
        """An object that the caller was never given, where its class names nothing else."""
        identity = facts.identity
        if (
            (told.exceptions and self._actor(identity, known) in told.exceptions)
            or (use.tenant and (told.by == "tenant" or (facts.call.service, use.kind) not in known.alone))
            or (not use.others and not self._can_tell(use, facts, known))
            or self._mine(use.key, facts, known)
            or (use.tenant and self.assists(identity.actor, use.key) and not self._left(use, facts))
        ):
            return ()
        confidence = "high" if told.high and use.others else "medium"
        return (NeverGiven(use.place, use.kind, use.shown, told.given, told.of, told.actors, use.others, confidence=confidence),)

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

    def _excused(self, use: ObjectUse, plan: Plan, facts: Facts, known: Known) -> bool:
        """Whether the caller may name what it was never given: at a place where callers do so as a matter of course, or as one who sees everybody's;
        or that it was not given cannot be told."""
        return (
            use.place in plan.choices
            or any(one.others < 0 and one.key == use.key for one in facts.foreign)
            or use.kind in known.everybodys(facts.call.service, facts.identity.cls)
            or bool(self._mine(use.key, facts, known))
            or self.assists(facts.identity.actor, use.key)
        )

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
        identity = facts.identity
        if rule.exceptions and self._actor(identity, known) in rule.exceptions:
            return None
        if rule.alias:
            own = self._own_id(identity, rule, known)
            return own == value if own else None
        if not own_claim(identity, rule.claim):
            return None
        mine = also_own(identity) | set(own_values(identity).values())
        return any(rule.hashed(known.hash_key, text) == value for text in mine)

    def _tell(self, rule: LiveRule, facts: Facts, known: Known) -> None:
        """Whose objects are that somebody sees who sees everybody's."""
        owned = self._owned
        for kind, id_, text in told_owners(facts.operation.body, rule, MAX_TOLD):
            key = object_key(known.hash_key, EVERY_SERVICE, kind, id_)
            owned.pop(key, None)
            if len(owned) >= MAX_OWNED:
                del owned[next(iter(owned))]
            owned[key] = (rule, rule.hashed(known.hash_key, text))

    def gave(self, service: str, kind: str, owner: str, actor: str) -> None:
        """An answer gave the actor an object that somebody else holds. Of a kind that many share (products), who was given it first is nobody's
        principal. Of what kind it is may be known later: an object is given for the first time once."""
        known = self._known
        if known is not None and (service, kind) in known.judged and (service, kind) not in known.private:
            return
        kinds = self._assistants.get((actor, owner), ())
        if len(kinds) >= 2 * ASSISTS:
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

    def _named_others(self, facts: Facts, plan: Plan, known: Known) -> tuple[Deviation, ...]:
        found: tuple[Deviation, ...] = ()
        for rule in plan.requests:
            if rule.source.startswith("body"):
                values = at(facts.operation.body, rule.steps, MAX_ITEMS)
            else:
                values = values_named(facts, rule.source, rule.steps[0])
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
        plan = known.plan(endpoint.id)
        found: tuple[Deviation, ...] = ()
        if plan.lists and facts.given:
            found += others_listed(facts, known, self)
        for rule in plan.responses:
            if identity.cls in rule.classes and self._holds_others(body, rule, identity, known):
                values = at(body, rule.steps, MAX_ITEMS)
                if values and (others := self._foreign(values, rule, identity, known)):
                    found += self._answered(rule, facts, others, known)
        return found

    def _holds_others(self, body: Any, rule: LiveRule, identity: Identity, known: Known) -> bool:
        """Whether an answer holds another's where the rule says: nearly all hold the caller's own and nothing else, or nothing."""
        own: Any
        if rule.alias:
            own = rule.accustomed.get(identity.tenant if rule.of_tenants else identity.actor)
        else:
            own = identity.claims.get(rule.claim) if rule.plain else own_claim(identity, rule.claim)
        if rule.listed:
            if own is not None and all_are(own, body, rule.outside, rule.inside):
                return False
            texts = texts_at(body, rule.steps, MAX_ITEMS)
        else:
            value = body
            for step in rule.steps:
                value = value.get(step) if type(value) is dict else None
            if value is None or (value == own and type(value) is type(own)):
                return False
            text = text_of(value)
            texts = {text} if text else set()
        if not texts:
            return False
        text = next(iter(texts))
        if len(texts) == 1 and self._is_own(text, rule, identity, known):
            if rule.alias and text_of(value := value_at(body, rule.steps)) == text:
                rule.accustom(identity, value)
            return False
        return bool(self._foreign([(text, ()) for text in texts], rule, identity, known))

    def _is_own(self, text: str, rule: LiveRule, identity: Identity, known: Known) -> bool:
        """Whether a value is the caller's by what the rule goes by."""
        if not rule.alias:
            return own_claim(identity, rule.claim) == text
        own = self._own_id(identity, rule, known)
        return own != 0 and rule.hashed(known.hash_key, text) == own

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
        if rule.exceptions and self._actor(identity, known) in rule.exceptions:
            return []
        mine = also_own(identity) | set(own_values(identity).values())
        return [value for value in others if value[0] not in mine]

    def _foreign_ids(self, values: list[Found], rule: LiveRule, identity: Identity, known: Known) -> list[Found]:
        holder = self._holder(identity, rule, known)
        if not holder:
            return []
        space, service, key = rule.rule.space, rule.service, known.hash_key
        own = self._alias(service, space, holder, known)
        hashes = {text: rule.hashed(key, text) for text in {text for text, _ in values}}
        if own:
            others = [value for value in values if hashes[value[0]] != own]
        else:
            others = [value for value in values if self._holds(service, space, hashes[value[0]], known) not in (0, holder)]
        if not others or (rule.exceptions and self._actor(identity, known) in rule.exceptions):
            return []
        mine = set(own_values(identity).values())
        return [value for value in others if value[0] not in mine]

    def _kept(self, rule: LiveRule, identity: Identity, known: Known) -> bool:
        """Whether it can be held against the caller that it has another's: it was seen to keep to its own, or the whole crowd was."""
        return not rule.rule.few or self._actor(identity, known) in rule.keepers

    def _own_id(self, identity: Identity, rule: LiveRule, known: Known) -> int:
        """The hash of the caller's id at the service; 0: it is not known."""
        holder = self._holder(identity, rule, known)
        return self._alias(rule.service, rule.space, holder, known) if holder else 0

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
        items = tuple(dict.fromkeys(item_of(path) for _, path in strange))
        if not strange:
            return ()
        # Who is shown one other's objects unasked is that one's assistant more often than the service's leak is.
        shown = len({text for text, _ in strange}) == 1 and asks_for_nobodys(facts)
        return (self._mismatch(rule, facts, strange, known, held=shown, path=strange[0][1], items=items[:MAX_SHOWN_ITEMS]),)

    def _held(self, path: tuple[str | int, ...], rule: LiveRule, facts: Facts, known: Known) -> bool:
        """Whether the object at the path is known as one that the caller was given or shown before."""
        me = facts.identity.actor
        for kind, node in objects_on(facts.operation.body, path, rule):
            text = id_of(node)
            if text and me in self.holders(object_key(known.hash_key, EVERY_SERVICE, kind, text)):
                return True
            if text and not text.isdecimal() and (rule.service, kind) not in known.judged:
                # `POST /batch` says not of what: under whatever kind the caller was given it. Numbers are those of several kinds.
                kinds = [other for service, other in known.private if service == rule.service]
                if any(me in self.holders(object_key(known.hash_key, EVERY_SERVICE, other, text)) for other in kinds):
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
            for kind, node in objects_on(facts.operation.body, path, rule):
                if text := id_of(node):
                    subject = f"{kind} {shown(text)}"
                    break
            listed = len({item_of(where) for _, where in at(facts.operation.body, rule.steps, MAX_ITEMS)}) if items else 0
        delegated = len(facts.identity.chain) > 1 and bool(
            facts.identity.agent or facts.identity.human != facts.identity.actor != ""
        )
        unsure = held or not self._kept(rule, facts.identity, known)
        confidence = "low" if unsure else "medium" if delegated or not rule.rule.high else "high"
        return OwnerMismatch(
            place=rule.place,
            claim=rule.claim,
            shown=fit_to_show(others[0][0]),
            equal=rule.rule.equal,
            of=rule.rule.of,
            confidence=confidence,
            subject=subject,
            items=items,
            listed=listed,
        )

    # -- remembering ----------------------------------------------------------------------------------------------

    def remembers(self, phase: Phase, endpoint: Endpoint, known: Known) -> bool:
        if phase is not Phase.RESPONSE:
            return False
        plan = known.plan(endpoint.id)
        tells = plan.telling or plan.numbering or endpoint.id in known.selves
        return bool(tells) or changes(endpoint.method, endpoint.operation)

    def after(self, facts: Facts, verdict: Verdict, known: Any) -> None:
        """What nobody asked for by an id tells the caller's own ids: an answer to `GET /orders`, to a POST that makes one."""
        endpoint, prior = facts.match.endpoint, facts.call.prior
        if prior is None or facts.phase is not Phase.RESPONSE:
            return
        blocked, asked = verdict.action == "block", prior.facts
        if endpoint is None:
            if not blocked and changes(asked.operation.method, asked.operation.name):
                self._share(asked, None, facts, known)
            return
        if asked.used:
            if not blocked and changes(asked.operation.method, asked.operation.name):
                self._share(asked, asked.used, facts, known)
        elif endpoint.id in known.selves:
            self.sharing.introduce(facts, known.hash_key)
        identity = facts.identity
        if blocked or not identity.strength:
            return
        plan = known.plan(endpoint.id)
        for rule in plan.telling:
            if identity.cls not in rule.classes:
                self._tell(rule, facts, known)
        if plan.numbering and not asked.used and not facts.deviations:
            for rule in plan.numbering:
                if (
                    identity.tenant if rule.of_tenants else identity.actor
                ) not in rule.accustomed and identity.cls in rule.classes:
                    self._number(rule, facts, known)

    def _number(self, rule: LiveRule, facts: Facts, known: Known) -> None:
        """An answer tells the caller's own id."""
        values = texts_at(facts.operation.body, rule.steps, MAX_ITEMS)
        holder, prior = self._holder(facts.identity, rule, known), facts.call.prior
        if len(values) == 1 and holder and prior and not any(finding.suspicious for finding in prior.findings):
            self._learn(rule, holder, rule.hashed(known.hash_key, values.pop()), known)

    def _share(self, asked: Facts, named: Iterable[tuple[str, str, int, str]] | None, facts: Facts, known: Known) -> None:
        """What a holder does with an object that names somebody else; `named`: (place, kind, key, value fit to show) of objects, None of an
        operation that is not known yet: who was shown something before it is is shown it ever after."""
        body, me = asked.operation.body, facts.identity.actor
        if type(body) is not dict or not body:
            return  # names nobody
        if named is None:
            named = used(asked.operation, asked.match, known.hash_key, EVERY_SERVICE)
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

    def _holder(self, identity: Identity, rule: LiveRule, known: Known) -> int:
        """Whose id a rule of aliases tells: the hash of the actor, or of its tenant (0: none)."""
        if rule.of_tenants:
            return alias_key(known.hash_key, "tenant", identity.tenant) if identity.tenant else 0
        return self._actor(identity, known)

    @staticmethod
    def _actor(identity: Identity, known: Known) -> int:
        return actor_key(known.hash_key, identity.actor)


def _unknown(actor: str) -> bool:
    return False


def _nobody(key: int) -> tuple[str, ...]:
    return ()
