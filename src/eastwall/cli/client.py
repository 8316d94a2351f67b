"""The CLI's side of the control API."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eastwall.cli.failure import NOT_FOUND, NOT_RUNNING, Failure
from eastwall.runtime.layout import DataDirError, default_data_dir, existing_data_dir, user_name

if TYPE_CHECKING:
    from eastwall.cli.at_rest import AtRest

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_data_dir,
    show_default="$EASTWALL_DATA or .eastwall",
    help="Data directory of the running Eastwall.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


class Client:
    """Talks to the control process of a data directory with its token."""

    def __init__(self, data: Path, *, at_rest: bool = False) -> None:
        """`at_rest`: when nothing runs there, answer from what was recorded. Raises Failure when nothing runs (or was recorded)."""
        self._at_rest: AtRest | None = None
        try:
            self._dir = existing_data_dir(data)
        except DataDirError as error:
            raise Failure(str(error), NOT_RUNNING) from None
        try:
            self.url = json.loads(self._dir.control_file.read_text())["url"]
            self._token = self._dir.token()
        except FileNotFoundError:
            if not at_rest:
                raise Failure(f"Eastwall does not run on `{data}`; start it with `eastwall up`", NOT_RUNNING) from None
            from eastwall.cli.at_rest import AtRest

            self._at_rest = AtRest(self._dir)
            click.echo(f"eastwall: Eastwall does not run on `{data}`; this is what was recorded there", err=True)
        except (ValueError, KeyError, PermissionError) as error:
            raise Failure(f"`{self._dir.control_file}` cannot be read: {error}", NOT_RUNNING) from None

    def get(self, path: str, **query: str | float | None) -> Any:
        """GET `/api/v1{path}`. Raises Failure with the problem's own words."""
        return self.send("GET", path + _query(query))

    def text(self, path: str, **query: str | float | None) -> str:
        """The answer of GET `/api/v1{path}` as it is. Raises Failure."""
        return self._bytes("GET", path + _query(query), None).decode()

    def content(self, path: str, **query: str | float | None) -> bytes:
        """The same, as bytes."""
        return self._bytes("GET", path + _query(query), None)

    @staticmethod
    def quoted(name: str) -> str:
        """A name as one path segment."""
        return urllib.parse.quote(name, safe="")

    def send(self, method: str, path: str, body: Any = None) -> Any:
        return json.loads(self._bytes(method, path, body) or b"null")

    def _bytes(self, method: str, path: str, body: Any) -> bytes:
        if self._at_rest is not None:
            status, content = self._at_rest.request(method, f"/api/v1{path}", body)
            if status >= 400:
                raise _refused(status, content)
            return content
        request = urllib.request.Request(  # noqa: S310 - the address is our own control process's
            f"{self.url.rstrip('/')}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "authorization": f"Bearer {self._token}",
                "content-type": "application/json",
                "x-eastwall-user": user_name().encode("ascii", "replace").decode(),
            },
        )
        # No proxy from the environment: the control API is on this machine, and the token must not leave it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise _refused(error.code, error.read()) from None
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise Failure(f"Eastwall at {self.url} does not answer ({reason}); is `eastwall up` running?", NOT_RUNNING) from None


class Refused(Failure):
    """The API said no; `problem` is its RFC 9457 body."""

    def __init__(self, message: str, exit_code: int, problem: dict[str, Any]) -> None:
        super().__init__(message, exit_code)
        self.problem = problem


def _query(given: dict[str, str | float | None]) -> str:
    kept = {name: value for name, value in given.items() if value not in (None, "")}
    return f"?{urllib.parse.urlencode(kept)}" if kept else ""


def _refused(status: int, content: bytes) -> Failure:
    try:
        problem = json.loads(content)
        text = problem.get("detail") or problem.get("title") or str(problem)
    except (ValueError, AttributeError):
        problem, text = {}, f"the control API answered {status}"
    return Refused(plain(str(text), 2000), NOT_FOUND if status == 404 else 1, problem)


def plain(text: str, limit: int = 100) -> str:
    """Text that is no instruction to a terminal, for the one line of a failure."""
    return "".join(c if c.isprintable() else "?" for c in text[:limit])


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False))
