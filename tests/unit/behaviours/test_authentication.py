"""Attempts on accounts: spraying, guessing, codes, resets, look-ups, answers that tell; and offices, slips and people in a hurry."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.behaviours.driven import Engine
from tests.unit.decision.world import ENDPOINTS, LOGIN

from eastwall.behaviours.authentication import roles
from eastwall.behaviours.authentication import watch as live
from eastwall.behaviours.authentication.model import Group, Knowledge, Model, Tells
from eastwall.behaviours.maxima import Usual
from eastwall.discovery.inventory import endpoint_id
from eastwall.model.call import Mode
from eastwall.model.endpoint import Endpoint
from eastwall.model.operation import Operation
from eastwall.model.record import RECORD_VERSION, CallRecord


def post(template: str) -> Endpoint:
    return Endpoint(endpoint_id("orders", "POST", template), "orders", "POST", template, status="learned")


FORGOT, RESET, OTP, REGISTER = post("/password/forgot"), post("/password/reset"), post("/otp/verify"), post("/register")
ALL = (*ENDPOINTS, FORGOT, RESET, OTP, REGISTER)
USUAL = Usual(callers=40, calls=900, some=20, most=(0,) * 8)


def engine() -> Engine:
    groups = tuple(Group(one.id, USUAL, None) for one in (LOGIN, FORGOT, RESET, OTP, REGISTER))
    return Engine(endpoints=ALL, authentication=Knowledge(groups))


def sign_in(e: Engine, account: str, *, right: bool, **more):
    return e.ask("POST", "/login", {"email": account, "password": "x"}, status=200 if right else 401, **more)


def stopped_at(outcomes: list, detection: str) -> int:
    return next((at for at, one in enumerate(outcomes, 1) if one.blocked and one.of(detection)), 0)


def test_one_password_on_every_account_slowly():
    e = engine()
    tried = [sign_in(e, f"u{n}@x.example", right=False, source="45.1.1.1", gap=900.0) for n in range(20)]
    assert stopped_at(tried, "password-spraying") == 10
    found = tried[9].of("password-spraying")
    assert "9 different accounts failed to sign in from this address within a day" in found.message
    assert "40 learned addresses had 0 at most" in found.message


def test_an_office_of_two_hundred_behind_one_address():
    e, rng = engine(), random.Random(1)
    for day in range(2):
        for n in range(200):
            for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2))):
                assert not sign_in(e, f"u{n}@office.example", right=False, source="81.1.1.1", gap=5.0).of("password-spraying")
            made = sign_in(e, f"u{n}@office.example", right=True, source="81.1.1.1", gap=90.0)
            assert not made.blocked, (day, n)


def test_one_account_a_few_times_an_hour():
    e = engine()
    tried = [sign_in(e, "v@x.example", right=False, source=f"45.{n}.1.1", gap=1_500.0) for n in range(40)]
    assert stopped_at(tried, "password-spraying") == 22


def test_a_victims_own_address_is_not_stopped():
    e = engine()
    sign_in(e, "v@x.example", right=True, source="81.1.1.1")
    tried = [sign_in(e, "v@x.example", right=False, source=f"45.{n}.1.1", gap=1_500.0) for n in range(40)]
    assert stopped_at(tried, "password-spraying")
    assert not sign_in(e, "v@x.example", right=False, source="81.1.1.1").of("password-spraying")
    assert not sign_in(e, "v@x.example", right=True, source="81.1.1.1").blocked


def test_two_tries_from_each_of_many_addresses():
    e = engine()
    tried = [sign_in(e, f"y{n}@x.example", right=False, source=f"45.{n // 2}.1.1", agent="requests/2.3") for n in range(30)]
    assert stopped_at(tried, "password-spraying") == 17
    assert "from 8 addresses" in tried[16].of("password-spraying").message
    assert not sign_in(e, "u@x.example", right=True, source="81.1.1.1", agent="Mozilla/5.0").blocked


def test_a_surge_among_people_stops_nobody():
    e = engine()
    for n in range(100):
        made = sign_in(e, f"u{n}@x.example", right=n % 4 > 0, source=f"81.{n}.1.1", agent="Mozilla/5.0")
        assert not made.of("password-spraying")


def test_codes_are_guessed():
    e = engine()
    tried = [e.ask("POST", "/otp/verify", {"code": f"{n:04d}"}, user="mallory", status=401, gap=0.2) for n in range(10)]
    assert stopped_at(tried, "code-guessing") == 7


def test_codes_of_a_reset_are_guessed():
    e = engine()
    body = {"code": "", "password": "mine-now-1"}
    tried = [e.ask("POST", "/password/reset", {**body, "code": f"{n:06d}"}, status=400, source="45.1.1.1") for n in range(10)]
    assert stopped_at(tried, "code-guessing") == 7


def test_somebody_who_types_a_code_wrongly():
    e = engine()
    for n in range(20):
        for code, status in ((f"1{n}1", 401), (f"1{n}2", 401), (f"1{n}3", 200)):
            assert not e.ask("POST", "/otp/verify", {"code": code}, user="alice", status=status, gap=20.0).blocked
    for _ in range(20):
        assert not e.ask("POST", "/otp/verify", {"code": "9999"}, user="bob", status=401).blocked


def test_graphql_says_no_with_a_status_of_200():
    e, no = engine(), {"data": {"giftcard": None}, "errors": [{"message": "not found"}]}
    ask = "query Giftcard($code: ID!) { giftcard(code: $code) { balance } }"
    tried = [
        e.ask("POST", "/graphql", {"query": ask, "variables": {"code": f"GC-{n}"}}, user="mallory", answer=no) for n in range(10)
    ]
    assert stopped_at(tried, "code-guessing") == 7


def test_codes_that_stand_in_the_path():
    e = engine()
    tried = [e.ask("GET", f"/vouchers/GC-{n}", user="mallory", status=404) for n in range(10)]
    assert stopped_at(tried, "code-guessing") == 7
    owner = [e.ask("GET", "/vouchers/GC-77", user="alice", status=404 if n < 2 else 200) for n in range(10)]
    assert not any(one.blocked for one in owner)
    assert not any(e.ask("GET", f"/orders/{n}", user="bob", status=404).of("code-guessing") for n in range(10))


def test_one_good_code_pays_for_no_guesses():
    e, tried = engine(), []
    for n in range(12):
        tried.append(e.ask("POST", "/otp/verify", {"code": f"{n:04d}"}, user="mallory", status=401, gap=0.2))
        e.ask("POST", "/otp/verify", {"code": "own"}, user="mallory", status=200, gap=0.2)
    assert stopped_at(tried, "code-guessing") == 8


def test_a_reset_of_every_account():
    e = engine()
    tried = [e.ask("POST", "/password/forgot", {"email": f"u{n}@x.example"}, status=202, source="45.1.1.1") for n in range(10)]
    assert stopped_at(tried, "reset-flow-abuse") == 7


def test_resets_of_one_account_are_told_and_not_blocked():
    e = engine()
    made = [e.ask("POST", "/password/forgot", {"email": "v@x.example"}, status=202, source=f"45.{n}.1.1") for n in range(8)]
    assert not any(one.blocked for one in made)
    assert made[-1].of("reset-flow-abuse").severity == "medium"


def test_a_registration_form_is_asked_who_has_an_account():
    e = engine()
    body = {"password": "x"}
    tried = [
        e.ask("POST", "/register", {**body, "email": f"u{n}@x.example"}, status=409, source="45.1.1.1", gap=9.0)
        for n in range(14)
    ]
    assert stopped_at(tried, "user-enumeration") == 12


def test_answers_that_tell_are_told_of_the_operation():
    tells = Tells("answer", 40, 22, "401 against 404")
    e = Engine(endpoints=ALL, mode=Mode.MONITOR, authentication=Knowledge((Group(LOGIN.id, None, tells),)))
    e.state.audit_all = True
    found = sign_in(e, "u@x.example", right=True).of("observable-response-discrepancy")
    assert "401 against 404, in 40 failures of existing accounts and 22 of others" in found.message


def record(number: int, note: object, *, status: int = 401, duration: int = 1_000, source: str = "81.1.1.1") -> CallRecord:
    return CallRecord(
        RECORD_VERSION, str(number), 1e9 + 60 * number, "orders", "POST", "/login", "", status, 0, 0, duration, source,
        actor=f"address:{source}", actor_class="anonymous", principals=(f"address:{source}",), notes=(("authentication", note),),
    )  # fmt: skip


def folded(existing: tuple[int, int, int], others: tuple[int, int, int], each: int = 50) -> Model:
    """(answer, status, microseconds) of failures of either sort."""
    model = Model()
    for n in range(each):
        for (answer, status, duration), exists in ((existing, True), (others, False)):
            note = [[1, 1, 1, 1, 0, 0, 0, 0], answer, exists]
            model.fold(record(n, note, status=status, duration=duration, source=f"81.1.{n}.1"), "ep", note, clean=False)
    return model


@pytest.mark.parametrize(
    ("existing", "others", "shown"),
    [
        ((11, 401, 9_000), (22, 404, 9_000), "401 against 404"),
        ((11, 401, 9_000), (22, 401, 9_000), "another text with 401"),
        ((11, 401, 180_000), (11, 401, 9_000), "median 185 ms against 10 ms"),
        ((11, 401, 9_000), (11, 401, 10_000), ""),
    ],
)
def test_how_answers_differ_is_learned(existing, others, shown):
    (group,) = folded(existing, others).publish(()).groups
    assert (group.tells.shown if group.tells is not None else "") == shown


def test_few_failures_tell_nothing():
    found = folded((11, 401, 9_000), (22, 404, 9_000), each=5).publish(())
    assert found is None or all(group.tells is None for group in found.groups)


@pytest.mark.parametrize(
    ("method", "path", "name", "properties", "role"),
    [
        ("POST", "/login", "", ("email", "password"), roles.SIGN_IN),
        ("POST", "/api/auth/sign-in", "", ("user.name", "user.password"), roles.SIGN_IN),
        ("POST", "/graphql", "mutation signIn", ("query", "variables.email", "variables.password"), roles.SIGN_IN),
        ("POST", "/password/forgot", "", ("email",), roles.RESET),
        ("POST", "/account/recovery", "", ("phone",), roles.RESET),
        ("POST", "/password/reset", "", ("code", "password"), roles.CONFIRM),
        ("POST", "/otp/verify", "", ("code",), roles.CODE),
        ("POST", "/mcp", "tools/call otp_verify", ("params.arguments.code",), roles.CODE),
        ("POST", "/users/register", "", ("email", "password"), roles.REGISTER),
        ("POST", "/users/exists", "", ("email",), roles.LOOKUP),
        ("POST", "/orders", "", ("code", "name"), ""),
        ("POST", "/cart/coupon", "", ("code",), roles.CODE),
        ("POST", "/shop.v1.OrderService/Giftcard", "", ("code",), roles.CODE),
        ("POST", "/counters/reset", "", ("id",), ""),
        ("GET", "/login", "", (), ""),
        ("PATCH", "/me", "", ("name", "password"), ""),
    ],
)
def test_what_operations_do_with_accounts(method, path, name, properties, role):
    operation = Operation("rest", method, (), path, name=name)
    assert roles.role(None, operation, properties) == role
    assert not role or roles.interesting(path, name)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    )
)
def test_any_body_is_read(body):
    account, code = roles.said(Operation("rest", "POST", (), "/login", body=body))
    assert isinstance(account, str)
    assert isinstance(code, str)


def test_tallies_are_bounded(monkeypatch):
    monkeypatch.setattr(live, "MAX_TALLIES", 50)
    e = engine()
    for n in range(300):
        sign_in(e, f"a{n}@x.example", right=False, source="45.1.1.1", gap=0.1)
        sign_in(e, f"b{n}@x.example", right=False, source=f"46.{n % 250}.1.1", gap=0.1)
    watch = e.state.watches.of("authentication")
    assert len(watch._tallies) <= 50
    assert all(len(tally.members) <= live.MAX_MEMBERS for tally in watch._tallies.values())
    assert not watch._open


def test_made_up_user_agents_and_accounts_of_one_address_are_bounded(monkeypatch):
    monkeypatch.setattr(live, "MAX_MEMBERS", 16)
    monkeypatch.setattr(live, "MAKES", 7)
    e = engine()
    for n in range(200):
        sign_in(e, f"a{n}@x.example", right=False, source="45.1.1.1", agent=f"tool{'x' * n}", gap=0.1)
        e.ask("POST", "/password/forgot", {"email": f"a{n}@x.example"}, status=202, source="45.1.1.1", gap=0.1)
    assert len(e.state.watches.of("authentication")) < 16 + 16 + 2 * 8 + 8


def test_a_clock_that_goes_back_and_jumps():
    e = engine()
    for gap in (1.0, -9e5, 2e6, -1e9, 0.0):
        for n in range(4):
            assert not sign_in(e, f"u{n}@x.example", right=False, gap=gap).of("password-spraying")
