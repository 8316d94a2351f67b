"""Policy as code: YAML text -> `parse` -> `check` -> `compile` -> `evaluate` -> `actions`.

The engine never reads YAML; it gets the MessagePack of a checked `PolicySet` in its snapshot. Each step is one file; what the
author may write is `kinds`.
"""

from eastwall.policy.actions.problem import answer
from eastwall.policy.check import check
from eastwall.policy.compile import Plan, compile_plan, referenced_files, scopes_of, trust_of
from eastwall.policy.data_classes import custom_classes
from eastwall.policy.evaluate import evaluate
from eastwall.policy.explain import explain
from eastwall.policy.kinds import Fault, Policy, PolicySet, decode, encode
from eastwall.policy.limits import LimitTable
from eastwall.policy.parse import Parser, parse_files
from eastwall.policy.rule_packs import content_rules, scope_of, with_automata

__all__ = [
    "Fault",
    "LimitTable",
    "Parser",
    "Plan",
    "Policy",
    "PolicySet",
    "answer",
    "check",
    "compile_plan",
    "content_rules",
    "custom_classes",
    "decode",
    "encode",
    "evaluate",
    "explain",
    "parse_files",
    "referenced_files",
    "scope_of",
    "scopes_of",
    "trust_of",
    "with_automata",
]
