"""Which findings keep a call from teaching."""

from __future__ import annotations

import pytest

from eastwall.model.finding import Finding


@pytest.mark.parametrize(
    ("severity", "confidence", "phase", "standing", "suspicious"),
    [
        ("medium", "medium", "request", False, True),
        ("low", "high", "request", False, False),
        ("critical", "low", "request", False, False),
        ("medium", "high", "response", False, False),
        ("high", "medium", "response", False, True),
        # A weak key is shown by every call of every caller: were it theirs, nothing would ever be learned.
        ("critical", "high", "request", True, False),
    ],
)
def test_what_a_caller_did_keeps_the_call_from_teaching(severity, confidence, phase, standing, suspicious):
    finding = Finding("x", severity, confidence, (), "body", "m", phase=phase, standing=standing)
    assert finding.suspicious is suspicious
