"""Names that mean privilege, ownership or server-kept state."""

from __future__ import annotations

import time
from typing import Any

import pytest

from eastwall.discovery.privilege import gives_authority, privileged


@pytest.mark.parametrize(
    "name",
    "role roles user_role userRole ROLE isAdmin is_admin is-admin IsAdmin admin superuser permissions scopes verified emailVerified approved balance "
    "accountBalance credit price unitPrice unit_price discount ownerId owner_id owner user_id userId tenant tenantId accountId account_id status "
    "is_active access_level created_by passwordHash items[].price roles[].name owner.email user.is_admin".split(),
)
def test_privileged(name: str) -> None:
    assert privileged(name)


@pytest.mark.parametrize(
    "name",
    "name title note quantity qty email phone address street city zip items items[].sku id description comment message administration_note unpriced "
    "price_note priceNote discount_code discountCode statusText theme language q page password username first_name active user is".split(),
)
def test_ordinary(name: str) -> None:
    assert not privileged(name)


@pytest.mark.parametrize("name", ["", ".", "..", "[]", "_", "é", "данные", "a" * 1_000_000, "aA" * 100_000, "." * 100_000])
def test_any_name_is_judged_quickly(name: str) -> None:
    start = time.thread_time()
    assert not privileged(name)
    assert time.thread_time() - start < 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [("role", "admin"), ("user.userRole", "SuperUser"), ("roles[]", "org_admin"), ("roles", ["member", "root"]), ("is_admin", True),
     ("isAdmin", 1), ("permissions", ["admin:write"]), ("superuser", "true")],
)  # fmt: skip
def test_values_that_give_authority(name: str, value: Any) -> None:
    assert gives_authority(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("role", "member"), ("role", "owner"), ("roles", ["viewer"]), ("is_admin", False), ("note", "ask the admin"), ("administration", "admin"),
     ("role", None), ("role", {"admin": 1}), ("role", 1), ("", "admin"), ("admin_note", "true story")],
)  # fmt: skip
def test_values_that_do_not(name: str, value: Any) -> None:
    assert not gives_authority(name, value)
