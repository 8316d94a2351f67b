"""Who uses what: the matrix, groups of paths, scopes, headers that name another operation."""

from __future__ import annotations

from collections import Counter

from eastwall.behaviours import World
from eastwall.behaviours.functions import matrix
from eastwall.behaviours.functions.model import MAX_SCOPES, Knowledge, Model, ScopeUse
from eastwall.behaviours.functions.watch import Watch, compile
from eastwall.discovery.inventory import compile_inventory, endpoint_id
from eastwall.model.call import Call, Peer, Phase, Request
from eastwall.model.deviations import FunctionDeviation
from eastwall.model.endpoint import Endpoint, Match
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity, Strength
from eastwall.model.operation import Operation
from eastwall.model.record import CallRecord

ORDERS = (("user+admin", 20, 2), ("user+member", 900, 4), ("user+support", 60, 3))
ADMINS = (("user+admin", 12, 2),)


def endpoint(method, template, users, status="learned"):
    calls = sum(calls for _, calls, _ in users)
    return Endpoint(endpoint_id("shop", method, template), "shop", method, template, status=status, calls=calls, users=users)


ENDPOINTS = (
    endpoint("GET", "/orders", ORDERS),
    endpoint("POST", "/orders", (("user+member", 100, 4),)),
    endpoint("GET", "/admin/users", ADMINS),
    endpoint("POST", "/admin/roles", (("user+admin", 3, 2),), "learning"),
    endpoint("POST", "/orders/{order_id}/ship", (("client", 40, 1),)),
)


def known(*scopes):
    return compile(Knowledge(scopes), World(ENDPOINTS, bytes(32), compile_inventory(ENDPOINTS)))


def facts(method, path, cls, found=None, headers=None, scopes=(), strength=Strength.VERIFIED):
    call = Call("1", "shop", 0.0, Peer(), Request(method, path, headers or {}))
    operation = Operation("rest", method, tuple(path.strip("/").split("/")), path)
    beside = None if found else next((e for e in ENDPOINTS if e.template == path), None)
    return Facts(
        call, Phase.REQUEST, operation, Match(found, beside=beside), Identity("user:u", "user", strength, cls, scopes=scopes)
    )


def test_what_nobody_used_before_is_judged_by_what_stands_above_it():
    watch, table = Watch(), known()
    (found,) = watch.request(facts("GET", "/admin/settings", "user+member"), table)
    assert isinstance(found, FunctionDeviation)
    assert (found.group, found.calls, found.classes, found.privileged) == ("/admin", 15, ("user+admin",), True)
    assert watch.request(facts("GET", "/orders/17/lines", "user+member"), table) == ()
    assert watch.request(facts("GET", "/nowhere", "user+member"), table) == ()
    assert watch.request(facts("GET", "/admin/settings", "user+admin"), table) == ()


def test_an_unknown_method_is_judged_by_those_beside_it():
    (found,) = Watch().request(facts("JEFF", "/admin/users", "user+member"), known())
    assert found.what == "JEFF /admin/users"
    assert Watch().request(facts("DELETE", "/orders", "user+member"), known()) == ()


def test_a_header_that_means_another_operation():
    watch, table, orders = Watch(), known(), ENDPOINTS[0]
    for header, value, path in (
        ("x-original-url", "/admin/users?x=1", "/orders"),
        ("x-rewrite-url", "http://shop/admin/users", "/orders"),
        ("x-http-method-override", "get", "/admin/users"),
    ):
        found = [
            one
            for one in watch.request(
                facts("POST", path, "user+member", orders if path == "/orders" else None, {header: value, "a": "b"}), table
            )
            if one.place == f"header.{header}"
        ]
        assert [one.privileged for one in found] == [True], header
    for header, value in (
        ("x-original-url", "/orders"),
        ("x-original-url", ""),
        ("x-http-method-override", "GET"),
        ("x-http-method-override", "\x00" * 50),
        ("x-rewrite-url", "/verify"),
        ("x-rewrite-url", "http://[bad"),
    ):
        assert watch.request(facts("GET", "/orders", "user+member", orders, {header: value, "a": "b"}), table) == (), (
            header,
            value,
        )


def test_a_scope_is_required_where_all_bear_it_and_others_do_not():
    create, listed = ENDPOINTS[1], ENDPOINTS[0]
    table = known(
        ScopeUse(create.id, 100, (("openid", 100), ("orders.write", 100))),
        ScopeUse(listed.id, 980, (("openid", 980), ("orders.read", 980), ("orders.write", 300))),
    )
    (found,) = Watch().request(facts("POST", "/orders", "user+member", create, scopes=("orders.read", "openid")), table)
    assert (found.scope, found.calls) == ("orders.write", 100)
    assert found.expected > 50
    assert Watch().request(facts("POST", "/orders", "user+member", create, scopes=("orders.write", "openid")), table) == ()
    # Everybody bears `openid` everywhere: that a token has none says nothing.
    lacking = Watch().request(facts("POST", "/orders", "user+member", create, scopes=("orders.write",)), table)
    assert lacking == ()


def test_an_address_is_of_no_class():
    assert Watch().request(facts("GET", "/admin/x", "anonymous", strength=Strength.NONE), known()) == ()


def test_a_few_calls_of_administrators_alone_are_no_chance():
    totals = Counter({"user+member": 4000, "user+admin": 40, "user+support": 90})
    use = matrix.use_of([(4, "user+admin")], "user+support", totals, admin=False)
    assert use is not None
    assert use.privileged
    assert use.chance < 0.01
    mostly = matrix.use_of([(4, "user+admin")], "user+support", Counter({"user+admin": 4000, "user+support": 90}), admin=False)
    assert mostly is not None
    assert mostly.chance > 0.9
    few = matrix.use_of(
        [(4, "user+admin")], "user+trial", Counter({"user+member": 4000, "user+admin": 40, "user+trial": 3}), admin=False
    )
    assert few is not None
    assert few.chance == 1.0


def test_people_who_do_what_programs_do():
    totals = Counter({"user+member": 4000, "client": 60})
    use = matrix.use_of([(40, "client")], "user+member", totals, admin=False)
    assert use is not None
    assert (use.apart, use.privileged) == (True, False)
    back = matrix.use_of([(40, "user+member")], "client", totals, admin=False)
    assert back is not None
    assert not back.apart


def record(scopes, strength=3):
    return CallRecord(1, "1", 1.0, "shop", "GET", "/orders", "shop", 200, 0, 0, 1, "::1", strength=strength, scopes=scopes)


def test_scopes_are_bounded_and_made_up_ones_push_out_no_old_one():
    model = Model()
    for _ in range(50):
        model.fold(record(("orders.read",)), "ep_1", None, clean=True)
    for number in range(10_000):
        model.fold(record((f"x{number}",)), "ep_1", None, clean=True)
    model.fold(record(("evil",)), "ep_1", None, clean=False)
    model.fold(record(("guessed",), strength=1), "ep_1", None, clean=True)
    (entry,) = model.calls.values()
    assert len(entry) <= MAX_SCOPES
    assert (entry["orders.read"], entry[""]) == (50, 10_050)
    assert not {"evil", "guessed"} & entry.keys()
