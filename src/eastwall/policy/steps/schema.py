"""Messages that do not look as they should: after access, since it is no matter what a caller sends who may not call; before limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from eastwall.discovery.body_schemas import MATURE, Bounds, MessageSchema, ParameterSchema, Violation, mature
from eastwall.model.call import BodyState
from eastwall.model.decision import Deny, PolicyMatch, Strip
from eastwall.model.endpoint import KnownSchemas, Schema
from eastwall.model.facts import Facts
from eastwall.policy.kinds import Policy, SchemaPolicy
from eastwall.policy.limits import LimitTable
from eastwall.policy.patterns import Paths
from eastwall.policy.rules import Bound, CompiledRule
from eastwall.policy.sizes import parse_size
from eastwall.policy.steps import tool_schemas
from eastwall.policy.steps.applying import applies, match_of
from eastwall.policy.steps.graphql_schemas import variable_violations
from eastwall.policy.steps.outcome import Outcome
from eastwall.policy.steps.tools import ToolRule
from eastwall.policy.wording import shown
from eastwall.policy.world import World

MAX_CACHED = 10_000
QUERY = -1
"""In place of a status: the parameters of the request."""
TOLD = 3
"""Violations that a reason names; the others are counted."""
MAX_STRIPPED = 500
"""Properties that are taken out of one body; one with more is refused."""
_UNTYPED = ("xml", "multipart", "protobuf", "binary", "unread")
"""Kinds of bodies that only bounds are held against."""
_FITTING = "send what the schema says"
_UNREADABLE = {"too-deep": "levels", "too-many-values": "values"}


class _Check(NamedTuple):
    """What a policy holds against one kind of message."""

    schema: MessageSchema | ParameterSchema | None
    why_not: str
    """Why there is none."""


class SchemaRule(CompiledRule):
    """A SchemaPolicy."""

    __slots__ = ("_checks", "_known", "_unjudged", "actions", "bounds", "directions", "needs_schema", "size", "source")
    step = "schema"

    def __init__(self, policy: Policy, spec: SchemaPolicy, world: World) -> None:
        super().__init__(policy, spec, world)
        self.source: str = spec.source
        self.directions = ("request", "response") if spec.direction == "both" else (spec.direction,)
        self.actions: dict[str, str] = {
            "parameters": spec.parameters,
            "types": spec.types, "unknown": spec.unknown, "missing": spec.missing, "limits": spec.over_limit
        }  # fmt: skip
        self.needs_schema = not spec.types == spec.unknown == spec.missing == "ignore"
        self.bounds = Bounds(spec.max_depth, spec.max_length, spec.max_items, spec.max_properties)
        self.size = parse_size(spec.max_size) if spec.max_size else 0
        self.to_pass = _FITTING
        self._known = world.schemas
        self._checks: dict[tuple[str, int], _Check] = {}
        self._unjudged: dict[str, PolicyMatch] = {}

    def check(self, endpoint: str, status: int) -> _Check:
        """What is held against the message of an operation; `status`: 0 for its request, `QUERY` for the request's parameters."""
        found = self._checks.get((endpoint, status))
        if found is None:
            if len(self._checks) >= MAX_CACHED:
                self._checks.clear()
            found = self._checks[endpoint, status] = self._made(self._known.get(endpoint), status)
        return found

    def _made(self, known: KnownSchemas | None, status: int) -> _Check:
        if known is None:
            return _Check(None, "nothing is known of the operation's messages")
        if status == QUERY:
            return self._parameters(known)
        declared = _declared(known, status) if self.source != "learned" else None
        if declared is not None:
            return _Check(MessageSchema(declared, learned=False), "")
        if self.source == "declared":
            return _Check(None, "no schema of this message is declared")
        learned = known.request if not status else next((schema for code, schema in known.responses if code == status), Schema())
        if not known.learned:
            return _Check(None, "the operation is still being learned")
        if not mature(learned):
            return _Check(None, f"its schema is learned from {learned.samples} samples, {MATURE} are needed")
        return _Check(MessageSchema(learned, learned=True), "")

    def _parameters(self, known: KnownSchemas) -> _Check:
        if self.source != "learned" and known.declared_query is not None:
            return _Check(ParameterSchema(known.declared_query, learned=False), "")
        if self.source == "declared":
            return _Check(None, "its parameters are not declared")
        if not known.learned or not mature(known.query):
            return _Check(None, "its parameters are still being learned")
        return _Check(ParameterSchema(known.query, learned=True), "")

    def unjudged(self, bound: Bound[SchemaRule], why: str) -> PolicyMatch:
        """What is recorded of a message that was not held against a schema."""
        key = f"{bound.mode} {why}"
        found = self._unjudged.get(key)
        if found is None:
            if len(self._unjudged) >= MAX_CACHED:
                self._unjudged.clear()
            found = self._unjudged[key] = match_of(self, bound.mode, "allow", f"not held against a schema: {why}")
        return found


def _declared(known: KnownSchemas, status: int) -> Schema | None:
    """A schema that says something; `4XX` and `default` speak where the status itself is not declared."""
    if not status:
        found = known.declared
    else:
        schemas = dict(known.declared_responses)
        found = schemas.get(status) or schemas.get(status // 100) or schemas.get(0)
    return found if found is not None and found.fields else None


def judge(
    rules: Sequence[Bound[SchemaRule]], pinning: Sequence[Bound[ToolRule]], facts: Facts, paths: Paths, limits: LimitTable,
    outcome: Outcome, *, event: bool,
) -> None:  # fmt: skip
    """`pinning`: tool policies that say which definition of a tool holds. `event`: the message is one event of a stream, of which no schema is known: only bounds are held against it."""
    direction = "request" if facts.call.response is None else "response"
    for bound in rules:
        rule = bound.rule
        if direction not in rule.directions or not applies(bound, facts, paths, outcome):
            continue
        found = _bounds(rule, facts)
        if rule.needs_schema:
            tools = direction == "request" and rule.source != "learned" and not event
            held = tool_schemas.violations(pinning, facts, limits) if tools else None
            found += held if held is not None else _schema(bound, facts, outcome, event=event)
        if rule.actions["parameters"] != "ignore" and direction == "request" and not event:
            found += _parameters(bound, facts, outcome)
        told = [one for one in found if rule.actions[one.aspect] != "ignore"]
        if told:
            _decide(bound, told, direction, outcome)


def _bounds(rule: SchemaRule, facts: Facts) -> list[Violation]:
    call, operation = facts.call, facts.operation
    message = call.response or call.request
    if rule.size and max(len(message.body), len(operation.raw_body)) > rule.size:
        return [_over(rule)]
    over = rule.bounds.exceeded(operation.body)
    if over is not None:
        return [over]
    if operation.faults and rule.bounds != Bounds():
        for fault in operation.faults:
            if fault.id in _UNREADABLE:
                return [Violation("limits", "$", f"so many {_UNREADABLE[fault.id]} that it can be read", "more")]
    return []


def _schema(bound: Bound[SchemaRule], facts: Facts, outcome: Outcome, *, event: bool) -> list[Violation]:
    call, operation, rule = facts.call, facts.operation, bound.rule
    message = call.response or call.request
    if operation.body_kind == "none" and not message.body:
        return []
    endpoint = facts.match.endpoint
    why = _unfit(facts, event=event)
    check = None
    if not why:
        status = call.response.status if call.response is not None else 0
        check = rule.check(endpoint.id, status) if endpoint is not None else _Check(None, "the operation is not known")
        why = check.why_not
    if check is None or not isinstance(check.schema, MessageSchema):
        outcome.matches.append(rule.unjudged(bound, why))
        return []
    schema, kind = check.schema, operation.body_kind
    if operation.protocol == "graphql":
        return variable_violations(schema, operation)
    if kind == "json" and operation.body is not None:
        return schema.violations(operation.body)
    if kind == "form" and not schema.json:
        return schema.violations(operation.body, types=False)
    if schema.json:
        return [Violation("types", "$", "a JSON body", "another" if kind != "text" else "text that is none")]
    outcome.matches.append(rule.unjudged(bound, f"the body is {shown(kind)}"))
    return []


def _parameters(bound: Bound[SchemaRule], facts: Facts, outcome: Outcome) -> list[Violation]:
    endpoint = facts.match.endpoint
    check = bound.rule.check(endpoint.id, QUERY) if endpoint is not None else _Check(None, "the operation is not known")
    if isinstance(check.schema, ParameterSchema):
        return check.schema.violations(facts.operation.query)
    outcome.matches.append(bound.rule.unjudged(bound, check.why_not))
    return []


def _unfit(facts: Facts, *, event: bool) -> str:
    """Why no schema can be held against this message, empty when one can."""
    operation = facts.operation
    message = facts.call.response or facts.call.request
    if event:
        return "it is an event of a stream"
    if message.body_state is not BodyState.COMPLETE:
        return "not all of the body was read"
    if operation.protocol == "graphql" and facts.call.response is not None:
        return "GraphQL has its own schema"
    if operation.protocol == "grpc":
        return "gRPC has its descriptors"
    if "batch" in operation.traits:
        return "it is a batch of calls"
    return f"the body is {operation.body_kind}" if operation.body_kind in _UNTYPED else ""


def _decide(bound: Bound[SchemaRule], found: Sequence[Violation], direction: str, outcome: Outcome) -> None:
    rule = bound.rule
    actions = {rule.actions[one.aspect] for one in found}
    members = tuple(one.path for one in found if rule.actions[one.aspect] == "strip")
    words = "; ".join(_words(one) for one in found[:TOLD]) + (f"; and {len(found) - TOLD} more" if len(found) > TOLD else "")
    if "block" in actions or len(members) > MAX_STRIPPED:
        match = match_of(rule, bound.mode, "block", rule.reason or words, "", rule.to_pass)
        outcome.matches.append(match)
        outcome.stop(bound.mode, "block", match, _refusal(rule, direction, words))
    elif members:
        match = match_of(rule, bound.mode, "redact", words, "", rule.to_pass)
        outcome.matches.append(match)
        outcome.edit(bound.mode, match, Strip(members))
    else:
        outcome.matches.append(match_of(rule, bound.mode, "report", words, "", rule.to_pass))


def _over(rule: SchemaRule) -> Violation:
    return Violation("limits", "$", f"at most {rule.size} bytes", "more")


def too_large(rule: SchemaRule) -> tuple[Deny, str]:
    """(what the caller gets whose request is larger than `maxSize`, why in words), where nothing else is wrong with it."""
    words = _words(_over(rule))
    return _refusal(rule, "request", words), rule.reason or words


def _words(one: Violation) -> str:
    return f"{shown(one.place)}: expected {one.expected}, got {one.got}"


def _refusal(rule: SchemaRule, direction: str, words: str) -> Deny:
    if direction == "response":
        return Deny(403, "Response withheld", rule.reason or "The response is not as it should be.", "schema-violation")
    return Deny(400, "Bad request", rule.reason or f"The request is not as it should be: {words}.", "schema-violation")
