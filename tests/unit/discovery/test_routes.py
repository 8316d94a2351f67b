"""Routes of frameworks as templates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eastwall.discovery.routes import template_of


@pytest.mark.parametrize(
    ("route", "template"),
    [
        ("/orders/{order_id}", "/orders/{order_id}"),
        ("/orders/:id/items/:item_id", "/orders/{id}/items/{item_id}"),
        ("/orders/:id(\\d+)", "/orders/{id}"),
        ("/orders/:id(.:format)", "/orders/{id}"),
        ("/orders/<int:order_id>/", "/orders/{order_id}"),
        ("/files/<name>", "/files/{name}"),
        ("orders/{id:int}", "/orders/{id}"),
        ("/orders/{id:[0-9]{1,5}}", "/orders/{id}"),
        ("/items/{id}:archive", "/items/{id}:archive"),
        ("/report-{date}.csv", "/report-{date}.csv"),
        ("/", "/"),
        ("", ""),
        ("*", ""),
        ("/static/*path", ""),
        ("/a/{path:.*}", ""),
        ("^orders/(?P<id>[0-9]+)/$", ""),
        ("/a b", ""),
        ("/a/{b", ""),
    ],
)
def test_routes(route: str, template: str) -> None:
    assert template_of(route) == template


@given(st.text(max_size=600))
def test_any_text_is_a_template_or_none(route: str) -> None:
    found = template_of(route)
    assert found == "" or (found.startswith("/") and found.count("{") == found.count("}"))
