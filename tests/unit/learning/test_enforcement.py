"""What was learned from some traffic fits more of the same: a SchemaPolicy on learned schemas must not refuse ordinary calls."""

from __future__ import annotations

import json
import random
from typing import Any

from msgspec.structs import replace
from tests.unit.learning.shop_traffic import KEY, record

from eastwall.discovery.body_schemas import NEW_PLACE, MessageSchema
from eastwall.discovery.shapes import shape
from eastwall.learning.learner import Learner
from eastwall.learning.schema import SchemaState
from eastwall.model.call import BodyState, Mode, Request
from eastwall.model.decision import PolicyMatch
from eastwall.model.operation import Operation
from eastwall.protocols.decode import decode_request
from eastwall.protocols.limits import Limits

SAMPLES, FRESH = 300, 150
CURRENCIES = "EUR USD CHF GBP JPY SEK NOK PLN CZK HUF RON BGN".split()
NAMES = ["user", "orderId", "line_name", "total", "x", "a.b", "note7"]


def message(tree: Any) -> Operation:
    raw = json.dumps(tree).encode()
    return decode_request(
        Request("POST", "/a", {"content-type": "application/json"}, body=raw, body_state=BodyState.COMPLETE), Limits()
    )


def service(rng: random.Random, depth: int = 0) -> Any:
    """A made-up API: what its bodies may look like."""
    kinds = ["text", "integer", "number", "boolean", "nullable", *(["object", "list", "map"] if depth < 3 else [])]
    kind = "object" if depth == 0 else rng.choice(kinds)
    if kind == "object":
        names = {rng.choice(NAMES) + str(rng.randint(0, 99)) for _ in range(rng.randint(2, 9))}
        return kind, {name: (service(rng, depth + 1), rng.choice([1, 1, 0.9, 0.5, 0.1])) for name in sorted(names)}
    if kind in ("list", "map"):
        return kind, service(rng, depth + 1), rng.random() < 0.5
    return (kind,)


def body(rng: random.Random, made: Any) -> Any:
    match made[0]:
        case "object":
            return {name: body(rng, inner) for name, (inner, share) in made[1].items() if rng.random() < share}
        case "list":
            return [body(rng, made[1]) for _ in range(rng.choice([0, 1, 2, 3, 30]))]
        case "map":
            keys = (
                CURRENCIES
                if made[2]
                else [f"{rng.getrandbits(32):08x}-0000-4000-8000-{rng.getrandbits(48):012x}" for _ in range(5)]
            )
            return {key: body(rng, made[1]) for key in rng.sample(keys, rng.randint(0, 5))}
        case "text":
            return "".join(rng.choices("abcdef ", k=rng.randint(0, 20)))
        case "integer":
            return rng.randint(0, 10**6)
        case "number":
            return rng.choice([rng.randint(0, 9), rng.random() * 10])
        case "boolean":
            return rng.random() < 0.5
        case _:
            return None if rng.random() < 0.02 else "x"


def test_learned_schemas_refuse_no_ordinary_body_and_know_what_is_new() -> None:
    told: list[tuple[int, str, str]] = []
    fresh = closed = 0
    for seed in range(12):
        rng = random.Random(seed)
        made = service(rng)
        state = SchemaState()
        for number in range(SAMPLES):
            state.fold(shape(message(body(rng, made)), ()), float(number))
        schema = MessageSchema(state.schema(), learned=True)
        closed += schema.closed
        for _ in range(FRESH):
            fresh += 1
            decoded = message(body(rng, made)).body
            told += [(seed, one.aspect, one.place) for one in schema.violations(decoded)[:1]]
            if schema.closed:
                assert [one.path for one in schema.violations({**decoded, "injected": 1}) if one.aspect == "unknown"]
    assert closed >= 8
    assert not [one for one in told if one[1] != "unknown"], told
    assert len(told) <= NEW_PLACE * fresh, told


def objection(action: str, mode: Mode = Mode.MONITOR, kind: str = "SchemaPolicy") -> PolicyMatch:
    return PolicyMatch("p", kind, "p.yaml:1", mode, action, "`role`: expected no such property, got one")


def test_what_a_schema_policy_objects_to_is_not_learned() -> None:
    learner = Learner(KEY)
    learner.fold([record("POST", "/orders", user=f"u{n}", body={"sku": "a"}, time=1000.0 + n) for n in range(20)])
    for n, action in enumerate(["report", "block", "redact"]):
        odd = record("POST", "/orders", body={"sku": "a", f"role{n}": "x"}, time=2000.0 + n)
        learner.fold([replace(odd, matches=(objection(action),))])
    fine = record("POST", "/orders", body={"sku": "a", "gift": True}, time=3000.0)
    learner.fold([replace(fine, matches=(objection("allow"), objection("report", kind="DetectionPolicy")))])
    [endpoint] = [one for one in learner.endpoints() if one.method == "POST"]
    assert [field.place for field in endpoint.request.fields] == ["$", "gift", "sku"]
