"""The HTTP API's part about what was learned being believed: baselines with their candidates, and what analysts say of calls."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol

import msgspec
from fastapi import Body, FastAPI, Query
from fastapi import Path as InPath
from fastapi.responses import Response

Service = Annotated[str, InPath(max_length=200)]
Identity = Annotated[str, InPath(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
EventId = Annotated[str, InPath(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$", description="Event id.")]


class BaselinesApi(Protocol):
    """`runtime.baselines.BaselineApi`."""

    def overview(self, service: str = "") -> dict[str, Any]: ...
    def history(self, service: str) -> dict[str, Any]: ...
    def promote(self, candidate: str) -> dict[str, Any]: ...
    def reject(self, candidate: str) -> dict[str, Any]: ...
    def rollback(self, service: str, version: int) -> dict[str, Any]: ...
    def unpin(self, service: str) -> dict[str, Any]: ...
    def deploy(self, service: str, reason: str) -> dict[str, Any]: ...


class FeedbackApi(Protocol):
    """`runtime.feedback.FeedbackApi`."""

    def list(self) -> list[dict[str, Any]]: ...
    def say(self, event: str, kind: str, *, note: str = "", days: float = 30.0, window: float = 3600.0) -> dict[str, Any]: ...
    def undo(self, identity: str) -> dict[str, Any]: ...


class AdaptationApi(Protocol):
    """What these routes need of control."""

    @property
    def baselines(self) -> BaselinesApi: ...
    @property
    def feedback(self) -> FeedbackApi: ...


def answer(value: Any) -> Response:
    return Response(msgspec.json.encode(value, enc_hook=str), media_type="application/json")


def add_adaptation(app: FastAPI, control: AdaptationApi) -> None:
    """Add the routes."""
    _baselines(app, control)
    _feedback(app, control)


def _baselines(app: FastAPI, control: AdaptationApi) -> None:
    @app.get("/api/v1/baselines", tags=["baselines"], summary="Baselines with their versions, and candidates that wait")
    def overview(service: Annotated[str, Query(max_length=200)] = "") -> Response:
        return answer(control.baselines.overview(service))

    @app.get(
        "/api/v1/baselines/{service}", tags=["baselines"], summary="What was promoted, rejected and rolled back, oldest first"
    )
    def history(service: Service) -> Response:
        return answer(control.baselines.history(service))

    @app.post("/api/v1/baselines/candidates/{candidate}/promote", tags=["baselines"], summary="Take a candidate in by hand")
    def promote(candidate: Identity) -> Response:
        return answer(control.baselines.promote(candidate))

    @app.post(
        "/api/v1/baselines/candidates/{candidate}/reject", tags=["baselines"], summary="Never take a candidate in by agreement"
    )
    def reject(candidate: Identity) -> Response:
        return answer(control.baselines.reject(candidate))

    @app.post(
        "/api/v1/baselines/{service}/rollback", tags=["baselines"], summary="Undo what was promoted after a version, and pin it"
    )
    def rollback(service: Service, version: Annotated[int, Body(embed=True, ge=1)]) -> Response:
        return answer(control.baselines.rollback(service, version))

    @app.post("/api/v1/baselines/{service}/unpin", tags=["baselines"], summary="Let candidates be promoted by agreement again")
    def unpin(service: Service) -> Response:
        return answer(control.baselines.unpin(service))

    @app.post("/api/v1/baselines/{service}/deploy", tags=["baselines"], summary="Say that a release of the service begins")
    def deploy(
        service: Service,
        reason: Annotated[str, Body(embed=True, min_length=1, max_length=200, description="Version, build, ...")],
    ) -> Response:
        return answer(control.baselines.deploy(service, reason))


def _feedback(app: FastAPI, control: AdaptationApi) -> None:
    @app.get("/api/v1/feedback", tags=["feedback"], summary="What was said of calls, newest first")
    def said() -> Response:
        return answer(control.feedback.list())

    @app.post("/api/v1/calls/{event_id}/feedback", tags=["feedback"], summary="Say that a call was fine, or an attack")
    def say(
        event_id: EventId,
        judgement: Annotated[Literal["fine", "attack"], Body(embed=True)],
        note: Annotated[str, Body(embed=True, max_length=500)] = "",
        days: Annotated[float, Body(embed=True, gt=0, le=366, description="`fine`: for how many days.")] = 30.0,
        window: Annotated[
            float, Body(embed=True, ge=0, le=30 * 86_400, description="`attack`: seconds before and after that teach nothing.")
        ] = 3_600.0,
    ) -> Response:
        return answer(control.feedback.say(event_id, judgement, note=note, days=days, window=window))

    @app.delete("/api/v1/feedback/{identity}", tags=["feedback"], summary="Take a judgement back")
    def undo(identity: Identity) -> Response:
        return answer(control.feedback.undo(identity))
