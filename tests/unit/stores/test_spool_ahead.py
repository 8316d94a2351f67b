"""What engines have just written, read beside the spool's reader: flagged records, each once, and nobody is disturbed."""

from __future__ import annotations

import os
from pathlib import Path

from tests.unit.console.processes import attack, call

from eastwall.stores.spool import MAGIC, SpoolReader, SpoolWriter
from eastwall.stores.spool_ahead import FlaggedAhead


def test_flagged_records_come_once_from_every_engine_and_the_reader_has_all(tmp_path: Path) -> None:
    first, second = SpoolWriter(tmp_path, "0", segment_bytes=2_000), SpoolWriter(tmp_path, "1")
    before = attack()
    first.append(before)
    first.flush()
    ahead = FlaggedAhead(tmp_path)
    assert ahead.look() == [], "what was there is the reader's"
    flagged = []
    for number in range(30):  # several segments
        told = attack()
        flagged.append(told.id)
        for writer in (first, second):
            writer.append(call(number))
        (first if number % 2 else second).append(told)
        first.flush()
        second.flush()
        if number % 7 == 0:
            assert sorted(record.id for record in ahead.look()) == sorted(flagged)
            flagged.clear()
    assert {record.id for record in ahead.look()} == set(flagged)
    assert ahead.look() == []
    assert len(list((tmp_path / "0").glob("*.seg"))) > 2
    first.close()
    second.close()
    reader = SpoolReader(tmp_path)
    seen = 0
    while (batch := reader.read(1_000)) is not None:
        seen += len(batch.records)
        reader.acknowledge(batch)
    assert seen == 1 + 30 * 3
    assert ahead.look() == [], "what was stored is gone"
    reader.close()


def test_a_frame_that_is_half_written_waits_and_damage_is_passed_over(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "0")
    writer.append(attack())
    writer.close()
    (segment,) = (tmp_path / "0").glob("*.seg")
    whole = segment.read_bytes()
    segment.write_bytes(MAGIC)
    ahead = FlaggedAhead(tmp_path)
    frame = whole[len(MAGIC) :]
    with segment.open("ab", buffering=0) as file:
        file.write(frame[:20])
        assert ahead.look() == []
        file.write(frame[20:])
        assert len(ahead.look()) == 1
        file.write(frame[:30] + bytes([frame[30] ^ 1]) + frame[31:] + frame)
        assert len(ahead.look()) == 1, "the good one behind it"
        file.write(os.urandom(200))
        assert ahead.look() == []
