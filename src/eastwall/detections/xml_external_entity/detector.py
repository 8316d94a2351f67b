"""XML external entities (CWE-611, CWE-776): a document that makes its parser read files, call hosts or grow."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.confirming import Verdict, confirm, finding
from eastwall.detections.xml_external_entity.declarations import MAX_TEXT, external_entity
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="xml-external-entity",
    title="XML that makes its parser read, call or grow",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A05:2021", "API8:2023"),
    cwe=("CWE-611", "CWE-776", "CWE-827"),
    attack=("T1190", "T1083"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("xml",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place. Of an XML body the whole is read at once: its tree has lost namespaces and declarations."""
    operation = facts.operation
    found = list(confirm(facts, META, _judge))
    if operation.body_kind == "xml" and operation.raw_body:
        text = _text(operation.raw_body[: 2 * MAX_TEXT])
        verdict = external_entity(text)
        if verdict is not None:
            return [other for other in found if not other.where.startswith("body")] + [finding(META, "body", verdict, text)]
    return found


def _text(body: bytes) -> str:
    if body[:2] in (b"\xff\xfe", b"\xfe\xff") or body[:4] in (b"<\0?\0", b"<\0!\0", b"\0<\0?", b"\0<\0!"):
        return body.decode(
            "utf-16" if body[:1] in (b"\xff", b"\xfe") else "utf-16-be" if body[:1] == b"\0" else "utf-16-le", "replace"
        )
    return body.decode("utf-8", "replace")


def _judge(text: str, place: str) -> Verdict | None:
    return external_entity(text) if "<" in text or "+AD" in text else None
