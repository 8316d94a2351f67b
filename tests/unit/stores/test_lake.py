"""The chdb lake beyond the port: analyst SQL from hostile hands, word search, series, retention, a second owner, kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from msgspec.structs import replace

from eastwall.model.finding import Finding
from eastwall.model.record import CallRecord

pytest.importorskip("chdb", reason="the lake is in the extra eastwall[all]")

from eastwall.stores.chdb.analyst import one_select
from eastwall.stores.chdb.lake import ChdbLake, LakeError

NOW = float(int(time.time()))
SQLI = Finding("sql-injection", "high", "medium", ("A03:2021",), "query.q", "closes a string", "1' UNION SELECT password")


def record(number: int, **changes) -> CallRecord:
    plain = CallRecord(1, f"ID{number:024d}", NOW - number, "orders", "GET", f"/orders/{number}", "o", 200, 1, 2, 3, "10.0.0.1")
    return replace(plain, **changes)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    made = ChdbLake(tmp_path_factory.mktemp("lake") / "lake")
    records = [record(n, findings=(SQLI,) if n % 10 == 0 else (), action="block" if n % 20 == 0 else "allow") for n in range(100)]
    made.insert(records, "a")
    yield made
    made.close()


GOOD = [
    "SELECT service, count() AS n FROM calls GROUP BY service",
    "select * from calls order by time desc limit 3;",
    "SELECT * EXCEPT (record) FROM calls LIMIT 1 -- the newest",
    "/* first */ WITH c AS (SELECT id, severity FROM calls) SELECT countIf(severity > 0), uniqExactIf(id, severity > 0) FROM c",
    "SELECT toStartOfMinute(time) AS m, quantile(0.9)(duration_us), topK(3)(actor) FROM calls GROUP BY m ORDER BY m",
    "SELECT f.detection, c.path FROM findings AS f JOIN calls AS c ON c.id = f.call WHERE f.severity >= 4 LIMIT 5",
    "SELECT arrayJoin(findings) AS d, count() FROM calls GROUP BY d HAVING count() > 1",
    "SELECT max(time) OVER (PARTITION BY service) FROM calls LIMIT 1",
    "SELECT CASE WHEN status >= 500 THEN 'bad' ELSE 'good' END, status::String, if(status = 200, 1, 0) FROM calls LIMIT 1",
    "SELECT count() FROM calls WHERE time > now() - INTERVAL 1 DAY AND path LIKE '/orders/%' AND id IN (SELECT call FROM findings)",
    "SELECT 'text with ; and INTO OUTFILE and -- inside' AS t",
    "SELECT 1 UNION ALL SELECT 2",
    "(SELECT 1)",
    "SELECT domain('http://a.example/x'), JSONExtractInt('{\"a\":1}', 'a'), splitByChar('/', path)[2] FROM calls LIMIT 1",
    "SELECT number FROM numbers(5)",
]


@pytest.mark.parametrize("sql", GOOD)
def test_what_analysts_write_is_accepted(lake, sql):
    assert lake.query(sql)


BAD = [
    "SELECT file('/etc/passwd')",
    "SELECT `file`('/etc/passwd')",
    "SELECT FiLe('/etc/passwd')",
    "SELECT arrayMap(x -> file(x), ['/etc/passwd'])",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM `/etc/passwd`",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:1/a/b', 'CSV')",
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM executable('ls', 'LineAsString', 'x String')",
    "SELECT * FROM python('x')",
    "SELECT * FROM merge('system', 'one')",
    "SELECT * FROM view(SELECT file('/etc/passwd'))",
    "SELECT * FROM eval('x')",
    "SELECT 1 INTO OUTFILE '{path}'",
    "SELECT 1 into/**/outfile '{path}'",
    "SELECT * FROM (SELECT 1) INTO OUTFILE '{path}' FORMAT CSV",
    "SELECT 1; SELECT 2",
    "SELECT 1;; SELECT 2",
    "SELECT 1 ; INSERT INTO calls (id) VALUES ('x')",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT * FROM (SELECT 1 SETTINGS max_execution_time = 1000)",
    "SET readonly = 0",
    "SELECT * FROM system.tables",
    'SELECT * FROM "system"."tables"',
    "SELECT * FROM information_schema.tables",
    "SELECT id IN system.one FROM calls",
    "KILL QUERY WHERE 1",
    "SYSTEM SHUTDOWN",
    "EXPLAIN SELECT 1",
    "SHOW TABLES",
    "SELECT COLUMNS('id') APPLY(file) FROM calls",
    "SELECT dictGet('a', 'b', 1)",
    "SELECT joinGet('a', 'b', 1)",
    "SELECT hasColumnInTable('127.0.0.1:1', 'u', 'p', 'system', 'one', 'dummy')",
    "SELECT getSetting('readonly'), hostName()",
    "SELECT sleep(3)",
    "SELECT addressToLine(1)",
    "SELECT aiGenerate('a', 'b')",
    "SELECT $$text$$",
    "SELECT @@version",
    "SELECT \u2018a\u2019",
    "SELECT 'open",
    "SELECT /* open",
    "SELECT 1 \\G",
    "SELECT nothing FROM calls",
    "SELECT * FROM passwords",
    "SELEC 1",
    "SELECT 1 FORMAT CSV",
    "SELECT {a:String}",
    "SELECT '\0'",
    "",
    ";",
    "SELECT " + "1+" * 20_000 + "1",
]


@pytest.mark.parametrize("sql", BAD, ids=lambda sql: sql[:40])
def test_what_reaches_out_or_changes_is_refused_with_one_line(lake, sql, tmp_path, capfd):
    target = tmp_path / "out"
    with pytest.raises(ValueError, match=r".") as raised:
        lake.query(sql.replace("{path}", str(target)))
    assert "\n" not in str(raised.value)
    assert "root:" not in str(raised.value)
    assert not target.exists()
    assert lake.count() == 100


def test_limits_of_time_rows_and_memory_hold(lake):
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"longer than 0\.5 s"):
        lake.query("SELECT sum(sipHash64(number)) FROM numbers(100000000000)", seconds=0.5)
    assert time.monotonic() - started < 20
    with pytest.raises(ValueError, match=r"more memory|more than"):
        lake.query("SELECT groupArray(number) FROM numbers(1000000000)", seconds=60)
    with pytest.raises(ValueError, match="more than 5 rows"):
        lake.query("SELECT id FROM calls", rows=5)
    assert lake.query("SELECT 1 AS one") == [{"one": 1}], "limits of one query are not left on the next"


def test_parameters_are_values_whatever_they_hold(lake):
    hostile = "x' OR 1=1; DROP TABLE calls --\\"
    assert lake.query("SELECT {v:String} AS v", parameters={"v": hostile}) == [{"v": hostile}]
    assert lake.calls(service=hostile) == []
    assert lake.call(hostile) is None
    assert lake.count() == 100


def test_comments_are_gone_and_strings_stay():
    assert one_select("SELECT 'a -- b', /* c */ 1 -- d") == "SELECT 'a -- b',   1"
    assert one_select(" SELECT '\\'' ; ") == "SELECT '\\''"


def test_words_of_the_evidence_are_found(lake):
    assert lake.query("SELECT count() AS n FROM calls WHERE hasToken(evidence, 'password')") == [{"n": 10}]
    assert lake.query("SELECT count() AS n FROM findings WHERE hasToken(evidence, 'UNION')") == [{"n": 10}]
    assert lake.query("SELECT count() AS n FROM findings WHERE hasToken(evidence, 'nowhere')") == [{"n": 0}]


def test_findings_come_with_their_call(lake):
    first, second = lake.findings(limit=2)
    assert first["time"] > second["time"]
    assert first["call"] == record(0).id
    assert (first["id"], first["severity"], first["confidence"], first["where"]) == ("sql-injection", "high", "medium", "query.q")
    assert first["owasp"] == ["A03:2021"]
    assert len(lake.findings()) == 10
    assert lake.findings(service="nobody") == []
    assert len(lake.findings(since=NOW - 45)) == 5


def test_series_has_every_second(lake):
    series = lake.series(10, NOW + 1)
    assert [second for second, *_ in series] == [int(NOW) - 9 + n for n in range(10)]
    assert [calls for _, calls, _, _ in series] == [1] * 10
    assert series[-1] == (int(NOW), 1, 1, 1)
    assert lake.series(3, NOW + 1000) == [(int(NOW) + 997 + n, 0, 0, 0) for n in range(3)]


def test_totals_and_stats(lake):
    assert lake.totals() == {"calls": 100, "flagged": 10, "blocked": 5, "redacted": 0, "findings": 10}
    (stats,) = lake.endpoint_stats()
    assert (stats["service"], stats["calls"], stats["flagged"], stats["blocked"]) == ("orders", 100, 10, 5)
    assert lake.disk_bytes() > 0
    assert lake.uninspected() == {}


def test_flagged_calls_are_also_those_that_enforce_would_stop(tmp_path, lake):
    lake.insert([record(500, would="block", service="other"), record(501, service="other")], "flagged")
    try:
        assert [r.id for r in lake.calls(service="other", only_flagged=True)] == [record(500).id]
    finally:
        lake._writer.command("DELETE FROM calls WHERE service = 'other'")


def run(code: str, tmp_path) -> str:
    text = f"import sys\nsys.path[:0] = {sys.path!r}\nfrom pathlib import Path\nPATH = Path({str(tmp_path / 'lake')!r})\n"
    text += textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_retention_drops_whole_days(tmp_path):
    out = run(
        """
        from eastwall.model.record import CallRecord
        from eastwall.stores.chdb.lake import ChdbLake
        lake = ChdbLake(PATH)
        day = 86_400
        old = 1_700_000_000.0
        made = [CallRecord(1, f"id{n}", old + n * day, "s", "GET", "/", "o", 200, 1, 2, 3, "") for n in range(10)]
        lake.insert(made, "a")
        print(lake.expire(old + 4 * day), lake.count(), lake.expire(old + 4 * day), lake.call("id3"), lake.call("id4").id)
        """,
        tmp_path,
    )
    assert out == "['20231114', '20231115', '20231116', '20231117'] 6 [] None id4\n"


def test_a_second_process_is_refused_with_one_line(tmp_path):
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from eastwall.stores.chdb.lake import ChdbLake
lake = ChdbLake(Path({str(tmp_path / "lake")!r}))
print("open", flush=True)
sys.stdin.read()
"""
    owner = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout.readline() == "open\n"
        out = run(
            """
            from eastwall.stores.chdb.lake import ChdbLake, LakeError
            try:
                ChdbLake(PATH)
            except LakeError as error:
                print(error)
            """,
            tmp_path,
        )
    finally:
        owner.communicate("")
    assert out.startswith("the lake in `")
    assert out.count("\n") == 1


def test_kill_9_while_inserting_loses_no_acknowledged_batch_and_stores_none_twice(tmp_path):
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from eastwall.model.record import CallRecord
from eastwall.stores.chdb.lake import ChdbLake
lake = ChdbLake(Path({str(tmp_path / "lake")!r}))
for batch in range(int(sys.argv[1]), 10_000):
    made = [CallRecord(1, f"{{batch}}-{{n}}", 1_700_000_000.0, "s", "GET", "/", "o", 200, 1, 2, 3, "") for n in range(200)]
    lake.insert(made, f"token-{{batch}}")
    print(batch, flush=True)
"""
    done = -1
    for _ in range(3):
        # Each life inserts again the batch that may or may not have got in before the kill, under its token.
        child = subprocess.Popen([sys.executable, "-c", code, str(done + 1)], stdout=subprocess.PIPE, text=True)
        for _ in range(15):
            done = int(child.stdout.readline())
        time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        rest = child.stdout.read().split()
        done = int(rest[-1]) if rest else done
        child.wait()
        child.stdout.close()
    out = run(
        f"""
        from eastwall.stores.chdb.lake import ChdbLake
        lake = ChdbLake(PATH)
        rows = lake.query("SELECT toUInt32(splitByChar('-', id)[1]) AS batch, count() AS n, uniqExact(id) AS ids FROM calls GROUP BY batch")
        assert all(r["n"] == r["ids"] == 200 for r in rows), rows
        print(len({{r["batch"] for r in rows}} & set(range({done} + 1))))
        """,
        tmp_path,
    )
    assert int(out) == done + 1 >= 45


def test_a_broken_folder_is_one_line(tmp_path):
    path = tmp_path / "lake"
    path.write_text("a file")
    with pytest.raises(LakeError, match=r"lake` cannot be opened: File exists"):
        ChdbLake(path)


def test_without_the_extra_it_says_what_to_install(tmp_path):
    out = run(
        """
        sys.modules["clickhouse_connect"] = None
        from eastwall.stores.chdb.lake import ChdbLake, MissingExtraError
        try:
            ChdbLake(PATH)
        except MissingExtraError as error:
            print(error)
        """,
        tmp_path,
    )
    assert out == "the lake needs the package `clickhouse_connect`: install eastwall[all]\n"
