"""The rule packs of a policy set: policies of kind `RulePack` -> what engines compile, and what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

from eastwall.discovery.content_rules import ContentRules, problems
from eastwall.model.content_rule import ContentRule
from eastwall.model.facts import Facts
from eastwall.policy.conditions import request_operation
from eastwall.policy.kinds import PackRule, PolicySet, RulePack
from eastwall.policy.patterns import Paths, compile_globs, method_matches, parse_operation, segments_match
from eastwall.policy.wording import shown

PREFIX = "pack-"
NAME = re.compile(r"[a-z][a-z0-9-]{0,38}[a-z0-9]")
MAX_RULES = 200
"""Of one pack."""
MAX_ALL_RULES = 1_000
"""Of a policy set: compiling that many takes half a second, once per change."""
MAX_EXAMPLES = 50
"""Texts for `matches`, and as many for `nearMisses`, of one rule."""
MAX_EXAMPLE = 4_096
MAX_SENTENCE = 300
_IDS = {"owasp": r"(API|LLM|A|MCP)[0-9]{1,2}:20[0-9]{2}", "cwe": r"CWE-[0-9]{1,5}", "attack": r"(T|AML\.T)[0-9]{4}(\.[0-9]{3})?"}
_EXAMPLES = {"owasp": "API8:2023", "cwe": "CWE-200", "attack": "T1190"}
PHASES = {"request": ("request",), "response": ("response",), "both": ("request", "response")}
Found = Iterator[tuple[str, str, str]]
"""(place, message, hint)"""


def content_rule(pack: str, rule: PackRule) -> ContentRule:
    """One rule, as engines get it."""
    return ContentRule(
        id=f"{PREFIX}{pack}/{rule.id}",
        title=rule.title,
        pattern=rule.pattern,
        severity=rule.severity,
        confidence=rule.confidence,
        phases=PHASES[rule.phase],
        where=rule.where,
        caseful=rule.caseful,
        decoded=rule.decoded,
        confirm=rule.confirm.pattern,
        validator=rule.confirm.validator or "",
        min_entropy=rule.confirm.min_entropy,
        services=rule.services,
        operations=rule.operations,
        owasp=rule.owasp,
        cwe=rule.cwe,
        attack=rule.attack,
        action=rule.action,
        detects=rule.detects,
        matches=rule.matches,
        near_misses=rule.near_misses,
    )


def content_rules(policies: PolicySet) -> tuple[ContentRule, ...]:
    """All rules of a set's packs, in order."""
    return tuple(
        content_rule(policy.name, rule)
        for policy in policies.policies
        if isinstance(policy.spec, RulePack)
        for rule in policy.spec.rules
    )


def with_automata(policies: PolicySet) -> PolicySet:
    """The set with its rules compiled, so that engines need not. Raises ValueError, one line, for more than engines can take."""
    rules = content_rules(policies)
    if not rules:
        return policies
    if len(rules) > MAX_ALL_RULES:
        raise ValueError(f"{len(rules):,} rules in all packs, at most {MAX_ALL_RULES:,} are allowed")
    return msgspec.structs.replace(policies, rule_automata=ContentRules(rules).save())


def faults(name: str, spec: RulePack) -> Found:
    """What is wrong with a pack: its rules are compiled one by one, and their examples tried."""
    if not NAME.fullmatch(name):
        yield "metadata.name", f"pack {shown(name)} must be lower-case letters, digits and `-`, at most 40", "e.g. `shop-content`"
    if not spec.rules:
        yield "spec.rules", "`spec.rules` is empty, so the pack does nothing", ""
    if len(spec.rules) > MAX_RULES:
        yield "spec.rules", f"{len(spec.rules)} rules, at most {MAX_RULES} are allowed in a pack", "split the pack"
        return
    first: dict[str, int] = {}
    for at, rule in enumerate(spec.rules):
        place = f"spec.rules[{at}]"
        if first.setdefault(rule.id, at) != at:
            yield f"{place}.id", f"there is another rule {shown(rule.id)} in the pack", "give one a new id"
        for field, message, hint in (*_rule(rule), *problems(content_rule(name, rule))):
            yield f"{place}.{field}", message, hint


def _rule(rule: PackRule) -> Found:
    if not NAME.fullmatch(rule.id):
        yield "id", f"rule {shown(rule.id)} must be lower-case letters, digits and `-`, at most 40", "e.g. `internal-host`"
    for field, text in (("title", rule.title), ("detects", rule.detects), ("doesNotDetect", rule.does_not_detect)):
        if not text or len(text) > MAX_SENTENCE or not text.isprintable():
            yield field, f"`{field}` must be one line of 1 to {MAX_SENTENCE} characters", ""
    for field, texts in (("matches", rule.matches), ("nearMisses", rule.near_misses)):
        if not texts:
            yield field, f"`{field}` is empty", "at least one text each: a rule without examples is a guess"
        if len(texts) > MAX_EXAMPLES or any(len(text) > MAX_EXAMPLE for text in texts):
            yield (
                field,
                f"`{field}` takes at most {MAX_EXAMPLES} texts of at most {MAX_EXAMPLE:,} characters",
                "keep those that differ",
            )
    if not 0 <= rule.confirm.min_entropy <= 8:
        yield "confirm.minEntropy", "`minEntropy` must be 0 to 8 bits per character", "random hexadecimal has 4, random Base64 6"
    for at, text in enumerate(rule.operations):
        try:
            parse_operation(text)
        except ValueError as error:
            yield f"operations[{at}]", str(error), "write e.g. `GET /orders/{order_id}` or `* /admin/**`"
    for field, form in _IDS.items():
        for at, text in enumerate(getattr(rule, field)):
            if not re.fullmatch(form, text):
                yield f"{field}[{at}]", f"{shown(text)} is not an id of that list", f"write e.g. `{_EXAMPLES[field]}`"


def scope_of(rule: ContentRule) -> Callable[[Facts], bool] | None:
    """Which calls a rule is about; None: all. Of a path that services may read in several ways, any reading counts."""
    services = compile_globs(rule.services)
    operations = tuple(parse_operation(text) for text in rule.operations)
    if services is None and not operations:
        return None

    def covers(facts: Facts) -> bool:
        call = facts.call
        if services is not None and not services(call.service):
            return False
        if not operations:
            return True
        asked = request_operation(facts)
        paths = Paths(asked.path, asked.segments)
        return any(
            method_matches(pattern.method, call.request.method) and segments_match(pattern.folded, pattern.open, way)
            for pattern in operations
            for way in paths.folded
        )

    return covers
