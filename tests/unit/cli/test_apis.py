"""`eastwall apis`: durations, the tree, CSV that no spreadsheet runs."""

from __future__ import annotations

import csv
import inspect
import io
import re

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from eastwall.cli.apis import CSV_COLUMNS, FLAGS, STATES, _tree, csv_of
from eastwall.cli.duration import Duration
from eastwall.model.blueprint import Lifecycle


def api(method: str, template: str, service: str = "orders", **more: object) -> dict[str, object]:
    return {
        "service": service, "method": method, "template": template, "protocol": "rest", "operation": "", "state": "managed", "flags": [],
        "owner": "", "exposure": "internal", "risk": 10, "risk_level": "low", "calls": 3, "actors": 2, "authenticated": 1.0, "identifiable": 3,
        "data_classes": [], "first_seen": 0.0, "last_seen": 1.0, "id": "ep_000000000000",
    } | more  # fmt: skip


def drawn(*found: dict[str, object]) -> list[str]:
    out = Console(width=160, record=True, file=io.StringIO())
    _tree(found, out)
    return [line.rstrip() for line in out.export_text().splitlines()]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("24h", 86_400), ("7d", 604_800), (" 1W ", 604_800)])
def test_durations(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1h", "1.5h", "1y", "24", "9" * 20 + "h"])
def test_what_is_no_duration_says_how_to_write_one(text: str) -> None:
    with pytest.raises(click.BadParameter, match="24h"):
        Duration().convert(text, None, None)


def test_the_tree_shows_each_path_once_under_what_it_hangs_on() -> None:
    lines = drawn(
        api("GET", "/v1/orders"),
        api("POST", "/v1/orders"),
        api("GET", "/v1/orders/{order_id}"),
        api("DELETE", "/v1/orders/{order_id}/items/{item_id}"),
        api("GET", "/v1/users/{user_id}"),
        api("POST", "/graphql", "shop", operation="query order", protocol="graphql"),
        api("GET", "/", "shop"),
    )
    text = [line.partition("     3  ")[0].rstrip() for line in lines]
    assert text[1:] == [
        "orders  5 APIs",
        "         /v1",
        "    GET    /orders",
        "    POST   /orders",
        "      GET    /{order_id}",
        "        DELETE /items/{item_id}",
        "    GET    /users/{user_id}",
        "shop  2 APIs",
        "  GET    /",
        "    POST   /graphql  query order",
    ]


def test_hostile_names_in_the_tree_are_text() -> None:
    lines = "\n".join(drawn(api("GET", "/a/\x1b[31m[red]x[/red]\n")))
    assert "\x1b" not in lines
    assert "\\x1b[31m[red]x[/red]\\n" in lines


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =cmd|' /C calc'!A0"])
def test_csv_cells_are_no_formulas(name: str) -> None:
    row = next(csv.DictReader(io.StringIO(csv_of([api("GET", name)]))))
    assert row["template"].startswith("'")


@given(st.text())
def test_csv_holds_one_line_per_api_whatever_the_name(name: str) -> None:
    text = csv_of([api("GET", name), api("GET", "/x")])
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) == 3
    assert rows[0] == list(CSV_COLUMNS)
    assert rows[1][2].lstrip("'")[:1] not in ("=", "@") or rows[1][2].startswith("'")
    assert len(text.splitlines()) == 3


def test_states_and_flags_are_those_of_the_model() -> None:
    # The model's docstrings are where they are told; the words in parentheses are explanations.
    source = inspect.getsource(Lifecycle).partition("exposure:")[0]
    state, _, flags = re.sub(r"\([^)]*\)", "", source).partition("flags:")
    assert set(re.findall(r"`([a-z-]+)`", state)) == set(STATES)
    assert set(re.findall(r"`([a-z-]+)`", flags)) == set(FLAGS)


def test_a_narrow_terminal_keeps_the_paths_whole() -> None:
    out = Console(width=80, record=True, file=io.StringIO(), force_terminal=True)
    flags = ["admin", "internet-facing", "unauthenticated"]
    classes = ["credential", "email", "person-name", "phone", "secret"]
    _tree([api("GET", "/customers/{customer_id}/cards", flags=flags, data_classes=classes)], out)
    text = out.export_text()
    assert "/customers/{customer_id}/cards" in text
    assert all(name in text for name in classes)
    assert max(len(line) for line in text.splitlines()) <= 80
