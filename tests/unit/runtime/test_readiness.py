"""How much of its evidence each model has at one operation."""

from __future__ import annotations

from msgspec import to_builtins

from eastwall.cli.apis import _ready
from eastwall.model.endpoint import Endpoint, ObjectParameter, Schema
from eastwall.runtime.readiness import readiness

NEW = Endpoint("ep_000000000001", "shop", "POST", "/orders/{order_id}/pay", calls=7)


def told(endpoint: Endpoint) -> dict[tuple[str, str], tuple[int, int]]:
    return {(one.model, one.about): (one.have, one.need) for one in readiness(endpoint)}


def test_a_new_operation_says_what_it_lacks() -> None:
    assert told(NEW) == {("functions", ""): (7, 20), ("sequences", ""): (7, 12)}


def test_each_model_counts_what_it_goes_by() -> None:
    objects = (
        ObjectParameter("path.order_id", "order", True, 0.99),
        ObjectParameter("body.coupon_id", "coupon", False, 0.2),
    )
    known = Endpoint(
        "ep_000000000001", "shop", "POST", "/orders/{order_id}/pay", calls=400, objects=objects,
        property_calls=(("*", 90), ("user+member", 88), ("user+support", 2)),
        request=Schema(samples=31), responses=((200, Schema(samples=40)), (404, Schema(samples=900))),
    )  # fmt: skip
    assert told(known) == {
        ("functions", ""): (400, 20),
        ("ownership", ""): (1, 2),
        ("properties", "user+member"): (88, 5),
        ("properties", "user+support"): (2, 5),
        ("values", ""): (31, 30),
        ("sequences", ""): (400, 12),
        ("exposure", ""): (40, 50),
    }


def test_what_only_reads_has_no_sequence() -> None:
    assert told(Endpoint("ep_000000000002", "shop", "GET", "/orders", calls=400)) == {("functions", ""): (400, 20)}


def test_the_line_of_the_cli_says_what_is_not_judged_yet() -> None:
    lines = [_ready(to_builtins(one)) for one in readiness(NEW)]
    assert lines == ["functions   7 of 20 calls: not judged yet", "sequences   7 of 12 calls: not judged yet"]
