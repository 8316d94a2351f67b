"""When a step counts as stopped, when the demo counts as a success, and what drift is."""

from __future__ import annotations

from typing import Any

import pytest

from eastwall.runtime.demo import drift
from eastwall.runtime.demo.attacker import STEPS, StepResult
from eastwall.runtime.demo.client import CallResult
from eastwall.runtime.demo.run import Report, Tally


@pytest.mark.parametrize(
    ("succeeded", "blocked", "unanswered", "stopped"),
    [
        (False, 2, 0, True),
        (True, 2, 0, False),  # blocked in part, but the attacker got it
        (False, 0, 0, False),  # failed by itself: that is not Eastwall's doing
        (False, 2, 1, False),  # something broke: nobody decided that
    ],
)
def test_a_step_is_stopped_by_eastwall_or_not_at_all(succeeded: bool, blocked: int, unanswered: int, stopped: bool) -> None:
    step = StepResult("bola", "reads", succeeded, "loot" if succeeded else "", 5, blocked, unanswered=unanswered)
    assert step.stopped is stopped


def _step(name: str, *, stopped: bool = True, policies: tuple[str, ...] = ("builtin/detections",)) -> dict[str, Any]:
    return {"name": name, "stopped": stopped, "policies": list(policies)}


def _success(**changes: Any) -> Report:
    steps = [_step(name) for name in STEPS]
    fields: dict[str, Any] = {"attacks_sent": len(STEPS), "attacks_blocked": len(STEPS), "steps": steps, "legit_sent": 10}
    return Report(**(fields | changes))


def test_success_has_no_faults() -> None:
    assert _success().faults() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"missing": ["orders GET /orders"]}, "orders GET /orders"),
        ({"legit_blocked": 1}, "1 ordinary calls were blocked"),
        ({"legit_failed": 2}, "2 ordinary calls failed"),
        ({"attacks_blocked": len(STEPS) - 1, "steps": [_step(n, stopped=n != "bola") for n in STEPS]}, "not stopped: bola"),
        ({"attacks_sent": 0, "attacks_blocked": 0, "steps": []}, f"{len(STEPS)} steps were not carried out"),
        (
            {
                "steps": [
                    _step(n, policies=("orders-are-private", "builtin/detections")) if n == "bola" else _step(n) for n in STEPS
                ]
            },
            "stopped by a policy of the demo, and not by what was learned: bola",
        ),
    ],
)
def test_each_failure_is_a_fault(changes: dict[str, Any], said: str) -> None:
    (fault,) = _success(**changes).faults()
    assert said in fault


def _call(status: int, *, label: str = "legit", blocked: bool = False, expected: tuple[int, ...] = ()) -> CallResult:
    return CallResult(label, "browse", "orders", "GET", "/orders", status, blocked, expected=expected)


def test_tally_tells_blocked_failed_and_attack_calls_apart() -> None:
    tally = Tally()
    for call in (_call(200), _call(401, expected=(401,)), _call(401), _call(0), _call(403, blocked=True)):
        tally.add(call)
    tally.add(_call(403, label="attack", blocked=True))
    assert (tally.sent, tally.blocked, tally.failed) == (5, 1, 2)
    assert [example.status for example in tally.examples] == [401, 0, 403]
    assert tally.rate() == 3.0, "the attacker's calls are calls too"


def _api(method: str, template: str, calls: int = 1, query: tuple[str, ...] = ()) -> dict[str, Any]:
    fields = [{"place": place} for place in query]
    return {"service": "orders", "method": method, "template": template, "calls": calls, "query": {"fields": fields}}


def test_drift_of_a_served_and_a_declared_api() -> None:
    said = {
        drift.key("orders", "GET", "/orders/{id}"): drift.Declared("/orders/{id}", frozenset({"page"})),
        drift.key("orders", "DELETE", "/orders/{id}"): drift.Declared("/orders/{id}", frozenset()),
        drift.key("orders", "PUT", "/orders/{id}"): drift.Declared("/orders/{id}", frozenset()),
    }
    seen = [
        _api("GET", "/orders/{order_id}", query=("query.page", "query.filter[]")),
        _api("GET", "/v1/orders"),
        _api("GET", "/orders/{order_id}/tracking"),
        _api("GET", "/debug/vars"),
        _api("PUT", "/orders/{order_id}", calls=0),  # known to Eastwall, but nobody called it
    ]
    found = [(f.kind, f.method, f.template, f.note) for f in drift.compare(seen, said)]
    assert found == [
        ("shadow", "GET", "/debug/vars", "debug endpoint"),
        ("shadow", "GET", "/v1/orders", "old version"),
        ("shadow", "GET", "/orders/{order_id}/tracking", ""),
        ("ghost", "DELETE", "/orders/{id}", ""),
        ("ghost", "PUT", "/orders/{id}", ""),
        ("parameter", "GET", "/orders/{order_id}", "filter"),
    ]


def test_declared_reads_the_shops_files() -> None:
    said = drift.declared(("orders",))
    assert drift.key("orders", "DELETE", "/orders/{order_id}") in said
    assert "page" in said["orders", "GET", "/orders"].query
