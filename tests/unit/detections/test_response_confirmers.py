"""The confirmers of responses on their own: what they must take, what they must leave, and bounded work on any input."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from bench.content_secrets import HELD_OUT, Maker
from tests.unit.detections.detection_cases import DETECTORS, NOBODY, PREFILTER, request, response_facts

from eastwall import detections
from eastwall.detections.cloud_credential_disclosure.detector import text as cloud
from eastwall.detections.cors_misconfiguration.detector import judge as cors
from eastwall.detections.database_error.detector import error
from eastwall.detections.debug_page.detector import page as debug_page
from eastwall.detections.directory_listing.detector import page as listing
from eastwall.detections.error_disclosure import frames
from eastwall.detections.insecure_cookie.detector import judge as cookie
from eastwall.detections.internal_address_disclosure.detector import internal
from eastwall.detections.private_key_disclosure.detector import pem
from eastwall.detections.secret_disclosure import rules
from eastwall.detections.source_code_disclosure.detector import file
from eastwall.detections.version_disclosure.detector import version
from eastwall.model.call import BodyState, Response
from eastwall.model.facts import DataHit, Facts
from eastwall.model.finding import Finding

JSON = {"content-type": "application/json"}


def judged(facts: Facts) -> tuple[Finding, ...]:
    found, errors = detections.detect(facts, DETECTORS)
    assert not errors
    return found


def answer(body: str | bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    data = body.encode() if isinstance(body, str) else body
    return Response(status, JSON if headers is None else headers, data, BodyState.COMPLETE)


# -- stack traces

TRACES = {
    "Java": "Caused by: java.io.IOException: x\n\tat app//com.acme.A.lambda$b$0(A.java:10)\n\tat java.base/java.lang.Thread.run(Thread.java:840)\n\t... 3 more",
    "Python": '  + Exception Group Traceback (most recent call last):\n  |   File "/app/a.py", line 3, in <module>\n  |     f()\n',
    "Node.js": "Error: x\n    at async Promise.all (index 0)\n    at node:internal/process/task_queues:95:5\n    at Object.<anonymous> (file:///srv/a.mjs:3:9)",
    ".NET": "   at Shop.Api.Orders.<Get>d__3.MoveNext()\n--- End of stack trace from previous location ---\n   at Shop.Api.Filter`1.Invoke(HttpContext context, Func`2 next)",
    "PHP": "#0 [internal function]: Foo->bar()\n#1 C:\\xampp\\htdocs\\index.php(12): baz()\n#2 {main}",
    "Ruby": "/usr/lib/ruby/3.4.0/a.rb:3:in 'Integer#/': divided by 0 (ZeroDivisionError)\n\tfrom a.rb:1:in '<main>'",
    "Go": "goroutine 1 [running]:\nmain.main()\n\t/app/main.go:5 +0x1d\n",
    "Rust": "stack backtrace:\n   3: app::main\n             at ./src/main.rs:2:5\n",
    "Elixir": "** (ArithmeticError) bad argument\n    (shop 0.1.0) lib/shop/orders.ex:12: Shop.Orders.total/1\n    (stdlib 4.2) gen_server.erl:1123: :gen_server.try_dispatch/4",
    "Perl": "Died at /srv/app/x.pl line 3.\n\tmain::f(1) called at /srv/app/x.pl line 9\n",
}


@pytest.mark.parametrize("language", TRACES)
def test_a_trace_of_each_runtime(language: str) -> None:
    found = frames.trace(TRACES[language])
    assert found is not None
    assert found.language == language


@pytest.mark.parametrize("language", TRACES)
def test_the_prefilter_sees_each_trace(language: str) -> None:
    facts = response_facts(request("GET", "/x"), answer(json.dumps({"error": {"stack": TRACES[language]}}), 500))
    assert "error-disclosure" in [f.id for f in judged(facts)]


def test_a_single_frame_without_a_head_is_no_trace() -> None:
    assert frames.trace("see    at com.acme.A.b(A.java:1) in the log") is None
    assert frames.trace("\n\tat com.acme.A.b(A.java:1)\n") is None


def test_the_same_trace_is_sure_in_an_error_and_unsure_in_a_ticket() -> None:
    trace = TRACES["Java"]
    in_error = response_facts(request("GET", "/x"), answer(json.dumps({"message": trace}), 500))
    in_ticket = response_facts(request("GET", "/x"), answer(json.dumps({"tickets": [{"text": f"It fails:\n{trace}\nWhy?"}]})))
    assert [f.confidence for f in judged(in_error)] == ["high"]
    assert [f.confidence for f in judged(in_ticket)] == ["low"]


# -- secrets


@pytest.mark.parametrize("kind", range(37))
def test_secrets_of_every_kind_are_found(kind: int) -> None:
    """As bench.content_secrets makes them: the rate there, here that the detections do their part."""
    maker = Maker(HELD_OUT + kind)
    found = 0
    for _ in range(8):
        _, value = maker.secret()
        facts = response_facts(request("GET", "/x"), answer(json.dumps({"a": {"b": value}})))
        found += any(f.confidence != "low" for f in judged(facts))
    assert found >= 7


def test_checksums_of_github_tokens() -> None:
    assert rules.checksum_holds("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")
    assert not rules.checksum_holds("ghp_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq18")


def test_evidence_never_holds_the_secret() -> None:
    maker = Maker(5)
    for _ in range(200):
        kind, value = maker.secret()
        text = value if isinstance(value, str) else json.dumps(value)
        for finding in judged(response_facts(request("GET", "/x"), answer(json.dumps({"v": value})))):
            shown = finding.evidence + finding.message
            assert text[len(text) // 2 : len(text) // 2 + 12] not in shown, kind


def test_every_rule_is_hit_by_the_prefilter_and_compiles() -> None:
    by_head, anywhere = rules._rules()
    assert len({rule.id for _, some in by_head for rule, _ in some} | {rule.id for rule, _ in anywhere}) >= 180


def test_rules_and_patterns_are_of_one_making() -> None:
    folder = Path(rules.__file__).parent
    listed = json.loads((folder / "rules.json").read_text())["rules"]
    assert (folder / "patterns.yaml").read_text().count("- pattern:") == len(listed)


# -- what is judged by headers


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        ("null", "null", ("high", "medium")),
        ("https://shop.example.evil.test", "https://shop.example.evil.test", ("high", "medium")),
        ("https://evil.test", "https://evil.test", ("medium", "low")),
        ("http://a.shop.example", "http://a.shop.example", ("medium", "medium")),
        ("https://a.shop.example", "https://a.shop.example", None),
        ("https://partner.test", "https://evil.test", None),
    ],
)
def test_cors(allowed: str, origin: str, expected: tuple[str, str] | None) -> None:
    found = cors(allowed, origin, "shop.example", "https")
    assert (found[:2] if found else None) == expected


def test_cors_of_sites_with_two_part_suffixes() -> None:
    assert cors("https://a.shop.co.uk", "https://a.shop.co.uk", "api.shop.co.uk", "https") is None
    assert cors("https://evil.co.uk", "https://evil.co.uk", "api.shop.co.uk", "https") is not None


@pytest.mark.parametrize(
    ("control", "asked", "severity"),
    [
        ("public, max-age=60", {"authorization": "Bearer x"}, "medium"),
        ("max-age=60", {"cookie": "sid=1"}, "medium"),
        ("max-age=60", {"authorization": "Bearer x"}, "low"),
        ("", {"cookie": "sid=1"}, "low"),
        ("no-store", {"cookie": "sid=1"}, ""),
        ("private, no-cache", {"cookie": "sid=1"}, ""),
        ("public, max-age=60", {}, ""),
    ],
)
def test_personal_data_in_caches(control: str, asked: dict[str, str], severity: str) -> None:
    headers = {**JSON, **({"cache-control": control} if control else {})}
    hit = DataHit("iban", "iban", "******************3000", "response")
    facts = response_facts(
        request("GET", "/me", asked), answer('{"iban":"DE89370400440532013000"}', headers=headers), data=(hit,)
    )
    assert [f.severity for f in judged(facts) if f.where == "header.cache-control"] == ([severity] if severity else [])


def test_an_anonymous_caller_is_somebody_without_strength() -> None:
    assert NOBODY.strength == 0  # what the case above without credentials rests on


# -- bounded work

CONFIRMERS: dict[str, Callable[[str], object]] = {
    "frames": frames.trace,
    "database": error,
    "debug page": debug_page,
    "listing": listing,
    "internal": lambda text: list(internal(text)),
    "version": lambda text: version("server", text),
    "cookie": lambda text: cookie(text, tls=True),
    "pem": pem,
    "cloud": cloud,
    "file": file,
    "rules": rules.find,
}
REPEATED = (
    "a", "a.", "at a.b(", "\n at a.b(c.java:1)", "\n  at /x:1:1", 'File "a", line 1\n', "#0 /a.php(1): ", "A::", '<a href="x">', "<pre>", "<title>Index of /", "10.0.0.1 ", "fd00:",
    "a-.", "\\\\a\\b", "/home/a", "C:\\Users\\", "<?php $a=", "<% if(", "<%@ page ", "A_B=1\n", "\n", " \n", "root:x:0:0:", "a:$1$b:", "a:$apr1$" + "x" * 9, "FROM a\n", "ARG a\n",
    "-----BEGIN PRIVATE KEY-----\n", "-----BEGIN ", "PuTTY-User-Key-File-2: a ", "secret_access_key=", "AccountKey=", "ya29.", "ghp_", "glpat-a", "sk_live_", "https://",
    "Unknown column '", 'relation "', "function a(", "Invalid `a.b", "PG::A", "violates ", "a/1.", "set=;", "&quot;", "goroutine 1 [a", "1: a::", "x.rb:1:in `", "Endpoint=https://a",
)  # fmt: skip


def _best(confirm: Callable[[str], object], text: str) -> float:
    times = []
    for _ in range(2):
        start = time.process_time()
        confirm(text)
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("name", CONFIRMERS)
def test_twice_the_input_takes_about_twice_the_time(name: str) -> None:
    confirm = CONFIRMERS[name]
    for part in REPEATED:
        small, large = part * (4096 // len(part)), part * (16_384 // len(part))
        first, second = _best(confirm, small), _best(confirm, large)
        # Four times the input; quadratic work would be sixteen times. Below a millisecond the clock is too coarse.
        assert second < 0.004 or second < 11 * first, f"{part!r}: {first * 1e3:.2f} ms, then {second * 1e3:.2f} ms"


def test_scratch_is_left_as_it_was() -> None:
    assert PREFILTER.dropped == 0


# -- errors as frameworks and databases send them

ERRORS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parents[2] / "corpus" / "error_responses.yaml").read_text("utf-8"))


@pytest.mark.parametrize("entry", ERRORS, ids=lambda entry: entry["name"])
def test_errors_of_frameworks(entry: dict[str, Any]) -> None:
    facts = response_facts(request("GET", "/x"), answer(entry["body"], entry["status"], {"content-type": entry["type"]}))
    assert {f.id for f in judged(facts) if f.confidence != "low"} >= set(entry["finds"])


def test_values_of_rows_in_an_error_are_not_shown() -> None:
    text = "Duplicate entry 'ann@shop.example' for key 'users.email'"
    facts = response_facts(request("POST", "/users"), answer(json.dumps({"error": text}), 500))
    shown = [finding.evidence for finding in judged(facts) if finding.id == "database-error"]
    assert shown == ["Duplicate entry '***' for key 'users.email'"]
