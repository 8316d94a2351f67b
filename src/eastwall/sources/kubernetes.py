"""Kubernetes pods as workloads: which service account stands behind which address.

`read` takes what `kubectl get pods -A -o json` (or `-o yaml`) prints, or a list of one's own:

    workloads:
      - {address: 10.20.0.0/24, name: batch/reports, owner: reports}

Left out, because their address says nothing about who calls: pods of the host's network (they share the node's address), pods that are over
(Kubernetes gives their address to others) and pods that have no address yet.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import yaml
from msgspec import Struct, field

from eastwall.model.snapshot import Workload
from eastwall.sources.observed import SourceError, shown

MAX_BYTES = 128 << 20
"""Of a file; a pod takes 5 to 15 KB in it."""
MAX_WORKLOADS = 100_000
"""Addresses of one file or cluster."""
MAX_DEPTH = 100
"""Levels of a YAML file; a pod has about twenty."""
MAX_LABELS = 16
MAX_NAME = 512
"""Characters of a workload's name and owner; Kubernetes allows 253 for each part."""

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")
"""Names of namespaces, service accounts and owners: RFC 1123 subdomains."""
_LABEL = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_./]{0,316}")
_LABEL_VALUE = re.compile(r"[-A-Za-z0-9_.]{0,63}")
_OF_ONE_INSTANCE = (
    "pod-template-hash",
    "rollouts-pod-template-hash",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
)
"""Labels that differ between instances or revisions of one workload."""
_HASHES = ("pod-template-hash", "rollouts-pod-template-hash")
_CRON = re.compile(r"-\d{8,10}$")
"""What a CronJob appends to the names of its Jobs: the scheduled time in minutes."""


class Owner(Struct):
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class Metadata(Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    labels: dict[str, str] | None = None
    owner_references: list[Owner] | None = None


class Spec(Struct, rename="camel"):
    service_account_name: str = ""
    service_account: str = ""
    """The deprecated name of the same."""
    host_network: bool = False


class Address(Struct):
    ip: str = ""


class Status(Struct, rename="camel"):
    phase: str = ""
    pod_ip: str = field(default="", name="podIP")
    pod_ips: list[Address] | None = field(default=None, name="podIPs")
    start_time: str | None = None


class Pod(Struct):
    """What is read of a `v1.Pod`; all else is skipped unread."""

    kind: str = ""
    """Empty in the items of a PodList."""
    metadata: Metadata = field(default_factory=Metadata)
    spec: Spec = field(default_factory=Spec)
    status: Status = field(default_factory=Status)


class _Document(Struct):
    kind: str = ""
    items: list[msgspec.Raw] | None = None
    workloads: list[msgspec.Raw] | None = None


class _Entry(Struct, forbid_unknown_fields=True):
    address: str
    name: str
    owner: str = ""
    labels: dict[str, str] = {}
    since: float | str = 0.0


_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""Every scalar is text. With libyaml where it is there: it is ten times as fast."""
_DOCUMENT = msgspec.json.Decoder(_Document)
_POD = msgspec.json.Decoder(Pod, strict=False)
_ENTRY = msgspec.json.Decoder(_Entry)


def read(data: bytes, name: str) -> tuple[Workload, ...]:
    """The workloads of a file, sorted by address. `name` is what errors call it.

    Raises `SourceError`, one line that names the file, the entry, what is wrong and how to mend it.
    """
    if len(data) > MAX_BYTES:
        raise SourceError(f"{name}: over {MAX_BYTES >> 20} MiB; let Eastwall ask the Kubernetes API instead")
    document = _document(data, name)
    found: list[Workload] = []
    if document.workloads is not None:
        for number, raw in enumerate(document.workloads):
            found.append(_entry(raw, f"{name}: workload {number}"))
    else:
        items = document.items
        if items is None:
            raise SourceError(
                f"{name}: neither a list of pods nor `workloads`; write `kubectl get pods -A -o json > {shown(name)}`"
            )
        for number, raw in enumerate(items):
            where = f"{name}: item {number}"
            try:
                pod = _POD.decode(raw)
                if pod.kind not in ("Pod", ""):
                    raise SourceError(f"`{shown(pod.kind)}` is not a Pod; give pods alone: `kubectl get pods -A -o json`")
                found += workloads_of(pod)[0]
            except SourceError as fault:
                raise SourceError(f"{where}: {fault}") from None
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
                raise SourceError(f"{where}: not a pod: {_lower(str(fault))}") from None
    if len(found) > MAX_WORKLOADS:
        raise SourceError(
            f"{name}: {len(found):,} addresses; at most {MAX_WORKLOADS:,} are taken, use ranges for whole namespaces or nodes"
        )
    return tuple(sorted(found, key=lambda workload: (workload.address, workload.since, workload.name)))


def workloads_of(pod: Pod) -> tuple[tuple[Workload, ...], str]:
    """(workloads, one for each address; why there are none: `host-network`, `over`, `no-address`).

    Raises `SourceError` without a place when a name or an address is not what Kubernetes allows.
    """
    meta, spec, status = pod.metadata, pod.spec, pod.status
    if spec.host_network:
        return (), "host-network"
    if status.phase in ("Succeeded", "Failed"):
        return (), "over"
    addresses = [entry.ip for entry in status.pod_ips or ()] or ([status.pod_ip] if status.pod_ip else [])
    if not addresses:
        return (), "no-address"
    account = spec.service_account_name or spec.service_account or "default"
    for what, text in (("namespace", meta.namespace), ("service account", account)):
        if not _NAME.fullmatch(text):
            raise SourceError(f"`{shown(text)}` is not a {what}")
    since = _seconds(status.start_time or meta.creation_timestamp)
    owner, labels = _owner(meta), _labels(meta.labels or {})
    name = f"{meta.namespace}/{account}"
    return tuple(Workload(_address(text), name, owner, labels, since) for text in addresses[:8]), ""


def _owner(meta: Metadata) -> str:
    """The controller that people know: of a ReplicaSet its Deployment, of a CronJob's Job the CronJob."""
    references = meta.owner_references or ()
    owner = next((reference for reference in references if reference.controller), None)
    if owner is None or not _NAME.fullmatch(owner.name):
        return ""
    name = owner.name
    if owner.kind == "ReplicaSet":
        for label in _HASHES:
            if value := (meta.labels or {}).get(label):
                return name.removesuffix(f"-{value}")
    return _CRON.sub("", name) or name if owner.kind == "Job" else name


def _labels(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    kept = sorted(
        (key, value)
        for key, value in labels.items()
        if key not in _OF_ONE_INSTANCE and _LABEL.fullmatch(key) and _LABEL_VALUE.fullmatch(value)
    )
    return tuple(kept[:MAX_LABELS])


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise SourceError(f"`{shown(text)}` is not an IP address") from None


def _seconds(text: str | None) -> float:
    """Unix seconds of an RFC 3339 time; 0 when there is none. Raises `SourceError`."""
    if not text:
        return 0.0
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SourceError(f"`{shown(text)}` is not a time; write e.g. `2026-05-04T10:00:00Z`") from None
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()


def _entry(raw: msgspec.Raw, where: str) -> Workload:
    """An entry of one's own list."""
    try:
        entry = _ENTRY.decode(raw)
        ipaddress.ip_network(entry.address, strict=False)
        since = entry.since if isinstance(entry.since, float) else _seconds(entry.since)
    except msgspec.DecodeError as fault:
        raise SourceError(f"{where}: {_lower(str(fault))}") from None
    except SourceError as fault:
        raise SourceError(f"{where}: {fault}") from None
    except ValueError:
        hint = "write e.g. `10.1.2.3` or `10.1.2.0/24`"
        raise SourceError(f"{where}: `{shown(entry.address)}` is neither an address nor a range; {hint}") from None
    for what, text in (("name", entry.name), ("owner", entry.owner)):
        if len(text) > MAX_NAME or not text.isprintable() or (what == "name" and not text.strip()):
            raise SourceError(f"{where}: `{shown(text)}` is not a {what}; write e.g. `web/front`")
    for key, value in entry.labels.items():
        if not _LABEL.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise SourceError(f"{where}: `{shown(f'{key}: {value}')}` is not a label of Kubernetes")
    return Workload(entry.address, entry.name, entry.owner, tuple(sorted(entry.labels.items()))[:MAX_LABELS], since)


def _document(data: bytes, name: str) -> _Document:
    """JSON as it is; YAML by way of JSON, so that one reader serves both."""
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise SourceError(f"{name}: is empty; write `kubectl get pods -A -o json > FILE`")
    if text[:1] not in (b"{", b"["):
        text = msgspec.json.encode(_yaml(data, name))
    try:
        if text[:1] == b"[":
            return _Document(workloads=msgspec.json.decode(text, type=list[msgspec.Raw]))
        document = _DOCUMENT.decode(text)
    except msgspec.ValidationError as fault:
        raise SourceError(f"{name}: not a list of pods: {_lower(str(fault))}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as fault:
        raise SourceError(f"{name}: not valid JSON ({_lower(str(fault))}); was the file cut off? export it again") from None
    if document.kind == "Pod":
        return _Document(items=[msgspec.Raw(text)])
    return document


def _yaml(data: bytes, name: str) -> Any:
    """With every scalar as text: pod names such as `1e3` stay what they are."""
    try:
        # Aliases are refused: kubectl writes none, and nested ones grow without limit when they are resolved.
        # Depth is counted here, since the loader ends the process where it is some ten thousands.
        depth = 0
        for event in yaml.parse(data, _LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            line = event.start_mark.line + 1 if event.start_mark is not None else 1
            if depth > MAX_DEPTH:
                raise SourceError(f"{name}:{line}: nested over {MAX_DEPTH} deep; a pod is not")
            if isinstance(event, yaml.AliasEvent):
                raise SourceError(f"{name}:{line}: the alias `*{shown(event.anchor or '')}` is not taken; write it out")
        return _numbers(yaml.load(data, _LOADER))  # noqa: S506 - the base loader builds no objects
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        raise SourceError(f"{where}: not valid YAML: {shown(str(error.problem or error.context), 120)}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SourceError(f"{name}: not valid YAML: {shown(str(error).splitlines()[0], 120)}") from None


def _numbers(tree: Any) -> Any:
    """`since` of one's own list is a number, though all scalars are text here."""
    entries = tree.get("workloads") if isinstance(tree, dict) else tree
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(since := entry.get("since"), str):
            try:
                entry["since"] = float(since)
            except ValueError:
                continue  # a time in words
    return tree


def _lower(text: str) -> str:
    return shown(text[:1].lower() + text[1:], 200)
