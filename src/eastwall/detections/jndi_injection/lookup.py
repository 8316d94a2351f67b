"""Lookups of Log4j 2 (`${prefix:name:-default}`), evaluated to a normal form: whatever hides `${jndi:` must evaluate to it too.

Log4j evaluates from the inside out and puts results in place before it looks at what is around them (CVE-2021-44228 and what followed), so
`${${lower:j}ndi:..}`, `${${::-j}ndi:..}`, `${j${env:X:-n}di:..}` all end as `${jndi:..}`. One pass with a stack does the same here.
"""

from __future__ import annotations

import binascii
import re

from eastwall.detections.confirming import Verdict

MAX_TEXT = 10_240
"""Characters analysed."""
MAX_DEPTH = 64
"""Lookups inside lookups; deeper ones are read as text."""
_AGAIN = 16
"""Results of lookups (Base64) that are evaluated once more, of all of a text."""
_SIGNS = re.compile(r"\$\{|\}")
_SCHEMES = ("ldap", "ldaps", "rmi", "dns", "iiop", "corba", "nis", "nds", "http", "https", "java", "iiopname")


def jndi_injection(text: str) -> Verdict | None:
    """Why `text` makes a logger look up a name, or None. Never raises; linear in the first `MAX_TEXT` characters."""
    again = _AGAIN
    following = [text[:MAX_TEXT]]
    while following:
        text = following.pop()
        verdict, results = _evaluated(text)
        if verdict is not None:
            return verdict
        for result in results[:again]:
            again -= 1
            following.append(result)
    return None


def _evaluated(text: str) -> tuple[Verdict | None, list[str]]:
    """What the text looks up, and those results of its lookups that hold lookups themselves, the longest first."""
    stack: list[list[str]] = [[]]
    results: list[str] = []
    position = 0
    for match in _SIGNS.finditer(text):
        stack[-1].append(text[position : match.start()])
        position = match.end()
        if match[0] != "}" and len(stack) <= MAX_DEPTH:
            stack.append([])
        elif match[0] == "}" and len(stack) > 1:
            inner = "".join(stack.pop())
            target = _target(inner)
            if target is not None:
                return _verdict(target, inner), results
            result = _value(inner)
            if "${" in result and len(result) < len(text):
                results.append(result)
            stack[-1].append(result)
        else:
            stack[-1].append(match[0])
    stack[-1].append(text[position:])
    for parts in stack[1:]:  # not ended: what is logged behind it may end it
        target = _target("".join(parts))
        if target is not None and ":" in target:
            return _verdict(target, "".join(parts)), results
    results.sort(key=len, reverse=True)
    return None, results


def _target(inner: str) -> str | None:
    """What a `jndi` lookup asks for, else None."""
    prefix, colon, rest = inner.partition(":")
    return rest.strip() if colon and prefix.strip().lower() == "jndi" else None


def _verdict(target: str, inner: str) -> Verdict:
    scheme = target.partition(":")[0].strip().lower()
    reason = f"makes a logger look up a name by {scheme}" if scheme in _SCHEMES else "makes a logger look up a name"
    return Verdict(reason, "${" + inner + "}")


def _value(inner: str) -> str:
    """What a lookup gives, as far as it can be known: the caller cannot count on more than that either."""
    _, mark, default = inner.partition(":-")
    if mark:
        return default
    prefix, colon, key = inner.partition(":")
    if not colon:
        return ""
    match prefix.strip().lower():
        case "lower":
            return key.lower()
        case "upper":
            return key.upper()
        case "date":
            return key.replace("'", "")
        case "base64":
            try:
                return binascii.a2b_base64(key[:4096].encode("ascii", "ignore") + b"==").decode("utf-8", "replace")
            except (binascii.Error, ValueError):
                return ""
        case _:
            return ""
