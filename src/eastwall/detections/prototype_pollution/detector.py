"""Prototype pollution (CWE-1321): keys and paths that lead to the prototype all JavaScript objects share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from eastwall.detections.confirming import Verdict, confirm
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="prototype-pollution",
    title="Prototype pollution",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("API8:2023", "A03:2021", "API3:2023"),
    cwe=("CWE-1321", "CWE-915"),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("prototype",),
)

MAX_TEXT = 4_096
"""Characters analysed."""
_SEPARATORS = re.compile(r"[\[\].\/\\\"']+")
_PATH = re.compile(r"[#?&/.$]{0,3}[\w$.\[\]/\"'~-]{1,400}(?:=[^\s]{0,400})?")
_JSON_KEY = re.compile(r"[{,]\s{0,40}[\"'](?:__proto__|constructor)[\"']\s{0,9}:\s{0,9}(.)", re.DOTALL)
_PROTOTYPE_KEY = re.compile(r"[\"']constructor[\"']\s{0,9}:\s{0,9}\{\s{0,40}[\"']prototype[\"']\s{0,9}:")
_PROTO_KEY = re.compile(r"[{,]\s{0,40}[\"'](?:[\w.\[\]-]{0,80}[.\[])?__proto__[\w.\[\]-]{0,80}[\"']\s{0,9}:")


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place; for JSON inside a value the key's own place is told, not the value's."""
    found = confirm(facts, META, pollution)
    inner = {finding.where.partition(":json")[0] for finding in found if ":json" in finding.where}
    return [finding for finding in found if finding.where not in inner] if inner else found


def pollution(text: str, place: str = "body.{key}") -> Verdict | None:
    """Why `text` at `place` leads to a prototype, or None. Never raises; linear in the first `MAX_TEXT` characters.

    A key is a path when it is one; a value is one only when it is nothing else (`__proto__.x`, `/constructor/prototype/x`), for prose about
    prototypes is no attack.
    """
    text = text[:MAX_TEXT]
    if place.endswith("}") and not place.endswith(".{filename}") and " " not in text.strip():
        return _key(text, place)
    if _PROTO_KEY.search(text) or _PROTOTYPE_KEY.search(text):
        return Verdict("is JSON with a key that leads to the prototype of all objects", text)
    return _value(text.strip())


def _key(text: str, place: str) -> Verdict | None:
    parts = _steps(text)
    above = place[: place.rfind("{")].rstrip(".")
    if parts == ["prototype"] and above.endswith(".constructor"):
        return Verdict("is a key that leads to the prototype of all objects", f"constructor.{text}")
    if _leads(parts) or _leads(_steps(_filtered(text))):
        return Verdict("is a key that leads to the prototype of all objects", text)
    return None


def _value(text: str) -> Verdict | None:
    for path in [text, *text.split("&")[:20]] if "&" in text else [text]:
        if not _PATH.fullmatch(path):
            continue
        name = path.partition("=")[0].lstrip("#?&/.$") if "=" in path or path[:1] in "#?&/" else path
        for candidate in (path.partition("=")[2], name) if "=" in path else (name,):
            parts = _steps(candidate)
            # A lone word is a word: who reads about `__proto__` searches for it.
            certain = "__proto__" in parts or parts[:1] == ["constructor"] or "[" in candidate or "=" in path
            if len(parts) > 1 and certain and _leads(parts):
                return Verdict("is a path that leads to the prototype of all objects", text)
    return None


def _steps(text: str) -> list[str]:
    return [part for part in _SEPARATORS.split(text) if part]


def _leads(parts: list[str]) -> bool:
    return "__proto__" in parts or any(first == "constructor" and second == "prototype" for first, second in pairwise(parts))


def _filtered(text: str) -> str:
    """What a filter that deletes the words once leaves behind."""
    return text.replace("__proto__", "").replace("constructor", "").replace("prototype", "") if len(text) > 12 else text
