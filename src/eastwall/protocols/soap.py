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
_LOOKED_AT = 200
"""Elements in which the body's first child is looked for: headers come before it."""


def read_request(operation: Operation, headers: dict[str, str], content_type: str) -> Reading | None:
    """What is asked of a SOAP service, None when it is none. A header alone makes no SOAP of a body that is something else."""
    kind = operation.body_kind
    bundle = content_type[:17].lower() == "multipart/related"
    if kind == "xml":
        if not is_envelope(operation.body) or not (elements := _elements(operation)):
            return None
        first = next((f"{{{space}}}{local}" if space else local for space, local in elements[1:]), "")
    elif bundle and ("soapaction" in headers or "soap" in content_type.lower()):
        first = ""  # MTOM, SOAP with attachments: the envelope is one of the parts
    elif kind == "text" and ("soapaction" in headers or "soap+xml" in content_type.lower()):
        first = ""  # an envelope that could not be read, or was refused
    else:
        return None
    return Reading("soap", label(_action(headers, content_type) or first))


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
