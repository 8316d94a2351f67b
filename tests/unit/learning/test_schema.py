"""Schemas and distinct counts from samples."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.learning.shop_traffic import message

from eastwall.behaviours.sketch import SIZE, Distinct, hash64
from eastwall.discovery.shapes import shape
from eastwall.learning.places import MAX_WORDS
from eastwall.learning.schema import MAX_FORMS, MAX_PLACES, SchemaState
from eastwall.model.endpoint import FieldProfile, Schema
from eastwall.model.facts import Field


def schema(*bodies: Any) -> Schema:
    state = SchemaState()
    for body in bodies:
        state.fold(shape(message("GET", "/x", body)), 1.0)
    return state.schema()


def learned(*bodies: Any) -> dict[str, FieldProfile]:
    return {field.place: field for field in schema(*bodies).fields}


def required(field: FieldProfile) -> bool:
    return field.seen == field.of


def test_required_is_relative_to_the_parent() -> None:
    found = learned({"a": 1, "o": {"x": 1}}, {"a": 2}, {"a": 3, "o": {"x": 2, "y": 3}}, {"a": 1, "o": None})
    assert required(found["a"])
    assert (found["o"].seen, found["o"].of, found["o"].kinds) == (3, 4, ("null", "object"))
    assert (found["o.x"].seen, found["o.x"].of) == (2, 2)
    assert (found["o.y"].seen, found["o.y"].of) == (1, 2)


def test_a_field_that_some_items_lack_is_optional() -> None:
    found = learned([{"id": 1, "name": "a"}, {"id": 2}], [{"id": 3, "name": "b"}], [])
    assert required(found["[].id"])
    assert not required(found["[].name"])


def test_formats_bounds_and_unions() -> None:
    found = learned(
        {"d": "2026-01-01", "n": 3, "u": "x"}, {"d": "2026-12-31", "n": 7.5, "u": 4}, {"d": "2026-02-01", "n": -1, "u": None}
    )
    assert found["d"].format == "date"
    assert (found["n"].minimum, found["n"].maximum, found["n"].kinds) == (-1.0, 7.5, ("integer", "number"))
    assert found["u"].kinds == ("integer", "null", "string")
    assert learned({"d": "2026-01-01"}, {"d": "soon"})["d"].format == ""
    assert learned({"l": [3, 9, 5]})["l[]"].maximum == 9.0


def test_lengths() -> None:
    found = learned({"t": "abc", "l": [1, 2]}, {"t": "abcdefg", "l": []}, {"t": "ab", "l": [1] * 9})
    assert (found["t"].min_length, found["t"].max_length) == (2, 7)
    assert (found["l"].min_length, found["l"].max_length) == (0, 9)
    items = learned({"names": ["a", "abcdef", "abc"]})["names[]"]
    assert (items.min_length, items.max_length) == (1, 6)


def test_enumerations_are_published_when_nothing_new_comes() -> None:
    states = ["PENDING", "PAID", "credit_card"]
    bodies: list[Any] = [{"status": states[n % 3], "tags": ["new", "sale"][: n % 3]} for n in range(60)]
    found = learned(*bodies)
    assert found["status"].enum == ("PAID", "PENDING", "credit_card")
    assert found["tags[]"].enum == ("new", "sale")
    assert learned(*bodies[:10])["status"].enum == ()  # few samples
    assert learned(*bodies, *({"status": f"S{n}"} for n in range(9)))["status"].enum == ()  # new ones keep coming
    assert learned(*bodies, {"status": "waiting for the bank to answer"})["status"].enum == ()  # not a word
    assert learned(*bodies, {"status": None})["status"].kinds == ("null", "string")


def test_words_of_persons_secrets_and_ids_are_never_kept() -> None:
    names = (
        "first_name",
        "userName",
        "password",
        "apiKey",
        "customer",
        "order_id",
        "gender",
        "city",
        "comment",
        "couponCode",
        "name",
    )
    body = dict.fromkeys(names, "alice") | {"state": "alice"}
    fields = {field.place: field for field in shape(message("GET", "/x", body))}
    assert {place for place, field in fields.items() if field.text} == {"state"}
    state = SchemaState()
    state.fold(fields.values(), 1.0)
    assert state.places["state"].words == {"alice": 1}
    assert "alice" not in json.dumps([place.dump() for name, place in state.places.items() if name != "state"])


def test_too_many_words_are_forgotten_for_good() -> None:
    state = SchemaState()
    for n in range(MAX_WORDS + 1):
        state.fold([Field("a", "string", "", "", 3, None, f"w{chr(97 + n % 26)}{chr(97 + n // 26)}")], 1.0)
    assert state.places["a"].words is None
    for _ in range(500):
        state.fold([Field("a", "string", "", "", 2, None, "aa")], 1.0)
    assert {field.place: field.enum for field in state.schema().fields} == {"a": ()}


FIRST = [
    "anna",
    "ben",
    "carla",
    "david",
    "elena",
    "frank",
    "grace",
    "hugo",
    "iris",
    "jack",
    "karin",
    "liam",
    "maria",
    "noah",
    "olga",
]


def test_maps_with_words_as_keys_are_maps() -> None:
    rng = random.Random(1)
    users = [first + last for first in FIRST for last in ("", "_k", "_m", "sson")]
    prices = dict.fromkeys(("USD", "EUR", "GBP", "CHF", "JPY", "CNY", "SEK", "NOK"), 1.5)
    bodies = [
        {
            "scores": dict.fromkeys(rng.sample(users, 2), n),
            "accounts": {user: {"balance": 1.5, "open": True} for user in rng.sample(users, 3)},
            "prices": {code: prices[code] for code in rng.sample(sorted(prices), 2)},
            "labels": dict.fromkeys(rng.sample(["en", "de", "fr", "pt-BR", "zh-CN", "it", "sv", "da"], 2), "text " * 3),
            "shop": {"name": "a b", "city": "c d", "phone": "1 2", "mail": "x y", "site": "s t", "note": "n m"},
        }
        for n in range(120)
    ]
    found = learned(*bodies)
    assert {place for place in found if place.partition(".")[0] not in ("shop", "$")} == {
        "scores", "scores.{}", "accounts", "accounts.{}", "accounts.{}.balance", "accounts.{}.open", "prices", "prices.{}", "labels",
        "labels.{}",
    }  # fmt: skip
    assert required(found["accounts.{}.balance"])
    assert found["prices.{}"].kinds == ("number",)
    assert {place for place in found if place.startswith("shop.")} == {"shop." + name for name in bodies[0]["shop"]}


def test_another_key_of_a_map_is_no_change() -> None:
    state = SchemaState()
    for n in range(200):
        key = FIRST[n % 15] + "_" + chr(97 + n % 26) + chr(97 + n // 26)
        state.fold(shape(message("GET", "/x", {"page": 1, "users": {key: {"a": 1, "b": True}}})), float(n))
    assert state.changed < 10
    state.fold(shape(message("GET", "/x", {"page": 1, "users": {}, "news": 1})), 500.0)
    assert state.changed == 500.0


def test_records_with_optional_properties_are_no_maps() -> None:
    rng = random.Random(2)
    names = [f"{a}_{b}" for a in ("billing", "shipping", "contact", "invoice", "tax") for b in ("street", "zip", "note", "state")]
    presence = {name: rng.betavariate(0.5, 0.6) for name in names}
    found = learned(*({"o": {name: "x y" for name in names if rng.random() < presence[name]}} for _ in range(200)))
    assert not [place for place in found if "{}" in place]


def test_properties_keep_their_names_beside_a_map() -> None:
    rng = random.Random(3)
    users = [first + last for first in FIRST for last in ("", "_k", "_m", "sson", "x", "yy", "zz")]
    found = learned(*({"total": 3, **dict.fromkeys(rng.sample(users, 2), n)} for n in range(150)))
    assert set(found) == {"$", "total", "{}"}


def test_a_great_map_does_not_displace_what_is_real() -> None:
    state = SchemaState()
    for n in range(400):
        entries = {
            f"{FIRST[n % 15]}_{chr(97 + n % 26)}{chr(97 + m % 26)}{chr(97 + n // 26)}": {"a": 1, "b": "x y", "c": None}
            for m in range(9)
        }
        state.fold(shape(message("GET", "/x", {"users": entries, "page": 1})), 1.0)
    places = {field.place for field in state.schema().fields}
    assert places == {"$", "page", "users", "users.{}", "users.{}.a", "users.{}.b", "users.{}.c"}
    again = SchemaState.load(json.loads(json.dumps(state.dump())))
    again.fold(shape(message("GET", "/x", {"users": {"newcomer": {"a": 1, "b": "x y", "c": None}}, "page": 1})), 2.0)
    assert {field.place for field in again.schema().fields} == places


def payment(n: int) -> dict[str, Any]:
    if n % 2:
        return {"type": "card", "amount": n, "number": "x y z", "cvc": "a b"}
    return {"type": "iban", "amount": n, "account": "x y z"} | ({"bic": "b c"} if n % 4 else {})


def test_forms_told_by_a_word() -> None:
    one = schema(*(payment(n) for n in range(60)))
    many = schema(*([payment(n), payment(n + 1), payment(n + 2)] for n in range(60)))
    for found, place in ((one, "$"), (many, "[]")):
        card, iban = found.variants
        assert (card.place, card.property, card.value, iban.value) == (place, "type", "card", "iban")
        assert dict(card.fields) == dict.fromkeys(("amount", "cvc", "number", "type"), card.samples)
        assert dict(iban.fields)["bic"] < iban.samples == dict(iban.fields)["account"]
    same = schema(*({"type": ["a", "b"][n % 2], "x": 1} for n in range(60)))
    assert same.variants == ()  # the forms do not differ
    assert schema(*(payment(n) for n in range(6))).variants == ()  # few samples
    free = [{"type": f"t{chr(97 + n % 26)}", "x": 1} | ({"y": 1} if n % 2 else {"z": 1}) for n in range(300)]
    assert schema(*free).variants == ()
    assert MAX_FORMS < 26


def test_what_is_text_by_itself_is_typed_by_its_form() -> None:
    calls = [
        (("page", str(n)), ("price", f"{n}.5"), ("all", "true"), ("q", "7" if n else "x"), ("zip", f"0{n}"), ("tag", "a"))
        for n in range(9)
    ]
    state = SchemaState()
    for query in calls:
        state.fold(shape(message("GET", "/x", None, query), ()), 1.0)
    state.fold(shape(message("GET", "/x", None, (("tag", "a"), ("tag", "b"), ("price", "3"))), ()), 1.0)
    found = {field.place: field for field in state.schema().fields}
    assert {place: field.kinds for place, field in found.items()} == {
        "query.all": ("boolean",), "query.page": ("integer",), "query.price": ("number",), "query.q": ("string",),
        "query.zip": ("string",), "query.tag": ("array",), "query.tag[]": ("string",),
    }  # fmt: skip
    assert (found["query.page"].minimum, found["query.page"].maximum, found["query.page"].format) == (0.0, 8.0, "")


WORD = st.sampled_from(["", "x", "card", "cash", "2026-01-01", "QUJDREVGR0hJSktMTU5PUA==", "two words", "P1D"])
KEY = st.sampled_from(["a", "b", "type", "kind", "state", "first_name", "17", "a.b", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(st.tuples(JSON, st.integers(0, 2)), max_size=14), st.permutations([0, 1, 2]))
@settings(max_examples=120, deadline=None)
def test_merging_is_folding(samples: list[tuple[Any, int]], order: list[int]) -> None:
    whole, parts = SchemaState(), [SchemaState() for _ in range(3)]
    for at, (body, shard) in enumerate(samples):
        fields = shape(message("GET", "/x", body, (("q", str(at)), ("type", "card"))))
        whole.fold(fields, float(at))
        parts[shard].fold(fields, float(at))
    merged = SchemaState.load(json.loads(json.dumps(parts[order[0]].dump())))
    merged.merge(parts[order[1]])
    merged.merge(parts[order[2]])
    assert merged.schema() == whole.schema()
    assert merged.changed == whole.changed
    assert merged.flows() == whole.flows()
    assert {name: place.words for name, place in merged.places.items()} == {
        name: place.words for name, place in whole.places.items()
    }
    assert merged.forms == whole.forms


@given(st.lists(st.lists(st.sampled_from(FIRST), max_size=3, unique=True), min_size=12, max_size=60), st.integers(2, 8))
@settings(max_examples=25, deadline=None)
def test_maps_merged_from_shards_are_those_of_one_stream(samples: list[list[str]], shards: int) -> None:
    whole, parts = SchemaState(), [SchemaState() for _ in range(shards)]
    for at, keys in enumerate(samples):
        fields = shape(message("GET", "/x", {key: {"n": 1, "m": True} for key in keys}))
        whole.fold(fields, float(at))
        parts[at % shards].fold(fields, float(at))
    merged = SchemaState()
    for part in reversed(parts):
        merged.merge(part)
    assert merged.schema() == whole.schema()


def test_state_from_before_there_were_words_is_read() -> None:
    old = [2, {"a": [2, 0, {"string": 2}, {"": 2}, {}, None, None, 5, 1.0]}]
    (field,) = SchemaState.load(old).schema().fields
    assert (field.place, field.kinds, field.seen, field.max_length, field.enum) == ("a", ("string",), 2, 5, ())


def test_junk_does_not_displace_what_is_real() -> None:
    state = SchemaState()
    for n in range(40):
        state.fold([Field("$", "object"), Field("real", "string")], 1.0)
        state.fold([Field(f"junk{n}.{m}", "string") for m in range(200)], 1.0)
    assert len(state.places) <= MAX_PLACES
    assert {field.place: field.seen for field in state.schema().fields}["real"] == 40


def test_distinct_counts_are_exact_while_small_and_near_after() -> None:
    small, large = Distinct(), Distinct()
    for n in range(SIZE - 1):
        small.add(hash64(f"a{n}"))
        small.add(hash64(f"a{n}"))
    assert small.count() == SIZE - 1
    for n in range(20_000):
        large.add(hash64(f"b{n}"))
    assert 16_000 < large.count() < 24_000
    halves = [Distinct(), Distinct()]
    for n in range(20_000):
        halves[n % 2].add(hash64(f"b{n}"))
    halves[0].merge(halves[1])
    assert halves[0].hashes == large.hashes
    assert Distinct(set(large.hashes)).count() == large.count()
