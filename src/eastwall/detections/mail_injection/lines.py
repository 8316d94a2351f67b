"""Whether a text, put into a mail's header or a dialogue with a mail server, would add header fields or commands.

Header fields and the commands of SMTP (RFC 5321), IMAP (RFC 9051) and POP3 (RFC 1939) end with a line; a value that holds a line
break writes the next line itself. People write lines such as `To: Bob` too, in texts that are meant to have lines. So a header
counts when what stands before it is a single-line field's content (an address, a name, a subject), and a text field (`note`, `body`,
`message`) only when an address stands there. A command must have the grammar of its protocol.
"""

from __future__ import annotations

import re

MAX_TEXT = 4_608
"""Characters analysed: a piece of the prefilter and its overlap."""
MAX_LINES = 100

_BREAK = re.compile(r"\r\n|[\r\n\x0b\x0c\x85\u2028\u2029]|\\r\\n|\\[rn](?=[A-Za-z]{2,20}\s?:)|,{2}(?=[A-Za-z]{2,3}:)")
_ROUTE = r"(?:to|cc|bcc|from|sender|reply-to|return-path|resent-(?:to|from|cc|bcc)|errors-to|disposition-notification-to|return-receipt-to|delivered-to)"
_FORM = r"(?:subject|mime-version|content-(?:type|transfer-encoding|disposition|id)|x-mailer|x-priority|importance|date|message-id|in-reply-to|references|received|list-unsubscribe|precedence|x-[a-z-]{2,30})"
_HEADER = re.compile(rf"\s{{0,4}}(?:(?P<route>{_ROUTE})|(?P<form>{_FORM}))\s{{0,4}}:(?P<content>.*)", re.IGNORECASE)
_FIELD = re.compile(r"[A-Za-z][\w-]{0,60}\s{0,4}:.*|[ \t].*")
_ADDRESS = re.compile(r"[^\s@<>]{1,64}@[\w.-]{1,253}")
_ONLY_ADDRESS = re.compile(r"\s{0,4}(?:[^@<>\n]{0,60}<)?[^\s@<>,]{1,64}@[\w.-]{1,253}>?,{0,2}\s{0,4}")
_TEXT_FIELD = re.compile(
    r"(?:text|body|message|msg|content|description|desc|comments?|notes?|bio|about|details?|html|markdown|md|summary|readme|template|log|raw|source|data|mail|email_body|snippet|code|answer|question|reply|post|diff|patch|prompt|input|output|paragraph|article)$",
    re.IGNORECASE,
)
_MAIL_FIELD = re.compile(
    r"(?:^|[._\]-])(?:e?mail(?:_?address)?|from|to|cc|bcc|sender|recipients?|reply_?to|subject)$", re.IGNORECASE
)
"""Names of parameters that become a header field."""
_LABELLED = re.compile(r"\s{0,4}[A-Za-z][\w -]{0,40}:")
"""A first line that is a field itself: a list of fields."""
_MIME = re.compile(
    r"content-type\s{0,4}:\s{0,4}[a-z]{2,20}/[\w.+-]{1,60}(?:;.*)?|mime-version\s{0,4}:\s{0,4}\d.*|content-transfer-encoding\s{0,4}:\s{0,4}(?:base64|quoted-printable|7bit|8bit|binary)\s*"
    r"|content-disposition\s{0,4}:\s{0,4}(?:attachment|inline)\b.*|message-id\s{0,4}:\s{0,4}<.*|(?:in-reply-to|references)\s{0,4}:\s{0,4}<.*|x-(?:mailer|priority)\s{0,4}:.*",
    re.IGNORECASE,
)
_SMTP = re.compile(
    r"(?:RCPT\s{1,4}TO\s{0,4}:|MAIL\s{1,4}FROM\s{0,4}:)\s{0,4}<?\S{0,200}|(?:VRFY|EXPN)\s{1,4}\S{1,100}|(?:EHLO|HELO)\s{1,4}[\w.\[\]:-]{1,200}|AUTH\s{1,4}(?:LOGIN|PLAIN|CRAM-MD5|XOAUTH2)\b.*",
    re.IGNORECASE,
)
_ALONE = re.compile(r"(?:QUIT|RSET|DATA|STARTTLS|NOOP|STAT|UIDL|LOGOUT|CAPABILITY|LIST)")
"""Commands without arguments: caseful, for a line of prose may be `quit`."""
_IMAP = re.compile(
    r"(?:[A-Za-z]{1,4}\d{1,6}|[A-Za-z]{1,2}|\d{1,6}(?=\s(?:UID|FETCH|STORE|LOGIN)\s))\s(?:UID\s)?(?:CAPABILITY|NOOP|LOGOUT|EXPUNGE|STARTTLS|CLOSE|LOGIN\s\S{1,100}\s\S.{0,100}|(?:SELECT|EXAMINE|CREATE|DELETE|SUBSCRIBE|UNSUBSCRIBE)\s[\w\"/.-]{1,100}"
    r"|RENAME\s\S{1,100}\s\S{1,100}|(?:LIST|LSUB)\s\S{1,100}\s\S{1,100}|STATUS\s\S{1,100}\s\(.*|(?:FETCH|STORE|COPY|MOVE)\s[\d:*,]{1,40}(?:\s.*)?|SEARCH\s[A-Z].*|AUTHENTICATE\s\S{1,100}|APPEND\s\S{1,100}\s.*)"
)
_POP = re.compile(r"(?:RETR|DELE)\s\d{1,9}|TOP\s\d{1,9}\s\d{1,9}|USER\s\S{1,100}|PASS\s\S{1,100}|APOP\s\S{1,100}\s\S{1,100}")


def injection(place: str, text: str) -> str | None:
    """Why `text` would change a mail (a clause of a sentence), or None. Never raises; linear in the first `MAX_TEXT` characters."""
    text = text[:MAX_TEXT]
    if "+" in text and " " not in text:
        text = text.replace("+", " ")  # encoded once too often
    parts = _BREAK.split(text, MAX_LINES)
    if len(parts) < 2:
        return None
    first, following = parts[0], parts[1:]
    command = _command(first, following)
    if command:
        return command
    return _header(place, first, following)


def _header(place: str, first: str, following: list[str]) -> str | None:
    """Header fields that follow the first line at once."""
    if not following[0] and len(following) > 1:
        following = following[1:]  # "\n\r" reads as two breaks
    header = _HEADER.fullmatch(following[0])
    if header is None or _LABELLED.match(first):
        return None
    if _ONLY_ADDRESS.fullmatch(first) is not None:
        return _reason(header)
    name = place.rpartition(".")[2]
    if _TEXT_FIELD.search(name) is not None or place == "body" or not _single(first):
        return None
    if _MAIL_FIELD.search(name) is not None or _formal(header):
        return _reason(header)
    for line in following:
        if not line.strip():
            return None  # the body begins
        other = _HEADER.fullmatch(line)
        if other is None and _FIELD.fullmatch(line) is None:
            return None
        # "Postcards\nTo: Grandma" names nobody whom a mail could reach.
        if other is not None and other["route"] is not None and _ADDRESS.search(other["content"]) is not None:
            return _reason(header)
    return None


def _reason(header: re.Match[str]) -> str:
    field = (header["route"] or header["form"]).strip().capitalize()
    return f"begins a line with the header field `{field}`" + (" and so names who gets or sends it" if header["route"] else "")


def _formal(header: re.Match[str]) -> bool:
    """A field of MIME with its content: nobody writes `Content-Type: text/html` into a name."""
    return header["form"] is not None and _MIME.fullmatch(header[0].strip()) is not None


def _single(first: str) -> bool:
    """What a field of one line holds: a few words that are no sentence and no heading with a colon."""
    return len(first) <= 60 and len(first.split()) <= 6 and not first.rstrip().endswith((".", ":", "!", "?", ","))


def _command(first: str, following: list[str]) -> str | None:
    lines = [line.strip() for line in following if line.strip()]
    for index, line in enumerate(lines):
        if _SMTP.fullmatch(line):
            return f"begins a line with the SMTP command `{line.split(':')[0].split()[0].upper()}`"
        if _IMAP.fullmatch(line):
            return f"begins a line with the IMAP command `{' '.join(line.split()[1:2])}`"
        if (
            _POP.fullmatch(line)
            and len(first.split()) <= 2
            and all(_POP.fullmatch(other) or _ALONE.fullmatch(other) for other in lines)
        ):
            return f"begins a line with the POP3 command `{line.split()[0]}`"
        if _ALONE.fullmatch(line):
            behind_dot = index > 0 and lines[index - 1] == "."
            bare = len(first.split()) <= 1 and (
                len(lines) == 1 or all(_ALONE.fullmatch(other) or other == "." or _POP.fullmatch(other) for other in lines)
            )
            if behind_dot or bare or (line == "DATA" and lines[-1] == "."):
                return f"begins a line with the command `{line}` of a mail server"
    return None
