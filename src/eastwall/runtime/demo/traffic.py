"""The shop's ordinary days: customers who browse, order and pay, support that helps them, an admin with old habits.

Deterministic per seed and person: each session of each person has its own random numbers, so the same calls come in the same
order per person whatever the threads do (numbers that the services give out differ).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlencode

from msgspec import Struct

from eastwall.runtime.demo.billing import STATEMENTS
from eastwall.runtime.demo.catalog import ADMIN, CUSTOMERS, PRODUCTS, SUPPORT, Person
from eastwall.runtime.demo.client import CallResult, Client, Targets

_SEARCHES = (
    *(
        "kettle",
        "boots",
        "O'Neill",
        "rock 'n' roll",
        "drop leaf",
        "select oak table",
        "union suit",
        "insert soles",
        "order by mail",
    ),
    *("where to camp", "update planner", "delete key", "cat & mouse", "script font", "50% peat", "group by herbs", "having fun"),
    *(
        "like grass",
        "tent for two or three",
        "table -- oak or pine",
        "what's new; what's old?",
        "boots (size 44)",
        "exec chair or stool",
    ),
)
_REVIEWS = (
    "Exactly as described, I'd buy it again.",
    "It's fine -- but the handle came loose; a drop of glue fixed it.",
    "My kids' favourite & mine!",
    "Select this one if you can't decide between the two.",
    "Arrived late, 3 days | otherwise OK.",
    "Union of good looks and low price!",
    "Don't delete this from the range!",
    "Where was this all my life? 10/10",
)
_NOTES = (
    "",
    "",
    "leave it at the door",
    "ring twice; the bell's weak",
    "it's a gift, please don't include the bill",
    "call 555-0100 or knock",
)
_STREETS = ("12 Long Road", "7 St. John's Lane", "240 Harbour Way", "3 O'Connell Street", "58 Select Avenue")
_CITIES = ("Springfield", "King's Lynn", "Porto", "Aarhus", "Lyon")
_REPORTS = ("q3-revenue", "November sales", "returns by region", "stock (all sites)", "support load 2026-11", "VAT overview")

Report = Callable[[CallResult], None]


class Summary(Struct):
    """What happened in `run`."""

    sent: int = 0
    blocked: int = 0
    """By Eastwall."""
    unexpected: int = 0
    """Neither blocked nor what the unprotected shop answers (errors, 5xx)."""
    examples: list[CallResult] = []
    """Up to 20 of the blocked and unexpected ones."""


class _Session:
    """One person's visit."""

    def __init__(
        self, person: Person, client: Client, numbers: random.Random, report: Report, stop: threading.Event, pause: float
    ) -> None:
        self.person = person
        self.random = numbers
        self._client = client
        self._report = report
        self._stop = stop
        self._pause = pause

    def call(self, step: str, service: str, method: str, path: str, body: Any = None, expected: tuple[int, ...] = ()) -> Any:
        """The decoded answer; empty when it is not what an honest caller expects. Raises _InterruptedError on stop."""
        if self._stop.wait(self._pause * self.random.uniform(0.5, 1.5)) if self._pause else self._stop.is_set():
            raise _InterruptedError
        result = self._client.call(step, service, method, path, body, expected=expected)
        self._report(result)
        answer = result.json if result.ok else None
        return answer if isinstance(answer, dict) else {}

    def sign_in(self) -> bool:
        email, password = self.person.email, self.person.password
        self._client.token = ""
        if self.random.random() < 0.08:
            typo = password[:-1] if self.random.random() < 0.5 else password.swapcase()
            self.call("sign in", "storefront", "POST", "/login", {"email": email, "password": typo}, (401,))
        answer = self.call("sign in", "storefront", "POST", "/login", {"email": email, "password": password})
        self._client.token = str(answer.get("access_token", ""))
        return bool(self._client.token)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def customer(self) -> None:
        self._browse()
        self._profile()
        number = self._order()
        if number:
            self._after_order(number)
        self._look_back()

    def _browse(self) -> None:
        call, pick = self.call, self.random
        call("browse", "storefront", "GET", "/products?" + urlencode({"page": pick.randint(1, 3)}))
        if self.chance(0.4):
            call(
                "browse",
                "storefront",
                "GET",
                "/products?" + urlencode({"category": pick.choice(("kitchen", "outdoor", "office"))}),
            )
        for _ in range(pick.randint(1, 3)):
            call("search", "storefront", "GET", "/products/search?" + urlencode({"q": pick.choice(_SEARCHES)}))
        for product in pick.sample(PRODUCTS[:-1], pick.randint(1, 3)):
            call("browse", "storefront", "GET", f"/products/{product.id}")
            if self.chance(0.5):
                call("browse", "storefront", "GET", f"/products/{product.id}/reviews")
            if self.chance(0.3):
                review = {"stars": pick.randint(2, 5), "text": pick.choice(_REVIEWS)}
                call("review", "storefront", "POST", f"/products/{product.id}/reviews", review)

    def _profile(self) -> None:
        pick = self.random
        self.call("profile", "storefront", "GET", "/me")
        if self.chance(0.3):
            self.call("profile", "storefront", "GET", f"/users/{self.person.id}")
        if self.chance(0.6):
            choices: dict[str, Any] = {
                "display_name": self.person.name,
                "phone": f"+1 555 01{pick.randint(10, 99)}",
                "city": pick.choice(_CITIES),
                "newsletter": pick.random() < 0.5,
            }
            chosen = {name: choices[name] for name in pick.sample(sorted(choices), pick.randint(1, 3))}
            self.call("profile", "storefront", "PATCH", f"/users/{self.person.id}", chosen)

    def _order(self) -> int:
        call, pick = self.call, self.random
        for product in pick.sample(PRODUCTS[:-1], pick.randint(1, 3)):
            call("order", "storefront", "POST", "/cart/items", {"product_id": product.id, "quantity": pick.randint(1, 3)})
        items = call("order", "storefront", "GET", "/cart").get("items", [])
        if len(items) > 1 and self.chance(0.4):
            call("order", "storefront", "DELETE", f"/cart/items/{items[-1]['item_id']}")
        if self.chance(0.2):
            return 0
        address = {
            "name": self.person.name,
            "street": pick.choice(_STREETS),
            "city": pick.choice(_CITIES),
            "zip": f"{pick.randint(10000, 99999)}",
        }
        body = {"address": address, "note": pick.choice(_NOTES)}
        return int(call("order", "storefront", "POST", "/checkout", body).get("id", 0))

    def _after_order(self, number: int) -> None:
        call = self.call
        call("order", "orders", "GET", f"/orders/{number}")
        if self.chance(0.6):
            call("coupon", "orders", "POST", f"/orders/{number}/coupon", {"code": f"WELCOME-{self.random.randint(10, 99)}"})
        if self.chance(0.15):
            call("cancel", "orders", "POST", f"/orders/{number}/cancel", {"reason": "ordered the wrong size"})
            return
        card = {
            "number": self.person.card,
            "holder": self.person.name,
            "expiry": "11/29",
            "cvc": f"{self.random.randint(100, 999)}",
        }
        paid = call("pay", "orders", "POST", f"/orders/{number}/payment", {"card": card})
        if paid.get("payment_id"):
            call("pay", "billing", "GET", f"/payments/{paid['payment_id']}")
        if paid.get("invoice_id") and self.chance(0.6):
            call("pay", "billing", "GET", f"/invoices/{paid['invoice_id']}")
        if self.chance(0.5):
            call("pay", "orders", "GET", f"/orders/{number}/invoice")
        if self.chance(0.9):
            slot = self.random.choice(("morning", "afternoon", "evening"))
            call("delivery", "orders", "POST", f"/orders/{number}/delivery", {"slot": slot})
        if self.chance(0.5):
            call("track", "orders", "GET", f"/orders/{number}/tracking")

    def _look_back(self) -> None:
        call, pick = self.call, self.random
        if self.chance(0.6):
            call("account", "storefront", "GET", "/account/orders?page=1")
        query = pick.choice(("", "?page=1", "?status=paid", "?status=open"))
        orders = call("account", "orders", "GET", f"/orders{query}").get("orders", [])
        for order in pick.sample(orders, min(len(orders), pick.randint(0, 2))):
            call("account", "orders", "GET", f"/orders/{order['id']}")
        if self.chance(0.4):
            for invoice in call("account", "billing", "GET", "/invoices").get("invoices", [])[:1]:
                call("account", "billing", "GET", f"/invoices/{invoice['id']}")
        if self.chance(0.3):
            call("account", "billing", "GET", "/invoices/export?" + urlencode({"file": pick.choice(STATEMENTS)}))
        if self.chance(0.2):
            call("account", "billing", "GET", f"/customers/{self.person.id}/cards")

    def support(self) -> None:
        call, pick = self.call, self.random
        for customer in pick.sample(CUSTOMERS, 2):
            found = call("support", "storefront", "GET", "/users?" + urlencode({"email": customer.email})).get("users", [])
            for user in found:
                call("support", "storefront", "GET", f"/users/{user['id']}")
                if self.chance(0.7):
                    call("support", "billing", "GET", f"/customers/{user['id']}/cards")
            orders = call("support", "orders", "GET", "/orders?" + urlencode({"email": customer.email})).get("orders", [])
            if self.chance(0.8):
                gift = {"email": customer.email, "amount": pick.choice((5, 10, 15, 20)), "reason": "a late parcel"}
                call("support", "storefront", "POST", "/vouchers", gift)
            for order in orders[:2]:
                call("support", "orders", "GET", f"/orders/{order['id']}")
                call("support", "orders", "GET", f"/orders/{order['id']}/tracking")
                payments = call("support", "billing", "GET", f"/payments?order_id={order['id']}").get("payments", [])
                if payments and self.chance(0.6):
                    reason = pick.choice(("arrived broken", "customer's wish", "wrong item; sent back"))
                    call("support", "billing", "POST", f"/payments/{payments[0]['id']}/refund", {"reason": reason})
        if self.chance(0.5):
            call("support", "billing", "POST", "/reports", {"name": pick.choice(_REPORTS)})

    def admin(self) -> None:
        call, pick = self.call, self.random
        for service in ("storefront", "orders", "billing"):
            call("operations", service, "GET", "/health")
        # The old dashboard and the reconciliation job still use what everybody else has forgotten.
        call("operations", "storefront", "GET", "/v1/users")
        call("operations", "storefront", "GET", "/debug/config")
        call("operations", "billing", "GET", "/v1/cards")
        orders = call(
            "operations", "orders", "GET", "/orders?everybody=1&" + urlencode({"status": pick.choice(("open", "paid"))})
        )
        for order in orders.get("orders", [])[:3]:
            call("operations", "orders", "GET", f"/orders/{order['id']}")
        for _ in range(2):
            call("operations", "billing", "POST", "/reports", {"name": f"{pick.choice(_REPORTS)} {pick.randint(1, 28):02d}"})
        call("operations", "billing", "GET", "/invoices/export?file=" + quote(pick.choice(STATEMENTS)))


class _InterruptedError(Exception):
    """`run` was told to stop."""


def run(
    targets: Targets,
    on_result: Report | None = None,
    *,
    seed: int = 1,
    rounds: int | None = 1,
    first_round: int = 0,
    workers: int = 4,
    pause: float = 0.0,
    stop: threading.Event | None = None,
) -> Summary:
    """Ordinary traffic: in each round everybody (20 customers, two support agents, an admin) pays one visit.

    Blocks until `rounds` are over (None: until `stop` is set). `on_result` gets every call, one at a time, from whatever thread.
    `first_round` continues a run: the same seed and round give the same visits. `pause`: seconds between the calls of a person.
    """
    stop = stop or threading.Event()
    lock, summary = threading.Lock(), Summary()

    def report(result: CallResult) -> None:
        with lock:
            summary.sent += 1
            summary.blocked += result.blocked
            summary.unexpected += not result.ok and not result.blocked
            if not result.ok and len(summary.examples) < 20:
                summary.examples.append(result)
            if on_result is not None:
                on_result(result)

    people = [*CUSTOMERS, *SUPPORT, ADMIN]
    number = first_round
    with ThreadPoolExecutor(workers, thread_name_prefix="people") as pool:
        while not stop.is_set() and (rounds is None or number < first_round + rounds):
            order = list(enumerate(people))
            random.Random(f"{seed}/{number}").shuffle(order)  # noqa: S311 - repeatable, not secret
            visits = [
                pool.submit(_visit, targets, place, person, f"{seed}/{number}", report, stop, pause) for place, person in order
            ]
            for visit in visits:
                visit.result()
            number += 1
    return summary


def _visit(targets: Targets, place: int, person: Person, seed: str, report: Report, stop: threading.Event, pause: float) -> None:
    client = Client(targets, label="legit", address=f"127.3.0.{place + 1}")
    numbers = random.Random(f"{seed}/{person.email}")  # noqa: S311 - repeatable, not secret
    session = _Session(person, client, numbers, report, stop, pause)
    try:
        if session.sign_in():
            {"customer": session.customer, "support": session.support, "admin": session.admin}[person.role]()
    except _InterruptedError:
        pass
    finally:
        client.close()
