"""GraphQL over HTTP: what a request asks for, from its document (GraphQL specification, October 2021; GraphQL over HTTP).

A name is made of the type and the root fields of what is executed: `query order,orders`, `mutation createOrder`; of a batch that mixes
types `mutation pay; query orders`; of a persisted query that is asked for by its hash alone `persisted 3b2f0a91c4d7`. Aliases, arguments
and operation names are in no name: they are the caller's to choose.

A property `query` makes no GraphQL: many a search has one. It must parse as a document with an operation, and the path, the content type
or the shape must say GraphQL too (see `_evident`). At a GraphQL path, what does not parse is GraphQL with a fault.

Bounds: `MAX_TEXT` characters and `MAX_TOKENS` tokens of a document, `MAX_STEPS` selections looked at, `MAX_SELECTION` paths,
`MAX_BATCH` operations. Documents are remembered by hash (`CACHE_DOCUMENTS`, `CACHE_CHARACTERS`, two generations).
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from re import compile as regex
from typing import Any

import msgspec
from graphql.error import GraphQLSyntaxError
from graphql.language import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    ObjectFieldNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    ValueNode,
    VariableNode,
    parse,
)
from msgspec import Struct

from eastwall.model.operation import Argument, Operation, ParserFault
from eastwall.protocols.reading import Reading, label

MAX_TEXT = 65_536
MAX_TOKENS = 4_000
MAX_STEPS = 10_000
MAX_SELECTION = 500
MAX_ARGUMENTS = 200
"""Values that a document gives to its fields, of which it is told."""
MAX_VALUE = 128
"""Characters of such a value: longer ones are no ids."""
MAX_DEPTH = 32
"""Levels of fields that are followed."""
MAX_PATH = 256
"""Characters of a field path."""
MAX_BATCH = 100
MAX_FRESH = 32_768
"""Characters of the documents of a batch that are read, beside those already known: parsing is what costs."""
MAX_NAMES = 16
"""Operation names of a document whose readings are remembered."""
MAX_ROOTS = 20
"""Root fields that are named; `+3` says how many more there were."""
CACHE_DOCUMENTS = 1_024
CACHE_CHARACTERS = 2_000_000
"""Of documents and field paths, per generation."""

_HASH = regex(r"[0-9A-Fa-f]{16,128}")
_TYPED = regex(r"\s*(?:#[^\n]*\n\s*|,)*(?:query|mutation|subscription|fragment)\b[^{]*\{")
_COMPANIONS = frozenset(
    ("query", "operationName", "variables", "extensions", "id", "documentId", "operation_name", "operationId")
)
"""The members of a GraphQL request; some clients add one or two of their own."""


class Executable(Struct, frozen=True):
    """An operation of a document."""

    type: str
    """`query`, `mutation`, `subscription`."""
    name: str
    roots: tuple[str, ...]
    """Names of the root fields, sorted."""
    selection: tuple[str, ...]
    """Paths of the leaves, sorted."""
    arguments: tuple[Argument, ...] = ()
    """What is given to its fields, in the order of the walk."""


class Document(Struct, frozen=True):
    """What is known of a document's text."""

    operations: tuple[Executable, ...] = ()
    faults: tuple[ParserFault, ...] = ()
    telling: bool = False
    """Whether it could hardly be anything else: it says its type, or it selects fields of fields, or gives arguments."""


class _Known:
    """A document, and what it asks for under each operation name that came with it."""

    __slots__ = ("document", "readings")

    def __init__(self, found: Document) -> None:
        self.document = found
        self.readings: dict[str, Reading] = {}


class _Cache:
    """Documents by the hash of their text."""

    def __init__(self) -> None:
        self.recent: dict[str, _Known] = {}
        self.older: dict[str, _Known] = {}
        self.weight = 0

    def holds(self, text: str) -> bool:
        return text in self.recent or text in self.older

    def known(self, text: str, room: int = MAX_TEXT) -> _Known:
        """Raises nothing; what cannot be read has a fault and no operation. A text that is new is read when it has at most `room`
        characters."""
        found = self.recent.get(text)
        if found is None:
            found = self.older.get(text)
            if found is None:
                if len(text) > room:
                    return _Known(_unread(text, "graphql-too-large", f"a document of {len(text)} characters"))
                found = _Known(_read(text))
            weight = len(text) + sum(len(path) for one in found.document.operations for path in one.selection) + 100
            if len(self.recent) >= CACHE_DOCUMENTS or self.weight + weight > CACHE_CHARACTERS:
                self.older, self.recent, self.weight = self.recent, {}, 0
            self.recent[text] = found
            self.weight += weight
        return found


_CACHE = _Cache()


def _alone(one: dict[str, Any], at_home: bool) -> Reading | None:
    """`_of_requests` for the usual request: a document, and no persisted one beside it. None: not this case, or not GraphQL."""
    text, name = one.get("query"), one.get("operationName")
    if type(text) is not str or not text or "extensions" in one:
        return None
    known = _CACHE.known(text)
    if not at_home and not _evident(known.document, one, False):
        return None
    key = name if type(name) is str else ""
    reading = known.readings.get(key)
    if reading is None:
        reading = _of_requests([one], True, alone=True)
        if reading is not None and len(known.readings) < MAX_NAMES and len(key) <= MAX_PATH:
            known.readings[key] = reading
    return reading


def read_request(operation: Operation, content_type: str, at_home: bool) -> Reading | None:
    """What a request asks for, None when it is not GraphQL. `operation` is what `rest` made of it; `at_home`: path or content type say
    GraphQL."""
    body = operation.body
    if type(body) is dict and not operation.query and operation.body_kind != "multipart":
        reading = _alone(body, at_home)
        if reading is not None:
            return reading
    if operation.body_kind == "text" and isinstance(body, str):
        if "application/graphql" not in content_type:
            return None
        asked: list[dict[str, Any]] = [{"query": body}]
        batch = False
    elif operation.body_kind == "multipart" and isinstance(body, dict):
        # GraphQL multipart request specification: the request is a JSON text beside the files.
        try:
            body = msgspec.json.decode(body["operations"]) if "map" in body else None
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError, KeyError, RecursionError):
            return None
        batch, asked = isinstance(body, list), _requests(body)
    else:
        batch, asked = isinstance(body, list), _requests(body)
    in_target: list[dict[str, Any]] = []
    if operation.query:
        once = dict(operation.query)
        if "query" in once or "extensions" in once or "documentId" in once:
            # Of a repeated parameter some servers take the first and some the last.
            texts = [value for name, value in operation.query if name == "query"] or [""]
            in_target = [{**once, "query": text} for text in dict.fromkeys(texts)]
            asked = [*asked, *in_target]
    reading = _of_requests(asked, at_home)
    if reading is None:
        return None
    traits, faults = set(reading.traits), reading.faults
    if batch:
        traits.add("batch")
        if len(asked) > MAX_BATCH:
            faults += (_fault("graphql-too-large", f"a batch of {len(asked)} operations", "body"),)
    if in_target and in_target[0]["query"] and (len(in_target) > 1 or any(one.get("query") for one in asked[: -len(in_target)])):
        # Servers differ in which they execute (express-graphql: the target's).
        faults += (ParserFault("graphql-ambiguous", "query.query", "not the only document of the request"),)
    return Reading("graphql", reading.name, tuple(sorted(traits)), reading.selection, faults, reading.arguments)


def _requests(body: Any) -> list[dict[str, Any]]:
    if isinstance(body, dict):
        return [body]
    return [one for one in body if isinstance(one, dict)] if isinstance(body, list) else []


def _of_requests(asked: list[dict[str, Any]], at_home: bool, *, alone: bool = False) -> Reading | None:
    """All that is asked for, or None when nothing is GraphQL by the evidence. `alone`: it is kept for other requests with this document, so
    that the values of variables stay out of it."""
    parts: dict[str, set[str]] = {}
    persisted: dict[str, None] = {}
    paths: dict[str, None] = {}
    traits: set[str] = set()
    faults: list[ParserFault] = []
    doubtful: list[ParserFault] = []
    given: list[Argument] = []
    found, room = False, MAX_TEXT
    for one in asked[:MAX_BATCH]:
        text, stored = one.get("query"), _persisted(one, at_home)
        if stored:
            traits.add("persisted-query")
        if not isinstance(text, str) or not text.strip():
            if stored:
                persisted[stored[:12].lower()] = None
                found = True
            continue
        if not at_home and "{" not in text:
            continue
        fresh = not _CACHE.holds(text)
        known = _CACHE.known(text, room).document
        if fresh and len(text) <= room:
            room = min(room, MAX_FRESH) - len(text)
        if not at_home and not _evident(known, one, bool(stored)):
            doubtful += [fault for fault in known.faults if fault.id in _UNREAD]
            continue
        found = True
        faults += known.faults
        if len(stored) == 64 and stored.lower() != sha256(text.encode("utf-8", "replace")).hexdigest():
            faults.append(_fault("graphql-hash-mismatch", "the document is not the one of the hash", "body.extensions"))
        for chosen in _executed(known, one.get("operationName")):
            parts.setdefault(chosen.type, set()).update(chosen.roots)
            paths.update(dict.fromkeys(chosen.selection))
            if len(given) < MAX_ARGUMENTS:
                given += chosen.arguments if alone else _resolved(chosen.arguments, one.get("variables"))
    if not found:
        return None
    if "subscription" in parts:
        traits.add("subscription")
    if any(not roots.isdisjoint(("__schema", "__type")) for roots in parts.values()):
        traits.add("introspection")
    distinct = {(fault.id, fault.detail): fault for fault in (*faults, *doubtful)}
    return Reading(
        "graphql",
        name_of(parts, persisted),
        tuple(sorted(traits)),
        tuple(sorted(paths)[:MAX_SELECTION]) if len(asked) > 1 else tuple(paths),
        tuple(distinct.values())[:8],
        tuple(given[:MAX_ARGUMENTS]),
    )


def _resolved(arguments: tuple[Argument, ...], variables: Any) -> list[Argument]:
    """The arguments with the values of their variables, which each operation of a batch has for itself, and a target has as text."""
    if isinstance(variables, str):
        try:
            variables = msgspec.json.decode(variables)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            variables = None
    told: list[Argument] = []
    for one in arguments:
        if not one.variable:
            told.append(one)
            continue
        value = variables.get(one.value) if isinstance(variables, dict) else None
        items = value[:MAX_ARGUMENTS] if isinstance(value, list) else (value,)
        short = (item for item in items if type(item) is int or (type(item) is str and len(item) <= MAX_VALUE))
        told += [Argument(one.field, one.name, str(item)) for item in short]
    return told


def name_of(parts: dict[str, set[str]], persisted: Iterable[str] = ()) -> str:
    """The name of what is executed: root fields by type. `__typename` counts only where nothing else is asked for."""
    names = []
    for kind in sorted(parts):
        roots = sorted(parts[kind] - {"__typename"}) or ["__typename"]
        more = f",+{len(roots) - MAX_ROOTS}" if len(roots) > MAX_ROOTS else ""
        names.append(f"{kind} {','.join(roots[:MAX_ROOTS])}{more}")
    stored = sorted(persisted)[:MAX_ROOTS]
    if stored:
        names.append(f"persisted {','.join(stored)}")
    return label("; ".join(names))


def _persisted(one: dict[str, Any], at_home: bool) -> str:
    """The hash of a persisted query (Apollo's `extensions.persistedQuery`; `documentId` of GraphQL over HTTP; `id` of Relay), or empty."""
    extensions = one.get("extensions")
    if isinstance(extensions, str) and "persistedQuery" in extensions:
        try:
            extensions = msgspec.json.decode(extensions)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""
    if isinstance(extensions, dict):
        query = extensions.get("persistedQuery")
        value = query.get("sha256Hash") if isinstance(query, dict) else None
        if isinstance(value, str) and _HASH.fullmatch(value):
            return value
    if at_home and not one.get("query"):
        for key in ("documentId", "id", "operationId"):
            value = one.get(key)
            if isinstance(value, str) and value:
                value = value.removeprefix("sha256:")
                return value if _HASH.fullmatch(value) else sha256(value.encode("utf-8", "replace")).hexdigest()[:63]
    return ""


def _evident(known: Document, one: dict[str, Any], persisted: bool) -> bool:
    """Whether a document away from a GraphQL path is one: it has an operation, and either is telling by itself or comes with the
    members of a GraphQL request. `{shoes}` alone in a property `query` is neither."""
    if not known.operations and not any(fault.id in _UNREAD for fault in known.faults):
        return False
    if known.telling or (persisted and known.operations):
        return True
    companions = _COMPANIONS.intersection(one)
    return len(companions) > 1 and len(one) - len(companions) <= 1


def _executed(known: Document, name: Any) -> tuple[Executable, ...]:
    """The operations that a server would execute. Without a name, or with one that is not there, it refuses all but a single one; all
    are told then, for a lenient one may take any."""
    if isinstance(name, str) and name:
        chosen = tuple(one for one in known.operations if one.name == name)
        if chosen:
            return chosen
    return known.operations


def read_response(body: Any) -> bool:
    """Whether an answer is an error in GraphQL's own form: `errors` and no `data`; of a batch, any of them."""
    if isinstance(body, list):
        return any(isinstance(one, dict) and read_response(one) for one in body[:MAX_BATCH])
    return isinstance(body, dict) and bool(body.get("errors")) and body.get("data") is None


def _fault(id: str, detail: str, where: str = "body.query") -> ParserFault:
    return ParserFault(id, where, detail)


_UNREAD = frozenset(("graphql-too-large", "too-deep"))


def _unread(text: str, id: str, detail: str) -> Document:
    return Document((), (_fault(id, detail),), _TYPED.match(text[:MAX_TEXT]) is not None)


def _read(text: str) -> Document:
    try:
        tree = parse(text, no_location=True, max_tokens=MAX_TOKENS)
    except GraphQLSyntaxError as error:
        message = " ".join(error.message.split())
        if "tokens" in message and str(MAX_TOKENS) in message:
            return _unread(text, "graphql-too-large", f"a document of more than {MAX_TOKENS} tokens")
        if "nested too deeply" in message:  # graphql-core before 3.3 raises RecursionError
            return _unread(text, "too-deep", "a document that nests too deep")
        return Document(faults=(_fault("graphql-syntax", _shown(message)),))
    except RecursionError:
        return _unread(text, "too-deep", "a document that nests too deep")
    except (ValueError, IndexError, OverflowError) as error:  # an escape that is no character
        return Document(faults=(_fault("graphql-syntax", _shown(str(error))),))
    return _described(tree, telling=_TYPED.match(text) is not None)


def _shown(message: str) -> str:
    # The message quotes the text, in which a value may stand.
    return message.partition(":")[2].partition(",")[0].strip()[:60] or message[:60]


def _described(tree: DocumentNode, *, telling: bool) -> Document:
    fragments: dict[str, FragmentDefinitionNode] = {}
    for node in tree.definitions:
        if isinstance(node, FragmentDefinitionNode):
            fragments.setdefault(node.name.value, node)
    walk = _Walk(fragments)
    operations = [
        Executable(
            node.operation.value,
            node.name.value if node.name else "",
            walk.roots(node.selection_set),
            *walk.paths(node.selection_set),
        )
        for node in tree.definitions
        if isinstance(node, OperationDefinitionNode)
    ]
    if not operations:
        walk.fault("graphql-syntax", "a document without an operation")
    return Document(tuple(operations), tuple(walk.faults.values()), telling or walk.telling)


class _Walk:
    """Follows the selections of a document's operations, each fragment once per place, `MAX_STEPS` fields in all."""

    __slots__ = ("faults", "fragments", "looked", "named", "telling")

    def __init__(self, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self.fragments = fragments
        self.faults: dict[str, ParserFault] = {}
        self.telling = False
        self.named = self.looked = 0
        """Selections met for the names of root fields, and for paths."""

    def fault(self, id: str, detail: str) -> None:
        self.faults.setdefault(id, _fault(id, detail))

    def roots(self, top: SelectionSetNode) -> tuple[str, ...]:
        """Names of the root fields, through fragments, sorted. A fragment is entered once."""
        found: set[str] = set()
        entered: set[str] = set()
        stack = [top]
        while stack:
            selections = stack.pop().selections
            self.named += len(selections)
            if self.named > MAX_STEPS:
                self.fault("graphql-too-large", "more selections than are looked at")
                break
            for node in selections:
                if isinstance(node, FieldNode):
                    found.add(node.name.value)
                    self.telling = self.telling or node.selection_set is not None or bool(node.arguments)
                elif isinstance(node, InlineFragmentNode):
                    stack.append(node.selection_set)
                elif isinstance(node, FragmentSpreadNode):
                    name = node.name.value
                    fragment = self.fragments.get(name)
                    if fragment is not None and name not in entered:
                        entered.add(name)
                        stack.append(fragment.selection_set)
        return tuple(sorted(found))

    def paths(self, top: SelectionSetNode) -> tuple[tuple[str, ...], tuple[Argument, ...]]:
        """Paths of the leaves, in the order of the document until a bound is met, sorted; and what is given to fields on the way."""
        found: dict[str, None] = {}
        given: list[Argument] = []
        entered: set[tuple[str, str]] = set()
        # (selections, path, depth, fragments around)
        stack: list[tuple[SelectionSetNode, str, int, tuple[str, ...]]] = [(top, "", 0, ())]
        while stack and len(found) < MAX_SELECTION and self.looked < MAX_STEPS:
            selections, prefix, depth, around = stack.pop()
            self.looked += len(selections.selections)
            for node in selections.selections:
                if isinstance(node, FieldNode):
                    name = node.name.value
                    path = f"{prefix}.{name}" if prefix else name
                    if node.arguments:
                        _give(name[:MAX_PATH], node.arguments, given, 0)
                    if name.startswith("__") or len(path) > MAX_PATH:
                        continue
                    if node.selection_set is None:
                        if len(found) < MAX_SELECTION:
                            found[path] = None
                    elif depth < MAX_DEPTH:
                        stack.append((node.selection_set, path, depth + 1, around))
                elif isinstance(node, InlineFragmentNode):
                    stack.append((node.selection_set, prefix, depth, around))
                elif isinstance(node, FragmentSpreadNode):
                    name = node.name.value
                    fragment = self.fragments.get(name)
                    if name in around:
                        self.fault("graphql-cycle", "a fragment that holds itself")
                    elif fragment is not None and (prefix, name) not in entered:
                        entered.add((prefix, name))
                        stack.append((fragment.selection_set, prefix, depth, (*around, name)))
        return tuple(sorted(found)), tuple(given)


def _give(field: str, arguments: Iterable[ArgumentNode | ObjectFieldNode], given: list[Argument], depth: int) -> None:
    """Note the texts, whole numbers and variables among the values of arguments."""
    for argument in arguments:
        _give_value(field, argument.name.value[:MAX_PATH], argument.value, given, depth)


def _give_value(field: str, name: str, value: ValueNode, given: list[Argument], depth: int) -> None:
    if len(given) >= MAX_ARGUMENTS or depth > 3:
        return
    if isinstance(value, StringValueNode | IntValueNode):
        if len(value.value) <= MAX_VALUE:
            given.append(Argument(field, name, value.value))
    elif isinstance(value, VariableNode):
        given.append(Argument(field, name, value.name.value[:MAX_PATH], True))
    elif isinstance(value, ListValueNode):
        for one in value.values:
            _give_value(field, name, one, given, depth + 1)
    elif isinstance(value, ObjectValueNode):
        _give(field, value.fields, given, depth + 1)
