"""`policy suggest` on a real lake and a real learner: what goes in, what is left out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from eastwall.learning.learner import Learner
from eastwall.model.endpoint import Endpoint
from eastwall.model.facts import DataHit
from eastwall.model.finding import Finding
from eastwall.model.record import CallRecord
from eastwall.policy import parse_files

pytest.importorskip("chdb", reason="the lake is in the extra eastwall[all]")

from eastwall.runtime.suggestions import SuggestionApi
from eastwall.stores.chdb.lake import ChdbLake

NOW = float(int(time.time()))
ORDER = Endpoint(
    "ep_order0000001",
    "orders",
    "GET",
    "/orders/{order_id}",
    status="learned",
    data_classes=(("response", "items[].card", "pan"),),
)
SQLI = Finding("sql-injection", "critical", "high", ("A03:2021",), "query.q", "closes a string")
WEAK = Finding("weak-token-secret", "critical", "high", ("API2:2023",), "header.authorization", "a weak key")
GUESS = Finding("step-repeated", "high", "low", ("API6:2023",), "path", "perhaps")


def record(number: int, **changes: object) -> CallRecord:
    plain = CallRecord(
        1, f"ID{number:024d}", NOW - number, "orders", "GET", f"/orders/{number}", "o", 200, 1, 2, 3, "10.0.0.1",
        endpoint=ORDER.id, template=ORDER.template, actor=f"user:u{number % 7}", actor_kind="user", actor_class="user", strength=3,
    )  # fmt: skip
    return replace(plain, **changes)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SuggestionApi]:
    lake = ChdbLake(tmp_path_factory.mktemp("lake") / "lake")
    found = [record(n) for n in range(100)]
    found += [record(n, endpoint="", template="") for n in range(100, 120)]  # before the endpoint was known
    found += [record(n, findings=(WEAK,)) for n in range(120, 130)]  # the service's own fault
    found += [record(n, findings=(GUESS,)) for n in range(130, 140)]  # not sure enough to be blocked
    found += [record(n, data=(DataHit("pan", "items[].card", "****"),), actor_class="user+billing") for n in range(140, 150)]
    early = replace(
        record(155), endpoint="", template="", data=(DataHit("pan", "items[].card", "****"),), actor_class="user+early"
    )
    found += [early]
    found += [record(n, path="/admin/keys", endpoint="", template="", status=403) for n in range(150, 155)]
    found += [record(n, actor="user:eve", actor_class="user+eve", findings=(SQLI,)) for n in range(160, 166)]
    found += [
        record(n, actor="user:eve", actor_class="user+eve", path=f"/secret/{n}", endpoint="", template="")
        for n in range(166, 170)
    ]
    found += [record(n, service="billing", path="/pay", endpoint="", template="", method="POST") for n in range(170, 180)]
    lake.insert(found, "a")
    learner = Learner(bytes(32))

    @contextlib.contextmanager
    def alone() -> Iterator[Learner]:
        yield learner

    yield SuggestionApi(lake, lambda: (ORDER,), alone, ["weak-token-secret"])
    lake.close()


def test_clean_use_goes_in_and_attackers_do_not(api: SuggestionApi) -> None:
    found = api.suggest(service="orders")
    text = found["yaml"]
    assert not parse_files({"s.yaml": text})[1]
    assert '"GET /orders/{order_id}"  # 151 calls' in text, text
    assert "/admin" not in text, "it failed"
    assert "/secret" not in text
    assert "user+eve" not in text, "nothing is learned from an attacker, not from his clean calls either"
    assert found["suspects"] == ["user:eve"]
    assert 'classes: ["user+billing", "user+early"]' in text, "who got card numbers, also before the endpoint was known"


def test_a_service_without_endpoints_is_known_by_its_paths(api: SuggestionApi) -> None:
    text = api.suggest(service="billing", kinds=["access"])["yaml"]
    assert '"POST /pay"  # 10 calls of 7 callers on' in text
    assert "no endpoint is known yet" in text
    assert "kind: LimitPolicy" not in text


def test_the_same_traffic_gives_the_same_text(api: SuggestionApi) -> None:
    assert api.suggest()["yaml"] == api.suggest()["yaml"]


def test_a_window_without_traffic_says_so(api: SuggestionApi) -> None:
    assert "Nothing to suggest" in api.suggest(since=0.001)["yaml"]


@pytest.mark.parametrize(("kinds", "since"), [(["zones"], 60.0), ([], 0.0), ([], 1e12)])
def test_what_cannot_be_is_said_in_one_line(api: SuggestionApi, kinds: list[str], since: float) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        api.suggest(kinds=kinds, since=since)
