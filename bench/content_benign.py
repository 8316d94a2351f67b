"""Harmless calls: the corpus of everything that was ever wrongly found, and values that a generator makes of the lists beside it."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from bench.content_corpora import request
from eastwall.model.call import Request

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "corpus"
GENERATED = 2_400
SEED = 20_261_122
_SLOT = re.compile(r"<<(\w+)>>")


@cache
def _read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text("utf-8"))


def values() -> list[str]:
    """The values of `benign.yaml`."""
    return [value for group in _read("benign.yaml")["values"].values() for value in group]


def calls() -> list[Request]:
    """Its whole calls."""
    return [
        request(call["method"], call["url"], call.get("headers"), call.get("body", "").encode())
        for call in _read("benign.yaml")["calls"]
    ]


def generated(count: int, seed: int = SEED) -> list[str]:
    """`count` different values made of the texts and lists of `benign_templates.yaml`, the same ones for a seed. `<<name>>` in a text is
    one of the list `name`; `<<number>>`, `<<hex>>`, `<<uuid>>`, `<<date>>` are drawn."""
    given = _read("benign_templates.yaml")
    draw = random.Random(seed)
    groups = list(given["texts"].values())
    made: dict[str, None] = {}
    for _ in range(count * 50):
        if len(made) >= count:
            break
        made.setdefault(_filled(draw.choice(draw.choice(groups)), given["lists"], draw))
    if len(made) < count:
        raise ValueError(f"the templates give only {len(made)} different values")
    return list(made)


def _filled(text: str, lists: dict[str, list[str]], draw: random.Random) -> str:
    def fill(match: re.Match[str]) -> str:
        match match[1]:
            case "number":
                return str(draw.choice((draw.randrange(10), draw.randrange(1_000), draw.randrange(10**6))))
            case "hex":
                return f"{draw.getrandbits(128):032x}"
            case "uuid":
                digits = f"{draw.getrandbits(128):032x}"
                return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
            case "date":
                return f"20{draw.randrange(20, 30)}-{draw.randrange(1, 13):02d}-{draw.randrange(1, 29):02d}"
            case name:
                return _filled(str(draw.choice(lists[name])), lists, draw)

    return _SLOT.sub(fill, text)


def fits(place: str, value: str) -> bool:
    """Whether a client would send the value there: in a call's own path, `..` climbs whatever was meant, and a file's name holds neither
    path nor line."""
    if place == "path":
        return ".." not in value and len(value) <= 400
    if place == "file name":
        return not set("/\\\n") & set(value) and ".." not in value and len(value) <= 200
    return place not in ("header", "cookie", "JSON key") or len(value) <= 2_000
