"""What only looks like sensitive data, and secrets of the common kinds: families for `data_classes`, apart from its own generator.

Each family is an identifier or text with a public format; where the format has a check digit, it holds (an EAN is a real EAN), and where
a number passes a check of ours by chance (one in ten passes Luhn), it is left as it comes: that is what makes it a near miss.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from typing import Any

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
UNRESERVED = ALNUM + "_-"
NEUTRAL = ("value", "data", "x", "field2", "content")


def text(r: random.Random, size: int, of: str = string.digits) -> str:
    return "".join(r.choices(of, k=size))


def luhn_digit(number: str) -> str:
    """The digit that makes the number one that Luhn's check agrees to."""
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def gs1_digit(number: str) -> str:
    return str(-sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(number))) % 10)


def _isbn10(r: random.Random) -> str:
    number = text(r, 9)
    rest = -sum(int(digit) * weight for digit, weight in zip(number, range(10, 1, -1), strict=True)) % 11
    return number + ("X" if rest == 10 else str(rest))


def _gtin(r: random.Random, size: int) -> str:
    number = text(r, size - 1)
    return number + gs1_digit(number)


def _imei(r: random.Random) -> str:
    number = r.choice(("35", "86", "01")) + text(r, 12)
    return number + luhn_digit(number)


def _order(r: random.Random) -> Any:
    number = r.choice("23456") + text(r, r.choice((12, 13, 14, 15, 17)))
    return number + luhn_digit(number)


def _jwt_like(r: random.Random) -> str:
    made = base64.urlsafe_b64encode(json.dumps({"page": r.randrange(99), "after": text(r, 8)}).encode()).decode()
    return r.choice(
        (made, made.rstrip("="), "eyJ" + text(r, 40, UNRESERVED), f"{text(r, 20, UNRESERVED)}.{text(r, 30, UNRESERVED)}")
    )


def _png(r: random.Random) -> str:
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + r.randbytes(400)).decode()


def misses(r: random.Random) -> tuple[str, Any]:
    """(field name, value) of something that is no sensitive data."""
    when = 1_600_000_000 + r.randrange(200_000_000)
    families: list[tuple[tuple[str, ...], Callable[[], Any]]] = [
        (("ean", "gtin", "barcode", "upc", *NEUTRAL), lambda: _gtin(r, r.choice((8, 12, 13, 14)))),
        (("isbn", *NEUTRAL), lambda: r.choice((_isbn10(r), "978" + text(r, 9) + "0", f"978-{text(r, 1)}-{text(r, 2)}-{text(r, 6)}-{text(r, 1)}", f"0-{text(r, 3)}-{text(r, 5)}-{text(r, 1)}"))),
        (("tracking", "tracking_number", "parcel", *NEUTRAL), lambda: r.choice((f"1Z{text(r, 6, CROCKFORD)}{text(r, 10)}", f"R{text(r, 1, string.ascii_uppercase)}{text(r, 9)}CN", f"JJD{text(r, 18)}", f"9400 1{text(r, 3)} {text(r, 4)} {text(r, 4)} {text(r, 4)} {text(r, 2)}", f"7{text(r, 11)}"))),
        (("vin", *NEUTRAL), lambda: "W" + text(r, 16, "ABCDEFGHJKLMNPRSTUVWXYZ0123456789")),
        (("mac", "bssid", *NEUTRAL), lambda: r.choice((":", "-")).join(text(r, 2, HEX) for _ in range(r.choice((6, 8))))),
        (("commit", "sha", "revision", *NEUTRAL), lambda: text(r, r.choice((7, 12, 40)), HEX)),
        (("digest", "integrity", *NEUTRAL), lambda: r.choice(("sha256:" + text(r, 64, HEX), "sha512-" + base64.b64encode(r.randbytes(64)).decode(), text(r, 32, HEX)))),
        (("id", "ulid", "event", *NEUTRAL), lambda: r.choice(("01" + text(r, 24, CROCKFORD), text(r, 21, UNRESERVED), text(r, 27, ALNUM), "c" + text(r, 24, string.ascii_lowercase + string.digits), text(r, 24, HEX)))),
        (("id", "snowflake", "user_id", "message_id"), lambda: r.choice((str((when - 1_420_070_400) * 1000 << 22 | r.getrandbits(22)), "178" + text(r, 14), "1000" + text(r, 11)))),
        (("ts", "at", "since", "until", "nonce"), lambda: r.choice((when * 1000, when * 10**6, when * 10**9, str(when * 1000), str(when * 10**6), f"{when}.{text(r, 6)}"))),
        (("imei", "device", *NEUTRAL), lambda: _imei(r)),
        (("iccid", "sim"), lambda: (lambda n: n + luhn_digit(n))("89" + text(r, r.choice((16, 17))))),
        (("code", "word", *NEUTRAL), lambda: r.choice(("DELIVERY", "ABSOLUTE", "PAYMENTS", "BARCODES", "ORDERING", "SHIPPING", "ACCEPTED", "COMPLETEDXX"))),
        (("order_number", "orderRef", "invoice_no", "shipment_id", "booking_reference", "case_number", "transaction_reference"), lambda: _order(r)),
        (("order_number", "ticket", "ticketId", "case_no", "caseRef"), lambda: f"{text(r, 1, '23456789')}{text(r, 2)}-{text(r, 1, '23456789')}{text(r, 2)}-{text(r, 4)}"),
        (("part_number", "sku", "model", "article_no"), lambda: f"{text(r, 1, '12345678')}{text(r, 2)}-{text(r, 1, '123456789')}{text(r, 1)}-{text(r, 3)}{text(r, 1, '123456789')}"),
        (("cursor", "next", "state", *NEUTRAL), lambda: _jwt_like(r)),
        (("image", "avatar", "thumbnail", *NEUTRAL), lambda: _png(r)),
        (("color", "background", *NEUTRAL), lambda: "#" + text(r, r.choice((3, 6, 8)), HEX)),
        (("version", "release", *NEUTRAL), lambda: f"{r.randrange(20)}.{r.randrange(20)}.{r.randrange(999)}{r.choice(('', '-rc.1', '+build.20260311', '-beta.2+exp.sha.5114f85'))}"),
        (("origin", "transform", "bounds", "viewBox"), lambda: r.choice((f"{r.uniform(-90, 90):.5f},{r.uniform(-90, 90):.5f}", [round(r.uniform(0, 99), 4) for _ in range(4)], f"0 0 {text(r, 3)} {text(r, 3)}"))),
        (("license_key", "product_key", "serial", "activation"), lambda: "-".join(text(r, 5, string.ascii_uppercase + string.digits) for _ in range(5))),
        (("icon", "asset", "file", *NEUTRAL), lambda: r.choice(("logo@2x.png", "hero@3x.webp", "sprite@1.5x.jpg", "@scope/package@1.2.3", "lodash@4.17.21", "user@localhost", "alice@", "@alice", "a@b"))),
        (("arn", "resource", *NEUTRAL), lambda: f"arn:aws:iam::{text(r, 12)}:role/{r.choice(('app', 'reader'))}"),
        (("vat", "company_vat", *NEUTRAL), lambda: r.choice(("DE", "FR", "PL", "ATU")) + text(r, r.choice((8, 9, 10)))),
        (("note", "comment", "log"), lambda: r.choice((f"see section 4.{r.randrange(1, 20)}.{r.randrange(9)} of the manual", f"released v{r.randrange(1, 9)}.{r.randrange(20)}.{r.randrange(20)}.{r.randrange(99)}", f"at {r.randrange(10, 23)}:{r.randrange(10, 59)}:{r.randrange(10, 59)} node {text(r, 4, HEX)}", f"open 2026-01-{r.randrange(10, 28)} 2026-02-{r.randrange(10, 28)}", f"total 1.{text(r, 3)}.{text(r, 3)},{text(r, 2)} EUR", f"the password for {text(r, 3)} users was reset", "your token: none", f"error 0x{text(r, 8, HEX)} at line {text(r, 4)}", f"ticket #{text(r, 3)}-{text(r, 4)}", f"{text(r, 3)}.{text(r, 3)}.{text(r, 3)} bytes"))),
        (("password_hint", "passwordExpiresAt", "tokenType", "secret_name", "api_key_id", "key"), lambda: r.choice(("orders.title", "prod/db/main", "bearer", "2026-01-02T00:00:00Z", "pet"))),
        (("public_key", "fingerprint", "certificate"), lambda: r.choice(("ssh-rsa " + base64.b64encode(r.randbytes(90)).decode(), ":".join(text(r, 2, HEX) for _ in range(20)), "-----BEGIN CERTIFICATE-----\nMIIB" + text(r, 60, ALNUM) + "\n-----END CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----\n" + text(r, 60, ALNUM) + "\n-----END PUBLIC KEY-----"))),
        (("url", "link", "repository"), lambda: r.choice((f"https://example.org/a/{text(r, 16)}", f"https://example.org:8443/x?id={text(r, 9)}", "postgres://db.internal:5432/shop", "redis://cache:6379/0", "https://user@example.org/a", "git@github.com:acme/app.git", "mongodb://${USER}:${PASSWORD}@db/shop", f"https://example.org/@{text(r, 5, string.ascii_lowercase)}/post"))),
        (("score", "checksum", "quantity"), lambda: r.choice((int(text(r, 16, "456")), float(f"4{text(r, 12)}.{text(r, 2)}")))),
        (("stripe", "customer", "charge"), lambda: r.choice(("cus_", "ch_", "pi_", "price_", "prod_", "evt_")) + text(r, 24, ALNUM)),
        (("stripe_key", "publishable"), lambda: r.choice(("pub_", "pkg_")) + text(r, 24, ALNUM)),
    ]  # fmt: skip
    names, make = r.choice(families)
    return r.choice(names), make()


def secret(r: random.Random) -> str:
    """A secret of a kind with a published form."""
    claims = base64.urlsafe_b64encode(json.dumps({"sub": text(r, 6), "exp": 1_800_000_000}).encode()).decode().rstrip("=")
    password = text(r, 12, ALNUM)
    kinds: list[Callable[[], str]] = [
        lambda: r.choice(("AKIA", "ASIA")) + text(r, 16, string.ascii_uppercase + "234567"),
        lambda: "AIza" + text(r, 35, UNRESERVED),
        lambda: "GOCSPX-" + text(r, 28, UNRESERVED),
        lambda: "ya29." + text(r, 60, UNRESERVED),
        lambda: r.choice(("ghp_", "gho_", "ghs_")) + text(r, 36, ALNUM),
        lambda: f"github_pat_{text(r, 22, ALNUM)}_{text(r, 59, ALNUM)}",
        lambda: r.choice(("glpat-", "gldt-", "glrt-")) + text(r, 20, UNRESERVED),
        lambda: f"xoxb-{text(r, 12)}-{text(r, 12)}-{text(r, 24, ALNUM)}",
        lambda: f"https://hooks.slack.com/services/T{text(r, 8, CROCKFORD)}/B{text(r, 8, CROCKFORD)}/{text(r, 24, ALNUM)}",
        lambda: r.choice(("sk_live_", "rk_live_", "sk_test_")) + text(r, 24, ALNUM),
        lambda: "whsec_" + text(r, 32, ALNUM),
        lambda: f"SG.{text(r, 22, UNRESERVED)}.{text(r, 43, UNRESERVED)}",
        lambda: "npm_" + text(r, 36, ALNUM),
        lambda: f"{text(r, 9, '123456789')}:AA{text(r, 33, UNRESERVED)}",
        lambda: "dapi" + text(r, 32, HEX),
        lambda: f"key-{text(r, 32, HEX)}",
        lambda: "sk-proj-" + text(r, 48, ALNUM),
        lambda: "glsa_" + text(r, 32, ALNUM) + "_" + text(r, 8, HEX),
        lambda: f"eyJhbGciOiJSUzI1NiJ9.{claims}.{text(r, 86, UNRESERVED)}",
        lambda: f"-----BEGIN {r.choice(('RSA ', 'EC ', 'OPENSSH ', ''))}PRIVATE KEY-----\n{text(r, 64, ALNUM)}\n-----END PRIVATE KEY-----",
        lambda: f"{r.choice(('postgres', 'mysql', 'mongodb+srv', 'amqp', 'postgresql+asyncpg'))}://app:{password}@db.internal:5432/shop",
        lambda: f"redis://:{password}@cache:6379/0",
        lambda: f"https://deploy:{password}@git.example.org/app.git",
        lambda: f"DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={base64.b64encode(r.randbytes(64)).decode()};EndpointSuffix=core.windows.net",
    ]  # fmt: skip
    return r.choice(kinds)()
