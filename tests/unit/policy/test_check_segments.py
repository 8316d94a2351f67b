"""What can be wrong with zones, exceptions, quarantines and access policies as a whole."""

from __future__ import annotations

import time

import pytest

from eastwall.model.snapshot import ServiceScope
from eastwall.policy import check

from .build import DETECTIONS, NOW, document, policies

SERVICES = [ServiceScope("orders"), ServiceScope("billing"), ServiceScope("payments", labels=(("namespace", "pci"),))]


def faults(*documents: str, now: float | None = NOW) -> list[str]:
    return [str(f) for f in check(policies("".join(documents)), services=SERVICES, endpoints=(), detections=DETECTIONS, now=now)]


WEB = document("TrustZone", "web", members={"namespaces": ["web"]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            document("AccessPolicy", action="deny", scope={"identities": {"zones": ["wbe"]}}),
            "zone `wbe` is not known (did you mean `web`?)",
        ),
        (document("AccessPolicy", action="deny", scope={"zones": ["x*"]}), "zone `x*` is not known (known: web)"),
        (
            document("TrustZone", "pci", members={"namespaces": ["pci"]}, **{"from": [{"zones": ["weeb"]}]}),
            "zone `weeb` is not known (did you mean `web`?)",
        ),
        (document("ToolPolicy", tools=["x"], callers={"zones": ["wbe"]}), "zone `wbe` is not known"),
        (
            document("Exception", expires="2030-01-01", owner="a", reason="b", detections=["sql-injecton"]),
            "detection `sql-injecton` is not known (did you mean `sql-injection`?)",
        ),
        (
            document("Exception", expires="2030-01-01", owner="a", reason="b", policies=["wbe"]),
            "warning: policy `wbe` is not known (did you mean `web`?)",
        ),
        (
            document("Exception", expires="2023-11-14T22:13:20Z", owner="a", reason="b", policies=["web"]),
            "warning: this was over at `2023-11-14T22:13:20Z`, and has no effect",
        ),
        (
            document("Quarantine", until="2023-11-13", scope={"services": ["orders"]}),
            "warning: this was over at `2023-11-13`, and has no effect",
        ),
        (
            document("Exception", expires="2030-01-01", owner="a", reason="b", policies=["*"]),
            "warning: this excuses everybody from everything",
        ),
        (
            document("TrustZone", "z", members={"services": ["ordres"], "namespaces": ["a"]}),
            "warning: service `ordres` is not known",
        ),
        (document("ToolPolicy", tools=["x"], servers=["ordres"]), "warning: service `ordres` is not known"),
    ],
)
def test_what_is_not_known_or_over_is_told(text: str, expected: str) -> None:
    found = faults(WEB, text)
    assert any(expected in fault and fault.startswith("p.yaml:4:") for fault in found), found


def test_what_is_well_has_no_fault() -> None:
    zone = document("TrustZone", "pci", members={"services": ["payments"]}, **{"from": [{"zones": ["web"]}]})
    assert faults(WEB, zone, document("Exception", expires="2030-01-01", owner="a", reason="b", policies=["pci"])) == []
    over = document("Quarantine", until="2023-11-13", scope={"services": ["orders"]})
    assert faults(over, now=None) == [], "without a time nothing is over"


def test_zones_that_share_a_service_are_told_with_both_places() -> None:
    one = document("TrustZone", "a", members={"services": ["orders"], "namespaces": ["x"]})
    two = document("TrustZone", "b", members={"services": ["ord*"], "namespaces": ["y"]})
    (found,) = faults(one, two)
    assert "service `orders` is in this zone and in `a` at p.yaml:2: callers must enter both" in found
    assert faults(one, document("TrustZone", "b", default="allow", members={"services": ["ord*"], "namespaces": ["y"]})) == []


def test_a_zone_that_nobody_can_enter() -> None:
    alone = document("TrustZone", "a", members={"services": ["orders"]})
    (found,) = faults(alone)
    assert "warning: nobody may call `orders`" in found
    assert faults(alone, document("AccessPolicy", "x", action="allow", scope={"services": ["orders"]})) == []
    assert faults(document("TrustZone", "a", members={"services": ["orders", "billing"]})) == []
    strict = document("TrustZone", "a", members={"services": ["orders", "billing"]}, inside="deny")
    assert any("nobody may call `billing` or `orders`" in fault for fault in faults(strict))


def access(name: str, action: str, *operations: str, **scope: object) -> str:
    return document("AccessPolicy", name, action=action, scope={"operations": list(operations), **scope})


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (
            access("a", "deny", "* /admin/**"),
            access("b", "deny", "GET /admin/users"),
            "this never decides: `a` at p.yaml:2 covers",
        ),
        (access("a", "allow", "GET /x/{y}"), access("b", "allow", "GET /x/1", services=["orders"]), "this never decides: `a`"),
        (access("a", "deny", "* /**"), access("b", "allow", "GET /x"), "`a` at p.yaml:2 denies all that this allows"),
        (
            access("a", "deny", "GET /x", services=["ord*"]),
            access("b", "allow", "GET /x", services=["orders"]),
            "denies all that this",
        ),
        (access("a", "deny", "GET /x"), access("b", "deny", "GET /x"), "this never decides"),
        (access("a", "deny", "GET /x/1"), access("b", "deny", "* /x/**"), ""),
        (access("a", "allow", "GET /x/1"), access("b", "allow", "* /x/**"), "this never decides: `b` at p.yaml:4"),
        (access("a", "deny", "* /**", identities={"roles": ["r"]}), access("b", "allow", "GET /x"), ""),
        (access("a", "allow", "* /**"), access("b", "deny", "GET /x"), ""),
        (access("a", "deny", "GET /x", services=["billing"]), access("b", "allow", "GET /x", services=["orders"]), ""),
    ],
)
def test_policies_that_can_never_decide(first: str, second: str, told: str) -> None:
    found = faults(first, second)
    assert len(found) == bool(told), found
    assert told in "".join(found)


def test_thousands_of_policies_are_checked_in_seconds() -> None:
    text = "".join(access(f"p{i}", "allow", f"GET /things/{i}", services=["orders"]) for i in range(1_000))
    own = policies(text)
    began = time.process_time()
    check(own, services=SERVICES, endpoints=(), detections=DETECTIONS, now=NOW)
    assert time.process_time() - began < 10
