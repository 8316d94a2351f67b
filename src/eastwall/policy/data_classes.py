"""The data classes of a policy set: policies of kind `DataClass` -> what the snapshot holds."""

from __future__ import annotations

from eastwall.model.snapshot import CustomDataClass
from eastwall.policy.kinds import DataClass, PolicySet


def custom_class(name: str, spec: DataClass) -> CustomDataClass:
    """One class, as the engine gets it."""
    return CustomDataClass(
        name=name,
        patterns=spec.patterns,
        words=spec.words,
        names=spec.names,
        validator=spec.validator or "",
        sensitivity=spec.sensitivity,
    )


def custom_classes(policies: PolicySet) -> tuple[CustomDataClass, ...]:
    """The user's own data classes of a set, in order; publish them as `Snapshot.data_classes`."""
    return tuple(custom_class(policy.name, policy.spec) for policy in policies.policies if isinstance(policy.spec, DataClass))
