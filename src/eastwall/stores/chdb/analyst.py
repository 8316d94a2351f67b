"""What an analyst's SQL may do: read `calls` and `findings`, nothing else.

The embedded engine has no users, and `readonly = 1` alone leaves holes (measured on chdb 26.9: `SELECT file('/etc/passwd')`,
`INTO OUTFILE`, `KILL QUERY`, several statements in one text). So three things must agree before a statement runs:

1. our lexer: one statement, SELECT or WITH, no `INTO`, nothing outside quotes that the engine's lexer might read differently;
2. the engine's own parse (`EXPLAIN AST`): only known kinds of nodes, functions from the allowed categories of `system.functions`
   (an allow-list: a new release's new function is not allowed until somebody looked), tables without a database prefix;
3. `readonly = 1` with limits, under which the engine itself refuses DDL, writes, settings, and table functions that reach out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MAX_SQL = 20_000
"""Characters of one statement."""

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
    | (?P<comment>--[^\n]*|/\*.*?\*/)
    | (?P<text>'(?:[^'\\]|\\.|'')*')
    | (?P<quoted>"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>\.?[0-9][A-Za-z0-9_.]*)
    | (?P<mark>[-+*/%=<>!|,.()\[\]{}:?^&])
    """,
    re.VERBOSE | re.DOTALL,
)
_FORBIDDEN_WORDS = frozenset({"into", "outfile", "infile", "settings"})


def _set(text: str, separator: str | None = None) -> frozenset[str]:
    return frozenset(" ".join(part.split()) for part in text.split(separator))


_CATEGORIES = _set(
    """
    Aggregate Functions; Arithmetic; Arrays; Bit; Bitmap; Comparison; Conditional; Dates and Times; Distance; Encoding;
    Financial; Geo; Hash; IP Address; JSON; Logical; Maps; Mathematical; Null; Random Number; Rounding; String; String
    Replacement; String Search; String Splitting; Time Series; Time Window; Tuple; Tuples; Type Conversion; ULID; URL;
    UUID; Window Functions
""",
    ";",
)
_MORE_FUNCTIONS = _set("""
    bar byteSize caseWithExpression countDigits exists finalizeAggregation formatReadableDecimalSize
    formatReadableQuantity formatReadableSize formatReadableTimeDelta generateSeries generate_series globalIn globalNotIn
    globalNotNullIn globalNullIn greatest identity ignore in isConstant lambda least materialize neighbor notIn notNullIn
    nullIn numbers numbers_mt rowNumberInAllBlocks rowNumberInBlock runningDifference toTypeName transform tuple
    visibleWidth zeros
""")
_NOT_THESE = frozenset({"chdb", "formatrow", "formatrownonewline", "sleep", "sleepeachrow", "flamegraph", "naivebayesngrams"})
_COMBINATORS = (
    "SimpleState",
    "OrDefault",
    "Distinct",
    "Resample",
    "ForEach",
    "OrNull",
    "ArgMin",
    "ArgMax",
    "Array",
    "State",
    "Merge",
    "Map",
    "If",
)
_NODES = _set("""
    SelectWithUnionQuery SelectQuery SelectIntersectExceptQuery ExpressionList WithElement Subquery TablesInSelectQuery
    Literal TablesInSelectQueryElement TableExpression TableJoin ArrayJoin Function Identifier TableIdentifier Asterisk
    QualifiedAsterisk OrderByElement WindowDefinition WindowListElement Set SampleRatio InterpolateElement
    ColumnsTransformerList ColumnsExceptTransformer ColumnsListMatcher ColumnsRegexpMatcher QualifiedColumnsRegexpMatcher
    QueryParameter StorageOrderByElement
""")
_DATABASES = frozenset({"system", "information_schema", "_temporary_and_external_tables"})
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class AnalystRules:
    """The allow-list of one engine, from its `system.functions`."""

    def __init__(self, functions: Iterable[Sequence[object]]) -> None:
        """`functions`: rows (name, is_aggregate, alias_to, categories)."""
        self._allowed = {name.lower() for name in _MORE_FUNCTIONS}
        self._aggregates: set[str] = set()
        rows = [(str(name), bool(aggregate), str(alias), str(categories)) for name, aggregate, alias, categories in functions]
        allowed = {
            n for n, aggregate, _, categories in rows if aggregate or any(c.strip() in _CATEGORIES for c in categories.split(","))
        }
        for name, aggregate, alias, _ in rows:
            if name in allowed or alias in allowed:
                self._allowed.add(name.lower())
            if aggregate:
                self._aggregates.add(name.lower())
        self._allowed -= _NOT_THESE

    def function(self, name: str) -> bool:
        """Whether a function may be called; also an aggregate with combinators (`countIf`, `uniqArrayIf`)."""
        if name.lower() in self._allowed:
            return True
        while True:
            for combinator in _COMBINATORS:
                if name.endswith(combinator) and len(name) > len(combinator):
                    name = name[: -len(combinator)]
                    break
            else:
                return False
            if name.lower() in self._aggregates and name.lower() not in _NOT_THESE:
                return True

    def check_tree(self, lines: Iterable[str]) -> None:
        """`lines` of EXPLAIN AST. Raises `ValueError`."""
        for number, line in enumerate(lines):
            kind, _, rest = line.strip().partition(" ")
            if number == 0 and kind != "SelectWithUnionQuery":
                raise ValueError("only a SELECT statement is accepted")
            if kind not in _NODES:
                raise ValueError(f"`{kind}` is not accepted in a query")
            name = re.sub(r"( \(alias .*\))?( \(children \d+\))?\Z", "", rest)
            if kind == "Function" and not self.function(name):
                raise ValueError(f"the function `{name}` is not accepted in a query")
            if kind == "TableIdentifier" and not _PLAIN.match(name):
                raise ValueError(f"there is no table `{name}`; the tables are `calls` and `findings`")
            if kind == "Identifier" and name.partition(".")[0].lower() in _DATABASES:
                raise ValueError(f"`{name}` cannot be read; the tables are `calls` and `findings`")


def one_select(sql: str) -> str:
    """The statement without comments and the last semicolon. Raises `ValueError` with one clear line."""
    if len(sql) > MAX_SQL:
        raise ValueError(f"the query is longer than {MAX_SQL:,} characters")
    sql = sql.strip().removesuffix(";").rstrip()
    if not sql:
        raise ValueError("the query is empty; try `SELECT service, count() FROM calls GROUP BY service`")
    parts: list[str] = []
    words: list[str] = []
    position = 0
    while position < len(sql):
        found = _TOKEN.match(sql, position)
        if found is None:
            raise ValueError(f"`{sql[position : position + 10]}` at character {position + 1} is not accepted outside of quotes")
        kind = found.lastgroup
        text = found.group()
        if kind == "comment":
            text = " "
        elif kind == "word":
            words.append(text.lower())
        if "\0" in text:
            raise ValueError(f"a NUL character at {position + 1} is not accepted")
        parts.append(text)
        position = found.end()
    if not words or words[0] not in ("select", "with"):
        raise ValueError("only a SELECT statement is accepted")
    for word in words:
        if word in _FORBIDDEN_WORDS:
            raise ValueError(f"`{word.upper()}` is not accepted in a query")
    return "".join(parts).strip()
