"""What an operation is used to is told, and not acted upon."""

from __future__ import annotations

from msgspec.structs import replace
from tests.unit.decision.world import ENDPOINTS, HASH_KEY, ORDER, PROFILE, call, live

from eastwall.decision.decide import decide
from eastwall.decision.extract import EVERY_SERVICE
from eastwall.decision.state import LiveState
from eastwall.discovery.objects import object_key

SQL = "x' UNION SELECT username, password FROM users --"


def test_a_place_that_gets_sql() -> None:
    used_to = replace(PROFILE, accustomed=(("sql-injection", "body.queries[].name", 420),))
    world = live(endpoints=[used_to, *(e for e in ENDPOINTS if e is not PROFILE)])
    asked = call("PATCH", "/me", {"queries": [{"name": "a"}, {"name": SQL}]}, user="alice", roles=("admin",))
    decision = decide(asked, world, LiveState())
    (found,) = (f for f in decision.findings if f.id == "sql-injection")
    assert (found.where, found.confidence) == ("body.queries[1].name", "low")
    assert "matter of course (420 calls)" in found.message
    assert not [m for m in decision.verdict.matches if m.finding == "sql-injection" and m.action == "block"]

    elsewhere = decide(call("PATCH", "/me", {"name": SQL}), world, LiveState())
    assert elsewhere.verdict.action == "block"


def test_ownership_is_not_weighed() -> None:
    used_to = replace(ORDER, accustomed=(("object-not-granted", "path.order_id", 900),))
    world = live(endpoints=[used_to, *(e for e in ENDPOINTS if e is not ORDER)])
    state = LiveState()
    state.grants.grant(object_key(HASH_KEY, EVERY_SERVICE, "order", "99"), "user:bob")
    decision = decide(call("GET", "/orders/99", user="alice"), world, state)
    assert [(f.id, f.confidence) for f in decision.findings] == [("object-not-granted", "high")]


def test_evidence_shows_no_secret() -> None:
    text = "x' UNION SELECT card, '4111111111111111' FROM c WHERE k = 'sk_live_51H8abcdEFGHijklMNOPqrst' --"
    decision = decide(call("PATCH", "/me", {"name": text}), live(), LiveState())
    (found,) = (f for f in decision.findings if f.id == "sql-injection")
    assert found.evidence == "x' UNION SELECT card, '************1111' FROM c WHERE k = 'sk_l****' --"
    fetched = decide(call("PATCH", "/me", {"url": "http://169.254.169.254/latest/"}), live(), LiveState())
    assert [f.evidence for f in fetched.findings if f.id == "ssrf"] == ["http://169.254.169.254/latest/"]
