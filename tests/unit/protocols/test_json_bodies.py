"""JSON bodies: the shortcuts against slow twins, and what parsers disagree on."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eastwall.protocols import json as bodies
from eastwall.protocols.limits import Limits

if bodies.accelerated:
    from eastwall.protocols._survey import doubts

needs_c = pytest.mark.skipif(not bodies.accelerated, reason="the loop in C is not built (no compiler at installation)")
LIMITS = Limits()


class Pairs:
    """An object as written: pairs in order, keys may repeat."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs

    def __repr__(self) -> str:
        return f"Pairs({self.pairs!r})"


keys = st.sampled_from(["a", "b", "c", "a:b", 'q"', "\\", "role", "\u00e9", "", ":"]) | st.text(max_size=4)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 1234567890123456, 999999999999999])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.sampled_from('ab:{}[],"\\\u00e9\U0001f600 0123456789\n'), max_size=24)
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.lists(st.tuples(keys, inner), max_size=4).map(Pairs),
    max_leaves=20,
)


@st.composite
def written(draw: st.DrawFn, tree: st.SearchStrategy[Any] = trees) -> bytes:
    """A tree as some program might write it: spaces anywhere, any character of a string as an escape."""
    space = draw(st.sampled_from(["", " ", "\n\t"]))
    escapes = draw(st.sampled_from(["none", "ascii", "every", "upper"]))

    def text(value: str) -> str:
        if escapes == "none":
            return json.dumps(value, ensure_ascii=False)
        if escapes == "ascii":
            return json.dumps(value)
        units = value.encode("utf-16-be")
        form = "\\u%04x" if escapes == "every" else "\\u%04X"
        return '"' + "".join(form % int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)) + '"'

    def write(node: Any) -> str:
        if isinstance(node, Pairs):
            inner = f"{space},{space}".join(f"{text(k)}{space}:{space}{write(v)}" for k, v in node.pairs)
            return f"{{{space}{inner}{space}}}"
        if isinstance(node, list):
            return f"[{space}" + f"{space},{space}".join(map(write, node)) + f"{space}]"
        return text(node) if isinstance(node, str) else json.dumps(node)

    return (space + write(draw(tree)) + space).encode()


def repeated_keys(body: bytes) -> list[str]:
    """The slow, obvious twin."""
    found: list[str] = []

    def hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [key for key, _ in pairs]
        found.extend(name for name in set(names) if names.count(name) > 1)
        return dict(pairs)

    json.loads(body, object_pairs_hook=hook)
    return found


def big_integers(tree: Any) -> list[int]:
    if isinstance(tree, dict):
        return [found for value in tree.values() for found in big_integers(value)]
    if isinstance(tree, list):
        return [found for value in tree for found in big_integers(value)]
    return [tree] if isinstance(tree, int) and not isinstance(tree, bool) and abs(tree) > 2**53 else []


def depth(tree: Any) -> int:
    if isinstance(tree, dict):
        return 1 + max(map(depth, tree.values()), default=0)
    return 1 + max(map(depth, tree), default=0) if isinstance(tree, list) else 0


def ids(parsed: bodies.Parsed) -> list[str]:
    return [fault.id for fault in parsed.faults]


def parse(body: bytes, limits: Limits) -> bodies.Parsed:
    """What both the C loop and its Python twin make of a body: the same."""
    slow = with_python(body, limits)
    if bodies.accelerated:
        assert repr(bodies.parse(body, limits)) == repr(slow)
    return slow


def with_python(body: bytes, limits: Limits) -> bodies.Parsed:
    present, bodies.accelerated = bodies.accelerated, False
    try:
        return bodies.parse(body, limits)
    finally:
        bodies.accelerated = present


@given(written())
@example(b'{"a":1,"a":1}')
@example(b'{"a":{"b":1},"a":2,"x":"\\u0022\\u003a\\u003a"}')  # escaped colons would hide the dropped ones from a bare count
@example(b'{"a":1,"x":":","\\u0061":2}')
@example(b'{"a" :1, "x":"\\":" , "a"\n: 2}')
@example(b'{"a":{"x":"::"},"a":"::::"}')
def test_repeated_keys_are_found_as_the_slow_twin_finds_them(body: bytes) -> None:
    parsed = parse(body, LIMITS)
    assert parsed.ok
    assert parsed.tree == json.loads(body)
    assert ("duplicate-key" in ids(parsed)) == bool(repeated_keys(body))


@given(written())
def test_no_slow_pass_on_a_clean_body(body: bytes) -> None:
    """The shortcut is taken for every body without repeated keys, unless it hides colons in escapes."""
    if b"\\u003" not in body.lower() and not repeated_keys(body):
        assert not bodies.may_repeat_keys(body, json.loads(body))


@given(written())
@example(b"[9007199254740993]")
@example(b"[-9007199254740993,9007199254740992]")
@example(b'{"card":"4111111111111111"}')
def test_big_integers_are_told_and_kept_exact(body: bytes) -> None:
    parsed = parse(body, LIMITS)
    expected = big_integers(json.loads(body))
    assert ("big-integer" in ids(parsed)) == bool(expected)
    assert big_integers(parsed.tree) == expected


@given(st.binary(max_size=40).map(lambda raw: raw.translate(bytes(b"0123456789abcdef"[i % 16] for i in range(256)))))
def test_the_digit_shortcut_never_misses_a_run(body: bytes) -> None:
    digits = "".join(chr(b) if chr(b).isdigit() else " " for b in body)
    assert bodies.may_hold_big_integer(body) == any(len(run) >= 16 for run in digits.split())


@given(written(), st.integers(0, 8))
def test_depth_is_counted_as_the_slow_twin_counts_it(body: bytes, levels: int) -> None:
    tree = json.loads(body)
    assert bodies.deeper_than(tree, levels) == (depth(tree) > levels)
    parsed = parse(body, Limits(max_depth=levels))
    assert parsed.ok == (depth(tree) <= levels)
    assert parsed.ok or ids(parsed) == ["too-deep"]


@pytest.mark.parametrize("levels", [65, 900, 1100, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]"), ('["][",', "]")])
def test_deep_bodies_are_refused_whatever_their_form(levels: int, opening: str, closing: str) -> None:
    for body in (opening * levels + "1" + closing * levels, opening * levels):
        parsed = parse(body.encode(), LIMITS)
        assert not parsed.ok
        assert ids(parsed) in (["too-deep"], ["invalid-json"], ["too-many-values"])
    assert parse((opening * 20 + "1" + closing * 20).encode(), LIMITS).ok


def test_a_million_keys_cost_no_memory_to_speak_of() -> None:
    body = ("{" + ",".join(f'"k{i}":1' for i in range(1_000_000)) + "}").encode()
    tracemalloc.start()
    parsed = parse(body, LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not parsed.ok
    assert ids(parsed) == ["too-many-values"]
    assert peak < 2 * len(body)


@pytest.mark.parametrize(("count", "ok"), [(49_999, True), (50_000, False)])
def test_values_are_counted_exactly_and_commas_in_text_are_none(count: int, ok: bool) -> None:
    # `count` items and the array itself.
    assert parse(("[" + ",".join(["0"] * count) + "]").encode(), LIMITS).ok is ok
    assert parse(json.dumps([",[{" * 60_000, '"' + ",[" * 60_000]).encode(), LIMITS).ok


def test_an_unterminated_string_does_not_cost_quadratic_time() -> None:
    body = b'"' + b'\\"' * 2_000_000
    assert ids(parse(body, LIMITS)) == ["invalid-json"]
    assert ids(parse(b"[" + b'",' * 500_000, LIMITS))[0] in ("invalid-json", "too-many-values")
    for piece in (b"/*", b"/", b"#", b", ", b"//\n", b"/* *", b'"/*'):
        assert ids(parse(b"[1" + piece * 500_000, LIMITS))[0] in ("invalid-json", "too-many-values")


@pytest.mark.parametrize(
    ("body", "tree", "expected"),
    [
        (b"[NaN]", math.nan, "nan"),
        (b'{"a":-Infinity}', -math.inf, "nan"),
        (b'{"a":1} {"b":2}', {"a": 1}, "trailing-data"),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}, "bom"),
        ('{"a":1}'.encode("utf-16"), {"a": 1}, "undeclared-charset"),
        ('{"a":1}'.encode("utf-16-be"), {"a": 1}, "undeclared-charset"),
        ('{"a":1}'.encode("utf-32-le"), {"a": 1}, "undeclared-charset"),
        (b'{"a":"\xff"}', {"a": "\ufffd"}, "invalid-utf8"),
        (b'{"a":"\xc0\xae"}', {"a": "."}, "overlong-utf8"),
        (b'{"a":"\xe0\x80\xae\xf0\x80\x80\xaf\xe0\x9f\xbf"}', {"a": "./\u07ff"}, "overlong-utf8"),
        (b'{"a":"\xed\xa0\x80"}', {"a": "\ufffd\ufffd\ufffd"}, "invalid-utf8"),
        (b'{"a":1, /* "a": 2, */ "b":2} // c', {"a": 1, "b": 2}, "json-comment"),
        (b'# c\n{"a":"//x #y /*"}', {"a": "//x #y /*"}, "json-comment"),
        (b'{"a":[1,2 , ],}', {"a": [1, 2]}, "trailing-comma"),
        (b'{"a":",]",/*,*/}', {"a": ",]"}, "trailing-comma"),
        (b'{"a":"x\ny"}', {"a": "x\ny"}, "invalid-json"),
        (b'{"a":"\\ud800"}', {"a": "\ufffd"}, "lone-surrogate"),
        (b"[1e999]", [math.inf], "invalid-json"),
        (b'[NaN,{"a":1,"a":2}]', None, "duplicate-key"),
        (b'{"n":18446744073709551616}', {"n": 18446744073709551616}, "big-integer"),
        (b"[" + b"9" * 5000 + b"]", ["9" * 5000], "big-integer"),
    ],
)
def test_what_parsers_disagree_on_is_told_and_still_read(body: bytes, tree: Any, expected: str) -> None:
    parsed = parse(body, LIMITS)
    assert parsed.ok
    assert expected in ids(parsed)
    if isinstance(tree, float):
        value = parsed.tree[0] if isinstance(parsed.tree, list) else parsed.tree["a"]
        assert repr(value) == repr(tree)
    elif tree is not None:
        assert parsed.tree == tree


@pytest.mark.parametrize("body", [b"", b" ", b"{", b"{'a':1}", b"nope", b'{"a" 1}', b"\x00", b'"', b"//c", b"0123", b"{\xff"])
def test_what_is_no_json_is_no_json(body: bytes) -> None:
    parsed = parse(body, LIMITS)
    if parsed.ok:
        assert ids(parsed) == ["trailing-data"]  # 0123 begins with the number 0
    else:
        assert "invalid-json" in ids(parsed)


def test_faults_name_the_place_and_are_bounded() -> None:
    parsed = parse(b'{"items":[{"id":1},{"id":90071992547409931}]}', LIMITS)
    assert [(fault.id, fault.where) for fault in parsed.faults] == [("big-integer", "body.items[1].id")]
    many = ("[" + ",".join(['{"a":1,"a":12345678901234567890}'] * 1000) + "]").encode()
    assert len(parse(many, LIMITS).faults) <= 20


@needs_c
@given(written(), st.integers(0, 8))
@example(b'{"a":1,"a":1}', 8)
@example(b'{"a":[[[[1]]]],"a":2}', 2)  # what was dropped counts as deep
@example(b'["\\\\",{"a":1,"\\u0061":2}]', 8)
@example(b'["\\"",1234567890123456]', 8)
def test_the_loop_in_c_is_exact(body: bytes, levels: int) -> None:
    tree = msgspec.json.decode(body)
    found = doubts(body, tree, levels)
    written_depth = depth(json.loads(body, object_pairs_hook=lambda pairs: [value for _, value in pairs]))
    assert bool(found & bodies.DEEP) == (written_depth > levels)
    if not found & bodies.DEEP:
        assert bool(found & bodies.REPEATS) == bool(repeated_keys(body))
    if big_integers(tree):
        assert found & bodies.BIG
    # It may only be quieter than its twin where the twin need not have spoken.
    assert not found & ~bodies.DEEP & ~bodies.REPEATS & ~bodies.doubts_of(body, tree, levels)


@needs_c
@given(
    st.binary(max_size=64) | st.text('"\\{}[]:,0123456789a', max_size=64).map(str.encode),
    trees.map(lambda tree: tree if not isinstance(tree, Pairs) else None),
)
def test_the_loop_in_c_stands_any_bytes(body: bytes, tree: Any) -> None:
    """Only decoded bodies come to it; still, nothing in the bytes may lead it out of them."""
    assert 0 <= doubts(body, tree, 8) <= 7


def test_what_a_repeated_key_drops_may_be_deeper_than_any_parser_goes() -> None:
    """The decoder takes it, the pass that looks for the repeated key may not: still an answer, and the same from both loops."""
    for levels in (*range(60, 70), *range(880, 1000, 3)):
        body = b'{"a":' + b"[" * levels + b"]" * levels + b',"a":1}'
        parsed = parse(body, LIMITS)
        assert set(ids(parsed)) & {"duplicate-key", "too-deep"}, levels
