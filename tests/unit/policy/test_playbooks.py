"""Playbooks, decided: which calls count, when enough have come, what is put in force against whom, and that nobody can be framed."""

from __future__ import annotations

import random
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from eastwall.model.call import Mode
from eastwall.model.decision import Deny, PolicyMatch
from eastwall.model.facts import Facts
from eastwall.model.finding import Finding
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import ServiceScope
from eastwall.policy import LimitTable, PolicySet, compile_plan, encode, evaluate
from eastwall.policy.kinds import LimitPolicy, Playbook, Policy, Quarantine
from eastwall.policy.playbooks import (
    LATE,
    MAX_KEYS,
    MAX_PER_HOUR,
    Firing,
    Run,
    Watcher,
    ended,
    is_over,
    may_run,
    policy_of,
    watchers_of,
    words,
)
from eastwall.policy.world import World

from .build import NOW, document, finding, policies, request, user

STAGES = {"sql-injection": "exploitation", "object-not-granted": "exfiltration"}


def playbook(on: dict[str, Any], *steps: dict[str, Any], **spec: Any) -> Policy:
    text = document("Playbook", "guard", on=on, steps=list(steps) or [{"quarantine": "identity"}], **spec)
    return next(p for p in policies(text).policies if p.name == "guard")


def watcher(on: dict[str, Any], *steps: dict[str, Any], **spec: Any) -> Watcher:
    found = watchers_of([playbook(on, *steps, **spec)], STAGES, World({}))
    return found["guard"]


def record(number: int = 0, *, at: float = NOW, found: tuple[Finding, ...] = (), **fields: Any) -> CallRecord:
    plain = CallRecord(
        version=1, id=f"E{number}", time=at, service="orders", method="GET", path="/orders/7", authority="orders", status=200,
        request_bytes=1, response_bytes=1, duration_us=1, source="10.0.0.7", endpoint="ep_1", template="/orders/{id}",
        actor="user:alice", actor_kind="user", actor_class="user", strength=3, principals=("user:alice",), strengths=(3,),
        findings=found or (finding(),),
    )  # fmt: skip
    return replace(plain, **fields)


def fired(watch: Watcher, *records: CallRecord, now: float = NOW) -> list[Firing]:
    return [firing for one in records if (firing := watch.see(one, now)) is not None]


@pytest.mark.parametrize(
    ("on", "found", "counts"),
    [
        ({"findings": ["sql-*"]}, finding(), True),
        ({"findings": ["mass-assignment"]}, finding(), False),
        ({"minSeverity": "high"}, finding(severity="high"), True),
        ({"minSeverity": "high"}, finding(severity="medium"), False),
        ({"stages": ["exploitation"]}, finding(), True),
        ({"stages": ["lateral-movement"]}, finding(), False),
        ({"stages": ["exploitation"]}, finding("never-heard-of"), False),
        ({"minSeverity": "low"}, finding(confidence="low"), False),  # medium is the least by default
        ({"minSeverity": "low", "minConfidence": "low"}, finding(confidence="low"), True),
        ({"findings": ["sql-*"], "minSeverity": "critical"}, finding(severity="high"), False),
        ({"findings": ["*"]}, replace(finding(), standing=True), False),
        ({"findings": ["*"], "services": ["bill*"]}, finding(), False),
    ],
)
def test_which_findings_count(on: dict[str, Any], found: Finding, counts: bool) -> None:
    assert bool(fired(watcher(on), record(found=(found,)))) is counts


def test_it_must_be_one_finding_that_meets_all() -> None:
    two = (finding("sql-injection", "low"), finding("mass-assignment", "critical"))
    assert fired(watcher({"findings": ["sql-*"], "minSeverity": "high"}), record(found=two)) == []


def test_refusals_of_policies_count_and_trials_do_not() -> None:
    def refused(mode: Mode = Mode.ENFORCE, action: str = "block", done: str = "block", name: str = "own-orders") -> CallRecord:
        match = PolicyMatch(name, "AccessPolicy", "p.yaml:1", mode, action, "no")
        return record(next(numbers), action=done, matches=(match,), findings=())

    numbers = count()

    watch = watcher({"policies": ["own-*"]})
    assert fired(watch, refused())
    assert fired(watch, refused(action="limit", done="limit"))
    assert not fired(watch, refused(mode=Mode.MONITOR, done="allow"))
    assert not fired(watch, refused(mode=Mode.MONITOR))  # another one blocked it
    assert not fired(watch, refused(action="allow"))
    assert not fired(watch, refused(name="other"))
    both = watcher({"policies": ["own-*"], "findings": ["sql-*"]})
    assert not fired(both, refused())
    assert fired(both, replace(refused(), findings=(finding(),)))


def test_so_many_within_so_long_of_one_key() -> None:
    watch = watcher({"findings": ["sql-*"], "count": 3, "within": "1m"})
    assert not fired(watch, record(1, at=NOW - 200), record(2, at=NOW - 100), record(3, at=NOW - 50))
    assert not fired(watch, record(4, at=NOW - 30, actor="user:bob"))
    (firing,) = fired(watch, record(5, at=NOW - 41))
    assert (firing.key, firing.count, firing.time, firing.since) == ("identity user:alice", 3, NOW - 41, NOW - 100)
    assert firing.events[-1] == "E5"
    assert firing.findings == ("sql-injection",)


@settings(deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_records_makes_no_difference(times: list[int], shuffled: random.Random) -> None:
    def newest(order: list[int]) -> bool:
        """Whether the last of all calls finds the count complete."""
        watch = watcher({"findings": ["sql-*"], "count": 3, "within": "1m"})
        for number, time in enumerate(order):
            watch.see(record(number, at=NOW - time), NOW)
        return bool(watch.see(record(99, at=NOW), NOW))

    other = list(times)
    shuffled.shuffle(other)
    expected = sum(time <= 60 for time in times) >= 2
    assert newest(times) == newest(other) == expected


def test_a_call_counts_once() -> None:
    watch = watcher({"findings": ["sql-*"], "count": 3})
    assert not fired(watch, *[record(1)] * 9, record(2), record(1), record(2))
    assert fired(watch, record(3))


def test_recordings_old_calls_and_calls_of_the_future_count_for_nothing() -> None:
    watch = watcher({"findings": ["sql-*"], "within": "1m"})
    assert not fired(watch, record(origin="har"))
    assert not fired(watch, record(at=NOW - 61 - LATE))
    assert not fired(watch, record(at=NOW + 3_600))
    assert fired(watch, record(at=NOW - 30))


def test_a_clock_that_jumps_back_leaves_nothing_that_holds_the_place() -> None:
    watch = watcher({"findings": ["sql-*"], "count": 2})
    assert not fired(watch, record(1, at=NOW + 86_400), now=NOW + 86_400)
    assert fired(watch, record(2), record(3), now=NOW)


def test_who_is_not_proved_cannot_be_framed() -> None:
    watch = watcher({"findings": ["sql-*"]})
    assert not fired(watch, record(strength=1))
    assert not fired(watch, record(strength=2))
    assert not fired(watch, record(actor=""))
    assert fired(watch, record(actor="address:10.0.0.7", actor_kind="address", strength=0))
    assert fired(watcher({"findings": ["sql-*"], "strength": "asserted"}), record(strength=2))


def test_maintenance_never_counts_and_claiming_to_be_it_does_not_help() -> None:
    watch = watcher({"findings": ["sql-*"], "per": "service"}, {"quarantine": "service"}, maintenance={"roles": ["ops"]})
    assert not fired(watch, record(roles=("ops",)))
    assert fired(watch, record(1, roles=("ops",), strength=1, strengths=(1,)))
    assert fired(watch, record(2, roles=("dev",)))


@pytest.mark.parametrize(
    ("per", "fields", "key"),
    [
        ("identity", {}, "identity user:alice"),
        ("endpoint", {}, "endpoint orders GET /orders/{id}"),
        ("endpoint", {"template": ""}, None),
        ("service", {}, "service orders"),
        ("source", {}, "source 10.0.0.7"),
        ("tool", {"protocol": "mcp", "operation": "tools/call pay"}, "tool orders pay"),
        ("tool", {}, None),
    ],
)
def test_what_is_counted_apart(per: str, fields: dict[str, Any], key: str | None) -> None:
    watch = watcher({"findings": ["sql-*"], "per": per}, {"notify": {"syslog": "udp://h:514"}})
    assert [firing.key for firing in fired(watch, record(**fields))] == ([key] if key else [])


def test_keys_are_bounded_and_the_idle_ones_go_first() -> None:
    watch = watcher({"findings": ["sql-*"], "count": 2})
    fired(watch, record(1, actor="user:idle"))
    for number in range(MAX_KEYS):
        fired(watch, record(number + 10, actor=f"user:u{number}"))
        if number == MAX_KEYS // 2:
            fired(watch, record(2, actor="user:u0"))
    assert not fired(watch, record(3, actor="user:idle"))
    assert fired(watch, record(4, actor="user:u5000"))


# -- runs -------------------------------------------------------------------------------------------------------------


def run(number: int = 0, **fields: Any) -> Run:
    plain = Run(f"run_{number}", "guard", "identity user:alice", NOW, NOW + 3_600, 1, ("E1",), (), ())
    return replace(plain, **fields)


def firing(**fields: Any) -> Firing:
    return Firing("guard", "identity user:alice", 1, NOW, NOW, record(**fields))


def test_caps() -> None:
    spec = playbook({"findings": ["*"]}, maxPerHour=2).spec
    assert isinstance(spec, Playbook)
    others = [run(n, key=f"identity user:u{n}", ended=NOW) for n in range(40)]
    assert may_run(firing(), spec, [], NOW) == ""
    assert may_run(firing(), spec, [run()], NOW) == "in force"
    assert may_run(firing(), spec, [run(ended=NOW)], NOW) == ""
    assert "2 times within the hour" in may_run(firing(), spec, others[:2], NOW)
    assert may_run(firing(), spec, others[:2], NOW + 3_601) == ""
    assert may_run(firing(), spec, [replace(one, dry=True) for one in others], NOW) == ""
    foreign = [replace(one, playbook="other") for one in others]
    assert f"{MAX_PER_HOUR} times" in may_run(firing(), spec, foreign, NOW)


def test_when_it_is_over() -> None:
    assert not is_over(run(), NOW + 3_599)
    assert is_over(run(), NOW + 3_600)
    assert is_over(run(), NOW - 86_400), "a clock that jumped back must not make it last"
    assert not is_over(run(), NOW - 10)
    assert not is_over(ended(run(), NOW, "x"), NOW + 9_999)


# -- what is put in force ---------------------------------------------------------------------------------------------


def judged(policy: Policy | None, facts: Facts, limits: LimitTable | None = None) -> Any:
    assert policy is not None
    scopes = [ServiceScope(name, Mode.ENFORCE) for name in ("orders", "billing")]
    plan = compile_plan(encode(PolicySet((policy,))), services=scopes, endpoints=(), detections=())
    return evaluate(plan, facts, (), (), LimitTable() if limits is None else limits)


def acting(step: dict[str, Any], on: dict[str, Any] | None = None, fire: Firing | None = None, **spec: Any) -> Policy | None:
    book = playbook({"findings": ["*"], **(on or {})}, step, **spec)
    assert isinstance(book.spec, Playbook)
    return policy_of(book.spec, 0, fire or firing(), "run_1", NOW + 600)


def at(seconds: float, who: Identity, path: str = "/orders/7", **more: Any) -> Facts:
    facts = request("GET", path, who, **more)
    return replace(facts, call=replace(facts.call, time=NOW + seconds))


def test_quarantine_of_an_identity_closes_it_everywhere_nobody_else_and_ends_by_itself() -> None:
    closed = acting({"quarantine": "identity"})
    assert judged(closed, at(1, user("alice"))).action == "block"
    assert judged(closed, at(1, user("alice"), service="billing")).action == "block"
    assert judged(closed, at(1, user("alicia"))).action == "allow"
    assert judged(closed, at(601, user("alice"))).action == "allow", "also when control is down"


def test_quarantine_of_an_endpoint_lets_maintenance_in() -> None:
    closed = acting({"quarantine": "endpoint"}, {"per": "endpoint"}, maintenance={"roles": ["ops"]})
    assert judged(closed, at(1, user("alice"))).action == "block"
    assert judged(closed, at(1, user("alice"), "/invoices/7")).action == "allow"
    assert judged(closed, at(1, user("alice"), service="billing")).action == "allow"
    assert judged(closed, at(1, user("root", roles=("ops",)))).action == "allow"


@pytest.mark.parametrize("name", ["user:*", "user:a*", "*"])
def test_a_name_with_a_wildcard_closes_nobody_else(name: str) -> None:
    with pytest.raises(ValueError, match=r"holds a `\*`"):
        acting({"quarantine": "identity"}, fire=firing(actor=name))


def test_a_target_that_the_call_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="no known endpoint"):
        acting({"quarantine": "endpoint"}, {"per": "service"}, firing(template=""))
    with pytest.raises(ValueError, match="of no tool"):
        acting({"quarantine": "tool"}, {"per": "service"})


def test_a_limit_slows_the_identity_down_until_its_time_is_over() -> None:
    slow, table = acting({"limit": {"rate": "1/m"}}), LimitTable()
    assert isinstance(slow and slow.spec, LimitPolicy)
    actions = [judged(slow, at(second, user("alice")), table).action for second in (1, 2, 3)]
    assert actions == ["allow", "limit", "limit"]
    assert judged(slow, at(4, user("bob")), table).action == "allow"
    assert judged(slow, at(601, user("alice")), table).action == "allow"


def test_a_limit_on_an_address_holds_for_whoever_comes_from_it() -> None:
    fire = replace(firing(), key="source 10.0.0.7")
    slow, table = acting({"limit": {"rate": "1/m"}}, {"per": "source"}, fire), LimitTable()

    def come(name: str, address: str) -> str:
        facts = at(1, user(name))
        call = replace(facts.call, peer=replace(facts.call.peer, address=address))
        return str(judged(slow, replace(facts, call=call), table).action)

    assert [come("alice", "10.0.0.7"), come("bob", "10.0.0.7"), come("bob", "10.0.0.8")] == ["allow", "limit", "allow"]
    with pytest.raises(ValueError, match="does not appear to be"):
        acting({"limit": {"rate": "1/m"}}, {"per": "source"}, replace(fire, record=record(source='1" || true || "')))


def token(iat: str | None, strength: Strength = Strength.VERIFIED) -> Identity:
    claims = {"sub": "alice"} | ({"iat": iat} if iat is not None else {})
    return replace(user("alice", strength), claims=claims, chain=(Principal("user", "alice", strength),))


def test_reauthentication_refuses_the_present_token_and_takes_a_later_one() -> None:
    again = acting({"requireReauthentication": True})
    assert isinstance(again and again.spec, Quarantine)
    for present in (
        token(str(int(NOW) - 60)),
        token(str(int(NOW))),
        token(None),
        token("nan"),
        token("soon"),
        token(f"{NOW + 9:.0f}", Strength.ASSERTED),
    ):
        verdict = judged(again, at(30, present))
        assert verdict.action == "block", present.claims
        (effect,) = verdict.effects
        assert isinstance(effect, Deny)
        assert (effect.status, effect.type) == (401, "reauthentication-required")
    assert judged(again, at(30, token(f"{NOW + 9:.0f}"))).action == "allow"
    assert judged(again, at(30, token(f"{NOW + 9.5}"))).action == "allow"
    assert judged(again, at(30, user("bob"))).action == "allow"
    assert judged(again, at(601, token(None))).action == "allow"


def test_what_only_tells_puts_nothing_in_force() -> None:
    assert acting({"notify": {"webhook": "https://h.example/s3cret-path"}}) is None
    assert acting({"snapshot": True}) is None
    book = playbook({"findings": ["*"]}, {"notify": {"webhook": "https://h.example/s3cret-path"}}).spec
    assert isinstance(book, Playbook)
    assert "s3cret" not in words(book.steps[0], firing())


def test_a_trial_reaches_no_further_than_its_mode() -> None:
    assert judged(acting({"quarantine": "identity"}, mode="monitor"), at(1, user("alice"))).action == "allow"
    assert watchers_of([playbook({"findings": ["*"]}, mode="discover")], STAGES, World({})) == {}


def test_who_comes_through_what_is_closed_is_not_closed() -> None:
    anonymous = Identity(
        "address:10.0.0.7", "address", Strength.NONE, "anonymous", (Principal("address", "10.0.0.7", Strength.NONE),)
    )
    closed = acting({"quarantine": "identity"}, fire=firing(actor="address:10.0.0.7", actor_kind="address", strength=0))
    assert judged(closed, at(1, anonymous)).action == "block"
    signed_in = user("alice")
    from_there = replace(signed_in, chain=(*signed_in.chain, *anonymous.chain))
    assert judged(closed, at(1, from_there)).action == "allow"
    with pytest.raises(ValueError, match="what kind of caller"):
        acting({"quarantine": "identity"}, fire=firing(actor_kind="martian"))
