"""Conditions: closures and the `cel` package give the same answers, and the cases that authors meet."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eastwall.model.endpoint import Match
from eastwall.model.facts import Facts
from eastwall.model.identity import Strength
from eastwall.policy.conditions import Condition, ConditionError
from eastwall.policy.expression import UnsupportedError, parse

from .build import request, user

FACTS = request(
    "POST",
    "/users/alice/orders?user_id=alice&page=2&torn=a&torn=b",
    user("alice", roles=("admin", "dev"), scopes=("read",), tenant="t1", claims={"sub": "alice", "team": "shop"}),
    headers={"x-team": "shop", "empty": ""},
    body={
        "role": "admin",
        "n": 5,
        "f": 5.0,
        "big": 1e3,
        "t": True,
        "none": None,
        "list": [1, "a", True, 2.0],
        "map": {"k": "v"},
        "1": 1,
    },
    match=Match(None, (("name", "from the inventory"),)),
)
PARAMS = {"user_id": "alice"}


def holds(text: str, facts: Facts = FACTS, **how: bool) -> bool | str:
    """True, False, or `error`."""
    try:
        return Condition(text, **how).holds(facts, PARAMS)
    except ConditionError:
        return "error"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path.user_id == identity.sub", True),
        ("path.name == 'from the inventory'", True),
        ("path.nope == 'x'", "error"),
        ("has(path.user_id) && !has(path.nope)", True),
        ("query.user_id == path.user_id", True),
        ("query.torn == 'a'", "error"),
        ("query['page'] == '2'", True),
        ("'admin' in identity.roles", True),
        ("'ops' in identity.roles || 'read' in identity.scopes", True),
        ("identity.claims.team == request.headers['x-team']", True),
        ("identity.claims.nope == 'x'", "error"),
        ("identity.strength == 'verified' && identity.verified", True),
        ("request.method == 'POST' && request.path.startsWith('/users/')", True),
        ("request.host.endsWith('.shop')", True),
        ("body.role == 'admin'", True),
        ("body.n > 4 && body.n <= 5.0", True),
        ("body.n > 'a'", "error"),
        ("body.missing == 1 || true", True),
        ("body.missing == 1 && false", False),
        ("body.missing == 1 && true", "error"),
        ("body.list[1] == 'a' && body.map.k == 'v'", True),
        ("body.none == null", True),
        ("body.t == 1", False),
        ("call.service == 'orders' && call.source == '10.0.0.9'", True),
        ("call.time.getHours() == 22", True),
        ("call.time > timestamp('2023-01-01T00:00:00Z')", True),
        ("identity.roles.exists(r, r.startsWith('ad'))", True),
        ("identity.roles.all(r, r != 'root')", True),
        ("path.user_id.matches('^[a-z]+$')", True),
        ("identity.tenant == 't1' ? path.user_id == 'alice' : false", True),
        ("body.role", "error"),
        ("request.headers.nope == ''", "error"),
    ],
)
def test_what_conditions_say(text: str, expected: bool | str) -> None:
    assert holds(text) == expected
    assert holds(text, reference=True) == expected


def test_a_condition_without_a_body_is_an_error_and_no_crash() -> None:
    assert holds("body.role == 'admin'", request(body=None)) == "error"
    assert holds("body[0] == 'admin'", request(body={"a": 1})) == "error"


def test_the_claimed_subject_is_no_better_than_its_proof() -> None:
    forged = request("GET", "/users/bob", user("bob", Strength.GUESSED))
    assert Condition("path.user_id == identity.sub && identity.verified").holds(forged, {"user_id": "bob"}) is False


literals = st.sampled_from(
    [
        "true",
        "false",
        "null",
        "0",
        "5",
        "-1",
        "5.0",
        "1.5",
        "'alice'",
        "'admin'",
        "''",
        '"a"',
        "[1, 'a']",
        "['admin']",
        "[]",
        "0x10",
    ]
)
names = st.sampled_from(
    [
        "path.user_id",
        "path.nope",
        "path",
        "identity.sub",
        "identity.roles",
        "identity.verified",
        "identity.claims.team",
        "identity.claims",
        "identity",
        "query.page",
        "request.headers",
        "request.size",
        "body",
        "body.n",
        "body.f",
        "body.list",
        "body.map",
        "body.t",
        "body.none",
        "body.missing",
        "body.list[0]",
        "body.list[9]",
        "body.map['k']",
        "call.time",
        "has(body.n)",
        "has(body.map.x)",
        "has(body.n.x)",
    ]
)
expressions = st.recursive(
    literals | names,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "&&", "||"]), inner),
        st.builds("!{}".format, inner.map(lambda text: f"({text})")),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
        st.builds("({}).{}({})".format, inner, st.sampled_from(["startsWith", "endsWith", "contains"]), inner),
        st.builds("({})[{}]".format, inner, inner),
        st.builds("[{}, {}]".format, inner, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=1500, deadline=None)
@given(expressions)
@example("true == 1")
@example("[1] == [1.0]")
@example("[true] == [1]")
@example("1 in body.map")
@example("null in [null]")
@example("(body.missing == 1) == (true || body.missing)")
@example("body == body")
@example("true < false")
@example("identity.claims == identity.claims")
def test_closures_agree_with_the_cel_package(text: str) -> None:
    try:
        parse(text)
        mine = Condition(text)
    except UnsupportedError:
        return
    reference = Condition(text, reference=True)
    answers: list[bool | str] = []
    messages: list[str] = []
    for condition in (mine, reference):
        try:
            answers.append(condition.holds(FACTS, PARAMS))
        except ConditionError as error:
            answers.append("error")
            messages.append(str(error))
    assert answers[0] == answers[1], text
    assert all("\n" not in message and len(message) < 400 for message in messages)


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="abipth.[]()'\"!&|=<>?:, 01xr/\\{}+-*%\n", max_size=40))
def test_what_closures_take_the_cel_package_takes(text: str) -> None:
    try:
        parse(text)
    except UnsupportedError:
        return
    Condition(text, reference=True)


def test_engines_without_fallback_conditions_do_not_load_the_cel_package() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from eastwall.policy.conditions import Condition; "
        "Condition(\"path.user_id == identity.sub && ('admin' in identity.roles || request.headers['x'] != 'y')\"); "
        "print('cel' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
