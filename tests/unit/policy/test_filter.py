"""Items of lists that a finding is about: taken out, withheld as a whole, or passed, by policy."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from eastwall.model.call import Mode
from eastwall.model.decision import Deny, Redact, Verdict, Withhold
from eastwall.model.deviations import OwnerMismatch
from eastwall.model.facts import Facts
from eastwall.model.finding import Finding
from eastwall.policy import LimitTable, compile_plan, encode, evaluate, explain

from .build import DETECTIONS, ServiceScope, detection, document, finding, policies, request, response

PLACE = "body.items[].user_id"
ITEMS: tuple[tuple[str | int, ...], ...] = (("items", 0), ("items", 4))
FOUND = Finding("owner-mismatch", "high", "high", ("API1:2023",), PLACE, "2 of 5 items are others'", phase="response")
FILTER = document("DetectionPolicy", detections=["owner-mismatch"], action="filter")


def _facts(items: tuple[tuple[str | int, ...], ...] = ITEMS, kind: str = "json", data: tuple[str, ...] = ()) -> Facts:
    facts = response(request(), data)
    one = OwnerMismatch(PLACE, "sub", "bob", 9, 9, items=items, listed=5)
    return replace(facts, deviations=(one,), operation=replace(facts.operation, body_kind=kind))


def _mcp() -> Facts:
    facts = _facts()
    return replace(facts, operation=replace(facts.operation, protocol="mcp"))


def _judged(text: str, facts: Facts, *findings: Finding, mode: Mode = Mode.ENFORCE) -> Verdict:
    known = (*DETECTIONS, detection("owner-mismatch"))
    plan = compile_plan(encode(policies(text)), services=[ServiceScope("orders", mode)], endpoints=(), detections=known)
    return evaluate(plan, facts, findings or (FOUND,), (), LimitTable())


@pytest.mark.parametrize("text", [FILTER, ""], ids=["filter", "default"])
def test_items_are_taken_out(text: str) -> None:
    verdict = _judged(text, _facts())
    assert (verdict.action, verdict.would) == ("redact", "redact")
    assert verdict.effects == (Withhold(ITEMS),)
    assert verdict.matches[0].action == "filter"
    assert "2 items are withheld" in " ".join(explain(verdict))


@pytest.mark.parametrize("facts", [_facts(()), _facts(kind="text"), _mcp()], ids=["no list", "no JSON", "said twice"])
def test_what_is_no_list_is_withheld_as_a_whole(facts: Facts) -> None:
    verdict = _judged(FILTER, facts)
    assert verdict.action == "block"
    assert isinstance(verdict.effects[0], Deny)


def test_a_policy_that_blocks_withholds_lists_as_a_whole() -> None:
    assert _judged(document("DetectionPolicy", detections=["*"], action="block"), _facts()).action == "block"
    assert _judged(document("DetectionPolicy", detections=["*"], action="report"), _facts()).action == "allow"


def test_another_finding_that_blocks_goes_before() -> None:
    other = replace(finding("object-not-granted"), phase="response")
    for findings in ((FOUND, other), (other, FOUND)):
        verdict = _judged(FILTER, _facts(), *findings)
        assert (verdict.action, verdict.would) == ("block", "block")
        assert [type(effect) for effect in verdict.effects] == [Deny]


def test_data_is_changed_in_what_is_left() -> None:
    verdict = _judged(FILTER + document("DataPolicy", "mask", classes=["pan"], action="mask"), _facts(data=("pan",)))
    assert verdict.effects == (Withhold(ITEMS), Redact(("pan",), "mask"))
    held = _judged(FILTER + document("DataPolicy", "hold", classes=["pan"], action="block"), _facts(data=("pan",)))
    assert held.action == "block"


def test_a_service_that_is_monitored_is_told_what_would_be() -> None:
    verdict = _judged(FILTER, _facts(), mode=Mode.MONITOR)
    assert (verdict.action, verdict.would, verdict.effects) == ("allow", "redact", ())
