"""`inspect` tells everything that was concluded about a call, and that people can read it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eastwall.cli.offline import inspect as command
from eastwall.model.call import Mode
from eastwall.runtime.offline import Inspection

SQL = "' union select name, pass from users--"


@pytest.fixture(scope="module")
def inspection() -> Inspection:
    return Inspection(None, "", Mode.ENFORCE)


def finding(result: dict[str, Any], id: str) -> dict[str, Any]:
    return next(one for one in result["findings"] if one["id"] == id)


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        (SQL, None),
        (base64.b64encode(SQL.encode()).decode(), ["base64"]),
        (json.dumps({"q": SQL}).replace("'", "\\u0027"), ["escapes", "json"]),
        (base64.b64encode(base64.b64encode(SQL.encode())).decode(), ["base64"]),
        ("".join(f"%{byte:02x}" for byte in SQL.encode()), ["percent"]),
    ],
)
def test_what_had_to_be_undone(inspection: Inspection, text: str, decoded: list[str] | None) -> None:
    result = inspection.inspect({"method": "POST", "url": "/x", "body": {"v": text}})
    found = finding(result, "sql-injection")
    assert result["verdict"] == "block"
    assert found["where"].startswith("body.v")
    assert "union select" in found["evidence"]
    if decoded is None:
        assert "decoded" not in found
    else:
        assert set(decoded) <= set(found["decoded"])


def test_faults_data_policies_and_what_was_not_looked_at(inspection: Inspection) -> None:
    body = '{"a": 1, "a": 2, "card": "4111111111111111"}'
    result = inspection.inspect({"method": "POST", "url": "/x", "headers": {"content-type": "application/json"}, "body": body})
    assert [fault["id"] for fault in result["parser_faults"]] == ["duplicate-key"]
    assert {(one["class"], one["masked"], one["direction"]) for one in result["data"]} == {("pan", "************1111", "request")}
    assert "4111111111111111" not in json.dumps(result)
    broken = inspection.inspect(
        {"method": "POST", "url": "/x", "headers": {"content-type": "application/json"}, "body": '{"a": '}
    )
    assert broken["not_inspected"] == ["request-invalid-json"]
    blocked = inspection.inspect({"url": "/x?q=" + SQL.replace(" ", "%20")})
    assert blocked["policies"][0]["name"] == "builtin/detections"
    assert blocked["policies"][0]["finding"] == "sql-injection"


def test_the_answer_to_a_refused_request_is_looked_at_too(inspection: Inspection) -> None:
    answer = {"status": 500, "headers": {"content-type": "application/json"}, "body": '{"mail": "ann@shop.example"}'}
    result = inspection.inspect({"url": "/x?q=" + SQL.replace(" ", "%20"), "response": answer})
    assert (result["verdict"], result["status"]) == ("block", 403)
    assert [(one["class"], one["direction"]) for one in result["data"]] == [("email", "response")]


def run(*arguments: str, stdin: bytes | None = None) -> Any:
    return CliRunner().invoke(command, list(arguments), input=stdin)


def test_raw_http_and_recordings(tmp_path: Path) -> None:
    raw = tmp_path / "r.http"
    raw.write_bytes(
        b"POST /login HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n\r\n" + json.dumps({"u": SQL}).encode()
    )
    done = run("--http", str(raw))
    assert done.exit_code == 0
    assert finding(json.loads(done.output), "sql-injection")["where"] == "body.u"
    entry = {
        "request": {"method": "GET", "url": "https://shop.example/x?q=" + SQL.replace(" ", "%20")},
        "response": {"status": 200},
    }
    har = tmp_path / "r.har"
    har.write_text(json.dumps({"log": {"entries": [entry]}}))
    done = run("--recording", str(har))
    assert done.exit_code == 0
    assert json.loads(done.output)["operation"]["service"] == "shop.example"
    assert finding(json.loads(done.output), "sql-injection")["where"] == "query.q"
    assert "two things" in run("--http", "--recording", str(raw)).stderr


def test_for_people() -> None:
    calls = [
        {"method": "POST", "url": "/x", "body": {"v": base64.b64encode(SQL.encode()).decode()}},
        {"method": "GET", "url": "/fine\u001b[31m"},
        {"url": ""},
    ]
    done = run("--explain", "-", stdin="\n".join(map(json.dumps, calls)).encode())
    assert done.exit_code == 2
    for words in (
        "POST /x  block 403",
        "sql-injection",
        "body.v",
        "[base64]",
        "builtin/detections",
        "nothing found",
        "cannot be read: `url` is empty",
    ):
        assert words in done.output, words
    assert "\x1b[31m/" not in done.output
    assert "\\x1b[31m" in done.output
