"""What an XML document makes its parser fetch or grow: external entities and subsets, inclusions, schemas and style sheets, entities that
multiply (XML 1.0 sections 2.8 and 4, XInclude 1.0, XSLT 1.0, XML Schema 1.0). Declarations are read, not resolved."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from eastwall.detections.confirming import Verdict

MAX_TEXT = 65_536
"""Characters analysed."""
_MOST = 256
"""Declarations read."""
_GROWS = 20_000
"""Characters to which a document's entities may expand."""

_DOCTYPE = re.compile(r"<!DOCTYPE\s{1,40}([^\s\[>]{1,80})\s{0,40}", re.IGNORECASE)
_EXTERNAL = re.compile(
    r"(?:SYSTEM\s{0,40}|PUBLIC\s{0,40}(?:\"[^\"]{0,400}\"|'[^']{0,400}')\s{0,40})(?:\"([^\"]{0,800})|'([^']{0,800}))",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"<!ENTITY\s{1,40}(%\s{0,9}|&#37;\s{0,9}|&#x25;\s{0,9})?([^\s\"'>]{1,80})\s{1,40}", re.IGNORECASE)
_LITERAL = re.compile(r"\"([^\"]{0,8192})\"|'([^']{0,8192})'")
_REFERENCE = re.compile(r"[&%]([A-Za-z_:][\w.:-]{0,80});")
_WELL_KNOWN = re.compile(
    r"https?://(?:www\.)?(?:w3\.org|apple\.com/DTDs|java\.sun\.com|xmlns\.jcp\.org|mybatis\.org|hibernate\.org|springframework\.org|oasis-open\.org"
    r"|docbook\.org|checkstyle\.org|logging\.apache\.org)/",
    re.IGNORECASE,
)
"""Publishers of document types that files name by habit."""
_XINCLUDE = re.compile(r"<(?:[\w-]{1,40}:)?include\s[^<>]{0,600}?\bhref\s{0,9}=\s{0,9}[\"']([^\"']{1,400})", re.IGNORECASE)
_XSL = re.compile(
    r"<xsl:(?:include|import)\s[^<>]{0,600}?\bhref\s{0,9}=\s{0,9}[\"']([^\"']{1,400})|<[\w-]{1,20}:(?:include|import)\s[^<>]{0,300}XSL/Transform[^<>]{0,300}?\bhref\s{0,9}=",
    re.IGNORECASE,
)
_XSL_CALL = re.compile(
    r"\b(?:document|unparsed-text|collection|doc)\(\s{0,9}[\"']([^\"']{1,400})|\bphp:function(?:String)?\(|<(?:msxsl|ms|xalan|lxslt):script|xmlns:\w{1,20}\s{0,9}=\s{0,9}[\"'](?:http://xml\.apache\.org/xalan/java|java:|http://php\.net/xsl|urn:schemas-microsoft-com:xslt)",
    re.IGNORECASE,
)
_STYLESHEET = re.compile(
    r"<\?xml-stylesheet\s[^?>]{0,300}\bhref\s{0,9}=\s{0,9}[\"']((?:https?|file|ftp|gopher|expect|php):[^\"']{1,400}|//[^\"']{1,400})",
    re.IGNORECASE,
)
_IMAGE = re.compile(
    r"<(?:image|use|feImage|script|tref)\s[^<>]{0,600}?\bhref\s{0,9}=\s{0,9}[\"']?((?:file|expect|php|netdoc|jar|gopher|dict|msl|text|ephemeral|caption|label):[^\"'\s>]{1,400})",
    re.IGNORECASE,
)
_SCHEMA = re.compile(r"\b(noNamespaceSchemaLocation|schemaLocation)\s{0,9}=\s{0,9}[\"']([^\"']{1,2000})", re.IGNORECASE)
_SCHEMA_PART = re.compile(
    r"<(?:[\w-]{1,20}:)?(?:include|import|redefine|override)\s[^<>]{0,400}?\b(?:schemaLocation|namespace)\s{0,9}=\s{0,9}[\"']((?:https?|ftp|file|gopher):[^\"']{1,400}|//[^\"']{1,400})",
    re.IGNORECASE,
)
_IS_XML = re.compile(r"XInclude|<\?xml|xmlns|<xi:", re.IGNORECASE)
_UTF7 = re.compile(r"\+AD[wx]|\+AFs|\+ACI", re.IGNORECASE)


def external_entity(text: str) -> Verdict | None:
    """What a parser of `text` would fetch or build, or None. Never raises; linear in the first `MAX_TEXT` characters."""
    text = text[:MAX_TEXT]
    if "\x00" in text:
        text = text.replace("\x00", "")
    if "+AD" in text and _UTF7.search(text):
        text = text.encode("ascii", "replace").decode("utf-7", "ignore") if text.isascii() else text
    return _document_type(text) or _entities(text) or _inclusion(text)


def _document_type(text: str) -> Verdict | None:
    for match in _DOCTYPE.finditer(text):
        external = _EXTERNAL.match(text, match.end())
        if external is None:
            continue
        address = external[1] or external[2] or ""
        if not _WELL_KNOWN.match(address) and not (match[1].lower() == "html" and address == "about:legacy-compat"):
            return Verdict(f"has a document type at `{address[:60]}`", text[match.start() : match.start() + 120], "high", "high")
    return None


def _entities(text: str) -> Verdict | None:
    sizes: dict[str, tuple[int, list[str]]] = {}
    count = 0
    for match in _ENTITY.finditer(text):
        count += 1
        if count > _MOST:
            break
        evidence = text[match.start() : match.start() + 120]
        external = _EXTERNAL.match(text, match.end())
        if external is not None:
            address = external[1] or external[2] or ""
            return Verdict(
                f"has an entity `{match[2][:30]}` that is read from `{address[:60]}`",
                evidence,
                "critical" if _reads(address) else "high",
            )
        literal = _LITERAL.match(text, match.end())
        if literal is None:
            continue
        value = literal[1] if literal[1] is not None else literal[2]
        if "<!ENTITY" in value.upper() or "<!entity" in value:
            return Verdict("has an entity that declares entities", evidence)
        sizes[match[2]] = (len(value), _REFERENCE.findall(value))
    return _growth(sizes, text)


def _reads(address: str) -> bool:
    return address.lower().startswith(("file:", "expect:", "php:", "netdoc:", "jar:", "gopher:", "/")) or "169.254." in address


def _growth(sizes: dict[str, tuple[int, list[str]]], text: str) -> Verdict | None:
    """Entities that multiply ("billion laughs") or hold themselves. Sizes are summed in order of depth, never expanded."""
    if not sizes:
        return None
    total: dict[str, int] = {}
    state: dict[str, int] = {}
    for root in sizes:
        stack = [(root, False)]
        while stack:
            name, done = stack.pop()
            if done:
                length, references = sizes[name]
                total[name] = length + sum(total.get(reference, 0) for reference in references)
                state[name] = 2
                continue
            if state.get(name):
                continue
            state[name] = 1
            stack.append((name, True))
            for reference in set(sizes[name][1]):
                if reference in sizes:
                    if state.get(reference) == 1:
                        return Verdict("has an entity that holds itself", f"&{reference};")
                    stack.append((reference, False))
    largest = max(total, key=lambda name: total[name])
    used = sum(total.get(reference, 0) for reference in _REFERENCE.findall(text[text.rfind("]>") :] if "]>" in text else text))
    grown = max(total[largest], used)
    declared = sum(length for length, _ in sizes.values())
    nested = max((_depth(name, sizes) for name in list(sizes)[:_MOST]), default=0)
    if grown > _GROWS or (nested >= 2 and grown >= 10 * declared) or (nested >= 2 and grown > 200 and grown > 3 * declared):
        return Verdict(f"has entities that grow to {grown:,} characters", f"&{largest};")
    return None


def _depth(name: str, sizes: dict[str, tuple[int, list[str]]]) -> int:
    depth = 0
    while name in sizes and depth < 16:
        following = next((reference for reference in sizes[name][1] if reference in sizes), None)
        if following is None:
            break
        name = following
        depth += 1
    return depth


def _inclusion(text: str) -> Verdict | None:
    match = _XINCLUDE.search(text)
    if match and ("XInclude" in text or match[0].lower().startswith("<xi:")):
        return Verdict(f"includes `{match[1][:60]}`", match[0])
    match = _XSL.search(text)
    if match:
        return Verdict("is a style sheet that includes another", match[0])
    match = _XSL_CALL.search(text)
    if match and ("Transform" in text or "xsl:" in text):
        return Verdict("is a style sheet that reads files or runs code", match[0], "critical")
    match = _IMAGE.search(text)
    if match:
        return Verdict(f"is a picture that reads `{match[1][:60]}`", match[0])
    match = _STYLESHEET.search(text)
    if match:
        return Verdict(f"asks for a style sheet at `{match[1][:60]}`", match[0], "medium", "medium")
    match = _SCHEMA_PART.search(text)
    if match and not _WELL_KNOWN.match(match[1]):
        return Verdict(f"asks for a schema at `{match[1][:60]}`", match[0], "medium", "medium")
    return _schema(text)


def _schema(text: str) -> Verdict | None:
    """A schema's place is honest when it is of the namespace's own host, as published ones are (`http://a/ns http://a/ns.xsd`)."""
    for match in _SCHEMA.finditer(text):
        words = match[2].split()
        if match[1].lower() == "schemalocation" and len(words) >= 2 and len(words) % 2 == 0:
            pairs = list(zip(words[::2], words[1::2], strict=True))
        else:
            pairs = [("", word) for word in words]
        for namespace, place in pairs:
            host = _host(place)
            if host and host.removeprefix("www.") != _host(namespace).removeprefix("www.") and not _WELL_KNOWN.match(place):
                return Verdict(f"asks for a schema at `{place[:60]}`", match[0], "medium", "medium")
    return None


def _host(address: str) -> str:
    try:
        return urlsplit(address).netloc.lower() if "//" in address else ""
    except ValueError:
        return address.partition("//")[2].partition("/")[0].lower()
