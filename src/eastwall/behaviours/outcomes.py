"""Whether a service gave what a call asked for, in whatever form its protocol says no."""

from __future__ import annotations

from eastwall.model.decision import Decision
from eastwall.model.operation import Operation


def refused(response: Decision | None) -> bool:
    """Whether an answer whose status may be 200 is a refusal: an error in the protocol's own form, or GraphQL errors with nothing but nulls
    beside them (GraphQL specification, section 7.1: a field in error is null)."""
    return response is not None and says_no(response.facts.operation)


def says_no(operation: Operation) -> bool:
    """The same of an answer as it was decoded."""
    if "fault" in operation.traits:
        return True
    body = operation.body
    if operation.protocol != "graphql" or type(body) is not dict or not body.get("errors"):
        return False
    data = body.get("data")
    return type(data) is dict and all(value is None for value in data.values())
