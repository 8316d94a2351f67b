"""Lookups of Log4j 2 (`${prefix:name:-default}`), evaluated to a normal form: whatever hides `${jndi:` must evaluate to it too.

Log4j evaluates from the inside out and puts results in place before it looks at what is around them (CVE-2021-44228 and what followed), so
`${${lower:j}ndi:..}`, `${${::-j}ndi:..}`, `${j${env:X:-n}di:..}` all end as `${jndi:..}`. One pass with a stack does the same here.
"""

from __future__ import annotations

import binascii

from eastwall.detections.confirming import Verdict

MAX_TEXT = 10_240
"""Characters analysed."""
MAX_DEPTH = 64
"""Lookups inside lookups; deeper ones are read as text."""
_AGAIN = 2
"""Times that what a lookup gave (Base64) is evaluated once more."""
_SCHEMES = ("ldap", "ldaps", "rmi", "dns", "iiop", "corba", "nis", "nds", "http", "https", "java", "iiopname")


def jndi_injection(text: str, again: int = _AGAIN) -> Verdict | None:
    """Why `text` makes a logger look up a name, or None. Never raises; linear in the first `MAX_TEXT` characters."""
    text = text[:MAX_TEXT]
    stack: list[list[str]] = [[]]
    position = 0
    while position < len(text):
        character = text[position]
        if character == "$" and text.startswith("{", position + 1) and len(stack) <= MAX_DEPTH:
            stack.append([])
            position += 2
            continue
        if character == "}" and len(stack) > 1:
            inner = "".join(stack.pop())
            target = _target(inner)
            if target is not None:
                return _verdict(target, inner)
            result = _value(inner)
            if again and "${" in result and len(result) < len(text):
                deeper = jndi_injection(result, again - 1)
                if deeper is not None:
                    return deeper
            stack[-1].append(result)
        else:
            stack[-1].append(character)
        position += 1
    for parts in stack[1:]:  # not ended: what is logged behind it may end it
        target = _target("".join(parts))
        if target is not None and ":" in target:
            return _verdict(target, "".join(parts))
    return None


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
