"""`policy test`: the ready policies' own tests, and what is said of cases that fail and of files that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from eastwall.cli.manage import policy

pytest.importorskip("chdb", reason="control is in the extra eastwall[all]")

EXAMPLES = Path(__file__).parents[3] / "examples" / "policies"
POLICY = """\
apiVersion: eastwall.dev/v1alpha1
kind: AccessPolicy
metadata: {name: own-only}
spec:
  action: allow
  scope: {services: [orders], operations: ["* /users/{user_id}/**"], identities: {kinds: [user]}}
  when: path.user_id == identity.sub
  reason: One's own.
---
apiVersion: eastwall.dev/v1alpha1
kind: DataPolicy
metadata: {name: cards}
spec: {classes: [pan], action: mask, mode: monitor}
"""
CASES = """\
apiVersion: eastwall.dev/v1alpha1
kind: PolicyTest
metadata: {name: t}
spec:
  cases:
"""
GOOD = """\
    - name: one's own
      call: {service: orders, path: /users/alice/orders, caller: {actor: "user:alice"}}
      response: {body: {card: "4111111111111111"}}
      expect: {action: allow, policy: own-only, would: redact, status: 200, body: {card: "4111111111111111"}}
"""


def run(directory: Path, cases: str, *options: str, header: str = CASES) -> Result:
    (directory / "p.yaml").write_text(POLICY)
    (directory / "p.test.yaml").write_text(header + cases)
    return CliRunner().invoke(policy, ["test", str(directory), *options])


@pytest.mark.parametrize("path", sorted(one for one in EXAMPLES.iterdir() if one.is_dir()), ids=lambda path: path.name)
def test_the_ready_policies_do_what_their_tests_say(path: Path) -> None:
    told = CliRunner().invoke(policy, ["test", str(path)])
    assert told.exit_code == 0, told.output
    assert "none failed" in told.output


def test_a_case_that_passes_has_a_line_with_its_place(tmp_path: Path) -> None:
    told = run(tmp_path, GOOD)
    assert told.exit_code == 0, told.output
    assert f"ok     {tmp_path}/p.test.yaml:6: one's own" in told.output
    assert "1 case, none failed" in told.output


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ("{action: block}", "expected block; got allow"),
        ("{action: allow, policy: cards}", "expected allow by `cards`; got allow by `own-only`"),
        ("{action: allow, policy: own-only, reason: somebody}", "the reason was: One's own."),
        ("{action: allow, would: block}", "would redact, not block"),
        ("{action: allow, status: 403}", "status 200, not 403"),
        ("{action: report}", "it was let through, and nothing was reported"),
        ("{action: allow, body: {card: x}}", 'body {"card":"4111111111111111"}, not {"card":"x"}'),
    ],
)
def test_a_case_that_fails_says_what_was_expected_what_happened_and_why(tmp_path: Path, expect: str, message: str) -> None:
    cases = GOOD.partition("      expect")[0] + f"      expect: {expect}\n"
    told = run(tmp_path, cases)
    assert told.exit_code == 1
    assert f"FAILED {tmp_path}/p.test.yaml:6: one's own" in told.output
    assert f"{tmp_path}/p.test.yaml:9: expected " in told.output
    assert message in told.output
    assert f"allow: AccessPolicy `own-only` ({tmp_path}/p.yaml:1): One's own." in told.output


def test_reports_for_machines(tmp_path: Path) -> None:
    bad = GOOD.replace("one's own", "bad").replace("action: allow", "action: block")
    told = run(tmp_path, GOOD + bad, "--json")
    assert told.exit_code == 1
    found = json.loads(told.output)
    assert [bool(case["failed"]) for case in found["cases"]] == [False, True]
    assert found["cases"][1]["failed"][0]["line"] == 13
    run(tmp_path, GOOD + bad, "--junit", str(tmp_path / "out.xml"))
    report = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (report.get("tests"), report.get("failures")) == ("2", "1")
    assert "expected block by `own-only`; got allow" in str(next(report.iter("failure")).get("message"))


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (
            GOOD.replace("action: allow", "action: alow"),
            "p.test.yaml:9:24: `spec.cases[0].expect.action` cannot be `alow` (did you mean `allow`?)",
        ),
        (
            GOOD.replace("policy: own-only", "policy: own-onyl"),
            "p.test.yaml:9:39: policy `own-onyl` is not known (did you mean `own-only`?)",
        ),
        (
            GOOD.replace("path: /users", "pth: /users"),
            "p.test.yaml:7:31: unknown field `pth` in `spec.cases[0].call` (did you mean `path`?)",
        ),
        (GOOD.replace("/users/alice", "users/alice"), "p.test.yaml:7:37: path `users/alice/orders` does not begin with `/`"),
        (GOOD.replace("user:alice", "alice"), "`alice` is not `kind:name` (kinds: user, agent,"),
        (GOOD.replace("service: orders, ", ""), "`service` is missing, and the policies do not name exactly one"),
        (GOOD + GOOD, "p.test.yaml:10:13: there is another case `one's own` in this document"),
        (
            GOOD.replace("expect:", "steps: []\n      expected:"),
            "unknown field `expected` in `spec.cases[0]` (did you mean `expect`?)",
        ),
        ("    - {name: nothing}\n", "p.test.yaml:6:7: a case has `call` and `expect`, or `steps`"),
        (GOOD.replace("status: 200", "status: many"), "`spec.cases[0].expect.status` must be a whole number"),
        ("    - &a {name: x}\n    - *a\n", "anchors and aliases are not allowed"),
    ],
)
def test_faults_have_their_place_and_a_hint(tmp_path: Path, cases: str, message: str) -> None:
    told = run(tmp_path, cases)
    assert told.exit_code == 1
    assert message in told.output


def test_all_faults_come_at_once_and_a_bad_time_is_one(tmp_path: Path) -> None:
    cases = GOOD.replace("action: allow", "action: alow").replace("/users/alice", "users/alice")
    told = run(tmp_path, cases + GOOD.replace("one's own", "other").replace("user:alice", "alice"))
    assert "`alow`" in told.output
    header = CASES.replace("  cases:", "  time: yesterday\n  cases:")
    assert "p.test.yaml:5:9: `yesterday` is not a time" in run(tmp_path, GOOD, header=header).output


def test_a_directory_without_tests_says_so(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    told = CliRunner().invoke(policy, ["test", str(tmp_path)])
    assert told.exit_code == 2
    assert "no tests (*.test.yaml)" in told.output
