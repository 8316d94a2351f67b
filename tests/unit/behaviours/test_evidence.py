"""How few cases make a rule of an order of steps, and what the same step on another kind of object says."""

from __future__ import annotations

from eastwall.behaviours.sessions.evidence import ODDS, SURE, Pool, coincidence
from eastwall.behaviours.sessions.flows import Flow
from eastwall.behaviours.sessions.invariants import Rules, invariants
from eastwall.discovery.inventory import endpoint_id
from eastwall.model.endpoint import Endpoint, Parameter


def _endpoint(template: str, *parameters: str) -> Endpoint:
    known = tuple(Parameter(name, "integer") for name in parameters)
    return Endpoint(endpoint_id("shop", "POST", template), "shop", "POST", template, status="learned", parameters=known)


KINDS = {"order": "orders", "invoice": "invoices"}
STEPS = {
    (kind, step): _endpoint(f"/{path}/{{{kind}_id}}/{step}", f"{kind}_id")
    for kind, path in KINDS.items()
    for step in ("confirm", "pay", "refund")
}
OTHERS = tuple(_endpoint(f"/things/{name}") for name in ("checkout", "payment", "note", "mark"))
ENDPOINTS = (*STEPS.values(), *OTHERS)


def _on(kind: str, *before: str, times: int, without: int = 0, again: int = 0) -> Flow:
    flow = Flow()
    for n in range(times):
        held = [STEPS[kind, step].id for step in before] if n >= without else []
        flow.fold(held, [], first=n < 3, keyed=False, actor=n % 5 + 1)
        flow.on_object(kind, held, [])
        flow.tally(f"object {kind}", 0, n % 5 + 1)
    for n in range(again):
        flow.tally(f"object {kind}", 1, n + 1)
    return flow


def _rules(**flows: Flow) -> dict[str, Rules]:
    by_id = {STEPS[tuple(name.split("_"))].id: flow for name, flow in flows.items()}  # type: ignore[index]
    return {rules.label.removeprefix("POST "): rules for rules in invariants(by_id, ENDPOINTS)}


def test_the_bound() -> None:
    assert (SURE + 2) ** 2 >= ODDS > (SURE + 1) ** 2


def test_a_rule_from_twelve_cases_on() -> None:
    confirmed = _on("order", times=20)
    pay = "/orders/{order_id}/pay"
    assert [r.calls for r in _rules(order_confirm=confirmed, order_pay=_on("order", "confirm", times=12))[pay].after] == [12]
    assert _rules(order_confirm=confirmed, order_pay=_on("order", "confirm", times=11))[pay].after == ()
    assert _rules(order_confirm=confirmed, order_pay=_on("order", "confirm", times=12, without=1))[pay].after == ()


def test_sisters_count_together_unless_one_contradicts() -> None:
    few, known = (
        _on("invoice", "confirm", times=5),
        {"order_confirm": _on("order", times=20), "invoice_confirm": _on("invoice", times=9)},
    )
    pay = "/invoices/{invoice_id}/pay"
    found = _rules(**known, invoice_pay=few, order_pay=_on("order", "confirm", times=9))[pay].after
    assert [(one.calls, one.pooled, one.causal) for one in found] == [(5, 9, True)]
    assert _rules(**known, invoice_pay=few, order_pay=_on("order", "confirm", times=9, without=2))[pay].after == ()
    wrong = _on("invoice", "confirm", times=5, without=1)
    assert _rules(**known, invoice_pay=wrong, order_pay=_on("order", "confirm", times=9))[pay].after == ()


def test_a_name_that_presumes_another_needs_two() -> None:
    refund = "/orders/{order_id}/refund"
    known = {"order_confirm": _on("order", times=20), "order_pay": _on("order", "confirm", times=20)}
    found = _rules(**known, order_refund=_on("order", "confirm", "pay", times=2))[refund]
    assert [(one.label, one.named) for one in found.after] == [("POST /orders/{order_id}/pay", True)]
    assert [(one.things, one.named) for one in found.once] == [(2, True)]
    assert refund not in _rules(**known, order_refund=_on("order", "confirm", "pay", times=1))


def test_what_sisters_repeat_is_not_counted() -> None:
    flows = {STEPS["order", "refund"].id: _on("order", times=6), STEPS["invoice", "refund"].id: _on("invoice", times=9, again=2)}
    known = {endpoint.id: endpoint for endpoint in ENDPOINTS}
    pool = Pool(flows, set(flows), known)
    assert pool.once(STEPS["order", "refund"].id) == 0, "two callers repeat it"
    assert pool.once(STEPS["invoice", "refund"].id) == 6


def test_what_comes_before_everything_is_no_rule_while_little_is_known() -> None:
    checkout, payment, note, mark = (one.id for one in OTHERS)

    def flow(share: int) -> Flow:
        made = Flow()
        for n in range(14):
            made.fold([checkout] if n < share else [], [], first=n < 5, keyed=False, actor=n % 5 + 1)
        return made

    for others, causal in ((14, False), (3, True)):
        flows = {payment: flow(14), note: flow(others), mark: flow(others), checkout: flow(0)}
        assert (100 * coincidence(checkout, payment, flows, {payment, note, mark}, 14, each=True) <= 1) is causal
        found = {rules.endpoint: rules for rules in invariants(flows, ENDPOINTS)}
        told = [one.causal for one in found[payment].after if one.before == checkout] if payment in found else []
        assert (True in told) is causal
