"""What is remembered of a call once it is judged: who was given which object, and what was done to it."""

from __future__ import annotations

from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.state import LiveState
from eastwall.discovery.echo import identifying
from eastwall.discovery.objects import changes, made_kind
from eastwall.model.call import Phase
from eastwall.model.decision import Verdict
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity

TENANT = "tenant:"
"""Begins the name of a tenant among the holders of an object; actors' names begin with their kind."""


def tenant_holder(identity: Identity) -> str:
    """How the caller's tenant stands among the holders of an object; the actor itself where it has none."""
    return TENANT + identity.tenant if identity.tenant else identity.actor


def remember(facts: Facts, verdict: Verdict, snapshot: LiveSnapshot, state: LiveState) -> None:
    """Update the live state: objects in a delivered answer now belong to its receiver.

    Not when the request had findings: in monitor mode the attacker gets the answer, and must not come to own what it holds.
    """
    if facts.phase is not Phase.RESPONSE or verdict.action == "block":
        return
    if facts.fields:
        state.echoes.add(identifying(facts.operation.body))
    kinds = snapshot.flow_kinds.get(facts.call.service)
    if kinds and changes(facts.operation.method, facts.operation.name):
        _note_steps(facts, kinds, snapshot, state)
    if facts.given and not _suspicious(facts):
        actor = facts.identity.actor
        known = snapshot.ownership
        tenant = tenant_holder(facts.identity) if facts.identity.tenant else ""
        for _, key in facts.given:
            owners = known.get(key, ())
            if actor not in owners:
                state.grants.grant(key, actor)
            if tenant and tenant not in owners:
                state.grants.grant(key, tenant)


def _suspicious(facts: Facts) -> bool:
    prior = facts.call.prior
    return prior is not None and any(finding.suspicious for finding in prior.findings)


def _note_steps(facts: Facts, kinds: frozenset[str], snapshot: LiveSnapshot, state: LiveState) -> None:
    """What a call that succeeded has made, or done to which object of `kinds`."""
    prior, response, endpoint = facts.call.prior, facts.call.response, facts.match.endpoint
    if prior is None or response is None or not 200 <= response.status < 300 or "fault" in facts.operation.traits:
        return
    named = {key for _, kind, key, _ in prior.facts.used if kind in kinds}
    if endpoint is not None and facts.operation.method == "POST" and (own := made_kind(endpoint)) in kinds:
        made = [key for kind, key in facts.given if kind == own and key not in named]
        # What somebody holds already was found, not made.
        if len(made) == 1 and not state.grants.owners(made[0]) and made[0] not in snapshot.ownership and not _suspicious(facts):
            state.steps.made(made[0])
    if endpoint is not None:
        for key in named:
            state.steps.done(key, endpoint.id)
