"""Test files (`*.test.yaml`) -> cases, with the file, line and column of every fault, all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from msgspec import Struct

from eastwall.policy.kinds import Case, CaseCall, CaseStep, Expected, Fault, PolicyTest
from eastwall.policy.parse import MAX_FILE, Reader
from eastwall.policy.times import parse_time
from eastwall.policy.wording import shown, suggestion
from eastwall.policy.yaml_nodes import documents

KINDS: dict[str, type[Any]] = {"PolicyTest": PolicyTest}
ACTORS = ("user", "agent", "workload", "client", "key", "address")
MAX_CASES = 10_000
"""Of all files."""
MAX_REPEAT = 10_000


class TestedCase(Struct, frozen=True):
    """One case, ready to run."""

    __test__ = False

    name: str
    file: str
    line: int
    mode: str
    time: float
    """When it begins, Unix seconds; 0: now."""
    steps: tuple[CaseStep, ...]
    lines: tuple[int, ...]
    """Of each step's expectation."""


def parse_cases(
    files: Mapping[str, str], policies: Sequence[str], services: Sequence[str]
) -> tuple[list[TestedCase], list[Fault]]:
    """The cases of test files, given as name -> text, in order of file and place; and all faults, sorted by place.

    `policies`, `services`: the names that there are.
    """
    faults: list[Fault] = []
    cases: list[TestedCase] = []
    for name in sorted(files):
        if len(files[name]) > MAX_FILE:
            faults.append(
                Fault(name, 1, 1, f"the file has {len(files[name])} characters, at most {MAX_FILE} are allowed", "split the file")
            )
            continue
        for node in documents(name, files[name], faults):
            reader = Reader(name)
            found = reader.document(node, KINDS)
            if found is not None:
                spec = cast("PolicyTest", found.spec)
                checked = _Checker(name, reader.marks, policies, services)
                cases += checked.cases(spec)
                faults += checked.faults
            faults += reader.faults
    if len(cases) > MAX_CASES:
        faults.append(Fault("", 1, 1, f"{len(cases):,} cases, at most {MAX_CASES:,} are allowed", "run directories one by one"))
    return cases, sorted(faults)


class _Checker:
    """What is wrong with one document that could be read."""

    def __init__(self, file: str, marks: Mapping[str, tuple[int, int]], policies: Sequence[str], services: Sequence[str]) -> None:
        self.file, self.marks, self.policies, self.services = file, marks, policies, services
        self.faults: list[Fault] = []

    def fault(self, place: str, message: str, hint: str = "") -> None:
        where = place
        while where and where not in self.marks:
            where = where.rpartition(".")[0]
        line, column = self.marks.get(where, (1, 1))
        self.faults.append(Fault(self.file, line, column, message, hint))

    def cases(self, spec: PolicyTest) -> Iterator[TestedCase]:
        begins = 0.0
        if spec.time:
            try:
                begins = parse_time(spec.time)
            except ValueError as error:
                self.fault("spec.time", str(error))
        if not spec.cases:
            self.fault("spec.cases", "there are no cases")
        names: dict[str, int] = {}
        for number, case in enumerate(spec.cases):
            place = f"spec.cases[{number}]"
            first = names.setdefault(case.name, number)
            if first != number:
                self.fault(f"{place}.name", f"there is another case {shown(case.name)} in this document", "give one a new name")
            steps = self.steps(case, place)
            if steps is None:
                continue
            for step, where in steps:
                self.step(step, where)
            lines = tuple(self.marks.get(f"{where}.expect", (1, 1))[0] for _, where in steps)
            line = self.marks.get(f"{place}.name", (1, 1))[0]
            yield TestedCase(case.name, self.file, line, case.mode or spec.mode, begins, tuple(step for step, _ in steps), lines)

    def steps(self, case: Case, place: str) -> list[tuple[CaseStep, str]] | None:
        """With the place of each."""
        if case.steps:
            for name in ("call", "response", "expect"):
                if getattr(case, name) is not None:
                    self.fault(f"{place}.{name}", f"`{name}` stands beside `steps`", "put it into a step")
            return [(step, f"{place}.steps[{number}]") for number, step in enumerate(case.steps)]
        if case.call is None or case.expect is None:
            self.fault(place, "a case has `call` and `expect`, or `steps`")
            return None
        return [(CaseStep(case.call, case.expect, case.response), place)]

    def step(self, step: CaseStep, place: str) -> None:
        if not 1 <= step.repeat <= MAX_REPEAT:
            self.fault(f"{place}.repeat", f"`repeat` is 1 to {MAX_REPEAT:,}")
        if step.at is not None and step.at < 0:
            self.fault(f"{place}.at", "`at` is not before the beginning")
        self.call(step.call, f"{place}.call")
        self.expected(step.expect, f"{place}.expect")

    def call(self, call: CaseCall, place: str) -> None:
        if not call.path.startswith("/"):
            self.fault(f"{place}.path", f"path {shown(call.path)} does not begin with `/`")
        if not call.method.isascii() or not call.method.isalpha():
            self.fault(f"{place}.method", f"{shown(call.method)} is not an HTTP method")
        if not call.service and len(self.services) != 1:
            hint = f"known: {', '.join(self.services[:12])}" if self.services else "name it"
            self.fault(place, "`service` is missing, and the policies do not name exactly one", hint)
        if call.caller is not None:
            for name, who in (("actor", call.caller.actor), *(("chain", one) for one in call.caller.chain)):
                kind, _, rest = who.partition(":")
                if kind not in ACTORS or not rest:
                    self.fault(f"{place}.caller.{name}", f"{shown(who)} is not `kind:name`", f"kinds: {', '.join(ACTORS)}")
            others = [name for name in ("token", "certificate") if getattr(call, name)]
            if others:
                self.fault(f"{place}.{others[0]}", f"`{others[0]}` stands beside `caller`", "say in one way who calls")

    def expected(self, expect: Expected, place: str) -> None:
        if expect.policy and expect.policy not in self.policies:
            self.fault(f"{place}.policy", f"policy {shown(expect.policy)} is not known", suggestion(expect.policy, self.policies))
