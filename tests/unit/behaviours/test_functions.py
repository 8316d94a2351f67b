"""Who uses what: the matrix, groups of paths, scopes, headers that name another operation."""

from __future__ import annotations

from collections import Counter

import pytest
from joserfc import jwt
from msgspec import structs
from tests.unit.behaviours.driven import Engine
from tests.unit.decision.world import SIGNING

from eastwall.behaviours import World
from eastwall.behaviours.credential_use.model import Knowledge as Credentials
from eastwall.behaviours.credential_use.model import Moves
from eastwall.behaviours.credential_use.places import make
from eastwall.behaviours.functions import matrix
from eastwall.behaviours.functions.model import MAX_SCOPES, OVERRIDES, Knowledge, Model, ScopeUse
from eastwall.behaviours.functions.watch import Watch, compile, steps_of
from eastwall.behaviours.maxima import Usual
from eastwall.behaviours.sketch import hash64
from eastwall.detections.function_not_used.detector import detect
from eastwall.discovery.inventory import compile_inventory, endpoint_id
from eastwall.model.call import Call, Completion, Peer, Phase, Request
from eastwall.model.decision import Decision, Verdict
from eastwall.model.deviations import FirstUse, FunctionDeviation
from eastwall.model.endpoint import Endpoint, Match
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity, Strength
from eastwall.model.operation import Operation
from eastwall.model.record import CallRecord

ORDERS = (("user+admin", 20, 2), ("user+member", 900, 4), ("user+support", 60, 3))
ADMINS = (("user+admin", 12, 2),)


def endpoint(method, template, users, status="learned", service="shop"):
    calls = sum(calls for _, calls, _ in users)
    return Endpoint(endpoint_id(service, method, template), service, method, template, status=status, calls=calls, users=users)


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


def test_what_programs_alone_change_says_more_where_people_change_much_else():
    ship, listed = ENDPOINTS[4], ENDPOINTS[0]
    few = structs.replace(ship, users=(("client", 4, 1),))
    changed = matrix.changed_by((few, ENDPOINTS[1], listed))["shop"]
    assert changed == Counter({"client": 4, "user+member": 100})  # reading is no change
    totals = Counter({"user+member": 4000, "client": 60})
    for changes, rare in (
        (Counter({"client": 4, "user+member": 2000}), True),
        (Counter({"client": 400, "user+member": 2000}), False),
    ):
        use = matrix.function_use(few, "user+member", totals, lone=False, changed=changes)
        assert (use.change_chance <= 0.01) is rare
    assert matrix.function_use(few, "user+member", totals, lone=False, changed=Counter({"client": 4})).change_chance == 1.0


def test_what_gives_roles_is_for_those_who_run_the_service():
    totals, changed = Counter({"user+member": 4000, "user+admin": 40}), Counter({"user+member": 1300, "user+admin": 1})
    for template, grants in (("/standing/roles", True), ("/standing", False)):
        once = endpoint("POST", template, (("user+admin", 1, 1),), "learning")
        use = matrix.function_use(once, "user+member", totals, lone=False, changed=changed)
        assert (use.grants, use.change_chance < 0.1) == (grants, True)
        assert bool(detect(structs.replace(facts("POST", template, "user+member", once), function=use))) is grants


def test_tools_of_mcp_are_grouped_by_what_they_are_for():
    listed = structs.replace(endpoint("POST", "/mcp", ADMINS), operation="tools/call admin_users")
    other = structs.replace(endpoint("POST", "/mcp", (("user+member", 900, 4),)), operation="tools/call get_order")
    assert steps_of(listed) == ("mcp", ":admin")
    assert steps_of(other) == ("mcp", "get_order")


def judged(*of):
    """What is strange about who asks; whether it is its first time is another matter."""
    return tuple(one for one in Watch().request(*of) if isinstance(one, FunctionDeviation))


def test_what_nobody_used_before_is_judged_by_what_stands_above_it():
    watch, table = Watch(), known()
    (found,) = watch.request(facts("GET", "/admin/settings", "user+member"), table)
    assert isinstance(found, FunctionDeviation)
    assert (found.group, found.calls, found.classes, found.privileged) == ("/admin", 15, ("user+admin",), True)
    assert watch.request(facts("GET", "/orders/17/lines", "user+member"), table) == ()
    assert watch.request(facts("GET", "/nowhere", "user+member"), table) == ()
    assert watch.request(facts("GET", "/admin/settings", "user+admin"), table) == ()


def test_an_unknown_method_is_judged_by_those_beside_it():
    (found,) = judged(facts("JEFF", "/admin/users", "user+member"), known())
    assert found.what == "JEFF /admin/users"
    assert judged(facts("DELETE", "/orders", "user+member"), known()) == ()


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


def test_a_header_that_nobody_sends():
    asked = facts("POST", "/orders/17", "user+member", None, {"x-http-method-override": "DELETE"})
    (found,) = judged(asked, known())
    assert (found.unheard, found.calls, found.what) == (True, 1135, "DELETE /orders/17")
    usual = compile(Knowledge(overriding=("shop",)), World(ENDPOINTS, bytes(32), compile_inventory(ENDPOINTS)))
    assert judged(asked, usual) == ()
    assert judged(facts("POST", "/orders", "user+member", ENDPOINTS[1], {"x-http-method-override": "GET"}), known()) == ()


def test_who_sends_such_headers_is_learned_from_two_callers():
    model = Model()
    for caller in ("user:ann", "user:ann", "user:bob"):
        model.fold(structs.replace(record(()), actor=caller), "ep_1", OVERRIDES, clean=True)
        model.fold(structs.replace(record(()), actor=caller), "ep_1", ["junk"], clean=True)
        published = Model.load(model.dump()).publish(ENDPOINTS)
        assert (published is not None and published.overriding == ("shop",)) is (caller == "user:bob")
    assert Model.load({"ep_1": {"": 3, "read": 3}}).calls == {"ep_1": {"": 3, "read": 3}}, "what older learners kept"


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


def test_who_reads_needs_no_scope_for_writing():
    create, listed = ENDPOINTS[1], ENDPOINTS[0]
    bore = ScopeUse(create.id, 100, (("openid", 100),)), ScopeUse(listed.id, 800, (("openid", 800), ("orders.write", 800)))
    assert judged(facts("GET", "/orders", "user+member", listed, scopes=("openid",)), known(*bore)) == ()
    few = ScopeUse(create.id, 20, (("orders.write", 20),)), ScopeUse(listed.id, 980, (("orders.write", 900),))
    assert judged(facts("POST", "/orders", "user+member", create, scopes=("openid",)), known(*few)) == (), (
        "two of twenty is no rule"
    )


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


APP = "app/3.2 (Android 15)"
PEOPLE = (("user", 600, 12), ("user+support", 90, 3))
STOLEN = {"source": "185.220.101.7", "agent": "curl/8.9"}
MOVES = Moves("user", Usual(callers=20, calls=400, some=20, most=(0, 3)), (hash64(make(APP)),))


def staffed():
    """An engine whose members make and read orders, and whose support staff only reads them."""
    read, made = endpoint("GET", "/orders", PEOPLE, service="orders"), endpoint("POST", "/orders", PEOPLE[:1], service="orders")
    return Engine(endpoints=(read, made), credential_use=Credentials((MOVES,)))


def issued(number):
    """A further token of the same owner."""
    token = jwt.encode({"alg": "HS256"}, {"sub": "sam", "roles": ["support"], "jti": str(number)}, SIGNING)
    return {"credential": {"authorization": f"Bearer {token}"}}


def test_a_stolen_token_does_what_its_class_never_did():
    e, sam = staffed(), {"user": "sam", "roles": ("support",)}
    assert not any(e.ask("GET", "/orders", source="81.2.3.4", agent=APP, gap=1_000.0, **sam).blocked for _ in range(6))
    at_home = e.ask("POST", "/orders", {"note": "x"}, source="81.2.3.4", agent=APP, **sam)
    assert not at_home.blocked
    assert at_home.of("privilege-first-used").severity == "low"
    stolen = e.ask("POST", "/orders", {"note": "x"}, **STOLEN, **sam)
    assert stolen.blocked
    assert "nobody of user+support ever used POST /orders" in stolen.of("privilege-first-used").message
    assert e.ask("GET", "/orders", **STOLEN, **sam).of("privilege-first-used") is None


def test_a_token_that_was_issued_in_a_strange_place_stays_strange_for_a_day():
    e = staffed()
    for _ in range(6):
        e.ask("GET", "/orders", user="sam", roles=("support",), source="81.2.3.4", agent=APP, gap=1_000.0)
    new = issued(2)
    assert not e.ask("GET", "/orders", **STOLEN, **new).blocked
    assert [
        e.ask("POST", "/orders", {"note": "x"}, gap=gap, **STOLEN, **new).of("privilege-first-used").severity
        for gap in (9.0, 80_000.0)
    ] == ["high"] * 2
    assert e.ask("POST", "/orders", {"note": "x"}, gap=9_000.0, **STOLEN, **new).of("privilege-first-used").severity == "low"


def test_a_journey_with_a_browser_is_no_theft():
    e, web = staffed(), "Mozilla/5.0 (X11; Linux) Firefox/140.0"
    for _ in range(6):
        e.ask("GET", "/orders", user="sam", roles=("support",), source="81.2.3.4", agent=APP, gap=1_000.0)
    for token in ({"user": "sam", "roles": ("support",)}, issued(3)):
        assert not e.ask("POST", "/orders", {"note": "x"}, source="99.1.1.1", agent=web, **token).blocked


def test_what_somebody_with_authority_never_did_itself():
    watch, table = Watch(), known()
    roles, others = ENDPOINTS[3], endpoint("POST", "/admin/x", ADMINS)
    table.users[others.id] = frozenset(("user+admin",))  # as if it were published

    def ask(found, at):
        asked = structs.replace(
            facts("POST", found.template, "user+admin", found),
            call=Call(f"{at}", "shop", at, Peer(), Request("POST", found.template, {})),
        )
        deviations = [one for one in watch.request(asked, table) if isinstance(one, FirstUse)]
        done = Completion(asked.call.id, "shop", at, "POST", found.template, "x", 200, 0, 0, 1)
        watch.completed(
            Decision(asked.call.id, Phase.REQUEST, asked.match, asked.identity, asked, (), Verdict("allow", "allow")), None, done
        )
        return deviations

    assert ask(roles, 0.0) == []
    assert ask(roles, 4_000.0) == []
    (own,) = ask(others, 4_001.0)
    assert (own.own, own.authority, own.what) == (True, True, "POST /admin/x")
    assert ask(others, 4_002.0) == []


def test_a_class_whose_habits_are_known_does_nothing_new_by_chance():
    """Of 2,400 calls of two operations the next is of a third with 3 / 2,403^2; of ten calls with 3 / 13^2."""
    export = endpoint("GET", "/outgoing", (("user+admin", 2, 1),), "learning")
    for members, settled in ((1_200, True), (5, False)):
        world = (
            export,
            endpoint("GET", "/orders", (("user+member", members, 4), ("user+admin", 30, 2))),
            endpoint("GET", "/products", (("user+member", members, 4),)),
        )
        new = matrix.novelty(world)[("shop", False)]
        assert new.first("user+member")[0] == pytest.approx(3 / (2 * members + 3) ** 2)
        totals = Counter({"user+member": 2 * members, "user+admin": 32})
        use = matrix.function_use(export, "user+member", totals, lone=False, new=(new, None))
        assert use.settled is settled
        assert bool(detect(structs.replace(facts("GET", "/outgoing", "user+member", export), function=use))) is settled
    tried = structs.replace(export, users=(("user+admin", 2, 1), ("user+member", 1, 1)))
    assert not matrix.function_use(tried, "user+member", totals, lone=False, new=(new, None)).settled, "one of them did it before"
