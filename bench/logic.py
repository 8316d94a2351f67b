"""How many attack flows on API logic are stopped before data leaves, after learning from legitimate traffic alone (`make bench-logic`).

Worlds are drawn by seed (`bench.logic_worlds`). Seeds 1 to 12 are looked at while developing; 101 to 112 never are, and their figures stand
apart. Nothing is configured but the built-in policies: no rule, no specification.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import report
from bench.logic_attacks import FLOWS, attackers
from bench.logic_traffic import Rig, legitimate
from bench.logic_worlds import World
from eastwall.model.call import Mode

SEEN = range(1, 13)
UNSEEN = range(101, 113)
LEARNING = (250, 1_000, 4_000)
"""Calls learned from: of 24 users, so from about 10 to 170 calls each."""
LEGITIMATE = 1_000
"""Calls per world after learning, in enforce mode: with all worlds, the first 10,000 and more."""


class Score:
    """Counts of one set of worlds."""

    def __init__(self) -> None:
        self.flows: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        """class -> [stopped, all]."""
        self.worlds: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        self.legitimate = 0
        self.disturbed: list[str] = []

    def share(self) -> float:
        stopped, flows = (sum(counts[n] for counts in self.flows.values()) for n in (0, 1))
        return stopped / flows if flows else 0.0


def play(seed: int, calls: int, score: Score) -> None:
    """One world: learn, then legitimate calls and attacks in enforce mode."""
    world = World(seed)
    rng = random.Random(seed * 7919 + calls)
    rig = Rig(world)
    legitimate(rig, calls, rng)
    rig.publish(Mode.ENFORCE)
    for ask, outcome in legitimate(rig, LEGITIMATE, rng, newcomers=True):
        what = ", ".join(f"{f.id} {f.where}: {f.message}" for f in outcome.findings)
        score.disturbed.append(f"world {seed} ({world.domain}, {world.style}, {world.ids}): {ask.method} {ask.path}: {what}")
    score.legitimate += LEGITIMATE
    for user in attackers(world, rng):
        for name, flow in FLOWS.items():
            won = flow(rig, user, rng)
            if won is not None:
                for counts in (score.flows[name], score.worlds[seed]):
                    counts[0] += not won
                    counts[1] += 1


def measure(seeds: range, calls: int) -> Score:
    score = Score()
    for seed in seeds:
        play(seed, calls, score)
    return score


def show(title: str, score: Score) -> None:
    table = Table(title=title, box=None)
    table.add_column("class")
    table.add_column("stopped", justify="right")
    for name in FLOWS:
        stopped, flows = score.flows[name]
        table.add_row(name, f"{stopped}/{flows}" if flows else "-")
    table.add_row("all", f"{score.share():.1%}")
    table.add_row("legitimate calls blocked", f"{len(score.disturbed)} of {score.legitimate:,}")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three worlds, one amount of learning; writes nothing")
    parser.add_argument(
        "--disturbed", action="store_true", help="say which legitimate calls were blocked, and why (seen worlds only)"
    )
    options = parser.parse_args()
    if options.quick:
        score = measure(range(1, 4), 1_000)
        show("seeds 1-3, 1,000 calls learned", score)
        print("\n".join(score.disturbed[:20]))
        return
    figures: dict[str, Any] = {}
    for calls in LEARNING:
        seen, unseen = measure(SEEN, calls), measure(UNSEEN, calls)
        for name, score in (("seen", seen), ("unseen", unseen)):
            show(f"{name} worlds, {calls:,} calls learned", score)
            figures[f"{name}/{calls}"] = {
                "stopped": round(score.share(), 4),
                "classes": dict(score.flows),
                "worlds": {str(key): counts for key, counts in score.worlds.items()},
                "disturbed": len(score.disturbed),
                "legitimate": score.legitimate,
            }
        if options.disturbed:
            print("\n".join(seen.disturbed))
    last = figures[f"unseen/{LEARNING[-1]}"]
    worst = min(stopped / flows for stopped, flows in last["classes"].values() if flows)
    blocked = last["disturbed"] / last["legitimate"]
    targets = [
        report.target("attack flows stopped, unseen worlds", ">= 95 %", last["stopped"], last["stopped"] >= 0.95),
        report.target("the worst class", ">= 90 %", round(worst, 3), worst >= 0.9),
        report.target("legitimate calls blocked", "<= 0.05 %, 0 in the first 10,000", blocked, last["disturbed"] == 0),
    ]
    print(report.write("logic", figures, targets))


if __name__ == "__main__":
    main()
