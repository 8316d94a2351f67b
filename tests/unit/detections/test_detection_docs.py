"""docs/detections.md holds the table of detections as their metadata has it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.unit.detections.detection_cases import DETECTORS, ROOT

from eastwall.detections.reference import table

PAGE = Path(__file__).parents[3] / "docs" / "detections.md"
TABLE = re.compile(r"(<!-- table: [^\n]*-->\n).*?(<!-- /table -->)", re.DOTALL)


def test_the_table_is_current() -> None:
    page = PAGE.read_text("utf-8")
    current = TABLE.sub(lambda match: f"{match[1]}{table(DETECTORS)}\n{match[2]}", page)
    if os.environ.get("EASTWALL_WRITE_DOCS") == "1":
        PAGE.write_text(current, "utf-8")
        return
    assert TABLE.search(page)
    assert current == page, "the table differs; run this test with EASTWALL_WRITE_DOCS=1 to write it"


def test_every_readme_says_what_a_reader_needs() -> None:
    for detector in DETECTORS:
        text = (ROOT / detector.meta.id.replace("-", "_") / "README.md").read_text("utf-8")
        assert text.startswith(f"# {detector.meta.id}\n")
        for part in ("**What it means.**", "**False positives.**", "**How to mend the service.**"):
            assert part in text, f"{detector.meta.id}: {part}"
