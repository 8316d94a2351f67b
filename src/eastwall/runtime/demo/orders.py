"""Orders. Its holes: an order is shown to whoever knows its number, and numbers are counted up; a list is given of anybody whose e-mail
address is known; goods leave unpaid, coupons count as often as they are sent, and the buyer says how many and what one costs."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from eastwall.runtime.demo.catalog import EVERYBODY
from eastwall.runtime.demo.service import Database, Incoming, RefusalError, Reply, Route, Upstreams, now

_SCHEMA = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id TEXT, status TEXT, total REAL, lines TEXT, address TEXT, note TEXT,
                     delivery TEXT DEFAULT '', created TEXT);
"""
_FIRST = 10_400
_PER_PAGE = 10


class Orders:
    """The handlers."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._db = Database(_SCHEMA)
        self._ids = {person.email: person.id for person in EVERYBODY}

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/health", lambda _: {"status": "up"}),
            Route("POST", "/orders", self.create),
            Route("GET", "/orders", self.list),
            Route("GET", "/orders/{order_id}", self.show),
            Route("POST", "/orders/{order_id}/payment", self.pay),
            Route("POST", "/orders/{order_id}/coupon", self.coupon),
            Route("POST", "/orders/{order_id}/delivery", self.deliver),
            Route("POST", "/orders/{order_id}/cancel", self.cancel),
            Route("GET", "/orders/{order_id}/invoice", self.invoice),
            Route("GET", "/orders/{order_id}/tracking", self.tracking, declared=False),
        ]

    def create(self, request: Incoming) -> Any:
        user, lines, address = request.user()["sub"], request.body.get("lines"), request.body.get("address")
        if not isinstance(lines, list) or not lines or not isinstance(address, dict):
            raise RefusalError(400, "`lines` and `address` are needed")
        try:
            # Hole: number and price are what the buyer says.
            total = round(sum(float(line["unit_price"]) * int(line["quantity"]) for line in lines), 2)
        except (TypeError, KeyError, ValueError):
            raise RefusalError(400, "each line needs `product_id`, `quantity` and `unit_price`") from None
        # In one statement: of two buyers at once both would be the first.
        sql = (
            "INSERT INTO orders (id, user_id, status, total, lines, address, note, created) "
            "VALUES ((SELECT ? WHERE NOT EXISTS (SELECT 1 FROM orders)), ?, 'open', ?, ?, ?, ?, ?)"
        )
        note = str(request.body.get("note", ""))[:500]
        number = self._db.change(sql, _FIRST, user, total, json.dumps(lines), json.dumps(address), note, now())
        return Reply(201, self._order(number))

    def _order(self, number: int | str) -> dict[str, Any]:
        row = self._db.row("SELECT * FROM orders WHERE id = ?", number)
        return {**row, "lines": json.loads(row["lines"]), "address": json.loads(row["address"])}

    def list(self, request: Incoming) -> Any:
        user, email = request.user()["sub"], request.query.get("email")
        if email is not None:
            # Hole: support looks up customers this way, and nobody asks who asks.
            user = self._ids.get(email, "")
        everybody = "everybody" in request.query and bool(request.staff())
        status, page = request.query.get("status", ""), request.number("page", 1, 1000)
        sql = (
            "SELECT id, user_id, status, total, created FROM orders WHERE (user_id = ? OR ?) AND (status = ? OR ? = '') "
            "ORDER BY id DESC LIMIT ? OFFSET ?"
        )
        found = self._db.rows(sql, user, everybody, status, status, _PER_PAGE, (page - 1) * _PER_PAGE)
        return {"page": page, "orders": found}

    def show(self, request: Incoming) -> Any:
        # Hole: broken object level authorization. Signed in is enough, whose order it is does not matter.
        request.user()
        return self._order(request.params["order_id"])

    def _own(self, request: Incoming) -> dict[str, Any]:
        order = self._order(request.params["order_id"])
        if order["user_id"] != request.user()["sub"] and not request.is_staff():
            raise RefusalError(403, "not your order")
        return order

    def pay(self, request: Incoming) -> Any:
        order = self._own(request)
        if order["status"] != "open":
            raise RefusalError(409, f"the order is {order['status']}")
        payment = {"order_id": order["id"], "amount": order["total"], "card": request.body.get("card")}
        reply = self._upstreams.call("billing", "POST", "/payments", request.authorization, payment)
        if reply.status == 201:
            self._db.change("UPDATE orders SET status = 'paid' WHERE id = ?", order["id"])
        return reply

    def coupon(self, request: Incoming) -> Any:
        order = self._own(request)
        if order["status"] != "open":
            raise RefusalError(409, f"the order is {order['status']}")
        if not str(request.body.get("code", "")).startswith("WELCOME"):
            raise RefusalError(422, "no such coupon")
        # Hole: a tenth off, as often as one asks.
        self._db.change("UPDATE orders SET total = round(total * 0.9, 2) WHERE id = ?", order["id"])
        return self._order(order["id"])

    def deliver(self, request: Incoming) -> Any:
        order, slot = self._own(request), request.body.get("slot")
        if slot not in ("morning", "afternoon", "evening"):
            raise RefusalError(400, "`slot` must be morning, afternoon or evening")
        # Hole: whether the order was paid is nobody's question any more.
        self._db.change("UPDATE orders SET delivery = ? WHERE id = ?", slot, order["id"])
        return {"order_id": order["id"], "delivery": slot, "status": "handed to carrier"}

    def cancel(self, request: Incoming) -> Any:
        order = self._own(request)
        if order["status"] != "open":
            raise RefusalError(409, f"the order is {order['status']}")
        self._db.change("UPDATE orders SET status = 'cancelled' WHERE id = ?", order["id"])
        return {"id": order["id"], "status": "cancelled"}

    def invoice(self, request: Incoming) -> Any:
        order = self._own(request)
        return self._upstreams.call("billing", "GET", "/invoices?" + urlencode({"order_id": order["id"]}), request.authorization)

    def tracking(self, request: Incoming) -> Any:
        order = self._own(request)
        steps = ["received"] + (["packed", "handed to carrier"] if order["status"] == "paid" else [])
        return {"order_id": order["id"], "carrier": "Parcel & Co", "steps": steps}
