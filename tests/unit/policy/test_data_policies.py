"""Data policies by caller, purpose and exposure; tokens; which of several policies holds."""

from __future__ import annotations

from itertools import combinations

import pytest

from eastwall.model.call import Mode
from eastwall.model.decision import Aggregate, Detokenise, Redact, Trim
from eastwall.model.identity import Strength
from eastwall.model.snapshot import ServiceScope
from eastwall.policy import LimitTable, compile_plan, encode, evaluate

from .build import DETECTIONS, document, judge, policies, request, response, user

ORDER = ["truncate", "mask", "format", "tokenise", "hash", "redact", "drop", "block"]
MORE = {"truncate": {"keep": 6}}


@pytest.mark.parametrize(("mild", "strict"), list(combinations(ORDER, 2)))
def test_the_strictest_of_two_holds_in_either_order(mild: str, strict: str) -> None:
    one = document("DataPolicy", "one", classes=["pan"], action=mild, **MORE.get(mild, {}))
    two = document("DataPolicy", "two", classes=["pan"], action=strict, **MORE.get(strict, {}))
    for text in (one + two, two + one):
        verdict = judge(text, response(request(), data=["pan"]))
        if strict == "block":
            assert verdict.action == "block"
        else:
            assert verdict.effects == (Redact(("pan",), strict, 0),)


def test_of_two_that_truncate_the_shorter_holds() -> None:
    text = "".join(document("DataPolicy", f"p{n}", classes=["pan"], action="truncate", keep=n) for n in (6, 2, 4))
    assert judge(text, response(request(), data=["pan"])).effects == (Redact(("pan",), "truncate", 2),)


TOKENS = document(
    "DataPolicy",
    classes=["pan"],
    action="tokenise",
    detokenise={"roles": ["settlement"]},
    tokensFrom={"actors": ["workload:front"]},
)
HELD = {"card": "ewt_pan_AAAA"}


def test_permitted_callers_get_originals_and_others_tokens() -> None:
    settling = user("bob", roles=("settlement",))
    assert judge(TOKENS, response(request(), data=["pan"])).effects == (Redact(("pan",), "tokenise"),)
    assert judge(TOKENS, response(request(identity=settling), data=["pan"])).effects == ()
    assert judge(TOKENS, response(request(identity=settling), body=HELD)).effects == (Detokenise(("pan",)),)
    assert judge(TOKENS, response(request(), body=HELD)).effects == ()
    unproved = user("bob", Strength.GUESSED, roles=("settlement",))
    assert judge(TOKENS, response(request(identity=unproved), body=HELD)).effects == ()
    assert judge(TOKENS, response(request(identity=unproved), data=["pan"])).effects == (Redact(("pan",), "tokenise"),)


def test_tokens_in_requests_of_those_who_hold_them_are_turned_back() -> None:
    from eastwall.model.identity import Identity, Principal

    front = Principal("workload", "front", Strength.VERIFIED)
    web = Identity("workload:front", "workload", Strength.VERIFIED, "workload:front", (front,))
    assert judge(TOKENS, request(identity=web, body=HELD)).effects == (Detokenise(("pan",)),)
    assert judge(TOKENS, request(body=HELD)).effects == ()
    assert judge(TOKENS, request(identity=web, body={"card": "ewt_email_AAAA"})).effects == ()
    assert judge(TOKENS, request(identity=web, body=HELD), mode=Mode.MONITOR).would == "redact"


def test_what_is_turned_back_is_under_the_other_policies() -> None:
    settling = user("bob", roles=("settlement",))
    facts = response(request(identity=settling), body=HELD)
    masked = TOKENS + document("DataPolicy", "mask", classes=["pan"], action="mask")
    assert judge(masked, facts).effects == (Detokenise(("pan",)), Redact(("pan",), "mask"))
    assert judge(TOKENS + document("DataPolicy", "no", classes=["pan"], action="block"), facts).action == "block"


PURPOSE = {"classes": ["email"], "action": "mask", "purposes": ["support", "billing"]}


def test_a_purpose_opens_for_callers_who_are_known() -> None:
    text = document("DataPolicy", purposeFrom="header:X-Purpose", **PURPOSE)
    support = {"headers": {"x-purpose": "support"}}
    assert judge(text, response(request(**support), data=["email"])).action == "allow"
    assert judge(text, response(request(headers={"x-purpose": "marketing"}), data=["email"])).action == "redact"
    assert judge(text, response(request(), data=["email"])).action == "redact"
    for strength in (Strength.NONE, Strength.GUESSED):
        assert judge(text, response(request(identity=user(strength=strength), **support), data=["email"])).action == "redact"


def test_a_purpose_in_a_claim_must_be_proved() -> None:
    text = document("DataPolicy", purposeFrom="claim:purpose", **PURPOSE)
    for strength in Strength:
        caller = user(strength=strength, claims={"sub": "alice", "purpose": "billing"})
        expected = "allow" if strength is Strength.VERIFIED else "redact"
        assert judge(text, response(request(identity=caller), data=["email"])).action == expected


def test_no_raw_rows_to_agents() -> None:
    text = document("DataPolicy", action="aggregate", measures=["total"], scope={"identities": {"kinds": ["agent"]}})
    rows = {"orders": [{"id": 1, "card": "x"}, {"id": 2, "card": "y"}]}
    agent = user("bot")
    agent = type(agent)("agent:bot", "agent", Strength.VERIFIED, "agent")
    verdict = judge(text, response(request(identity=agent), body=rows, data=["pan"]))
    assert verdict.effects == (Aggregate((), ("total",), ("body.x",)),)
    assert judge(text, response(request(), body=rows)).action == "allow"
    assert judge(text, response(request(identity=agent), body={"id": 1})).action == "allow"


def test_zones_of_callers_are_selected() -> None:
    text = document("TrustZone", "back-office", members={"identities": {"roles": ["clerk"]}}) + document(
        "DataPolicy", classes=["pan"], action="redact", **{"except": {"zones": ["back-office"]}}
    )
    assert judge(text, response(request(identity=user(roles=("clerk",))), data=["pan"])).action == "allow"
    assert judge(text, response(request(), data=["pan"])).action == "redact"
    guessed = user(strength=Strength.GUESSED, roles=("clerk",))
    assert judge(text, response(request(identity=guessed), data=["pan"])).action == "redact"


def test_long_lists_are_cut_and_short_ones_are_not() -> None:
    text = document("DataPolicy", action="truncate", items=2)
    assert judge(text, response(request(), body=[1, 2, 3])).effects == (Trim((), 2),)
    assert judge(text, response(request(), body=[1, 2])).action == "allow"


@pytest.mark.parametrize(("exposure", "action"), [("external", "block"), ("internal", "allow"), ("", "allow")])
def test_no_card_numbers_to_third_parties(exposure: str, action: str) -> None:
    text = document("DataPolicy", classes=["pan"], action="block", direction="request", exposure=["external"])
    scopes = [ServiceScope("orders", Mode.ENFORCE, exposure=exposure)]
    plan = compile_plan(encode(policies(text)), services=scopes, endpoints=(), detections=DETECTIONS)
    assert evaluate(plan, request(data=["pan"]), (), (), LimitTable()).action == action
