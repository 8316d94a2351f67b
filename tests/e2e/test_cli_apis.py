"""The commands about APIs, callers, data and paths: on a control process that runs, and on what one left behind."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import select
import shutil
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
import rustworkx
from graphql import build_schema
from openapi_spec_validator import validate
from tests.e2e.harness import EASTWALL, run_cli
from tests.e2e.test_cli import refused
from tests.unit.console.processes import EXPOSED, HOSTILE_ACTOR, MARKUP, SCRIPT, Process, call, discovered, write

pytestmark = pytest.mark.e2e
pytest.importorskip("chdb", reason="control is in the extra eastwall[all]")

ESCAPE = "user:\x1b]0;pwned\x07\x1b[2J"
SPEC = {
    "openapi": "3.1.0",
    "info": {"title": "orders", "version": "1"},
    "paths": {"/orders/{order_id}": {"get": {"responses": {"200": {"description": "ok"}}}}},
}


@pytest.fixture(scope="module")
def recorded() -> Iterator[Process]:
    """A control process that knows four services, and a caller whose name is for terminals."""
    path = Path(tempfile.mkdtemp(prefix="ew"))
    (path / "policy.yaml").write_text(EXPOSED)
    records = [*discovered(), *(call(2 * n, actor=ESCAPE) for n in range(5))]
    write(path, records)
    control = Process(path, "--policy", str(path / "policy.yaml")).ready()
    control.until("/api/v1/status", lambda s: s["lake"]["calls"] == len(records))
    control.until("/api/v1/paths", bool)
    yield control
    control.stop()
    shutil.rmtree(path, ignore_errors=True)


def eastwall(control: Process, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_cli(*arguments, "--data", str(control.data))


def said(control: Process, *arguments: str) -> str:
    done = eastwall(control, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    return done.stdout


def test_lists_are_for_people_and_for_machines(recorded: Process) -> None:
    tree = said(recorded, "apis")
    assert "shop  2 APIs" in tree
    assert f"POST   /graphql  query {MARKUP}" in tree
    assert said(recorded, "apis", "orders") == said(recorded, "apis", "list", "orders")
    found = json.loads(said(recorded, "apis", "--class", "pan", "--sort", "risk", "--json"))
    assert [api["template"] for api in found] == ["/orders/{order_id}", "/charge"]
    assert {a["service"] for a in json.loads(said(recorded, "apis", "--state", "third-party", "--json"))} == {
        f"pay.{MARKUP}.example"
    }
    assert len(json.loads(said(recorded, "apis", "--search", "GRAPHQL pay", "--json"))) == 1
    assert said(recorded, "apis", "--search", "nothing of this kind") == "no API matches\n"
    assert "was seen for the first time" in said(recorded, "changes", "--since", "1h")
    assert {c["service"] for c in json.loads(said(recorded, "changes", "--json"))} >= {"orders", "billing", "shop"}
    assert "\\x1b]0;pwned\\x07\\x1b[2J" in said(recorded, "identities")
    who = json.loads(said(recorded, "identities", HOSTILE_ACTOR, "--json"))
    assert (who["cls"], who["calls"]) == (f"user+{SCRIPT}", 20)
    assert [i["actor"] for i in json.loads(said(recorded, "identities", "--kind", "agent", "--json"))] == [f"agent:{MARKUP}"]
    assert said(recorded, "identities", "--kind", "workload") == "no workload called yet\n"
    assert "to a third party" in said(recorded, "data", "pan")
    assert said(recorded, "data", "iban") == "no `iban` seen\n"
    first = said(recorded, "paths", "--limit", "1")
    assert f"agent:{MARKUP}  →  orders GET /orders/{{order_id}}  →  pan" in first
    assert "cut  " in first


def test_one_api_is_found_by_id_and_by_what_it_is(recorded: Process) -> None:
    api = next(a for a in json.loads(said(recorded, "apis", "--json")) if a["template"] == "/orders/{order_id}")
    whole = said(recorded, "apis", "show", api["id"])
    assert whole == said(recorded, "apis", "show", "orders GET /orders/{id}")
    for words in (
        "GET /orders/{order_id}  of orders",
        "the Service policy says that the internet reaches it",
        f"cards[].{MARKUP}",
    ):
        assert words in whole
    assert json.loads(said(recorded, "apis", "show", api["id"], "--json"))["risk"]["score"] == api["risk"]
    assert f"cart.{SCRIPT}" in said(recorded, "apis", "show", f"POST /graphql query {MARKUP}")
    refused(eastwall(recorded, "apis", "show", "POST /graphql"), 2, "name one by its id", "ep_")
    refused(eastwall(recorded, "apis", "show", " "), 2, "name an API")


def test_what_is_not_known_is_not_found(recorded: Process) -> None:
    refused(eastwall(recorded, "apis", "nobody"), 4, "`nobody`")
    refused(eastwall(recorded, "apis", "no\x1b[31mbody"), 4, "`no?[31mbody`")
    refused(eastwall(recorded, "apis", "show", "GET /nothing"), 4, "`GET /nothing`")
    refused(eastwall(recorded, "apis", "show", "ep_000000000000"), 4, "ep_000000000000")
    refused(eastwall(recorded, "apis", "export", "--service", "nobody"), 4, "`nobody`")
    refused(eastwall(recorded, "apis", "export", "--service", "billing", "--format", "graphql"), 4, "GraphQL")
    refused(eastwall(recorded, "identities", "user:\x1b[31mnobody"), 4, "`user:?[31mnobody`")
    refused(eastwall(recorded, "changes", "--service", "nobody"), 4, "`nobody`")


def test_exports_are_read_by_what_reads_such_files(recorded: Process, tmp_path: Path) -> None:
    for version in ("3.0", "3.1"):
        document = json.loads(said(recorded, "apis", "export", "--service", "orders", "--version", version))
        validate(document)
        assert "/orders/{order_id}" in document["paths"]
    file = tmp_path / "orders.json"
    assert said(recorded, "apis", "export", "--service", "orders", "-o", str(file)) == ""
    assert json.loads(file.read_text()) == document
    assert "pay" in build_schema(said(recorded, "apis", "export", "--service", "shop", "--format", "graphql"), assume_valid=True).type_map[
        "Mutation"
    ].fields  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(said(recorded, "apis", "export", "--format", "csv"))))
    assert len(rows) == len(json.loads(said(recorded, "apis", "--json")))
    refused(eastwall(recorded, "apis", "export"), 2, "--service", "`billing`", "`orders`")
    for arguments in (("apis", "export", "--format", "csv"), ("graph", "export")):
        refused(eastwall(recorded, *arguments, "-o", str(tmp_path / "no" / "file")), 2, "cannot be written", "No such file")


def test_the_graph_is_the_same_in_each_format(recorded: Process) -> None:
    graph = json.loads(said(recorded, "graph", "export"))
    labels = {node["label"] for node in graph["nodes"]}
    assert labels >= {"internet", "pan", f"agent:{MARKUP}"}
    root = ElementTree.fromstring(said(recorded, "graph", "export", "--format", "graphml"))
    space = "{http://graphml.graphdrawing.org/xmlns}"
    assert len(root.findall(f".//{space}node")) == len(graph["nodes"])
    assert len(root.findall(f".//{space}edge")) == len(graph["edges"])
    assert labels <= {data.text for data in root.iter(f"{space}data")}
    dot = said(recorded, "graph", "export", "--format", "dot")
    # Its grammar has no `name=value` statements, and it takes `node [...]` for a node. Graphviz's does not.
    read = rustworkx.from_dot("\n".join(line for line in dot.splitlines() if not line.startswith(("  rankdir=", "  node ["))))
    assert (read.num_nodes(), read.num_edges()) == (len(graph["nodes"]), len(graph["edges"]))


def test_a_specification_that_differs_and_one_that_cannot_be_read(recorded: Process, tmp_path: Path) -> None:
    spec = tmp_path / "orders.json"
    spec.write_text(json.dumps(SPEC))
    done = eastwall(recorded, "apis", "diff", str(spec), "--service", "orders")
    assert (done.returncode, done.stderr) == (1, "")
    assert "undeclared-operation" in done.stdout
    assert eastwall(recorded, "apis", "diff", str(spec), "--service", "orders", "--fail-on", "never").returncode == 0
    told = eastwall(recorded, "apis", "diff", str(spec), "--service", "orders", "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["endpoints"] == 1
    refused(eastwall(recorded, "apis", "diff", str(spec)), 2, "--service")
    refused(eastwall(recorded, "apis", "diff", str(tmp_path / "none")), 2, "No such file")
    for content, words in (
        (b"\xff\xfe\x00", "UTF-8"),
        (b"no: spec", "declares no API"),
        (b"", "cannot be used"),
        (b"{" * 100_000, "cannot be used"),
    ):
        spec.write_bytes(content)
        refused(eastwall(recorded, "apis", "diff", str(spec), "--service", "orders"), 2, words)


@pytest.mark.parametrize(
    "command", [("apis", "--json"), ("identities",), ("graph", "export"), ("apis", "export", "--format", "csv")]
)
def test_a_pipe_that_closes_early_is_quiet(recorded: Process, command: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    process = subprocess.Popen([EASTWALL, *command, "--data", str(recorded.data)], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    os.close(reader)  # before anything is written: what `head` may do
    _, errors = process.communicate(timeout=60)
    assert errors == b""
    assert process.returncode in (0, 1)


def on_a_terminal(columns: int, *arguments: str) -> tuple[int, str]:
    """Exit code and what a terminal of so many columns was sent."""
    master, slave = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "LINES")}
    environment |= {"TERM": "xterm", "COLUMNS": str(columns)}
    process = subprocess.Popen([EASTWALL, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    sent = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and select.select([master], [], [], 60)[0]:
        try:
            piece = os.read(master, 65_536)
        except OSError:  # Linux: the other side is closed
            break
        if not piece:
            break
        sent += piece
    os.close(master)
    return process.wait(10), sent.decode()


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("apis",), ("/{order_id}", "mutation pay", "observed")),
        (("apis", "--sort", "risk"), ("/invoices", "observed")),
        (("data",), ("response", "cards[].", "pan")),
        (("identities",), ("user:u1", "user:u6")),
        (("findings",), ("no findings",)),
        (("paths",), ("cut  ", "billing GET /invoices")),
    ],
)
def test_a_terminal_shows_whole_words_and_no_escapes_of_others(
    recorded: Process, columns: int, command: tuple[str, ...], words: tuple[str, ...]
) -> None:
    code, sent = on_a_terminal(columns, *command, "--data", str(recorded.data))
    assert code == 0
    assert "\x1b]0" not in sent
    assert "\x1b[2J" not in sent
    for word in words:
        assert word in sent


def test_what_was_recorded_is_told_when_nothing_runs(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(EXPOSED)
    write(tmp_path, discovered())
    control = Process(tmp_path, "--policy", str(tmp_path / "policy.yaml")).ready()
    control.until("/api/v1/paths", bool)
    running = control.until("/api/v1/apis", lambda found: sum(a["calls"] for a in found) == len(discovered()))
    assert control.stop() == 0
    done = eastwall(control, "apis", "--json")
    assert done.returncode == 0
    assert {(a["id"], a["calls"], a["risk"]) for a in json.loads(done.stdout)} == {
        (a["id"], a["calls"], a["risk"]) for a in running
    }
    (line,) = done.stderr.splitlines()
    assert line == f"eastwall: Eastwall does not run on `{tmp_path}`; this is what was recorded there"
    code, sent = on_a_terminal(80, "paths", "--limit", "1", "--data", str(tmp_path))
    assert code == 0
    assert sent.index("this is what was recorded there") < sent.index("cut  ")
    refused(eastwall(control, "status"), 3, "eastwall up")
