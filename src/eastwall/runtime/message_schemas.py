"""What engines are told of the messages of operations that SchemaPolicies are about: learned and declared schemas, without what no engine reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eastwall.discovery.body_schemas import MATURE
from eastwall.learning.publish import identify_declared
from eastwall.model.endpoint import Endpoint, FieldProfile, KnownSchemas, Schema
from eastwall.policy.kinds import PolicySet, SchemaPolicy
from eastwall.policy.patterns import compile_globs, may_match, method_matches, parse_operation, template_segments


def known_schemas(
    policies: PolicySet, endpoints: Sequence[Endpoint], declared: Mapping[str, Sequence[Endpoint]]
) -> tuple[KnownSchemas, ...]:
    """`declared`: service -> what its specifications declare."""
    scopes = [
        (compile_globs(spec.scope.services), [parse_operation(text) for text in spec.scope.operations])
        for policy in policies.policies
        if isinstance(spec := policy.spec, SchemaPolicy) and spec.mode != "discover"
    ]
    if not scopes:
        return ()
    named = {service: identify_declared(service, found) for service, found in declared.items()}
    found = []
    for endpoint in endpoints:
        segments = template_segments(endpoint.template.lower())
        if not any(
            (services is None or services(endpoint.service))
            and (
                not patterns
                or any(method_matches(p.method, endpoint.method) and may_match(p.folded, p.open, segments) for p in patterns)
            )
            for services, patterns in scopes
        ):
            continue
        found.append(_known(endpoint, named.get(endpoint.service, {}).get(endpoint.id)))
    return tuple(found)


def _known(endpoint: Endpoint, declared: Endpoint | None) -> KnownSchemas:
    seen = endpoint.origin != "declared"
    return KnownSchemas(
        endpoint.id,
        endpoint.status == "learned",
        _short(endpoint.request) if seen else Schema(),
        tuple((status, _short(schema)) for status, schema in endpoint.responses) if seen else (),
        _short(declared.request) if declared is not None else None,
        tuple((status, _short(schema)) for status, schema in declared.responses) if declared is not None else (),
        _short(endpoint.query) if seen else Schema(),
        _short(declared.query) if declared is not None else None,
    )


def _short(schema: Schema) -> Schema:
    fields = tuple([FieldProfile(f.place, f.kinds, seen=f.seen, of=f.of, required=f.required) for f in schema.fields])
    return Schema(schema.samples, fields, media_types=schema.media_types)


def schemas_essence(schemas: Sequence[KnownSchemas]) -> int:
    """What engines act on, without mere counters."""

    def said(schema: Schema) -> object:
        return schema.samples >= MATURE, tuple(
            (f.place, f.kinds, f.seen >= MATURE, f.seen == f.of, f.seen > 0, f.required) for f in schema.fields
        )

    return hash(
        tuple(
            (
                one.endpoint,
                one.learned,
                said(one.request),
                tuple((status, said(schema)) for status, schema in (*one.responses, *one.declared_responses)),
                said(one.query),
                tuple(said(schema) for schema in (one.declared, one.declared_query) if schema is not None),
            )
            for one in schemas
        )
    )
