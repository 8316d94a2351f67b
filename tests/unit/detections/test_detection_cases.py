"""Every case of every detection, through the decoder and the prefilter."""

from __future__ import annotations

import pytest
from tests.unit.detections import detection_cases as cases

from eastwall import detections

CASES = [(detector, case) for detector in cases.DETECTORS for case in cases.read(cases.ROOT / detector.meta.id.replace("-", "_"))]


@pytest.mark.parametrize(("detector", "case"), CASES, ids=[f"{d.meta.id}: {c.name}" for d, c in CASES])
def test_case(detector: detections.Detector, case: cases.Case) -> None:
    found, errors = detections.detect(cases.case_facts(case), detections.Detectors([detector]))
    assert not errors
    assert all(finding.id == detector.meta.id and finding.phase in detector.meta.phases for finding in found)
    if case.kind != "match":
        assert found == ()
        return
    assert [finding.where for finding in found] == [case.where]
    assert found[0].evidence
    assert len(found[0].evidence) <= 120
    assert case.severity in ("", found[0].severity)
    assert case.confidence in ("", found[0].confidence)


@pytest.mark.parametrize("detector", cases.DETECTORS, ids=lambda detector: detector.meta.id)
def test_every_detection_has_each_kind_of_case(detector: detections.Detector) -> None:
    kinds = [case.kind for case in cases.read(cases.ROOT / detector.meta.id.replace("-", "_"))]
    assert set(kinds) == {"match", "near-miss", "missing-data"}
    assert len(kinds) >= 6
