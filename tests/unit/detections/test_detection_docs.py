"""docs/detections.md holds what the detections' metadata and READMEs say; EASTWALL_WRITE_DOCS=1 writes it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from tests.unit.detections.detection_cases import DETECTORS, ROOT

from eastwall import policy
from eastwall.detections import decoding, packs, places, prefilter
from eastwall.detections.reference import advice, table
from eastwall.discovery import content_rules
from eastwall.policy import rule_packs

PAGE = Path(__file__).parents[3] / "docs" / "detections.md"
HOW = "EASTWALL_WRITE_DOCS=1 python -m pytest tests/unit/detections/test_detection_docs.py"


def readme(name: str) -> str:
    return (ROOT / name.replace("-", "_") / "README.md").read_text("utf-8")


@pytest.mark.parametrize("part", ["table", "advice"])
def test_the_page_is_current(part: str) -> None:
    made = table(DETECTORS) if part == "table" else advice((d.meta.id, readme(d.meta.id)) for d in DETECTORS)
    marked = re.compile(rf"(<!-- {part}: [^\n]*-->\n).*?(<!-- /{part} -->)", re.DOTALL)
    page = PAGE.read_text("utf-8")
    assert marked.search(page)
    current = marked.sub(lambda match: f"{match[1]}{made}\n{match[2]}", page)
    if os.environ.get("EASTWALL_WRITE_DOCS") == "1":
        PAGE.write_text(current, "utf-8")
        return
    assert current == page, f"the {part} differs; {HOW}"


def test_every_readme_says_what_a_reader_needs() -> None:
    for detector in DETECTORS:
        text = readme(detector.meta.id)
        assert text.startswith(f"# {detector.meta.id}\n")
        for part in ("**What it means.**", "**False positives.**", "**How to mend the service.**"):
            assert part in text, f"{detector.meta.id}: {part}"


def test_a_readme_without_advice_is_named() -> None:
    with pytest.raises(ValueError, match="`x` has no paragraph"):
        advice([("x", "# x\n\n**What it means.** y\n")])
    assert advice([("a-b", "**False positives.** One\ntwo.\n\n**Next.**")]) == (
        "- [`a-b`](../src/eastwall/detections/a_b/README.md): One two."
    )


def test_the_limits_are_those_of_the_code() -> None:
    page = PAGE.read_text("utf-8")
    for number in (
        places.CHUNK, places.OVERLAP, prefilter.MAX_SUSPECTS, prefilter.MAX_DECODED, decoding.DEPTH, decoding.LAYERS, decoding.MAX_NESTED,
        decoding.MAX_PACKED, rule_packs.MAX_RULES, rule_packs.MAX_ALL_RULES, content_rules.MAX_PATTERN, content_rules.MAX_EXPANDED,
        content_rules.MAX_PART, content_rules.MAX_PARTS, content_rules.MAX_CONFIRMATIONS, packs.MAX_FINDINGS,
    ):  # fmt: skip
        assert re.search(rf"(?<![\d,]){number:,}(?![\d,]*\d)", page), f"{number:,} is not among the limits"


def test_the_tutorials_pack_has_no_fault() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    policies, faults = policy.parse_files({"p.yaml": "\n---\n".join(blocks)})
    assert faults == []
    assert policy.check(policies, services=(), endpoints=(), detections=[d.meta for d in DETECTORS]) == []
    assert {tree["kind"] for block in blocks for tree in yaml.safe_load_all(block)} == {"RulePack", "DetectionPolicy"}
