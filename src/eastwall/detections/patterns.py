"""Prefilter patterns: read from `patterns.yaml`, checked, and compiled into one database per phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import hyperscan
import msgspec
from msgspec import Struct

from eastwall.detections import PHASES, Detector, LoadError
from eastwall.detections.pattern_needs import needs_special
from eastwall.discovery import automata

FLAGS = hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_DOTALL | hyperscan.HS_FLAG_MULTILINE
MAX_EXAMPLES = 50
"""Texts that one pattern may give for `matches` and for `near_misses`."""


class Pattern(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a `patterns.yaml`."""

    pattern: str
    """Hyperscan (PCRE subset) expression; `.` matches newlines, `^` and `$` are line ends (values are joined by newlines)."""
    family: str
    """One of the families in the detection's metadata."""
    detects: str
    """One sentence: what it is there for."""
    does_not_detect: str
    """One sentence: what comes near and stays quiet."""
    phase: str = ""
    """`request` or `response`: only there. Empty: in all phases of the detection."""
    caseful: bool = False
    """Letters match in the case given only. Otherwise in any case."""
    matches: tuple[str, ...] = ()
    """Texts that it must hit; see `wrong_examples`."""
    near_misses: tuple[str, ...] = ()
    """Texts that it must not hit."""


class _Entry(Struct, frozen=True):
    expression: bytes
    flags: int
    family: str
    source: str
    """`file:line`, for messages."""
    phases: tuple[str, ...] = PHASES


_NOTHING = _Entry(rb"\x00never\x00\x00hits\x00", FLAGS, "", "", ())
"""Stands in for the patterns of a phase that has none: a database has to have one."""


def flags_of(pattern: Pattern) -> int:
    """Hyperscan's flags for a pattern."""
    return FLAGS if pattern.caseful else FLAGS | hyperscan.HS_FLAG_CASELESS


def wrong_examples(pattern: Pattern) -> tuple[str, ...]:
    """What a pattern's own examples say against it, one sentence each; empty when they all hold. Compiles it (milliseconds).

    Raises `hyperscan.error` for a pattern that does not compile."""
    database = automata.build([pattern.pattern.encode()], [flags_of(pattern)], [0])
    hits: list[int] = []

    def hit(text: str) -> bool:
        hits.clear()
        database.scan(text.encode("utf-8", "replace"), lambda *_: hits.append(1))
        return bool(hits)

    missed = [f"does not hit `{text[:80]}`, one of its `matches`" for text in pattern.matches if not hit(text)]
    return tuple(missed + [f"hits `{text[:80]}`, one of its `near_misses`" for text in pattern.near_misses if hit(text)])


def read_patterns(path: Path, families: Sequence[str]) -> Iterator[tuple[int, Pattern]]:
    """(line, pattern) of a `patterns.yaml`. Raises `LoadError`."""
    import yaml  # not needed where the patterns are compiled already

    try:
        text = path.read_text("utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        entries = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", -1) + 1
        raise LoadError(f"{path}:{line}: cannot be read: {' '.join(str(error).split())[:200]}") from error
    if node is None or not isinstance(entries, list) or not entries:
        raise LoadError(f"{path}:1: must be a list of patterns; write `- pattern: ...`")
    for entry, part in zip(entries, node.value, strict=True):
        line = part.start_mark.line + 1
        try:
            pattern = msgspec.convert(entry, Pattern)
        except msgspec.ValidationError as error:
            raise LoadError(
                f"{path}:{line}: {error}; a pattern has pattern, family, detects, does_not_detect, and may have phase, caseful, "
                "matches, near_misses"
            ) from error
        if pattern.family not in families:
            raise LoadError(
                f"{path}:{line}: family `{pattern.family}` is not in the detection's `families` ({', '.join(families)})"
            )
        if pattern.phase and pattern.phase not in PHASES:
            raise LoadError(f"{path}:{line}: phase `{pattern.phase}` is not one of {', '.join(PHASES)}")
        if max(len(pattern.matches), len(pattern.near_misses)) > MAX_EXAMPLES:
            raise LoadError(f"{path}:{line}: more than {MAX_EXAMPLES} examples; keep those that differ")
        yield line, pattern


def sources(detectors: Sequence[Detector]) -> Iterator[bytes]:
    """Everything that the databases are made of."""
    yield repr(FLAGS).encode()
    for detector in detectors:
        if detector.meta.families:
            # By its name: where it is installed makes no other patterns of them.
            yield repr((Path(detector.folder).name, detector.meta.families, detector.meta.phases)).encode()
            try:
                yield (Path(detector.folder) / "patterns.yaml").read_bytes()
            except OSError:
                yield b""  # `read_patterns` will say what is wrong


def compiled(detectors: Sequence[Detector], *, later: bool = False) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """(family of each pattern, databases: of requests and of responses, each of the patterns for all texts and of those that hit only texts
    with a special character). `later`: each is compiled when it is first asked. Raises `LoadError`."""
    entries: list[_Entry] = []
    for detector in detectors:
        if not detector.meta.families:
            continue
        path = Path(detector.folder) / "patterns.yaml"
        for line, found in read_patterns(path, detector.meta.families):
            phases = (found.phase,) if found.phase else detector.meta.phases
            if found.phase and found.phase not in detector.meta.phases:
                raise LoadError(
                    f"{path}:{line}: phase `{found.phase}` is not in the detection's `phases`; it would never be looked at"
                )
            entries.append(_Entry(found.pattern.encode(), flags_of(found), found.family, f"{path}:{line}", phases))
    entries.append(_NOTHING)
    special = [needs_special(entry.expression.decode()) for entry in entries]
    return tuple(entry.family for entry in entries), tuple(
        automata.Later(partial(_compile, entries, ids)) if later else _compile(entries, ids)
        for phase in PHASES
        for wanted in (False, True)
        for ids in ([n for n, entry in enumerate(entries) if phase in entry.phases and special[n] == wanted],)
    )


def _compile(entries: Sequence[_Entry], ids: Sequence[int]) -> Any:
    """A database of those entries (of the last, which never hits, when there is none), with ids counted over all. Raises `LoadError`."""
    ids = ids or [len(entries) - 1]
    part = [entries[number] for number in ids]
    try:
        return automata.build([entry.expression for entry in part], [entry.flags for entry in part], ids)
    except hyperscan.error as error:
        for entry in part:
            try:
                hyperscan.Database().compile(expressions=[entry.expression], ids=[0], elements=1, flags=[entry.flags])
            except hyperscan.error as reason:
                text = entry.expression.decode("latin-1")[:120]
                raise LoadError(f"{entry.source}: pattern `{text}` does not compile: {reason}") from reason
        raise LoadError(f"{part[-1].source}: patterns do not compile together: {error}") from error
