"""The page to read first: what Eastwall does with a call.

`decide` is called twice per call, with the request and then with the response (before the caller sees it). The same function
serves live traffic, `eastwall inspect`, replay and the tests: it does no I/O, has no clock and no randomness. What it knows of
the world comes in `snapshot`, what it remembers between calls is in `state`, and what it wants done leaves in the Decision.
"""

from __future__ import annotations

from eastwall.decision.compare import compare
from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.extract import extract
from eastwall.decision.remember import remember
from eastwall.decision.state import LiveState
from eastwall.decision.weigh import examine
from eastwall.discovery.identity import resolve
from eastwall.discovery.inventory import identify
from eastwall.model.call import Call
from eastwall.model.decision import Decision
from eastwall.model.identity import Identity
from eastwall.policy.evaluate import evaluate
from eastwall.protocols.decode import decode_request, decode_response


def decide(
    call: Call, snapshot: LiveSnapshot, state: LiveState, *, remembered: bool = True, identity: Identity | None = None
) -> Decision:
    """Judge one message of a call. Not `remembered`: whoever asks calls `remember` before anything else is judged, which need not keep
    the answer waiting. `identity`: who calls, where a policy test says so."""
    if call.prior is None or call.response is None:
        messages = snapshot.descriptors(call.service)  # how gRPC messages are read, where that is known
        operation = decode_request(call.request, snapshot.limits, messages)  # bytes -> what is asked for
        match = identify(call.service, operation, snapshot.inventory)  # GET /orders/{order_id} of `orders`
        identity = identity or resolve(call, snapshot.trust)  # who really calls, and how sure we are
    else:
        asked = call.prior.facts.operation
        operation = decode_response(call.response, call.request, snapshot.limits, asked, snapshot.descriptors(call.service))
        match, identity = call.prior.match, call.prior.identity
    facts = extract(call, operation, match, identity, snapshot, state)  # everything known, nothing left to fetch
    facts = compare(facts, snapshot, state)  # and how that differs from what callers ordinarily do
    findings, errors = examine(facts, snapshot)  # what is wrong, by every detection that applies
    verdict = evaluate(snapshot.plan, facts, findings, errors, state.limits, stepped_back=state.guards.stepped)
    if state.guards.rules:
        covering = snapshot.plan.guarding(facts, state.guards.sharing) if state.guards.sharing else ()
        state.guards.judged(facts, findings, verdict, covering)  # what looks legitimate and was stopped may take the policy back
    if remembered:
        remember(facts, verdict, snapshot, state)  # who was given which object
    return Decision(call.id, facts.phase, match, identity, facts, findings, verdict)
