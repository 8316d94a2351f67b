"""Values that their own form gives away, wherever they stand: expressions and validators, and how a value is masked.

Field names are `data_names`' matter, and what a name makes of a value is `data_named`'s.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address
from re import ASCII, Match, Pattern
from re import compile as compile_expression
from string import ascii_letters
from string import digits as digits_of_ascii
from typing import NamedTuple

import msgspec

from eastwall.discovery import data_checks as checks

VALIDATED = 1.0
"""Confidence: a check digit or a published structure agreed."""
FORM = 0.8
"""Confidence: the form alone, where few other things have it."""


def regex(expression: str) -> Pattern[str]:
    """Digits and word characters are those of ASCII, as in the prefilter."""
    return compile_expression(expression, ASCII)


_PAN = regex(
    r"(?<![0-9A-Za-z.+-])(?:[2-6][0-9]{12,18}|[2-6][0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}(?:\1[0-9]{3})?"
    r"|3[47][0-9]{2}([ -])[0-9]{6}\2[0-9]{5}|3[0689][0-9]{2}([ -])[0-9]{6}\3[0-9]{4})(?![0-9A-Za-z-]|\.[0-9])"
)
_SSN = regex(r"(?<![0-9A-Za-z.+/_-])([0-8][0-9]{2})([- ])([0-9]{2})\2([0-9]{4})(?![0-9A-Za-z/_-]|\.[0-9])")
_IBAN = regex(
    r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}"
    r"(?:[0-9A-Z]{11,30}|(?: [0-9A-Z]{4}){2} [0-9A-Z]{3}|(?: [0-9A-Z]{4}){3,7}(?: [0-9A-Z]{1,3})?)"
    r"(?![0-9A-Za-z])"
)
_EMAIL = regex(
    r"(?<![0-9A-Za-z._%+@/:-])[0-9A-Za-z_](?:[0-9A-Za-z._%+'-]{0,62}[0-9A-Za-z_+-])?@(?:[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?\.){1,8}"
    r"[A-Za-z]{2,24}(?![0-9A-Za-z@-]|:[0-9A-Za-z./])"  # `git@host:path` is a place, not a mailbox
)
_PHONE = regex(
    r"(?<![0-9A-Za-z.+/=-])(?:\+[ (]{0,2}[1-9](?:[ .()-]{0,2}[0-9]){7,14}"
    r"|(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4})(?![0-9A-Za-z]|[.-][0-9])"
)
_SECRET = regex(
    r"(?<![0-9A-Za-z])(?:(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}"
    r"|glpat-[A-Za-z0-9_-]{20,64}|xox[abeoprs]-[A-Za-z0-9-]{10,250}|[prs]k_(?:live|test)_[A-Za-z0-9]{16,250}|AIza[0-9A-Za-z_-]{35}"
    r"|sk-(?:ant|proj|svcacct)-[A-Za-z0-9_-]{20,250}|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}|npm_[A-Za-z0-9]{36}"
    r"|pypi-AgEI[A-Za-z0-9_-]{20,250}|hf_[A-Za-z]{34}|dop_v1_[0-9a-f]{64}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"
    r"|hv[sb]\.[A-Za-z0-9_-]{24,250}|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{20,1024}|gl(?:dt|rt|ptt|oas|agent)-[A-Za-z0-9_-]{20,64}"
    r"|whsec_[A-Za-z0-9]{24,64}|dapi[0-9a-f]{32}|glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|key-[0-9a-f]{32}|[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"
    r"|sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}|ATATT3[A-Za-z0-9_=-]{100,250}|lin_api_[A-Za-z0-9]{40}|AGE-SECRET-KEY-1[0-9A-Z]{58}"
    r"|hooks\.slack\.com/services/T[0-9A-Z]{7,12}/B[0-9A-Z]{7,12}/[0-9A-Za-z]{20,32})(?![0-9A-Za-z_-])"
    # Each alternative below ends where the next could begin, so that the search stays linear in any text.
    r"|(?<![0-9A-Za-z_-])eyJ[A-Za-z0-9_-]{10,4096}\.eyJ[A-Za-z0-9_-]{10,8192}\.[A-Za-z0-9_-]{1,2048}(?![0-9A-Za-z_-])"
    r"|-----BEGIN [A-Z0-9 ]{0,20}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----)){0,16384}"
    r"(?:-----END [A-Z0-9 ]{0,20}PRIVATE KEY(?: BLOCK)?-----)?"
)
_CONNECTION = regex(
    r"(?<![0-9A-Za-z])[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s:/@\"'<>]{0,64}:([^\s@/\"'<>]{1,128})@[0-9A-Za-z\[]"
    r"|(?<![0-9A-Za-z])AccountKey=([A-Za-z0-9+/]{40,120}={0,2})"
)
_IPV4 = regex(
    r"(?<![0-9A-Za-z.:_/-])(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}(?![0-9A-Za-z_-]|\.[0-9A-Za-z])"
)
_IPV6 = regex(r"(?<![0-9A-Za-z:.])(?:[0-9A-Fa-f]{1,4}:){1,7}(?:(?::[0-9A-Fa-f]{1,4}){1,6}|:|[0-9A-Fa-f]{1,4})(?![0-9A-Za-z:.])")
_GROUP = regex(":[0-9A-Fa-f]{3,4}:")
_LEFT, _RIGHT = r"(?<![0-9A-Za-z.+/_-])", r"(?![0-9A-Za-z/_-]|\.[0-9])"
_CF = regex(r"(?<![0-9A-Za-z])[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z](?![0-9A-Za-z])")
_CPF = regex(_LEFT + r"\d{3}\.\d{3}\.\d{3}-\d{2}" + _RIGHT)
_CNPJ = regex(_LEFT + r"[0-9A-Z]{2}\.[0-9A-Z]{3}\.[0-9A-Z]{3}/[0-9A-Z]{4}-\d{2}" + _RIGHT)
_CN = regex(_LEFT + r"[1-8]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[0-9Xx]" + _RIGHT)
_NIR = regex(_LEFT + r"[123478]( ?)\d{2}\1\d{2}\1\d[0-9AB]\1\d{3}\1\d{3}\1\d{2}" + _RIGHT)
_AHV = regex(_LEFT + r"756(?:\.\d{4}\.\d{4}\.\d{2}|\d{10})" + _RIGHT)
_NINO = regex(_LEFT + r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] \d{2} \d{2} \d{2} [A-D]" + _RIGHT)
_HETU = regex(_LEFT + r"[0-3]\d[01]\d{3}-\d{3}[0-9A-FHJ-NPR-Y]" + _RIGHT)
_CURP = regex(_LEFT + r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[0-9A-Z]\d" + _RIGHT)
_L = "AC-HJKMNP-RT-Y"
_MBI = regex(_LEFT + rf"[1-9][{_L}][{_L}0-9]\d(-?)[{_L}][{_L}0-9]\d\1[{_L}]{{2}}\d{{2}}" + _RIGHT)
_MRZ = regex(
    r"(?<![0-9A-Za-z<])(?:([A-Z0-9<]{9})([0-9<])[A-Z<]{3}([0-9<]{6})([0-9])[MFX<]([0-9<]{6})([0-9])[A-Z0-9<]{8,16}"
    r"|P[A-Z<][A-Z<]{3}[A-Z]{1,38}<[A-Z<]{1,37})(?![0-9A-Za-z<])"
)
_BTC = regex(
    r"(?<![0-9A-Za-z])(?:[13][1-9A-HJ-NP-Za-km-z]{25,34}|bc1[02-9ac-hj-np-z]{11,71}|BC1[02-9AC-HJ-NP-Z]{11,71})(?![0-9A-Za-z])"
)
_ETH = regex(r"(?<![0-9A-Za-z])0x[0-9a-fA-F]{40}(?![0-9A-Za-z])")
_SEPARATORS = {ord(c): None for c in " -.()/+"}
_ENDINGS = frozenset("png jpg jpeg gif svg webp avif bmp ico css scss js mjs cjs jsx tsx json html htm pdf woff ttf".split())
"""Endings of file names; none is a top-level domain."""
_JWT_KEYS = frozenset({"alg", "typ", "kid", "enc"})
_PLACEHOLDER = regex(
    r"[*xX•.#-]+|\$\{?\w+\}?|%\w+%|\{\{?\w*\}?\}|\[?(?:redacted|masked|hidden|filtered|password|passwd|pass|secret)\]?"
)

# Length of an IBAN by country (SWIFT IBAN registry, release 99).
_IBAN_COUNTRIES = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 "
    "FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 "
    "LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 "
    "RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_IBAN_LENGTHS = {pair[:2]: int(pair[2:]) for pair in _IBAN_COUNTRIES.split()}


def compact(text: str) -> str:
    """Without separators, in upper case."""
    return text.translate(_SEPARATORS).upper()


def issued(digits: str) -> bool:
    """Whether an issuer uses numbers of this prefix and length."""
    length, two, three, four = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4])
    if digits[0] == "4":
        return length in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return length == 16
    if two in (34, 37):
        return length == 15
    if 300 <= three <= 305 or three == 309 or two in (36, 38, 39):
        return 14 <= length <= 19
    if 3528 <= four <= 3589 or four == 6011 or 644 <= three <= 659 or two in (62, 81):
        return 16 <= length <= 19
    return (two in (50, 56, 57, 58, 60, 61, 63, 67, 68, 69) and 16 <= length <= 19) or (two == 22 and length == 16)


def card(digits: str) -> bool:
    """ISO/IEC 7812: an issuer's range and length, Luhn."""
    return 13 <= len(digits) <= 19 and issued(digits) and checks.luhn(digits) and len(set(digits)) > 1


def us_ssn(digits: str) -> bool:
    """Social Security Administration: areas 000, 666, 900-999, group 00, serial 0000 are not issued."""
    # 078-05-1120 was printed in wallets and belongs to nobody.
    area = digits[:3]
    return area not in ("000", "666") and area < "900" and digits[3:5] != "00" and digits[5:] != "0000" and digits != "078051120"


def iban(text: str) -> bool:
    """ISO 13616: the country's length, MOD 97-10."""
    return _IBAN_LENGTHS.get(text[:2]) == len(text) and checks.mod97(text[4:] + text[:4])


def _compacted(check: checks.Check) -> Callable[[Match[str]], bool]:
    return lambda found: check(compact(found.group()))


def _is_email(found: Match[str]) -> bool:
    text = found.group()
    # `logo@2x.png` is a picture for fine screens.
    return ".." not in text and len(text) <= 254 and text.rpartition(".")[2].lower() not in _ENDINGS


def _is_phone(found: Match[str]) -> bool:
    digits = found.group().translate(_SEPARATORS)
    return 8 <= len(digits) <= 15 and len(set(digits)) > 2


def _is_secret(found: Match[str]) -> bool:
    text = found.group()
    if text.startswith("eyJ"):
        return _is_jwt(text)
    if text.startswith("-----"):
        return True
    # Placeholders in documentation repeat one or two characters.
    return len(set(text[4:])) > 5


def _is_jwt(text: str) -> bool:
    head = text.partition(".")[0]
    try:
        header = msgspec.json.decode(urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except ValueError:
        return False
    return isinstance(header, dict) and not _JWT_KEYS.isdisjoint(header)


def hidden(text: str) -> bool:
    """Whether a text stands in for a value: `****`, `[redacted]`, `${PASSWORD}`."""
    return _PLACEHOLDER.fullmatch(text.lower()) is not None


def _is_password(found: Match[str]) -> bool:
    return not hidden(found.group(1) or found.group(2))


def _is_ipv4(found: Match[str]) -> bool:
    text = found.group()
    before = found.string[max(0, found.start() - 9) : found.start()].lower().rstrip(" :=\"'")
    # 1.2.3.4 behind such a word is a version, and so, mostly, is what ends in .0 and is no network; 0.0.0.0, loopback and masks are
    # nobody's address.
    if text.endswith(".0") and found.string[found.end() : found.end() + 1] != "/":
        return False
    return not text.startswith(("0.", "127.", "255.")) and not before.endswith(("version", "ver", "v", "release", "build"))


def _is_ipv6(found: Match[str]) -> bool:
    text = found.group()
    if "::" not in text and (text.count(":") < 7 or _GROUP.search(text) is None):
        return False
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return False
    return (
        not address.is_loopback and not address.is_unspecified and any(character in "23456789abcdefABCDEF" for character in text)
    )


def _is_mrz(found: Match[str]) -> bool:
    number, check, birth, birth_check, expiry, expiry_check = found.groups()
    if number is None:
        return 36 <= len(found.group()) <= 44
    return (
        len(found.group()) in (36, 44)
        and checks.mrz_digit(number, check)
        and checks.mrz_digit(birth, birth_check)
        and checks.mrz_digit(expiry, expiry_check)
    )


_ALNUM = compile_expression(r"[^\W_]")
_LETTER = compile_expression(r"[^\W\d_]")
_STARRED = dict.fromkeys(map(ord, ascii_letters + digits_of_ascii), "*")
_STARS = tuple(" ".join(["***"] * count) for count in range(1, 7))


def mask_tail(text: str) -> str:
    """All digits and letters but the last four are `*`; of short values nothing is left."""
    keep = len(text) - (4 if len(text) >= 8 else 0)
    head = text[:keep]
    return (head.translate(_STARRED) if head.isascii() else _ALNUM.sub("*", head)) + text[keep:]


def mask_email(text: str) -> str:
    """First letter and domain."""
    return text[:1] + "***@" + text.rpartition("@")[2]


def mask_secret(text: str) -> str:
    """The prefix that says whose token it is, where there is one."""
    if text.startswith("-----"):
        return "-----BEGIN PRIVATE KEY-----****"
    return text[:4] + "****" if _SECRET.match(text) else "****"


def mask_form(text: str) -> str:
    """Nothing but the form: `*** ***`, `****-**-**`."""
    if _LETTER.search(text) is not None:
        return _STARS[min(text.count(" "), 5)]
    return _ALNUM.sub("*", text[:32])


def mask_all(text: str) -> str:
    """Nothing at all."""
    return "****"


class Form(NamedTuple):
    """How one kind of value is looked for in a text."""

    data_class: str
    label: str
    """Country or kind, shown before the masked value; may be empty."""
    shortest: int
    """Characters of the shortest value."""
    pattern: Pattern[str]
    valid: Callable[[Match[str]], bool]
    confidence: float
    group: int = 0
    """Which group is the value; 0: all of it. Negative: the last one that took part."""


# In this order: of two overlapping values the earlier form has it.
FORMS = (
    Form("secret", "", 16, _SECRET, _is_secret, VALIDATED),
    Form("secret", "", 8, _CONNECTION, _is_password, 0.9, -1),
    Form("iban", "", 15, _IBAN, _compacted(iban), VALIDATED),
    Form("pan", "", 13, _PAN, _compacted(card), VALIDATED),
    Form("ssn", "", 11, _SSN, _compacted(us_ssn), 0.9),
    Form("national-id", "IT", 16, _CF, _compacted(checks.it_codice_fiscale), VALIDATED),
    Form("national-id", "MX", 18, _CURP, _compacted(checks.mx_curp), VALIDATED),
    Form("national-id", "CN", 18, _CN, _compacted(checks.cn_resident_id), VALIDATED),
    Form("national-id", "FR", 15, _NIR, _compacted(checks.fr_nir), VALIDATED),
    Form("national-id", "CH", 13, _AHV, _compacted(checks.ch_ahv), VALIDATED),
    Form("national-id", "BR", 14, _CPF, _compacted(checks.br_cpf), VALIDATED),
    Form("national-id", "BR", 18, _CNPJ, _compacted(checks.br_cnpj), VALIDATED),
    Form("national-id", "FI", 11, _HETU, lambda found: checks.fi_hetu(found.group()), VALIDATED),
    Form("national-id", "GB", 13, _NINO, _compacted(checks.gb_nino), FORM),
    Form("passport", "", 36, _MRZ, _is_mrz, VALIDATED),
    Form("health-id", "US", 11, _MBI, lambda found: True, FORM),
    Form("email", "", 6, _EMAIL, _is_email, VALIDATED),
    Form("phone", "", 9, _PHONE, _is_phone, 0.9),
    Form("ip-address", "", 7, _IPV4, _is_ipv4, FORM),
    Form("ip-address", "", 4, _IPV6, _is_ipv6, VALIDATED),
    Form("crypto-wallet", "BTC", 26, _BTC, lambda found: _is_btc(found.group()), VALIDATED),
    Form("crypto-wallet", "ETH", 42, _ETH, lambda found: len(set(found.group())) > 8, FORM),
)


def _is_btc(text: str) -> bool:
    return checks.bech32(text) if text[:3].lower() == "bc1" else checks.base58check(text)


MASKS: dict[str, Callable[[str], str]] = {
    "secret": mask_secret,
    "credential": mask_all,
    "email": mask_email,
    "person-name": mask_all,
    "address": mask_all,
    "date-of-birth": mask_form,
    "diagnosis": mask_all,
    "geo": mask_form,
}
"""Masked form by class, for records and for style `mask`; every other class keeps the last four."""

# (class, pattern): each only has to hit whenever a form's expression above would; it may hit more. Bytes, no Unicode mode.
# A slash may be escaped in JSON. These begin with letters that are rare elsewhere, and cost next to nothing.
MARKED: tuple[tuple[str, bytes], ...] = (
    ("email", rb"[0-9A-Za-z._%+'-]@[0-9A-Za-z]"),
    ("phone", rb"\+[ (]{0,2}[1-9][0-9 ().-]"),
    ("secret", rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"),
    ("secret", rb"gh[pousr]_[A-Za-z0-9]{36}"),
    ("secret", rb"github_pat_[A-Za-z0-9_]{22}"),
    ("secret", rb"glpat-[A-Za-z0-9_-]{20}"),
    ("secret", rb"xox[abeoprs]-[A-Za-z0-9-]{10}"),
    ("secret", rb"[prs]k_(?:live|test)_[A-Za-z0-9]{16}"),
    ("secret", rb"AIza[0-9A-Za-z_-]{35}"),
    ("secret", rb"sk-(?:ant|proj|svcacct)-[A-Za-z0-9_-]{20}"),
    ("secret", rb"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    ("secret", rb"npm_[A-Za-z0-9]{36}"),
    ("secret", rb"pypi-AgEI[A-Za-z0-9_-]{20}"),
    ("secret", rb"hf_[A-Za-z]{34}"),
    ("secret", rb"dop_v1_[0-9a-f]{64}"),
    ("secret", rb"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    ("secret", rb"hv[sb]\.[A-Za-z0-9_-]{24}"),
    ("secret", rb"GOCSPX-[A-Za-z0-9_-]{28}"),
    ("secret", rb"ya29\.[A-Za-z0-9_-]{20}"),
    ("secret", rb"gl(?:dt|rt|ptt|oas|agent)-[A-Za-z0-9_-]{20}"),
    ("secret", rb"whsec_[A-Za-z0-9]{24}"),
    ("secret", rb"dapi[0-9a-f]{32}"),
    ("secret", rb"glsa_[A-Za-z0-9]{32}_"),
    ("secret", rb"key-[0-9a-f]{32}"),
    ("secret", rb"[0-9]{8}:AA[A-Za-z0-9_-]{33}"),
    ("secret", rb"T3BlbkFJ[A-Za-z0-9]{20}"),
    ("secret", rb"ATATT3[A-Za-z0-9_=-]{50}"),
    ("secret", rb"lin_api_[A-Za-z0-9]{40}"),
    ("secret", rb"AGE-SECRET-KEY-1"),
    ("secret", rb"hooks\.slack\.com\\?/services\\?/T"),
    ("secret", rb"-----BEGIN [A-Z0-9 ]{0,20}PRIVATE KEY"),
    ("secret", rb"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]"),
    ("secret", rb":(?:\\?/){2}[^\s:/@\"'<>]{0,256}:[^\s@/\"'<>]{1,512}@[0-9A-Za-z\[]"),
    ("secret", rb"AccountKey="),
    ("crypto-wallet", rb"bc1[0-9a-z]{11}|BC1[0-9A-Z]{11}"),
)
# These read each byte of a body, so they are asked only when one of TRIGGERS, which are as few as can be, hit it.
UNMARKED: tuple[tuple[str, bytes], ...] = (
    ("pan", rb"(?:^|[^0-9])[2-6](?:[ -]?[0-9]){12}"),
    ("ssn", rb"(?:^|[^0-9])[0-8][0-9]{2}[- ][0-9]{2}[- ][0-9]{4}"),
    ("phone", rb"[0-9]{3}(?:[ .-]|\) ?)[0-9]{3}[ .-][0-9]{4}"),
    ("iban", rb"(?:^|[^0-9A-Za-z])[A-Z]{2}[0-9]{2} ?(?:[0-9A-Z]{4} ?){2}[0-9A-Z]{3}"),
    ("national-id", rb"[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]"),
    ("national-id", rb"[0-9A-Z]{3}\.[0-9A-Z]{3}(?:-|\\?/)[0-9A-Z]"),
    ("national-id", rb"(?:^|[^0-9])[1-8][0-9]{5}(?:18|19|20)[0-9]{9}[0-9Xx]"),
    ("national-id", rb"(?:^|[^0-9])[1-8] ?[0-9]{2} ?[0-9]{2} ?[0-9][0-9AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}"),
    ("national-id", rb"756\.?[0-9]{4}\.?[0-9]{4}"),
    ("national-id", rb"[A-Z]{2} [0-9]{2} [0-9]{2} [0-9]{2} [A-D]"),
    ("national-id", rb"[0-3][0-9][01][0-9]{3}-[0-9]{3}[0-9A-Y]"),
    ("national-id", rb"[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}"),
    ("passport", rb"[0-9<][A-Z<]{3}[0-9<]{6}[0-9][MFX<][0-9<]{6}[0-9]"),
    ("passport", rb"P[A-Z<][A-Z<]{3}[A-Z]{1,38}<[A-Z<]"),
    ("health-id", rb"[1-9][A-Y][0-9A-Y][0-9]-?[A-Y][0-9A-Y][0-9]-?[A-Y]{2}[0-9]{2}"),
    ("ip-address", rb"(?:^|[^0-9.])[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?:[^0-9]|$)"),
    ("ip-address", rb"(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]|[0-9A-Fa-f]::"),
)
WALLETS: tuple[tuple[str, bytes], ...] = (
    ("crypto-wallet", rb"(?:^|[^0-9A-Za-z])(?:[13][1-9A-HJ-NP-Za-km-z]{25,34}|0x[0-9a-fA-F]{40})(?:[^0-9A-Za-z]|$)"),
)
"""By themselves, since long words (hashes, tokens) are what asks for them, and are common."""
TRIGGERS: tuple[bytes, ...] = (
    rb"[0-9](?:[ .()/-]{0,2}[0-9]){8}",
    rb"[0-9A-Z<]{10}",
    rb"2[AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
    rb"\.[0-9A-Z]{3}\.[0-9A-Z]{3}\\?/[0-9A-Z]{4}-",
    rb"[A-Z]{2}[0-9]{2} [0-9A-Z]{4} ",
    rb"[0-9]-[A-Y][0-9A-Y][0-9]-[A-Y]{2}[0-9]{2}",
    rb"[A-Z]{2} [0-9]{2} [0-9]{2} [0-9]{2} [A-D]",
    rb"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
)
FEW: tuple[bytes, ...] = (rb"[0-9A-Fa-f]::|:[0-9A-Fa-f]{3,4}:",)
"""Triggers that cost an automaton little. At least one of these and TRIGGERS hits whenever one of UNMARKED does and an expression agrees.
TRIGGERS are once more in `_raw.c`."""
LONG = rb"(?:^|[^0-9A-Za-z])(?:[13][0-9A-Za-z]{25,34}|0x[0-9A-Za-z]{40})(?:[^0-9A-Za-z]|$)"
"""The same for WALLETS. Most long words are hashes and tokens, which begin otherwise."""
