"""Live state: every table bounded, the oldest goes first, and a blocked attacker locks nobody out."""

from __future__ import annotations

from tests.unit.decision.world import DECLARED, PROFILE

from eastwall.decision.compile import MIN_CLASS_CALLS, Profile
from eastwall.decision.state import LOGIN_WINDOW, MAX_ATTEMPTS, MAX_OWNERS, GrantTable, LiveState, LoginTable
from eastwall.model.endpoint import FieldProfile, Schema


def test_grants_are_bounded_and_the_oldest_goes_first() -> None:
    table = GrantTable(limit=3)
    for key in range(5):
        table.grant(key, "user:a")
    assert len(table) == 3
    assert [table.owners(key) for key in range(5)] == [(), (), ("user:a",), ("user:a",), ("user:a",)]


def test_an_object_has_each_owner_once_and_at_most_eight() -> None:
    table = GrantTable()
    for actor in "abacdefgh":
        table.grant(1, actor)
    assert table.owners(1) == tuple("abcdefgh")
    assert len(table.owners(1)) == MAX_OWNERS
    assert not table.crowded(1)
    for actor in "aij":
        table.grant(1, actor)
    assert table.owners(1) == tuple("abcdefgh")
    assert table.crowded(1)
    assert not table.knows("i")


def test_who_sees_everybody_s_makes_room_for_owners() -> None:
    table = GrantTable()
    for actor in "abcdefgh":
        table.grant(1, actor)
    table.staff("c")
    table.staff("a")
    for actor in "ij":
        table.grant(1, actor)
    assert table.owners(1) == tuple("abdefghi"), "the first, who is charged for the object, stays"
    assert table.crowded(1)
    assert not table.knows("c")


def test_failures_count_by_source_and_by_account_within_the_window() -> None:
    table = LoginTable()
    for number in range(6):
        table.record("login", "10.0.0.1", number % 3, 100.0 + number, failed=True, blocked=False)
    table.record("login", "10.0.0.2", 0, 106.0, failed=False, blocked=False)
    window = table.window("login", "10.0.0.1", 0, 107.0)
    assert (window.source_failures, window.source_accounts) == (6, 3)
    assert (window.account_failures, window.account_sources) == (2, 1)
    assert window.failure_share == 6 / 7
    later = table.window("login", "10.0.0.1", 0, 106.0 + LOGIN_WINDOW + 1)
    assert (later.source_failures, later.account_failures, later.failure_share) == (0, 0, 0.0)
    at_the_edge = LoginTable()
    at_the_edge.record("login", "s", 1, 100.0, failed=True, blocked=False)
    assert at_the_edge.window("login", "s", 1, 100.0 + LOGIN_WINDOW).source_failures == 1


def test_a_blocked_attempt_counts_against_its_source_and_never_against_the_account() -> None:
    table = LoginTable()
    for number in range(100):
        table.record("login", "10.6.6.6", 42, 100.0 + number, failed=True, blocked=True)
    assert table.window("login", "10.6.6.6", 1, 200.0).source_failures == 100
    victim = table.window("login", "10.0.0.1", 42, 200.0)
    assert (victim.account_failures, victim.account_sources, victim.source_failures) == (0, 0, 0)


def test_sign_in_tables_are_bounded() -> None:
    table = LoginTable(limit=10)
    for number in range(1_000):
        table.record("login", f"10.0.0.{number}", number, 100.0, failed=True, blocked=False)
    assert len(table) == 21, "sources, accounts, and the one endpoint"
    for _ in range(MAX_ATTEMPTS * 2):
        table.record("login", "one", 5, 100.0, failed=True, blocked=False)
    assert table.window("login", "one", 5, 100.0).source_failures == MAX_ATTEMPTS


def test_one_call_in_so_many_is_sampled() -> None:
    state = LiveState()
    key = bytes(32)
    assert [state.sampled("a", 1, key) for _ in range(3)] == [True, True, True]
    drawn = [state.sampled("a", 4, key) for _ in range(400)]
    assert all(sum(drawn[at : at + 4]) == 1 for at in range(0, 400, 4)), "one of each four"
    places = [drawn[at : at + 4].index(True) for at in range(0, 400, 4)]
    assert all(places.count(place) >= 10 for place in range(4)), "at any place of them"
    again = LiveState()
    assert [again.sampled("a", 4, key) for _ in range(400)] == drawn, "the same by the same key"
    assert [LiveState().sampled("a", 4, key) for _ in range(3)] == [drawn[0]] * 3
    assert [again.sampled("b", 4, b"other") for _ in range(400)] != drawn
    assert sum(state.sampled("a", every, key) for every in (8, 32) for _ in range(3_200)) in range(495, 505)
    assert set(state.sizes()) >= {"objects", "logins", "limits", "echoes", "steps"}, "and those of the models of behaviour"


def test_made_up_sign_in_paths_fill_no_table() -> None:
    state = LiveState()
    for number in range(5_000):
        state.logins.record(f"/login-{number}", "10.0.0.1", 1, 100.0, failed=True, blocked=False)
    assert len(state.logins) <= 1_100


def test_unknown_properties_are_those_the_class_never_sent() -> None:
    profile = Profile(PROFILE)
    assert profile.unknown_properties("user", ("email", "name")) == ((), 40)
    assert profile.unknown_properties("user", ("name", "role")) == (("role",), 40)
    assert profile.unknown_properties("user+admin", ("name", "role")) == ((), 30)
    # A class never seen is judged by all classes together, and the answer is the same the second time (it is remembered).
    for _ in range(2):
        assert profile.unknown_properties("workload:front", ("name", "role", "balance")) == (("balance",), 70)


def test_while_learning_nothing_is_unknown() -> None:
    from msgspec.structs import replace

    few = replace(
        DECLARED,
        properties=(("user", ("name",)), ("*", ("name", "role"))),
        property_calls=(("user", MIN_CLASS_CALLS - 1), ("*", 9)),
    )
    assert Profile(few).unknown_properties("user", ("role", "balance")) == (("balance",), 9)
    none = replace(few, properties=(), property_calls=())
    assert Profile(none).unknown_properties("user", ("role",)) == ((), 0)


def test_what_a_profile_remembers_is_bounded() -> None:
    profile = Profile(PROFILE)
    for number in range(5_000):
        profile.unknown_properties("user", (f"p{number}",))
    assert len(profile._known) <= 1_001


def test_a_new_key_of_a_map_is_known_but_for_privilege() -> None:
    from msgspec.structs import replace

    learned = replace(
        PROFILE,
        properties=(("user", ("labels.one", "name")), ("*", ("labels.one", "name"))),
        request=Schema(40, (FieldProfile("labels", ("object",)), FieldProfile("labels.{}", ("string",)))),
    )
    profile = Profile(learned)
    assert profile.unknown_properties("user", ("name", "labels.two", "labelsx")) == (("labelsx",), 40)
    assert profile.unknown_properties("user", ("labels.is_admin",)) == (("labels.is_admin",), 40)
