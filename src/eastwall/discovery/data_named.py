"""What a value must look like for its field's name to be believed. Without such a name none of these is looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from re import DOTALL, IGNORECASE, Pattern
from re import compile as regex
from typing import NamedTuple

from eastwall.discovery import data_checks as checks
from eastwall.discovery.data_forms import VALIDATED, card, compact, hidden, us_ssn
from eastwall.discovery.data_names import IN_PERSON, IN_PLACE, canonical, evidence

NAMED = 0.9
"""Confidence: name and form agree."""
VAGUE = 0.6
"""Confidence: the name alone, the form says little."""


class Named(NamedTuple):
    """A value that a name speaks for."""

    data_class: str
    label: str
    """Country or kind, shown before the masked value; may be empty."""
    valid: Callable[[str], object]
    """Of the whole value without white space at its ends."""
    confidence: float
    numbers: bool = True
    """Whether JSON numbers count."""


def _number(pattern: str, check: checks.Check | None = None) -> Callable[[str], bool]:
    """Of a value without its separators."""
    form = regex(pattern)

    def valid(text: str) -> bool:
        plain = compact(text) if len(text) <= 40 else ""
        return form.fullmatch(plain) is not None and (check is None or check(plain))

    return valid


def _form(pattern: str, flags: int = 0) -> Callable[[str], bool]:
    form: Pattern[str] = regex(pattern, flags)
    return lambda text: len(text) <= 200 and form.fullmatch(text) is not None


def _ids(*ids: Named, confidence: float = NAMED) -> tuple[Named, ...]:
    return tuple(one._replace(confidence=confidence) for one in ids)


def _id(country: str, pattern: str, check: checks.Check | None = None) -> Named:
    return Named("national-id", country, _number(pattern, check), VALIDATED if check else NAMED)


_HETU = regex("[0-3][0-9][01][0-9]{3}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]")
_COUNTRIES: dict[str, Named] = {
    "gb": Named("national-id", "GB", _number("[A-Z]{2}[0-9]{6}[A-D]", checks.gb_nino), NAMED),
    "de": _id("DE", "[0-9]{11}", checks.de_tax_id),
    "fr": _id("FR", "[0-9]{6}[0-9AB][0-9]{8}", checks.fr_nir),
    "es": _id("ES", "[0-9XYZ][0-9]{7}[A-Z]", checks.es_dni),
    "it": _id("IT", "[A-Z]{6}[0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]", checks.it_codice_fiscale),
    "nl": _id("NL", "[0-9]{9}", checks.nl_bsn),
    "pl": _id("PL", "[0-9]{11}", checks.pl_pesel),
    "se": _id("SE", "(?:[0-9]{2})?[0-9]{10}", checks.se_personnummer),
    "no": _id("NO", "[0-9]{11}", checks.no_fodselsnummer),
    "fi": Named("national-id", "FI", lambda t: _HETU.fullmatch(t) is not None and checks.fi_hetu(t), VALIDATED),
    "dk": Named("national-id", "DK", _number("[0-9]{10}", checks.dk_cpr), NAMED),
    "be": _id("BE", "[0-9]{11}", checks.be_national_number),
    "ch": _id("CH", "756[0-9]{10}", checks.ch_ahv),
    "pt": _id("PT", "[0-9]{9}", checks.pt_nif),
    "ie": _id("IE", "[0-9]{7}[A-W][A-IW]?", checks.ie_pps),
    "br": _id("BR", "[0-9]{11}", checks.br_cpf),
    "br-cnpj": _id("BR", "[0-9A-Z]{12}[0-9]{2}", checks.br_cnpj),
    "in": _id("IN", "[0-9]{12}", checks.in_aadhaar),
    "in-pan": Named("national-id", "IN", _number("[A-Z]{3}[ABCFGHJLPTK][A-Z][0-9]{4}[A-Z]"), NAMED),
    "ca": _id("CA", "[0-9]{9}", checks.ca_sin),
    "au": _id("AU", "[0-9]{9}", checks.au_tfn),
    "za": _id("ZA", "[0-9]{13}", checks.za_id),
    "cn": _id("CN", "[0-9]{17}[0-9X]", checks.cn_resident_id),
    "kr": _id("KR", "[0-9]{13}", checks.kr_rrn),
    "jp": _id("JP", "[0-9]{12}", checks.jp_my_number),
    "sg": _id("SG", "[STFGM][0-9]{7}[A-Z]", checks.sg_nric),
    "tw": _id("TW", "[A-Z][1289][0-9]{8}", checks.tw_id),
    "hk": _id("HK", "[A-Z]{1,2}[0-9]{6}[0-9A]", checks.hk_id),
    "tr": _id("TR", "[0-9]{11}", checks.tr_tckn),
    "mx": _id("MX", "[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}[0-9A-Z][0-9]", checks.mx_curp),
    "cl": _id("CL", "[0-9]{7,8}[0-9K]", checks.cl_rut),
    "ar": _id("AR", "[0-9]{11}", checks.ar_cuit),
    "il": _id("IL", "[0-9]{9}", checks.il_id),
    "ru": _id("RU", "[0-9]{11}", checks.ru_snils),
    "ro": _id("RO", "[0-9]{13}", checks.ro_cnp),
    "cz": _id("CZ", "[0-9]{10}", checks.cz_birth_number),
    "bg": _id("BG", "[0-9]{10}", checks.bg_egn),
    "gr": _id("GR", "[0-9]{11}", checks.gr_amka),
    "ee": _id("EE", "[0-9]{11}", checks.ee_isikukood),
    "th": _id("TH", "[0-9]{13}", checks.th_id),
}
_SSN = Named("ssn", "", _number("[0-8][0-9]{8}", us_ssn), VALIDATED)
_NOT_DIGIT = regex("[^0-9]+")
_PHONE = regex(r"\+?[0-9(](?:[ ./()-]{0,2}[0-9]){6,14}(?: ?(?:x|ext\.?) ?[0-9]{1,6})?")
_DATE = regex(
    r"(?:18|19|20)[0-9]{2}([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12][0-9]|3[01])(?:[T ][0-9:.Z+-]{2,20})?"
    r"|(?:0?[1-9]|[12][0-9]|3[01])[-/. ]{1,2}(?:0?[1-9]|1[0-2]|[A-Za-zäéûç]{3,10}\.?)[-/. ]{1,2}(?:(?:18|19|20)[0-9]{2}|[0-9]{2})"
    r"|(?:0?[1-9]|1[0-2])([-/.])(?:0?[1-9]|[12][0-9]|3[01])\2(?:18|19|20)[0-9]{2}"
    r"|[A-Z][a-z]{2,8}\.? [0-3]?[0-9](?:st|nd|rd|th)?,? (?:18|19|20)[0-9]{2}|(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
)
_NOBODY = frozenset(
    "null none n/a na unknown anonymous undefined nil true false default test admin root guest string name".split()
)
_NO_VALUE = f"(?!(?i:{'|'.join(sorted(_NOBODY))})$)"
# One expression each, without a function around it: these two are asked of many values in many bodies.
_PERSON = regex(_NO_VALUE + r"[^\W\d_][^\d_@/\\<>{}\[\]|=#!?;:*\"+~$%&^\n\r\t]{1,79}")
_ADDRESS_TEXT = regex(
    _NO_VALUE + r"(?!0[xX]|[^ ]*://)(?:[^\W\d_][^\W\d_]{1,39}\.?|(?=.{2,250}$)(?=.*[^\W_])[^@\n]*[ ,\n][^@]*"
    r"|[^\W\d_]{1,30}(?:['’.-]{1,2}[^\W\d_]{1,30}){1,5}\.?|[0-9A-Za-z][0-9A-Za-z/-]{1,9})",
    DOTALL,
)
_COORDINATE = regex(r"[+-]?[0-9]{1,3}\.[0-9]{2,16}")
_COORDINATES = regex(r"(?:(?:geo|GEO):)?[+-]?[0-9]{1,3}\.[0-9]{2,16}[,; ]{1,2}[+-]?[0-9]{1,3}\.[0-9]{2,16}")
_DEGREES = regex("""[0-9]{1,3}°[ 0-9.'′"″]{0,16} ?[NSEWO]""")
_TOKEN = regex(r"[A-Za-z0-9][A-Za-z0-9+/=_.~:-]{15,2047}")
_TIME = regex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:")
_LICENSE = regex(r"(?=(?:.*[0-9]){4})[0-9A-Za-z][0-9A-Za-z -]{3,22}[0-9A-Za-z]")


def _is_phone(text: str) -> bool:
    if len(text) > 40 or _PHONE.fullmatch(text) is None:
        return False
    digits = _NOT_DIGIT.sub("", text.partition("x")[0])
    return 7 <= len(digits) <= 15 and len(set(digits)) > 2


def _is_date(text: str) -> bool:
    return 6 <= len(text) <= 35 and _DATE.fullmatch(text) is not None


def _is_coordinate(text: str) -> bool:
    if _COORDINATE.fullmatch(text) is not None:
        return abs(float(text)) <= 180
    return len(text) <= 60 and (_COORDINATES.fullmatch(text) is not None or _DEGREES.fullmatch(text) is not None)


def _is_password(text: str) -> bool:
    text = text.strip()
    # Of two spaces on it is a sentence about passwords: what forms and error messages hold under that name.
    return 3 <= len(text) <= 256 and text.count(" ") < 2 and not hidden(text) and text.lower() not in _NOBODY


def _is_token(text: str) -> bool:
    if _TOKEN.fullmatch(text) is None or "//" in text or len(set(text)) < 8 or not any(map(str.isdigit, text)):
        return False
    return _TIME.match(text) is None


def _is_license(text: str) -> bool:
    return len(text) <= 24 and _LICENSE.fullmatch(text) is not None


_ALL = tuple(_COUNTRIES.values())
_PASSPORT = Named("passport", "", _number("(?=(?:[A-Z]*[0-9]){4})[0-9A-Z]{6,10}"), NAMED)
_ICD = Named("diagnosis", "", _form(r"[A-TV-Z][0-9][0-9AB](?:\.?[0-9A-TV-Z]{1,4})?"), NAMED, numbers=False)
_WORDS = Named(
    "diagnosis", "", lambda text: 4 <= len(text) <= 200 and text[:3].isalpha() and "://" not in text, VAGUE, numbers=False
)
_MRN = Named("health-id", "MRN", _form("(?=(?:.*[0-9]){4})[A-Z]{0,6}[-:]?[0-9-]{4,14}", IGNORECASE), NAMED)
_ACCOUNT = Named("bank-account", "", _number("[0-9]{6,17}"), NAMED)
_PERSON_NAME = Named("person-name", "", _PERSON.fullmatch, 0.8, numbers=False)
_ADDRESS = Named("address", "", _ADDRESS_TEXT.fullmatch, 0.7)
_GEO = Named("geo", "", _is_coordinate, NAMED)

# Evidence of a name -> what is tried, in this order; the first that agrees holds.
BY_EVIDENCE: dict[str, tuple[Named, ...]] = {
    **{kind: (one,) for kind, one in _COUNTRIES.items()},
    "br": (_COUNTRIES["br"], _COUNTRIES["br-cnpj"]),
    "card": (Named("pan", "", _number("[0-9]{13,19}", card), VALIDATED),),
    "ssn": (_SSN,),
    "tax-id": (_SSN._replace(confidence=NAMED), *_ids(*(_COUNTRIES[c] for c in ("de", "br", "br-cnpj", "it", "es", "in-pan", "ar", "cl", "au", "pt", "pl")))),
    "national-id": (*_ids(*_ALL), Named("national-id", "", _number("(?=(?:[A-Z]*[0-9]){5})[0-9A-Z]{6,18}"), VAGUE)),
    "id-number": _ids(*_ALL, confidence=0.8),
    "nhs": (Named("health-id", "GB", _number("[0-9]{10}", checks.nhs_number), VALIDATED),),
    "npi": (Named("health-id", "US", _number("[0-9]{10}", checks.us_npi), VALIDATED),),
    "medicare": (
        Named("health-id", "US", _number("[1-9][A-Y][0-9A-Y][0-9][A-Y][0-9A-Y][0-9][A-Y]{2}[0-9]{2}"), NAMED),
        Named("health-id", "AU", _number("[0-9]{10,11}", checks.au_medicare), VALIDATED),
    ),
    "kvnr": (Named("health-id", "DE", _number("[A-Z][0-9]{9}", checks.de_kvnr), VALIDATED),),
    "mrn": (_MRN,),
    "insurance": (_MRN._replace(label="", valid=_is_license, confidence=0.8),),
    "icd": (_ICD, _WORDS),
    "passport": (_PASSPORT,),
    "license": (Named("driver-license", "", _is_license, NAMED),),
    "birth": (Named("date-of-birth", "", _is_date, NAMED),),
    "birth-year": (Named("date-of-birth", "", _form("(?:19|20)[0-9]{2}"), VAGUE),),
    "person": (_PERSON_NAME,),
    "address": (_ADDRESS,),
    "lat": (_GEO,),
    "lon": (_GEO,),
    "geo": (_GEO,),
    "routing": (Named("bank-account", "ABA", _number("[0-9]{9}", checks.aba_routing), VALIDATED),),
    "bank-account": (_ACCOUNT,),
    "account": (_ACCOUNT._replace(confidence=VAGUE),),
    "sort-code": (Named("bank-account", "", _number("[0-9]{6}(?:[0-9]{2})?"), NAMED),),
    "bic": (Named("bank-account", "BIC", _number("[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?", checks.bic), NAMED, numbers=False),),
    "clabe": (Named("bank-account", "MX", _number("[0-9]{18}", checks.mx_clabe), VALIDATED),),
    "ifsc": (Named("bank-account", "IFSC", _number("[A-Z]{4}0[A-Z0-9]{6}"), NAMED),),
    "password": (Named("credential", "", _is_password, 0.8),),
    "pin": (Named("credential", "", _form("[0-9]{4,8}"), 0.8),),
    "cvv": (Named("credential", "", _form("[0-9]{3,4}"), NAMED),),
    "secret": (Named("secret", "", _is_token, 0.8, numbers=False),),
    "phone": (Named("phone", "", _is_phone, NAMED),),
}  # fmt: skip
CLASSES_OF: dict[str, frozenset[str]] = {kind: frozenset(one.data_class for one in tried) for kind, tried in BY_EVIDENCE.items()}
_CHECKED = ("card", "ssn", "nhs", "npi", "medicare", "kvnr", "routing", "clabe", *_COUNTRIES)
"""Tried before the forms that need no name: what they find would else be taken for a telephone number."""
FIRST = frozenset(_CHECKED)


@lru_cache(maxsize=8192)
def named(name: str, inside: str, beside: bool) -> tuple[tuple[Named, ...], tuple[Named, ...]]:
    """What is tried on the value of a field: (before, after) the forms that need no name.

    `inside`: see `data_names.context`; `beside`: whether fields beside it are a person's.
    """
    if inside == "words":
        return (), ()
    kinds = evidence(name)
    plain = canonical(name).strip("_")
    first: list[Named] = []
    last: list[Named] = []
    if kinds:
        for kind in BY_EVIDENCE:
            if kind in kinds:
                (first if kind in FIRST else last).extend(BY_EVIDENCE[kind])
    if plain in IN_PERSON and (inside == "person" or (inside == "name" and plain != "name")):
        last.append(_PERSON_NAME)
    elif plain in ("name", "naam", "nom", "nombre") and beside and not inside:
        last.append(_PERSON_NAME._replace(confidence=VAGUE))
    if plain in IN_PLACE and inside == "place" and _ADDRESS not in last:
        last.append(_ADDRESS)
    return tuple(first), tuple(last)


PERSONAL = frozenset({"email", "phone", "birth", "person"})
"""Evidence that the object around it is a person."""


def beside(names: Iterable[str]) -> bool:
    """Whether one of the fields of an object is a person's."""
    return any(not PERSONAL.isdisjoint(evidence(name)) for name in names)
