"""The storefront: sign-in, products, carts, profiles. Its holes: SQL injection in the search, mass assignment on profiles,
sign-in without a limit, vouchers that anybody can write, a forgotten `/v1/users` and a debug endpoint."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey

from eastwall.runtime.demo.catalog import AUDIENCE, DEBUG_SECRET, EVERYBODY, ISSUER, PRODUCTS, Keys, digest_of
from eastwall.runtime.demo.service import Database, Incoming, RefusalError, Reply, Route, Upstreams, now

_SCHEMA = """
CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT UNIQUE, display_name TEXT, phone TEXT, city TEXT, newsletter INTEGER,
                    role TEXT, credit REAL, password_digest TEXT);
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, category TEXT, price REAL, hidden INTEGER);
CREATE TABLE reviews (id INTEGER PRIMARY KEY, product INTEGER, author TEXT, stars INTEGER, text TEXT, written TEXT);
CREATE TABLE cart (id INTEGER PRIMARY KEY, user TEXT, product INTEGER, quantity INTEGER);
"""
_COLUMNS = ("display_name", "phone", "city", "newsletter", "role", "credit")
_PER_PAGE = 8


class Storefront:
    """The handlers."""

    def __init__(self, state: Path, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._key = RSAKey.import_key(json.loads(Keys(state).private.read_text()))
        self._db = Database(_SCHEMA)
        for person in EVERYBODY:
            values = (person.id, person.email, person.name, "", "", 0, person.role, 0.0, digest_of(person.password))
            self._db.change("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)
        for item in PRODUCTS:
            self._db.change(
                "INSERT INTO products VALUES (?, ?, ?, ?, ?)", item.id, item.name, item.category, item.price, item.hidden
            )

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/health", lambda _: {"status": "up"}),
            Route("POST", "/login", self.login),
            Route("GET", "/products", self.products),
            Route("GET", "/products/search", self.search),
            Route("GET", "/products/{product_id}", self.product),
            Route("GET", "/products/{product_id}/reviews", self.reviews),
            Route("POST", "/products/{product_id}/reviews", self.review),
            Route("GET", "/me", self.me),
            Route("GET", "/users", self.find_user),
            Route("GET", "/users/{user_id}", self.user),
            Route("PATCH", "/users/{user_id}", self.change_user),
            Route("GET", "/cart", self.cart),
            Route("POST", "/cart/items", self.add_to_cart),
            Route("DELETE", "/cart/items/{item_id}", self.remove_from_cart),
            Route("POST", "/checkout", self.checkout),
            Route("POST", "/vouchers", self.voucher),
            Route("GET", "/account/orders", self.account_orders),
            Route("GET", "/v1/users", self.old_users, declared=False),
            Route("GET", "/debug/config", self.debug, declared=False),
        ]

    def login(self, request: Incoming) -> Any:
        # Hole: no limit on attempts.
        email, password = str(request.body.get("email", "")), str(request.body.get("password", ""))
        found = self._db.rows("SELECT * FROM users WHERE email = ? AND password_digest = ?", email, digest_of(password))
        if not found:
            raise RefusalError(401, "wrong e-mail or password")
        user, issued = found[0], int(time.time())
        roles = [] if user["role"] == "customer" else [user["role"]]
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user["id"],
            "email": user["email"],
            "iat": issued,
            "exp": issued + 3600,
            "roles": roles,
        }
        token = jwt.encode({"alg": "RS256", "kid": self._key.kid, "typ": "JWT"}, claims, self._key, algorithms=["RS256"])
        return {"access_token": token, "token_type": "Bearer", "expires_in": 3600}

    def products(self, request: Incoming) -> Any:
        page = request.number("page", 1, 100)
        category = request.query.get("category", "")
        sql = (
            "SELECT id, name, category, price FROM products WHERE hidden = 0 AND (category = ? OR ? = '') "
            "ORDER BY id LIMIT ? OFFSET ?"
        )
        found = self._db.rows(sql, category, category, _PER_PAGE, (page - 1) * _PER_PAGE)
        return {"page": page, "products": found}

    def search(self, request: Incoming) -> Any:
        text = request.query.get("q", "")
        try:
            return {"products": self._found(text)}
        except sqlite3.Error:
            # Somebody once "fixed" the crash on O'Neill so, and left the hole open for text that happens to be valid SQL.
            return {"products": self._found(text.replace("'", "''"))}

    def _found(self, text: str) -> list[dict[str, Any]]:
        # Hole: SQL injection, the demo's purpose.
        sql = f"SELECT id, name, category, price FROM products WHERE hidden = 0 AND name LIKE '%{text}%' LIMIT 50"  # noqa: S608
        return self._db.rows(sql)

    def product(self, request: Incoming) -> Any:
        return self._db.row(
            "SELECT id, name, category, price FROM products WHERE id = ? AND hidden = 0", request.params["product_id"]
        )

    def reviews(self, request: Incoming) -> Any:
        product = self.product(request)["id"]
        return {
            "reviews": self._db.rows(
                "SELECT author, stars, text, written FROM reviews WHERE product = ? ORDER BY id DESC LIMIT 10", product
            )
        }

    def review(self, request: Incoming) -> Any:
        user, product = self._record(request.user()["sub"]), self.product(request)["id"]
        stars, text = request.body.get("stars"), request.body.get("text")
        if not isinstance(stars, int) or not isinstance(text, str) or not 1 <= stars <= 5:
            raise RefusalError(400, "`stars` (1 to 5) and `text` are needed")
        sql = "INSERT INTO reviews (product, author, stars, text, written) VALUES (?, ?, ?, ?, ?)"
        self._db.change(sql, product, user["display_name"], stars, text[:2000], now())
        return Reply(201, {"product": product, "stars": stars})

    def me(self, request: Incoming) -> Any:
        return self._record(request.user()["sub"])

    def _record(self, user_id: str) -> dict[str, Any]:
        record = self._db.row(
            "SELECT id, email, display_name, phone, city, newsletter, role, credit FROM users WHERE id = ?", user_id
        )
        return {**record, "newsletter": bool(record["newsletter"])}

    def find_user(self, request: Incoming) -> Any:
        request.staff()
        found = self._db.rows("SELECT id, email, display_name FROM users WHERE email = ?", request.query.get("email", ""))
        return {"users": found}

    def user(self, request: Incoming) -> Any:
        if request.user()["sub"] != request.params["user_id"] and not request.is_staff():
            raise RefusalError(403, "not your profile")
        return self._record(request.params["user_id"])

    def change_user(self, request: Incoming) -> Any:
        if request.user()["sub"] != request.params["user_id"]:
            raise RefusalError(403, "not your profile")
        for name, value in request.body.items():
            if name not in _COLUMNS:
                raise RefusalError(400, f"there is no property `{name[:40]}`")
            if not isinstance(value, (str, int, float)):
                raise RefusalError(400, f"`{name}` must be a simple value")
            # Hole: mass assignment, `role` and `credit` are set like a phone number.
            self._db.change(f"UPDATE users SET {name} = ? WHERE id = ?", value, request.params["user_id"])  # noqa: S608 - one of _COLUMNS
        return self._record(request.params["user_id"])

    def cart(self, request: Incoming) -> Any:
        sql = (
            "SELECT cart.id AS item_id, product AS product_id, name, price, quantity "
            "FROM cart JOIN products ON products.id = product WHERE user = ? ORDER BY cart.id"
        )
        items = self._db.rows(sql, request.user()["sub"])
        return {"items": items, "total": round(sum(item["price"] * item["quantity"] for item in items), 2)}

    def add_to_cart(self, request: Incoming) -> Any:
        user, quantity = request.user()["sub"], request.body.get("quantity")
        if not isinstance(quantity, int) or not 1 <= quantity <= 20:
            raise RefusalError(400, "`quantity` must be 1 to 20")
        product = self._db.row("SELECT id FROM products WHERE id = ? AND hidden = 0", request.body.get("product_id"))
        item = self._db.change("INSERT INTO cart (user, product, quantity) VALUES (?, ?, ?)", user, product["id"], quantity)
        return Reply(201, {"item_id": item, "product_id": product["id"], "quantity": quantity})

    def remove_from_cart(self, request: Incoming) -> Any:
        user, item = request.user()["sub"], request.params["item_id"]
        self._db.row("SELECT id FROM cart WHERE id = ? AND user = ?", item, user)
        self._db.change("DELETE FROM cart WHERE id = ? AND user = ?", item, user)
        return Reply(204, b"")

    def checkout(self, request: Incoming) -> Any:
        cart = self.cart(request)
        if not cart["items"]:
            raise RefusalError(409, "the cart is empty")
        lines = [
            {"product_id": item["product_id"], "quantity": item["quantity"], "unit_price": item["price"]}
            for item in cart["items"]
        ]
        order = {"lines": lines, "address": request.body.get("address"), "note": request.body.get("note", "")}
        reply = self._upstreams.call("orders", "POST", "/orders", request.authorization, order)
        if reply.status == 201:
            self._db.change("DELETE FROM cart WHERE user = ?", request.user()["sub"])
        return reply

    def voucher(self, request: Incoming) -> Any:
        # Hole: support gives vouchers to customers who had bad luck; that it is support who asks is nowhere looked at.
        request.user()
        email, amount = str(request.body.get("email", "")), request.body.get("amount")
        if not isinstance(amount, (int, float)) or not 0 < amount <= 100:
            raise RefusalError(400, "`email` and `amount` (up to 100) are needed")
        self._db.row("SELECT id FROM users WHERE email = ?", email)
        self._db.change("UPDATE users SET credit = credit + ? WHERE email = ?", amount, email)
        return Reply(201, {"email": email, "amount": amount, "status": "credited"})

    def account_orders(self, request: Incoming) -> Any:
        request.user()
        page = urlencode({"page": request.number("page", 1, 1000)})
        return self._upstreams.call("orders", "GET", f"/orders?{page}", request.authorization)

    def old_users(self, request: Incoming) -> Any:
        # Hole: version 1 asked for a token and never looked at the role.
        request.user()
        return {"users": self._db.rows("SELECT id, email, display_name, phone, city, role FROM users ORDER BY email")}

    def debug(self, _: Incoming) -> Any:
        # Hole: left from development, open to everybody.
        return {
            "environment": "production",
            "database": {"host": "db.internal", "user": "shop", "password": DEBUG_SECRET},
            "workers": 4,
        }
