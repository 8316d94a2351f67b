"""What it costs to hold a body of 1 KB against a schema: `python -m bench.body_schemas`.

Least of 20 rounds, in microseconds of CPU time: what else the machine does is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from eastwall.discovery.body_schemas import Bounds, MessageSchema
from eastwall.model.endpoint import FieldProfile, Schema

BODY = {
    "id": 17, "status": "PAID", "currency": "EUR", "total": 129.5, "notes": "x" * 200, "tags": ["a", "b", "c"],
    "customer": {"id": 9, "name": "Anna Jones", "email": "a@example.com", "address": {"street": "Long Road 1", "city": "Bern"}},
    "items": [{"sku": f"sku-{i}", "qty": i, "price": 9.5, "note": "n" * 20} for i in range(9)],
}  # fmt: skip
KINDS = {dict: "object", list: "array", str: "string", int: "integer", float: "number"}


def fields_of(node: Any, place: str, found: dict[str, FieldProfile]) -> dict[str, FieldProfile]:
    """A declared schema that the body fits."""
    found[place] = FieldProfile(place, (KINDS[type(node)],), required="[]" not in place and place != "$")
    if isinstance(node, dict):
        for key, item in node.items():
            fields_of(item, key if place == "$" else f"{place}.{key}", found)
    elif isinstance(node, list):
        for item in node:
            fields_of(item, place + "[]", found)
    return found


def cost(work: Callable[[], object], times: int = 2_000, rounds: int = 20) -> float:
    least = float("inf")
    for _ in range(rounds):
        before = time.process_time()
        for _ in range(times):
            work()
        least = min(least, (time.process_time() - before) / times * 1e6)
    return least


def main() -> None:
    raw = msgspec.json.encode(BODY)
    schema = MessageSchema(Schema(0, tuple(fields_of(BODY, "$", {}).values())), learned=False)
    bounds = Bounds(8, 1_000, 100, 100)
    odd = {**BODY, "role": "admin"}
    assert not schema.violations(BODY)
    assert bounds.exceeded(BODY) is None
    for name, work in {
        "decoding it (msgspec), for comparison": lambda: msgspec.json.decode(raw),
        "a body that fits": lambda: schema.violations(BODY),
        "a body with an unknown property": lambda: schema.violations(odd),
        "four bounds": lambda: bounds.exceeded(BODY),
    }.items():
        print(f"{name:40} {cost(work):6.2f} us")
    print(f"the body has {len(raw)} bytes")


if __name__ == "__main__":
    main()
