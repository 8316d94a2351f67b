"""Folders that are not whole stop the start with file and line; detectors that raise become errors, never silence."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

import pytest
from tests.unit.detections.detection_cases import DETECTORS, ROOT, case_facts, facts_of, read, request

from eastwall import detections
from eastwall.detections.prefilter import Prefilter
from eastwall.model.facts import Facts
from eastwall.model.finding import Finding

DETECTOR = """
from eastwall.model.finding import Detection
META = Detection(
    id="thing-wrong",
    title="A thing is wrong",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("API1:2023",),
    cwe=("CWE-1",),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
)
def detect(facts):
    return ()
"""


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., detections.Detectors]:
    package = f"made_{tmp_path.name.replace('-', '_')}"
    root = tmp_path / package
    folder = root / "thing_wrong"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(old: str = "", new: str = "", *, without: str = "", patterns: str = "") -> detections.Detectors:
        assert old in DETECTOR
        (folder / "detector.py").write_text(DETECTOR.replace(old, new, 1) if old else DETECTOR)
        for name in ("cases.yaml", "README.md"):
            if name != without:
                (folder / name).write_text("x")
        if patterns:
            (folder / "patterns.yaml").write_text(patterns)
        for name in [name for name in sys.modules if name.startswith(package)]:
            del sys.modules[name]
        return detections.load_from(root, package)

    return load


def test_a_whole_folder_loads(loaded: Callable[..., detections.Detectors]) -> None:
    assert [detector.meta.id for detector in loaded()] == ["thing-wrong"]


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('id="thing-wrong"', 'id="other"', 4, "write `thing-wrong`"),
        ('severity="high"', 'severity="huge"', 6, "severity `huge` is not one of info, low, medium, high, critical"),
        ('phases=("request",)', 'phases=("body",)', 9, "must be one or more of request, response"),
        ('cwe=("CWE-1",)', 'cwe=("one",)', 11, "`one` is not an id"),
        ("attack=(", "attack=() and (", 12, "attack is empty"),
        ('on_error="monitor"', 'on_error="ignore"', 14, "block, monitor, allow"),
        ('    on_error="monitor",\n', "", 3, "Missing required argument 'on_error'"),
        ('stage="exploitation",', 'stage="exploitation", needs=("luck",),', 13, "`luck` is nothing that `Facts` has"),
        ("META = ", "OTHER = ", 1, "`META` is missing"),
        ("def detect(facts):", "def find(facts):", 1, "`detect(facts)` is missing"),
        ("return ()", "yield 1", 1, "or a generator"),
        ("def detect(facts):", "def detect(facts:", 16, "SyntaxError"),
        ("META = ", "1 / 0\nMETA = ", 3, "ZeroDivisionError"),
    ],
)
def test_a_fault_names_file_and_line(
    loaded: Callable[..., detections.Detectors], old: str, new: str, line: int, says: str
) -> None:
    with pytest.raises(detections.LoadError) as raised:
        loaded(old, new)
    message = str(raised.value)
    assert f"detector.py:{line}: " in message
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["cases.yaml", "README.md"])
def test_a_missing_file_is_named(loaded: Callable[..., detections.Detectors], name: str) -> None:
    with pytest.raises(detections.LoadError, match=f"{name}:0: missing"):
        loaded(without=name)


def test_families_need_patterns(loaded: Callable[..., detections.Detectors]) -> None:
    with pytest.raises(detections.LoadError, match=r"patterns\.yaml:0: missing"):
        loaded('stage="exploitation",', 'stage="exploitation", families=("made",),')


ENTRY = "- pattern: {pattern}\n  family: {family}\n  detects: detects a\n  does_not_detect: does not detect b\n"


@pytest.mark.parametrize(
    ("patterns", "line", "says"),
    [
        (ENTRY.format(pattern="a", family="made") + ENTRY.format(pattern="(b", family="made"), 5, "does not compile"),
        ("# x\n" + ENTRY.format(pattern="a", family="sql"), 2, "family `sql` is not in the detection's `families`"),
        ("- pattern: a\n  family: made\n", 1, "a pattern has pattern, family, detects, does_not_detect"),
        ("pattern: a\n", 1, "must be a list of patterns"),
        ("- [\n", 2, "cannot be read"),
    ],
)
def test_a_wrong_pattern_names_file_and_line(
    loaded: Callable[..., detections.Detectors], patterns: str, line: int, says: str
) -> None:
    detectors = loaded('stage="exploitation",', 'stage="exploitation", families=("made",),', patterns=patterns)
    with pytest.raises(detections.LoadError) as raised:
        Prefilter(detectors)
    assert f"patterns.yaml:{line}: " in str(raised.value)
    assert says in str(raised.value)


def test_a_detector_that_raises_is_reported_and_the_others_run() -> None:
    def broken(facts: Facts) -> tuple[Finding, ...]:
        raise KeyError("gone\nand more")

    detector = detections.Detector(next(d for d in DETECTORS if d.meta.id == "command-injection").meta, broken)
    facts = facts_of(request("GET", "/?host=%3Bid%3B&q=x%27%20or%201%3D1--"))
    always = detections.Detector(next(d for d in DETECTORS if d.meta.id == "token-in-url").meta, broken)
    others = [d for d in DETECTORS if d.meta.id not in (detector.meta.id, always.meta.id)]
    found, errors = detections.detect(facts, [detector, always, *others])
    assert [finding.id for finding in found] == ["sql-injection"]
    assert {(error.detection, error.on_error) for error in errors} == {
        (detector.meta.id, detector.meta.on_error), (always.meta.id, always.meta.on_error)
    }  # fmt: skip
    assert all(error.message == "KeyError: 'gone\\nand more'" for error in errors)


@pytest.mark.parametrize("detector", [d for d in DETECTORS if d.meta.needs], ids=lambda detector: detector.meta.id)
def test_what_a_detector_needs_is_what_it_cannot_do_without(detector: detections.Detector) -> None:
    """It is not called without, so it must find nothing then, in whichever call."""
    called = 0
    for folder in ROOT.glob("*/cases.yaml"):
        for case in read(folder.parent):
            facts = case_facts(case)
            if facts.phase.name.lower() not in detector.meta.phases:
                continue
            found = tuple(detector.detect(facts))
            if any(attrgetter(need)(facts) for need in detector.meta.needs):
                called += 1
            else:
                assert not found, case.name
            assert detections.detect(facts, detections.Detectors([detector]))[0] == found
    assert called


def test_detectors_run_in_their_phase_only() -> None:
    case = next(c for c in read(ROOT / "object_not_granted") if c.kind == "match")
    facts = case_facts(case)
    meta = next(d for d in DETECTORS if d.meta.id == "object-not-granted")
    assert detections.detect(facts, DETECTORS)[0]
    from msgspec.structs import replace

    response_only = detections.Detector(replace(meta.meta, phases=("response",)), meta.detect)
    assert detections.detect(facts, [response_only]) == ((), ())


ASKS_OTHERS = frozenset(("upstream_injection", "upstream_redirect"))
"""What third parties send is read by the confirmers of the detections that read what callers send."""


def test_detections_are_pure_and_strangers() -> None:
    forbidden = {"asyncio", "socket", "logging", "random", "subprocess", "threading", "time", "datetime", "os"}
    for path in ROOT.glob("**/*.py"):
        own = path.parent.name
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] not in forbidden, f"{path}:{node.lineno}"
                if name.startswith("eastwall.detections.") and own != "detections":
                    # What several share stands beside the folders.
                    shared = (ROOT / f"{name.split('.')[2]}.py").is_file()
                    assert shared or own in ASKS_OTHERS or name.split(".")[2] == own, (
                        f"{path}:{node.lineno}: detections do not import each other"
                    )
