"""CRLF injection (CWE-93, CWE-113): a value with a line break and a header behind it, which would add to or split a message's head."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eastwall.detections.confirming import Verdict, confirm
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="crlf-injection",
    title="CRLF injection (header and response splitting)",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("A03:2021", "API8:2023"),
    cwe=("CWE-93", "CWE-113"),
    attack=("T1190",),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    families=("crlf",),
)

MAX_TEXT = 10_240
"""Characters analysed."""
_BODY_LENGTH, _BODY_LINES = 400, 6
"""A value of a body that is longer than this is a text, and texts have lines."""

# Characters whose low byte is a line break: encoders that keep one byte of two write one (CVE-2019-10093 and its kind).
_NARROWED = str.maketrans(
    {
        "\u560a": "\n",
        "\u560d": "\r",
        "\u010a": "\n",
        "\u010d": "\r",
        "\u0a0d": "\r",
        "\u0d0a": "\n",
        "\u2028": "\n",
        "\u563a": ":",
        "\u563c": "<",
        "\u563e": ">",
    }
)
_ESCAPED = re.compile(r"(?:\\r\\n|\\n|\\r|\\x0d|\\x0a|\\u000[ad])", re.IGNORECASE)
# Names that are no words of a language: nobody begins a line of prose with them.
_TECHNICAL = (
    r"set-cookie2?|content-(?:type|length|disposition|encoding|language|location|range|security-policy(?:-report-only)?)|transfer-encoding"
    r"|access-control-[a-z-]{5,30}|strict-transport-security|www-authenticate|proxy-[a-z]{4,20}|cache-control|last-modified|etag|x-[a-z][a-z0-9-]{2,40}"
    r"|user-agent|if-(?:none-match|match|modified-since|range)|accept-(?:encoding|language|charset|ranges)|clear-site-data|referrer-policy"
    r"|permissions-policy|keep-alive|sec-[a-z-]{4,30}|cross-origin-[a-z-]{5,30}|timing-allow-origin|alt-svc|retry-after|forwarded|p3p"
)
# Names that are words too: they count by what stands behind the colon.
_WORDS = (
    r"location:\s{0,9}(?:[a-z][a-z0-9+.-]{1,10}:/|/|\.{1,2}/|javascript:|data:)|refresh:\s{0,9}\d{1,9}\s{0,9};|link:\s{0,9}<[^>\n]{1,200}>\s{0,9};|host:\s{0,9}(?:localhost|[a-z0-9-]{1,63}\.[a-z0-9.-]{1,190})(?::\d{1,5})?\s{0,9}(?:[\r\n]|$)"
    r"|cookie:\s{0,9}[\w.-]{1,60}=|origin:\s{0,9}https?://|referer:\s{0,9}https?://|authorization:\s{0,9}(?:basic|bearer|digest|negotiate)\s|connection:\s{0,9}(?:close|keep-alive|upgrade)"
    r"|status:\s{0,9}[1-5]\d\d\b|upgrade:\s{0,9}(?:h2c|websocket)|vary:\s{0,9}[a-z-]{3,30}\s{0,9}(?:$|[\r\n])|expires:\s{0,9}(?:0|-1|[a-z]{3}, \d)|te:\s{0,9}trailers|pragma:\s{0,9}no-cache"
)
_HEADER = re.compile(rf"[\r\n]\s{{0,9}}+(?:(?P<technical>{_TECHNICAL})\s{{0,4}}:|(?P<words>{_WORDS}))", re.IGNORECASE)
_SPLIT = re.compile(
    r"[\r\n]{2,8}[ \t]{0,9}(?:HTTP/[0-9.]{1,3}\s{1,4}\d|<(?:!doctype|html|script|svg|img|body|h1|iframe|meta)\b)", re.IGNORECASE
)
_MESSAGE = re.compile(
    r"(?:[\r\n]\s{0,9}HTTP/[0-9.]{1,3}\s{1,4}[1-5]\d\d\b|[\r\n]\s{0,9}(?:GET|POST|PUT|DELETE|HEAD|OPTIONS|PATCH|CONNECT|TRACE)\s{1,4}\S{1,400}\s{1,4}HTTP/[0-9.]|^[^\r\n]{0,400}\sHTTP/1\.[01][\r\n])"
)
_FIELD = re.compile(r"\s*[A-Za-z][\w-]{0,40}:(?:\s|$)|HTTP/\d|[A-Z]{3,8}\s\S{1,200}\sHTTP/")


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    return confirm(facts, META, splitting)


def splitting(text: str, place: str = "query.url") -> Verdict | None:
    """Why `text` would add to a message's head, or None. Never raises; linear in the first `MAX_TEXT` characters.

    Lines are ordinary in a body's texts (comments, messages, logs, requests that were pasted): there the value must be short, and must not itself
    begin like a message's head. The body as a whole is never a header's value.
    """
    if place == "body":
        return None
    text = _ESCAPED.sub(_escaped, text[:MAX_TEXT].translate(_NARROWED))
    in_body = place.startswith("body")
    if in_body and (len(text) > _BODY_LENGTH or text.count("\n") > _BODY_LINES or _FIELD.match(text)):
        return None
    for pattern, reason in (
        (_HEADER, "adds a header"),
        (_MESSAGE, "adds a message"),
        (_SPLIT, "ends the head and begins a body"),
    ):
        match = pattern.search(text)
        if match is None:
            continue
        if pattern is _HEADER:
            name = (match["technical"] or match["words"].partition(":")[0]).lower()
            # "Location: /dev/null" in a note; a head that is quoted farther down in a text
            if in_body and (match["words"] or text[: match.start()].strip("\r\n").count("\n")):
                continue
            reason = f"adds the header `{name[:40]}` behind a line break"
        return Verdict(
            reason,
            text[max(0, match.start() - 20) :].replace("\r", "\\r").replace("\n", "\\n"),
            confidence="medium" if in_body else "",
        )
    return None


def _escaped(match: re.Match[str]) -> str:
    return "\r" if match[0].lower() in ("\\r", "\\x0d", "\\u000d") else "\n"
