"""The story of one call, for people."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from eastwall.cli.show import print_why
from eastwall.model.call import Mode
from eastwall.model.decision import PolicyMatch, Verdict
from eastwall.model.finding import Finding
from eastwall.model.record import CallRecord
from eastwall.policy import explain
from eastwall.runtime.control_views import explained

MESSAGE = "text where a name is expected"
MATCHES = (
    PolicyMatch("no-sql", "DetectionPolicy", "p.yaml:4", Mode.ENFORCE, "block", f"sql-injection: {MESSAGE}", "sql-injection"),
    PolicyMatch(
        "later", "AccessPolicy", "p.yaml:9", Mode.MONITOR, "block", "none allows `user:eve`", "", "be a caller with roles staff"
    ),
)


def told(record: CallRecord) -> str:
    out = StringIO()
    print_why(explained(record, None, {}), Console(file=out, width=200, highlight=False))
    return out.getvalue()


def test_policies_are_told_in_the_words_of_policy_explain() -> None:
    record = CallRecord(
        1,
        "e1",
        1_700_000_000.0,
        "orders",
        "GET",
        "/orders",
        "",
        403,
        0,
        0,
        0,
        "10.0.0.9",
        action="block",
        would="block",
        matches=MATCHES,
    )
    lines = told(record).splitlines()
    words = explain(Verdict("block", "block", (), MATCHES))
    assert [line.rstrip() for line in lines if line.rstrip() in words] == words
    assert "no detection had anything to say about it" in lines[-1]


def test_what_a_finding_says_is_said_once() -> None:
    finding = Finding("sql-injection", "critical", "high", ("API8:2023",), "query.q", MESSAGE)
    record = CallRecord(
        1, "e1", 1_700_000_000.0, "orders", "GET", "/orders", "", 403, 0, 0, 0, "10.0.0.9", action="block", would="block",
        matches=MATCHES[:1], findings=(finding,),
    )  # fmt: skip
    text = told(record)
    assert text.count(MESSAGE) == 1
    assert "block: DetectionPolicy `no-sql` (p.yaml:4): sql-injection" in text
