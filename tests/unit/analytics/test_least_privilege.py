"""What is suggested hurts no call it was made from, closes what nobody used, reads back, and does not depend on order."""

from __future__ import annotations

import random

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.unit.policy.build import NOW, plan, request, response, user

from eastwall.analytics.least_privilege import DataUse, Evidence, Owned, Pace, Shaped, Use, round_up, suggest, written
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.policy import LimitTable, evaluate, parse_files
from eastwall.policy.kinds import AccessPolicy, DataPolicy, LimitPolicy


def use(
    service: str, operation: str, cls: str, *, kind: str = "user", strength: int = 3, calls: int = 50, known: bool = True
) -> Use:
    method, _, template = operation.partition(" ")
    return Use(service, method, template, cls, kind, strength, calls, 5, 3, NOW, known)


def evidence(*uses: Use, **more: object) -> Evidence:
    values: dict[str, object] = {"since": NOW - 86_400, "until": NOW, "calls": 100, "callers": 9, "left_out": 3, **more}
    return Evidence(uses=uses, **values)  # type: ignore[arg-type]


def enforced(found: Evidence) -> str:
    text = written(suggest(found), found)
    _, faults = parse_files({"s.yaml": text})
    assert not faults, (text, [str(fault) for fault in faults])
    return text.replace("mode: monitor", "mode: enforce")


def acts(text: str, facts: object) -> str:
    return evaluate(plan(text), facts, (), (), LimitTable()).action  # type: ignore[arg-type]


def test_everything_is_in_monitor() -> None:
    found = evidence(use("orders", "GET /orders", "user"), paces=(Pace("orders", "user", "user", 7, 5, 50),))
    policies, _ = parse_files({"s.yaml": written(suggest(found), found)})
    specs = [p.spec for p in policies.policies if p.location != "builtin"]
    assert {type(spec) for spec in specs} == {AccessPolicy, LimitPolicy}
    assert {spec.mode for spec in specs if isinstance(spec, AccessPolicy | LimitPolicy | DataPolicy)} == {"monitor"}


def test_what_was_used_passes_and_what_was_not_is_closed() -> None:
    text = enforced(evidence(use("orders", "GET /orders/{order_id}", "user"), use("orders", "POST /refunds", "user+support")))
    support = user("bob", cls="user+support", roles=("support",))
    assert acts(text, request("GET", "/orders/7")) == "allow"
    assert acts(text, request("POST", "/refunds", support)) == "allow"
    assert acts(text, request("POST", "/refunds")) == "block"
    assert acts(text, request("GET", "/orders/7", support)) == "block"
    assert acts(text, request("GET", "/admin")) == "block", "nobody used it"


def test_another_service_is_left_alone() -> None:
    text = enforced(evidence(use("orders", "GET /orders", "user")))
    assert (
        evaluate(plan(text, service="billing"), request("GET", "/x", service="billing"), (), (), LimitTable()).action == "allow"
    )


def test_operations_with_the_same_callers_share_a_policy() -> None:
    found = suggest(evidence(*(use("orders", f"GET /a{n}", cls) for n in range(40) for cls in ("user", "user+admin"))))
    assert [one.name for one in found] == ["suggested-orders-user-user-admin", "suggested-orders-nothing-else"]


def test_ones_own_is_a_condition_where_it_always_held() -> None:
    owned = Owned("orders", "GET", "/users/{user_id}/orders", "path.user_id", "sub", ("user",), 231, 231)
    text = enforced(
        evidence(
            use("orders", "GET /users/{user_id}/orders", "user"),
            use("orders", "GET /users/{user_id}/orders", "user+staff"),
            owned=(owned,),
        )
    )
    assert "so in 231 of 231 calls" in text
    assert acts(text, request("GET", "/users/alice/orders")) == "allow"
    assert acts(text, request("GET", "/users/bob/orders")) == "block"
    assert acts(text, request("GET", "/users/bob/orders", user("eve", cls="user+staff"))) == "allow"


def test_callers_without_identity_open_an_operation_to_everybody() -> None:
    text = enforced(
        evidence(use("orders", "POST /login", "anonymous", kind="address", strength=0), use("orders", "POST /login", "user"))
    )
    nobody = Identity(
        "address:10.0.0.9", "address", Strength.NONE, chain=(Principal("address", "10.0.0.9", Strength.NONE),), cls="anonymous"
    )
    assert acts(text, request("POST", "/login", nobody)) == "allow"


def test_weakly_proved_callers_are_not_shut_out() -> None:
    text = enforced(evidence(use("orders", "GET /orders", "key", kind="key", strength=int(Strength.GUESSED))))
    caller = Identity("key:ab12", "key", Strength.GUESSED, chain=(Principal("key", "ab12", Strength.GUESSED),), cls="key")
    assert acts(text, request("GET", "/orders", caller)) == "allow"


def test_sensitive_data_goes_on_to_those_who_got_it() -> None:
    data = (DataUse("orders", "pan", "user+billing", "user", 3, 90, 2), DataUse("orders", "email", "user", "user", 3, 90, 2))
    found = evidence(use("orders", "GET /cards", "user"), use("orders", "GET /cards", "user+billing"), data=data)
    text = enforced(found)
    assert "email" not in text, "of low sensitivity"
    biller = user("bill", cls="user+billing")
    assert acts(text, response(request("GET", "/cards", biller), ["pan"])) == "allow"
    assert acts(text, response(request("GET", "/cards"), ["pan"])) == "redact"


def test_data_that_strangers_get_has_no_receivers_to_name() -> None:
    data = (DataUse("orders", "pan", "anonymous", "address", 0, 9, 1), DataUse("orders", "pan", "user", "user", 3, 9, 1))
    found = evidence(use("orders", "GET /cards", "user"), data=data)
    assert not [one for one in suggest(found) if one.kind == "DataPolicy"]


def test_learned_bodies_are_a_schema_policy_and_few_are_none() -> None:
    shaped = (Shaped("orders", "POST", "/orders", 240, 7), Shaped("orders", "PATCH", "/orders/{order_id}", 4, 2))
    (one,) = [s for s in suggest(evidence(use("orders", "POST /orders", "user"), shaped=shaped)) if s.kind == "SchemaPolicy"]
    assert [line.evidence for line in one.spec if line.evidence] == ["learned from 240 bodies with 7 fields"]


def test_nothing_seen_says_so() -> None:
    found = evidence(calls=0, callers=0)
    text = written(suggest(found), found)
    assert "Nothing to suggest" in text
    assert not parse_files({"s.yaml": text})[1]


@given(st.integers(1, 10**7))
def test_numbers_are_rounded_up_to_round_ones(number: int) -> None:
    found = round_up(number)
    assert number <= found <= max(10, number * 2)
    assert str(found).rstrip("0") in ("1", "2", "3", "5")


@given(st.lists(st.floats(0, 400), min_size=1, max_size=200))
def test_the_limit_is_above_every_window_it_was_made_from(offsets: list[float]) -> None:
    times = sorted(NOW + offset for offset in offsets)
    minutes = [int(at // 60) for at in times]
    peak = max(minutes.count(minute) for minute in minutes)
    text = enforced(evidence(use("o", "GET /a", "user"), paces=(Pace("o", "user", "user", peak, 1, len(times)),)))
    made, table = plan(text, service="o"), LimitTable()
    assert all(evaluate(made, request("GET", "/a", service="o", time=at), (), (), table).action == "allow" for at in times)


NAMES = st.text(min_size=1, max_size=12)
PATHS = st.lists(st.sampled_from(["orders", "{id}", "v1", "a b", "x%2Fy", "ä", "{"]), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
USES = st.builds(
    use,
    st.sampled_from(["orders", "billing", "null", "a:b", "ünï"]),
    st.builds(lambda method, path: f"{method} {path}", st.sampled_from(["GET", "POST", "X\n"]), PATHS),
    NAMES,
    kind=st.sampled_from(["user", "workload", "key"]),
    strength=st.integers(0, 3),
)


@settings(deadline=None, max_examples=60, phases=[Phase.explicit, Phase.generate])
@given(st.lists(USES, max_size=12), st.randoms(use_true_random=False))
def test_whatever_callers_call_themselves_it_reads_back_and_lets_them_in(uses: list[Use], order: random.Random) -> None:
    shaped = tuple(Shaped(one.service, one.method, one.template, 50, 9) for one in uses)
    paces = tuple(Pace(one.service, one.cls, one.kind, 9, 2, 50) for one in uses)
    found = evidence(*uses, paces=paces, shaped=shaped, suspects=(("user:\n- evil", 7),))
    text = enforced(found)
    mixed = list(uses)
    order.shuffle(mixed)
    shuffled = evidence(*mixed, paces=paces, shaped=shaped, suspects=(("user:\n- evil", 7),))
    assert {(s.kind, s.name, frozenset(line.text for line in s.spec)) for s in suggest(found)} == {
        (s.kind, s.name, frozenset(line.text for line in s.spec)) for s in suggest(shuffled)
    }
    for one in uses:
        if "{" in one.template.replace("{id}", "") or not one.method.isalpha() or one.template.startswith("/x%2Fy"):
            continue  # no operation can be written of it: the suggestion says so
        caller = Identity(
            f"{one.kind}:n",
            one.kind,
            Strength(one.strength),
            chain=(Principal(one.kind, "n", Strength(one.strength)),),
            cls=one.cls,
        )
        target = one.template.replace("{id}", "7").replace(" ", "%20").replace("ä", "%C3%A4")
        facts = request(one.method, target, caller, service=one.service)
        verdict = evaluate(plan(text, service=one.service), facts, (), (), LimitTable())
        assert verdict.action == "allow", (text, one)
