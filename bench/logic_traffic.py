"""What ordinary users, staff and administrators of a world do, session by session, and the rig that puts calls through the engine."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from bench.in_memory import Kept, Published
from bench.logic_worlds import Ask, Item, Reply, User, World
from eastwall.learning.learner import Learner
from eastwall.model.call import BodyState, Call, Completion, Mode, Peer, Request, Response
from eastwall.model.event_id import event_id
from eastwall.model.finding import Finding
from eastwall.model.snapshot import SNAPSHOT_FORMAT, ServiceScope, Snapshot, TrustConfig
from eastwall.policy import encode, parse_files
from eastwall.policy.defaults import builtin_text
from eastwall.runtime.engine import Engine

SERVICE = "world"
OWNERSHIP = 100_000


class Outcome:
    """What became of one call."""

    __slots__ = ("blocked", "findings", "reply")

    def __init__(self, reply: Reply | None, findings: tuple[Finding, ...], *, blocked: bool) -> None:
        self.reply = reply
        """What the caller got; None when Eastwall answered."""
        self.findings = findings
        self.blocked = blocked


class Rig:
    """A world behind an engine and its learner, in one process: the same `decide`, records and snapshots as a running Eastwall's."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.time = 1_700_000_000.0
        self.calls = 0
        self._kept = Kept()
        self._store = Published()
        self._version = 0
        self.learner = Learner(bytes(range(32)))
        self.mode = Mode.MONITOR
        policies, faults = parse_files(dict(builtin_text()))
        assert not faults, faults
        self._policy = encode(policies)
        self.engine = Engine("bench", self._store, self._kept, clock=lambda: self.time)
        self.publish()

    def publish(self, mode: Mode | None = None) -> None:
        """Learn from what was recorded, and let the engine know."""
        self.mode = self.mode if mode is None else mode
        self.learner.fold(self._kept.records)
        self._kept.records.clear()
        self._version += 1
        endpoints = self.learner.endpoints()
        self._store.publish(
            Snapshot(
                format=SNAPSHOT_FORMAT,
                version=self._version,
                created=self.time,
                hash_key=bytes(range(32)),
                services=(ServiceScope(SERVICE, mode=self.mode),),
                trust=TrustConfig(jwks=(("", self.world.jwks()),)),
                endpoints=endpoints,
                policy=self._policy,
                ownership=self.learner.ownership(OWNERSHIP),
                identity_classes=self.learner.identities.classes(),
                behaviours=self.learner.behaviours.publish(endpoints),
            )
        )
        self.engine.load()

    def call(self, caller: User, ask: Ask, *, address: str = "", gap: float = 0.4) -> Outcome:
        """One call: judged, carried out by the service unless it was blocked, its answer judged before it is delivered."""
        self.calls += 1
        self.time += gap
        body = b"" if ask.body is None else json.dumps(ask.body).encode()
        headers = {
            "authorization": f"Bearer {self.world.token(caller)}",
            "user-agent": "client/2.1",
            "accept": "application/json",
        }
        if body:
            headers["content-type"] = "application/json"
        state = BodyState.COMPLETE if body else BodyState.NONE
        source = address or f"10.0.{len(caller.name)}.{sum(caller.name.encode()) % 250}"
        request = Request(ask.method, ask.path, headers, authority="world.example", body=body, body_state=state)
        call = Call(event_id(self.time, self.calls.to_bytes(10, "big")), SERVICE, self.time, Peer(source, 1), request)
        answer = self.engine.request(call)
        reply: Reply | None = None
        if not answer.deny:
            reply = self.world.answer(caller, ask)
            data = b"" if reply.body is None else json.dumps(reply.body).encode()
            response = Response(
                reply.status, {"content-type": "application/json"}, data, BodyState.COMPLETE if data else BodyState.NONE
            )
            answer = self.engine.response(call.id, response)
        status = answer.status if answer.deny else reply.status if reply else 0
        path = ask.path.partition("?")[0]
        self.engine.completed(
            Completion(call.id, SERVICE, self.time, ask.method, path, "world.example", status, len(body), 300, 900, source)
        )
        self.engine.tick(self.time)
        record = self._kept.records[-1]
        return Outcome(None if answer.deny else reply, record.findings, blocked=answer.deny)


class Session:
    """One user's visit: a few steps in the order in which people take them."""

    def __init__(self, world: World, user: User, rng: random.Random) -> None:
        self.world = world
        self.user = user
        self.rng = rng

    def asks(self) -> Iterator[Ask]:
        """The calls, each to be made before the next is asked for (later ones depend on what was created)."""
        world, user, rng = self.world, self.user, self.rng
        if user.role != "member":
            yield from self._staff()
            return
        if rng.random() < 0.4:
            yield world.ask_me()
        if rng.random() < 0.5:
            yield world.ask_public(rng.choice((0, 10, 20)), rng.choice((10, 10, 20)))
        if rng.random() < 0.1:
            yield world.ask_me({"phone": f"+49 30 {rng.randrange(10_000, 99_999)}"})
        which = 0 if rng.random() < 0.7 else 1
        if rng.random() < 0.3:
            yield from self._purchase(which)
        yield world.ask(user, "list", which)
        for item in self._own(which):
            yield world.ask(user, "get", which, item.id)
            if rng.random() < 0.3:
                yield world.ask(user, "history", which, item.id)
            if rng.random() < 0.15 and item.state == "open":
                yield world.ask(user, "update", which, item.id, {"amount": self._amount()})

    def _purchase(self, which: int) -> Iterator[Ask]:
        """Create, confirm, pay: always in this order."""
        world, user, rng = self.world, self.user, self.rng
        yield world.ask(user, "create", which, given={"amount": self._amount(), "note": "please"})
        made = [i for i in world.items.values() if i.owner == user.name and i.kind == (world.main, world.side)[which][0]]
        if not made:
            return
        item = made[-1]
        yield world.ask(user, "get", which, item.id)
        if rng.random() < 0.9:
            yield world.ask(user, "confirm", which, item.id)
            if world.style == "rest" and rng.random() < 0.2:
                yield world.ask(user, "coupon", which, item.id, {"code": f"WELCOME-{user.name}"})
            yield world.ask(user, "pay", which, item.id)

    def _amount(self) -> float:
        return self.rng.randrange(100, 50_000) / 100

    def _own(self, which: int) -> list[Item]:
        """A few of the objects that the user may see: mostly the user's own, the tenant's in worlds with tenants."""
        kind = (self.world.main, self.world.side)[which][0]
        mine = [i for i in self.world.items.values() if i.kind == kind and i.state != "deleted" and self.world.may(self.user, i)]
        return self.rng.sample(mine[-10:], min(len(mine[-10:]), self.rng.randrange(1, 4)))

    def _staff(self) -> Iterator[Ask]:
        world, rng = self.world, self.rng
        if self.user.role == "admin":
            yield world.ask_admin(rng.choice(("users", "settings", "export")))
        pool = [i for i in world.items.values() if i.kind == world.main[0] and i.state != "deleted"]
        for item in rng.sample(pool, min(len(pool), 12)):
            yield world.ask(self.user, "get", 0, item.id)
            if rng.random() < 0.2:
                yield world.ask(self.user, "history", 0, item.id)


def legitimate(rig: Rig, calls: int, rng: random.Random, newcomers: bool = False) -> list[tuple[Ask, Outcome]]:
    """At least `calls` calls of ordinary sessions; those that Eastwall blocked are returned."""
    world, disturbed, made = rig.world, [], 0
    while made < calls:
        if newcomers and rng.random() < 0.05:
            user = world.user(len(world.users) + rng.randrange(50))
        else:
            user = rng.choice(list(world.users.values()) if rng.random() < 0.2 else world.members())
        for ask in Session(world, user, rng).asks():
            outcome = rig.call(user, ask, gap=rng.expovariate(1 / 3))
            made += 1
            if outcome.blocked:
                disturbed.append((ask, outcome))
            if made % 500 == 0:
                rig.publish()
    return disturbed


def foreign(world: World, user: User, kind: str) -> list[Item]:
    """Objects of a kind that are not the user's to see."""
    return [i for i in world.items.values() if i.kind == kind and i.state != "deleted" and not world.may(user, i)]


def holds_foreign(world: World, user: User, reply: Reply | None) -> bool:
    """Whether the caller got, or changed, what is not the caller's."""
    if reply is None:
        return False
    return any(
        touched == "admin" or (touched in world.items and not world.may(user, world.items[touched])) for touched in reply.touched
    )


def told(finding: Any) -> str:
    """A finding in a few words."""
    return f"{finding.id} {finding.where}"
