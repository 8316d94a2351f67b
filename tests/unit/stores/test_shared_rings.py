"""Ring files: writers that are killed, readers that are overtaken, files that are no rings, disks that are full."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.ports.shared_state import Entry
from eastwall.stores import shared_rings
from eastwall.stores.shared_rings import HEADER, TRIES, SharedRings

SMALL = 4096


def pair(directory: Path, size: int = SMALL) -> tuple[SharedRings, SharedRings]:
    first, second = SharedRings(directory, "0", size=size), SharedRings(directory, "1", size=size)
    first.hear()
    second.hear()
    return first, second


def test_a_ring_goes_round_and_loses_nothing_that_is_read_in_time(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    rng = random.Random(3)
    for n in range(2_000):
        said = [Entry("grants", rng.randbytes(rng.randrange(300))) for _ in range(rng.randrange(1, 4))]
        first.tell(said)
        assert list(second.hear()) == said, n
    health = second.health()
    assert (health.lost, health.damaged) == (0, 0)
    assert (tmp_path / "0.ring").stat().st_size == HEADER + SMALL


def test_a_reader_that_was_overtaken_goes_on_with_what_is_there(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    for n in range(1_000):
        first.tell([Entry("grants", b"%06d" % n)])
    found = [entry.data for entry in second.hear()]
    assert 100 < len(found) < 300
    assert found == [b"%06d" % n for n in range(1_000 - len(found), 1_000)], "the newest, whole and in order"
    assert second.health().lost > 0
    first.tell([Entry("grants", b"next")])
    assert [entry.data for entry in second.hear()] == [b"next"]


def test_a_writer_killed_in_mid_write_leaves_nothing_and_goes_on(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    first.tell([Entry("grants", b"whole")])
    own = first._own
    assert own is not None
    own.put(own.words[3], struct.pack("<II", 50, 12345) + b"torn in the mid")  # killed before the head moves
    first.close()
    assert [entry.data for entry in second.hear()] == [b"whole"]
    again = SharedRings(tmp_path, "0", size=SMALL)
    assert [entry.data for entry in again.hear()] == [b"whole"]
    again.tell([Entry("grants", b"on")])
    assert [entry.data for entry in second.hear()] == [b"on"]
    assert second.health().damaged == 0


def test_a_damaged_frame_is_passed_over_and_counted(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    first.tell([Entry("grants", b"first"), Entry("grants", b"second")])
    with (tmp_path / "0.ring").open("r+b") as file:
        file.seek(HEADER + 8 + 8)
        file.write(b"\xff")
    found = [entry.data for _ in range(TRIES + 1) for entry in second.hear()]
    assert found == [b"second"]
    assert second.health().damaged == 1


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2_000), st.integers(0, HEADER + SMALL - 1))
def test_no_content_of_a_file_hurts_its_readers(tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int) -> None:
    directory = tmp_path_factory.mktemp("rings")
    first, second = pair(directory)
    first.tell([Entry("grants", b"x" * 50)] * 20)
    with (directory / "0.ring").open("r+b") as file:
        file.seek(at)
        file.write(junk[: HEADER + SMALL - at])
    for _ in range(TRIES + 2):
        for entry in second.hear():
            assert len(entry.data) <= SMALL
    first.close()
    again = SharedRings(directory, "0", size=SMALL)
    again.tell([Entry("grants", b"after")])
    seen = [entry for _ in range(TRIES + 2) for entry in second.hear()]
    assert not seen or isinstance(seen[-1], Entry)
    for end in (second, again):
        end.close()


@pytest.mark.parametrize(
    "content", [b"", b"not a ring", b"EWRING1\n" + bytes(56), b"EWRING1\n" + struct.pack("<Q", 1 << 40) + bytes(5000)]
)
def test_a_file_that_is_no_ring_is_told_and_hinders_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "9.ring").write_bytes(content)
    first, second = pair(tmp_path)
    first.tell([Entry("grants", b"x")])
    assert list(second.hear()) == [Entry("grants", b"x")]
    assert "9.ring" in second.health().fault
    mine = SharedRings(tmp_path, "9", size=SMALL)
    mine.tell([Entry("grants", b"mine")])
    assert list(second.hear()) == [Entry("grants", b"mine")], "its own engine makes it anew"


def test_a_place_that_cannot_be_written_leaves_the_engine_to_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    end = SharedRings(tmp_path / "file", "0", size=SMALL)
    end.tell([Entry("grants", b"x")])
    assert list(end.hear()) == []
    assert not end.waiting()
    assert "Not a directory" in end.health().fault or "File exists" in end.health().fault
    assert end.health().dropped == 1
    end.close()


def test_a_ring_that_can_be_read_again_is_no_fault_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_rings, "AGAIN", 0.0)
    first, second = pair(tmp_path)
    (tmp_path / "7.ring").write_bytes(b"not a ring")
    (tmp_path / "8.ring").write_bytes(b"not a ring either")
    second.hear()
    assert "7.ring" in second.health().fault
    whole = (tmp_path / "0.ring").read_bytes()
    with (tmp_path / "7.ring").open("r+b") as file:  # in its place: the folder does not change
        file.write(whole)
    (tmp_path / "8.ring").unlink()
    first.tell([Entry("grants", b"x")])
    assert list(second.hear()) == [Entry("grants", b"x")]
    assert second.health().fault == ""
    assert second.health().peers == 2


def test_what_cannot_be_made_is_tried_again_but_not_at_each_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "rings"
    place.write_text("")
    first = SharedRings(place, "0", size=SMALL)
    place.unlink()
    second = SharedRings(place, "1", size=SMALL)
    first.hear()
    assert first.health().fault, "its time has not come"
    later = time.monotonic() + 2 * shared_rings.AGAIN
    monkeypatch.setattr(time, "monotonic", lambda: later)
    first.hear()
    assert first.health().fault == ""
    first.tell([Entry("grants", b"x")])
    assert list(second.hear()) == [Entry("grants", b"x")]
    first.close()
    second.close()


def test_names_and_sizes_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no name of an engine"):
        SharedRings(tmp_path, "../evil")
    with pytest.raises(ValueError, match="ring of 1001"):
        SharedRings(tmp_path, "0", size=1001)


_WRITER = """
import sys
from pathlib import Path
from eastwall.ports.shared_state import Entry
from eastwall.stores import shared_rings
from eastwall.stores.shared_rings import SharedRings
end = SharedRings(Path(sys.argv[1]), "0", size=65536)
end.hear()
n = int(sys.argv[2])
print("ready", flush=True)
while True:
    end.tell([Entry("grants", b"%012d" % n * 8)])
    n += 1
"""


def test_kill_9_at_any_moment_leaves_only_whole_entries(tmp_path: Path) -> None:
    reader = SharedRings(tmp_path, "1", size=65536)
    rng = random.Random(7)
    heard: list[int] = []
    for turn in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), str(turn * 10_000_000)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        end = time.monotonic() + 0.02 + rng.random() * 0.1
        while time.monotonic() < end:
            for entry in reader.hear():
                assert entry.data == entry.data[:12] * 8, "no part of one entry within another"
                heard.append(int(entry.data[:12]))
        process.kill()
        process.wait()
        process.stdout.close()
        heard += [int(entry.data[:12]) for entry in reader.hear()]
    assert heard == sorted(heard)
    assert len(heard) == len(set(heard))
    assert {n // 10_000_000 for n in heard} == set(range(6)), "each writer that came after went on"
    assert reader.health().damaged == 0
