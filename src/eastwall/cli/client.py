"""The CLI's side of the control API."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import click

from eastwall.cli.failure import NOT_FOUND, NOT_RUNNING, Failure
from eastwall.runtime.layout import DataDirError, default_data_dir, existing_data_dir

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

    def __init__(self, data: Path) -> None:
        """Raises Failure when nothing runs there."""
        try:
            self._dir = existing_data_dir(data)
        except DataDirError as error:
            raise Failure(str(error), NOT_RUNNING) from None
        try:
            self.url = json.loads(self._dir.control_file.read_text())["url"]
            self._token = self._dir.token()
        except FileNotFoundError:
            raise Failure(f"Eastwall does not run on `{data}`; start it with `eastwall up`", NOT_RUNNING) from None
        except (ValueError, KeyError, PermissionError) as error:
            raise Failure(f"`{self._dir.control_file}` cannot be read: {error}", NOT_RUNNING) from None

    def get(self, path: str, **query: str | int | None) -> Any:
        """GET `/api/v1{path}`. Raises Failure with the problem's own words."""
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return self.send("GET", path + (f"?{urllib.parse.urlencode(given)}" if given else ""))

    def send(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the address is our own control process's
            f"{self.url.rstrip('/')}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {self._token}", "content-type": "application/json"},
        )
        # No proxy from the environment: the control API is on this machine, and the token must not leave it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise _failure(error) from None
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise Failure(f"Eastwall at {self.url} does not answer ({reason}); is `eastwall up` running?", NOT_RUNNING) from None


class Refused(Failure):
    """The API said no; `problem` is its RFC 9457 body."""

    def __init__(self, message: str, exit_code: int, problem: dict[str, Any]) -> None:
        super().__init__(message, exit_code)
        self.problem = problem


def _failure(error: urllib.error.HTTPError) -> Failure:
    try:
        problem = json.loads(error.read())
        text = problem.get("detail") or problem.get("title") or str(problem)
    except ValueError:
        problem, text = {}, f"the control API answered {error.code}"
    return Refused(str(text), NOT_FOUND if error.code == 404 else 1, problem)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False))
