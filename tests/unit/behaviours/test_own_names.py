"""What names a caller: claims, and parts of them that services keep."""

from __future__ import annotations

import pytest

from eastwall.behaviours.ownership_claims.reading import own_claim, own_values
from eastwall.model.identity import Identity, Strength


@pytest.mark.parametrize(
    ("sub", "found"),
    [
        ("auth0|507F1F77", {"sub": "auth0|507f1f77", "sub_id": "507f1f77"}),
        ("oidc|corp|bob", {"sub": "oidc|corp|bob", "sub_id": "bob"}),
        ("auth0|", {"sub": "auth0|"}),
        ("bob", {"sub": "bob"}),
    ],
)
def test_a_subject_with_its_provider(sub: str, found: dict[str, str]) -> None:
    caller = Identity(f"user:{sub}", "user", Strength.VERIFIED, cls="user", claims={"sub": sub})
    assert own_values(caller) == found
    assert {label: own_claim(caller, label) for label in found} == found
