"""Versions of one operation: which checks less, and who makes use of it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from eastwall.behaviours import World
from eastwall.behaviours.versions.model import Model
from eastwall.behaviours.versions.watch import Watch, compile
from eastwall.detections.weaker_version.detector import detect
from eastwall.discovery.inventory import compile_inventory
from eastwall.discovery.lifecycle import Exposure, lifecycle, survey
from eastwall.discovery.versions import Answers, key_of, sentence, siblings, weaknesses
from eastwall.model.call import BodyState, Call, Peer, Phase, Request, Response
from eastwall.model.decision import ALLOWED
from eastwall.model.endpoint import Endpoint, Match, ObjectParameter
from eastwall.model.facts import Facts, ObjectUse
from eastwall.model.finding import Finding
from eastwall.model.identity import Identity, Strength
from eastwall.model.operation import Operation
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import ServiceScope

V1 = Endpoint("ep_1", "shop", "GET", "/v1/orders/{id}", calls=50)
V2 = Endpoint("ep_2", "shop", "GET", "/api/v2/orders/{order_id}", calls=400)
FOREIGN = Finding("object-not-granted", "high", "high", ("API1:2023",), "path.id", "another's")
NOBODY = Identity("address:192.0.2.9", "address", Strength.NONE, "anonymous")
ALICE = Identity("user:alice", "user", Strength.VERIFIED, "user")


def record(status, strength=3, source="192.0.2.1", findings=(), origin="", action="allow"):
    return CallRecord(
        1, "1", 1.0, "shop", "GET", "/", "shop", status, 0, 0, 0, source, actor="a", strength=strength, findings=findings, origin=origin,
        action=action,
    )  # fmt: skip


def model_of(**counts):
    """endpoint -> [(record, times)]."""
    model = Model()
    for endpoint, some in counts.items():
        for one, times in some:
            for _ in range(times):
                model.fold(one, endpoint, None, clean=False)
    return model


def known(model, endpoints=(V1, V2)):
    return compile(model.publish(endpoints), World(endpoints, bytes(32), compile_inventory(endpoints)))


def asked(endpoint, identity, path="/v1/orders/7", objects=(), status=0):
    request = Request("GET", path, {})
    response = Response(status, {}, b"{}", BodyState.COMPLETE) if status else None
    call = Call("1", "shop", 100.0, Peer("192.0.2.9"), request, response)
    operation = Operation("rest", "GET", tuple(path.strip("/").split("/")), path)
    return Facts(call, Phase.RESPONSE if status else Phase.REQUEST, operation, Match(endpoint), identity, objects=objects)


def findings(one, deviations):
    return detect(Facts(one.call, one.phase, one.operation, one.match, one.identity, deviations=deviations))


def test_versions_of_one_operation_meet():
    same = [key_of("GET", t) for t in ("/v1/orders/{id}", "/api/v2/orders/{order_id}", "/orders/{x}", "/internal/orders/{id}/")]
    assert len(set(same)) == 1
    assert key_of("GET", "/v1/orders") != same[0]
    graphql = Endpoint("ep_g", "shop", "POST", "/graphql", operation="query order", protocol="graphql", calls=9)
    tool = Endpoint("ep_m", "shop", "POST", "/mcp", operation="tools/call get_order", protocol="mcp", calls=9)
    other = Endpoint("ep_o", "shop", "GET", "/products/{id}", calls=9)
    groups = siblings((V1, graphql, tool, other))
    assert [{e.id for e in some} for some in groups.values()] == [{"ep_1", "ep_g", "ep_m"}]


def rpc(calls: int) -> Endpoint:
    order = (ObjectParameter("body.orderId", "order", False, 0.0),)
    return Endpoint("ep_rpc", "shop", "POST", "/shop.v1.OrderService/GetOrder", calls=calls, objects=order)


def test_a_version_of_another_protocol_is_old_where_it_is_hardly_called():
    """The numbers of a path and of a package do not count on from one another."""
    once = Endpoint("ep_1", "shop", "GET", "/v1/orders/{id}", calls=8)
    told = known(Model(), (once, rpc(101))).old
    assert (told["ep_1"].label, told["ep_1"].other_label) == ("GET /v1/orders/{id}", "POST /shop.v1.OrderService/GetOrder")
    assert not known(Model(), (once, rpc(30))).old, "two protocols that are both in use"


def test_an_rpc_method_is_a_version_of_what_reads_the_thing_that_it_is_asked_for():
    v2 = replace(V2, template="/v2/orders/{id}")
    assert [len(some) for some in siblings((v2, rpc(9))).values()] == [2]
    assert not siblings((v2, replace(rpc(9), objects=()))), "it names no order"
    assert not siblings((v2, replace(rpc(9), template="/shop.v1.OrderService/PayOrder")))


def test_the_sentence_says_what_the_old_version_lacks_and_its_anonymous_use_is_high():
    model = model_of(ep_1=[(record(200, 0), 41), (record(200), 60)], ep_2=[(record(200), 312), (record(401, 0), 6)])
    (weak,) = model.weaknesses((V1, V2))
    assert (weak.endpoint, weak.check, weak.customary) == ("ep_1", "authentication", False)
    assert weak.told == "41 anonymous 2xx on GET /v1/orders/{id}, none of 312 on GET /api/v2/orders/{order_id}, and 6 refused"
    table, watch = known(model), Watch()
    use = asked(V1, NOBODY)
    (finding,) = findings(use, watch.request(use, table))
    assert (finding.severity, finding.confidence) == ("high", "medium")
    assert finding.message.startswith(
        "GET /v1/orders/{id} lacks the authentication that GET /api/v2/orders/{order_id} has: 41 anonymous"
    )
    known_caller = asked(V1, ALICE)
    (finding,) = findings(known_caller, watch.request(known_caller, table))
    assert finding.severity == "low"
    assert watch.request(asked(V2, ALICE, "/api/v2/orders/7"), table) == ()


def test_ordinary_use_is_told_once_an_hour():
    table, watch = known(model_of(ep_1=[(record(200), 50)], ep_2=[(record(200), 300)])), Watch()
    use = asked(V1, ALICE)
    first = watch.request(use, table)
    assert [f.severity for f in findings(use, first)] == ["low"]
    watch.after(Facts(use.call, use.phase, use.operation, use.match, use.identity, deviations=first), ALLOWED, table)
    assert watch.request(use, table) == ()
    assert len(watch) == 1


def test_custom_of_many_is_told_and_not_blocked_until_it_is_deprecated():
    many = [(record(200, 0, f"192.0.2.{n}"), 10) for n in range(5)]
    model = model_of(ep_1=many, ep_2=[(record(200), 300)])
    use = asked(V1, NOBODY)
    assert [f.severity for f in findings(use, Watch().request(use, known(model)))] == ["low"]
    gone = Endpoint("ep_1", "shop", "GET", "/v1/orders/{id}", calls=50, deprecated=True)
    use = asked(gone, NOBODY)
    assert [f.severity for f in findings(use, Watch().request(use, known(model, (gone, V2))))] == ["high"]


def test_authorization_by_others_objects():
    model = model_of(
        ep_1=[(record(200, findings=(FOREIGN,)), 3)], ep_2=[(record(403, findings=(FOREIGN,)), 4), (record(200), 300)]
    )
    (weak,) = model.weaknesses((V1, V2))
    assert weak.check == "authorization"
    named = ObjectUse("path.id", "order", 7, "7", False, 1, True, 0.9, "")
    use = asked(V1, ALICE, objects=(named,))
    (finding,) = findings(use, Watch().request(use, known(model)))
    assert finding.severity == "high"
    blocked = model_of(ep_1=[(record(200), 9)], ep_2=[(record(403, findings=(FOREIGN,), action="block"), 9), (record(200), 90)])
    assert blocked.weaknesses((V1, V2)) == ()


@pytest.mark.parametrize(("status", "check"), [(422, "validation"), (429, "rate limit")])
def test_refusals_that_would_have_been_as_likely(status, check):
    assert [
        w.check for w in model_of(ep_1=[(record(200), 100)], ep_2=[(record(200), 280), (record(status), 20)]).weaknesses((V1, V2))
    ] == [check]
    assert model_of(ep_1=[(record(200), 20)], ep_2=[(record(200), 280), (record(status), 20)]).weaknesses((V1, V2)) == ()


def test_data_that_only_one_gives():
    more = Endpoint("ep_1", "shop", "GET", "/v1/orders/{id}", calls=50, data_classes=(("response", "card.number", "pan"),))
    from eastwall.model.endpoint import Schema

    strong = Endpoint("ep_2", "shop", "GET", "/api/v2/orders/{order_id}", calls=400, responses=((200, Schema(samples=400)),))
    assert [(w.check, w.told) for w in weaknesses((more, strong), {})] == [
        ("data", "GET /v1/orders/{id} gives pan, and GET /api/v2/orders/{order_id} does not")
    ]


def test_a_version_that_nobody_called_is_judged_by_the_one_that_is_closed():
    table, watch = known(model_of(ep_2=[(record(200), 60)]), (V2,)), Watch()
    found = watch.response(asked(None, NOBODY, "/v1/orders/7", status=200), table)
    (finding,) = findings(asked(None, NOBODY, "/v1/orders/7", status=200), found)
    assert (finding.severity, finding.where) == ("high", "status")
    assert watch.response(asked(None, NOBODY, "/v1/orders/7", status=401), table) == ()
    assert watch.response(asked(None, ALICE, "/v1/orders/7", status=200), table) == ()
    assert watch.response(asked(None, NOBODY, "/v1/products/7", status=200), table) == ()
    assert watch.response(asked(None, NOBODY, "/v1/login/7", status=200), table) == ()


def test_the_finding_stands_with_the_endpoint():
    model = model_of(ep_1=[(record(200, 0), 41), (record(200), 60)], ep_2=[(record(200), 312)])
    told = tuple(sentence(one) for one in model.weaknesses((V1, V2)))
    around = survey((V1, V2), ServiceScope("shop"))
    state = lifecycle(V1, around, 10.0, Exposure(weaker=told))
    assert "weaker-version" in state.flags
    assert any(reason.startswith("it lacks the authentication of GET /api/v2/orders") for reason in state.reasons)
    assert "weaker-version" not in lifecycle(V2, around, 10.0).flags


def test_logs_without_headers_say_nothing_of_authentication():
    model = model_of(ep_1=[(record(200, 0, origin="access-log"), 60)], ep_2=[(record(200), 300)])
    assert model.weaknesses((V1, V2)) == ()
    assert weaknesses((V1, V2), {"ep_1": Answers(anonymous=4), "ep_2": Answers(identified=300)}) == ()
