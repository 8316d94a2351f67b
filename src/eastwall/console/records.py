"""The HTTP API's part that gives recorded calls as they are, for tools that judge them anew."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import msgspec
from fastapi import FastAPI, Query
from fastapi.responses import Response

Service = Annotated[str, Query(max_length=200)]
Time = Annotated[float, Query(ge=0, le=9e9, description="Unix seconds.")]


class RecordsApi(Protocol):
    """`runtime.recorded_calls.RecordedCalls`."""

    def extent(self, since: float, until: float, service: str = "") -> dict[str, Any]: ...
    def in_order(self, since: float, until: float, *, after: str = "", service: str = "", limit: int = 10_000) -> bytes: ...


def add_records(app: FastAPI, records: RecordsApi) -> None:
    """Add the routes."""

    @app.get(
        "/api/v1/records/extent", tags=["calls"], summary="How many calls, from when to when; services and endpoints with them"
    )
    def extent(since: Time, until: Time, service: Service = "") -> Response:
        return Response(msgspec.json.encode(records.extent(since, until, service)), media_type="application/json")

    @app.get("/api/v1/records", tags=["calls"], summary="Records in the order of (time, id): a MessagePack array of MessagePack")
    def page(
        since: Time,
        until: Time,
        after: Annotated[str, Query(max_length=64, description="Of calls at `since` itself only those with ids after it.")] = "",
        service: Service = "",
        limit: Annotated[int, Query(ge=1, le=20_000, description="At most so many.")] = 10_000,
    ) -> Response:
        return Response(
            records.in_order(since, until, after=after, service=service, limit=limit), media_type="application/vnd.msgpack"
        )
