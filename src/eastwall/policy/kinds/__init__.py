"""What an author may write: the policy kinds, one frozen struct each, in the words of the YAML (camelCase there).

A new kind is one struct in the file of its family, its name in `Spec` and `KINDS` (`policy_set`), and its place in the order of `evaluate`. The
JSON Schemas for editors are generated from these structs and the docstrings under their fields.
"""

from eastwall.policy.kinds.access import AccessPolicy
from eastwall.policy.kinds.cases import Case, CaseCall, CaseCaller, CaseResponse, CaseStep, Expected, PolicyTest
from eastwall.policy.kinds.data import DataClass, DataPolicy
from eastwall.policy.kinds.detections import Confirm, DetectionPolicy, PackRule, RulePack
from eastwall.policy.kinds.exceptions import PolicyException
from eastwall.policy.kinds.limits import LimitKey, LimitPolicy
from eastwall.policy.kinds.playbooks import Counted, LimitStep, Notify, Playbook, Step, Trigger
from eastwall.policy.kinds.policy_set import KINDS, Fault, Policy, PolicySet, Rule, Spec, decode, encode
from eastwall.policy.kinds.quarantine import Quarantine
from eastwall.policy.kinds.rollout import Guard, Rollout
from eastwall.policy.kinds.schema import SchemaPolicy
from eastwall.policy.kinds.scope import (
    API_VERSION,
    BUILTIN,
    ConfidenceName,
    Identities,
    ModeName,
    OnError,
    Scope,
    SeverityName,
    StrengthName,
)
from eastwall.policy.kinds.service import Jwks, Service, Trust
from eastwall.policy.kinds.tools import Taint, TaintSource, ToolPolicy
from eastwall.policy.kinds.zones import Admission, Entrance, Members, TrustZone

__all__ = [
    "API_VERSION",
    "BUILTIN",
    "KINDS",
    "AccessPolicy",
    "Admission",
    "Case",
    "CaseCall",
    "CaseCaller",
    "CaseResponse",
    "CaseStep",
    "ConfidenceName",
    "Confirm",
    "Counted",
    "DataClass",
    "DataPolicy",
    "DetectionPolicy",
    "Entrance",
    "Expected",
    "Fault",
    "Guard",
    "Identities",
    "Jwks",
    "LimitKey",
    "LimitPolicy",
    "LimitStep",
    "Members",
    "ModeName",
    "Notify",
    "OnError",
    "PackRule",
    "Playbook",
    "Policy",
    "PolicyException",
    "PolicySet",
    "PolicyTest",
    "Quarantine",
    "Rollout",
    "Rule",
    "RulePack",
    "SchemaPolicy",
    "Scope",
    "Service",
    "SeverityName",
    "Spec",
    "Step",
    "StrengthName",
    "Taint",
    "TaintSource",
    "ToolPolicy",
    "Trigger",
    "Trust",
    "TrustZone",
    "decode",
    "encode",
]
