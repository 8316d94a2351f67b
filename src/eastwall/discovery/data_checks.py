"""Check digits and structures of numbers that name people and accounts: pure functions of a text that already has the right form.

Every function takes the number without separators (letters in upper case) and says whether it may be a real one. Sources are the public
specifications named in each docstring; nothing here is taken from another library.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

Check = Callable[[str], bool]

_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def is_date(year: int, month: int, day: int) -> bool:
    """A day of the Gregorian calendar; `year` may be of two digits, then 29 February passes when some century has it."""
    if not 1 <= month <= 12 or not 1 <= day <= _DAYS[month - 1]:
        return False
    return not (month == 2 and day == 29) or year % 4 == 0


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B check digit."""
    total = sum(map(int, digits[-1::-2]))
    for digit in digits[-2::-2]:
        double = int(digit) * 2
        total += double - 9 if double > 9 else double
    return total % 10 == 0


_VERHOEFF_TURN = "1576283094"
"""The permutation of each further place (Verhoeff 1969, table for the dihedral group D5)."""


def _dihedral(a: int, b: int) -> int:
    """The product of the dihedral group D5."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
    return 5 + (a - b) % 5 if b < 5 else (a - b) % 5


_DIHEDRAL = tuple(tuple(_dihedral(a, b) for b in range(10)) for a in range(10))
_TURNS = [tuple(range(10))]
for _ in range(7):
    _TURNS.append(tuple(int(_VERHOEFF_TURN[digit]) for digit in _TURNS[-1]))


def verhoeff(digits: str) -> bool:
    """J. Verhoeff, Error Detecting Decimal Codes, 1969; the check digit is the last one."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = _DIHEDRAL[check][_TURNS[place % 8][int(digit)]]
    return check == 0


def mod97(text: str) -> bool:
    """ISO/IEC 7064 MOD 97-10 over the text as it stands, letters as 10..35."""
    return text.isalnum() and text.isascii() and int("".join(str(int(character, 36)) for character in text)) % 97 == 1


def mod11_10(digits: str) -> bool:
    """ISO/IEC 7064 MOD 11,10 (hybrid): last digit is the check digit."""
    product = 10
    for digit in digits[:-1]:
        product = ((product + int(digit)) % 10 or 10) * 2 % 11
    return (product + int(digits[-1])) % 10 == 1


def mod11_2(text: str) -> bool:
    """ISO/IEC 7064 MOD 11-2: last character is a digit or X."""
    total = 0
    for digit in text[:-1]:
        total = (total + int(digit)) * 2
    return (total + (10 if text[-1] == "X" else int(text[-1]))) % 11 == 1


def weighted(digits: str, weights: str) -> int:
    """Sum of digits times weights; a weight is a base-36 digit."""
    return sum(int(digit) * int(weight, 36) for digit, weight in zip(digits, weights, strict=True))


def ean13(digits: str) -> bool:
    """GS1 General Specifications, 7.9: weights 1 and 3 by turns."""
    return len(digits) == 13 and weighted(digits, "1313131313131") % 10 == 0


# --- national ids


def gb_nino(text: str) -> bool:
    """HMRC, National Insurance Manual NIM39110: which letters and prefixes are given out. There is no check digit."""
    return text[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ") and text[0] not in "DFIQUV" and text[1] not in "DFIOQUV"


def de_tax_id(digits: str) -> bool:
    """Steuer-IdNr. (BZSt): eleven digits, no leading 0, of the first ten one comes two or three times, MOD 11,10."""
    head = digits[:10]
    most = max(map(head.count, head))
    return digits[0] != "0" and len(set(head)) in (8, 9) and most in (2, 3) and mod11_10(digits)


def fr_nir(text: str) -> bool:
    """INSEE, numéro d'inscription au répertoire: sex, year, month, department (2A, 2B in Corsica), key 97 - n mod 97."""
    number = text[:13].replace("2A", "19", 1) if text[5:7] == "2A" else text[:13].replace("2B", "18", 1)
    if not number.isdigit() or text[0] not in "123478":
        return False
    month = int(text[3:5])
    return (1 <= month <= 12 or 20 <= month <= 42 or 50 <= month <= 99) and 97 - int(number) % 97 == int(text[13:])


def es_dni(text: str) -> bool:
    """Ministerio del Interior, DNI and NIE: letter by the number modulo 23; X, Y, Z count as 0, 1, 2."""
    number = text[:-1].translate(str.maketrans("XYZ", "012"))
    return number.isdigit() and "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


_CF_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                   (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16,
                    10, 22, 25, 24, 23), strict=True))  # fmt: skip


def it_codice_fiscale(text: str) -> bool:
    """DM 23/12/1976: month letter, day (women: + 40), check letter over all sixteen places; digits may be letters LMNPQRSTUV."""
    day = text[9:11].translate(str.maketrans("LMNPQRSTUV", "0123456789"))
    if text[8] not in "ABCDEHLMPRST" or not day.isdigit() or not (1 <= int(day) <= 31 or 41 <= int(day) <= 71):
        return False
    total = sum(_CF_ODD[c] if at % 2 == 0 else int(c, 36) - (10 if c.isalpha() else 0) for at, c in enumerate(text[:15]))
    return chr(65 + total % 26) == text[15]


def nl_bsn(digits: str) -> bool:
    """Rijksdienst voor Identiteitsgegevens: the eleven test, last weight -1."""
    return int(digits) > 0 and (weighted(digits[:8], "98765432") - int(digits[8])) % 11 == 0


def pl_pesel(digits: str) -> bool:
    """Ustawa o ewidencji ludności: century in the month, weights 1 3 7 9."""
    month = int(digits[2:4])
    return is_date(int(digits[:2]), month % 20, int(digits[4:6])) and weighted(digits, "13791379131") % 10 == 0


def se_personnummer(digits: str) -> bool:
    """Skatteverket SKV 704: ten digits, date (coordination numbers: day + 60), Luhn. A century before them is left off."""
    digits = digits[-10:]
    return is_date(int(digits[:2]), int(digits[2:4]), int(digits[4:6]) % 60) and luhn(digits)


def no_fodselsnummer(digits: str) -> bool:
    """Skatteetaten: date (D numbers: day + 40), two check digits modulo 11."""
    day = int(digits[:2])
    if not is_date(int(digits[4:6]), int(digits[2:4]) % 40, day - 40 if day > 40 else day):
        return False
    return weighted(digits[:10], "3761894521") % 11 == 0 and weighted(digits, "54327654321") % 11 == 0


def fi_hetu(text: str) -> bool:
    """Digital and Population Data Services Agency: date, century sign, individual number, check character modulo 31."""
    if not is_date(int(text[4:6]), int(text[2:4]), int(text[:2])):
        return False
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(text[:6] + text[7:10]) % 31] == text[10]


def dk_cpr(digits: str) -> bool:
    """CPR-kontoret: date of birth; since 2007 numbers without a check digit are given out."""
    return is_date(int(digits[4:6]), int(digits[2:4]), int(digits[:2]))


def be_national_number(digits: str) -> bool:
    """Rijksregister: 97 - n mod 97, for those born from 2000 on of 2 and the number; the date may be unknown (00)."""
    number, key = int(digits[:9]), int(digits[9:])
    return int(digits[2:4]) % 20 <= 12 and key in (97 - number % 97, 97 - (2_000_000_000 + number) % 97)


def ch_ahv(digits: str) -> bool:
    """Zentrale Ausgleichsstelle: country code 756 and an EAN-13 check digit."""
    return digits.startswith("756") and ean13(digits)


def pt_nif(digits: str) -> bool:
    """Autoridade Tributária: first digits in use, modulo 11."""
    check = 11 - weighted(digits[:8], "98765432") % 11
    return digits[0] in "1235689" and int(digits[8]) == (check if check < 10 else 0)


def ie_pps(text: str) -> bool:
    """Department of Social Protection: check letter modulo 23, a second letter counts nine times."""
    total = weighted(text[:7], "8765432") + (9 * (ord(text[8]) - 64) if len(text) > 8 and text[8] != "W" else 0)
    return "WABCDEFGHIJKLMNOPQRSTUV"[total % 23] == text[7]


def br_cpf(digits: str) -> bool:
    """Receita Federal: two check digits modulo 11; eleven equal digits are none."""
    if len(set(digits)) == 1:
        return False
    first = weighted(digits[:9], "a98765432") * 10 % 11 % 10
    return int(digits[9]) == first and int(digits[10]) == weighted(digits[:10], "ba98765432") * 10 % 11 % 10


def br_cnpj(text: str) -> bool:
    """Receita Federal, IN RFB 2229/2024: letters count as their ASCII code - 48; two check digits modulo 11."""
    values = [ord(character) - 48 for character in text]
    if len(set(text)) == 1:
        return False
    for size, weights in ((12, (5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)), (13, (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2))):
        rest = sum(v * w for v, w in zip(values[:size], weights, strict=True)) % 11
        if values[size] != (0 if rest < 2 else 11 - rest):
            return False
    return True


def in_aadhaar(digits: str) -> bool:
    """UIDAI: twelve digits, the first 2-9, Verhoeff; palindromes are not given out."""
    return digits[0] not in "01" and digits != digits[::-1] and verhoeff(digits)


def ca_sin(digits: str) -> bool:
    """Employment and Social Development Canada: Luhn; 0 and 8 do not begin one."""
    return digits[0] not in "08" and luhn(digits)


def au_tfn(digits: str) -> bool:
    """Australian Taxation Office: nine digits with weights 1 4 3 7 5 8 6 9 10, modulo 11."""
    return int(digits) > 0 and weighted(digits, "14375869a") % 11 == 0


def za_id(digits: str) -> bool:
    """Department of Home Affairs: date, citizenship 0-2, Luhn."""
    return is_date(int(digits[:2]), int(digits[2:4]), int(digits[4:6])) and digits[10] in "012" and luhn(digits)


_CN_REGIONS = frozenset(
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83".split()
)


def cn_resident_id(text: str) -> bool:
    """GB 11643-1999: province, date, MOD 11-2."""
    year = int(text[6:10])
    return (
        text[:2] in _CN_REGIONS and 1850 <= year <= 2099 and is_date(year, int(text[10:12]), int(text[12:14])) and mod11_2(text)
    )


def kr_rrn(digits: str) -> bool:
    """Ministry of the Interior: date, sex and century 0-9, check digit modulo 11."""
    if not is_date(int(digits[:2]), int(digits[2:4]), int(digits[4:6])):
        return False
    return (11 - weighted(digits[:12], "234567892345") % 11) % 10 == int(digits[12])


def jp_my_number(digits: str) -> bool:
    """Ministerial ordinance 85 of 2014: check digit modulo 11 over eleven digits."""
    rest = weighted(digits[:11], "65432765432") % 11
    return int(digits[11]) == (0 if rest <= 1 else 11 - rest)


def sg_nric(text: str) -> bool:
    """Immigration & Checkpoints Authority: check letter by series."""
    total = weighted(text[1:8], "2765432") + {"S": 0, "F": 0, "T": 4, "G": 4, "M": 3}[text[0]]
    table = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "F": "XWUTRQPNMLK", "G": "XWUTRQPNMLK", "M": "XWUTRQPNJLK"}[text[0]]
    return table[total % 11] == text[8]


def tw_id(text: str) -> bool:
    """Ministry of the Interior: letter as two digits, sex, modulo 10."""
    code = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(text[0]) + 10
    return (code // 10 + code % 10 * 9 + weighted(text[1:], "876543211")) % 10 == 0


def hk_id(text: str) -> bool:
    """Immigration Department: letters as 10..35 (a missing one as 36), check digit modulo 11 (A is 10)."""
    head = text[:-1].rjust(8)
    values = [36 if character == " " else int(character, 36) for character in head]
    total = sum(value * weight for value, weight in zip(values, range(9, 1, -1), strict=True))
    return (total + (10 if text[-1] == "A" else int(text[-1]))) % 11 == 0


def tr_tckn(digits: str) -> bool:
    """Nüfus ve Vatandaşlık İşleri: two check digits."""
    odd, even = sum(map(int, digits[:9:2])), sum(map(int, digits[1:8:2]))
    return digits[0] != "0" and (odd * 7 - even) % 10 == int(digits[9]) and sum(map(int, digits[:10])) % 10 == int(digits[10])


def mx_curp(text: str) -> bool:
    """DOF 18/06/2008: date, sex, state, check digit modulo 10 over the alphabet with Ñ."""
    if not is_date(int(text[4:6]), int(text[6:8]), int(text[8:10])) or text[10] not in "HMX":
        return False
    alphabet = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
    total = sum(alphabet.index(character) * (18 - at) for at, character in enumerate(text[:17]))
    return (10 - total % 10) % 10 == int(text[17])


def cl_rut(text: str) -> bool:
    """Servicio de Impuestos Internos: modulo 11, weights 2..7 from the right; K is ten."""
    total = sum(int(digit) * (2 + at % 6) for at, digit in enumerate(reversed(text[:-1])))
    return "0123456789K0"[11 - total % 11] == text[-1]


def ar_cuit(digits: str) -> bool:
    """AFIP: type, number, modulo 11."""
    check = (11 - weighted(digits[:10], "5432765432") % 11) % 11
    return digits[:2] in ("20", "23", "24", "27", "30", "33", "34") and check == int(digits[10])


def il_id(digits: str) -> bool:
    """Population and Immigration Authority: nine digits, Luhn."""
    return int(digits) > 0 and luhn(digits)


def ru_snils(digits: str) -> bool:
    """Pension Fund of Russia: sum of nine digits times place, modulo 101."""
    return weighted(digits[:9], "987654321") % 101 % 100 == int(digits[9:])


def ro_cnp(digits: str) -> bool:
    """Legea 105/1996: sex and century, date, county, modulo 11."""
    if digits[0] == "0" or not is_date(int(digits[1:3]), int(digits[3:5]), int(digits[5:7])):
        return False
    return weighted(digits[:12], "279146358279") % 11 % 10 == int(digits[12])


def cz_birth_number(digits: str) -> bool:
    """Zákon 133/2000: date (women: month + 50, series: + 20), divisible by eleven."""
    month = int(digits[2:4]) % 50
    return is_date(int(digits[:2]), month - 20 if month > 20 else month, int(digits[4:6])) and int(digits) % 11 == 0


def bg_egn(digits: str) -> bool:
    """GRAO: century in the month, modulo 11."""
    month = int(digits[2:4])
    return is_date(int(digits[:2]), month % 20, int(digits[4:6])) and weighted(digits[:9], "2485a9736") % 11 % 10 == int(
        digits[9]
    )


def gr_amka(digits: str) -> bool:
    """IDIKA: date of birth, Luhn."""
    return is_date(int(digits[4:6]), int(digits[2:4]), int(digits[:2])) and luhn(digits)


def ee_isikukood(digits: str) -> bool:
    """EVS 585:2007 (also the Lithuanian asmens kodas): sex and century, date, two passes modulo 11."""
    if digits[0] not in "12345678" or not is_date(int(digits[1:3]), int(digits[3:5]), int(digits[5:7])):
        return False
    rest = weighted(digits[:10], "1234567891") % 11
    if rest == 10:
        rest = weighted(digits[:10], "3456789123") % 11 % 10
    return rest == int(digits[10])


def th_id(digits: str) -> bool:
    """Department of Provincial Administration: weights 13..2, modulo 11."""
    return digits[0] != "0" and (11 - weighted(digits[:12], "dcba98765432") % 11) % 10 == int(digits[12])


# --- health


def nhs_number(digits: str) -> bool:
    """NHS Data Dictionary: ten digits, modulo 11; ten equal ones are test numbers."""
    check = 11 - weighted(digits[:9], "a98765432") % 11
    return len(set(digits)) > 1 and check != 10 and check % 11 == int(digits[9])


def us_npi(digits: str) -> bool:
    """CMS, 45 CFR 162.406: Luhn over the number behind the prefix 80840; 1 and 2 begin one."""
    return digits[0] in "12" and luhn("80840" + digits)


def au_medicare(digits: str) -> bool:
    """Services Australia: the ninth digit checks the first eight, weights 1 3 7 9; 2-6 begin one."""
    return digits[0] in "23456" and weighted(digits[:8], "13791379") % 10 == int(digits[8])


def de_kvnr(text: str) -> bool:
    """§ 290 SGB V: letter as two digits, weights 1 and 2 with digit sums, modulo 10."""
    digits = f"{ord(text[0]) - 64:02d}{text[1:]}"
    total = sum(sum(map(int, str(int(digit) * (1 + at % 2)))) for at, digit in enumerate(digits[:-1]))
    return total % 10 == int(digits[-1])


# --- money


def aba_routing(digits: str) -> bool:
    """American Bankers Association: Federal Reserve districts, weights 3 7 1, modulo 10."""
    district = int(digits[:2])
    valid = district <= 12 or 21 <= district <= 32 or 61 <= district <= 72 or district == 80
    return valid and int(digits) > 0 and weighted(digits, "371371371") % 10 == 0


def mx_clabe(digits: str) -> bool:
    """Banco de México: weights 3 7 1 over the products' last digits, modulo 10."""
    total = sum(int(digit) * (3, 7, 1)[at % 3] % 10 for at, digit in enumerate(digits[:17]))
    return (10 - total % 10) % 10 == int(digits[17])


_COUNTRIES = frozenset(
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG "
    "CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL "
    "GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA "
    "LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP "
    "NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV "
    "SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW".split()
)


def bic(text: str) -> bool:
    """ISO 9362: four letters or digits of the party, an ISO 3166 country, two of the location (not 0 or O second), three of the branch."""
    return len(text) in (8, 11) and text[4:6] in _COUNTRIES


_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def base58check(text: str) -> bool:
    """Bitcoin addresses of version 0 and 5: 25 bytes, of which four are the start of a double SHA-256."""
    number = 0
    for character in text:
        at = _BASE58.find(character)
        if at < 0:
            return False
        number = number * 58 + at
    if number >> 200:
        return False
    data = number.to_bytes(25, "big")
    return data[0] in (0, 5) and sha256(sha256(data[:21]).digest()).digest()[:4] == data[21:]


def bech32(text: str) -> bool:
    """BIP 173 and BIP 350: the BCH code of `bc1...`, in one case."""
    text = text.lower()
    prefix, _, data = text.rpartition("1")
    values = [_BECH32.find(character) for character in data]
    if prefix != "bc" or -1 in values:
        return False
    check = 1
    for value in [*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix), *values]:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check in (1, 0x2BC830A3)


def mrz_digit(field: str, digit: str) -> bool:
    """ICAO Doc 9303-3, 4.9: weights 7 3 1, letters as 10..35, filler as 0; a filler may stand for the digit 0."""
    total = sum((0 if c == "<" else int(c, 36)) * (7, 3, 1)[at % 3] for at, c in enumerate(field))
    return total % 10 == (0 if digit == "<" else int(digit))
