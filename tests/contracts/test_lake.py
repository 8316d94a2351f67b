"""What every `Lake` keeps. `MemoryLake` is the obvious twin, here only; `ChdbLake` is the real one."""

from __future__ import annotations

import re
import sqlite3
import time

import msgspec
import pytest
from msgspec.structs import replace

from eastwall.model.call import Mode
from eastwall.model.decision import PolicyMatch
from eastwall.model.facts import DataHit, Field
from eastwall.model.finding import Finding
from eastwall.model.record import CallRecord

NOW = float(int(time.time()))


def record(number: int, **changes) -> CallRecord:
    plain = CallRecord(1, f"ID{number:024d}", NOW - number, "orders", "GET", f"/orders/{number}", "o", 200, 1, 2, 3, "10.0.0.1")
    return replace(plain, **changes)


FULL = record(
    0,
    path="/orders/'\"\\\n\t%00\u2603<script>",
    authority="orders.local:8080",
    endpoint="ep_0123456789ab",
    template="/orders/{order_id}",
    actor="user:o'brien",
    actor_kind="user",
    actor_class="user+admin",
    strength=3,
    principals=("user:o'brien", "client:web"),
    roles=("admin", "a,b"),
    identity_faults=("jwt-expired",),
    query_names=("q",),
    properties=("items[].sku",),
    sampled=True,
    request_fields=(Field("items[].price", "number", number=1.5),),
    response_fields=(Field("email", "string", "email", "email", 20),),
    used=(("path.order_id", "order", -(2**63)),),
    given=(("order", 2**63 - 1),),
    findings=(
        Finding("sql-injection", "high", "medium", ("A03:2021",), "query.q", "closes a string", "' OR 1=1--"),
        Finding("object-not-granted", "critical", "high", ("API1:2023",), "path.order_id", "not given", "", "request"),
    ),
    data=(DataHit("email", "body.email", "a***@x.org"),),
    action="block",
    would="block",
    matches=(PolicyMatch("p", "DetectionPolicy", "a.yaml:3", Mode.ENFORCE, "block", "because", "sql-injection", "do not"),),
    uninspected=("request-body-truncated",),
    snapshot=2**53,
    decide_us=41,
    user_agent="x" * 500,
    trace="0af7651916cd43dd8448eb211c80319c",
    engine="0",
)


class MemoryLake:
    """A list, and SQLite for queries."""

    def __init__(self, path):
        self.records: list[CallRecord] = []
        self.tokens: set[str] = set()

    def insert(self, records, token):
        if token not in self.tokens:
            self.tokens.add(token)
            self.records += records

    def call(self, event_id):
        return next((r for r in self.records if r.id == event_id), None)

    def calls(self, *, service="", actor="", since=0.0, limit=100, only_findings=False):
        found = [
            r
            for r in self.records
            if r.time >= since and service in ("", r.service) and actor in ("", r.actor) and (r.findings or not only_findings)
        ]
        return sorted(found, key=lambda r: (r.time, r.id), reverse=True)[:limit]

    def count(self):
        return len(self.records)

    def query(self, sql, *, seconds=10.0, rows=10_000):
        if not re.match(r"\s*select\b", sql, re.IGNORECASE):
            raise ValueError("only a SELECT statement is accepted")
        database = sqlite3.connect(":memory:")
        database.row_factory = sqlite3.Row
        try:
            database.execute("CREATE TABLE calls (id, service, status, time)")
            database.executemany(
                "INSERT INTO calls VALUES (?, ?, ?, ?)", [(r.id, r.service, r.status, r.time) for r in self.records]
            )
            found = [dict(row) for row in database.execute(sql).fetchmany(rows + 1)]
        except sqlite3.Error as error:
            raise ValueError(str(error)) from None
        finally:
            database.close()
        if len(found) > rows:
            raise ValueError(f"the query gave more than {rows} rows")
        return found

    def close(self):
        pass


def chdb_lake(path):
    pytest.importorskip("chdb", reason="the lake is in the extra eastwall[all]")
    from eastwall.stores.chdb.lake import ChdbLake

    return ChdbLake(path)


@pytest.fixture(params=[MemoryLake, chdb_lake], ids=["memory", "chdb"])
def lake(request, tmp_path):
    made = request.param(tmp_path / "lake")
    yield made
    made.close()


def test_an_empty_lake_answers(lake):
    assert lake.count() == 0
    assert lake.call("ID") is None
    assert lake.calls() == []
    assert lake.query("SELECT count(*) AS n FROM calls") == [{"n": 0}]


def test_a_record_comes_back_whole(lake):
    lake.insert([FULL, record(1)], "a")
    assert lake.call(FULL.id) == FULL
    assert lake.call(record(1).id) == record(1)
    assert lake.calls(limit=1) == [FULL]


def test_the_same_token_twice_stores_once(lake):
    batch = [record(n, findings=FULL.findings) for n in range(5_000)]
    lake.insert(batch, "a")
    lake.insert(batch, "a")
    assert lake.count() == 5_000
    lake.insert([record(n) for n in range(5_000, 5_010)], "b")
    lake.insert(batch, "a")
    assert lake.count() == 5_010
    assert lake.query("SELECT count(DISTINCT id) AS n FROM calls") == [{"n": 5_010}]


def test_a_batch_over_many_days_is_stored_once(lake):
    batch = [record(n, time=NOW - n * 86_400) for n in range(150)]
    lake.insert(batch, "a")
    lake.insert(batch, "a")
    assert lake.count() == 150


def test_an_empty_batch_is_nothing(lake):
    lake.insert([], "a")
    assert lake.count() == 0


def test_calls_are_filtered_and_newest_first(lake):
    lake.insert([record(n, service="billing" if n % 2 else "orders", actor=f"user:{n % 3}") for n in range(30)], "a")
    lake.insert([record(100, findings=FULL.findings, actor="user:0")], "b")
    assert [r.id for r in lake.calls(limit=5)] == [record(n).id for n in range(5)]
    assert {r.service for r in lake.calls(service="billing")} == {"billing"}
    assert len(lake.calls(service="billing", actor="user:1")) == 5
    assert [r.id for r in lake.calls(since=NOW - 3)] == [record(n).id for n in range(4)]
    assert [r.id for r in lake.calls(only_findings=True)] == [record(100).id]
    assert lake.calls(service="x' OR 1=1 --") == []
    assert lake.calls(actor="user:0') --") == []


def test_queries_read_and_only_read(lake):
    lake.insert([record(n, status=500 if n < 3 else 200) for n in range(10)], "a")
    assert lake.query("SELECT status, count(*) AS n FROM calls GROUP BY status ORDER BY status") == [
        {"status": 200, "n": 7},
        {"status": 500, "n": 3},
    ]
    for sql in ("DROP TABLE calls", "INSERT INTO calls (id) VALUES ('x')", "", "ALTER TABLE calls DELETE WHERE 1"):
        with pytest.raises(ValueError, match=r".") as raised:
            lake.query(sql)
        assert "\n" not in str(raised.value)
    assert lake.count() == 10


def test_a_query_is_limited_in_rows(lake):
    lake.insert([record(n) for n in range(100)], "a")
    assert len(lake.query("SELECT id FROM calls", rows=100)) == 100
    with pytest.raises(ValueError, match="more than 99 rows"):
        lake.query("SELECT id FROM calls", rows=99)


def test_the_memory_twin_encodes_like_the_spool():
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(FULL), type=CallRecord) == FULL
