"""The HTTP API of a real control process: who gets in, what it answers, what it refuses."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest

pytest.importorskip("chdb", reason="control is in the extra eastwall[all]")
pytest.importorskip("fastapi", reason="control is in the extra eastwall[all]")

GET_PATHS = [
    "status",
    "services",
    "apis",
    "findings",
    "calls",
    "calls/x",
    "policy",
    "live",
    "openapi/orders",
    "apis/ep_1",
    "changes",
    "drift",
    "graph",
    "paths",
    "data",
    "identities",
    "identities/user:u1",
    "graphql/orders",
]


def raw(served, method, path, body=b"", **headers):
    """A request with exactly these headers."""
    where = urlsplit(served.url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
    connection.putrequest(method, path, skip_host="host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    if body:
        connection.putheader("content-length", str(len(body)))
        connection.putheader("content-type", "application/json")
    connection.endheaders(body or None)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def cookie(served) -> str:
    answer, _ = raw(served, "POST", "/api/v1/session", json.dumps({"token": served.token}).encode(), x_eastwall="console")
    assert answer.status == 204
    return answer.getheader("set-cookie")


@pytest.mark.parametrize("path", [f"/api/v1/{p}" for p in GET_PATHS] + ["/metrics", "/api/v1/nothing", "/nothing"])
@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic x", "Bearer \u00e9"])
def test_nothing_is_answered_without_the_token(served, path, authorization):
    answer, content = raw(served, "GET", path, authorization=authorization.encode("latin-1"))
    assert answer.status == 401
    assert answer.getheader("content-type") == "application/problem+json"
    assert answer.getheader("www-authenticate").startswith("Bearer")
    assert json.loads(content)["status"] == 401


@pytest.mark.parametrize("path", ["/", "/healthz", "/static/app.js", "/static/style.css", "/api/openapi.json", "/favicon.ico"])
def test_what_holds_nothing_of_the_installation_is_open(served, path):
    answer, content = raw(served, "GET", path)
    assert answer.status == 200
    assert served.token.encode() not in content


@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/metrics", "/static/app.js", "/nothing"])
def test_every_answer_carries_the_security_headers(served, path):
    for authorization in ("", f"Bearer {served.token}"):
        answer, _ = raw(served, "GET", path, authorization=authorization)
        policy = answer.getheader("content-security-policy")
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.getheader("x-frame-options") == "DENY"
        assert answer.getheader("x-content-type-options") == "nosniff"
        assert answer.getheader("cache-control") == "no-store"
        assert answer.getheader("access-control-allow-origin") is None


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9440", "127.0.0.1.evil.example", "localhost.evil.example", "", "[evil]"]
)
def test_a_rebound_name_is_refused_even_with_the_token(served, host):
    answer, _ = raw(served, "GET", "/api/v1/status", host=host, authorization=f"Bearer {served.token}")
    assert answer.status == 421


@pytest.mark.parametrize("host", ["localhost:1234", "127.0.0.1", "[::1]:80", "10.1.2.3:9440"])
def test_addresses_and_localhost_are_served(served, host):
    answer, _ = raw(served, "GET", "/api/v1/status", host=host, authorization=f"Bearer {served.token}")
    assert answer.status == 200


def test_a_session_signs_in_reads_and_signs_out(served):
    set_cookie = cookie(served)
    assert "HttpOnly" in set_cookie
    assert "SameSite=strict" in set_cookie
    session = set_cookie.partition(";")[0]
    assert served.token not in session
    assert raw(served, "GET", "/api/v1/status", cookie=session)[0].status == 200
    assert json.loads(raw(served, "GET", "/api/v1/session", cookie=session)[1]) == {"signed_in": True}
    assert json.loads(raw(served, "GET", "/api/v1/session")[1]) == {"signed_in": False}
    for forged in (
        session[:-1] + ("0" if session[-1] != "0" else "1"),
        session.replace("=", "=9"),
        session.partition("=")[0] + "=",
        "a=b",
    ):
        assert raw(served, "GET", "/api/v1/status", cookie=forged)[0].status == 401
    assert raw(served, "DELETE", "/api/v1/session", cookie=session, x_eastwall="console")[0].status == 204
    assert raw(served, "GET", "/api/v1/status", cookie=session)[0].status == 401


def test_a_wrong_token_does_not_sign_in(served):
    for token in ("", "x", served.token + "x", served.token[:-1], "\u00e9"):
        answer, content = raw(served, "POST", "/api/v1/session", json.dumps({"token": token}).encode(), x_eastwall="console")
        assert answer.status == 401
        assert answer.getheader("set-cookie") is None
        assert "is not the token" in json.loads(content)["detail"]


def test_another_site_cannot_change_anything_with_the_users_cookie(served):
    session = cookie(served).partition(";")[0]
    host = urlsplit(served.url).netloc
    body = json.dumps({"mode": "monitor"}).encode()
    path = "/api/v1/services/orders/mode"
    for headers in (
        {},
        {"origin": f"http://{host}"},
        {"x_eastwall": "console", "origin": "http://evil.example"},
        {"x_eastwall": "console", "origin": "null"},
        {"x_eastwall": "console", "sec_fetch_site": "cross-site"},
        {"x_eastwall": "console", "sec_fetch_site": "same-site"},
    ):
        assert raw(served, "PUT", path, body, cookie=session, **headers)[0].status == 403, headers
    ours = {"x_eastwall": "console", "origin": f"http://{host}", "sec_fetch_site": "same-origin"}
    assert raw(served, "PUT", path, body, cookie=session, **ours)[0].status == 200
    assert raw(served, "PUT", path, body, **ours)[0].status == 401
    assert raw(served, "POST", "/api/v1/session", json.dumps({"token": served.token}).encode())[0].status == 403, "login CSRF"


def test_status_says_what_is_there(served):
    _, _, status = served.send("GET", "/api/v1/status")
    assert status["lake"]["calls"] == 201
    assert status["lake"]["findings"] == status["lake"]["blocked"] == 1
    assert status["uninspected"]["by_reason"] == {"request-body-truncated": 1}
    assert status["spool"] == {"pending_bytes": 0, "lost_records": 0, "corrupt_bytes": 0, "undecodable": 0}
    assert status["snapshot"]["version"] >= 1
    assert status["faults"] == {}


def test_apis_are_listed_and_described(served):
    _, _, apis = served.send("GET", "/api/v1/apis?service=orders")
    templates = {(a["method"], a["template"]) for a in apis}
    assert ("GET", "/orders/{order_id}") in templates
    one = next(a for a in apis if a["template"] == "/orders/{order_id}")
    assert one["calls"] == 100
    _, _, whole = served.send("GET", f"/api/v1/apis/{one['id']}")
    assert whole["parameters"] == [{"name": "order_id", "kind": "integer"}]
    assert {"model": "functions", "have": 100, "need": 20, "of": "calls", "about": ""} in whole["readiness"]
    assert served.send("GET", "/api/v1/apis?service=nobody")[2] == []
    status, _, problem = served.send("GET", "/api/v1/apis/ep_nothing")
    assert (status, problem["detail"]) == (404, "there is no API `ep_nothing`")


def test_why_tells_everything(served):
    status, _, why = served.send("GET", f"/api/v1/calls/{served.attack.id}")
    assert status == 200
    assert why["path"] == served.attack.path
    assert why["findings"][0]["title"]
    assert why["matches"][0]["location"] == "policies/orders.yaml:14"
    assert why["matches"][0]["mode"] == "enforce"
    assert why["to_pass"] == ["send q without SQL"]
    assert "blocked" in why["explanation"][0]
    assert served.send("GET", "/api/v1/calls/01NOSUCH")[0] == 404
    assert served.send("GET", "/api/v1/calls/..%2Fstatus")[0] in (404, 422)


def test_findings_and_calls(served):
    (finding,) = served.send("GET", "/api/v1/findings?limit=5")[2]
    assert (finding["id"], finding["call"], finding["severity"]) == ("sql-injection", served.attack.id, "critical")
    (flagged,) = served.send("GET", "/api/v1/calls?flagged=1")[2]
    assert flagged["id"] == served.attack.id
    assert len(served.send("GET", "/api/v1/calls?service=billing&limit=50")[2]) == 50
    for bad in ("calls?limit=0", "calls?limit=x", "calls?limit=99999999", f"calls?service={'x' * 300}", "findings?since=-1"):
        status, headers, problem = served.send("GET", f"/api/v1/{bad}")
        assert status == 422
        assert headers["content-type"] == "application/problem+json"
        assert "\n" not in problem["detail"]


def test_openapi_of_a_service_is_valid(served):
    validator = pytest.importorskip("openapi_spec_validator")
    _, _, document = served.send("GET", "/api/v1/openapi/orders")
    validator.validate(document)
    assert "/orders/{order_id}" in document["paths"]
    assert served.send("GET", "/api/v1/openapi/nobody")[0] == 404


def test_its_own_openapi_is_valid(served):
    validator = pytest.importorskip("openapi_spec_validator")
    _, _, document = served.send("GET", "/api/openapi.json")
    validator.validate(document)
    assert "/api/v1/calls/{event_id}" in document["paths"]


def test_query_reads_and_refuses(served):
    _, _, rows = served.send(
        "POST", "/api/v1/query", {"sql": "SELECT service, count() AS n, max(time) AS t FROM calls GROUP BY service ORDER BY n"}
    )
    assert [(r["service"], r["n"]) for r in rows] == [("billing", 100), ("orders", 101)]
    status, _, problem = served.send("POST", "/api/v1/query", {"sql": "SELECT file('/etc/passwd')"})
    assert (status, problem["detail"]) == (400, "the function `file` is not accepted in a query")
    assert served.send("POST", "/api/v1/query", {"sql": "SELECT 1", "seconds": 1000})[0] == 422
    assert served.send("POST", "/api/v1/query", {})[0] == 422


def test_modes_change_and_are_checked(served):
    before = served.send("GET", "/api/v1/status")[2]["snapshot"]["version"]
    status, _, services = served.send("PUT", "/api/v1/services/billing/mode", {"mode": "enforce"})
    assert status == 200
    assert {s["name"]: s["mode"] for s in services}["billing"] == "enforce"
    assert served.send("GET", "/api/v1/status")[2]["snapshot"]["version"] > before, "published at once"
    assert served.send("PUT", "/api/v1/services/billing/mode", {"mode": "off"})[0] == 422
    status, _, problem = served.send("PUT", "/api/v1/services/nobody/mode", {"mode": "monitor"})
    assert status == 404
    assert "`billing`" in problem["detail"]
    _, _, services = served.send("PUT", "/api/v1/services/all/mode", {"mode": "discover"})
    assert {s["mode"] for s in services} == {"discover"}


GOOD_POLICY = """\
apiVersion: eastwall.dev/v1alpha1
kind: Service
metadata:
  name: orders
spec:
  mode: monitor
  owner: team-orders
"""


def test_policies_are_checked_and_applied(served):
    status, _, result = served.send("POST", "/api/v1/policy/check", {"files": {"a.yaml": "kind: Nonsense\n"}})
    assert status == 200
    assert not result["ok"]
    assert result["faults"][0]["text"].startswith("a.yaml:1")
    status, _, problem = served.send("PUT", "/api/v1/policy", {"files": {"a.yaml": "kind: Nonsense\n"}})
    assert status == 422
    assert problem["faults"][0]["file"] == "a.yaml"
    assert served.send("GET", "/api/v1/policy")[2]["files"] == {}, "nothing was applied"
    status, _, applied = served.send("PUT", "/api/v1/policy", {"files": {"a.yaml": GOOD_POLICY}})
    assert status == 200, applied
    assert served.send("GET", "/api/v1/policy")[2]["digest"] == applied["digest"]
    services = {s["name"]: s for s in served.send("GET", "/api/v1/services")[2]}
    assert (services["orders"]["mode"], services["orders"]["owner"]) == ("monitor", "team-orders")
    served.send("PUT", "/api/v1/services/orders/mode", {"mode": "enforce"})
    services = {s["name"]: s for s in served.send("GET", "/api/v1/services")[2]}
    assert services["orders"]["mode"] == "enforce", "the later word wins"
    assert served.send("PUT", "/api/v1/policy", {"files": {}})[0] == 200
    assert served.send("PUT", "/api/v1/policy", {"files": {"a": 1}})[0] == 422


def test_metrics_are_prometheus_text(served):
    status, headers, content = served.send("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"\neastwall_calls_stored_total 201\n" in content
    assert b'eastwall_uninspected_total{counted_by="records",reason="request-body-truncated"} 1' in content


def test_bodies_are_bounded(served):
    answer, _ = raw(served, "POST", "/api/v1/query", authorization=f"Bearer {served.token}", content_length="99999999999")
    assert answer.status == 413
    answer, _ = raw(served, "POST", "/api/v1/query", authorization=f"Bearer {served.token}", content_length="x")
    assert answer.status in (400, 413)
