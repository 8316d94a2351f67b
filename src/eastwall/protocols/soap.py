"""SOAP 1.1 (W3C Note of 8 May 2000) and 1.2 (W3C Recommendation of 27 April 2007) over HTTP.

The name is the action: the `SOAPAction` header of 1.1, the `action` parameter of 1.2's content type. Without one it is the qualified name of
the body's first child, `{http://example.org/orders}GetOrder`, by which document-style services dispatch.
"""

from __future__ import annotations

from typing import Any

from eastwall.model.operation import Operation
from eastwall.protocols import xml
from eastwall.protocols.multipart import parameters_of
from eastwall.protocols.reading import Reading, label

ENVELOPES = frozenset(("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"))
_SPACES = tuple(space.encode() for space in sorted(ENVELOPES))
_LOOKED_AT = 200
"""Elements in which the body's first child is looked for: headers come before it."""


def read_request(operation: Operation, headers: dict[str, str], content_type: str) -> Reading | None:
    """What is asked of a SOAP service, None when it is none. A header alone makes no SOAP of a body that is something else."""
    kind = operation.body_kind
    action = _action(headers, content_type)
    first = ""
    if kind == "xml":
        if not is_envelope(operation.body):
            return None
        # With an action the names of the elements are not needed, and the sight of the namespace will do.
        raw = operation.raw_body
        if not action or b"Envelope" not in raw or not any(space in raw for space in _SPACES):
            elements = _elements(operation)
            if not elements:
                return None
            first = next((f"{{{space}}}{local}" if space else local for space, local in elements[1:]), "")
    elif not _unread(kind, headers, content_type.lower()):
        return None
    return Reading("soap", label(action or first))


def _unread(kind: str, headers: dict[str, str], content_type: str) -> bool:
    """Whether there is an envelope that was not read: one of the parts (MTOM, SOAP with attachments), or text that was refused."""
    said = "soapaction" in headers or "soap" in content_type
    return said and (kind == "text" or content_type[:17] == "multipart/related")


def is_envelope(tree: Any) -> bool:
    """Whether the content of a document element can be an envelope's."""
    return isinstance(tree, dict) and "Body" in tree


def _elements(operation: Operation) -> list[tuple[str, str]]:
    """(namespace, local name) of the envelope and of the body's first child, if there is one; empty when it is no envelope."""
    found = xml.opening(operation.raw_body, _LOOKED_AT)
    if not found or found[0][2] != "Envelope" or found[0][1] not in ENVELOPES:
        return []
    inside = False
    for depth, space, local in found[1:]:
        if depth == 1:
            inside = local == "Body" and space == found[0][1]
        elif inside and depth == 2:
            return [found[0][1:], (space, local)]
    return [found[0][1:]]


def _action(headers: dict[str, str], content_type: str) -> str:
    action = headers.get("soapaction", "").strip().strip('"').strip()
    if not action and "action" in content_type.lower():
        action = parameters_of(content_type)[1].get("action", "").strip('" ')
    return action


def is_fault(tree: Any) -> bool:
    """Whether an answer's tree is a SOAP Fault."""
    body = tree.get("Body") if isinstance(tree, dict) else None
    return isinstance(body, dict) and "Fault" in body
