"""Scores are sums of stated reasons, and their order is what one would look at first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery.data_values import SENSITIVITY as BUILT_IN
from eastwall.discovery.risk import LEVELS, SENSITIVITY, risk, sensitivity
from eastwall.model.blueprint import Drift, Lifecycle
from eastwall.model.endpoint import Endpoint, ObjectParameter

CALM = Lifecycle("managed", owner="team")


def endpoint(template: str = "/orders", method: str = "GET", **fields: Any) -> Endpoint:
    basis: dict[str, Any] = {"calls": 100, "authenticated": 1.0, "statuses": ((200, 100),)}
    return Endpoint(id="ep", service="shop", method=method, template=template, **(basis | fields))


def drifted(severity: str, kind: str = "undeclared-field") -> Drift:
    return Drift(kind, "shop", "ep", "GET", "/orders", severity=severity)


def points(found: Any, word: str) -> int:
    return sum(reason.points for reason in found.reasons if word in reason.text)


def test_an_ordinary_operation_is_low() -> None:
    found = risk(endpoint(), CALM)
    assert (found.score, found.level, found.reasons) == (0, "low", ())


def test_each_reason() -> None:
    flags = (
        "admin",
        "agent-reachable",
        "internet-facing",
        "missing-authentication",
        "non-production",
        "orphan",
        "unauthenticated",
    )
    found = risk(
        endpoint(method="POST", authenticated=0.0, data_classes=(("response", "n", "pan"), ("response", "e", "email"))),
        Lifecycle("shadow", flags, "internet"),
        [drifted("high"), drifted("medium")],
        {"low": 4, "critical": 1},
    )
    told = {reason.text: reason.points for reason in found.reasons}
    assert told == {
        "it gives pan, and 1 more data classes": 33,
        "authentication is missing where it is declared, or usual beside it": 25,
        "5 findings of late, the worst of critical severity": 25,
        "the internet reaches it": 20,
        "it is administrative": 15,
        "its service's specification does not have it, so nobody reviews it": 12,
        "agents call it": 10,
        "it takes or gives what is not declared, and that is sensitive": 10,
        "it changes something": 4,
        "it is not for production, or its path says so": 4,
        "nobody owns it": 3,
    }
    assert (found.score, found.level) == (100, "critical")
    assert [r.points for r in found.reasons] == sorted((r.points for r in found.reasons), reverse=True)


def test_what_is_taken_weighs_less_than_what_is_given_and_signing_in_nothing() -> None:
    given = risk(endpoint(data_classes=(("response", "n", "pan"),)), CALM)
    taken = risk(endpoint(data_classes=(("request", "n", "pan"),)), CALM)
    assert given.score == 2 * taken.score == SENSITIVITY["critical"]
    login = endpoint(
        "/login",
        "POST",
        login=True,
        authenticated=0.0,
        data_classes=(("request", "email", "email"), ("request", "p", "credential")),
    )
    assert points(risk(login, CALM), "takes") == 0
    assert points(risk(login, CALM), "without identity") == 0


def test_sensitivity_is_the_users_word_then_ours_then_medium() -> None:
    assert sensitivity("email") == BUILT_IN["email"]
    assert sensitivity("email", {"email": "critical"}) == "critical"
    assert sensitivity("badge") == "medium"
    badge = endpoint(data_classes=(("response", "b", "badge"),))
    assert risk(badge, CALM, custom={"badge": "critical"}).score > risk(badge, CALM).score


def test_open_operations() -> None:
    assert points(risk(endpoint(authenticated=0.0), CALM), "without identity") == 12
    assert risk(endpoint("/health", authenticated=0.0), CALM).score == 0
    assert points(risk(endpoint(calls=0, statuses=(), secured=False), Lifecycle("ghost", owner="t")), "no authentication") == 6


def test_objects_of_which_nothing_is_known() -> None:
    unknown = ObjectParameter("path.order_id", "order", False, 0.0, "2 objects of kind order given to 1 actor: too few to judge")
    public = ObjectParameter(
        "path.id", "product", False, 0.0, "1 of 60 objects of kind product are used by one actor only (9 actors seen)"
    )
    owned = ObjectParameter(
        "path.id", "order", True, 0.97, "60 of 60 objects of kind order are used by one actor only (9 actors seen)"
    )
    assert points(risk(endpoint(objects=(unknown,)), CALM), "whose they are") == 10
    assert risk(endpoint(objects=(public, owned)), CALM).score == 0


def test_ghosts_score_half() -> None:
    flags = ("admin", "orphan")
    assert risk(endpoint(calls=0, statuses=()), Lifecycle("ghost", flags)).score == 7 + 1
    assert risk(endpoint(), Lifecycle("managed", flags)).score == 18


@pytest.mark.parametrize(("severity", "score"), [("info", 0), ("low", 0), ("medium", 5), ("high", 10)])
def test_drift(severity: str, score: int) -> None:
    assert risk(endpoint(), CALM, [drifted(severity)]).score == score
    assert risk(endpoint(), CALM, [drifted(severity, "undeclared-operation")]).score == 0  # counted as shadow


_FLAGS = ("admin", "agent-reachable", "internet-facing", "missing-authentication", "non-production", "orphan")


@settings(max_examples=100, deadline=None)
@given(
    st.sets(st.sampled_from(_FLAGS)),
    st.sampled_from(("managed", "observed", "shadow", "zombie", "ghost")),
    st.lists(st.tuples(st.sampled_from(("request", "response")), st.just("x"), st.sampled_from((*BUILT_IN, "own"))), max_size=5),
    st.dictionaries(st.sampled_from(("info", "low", "high", "odd")), st.integers(0, 9)),
    st.integers(0, 100),
)
def test_scores_are_sums_and_no_flag_lowers_them(
    flags: set[str], state: str, classes: list[tuple[str, str, str]], findings: dict[str, int], calls: int
) -> None:
    one = endpoint(calls=calls, data_classes=tuple(classes))
    found = risk(one, Lifecycle(state, tuple(sorted(flags))), findings=findings)
    assert found.score == min(100, sum(r.points for r in found.reasons))
    assert all(r.points > 0 and r.text for r in found.reasons)
    assert found.level == next(name for least, name in LEVELS if found.score >= least)
    for flag in _FLAGS:
        assert risk(one, Lifecycle(state, tuple(sorted(flags | {flag}))), findings=findings).score >= found.score
