"""Words that are judged together: closed sets of values that are all called often, and names beside them."""

from __future__ import annotations

import random

from eastwall.discovery.templates import TemplateTree

WORDS = """
anchor banner butter candle castle copper crystal desert diamond dragon empire falcon flower forest garden guitar hammer harbor jacket
kitten ladder lantern magnet marble
""".split()


def found(tree: TemplateTree) -> set[str]:
    return {f"{t.method} {t.template}" for t in tree.templates()}


def shop(tree: TemplateTree, rng: random.Random) -> None:
    """Some 200 calls of each of a few usual operations."""
    for number in range(200):
        for path in ("/shop/orders", "/shop/customers", "/shop/health", f"/shop/orders/{rng.randrange(500)}"):
            tree.observe("GET", path)
        tree.observe("POST", "/shop/orders" if number % 2 else "/shop/customers")


def drawn(rng: random.Random, words: list[str], count: int) -> list[str]:
    """So many of these, the first ones far more often."""
    return rng.choices(words, weights=[1 / (rank + 2) for rank in range(len(words))], k=count)


def test_a_closed_set_of_words_that_are_all_called_often_is_one_parameter() -> None:
    rng = random.Random(1)
    tree = TemplateTree()
    shop(tree, rng)
    for word in drawn(rng, WORDS[:12], 2500):
        tree.observe("GET", f"/shop/search/{word}")
    assert [t for t in found(tree) if "/search" in t] == ["GET /shop/search/{search_id}"]


def test_words_of_apis_among_the_values_are_values_and_a_route_with_its_own_calls_is_a_name() -> None:
    rng = random.Random(2)
    tree = TemplateTree()
    shop(tree, rng)
    for word in drawn(rng, ["harbor", "kitten", "history", "falcon", "bridge", "market", *WORDS[:12]], 900):
        tree.observe("GET", f"/shop/blocks/{word}")
    for _ in range(600):
        tree.observe("GET", "/shop/blocks/status")
    assert [t for t in found(tree) if "/blocks" in t and not t.endswith("}")] == ["GET /shop/blocks/status"]
    assert sum("/blocks" in t for t in found(tree)) == 2


def test_names_that_are_built_alike_stay_names() -> None:
    rng = random.Random(3)
    tree = TemplateTree()
    shop(tree, rng)
    names = ["is-cube", "is-square", "is-triangle", "is-palindrome", "is-fermat", "is-pell"]
    for name in names:
        for _ in range(rng.randrange(80, 300)):
            tree.observe("GET", f"/shop/numbers/{name}")
    assert {f"GET /shop/numbers/{name}" for name in names} <= found(tree)


def test_strangers_that_lead_to_different_things_stay_names() -> None:
    rng = random.Random(4)
    tree = TemplateTree()
    shop(tree, rng)
    below = {"twitch": ("GET",), "reddit": ("GET", "POST"), "youtube": ("POST",), "vimeo": ("GET", "DELETE"), "tiktok": ("PUT",)}
    for name, methods in below.items():
        for method in methods:
            for _ in range(rng.randrange(80, 300)):
                tree.observe(method, f"/shop/links/{name}")
    assert {f"{method} /shop/links/{name}" for name, methods in below.items() for method in methods} <= found(tree)


def test_collections_of_one_shape_stay_apart() -> None:
    rng = random.Random(5)
    tree = TemplateTree()
    shop(tree, rng)
    names = ["schedules", "showtimes", "genres", "companies", "media", "products"]
    for name in names:
        for word in drawn(rng, WORDS, 300):
            tree.observe("GET", f"/shop/{name}/search/{word}")
            tree.observe("GET", f"/shop/{name}/{rng.randrange(10_000)}")
    assert {f"GET /shop/{name}/search/{{search_id}}" for name in names} <= found(tree)


def test_tokens_that_are_called_often_are_what_the_ids_beside_them_are() -> None:
    rng = random.Random(6)
    tree = TemplateTree()
    shop(tree, rng)
    ids = [f"{rng.getrandbits(64):016x}" for _ in range(8)]
    for token in drawn(rng, [*ids[:2], "tEnVaV-Si-H", *ids[2:]], 1600):
        tree.observe("GET", f"/shop/groups/{token}")
    assert [t for t in found(tree) if "/groups" in t] == ["GET /shop/groups/{group_id}"]


def test_a_verb_that_is_a_name_below_one_collection_is_one_below_another_where_it_is_rare() -> None:
    tree = TemplateTree()
    rng = random.Random(7)
    users = [f"u{number:03}-32" for number in range(26)]
    for collection, times, makers in (("appointments", 6, 20), ("prescriptions", 1, 10)):
        for at, user in enumerate(users):
            for _ in range(times):
                tree.observe("GET", f"/api/users/{user}/{collection}")
            if at < makers:
                tree.observe("POST", f"/api/users/{user}/{collection}")
    for _ in range(130):
        tree.observe("GET", "/api/doctors")
        tree.observe("GET", "/api/me")
        tree.observe("GET", f"/api/doctors/{rng.randrange(240)}")
        tree.observe("GET", f"/api/people/{rng.randrange(5_000)}")
    often = {"get": 376, "history": 77, "confirm": 16, "pay": 16, "update": 11, "batch": 8, "refund": 2, "delete": 1}
    rarely = {"get": 30, "confirm": 3, "pay": 3, "history": 1, "update": 1, "batch": 1, "refund": 1}
    for collection, verbs in (("appointments", often), ("prescriptions", rarely)):
        for verb, times in verbs.items():
            for _ in range(times):
                tree.observe("POST", f"/api/users/{rng.choice(users)}/{collection}/{verb}")
    templates = {t for t in found(tree) if "prescriptions/" in t}
    assert templates == {f"POST /api/users/{{user_id}}/prescriptions/{verb}" for verb in rarely}


def test_a_name_elsewhere_is_a_value_all_the_same_where_answers_gave_it_out() -> None:
    tree = TemplateTree()
    rng = random.Random(8)
    for _ in range(300):
        tree.observe("POST", f"/orders/{rng.randrange(10**6)}/history")
        tree.observe("GET", f"/words/{rng.choice([*WORDS, 'history'])}", echoed=(1,))
    assert {t for t in found(tree) if "/words" in t} == {"GET /words/{word_id}"}
