"""Which kinds of objects are private: constructs, one by one."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from eastwall.discovery.objects import hash_object
from eastwall.learning import ownership
from eastwall.learning.ownership import ANONYMOUS, DAY, FORGOTTEN_DAYS, GRANT_DAYS, MAX_HOLDERS, SAMPLE, Evidence, Ownership, live

NEEDED = Evidence()


def keys(count: int, seed: int = 1) -> list[int]:
    rng = random.Random(seed)
    return [rng.getrandbits(64) - 2**63 for _ in range(count)]


def private(actors: int, each: int, seed: int = 1) -> tuple[Ownership, list[list[int]]]:
    state = Ownership()
    drawn = keys(actors * each, seed)
    owned = [drawn[a * each : (a + 1) * each] for a in range(actors)]
    for a, own in enumerate(owned):
        for at, key in enumerate(own):
            state.give("order", key, f"user:{a}", "user", float(at))
    return state, owned


def test_objects_of_one_actor_each_are_exclusive() -> None:
    state, _ = private(5, 4)
    judged = state.judge("order", NEEDED)
    assert judged.exclusive
    assert not judged.public
    assert 0.6 < judged.confidence < 1
    assert judged.evidence == "20 of 20 objects of kind order are used by one actor only (5 actors seen)"


@pytest.mark.parametrize(("named", "own"), [(20, True), (18, True), (17, False), (0, False)])
def test_objects_that_are_called_as_their_holders_are_the_callers(named: int, own: bool) -> None:
    state = Ownership()
    for a in range(20):
        key = hash_object(b"k", "", "customer", f"u{a}" if a < named else f"other-{a}")
        state.give("customer", key, f"user:u{a}", "user", 0.0)
        for at in range(2):
            state.use("customer", key, "client:billing", "client:billing", float(at))
    judged = state.judge("customer", NEEDED, b"k")
    assert judged.exclusive
    assert judged.broad == ("client:billing",)
    assert judged.own_names is own
    assert not state.judge("customer", NEEDED, b"another").own_names


@pytest.mark.parametrize(("actors", "each"), [(1, 50), (2, 30), (3, 2), (7, 1)])
def test_too_little_is_not_judged(actors: int, each: int) -> None:
    state, _ = private(actors, each)
    judged = state.judge("order", NEEDED)
    assert not judged.exclusive
    assert not judged.public
    assert "too few" in judged.evidence


@pytest.mark.parametrize("tenants", [False, True])
@pytest.mark.parametrize(("staff", "judged"), [(1, False), (3, False), (5, True)])
def test_a_class_is_judged_once_its_members_were_seen_to_keep_to_their_own(staff: int, judged: bool, tenants: bool) -> None:
    """The owners of the first objects that a nightly job reads have not come yet: it looks like an owner itself."""
    state, _ = private(12, 4)
    state.tenants = {f"user:{a}": f"t{a}" for a in range(12)} if tenants else {}
    for at, key in enumerate(keys(6 if staff < 5 else 20, seed=9)):
        for _ in range(2):
            state.use("order", key, f"client:job-{at % staff}", "client")
    found = state.judge("order", NEEDED)
    assert found.exclusive
    assert found.settled == (("client", "user") if judged else ("user",))


def test_a_kind_whose_holders_are_one_of_each_class_is_not_judged() -> None:
    state = Ownership()
    for at, key in enumerate(keys(12)):
        state.give("order", key, f"user:{at % 4}", f"user+role{at % 4}", 1.0)
    judged = state.judge("order", NEEDED)
    assert not judged.exclusive
    assert not judged.public
    assert judged.evidence.endswith("of no class of callers enough to judge it")


def test_unknown_kinds_are_not_judged() -> None:
    assert not Ownership().judge("order", NEEDED).exclusive


def test_a_catalogue_is_public() -> None:
    state = Ownership()
    for actor in range(10):
        for key in keys(30):
            state.give("product", key, f"user:{actor}", "user", 1.0)
    judged = state.judge("product", NEEDED)
    assert judged.public
    assert not judged.exclusive
    assert judged.broad == ()


def test_a_catalogue_seen_in_parts_is_public() -> None:
    state, rng = Ownership(), random.Random(1)
    catalogue = keys(200)
    for actor in range(20):
        for key in rng.sample(catalogue, 25):
            state.give("product", key, f"user:{actor}", "user", 1.0)
    judged = state.judge("product", NEEDED)
    assert judged.public
    assert not judged.exclusive


def test_a_catalogue_is_public_when_every_caller_is_a_class_of_its_own() -> None:
    state, rng = Ownership(), random.Random(1)
    catalogue = keys(200)
    for actor in range(12):
        for key in rng.sample(catalogue, 25):
            state.give("product", key, f"workload:{actor}", f"workload:{actor}", 1.0)
    assert not state.judge("product", NEEDED).exclusive


def test_teams_that_share_are_not_exclusive() -> None:
    state = Ownership()
    drawn = keys(60)
    for actor in range(12):
        for key in drawn[(actor // 2) * 10 : (actor // 2) * 10 + 10]:
            state.give("document", key, f"user:{actor}", "user", 1.0)
    assert not state.judge("document", NEEDED).exclusive


@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize("staff", [1, 4])
def test_staff_that_sees_all_or_much_is_broad(staff: int, share: float) -> None:
    state, owned = private(15, 5)
    rng = random.Random(2)
    every = [key for own in owned for key in own]
    for member in range(staff):
        for key in rng.sample(every, int(len(every) * share)):
            state.give("order", key, f"user:admin{member}", "user+admin", 9.0)
    judged = state.judge("order", NEEDED)
    assert judged.exclusive
    assert judged.broad == ("user+admin",)


def test_one_nosy_actor_is_an_outlier_and_two_of_ten_are_not() -> None:
    state, owned = private(19, 4)
    every = [key for own in owned for key in own]
    for key in every[::3]:
        state.give("order", key, "user:eve", "user", 9.0)
    assert state.judge("order", NEEDED).exclusive
    state, owned = private(8, 4)
    every = [key for own in owned for key in own]
    for eve in ("user:eve", "user:mallory"):
        for key in every[::2]:
            state.give("order", key, eve, "user", 9.0)
    assert not state.judge("order", NEEDED).exclusive


def test_what_anybody_may_read_is_not_exclusive() -> None:
    state, owned = private(15, 4)
    for own in owned:
        for key in own:
            state.use("order", key, ANONYMOUS, "")
    assert not state.judge("order", NEEDED).exclusive


def test_holders_are_the_earliest_and_bounded() -> None:
    state = Ownership()
    for n in range(30):
        state.give("order", 7, f"user:{n:02}", "user", 100.0 - n)
    last, kind, holders = state.held[7]
    assert (last, kind, len(holders)) == (100.0, "order", MAX_HOLDERS)
    assert holders[0] == (71.0, "user:29", "user", 0)
    assert list(holders) == sorted(holders)


def test_a_sample_of_each_kind_is_kept_and_merges() -> None:
    drawn = keys(4 * SAMPLE)
    whole, parts = Ownership(), [Ownership(), Ownership()]
    for at, key in enumerate(drawn):
        for state in (whole, parts[at % 2]):
            state.give("order", key, f"user:{at % 50}", "user", float(at))
    parts[0].merge(parts[1])
    assert sorted(whole.kinds["order"]) == sorted(drawn)[:SAMPLE]
    assert parts[0].kinds == whole.kinds
    assert parts[0].held == whole.held
    assert Ownership.load(whole.dump()).judge("order", NEEDED) == whole.judge("order", NEEDED)


def test_ids_drawn_from_a_large_catalogue_are_nobodys() -> None:
    state, rng = Ownership(), random.Random(1)
    catalogue = keys(200)
    for call in range(60):
        state.give("book", rng.choice(catalogue), f"user:{rng.randrange(10)}", "user", float(call), asked=True)
    judged = state.judge("book", NEEDED)
    assert not judged.exclusive  # nearly every one has one actor so far
    assert sum(len(actors) == 1 for actors in state.kinds["book"].values()) > 40
    for call in range(600):
        state.give("book", rng.choice(catalogue), f"user:{rng.randrange(10)}", "user", float(call), asked=True)
    judged = state.judge("book", NEEDED)
    assert judged.public
    assert not judged.exclusive


def test_objects_asked_for_by_the_same_again_are_theirs() -> None:
    state = Ownership()
    drawn = keys(20)
    for at, key in enumerate(drawn):
        state.use("order", key, f"user:{at % 5}", "user")
    assert "too few" in state.judge("order", NEEDED).evidence
    again = Ownership()
    for at, key in enumerate(drawn):
        again.use("order", key, f"user:{at % 5}", "user")
    state.merge(again)
    assert state.judge("order", NEEDED).exclusive
    assert Ownership.load(state.dump()).judge("order", NEEDED) == state.judge("order", NEEDED)


def tenanted(tenants: int, members: int, each: int) -> Ownership:
    """Projects that every member of their tenant uses."""
    state = Ownership()
    drawn = keys(tenants * each)
    for tenant in range(tenants):
        for member in range(members):
            actor = f"user:{tenant}-{member}"
            state.belongs(actor, f"t{tenant}")
            for key in drawn[tenant * each : (tenant + 1) * each]:
                state.give("project", key, actor, "user", float(member))
    return state


def test_objects_of_a_tenant_belong_to_it() -> None:
    judged = tenanted(5, 4, 6).judge("project", NEEDED)
    assert judged.exclusive
    assert judged.by == "tenant"
    assert judged.evidence == "30 of 30 objects of kind project are used by one tenant only (5 tenants seen)"


def test_a_catalogue_stays_public_where_there_are_tenants() -> None:
    state = tenanted(5, 4, 6)
    for key in keys(30, seed=9):
        for tenant in range(5):
            state.give("product", key, f"user:{tenant}-0", "user", 1.0)
    assert not state.judge("product", NEEDED).exclusive
    assert state.judge("product", NEEDED).public


def test_private_objects_stay_private_where_there_are_tenants() -> None:
    state, _ = private(6, 5)
    for actor in range(6):
        state.belongs(f"user:{actor}", f"t{actor % 2}")
    assert state.judge("order", NEEDED).by == "actor"


def test_tenants_merge_whatever_the_order() -> None:
    whole, parts = tenanted(4, 3, 5), [Ownership(), Ownership()]
    for kind, sample in whole.kinds.items():
        for at, (key, actors) in enumerate(sample.items()):
            for actor, cls in actors.items():
                parts[at % 2].belongs(actor, whole.tenants[actor])
                parts[at % 2].give(kind, key, actor, cls, 1.0)
    parts[0].belongs("user:x", "a")
    parts[1].belongs("user:x", "b")
    first, second = Ownership.load(parts[0].dump()), Ownership.load(parts[1].dump())
    first.merge(parts[1])
    second.merge(parts[0])
    assert first.tenants == second.tenants
    assert first.tenants["user:x"] == "b"
    assert first.judge("project", NEEDED) == second.judge("project", NEEDED) == whole.judge("project", NEEDED)


def test_a_flood_of_ids_drops_the_flood_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "MAX_HELD", 2_200)
    state, owned = private(50, 20)
    for at, key in enumerate(keys(20_000, seed=2)):
        state.give("order", key, "user:flooder", "user", 1_000.0 + at)
    assert len(state.held) <= 2_200
    assert all(key in state.held for own in owned for key in own)
    other, more = private(50, 20, seed=3)
    for at, key in enumerate(keys(5_000, seed=4)):
        other.give("order", key, "user:accomplice", "user", 9_000.0 + at)
    state.merge(other)
    assert len(state.held) == 2_200
    assert all(key in state.held for own in owned + more for key in own), "40 each"
    assert sum(key in state.held for key in keys(20_000, seed=2)) == 100, "the two floods have the rest in equal parts"


@pytest.mark.parametrize("seed", range(5))
def test_what_is_left_is_level(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(ownership, "MAX_HELD", 1_000)
    rng = random.Random(seed)
    state = Ownership()
    given = Counter(f"user:{int(rng.expovariate(0.05))}" for _ in range(1_000))
    for n, (actor, count) in enumerate(given.items()):
        for at in range(count):
            state.give("order", n * 10_000 + at, actor, "user", float(at))
    state._thin(600)
    left = Counter(holders[0][1] for _, _, holders in state.held.values())
    assert left.total() == 600
    most = max(left.values())
    for actor, count in given.items():
        assert left[actor] == count or left[actor] >= most - 1, "who lost something is at the level"
        assert {key % 10_000 for key, entry in state.held.items() if entry[2][0][1] == actor} == set(
            range(count - left[actor], count)
        )


def _aged() -> Ownership:
    """Two hundred orders of alice's and bob's, who were given them on day 1,000; carol was given the first hundred on day 1,181 and on."""
    state = Ownership()
    for at, key in enumerate(keys(200)):
        for actor in ("user:alice", "user:bob"):
            state.give("order", key, actor, "user", 1_000 * DAY + at)
        if at < 100:
            state.give("order", key, "user:carol", "user", 1_181 * DAY + at)
    return state


def test_a_grant_that_was_not_seen_for_long_counts_no_more_beside_others() -> None:
    state = _aged()
    first, last = keys(200)[0], keys(200)[-1]
    today = state.today()
    assert today == 1_181
    assert [holder[1] for holder in live(state.held[first][2], today)] == ["user:carol"]
    assert [holder[1] for holder in live(state.held[last][2], today)] == ["user:alice", "user:bob"], "of nobody else"
    assert [holder[1] for holder in live(state.held[first][2], 1_000 + GRANT_DAYS)] == ["user:alice", "user:bob", "user:carol"]
    assert live(state.held[last][2], 1_000 + FORGOTTEN_DAYS + 1) == ()
    state.give("order", first, "user:bob", "user", 1_182 * DAY)
    assert [holder[1] for holder in live(state.held[first][2], 1_182)] == ["user:bob", "user:carol"], "an answer gave it again"
    assert Ownership.load(state.dump()).held == state.held
    old = state.dump()
    old[1] = {key: (last_, kind, tuple(holder[:3] for holder in holders)) for key, (last_, kind, holders) in old[1].items()}
    assert {one[3] for _, _, holders in Ownership.load(old[:4]).held.values() for one in holders} == {1_000, 1_181, 1_182}


def test_clocks_that_jump_age_nothing() -> None:
    """Fifteen objects of a year ahead are a wrong clock. More are believed, but never beyond the time that it is here."""
    state = _aged()
    for key in keys(15, seed=9):
        state.give("order", key, "user:dave", "user", 5_000 * DAY)
    assert state.today() == 1_181
    for key in keys(200, seed=8):
        state.give("order", key, "user:dave", "user", 5_000 * DAY)
    assert state.today() == 5_000
    assert state.today(now=1_182.5 * DAY) == 1_182
    for key in keys(200, seed=7):
        state.give("order", key, "user:erin", "user", 3 * DAY)
    assert state.today(now=1_182.5 * DAY) == 1_182, "a clock that was set back"
    assert Ownership().today() == 0


def test_old_evidence_gives_way_to_new() -> None:
    """A kind that everybody shared, and that is each one's own since half a year ago, is judged as it is now; and of shards alike."""
    whole, parts = Ownership(), [Ownership(), Ownership()]
    drawn = keys(400)
    for at, key in enumerate(drawn):
        sharing = [f"user:{n}" for n in range(4)] if at < 200 else [f"user:{at % 9}"]
        for actor in sharing:
            for state in (whole, parts[at % 2]):
                state.give("order", key, actor, "user", (1_000 if at < 200 else 1_200) * DAY + at)
        if at == 200 + 30:
            assert not whole.judge("order", NEEDED).exclusive, "too few of late"
    assert whole.judge("order", NEEDED).exclusive
    parts[0].merge(parts[1])
    assert (parts[0].seen, parts[0].held) == (whole.seen, whole.held)
    assert parts[0].judge("order", NEEDED) == whole.judge("order", NEEDED)
    assert Ownership.load(whole.dump()).judge("order", NEEDED).exclusive
    for actor in ("user:1", "user:2"):
        for key in drawn[:200]:
            whole.use("order", key, actor, "user", 1_201 * DAY)
    assert not whole.judge("order", NEEDED).exclusive, "they are shared still"
