"""The fast matcher against a slow, obvious twin, and the promises of endpoint ids."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote, unquote

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from eastwall.discovery import inventory as inv
from eastwall.discovery.inventory import compile_inventory, endpoint_id, identify
from eastwall.model.endpoint import Endpoint, Match
from eastwall.model.operation import Operation


def endpoint(template: str, method: str = "GET", service: str = "shop") -> Endpoint:
    return Endpoint(id=endpoint_id(service, method, template), service=service, method=method, template=template)


def call(path: str, method: str = "GET") -> Operation:
    trimmed = path.strip("/")
    segments = tuple(unquote(s) for s in trimmed.split("/")) if trimmed else ()
    return Operation(protocol="rest", method=method, segments=segments, path=path)


def lookup(path: str, *templates: str, method: str = "GET") -> tuple[str | None, dict[str, str]]:
    match = identify("shop", call(path, method), compile_inventory([endpoint(t) for t in templates]))
    return (match.endpoint.template if match.endpoint else None), dict(match.params)


def test_literal_wins_over_parameter() -> None:
    assert lookup("/users/me", "/users/{user_id}", "/users/me") == ("/users/me", {})
    assert lookup("/users/7", "/users/{user_id}", "/users/me") == ("/users/{user_id}", {"user_id": "7"})


def test_dead_literal_branch_is_left() -> None:
    found = lookup("/users/me/settings", "/users/me/orders", "/users/{user_id}/settings", "/users/{user_id}/settings/{x}")
    assert found == ("/users/{user_id}/settings", {"user_id": "me"})


def test_part_segment_parameters() -> None:
    assert lookup("/items/7:archive", "/items/{id}", "/items/{id}:archive") == ("/items/{id}:archive", {"id": "7"})
    assert lookup("/f/report-2024-05-01.csv", "/f/report-{date}.csv", "/f/{name}") == (
        "/f/report-{date}.csv",
        {"date": "2024-05-01"},
    )
    assert lookup("/tiles/3,4.5", "/tiles/{x},{y}") == ("/tiles/{x},{y}", {"x": "3", "y": "4.5"})
    assert lookup("/f/report-.csv", "/f/report-{date}.csv") == (None, {})


def test_more_literal_text_is_tried_first() -> None:
    assert lookup("/f/a.tar.gz", "/f/{name}.gz", "/f/{name}.tar.gz")[0] == "/f/{name}.tar.gz"


def test_values_are_percent_decoded() -> None:
    assert lookup("/files/a%20b%2Fc", "/files/{name}") == ("/files/{name}", {"name": "a b/c"})
    assert lookup("/caf%C3%A9/x", "/café/{name}") == ("/café/{name}", {"name": "x"})


def test_unknown_method_service_and_path() -> None:
    inventory = compile_inventory([endpoint("/orders/{order_id}")])
    assert identify("shop", call("/orders/1", "DELETE"), inventory).endpoint is None
    assert identify("bank", call("/orders/1"), inventory).endpoint is None
    assert identify("shop", call("/orders/1/x"), inventory).endpoint is None
    assert identify("shop", call("/orders//"), inventory).endpoint is None


def test_root_and_trailing_slash() -> None:
    assert lookup("/", "/")[0] == "/"
    assert lookup("/orders/", "/orders")[0] == "/orders"
    assert lookup("/orders", "/orders/")[0] == "/orders/"


def test_cache_stays_bounded_and_right() -> None:
    inventory = compile_inventory([endpoint("/orders/{order_id}")])
    for number in range(inv.CACHE_PATHS * 3):
        assert identify("shop", call(f"/orders/{number}"), inventory).params == (("order_id", str(number)),)
    assert len(inventory.recent) + len(inventory.older) <= 2 * inv.CACHE_PATHS
    identify("shop", call("/orders/" + "x" * 10_000), inventory)
    assert max(len(path) for _, _, path in inventory.recent) <= inv.CACHE_PATH_LENGTH


def test_hostile_segment_is_linear() -> None:
    template = "/x/" + "a".join(f"{{p{n}}}" for n in range(12))
    assert lookup("/x/" + "a" * 20_000 + "b", template)[0] == template
    assert lookup("/x/" + "b" * 20_000, template)[0] is None


def test_ids_survive_a_rename_and_tell_the_rest_apart() -> None:
    first = endpoint_id("shop", "GET", "/orders/{id}/lines/{n}")
    assert re.fullmatch(r"ep_[0-9a-f]{12}", first)
    assert endpoint_id("shop", "GET", "/orders/{order_id}/lines/{line}") == first
    others = [
        ("shop", "PUT", "/orders/{id}/lines/{n}"),
        ("bank", "GET", "/orders/{id}/lines/{n}"),
        ("shop", "GET", "/orders/{id}/lines"),
    ]
    assert len({first, *(endpoint_id(*other) for other in others)}) == 4


def test_encoded_braces_are_text() -> None:
    assert lookup("/a/%7Bx%7D", "/a/%7Bx%7D") == ("/a/%7Bx%7D", {})
    assert lookup("/a/%7Bx%7D/7", "/a/%7Bx%7D/{id}") == ("/a/%7Bx%7D/{id}", {"id": "7"})
    assert lookup("/a/other/7", "/a/%7Bx%7D/{id}") == (None, {})


# --- several operations at one path ------------------------------------------------------------------------------------


def named(template: str, operation: str, method: str = "POST") -> Endpoint:
    key = endpoint_id("shop", method, template, operation)
    return Endpoint(id=key, service="shop", method=method, template=template, operation=operation, protocol="graphql")


def asked(path: str, operation: str, *endpoints: Endpoint) -> Match:
    plain = call(path, "POST")
    return identify("shop", replace(plain, name=operation), compile_inventory(endpoints))


def test_the_operation_decides_after_the_path() -> None:
    orders, pay = named("/graphql", "query orders"), named("/graphql", "mutation pay")
    assert asked("/graphql", "query orders", orders, pay).endpoint == orders
    assert asked("/graphql", "mutation pay", orders, pay).endpoint == pay
    assert asked("/graphql", "query users", orders, pay) == Match(None)
    assert asked("/graphql", "", orders, pay) == Match(None)
    assert asked("/other", "query orders", orders, pay) == Match(None)


def test_several_root_fields_are_an_operation_of_their_own() -> None:
    order, orders = named("/graphql", "query order"), named("/graphql", "query orders")
    assert asked("/graphql", "query order,orders", order, orders) == Match(None)
    both = named("/graphql", "query order,orders")
    assert asked("/graphql", "query order,orders", order, orders, both).endpoint == both
    assert inv.parts_of("query order,orders") == ("query order", "query orders")
    assert inv.parts_of("mutation b; query a,c; persisted 00ff") == ("mutation b", "persisted 00ff", "query a", "query c")
    for single in ("", "query order", "tools/call search", "tools/call a,b", "urn:a b", "query ", "subscription"):
        assert inv.parts_of(single) == (single,)


def test_what_a_specification_has() -> None:
    declared = {endpoint_id("shop", "POST", "/graphql", name) for name in ("query order", "query orders", "mutation pay")}
    declared |= {endpoint_id("shop", "POST", "/mcp"), endpoint_id("shop", "GET", "/orders/{id}")}

    def has(operation: str, method: str = "POST", template: str = "/graphql") -> bool:
        return inv.declares(declared, "shop", method, template, operation)

    assert has("query order")
    assert has("query order,orders")
    assert has("mutation pay; query orders")
    assert has("query __schema,order")
    assert has("query orders", "GET")
    assert has("tools/call search", template="/mcp")
    assert has("", "GET", "/orders/{order_id}")
    for missing in ("query order,users", "query users", "query __schema", "persisted 00ff", "", "tools/call search"):
        assert not has(missing), missing
    assert not has("query order", template="/other")
    assert not has("", "DELETE", "/orders/{order_id}")


def test_the_path_as_a_whole_stands_in_for_operations_that_are_not_known() -> None:
    whole, pay = endpoint("/graphql", "POST"), named("/graphql", "mutation pay")
    assert asked("/graphql", "query users", whole, pay).endpoint == whole
    assert asked("/graphql", "mutation pay", whole, pay).endpoint == pay
    # So a call that dresses up as another protocol stays where it is checked.
    assert asked("/orders/5", "eth_call", endpoint("/orders/{order_id}", "POST")).params == (("order_id", "5"),)


def test_parameters_of_a_known_path_are_given_for_an_unknown_operation() -> None:
    one = named("/shops/{shop}/graphql", "query orders")
    assert asked("/shops/7/graphql", "query orders", one) == Match(one, (("shop", "7"),))
    assert asked("/shops/7/graphql", "query users", one) == Match(None, (("shop", "7"),))


def test_a_branch_without_the_operation_is_left() -> None:
    special, common = named("/rpc/special", "a"), named("/rpc/{name}", "b")
    assert asked("/rpc/special", "b", special, common) == Match(common, (("name", "special"),))
    assert asked("/rpc/special", "a", special, common) == Match(special)
    assert asked("/rpc/special", "c", special, common) == Match(None)


def test_an_operation_has_an_id_of_its_own() -> None:
    plain = endpoint_id("shop", "POST", "/graphql")
    assert plain == endpoint_id("shop", "POST", "/graphql", "")
    ids = {endpoint_id("shop", "POST", "/graphql", name) for name in ("", "query a", "query b", "mutation a")}
    assert len(ids) == 4
    # Written down by earlier versions: must not change.
    assert endpoint_id("orders", "GET", "/orders/{order_id}") == "ep_7e3ca077d38f"


def test_the_cache_keeps_operations_apart() -> None:
    inventory = compile_inventory([named("/graphql", "query a"), named("/graphql", "query b"), endpoint("/graphql", "POST")])
    for _ in range(2):
        for name in ("query a", "query b", "query c", ""):
            found = identify("shop", replace(call("/graphql", "POST"), name=name), inventory).endpoint
            assert found is not None
            assert found.operation == (name if name != "query c" else "")


# --- the twin: try every endpoint with a regular expression, take the most specific from left to right -----------------


def twin(operation: Operation, endpoints: list[Endpoint]) -> Match:
    answering = [e for e in endpoints if e.operation in ("", operation.name)]
    found = best(operation, answering, lambda e: (e.operation != operation.name, e.template, e.operation, e.id))
    if found is not None:
        return found
    # The path may be known with other operations: then its parameters are told. Or with another method: then that is told too.
    known = best(operation, endpoints, lambda e: (e.operation != "", e.template, e.operation, e.id))
    params = known.params if known is not None else ()
    firsts: dict[str, Endpoint] = {}
    for one in sorted((e for e in endpoints if not e.operation), key=lambda e: (e.method, e.template, e.id)):
        firsts.setdefault(re.sub(r"\{[^{}]*\}", "{}", one.template).rstrip("/"), one)
    beside = best(operation, [replace(e, method=operation.method) for e in firsts.values()], lambda e: (e.template, e.id))
    there = next((e for e in firsts.values() if beside and beside.endpoint and e.id == beside.endpoint.id), None)
    if there is None or beside is None or there.method == operation.method:
        return Match(None, params)
    return Match(None, params or beside.params, there)


def best(operation: Operation, endpoints: list[Endpoint], preference: Callable[[Endpoint], tuple[object, ...]]) -> Match | None:
    """The most specific path, and of its endpoints the preferred one."""
    chosen: tuple[tuple[tuple[int, int, str], ...], Match] | None = None
    for candidate in sorted(endpoints, key=preference):
        if candidate.method != operation.method:
            continue
        trimmed = candidate.template.strip("/")
        parts = trimmed.split("/") if trimmed else []
        if len(parts) != len(operation.segments):
            continue
        rank: list[tuple[int, int, str]] = []
        params: list[tuple[str, str]] = []
        for part, segment in zip(parts, operation.segments, strict=True):
            pieces = re.split(r"\{([^{}]*)\}", part)
            texts, names = pieces[::2], pieces[1::2]
            found = re.fullmatch("(.+?)".join(re.escape(unquote(t)) for t in texts), segment, re.DOTALL)
            if not found:
                break
            params += zip(names, found.groups(), strict=True)
            if not names:
                rank.append((0, 0, ""))
            elif any(texts):
                rank.append((1, -sum(len(unquote(t)) for t in texts), "{}".join(texts)))
            else:
                rank.append((2, 0, ""))
        else:
            if chosen is None or tuple(rank) < chosen[0]:
                chosen = (tuple(rank), Match(endpoint=candidate, params=tuple(params)))
    return chosen[1] if chosen else None


words = st.sampled_from(["a", "b", "me", "a.b", "a-b", "7", "v1", "x:go", "a b"])
pieces = st.one_of(words, st.sampled_from(["{p}", "{p}.b", "a-{p}", "{p}:go", "{p}.{q}", "{p}-{q}b"]))


def template_of(parts: list[str]) -> str:
    numbered = (p.replace("{p}", f"{{p{n}}}").replace("{q}", f"{{q{n}}}").replace(" ", "%20") for n, p in enumerate(parts))
    return "/" + "/".join(numbered)


templates = st.lists(pieces, max_size=4).map(template_of)
paths = st.lists(st.one_of(words, st.text("ab.-:g o7", min_size=1, max_size=6)), max_size=4).map(
    lambda parts: "/" + "/".join(quote(p, safe="") for p in parts)
)


operations = st.sampled_from(["", "", "a", "b"])


@given(
    st.lists(st.tuples(templates, st.sampled_from(["GET", "PUT"]), operations), max_size=12),
    st.lists(st.tuples(paths, st.sampled_from(["", "a", "b", "c"])), min_size=1, max_size=8),
)
def test_agrees_with_the_twin(known: list[tuple[str, str, str]], asked: list[tuple[str, str]]) -> None:
    endpoints = [named(template, name, method) if name else endpoint(template, method) for template, method, name in known]
    inventory = compile_inventory(endpoints)
    for path, name in asked * 2:  # the second round comes from the cache
        for method in ("GET", "PUT"):
            operation = replace(call(path, method), name=name)
            assert identify("shop", operation, inventory) == twin(operation, endpoints)
