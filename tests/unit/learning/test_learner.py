"""The learner: what it concludes from records, whom it does not believe, and that shards merge to one stream."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.learning.shop_traffic import FINDING, KEY, record, shop

from eastwall.discovery import templates
from eastwall.discovery.objects import object_key
from eastwall.learning.class_properties import MAX_PROPERTIES
from eastwall.learning.learner import MAX_SERVICES, MAX_WAITING, Learner
from eastwall.learning.profile import LearningWindow
from eastwall.learning.services import REASSOCIATE
from eastwall.model.endpoint import Endpoint, FieldProfile, Parameter, Schema
from eastwall.model.facts import DataHit, Field
from eastwall.model.record import CallRecord


def learned(records: list[CallRecord], window: LearningWindow | None = None) -> Learner:
    learner = Learner(KEY, window)
    learner.fold(records)
    return learner


def endpoint(learner: Learner, method: str, template: str) -> Endpoint:
    return {(e.method, e.template): e for e in learner.endpoints()}[(method, template)]


def test_a_minute_of_a_shop_is_learned() -> None:
    records = shop(600)
    learner = learned(records)
    found = {(e.method, e.template): e for e in learner.endpoints()}
    assert set(found) == {("GET", "/orders"), ("POST", "/orders"), ("GET", "/orders/{order_id}"), ("GET", "/products")}
    assert {e.status for e in found.values()} == {"learned"}
    assert sum(e.calls for e in found.values()) == 600
    for (method, _), e in found.items():
        assert e.authenticated == 1.0
        assert e.statuses == ((201 if method == "POST" else 200, e.calls),)
        assert e.first_seen >= 1000.0
        assert e.last_seen < 1060.0
    order = found[("POST", "/orders")]
    assert order.actors == 20
    assert dict(order.properties)["user"] == ("items", "items[].product_id", "items[].quantity", "note")
    assert dict(order.property_calls) == {"user": order.calls, "*": order.calls}
    assert {"status", "total", "customer"} <= set(order.response_only)
    assert "note" not in order.response_only
    fields = {f.place: f for f in order.request.fields}
    assert fields["items[].product_id"].kinds == ("integer",)
    assert fields["items[].quantity"].seen == fields["items[].quantity"].of == order.calls
    assert (fields["items[].quantity"].minimum, fields["items[].quantity"].maximum) == (1.0, 3.0)


def test_orders_belong_to_one_actor_each_and_products_to_all() -> None:
    learner = learned(shop(600))
    (order,) = endpoint(learner, "GET", "/orders/{order_id}").objects
    assert (order.place, order.kind, order.exclusive) == ("path.order_id", "order", True)
    assert order.confidence > 0.9
    assert "user+admin may see all" in order.evidence
    (product,) = endpoint(learner, "POST", "/orders").objects
    assert (product.place, product.kind, product.exclusive) == ("body.items[].product_id", "product", False)
    assert learner.kinds("shop")["order"].broad == ("user+admin",)
    assert learner.kinds("shop")["product"].public


def test_ownership_names_the_customers_and_not_the_staff() -> None:
    records = shop(600)
    learner = learned(records)
    table = dict(learner.ownership(10_000))
    made = {r.given[0][1]: r.actor for r in records if r.method == "POST"}
    assert {key: actors for key, actors in table.items() if key in made} == {key: (actor,) for key, actor in made.items()}
    assert all("user:root" not in actors for actors in table.values())
    assert not any(key in table for key in (object_key(KEY, "shop", "product", str(n)) for n in range(30)))
    last = [key for key, _ in learner.ownership(3)]
    assert last == [key for key, _ in learner.ownership(10_000)][-3:]
    assert learner.ownership(0) == ()


@given(st.integers(0, 3), st.lists(st.integers(0, 7), min_size=150, max_size=150), st.booleans())
@settings(max_examples=25, deadline=None)
def test_merged_shards_are_one_stream(seed: int, shards: list[int], through_bytes: bool) -> None:
    records = shop(150, seed=seed, users=6)
    whole = learned(records)
    parts = [Learner(KEY) for _ in range(8)]
    for shard, entry in zip(shards, records, strict=True):
        parts[shard].fold([entry])
    if through_bytes:
        parts = [Learner.from_bytes(part.to_bytes(), KEY) for part in parts]
    merged = Learner(KEY)
    for part in parts:
        merged.merge(part)
    assert merged.endpoints() == whole.endpoints()
    assert merged.ownership(10_000) == whole.ownership(10_000)
    assert merged.kinds("shop") == whole.kinds("shop")
    assert merged.folded == whole.folded == 150
    assert merged.edges.tables() == whole.edges.tables()
    assert merged.identities.profiles(100) == whole.identities.profiles(100)
    assert merged.identities.classes() == whole.identities.classes()


@given(st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_the_order_of_records_does_not_matter(rng: Any) -> None:
    records = shop(200, users=6)
    whole = learned(records)
    rng.shuffle(records)
    again = learned(records)
    assert again.endpoints() == whole.endpoints()
    assert sorted(again.ownership(10_000)) == sorted(whole.ownership(10_000))


def test_state_survives_bytes_and_learns_on() -> None:
    records = shop(400)
    whole, first = learned(records), learned(records[:200])
    again = Learner.from_bytes(first.to_bytes(), KEY)
    assert again.endpoints() == first.endpoints()
    again.fold(records[200:])
    assert again.endpoints() == whole.endpoints()
    assert again.ownership(10_000) == whole.ownership(10_000)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\xc1", b"\x93\x01\x02", b"\x93\x63\x00\x80", b"\x93\x01\x00\x81\xa1a\x94\xc0\xc0\xc0\xc0"]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"learned state|template tree"):
        Learner.from_bytes(data, KEY)


def test_profiles_move_when_their_paths_become_a_template() -> None:
    learner = Learner(KEY)
    heads, tails = ["an", "ber", "car", "do", "emi", "fre", "gi", "han"], ["na", "tha", "lo", "ra", "lia", "do", "rik", "sel"]
    names = [f"{head}{tail}-{tail}" for head in heads for tail in tails]
    seen: set[str] = set()
    for at, name in enumerate(names):
        for n in range(3):
            learner.fold([record("GET", f"/users/{name}/settings", user=f"u{n}", answer={"theme": "dark"}, time=1000.0 + at)])
            learner.fold([record("PUT", f"/users/{name}/settings", user=f"u{n}", body={"theme": "x"}, time=1000.0 + at)])
        seen.update(e.template for e in learner.endpoints())  # a publication after each name
    assert "/users/anna-na/settings" in seen, "the first names were names as far as anybody could know"
    get, put = sorted(learner.endpoints(), key=lambda e: e.method)
    assert get.template == put.template
    assert [p.name for p in get.parameters] == [p.name for p in put.parameters] != []
    assert get.calls == put.calls == 3 * len(names)
    assert dict(put.property_calls)["user"] == put.request.samples == 3 * len(names)
    assert dict(get.responses)[200].samples == 3 * len(names)


def test_calls_that_are_not_clean_teach_nothing() -> None:
    clean = shop(300)
    bad: list[CallRecord] = []
    for n, (status, rest) in enumerate(
        [(200, {"findings": (FINDING,)}), (403, {"action": "block"}), (500, {}), (200, {"action": "redact"})]
    ):
        for user in ("eve", "mallory"):
            attack = {"items": [], "is_admin": True, "discount": 99}
            bad.append(
                record(
                    "POST",
                    "/orders",
                    status=status,
                    user=user,
                    body=attack,
                    answer={"id": 1, "secret_field": 1},
                    time=1010.0 + n,
                    **rest,
                )
            )
    before, after = learned(clean), learned(clean + bad)
    mine, theirs = endpoint(before, "POST", "/orders"), endpoint(after, "POST", "/orders")
    assert theirs.calls == mine.calls + len(bad)
    assert theirs.properties == mine.properties
    assert theirs.property_calls == mine.property_calls
    assert theirs.request == mine.request
    assert after.ownership(10_000) == before.ownership(10_000)


def test_one_actor_alone_teaches_a_class_no_property() -> None:
    records = shop(300)
    for n in range(50):
        records.append(record("POST", "/orders", status=201, user="u3", body={"items": [], "role": "x"}, time=1030.0 + n))
    learner = learned(records)
    assert "role" not in dict(endpoint(learner, "POST", "/orders").properties)["user"]
    second = record("POST", "/orders", status=201, user="u4", body={"items": [], "role": "x"}, time=1090.0)
    learner.fold([second])
    # Two are enough while the operation is being learned; once it is settled, callers must agree (`learning.baselines`).
    assert "role" not in dict(endpoint(learner, "POST", "/orders").properties)["user"]
    assert "role" in dict(endpoint(learned([*records, second]), "POST", "/orders").properties)["user"]


def test_a_workload_that_is_alone_in_its_class_does() -> None:
    records = [
        record("POST", "/charges", status=201, user="front", cls="workload:front", body={"amount": n}, time=1000.0 + n)
        for n in range(250)
    ]
    found = endpoint(learned(records), "POST", "/charges")
    assert dict(found.properties)["workload:front"] == ("amount",)
    assert found.status == "learned"


def test_one_reader_of_everything_does_not_make_orders_public() -> None:
    records = shop(600, admin=False)
    made = [r.given[0] for r in records if r.method == "POST"]
    stolen = [
        replace(record("GET", "/orders/1", user="eve", answer={"status": "x"}, time=1050.0), given=(entry,))
        for entry in made[::2]
    ]
    assert endpoint(learned(records), "GET", "/orders/{order_id}").objects[0].exclusive
    assert endpoint(learned(records + stolen), "GET", "/orders/{order_id}").objects[0].exclusive


def test_sign_in_and_registration_are_told_apart() -> None:
    records = []
    for n in range(12):
        user = f"u{n}"
        name = {"username": user, "password": "x"}
        records.append(record("POST", "/login", user=user, strength=0, body=name, answer={"token": "t"}, time=1000.0 + n))
        records.append(record("POST", "/users", status=201, strength=0, body={**name, "email": "a@example.com"}, time=1000.0 + n))
        change = {"current_password": "x", "new_password": "y"}
        records.append(record("PUT", "/password", user=user, body=change, time=1000.0 + n))
    assert {e.template: e.login for e in learned(records).endpoints()} == {"/login": True, "/users": False, "/password": False}
    records.append(record("POST", "/login", status=401, strength=0, body={"username": "a", "password": "b"}))
    assert endpoint(learned(records), "POST", "/login").login
    assert endpoint(learned(records), "POST", "/login").authenticated == 0.0


def test_data_classes_by_direction() -> None:
    records = [
        record(
            "POST",
            "/payments",
            status=201,
            user=f"u{n}",
            body={"card": "4111111111111111"},
            answer={"receipt": f"r{n}@example.com"},
        )
        for n in range(5)
    ]
    found = endpoint(learned(records), "POST", "/payments")
    assert found.data_classes == (("request", "card", "pan"), ("response", "receipt", "email"))
    assert {f.place: f.data_class for f in found.request.fields}["card"] == "pan"


def test_an_odd_value_is_no_flow() -> None:
    records = [record("POST", "/notes", user=f"u{n}", body={"text": "hello"}) for n in range(30)]
    records.append(record("POST", "/notes", user="u1", body={"text": "mail a@example.com"}))
    assert endpoint(learned(records), "POST", "/notes").data_classes == ()


def test_paths_the_service_does_not_have_are_not_listed() -> None:
    records = [record("GET", f"/wp-admin/{n}", status=404) for n in range(50)] + [record("GET", "/health")]
    assert [e.template for e in learned(records).endpoints()] == ["/health"]


def test_sampling_slows_down_when_nothing_changes() -> None:
    def calls(count: int, extra: bool = False) -> int:
        records = [record("GET", "/health", user=f"u{n % 9}", answer={"ok": True}, time=1000.0 + n) for n in range(count)]
        if extra:
            records.append(record("GET", "/health", answer={"ok": True, "version": 2}, time=1000.0 + count))
        return endpoint(learned(records), "GET", "/health").sample_every

    assert calls(150) == 1
    assert calls(400) == 8
    assert calls(400, extra=True) == 2
    assert calls(5200) == 32


def test_declared_ghost_shadow_and_both() -> None:
    learner = learned(shop(300))
    declared = (
        Endpoint(id="", service="", method="GET", template="/orders/{id}", parameters=(Parameter("id", "integer"),)),
        Endpoint(
            id="", service="", method="POST", template="/orders",
            request=Schema(fields=(FieldProfile("items", ("array",)), FieldProfile("gift", ("boolean",)))),
        ),
        Endpoint(id="", service="", method="DELETE", template="/orders/{id}", parameters=(Parameter("id", "integer"),)),
    )  # fmt: skip
    learner.declare("shop", declared)
    found = {(e.method, e.template): e for e in learner.endpoints()}
    assert {key: e.origin for key, e in found.items()} == {
        ("GET", "/orders/{id}"): "both", ("POST", "/orders"): "both", ("DELETE", "/orders/{id}"): "declared",
        ("GET", "/orders"): "observed", ("GET", "/products"): "observed",
    }  # fmt: skip
    assert found[("DELETE", "/orders/{id}")].calls == 0
    assert found[("GET", "/orders/{id}")].objects[0].place == "path.id"
    assert found[("GET", "/orders/{id}")].objects[0].kind == "order"
    assert found[("GET", "/orders/{id}")].objects[0].exclusive
    fields = {f.place: f.seen for f in found[("POST", "/orders")].request.fields}
    assert fields["gift"] == 0
    assert fields["items"] > 0
    again = Learner.from_bytes(learner.to_bytes(), KEY)
    assert again.endpoints() == learner.endpoints()


def test_a_declared_template_overrides_what_was_inferred() -> None:
    learner = Learner(KEY)
    learner.fold([record("GET", f"/reports/{name}", user=f"u{n}") for n in range(4) for name in ("daily", "weekly")])
    assert {e.template for e in learner.endpoints()} == {"/reports/daily", "/reports/weekly"}
    learner.declare("shop", [Endpoint(id="", service="", method="GET", template="/reports/{name}")])
    (found,) = learner.endpoints()
    assert (found.template, found.origin, found.calls) == ("/reports/{name}", "both", 8)


def test_state_is_bounded() -> None:
    learner = Learner(KEY)
    learner.fold(record("GET", "/x", service=f"s{n}") for n in range(MAX_SERVICES + 50))
    assert len({e.service for e in learner.endpoints()}) == MAX_SERVICES
    learner = learned([record("POST", "/x", user=f"u{n}", body={"real": 1}) for n in range(10)])
    for n in range(20):
        junk = {f"junk_{chr(97 + n)}{chr(97 + m % 26)}{chr(97 + m // 26)}_id": m for m in range(400)}
        learner.fold([record("POST", "/x", user="eve", body=junk)])
    found = endpoint(learner, "POST", "/x")
    assert dict(found.properties)["user"] == ("real",)
    assert len(found.request.fields) <= 1000
    assert len(found.objects) <= 64
    state = learner._services["shop"].profiles[found.id]
    assert len(state.classes["user"].places) <= MAX_PROPERTIES
    assert len(learner._services["shop"].objects.kinds) <= 128


def test_a_route_that_the_framework_told_needs_no_inference() -> None:
    told = [
        replace(r, path=f"/shelves/{word}", route="/shelves/:shelf")
        for r, word in zip(shop(2), ("poetry", "travel"), strict=True)
    ]
    told = [replace(r, method="GET", status=200) for r in told]
    parts = [learned([record]) for record in told]
    parts[0].merge(Learner.from_bytes(parts[1].to_bytes(), KEY))
    parts[0].fold([replace(told[0], path="/shelves/cooking", route="")])
    (endpoint,) = [e for e in parts[0].endpoints() if e.template.startswith("/shelves")]
    assert (endpoint.template, endpoint.calls, endpoint.origin) == ("/shelves/{shelf}", 3, "observed")
    assert [p.name for p in endpoint.parameters] == ["shelf"]
    wild = learned([replace(told[0], route="/shelves/*rest")])
    assert [e.template for e in wild.endpoints()] == ["/shelves/poetry"]


def test_plain_calls_in_the_dress_of_grpc_make_no_endpoints() -> None:
    """A service that ignores content types answers them as ever; each id would be an endpoint of its own, that nothing is checked at."""
    records = shop(600)
    dressed = [
        replace(r, protocol="grpc", operation=r.path.strip("/"), response_type="application/json")
        for r in records
        if r.method == "GET" and r.path.startswith("/orders/")
    ]
    untyped = [replace(r, response_type="") for r in dressed]
    plain = {(e.method, e.template, e.operation): e.calls for e in learned(records).endpoints()}
    for disguised in (dressed, untyped):
        found = {(e.method, e.template, e.operation): e.calls for e in learned(records + disguised).endpoints()}
        assert found.keys() == plain.keys()
        assert found["GET", "/orders/{order_id}", ""] == 2 * plain["GET", "/orders/{order_id}", ""]
    refused = [replace(r, path=f"/shop.v1.Orders/Get{n}", status=503) for n, r in enumerate(dressed)]
    assert {(e.method, e.template, e.operation) for e in learned(records + refused).endpoints()} == plain.keys()


def test_real_grpc_has_its_methods() -> None:
    calls = [
        replace(r, method="POST", path="/shop.v1.Orders/Get", protocol="grpc", operation="shop.v1.Orders/Get", response_type=kind)
        for r, kind in zip(shop(2), ("application/grpc+proto", ""), strict=True)
    ]
    calls = [replace(r, status=200) for r in calls]
    (found,) = learned(calls).endpoints()
    assert (found.template, found.operation, found.protocol, found.calls) == (
        "/shop.v1.Orders/Get",
        "shop.v1.Orders/Get",
        "grpc",
        2,
    )


@pytest.mark.parametrize("first", [True, False])
def test_members_of_another_protocol_take_no_call_out_of_its_endpoint(first: bool) -> None:
    """Else `{"jsonrpc": "2.0", "method": "x"}` beside an order once, and the next order with it may set any property unseen."""
    records = shop(600)
    orders = [r for r in records if r.method == "POST"]
    some = [replace(r, protocol="jsonrpc", operation=f"x{n % 3}") for n, r in enumerate(orders[:20])]
    plain = {(e.method, e.template, e.operation) for e in learned(records).endpoints()}
    found = learned(some + records if first else records + some).endpoints()
    assert {(e.method, e.template, e.operation) for e in found} == plain
    rpc = [replace(r, path="/rpc", protocol="jsonrpc", operation=f"m{n % 3}") for n, r in enumerate(orders)]
    stray = replace(orders[0], path="/rpc")
    ways = {e.operation for e in learned([*rpc, stray]).endpoints() if e.template == "/rpc"}
    assert ways == {"", "m0", "m1", "m2"}, "one call without a name takes nothing from a real one"


@pytest.mark.parametrize(
    "odd", [{"time": float("nan")}, {"time": float("inf")}, {"time": 1e300}, {"time": -1.0}, {"principals": None}]
)
def test_a_record_that_cannot_be_learned_from_holds_up_no_other(odd: dict[str, Any]) -> None:
    records = shop(100)
    learner = learned([*records[:50], replace(records[7], **odd), *records[50:]])
    assert learner.unlearned == 1
    assert records[7].id in learner.fault
    assert {(e.method, e.template, e.calls) for e in learner.endpoints()} == {
        (e.method, e.template, e.calls) for e in learned(records).endpoints()
    }
    assert Learner.from_bytes(learner.to_bytes(), KEY).endpoints() == learner.endpoints()


def test_made_up_roles_do_not_keep_out_real_ones() -> None:
    """Without keys to verify tokens with, a caller has whatever roles it says."""
    orders = [r for r in shop(600) if r.method == "POST"]
    false = [replace(r, actor_class=f"user+{n}") for n, r in enumerate(orders[:60])]
    learner = learned(false + orders)
    assert dict(endpoint(learner, "POST", "/orders").property_calls)["user"] == len(orders)
    merged = learned(false)
    merged.merge(learned(orders))
    assert dict(endpoint(merged, "POST", "/orders").property_calls)["user"] == len(orders)


def test_a_class_that_only_a_name_tells_is_less_sure() -> None:
    fields = (Field("name", "string", "", "person-name", 5), Field("card", "string", "", "pan", 16))
    hits = (DataHit("person-name", "name", "*", "response", 0.6), DataHit("pan", "card", "*1111", "response"))
    told = [
        replace(r, method="GET", path="/people", status=200, sampled=True, response_fields=fields, data=hits) for r in shop(30)
    ]
    parts = [learned(told[:15]), learned(told[15:])]
    parts[0].merge(Learner.from_bytes(parts[1].to_bytes(), KEY))
    ((_, schema),) = endpoint(parts[0], "GET", "/people").responses
    assert {f.place: f.confidence for f in schema.fields} == {"name": 0.6, "card": 1.0}


@pytest.mark.parametrize("first", [True, False])
def test_a_header_of_another_protocol_does_not_make_an_endpoint_one_of_it(first: bool) -> None:
    records = [r for r in shop(600) if r.method == "GET" and r.path.startswith("/orders/")]
    dressed = [replace(r, protocol="mcp") for r in records[:10]]
    learner = learned(dressed + records if first else records + dressed)
    assert endpoint(learner, "GET", "/orders/{order_id}").protocol == "rest"
    assert endpoint(Learner.from_bytes(learner.to_bytes(), KEY), "GET", "/orders/{order_id}").protocol == "rest"
    stream = learned([replace(r, protocol="mcp") for r in records] + records[:5])
    assert endpoint(stream, "GET", "/orders/{order_id}").protocol == "mcp"


def test_templates_of_a_large_service_are_not_read_for_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "SMALL", 0)
    learner = learned(shop(400))
    first = learner.endpoints()
    fresh = replace(shop(1)[0], method="PURGE", path="/orders", status=200)
    learner.fold([fresh])
    assert [e.id for e in learner.endpoints(lazy=True)] == [e.id for e in first], "one call is not worth another reading"
    assert any(e.method == "PURGE" for e in learner.endpoints())
    learner.fold([replace(fresh, path=f"/brand/new/{n}/{n}") for n in range(200)])
    assert len(learner.endpoints(lazy=True)) > len(first) + 1, "so much is"


def test_how_many_records_come_together_teaches_nothing() -> None:
    """Templates are asked for amid them, and operations get new ids, as more and more paths are found."""
    loose = [record("GET", f"/reports/{n}/part{n % 7}", user=f"u{n % 5}", time=5_000.0 + n) for n in range(2 * REASSOCIATE)]
    records = [*shop(300), *loose, *shop(200)]
    together, alone = learned(records), Learner(KEY)
    for one in records:
        alone.fold([one])
    assert together.to_bytes() == alone.to_bytes()
    assert together.endpoints() == alone.endpoints()


def test_what_one_model_cannot_learn_from_the_others_do() -> None:
    records = shop(100)
    odd = replace(records[7], response_bytes=None)
    learner = learned([*records[:50], odd, *records[50:]])
    assert learner.unlearned == 1
    assert f"call `{odd.id}`: TypeError" in learner.fault
    models, whole = learner.behaviours.dump(), learned([*records[:50], records[7], *records[50:]]).behaviours.dump()
    assert [name for name in whole if models[name] != whole[name]] == ["volumes"]


def told(n: int, **more: Any) -> CallRecord:
    """A call of an item of its own, by a path that no template is known for, with a note of the session it was in."""
    item = f"{n:08x}-0000-4000-8000-{n * 7919:012x}"
    return record("GET", f"/items/{item}", user=f"u{n % 5}", time=5_000.0 + n, notes=(("sessions", {"x": [1]}),), **more)


def test_what_comes_before_a_template_is_known_is_learned_of_it() -> None:
    """Of each context a model keeps a bounded number of operations: paths that stand for operations must not use them up."""
    count = 3 * REASSOCIATE
    learner = learned([told(n) for n in range(count)])
    (known,) = learner.endpoints()
    assert (known.template, known.calls) == ("/items/{item_id}", count)
    sessions = learner.behaviours.of("sessions")
    assert sum(calls for calls, *_ in sessions.contexts["shop"].seen[""].values()) == count
    assert sessions.moved == {}, "nobody was told of operations by these paths"
    (callers,) = learner.edges.tables().callers.values()
    assert callers["user"].calls == count


def test_records_that_wait_for_a_template_are_in_all_that_anybody_asks_for() -> None:
    records = [told(n) for n in range(REASSOCIATE // 2)]
    odd = replace(records[3], principals=None, id="odd")
    waiting = learned([*records, odd])
    assert waiting.fault.startswith("call `odd`: TypeError")
    for learner in (learned(records), Learner.from_bytes(learned(records).to_bytes(), KEY)):
        assert len(learner.edges.tables().callers) == len(records), "by their paths, as no template was asked for"
        assert sum(profile.calls for profile in learner.identities.profiles()) == len(records)
    whole = Learner(KEY)
    for half in (records[::2], records[1::2]):
        whole.merge(learned(half))
    assert [(e.template, e.calls) for e in whole.endpoints()] == [("/items/{item_id}", len(records))]


def test_how_many_records_wait_is_bounded() -> None:
    learner = Learner(KEY)
    learner.fold([told(1)] * (MAX_WAITING - 1))
    assert learner._waiting == MAX_WAITING - 1
    learner.fold([told(1)] * 2 * MAX_WAITING)
    assert learner._waiting == 0
    assert learner.endpoints()[0].calls == 3 * MAX_WAITING - 1
