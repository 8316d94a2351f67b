"""GraphQL used against its server (CWE-770, CWE-200): asking for the schema, and documents whose cost is far beyond their length."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from eastwall.detections.confirming import Verdict, finding
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="graphql-abuse",
    title="GraphQL: schema asked for, or a document of great cost",
    severity="medium",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("API4:2023", "API8:2023"),
    cwe=("CWE-770", "CWE-200"),
    attack=("T1595", "T1499.003"),
    stage="reconnaissance",
    on_error="monitor",
    default_action="block",
)

MAX_TEXT = 65_536
"""Characters analysed."""
MAX_DEPTH, MAX_ALIASES, MAX_BATCH, MAX_DIRECTIVES, MAX_REPEATED = 16, 30, 20, 20, 60
"""Beyond which a document is of high severity: levels, aliases of one field, operations of a call, directives on one field, times one field is asked for."""
_TOKEN = re.compile(
    r'"""[^"]*+[\s\S]*?(?:"""|\Z)|"(?:[^"\\\n]|\\.)*+"?|#[^\n]*+|\.\.\.|@?[_A-Za-z][_0-9A-Za-z]*+|[{}():\[\]!=|$]|[^\s]'
)
_WORDS = frozenset(("query", "mutation", "subscription", "fragment"))
_LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*+"?')
"""A string in a document: whoever tries many passwords in one call writes them there."""


class Shape(Struct, frozen=True):
    """Numbers of a document, by its tokens: fragments are not expanded."""

    depth: int
    """Levels of selections."""
    aliases: int
    """Of the field with the most aliases."""
    directives: int
    """On the field or operation with the most."""
    repeated: int
    """Times that the field asked for most often stands in one selection."""
    introspection: bool
    """Whether `__schema` or `__type` is asked for."""


def shape(document: str) -> Shape:
    """Of any text. Linear; never raises."""
    depth = deepest = brackets = directives = most_directives = 0
    introspection = False
    aliases: dict[str, int] = {}
    fields: dict[tuple[int, str], int] = {}
    before = ["", ""]
    for match in _TOKEN.finditer(document, 0, MAX_TEXT):
        part = match[0]
        if part[0] in '"#':
            continue
        if part in "([":
            brackets += 1
        elif part in ")]":
            brackets = max(0, brackets - 1)
        elif brackets:
            pass
        elif part == "{":
            depth += 1
            deepest = max(deepest, depth)
            directives = 0
        elif part == "}":
            depth = max(0, depth - 1)
            directives = 0
        elif part[0] == "@":
            directives += 1
            most_directives = max(most_directives, directives)
        elif part[0].isalpha() or part[0] == "_":
            directives = 0
            introspection = introspection or (part in ("__schema", "__type") and depth > 0)
            if depth and before[1] == ":":
                aliases[part] = aliases.get(part, 0) + 1
            elif depth:
                key = (depth, part)
                fields[key] = fields.get(key, 0) + 1
        before = [before[1], part]
    return Shape(deepest, max(aliases.values(), default=0), most_directives, max(fields.values(), default=0), introspection)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per document: introspection is reported, cost is judged by its numbers."""
    operation = facts.operation
    if operation.protocol != "graphql":
        return ()
    found: list[Finding] = []
    for place, document in _documents(facts):
        # Counting characters is a hundred times cheaper than reading tokens, and nearly all documents are small.
        if (
            "introspection" in operation.traits
            or "__schema" in document
            or document.count("{") > MAX_DEPTH
            or document.count(":") > MAX_ALIASES
            or document.count("@") > MAX_DIRECTIVES
            or _repeats(document)
        ):
            shown = _LITERAL.sub('"***"', document[:480])
            found += [finding(META, place, verdict, shown) for verdict in judged(shape(document))]
    if type(operation.body) is list and len(operation.body) > MAX_BATCH:
        found.append(
            finding(META, "body", Verdict(f"is a batch of {len(operation.body)} operations", "batch", "high", "medium"), "")
        )
    return found


def _repeats(document: str) -> bool:
    """Whether one word may stand in it more than `MAX_REPEATED` times."""
    if len(document) <= 2 * MAX_REPEATED:
        return False
    words = document[:MAX_TEXT].replace(",", " ").split()
    return len(words) > MAX_REPEATED and max(Counter(words).values()) > MAX_REPEATED


def _documents(facts: Facts) -> Iterator[tuple[str, str]]:
    operation = facts.operation
    body = operation.body
    batch = body[:MAX_BATCH] if type(body) is list else [body]
    for index, message in enumerate(batch):
        if type(message) is dict and type(message.get("query")) is str:
            yield f"body[{index}].query" if type(body) is list else "body.query", message["query"]
    if type(body) is str:
        yield "body", body
    for name, value in operation.query:
        if name == "query":
            yield "query.query", _message(value)


def _message(value: str) -> str:
    """The document of a parameter; some clients put the whole JSON message there."""
    if not value.lstrip().startswith('{"'):
        return value
    try:
        message = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value
    query = message.get("query") if type(message) is dict else None
    return query if type(query) is str else value


def judged(numbers: Shape) -> list[Verdict]:
    """What the numbers say, gravest last."""
    found: list[Verdict] = []
    if numbers.introspection:
        found.append(Verdict("asks for the schema itself (introspection)", "", "low" if numbers.depth <= 2 else "medium"))
    for count, limit, what in (
        (numbers.depth, MAX_DEPTH, "levels of selections"),
        (numbers.aliases, MAX_ALIASES, "aliases of one field"),
        (numbers.directives, MAX_DIRECTIVES, "directives on one field"),
        (numbers.repeated, MAX_REPEATED, "times one field"),
    ):
        if count > limit and not (what.startswith("levels") and numbers.introspection):
            found.append(
                Verdict(f"is a GraphQL document with {count} {what}", "", "high", "high" if count > 2 * limit else "medium")
            )
    return found[-1:]
