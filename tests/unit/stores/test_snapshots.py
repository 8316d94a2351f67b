"""The snapshot files themselves: mode, what is kept, damage of every kind, a full disk."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from eastwall.model.snapshot import Snapshot
from eastwall.ports.snapshots import SnapshotCorrupt
from eastwall.stores.snapshots import FileSnapshotStore

ONE = Snapshot(format=1, version=1, created=1.0, hash_key=b"secret" * 5)


def test_only_the_owner_reads_it_and_the_last_three_are_kept(tmp_path):
    store = FileSnapshotStore(tmp_path / "snapshot")
    for version in range(1, 8):
        store.publish(replace(ONE, version=version))
    names = sorted(path.name for path in store.directory.iterdir())
    assert names == ["000000000005.snap", "000000000006.snap", "000000000007.snap", "current"]
    assert {path.stat().st_mode & 0o777 for path in store.directory.iterdir()} == {0o600}
    assert store.latest_version() == 7


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "cut short"),
        (lambda data: data[:20], "cut short"),
        (lambda data: data[:-3], "bytes where"),
        (lambda data: data + b"x", "bytes where"),
        (lambda data: b"EWSNAP9\n" + data[8:], "not a snapshot"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "checksum"),
        (lambda data: data[:10] + b"\0" + data[11:], "checksum"),
    ],
)
def test_damage_is_named_and_the_previous_one_is_there(tmp_path, damage, message):
    store = FileSnapshotStore(tmp_path)
    store.publish(ONE)
    store.publish(replace(ONE, version=2))
    data = (tmp_path / "current").read_bytes()
    (tmp_path / "current").write_bytes(damage(data))  # the same file as 000000000002.snap
    with pytest.raises(SnapshotCorrupt, match=message) as raised:
        store.load()
    assert str(tmp_path / "current") in str(raised.value)
    assert "\n" not in str(raised.value)
    assert store.load_previous() == ONE


def test_nothing_good_is_none(tmp_path):
    store = FileSnapshotStore(tmp_path)
    assert store.load_previous() is None
    assert store.latest_version() == 0
    store.publish(ONE)
    (tmp_path / "current").write_bytes(b"")
    assert store.load_previous() is None


def test_a_snapshot_of_another_format_is_refused(tmp_path):
    store = FileSnapshotStore(tmp_path)
    store.publish(replace(ONE, format=99))
    with pytest.raises(SnapshotCorrupt, match="format 99, this version reads 1"):
        store.load()


def test_a_publication_that_fails_leaves_the_old_one(tmp_path):
    store = FileSnapshotStore(tmp_path)
    store.publish(ONE)
    (tmp_path / "000000000002.snap").mkdir()  # the rename onto it must fail
    with pytest.raises(OSError, match="directory"):
        store.publish(replace(ONE, version=2))
    assert store.load() == ONE
    assert not list(tmp_path.glob("*.new"))
