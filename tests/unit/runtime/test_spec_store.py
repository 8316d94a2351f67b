"""Imported specifications on disk: what is stored is there again, whatever it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from eastwall.runtime.spec_store import SpecStore

SDL = b"type Query { order(id: ID!): Order }\ntype Order { id: ID! }\n"


@pytest.mark.parametrize(
    "name", ["shop.graphql", "../../etc/shop.graphql", ".hidden.graphql", "shop.part", "schöma.graphql", "a%2Fb"]
)
@pytest.mark.parametrize("service", ["shop", "..", "a/b"])
def test_what_is_stored_is_there_again(tmp_path: Path, service: str, name: str) -> None:
    SpecStore(tmp_path / "specs").add(service, name, SDL)
    again = SpecStore(tmp_path / "specs")
    assert [endpoint.service for endpoint in again.load().get(service, ())] == [service], "kept under its very name"
    assert again.faults == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and tmp_path / "specs" not in path.parents]


def test_a_name_too_long_to_be_read_back_is_refused(tmp_path: Path) -> None:
    store = SpecStore(tmp_path / "specs")
    for service, name in (("shop", "ü" * 200), ("ü" * 200, "shop.graphql")):
        with pytest.raises(ValueError, match="too long"):
            store.add(service, name, SDL)
    assert store.load() == {}


def test_strangers_in_the_folder_do_no_harm(tmp_path: Path) -> None:
    store = SpecStore(tmp_path / "specs")
    store.add("shop", "shop.graphql", SDL)
    (tmp_path / "specs" / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "specs" / "shop" / ".shop.graphql").write_bytes(b"half")
    assert list(SpecStore(tmp_path / "specs").load()) == ["shop"]
