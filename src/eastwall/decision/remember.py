"""What is remembered of a call once it is judged: who was given which object, and what was done to it."""

from __future__ import annotations

from collections.abc import Container

from eastwall.behaviours.ownership_claims.choosing import TENANT
from eastwall.behaviours.ownership_claims.reading import request_values
from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.state import LiveState
from eastwall.discovery.echo import identifying
from eastwall.discovery.objects import changes, made_kind
from eastwall.model.call import Phase
from eastwall.model.decision import Decision, Verdict
from eastwall.model.deviations import OthersGiven, OwnerMismatch
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity


def tenant_holder(identity: Identity) -> str:
    """How the caller's tenant stands among the holders of an object; the actor itself where it has none."""
    return TENANT + identity.tenant if identity.tenant else identity.actor


def remember(
    facts: Facts, verdict: Verdict, snapshot: LiveSnapshot, state: LiveState, counted: Container[int] = frozenset()
) -> None:
    """Update the live state: objects in a delivered answer now belong to its receiver.

    Not when the request had findings: in monitor mode the attacker gets the answer, and must not come to own what it holds.
    `counted`: objects on which this call's step was counted already, when other parts of its answer were remembered.
    """
    state.watches.after(facts, verdict, snapshot.behaviours)
    kinds = snapshot.flow_kinds.get(facts.call.service)
    changing = kinds is not None and changes(facts.operation.method, facts.operation.name)
    if kinds and changing:
        _note_steps(facts, kinds, verdict, counted, state)
    if facts.phase is not Phase.RESPONSE or verdict.action == "block":
        return
    if facts.fields:
        state.echoes.add(identifying(facts.operation.body), facts.identity.actor)
    if (
        facts.given
        and not _suspicious(facts)
        and not (facts.deviations and _of_others(facts) and (verdict.effects or _chose(facts)))
    ):
        if kinds and changing and facts.operation.method == "POST":
            _note_made(facts, kinds, snapshot, state)
        _grant(facts, snapshot, state)


def _grant(facts: Facts, snapshot: LiveSnapshot, state: LiveState) -> None:
    """What an answer gave is its receiver's, and its tenant's."""
    actor, given = facts.identity.actor, facts.given
    tenant = tenant_holder(facts.identity) if facts.identity.tenant else ""
    everybodys, of_owners = state.claims.everybodys(facts)
    if everybodys:  # who sees all objects of a kind tells nobody's by seeing one
        if any(kind in of_owners for kind, _ in given if kind in everybodys):
            state.grants.staff(actor)
        given = tuple([one for one in given if one[0] not in everybodys])
    if state.claims.sharing.handed_over:
        for _, key in given:
            state.claims.sharing.returned(key, facts)
    known, grants = snapshot.ownership, state.grants
    for (kind, key), before in zip(given, grants.owners_of([key for _, key in given]), strict=True):
        if actor in before and (not tenant or tenant in before):
            continue  # nearly always: callers get the same objects again
        owners = known.get(key, ())
        if actor not in before and actor not in owners:
            if before and not before[0].startswith(TENANT):
                state.claims.gave(facts.call.service, kind, before[0], actor)
            grants.grant(key, actor)
        if tenant and tenant not in before and tenant not in owners:
            grants.grant(key, tenant)


def not_done(request: Decision, state: LiveState, *, counted: bool) -> None:
    """The call was never answered, or (`counted`) its answer proved to be a failure after its headers had promised success."""
    endpoint = request.match.endpoint
    if endpoint is not None and request.verdict.action != "block":
        for key in {key for _, _, key, _ in request.facts.used}:
            if counted:
                state.steps.undone(key, endpoint.id)
            else:
                state.steps.ended(key, endpoint.id)


def _of_others(facts: Facts) -> bool:
    """Whether the answer says itself that it holds what is others': it was cut, or in monitor mode an attacker got it."""
    return any(type(one) is OthersGiven or (type(one) is OwnerMismatch and one.confidence != "low") for one in facts.deviations)


def _chose(facts: Facts) -> bool:
    """Whether the request says whose objects it asks for. What a plain list holds, the service chose to show this caller: shared objects."""
    prior = facts.call.prior
    if prior is None or prior.match.endpoint is None or prior.facts.used:
        return True
    asked = prior.facts
    return any(space for _, space, _ in request_values(asked.operation, asked.match.params, asked.call.request.headers))


def _suspicious(facts: Facts) -> bool:
    prior = facts.call.prior
    return prior is not None and any(finding.suspicious for finding in prior.findings)


def _succeeded(facts: Facts) -> bool:
    response = facts.call.response
    return response is not None and 200 <= response.status < 300 and "fault" not in facts.operation.traits


def _note_steps(facts: Facts, kinds: Container[str], verdict: Verdict, counted: Container[int], state: LiveState) -> None:
    """What the call does to which objects of `kinds`: begun with its request, done (also when we hold its answer back) or not with its
    answer."""
    endpoint, prior = facts.match.endpoint, facts.call.prior
    if endpoint is None:
        return
    if facts.phase is Phase.REQUEST:
        if verdict.action != "block":
            for key in {key for _, kind, key, _ in facts.used if kind in kinds}:
                state.steps.begun(key, endpoint.id)
    elif prior is not None and prior.verdict.action != "block":
        succeeded = _succeeded(facts)
        for key in {key for _, kind, key, _ in prior.facts.used if kind in kinds and key not in counted}:
            state.steps.ended(key, endpoint.id)
            if succeeded:
                state.steps.done(key, endpoint.id)


def _note_made(facts: Facts, kinds: Container[str], snapshot: LiveSnapshot, state: LiveState) -> None:
    """A POST that gives one object of its collection's kind unasked has made it; what somebody holds already was found."""
    endpoint, prior = facts.match.endpoint, facts.call.prior
    if endpoint is None or prior is None or not _succeeded(facts) or (own := made_kind(endpoint)) not in kinds:
        return
    named = {key for _, kind, key, _ in prior.facts.used if kind == own}
    made = [key for kind, key in facts.given if kind == own and key not in named]
    if len(made) == 1 and not state.grants.owners(made[0]) and made[0] not in snapshot.ownership:
        state.steps.made(made[0], facts.identity.actor)
