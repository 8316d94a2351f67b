"""The benign answers: all detections of responses over all of them, through the decoder and the prefilter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.detections.detection_cases import DETECTORS, request, response_facts

from eastwall import detections
from eastwall.model.call import BodyState, Response

CORPUS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parents[2] / "corpus" / "benign_responses.yaml").read_text("utf-8"))


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    assert len(CORPUS) >= 60
    assert len({entry["name"] for entry in CORPUS}) == len(CORPUS)


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry["name"])
def test_answer(entry: dict[str, Any]) -> None:
    asked, given = entry.get("call", {}), entry["response"]
    body = given["body"].encode()
    facts = response_facts(
        request(asked.get("method", "GET"), asked.get("url", "/"), asked.get("headers")),
        Response(given.get("status", 200), given["headers"], body, BodyState.COMPLETE if body else BodyState.NONE),
    )
    found, errors = detections.detect(facts, DETECTORS)
    assert not errors
    allowed = entry.get("low", ())
    assert [f"{f.id} {f.confidence} {f.where}: {f.evidence}" for f in found if f.id not in allowed or f.confidence != "low"] == []
