"""Whose the data is, by what messages say: learned from calls that went through `decide`, and told of a call that differs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.behaviours.driven import Engine

from eastwall.behaviours.ownership_claims import noting, reading
from eastwall.behaviours.ownership_claims.judging import Rule
from eastwall.behaviours.ownership_claims.known import LiveRule
from eastwall.behaviours.ownership_claims.model import Knowledge, Model
from eastwall.behaviours.ownership_claims.reading import (
    MAX_SEEN_PLACES,
    Comparison,
    OwnNames,
    alias_key,
    all_are,
    answer_values,
    request_values,
    text_of,
    texts_at,
)
from eastwall.behaviours.ownership_claims.standing import id_of, objects_on, told_owners
from eastwall.model.call import Mode
from eastwall.model.endpoint import Endpoint, Parameter
from eastwall.model.operation import Operation
from eastwall.model.record import CallRecord

ORDER = Endpoint("ep_order", "orders", "GET", "/orders/{order_id}", (Parameter("order_id", "integer"),), status="learned")
ORDERS = Endpoint("ep_orders", "orders", "GET", "/orders", status="learned")
OF_USER = Endpoint("ep_of", "orders", "GET", "/users/{user_id}/carts", (Parameter("user_id", "string"),), status="learned")
ME = Endpoint("ep_me", "orders", "GET", "/me", status="learned")
SHARE = Endpoint("ep_share", "orders", "POST", "/orders/{order_id}/share", (Parameter("order_id", "integer"),), status="learned")
ALL = (ORDER, ORDERS, OF_USER, ME, SHARE)
PEOPLE = [f"p{n}" for n in range(6)]


class Learned:
    """A monitoring engine and the model that folds what its watch notes."""

    def __init__(self) -> None:
        self.engine = Engine(mode=Mode.MONITOR, endpoints=ALL)
        self.model = Model()

    def ask(self, endpoint: Endpoint, path: str, answer: Any, user: str, roles: tuple[str, ...] = ()) -> None:
        told = self.engine.ask(endpoint.method, path, answer=answer, user=user, roles=roles)
        note = told.notes.get("ownership_claims")
        cls = "+".join(("user", *roles))
        record = CallRecord(1, "x", 1.0, "orders", endpoint.method, path, "", 200, 0, 0, 0, "", actor=told.actor, actor_class=cls)
        self.model.fold(record, endpoint.id, note, clean=True)

    def known(self) -> Knowledge:
        found = self.model.publish(ALL)
        assert isinstance(found, Knowledge)
        return found


def _owner(user: str, numbers: bool) -> Any:
    return 4_700 + int(user[1:]) if numbers else user


def _taught(*, numbers: bool, staff: bool = True) -> Learned:
    learned = Learned()
    for turn in range(8):
        for at, user in enumerate(PEOPLE):
            order = {"id": 100 * at + turn, "user_id": _owner(user, numbers), "currency_id": 7}
            learned.ask(ORDERS, "/orders", {"items": [order], "total": 1}, user)
            learned.ask(ORDER, f"/orders/{order['id']}", order, user)
            learned.ask(OF_USER, f"/users/{user}/carts", {"lines": []}, user)
            learned.ask(ME, "/me", {"id": 4_700 + at, "name": f"Name {user}"}, user)
    for turn in range(6 if staff else 0):
        for at, user in enumerate(PEOPLE):
            for clerk in ("clerk1", "clerk2"):
                order = {"id": 100 * at + turn, "user_id": _owner(user, numbers), "currency_id": 7}
                learned.ask(ORDER, f"/orders/{order['id']}", order, clerk, ("support",))
    return learned


@pytest.fixture(scope="module")
def claims() -> Knowledge:
    return _taught(numbers=False).known()


@pytest.fixture(scope="module")
def numbers() -> Knowledge:
    return _taught(numbers=True).known()


def _engine(known: Knowledge) -> Engine:
    return Engine(endpoints=ALL, ownership_claims=known)


def test_what_equals_a_claim_is_learned(claims: Knowledge) -> None:
    rules = {(rule.endpoint, rule.place): rule for rule in claims.rules}
    rule = rules["ep_order", "=body.user_id"]
    assert (rule.claim, rule.equal, rule.of, rule.classes) == ("sub", 48, 48, ("user",))
    assert rules["ep_of", "?path.user_id"].claim == "sub"
    assert not any(rule.place.endswith("currency_id") for rule in claims.rules)


def test_another_owner_in_the_answer(claims: Knowledge) -> None:
    finding = _engine(claims).ask("GET", "/orders/1043", answer={"id": 1043, "user_id": "p1"}, user="p0").of("owner-mismatch")
    assert finding is not None
    assert finding.where == "body.user_id"
    assert (finding.phase, finding.severity, finding.confidence) == ("response", "high", "medium")
    assert finding.message == (
        "user:p0 was to be given order 1043; in 48 of 48 earlier calls `body.user_id` equalled the caller's `sub`; here it is p1"
    )


def test_another_in_the_path_is_refused_before_the_service_is_asked(claims: Knowledge) -> None:
    told = _engine(claims).ask("GET", "/users/p1/carts", answer={"lines": []}, user="p0")
    assert told.blocked
    assert [finding.where for finding in told.findings if finding.id == "owner-mismatch"] == ["path.user_id"]


def test_one_s_own_and_staff_pass(claims: Knowledge) -> None:
    engine = _engine(claims)
    for user, roles in (("p0", ()), ("clerk1", ("support",)), ("chief", ("admin",))):
        told = engine.ask("GET", "/orders/5", answer={"id": 5, "user_id": "p0"}, user=user, roles=roles)
        assert told.of("owner-mismatch") is None
    assert engine.ask("GET", "/orders/5", answer={"id": 5, "user_id": "p0"}).of("owner-mismatch") is None


@pytest.mark.parametrize(("user", "confidence"), [("p0", "medium"), ("new", "low")])
def test_of_few_callers_those_are_judged_who_were_seen_to_keep_to_their_own(
    claims: Knowledge, user: str, confidence: str
) -> None:
    """Six people kept to their own: that a seventh assists one of them, nobody knows."""
    told = _engine(claims).ask("GET", "/users/p1/carts", answer={"lines": []}, user=user)
    finding = told.of("owner-mismatch")
    assert finding is not None
    assert (finding.confidence, told.blocked) == (confidence, confidence == "medium")


@pytest.mark.parametrize(("people", "each", "few"), [(15, 6, True), (16, 2, True), (16, 6, False)])
def test_of_a_crowd_who_all_keep_to_their_own_everybody_is_judged(
    people: int, each: int, few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noting, "TAUGHT", 1_000)
    learned = Learned()
    for at in range(people):
        for _ in range(each if at else 5):
            learned.ask(OF_USER, f"/users/q{at}/carts", {"lines": []}, f"q{at}")
    rule = next(rule for rule in learned.known().rules if rule.endpoint == "ep_of")
    assert (rule.few, len(rule.keepers)) == (few, 0 if not few else people if each > 4 else 1)
    newcomer = _engine(learned.known()).ask("GET", "/users/q1/carts", answer={"lines": []}, user="new")
    assert newcomer.blocked is not few


@pytest.mark.parametrize(("people", "strays", "few"), [(23, 1, True), (24, 1, False), (30, 2, True)])
def test_exceptions_are_weighed_against_the_crowd(people: int, strays: int, few: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One assistant among thousands does not open everybody's data to whoever signs up next."""
    monkeypatch.setattr(noting, "TAUGHT", 1_000)
    learned = Learned()
    for at in range(people):
        for _ in range(5):
            learned.ask(OF_USER, f"/users/q{at}/carts", {"lines": []}, f"q{at}")
    for at in range(strays):
        for other in range(5):
            learned.ask(OF_USER, f"/users/q{other}/carts", {"lines": []}, f"assistant{at}")
    rule = next(rule for rule in learned.known().rules if rule.endpoint == "ep_of")
    assert (rule.few, len(rule.exceptions)) == (few, strays)


def test_foreign_items_of_a_list_are_named(claims: Knowledge) -> None:
    rows = [{"id": n, "user_id": "p0" if n % 2 else "p1"} for n in range(1, 6)]
    finding = _engine(claims).ask("GET", "/orders", answer={"items": rows}, user="p0").of("owner-mismatch")
    assert finding is not None
    assert "2 of 5 items that are others', the first order 2;" in finding.message


def test_one_other_s_objects_that_a_plain_list_shows_are_told_and_left(claims: Knowledge) -> None:
    """Whom the service shows one other's objects unasked is that one's assistant. Not who says whose list it wants, nor where many are laid open."""
    mine, boss, third = ({"id": at, "user_id": user} for at, user in enumerate(("p0", "p1", "p2"), 1))
    for path, rows, confidence in (
        ("/orders", [mine, boss], "low"),
        ("/orders?page=2", [boss], "low"),
        ("/orders", [mine, boss, third], "medium"),
        ("/orders?owner=p1", [boss], "medium"),
    ):
        found = _engine(claims).ask("GET", path, answer={"items": rows}, user="p0").of("owner-mismatch")
        assert (path, len(rows), found.confidence) == (path, len(rows), confidence)


def test_an_id_that_no_token_tells(numbers: Knowledge) -> None:
    rules = {(rule.endpoint, rule.place): rule for rule in numbers.rules}
    assert rules["ep_order", "=body.user_id"].claim == "alias"
    engine = _engine(numbers)
    assert engine.ask("GET", "/orders/9", answer={"id": 9, "user_id": 4_700}, user="p0").of("owner-mismatch") is None
    assert engine.ask("GET", "/orders/9", answer={"id": 9, "user_id": 4_701}, user="p0").of("owner-mismatch") is not None


def test_a_newcomer_s_id_is_learned_from_what_nobody_asked_for(numbers: Knowledge) -> None:
    engine = _engine(numbers)
    other = {"id": 9, "user_id": 4_999}
    assert engine.ask("GET", "/orders/9", answer=other, user="new").of("owner-mismatch") is None  # nobody knows whose it is
    engine.ask("GET", "/orders", answer={"items": [{"id": 70, "user_id": 4_800}]}, user="new")
    assert engine.ask("GET", "/orders/70", answer={"id": 70, "user_id": 4_800}, user="new").of("owner-mismatch") is None
    assert engine.ask("GET", "/orders/9", answer=other, user="new").of("owner-mismatch") is not None


def test_of_callers_who_are_not_judged_yet_every_call_is_learned_from(claims: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one call in ten is noted, who is new would have to make fifty."""
    monkeypatch.setattr(noting, "TAUGHT", 0)
    engine = _engine(claims)
    noted = [
        [
            "ownership_claims" in engine.ask("GET", f"/users/{user}/carts", answer={"lines": []}, user=user).notes
            for user in ("p0", "new")
        ]
        for _ in range(20)
    ]
    assert [sum(each) for each in zip(*noted, strict=True)] == [4, 20]


def test_items_of_a_tool_s_list_are_of_its_kind() -> None:
    """So that an order which was shared is known as such in the list, too."""
    tool = Endpoint("ep_tool", "orders", "POST", "/mcp", operation="tools/call list_orders", protocol="mcp", status="learned")
    place = "=body.result.structuredContent.items[].user_id"
    rule = LiveRule(Rule("ep_tool", place, "sub", "user", 50, 50, True, ("user",)), tool)
    assert rule.kinds[-1] == "order"


def test_who_is_shown_another_s_list_first_does_not_take_that_one_s_id(numbers: Knowledge) -> None:
    """An assistant whose own list is empty, before it is known whose the id is."""
    engine = _engine(replace(numbers, aliases=()))
    engine.ask("GET", "/orders", answer={"items": [{"id": 70, "user_id": 4_700}]}, user="assistant")
    engine.snapshot = _engine(numbers).snapshot
    assert engine.ask("GET", "/orders", answer={"items": [{"id": 70, "user_id": 4_700}]}, user="p0").of("owner-mismatch") is None
    assert engine.ask("GET", "/orders/71", answer={"id": 71, "user_id": 4_700}, user="p0").of("owner-mismatch") is None
    assert engine.ask("GET", "/orders/72", answer={"id": 72, "user_id": 4_701}, user="p0").of("owner-mismatch") is not None


def test_what_was_shared_is_told_with_low_confidence(claims: Knowledge) -> None:
    engine = _engine(claims)
    order = {"id": 70, "user_id": "p0"}
    engine.ask("GET", "/me", answer={"id": 4_701, "name": "Name p1"}, user="p1")
    engine.ask("GET", "/orders", answer={"items": [order]}, user="p0")
    engine.ask("POST", "/orders/70/share", {"with": "name P1"}, answer=order, user="p0")
    finding = engine.ask("GET", "/orders/70", answer=order, user="p1").of("owner-mismatch")
    assert finding is not None
    assert finding.confidence == "low"
    stranger = engine.ask("GET", "/orders/70", answer=order, user="p2").of("object-not-granted")
    assert stranger is not None
    assert stranger.confidence == "medium"


def test_nobody_shares_what_is_not_the_sharer_s(claims: Knowledge) -> None:
    engine = _engine(claims)
    order = {"id": 70, "user_id": "p0"}
    engine.ask("GET", "/me", answer={"id": 4_702, "name": "Name p2"}, user="p2")
    engine.ask("GET", "/orders", answer={"items": [order]}, user="p0")
    engine.ask("POST", "/orders/70/share", {"with": "name p2"}, answer={}, user="p1")
    finding = engine.ask("GET", "/orders/70", answer=order, user="p2").of("object-not-granted")
    assert finding is not None
    assert finding.confidence == "medium"


def test_one_value_for_all_says_nothing() -> None:
    learned = Learned()
    for turn in range(20):
        for user in PEOPLE:
            learned.ask(ORDERS, "/orders", {"items": [{"id": turn, "owner_id": "shop"}]}, user)
    assert learned.model.publish(ALL) is None


def test_one_actor_is_too_few() -> None:
    learned = Learned()
    for turn in range(60):
        learned.ask(ORDERS, "/orders", {"items": [{"id": turn, "owner_id": "p0"}]}, "p0")
    assert learned.model.publish(ALL) is None


@pytest.mark.parametrize("note", [None, 1, "x", [], [1, 2, 3, 4, 5], [1, 2, ["a"], [["=x"]], []], [1, 0, ["a"] * 99, [], []]])
def test_notes_that_are_none(note: Any) -> None:
    model = Model()
    model.fold(CallRecord(1, "x", 1.0, "s", "GET", "/", "", 200, 0, 0, 0, "", actor="user:a"), "ep", note, clean=True)
    assert model.dump() == [[], []]


values = st.none() | st.booleans() | st.integers(-2, 30) | st.sampled_from(["alice", "ALICE", "İ", "bob", "7", "", "x" * 129])
keys = st.sampled_from(["user_id", "id", "owner", "customer", "note", "kind", "k" * 70])
bodies = st.recursive(values, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5), max_leaves=25)


@settings(max_examples=300, deadline=None)
@given(bodies, bodies, st.lists(st.tuples(keys, st.sampled_from(["alice", "9", "Bob"])), max_size=3), st.sets(keys, max_size=2))
def test_what_is_compared_at_once_is_what_all_values_say(asked: Any, answered: Any, named: Any, seen: set[str]) -> None:
    """`Comparison` passes over what counts for nothing without making it; the slow twin reads every value."""
    own = OwnNames({"a": "alice", "b": "7", "c": "7", "d": text_of("İ")})
    masks = own.masks
    request = Operation("rest", "POST", ("orders",), "/orders", body=asked, query=tuple(named))
    answer = Operation("rest", "POST", ("orders",), "/orders", body=answered)
    headers = {"x-user-id": "7", "x-owner": "carol", "accept": "alice"}
    known = {f"=body.{name}" for name in seen}
    compared = Comparison(own, set(known))
    compared.request(request, (("user_id", "7"),), headers)
    compared.answer(answer)
    expected: dict[str, list[Any]] = {}
    for place, space, text in request_values(request, (("user_id", "7"),), headers) + answer_values(answer):
        mask = masks.get(text, 0)
        if mask and len(known) < MAX_SEEN_PLACES:
            known.add(place)
        if mask or space or place in known:
            row = expected.setdefault(place, [place, space, mask, text])
            row[2], row[3] = row[2] & mask, text if row[3] == text else ""
    key = bytes(32)
    assert compared.rows(key) == [
        [place, space, mask, alias_key(key, space, text) if text else 0]
        for place, space, mask, text in list(expected.values())[:40]
    ]


PLACES = (
    "=body.user_id",
    "=body.items[].user_id",
    "=body.items[].owner.id",
    "=body.owner.id",
    "=body.items[].rows[].note",
    "=body[].owner.id",
)
small = st.recursive(values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(["items", "rows", "owner", "id", "user_id", "note"]), inner, max_size=5), max_leaves=25)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(small, st.sampled_from(PLACES), st.sampled_from(["bob", "ALICE", 7, 1]))
def test_places_are_read_at_once_as_step_by_step(body: Any, place: str, value: str | int) -> None:
    """`told_owners` and `all_are` agree with their slow twins, `at` and `objects_on`."""
    rule = LiveRule(Rule("ep_orders", place, "sub", "user", 9, 9, high=True), ORDERS)
    told = [
        (kind, id_, text)
        for text, path in reading.at(body, rule.steps, 50)
        for kind, node in objects_on(body, path, rule)[:1]
        if (id_ := id_of(node))
    ]
    assert list(told_owners(body, rule, 50)) == told
    if rule.listed and all_are(value, body, rule.outside, rule.inside):
        assert texts_at(body, rule.steps, 50) <= {text_of(value)}


def test_what_enough_was_noted_of_engines_are_told() -> None:
    """An engine that starts notes one call in ten of what the learner has enough of, and each of what it has not."""
    learned = Learned()
    for turn in range(8):
        for user in PEOPLE:
            learned.ask(OF_USER, f"/users/{user}/carts", {"lines": []}, user)
        learned.ask(ORDER, f"/orders/{turn}", {"id": turn, "user_id": "p0"}, "p0")
    known = learned.known()
    assert known.taught == (("ep_of", ("user",)),)
    engine = _engine(replace(known, rules=tuple(replace(rule, few=False) for rule in known.rules)))
    noted = ["ownership_claims" in engine.ask("GET", "/users/p1/carts", answer={"lines": []}, user="p1").notes for _ in range(20)]
    assert sum(noted) == 2
    noted = [
        "ownership_claims" in engine.ask("GET", f"/orders/{n}", answer={"id": n, "user_id": "p1"}, user="p1").notes
        for n in range(9)
    ]
    assert all(noted)
