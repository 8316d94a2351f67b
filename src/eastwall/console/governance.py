"""The HTTP API's part about what was done to policies and by whom: history, roll-back, drift, the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import msgspec
from fastapi import Body, FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.responses import Response

from eastwall.console.adaptation import answer
from eastwall.console.security import PRINCIPAL
from eastwall.model.audit import Origin, Who

USER_HEADER = "x-eastwall-user"


class PolicyActsApi(Protocol):
    """`runtime.policy_acts.PolicyActs`."""

    def history(self) -> list[dict[str, Any]]: ...
    def rollback(self, which: str, who: Who) -> dict[str, Any]: ...
    def drift(self) -> dict[str, Any]: ...
    def audit(self, since: float = 0.0, limit: int = 1_000) -> list[dict[str, Any]]: ...
    def verify_audit(self) -> dict[str, Any]: ...


class PlaybooksApi(Protocol):
    """`runtime.playbooks.PlaybookRunner`."""

    def list(self) -> Sequence[dict[str, Any]]: ...
    def acts(self) -> Sequence[dict[str, Any]]: ...
    def undo(self, identity: str, who: Who) -> dict[str, Any]: ...


class PolicyGuardsApi(Protocol):
    """`runtime.policy_guards.PolicyGuards`."""

    def effect(self) -> list[dict[str, Any]]: ...
    def rearm(self, name: str, who: Who) -> dict[str, Any]: ...


class GovernanceApi(Protocol):
    """What these routes need of control."""

    @property
    def policy_guards(self) -> PolicyGuardsApi: ...

    @property
    def policy_acts(self) -> PolicyActsApi: ...
    @property
    def playbooks(self) -> PlaybooksApi: ...


def who(request: Request) -> Who:
    """How the client was authenticated, whom it says it is (told, not proved), and where it is."""
    name = "".join(c for c in request.headers.get(USER_HEADER, "") if c.isprintable())[:200]
    return Who(request.scope.get(PRINCIPAL, "token"), name, request.client.host if request.client is not None else "")


def origin_of(given: dict[str, Any]) -> Origin:
    """Where the client says that files came from. Raises ValueError."""
    try:
        found = msgspec.convert(given, Origin)
    except msgspec.ValidationError as error:
        raise ValueError(f"`origin`: {error}") from None
    if (
        max(len(value) for value in (found.source, found.path, found.base, found.ref, found.commit, found.author, found.signer))
        > 2_000
    ):
        raise ValueError("`origin`: a text in it is over 2,000 characters")
    return found


def add_governance(app: FastAPI, control: GovernanceApi) -> None:
    """Add the routes."""
    _policy(app, control)
    _playbooks(app, control)


def _playbooks(app: FastAPI, control: GovernanceApi) -> None:
    @app.get("/api/v1/playbooks", tags=["playbooks"], summary="The applied playbooks")
    def playbooks() -> Response:
        return answer(control.playbooks.list())

    @app.get("/api/v1/playbooks/runs", tags=["playbooks"], summary="What playbooks did, the latest first")
    def runs() -> Response:
        return answer(control.playbooks.acts())

    @app.delete("/api/v1/playbooks/runs/{identity}", tags=["playbooks"], summary="Take back now what a run put in force")
    def undo(
        request: Request, identity: Annotated[str, InPath(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
    ) -> Response:
        return answer(control.playbooks.undo(identity, who(request)))


def _policy(app: FastAPI, control: GovernanceApi) -> None:

    @app.get("/api/v1/policy/history", tags=["policy"], summary="Applied sets of policies, the latest first")
    def history() -> Response:
        return answer(control.policy_acts.history())

    @app.post("/api/v1/policy/rollback", tags=["policy"], summary="Apply an earlier set, checked against what is known today")
    def rollback(
        request: Request,
        to: Annotated[
            str, Body(embed=True, min_length=2, max_length=64, description="Digest, or -1, -2, ...: so many sets back.")
        ],
    ) -> Response:
        return answer(control.policy_acts.rollback(to, who(request)))

    @app.get("/api/v1/policy/effect", tags=["policy"], summary="How policies stand, and what they did in the last hour")
    def effect() -> Response:
        return answer(control.policy_guards.effect())

    @app.post("/api/v1/policy/rearm/{name:path}", tags=["policy"], summary="Enforce a policy again that stepped back to monitor")
    def rearm(request: Request, name: Annotated[str, InPath(max_length=200)]) -> Response:
        return answer(control.policy_guards.rearm(name, who(request)))

    @app.get("/api/v1/policy/drift", tags=["policy"], summary="What is applied against the watched repository")
    def drift() -> Response:
        return answer(control.policy_acts.drift())

    @app.get("/api/v1/audit", tags=["audit"], summary="What was done to policies and modes, by whom; oldest first")
    def audit(
        since: Annotated[float, Query(ge=0, description="Unix seconds; only later ones.")] = 0.0,
        limit: Annotated[int, Query(ge=1, le=10_000, description="At most so many, the latest.")] = 1_000,
    ) -> Response:
        return answer(control.policy_acts.audit(since, limit))

    @app.get("/api/v1/audit/verification", tags=["audit"], summary="The audit log read again from its first line on")
    def verification() -> Response:
        return answer(control.policy_acts.verify_audit())
