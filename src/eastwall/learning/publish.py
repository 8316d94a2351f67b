"""From counts to `Endpoint`s: what the snapshot says of each operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from re import compile as regex

from msgspec import Struct
from msgspec.structs import replace

from eastwall.behaviours.sessions import kinship
from eastwall.discovery.inventory import endpoint_id
from eastwall.discovery.objects import parameter_kinds
from eastwall.discovery.privilege import privileged
from eastwall.learning.ownership import UNKNOWN, Judgement
from eastwall.learning.profile import LearningWindow, Profile, doubt
from eastwall.model.endpoint import Endpoint, FieldProfile, ObjectParameter, Parameter, Precedent, Schema

MIN_USES = 3
"""Clean calls that must name objects at a place of the query or the body before it is judged."""

MAX_ABOVE = 8
"""Objects in the arguments of an operation at which privileged properties of answers are looked for."""

_LAST_PARAMETER = regex(r"/\{[^{}/]*\}$")
_PARAMETER = regex(r"\{[^{}]*\}")
_WRAPPER = regex(r"^(?:[^.\[\]]+)?(?:\[\]|\.)\.?")


class Context(Struct, frozen=True):
    """What publishing one service needs beside the profiles."""

    service: str
    window: LearningWindow
    judgements: Mapping[str, Judgement]
    parameters: Mapping[str, tuple[Parameter, ...]]
    """Endpoint id -> parameters, for every template known now; other profiles wait."""
    declared: Mapping[str, Endpoint]
    invariants: tuple[Mapping[str, tuple[Precedent, ...]], Mapping[str, tuple[str, int]]] = ({}, {})
    """See `Steps.invariants`."""


def publish(profiles: Mapping[str, Profile], context: Context) -> list[Endpoint]:
    """Endpoints of one service, sorted by template and method; declared ones that were never seen too."""
    named: Counter[str] = Counter()
    for profile in profiles.values():
        if profile.operation:
            named[_path_key(profile, context)] += profile.clean
    known = {}
    for key, profile in profiles.items():
        path_key = _path_key(profile, context)
        whole = profiles.get(path_key)
        disguised = whole is not None and _disguised(profile, whole, named[path_key])
        if key in context.declared or (path_key in context.parameters and not disguised):
            known[key] = profile
    resources = _resources(known.values())
    bodies: Counter[str] = Counter()
    names: dict[str, set[str]] = {}
    for profile in known.values():
        of = _resource(profile.template)
        for name, state in profile.classes.items():
            bodies[of] += state.calls if name != "*" else 0
            names.setdefault(of, set()).update([place.rpartition(".")[2] for place in state.places])
    found = [
        _with_resource(_endpoint(key, profile, resources[of], context), profile, resources[of], names.get(of, set()), bodies[of])
        for key, profile in known.items()
        for of in (_resource(profile.template),)
    ]
    found = _ordered(found, context)
    found += [replace(endpoint, origin="declared", calls=0) for key, endpoint in context.declared.items() if key not in known]
    return sorted(found, key=lambda endpoint: (endpoint.template, endpoint.method, endpoint.operation))


def _ordered(endpoints: list[Endpoint], context: Context) -> list[Endpoint]:
    """The endpoints with what comes before them, and whether they come once: not what comes to the same when it is done again."""
    after, once = context.invariants
    if not after and not once:
        return endpoints
    labels = {e.id: e.operation or f"{e.method} {e.template}" for e in endpoints}
    return [
        replace(
            e,
            after=tuple(replace(one, label=labels[one.endpoint]) for one in after.get(e.id, ()) if one.endpoint in labels),
            once=once.get(e.id) if not kinship.repeatable(e) else None,
        )
        if e.id in after or e.id in once
        else e
        for e in endpoints
    ]


def _path_key(profile: Profile, context: Context) -> str:
    """Under which key the parameters of the profile's path are: the id without its operation."""
    return endpoint_id(context.service, profile.method, profile.template)


def _disguised(profile: Profile, whole: Profile, named: int) -> bool:
    """Whether an operation is rather a call of plain REST with the members of another protocol added, which its service ignores.

    An endpoint of its own would have none of the checks of the path's: who sends `{"jsonrpc": "2.0", "method": "x", "role": "admin"}` is
    to be judged like who sends the role alone. So operations count where they are not the rarer thing at their path. `whole`: the path's
    calls without a name; `named`: clean calls of all its operations.
    """
    return bool(profile.operation) and profile.protocol != "grpc" and named < whole.plain


def _endpoint(key: str, profile: Profile, resource: frozenset[str], context: Context) -> Endpoint:
    declared = context.declared.get(key)
    path_key = _path_key(profile, context) if profile.operation else key
    parameters = declared.parameters if declared is not None else context.parameters.get(path_key, ())
    properties = {name: state.known() for name, state in profile.classes.items() if name != "*"}
    calls = {name: state.calls for name, state in profile.classes.items() if name != "*"}
    if properties:
        properties["*"] = tuple(sorted({place for places in properties.values() for place in places}))
        calls["*"] = sum(calls.values())
    sent = {place for state in profile.classes.values() for place in state.places}
    request, query = _typed(profile.request.schema(), profile, 0), _typed(profile.query.schema(), profile, 0)
    return Endpoint(
        id=key,
        service=context.service,
        method=profile.method,
        template=declared.template if declared is not None else profile.template,
        parameters=parameters,
        status=profile.status(context.window),
        origin="both" if declared is not None else "observed",
        calls=profile.calls,
        first_seen=profile.first,
        last_seen=profile.last,
        actors=profile.actors.count(),
        authenticated=round(profile.authenticated / profile.succeeded, 4) if profile.succeeded else 0.0,
        login=profile.login(),
        statuses=tuple(sorted(profile.statuses.items())),
        request=_with_declared(request, declared.request.fields) if declared is not None else request,
        responses=tuple(
            (status, _typed(profile.responses[status].schema(), profile, status)) for status in sorted(profile.responses)
        ),
        query=_with_declared(query, declared.query.fields) if declared is not None else query,
        properties=tuple(sorted(properties.items())),
        property_calls=tuple(sorted(calls.items())),
        response_only=tuple(sorted(resource - sent)) if properties else (),
        objects=_objects(profile, parameters, context.judgements),
        data_classes=_flows(profile),
        sample_every=profile.sample_every(),
        protocol=profile.spoken(),
        operation=profile.operation,
        traits=tuple(sorted(profile.traits)),
        selection=tuple(sorted(profile.selection.items())),
        deprecated=profile.deprecations > 0 or (declared is not None and declared.deprecated),
        identifiable=profile.succeeded,
        secured=declared.secured if declared is not None else None,
        base=declared.base if declared is not None else "",
        alternatives=declared.alternatives if declared is not None else (),
        body_kinds=tuple(sorted(profile.kinds)),
        accustomed=profile.habits.known(),
        users=profile.users.known(),
    )


def _objects(
    profile: Profile, parameters: tuple[Parameter, ...], judgements: Mapping[str, Judgement]
) -> tuple[ObjectParameter, ...]:
    places: list[tuple[str, str]] = []
    for parameter, kind in zip(parameters, parameter_kinds(profile.template), strict=False):
        if parameter.kind != "date":
            places.append((f"path.{parameter.name}", kind))
    for place in sorted(profile.uses):
        kinds = profile.uses[place]
        if sum(kinds.values()) >= MIN_USES:
            places.append((place, min(kinds, key=lambda kind: (-kinds[kind], kind))))
    found = []
    for place, kind in places:
        judged = judgements.get(kind, UNKNOWN)
        found.append(
            ObjectParameter(
                place=place,
                kind=kind,
                exclusive=judged.exclusive,
                confidence=judged.confidence,
                evidence=judged.evidence,
                broad=judged.broad,
                by=judged.by,
                alone=judged.alone,
                settled=judged.settled,
                own_names=judged.own_names,
            )
        )
    return tuple(found)


def _flows(profile: Profile) -> tuple[tuple[str, str, str], ...]:
    found = {("request", place, name) for schema in (profile.request, profile.query) for place, name in schema.flows()}
    for status, schema in profile.responses.items():
        if 200 <= status < 300:
            found.update(("response", place, name) for place, name in schema.flows())
    return tuple(sorted(found))


def _typed(schema: Schema, profile: Profile, status: int) -> Schema:
    """The schema with the media types its message was seen in, and with how sure its data classes are: the share of the samples that held
    the class, times what the evidence for one value is worth."""
    return replace(
        schema,
        media_types=tuple(sorted(profile.media.get(status, ()))),
        fields=_weighed(schema, profile, "response" if status else "request"),
    )


def _weighed(schema: Schema, profile: Profile, direction: str) -> tuple[FieldProfile, ...]:
    doubts = profile.doubts
    if not doubts:
        return schema.fields
    return tuple(
        replace(
            field, confidence=round(field.confidence * doubts.get(doubt(direction, field.place, field.data_class), 100) / 100, 4)
        )
        if field.data_class
        else field
        for field in schema.fields
    )


def _with_declared(learned: Schema, declared: tuple[FieldProfile, ...]) -> Schema:
    """The learned schema and the declared fields that were never seen, these with `seen` 0."""
    seen = {field.place for field in learned.fields}
    unseen = [replace(field, seen=0, of=0) for field in declared if field.place not in seen]
    return replace(learned, fields=tuple(sorted([*learned.fields, *unseen], key=lambda field: field.place)))


def _resource(template: str) -> str:
    """What a collection and its items have in common: `/orders` and `/orders/{order_id}` are of `/orders`."""
    return _PARAMETER.sub("{}", _LAST_PARAMETER.sub("", template.rstrip("/")))


def _resources(profiles: Iterable[Profile]) -> dict[str, frozenset[str]]:
    """Per resource, the property places that answers carry and clean requests never sent.

    Answers often wrap what requests send bare (`items[].role`, `data.role`, `user.role`), or the other way round; a place counts
    with and without its outermost wrapper, on both sides.
    """
    answered: dict[str, set[str]] = {}
    sent: dict[str, set[str]] = {}
    for profile in profiles:
        resource = _resource(profile.template)
        into = answered.setdefault(resource, set())
        for status, schema in profile.responses.items():
            if 200 <= status < 300:
                for place in schema.places:
                    into.update(_unwrapped(place))
        requests = sent.setdefault(resource, set())
        for state in profile.classes.values():
            for place in state.places:
                requests.update(_unwrapped(place))
    found: dict[str, frozenset[str]] = {}
    for resource, places in answered.items():
        requests = sent[resource]
        wrappers = {place.partition(".")[0] for place in requests if "." in place and "[" not in place}
        candidates = places | {f"{wrapper}.{place}" for wrapper in wrappers for place in places if "." not in place}
        found[resource] = frozenset(candidates - requests - {f"{wrapper}.id" for wrapper in wrappers} - {"id", ""})
    return found


def _with_resource(endpoint: Endpoint, profile: Profile, answered: frozenset[str], sent: set[str], bodies: int) -> Endpoint:
    """With what its resource says of it: `sent` are the names of the properties that its operations are sent, in `bodies` clean calls.

    Answers of operations by name (GraphQL, JSON-RPC) name what they give after the operation (`updateOrder.ownerId`), arguments after the
    schema (`variables.input.ownerId`): there the privileged properties are compared by their own names.
    """
    if not endpoint.operation or not endpoint.properties:
        return replace(endpoint, resource_calls=bodies)
    names = {
        name for place in answered if (name := place.rpartition(".")[2]) not in sent and "[" not in name and privileged(name)
    }
    above = sorted({place.rpartition(".")[0] for state in profile.classes.values() for place in state.places if "." in place})
    places = {f"{prefix}.{name}" for prefix in above[:MAX_ABOVE] for name in names}
    return replace(endpoint, resource_calls=bodies, response_only=tuple(sorted(places.union(endpoint.response_only))))


def _unwrapped(place: str) -> set[str]:
    """A place with and without its outermost array or object; nothing for the body itself and for map entries."""
    if place == "$" or "{}" in place or place.endswith("[]"):
        return set()
    return {place, _WRAPPER.sub("", place, count=1)}


def identify_declared(service: str, endpoints: Iterable[Endpoint]) -> dict[str, Endpoint]:
    """Declared endpoints by their id within a service."""
    found: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        key = endpoint_id(service, endpoint.method, endpoint.template, endpoint.operation)
        found[key] = replace(endpoint, id=key, service=service, origin="declared", calls=0)
    return found
