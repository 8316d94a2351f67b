"""The SQL lexer and grammar against their reference twin, sqlglot: same kinds of tokens, and what is confirmed changes the parsed tree."""

from __future__ import annotations

import logging
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.detections.sql_injection import grammar, lexer

sqlglot = pytest.importorskip("sqlglot", reason="the reference twin is in requirements/dev.in")
from sqlglot.tokens import TokenType as T  # noqa: E402

logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
DIALECTS = ("mysql", "postgres", "tsql", "sqlite", "oracle")

# Kinds that both can tell. A call is a name before a bracket; `ORDER BY` is one token there and two here.
KINDS = {
    **dict.fromkeys((T.NUMBER, T.HEX_STRING, T.BIT_STRING), "1"),
    **dict.fromkeys((T.STRING, T.NATIONAL_STRING), "s"),
    **dict.fromkeys((T.VAR, T.IDENTIFIER), "n"),
    **dict.fromkeys((T.AND, T.OR, T.XOR, T.DAMP), "&"),
    **dict.fromkeys((T.EQ, T.NEQ, T.LT, T.GT, T.LTE, T.GTE, T.NULLSAFE_EQ, T.RLIKE), "="),
    **dict.fromkeys((T.LIKE, T.IN, T.IS, T.BETWEEN), "~"),
    **dict.fromkeys((T.PLUS, T.DASH, T.STAR, T.SLASH, T.MOD, T.DIV, T.AMP, T.CARET, T.PIPE), "+"),
    **dict.fromkeys((T.WHERE, T.HAVING), "W"),
    **dict.fromkeys((T.NULL, T.TRUE, T.FALSE), "z"),
    T.NOT: "!", T.SELECT: "E", T.FROM: "F", T.UNION: "U", T.COMMA: ",", T.L_PAREN: "(", T.R_PAREN: ")", T.SEMICOLON: ";",
    T.ORDER_BY: "Bb", T.GROUP_BY: "Bb", T.LIMIT: "B", T.OFFSET: "B", T.CASE: "K", T.WHEN: "K", T.THEN: "T", T.ALL: "", T.DISTINCT: "",
    T.INSERT: "I", T.UPDATE: "P", T.DELETE: "D", T.DROP: "X", T.SET: "S", T.VALUES: "e", T.INTO: "i", T.TABLE: "t", T.ALIAS: "a",
}  # fmt: skip
OURS = {"m": "n", "M": "n", "o": "s"}

gaps = st.sampled_from([" ", "  ", "\n", "\t", " /**/ ", "/* c */", " -- note\n"])
numbers = st.sampled_from(["0", "1", "42", "3.14", "1e3", "0x1F", "2.5e-3"])
strings = st.sampled_from(["'a'", "''", "'it''s'", "'x\"y'", "'-- no'", "'/* no */'", "'1=1'"])
names = st.sampled_from(["abc", "price", "customer_id", "a1", "`quoted`"])
calls = st.sampled_from(["count", "concat", "my_function", "sleep", "lower"])
compare = st.sampled_from(["=", "<>", "!=", "<", ">", "<=", ">=", "LIKE", "rlike"])
logic = st.sampled_from(["AND", "or", "Or"])
# A space behind `*`: a fragment may begin inside a comment, so the lexer reads `*/` as its end even in `*/* c */`.
sums = st.sampled_from(["+", "-", "* ", "/ ", "%"])


def joined(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*(part for pair in zip(parts, (gaps,) * len(parts), strict=True) for part in pair)).map("".join)


operand: st.SearchStrategy[str] = st.deferred(
    lambda: (
        numbers
        | strings
        | names
        | joined(operand, sums, operand)
        | joined(calls, st.just("("), operand, st.just(")"))
        | st.just("NULL")
    )
)
condition: st.SearchStrategy[str] = st.deferred(
    lambda: (
        joined(operand, compare, operand)
        | joined(condition, logic, condition)
        | joined(st.just("("), condition, st.just(")"))
        | joined(operand, st.just("IS NOT NULL"))
        | joined(st.just("NOT"), condition)
        | joined(operand, st.just("in ("), numbers, st.just(","), strings, st.just(")"))
    )
)
query = joined(
    st.sampled_from(["SELECT", "select distinct"]),
    operand,
    st.sampled_from([", 1", ""]),
    st.just("FROM"),
    names,
    st.just("WHERE"),
    condition,
    st.sampled_from(["", "ORDER BY 1", "GROUP BY abc HAVING 1=1", "LIMIT 5", "LIMIT 5 OFFSET 2", "UNION ALL SELECT 1, 'a'"]),
)
statement = query | joined(st.just("UPDATE"), names, st.just("SET"), names, st.just("="), operand, st.just("WHERE"), condition)


def twin(text: str) -> str:
    """Kinds of sqlglot's tokens as one string."""
    kinds = [
        KINDS.get(token.token_type, "n" if token.text[:1].isalpha() else "?") for token in sqlglot.tokenize(text, read="mysql")
    ]
    # A name before a bracket is a call; `in (` is none.
    return "".join("f" if kind == "n" and kinds[index + 1 : index + 2] == ["("] else kind for index, kind in enumerate(kinds))


def ours(text: str) -> str:
    # The comment that ends a text is a token of ours only: it is what cuts off the rest of a statement.
    shape = lexer.lex(text).shape.removesuffix("c")
    return "".join("f" if letter in "dg" else OURS.get(letter, letter) for letter in shape)


@settings(max_examples=120, deadline=None)
@given(statement | condition)
def test_same_kinds_of_tokens(text: str) -> None:
    assert ours(text) == twin(text)


CONTEXTS = ("'{}'", "{}", "('{}')", "(('{}'))", '"{}"', '("{}")', "({})", "(({}))", "'{}' AND d = 1", "{} AND d = 1")


def tree(sql: str, dialect: str) -> str | None:
    """The shape of a statement's tree: classes of its nodes, without names and values; None when it does not parse."""
    try:
        parsed = sqlglot.parse(sql, read=dialect)
    except (sqlglot.errors.SqlglotError, RecursionError):
        return None
    return "; ".join(" ".join(type(node).__name__ for node in part.walk()) if part is not None else "-" for part in parsed)


@cache
def neutral(context: str, dialect: str) -> frozenset[str | None]:
    return frozenset(tree(f"SELECT * FROM t WHERE c = {context.format(value)}", dialect) for value in ("x", "1", "x y", "-1"))


def changes_the_tree(value: str) -> bool:
    for dialect in DIALECTS:
        for context in CONTEXTS:
            shape = tree(f"SELECT * FROM t WHERE c = {context.format(value)}", dialect)
            if shape is not None and shape not in neutral(context, dialect):
                return True
    return False


# What is injected: (value that ends the literal, what follows), then a way to deal with the rest of the statement.
constants = st.sampled_from(
    [
        "1=1",
        "'a'='a'",
        "2>1",
        "7 like 7",
        "1 in (1,2)",
        "not 1=2",
        "(1)=(1)",
        "1=1 and 2=2",
        "exists(select 1)",
        "(select 1)=1",
        "1 is not null",
    ]
)
spaces = st.sampled_from([" ", "/**/", "\n", "  "])


@st.composite
def broken(draw: st.DrawFn) -> str:
    """A value that breaks out of a string literal."""
    quote = draw(st.sampled_from(["'", "')", "'))"]))
    space = draw(spaces)
    head = draw(st.sampled_from(["", "x", "1", "admin", "a b"]))
    kind = draw(st.integers(0, 4))
    if kind == 0:
        body = f"{draw(logic)}{space}{draw(constants)}"
    elif kind == 1:
        body = f"union{space}{draw(st.sampled_from(['', 'all' + space]))}select{space}{draw(st.sampled_from(['1', '1,2', 'null,null', 'name from users', '@@version']))}"
    elif kind == 2:
        body = f";{space}{draw(st.sampled_from(['drop table users', 'delete from t where 1=1', 'update t set a=1', 'insert into t values (1)', 'select 1']))}"
    elif kind == 3:
        body = f"and{space}{draw(st.sampled_from(['sleep(5)', 'extractvalue(1,2)', 'benchmark(9,md5(1))']))}=1"
    else:
        body = f"order by {draw(st.integers(1, 9))}"
    return f"{head}{quote}{space}{body}{draw(st.sampled_from(['-- ', '-- -', ' -- x']))}"


# sqlglot knows `ORDER BY` with white space only: no comment stands between the two.
@st.composite
def opened(draw: st.DrawFn) -> str:
    """A value for a place without quotes."""
    space = draw(spaces)
    head = draw(st.sampled_from(["1", "-1", "0", "42", "1)", "1))"]))
    body = draw(
        st.sampled_from(
            [
                "or 1=1",
                "and 'a'='a'",
                "or 2>1",
                "union select 1,2",
                "union all select null,name from users",
                "and sleep(5)",
                "or (select 1)=1",
                "; drop table users",
                "having 1=1",
                "or 1=1 order by 1",
            ]
        )
    )
    return f"{head}{space}{body.replace(' ', space).replace(f'order{space}by', 'order by')}{draw(st.sampled_from(['', '-- '])) if ')' not in head else '-- '}"


@settings(max_examples=150, deadline=None)
@given(broken() | opened())
def test_generated_injections_are_confirmed_and_change_the_tree(value: str) -> None:
    assert grammar.injection(value), value
    assert changes_the_tree(value), value


CONFIRMED = """
' or 'a'='a
1 or 1=1
x' union select 1,2--
1;drop table users
admin'--
1 and sleep(5)
' and extractvalue(1,concat(0x7e,version()))--
'||(select 1)||'
1) or (1=1
%' and 1=1 and '%'='
' having 1=1--
' order by 3--
') or ('1'='1
1 or exists(select 1 from users)
' or '{"a":1}'::jsonb @> '{"a":1}'::jsonb--
1 or json_extract('{"a":1}','$.a')=1
x' or name like '%a
1 union all select null from users where 1=1
'; update users set a=1 where 'a'='a
" or ""="
""".strip().splitlines()


@pytest.mark.parametrize("value", CONFIRMED)
def test_what_is_confirmed_changes_the_tree(value: str) -> None:
    assert grammar.injection(value)
    assert changes_the_tree(value)


@settings(max_examples=120, deadline=None)
@given(st.text(alphabet="abc xyzÄ0123456789.,:@_-/", max_size=40))
def test_what_changes_no_tree_is_not_confirmed(value: str) -> None:
    if not changes_the_tree(value):
        assert grammar.injection(value) is None
