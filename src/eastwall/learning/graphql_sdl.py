"""GraphQL schemas in their definition language: declared ones as endpoints, and what was used written as one.

A declared endpoint is one root field: `query order`, `mutation createOrder`. A request for several at once is an endpoint of its own,
`query order,orders`, and counts as declared when each of its parts is (`discovery.inventory.parts_of`). Arguments stand at
`variables.NAME`, for variables are usually named after the arguments that they are for; none is required, for a value may as well stand
in the document.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from graphql.error import GraphQLError
from graphql.language import (
    ConstDirectiveNode,
    DirectiveNode,
    DocumentNode,
    EnumTypeDefinitionNode,
    EnumTypeExtensionNode,
    FieldDefinitionNode,
    InputObjectTypeDefinitionNode,
    InputObjectTypeExtensionNode,
    InputValueDefinitionNode,
    InterfaceTypeDefinitionNode,
    InterfaceTypeExtensionNode,
    ListTypeNode,
    NonNullTypeNode,
    ObjectTypeDefinitionNode,
    ObjectTypeExtensionNode,
    OperationTypeDefinitionNode,
    SchemaDefinitionNode,
    SchemaExtensionNode,
    TypeNode,
    UnionTypeDefinitionNode,
    UnionTypeExtensionNode,
    parse,
)
from graphql.validation import KnownDirectivesRule
from graphql.validation.specified_rules import specified_sdl_rules
from graphql.validation.validate import validate_sdl
from msgspec.structs import replace

from eastwall.discovery.inventory import endpoint_id
from eastwall.learning.graphql_used import sdl
from eastwall.learning.spec_text import Faults, SpecError, SpecFault
from eastwall.model.endpoint import Endpoint, FieldProfile, Schema

__all__ = ["at_home", "declared", "declared_sdl", "sdl"]

MAX_TOKENS = 2_000_000
MAX_OPERATIONS = 20_000
MAX_FIELDS = 500
"""Argument fields of an operation."""
MAX_SELECTION = 200
MAX_DEPTH = 4
"""Selected paths of an operation, and levels of fields below its root field: they are published with every snapshot."""

_ROOTS = {"query": "Query", "mutation": "Mutation", "subscription": "Subscription"}
_KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "Int": (("integer",), ""),
    "Float": (("integer", "number"), ""),
    "String": (("string",), ""),
    "ID": (("integer", "string"), ""),
    "Boolean": (("boolean",), ""),
    "Date": (("string",), "date"),
    "DateTime": (("string",), "date-time"),
    "UUID": (("string",), "uuid"),
    "EmailAddress": (("string",), "email"),
    "Email": (("string",), "email"),
    "URL": (("string",), "uri"),
    "URI": (("string",), "uri"),
}
"""Scalars of the language, and custom ones whose names are used alike (graphql-scalars)."""
_SECURING = frozenset(("auth", "authenticated", "requiresScopes", "policy", "hasRole", "aws_auth", "aws_cognito_user_pools"))
"""Directives that ask for authentication (Apollo Federation 2.5, AppSync, common servers)."""
_RULES = tuple(rule for rule in specified_sdl_rules if rule is not KnownDirectivesRule)
"""Directives are left to the servers that know them (`@key`, `@aws_auth`, ...)."""
_TRANSPORT = (
    FieldProfile("$", ("object",)),
    FieldProfile("extensions", ("null", "object")),
    FieldProfile("operationName", ("null", "string")),
    FieldProfile("query", ("string",)),
    FieldProfile("variables", ("null", "object")),
)
"""What every request may hold (GraphQL over HTTP)."""


def declared_sdl(text: str, service: str, path: str = "/graphql") -> tuple[Endpoint, ...]:
    """`declared` without its faults. Raises `SpecError` when there is nothing but faults."""
    endpoints, faults = declared(text, service, path)
    if not endpoints and faults:
        raise SpecError(faults[0].message, faults[0].where, faults[0].hint)
    return endpoints


def declared(text: str, service: str, path: str = "/graphql") -> tuple[tuple[Endpoint, ...], tuple[SpecFault, ...]]:
    """One endpoint (`POST path`, origin `declared`) for each root field, sorted by operation; and all faults, each with its line.

    What is wrong is left out, the rest is used. A text that does not parse has one fault: the first place that cannot be read.
    """
    faults = Faults()
    try:
        document = parse(text, max_tokens=MAX_TOKENS)
    except GraphQLError as error:
        faults.add(_where(error), _line(error), "mend the text there; what follows it was not read")
        return (), faults.told()
    except RecursionError:
        faults.add("", "the schema is nested too deeply", "no schema needs that")
        return (), faults.told()
    for found_error in validate_sdl(document, rules=_RULES):
        faults.add(_where(found_error), _line(found_error))
    types = _Types(document)
    found: dict[str, Endpoint] = {}
    for kind, root in types.roots.items():
        for name, node in types.fields.get(root, {}).items():
            if name.startswith("__"):
                continue
            if len(found) >= MAX_OPERATIONS:
                faults.add("", f"more than {MAX_OPERATIONS:,} operations; the rest is left out", "split the schema")
                break
            operation = f"{kind} {name}"
            found[operation] = _endpoint(types, node, operation, service, path)
    if not found:
        faults.add("", "the schema has no operations", "declare `type Query { ... }`, or name the root types in `schema { ... }`")
    return tuple(found[operation] for operation in sorted(found)), faults.told()


def _where(error: GraphQLError) -> str:
    if not error.locations:
        return ""
    return f"line {error.locations[0].line}, column {error.locations[0].column}"


def _line(error: GraphQLError) -> str:
    text = " ".join(error.message.split()).removeprefix("Syntax Error: ").removesuffix(".")
    text = "".join(c if c.isprintable() else "?" for c in text).replace("'", "`").replace('"', "`")
    return (text[:1].lower() + text[1:])[:200]


class _Types:
    """The definitions of a schema by name, extensions merged in; of what is defined twice the first holds."""

    def __init__(self, document: DocumentNode) -> None:
        self.fields: dict[str, dict[str, FieldDefinitionNode]] = {}
        self.inputs: dict[str, dict[str, InputValueDefinitionNode]] = {}
        self.enums: dict[str, dict[str, None]] = {}
        self.members: dict[str, dict[str, None]] = {}
        """Union or interface -> its object types."""
        self._below: dict[str, list[tuple[str, str]]] = {}
        named: dict[str, str] = {}
        for node in document.definitions:
            if isinstance(node, (SchemaDefinitionNode, SchemaExtensionNode)):
                for operation in node.operation_types or ():
                    assert isinstance(operation, OperationTypeDefinitionNode)
                    named.setdefault(operation.operation.value, operation.type.name.value)
            elif isinstance(
                node,
                (ObjectTypeDefinitionNode, ObjectTypeExtensionNode, InterfaceTypeDefinitionNode, InterfaceTypeExtensionNode),
            ):
                fields = self.fields.setdefault(node.name.value, {})
                for field in node.fields or ():
                    fields.setdefault(field.name.value, field)
                for interface in node.interfaces or ():
                    self.members.setdefault(interface.name.value, {})[node.name.value] = None
            elif isinstance(node, (InputObjectTypeDefinitionNode, InputObjectTypeExtensionNode)):
                inputs = self.inputs.setdefault(node.name.value, {})
                for argument in node.fields or ():
                    inputs.setdefault(argument.name.value, argument)
            elif isinstance(node, (EnumTypeDefinitionNode, EnumTypeExtensionNode)):
                self.enums.setdefault(node.name.value, {}).update((value.name.value, None) for value in node.values or ())
            elif isinstance(node, (UnionTypeDefinitionNode, UnionTypeExtensionNode)):
                self.members.setdefault(node.name.value, {}).update((one.name.value, None) for one in node.types or ())
        self.roots = named or {kind: name for kind, name in _ROOTS.items() if name in self.fields}

    def below(self, name: str) -> list[tuple[str, str]]:
        """(name, type) of the fields that can be selected of a value of a type: its own and those of every type that it can be."""
        known = self._below.get(name)
        if known is None:
            found: dict[str, str] = {}
            for one in (name, *self.members.get(name, ())):
                for key, node in self.fields.get(one, {}).items():
                    found.setdefault(key, _named(node.type))
            known = self._below[name] = list(found.items())
        return known


def _endpoint(types: _Types, node: FieldDefinitionNode, operation: str, service: str, path: str) -> Endpoint:
    directives = {directive.name.value for directive in _directives(node)}
    return Endpoint(
        id=endpoint_id(service, "POST", path, operation),
        service=service,
        method="POST",
        template=path,
        origin="declared",
        protocol="graphql",
        operation=operation,
        traits=("subscription",) if operation.startswith("subscription ") else (),
        request=Schema(fields=tuple(sorted((*_TRANSPORT, *_arguments(types, node)), key=lambda field: field.place))),
        selection=tuple((found, 0) for found in sorted(_selection(types, node))),
        deprecated="deprecated" in directives,
        secured=True if directives & _SECURING else None,
        body_kinds=("json",),
    )


def _directives(node: FieldDefinitionNode) -> Iterable[ConstDirectiveNode | DirectiveNode]:
    return node.directives or ()


def _selection(types: _Types, root: FieldDefinitionNode) -> set[str]:
    """Paths of the leaves below a root field, the nearest first until there are `MAX_SELECTION`; no type within itself."""
    found: set[str] = set()
    queue: deque[tuple[str, str, tuple[str, ...]]] = deque([(root.name.value, _named(root.type), ())])
    while queue and len(found) < MAX_SELECTION:
        path, name, around = queue.popleft()
        fields = types.below(name)
        if not fields:
            found.add(path)
        elif name not in around and len(around) < MAX_DEPTH and len(queue) < MAX_SELECTION:
            queue.extend([(f"{path}.{key}", child, (*around, name)) for key, child in fields])
    return found


def _named(node: TypeNode) -> str:
    while isinstance(node, (NonNullTypeNode, ListTypeNode)):
        node = node.type
    return node.name.value  # type: ignore[attr-defined,no-any-return]


def _arguments(types: _Types, root: FieldDefinitionNode) -> Iterator[FieldProfile]:
    """Fields of the arguments and of the input objects in them, `MAX_FIELDS` at most."""
    queue: deque[tuple[str, InputValueDefinitionNode, tuple[str, ...]]] = deque(
        (f"variables.{node.name.value}", node, ()) for node in root.arguments or ()
    )
    given = 0
    while queue and given < MAX_FIELDS:
        place, node, around = queue.popleft()
        kind = node.type
        required = isinstance(kind, NonNullTypeNode) and node.default_value is None and bool(around)
        while True:
            nullable = not isinstance(kind, NonNullTypeNode)
            if isinstance(kind, NonNullTypeNode):
                kind = kind.type
            if not isinstance(kind, ListTypeNode):
                break
            given += 1
            yield FieldProfile(place, ("array", "null") if nullable else ("array",), required=required)
            place, kind, required = place + "[]", kind.type, False
        name = _named(kind)
        given += 1
        yield _scalar(types, place, name, nullable=nullable, required=required)
        if name in types.inputs and name not in around and len(queue) < 4 * MAX_FIELDS:
            queue.extend((f"{place}.{key}", child, (*around, name)) for key, child in types.inputs[name].items())


def _scalar(types: _Types, place: str, name: str, *, nullable: bool, required: bool) -> FieldProfile:
    kinds, form = _KINDS.get(name, ((), ""))
    words: tuple[str, ...] = ()
    if name in types.inputs:
        kinds = ("object",)
    elif name in types.enums:
        kinds, words = ("string",), tuple(sorted(types.enums[name]))
    if kinds and nullable:
        kinds = tuple(sorted((*kinds, "null")))
    return FieldProfile(place, kinds, form, enum=words, required=required)


def at_home(declared: Iterable[Endpoint], observed: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """The declared endpoints of a service, with GraphQL's at the path where GraphQL was seen.

    A schema does not say where it is served. When calls were seen at one path alone, and none at the path that was assumed, it is there.
    """
    declared = tuple(declared)
    paths = {e.template for e in observed if e.protocol == "graphql" and e.operation and e.calls and e.origin != "declared"}
    assumed = {e.template for e in declared if e.protocol == "graphql"}
    if len(paths) != 1 or len(assumed) != 1 or paths == assumed:
        return declared
    path = paths.pop()
    return tuple(
        replace(e, id=endpoint_id(e.service, e.method, path, e.operation), template=path) if e.protocol == "graphql" else e
        for e in declared
    )
