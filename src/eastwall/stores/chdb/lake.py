"""The lake in ClickHouse's engine inside this process (chdb), through `clickhouse-connect`.

One process owns the path: a second one is refused by the engine. Never fork after opening. Inserts and reads go through separate
handles, so that a page does not wait for a batch; the engine releases the GIL while it works.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from eastwall.model.finding import CONFIDENCES, SEVERITIES
from eastwall.model.record import CallRecord
from eastwall.stores.chdb.analyst import AnalystRules, one_select

MEMORY = 1 << 30
"""Bytes the engine may take in all; a query over it fails, the process lives."""
QUERY_MEMORY = 512 << 20
MARK_CACHE = 64 << 20
MAX_TIME = 9_000_000_000.0
"""A time, in Unix seconds, after all others: in 2255, which DateTime64 can still hold."""
READ_SECONDS = 30.0
"""Time limit of our own reads."""

_SEVERITY = {name: number for number, name in enumerate(SEVERITIES, 1)}
_CONFIDENCE = {name: number for number, name in enumerate(CONFIDENCES, 1)}
_ARRAY16 = 3
"""Bytes of a MessagePack array header for 16 to 65,535 items. ClickHouse's MsgPack format wants the items of a row without it."""


class LakeError(RuntimeError):
    """The lake cannot be opened or written; one clear line."""


class MissingExtraError(LakeError):
    """The packages of the lake are not installed."""


class ChdbLake:
    """Implements `ports.lake.Lake`; thread-safe."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the lake in the folder `path`. Raises LakeError."""
        try:
            with _without_arrow():
                import clickhouse_connect
                from clickhouse_connect.driver.exceptions import Error
        except ImportError as error:
            raise MissingExtraError(f"the lake needs the package `{error.name}`: install eastwall[all]") from None
        self._error: type[Exception] = Error
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(CallRecord).decode
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise LakeError(f"the lake in `{path}` cannot be opened: {error.strerror}") from None
        options = {
            "max_server_memory_usage": str(MEMORY),
            "mark_cache_size": str(MARK_CACHE),
            "index_mark_cache_size": str(MARK_CACHE),
        }

        def connect() -> Any:
            with _without_arrow():
                return clickhouse_connect.get_client(interface="chdb", path=str(path), chdb_options=options)

        try:
            self._writer = connect()
            for statement in _statements():
                self._writer.command(statement)
            self._reader = connect()
            self._analyst = connect()
            functions = self._reader.query("SELECT name, is_aggregate, alias_to, categories FROM system.functions").result_rows
        except Exception as error:  # noqa: BLE001 - the driver raises several families; all mean that the lake did not open
            raise LakeError(f"the lake in `{path}` cannot be opened: {_plain(error)}") from None
        self._rules = AnalystRules(functions)
        self._write_lock = threading.Lock()

    def insert(self, records: Sequence[CallRecord], token: str, encoded: Sequence[bytes] = ()) -> None:
        """Durably store (the parts are fsynced); the same token twice stores once. `encoded`: the records in MessagePack, where they
        are at hand. Raises LakeError, e.g. on a full disk."""
        if not records:
            return
        whole = encoded or [self._encode(r) for r in records]
        calls = b"".join([self._encode(_call_row(r, w))[_ARRAY16:] for r, w in zip(records, whole, strict=True)])
        findings = b"".join([self._encode(row)[_ARRAY16:] for r in records if r.findings for row in _finding_rows(r)])
        settings = {"insert_deduplication_token": token, "insert_deduplicate": 1, "max_partitions_per_insert_block": 0}
        # One block per insert, whatever its size: the engine numbers the blocks of a token, and a batch must always be cut alike.
        settings |= {"max_insert_block_size": 10_000_000, "min_insert_block_size_rows": 0, "min_insert_block_size_bytes": 0}
        settings |= {"input_format_parallel_parsing": 0, "max_threads": 1}
        with self._write_lock:
            try:
                if findings:
                    self._writer.raw_insert("findings", insert_block=findings, fmt="MsgPack", settings=settings)
                self._writer.raw_insert("calls", insert_block=calls, fmt="MsgPack", settings=settings)
            except Exception as error:  # noqa: BLE001 - driver, engine and file errors alike: not stored, the spool keeps the batch
                raise LakeError(f"the lake did not take {len(records)} records: {_plain(error)}") from None

    def call(self, event_id: str) -> CallRecord | None:
        """One call whole, or None."""
        found = self._records("WHERE id = {id:String} LIMIT 1", {"id": event_id})
        return found[0] if found else None

    def calls(
        self,
        *,
        service: str = "",
        actor: str = "",
        since: float = 0.0,
        limit: int = 100,
        only_findings: bool = False,
        only_flagged: bool = False,
        endpoint: str = "",
    ) -> list[CallRecord]:
        """Newest first. `only_flagged`: with a finding, or that enforce would not have let pass as they are."""
        conditions = ["time >= fromUnixTimestamp64Micro({since:Int64})"]
        parameters: dict[str, Any] = {"since": int(since * 1e6), "limit": limit}
        for column, value in (("service", service), ("actor", actor), ("endpoint", endpoint)):
            if value:
                conditions.append(f"{column} = {{{column}:String}}")
                parameters[column] = value
        if only_findings:
            conditions.append("severity > 0")
        if only_flagged:
            conditions.append("(severity > 0 OR would != 'allow' OR action != 'allow')")
        return self._records(f"WHERE {' AND '.join(conditions)} ORDER BY time DESC, id DESC LIMIT {{limit:UInt32}}", parameters)

    def following(self, after: str, limit: int) -> list[CallRecord]:
        """Calls with event ids after `after` (empty: from the first on), in the order of ids, which is that of their times."""
        return self._records("WHERE id > {after:String} ORDER BY id LIMIT {limit:UInt32}", {"after": after, "limit": limit})

    def extent(self, since: float, until: float, service: str = "") -> dict[str, Any]:
        """Of the calls with `since <= time <= until`: `calls`, `first` and `last` (Unix seconds, 0 when there are none)."""
        where, parameters = _window(since, until, service)
        sql = "SELECT count() AS calls, toUnixTimestamp64Micro(min(time)) / 1e6 AS first, toUnixTimestamp64Micro(max(time)) / 1e6 AS last"
        found = self._read(f"{sql} FROM calls WHERE {where}", parameters)[0]
        return {"calls": int(found["calls"]), "first": float(found["first"]), "last": float(found["last"])}

    def in_order(self, since: float, until: float, *, after: str = "", service: str = "", limit: int = 10_000) -> bytes:
        """Calls with `since <= time <= until` in the order of (time, id): a MessagePack array of records, each in MessagePack. Of those at
        the very time `since` only the ones with ids after `after`, so that the last one read says where to go on. No objects are made here:
        the engine writes the array.
        """
        where, parameters = _window(since, until, service)
        parameters |= {"after": after, "limit": limit}
        sql = (
            "SELECT groupArray(record) FROM (SELECT record FROM calls"  # noqa: S608 - fixed text, values are bound
            f" WHERE {where} AND (time > fromUnixTimestamp64Micro({{since:Int64}}) OR id > {{after:String}})"
            " ORDER BY time, id LIMIT {limit:UInt32})"
        )
        try:
            return bytes(
                self._reader.raw_query(sql, parameters=parameters, fmt="MsgPack", settings={"max_execution_time": READ_SECONDS})
            )
        except Exception as error:  # noqa: BLE001 - driver and engine errors alike
            raise LakeError(f"the lake does not answer: {_plain(error)}") from None

    def findings(self, *, service: str = "", since: float = 0.0, limit: int = 100) -> list[dict[str, Any]]:
        """Single findings with their call's essentials, newest first."""
        condition = " AND service = {service:String}" if service else ""
        sql = (
            "SELECT toUnixTimestamp64Micro(time) / 1e6 AS time, call, service, method, path, template, endpoint, actor, source,"
            " status, action, would, detection AS id, severity, confidence, owasp, place AS where, message, evidence, phase"
            " FROM findings WHERE time >= fromUnixTimestamp64Micro({since:Int64})"
        )
        parameters = {"since": int(since * 1e6), "service": service, "limit": limit}
        rows = self._read(sql + condition + " ORDER BY findings.time DESC, call DESC LIMIT {limit:UInt32}", parameters)
        for row in rows:
            row["severity"] = SEVERITIES[row["severity"] - 1]
            row["confidence"] = CONFIDENCES[row["confidence"] - 1]
        return rows

    def count(self) -> int:
        """Calls stored."""
        return int(self._read("SELECT count() AS n FROM calls", {})[0]["n"])

    def totals(self) -> dict[str, int]:
        """`calls`, `findings`, `flagged`, `blocked` (block and limit), `redacted`, all time."""
        sql = (
            "SELECT count() AS calls, countIf(severity > 0) AS flagged, countIf(action IN ('block', 'limit')) AS blocked,"
            " countIf(action = 'redact') AS redacted, (SELECT count() FROM findings) AS findings FROM calls"
        )
        return {name: int(value) for name, value in self._read(sql, {})[0].items()}

    def series(self, seconds: int, now: float | None = None) -> list[tuple[int, int, int, int]]:
        """(second, calls, with findings, blocked) for each of the last `seconds` whole seconds, oldest first, gaps as zero."""
        end = int(time.time() if now is None else now)
        start = end - seconds
        rows = self._read(
            "SELECT toUnixTimestamp(toDateTime(time)) AS at, count() AS calls, countIf(severity > 0) AS flagged,"
            " countIf(action IN ('block', 'limit')) AS blocked FROM calls"
            " WHERE time >= fromUnixTimestamp({start:Int64}) AND time < fromUnixTimestamp({end:Int64}) GROUP BY at",
            {"start": start, "end": end},
        )
        found = {int(r["at"]): (int(r["calls"]), int(r["flagged"]), int(r["blocked"])) for r in rows}
        return [(second, *found.get(second, (0, 0, 0))) for second in range(start, end)]

    def endpoint_stats(self, since: float = 0.0) -> list[dict[str, Any]]:
        """Per (service, endpoint, method, template): calls, flagged, blocked, errors (5xx), actors, p50_us, p99_us, last."""
        return self._read(
            "SELECT service, endpoint, method, template, count() AS calls, countIf(severity > 0) AS flagged,"
            " countIf(action IN ('block', 'limit')) AS blocked, countIf(status >= 500) AS errors, uniq(actor) AS actors,"
            " round(quantile(0.5)(duration_us)) AS p50_us, round(quantile(0.99)(duration_us)) AS p99_us,"
            " toUnixTimestamp64Micro(max(time)) / 1e6 AS last FROM calls WHERE time >= fromUnixTimestamp64Micro({since:Int64})"
            " GROUP BY service, endpoint, method, template ORDER BY calls DESC LIMIT 10000",
            {"since": int(since * 1e6)},
        )

    def ask(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A question of our own (`usage`), values bound as `{name:Type}`. Raises LakeError."""
        return self._read(sql, parameters)

    def uninspected(self) -> dict[str, int]:
        """Calls by reason why (a part of) them was not inspected, all time."""
        sql = "SELECT arrayJoin(uninspected) AS reason, count() AS n FROM calls GROUP BY reason ORDER BY n DESC LIMIT 100"
        rows = self._read(sql, {})
        return {str(row["reason"]): int(row["n"]) for row in rows}

    def query(
        self, sql: str, *, seconds: float = 10.0, rows: int = 10_000, parameters: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Read-only analyst SQL under limits; values go in as `{name:Type}`. Raises ValueError with one clear line."""
        statement = one_select(sql)
        # The limits stand before readonly: after it the engine takes no more settings.
        settings = {
            "max_execution_time": max(0.001, seconds),
            "max_result_rows": max(1, rows),
            "max_result_bytes": 64 << 20,
            "result_overflow_mode": "throw",
            "timeout_overflow_mode": "throw",
            "max_memory_usage": QUERY_MEMORY,
            "readonly": 1,
        }
        bound = dict(parameters or {})
        try:
            tree = self._analyst.query(f"EXPLAIN AST {statement}", parameters=bound, settings={"readonly": 1})
            self._rules.check_tree(str(row[0]) for row in tree.result_rows)
            result = self._analyst.query(statement, parameters=bound, settings=settings)
        except self._error as error:
            raise ValueError(_explain(_plain(error), seconds, rows)) from None
        return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]

    def expire(self, before: float) -> list[str]:
        """Drop the days that ended before the Unix time `before`; returns them as YYYYMMDD."""
        last = time.strftime("%Y%m%d", time.gmtime(before))
        dropped = set()
        with self._write_lock:
            for table in ("calls", "findings"):
                parts = self._writer.query(
                    "SELECT DISTINCT partition_id FROM system.parts"
                    " WHERE active AND database = currentDatabase() AND table = {t:String}",
                    parameters={"t": table},
                )
                for (day,) in parts.result_rows:
                    if re.fullmatch(r"\d{8}", day) and day < last:
                        self._writer.command(f"ALTER TABLE {table} DROP PARTITION ID '{day}'")
                        dropped.add(day)
        return sorted(dropped)

    def disk_bytes(self) -> int:
        """Bytes of active parts."""
        sql = "SELECT sum(bytes_on_disk) AS n FROM system.parts WHERE active AND database = currentDatabase()"
        return int(self._read(sql, {})[0]["n"] or 0)

    def close(self) -> None:
        for client in (self._analyst, self._reader, self._writer):
            with contextlib.suppress(Exception):
                client.close()

    def _read(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        try:
            result = self._reader.query(sql, parameters=dict(parameters), settings={"max_execution_time": READ_SECONDS})
        except self._error as error:
            raise LakeError(f"the lake does not answer: {_plain(error)}") from None
        return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]

    def _records(self, tail: str, parameters: Mapping[str, Any]) -> list[CallRecord]:
        try:
            result = self._reader.query(
                f"SELECT record FROM calls {tail}",  # noqa: S608 - `tail` is fixed text of this file, values are bound
                parameters=dict(parameters),
                query_formats={"String": "bytes"},
                settings={"max_execution_time": READ_SECONDS},
            )
        except self._error as error:
            raise LakeError(f"the lake does not answer: {_plain(error)}") from None
        return [self._decode(row[0]) for row in result.result_rows]


@contextlib.contextmanager
def _without_arrow() -> Iterator[None]:
    """The engine's driver imports pyarrow (and that numpy) where it finds it, and works without; to load both costs 0.15 s and 60 MB for
    nothing that is used here."""
    if "pyarrow" in sys.modules:
        yield
        return
    sys.modules["pyarrow"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop("pyarrow", None)


def _window(since: float, until: float, service: str) -> tuple[str, dict[str, Any]]:
    where = "time >= fromUnixTimestamp64Micro({since:Int64}) AND time <= fromUnixTimestamp64Micro({until:Int64})"
    parameters = {"since": int(since * 1e6), "until": int(min(until, MAX_TIME) * 1e6), "service": service}
    return where + (" AND service = {service:String}" if service else ""), parameters


def _statements() -> list[str]:
    text = resources.files(__package__).joinpath("schema.sql").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [part.strip() for part in "\n".join(lines).split(";\n") if part.strip()]


def _call_row(r: CallRecord, whole: bytes) -> tuple[Any, ...]:
    """Values in the order of `schema.sql`."""
    # Most calls have none of these: a generator over nothing takes as long as a column.
    found, matches, data = r.findings, r.matches, r.data
    return (
        int(r.time * 1e6),
        r.id,
        r.service,
        r.method,
        r.path,
        r.authority,
        r.status,
        r.request_bytes,
        r.response_bytes,
        r.duration_us,
        r.source,
        r.endpoint,
        r.template,
        r.actor,
        r.actor_kind,
        r.actor_class,
        r.strength,
        r.roles,
        r.action,
        r.would,
        tuple([f.id for f in found]) if found else (),
        max([_SEVERITY.get(f.severity, 0) for f in found]) if found else 0,
        tuple([m.policy for m in matches]) if matches else (),
        tuple(sorted({hit.data_class for hit in data})) if data else (),
        r.uninspected,
        r.snapshot,
        r.decide_us,
        r.user_agent,
        r.trace,
        r.engine,
        "\n".join([f"{f.evidence}\n{f.message}" for f in found]) if found else "",
        whole,
    )


def _finding_rows(r: CallRecord) -> Iterable[tuple[Any, ...]]:
    for f in r.findings:
        yield (
            int(r.time * 1e6),
            r.id,
            r.service,
            r.method,
            r.path,
            r.template,
            r.endpoint,
            r.actor,
            r.source,
            r.status,
            r.action,
            r.would,
            f.id,
            max(1, _SEVERITY.get(f.severity, 1)),
            max(1, _CONFIDENCE.get(f.confidence, 1)),
            f.owasp,
            f.where,
            f.message,
            f.evidence,
            f.phase,
        )


def _plain(error: Exception) -> str:
    """An engine's message without its code, version and inner traces, one line."""
    text = str(error).split("\n")[0]
    text = re.sub(r"^(?:Code: \d+\. )?(?:DB::\w*Exception: )+(?:Code: \d+\. DB::\w*Exception: )?", "", text)
    text = re.sub(r"\s*\(version [^)]*\).*$", "", text)
    text = re.sub(r"[:.] In scope .*$", "", text)
    text = re.sub(
        r"(Syntax error: failed at position \d+)(?: \([^)]*\))?(?: \(line \d+, col \d+\))?: (.{0,40}).*$", r"\1: `\2`", text
    )
    return re.sub(r"\s+", " ", text).strip()[:500] or type(error).__name__


def _explain(text: str, seconds: float, rows: int) -> str:
    if "TIMEOUT_EXCEEDED" in text or "Timeout exceeded" in text:
        return f"the query took longer than {seconds:g} s; narrow its time window"
    if "Limit for result exceeded" in text:
        return f"the query gave more than {rows:,} rows; add a LIMIT or group"
    if "memory limit exceeded" in text:
        return "the query needs more memory than it may take; narrow its time window"
    return text
