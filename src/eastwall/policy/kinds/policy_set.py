"""One YAML document, all of them, and their form in snapshots."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from eastwall.policy.kinds.access import AccessPolicy
from eastwall.policy.kinds.data import DataClass, DataPolicy
from eastwall.policy.kinds.detections import DetectionPolicy, RulePack
from eastwall.policy.kinds.exceptions import PolicyException
from eastwall.policy.kinds.limits import LimitPolicy
from eastwall.policy.kinds.playbooks import Playbook
from eastwall.policy.kinds.quarantine import Quarantine
from eastwall.policy.kinds.schema import SchemaPolicy
from eastwall.policy.kinds.service import Service
from eastwall.policy.kinds.tools import ToolPolicy
from eastwall.policy.kinds.zones import TrustZone

Spec = (
    Service
    | AccessPolicy
    | LimitPolicy
    | DataPolicy
    | DetectionPolicy
    | DataClass
    | RulePack
    | TrustZone
    | Quarantine
    | ToolPolicy
    | PolicyException
    | SchemaPolicy
    | Playbook
)
Rule = (
    AccessPolicy
    | LimitPolicy
    | DataPolicy
    | DetectionPolicy
    | TrustZone
    | Quarantine
    | ToolPolicy
    | PolicyException
    | SchemaPolicy
)
"""The kinds that judge calls."""
KINDS: dict[str, type[Spec]] = {
    "Service": Service,
    "AccessPolicy": AccessPolicy,
    "LimitPolicy": LimitPolicy,
    "DataPolicy": DataPolicy,
    "DetectionPolicy": DetectionPolicy,
    "DataClass": DataClass,
    "RulePack": RulePack,
    "TrustZone": TrustZone,
    "Quarantine": Quarantine,
    "ToolPolicy": ToolPolicy,
    "Exception": PolicyException,
    "SchemaPolicy": SchemaPolicy,
    "Playbook": Playbook,
}


class Policy(Struct, frozen=True):
    """One YAML document."""

    name: str
    spec: Spec
    location: str
    """`file:line` of the document, or `builtin`."""
    labels: dict[str, str] = {}
    marks: dict[str, tuple[int, int]] = {}
    """Place in the document (`spec.scope.services[0]`) -> (line, column), both from 1. Not encoded."""

    @property
    def kind(self) -> str:
        return str(type(self.spec).__struct_config__.tag)

    @property
    def file(self) -> str:
        return self.location.rpartition(":")[0] or self.location


class PolicySet(Struct, frozen=True):
    """All policies, built-in ones first, then in order of file and place."""

    policies: tuple[Policy, ...] = ()
    rule_automata: bytes = b""
    """The rules of its packs, compiled (see `rule_packs.with_automata`); empty: whoever needs them compiles them."""


class Fault(Struct, frozen=True, order=True):
    """One thing that is wrong with a policy file."""

    file: str
    line: int
    """From 1."""
    column: int
    """From 1."""
    message: str
    """Lower case, user input in backticks, no final period."""
    hint: str = ""
    """How to mend it; may be empty."""
    warning: bool = False
    """The policy can be applied nevertheless."""

    def __str__(self) -> str:
        kind = "warning: " if self.warning else ""
        where = f"{self.file}:{self.line}:{self.column}: " if self.file else ""  # a fault of the whole set has no place
        return f"{where}{kind}{self.message}" + (f" ({self.hint})" if self.hint else "")


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PolicySet)


def encode(policies: PolicySet) -> bytes:
    """MessagePack for the snapshot, without the positions inside documents."""
    plain = tuple(msgspec.structs.replace(policy, marks={}) for policy in policies.policies)
    return _encoder.encode(PolicySet(plain, policies.rule_automata))


def decode(data: bytes) -> PolicySet:
    """The inverse of `encode`; empty bytes are the empty set. Raises `ValueError` on anything else."""
    try:
        return _decoder.decode(data) if data else PolicySet()
    except msgspec.DecodeError as error:
        raise ValueError(f"the policy set in the snapshot cannot be read: {error}") from None
