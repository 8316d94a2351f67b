"""CEL conditions (`when:`): what they may name, compiled once. https://github.com/google/cel-spec

Most conditions are compiled to closures that read the facts in place (`expression_closures`); the others run in the `cel` package
on a context built for the call. The author's text is checked by both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from eastwall.model.facts import Facts
from eastwall.model.identity import Identity, Strength
from eastwall.model.operation import Operation
from eastwall.policy.expression import UnsupportedError, parse
from eastwall.policy.expression_closures import Evaluate, EvaluationError, UnrecordedError, compile_node
from eastwall.policy.expression_types import Type, TypeFault, type_faults
from eastwall.policy.recorded import RecordedFacts, UnrecordedMap
from eastwall.policy.wording import shown

MAX_LENGTH = 2_000
"""Characters of one condition."""

VARIABLES: dict[str, Type] = {
    "path": "map",
    "query": "map",
    "body": "any",
    "identity": {
        "actor": "text",
        "sub": "text",
        "kind": "text",
        "class": "text",
        "roles": "texts",
        "scopes": "texts",
        "tenant": "text",
        "claims": "map",
        "strength": "text",
        "verified": "truth",
        "faults": "texts",
        "agent": "text",
        "human": "text",
        "workload": "text",
    },
    "request": {"method": "text", "path": "text", "host": "text", "scheme": "text", "headers": "map", "size": "number"},
    "call": {"time": "time", "service": "text", "source": "text"},
}
"""What a condition may name. Described for authors in docs/policy.md."""
TOOL_VARIABLES: dict[str, Type] = {**VARIABLES, "arguments": "any"}
"""What a condition on a tool's arguments may name."""


class ConditionError(ValueError):
    """A condition that cannot be compiled or evaluated. The message is one line."""


def request_operation(facts: Facts) -> Operation:
    """The operation of the request, also in the response phase."""
    prior = facts.call.prior
    return facts.operation if prior is None or facts.call.response is None else prior.facts.operation


class _Environment:
    """What one evaluation reads."""

    __slots__ = ("arguments", "facts", "params")

    def __init__(self, facts: Facts, params: dict[str, str], arguments: dict[str, Any] | None) -> None:
        self.facts, self.params, self.arguments = facts, params, arguments


def _path(env: _Environment) -> dict[str, str]:
    """The names of the policy's own pattern go before those that the inventory found."""
    return {**dict(env.facts.match.params), **env.params}


def _query(env: _Environment) -> dict[str, str]:
    """A parameter that comes twice with different values is left out: services differ in which one they take, so a condition
    that reads it fails, and `onError` holds."""
    values: dict[str, str] = {}
    torn: set[str] = set()
    pairs: Any = request_operation(env.facts).query
    if isinstance(pairs, UnrecordedMap):
        return pairs
    for name, value in pairs:
        if values.setdefault(name, value) != value:
            torn.add(name)
    for name in torn:
        del values[name]
    return values


def subject(identity: Identity) -> str:
    """`identity.sub`: the token's subject, or the name of who really calls."""
    return identity.claims.get("sub") or identity.actor.partition(":")[2]


_IDENTITY: dict[str, Callable[[Identity], Any]] = {
    "actor": attrgetter("actor"),
    "sub": subject,
    "kind": attrgetter("kind"),
    "class": attrgetter("cls"),
    "roles": lambda identity: list(identity.roles),
    "scopes": lambda identity: list(identity.scopes),
    "tenant": attrgetter("tenant"),
    "claims": attrgetter("claims"),
    "strength": lambda identity: identity.strength.name.lower(),
    "verified": lambda identity: identity.strength is Strength.VERIFIED,
    "faults": lambda identity: list(identity.faults),
    "agent": attrgetter("agent"),
    "human": attrgetter("human"),
    "workload": attrgetter("workload"),
}
_GETTERS: dict[tuple[str, ...], Callable[[_Environment], Any]] = {
    ("path",): _path,
    ("query",): _query,
    ("body",): lambda env: request_operation(env.facts).body,
    ("arguments",): lambda env: env.arguments,
    ("request", "method"): lambda env: env.facts.call.request.method,
    ("request", "path"): lambda env: request_operation(env.facts).path,
    ("request", "host"): lambda env: env.facts.call.request.authority,
    ("request", "scheme"): lambda env: env.facts.call.request.scheme,
    ("request", "headers"): lambda env: env.facts.call.request.headers,
    ("request", "size"): lambda env: len(env.facts.call.request.body),
    ("call", "time"): lambda env: datetime.fromtimestamp(env.facts.call.time, UTC),
    ("call", "service"): lambda env: env.facts.call.service,
    ("call", "source"): lambda env: env.facts.call.peer.address,
}


def _identity_getter(get: Callable[[Identity], Any]) -> Callable[[_Environment], Any]:
    return lambda env: get(env.facts.identity)


_GETTERS |= {("identity", name): _identity_getter(get) for name, get in _IDENTITY.items()}


def _path_getter(name: str) -> Callable[[_Environment], str]:
    def get(env: _Environment) -> str:
        value = env.params.get(name)
        if value is not None:
            return value
        for known, value in env.facts.match.params:
            if known == name:
                return value
        raise EvaluationError(f"no such key: `{name}`")

    return get


def _bind(chain: tuple[str, ...]) -> Callable[[_Environment], Any] | None:
    return _path_getter(chain[1]) if chain[0] == "path" and len(chain) == 2 else _GETTERS.get(chain)


def _context(names: Mapping[str, Collection[str]], env: _Environment) -> dict[str, Any]:
    """Values for the `cel` package: only the variables (and of these the fields) that a condition names, since it copies all it is given.

    Raises UnrecordedError.
    """
    context: dict[str, Any] = {}
    for name, fields in names.items():
        if not fields:
            context[name] = _whole(_GETTERS[(name,)](env))
        else:
            context[name] = {field: _whole(_GETTERS[(name, field)](env)) for field in fields}
    return context


def _whole(value: Any) -> Any:
    if isinstance(value, UnrecordedMap):
        value.whole()
    return value


def _fields_named(text: str, name: str) -> Collection[str]:
    """Fields of a variable that a condition names; all of them when it names the variable in another way too. Empty: it has none."""
    fields = TOOL_VARIABLES[name]
    if not isinstance(fields, Mapping):
        return ()
    found = re.findall(rf"(?<![\w.]){name}\b(?:\s*\.\s*(\w+))?", text)
    return tuple(dict.fromkeys(found)) if found and all(field in fields for field in found) else tuple(fields)


class Condition:
    """One compiled condition."""

    __slots__ = ("_evaluate", "text", "uses_path")

    def __init__(self, text: str, *, reference: bool = False) -> None:
        """Raises `ConditionError` when it is no CEL. `reference`: run it in the `cel` package in any case."""
        if len(text) > MAX_LENGTH:
            raise ConditionError(f"longer than {MAX_LENGTH} characters")
        self.text = text
        self.uses_path = "path" in text
        """Whether path parameters must be looked up for it (perhaps in vain)."""
        try:
            if reference:
                raise UnsupportedError
            self._evaluate = compile_node(parse(text), _bind)
        except UnsupportedError:
            self._evaluate = _compile_reference(text)

    def holds(self, facts: Facts, params: dict[str, str], arguments: dict[str, Any] | None = None) -> bool:
        """`params`: path parameters under the names of the policy's own pattern. `arguments`: of the tool that is called.

        Raises `ConditionError` when it cannot be evaluated or is neither true nor false; of a recorded call what `RecordedFacts.assume`
        raises.
        """
        try:
            value = self._evaluate(_Environment(facts, params, arguments))
        except UnrecordedError as error:
            assert isinstance(facts, RecordedFacts)
            assumed = facts.assume(self.text, str(error))
            if assumed is None:
                raise ConditionError(f"{shown(self.text)}: {error}") from None
            return assumed
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            raise ConditionError(f"{shown(self.text)}: {error}") from None
        if value is True or value is False:
            return bool(value)
        raise ConditionError(f"{shown(self.text)} gives a {type(value).__name__}, not true or false")


def _compile_reference(text: str) -> Evaluate:
    # Imported here: it brings a command line and 30 MB with it, and engines whose conditions are all closures do without.
    import cel

    try:
        program = cel.compile(text)
        names = {name: _fields_named(text, name) for name in program.variables() if name in TOOL_VARIABLES}
    except Exception as error:  # noqa: BLE001 - the package documents no closed set
        raise ConditionError(_fault_text(error)) from None

    def evaluate(env: _Environment) -> Any:
        try:
            return program.execute(_context(names, env))
        except UnrecordedError:
            raise
        except Exception as error:  # noqa: BLE001
            raise EvaluationError(_fault_text(error)) from None

    return evaluate


def faults(text: str, variables: dict[str, Type] = VARIABLES) -> list[TypeFault]:
    """Everything wrong with a condition that can be known before a call. Slow: both implementations look at it."""
    if len(text) > MAX_LENGTH:
        return [TypeFault(0, f"longer than {MAX_LENGTH} characters")]
    try:
        _compile_reference(text)
    except ConditionError as error:
        found = re.match(r"(\d+):(\d+): (.*)", str(error))
        lines = text.split("\n")[: int(found[1]) - 1] if found else []
        position = sum(len(line) + 1 for line in lines) + int(found[2]) - 1 if found else 0
        return [TypeFault(min(position, len(text)), found[3] if found else str(error))]
    try:
        return type_faults(parse(text), variables)
    except UnsupportedError:
        return []


def _fault_text(error: BaseException) -> str:
    """One line of what the `cel` package says: `LINE:COLUMN: what` for syntax."""
    if isinstance(error, KeyError):
        return f"no such key: {str(error).replace(chr(39), '`')}"
    text = str(error)
    at = text.find("ERROR: <input>:")
    text = (text[at + len("ERROR: <input>:") :] if at >= 0 else text).split("\n")[0]
    text = (
        text.replace("Syntax error: ", "")
        .partition(" expecting {")[0]
        .partition(". CEL does not coerce")[0]
        .partition(". Check ")[0]
    )
    return " ".join(text.split())[:200]
