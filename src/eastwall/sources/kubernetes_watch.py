"""The pods of a cluster, followed through the Kubernetes API: list, then watch, and list again when the server has forgotten where we were.

https://kubernetes.io/docs/reference/using-api/api-concepts/ says how: lists come in pages (`continue`), a watch goes on from the
`resourceVersion` of the list and of every event, bookmarks carry it forward, and `410 Gone` (as status or as event) means to list anew.
While the server cannot be reached the last known pods stay in force, and `status` says so.

It needs the verbs `list` and `watch` on `pods`, no more.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import random
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import Struct

from eastwall.model.snapshot import Workload
from eastwall.sources.kubernetes import MAX_WORKLOADS, Pod, workloads_of
from eastwall.sources.observed import SourceError, shown

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token and the CA of the API server."""
PAGE = 500
"""Pods of one page of a list: 3 to 8 MB."""
MAX_PAGE = 64 << 20
MAX_EVENT = 4 << 20
"""Bytes of one event; etcd holds objects up to 1.5 MiB."""
TIMEOUT = 20.0
"""Seconds for connecting and for a page."""
WATCH = 290
"""Seconds after which the server ends a watch, so that a silent connection does not pass for a quiet cluster."""
MAX_PODS = 3 * MAX_WORKLOADS
"""Those that are left out counted in; twice the size that Kubernetes is made for."""
BACKOFF = (0.5, 30.0)
"""Seconds to wait after the first failure, and at most; doubled each time, half of it random."""

log = logging.getLogger(__name__)


class Status(Struct, frozen=True):
    """How the watch is doing."""

    synced: bool
    """A whole list was read once; before that `workloads` is empty."""
    pods: int
    """Pods that are attributed."""
    left_out: dict[str, int]
    """Pods that are not, by reason: `host-network`, `over`, `no-address`, `invalid`, `too-many`."""
    lists: int
    """Lists read from the start."""
    events: int
    """Changes seen."""
    fault: str
    """One line: why the server cannot be followed now; empty when all is well."""
    since: float
    """Unix seconds since when `fault` is so, or since the last time it went well."""


class _ListMeta(Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _Page(Struct):
    metadata: _ListMeta
    items: list[Pod] | None = None


class _Failure(Struct):
    code: int = 0
    message: str = ""
    reason: str = ""


class _Event(Struct):
    type: str
    object: msgspec.Raw


_PAGE = msgspec.json.Decoder(_Page)
_EVENT = msgspec.json.Decoder(_Event)
_POD = msgspec.json.Decoder(Pod)
_FAILURE = msgspec.json.Decoder(_Failure)


class _Gone(Exception):
    """The server has forgotten the resource version or the page."""


class KubernetesWatch:
    """Keeps the workloads of a cluster up to date in a thread of its own.

    `workloads()` and `status()` may be called from any thread; `version` goes up with every change of what `workloads()` gives.
    """

    def __init__(
        self,
        server: str,
        *,
        token_file: Path | None = None,
        ca_file: Path | None = None,
        namespace: str = "",
        on_change: Callable[[], None] | None = None,
    ) -> None:
        """`server`: `https://HOST:PORT`, or `http://127.0.0.1:8001` of `kubectl proxy`. The token is read anew for every connection, since
        Kubernetes renews it. `namespace` empty: all. `on_change` is called from the thread, after `version` went up.

        Raises `SourceError`, one line, on an address or a CA file that cannot be used.
        """
        try:
            parts = urlsplit(server)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.scheme not in ("http", "https") or not host or parts.username is not None or parts.query or parts.fragment:
            raise SourceError(f"`{shown(server)}` is not the address of an API server; write e.g. `https://10.96.0.1:443`")
        self.server = f"{parts.scheme}://{parts.netloc}"
        self.version = 0
        self._host, self._port = host, port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path.rstrip("/")
        self._path = f"{self._prefix}/api/v1/" + (f"namespaces/{namespace}/pods" if namespace else "pods")
        self._tls = _tls(ca_file) if parts.scheme == "https" else None
        self._token_file = token_file
        self._on_change = on_change
        self._pods: dict[str, tuple[Workload, ...] | str] = {}
        """By uid: the workloads, or the reason why there are none."""
        self._addresses = 0
        self._sorted: tuple[int, tuple[Workload, ...]] = (0, ())
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._socket: socket.socket | None = None
        self._position = ""
        """Resource version up to which all is known; empty: nothing is."""
        self._thread: threading.Thread | None = None
        self._synced = False
        self._lists = self._events = 0
        self._fault, self._since = "not started", time.time()

    @classmethod
    def in_cluster(cls, *, namespace: str = "", on_change: Callable[[], None] | None = None) -> KubernetesWatch:
        """With the address, token and CA that Kubernetes gives every pod. Raises `SourceError` outside of a cluster."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        token, ca = SERVICE_ACCOUNT / "token", SERVICE_ACCOUNT / "ca.crt"
        if not host or not token.exists():
            raise SourceError(
                "this is no pod of a Kubernetes cluster; name the API server, e.g. the address that `kubectl proxy` prints"
            )
        host = f"[{host}]" if ":" in host else host
        return cls(f"https://{host}:{port}", token_file=token, ca_file=ca, namespace=namespace, on_change=on_change)

    def start(self) -> None:
        """Begin to follow the cluster; returns at once."""
        self._thread = threading.Thread(target=self._run, name="kubernetes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; waits for it at most two seconds. May be called twice."""
        self._stop.set()
        waiting = self._socket
        if waiting is not None:
            with contextlib.suppress(OSError):
                waiting.shutdown(socket.SHUT_RDWR)  # wakes a read that waits for the next event
        if self._thread is not None:
            self._thread.join(2)

    def workloads(self) -> tuple[Workload, ...]:
        """All workloads with an address of their own, sorted by address. At most MAX_WORKLOADS."""
        with self._lock:
            version, found = self._sorted
            if version != self.version:
                every = (workload for pod in self._pods.values() if isinstance(pod, tuple) for workload in pod)
                found = tuple(sorted(every, key=lambda workload: (workload.address, workload.since, workload.name)))
                self._sorted = (self.version, found)
            return found

    def status(self) -> Status:
        with self._lock:
            left_out = Counter(pod for pod in self._pods.values() if isinstance(pod, str))
            pods = len(self._pods) - left_out.total()
            return Status(self._synced, pods, dict(left_out), self._lists, self._events, self._fault, self._since)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            seen, began = self._events, time.monotonic()
            problem = ""
            try:
                if not self._position:
                    self._position = self._list()
                self._watch()
                if self._events > seen or time.monotonic() - began > BACKOFF[1]:
                    failures = 0
                    continue
                # A server that ends every watch at once is not to be asked without pause.
            except _Gone:
                log.info("the API server `%s` asks for a new list of pods", self.server)
                self._position = ""
            except SourceError as fault:
                problem = str(fault)
            except (OSError, http.client.HTTPException) as fault:
                problem = f"`{self.server}`: {shown(str(fault) or type(fault).__name__, 200)}"
            except Exception:
                log.exception("the pods of `%s` cannot be followed; trying again", self.server)
                self._position, problem = "", f"`{self.server}`: an error of Eastwall's own; see the log"
            if self._stop.is_set():
                return
            if problem:
                self._say(problem)
            failures = 1 if self._events > seen else failures + 1
            first, most = BACKOFF
            wait = min(most, first * 2.0 ** min(failures - 1, 10))
            self._stop.wait(wait / 2 + random.random() * wait / 2)  # noqa: S311 - spreads the load of many, hides nothing

    def _say(self, fault: str) -> None:
        with self._lock:
            changed = fault != self._fault
            if changed or not fault:
                self._fault, self._since = fault, time.time()
        if changed and fault:
            log.warning("the pods cannot be followed, the last known ones stay in force: %s", fault)

    def _list(self) -> str:
        """Read all pods; the resource version from which a watch goes on."""
        found: dict[str, tuple[Workload, ...] | str] = {}
        addresses = 0
        after = ""
        while True:
            query = {"limit": str(PAGE), **({"continue": after} if after else {})}
            with self._answer(query, TIMEOUT) as response:
                data = response.read(MAX_PAGE + 1)
            if len(data) > MAX_PAGE:
                raise SourceError(f"`{self.server}`: a page of {PAGE} pods is over {MAX_PAGE >> 20} MiB")
            try:
                page = _PAGE.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError) as fault:
                raise SourceError(f"`{self.server}`: its list of pods cannot be read: {shown(str(fault), 120)}") from None
            for pod in page.items or ():
                taken = self._take(pod, addresses)
                addresses += len(taken) if isinstance(taken, tuple) else 0
                found[_key(pod)] = taken
            if len(found) > MAX_PODS:
                raise SourceError(f"`{self.server}`: over {MAX_PODS:,} pods; follow one namespace")
            after = page.metadata.continue_
            if not after or self._stop.is_set():
                break
        with self._lock:
            changed = found != self._pods
            self._pods, self._addresses = found, addresses
            self._synced = True
            self._lists += 1
        self._say("")
        if changed:
            self._changed()
        return page.metadata.resource_version

    def _watch(self) -> None:
        """Follow the changes until the server ends the watch."""
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._position,
            "timeoutSeconds": str(WATCH),
        }
        with self._answer(query, WATCH + TIMEOUT) as response:
            self._say("")
            for event in _events(response, self.server):
                if event.type == "ERROR":
                    failure = _FAILURE.decode(event.object)
                    if failure.code == 410:
                        raise _Gone
                    raise SourceError(f"`{self.server}`: the watch failed: {shown(failure.message or failure.reason, 120)}")
                try:
                    pod = _POD.decode(event.object)
                except (msgspec.DecodeError, UnicodeDecodeError) as fault:
                    raise SourceError(f"`{self.server}`: an event cannot be read: {shown(str(fault), 120)}") from None
                if event.type != "BOOKMARK":
                    self._apply(event.type, pod)
                self._position = pod.metadata.resource_version or self._position

    def _apply(self, kind: str, pod: Pod) -> None:
        key = _key(pod)
        with self._lock:
            old = self._pods.get(key)
            held = len(old) if isinstance(old, tuple) else 0
            if kind == "DELETED":
                self._pods.pop(key, None)
                new: tuple[Workload, ...] | str | None = None
            elif old is None and len(self._pods) >= MAX_PODS:
                raise SourceError(f"`{self.server}`: over {MAX_PODS:,} pods; follow one namespace")
            else:
                new = self._pods[key] = self._take(pod, self._addresses - held)
            self._addresses += (len(new) if isinstance(new, tuple) else 0) - held
            self._events += 1
        # Most events of a pod change nothing that matters here.
        if (old if isinstance(old, tuple) else None) != (new if isinstance(new, tuple) else None):
            self._changed()

    def _changed(self) -> None:
        with self._lock:
            self.version += 1
        if self._on_change is not None:
            self._on_change()

    def _take(self, pod: Pod, addresses: int) -> tuple[Workload, ...] | str:
        try:
            workloads, reason = workloads_of(pod)
        except SourceError:  # it says what Kubernetes forbids; counted, and not logged, since there may be many
            return "invalid"
        if addresses + len(workloads) > MAX_WORKLOADS:
            return "too-many"
        return workloads or reason

    @contextlib.contextmanager
    def _answer(self, query: dict[str, str], timeout: float) -> Iterator[http.client.HTTPResponse]:
        """One request on a connection of its own."""
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT, context=self._tls)
            if self._tls is not None
            else http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        )
        try:
            connection.connect()
            self._socket = connection.sock
            if self._stop.is_set():  # `stop` came before there was a socket that it could wake us by
                raise ConnectionAbortedError
            headers = {"Accept": "application/json", "User-Agent": "eastwall"}
            if self._token_file is not None:
                headers["Authorization"] = f"Bearer {_token(self._token_file)}"
            connection.request("GET", f"{self._path}?{urlencode(query)}", headers=headers)
            connection.sock.settimeout(timeout)
            response = connection.getresponse()
            if response.status == 410:
                raise _Gone
            if response.status != 200:
                raise SourceError(f"`{self.server}` answers {response.status}: {_reason(response)}")
            yield response
        finally:
            self._socket = None
            connection.close()


def _events(response: http.client.HTTPResponse, server: str) -> Iterator[_Event]:
    """The events of a watch, one a line. A line that the server did not finish is no event: the watch is taken up before it."""
    while True:
        line = response.readline(MAX_EVENT + 1)
        if not line.endswith(b"\n"):
            if len(line) > MAX_EVENT:
                raise SourceError(f"`{server}`: an event is over {MAX_EVENT >> 20} MiB")
            return
        if not line.strip():
            continue
        try:
            yield _EVENT.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            raise SourceError(f"`{server}`: an event cannot be read: {shown(str(fault), 120)}") from None


def _key(pod: Pod) -> str:
    return pod.metadata.uid or f"{pod.metadata.namespace}/{pod.metadata.name}"


def _reason(response: http.client.HTTPResponse) -> str:
    """What an error answer says, and how to mend it."""
    try:
        said = _FAILURE.decode(response.read(65_536)).message
    except (msgspec.DecodeError, UnicodeDecodeError, http.client.HTTPException):
        said = ""
    said = shown(said or response.reason or "no reason given", 200)
    if response.status in (401, 403):
        return f"{said}; the service account needs `list` and `watch` on `pods`"
    return said


def _token(path: Path) -> str:
    try:
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise SourceError(f"the token `{path}` cannot be read: {reason}") from None
    if not token or any(char.isspace() for char in token):
        raise SourceError(f"the token `{path}` is empty or not one word")
    return token


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it holds no certificates in PEM form"
        raise SourceError(f"the CA file `{ca_file}` cannot be used: {reason}") from None
