"""Declared against seen, in both directions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from eastwall.discovery.drift import MAX_PER_ENDPOINT, drift, service_drift
from eastwall.discovery.inventory import endpoint_id
from eastwall.learning.declare import read_declared
from eastwall.learning.schema import SchemaState
from eastwall.model.blueprint import Drift
from eastwall.model.endpoint import Endpoint, FieldProfile, Schema
from eastwall.model.facts import Field
from eastwall.runtime.demo import shop

SPEC = b"""
openapi: 3.1.0
info: {title: shop, version: "1"}
paths:
  /orders:
    post:
      deprecated: true
      security: [{key: []}]
      parameters:
      - {name: dry, in: query, schema: {type: boolean}}
      - {name: X-Tenant, in: header, required: true, schema: {type: string}}
      requestBody:
        content:
          application/json:
            schema:
              type: object
              required: [quantity, state]
              properties:
                quantity: {type: integer, minimum: 1, maximum: 20}
                state: {type: string, enum: [open, paid]}
                note: {type: string, maxLength: 10}
                id: {type: string, format: uuid}
                price: {type: number}
                meta: {type: object}
                tags: {type: object, additionalProperties: {type: string}}
      responses:
        '201':
          description: made
          content:
            application/json:
              schema:
                type: object
                required: [id]
                properties: {id: {type: integer}, total: {type: number}, secret_note: {type: string}}
        '4XX': {description: refused}
  /orders/{order_id}:
    get:
      parameters: [{name: order_id, in: path, required: true, schema: {type: integer}}]
      responses: {'200': {description: one}}
components:
  securitySchemes: {key: {type: apiKey, in: header, name: X-Key}}
"""


def spec() -> dict[str, Endpoint]:
    found = read_declared(SPEC, "shop.yaml", "shop")
    assert not found.faults
    return {f"{e.method} {e.template}": e for e in found.endpoints}


def field(place: str, *kinds: str, seen: int = 50, of: int = 50, **rest: Any) -> FieldProfile:
    return FieldProfile(place, kinds or ("string",), seen=seen, of=of, **rest)


def seen(template: str = "/orders", method: str = "POST", **fields: Any) -> Endpoint:
    basis: dict[str, Any] = {"calls": 100, "statuses": ((201, 100),), "authenticated": 1.0}
    return Endpoint(
        id=endpoint_id("shop", method, template), service="shop", method=method, template=template, **(basis | fields)
    )


def request(*fields: FieldProfile) -> Endpoint:
    whole = [field("quantity", "integer", minimum=1, maximum=3), field("state", enum=("open",))]
    named = {f.place for f in fields}
    return seen(request=Schema(50, tuple(sorted([*fields, *(f for f in whole if f.place not in named)], key=lambda f: f.place))))


def kinds(found: tuple[Drift, ...], severity: str = "low medium high") -> set[tuple[str, str]]:
    return {(d.kind, d.place) for d in found if d.severity in severity and d.kind != "deprecated-in-use"}


def of(observed: Endpoint) -> tuple[Drift, ...]:
    return drift(spec()["POST /orders"], observed)


def test_what_keeps_to_its_declaration_has_none() -> None:
    answer = Schema(50, (field("id", "integer"), field("total", "integer", "number"), field("secret_note", seen=3)))
    same = request(field("note", max_length=9), field("id", format="uuid"), field("price", "integer"))
    calm = Endpoint(**{n: getattr(same, n) for n in same.__struct_fields__} | {"responses": ((201, answer),)})
    assert kinds(of(calm)) == set()


@pytest.mark.parametrize(
    ("found", "kind", "severity"),
    [
        (field("coupon"), "undeclared-field", "medium"),
        (field("is_admin", "boolean"), "undeclared-field", "high"),
        (field("card", data_class="pan"), "undeclared-field", "high"),
        (field("quantity", "integer", minimum=-5, maximum=3), "looser-validation", "medium"),
        (field("quantity", "integer", minimum=1, maximum=21), "looser-validation", "medium"),
        (field("quantity", "string"), "type-mismatch", "medium"),
        (field("price", "null", "number"), "type-mismatch", "medium"),
        (field("note", max_length=11), "looser-validation", "medium"),
        (field("state", enum=("lost", "open")), "looser-validation", "medium"),
        (field("state", enum=("open",), seen=40, of=50), "missing-required", "medium"),
        (field("id", format=""), "looser-validation", "medium"),
        (field("id", format="date"), "looser-validation", "medium"),
    ],
)
def test_each_kind(found: FieldProfile, kind: str, severity: str) -> None:
    (one,) = [d for d in of(request(found)) if d.severity not in ("info",) and d.kind != "deprecated-in-use"]
    assert (one.kind, one.severity, one.place) == (kind, severity, f"request.{found.place}")
    assert one.message
    assert one.service == "shop"


@pytest.mark.parametrize(
    "found",
    [
        field("coupon", seen=0, of=0),
        field("meta.anything"),
        field("meta.deep[].er"),
        field("tags.{}"),
        field("tags.blue"),
        field("quantity", "integer", minimum=-5, seen=1, of=50),
    ],
)
def test_what_is_no_drift(found: FieldProfile) -> None:
    assert not [d for d in of(request(found)) if d.place == f"request.{found.place}" and d.kind != "missing-required"]


def test_declared_and_never_seen() -> None:
    assert ("unseen-field", "request.note") in kinds(of(request()), "info")
    assert ("unseen-field", "query.dry") not in kinds(of(request()), "info")  # no call was sampled for its query
    few = seen(request=Schema(5, (field("quantity", "integer", seen=5, of=5),)))
    assert ("unseen-field", "request.note") not in kinds(of(few), "info")
    assert not any("tenant" in d.place for d in of(request()))
    (ghost,) = of(seen(calls=0, statuses=()))
    assert (ghost.kind, ghost.severity, ghost.seen) == ("unseen-operation", "info", 0)


def test_query_parameters() -> None:
    query = Schema(50, (field("query.debug", seen=5), field("query.dry", "string"), field("query.utm_source")))
    found = {(d.kind, d.place): d for d in of(seen(query=query))}
    assert found["undeclared-parameter", "query.debug"].severity == "medium"
    assert not {place for _, place in found if place.startswith("query.")} - {"query.debug"}


def test_answers() -> None:
    answer = Schema(50, (field("id", "string"), field("ssn", data_class="ssn"), field("note"), field("total", "number", seen=20)))
    found = {
        (d.kind, d.place): d.severity
        for d in of(seen(responses=((201, answer),), statuses=((201, 90), (404, 5), (500, 4), (302, 9))))
    }
    assert found["type-mismatch", "response.201.id"] == "medium"
    assert found["undeclared-field", "response.201.ssn"] == "high"
    assert found["undeclared-field", "response.201.note"] == "low"
    assert found["unseen-field", "response.201.secret_note"] == "info"
    assert found["undeclared-status", "response.500"] == "low"
    assert found["undeclared-status", "response.302"] == "info"
    assert ("undeclared-status", "response.404") not in found  # 4XX is declared


def test_authentication_and_deprecation() -> None:
    found = {d.kind: d for d in of(seen(authenticated=0.75))}
    assert found["missing-authentication"].severity == "high"
    assert found["missing-authentication"].seen == 25
    assert "deprecated-in-use" in found


def test_a_whole_service() -> None:
    """Shadows, ghosts, what else is on the host, and a template that is one value of a declared parameter."""
    found = service_drift(
        list(spec().values()),
        [seen("/orders/latest", "GET", statuses=((200, 100),)), seen("/debug", "GET", data_classes=(("response", "x", "pan"),)), seen("/other", "GET"),
         seen("/orders", "OPTIONS")],
        lambda endpoint: endpoint.template != "/other",
    )  # fmt: skip
    assert [(d.kind, d.template, d.severity) for d in found] == [
        ("undeclared-operation", "/debug", "high"),
        ("unseen-operation", "/orders", "info"),
    ]


def test_an_operation_below_two_base_paths_is_seen_below_one() -> None:
    servers = SPEC.replace(b"paths:", b"servers: [{url: /v2}, {url: /}]\npaths:", 1)
    declared = read_declared(servers, "shop.yaml", "shop").endpoints
    assert len(declared) == 4
    unseen = [d.template for d in service_drift(declared, [seen("/v2/orders")]) if d.kind == "unseen-operation"]
    assert unseen == ["/orders/{order_id}", "/v2/orders/{order_id}"]


def test_the_demo_orders_specification() -> None:
    """Wrong in three places: an operation that is missing, one that never was, a parameter that is not declared."""
    declared = read_declared(shop.openapi("orders").encode(), "orders.yaml", "orders").endpoints
    real = []
    for method, template in shop.expected_templates("orders"):
        query = Schema(50, (field("query.status", seen=9),)) if (method, template) == ("GET", "/orders") else Schema()
        key = endpoint_id("orders", method, template)
        real.append(
            Endpoint(id=key, service="orders", method=method, template=template, calls=100, query=query, authenticated=1.0)
        )
    found = {(d.kind, d.method, d.template, d.place) for d in service_drift(declared, real) if d.severity != "info"}
    assert found == {
        ("undeclared-operation", "GET", "/orders/{order_id}/tracking", ""),
        ("undeclared-parameter", "GET", "/orders", "query.status"),
    }
    ghosts = {(d.method, d.template) for d in service_drift(declared, real) if d.kind == "unseen-operation"}
    assert ghosts == {("DELETE", "/orders/{order_id}")}


def test_differences_are_bounded_and_the_worst_stay() -> None:
    many = [field(f"f{n:04}") for n in range(500)]
    found = of(request(*many, field("role")))
    assert len(found) == MAX_PER_ENDPOINT
    assert found[0].place == "request.role"


_NAMES = st.text(st.sampled_from("ab.[]{}$\x1b<é"), max_size=8)
_FIELDS = st.builds(
    FieldProfile,
    place=_NAMES,
    kinds=st.lists(st.sampled_from(("string", "integer", "object", "array", "null")), max_size=3, unique=True).map(tuple),
    format=st.sampled_from(("", "uuid", "date")),
    seen=st.integers(0, 60),
    of=st.integers(0, 60),
    minimum=st.none() | st.floats(allow_nan=False),
    maximum=st.none() | st.floats(allow_nan=False),
    max_length=st.integers(0, 9),
    enum=st.lists(_NAMES, max_size=3).map(tuple),
    required=st.none() | st.booleans(),
)
_SCHEMAS = st.builds(Schema, samples=st.integers(0, 60), fields=st.lists(_FIELDS, max_size=6).map(tuple))


@settings(max_examples=150, deadline=None)
@given(_SCHEMAS, _SCHEMAS, _SCHEMAS, st.integers(0, 50))
def test_odd_places_make_no_fault(a: Schema, b: Schema, c: Schema, calls: int) -> None:
    declared = Endpoint(id="e", service="s", method="GET", template="/x", request=a, query=b, responses=((200, c), (0, a)))
    observed = Endpoint(
        id="e", service="s", method="GET", template="/x", calls=calls, request=b, query=c, responses=((200, a), (500, b)), statuses=((200, calls),)
    )  # fmt: skip
    assert all(d.kind and d.message for d in drift(declared, observed))


def test_what_is_learned_of_a_declared_message_is_no_drift() -> None:
    """Through the real schema state: messages that keep to the specification."""
    state = SchemaState()
    for n in range(60):
        fields = [
            Field("$", "object"),
            Field("quantity", "integer", number=1 + n % 20),
            Field("state", "string", text="open", length=4),
        ]
        fields += [Field("meta", "object"), Field("meta.x", "string", length=2)] if n % 2 else []
        state.fold(fields, 1000.0 + n)
    assert kinds(of(seen(request=state.schema()))) == set()


@pytest.mark.parametrize(
    ("media", "told"), [("application/json", {"type-mismatch"}), ("application/xml", set()), ("text/xml", set())]
)
def test_what_is_seen_in_xml_has_no_types(media: str, told: set[str]) -> None:
    declared = Endpoint("e", "shop", "GET", "/a", responses=((200, Schema(fields=(FieldProfile("id", ("integer",)),))),))
    seen = Schema(samples=9, fields=(FieldProfile("id", ("string",), seen=9, of=9),), media_types=(media,))
    observed = Endpoint("e", "shop", "GET", "/a", calls=9, statuses=((200, 9),), responses=((200, seen),))
    assert {d.kind for d in drift(declared, observed)} == told


UPLOAD = b"""
openapi: 3.1.0
info: {title: shop, version: "1"}
paths:
  /files:
    post:
      requestBody:
        content:
          multipart/form-data:
            schema:
              type: object
              required: [document]
              properties:
                document: {type: string, contentMediaType: application/octet-stream}
                more: {type: array, items: {type: string, format: binary}}
      responses: {'200': {description: stored}}
"""


def test_an_uploaded_file_is_the_string_that_is_declared() -> None:
    declared = read_declared(UPLOAD, "upload.yaml", "shop").endpoints[0]
    file = [("filename", "string"), ("content_type", "string"), ("size", "integer")]

    def upload(*places: str, media: str = "multipart/form-data") -> Endpoint:
        fields = [field("more", "array")] if "more[]" in places else []
        fields += [field(place, "object") for place in places]
        fields += [field(f"{place}.{name}", kind) for place in places for name, kind in file]
        return seen("/files", statuses=((200, 100),), request=Schema(50, tuple(fields), media_types=(media,)))

    assert drift(declared, upload("document", "more[]")) == ()
    # A file that nobody declared is one difference, not four.
    assert [(d.kind, d.place) for d in drift(declared, upload("document", "more[]", "extra"))] == [
        ("undeclared-field", "request.extra")
    ]
    assert len(drift(declared, upload("document", "more[]", media="application/json"))) > 3


def test_graphql_variables_bear_the_names_that_callers_like() -> None:
    sdl = b"type Query { books(first: Int, genre: String): [String] }"
    declared = read_declared(sdl, "books.graphql", "shop").endpoints[0]
    fields = (field("variables", "object"), field("variables.n", "integer"), field("query"))
    observed = replace(
        declared, origin="observed", calls=100, statuses=((200, 100),), authenticated=1.0, request=Schema(50, fields)
    )
    assert drift(declared, observed) == ()
