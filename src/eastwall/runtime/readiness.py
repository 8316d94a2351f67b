"""How much of the evidence that each model asks for is there for one operation: what cannot be judged yet is counted, not guessed.

From what is published alone, so that it is cheap and says what engines go by. Models of callers rather than operations (volumes, edges, credentials)
have no line here.
"""

from __future__ import annotations

from collections.abc import Iterable

from eastwall.behaviours.exposure import model as exposure
from eastwall.behaviours.functions import watch as functions
from eastwall.behaviours.sessions import invariants, kinship
from eastwall.behaviours.values import model as values
from eastwall.decision.compile import MIN_CLASS_CALLS
from eastwall.model.blueprint import Readiness
from eastwall.model.endpoint import Endpoint


def readiness(endpoint: Endpoint) -> tuple[Readiness, ...]:
    """Of the models that can say something of this operation, in the order of their pages."""
    return tuple(_of(endpoint))


def _of(endpoint: Endpoint) -> Iterable[Readiness]:
    yield Readiness("functions", endpoint.calls, functions.RARE, "calls")
    if endpoint.objects:
        judged = sum(used.exclusive for used in endpoint.objects)
        yield Readiness("ownership", judged, len(endpoint.objects), "places that name objects")
    for cls, calls in sorted(endpoint.property_calls):
        if cls != "*":
            yield Readiness("properties", calls, MIN_CLASS_CALLS, "calls with a body", cls)
    if endpoint.request.samples or endpoint.query.samples:
        yield Readiness("values", max(endpoint.request.samples, endpoint.query.samples), values.ENOUGH, "sampled requests")
    if not kinship.reads(endpoint) and not kinship.bookkeeping(endpoint):
        yield Readiness("sequences", endpoint.calls, invariants.MIN_CALLS, "calls")
    given = sum(schema.samples for status, schema in endpoint.responses if 200 <= status < 300)
    if given:
        yield Readiness("exposure", given, exposure.ENOUGH, "sampled answers")
