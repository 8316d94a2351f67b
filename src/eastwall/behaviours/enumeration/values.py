"""The id that a request names at a place, where facts hold its masked form only."""

from __future__ import annotations

from typing import Any

from eastwall.discovery.objects import steps_of
from eastwall.model.facts import Facts

_ITEMS = 50


def value_of(facts: Facts, place: str, shown: str) -> str:
    """The value; empty where it cannot be found. `shown` is the value itself unless masked."""
    if "*" not in shown:
        return shown
    where, _, name = place.partition(".")
    if where == "path":
        return next((value for known, value in facts.match.params if known == name), "")
    if where == "query":
        return next((value for known, value in facts.operation.query if known == name), "")
    return _in_body(facts.operation.body, name, shown) if where.startswith("body") else ""


def _in_body(body: Any, place: str, shown: str) -> str:
    """The first text at a place that begins as `shown` does."""
    nodes = [body]
    for step in steps_of(place):
        if step == "[]":
            nodes = [item for node in nodes if type(node) is list for item in node[:_ITEMS]][:_ITEMS]
        else:
            nodes = [node[step] for node in nodes if type(node) is dict and step in node]
    return next((node for node in nodes if type(node) is str and node[:2] == shown[:2]), "")
