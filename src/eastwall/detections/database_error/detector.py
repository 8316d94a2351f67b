"""Errors of databases and object mappers in answers (CWE-209): their messages, with the parts that a sentence about them does not have."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eastwall.detections.answer_places import confidence
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="database-error",
    title="Database error shown to the caller",
    severity="medium",
    confidence="high",
    audience="both",
    phases=("response",),
    owasp=("API8:2023", "A05:2021"),
    cwe=("CWE-209", "CWE-550"),
    attack=("T1592.002", "T1190"),
    stage="reconnaissance",
    on_error="monitor",
    default_action="report",
    families=(
        "mysql-error",
        "postgresql-error",
        "mssql-error",
        "oracle-error",
        "sqlite-error",
        "db2-error",
        "mongodb-error",
        "sql-error",
        "mapper-error",
    ),
)

_MESSAGES = tuple(
    (family, name, re.compile(expression, re.IGNORECASE | re.ASCII))
    for family, name, expression in (
        (
            "mysql-error",
            "MySQL",
            r"You have an error in your SQL syntax; check the manual that (?:corresponds to|fits) your (?:MySQL|MariaDB|Drizzle)"
            r"|Unknown column '[^']{1,80}' in '[a-z ]{2,30}'|Table '[^'.]{1,64}\.[^']{1,64}' doesn't exist|Duplicate entry '[^']{0,200}' for key '"
            r"|Cannot (?:add or update a child|delete or update a parent) row: a foreign key constraint fails|Access denied for user '[^']{1,80}'@'"
            r"|\bER_(?:PARSE_ERROR|BAD_FIELD_ERROR|DUP_ENTRY|NO_SUCH_TABLE|ACCESS_DENIED_ERROR|NO_REFERENCED_ROW_2)\b[^\n]{0,10}:"
            r"|(?:mysql|mysqli|maria)_(?:fetch|query|connect|num_rows|real)\w{0,20}\(\)",
        ),
        (
            "postgresql-error",
            "PostgreSQL",
            r"(?:syntax error at or near|unterminated quoted (?:string|identifier) at or near|type modifier is not allowed for type) \"?"
            r"|(?:relation|column|schema|type|database|role|function) \"[\w.]{1,120}\" does not exist|column \w{1,60}\.\w{1,60} does not exist|function [\w.]{1,80}\([^)\n]{0,100}\) does not exist"
            r"|(?:duplicate key value|violates) [a-z -]{0,40}constraint \"[^\"\n]{1,120}\"|null value in column \"[^\"]{1,80}\"[^\n]{0,120} violates not-null"
            r"|invalid input (?:syntax for|value for enum)[^\n]{1,80}: \"|\bpsycopg2?\.(?:errors|OperationalError)|\bPG::[A-Z]\w{3,60}|\bpgx?\b[^\n]{0,30}SQLSTATE "
            r"|org\.postgresql\.util\.PSQLException|\bpg_(?:query|exec|fetch|connect)\w{0,20}\(\)|password authentication failed for user \"|\(SQLSTATE [0-9A-Z]{5}\)",
        ),
        (
            "mssql-error",
            "SQL Server",
            r"Unclosed quotation mark (?:after|before) the character string|Incorrect syntax near (?:the keyword )?'[^'\n]{0,80}'"
            r"|\[Microsoft\]\[(?:ODBC|SQL)[^\]\n]{0,60}\]|(?:System|Microsoft)\.Data\.SqlClient\.SqlException|Conversion failed when converting (?:the )?\w{2,20} value '"
            r"|Invalid (?:object|column) name '[^'\n]{1,120}'|Violation of (?:PRIMARY|UNIQUE) KEY constraint '|Cannot insert the value NULL into column '"
            r"|Microsoft OLE DB Provider for (?:SQL Server|ODBC)|com\.microsoft\.sqlserver\.jdbc\.SQLServerException|The (?:INSERT|UPDATE|DELETE) statement conflicted with the ",
        ),
        ("oracle-error", "Oracle", r"\bORA-\d{5}: [A-Za-z]|\bPLS-\d{5}: |oracle\.jdbc\.\w|\bTNS-\d{5}: |\boci_(?:parse|execute)\(\)"),
        (
            "sqlite-error",
            "SQLite",
            r"\bSQLITE_(?:ERROR|CONSTRAINT|BUSY|MISMATCH)\w{0,20}[:\s\]]{1,3}[^\n]{3}|sqlite3?\.(?:OperationalError|IntegrityError|ProgrammingError)|SQLite3::\w{3,40}(?:Exception|Error)"
            r"|near \"[^\"\n]{1,60}\": syntax error|(?:UNIQUE|NOT NULL|FOREIGN KEY|CHECK) constraint failed(?:: [\w.]{1,120})?|\bno such (?:column|table): [\w.]{1,80}|unrecognized token: \"",
        ),
        ("db2-error", "Db2", r"\bSQLCODE[=:] ?-\d{2,6},? ?SQLSTATE[=:] ?[0-9A-Z]{5}|DB2 SQL Error: |com\.ibm\.db2\.jcc|\bSQL\d{4,5}N  "),
        (
            "mongodb-error",
            "MongoDB",
            r"\bE11000 duplicate key error (?:collection|index)|Mongo(?:Server|Bulk|Network|Write|DB\.Driver\.\w{1,30})?(?:Error|Exception)\b[:\]]"
            r"|Cast to (?:ObjectId|Number|Date|String|Boolean) failed for value |unknown (?:top level )?operator: \$\w|com\.mongodb\.\w{3,40}Exception|pymongo\.errors\.\w",
        ),
        (
            "sql-error",
            "another database",
            r"\bSQL compilation error:|\bDB::(?:Parsing)?Exception: |JdbcSQL(?:Syntax\w{0,20})?(?:Error)?Exception|no viable alternative at input '[^'\n]{1,80}' ?\(|Neo\.ClientError\.\w{3,30}\.\w"
            r"|\bSQLSTATE\[[0-9A-Z]{5}\](?: \[\d+\])?:? |\bSybase message:|Dynamic SQL Error[^\n]{0,40}SQL error code|WRONGTYPE Operation against a key|java\.sql\.SQL\w{0,40}Exception"
            r"|com\.datastax\.\w[\w.]{0,60}Exception|\[Informix\]\[|ODBC (?:Driver|Error)[^\n]{0,60}\[[0-9A-Z]{5}\]|Unexpected end of command in statement \[",
        ),
        (
            "mapper-error",
            "an object mapper",
            r"\bsqlalchemy\.(?:exc|orm\.exc)\.\w|\bSequelize(?:Database|UniqueConstraint|ForeignKeyConstraint|Validation|Connection\w{0,10})Error\b|PrismaClient(?:Known|Unknown|Validation|Initialization)\w{0,20}Error"
            r"|Invalid `(?:prisma|[\w.]{1,40})\.\w{1,60}\.\w{1,40}\(\)` invocation|org\.hibernate\.\w[\w.]{0,60}Exception|could not (?:execute|prepare) (?:statement|query); (?:SQL|nested) |ActiveRecord::\w{3,40}"
            r"|Illuminate\\{1,2}Database\\{1,2}QueryException|Doctrine\\{1,2}(?:DBAL|ORM)\\{1,2}[\w\\]{1,80}Exception|django\.(?:db\.utils|core\.exceptions)\.\w{3,40}(?:Error|Exist)|QueryFailedError: |Microsoft\.EntityFrameworkCore\.\w"
            r"|org\.springframework\.(?:dao|jdbc)\.[\w.]{1,80}Exception|Knex: Timeout acquiring a connection|could not execute (?:statement|query) \[",
        ),
    )
)  # fmt: skip


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    findings: dict[str, Finding] = {}
    for value, families in facts.suspects:
        if _FAMILIES.isdisjoint(families) or value.place in findings:
            continue
        found = error(value.text, families)
        if found is None:
            continue
        database, start, end = found
        text = value.text
        sure = confidence(facts, value.place, first=start, whole=start <= 120 and len(text) <= 1200)
        findings[value.place] = Finding(
            id=META.id,
            severity=META.severity,
            confidence=sure,
            owasp=META.owasp,
            where=value.place,
            message=f"the answer holds an error message of {database}",
            evidence=_shown(text[start : max(end, min(len(text), start + 60))])[:120],
            phase="response",
        )
    return tuple(findings.values())


_FAMILIES = frozenset(META.families)
_PERSONAL = re.compile(
    r"[\w.+-]{1,64}@[\w.-]{1,200}|(?<![\w\[(-])\d{6,}|(?<=\)=\()[^)\n]{1,200}|(?<=Duplicate entry ')[^'\n]{1,200}"
)
"""Values of rows that databases put into their errors."""


def _shown(part: str) -> str:
    return _PERSONAL.sub("***", " ".join(part.split()))


def error(text: str, families: frozenset[str] = _FAMILIES) -> tuple[str, int, int] | None:
    """(database, start, end) of the first message in a text, of those databases whose words the prefilter saw; None when there is none.
    Never raises, linear."""
    if "&" in text:
        text = text.replace("&quot;", '"').replace("&#39;", "'").replace("&#x27;", "'").replace("&#039;", "'")
    best: tuple[str, int, int] | None = None
    for family, database, expression in _MESSAGES:
        found = expression.search(text) if family in families else None
        if found is not None and (best is None or found.start() < best[1]):
            best = database, found.start(), found.end()
    return best
