"""Where values are looked for: every kind of body and every other part of a message, as it comes from the decoders."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery.data_classes import CLASSES, find, redact
from eastwall.discovery.data_rows import edit_json_lines, edit_table, records, table_of
from eastwall.model.call import BodyState, Request, Response
from eastwall.model.operation import Operation
from eastwall.protocols.decode import decode_request, decode_response
from eastwall.protocols.limits import DEFAULT

KEY = b"k" * 16


def request(body: bytes, kind: str, path: str = "/x") -> Operation:
    state = BodyState.COMPLETE if body else BodyState.NONE
    return decode_request(Request("POST", path, {"content-type": kind}, body=body, body_state=state), DEFAULT)


def places(operation: Operation, **rest: object) -> set[tuple[str, str]]:
    return {(hit.data_class, hit.place) for hit in find(operation, **rest)}  # type: ignore[arg-type]


SOAP = (
    b'<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><addUser><Person dob="1980-02-29">'
    b"<FirstName>Anna</FirstName><SSN>536221234</SSN><Pin>1234</Pin><Order>1234</Order><Note>a &amp; b ann@example.org</Note></Person>"
    b"</addUser></s:Body></s:Envelope>"
)


def test_xml_that_spells_a_value_in_its_own_way_is_not_said_to_be_redacted() -> None:
    operation = request(b"<p><lastName>M&#252;ller</lastName></p>", "application/xml")
    assert places(operation) == {("person-name", "lastName")}
    assert redact(operation, ["person-name"], "redact", KEY) is None


def test_xml_attributes_elements_and_text() -> None:
    operation = request(SOAP, "text/xml")
    assert places(operation) == {
        ("date-of-birth", "Body.addUser.Person.@dob"),
        ("person-name", "Body.addUser.Person.FirstName"),
        ("ssn", "Body.addUser.Person.SSN"),
        ("credential", "Body.addUser.Person.Pin"),
        ("email", "Body.addUser.Person.Note"),
    }
    out = redact(operation, set(CLASSES) - {"credential"}, "redact", KEY)
    assert out is not None
    again = request(out, "text/xml")
    assert again.body_kind == "xml"
    assert places(again) == {("credential", "Body.addUser.Person.Pin")}
    assert b"<Order>1234</Order>" in out
    assert b"a &amp; b [redacted]" in out


def test_graphql_variables_and_literals() -> None:
    query = 'mutation($e:String){ add(email:$e, ssn:"536-22-1234", dob:"1980-02-29"){id} }'
    operation = request(
        json.dumps({"query": query, "variables": {"e": "x@example.org", "user": {"firstName": "Ann"}}}).encode(),
        "application/json",
        "/graphql",
    )
    assert operation.protocol == "graphql"
    assert places(operation) == {
        ("ssn", "query"),
        ("date-of-birth", "query"),
        ("email", "variables.e"),
        ("person-name", "variables.user.firstName"),
    }
    out = redact(operation, CLASSES, "redact", KEY)
    assert out is not None
    assert json.loads(out)["query"] == query.replace("536-22-1234", "[redacted]").replace("1980-02-29", "[redacted]")


def test_forms_queries_and_multipart() -> None:
    operation = request(
        b"first_name=Ann&dob=1980-02-29&password=hunter22",
        "application/x-www-form-urlencoded",
        "/x?email=q%40example.org&lat=52.12345",
    )
    assert places(operation) == {
        ("person-name", "first_name"), ("date-of-birth", "dob"), ("credential", "password"), ("email", "query.email"), ("geo", "query.lat"),
    }  # fmt: skip
    raw = b'--b\r\nContent-Disposition: form-data; name="cvv"\r\n\r\n123\r\n--b\r\nContent-Disposition: form-data; name="n"\r\n\r\n81234\r\n--b--\r\n'
    parts = request(raw, "multipart/form-data; boundary=b")
    assert places(parts) == {("credential", "cvv")}
    assert redact(parts, CLASSES, "redact", KEY) == raw.replace(b"\r\n123\r\n", b"\r\n[redacted]\r\n")


def test_headers_cookies_and_the_path() -> None:
    operation = request(b"", "", "/users/ann@example.org/ssn/536221234")
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
    headers = {
        "x-user-email": "z@example.org",
        "cookie": f"a=b; mail=q%40example.org; sid={jwt}",
        "authorization": f"Bearer {jwt}",
        "user-agent": "ann@example.org",
        "x-api-key": "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "x-debug": "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "x-forwarded-for": "203.0.113.9",
    }
    assert places(operation, headers=headers, path=True) == {
        ("secret", "header.x-debug"), ("email", "header.x-user-email"), ("ip-address", "header.x-forwarded-for"), ("email", "cookie.mail"), ("email", "path[1]"),
        ("ssn", "path[3]"),
    }  # fmt: skip
    assert places(operation, path=True, params=(("user_id", "ann@example.org"), ("ssn", "536221234"))) == {
        ("email", "path.user_id"),
        ("ssn", "path.ssn"),
    }
    assert places(operation) == set()
    assert places(operation, headers={"set-cookie": "mail=z@example.org; Path=/\nid=17"}) == {("email", "cookie.mail")}


CSV = 'name,email,dob,cvv,order\r\nAnn Lee,ann@example.org,1980-02-29,123,81234\r\n"Lee, Bo",bo@example.org,1981-01-01,999,9\r\n'


def test_tables_by_column() -> None:
    operation = request(CSV.encode(), "text/csv")
    assert places(operation) == {
        ("person-name", "[].name"), ("email", "[].email"), ("date-of-birth", "[].dob"), ("credential", "[].cvv"),
    }  # fmt: skip
    out = redact(operation, ["credential", "date-of-birth"], "redact", KEY)
    assert out == (
        b"name,email,dob,cvv,order\r\nAnn Lee,ann@example.org,[redacted],[redacted],81234\r\n"
        b'"Lee, Bo",bo@example.org,[redacted],[redacted],9\r\n'
    )


def test_every_record_of_a_long_table_is_redacted() -> None:
    text = "id;dob\n" + "".join(f"{n};1980-02-{n % 28 + 1:02d}\n" for n in range(5_000))
    out = redact(request(text.encode(), "text/csv"), ["date-of-birth"], "drop", KEY)
    assert out == ("id;dob\n" + "".join(f"{n};\n" for n in range(5_000))).encode()


def test_lines_of_json_and_events() -> None:
    lines = b'{"dob":"1980-01-01","n":1.10}\n\n{"dob":"1980-01-02","n":2}\n'
    operation = request(lines, "application/x-ndjson")
    assert places(operation) == {("date-of-birth", "[].dob")}
    assert redact(operation, CLASSES, "redact", KEY) == b'{"dob":"[redacted]","n":1.10}\n\n{"dob":"[redacted]","n":2}\n'
    events = b'event: user\ndata: {"firstName":"Ann","id":7}\n\ndata: [DONE]\n\n'
    answer = decode_response(
        Response(200, {"content-type": "text/event-stream"}, events, BodyState.COMPLETE), Request("GET", "/s", {}), DEFAULT
    )
    assert places(answer) == {("person-name", "[].firstName")}
    assert redact(answer, CLASSES, "redact", KEY) == events.replace(b"Ann", b"[redacted]")


@pytest.mark.parametrize(
    "text", ["", "hello, world", "a,b\nc", "x@example.org,y\n1,2\n", "{not json}\n{}\n", "one line of, text\nand another\n"]
)
def test_text_that_is_no_table(text: str) -> None:
    assert records(text) is None


def test_a_protobuf_tree_is_searched_and_its_message_rewritten() -> None:
    body = {"user": {"first_name": "Ann", "mail": "ann@example.org"}, "1": b"\x00\x01"}
    operation = Operation("grpc", "POST", ("s", "M"), "/s/M", body=body, body_kind="protobuf", raw_body=b"\x0a\x03Ann")
    assert places(operation) == {("person-name", "user.first_name"), ("email", "user.mail")}
    assert redact(operation, CLASSES, "redact", KEY) == b"\x0a\x0a[redacted]"


@given(
    st.lists(st.lists(st.text("ab,\"\n\r;'x1", max_size=6), min_size=2, max_size=2), min_size=1, max_size=5),
    st.sampled_from([",", ";"]),
)
@settings(max_examples=150, deadline=None)
def test_a_table_in_which_nothing_changes_keeps_its_bytes(rows: list[list[str]], delimiter: str) -> None:
    text = f"id{delimiter}dob\n" + "".join(
        delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in rows
    )
    table = table_of(text)
    if table is not None:
        assert edit_table(text, table, lambda at, cell: cell) == text
    assert edit_json_lines(text, lambda line: line) == text


@given(
    st.binary(max_size=200),
    st.sampled_from(["text/csv", "application/x-ndjson", "text/xml", "application/json", "multipart/form-data; boundary=b"]),
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_an_answer(raw: bytes, kind: str) -> None:
    operation = request(b'name,dob\n{"dob":"1980-01-01"}' + raw, kind)
    find(operation)
    redact(operation, CLASSES, "mask", KEY)
