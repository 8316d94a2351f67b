"""Pods in the form in which the Kubernetes API gives them, and a server that speaks its list and watch."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

STARTED = "2026-05-04T10:00:00Z"


def pod(
    name: str,
    ip: str = "10.244.1.17",
    *,
    namespace: str = "web",
    account: str = "front",
    owner: tuple[str, str] | None = ("ReplicaSet", "front-7d9f8b6c5"),
    labels: dict[str, str] | None = None,
    phase: str = "Running",
    host_network: bool = False,
    ips: tuple[str, ...] | None = None,
    started: str | None = STARTED,
    version: int = 0,
) -> dict[str, Any]:
    """A v1.Pod with all that a kubelet fills in."""
    if labels is None:
        labels = {"app": "front", "pod-template-hash": "7d9f8b6c5", "app.kubernetes.io/version": "1.4.2"}
    addresses = ips if ips is not None else (ip,) if ip else ()
    conditions = [
        {"lastProbeTime": None, "lastTransitionTime": STARTED, "status": "True", "type": kind}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    meta: dict[str, Any] = {
        "creationTimestamp": "2026-05-04T09:59:58Z",
        "generateName": "front-7d9f8b6c5-",
        "labels": labels,
        "name": name,
        "namespace": namespace,
        "resourceVersion": str(version),
        "uid": f"uid-{namespace}-{name}",
    }
    if owner is not None:
        meta["ownerReferences"] = [
            {
                "apiVersion": "apps/v1",
                "blockOwnerDeletion": True,
                "controller": True,
                "kind": owner[0],
                "name": owner[1],
                "uid": "5a7c2b4e-0d27-4d0c-9a57-6f0c1a0b7f11",
            }
        ]
    spec: dict[str, Any] = {
        "containers": [
            {
                "image": "registry.example/front:1.4.2",
                "imagePullPolicy": "IfNotPresent",
                "name": "front",
                "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                "resources": {"limits": {"memory": "128Mi"}, "requests": {"cpu": "50m"}},
                "volumeMounts": [
                    {"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": "kube-api-access", "readOnly": True}
                ],
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "nodeName": "node-2",
        "restartPolicy": "Always",
        "serviceAccount": account,
        "serviceAccountName": account,
        "tolerations": [
            {"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}
        ],
        "volumes": [{"name": "kube-api-access", "projected": {"defaultMode": 420, "sources": []}}],
    }
    if host_network:
        spec["hostNetwork"] = True
    status: dict[str, Any] = {
        "conditions": conditions,
        "containerStatuses": [{"image": "registry.example/front:1.4.2", "name": "front", "ready": True, "restartCount": 0}],
        "hostIP": "192.168.7.12",
        "hostIPs": [{"ip": "192.168.7.12"}],
        "phase": phase,
        "qosClass": "Burstable",
    }
    if addresses:
        status |= {"podIP": addresses[0], "podIPs": [{"ip": text} for text in addresses]}
    if started:
        status["startTime"] = started
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}


def listing(*pods: dict[str, Any]) -> dict[str, Any]:
    """What `kubectl get pods -A -o json` prints."""
    return {"apiVersion": "v1", "items": list(pods), "kind": "List", "metadata": {"resourceVersion": ""}}


class Cluster:
    """The pods, their history, and how the server is to misbehave."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.pods: dict[str, dict[str, Any]] = {}
        self.log: list[tuple[int, str, dict[str, Any]]] = []
        self.version = 100
        self.compacted = 0
        """Versions before it are forgotten: 410 Gone."""
        self.requests: list[dict[str, str]] = []
        self.page = 500
        self.token = ""
        self.fail: list[tuple[int, bytes]] = []
        """(status, body) for the next requests."""
        self.garble: list[bytes] = []
        """Raw bytes that the next watches send, and then end."""
        self.watch_ends = 30.0
        self.closing = False

    def put(self, item: dict[str, Any], kind: str = "") -> None:
        with self.lock:
            self.version += 1
            uid = item["metadata"]["uid"]
            item["metadata"]["resourceVersion"] = str(self.version)
            known = uid in self.pods
            if kind == "DELETED":
                self.pods.pop(uid, None)
            else:
                self.pods[uid] = item
            self.log.append((self.version, kind or ("MODIFIED" if known else "ADDED"), item))
            self.lock.notify_all()

    def bookmark(self) -> None:
        with self.lock:
            self.version += 1
            meta = {"resourceVersion": str(self.version), "creationTimestamp": None}
            item = {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": {"containers": None}, "status": {}}
            self.log.append((self.version, "BOOKMARK", item))
            self.lock.notify_all()

    def compact(self) -> None:
        """Forget the past, as etcd does, and end all watches with 410."""
        with self.lock:
            self.version += 1
            self.compacted = self.version
            self.lock.notify_all()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        cluster = self.cluster
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with cluster.lock:
            cluster.requests.append({"path": parts.path, "token": self.headers.get("Authorization", ""), **query})
            fail = cluster.fail.pop(0) if cluster.fail else None
        if fail is not None:
            return self._send(*fail)
        if cluster.token and self.headers.get("Authorization") != f"Bearer {cluster.token}":
            return self._status(401, "Unauthorized")
        if parts.path != "/api/v1/pods":
            return self._status(404, "the server could not find the requested resource")
        if "watch" in query:
            return self._watch(query)
        return self._list(query)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _status(self, code: int, message: str) -> None:
        self._send(code, json.dumps(failure(code, message)).encode())

    def _list(self, query: dict[str, str]) -> None:
        cluster = self.cluster
        with cluster.lock:
            items = sorted(cluster.pods.values(), key=lambda item: item["metadata"]["uid"])
            begin, size = int(query.get("continue", "0")), min(cluster.page, int(query.get("limit", "500")))
            meta: dict[str, Any] = {"resourceVersion": str(cluster.version)}
            if begin + size < len(items):
                meta |= {"continue": str(begin + size), "remainingItemCount": len(items) - begin - size}
            page = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in items[begin : begin + size]]
        self._send(200, json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": page}).encode())

    def _watch(self, query: dict[str, str]) -> None:
        cluster = self.cluster
        at = int(query["resourceVersion"])
        with cluster.lock:
            gone = at < cluster.compacted
        if gone:
            return self._status(410, f"too old resource version: {at}")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if cluster.garble:
            self._chunk(cluster.garble.pop(0))
            return self._chunk(b"")
        until = time.monotonic() + cluster.watch_ends
        while True:
            with cluster.lock:
                new = [entry for entry in cluster.log if entry[0] > at]
                if not new and at >= cluster.compacted and not cluster.closing:
                    cluster.lock.wait(min(0.5, max(0.0, until - time.monotonic())))
                    new = [entry for entry in cluster.log if entry[0] > at]
                expired, closing = at < cluster.compacted, cluster.closing
            if expired:
                self._event("ERROR", failure(410, "too old resource version"))
                return self._chunk(b"")
            for version, kind, item in new:
                self._event(kind, item)
                at = version
            if closing or time.monotonic() > until:
                return self._chunk(b"")

    def _event(self, kind: str, item: dict[str, Any]) -> None:
        line = json.dumps({"type": kind, "object": item}).encode() + b"\n"
        # In two chunks: where chunks end says nothing about where events do.
        self._chunk(line[: len(line) // 2])
        self._chunk(line[len(line) // 2 :])

    def _chunk(self, data: bytes) -> None:
        try:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        except OSError:
            self.close_connection = True


def failure(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code}


@contextmanager
def served(cluster: Cluster, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of a server on a free port."""
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    finally:
        cluster.closing = True
        with cluster.lock:
            cluster.lock.notify_all()
        server.shutdown()
        server.server_close()
        thread.join(5)
