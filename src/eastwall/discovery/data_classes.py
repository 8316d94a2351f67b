"""Sensitive data in messages: which class, where, how sure. What must hold for each class is told in docs/data-classes.md.

| evidence | what it is | confidence |
|----------|------------|------------|
| validator | a check digit, checksum or published structure agrees | 1.0 |
| form and name, or a form that few other things have | a date in `birthDate`; an IPv4 address | 0.8-0.9 |
| name alone, with a form that fits | text in `street`, `lastName` | 0.6-0.8 |

One automaton reads the raw body and says which classes are worth looking for, by values and by field names; a clean body costs that one
pass. Only when it hits, the decoded tree is walked: the walk confirms and gives the place. Ids, timestamps and UUIDs fail the validators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eastwall.discovery.data_names import people
from eastwall.discovery.data_places import find_cookies, find_headers, find_path, find_query, find_text
from eastwall.discovery.data_prefilter import BY_NAME, CLASSES, SENSITIVITY
from eastwall.discovery.data_values import BUILTIN, MAX_HITS, DataClasses, Found, compile_classes
from eastwall.discovery.redaction import REDACTED, STYLES, redact
from eastwall.model.facts import DataHit
from eastwall.model.operation import Operation

__all__ = [
    "BUILTIN",
    "BY_NAME",
    "CLASSES",
    "MAX_HITS",
    "REDACTED",
    "SENSITIVITY",
    "STYLES",
    "DataClasses",
    "compile_classes",
    "find",
    "redact",
]


def find(
    operation: Operation,
    classes: DataClasses = BUILTIN,
    headers: Mapping[str, str] | None = None,
    *,
    direction: str = "request",
    params: Sequence[tuple[str, str]] = (),
    path: bool = False,
    skip: frozenset[str] = frozenset(),
) -> tuple[DataHit, ...]:
    """Values of the classes in a message: one hit for each (class, place), the surest, at most `MAX_HITS`.

    Looked at are the body, the query, `headers` (cookies and others, never the credentials of `authorization`) and, with `path`, the
    path: `params` are the values of the matched template's parameters. Places are those of `shapes` (array items as `[]`), `query.NAME`,
    `header.NAME`, `cookie.NAME`, `path.NAME` or `path[2]`, and `body` for text; a map's key is at `{}`. `skip` are classes not to look for.
    """
    found: Found = {}
    if operation.raw_body or operation.body is not None:
        _find_body(operation, classes, skip, found)
    if operation.query:
        find_query(operation, classes, skip, found)
    if headers:
        find_headers(headers, classes, skip, found)
        find_cookies(headers, classes, skip, found)
    if path and operation.segments:
        find_path(operation.segments, params, classes, skip, found)
    if not found:
        return ()
    return tuple([DataHit(name, place, masked, direction, sure) for (name, place), (masked, sure) in found.items()])


def _find_body(operation: Operation, classes: DataClasses, skip: frozenset[str], found: Found) -> None:
    suspects = classes.suspected(operation)
    inside = ""
    if "person-name" not in skip and people(operation.segments):
        suspects, inside = suspects | {"person-name"}, "person"
    if skip:
        suspects -= skip
    if not suspects:
        return
    body = operation.body
    search = classes.search(suspects)
    if type(body) is dict or type(body) is list:
        search.walk(body, "", inside, found)
    else:
        find_text(operation, search, found)
