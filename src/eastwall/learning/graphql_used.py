"""What callers use of a GraphQL service, written as a schema: the types that would have to be there for the calls seen to be valid.

Names of types are not in the traffic; they are made of the fields that lead to them: `order` and `orders` give `Order`, `order.items`
gives `OrderItem`. Types of leaves are those of the answers, where those were seen without aliases; what is not known has the scalar
`Unknown`. Variables count as arguments of the root field; where an operation asks for several, of each that no single operation explains.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from re import compile as regex

from eastwall.discovery.inventory import parts_of
from eastwall.discovery.objects import singular
from eastwall.model.endpoint import Endpoint, FieldProfile

UNKNOWN = "Unknown"
_NAME = regex(r"[_A-Za-z][_0-9A-Za-z]{0,127}")
_WORD = regex(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ROOTS = {"query": "Query", "mutation": "Mutation", "subscription": "Subscription"}
_TAKEN = frozenset(("Query", "Mutation", "Subscription", "Int", "Float", "String", "Boolean", "ID", UNKNOWN, "DateTime", "Date"))
_LARGEST = 2**31 - 1
MAX_TYPES = 5_000
MAX_DEPTH = 40


class _Node:
    """A field, or an argument: what is below it and what its values were."""

    __slots__ = ("below", "calls", "fields", "lists")

    def __init__(self) -> None:
        self.below: dict[str, _Node] = {}
        self.lists = 0
        """Levels of arrays around its values."""
        self.fields: list[FieldProfile] = []
        self.calls = 0

    def at(self, steps: Iterable[str]) -> _Node:
        node = self
        for step in steps:
            node = node.below.setdefault(step, _Node())
        return node

    def merge(self, other: _Node) -> None:
        self.lists = max(self.lists, other.lists)
        self.fields += other.fields
        self.calls += other.calls
        for name, child in other.below.items():
            self.below.setdefault(name, _Node()).merge(child)


def sdl(endpoints: Iterable[Endpoint], service: str) -> str:
    """The schema of a service's GraphQL endpoints; it is valid by itself. Left out: other services and protocols, and what is declared
    and was never called."""
    used = [e for e in endpoints if e.protocol == "graphql" and e.operation and e.service == service and e.origin != "declared"]
    used.sort(key=lambda e: (len(parts_of(e.operation)), e.template, e.method, e.operation))
    roots: dict[str, dict[str, _Node]] = {kind: {} for kind in _ROOTS}
    arguments: dict[tuple[str, str], _Node] = {}
    persisted = 0
    for endpoint in used:
        parts = [tuple(part.split(" ", 1)) for part in parts_of(endpoint.operation) if " " in part]
        asked, answered, given = _asked(endpoint), _answered(endpoint), _given(endpoint)
        for kind, name in parts:
            persisted += kind == "persisted"
            if kind not in _ROOTS or not _NAME.fullmatch(name) or name.startswith("__"):
                continue
            node = roots[kind].setdefault(name, _Node())
            below = asked.below.get(name, _Node())
            below.calls = endpoint.calls  # a root field that is a leaf was counted with what was selected, too
            node.merge(below)
            _describe(node, answered.below.get(name))
            if len(parts) == 1 or (kind, name) not in arguments:
                arguments.setdefault((kind, name), _Node()).merge(given)
    return _Writer(roots, arguments, persisted).text(service)


def _asked(endpoint: Endpoint) -> _Node:
    top = _Node()
    for path, calls in endpoint.selection:
        steps = path.split(".")
        if len(steps) <= MAX_DEPTH and all(_NAME.fullmatch(step) and not step.startswith("__") for step in steps):
            top.at(steps).calls += calls
    return top


def _answered(endpoint: Endpoint) -> _Node:
    top = _Node()
    for status, schema in endpoint.responses:
        if 200 <= status < 300:
            _fold(top, schema.fields, "data.")
    return top


def _given(endpoint: Endpoint) -> _Node:
    top = _Node()
    _fold(top, endpoint.request.fields, "variables.")
    return top


def _fold(top: _Node, fields: Iterable[FieldProfile], prefix: str) -> None:
    for field in fields:
        if not field.place.startswith(prefix):
            continue
        steps = field.place.removeprefix(prefix).split(".")
        names = [step.rstrip("[]") for step in steps]
        if len(steps) > MAX_DEPTH or not all(_NAME.fullmatch(name) for name in names):
            continue
        node = top.at(names)
        if "array" not in field.kinds:
            node.fields.append(field)
        node.lists = max(node.lists, steps[-1].count("[]") + ("array" in field.kinds))


def _describe(asked: _Node, answered: _Node | None) -> None:
    """Give the fields that were asked for what is known of the answers: an answer under an alias describes nothing."""
    if answered is None:
        return
    asked.fields += answered.fields
    asked.lists = max(asked.lists, answered.lists)
    for name, child in asked.below.items():
        _describe(child, answered.below.get(name))


def _pascal(name: str) -> str:
    words = _WORD.findall(name)
    return "".join(word[:1].upper() + word[1:] for word in [*words[:-1], singular(words[-1].lower())]) if words else "Value"


class _Writer:
    """Collects the types under their names, then writes them."""

    def __init__(self, roots: dict[str, dict[str, _Node]], arguments: dict[tuple[str, str], _Node], persisted: int) -> None:
        self.roots = roots
        self.arguments = arguments
        self.persisted = persisted
        self.types: dict[str, dict[str, _Node]] = {}
        self.inputs: dict[str, dict[str, _Node]] = {}
        self.scalars: set[str] = set()
        self.names: dict[int, str] = {}

    def text(self, service: str) -> str:
        for kind, fields in self.roots.items():
            for name, node in sorted(fields.items()):
                self._collect(node, self._free(_pascal(name)), self.types)
                for argument, given in self.arguments[(kind, name)].below.items():
                    self._collect(
                        given, self._free(f"{_pascal(name)}{_pascal(argument)}".removesuffix("Input") + "Input"), self.inputs
                    )
        blocks = [*self._roots()]
        blocks += [f"type {name} {{\n{self._fields(fields)}\n}}" for name, fields in sorted(self.types.items())]
        blocks += [f"input {name} {{\n{self._fields(fields)}\n}}" for name, fields in sorted(self.inputs.items())]
        described = {
            UNKNOWN: '"""No answer has shown what it is."""\n',
            "DateTime": '"""RFC 3339."""\n',
            "Date": '"""RFC 3339."""\n',
        }
        blocks += [f"{described[name]}scalar {name}" for name in sorted(self.scalars)]
        head = "# What callers use of `" + "".join(c if c.isprintable() else "?" for c in service)[:100] + "`, from traffic.\n"
        if self.persisted:
            head += f"# {self.persisted} persisted queries were asked for by hash alone and are not in it.\n"
        return head + "\n" + "\n\n".join(blocks) + "\n"

    def _free(self, name: str) -> str:
        return name + "Object" if name in _TAKEN else name

    def _collect(self, node: _Node, name: str, into: dict[str, dict[str, _Node]]) -> None:
        """Enter the object types at and below a node."""
        stack = [(node, name)]
        while stack:
            node, name = stack.pop()
            if not node.below or len(into) >= MAX_TYPES:
                continue
            while name in (self.inputs if into is self.types else self.types):
                name += "Type" if into is self.types else "Input"
            self.names[id(node)] = name
            fields = into.setdefault(name, {})
            for key, child in sorted(node.below.items()):
                if key in fields:
                    fields[key].merge(child)
                else:
                    fields[key] = child
                below = name.removesuffix("Input") + _pascal(key) + ("Input" if into is self.inputs else "")
                stack.append((fields[key], self._free(below)))

    def _roots(self) -> Iterator[str]:
        if not self.roots["query"]:
            self.scalars.add(UNKNOWN)
            yield 'type Query {\n  """No query was seen; a schema must have one."""\n  _none: Unknown\n}'
        for kind, fields in self.roots.items():
            if fields:
                lines = [
                    f'  """Seen in {node.calls:,} calls."""\n  {name}{self._given(kind, name)}: {self._type(node)}'
                    for name, node in sorted(fields.items())
                ]
                yield f"type {_ROOTS[kind]} {{\n" + "\n".join(lines) + "\n}"

    def _given(self, kind: str, name: str) -> str:
        given = sorted(self.arguments[(kind, name)].below.items())
        given = [(argument, node) for argument, node in given if not argument.startswith("__")]
        return "(" + ", ".join(f"{argument}: {self._type(node)}" for argument, node in given) + ")" if given else ""

    def _fields(self, fields: dict[str, _Node]) -> str:
        return "\n".join(f"  {name}: {self._type(node, name)}" for name, node in sorted(fields.items()))

    def _type(self, node: _Node, name: str = "") -> str:
        kind = self.names.get(id(node)) or self._scalar(node, name)
        return "[" * node.lists + kind + "]" * node.lists

    def _scalar(self, node: _Node, name: str) -> str:
        kinds = {kind for field in node.fields for kind in field.kinds} - {"null"}
        formats = {field.format for field in node.fields}
        largest = max((abs(n) for field in node.fields for n in (field.minimum, field.maximum) if n is not None), default=0)
        if kinds == {"string"}:
            found = (
                {"date-time": "DateTime", "date": "Date"}.get(next(iter(formats)), "String") if len(formats) == 1 else "String"
            )
            found = "ID" if found == "String" and name in ("id", "uuid") else found
        elif kinds == {"integer"}:
            found = "ID" if name == "id" else "Int" if largest <= _LARGEST else "Float"
        elif kinds and kinds <= {"integer", "number"}:
            found = "Float"
        elif kinds == {"boolean"}:
            found = "Boolean"
        else:
            found = UNKNOWN
        if found in (UNKNOWN, "DateTime", "Date"):
            self.scalars.add(found)
        return found
