"""Lists of somebody named: what an answer gives of kinds that one actor holds alone, to a caller who named whose it wants.

A filter that nobody sent before (`GET /orders?user_id=bob`), and an answer whose objects are known to be others' alone. Neither says enough by
itself: people try filters, and what a plain list holds the service chose to show.
"""

from __future__ import annotations

from eastwall.behaviours.ownership_claims.reading import space_of
from eastwall.model.facts import Facts

TENANT = "tenant:"
"""Begins the name of a tenant among the holders of an object (`decision.remember`)."""
SURELY = 0.9
"""Share of a kind's objects that one actor holds alone, from which on it says whose an object is that colleagues hold, too."""
LISTED = 2
"""Objects of others that an answer with the caller's own among them must hold."""


def named_whose(asked: Facts, known: frozenset[str]) -> str:
    """The place of a parameter that says whose is asked for, and that was never sent to this operation (in a body: by this class of callers);
    empty: there is none. `known`: names of query parameters that were."""
    for name, value in asked.operation.query:
        if value and name not in known and space_of("", name):
            return f"query.{name[:64]}"
    for one in asked.new_properties:
        if space_of("", one.place.rpartition(".")[2]):
            return f"body.{one.place}"
    return ""
