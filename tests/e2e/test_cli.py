"""The command line as people and scripts meet it: real commands, bad input, exit codes, pipes, signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.harness import EASTWALL, Running, Upstream, eventually, free_port, run_cli

pytestmark = pytest.mark.e2e

SQL = "x' UNION SELECT username, password FROM users --"
COMMANDS = (
    "up", "demo", "status", "apis", "apis list", "apis show", "apis export", "apis diff", "apis reflect", "changes", "identities", "data",
    "graph", "graph export", "paths", "findings", "why", "mode", "discover", "import", "learn", "inspect",
    "baselines", "baselines list", "baselines diff", "baselines promote", "baselines reject", "baselines rollback", "baselines unpin",
    "baselines deploy", "feedback", "feedback list", "feedback undo", "doctor",
    "policy", "policy apply", "policy check", "policy diff", "policy drift", "policy effect", "policy explain", "policy history", "policy rearm",
    "policy replay", "policy rollback", "policy show", "policy suggest", "policy test",
    "quarantine", "quarantine add", "quarantine list", "quarantine lift", "playbook", "playbook list", "playbook acts", "playbook undo",
    "audit", "audit log", "audit verify",
)  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> str:
    """The one line of a refusal: exit code, nothing on stdout, no traceback."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("eastwall: ")
    assert "internal error" not in lines[0]
    assert "Traceback" not in done.stderr
    assert not lines[0].endswith(".")
    for word in words:
        assert word in lines[0]
    return lines[0]


def up(directory: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`eastwall up` that is expected to refuse."""
    given = [f"--{name}={value}" for name, value in options.items()]
    defaults = {"--data": directory / "data", "--listen": f"127.0.0.1:{free_port()}", "--console": f"127.0.0.1:{free_port()}"}
    for name, value in defaults.items():
        if not any(g.startswith(f"{name}=") for g in given):
            given.append(f"{name}={value}")
    return run_cli("up", *given, *arguments)


# -- usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_explains_itself(command: str) -> None:
    done = run_cli(*command.split(), "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: eastwall")
    assert not done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonsense",), "`nonsense`"),
        (("up",), "`--upstream`"),
        (("up", "--nonsense"), "`--nonsense`"),
        (("up", "--upstream", "a=http://127.0.0.1:1", "--mode", "loud"), "`loud`"),
        (("mode", "loud"), "`loud`"),
        (("findings", "--limit", "0"), "`--limit`"),
        (("inspect",), "FILE"),
        (("inspect", "-", "--mode", "loud"), "`loud`"),
        (("policy", "check", "/nonexistent/policy"), "`/nonexistent/policy`"),
        (("apis", "--changed", "yesterday"), "24h"),
        (("apis", "--state", "lost"), "`shadow`"),
        (("apis", "--sort", "colour"), "`risk`"),
        (("apis", "show"), "`API`"),
        (("apis", "export", "--format", "pdf"), "`openapi`"),
        (("apis", "export", "--version", "2.0"), "`3.1`"),
        (("apis", "diff"), "`SPEC`"),
        (("apis", "diff", "/tmp"), "`/tmp`"),
        (("apis", "diff", "x.yaml", "--fail-on", "much"), "`much`"),
        (("apis", "reflect"), "HOST:PORT"),
        (("changes", "--since", "-1h"), "`--since`"),
        (("identities", "--kind", "ghost"), "`agent`"),
        (("paths", "--limit", "0"), "`--limit`"),
        (("graph", "export", "--format", "svg"), "`graphml`"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    refused(run_cli(*arguments), 2, words, "--help`")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("orders", "not an upstream"),
        ("orders=", "not an upstream"),
        ("=http://127.0.0.1:9000", "not an upstream"),
        ("Orders=http://127.0.0.1:9000", "lower-case"),
        ("orders=127.0.0.1:9000", "not an upstream"),
        ("orders=ftp://127.0.0.1", "not an upstream"),
        ("orders=http://127.0.0.1:9000/v1", "a path is not taken"),
        ("orders=http://127.0.0.1:9000?x=1", "a path is not taken"),
        ("orders=http://127.0.0.1:99999", "port out of range"),
        ("orders=http://127.0.0.1:9000@0", "no port 0"),
        ("orders=http://127.0.0.1:9000@70000", "no port 70000"),
        ("orders=http://[::1", "invalid IPv6"),
    ],
)
def test_an_upstream_that_is_none(short_dir: Path, text: str, words: str) -> None:
    refused(up(short_dir, upstream=text), 2, f"`{text}`", words)
    assert not (short_dir / "data").exists(), "a refused command must leave nothing behind"


def test_two_upstreams_of_one_name_or_on_one_port(short_dir: Path) -> None:
    refused(up(short_dir, "--upstream=a=http://127.0.0.1:1", "--upstream=a=http://127.0.0.1:2"), 2, "`a`")
    port = free_port()
    done = up(short_dir, f"--upstream=a=http://127.0.0.1:1@{port}", f"--upstream=b=http://127.0.0.1:2@{port}")
    refused(done, 2, str(port))


@pytest.mark.parametrize(("option", "value"), [("listen", "nowhere"), ("listen", "127.0.0.1:70000"), ("console", "127.0.0.1:x")])
def test_an_address_that_is_none(short_dir: Path, option: str, value: str) -> None:
    refused(up(short_dir, "--upstream=a=http://127.0.0.1:1", **{option: value}), 2, f"--{option}", f"`{value}`")


# -- things that do not start -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", ["console", "listen"])
def test_a_port_that_is_taken(short_dir: Path, taken: str) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        line = refused(up(short_dir / taken, "--upstream=a=http://127.0.0.1:1", **{taken: f"127.0.0.1:{port}"}), 1, str(port))
    assert "in use" in line.lower() or "is taken" in line


def test_a_data_directory_that_cannot_be_one(short_dir: Path) -> None:
    file = short_dir / "file"
    file.touch()
    refused(up(short_dir, "--upstream=a=http://127.0.0.1:1", data=file), 2, str(file))
    refused(up(short_dir, "--upstream=a=http://127.0.0.1:1", data=file / "below"), 2, "--data")


BAD_POLICIES = [
    ("kind: [\n", "policy.yaml:2:"),
    ("apiVersion: eastwall.dev/v1alpha1\nkind: Nonsense\nmetadata: {name: a}\nspec: {}\n", "policy.yaml:2:"),
    (
        "apiVersion: eastwall.dev/v1alpha1\nkind: DataPolicy\nmetadata: {name: a}\nspec:\n  classes: [pan]\n  action: shred\n",
        "policy.yaml:6:",
    ),
]


@pytest.mark.parametrize(("text", "place"), BAD_POLICIES)
def test_a_wrong_policy_is_named_by_file_and_line(short_dir: Path, tmp_path: Path, text: str, place: str) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(text)
    refused(up(short_dir, "--upstream=a=http://127.0.0.1:1", policy=policy), 1, place)
    refused(run_cli("inspect", "--policy", str(policy), "-"), 1, place)
    checked = run_cli("policy", "check", str(policy), "--data", str(tmp_path / "none"))
    assert checked.returncode == 1
    assert place in checked.stderr
    assert "Traceback" not in checked.stderr
    listed = json.loads(run_cli("policy", "check", str(policy), "--data", str(tmp_path / "none"), "--json").stdout)
    assert not listed["ok"]
    assert listed["faults"][0]["file"] == str(policy)


@pytest.mark.parametrize("content", [None, b"no json", b'{"keys":5}'])
def test_a_bad_key_set_is_named(short_dir: Path, tmp_path: Path, content: bytes | None) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "apiVersion: eastwall.dev/v1alpha1\nkind: Service\nmetadata: {name: orders}\n"
        'spec: {identity: {jwks: [{issuer: "https://issuer.example", file: keys.json}]}}\n'
    )
    if content is not None:
        (tmp_path / "keys.json").write_bytes(content)
    refused(up(short_dir, "--upstream=orders=http://127.0.0.1:1", policy=policy), 1, "keys.json")
    refused(run_cli("inspect", "--policy", str(policy), "-"), 2 if content is None else 1, "keys.json")
    checked = run_cli("policy", "check", str(policy), "--data", str(tmp_path / "none"))
    assert checked.returncode == (2 if content is None else 1)
    assert "keys.json" in checked.stderr


def test_a_key_that_no_engine_could_use_is_named(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "apiVersion: eastwall.dev/v1alpha1\nkind: Service\nmetadata: {name: orders}\n"
        'spec: {identity: {jwks: [{issuer: "https://issuer.example", inline: \'{"keys":[{"kty":"RSA"}]}\'}]}}\n'
    )
    refused(run_cli("inspect", "--policy", str(policy), "-"), 1, "https://issuer.example", "key 1")
    checked = run_cli("policy", "check", str(policy), "--data", str(tmp_path / "none"))
    assert checked.returncode == 1
    assert "key 1" in checked.stderr


def test_a_folder_without_policies(short_dir: Path, tmp_path: Path) -> None:
    refused(up(short_dir, "--upstream=a=http://127.0.0.1:1", policy=tmp_path), 1, "no policy files")
    refused(run_cli("policy", "check", str(tmp_path)), 2, "no policy files")


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",), ("apis",), ("findings",), ("why", "01HZZZZZZZZZZZZZZZZZZZZZZZ"), ("mode", "enforce"), ("apis", "show", "GET /x"),
        ("apis", "export"), ("changes",), ("identities",), ("data",), ("paths",), ("graph", "export"),
    ],
)  # fmt: skip
def test_nothing_runs(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    refused(run_cli(*arguments, "--data", str(tmp_path)), 3, "eastwall up")


# -- discover ---------------------------------------------------------------------------------------------------------


def test_discover_reads_lines_har_and_stdin(tmp_path: Path) -> None:
    lines = "".join(f"GET /orders/{n} 200\n" for n in range(20)) + "POST /orders 201\n"
    (tmp_path / "calls.txt").write_text(lines)
    entries = [
        {"request": {"method": "GET", "url": f"http://shop.example/orders/{n}"}, "response": {"status": 200}} for n in range(20)
    ]
    (tmp_path / "calls.har").write_text(json.dumps({"log": {"entries": entries}}))
    from_lines = json.loads(run_cli("discover", "--json", str(tmp_path / "calls.txt")).stdout)
    assert {(r["service"], r["method"], r["template"], r["count"]) for r in from_lines} == {
        ("default", "GET", "/orders/{order_id}", 20),
        ("default", "POST", "/orders", 1),
    }
    assert set(from_lines[0]) == {"service", "method", "template", "parameters", "count"}
    assert json.loads(run_cli("discover", "--json", "-", stdin=lines).stdout) == from_lines
    assert json.loads(run_cli("discover", "--json", str(tmp_path / "calls.har")).stdout) == [
        {"service": "shop.example", "method": "GET", "template": "/orders/{order_id}", "parameters": ["order_id"], "count": 20}
    ]
    assert "/orders/{order_id}" in run_cli("discover", str(tmp_path / "calls.txt")).stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"GET /a\n" + bytes(range(256)), ":2: "),
        (b"GET /a\nGET\n", ":2: "),
        (b"GET /" + b"a" * 300_000 + b"\n", ":1: line is over 64 KiB"),
        (b"GET /a 9999\n", ":1: `9999`"),
        (b'{"log":\n{', "not valid JSON"),
        (b'{"log": []}', "not HAR"),
        (b"GET \x1b[31m/a\n", ":1: "),
    ],
)  # fmt: skip
def test_discover_refuses_what_is_no_recording(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "input"
    file.write_bytes(content)
    line = refused(run_cli("discover", str(file)), 2, words)
    assert line.isprintable()
    refused(run_cli("discover", "--json", "-", stdin=content), 2, words, "standard input")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for command in ("discover", "inspect"):
        refused(run_cli(command, str(tmp_path / "missing")), 2, "No such file")
        refused(run_cli(command, str(tmp_path)), 2, "Is a directory")


# -- inspect ----------------------------------------------------------------------------------------------------------


def inspect(*calls: Any, options: tuple[str, ...] = (), code: int = 0) -> list[dict[str, Any]]:
    text = "".join(json.dumps(call) + "\n" for call in calls)
    done = run_cli("inspect", *options, "-", stdin=text)
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


ATTACKS: list[tuple[str, str, dict[str, Any]]] = [
    ("sql-injection", "body.note", {"method": "POST", "url": "http://shop/orders", "body": {"note": SQL}}),
    ("sql-injection", "body.items[1].sku", {"method": "POST", "url": "/orders", "body": {"items": [{"sku": "a"}, {"sku": SQL}]}}),
    ("sql-injection", "query.q", {"method": "GET", "url": "/search?q=x%27%20UNION%20SELECT%20a,b%20FROM%20users%20--"}),
    (
        "sql-injection",
        "body.name",
        {
            "method": "POST",
            "url": "/form",
            "headers": {"Content-Type": "application/x-www-form-urlencoded"},
            "body": "name=x%27+UNION+SELECT+a%2Cb+FROM+users+--&page=2",
        },
    ),
    ("command-injection", "query.host", {"method": "GET", "url": "/ping?host=127.0.0.1;cat%20/etc/passwd"}),
    ("path-traversal", "query.file", {"method": "GET", "url": "/download?file=../../../../etc/passwd"}),
]


@pytest.mark.parametrize(("detection", "where", "call"), ATTACKS)
def test_inspect_finds_attacks(detection: str, where: str, call: dict[str, Any]) -> None:
    (result,) = inspect(call)
    assert {"verdict", "status", "findings", "event_id"} <= set(result) <= {
        "verdict", "status", "findings", "event_id", "operation", "policies", "would", "parser_faults", "not_inspected", "data"
    }  # fmt: skip
    assert result["verdict"] == "block"
    assert result["status"] == 403
    assert len(result["event_id"]) == 26
    finding = next(f for f in result["findings"] if f["id"] == detection)
    assert set(finding) - {"decoded"} == {"id", "severity", "confidence", "owasp", "where", "message", "evidence", "phase"}
    assert finding["where"] == where
    assert isinstance(finding["owasp"], list)


def test_inspect_lets_ordinary_calls_pass() -> None:
    calls = [
        {"method": "POST", "url": "/orders", "body": {"note": "union square; select the red one -- thanks"}},
        {"method": "GET", "url": "/search?q=O%27Brien"},
        {"method": "GET", "url": "/docs/../about"},
    ]
    assert [r["verdict"] for r in inspect(*calls)] == ["allow"] * 3


def test_inspect_in_monitor_says_what_enforce_would_do() -> None:
    (result,) = inspect(ATTACKS[0][2], options=("--mode", "monitor"))
    assert (result["verdict"], result["would"], result["status"]) == ("allow", "block", 200)
    (result,) = inspect(ATTACKS[0][2], options=("--mode", "discover"))
    assert (result["verdict"], result["status"]) == ("allow", 200)


def test_inspect_judges_responses_by_the_policy(tmp_path: Path) -> None:
    policy = tmp_path / "cards.yaml"
    policy.write_text(
        "apiVersion: eastwall.dev/v1alpha1\nkind: DataPolicy\nmetadata: {name: cards}\n"
        "spec: {mode: enforce, classes: [pan], direction: response, action: mask}\n"
    )
    response = {"status": 201, "headers": {"content-type": "application/json"}, "body": '{"card":"4111111111111111"}'}
    call = {"method": "GET", "url": "/cards", "response": response}
    clean = {"method": "GET", "url": "/cards", "response": response | {"body": '{"card":"4111111111111112"}'}}
    assert [r["verdict"] for r in inspect(call, clean, options=("--policy", str(policy)))] == ["redact", "allow"]
    assert [r["status"] for r in inspect(call, clean, options=("--policy", str(policy)))] == [201, 201]
    assert inspect(call)[0]["verdict"] == "allow"


def test_inspect_knows_who_calls(tmp_path: Path) -> None:
    policy = tmp_path / "alice.yaml"
    policy.write_text(
        "apiVersion: eastwall.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: alice-only}\n"
        "spec: {mode: enforce, action: allow, when: 'identity.sub == \"alice\"'}\n"
    )
    calls = [
        {"url": "/x", "identity": "alice"},
        {"url": "/x", "identity": {"sub": "alice"}},
        {"url": "/x", "identity": "bob"},
        {"url": "/x"},
    ]
    results = inspect(*calls, options=("--policy", str(policy)))
    assert [r["verdict"] for r in results] == ["allow", "allow", "block", "block"]


BAD_LINES: list[tuple[bytes, str]] = [
    (b"not json", "not JSON"),
    (b"[]", "not a JSON object"),
    (b"null", "not a JSON object"),
    (b'{"url":"/\xff"}', "not UTF-8"),
    (b"{}", "`url`"),
    (b'{"url":7}', "`url`"),
    (b'{"url":""}', "`url`"),
    (b'{"url":"http://[::1/a"}', "`url`"),
    (b'{"url":"/a","method":"GE T"}', "`GE T`"),
    (b'{"url":"/a","method":"\\u001b[31m"}', "HTTP method"),
    (b'{"url":"/a","headers":[]}', "`headers`"),
    (b'{"url":"/a","headers":{"a":{}}}', "`headers.a`"),
    (b'{"url":"/a","identity":5}', "`identity`"),
    (b'{"url":"/a","service":5}', "`service`"),
    (b'{"url":"/a","time":"now"}', "`time`"),
    (b'{"url":"/a","time":1e300}', "`time`"),
    (b'{"url":"/a","time":-1}', "`time`"),
    (b'{"url":"/a","response":7}', "`response`"),
    (b'{"url":"/a","response":{"status":true}}', "`response.status`"),
    (b'{"url":"/a","response":{"status":99999}}', "`response.status`"),
    (b'{"url":"/a","body":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "nested too deeply"),
]  # fmt: skip


def test_inspect_names_bad_lines_and_judges_the_others(tmp_path: Path) -> None:
    attack = json.dumps(ATTACKS[0][2]).encode()
    file = tmp_path / "calls.jsonl"
    file.write_bytes(b"".join(line + b"\n" + attack + b"\n" for line, _ in BAD_LINES))
    done = run_cli("inspect", str(file))
    assert done.returncode == 2
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == 2 * len(BAD_LINES)
    errors = done.stderr.splitlines()
    assert len(errors) == len(BAD_LINES)
    for index, (line, words) in enumerate(BAD_LINES):
        bad, good = results[2 * index : 2 * index + 2]
        assert bad["line"] == 2 * index + 1, line
        assert words in bad["error"], line
        assert errors[index] == f"eastwall: {file}:{2 * index + 1}: {bad['error']}"
        assert errors[index].isprintable()
        assert good["verdict"] == "block", line


def test_inspect_streams_in_bounded_memory(tmp_path: Path) -> None:
    """20,000 calls of 1,000 services' worth of paths: over 1,000 a second, and no more memory for the last than for the first half."""
    process = subprocess.Popen([EASTWALL, "inspect", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    out = process.stdout
    peaks: list[int] = []
    counted: list[int] = []

    def drain() -> None:
        for number, line in enumerate(out, 1):
            assert line.startswith(b'{"verdict"')
            if number in (5_000, 19_900):
                peaks.append(_rss(process.pid))
            counted.append(number)

    reader = threading.Thread(target=drain)
    reader.start()
    started = time.monotonic()
    for number in range(20_000):
        process.stdin.write(b'{"method":"POST","url":"/a/%d","body":{"n":%d,"note":"%s"}}\n' % (number, number, b"fine " * 20))
    process.stdin.close()
    reader.join(60)
    seconds = time.monotonic() - started
    assert process.wait(10) == 0
    assert len(counted) == 20_000
    assert seconds < 20, f"{20_000 / seconds:.0f} calls a second"
    assert peaks[1] - peaks[0] < 20_000, f"KiB at 5,000 and at 19,900 calls: {peaks}"


def _rss(pid: int) -> int:
    """KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


@pytest.mark.parametrize("command", ["inspect", "discover"])
def test_a_closed_pipe_is_quiet(tmp_path: Path, command: str) -> None:
    file = tmp_path / "calls"
    if command == "inspect":
        file.write_text('{"url":"/a"}\n' * 5_000)
    else:  # more templates than a pipe holds
        file.write_text(
            "".join(f"GET /part{chr(97 + a)}{chr(97 + b)}{'x' * 60}/{c}\n" for a in range(26) for b in range(26) for c in "ab")
        )
    process = subprocess.Popen([EASTWALL, command, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) in (0, 1)


def test_ctrl_c_ends_an_offline_command_quietly() -> None:
    process = subprocess.Popen(
        [EASTWALL, "inspect", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell starts its background jobs with SIGINT ignored, and children inherit that: here it is to be as at a terminal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdin is not None
    process.stdin.write(b'{"url":"/a"}\n')
    process.stdin.flush()
    eventually(lambda: "hyperscan" in Path(f"/proc/{process.pid}/maps").read_text(), what="started")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    # Standard input stays open until it has ended: else it might read the end first, and be done.
    process.wait(20)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in errors


# -- something that runs ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(upstream: Upstream, short_dir: Path) -> Iterator[Running]:
    directory = short_dir / "running"
    directory.mkdir()
    instance = Running(directory, "--upstream", f"orders={upstream.url}@{free_port()}", "--mode", "enforce")
    yield instance
    instance.stop()


def test_json_is_json(running: Running) -> None:
    with httpx.Client(base_url=running.address("orders")) as client:
        client.get("/orders/1")
        assert client.get("/search", params={"q": SQL}).status_code == 403
    eventually(lambda: running.api.get("/findings").json())
    for arguments in (
        ("status",),
        ("apis",),
        ("apis", "orders"),
        ("findings",),
        ("findings", "--service", "orders"),
        ("mode", "enforce"),
    ):
        done = running.cli(*arguments, "--json")
        assert done.returncode == 0
        assert json.loads(done.stdout) is not None
    machine = run_cli("doctor", "--json", "--data", str(running.data))
    assert {check["status"] for check in json.loads(machine.stdout)} <= {"ok", "warn", "fail"}


def test_what_is_not_there_is_not_found(running: Running) -> None:
    refused(running.cli("why", "01HZZZZZZZZZZZZZZZZZZZZZZZ"), 4)
    refused(running.cli("why", "../../status"), 4)
    refused(running.cli("mode", "enforce", "--service", "nonsense"), 4, "nonsense")


def test_a_data_directory_in_use(running: Running, short_dir: Path) -> None:
    refused(up(short_dir, "--upstream=a=http://127.0.0.1:1", data=running.data), 1, "another Eastwall runs", "--data")
    assert running.cli("status").returncode == 0, "the one that runs must not be disturbed"
    with httpx.Client(base_url=running.address("orders")) as client:
        assert client.get("/orders/1").status_code == 200


def test_policy_check_and_apply_say_the_same_faults(running: Running, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(BAD_POLICIES[2][0])
    for verb in ("check", "apply"):
        done = running.cli("policy", verb, str(policy))
        assert done.returncode == 1
        assert f"{policy}:6:" in done.stderr
        assert not json.loads(running.cli("policy", verb, str(policy), "--json").stdout)["ok"]


def test_a_dead_control_process_is_not_an_internal_error(running: Running) -> None:
    control = running.data / "run" / "control.json"
    known = control.read_text()
    try:
        control.write_text(json.dumps({"url": f"http://127.0.0.1:{free_port()}"}))
        refused(running.cli("status"), 3, "does not answer")
        control.write_text("{")
        refused(running.cli("status"), 3, "control.json")
    finally:
        control.write_text(known)


def test_ctrl_c_drains_and_loses_nothing(upstream: Upstream, short_dir: Path) -> None:
    """Calls in flight are answered, every call is in the lake after the next start, exit code 0."""
    directory = short_dir / "drain"
    directory.mkdir()
    port = free_port()
    first = Running(directory, "--upstream", f"orders={upstream.url}@{port}")
    statuses: list[int] = []

    def one_slow_call() -> None:
        statuses.append(httpx.get(f"{first.address('orders')}/slow/1", timeout=20).status_code)

    with httpx.Client(base_url=first.address("orders")) as client:
        for number in range(50):
            assert client.get(f"/orders/{number}").status_code == 200
        slow = threading.Thread(target=one_slow_call)
        slow.start()
        time.sleep(0.2)
    os.kill(first.process.pid, signal.SIGINT)
    slow.join(20)
    assert first.process.wait(45) == 0
    first.stop()
    assert statuses == [200]
    text = (directory / "up.log").read_text()
    assert "draining" in text
    assert "Traceback" not in text
    assert not (first.data / "run" / "control.json").exists()
    refused(first.cli("status"), 3)
    second = Running(directory, "--upstream", f"orders={upstream.url}@{port}")
    try:
        assert second.status()["lake"]["calls"] == 51
    finally:
        assert second.stop() == 0
