"""What ordinary people and machines do in a world, day by day: visits of members, the work of support, managers, administrators and service
accounts, and what comes with them: mistyped passwords, double clicks, retries, deep paging, nightly batches, sales, a release in the middle.

Visits run beside each other, each with its own pace; the next call of a visit is decided when it is due, by what the world is like then.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from bench.logic_clients import Ask
from bench.logic_rig import PARTNER, SERVICE, Outcome, Rig
from bench.logic_service import Result
from bench.logic_worlds import CURRENCIES, Item, User, World


class Step(Struct, frozen=True):
    """One call of a visit."""

    ask: Ask
    gap: float
    """Seconds after the one before."""
    service: str = SERVICE
    reply: Result | None = None
    """See `Rig.call`."""


Steps = Iterator[Step]
EVERY = 500
"""Calls between two snapshots."""
PACE = 45.0
"""Seconds between two visits, on an ordinary hour."""


class Visit:
    """One person's (or machine's) visit."""

    def __init__(self, rig: Rig, user: User, rng: random.Random) -> None:
        self.rig = rig
        self.world: World = rig.world
        self.user = user
        self.rng = rng
        self.address = self._place()
        self.agent = rng.choice(user.agents)
        self.pace = rng.choice((2.0, 5.0, 9.0))
        self.refused = False
        """Whether the last call was: nobody pays for a cart that another window has emptied, having been told so."""

    def _place(self) -> str:
        """Where from: a place that the user is often at, the telephone's network, which gives another address each time, or a journey."""
        rng = self.rng
        if self.user.role != "member":
            return rng.choice(self.user.addresses)
        if rng.random() < 0.02:
            return f"{rng.randrange(11, 99)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
        if rng.random() < 0.3:
            return f"100.{64 + self.user.internal % 4}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
        return rng.choice(self.user.addresses)

    def steps(self) -> Steps:
        role = self.user.role
        return {"member": self._member, "support": self._support, "admin": self._admin, "manager": self._manager}.get(
            role, self._machine
        )()

    def do(self, op: str, gap: float | None = None, **args: Any) -> Step:
        """A step, after a time of thought (`gap`: seconds, for what an app asks by itself)."""
        wait = self.rng.expovariate(1 / self.pace) + 0.3 if gap is None else gap
        return Step(self.rig.ask(self.user, op, **args), wait)

    def _chance(self, share: float) -> bool:
        return self.rng.random() < share

    # -- members --------------------------------------------------------------------------------------------------

    def _member(self) -> Steps:
        world, rng, traits = self.world, self.rng, self.world.traits
        if self._chance(0.3):
            yield from self._sign_in()
        yield self.do("me", 0.1)
        if self._chance(0.6):
            yield self.do("list", 0.12, which=0)
        if self._chance(0.5):
            yield from self._browse()
        if self._chance(0.05):
            yield self.do("update_me", given={"phone": f"+49 30 {rng.randrange(10_000, 99_999)}"})
        if self._chance(0.06):
            yield self.do("update_me", given={"preferences": {"language": rng.choice(("en", "de", "fr"))}})
        writes = "write" in self.user.scope or not self.user.scope
        which = 0 if self._chance(0.7) else 1
        if writes and self._chance(0.45):
            yield from self._purchase(which)
        if writes and traits["cart"] and self._chance(0.3):
            yield from self._cart()
        if writes and traits["transfers"] and self._chance(0.25):
            yield from self._transfer()
        yield from self._own(which, writes)
        if traits["people"] and self._chance(0.3):
            for person in rng.sample(world.members(), rng.randrange(1, 4)):
                yield self.do("profile", id=person.internal)
        if traits["giftcards"] and self._chance(0.08):
            yield from self._giftcard()
        if self.user.assists:
            yield from self._assist()
        yield from self._news()
        if writes and self._chance(0.25):
            yield from self._hand_out(which)

    def _sign_in(self) -> Steps:
        user, rng = self.user, self.rng
        if self._chance(0.02):
            yield self.do("forgot", email=user.email)
            code = next((code for code, name in self.world.resets.items() if name == user.name), "")
            if code:
                user.password = f"new-{rng.randrange(10**6)}"
                yield self.do("reset", code=code, password=user.password)
        while self._chance(0.07):
            yield self.do("login", email=user.email, password=user.password[:-1] + rng.choice("abc"))
        yield self.do("login", email=user.email, password=user.password)
        if self._chance(0.3):
            token = next((token for token, name in self.world.refresh.items() if name == user.name), "")
            if token:
                yield self.do("refresh", token=token)

    def _browse(self) -> Steps:
        rng = self.rng
        start, size = 0, rng.choice((10, 10, 10, 20))
        pages = rng.choice((1, 1, 2, 3)) if self._chance(0.95) else 12
        for _ in range(pages):
            yield self.do("catalogue", offset=start, limit=size)
            start += size
            if self._chance(0.6):
                yield self.do("product", id=1 + min(239, int(rng.expovariate(1 / 40))))

    def _draft(self) -> dict[str, Any]:
        rng = self.rng
        quantity, price = rng.choice((1, 1, 1, 2, 2, 3, 5, 8)), rng.randrange(200, 30_000) / 100
        lines = [
            {"product_id": rng.randrange(1, 240), "quantity": rng.choice((1, 1, 2, 3))} for _ in range(rng.choice((1, 1, 2, 3)))
        ]
        draft = {"quantity": quantity, "price": price, "total": round(quantity * price, 2), "currency": rng.choice(CURRENCIES)}
        return draft | {"note": rng.choice(("", "please", "by Friday", "it's a gift; no bill")), "lines": lines}

    def _purchase(self, which: int) -> Steps:
        """Create, confirm, pay: always in this order. Some give up on the way, some want their money back."""
        world, user = self.world, self.user
        before = set(world.items)
        yield self.do("create", which=which, given=self._draft())
        made = [i for key, i in world.items.items() if key not in before and i.owner == user.name and i.kind == world.kind(which)]
        if not made:
            return
        item = made[-1]
        yield self.do("get", 0.15, which=which, item=item)
        if self._chance(0.15):
            return
        yield self.do("confirm", which=which, item=item)
        if self._chance(0.08) and "WELCOME10" not in user.coupons:
            yield self.do("coupon", which=which, item=item, given={"code": "WELCOME10"})
        if self._chance(0.1):
            return
        yield self.do("pay", which=which, item=item)
        if self._chance(0.03):
            yield self.do("pay", self.rng.uniform(0.09, 0.4), which=which, item=item)
        if self._chance(0.12):
            yield self.do("refund", which=which, item=item)

    def _cart(self) -> Steps:
        rng = self.rng
        for _ in range(rng.choice((1, 1, 2, 3))):
            yield self.do("cart_add", given={"product_id": rng.randrange(1, 240), "quantity": rng.choice((1, 1, 2, 4))})
        if self._chance(0.2):
            return
        if self._chance(0.25) and "SPRING" not in self.user.coupons:
            yield self.do("cart_coupon", given={"code": "SPRING"})
        yield self.do("cart_checkout", given={"delivery": rng.choice(("post", "courier"))})
        if self.refused or self._chance(0.1):
            return
        yield self.do("cart_pay", given={"method": rng.choice(("card", "invoice"))})
        if self.refused:
            return
        yield self.do("cart_place", 0.4, given={"terms": True})

    def _transfer(self) -> Steps:
        rng, world, user = self.rng, self.world, self.user
        yield self.do("otp_send", given={})
        code = world.codes.get(user.name, "0000")
        if self._chance(0.06):
            yield self.do("otp_verify", given={"code": f"{(int(code) + 1) % 10_000:04d}"})
        yield self.do("otp_verify", given={"code": code})
        if self.refused:
            return
        given = {"to": rng.choice(world.members()).phone, "amount": rng.randrange(100, 90_000) / 100, "currency": "EUR"}
        yield self.do("transfer", given=given)

    def _own(self, which: int, writes: bool) -> Steps:
        world, rng = self.world, self.rng
        kind, legacy = world.kind(which), world.traits["legacy"] and which == 1 and self._chance(0.25)
        pages = 1 if self._chance(0.93) else 4
        for page in range(1, pages + 1):
            paged = {"page": page, "size": 10} if pages > 1 else {}
            yield self.do("list", which=which, **paged)
        mine = world.seen_by(self.user, kind)[-12:]
        for item in rng.sample(mine, min(len(mine), rng.randrange(1, 4))):
            yield self.do("legacy_get" if legacy else "get", which=which, item=item)
            if self._chance(0.25):
                yield self.do("history", 0.2, which=which, item=item)
            if self._chance(0.3):
                yield self.do("lines", 0.2, which=which, item=item)
                yield self.do("line", which=which, item=item, line=rng.choice(item.lines)["id"])
            if writes and self._chance(0.12) and item.owner == self.user.name and item.state == "open":
                draft = self._draft()
                yield self.do("update", which=which, item=item, given={n: draft[n] for n in ("quantity", "price", "total")})
            if world.deployed and self._chance(0.3):
                yield self.do("eta", 0.2, which=which, item=item)
        if len(mine) > 2 and self._chance(0.2):
            yield self.do("batch", which=which, ids=[world.asked(item) for item in mine[-4:]])
        old = [item for item in mine if item.owner == self.user.name][:1]
        if writes and world.traits["deletes"] and len(mine) > 6 and self._chance(0.15) and old:
            yield self.do("delete", which=which, item=old[0])
            if self._chance(0.4):  # an old tab
                yield self.do("get", which=which, item=old[0])

    def _giftcard(self) -> Steps:
        mine = sorted(self.world.giftcards)[self.user.internal % 300]
        if self._chance(0.15):
            yield self.do("giftcard", code=mine[:-1] + self.rng.choice("0123456789"))
        yield self.do("giftcard", code=mine)

    def _assist(self) -> Steps:
        boss = self.world.users[self.user.assists]
        if self.world.evidence not in ("tenant", "nowhere"):
            yield self.do("list", which=0, owner=self.world.owner_value(boss), of=boss)
        theirs = [
            i for i in self.world.items.values() if i.owner == boss.name and i.kind == self.world.kind(0) and i.state != "deleted"
        ]
        for item in theirs[-3:]:
            yield self.do("get", which=0, item=item)

    def _news(self) -> Steps:
        """Looks at what others gave or showed to the user."""
        mine = [one for one in self.world.unread if one[0] == self.user.name]
        for one in mine[:3]:
            if one not in self.world.unread:  # another visit of the same user was faster
                continue
            self.world.unread.remove(one)
            item = self.world.items[one[1]]
            which = 0 if item.kind == self.world.kind(0) else 1
            if item.state != "deleted" and self.world.may(self.user, item):
                yield self.do("list", which=which)
                yield self.do("get", which=which, item=item)

    def _hand_out(self, which: int) -> Steps:
        world, rng, user = self.world, self.rng, self.user
        mine = [i for i in world.seen_by(user, world.kind(which)) if i.owner == user.name]
        others = [other for other in world.members() if other is not user and (not world.tenants or other.tenant == user.tenant)]
        if not mine or not others:
            return
        item, other = rng.choice(mine), rng.choice(others)
        sharing = world.traits["sharing"]
        if sharing == "colleague" and self._chance(0.5):
            yield self.do("share", which=which, item=item, given={"with": other.name})
            world.unread.append((other.name, item.id))
        elif sharing == "link" and self._chance(0.5):
            yield self.do("link", which=which, item=item, given={})
            yield Step(self.rig.ask(other, "by_link", link=item.link or "none"), rng.expovariate(1 / 20))
        elif world.traits["handover"] and self._chance(0.4):
            yield self.do("reassign", which=which, item=item, given={"to": other.email})
            world.unread.append((other.name, item.id))

    # -- those who work there -------------------------------------------------------------------------------------

    def _some(self, count: int, which: int = 0, tenant: str = "") -> list[Item]:
        kind = self.world.kind(which)
        pool = [i for i in self.world.items.values() if i.kind == kind and i.state != "deleted" and tenant in ("", i.tenant)]
        return self.rng.sample(pool, min(len(pool), count))

    def _support(self) -> Steps:
        for item in self._some(10):
            if self.world.traits["people"] and self._chance(0.3):
                yield self.do("profile", id=self.world.users[item.owner].internal)
            yield self.do("get", which=0, item=item)
            if self._chance(0.4):
                yield self.do("history", which=0, item=item)
            if self._chance(0.1) and item.state == "paid" and "refund" not in item.history:
                yield self.do("refund", which=0, item=item)
        for item in self._some(3, 1):
            yield self.do("get", which=1, item=item)

    def _admin(self) -> Steps:
        for op in self.rng.choices(("admin_users", "admin_settings", "admin_export"), k=2):
            yield self.do(op)
        if self._chance(0.3):
            yield self.do("admin_role", given={"email": self.rng.choice(self.world.members()).email, "role": "member"})
        for item in self._some(2):
            yield self.do("get", which=0, item=item)

    def _manager(self) -> Steps:
        yield self.do("me")
        for item in self._some(5, tenant=self.user.tenant):
            yield self.do("get", which=0, item=item)
            if "approve" not in item.history and self._chance(0.5):
                yield self.do("approve", which=0, item=item)

    def _machine(self) -> Steps:
        """A service account: ships what was paid, or reads what is to be billed; at night, much of it."""
        night = self.rng.random() < 0.15
        which = 1 if "billing" in self.user.name else 0
        for item in self._some(60 if night else 6, which):
            yield self.do("get", 0.05, which=which, item=item)
            if not which and item.state == "paid" and "ship" not in item.history:
                yield self.do("ship", 0.05, which=which, item=item)
        if self.world.traits["partner"]:
            rates = {"USD": round(self.rng.uniform(1.0, 1.2), 4), "GBP": round(self.rng.uniform(0.8, 0.9), 4)}
            reply = Result(200, {"base": "EUR", "rates": rates, "date": f"2026-03-{self.rng.randrange(1, 29):02d}"})
            yield Step(self.rig.ask(self.user, "rates"), 0.1, PARTNER, reply)


def legitimate(rig: Rig, calls: int, rng: random.Random, churn: bool = False) -> list[tuple[Step, Outcome]]:
    """About `calls` calls of ordinary visits; those that Eastwall blocked are returned. `churn`: people join, there is a sale, and in the
    middle a release that adds a field and an endpoint."""
    world, disturbed = rig.world, []
    due: list[tuple[float, int, Visit, Steps, Step]] = []
    arrival, number, made = rig.time, 0, 0
    sale = calls * 0.7
    while made < calls:
        if churn and made > calls / 2:
            world.deployed = True
        while not due or arrival <= due[0][0]:
            number += 1
            visit = Visit(rig, _visitor(world, rng, churn), rng)
            steps = visit.steps()
            if (first := next(steps, None)) is not None:
                heapq.heappush(due, (arrival + first.gap, number, visit, steps, first))
            arrival += rng.expovariate((8 if churn and sale < made < sale + 150 else 1) / PACE)
        at, key, visit, steps, step = heapq.heappop(due)
        rig.time = max(rig.time, at)
        outcome = _made(rig, visit, step)
        visit.refused = not outcome.done
        made += 1
        if outcome.blocked:
            disturbed.append((step, outcome))
        if (following := next(steps, None)) is not None:
            heapq.heappush(due, (rig.time + following.gap, key, visit, steps, following))
        if made % EVERY == 0:
            rig.publish()
    return disturbed


def _made(rig: Rig, visit: Visit, step: Step) -> Outcome:
    return rig.call(
        visit.user, step.ask, gap=0.0, address=visit.address, agent=visit.agent, service=step.service, reply=step.reply
    )


def _visitor(world: World, rng: random.Random, churn: bool) -> User:
    if churn and rng.random() < 0.03:
        return world.join()
    if rng.random() < 0.12:
        return rng.choice([user for user in world.users.values() if user.role != "member"])
    return rng.choice(world.members())
