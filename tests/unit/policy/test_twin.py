"""The indexed plan and its slow twin give the same verdict, whatever is known of the inventory."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from eastwall.discovery.inventory import compile_inventory, identify
from eastwall.model.call import Completion, Mode, Peer
from eastwall.model.decision import Aggregate, Deny, Detokenise, Redact, Strip, Throttle, Trim, Verdict
from eastwall.model.endpoint import FieldProfile, KnownSchemas, Schema
from eastwall.model.finding import CONFIDENCES, SEVERITIES
from eastwall.model.identity import Identity, Principal, Strength
from eastwall.model.snapshot import ServiceScope, Workload
from eastwall.policy import LimitTable, compile_plan, encode, evaluate
from eastwall.policy.steps.limits import completed

from .build import DETECTIONS, NOW, document, endpoint, finding, operation, policies, request, response
from .reference import Counters, Twin

SERVICES = ["orders", "billing"]
KEY = b"k" * 32
TEMPLATES = [
    "/",
    "/orders",
    "/orders/{order_id}",
    "/orders/{id}/items",
    "/admin/users",
    "/users/{user_id}",
    "/report-{date}.csv",
    "/orders/search",
]
PATTERNS = [
    "/",
    "/**",
    "/orders",
    "/orders/{order_id}",
    "/orders/*",
    "/orders/**",
    "/admin/**",
    "/users/{user_id}",
    "/report-{day}.csv",
    "/Orders/{x}/items",
    "/orders/search",
    "/{a}/{b}",
    "/or*/1",
]
PATHS = [
    r"/",
    r"/orders",
    r"/orders/1",
    r"/orders/1/items",
    r"/orders/search",
    r"/Orders/1",
    r"/admin/users",
    r"//admin//users",
    r"/x/../admin/users",
    r"/orders/%2e%2e/admin/users",
    r"/orders/1;v=2",
    r"/users/alice",
    r"/users/bob?user_id=alice",
    r"/report-1.csv",
    r"/orders/a%2Fb",
    r"/ADMIN/users",
    r"/orders/%252e%252e/admin",
    r"/orders/..%5cadmin",
]
METHODS = ["GET", "POST", "HEAD", "PURGE"]
WHEN = [
    "path.user_id == identity.sub",
    "'admin' in identity.roles",
    "request.headers['x-team'] == 'a'",
    "query.user_id == 'alice'",
    "identity.verified",
    "path.order_id != '1'",
    "call.service == 'orders' || path.nope == '1'",
    "identity.roles.exists(r, r == 'admin')",
]

selectors = st.fixed_dictionaries(
    {},
    optional={
        "actors": st.lists(st.sampled_from(["user:alice", "user:*", "workload:*", "address:10.*"]), min_size=1, max_size=2),
        "roles": st.lists(st.sampled_from(["admin", "dev"]), min_size=1, max_size=2),
        "kinds": st.just(["user"]),
        "classes": st.just(["user*"]),
        "strength": st.sampled_from(["none", "guessed", "asserted", "verified"]),
        "zones": st.sampled_from([["z0"], ["z*"], ["nowhere"]]),
        "namespaces": st.sampled_from([["web"], ["pay*"]]),
        "labels": st.sampled_from([["tier=web"], ["tier=*"]]),
        "agents": st.sampled_from([["*"], ["client:bot"]]),
        "human": st.sampled_from(["required", "absent"]),
    },
)
plain = selectors.map(lambda one: {key: value for key, value in one.items() if key != "zones"})
scopes = st.fixed_dictionaries(
    {},
    optional={
        "services": st.lists(st.sampled_from([*SERVICES, "b*"]), min_size=1, max_size=2),
        "zones": st.sampled_from([["z0"], ["z*"]]),
        "operations": st.lists(
            st.builds("{} {}".format, st.sampled_from(["*", "GET", "POST"]), st.sampled_from(PATTERNS)), min_size=1, max_size=3
        ),
        "identities": selectors,
    },
)
shared = {"scope": scopes, "mode": st.sampled_from(["discover", "monitor", "enforce"])}
staged = {
    "rollout": st.fixed_dictionaries(
        {"percent": st.sampled_from([1, 30, 70, 100])}, optional={"by": st.sampled_from(["identity", "source", "call"])}
    ),
    "guard": st.just({"legitimate": 5}),
}
more = {
    "when": st.lists(st.sampled_from(WHEN), min_size=1, max_size=2),
    "onError": st.sampled_from(["block", "monitor", "allow"]),
}
classes = st.lists(st.sampled_from(["pan", "email", "ssn"]), min_size=1, max_size=2, unique=True)


def _whole(limit: dict[str, object]) -> dict[str, object]:
    """A LimitPolicy with what its fields need."""
    if not limit.keys() & {"rate", "concurrency", "records", "objects", "values"}:
        limit["rate"] = "2/m"
    if "rate" not in limit:
        limit.pop("burst", None)
    return limit | ({"classes": ["pan", "email"]} if "values" in limit else {})


specs = st.one_of(
    st.tuples(
        st.just("AccessPolicy"), st.fixed_dictionaries({"action": st.sampled_from(["allow", "deny"]), **shared}, optional=more)
    ),
    st.tuples(
        st.just("LimitPolicy"),
        st.fixed_dictionaries(
            {**shared},
            optional={
                "rate": st.sampled_from(["1/s", "2/m", "1/h"]),
                "burst": st.integers(1, 2),
                "concurrency": st.integers(1, 2),
                "records": st.sampled_from(["3/m", "2/h"]),
                "objects": st.sampled_from(["1/m", "2/h"]),
                "values": st.sampled_from(["3/m", "2/h"]),
                "per": st.lists(st.sampled_from(["identity", "service", "operation", "class"]), min_size=1, unique=True),
                **more,
            },
        ).map(_whole),
    ),
    st.tuples(
        st.just("DataPolicy"),
        st.fixed_dictionaries(
            {"classes": classes, "action": st.sampled_from(["redact", "mask", "hash", "drop", "block"]), **shared},
            optional={
                "direction": st.sampled_from(["request", "response"]),
                "except": selectors.filter(bool),
                "exposure": st.sampled_from([["external"], ["internal", "external"]]),
                **more,
            },
        ),
    ),
    st.tuples(
        st.just("DataPolicy"),
        st.fixed_dictionaries(
            {"classes": classes, "action": st.just("tokenise"), **shared},
            optional={"detokenise": selectors.filter(bool), "tokensFrom": selectors.filter(bool), **more},
        ),
    ),
    st.tuples(
        st.just("DataPolicy"),
        st.fixed_dictionaries(
            {"classes": classes, "action": st.just("mask"), "purposes": st.just(["support"]), **shared},
            optional={"direction": st.sampled_from(["request", "response"]), **more},
        ).flatmap(
            lambda spec: st.sampled_from(["header:x-purpose", "claim:purpose"]).map(lambda name: {**spec, "purposeFrom": name})
        ),
    ),
    st.tuples(
        st.just("SchemaPolicy"),
        st.fixed_dictionaries(
            {
                "types": st.sampled_from(["ignore", "report", "block"]),
                "unknown": st.sampled_from(["report", "strip", "strip", "block"]),
                "missing": st.sampled_from(["ignore", "report", "block"]),
                **shared,
            },
            optional={
                "source": st.sampled_from(["declared", "either"]),
                "direction": st.sampled_from(["request", "response", "both"]),
                "maxItems": st.integers(1, 3),
                "overLimit": st.sampled_from(["report", "block"]),
                **more,
            },
        ),
    ),
    st.tuples(
        st.just("DataPolicy"),
        st.one_of(st.just({"action": "aggregate"}), st.integers(0, 3).map(lambda n: {"action": "truncate", "items": n})).flatmap(
            lambda spec: st.fixed_dictionaries(
                {**{name: st.just(value) for name, value in spec.items()}, **shared},
                optional={"direction": st.sampled_from(["request", "response"]), **more},
            )
        ),
    ),
    st.tuples(
        st.just("DetectionPolicy"),
        st.fixed_dictionaries(
            {
                "detections": st.sampled_from([["*"], ["sql-*"], ["mass-assignment"]]),
                "action": st.sampled_from(["block", "report", "default"]),
                **shared,
            },
            optional={"minSeverity": st.sampled_from(SEVERITIES), "minConfidence": st.sampled_from(CONFIDENCES), **more},
        ),
    ),
)
entrances = st.fixed_dictionaries(
    {"zones": st.sampled_from([["z0"], ["z1"], ["z*"]])},
    optional={
        "identities": selectors,
        "operations": st.lists(st.builds("{} {}".format, st.just("GET"), st.sampled_from(PATTERNS)), min_size=1, max_size=2),
        "when": st.lists(st.sampled_from(WHEN), min_size=1, max_size=1),
    },
)
more_zone = {"onError": more["onError"]}
zones = st.fixed_dictionaries(
    {
        "members": st.fixed_dictionaries(
            {"services": st.sampled_from([["orders"], ["billing"], ["b*"]])},
            optional={
                "namespaces": st.just(["web"]),
                "labels": st.sampled_from([["tier=web"], ["tier=*"]]),
                "identities": plain.filter(bool),
                "agents": st.just(["client:*"]),
            },
        ),
        "mode": shared["mode"],
    },
    optional={
        "default": st.sampled_from(["allow", "deny"]),
        "inside": st.just("deny"),
        "from": st.lists(entrances, min_size=1, max_size=2),
        "admission": st.sampled_from([{"strength": "verified"}, {"mtls": True}]),
        "egress": st.just("deny"),
        **more_zone,
    },
).filter(lambda zone: not ("from" in zone and zone.get("default") == "allow" and "inside" not in zone))
quarantines = st.fixed_dictionaries(
    {"scope": scopes.filter(lambda scope: any(scope.values())), "mode": shared["mode"]},
    optional={"maintenance": selectors.filter(bool), "tools": st.just(["pay*"]), "issuedAfter": st.just("2023-01-01"), **more},
).map(lambda one: {**one, "indefinite": True, **({"rate": "1/m"} if "maintenance" in one else {})})
sources = st.fixed_dictionaries(
    {},
    optional={
        "data": st.sampled_from([["pan"], ["email", "ssn"]]),
        "tools": st.sampled_from([["search"], ["p*"]]),
        "services": st.sampled_from([["billing"], ["*"]]),
        "exposure": st.just(["external"]),
    },
).filter(bool)
taints = st.fixed_dictionaries(
    {"sources": st.lists(sources, min_size=1, max_size=2)},
    optional={"within": st.sampled_from(["30s", "1h"]), "then": st.sampled_from(["human", "operator"])},
)
tool_policies = st.fixed_dictionaries(
    {"tools": st.sampled_from([["pay"], ["p*"], ["*"]]), "servers": st.just(["orders"]), "mode": shared["mode"]},
    optional={
        "callers": selectors,
        "arguments": st.sampled_from([["arguments.amount <= 10"], ["arguments.to == identity.sub"]]),
        "approval": st.sampled_from(["human", "operator"]),
        "unlisted": st.just("deny"),
        "taint": taints,
        **more,
    },
)
exceptions = st.fixed_dictionaries(
    {
        "expires": st.sampled_from(["2023-11-14T22:13:21Z", "2030-01-01"]),
        "reason": st.just("known"),
        "owner": st.just("team-a"),
        "mode": shared["mode"],
        "policies": st.sampled_from([["p0"], ["p1", "p2"], ["p*"], ["*"]]),
    },
    optional={"detections": st.sampled_from([["sql-*"], ["*"]]), "scope": scopes, "when": more["when"]},
)
segments = st.one_of(
    st.tuples(st.just("Quarantine"), quarantines),
    st.tuples(st.just("ToolPolicy"), tool_policies),
    st.tuples(st.just("Exception"), exceptions),
    st.tuples(st.just("Exception"), exceptions),
)
strengths = st.sampled_from(list(Strength))
DECLARED = Schema(
    0,
    (FieldProfile("$", ("object",)), FieldProfile("id", ("integer",), required=True), FieldProfile("card", ("string",))),
    media_types=("application/json",),
)
LABELLED = [
    ServiceScope("orders", labels=(("namespace", "web"),)),
    ServiceScope("billing", labels=(("tier", "web"),), hosts=("api.billing.example",)),
]
WORKLOADS = [Workload("10.0.0.1", "web/front", labels=(("tier", "web"),)), Workload("10.0.0.2", "web/front")]


@st.composite
def identities(draw: st.DrawFn) -> Identity:
    strength = draw(strengths)
    kind, name = draw(st.sampled_from([("user", "alice"), ("user", "bob"), ("workload", "front"), ("address", "10.0.0.9")]))
    carrier = draw(st.sampled_from(["front", "web/front", "web/orders", "spiffe://shop/ns/pay/sa/billing"]))
    chain = (Principal(kind, name, strength), Principal("workload", carrier, draw(strengths)))
    agent = draw(st.sampled_from(["", "client:bot"]))
    if agent:
        chain += (Principal("client", "bot", draw(strengths)),)
    near = draw(st.sampled_from(["", carrier, "pay/billing", "learned"])) if chain[1].strength > Strength.GUESSED else ""
    roles = draw(st.sampled_from([(), ("admin",), ("dev", "admin")]))
    return Identity(
        f"{kind}:{name}",
        kind,
        strength,
        draw(st.sampled_from(["user", "user+admin", "x"])),
        chain,
        roles,
        claims={"sub": name, **draw(st.sampled_from([{}, {"purpose": "support"}]))},
        agent=agent,
        human=f"user:{name}" if kind == "user" and draw(st.booleans()) else "",
        workload=near,
        proxies=draw(st.sampled_from([(), (carrier,)])),
    )


def tool_call(name: str, arguments: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


bodies = st.one_of(
    st.sampled_from(
        [None, [{"id": 1}, {"id": 2}], {"card": "ewt_pan_x"}, {"a": "ewt_pan_x ewt_email_x"}, {"id": 1, "role": 2, "card": "x"}]
    ),
    st.builds(tool_call, st.sampled_from(["pay", "search"]), st.sampled_from([{}, {"amount": 5}, {"amount": 50, "to": "alice"}])),
    st.just([tool_call("pay", {"amount": 1, "to": "bob"}), tool_call("other", {})]),
)


calls = st.fixed_dictionaries(
    {
        "method": st.sampled_from(METHODS),
        "target": st.sampled_from(PATHS),
        "service": st.sampled_from(SERVICES),
        "identity": identities(),
        "step": st.sampled_from([0.0, 0.3, 40.0]),
        "headers": st.sampled_from([{}, {"x-team": "a"}, {"x-purpose": "support"}]),
        "data": st.lists(st.sampled_from(["pan", "email", "ssn", "iban"]), max_size=2, unique=True),
        "response": st.booleans(),
        "body": bodies,
        "sans": st.sampled_from([(), ("spiffe://shop/ns/web/sa/front",)]),
        "used": st.lists(st.integers(1, 4), max_size=2),
        "given": st.lists(st.integers(1, 4), max_size=2),
        "amounts": st.dictionaries(st.sampled_from(["pan", "email", "ssn"]), st.integers(1, 3)),
        "over": st.booleans(),
        "findings": st.lists(
            st.builds(
                finding, st.sampled_from([d.id for d in DETECTIONS]), st.sampled_from(SEVERITIES), st.sampled_from(CONFIDENCES)
            ),
            max_size=2,
        ),
    }
)


def outcome(verdict: Verdict) -> tuple[str, str, str]:
    words = []
    for effect in verdict.effects:
        match effect:
            case Deny():
                words.append(str(effect.status))
            case Throttle():
                words.append("429")
            case Redact():
                words += [f"{name}:{effect.style}" for name in effect.data_classes]
            case Detokenise():
                words += [f"{name}:original" for name in effect.data_classes]
            case Strip():
                words += [f"-{path[-1]}" for path in effect.members]
            case Aggregate():
                words.append("rows")
            case Trim():
                words.append(f"cut {effect.items}")
    return verdict.action, verdict.would, ",".join(sorted(set(words)))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(specs, segments), max_size=5),
    st.lists(zones, max_size=2),
    st.lists(st.fixed_dictionaries({}, optional=staged), min_size=5, max_size=5),
    st.sets(st.sampled_from(["p0", "p1", "p2"]), max_size=2),
    st.lists(
        st.tuples(st.sampled_from(["GET", "POST"]), st.sampled_from(TEMPLATES), st.sampled_from(SERVICES)),
        unique=True,
        max_size=6,
    ),
    st.sampled_from([*Mode, Mode.ENFORCE, Mode.ENFORCE]),
    st.sampled_from(["", "internal", "external"]),
    st.lists(calls, min_size=1, max_size=6),
)
def test_plan_agrees_with_the_twin_that_scans_everything(
    written, segmented, stages, stepped, known, mode, exposure, made
) -> None:
    for (kind, spec), stage in zip(written, stages, strict=False):
        if spec["mode"] == "enforce" and kind not in ("Quarantine", "Exception"):
            spec |= stage
    text = "".join(document(kind, f"p{i}", **spec) for i, (kind, spec) in enumerate(written))
    text += "".join(document("TrustZone", f"z{i}", **spec) for i, spec in enumerate(segmented))
    own = policies(text)
    endpoints = [endpoint(*one) for one in known]
    inventory = compile_inventory(endpoints)
    scopes_ = [msgspec.structs.replace(scope, mode=mode, exposure=exposure) for scope in LABELLED]
    schemas = [KnownSchemas(one.id, declared=DECLARED) for one in endpoints]
    plan = compile_plan(
        encode(own),
        services=scopes_,
        endpoints=endpoints,
        detections=DETECTIONS,
        workloads=WORKLOADS,
        schemas=schemas,
        key=KEY,
    )
    twin = Twin(own, mode, DETECTIONS, exposure, scopes_, WORKLOADS, KEY, sorted(stepped))
    fast_limits, slow_limits = LimitTable(), Counters()
    now = NOW
    for number, call in enumerate(made):
        now += call["step"]
        match = identify(call["service"], operation(call["method"], call["target"]), inventory)
        common = {"service": call["service"], "match": match, "time": now, "headers": call["headers"], "id": f"call-{number}"}
        asked = request(
            call["method"],
            call["target"],
            call["identity"],
            data=() if call["response"] else call["data"],
            used=call["used"],
            body=call["body"],
            **common,
        )
        asked = msgspec.structs.replace(
            asked, call=msgspec.structs.replace(asked.call, peer=Peer("10.0.0.9", uri_sans=call["sans"]))
        )
        if isinstance(call["body"], dict) and "method" in call["body"]:
            asked = msgspec.structs.replace(asked, operation=msgspec.structs.replace(asked.operation, protocol="mcp"))
        messages = [asked]
        if call["response"]:
            messages.append(response(asked, call["data"], amounts=call["amounts"], given=call["given"]))
            messages[1] = msgspec.structs.replace(
                messages[1], operation=msgspec.structs.replace(asked.operation, protocol="rest")
            )
        for facts in messages:
            verdict = evaluate(plan, facts, call["findings"], (), fast_limits, stepped_back=stepped)
            assert outcome(verdict) == twin.evaluate(facts, call["findings"], slow_limits)
            assert not (mode is not Mode.ENFORCE and (verdict.action != "allow" or verdict.effects))
        if call["over"]:
            end = Completion(asked.call.id, "", now, "", "", "", 200, 0, 0, 0)
            completed(fast_limits, end, refused=False)
            for calls_ in slow_limits.open.values():
                calls_.discard(asked.call.id)
