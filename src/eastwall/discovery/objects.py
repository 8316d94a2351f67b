"""Object references: which objects a request names, and which ones a response gives to its caller.

An object is known by (service, kind, value) and kept as a keyed 64-bit hash of the three; values are never stored. The *kind*
comes from names alone, so that what a response gives (`orders[].id`) and what a path asks for (`/orders/{order_id}`) meet:

- `order_id`, `orderId`, `order.id`, `order_uuid`, `order_ref` are of kind `order`;
- a bare `id` (`uuid`, `slug`, `code`, ...) takes the kind of the object it stands in: the property that holds the object, or, at
  the top and inside envelopes (`data`, `items`, `results`, ...), the collection of the URL.

One object is written in several ways (`canonical`): a number and its text, UUIDs, global ids (`gid://shop/Order/17`, Base64 of `Order:17`), ids
with their kind before them (`ord_17`). Links name objects too: `/orders/17` in an answer gives order 17.

Only values that look like identifiers count: integers, UUIDs, ULIDs, hex, slugs of at most 64 characters. Booleans, floats,
prices and quantities never do (OWASP API1:2023 is about identifiers).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from re import compile as regex
from typing import Any

from eastwall.discovery.written_ids import MAX_VALUE as MAX_VALUE
from eastwall.discovery.written_ids import canonical
from eastwall.model.endpoint import Endpoint, Match
from eastwall.model.operation import Operation

GIVEN_LIMIT = 200
"""Ids taken from one response."""
USED_LIMIT = 50
"""Ids taken from one request."""
MAX_DEPTH = 20
NO_NAME = '""'
"""How a property whose name is empty is written in a place."""

_PREFIXED = regex(r"([a-z]{2,12})[_-]([0-9]{1,20})")
_WORD = regex(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_VALUE = regex(r"[A-Za-z0-9_][A-Za-z0-9_.:@~+=-]{0,63}")
_UUID = regex(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")
_DECIMAL = regex(r"[0-9]*\.[0-9]+")
_GENERATED = regex(
    r"[0-9]{1,20}|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|(?=[0-9a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{12,128}|[0-7][0-9A-HJKMNP-TV-Z]{25}"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9:.Z+-]{5,})?|[^@\s]{1,64}@[^@\s]+\.[^@\s]+"
    r"|(?=(?:[^0-9]*[0-9]){3})[A-Za-z]{1,6}[_-][0-9A-Za-z]{8,64}"
)
_PARAMETER = regex(r"\{([^{}]*)\}")
_VERSION = regex(r"v[0-9]+(?:\.[0-9]+)*(?:(?:alpha|beta|rc)[0-9]*)?|api|rest|rpc|public|internal")

_STRONG = frozenset({"id", "ids", "uuid", "uuids", "guid", "ulid", "oid", "pk", "uid"})
"""A last word that makes a name an identifier whatever comes before it."""
_WEAK = frozenset({"number", "no", "nr", "num", "ref", "reference", "code", "key", "slug", "handle", "sku"})
"""A last word that makes it one unless what comes before says otherwise."""
_GENERIC = _STRONG | _WEAK | {"name", "value", "param", "parameter", "identifier", "item", "string", "segment", "object"}
"""Path parameter names that say nothing of the kind."""
_OTHER_NOUNS = (
    "country currency language lang locale status error zip postal post area dial colour color phone mobile fax telephone house "
    "street card account_holder page line row version build region state http response exit sort sequence serial api secret "
    "public private access idempotency request trace span correlation csrf nonce message_type event_type country_calling "
    "verification otp"
)
_NOT_OBJECTS = frozenset(_OTHER_NOUNS.split())
"""First words before a weak last word that make it no reference: `status_code`, `phone_number`."""
_TRANSPORT = frozenset({"request", "trace", "span", "correlation", "csrf", "idempotency", "parent_span", "x_request"})
_WRAPPERS = (
    "data items item results result content contents rows records record list entries entry values elements nodes node edges "
    "edge hits objects object payload response page body attributes member members value embedded _embedded collection output variables input "
    "params arguments structuredContent"
)
ENVELOPES = frozenset(_WRAPPERS.split())
"""Properties that wrap the resource of the URL rather than hold another one."""
_FIELD_VERBS = frozenset(
    "create update upsert delete remove insert add edit change set replace patch save submit cancel close archive restore approve reject "
    "get find fetch list search read load all my current confirm pay complete start finish stop send share unshare publish unpublish book "
    "schedule assign unassign accept decline refund renew activate deactivate enable disable lock unlock block unblock mark move copy "
    "duplicate transfer sign verify request resend rate review follow unfollow export download upload import print pause resume redeem apply "
    "batch reassign refund ship fetch query lookup".split()
)
_FIELD_FORMS = frozenset("connection list page aggregate one many".split())
"""Words around what a GraphQL root field is about (also those that Hasura, PostGraphile and Relay put there)."""
_IRREGULAR = {
    "people": "person", "children": "child", "men": "man", "women": "woman", "mice": "mouse", "data": "data", "media": "media",
    "news": "news", "series": "series", "species": "species", "indices": "index", "matrices": "matrix", "vertices": "vertex",
    "criteria": "criterion", "movies": "movie", "cookies": "cookie", "caches": "cache", "leaves": "leaf", "knives": "knife",
    "lives": "life", "gas": "gas", "bus": "bus", "alias": "alias", "canvas": "canvas", "sms": "sms", "dns": "dns", "cms": "cms",
}  # fmt: skip


@lru_cache(maxsize=4096)
def singular(word: str) -> str:
    """English singular of a lower-case noun, good enough to make `orders` and `order` one kind; unknown words are left alone."""
    known = _IRREGULAR.get(word)
    if known is not None:
        return known
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is", "ics", "ous")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")):
        return word[:-2]
    if word.endswith("uses") and len(word) > 6:
        return word[:-2]
    return word[:-1]


def words(name: str) -> list[str]:
    """Lower-case words of an identifier: `parentOrderID` -> `["parent", "order", "id"]`."""
    return [word.lower() for word in _WORD.findall(name)]


def _noun(parts: list[str]) -> str:
    return "_".join([*parts[:-1], singular(parts[-1])]) if parts else ""


@lru_cache(maxsize=8192)
def kind_of(name: str, collection: str) -> str:
    """Object kind that a name stands for, `order` for `order_id`, `orderId`, `order.id`, or `id` in the collection `orders`.

    Falls back to the singular of the name itself (a path parameter called `username` is of kind `username`).
    """
    parts = words(name)
    while len(parts) > 1 and parts[-1] in _STRONG | _WEAK:
        parts.pop()
    if not parts or (len(parts) == 1 and parts[0] in _GENERIC):
        parts = words(collection) or parts
    return _noun(parts) or "object"


@lru_cache(maxsize=8192)
def reference(name: str) -> str | None:
    """How a property name refers to an object: None when it does not, `""` for the object it stands in (`id`), else the kind."""
    parts = words(name)
    if not parts:
        return None
    last = parts[-1]
    if last in _STRONG:
        if len(parts) == 1:
            return ""
        return None if "_".join(parts[:-1]) in _TRANSPORT else kind_of(name, "")
    if last in _WEAK:
        if len(parts) == 1:
            return "" if last in ("slug", "uuid", "sku") else None
        return None if parts[0] in _NOT_OBJECTS or "_".join(parts[:-1]) in _NOT_OBJECTS else kind_of(name, "")
    return None


@lru_cache(maxsize=8192)
def generated(text: str) -> bool:
    """Whether a text is data (number, UUID, ULID, hex, date, e-mail, prefixed id): as a key, that of a map and no name."""
    return _GENERATED.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def collection_of(template: str) -> str:
    """The collection that a template's answer is about: its last literal segment, or the plural noun directly before a word like
    `me` or `search` (`/users/{id}/orders` -> `orders`, `/orders/search` -> `orders`)."""
    return _collection([segment if "{" not in segment else None for segment in template.strip("/").split("/")])


def _collection(segments: list[str | None]) -> str:
    """Of segments with None for parameters."""
    last = plural = ""
    for segment in segments:
        name = segment.partition(":")[0] if segment is not None else ""
        if not name:
            plural = ""
        elif not _VERSION.fullmatch(name):
            name = _callee(name)
            many = singular(name.lower()) != name.lower()
            last = plural if plural and not many else name
            plural = last if many else plural
    return last


@lru_cache(maxsize=4096)
def _callee(name: str) -> str:
    """What a method of an RPC service is about: `ListOrders`, `get_order` -> `orders`, `order`; all else as it is."""
    if "-" in name or ("_" not in name and name[1:].lower() == name[1:]):
        return name
    parts = words(name)
    if len(parts) < 2 or parts[0] not in _FIELD_VERBS:
        return name
    while len(parts) > 1 and parts[0] in _FIELD_VERBS:
        parts = parts[1:]
    return "_".join(parts[: parts.index("by", 1)] if "by" in parts[1:] else parts)


@lru_cache(maxsize=4096)
def parameter_kinds(template: str) -> tuple[str, ...]:
    """Kind of each path parameter, in path order."""
    kinds, collection = [], ""
    for segment in template.strip("/").split("/"):
        names = _PARAMETER.findall(segment)
        kinds += [kind_of(name, collection) for name in names]
        if not names and not _VERSION.fullmatch(segment):
            collection = segment
    return tuple(kinds)


@lru_cache(maxsize=1024)
def _keyed(hash_key: bytes, service: str, kind: str) -> Any:
    return blake2b(f"{service}\0{kind}\0".encode("utf-8", "surrogatepass"), digest_size=8, key=hash_key)


def hash_object(hash_key: bytes, service: str, kind: str, value: str) -> int:
    """Keyed signed 64-bit hash of an object: BLAKE2b-64 of `service NUL kind NUL value`, little-endian.

    UUIDs are compared without regard to case, `ord_17` is order 17. `hash_key` has at most 64 bytes.
    """
    if len(value) == 36 and _UUID.fullmatch(value):
        value = value.lower()
    elif ("_" in value or "-" in value) and (prefixed := _PREFIXED.fullmatch(value)) and kind.startswith(prefixed[1]):
        value = prefixed[2]
    state = _keyed(hash_key, service, kind).copy()
    state.update(value.encode("utf-8", "surrogatepass"))
    return int.from_bytes(state.digest(), "little", signed=True)


object_key = lru_cache(maxsize=65_536)(hash_object)


def shown(value: str) -> str:
    """The value for an explanation: whole when it is a plain number or UUID, else its ends."""
    if value.isdecimal() or _UUID.fullmatch(value):
        return value
    return value[:2] + "*" * min(len(value) - 2, 8) if len(value) > 2 else "**"


def identifier(value: Any) -> str:
    """Canonical text of a value that can identify an object, `""` for all others. Numbers and their texts are the same."""
    if type(value) is int:
        return str(value) if 0 <= value < 1 << 64 else ""
    if type(value) is str and len(value) >= 8:
        value = canonical(value)
    if type(value) is str and 0 < len(value) <= MAX_VALUE and _VALUE.fullmatch(value) and not _DECIMAL.fullmatch(value):
        return value
    return ""


MESSAGE_IDS = frozenset(("jsonrpc", "mcp"))
"""Protocols whose messages bear an `id`, which is the message's and no object's."""
_OF_MESSAGES = frozenset(("body.id", "body[].id"))


def has_message_ids(operation: Operation, match: Match) -> bool:
    """Whether the `id` in a body is the message's. Not where plain REST is known to be: there any caller can add `jsonrpc` and `method` to
    a body to have its object's id overlooked."""
    endpoint = match.endpoint
    return operation.protocol in MESSAGE_IDS and (endpoint is None or endpoint.protocol in MESSAGE_IDS)


def without_message_ids(found: Iterable[tuple[str, str, int, str]]) -> tuple[tuple[str, str, int, str], ...]:
    """Named objects without the ids of JSON-RPC messages: they look like objects that nobody shares."""
    return tuple([one for one in found if one[0] not in _OF_MESSAGES])


def used(operation: Operation, match: Match, hash_key: bytes, service: str) -> tuple[tuple[str, str, int, str], ...]:
    """Objects that a request names: (place, kind, key, value fit to show).

    Every path parameter (dates excepted), and the query parameters and body properties whose names look like references.
    At most `USED_LIMIT`.
    """
    found = named_in_target(operation, match)
    if isinstance(operation.body, (dict, list)):
        _references(operation.body, holder(operation, match), False, "body", found, USED_LIMIT, 0)
    named = keyed(found[:USED_LIMIT], hash_key, service)
    return without_message_ids(named) if has_message_ids(operation, match) else named


def holder(operation: Operation, match: Match) -> str:
    """The collection that a message is about."""
    endpoint = match.endpoint
    if operation.protocol == "graphql" and (endpoint is None or _takes_graphql(endpoint)) and (field := field_of(operation.name)):
        return field
    if operation.protocol == "mcp" and (endpoint is None or endpoint.protocol == "mcp") and (field := field_of(operation.name)):
        return field
    return collection_of(endpoint.template) if endpoint is not None else _guess(operation)


def payload(operation: Operation, match: Match) -> Any:
    """The body without the id of its message."""
    body = operation.body
    if type(body) is dict and "id" in body and "jsonrpc" in body and has_message_ids(operation, match):
        return {name: value for name, value in body.items() if name != "id"}
    return body


def _takes_graphql(endpoint: Endpoint) -> bool:
    """Whether an endpoint is of GraphQL: a `query` that a caller adds to a body of plain REST does not change what its ids are of."""
    return endpoint.protocol == "graphql" or "graphql" in endpoint.template.lower() or "gql" in endpoint.template.lower()


@lru_cache(maxsize=4096)
def field_of(name: str) -> str:
    """What the only root field of a GraphQL operation is about: `query orderById` and `mutation cancelOrder` -> `order`. Empty for
    several, whose variables may be of either."""
    field = name.partition(" ")[2]
    parts = words(field) if field.isidentifier() else []
    while len(parts) > 1 and parts[0] in _FIELD_VERBS:
        parts = parts[1:]
    if "by" in parts[1:]:
        parts = parts[: parts.index("by", 1)]
    while len(parts) > 1 and parts[-1] in _FIELD_FORMS:
        parts.pop()
    return "_".join(parts)


def is_root_field(key: str, holder: str) -> bool:
    """Whether a property is the GraphQL root field of an operation about `holder`: what `createOrder` holds is an order."""
    return len(key) > len(holder) > 0 and holder[:3] in key.lower() and field_of(f"query {key}") == holder


SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
"""RFC 9110, section 9.2.1: they ask for nothing to be changed."""


def changes(method: str, operation: str) -> bool:
    """Whether a call may change something: by its method, and of GraphQL by the kind of its operation."""
    return method not in SAFE_METHODS and not operation.startswith(("query", "subscription", "persisted"))


def made_kind(endpoint: Endpoint) -> str:
    """Kind of the object that a POST to this operation makes, if it makes one: that of its collection, or of its GraphQL field."""
    return _made_kind(endpoint.template, endpoint.operation, _takes_graphql(endpoint))


@lru_cache(maxsize=4096)
def _made_kind(template: str, operation: str, takes_graphql: bool) -> str:
    return kind_of("id", field_of(operation) if takes_graphql and operation else collection_of(template))


def named_in_target(operation: Operation, match: Match) -> list[tuple[str, str, str]]:
    """(place, kind, value) of the objects named in path and query."""
    found: list[tuple[str, str, str]] = []
    endpoint = match.endpoint or match.beside
    if endpoint is None:
        # Nobody called this path before: what its segments look like is all there is.
        found += [(f"path[{at}]", kind, value) for at, kind, value in in_segments(operation.segments)]
    elif match.params:
        kinds = parameter_kinds(endpoint.template)
        for at, (name, value) in enumerate(match.params):
            dated = at < len(endpoint.parameters) and endpoint.parameters[at].kind == "date"
            if value and len(value) <= MAX_VALUE and not dated and at < len(kinds):
                found.append(("path." + name, kinds[at], canonical(value)))
    for name, value in operation.query:
        named = reference(name)
        if named is None and list_reference(name):
            kind = list_kind(name, holder(operation, match))
            found += [("query." + name, kind, text) for one in value.split(",")[:USED_LIMIT] if (text := identifier(one.strip()))]
        elif named is not None and (value := identifier(value)):
            found.append(("query." + name, named or kind_of("id", holder(operation, match)), value))
        elif named is not None and "," in value and name.lower().endswith("ids"):
            kind = named or kind_of("id", holder(operation, match))
            found += [("query." + name, kind, text) for one in value.split(",")[:USED_LIMIT] if (text := identifier(one.strip()))]
    return found + given_in_document(operation, match) if operation.arguments else found


def given_in_document(operation: Operation, match: Match) -> list[tuple[str, str, str]]:
    """(place, kind, value) of the ids that a GraphQL document gives to its fields: in its text, or by variables whose own names say less than
    the argument's (callers choose them)."""
    found: list[tuple[str, str, str]] = []
    variables = operation.body.get("variables") if type(operation.body) is dict else None
    for one in operation.arguments:
        named = reference(one.name)
        if named is None:
            continue
        kind = named or kind_of("id", field_of(f"query {one.field}"))
        place = f"body.query:{one.field}.{one.name}"
        if not one.variable:
            values: Iterable[Any] = (one.value,)
        else:
            own = reference(one.value)
            if own is not None and (own or kind_of("id", holder(operation, match))) == kind:
                continue  # found where it stands
            value = variables.get(one.value) if type(variables) is dict else None
            values = value[:USED_LIMIT] if type(value) is list else (value,)
        found += [(place, kind, text) for item in values if (text := identifier(item))]
        if len(found) >= USED_LIMIT:
            break
    return found


def in_segments(segments: tuple[str, ...]) -> list[tuple[int, str, str]]:
    """(index, kind, value) of what looks like an object in a path without template: what follows a plural noun and is none itself."""
    found = []
    for at in range(1, len(segments)):
        noun, value = segments[at - 1], segments[at]
        many = singular(noun.lower()) != noun.lower() and not _VERSION.fullmatch(noun)
        if many and (text := identifier(value)) and (any(c.isdigit() for c in text) or generated(text)):
            found.append((at, kind_of("id", noun), text))
    return found


def keyed(found: list[tuple[str, str, str]], hash_key: bytes, service: str) -> tuple[tuple[str, str, int, str], ...]:
    """(place, kind, value) -> (place, kind, key, value fit to show)."""
    return tuple([(place, kind, object_key(hash_key, service, kind, value), shown(value)) for place, kind, value in found])


def given(operation: Operation, match: Match, hash_key: bytes, service: str) -> tuple[tuple[str, int], ...]:
    """Objects that a response gives to its caller: distinct (kind, key), at most `GIVEN_LIMIT`.

    `operation` is the decoded response (with the request's path), `match` the request's. A learned `gives` plan decides alone.
    """
    if not isinstance(operation.body, (dict, list)):
        return ()
    found: list[tuple[str, str, str]] = []
    if not planned_gifts(operation, match, found):
        _references(payload(operation, match), holder(operation, match), False, "", found, GIVEN_LIMIT, 0)
    return keyed_gifts(found, hash_key, service)


def planned_gifts(operation: Operation, match: Match, found: list[tuple[str, str, str]]) -> bool:
    """Collect by the endpoint's learned plan; False when there is none."""
    endpoint = match.endpoint
    if endpoint is None or not endpoint.gives:
        return False
    for place, kind in endpoint.gives:
        _planned(operation.body, steps_of(place), 0, kind, found)
    return True


def keyed_gifts(found: list[tuple[str, str, str]], hash_key: bytes, service: str) -> tuple[tuple[str, int], ...]:
    """Distinct (kind, key)."""
    distinct = {(kind, value): None for _, kind, value in found}
    return tuple([(kind, object_key(hash_key, service, kind, value)) for kind, value in distinct])


def _guess(operation: Operation) -> str:
    """The collection of a path without template: segments that look generated, or hold no letter, count as parameters."""
    segments = operation.segments
    return _collection([s if s and not generated(s) and not s.isdecimal() else None for s in segments])


def _references(
    node: Any, holder: str, owned: bool, place: str, found: list[tuple[str, str, str]], limit: int, depth: int
) -> None:
    """Append (place, kind, value) of the references below `node`.

    `holder` names what `node` is (`orders`); `owned`: an enclosing object has an id of its own, so that `items` within it are its
    parts and not an envelope.
    """
    if depth > MAX_DEPTH or len(found) >= limit:
        return
    if type(node) is list:
        place += "[]"
        for item in node:
            if type(item) is dict or type(item) is list:
                _references(item, holder, owned, place, found, limit, depth + 1)
                if len(found) >= limit:
                    return
        return
    owned = owned or (("id" in node or "uuid" in node or "_id" in node) and "jsonrpc" not in node)
    for key, value in node.items():
        if type(value) is dict or type(value) is list:
            if type(value) is list and value and type(value[0]) in (str, int) and list_reference(key):
                listed = list_kind(key, holder)
                inner = f"{place}.{key}[]" if place else key + "[]"
                found += [(inner, listed, text) for item in value[: limit - len(found)] if (text := identifier(item))]
            name = "{}" if generated(key[:128]) else key[:128] or NO_NAME
            # An entry of a map is what the map holds; in an envelope stands what the envelope is about.
            inner = holder if name == "{}" or (not owned and (key in ENVELOPES or is_root_field(key, holder))) else key
            _references(value, inner, owned, f"{place}.{name}" if place else name, found, limit, depth + 1)
            continue
        kind = reference(key)
        if kind is not None:
            text = identifier(value)
            if text and len(found) < limit:
                found.append((f"{place}.{key}" if place else key, kind or kind_of("id", holder), text))


@lru_cache(maxsize=4096)
def list_reference(name: str) -> bool:
    """Whether a list property holds ids: `order_ids`, `productIds`, `ids`."""
    return reference(name) is not None and words(name)[-1:] in (["ids"], ["uuids"])


def list_kind(name: str, holder: str) -> str:
    """Kind of the ids in such a list: what its name says, else what it stands in."""
    return reference(name) or kind_of("id", holder)


@lru_cache(maxsize=4096)
def steps_of(place: str) -> tuple[str, ...]:
    """`items[].order.id` -> `("items", "[]", "order", "id")`."""
    return tuple(step for part in place.split(".") for step in part.replace("[]", "\0[]").split("\0") if step)


def _planned(node: Any, steps: tuple[str, ...], at: int, kind: str, found: list[tuple[str, str, str]]) -> None:
    while at < len(steps):
        step = steps[at]
        at += 1
        if step == "[]":
            for item in node if type(node) is list else ():
                if len(found) >= GIVEN_LIMIT:
                    return
                _planned(item, steps, at, kind, found)
            return
        if type(node) is not dict or step not in node:
            return
        node = node[step]
    text = identifier(node)
    if text and len(found) < GIVEN_LIMIT:
        found.append(("", kind, text))
