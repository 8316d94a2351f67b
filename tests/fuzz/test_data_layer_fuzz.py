"""Any text, at any place: a reason or nothing, never an exception."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.detections.command_injection import code, options, shell
from eastwall.detections.ldap_injection import filter as ldap
from eastwall.detections.mail_injection import lines
from eastwall.detections.nosql_injection import script, structure
from eastwall.detections.path_traversal.path import traversal
from eastwall.detections.sql_injection import grammar, statements
from eastwall.detections.xpath_injection import expression

PIECES = [
    "'", '"', "`", "(", ")", "*", "|", "&", "=", "$ne", "[$", "]", "{", "}", "//", "::", "user", "uid", "or", "and", "\r\n", "\n", "To:", "Bcc: a@b.c", "RCPT TO:", "QUIT", "A1 FETCH 1", "../", "..\\", "%00", "\x00",
    "/etc/passwd", ";", "cat", "$(", "eval(", "<?php", "return", "db.x.find(", "this.a", "select", "union", "1", "0x", "--", "#", "/*", "*/", "||", " ", "\t", "text()", "count(", "@a", "new Date()", "while(", "-o", "--output=/",
    "\u2215", "\U0001f600", "\ud7ff",
]  # fmt: skip
texts = (
    st.text(max_size=300)
    | st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
    | st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join)
)
places = st.sampled_from(
    [
        "query.q",
        "body",
        "body.note",
        "body.email",
        "path",
        "path[1]",
        "query.file",
        "body.{a}",
        "query.{a[$ne]}",
        "header.x-a",
        "body.file.filename",
        "",
        ".",
    ]
)


def sentence(reason: object) -> bool:
    return reason is None or (isinstance(reason, str) and reason[0].islower() and not reason.endswith("."))


@settings(max_examples=500, deadline=None)
@given(texts, places)
def test_confirmers_never_raise(text: str, place: str) -> None:
    for confirm in (grammar.injection, shell.injection, code.runs, options.takes_effect, ldap.injection, expression.injection):
        assert sentence(confirm(text))
    assert sentence(statements.behind_break(text))
    assert sentence(statements.in_open_place(text))
    assert sentence(traversal(text, place))
    assert sentence(lines.injection(place, text))
    for judged in (script.injection(place, text), structure.operator(place, text)):
        assert judged is None or (judged[0] in ("low", "medium", "high") and sentence(judged[1]))
