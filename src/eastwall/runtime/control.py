"""The control process's inside: recorder, learner, publisher, policies and what the API asks.

Two threads beside the server's: the recorder's (see `Recorder`), and the publisher's, which builds a snapshot when something that engines act
on has changed. Nothing here is on a call's way.

Locks are taken in this order: policies, publishing, data plane; the recorder's own (records, learner) last.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from eastwall import __version__, detections, policy
from eastwall.exports import metrics
from eastwall.learning.holdings import pack
from eastwall.learning.learner import Learner
from eastwall.model.audit import Origin, Who
from eastwall.model.call import Mode
from eastwall.model.endpoint import Endpoint
from eastwall.model.event_id import named as named_event
from eastwall.model.record import CallRecord
from eastwall.model.snapshot import SNAPSHOT_FORMAT, PolicyStatus, ServiceScope, Snapshot, TrustConfig
from eastwall.policy.data_classes import custom_classes
from eastwall.policy.playbooks import Firing
from eastwall.policy.world import World as PolicyWorld
from eastwall.runtime import policy_replay
from eastwall.runtime.approvals import Approvals
from eastwall.runtime.audit import AuditLog
from eastwall.runtime.baselines import BaselineApi
from eastwall.runtime.control_health import Cached, envoy_counters, heartbeats, sharing_fault, uninspected
from eastwall.runtime.control_views import applied_set, essence, explained, for_engines, services
from eastwall.runtime.declared import DeclaredApis
from eastwall.runtime.discovered import Discovered, UnknownError, World
from eastwall.runtime.feedback import FeedbackApi
from eastwall.runtime.firing_evidence import evidence
from eastwall.runtime.layout import DataDir
from eastwall.runtime.message_schemas import known_schemas, schemas_essence
from eastwall.runtime.notifying import Notifier, Secrets
from eastwall.runtime.plane import DataPlane
from eastwall.runtime.playbooks import PlaybookRunner, notification_lost
from eastwall.runtime.policy_acts import PolicyActs
from eastwall.runtime.policy_guards import PolicyGuards
from eastwall.runtime.policy_store import PolicyFaultsError, PolicyState, PolicyStore
from eastwall.runtime.policy_watch import PolicyWatch, Watched
from eastwall.runtime.quarantines import Quarantines
from eastwall.runtime.recorded_calls import RecordedCalls
from eastwall.runtime.recorder import BATCH_RECORDS, Recorder
from eastwall.runtime.refusals import Refusals
from eastwall.runtime.spec_store import SpecStore
from eastwall.runtime.suggestions import SuggestionApi
from eastwall.sources.kubernetes_watch import KubernetesWatch
from eastwall.stores.chdb.lake import ChdbLake, LakeError
from eastwall.stores.snapshots import FileSnapshotStore
from eastwall.stores.spool_ahead import FlaggedAhead

log = logging.getLogger("eastwall.control")

PUBLISH_SECONDS = 1.0
"""At most one snapshot in so many seconds for what was learned; modes and policies are published at once."""
REFRESH_SECONDS = 30.0
"""Counters and ownership alone are published this often: every snapshot costs each engine a compile."""
OWNERSHIP_LIMIT = 1_000_000
"""Objects whose owners engines get; the most recently used ones."""


class Control:
    """One per data directory. `start`, then answer questions, then `stop`."""

    def __init__(self, data: DataDir, *, retention_days: int = 0, lake: ChdbLake | None = None) -> None:
        """`lake`: in place of the directory's own. Opens lake, spool and learner. Raises LakeError, SpoolBusyError, SpoolCorruptError, ValueError: one clear line each."""
        self.data = data
        self.started = time.time()
        self._hash_key = (data.secrets / "hash.key").read_bytes()
        self._policies = PolicyStore(data.policy)
        self._policy_lock = threading.RLock()
        """Held while policies or modes are changed: from the API, and by what watches a repository."""
        self.audit = AuditLog(data.root / "audit", time.time)
        self._declared = DeclaredApis(SpecStore(data.specs), self._policies)
        self._snapshots = FileSnapshotStore(data.snapshots)
        self._version = self._snapshots.latest_version()
        self._publish_lock = threading.Lock()
        self._stop = threading.Event()
        self._changed = threading.Event()
        """Set when batches were folded."""
        self._threads: list[threading.Thread] = []
        self._faults: dict[str, str] = {}
        """What does not work right now, by part: shown in `status`, gone when it works again."""
        self._cached = Cached()
        self._essence: object = None
        self._revision = 0
        """Counts up with each new list of endpoints, so that pages fetch it only then."""
        self._published_at = 0.0
        self._recorder = Recorder(
            data,
            self._hash_key,
            lake=lake,
            stop=self._stop,
            changed=self._changed,
            faults=self._faults,
            retention_days=retention_days,
        )
        self._lake = self._recorder.lake
        self.learner_alone = self._recorder.alone
        self._endpoints: tuple[Endpoint, ...] = self._recorder.learned()
        self._cluster: KubernetesWatch | None = None
        self._exact_at = 0.0
        """When templates were last read whole, monotonic seconds; in between large services may keep theirs for a while."""
        self._detections = {d.meta.id: d.meta for d in detections.load()}
        self._plane = DataPlane(data, tuple(self._detections.values()), self._faults)
        self.discovered = Discovered(self._world, self.learner_alone)
        self.baselines = BaselineApi(self.learner_alone, self._recorder.acts, self.publish, time.time)
        self.policy_acts = PolicyActs(self._policies, self.audit, self.apply_policy, time.time)
        self.policy_guards = PolicyGuards(
            data.root / "guards.json",
            self.audit,
            lambda: self._policies.state.policies.policies,
            self.scopes,
            lambda: heartbeats(data),
            lambda sql: self._lake.query(sql),
            self.publish,
        )
        standing = [meta.id for meta in self._detections.values() if meta.audience == "service-owner"]
        self.suggestions = SuggestionApi(self._lake, lambda: self._endpoints, self.learner_alone, standing)
        self.quarantines = Quarantines(
            data.policy / "quarantine.json", self.audit, time.time, self._tell_engines, self.scopes, self._policy_lock
        )
        self.approvals = Approvals(data.policy / "approvals.json", self.audit, time.time, lambda: heartbeats(data), self.publish)
        self.playbooks = PlaybookRunner(
            data.root / "playbooks",
            audit=self.audit,
            notifier=Notifier(Secrets(data.secrets / "notify"), notification_lost(self.audit)),
            publish=self.publish,
            evidence=self._evidence,
            clock=time.time,
            random=os.urandom,
            ahead=FlaggedAhead(data.spool).look,
        )
        self._use_playbooks()
        self.feedback = FeedbackApi(self._recorder.feedback, self.call, self._relearn, self._recorder.teach, self.publish)
        self._recorder.see = self.playbooks.see
        self._refusals: Refusals | None = None
        self.recorded = RecordedCalls(self._lake, self._replay_world)
        self._declare()

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Publish the first snapshot and start recording."""
        self.publish()
        self._apply_to_data_plane()
        self.feedback.resume()
        self.policy_acts.start()
        self.quarantines.settle()
        self.playbooks.start()
        self.policy_guards.start()
        self.approvals.start()
        if (proxy := self._plane.offloading()) is not None:
            self._refusals = Refusals(proxy, self.data.spool, self._faults, lambda event: self.call(event) is not None)
            self._refusals.start()
        for name, target in (("recorder", self._recorder.loop), ("publisher", self._publish_loop)):
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Drain the spool as far as it goes, publish what was learned, close everything."""
        if self._refusals is not None:
            self._refusals.stop()
        self._stop.set()
        self._changed.set()
        self.policy_acts.stop()
        self.playbooks.stop()
        self.policy_guards.stop()
        self.approvals.stop()
        for thread in self._threads:
            thread.join()
        with contextlib.suppress(OSError):
            self.publish()
        self.close()

    def follow(self, cluster: KubernetesWatch) -> None:
        """Know callers by the pods of a cluster, from the next snapshot on. Before `start`."""
        self._cluster = cluster

    def follow_repository(self, watched: Watched) -> None:
        """Keep policies in step with a Git repository. Before `start`. Raises GitError."""
        folder = self.data.policy / "git" / f"{hashlib.sha256(watched.url.encode()).hexdigest()[:16]}.git"
        self.policy_acts.follow(
            PolicyWatch(
                watched,
                folder,
                audit=self.audit,
                apply_policy=self.apply_policy,
                applied=lambda: self._policies.state.applied.origin,
            )
        )

    def pods_changed(self) -> None:
        """Another look at the cluster is due."""
        self._changed.set()

    def _trust(self) -> TrustConfig:
        trust = self._policies.state.trust
        if self._cluster is None:
            return trust
        return msgspec.structs.replace(trust, workloads=(*trust.workloads, *self._cluster.workloads()))

    def _seen_by_engines(self, endpoints: tuple[Endpoint, ...], classes: tuple[tuple[str, str], ...]) -> object:
        """What a new snapshot is made for when it changes."""
        schemas = schemas_essence(known_schemas(self._policies.state.policies, endpoints, self._declared.by_service))
        version = self._cluster.version if self._cluster is not None else 0
        return essence(endpoints), schemas, classes, version, self._recorder.acts.seq

    def close(self) -> None:
        """Close everything; nothing is published. Enough for a control that was never started."""
        self.feedback.close()
        self._recorder.close()

    def _world(self) -> World:
        classes = custom_classes(self._policies.state.policies)
        return World(self._revision, self._endpoints, self.scopes(), self._declared.by_service, classes)

    # -- what was recorded and learned ----------------------------------------------------------------------------

    def record_batch(self, limit: int = BATCH_RECORDS) -> int:
        """See `Recorder.batch`."""
        return self._recorder.batch(limit)

    def record(self, records: Sequence[CallRecord], token: str) -> None:
        """See `Recorder.record`."""
        self._recorder.record(records, token)

    def take_in(self, learned: Learner) -> None:
        """Add what another learner has learned, and publish. Raises OSError."""
        self._recorder.take_in(learned)
        self.publish()

    def _relearn(self) -> None:
        self._recorder.relearn(lambda: self._declared.by_service)

    # -- publisher ------------------------------------------------------------------------------------------------

    def _publish_loop(self) -> None:
        while not self._stop.is_set():
            self._changed.wait()
            self._changed.clear()
            if self._stop.is_set():
                return
            try:
                cost = self._publish_learned()
                self._faults.pop("publisher", None)
            except OSError as error:
                cost = 0.0
                log.error("the snapshot cannot be published: %s", error)
                self._faults["publisher"] = f"the snapshot cannot be published: {error.strerror}"
                self._changed.set()
            except Exception as error:
                cost = 0.0
                log.exception("building a snapshot failed")
                self._faults["publisher"] = f"{type(error).__name__}: {error}"
            self._stop.wait(max(PUBLISH_SECONDS, 10 * cost))

    def _publish_learned(self) -> float:
        """Publish when engines would act differently, or counters are old; the seconds that asking the learner took."""
        started = time.monotonic()
        with self.learner_alone() as learner:
            endpoints = self._recorder.learned(lazy=started - self._exact_at < REFRESH_SECONDS)
            classes = learner.identities.classes()
            learner.changes.observe(endpoints, time.time())
        cost = time.monotonic() - started
        self._endpoints = endpoints
        self._revision += 1
        if self._declared.outdated(endpoints):
            self._declare()
        if started - self._exact_at >= REFRESH_SECONDS:
            self._exact_at = started
        if self._seen_by_engines(endpoints, classes) != self._essence or time.time() - self._published_at > REFRESH_SECONDS:
            self.publish(endpoints)
        return cost

    def publish(self, known: tuple[Endpoint, ...] | None = None) -> int:
        """Build and publish a snapshot now; its version. `known`: the endpoints, where they were just asked for. Raises OSError."""
        with self._publish_lock:
            with self.learner_alone() as learner:
                endpoints = self._recorder.learned() if known is None else known
                ownership = learner.ownership(OWNERSHIP_LIMIT, time.time())
                classes = learner.identities.classes()
                behaviours = self._recorder.knowledge(endpoints)
            # Before the cluster is asked: what changes in between is published next time, and not missed.
            seen = self._seen_by_engines(endpoints, classes)
            self._essence = None  # where it fails the publisher tries again
            self._snapshots.publish(
                Snapshot(
                    format=SNAPSHOT_FORMAT,
                    version=self._version + 1,
                    created=time.time(),
                    hash_key=self._hash_key,
                    services=self.scopes(),
                    trust=self._trust(),
                    endpoints=tuple(map(for_engines, endpoints)),
                    policy=self._in_force(),
                    holdings=pack(ownership),
                    descriptors=self._declared.descriptors(),
                    data_classes=custom_classes(self._policies.state.policies),
                    identity_classes=classes,
                    behaviours=behaviours,
                    schemas=known_schemas(self._policies.state.policies, endpoints, self._declared.by_service),
                    policy_status=self._policy_status(),
                    stepped_back=self.policy_guards.stepped_back,
                    rearmed=self.policy_guards.rearmed,
                    approvals=self.approvals.in_force(),
                )
            )
            self._version += 1
            self._endpoints = endpoints
            self._revision += 1
            self._essence = seen
            self._published_at = time.time()
        # Policies come and go by commands and playbooks too: what Envoy refuses goes with what engines are given.
        if self._plane.offloading() is not None:
            self._apply_to_data_plane()
        return self._version

    def _tell_engines(self) -> None:
        """Publish what an act has changed. Raises OSError: then it is kept, and published as soon as that can be done."""
        try:
            self.publish()
        except OSError as error:
            self._changed.set()
            why = f"it is kept, but engines cannot be told of it yet, which is tried again by itself: {error.strerror or error}"
            raise OSError(error.errno, why) from error

    def _apply_to_data_plane(self) -> None:
        self._plane.apply(self.scopes, self._in_force, lambda: self._trust().workloads)

    def _in_force(self) -> bytes:
        """The applied policies with what was put into quarantine and what playbooks did, encoded."""
        return self.playbooks.merged(self.quarantines.merged(self._policies.state.encoded))

    # -- services, modes, policies --------------------------------------------------------------------------------

    def scopes(self) -> tuple[ServiceScope, ...]:
        """Every known service: of the command line, of policies, and seen in traffic."""
        defaults = {scope.name: scope for scope in self._plane.scopes()}
        for endpoint in self._endpoints:
            defaults.setdefault(endpoint.service, ServiceScope(endpoint.service))
        return self._policies.scopes(defaults.values())

    def set_mode(self, service: str, mode: str, *, who: Who) -> list[dict[str, Any]]:
        """Set the mode of one service, or of `all`. Raises UnknownError, ValueError, OSError; returns the services afterwards."""
        try:
            level = Mode[mode.upper()]
        except KeyError:
            raise ValueError(f"`{mode}` is not a mode: write discover, monitor or enforce") from None
        names = [scope.name for scope in self.scopes()]
        if service != "all" and service not in names:
            raise UnknownError(f"there is no service `{service}`; known are {', '.join(f'`{n}`' for n in names) or 'none yet'}")
        with self._policy_lock:
            chosen = names if service == "all" else [service]
            before = {scope.name: scope.mode.name.lower() for scope in self.scopes() if scope.name in chosen}
            self.audit.record("mode", who, {"service": service, "mode": level.name.lower(), "before": before})
            try:
                self._policies.set_modes(chosen, level)
            except OSError as error:
                self.audit.failed(who, {"act": "mode", "service": service, "why": error.strerror or str(error)})
                raise
            self._tell_engines()
        self._apply_to_data_plane()
        return self.services()

    def check_policy(self, files: Mapping[str, str], attachments: Mapping[str, str] | None = None) -> list[policy.Fault]:
        """All faults of policy files against what is known; nothing is applied."""
        return self._check(files, attachments or {})[1]

    def _replay_world(self) -> policy_replay.World:
        return policy_replay.World(self.scopes(), tuple(map(policy_replay.bare, self._endpoints)))

    def apply_policy(
        self,
        files: Mapping[str, str],
        attachments: Mapping[str, str] | None = None,
        *,
        who: Who,
        origin: Origin | None = None,
        act: str = "apply",
        force: bool = False,
    ) -> dict[str, Any]:
        """Apply, publish at once. Raises PolicyFaultsError when there are faults that are more than warnings; BlocksTrafficError, unless
        `force`, when most legitimate calls of the last days would be blocked; OSError."""
        with self._policy_lock:
            state, faults = self._check(files, attachments or {})
            if state is None:
                raise PolicyFaultsError(faults)
            tried = {} if force else self.recorded.guard(state.policies, self._policies.state.policies)
            self.policy_acts.apply(state, who, origin or Origin(), act, forced=force and act == "apply")
            self._use_playbooks()
            self._declare()
            self._tell_engines()
        self._apply_to_data_plane()
        return {
            **self.policy(),
            "tried": tried,
            "warnings": [msgspec.to_builtins(fault) | {"text": str(fault)} for fault in faults],
        }

    def _declare(self) -> None:
        """Tell the learner what specs say; a service whose spec is gone has none any more."""
        self._declared.read(self._endpoints)
        by_service = self._declared.by_service
        with self.learner_alone() as learner:
            for name in {scope.name for scope in self.scopes()} | by_service.keys():
                learner.declare(name, by_service.get(name, ()))

    def add_spec(self, service: str, name: str, data: bytes) -> dict[str, Any]:
        """Keep a specification of a service. Raises ValueError, one line, when it cannot be used at all; OSError."""
        told = self._declared.add(service, name, data)
        self._declare()
        self.publish()
        return told

    def _use_playbooks(self) -> None:
        policies, stages = self._policies.state.policies, {name: meta.stage for name, meta in self._detections.items()}
        self.playbooks.use(policies, stages, PolicyWorld({}, policies, self.scopes(), self._trust().workloads))

    def _evidence(self, firing: Firing) -> dict[str, Any]:
        return evidence(firing, self._lake, self.call, self._policies.state.applied, self._version)

    def _policy_status(self) -> PolicyStatus:
        applied = self._policies.state.applied
        return PolicyStatus(applied.digest, applied.time, applied.origin.commit, applied.origin.author)

    def _check(self, files: Mapping[str, str], attachments: Mapping[str, str]) -> tuple[PolicyState | None, list[policy.Fault]]:
        return self._policies.check(
            files, attachments, services=self.scopes(), endpoints=self._endpoints, detections=list(self._detections.values())
        )

    def policy(self) -> dict[str, Any]:
        """What is applied."""
        return applied_set(self._policies.state) | {"snapshot": self._version}

    # -- questions ------------------------------------------------------------------------------------------------

    def services(self) -> list[dict[str, Any]]:
        """Scopes with their counts."""
        return services(self.scopes(), self._endpoints)

    def metrics(self) -> tuple[str, str]:
        """Content type and text."""
        return metrics.CONTENT_TYPE, metrics.exposition(metrics.families(self.status()))

    def findings(self, limit: int = 100, service: str = "", since: float = 0.0) -> list[dict[str, Any]]:
        return self._lake.findings(service=service, since=since, limit=limit)

    def calls(self, **conditions: Any) -> list[CallRecord]:
        """See `ChdbLake.calls`."""
        return self._lake.calls(**conditions)

    def call(self, event_id: str) -> CallRecord | None:
        """From the lake, or from the spool when it is not there yet. `event_id`: as a caller was given it."""
        event_id = named_event(event_id)
        fault: LakeError | None = None
        try:
            found = self._lake.call(event_id)
        except LakeError as error:
            found, fault = None, error
        # The lake once more at the end: the record may have moved between the two looks.
        found = found or self._recorder.spool.find(event_id)
        if found is None and fault is not None:
            raise fault
        return found or self._lake.call(event_id)

    def why(self, event_id: str) -> dict[str, Any]:
        """Everything known about one call, for people and machines. Raises UnknownError."""
        record = self.call(event_id)
        if record is None:
            raise UnknownError(f"there is no call `{event_id}`; calls appear about a second after they end")
        endpoint = next((e for e in self._endpoints if e.id == record.endpoint), None)
        return explained(record, endpoint, self._detections) | {"snapshot_now": self._version}

    def query(self, sql: str, seconds: float = 10.0, rows: int = 10_000) -> list[dict[str, Any]]:
        """Analyst SQL; raises ValueError."""
        return self._lake.query(sql, seconds=seconds, rows=rows)

    def series(self, seconds: int) -> list[tuple[int, int, int, int]]:
        """(second, calls, with findings, blocked), the last two seconds left out: they are still on their way."""
        return self._cached(f"series {seconds}", lambda: self._lake.series(seconds, time.time() - 2))  # type: ignore[no-any-return]

    def status(self) -> dict[str, Any]:
        """Everything about Eastwall itself."""
        engines = heartbeats(self.data)
        envoy = self._cached("envoy", lambda: envoy_counters(self.data))
        totals = self._cached("totals", self._lake.totals)
        learned = sum(1 for e in self._endpoints if e.status == "learned")
        return {
            "version": __version__,
            "time": time.time(),
            "started": self.started,
            "snapshot": {"version": self._version, "created": self._published_at},
            "engines": engines,
            "envoy": envoy,
            "spool": {
                "pending_bytes": self._recorder.spool.pending(),
                "lost_records": max(self._recorder.spool.lost(), sum(int(e.get("lost_records", 0)) for e in engines)),
                "corrupt_bytes": self._recorder.spool.corrupt_bytes,
                "undecodable": self._recorder.spool.undecodable,
            },
            "lake": {**totals, "bytes": self._cached("bytes", self._lake.disk_bytes), "last_batch": self._recorder.last_batch_at},
            "learner": {
                "endpoints": len(self._endpoints),
                "learned": learned,
                "learning": len(self._endpoints) - learned,
                "save_seconds": round(self._recorder.save_seconds, 4),
            },
            "uninspected": uninspected(self._cached("uninspected", self._lake.uninspected), engines, envoy),
            "policy": self.policy_acts.status(),
            "services": self.services(),
            "kubernetes": None if self._cluster is None else msgspec.to_builtins(self._cluster.status()),
            "faults": self.faults(),
            "revision": f"{self.started:.3f}-{self.discovered.revision}",
        }

    def faults(self) -> dict[str, str]:
        """What does not work right now, by part; one line each."""
        found = dict(self._faults)
        if self._cluster is not None and (fault := self._cluster.status().fault):
            found["kubernetes"] = fault
        found |= self.policy_acts.faults() | self.playbooks.faults() | self.policy_guards.faults() | self.approvals.faults()
        if shared := sharing_fault(self.data):
            found["shared state"] = shared
        if fault := self._declared.fault():
            found["specifications"] = fault
        return found
