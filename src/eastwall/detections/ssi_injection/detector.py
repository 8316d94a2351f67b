"""Server-side includes (CWE-97) and edge-side includes: directives that a server or cache would execute in the page it delivers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eastwall.detections.confirming import Verdict, confirm
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="ssi-injection",
    title="Server-side or edge-side include injection",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A03:2021", "API8:2023"),
    cwe=("CWE-97", "CWE-96"),
    attack=("T1190", "T1059"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("ssi",),
)

MAX_TEXT = 10_240
"""Characters analysed."""
# Apache mod_include, nginx's ngx_http_ssi_module, IIS, and what older servers added. With parameters, but for the last three.
_WITH_PARAMETERS = frozenset(
    "exec include echo set config flastmod fsize if elif block perl odbc jdbc email counter hide stub goto label".split()
)
_ALONE = frozenset(("printenv", "else", "endif", "endblock"))
_SSI = re.compile(r"<!--#[ \t]{0,20}([a-z]{2,12})\b", re.IGNORECASE)
_PARAMETER = re.compile(r"\s{0,20}([a-z_]{2,20})\s{0,9}=\s{0,9}[\"'`]?[^\s>]", re.IGNORECASE)
_PARAMETERS = frozenset(
    "cmd cgi file virtual var value errmsg timefmt sizefmt echomsg expr name sub arg select connect statement default wait stub encoding"
    " decoding driver format from to subject sender test".split()
)
# Edge Side Includes 1.0 (W3C note, 2001) and what Akamai and Oracle added.
_ESI = re.compile(
    r"<esi:(include|inline|vars|assign|eval|debug|choose|when|otherwise|try|attempt|except|remove|comment|text|foreach|function|environment|invalidate|param)(?=[\s/>])",
    re.IGNORECASE,
)
_ESI_COMMENT = re.compile(r"<!--esi\s{0,9}(?:<|\$\()", re.IGNORECASE)


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    return confirm(facts, META, _judge)


def _judge(text: str, place: str) -> Verdict | None:
    return include(text)


def include(text: str) -> Verdict | None:
    """Why `text` is a directive, or None. Never raises; linear in the first `MAX_TEXT` characters."""
    text = text[:MAX_TEXT]
    for match in _SSI.finditer(text):
        name = match[1].lower()
        parameter = _PARAMETER.match(text, match.end())
        known = parameter is not None and parameter[1].lower() in _PARAMETERS
        if (name in _WITH_PARAMETERS and known) or (name in _ALONE and text[match.end() : match.end() + 9].lstrip()[:3] == "-->"):
            grave = "critical" if name in ("exec", "perl", "odbc", "jdbc") else ""
            return Verdict(f"is the server-side directive `{name}`", text[match.start() :], grave)
    esi = _ESI.search(text)
    if esi:
        return Verdict(f"is the edge-side directive `{esi[1].lower()}`", text[esi.start() :])
    esi = _ESI_COMMENT.search(text)
    return Verdict("is an edge-side directive in a comment", text[esi.start() :]) if esi else None
