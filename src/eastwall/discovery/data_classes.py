"""Sensitive data in messages: six classes, each a cheap pattern and a validator that must agree.

| class    | what must hold |
|----------|----------------|
| `pan`    | 13-19 digits, bare or in the groups cards are printed in; an issuer's range and length (ISO/IEC 7812); Luhn |
| `ssn`    | `AAA-GG-SSSS` with issued area, group and serial (SSA); nine bare digits only under a name such as `ssn` |
| `iban`   | country and its length, mod 97 = 1 (ISO 13616) |
| `email`  | addr-spec without quoting (RFC 5322), top-level domain of letters |
| `phone`  | `+` and 8-15 digits (E.164), NANP with separators, or any 7-15 digits under a name such as `phone` |
| `secret` | API keys and tokens with a published prefix and structure, PEM private keys, JWTs |

One automaton reads the raw body and says which classes are worth looking for; a clean body costs that one pass. Only when it
hits, the decoded tree is walked: the walk confirms and gives the place. Ids, timestamps and UUIDs fail the validators.
"""

from __future__ import annotations

from eastwall.discovery.data_values import CLASSES, MAX_HITS, Search, automaton, decode_text, suspected
from eastwall.discovery.redaction import REDACTED, STYLES, redact
from eastwall.model.facts import DataHit
from eastwall.model.operation import Operation

__all__ = ["CLASSES", "MAX_HITS", "REDACTED", "STYLES", "find", "redact"]


def find(operation: Operation) -> tuple[DataHit, ...]:
    """Validated values of the six classes in the body and the query: one hit for each (class, place), at most `MAX_HITS`.

    Places are those of `shapes` (array items as `[]`), `query.NAME`, and `body` for text. A map's key is at `{}`.
    """
    suspects = suspected(operation)
    if not suspects and not operation.query:
        return ()
    found: dict[tuple[str, str], str] = {}
    if suspects:
        search = Search(suspects)
        body = operation.body
        if body is None:
            body = decode_text(operation.raw_body)
        search.walk(body, "", "", found, 0) if isinstance(body, (dict, list)) else search.value(body, "body", "", found)
    if operation.query:
        query = "\n".join([f"{name}={text}" for name, text in operation.query])
        suspects = automaton().classes(query.encode("utf-8", "replace"))
        if suspects:
            search = Search(suspects)
            for name, text in operation.query:
                search.value(text, "query." + name, name, found)
    return tuple(DataHit(name, place, masked) for (name, place), masked in found.items())
