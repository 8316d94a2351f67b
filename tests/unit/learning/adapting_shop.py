"""A shop behind an engine and its learner, in one process and enforcing from the first call: what is promoted shows in what is blocked."""

from __future__ import annotations

import json
import random
from typing import Any

from bench.in_memory import Kept, Published
from joserfc import jwt
from joserfc.jwk import OctKey

from eastwall.learning.learner import Learner
from eastwall.model.call import BodyState, Call, Completion, Mode, Peer, Request, Response
from eastwall.model.endpoint import Endpoint
from eastwall.model.event_id import event_id
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import SNAPSHOT_FORMAT, ServiceScope, Snapshot, TrustConfig
from eastwall.policy import encode, parse_files
from eastwall.policy.defaults import builtin_text
from eastwall.runtime.engine import Engine

KEY = OctKey.import_key("a-secret-of-thirty-two-bytes-or-more")
DAY = 86_400.0


class Shop:
    """`users` customers and three administrators."""

    def __init__(self, users: int, automata: dict[str, bytes]) -> None:
        self.rng = random.Random(users)
        self.time = 1_700_000_000.0
        self.users = [f"u{n}" for n in range(users)]
        self.learner = Learner(bytes(range(32)))
        self.orders: dict[str, list[int]] = {}
        self.calls = 0
        self.blocked: list[tuple[float, str, str]] = []
        """(time, `METHOD path`, finding) of every call that was blocked."""
        self.records: list[CallRecord] = []
        self.headers: dict[str, str] = {}
        """Further headers of answers."""
        self._tokens: dict[str, str] = {}
        self._kept, self._store = Kept(), Published()
        policies, faults = parse_files(dict(builtin_text()))
        assert not faults
        self._policy = encode(policies)
        self.engine = Engine("shop", self._store, self._kept, clock=lambda: self.time, automata=automata)
        self.publish()

    def publish(self) -> None:
        """Learn, adopt, and let the engine know, as control does each second."""
        self.records += self._kept.records
        self.learner.fold(self._kept.records)
        self._kept.records.clear()
        endpoints = self.learner.endpoints()
        self._store.publish(
            Snapshot(
                format=SNAPSHOT_FORMAT,
                version=self.calls + 1,
                created=self.time,
                hash_key=bytes(range(32)),
                services=(ServiceScope("shop", mode=Mode.ENFORCE),),
                trust=TrustConfig(jwks=(("", json.dumps({"keys": [KEY.as_dict()]}).encode()),)),
                endpoints=endpoints,
                behaviours=self.learner.knowledge(endpoints),
                policy=self._policy,
                ownership=self.learner.ownership(100_000),
                identity_classes=self.learner.identities.classes(),
            )
        )
        self.engine.load()

    def call(self, user: str, method: str, path: str, body: Any = None, answer: Any = None, *, gap: float = 1.0) -> bool:
        """Whether it was let through."""
        self.calls += 1
        self.time += gap
        role = "admin" if user.startswith("root") else "user"
        token = self._tokens.get(user)
        if token is None:
            token = self._tokens[user] = jwt.encode({"alg": "HS256"}, {"sub": user, "roles": [role]}, KEY)
        data = b"" if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "user-agent": "app/1"}
        state = BodyState.COMPLETE if data else BodyState.NONE
        request = Request(method, path, headers, authority="shop", body=data, body_state=state)
        call = Call(event_id(self.time, self.calls.to_bytes(10, "big")), "shop", self.time, Peer("10.0.0.9", 1), request)
        verdict = self.engine.request(call)
        if not verdict.deny:
            content = json.dumps(answer if answer is not None else {"ok": True}).encode()
            response = Response(200, {"content-type": "application/json"} | self.headers, content, BodyState.COMPLETE)
            verdict = self.engine.response(call.id, response)
        status = verdict.status if verdict.deny else 200
        self.engine.completed(
            Completion(call.id, "shop", self.time, method, path, "shop", status, len(data), 100, 900, "10.0.0.9")
        )
        self.engine.tick(self.time)
        if verdict.deny:
            findings = ", ".join(sorted({f.id for f in self._kept.records[-1].findings}))
            self.blocked.append((self.time, f"{method} {path}", findings))
        return not verdict.deny

    def ordinary(self, calls: int, gap: float, *, release: bool = False, every: int = 50) -> None:
        """What customers and administrators do. `release`: since a new version of the shop and of its app."""
        for n in range(calls):
            user, dice = self.rng.choice(self.users), self.rng.random()
            if dice < 0.25:
                body = {"product": self.rng.randrange(30), "quantity": 1 + self.rng.randrange(9)}
                self.call(user, "POST", "/orders", body | ({"gift_note": "hello"} if release else {}), gap=gap)
            elif dice < 0.5:
                self.call(user, "POST", "/profile", {"name": user, "phone": "1"} | ({"plan": "gold"} if release else {}), gap=gap)
            elif dice < 0.6:
                root = f"root{self.rng.randrange(3)}"
                self.call(root, "POST", "/admin/refunds", {"order": 7, "amount": 1 + self.rng.randrange(90)}, gap=gap)
            elif dice < 0.7:
                who = user if release and dice < 0.68 else f"root{self.rng.randrange(3)}"
                self.call(who, "GET", "/reports", answer={"total": 4}, gap=gap)
            elif dice < 0.8 and release:
                self.call(user, "POST", "/wishlist", {"product": 4}, gap=gap)
            else:
                self.call(user, "GET", "/catalogue", answer={"items": [{"name": "a"}]}, gap=gap)
            if n % every == every - 1:
                self.publish()
        self.publish()

    def endpoint(self, method: str, template: str) -> Endpoint:
        """As the engine has it."""
        return next(e for e in self._store.newest.endpoints if (e.method, e.template) == (method, template))
