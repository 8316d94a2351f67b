"""Native offload: the part of a plan that the data plane can carry out by itself.

Every rule that comes out refuses a *subset* of what `evaluate` refuses with the same status: the engine still judges whatever the data
plane lets pass, so what is in doubt is left to it. In doubt are callers, conditions, times, roll-outs and guards, policies that an
Exception may speak of, paths that can be read in more than one way, and services in which something before could answer with another status.

A Quarantine with an end stays with the engine: the data plane has no clock in its routes, and were control not there at the end to change them,
it would go on refusing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from eastwall.model.call import Mode
from eastwall.model.decision import Deny
from eastwall.model.native import NativeRule
from eastwall.model.snapshot import ServiceScope
from eastwall.policy.actions.problem import PROBLEM_BASE
from eastwall.policy.compile import Plan
from eastwall.policy.patterns import OperationPattern
from eastwall.policy.rules import CompiledRule
from eastwall.policy.steps.access import AccessRule, denial
from eastwall.policy.steps.exceptions import ExceptionRule
from eastwall.policy.steps.quarantine import QuarantineRule, closed
from eastwall.policy.steps.schema import SchemaRule, too_large
from eastwall.policy.steps.tools import ToolRule
from eastwall.policy.steps.zones import ZoneRule, not_admitted

MAX_RULES: Final = 1_000
"""Per service: Envoy looks at them one after the other. The rest stays with the engine."""
MAX_PATH: Final = 400
"""Characters of the longest path pattern."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")
"""A segment that has one reading: nothing encoded, no parameters of its own, no dots in front."""


def native_rules(plan: Plan, services: Sequence[ServiceScope]) -> tuple[NativeRule, ...]:
    """What the data plane may refuse, by service and in the order of evaluation: the first that fits is the one that decides."""
    exceptions = [rule for rule in plan.rules if isinstance(rule, ExceptionRule) and rule.mode is not Mode.DISCOVER]
    found: list[NativeRule] = []
    for scope in services:
        # Over a limit of size the data plane answers 413, before the engine is asked.
        if scope.mode is not Mode.ENFORCE or scope.over_limit != "pass":
            continue
        rules = [r for r in plan.rules if r.mode is Mode.ENFORCE and (r.services is None or r.services(scope.name))]
        if any(map(_answers_otherwise, rules)):
            continue
        own: list[NativeRule] = []
        for step in (QuarantineRule, ZoneRule, AccessRule):
            for rule in rules:
                if isinstance(rule, step) and _unconditional(rule) and not _excusable(rule, exceptions):
                    own += _rendered(rule, scope.name)
        # They may refuse a call, with 403, before its size is looked at; zones also those that come out of them.
        if not any(isinstance(rule, QuarantineRule | ZoneRule | AccessRule | ToolRule) for rule in rules):
            for rule in rules:
                if isinstance(rule, SchemaRule) and _unconditional(rule) and not _excusable(rule, exceptions):
                    own += _sized(rule, scope)
        found += own[:MAX_RULES]
    return tuple(found)


def _answers_otherwise(rule: CompiledRule) -> bool:
    """Whether this policy, asked before or among those that may be offloaded, may answer with another status than 403."""
    if isinstance(rule, QuarantineRule):
        return bool(rule.issued_after or rule.limit or rule.conditions)
    return isinstance(rule, AccessRule) and rule.denies and bool(rule.conditions)


def _unconditional(rule: CompiledRule) -> bool:
    if rule.selects is not None or rule.exempt is not None or rule.conditions or rule.share is not None or rule.guard is not None:
        return False
    if isinstance(rule, QuarantineRule):
        return rule.tools is None and rule.may_enter is None and not rule.issued_after and rule.until == float("inf")
    return True


def _excusable(rule: CompiledRule, exceptions: Iterable[ExceptionRule]) -> bool:
    if isinstance(rule, QuarantineRule):
        return any(rule.name in one.names for one in exceptions)
    return any(one.policies is None or one.policies(rule.name) for one in exceptions)


def _rendered(rule: CompiledRule, service: str) -> list[NativeRule]:
    if isinstance(rule, ZoneRule):
        if rule.admission is None or not rule.admission.mtls or not rule.guards(service):
            return []
        asks = f"zone `{rule.name}` asks of every caller a client certificate"
        made = _rule(rule, service, not_admitted(rule), rule.reason or asks, "call with a client certificate")
        return [replace(made, without_certificate=True)]
    if isinstance(rule, QuarantineRule):
        return _at_patterns(rule, _rule(rule, service, closed(rule), rule.words, rule.to_pass))
    if isinstance(rule, AccessRule) and rule.denies:
        return _at_patterns(
            rule, _rule(rule, service, denial(rule), rule.reason or "the policy denies this to everybody", rule.to_pass)
        )
    return []


def _sized(rule: SchemaRule, scope: ServiceScope) -> list[NativeRule]:
    """Bodies that say themselves that they are too large. What is over the service's `maxBody` the engine sees cut off at that: a larger
    bound is none for it."""
    if not 0 < rule.size < scope.max_body or rule.actions["limits"] != "block" or "request" not in rule.directions:
        return []
    effect, words = too_large(rule)
    return [replace(one, over=rule.size) for one in _at_patterns(rule, _rule(rule, scope.name, effect, words, rule.to_pass))]


def _rule(rule: CompiledRule, service: str, effect: Deny, reason: str, to_pass: str) -> NativeRule:
    return NativeRule(
        service, rule.name, status=effect.status, type=PROBLEM_BASE + effect.type, title=effect.title, detail=effect.detail,
        kind=rule.kind, location=rule.location, reason=reason, to_pass=to_pass,
    )  # fmt: skip


def _at_patterns(rule: CompiledRule, made: NativeRule) -> list[NativeRule]:
    if not rule.patterns:
        return [made]
    found = []
    for pattern in rule.patterns:
        path = path_pattern(pattern)
        if path is not None:
            # GET covers HEAD, as in `method_matches`.
            methods = () if pattern.method == "*" else ("GET", "HEAD") if pattern.method == "GET" else (pattern.method,)
            found.append(replace(made, methods=methods, path=path))
    return found


def path_pattern(pattern: OperationPattern) -> str | None:
    """RE2 of paths that are in the pattern in their only reading; None where none can be told so."""
    parts = []
    for want in pattern.segments:
        if want is None:
            parts.append("/" + _PLAIN.pattern)
        elif isinstance(want, str) and _PLAIN.fullmatch(want):
            parts.append("/" + want.replace(".", r"\."))
        else:
            return None
    text = "".join(parts) + (f"(?:/{_PLAIN.pattern})*" if pattern.open else "")
    text = f"{text}/?" if text else "/"
    return text if len(text) <= MAX_PATH else None
