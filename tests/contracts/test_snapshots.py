"""What every `SnapshotStore` keeps: a reader sees the old or the new, sees changes, and is told when a snapshot does not verify."""

from __future__ import annotations

import threading

import pytest
from msgspec.structs import replace

from eastwall.model.call import Mode
from eastwall.model.endpoint import Endpoint, FieldProfile, Parameter, Schema
from eastwall.model.snapshot import ServiceScope, Snapshot, TrustConfig
from eastwall.ports.snapshots import SnapshotCorrupt
from eastwall.stores.snapshots import FileSnapshotStore

FULL = Snapshot(
    format=1,
    version=1,
    created=1.5,
    hash_key=b"k" * 32,
    services=(ServiceScope("orders", Mode.ENFORCE, hosts=("orders.local",)),),
    trust=TrustConfig(jwks=(("", b"{}"),)),
    endpoints=(
        Endpoint(
            id="ep_1",
            service="orders",
            method="GET",
            template="/orders/{order_id}",
            parameters=(Parameter("order_id", "integer"),),
            responses=((200, Schema(3, (FieldProfile("id", ("integer",)),))),),
        ),
    ),
    policy=b"\x00\xff",
    ownership=((-(2**63), ("user:a", "user:b")), (2**63 - 1, ())),
)


@pytest.fixture(params=["files"])
def stores(request, tmp_path):
    """The publisher's side and a reader's side of one store, and a way to damage what is current."""

    def damage():
        with (tmp_path / "current").open("r+b") as file:
            file.seek(-1, 2)
            last = file.read(1)
            file.seek(-1, 2)
            file.write(bytes([last[0] ^ 1]))

    return FileSnapshotStore(tmp_path), FileSnapshotStore(tmp_path), damage


def test_before_the_first_there_is_none(stores):
    _, reader, _ = stores
    assert reader.load() is None
    assert not reader.changed()


def test_what_is_published_is_loaded_whole(stores):
    publisher, reader, _ = stores
    publisher.publish(FULL)
    assert reader.changed()
    assert reader.load() == FULL
    assert not reader.changed()


def test_every_publication_is_a_change(stores):
    publisher, reader, _ = stores
    for version in range(1, 20):
        publisher.publish(replace(FULL, version=version))
        assert reader.changed()
        assert reader.load().version == version
        assert not reader.changed()


def test_a_snapshot_that_does_not_verify_raises_and_is_not_tried_again(stores):
    publisher, reader, damage = stores
    publisher.publish(FULL)
    damage()
    with pytest.raises(SnapshotCorrupt, match="checksum"):
        reader.load()
    assert not reader.changed()
    publisher.publish(replace(FULL, version=2))
    assert reader.changed()
    assert reader.load().version == 2


def test_a_reader_sees_the_old_or_the_new_while_it_is_replaced(stores):
    publisher, reader, _ = stores
    publisher.publish(FULL)
    done = threading.Event()

    def publish():
        for version in range(2, 150):
            publisher.publish(replace(FULL, version=version, policy=bytes([version]) * 50_000))
        done.set()

    thread = threading.Thread(target=publish)
    thread.start()
    seen = [0]
    while not done.is_set():
        snapshot = reader.load()
        assert snapshot.version >= seen[-1]
        assert snapshot.policy == (FULL.policy if snapshot.version == 1 else bytes([snapshot.version]) * 50_000)
        seen.append(snapshot.version)
    thread.join()
    assert len(set(seen)) > 2
