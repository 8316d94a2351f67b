"""How many attack flows on API logic are stopped before data leaves, after learning from legitimate traffic alone (`make bench-logic`).

Worlds are drawn by seed (`bench.logic_worlds`). Seeds 1 to 12 are looked at while developing; 101 to 112 never are, and their figures stand
apart. Nothing is configured but the built-in policies: no rule, no specification. `LIVE=dir` runs public vulnerable applications instead
(`bench.logic_live`).
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench import logic_cost, logic_live, report
from bench.logic_attacks import OBJECTS
from bench.logic_attacks_access import ACCESS
from bench.logic_attacks_business import BUSINESS
from bench.logic_rig import Rig
from bench.logic_strike import Flow, Strike
from bench.logic_traffic import legitimate
from bench.logic_worlds import World
from eastwall.model.call import Mode

FLOWS: tuple[Flow, ...] = (*OBJECTS, *ACCESS, *BUSINESS)
SEEN = range(1, 13)
UNSEEN = range(101, 113)
LEARNING = (500, 1_500, 5_000)
"""Calls learned from: of 24 members and 7 to 9 others, so from about 15 to 150 calls each."""
LEGITIMATE = 1_000
"""Calls per world after learning, in enforce mode: with all worlds, the first 10,000 and more."""
LONG = 10_000
"""The same in one world in one run, after the least amount of learning: what is learned on the way, and a release in the middle, go wrong late."""
AFTER = 400
"""Legitimate calls per world when all attacks are over."""
ATTACKERS = 2
"""Members who turn, of each world, for each flow."""
QUIET = 3 * 3_600.0
"""Seconds between two flows: what one did is not held against the next."""


class Played(Struct):
    """What happened in one world."""

    seed: int
    world: str
    flows: dict[str, list[tuple[bool, int, list[str]]]]
    """class -> of each attempt: whether it won nothing (or was told, where that is what counts), the abusive call that was the first to be
    refused (0: none), detections that spoke."""
    legitimate: int
    disturbed: list[str]
    after: int
    """Legitimate calls that were blocked after all attacks, of `AFTER`: attackers are back at their ordinary work."""
    fold: float
    """Records folded per second."""


class Guarded(Struct):
    """What happened to legitimate calls alone in one world."""

    seed: int
    world: str
    calls: int
    disturbed: list[str]
    cut: int
    """Answers to them that lost entries."""


def guard(seed: int, calls: int, guarded: int) -> Guarded:
    """One world: learn, then legitimate calls alone in enforce mode, for long."""
    world = World(seed)
    rng = random.Random(seed * 7919 + calls)
    rig = Rig(world)
    legitimate(rig, calls, rng)
    rig.publish(Mode.ENFORCE)
    return Guarded(seed, world.told(), guarded, _disturbed(rig, guarded, rng), rig.cut)


def play(seed: int, calls: int, only: str = "") -> Played:
    """One world: learn, then legitimate calls and attacks in enforce mode."""
    world = World(seed)
    rng = random.Random(seed * 7919 + calls)
    rig = Rig(world)
    legitimate(rig, calls, rng)
    rig.publish(Mode.ENFORCE)
    disturbed = _disturbed(rig, LEGITIMATE, rng)
    rig.publish()
    flows: dict[str, list[tuple[bool, int, list[str]]]] = {}
    for flow in FLOWS:
        if only in flow.name:
            flows[flow.name] = list(_attempts(rig, flow, random.Random(f"{seed}/{calls}/{flow.name}")))
    rig.time += QUIET
    after = 0 if only else len(legitimate(rig, AFTER, rng))
    return Played(seed, world.told(), flows, LEGITIMATE, disturbed, after, rig.records / max(rig.fold_seconds, 1e-9))


def _disturbed(rig: Rig, calls: int, rng: random.Random) -> list[str]:
    """The legitimate calls of so many that were blocked: by what, where, why."""
    found = []
    for step, outcome in legitimate(rig, calls, rng, churn=True):
        what = "; ".join(f"{f.id} {f.where}: {f.message}" for f in outcome.findings if f.severity in ("high", "critical"))
        by = " ".join(sorted({f.id for f in outcome.findings if f.severity in ("high", "critical")}))
        world = f"world {rig.world.seed} ({rig.world.told()})"
        found.append(f"{by} | {world}: {step.ask.op} {step.ask.method} {step.ask.path}: {what}")
    return found


def _attempts(rig: Rig, flow: Flow, rng: random.Random) -> Iterable[tuple[bool, int, list[str]]]:
    members = [user for user in rig.world.members() if not user.assists and (not user.scope or "write" in user.scope)]
    for user in rng.sample(members, ATTACKERS):
        rig.time += QUIET
        user.cart_state, user.cart = "", []
        strike = Strike(rig, user, rng)
        won = flow.carry(strike)
        if won is not None:
            named = any(word in name for word in flow.tell for name in strike.told)
            yield (named if flow.tell else not won), strike.stopped_at, sorted(strike.told)


class Score:
    """Counts of one set of worlds."""

    def __init__(self, worlds: Iterable[Played]) -> None:
        self.worlds = list(worlds)
        self.flows: dict[str, list[int]] = {flow.name: [0, 0] for flow in FLOWS}
        """class -> [stopped, all]."""
        self.by_world: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        self.latency: dict[str, list[int]] = defaultdict(list)
        for world in self.worlds:
            for name, attempts in world.flows.items():
                for good, stopped_at, _ in attempts:
                    self.flows[name][0] += good
                    self.flows[name][1] += 1
                    self.by_world[world.seed][0] += good
                    self.by_world[world.seed][1] += 1
                    if stopped_at:
                        self.latency[name].append(stopped_at)
        self.disturbed = [line for world in self.worlds for line in world.disturbed]
        self.legitimate = sum(world.legitimate for world in self.worlds)
        self.after = sum(world.after for world in self.worlds)

    def share(self, *, told: bool = False) -> float:
        """Of the attempts of classes that are to be stopped (or told) by design."""
        names = [flow.name for flow in FLOWS if bool(flow.tell) == told]
        stopped, flows = (sum(self.flows[name][n] for name in names) for n in (0, 1))
        return stopped / flows if flows else 0.0

    def worst(self) -> tuple[float, str]:
        return min((self.flows[f.name][0] / self.flows[f.name][1], f.name) for f in FLOWS if self.flows[f.name][1] and not f.tell)

    def seeds(self, name: str) -> list[int]:
        """Worlds in which a class got through."""
        return [world.seed for world in self.worlds if any(not good for good, *_ in world.flows.get(name, ()))]


def measure(seeds: Iterable[int], calls: int, only: str = "") -> Score:
    with ProcessPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:
        return Score(pool.map(play, seeds, *zip(*((calls, only) for _ in seeds), strict=True)))


def measure_long(seeds: Iterable[int], calls: int, guarded: int) -> list[Guarded]:
    with ProcessPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:
        return list(pool.map(guard, seeds, *zip(*((calls, guarded) for _ in seeds), strict=True)))


def show_long(title: str, worlds: list[Guarded], *, each: bool = True, why: bool = False) -> None:
    table = Table(title=title, box=None)
    for name in ("seed", "world", "legitimate calls", "blocked", "answers cut"):
        table.add_column(name)
    for one in worlds if each else ():
        table.add_row(str(one.seed), one.world, f"{one.calls:,}", str(len(one.disturbed)), str(one.cut))
    sums = (sum(one.calls for one in worlds), sum(len(one.disturbed) for one in worlds), sum(one.cut for one in worlds))
    table.add_row("all", "", f"{sums[0]:,}", f"{sums[1]:,}", f"{sums[2]:,}")
    Console(width=130).print(table)
    if why:
        print("\n".join(line for one in worlds for line in one.disturbed))


def show(title: str, score: Score, *, seeds: bool) -> None:
    table = Table(title=title, box=None)
    for name, side in (
        ("class", "left"),
        ("stopped", "right"),
        ("told", "right"),
        ("first stop at call", "right"),
        ("got through in", "left"),
    ):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for flow in FLOWS:
        good, flows = score.flows[flow.name]
        if not flows:
            continue
        at = score.latency.get(flow.name, [])
        late = f"{statistics.median(at):.0f} (max {max(at)})" if at else "-"
        where = " ".join(map(str, score.seeds(flow.name))) if seeds else ""
        share = f"{good}/{flows}"
        table.add_row(flow.name, "" if flow.tell else share, share if flow.tell else "", "" if flow.tell else late, where)
    table.add_row("all", f"{score.share():.1%}", f"{score.share(told=True):.1%}")
    table.add_row("legitimate calls blocked", f"{len(score.disturbed)} of {score.legitimate:,}")
    table.add_row("legitimate calls blocked after all attacks", f"{score.after} of {AFTER * len(score.worlds):,}")
    Console(width=130).print(table)
    worlds = Table(title=f"{title}: by world", box=None)
    for name in ("seed", "world", "stopped or told"):
        worlds.add_column(name)
    for world in score.worlds:
        good, flows = score.by_world[world.seed]
        worlds.add_row(str(world.seed), world.world, f"{good}/{flows}")
    Console(width=130).print(worlds)


def _markdown(figures: dict[str, Any]) -> str:
    """The figures as the table of docs/models/measured.md."""
    columns = [f"{name}/{calls}" for calls in LEARNING for name in ("seen", "unseen")]
    rows = [
        "| class | " + " | ".join(f"{c.split('/')[0]}, {int(c.split('/')[1]):,} calls" for c in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for flow in FLOWS:
        counts = [figures[column]["classes"][flow.name] for column in columns]
        shares = [f"{good}/{flows}" if flows else "-" for good, flows in counts]
        rows.append(f"| {flow.name}{' (told)' if flow.tell else ''} | " + " | ".join(shares) + " |")
    rows.append("| **stopped** | " + " | ".join(f"{figures[column]['stopped']:.1%}" for column in columns) + " |")
    for title, name in (("legitimate calls blocked", "disturbed"), ("and after all attacks", "disturbed_after")):
        rows.append(f"| {title} | " + " | ".join(str(figures[column][name]) for column in columns) + " |")
    return "\n".join(rows) + "\n"


def _timely(score: Score, *, enumeration: bool) -> float:
    """Share of the attempts of BOLA, or of enumerations, that were stopped within the calls (ids) that their class allows."""
    flows = [
        flow for flow in FLOWS if flow.within and flow.name.startswith("API1 ") and ("enumeration" in flow.name) == enumeration
    ]
    attempts = [(at, flow.within) for flow in flows for world in score.worlds for _, at, _ in world.flows.get(flow.name, ())]
    return sum(0 < at <= within for at, within in attempts) / max(1, len(attempts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="six worlds, one amount of learning; writes nothing")
    parser.add_argument("--seeds", help="e.g. 3,5: these worlds only; writes nothing")
    parser.add_argument("--calls", type=int, default=2_000, help="calls learned from, with --quick and --seeds")
    parser.add_argument("--only", default="", help="flows whose name holds this, e.g. `API6`")
    parser.add_argument(
        "--long", type=int, metavar="N", help=f"N legitimate calls of each world in one run (e.g. {LONG}), no attacks"
    )
    parser.add_argument(
        "--disturbed", action="store_true", help="say which legitimate calls were blocked, and why (seen worlds only)"
    )
    options = parser.parse_args()
    if live := os.environ.get("LIVE"):
        try:
            logic_live.run(Path(live))
        except logic_live.SkipError as reason:
            print(f"live targets skipped: {reason}")
        return
    if options.quick or options.seeds:
        seeds = [int(seed) for seed in options.seeds.split(",")] if options.seeds else list(range(1, 7))
        if set(seeds) & set(UNSEEN):
            parser.error(f"worlds {UNSEEN[0]} to {UNSEEN[-1]} are not looked at")
        if options.long:
            told = f"seeds {', '.join(map(str, seeds))}; {options.calls:,} calls learned"
            show_long(told, measure_long(seeds, options.calls, options.long), why=options.disturbed)
            return
        score = measure(seeds, options.calls, options.only)
        show(f"seeds {', '.join(map(str, seeds))}; {options.calls:,} calls learned", score, seeds=True)
        if options.disturbed:
            print("\n".join(score.disturbed))
        for by, count in Counter(
            (line.partition(" | ")[0], line.partition(" | world ")[2].split()[0]) for line in score.disturbed
        ).most_common():
            print(f"{count:5} legitimate calls of world {by[1]} blocked by {by[0]}")
        return
    whole(options.disturbed)


def whole(disturbed: bool) -> None:
    """All worlds, all amounts of learning; writes build/bench/logic.json."""
    figures: dict[str, Any] = {}
    for calls in LEARNING:
        seen, unseen = measure(SEEN, calls), measure(UNSEEN, calls)
        for name, score in (("seen", seen), ("unseen", unseen)):
            show(f"{name} worlds, {calls:,} calls learned", score, seeds=name == "seen")
            figures[f"{name}/{calls}"] = {
                "stopped": round(score.share(), 4),
                "told": round(score.share(told=True), 4),
                "classes": score.flows,
                "worlds": {str(key): counts for key, counts in score.by_world.items()},
                "first_stop": {name: statistics.median(at) for name, at in score.latency.items()},
                "disturbed": len(score.disturbed),
                "legitimate": score.legitimate,
                "disturbed_after": score.after,
            }
        if disturbed:
            print("\n".join(seen.disturbed))
    for name, seeds in (("seen", SEEN), ("unseen", UNSEEN)):
        worlds = measure_long(seeds, LEARNING[0], LONG)
        show_long(
            f"{name} worlds, {LEARNING[0]:,} calls learned, for long",
            worlds,
            each=name == "seen",
            why=disturbed and name == "seen",
        )
        figures[f"long/{name}"] = {
            "legitimate": sum(one.calls for one in worlds),
            "disturbed": sum(len(one.disturbed) for one in worlds),
            "worlds_disturbed": sum(bool(one.disturbed) for one in worlds),
            "cut": sum(one.cut for one in worlds),
        }
    cost = figures["cost"] = logic_cost.measure()
    for name, value in cost.items():
        print(f"{name:32} {value:,}")
    last = figures[f"unseen/{LEARNING[-1]}"]
    worst, name = unseen.worst()
    blocked = last["disturbed"] / last["legitimate"]
    long = figures["long/unseen"]
    targets = [
        report.target("attack flows stopped, unseen worlds", ">= 95 %", last["stopped"], last["stopped"] >= 0.95),
        report.target(f"the worst class ({name})", ">= 90 %", round(worst, 3), worst >= 0.9),
        report.target("legitimate calls blocked", "<= 0.05 %, 0 in the first 10,000", blocked, last["disturbed"] == 0),
        report.target(
            "worlds in whose first 10,000 legitimate calls any was blocked",
            "0",
            long["worlds_disturbed"],
            long["worlds_disturbed"] == 0,
        ),
        report.target(
            "BOLA stopped within 3 abusive calls", ">= 95 %", bola := round(_timely(unseen, enumeration=False), 3), bola >= 0.95
        ),
        report.target(
            "enumeration stopped within 10 ids", ">= 95 %", ids := round(_timely(unseen, enumeration=True), 3), ids >= 0.95
        ),
        report.target(
            "models inline, us per call (p50)", "<= 15", cost["behaviours_inline_us_p50"], cost["behaviours_inline_us_p50"] <= 15
        ),
        report.target("records folded per second", ">= 20,000", cost["fold_per_second"], cost["fold_per_second"] >= 20_000),
    ]
    written = report.write("logic", figures, targets)
    (written.parent / "logic.md").write_text(_markdown(figures))
    print(written)


if __name__ == "__main__":
    main()
