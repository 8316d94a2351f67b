"""The shim's codec, settings and ids, built with the address and undefined-behaviour sanitizers, against the Python ones."""

from __future__ import annotations

import contextlib
import random
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.envoy.building import SHIM, build

from eastwall.dataplanes.envoy import frames
from eastwall.model.call import BodyState, Call, Completion, Peer, Phase, Request, Response
from eastwall.model.decision import Answer, Piece, Release


class Harness:
    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ask(self, command: str, data: bytes) -> bytes:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(command.encode() + struct.pack("<I", len(data)) + data)
        process.stdin.flush()
        size = process.stdout.read(4)
        if len(size) < 4:
            process.wait(10)
            pytest.fail(f"the harness died on {command} {data[:200]!r}:\n{process.stderr.read().decode()[:4000]}")
        return process.stdout.read(struct.unpack("<I", size)[0])

    def close(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(10)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    directory = tmp_path_factory.mktemp("codec")
    program = build(directory, "codec", "address,undefined", "codec_harness.c", "frames.c", "settings.c", "ulid.c")
    harness = Harness(program)
    yield harness
    assert harness.close() == 0  # leaks are found at exit


def test_the_generated_header_is_current() -> None:
    assert (SHIM / "frame_constants.h").read_text() == frames.constants_header()


# --- what Python writes, C reads ---

TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)
ANSWERS = st.builds(
    Answer,
    deny=st.booleans(),
    status=st.integers(200, 599),
    headers=st.lists(st.tuples(TEXT, TEXT), max_size=5).map(tuple),
    remove_headers=st.lists(TEXT, max_size=4).map(tuple),
    body=st.none() | st.binary(max_size=300),
    want_response=st.integers(0, 2),
)


@given(ANSWERS, st.integers(0, 2**64 - 1))
@settings(max_examples=200, deadline=None)
def test_c_reads_the_verdicts_that_python_writes(shim: Harness, answer: Answer, wire: int) -> None:
    frame = frames.encode_verdict(wire, answer)
    plain = not (answer.deny or answer.headers or answer.remove_headers or answer.body is not None)
    fields = [part for pair in answer.headers for part in pair] + list(answer.remove_headers)
    expected = f"{answer.deny:d}|{answer.body is not None:d}|{0 if plain else answer.status}|{answer.want_response}|"
    expected += f"{len(answer.headers)}|{len(answer.remove_headers)}\n" + "".join(f"{field}\n" for field in fields)
    assert shim.ask("v", frame) == expected.encode("latin-1") + (answer.body or b"")


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_c_survives_noise(shim: Harness, data: bytes) -> None:
    assert shim.ask("v", data) == b"bad"
    assert shim.ask("l", data) == b"bad"
    assert shim.ask("w", data)[-3:] in (b"bad", b"end")


@given(ANSWERS, st.data())
@settings(max_examples=300, deadline=None)
def test_c_survives_damaged_verdicts(shim: Harness, answer: Answer, data: st.DataObject) -> None:
    frame = bytearray(frames.encode_verdict(1, answer))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(frame) - 1))
        frame[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(frame)))
    for damaged in (bytes(frame), bytes(frame[:cut])):
        # Damage may still be a valid frame (another header value); what counts is that nothing outside is read (ASAN).
        shim.ask("v", damaged)
        shim.ask("w", damaged)


FIELD = st.binary(max_size=60).map(lambda b: b.replace(b"\0", b""))
RELEASES = st.builds(
    Release,
    consumed=st.integers(0, 2**32 - 1),
    body=st.none() | st.binary(max_size=300),
    end=st.booleans(),
    trailers=st.lists(st.tuples(TEXT, TEXT), max_size=4).map(tuple),
    part=st.booleans(),
)


@given(RELEASES, st.integers(0, 2**64 - 1), st.data())
@settings(max_examples=200, deadline=None)
def test_c_reads_the_releases_that_python_writes(shim: Harness, release: Release, wire: int, data: st.DataObject) -> None:
    frame = frames.encode_release(wire, release)
    assert frames.parse_header(frame)[3] == wire
    assert frames.decode_release(frame) == release
    expected = f"{release.end:d}|{release.body is not None:d}|{release.part:d}|{release.consumed}|{len(release.trailers)}\n"
    expected += "".join(f"{part}\n" for pair in release.trailers for part in pair)
    assert shim.ask("l", frame) == expected.encode("latin-1") + (release.body or b"")
    damaged = bytearray(frame)
    damaged[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    shim.ask("l", bytes(damaged[: data.draw(st.integers(0, len(frame)))]))


@given(FIELD, st.binary(max_size=300), st.sampled_from(Phase), st.booleans(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_python_reads_the_pieces_that_c_writes(
    shim: Harness, call_id: bytes, body: bytes, phase: Phase, end: bool, watched: bool
) -> None:
    frame = made(
        shim, frames.PIECE, [call_id], flags=frames.NO_REPLY * watched, state=frames.END * end, number=phase, wire=9, body=body
    )
    expected = Piece(call_id.decode("latin-1"), phase, body, end, watched)
    assert frames.decode_piece(frame, watched=bool(frames.parse_header(frame)[2] & frames.NO_REPLY)) == expected
    assert frames.encode_piece(9, expected, frames.NO_REPLY * watched) == frame


@given(st.binary(max_size=200))
def test_noise_is_no_piece(data: bytes) -> None:
    for read in (frames.decode_piece, frames.decode_release):
        with contextlib.suppress(frames.FrameError):
            read(data)


def test_c_refuses_what_would_split_a_header(shim: Harness) -> None:
    good = frames.encode_verdict(1, Answer(headers=(("x-a", "1234"),)))
    assert shim.ask("v", good).startswith(b"0|0|0|2|1|0\n")
    for bad in (b"12\n4", b"12\r4", b"12\x004"):
        assert shim.ask("v", good.replace(b"1234", bad)) == b"bad"


def test_c_walks_a_stream_as_python_does(shim: Harness) -> None:
    parts = [
        frames.encode_bare(frames.PONG, 3),
        frames.encode_verdict(4, Answer(body=b"x" * 100)),
        frames.encode_bare(frames.FAILED, 5),
    ]
    assert shim.ask("w", b"".join(parts)) == b"6 0 3\n5 2 4\n7 0 5\nend"
    assert shim.ask("w", b"".join(parts)[:-1]) == b"6 0 3\n5 2 4\nend"
    newer = bytearray(parts[0])
    newer[4] = frames.VERSION + 1
    assert shim.ask("w", bytes(newer)) == b"bad"


# --- what C writes, Python reads ---


def made(
    shim: Harness, kind: int, fields: list[bytes], *, flags: int = 0, state: int = 0, number: int = 0, wire: int = 0, body: bytes = b"",
    numbers: tuple[int, int, int] = (0, 0, 0), time: float = 0.0
) -> bytes:  # fmt: skip
    head = struct.pack("<BBBHQQQQd", kind, flags, state, number, wire, *numbers, time)
    text = b"".join(struct.pack("<I", len(field)) + field for field in fields) + b"\xff\xff\xff\xff"
    return shim.ask("m", head + text + body)


NAMES = st.lists(st.from_regex(rb"[a-z][a-z0-9-]{0,12}", fullmatch=True), unique=True, max_size=6)


@given(st.lists(FIELD, min_size=10, max_size=10), NAMES, st.binary(max_size=500), st.sampled_from(BodyState), st.data())
@settings(max_examples=150, deadline=None)
def test_python_reads_the_requests_that_c_writes(
    shim: Harness, fields: list[bytes], names: list[bytes], body: bytes, state: BodyState, data: st.DataObject
) -> None:
    values = [data.draw(FIELD) for _ in names]
    port, tls, time = data.draw(st.integers(0, 65535)), data.draw(st.booleans()), data.draw(st.floats(0, 4e9))
    pairs = [part for pair in zip(names, values, strict=True) for part in pair]
    frame = made(
        shim,
        frames.REQUEST,
        fields + pairs,
        flags=frames.TLS * tls | frames.NO_REPLY,
        state=state,
        number=port,
        wire=77,
        body=body,
        time=time,
    )
    assert frames.parse_header(frame) == (len(frame), frames.REQUEST, frames.TLS * tls | frames.NO_REPLY, 77)
    text = [field.decode("latin-1") for field in fields]
    headers = {name.decode(): value.decode("latin-1") for name, value in zip(names, values, strict=True)}
    uris, dns = tuple(text[7].split("\n")) if text[7] else (), tuple(text[8].split("\n")) if text[8] else ()
    expected = Call(
        text[0],
        text[1],
        time,
        Peer(text[6], port, tls, uris, dns, text[9]),
        Request(text[2], text[3], headers, text[4], text[5], body, state),
    )
    assert frames.decode_request(frame) == expected
    assert frames.encode_request(77, expected, frames.NO_REPLY) == frame  # both write the same bytes


@given(FIELD, NAMES, st.binary(max_size=500), st.sampled_from(BodyState), st.integers(100, 599))
@settings(max_examples=100, deadline=None)
def test_python_reads_the_responses_that_c_writes(
    shim: Harness, call_id: bytes, names: list[bytes], body: bytes, state: BodyState, status: int
) -> None:
    frame = made(
        shim,
        frames.RESPONSE,
        [call_id, *[part for name in names for part in (name, b"v")]],
        state=state,
        number=status,
        wire=9,
        body=body,
    )
    expected = Response(status, {name.decode(): "v" for name in names}, body, state)
    assert frames.decode_response(frame) == (call_id.decode("latin-1"), expected)
    assert frames.encode_response(9, call_id.decode("latin-1"), expected) == frame


@given(
    st.lists(FIELD, min_size=6, max_size=6), st.tuples(*[st.integers(0, 2**64 - 1)] * 3), st.integers(0, 999), st.floats(0, 4e9)
)
@settings(max_examples=100, deadline=None)
def test_python_reads_the_completions_that_c_writes(
    shim: Harness, fields: list[bytes], numbers: tuple[int, int, int], status: int, time: float
) -> None:
    reasons = frames.REASONS[:2]
    frame = made(shim, frames.COMPLETED, fields + [r.encode() for r in reasons], number=status, numbers=numbers, time=time)
    t = [field.decode("latin-1") for field in fields]
    expected = Completion(t[0], t[1], time, t[2], t[3], t[4], status, *numbers, t[5], reasons)
    assert frames.decode_completed(frame) == expected
    assert frames.encode_completed(expected) == frame


@given(
    st.binary(max_size=300),
    st.binary(max_size=300),
    st.sampled_from((BodyState.COMPLETE, BodyState.TRUNCATED)),
    st.sampled_from((BodyState.COMPLETE, BodyState.TRUNCATED)),
    st.integers(0, 16) | st.just(-1),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_python_reads_the_copies_that_c_adds(
    shim: Harness, asked: bytes, answered: bytes, state: BodyState, other: BodyState, status: int, stripped: bool
) -> None:
    how = struct.pack("<BBBBI", state, other, status + 1, stripped, len(asked)) + asked + answered
    frame = made(shim, frames.COMPLETED, [b"id", b"s", b"POST", b"/a.B/C", b"h", b"1.2.3.4"], number=200, body=how)
    plain = Completion("id", "s", 0.0, "POST", "/a.B/C", "h", 200, 0, 0, 0, "1.2.3.4", grpc_status=status)
    full = replace(plain, request_copy=asked, request_copy_state=state, response_copy=answered, response_copy_state=other)
    expected = plain if stripped else full
    assert frames.decode_completed(frame) == expected
    assert frames.encode_completed(expected) == frame


def test_nul_cannot_forge_a_field(shim: Harness) -> None:
    frame = made(shim, frames.RESPONSE, [b"id", b"name", b"a\0x-admin\0yes\0"], number=200)
    assert frames.decode_response(frame)[1].headers == {"name": "a\x1ax-admin\x1ayes\x1a"}


def test_ping(shim: Harness) -> None:
    assert made(shim, frames.PING, []) == frames.encode_bare(frames.PING)


# --- settings and ids ---


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("service=a\nmode=enforce\nfail=closed\nmax_body=10\nover_limit=block", "ok a 2 1 1 10"),
        ("service=a", "ok a 0 0 0 1048576"),
        ("service=a\nmode=enforced", "bad line in the shim's configuration: `mode=enforced`"),
        ("service=a\nmax_body=-1", "bad line in the shim's configuration: `max_body=-1`"),
        ("service=a\nmax_body=99999999999999999999", "bad line in the shim's configuration: `max_body=99999999999999999999`"),
        ("service=a\nfial=open", "bad line in the shim's configuration: `fial=open`"),
        ("service=a\nfail", "bad line in the shim's configuration: `fail`"),
        ("mode=enforce", "a route's shim configuration names no service"),
        ("service=" + "a" * 300, f"bad line in the shim's configuration: `service={'a' * 300}`"),
        ("x" * 600, "a line of the shim's configuration is too long or holds a NUL"),
    ],
)
def test_route_settings(shim: Harness, text: str, answer: str) -> None:
    assert shim.ask("r", text.encode()).decode() == answer


def test_filter_settings(shim: Harness) -> None:
    assert shim.ask("o", b"engine=/a\nengine=/b\nmisses=5\nproblem_base=urn:x:\n") == b"ok 2 /a 1000 2000 200 5 8192 urn:x:"
    assert shim.ask("o", b"misses=5") == b"the shim's configuration names no engine"
    assert b"deadline_ms=0" in shim.ask("o", b"engine=/a\ndeadline_ms=0")
    assert b"bad line" in shim.ask("o", b"engine=" + b"/" * 200)
    assert b"bad line" in shim.ask("o", b"engine=/a\n" * 33)


@given(st.binary(max_size=700))
@settings(max_examples=200, deadline=None)
def test_settings_survive_noise(shim: Harness, data: bytes) -> None:
    assert not shim.ask("r", data).startswith(b"ok") or b"service=" in data
    assert not shim.ask("o", data).startswith(b"ok") or b"engine=" in data


def test_ulid(shim: Harness) -> None:
    # The example of https://github.com/ulid/spec: 01ARZ3NDEKTSV4RRFFQ69G5FAV.
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    value = 0
    for letter in "01ARZ3NDEKTSV4RRFFQ69G5FAV":
        value = value << 5 | alphabet.index(letter)
    parts = struct.pack("<QQQ", value >> 80, value >> 64 & 0xFFFF, value & 2**64 - 1)
    assert shim.ask("u", parts) == b"01ARZ3NDEKTSV4RRFFQ69G5FAV"
    rng = random.Random(1)
    for _ in range(100):
        ms, high, low = rng.getrandbits(48), rng.getrandbits(16), rng.getrandbits(64)
        text = shim.ask("u", struct.pack("<QQQ", ms, high, low)).decode()
        number = 0
        for letter in text:
            number = number << 5 | alphabet.index(letter)
        assert number == ms << 80 | high << 64 | low
    ids = {shim.ask("u", struct.pack("<QQQ", 1, 1 << 20, 0)) for _ in range(2000)}
    assert len(ids) == 2000
