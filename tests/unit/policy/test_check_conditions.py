"""Conditions against the parameters of the operations in their scope."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from eastwall.discovery.inventory import endpoint_id
from eastwall.learning.declare import read_declared
from eastwall.model.endpoint import Endpoint, FieldProfile, Parameter, Schema
from eastwall.model.snapshot import ServiceScope
from eastwall.policy import Fault, check, parse_files
from eastwall.policy import check_conditions as module

from .build import DETECTIONS, document

FOLDER = Path(__file__).parents[2] / "golden" / "policy" / "inventory"
SERVICES = [ServiceScope("orders"), ServiceScope("search")]


def learned(template: str = "/find/{term}", calls: int = 40, query: Schema | None = None, **fields: object) -> Endpoint:
    words = FieldProfile("query.sort", ("string",), seen=calls, of=calls, enum=("new", "old"))
    pages = FieldProfile("query.page", ("integer",), seen=calls, of=calls)
    rare = FieldProfile("query.rare", ("integer",), seen=1, of=calls)
    names = tuple(Parameter(part[1:-1], "string") for part in template.split("/") if part.startswith("{"))
    known = query if query is not None else Schema(calls, (pages, rare, words))
    return Endpoint(endpoint_id("search", "GET", template), "search", "GET", template, names, calls=calls, query=known, **fields)  # type: ignore[arg-type]


def declared() -> tuple[Endpoint, ...]:
    name = "orders.openapi.yaml"
    read = read_declared((FOLDER / name).read_bytes(), name, "orders")
    assert not read.faults
    return read.endpoints


def faults(text: str, *endpoints: Endpoint, file: str = "p.yaml") -> list[Fault]:
    own, found = parse_files({file: text})
    assert found == []
    return check(own, services=SERVICES, endpoints=endpoints, detections=DETECTIONS)


def condition(when: str, **scope: object) -> str:
    return document("AccessPolicy", action="deny", scope={"services": ["search"], **scope}, when=[when])


def test_faults_are_the_ones_written_beside_the_file() -> None:
    path = FOLDER / "conditions.yaml"
    found = faults(path.read_text(), *declared(), learned(), file=path.name)
    text = "".join(f"{fault}\n" for fault in found)
    expected = path.with_suffix(".faults")
    if os.environ.get("EASTWALL_REWRITE") == "1":
        expected.write_text(text)
    assert text == expected.read_text()
    assert all(len(line) < 400 and line.isprintable() for line in text.splitlines())


def test_without_an_inventory_only_the_text_counts() -> None:
    found = faults((FOLDER / "conditions.yaml").read_text())
    assert [fault for fault in found if "condition" in fault.message] == []


@pytest.mark.parametrize("calls", [1, 4])
def test_of_few_calls_nothing_is_told(calls: int) -> None:
    assert faults(condition('query.nothing == "x"'), learned(calls=calls)) == []
    assert faults(condition('query.sort == "x"'), learned(calls=calls)) == []


def test_what_is_only_learned_is_a_warning() -> None:
    (fault,) = faults(condition('query.sotr == "new"'), learned())
    assert fault.warning
    assert "there is no `query.sotr` in `GET /find/{term}`, going by 40 calls" in fault.message
    assert fault.hint == "did you mean `sort`?"


def test_an_operation_that_traffic_shows_to_take_more_than_is_declared_takes_it() -> None:
    both = learned(origin="both")
    assert faults(condition('query.sort == "new"'), both) == []
    (fault,) = faults(condition('query.other == "new"'), both)
    assert not fault.warning  # neither declared nor ever seen


def test_those_that_lack_it_are_named() -> None:
    others = [learned(f"/find/{name}/{{id}}") for name in ("a", "b", "c", "d")]
    (fault,) = faults(condition('path.term == "x"'), learned(), *others)
    assert fault.warning
    assert (
        "in 4 of the 5 operations in scope: `GET /find/a/{id}`, `GET /find/b/{id}`, `GET /find/c/{id}` and 1 more"
        in fault.message
    )
    (fault,) = faults(condition('path.nope == "x"'), learned(), *others)
    assert "in any of the 5 operations in scope" in fault.message


def test_a_body_that_is_not_json_has_names_but_no_types() -> None:
    fields = (FieldProfile("$", ("object",), seen=40, of=40), FieldProfile("amount", ("integer",), seen=40, of=40))

    def told(media: str, when: str) -> int:
        request = Schema(40, fields, media_types=(media,))
        return len(faults(condition(when), learned(query=Schema(40), request=request)))

    assert told("application/json", 'body.amount > "5"') == 1
    assert told("application/x-www-form-urlencoded", 'body.amount > "5"') == 0
    assert told("application/x-www-form-urlencoded", 'body.amuont == "5"') == 1
    assert told("application/xml", 'body.amuont == "5"') == 0


def test_maps_and_lists_at_the_top_are_known() -> None:
    listed = (
        FieldProfile("$", ("array",), seen=9, of=9),
        FieldProfile("[]", ("object",), seen=9, of=9),
        FieldProfile("[].price", ("number",), seen=9, of=9),
        FieldProfile("[].by", ("object",), seen=9, of=9),
        FieldProfile("[].by.{}", ("string",), seen=9, of=9),
    )
    endpoint = learned(query=Schema(9), request=Schema(9, listed, media_types=("application/json",)))
    assert faults(condition('body[0].price > 5.0 && body[0].by.anybody == "x"'), endpoint) == []
    (fault,) = faults(condition("body.exists(item, item.pirce > 5.0)"), endpoint)
    assert "there is no `body[].pirce`" in fault.message
    (fault,) = faults(condition("body.price > 5.0"), endpoint)
    assert "`body` is a list, it has no field `price`" in fault.message


def test_a_large_set_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAIRS", 10)
    text = "".join(document("AccessPolicy", f"p{i}", action="deny", when=['path.nope == "x"']) for i in range(6))
    found = faults(text, *(learned(f"/{name}/{{term}}") for name in "abc"))
    assert sum("there is no `path.nope`" in fault.message for fault in found) == 3
    (said,) = [fault for fault in found if "were not compared" in fault.message]
    assert said.warning
    assert "the conditions of 3 policies" in said.message


def test_thousands_of_policies_over_thousands_of_operations_are_compared_in_seconds() -> None:
    endpoints = [learned(f"/find{i}/{{term}}") for i in range(2_000)]
    text = "".join(
        document(
            "AccessPolicy", f"p{i}", action="deny", scope={"operations": [f"GET /find{i}/{{term}}"]}, when=[f'path.trem == "{i}"']
        )
        for i in range(500)
    )
    own, _ = parse_files({"p.yaml": text})
    began = time.process_time()
    found = check(own, services=SERVICES, endpoints=endpoints, detections=DETECTIONS)
    assert len(found) == 500
    assert time.process_time() - began < 5
