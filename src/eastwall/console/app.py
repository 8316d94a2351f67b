"""The HTTP API (`/api/v1`, described by itself at `/api/openapi.json`), `/metrics`, `/healthz`, and the console's page.

Every handler is a plain function: FastAPI runs it in a worker thread, so that a slow query does not hold up the others.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Annotated, Any, Literal, Protocol

import msgspec
from fastapi import Body, FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from eastwall import __version__
from eastwall.console.adaptation import BaselinesApi, FeedbackApi, add_adaptation
from eastwall.console.approvals import ApprovalsApi, add_approvals
from eastwall.console.blueprint import DiscoveryApi, add_blueprint
from eastwall.console.governance import PlaybooksApi, PolicyActsApi, PolicyGuardsApi, add_governance, origin_of, who
from eastwall.console.quarantine import QuarantineApi, add_quarantine
from eastwall.console.records import RecordsApi, add_records
from eastwall.console.security import LOGIN_PATH, SESSION_SECONDS, Guard, Sessions, cookie_name, session_cookie
from eastwall.model.audit import Origin, Who
from eastwall.model.finding import SEVERITIES
from eastwall.model.record import CallRecord

SERIES_SECONDS = 120
_STATIC = {"style.css": "text/css", "logo.svg": "image/svg+xml"} | dict.fromkeys(
    ("app.js", "views.js", "blueprint.js", "graph.js", "policies.js", "quarantine.js", "approvals.js"), "text/javascript"
)

Limit = Annotated[int, Query(ge=1, le=10_000, description="At most so many.")]
Name = Annotated[str, Query(max_length=200)]
Since = Annotated[float, Query(ge=0, description="Unix seconds; only later ones.")]
EventId = Annotated[str, InPath(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$", description="Event id.")]

Files = Annotated[dict[str, str], Body(description="File name -> YAML text.")]
Attachments = Annotated[dict[str, str], Body(description="Path of a file the policies refer to -> its text.")]


class SuggestionApi(Protocol):
    """`runtime.suggestions.SuggestionApi`."""

    def suggest(self, *, service: str = "", since: float = 604_800.0, kinds: Iterable[str] = ()) -> dict[str, Any]: ...


class ControlApi(Protocol):
    """What the console needs of `runtime.control.Control`."""

    @property
    def discovered(self) -> DiscoveryApi: ...
    @property
    def baselines(self) -> BaselinesApi: ...
    @property
    def feedback(self) -> FeedbackApi: ...
    @property
    def quarantines(self) -> QuarantineApi: ...
    @property
    def approvals(self) -> ApprovalsApi: ...
    @property
    def policy_acts(self) -> PolicyActsApi: ...
    @property
    def policy_guards(self) -> PolicyGuardsApi: ...
    @property
    def suggestions(self) -> SuggestionApi: ...
    @property
    def playbooks(self) -> PlaybooksApi: ...
    @property
    def recorded(self) -> RecordsApi: ...

    def status(self) -> dict[str, Any]: ...
    def services(self) -> list[dict[str, Any]]: ...
    def findings(self, limit: int = 100, service: str = "", since: float = 0.0) -> list[dict[str, Any]]: ...
    def calls(self, **conditions: Any) -> list[CallRecord]: ...
    def why(self, event_id: str) -> dict[str, Any]: ...
    def metrics(self) -> tuple[str, str]: ...
    def series(self, seconds: int) -> list[tuple[int, int, int, int]]: ...
    def query(self, sql: str, seconds: float = 10.0, rows: int = 10_000) -> list[dict[str, Any]]: ...
    def set_mode(self, service: str, mode: str, *, who: Who) -> list[dict[str, Any]]: ...
    def policy(self) -> dict[str, Any]: ...
    def check_policy(self, files: Mapping[str, str], attachments: Mapping[str, str] | None = None) -> Sequence[Any]: ...
    def add_spec(self, service: str, name: str, data: bytes) -> dict[str, Any]: ...
    def apply_policy(
        self,
        files: Mapping[str, str],
        attachments: Mapping[str, str] | None = None,
        *,
        who: Who,
        origin: Origin | None = None,
        force: bool = False,
    ) -> dict[str, Any]: ...


def create_app(
    control: ControlApi, *, token: str, host: str = "127.0.0.1", unavailable: tuple[type[Exception], ...] = ()
) -> FastAPI:
    """The application.

    `host`: the name or address it is reached under beside localhost and IP addresses. `unavailable`: what `control` raises when
    something it needs does not work right now; answered with 503 and the error's text.
    """
    sessions = Sessions(token)
    app = FastAPI(
        title="Eastwall",
        version=__version__,
        summary="The API of Eastwall's control process",
        description="Authenticate with `Authorization: Bearer TOKEN`. Errors are RFC 9457 problems.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"description": "An RFC 9457 problem", "content": {"application/problem+json": {}}}},
        separate_input_output_schemas=False,
    )
    app.state.sessions = sessions
    app.add_middleware(Guard, sessions=sessions, host=host)
    _faults(app, unavailable)
    _reading(app, control)
    add_blueprint(app, control.discovered)
    add_adaptation(app, control)
    add_quarantine(app, control)
    add_approvals(app, control)
    add_governance(app, control)
    add_records(app, control.recorded)
    _changing(app, control)
    _session(app, sessions)
    _page(app, control)
    return app


def answer(value: Any, status: int = 200) -> Response:
    """JSON of anything msgspec can encode; what it cannot (a database's own types) goes as text."""
    return Response(msgspec.json.encode(value, enc_hook=str), status, media_type="application/json")


def problem(status: int, title: str, detail: str, **more: Any) -> Response:
    """RFC 9457."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail} | more
    return Response(msgspec.json.encode(body, enc_hook=str), status, media_type="application/problem+json")


def _faults(app: FastAPI, unavailable: tuple[type[Exception], ...]) -> None:
    @app.exception_handler(LookupError)
    def unknown(_: Request, error: LookupError) -> Response:
        return problem(404, "Not Found", str(error))

    @app.exception_handler(ValueError)
    def refused(_: Request, error: ValueError) -> Response:
        faults = getattr(error, "faults", None)
        if faults is None:
            numbers = getattr(error, "numbers", None)
            if numbers is not None:
                return problem(409, "The policies would block most traffic", str(error), numbers=numbers)
            return problem(400, "Bad Request", str(error))
        return problem(422, "The policy has faults", str(error), faults=[_fault(f) for f in faults])

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(422, "Unprocessable Content", f"`{where}`: {first['msg']}")

    @app.exception_handler(HTTPException)
    def http(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, "Not Found" if error.status_code == 404 else "Refused", str(error.detail))

    def not_now(_: Request, error: Exception) -> Response:
        return problem(503, "Not available now", str(error))

    for kind in unavailable:
        app.add_exception_handler(kind, not_now)

    @app.exception_handler(Exception)
    def unforeseen(_: Request, error: Exception) -> Response:
        # The server logs it with its traceback; the caller gets none of it.
        return problem(500, "Internal Server Error", f"{type(error).__name__}; control's log holds more")

    @app.exception_handler(OSError)
    def no_disk(_: Request, error: OSError) -> Response:
        return problem(503, "Not available now", f"cannot write: {error.strerror or error}")


def _reading(app: FastAPI, control: ControlApi) -> None:
    @app.get("/api/v1/status", tags=["status"], summary="Everything about Eastwall itself")
    def status() -> Response:
        return answer(control.status())

    @app.get("/api/v1/services", tags=["services"], summary="Protected services with mode and counts")
    def services() -> Response:
        return answer(control.services())

    @app.get("/api/v1/findings", tags=["findings"], summary="Findings, newest first")
    def findings(limit: Limit = 100, service: Name = "", since: Since = 0.0) -> Response:
        return answer(control.findings(limit, service, since))

    @app.get(
        "/api/v1/calls", tags=["calls"], summary="Calls, newest first; `flagged=1`: with a finding, or not let pass as they are"
    )
    def calls(
        limit: Limit = 100, service: Name = "", actor: Name = "", endpoint: Name = "", since: Since = 0.0, flagged: bool = False
    ) -> Response:
        found = control.calls(limit=limit, service=service, actor=actor, endpoint=endpoint, since=since, only_flagged=flagged)
        return answer([short_call(r) for r in found])

    @app.get("/api/v1/calls/{event_id}", tags=["calls"], summary="Why: everything about one call")
    def why(event_id: EventId) -> Response:
        return answer(control.why(event_id))

    @app.get("/api/v1/live", tags=["status"], summary="What the console shows, in one answer")
    def live() -> Response:
        status = control.status()
        events = [short_call(r) for r in control.calls(limit=200, only_flagged=True)]
        return answer(status | {"series": control.series(SERIES_SECONDS), "events": events})

    @app.post("/api/v1/query", tags=["query"], summary="Read-only SQL over `calls` and `findings`")
    def query(
        sql: Annotated[str, Body(embed=True, max_length=20_000)],
        seconds: Annotated[float, Body(gt=0, le=60)] = 10.0,
        rows: Annotated[int, Body(ge=1, le=100_000)] = 10_000,
    ) -> Response:
        return answer(control.query(sql, seconds, rows))

    @app.get("/metrics", tags=["status"], summary="Prometheus metrics")
    def prometheus() -> Response:
        content_type, text = control.metrics()
        return Response(text, headers={"content-type": content_type})


def _changing(app: FastAPI, control: ControlApi) -> None:
    @app.put("/api/v1/services/{name}/mode", tags=["services"], summary="Set the mode of a service, or of `all`")
    def set_mode(
        request: Request,
        name: Annotated[str, InPath(max_length=200)],
        mode: Annotated[Literal["discover", "monitor", "enforce"], Body(embed=True)],
    ) -> Response:
        return answer(control.set_mode(name, mode, who=who(request)))

    @app.put(
        "/api/v1/specs/{service}", tags=["apis"], summary="Keep a specification of a service, in place of one of the same name"
    )
    def add_spec(
        service: Annotated[str, InPath(max_length=200)],
        name: Annotated[str, Body(embed=True, min_length=1, max_length=500, description="What the document is called.")],
        document: Annotated[str, Body(embed=True, max_length=90 << 20, description="The document, base64.")],
    ) -> Response:
        try:
            data = base64.b64decode(document, validate=True)
        except ValueError:
            return problem(422, "Unprocessable Content", "`document`: is not base64")
        return answer(control.add_spec(service, name, data))

    @app.get("/api/v1/policy", tags=["policy"], summary="The applied policies")
    def policy() -> Response:
        return answer(control.policy())

    @app.put("/api/v1/policy", tags=["policy"], summary="Apply policies in place of those applied before")
    def apply(
        request: Request,
        files: Files,
        attachments: Attachments = {},  # noqa: B006 - FastAPI copies defaults
        origin: Annotated[dict[str, Any], Body(description="Where they came from, as the client says.")] = {},  # noqa: B006
        force: Annotated[bool, Body(description="Also when they would block most of what callers do.")] = False,
    ) -> Response:
        return answer(control.apply_policy(files, attachments, who=who(request), origin=origin_of(origin), force=force))

    @app.get("/api/v1/policy/suggestion", tags=["policy"], summary="Least privilege from observed traffic, as commented YAML")
    def suggest(
        service: Annotated[str, Query(max_length=200, description="Empty: all.")] = "",
        since: Annotated[float, Query(gt=0, description="Seconds back.")] = 7 * 86_400.0,
        kinds: Annotated[str, Query(max_length=100, description="`access,limits,data,schemas`; empty: all.")] = "",
    ) -> Response:
        return answer(control.suggestions.suggest(service=service, since=since, kinds=[k for k in kinds.split(",") if k]))

    @app.post("/api/v1/policy/check", tags=["policy"], summary="All faults of policies; nothing is applied")
    def check(files: Files, attachments: Attachments = {}) -> Response:  # noqa: B006 - FastAPI copies defaults
        faults = [_fault(f) for f in control.check_policy(files, attachments)]
        return answer({"ok": all(f["warning"] for f in faults), "faults": faults})


def _session(app: FastAPI, sessions: Sessions) -> None:
    @app.post(LOGIN_PATH, tags=["session"], summary="Sign in with the token; gives a cookie for the console")
    def sign_in(request: Request, token: Annotated[str, Body(embed=True, max_length=500)]) -> Response:
        if not sessions.token_is(token.strip()):
            return problem(401, "Unauthorized", "that is not the token; `eastwall up` prints it, and DIR/secrets/token holds it")
        response = Response(status_code=204)
        name = cookie_name(request.scope)
        response.set_cookie(name, sessions.new(), max_age=SESSION_SECONDS, httponly=True, samesite="strict", path="/")
        return response

    @app.get(LOGIN_PATH, tags=["session"], summary="Whether this session is signed in")
    def session(request: Request) -> Response:
        return answer({"signed_in": sessions.valid(session_cookie(request.headers.get("cookie", ""), request.scope))})

    @app.delete(LOGIN_PATH, tags=["session"], summary="Sign out")
    def sign_out(request: Request) -> Response:
        sessions.end(session_cookie(request.headers.get("cookie", ""), request.scope))
        response = Response(status_code=204)
        response.delete_cookie(cookie_name(request.scope), path="/", httponly=True, samesite="strict")
        return response


def _page(app: FastAPI, control: ControlApi) -> None:
    folder = resources.files("eastwall.console").joinpath("static")
    page = folder.joinpath("index.html").read_bytes()
    files = {name: folder.joinpath(name).read_bytes() for name in _STATIC}

    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return Response(page, media_type="text/html")

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        if name not in files:
            return problem(404, "Not Found", "there is no such file")
        return Response(files[name], media_type=_STATIC[name])

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return Response(files["logo.svg"], media_type="image/svg+xml")

    @app.get("/healthz", tags=["status"], summary="200 when control answers; no token needed")
    def healthz() -> Response:
        return answer({"status": "ok"})


def short_call(r: CallRecord) -> dict[str, Any]:
    """A call as lists show it."""
    worst = max(r.findings, key=lambda f: SEVERITIES.index(f.severity) if f.severity in SEVERITIES else -1, default=None)
    return {
        "id": r.id,
        "time": r.time,
        "service": r.service,
        "method": r.method,
        "path": r.path,
        "template": r.template,
        "endpoint": r.endpoint,
        "status": r.status,
        "actor": r.actor,
        "source": r.source,
        "action": r.action,
        "would": r.would,
        "duration_us": r.duration_us,
        "severity": worst.severity if worst is not None else "",
        "findings": [
            {"id": f.id, "severity": f.severity, "confidence": f.confidence, "where": f.where, "message": f.message}
            for f in r.findings
        ],
        "policies": [{"policy": m.policy, "action": m.action, "reason": m.reason} for m in r.matches],
        "uninspected": r.uninspected,
    }


def _fault(fault: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(fault)
    return found | {"text": str(fault)}
