"""Profiles of callers, and the classes of instances that behave alike."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery.identity import compile_trust, resolve
from eastwall.learning import identities as module
from eastwall.learning.identities import MAX_OPERATIONS, MAX_WORDS, Identities
from eastwall.learning.instance_names import mask
from eastwall.model.call import Call, Peer, Request
from eastwall.model.facts import DataHit
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import TrustConfig


def call(
    actor: str,
    endpoint: str = "ep_1",
    *,
    strength: int = 3,
    cls: str = "",
    time: float = 1000.0,
    source: str = "10.0.0.1",
    chain: tuple[tuple[str, int], ...] = (),
    agent: str = "",
    human: str = "",
    data: tuple[DataHit, ...] = (),
    faults: tuple[str, ...] = (),
    service: str = "orders",
) -> CallRecord:
    kind = actor.partition(":")[0]
    principals = ((actor, strength), *chain, (f"address:{source}", 0))
    return CallRecord(
        1, "id", time, service, "GET", "/", "h", 200, 0, 0, 0, source,
        endpoint=endpoint, actor=actor, actor_kind=kind, actor_class=cls or kind, strength=strength,
        principals=tuple(name for name, _ in principals), strengths=tuple(s for _, s in principals),
        identity_faults=faults, agent=agent, human=human, data=data,
    )  # fmt: skip


def learned(records: Iterable[CallRecord]) -> Identities:
    state = Identities()
    for record in records:
        state.fold(record, record.endpoint)
    return state


def test_a_profile_says_who_does_what() -> None:
    state = learned(
        [
            call("user:alice", "ep_1", time=20, cls="user", source="10.0.0.1", data=(DataHit("email", "a", "x", "response"),)),
            call("user:alice", "ep_1", time=10, cls="user+staff", source="10.0.0.2", strength=1, faults=("jwt-expired",)),
            call("user:alice", "ep_2", time=30, cls="user+admin", service="billing", data=(DataHit("pan", "a", "x", "request"),)),
            call("key:abc", "", time=5, strength=2),
        ]
    )
    alice, key = state.profiles()
    assert (alice.actor, alice.kind, alice.calls, alice.first_seen, alice.last_seen) == ("user:alice", "user", 3, 10, 30)
    assert alice.operations == (("ep_1", 2), ("ep_2", 1))
    assert (alice.cls, alice.strength, alice.sources) == ("user+admin", 3, 2)
    assert (alice.services, alice.data_classes, alice.faults) == (("billing", "orders"), ("email",), ("jwt-expired",))
    assert (key.actor, key.calls, key.operations) == ("key:abc", 1, ())
    assert state.profiles(1) == (alice,)
    assert state.profile("user:alice") == alice
    assert state.profile("user:nobody") is None


@pytest.mark.parametrize("agent", ["client:session:1", "key:session:1", "address:10.0.0.9"])
def test_no_name_that_a_caller_may_choose_stops_the_learning(agent: str) -> None:
    human = "user:session:2"
    state = learned([call("workload:a/b", chain=((human, 1), (agent, 1)), agent=agent, human=human)])
    told = {profile.actor: profile for profile in state.profiles()}
    assert human in told, "a user may be called like a session"
    assert (agent in told) == agent.startswith("client:")
    if agent in told:
        assert told[agent].agents == (human,)
        assert told[human].agents == (agent,)


def test_agents_and_humans_point_to_each_other() -> None:
    hit = (DataHit("email", "a", "x", "response"),)
    chain = (("client:support-bot", 3), ("workload:spiffe://shop/ns/ai/sa/runner", 3))
    state = learned(
        call(f"user:{name}", chain=chain, agent="client:support-bot", human=f"user:{name}", data=hit) for name in ("alice", "bob")
    )
    bot, runner, alice, bob = state.profiles()
    assert (bot.actor, bot.calls, bot.agents, bot.cls) == (
        "client:support-bot",
        2,
        ("user:alice", "user:bob"),
        "client:support-bot",
    )
    assert bot.data_classes == ("email",), "what is given to the human passes through the agent's hands"
    assert (runner.actor, runner.cls, runner.agents, runner.data_classes) == (
        "workload:spiffe://shop/ns/ai/sa/runner", "workload:ai/runner", (), (),
    )  # fmt: skip
    assert alice.agents == bob.agents == ("client:support-bot",)
    assert [profile.agent for profile in (bot, runner, alice, bob)] == [True, False, False, False]


def test_sessions_and_addresses_count_only_when_nothing_better_is_known() -> None:
    state = learned([call("user:alice", chain=(("key:session:1f", 1),)), call("key:session:2f", strength=1)])
    assert {profile.actor for profile in state.profiles()} == {"user:alice", "key:session:2f"}


def test_records_of_older_versions_and_of_nobody() -> None:
    old = msgspec.structs.replace(call("user:alice", chain=(("workload:w/a", 2),)), strengths=())
    state = learned([old, call(""), msgspec.structs.replace(call("user:bob"), source="")])
    found = {profile.actor: profile for profile in state.profiles()}
    assert set(found) == {"user:alice", "workload:w/a", "user:bob"}
    assert (found["workload:w/a"].strength, found["workload:w/a"].cls) == (0, "workload")
    assert found["user:bob"].sources == 0


RECORDS = st.builds(
    call,
    st.sampled_from(
        ["user:alice", "user:bob", "key:1", "workload:spiffe://shop/f/1", "workload:spiffe://shop/f/2", "address:10.0.0.1"]
    ),
    st.sampled_from(["", *(f"ep_{i}" for i in range(6))]),
    strength=st.integers(0, 3),
    cls=st.sampled_from(["user", "user+admin", "workload:f"]),
    time=st.integers(1, 50).map(float),
    source=st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
    chain=st.sampled_from([(), (("client:bot", 3),), (("workload:a/b", 2), ("client:bot", 1)), (("agent:x", 1),)]),
    agent=st.sampled_from(["", "client:bot", "agent:x"]),
    human=st.sampled_from(["", "user:alice"]),
    faults=st.sampled_from([(), ("jwt-expired",)]),
    service=st.sampled_from(["orders", "billing"]),
    data=st.sampled_from([(), (DataHit("email", "a", "x", "response"),)]),
)


def told(state: Identities) -> Any:
    classes = state.classes()
    return classes, state.profiles()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(RECORDS, st.integers(0, 7)), max_size=60), st.randoms(use_true_random=False))
def test_shards_in_any_order_give_what_one_stream_gives(parts: list[tuple[CallRecord, int]], rng: random.Random) -> None:
    whole = told(learned(record for record, _ in parts))
    shards = [learned(record for record, at in parts if at == shard) for shard in range(8)]
    rng.shuffle(shards)
    merged = Identities()
    for shard in shards:
        kept = msgspec.msgpack.decode(msgspec.msgpack.encode(shard.dump()))
        merged.merge(Identities.load(kept))
    assert told(merged) == whole
    shuffled = [record for record, _ in parts]
    rng.shuffle(shuffled)
    assert told(learned(shuffled)) == whole


def test_what_is_kept_is_what_was_known() -> None:
    state = learned([call("user:alice", f"ep_{i}", source=f"10.0.{i}.1") for i in range(90)])
    state.classes()
    again = Identities.load(msgspec.msgpack.decode(msgspec.msgpack.encode(state.dump())))
    assert again.dump() == state.dump()
    assert again.profiles() == state.profiles()


@pytest.mark.parametrize("data", [None, [], [2, [], {}], [1, [["a"]], {}], [1, [5], {}], [1, [], 5], "x", [1, [], {}, 1]])
def test_other_data_is_refused(data: Any) -> None:
    with pytest.raises(ValueError):
        Identities.load(data)


def test_endpoints_that_move() -> None:
    state = learned([call("user:alice", "ep_1"), call("user:alice", "ep_2"), call("user:bob", "ep_3")])
    state.move({"ep_1": "ep_9", "ep_2": "ep_9"})
    assert [profile.operations for profile in state.profiles()] == [(("ep_9", 2),), (("ep_3", 1),)]


def test_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ACTORS", 100)
    monkeypatch.setattr(module, "MAX_WEAK", 40)
    state = learned(
        call(f"user:u{i}", f"ep_{j}", time=i, service=f"s{j}", faults=(f"f{j}",), source=f"10.0.{i % 250}.{j}")
        for i in range(300)
        for j in range(90)
    )
    assert 100 <= len(state) <= 110
    assert all(profile.last_seen > 180 for profile in state.profiles()), "the least recently seen leave"
    one = state.profiles(1)[0]
    assert len(one.operations) <= MAX_OPERATIONS
    assert len(one.services) == len(one.faults) == MAX_WORDS
    assert one.services == tuple(sorted(f"s{j}" for j in range(90)))[:MAX_WORDS]
    assert 60 <= one.sources <= 130


def test_who_makes_names_up_drives_out_others_like_it_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ACTORS", 100)
    monkeypatch.setattr(module, "MAX_WEAK", 40)
    state = learned(call(f"user:real{i}", time=1) for i in range(50))
    for i in range(5_000):
        state.fold(call(f"user:made-up{i}", strength=1, time=100 + i), "ep_1")
    found = {profile.actor for profile in state.profiles()}
    assert {f"user:real{i}" for i in range(50)} <= found
    assert len(found) <= 50 + 44


def test_busy_operations_stay() -> None:
    state = learned([call("user:a", "busy") for _ in range(50)] + [call("user:a", f"ep_{i}") for i in range(500)])
    assert state.profiles()[0].operations[0] == ("busy", 50)


# -- classes ----------------------------------------------------------------------------------------------------------


def instances(
    begin: str, suffixes: Iterable[str], operations: dict[str, int], *, strength: int = 3, kind: str = "workload"
) -> list[CallRecord]:
    """Calls of instances in which each operation has its share, with some of chance."""
    rng = random.Random(begin)
    names, weights = list(operations), list(operations.values())
    return [
        call(f"{kind}:{begin}{suffix}", operation, strength=strength)
        for suffix in suffixes
        for operation in rng.choices(names, weights, k=60)
    ]


FRONT = {"health": 500, "list": 40, "get": 30, "cart": 20, "rare": 1}
ADMIN = {"health": 500, "ban": 40, "refund": 30, "export": 20}
HEX = ("0a1b2c3d4e", "1f2e3d4c5b", "99aa88bb77", "3c4d5e6f70")


def test_instances_that_behave_alike_are_one_class() -> None:
    state = learned(instances("spiffe://shop/front/", HEX, FRONT) + instances("spiffe://shop/admin/", HEX, ADMIN))
    assert state.classes() == (
        ("workload:spiffe://shop/admin/*", "workload:shop/admin/*"),
        ("workload:spiffe://shop/front/*", "workload:shop/front/*"),
    )
    assert {profile.cls for profile in state.profiles()} == {"workload:shop/admin/*", "workload:shop/front/*"}
    trust = compile_trust(TrustConfig(), b"k" * 32, state.classes())
    peer = Peer("10.0.0.9", uri_sans=("spiffe://shop/front/ffee00112233",))
    assert resolve(Call("1", "s", 0.0, peer, Request("GET", "/", {})), trust).cls == "workload:shop/front/*"


def test_names_that_are_one_class_by_themselves_need_none() -> None:
    pods = instances("spiffe://shop/ns/web/sa/front/pod/", ("front-7d9f8b6c5-x2x4z", "front-7d9f8b6c5-bcdfg"), FRONT)
    hosts = instances("front-7d9f8b6c5-", ("x2x4z.web.svc", "bcdfg.web.svc"), FRONT)
    assert learned(pods + hosts).classes() == ()


def test_instances_that_do_not_behave_alike_are_told_apart_by_what_tells_them_apart() -> None:
    state = learned(
        instances("spiffe://shop/edge-1/host/", ("a", "b", "c"), FRONT)
        + instances("spiffe://shop/edge-2/host/", ("d", "e", "f"), ADMIN)
    )
    assert dict(state.classes()) == {
        "workload:spiffe://shop/edge-1/host/*": "workload:shop/edge-1/host/*",
        "workload:spiffe://shop/edge-2/host/*": "workload:shop/edge-2/host/*",
    }


def test_different_machines_of_one_naming_scheme_are_no_class() -> None:
    front = instances("ip-10-0-", ("0-1.ec2.internal", "0-2.ec2.internal", "3-3.ec2.internal"), FRONT)
    admin = instances("ip-10-0-", ("0-9.ec2.internal", "3-8.ec2.internal"), ADMIN)
    assert learned(front + admin).classes() == ()
    assert learned(front).classes() == (("workload:ip-*.ec2.internal", "workload:ip-*.ec2.internal"),)


def test_an_instance_that_idles_is_like_the_others() -> None:
    front = instances("spiffe://shop/front/", HEX[:3], FRONT)
    assert len(learned(front + instances("spiffe://shop/front/", HEX[3:], {"health": 1})).classes()) == 1
    admin = instances("spiffe://shop/front/", HEX[:3], {"health": 500, "ban": 40, "list": 1})
    assert learned(admin + instances("spiffe://shop/front/", HEX[3:], {"health": 500, "export": 40})).classes() == ()


@pytest.mark.parametrize("part", ["tenant/{}/app", "ns/{}/app", "sa/{}", "role/{}", "account/{}/web"])
def test_tenants_namespaces_and_roles_are_never_one(part: str) -> None:
    records = [
        record
        for name in ("1001", "1002", "1003", "1004")
        for record in instances(f"spiffe://shop/{part.format(name)}", [""], FRONT)
    ]
    assert learned(records).classes() == ()


@pytest.mark.parametrize(
    ("kind", "strength"), [("workload", 1), ("workload", 0), ("client", 1), ("user", 3), ("key", 3)], ids=str
)
def test_only_vouched_for_workloads_and_clients_are_evidence(kind: str, strength: int) -> None:
    assert learned(instances("spiffe://shop/front/", HEX, FRONT, strength=strength, kind=kind)).classes() == ()


def test_keys_that_behave_alike_stay_keys() -> None:
    state = learned(instances("", HEX, ADMIN, strength=2, kind="key"))
    assert state.classes() == ()
    assert {profile.cls for profile in state.profiles()} == {"key"}


def test_words_are_names() -> None:
    assert learned(instances("spiffe://shop/", ("front", "cart", "billing"), FRONT)).classes() == ()


def test_too_little_says_nothing() -> None:
    assert learned(instances("spiffe://shop/front/", HEX[:1], FRONT)).classes() == ()
    few = [call(f"workload:spiffe://shop/front/{suffix}", "list") for suffix in HEX for _ in range(5)]
    assert learned(few).classes() == ()


def test_classes_do_not_jump() -> None:
    """More calls, new instances, instances that are gone: the class stays what it was."""
    state = learned(instances("spiffe://shop/front/", HEX[:2], FRONT))
    first = state.classes()
    assert first
    for record in instances("spiffe://shop/front/", HEX, FRONT):
        state.fold(record, record.endpoint)
    assert state.classes() == first
    kept = Identities.load(msgspec.msgpack.decode(msgspec.msgpack.encode(state.dump())))
    kept._actors.clear()
    assert kept.classes() == first


def test_classes_of_shards_that_were_asked_apart() -> None:
    one, two = (learned(instances("spiffe://shop/front/", some, FRONT)) for some in (HEX[:2], HEX[2:]))
    assert one.classes() == two.classes() != ()
    one.merge(two)
    assert one.classes() == two.classes()
    one.merge(learned(instances("spiffe://shop/admin/", HEX, ADMIN)))
    assert len(one.classes()) == 2


def test_the_number_of_classes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CLASSES", 5)
    state = learned(record for app in "abcdefghij" for record in instances(f"spiffe://shop/{app * 3}/", HEX[:2], FRONT))
    assert len(state.classes()) == 5
    again = Identities.load(msgspec.msgpack.decode(msgspec.msgpack.encode(state.dump())))
    assert again.classes() == state.classes()


def test_a_class_that_turns_out_wider_keeps_its_name() -> None:
    state = learned(instances("spiffe://shop/eu-1/host/", ("a", "b", "c"), FRONT))
    assert state.classes() == (("workload:spiffe://shop/eu-1/host/*", "workload:shop/eu-1/host/*"),)
    for record in instances("spiffe://shop/eu-2/host/", ("d", "e", "f"), FRONT):
        state.fold(record, record.endpoint)
    assert state.classes() == (("workload:spiffe://shop/eu-*/host/*", "workload:shop/eu-1/host/*"),)


def test_one_instance_that_is_broken_into_does_not_end_its_class() -> None:
    state = learned(instances("spiffe://shop/front/", HEX, FRONT))
    first = state.classes()
    for number in range(400):
        state.fold(call(f"workload:spiffe://shop/front/{HEX[0]}", f"odd_{number % 20}"), f"odd_{number % 20}")
    assert state.classes() == first
    for suffix in HEX:  # all of them now do something of their own
        for number in range(400):
            state.fold(call(f"workload:spiffe://shop/front/{suffix}"), f"odd_{suffix}_{number % 20}")
    assert state.classes() == ()


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("spiffe://shop/front/pod/front-7d9f8b6c5-x2x4z", "spiffe://shop/front/pod/*"),
        ("spiffe://shop/front/7f3a1c2e-1111-2222-3333-444455556666", "spiffe://shop/front/*"),
        ("spiffe://shop/tenant/123/host/i-0abc12345678", "spiffe://shop/tenant/123/host/*"),
        ("spiffe://shop-1/v2/front", "spiffe://shop-1/v2/front"),
        ("front-7d9f8b6c5-bcdfg.web.svc", "front-*.web.svc"),
        ("worker12.batch.svc", "worker*.batch.svc"),
        ("https-proxy.web.svc", "https-proxy.web.svc"),
        ("db-0.node-1.example", "db-*.node-1.example"),
        ("web/front-1", "web/front-1"),
        ("10.1.2.3", "10.1.2.3"),
        ("*.web.svc", "*.web.svc"),
        ("", ""),
    ],
)
def test_the_parts_of_instances(name: str, masked: str) -> None:
    assert mask(name)[0] == masked
    assert bool(mask(name)[1]) == (name != masked)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab1/.:-_*é\x00", max_size=40) | st.text(max_size=300))
def test_any_name_has_a_mask_that_takes_it_in(name: str) -> None:
    masked, parts = mask(name)
    if parts:
        peer = Peer("10.0.0.1", dns_sans=(name,)) if "://" not in name else Peer("10.0.0.1", uri_sans=(name,))
        trust = compile_trust(TrustConfig(), b"k" * 32, [(f"workload:{masked}", "workload:learned")])
        identity = resolve(Call("1", "s", 0.0, peer, Request("GET", "/", {})), trust)
        assert not name.isprintable() or identity.cls == "workload:learned"
    else:
        assert masked == name
