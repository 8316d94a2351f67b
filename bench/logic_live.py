"""Public vulnerable applications as live targets (`make bench-logic LIVE=dir`): real processes behind a real Envoy and engine.

`dir` holds a checkout of VAmPI (https://github.com/erev0s/VAmPI, MIT), directly or as `dir/VAmPI`, and a Python that has its requirements:
`dir/venv/bin/python`, or the one that runs this. Nothing of it is kept here. What is absent is skipped, with the reason.

Twenty users register, sign in, keep books and profiles, as the application's README has it; Eastwall learns from that alone. Then the flaws
that the README documents are used, each by a user of its own.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

_START = """
import config, os
config.vuln_app.app.config.update({'SECRET_KEY': os.environ['KEY']} if os.environ['KEY'] else {})
config.vuln_app.run(host='127.0.0.1', port=int(os.environ['PORT']), debug=False, threaded=True)
"""
KEYS = {"as it comes": "", "with a sound signing key": "4f1a9c66d2e84b7fb0a35c9e7d1126aa"}
"""VAmPI signs its tokens with a word of every list; what else Eastwall sees of it is told apart from that."""
ROUNDS = 12
"""Visits of each of the users that Eastwall learns from."""
GUARDED = 4
"""Visits of each in enforce mode, which nothing may disturb."""


class SkipError(Exception):
    """Why a target cannot be run here."""


class Guarded:
    """An application behind Eastwall, each a process of its own."""

    def __init__(self, name: str, url: str, work: Path) -> None:
        self.name = name
        self._log = (work / "eastwall.log").open("wb")
        command = [str(Path(sys.executable).with_name("eastwall")), "up", "--json", "--data", str(work / "data")]
        command += ["--upstream", f"{name}={url}", "--listen", f"127.0.0.1:{_port()}", "--console", f"127.0.0.1:{_port()}"]
        self._process = subprocess.Popen([*command, "--mode", "discover"], stdout=subprocess.PIPE, stderr=self._log)
        assert self._process.stdout is not None
        text = b""
        while not text.endswith(b"\n}\n"):
            line = self._process.stdout.readline()
            if not line:
                raise SkipError(f"Eastwall did not start: {(work / 'eastwall.log').read_text()[-400:]}")
            text += line
        told = json.loads(text)
        self.url = str(told["services"][0]["listen"]).split(" ", maxsplit=1)[0]
        self._api = httpx.Client(
            base_url=told["console"].rstrip("/") + "/api/v1", headers={"authorization": f"Bearer {told['token']}"}, timeout=30
        )

    def enforce(self) -> None:
        """Switch, and wait until engines and Envoy act on it."""
        time.sleep(2.0)  # the last records are on their way
        self._api.put(f"/services/{self.name}/mode", json={"mode": "enforce"}).raise_for_status()
        time.sleep(3.0)

    def why(self, event: str) -> str:
        """The detections that a blocked call's record names."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            answer = self._api.get(f"/calls/{event}")
            if answer.status_code == 200:
                story = answer.json()
                sure = [f for f in story["findings"] if f["severity"] in ("high", "critical") and f["confidence"] != "low"]
                return ", ".join(dict.fromkeys(f"{f['id']}" for f in sure)) + (f": {sure[0]['message']}" if sure else "")
            time.sleep(0.2)
        return ""

    def close(self) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(45)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._api.close()
        self._log.close()


class Person:
    """A user of VAmPI, through Eastwall."""

    def __init__(self, url: str, number: int) -> None:
        self.name = f"reader{number:02d}"
        self.password = f"quiet-river-{number * 37}"
        self.books: list[str] = []
        self.http = httpx.Client(base_url=url, timeout=30, headers={"user-agent": "reader-app/1.4"})
        self.calls = 0
        self.blocked: list[str] = []

    def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        answer = self.http.request(method, path, json=body)
        self.calls += 1
        if event := event_of(answer):
            self.blocked.append(event)
        return answer

    def register(self) -> None:
        self.call(
            "POST", "/users/v1/register", {"username": self.name, "password": self.password, "email": f"{self.name}@mail.example"}
        )

    def sign_in(self) -> None:
        answer = self.call("POST", "/users/v1/login", {"username": self.name, "password": self.password})
        self.http.headers["authorization"] = f"Bearer {answer.json().get('auth_token', 'none')}"

    def visit(self, rng: random.Random) -> None:
        if rng.random() < 0.1:
            self.call("POST", "/users/v1/login", {"username": self.name, "password": self.password + "x"})
        self.sign_in()
        self.call("GET", "/me")
        if rng.random() < 0.4:
            self.call("GET", f"/users/v1/{self.name}")
        if len(self.books) < 2 or rng.random() < 0.2:
            title = f"{rng.choice('amber birch cedar delta ember fjord'.split())}-{rng.randrange(10**6):06d}"
            self.call("POST", "/books/v1", {"book_title": title, "secret": f"secret of {title}"})
            self.books.append(title)
        if rng.random() < 0.3:
            self.call("GET", "/books/v1")
        for title in rng.sample(self.books, min(2, len(self.books))):
            self.call("GET", f"/books/v1/{title}")
        if rng.random() < 0.2:
            self.call("PUT", f"/users/v1/{self.name}/email", {"email": f"{self.name}.{rng.randrange(99)}@mail.example"})
        if rng.random() < 0.2:
            self.password = f"quiet-river-{rng.randrange(10**6)}"
            self.call("PUT", f"/users/v1/{self.name}/password", {"password": self.password})


def event_of(answer: httpx.Response) -> str:
    """The event of a call that Eastwall answered; empty when the application did."""
    problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    return answer.headers.get("x-eastwall-event-id", "") if problem else ""


Attack = Callable[[Person, Person], tuple[bool, list[httpx.Response]]]
"""(attacker, victim) -> whether it got what it is for, and the answers."""


def bola(me: Person, victim: Person) -> tuple[bool, list[httpx.Response]]:
    answers = [me.call("GET", f"/books/v1/{title}") for title in victim.books[:3]]
    return any("secret of" in answer.text for answer in answers), answers


def mass_assignment(me: Person, victim: Person) -> tuple[bool, list[httpx.Response]]:
    body = {"username": "climber", "password": "p", "email": "climber@mail.example", "admin": True}
    answers = [me.call("POST", "/users/v1/register", body)]
    climber = Person(str(me.http.base_url), 90)
    climber.name, climber.password = "climber", "p"
    with contextlib.suppress(ValueError):
        climber.sign_in()
        answers.append(climber.call("GET", "/me"))
    return '"admin": true' in answers[-1].text, answers


def password_of_another(me: Person, victim: Person) -> tuple[bool, list[httpx.Response]]:
    answer = me.call("PUT", f"/users/v1/{victim.name}/password", {"password": "mine-now-1"})
    return answer.status_code == 204, [answer]


def debug(me: Person, victim: Person) -> tuple[bool, list[httpx.Response]]:
    answer = me.call("GET", "/users/v1/_debug")
    return '"password"' in answer.text, [answer]


def user_enumeration(me: Person, victim: Person) -> tuple[bool, list[httpx.Response]]:
    names = [f"guess{n}" for n in range(30)] + [f"reader{n:02d}" for n in range(20)]
    answers = [me.call("POST", "/users/v1/login", {"username": name, "password": "x"}) for name in names]
    return sum("not correct for the given" in answer.text for answer in answers) > 10, answers


def brute_force(me: Person, victim: Person) -> tuple[bool, list[httpx.Response]]:
    guesses = [f"quiet-river-{n}" for n in range(40)] + [victim.password]
    answers = [me.call("POST", "/users/v1/login", {"username": victim.name, "password": guess}) for guess in guesses]
    return "auth_token" in answers[-1].text, answers


def sql_injection(me: Person, victim: Person) -> tuple[bool, list[httpx.Response]]:
    path = "/users/v1/x'%20UNION%20SELECT%201,password,3,password,5%20FROM%20users%20WHERE%20username='admin'--%20"
    answer = me.call("GET", path)
    return "pass1" in answer.text, [answer]


def forged_token(me: Person, victim: Person) -> tuple[bool, list[httpx.Response]]:
    """The key is `random`, which any list of words holds."""
    now = int(time.time())
    parts = ({"alg": "HS256", "typ": "JWT"}, {"exp": now + 3000, "iat": now, "sub": "admin"})
    text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    digest = base64.urlsafe_b64encode(hmac.digest(b"random", text.encode(), "sha256")).rstrip(b"=").decode()
    me.http.headers["authorization"] = f"Bearer {text}.{digest}"
    answer = me.call("GET", "/me")
    return '"admin": true' in answer.text, [answer]


ATTACKS: tuple[tuple[str, Attack], ...] = (
    ("API1 books of others", bola), ("API3 admin at registration", mass_assignment), ("API1 password of another", password_of_another),
    ("API3 users with passwords at /_debug", debug), ("API2 user enumeration", user_enumeration), ("API2 brute force", brute_force),
    ("API8 SQL injection", sql_injection), ("API2 forged token, weak key", forged_token),
)  # fmt: skip


@contextlib.contextmanager
def vampi(live: Path, key: str) -> Iterator[str]:
    """VAmPI as a process; its URL. Raises SkipError."""
    home = next((path for path in (live / "VAmPI", live) if (path / "api_views" / "books.py").is_file()), None)
    if home is None:
        raise SkipError(f"there is no VAmPI in {live}")
    python = next((p for p in (live / "venv/bin/python", home / "venv/bin/python") if p.exists()), Path(sys.executable))
    port = _port()
    with tempfile.TemporaryFile() as log:
        environment = {**os.environ, "PORT": str(port), "KEY": key, "tokentimetolive": "7200", "PYTHONPATH": ""}
        process = subprocess.Popen([str(python), "-c", _START], cwd=home, env=environment, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 30
            while not _open(port):
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise SkipError(f"VAmPI does not start: {log.read().decode(errors='replace').strip()[-300:]}")
                time.sleep(0.1)
            while (made := httpx.get(f"http://127.0.0.1:{port}/createdb", timeout=30)).is_error:  # now and then at the first try
                if time.monotonic() > until:
                    raise SkipError(f"VAmPI makes no database: it answers /createdb with {made.status_code}")
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run(live: Path) -> None:
    """Prints what is stopped. Raises SkipError."""
    for title, key in KEYS.items():
        _run(live, title, key)


def _run(live: Path, title: str, key: str) -> None:
    rng = random.Random(5)
    with tempfile.TemporaryDirectory(prefix="ewlive") as work, vampi(live, key) as url:
        guarded = Guarded("vampi", url, Path(work))
        try:
            people = [Person(guarded.url, number) for number in range(20)]
            admin = Person(guarded.url, 99)
            admin.name, admin.password = "admin", "pass1"
            for person in people:
                person.register()
            for _ in range(ROUNDS):
                _day(people, admin, rng)
            learned = sum(person.calls for person in (*people, admin))
            guarded.enforce()
            for _ in range(GUARDED):
                _day(people, admin, rng)
            guarded_calls = sum(person.calls for person in (*people, admin)) - learned
            disturbed = [event for person in (*people, admin) for event in person.blocked]
            _report(f"VAmPI {title}, {learned:,} ordinary calls learned", guarded, people, guarded_calls, disturbed)
        finally:
            guarded.close()


def _day(people: list[Person], admin: Person, rng: random.Random) -> None:
    for person in rng.sample(people, len(people)):
        person.visit(rng)
    admin.sign_in()
    admin.call("GET", "/me")
    admin.call("GET", "/users/v1")


def _report(title: str, guarded: Guarded, people: list[Person], calls: int, disturbed: list[str]) -> None:
    table = Table(title=title, box=None)
    for name in ("flaw", "stopped", "blocked", "by"):
        table.add_column(name)
    for at, (name, attack) in enumerate(ATTACKS):
        me, victim = people[at], people[-1 - at]
        me.sign_in()
        won, answers = attack(me, victim)
        events = [event for answer in answers if (event := event_of(answer))]
        stopped = "yes" if not won and events else "NO" if won else "got nothing, but nothing was blocked"
        table.add_row(name, stopped, f"{len(events)}/{len(answers)}", guarded.why(events[0])[:150] if events else "")
    table.add_row(
        "ordinary calls blocked", f"{len(disturbed)} of {calls:,}", "", guarded.why(disturbed[0])[:150] if disturbed else ""
    )
    Console(width=200).print(table)


if __name__ == "__main__":
    try:
        run(Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LIVE", "")))
    except SkipError as reason:
        print(f"live targets skipped: {reason}")
