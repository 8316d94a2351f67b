"""Precision and recall of the data classes, per class, on messages made up from seeds: values of every class under the names and in the
places in which APIs carry them, beside near misses (order numbers, hashes, timestamps, UUIDs, telephone-like ids, versions, GTINs with
valid check digits, tracking numbers, product names, ...).

A hit counts when class and place are right. The last seed was never looked at while the rules were written; it is reported apart.
Values come from `Values`, which makes check digits by trial against the published specimen rules, not from the search itself.
"""

from __future__ import annotations

import json
import random
import string
import sys
import timeit
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import near_misses, report
from bench.decide_cost import SIZES, bodies
from eastwall.discovery import data_checks as checks
from eastwall.discovery.data_classes import BY_NAME, CLASSES, find
from eastwall.model.operation import Operation

SEEDS = (1, 2, 3)
HELD_OUT = 20_261_122
MESSAGES = 1_500
"""Per seed."""

FIRST = "Anna James Mary Łukasz José Chloé Wei Aisha Olga Ravi Björn Fatima John Priya Mette Yuki Kwame Sofia Liam Zoë Hans-Peter".split()
LAST = "Smith Kowalska García Müller O'Brien Nguyen Rossi Jensen van-Dijk Haddad Tanaka Okafor Silva Novák Andersson Brown Kaya Lee".split()
STREETS = ("Main Street", "Hauptstraße", "Rue de Lyon", "Via Roma", "Calle Mayor", "High Road", "Polna", "Elm Ave", "Kerkstraat")
CITIES = ("Berlin", "Warszawa", "Lyon", "Milano", "Leeds", "Springfield", "São Paulo", "Den Haag")
WORDS = "the order was shipped on time and customer asked to ring twice before delivery please check stock again thanks".split()
PRODUCTS = ("Espresso Machine", "Trail Shoe", "USB-C Cable", "Desk Lamp", "Oat Milk", "Wireless Mouse", "Garden Hose")


class Values:
    """Made-up values of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def digits(self, count: int, first: str = "0123456789") -> str:
        return self.random.choice(first) + "".join(self.random.choices(string.digits, k=count - 1))

    def until(self, make: Callable[[], str], check: Callable[[str], bool]) -> str:
        """Made anew until the check digits agree."""
        while True:
            value = make()
            if check(value):
                return value

    def letters(self, count: int, of: str = string.ascii_uppercase) -> str:
        return "".join(self.random.choices(of, k=count))

    def day(self, first: int = 1930, last: int = 2008) -> date:
        return date(first, 1, 1) + timedelta(days=self.random.randrange((last - first) * 365))

    # -- values

    def pan(self) -> str:
        prefix, size = self.random.choice(
            [("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16), ("3528", 16)]
        )
        number = self.until(lambda: prefix + self.digits(size - len(prefix)), checks.luhn)
        if size == 16 and self.random.random() < 0.4:
            return self.random.choice((" ", "-")).join(number[at : at + 4] for at in range(0, 16, 4))
        return number

    def ssn(self) -> str:
        area = self.random.choice([n for n in range(1, 900) if n != 666])
        return f"{area:03d}-{self.random.randrange(1, 100):02d}-{self.random.randrange(1, 10_000):04d}"

    def iban(self) -> str:
        country, size = self.random.choice(
            [("DE", 18), ("GB", 0), ("FR", 23), ("NL", 0), ("ES", 20), ("PL", 24), ("CH", 17), ("NO", 11)]
        )
        bban = {"GB": self.letters(4) + self.digits(14), "NL": self.letters(4) + self.digits(10)}.get(country) or self.digits(
            size
        )
        number = int("".join(str(int(c, 36)) for c in bban + country + "00"))
        text = f"{country}{98 - number % 97:02d}{bban}"
        return " ".join(text[at : at + 4] for at in range(0, len(text), 4)) if self.random.random() < 0.4 else text

    def email(self) -> str:
        name = self.random.choice(FIRST).lower().encode("ascii", "ignore").decode() or "x"
        return f"{name}{self.random.choice(('.', '_', '+', ''))}{self.random.randrange(1, 999)}@{self.random.choice(('example.org', 'mail.example.com', 'x-corp.co.uk'))}"

    def phone(self) -> str:
        return self.random.choice((
            lambda: f"+{self.random.choice(('1', '44', '49', '48', '33', '91'))}{self.digits(9, '123456789')}",
            lambda: f"+49 {self.digits(3, '123456789')} {self.digits(7)}",
            lambda: f"({self.digits(3, '23456789')}) {self.digits(3, '23456789')}-{self.digits(4)}",
            lambda: f"{self.digits(3, '23456789')}-{self.digits(3, '23456789')}-{self.digits(4)}",
        ))()  # fmt: skip

    def secret(self) -> str:
        alnum = string.ascii_letters + string.digits
        return self.random.choice((
            lambda: "AKIA" + self.letters(16, string.ascii_uppercase + "234567"),
            lambda: "ghp_" + self.letters(36, alnum),
            lambda: "xoxb-" + self.digits(12) + "-" + self.letters(16, alnum),
            lambda: "sk_live_" + self.letters(24, alnum),
            lambda: "-----BEGIN RSA PRIVATE KEY-----\n" + self.letters(64, alnum) + "\n-----END RSA PRIVATE KEY-----",
            lambda: f"postgres://app:{self.letters(14, alnum)}@db.internal:5432/shop",
        ))()  # fmt: skip

    def named_secret(self) -> str:
        return self.letters(self.random.choice((24, 32, 40)), string.ascii_letters + string.digits)

    def wallet(self) -> str:
        if self.random.random() < 0.5:
            return "0x" + self.letters(40, "0123456789abcdefABCDEF")
        from hashlib import sha256

        data = b"\0" + self.random.randbytes(20)
        number = int.from_bytes(data + sha256(sha256(data).digest()).digest()[:4], "big")
        text = ""
        while number:
            number, rest = divmod(number, 58)
            text = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[rest] + text
        return "1" + text

    def ipv4(self) -> str:
        return ".".join(str(self.random.randrange(1, 255)) for _ in range(4)).replace("127.", "126.", 1)

    def ipv6(self) -> str:
        return "2001:db8:" + ":".join(f"{self.random.randrange(4096, 65536):x}" for _ in range(6))

    def mrz(self) -> str:
        def checked(field: str) -> str:
            return field + next(d for d in string.digits if checks.mrz_digit(field, d))

        birth, expiry = self.day().strftime("%y%m%d"), self.day(2027, 2035).strftime("%y%m%d")
        return f"{checked(self.letters(2) + self.digits(7))}UTO{checked(birth)}{self.random.choice('MF')}{checked(expiry)}{'<' * 14}0{self.digits(1)}"

    def sentence(self) -> str:
        return " ".join(self.random.choices(WORDS, k=self.random.randrange(4, 12)))


def national(values: Values) -> tuple[str, str]:
    """(field name, value) of a national id."""
    v, r = values, values.random
    yymmdd = v.day().strftime("%y%m%d")
    ddmmyy = v.day().strftime("%d%m%y")
    made: list[tuple[str, Callable[[], str]]] = [
        ("nino", lambda: f"{v.letters(1, 'ABCEGHJKLMNPRSTWXYZ')}{v.letters(1, 'ABCEHJKLMPRSTWXYZ')}{v.digits(6)}{r.choice('ABCD')}".replace("GB", "AB").replace("TN", "AB")),
        ("steuerId", lambda: v.until(lambda: v.digits(11, "123456789"), checks.de_tax_id)),
        ("numero_secu", lambda: (lambda n: f"{n}{97 - int(n) % 97:02d}")(r.choice("12") + yymmdd[:4] + f"{r.randrange(1, 96):02d}" + v.digits(6))),
        ("dni", lambda: (lambda n: n + "TRWAGMYFPDXBNJZSQVHLCKE"[int(n) % 23])(v.digits(8))),
        ("codice_fiscale", lambda: v.until(lambda: f"{v.letters(6)}{yymmdd[:2]}{r.choice('ABCDEHLMPRST')}{r.randrange(1, 32):02d}{v.letters(1)}{v.digits(3)}{v.letters(1)}", checks.it_codice_fiscale)),
        ("bsn", lambda: v.until(lambda: v.digits(9), checks.nl_bsn)),
        ("pesel", lambda: v.until(lambda: yymmdd + v.digits(5), checks.pl_pesel)),
        ("personnummer", lambda: v.until(lambda: f"{yymmdd}-{v.digits(4)}", lambda t: checks.se_personnummer(t.replace("-", "")))),
        ("ahvNummer", lambda: v.until(lambda: f"756.{v.digits(4)}.{v.digits(4)}.{v.digits(2)}", lambda t: checks.ch_ahv(t.replace(".", "")))),
        ("cpf", lambda: v.until(lambda: f"{v.digits(3)}.{v.digits(3)}.{v.digits(3)}-{v.digits(2)}", lambda t: checks.br_cpf(t.replace(".", "").replace("-", "")))),
        ("cnpj", lambda: v.until(lambda: f"{v.digits(8)}0001{v.digits(2)}", checks.br_cnpj)),
        ("aadhaarNumber", lambda: v.until(lambda: v.digits(12, "23456789"), checks.in_aadhaar)),
        ("pan_card", lambda: f"{v.letters(3)}P{v.letters(1)}{v.digits(4)}{v.letters(1)}"),
        ("sin", lambda: v.until(lambda: v.digits(9, "1234567"), checks.luhn)),
        ("tfn", lambda: v.until(lambda: v.digits(9), checks.au_tfn)),
        ("sa_id", lambda: v.until(lambda: f"{yymmdd}{v.digits(4)}08{v.digits(1)}", checks.za_id)),
        ("residentId", lambda: v.until(lambda: f"110105{v.day().strftime('%Y%m%d')}{v.digits(3)}{r.choice('0123456789X')}", checks.mod11_2)),
        ("fodselsnummer", lambda: v.until(lambda: ddmmyy + v.digits(5), checks.no_fodselsnummer)),
        ("nationalId", lambda: v.until(lambda: yymmdd + v.digits(5), checks.pl_pesel)),
        ("curp", lambda: v.until(lambda: f"{v.letters(4)}{yymmdd}H{v.letters(5)}0{v.digits(1)}", checks.mx_curp)),
    ]  # fmt: skip
    name, make = r.choice(made)
    return name, make()


def positive(values: Values) -> tuple[str, str, Any, str]:
    """(class, field name, value, object it stands in)."""
    v, r = values, values.random
    data_class = r.choice(CLASSES)
    person, born = f"{r.choice(FIRST)} {r.choice(LAST)}", v.day()
    plain = r.choice(("value", "text", "data", "content", "comment", "field1", "x"))
    around = (lambda text: f"{v.sentence()} {text}, {v.sentence()}") if r.random() < 0.3 else (lambda text: text)
    match data_class:
        case "pan":
            return data_class, r.choice((plain, "card", "cardNumber")), around(v.pan()), ""
        case "ssn":
            value = v.ssn()
            return (data_class, "ssn", value.replace("-", ""), "") if r.random() < 0.4 else (data_class, plain, around(value), "")
        case "iban":
            return data_class, r.choice((plain, "iban")), around(v.iban()), ""
        case "email":
            return data_class, r.choice((plain, "contact", "mail", "email")), around(v.email()), ""
        case "phone":
            if r.random() < 0.4:
                return data_class, r.choice(("phone", "mobileNumber", "tel", "customer_phone")), v.digits(10, "23456789"), ""
            return data_class, r.choice((plain, "phone")), around(v.phone()), ""
        case "secret":
            if r.random() < 0.4:
                return (
                    data_class,
                    r.choice(("aws_secret_access_key", "apiKey", "clientSecret", "refresh_token")),
                    v.named_secret(),
                    "",
                )
            return data_class, plain, around(v.secret() if r.random() < 0.3 else near_misses.secret(r)), ""
        case "national-id":
            name, value = national(v)
            return data_class, name, value, ""
        case "passport":
            if r.random() < 0.4:
                return data_class, plain, v.mrz(), ""
            return data_class, r.choice(("passport", "passportNumber", "reisepass")), v.letters(1) + v.digits(8), ""
        case "driver-license":
            return (
                data_class,
                r.choice(("driverLicense", "driving_licence_no", "rijbewijs", "dl_number")),
                v.letters(1) + v.digits(9),
                "",
            )
        case "health-id":
            kind = r.randrange(4)
            if kind == 0:
                number = v.until(lambda: v.digits(10, "46"), checks.nhs_number)
                return data_class, "nhsNumber", f"{number[:3]} {number[3:6]} {number[6:]}" if r.random() < 0.5 else number, ""
            if kind == 1:
                return data_class, "npi", v.until(lambda: v.digits(10, "12"), checks.us_npi), ""
            if kind == 2:
                letters = "ACDEFGHJKMNPQRTUVWXY"
                return (
                    data_class,
                    plain,
                    f"1{v.letters(1, letters)}{v.digits(2)}-{v.letters(1, letters)}{v.digits(2)}-{v.letters(2, letters)}{v.digits(2)}",
                    "",
                )
            return data_class, r.choice(("mrn", "medicalRecordNumber")), f"MRN{v.digits(7)}", ""
        case "diagnosis":
            return (
                data_class,
                r.choice(("icd10", "diagnosisCode", "dx")),
                f"{v.letters(1, 'ABCDEFGHIJKLMN')}{v.digits(2)}.{v.digits(1)}",
                "",
            )
        case "date-of-birth":
            form = r.choice(("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y%m%d", "%Y-%m-%dT00:00:00Z"))
            return (
                data_class,
                r.choice(("dob", "birthDate", "date_of_birth", "geburtsdatum", "fechaNacimiento")),
                born.strftime(form),
                "",
            )
        case "person-name":
            if r.random() < 0.3:
                return data_class, "name", person, r.choice(("user", "customer", "patient", "assignee"))
            name, value = r.choice(
                (
                    ("firstName", person.split()[0]),
                    ("last_name", person.split()[1]),
                    ("fullName", person),
                    ("nachname", person.split()[1]),
                    ("cardholder_name", person.upper()),
                )
            )
            return data_class, name, value, ""
        case "address":
            if r.random() < 0.4:
                return data_class, r.choice(("line1", "street", "city")), r.choice(CITIES), "address"
            return (
                data_class,
                r.choice(("street", "shippingAddress", "addressLine1", "anschrift", "postal_address")),
                f"{r.choice(STREETS)} {r.randrange(1, 300)}",
                "",
            )
        case "geo":
            if r.random() < 0.3:
                return (
                    data_class,
                    r.choice(("geo", "coordinates", "gps")),
                    f"{r.uniform(-80, 80):.5f}, {r.uniform(-170, 170):.5f}",
                    "",
                )
            return data_class, r.choice(("lat", "longitude", "latitude", "lng")), round(r.uniform(-80, 80), 5) or 1.23456, ""
        case "ip-address":
            return data_class, r.choice(("ip", "clientIp", "remote_addr", plain)), v.ipv4() if r.random() < 0.7 else v.ipv6(), ""
        case "bank-account":
            kind = r.randrange(3)
            if kind == 0:
                return data_class, r.choice(("routingNumber", "aba")), v.until(lambda: v.digits(9, "01"), checks.aba_routing), ""
            if kind == 1:
                return (
                    data_class,
                    r.choice(("bic", "swift_code")),
                    f"{v.letters(4)}{r.choice(('DE', 'GB', 'FR', 'US'))}{v.letters(2, 'ABCDFM2')}",
                    "",
                )
            return data_class, r.choice(("bankAccountNumber", "kontonummer")), v.digits(10), ""
        case "credential":
            return (
                data_class,
                *r.choice(
                    (
                        ("password", v.letters(10, string.ascii_letters + "0123456789!#")),
                        ("cvv", v.digits(3)),
                        ("pin", v.digits(4)),
                        ("newPassword", "correct-horse-9"),
                    )
                ),
                "",
            )
        case "crypto-wallet":
            return data_class, r.choice((plain, "wallet", "to")), v.wallet(), ""
    raise AssertionError(data_class)


def negative(values: Values) -> tuple[str, Any]:
    """(field name, value) of a near miss."""
    v, r = values, values.random
    if r.random() < 0.6:
        return near_misses.misses(r)
    when = 1_600_000_000 + r.randrange(200_000_000)
    gtin = v.until(lambda: v.digits(13), checks.ean13)
    made: list[tuple[tuple[str, ...], Callable[[], Any]]] = [
        (("order_number", "orderNo", "reference", "external_ref"), lambda: r.choice((v.digits(16, "123456789"), v.digits(15, "123456789"), v.digits(9, "123456789"), v.digits(12, "123456789"), f"{v.digits(3)}-{v.digits(7)}-{v.digits(7)}", f"{v.day(2020, 2026).strftime('%Y%m%d')}-{v.digits(4)}"))),
        (("id", "order_id", "parentId"), lambda: r.randrange(10**6, 10**10)),
        (("invoice", "ticket"), lambda: f"INV-{v.digits(8)}"),
        (("timestamp", "created_at", "ts"), lambda: r.choice((when, when * 1000, str(when * 1000), when * 10**6))),
        (("updated", "created", "expires"), lambda: v.day(2020, 2027).strftime("%Y-%m-%dT12:30:15.123Z")),
        (("uuid", "requestId", "trace"), lambda: str(uuid.UUID(int=r.getrandbits(128), version=4))),
        (("sha256", "hash", "etag", "digest"), lambda: v.letters(r.choice((32, 40, 64)), "0123456789abcdef")),
        (("version", "build", "firmware"), lambda: f"{r.randrange(9)}.{r.randrange(20)}.{r.randrange(200)}.{r.randrange(99)}"),
        (("gtin", "ean", "barcode"), lambda: gtin),
        (("sku", "part"), lambda: f"{v.letters(2)}{v.digits(6)}{v.letters(1)}"),
        (("tracking_number", "trackingNo"), lambda: r.choice((f"1Z{v.letters(6)}{v.digits(10)}", v.digits(12), v.digits(20), f"{v.letters(2)}{v.digits(9)}GB"))),
        (("isbn",), lambda: f"978-{v.digits(1)}-{v.digits(5)}-{v.digits(3)}-{v.digits(1)}"),
        (("imei",), lambda: v.until(lambda: "35" + v.digits(13), checks.luhn)),
        (("name", "title", "productName"), lambda: r.choice(PRODUCTS)),
        (("note", "description", "summary"), lambda: f"{v.sentence()} {v.digits(r.choice((4, 6, 8)))} {v.sentence()}"),
        (("handle", "twitter"), lambda: "@" + r.choice(LAST).lower()),
        (("url", "link"), lambda: f"https://user@example.org/{v.digits(9)}"),
        (("price", "amount", "balance"), lambda: round(r.uniform(1, 9_999), 2)),
        (("serial", "serialNumber"), lambda: v.letters(3) + v.digits(9)),
        (("company_name", "file_name", "hostname"), lambda: r.choice(("ACME GmbH", "report-2026.pdf", "db-01.internal"))),
        (("passwordPolicy", "password_changed_at", "token_type"), lambda: r.choice(("strict", "2026-01-02", "bearer"))),
        (("email_verified", "phone_verified", "has_address"), lambda: r.choice((True, False))),
        (("address_type", "addressId", "email_address_id"), lambda: r.choice(("home", r.randrange(10**6)))),
        (("mac_address", "mac"), lambda: ":".join(v.letters(2, "0123456789abcdef") for _ in range(6))),
        (("password", "client_secret"), lambda: r.choice(("********", "[redacted]", "${PASSWORD}"))),
        (("page_token", "nextPageToken"), lambda: v.letters(32, string.ascii_letters + string.digits)),
        (("status", "currency", "language"), lambda: r.choice(("active", "EUR", "pl", "PENDING"))),
        (("platform", "category", "flat", "translate"), lambda: r.choice((12.5123, "linux", "tools"))),
        (("grouped", "code"), lambda: r.choice((f"{v.digits(4)}-{v.digits(4)}-{v.digits(4)}", f"{v.digits(4)} {v.digits(4)} {v.digits(4)}", v.letters(3) + "-" + v.digits(5), f"{v.digits(8)}{v.letters(1)}"))),
        (("birth_certificate_url", "birthplace_id", "dobby"), lambda: r.choice(("https://x.example/1", "77", "elf"))),
        (("range", "oid"), lambda: r.choice(("1.3.6.1.4.1", "10.0.0.0-10.0.0.9", "4.10.2"))),
        (("repository", "ssh_url"), lambda: f"git@github.com:{r.choice(LAST).lower()}/app.git"),
        (("gasCost", "totalBytes", "amount_minor"), lambda: int(v.digits(r.choice((9, 15, 16)), "3456"))),
        (("full_name", "display_name"), lambda: r.choice(("acme/web-shop", "Trail Shoe 42", "v2.1 (beta)"))),
        (("contract_address", "server_address", "memory_address"), lambda: r.choice(("0x7ffd3a", "tcp://10-0-0-1", "unix:/run/x"))),
        (("address",), lambda: r.choice(("0x1f", "https://x.example", "4fb45889cd2d3348348e39c613c41bf1dc43760a"))),
        (("transaction", "txid", "receipt"), lambda: r.choice((v.letters(64, "0123456789abcdef"), v.letters(34, string.ascii_letters + string.digits), "R" + v.digits(33)))),
        (("batch", "lot", "run_id"), lambda: r.choice((f"{v.letters(2)}{v.digits(2)}{v.letters(4)}{v.digits(14)}", f"{v.letters(6)}{v.digits(2)}{v.letters(1)}{v.digits(2)}{v.letters(1)}{v.digits(3)}{v.letters(1)}", v.digits(18), v.digits(11)))),
        (("message", "log"), lambda: r.choice((f"ticket {v.digits(3)}-{v.digits(4)} of {v.digits(9)} closed", "at 12:30:15 on 2026-01-02 node::start()", f"call #{v.digits(10)} failed after 12.5.1.0", "the password is wrong", "phone: none, passport: no", f"took {v.digits(3)}.{v.digits(3)}.{v.digits(3)} ms"))),
        (("errors",), lambda: {"email": "must be an address", "password": "is too short", "dob": "2026-13-01 is no date"}),
        (("card_type", "cardLast4", "masked_card"), lambda: r.choice(("visa", v.digits(4), "411111******1111"))),
        (("account_id", "customer_id", "patientCount"), lambda: r.choice((v.digits(10), 12, "cus_" + v.letters(14, string.ascii_letters)))),
        (("shipping_method", "pinned", "spinner", "opinion"), lambda: r.choice(("express", True, "dots", "good 1234"))),
    ]  # fmt: skip
    names, make = r.choice(made)
    return r.choice(names), make()


def message(values: Values) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """A JSON body and what is in it: (class, place)."""
    body: dict[str, Any] = {}
    truth: set[tuple[str, str]] = set()
    for _ in range(values.random.randrange(1, 4)):
        data_class, name, value, around = positive(values)
        if around:
            inner = body.setdefault(around, {})
            if isinstance(inner, dict) and name not in inner:
                inner[name] = value
                truth.add((data_class, f"{around}.{name}"))
        elif name not in body:
            body[name] = value
            truth.add((data_class, name))
    details: dict[str, Any] = {}
    for _ in range(values.random.randrange(2, 8)):
        name, value = negative(values)
        if name not in body:
            details[name] = value
    body["details"] = details
    return body, truth


def measure(seeds: tuple[int, ...], messages: int = MESSAGES, errors: list[str] | None = None) -> dict[str, dict[str, int]]:
    """Per class: `right`, `wrong` (reported, not there), `missed`."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in CLASSES}
    for seed in seeds:
        values = Values(seed)
        for _ in range(messages):
            body, truth = message(values)
            raw = json.dumps(body, ensure_ascii=False).encode()
            operation = Operation("rest", "POST", ("things",), "/things", body=body, body_kind="json", raw_body=raw)
            found = {(hit.data_class, hit.place) for hit in find(operation)}
            for name, place in found | truth:
                kind = "right" if (name, place) in found & truth else "wrong" if (name, place) in found else "missed"
                counts[name][kind] += 1
                if errors is not None and kind != "right":
                    errors.append(f"{kind} {name} at {place}: {json.dumps(_at(body, place), ensure_ascii=False)[:100]}")
    return {name: dict(count) for name, count in counts.items()}


def _at(body: Any, place: str) -> Any:
    for step in place.split("."):
        body = body.get(step) if isinstance(body, dict) else None
    return body


def customer(values: Values) -> dict[str, Any]:
    """A customer as an API gives it, half a kilobyte of JSON."""
    v, r = values, values.random
    first, last, street = r.choice(FIRST), r.choice(LAST), f"{r.choice(STREETS)} {r.randrange(300)}"
    return {
        "id": r.randrange(10**6), "firstName": first, "lastName": last, "email": v.email(), "phone": f"+48 {v.digits(3, '56')} {v.digits(6)}",
        "status": "active", "created": "2026-03-01T12:00:00Z", "language": "pl", "marketing": False, "tags": ["vip", "eu"],
        "address": {"street": street, "city": r.choice(CITIES), "postalCode": f"{v.digits(2)}-{v.digits(3)}", "country": "PL"},
        "billing": {"name": f"{first} {last}", "street": street, "city": r.choice(CITIES)}, "orders": 14, "balance": 120.55,
        "currency": "PLN", "loyalty": {"tier": "gold", "points": 1820}, "preferences": {"newsletter": True, "channel": "email"},
    }  # fmt: skip


def costs() -> dict[str, float]:
    """Microseconds of `find` on one message, warm: the least of many rounds, since other work only ever adds."""

    def least(operations: list[Operation], skip: frozenset[str] = frozenset()) -> float:
        repeat = 30 if len(operations) > 1 else 300
        times = [min(timeit.repeat(lambda one=one: find(one, skip=skip), number=5, repeat=repeat)) / 5 for one in operations]  # type: ignore[misc]
        return sum(times) / len(times) * 1e6

    def posted(body: Any) -> Operation:
        raw = json.dumps(body, ensure_ascii=False).encode()
        return Operation("rest", "POST", ("things",), "/things", body=body, body_kind="json", raw_body=raw)

    found = {f"clean order, {name} KB": least([posted(json.loads(bodies(size)[0]))]) for name, size in SIZES.items()}
    values = Values(1)
    people = [posted(customer(values)) for _ in range(200)]
    found["customer, 0.5 KB, all classes"] = least(people)
    found["customer, 0.5 KB, without those that names alone tell"] = least(people, BY_NAME)
    return found


def scores(count: dict[str, int]) -> tuple[float, float]:
    """(precision, recall)"""
    right, wrong, missed = (count.get(kind, 0) for kind in ("right", "wrong", "missed"))
    return right / max(right + wrong, 1), right / max(right + missed, 1)


def table(figures: dict[str, dict[str, dict[str, int]]]) -> Table:
    shown = Table("class", "values", "precision", "recall", "held-out values", "precision", "recall", box=None)
    for name in CLASSES:
        row = [name]
        for part in ("seeds", "held out"):
            count = figures[part][name]
            precision, recall = scores(count)
            row += [str(count.get("right", 0) + count.get("missed", 0)), f"{precision:.3f}", f"{recall:.3f}"]
        shown.add_row(*row)
    totals = ["all"]
    for part in ("seeds", "held out"):
        whole = Counter[str]()
        for count in figures[part].values():
            whole.update(count)
        precision, recall = scores(whole)
        totals += [str(whole["right"] + whole["missed"]), f"{precision:.3f}", f"{recall:.3f}"]
    shown.add_row(*totals)
    return shown


if __name__ == "__main__":
    if sys.argv[1:] == ["--errors"]:  # of the seeds alone: the held-out one is not to be looked at
        errors: list[str] = []
        measure(SEEDS, errors=errors)
        for line, times in Counter(line.partition(":")[0] for line in errors).most_common(40):
            print(times, line, next(error.partition(": ")[2] for error in errors if error.startswith(line + ":")))
    else:
        seen = {"seeds": measure(SEEDS), "held out": measure((HELD_OUT,))}
        spent = costs()
        worst = {part: min(min(scores(count)) for count in counts.values()) for part, counts in seen.items()}
        Console(width=120).print(table(seen), *(f"{us:8.1f} us  {name}" for name, us in spent.items()), sep="\n")
        targets = [
            report.target(f"least precision and recall of a class, {part}", ">= 0.95", least, least >= 0.95)
            for part, least in worst.items()
        ]
        name = "customer, 0.5 KB, all classes"
        targets.append(report.target(f"us, {name}", "<= 25", spent[name], spent[name] <= 25))
        print(report.write("data_classes", {"classes": seen, "us": spent}, targets))
