"""The HTTP API's part about the blueprint: what there is, who calls it, what it carries, where it leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

import msgspec
from fastapi import Body, FastAPI, Query
from fastapi import Path as InPath
from fastapi.responses import Response

from eastwall.discovery.graph import title
from eastwall.model.blueprint import AttackPath, Change, DataFlow, Drift, Graph, IdentityProfile, Lifecycle, Readiness, Risk
from eastwall.model.endpoint import Endpoint

Name = Annotated[str, Query(max_length=200)]
Since = Annotated[float, Query(ge=0, description="Unix seconds; only later ones.")]
Service = Annotated[str, InPath(max_length=200)]
EndpointId = Annotated[str, InPath(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$", description="Endpoint id.")]


class BlueprintApi(Protocol):
    """What is concluded of the APIs; `runtime.blueprint.Blueprint`."""

    def lifecycle(self, endpoint_id: str) -> Lifecycle: ...
    def risk(self, endpoint_id: str) -> Risk: ...
    def drift(self, service: str = "", endpoint: str = "") -> Sequence[Drift]: ...
    def changes(self, since: float = 0.0, service: str = "") -> Sequence[Change]: ...
    def graph(self) -> Graph: ...
    def paths(self, limit: int = 20) -> Sequence[AttackPath]: ...
    def data(self, data_class: str = "") -> Sequence[DataFlow]: ...
    def identities(self, kind: str = "") -> Sequence[IdentityProfile]: ...
    def identity(self, actor: str) -> IdentityProfile: ...
    def callers(self, endpoint_id: str) -> Sequence[tuple[str, int, float]]: ...
    def readiness(self, endpoint_id: str) -> Sequence[Readiness]: ...


class DiscoveryApi(Protocol):
    """What these routes need of control."""

    @property
    def blueprint(self) -> BlueprintApi: ...
    def apis(self, service: str = "") -> list[Endpoint]: ...
    def api(self, endpoint_id: str) -> Endpoint: ...
    def openapi(self, service: str, version: str = "3.1") -> dict[str, Any]: ...
    def graphql(self, service: str) -> str: ...
    def graph_text(self, form: str) -> str: ...
    def diff(self, service: str, document: str, name: str) -> Mapping[str, Any]: ...


def answer(value: Any, media_type: str = "application/json") -> Response:
    body = value.encode() if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str)
    return Response(body, media_type=media_type)


def add_blueprint(app: FastAPI, control: DiscoveryApi) -> None:
    """Add the routes."""
    _apis(app, control)
    _documents(app, control)
    _whole(app, control)


def _apis(app: FastAPI, control: DiscoveryApi) -> None:
    @app.get("/api/v1/apis", tags=["apis"], summary="Known APIs, in short; `full=1` gives everything learned")
    def apis(
        service: Name = "",
        full: bool = False,
        state: Annotated[str, Query(max_length=40, description="Lifecycle state or flag: `shadow`, `zombie`, `orphan` ...")] = "",
        data: Annotated[str, Query(max_length=60, description="Carries this data class.")] = "",
        search: Annotated[str, Query(max_length=200, description="Words in method, template, operation or service.")] = "",
        changed: Annotated[float, Query(ge=0, description="Unix seconds; new or changed since then.")] = 0.0,
    ) -> Response:
        known = control.apis(service)
        blueprint = control.blueprint
        recent = {change.endpoint for change in blueprint.changes(changed)} if changed else None
        words = search.lower().split()
        found = []
        for endpoint in known:
            if recent is not None and endpoint.id not in recent:
                continue
            if data and all(data != name for _, _, name in endpoint.data_classes):
                continue
            if words and not _has(endpoint, words):
                continue
            try:
                lifecycle, risk = blueprint.lifecycle(endpoint.id), blueprint.risk(endpoint.id)
            except LookupError:  # gone since the list was taken: it was told to be something else
                continue
            if state and state != lifecycle.state and state not in lifecycle.flags:
                continue
            found.append(msgspec.to_builtins(endpoint) if full else short(endpoint, lifecycle, risk))
        return answer(found)

    @app.get("/api/v1/apis/{endpoint_id}", tags=["apis"], summary="Everything learned and concluded about one API")
    def api(endpoint_id: EndpointId) -> Response:
        blueprint = control.blueprint
        endpoint = control.api(endpoint_id)
        return answer(
            msgspec.to_builtins(endpoint)
            | {
                "lifecycle": blueprint.lifecycle(endpoint_id),
                "risk": blueprint.risk(endpoint_id),
                "drift": blueprint.drift(endpoint=endpoint_id),
                "changes": [c for c in blueprint.changes() if c.endpoint == endpoint_id],
                "callers": [
                    {"caller": caller, "calls": calls, "last_seen": last}
                    for caller, calls, last in blueprint.callers(endpoint_id)
                ],
                "readiness": blueprint.readiness(endpoint_id),
            }
        )


def _documents(app: FastAPI, control: DiscoveryApi) -> None:
    @app.get("/api/v1/openapi/{service}", tags=["apis"], summary="OpenAPI document of a service, from what was learned")
    def document(service: Service, version: Literal["3.0", "3.1"] = "3.1") -> Response:
        return answer(control.openapi(service, version))

    @app.get("/api/v1/graphql/{service}", tags=["apis"], summary="GraphQL SDL of what was used of a service")
    def sdl(service: Service) -> Response:
        return answer(control.graphql(service), "application/graphql")

    @app.post("/api/v1/diff/{service}", tags=["apis"], summary="A specification against what was seen, both directions")
    def diff(
        service: Service,
        document: Annotated[str, Body(embed=True, max_length=32 << 20, description="OpenAPI, Swagger, Postman, GraphQL SDL.")],
        name: Annotated[str, Body(embed=True, max_length=500, description="What faults call the document.")] = "document",
    ) -> Response:
        told = dict(control.diff(service, document, name))
        return answer(told | {"drift": named(control, told["drift"])})


def _whole(app: FastAPI, control: DiscoveryApi) -> None:
    @app.get("/api/v1/changes", tags=["apis"], summary="What is new, changed or gone, newest first")
    def changes(since: Since = 0.0, service: Name = "") -> Response:
        return answer(named(control, control.blueprint.changes(since, service)))

    @app.get("/api/v1/drift", tags=["apis"], summary="Where what is seen differs from what is declared")
    def drift(service: Name = "") -> Response:
        return answer(named(control, control.blueprint.drift(service)))

    @app.get("/api/v1/graph", tags=["graph"], summary="Identities, services, operations, data classes, third parties")
    def graph(form: Annotated[Literal["json", "dot", "graphml"], Query(alias="format")] = "json") -> Response:
        kinds = {"json": "application/json", "dot": "text/vnd.graphviz", "graphml": "application/graphml+xml"}
        return answer(control.graph_text(form), kinds[form])

    @app.get("/api/v1/paths", tags=["graph"], summary="Attack paths, worst first, each with the cheapest cut")
    def paths(limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> Response:
        return answer(control.blueprint.paths(limit))

    @app.get("/api/v1/data", tags=["graph"], summary="Where sensitive data flows")
    def data(data_class: Annotated[str, Query(alias="class", max_length=60)] = "") -> Response:
        return answer(named(control, control.blueprint.data(data_class)))

    @app.get("/api/v1/identities", tags=["identities"], summary="Who calls, most calls first")
    def identities(
        kind: Annotated[str, Query(max_length=40)] = "", limit: Annotated[int, Query(ge=1, le=10_000)] = 200
    ) -> Response:
        return answer(control.blueprint.identities(kind)[:limit])

    @app.get("/api/v1/identities/{actor:path}", tags=["identities"], summary="One identity and what it does")
    def identity(actor: Annotated[str, InPath(max_length=400)]) -> Response:
        blueprint = control.blueprint
        profile = blueprint.identity(actor)
        known = {endpoint.id: endpoint for endpoint in control.apis()}
        operations = [
            {"endpoint": key, "calls": calls, "title": title(known[key]) if key in known else key}
            for key, calls in profile.operations
        ]
        return answer(msgspec.to_builtins(profile) | {"operations": operations})


def named(control: DiscoveryApi, items: Sequence[Change | Drift | DataFlow]) -> list[dict[str, Any]]:
    """Entries that speak of an endpoint, with its operation where its path has several."""
    operations = {e.id: e.operation for e in control.apis() if e.operation and e.protocol != "grpc"}
    return [msgspec.to_builtins(item) | {"operation": operations.get(item.endpoint, "")} for item in items]


def _has(endpoint: Endpoint, words: Sequence[str]) -> bool:
    text = f"{endpoint.service} {endpoint.method} {endpoint.template} {endpoint.operation} {endpoint.protocol}".lower()
    return all(word in text for word in words)


def short(e: Endpoint, lifecycle: Lifecycle, risk: Risk) -> dict[str, Any]:
    """An API as lists show it."""
    return {
        "id": e.id,
        "service": e.service,
        "method": e.method,
        "template": e.template,
        "protocol": e.protocol,
        "operation": e.operation,
        "parameters": [{"name": p.name, "kind": p.kind} for p in e.parameters],
        "status": e.status,
        "origin": e.origin,
        "state": lifecycle.state,
        "flags": lifecycle.flags,
        "owner": lifecycle.owner,
        "exposure": lifecycle.exposure,
        "risk": risk.score,
        "risk_level": risk.level,
        "calls": e.calls,
        "actors": e.actors,
        "authenticated": round(e.authenticated, 4),
        "identifiable": e.identifiable,
        "login": e.login,
        "first_seen": e.first_seen,
        "last_seen": e.last_seen,
        "statuses": e.statuses,
        "sample_every": e.sample_every,
        "data_classes": sorted({data_class for _, _, data_class in e.data_classes}),
        "objects": [{"place": o.place, "kind": o.kind, "exclusive": o.exclusive} for o in e.objects],
    }
