"""SQL text to a string of one-letter token classes, under any dialect at once.

No dialect is parsed in full: MySQL, PostgreSQL, SQL Server, Oracle and SQLite read the same injected text differently, and the injector
does not know either. What all share is the shape: operands, operators, verbs. That shape, as letters, is what `grammar.py` matches.

Letters (see `grammar.py` for how they combine):
  operands    `1` number, `s` string, `o` string left open, `v` variable, `z` NULL/TRUE/..., `n` plain word, `m` word no prose has
              (underscore, dot, digits, quoted), `M` name of a catalog (information_schema, ...)
  calls       `f` known SQL function before `(`, `d` function injected for its effect (sleep, benchmark, ...), `g` other word before `(`
  operators   `&` and/or/xor, `!` not, `=` comparison, `~` comparison that is also an English word (like, in, is), `+` arithmetic, `|` the sign ||
  punctuation `(` `)` `,` `;`, `c` comment to the end, `x` anything else
  verbs       `E` select, `U` union and kin, `F` from, `W` where/having/on, `B` order by and kin, `I` insert, `R` replace, `D` delete,
              `P` update, `X` drop/alter/create/truncate, `G` grant/revoke, `Y` exec/call, `J` declare, `Q` waitfor, `H` shutdown, `L` if,
              `N` begin, `K` case/when, `T` then, `i` into, `e` values, `S` set, `t` table/database/..., `a` as, `b` by, `O` outfile/dumpfile, `A` procedure
"""

from __future__ import annotations

import re

from msgspec import Struct

MAX_TEXT = 10_240
"""Characters analysed (the prefilter hands over pieces of at most 4,096)."""
MAX_TOKENS = 600
"""Tokens analysed; an injection begins where its literal ends, so its shape stands at the front."""

_TOKEN = re.compile(
    r"""
      (?P<space>[\s\x00\xa0]++|::\w++(?:\[\])?|->>?\s*+'[^']{0,100}'|\d++\.e(?=[\s(,)])|\bcollate\s++[\w."]++)
    | (?P<json>@>|<@|@\?(?=\s*')|\#>>?(?=\s*'\{)|\?[|&]?(?=\s*(?:'|array\b))|member\s{1,4}of(?=\s{0,4}\())
    | (?P<code>/\*!\d{0,6}|\*/)
    | (?P<block>/\*[^*]*+.*?(?:\*/|\Z))
    | (?P<line>(?:--|\#)[^\n]*+)
    | (?P<string>(?:\b(?:[nxbeq]|u&|_[a-z0-9]{3,10}|date|time(?:stamp)?|interval))?'(?:[^'\\]|\\.|'')*+(?:'|\\?\Z)|"(?:[^"\\]|\\.|"")*+(?:"|\\?\Z)|\$(?P<tag>\w*)\$[^$]*+\$(?P=tag)\$)
    | (?P<quoted>`[^`]*+`|\[[A-Za-z_][\w ]*+\])
    | (?P<number>0x[0-9a-f]++|(?:\d++(?:\.\d*+)?|\.\d++)(?:e[+-]?\d++)?)
    | (?P<variable>@{1,2}[\w$.]*+|:[a-z]\w*+)
    | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$]*+(?:\.[\w$][\w$]*+)*+(?:\.\.[\w$][\w$]*+(?:\.[\w$][\w$]*+)*+)*+)
    | (?P<operator><=>|<>|!=|<=|>=|==|!<|!>|\|\||&&|->>?|[=<>+\-*/%^|&~!])
    | (?P<mark>[(),;])
    | (?P<other>.)
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


def _table(**classes: str) -> dict[str, str]:
    return {word: letter for letter, words in classes.items() for word in words.split()}


_WORDS = _table(
    E="select",
    U="union intersect except minus",
    F="from",
    W="where having",
    B="order group limit offset",
    I="insert",
    R="replace",
    D="delete",
    P="update",
    X="drop alter create truncate rename",
    G="grant revoke",
    Y="exec execute call",
    J="declare",
    Q="waitfor",
    H="shutdown",
    L="if",
    N="begin",
    K="case when",
    T="then",
    i="into",
    e="values",
    S="set",
    t="table database schema view index user login role function procedure trigger column sequence",
    a="as",
    b="by",
    O="outfile dumpfile",
    A="analyse",
    z="null true false default current_user session_user system_user user() unknown",
) | {"and": "&", "or": "&", "xor": "&", "div": "+", "mod": "+", "collate": "+", "not": "!", "binary": "!",
     "rlike": "=", "regexp": "=", "ilike": "=", "glob": "=", "similar": "=", "sounds": "~", "like": "~", "in": "~", "is": "~", "between": "~",
     "all": "", "distinct": "", "distinctrow": ""}  # fmt: skip
"""`all` and `distinct` behind a verb change nothing of a query's shape; elsewhere they are words."""


def _listed(names: str) -> frozenset[str]:
    return frozenset(names.split())


_EFFECT = _listed(
    # time and load
    "sleep benchmark pg_sleep pg_sleep_for randomblob zeroblob generate_series dbms_lock.sleep dbms_pipe.receive_message "
    "dbms_session.sleep "
    # errors that carry data, and reads beyond the database
    "extractvalue updatexml xmltype gtid_subset gtid_subtract name_const make_set elt load_file load_extension lo_import "
    "lo_export pg_read_file pg_ls_dir utl_inaddr.get_host_address utl_inaddr.get_host_name utl_http.request "
    "ctxsys.drithsx.sn dbms_utility.sqlid_to_sqlhash dbms_xmlgen.getxml sys_eval sys_exec xp_cmdshell xp_dirtree openrowset "
    "opendatasource openquery regexp_substring crypt_key fn_varbintohexstr query_to_xml database_to_xml "
    "sys.fn_get_audit_file json_extract json_keys json_depth geometrycollection multipoint polygon linestring "
    "st_latfromgeohash "
)
_FUNCTIONS = _listed(
    "abs ascii avg bin bit_length exp  cast ceil char char_length character_length chr coalesce concat concat_ws connection_id "
    "conv convert count current_database current_setting database db_name dbms_random.value decode floor format greatest "
    "group_concat hex host_name if ifnull iif instr int isnull json_array json_object lcase least left len length like "
    "listagg locate log lower lpad ltrim max md5 mid min mod now nullif nvl object_id ord password position pow quote "
    "quotename rand random repeat replace reverse right round rpad rtrim schema_name session_user sha1 sha2 sign soundex "
    "space sqlite_version sqrt stddev strcmp string_agg stuff substr substring substring_index sum suser_name suser_sname "
    "system_user to_char to_number translate trim unhex unicode upper user user_name uuid version xmlagg xmlelement exists "
    "any some power bitand json_value json_length json_type json_valid row_count found_rows last_insert_id ucase field "
    "find_in_set interval compress uncompress aes_encrypt "
)
_CATALOGS = re.compile(
    r"information_schema\.|sys(?:objects|columns|databases|users|tables)$|master\.\.|msysaccessobjects|mysql\.(?:user|db|proc)|pg_(?:catalog|user|shadow|tables|database|"
    r"class|roles)|sqlite_(?:master|schema|temp)|rdb\$|sysibm\.|syscat\.|all_(?:tables|users|tab_columns)$|user_(?:tables|tab_columns)$|dba_users|v\$|sys\.|dual$|domain\.",
    re.IGNORECASE,
)
_FAMILIES = re.compile(
    r"jsonb?_[a-z]{3}|st_[a-z]{3}|pg_[a-z]{3}|any_value$|xml[a-z]{3}|regexp_[a-z]{3}|sqlite_[a-z]{3}|group_concat$|sys_[a-z]{3}"
)
"""Beginnings of function names that no prose has."""
_GLUED = re.compile(r"(?:or|and|xor|union|having|where|order|group|limit)(?![a-z0-9_])", re.IGNORECASE)
_PROSE = re.compile(r"[\s,.:]+(?:--?\s+)?[^\W\d_]+\W+[^\W\d_]+|[\s,.:]+(?:--?\s+)?[^\W\d_]+$|\]|\)\s?[;{]|,\s?[\w.]+\s?[),]")
# No possessive group that can fail midway: CPython before 3.11.5 goes on from there (gh-106052; tests/unit/test_regexes.py holds it).
_HYPHENATED = re.compile(r"(?:-[A-Za-z][A-Za-z]*+)++(?![\w(@'\"])")
_BRACKET = re.compile(r"\s{0,40}+(?:\(|(?=[/-])(?>(?:\s|/\*[^*]{0,40}\*/|--[^\n]{0,40}\n){1,40})\()")
_REST = re.compile(r"[\w$]++(?:\.[\w$][\w$]*+)*+")
_NAMED = re.compile(r"[._$0-9]")
_WORDY = re.compile(r"[A-Za-z\x80-\U0010ffff]{2,}")


class Tokens(Struct, frozen=True):
    """A lexed text."""

    shape: str
    """One letter per token."""
    executable_comment: bool
    """A MySQL `/*!` comment, whose content is code, holds a verb or operator: nobody writes that in prose."""
    comment_words: int
    """Words in the comment that ends the text; 0 without one. Prose after a dash has several."""
    comment_gap: bool
    """White space stands before that comment."""


def lex(text: str, most: int = MAX_TOKENS) -> Tokens:
    """Classes of the first `most` tokens. Never raises; time is linear in the text (possessive quantifiers throughout)."""
    shape: list[str] = []
    text = text[:MAX_TEXT]
    length, position = len(text), 0
    executable, code, words, gap, spaced = False, False, 0, False, False
    while position < length and len(shape) < most:
        match = _TOKEN.match(text, position)
        if match is None:  # `other` takes any character: only the end has no match
            break
        kind, lexeme = match.lastgroup, match[0]
        position = match.end()
        if kind == "tag":
            kind = "string"
        elif kind == "json":
            kind, lexeme = "operator", "="
        if kind == "space":
            spaced = True
            continue
        if kind == "word" and lexeme.isalpha() and (hyphens := _HYPHENATED.match(text, position)) is not None:
            letter, position = "n", hyphens.end()  # "where-is-it"
        elif kind == "word":
            letter = _word(lexeme, text, position)
            if letter == "f" and lexeme.lower() == "like" and shape and shape[-1] in "1sovzkmn)":
                letter = "~"
            elif letter == "n" and lexeme.lower() == "top" and shape and shape[-1] == "E":
                continue  # select top 1 name
            if not letter:
                if shape and shape[-1] in "UE":
                    continue
                letter = "n"
            executable = executable or (code and letter in "UE&FWBIDX")
        elif kind == "number":
            letter, position = _number(text, match.start(), position)
        elif kind == "string":
            letter = _string(lexeme)
        elif kind == "operator":
            letter = _operator(lexeme)
        elif kind == "mark":
            letter = lexeme
        elif kind == "variable":
            letter = "v"
        elif kind == "quoted":
            letter = "m"
        elif kind == "code":
            code = lexeme != "*/"
            continue
        elif kind in ("block", "line"):
            if position < length and (kind == "block" or text[position:].strip()):
                continue  # in the middle a comment is white space
            letter, words, gap = "c", len(_WORDY.findall(lexeme, 0, 200)), spaced
        else:
            letter = "x"
        spaced = False
        shape.append(letter)
    return Tokens("".join(shape), executable, words, gap)


def _operator(sign: str) -> str:
    if sign in ("||", "&&"):
        return "|" if sign == "||" else "&"
    if sign[0] in "=<>!" and sign != "!":
        return "="
    return "!" if sign in "!~" else "+"


def _word(token: str, text: str, end: int) -> str:
    word = token.lower()
    letter = _WORDS.get(word)
    if (letter is None or letter == "~" or word in _FUNCTIONS) and _BRACKET.match(text, end):
        if _FAMILIES.match(word):
            return "f" if word not in _EFFECT else "d"
        if (
            word in _EFFECT
            or word.rpartition("..")[2] in _EFFECT
            or word.rpartition(".")[2] in ("xp_cmdshell", "fn_varbintohexstr")
        ):
            return "d"
        if word in _FUNCTIONS:
            return "f"
        if letter is None:
            return "g"
    if letter is not None:
        return letter
    if _CATALOGS.match(word):
        return "M"
    return "m" if _NAMED.search(word) else "n"


def _number(text: str, start: int, end: int) -> tuple[str, int]:
    """A number; or `1st`, `2f`: a word; or `1or`, which SQL Server, Oracle and SQLite read as number and operator."""
    following = text[end : end + 1]
    if not (following.isalpha() or following == "_"):
        return "1", end
    if _GLUED.match(text, end):
        return "1", end
    if text[start : start + 2].lower() == "0x" or "." in text[start:end] or "e" in text[start:end].lower():
        return "1", end
    word = _REST.match(text, end)
    return "m", word.end() if word else end


def _string(token: str) -> str:
    quote = token[1] if token[0] not in "'\"$" else token[0]
    body = token[token.index(quote) + 1 :]
    if quote == "$":
        return "s"
    # Closed when the last quote is not itself part of a pair or escaped: the expression ends at `\Z` otherwise.
    # "'=' test": a sign quoted in prose goes on with a space and words, or closes a bracket.
    if _PROSE.match(body) or ("\n" in body and not body.strip()):
        return "x"
    if not body.endswith(quote):
        return "o"
    inner = body[:-1]
    escaped = (len(inner) - len(inner.rstrip("\\"))) % 2 == 1
    doubled = (len(inner) - len(inner.rstrip(quote))) % 2 == 1
    return "o" if escaped or doubled else "s"
