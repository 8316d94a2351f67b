"""States and flags of operations with known truth, the demo's shop among them."""

from __future__ import annotations

from typing import Any

import pytest

from eastwall.discovery.inventory import endpoint_id
from eastwall.discovery.lifecycle import Exposure, lifecycle, survey, versioned
from eastwall.learning.declare import read_declared
from eastwall.model.blueprint import Lifecycle
from eastwall.model.endpoint import Endpoint
from eastwall.model.snapshot import ServiceScope
from eastwall.runtime.demo import shop

NOW = 2_000_000.0
DAY = 86_400.0


def endpoint(template: str, method: str = "GET", **fields: Any) -> Endpoint:
    service = fields.pop("service", "shop")
    basis: dict[str, Any] = {
        "status": "learned", "calls": 100, "first_seen": NOW - 30 * DAY, "last_seen": NOW - 60, "authenticated": 1.0, "statuses": ((200, 100),),
    }  # fmt: skip
    return Endpoint(
        id=endpoint_id(service, method, template), service=service, method=method, template=template, **(basis | fields)
    )


def declared(template: str, method: str = "GET", **fields: Any) -> Endpoint:
    return endpoint(template, method, origin="declared", calls=0, statuses=(), **fields)


def judged(
    endpoints: list[Endpoint], spec: list[Endpoint] | None = None, scope: ServiceScope | None = None, **rest: Any
) -> dict[str, Lifecycle]:
    """`METHOD template` -> lifecycle; what `spec` has is of origin `both`."""
    spec = spec or []
    ids = {e.id for e in spec}
    found = [_both(e) if e.id in ids else e for e in endpoints]
    found += [e for e in spec if e.id not in {f.id for f in found}]
    around = survey(found, scope or ServiceScope("shop", owner="team"), spec, **rest)
    return {f"{e.method} {e.template}": lifecycle(e, around, NOW) for e in found}


def _both(e: Endpoint) -> Endpoint:
    return Endpoint(**({name: getattr(e, name) for name in e.__struct_fields__} | {"origin": "both"}))


def states(found: dict[str, Lifecycle]) -> dict[str, str]:
    return {name: one.state for name, one in found.items()}


def test_managed_shadow_ghost_and_observed() -> None:
    seen = [endpoint("/orders"), endpoint("/debug/env")]
    found = judged(seen, [declared("/orders"), declared("/refunds")])
    assert states(found) == {"GET /orders": "managed", "GET /debug/env": "shadow", "GET /refunds": "ghost"}
    assert states(judged(seen)) == {"GET /orders": "observed", "GET /debug/env": "observed"}
    assert all(len(one.reasons) == len(one.flags) + 1 and all(one.reasons) for one in found.values())


def test_a_specification_speaks_for_its_base_path_only() -> None:
    """Two APIs behind one host, of which one has a specification."""
    spec = [declared("/petstore/v2/pets", base="/petstore/v2"), declared("/petstore/v2/owners", base="/petstore/v2")]
    seen = [
        endpoint(t) for t in ("/petstore/v2/pets", "/petstore/v2/hidden", "/petstore/v3/pets", "/billing/invoices", "/petstore")
    ]
    assert states(judged(seen, spec)) == {
        "GET /petstore/v2/pets": "managed",
        "GET /petstore/v2/hidden": "shadow",
        "GET /petstore/v3/pets": "shadow",
        "GET /billing/invoices": "observed",
        "GET /petstore": "observed",
        "GET /petstore/v2/owners": "ghost",
    }
    assert "outside of what the specification" in judged(seen, spec)["GET /billing/invoices"].reasons[0]


def test_where_no_server_is_named_templates_say_the_base() -> None:
    spec = [declared("/api/v1/orders"), declared("/api/v1/users/{user_id}")]
    found = states(judged([endpoint("/api/v1/secret"), endpoint("/status"), endpoint("/api/v2/orders")], spec))
    assert found["GET /api/v1/secret"] == "shadow"
    assert found["GET /status"] == "observed"
    assert found["GET /api/v2/orders"] == "shadow"
    petstore = [declared("/petstore/v2/pets"), declared("/petstore/v2/pets/{id}")]
    found = states(judged([endpoint("/petstore/v2/secret"), endpoint("/billing")], petstore))
    assert (found["GET /petstore/v2/secret"], found["GET /billing"]) == ("shadow", "observed")
    # Of one resource alone nothing follows: `/orders` is no structure, and the rest of the host is spoken for.
    assert states(judged([endpoint("/debug")], [declared("/orders"), declared("/orders/{id}")]))["GET /debug"] == "shadow"


def test_head_and_options_of_declared_paths_are_no_shadows() -> None:
    found = states(
        judged([endpoint("/orders", "OPTIONS"), endpoint("/orders", "HEAD"), endpoint("/x", "OPTIONS")], [declared("/orders")])
    )
    assert found == {"OPTIONS /orders": "managed", "HEAD /orders": "managed", "OPTIONS /x": "shadow", "GET /orders": "ghost"}


def test_an_operation_below_two_base_paths_is_one() -> None:
    spec = [declared("/api/orders", alternatives=("/orders",)), declared("/orders", alternatives=("/api/orders",))]
    assert states(judged([endpoint("/api/orders")], spec)) == {"GET /api/orders": "managed", "GET /orders": "managed"}
    assert states(judged([endpoint("/x")], spec))["GET /orders"] == "ghost"


def test_zombies() -> None:
    found = judged(
        [
            endpoint("/v1/orders"),
            endpoint("/v2/orders"),
            endpoint("/v1/only-here"),
            endpoint("/old", deprecated=True),
            endpoint("/legacy/x"),
            endpoint("/api/2023-01-15/report"),
            endpoint("/api/2024-06-01/report"),
        ],
        deprecated=lambda e: e.template.startswith("/legacy"),
    )
    assert states(found) == {
        "GET /v1/orders": "zombie",
        "GET /v2/orders": "observed",
        "GET /v1/only-here": "observed",
        "GET /old": "zombie",
        "GET /legacy/x": "zombie",
        "GET /api/2023-01-15/report": "zombie",
        "GET /api/2024-06-01/report": "observed",
    }
    assert found["GET /v1/orders"].flags == ("old-version",)
    assert found["GET /old"].flags == ("deprecated",)
    assert "there is version 2 of it" in found["GET /v1/orders"].reasons[1]


def test_an_old_version_that_is_declared_is_kept_on_purpose() -> None:
    found = judged([endpoint("/v1/orders"), endpoint("/v2/orders")], [declared("/v1/orders"), declared("/v2/orders")])
    assert found["GET /v1/orders"].state == "managed"
    assert found["GET /v1/orders"].flags == ("old-version",)


def test_a_declared_path_without_a_version_is_the_present_one() -> None:
    assert states(judged([endpoint("/v1/users")], [declared("/users")]))["GET /v1/users"] == "zombie"
    assert states(judged([endpoint("/v1/users"), endpoint("/users")]))["GET /v1/users"] == "observed"


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("/v1/orders/{id}", ((1,), "/orders/{}")),
        ("/api/V2.1/x", ((2, 1), "/api/x")),
        ("/v3beta2/x", ((3,), "/x")),
        ("/orders", ((), "/orders")),
        ("/vary/1", ((), "/vary/1")),
        ("/v1", ((1,), "/")),
        ("/shop.v2.Orders/Get", ((2,), "/shop.Orders/Get")),
        ("/shop.v1beta1.Orders/Get", ((1,), "/shop.Orders/Get")),
        ("/jquery.v3.js", ((3,), "/jquery.js")),
        ("/a/b/c/d/e/v1", ((), "/a/b/c/d/e/v1")),
    ],
)
def test_versions_in_paths(template: str, found: tuple[tuple[int, ...], str]) -> None:
    assert versioned(template) == found


def test_authentication() -> None:
    """One method without, where the others have it; a resource's one operation without; declared, and missing in fact."""
    found = judged(
        [
            endpoint("/accounts/{id}"),
            endpoint("/accounts/{id}", "PATCH"),
            endpoint("/accounts/{id}", "DELETE", authenticated=0.0),
            endpoint("/accounts"),
            *(endpoint(f"/accounts/{{id}}/{part}") for part in ("limits", "cards", "statements")),
            endpoint("/accounts/export", "POST", authenticated=0.0),
            endpoint("/login", "POST", authenticated=0.0, login=True),
            endpoint("/health", authenticated=0.0),
            endpoint("/products", authenticated=0.0),
            endpoint("/products", "POST"),
            endpoint("/few", "POST", authenticated=0.0, calls=3, statuses=((200, 3),)),
            endpoint("/secured", secured=True, authenticated=0.4),
        ]
    )
    missing = {name for name, one in found.items() if "missing-authentication" in one.flags}
    assert missing == {"DELETE /accounts/{id}", "POST /accounts/export", "GET /secured"}
    few = [endpoint(f"/accounts/{part}") for part in "abcde"] + [
        endpoint(f"/accounts/{n}", "POST", authenticated=0.0) for n in "xy"
    ]
    assert not [name for name, one in judged(few).items() if "missing-authentication" in one.flags]  # 5 with, 2 without: no habit
    open_ones = {name for name, one in found.items() if "unauthenticated" in one.flags}
    assert open_ones == {"DELETE /accounts/{id}", "POST /accounts/export", "POST /login", "GET /health", "GET /products"}


def test_graphql_queries_are_readings() -> None:
    """All operations of GraphQL are POST to one path; what matters is what they do."""
    closed = [endpoint("/graphql", "POST", operation=f"query {n}") for n in ("me", "orders", "cards", "bills")]
    loose = [endpoint("/graphql", "POST", operation=name, authenticated=0.0) for name in ("query products", "mutation refund")]
    found = [*closed, *loose]
    found = [Endpoint(**{n: getattr(e, n) for n in e.__struct_fields__} | {"id": f"ep{at}"}) for at, e in enumerate(found)]
    around = survey(found, ServiceScope("shop", owner="t"))
    flags = {e.operation: lifecycle(e, around, NOW).flags for e in found}
    assert "missing-authentication" not in flags["query products"]
    assert flags["query me"] == ()
    around = survey(found[:4] + found[5:], ServiceScope("shop", owner="t"))
    assert "missing-authentication" in lifecycle(found[5], around, NOW).flags


def test_reading_sensitive_data_without_identity_stands_out() -> None:
    flows = (("response", "ssn", "ssn"),)
    assert (
        "missing-authentication"
        not in judged([endpoint("/people", authenticated=0.0), endpoint("/people", "POST")])["GET /people"].flags
    )
    found = judged([endpoint("/people", authenticated=0.0, data_classes=flows), endpoint("/people", "POST")])
    assert "missing-authentication" in found["GET /people"].flags
    found = judged(
        [endpoint("/people/{id}", authenticated=0.0, data_classes=flows)] + [endpoint(f"/people/{{id}}/{n}") for n in range(4)],
    )
    assert "missing-authentication" in found["GET /people/{id}"].flags
    assert "4 operations beside it" in " ".join(found["GET /people/{id}"].reasons)


def test_exposure_is_what_is_seen_and_what_is_said() -> None:
    scope = ServiceScope("shop", owner="team", exposure="internal")
    one = endpoint("/orders")
    around = survey([one], scope)
    seen = lifecycle(one, around, NOW, Exposure(public_calls=7, agents=("client:bot", "client:cat")))
    assert seen.exposure == "internet"
    assert seen.flags == ("agent-reachable", "internet-facing")
    assert "`client:bot` and 1 more" in seen.reasons[1]
    assert lifecycle(one, around, NOW).exposure == "internal"
    said = survey([one], ServiceScope("shop", owner="t", exposure="internet"))
    assert "internet-facing" in lifecycle(one, said, NOW).flags
    assert lifecycle(one, survey([one], ServiceScope("shop", owner="t")), NOW, Exposure(egress=True)).flags == ("third-party",)


def test_versions_in_media_types() -> None:
    one = endpoint("/orders")
    around = survey([one], ServiceScope("shop", owner="t"))
    assert lifecycle(one, around, NOW, Exposure(versions=("2",))).flags == ()
    found = lifecycle(one, around, NOW, Exposure(versions=("10", "2", "9")))
    assert (found.state, found.flags) == ("observed", ("old-version",))
    assert "name version 9, and version 10" in found.reasons[1]


def test_owner_environment_admin() -> None:
    found = judged([endpoint("/admin/users"), endpoint("/orders")], scope=ServiceScope("shop", environment="staging"))
    assert found["GET /admin/users"].flags == ("admin", "non-production", "orphan")
    assert found["GET /orders"].environment == "staging"
    live = judged([endpoint("/test/orders")], scope=ServiceScope("shop", owner="t", environment="production"))
    assert live["GET /test/orders"].flags == ()
    assert judged([endpoint("/refunds", "POST")], admin=lambda _: True)["POST /refunds"].flags == ("admin",)
    assert judged([endpoint("/administrators-guide")])["GET /administrators-guide"].flags == ()


def test_new_and_vanished() -> None:
    found = judged(
        [
            endpoint("/orders"),
            endpoint("/fresh", first_seen=NOW - 3_600),
            endpoint("/gone", last_seen=NOW - 20 * DAY, calls=1_000),
            endpoint("/rare", first_seen=NOW - 300 * DAY, last_seen=NOW - 20 * DAY, calls=11),
        ]
    )
    flags = {name: one.flags for name, one in found.items()}
    assert flags == {"GET /orders": (), "GET /fresh": ("new",), "GET /gone": ("vanished",), "GET /rare": ()}


@pytest.mark.parametrize("name", ["storefront", "orders", "billing"])
def test_the_demo(name: str) -> None:
    """Everything the demo's services have is called: what their OpenAPI files leave out is shadow or zombie, what they make up a ghost."""
    spec = list(read_declared(shop.openapi(name).encode(), f"{name}.yaml", name).endpoints)
    real = [endpoint(template, method, service=name) for method, template in shop.expected_templates(name)]
    found = states(judged(real, spec, ServiceScope(name, owner="t")))
    managed = {f"{m} {t}" for m, t in shop.declared_templates(name)}
    assert {key for key, state in found.items() if state == "managed"} == managed
    assert {key for key, state in found.items() if state == "ghost"} == {f"{m} {t}" for m, t in shop.GHOSTS.get(name, ())}
    assert {key: state for key, state in found.items() if state in ("shadow", "zombie")} == {
        "storefront": {"GET /debug/config": "shadow", "GET /v1/users": "zombie"},
        "orders": {"GET /orders/{order_id}/tracking": "shadow"},
        "billing": {"GET /v1/cards": "shadow"},
    }[name]
