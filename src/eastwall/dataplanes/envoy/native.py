"""Refusals of Envoy's own: `NativeRule`s as routes that answer directly, before any filter of ours. Pure.

A refused call reaches neither the engine nor the service, so it has no record; the RBAC filter counts it under the policy's name. Its
rules are shadow rules: they decide nothing, the route's answer does, which bears the policy's own words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from eastwall.model.native import NativeRule

_CORE: Final = "type.googleapis.com/envoy."
_RBAC: Final = "envoy.filters.http.rbac"
_RBAC_TYPE: Final = _CORE + "extensions.filters.http.rbac.v3."
_ANY: Final = {"permissions": [{"any": True}], "principals": [{"any": True}]}
COUNTERS: Final = re.compile(r"^http\..*\.rbac\.policy\.(?P<service>[^/]+)/(?P<policy>.+)\.shadow_denied$")
"""Names of the counters."""
COUNTER_FILTER: Final = r"\.rbac\.policy\..*\.shadow_denied$"
"""The same for Envoy's admin interface."""
ANSWERED: Final[dict[str, Any]] = {
    "extension_filter": {
        "name": "envoy.access_loggers.extension_filters.cel",
        "typed_config": {
            "@type": _CORE + "extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            "expression": "response.code_details == 'direct_response'",
        },
    }
}
"""Answers that are complete as they are."""
RUNTIME: Final[dict[str, Any]] = {
    "layers": [
        {"name": "eastwall", "static_layer": {"re2.max_program_size.error_level": 100_000}},
        {"name": "admin", "admin_layer": {}},
    ]
}
"""Envoy refuses regular expressions of more than 100 instructions otherwise, and with one of them all routes."""


def filters() -> list[dict[str, Any]]:
    """What counts, before the filters that ask the engine; without effect where no route says otherwise."""
    return [{"name": _RBAC, "typed_config": {"@type": _RBAC_TYPE + "RBAC"}}]


def routes(rules: Iterable[NativeRule], inspection: Sequence[str]) -> list[dict[str, Any]]:
    """Routes that refuse. `inspection`: names of the filters that ask the engine, which is not asked."""
    return [_route(rule, inspection) for rule in rules]


def _route(rule: NativeRule, inspection: Sequence[str]) -> dict[str, Any]:
    match: dict[str, Any] = {"safe_regex": {"regex": rule.path}} if rule.path else {"prefix": "/"}
    # gRPC has its own form of error, which the engine knows.
    match["headers"] = [
        {
            "name": "content-type",
            "string_match": {"prefix": "application/grpc", "ignore_case": True},
            "invert_match": True,
            "treat_missing_header_as_empty": True,
        }
    ]
    if rule.methods:
        methods = {"safe_regex": {"regex": "|".join(map(re.escape, rule.methods))}}
        match["headers"].append({"name": ":method", "string_match": methods})
    if rule.without_certificate:
        match["tls_context"] = {"presented": False}
    shadow = {"action": "DENY", "policies": {f"{rule.service}/{rule.policy}": _ANY}}
    off = {"@type": _CORE + "config.route.v3.FilterConfig", "disabled": True}
    return {
        "match": match,
        "direct_response": {"status": rule.status, "body": {"inline_string": rule.body}},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in (("content-type", "application/problem+json"), ("cache-control", "no-store"))
        ],
        "typed_per_filter_config": {
            _RBAC: {
                "@type": _RBAC_TYPE + "RBACPerRoute",
                "rbac": {"shadow_rules": shadow, "track_per_rule_stats": True},
            },
            **dict.fromkeys(inspection, off),
        },
    }
