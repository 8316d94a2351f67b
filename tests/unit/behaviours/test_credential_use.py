"""Tokens in another's hands and workloads abroad; and people who roam, share addresses and have several devices."""

from __future__ import annotations

from tests.unit.behaviours.driven import Engine

from eastwall.behaviours.credential_use import watch as live
from eastwall.behaviours.credential_use.model import INSIDE_CALLS, PINNED_CALLS, Knowledge, Model, Moves, Pins
from eastwall.behaviours.credential_use.places import PRIVATE, make, network
from eastwall.behaviours.maxima import Usual
from eastwall.behaviours.sketch import hash64
from eastwall.model.record import RECORD_VERSION, CallRecord

APP, WEB = "app/3.2 (Android 15)", "Mozilla/5.0 (Windows NT 10.0) Firefox/139.0"
MAKES = tuple(sorted(hash64(make(agent)) for agent in (APP, WEB)))
STILL = Usual(callers=20, calls=400, some=20, most=(0, 3))


def engine(usual: Usual = STILL, **more: object) -> Engine:
    return Engine(credential_use=Knowledge((Moves("user", usual, MAKES),), **more))  # type: ignore[arg-type]


def test_a_stolen_token_is_stopped_at_its_first_use():
    e = engine()
    assert not any(e.ask("GET", "/orders", user="alice", source="81.2.3.4", agent=APP).blocked for _ in range(3))
    stolen = e.ask("GET", "/orders", user="alice", source="185.220.101.7", agent="curl/8.9", gap=60.0)
    assert stolen.blocked
    found = stolen.of("token-replay")
    assert found.confidence == "medium"
    assert "used by `app` 60 s ago, and now by `curl`" in found.message
    assert not e.ask("GET", "/orders", user="alice", source="81.2.3.4", agent=APP).blocked
    assert e.ask("GET", "/orders", user="alice", source="185.220.101.7", agent="curl/8.9").blocked


def test_two_hands_at_the_same_time():
    e = engine()
    e.ask("GET", "/orders", user="alice", source="81.2.3.4", agent=APP)
    e.ask("GET", "/orders", user="alice", source="81.2.3.4", agent=APP, gap=4_000.0)
    confidences = []
    for _ in range(4):
        stolen = e.ask("GET", "/orders", user="alice", source="185.220.101.7", agent=WEB)
        confidences.append(stolen.of("token-replay").confidence)
        e.ask("GET", "/orders", user="alice", source="81.2.3.4", agent=APP)
    assert confidences == ["low", "low", "high", "high"]


def test_the_second_device_of_who_came_a_while_ago_is_no_thief_s():
    e = engine()
    for _ in range(4):
        for source, agent in (("81.2.3.4", APP), ("99.1.1.1", WEB)):
            assert not e.ask("GET", "/orders", user="new", source=source, agent=agent, gap=60.0).blocked


def test_people_roam():
    e = engine()
    for n in range(60):
        assert not e.ask("GET", "/orders", user="alice", source=f"100.{n}.2.3", agent=APP).of("token-replay")


def test_people_have_a_second_device_and_update_it():
    e = engine()
    for agent in (APP, WEB, "app/3.3 (Android 15)", WEB.replace("139", "140")):
        assert not e.ask("GET", "/orders", user="alice", source="81.2.3.4", agent=agent).of("token-replay")
    assert not e.ask("GET", "/orders", user="alice", source="99.1.1.1", agent=WEB).of("token-replay")


def test_two_hundred_people_behind_one_address():
    e = engine()
    for n in range(200):
        assert not e.ask("GET", "/orders", user=f"user-{n}", source="81.2.3.4", agent=(APP, WEB)[n % 2]).of("token-replay")


def test_a_gateway_that_passes_tokens_on_is_learned():
    usual = Usual(callers=20, calls=400, some=20, most=(1, 3))
    e = Engine(credential_use=Knowledge((Moves("user", usual, tuple(sorted((*MAKES, hash64(make("axios/1.7")))))),)))
    for _ in range(5):
        browser = e.ask("GET", "/orders", user="alice", source="81.2.3.4", agent=WEB)
        gateway = e.ask("GET", "/orders", user="alice", source="52.1.1.1", agent="axios/1.7")
        assert not browser.blocked
        assert not gateway.blocked


def test_before_anything_is_learned_nobody_is_stopped():
    e = Engine()
    e.ask("GET", "/orders", user="alice", source="81.2.3.4", agent=APP)
    stolen = e.ask("GET", "/orders", user="alice", source="185.220.101.7", agent="curl/8.9")
    assert not stolen.blocked
    assert stolen.of("token-replay").confidence == "low"


def test_a_password_is_used_wherever_its_owner_is():
    e = engine()
    basic = {"authorization": "Basic YWxpY2U6c2VjcmV0LXNlY3JldA=="}
    for source, agent in (("81.2.3.4", APP), ("185.220.101.7", "curl/8.9")):
        made = e.ask("GET", "/orders", source=source, agent=agent, credential=basic)
        assert made.of("token-replay") is None


def test_a_workload_from_the_internet():
    key = {"x-api-key": "k-1234567890"}
    actor = Engine().ask("GET", "/orders", source="10.1.0.9", credential=key).actor
    e = engine(pins=(Pins(hash64(actor), (hash64(PRIVATE),), 400),))
    assert not e.ask("GET", "/orders", source="10.7.0.3", credential=key).blocked
    abroad = e.ask("GET", "/orders", source="185.220.101.9", agent="curl/8.9", credential=key)
    assert abroad.blocked
    assert "all 400 learned calls of it came from one network" in abroad.of("unusual-network").message


def record(number: int, actor: str, source: str, **more: object) -> CallRecord:
    return CallRecord(
        RECORD_VERSION, str(number), 1e9 + number, "orders", "GET", "/orders", "", 200, 0, 0, 0, source,
        actor=actor, actor_kind=actor.partition(":")[0], actor_class="client", strength=3, principals=(actor, f"address:{source}"), **more,
    )  # type: ignore[arg-type]  # fmt: skip


def test_workloads_are_pinned_to_few_networks():
    model = Model()
    for n in range(PINNED_CALLS):
        model.fold(record(n, "client:fixed", f"52.1.1.{n}"), "e", None, clean=True)
        model.fold(record(n, "client:roams", f"52.{n}.1.1"), "e", None, clean=True)
        model.fold(record(n, "user:alice", "52.1.1.1"), "e", None, clean=True)
    for n in range(INSIDE_CALLS):
        model.fold(record(n, "client:inside", f"10.{n}.1.1"), "e", None, clean=True)
        model.fold(record(n, "client:few", "52.1.1.1"), "e", None, clean=True)
    pins = model.publish(()).pins
    assert {one.actor for one in pins} == {hash64("client:fixed"), hash64("client:inside")}


def test_networks_and_makes():
    assert network("81.2.3.4") == network("81.2.3.99") != network("81.2.4.4")
    assert network("10.0.0.1") == network("192.168.7.1") == network("fd00::1") == PRIVATE
    assert network("2001:4860:1:2::1") == network("2001:4860:1:ffff::9")
    assert network("::ffff:81.2.3.4") == network("81.2.3.4")
    assert network("not an address") == "not an address"
    assert make("app/3.2 (Android 15)") == make("app/3.10 (Android 16)")


def test_tables_are_bounded(monkeypatch):
    monkeypatch.setattr(live, "MAX_TOKENS", 20)
    monkeypatch.setattr(live, "MAX_ACTORS", 10)
    e = engine()
    for n in range(60):
        e.ask("GET", "/orders", user=f"user-{n}", source="81.2.3.4", agent=APP)
    watch = e.state.watches.of("credential_use")
    assert len(watch._tokens) == 20
    assert len(watch._actors) == 10
    for n in range(60):
        e.ask("GET", "/orders", user="user-59", source=f"82.{n}.3.4", agent=APP)
    assert len(watch._actors["user:user-59"].networks) == live.MAX_PLACES
    assert not watch._open


def test_an_actor_with_ever_new_tokens_loses_its_own():
    e = engine()
    e.ask("GET", "/orders", user="alice", source="81.2.3.4", agent=APP)
    for n in range(200):
        e.ask("GET", "/orders", source="45.1.1.1", agent=APP, user="mallory", roles=(f"r{n}",))
    watch = e.state.watches.of("credential_use")
    assert len(watch._tokens) == live.ACTOR_TOKENS + 1
    assert e.ask("GET", "/orders", user="alice", source="185.220.101.7", agent="curl/8.9").blocked
