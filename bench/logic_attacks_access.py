"""Attack flows on sign-in and tokens (API2), by volume, along new ways through the service, on its old versions (API9) and from the third
parties that it trusts (API10)."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

from bench.logic_rig import PARTNER
from bench.logic_service import Result
from bench.logic_strike import Flow, Strike
from bench.logic_worlds import User

ENOUGH = 10


def _members(strike: Strike, count: int) -> list[User]:
    pool = [user for user in strike.world.members() if user is not strike.user]
    return strike.rng.sample(pool, min(count, len(pool)))


def _signed_in(
    strike: Strike, email: str, password: str, *, gap: float, address: str, agent: str = "python-requests/2.32"
) -> bool:
    return strike.hit("login", email=email, password=password, gap=gap, address=address, agent=agent).done


def stuffing(strike: Strike) -> bool | None:
    """A leaked list from one address; one pair in its second half is right."""
    pairs = [(f"x{strike.rng.randrange(10**6)}@mail.example", "sunshine1") for _ in range(40)]
    pairs += [(user.email, "sunshine1") for user in _members(strike, 12)]
    strike.rng.shuffle(pairs)
    right = strike.rng.choice(strike.world.members())
    pairs.insert(strike.rng.randrange(len(pairs) // 2, len(pairs)), (right.email, right.password))
    return sum(_signed_in(strike, *pair, gap=0.4, address="45.1.2.3") for pair in pairs) > 0


def stuffing_distributed(strike: Strike) -> bool | None:
    """The same list, two attempts from each of many addresses."""
    pairs = [(f"y{strike.rng.randrange(10**6)}@mail.example", "sunshine1") for _ in range(70)]
    right = strike.rng.choice(strike.world.members())
    pairs.insert(strike.rng.randrange(40, len(pairs)), (right.email, right.password))
    return sum(_signed_in(strike, *pair, gap=0.8, address=f"45.{n // 2}.3.{n % 200 + 1}") for n, pair in enumerate(pairs)) > 0


def spraying(strike: Strike) -> bool | None:
    """One password on every account, slowly."""
    users = strike.world.members()
    strike.rng.shuffle(users)
    weak = users[-1]
    kept, weak.password = weak.password, "Spring2026!"
    won = sum(_signed_in(strike, user.email, "Spring2026!", gap=20.0, address="45.4.4.4") for user in users) > 0
    weak.password = kept
    return won


def brute_force(strike: Strike) -> bool | None:
    """One account, many passwords."""
    victim = _members(strike, 1)[0]
    guesses = [f"amber-{n}" for n in range(40)]
    guesses.insert(30, victim.password)
    return sum(_signed_in(strike, victim.email, guess, gap=0.5, address="45.5.5.5") for guess in guesses) > 0


def brute_force_distributed(strike: Strike) -> bool | None:
    """One account, each password from another address."""
    victim = _members(strike, 1)[0]
    guesses = [f"amber-{n}" for n in range(40)]
    guesses.insert(30, victim.password)
    return (
        sum(_signed_in(strike, victim.email, guess, gap=5.0, address=f"46.{n}.5.{n + 1}") for n, guess in enumerate(guesses)) > 0
    )


def otp_guessed(strike: Strike) -> bool | None:
    """Every code of four digits, until one fits."""
    world = strike.world
    if not world.traits["transfers"]:
        return None
    strike.honest("otp_send", given={})
    code = world.codes.get(strike.user.name, "0000")
    tried = [f"{n:04d}" for n in range(60) if f"{n:04d}" != code]
    tried.insert(50, code)
    return sum(strike.hit("otp_verify", given={"code": guess}, gap=0.1).done for guess in tried) > 0


def token_replayed(strike: Strike) -> bool | None:
    """A victim's token, from another place and another client, an hour after the victim used it."""
    world = strike.world
    victim = _members(strike, 1)[0]
    token = world.issue(victim, strike.rig.time)
    for op in ("me", "list"):
        strike.rig.call(victim, strike.rig.ask(victim, op, **({"which": 0} if op == "list" else {})), gap=3.0, token=token)
    items = [item for item in world.seen_by(victim, world.kind(0)) if item.owner == victim.name][:3]
    strike.rig.time += 60.0
    got = 0
    wanted: list[tuple[str, dict[str, Any]]] = [("me", {}), ("list", {"which": 0})]
    wanted += [("get", {"which": 0, "item": item}) for item in items]
    for op, more in wanted:
        got += strike.hit(op, by=victim, gap=0.4, address="185.220.101.7", agent="curl/8.9", token=token, **more).done
    return got > 0


def reset_flood(strike: Strike) -> bool | None:
    """A reset asked for every account, within a minute."""
    return (
        sum(strike.hit("forgot", email=user.email, gap=0.5, address="45.6.6.6").done for user in strike.world.members())
        > 2 * ENOUGH
    )


def reset_guessed(strike: Strike) -> bool | None:
    """A reset for a victim, and the code guessed."""
    victim = _members(strike, 1)[0]
    strike.hit("forgot", email=victim.email, gap=0.5, address="45.7.7.7")
    code = next((code for code, name in strike.world.resets.items() if name == victim.name), None)
    tried = [f"{n:06d}" for n in range(60) if f"{n:06d}" not in strike.world.resets]
    if code is not None:
        tried.insert(50, code)
    kept = victim.password
    won = sum(strike.hit("reset", code=guess, password="mine-now-1", gap=0.2, address="45.7.7.7").done for guess in tried) > 0
    victim.password = kept
    return won


def users_told_apart(strike: Strike) -> bool | None:
    """Which of a thousand addresses have an account: the answer says so."""
    if not strike.world.traits["telling"]:
        return None
    emails = [f"z{n}@mail.example" for n in range(40)] + [user.email for user in strike.world.members()]
    strike.rng.shuffle(emails)
    told = 0
    for email in emails:
        outcome = strike.hit("login", email=email, password="x", gap=0.6, address="45.8.8.8")
        told += outcome.result is not None
    return told > 2 * ENOUGH


# -- volume -------------------------------------------------------------------------------------------------------


def bulk(strike: Strike) -> bool | None:
    """Support reads hundreds of objects within minutes, as it never did: an insider leaves."""
    world = strike.world
    strike.user = strike.rng.choice([user for user in world.users.values() if user.role == "support"])
    pool = [item for item in world.items.values() if item.state != "deleted" and item.kind == world.kind(0)]
    return sum(strike.hit("get", which=0, item=item, gap=0.2).done for item in islice(cycle(pool), 400)) > 200


def slow_bulk(strike: Strike) -> bool | None:
    """The same, forty an hour through a day."""
    world = strike.world
    strike.user = strike.rng.choice([user for user in world.users.values() if user.role == "support"])
    pool = [item for item in world.items.values() if item.state != "deleted" and item.kind == world.kind(0)]
    return sum(strike.hit("get", which=0, item=item, gap=90.0).done for item in islice(cycle(pool), 960)) > 700


def exports(strike: Strike) -> bool | None:
    """An administrator exports everything, again and again, within minutes."""
    strike.user = strike.rng.choice([user for user in strike.world.users.values() if user.role == "admin"])
    return sum(strike.hit("admin_export", gap=2.0).done for _ in range(60)) > 30


# -- new ways -----------------------------------------------------------------------------------------------------


def pivot(strike: Strike) -> bool | None:
    """A service account calls what it never called: administration, and people."""
    strike.user = strike.world.users["svc-fulfilment"]
    return sum("admin" in strike.hit(op, gap=0.3).touched for op in ("admin_users", "admin_export", "admin_settings")) > 0


def pivot_other_kind(strike: Strike) -> bool | None:
    """A service account reads the other private kind, which another account is for."""
    world = strike.world
    strike.user = world.users["svc-fulfilment"]
    pool = [item for item in world.items.values() if item.kind == world.kind(1) and item.state != "deleted"]
    return sum(strike.hit("get", which=1, item=item, gap=0.3).done for item in islice(cycle(pool), 40)) > ENOUGH if pool else None


def credential_abroad(strike: Strike) -> bool | None:
    """A service account's token, from outside the network it has always called from."""
    world = strike.world
    strike.user = world.users["svc-fulfilment"]
    pool = [item for item in world.items.values() if item.kind == world.kind(0) and item.state != "deleted"][:20]
    return (
        sum(strike.hit("get", which=0, item=item, gap=0.3, address="185.220.101.9", agent="curl/8.9").done for item in pool) > 2
    )


def old_version(strike: Strike) -> bool | None:
    """Version 1 gives what version 2 refuses."""
    world = strike.world
    victims = strike.victims(3, 1)
    if not world.traits["legacy"] or not victims:
        return None
    strike.rig.call(strike.user, strike.rig.ask(strike.user, "get", which=1, item=victims[0]), gap=2.0)
    return sum(strike.got(strike.hit("legacy_get", which=1, item=victim)) > 0 for victim in victims) > 0


def old_version_told(strike: Strike) -> bool | None:
    """The same weakness, found before anybody uses it on a stranger's object."""
    mine = next((i for i in strike.world.seen_by(strike.user, strike.world.kind(1)) if i.owner == strike.user.name), None)
    if not strike.world.traits["legacy"] or mine is None:
        return None
    return strike.hit("legacy_get", which=1, item=mine).done


# -- third parties ------------------------------------------------------------------------------------------------


def _partner(strike: Strike, body: object, location: str = "", status: int = 200) -> bool | None:
    if not strike.world.traits["partner"]:
        return None
    strike.user = strike.world.users["svc-billing"]
    outcomes = [
        strike.send(strike.rig.ask(strike.user, "rates"), service=PARTNER, reply=Result(status, body), location=location)
        for _ in range(3)
    ]
    return any(outcome.result is not None and outcome.result.body == body for outcome in outcomes)


def partner_shape(strike: Strike) -> bool | None:
    """The same endpoint, another shape: a list where an object was, texts where numbers were."""
    return _partner(strike, {"base": "EUR", "rates": [{"code": "USD", "value": "1.08"}], "next": "https://rates.example/2"})


def partner_injection(strike: Strike) -> bool | None:
    rates = {"USD": 1.08, "GBP": 0.85}
    return _partner(
        strike,
        {"base": "EUR'; DROP TABLE rates; -- <script>alert(document.cookie)</script>", "rates": rates, "date": "2026-03-01"},
    )


def partner_redirect(strike: Strike) -> bool | None:
    """Sends the service on to its own metadata address."""
    return _partner(strike, {}, "http://169.254.169.254/latest/meta-data/iam/", 302)


ACCESS: tuple[Flow, ...] = (
    Flow("API2 stuffing", stuffing), Flow("API2 stuffing, distributed", stuffing_distributed), Flow("API2 spraying", spraying),
    Flow("API2 brute force", brute_force), Flow("API2 brute force, distributed", brute_force_distributed), Flow("API2 one-time code", otp_guessed),
    Flow("API2 token replay", token_replayed), Flow("API2 reset flood", reset_flood), Flow("API2 reset guessed", reset_guessed),
    Flow("API2 user enumeration", users_told_apart, tell=("enumerat", "stuffing")),
    Flow("exfiltration, bulk", bulk), Flow("exfiltration, low and slow", slow_bulk), Flow("exfiltration, exports", exports),
    Flow("lateral movement, functions", pivot, 3), Flow("lateral movement, other kind", pivot_other_kind),
    Flow("lateral movement, credential abroad", credential_abroad),
    Flow("API9 old version used", old_version, 3), Flow("API9 old version", old_version_told, tell=("zombie", "version", "weaker", "deprecat")),
    Flow("API10 shape", partner_shape), Flow("API10 injection", partner_injection), Flow("API10 redirect", partner_redirect),
)  # fmt: skip
