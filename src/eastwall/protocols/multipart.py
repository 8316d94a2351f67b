"""`multipart/form-data` (RFC 7578, RFC 2046 section 5.1): fields and files, one pass, bounded.

A file stays a description (name, type, size); a small textual one also gives its text, so that detections can look inside.
What readers of multipart bodies disagree on (bare line feeds, missing ends, no name, transfer encodings) is `bad-multipart`.
"""

from __future__ import annotations

import binascii
import quopri
from typing import Any
from urllib.parse import unquote_to_bytes

from eastwall.model.operation import ParserFault
from eastwall.protocols.limits import Limits

_MAX_HEADER = 8192
"""Bytes of a part's header block."""


def parse(
    body: bytes, boundary: str, limits: Limits, *, truncated: bool = False
) -> tuple[dict[str, Any], tuple[ParserFault, ...]]:
    """(name -> text, file description, or a list of them; faults). `truncated`: the body is a beginning, so it may end early."""
    tree: dict[str, Any] = {}
    notes: dict[str, None] = {}
    if not boundary or len(boundary) > 70:
        return tree, (
            ParserFault("bad-multipart", "header.content-type", "no boundary" if not boundary else "boundary too long"),
        )
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    position = 0 if body.startswith(delimiter) else _next(body, delimiter, 0)[1]
    if position < 0:
        return tree, (ParserFault("bad-multipart", "body", "the boundary does not occur"),)
    if position > 2:
        notes["text before the first part"] = None
    ended, overflow = False, False
    for count in range(limits.max_parts + 1):
        start = position + len(delimiter)
        if body.startswith(b"--", start):
            ended = True
            break
        if count == limits.max_parts:
            overflow = True
            break
        line_end = body.find(b"\n", start, start + 1024)
        if line_end < 0:
            break
        stop, following = _next(body, delimiter, line_end)
        # The line break before a delimiter belongs to the delimiter; an empty part shares it with its own header's end.
        _part(body[line_end + 1 : max(stop, line_end + 1)] if following >= 0 else body[line_end + 1 :], tree, notes, limits)
        if following < 0:
            break
        if body[stop : stop + 1] == b"\n":
            notes["bare line feeds"] = None
        position = following
    if not ended and not overflow and not truncated:
        notes["no final boundary"] = None
    faults = tuple(ParserFault("bad-multipart", "body", note) for note in notes)
    if overflow:
        faults += (ParserFault("too-many-values", "body", f"more than {limits.max_parts} parts"),)
    return tree, faults


def _next(body: bytes, delimiter: bytes, start: int) -> tuple[int, int]:
    """The next delimiter at the start of a line: (where the line break before it begins, where it begins), or (-1, -1)."""
    found = body.find(b"\n" + delimiter, start)
    if found < 0:
        return -1, -1
    return (found - 1 if found > start and body[found - 1] == 0x0D else found), found + 1


def _part(part: bytes, tree: dict[str, Any], notes: dict[str, None], limits: Limits) -> None:
    head, content = _split_head(part, notes)
    headers: dict[str, str] = {}
    for line in head.replace(b"\r\n", b"\n").split(b"\n"):
        label, colon, content_of = line.decode("utf-8", "replace").partition(":")
        if colon:
            if label.strip().lower() in headers:
                notes["a part's header comes twice"] = None
            headers[label.strip().lower()] = content_of.strip()
    told = headers.get("content-disposition", "")
    disposition, listed = _listed(told)
    parameters = dict(reversed(listed))
    if len(parameters) < len(listed):
        notes["a part's parameter comes twice"] = None
    if disposition.lower() != "form-data" or "name" not in parameters:
        notes["a part without a name"] = None
    encoding = headers.get("content-transfer-encoding", "").lower()
    if encoding not in ("", "7bit", "8bit", "binary"):
        # RFC 7578 section 4.7 forbids it; some readers decode it, most do not.
        notes[f"transfer encoding `{encoding[:20]}`"] = None
        content = _transfer_decoded(content, encoding)
    filename = parameters.get("filename*", parameters.get("filename"))
    value: Any
    if filename is None and not headers.get("content-type", "text/").lower().startswith(("image/", "audio/", "video/")):
        value = content.decode("utf-8", "replace")
        if "\ufffd" in value and b"\xef\xbf\xbd" not in content:
            notes["a field that is no UTF-8"] = None
    else:
        value = {"filename": filename or "", "content_type": headers.get("content-type", ""), "size": len(content)}
        if len(content) <= limits.max_file_text and b"\x00" not in content and (text := _text(content)) is not None:
            value["text"] = text
    name = parameters.get("name", "")
    if name not in tree:
        tree[name] = value
    elif isinstance(tree[name], list):
        tree[name].append(value)
    else:
        tree[name] = [tree[name], value]


def _split_head(part: bytes, notes: dict[str, None]) -> tuple[bytes, bytes]:
    """Header block and content of a part."""
    if part.startswith(b"\r\n"):
        return b"", part[2:]
    end, width = part.find(b"\r\n\r\n", 0, _MAX_HEADER), 4
    if end < 0:
        end, width = part.find(b"\n\n", 0, _MAX_HEADER), 2
        if end < 0:
            notes["a part whose headers do not end"] = None
            return part[:_MAX_HEADER], b""
        notes["bare line feeds"] = None
    return part[:end], part[end + width :]


def _transfer_decoded(content: bytes, encoding: str) -> bytes:
    try:
        if encoding == "base64":
            return binascii.a2b_base64(content)
        if encoding == "quoted-printable":
            return quopri.decodestring(content)
    except (binascii.Error, ValueError):
        pass
    return content


def _text(content: bytes) -> str | None:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def parameters_of(header: str) -> tuple[str, dict[str, str]]:
    """`form-data; name="a"; filename="b.txt"` as (value, parameters): names lower-case, quoted-pairs undone, the first of
    equal names kept, RFC 5987 values (`name*=utf-8''...`) percent-decoded under their starred name."""
    value, listed = _listed(header)
    return value, dict(reversed(listed))


def _listed(header: str) -> tuple[str, list[tuple[str, str]]]:
    """The same as a list, in order."""
    parameters: list[tuple[str, str]] = []
    value, _, rest = header[:_MAX_HEADER].partition(";")
    while rest and len(parameters) < 16:
        name, equals, rest = rest.lstrip(" \t;").partition("=")
        if not equals:
            break
        name = name.strip().lower()
        if rest.startswith('"'):
            text, rest = _quoted(rest)
            rest = rest.partition(";")[2]
        else:
            text, _, rest = rest.partition(";")
            text = text.strip()
        if name.endswith("*"):
            charset, _, encoded = text.partition("'")
            text = unquote_to_bytes(encoded.partition("'")[2]).decode(
                "latin-1" if charset.lower() == "iso-8859-1" else "utf-8", "replace"
            )
        parameters.append((name, text))
    return value.strip(), parameters


def _quoted(text: str) -> tuple[str, str]:
    """The quoted string at the start of `text`, and what follows it. A backslash escapes quotes and backslashes only: browsers
    once sent Windows paths (`C:\\a`) unescaped."""
    out: list[str] = []
    i = 1
    while i < len(text):
        char = text[i]
        if char == '"':
            return "".join(out), text[i + 1 :]
        if char == "\\" and text[i + 1 : i + 2] in ('"', "\\"):
            i += 1
            char = text[i]
        out.append(char)
        i += 1
    return "".join(out), ""
