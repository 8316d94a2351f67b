"""Which property names mean privilege, ownership or server-kept state: what a client should not set on its own behalf.

A name is split into its words (camelCase, snake_case, kebab-case, dots) and judged word by word, so that `isAdmin`, `is_admin`,
`user.is-admin` and `ADMIN` are one, while `administration_note` or `unpriced` are not. The list holds kinds of names (after CWE-915 and
OWASP API3:2023), not names of one product.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Any

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def _listed(names: str) -> frozenset[str]:
    return frozenset(names.split())


PRIVILEGED_WORDS = _listed(
    # authority
    "role roles admin admins administrator superadmin superuser sudo root staff moderator operator privilege privileges "
    "privileged permission permissions perm perms scope scopes authority authorities grant grants granted entitlement "
    "entitlements clearance acl elevated impersonate "
    # trust and state that the service decides
    "verified unverified approved unapproved validated confirmed activated enabled disabled banned blocked locked suspended "
    "deleted archived published featured flagged trusted internal mfa "
    # money and quota that the service keeps
    "balance balances credit credits price prices discount discounts cost fee paid payout refunded refund limit quota "
    "wallet points bonus salary "
    # ownership
    "owner owners tenant tenants "
    # state
    "status state plan tier subscription "
)
"""One such word anywhere in a name is enough."""

PRIVILEGED_PAIRS = frozenset(
    {
        ("user", "id"), ("account", "id"), ("org", "id"), ("organization", "id"), ("organisation", "id"), ("customer", "id"), ("created", "by"),
        ("updated", "by"), ("created", "at"), ("updated", "at"), ("password", "hash"), ("is", "active"), ("is", "premium"), ("user", "type"),
        ("account", "type"), ("user", "group"), ("user", "groups"), ("access", "level"), ("security", "level"), ("email", "confirmed"),
        ("two", "factor"), ("kyc", "level"), ("group", "id"), ("team", "id"),
    }
)  # fmt: skip
"""Two neighbouring words that mean it only together."""

HARMLESS_AFTER = _listed("note notes comment text label name title description code format currency range filter ")
"""As the last word these turn a word of state into something about it: `price_note`, `discount_code`, `status_text`. Not for authority."""

_AUTHORITY = _listed(
    "role roles admin admins administrator superadmin superuser sudo root staff privilege privileges privileged permission "
    "permissions perm perms scope scopes owner owners tenant tenants "
)


_RUNS_THE_SERVICE = _listed("admin admins administrator administrators superadmin superuser sysadmin sudo root")
"""Values that make of somebody one of those who run the service."""
_HOLDS_AUTHORITY = _listed(
    "role roles group groups permission permissions privilege privileges authority authorities scope scopes"
)
"""Last words of names whose value says which authority."""

_LONGEST = 200
"""Characters of a name that are looked at, from its end: names come from the caller, and the cache keeps them."""


def privileged(name: str) -> bool:
    """Whether a property name, or a dotted place such as `items[].unitPrice`, means privilege, ownership or server-kept state.

    Of a place the last name decides; a parent counts when it is about authority or ownership (`roles[].name`, `owner.email`).
    """
    return _privileged(name[-_LONGEST:])


@lru_cache(maxsize=8192)
def _privileged(name: str) -> bool:
    *parents, last = name.split(".")
    if any(not _AUTHORITY.isdisjoint(_words(parent)) for parent in parents):
        return True
    words = _words(last)
    if not words:
        return False
    found = PRIVILEGED_WORDS.intersection(words)
    if found and words[-1] in HARMLESS_AFTER and not found & _AUTHORITY:
        found = frozenset()
    return bool(found) or any(pair in PRIVILEGED_PAIRS for pair in pairwise(words))


def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(name))


def gives_authority(name: str, value: Any) -> bool:
    """Whether a property makes of somebody one of those who run the service: a role, group or permission of theirs (or several), or a mark that
    is set (`is_admin`)."""
    words = _words(name[-_LONGEST:].removesuffix("[]").rpartition(".")[2])
    if not words:
        return False
    if value is True or value == 1 or value == "true":
        return _runs_the_service(words)
    if words[-1] not in _HOLDS_AUTHORITY:
        return False
    named = value[:8] if type(value) is list else (value,)
    return any(type(one) is str and _runs_the_service(_words(one[:_LONGEST])) for one in named)


def _runs_the_service(words: tuple[str, ...]) -> bool:
    return not _RUNS_THE_SERVICE.isdisjoint((*words, *map("".join, pairwise(words))))
