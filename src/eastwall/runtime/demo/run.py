"""The demo from start to end, without a screen: a shop, Eastwall before it, people, an attacker, and an honest count.

Everything in the report comes from what callers got and from Eastwall's own API. Waits are for conditions (found, learned, in
force), each with a limit: a slow machine takes longer, a broken Eastwall is told as such.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from eastwall.dataplanes.envoy.process import EnvoyError
from eastwall.runtime.dataplane import load_proxy
from eastwall.runtime.demo import drift, shop, traffic
from eastwall.runtime.demo.attacker import LEARNED, STEPS, Attacker, StepResult
from eastwall.runtime.demo.catalog import MALLORY, SERVICES
from eastwall.runtime.demo.client import CallResult, Targets
from eastwall.runtime.demo.processes import DemoError, Shop, free_ports
from eastwall.runtime.supervisor import Supervisor

LEARN_SECONDS = 90.0
"""Act 1 ends after so long, whatever is still unknown. Where nothing else runs it takes a tenth of that."""
LEARN_CALLS = 2_200
"""Ordinary calls of act 1 at least: what is rare in them is then known well enough for what is not in them to be told."""
QUIET_SECONDS = 3.0
"""Act 1 ends earlier when nothing new was found for so long, and ..."""
LEARNED_SHARE = 0.9
"""... so much of the traffic is of endpoints that are learned."""
FORCE_SECONDS = 15.0
"""What engines and Envoy may take to act on a new mode."""
GUARDED_CALLS = 300
"""Ordinary calls that act 2 waits for at least, so that it is shown that they pass."""
GUARDED_SECONDS = 20.0
_BUILTIN = "builtin/detections"
"""The policy that blocks what detections are sure of."""
POLL = 0.25
BUSY_PAUSE, GENTLE_PAUSE = 0.03, 1.5
"""Seconds between two calls of a person, during the acts and afterwards."""


class Api(Protocol):
    """The control API; `cli.client.Client` is one."""

    url: str

    def get(self, path: str, **query: str | int | None) -> Any: ...
    def send(self, method: str, path: str, body: Any = None) -> Any: ...


class Settings(Struct, frozen=True):
    """What the caller decides."""

    work: Path
    """An empty directory for the shop's state and logs."""
    seed: int
    supervise: Callable[[tuple[str, ...], Path], Supervisor]
    """(upstreams as `eastwall up` takes them, policy directory) -> Eastwall, not yet started."""
    connect: Callable[[Path], Api]
    """Data directory -> its control API."""
    pace: float = 0.0
    """Seconds between two attack steps, for people who watch."""
    mode: str = "enforce"
    """What act 2 switches to. With anything lower the attack succeeds and the report says so, which is how the report is tested."""


class Tally:
    """Counts of ordinary calls, from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[float] = deque(maxlen=4000)
        self.sent = 0
        self.blocked = 0
        self.failed = 0
        """Neither blocked nor what the unprotected shop answers."""
        self.examples: list[CallResult] = []
        """The first 20 of the blocked and failed ones."""

    def add(self, result: CallResult) -> None:
        """Count one, unless it is the attacker's."""
        with self._lock:
            self._recent.append(time.monotonic())
            if result.label != "legit":
                return
            self.sent += 1
            self.blocked += result.blocked
            self.failed += not result.ok and not result.blocked
            if not result.ok and len(self.examples) < 20:
                self.examples.append(result)

    def rate(self, seconds: float = 2.0) -> float:
        """Calls per second lately."""
        since = time.monotonic() - seconds
        with self._lock:
            return sum(at > since for at in self._recent) / seconds


class Report(Struct):
    """What came of it, all counted in this run."""

    endpoints: int = 0
    """Operations that Eastwall has found on the shop's services."""
    templates_expected: int = 0
    """Operations that the services really have."""
    templates_found: int = 0
    """Those of them that Eastwall has found under the right template."""
    attacks_sent: int = 0
    """Attack steps carried out; their calls are in `steps`."""
    attacks_blocked: int = 0
    """Steps that were stopped, see `StepResult.stopped`."""
    legit_sent: int = 0
    legit_blocked: int = 0
    seconds: float = 0.0
    """From the first process started to the end of act 2."""
    legit_failed: int = 0
    """Ordinary calls that broke or got another answer than the unprotected shop gives, without being blocked."""
    uninspected: int = 0
    """Calls that Eastwall says it did not inspect, wholly or in part."""
    adapter: str = ""
    seed: int = 0
    missing: list[str] = []
    """Operations of the services that were not found."""
    invented: list[str] = []
    """Templates that Eastwall found and the services do not have."""
    drift: list[drift.Finding] = []
    steps: list[dict[str, Any]] = []
    """Each attack step: name, title, stopped, loot, sent, blocked, status, event_id, by, evidence, policies."""
    examples: list[str] = []
    """Ordinary calls that were blocked or failed."""

    def faults(self) -> list[str]:
        """Why the demo did not succeed; empty when it did."""
        found = []
        if self.missing:
            found.append(f"{len(self.missing)} operations were not found: {', '.join(self.missing)}")
        if self.attacks_blocked < len(STEPS):
            passed = [step["name"] for step in self.steps if not step["stopped"]]
            left = len(STEPS) - len(self.steps)
            found.append(f"not stopped: {', '.join(passed) or 'none'}" + (f"; {left} steps were not carried out" if left else ""))
        ruled = [step["name"] for step in self.steps if step["name"] in LEARNED and not set(step["policies"]) <= {_BUILTIN}]
        if ruled:
            found.append(f"stopped by a policy of the demo, and not by what was learned: {', '.join(ruled)}")
        if self.legit_blocked:
            found.append(f"{self.legit_blocked} ordinary calls were blocked")
        if self.legit_failed:
            found.append(f"{self.legit_failed} ordinary calls failed")
        return found


class Screen:
    """What wants to know how it goes. Every method may be left as it is; they are called in the order of events."""

    def tell(self, text: str) -> None: ...
    def act(self, name: str) -> None: ...
    def found(self, api: Mapping[str, Any]) -> None: ...
    def mapped(self, apis: list[dict[str, Any]], differences: list[drift.Finding]) -> None: ...
    def step_begins(self, name: str, title: str) -> None: ...
    def step_ends(self, result: StepResult) -> None: ...
    def attacked(self, steps: list[StepResult]) -> None: ...
    def explained(self, steps: list[dict[str, Any]]) -> None: ...
    def stopped(self, why: dict[str, Any]) -> None: ...


class StoppedError(Exception):
    """Somebody pressed Ctrl-C."""


class Demo:
    """One run: `start`, `discover`, `enforce`, `linger` if wanted, always `close`."""

    def __init__(self, settings: Settings, screen: Screen) -> None:
        self.settings = settings
        self.screen = screen
        self.tally = Tally()
        self.apis: list[dict[str, Any]] = []
        """As Eastwall's API lists them, at most `POLL` seconds old during act 1."""
        self.steps: list[StepResult] = []
        self.report = Report(seed=settings.seed)
        self.api: Api
        self.supervisor: Supervisor | None = None
        self._listeners = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
        self._targets = Targets(**{name: f"http://127.0.0.1:{port}" for name, port in self._listeners.items()})
        self._shop = Shop(settings.work, self._listeners)
        self.said = drift.declared(SERVICES)
        """What the shop's OpenAPI files declare."""
        self._watch: threading.Thread | None = None
        self._people: threading.Thread | None = None
        self._home = threading.Event()
        """Set when people shall stop."""
        self._visits = 0
        self._begun = 0.0

    # -- start and end ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Shop and Eastwall. Raises DemoError, StartError, EnvoyError, ProxyError: one line each."""
        self._begun = time.monotonic()
        urls = self._shop.start()
        policies = shop.write_policies(self.settings.work / "policy", self._shop.state)
        upstreams = tuple(f"{name}={urls[name]}@{self._listeners[name]}" for name in SERVICES)
        self.supervisor = self.settings.supervise(upstreams, policies)
        self.supervisor.start()
        self._watch = threading.Thread(target=self.supervisor.wait, name="supervisor", daemon=True)
        self._watch.start()
        self.api = self.settings.connect(self.supervisor.options.data.root)
        self.report.adapter = self.supervisor.options.proxy.adapter

    def places(self) -> dict[str, str]:
        """Service -> where it is called through Eastwall."""
        return {name: str(getattr(self._targets, name)) for name in SERVICES}

    def close(self) -> None:
        """People go home, Eastwall drains, the shop closes; nothing is left running."""
        self._send_home()
        try:
            if self.supervisor is not None:
                self.supervisor.stop.set()
                if self._watch is not None:
                    # It restarts what ends; from now on ending is meant.
                    self._watch.join()
                self.supervisor.shutdown()
        finally:
            self._shop.stop()

    # -- acts ---------------------------------------------------------------------------------------------------------

    def discover(self) -> None:
        """Act 1: ordinary traffic until Eastwall has the map of it. Raises StoppedError, DemoError."""
        self.screen.act("discover")
        self._invite(BUSY_PAUSE, workers=8)
        until = time.monotonic() + LEARN_SECONDS
        known: set[str] = set()
        news = time.monotonic()
        while time.monotonic() < until:
            self.apis = self.api.get("/apis")
            fresh = [api for api in self.apis if api["id"] not in known]
            for api in fresh:
                self.screen.found(api)
                known.add(api["id"])
            if fresh:
                news = time.monotonic()
            settled = known and time.monotonic() - news > QUIET_SECONDS and _learned_share(self.apis) >= LEARNED_SHARE
            if settled and self.tally.sent >= LEARN_CALLS:
                break
            self._wait(POLL)
        self._map()

    def _map(self) -> None:
        full = self.api.get("/apis", full=1)
        self.apis = self.api.get("/apis")
        real = {(name, *operation) for name in SERVICES for operation in shop.expected_templates(name)}
        found = {(api["service"], api["method"], api["template"]) for api in full if api["origin"] != "declared"}
        report = self.report
        report.endpoints, report.templates_expected, report.templates_found = len(found), len(real), len(found & real)
        report.missing, report.invented = _names(real - found), _names(found - real)
        report.drift = drift.compare(full, self.said)
        self.screen.mapped(self.apis, report.drift)

    def enforce(self) -> None:
        """Act 2: the mode changes while people go on, then the attacker comes. Raises StoppedError, DemoError."""
        self.screen.act("enforce")
        self._switch(self.settings.mode)
        before = self.tally.sent
        attacker = Attacker(self._targets, self.tally.add, seed=self.settings.seed)
        try:
            if not attacker.prepare():
                raise DemoError("the attacker's account could not sign in; the shop does not work")
            for name, (title, _) in STEPS.items():
                self._wait(self.settings.pace)
                self.screen.step_begins(name, title)
                begun = time.time()
                self.steps.append(self._with_cut(attacker.step(name), begun))
                self.screen.step_ends(self.steps[-1])
        finally:
            attacker.close()
        until = time.monotonic() + GUARDED_SECONDS
        while self.tally.sent - before < GUARDED_CALLS and time.monotonic() < until:
            self._wait(POLL)
        self._send_home()
        self.screen.attacked(self.steps)
        self._settle()

    def _with_cut(self, step: StepResult, begun: float) -> StepResult:
        """A step that got nothing without a refusal: perhaps Eastwall took what is others' out of its answers, which an attacker cannot see
        but its records tell."""
        if step.succeeded or step.blocked or step.unanswered:
            return step
        until = time.monotonic() + 10.0
        while True:
            listed = self.api.get("/calls", actor=f"user:{MALLORY.id}", since=int(begun), flagged=1)
            cut = [call["id"] for call in reversed(listed) if call["action"] == "redact"][: step.sent]
            if cut:
                return replace(step, blocked=len(cut), event_id=cut[0], status=200, events=tuple(cut))
            if time.monotonic() > until:
                return step
            self._wait(POLL)

    def _settle(self) -> None:
        """The report of act 2, and why the first call that a detection blocked was blocked."""
        tally, report = self.tally, self.report
        report.attacks_sent, report.attacks_blocked = len(self.steps), sum(step.stopped for step in self.steps)
        report.legit_sent, report.legit_blocked, report.legit_failed = tally.sent, tally.blocked, tally.failed
        report.examples = [f"{e.method} {e.service} {e.path} -> {e.status} {e.event_id or e.error}" for e in tally.examples]
        report.seconds = round(time.monotonic() - self._begun, 1)
        stories = {step.name: self._story(step.event_id) for step in self.steps if step.event_id}
        for step in self.steps:
            report.steps.append(
                {
                    "name": step.name,
                    "title": step.title,
                    "stopped": step.stopped,
                    "loot": step.loot,
                    "sent": step.sent,
                    "blocked": step.blocked,
                    "status": step.status,
                    "event_id": step.event_id,
                    **_reason(stories.get(step.name)),
                }
            )
        self.screen.explained([step for step in report.steps if step["name"] in LEARNED and step["stopped"]])
        report.uninspected = int(self.api.get("/status")["uninspected"]["total"])
        told = [story for story in stories.values() if story]
        first = next((story for story in told if story["findings"]), told[0] if told else None)
        if first is not None:
            self.screen.stopped(first)

    def linger(self) -> None:
        """Gentle traffic until Ctrl-C. Raises DemoError."""
        self._invite(GENTLE_PAUSE, workers=3)
        with contextlib.suppress(StoppedError):
            while True:
                self._wait(POLL)

    # -- parts --------------------------------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        """Raises StoppedError on Ctrl-C, DemoError when a service of the shop has ended."""
        assert self.supervisor is not None
        if self.supervisor.stop.wait(seconds):
            raise StoppedError
        self._shop.check()

    def _invite(self, pause: float, workers: int) -> None:
        self._home.clear()
        self._visits += 1
        seed = self.settings.seed + 1000 * (self._visits - 1)

        def visit() -> None:
            traffic.run(self._targets, self.tally.add, seed=seed, rounds=None, workers=workers, pause=pause, stop=self._home)

        self._people = threading.Thread(target=visit, name="people", daemon=True)
        self._people.start()

    def _send_home(self) -> None:
        self._home.set()
        if self._people is not None:
            self._people.join(30)
            self._people = None

    def _switch(self, mode: str) -> None:
        """Set the mode of all services and wait until every engine and Envoy act on it."""
        assert self.supervisor is not None
        data = self.supervisor.options.data
        self.api.send("PUT", "/services/all/mode", {"mode": mode})
        version = self.api.get("/status")["snapshot"]["version"]
        until = time.monotonic() + FORCE_SECONDS
        while True:
            engines = self.api.get("/status")["engines"]
            if engines and all(engine["alive"] and engine["snapshot"] >= version for engine in engines):
                break
            if time.monotonic() > until:
                raise DemoError(f"the engines did not take snapshot {version} within {FORCE_SECONDS:.0f} s (logs: {data.logs})")
            self._wait(POLL)
        proxy = load_proxy(data)
        assert proxy is not None
        try:
            self.supervisor.envoy.reload(proxy, FORCE_SECONDS)
        except EnvoyError as error:
            raise DemoError(str(error)) from None

    def _story(self, event_id: str) -> dict[str, Any] | None:
        """What `eastwall why` tells, None when the call was not recorded within ten seconds."""
        until = time.monotonic() + 10.0
        while True:
            try:
                story: dict[str, Any] = self.api.get(f"/calls/{event_id}")
            except Exception:  # noqa: BLE001 - the API's error is the caller's class
                # Records are on their way for about a second; whatever else the API says then, it is told after the limit.
                if time.monotonic() > until:
                    self.screen.tell(f"call {event_id} was blocked, but there is no record of it")
                    return None
                self._wait(POLL)
            else:
                return story


def _learned_share(apis: Iterable[Mapping[str, Any]]) -> float:
    """How much of the traffic is of learned endpoints, 0..1."""
    calls: dict[str, int] = {
        status: sum(int(api["calls"]) for api in apis if api["status"] == status) for status in ("learned", "learning")
    }
    return calls["learned"] / max(1, sum(calls.values()))


def _names(operations: Iterable[tuple[str, str, str]]) -> list[str]:
    return sorted(f"{service} {method} {template}" for service, method, template in operations)


def _reason(story: Mapping[str, Any] | None) -> dict[str, Any]:
    """`by`: the detection that blocked a call, else the policy; `evidence`: what it says; `policies`: all that blocked it."""
    if story is None:
        return {"by": "", "evidence": "", "policies": []}
    blocking = sorted({m["policy"] for m in story["matches"] if m["action"] in ("block", "limit", "filter", "redact")})
    sure = [f for f in story["findings"] if f["severity"] in ("high", "critical") and f["confidence"] != "low"]
    if found := (sure or story["findings"]):
        return {"by": str(found[0]["id"]), "evidence": str(found[0]["message"]), "policies": blocking}
    named = blocking or [m["policy"] for m in story["matches"]]
    return {"by": f"policy {named[0]}" if named else "", "evidence": "", "policies": blocking}
