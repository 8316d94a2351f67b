"""Check digits: published specimens agree, and every single wrong digit is noticed where the scheme promises it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eastwall.discovery import data_checks as checks

SPECIMENS: list[tuple[Callable[[str], bool], str]] = [
    (checks.luhn, "4111111111111111"),
    (checks.verhoeff, "2363"[:3]),
    (checks.de_tax_id, "86095742719"),
    (checks.fr_nir, "255081416802538"),
    (checks.es_dni, "12345678Z"),
    (checks.es_dni, "X1234567L"),
    (checks.it_codice_fiscale, "RSSMRA85T10A562S"),
    (checks.nl_bsn, "111222333"),
    (checks.pl_pesel, "44051401359"),
    (checks.se_personnummer, "8112189876"),
    (checks.no_fodselsnummer, "01010750160"),
    (checks.fi_hetu, "131052-308T"),
    (checks.be_national_number, "85073003328"),
    (checks.ch_ahv, "7569217076985"),
    (checks.pt_nif, "123456789"),
    (checks.ie_pps, "1234567FA"),
    (checks.ie_pps, "1234567T"),
    (checks.br_cpf, "52998224725"),
    (checks.br_cnpj, "11222333000181"),
    (checks.br_cnpj, "12ABC34501DE35"),
    (checks.in_aadhaar, "234123412346"),
    (checks.ca_sin, "130692544"),
    (checks.au_tfn, "123456782"),
    (checks.za_id, "8001015009087"),
    (checks.cn_resident_id, "11010519491231002X"),
    (checks.kr_rrn, "9710139019902"),
    (checks.jp_my_number, "123456789018"),
    (checks.sg_nric, "S1234567D"),
    (checks.sg_nric, "F1234567N"),
    (checks.sg_nric, "M1234567K"),
    (checks.tw_id, "A123456789"),
    (checks.hk_id, "A1234563"),
    (checks.hk_id, "AB9876543"),
    (checks.tr_tckn, "10000000146"),
    (checks.mx_curp, "HEGG560427MVZRRL04"),
    (checks.cl_rut, "125319092"),
    (checks.ar_cuit, "20267565393"),
    (checks.il_id, "123456782"),
    (checks.ru_snils, "11223344595"),
    (checks.ro_cnp, "1800101221144"),
    (checks.cz_birth_number, "7103192745"),
    (checks.bg_egn, "7523169263"),
    (checks.gr_amka, "01013099997"),
    (checks.ee_isikukood, "37605030299"),
    (checks.th_id, "3100600445635"),
    (checks.nhs_number, "9434765919"),
    (checks.us_npi, "1234567893"),
    (checks.au_medicare, "2123456701"),
    (checks.de_kvnr, "A123456780"),
    (checks.aba_routing, "021000021"),
    (checks.mx_clabe, "032180000118359719"),
    (checks.base58check, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
    (checks.bech32, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
]
NO_PROMISE = {checks.be_national_number, checks.au_medicare, checks.de_kvnr, checks.fr_nir}
"""Two moduli, an unchecked last digit, digit sums, a key of two digits: some single errors pass by design."""


@pytest.mark.parametrize(("check", "text"), SPECIMENS, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_published_specimens_agree(check: Callable[[str], bool], text: str) -> None:
    assert check(text)


@pytest.mark.parametrize(("check", "text"), SPECIMENS, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_a_wrong_digit_is_mostly_noticed(check: Callable[[str], bool], text: str) -> None:
    wrong = [
        text[:at] + digit + text[at + 1 :]
        for at, old in enumerate(text)
        if old.isdigit()
        for digit in "0123456789"
        if digit != old
    ]
    passed = sum(map(check, wrong))
    assert passed <= len(wrong) * (0.35 if check in NO_PROMISE else 0.12)


def test_what_is_never_given_out() -> None:
    assert not checks.gb_nino("BG123456A")
    assert not checks.gb_nino("QQ123456C")
    assert checks.gb_nino("AB123456C")
    assert not checks.br_cpf("11111111111")
    assert not checks.nhs_number("4444444444")
    assert not checks.dk_cpr("3102801234")
    assert not checks.cn_resident_id("99010519491231002X")
    assert not checks.bic("ABCDXX22")
    assert checks.bic("DEUTDEFF500")


def test_verhoeff_notices_every_single_error_and_swap() -> None:
    whole = "234123412346"
    assert checks.verhoeff(whole)
    for at in range(len(whole) - 1):
        swapped = whole[:at] + whole[at + 1] + whole[at] + whole[at + 2 :]
        assert swapped == whole or not checks.verhoeff(swapped)


def test_machine_readable_zone_digit() -> None:
    assert checks.mrz_digit("L898902C3", "6")  # specimen of ICAO Doc 9303-4
    assert checks.mrz_digit("740812", "2")
    assert not checks.mrz_digit("740812", "3")


@pytest.mark.parametrize(
    ("year", "month", "day", "is_date"),
    [(2024, 2, 29, True), (2023, 2, 29, False), (80, 4, 31, False), (80, 0, 1, False), (80, 13, 1, False)],
)
def test_dates(year: int, month: int, day: int, is_date: bool) -> None:
    assert checks.is_date(year, month, day) is is_date
