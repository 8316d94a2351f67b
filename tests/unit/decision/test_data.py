"""What `decide` says of sensitive data: when names are looked for, in which parts of a call, and the user's own classes."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace
from tests.unit.decision.world import ORDERS, answer, call, live

from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.decide import decide
from eastwall.decision.state import LiveState
from eastwall.model.call import Call, Response
from eastwall.model.decision import Decision
from eastwall.model.snapshot import CustomDataClass


def both(asked: Call, response: Response, state: LiveState, world: LiveSnapshot) -> tuple[Decision, Decision]:
    first = decide(asked, world, state)
    return first, decide(replace(asked, response=response, prior=first), world, state)


SETTLED = msgspec.structs.replace(ORDERS, sample_every=3)


def test_names_are_looked_for_in_sampled_calls_and_where_a_policy_asks() -> None:
    body = answer({"items": [{"id": 7, "email": "ann@example.org", "lastName": "Lee"}]})

    def seen(world: LiveSnapshot) -> list[set[str]]:
        state = LiveState()
        return [{hit.data_class for hit in both(call("GET", "/orders"), body, state, world)[1].facts.data} for _ in range(3)]

    everything, values = {"email", "person-name"}, {"email"}
    found = seen(live(endpoints=(SETTLED,)))
    assert [found.count(everything), found.count(values)] == [1, 2], "of three calls one is drawn"
    policy = (
        "apiVersion: eastwall.dev/v1alpha1\nkind: DataPolicy\nmetadata: {name: names}\n"
        "spec: {mode: enforce, classes: [person-name], direction: response, action: redact}\n"
    )
    assert seen(live(policy=policy, endpoints=(SETTLED,))) == [everything] * 3


def test_data_in_headers_and_paths_has_its_direction_and_place() -> None:
    first, second = both(
        call("GET", "/orders/9?mail=a%40example.org", headers={"x-user": "ann@example.org", "cookie": "ip=203.0.113.9"}),
        msgspec.structs.replace(answer({"phone": "+49 30 901820"}), headers={"x-owner": "bob@example.org"}),
        LiveState(),
        live(),
    )
    assert {(hit.direction, hit.data_class, hit.place) for hit in (*first.facts.data, *second.facts.data)} == {
        ("request", "email", "query.mail"),
        ("request", "email", "header.x-user"),
        ("request", "ip-address", "cookie.ip"),
        ("response", "phone", "phone"),
        ("response", "email", "header.x-owner"),
    }


def test_a_class_of_ones_own_is_blocked() -> None:
    policy = (
        "apiVersion: eastwall.dev/v1alpha1\nkind: DataPolicy\nmetadata: {name: badges}\n"
        "spec: {mode: enforce, classes: [badge], direction: response, action: block}\n"
    )
    world = live(policy=policy, data_classes=(CustomDataClass("badge", patterns=("BDG-[0-9]{6}",)),))
    _, second = both(call("GET", "/orders", user="alice"), answer({"note": "BDG-123456"}), LiveState(), world)
    assert second.verdict.action == "block"
    assert [hit.masked for hit in second.facts.data] == ["***-**3456"]
