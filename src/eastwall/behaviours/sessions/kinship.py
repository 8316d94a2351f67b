"""What an operation is by its name: a read, a gate, a step that is taken once, bookkeeping. And whether two are of one business flow.

Names decide nothing alone: they say which of the orders that were seen may be causes, and which are mere habits of a user interface.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from functools import lru_cache

from eastwall.discovery.objects import changes, parameter_kinds, singular, words
from eastwall.model.endpoint import Endpoint

READS = frozenset(
    "get list search fetch find query read show view count lookup describe export download history line detail document documents me "
    "profile eta status summary report preview browse suggest autocomplete batch check".split()
)
GATES = frozenset(
    "otp mfa totp challenge captcha verify verification terms accept consent agree authorize authorise kyc pin".split()
)
"""What something else waits for, whatever that is called. Not `pay` or `confirm`: of another thing they say nothing."""
ONE_TIME = frozenset(
    "refund redeem coupon voucher promo promotion payout withdraw withdrawal claim vote pay payment place checkout cancel capture settle "
    "cashout reward bonus otp verify confirm transfer".split()
)
"""What is taken once on one thing by its very name."""
BALANCES = frozenset("giftcard gift wallet balance".split())
"""What holds a value until that is spent: its code is asked for, and used, again and again."""
MAKES = frozenset("create add new make open place book register submit issue draft start".split())
SETS = frozenset("update set edit patch modify put replace save upsert rename".split())
"""Sets what is there to what the request says: done again, it comes to the same."""
_IDEMPOTENT = frozenset(("PUT", "DELETE", "PATCH"))
"""RFC 9110, section 9.2.2: a second one is no second step. PATCH need not be so (RFC 5789, section 2), and what people correct they correct again."""
_PAID = frozenset("pay payment charge capture purchase checkout settle".split())
PRESUMES = {
    "refund": _PAID,
    "chargeback": _PAID,
    "capture": frozenset(("authorize", "authorise", "authorization", "hold", "reserve")),
    "return": frozenset("deliver delivery ship shipment pay payment receive".split()),
    "unship": frozenset(("ship",)),
    "ship": _PAID,
    "fulfil": _PAID,
    "fulfill": _PAID,
}
"""What a name presumes: nobody is given back what was not paid."""
NOISE = frozenset(
    "track tracking analytics event metric metrics telemetry log logs beacon heartbeat ping csrf refresh token session login logout signin "
    "signout device push notification notifications impression seen presence typing".split()
)
"""Bookkeeping that goes with everything."""
CODES = frozenset("code coupon voucher promo promotion giftcard otp pin nonce token".split())
"""Last words of properties whose value is used up."""
_EMPTY = frozenset(
    "api v rest rpc service svc public internal current mutation tools call ep graphql mcp user users tenant tenants".split()
)


def label(endpoint: Endpoint) -> str:
    """Fit to show."""
    return endpoint.operation or f"{endpoint.method} {endpoint.template}"


def names(endpoint: Endpoint) -> tuple[str, ...]:
    """Singular words of the operation's own name: of its path's literal segments, or of what its protocol calls it."""
    parts = [endpoint.operation] if endpoint.operation and endpoint.protocol != "rest" else []
    if not parts:
        parts = [segment for segment in endpoint.template.split("/") if segment and "{" not in segment]
    return tuple(dict.fromkeys(singular(word) for part in parts for word in words(part) if not word.isdigit()))


def verb(endpoint: Endpoint, kinds: Collection[str]) -> tuple[str, ...]:
    """What its own name says beside the kinds of objects that it is about: `refund` of `POST /orders/{id}/refund`. Empty for nothing."""
    return tuple([word for word in names(endpoint) if word not in kinds and word not in _EMPTY])


def reads(endpoint: Endpoint) -> bool:
    """Whether it changes nothing: by its method, or where all is POST (RPC, MCP) by the first or last word of its name."""
    if not changes(endpoint.method, endpoint.operation):
        return True
    found = list(names(endpoint))
    if endpoint.operation or endpoint.method != "POST":
        last = endpoint.operation.replace(":", "/").rpartition("/")[2].rpartition(" ")[2]
        found = [word for word in map(singular, words(last)) if word not in _EMPTY] if last else []
        return bool(found) and (found[0] in READS or found[-1] in READS)
    last = endpoint.template.rstrip("/").rpartition("/")[2]
    tail = [singular(word) for word in words(last)]
    return "{" not in last and bool(tail) and (tail[0] in READS or tail[-1] in READS)


def repeatable(endpoint: Endpoint) -> bool:
    """Whether a second call on the same thing is no second step: by its method, or where all is POST (RPC, GraphQL, MCP) by the first word of its
    name, unless another word is of what is done once (`updatePayment`)."""
    if endpoint.method in _IDEMPOTENT:
        return True
    last = (endpoint.operation or endpoint.template.rstrip("/")).replace(":", "/").rpartition("/")[2].rpartition(" ")[2]
    found = [word for word in words(last) if word not in _EMPTY] if "{" not in last else []
    return bool(found) and found[0] in SETS and not one_time(endpoint)


def bookkeeping(endpoint: Endpoint) -> bool:
    """Whether it goes with everything, or takes credentials."""
    return endpoint.login or not NOISE.isdisjoint(names(endpoint))


def gate(endpoint: Endpoint) -> bool:
    return not GATES.isdisjoint(names(endpoint))


@lru_cache(maxsize=4096)
def _makes(operation: str) -> bool:
    return not MAKES.isdisjoint(words(operation))


def makes(endpoint: Endpoint) -> bool:
    """Whether it makes an object by its name: `createOrder`."""
    return _makes(label(endpoint))


def presumes(endpoint: Endpoint, other: Endpoint) -> bool:
    """Whether the name of an operation presumes another one: `refund` and `pay`."""
    found = names(other)
    return any(word in PRESUMES and not PRESUMES[word].isdisjoint(found) for word in names(endpoint))


def one_time(endpoint: Endpoint, kinds: Collection[str] = ()) -> bool:
    """Whether it is taken once by its name. `kinds`: of the objects that it is carried out on, which say what they are and not what is done to them:
    `POST /claims/{claim_id}/link` claims nothing."""
    own = parameter_kinds(endpoint.template)
    return any(word in ONE_TIME and word not in own and word not in kinds for word in names(endpoint))


def holds_value(endpoint: Endpoint) -> bool:
    """Whether the codes it takes are of what holds a value (`giftcards/check`), and not redeemed by its name."""
    return not BALANCES.isdisjoint(names(endpoint)) and not one_time(endpoint)


def code_place(place: str) -> bool:
    """Whether a property holds something that is used up: `code`, `input.voucherCode`."""
    found = words(place.rpartition(".")[2])
    return bool(found) and (found[-1] in CODES or found[0] in CODES)


def of_kind(endpoint: Endpoint, kind: str) -> bool:
    """Whether the operation is about objects of a kind, rather than one that it merely mentions, or in which its object lies."""
    found = names(endpoint)
    return (kind in found or kind.rpartition("_")[2] in found) and not _contains(endpoint.template, kind)


@lru_cache(maxsize=4096)
def _contains(template: str, kind: str) -> bool:
    """Whether a path names an object of a kind as what something else lies in: the tenant of `/tenants/{t}/orders/{o}/pay`, of
    `/tenants/{t}/orders` and of `/tenants/{t}/orders/pay`."""
    kinds = parameter_kinds(template)
    if kind not in kinds:
        return False
    tail = template.rstrip("/").lower().rpartition("}")[2].split("/")
    return kinds[-1] != kind or (kind in _EMPTY and any(singular(part) != part for part in tail))


def common_words(endpoints: Iterable[Endpoint]) -> frozenset[str]:
    """Words that say nothing of kinship: half of the operations have them."""
    count, seen = 0, Counter[str]()
    for endpoint in endpoints:
        count += 1
        seen.update(names(endpoint))
    return frozenset(word for word, times in seen.items() if times * 2 > count) | _EMPTY


def kin(one: Endpoint, other: Endpoint, common: frozenset[str]) -> bool:
    """Whether two operations are about the same thing: `POST /cart/checkout` and `POST /cart/payment`."""
    return not (set(names(one)) & set(names(other))) <= common
