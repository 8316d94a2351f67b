"""CEL conditions (`when:`), compiled once. https://github.com/google/cel-spec

What a condition sees is built by `Context`, and only the variables that it names.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from eastwall.model.facts import Facts
from eastwall.model.operation import Operation

VARIABLES = ("path", "query", "body", "identity", "request", "call")
MAX_LENGTH = 2_000
"""Characters of one condition."""


class ConditionError(ValueError):
    """A condition that cannot be compiled or evaluated. The message is one line."""


def _fault_text(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"no such key {error}"
    text = str(error)
    at = text.find("Syntax error:")
    return " ".join((text[at:] if at >= 0 else text).split("\n")[0].split())[:200]


def request_operation(facts: Facts) -> Operation:
    """The operation of the request, also in the response phase."""
    prior = facts.call.prior
    return facts.operation if prior is None or facts.call.response is None else prior.facts.operation


def _query(operation: Operation) -> dict[str, str]:
    """A parameter that comes twice with different values is left out: services differ in which one they take, so a condition
    that reads it fails, and `onError` holds."""
    values: dict[str, str] = {}
    torn: set[str] = set()
    for name, value in operation.query:
        if values.setdefault(name, value) != value:
            torn.add(name)
    for name in torn:
        del values[name]
    return values


def variable(name: str, facts: Facts, params: dict[str, str]) -> Any:
    """The value of one of `VARIABLES`. `params`: path parameters under the names of the policy's own patterns."""
    call = facts.call
    if name == "path":
        return {**dict(facts.match.params), **params}
    if name == "query":
        return _query(request_operation(facts))
    if name == "body":
        return request_operation(facts).body
    if name == "request":
        request = call.request
        return {
            "method": request.method,
            "path": request.path.partition("?")[0],
            "host": request.authority,
            "scheme": request.scheme,
            "headers": request.headers,
            "size": len(request.body),
        }
    if name == "call":
        return {"time": datetime.fromtimestamp(call.time, UTC), "service": call.service, "source": call.peer.address}
    if name == "identity":
        identity = facts.identity
        return {
            "actor": identity.actor,
            "sub": identity.claims.get("sub") or identity.actor.partition(":")[2],
            "kind": identity.kind,
            "class": identity.cls,
            "roles": list(identity.roles),
            "scopes": list(identity.scopes),
            "tenant": identity.tenant,
            "claims": identity.claims,
            "strength": identity.strength.name.lower(),
            "verified": identity.strength >= 3,
            "faults": list(identity.faults),
        }
    raise ConditionError(f"unknown variable `{name}`")


class Condition:
    """One compiled condition."""

    __slots__ = ("_program", "_variables", "text")

    def __init__(self, text: str) -> None:
        """Raises `ConditionError` when it is no CEL."""
        import cel  # noqa: PLC0415 - it brings a command line and 30 MB with it; an engine without conditions does without

        if len(text) > MAX_LENGTH:
            raise ConditionError(f"longer than {MAX_LENGTH} characters")
        self.text = text
        try:
            self._program = cel.compile(text)
            known = self._program.variables()
        except Exception as error:
            raise ConditionError(_fault_text(error)) from None
        self._variables = tuple(name for name in known if name in VARIABLES)

    def holds(self, facts: Facts, params: dict[str, str]) -> bool:
        """Raises `ConditionError` when it cannot be evaluated or is neither true nor false."""
        try:
            value = self._program.execute({name: variable(name, facts, params) for name in self._variables})
        except Exception as error:
            raise ConditionError(f"`{self.text[:80]}`: {_fault_text(error)}") from None
        if value is True or value is False:
            return value
        raise ConditionError(f"`{self.text[:80]}` gives a {type(value).__name__}, not true or false")
