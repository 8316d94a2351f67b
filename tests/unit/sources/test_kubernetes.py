"""Pods as workloads, from files and from a server that speaks the Kubernetes API."""

from __future__ import annotations

import io
import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.extproc.certificates import make
from tests.unit.sources.cluster import Cluster, failure, listing, pod, served

from eastwall.model.snapshot import Workload
from eastwall.sources import kubernetes_watch
from eastwall.sources.kubernetes import read
from eastwall.sources.kubernetes_watch import KubernetesWatch
from eastwall.sources.observed import SourceError

SINCE = 1_777_888_800.0
"""STARTED in Unix seconds."""
LABELS = (("app", "front"), ("app.kubernetes.io/version", "1.4.2"))


def data(*pods: dict[str, Any]) -> bytes:
    return json.dumps(listing(*pods)).encode()


# -- files ------------------------------------------------------------------------------------------------------------


def test_pods_of_kubectl_as_json_and_yaml() -> None:
    pods = (
        pod("front-7d9f8b6c5-x2x4z"),
        pod("db-0", "10.244.2.9", namespace="db", account="postgres", owner=("StatefulSet", "db"), labels={"app": "db"}),
        pod("dual", ips=("10.244.1.18", "fd00:10:244:1:0:0:0:12")),
    )
    expected = (
        Workload("10.244.1.17", "web/front", "front", LABELS, SINCE),
        Workload("10.244.1.18", "web/front", "front", LABELS, SINCE),
        Workload("10.244.2.9", "db/postgres", "db", (("app", "db"),), SINCE),
        Workload("fd00:10:244:1::12", "web/front", "front", LABELS, SINCE),
    )
    assert read(data(*pods), "pods.json") == expected
    assert read(yaml.safe_dump(listing(*pods)).encode(), "pods.yaml") == expected
    bare = {"kind": "PodList", "items": [{k: v for k, v in item.items() if k != "kind"} for item in pods]}
    assert read(b"\xef\xbb\xbf" + json.dumps(bare).encode(), "pods.json") == expected
    assert read(json.dumps(pods[0]).encode(), "one.json") == expected[:1]


@pytest.mark.parametrize(
    "item",
    [
        pod("proxy", "192.168.7.12", host_network=True),
        pod("job-1", phase="Succeeded"),
        pod("job-2", phase="Failed"),
        pod("waiting", "", phase="Pending"),
    ],
    ids=lambda item: str(item["metadata"]["name"]),
)
def test_addresses_that_say_nothing_about_who_calls_are_left_out(item: dict[str, Any]) -> None:
    assert read(data(item), "f") == ()


@pytest.mark.parametrize(
    ("owner", "labels", "told"),
    [
        (("ReplicaSet", "front-7d9f8b6c5"), {"pod-template-hash": "7d9f8b6c5"}, "front"),
        (("ReplicaSet", "front-7d9f8b6c5"), {"rollouts-pod-template-hash": "7d9f8b6c5"}, "front"),
        (("ReplicaSet", "lone"), {}, "lone"),
        (("ReplicaSet", "front-7d9f8b6c5"), {"pod-template-hash": "other"}, "front-7d9f8b6c5"),
        (("StatefulSet", "db"), {}, "db"),
        (("DaemonSet", "log-agent"), {}, "log-agent"),
        (("Job", "report-29413260"), {}, "report"),
        (("Job", "migrate"), {}, "migrate"),
        (None, {}, ""),
    ],
)
def test_the_owner_is_the_one_that_people_know(owner: tuple[str, str] | None, labels: dict[str, str], told: str) -> None:
    (found,) = read(data(pod("p", owner=owner, labels=labels)), "f")
    assert (found.owner, found.labels) == (told, ())


def test_a_pod_without_a_service_account_has_the_default_one_and_its_age() -> None:
    item = pod("p", started=None)
    del item["spec"]["serviceAccountName"], item["spec"]["serviceAccount"]
    (found,) = read(data(item), "f")
    assert (found.name, found.since) == ("web/default", SINCE - 2)


def test_a_list_of_ones_own() -> None:
    text = """
    workloads:
      - {address: 10.20.0.0/24, name: batch/reports, owner: reports, labels: {team: data}}
      - {address: "fd00::1", name: mainframe, since: 2026-05-04T10:00:00Z}
      - {address: 10.1.1.1, name: old, since: 100}
    """
    expected = (
        Workload("10.1.1.1", "old", since=100.0),
        Workload("10.20.0.0/24", "batch/reports", "reports", (("team", "data"),)),
        Workload("fd00::1", "mainframe", since=SINCE),
    )
    assert read(text.encode(), "f") == expected
    assert read(json.dumps([{"address": "10.1.1.1", "name": "old", "since": 100}]).encode(), "f") == expected[:1]
    assert read(b"workloads: []", "f") == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "f: is empty; write `kubectl"),
        (data(pod("a"))[:-400], "f: not valid JSON"),
        (b"\x00\x01", "f: not valid YAML"),
        (b"a: [", "f:2: not valid YAML"),
        (b"a: &x [1]\nitems: [*x, *x]", "f:2: the alias `*x` is not taken"),
        (b"just words", "f: not a list of pods"),
        (b"{}", "f: neither a list of pods nor `workloads`"),
        (b'{"items": 5}', "f: not a list of pods: expected `array"),
        (b'{"items": [{"kind": "Service"}]}', "f: item 0: `Service` is not a Pod"),
        (b'{"items": [5]}', "f: item 0: not a pod"),
        (data(pod("a"), pod("b", ips=("10.0.0.300",))), "f: item 1: `10.0.0.300` is not an IP address"),
        (data(pod("a", namespace="web\x1b[31m")), "f: item 0: `web?[31m` is not a namespace"),
        (data(pod("a", account="../admin")), "f: item 0: `../admin` is not a service account"),
        (data(pod("a", account="x" * 5000)), "... is not a service account".replace("... ", "")),
        (data(pod("a", started="yesterday")), "f: item 0: `yesterday` is not a time"),
        (b'[{"address": "10.0.0.0/99", "name": "a"}]', "f: workload 0: `10.0.0.0/99` is neither an address nor a range"),
        (b'[{"address": "10.0.0.1", "nam": "a"}]', "f: workload 0: object contains unknown field `nam`"),
        (b'[{"address": "10.0.0.1", "name": "a\\u202e"}]', "f: workload 0: `a?` is not a name"),
        (b'[{"address": "10.0.0.1", "name": "a", "labels": {"=cmd": "|x"}}]', "f: workload 0: `=cmd: |x` is not a label"),
        (b'[{"address": "10.0.0.1", "name": "a", "since": "soon"}]', "f: workload 0: `soon` is not a time"),
        (b'{"items": ' + b"[" * 100_000, "f: not valid JSON"),
    ],
)
def test_bad_files_are_one_clear_line(content: bytes, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        read(content, "f")
    message = str(caught.value)
    assert said in message
    assert message.isprintable()
    assert len(message) < 400


def test_nested_aliases_do_not_grow() -> None:
    bomb = "a: &a [x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(20))
    with pytest.raises(SourceError, match="alias"):
        read(bomb.encode(), "f")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.binary(max_size=30).map(lambda junk: data(pod("a"))[:700] + junk))
def test_any_bytes_are_workloads_or_one_line(content: bytes) -> None:
    try:
        assert isinstance(read(content, "f"), tuple)
    except SourceError as fault:
        assert "\n" not in str(fault)


# -- the API ----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_watch, "BACKOFF", (0.02, 0.1))


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def follow(cluster: Cluster) -> Iterator[Callable[..., KubernetesWatch]]:
    started: list[KubernetesWatch] = []
    with served(cluster) as address:

        def start(**options: Any) -> KubernetesWatch:
            watch = KubernetesWatch(address, **options)
            watch.start()
            started.append(watch)
            return watch

        yield start
        for watch in started:
            watch.stop()


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


def names(watch: KubernetesWatch) -> list[tuple[str, str]]:
    return [(workload.address, workload.name) for workload in watch.workloads()]


def test_list_watch_and_what_changes(cluster: Cluster, follow: Callable[..., KubernetesWatch]) -> None:
    cluster.put(pod("front-1"))
    cluster.put(pod("node", "192.168.7.12", host_network=True))
    changes: list[int] = []
    watch = follow(on_change=lambda: changes.append(1))
    until(lambda: watch.status().synced)
    assert names(watch) == [("10.244.1.17", "web/front")]
    cluster.put(pod("front-2", "", phase="Pending"))
    cluster.put(pod("front-2", "10.244.1.18"))
    until(lambda: len(watch.workloads()) == 2)
    before = watch.version
    cluster.put(pod("front-2", "10.244.1.18"))  # a probe, say: nothing that matters
    until(lambda: watch.status().events == 3)
    assert watch.version == before
    cluster.put(pod("front-1", phase="Succeeded"))
    until(lambda: names(watch) == [("10.244.1.18", "web/front")])
    cluster.put(pod("front-2", "10.244.1.18"), "DELETED")
    until(lambda: not watch.workloads())
    status = watch.status()
    assert (status.left_out, status.fault, status.lists, status.pods) == ({"host-network": 1, "over": 1}, "", 1, 0)
    assert len(changes) == watch.version >= 4


def test_an_address_that_another_pod_gets(cluster: Cluster, follow: Callable[..., KubernetesWatch]) -> None:
    cluster.put(pod("old", "10.244.1.30"))
    watch = follow()
    until(lambda: watch.workloads())
    cluster.put(pod("new", "10.244.1.30", account="billing", started="2026-05-04T11:00:00Z"))
    until(lambda: len(watch.workloads()) == 2)
    assert [(w.name, w.since) for w in watch.workloads()] == [("web/front", SINCE), ("web/billing", SINCE + 3600)]
    cluster.put(pod("old", "10.244.1.30"), "DELETED")
    until(lambda: [w.name for w in watch.workloads()] == ["web/billing"])


def test_lists_come_in_pages(cluster: Cluster, follow: Callable[..., KubernetesWatch]) -> None:
    cluster.page = 40
    for number in range(205):
        cluster.put(pod(f"p{number}", f"10.244.{number // 200}.{number % 200 + 1}"))
    watch = follow()
    until(lambda: watch.status().synced)
    assert len(watch.workloads()) == 205
    assert sum("limit" in request for request in cluster.requests) == 6


def test_a_page_that_has_gone_means_to_begin_anew(cluster: Cluster, follow: Callable[..., KubernetesWatch]) -> None:
    cluster.page = 1
    cluster.put(pod("a", "10.244.0.1"))
    cluster.put(pod("b", "10.244.0.2"))
    gone = json.dumps(failure(410, "The provided continue parameter is too old")).encode()
    cluster.fail = [(410, gone)]
    watch = follow()
    until(lambda: len(watch.workloads()) == 2)
    assert watch.status().fault == ""


def test_410_gone_in_a_watch_means_to_list_anew(cluster: Cluster, follow: Callable[..., KubernetesWatch]) -> None:
    cluster.put(pod("a", "10.244.0.1"))
    watch = follow()
    until(lambda: watch.workloads())
    with cluster.lock:  # what happened meanwhile is seen by the new list alone
        cluster.pods.clear()
        item = pod("b", "10.244.0.2")
        cluster.pods[item["metadata"]["uid"]] = item
    cluster.compact()
    until(lambda: names(watch) == [("10.244.0.2", "web/front")])
    assert watch.status().lists == 2
    asked = [request["resourceVersion"] for request in cluster.requests if "watch" in request]
    assert len(asked) == len(set(asked)), "it asked again for what had gone"
    cluster.put(pod("c", "10.244.0.3"))
    until(lambda: len(watch.workloads()) == 2)


def test_watches_that_end_go_on_where_they_were(cluster: Cluster, follow: Callable[..., KubernetesWatch]) -> None:
    cluster.watch_ends = 0.05
    cluster.put(pod("a", "10.244.0.1"))
    watch = follow()
    until(lambda: watch.workloads())
    cluster.bookmark()
    for number in range(2, 8):
        cluster.put(pod(f"p{number}", f"10.244.0.{number}"))
        time.sleep(0.03)
    until(lambda: len(watch.workloads()) == 7)
    until(lambda: sum("watch" in request for request in cluster.requests) > 3)
    watches = [int(request["resourceVersion"]) for request in cluster.requests if "watch" in request]
    assert watches == sorted(watches)
    assert watch.status().lists == 1
    assert watch.status().events == 6, "an event was seen twice, or a bookmark was taken for one"


@pytest.mark.parametrize(
    "junk",
    [
        b'{"type": "ADDED", "object": {"metadata": {"uid": "half',
        b"not json\n",
        b'{"type": "ADDED", "object": 5}\n',
        b'{"type": "ERROR", "object": {"code": 500, "message": "etcd \\u001b[2J is ill"}}\n',
        b'{"type": "ADDED", "object": {"metadata": {"labels": [1]}}}\n',
        b"\n\n",
    ],
)
def test_junk_in_a_watch_ends_that_watch_only(cluster: Cluster, follow: Callable[..., KubernetesWatch], junk: bytes) -> None:
    cluster.put(pod("a", "10.244.0.1"))
    cluster.garble = [junk]
    watch = follow()
    until(lambda: watch.workloads() and not cluster.garble)
    cluster.put(pod("b", "10.244.0.2"))
    until(lambda: len(watch.workloads()) == 2)
    until(lambda: watch.status().fault == "")
    assert watch.status().lists == 1


def test_an_event_without_end_is_not_read_into_memory(
    cluster: Cluster, follow: Callable[..., KubernetesWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_watch, "MAX_EVENT", 10_000)
    cluster.put(pod("a", "10.244.0.1"))
    cluster.garble = [b'{"type": "ADDED", "object": "' + b"x" * 50_000] * 50
    watch = follow()
    until(lambda: "an event is over" in watch.status().fault)
    assert names(watch) == [("10.244.0.1", "web/front")]


def test_hostile_pods_are_counted_and_not_attributed(cluster: Cluster, follow: Callable[..., KubernetesWatch]) -> None:
    cluster.put(pod("a", "10.244.0.1"))
    cluster.put(pod("b", "10.244.0.2", account="<script>"))
    watch = follow()
    until(lambda: watch.workloads())
    cluster.put(pod("c", "not-an-address"))
    until(lambda: watch.status().left_out == {"invalid": 2})
    assert names(watch) == [("10.244.0.1", "web/front")]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [b'{"type":"ADDED","object":{}}', b'{"type":"BOOKMARK","object":{"metadata":{}}}', b"", b"[", b'{"type":1}']
        )
        | st.binary(max_size=20),
        max_size=6,
    ).map(b"\n".join)
)
def test_any_bytes_of_a_watch_are_events_or_one_line(content: bytes) -> None:
    try:
        for event in kubernetes_watch._events(io.BytesIO(content), "https://x"):  # type: ignore[arg-type]
            assert content.count(b"\n")
            assert isinstance(event.type, str)
    except SourceError as fault:
        assert "\n" not in str(fault)
        assert str(fault).isprintable()


def test_the_number_of_addresses_is_bounded(
    cluster: Cluster, follow: Callable[..., KubernetesWatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_watch, "MAX_WORKLOADS", 3)
    for number in range(5):
        cluster.put(pod(f"p{number}", f"10.244.0.{number + 1}"))
    watch = follow()
    until(lambda: watch.status().synced)
    assert len(watch.workloads()) == 3
    assert watch.status().left_out == {"too-many": 2}
    cluster.put(pod("p0", "10.244.0.1"), "DELETED")
    until(lambda: len(watch.workloads()) == 2)
    cluster.put(pod("p3", "10.244.0.4"))
    until(lambda: len(watch.workloads()) == 3)


def test_refusals_are_told_and_the_last_known_pods_stay(
    cluster: Cluster, follow: Callable[..., KubernetesWatch], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    cluster.token = "first"
    cluster.watch_ends = 0.05
    cluster.put(pod("a", "10.244.0.1"))
    watch = follow(token_file=token)
    until(lambda: watch.workloads())
    cluster.token = "second"
    until(lambda: "answers 401" in watch.status().fault)
    assert "`list` and `watch` on `pods`" in watch.status().fault
    assert names(watch) == [("10.244.0.1", "web/front")]
    token.write_text("second\n")  # Kubernetes renews it
    until(lambda: watch.status().fault == "")
    token.write_text("")
    until(lambda: "is empty" in watch.status().fault)


def test_a_server_that_is_not_there_is_asked_again(cluster: Cluster) -> None:
    cluster.put(pod("a", "10.244.0.1"))
    with served(Cluster()) as address:
        pass
    watch = KubernetesWatch(address)
    watch.start()
    until(lambda: "refused" in watch.status().fault)
    assert watch.workloads() == ()
    assert not watch.status().synced
    watch.stop()


def test_stop_does_not_wait_for_the_next_event(cluster: Cluster, follow: Callable[..., KubernetesWatch]) -> None:
    cluster.put(pod("a", "10.244.0.1"))
    watch = follow()
    until(lambda: any("watch" in request for request in cluster.requests))
    time.sleep(0.05)
    began = time.monotonic()
    watch.stop()
    assert time.monotonic() - began < 1.0
    assert watch._thread is not None
    assert not watch._thread.is_alive()
    watch.stop()


def test_stop_at_any_moment(cluster: Cluster, follow: Callable[..., KubernetesWatch]) -> None:
    cluster.put(pod("a", "10.244.0.1"))
    for number in range(40):
        watch = follow()
        time.sleep(number / 4_000)  # before, within and after the list
        began = time.monotonic()
        watch.stop()
        assert time.monotonic() - began < 1.0


def test_over_tls_in_a_cluster(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(paths["server.pem"], paths["server.key"])
    (tmp_path / "token").write_text("secret")
    (tmp_path / "ca.crt").write_bytes(Path(paths["ca.pem"]).read_bytes())
    monkeypatch.setattr(kubernetes_watch, "SERVICE_ACCOUNT", tmp_path)
    cluster.token = "secret"
    cluster.put(pod("a", "10.244.0.1"))
    with served(cluster, context) as address:
        host, port = address.removeprefix("https://").split(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        watch = KubernetesWatch.in_cluster()
        watch.start()
        until(lambda: watch.workloads())
        watch.stop()
        stranger = KubernetesWatch(address)  # without its CA
        stranger.start()
        until(lambda: "certificate verify failed" in stranger.status().fault.lower())
        stranger.stop()


def test_outside_of_a_cluster_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(SourceError, match="no pod of a Kubernetes cluster"):
        KubernetesWatch.in_cluster()


@pytest.mark.parametrize(
    "address", ["", "10.0.0.1", "ftp://x", "https://", "https://u:p@x", "https://x:99999", "https://[::1", "https://x?a=1"]
)
def test_bad_addresses_are_one_clear_line(address: str) -> None:
    with pytest.raises(SourceError, match="is not the address of an API server"):
        KubernetesWatch(address)


def test_a_bad_ca_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("hello")
    for path in (tmp_path / "ca", tmp_path / "none"):
        with pytest.raises(SourceError) as caught:
            KubernetesWatch("https://x", ca_file=path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["- " * 100_000 + "x", "[" * 50_000, "a:\n" + "".join(" " * n + "a:\n" for n in range(1, 300))])
def test_yaml_that_is_nested_without_end_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match=r"pods\.yaml"):
        read(text.encode(), "pods.yaml")
