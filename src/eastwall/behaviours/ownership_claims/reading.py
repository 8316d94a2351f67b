"""Which values of a message may tell whose the data is, and which are the caller's own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from eastwall.discovery.objects import object_key, reference, words
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity
from eastwall.model.operation import Operation

REQUEST, ANSWER = "?", "="
"""Begin a place: on which side of the call it stands."""
MAX_NODES = 600
"""Values of one message that are read for learning."""
MAX_ITEMS = 20
"""Items of one array that are read for learning."""
MAX_DEPTH = 8
MAX_TEXT = 128
"""Characters of a value that can name somebody."""
MAX_LABELS = 8
"""Claims of one caller that are compared."""
MAX_HEADERS = 8
MAX_SEEN_PLACES = 24
"""Places of an operation of which it is remembered that they ever held a caller's own."""
MAX_ROWS = 40
"""Places that one call's note may tell."""
MAX_SPOTS = 16_384
"""Members of bodies whose places are kept ready."""

EVERY_SERVICE = ""
"""Keys of objects: see `decision.extract`."""

_LABELS = ("sub", "email", "preferred_username", "username", "user_name", "upn", "client_id", "azp")
"""Claims that name the caller (RFC 7519, OpenID Connect Core 1.0 section 5.1), beside those whose name refers to an object."""
SUBJECT_ID = "sub_id"
"""Label of a subject without the provider before it: of `auth0|507f1f77` services keep, and paths split off, what follows the bar."""
MADE_UP = frozenset(("tenant", "name", SUBJECT_ID))
"""Labels that are not those of claims: see `own_claim`."""
_OF_THE_TOKEN = frozenset(("jti", "sid", "kid", "iss", "aud", "nonce", "session_id", "token_id", "key_id"))
_PERSONS = frozenset(
    "user owner customer member patient person employee student author creator seller buyer holder subscriber profile applicant guest "
    "created_by owned_by submitted_by booked_by requested_by account_owner account_holder uploaded_by ordered_by client beneficiary "
    "policy_holder cardholder tenant org organization organisation company workspace merchant account team insured borrower sender payer "
    "requester resident citizen learner pupil claimant principal subject".split()
)
"""Nouns of fields that say whose something is."""
_HEADERS = ("x-user", "x-account", "x-tenant", "x-org", "x-customer", "x-owner", "x-workspace", "x-company")
_PAGING = frozenset(
    "page size limit offset cursor per_page perpage pagesize page_size pagetoken page_token after before start count sort order".split()
)
"""Parameters of a list that say nothing of whose it is."""


def text_of(value: Any) -> str:
    """A value as claims are compared: numbers as text, letters in lower case; empty for what names nobody."""
    if type(value) is str:
        return value.lower() if 0 < len(value) <= MAX_TEXT else ""
    return str(value) if type(value) is int and 0 <= value < 1 << 64 else ""


def alias_key(key: bytes, space: str, text: str) -> int:
    """Hash of what stands where ids of a space do."""
    return object_key(key, EVERY_SERVICE, alias_space(space), text)


def alias_space(space: str) -> str:
    """The kind under which ids of a space are hashed."""
    return f"alias {space}"


def actor_key(key: bytes, actor: str) -> int:
    """Hash of an actor as a holder of aliases."""
    return object_key(key, EVERY_SERVICE, "alias of", actor)


def called_key(key: bytes, text: str) -> int:
    """Hash of what somebody is called."""
    return object_key(key, EVERY_SERVICE, "called", text)


@lru_cache(maxsize=8192)
def space_of(holder: str, name: str) -> str:
    """What a field's values number: `user` for `user_id`, `customer` for the `id` within `customer`; empty for a field that by its name
    says of nobody whose it is."""
    kind = reference(name)
    if kind is None:
        kind = "_".join(words(name))
    elif not kind:
        kind = "_".join(words(holder))
    return kind if kind in _PERSONS else ""


def own_values(identity: Identity) -> dict[str, str]:
    """Label -> value of what names the caller: claims, the actor's name, the tenant."""
    claims = identity.claims
    found = {name: text for name in _LABELS if (text := text_of(claims.get(name, "")))}
    if "sub" not in found and (text := text_of(identity.actor.partition(":")[2])) and identity.kind not in ("key", "address"):
        found["name"] = text
    if text := text_of(identity.tenant):
        found["tenant"] = text
    if "|" in found.get("sub", "") and (text := own_claim(identity, SUBJECT_ID)):
        found[SUBJECT_ID] = text
    if len(claims) > 4:
        for name, value in claims.items():
            if len(found) >= MAX_LABELS:
                break
            named = name not in found and name not in _OF_THE_TOKEN and value != identity.tenant and reference(name)
            if named and (text := text_of(value)):
                found[name] = text
    return found


def also_own(identity: Identity) -> set[str]:
    """Names of all for whom, or through whom, the call is made: agents act for people."""
    return {text for one in identity.chain if (text := text_of(one.name))}


def own_claim(identity: Identity, label: str) -> str:
    """One of `own_values`."""
    if label == "tenant":
        return text_of(identity.tenant)
    if label == "name":
        return text_of(identity.actor.partition(":")[2])
    if label == SUBJECT_ID:
        return text_of(identity.claims.get("sub", "")).rpartition("|")[2]
    return text_of(identity.claims.get(label, ""))


def request_values(
    operation: Operation, params: tuple[tuple[str, str], ...], headers: dict[str, str]
) -> list[tuple[str, str, str]]:
    """(place, space, text) of a request."""
    found = _outside_body(operation, params, headers)
    _leaves(operation.body, _REQUEST_BODY, MAX_DEPTH, MAX_NODES, found)
    return found


def asks_for_nobodys(facts: Facts) -> bool:
    """Whether the request of this answer says in no way whose objects it asks for, nor which: a plain list, at most a page of it."""
    asked = facts.call.prior.facts if facts.call.prior is not None else None
    if asked is None or asked.used or asked.match.params:
        return False
    operation = asked.operation
    if operation.arguments or (operation.body and not _bare(operation)):
        return False
    return all(name.lower() in _PAGING for name, _ in operation.query) and not any(
        space for _, space, _ in request_values(operation, (), asked.call.request.headers)
    )


def _bare(operation: Operation) -> bool:
    """Whether a body is that of a GraphQL query without arguments."""
    body = operation.body
    return operation.protocol == "graphql" and type(body) is dict and not body.get("variables")


def answer_values(operation: Operation) -> list[tuple[str, str, str]]:
    """(place, space, text) of an answer."""
    found: list[tuple[str, str, str]] = []
    _leaves(operation.body, _ANSWER_BODY, MAX_DEPTH, MAX_NODES, found)
    return found


def _outside_body(
    operation: Operation, params: tuple[tuple[str, str], ...], headers: dict[str, str]
) -> list[tuple[str, str, str]]:
    """(place, space, text) of the path, the query and the headers of a request."""
    found = [(*(_PATH.leaves.get(name) or _PATH.leaf(name)), text) for name, value in params if (text := text_of(value))]
    for name, value in operation.query[:50]:
        if text := text_of(value):
            found.append((*(_QUERY.leaves.get(name) or _QUERY.leaf(name)), text))
    return found + _header_values(_telling(tuple(headers)), headers)


def _header_values(telling: tuple[str, ...], headers: dict[str, str]) -> list[tuple[str, str, str]]:
    values = [(name, text) for name in telling if (text := text_of(headers[name]))]
    return [(f"{REQUEST}header.{name[:64]}", space_of("", name[2:]), text) for name, text in values[:MAX_HEADERS]]


@lru_cache(maxsize=1024)
def _telling(names: tuple[str, ...]) -> tuple[str, ...]:
    """Of the names of headers, those that may name whose something is."""
    return tuple([name for name in names if name.startswith(_HEADERS)])


class Spot:
    """One place of bodies that holds objects, and what stands below it: made as it is met, so that a place's name is put together once."""

    __slots__ = ("_holder", "below", "items", "leaves", "place")

    count = 0
    """Members of all that is kept: names come from callers."""

    def __init__(self, place: str, holder: str) -> None:
        self.place = place
        self._holder = holder
        self.leaves: dict[str, tuple[str, str]] = {}
        """Member -> (place, space)."""
        self.below: dict[str, Spot] = {}
        self.items: Spot | None = None

    def leaf(self, name: str) -> tuple[str, str]:
        """(place, space) of a member that is not among `leaves`."""
        found = _leaf(self.place, self._holder, name[:64])
        if self._room(name):
            self.leaves[name] = found
        return found

    def member(self, name: str) -> Spot:
        """A member that holds objects and is not among `below`."""
        found = Spot(f"{self.place}.{name[:64]}", name[:64])
        if self._room(name):
            self.below[name] = found
        return found

    def item(self) -> Spot:
        """The items of an array."""
        found = self.items
        if found is None:
            found = self.items = Spot(self.place + "[]", self._holder)
        return found

    @staticmethod
    def _room(name: str) -> bool:
        if Spot.count >= MAX_SPOTS:
            Spot.count = 0
            for root in (_PATH, _QUERY, _REQUEST_BODY, _ANSWER_BODY):
                root.leaves, root.below, root.items = {}, {}, None
        Spot.count += 1
        return len(name) <= 64


_PATH, _QUERY = Spot(f"{REQUEST}path", ""), Spot(f"{REQUEST}query", "")
_REQUEST_BODY, _ANSWER_BODY = Spot(f"{REQUEST}body", ""), Spot(f"{ANSWER}body", "")


def _leaves(node: Any, spot: Spot, deeper: int, left: int, found: list[tuple[str, str, str]]) -> int:
    """Add the values of a node to `found`; how many of `left` values may still be read."""
    if type(node) is list:
        for item in node[:MAX_ITEMS]:
            if (type(item) is dict or type(item) is list) and deeper and left > 0:
                left = _leaves(item, spot.item(), deeper - 1, left, found)
        return left
    if type(node) is not dict:
        return left
    leaves = spot.leaves
    for key, value in node.items():
        left -= 1
        if left <= 0:
            return left
        kind = type(value)
        if kind is str or kind is int:
            if text := text_of(value):
                found.append((*(leaves.get(key) or spot.leaf(key)), text))
        elif (kind is dict or kind is list) and deeper:
            left = _leaves(value, spot.below.get(key) or spot.member(key), deeper - 1, left, found)
    return left


class OwnNames:
    """What names a caller, ready to be compared."""

    __slots__ = ("labels", "lengths", "masks", "numbers")

    def __init__(self, own: Mapping[str, str]) -> None:
        """`own`: see `own_values`."""
        self.labels = list(own)
        self.masks: dict[str, int] = {}
        """Value -> a bit for each of `labels` that has it."""
        for bit, text in enumerate(own.values()):
            self.masks[text] = self.masks.get(text, 0) | 1 << bit
        self.lengths = frozenset(map(len, self.masks))
        self.numbers = any(text.isdigit() for text in self.masks)
        """Whether one is a number."""


class Comparison:
    """What stood in one call where somebody is named, beside what names its caller."""

    __slots__ = ("_lengths", "_masks", "_numbers", "_rows", "_seen")

    def __init__(self, own: OwnNames, seen: set[str]) -> None:
        """`own`: what names the caller. `seen`: places of the operation that ever held it; they are added to."""
        self._masks, self._lengths, self._numbers = own.masks, own.lengths, own.numbers
        self._seen = seen
        self._rows: dict[str, list[Any]] = {}

    def add(self, place: str, space: str, text: str) -> None:
        """One value."""
        mask = self._masks.get(text, 0)
        if mask:
            if len(self._seen) < MAX_SEEN_PLACES:
                self._seen.add(place)
        elif not space and place not in self._seen:
            return
        row = self._rows.get(place)
        if row is None:
            if len(self._rows) < MAX_ROWS:
                self._rows[place] = [place, space, mask, text]
        else:
            row[2] &= mask
            if row[3] != text:
                row[3] = ""

    def request(self, operation: Operation, params: tuple[tuple[str, str], ...], headers: dict[str, str]) -> None:
        """The values of a request."""
        for name, value in params:
            if text := text_of(value):
                self.add(*(_PATH.leaves.get(name) or _PATH.leaf(name)), text)
        if operation.query:
            for name, value in operation.query[:50]:
                if text := text_of(value):
                    self.add(*(_QUERY.leaves.get(name) or _QUERY.leaf(name)), text)
        if telling := _telling(tuple(headers)):
            for place, space, text in _header_values(telling, headers):
                self.add(place, space, text)
        if operation.body is not None:
            self._body(operation.body, _REQUEST_BODY, MAX_DEPTH, MAX_NODES)

    def answer(self, operation: Operation) -> None:
        """The values of an answer."""
        self._body(operation.body, _ANSWER_BODY, MAX_DEPTH, MAX_NODES)

    def rows(self, key: bytes) -> list[list[Any]]:
        """(place, space, bits of the labels that all its values were equal to, hash of its one value or 0)."""
        rows = list(self._rows.values())
        for row in rows:
            row[3] = alias_key(key, row[1], row[3]) if row[3] else 0
        return rows

    def _body(self, node: Any, spot: Spot, deeper: int, left: int) -> int:
        """`_leaves`, and `add` for what counts."""
        if type(node) is list:
            for item in node[:MAX_ITEMS]:
                if (type(item) is dict or type(item) is list) and deeper and left > 0:
                    left = self._body(item, spot.item(), deeper - 1, left)
            return left
        if type(node) is not dict:
            return left
        leaves, seen, lengths = spot.leaves, self._seen, self._lengths
        for key, value in node.items():
            left -= 1
            if left <= 0:
                return left
            kind = type(value)
            if kind is str or kind is int:
                place, space = leaves.get(key) or spot.leaf(key)
                if (
                    space
                    or place in seen
                    # Only lower case that is not ASCII may be longer than what it is of.
                    or (self._numbers if kind is int else len(value) in lengths or not value.isascii())
                ) and (text := text_of(value)):
                    self.add(place, space, text)
            elif (kind is dict or kind is list) and deeper:
                left = self._body(value, spot.below.get(key) or spot.member(key), deeper - 1, left)
        return left


@lru_cache(maxsize=16_384)
def _leaf(place: str, holder: str, name: str) -> tuple[str, str]:
    """(place, space) of a member of an object."""
    return f"{place}.{name}", space_of(holder, name)


@lru_cache(maxsize=4096)
def steps_of(place: str) -> tuple[str, ...]:
    """`=body.items[].user_id` -> `("items", "[]", "user_id")`."""
    inner = place[1:].removeprefix("body")
    return tuple(step for part in inner.split(".") for step in part.replace("[]", "\0[]").split("\0") if step)


Found = tuple[str, tuple[str | int, ...]]
"""(text, path in the body)."""


def at(node: Any, steps: tuple[str, ...], most: int) -> list[Found]:
    """The values at a place, at most `most`."""
    nodes: list[tuple[Any, tuple[str | int, ...]]] = [(node, ())]
    for step in steps:
        if step == "[]":
            nodes = [(item, (*path, i)) for node, path in nodes if type(node) is list for i, item in enumerate(node)][:most]
        else:
            nodes = [(node[step], (*path, step)) for node, path in nodes if type(node) is dict and step in node]
        if not nodes:
            return []
    return [(text, path) for node, path in nodes if (text := text_of(node))]


def value_at(node: Any, steps: tuple[str, ...]) -> Any:
    """What stands at a place, in a list the first; None: nothing."""
    for step in steps:
        if type(node) is dict:
            node = node.get(step)
        else:
            node = node[0] if step == "[]" and type(node) is list and node else None
    return node


def all_are(value: Any, node: Any, outside: tuple[str, ...], inside: tuple[str, ...]) -> bool:
    """Whether each item of a list has this value at a place, a text or a number, as nearly all answers have their caller's own; False also for what
    must be looked at closely. `outside`: steps to the list; `inside`: from an item to the value."""
    for step in outside:
        if type(node) is not dict:
            return False
        node = node.get(step)
    if type(node) is not list:
        return False
    kind = type(value)
    if len(inside) == 1 and kind is str:
        name = inside[0]
        for item in node:  # noqa: SIM110 - a generator takes twice as long
            if type(item) is not dict or item.get(name) != value:
                return False
        return True
    for item in node:
        for step in inside:
            if type(item) is not dict:
                return False
            item = item.get(step)
        if item != value or type(item) is not kind:
            return False
    return True


def texts_at(node: Any, steps: tuple[str, ...], most: int) -> set[str]:
    """The distinct values at a place, without where they stand: nearly all answers hold the caller's own and nothing else."""
    nodes = [node]
    for step in steps:
        if step == "[]":
            nodes = [item for node in nodes if type(node) is list for item in node][:most]
        else:
            nodes = [node[step] for node in nodes if type(node) is dict and step in node]
        if not nodes:
            return set()
    distinct = {value for value in nodes if type(value) is str or type(value) is int}
    return {text for value in distinct if (text := text_of(value))}
