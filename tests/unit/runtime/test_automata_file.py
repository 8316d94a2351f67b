"""Compiled patterns kept between starts: the same answers, and in any doubt a compile."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from eastwall import detections
from eastwall.detections import prefilter
from eastwall.detections.prefilter import Prefilter
from eastwall.discovery import automata
from eastwall.discovery.data_values import Automaton, automaton, restore_automaton
from eastwall.model.call import Request
from eastwall.protocols.decode import Limits, decode_request
from eastwall.runtime import automata_build, automata_file
from eastwall.runtime.engine import Engine
from eastwall.stores.snapshots import FileSnapshotStore
from eastwall.stores.spool import SpoolWriter

TEXTS = [
    b"",
    b"hello",
    b"' or 1=1 -- x",
    b"; cat /etc/passwd",
    b"../../etc/passwd",
    b"4111 1111 1111 1111",
    b"a@example.com",
    b"%27",
]


@pytest.fixture(scope="module")
def loaded() -> detections.Detectors:
    return detections.load()


@pytest.fixture(scope="module")
def compiled(loaded: detections.Detectors) -> Prefilter:
    return Prefilter(loaded)


def spy_on_compiles(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    compiles: list[int] = []
    build = automata.build
    monkeypatch.setattr(automata, "build", lambda *args: compiles.append(1) or build(*args))
    return compiles


def test_what_was_kept_answers_as_what_was_compiled(
    loaded: detections.Detectors, compiled: Prefilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, data = compiled.save(), automaton().save()
    compiles = spy_on_compiles(monkeypatch)
    again, data_again = Prefilter(loaded, saved), Automaton(data)
    assert not compiles
    for text in TEXTS:
        assert again.families(text) == compiled.families(text)
        assert sorted(data_again.classes(text)) == sorted(automaton().classes(text))
    assert again.families(TEXTS[2])
    assert again.save() == saved


def test_what_is_compiled_later_answers_as_what_was_compiled_before(
    loaded: detections.Detectors, compiled: Prefilter, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiles = spy_on_compiles(monkeypatch)
    lazy = Prefilter(loaded, later=True)
    assert not compiles
    plain = Request("GET", "/orders/17", {"user-agent": "bench/1.0", "accept": "*/*"})
    odd = Request("GET", "/orders?q=%27%20or%201%3D1--", {"user-agent": "bench/1.0"})
    for request, built in ((plain, 1), (plain, 1), (odd, 2)):
        operation = decode_request(request, Limits())
        assert lazy.scan(request, operation) == compiled.scan(request, operation)
        assert len(compiles) == built
    assert lazy.scan(odd, decode_request(odd, Limits()))
    for text in TEXTS:
        assert lazy.families(text) == compiled.families(text)
    assert lazy.save() == compiled.save()


@pytest.mark.parametrize("at", [0, 31, 32, 40, 80, 5_000, -1])
def test_one_wrong_bit_is_a_compile(
    loaded: detections.Detectors, compiled: Prefilter, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    damaged = bytearray(compiled.save())
    damaged[at] ^= 1
    compiles = spy_on_compiles(monkeypatch)
    monkeypatch.setattr(prefilter, "_compiled", lambda _, later: compiles.append(1) or ((), compiled._databases))
    Prefilter(loaded, bytes(damaged))
    assert compiles
    for cut in (b"", b"x", bytes(damaged[:31]), compiled.save()[:-1]):
        assert automata.restore(cut, b"") is None


def test_other_patterns_are_a_compile(loaded: detections.Detectors, compiled: Prefilter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when only a file changed: a new pattern must never be missing because of an old cache."""
    few = detections.Detectors(d for d in loaded if d.meta.id != "sql-injection")
    assert automata.fingerprint(prefilter._sources(few)) != automata.fingerprint(prefilter._sources(loaded))
    compiles: list[int] = []
    monkeypatch.setattr(prefilter, "_compiled", lambda _, later: compiles.append(1) or ((), compiled._databases))
    Prefilter(few, compiled.save())
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read(self) + (b"\n# changed" if self.name == "patterns.yaml" else b""))
    Prefilter(loaded, compiled.save())
    assert len(compiles) == 2


def test_a_well_made_file_of_another_database_is_refused(compiled: Prefilter) -> None:
    mark = automata.fingerprint([b"a"])
    database = automata.build([b"abc"], [0], [0])
    whole = automata.save(mark, ("x",), (database,))
    assert automata.restore(whole, mark) is not None
    assert automata.restore(whole, automata.fingerprint([b"b"])) is None

    for dump in (b"", b"garbage", b"\0" * 2_000):
        data = msgspec.msgpack.encode((mark, ("x",), (dump,)))
        assert automata.restore(automata.blake2b(data, digest_size=32).digest() + data, mark) is None


def test_file_is_written_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "automata"
    assert automata_file.read(path) == {}
    automata_file.write(path, {"a": b"1"})
    automata_file.write(path, {"a": b"2"})
    assert automata_file.read(path) == {"a": b"2"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["automata"]


def test_a_file_that_others_may_have_written_is_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "automata"
    automata_file.write(path, {"a": b"1"})
    path.chmod(0o620)
    assert automata_file.read(path) == {}
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    assert automata_file.read(tmp_path / "link") == {}
    path.write_bytes(b"\xff\xff")
    assert automata_file.read(path) == {}
    assert len(caplog.messages) == 3
    assert automata_file.read(tmp_path) == {}
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert automata_file.read(tmp_path / "pipe") == {}


def test_where_nothing_can_be_written_the_engine_starts_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    automata_file.write(tmp_path / "absent" / "automata", {"a": b"1"})
    assert "cannot be kept" in caplog.text


def test_an_engine_takes_up_what_another_left_and_rehearsing_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start() -> Engine:
        spool = SpoolWriter(tmp_path / "spool", "0")
        engine = Engine("0", FileSnapshotStore(tmp_path / "snapshot"), spool, automata=kept)
        assert spool.buffered == 0
        spool.close()
        return engine

    kept: dict[str, bytes] = {}
    first = start()
    kept = first.automata()
    compiles = spy_on_compiles(monkeypatch)
    second = start()
    assert not compiles
    assert second.automata() == kept
    assert second.calls == 0
    assert not second.uninspected
    assert set(second.state.sizes().values()) == {0}
    restore_automaton(b"")  # as it was for the other tests
    assert compiles


def test_of_what_was_installed_and_what_was_left_the_one_that_fits_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = automaton().save()
    path, installed = tmp_path / "automata", tmp_path / "automata.built"
    monkeypatch.setattr(automata_file, "BUILT", installed)
    assert automata_file.known(path) == {}
    compiles = spy_on_compiles(monkeypatch)
    for first, second in ((good, b"of another machine"), (b"of another machine", good), (good, good), (good, b""), (b"", good)):
        installed.write_bytes(msgspec.msgpack.encode({"data": first} if first else {}))
        path.unlink(missing_ok=True)
        if second:
            automata_file.write(path, {"data": second})
        assert Automaton(automata_file.known(path)["data"]).classes(b"4111111111111111")
    assert not compiles
    assert automata.restore(automata.either(b"x", automata.either(b"y", good)), b"") is None


def test_what_was_installed_is_not_written_again_and_damage_costs_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, installed = tmp_path / "automata", tmp_path / "automata.built"
    monkeypatch.setattr(automata_file, "BUILT", installed)
    installed.write_bytes(msgspec.msgpack.encode({"a": b"1"}))
    automata_file.keep(path, {"a": b"1"})
    assert not path.exists()
    automata_file.keep(path, {"a": b"2"})
    assert automata_file.read(path) == {"a": b"2"}
    installed.write_bytes(b"\xff\xff")
    assert automata_file.known(path) == {"a": b"2"}
    assert "do not read" in caplog.text


def test_a_build_compiles_what_an_engine_takes_wherever_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    automata_build.main(str(tmp_path / "automata.built"))
    monkeypatch.setattr(automata_file, "BUILT", tmp_path / "automata.built")
    kept = automata_file.built()
    elsewhere = detections.Detectors(
        msgspec.structs.replace(one, folder=str(tmp_path / Path(one.folder).name)) for one in detections.load()
    )
    for one in detections.load():
        shutil.copytree(one.folder, tmp_path / Path(one.folder).name)
    compiles = spy_on_compiles(monkeypatch)
    Prefilter(elsewhere, kept["prefilter"])
    Automaton(kept["data"])
    assert not compiles
