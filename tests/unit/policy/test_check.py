"""Policies against what there is, and what Service policies give to the rest."""

from __future__ import annotations

import pathlib

import jsonschema
import pytest
import yaml

from eastwall.model.call import Mode
from eastwall.model.snapshot import CustomDataClass, ServiceScope, TrustConfig
from eastwall.policy import check, custom_classes, decode, encode, parse_files, referenced_files, scopes_of, trust_of
from eastwall.policy.kinds import PolicySet
from eastwall.policy.schemas import schemas

from .build import DETECTIONS, document, endpoint, policies
from .test_parse import EXAMPLES, GOLDEN

SERVICES = [ServiceScope("orders"), ServiceScope("billing")]
ENDPOINTS = [endpoint("GET", "/orders/{order_id}"), endpoint("GET", "/report-{date}.csv"), endpoint("POST", "/login", "auth")]
JWKS = b'{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'


def faults(own: PolicySet) -> list[str]:
    return [str(fault) for fault in check(own, services=SERVICES, endpoints=ENDPOINTS, detections=DETECTIONS)]


def one(kind: str, **spec: object) -> list[str]:
    return faults(policies(document(kind, **spec)))


def test_what_is_known_has_no_fault() -> None:
    assert (
        one(
            "AccessPolicy",
            action="deny",
            scope={"services": ["orders", "bil*"], "operations": ["GET /orders/{x}", "* /report-*"]},
        )
        == []
    )
    assert one("DetectionPolicy", detections=["sql-injection", "mass-*", "*"], action="block") == []
    assert faults(parse_files({})[0]) == []


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        (
            "AccessPolicy",
            {"action": "deny", "scope": {"services": ["ordres"]}},
            "warning: service `ordres` is not known (did you mean `orders`?)",
        ),
        (
            "AccessPolicy",
            {"action": "deny", "scope": {"services": ["orders"], "operations": ["GET /order/{order_id}"]}},
            "warning: no known operation matches `GET /order/{order_id}` (did you mean `GET /orders/{order_id}`?)",
        ),
        (
            "AccessPolicy",
            {"action": "deny", "scope": {"operations": ["DELETE /login"]}},
            "warning: no known operation matches `DELETE /login`",
        ),
        (
            "DetectionPolicy",
            {"detections": ["sql-injecton"], "action": "block"},
            "detection `sql-injecton` is not known (did you mean `sql-injection`?)",
        ),
        (
            "DataPolicy",
            {"classes": ["pan", "nationalid"], "action": "mask"},
            "data class `nationalid` is not known (did you mean `national-id`?)",
        ),
    ],
)
def test_what_is_not_known_is_said_with_its_place(kind: str, spec: dict[str, object], expected: str) -> None:
    (fault,) = one(kind, **spec)
    assert fault.startswith("p.yaml:2:")
    assert expected in fault


def test_duplicates_and_contradictions_name_both_places() -> None:
    text = document("AccessPolicy", "a", action="deny") + document("AccessPolicy", "a", action="allow")
    found = faults(policies(text))
    assert any("there is another AccessPolicy `a`, at p.yaml:2" in fault for fault in found)
    assert any("this allows exactly what `a` at p.yaml:2 denies, and deny wins" in fault for fault in found)
    assert len(found) == 2


def test_a_data_class_of_ones_own_may_be_named_and_reaches_the_snapshot() -> None:
    text = document("DataClass", "badge-number", patterns=["BDG-[0-9]{6}"], sensitivity="high") + document(
        "DataPolicy", classes=["badge-number", "person-name"], action="mask"
    )
    found = policies(text)
    assert faults(found) == []
    assert custom_classes(found) == (CustomDataClass("badge-number", patterns=("BDG-[0-9]{6}",), sensitivity="high"),)
    assert custom_classes(decode(encode(found))) == custom_classes(found)


def test_a_service_policy_makes_its_service_known() -> None:
    text = document("Service", "ship", mode="monitor") + document("AccessPolicy", action="deny", scope={"services": ["ship"]})
    assert faults(policies(text)) == []


def test_scopes_are_the_command_lines_with_the_policies_over_them() -> None:
    text = document("Service", "orders", mode="enforce", maxBody="64KiB", owner="team-a", fail="closed") + document(
        "Service", "new", hosts=["new.shop"]
    )
    given = [ServiceScope("orders", Mode.DISCOVER, hosts=("o",)), ServiceScope("billing", Mode.MONITOR)]
    assert scopes_of(policies(text), given, ServiceScope("", Mode.MONITOR, over_limit="block")) == (
        ServiceScope("orders", Mode.ENFORCE, "closed", ("o",), "team-a", max_body=65536),
        ServiceScope("billing", Mode.MONITOR),
        ServiceScope("new", Mode.MONITOR, hosts=("new.shop",), over_limit="block"),
    )
    assert scopes_of(PolicySet(), given) == tuple(given)


def test_trust_is_the_union_and_reads_the_files_it_named() -> None:
    first = {
        "jwks": [{"issuer": "https://a", "file": "keys/a.json"}],
        "audiences": ["x"],
        "apiKeyHeaders": ["X-Key"],
        "userHeader": "X-User",
    }
    second = {"jwks": [{"inline": JWKS.decode()}], "audiences": ["y", "x"], "trustedProxies": ["10.0.0.0/8"]}
    own, found = parse_files(
        {"team/p.yaml": document("Service", "a", identity=first) + document("Service", "b", identity=second)}
    )
    assert found == []
    assert referenced_files(own) == ("team/keys/a.json",)
    trust = trust_of(own, {"team/keys/a.json": JWKS})
    assert trust.jwks == (("https://a", JWKS), ("", JWKS))
    assert (trust.audiences, trust.api_key_headers, trust.trusted_proxies) == (("x", "y"), ("x-key",), ("10.0.0.0/8",))
    assert (trust.user_header, trust.session_cookies) == ("x-user", TrustConfig().session_cookies)
    assert trust_of(PolicySet()) == TrustConfig()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"^p\.yaml:2: the key set `k\.json` cannot be read$"),
        ({"k.json": b"<html>"}, r"^p\.yaml:2: `k\.json`: the key set is not JSON"),
        ({"k.json": b'{"keys":[{"kty":"RSA","d":"x"}]}'}, r"^p\.yaml:2: `k\.json`: key 0 of the key set is a private key$"),
    ],
)
def test_a_bad_key_set_is_one_clear_line(files: dict[str, bytes], message: str) -> None:
    own = policies(document("Service", "a", identity={"jwks": [{"file": "k.json"}]}))
    with pytest.raises(ValueError, match=message):
        trust_of(own, files)


def test_two_services_cannot_name_two_user_headers() -> None:
    own = policies(
        document("Service", "a", identity={"userHeader": "x-a"}) + document("Service", "b", identity={"userHeader": "x-b"})
    )
    with pytest.raises(ValueError, match=r"^p\.yaml:4: `x-b` is another user header than `x-a` at p\.yaml:2"):
        trust_of(own)


SCHEMAS = pathlib.Path(__file__).parents[3] / "src" / "eastwall" / "policy" / "schema"


def test_the_schemas_for_editors_are_what_the_kinds_give() -> None:
    import os

    made = schemas()
    if os.environ.get("EASTWALL_REWRITE") == "1":
        for name, content in made.items():
            (SCHEMAS / name).write_bytes(content)
    assert {path.name: path.read_bytes() for path in SCHEMAS.glob("*.json")} == made


@pytest.mark.parametrize("path", [*EXAMPLES, *(p for p in GOLDEN if p.stem == "ok-all-kinds")], ids=lambda path: path.stem)
def test_good_policies_meet_the_schemas(path: pathlib.Path) -> None:
    made = schemas()
    for tree in yaml.safe_load_all(path.read_text()):
        if tree is not None:
            jsonschema.Draft202012Validator(yaml.safe_load(made[f"{tree['kind']}.json"])).validate(tree)


@pytest.mark.parametrize("name", ["wrong-types", "misspelt", "missing"])
def test_structural_faults_are_faults_to_the_schemas_too(name: str) -> None:
    made = schemas()
    path = next(p for p in GOLDEN if p.stem == name)
    for tree in yaml.safe_load_all(path.read_text()):
        kind = tree.get("kind") if isinstance(tree, dict) else None
        if f"{kind}.json" not in made or kind == "DetectionPolicy":  # its faults there are of meaning
            continue
        validator = jsonschema.Draft202012Validator(yaml.safe_load(made[f"{kind}.json"]))

        assert list(validator.iter_errors(tree)), tree


def test_what_services_say_of_themselves() -> None:
    said = document(
        "Service",
        "orders",
        environment="staging",
        exposure="partner",
        labels={"tier": "1"},
        deprecated=["* /v1/**"],
        admin=["POST /x"],
    )
    (scope,) = scopes_of(policies(said), [ServiceScope("orders", owner="team-a")])
    assert (scope.environment, scope.exposure, scope.labels) == ("staging", "partner", (("tier", "1"),))
    assert (scope.deprecated, scope.sensitivity, scope.owner) == (("* /v1/**",), ("POST /x",), "team-a")


def test_labels_speak_where_fields_do_not() -> None:
    labels = {"team": "web", "repository": "https://git.example/web", "environment": "test"}
    (scope,) = scopes_of(policies(document("Service", "web", labels=labels)), [])
    assert (scope.owner, scope.repository, scope.environment) == ("web", "https://git.example/web", "test")
    (scope,) = scopes_of(policies(document("Service", "web", labels=labels, owner="other", environment="production")), [])
    assert (scope.owner, scope.environment) == ("other", "production")


def test_deprecated_and_administrative_operations_that_nobody_knows() -> None:
    endpoints = [endpoint("GET", "/v1/orders")]
    text = document("Service", "orders", deprecated=["GET /v1/**", "GET /v9/**"], admin=["POST /refunds"])
    faults = check(policies(text), services=SERVICES, endpoints=endpoints, detections=[])
    assert [(f.warning, "`GET /v9/**`" in f.message or "`POST /refunds`" in f.message) for f in faults] == [(True, True)] * 2
    assert (
        check(policies(document("Service", "billing", admin=["POST /x"])), services=SERVICES, endpoints=endpoints, detections=[])
        == []
    )


def test_policies_that_nothing_comes_of_are_said() -> None:
    third = {"classes": ["pan"], "action": "block", "direction": "request", "exposure": ["external"]}
    assert one("DataPolicy", **third) == [
        "p.yaml:2:159: warning: no service is said to be `external`, so the policy does nothing (set `exposure` of the Service)"
    ]
    assert faults(policies(document("Service", "billing", exposure="external") + document("DataPolicy", **third))) == []
    said = one("SchemaPolicy", source="declared", scope={"services": ["orders"]})
    assert len(said) == 1
    assert "no specification declares an operation in scope, so nothing is held against a schema" in said[0]
    assert one("SchemaPolicy", source="either", scope={"services": ["orders"]}) == []
