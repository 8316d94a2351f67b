"""The HTTP API's part about tool calls that wait for approval."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from fastapi import Body, FastAPI, Request
from fastapi import Path as InPath
from fastapi.responses import Response

from eastwall.console.adaptation import answer
from eastwall.console.governance import who
from eastwall.model.audit import Who

Name = Annotated[str, InPath(min_length=1, max_length=40, description="The approval's id, which the refused caller got.")]
Decision = Annotated[str, Body(embed=True, description="`grant` or `deny`.")]
Seconds = Annotated[
    float | None, Body(embed=True, description="`grant`: for any number of such calls for so long; not given: for one. `deny`: how long.")
]  # fmt: skip


class ApprovalsApi(Protocol):
    """`runtime.approvals.Approvals`."""

    def decide(self, name: str, decision: str, seconds: float | None, who: Who) -> dict[str, Any]: ...
    def all(self) -> dict[str, list[dict[str, Any]]]: ...


class WithApprovals(Protocol):
    """What these routes need of control."""

    @property
    def approvals(self) -> ApprovalsApi: ...


def add_approvals(app: FastAPI, control: WithApprovals) -> None:
    """Add the routes."""

    @app.get(
        "/api/v1/approvals", tags=["approvals"], summary="Tool calls that wait for approval, and what was said in the last day"
    )
    def listed() -> Response:
        return answer(control.approvals.all())

    @app.put("/api/v1/approvals/{name}", tags=["approvals"], summary="Approve a tool call that waits, or refuse it")
    def decide(request: Request, name: Name, decision: Decision, seconds: Seconds = None) -> Response:
        return answer(control.approvals.decide(name, decision, seconds, who(request)))
