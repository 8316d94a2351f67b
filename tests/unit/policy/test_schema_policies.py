"""SchemaPolicies: which schema is held against a call, what becomes of it, and what is said where none is known."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from eastwall.model.call import BodyState, Call, Mode, Peer, Phase, Request, Response
from eastwall.model.decision import ALLOWED, Decision, Deny, Strip, Verdict
from eastwall.model.endpoint import FieldProfile, KnownSchemas, Match, Schema
from eastwall.model.facts import Facts
from eastwall.model.snapshot import ServiceScope
from eastwall.policy import LimitTable, compile_plan, encode, evaluate
from eastwall.protocols.decode import decode_request, decode_response
from eastwall.protocols.limits import Limits

from .build import DETECTIONS, NOW, document, endpoint, policies, user

ORDERS = endpoint("POST", "/orders")
JSON = ("application/json",)
DECLARED = Schema(
    0,
    (
        FieldProfile("$", ("object",)),
        FieldProfile("sku", ("string",), required=True),
        FieldProfile("qty", ("integer",), required=False),
    ),
    media_types=JSON,
)
ANSWER = Schema(0, (FieldProfile("$", ("object",)), FieldProfile("id", ("integer",), required=True)), media_types=JSON)


def grown(samples: int) -> Schema:
    return Schema(
        samples,
        (FieldProfile("$", ("object",), seen=samples, of=samples), FieldProfile("note", ("string",), seen=samples, of=samples)),
        media_types=JSON,
    )


KNOWN = KnownSchemas(
    ORDERS.id, True, grown(500), ((201, grown(500)), (400, grown(3))), DECLARED, ((201, ANSWER), (4, DECLARED), (0, Schema()))
)


def sent(body: object, kind: str = "application/json", state: BodyState = BodyState.COMPLETE) -> Facts:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = Request("POST", "/orders", {"content-type": kind}, body=raw, body_state=state)
    call = Call("01HF0000000000000000000000", "orders", NOW, Peer("10.0.0.9"), asked)
    return Facts(call, Phase.REQUEST, decode_request(asked, Limits()), Match(ORDERS), user())


def answered(body: object, status: int = 201) -> Facts:
    asked = sent({"sku": "a"})
    prior = Decision(asked.call.id, Phase.REQUEST, asked.match, asked.identity, asked, (), ALLOWED)
    given = Response(status, {"content-type": "application/json"}, json.dumps(body).encode(), BodyState.COMPLETE)
    call = replace(asked.call, response=given, prior=prior)
    operation = decode_response(given, asked.call.request, Limits(), asked.operation)
    return Facts(call, Phase.RESPONSE, operation, Match(ORDERS), user())


def judge(
    facts: Facts, mode: Mode = Mode.ENFORCE, known: KnownSchemas | None = KNOWN, event: bool = False, **spec: Any
) -> Verdict:
    plan = compile_plan(
        encode(policies(document("SchemaPolicy", **spec))),
        services=[ServiceScope("orders", mode)],
        endpoints=(ORDERS,),
        detections=DETECTIONS,
        schemas=(known,) if known is not None else (),
    )
    return evaluate(plan, facts, (), (), LimitTable(), event=event)


BLOCK = {"types": "block", "unknown": "block", "missing": "block"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"sku": 1}, "`sku`: expected a string, got an integer"),
        ({"sku": "a", "role": "admin"}, "`role`: expected no such property, got one"),
        ({"qty": 1}, "`sku`: expected the property, got none"),
        ([1], "`$`: expected an object, got an array"),
        (b"{not json", "`$`: expected a JSON body, got text that is none"),
        (
            {"sku": 1, "a": 1, "b": 2, "c": 3},
            "`sku`: expected a string, got an integer; `a`: expected no such property, got one; `b`: expected no such property, got one; and 1 more",
        ),
    ],
)
def test_what_is_not_as_declared_is_refused_and_said(body: object, words: str) -> None:
    verdict = judge(sent(body), **BLOCK)
    assert verdict.action == "block"
    assert verdict.matches[0].reason == words
    assert verdict.effects == (Deny(400, "Bad request", f"The request is not as it should be: {words}.", "schema-violation"),)
    assert judge(sent(body), mode=Mode.MONITOR, **BLOCK).would == "block"
    assert judge(sent(body), mode=Mode.DISCOVER, **BLOCK) == ALLOWED
    report = judge(sent(body))
    assert (report.action, report.would, report.matches[0].action) == ("allow", "allow", "report")
    assert judge(sent(body), types="ignore", unknown="ignore", missing="ignore", maxDepth=9) == ALLOWED


def test_what_is_as_declared_passes_without_a_word() -> None:
    assert judge(sent({"sku": "a", "qty": 2}), **BLOCK) == ALLOWED
    assert judge(sent(b""), **BLOCK) == ALLOWED


def test_unknown_properties_are_stripped() -> None:
    verdict = judge(sent({"sku": "a", "role": "admin", "x": {"y": 1}}), unknown="strip")
    assert (verdict.action, verdict.effects) == ("redact", (Strip((("role",), ("x",))),))
    assert judge(sent({"role": "admin"}), unknown="strip", missing="block").action == "block"
    many = {"sku": "a"} | {f"k{i}": 1 for i in range(501)}
    assert judge(sent(many), unknown="strip").action == "block"


def test_which_schema_is_held_against_a_request() -> None:
    note, sku = {"note": "x"}, {"sku": "x"}
    assert judge(sent(sku), source="either", **BLOCK).action == judge(sent(note), source="learned", **BLOCK).action == "allow"
    assert judge(sent(note), source="either", **BLOCK).action == judge(sent(sku), source="learned", **BLOCK).action == "block"
    undeclared = replace(KNOWN, declared=None)
    assert judge(sent(sku), known=undeclared, source="either", **BLOCK).action == "block"
    verdict = judge(sent(sku), known=undeclared, source="declared", **BLOCK)
    assert (verdict.action, verdict.matches[0].action) == ("allow", "allow")
    assert verdict.matches[0].reason == "not held against a schema: no schema of this message is declared"


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (None, "nothing is known of the operation's messages"),
        (replace(KNOWN, declared=None, learned=False), "the operation is still being learned"),
        (replace(KNOWN, declared=None, request=grown(199)), "its schema is learned from 199 samples, 200 are needed"),
    ],
)
def test_nothing_is_guessed_while_learning(known: KnownSchemas | None, why: str) -> None:
    verdict = judge(sent({"anything": 1}), known=known, **BLOCK)
    assert verdict.action == verdict.would == "allow"
    assert [match.reason for match in verdict.matches] == [f"not held against a schema: {why}"]


def test_answers_are_held_against_the_schema_of_their_status() -> None:
    both = {"direction": "both", **BLOCK}
    assert judge(answered({"id": 1}), **both) == ALLOWED
    verdict = judge(answered({"id": "1"}), **both)
    assert verdict.effects == (Deny(403, "Response withheld", "The response is not as it should be.", "schema-violation"),)
    assert judge(answered({"sku": "a"}, 404), **both) == ALLOWED
    assert judge(answered({"id": 1}, 404), **both).action == "block"
    assert judge(answered({"id": 1, "hash": "x"}), direction="response", unknown="strip").effects == (Strip((("hash",),)),)
    assert judge(answered({"error": 1}, 500), **both).matches[0].action == "allow"
    assert judge(answered({"error": 1}, 400), source="learned", **both).action == "allow"
    assert judge(answered({"id": "1"}), direction="request", **BLOCK) == ALLOWED


def test_what_no_schema_can_be_held_against_is_said() -> None:
    for facts, why in (
        (sent({"a": 1}, state=BodyState.TRUNCATED), "not all of the body was read"),
        (sent(b"<a/>", "application/xml"), "the body is xml"),
    ):
        verdict = judge(facts, **BLOCK)
        assert [match.reason for match in verdict.matches] == [f"not held against a schema: {why}"]
    assert judge(sent({"a": 1}), event=True, **BLOCK).matches[0].reason.endswith("it is an event of a stream")


def test_forms_have_no_types() -> None:
    form = replace(KNOWN, declared=replace(DECLARED, media_types=("application/x-www-form-urlencoded",)))
    assert judge(sent(b"sku=a&qty=2", "application/x-www-form-urlencoded"), known=form, **BLOCK) == ALLOWED
    assert judge(sent(b"sku=a&role=x", "application/x-www-form-urlencoded"), known=form, **BLOCK).action == "block"
    assert judge(sent(b"sku=a", "application/x-www-form-urlencoded"), **BLOCK).action == "block", "only JSON is declared"


@pytest.mark.parametrize(
    ("bound", "body"),
    [
        ({"maxDepth": 2}, {"a": {"b": {}}}),
        ({"maxLength": 3}, {"a": "abcd"}),
        ({"maxItems": 2}, [1, 2, 3]),
        ({"maxProperties": 1}, {"a": 1, "b": 2}),
        ({"maxSize": "10B"}, {"a": "0123456789"}),
        ({"maxDepth": 60}, b'{"a":' * 100 + b"1" + b"}" * 100),
    ],
)
def test_bounds_need_no_schema(bound: dict[str, Any], body: object) -> None:
    ignore = {"types": "ignore", "unknown": "ignore", "missing": "ignore"}
    assert judge(sent(body), known=None, **bound, **ignore).action == "block"
    assert judge(sent(body), known=None, overLimit="report", **bound, **ignore).matches[0].action == "report"
    assert judge(sent({}), known=None, **bound, **ignore) == ALLOWED


QUERY = Schema(
    0,
    (
        FieldProfile("query.page", ("integer",), required=False),
        FieldProfile("query.q", ("string",), required=True),
        FieldProfile("query.ids", ("array",)),
        FieldProfile("query.ids[]", ("string",)),
        FieldProfile("query.filter", ("object",)),
        FieldProfile("query.deep", ("boolean",)),
    ),
)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?q=x&page=2&ids=1&ids=2&filter[a]=1&utm_source=x&deep=true", ""),
        ("?q=x&page=two", "`query.page`: expected an integer, got another text"),
        ("?q=x&deep=maybe", "`query.deep`: expected a boolean, got another text"),
        ("?q=x&debug=1", "`query.debug`: expected no such parameter, got one"),
        ("?page=1", "`query.q`: expected the parameter, got none"),
    ],
)
def test_parameters_are_held_against_the_schema_where_that_is_asked(query: str, words: str) -> None:
    ignore = {"types": "ignore", "unknown": "ignore", "missing": "ignore"}
    asked = Request("GET", f"/orders{query}", {})
    call = Call("01HF0000000000000000000000", "orders", NOW, Peer("10.0.0.9"), asked)
    facts = Facts(call, Phase.REQUEST, decode_request(asked, Limits()), Match(ORDERS), user())
    known = replace(KNOWN, declared_query=QUERY)
    verdict = judge(facts, known=known, parameters="block", **ignore)
    assert (verdict.action, [match.reason for match in verdict.matches]) == (("block", [words]) if words else ("allow", []))
    assert judge(facts, known=known, parameters="report", **ignore).action == "allow"
    assert judge(facts, known=known, maxDepth=9, **ignore) == ALLOWED
    learning = judge(facts, known=KNOWN, parameters="block", **ignore)
    assert [match.reason for match in learning.matches] == ["not held against a schema: its parameters are still being learned"]
    seen = tuple(replace(field, seen=500, of=500 if field.required else 1000) for field in QUERY.fields)
    grown_up = replace(KNOWN, query=Schema(1000, seen))
    assert judge(facts, known=grown_up, parameters="block", source="learned", **ignore).action == ("block" if words else "allow")


def test_scope_callers_and_conditions_hold() -> None:
    facts = sent({"role": 1})
    assert judge(facts, scope={"operations": ["POST /other"]}, **BLOCK) == ALLOWED
    assert judge(facts, scope={"identities": {"roles": ["x"]}}, **BLOCK) == ALLOWED
    assert judge(facts, when=["identity.sub == 'bob'"], **BLOCK) == ALLOWED
    assert judge(facts, when=["request.headers['x'] == '1'"], **BLOCK).effects[0].status == 503  # type: ignore[union-attr]


UNSEEN = Schema()
GRAPHQL = endpoint("POST", "/graphql")
ARGUMENTS = Schema(
    0,
    (
        FieldProfile("$", ("object",)),
        FieldProfile("query", ("string",)),
        FieldProfile("variables", ("null", "object")),
        FieldProfile("variables.first", ("integer", "null"), required=False),
        FieldProfile("variables.filter", ("null", "object"), required=False),
        FieldProfile("variables.filter.city", ("string",), required=True),
    ),
)
SEEN = Schema(
    500,
    tuple(
        FieldProfile(place, (kind,), seen=500, of=500)
        for place, kind in (("$", "object"), ("query", "string"), ("variables", "object"), ("variables.n", "integer"))
    ),
    media_types=JSON,
)


def asked_for(document_: str, **variables: object) -> Facts:
    raw = json.dumps({"query": document_, "variables": variables}).encode()
    asked = Request("POST", "/graphql", {"content-type": "application/json"}, body=raw, body_state=BodyState.COMPLETE)
    call = Call("01HF0000000000000000000000", "orders", NOW, Peer("10.0.0.9"), asked)
    operation = decode_request(asked, Limits())
    assert operation.protocol == "graphql"
    return Facts(call, Phase.REQUEST, operation, Match(GRAPHQL), user())


def of_graphql(facts: Facts, declared: Schema | None, learned: Schema = UNSEEN) -> Verdict:
    plan = compile_plan(
        encode(policies(document("SchemaPolicy", types="block", unknown="block", missing="block"))),
        services=[ServiceScope("orders", Mode.ENFORCE)],
        endpoints=(GRAPHQL,),
        detections=DETECTIONS,
        schemas=(KnownSchemas(GRAPHQL.id, learned.samples > 0, learned, declared=declared),),
    )
    return evaluate(plan, facts, (), (), LimitTable())


ORDERS_OF = "query ($first: Int, $filter: F, $other: JSON) { orders(first: $first, filter: $filter, after: $other) { id } }"


@pytest.mark.parametrize(
    ("text", "variables", "said"),
    [
        (ORDERS_OF, {"first": 5, "filter": {"city": "Rome"}, "other": [1]}, ""),
        (ORDERS_OF, {"first": None, "filter": {}, "else": 1}, ""),
        (ORDERS_OF, {"first": "5"}, "`variables.first`: expected an integer or null, got a string"),
        (ORDERS_OF, {"filter": {"city": 7}}, "`variables.filter.city`: expected a string, got an integer"),
        ("query ($first: ID) { orders(filter: {id: $first}) { id } }", {"first": "x"}, ""),
        ("query ($first: ID) { orders { items(first: $first) { id } } }", {"first": "x"}, ""),
    ],
)
def test_variables_of_graphql_are_held_against_the_arguments_that_take_them(
    text: str, variables: dict[str, object], said: str
) -> None:
    verdict = of_graphql(asked_for(text, **variables), ARGUMENTS)
    assert verdict.action == ("block" if said else "allow")
    assert not said or verdict.matches[0].reason == said


def test_variables_of_graphql_are_held_against_the_types_that_were_seen() -> None:
    text = "query ($n: JSON, $m: Int) { orders(first: $n, last: $m) { id } }"
    assert of_graphql(asked_for(text, n=5, m=1), None, SEEN).action == "allow"
    assert of_graphql(asked_for(text, m=1), None, SEEN).action == "allow", (
        "which variables there are is the document's author's choice"
    )
    verdict = of_graphql(asked_for(text, n={"$ne": 1}), None, SEEN)
    assert verdict.matches[0].reason == "`variables.n`: expected an integer, got an object"
