"""Bytes that two parsers read differently, or that are made to exhaust one (CWE-436, CWE-400, CWE-444): the decoder's faults as findings,
with what headers and path say in two ways."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.detections.parser_differential.envelope import envelope_faults
from eastwall.model.facts import Facts
from eastwall.model.finding import SEVERITIES, Detection, Finding
from eastwall.model.operation import ParserFault

META = Detection(
    id="parser-differential",
    title="Body that parsers read differently, or that is made to exhaust them",
    severity="medium",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("API4:2023", "API8:2023"),
    cwe=("CWE-436", "CWE-400", "CWE-409", "CWE-444"),
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
    # A bulk upload of code or of pages does the same, so it is for the scope's policies to say whether that is refused.
    "too-many-suspects": ("medium", "medium", "holds more that looks like an attack than is judged of one call"),
    "decompression-limit": ("high", "high", "decompresses to far more than was sent"),
    "unknown-encoding": ("medium", "medium", "is in an encoding that cannot be read here, but may be by the service"),
    "duplicate-key": ("medium", "high", "has a duplicate key: some parsers take its first value, some its last"),
    "json-comment": (
        "medium",
        "medium",
        "has comments, which JSON does not know: some parsers skip them, some read what is in them",
    ),
    "trailing-comma": ("low", "medium", "has a comma with nothing behind it, which only tolerant parsers take"),
    "undeclared-charset": (
        "medium",
        "medium",
        "is in wide characters that nothing declares: a reader that expects UTF-8 sees other text",
    ),
    "overlong-utf8": ("medium", "high", "spells characters in more bytes than they need, as is done to get past filters"),
    "lone-surrogate": ("low", "medium", "holds half of a surrogate pair, which parsers drop, replace or refuse"),
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
# Envelope fault -> the same. Framing that two servers read differently lets one request hide in another (request smuggling).
_MEANING |= {
    "ambiguous-length": (
        "high",
        "medium",
        "says in two ways where the body ends, so that another server may find a second request in it",
    ),
    "odd-transfer-coding": (
        "high",
        "medium",
        "is no transfer coding that servers agree on: some ignore it and read another length",
    ),
    "repeated-length": ("low", "medium", "gives the same length more than once"),
    "ambiguous-host": ("high", "medium", "names more than one host: routers and services differ in which they take"),
    "ambiguous-content-type": ("medium", "high", "names more than one type: readers differ in which they obey"),
    "method-override": (
        "medium",
        "medium",
        "asks for another method than the request's: what was allowed is not what is carried out",
    ),
    "method-tunnel": ("low", "low", "asks for another method than the request's, as clients behind old proxies do"),
    "url-override": ("high", "medium", "names another path than the request's: some frameworks serve that one"),
    "url-rewritten": ("low", "low", "names another spelling of the request's path, as rewriting proxies do"),
    "ambiguous-path": ("medium", "medium", "is read differently by routers and services"),
    "unusual-path": ("low", "low", "is not in its normal form: routers and services may differ in what it names"),
    "duplicate-parameter": ("low", "medium", "comes twice with different values where the operation takes one"),
}
MAX_FINDINGS = 5


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per kind of fault."""
    faults = facts.operation.faults + envelope_faults(facts)
    if facts.unjudged:
        faults += (ParserFault("too-many-suspects", "request", f"{facts.unjudged} values not judged"),)
    if not faults:
        return ()
    by_id: dict[str, ParserFault] = {}
    for fault in faults:
        by_id.setdefault(fault.id, fault)
    if "ambiguous-content-type" in by_id:
        by_id.pop("content-type-mismatch", None)  # its consequence
    ordered = sorted(by_id.values(), key=lambda fault: -SEVERITIES.index(_meaning(fault)[0]))
    return [_finding(fault) for fault in ordered[:MAX_FINDINGS]]


def _meaning(fault: ParserFault) -> tuple[str, str, str]:
    return _MEANING.get(fault.id, ("medium", "medium", "cannot be read in one way only"))


def _finding(fault: ParserFault) -> Finding:
    severity, confidence, meaning = _meaning(fault)
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
