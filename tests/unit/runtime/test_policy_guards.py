"""Step-backs, at control: what cannot be written down yet is tried again, and said until it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.policy.build import document, policies

from eastwall.model.snapshot import StepBack
from eastwall.runtime.audit import AuditLog
from eastwall.runtime.policy_guards import PolicyGuards

NOW = 1_800_000_000.0


def test_a_step_back_that_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    own = policies(document("AccessPolicy", action="deny", mode="enforce", guard={"legitimate": 5, "within": "1m"})).policies
    told = msgspec.to_builtins(StepBack("p", NOW, "five legitimate calls", ("01HF0000000000000000000000",)))
    beats: list[dict[str, Any]] = [{"name": "a", "stepped_back": [told]}]
    published: list[tuple[StepBack, ...]] = []
    home = tmp_path / "state"
    home.write_text("in the way")
    audit = AuditLog(tmp_path / "audit", lambda: NOW)
    guards = PolicyGuards(
        home / "guards.json", audit, lambda: own, lambda: (), lambda: beats, lambda _: [], lambda: published.append(guards.stepped_back)
    )  # fmt: skip
    for _ in range(2):
        with pytest.raises(OSError, match=r"."):
            guards.look()
    assert not published
    home.unlink()
    home.mkdir()
    assert guards.look(), "tried again, though nothing new was told"
    assert [one.policy for one in published[-1]] == ["p"]
    assert not guards.look(), "and then no more"
    assert [entry.act for entry in audit.entries()] == ["step-back"], "recorded once, however often it is tried"
    again = PolicyGuards(home / "guards.json", audit, lambda: own, lambda: (), list, lambda _: [], lambda: None)
    assert [one.policy for one in again.stepped_back] == ["p"]
    assert not again.look()
