"""Rule packs on calls: places, scopes, encodings, phases, and that control's compiled rules are what engines use."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace
from tests.unit.detections.detection_cases import DETECTORS, PREFILTER, request

from eastwall import policy
from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.decide import decide
from eastwall.decision.state import LiveState
from eastwall.discovery import content_rules as compiling
from eastwall.model.call import BodyState, Call, Mode, Peer, Request, Response
from eastwall.model.finding import Finding
from eastwall.model.snapshot import SNAPSHOT_FORMAT, ServiceScope, Snapshot

HOST = "db1.corp.example"
JSON = {"content-type": "application/json"}


def pack(*rules: dict[str, Any], **more: Any) -> str:
    base = {
        "title": "t",
        "severity": "high",
        "pattern": r"\b[a-z0-9-]{1,40}\.corp\.example\b",
        "detects": "d",
        "doesNotDetect": "d",
    }
    examples = {"matches": [HOST], "nearMisses": ["www.example"]}
    made = [{"id": f"rule-{number}", **base, **examples, **rule} for number, rule in enumerate(rules, 1)]
    head = {"apiVersion": "eastwall.dev/v1alpha1", "kind": "RulePack", "metadata": {"name": "shop"}}
    return "---\n" + json.dumps({**head, "spec": {"rules": made, **more}}) + "\n"


def live(*rules: dict[str, Any], text: str = "", off: tuple[str, ...] = ()) -> LiveSnapshot:
    policies, faults = policy.parse_files({"p.yaml": pack(*rules) + text})
    assert faults == []
    encoded = policy.encode(policy.with_automata(policies))
    scopes = (ServiceScope("shop", Mode.ENFORCE), ServiceScope("other", Mode.ENFORCE))
    snapshot = Snapshot(SNAPSHOT_FORMAT, 1, 0.0, b"k" * 32, services=scopes, policy=encoded, detections_off=off)
    return LiveSnapshot(snapshot, DETECTORS, PREFILTER)


def judged(
    world: LiveSnapshot, message: Request, answer: Response | None = None, service: str = "shop"
) -> tuple[str, list[Finding]]:
    """Action and the packs' findings."""
    state = LiveState()
    call = Call("0" * 26, service, 1_800_000_000.0, Peer(address="127.0.0.1"), message)
    decision = decide(call, world, state)
    if answer is not None:
        decision = decide(replace(call, response=answer, prior=decision), world, state)
    return decision.verdict.action, [finding for finding in decision.findings if finding.id.startswith("pack-")]


def places(world: LiveSnapshot, message: Request, answer: Response | None = None) -> list[str]:
    return sorted(finding.where for finding in judged(world, message, answer)[1])


def test_a_rule_finds_its_value_wherever_it_stands() -> None:
    world = live({})
    body = json.dumps({"items": [{"url": HOST}], HOST: 1}).encode()
    message = request("POST", f"/x/{HOST}?q={HOST}", {**JSON, "cookie": f"a={HOST}", "x-to": HOST}, body)
    found = places(world, message)
    assert {"path[1]", "query.q", "cookie.a", "header.x-to", "body.items[0].url"} <= set(found)
    assert any(place.startswith("body.{") for place in found)
    action, findings = judged(world, message)
    assert action == "block"
    assert {finding.id for finding in findings} == {"pack-shop/rule-1"}
    assert all(finding.evidence.endswith(HOST) and finding.message for finding in findings)
    assert judged(world, request("GET", "/x?q=www.example")) == ("allow", [])


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (["query"], ["query.q"]), (["query:Q"], ["query.q"]), (["query:a*"], []), (["path"], ["path", "path[1]"]),
        (["body:items[].url"], ["body.items[0].url", "body.items[1].url"]), (["body:items[].note"], []),
        (["body:*.url"], ["body.items[0].url", "body.items[1].url"]), (["cookie:a", "header:x-*"], ["cookie.a", "header.x-to"]),
        (["header:if-match"], ["header.if-match"]),
    ],
)  # fmt: skip
def test_where(where: list[str], found: list[str]) -> None:
    body = json.dumps({"items": [{"url": HOST}, {"url": HOST}]}).encode()
    headers = {**JSON, "cookie": f"a={HOST}; b=1", "x-to": HOST, "if-match": HOST}
    assert places(live({"where": where}), request("POST", f"/x/{HOST}?q={HOST}", headers, body)) == found


def test_encodings_are_undone_unless_the_rule_says_no() -> None:
    hidden = base64.b64encode(f"https://{HOST}/x".encode()).decode()
    for text in (hidden, quote(quote(f"a%b{HOST}")), HOST.replace(".", "\\u002e"), HOST.replace(".", "&#46;")):
        message = request("POST", "/x", JSON, json.dumps({"v": text}).encode())
        assert places(live({}), message) == ["body.v"], text
        assert places(live({"decoded": False}), message) == ([] if HOST not in text else ["body.v"]), text
    inner = json.dumps({"to": HOST.replace("d", "\\u0064", 1)}).replace("\\\\", "\\")
    assert places(live({"where": ["body:v"]}), request("POST", "/x", JSON, json.dumps({"v": inner}).encode()))


def test_claims_of_a_token() -> None:
    def part(value: dict[str, str]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    token = f"{part({'alg': 'RS256'})}.{part({'sub': 'ann', 'home': HOST})}.c2ln"
    world = live({"where": ["claim:home"]})
    for _ in range(2):  # the second time it is remembered
        assert places(world, request("GET", "/x", {"authorization": f"Bearer {token}"})) == ["claim.home"]
    assert places(world, request("GET", "/x", {"x-home": HOST})) == []


def test_phases() -> None:
    answer = Response(200, {**JSON, "x-from": HOST}, json.dumps({"v": [HOST]}).encode(), BodyState.COMPLETE)
    message = request("GET", f"/x?q={HOST}")
    for phase, asked, answered in (("request", ["query.q"], []), ("response", [], ["body.v[0]", "header.x-from"])):
        world = live({"phase": phase})
        assert places(world, message) == asked
        assert places(world, message, answer) == answered
    world = live({"phase": "both", "where": ["body"]})
    assert places(world, message) == []
    assert places(world, message, answer) == ["body.v[0]"]
    assert all(finding.phase == "response" for finding in judged(world, message, answer)[1])


def test_scope() -> None:
    world = live({"services": ["shop"], "operations": ["GET /admin/**", "POST /x"]})
    assert judged(world, request("GET", f"/Admin//x?q={HOST}"))[1]
    assert judged(world, request("GET", f"/x?q={HOST}"))[1] == []
    assert judged(world, request("POST", f"/x?q={HOST}"))[1]
    assert judged(world, request("POST", f"/x?q={HOST}"), service="other")[1] == []
    answer = Response(200, JSON, json.dumps({"v": HOST}).encode(), BodyState.COMPLETE)
    world = live({"phase": "response", "operations": ["GET /x"]})
    assert judged(world, request("GET", "/x"), answer)[1]
    assert judged(world, request("GET", "/y"), answer)[1] == []


def test_policies_speak_about_rules_by_their_ids() -> None:
    message = request("GET", f"/x?q={HOST}")
    assert judged(live({"severity": "medium"}), message)[0] == "allow"
    assert judged(live({"action": "report"}), message)[0] == "allow"
    head = "---\napiVersion: eastwall.dev/v1alpha1\nkind: DetectionPolicy\nmetadata: {name: d}\nspec: "
    for name, action in (
        ("pack-shop/rule-1", "report"),
        ('"pack-shop/*"', "report"),
        ('"pack-*"', "report"),
        ("sql-injection", "block"),
    ):
        world = live({}, text=f"{head}{{detections: [{name}], action: report}}\n")
        assert judged(world, message)[0] == ("allow" if action == "report" else "block")
    assert judged(live({}, off=("pack-shop/rule-1",)), message) == ("allow", [])
    assert judged(live({}, {"id": "other"}, off=("pack-shop/rule-1",)), message)[1][0].id == "pack-shop/other"


def test_a_name_that_is_no_rule_is_told_with_what_may_be_meant() -> None:
    text = pack({}) + (
        "---\napiVersion: eastwall.dev/v1alpha1\nkind: DetectionPolicy\nmetadata: {name: d}\n"
        "spec: {detections: [pack-shop/rule-7], action: report}\n"
    )
    policies, faults = policy.parse_files({"p.yaml": text})
    assert faults == []
    found = policy.check(policies, services=(), endpoints=(), detections=[d.meta for d in DETECTORS])
    assert [(f.message, f.hint) for f in found] == [
        ("detection `pack-shop/rule-7` is not known", "did you mean `pack-shop/rule-1`?")
    ]


def test_the_engine_takes_what_control_compiled() -> None:
    compiling._compiled.cache_clear()
    world = live({})
    assert not world.packs.compiled.compiled_here
    policies, _ = policy.parse_files({"p.yaml": pack({})})
    scopes = (ServiceScope("shop", Mode.ENFORCE),)
    # A set that nobody compiled, or that another machine did, works too.
    for automata in (b"", b"nonsense" * 20):
        encoded = policy.encode(replace(policies, rule_automata=automata))
        world = LiveSnapshot(Snapshot(SNAPSHOT_FORMAT, 1, 0.0, b"k" * 32, services=scopes, policy=encoded), DETECTORS, PREFILTER)
        assert world.packs.compiled.compiled_here
        assert places(world, request("GET", f"/x?q={HOST}")) == ["query.q"]


def test_too_many_rules_are_refused() -> None:
    policies, faults = policy.parse_files({"p.yaml": pack(*({"id": f"r-{n}"} for n in range(201)))})
    assert [str(fault) for fault in faults] == ["p.yaml:2:109: 201 rules, at most 200 are allowed in a pack (split the pack)"]
    assert all(p.name != "shop" for p in policies.policies)
    policies, faults = policy.parse_files({"p.yaml": pack(*({"id": f"r-{n}"} for n in range(20)))})
    assert faults == []
    policies = replace(policies, policies=policies.policies * 51)
    with pytest.raises(ValueError, match="at most 1,000"):
        policy.with_automata(policies)


def test_findings_of_a_message_are_bounded() -> None:
    body = json.dumps({"v": [HOST] * 500}).encode()
    assert len(judged(live({}), request("POST", "/x", JSON, body))[1]) == 32
