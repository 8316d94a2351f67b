"""What the engine still learns of a streamed call when it is over: from the copies the data plane made of its messages.

A stream is judged by its headers; its bodies pass. So nothing here changes a verdict, spends a limit or answers anybody: operation,
shapes, data and findings are told anew for the record, and objects that were given are remembered, as if the bodies had been seen.
"""

from __future__ import annotations

from msgspec.structs import replace

from eastwall.decision.compare import compare
from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.extract import extract, of_message
from eastwall.decision.remember import not_done, remember
from eastwall.decision.state import LiveState
from eastwall.decision.weigh import examine
from eastwall.discovery.shapes import shape
from eastwall.model.call import Completion, Phase
from eastwall.model.decision import Decision
from eastwall.model.facts import Facts
from eastwall.model.finding import Finding
from eastwall.protocols.decode import decode_request, decode_response

_COPY = "copy:"
"""Copies are sampled apart from calls: one count for both would meet the same half of them every time."""
HTTP_STATUS = {
    0: 200,
    1: 499,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    14: 503,
    16: 401,
}
"""gRPC status -> HTTP status of the same meaning (google.rpc.Code); others are 500."""


def brings_more(completion: Completion) -> bool:
    """Whether there is anything to look at."""
    return bool(completion.request_copy or completion.response_copy) or completion.grpc_status > 0


def meant_status(completion: Completion) -> int:
    """The call's outcome as an HTTP status: of gRPC, whose answers are all 200, what `grpc-status` means."""
    status = completion.grpc_status
    return completion.status if status <= 0 or completion.status != 200 else HTTP_STATUS.get(status, 500)


def with_copies(
    request: Decision,
    response: Decision | None,
    completion: Completion,
    snapshot: LiveSnapshot,
    state: LiveState,
    judged: frozenset[Phase] = frozenset(),
) -> tuple[Decision, Decision | None]:
    """The decisions on a call with the facts and findings that its copies add; their verdicts are as they were.

    `judged`: the messages whose events were judged as they passed (decision.streams); their copies add facts alone.
    """
    call = request.facts.call
    asked_by = request
    if completion.request_copy:
        asked = replace(call.request, body=completion.request_copy, body_state=completion.request_copy_state)
        call = replace(call, request=asked)
        operation = decode_request(asked, snapshot.limits, snapshot.descriptors(call.service))
        facts = extract(call, operation, request.match, request.identity, snapshot, state)
        facts = of_message(compare(facts, snapshot, state), asked_by.facts)
        request = _seen(request, _sampled(facts, snapshot, state), snapshot, Phase.REQUEST in judged)
    if response is None or response.facts.call.response is None or not (completion.response_copy or completion.grpc_status > 0):
        return request, response
    answer = response.facts.call.response
    if completion.response_copy:
        answer = replace(answer, body=completion.response_copy, body_state=completion.response_copy_state)
    if completion.grpc_status >= 0 and "grpc-status" not in answer.headers:
        answer = replace(answer, headers={**answer.headers, "grpc-status": str(completion.grpc_status)})
    call = replace(call, response=answer, prior=request)
    asked_for = request.facts.operation
    operation = decode_response(answer, call.request, snapshot.limits, asked_for, snapshot.descriptors(call.service))
    facts = compare(extract(call, operation, response.match, response.identity, snapshot, state), snapshot, state)
    promised = "fault" not in response.facts.operation.traits
    response = _seen(response, facts, snapshot, Phase.RESPONSE in judged)
    if "fault" in operation.traits:
        if promised:
            not_done(asked_by, state, counted=True)
    elif Phase.RESPONSE not in judged:
        remember(facts, response.verdict, snapshot, state, {key for _, _, key, _ in asked_by.facts.used})
    return request, response


def _sampled(facts: Facts, snapshot: LiveSnapshot, state: LiveState) -> Facts:
    endpoint = facts.match.endpoint
    if facts.fields or endpoint is None or not state.sampled(_COPY + endpoint.id, endpoint.sample_every, snapshot.hash_key):
        return facts
    return replace(facts, fields=shape(facts.operation, facts.data), sampled=True)


def _seen(before: Decision, facts: Facts, snapshot: LiveSnapshot, judged: bool) -> Decision:
    if judged:  # what was left out of the copy, and what in it could not be read, was said of the events already
        return replace(before, facts=replace(facts, uninspected=before.facts.uninspected))
    found, errors = examine(facts, snapshot)
    told: tuple[Finding, ...] = before.findings + tuple(finding for finding in found if finding not in before.findings)
    if errors:
        # Nothing can be held up any more; that a detector failed on this message is told like a body that was not read.
        facts = replace(facts, uninspected=(*facts.uninspected, "detector-error"))
    return replace(before, facts=facts, findings=told)
