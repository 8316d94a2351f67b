"""Billing. Its holes: path traversal in the export, command injection in reports, and full card numbers, to support and,
through a forgotten `/v1/cards`, to anybody who is signed in."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import Any

from eastwall.runtime.demo.catalog import BILLING_SECRET
from eastwall.runtime.demo.service import Database, Incoming, RefusalError, Reply, Route, now

_SCHEMA = """
CREATE TABLE payments (id TEXT PRIMARY KEY, order_id INTEGER, user_id TEXT, amount REAL, status TEXT, created TEXT);
CREATE TABLE invoices (id TEXT PRIMARY KEY, order_id INTEGER, user_id TEXT, amount REAL, created TEXT);
CREATE TABLE cards (user_id TEXT, holder TEXT, number TEXT, expiry TEXT, UNIQUE (user_id, number));
"""
STATEMENTS = tuple(f"statement-2026-{month:02d}.csv" for month in range(1, 13))
_COMMANDS = re.compile(r"[;&|\n]+|\$\(|`")


class Billing:
    """The handlers. `sandbox` is the only directory whose files are ever read."""

    def __init__(self, sandbox: Path) -> None:
        self._sandbox = sandbox.resolve()
        self._exports = self._sandbox / "exports" / "csv"
        self._exports.mkdir(parents=True, exist_ok=True)
        (self._sandbox / "secrets").mkdir(exist_ok=True)
        (self._sandbox / "secrets" / "billing.key").write_text(BILLING_SECRET + "\n")
        for name in STATEMENTS:
            (self._exports / name).write_text(
                f"date,text,amount\n{name[10:17]}-03,subscription,4.90\n{name[10:17]}-19,refund,-12.50\n"
            )
        self._db = Database(_SCHEMA)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/health", lambda _: {"status": "up"}),
            Route("POST", "/payments", self.pay),
            Route("GET", "/payments", self.payments),
            Route("GET", "/payments/{payment_id}", self.payment),
            Route("POST", "/payments/{payment_id}/refund", self.refund),
            Route("GET", "/invoices", self.invoices),
            Route("GET", "/invoices/export", self.export),
            Route("GET", "/invoices/{invoice_id}", self.invoice),
            Route("POST", "/reports", self.report),
            Route("GET", "/customers/{customer_id}/cards", self.cards),
            Route("GET", "/v1/cards", self.old_cards, declared=False),
        ]

    def pay(self, request: Incoming) -> Any:
        user, card, amount = request.user()["sub"], request.body.get("card"), request.body.get("amount")
        if not isinstance(card, dict) or not isinstance(amount, (int, float)):
            raise RefusalError(400, "`card` and `amount` are needed")
        number = re.sub(r"\D", "", str(card.get("number", "")))
        if not 12 <= len(number) <= 19:
            raise RefusalError(402, "the card was declined")
        order = request.body.get("order_id")
        payment = str(uuid.uuid4())
        self._db.change("INSERT OR IGNORE INTO cards VALUES (?, ?, ?, ?)", user, card.get("holder"), number, card.get("expiry"))
        row = self._db.change("INSERT INTO payments VALUES (?, ?, ?, ?, 'captured', ?)", payment, order, user, amount, now())
        invoice = f"INV-{2026_0000 + row}"
        self._db.change("INSERT INTO invoices VALUES (?, ?, ?, ?, ?)", invoice, order, user, amount, now())
        return Reply(
            201, {"payment_id": payment, "invoice_id": invoice, "order_id": order, "amount": amount, "status": "captured"}
        )

    def payments(self, request: Incoming) -> Any:
        request.staff()
        sql = "SELECT id, order_id, amount, status, created FROM payments WHERE order_id = ?"
        return {"payments": self._db.rows(sql, request.query.get("order_id"))}

    def _own(self, table: str, number: str, request: Incoming) -> dict[str, Any]:
        row = self._db.row(f"SELECT * FROM {table} WHERE id = ?", number)  # noqa: S608 - `table` is fixed text
        if row.pop("user_id") != request.user()["sub"] and not request.is_staff():
            raise RefusalError(403, "not yours")
        return row

    def payment(self, request: Incoming) -> Any:
        return self._own("payments", request.params["payment_id"], request)

    def refund(self, request: Incoming) -> Any:
        request.staff()
        payment = self._own("payments", request.params["payment_id"], request)
        self._db.change("UPDATE payments SET status = 'refunded' WHERE id = ?", payment["id"])
        return {**payment, "status": "refunded", "reason": str(request.body.get("reason", ""))[:200]}

    def invoices(self, request: Incoming) -> Any:
        user, order = request.user()["sub"], request.query.get("order_id", "")
        sql = (
            "SELECT id, order_id, amount, created FROM invoices WHERE user_id = ? AND (order_id = ? OR ? = '') "
            "ORDER BY id DESC LIMIT 10"
        )
        return {"invoices": self._db.rows(sql, user, order, order)}

    def invoice(self, request: Incoming) -> Any:
        return self._own("invoices", request.params["invoice_id"], request)

    def _content(self, path: Path) -> bytes:
        """A file of the sandbox: the hole is real, the floor beneath it too."""
        whole = path.resolve()
        if not whole.is_relative_to(self._sandbox) or not whole.is_file():
            raise RefusalError(404, "no such file")
        return whole.read_bytes()

    def export(self, request: Incoming) -> Any:
        request.user()
        # Hole: path traversal, `../` climbs out of the exports.
        path = os.path.join(self._exports, request.query.get("file", "").lstrip("/"))
        return Reply(200, self._content(Path(path)), "text/csv")

    def report(self, request: Incoming) -> Any:
        user, name = request.user(), str(request.body.get("name", ""))[:200]
        if not name:
            raise RefusalError(400, "`name` is needed")
        # Hole: command injection, the name goes into a command line. The shell is a toy of ours: it splits as sh does, but all
        # it can do is print and read files of the sandbox.
        return Reply(201, {"name": name, "by": user["email"], "log": self._shell(f"archive reports/{name}.csv")})

    def _shell(self, line: str) -> list[str]:
        log: list[str] = []
        for command in _COMMANDS.split(line)[:10]:
            words = command.replace(")", " ").split()
            if not words:
                continue
            if words[0] == "archive":
                log.append(f"archived {' '.join(words[1:])}")
            elif words[0] == "id":
                log.append("uid=33(billing) gid=33(billing)")
            elif words[0] == "cat":
                for name in words[1:3]:
                    try:
                        log.append(self._content(self._sandbox / name.lstrip("/").removesuffix(".csv")).decode().strip())
                    except RefusalError:
                        log.append(f"cat: {name}: No such file or directory")
            else:
                log.append(f"sh: {words[0][:40]}: not found")
        return log

    def cards(self, request: Incoming) -> Any:
        customer = request.params["customer_id"]
        found = self._db.rows("SELECT holder, number, expiry FROM cards WHERE user_id = ?", customer)
        if not request.is_staff():
            if customer != request.user()["sub"]:
                raise RefusalError(403, "not yours")
            return {"cards": [{**card, "number": "*" * 12 + card["number"][-4:]} for card in found]}
        # Hole: excessive data exposure, support needs the last four digits and gets them all.
        return {"cards": found}

    def old_cards(self, request: Incoming) -> Any:
        # Hole: version 1 never looked at the role.
        request.user()
        return {"cards": self._db.rows("SELECT user_id, holder, number, expiry FROM cards ORDER BY rowid LIMIT 50")}
