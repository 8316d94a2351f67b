"""Call + knowledge -> Facts."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from eastwall.behaviours.authentication.roles import signs_in
from eastwall.behaviours.ownership_claims.choosing import TENANT
from eastwall.decision.authority import giving_authority
from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.remember import tenant_holder
from eastwall.decision.sent import Sent
from eastwall.decision.state import LiveState
from eastwall.discovery.data_classes import find
from eastwall.discovery.identity import source_of
from eastwall.discovery.json_patch import patched
from eastwall.discovery.links import linked, naming_headers
from eastwall.discovery.objects import identifier, keyed, object_key
from eastwall.discovery.privilege import privileged
from eastwall.discovery.redaction import amounts
from eastwall.discovery.shapes import shape
from eastwall.discovery.walk import read_request, read_response
from eastwall.model.call import BodyState, Call, Phase, Response
from eastwall.model.endpoint import Endpoint, Match
from eastwall.model.facts import DataHit, Facts, ForeignUse, ObjectUse, Property, StepUse
from eastwall.model.identity import Identity, Strength
from eastwall.model.operation import Operation

EVERY_SERVICE = ""
"""Objects are known across services: the order that `orders` gave is the one that `billing` is asked about. Two services that mean
different things by one kind and number lend each other grants, which can hide an attack and never invents one."""

MANY = 4
"""Holders of an object up to which they are counted for `Facts.strange`."""

PASSWORD_NAMES = frozenset({"password", "passwd", "pwd", "passphrase", "pin", "otp"})
ACCOUNT_NAMES = ("username", "user", "email", "login", "account", "user_name", "userName", "name", "phone")

_UNSENT = Sent(frozenset(), 0)
_UNINSPECTED: dict[tuple[Phase, BodyState], tuple[str, ...]] = {
    (Phase.REQUEST, BodyState.TRUNCATED): ("request-body-truncated",),
    (Phase.REQUEST, BodyState.STREAMED): ("request-streamed",),
    (Phase.REQUEST, BodyState.SKIPPED): ("request-body-skipped",),
    (Phase.RESPONSE, BodyState.TRUNCATED): ("response-body-truncated",),
    (Phase.RESPONSE, BodyState.STREAMED): ("response-streamed",),
    (Phase.RESPONSE, BodyState.SKIPPED): ("response-body-skipped",),
}
# These mean that there was something in the body that nobody read. A duplicate key or a big integer was read, and is a finding.
_UNREADABLE = frozenset(
    {
        "too-deep",
        "too-many-values",
        "decompression-limit",
        "unknown-encoding",
        "invalid-json",
        "invalid-xml",
        "xml-doctype",
        "xml-entity",
        "graphql-too-large",
        "bad-multipart",
        "bad-grpc-frame",
        "bad-protobuf",
    }
)


def extract(
    call: Call, operation: Operation, match: Match, identity: Identity, snapshot: LiveSnapshot, state: LiveState
) -> Facts:
    """Gather all that detections and policies may ask about this message."""
    if call.response is None:
        return _request_facts(call, operation, match, identity, snapshot, state)
    return _response_facts(call, operation, match, identity, snapshot, state)


def _request_facts(
    call: Call, operation: Operation, match: Match, identity: Identity, snapshot: LiveSnapshot, state: LiveState
) -> Facts:
    endpoint = match.endpoint
    places, named = read_request(operation, match, snapshot.hash_key, EVERY_SERVICE)
    if operation.body.__class__ is list and (set_by_patch := patched(operation.body)):
        places += set_by_patch
    headers = call.request.headers
    if naming := naming_headers(tuple(headers)):
        named += _in_headers(naming, headers, snapshot.hash_key)
    holders = _holders(named, identity, call.time, snapshot, state) if named else ()
    foreign, strange = _foreign(named, holders, identity, snapshot, state) if named else ((), ())
    sampled = endpoint is None or state.sampled(endpoint.id, endpoint.sample_every, snapshot.hash_key)
    data = _data(operation, call.request.headers, match, "request", snapshot, sampled=sampled)
    login = sign_in(operation, call, snapshot)
    suspects = snapshot.prefilter.scan(call.request, operation)
    uninspected = not_inspected(Phase.REQUEST, call.request.body_state, operation)
    if snapshot.prefilter.dropped:
        uninspected += ("request-values-skipped",)
    return Facts(
        call=call,
        phase=Phase.REQUEST,
        operation=operation,
        match=match,
        identity=identity,
        suspects=suspects,
        used=named if endpoint is not None else (),
        function=snapshot.profiles[endpoint.id].function(
            identity.cls, snapshot.class_calls[endpoint.service], snapshot.class_changes.get(endpoint.service)
        )
        if endpoint
        else None,
        values=snapshot.profiles[endpoint.id].out_of_range(operation) if endpoint else (),
        steps=_out_of_order(endpoint, named, state) if endpoint and named and (endpoint.after or endpoint.once) else (),
        objects=_objects(named, holders, match, identity, snapshot, call.service) if named else (),
        new_properties=_new_properties(endpoint, identity.cls, places, operation.body, call.service, snapshot) if places else (),
        login=state.logins.window(login_endpoint(match, operation), source_of(identity, call), login, call.time)
        if login is not None
        else None,
        data=data,
        fields=shape(operation, data) if sampled else (),
        properties=places,
        uninspected=uninspected,
        unjudged=snapshot.prefilter.unjudged,
        sampled=sampled,
        echoed=state.echoes.segments(operation.segments) if endpoint is None or endpoint.status == "learning" else (),
        audited=state.audited(endpoint.id if endpoint is not None else call.service),
        strange=strange if endpoint is not None else (),
        foreign=foreign,
    )


def _response_facts(
    call: Call, operation: Operation, match: Match, identity: Identity, snapshot: LiveSnapshot, state: LiveState
) -> Facts:
    assert call.response is not None
    prior = call.prior
    success = 200 <= call.response.status < 300
    sampled = prior is None or match.endpoint is None or prior.facts.sampled or match.endpoint.sample_every <= 1
    data = _data(operation, call.response.headers, match, "response", snapshot, sampled=sampled)
    suspects = snapshot.prefilter.scan_response(call.response, operation)
    uninspected = not_inspected(Phase.RESPONSE, call.response.body_state, operation)
    if snapshot.prefilter.dropped:
        uninspected += ("response-values-skipped",)
    return Facts(
        call=call,
        phase=Phase.RESPONSE,
        operation=operation,
        match=match,
        identity=identity,
        suspects=suspects,
        data=data,
        amounts=amounts(operation, snapshot.counted, snapshot.data_classes) if data and snapshot.counted else (),
        fields=shape(operation, data) if sampled and operation.body is not None else (),
        given=_given(call.response, operation, match, snapshot.hash_key) if success and identity.strength > Strength.NONE else (),
        uninspected=uninspected,
        unjudged=snapshot.prefilter.unjudged,
        sampled=sampled,
        audited=prior is not None and prior.facts.audited,
    )


def _in_headers(
    naming: tuple[tuple[str, str], ...], headers: dict[str, str], hash_key: bytes
) -> tuple[tuple[str, str, int, str], ...]:
    """Objects that headers name: `x-order-id: 17`."""
    found = [(f"header.{name}", kind, text) for name, kind in naming if (text := identifier(headers[name]))]
    return keyed(found, hash_key, EVERY_SERVICE) if found else ()


def _given(response: Response, operation: Operation, match: Match, hash_key: bytes) -> tuple[tuple[str, int], ...]:
    """Objects that an answer gives: those of its body, and those that it links to."""
    found = read_response(operation, match, hash_key, EVERY_SERVICE) if operation.body is not None else ()
    location = response.headers.get("location", "")
    if links := linked(operation.raw_body, location):
        keys = [(kind, object_key(hash_key, EVERY_SERVICE, kind, value)) for kind, value in links]
        found += tuple([one for one in dict.fromkeys(keys) if one not in found])
    return found


def _data(
    operation: Operation, headers: dict[str, str], match: Match, direction: str, snapshot: LiveSnapshot, *, sampled: bool
) -> tuple[DataHit, ...]:
    """Sensitive data of a message: all of it in sampled calls and where a policy is about data, else what values show in the body and
    the query."""
    if sampled or direction in snapshot.data_asked:
        return find(
            operation,
            snapshot.data_classes,
            headers,
            direction=direction,
            params=match.params,
            path=direction == "request",
            skip=frozenset() if sampled else snapshot.data_skip[direction],
        )
    if not operation.raw_body and not operation.query:
        return ()
    return find(operation, snapshot.data_classes, direction=direction, skip=snapshot.data_skip[direction])


_Holders = tuple[tuple[str, ...], ...]


def _holders(
    named: tuple[tuple[str, str, int, str], ...], identity: Identity, now: float, snapshot: LiveSnapshot, state: LiveState
) -> _Holders:
    """Of each named object, who holds it: by what live answers gave, then by the snapshot; without a caller who handed it over."""
    keys = [key for _, _, key, _ in named]
    known, sharing = snapshot.ownership, state.claims.sharing
    held = state.grants.owners_of(keys)
    if known:
        held = [owners + known.get(key, ()) for key, owners in zip(keys, held, strict=True)]
    if sharing.handed_over:
        for at, key in enumerate(keys):
            if held[at] and sharing.left(key, identity.actor, now):
                held[at] = _without(identity, held[at])
    return tuple(held)


def _without(identity: Identity, owners: tuple[str, ...]) -> tuple[str, ...]:
    """Holders without a caller who handed the object over, and without its tenant where it went to another's."""
    mine = tenant_holder(identity)
    elsewhere = any(owner.startswith(TENANT) and owner != mine for owner in owners)
    return tuple([owner for owner in owners if owner != identity.actor and (owner != mine or not elsewhere)])


def _objects(
    named: tuple[tuple[str, str, int, str], ...],
    holders: _Holders,
    match: Match,
    identity: Identity,
    snapshot: LiveSnapshot,
    service: str,
) -> tuple[ObjectUse, ...]:
    """The named objects that can be judged: those of exclusive kinds, by callers who do not see everybody's anyway."""
    profile = snapshot.profiles[match.endpoint.id] if match.endpoint is not None else None
    judged, known = (profile.exclusive, profile.naming) if profile is not None else ({}, frozenset())
    # DELETE /orders/17 names an order, also when nobody deleted one before: an unknown operation, or place, goes by the kind alone.
    by_kind = snapshot.exclusive_kinds.get(service, {})
    if not judged and not by_kind:
        return ()
    actor, cls = identity.actor, identity.cls
    uses = []
    for (place, kind, key, shown), owners in zip(named, holders, strict=True):
        parameter = judged.get(place) or (by_kind.get(kind) if place not in known else None)
        if parameter is None:
            continue
        tenants = parameter.by == "tenant"
        me = tenant_holder(identity) if tenants else actor
        held = me in owners or actor in owners or (owners != () and not tenants and _is_self(actor, kind, key, snapshot))
        others = len({owner for owner in owners if owner and owner.startswith(TENANT) is tenants} - {me}) if owners else 0
        exclusive = cls not in parameter.broad and (not parameter.settled or cls in parameter.settled)
        uses.append(
            ObjectUse(place, kind, key, shown, held, others, exclusive, parameter.confidence, parameter.evidence, parameter.by)
        )
    return tuple(uses)


def _foreign(
    named: tuple[tuple[str, str, int, str], ...],
    holders: _Holders,
    identity: Identity,
    snapshot: LiveSnapshot,
    state: LiveState,
) -> tuple[tuple[ForeignUse, ...], tuple[tuple[int, int], ...]]:
    """What the caller was never given, and of it (index, other holders) of what its tenant was not given either."""
    actor = identity.actor
    tenant = TENANT + identity.tenant if identity.tenant else ""
    role, name, distinctive = _own_name(actor)
    own = snapshot.own_kinds
    foreign: list[ForeignUse] = []
    strange: list[tuple[int, int]] = []
    grants = state.grants
    for at, ((place, kind, key, shown), owners) in enumerate(zip(named, holders, strict=True)):
        if actor in owners or (
            (distinctive or kind == role or kind in own) and object_key(snapshot.hash_key, EVERY_SERVICE, kind, name) == key
        ):
            continue
        if not owners:
            foreign.append(ForeignUse(place, kind, key, shown, 0, tenant=False))
            strange.append((at, 0))
            continue
        of_tenant = tenant != "" and tenant in owners
        crowded = "" in owners or grants.crowded(key)
        others = -1 if crowded else len({one for one in owners if not one.startswith(TENANT) and not grants.is_staff(one)})
        foreign.append(ForeignUse(place, kind, key, shown, others, of_tenant))
        if not of_tenant:
            strange.append((at, min(MANY, len(owners))))
    return tuple(foreign), tuple(strange)


def _is_self(actor: str, kind: str, key: int, snapshot: LiveSnapshot) -> bool:
    """Whether the object is the caller: `user:7` asks for user 7, before any answer gave it to them."""
    role, name, distinctive = _own_name(actor)
    mine = distinctive or kind == role or kind in snapshot.own_kinds
    return mine and object_key(snapshot.hash_key, EVERY_SERVICE, kind, name) == key


@lru_cache(maxsize=4096)
def _own_name(actor: str) -> tuple[str, str, bool]:
    """(kind, name, whether the name is nobody else's under whatever kind: it has some length) of an actor."""
    role, _, name = actor.partition(":")
    return role, name, len(name) >= 16


def _out_of_order(endpoint: Endpoint, named: tuple[tuple[str, str, int, str], ...], state: LiveState) -> tuple[StepUse, ...]:
    """Steps that are missing before this one, or that were done already, on objects known from their beginning."""
    found = []
    for place, kind, key, shown in named:
        done = state.steps.of(key)
        if done is None:
            continue
        found += [
            StepUse(place, kind, shown, missing=one.label, objects=one.objects)
            for one in endpoint.after
            if one.kind == kind and one.endpoint not in done
        ]
        if endpoint.once is not None and endpoint.once[0] == kind:
            times = done.get(endpoint.id, 0) + state.steps.running(key, endpoint.id)
            if times:
                found.append(StepUse(place, kind, shown, done=times, objects=endpoint.once[1]))
    return tuple(found)


def of_message(facts: Facts, headers: Facts) -> Facts:
    """The facts of a request's body whose `headers` were judged: objects named there were, and since then this call itself has begun its
    step on them."""
    judged = {place for place, _, _, _ in headers.used}
    return replace(facts, steps=tuple([step for step in facts.steps if step.place not in judged])) if facts.steps else facts


def _new_properties(
    endpoint: Endpoint | None, cls: str, places: tuple[str, ...], body: Any, service: str, snapshot: LiveSnapshot
) -> tuple[Property, ...]:
    profile = snapshot.profiles[endpoint.id] if endpoint is not None else None
    unknown, calls = profile.unknown_properties(cls, places) if profile is not None else ((), 0)
    if calls and not unknown:
        return ()
    sent = snapshot.sent.get((service, cls), _UNSENT)
    # Who has authority may give it.
    gives = giving_authority(body, unknown if calls else places) if sent.bodies and not privileged(cls) else ()
    if profile is None or not calls:
        return tuple([_new_property(place, 0, sent, authority=True) for place in gives])
    known = profile.endpoint
    declared = frozenset(f.place for f in known.request.fields) if known.origin != "observed" else frozenset()
    return tuple(
        [
            _new_property(
                place,
                calls,
                sent,
                authority=place in gives,
                response_only=place in profile.response_only,
                declared=place in declared,
                # Operations by name share one path: of what is not privileged, one says nothing of another.
                resource_from=known.resource_calls if not known.operation or privileged(place) else 0,
            )
            for place in unknown
        ]
    )


def _new_property(
    place: str,
    calls: int,
    sent: Sent,
    *,
    authority: bool,
    response_only: bool = False,
    declared: bool = False,
    resource_from: int = 0,
) -> Property:
    """`calls`: clean ones behind "never" at the operation; 0: nothing is known of it."""
    bodies, chance = sent.never(place)
    return Property(
        place=place,
        privileged=privileged(place),
        response_only=response_only,
        declared=declared,
        learned_from=calls,
        resource_from=resource_from,
        bodies=bodies,
        chance=chance,
        authority=authority,
    )


def sign_in(operation: Operation, call: Call, snapshot: LiveSnapshot) -> int | None:
    """The hashed account that a request tries to sign in with, or None when the request is not a sign-in."""
    body = operation.body
    if operation.method != "POST" or not isinstance(body, dict) or len(body) > 20:
        return None
    if PASSWORD_NAMES.isdisjoint(body):
        deeper = signs_in(operation) if "query" in body or "params" in body or "variables" in body else ""
        return object_key(snapshot.hash_key, call.service, "sign-in", deeper) if deeper else None
    for name in ACCOUNT_NAMES:
        account = body.get(name)
        if isinstance(account, (str, int)):
            return object_key(snapshot.hash_key, call.service, "sign-in", str(account)[:256].lower())
    return None


def login_endpoint(match: Match, operation: Operation) -> str:
    """Under which name the sign-ins of this operation are counted, also before it is learned."""
    return match.endpoint.id if match.endpoint else operation.path


def not_inspected(phase: Phase, body: BodyState, operation: Operation) -> tuple[str, ...]:
    """Why this message was not (wholly) inspected; empty when it was."""
    # Looking something up by a member of an enumeration takes longer than all else here.
    reasons = () if body <= BodyState.COMPLETE else _UNINSPECTED.get((phase, body), ())
    if operation.faults:
        side = "request" if phase is Phase.REQUEST else "response"
        reasons += tuple(f"{side}-{fault.id}" for fault in operation.faults if fault.id in _UNREADABLE)
    return reasons
