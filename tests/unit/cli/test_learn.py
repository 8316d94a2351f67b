"""`eastwall learn`: the same as `import` and as live traffic, without keeping a call; states as files, merged; bad input in one line."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eastwall.cli.learn import learn
from eastwall.learning.learner import Learner
from eastwall.runtime import automata_file, learner_state
from eastwall.runtime.importing import Importer
from eastwall.runtime.layout import DataDir, open_data_dir
from eastwall.sources.reading import read

pytest.importorskip("chdb", reason="control is in the extra eastwall[all]")

START = 1_790_000_000.0


def token(user: str, role: str) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256"}, {"sub": user, "roles": [role]})]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "c2ln"])


def entry(at: float, user: str, method: str, path: str, body: Any, answer: Any) -> dict[str, Any]:
    role = "admin" if user == "root" else "user"
    made: dict[str, Any] = {
        "startedDateTime": datetime.fromtimestamp(at, UTC).isoformat(),
        "time": 3,
        "request": {
            "method": method,
            "url": f"https://shop.example{path}",
            "headers": [
                {"name": "Authorization", "value": f"Bearer {token(user, role)}"},
                {"name": "Content-Type", "value": "application/json"},
            ],
        },
        "response": {
            "status": 201 if method == "POST" else 200,
            "headers": [{"name": "Content-Type", "value": "application/json"}],
            "content": {"mimeType": "application/json", "text": json.dumps(answer)},
        },
    }
    if body is not None:
        made["request"]["postData"] = {"mimeType": "application/json", "text": json.dumps(body)}
    return made


def recording(path: Path, calls: int, seed: int = 1, start: float = START) -> Path:
    """A HAR of a shop: orders made, paid, listed and looked at by twelve users."""
    rng, entries, orders, number = random.Random(seed), [], {f"u{n}": [] for n in range(12)}, 1_000 * seed
    while len(entries) < calls:
        at, user, dice = start + 2 * len(entries), f"u{rng.randrange(12)}", rng.random()
        mine: list[int] = orders[user]
        if dice < 0.3 or not mine:
            number += rng.randrange(1, 4)
            mine.append(number)
            body = {"product": rng.randrange(30), "quantity": 1 + rng.randrange(5)}
            entries.append(entry(at, user, "POST", "/orders", body, {"id": number, "customer": user}))
            entries.append(entry(at + 1, user, "POST", f"/orders/{number}/pay", {"card": "x"}, {"paid": True}))
        elif dice < 0.5:
            entries.append(entry(at, user, "GET", "/orders", None, {"items": [{"id": n} for n in mine[-9:]]}))
        elif dice < 0.6:
            entries.append(entry(at, "root", "GET", "/reports", None, {"total": 3}))
        else:
            chosen = rng.choice(mine)
            entries.append(entry(at, user, "GET", f"/orders/{chosen}", None, {"id": chosen, "customer": user}))
    path.write_text(json.dumps({"log": {"version": "1.2", "creator": {"name": "t", "version": "1"}, "entries": entries}}))
    return path


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    """A data directory with its key and the compiled automata."""
    made = open_data_dir(tmp_path_factory.mktemp("ew") / "first")
    importer = Importer(made, "first")
    importer.close()
    automata_file.write(made.run / "automata", importer.engine.automata())
    return made


def directory(first: DataDir, at: Path) -> Path:
    """A new one with the same key."""
    made = open_data_dir(at)
    shutil.copy(first.secrets / "hash.key", made.secrets / "hash.key")
    shutil.copy(first.run / "automata", made.run / "automata")
    return made.root


def state(data: Path) -> Learner:
    found = learner_state.load(data / "learner" / "state")
    assert found is not None
    return Learner.from_bytes(found.state, (data / "secrets" / "hash.key").read_bytes())


def run(*arguments: object, code: int = 0) -> str:
    """A command in a process of its own: the lake's engine opens one directory per process."""
    path = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-m", "eastwall.cli.main", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=120)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout if not code else done.stderr


def facts(learner: Learner) -> list[Any]:
    """What hangs on no sampling: how much of the shapes engines sent depends on when a snapshot came."""
    found: list[Any] = []
    for e in learner.endpoints():
        found.append((e.id, e.template, e.status, e.calls, e.statuses, e.users, e.properties, e.property_calls, e.login))
        found.append([(o.place, o.kind, o.exclusive, o.by, o.broad) for o in e.objects])
        found.append(([(p.kind, p.label) for p in e.after], e.once is not None))
    return found


def test_learn_is_import_is_live(first: DataDir, tmp_path: Path) -> None:
    har = recording(tmp_path / "a.har", 700)
    learned, imported, live = (directory(first, tmp_path / name) for name in ("learned", "imported", "live"))
    run("learn", har, "--data", learned)
    run("import", har, "--data", imported)
    assert state(learned).endpoints() == state(imported).endpoints()
    assert state(learned).ownership(10**6) == state(imported).ownership(10**6)

    from eastwall.runtime.control import Control

    control = Control(DataDir(live))  # as it runs: records come over the spool, in batches
    try:
        control.publish()
        engine = Importer(DataDir(live), "engine")
        with har.open("rb") as file:
            for number, call in enumerate(read(file, "a.har")):
                engine.add(call)
                if number % 100 == 99:
                    engine.flush()
                    while control.record_batch(70):
                        pass
                    control.publish()
                    engine.reload()
        engine.close()
        while control.record_batch(70):
            pass
    finally:
        control.close()
    assert facts(state(live)) == facts(state(learned))
    assert state(live).ownership(10**6) == state(learned).ownership(10**6)
    assert any(e.after for e in state(live).endpoints()) or any(e.once for e in state(live).endpoints())


def test_states_merge_into_what_one_run_learns(first: DataDir, tmp_path: Path) -> None:
    data = directory(first, tmp_path / "data")
    a, b = recording(tmp_path / "a.har", 400), recording(tmp_path / "b.har", 400, seed=2, start=START + 5_000)
    run("learn", a, "--data", data, "--out", tmp_path / "a.state")
    run("learn", b, "--data", data, "--out", tmp_path / "b.state")
    assert not (data / "learner" / "state").exists()
    assert not (data / "lake").exists()
    assert os.stat(tmp_path / "a.state").st_mode & 0o777 == 0o600
    one, other = directory(first, tmp_path / "one"), directory(first, tmp_path / "other")
    told = json.loads(run("learn", "--merge", tmp_path / "a.state", tmp_path / "b.state", "--data", one, "--json"))
    run("learn", "--merge", tmp_path / "b.state", tmp_path / "a.state", "--data", other)
    assert told["services"][0]["service"] == "shop.example"
    assert told["services"][0]["exclusive"] == ["order"]
    assert told["services"][0]["learned"] == 4
    assert told["services"][0]["unjudged"] == ["GET /reports: 1 of 2 callers"]
    assert facts(state(one)) == facts(state(other))
    assert sum(e.calls for e in state(one).endpoints()) == told["calls"]
    assert state(one).ownership(10**6) == state(other).ownership(10**6)
    assert run("apis", "--data", one).count("/orders")


def test_the_summary_says_what_could_not_be_judged(first: DataDir, tmp_path: Path) -> None:
    data = directory(first, tmp_path / "data")
    out = run("learn", recording(tmp_path / "a.har", 30), "--data", data)
    assert "shop.example: not judged yet" in out
    assert "of 20 calls" in out
    assert "learned from " in out


def test_bad_input_is_one_line(first: DataDir, tmp_path: Path) -> None:
    data = directory(first, tmp_path / "data")
    (tmp_path / "junk").write_bytes(b"\x00\x01junk")
    run("learn", recording(tmp_path / "a.har", 30), "--data", data, "--out", tmp_path / "a.state")
    broken = tmp_path / "broken.state"
    broken.write_bytes((tmp_path / "a.state").read_bytes()[:-7])
    other = open_data_dir(tmp_path / "other").root
    for arguments, words in (
        ((tmp_path / "nothing", "--data", data), "cannot be read"),
        ((tmp_path / "junk", "--data", data), "junk"),
        (("--merge", tmp_path / "nothing", "--data", data), "does not exist"),
        (("--merge", tmp_path / "junk", "--data", data), "does not verify"),
        (("--merge", broken, "--data", data), "does not verify"),
        (("--merge", tmp_path / "a.state", "--data", other), "under the key of another data directory"),
    ):
        done = CliRunner().invoke(learn, [str(a) for a in arguments])
        assert done.exit_code == 2, (arguments, done.output, done.exception)
        (line,) = done.output.splitlines()
        assert line.startswith("eastwall: ")
        assert words in line
    assert not (data / "learner").exists()
