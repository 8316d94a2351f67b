"""What control concludes, and when it is made anew."""

from __future__ import annotations

from contextlib import nullcontext

from eastwall.learning.learner import Learner
from eastwall.model.endpoint import Endpoint
from eastwall.runtime.discovered import Discovered, World


def test_who_polls_the_revision_learns_of_news_that_nobody_has_asked_for() -> None:
    learner = Learner(b"k" * 32)
    worlds = [World(1, (), (), {})]
    discovered = Discovered(lambda: worlds[-1], lambda: nullcontext(learner))
    assert discovered.apis() == []
    before = discovered.revision
    assert discovered.revision == before, "nothing new, nothing to fetch"
    worlds.append(World(2, (Endpoint(id="ep_1", service="shop", method="GET", template="/orders"),), (), {}))
    seen = before
    for _ in range(10_000_000):  # until it is time to make it anew: a tenth of the time it takes
        if (seen := discovered.revision) != before:
            break
    assert seen != before
    assert [api.template for api in discovered.apis()] == ["/orders"]
    assert discovered.revision == seen
