"""How well the content detections tell attacks from ordinary values, and what they cost, beside libmodsecurity + CRS on the same inputs.

    EASTWALL_CORPORA=DIR python -m bench.content            the tables, and build/bench/content.json
    ... --quick                                             a sample, no peer, no cost: while a detection is being written
    ... --missed CLASS [--place PLACE]                      what passed of a class (sqli, xss, ...; a file of GoTestWAF: owasp/crlf; a
                                                            held-out set of tests/corpus: ssrf, or held-out for all)
    ... --false [--place PLACE]                             what was found in harmless values

A call counts as caught when `decide` refuses it in enforce mode under the built-in policy: a finding of at least high severity and medium
confidence. `any` counts calls with any finding at all. Nothing is learned beforehand, so nothing is excused by what an operation receives.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import asdict
from rich.console import Console
from rich.table import Table

from bench import content_benign, content_corpora, content_cost, content_sets, modsecurity, report
from bench.content_corpora import Case
from bench.content_judge import Judge, Judged, Score, refused
from bench.content_places import PLACES
from bench.modsecurity import ModSecurity
from eastwall.model.call import Request

ATTACKS = ("sqli", "xss", "cmdi", "path-traversal")
QUICK = 20
"""Of HttpParamsDataset, every such value in a quick run; classes of few values are taken whole."""
FEW = 600
SHOWN = 60
Figures = dict[str, Any]


def sampled(values: list[str], *, quick: bool) -> list[str]:
    return values[::QUICK] if quick and len(values) > FEW else values


def by_class(root: Path, *, quick: bool) -> dict[str, list[str]]:
    classes: dict[str, list[str]] = defaultdict(list)
    for kind, value in content_corpora.httpparams(root):
        classes[kind].append(value)
    return {kind: sampled(values, quick=quick) for kind, values in classes.items()}


def placed(values: Iterable[str], place: str) -> Iterator[tuple[str, Request]]:
    for value in values:
        message = PLACES[place](value)
        if message is not None:
            yield value, message


def score_gotestwaf(judge: Judge, cases: list[Case], peers: dict[str, ModSecurity]) -> Figures:
    """Attacks by file, placeholder and encoding, and the harmless texts."""
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if case.benign:
            groups["benign"].append(case)
            continue
        coding = "Base64" if case.encoder.startswith("Base64") else "not Base64"
        kind = case.source if case.source.startswith("owasp") else "community"
        for name in ("all", coding, f"file {kind}", f"place {case.place}"):
            groups[name].append(case)
    judged = {id(case): judge.judge(case.request) for case in cases}
    figures: Figures = {}
    for name, members in sorted(groups.items()):
        score = Score()
        for case in members:
            score.add(judged[id(case)])
        figures[name] = {"eastwall": asdict(score)}
        for peer, engine in peers.items():
            figures[name][peer] = asdict(refused(engine, (case.request for case in members)))
    return figures


def score_httpparams(judge: Judge, classes: dict[str, list[str]], peers: dict[str, ModSecurity]) -> Figures:
    """Every class in a query parameter, for which the values were collected."""
    figures: Figures = {}
    for kind, values in classes.items():
        score = Score()
        for _, message in placed(values, "query"):
            score.add(judge.judge(message))
        figures[kind] = {"eastwall": asdict(score)}
        for peer, engine in peers.items():
            figures[kind][peer] = asdict(refused(engine, (message for _, message in placed(values, "query"))))
    return figures


def score_places(judge: Judge, classes: dict[str, list[str]], *, step: int) -> Figures:
    """Every class in every place; of classes with many values each `step`-th."""
    figures: Figures = {}
    for place in PLACES:
        figures[place] = {}
        for kind, values in classes.items():
            score = Score()
            for _, message in placed(values[::step] if len(values) > FEW else values, place):
                score.add(judge.judge(message))
            figures[place][kind] = asdict(score)
    return figures


def score_benign(judge: Judge, peers: dict[str, ModSecurity], *, generated: int) -> Figures:
    """The corpus of what was ever wrongly found, its whole calls, and generated values, in every place."""
    sets = {
        "values ever wrongly found": content_benign.values(),
        "generated values": content_benign.generated(generated),
    }
    figures: Figures = {}
    for name, values in sets.items():
        score, by_place = Score(), {}
        for place in PLACES:
            one = Score()
            for value, message in placed(values, place):
                if not content_benign.fits(place, value):
                    continue
                judged = judge.judge(message)
                one.add(judged)
                score.add(judged)
            by_place[place] = asdict(one)
        figures[name] = {"eastwall": asdict(score), "places": by_place, "values": len(values)}
        for peer, engine in peers.items():
            figures[name][peer] = asdict(refused(engine, (message for _, message in placed(values, "JSON value"))))
    score = Score()
    for message in content_benign.calls():
        score.add(judge.judge(message))
    figures["whole calls"] = {"eastwall": asdict(score)}
    return figures


def macro(figures: Figures, who: str = "eastwall") -> float:
    rates = [figures[kind][who]["blocked"] / max(figures[kind][who]["total"], 1) for kind in ATTACKS]
    return sum(rates) / len(rates)


def targets(figures: Figures, *, peers: bool) -> list[dict[str, Any]]:
    """What issue 4 asks for, each with what was measured."""
    made: list[dict[str, Any]] = []

    def add(name: str, wanted: str, value: float | None, met: bool | None) -> None:
        made.append(report.target(name, wanted, value, met))

    if "gotestwaf" in figures:
        attacks, benign = figures["gotestwaf"]["all"]["eastwall"], figures["gotestwaf"]["benign"]["eastwall"]
        rate = attacks["blocked"] / attacks["total"]
        add("GoTestWAF, attacks refused, with Base64", ">= 0.97", rate, rate >= 0.97)
        passed = benign["total"] - benign["blocked"]
        add("GoTestWAF, harmless texts passed", f"{benign['total']}", passed, passed == benign["total"])
    if "httpparams" in figures:
        rate = macro(figures["httpparams"])
        add("HttpParamsDataset, macro over 4 classes refused", ">= 0.97", rate, rate >= 0.97)
        norm = figures["httpparams"]["norm"]["eastwall"]
        wrong = norm["blocked"] / norm["total"]
        add("HttpParamsDataset, normal values refused", "<= 0.001", wrong, wrong <= 0.001)
    for name, found in {**figures["benign"], **figures["answers"]}.items():
        add(f"benign, {name}, refused", "0", found["eastwall"]["blocked"], found["eastwall"]["blocked"] == 0)
    for size, most in content_cost.TARGETS.items():
        us = figures.get("cost", {}).get(f"content_us_{size}")
        add(f"content detections, clean JSON of {size} KB, p50 us", f"<= {most:,}", us, None if us is None else us <= most)
    cheaper = [figures.get("cost", {}).get(f"times_cheaper_{size}") for size in content_cost.TARGETS] if peers else [None]
    least = min(value for value in cheaper if value is not None) if any(cheaper) else None
    add("times cheaper than libmodsecurity + CRS PL1, least", ">= 50", least, None if least is None else least >= 50)
    made += figures.get("set targets", ())
    return made


def rates_table(title: str, figures: Figures, peers: Iterable[str]) -> Table:
    names = list(peers)
    shown = Table(title, "calls", "refused", "%", "any %", *[f"{name} %" for name in names], box=None)
    for name, found in figures.items():
        own = found["eastwall"]
        row = [name, f"{own['total']:,}", f"{own['blocked']:,}", percent(own["blocked"], own["total"])]
        row.append(percent(own["found"], own["total"]))
        row += [percent(found[peer]["blocked"], found[peer]["total"]) if peer in found else "-" for peer in names]
        shown.add_row(*row)
    return shown


def percent(part: int, whole: int) -> str:
    return f"{part / whole * 100:.2f}" if whole else "-"


def places_table(figures: Figures, benign: Figures) -> Table:
    kinds = [*ATTACKS, "norm"] if figures else []
    shown = Table("place: % refused", *kinds, "benign, found", box=None)
    for place in PLACES:
        row = [percent(figures[place][kind]["blocked"], figures[place][kind]["total"]) for kind in kinds]
        wrong = [found["places"][place] for found in benign.values() if "places" in found]
        shown.add_row(place, *row, f"{sum(w['found'] for w in wrong)} of {sum(w['total'] for w in wrong):,}")
    return shown


def measure(*, quick: bool) -> tuple[Figures, dict[str, ModSecurity]]:
    root, judge, figures = content_corpora.folder(), Judge(), Figures()
    peers: dict[str, ModSecurity] = {}
    problem = "a quick run asks no peer" if quick else modsecurity.missing()
    with tempfile.TemporaryDirectory() as directory:
        if not problem:
            peers = {f"CRS PL{level}": ModSecurity(Path(directory), level) for level in (1, 2)}
        if root is None:
            figures["corpora"] = content_corpora.missing()
        else:
            figures["gotestwaf"] = score_gotestwaf(judge, list(content_corpora.gotestwaf(root)), peers)
            classes = by_class(root, quick=quick)
            figures["httpparams"] = score_httpparams(judge, classes, peers)
            figures["places"] = score_places(judge, classes, step=20 if quick else 5)
        figures["held out"] = content_sets.score_held_out(judge, peers)
        figures["answers"] = content_sets.score_answers(judge)
        figures["benign"] = score_benign(judge, peers, generated=300 if quick else content_benign.GENERATED)
        if not quick:
            figures["cost"] = content_cost.measure(judge, peers.get("CRS PL1"))
            figures["sets"], figures["set targets"] = content_sets.secrets_and_data()
    if problem:
        figures["peer"] = problem
    return figures, peers


def missed(name: str, place: str) -> None:
    """Print what passed of a class of HttpParamsDataset, or of a file of GoTestWAF."""
    root, judge = content_corpora.folder(), Judge()
    if name in content_sets.names() or name == "held-out":
        sets = content_sets.names() if name == "held-out" else [name]
        calls = [(line, one, message) for one in sets for line, message in content_sets.held_out(one)]
    elif root is None:
        raise SystemExit(content_corpora.missing())
    elif name in ATTACKS:
        values = [value for kind, value in content_corpora.httpparams(root) if kind == name]
        calls = [(value, place, message) for value, message in placed(values, place)]
    else:
        calls = [
            (case.payload, f"{case.encoder} in {case.place} of {case.source}", case.request)
            for case in content_corpora.gotestwaf(root)
            if not case.benign and (name == "gotestwaf" or case.source == name)
        ]
    judged = [(value, where, judge.judge(message)) for value, where, message in calls]
    passed = [(value, where, one) for value, where, one in judged if not one.blocked]
    for value, where, one in passed:
        print(f"{where}: {short(value)}  [{said(one)}]")
    print(f"{len(passed)} of {len(judged)} passed")


def said(one: Judged) -> str:
    return ", ".join(f"{f.id} {f.severity}/{f.confidence}" for f in one.findings) or "nothing found"


def short(value: str) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:60]}...{text[-120:]}"


def false_findings(place: str) -> None:
    """Print what was found in harmless values."""
    root, judge = content_corpora.folder(), Judge()
    places = [place] if place else list(PLACES)
    values = [*content_benign.values(), *content_benign.generated(content_benign.GENERATED)]
    if root is not None:
        values += [value for kind, value in content_corpora.httpparams(root) if kind == "norm"][:: 1 if place else QUICK]
    wrong = 0
    calls = [(where, value, message) for where in places for value, message in placed(values, where)]
    calls = [one for one in calls if content_benign.fits(one[0], one[1])]
    if root is not None:
        calls += [(f"gotestwaf {c.place}", c.payload, c.request) for c in content_corpora.gotestwaf(root) if c.benign]
    held = [
        (f"held-out {name}", line, message)
        for name in content_sets.names()
        for line, message in content_sets.held_out(name, benign=True)
    ]
    calls += held
    for name, answer in content_sets.answers():
        one = judge.judge(content_corpora.request("GET", "/items/1"), answer)
        if one.findings:
            print(f"{'REFUSED' if one.blocked else 'found'} answer `{name}`: {said(one)}")
    calls += [("call", f"{message.method} {message.path}", message) for message in content_benign.calls()]
    for where, value, message in calls:
        one = judge.judge(message)
        if one.findings:
            wrong += 1
            print(f"{'REFUSED' if one.blocked else 'found'} {where}: {short(value)}")
            for finding in one.findings:
                print(f"    {finding.id} {finding.severity}/{finding.confidence} at {finding.where}: {finding.message}")
    print(f"{wrong} of {len(calls):,} harmless calls have a finding")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.content", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a sample, no peer, no cost")
    parser.add_argument(
        "--missed", metavar="CLASS", help="print what passed of a class, or of a file of GoTestWAF (or `gotestwaf`)"
    )
    parser.add_argument("--false", action="store_true", dest="wrong", help="print what was found in harmless values")
    parser.add_argument("--place", default="", choices=["", *PLACES], help="look at one place only")
    given = parser.parse_args()
    if given.missed:
        missed(given.missed, given.place or "query")
        return
    if given.wrong:
        false_findings(given.place)
        return
    figures, peers = measure(quick=given.quick)
    console = Console(width=140)
    for name in ("corpora", "peer"):
        if name in figures:
            console.print(f"not measured: {figures[name]}")
    for title in ("gotestwaf", "httpparams", "held out", "benign", "answers"):
        if title in figures:
            console.print(rates_table(title, figures[title], peers), "")
    console.print(places_table(figures.get("places", {}), figures["benign"]), "")
    if "cost" in figures:
        console.print(content_cost.table(figures["cost"]), "")
    wanted = targets(figures, peers=bool(peers))
    for row in wanted:
        value = "not measured" if row["value"] is None else f"{row['value']:,.4g}"
        console.print(
            f"{'met    ' if row['met'] else 'open   ' if row['met'] is None else 'NOT MET'} {row['name']}: {value} (wanted {row['target']})"
        )
    if not given.quick:
        print(report.write("content", figures, wanted))


if __name__ == "__main__":
    main()
