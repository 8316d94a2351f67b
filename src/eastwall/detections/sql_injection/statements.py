"""Statements behind a separator, and clauses behind a literal, that the token rules of `grammar.py` do not tell from words.

`use`, `load`, `reset`, `flush` and the like are words of every text. As statements they have a fixed second word or operand; these are
spelled out here, for the text behind `;` only, and only where the injection stands at the front (a closed literal, a short operand).
"""

from __future__ import annotations

import re

_S = r"(?:\s|/\*[^*]{0,40}\*/){1,20}"
"""White space, or a comment in its place."""
_O = r"(?:\s|/\*[^*]{0,40}\*/){0,20}"
_NAME = r"[\w.$\[\]`\"]{1,80}"
_END = r"(?:;|--|\#|/\*|$)"

_STATEMENT = re.compile(
    rf"{_O}(?:backup{_S}(?:database|log){_S}{_NAME}|restore{_S}(?:database|log){_S}{_NAME}|bulk{_S}insert{_S}{_NAME}{_S}from|(?:attach|detach){_S}database\b|attach{_S}'|load{_S}data{_S}(?:local{_S}|low_priority{_S}|concurrent{_S})?infile\b"
    rf"|lock{_S}tables?{_S}{_NAME}{_S}(?:read|write|in)\b|flush{_S}(?:privileges|logs|tables|hosts|status|user_resources){_O}{_END}|reset{_S}(?:master|slave|query{_S}cache){_O}{_END}|purge{_S}(?:binary|master){_S}logs"
    rf"|handler{_S}{_NAME}{_S}(?:open|read|close)\b|dbcc{_S}\w{{1,40}}{_O}[(;]|dbcc{_S}\w{{1,40}}{_O}$|kill{_S}(?:query{_S}|connection{_S})?\d{{1,12}}{_O}{_END}|pragma{_S}\w{{1,40}}{_O}(?:=|\(|;|$)|vacuum{_O}(?:;|--|$|into\b|full\b|analyze\b)"
    rf"|do{_O}(?:\$\w{{0,20}}\$|(?:sleep|benchmark|pg_sleep|release_lock){_O}\()|copy{_S}(?:\([^;]{{1,200}}\)|{_NAME}){_S}(?:to|from){_S}(?:'|program\b|stdin|stdout|\$)|prepare{_S}{_NAME}{_S}(?:from\b|as{_S})|execute{_S}immediate\b|deallocate{_S}prepare"
    rf"|use{_S}{_NAME}{_O}{_END}|rename{_S}table{_S}{_NAME}{_S}to{_S}|create{_S}(?:or{_S}replace{_S})?(?:temp(?:orary)?{_S}|unique{_S}|external{_S})?(?:table|function|login|user|trigger|procedure|alias|view|index|role|database|extension|assembly|schema){_S}(?:if{_S}not{_S}exists{_S})?"
    rf"{_NAME}{_O}(?:\(|as\b|identified|with{_S}password|for{_S}(?:each|insert)|before|after|;|$)|alter{_S}(?:user|login|role|database|system|session|table|procedure){_S}{_NAME}{_S}(?:with|identified|set|add|drop|modify|owner|rename|enable|character|password)\b"
    rf"|drop{_S}(?:table|database|schema|view|user|function|procedure|trigger|index|role|login|sequence){_S}(?:if{_S}exists{_S})?{_NAME}{_O}(?:{_END}|cascade\b|restrict\b|,)|truncate{_S}(?:table{_S})?{_NAME}{_O}{_END}|set{_S}(?:global|session|password|role)\b|set{_S}@{{1,2}}\w"
    rf"|reconfigure{_O}(?:with{_S}override)?{_O}{_END}|begin{_S}(?:waitfor|declare|exec|execute|select|update|delete|insert|drop|perform|dbms_\w{{1,40}})\b|exec(?:ute)?{_O}(?:\({_O})?(?:'|N'|@\w|\(|char\(|x?p_\w|sp_\w|master\.)|shutdown{_S}(?:with{_S}nowait|immediate|abort){_O}"
    rf"|merge{_S}into{_S}{_NAME}|grant{_S}[\w, ]{{1,80}}{_S}(?:on|to){_S}{_NAME}|load_file{_O}\(|lock{_S}instance|notify{_S}\w{{1,40}}{_O}{_END}|import{_S}foreign{_S}schema|checkpoint{_O}{_END}|analyze{_S}table{_S}{_NAME}|with{_S}{_NAME}{_S}as{_O}\({_O}select)",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    rf"{_O}\){{0,3}}{_O}(?:fetch{_S}(?:first|next){_S}(?:\d{{1,9}}{_S})?rows?{_S}only\b|for{_S}(?:update|xml{_S}(?:path|auto|raw)|json{_S}(?:path|auto)|share)\b|into{_S}(?:out|dump)file\b|into{_S}@\w|returning{_S}(?:\*|\w{{1,40}}{_O}(?:,|--|;))|with{_O}\({_O}nolock"
    rf"|on{_S}duplicate{_S}key{_S}update\b|on{_S}conflict\b.{{0,60}}\bdo{_S}(?:update|nothing)|tablesample{_S}\w|union{_S}(?:all{_S})?(?:values{_O}\(|table{_S}\w))",
    re.IGNORECASE,
)
_FRONT = re.compile(r"\s{0,20}[-+(]{0,4}[\w.%]{0,40}\s{0,4}[)'\"]{0,6}\s{0,20};")
"""A short operand and the separator."""
_ALIKE = re.compile(
    r"\s{0,8}-\s{0,4}\d{1,12}\s{1,8}(?:or|xor)\s{1,8}[\d('\"~!-]|\s{0,8}(?P<left>\d{1,12})\s{1,8}(?:or|and|xor)\s{1,8}\(?\s{0,4}(?:(?P=left)\s{0,4}\)?\s{0,4}$|(?:true|false)\b\s{0,8}\)?\s{0,4}$|'[^']{0,40}'?\s{0,4}$|[~!.]\d)",
    re.IGNORECASE,
)
_SORTED = re.compile(
    r"\s{0,8}[A-Za-z_][\w.]{0,60}(?:\s{1,8}(?:asc|desc))?\s{0,4}(?P<mark>;\s{0,4})?(?:--|#|/\*)\s{0,8}[-+]?\s{0,4}$",
    re.IGNORECASE,
)


def behind_break(tail: str) -> str | None:
    """Why what follows the end of a literal is a statement or clause (a clause of a sentence), or None."""
    plain = tail.lstrip(") \t\r\n")
    if plain[:1] == ";" and _STATEMENT.match(plain, 1):
        return "ends the statement and starts another"
    return "adds a clause" if _CLAUSE.match(tail) else None


def in_open_place(text: str) -> str | None:
    """The same for a text in a place without quotes: behind a number, a column, or nothing."""
    front = _FRONT.match(text)
    if front is not None and _STATEMENT.match(text, front.end()):
        return "ends the statement and starts another"
    if _ALIKE.match(text):
        return "adds a constant condition"
    sorted_ = _SORTED.match(text)
    if (
        sorted_ is not None
        and (sorted_["mark"] or " " in sorted_[0].strip())
        and re.search(r"(?:\b(?:asc|desc)|;)\s*(?:--|#|/\*)", sorted_[0], re.IGNORECASE)
    ):
        return "comments out the rest of the statement"
    return None
