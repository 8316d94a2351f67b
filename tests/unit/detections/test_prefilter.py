"""The prefilter: places, layers of encoding, bounds; and that it never rejects what a detector would confirm."""

from __future__ import annotations

import base64
import html
import re
import zlib
from itertools import pairwise
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.detections.detection_cases import DETECTORS, LIMITS, PREFILTER, ROOT, findings, in_query, request

from eastwall.detections import places, prefilter
from eastwall.detections.command_injection import shell
from eastwall.detections.decoding import LAYERS, layers, percent_decoded, unwrapped
from eastwall.detections.path_traversal.detector import traversal
from eastwall.detections.patterns import read_patterns
from eastwall.detections.places import chunks
from eastwall.detections.prefilter import Prefilter
from eastwall.detections.sql_injection import grammar
from eastwall.model.call import Request
from eastwall.protocols.rest import decode_request

SQL = "x' or 1=1--"
JSON = {"content-type": "application/json"}


def suspects(message: Request) -> list[tuple[str, str, set[str]]]:
    found = PREFILTER.scan(message, decode_request(message, LIMITS))
    return [(value.place, value.text, set(families)) for value, families in found]


def test_a_clean_call_has_no_suspects() -> None:
    assert suspects(request("POST", "/orders/17?full=1", JSON, '{"name": "O\'Brien", "note": "a & b; c"}')) == []


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (request("GET", "/a/" + quote(SQL, safe="")), "path[1]"),
        (request("GET", "/a?q=" + quote(SQL, safe="")), "query.q"),
        (request("GET", "/a?" + quote(SQL, safe="") + "=1"), "query.{x' or 1=1--}"),
        (request("GET", "/a", {"x-forwarded-for": SQL}), "header.x-forwarded-for"),
        (request("GET", "/a", {"cookie": "a=1; sid=" + SQL}), "cookie.sid"),
        (request("GET", "/a", {"authorization": "Basic " + base64.b64encode(b"admin'--:x").decode()}), "header.authorization"),
        (request("POST", "/a", JSON, msgspec.json.encode({"a": {"b": [1, 2, {"c": SQL}]}})), "body.a.b[2].c"),
        (request("POST", "/a", JSON, msgspec.json.encode([SQL])), "body[0]"),
        (request("POST", "/a", JSON, msgspec.json.encode({"a": {SQL: 1}})), "body.a.{x' or 1=1--}"),
        (request("POST", "/a", {"content-type": "application/x-www-form-urlencoded"}, "b=1&a=" + quote(SQL)), "body.a"),
        (request("POST", "/a", {"content-type": "text/plain"}, SQL), "body"),
        (request("POST", "/a", JSON, '{"a": "' + SQL), "body"),
    ],
    ids=lambda argument: argument if isinstance(argument, str) else "",
)
def test_places(message: Request, place: str) -> None:
    assert place in {found for found, _, families in suspects(message) if "sql" in families}
    assert place in {finding.where for finding in findings(message) if finding.id == "sql-injection"}


def twice(text: str) -> str:
    return quote(quote(text, safe=""), safe="")


ENCODINGS = {
    "percent": lambda text: quote(text, safe=""),
    "double percent": twice,
    "percent u": lambda text: "".join(f"%u{ord(c):04x}" for c in text),
    "javascript": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    "javascript bytes": lambda text: "".join(f"\\x{ord(c):02x}" for c in text),
    "html decimal": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "html hexadecimal": lambda text: "".join(f"&#x{ord(c):x};" for c in text),
    "html names": lambda text: html.escape(text, quote=True),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for urls, unpadded": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "fullwidth": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "base64 of percent": lambda text: base64.b64encode(quote(text, safe="").encode()).decode(),
}
ATTACKS = {
    "sql-injection": "x' union select name, password from users--",
    "command-injection": "127.0.0.1; cat /etc/passwd",
    "path-traversal": "../../../../etc/passwd",
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_under_every_encoding_in_every_container(encoding: str, attack: str) -> None:
    text = ENCODINGS[encoding](ATTACKS[attack])
    for message in (in_query(text), request("POST", "/", JSON, msgspec.json.encode({"v": text}))):
        assert attack in {finding.id for finding in findings(message)}, message


@pytest.mark.parametrize("dots", ["%c0%ae", "%e0%80%ae", "%f0%80%80%ae", "%u002e", "%252e"])
def test_overlong_and_double_dots_in_raw_path_query_and_form(dots: str) -> None:
    text = f"{dots}{dots}/" * 4 + "etc/passwd"
    form = request("POST", "/", {"content-type": "application/x-www-form-urlencoded"}, "f=" + text)
    for message in (request("GET", "/?f=" + text), request("GET", "/" + text), form):
        assert "path-traversal" in {finding.id for finding in findings(message)}, message


def test_a_value_hidden_by_a_duplicate_key_is_seen() -> None:
    assert [
        f.where for f in findings(request("POST", "/", JSON, '{"a": "x\' or 1=1--", "a": "b"}')) if f.id == "sql-injection"
    ] == ["body"]


def test_a_long_value_is_judged_wherever_the_attack_stands() -> None:
    for size in (100, 5_000, 50_000, 200_000):
        for before, after in ((size, 0), (0, size), (size // 2, size // 2), (4090, size)):
            message = request("POST", "/", JSON, msgspec.json.encode({"v": "a" * before + SQL + " b" * (after // 2)}))
            assert [f.where for f in findings(message)] == ["body.v"], (before, after)


def test_chunks_cover_and_overlap() -> None:
    text = "".join(chr(0x4E00 + i % 20_000) for i in range(20_000))
    pieces = list(chunks(text))
    assert max(map(len, pieces)) <= places.CHUNK
    assert all(a[-places.OVERLAP :] == b[: places.OVERLAP] for a, b in pairwise(pieces))
    assert text.endswith(pieces[-1])


def test_suspects_are_bounded_and_the_rest_is_said() -> None:
    filter_ = Prefilter(DETECTORS, PREFILTER.save())
    message = request("POST", "/", JSON, msgspec.json.encode([SQL] * 1000))
    assert len(filter_.scan(message, decode_request(message, LIMITS))) == prefilter.MAX_SUSPECTS
    assert filter_.dropped == 1000 - prefilter.MAX_SUSPECTS
    clean = request("GET", "/")
    assert filter_.scan(clean, decode_request(clean, LIMITS)) == ()
    assert filter_.dropped == 0


def test_long_suspects_are_bounded_by_their_characters_and_short_ones_come_first() -> None:
    """What is put in front of an attack to use up the limit does not keep it from being judged, unless it is as short; and it is told."""
    filter_ = Prefilter(DETECTORS, PREFILTER.save())
    long = SQL + " a" * 1_990
    message = request("POST", "/", JSON | {"x-note": SQL}, msgspec.json.encode([long] * 40 + [SQL]))
    found = filter_.scan(message, decode_request(message, LIMITS))
    assert sum(len(value.text) for value, _ in found) <= prefilter.MAX_JUDGED
    assert [value.place for value, _ in found][-2:] == ["body[40]", "header.x-note"]
    assert len(found) + filter_.unjudged == 42
    told = [f for f in findings(message) if f.id == "parser-differential"]
    assert [(f.where, f.severity, f.confidence) for f in told] == [("request", "medium", "medium")]
    assert "not judged" in told[0].message
    within = request("POST", "/", JSON, msgspec.json.encode([long] * 10 + [SQL]))
    assert not [f for f in findings(within) if f.id == "parser-differential"]


def test_remembered_headers_are_only_clean_ones_and_bounded() -> None:
    filter_ = Prefilter(DETECTORS, PREFILTER.save())
    for index in range(3000):
        message = request("GET", "/", {"user-agent": f"agent/{index}"})
        assert filter_.scan(message, decode_request(message, LIMITS)) == ()
    for _ in range(3):
        message = request("GET", "/", {"user-agent": SQL})
        assert filter_.scan(message, decode_request(message, LIMITS))
    assert len(filter_._clean) <= prefilter._REMEMBERED


def test_a_token_known_to_be_clean_is_not_a_clean_header() -> None:
    filter_ = Prefilter(DETECTORS, PREFILTER.save())
    for message in (request("GET", "/a", {"authorization": f"Bearer {SQL}"}), request("GET", "/a", {"x-note": SQL})):
        found = filter_.scan(message, decode_request(message, LIMITS))
    assert [value.place for value, _ in found] == ["header.x-note"]


@pytest.mark.parametrize("packed", [0, 1, 3, 8])
def test_what_unpacks_to_much_hides_nothing_behind_it(packed: int) -> None:
    filter_ = Prefilter(DETECTORS, PREFILTER.save())
    bombs = [base64.b64encode(zlib.compress(b"of %d things " % n * 5_000)).decode() for n in range(packed)]
    message = request("POST", "/a", JSON, msgspec.json.encode([*bombs, base64.b64encode(SQL.encode()).decode()]))
    found = filter_.scan(message, decode_request(message, LIMITS))
    assert (f"body[{packed}]", SQL) in [(value.place, value.text) for value, _ in found]


@pytest.mark.parametrize("deep", range(1, 9))
def test_what_is_encoded_too_often_is_said(deep: int) -> None:
    filter_ = Prefilter(DETECTORS, PREFILTER.save())
    text = SQL
    for _ in range(deep):
        text = base64.b64encode(text.encode()).decode()
    message = request("POST", "/a", JSON, msgspec.json.encode([text]))
    found = filter_.scan(message, decode_request(message, LIMITS))
    assert filter_.dropped or SQL in [value.text for value, _ in found]


def test_base64_that_means_nothing_stays_as_it_is() -> None:
    for text in ("bWVtYmVyOjEyMzQ1", "3f2b9c1e5d7a4c9e9d8f0b1c2d3e4f50", "internationalization", "AAAAAAAAAAAAAAAA"):
        assert findings(in_query(text)) == ()


@given(st.text(max_size=200))
@example("%")
@example("\\u{110000}")
@example("%u%u0027&#x;&#99999999;")
def test_decoding_never_raises_and_is_bounded(text: str) -> None:
    found = layers(text)
    assert len(found) <= LAYERS
    assert text not in found
    assert len(set(found)) == len(found)
    assert len(list(unwrapped(text))) <= 20


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_percent_decoding_undoes_encoding(text: str) -> None:
    assert percent_decoded(quote(text, safe="")) == text


def made_of(names: str, *others: str) -> list[str]:
    return [*names.split(), *others]


# Pieces from which attacks are made. Any text that a confirmer takes must hit the prefilter: the prefilter is an optimisation.
PIECES = {
    "sql": made_of(
        "' \" ` ) ( 1 x /**/ || && = <> < union select null , * ; -- # /* */ @@version true 0x41 1e0 admin \\ + - % a.b ! ~ @ { } [ ] : $ é /*! 1=1 'a'='a",
        *(
            " ",
            "\n",
            " or ",
            " and ",
            " like ",
            " in ",
            " is null",
            " union select ",
            " from ",
            " where ",
            " having ",
            " order by ",
            " group by ",
        ),
        *(
            " limit ",
            "-- -",
            "drop table x",
            "insert into t values(1)",
            "update t set a=1",
            "delete from t",
            "exec xp_cmdshell",
            "declare @x",
        ),
        *(
            "waitfor delay '0:0:5'",
            "sleep(5)",
            "if(1=1,1,0)",
            "case when 1=1 then 1 else 0 end",
            "count(*)",
            "(select 1)",
            " into outfile '/x'",
        ),
        *("information_schema.tables", " procedure analyse(", "concat(1,2)", "begin ", " all ", " not ", " xor "),
    ),
    "command": made_of(
        "; | || && & ` $( ) cat id ls whoami ping echo sleep wget curl rm sh /bin/sh /etc/passwd -la -c 5 127.0.0.1 x http://a.b/c $IFS ${IFS} ' \" \\ { } "
        "* ? /bin/ /???/c?t > < ( ! a=b c:\\ type dir find sort date $@ ^ + % # ~ .. more é ,",
        *(" ", "\n", "\0", "sudo ", "system('", 'exec("', '<!--#exec cmd="', "() { :; };", "net user", "nslookup a.b"),
    ),
    "traversal": made_of(
        ".. ../ ..\\ / \\ . ./ .... 0x2e 0x2f x2e ; a etc etc/passwd /etc/passwd proc/self/environ windows win.ini boot.ini c: file:// file: "
        "php://filter .png web-inf/ .git/config .ssh/ id_rsa // \\\\ c$ x [x]( ) {file} ~",
        *(" ", "\0", " the "),
    ),
}
CONFIRMERS = {"sql": grammar.injection, "command": shell.injection, "traversal": traversal}


@pytest.mark.parametrize("family", PIECES)
@settings(max_examples=600, deadline=None, derandomize=True)
@given(data=st.data())
def test_the_prefilter_rejects_nothing_that_a_confirmer_takes(family: str, data: st.DataObject) -> None:
    text = "".join(data.draw(st.lists(st.sampled_from(PIECES[family]), min_size=1, max_size=9)))
    if CONFIRMERS[family](text):
        assert family in PREFILTER.families(text.encode("utf-8", "replace")), text


NAMES = re.compile(r"(?<=[:|])[a-z][a-z0-9_.-]*(?=[|)])")


def test_the_command_patterns_name_every_program() -> None:
    patterns = [entry.pattern for _, entry in read_patterns(ROOT / "command_injection" / "patterns.yaml", ("command",))]
    for names in (shell.PROGRAMS | shell.WORDS, shell.LINE):
        assert any(set(NAMES.findall(pattern)) >= names for pattern in patterns)
