"""Bytes that two parsers read differently, or that are made to exhaust one (CWE-436, CWE-400): the decoder's faults as findings."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding
from eastwall.model.operation import ParserFault

META = Detection(
    id="parser-differential",
    title="Body that parsers read differently, or that is made to exhaust them",
    severity="medium",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("API4:2023", "API8:2023"),
    cwe=("CWE-436", "CWE-400", "CWE-409"),
    attack=("T1499.003", "T1027"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
)

# Fault -> (severity, confidence, what it means). Only `high` is blocked by the built-in policy: bombs. The others happen in honest
# traffic too (a spreadsheet's BOM, a 64-bit id); they matter together with what the body then does.
_MEANING = {
    "too-deep": ("high", "high", "is nested deeper than any real body and may exhaust a parser's stack"),
    "too-many-values": ("high", "medium", "holds more values than will be inspected"),
    "decompression-limit": ("high", "high", "decompresses to far more than was sent"),
    "unknown-encoding": ("medium", "medium", "is in an encoding that cannot be read here, but may be by the service"),
    "duplicate-key": ("medium", "high", "has a duplicate key: some parsers take its first value, some its last"),
    "trailing-data": ("medium", "medium", "goes on after its end: some parsers ignore the rest, some do not"),
    "xml-entity": (
        "high",
        "high",
        "declares or uses an XML entity: a parser that resolves it reads files, calls hosts, or grows without end",
    ),
    "xml-doctype": ("medium", "medium", "has an XML document type, which no API needs and which may make a parser fetch one"),
    "invalid-xml": ("low", "medium", "is called XML and is not well-formed"),
    "graphql-cycle": ("high", "high", "holds a GraphQL fragment that holds itself and sends a careless server round in circles"),
    "graphql-too-large": ("medium", "medium", "is a GraphQL request too large to be read"),
    "graphql-ambiguous": (
        "medium",
        "medium",
        "is a second GraphQL document beside that of the body: servers differ in which they execute",
    ),
    "graphql-hash-mismatch": ("medium", "medium", "names a persisted GraphQL document by a hash that is another's"),
    "graphql-syntax": ("low", "medium", "is no GraphQL document"),
    "mcp-header-mismatch": (
        "high",
        "medium",
        "says something else than the MCP message: a gateway that goes by it lets another call pass",
    ),
    "bad-multipart": ("medium", "medium", "is not well-formed multipart"),
    "content-type-mismatch": ("low", "medium", "is not what its content type says"),
    "invalid-json": ("low", "medium", "is called JSON and is not"),
    "invalid-utf8": ("low", "medium", "is not valid UTF-8"),
    "nan": ("low", "medium", "has NaN or Infinity, which JSON does not know"),
    "bom": ("low", "low", "begins with a byte order mark"),
    "big-integer": ("info", "low", "has an integer that parsers with 64-bit floats round"),
}
MAX_FINDINGS = 5


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per kind of fault."""
    faults = facts.operation.faults
    if not faults:
        return ()
    by_id: dict[str, ParserFault] = {}
    for fault in faults:
        by_id.setdefault(fault.id, fault)
    return [_finding(fault) for fault in list(by_id.values())[:MAX_FINDINGS]]


def _finding(fault: ParserFault) -> Finding:
    severity, confidence, meaning = _MEANING.get(fault.id, ("medium", "medium", "cannot be read in one way only"))
    what = fault.where.removeprefix("header.") if fault.where.startswith("header.") else fault.where
    detail = f" ({fault.detail})" if fault.detail else ""
    return Finding(
        id=META.id,
        severity=severity,
        confidence=confidence,
        owasp=META.owasp,
        where=fault.where,
        message=f"the {what} {meaning}{detail}",
        evidence=f"{fault.id} {fault.detail}"[:120].strip(),
    )
