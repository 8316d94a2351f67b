"""Nobody buys seconds of engine time with one request: what detectors do grows with a text's length and not with its square, and one call
is worth so many characters of it and no more.

The texts are those of all cases, repeated: attacks and near misses hold what makes a confirmer begin, and repeated they make it begin
everywhere. Units that a search for slow texts found stand beside them. Times are processor time, compared with each other and not with a clock.
"""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.detections.detection_cases import DETECTORS, PREFILTER, ROOT, facts_of, findings, read, request

from eastwall import detections
from eastwall.detections.prefilter import MAX_JUDGED, MAX_PLACE, MAX_SUSPECTS
from eastwall.model.facts import Facts
from eastwall.model.operation import Value

CONFIRMING = [detector for detector in DETECTORS if detector.meta.families and "request" in detector.meta.phases]
JSON = {"content-type": "application/json"}
SMALL, LARGE = 1_024, 4_096
"""Characters: a quarter of a piece, and a piece as the prefilter hands it over."""
GENEROUS = 10.0
"""Times the work that four times the text may take: linear is 4, quadratic 16."""
NOTHING = 0.0015
"""Seconds below which a piece is judged fast enough whatever the ratio says, which noise and fixed costs then make."""

FILLERS = ("", "a", " ", "-", "?")
"""What a unit is followed by: itself, and runs in which a pattern that goes back does so from everywhere."""
FOUND_BY_SEARCH = (
    "${script:javascript:7*7}",
    "/script ",
    " script>",
    "${jndi:dns://x.example ${",
    "${${",
    "{{${#{",
    '{"$ne": null": null',
    ";while(true){};",
    "{${lower:${::-",
    "; ))))",
    "; (\n \n \n\x01",
    ";/????????",
    "| nc -a -a",
    "'!!!!1",
    "it's a's b' or 'c",
    " onload= ",
    "http://x/?a=????x",
    "a' or a' or '",
    "....//....//..",
    "&#x27;+ADw-",
)


def units() -> list[str]:
    """Texts of the cases, and what a search found."""
    found = set(FOUND_BY_SEARCH)
    for detector in CONFIRMING:
        for case in read(ROOT / detector.meta.id.replace("-", "_")):
            if case.call is None:
                continue
            found.update(value for _, value in urllib.parse.parse_qsl(case.call.url.partition("?")[2]))
            try:
                found.update(_texts(json.loads(case.call.body)))
            except ValueError:
                found.add(case.call.body)
    return sorted(unit for unit in found if 0 < len(unit) <= 200)


def _texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, (dict, list)):
        for node in tree.values() if isinstance(tree, dict) else tree:
            yield from _texts(node)


def _repeated(unit: str, length: int, filler: str = "") -> str:
    """A unit again and again; with a filler once, and that behind it."""
    return (unit + (filler or unit) * length)[:length]


EMPTY = facts_of(request("POST", "/", JSON, "{}"))


def _facts(text: str) -> Facts:
    families = PREFILTER.families(text.encode("utf-8", "replace"))
    return replace(EMPTY, suspects=((Value("body.a", text), families),) if families else ())


def _seconds(facts: Facts, detector: detections.Detectors) -> float:
    best = 1e9
    for _ in range(2):
        begin = time.process_time()
        detections.detect(facts, detector)
        best = min(best, time.process_time() - begin)
    return best


@pytest.mark.parametrize("detector", CONFIRMING, ids=lambda detector: detector.meta.id)
def test_work_grows_with_the_length_of_a_text(detector: detections.Detector) -> None:
    alone = detections.Detectors([detector])
    wanted = frozenset(detector.meta.families)
    slow = []
    judged = 0
    for unit, filler in UNITS:
        large = _facts(_repeated(unit, LARGE, filler))
        if not large.suspects or wanted.isdisjoint(large.suspects[0][1]):
            continue
        judged += 1
        if _seconds(large, alone) < NOTHING:
            continue
        small = _facts(_repeated(unit, SMALL, filler))
        # Once more for what looks too slow: another program may have had the processor.
        if not any(_seconds(large, alone) <= GENEROUS * max(_seconds(small, alone), NOTHING / 4) for _ in range(3)):
            slow.append((unit, filler))
    assert judged or detector.meta.id == "scanner-user-agent"  # whose places are headers
    assert not slow


UNITS = [(unit, filler) for unit in units() for filler in FILLERS]


@pytest.mark.parametrize("shape", ["many", "one", "short"])
def test_one_call_hands_detectors_so_many_characters(shape: str) -> None:
    """Whatever a body of a megabyte is made of."""
    unit = "x' or 1=1; cat /etc/passwd <script>alert(1)</script> ${jndi:ldap://x/a} "
    values = {
        "many": [_repeated(unit, 4_000) + str(index) for index in range(250)],
        "one": [_repeated(unit, 1_000_000)],
        "short": [unit[:20] + str(index) for index in range(40_000)],
    }[shape]
    facts = facts_of(request("POST", "/", JSON, json.dumps(values)))
    assert len(facts.suspects) <= MAX_SUSPECTS
    assert 0 < sum(len(value.text) for value, _ in facts.suspects) <= MAX_JUDGED
    assert facts.unjudged
    found, errors = detections.detect(facts, DETECTORS)
    assert not errors
    assert [finding.where for finding in found if finding.evidence.startswith("too-many-suspects")] == ["request"]


def test_long_places_are_shortened_and_judged_by_their_ends() -> None:
    """A name of 64 characters, 60 times in itself: what looks at places would be paid for with each value."""
    tree: Any = {"$where": "this.a == 1 || true"}
    for _ in range(60):
        tree = {"a." * 32: tree}
    message = request("POST", "/", JSON, json.dumps({"user": tree}))
    facts = facts_of(message)
    assert facts.suspects
    assert all(len(value.place) <= MAX_PLACE + 3 for value, _ in facts.suspects)
    assert any(finding.id == "nosql-injection" and finding.where.startswith("body.user") for finding in findings(message))
