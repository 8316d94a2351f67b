"""The control API of a data directory on which nothing runs: the same application, asked in this process instead of over a socket."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import logging
from typing import Any

import click

from eastwall.cli.failure import NOT_RUNNING, Failure
from eastwall.runtime.layout import DataDir


class AtRest:
    """Opens what was recorded, and answers from it until this process ends."""

    def __init__(self, data: DataDir) -> None:
        """Raises Failure: packages are missing, another process has the directory, what is there cannot be read."""
        try:
            from eastwall.console.app import create_app
            from eastwall.runtime.control import Control
            from eastwall.stores.chdb.lake import LakeError
            from eastwall.stores.spool import SpoolBusyError
        except ImportError as error:
            raise Failure(f"control needs the package `{error.name}`: install eastwall[all]", NOT_RUNNING) from None
        logging.getLogger("eastwall").addHandler(logging.NullHandler())  # what is wrong is told below, once and readably
        try:
            self._control = Control(data)
        except (LakeError, SpoolBusyError, ValueError, OSError) as error:
            raise Failure(str(error), NOT_RUNNING) from None
        atexit.register(self._close)
        for part, fault in self._control.faults().items():
            click.echo(f"eastwall: {part}: {fault}", err=True)
        self._token = data.token()
        self._app = create_app(self._control, token=self._token, unavailable=(LakeError,))

    def request(self, method: str, target: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body of one request."""
        return asyncio.run(self._ask(method, target, b"" if body is None else json.dumps(body).encode()))

    async def _ask(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        path, _, query = target.partition("?")
        headers = [
            (b"host", b"localhost"),
            (b"authorization", b"Bearer " + self._token.encode()),
            (b"content-type", b"application/json"),
        ]
        headers.append((b"content-length", str(len(body)).encode()))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": _decoded(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 0),
            "server": ("localhost", 80),
        }
        status = 500
        content = b""
        given = False

        async def receive() -> dict[str, Any]:
            nonlocal given
            if given:
                await asyncio.Event().wait()  # there is no client that could go away
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status, content
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                content += message.get("body", b"")

        await self._app(scope, receive, send)
        return status, content

    def _close(self) -> None:
        with contextlib.suppress(Exception):
            self._control.close()


def _decoded(path: str) -> str:
    from urllib.parse import unquote

    return unquote(path)
