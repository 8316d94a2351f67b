"""Names of workloads, with what may differ between their instances taken out.

`mask` tells it from the name alone, so that the outcome does not hang on what else was seen: numbers, hashes, random suffixes, and whatever
stands after `pod`, `host`, `instance` and the like. What names a tenant, a namespace or a role is never taken out: two that differ
there are two, however alike they are.
"""

from __future__ import annotations

from functools import lru_cache
from re import compile as regex

from eastwall.discovery.value_kinds import CLEAR, kind_of
from eastwall.discovery.workloads import parse_address

INSTANCE_KEYS = frozenset(
    "container containers host hosts hostname instance instances instance-id job jobs machine machines node nodes pod pods pod-uid replica"
    " replicas session task tasks uid vm vms worker-id".split()
)
"""Steps after which an instance is named."""
NAME_KEYS = frozenset(
    "account accounts app apps application cluster customer customers env environment group groups namespace namespaces ns org orgs"
    " organization project projects region role roles sa service serviceaccount service-account services stage team teams tenant tenants"
    " tier user users workload workloads zone".split()
)
"""Steps after which something is named that instances share."""

_UUID = regex(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_PIECES = regex(r"[^-_:@]+|[-_:@]")
_VERSION = regex(r"[vV]\d{1,3}")
_NUMBERED = regex(r"([A-Za-z]+?)\d+")
_HASH = regex(r"(?=[a-f]*[0-9])[0-9a-f]{6,}")
_RANDOM = regex(r"[bcdfghjklmnpqrstvwxz2456789]{5}")
_WILD = regex(r"\*(?:[-_]?\*)+")
_LONGEST = 256


@lru_cache(maxsize=32_768)
def mask(name: str) -> tuple[str, tuple[str, ...]]:
    """(name with `*` for each part that may differ, those parts); no parts when nothing in it may.

    `spiffe://shop/front/pod/front-7d9f8b6c5-x2x4z` gives `spiffe://shop/front/pod/*` and `front-7d9f8b6c5-x2x4z`.
    """
    if "*" in name or len(name) > _LONGEST or parse_address(name) is not None:
        return name, ()
    scheme, found, rest = name.partition("://")
    if found:
        domain, slash, path = rest.partition("/")
        steps, joint, begin = path.split("/"), "/", f"{scheme}://{domain}{slash}"
    elif "/" in name:
        return name, ()  # `namespace/service-account`: declared names
    else:
        # The last two labels of a host name are its domain's.
        labels = name.split(".")
        kept = labels[-2:] if len(labels) > 2 else labels[1:]
        steps, joint, begin = labels[: len(labels) - len(kept)], ".", ""
        rest = "." + ".".join(kept) if kept else ""
    values: list[str] = []
    masked: list[str] = []
    for number, step in enumerate(steps):
        key = steps[number - 1].lower() if number and found else ""
        masked.append(_step(step, key, values))
    return begin + joint.join(masked) + ("" if found else rest), tuple(values)


def _step(step: str, key: str, values: list[str]) -> str:
    if key in NAME_KEYS or not step:
        return step
    if key in INSTANCE_KEYS:
        values.append(step)
        return "*"
    before = len(values)
    out: list[str] = []
    for piece in _PIECES.findall(_UUID.sub("\0", step)):
        last = out[-2] if len(out) > 1 else ""
        if "\0" in piece:
            form = piece.replace("\0", "*")
        elif _VERSION.fullmatch(piece):
            form = piece
        elif kind_of(piece) in CLEAR or _HASH.fullmatch(piece) or (last == "*" and _RANDOM.fullmatch(piece)):
            form = "*"
        elif numbered := _NUMBERED.fullmatch(piece):
            form = f"{numbered[1]}*"
        elif len(out) > 1 and _RANDOM.fullmatch(piece) and any(map(str.isdigit, piece)):
            form = "*"
        else:
            form = piece
        out.append(form)
    form = "".join(out)
    if "*" not in form:
        return form
    del values[before:]
    values.append(step)
    # `front-*-*` and `front-*` are one: how many parts an instance has is of no account.
    return _WILD.sub("*", form)
