"""What every pair of `RecordWriter` and `RecordReader` keeps: all records come, in order, once; a batch comes again until it is acknowledged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.model.record import CallRecord
from eastwall.stores.spool import SpoolReader, SpoolWriter


def record(number: int) -> CallRecord:
    return CallRecord(
        1, f"id{number:08d}", 1_700_000_000.0 + number, "orders", "GET", f"/orders/{number}", "o", 200, 1, 2, 3, "10.0.0.1"
    )


class FileSpool:
    """The real one, in a folder."""

    def __init__(self, path):
        self.path = path
        self.reader = SpoolReader(path)
        self.writer = SpoolWriter(path, "one", segment_bytes=2_000)

    def restart_reader(self):
        self.reader.close()
        self.reader = SpoolReader(self.path)

    def restart_writer(self):
        self.writer.close()
        self.writer = SpoolWriter(self.path, "one", segment_bytes=2_000)

    def close(self):
        self.writer.close()
        self.reader.close()


@pytest.fixture(params=[FileSpool])
def spool(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.close()


def ids(batch):
    return [r.id for r in batch.records]


def test_nothing_written_gives_nothing(spool):
    assert spool.reader.read(10) is None


def test_records_come_whole_and_in_order(spool):
    sent = [record(n) for n in range(100)]
    for r in sent:
        spool.writer.append(r)
    spool.writer.flush()
    got = []
    while (batch := spool.reader.read(7)) is not None:
        assert 0 < len(batch.records) <= 7
        got += batch.records
        spool.reader.acknowledge(batch)
    assert got == sent


def test_what_is_not_flushed_may_wait_but_comes_after_close(spool):
    spool.writer.append(record(1))
    spool.restart_writer()
    assert ids(spool.reader.read(10)) == ["id00000001"]


def test_a_batch_comes_again_until_it_is_acknowledged(spool):
    for n in range(10):
        spool.writer.append(record(n))
    spool.writer.flush()
    first = spool.reader.read(4)
    again = spool.reader.read(10)
    assert (again.token, ids(again)) == (first.token, ids(first))
    for n in range(10, 20):
        spool.writer.append(record(n))
    spool.writer.flush()
    spool.restart_reader()
    after = spool.reader.read(10)
    assert (after.token, ids(after)) == (first.token, ids(first))
    spool.reader.acknowledge(after)
    following = spool.reader.read(3)
    assert ids(following) == [f"id{n:08d}" for n in (4, 5, 6)]
    assert following.token != first.token


def test_only_the_batch_that_is_out_can_be_acknowledged(spool):
    spool.writer.append(record(1))
    spool.writer.flush()
    batch = spool.reader.read(1)
    spool.reader.acknowledge(batch)
    with pytest.raises(ValueError):
        spool.reader.acknowledge(batch)


STEPS = st.lists(
    st.sampled_from(["append", "append", "flush", "read", "store", "acknowledge", "restart reader", "restart writer"]),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_whatever_restarts_every_record_is_stored_once(steps, tmp_path_factory):
    spool = FileSpool(tmp_path_factory.mktemp("s"))
    stored: dict[str, list[str]] = {}
    sent, batch = 0, None
    for step in [*steps, "restart writer", "restart reader"]:
        if step == "append":
            spool.writer.append(record(sent))
            sent += 1
        elif step == "flush":
            spool.writer.flush()
        elif step == "read":
            batch = spool.reader.read(5)
        elif step == "store" and batch is not None:
            # A lake: the same token twice stores once, and must have come with the same content.
            assert stored.setdefault(batch.token, ids(batch)) == ids(batch)
        elif step == "acknowledge" and batch is not None and batch.token in stored:
            spool.reader.acknowledge(batch)
            batch = None
        elif step == "restart reader":
            spool.restart_reader()
            batch = None
        elif step == "restart writer":
            spool.restart_writer()
    while (batch := spool.reader.read(5)) is not None:
        assert stored.setdefault(batch.token, ids(batch)) == ids(batch)
        spool.reader.acknowledge(batch)
    spool.close()
    assert sorted(i for batch_ids in stored.values() for i in batch_ids) == [f"id{n:08d}" for n in range(sent)]
