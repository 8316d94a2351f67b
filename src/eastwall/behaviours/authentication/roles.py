"""Which operations are about accounts, by the words of their path and name and by what their bodies hold; and what a body says."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

from eastwall.discovery.objects import words
from eastwall.model.endpoint import Endpoint
from eastwall.model.operation import Operation

SIGN_IN = "sign-in"
RESET = "reset"
"""Asks for a reset."""
CONFIRM = "confirm"
"""Sets a new password with a code or token."""
CODE = "code"
"""Checks a one-time code."""
REGISTER = "register"
LOOKUP = "lookup"
"""Asks whether an account exists."""

_PASSWORDS = frozenset("password passwd pwd passphrase pass newpassword passcode secret".split())
_ACCOUNTS = frozenset(
    "username user email login account userid mail emailaddress phone phonenumber mobile msisdn identifier name handle".split()
)
_CODES = frozenset(
    "code otp pin totp token mfacode otpcode verificationcode passcode onetimecode resettoken resetcode smscode securitycode tan key".split()
)
_SAY = _PASSWORDS | _ACCOUNTS | _CODES
_SAYS = {name: name for name in _SAY}
"""What nearly all fields are called whose values are asked for: as `_plain` says it."""
_SIGN_IN_WORDS = frozenset("login signin logon authenticate auth session sessions token".split())
_RESET_WORDS = frozenset("forgot forgotten reset recover recovery lost".split())
_ABOUT_ACCOUNTS = frozenset("password passwords account accounts credential credentials user users pin auth".split())
_CODE_WORDS = frozenset(
    "otp mfa 2fa totp verify verification challenge code pin tan factor giftcard gift voucher coupon promo redeem license licence invitation".split()
)
"""What is worth money is guessed as what lets in is."""
_MONEY_WORDS = frozenset(
    "giftcard giftcards gift gifts voucher vouchers coupon coupons promo promos redeem licence licences license licenses invitation invitations".split()
)
"""Where such a word stands before the last segment of a path, that segment is the code: `GET /vouchers/X7K2`."""
_REGISTER_WORDS = frozenset("register registration signup enroll join".split())
_LOOKUP_WORDS = frozenset("exists exist available availability lookup taken".split())
_INTERESTING = _SIGN_IN_WORDS | _RESET_WORDS | _CODE_WORDS | _MONEY_WORDS | _REGISTER_WORDS | _LOOKUP_WORDS | {"sign", "log"}
_ORDER = {name: at for at, name in enumerate(("email", "username", "login", "account", "userid", "phone"))}
_DEPTH = 5
_NODES = 60
_TEXT = 256


@lru_cache(maxsize=8192)
def _words(path: str, name: str) -> frozenset[str]:
    found = [*words(path.replace("2fa", "otp")[:300]), *words(name[:200])]
    joined = [a + b for a, b in pairwise(found) if a in ("sign", "log")]
    return frozenset(found) | set(joined)


def interesting(path: str, name: str) -> bool:
    """Whether an operation may be about accounts: asked of every call, so by remembered words alone."""
    return not _INTERESTING.isdisjoint(_words(path, name))


def role(endpoint: Endpoint | None, operation: Operation, properties: tuple[str, ...]) -> str:
    """What an operation does with accounts; empty: nothing."""
    path = endpoint.template if endpoint is not None else operation.path
    names = tuple([name for name, _ in operation.query[:20]])
    login = endpoint is not None and endpoint.login
    return _role(operation.method, path, operation.name, properties[:40], names, login)


@lru_cache(maxsize=4096)
def _role(method: str, path: str, name: str, properties: tuple[str, ...], query: tuple[str, ...], login: bool) -> str:
    said = _words(path, name)
    leaves = {_plain(place.rpartition(".")[2]) for place in properties} | {_plain(one) for one in query}
    password, account, code = (not leaves.isdisjoint(some) for some in (_PASSWORDS, _ACCOUNTS, _CODES))
    if said & _RESET_WORDS and (said & _ABOUT_ACCOUNTS or password or account):
        if leaves & _CODES:
            return CONFIRM
        return RESET if account and not password else ""
    if said & _LOOKUP_WORDS and account and not password:
        return LOOKUP
    if said & _MONEY_WORDS and named_by_code(path):
        return CODE
    if method in ("GET", "HEAD", "OPTIONS"):
        return ""
    if said & _REGISTER_WORDS and account:
        return REGISTER
    if password and account and (login or said & _SIGN_IN_WORDS):
        return SIGN_IN
    if code and not password and said & _CODE_WORDS:
        return CODE
    return ""


def named_by_code(path: str) -> bool:
    """Whether a path, or its template, ends in the code of something that is worth money."""
    before, _, last = path.rstrip("/").rpartition("/")
    collection = before.rpartition("/")[2]
    return not _MONEY_WORDS.isdisjoint(words(collection[:60])) and (last.startswith("{") or any(map(str.isdigit, last)))


def code_in(path: str) -> str:
    """The last segment of a path, which is the code where the body names none."""
    return path.rstrip("/").rpartition("/")[2][:_TEXT]


@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    return "".join(words(name[:64]))


def said(operation: Operation) -> tuple[str, str]:
    """(account, code) that a request names; empty where it does not."""
    found: dict[str, str] = {}
    for name, value in operation.query[:20]:
        plain = _plain(name)
        if plain in _SAY:
            found.setdefault(plain, value[:_TEXT])
    _gather(operation.body, 0, found, [_NODES])
    return _account(found), found[min(codes)] if (codes := _CODES.intersection(found)) else ""


def _gather(node: Any, depth: int, found: dict[str, str], left: list[int]) -> None:
    if depth > _DEPTH:
        return
    if type(node) is list:
        for item in node[:8]:
            _gather(item, depth + 1, found, left)
        return
    if type(node) is not dict:
        return
    for key, value in node.items():
        left[0] -= 1
        if left[0] < 0:
            return
        if type(value) is str or type(value) is int:
            plain = _SAYS.get(key) or _plain(key)
            if plain in _SAY and key != "query":  # the text of GraphQL
                found.setdefault(plain, str(value)[:_TEXT])
        else:
            _gather(value, depth + 1, found, left)


def signs_in(operation: Operation) -> str:
    """The account that a request tries to sign in with, found at any depth of its body (GraphQL variables, arguments of JSON-RPC and MCP);
    empty when it is no sign-in by the words of its path or name."""
    said_words = _words(operation.path, operation.name)
    if said_words.isdisjoint(_SIGN_IN_WORDS) or not said_words.isdisjoint(_RESET_WORDS | _REGISTER_WORDS):
        return ""
    found: dict[str, str] = {}
    _gather(operation.body, 0, found, [_NODES])
    if found.keys().isdisjoint(_PASSWORDS):
        return ""
    return _account(found)


def _account(found: dict[str, str]) -> str:
    accounts = _ACCOUNTS.intersection(found)
    if not accounts:
        return ""
    name = min(accounts, key=lambda name: (_ORDER.get(name, 9), name)) if len(accounts) > 1 else next(iter(accounts))
    return found[name].strip().lower()
