"""What a field's name says about its values: `dob`, `birthDate`, `GEBURTSDATUM` are dates of birth.

A name is brought into one form (`canonical`: lower case, words parted by `_`, without accents and counting digits), and each evidence is a
list of words in that form. The same list gives the prefilter's patterns (`prefilter`), which may hit more but never less.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from re import Pattern
from re import compile as regex

MAX_NAME = 64
"""Longer names are data, not names."""

_WORDS = regex(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[A-Z]")
_OTHER = regex(
    r"_(?:verified|verification|confirmed|validated|count|hash|hashed|type|kind|enabled|disabled|required|requires|format|status|state|valid"
    r"|is|has|at|ago|length|len|size|policy|rules?|hint|label|placeholder|expir\w*|ttl|strength|mask|masked|url|uri|link|template|id|ids"
    r"|uuid|sent|attempts|retries|changed|updated|created|reset|index|version|preference|prefs?|allowed|visible|error|pattern|regex|name"
    r"|schema|column|key|endpoint|method|optin|opt_in|consent|score|code_sent|algorithm|alg|provider|service|display)_$"
)
"""Last words that make a field something about the thing and not the thing."""

# Evidence -> words. `_` is a break that may also be missing (`firstname`), words that are said in many ways stand in several languages.
EVIDENCE: dict[str, str] = {
    "card": "card card_number credit_card card_no pan_number cc_number cardnumber primary_account kreditkarte",
    "ssn": "ssn social_security social_security_number social_sec soc_sec soc_security socsec",
    "tax-id": "tax_id tax_payer_id taxpayer_id tax_payer_identification tin tax_identification tax_file steuer_id steuernummer vat_tax_id",
    "national-id": "national_id nationalid national_identity national_identification citizen_id citizenship_id id_card identity_card "
    "personal_id personal_identification government_id resident_id ausweis personalausweis cedula kimlik",
    "id-number": "id_number identity_number identification_number document_number personal_number",
    "gb": "nino national_insurance national_insurance_number ni_number",
    "de": "steuer_id steuer_idnr steuer_identifikationsnummer steueridentifikationsnummer idnr",
    "fr": "nir insee numero_secu num_secu numero_de_securite_sociale numero_securite_sociale securite_sociale",
    "es": "dni nie nif documento_identidad documento_nacional",
    "it": "codice_fiscale codicefiscale cod_fiscale",
    "nl": "bsn burgerservicenummer burger_service sofi_nummer",
    "pl": "pesel",
    "se": "personnummer person_nummer personnr samordningsnummer",
    "no": "fodselsnummer fnr",
    "fi": "hetu henkilotunnus",
    "dk": "cpr cpr_nummer",
    "be": "rijksregister rijksregisternummer national_register registre_national",
    "ch": "ahv ahv_nummer ahvn avs navs",
    "pt": "nif contribuinte numero_contribuinte",
    "ie": "ppsn pps_number pps",
    "br": "cpf cnpj cpf_cnpj",
    "in": "aadhaar aadhar aadhaar_number uidai",
    "in-pan": "pan_card permanent_account_number pan pan_number",
    "ca": "sin social_insurance social_insurance_number",
    "au": "tfn tax_file_number tax_file",
    "za": "sa_id rsa_id south_african_id za_id",
    "cn": "shenfenzheng resident_id resident_identity",
    "kr": "rrn jumin resident_registration resident_registration_number",
    "jp": "my_number mynumber",
    "sg": "nric fin_number",
    "tw": "tw_id",
    "hk": "hkid",
    "tr": "tckn tc_kimlik tc_kimlik_no",
    "mx": "curp",
    "cl": "rut run_nacional",
    "ar": "cuit cuil",
    "il": "teudat_zehut israeli_id",
    "ru": "snils",
    "ro": "cnp",
    "cz": "rodne_cislo",
    "bg": "egn",
    "gr": "amka",
    "ee": "isikukood asmens_kodas",
    "th": "thai_id",
    "nhs": "nhs nhs_number chi_number",
    "npi": "npi national_provider npi_number",
    "medicare": "mbi medicare medicare_number medicare_beneficiary medicare_id medicare_card",
    "kvnr": "kvnr versichertennummer krankenversicherungsnummer krankenversicherten_nummer",
    "mrn": "mrn medical_record medical_record_number patient_number patient_id patient_no health_record chart_number",
    "insurance": "health_insurance health_insurance_id insurance_member member_insurance health_id health_card health_card_number",
    "icd": "icd icd10 icd_10 icd_9 icd_code icd10_code icd_10_code dx dx_code diagnosis_code diagnostic_code diagnosis diagnoses diagnose "
    "diagnostico diagnosi condition_code",
    "passport": "passport passport_number passportno reisepass reisepassnummer pasaporte passeport passaporto paspoort mrz",
    "license": "driver_license driver_licence drivers_license drivers_licence driving_license driving_licence dl_number license_number_dl "
    "fuhrerschein fuhrerscheinnummer fuehrerschein permis_conduire permis_de_conduire licencia_conducir licencia_de_conducir "
    "patente_guida patente_di_guida rijbewijs korkort prawo_jazdy dln",
    "birth": "dob birth_date birthdate birth_day birthday date_of_birth born born_on d_o_b bday geburtsdatum geburtstag geb_datum "
    "date_naissance date_de_naissance fecha_nacimiento fecha_de_nacimiento data_nascita data_di_nascita data_nascimento "
    "data_de_nascimento geboortedatum fodelsedatum fodselsdato data_urodzenia syntymaaika dogum_tarihi",
    "birth-year": "birth_year year_of_birth geburtsjahr",
    "person": "first_name last_name middle_name given_name family_name full_name sur_name maiden_name legal_name birth_name fore_name "
    "customer_name client_name patient_name employee_name guest_name passenger_name recipient_name cardholder_name card_holder "
    "card_holder_name account_holder account_holder_name holder_name beneficiary_name contact_name owner_name person_name student_name "
    "tenant_full_name cardholder firstname lastname fullname vorname nachname familienname prenom nom_famille nom_de_famille apellido "
    "apellidos nombre_completo cognome sobrenome voornaam achternaam nazwisko fornamn efternamn buyer_name sender_name payer_name "
    "shipping_name billing_name author_full_name ad_soyad nome_completo",
    "address": "address street street_address streetaddress street_name address_line addressline addr addr_line street_line postal_address mailing_address "
    "billing_address shipping_address delivery_address home_address residential_address post_code postcode postal_code zip zip_code "
    "zipcode plz strasse strassenname hausnummer house_number anschrift adresse wohnort code_postal rue direccion calle codigo_postal "
    "indirizzo endereco adres postnummer ulica kod_pocztowy",
    "lat": "lat latitude breitengrad latitud",
    "lon": "lng lon longitude langengrad longitud",
    "geo": "geo geo_location geolocation geo_point geopoint lat_lng lat_lon latlng lat_long coordinates coords coordinate gps "
    "gps_location gps_coordinates gps_position",
    "ip": "ip ip_address ip_addr ipaddress client_ip remote_ip source_ip src_ip dst_ip user_ip ipv4 ipv6 remote_addr last_ip "
    "last_login_ip peer_ip host_ip x_forwarded_for forwarded_for",
    "routing": "routing routing_number aba aba_number routing_transit rtn aba_routing",
    "bank-account": "bank_account bank_account_number kontonummer konto_nr numero_cuenta numero_de_cuenta bankkonto",
    "account": "account_number acct_number acct acct_no account_no",
    "sort-code": "sort_code bsb blz bankleitzahl bank_code",
    "bic": "bic swift swift_code bic_code swift_bic bic_swift",
    "clabe": "clabe",
    "ifsc": "ifsc ifsc_code",
    "password": "password pass_word passwd pwd pass_phrase passphrase pass_code passcode passwort kennwort mot_de_passe contrasena senha "
    "wachtwoord haslo losenord parola user_password db_password security_answer old_pwd new_pwd secret_answer",
    "pin": "pin pin_code card_pin otp totp one_time_password mfa_code two_factor_code verification_code",
    "cvv": "cvv cvv2 cvc cvc2 csc cvn card_cvv card_cvc security_code card_security_code card_verification",
    "secret": "secret client_secret secret_key api_key apikey api_secret api_token access_key access_token refresh_token auth_token "
    "authentication_token id_token bearer_token private_key signing_key encryption_key app_secret consumer_secret webhook_secret "
    "session_token service_key shared_key account_key license_secret bot_token personal_access_token secret_access_key "
    "aws_secret_access_key token bearer",
    "phone": "phone phone_number telephone mobile mobile_number msisdn telefon telefono telefone whats_app tel fax cell cell_phone "
    "cellphone phonenumber handy mobil handynummer rufnummer contact_number",
    "email": "email e_mail mail_address email_address correo",
    "wallet": "wallet wallet_address btc_address bitcoin_address eth_address ethereum_address crypto_address",
}
PERSONS = frozenset(
    "user users customer customers patient patients person persons people employee employees member members contact "
    "contacts guest guests passenger passengers traveler traveller student students recipient beneficiary cardholder holder owner buyer "
    "payer sender receiver author applicant subscriber resident citizen subject doctor physician kunde kunden benutzer patientin "
    "mitarbeiter usuario cliente utilisateur spouse insured driver tenant_contact manager assignee "
    "profile".split()
)
"""Objects under such a name are people, so that their `name` is a person's."""
PLACES = frozenset("address addresses addr location_address adresse anschrift direccion indirizzo endereco".split())
"""Objects whose last word is one of these are postal addresses."""
IN_PERSON = frozenset(
    "name naam nom nombre nome navn namn first last middle given family surname display_name initials nick_name".split()
)
IN_PLACE = frozenset(
    "line line1 line2 street street1 street2 city town village suburb district zip postcode post_code postal_code zip_code number house "
    "house_number unit apartment ort stadt ville ciudad".split()
)
_NOT_PLACE = regex(
    r"_(?:e?mail|e_mail|ip|ipv4|ipv6|mac|web|wallet|crypto|eth|btc|bitcoin|ethereum|contract|server|bind|listen|memory|url|http|https|host"
    r"|remote|bus|peer|source|device|network|physical|base|token|phy|return|destination|dst|src)_(?:address|addr)_"
)
_NOT_SECRET = regex(r"_(?:page|next|prev|previous|continuation|cursor|sync|csrf|xsrf|request|idempotency|cancel|max|min|total|prompt"
                    r"|completion|input|output|cached|reasoning|public|partition|sort|primary|foreign|cache|lock|antiforgery|position)"
                    r"_(?:\w+_)?(?:token|key)_")  # fmt: skip
_SHORT = 5
"""Words up to this length hide in other words: the prefilter wants their borders."""


@lru_cache(maxsize=8192)
def canonical(name: str) -> str:
    """`HomeAddressLine2` -> `_home_address_line_`; empty for what is no name."""
    if len(name) > MAX_NAME:
        return ""
    if not name.isascii():
        name = name.translate(_PLAIN)
    words = _WORDS.findall(name)
    return f"_{'_'.join(words).lower()}_" if words else ""


def _forms(words: str) -> str:
    return "|".join(sorted({"_?".join(word.split("_")) for word in words.split()}, key=len, reverse=True))


def _letters(words: str) -> str:
    """Without the digits that `canonical` leaves out."""
    return " ".join("".join(c for c in word if not c.isdigit()).strip("_").replace("__", "_") for word in words.split())


_PATTERNS: dict[str, tuple[Pattern[str], Pattern[str]]] = {
    kind: (regex(f"_(?:{_forms(_letters(words))})_"), regex(f"_(?:{_forms(_letters(words))})_$"))
    for kind, words in EVIDENCE.items()
}


@lru_cache(maxsize=8192)
def evidence(name: str) -> frozenset[str]:
    """Keys of `EVIDENCE` that a field's name speaks for."""
    plain = canonical(name)
    if not plain:
        return frozenset()
    about = _OTHER.search(plain) is not None
    found = {
        kind
        for kind, (anywhere, last) in _PATTERNS.items()
        if (last.search(plain) if about else anywhere.search(plain)) is not None
    }
    if "address" in found and _NOT_PLACE.search(plain) is not None:
        found.discard("address")
    if "secret" in found and _NOT_SECRET.search(plain) is not None:
        found.discard("secret")
    return frozenset(found)


def context(name: str, around: str) -> str:
    """What an object or list under `name` is: `person`, `place`, or what it is in."""
    plain = canonical(name).strip("_")
    last = plain.rpartition("_")[2]
    if last in PERSONS:
        return "person"
    if last in PLACES and _NOT_PLACE.search(f"_{plain}_") is None:
        return "place"
    return around


def people(segments: Sequence[str]) -> bool:
    """Whether what stands at a path is about people: `/users`, `/v1/customers/17`."""
    return not PERSONS.isdisjoint(segments[-2:])


def prefilter() -> list[tuple[str, bytes]]:
    """(evidence, pattern over bytes): hits wherever a name stands that `evidence` reads so, with one of `_JOINTS` between its words."""
    found: list[tuple[str, bytes]] = []
    for kind, words in EVIDENCE.items():
        listed = sorted(set(_letters(words).split()))
        whole = [word for word in listed if "_" not in word and len(word) > _SHORT]
        short: list[str] = []
        for word in listed:
            if any(other != word and other in word for other in whole):
                continue  # hit by the shorter one
            if len(word) > _SHORT or word in _ACCENTED:
                spellings = dict.fromkeys([word, *_ACCENTED.get(word, ())])
                joined = {spelling.replace("_", joint) for spelling in spellings for joint in _JOINTS}
                found += [(kind, f"(?i){_literal(one)}".encode()) for one in sorted(joined)]
            else:
                short.append(word.replace("_", "[_ .-]?"))
        if short:
            # A word begins behind what is no letter, or with a capital.
            inner = "|".join(f"{word[0].upper()}(?i:{word[1:]})" for word in short)
            found.append((kind, rf"(?:(?:^|[^A-Za-z])(?i:{'|'.join(short)})|[A-Za-z](?:{inner}))(?:[^a-z]|$)".encode()))
    return found


def _literal(text: str) -> str:
    return "".join(
        c if c.isascii() and (c.isalnum() or c in "_ ") else "".join(f"\\x{byte:02x}" for byte in c.encode()) for c in text
    )


_JOINTS = ("", "_", "-", " ", ".")
_ACCENTED: dict[str, tuple[str, ...]] = {
    "numero_secu": ("numéro_sécu",), "numero_de_securite_sociale": ("numéro_de_sécurité_sociale",), "num_secu": ("num_sécu",),
    "numero_securite_sociale": ("numéro_sécurité_sociale",), "securite_sociale": ("sécurité_sociale",), "fodselsnummer": ("fødselsnummer",),
    "fuhrerschein": ("führerschein",), "prenom": ("prénom",), "strasse": ("straße",), "direccion": ("dirección",),
    "codigo_postal": ("código_postal",), "endereco": ("endereço",), "contrasena": ("contraseña",), "losenord": ("lösenord",),
    "haslo": ("hasło",), "korkort": ("körkort",), "telefono": ("teléfono",), "telefone": ("téléfone",), "langengrad": ("längengrad",),
    "fodelsedatum": ("födelsedatum",), "fodselsdato": ("fødselsdato",), "numero_cuenta": ("número_cuenta",),
    "numero_de_cuenta": ("número_de_cuenta",), "diagnostico": ("diagnóstico",), "henkilotunnus": ("henkilötunnus",),
    "cedula": ("cédula",),
}  # fmt: skip


_SPELLINGS = {
    "a": "àáâãäåÀÁÂÃÄÅ", "c": "çÇ", "e": "èéêëÈÉÊË", "i": "ìíîïÌÍÎÏ", "l": "łŁ", "n": "ñÑ", "o": "òóôõöøÒÓÔÕÖØ", "u": "ùúûüÙÚÛÜ",
}  # fmt: skip
_PLAIN = {
    ord(letter): plain if letter.islower() else plain.upper() for plain, letters in _SPELLINGS.items() for letter in letters
}
_PLAIN[ord("ß")] = "ss"
