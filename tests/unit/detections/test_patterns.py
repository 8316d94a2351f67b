"""Prefilter patterns: every example that a pattern gives holds, and what a pattern file may say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from re import _constants as sre  # type: ignore[attr-defined]
from re._parser import parse as sre_parse  # type: ignore[import-not-found]
from typing import Any

import pytest
from tests.unit.detections.detection_cases import DETECTORS, ROOT

from eastwall.detections import Detector, Detectors, LoadError
from eastwall.detections.pattern_needs import needs_special
from eastwall.detections.patterns import Pattern, compiled, read_patterns, wrong_examples
from eastwall.detections.prefilter import Prefilter
from eastwall.detections.texts import SPECIAL
from eastwall.model.call import BodyState, Request, Response
from eastwall.model.finding import Detection
from eastwall.protocols.decode import Limits, decode_request, decode_response

LIMITS = Limits()
FILES = [(detector, ROOT / Path(detector.folder).name / "patterns.yaml") for detector in DETECTORS if detector.meta.families]
ENTRY = "- pattern: {pattern}\n  family: made\n  detects: detects a\n  does_not_detect: does not detect b\n"


@pytest.mark.parametrize(("detector", "path"), FILES, ids=[detector.meta.id for detector, _ in FILES])
def test_every_example_of_every_pattern_holds(detector: Detector, path: Path) -> None:
    wrong = [
        f"{path.parent.name}/patterns.yaml:{line}: {fault}"
        for line, pattern in read_patterns(path, detector.meta.families)
        for fault in wrong_examples(pattern)
    ]
    assert not wrong, "\n".join(wrong)


def test_wrong_examples_say_which() -> None:
    pattern = Pattern("ab+c", "x", "", "", matches=("xABBC", "ac"), near_misses=("abbc", "b"))
    assert wrong_examples(pattern) == ("does not hit `ac`, one of its `matches`", "hits `abbc`, one of its `near_misses`")
    assert wrong_examples(Pattern("AB", "x", "", "", caseful=True, matches=("xABx",), near_misses=("ab",))) == ()


def must(tree: Any) -> bool:
    """The twin of `needs_special`, over what Python's own reader of expressions makes of one."""
    for op, value in tree:
        if op is sre.LITERAL and value < 128 and chr(value) in SPECIAL.decode():
            return True
        if op is sre.IN and value[0][0] is not sre.NEGATE:
            members: list[int] = []
            for kind, member in value:
                if kind is sre.LITERAL:
                    members.append(member)
                else:
                    members.append(0)  # a range or a category: of more than special characters
            if all(member < 128 and chr(member) in SPECIAL.decode() for member in members):
                return True
        if op is sre.SUBPATTERN and must(value[3]):
            return True
        if op is sre.BRANCH and all(must(branch) for branch in value[1]):
            return True
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT) and value[0] >= 1 and must(value[2]):
            return True
    return False


@pytest.mark.parametrize(("detector", "path"), FILES, ids=[detector.meta.id for detector, _ in FILES])
def test_what_a_pattern_needs_is_what_its_twin_says(detector: Detector, path: Path) -> None:
    for line, pattern in read_patterns(path, detector.meta.families):
        try:
            tree = sre_parse(pattern.pattern)
        except re.error:
            continue  # hyperscan reads some forms that Python does not; then the answer must only not be yes by mistake
        assert needs_special(pattern.pattern) <= must(tree), (line, pattern.pattern)
        if not re.search(r"\[[^\]]*-", pattern.pattern):
            assert needs_special(pattern.pattern) == must(tree), (line, pattern.pattern)


@pytest.mark.parametrize(
    ("pattern", "needed"),
    [
        ("'or", True), ("'?or", False), ("'{2}or", True), ("'{0,2}or", False), ("'*", False), ("'+", True), ("a|'", False), ("(?:a'|b;)c", True),
        ("(?:a|b;)c", False), ("['\"]x", True), ("['\"a]x", False), ("[^'\"]x", False), ("[;-~]", False), (r"\(", True), (r"\.", False), (r"\x27", True),
        (r"\x41", False), (r"\s", False), (r"[\s']", False), (r"[\]\[]", True), ("[]]", True), ("^$", False), (r"\$", True), ("a{2}", False), (r"\r", True),
        ("(?i)'", True), ("(?i:a)", False), ("(?=')a", False), ("(?!')a", False), ("(?P<n>')", True), ("'(", False), (r"\Q'\E", False), ("[[:alpha:]']", False),
        ("(?:'|(?:;|\\||&&))id", True), ("(?:')?x", False), ("(?:')+?x", True), ("{x", True), ("", False),
    ],
)  # fmt: skip
def test_needs_special(pattern: str, needed: bool) -> None:
    assert needs_special(pattern) == needed


def made(folder: Path, text: str, phases: Sequence[str] = ("request", "response")) -> Detectors:
    (folder / "patterns.yaml").write_text(text)
    meta = Detection(
        "made", "t", "high", "high", "both", tuple(phases), ("A1",), ("CWE-1",), ("T1",), "exploitation", "monitor",
        families=("made",),
    )  # fmt: skip
    return Detectors([Detector(meta, lambda facts: (), str(folder))])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("  phase: both\n", "phase `both` is not one of request, response"),
        ("  phase: response\n", "phase `response` is not in the detection's `phases`"),
        ("  caseful: 3\n", "Expected `bool`"),
        ("  matches: a\n", "Expected `array`"),
        (f"  matches: [{', '.join('a' * 51)}]\n", "more than 50 examples"),
    ],
)
def test_a_wrong_entry_names_file_and_line(tmp_path: Path, more: str, says: str) -> None:
    with pytest.raises(LoadError, match=r"patterns\.yaml:1: ") as raised:
        compiled(made(tmp_path, ENTRY.format(pattern="a") + more, ("request",)))
    assert says in str(raised.value)


def test_a_pattern_is_of_the_phases_it_names(tmp_path: Path) -> None:
    text = (
        ENTRY.format(pattern="asked") + "  phase: request\n"
        + ENTRY.format(pattern="answered") + "  phase: response\n  caseful: true\n"
        + ENTRY.format(pattern="eitherway")
    )  # fmt: skip
    detectors = made(tmp_path, text)
    first = Prefilter(detectors)
    for filter_ in (first, Prefilter(detectors, first.save())):
        for word, asked, answered in (("ASKED", 1, 0), ("answered", 0, 1), ("ANSWERED", 0, 0), ("eitherway", 1, 1)):
            request = Request("POST", "/", {"content-type": "text/plain"}, body=word.encode(), body_state=BodyState.COMPLETE)
            response = Response(200, request.headers, word.encode(), BodyState.COMPLETE)
            assert len(filter_.scan(request, decode_request(request, LIMITS))) == asked
            assert len(filter_.scan_response(response, decode_response(response, request, LIMITS))) == answered


def test_without_patterns_for_responses_there_is_nothing_to_scan(tmp_path: Path) -> None:
    filter_ = Prefilter(made(tmp_path, ENTRY.format(pattern="secret"), ("request",)))
    response = Response(200, {"content-type": "text/plain"}, b"secret", BodyState.COMPLETE)
    assert filter_.scan_response(response, decode_response(response, Request("GET", "/", {}), LIMITS)) == ()


RESPONSES = [
    ("application/json", b'{"a": {"b": [1, {"note": "the s3cret is"}]}}', "body.a.b[1].note", "the s3cret is"),
    ("application/json", b'{"a": "line\\nthe s3\\u0063ret \\u00e9"}', "body.a", "line\nthe s3cret \u00e9"),
    ("application/json", b'{"s3cret": 1}', "body.{s3cret}", "s3cret"),
    ("application/json", b'{"cut": "the s3cret', "body", '{"cut": "the s3cret'),
    ("application/json", b'["x", "' + b"y" * 5000 + b's3cret"]', "body[1]", "s3cret"),
    ("text/html", b"<html><b>s3&#99;ret &amp; more</b>", "body", "<html><b>s3cret & more</b>"),
    ("text/plain", b"a" * 9000 + b" s3cret " + b"b" * 9000, "body", " s3cret "),
    ("application/xml", b"<a><b c='s3cret'>x</b><d>y</d></a>", "body.b.@c", "s3cret"),
    ("application/xml", b"<a><b c='x'>x</b><d>s3<![CDATA[cret]]></d></a>", "body.d", "s3cret"),
    ("text/event-stream", b'data: {"x": "s3cret"}\n\n', "body", "s3cret"),
    ("application/problem+json", b'{"detail": "s3cret"}', "body.detail", "s3cret"),
]


@pytest.mark.parametrize(("content_type", "body", "place", "text"), RESPONSES)
def test_places_of_responses(tmp_path: Path, content_type: str, body: bytes, place: str, text: str) -> None:
    filter_ = Prefilter(made(tmp_path, ENTRY.format(pattern="s3cret")))
    for answer, found in ((body, True), (body.replace(b"s3", b"s4"), False)):
        response = Response(500, {"content-type": content_type, "server": "x"}, answer, BodyState.COMPLETE)
        suspects = filter_.scan_response(response, decode_response(response, Request("GET", "/", {}), LIMITS))
        assert bool(suspects) == found
        if found:
            assert suspects[0][0].place == place
            assert text in suspects[0][0].text
            assert len(suspects[0][0].text) <= 4096


def test_headers_of_responses(tmp_path: Path) -> None:
    filter_ = Prefilter(made(tmp_path, ENTRY.format(pattern="s3cret")))
    for name, expected in (("server", 1), ("set-cookie", 1), ("location", 1), ("x-debug", 1), ("etag", 0), ("date", 0)):
        for value in ("a=1; path=/\ns3cret=b", "fine"):
            response = Response(200, {name: value})
            for _ in range(2):
                found = filter_.scan_response(response, decode_response(response, Request("GET", "/", {}), LIMITS))
                assert [item.place for item, _ in found] == ([f"header.{name}"] * expected if "s3cret" in value else [])
    assert filter_.scan_response(Response(204, {}), decode_response(Response(204, {}), Request("GET", "/", {}), LIMITS)) == ()


def test_suspects_of_responses_are_bounded_and_the_rest_is_said(tmp_path: Path) -> None:
    filter_ = Prefilter(made(tmp_path, ENTRY.format(pattern="s3cret")))
    response = Response(200, {"content-type": "application/json"}, b'["s3cret"' + b', "s3cret"' * 499 + b"]", BodyState.COMPLETE)
    assert len(filter_.scan_response(response, decode_response(response, Request("GET", "/", {}), LIMITS))) == 128
    assert filter_.dropped == 372
