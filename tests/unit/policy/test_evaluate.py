"""What policies do to calls."""

from __future__ import annotations

from itertools import product

import pytest

from eastwall.detections import DetectorError
from eastwall.model.call import Mode, Phase
from eastwall.model.decision import ALLOWED, Deny, Redact, Throttle
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.policy import LimitTable, compile_plan, encode, evaluate, explain

from .build import DETECTIONS, document, finding, judge, plan, policies, request, response, user

DENY = document("AccessPolicy", action="deny", scope={"operations": ["* /orders/**"]}, reason="Closed for stocktaking.")
ALLOW = document("AccessPolicy", action="allow", scope={"operations": ["GET /orders/**"], "identities": {"roles": ["support"]}})
LIMIT = document("LimitPolicy", rate="1/m", burst=1)
MASK = document("DataPolicy", classes=["pan"], action="mask", direction="request")
HOLD = document("DataPolicy", classes=["pan"], action="block", direction="request")
DETECT = document("DetectionPolicy", detections=["sql-injection"], action="block")
KINDS = {"deny": DENY, "allow": ALLOW, "limit": LIMIT, "mask": MASK, "hold": HOLD, "detect": DETECT}
STOPS = {"deny": "block", "allow": "block", "limit": "limit", "mask": "redact", "hold": "block", "detect": "block"}


@pytest.mark.parametrize(("name", "own", "scope"), list(product(KINDS, Mode, Mode)))
def test_only_enforce_on_enforce_changes_a_call(name: str, own: Mode, scope: Mode) -> None:
    text = KINDS[name].replace('"spec":{', f'"spec":{{"mode":"{own.name.lower()}",')
    # The built-in policy would speak about the finding too.
    text += document("DetectionPolicy", "builtin/detections", detections=["none"], action="report")
    compiled = plan(text, scope)
    table = LimitTable()
    facts = request(data=["pan"])
    first = evaluate(compiled, facts, [finding()], (), table)
    verdict = evaluate(compiled, facts, [finding()], (), table) if name == "limit" else first
    effective = min(own, scope)
    expected = STOPS[name]
    assert verdict.action == (expected if effective is Mode.ENFORCE else "allow")
    assert verdict.would == (expected if effective >= Mode.MONITOR else "allow")
    assert bool(verdict.effects) == (effective is Mode.ENFORCE)
    assert [match.mode for match in verdict.matches] == ([effective] if effective >= Mode.MONITOR else [])


def test_deny_wins_over_allow_and_both_are_recorded() -> None:
    text = document("AccessPolicy", "yes", action="allow") + document("AccessPolicy", "no", action="deny")
    verdict = judge(text, request())
    assert (verdict.action, [m.policy for m in verdict.matches]) == ("block", ["no", "yes"])
    assert verdict.effects == (Deny(403, "Access denied", "You may not call this operation.", "access-denied"),)
    assert verdict.matches[0].location == "p.yaml:4"


def test_the_order_of_the_steps() -> None:
    everything = (
        DENY + document("LimitPolicy", "l", rate="1/h") + document("DetectionPolicy", "d", detections="*", action="block") + HOLD
    )
    everything = everything.replace('"name":"p"', '"name":"first"', 1)
    facts = request(data=["pan"])
    table = LimitTable()
    compiled = plan(everything)
    verdict = evaluate(compiled, facts, [finding()], (), table)
    assert [match.kind for match in verdict.matches] == ["AccessPolicy", "DetectionPolicy", "DataPolicy"]
    assert len(table) == 0, "a call that is denied uses up no limit"
    other = request(target="/x", data=["pan"])
    assert evaluate(compiled, other, [finding()], (), table).effects[0].detail == "The request was refused by a security policy."
    assert evaluate(compiled, other, [finding()], (), table).action == "limit"


def test_an_operation_that_an_allow_covers_is_closed_to_others() -> None:
    support = user("eve", roles=("support",))
    assert judge(ALLOW, request(identity=support)).action == "allow"
    assert judge(ALLOW, request(identity=user("mallory"))).action == "block"
    assert judge(ALLOW, request("POST", identity=user("mallory"))).action == "allow", "POST is not covered"
    assert judge(ALLOW, request(target="/other", identity=user("mallory"))).action == "allow"
    assert judge(ALLOW, request("HEAD", identity=user("mallory"))).action == "block", "GET includes HEAD"


def test_claims_that_nobody_checked_open_no_door() -> None:
    forged = user("eve", Strength.GUESSED, roles=("support",))
    assert judge(ALLOW, request(identity=forged)).action == "block"
    trusting = ALLOW.replace('"roles"', '"strength":"guessed","roles"')
    assert judge(trusting, request(identity=forged)).action == "allow"
    exempting = document("DataPolicy", classes=["pan"], action="mask", direction="request", **{"except": {"roles": ["support"]}})
    assert judge(exempting, request(identity=forged, data=["pan"])).action == "redact"
    assert judge(exempting, request(identity=user("eve", roles=("support",)), data=["pan"])).action == "allow"
    # What restricts, restricts them all the same.
    denying = document("AccessPolicy", action="deny", scope={"identities": {"roles": ["support"]}})
    assert judge(denying, request(identity=forged)).action == "block"


def test_addresses_are_seen_and_need_no_proof() -> None:
    text = document("AccessPolicy", action="allow", scope={"identities": {"actors": ["address:10.*"]}})
    nobody = Identity(
        "address:10.0.0.9", "address", Strength.NONE, "anonymous", (Principal("address", "10.0.0.9", Strength.NONE),)
    )
    assert judge(text, request(identity=nobody)).action == "allow"


def test_a_workload_on_the_way_is_selected_with_its_own_proof() -> None:
    text = document("AccessPolicy", action="allow", scope={"identities": {"actors": ["workload:spiffe://shop/*"]}})
    front = Principal("workload", "spiffe://shop/front", Strength.VERIFIED)
    through = Identity("user:alice", "user", Strength.GUESSED, "user", (front, Principal("user", "alice", Strength.GUESSED)))
    assert judge(text, request(identity=through)).action == "allow"
    claimed = Principal("workload", "spiffe://shop/front", Strength.GUESSED)
    assert judge(text, request(identity=Identity("user:alice", "user", Strength.VERIFIED, "user", (claimed,)))).action == "block"


@pytest.mark.parametrize(
    "target",
    ["/admin/users", "//admin//users", "/Admin/Users", "/x/../admin/users", "/admin;v=1/users", "/%61dmin/users", "/x/%2e%2e/admin/u",
     "/./admin/users", "/admin%2Fusers", "/x/..%5cadmin", "/admin", "/admin/", "/%2561dmin/users"],
)  # fmt: skip
def test_no_spelling_of_a_path_gets_around_a_deny(target: str) -> None:
    text = document("AccessPolicy", action="deny", scope={"operations": ["* /admin/**"]})
    assert judge(text, request(target=target)).action == "block"
    assert judge(text, request(target="/orders?next=/admin/users")).action == "allow"
    assert judge(text, request(target="/administrators")).action == "allow"


@pytest.mark.parametrize("target", ["/public/../admin", "/public/%2e%2e/admin", "/public/..;/admin", "/PUBLIC/x"])
def test_no_spelling_of_a_path_gets_into_an_allow(target: str) -> None:
    text = document("AccessPolicy", "all", action="allow", scope={"operations": ["* /public/**"]})
    text += document("AccessPolicy", "rest", action="allow", scope={"identities": {"roles": ["admin"]}})
    assert judge(text, request(target="/public/x")).action == "allow"
    assert judge(text, request(target=target)).action == "block"


def test_conditions_see_the_names_of_the_policys_own_pattern() -> None:
    text = document(
        "AccessPolicy", action="allow", scope={"operations": "GET /users/{user}/orders"}, when="path.user == identity.sub"
    )
    assert judge(text, request(target="/users/alice/orders", identity=user("alice"))).action == "allow"
    assert judge(text, request(target="/users/bob/orders", identity=user("alice"))).action == "block"


@pytest.mark.parametrize(
    ("action", "on_error", "expected"),
    [("deny", "block", ("block", "block")), ("deny", "monitor", ("allow", "block")), ("deny", "allow", ("allow", "allow")),
     ("allow", "block", ("block", "block")), ("allow", "monitor", ("allow", "block")), ("allow", "allow", ("allow", "allow"))],
)  # fmt: skip
def test_a_condition_that_fails_follows_on_error_and_is_recorded(action: str, on_error: str, expected: tuple[str, str]) -> None:
    text = document("AccessPolicy", action=action, when="request.headers['x-tenant'] == 'a'", onError=on_error)
    verdict = judge(text, request())
    assert (verdict.action, verdict.would) == expected
    assert [effect.status for effect in verdict.effects if isinstance(effect, Deny)] == ([503] if expected[0] == "block" else [])
    assert "x-tenant" in verdict.matches[-1].reason + verdict.matches[0].reason


@pytest.mark.parametrize(
    ("on_error", "expected"), [("block", ("block", "block")), ("monitor", ("allow", "block")), ("allow", ("allow", "allow"))]
)
def test_a_detector_that_failed_follows_its_on_error_and_is_recorded(on_error: str, expected: tuple[str, str]) -> None:
    error = DetectorError("sql-injection", "ValueError: boom", on_error)
    verdict = evaluate(plan(""), request(), (), [error], LimitTable())
    assert (verdict.action, verdict.would) == expected
    assert "boom" in verdict.matches[0].reason
    assert evaluate(plan("", Mode.MONITOR), request(), (), [error], LimitTable()).action == "allow"


def test_the_built_in_policy_blocks_what_is_serious_sure_and_meant_to_block() -> None:
    assert judge("", request(), [finding()]).action == "block"
    assert judge("", request(), [finding(severity="medium")]).action == "allow"
    assert judge("", request(), [finding(confidence="low")]).action == "allow"
    reported = judge("", request(), [finding("mass-assignment")])
    assert (reported.action, [m.action for m in reported.matches]) == ("allow", ["report"])
    assert judge("", request(), [finding("unknown-detection")]).action == "allow"


def test_no_policies_at_all_are_the_built_in_ones() -> None:
    from eastwall.model.snapshot import ServiceScope

    compiled = compile_plan(b"", services=[ServiceScope("orders", Mode.ENFORCE)], endpoints=(), detections=DETECTIONS)
    assert evaluate(compiled, request(), [finding()], (), LimitTable()).action == "block"


def test_a_policy_of_ones_own_speaks_before_the_built_in_one() -> None:
    lenient = document("DetectionPolicy", detections=["sql-*"], action="report", scope={"operations": ["GET /search"]})
    assert judge(lenient, request(target="/search"), [finding()]).action == "allow"
    assert judge(lenient, request(target="/orders"), [finding()]).action == "block"
    trial = lenient.replace('"action":"report"', '"action":"report","mode":"monitor"')
    verdict = judge(trial, request(target="/search"), [finding()])
    assert (verdict.action, verdict.would) == ("block", "allow"), "a policy on trial does not un-block"


def test_a_finding_in_a_response_withholds_it_and_says_nothing_of_it() -> None:
    verdict = judge("", response(request()), [finding("object-not-granted")])
    (effect,) = verdict.effects
    assert isinstance(effect, Deny)
    assert (effect.status, effect.type) == (403, "response-withheld")
    assert "object" not in effect.detail


def test_the_strictest_style_holds_per_class() -> None:
    text = (
        document("DataPolicy", "a", classes=["pan", "email"], action="mask")
        + document("DataPolicy", "b", classes=["pan"], action="redact")
        + document("DataPolicy", "c", classes=["email"], action="drop", mode="monitor")
        + document("DataPolicy", "d", classes=["ssn"], action="hash")
    )
    verdict = judge(text, response(request(), ["email", "pan", "ssn", "iban"]))
    assert verdict.effects == (Redact(("pan",), "redact"), Redact(("ssn",), "hash"), Redact(("email",), "mask"))
    assert judge(text, response(request(), ["iban"])) is ALLOWED
    assert judge(text, request(data=["pan"])) is ALLOWED, "the direction is the response"


def test_data_that_blocks_goes_before_data_that_changes() -> None:
    text = document("DataPolicy", "a", classes=["pan"], action="mask") + document(
        "DataPolicy", "b", classes=["secret"], action="block"
    )
    verdict = judge(text, response(request(), ["pan", "secret"]))
    assert (verdict.action, verdict.matches[0].policy) == ("block", "b")


def test_limits_count_apart_what_they_are_told_to() -> None:
    text = document("LimitPolicy", rate="1/m", burst=2, per=["identity"])
    compiled, table = plan(text), LimitTable()

    def call(name: str, after: float = 0.0) -> str:
        return evaluate(compiled, request(identity=user(name), time=1e9 + after), (), (), table).action

    assert [call("alice"), call("alice"), call("alice"), call("bob")] == ["allow", "allow", "limit", "allow"]
    assert [call("alice", 59), call("alice", 61), call("alice", 62)] == ["limit", "allow", "limit"]


def test_a_throttle_says_when_to_come_back() -> None:
    compiled, table = plan(document("LimitPolicy", rate="6/m", burst=1, reason="Slowly, please.")), LimitTable()
    evaluate(compiled, request(), (), (), table)
    verdict = evaluate(compiled, request(), (), (), table)
    (effect,) = verdict.effects
    assert isinstance(effect, Throttle)
    assert (round(effect.retry_after, 3), effect.limit, effect.remaining, effect.detail) == (10.0, 6, 0, "Slowly, please.")
    assert verdict.matches[0].to_pass == "wait 10 s"


def test_made_up_paths_share_one_count_per_operation() -> None:
    compiled, table = plan(document("LimitPolicy", rate="1/m", burst=1, per=["operation"])), LimitTable()
    assert [evaluate(compiled, request(target=f"/made/up/{i}"), (), (), table).action for i in range(3)] == [
        "allow",
        "limit",
        "limit",
    ]


def test_limits_do_not_count_responses() -> None:
    compiled, table = plan(document("LimitPolicy", rate="1/m", burst=1)), LimitTable()
    asked = request()
    evaluate(compiled, asked, (), (), table)
    assert evaluate(compiled, response(asked), (), (), table) is ALLOWED


def test_a_service_that_no_scope_names_is_only_discovered() -> None:
    compiled = plan(DENY + LIMIT.replace('"name":"p"', '"name":"l"'))
    assert evaluate(compiled, request(service="stranger"), [finding()], (), LimitTable()) is ALLOWED


def test_methods_and_paths_of_a_callers_making_do_not_grow_the_plan() -> None:
    compiled = plan(DENY)
    for i in range(500):
        evaluate(compiled, request(f"M{i}", f"/p{i}/q{i}"), (), (), LimitTable())
    assert len(compiled._by_path) + len(compiled._cache) < 20


def test_verdicts_can_be_explained() -> None:
    compiled = plan(DENY + document("LimitPolicy", "l", rate="1/s", mode="monitor"))
    lines = explain(evaluate(compiled, request(), [finding()], (), LimitTable()))
    assert lines[0] == "the message was blocked"
    assert lines[1].startswith("block: AccessPolicy `p` (p.yaml:2): Closed for stocktaking.")
    assert lines[2] == "  to pass: nothing passes: the policy denies this operation to everybody"
    assert explain(ALLOWED) == ["the message was let through", "no policy had anything to say about it"]


def test_the_plan_of_a_set_that_was_never_checked_is_refused_in_one_line() -> None:
    import msgspec

    own = policies(LIMIT)
    broken = msgspec.structs.replace(own.policies[-1], spec=msgspec.structs.replace(own.policies[-1].spec, rate="fast"))
    with pytest.raises(ValueError, match=r"^p\.yaml:2: policy `p`: `fast` is not a rate"):
        compile_plan(encode(msgspec.structs.replace(own, policies=(broken,))), services=(), endpoints=(), detections=())


def test_the_response_phase_looks_at_the_requests_path() -> None:
    text = document(
        "DataPolicy", classes=["pan"], action="mask", scope={"operations": ["GET /cards/{id}"]}, when="path.id != '7'"
    )
    assert judge(text, response(request(target="/cards/8"), ["pan"])).action == "redact"
    assert judge(text, response(request(target="/cards/7"), ["pan"])).action == "allow"
    assert judge(text, response(request(target="/other"), ["pan"])).action == "allow"
    assert response(request()).phase is Phase.RESPONSE


@pytest.mark.parametrize(("target", "action"), [
    ("/tenants/mine/deals", "allow"), ("/tenants/theirs/deals", "block"), ("/tenants/mine/../theirs/deals", "block"),
    ("/tenants/theirs/../mine/deals", "block"), ("/tenants/mine;x/deals", "block"), ("/tenants/mine/%2e%2e/theirs/deals", "block"),
])  # fmt: skip
def test_what_a_path_parameter_opens_every_reading_of_the_path_must_open(target: str, action: str) -> None:
    text = document(
        "AccessPolicy", action="allow", scope={"operations": ["* /tenants/{tenant}/**"]}, when=["path.tenant == 'mine'"]
    )
    assert judge(text, request(target=target)).action == action


@pytest.mark.parametrize("target", ["/tenants/theirs/deals", "/tenants/mine/../theirs/deals", "/tenants/theirs/../mine/deals"])
def test_what_a_path_parameter_closes_any_reading_of_the_path_closes(target: str) -> None:
    text = document(
        "AccessPolicy", action="deny", scope={"operations": ["* /tenants/{tenant}/**"]}, when=["path.tenant == 'theirs'"]
    )
    assert judge(text, request(target=target)).action == "block"
