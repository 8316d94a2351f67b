"""The detections of responses on any input: findings or nothing, never an exception."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.detections.detection_cases import DETECTORS, request, response_facts
from tests.unit.detections.test_response_confirmers import REPEATED as REPEATED_PARTS

from eastwall import detections
from eastwall.model.call import BodyState, Response

TYPES = ("application/json", "text/html", "text/plain", "application/xml", "application/octet-stream", "")
text = st.lists(st.one_of(st.sampled_from(REPEATED_PARTS), st.text(max_size=12)), max_size=30).map("".join)
tree = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), text),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(
                st.sampled_from(
                    "trace stack frames kty d k x n SecretAccessKey AccessKeyId access_token token_type resource propertySources memstats _links Contents"
                    " IsTruncated MaxKeys Name kind items sourcesContent sources mappings version file line function error errors".split()
                ),
                text,
            ),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(
    body=st.one_of(text.map(str.encode), tree.map(lambda node: json.dumps(node).encode()), st.binary(max_size=200)),
    content_type=st.sampled_from(TYPES),
    status=st.sampled_from((200, 201, 302, 404, 500)),
    headers=st.dictionaries(
        st.sampled_from(("server", "via", "set-cookie", "location", "access-control-allow-origin", "cache-control", "x-debug")),
        text,
        max_size=4,
    ),
    method=st.sampled_from(("GET", "POST", "TRACE")),
    origin=text,
)
def test_any_answer(body: bytes, content_type: str, status: int, headers: dict[str, str], method: str, origin: str) -> None:
    given_headers = {**headers, **({"content-type": content_type} if content_type else {})}
    given_headers.setdefault("access-control-allow-credentials", "true")
    facts = response_facts(
        request(method, "/x", {"origin": origin}),
        Response(status, given_headers, body, BodyState.COMPLETE if body else BodyState.NONE),
    )
    found, errors = detections.detect(facts, DETECTORS)
    assert not errors
    for finding in found:
        assert finding.where
        assert 0 < len(finding.evidence) <= 120
        assert finding.phase == "response"
