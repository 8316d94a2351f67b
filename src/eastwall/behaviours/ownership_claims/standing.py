"""Where in a message what a rule goes by stands, and in which object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eastwall.behaviours.ownership_claims.known import IDS, LiveRule
from eastwall.behaviours.ownership_claims.reading import Found, at, text_of
from eastwall.discovery.objects import identifier, shown
from eastwall.model.facts import Facts


def told_owners(body: Any, rule: LiveRule, most: int) -> Iterator[tuple[str, str, str]]:
    """(kind of an object, its id, what the rule says of whose it is) of an answer."""
    if not rule.within:
        return
    nodes = [body]
    for step in rule.within[0]:
        if step == "[]":
            nodes = [item for node in nodes if type(node) is list for item in node][:most]
        else:
            nodes = [node[step] for node in nodes if type(node) is dict and step in node]
    kind, inside = rule.within[1:]
    for node in nodes:
        if type(node) is dict and (id_ := id_of(node)):
            if len(inside) == 1:
                if text := text_of(node.get(inside[0])):
                    yield kind, id_, text
            else:
                for text, _ in at(node, inside, most):
                    yield kind, id_, text


def values_named(facts: Facts, source: str, name: str) -> list[Found]:
    """Values of a parameter or a header."""
    if source == "path":
        pairs = facts.match.params
    elif source == "query":
        pairs = facts.operation.query
    else:
        value = facts.call.request.headers.get(name)
        pairs = ((name, value),) if value is not None else ()
    return [(text, ()) for key, value in pairs if key == name and (text := text_of(value))]


def item_of(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The path of the innermost item of a list that a path leads through."""
    for end in range(len(path), 0, -1):
        if type(path[end - 1]) is int:
            return path[:end]
    return ()


def objects_on(body: Any, path: tuple[str | int, ...], rule: LiveRule) -> list[tuple[str, dict[str, Any]]]:
    """(kind, object) of those that the value stands in, from the innermost outwards; without the one that is the owner itself
    (`customer.id`)."""
    nodes, node = [body], body
    for step in path[:-1]:
        node = node[step]
        nodes.append(node)
    found = [(kind, one) for kind, one in zip(rule.kinds, nodes, strict=False) if type(one) is dict]
    if found and path and str(path[-1]).lower() in IDS:
        found.pop()
    return found[::-1]


def id_of(node: dict[str, Any]) -> str:
    """An object's id as keys are made of it."""
    for name in IDS:
        if text := identifier(node.get(name)):
            return text
    return ""


def fit_to_show(text: str) -> str:
    """Another's name or number: not whole, unless it is a plain number or UUID."""
    return shown(text) if len(text) > 8 or "@" in text or not text.isalnum() else text
