"""What a JSON Patch sets is a property like any other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.behaviours.driven import Engine

from eastwall.discovery.json_patch import patched


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ([{"op": "replace", "path": "/role", "value": "admin"}], ("role",)),
        ([{"op": "add", "path": "/user/roles/-", "value": "admin"}], ("user.roles[]",)),
        ([{"op": "add", "path": "/lines/0/price", "value": 1}], ("lines[].price",)),
        ([{"op": "replace", "path": "/user", "value": {"role": "admin"}}], ("user", "user.role")),
        ([{"op": "replace", "path": "/a~1b~0c", "value": 1}], ("a/b~c",)),
        ([{"op": "test", "path": "/role", "value": "admin"}], ()),
        ([{"op": "test", "path": "/name"}, {"op": "add", "path": "/role", "value": 1}], ("role",)),
        ([{"op": ["add"], "path": "/role"}], ()),
        ([{"op": "replace", "path": 7}], ()),
        ({"op": "replace", "path": "/role"}, ()),
        ([], ()),
        (None, ()),
    ],
)
def test_places(body: Any, places: tuple[str, ...]) -> None:
    assert patched(body) == places


@given(
    st.lists(
        st.fixed_dictionaries(
            {"op": st.just("add"), "path": st.text(max_size=300), "value": st.dictionaries(st.text(), st.none())}
        )
    )
)
def test_patches_of_any_form_are_bounded(body: Any) -> None:
    assert len(patched(body)) <= 64 * 65


FORMS: tuple[Any, ...] = (
    [{"op": "replace", "path": "/role", "value": "admin"}],
    {"name": "a", "role": "admin"},
    {"name": "a", "Role": "admin"},
    {"name": "a", "user.role": "admin"},
    {"name": "a", "user[role]": "admin"},
    {"name": "a", "user": {"role": "admin"}},
    {"name": "a", "users": [{"isAdmin": True}]},
)


@pytest.mark.parametrize("body", FORMS, ids=str)
def test_a_role_is_no_property_of_a_user_in_whatever_form(body: Any) -> None:
    outcome = Engine().ask("PATCH", "/me", body, user="alice", answer={"id": 1})
    assert outcome.blocked
    assert outcome.of("mass-assignment") is not None


def test_what_users_do_send_passes() -> None:
    assert not Engine().ask("PATCH", "/me", {"name": "a", "email": "a@b.example"}, user="alice", answer={"id": 1}).blocked
