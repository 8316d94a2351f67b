"""Detections: pure functions of `Facts`, one folder each, found by `load` and never registered by hand.

A folder holds `detector.py` (`META: Detection` and `detect(facts)`), `cases.yaml` (what it must match, what it must not, and what it
does when knowledge is missing), `README.md`, and, where it reads content, `patterns.yaml` for the prefilter. A folder that does not
keep to this is a fatal `LoadError` that names file and line: a rule that is quietly absent is a hole nobody sees.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from msgspec import Struct

from eastwall.model.call import Phase
from eastwall.model.facts import Facts
from eastwall.model.finding import CONFIDENCES, SEVERITIES, STAGES, Detection, Finding

AUDIENCES = ("service-owner", "security", "both")
PHASES = ("request", "response")
ON_ERROR = ("block", "monitor", "allow")
ACTIONS = ("block", "report")
FOLDER_FILES = ("cases.yaml", "README.md")


class LoadError(ValueError):
    """A detection folder is not whole. One line: `file:line: what is wrong; how to mend`."""


class Detector(Struct, frozen=True):
    """One loaded detection."""

    meta: Detection
    detect: Callable[[Facts], Iterable[Finding]]
    """Pure. Returns nothing when nothing is wrong; may raise (see `DetectorError`)."""
    folder: str = ""
    """Where its files are; `patterns.yaml` is read from here by the prefilter."""


class DetectorError(Struct, frozen=True):
    """A detector raised. The policy follows `on_error`; the call is counted as not wholly inspected."""

    detection: str
    """Id of the detection."""
    message: str
    """`ExceptionType: text`, at most 200 characters, one line."""
    on_error: str
    """`block`, `monitor` or `allow`, from the detection's metadata."""


class _Always:
    """The detectors without families of one phase, told apart by what they need."""

    __slots__ = ("_detectors", "_plans", "_told")

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self._detectors = tuple(detectors)
        needs = sorted({need for detector in detectors for need in detector.meta.needs})
        # All in one look. Of less than two names it would give no tuple, whence the second `audited`.
        self._told: Callable[[Facts], tuple[object, ...]] = attrgetter("audited", "audited", *needs)
        self._plans: dict[tuple[bool, ...], tuple[Detector, ...]] = {}
        """By what a call holds of all that is needed: a few of the possible combinations."""

    def of(self, facts: Facts) -> tuple[Detector, ...]:
        """Those that may find something in this call, in order."""
        held = tuple(map(bool, self._told(facts)))
        plan = self._plans.get(held)
        if plan is None:
            plan = self._plans[held] = tuple(filter(partial(_may_find, facts), self._detectors))
        return plan


def _may_find(facts: Facts, detector: Detector) -> bool:
    needs = detector.meta.needs
    return (facts.audited or not detector.meta.posture) and (not needs or any(attrgetter(need)(facts) for need in needs))


class Detectors(tuple[Detector, ...]):
    """A tuple of detectors that knows, per phase, which of them to call.

    `load` returns one. After dropping some, wrap the rest once (`Detectors(d for d in load() if ...)`): `detect` takes any
    sequence, but has to sort a plain one out on every call.
    """

    always: tuple[_Always, ...]
    """Those without families: they judge what was learned, on every call of the phase that something was told of. By phase: looking
    something up by a member of an enumeration would take longer than what is found runs."""
    on_suspects: tuple[tuple[tuple[Detector, frozenset[str]], ...], ...]
    """Those with families: they run when one of their families hit a value."""
    _content: frozenset[str]

    def __new__(cls, detectors: Iterable[Detector] = ()) -> Detectors:
        self = super().__new__(cls, detectors)
        # No phase has the number 0.
        here = [[], *([d for d in self if phase.name.lower() in d.meta.phases] for phase in sorted(Phase))]
        self.always = tuple(_Always([d for d in some if not d.meta.families]) for some in here)
        self.on_suspects = tuple(tuple((d, frozenset(d.meta.families)) for d in some if d.meta.families) for some in here)
        self._content = frozenset(d.meta.id for d in self if d.meta.families)
        return self

    def reads_content(self, detection: str) -> bool:
        """Whether a detection judges content by patterns, and not by what was learned of callers."""
        return detection in self._content or "/" in detection  # rules of packs


def detect(facts: Facts, detectors: Sequence[Detector]) -> tuple[tuple[Finding, ...], tuple[DetectorError, ...]]:
    """Run every detector that applies to this phase. A detector that raises becomes a `DetectorError`, never silence."""
    plan = detectors if type(detectors) is Detectors else Detectors(detectors)
    findings: tuple[Finding, ...] = ()
    errors: tuple[DetectorError, ...] = ()
    for detector in plan.always[facts.phase].of(facts):
        try:
            found = detector.detect(facts)
            if found:
                findings += tuple(found)
        except Exception as error:  # noqa: BLE001 - whatever a detector raises must become a counted error with its on_error
            errors += (_error(detector, error),)
    if facts.suspects:
        hit = frozenset().union(*(families for _, families in facts.suspects))
        for detector, families in plan.on_suspects[facts.phase]:
            if families.isdisjoint(hit) or (detector.meta.posture and not facts.audited):
                continue
            try:
                findings += tuple(detector.detect(facts))
            except Exception as error:  # noqa: BLE001 - as above
                errors += (_error(detector, error),)
    return findings, errors


def _error(detector: Detector, error: Exception) -> DetectorError:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return DetectorError(detector.meta.id, text[:200], detector.meta.on_error)


def load() -> Detectors:
    """Every detection of this installation, by id. Raises `LoadError`."""
    return load_from(Path(__file__).parent, __name__)


def load_from(root: Path, package: str) -> Detectors:
    """Every sub-folder of `root` that has a `detector.py`, imported as `package.FOLDER.detector`. Raises `LoadError`."""
    folders = sorted(path.parent for path in root.glob("*/detector.py"))
    if not folders:
        raise LoadError(f"{root}:0: no detection found; the installation is not whole, install it again")
    return Detectors(_load_folder(folder, package) for folder in folders)


def _load_folder(folder: Path, package: str) -> Detector:
    source = folder / "detector.py"
    for name in FOLDER_FILES:
        if not (folder / name).is_file():
            raise LoadError(f"{folder / name}:0: missing; every detection has detector.py, {' and '.join(FOLDER_FILES)}")
    try:
        module = importlib.import_module(f"{package}.{folder.name}.detector")
    except Exception as error:
        raise LoadError(f"{source}:{_line_of(error, source)}: cannot be loaded: {type(error).__name__}: {error}") from error
    meta = getattr(module, "META", None)
    if not isinstance(meta, Detection):
        raise LoadError(f"{source}:1: `META` is missing or not a `Detection`; add `META = Detection(...)`")
    function: Any = getattr(module, "detect", None)
    if not callable(function) or inspect.isgeneratorfunction(function):
        # A generator object is always true and costs a frame on every clean call.
        raise LoadError(f"{source}:1: `detect(facts)` is missing or a generator; make it a function that returns a list or tuple")
    _check(meta, folder, _keyword_lines(source))
    if meta.families and not (folder / "patterns.yaml").is_file():
        raise LoadError(
            f"{folder / 'patterns.yaml'}:0: missing; `families` names {', '.join(meta.families)}, so patterns must say when they hit"
        )
    return Detector(meta=meta, detect=function, folder=str(folder))


def _check(meta: Detection, folder: Path, lines: dict[str, int]) -> None:
    def fail(field: str, problem: str) -> LoadError:
        return LoadError(f"{folder / 'detector.py'}:{lines.get(field, lines.get('META', 1))}: {field} {problem}")

    expected = folder.name.replace("_", "-")
    if meta.id != expected:
        raise fail("id", f"`{meta.id}` is not its folder's name; write `{expected}`")
    if "on_error" not in lines:
        raise fail("on_error", f"is not written out; choose one of {', '.join(ON_ERROR)}")
    for field, allowed in (
        ("severity", SEVERITIES), ("confidence", CONFIDENCES), ("audience", AUDIENCES), ("stage", STAGES), ("on_error", ON_ERROR), ("default_action", ACTIONS),
    ):  # fmt: skip
        if getattr(meta, field) not in allowed:
            raise fail(field, f"`{getattr(meta, field)}` is not one of {', '.join(allowed)}")
    if not meta.title:
        raise fail("title", "is empty; say in a few words what is found")
    if not meta.phases or any(phase not in PHASES for phase in meta.phases):
        raise fail("phases", f"`{', '.join(meta.phases)}` must be one or more of {', '.join(PHASES)}")
    for need in meta.needs:
        if need.partition(".")[0] not in Facts.__struct_fields__:
            raise fail("needs", f"`{need}` is nothing that `Facts` has")
    for field, prefixes in (("owasp", ("API", "LLM", "A", "MCP")), ("cwe", ("CWE-",)), ("attack", ("T", "AML.T"))):
        values: tuple[str, ...] = getattr(meta, field)
        if not values:
            raise fail(field, "is empty; name what it belongs to")
        for value in values:
            if not value.startswith(prefixes) or not any(character.isdigit() for character in value):
                raise fail(field, f"`{value}` is not an id of that list")


def _keyword_lines(source: Path) -> dict[str, int]:
    """Line of `META` and of each keyword given in it."""
    for node in ast.parse(source.read_bytes()).body:
        if isinstance(node, ast.AnnAssign):
            targets: list[ast.expr] = [node.target]
        elif isinstance(node, ast.Assign):
            targets = node.targets
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == "META" for target in targets):
            lines = {"META": node.lineno}
            if isinstance(node.value, ast.Call):
                lines.update({keyword.arg: keyword.value.lineno for keyword in node.value.keywords if keyword.arg})
            return lines
    return {"META": 1}


def _line_of(error: BaseException, source: Path) -> int:
    """The deepest line of `source` that the error went through; a syntax error names its own."""
    if isinstance(error, SyntaxError) and error.lineno:
        return error.lineno
    line, step = 1, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(source):
            line = step.tb_lineno
        step = step.tb_next
    return line
