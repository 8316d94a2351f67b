"""Detection rates on the public corpora, where they are at hand: floors, so that a change shows; `make bench-content` has the whole."""

from __future__ import annotations

from collections import Counter

import pytest
from bench import content_corpora as corpora
from bench.content_places import PLACES
from tests.unit.detections.detection_cases import findings

ROOT = corpora.folder()
needs_corpora = pytest.mark.skipif(ROOT is None, reason=corpora.missing())
FEW = 600
STEP = 20
"""Of classes with more values than FEW, every such one is looked at here."""
FLOORS = {"sqli": 0.998, "xss": 0.78, "cmdi": 0.94, "path-traversal": 0.95}


@needs_corpora
def test_httpparams() -> None:
    assert ROOT is not None
    values: dict[str, list[str]] = {}
    for kind, value in corpora.httpparams(ROOT):
        values.setdefault(kind, []).append(value)
    shares, wrong = {}, []
    for kind, members in values.items():
        some = members[::STEP] if len(members) > FEW else members
        messages = [(value, PLACES["query"](value)) for value in some]
        found = [value for value, message in messages if message is not None and findings(message)]
        shares[kind] = len(found) / len(some)
        if kind == "norm":
            wrong = found
    print(f"\nhttpparams: {shares}")
    assert not wrong
    assert all(shares[kind] >= floor for kind, floor in FLOORS.items()), shares


@needs_corpora
def test_gotestwaf() -> None:
    assert ROOT is not None
    total: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    for case in corpora.gotestwaf(ROOT):
        if case.benign:
            continue
        kind = "Base64" if case.encoder.startswith("Base64") else "plain"
        total[kind] += 1
        hits[kind] += bool(findings(case.request))
    print(f"\ngotestwaf: {dict(hits)} of {dict(total)}")
    assert sum(total.values()) == 681
    assert hits["Base64"] / total["Base64"] >= 0.9
    assert hits["plain"] / total["plain"] >= 0.9


@needs_corpora
def test_gotestwaf_false_positives() -> None:
    assert ROOT is not None
    harmless = [case for case in corpora.gotestwaf(ROOT) if case.benign]
    wrong = [(case.payload, case.place, [f.id for f in findings(case.request)]) for case in harmless if findings(case.request)]
    assert len(harmless) == 141
    assert not wrong


def test_without_the_corpora_it_is_said_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(corpora.ENVIRONMENT, raising=False)
    assert corpora.folder() is None
    assert "EASTWALL_CORPORA is not set" in corpora.missing()
    monkeypatch.setenv(corpora.ENVIRONMENT, "/nonexistent")
    assert "`/nonexistent`, which is no folder" in corpora.missing()


@pytest.mark.parametrize(
    ("payload", "encoder", "encoded"),
    [("a b'%", "URL", "a+b%27%25"), ("a>?", "Base64", "YT4/"), ("ab", "Base64Flat", "YWI"), ("a b", "Plain", "a b")],
)
def test_encoders(payload: str, encoder: str, encoded: str) -> None:
    assert corpora.encoded(payload, encoder) == encoded


@pytest.mark.parametrize("place", PLACES)
def test_a_value_is_found_in_every_place(place: str) -> None:
    """The placements themselves: an attack that every detection knows arrives whole."""
    message = PLACES[place]("x' union select name, pass from users--")
    assert message is not None
    assert "sql-injection" in {finding.id for finding in findings(message)}
