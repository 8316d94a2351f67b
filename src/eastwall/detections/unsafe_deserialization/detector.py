"""Unsafe deserialisation (CWE-502): a value that is a serialised object, or a hint to make one of a dangerous class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from eastwall.detections.confirming import Verdict, confirm, finding
from eastwall.detections.unsafe_deserialization.formats import hinted, serialised
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="unsafe-deserialization",
    title="Serialised object",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A08:2021", "API8:2023"),
    cwe=("CWE-502",),
    attack=("T1190", "T1059"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("serialised",),
)

_HINTS = frozenset(
    "$type @type @class __type class _class javaClass json_class py/object py/reduce py/type py/function py/repr @c".split()
)
MAX_NODES = 20_000
"""Values of a body that are walked for type hints."""
_RAW_XML = re.compile(rb"java\.|javax\.|dynamic-proxy|ObjectDataProvider|com\.sun\.|nsassem|jdk\.nashorn")


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place. Type hints are members of objects, so the body's tree is walked for them once something hit."""
    found = list(confirm(facts, META, _judge))
    places = {other.where for other in found}
    for place, name, value in _hints(facts.operation.body):
        verdict = hinted(name, value)
        if verdict is not None and place not in places:
            places.add(place)
            found.append(finding(META, place, verdict, value, facts.phase.name.lower()))
    operation = facts.operation
    if operation.body_kind == "xml" and _RAW_XML.search(operation.raw_body[:65_536]):
        verdict = serialised(operation.raw_body[:10_240].decode("utf-8", "replace"))
        if verdict is not None:
            found = [other for other in found if not other.where.startswith("body")]
            found.append(finding(META, "body", verdict, "", facts.phase.name.lower()))
    return found


def _judge(text: str, place: str) -> Verdict | None:
    return serialised(text)


def _hints(body: Any) -> list[tuple[str, str, str]]:
    """(place, name, value) of members that hint at a type, and of `[class, {..}]` pairs."""
    found: list[tuple[str, str, str]] = []
    stack: list[tuple[str, Any]] = [("body", body)]
    for _ in range(MAX_NODES):
        if not stack:
            break
        place, node = stack.pop()
        if type(node) is dict:
            for name, value in node.items():
                inner = f"{place}.{name[:64]}"
                if name in _HINTS:
                    found.append((inner, name, value if type(value) is str else str(value)[:80]))
                if type(value) is dict or type(value) is list:
                    stack.append((inner, value))
        elif type(node) is list:
            if len(node) == 2 and type(node[0]) is str and type(node[1]) in (dict, list):
                found.append((f"{place}[0]", "@class", node[0]))
            stack += ((f"{place}[{index}]", value) for index, value in enumerate(node) if type(value) in (dict, list))
    return found
