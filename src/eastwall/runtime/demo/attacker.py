"""The attacker: an ordinary customer account and a dozen things to do with it. What came back tells whether a step worked."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from msgspec import Struct

from eastwall.runtime.demo.catalog import BILLING_SECRET, CUSTOMERS, DEBUG_SECRET, EVERYBODY, MALLORY, digest_of
from eastwall.runtime.demo.client import CallResult, Client, Targets

ADDRESS = "127.66.6.6"
"""Where the attacker calls from, on systems that let one choose."""
_DIGITS = re.compile(r"\d{13,19}")


class StepResult(Struct, frozen=True):
    """One attack step and whether it worked."""

    name: str
    """e.g. `bola`."""
    title: str
    """One line for the screen."""
    succeeded: bool
    """The attacker got what the step is for. False: it was stopped (or the shop had nothing)."""
    loot: str
    """What was got, in a few words; no secret in full."""
    sent: int
    blocked: int
    """Calls that Eastwall answered in the service's place, or whose answers it emptied of what is others'."""
    event_id: str = ""
    """Of the first blocked call, for `eastwall why`."""
    status: int = 0
    """Which that call was answered with."""
    unanswered: int = 0
    """Calls without any answer: nothing was got, but nobody decided so either."""
    events: tuple[str, ...] = ()
    """Of all blocked calls, in order."""

    @property
    def stopped(self) -> bool:
        """The attacker got nothing, every call was answered, and Eastwall is why: at least one call was refused by it. A step that
        failed because the shop itself said no, or because nothing worked any more, was not stopped."""
        return not self.succeeded and self.blocked > 0 and self.unanswered == 0


class Attacker:
    """Signs in, has a look round like anybody, then attacks. For one thread."""

    def __init__(self, targets: Targets, on_result: Callable[[CallResult], None] | None = None, *, seed: int = 1) -> None:
        self._client = Client(targets, label="attack", address=ADDRESS)
        self._report = on_result or (lambda _: None)
        self.random = random.Random(f"{seed}/attack")  # noqa: S311 - repeatable, not secret
        self.order = 0
        """The attacker's own order, from which the numbers of others are guessed."""
        self._step = ""
        self._results: list[CallResult] = []

    def prepare(self) -> bool:
        """What an ordinary customer does, and labelled so: sign in, order something, look at it. Whether signing in worked."""
        call = self._honest
        token = call("storefront", "POST", "/login", {"email": MALLORY.email, "password": MALLORY.password})
        self._client.token = str((token.json or {}).get("access_token", "")) if token.ok else ""
        call("storefront", "GET", "/me")
        call("storefront", "GET", "/products?page=1")
        call("storefront", "POST", "/cart/items", {"product_id": 3, "quantity": 1})
        address = {"name": MALLORY.name, "street": "1 Quiet Way", "city": "Lyon", "zip": "69001"}
        placed = call("storefront", "POST", "/checkout", {"address": address, "note": ""})
        self.order = int((placed.json or {}).get("id", 0)) if placed.ok else 0
        if self.order:
            call("orders", "GET", f"/orders/{self.order}")
        return bool(self._client.token)

    def step(self, name: str) -> StepResult:
        """Carry out one of STEPS. Raises KeyError for an unknown name."""
        title, action = STEPS[name]
        self._step, self._results = name, []
        loot = action(self)
        blocked = [result for result in self._results if result.blocked]
        return StepResult(
            name,
            title,
            bool(loot),
            loot,
            len(self._results),
            len(blocked),
            blocked[0].event_id if blocked else "",
            blocked[0].status if blocked else 0,
            sum(result.status == 0 for result in self._results),
            tuple(result.event_id for result in blocked),
        )

    def close(self) -> None:
        self._client.close()

    def _honest(self, service: str, method: str, path: str, body: Any = None) -> CallResult:
        result = self._client.call("look round", service, method, path, body, label="legit")
        self._report(result)
        return result

    def attack(self, service: str, method: str, path: str, body: Any = None) -> CallResult:
        result = self._client.call(self._step, service, method, path, body)
        self._results.append(result)
        self._report(result)
        return result


def _got(result: CallResult) -> str:
    """The text of a delivered answer, empty when there was none."""
    return result.body.decode("utf-8", "replace") if 200 <= result.status < 300 and not result.blocked else ""


_GUESSES = ("/admin", "/api/v2/users", "/swagger.json", "/openapi.json", "/actuator/env", "/server-status", "/backup.zip")
"""What every scanner asks for. The shop has none of them."""


def _recon(me: Attacker) -> str:
    """What recon is for: anything that answers where nobody was told to look. A refusal tells that there is something; its content
    it does not tell, and content is what counts here."""
    opened = {path: _got(me.attack("storefront", "GET", path)) for path in (*_GUESSES, "/debug/config", "/v1/users")}
    loot = []
    if DEBUG_SECRET in opened["/debug/config"]:
        loot.append("the database password")
    people = sum(person.email in opened["/v1/users"] for person in EVERYBODY)
    if people:
        loot.append(f"{people} accounts")
    answered = [path for path, text in opened.items() if text]
    if answered and not loot:
        loot.append(f"an answer of {answered[0]}")
    return " and ".join(loot)


def _bola(me: Attacker) -> str:
    start = me.order or 10_450
    numbers = list(range(max(1, start - 24), start))
    me.random.shuffle(numbers)
    stolen = 0
    for number in numbers[:16]:
        answer = me.attack("orders", "GET", f"/orders/{number}")
        order = answer.json if _got(answer) else None
        stolen += isinstance(order, dict) and order.get("user_id") not in (None, MALLORY.id)
    return f"{stolen} orders of other people" if stolen else ""


def _list_of_another(me: Attacker) -> str:
    """The list has a filter that is meant for support; e-mail addresses are easy to come by."""
    stolen = 0
    for person in me.random.sample(CUSTOMERS, 3):
        answer = me.attack("orders", "GET", "/orders?" + urlencode({"email": person.email}))
        listed = answer.json.get("orders", []) if _got(answer) and isinstance(answer.json, dict) else []
        stolen += sum(isinstance(order, dict) and order.get("user_id") not in (None, MALLORY.id) for order in listed)
    return f"{stolen} orders of other people" if stolen else ""


def _support_function(me: Attacker) -> str:
    credited = 0.0
    for amount in (100, 50):
        gift = {"email": MALLORY.email, "amount": amount, "reason": "a late parcel"}
        credited += amount if _got(me.attack("storefront", "POST", "/vouchers", gift)) else 0
    return f"credit of {credited:.0f}" if credited else ""


def _unpaid_delivery(me: Attacker) -> str:
    answer = me.attack("orders", "POST", f"/orders/{me.order}/delivery", {"slot": "morning"})
    return "goods that nobody paid for" if _got(answer) else ""


def _coupon_again(me: Attacker) -> str:
    """Once is the attacker's right, and twice is a double click; what counts is the rest."""
    me._honest("orders", "POST", f"/orders/{me.order}/coupon", {"code": "WELCOME-77"})
    times = sum(
        bool(_got(me.attack("orders", "POST", f"/orders/{me.order}/coupon", {"code": f"WELCOME-{code}"})))
        for code in range(78, 88)
    )
    return f"one coupon {times + 1} times" if times > 1 else ""


def _negative_order(me: Attacker) -> str:
    """Straight to the service behind the checkout, with a number of articles that earns money."""
    address = {"name": MALLORY.name, "street": "1 Quiet Way", "city": "Lyon", "zip": "69001"}
    loot = []
    for quantity in (-20, -1):
        line = {"product_id": 3, "quantity": quantity, "unit_price": 49.5}
        order = me.attack("orders", "POST", "/orders", {"lines": [line], "address": address, "note": ""}).json
        if isinstance(order, dict) and isinstance(order.get("total"), (int, float)) and "status" in order and "id" in order:
            loot.append(f"an order of {order['total']:.2f}")
    return " and ".join(loot)


def _mass_assignment(me: Attacker) -> str:
    path = f"/users/{MALLORY.id}"
    bodies: Sequence[dict[str, Any]] = (
        {"display_name": MALLORY.name, "role": "admin"},
        {"city": "Lyon", "role": "support", "credit": 5000},
        {"credit": 900.0},
    )
    loot: set[str] = set()
    for body in bodies:
        record = me.attack("storefront", "PATCH", path, body).json
        if isinstance(record, dict) and record.get("role") in ("admin", "support"):
            loot.add(f"role {record['role']}")
        if isinstance(record, dict) and isinstance(record.get("credit"), (int, float)) and record["credit"] > 0:
            loot.add("credit")
    return " and ".join(sorted(loot))


def _sql_injection(me: Attacker) -> str:
    union = "zzz' UNION SELECT 1, email, password_digest, 0 FROM users -- "
    texts = (
        union,
        "zzz%' OR hidden = 1 -- ",
        "zzz'/**/uNiOn/**/sElEcT/**/1,name,sql,4/**/FROM/**/sqlite_master--",
        "zzz' OR 'a' LIKE 'a",
        "zzz'||(SELECT password_digest FROM users LIMIT 1)||'",
    )
    loot: set[str] = set()
    digests = {digest_of(person.password) for person in EVERYBODY}
    for text in texts:
        got = _got(me.attack("storefront", "GET", "/products/search?" + urlencode({"q": text})))
        if any(digest in got for digest in digests):
            loot.add("password digests")
        if "Prototype lantern" in got:
            loot.add("hidden products")
        if "CREATE TABLE" in got:
            loot.add("the schema")
    return ", ".join(sorted(loot))


def _path_traversal(me: Attacker) -> str:
    climbs = (
        "../../secrets/billing.key",
        "..%2f..%2fsecrets%2fbilling.key",
        "statement-2026-01.csv/../../../secrets/billing.key",
        ".././../secrets/billing.key",
    )
    got = [_got(me.attack("billing", "GET", "/invoices/export?file=" + (c if "%" in c else quote(c, safe="")))) for c in climbs]
    got.append(_got(me.attack("billing", "GET", "/invoices/export?file=" + quote("../../../../etc/passwd", safe=""))))
    return "the signing key of billing" if any(BILLING_SECRET in text for text in got) else ""


def _command_injection(me: Attacker) -> str:
    names = ("q3; cat secrets/billing.key", "q3 && id", "q3 | cat secrets/billing.key", "$(cat secrets/billing.key)", "`id`")
    got = "".join(_got(me.attack("billing", "POST", "/reports", {"name": name})) for name in names)
    loot = ["the signing key of billing"] if BILLING_SECRET in got else []
    return " and ".join(loot + (["a shell"] if "uid=" in got else []))


def _stuffing(me: Attacker) -> str:
    """A leaked list: other people's passwords elsewhere, of which one was used again here, somewhere in its second half."""
    held, me._client.token = me._client.token, ""
    pairs = [(f"{me.random.choice('abcdefghij')}{me.random.randint(10, 9999)}@mail.example", "sunshine1") for _ in range(38)]
    pairs += [(person.email, f"{person.name.split()[0].lower()}{me.random.randint(1960, 2005)}") for person in CUSTOMERS[1:]]
    me.random.shuffle(pairs)
    victim = CUSTOMERS[0]
    pairs.insert(me.random.randint(len(pairs) // 2, len(pairs)), (victim.email, victim.password))
    entered = 0
    for email, password in pairs:
        answer = me.attack("storefront", "POST", "/login", {"email": email, "password": password})
        entered += "access_token" in _got(answer)
    me._client.token = held
    return f"{entered} account" if entered else ""


def _card_data(me: Attacker) -> str:
    got = _got(me.attack("billing", "GET", "/v1/cards"))
    numbers = {digits for digits in _DIGITS.findall(got) if any(person.card == digits for person in EVERYBODY)}
    for person in me.random.sample(CUSTOMERS, 4):
        answer = _got(me.attack("billing", "GET", f"/customers/{person.id}/cards"))
        numbers.update(digits for digits in _DIGITS.findall(answer) if digits == person.card)
    return f"{len(numbers)} card numbers" if numbers else ""


STEPS: dict[str, tuple[str, Callable[[Attacker], str]]] = {
    "recon": ("looks for forgotten endpoints", _recon),
    "bola": ("reads other people's orders by counting", _bola),
    "list-of-another": ("asks for the order lists of others by e-mail", _list_of_another),
    "mass-assignment": ("makes itself admin through the profile form", _mass_assignment),
    "support-function": ("writes itself the vouchers that support gives", _support_function),
    "unpaid-delivery": ("has its order delivered without paying", _unpaid_delivery),
    "coupon-again": ("redeems a coupon on one order again and again", _coupon_again),
    "negative-order": ("orders minus twenty articles, which earns money", _negative_order),
    "sql-injection": ("asks the search box for the user table", _sql_injection),
    "path-traversal": ("climbs out of the export directory", _path_traversal),
    "command-injection": ("runs commands through a report's name", _command_injection),
    "credential-stuffing": ("tries a leaked password list", _stuffing),
    "card-data": ("pulls card numbers through the old API", _card_data),
}
"""Name -> (title, action), in the order of an attack. The action returns what it got, empty when nothing."""
LEARNED = (
    "bola", "list-of-another", "mass-assignment", "support-function", "unpaid-delivery", "coupon-again", "negative-order",
)  # fmt: skip
"""Steps on the logic of the API: no policy of the demo is about them, and what stops them was learned from the customers' calls."""


def run(
    targets: Targets,
    on_result: Callable[[CallResult], None] | None = None,
    *,
    seed: int = 1,
    on_step: Callable[[StepResult], None] | None = None,
) -> list[StepResult]:
    """The whole attack. `on_step` is called after each step."""
    attacker = Attacker(targets, on_result, seed=seed)
    try:
        attacker.prepare()
        results = []
        for name in STEPS:
            results.append(attacker.step(name))
            if on_step is not None:
                on_step(results[-1])
        return results
    finally:
        attacker.close()
