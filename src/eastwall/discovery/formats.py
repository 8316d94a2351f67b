"""Formats of texts, by their form: the names are those of JSON Schema (2020-12, 7.3) and the OpenAPI format registry."""

from __future__ import annotations

from re import compile as regex

MAX_LENGTH = 2048
"""Characters; longer texts have no format."""
MAYBE_BYTE = "~byte"
"""Could be base64, and could be an id as well: `byte` only where other values of the place leave no doubt."""

_UUID = regex(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_DATE = regex(r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])")
_DATE_TIME = regex(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-6][0-9](?:\.[0-9]{1,9})?)?"
    r"(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_TIME = regex(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-6][0-9](?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})?")
_DURATION = regex(r"P(?=.)(?:[0-9]+W|(?:[0-9]+Y)?(?:[0-9]+M)?(?:[0-9]+D)?(?:T(?=.)(?:[0-9]+H)?(?:[0-9]+M)?(?:[0-9.]+S)?)?)")
_EMAIL = regex(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
_URI = regex(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s]+")
_IPV4 = regex(r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])")
_IPV6 = regex(r"(?=(?:[^:]*:){2})(?:[0-9a-fA-F]{0,4}:){2,7}(?:[0-9a-fA-F]{0,4}|[0-9]{1,3}(?:\.[0-9]{1,3}){3})")
_HOSTNAME = regex(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}")
_BASE64 = regex(r"(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_MIXED = regex(r"(?=.*[0-9])(?=.*[a-z])(?=.*[A-Z])")
_TOP_LEVEL = frozenset(
    "com org net edu gov mil int io dev app cloud ai co info biz local internal svc lan corp test example eu uk de fr it es nl be ch "
    "at se no dk fi pl cz pt ie us ca au jp cn in br ru".split()
)
"""Last labels of host names. Other dotted words (`order.created`, `report.pdf`) are none."""
_INTEGER = regex(r"-?(?:0|[1-9][0-9]{0,14})")
_NUMBER = regex(r"-?(?:0|[1-9][0-9]{0,14})(?=[.eE])(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?")


def format_of(text: str) -> str:
    """Format of a text, `""` for none. A look at length and one character or two decides which expression runs, if any."""
    length = len(text)
    if length < 6 or length > MAX_LENGTH:
        return "duration" if 2 < length < 6 and text[0] == "P" and _DURATION.fullmatch(text) else ""
    if length >= 10 and text[4] == "-":
        if length == 10:
            return "date" if _DATE.fullmatch(text) else ""
        if text[7] == "-" and _DATE_TIME.fullmatch(text):
            return "date-time"
    if length == 36 and text[8] == "-":
        return "uuid" if _UUID.fullmatch(text) else ""
    if " " in text:
        return ""
    if "://" in text:
        return "uri" if _URI.fullmatch(text) else ""
    if "@" in text:
        return "email" if length <= 254 and _EMAIL.fullmatch(text) else ""
    if "." in text and length <= 253:
        if length <= 15 and _IPV4.fullmatch(text):
            return "ipv4"
        if text[-1].isalpha() and text[text.rindex(".") + 1 :].lower() in _TOP_LEVEL and _HOSTNAME.fullmatch(text):
            return "hostname"
    if ":" in text:
        if length <= 45 and _IPV6.fullmatch(text) and ("::" in text or text.count(":") == 7):
            return "ipv6"
        if text[2] == ":" and length <= 30 and _TIME.fullmatch(text):
            return "time"
        return ""
    if text[0] == "P" and length <= 40 and _DURATION.fullmatch(text):
        return "duration"
    if length >= 16 and not length % 4:
        return _base64(text)
    return ""


def _base64(text: str) -> str:
    if not _BASE64.fullmatch(text) or not (text[-1] == "=" or _MIXED.match(text)):
        return ""
    return "byte" if text[-1] == "=" or "+" in text else MAYBE_BYTE


def lexical_of(text: str) -> tuple[str, float | None]:
    """(`integer`, `number`, `boolean` or `""`, the number) of a text that stands where types are not written: a query, a form, XML.

    Digits that are no number to reckon with (`007`, 16 digits and more) stay text.
    """
    if text in ("true", "false"):
        return "boolean", None
    if not text or text[0] not in "-0123456789":
        return "", None
    if _INTEGER.fullmatch(text):
        return "integer", float(text)
    if _NUMBER.fullmatch(text):
        return "number", float(text)
    return "", None
