"""The HTTP API's part about what is closed for now."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from fastapi import Body, FastAPI, Request
from fastapi import Path as InPath
from fastapi.responses import Response

from eastwall.console.adaptation import answer
from eastwall.console.governance import who
from eastwall.model.audit import Who

Name = Annotated[str, InPath(min_length=1, max_length=253, description="What the quarantine is called.")]


class QuarantineApi(Protocol):
    """`runtime.quarantines.Quarantines`."""

    def add(self, name: str, spec: dict[str, Any], who: Who) -> dict[str, Any]: ...
    def lift(self, name: str, who: Who) -> dict[str, Any]: ...
    def all(self) -> list[dict[str, Any]]: ...


class WithQuarantines(Protocol):
    """What these routes need of control."""

    @property
    def quarantines(self) -> QuarantineApi: ...


def add_quarantine(app: FastAPI, control: WithQuarantines) -> None:
    """Add the routes."""

    @app.get("/api/v1/quarantine", tags=["quarantine"], summary="What was put into quarantine by hand, the latest first")
    def listed() -> Response:
        return answer(control.quarantines.all())

    @app.put("/api/v1/quarantine/{name}", tags=["quarantine"], summary="Close operations, services, callers or tools for a time")
    def add(
        request: Request,
        name: Name,
        spec: Annotated[dict[str, Any], Body(description="The `spec` of a policy of kind Quarantine.")],
    ) -> Response:
        return answer(control.quarantines.add(name, spec, who(request)))

    @app.delete("/api/v1/quarantine/{name}", tags=["quarantine"], summary="Open it again")
    def lift(request: Request, name: Name) -> Response:
        return answer(control.quarantines.lift(name, who(request)))
