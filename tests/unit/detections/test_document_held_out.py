"""Attacks and harmless neighbours written before there was a detection of them (tests/corpus/held_out), never tuned to. Floors, not goals.

A line is a value of a query, but for what is a whole body or query by its nature.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from tests.unit.detections.detection_cases import findings, in_query, request

from eastwall.model.call import Request

FOLDER = Path(__file__).parents[2] / "corpus" / "held_out"
FLOORS = {
    "cross_site_scripting": 0.97,
    "crlf_injection": 0.97,
    "expression_injection": 0.97,
    "jndi_injection": 0.97,
    "prototype_pollution": 0.97,
    "ssi_injection": 0.97,
    "ssrf": 0.97,
    "template_injection": 0.97,
    "unsafe_deserialization": 0.97,
    "xml_external_entity": 0.9,
}
JSON = {"content-type": "application/json"}
XML = {"content-type": "application/xml"}


def placed(name: str, line: str) -> Request:
    encoded = name == "crlf_injection" or (name == "unsafe_deserialization" and "%0a" in line)
    if encoded:
        return request("GET", "/x?q=" + line)
    if name == "ssrf":
        return request("GET", "/x?url=" + quote(line, safe=""))
    if name == "xml_external_entity":
        return request("POST", "/x", XML, line)
    if name == "prototype_pollution" and line.startswith("?"):
        return request("GET", "/x" + line)
    if name in ("prototype_pollution", "unsafe_deserialization") and line[:1] in "{[":
        return request("POST", "/x", JSON, line)
    return in_query(line)


@pytest.mark.parametrize("name", FLOORS)
def test_held_out(name: str) -> None:
    attacks, _, harmless = (FOLDER / f"{name}.txt").read_text("utf-8").partition("---benign\n")
    id = name.replace("_", "-")

    def found(line: str) -> bool:
        return any(finding.id == id for finding in findings(placed(name, line)))

    lines = [line for line in attacks.splitlines() if line]
    share = sum(map(found, lines)) / len(lines)
    wrong = [line for line in harmless.splitlines() if line and found(line)]
    print(f"\n{id}: {share:.1%} of {len(lines)}; wrong {len(wrong)}")
    assert share >= FLOORS[name]
    assert not wrong
