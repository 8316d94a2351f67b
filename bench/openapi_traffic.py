"""Traffic drawn from published OpenAPI documents, as hard as life: what `bench.discovery` feeds the discovery.

Parameter values come from pools with a heavy head and a long tail, and the pool of a collection is one: the list, the
detail and the children of `orders` show the same ids. Operations are skewed down to a single call. Kinds of ids are mixed,
many look like words. Real routes answer 401, 404 and 3xx now and then, junk sometimes answers 200, and scanners knock.
"""

from __future__ import annotations

import json
import math
import random
import re
import string
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
DOCUMENTS_PER_PROVIDER = 3
OPERATIONS_PER_DOCUMENT = 900
"""A larger document is cut to whole first-level subtrees of about so many operations, or one document would be most of the work."""
PARAMETER = re.compile(r"\{([^{}]*)\}")

FIRST = """
anna ben carla david elena frank grace hugo iris jack karin liam maria noah olga peter quinn rosa sam tina umar vera will
xenia yusuf zoe alice bob carol dan erin fred gina henry ines jonas kim leo mona nils otto paula ralf sofia tom ursula
viktor
""".split()
WORDS = """
river mountain quiet silver garden winter market copper bridge meadow harbor lantern forest window marble summer velvet
candle island desert orange thunder paper planet coffee shadow engine castle falcon mirror bottle ticket camera pocket
rocket saddle tunnel valley walnut yellow anchor banner circle dragon empire flower guitar hammer jacket kitten ladder
magnet needle oyster pepper ribbon school temple urchin violin walrus butter crystal diamond eagle fiction gravity history
insight journey
""".split()
COUNTRIES = """
us gb de fr it es nl be ch at se no dk fi pl cz pt ie gr hu ro bg hr si sk lt lv ee jp cn in br ca au nz za mx ar
""".split()
LOCALES = """
en de fr it es nl sv da fi pl cs pt ja zh ko ru ar he tr uk en-US en-GB de-AT fr-CA pt-BR zh-CN es-MX nl-BE
""".split()
CURRENCIES = """
USD EUR GBP CHF JPY CNY SEK NOK DKK PLN CZK HUF AUD CAD NZD INR BRL MXN ZAR TRY KRW SGD HKD
""".split()
CITIES = """
berlin paris london madrid rome vienna prague warsaw lisbon dublin athens oslo stockholm helsinki copenhagen zurich geneva
hamburg munich milan naples turin lyon nice porto seville valencia krakow gdansk brno graz linz bergen malmo
""".split()
SCANNER = """
/.env /.git/config /wp-login.php /wp-admin/setup-config.php /phpmyadmin/index.php /admin.php /cgi-bin/test-cgi
/vendor/phpunit /actuator/env /server-status /config.json /backup.zip /.aws/credentials /solr/admin/info /manager/html
/boaform/admin /shell /api/jsonws/invoke /owa/auth/logon.aspx /xmlrpc.php /login.action /console /.DS_Store
/debug/default/view
""".split()
JUNK = ["/favicon.ico", "/robots.txt", "/index.html", "/apple-touch-icon.png", "/sitemap.xml"]


@dataclass(frozen=True)
class Call:
    """One generated call; `operation` is the index of the declared operation, -1 for noise."""

    method: str
    path: str
    status: int
    operation: int
    echoed: tuple[int, ...] = ()
    """Segments whose value stood in an earlier answer; filled by `with_answers`."""
    drawn: tuple[tuple[int, tuple[str, str], str], ...] = ()
    """(segment, pool, value) of the parameters that are whole segments."""


@dataclass(frozen=True)
class Operation:
    method: str
    template: str
    """Declared path with the server's base path, without query and fragment."""
    schemas: dict[str, dict[str, Any]] = field(compare=False, hash=False, default_factory=dict)
    """Path parameter -> its resolved schema."""


@dataclass(frozen=True)
class Document:
    provider: str
    name: str
    operations: tuple[Operation, ...]
    held_out: bool


def held_out(provider: str) -> bool:
    """A third of the providers, by hash, is never looked at while developing (until 0.3 it was a half, of which this is a part)."""
    digest = blake2b(provider.encode()).digest()
    return digest[0] % 2 == 1 and digest[1] % 3 != 0


def documents(root: Path, providers: Iterable[str]) -> Iterator[Document]:
    """The documents of these providers under the package's `api` folder, at most three each, drawn by hash."""
    for provider in providers:
        base = root / "api" / provider
        files = [base] if base.is_file() else sorted(base.rglob("*.json"))
        files.sort(key=lambda f: blake2b(str(f.relative_to(root)).encode()).digest())
        taken = 0
        for file in files:
            operations = tuple(_operations(json.loads(file.read_text())))
            if operations:
                yield Document(provider, str(file.relative_to(root / "api")), operations, held_out(provider))
                taken += 1
            if taken == DOCUMENTS_PER_PROVIDER:
                break


def _operations(spec: dict[str, Any]) -> Iterator[Operation]:
    base = spec.get("basePath") or ""
    for server in spec.get("servers") or ():
        url = PARAMETER.sub(
            lambda m, s=server: str((s.get("variables") or {}).get(m[1], {}).get("default", m[1])), server.get("url", "")
        )
        base = urlsplit(url).path
        break
    base = "/" + base.strip("/") if base.strip("/") else ""
    seen: set[tuple[str, str]] = set()
    budget = OPERATIONS_PER_DOCUMENT
    paths = spec.get("paths") or {}
    for top in sorted({_top(p) for p in paths}, key=lambda t: blake2b(t.encode()).digest()):
        group = sorted(p for p in paths if _top(p) == top)
        if budget <= 0:
            return
        for path in group:
            template = re.split(r"[?#]", base + path)[0]
            if not template.startswith("/") or not isinstance(paths[path], dict):
                continue
            item = _resolve(spec, paths[path])
            for method in METHODS:
                if not isinstance(item.get(method), dict):
                    continue
                key = (method.upper(), PARAMETER.sub("{}", template))
                budget -= 1
                if key in seen:
                    continue
                seen.add(key)
                schemas: dict[str, dict[str, Any]] = {}
                for parameter in [*(item.get("parameters") or ()), *(item[method].get("parameters") or ())]:
                    resolved = _resolve(spec, parameter)
                    if resolved.get("in") == "path":
                        schemas[resolved.get("name", "")] = {**resolved, **_resolve(spec, resolved.get("schema") or {})}
                yield Operation(method.upper(), template, schemas)
                if budget <= -OPERATIONS_PER_DOCUMENT:
                    return


def _top(path: str) -> str:
    return path.strip("/").split("/")[0]


def _resolve(spec: dict[str, Any], node: Any, depth: int = 0) -> dict[str, Any]:
    if not isinstance(node, dict) or depth > 8:
        return {}
    pointer = node.get("$ref")
    if not isinstance(pointer, str) or not pointer.startswith("#/"):
        return node
    target: Any = spec
    for part in pointer[2:].split("/"):
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, dict) or part not in target:
            return {}
        target = target[part]
    return _resolve(spec, target, depth + 1)


class _Pool:
    """The values of one parameter: a heavy head, a long tail."""

    def __init__(self, rng: random.Random, schema: dict[str, Any], name: str, before: str) -> None:
        enum = [str(v) for v in schema.get("enum") or (schema.get("items") or {}).get("enum") or () if str(v).strip()]
        if enum:
            self.values = enum
            rng.shuffle(self.values)
        else:
            size = int(math.exp(rng.uniform(math.log(6), math.log(5000))))
            make = _maker(rng, schema, name, before)
            self.values = list(dict.fromkeys(make() for _ in range(size)))
        exponent = rng.uniform(0.6, 1.3)
        weight = 0.0
        self.cumulative: list[float] = []
        for rank in range(len(self.values)):
            weight += 1 / (rank + rng.uniform(1, 4)) ** exponent
            self.cumulative.append(weight)

    def draw(self, rng: random.Random) -> str:
        return rng.choices(self.values, cum_weights=self.cumulative)[0]


def _maker(rng: random.Random, schema: dict[str, Any], name: str, before: str) -> Any:
    kind, form, low = str(schema.get("type", "")), str(schema.get("format", "")), name.lower()
    base = rng.randrange(1, 10 ** rng.randrange(2, 10))
    alnum = string.ascii_letters + string.digits
    prefix = rng.choice(("cus_", "ord-", "usr_", "acct_", "TX", "SKU-"))
    makers: dict[str, Any] = {
        "integer": lambda: str(rng.randrange(1, 10000) if base < 10000 else base + rng.randrange(0, base)),
        "uuid": lambda: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "hex": lambda: f"{rng.getrandbits(96):024x}",
        "ulid": lambda: "01" + "".join(rng.choices("0123456789ABCDEFGHJKMNPQRSTVWXYZ", k=24)),
        "date": lambda: f"{rng.randrange(2015, 2026)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}",
        "date-time": lambda: (
            f"{rng.randrange(2015, 2026)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}T{rng.randrange(24):02}:00:00Z"
        ),
        "year": lambda: str(rng.randrange(1950, 2027)),
        "number": lambda: f"{rng.uniform(-90, 90):.4f}",
        "boolean": lambda: rng.choice(("true", "false")),
        "slug": lambda: "-".join(rng.sample(WORDS, rng.randrange(2, 4))) + rng.choice(("", "", f"-{rng.randrange(100)}")),
        "word": lambda: rng.choice(WORDS),
        "user": lambda: (
            rng.choice(FIRST) + rng.choice(("", str(rng.randrange(100)), "." + rng.choice(WORDS), "_" + rng.choice(WORDS)))
        ),
        "title": lambda: " ".join(w.capitalize() for w in rng.sample(WORDS, rng.randrange(1, 4))),
        "prefixed": lambda: prefix + "".join(rng.choices(alnum, k=12)),
        "token": lambda: "".join(rng.choices(alnum + "-_", k=rng.choice((11, 22)))),
        "code": lambda: "".join(rng.choices(string.ascii_uppercase, k=3)) + str(rng.randrange(1000)),
        "airport": lambda: "".join(rng.choices(string.ascii_uppercase, k=3)),
        "country": lambda: rng.choice(COUNTRIES),
        "locale": lambda: rng.choice(LOCALES),
        "currency": lambda: rng.choice(CURRENCIES),
        "city": lambda: rng.choice(CITIES),
        "email": lambda: f"{rng.choice(FIRST)}.{rng.choice(WORDS)}@{rng.choice(WORDS)}.com",
        "domain": lambda: (
            f"{rng.choice(WORDS)}{rng.choice(('', '-' + rng.choice(WORDS)))}.{rng.choice(('com', 'org', 'net', 'io'))}"
        ),
        "version": lambda: f"{rng.randrange(4)}.{rng.randrange(20)}.{rng.randrange(10)}",
        "file": lambda: f"{rng.choice(WORDS)}_{rng.randrange(100)}.{rng.choice(('png', 'pdf', 'csv', 'txt'))}",
        "ip": lambda: ".".join(str(rng.randrange(1, 255)) for _ in range(4)),
    }
    if form in makers:
        return makers[form]
    if kind == "boolean":
        return makers["boolean"]
    if kind == "integer":
        return makers["year" if "year" in low else "integer"]
    if kind == "number":
        return makers["number" if re.search("lat|lon|lng", low) else "integer"]
    hints = {
        "uuid|guid": ["uuid"], "e?mail": ["email"], "date|day$": ["date"], "year": ["year"], "lat|lng|longitude": ["number"],
        "country": ["country"], "lang|locale": ["locale"], "currency": ["currency"], "city|town|region": ["city"],
        "user_?name|login|owner|author": ["user"], "slug": ["slug"], "domain|host": ["domain"], "^ip|ipaddr": ["ip"],
        "file": ["file", "file", "slug"], "hash|sha|digest": ["hex"], "version": ["version"], "iata|airport|origin|destination": ["airport"],
        "title|name$": ["title", "word", "slug", "user"], "code|key|symbol|tag|type|category": ["code", "word", "slug", "prefixed"],
        "id$|ids$|number|^id|no$": ["integer", "integer", "uuid", "uuid", "hex", "prefixed", "token", "ulid", "slug", "user", "code"],
    }  # fmt: skip
    for pattern, kinds in hints.items():
        if re.search(pattern, low):
            return makers[rng.choice(kinds)]
    return makers[rng.choice(["integer", "uuid", "slug", "word", "user", "title", "prefixed", "token", "code"])]


def calls(document: Document, per_operation: int, seed: int = 0) -> list[Call]:
    """`per_operation` calls per operation in the mean, shuffled; the same arguments give the same calls."""
    rng = random.Random(f"{document.name}|{per_operation}|{seed}")
    world = random.Random(f"{document.name}|{seed}")  # pools do not depend on the volume
    pools: dict[tuple[str, str], _Pool] = {}
    skew = world.uniform(0.3, 1.4)
    weights = [world.lognormvariate(0, skew) for _ in document.operations]
    scale = per_operation * len(weights) / sum(weights)
    trouble = world.uniform(0, 0.06)
    made: list[Call] = []
    for number, operation in enumerate(document.operations):
        drawers: list[tuple[str, _Pool | None]] = []
        before = ""
        for segment in operation.template.split("/"):
            pieces = PARAMETER.split(segment)
            for at, piece in enumerate(pieces):
                if at % 2:
                    key = (piece.lower(), before)
                    if key not in pools:
                        pools[key] = _Pool(world, operation.schemas.get(piece, {}), piece, before)
                    drawers.append((piece, pools[key]))
                else:
                    drawers.append((quote(piece, safe="/:@!$&'()*+,;=~%"), None))
            drawers.append(("/", None))
            before = segment if len(pieces) == 1 else before
        drawers.pop()
        whole = _whole_parameters(operation.template)
        for _ in range(max(1, round(weights[number] * scale))):
            path, drawn = "", []
            for text, pool in drawers:
                value = pool.draw(rng) if pool else text
                path += quote(value, safe=":@,") if pool else value
                if pool:
                    drawn.append(value)
            status = 200 if rng.random() >= trouble else rng.choice((401, 403, 404, 404, 301, 302, 400, 500))
            given = tuple((segment, key, drawn[at]) for at, segment, key in whole)
            made.append(Call(operation.method, path, status, number, (), given))
    noise = len(made) * world.uniform(0, 0.03)
    made += [
        Call(rng.choice(("GET", "GET", "POST")), rng.choice(SCANNER) + rng.choice(("", "", f"/{rng.randrange(99)}")), 404, -1)
        for _ in range(round(noise))
    ]
    if noise > 5:
        made += [Call("GET", path, 200, -1) for path in world.sample(JUNK, 1)]
    rng.shuffle(made)
    return made


def _whole_parameters(template: str) -> list[tuple[int, int, tuple[str, str]]]:
    """(index among the parameters, index of the segment, key of its pool) of parameters that are a segment of their own."""
    found, at, before = [], 0, ""
    for number, segment in enumerate(template.strip("/").split("/")):
        names = PARAMETER.findall(segment)
        if len(names) == 1 and PARAMETER.fullmatch(segment):
            found.append((at, number, (names[0].lower(), before)))
        at += len(names)
        before = segment if not names else before
    return found


GIVES = 0.6
"""Share of the collections whose ids stand in answers."""
PAGE = 20
"""Ids in the answer of a list."""
ALSO_A_WORD = 0.04
"""Share of the names that happen to stand in answers too."""


def with_answers(document: Document, made: Sequence[Call], seed: int = 0) -> list[Call]:
    """The same calls, with what the answers before them gave out: a list a page of ids (those asked for soon), a detail its own,
    of some collections and not of others. Some names happen to stand in answers, too."""
    rng = random.Random(f"{document.name}|answers|{seed}")
    pools = {key for call in made for _, key, _ in call.drawn}
    giving = {key for key in sorted(pools) if rng.random() < GIVES}
    names = sorted({s for o in document.operations for s in o.template.split("/") if s and "{" not in s})
    words = {name for name in names if rng.random() < ALSO_A_WORD}
    lists: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for operation in document.operations:
        segments = operation.template.strip("/").split("/")
        for _, at, key in _whole_parameters(operation.template):
            lists.setdefault(("GET", "/" + "/".join(segments[:at])), set()).add(key)
    values = {key: [value for call in made for _, k, value in call.drawn if k == key] for key in giving}
    given: set[tuple[tuple[str, str], str]] = set()
    told = []
    for call in made:
        echoed = [segment for segment, key, value in call.drawn if (key, value) in given]
        echoed += [at for at, segment in enumerate(call.path.strip("/").split("/")) if segment in words and call.operation >= 0]
        told.append(Call(call.method, call.path, call.status, call.operation, tuple(sorted(set(echoed))), call.drawn))
        if call.operation < 0 or call.status >= 300:
            continue
        given |= {(key, value) for _, key, value in call.drawn if key in giving}
        for key in sorted(lists.get((call.method, document.operations[call.operation].template), set()) & giving):
            if values[key]:
                given |= {(key, rng.choice(values[key])) for _ in range(PAGE)}
    return told
