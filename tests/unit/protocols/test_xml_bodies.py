"""XML as trees: against a naive reader by events, and against what XML parsers are attacked with."""

from __future__ import annotations

import gc
import time
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.detections.detection_cases import PREFILTER

from eastwall.model.call import BodyState, Request
from eastwall.protocols import xml
from eastwall.protocols.decode import decode_request
from eastwall.protocols.limits import Limits

LIMITS = Limits()


def parse(text: str | bytes, limits: Limits = LIMITS) -> xml.Parsed:
    return xml.parse(text.encode() if isinstance(text, str) else text, limits)


def ids(parsed: xml.Parsed) -> list[str]:
    return [fault.id for fault in parsed.faults]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("<a/>", ""),
        ("<a>  5\n</a>", "5"),
        ("<a><b>1</b></a>", {"b": "1"}),
        ("<a><b>1</b><b>2</b><c/></a>", {"b": ["1", "2"], "c": ""}),
        ('<a x="1">t</a>', {"@x": "1", "#text": "t"}),
        ('<p:a xmlns:p="urn:p" p:x="1"><p:b xmlns="urn:q" y="2"/></p:a>', {"@x": "1", "b": {"@y": "2"}}),
        ("<a>one <b>two</b> three</a>", {"b": "two", "#text": "one  three"}),
        ("<a><![CDATA[<b>&amp;</b>]]></a>", "<b>&amp;</b>"),
        ("<a>sel<!-- x -->ect &lt;&#x41;<?pi x?>B</a>", "select <AB"),
        ('<a xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><b i:nil="true"/></a>', {"b": None}),
        ("<a><b><c/></b><b>x</b></a>", {"b": [{"c": ""}, "x"]}),
        ('<?xml version="1.0" encoding="ISO-8859-1"?><a>\xe9</a>'.encode("latin-1"), "\xe9"),
        ("\ufeff<a>\xe9</a>", "\xe9"),
    ],
)
def test_trees(text: str | bytes, tree: Any) -> None:
    assert parse(text) == xml.Parsed(True, tree)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "xml-entity"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "xml-entity"),
        ('<!DOCTYPE a [<!ENTITY % x SYSTEM "http://evil/x.dtd"> %x;]><a/>', "xml-entity"),
        ('<?xml version="1.0"?>\n<!-- c -->\n<!DOCTYPE a SYSTEM "http://evil/x.dtd"><a/>', "xml-doctype"),
        ("<!DOCTYPE a><a/>", "xml-doctype"),
        ("<!DOCTYPE a [<!ELEMENT a ANY>]><a/>", "xml-doctype"),
        ("<a>&x;</a>", "xml-entity"),
        ("<a><b></a>", "invalid-xml"),
        ("<a/>trailing", "invalid-xml"),
        ("<p:a/>", "invalid-xml"),
        ("", "invalid-xml"),
        ('<a x="1" x="2"/>', "invalid-xml"),
        ("<a>" + "<b>" * 70 + "</b>" * 70 + "</a>", "too-deep"),
        ("<a>" + "<b/>" * 60_000 + "</a>", "too-many-values"),
        ("<a " + " ".join(f'x{n}="1"' for n in range(60_000)) + "/>", "too-many-values"),
        ("<a " + " ".join(f'x{n}="1"' for n in range(210_000)) + "/>", "too-many-values"),
        ("<a>" * 300_000, "too-many-values"),
    ],
)
def test_refused(text: str, fault: str) -> None:
    parsed = parse(text)
    assert (parsed.ok, ids(parsed)) == (False, [fault])


def test_nesting_ends_no_process() -> None:
    # Freeing a tree must not recurse either.
    assert ids(parse("<a>" * 90_000 + "</a>" * 90_000, Limits(max_values=200_000))) == ["too-deep"]


def test_a_document_type_inside_of_a_text_is_none() -> None:
    assert parse("<a><![CDATA[<!DOCTYPE html><html/>]]></a>") == xml.Parsed(True, "<!DOCTYPE html><html/>")
    assert parse("<a><!-- <!DOCTYPE a> --></a>").ok


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "cp037", "utf-7"])
def test_no_encoding_hides_an_entity(encoding: str) -> None:
    name = "utf-16" if encoding.startswith("utf-16") else encoding
    text = f'<?xml version="1.0" encoding="{name}"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
    if encoding == "cp037":  # the declaration itself is read as ASCII
        head, tail = text.split("?>", 1)
        data = (head + "?>").encode() + tail.encode("cp037")
    else:
        data = text.encode(encoding)
    parsed = parse(data)
    assert not parsed.ok
    assert ids(parsed)[-1] in ("xml-entity", "xml-doctype", "invalid-xml")
    plain = f'<?xml version="1.0" encoding="{name}"?><a>x</a>'
    if encoding == "utf-16":
        assert parse(plain.encode("utf-16")).tree == "x"


def test_text_declared_as_utf_16_is_read_and_told() -> None:
    parsed = parse('<?xml version="1.0" encoding="utf-16"?><a><b>1</b></a>')
    assert (parsed.tree, ids(parsed)) == ({"b": "1"}, ["unknown-encoding"])


def test_laughs_cost_nothing() -> None:
    laughs = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(30))
    begin = time.process_time()
    assert ids(parse(f'<!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><a>&l30;</a>')) == ["xml-entity"]
    assert time.process_time() - begin < 2


def test_time_is_linear() -> None:
    limits = Limits(max_values=1_000_000)

    def spent(count: int) -> float:
        data = b"<a>" + b"x<b/>" * count + b"</a>"
        gc.disable()  # it walks what all other tests of this process have left
        begin = time.process_time()
        try:
            assert xml.parse(data, limits).ok
        finally:
            gc.enable()
        return time.process_time() - begin

    spent(1000)
    # The least of some runs: another process in between costs a run, and never all of them.
    small, large = (min(spent(count) for _ in range(5)) for count in (20_000, 80_000))
    assert large < 10 * max(small, 0.002), "four times the input, sixteen times the time were it quadratic"


# --- the twin: a naive reader of expat's events -----------------------------------------------------------------------


def twin(data: bytes) -> Any:
    stack: list[tuple[dict[str, Any], list[str]]] = []
    done: list[Any] = []

    def add(tree: dict[str, Any], key: str, value: Any) -> None:
        if key in tree:
            tree[key] = [*tree[key], value] if isinstance(tree[key], list) else [tree[key], value]
        else:
            tree[key] = value

    def start(name: str, attributes: dict[str, str]) -> None:
        tree: dict[str, Any] = {}
        for key, value in attributes.items():
            add(tree, "@" + key.split("|")[-1], value)
        stack.append((tree, []))

    def end(name: str) -> None:
        tree, texts = stack.pop()
        text = "".join(texts).strip()
        value: Any = tree
        if not tree:
            value = text
        elif text:
            tree["#text"] = text
        if stack:
            add(stack[-1][0], name.split("|")[-1], value)
        else:
            done.append(value)

    reader = expat.ParserCreate(None, "|")
    reader.StartElementHandler, reader.EndElementHandler = start, end
    reader.CharacterDataHandler = lambda text: stack[-1][1].append(text)
    reader.Parse(data, True)
    return done[0]


names = st.sampled_from(["a", "b", "p:c", "item", "\xe9"])
texts = st.text(st.sampled_from("ab <&'\"]>\n\t\xe9\u2028"), max_size=8)
elements = st.recursive(
    st.tuples(names, st.dictionaries(names, texts, max_size=2), texts, st.just(())),
    lambda inner: st.tuples(names, st.dictionaries(names, texts, max_size=2), texts, st.lists(inner, max_size=4).map(tuple)),
    max_leaves=15,
)


def written(node: Any, top: bool = False) -> str:
    name, attributes, text, children = node
    shown = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    space = ' xmlns:p="urn:p"' if top else ""
    inside = escape(text) + "".join(written(child) + escape(text[::-1]) for child in children)
    return f"<{name}{space}{shown}>{inside}</{name}>"


@settings(max_examples=300, deadline=None)
@given(elements)
def test_agrees_with_the_twin(node: Any) -> None:
    data = written(node, top=True).encode()
    assert xml.parse(data, LIMITS) == xml.Parsed(True, twin(data))


# --- as part of a call ---------------------------------------------------------------------------------------------------


def decode(body: bytes, content_type: str | None, state: BodyState = BodyState.COMPLETE) -> Any:
    headers = {} if content_type is None else {"content-type": content_type}
    return decode_request(Request("POST", "/orders", headers, body=body, body_state=state), LIMITS)


@pytest.mark.parametrize(
    ("content_type", "body", "kind", "faults"),
    [
        ("text/xml", b"<a/>", "xml", []),
        ("application/xml; charset=utf-8", b"<a/>", "xml", []),
        ("application/atom+xml", b"<a/>", "xml", []),
        ("image/svg+xml", b"<svg/>", "xml", []),
        ("application/xhtml+xml", b"<!DOCTYPE html><html/>", "text", []),
        ("text/html", b"<!DOCTYPE html><html/>", "text", []),
        (None, b"<?xml version='1.0'?><a/>", "xml", []),
        ("text/plain", b"<?xml version='1.0'?><a/>", "xml", ["content-type-mismatch"]),
        ("application/octet-stream", b"<?xml version='1.0'?><a/>", "xml", ["content-type-mismatch"]),
        ("application/x-www-form-urlencoded", b"<?xml version='1.0'?><a/>", "form", ["content-type-mismatch"]),
        ("application/xml", b'{"a": 1}', "json", ["content-type-mismatch"]),
        ("application/xml", b"<a", "text", ["invalid-xml"]),
        (
            "application/xml; charset=utf-16",
            "<?xml version='1.0' encoding='utf-16'?><a>x</a>".encode("utf-16"),
            "xml",
            ["unknown-encoding"],
        ),
    ],
)
def test_kinds(content_type: str | None, body: bytes, kind: str, faults: list[str]) -> None:
    operation = decode(body, content_type)
    assert (operation.body_kind, [fault.id for fault in operation.faults]) == (kind, faults)


def test_a_cut_body_is_text() -> None:
    operation = decode(b"<a><b>1</b><c", "application/xml", BodyState.TRUNCATED)
    assert (operation.body_kind, operation.faults) == ("text", ())


@pytest.mark.parametrize(
    "body",
    [
        b"<o><note>1' OR '1'='1</note></o>",
        b"<o note=\"1' OR '1'='1\"/>",
        b"<o><note>1&#39; OR &apos;1&#x27;=&#39;1</note></o>",
        b"<o><note><![CDATA[1' OR '1'='1]]></note></o>",
        b"<o><note>1' O<!-- -->R '1'<?x y?>='1</note></o>",
        b"<?xml version=\"1.0\"?><!DOCTYPE o><o><note>1' OR '1'='1</note></o>",
    ],
)
def test_values_reach_the_prefilter(body: bytes) -> None:
    request = Request("POST", "/orders", {"content-type": "application/xml"}, body=body, body_state=BodyState.COMPLETE)
    found = PREFILTER.scan(request, decode_request(request, LIMITS))
    assert any("sql" in families for _, families in found), found
    quiet = Request(
        "POST", "/orders", {"content-type": "application/xml"}, body=b"<o><note>hello</note></o>", body_state=BodyState.COMPLETE
    )
    assert PREFILTER.scan(quiet, decode_request(quiet, LIMITS)) == ()
