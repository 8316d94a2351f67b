"""`policy replay`, `policy diff` and the guard of `policy apply`, on a real control process with a real lake."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace
from tests.unit.console.processes import Process, attack, call, write

from eastwall.cli.client import Client
from eastwall.cli.manage import policy
from eastwall.cli.policy_replay import Api
from eastwall.model.record import CallRecord
from eastwall.runtime.policy_replay import records

pytest.importorskip("chdb", reason="control is in the extra eastwall[all]")

NOBODY = """\
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: staff-only}
spec:
  action: allow
  scope: {services: [orders], identities: {roles: [staff]}}
"""
U1 = """\
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: not-u1}
spec:
  action: deny
  scope: {identities: {actors: ["user:u1"]}}
  reason: u1 has left.
"""
QUIET = U1.replace("user:u1", "user:nobody")


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """Control with 200 calls of seven users to two services, and an attack."""
    path = Path(tempfile.mkdtemp(prefix="ew"))
    write(path, [*(call(n) for n in range(200, 0, -1)), attack()])
    control = Process(path).ready()
    control.until("/api/v1/status", lambda s: s["lake"]["calls"] == 201 and s["learner"]["endpoints"] >= 2)
    yield path
    assert control.stop() == 0, control.log.read_text()
    shutil.rmtree(path, ignore_errors=True)


def file(directory: Path, text: str) -> str:
    path = directory / "p.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return str(path)


def run(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(policy, [*arguments, "--data", str(data)])


def test_replay_says_who_would_be_blocked_and_fails(data: Path, tmp_path: Path) -> None:
    told = run(data, "replay", file(tmp_path, U1))
    assert told.exit_code == 1, told.output
    assert "201 calls of the last 7 days" in told.output
    assert f"AccessPolicy `not-u1` ({tmp_path}/p.yaml:1): u1 has left." in told.output
    found = json.loads(run(data, "replay", file(tmp_path, U1), "--json").output)
    mine = sum(1 for n in range(1, 201) if n % 7 == 1)
    assert found["totals"]["blocked"] == found["totals"]["blocked_legitimate"] == mine
    assert found["totals"]["unchanged"] == 201 - mine
    assert {group["service"] for group in found["groups"]} == {"orders", "billing"}
    # So many are allowed: the exit code says yes.
    assert run(data, "replay", file(tmp_path, U1), "--allow-blocked", str(mine)).exit_code == 0
    assert run(data, "replay", file(tmp_path, U1), "--allow-blocked", str(mine - 1)).exit_code == 1
    assert run(data, "replay", file(tmp_path, U1), "--allow-blocked", "50%").exit_code == 0
    assert run(data, "replay", file(tmp_path, QUIET)).exit_code == 0


def test_replay_of_one_service_some_calls_or_none(data: Path, tmp_path: Path) -> None:
    one = json.loads(run(data, "replay", file(tmp_path, U1), "--service", "billing", "--json").output)
    assert one["totals"]["calls"] == 100
    some = json.loads(run(data, "replay", file(tmp_path, U1), "--limit", "30", "--json").output)
    assert some["totals"]["calls"] == 30
    none = json.loads(run(data, "replay", file(tmp_path, U1), "--service", "nothing", "--json").output)
    assert none["totals"]["calls"] == 0
    assert "no calls to `nothing` were recorded in that time" in none["notes"][0]


def test_modes_as_set_block_nobody_where_services_only_discover(data: Path, tmp_path: Path) -> None:
    found = json.loads(run(data, "replay", file(tmp_path, U1), "--modes", "as-set", "--json").output)
    assert found["totals"]["blocked"] == 0


def test_diff_of_two_and_of_the_applied_one(data: Path, tmp_path: Path) -> None:
    a, b = file(tmp_path / "a", U1), file(tmp_path / "b", U1 + "---\n" + U1.replace("u1", "u2"))
    found = json.loads(run(data, "diff", a, b, "--json").output)
    mine = sum(1 for n in range(1, 201) if n % 7 == 2)
    assert (found["totals"]["blocked"], found["totals"]["passed"]) == (mine, 0)
    back = json.loads(run(data, "diff", b, a, "--json").output)
    assert (back["totals"]["blocked"], back["totals"]["passed"]) == (0, mine)
    assert back["groups"][0]["policy"] == "not-u2"
    assert run(data, "diff", b, a).exit_code == 0
    assert run(data, "diff", a).exit_code == 1


def test_explain_tells_who_is_asked_in_which_order_and_what_comes_of_it(data: Path, tmp_path: Path) -> None:
    path = file(tmp_path, U1 + "---\n" + U1.replace("not-u1", "not-u2").replace("user:u1", "user:u2") + "---\n" + NOBODY)
    (found,) = [one for one in records(Api(Client(data)), 0.0, time.time()) if one.actor == "user:u1"][:1]
    told = run(data, "explain", path, found.id)
    assert told.exit_code == 0, told.output
    lines = told.output.splitlines()
    assert lines[0].startswith(f"  1  access deny: AccessPolicy `not-u1` ({tmp_path}/p.yaml:1)  applies")
    assert "not-u2" in lines[1]
    assert "does not apply: it is not about callers such as `user:u1` (verified)" in lines[1]
    assert "the message was blocked" in told.output
    assert f"block: AccessPolicy `not-u1` ({tmp_path}/p.yaml:1): u1 has left." in told.output
    made_up = run(data, "explain", path, "GET /orders/17", "--service", "orders", "--caller", "user:zoe", "--role", "staff")
    assert "AccessPolicy `staff-only`" in made_up.output
    assert "the message was let through" in made_up.output
    assert run(data, "explain", path, "nonsense!").exit_code == 4
    assert run(data, "explain", path, "GET /x").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--since", "7"), "`7` is not a duration"),
        (("--allow-blocked", "101%"), "`101%` is neither"),
        (("--allow-blocked", "1.5"), "`1.5` is neither"),
    ],
)
def test_bad_options_are_one_line(data: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    told = run(data, "replay", file(tmp_path, U1), *arguments)
    assert told.exit_code == 2
    assert message in told.output


def test_faults_in_policies_are_told(data: Path, tmp_path: Path) -> None:
    told = run(data, "replay", file(tmp_path, U1.replace("deny", "dney")))
    assert told.exit_code == 1
    assert "p.yaml:5:11: `spec.action` cannot be `dney`" in told.output


def test_apply_refuses_what_blocks_most_and_takes_it_by_force(data: Path, tmp_path: Path) -> None:
    refused = run(data, "apply", file(tmp_path, NOBODY))
    assert refused.exit_code == 1
    assert "these policies would block 100 of 100 legitimate calls to `orders` of the last 7 days (100 %)" in refused.output
    assert "--force" in refused.output
    taken = run(data, "apply", file(tmp_path, NOBODY), "--force")
    assert taken.exit_code == 0, taken.output
    small = run(data, "apply", file(tmp_path, U1))
    assert small.exit_code == 0
    assert "tried on 201 calls of the last 7 days" in small.output
    assert run(data, "apply", file(tmp_path, QUIET)).exit_code == 0


def test_pages_in_order_hold_every_call_once_whatever_their_size() -> None:
    path = Path(tempfile.mkdtemp(prefix="ew"))
    now = float(int(time.time()))
    # Many at the very same time: pages end between them.
    made = [replace(call(1), id=f"ID{n:024d}", time=now - n // 7, service="billing" if n % 3 else "orders") for n in range(60)]
    write(path, made)
    control = Process(path).ready()
    try:
        control.until("/api/v1/status", lambda s: s["lake"]["calls"] == 60)
        lake = Api(Client(path))
        expected = sorted((one.time, one.id) for one in made)
        for size in (1, 5, 7, 60, 100):
            since, after, got = now - 100, "", []
            while page := msgspec.msgpack.decode(lake.in_order(since, now + 1, after=after, limit=size), type=list[bytes]):
                got += [msgspec.msgpack.decode(one, type=CallRecord) for one in page]
                since, after = got[-1].time, got[-1].id
            assert [(one.time, one.id) for one in got] == expected
        assert [one.service for one in records(lake, now - 100, now + 1, "orders")] == ["orders"] * 20
        assert len(list(records(lake, now - 100, now + 1, limit=13))) == 13
        assert [one.time for one in records(lake, now - 2, now - 1)] == [now - 2] * 7 + [now - 1] * 7
        extent = lake.extent(now - 100, now + 1, "orders")
        assert (extent["calls"], extent["first"], extent["last"]) == (20, now - 8, now)
        nothing = lake.extent(now + 5, now + 6)
        assert (nothing["calls"], nothing["first"], nothing["last"]) == (0, 0.0, 0.0)
    finally:
        assert control.stop() == 0
        shutil.rmtree(path, ignore_errors=True)


def test_apply_without_traffic_says_so_and_goes_on(tmp_path: Path) -> None:
    path = Path(tempfile.mkdtemp(prefix="ew"))
    (path / "spool").mkdir(mode=0o700)
    control = Process(path).ready()
    try:
        told = run(path, "apply", file(tmp_path, NOBODY))
        assert told.exit_code == 0, told.output
        assert "no calls were recorded in the last 7 days: not tried on any" in told.output
    finally:
        assert control.stop() == 0
        shutil.rmtree(path, ignore_errors=True)
