"""Messages drawn from the schemas of published OpenAPI documents, as hard as life: what `bench.discovery_schemas` feeds the learning.

Types, formats, enumerations (skewed), bounds, required and optional properties (each with a presence of its own, from hardly ever to
nearly always), maps (keys of many kinds, from pools with a heavy head and a long tail), `oneOf` and `anyOf`. This is a reading of the
documents of its own: nothing of the importer is used.
"""

from __future__ import annotations

import base64
import json
import math
import random
import string
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bench.openapi_traffic import CITIES, CURRENCIES, DOCUMENTS_PER_PROVIDER, FIRST, LOCALES, WORDS

OPERATIONS = 25
"""Of a document, drawn by hash."""
MAX_DEPTH = 7
MAX_DOCUMENT = 6_000_000
"""Bytes; larger documents are passed by, to be done in minutes."""
MAX_PLACES = 400
"""Places of a drawn message."""
FORMATS = ("uuid", "date", "date-time", "email", "uri", "ipv4", "ipv6", "hostname", "byte", "duration", "time")
METHODS = ("get", "put", "post", "delete", "patch")


@dataclass
class Truth:
    """What is declared of a place, and what was drawn there."""

    types: set[str] = field(default_factory=set)
    drawn: set[str] = field(default_factory=set)
    formats: set[str] = field(default_factory=set)
    enum: set[str] | None = None
    words: set[str] = field(default_factory=set)
    strings: int = 0
    keys: set[str] = field(default_factory=set)
    """Keys drawn for a map."""
    samples: int = 0


class Drawer:
    """Draws messages of one schema. `truth` fills as it goes."""

    def __init__(self, spec: dict[str, Any], seed: str, side: str) -> None:
        self.spec = spec
        self.rng = random.Random(seed)
        self.side = side
        self.truth: dict[str, Truth] = {}
        self.presence: dict[str, float] = {}
        self.pools: dict[str, list[str]] = {}
        self.makers: dict[str, Callable[[], str]] = {}

    # --- reading

    def resolve(self, node: Any) -> Any:
        for _ in range(30):
            if not isinstance(node, dict) or not isinstance(node.get("$ref"), str):
                return node
            target: Any = self.spec
            for step in node["$ref"].removeprefix("#/").split("/"):
                step = step.replace("~1", "/").replace("~0", "~")
                target = target.get(step) if isinstance(target, dict) else None
            node = target
        return {}

    def whole(self, node: Any, depth: int = 0) -> dict[str, Any]:
        """The schema with `allOf` composed and one alternative of `oneOf` and `anyOf` chosen."""
        node = self.resolve(node)
        if not isinstance(node, dict):
            return {}
        found = {key: value for key, value in node.items() if key not in ("allOf", "oneOf", "anyOf")}
        if depth > 12:
            return found
        parts = [self.whole(part, depth + 1) for part in node.get("allOf") or ()]
        for word in ("oneOf", "anyOf"):
            choices = node.get(word)
            if isinstance(choices, list) and choices:
                at = min(int(self.rng.expovariate(1.0)), len(choices) - 1)
                parts.append(self.whole(choices[at], depth + 1))
        for part in parts:
            for key, value in part.items():
                if key == "properties" and isinstance(value, dict):
                    found["properties"] = {**value, **found.get("properties", {})}
                elif key == "required" and isinstance(value, list):
                    found["required"] = [*value, *found.get("required", [])]
                elif key == "nullable":
                    found[key] = found.get(key) or value
                else:
                    found.setdefault(key, value)
        return found

    # --- drawing

    def value(self, schema: Any, place: str, name: str, depth: int) -> Any:
        """A value, or `NOTHING` where the schema says too little to draw one."""
        node = self.whole(schema)
        kinds = node.get("type")
        kinds = [kinds] if isinstance(kinds, str) else list(kinds) if isinstance(kinds, list) else []
        if not kinds and isinstance(node.get("properties"), dict):
            kinds = ["object"]
        if not kinds and "items" in node:
            kinds = ["array"]
        if not kinds and node.get("enum") and all(isinstance(each, str) for each in node["enum"]):
            kinds = ["string"]
        known = [kind for kind in kinds if kind in ("string", "integer", "number", "boolean", "object", "array")]
        if not known:
            return NOTHING
        null = self.side != "query" and (node.get("nullable") is True or node.get("x-nullable") is True or "null" in kinds)
        truth = self.truth.setdefault(place, Truth())
        if null and self.rng.random() < self.chance("null " + place):
            truth.drawn.add("null")
            truth.samples += 1
            return None
        kind = known[0] if len(known) == 1 else self.rng.choice(known)
        drawn = self.drawn(kind, node, truth, place, name, depth)
        if drawn is NOTHING:
            if not truth.samples:
                del self.truth[place]
            return NOTHING
        truth.samples += 1
        truth.types.update(known)
        truth.drawn.add("integer" if type(drawn) is int else kind)
        return drawn

    def drawn(self, kind: str, node: dict[str, Any], truth: Truth, place: str, name: str, depth: int) -> Any:
        if kind == "object":
            return self.object(node, truth, place, depth)
        if kind == "array":
            if depth >= MAX_DEPTH or not isinstance(self.resolve(node.get("items")), dict):
                return NOTHING
            most = node["maxItems"] if isinstance(node.get("maxItems"), int) else 6
            least = node["minItems"] if isinstance(node.get("minItems"), int) else 0
            count = max(least, min(int(self.rng.expovariate(0.5)), most, 12))
            inner = ("" if place == "$" else place) + "[]"
            items = [self.value(node["items"], inner, name, depth + 1) for _ in range(min(count, 40))]
            return [item for item in items if item is not NOTHING]
        if kind == "boolean":
            return self.rng.random() < 0.5
        if kind == "string":
            return self.text(node, truth, place, name)
        return self.number(kind, node, place)

    def object(self, node: dict[str, Any], truth: Truth, place: str, depth: int) -> Any:
        properties = node.get("properties") if isinstance(node.get("properties"), dict) else {}
        extra = self.resolve(node.get("additionalProperties"))
        is_map = isinstance(extra, dict) and bool(extra) and not properties
        if depth >= MAX_DEPTH or len(self.truth) > MAX_PLACES:
            return NOTHING
        prefix = "" if place == "$" else place + "."
        found: dict[str, Any] = {}
        required = set(node.get("required") or ()) if isinstance(node.get("required"), list) else set()
        for name, child in properties.items():
            inner = self.resolve(child)
            hidden = isinstance(inner, dict) and inner.get("readOnly" if self.side == "request" else "writeOnly") is True
            if hidden or not 0 < len(name) <= 100:
                continue
            if name not in required and self.rng.random() >= self.chance(prefix + name):
                continue
            value = self.value(child, prefix + name, name, depth + 1)
            if value is not NOTHING:
                found[name] = value
        if is_map:
            for _ in range(min(int(self.rng.expovariate(0.4)), 8)):
                key = self.key(place)
                value = self.value(extra, prefix + "{}", "", depth + 1)
                if value is not NOTHING:
                    found[key] = value
                    truth.keys.add(key)
        return found

    def chance(self, place: str) -> float:
        """How often an optional property is there: of its own for each, mostly nearly always or hardly ever."""
        if place not in self.presence:
            self.presence[place] = self.rng.betavariate(0.5, 0.6)
        return self.presence[place]

    def key(self, place: str) -> str:
        """A key of a map: from a pool of this map, the first ones most often."""
        if place not in self.pools:
            size = self.rng.choice((8, 20, 40, 120, 400))
            kind = self.rng.choice(("user", "slug", "currency", "locale", "uuid", "number", "word", "city", "camel"))
            self.pools[place] = list(dict.fromkeys(_key(self.rng, kind) for _ in range(size)))
        pool = self.pools[place]
        return pool[min(int(len(pool) * self.rng.random() ** 2.2), len(pool) - 1)]

    def number(self, kind: str, node: dict[str, Any], place: str) -> int | float:
        low = node.get("minimum") if isinstance(node.get("minimum"), (int, float)) else 0
        high = node.get("maximum") if isinstance(node.get("maximum"), (int, float)) else low + 10 ** self.rng.randint(1, 6)
        if not -1e15 < low <= high < 1e15:
            low, high = 0, 1000
        if kind == "integer":
            return self.rng.randint(math.ceil(low), max(math.ceil(low), math.floor(high)))
        # Many numbers are whole most of the time.
        drawn = self.rng.uniform(low, high)
        return round(drawn) if self.rng.random() < self.chance("whole " + place) else round(drawn, 2) + 0.001

    def text(self, node: dict[str, Any], truth: Truth, place: str, name: str) -> str:
        values = [value for value in node.get("enum") or () if isinstance(value, str) and value]
        if values:
            order = sorted(values, key=lambda v: blake2b(f"{place}{v}".encode()).digest())
            drawn = order[min(int(self.rng.expovariate(0.7)), len(order) - 1)]
            truth.enum = set(values) | (truth.enum or set())
            truth.words.add(drawn)
        else:
            form = node.get("format")
            if form in FORMATS:
                drawn = FORMAT_MAKERS[form](self.rng)
            else:
                if place not in self.makers:
                    self.makers[place] = _maker(self.rng, name)
                drawn = self.makers[place]()
            most = node.get("maxLength")
            if isinstance(most, int) and 0 < most < len(drawn):
                drawn = drawn[:most].strip() or "x"
            elif form in FORMATS:
                truth.formats.add(form)
            if form not in FORMATS or (isinstance(most, int) and most < 10):
                truth.formats.add("")
        if values:
            truth.formats.add("")
        truth.strings += 1
        return drawn


class _Nothing:
    pass


NOTHING = _Nothing()

FORMAT_MAKERS: dict[str, Callable[[random.Random], str]] = {
    "uuid": lambda rng: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
    "date": lambda rng: f"20{rng.randint(10, 29)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
    "date-time": lambda rng: FORMAT_MAKERS["date"](rng) + f"T{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
    + rng.choice(("Z", "Z", ".123Z", "+02:00")),
    "email": lambda rng: f"{rng.choice(FIRST)}.{rng.choice(WORDS)}@{rng.choice(WORDS)}.{rng.choice(('com', 'org', 'de'))}",
    "uri": lambda rng: f"https://{rng.choice(WORDS)}.com/{rng.choice(WORDS)}/{rng.randint(1, 9999)}",
    "ipv4": lambda rng: ".".join(str(rng.randint(1, 254)) for _ in range(4)),
    "ipv6": lambda rng: ":".join(f"{rng.getrandbits(16):x}" for _ in range(8)),
    "hostname": lambda rng: f"{rng.choice(WORDS)}-{rng.randint(1, 99)}.{rng.choice(WORDS)}.{rng.choice(('com', 'net', 'io', 'internal'))}",
    "byte": lambda rng: base64.b64encode(rng.randbytes(rng.randint(12, 60))).decode(),
    "duration": lambda rng: rng.choice((f"PT{rng.randint(1, 59)}M", f"P{rng.randint(1, 30)}D", f"PT{rng.randint(1, 9)}H30M")),
    "time": lambda rng: f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}Z",
}  # fmt: skip


def _key(rng: random.Random, kind: str) -> str:
    return {
        "user": lambda: rng.choice(FIRST) + rng.choice(("", "", "_" + rng.choice(WORDS), rng.choice(string.ascii_lowercase))),
        "slug": lambda: f"{rng.choice(WORDS)}-{rng.choice(WORDS)}",
        "currency": lambda: rng.choice(CURRENCIES),
        "locale": lambda: rng.choice(LOCALES),
        "uuid": lambda: FORMAT_MAKERS["uuid"](rng),
        "number": lambda: str(rng.randint(1, 99999)),
        "word": lambda: rng.choice(WORDS),
        "city": lambda: rng.choice(CITIES),
        "camel": lambda: rng.choice(WORDS) + rng.choice(WORDS).title(),
    }[kind]()


def _maker(rng: random.Random, name: str) -> Callable[[], str]:
    """How plain strings of one place are written: as its name suggests, or as it happens."""
    low = name.lower()
    if low.endswith(("id", "key", "ref", "code", "number", "no", "zip", "phone", "year")):
        kind = rng.choice(("digits", "hex", "prefixed", "uuid", "word"))
    elif low.endswith(("time", "_at", "date")):
        kind = "stamp"
    elif low.endswith(("url", "uri", "link", "href")):
        kind = "url"
    elif "name" in low:
        kind = "name"
    else:
        kind = rng.choice(("sentence", "word", "words", "version"))
    makers: dict[str, Callable[[], str]] = {
        "digits": lambda: str(rng.randint(1, 10**6)),
        "hex": lambda: f"{rng.getrandbits(96):024x}",
        "prefixed": lambda: "cus_" + "".join(rng.choices(string.ascii_letters + string.digits, k=14)),
        "uuid": lambda: FORMAT_MAKERS["uuid"](rng),
        "word": lambda: rng.choice(WORDS),
        "stamp": lambda: FORMAT_MAKERS["date-time"](rng),
        "url": lambda: FORMAT_MAKERS["uri"](rng),
        "name": lambda: rng.choice(FIRST).title() + " " + rng.choice(WORDS).title(),
        "sentence": lambda: " ".join(rng.choices(WORDS, k=rng.randint(3, 12))),
        "words": lambda: " ".join(rng.choices(WORDS, k=2)),
        "version": lambda: f"{rng.randint(0, 9)}.{rng.randint(0, 20)}.{rng.randint(0, 9)}",
    }
    return makers[kind]


# --- messages of documents


def messages(spec: dict[str, Any], name: str) -> Iterator[tuple[str, str, Any]]:
    """(what, side, schema) of request and response bodies, and (what, `query`, parameters), of some operations."""
    paths = spec.get("paths") or {}
    listed = [(path, method) for path, item in paths.items() if isinstance(item, dict) for method in METHODS if method in item]
    listed.sort(key=lambda each: blake2b(f"{name}{each}".encode()).digest())
    reader = Drawer(spec, "", "")
    for path, method in listed[:OPERATIONS]:
        operation = paths[path][method]
        if not isinstance(operation, dict):
            continue
        what = f"{method} {path}"
        body = reader.resolve(operation.get("requestBody"))
        schema = _json_schema(body)
        if schema is not None:
            yield what, "request", schema
        for status, response in (operation.get("responses") or {}).items():
            schema = _json_schema(reader.resolve(response))
            if schema is not None and str(status)[:1] in "2d":
                yield f"{what} {status}", "response", schema
                break
        parameters = [
            reader.resolve(each) for each in [*(paths[path].get("parameters") or ()), *(operation.get("parameters") or ())]
        ]
        query = [p for p in parameters if isinstance(p, dict) and p.get("in") == "query" and isinstance(p.get("name"), str)]
        if query:
            yield what, "query", query


def _json_schema(body: Any) -> Any:
    content = body.get("content") if isinstance(body, dict) else None
    for media, node in content.items() if isinstance(content, dict) else ():
        if "json" in media and isinstance(node, dict) and isinstance(node.get("schema"), dict):
            return node["schema"]
    return None


def documents(root: Path, providers: list[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(provider, name, document)."""
    for provider in providers:
        base = root / "api" / provider
        files = [base] if base.is_file() else sorted(base.rglob("*.json"))
        files.sort(key=lambda f: blake2b(str(f.relative_to(root)).encode()).digest())
        taken = 0
        for file in files:
            if file.stat().st_size > MAX_DOCUMENT:
                continue
            spec = json.loads(file.read_text())
            if isinstance(spec, dict) and spec.get("paths"):
                yield provider, str(file.relative_to(root / "api")), spec
                taken += 1
            if taken == DOCUMENTS_PER_PROVIDER:
                break
