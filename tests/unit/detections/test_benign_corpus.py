"""The benign corpus: not one finding, wherever the value stands."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, quote_plus

import msgspec
import pytest
import yaml
from tests.unit.detections.detection_cases import findings, in_query, request

from eastwall.model.call import Request

CORPUS = yaml.safe_load((Path(__file__).parents[2] / "corpus" / "benign.yaml").read_text("utf-8"))
VALUES = [value for group in CORPUS["values"].values() for value in group]


def placements(value: str) -> dict[str, Request]:
    forms = {"content-type": "application/x-www-form-urlencoded"}
    placed = {
        "query": in_query(value),
        "form": request("POST", "/x", forms, "a=1&v=" + quote_plus(value)),
        "json": request("POST", "/x", {"content-type": "application/json"}, msgspec.json.encode({"v": [value], "n": 1})),
        "text": request("POST", "/x", {"content-type": "text/plain"}, value),
    }
    if ".." not in value:  # in a call's own path it climbs, whatever was meant
        placed["path"] = request("GET", "/x/" + quote(value, safe=""))
    if value.isascii() and "\n" not in value:
        placed["header"] = request("GET", "/x", {"x-note": value})
        if ";" not in value:
            placed["cookie"] = request("GET", "/x", {"cookie": f"a=1; v={value}"})
    return placed


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    assert len(VALUES) + len(CORPUS["calls"]) >= 120


@pytest.mark.parametrize("value", VALUES)
def test_value(value: str) -> None:
    found = {where: [f"{f.id}: {f.message}" for f in findings(message)] for where, message in placements(value).items()}
    assert not {where: messages for where, messages in found.items() if messages}


@pytest.mark.parametrize("call", CORPUS["calls"], ids=lambda call: call["url"][:40])
def test_call(call: dict[str, object]) -> None:
    assert findings(request(call["method"], call["url"], call.get("headers"), call.get("body", ""))) == ()  # type: ignore[arg-type]
