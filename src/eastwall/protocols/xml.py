"""XML bodies as the trees that JSON gives, so that whatever reads values, shapes and ids reads them too.

The document element's content is the tree, its name is not in it, as in OpenAPI's XML object: a service that takes an order as JSON and as
XML has the same places for both. An element with neither attributes nor children is its text; any other is a dict with `@name` for
attributes, `#text` for text, and a list where an element is repeated. `xsi:nil` is None. Names are local names, without namespace.

Document types and entities are refused (CWE-611, CWE-776): no API needs them, and who sends them wants a parser to fetch or to grow.
Expat is what reads (https://libexpat.github.io), through the standard library's tree builder in C.
"""

from __future__ import annotations

from contextlib import suppress
from re import compile as regex
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from msgspec import Struct

from eastwall.model.operation import ParserFault
from eastwall.protocols.limits import Limits

_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_DECLARED = regex(rb"""(?:\xef\xbb\xbf)?<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_PLAIN = frozenset(
    b"utf-8 utf8 us-ascii ascii iso-8859-1 iso-8859-2 iso-8859-15 latin1 windows-1250 windows-1251 windows-1252".split()
)
"""Encodings in which ASCII bytes mean ASCII characters, so that a document type can be found by its bytes."""


class Parsed(Struct, frozen=True):
    """What came of a body that may be XML."""

    ok: bool
    """Whether `tree` is what the body says. False: no XML, refused, or too deep or too large."""
    tree: Any = None
    """The document element's content: dict or str."""
    faults: tuple[ParserFault, ...] = ()


class _RefusedError(Exception):
    """The document is not read further, for the fault it carries."""

    def __init__(self, id: str, detail: str) -> None:
        super().__init__(id)
        self.fault = ParserFault(id, "body", detail)


class _FoundError(Exception):
    """Enough was read."""


def parse(data: bytes, limits: Limits, encoding: str | None = None) -> Parsed:
    """Decode an XML body. Never raises; time linear in the body, memory bounded by `limits`.

    `encoding` is what the transport says of it (RFC 7303 section 3: it overrides the document's own).
    """
    faults: tuple[ParserFault, ...] = ()
    try:
        # Every element has its `<` and every attribute its `=`. Closing tags have one too, and texts may hold a few of the latter, so
        # this is only to keep the tree from growing; the exact count comes with it.
        if data.count(b"<") > 2 * limits.max_values or data.count(b"=") > 4 * limits.max_values:
            raise _RefusedError("too-many-values", f"more than {limits.max_values} elements and attributes")
        declared = _DECLARED.match(data)
        name = declared[1].lower() if declared and encoding is None else b""
        if name.startswith((b"utf-16", b"ucs-2")) and b"\0" not in data[:64]:
            # Text that was declared for a UTF-16 string and sent as UTF-8: a habit of .NET, and of who hopes to be misread.
            encoding, faults = "utf-8", (_odd(name, "and is not"),)
        elif name and name not in _PLAIN:
            faults = (_odd(name, "which not every reader obeys"),)
        # An entity needs a document type to be declared in.
        if faults or b"<!DOCTYPE" in data or b"\0" in data[:64] or (declared is None and b"<?xml" in data[:64]):
            _refuse_document_type(data, encoding)
        root = ElementTree.fromstring(data, ElementTree.XMLParser(encoding=encoding))  # noqa: S314 - see above
        return Parsed(True, _Tree(limits.max_values - 1).root(root, limits.max_depth), faults)
    except _RefusedError as refused:
        return Parsed(False, None, (*faults, refused.fault))
    except (ElementTree.ParseError, expat.ExpatError) as error:
        entity = getattr(error, "code", 0) == _UNDEFINED_ENTITY
        fault = ParserFault("xml-entity" if entity else "invalid-xml", "body", str(error)[:80])
        return Parsed(False, None, (*faults, fault))
    except (ValueError, LookupError, RecursionError) as error:  # an encoding that Python has and XML has not
        return Parsed(False, None, (*faults, ParserFault("invalid-xml", "body", str(error)[:80])))


_UNDEFINED_ENTITY = 11
"""XML_ERROR_UNDEFINED_ENTITY: an entity other than the five of XML itself."""


def _odd(name: bytes, what: str) -> ParserFault:
    return ParserFault("unknown-encoding", "body", f"declared as `{name.decode('ascii', 'replace')}`, {what}")


def _refuse_document_type(data: bytes, encoding: str | None) -> None:
    """Raises `_RefusedError` for a document type, with the more telling fault when it declares entities."""
    reader = expat.ParserCreate(encoding)
    seen = False

    def begin(name: str, system: str | None, public: str | None, internal: bool) -> None:
        nonlocal seen
        seen = True
        if system is not None and not internal:
            raise _RefusedError("xml-doctype", "with an external subset")

    def entity(name: str, *rest: Any) -> None:
        raise _RefusedError("xml-entity", f"`{name[:40]}` is declared")

    def element(name: str, attributes: Any) -> None:
        raise _FoundError

    reader.StartDoctypeDeclHandler = begin
    reader.EntityDeclHandler = entity
    reader.StartElementHandler = element
    try:
        reader.Parse(data, True)
    except _FoundError:
        pass
    except expat.ExpatError:
        if not seen:
            raise
    if seen:
        raise _RefusedError("xml-doctype", "APIs need none")


class _Tree:
    """Makes values of elements."""

    __slots__ = ("budget", "locals")

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.locals: dict[str, str] = {}
        """`{namespace}name` -> `name`, of those met."""

    def local(self, name: str) -> str:
        found = self.locals[name] = name[name.rfind("}") + 1 :]
        return found

    def root(self, node: ElementTree.Element, levels: int) -> Any:
        if len(node) or node.keys():
            return self.content(node, levels)
        return (node.text or "").strip()

    def content(self, node: ElementTree.Element, levels: int) -> Any:
        """The value of an element that has attributes or children."""
        attributes = node.items()
        count = len(node)
        self.budget -= count + len(attributes)
        if self.budget < 0:
            raise _RefusedError("too-many-values", "too many elements and attributes")
        if levels <= 1 and count:
            raise _RefusedError("too-deep", "elements nest too deep")
        if attributes and not count and node.get(_NIL) in ("true", "1"):
            return None
        text, known = node.text, self.locals
        texts = [text] if text else []
        tree: dict[str, Any] = {}
        for name, value in attributes:
            _add(tree, "@" + (known.get(name) or self.local(name)), value)
        for child in node:
            if len(child) or child.keys():
                inner = self.content(child, levels - 1)
            else:  # nearly all elements are leaves: spared a call
                text = child.text
                inner = text.strip() if text else ""
            text = child.tail
            if text:
                texts.append(text)
            tag = child.tag
            key = known.get(tag) or self.local(tag)
            if key in tree:
                _add(tree, key, inner)
            else:
                tree[key] = inner
        if texts and (text := "".join(texts).strip()):
            tree["#text"] = text
        return tree


def _add(tree: dict[str, Any], key: str, value: Any) -> None:
    if key not in tree:
        tree[key] = value
    elif type(tree[key]) is list:
        tree[key].append(value)
    else:
        tree[key] = [tree[key], value]


def opening(data: bytes, count: int) -> tuple[tuple[int, str, str], ...]:
    """(depth, namespace, local name) of the first `count` elements of a body that `parse` took; fewer when it ends, or is none."""
    found: list[tuple[int, str, str]] = []
    depth = 0
    reader = expat.ParserCreate(None, "\n")  # no namespace holds a line end

    def start(name: str, attributes: Any) -> None:
        nonlocal depth
        space, _, local = name.rpartition("\n")
        found.append((depth, space, local))
        depth += 1
        if len(found) >= count:
            raise _FoundError

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1

    reader.StartElementHandler = start
    reader.EndElementHandler = end
    reader.StartDoctypeDeclHandler = _stop
    with suppress(_FoundError, expat.ExpatError, ValueError, LookupError):
        reader.Parse(data, True)
    return tuple(found)


def _stop(*_: Any) -> None:
    raise _FoundError
