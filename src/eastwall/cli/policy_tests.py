"""`eastwall policy test`: the cases beside the policies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import click

from eastwall.cli.client import json_option, print_json
from eastwall.cli.failure import USAGE, Failure
from eastwall.cli.policies import attachments, policy_texts
from eastwall.policy import Fault, parse_files
from eastwall.policy.kinds import Service

if TYPE_CHECKING:
    from eastwall.runtime.policy_cases import Ran


@click.command(name="test", short_help="Run the cases beside the policies (*.test.yaml).")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Also write a JUnit report there, for CI.")
@json_option
def run_tests(path: Path, junit: Path | None, as_json: bool) -> None:
    """Run the cases in the *.test.yaml files at PATH on the policies of the same directory. Nothing needs to run, nothing is learned.

    A directory with sub-directories is one policy set. Exit code 1 when a case comes out otherwise than it says, or a file has faults.
    """
    from eastwall.policy.cases import parse_cases
    from eastwall.runtime.policy_cases import CaseRunner, summary
    from eastwall.runtime.policy_store import Applied, compile_applied

    texts = policy_texts(path.parent if ".test." in path.name and path.is_file() else path)
    tests = _test_texts(path)
    policies, faults = parse_files(texts)
    faults = [*faults, *_checked(texts)]
    services = sorted({one.name for one in policies.policies if isinstance(one.spec, Service)})
    cases, wrong = parse_cases(tests, sorted({one.name for one in policies.policies}), services)
    hard = [fault for fault in (*faults, *wrong) if not fault.warning]
    if hard:
        for fault in sorted(set(hard)):
            click.echo(str(fault), err=True)
        raise SystemExit(1)
    try:
        runner = CaseRunner(compile_applied(Applied(texts, attachments(policies)), policies))
    except ValueError as error:
        raise Failure(f"the policy has faults: {error}") from None
    ran: list[Ran] = []
    for case in cases:
        ran.append(runner.run(case))
        if not as_json:
            _print(ran[-1])
    if as_json:
        print_json(summary(ran))
    if junit is not None:
        _write_junit(junit, ran)
    failed = sum(1 for one in ran if one.failed)
    if not as_json:
        click.echo(f"{len(ran)} case{'s' if len(ran) != 1 else ''}, {failed or 'none'} failed")
    if failed:
        raise SystemExit(1)


def _test_texts(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() and ".test." in path.name else []
    if path.is_dir():
        files = sorted(one for one in path.rglob("*.test.y*ml") if one.is_file())
    if not files and path.is_file():
        files = sorted(path.parent.glob(f"{path.stem}.test.y*ml"))
    if not files:
        raise Failure(f"no tests (*.test.yaml) in `{path}`", USAGE)
    texts = {}
    for file in files:
        try:
            texts[str(file)] = file.read_text("utf-8")
        except OSError as error:
            raise Failure(f"`{file}` cannot be read: {error.strerror}", USAGE) from None
        except UnicodeDecodeError as error:
            raise Failure(f"`{file}` is not UTF-8 (byte {error.start})", USAGE) from None
    return texts


def _checked(texts: dict[str, str]) -> list[Fault]:
    """Faults of the set as a whole."""
    from eastwall import detections
    from eastwall.policy import check

    policies, _ = parse_files(texts)
    return check(policies, services=(), endpoints=(), detections=[one.meta for one in detections.load()])


def _print(ran: Ran) -> None:
    click.echo(f"{'FAILED' if ran.failed else 'ok    '} {ran.file}:{ran.line}: {ran.name}")
    for one in ran.failed:
        step = f"step {one.step}: " if one.step > 1 else ""
        click.echo(f"       {one.file}:{one.line}: {step}expected {one.expected}; got {one.happened}")
        for line in one.why:
            click.echo(f"         {line}")


def _write_junit(path: Path, ran: list[Ran]) -> None:
    """The form that CI systems read: one suite per file."""
    root = ElementTree.Element("testsuites", tests=str(len(ran)), failures=str(sum(1 for one in ran if one.failed)))
    for file in dict.fromkeys(one.file for one in ran):
        mine = [one for one in ran if one.file == file]
        failures = str(sum(1 for one in mine if one.failed))
        suite = ElementTree.SubElement(root, "testsuite", name=file, tests=str(len(mine)), failures=failures)
        for one in mine:
            case = ElementTree.SubElement(
                suite, "testcase", name=one.name, classname=file, file=file, line=str(one.line), time=f"{one.seconds:.6f}"
            )
            for failed in one.failed:
                text = "\n".join([f"{failed.file}:{failed.line}: expected {failed.expected}; got {failed.happened}", *failed.why])
                told = ElementTree.SubElement(case, "failure", message=f"expected {failed.expected}; got {failed.happened}")
                told.text = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    try:
        ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise Failure(f"`{path}` cannot be written: {error.strerror}", USAGE) from None
