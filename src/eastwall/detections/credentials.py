"""What detections of keys and tokens share: whether a text is made by a generator, and whether an answer gave one to its owner."""

from __future__ import annotations

import itertools
import re

from eastwall.discovery.objects import changes
from eastwall.model.facts import Facts

_MAKERS = frozenset(("POST", "PUT", "PATCH"))
_GIVEN = frozenset(
    "token accesstoken refreshtoken idtoken sessiontoken apitoken apikey key secret clientsecret signingsecret webhooksecret secretkey"
    " plaintext plaintexttoken value password credential credentials privatekey authtoken jwt personalaccesstoken".split()
)
"""Fields in which whoever makes a credential gives it to its owner, once."""
_STAND_IN = re.compile(
    r"example|sample|placeholder|your|dummy|change_?me|redact|secret|token|insert|replace|fake|xxxx|abcdef|qwerty|12345678|00000000|\.\.\.|_here|foobar|-key-|_key_",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(r"[^0-9A-Za-z]+")


def given(facts: Facts, place: str) -> bool:
    """Whether the answer's call made this credential: OAuth's `access_token`, the answer to `POST /tokens`. Not a GraphQL query's, which
    is a POST that reads."""
    response, method = facts.call.response, facts.call.request.method
    if response is None or not 200 <= response.status < 300:
        return False
    if method not in _MAKERS or not changes(method, facts.operation.name):
        return False
    leaf = place.rpartition(".")[2].partition("[")[0]
    return leaf.lower().replace("_", "").replace("-", "") in _GIVEN


def placeholder(part: str) -> bool:
    """Whether it stands in for a secret: `xxxx`, `your-api-key`, `AKIAIOSFODNN7EXAMPLE`."""
    return len(set(part)) < 8 or _STAND_IN.search(part) is not None


def random(part: str) -> bool:
    """Whether letters and digits mix as in what a generator makes, and not as in names made of words."""
    letters = _SEPARATORS.sub("", part)
    if len(letters) < 8:
        return False
    kinds = [0 if c.isdigit() else 1 if c.islower() else 2 for c in letters]
    turns = sum(a != b for a, b in itertools.pairwise(kinds)) / (len(kinds) - 1)
    return turns >= (0.15 if 0 in kinds else 0.33)
