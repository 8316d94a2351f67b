"""Whether a text, put into a page, runs script there: as markup, as an attribute, inside a string of a script, or as an address."""

from __future__ import annotations

import binascii
import html
import re
from bisect import bisect_right
from itertools import islice
from urllib.parse import unquote

from eastwall.detections.confirming import Verdict
from eastwall.detections.cross_site_scripting import script
from eastwall.detections.cross_site_scripting.events import HANDLERS
from eastwall.detections.cross_site_scripting.markup import Attribute, Tag, attributes_at, tags

MAX_TEXT = 10_240
"""Characters analysed."""
_DEPTH = 2
"""Markup in attributes in markup."""
_QUOTES = 8
"""Quotes at which a text may leave what it stands in."""
_BEHIND_QUOTE = 32
"""Attributes that are read behind one."""

_BLANKS = re.compile(r"[\x00-\x20\u200b\ufeff]+")
_SCHEME = re.compile(r"(?:java|vb|live|j|w)script:|mocha:|about:<", re.IGNORECASE)
_HARMLESS = re.compile(
    r"javascript:(?:void\(?[\"']?0?[\"']?\)?|;|//|#|return(?:false|true)|history\.(?:back|forward|go)\(-?\d*\))?;?", re.IGNORECASE
)
_DATA = re.compile(
    r"data:(?:text/(?:html|xml|xsl|javascript|ecmascript|vbscript)|application/(?:xhtml\+xml|xml|x-javascript|javascript|ecmascript)|image/svg\+xml|[^,/]{0,20},)",
    re.IGNORECASE,
)
_URL_ATTRIBUTES = frozenset(
    "href src action formaction data xlink:href background poster dynsrc lowsrc code codebase classid cite longdesc profile usemap manifest"
    " ping icon from to by values xml:base url archive folder".split()
)
_DATA_TAGS = frozenset(
    "a area iframe frame object embed form button input script link base meta svg use math animate set x".split()
)
_CSS_COMMENT = re.compile(r"(\"[^\"\n]*+\"|'[^'\n]*+')|/\*[^*]*+[\s\S]*?(?:\*/|\Z)")
_CSS_ESCAPE = re.compile(r"\\([0-9a-f]{1,6})[ \t\n\f\r]?|\\([^0-9a-f\n])", re.IGNORECASE)
_CSS_SCRIPT = re.compile(
    r"expression\(|(?:-moz-)?binding:url|-moz-binding:|behavio(?:u)?r:url|(?:url\(|@import(?:url\()?)[\"']?(?:(?:java|vb|live)script:|data:text/(?:html|javascript))",
    re.IGNORECASE,
)
_ATTRIBUTE_NAME = re.compile(r"(?:^|[\s/\"'`+>;])(on[a-z]{3,32})[\s\x00+]{0,20}=", re.IGNORECASE)
_LEAVES = re.compile(r"[\"'`](?=[\s/\\>]{0,20}[a-z:-]{2,40}[\s\x00+]{0,20}=)", re.IGNORECASE)
_STRING_END = re.compile(r"(?:^|[^\\]|\\\\)([\"'`])")
_PLAIN_START = re.compile(r"[\w \t.@,/:?&%#~-]{0,80}\\{0,2}")
_OPERATOR = re.compile(r"[\s)\]}]{0,40}(?:[-+*/%^|&;,=<>?:!~)\]}\n\r]|/\*)|$")
_REMOTE_STYLE = re.compile(r"@import\s{0,9}(?:url\s{0,4}\()?\s{0,4}[\"']?\s{0,4}((?:https?:)?//)", re.IGNORECASE)
_STRIPPED = re.compile(r"<[^<>]{0,200}>")
_ADDRESS_IN_TEXT = re.compile(r"(?<![\w-])[a-z]{0,6}script\s{0,9}:", re.IGNORECASE)
_UTF7 = re.compile(r"\+AD[wx](?:-|AH|-?s)", re.IGNORECASE)
_IMPORT = re.compile(r"<\?import\s|<\?xml:namespace[^>]{0,200}microsoft-com:(?:time|vml)", re.IGNORECASE)
_HANDLER = re.compile(r"on[a-z]{3,40}")
_FILLED = re.compile(
    r"\s{0,9}(?:[a-z-]{2,20}=)?(?:alert|confirm|prompt|eval|write)\s{0,4}(?:\([^()\n]{0,60}\)|`[^`\n]{0,60}`)\s{0,9}(?:>|</|autofocus\b|accesskey\b|//)",
    re.IGNORECASE,
)
_ARCHIVE = re.compile(r"\s{0,9}mhtml:[a-z]{2,10}:[^\s]{1,300}!", re.IGNORECASE)
_ENDED = re.compile(
    r"(?:alert|confirm|prompt|eval|write|fetch|constructor)[\w.]{0,20}\s{0,4}(?:\(|`)|=\s{0,4}(?:alert|eval)\b|document\s{0,4}\.\s{0,4}(?:cookie|domain|write)",
    re.IGNORECASE,
)
_WITHOUT_BRACKET = re.compile(r"(?:^|[^a-z<])script", re.IGNORECASE)
_SCRIPT_END = re.compile("/script", re.IGNORECASE)
_BRACKETS = re.compile(r"<|>[^<>]*+>")
"""Ends what stands in a script without its opening bracket: another tag."""
_LONGEST_SCRIPT = 500
_AND_BRACE = re.compile(r"&\{[^}\n]{0,200}\([^}\n]{0,200}\}")


def cross_site_scripting(text: str) -> Verdict | None:
    """Why `text` is script for a browser, or None. Never raises; linear in the first `MAX_TEXT` characters."""
    text = text[:MAX_TEXT].replace("\x00", "")
    if not text:
        return None
    return (
        _in_markup(text, 0)
        or _in_tag(text)
        or _in_address(text)
        or _in_string(text)
        or _in_code(text)
        or _behind_filter(text)
        or _in_other_charset(text)
    )


def _in_markup(text: str, depth: int) -> Verdict | None:
    if "<" not in text:
        return None
    if "&{" in text and _AND_BRACE.search(text):
        return Verdict("holds a script entity", text)
    found = list(tags(text))
    weak: Verdict | None = None
    names = {tag.name for tag in found}
    for tag, content, ended in _contents(text, found):
        verdict = _tag_acts(tag, text, content, ended, names, depth)
        if verdict is not None:
            if verdict.severity in ("", "high"):
                return verdict
            weak = weak or verdict
    if _IMPORT.search(text):
        return Verdict("imports a behaviour by a processing instruction", "<?import", "high", "medium")
    return weak


def _contents(text: str, found: list[Tag]) -> list[tuple[Tag, str, bool]]:
    """Every start tag, with what stands between a <script> or <style> and the next tag of that name, and whether that is its end tag."""
    contents: list[tuple[Tag, str, bool]] = []
    following: dict[str, Tag] = {}
    for tag in reversed(found):
        local = tag.name.rpartition(":")[2]
        content, ended = "", False
        if local in ("script", "style"):
            other = following.get(local)
            content = text[tag.end : other.start if other else len(text)]
            ended = other is not None and other.closing
            following[local] = tag
        if not tag.closing:
            contents.append((tag, content, ended))
    contents.reverse()
    return contents


def _tag_acts(tag: Tag, text: str, content: str, ended: bool, names: set[str], depth: int) -> Verdict | None:
    evidence = text[tag.start : tag.end]
    handler = ""
    for attribute in tag.attributes:
        reason = _attribute_acts(tag, attribute, depth)
        if reason:
            return Verdict(reason, evidence)
        # Browsers have skipped signs between the name of a handler and its `=`.
        match = _HANDLER.match(attribute.name)
        if match and match[0] in HANDLERS and (not attribute.name[match.end() : match.end() + 1].isalnum()):
            handler = match[0]
        if handler and script.acts(script.tokens(attribute.value)):
            return Verdict(f"runs script on `{handler}`", evidence)
    if "=" in tag.name and (found := _ATTRIBUTE_NAME.search(tag.name.replace(".", " "))) and found[1] in HANDLERS:
        return Verdict(f"runs script on `{found[1]}`", evidence)
    local = tag.name.rpartition(":")[2]
    if local == "script":
        return _script(tag, text, content.strip(), ended)
    if local == "style":
        reason = _css(content) or ("holds script in a style" if _ENDED.search(content) else None)
        if not reason and not names & {"html", "head"} and (remote := _REMOTE_STYLE.search(content)):
            return _linked(remote[1], text[tag.start : tag.start + 120])
        return Verdict(reason, text[tag.start : tag.start + 120]) if reason else None
    return _element(tag, local, names, evidence)


def _script(tag: Tag, text: str, body: str, closed: bool) -> Verdict | None:
    if tag.get("src") or tag.get("href") or tag.get("xlink:href"):
        return Verdict("loads a script", text[tag.start : tag.end])
    evidence = text[tag.start : tag.end + 100]
    if not tag.ended:
        return Verdict("begins a script", evidence) if tag.attributes else None
    code = script.tokens(body)
    if script.acts(code) or (script.runs(body) and (closed or not script.is_prose(code[:10]))):
        return Verdict("starts a script", evidence)
    # "use <script> and </script> with care": a word before the tag, a word in it.
    around = text[max(0, tag.start - 20) : tag.start]
    mentioned = around[-1:] in (" ", "`", "'", '"') and around.rstrip(" `'\"")[-1:].isalpha()
    if closed and body and not (mentioned and all(token.kind == "name" for token in code)):
        return Verdict("starts a script", evidence)
    return None


_FRAMES = {
    "iframe": "src",
    "frame": "src",
    "embed": "src",
    "object": "data",
    "applet": "code",
    "layer": "src",
    "ilayer": "src",
    "bgsound": "src",
}


_LINKED = frozenset(("stylesheet", "import", "manifest"))
_AS_HEADER = frozenset(("refresh", "set-cookie", "link"))


def _element(tag: Tag, name: str, names: set[str], evidence: str) -> Verdict | None:
    """Elements that bring in or send to something else without a script of their own.

    Editors embed videos by whole frames over HTTPS and mail designers link fonts: those are told, and of medium severity."""
    if name in _FRAMES and (source := tag.get(_FRAMES[name]) or tag.get("classid") or tag.get("src") or tag.get("type")):
        embedded = name == "iframe" and tag.ended and source.lower().startswith("https://")
        return Verdict(f"brings in another document by <{name}>", evidence, "medium" if embedded else "high", "medium")
    if name == "base" and tag.get("href"):
        return Verdict("changes where the page's own scripts are loaded from", evidence, "high", "medium")
    if name == "meta" and (kind := (tag.get("http-equiv") or "").lower()):
        if kind in _AS_HEADER:
            return Verdict(f"acts as the header `{kind}`", evidence, "high", "medium")
        if (tag.get("content") or "").lower().replace(" ", "").endswith("charset=utf-7"):
            return Verdict("makes the page be read in another encoding", evidence, "high", "medium")
    linked = name == "link" and _LINKED & set((tag.get("rel") or "").lower().split())
    if linked and not names & {"html", "head"} and (source := tag.get("href")):
        return _linked(source, evidence)
    if name == "isindex":
        return Verdict("asks a user for input", evidence, "high", "medium")
    if name in ("form", "button", "input") and _remote(tag.get("action") or tag.get("formaction")):
        return Verdict("sends what a user enters to another site", evidence, "medium", "medium")
    if name == "xml" and (tag.get("src") or tag.get("id")):
        return Verdict("is a data island", evidence, "high", "medium")
    if name in ("set", "animate") and (tag.get("attributename") or "").lower().startswith(("on", "innerhtml")):
        return Verdict(f"sets `{tag.get('attributename')}` by animation", evidence)
    return None


def _linked(source: str, evidence: str) -> Verdict:
    grave = "medium" if source.lower().startswith("https://") else "high"
    return Verdict("takes a style sheet from elsewhere", evidence, grave, "medium")


def _remote(address: str | None) -> bool:
    return bool(address) and re.match(r"\s*(?:https?:)?//", address or "", re.IGNORECASE) is not None


def _attribute_acts(tag: Tag, attribute: Attribute, depth: int) -> str | None:
    name, value = attribute.name, attribute.value
    if not value:
        return None
    if (
        name.startswith("on")
        and len(name) > 4
        and name.isalpha()
        and (name in HANDLERS or len(tag.name) < 30)
        and script.runs(value)
    ):
        return f"runs script on `{name}`"
    if name in _URL_ATTRIBUTES or (name == "content" and tag.name == "meta") or (name == "value" and tag.name == "param"):
        reason = _url(value, tag.name)
        if reason:
            return f"{reason} in `{name}`"
    if name == "style":
        reason = _css(value)
        if reason:
            return reason
    if "<" in value and depth < _DEPTH and _in_markup(value, depth + 1):
        return f"hides markup with script in `{name}`"
    if name == "dataformatas" and value.lower() == "html":
        return "fills in markup by data binding"
    if "&{" in value and _AND_BRACE.search(value):
        return f"runs script in `{name}`"
    return None


def _url(value: str, tag: str) -> str | None:
    """What an address does, as a browser reads it: leading blanks and any tab or line end in it are dropped."""
    address = _BLANKS.sub("", value)
    if tag == "meta":
        _, found, after = address.lower().partition("url=")
        address = after.strip("\"'") if found and not _SCHEME.search(address) else address
        match = _SCHEME.search(address)
        if match:
            return "is script as an address"
    if tag in ("set", "animate", "animatetransform"):
        address = address.split(";")[-1] if ";" in address else address
    if _SCHEME.match(address):
        return None if _HARMLESS.fullmatch(address) else "is script as an address"
    if _SCHEME.match(address.replace("#", ":", 1)):
        return "is script as an address"
    if address[:5].lower() == "data:" and tag in _DATA_TAGS and _DATA.match(address):
        return "is a document of its own"
    if tag in ("isindex", "link") and "javascript:" in address.lower():
        return "is script as an address"
    return None


def _css(style: str) -> str | None:
    """Script in a style: what comments and escapes hide is read as a browser reads it."""
    if "\\" in style:
        style = _CSS_ESCAPE.sub(lambda m: m[2] or (chr(int(m[1], 16)) if 0 < int(m[1], 16) < 0x110000 else ""), style)
    style = _BLANKS.sub("", _CSS_COMMENT.sub(lambda m: m[1] or "", style))
    match = _CSS_SCRIPT.search(style)
    return f"runs script in a style by `{match[0][:24].lower()}`" if match else None


def _in_tag(text: str) -> Verdict | None:
    """The text leaves a quoted value, or stands unquoted, in a tag of the page."""
    for match in islice(_LEAVES.finditer(text), _QUOTES):
        found, _, _ = attributes_at(text, match.end(), _BEHIND_QUOTE)
        for attribute in found:
            if attribute.name in HANDLERS and script.runs(attribute.value):
                return Verdict(
                    f"leaves a quoted value and runs script on `{attribute.name}`", text[match.start() : match.start() + 120]
                )
            if attribute.name in ("href", "src", "action", "formaction", "xlink:href", "data") and _url(attribute.value, "a"):
                return Verdict(
                    f"leaves a quoted value and sets `{attribute.name}` to script", text[match.start() : match.start() + 120]
                )
            if attribute.name == "style" and _css(attribute.value):
                return Verdict("leaves a quoted value and sets a style with script", text[match.start() : match.start() + 120])
    for match in _ATTRIBUTE_NAME.finditer(text):
        if match[1].lower() not in HANDLERS:
            continue
        found, _, _ = attributes_at(text, match.start(1), 1)
        if found and script.runs(found[0].value) and script.acts(script.tokens(found[0].value)):
            return Verdict(f"runs script on `{match[1].lower()}` in a tag of the page", text[match.start() : match.start() + 120])
    return None


def _in_address(text: str) -> Verdict | None:
    """The text is, or holds, an address that is script."""
    address = _BLANKS.sub("", text.strip("\"' ")[:MAX_TEXT])
    if _ARCHIVE.match(address):
        return Verdict("is a page inside an archive of another site", text)
    if _SCHEME.match(address) and not _HARMLESS.fullmatch(address):
        rest = text[text.find(":") + 1 :]
        rest = html.unescape(unquote(rest))
        code = script.tokens(rest.removeprefix("//").partition("\n")[2] or rest) if rest.startswith("//") else script.tokens(rest)
        if not script.is_prose(code) and (script.acts(code) or script.runs(rest)):
            return Verdict("is script as an address", text)
    if address[:5].lower() == "data:" and _DATA.match(address):
        return _data(address)
    for match in _ADDRESS_IN_TEXT.finditer(text):
        if script.acts(script.tokens(text[match.end() : match.end() + 200], 8)):
            return Verdict("holds script as an address", text[match.start() : match.start() + 120])
    return None


def _data(address: str) -> Verdict | None:
    head, _, content = address.partition(",")
    if head.lower().endswith(";base64"):
        try:
            content = binascii.a2b_base64(content[:2048] + "=" * (-len(content[:2048]) % 4)).decode("latin-1")
        except (binascii.Error, ValueError):
            content = ""
        if not content.isascii():  # not readable: no document that a client means
            return Verdict("is a document as an address", address, "high", "medium") if "image" not in head else None
    else:
        content = unquote(content)
    inner = _in_markup(content, 1)
    if inner is not None and inner.severity in ("", "high"):
        return Verdict("is a document with script as an address", address)
    if "javascript" in head.lower() and script.acts(script.tokens(content)):
        return Verdict("is script as an address", address)
    if "text/html" in head.lower():
        return Verdict("is a page as an address", address, "high", "medium")
    return None


def _in_string(text: str) -> Verdict | None:
    """The text leaves a string of a script: a quote, an operator or the end of a statement, and code that acts."""
    start = _PLAIN_START.match(text)
    position = start.end() if start else 0
    if position < len(text) and text[position] in "\"'`":
        rest = text[position + 1 :]
        if _OPERATOR.match(rest):
            code = script.tokens(rest)
            reason = script.acts(code)
            if reason and not script.is_prose(code[:6]):
                return Verdict(f"leaves a string of a script and {reason}", text)
    hole = max(text.find("${"), text.find("&{"))
    if hole >= 0:
        code = script.tokens(text[hole + 2 : hole + 300].partition("}")[0])
        reason = script.acts(code[:12])
        if reason and not script.is_prose(code[:4]):
            return Verdict(f"fills in a template of a script and {reason}", text[hole : hole + 120])
    return None


def _in_code(text: str) -> Verdict | None:
    """The text is one statement of a script, and one that only an injection consists of."""
    text = text.strip()
    filled = _FILLED.match(text)
    if filled:
        return Verdict("is a call that fills in a handler and leaves its tag", text)
    end = text.lower().find("</script")
    if end >= 0 and _ENDED.search(text, max(0, end - 400), end):
        return Verdict("is the end of a script that acts", text)
    if _ENDED.search(_without_brackets(text)):
        return Verdict("is a script whose brackets were taken out", text)
    if len(text) > 400 or "\n" in text:
        return None
    closed = text.lstrip(")]};, \t-+'\"")
    code = script.tokens(unquote(closed))
    if script.is_prose(code):
        return None
    reason = script.acts(code)
    if reason is None or code[0].text == "#":
        return None
    if code[0].text == "fetch" and not any(token.kind in ("string", "template") for token in code[2:3]):
        return None
    if len(code) > 2 and code[0].kind == "name" and code[1].text == "=" and code[0].text not in ("location", "onerror", "name"):
        return None  # `answer = prompt("..")`: an assignment is code that somebody shows
    if any(token.text in ("def", "var", "const", "let", "return", "if", "for", "{") for token in code[:3]) and closed == text:
        return None
    return Verdict(f"is a statement of a script that {reason}", text, "high", "medium")


def _without_brackets(text: str) -> str:
    """What stands between `script` and `/script` that lost their `<`; empty when nothing does. Each beginning costs `_LONGEST_SCRIPT`
    characters at most, without going back."""
    ends = [match.start() for match in _SCRIPT_END.finditer(text)]
    if not ends:
        return ""
    for match in _WITHOUT_BRACKET.finditer(text, 0, ends[-1]):
        start = match.end()
        bracket = _BRACKETS.search(text, start, start + _LONGEST_SCRIPT)
        before = bisect_right(ends, bracket.end() - 1 if bracket else start + _LONGEST_SCRIPT)
        if before and ends[before - 1] > start:
            return text[start : ends[before - 1]]
    return ""


def _behind_filter(text: str) -> Verdict | None:
    """What a filter that takes tags out leaves behind."""
    if "<" not in text or ">" not in text:
        return None
    left = _STRIPPED.sub("", text)
    if left == text or len(left) < 6:
        return None
    verdict = _in_markup(left, 1) or (_in_tag(left) if re.search("[\"'`]", left[:4]) else None)
    return (
        Verdict(f"{verdict.reason} once tags are taken out of it", text) if verdict and verdict.severity in ("", "high") else None
    )


def _in_other_charset(text: str) -> Verdict | None:
    if not _UTF7.search(text):
        return None
    for candidate in (
        text,
        re.sub(r"\+(?:ad|AD)([wx4])", lambda m: {"w": "<", "x": "=", "4": ">"}[m[1].lower()], text, flags=re.IGNORECASE),
    ):
        try:
            decoded = candidate.encode("ascii").decode("utf-7") if candidate is text else candidate
        except (UnicodeDecodeError, UnicodeEncodeError):
            continue
        decoded = decoded.replace("<-", "<").replace(">-", ">")
        if decoded != text and _in_markup(decoded, 1):
            return Verdict("is markup with script, in UTF-7", text)
    return None
