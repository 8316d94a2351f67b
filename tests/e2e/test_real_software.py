"""Software that we did not write, unmodified, behind Eastwall: datasette on a SQLite file, and Prism serving a published OpenAPI
document with schemathesis as its client."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openapi_spec_validator
import pytest
from tests.e2e.harness import Running, eventually, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NODE = Path(__file__).parent / "node"
BUILD = Path(__file__).parents[2] / "build" / "node"
HOP = {"date", "connection", "keep-alive", "transfer-encoding", "content-length", "etag"}


def started(command: list[str], port: int, log: Path, **environment: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **environment})

    def listening() -> bool:
        assert process.poll() is None, log.read_text()
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    eventually(listening, timeout=60, what=f"{command[0]} listens")
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def same(direct: httpx.Response, through: httpx.Response) -> None:
    """Byte for byte the same body, the same status, the same headers but for those of the connection."""
    assert through.status_code == direct.status_code
    assert through.content == direct.content
    ours = {k: v for k, v in through.headers.items() if k not in HOP}
    theirs = {k: v for k, v in direct.headers.items() if k not in HOP}
    assert ours == theirs


def templates(up: Running) -> set[str]:
    return {f"{a['method']} {a['template']}" for a in up.api.get("/apis").json()}


@pytest.fixture(scope="module")
def datasette(short_dir: Path) -> Iterator[str]:
    path = short_dir / "library.db"
    db = sqlite3.connect(path)
    db.executescript(
        "CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT, author TEXT); CREATE TABLE loans (id INTEGER PRIMARY KEY, book INTEGER, day TEXT);"
    )
    db.executemany("INSERT INTO books VALUES (?, ?, ?)", [(n, f"The {n}th O'Reilly book", "A. Writer") for n in range(1, 200)])
    db.executemany("INSERT INTO loans VALUES (?, ?, ?)", [(n, n, "2026-01-01") for n in range(1, 200)])
    db.commit()
    db.close()
    port = free_port()
    process = started(
        [sys.executable, "-m", "datasette", str(path), "--port", str(port), "--setting", "default_page_size", "5"],
        port,
        short_dir / "datasette.log",
    )
    yield f"http://127.0.0.1:{port}"
    stop(process)


def test_datasette(datasette: str, short_dir: Path, adapter: str) -> None:
    directory = short_dir / f"ds-{adapter}"
    directory.mkdir()
    up = Running(directory, "--upstream", f"library={datasette}@{free_port()}", "--adapter", adapter)
    try:
        # One Host for both: datasette writes it into its links.
        host = {"host": "library.test"}
        with (
            httpx.Client(base_url=up.address("library"), headers=host, timeout=30) as through,
            httpx.Client(base_url=datasette, headers=host, timeout=30) as direct,
        ):
            calls = [f"/library/{table}/{n}.json?_shape=array" for table in ("books", "loans") for n in range(1, 40)]
            calls += [
                "/-/versions.json",
                "/library/books.json?_shape=array&_size=3",
                "/library/books.json?_shape=array&_search=the+union+of+tables",
                "/-/static/app.css",
            ]
            for path in calls:
                same(direct.get(path), through.get(path))
            wanted = {"GET /library/books/{book_id}.json", "GET /library/loans/{loan_id}.json"}
            eventually(lambda: templates(up) >= wanted, what="templates")
            blueprint_of_datasette(up)

            assert up.cli("mode", "enforce").returncode == 0
            attack = {"_shape": "array", "author": "x' UNION SELECT 1, sql, 3 FROM sqlite_master --"}
            blocked = eventually(lambda: (a := through.get("/library/books.json", params=attack)).status_code == 403 and a)
            assert blocked.json()["event_id"]
            for path in calls:
                same(direct.get(path), through.get(path))
    finally:
        assert up.stop() == 0


def blueprint_of_datasette(up: Running) -> None:
    """What is told of a service without a specification: paths, schemas, callers, all true of datasette."""
    document = json.loads(up.cli("apis", "export").stdout)
    openapi_spec_validator.validate(document)
    row = document["paths"]["/library/books/{book_id}.json"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    properties = row["items"]["properties"]
    assert {name: schema["type"] for name, schema in properties.items()} == {
        "id": "integer",
        "title": "string",
        "author": "string",
    }
    assert set(row["items"]["required"]) == {"id", "title", "author"}
    (book,) = up.api.get("/apis", params={"search": "book_id"}).json()
    assert (book["state"], book["protocol"], book["actors"]) == ("observed", "rest", 1)
    assert "orphan" in book["flags"]
    assert book["parameters"] == [{"name": "book_id", "kind": "integer"}]
    shown = up.cli("apis", "show", "GET /library/books/{book_id}.json")
    assert shown.returncode == 0
    assert "[].author" in shown.stdout
    assert up.cli("apis", "library").stdout.count("/{book_id}.json") == 1
    assert "address:127.0.0.1" in up.cli("identities").stdout
    graph = json.loads(up.cli("graph", "export").stdout)
    assert {node["id"] for node in graph["nodes"]} >= {"service:library", f"operation:{book['id']}"}


@pytest.fixture(scope="module")
def prism() -> Path:
    """Prism's command, installed once into build/node."""
    command = BUILD / "node_modules" / ".bin" / "prism"
    npm = shutil.which("npm")
    if not command.exists():
        if npm is None:
            pytest.skip("Prism needs Node.js and npm, which are not installed")
        BUILD.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NODE / name, BUILD / name)
        done = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=BUILD, capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"Prism cannot be installed with npm: {done.stderr.strip().splitlines()[-1:]}")
    return command


def operations(document: dict[str, Any]) -> set[str]:
    """Those that can succeed: some of this document declare errors only, and what never succeeds is no API yet."""
    methods = {"get", "post", "put", "patch", "delete"}
    return {
        f"{m.upper()} {path}"
        for path, item in document["paths"].items()
        for m in item
        if m in methods and any(status.startswith("2") for status in item[m]["responses"])
    }


def blank(template: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in template.split("/"))


def test_prism_with_schemathesis(prism: Path, short_dir: Path, adapter: str) -> None:
    specification = BUILD / "node_modules" / "@readme" / "oas-examples" / "3.0" / "json" / "petstore.json"
    document = json.loads(specification.read_text())
    document["servers"] = [{"url": "http://127.0.0.1"}]  # Prism serves below the path of the document's server
    port, directory = free_port(), short_dir / f"prism-{adapter}"
    directory.mkdir()
    # No security schemes: Prism would answer 401 to most of what is sent, and nothing would be learned.
    document.pop("security", None)
    for item in document["paths"].values():
        for operation in item.values():
            if isinstance(operation, dict):
                operation.pop("security", None)
    served = directory / "petstore.json"
    served.write_text(json.dumps(document))
    # Prism 5.14 itself dies of some multipart bodies for uploadImage, with or without Eastwall: left out.
    document["paths"] = {path: item for path, item in document["paths"].items() if "uploadImage" not in path}
    served.write_text(json.dumps(document))
    server = started([str(prism), "mock", str(served), "-p", str(port), "--ignore-examples"], port, directory / "prism.log")
    up = Running(directory, "--upstream", f"petstore=http://127.0.0.1:{port}@{free_port()}", "--adapter", adapter)
    try:
        run = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"), "run", str(served), "--url", up.address("petstore"),
                "--max-examples", "30", "--phases", "examples,fuzzing", "--mode", "positive", "--checks", "not_a_server_error", "--seed", "1",
                "--generation-deterministic", "--workers", "1", "--max-failures", "1000", "--header", "accept: application/json",
            ],
            capture_output=True, text=True, timeout=200, check=False, cwd=directory,
        )  # fmt: skip
        assert "Test cases:" in run.stdout or "generated" in run.stdout, run.stdout[-2000:] + run.stderr[-2000:]
        declared = {blank(op.split(" ")[0] + " " + op.split(" ")[1]) for op in operations(document)}
        found: set[str] = set()

        def most_found() -> bool:
            found.update({blank(x) for x in templates(up)})
            return len(found & declared) >= len(declared) * 0.8

        with contextlib.suppress(pytest.fail.Exception):
            eventually(most_found, timeout=20)
        assert len(found & declared) / len(declared) >= 0.8, (sorted(declared - found), sorted(found), run.stdout[-3000:])

        # What is seen is what is declared, but for what schemathesis makes up: properties of its own in requests.
        told = json.loads(up.cli("apis", "diff", str(served), "--json", "--fail-on", "never").stdout)
        assert (told["kind"], told["faults"]) == ("openapi", [])
        assert any(d["kind"] == "undeclared-field" and d["place"].startswith("request.") for d in told["drift"])
        wrong = [d for d in told["drift"] if d["kind"] in ("undeclared-operation", "undeclared-field", "type-mismatch")]
        assert [d for d in wrong if not d["place"].startswith("request.")] == []
        openapi_spec_validator.validate(json.loads(up.cli("apis", "export", "--service", "petstore", "--version", "3.0").stdout))

        calls = [f"/pet/{n}" for n in range(1, 10)] + [f"/store/order/{n}" for n in range(1, 5)]
        with httpx.Client(base_url=up.address("petstore"), timeout=30) as through:
            assert up.cli("mode", "enforce").returncode == 0
            attack = {"id": 1, "name": "x'; DROP TABLE pets; --", "photoUrls": ["u"]}
            eventually(lambda: through.post("/pet", json=attack).status_code == 403, what="the injection is blocked")
            for path in calls:
                assert through.get(path, headers={"accept": "application/json"}).status_code == 200
    finally:
        stop(server)
        assert up.stop() == 0
