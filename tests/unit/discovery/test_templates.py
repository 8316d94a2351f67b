"""Path templates: what is a name and what is a value, in the cases that real APIs bring; bounds; merging; storage."""

from __future__ import annotations

import random
import string
import time
import uuid
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery import template_evidence, templates
from eastwall.discovery.inventory import compile_inventory, endpoint_id, identify
from eastwall.discovery.templates import MAX_DEPTH, TemplateTree, path_of, split_path, templates_of
from eastwall.model.endpoint import Endpoint
from eastwall.model.operation import Operation
from eastwall.sources.observed import ObservedCall

_NAMES = """alice bob carol dave erin frank grace heidi ivan judy kevin laura mallory nina oscar peggy quentin rupert sybil trent
ursula victor wendy xavier yvonne zach"""
USERS = _NAMES.split()


def learn(paths: Iterable[str | tuple[str, str] | tuple[str, str, int]]) -> TemplateTree:
    tree = TemplateTree()
    for entry in paths:
        method, path, status = ("GET", entry, 200) if isinstance(entry, str) else (*entry, 200)[:3]
        tree.observe(method, path, status)
    return tree


def found(paths: Iterable[str | tuple[str, str] | tuple[str, str, int]]) -> set[str]:
    return {f"{t.method} {t.template}" for t in learn(paths).templates()}


@pytest.mark.parametrize(
    "make",
    [
        lambda r: str(r.randrange(10**6)),
        lambda r: str(uuid.UUID(int=r.getrandbits(128))),
        lambda r: f"{r.getrandbits(96):024x}",
        lambda r: "01" + "".join(r.choices("0123456789ABCDEFGHJKMNPQRSTVWXYZ", k=24)),
        lambda r: f"2026-{r.randrange(1, 13):02}-{r.randrange(1, 29):02}",
        lambda r: f"{r.choice(USERS)}{r.randrange(99)}@example.com",
        lambda r: "cus_" + "".join(r.choices(string.ascii_letters + string.digits, k=14)),
        lambda r: "".join(r.choices(string.ascii_letters + string.digits + "-_", k=22)),
        lambda r: f"10.0.{r.randrange(256)}.{r.randrange(256)}",
    ],
    ids=["integer", "uuid", "hex", "ulid", "date", "email", "prefixed", "token", "ipv4"],
)
def test_clear_ids_of_every_kind(make) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(1)
    ids = [make(rng) for _ in range(12)]
    paths = ["/orders"] * 10 + [f"/orders/{i}" for i in ids] + [f"/orders/{i}/lines" for i in ids[:6]]
    names = {t.template.replace(t.parameters[0].name, "ID") if t.parameters else t.template for t in learn(paths).templates()}
    assert names == {"/orders", "/orders/{ID}", "/orders/{ID}/lines"}


def test_names_of_parameters() -> None:
    rng = random.Random(2)
    paths = [f"/users/{rng.randrange(10**6)}/orders/{uuid.UUID(int=rng.getrandbits(128))}" for _ in range(20)]
    paths += [f"/categories/{n}" for n in range(1000, 1020)] + [f"/v2/{n}" for n in range(3000, 3020)]
    paths += [f"/repos/{n}/{n + 7}" for n in range(5000, 5020)] + [f"/reports/2026-01-{n:02}" for n in range(1, 20)]
    templates = {t.template for t in learn(paths).templates()}
    assert "/users/{user_id}/orders/{order_id}" in templates
    assert "/categories/{category_id}" in templates
    assert "/v2/{id}" in templates
    assert "/repos/{repo_id}/{id}" in templates
    assert "/reports/{date}" in templates


def test_names_within_a_template_are_unique() -> None:
    paths = [f"/nodes/{n}/nodes/{n + 1}/nodes/{n + 2}" for n in range(100, 130)]
    (template,) = learn(paths).templates()
    assert template.template == "/nodes/{node_id}/nodes/{node_id_2}/nodes/{node_id_3}"
    assert [p.name for p in template.parameters] == ["node_id", "node_id_2", "node_id_3"]
    assert {p.kind for p in template.parameters} == {"integer"}


def zipf(rng: random.Random, values: list[str], count: int) -> list[str]:
    return rng.choices(values, weights=[1 / (n + 1.5) for n in range(len(values))], k=count)


def test_word_like_ids_with_a_heavy_head_beside_names() -> None:
    rng = random.Random(3)
    users = [u + rng.choice(["", "", str(rng.randrange(90))]) for u in USERS for _ in range(3)]
    paths: list[str | tuple[str, str]] = ["/users"] * 60 + ["/users/me"] * 70 + ["/users/search"] * 40 + ["/health"] * 50
    paths += [f"/users/{u}" for u in zipf(rng, users, 180)]
    paths += [("PUT", f"/users/{u}") for u in zipf(rng, users, 90)]
    paths += [f"/users/{u}/orders" for u in zipf(rng, users, 120)]
    paths += [f"/users/{u}/orders/{rng.randrange(9000)}" for u in zipf(rng, users, 120)]
    assert found(paths) == {
        "GET /health", "GET /users", "GET /users/me", "GET /users/search", "GET /users/{user_id}", "PUT /users/{user_id}",
        "GET /users/{user_id}/orders", "GET /users/{user_id}/orders/{order_id}",
    }  # fmt: skip


def test_named_collections_with_like_structure_stay_apart() -> None:
    rng = random.Random(4)
    collections = ["orders", "customers", "products", "invoices", "payments", "reports", "settings", "webhooks"]
    paths: list[str] = []
    for name in collections:
        paths += [f"/api/{name}"] * 40 + [f"/api/{name}/{rng.randrange(10**6)}" for _ in range(40)]
    assert {t.template.split("/")[2] for t in learn(paths).templates()} == set(collections)


def test_versions_and_single_numbers_are_names() -> None:
    rng = random.Random(5)
    paths = [f"/{v}/orders/{rng.randrange(9999)}" for v in ("v1", "v2") for _ in range(20)]
    assert found(paths) == {"GET /v1/orders/{order_id}", "GET /v2/orders/{order_id}"}
    assert found([f"/1/boards/{rng.getrandbits(96):024x}" for _ in range(20)]) == {"GET /1/boards/{board_id}"}
    assert found([f"/1.0/boards/{rng.getrandbits(96):024x}/cards" for _ in range(20)]) == {"GET /1.0/boards/{board_id}/cards"}


def test_verbs_and_formats_at_the_end_of_a_segment() -> None:
    paths: list[tuple[str, str]] = [("GET", f"/items/{n}") for n in range(100, 120)]
    paths += [("POST", f"/items/{n}:archive") for n in range(100, 115)] + [("GET", f"/items/{n}.json") for n in range(100, 110)]
    assert found(paths) == {"GET /items/{item_id}", "POST /items/{item_id}:archive", "GET /items/{item_id}.json"}


def test_file_names_are_one_parameter() -> None:
    rng = random.Random(6)
    names = [f"{rng.choice(USERS)}_{n}.{rng.choice(['png', 'pdf', 'csv', 'txt'])}" for n in range(40)]
    assert {t.template for t in learn(f"/files/{n}" for n in names).templates()} == {"/files/{file_id}"}


def test_keys_inside_a_segment() -> None:
    paths = [f"/users;role={r}/list" for r in ("admin", "guest", "owner")] + [f"/Orders({n})/lines" for n in range(20)]
    paths += [f"/reports/byPeriod(period='D{n}')" for n in range(7, 30)]
    assert found(paths) == {
        "GET /users;role={role}/list",
        "GET /Orders({order_id})/lines",
        "GET /reports/byPeriod(period='{period}')",
    }


def test_two_parameters_in_a_segment() -> None:
    rng = random.Random(7)
    paths = [f"/tiles/{rng.uniform(-90, 90):.3f},{rng.uniform(-180, 180):.3f}/now" for _ in range(20)]
    assert found(paths) == {"GET /tiles/{tile_id},{tile_id_2}/now"}


def test_a_date_within_a_segment() -> None:
    paths = [f"/exports/report-2026-{m:02}-{d:02}.csv" for m in range(1, 7) for d in (3, 17, 28)] + ["/exports"] * 9
    assert found(paths) == {"GET /exports", "GET /exports/report-{date}.csv"}


def test_two_parameters_joined_as_slugs_are() -> None:
    rng = random.Random(25)
    airports = ["VIE", "CDG", "JFK", "OSL", "NRT", "LIS", "ATH"]
    pairs = {f"{a}-{b}" for a in airports for b in airports if a != b}
    assert {t.template for t in learn(f"/routes/{p}" for p in sorted(pairs)).templates()} == {"/routes/{route_id}-{route_id_2}"}
    slugs = {f"{rng.choice(USERS)}{n}-{rng.choice(USERS)}" for n in range(40)}
    assert {t.template for t in learn(f"/articles/{p}" for p in sorted(slugs)).templates()} == {"/articles/{article_id}"}


def test_encoded_values_and_names() -> None:
    titles = [f"{a.title()}%20{b.title()}" for a in USERS[:6] for b in USERS[6:12]]
    paths = [f"/books/{t}" for t in titles] + ["/books"] * 30 + ["/caf%C3%A9/menu"] * 30
    assert found(paths) == {"GET /books", "GET /books/{book_id}", "GET /caf%C3%A9/menu"}


def test_an_empty_segment_within_a_path_is_a_step_like_others() -> None:
    assert found(["/admin//users"] * 3 + ["/v1//a/export"] * 3) == {"GET /admin//users", "GET /v1//a/export"}


def test_trailing_slash_is_told_as_it_is_used() -> None:
    assert found([f"/app/{n}/" for n in range(900, 920)] + ["/app/"] * 5 + ["/health"] * 5) == {
        "GET /app/",
        "GET /app/{app_id}/",
        "GET /health",
    }


def test_what_is_not_there_teaches_nothing() -> None:
    paths: list[tuple[str, str, int]] = [("GET", f"/orders/{n}", 200) for n in range(20)]
    paths += [("GET", p, 404) for p in ("/.env", "/wp-login.php", "/admin", "/orders/none/of/this")] * 9
    paths += [("DELETE", "/orders/1", 405), ("GET", "/teapot", 0), ("GET", "/secret", 401)]
    assert found(paths) == {"GET /orders/{order_id}"}


def test_an_operation_that_only_ever_answers_401_is_told_after_a_while() -> None:
    assert found([("GET", "/orders", 200)] * 5 + [("POST", "/orders", 401)] * 3) == {"GET /orders", "POST /orders"}


def test_later_evidence_undoes_a_merge() -> None:
    rng = random.Random(8)
    tree = learn([f"/shops/{rng.randrange(10**6)}/stock" for _ in range(30)] + ["/shops/export/stock"])
    before = {t.template for t in tree.templates()}
    for _ in range(60):
        tree.observe("POST", "/shops/export/jobs")
        tree.observe("GET", "/shops/export")
    after = {t.template for t in tree.templates()}
    assert "/shops/{shop_id}/stock" in before
    assert {"/shops/{shop_id}/stock", "/shops/export/jobs", "/shops/export"} <= after


def test_a_name_first_called_after_a_thousand_users_is_found() -> None:
    rng = random.Random(21)
    users = [u + str(rng.randrange(10**4)) for u in USERS * 60]
    tree = learn([f"/users/{u}" for u in users] * 2)
    for _ in range(40):
        tree.observe("GET", "/users/search")
        tree.observe("POST", "/users/search")
    assert {"GET /users/search", "POST /users/search", "GET /users/{user_id}"} <= {
        f"{t.method} {t.template}" for t in tree.templates()
    }


def test_ids_that_answers_gave_out_are_values_though_they_look_like_names() -> None:
    names = ["invoices", "payments", "billing", "catalog", "search", "reports", "metrics", "events"]
    paths = [f"/boards/{n}" for n in names for _ in range(6)] + ["/boards"] * 20 + ["/boards/archive"] * 6
    alone, told = TemplateTree(), TemplateTree()
    for path in paths:
        alone.observe("GET", path, 200)
        told.observe("GET", path, 200, (1,) if path.split("/")[-1] in names else ())
    assert "/boards/invoices" in {t.template for t in alone.templates()}
    found = {t.template for t in told.templates()}
    assert "/boards/{board_id}" in found
    assert not found & {f"/boards/{n}" for n in names}
    assert "/boards/archive" in found


def test_what_answers_gave_out_is_merged_and_stored() -> None:
    rng = random.Random(22)
    calls = [
        (f"/users/{rng.choice(USERS)}{rng.randrange(2000)}/lines/{rng.randrange(99)}:go", rng.choice([(), (1,), (1, 3)]))
        for _ in range(3000)
    ]
    whole, parts = TemplateTree(), [TemplateTree() for _ in range(8)]
    for at, (path, echoed) in enumerate(calls):
        whole.observe("GET", path, 200, echoed)
        parts[at % 8].observe("GET", path, 200, echoed)
    merged = TemplateTree()
    for part in parts:
        merged.merge(part)
    assert merged.to_bytes() == whole.to_bytes() == TemplateTree.from_bytes(whole.to_bytes()).to_bytes()
    users = whole._evidence.root.children["users"]
    echoed_users = sum(n.echoed for n in [*users.children.values(), *users.rest.values()])
    assert echoed_users == sum(1 in echoed for _, echoed in calls)


def test_one_number_that_all_calls_go_through_is_a_name_though_it_answers_itself() -> None:
    rng = random.Random(23)
    paths = [f"/1/boards/{rng.getrandbits(96):024x}" for _ in range(20)] + ["/1/members", "/1/cards", "/1"] * 6 + ["/robots.txt"]
    assert "GET /1/boards/{board_id}" in found(paths)
    assert "GET /1/cards" in found(paths)


def test_endpoint_ids_are_stable_over_relearning() -> None:
    rng = random.Random(24)
    ids: list[set[str]] = []
    for _ in range(2):
        calls = [f"/users/{rng.choice(USERS)}{rng.randrange(900)}/orders/{rng.randrange(9000)}" for _ in range(200)]
        ids.append({endpoint_id("s", t.method, t.template) for t in learn([*calls, *["/health"] * 20]).templates()})
    assert ids[0] == ids[1]


def test_match_agrees_with_the_inventory_of_the_templates() -> None:
    rng = random.Random(9)
    paths = (
        [f"/users/{rng.choice(USERS)}{n}/orders/{n}" for n in range(50)]
        + ["/users/me"] * 60
        + [f"/items/{n}:go" for n in range(30)]
    )
    tree = learn(paths)
    endpoints = [Endpoint(endpoint_id("s", t.method, t.template), "s", t.method, t.template) for t in tree.templates()]
    inventory = compile_inventory(endpoints)
    for path in paths:
        by_tree = tree.match("GET", path)
        match = identify("s", Operation("rest", "GET", tuple(split_path(path)), path), inventory)
        assert by_tree is not None
        assert match.endpoint is not None
        assert match.endpoint.template == by_tree.template
    assert tree.match("GET", "/nowhere/at/all") is None
    assert tree.match("DELETE", "/users/me") is None


def test_a_scanner_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_evidence, "MAX_NODES", 5000)
    rng = random.Random(10)
    tree = learn([f"/orders/{n}" for n in range(300)] + ["/health"] * 200)
    for _ in range(60_000):
        depth = rng.randrange(1, 5)
        path = "".join("/" + "".join(rng.choices(string.ascii_lowercase, k=8)) for _ in range(depth))
        tree.observe("GET", path, 200)
        assert tree.nodes <= 5200
    assert len(tree.to_bytes()) < 1_500_000
    assert len(tree.templates()) < 1500
    # what was busy before is still told apart from the junk
    assert {"orders", "health"} <= tree._evidence.root.children.keys()
    assert (
        sum(c.calls for c in tree._evidence.root.children["orders"].rest.values())
        + sum(c.calls for c in tree._evidence.root.children["orders"].children.values())
        == 300
    )


def test_a_scanner_that_gets_404_leaves_no_trace() -> None:
    tree = learn(f"/orders/{n}" for n in range(30))
    before = tree.to_bytes()
    for n in range(20_000):
        tree.observe("GET", f"/{n:x}/{n}", 404)
    assert tree.ignored == 20_000
    assert TemplateTree.from_bytes(before).nodes == tree.nodes
    assert {t.template for t in tree.templates()} == {"/orders/{order_id}"}


def test_hostile_paths() -> None:
    deep = "/a" * (MAX_DEPTH + 1)
    tree = learn(
        [deep, "/", "//", "/%00json", "/a%2Fb", "/%zz", "/" + "x" * 100_000, "/{id}", "/\udcff", "/a?b#c", "", "/\0.json"]
    )
    assert tree.ignored == 1
    assert len(tree.to_bytes()) < 4000
    assert all(t.template.startswith("/") and len(t.template) < 700 for t in tree.templates())
    assert "/%7Bid%7D" in {t.template for t in tree.templates()}


def test_many_methods_are_bounded() -> None:
    tree = learn((f"M{n}", "/x") for n in range(1000))
    assert len(tree.templates()) == template_evidence.MAX_METHODS


segments = st.one_of(
    st.sampled_from(["users", "orders", "me", "v1", "search", "7", "1999", "a.json", "b:go", "café", "x y"]),
    st.integers(0, 400).map(str),
    st.uuids(version=4).map(str),
    st.text("abcdefgh", min_size=1, max_size=3),
)
observations = st.lists(
    st.tuples(
        st.sampled_from(["GET", "POST"]),
        st.lists(segments, max_size=4).map(lambda s: "/" + "/".join(s)),
        st.sampled_from([200, 200, 200, 401, 404, 500]),
    ),
    max_size=150,
)


@given(observations, st.integers(2, 8), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_shards_merge_to_the_single_pass(calls: list[tuple[str, str, int]], shards: int, rng: random.Random) -> None:
    whole = learn(calls)
    parts = [learn(calls[n::shards]) for n in range(shards)]
    rng.shuffle(parts)
    merged = TemplateTree()
    for part in parts:
        before = part.to_bytes()
        merged.merge(part)
        assert part.to_bytes() == before
    assert merged.to_bytes() == whole.to_bytes()
    assert merged.nodes == whole.nodes
    assert merged.templates() == whole.templates()


def test_shards_merge_exactly_when_values_are_pooled_too() -> None:
    rng = random.Random(11)
    calls = [f"/users/{rng.randrange(3000)}/items/{rng.getrandbits(64):016x}" for _ in range(4000)]
    calls += [f"/tags/{''.join(rng.choices('abcdefgh', k=6))}" for _ in range(4000)]
    whole = learn(calls)
    merged = TemplateTree()
    for n in range(8):
        merged.merge(learn(calls[n::8]))
    assert whole._evidence.root.children["users"].rest
    assert whole._evidence.root.children["tags"].rest
    assert merged.to_bytes() == whole.to_bytes()
    rng.shuffle(calls)
    assert learn(calls).to_bytes() == whole.to_bytes()


@given(observations)
@settings(max_examples=60, deadline=None)
def test_storage_and_determinism(calls: list[tuple[str, str, int]]) -> None:
    tree = learn(calls)
    again = TemplateTree.from_bytes(tree.to_bytes())
    assert again.to_bytes() == tree.to_bytes()
    assert again.nodes == tree.nodes
    assert again.templates() == tree.templates()
    assert sum(t.count for t in tree.templates()) <= sum(status != 404 for _, _, status in calls)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x93\x01\x00\xc0", b"\x93\x03\x00\x90", b"not msgpack at all", b"\x81\xa1a\x01"]
)
def test_broken_storage_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a template tree"):
        TemplateTree.from_bytes(data)


def test_templates_of_recorded_calls() -> None:
    calls = [ObservedCall("GET", f"https://shop.example/orders/{n}?x=/1/2", 200, "shop.example") for n in range(1000, 1012)]
    calls += [ObservedCall("GET", "/health"), ObservedCall("GET", "http://shop.example?q=1", None, "shop.example")]
    assert templates_of(calls) == [
        {"service": "default", "method": "GET", "template": "/health", "parameters": [], "count": 1},
        {"service": "shop.example", "method": "GET", "template": "/", "parameters": [], "count": 1},
        {"service": "shop.example", "method": "GET", "template": "/orders/{order_id}", "parameters": ["order_id"], "count": 12},
    ]


def test_path_of() -> None:
    assert path_of("http://a.b:1/c/d?e#f") == "/c/d?e#f"
    assert path_of("http://a.b") == "/"
    assert path_of("/x/y") == "/x/y"


@pytest.mark.parametrize("remembered", [3, 4096])
@pytest.mark.parametrize("seed", range(8))
def test_paths_that_are_remembered_teach_what_they_would_teach_anyhow(
    seed: int, remembered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With children pooled early and the tree tightened: a remembered path must notice when it leads elsewhere."""
    rng = random.Random(seed)

    def segment() -> str:
        kind = rng.randrange(6)
        if kind == 0:
            return rng.choice(["users", "me", "a.json", "b:go", "caf%C3%A9", "\udc80", "x" * 210, ""])
        return str(int(rng.paretovariate(0.7))) if kind < 4 else rng.choice(USERS)

    sent = []
    for _ in range(3000):
        path = "/" + "/".join(segment() for _ in range(rng.randrange(1, 4))) + rng.choice(["", "", "/", "?x=1", "#y"])
        echoed = rng.choice([(), (), (0,), (1, 1), (0, 2), (-1, 9)])
        sent.append((rng.choice(["GET", "GET", "M" * 40, "é"]), path, rng.choice([200, 200, 401, 404]), echoed))
    for name, value in {"MAX_NODES": 400, "KEEP_CLEAR": 6, "KEEP_WORDS": 16, "_LEAST": 2, "BUSY": 6}.items():
        monkeypatch.setattr(template_evidence, name, value)
    monkeypatch.setattr(templates, "MAX_TRAILS", remembered)
    dumped = []
    for often in (1, 2, 1 << 60):
        monkeypatch.setattr(templates, "_OFTEN", often)
        tree = TemplateTree()
        for call in sent:
            tree.observe(*call)
        assert bool(tree._trails) == (often < 1 << 60)
        dumped.append((tree.to_bytes(), tree.nodes))
    assert dumped[0] == dumped[1] == dumped[2]


def test_remembered_paths_are_bounded() -> None:
    tree = TemplateTree()
    for _ in range(2):
        for n in range(templates.MAX_TRAILS + 100):
            for _ in range(templates._OFTEN):
                tree.observe("GET", f"/{'abcdefgh'[n % 8]}/{n // 8 % 20}/{n // 160}")
    assert 0 < len(tree._trails) <= templates.MAX_TRAILS
    tree = learn([f"/{'x' * templates.MAX_TRAIL}"] * 10)
    assert not tree._trails


def test_another_reading_of_a_large_tree_is_due_when_it_has_grown() -> None:
    rng = random.Random(13)

    def path() -> str:
        return f"/v1/{rng.choice(USERS)}s/{rng.getrandbits(64):016x}/parts/{rng.randrange(20)}"

    tree = TemplateTree()
    assert tree.due
    tree.observe("GET", "/v1/orders/7")
    tree.templates()
    assert not tree.due
    tree.observe("GET", "/v1/orders/8")
    assert tree.due, "a small tree is read whenever there is anything new"
    for _ in range(10_000):
        tree.observe("GET", path())
    assert tree.nodes > templates.SMALL
    tree.templates()
    for _ in range(100):
        tree.observe("GET", path())
    tree.observe("GET", "/v2/new")
    assert not tree.due
    assert "/v2/new" in {t.template for t in tree.templates()}, "what `templates` tells is exact, due or not"
    for _ in range(1100):
        tree.observe("GET", "/v1/health")
    assert tree.due
    tree.templates()
    other = TemplateTree()
    other.observe("GET", "/v3/other")
    tree.merge(other)
    assert tree.due


def test_reading_a_large_tree_takes_seconds_not_minutes() -> None:
    """A guard against a quadratic reading, with room for a slow machine; the figures are in `bench.discovery`."""
    rng = random.Random(12)
    tree = TemplateTree()
    for _ in range(30_000):
        kind = rng.randrange(60)
        tree.observe("GET", f"/v1/thing{kind}s/{rng.getrandbits(64):016x}/{rng.choice(USERS)}{rng.randrange(500)}/part{kind % 7}")
    start = time.process_time()
    assert tree.templates()
    assert time.process_time() - start < 60
