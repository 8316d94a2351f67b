"""Who sends `role: admin` and has no authority is told also at an operation that nobody has called yet."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.behaviours.driven import Engine
from tests.unit.decision.world import DECLARED

from eastwall.decision.authority import giving_authority
from eastwall.model.endpoint import Endpoint

WRITTEN = replace(
    DECLARED,
    properties=(("user", ("email", "name")), ("user+admin", ("name", "role")), ("*", ("name", "role"))),
    property_calls=(("user", 400), ("user+admin", 30), ("*", 430)),
)
EMPTY = Endpoint("ep_turn", "orders", "POST", "/turns", status="learned")
"""Of which no body was learned."""


@pytest.mark.parametrize("path", ["/standings", "/turns"])
@pytest.mark.parametrize(
    ("body", "roles", "found"),
    [
        ({"email": "bob@mail.example", "role": "admin"}, (), True),
        ({"members": [{"name": "bob"}, {"name": "eve", "roles": ["root"]}]}, (), True),
        ({"email": "bob@mail.example", "role": "viewer"}, (), False),
        ({"email": "bob@mail.example", "note": "admin"}, (), False),
        ({"email": "bob@mail.example", "role": "admin"}, ("admin",), False),
    ],
)
def test_authority_given_where_little_is_known(path: str, body: Any, roles: tuple[str, ...], found: bool) -> None:
    engine = Engine(endpoints=(WRITTEN, EMPTY))
    told = engine.ask("POST", path, body, answer={"ok": True}, user="bob", roles=roles)
    assert told.blocked is found
    assert (told.of("mass-assignment") is not None) is found


def test_where_the_class_is_little_known_nothing_is_said() -> None:
    few = replace(WRITTEN, property_calls=(("user", 40), ("*", 70)))
    told = Engine(endpoints=(few,)).ask("POST", "/standings", {"role": "admin"}, answer={"ok": True}, user="bob")
    assert not told.findings


def test_values_are_found_wherever_they_stand() -> None:
    body = {"a": [[{"role": "admin"}]], "b": {"role": "member"}, "c": [{"role": "member"}, {"role": "root"}], "d": "admin"}
    places = ("a[][].role", "b.role", "c[].role", "d", "e.role", "")
    assert giving_authority(body, places) == ("a[][].role", "c[].role")
    assert giving_authority([{"role": "admin"}], ("[].role",)) == ("[].role",)
    assert giving_authority("admin", ("role",)) == ()
