"""What was applied: policy files with their digest and time, and the modes that were set by hand.

    DIR/policy/current.json     the applied files, whole, and the files they refer to (key sets)
    DIR/policy/modes.json       modes set by hand since, by service
    DIR/policy/history/         the last 20 applied sets, <time>-<digest>.json

The later word wins: `eastwall mode` over a Service policy's `mode`, until policies are applied again that set it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from eastwall import policy
from eastwall.discovery.identity import compile_trust
from eastwall.learning.declare import Declared, read_declared
from eastwall.model.call import Mode
from eastwall.model.endpoint import Endpoint
from eastwall.model.finding import Detection
from eastwall.model.snapshot import ServiceScope, TrustConfig
from eastwall.policy.kinds import Service
from eastwall.policy.services import specs_of
from eastwall.sources import kubernetes

HISTORY = 20
MAX_FILES = 1_000
MAX_BYTES = 16 << 20
"""All files of one set together."""
MAX_WARNINGS = 20
"""Faults of one specification that are told; the rest is counted."""


class Applied(Struct, frozen=True):
    """One applied set of policy files."""

    files: dict[str, str]
    """Name -> YAML text."""
    attachments: dict[str, str] = {}
    """Files the policies refer to (key sets, OpenAPI documents), by the path `policy.referenced_files` gives."""
    time: float = 0.0
    digest: str = ""
    """SHA-256 over names and texts, 16 hex digits."""


class PolicyState(Struct, frozen=True):
    """The applied set, compiled as far as control compiles it."""

    applied: Applied
    policies: policy.PolicySet
    encoded: bytes
    trust: TrustConfig
    declared: dict[str, tuple[Endpoint, ...]] = {}
    """Service -> endpoints of the specifications that its policy names."""
    descriptors: dict[str, bytes] = {}
    """Service -> FileDescriptorSet of the .proto files that its policy names."""
    warnings: tuple[policy.Fault, ...] = ()
    """Faults of the specifications: what they concern is left out, the rest is used."""


class PolicyFaultsError(ValueError):
    """The files have faults; nothing was applied."""

    def __init__(self, faults: Sequence[policy.Fault]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults[:3]) + (f"; {len(faults) - 3} more" if len(faults) > 3 else ""))
        self.faults = list(faults)


class PolicyStore:
    """Keeps the applied policies and modes in a folder; not thread-safe."""

    def __init__(self, directory: Path) -> None:
        """Raises ValueError, one line, when what was applied cannot be read or compiled any more."""
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._current = directory / "current.json"
        self._modes_file = directory / "modes.json"
        self.modes: dict[str, Mode] = {}
        try:
            if self._modes_file.exists():
                self.modes = msgspec.json.decode(self._modes_file.read_bytes(), type=dict[str, Mode])
            applied = msgspec.json.decode(self._current.read_bytes(), type=Applied) if self._current.exists() else Applied({})
        except msgspec.DecodeError as error:
            raise ValueError(
                f"the applied policies in `{directory}` cannot be read ({error}); delete the file and apply them again"
            ) from None
        policies, faults = policy.parse_files(applied.files)
        hard = [fault for fault in faults if not fault.warning]
        if hard:
            raise ValueError(
                f"the applied policies are not valid for this version: {hard[0]}; mend `{self._current}` or delete it"
            )
        self.state = _compile(applied, policies)

    def check(
        self,
        files: Mapping[str, str],
        attachments: Mapping[str, str],
        *,
        services: Sequence[ServiceScope],
        endpoints: Sequence[Endpoint],
        detections: Sequence[Detection],
    ) -> tuple[PolicyState | None, list[policy.Fault]]:
        """The compiled set, None when there is a fault that is more than a warning; and all faults."""
        too_much = _too_much(files, attachments)
        if too_much:
            return None, [too_much]
        policies, faults = policy.parse_files(files)
        faults = faults + policy.check(policies, services=services, endpoints=endpoints, detections=detections)
        if any(not fault.warning for fault in faults):
            return None, sorted(faults)
        applied = Applied(dict(files), dict(attachments), digest=_digest(files, attachments))
        try:
            state = _compile(applied, policies)
            return state, sorted([*faults, *state.warnings])
        except ValueError as error:
            return None, sorted([*faults, _fault_of(str(error))])

    def apply(self, state: PolicyState, now: float) -> None:
        """Make a checked set the applied one. Raises OSError, and then the old one stays."""
        applied = msgspec.structs.replace(state.applied, time=now)
        data = msgspec.json.encode(applied)
        history = self._directory / "history"
        history.mkdir(exist_ok=True, mode=0o700)
        _write(history / f"{int(now * 1000):015d}-{applied.digest}.json", data)
        _write(self._current, data)
        for old in sorted(history.glob("*.json"), reverse=True)[HISTORY:]:
            old.unlink(missing_ok=True)
        spoken = {p.name for p in state.policies.policies if isinstance(p.spec, Service) and p.spec.mode is not None}
        if spoken & self.modes.keys():
            self._save_modes({name: mode for name, mode in self.modes.items() if name not in spoken})
        self.state = msgspec.structs.replace(state, applied=applied)

    def set_modes(self, names: Iterable[str], mode: Mode) -> None:
        """Set by hand. Raises OSError."""
        self._save_modes(self.modes | dict.fromkeys(names, mode))

    def scopes(self, defaults: Iterable[ServiceScope]) -> tuple[ServiceScope, ...]:
        """`defaults` (from the command line), then policies, then what was set by hand."""
        scopes = policy.scopes_of(self.state.policies, defaults)
        return tuple(msgspec.structs.replace(s, mode=self.modes.get(s.name, s.mode)) for s in scopes)

    def _save_modes(self, modes: dict[str, Mode]) -> None:
        _write(self._modes_file, msgspec.json.encode(modes))
        self.modes = modes


def _compile(applied: Applied, policies: policy.PolicySet) -> PolicyState:
    """Raises ValueError with file:line."""
    attached = {path: text.encode() for path, text in applied.attachments.items()}
    found: dict[str, dict[str, Endpoint]] = {}
    descriptors: dict[str, bytes] = {}
    warnings: list[policy.Fault] = []
    for service, path, location in specs_of(policies):
        read = _declared(service, attached.get(path), path, location)
        mine = found.setdefault(service, {})
        for endpoint in read.endpoints:
            mine.setdefault(endpoint.id, endpoint)
        if read.descriptors:
            # Sets of files joined end to end are one set: a repeated field of a protobuf message.
            descriptors[service] = descriptors.get(service, b"") + read.descriptors
        warnings += _warnings(read, path, location)
    trust = policy.trust_of(policies, attached, read_workloads=kubernetes.read)
    compile_trust(trust, bytes(32))  # tried out: an engine could not use a snapshot with a key set that it cannot load
    declared = {service: tuple(endpoints.values()) for service, endpoints in found.items()}
    encoded = policy.encode(policy.with_automata(policies))
    return PolicyState(applied, policies, encoded, trust, declared, descriptors, tuple(warnings))


def _declared(service: str, data: bytes | None, path: str, location: str) -> Declared:
    """Raises ValueError when the specification gives nothing at all."""
    if data is None:
        raise ValueError(f"{location}: the specification `{path}` cannot be read")
    read = read_declared(data, path, service)
    if not read.endpoints and read.faults:
        raise ValueError(f"{location}: `{path}`: {read.faults[0]}")
    return read


def _warnings(read: Declared, path: str, location: str) -> list[policy.Fault]:
    file, _, line = location.rpartition(":")
    at = int(line) if line.isdigit() else 1
    shown = read.faults[:MAX_WARNINGS]
    found = [policy.Fault(file, at, 1, f"`{path}`: {fault.where}: {fault.message}", fault.hint, warning=True) for fault in shown]
    if len(read.faults) > len(shown):
        found.append(policy.Fault(file, at, 1, f"`{path}`: {len(read.faults) - len(shown)} more faults", warning=True))
    return found


def _fault_of(text: str) -> policy.Fault:
    """A fault from a text that begins with `file:line: `."""
    file, _, rest = text.partition(":")
    line, _, message = rest.partition(":")
    return policy.Fault(file, int(line), 1, message.strip()) if line.strip().isdigit() else policy.Fault("", 1, 1, text)


def _too_much(files: Mapping[str, str], attachments: Mapping[str, str]) -> policy.Fault | None:
    size = sum(len(text) for text in (*files.values(), *attachments.values()))
    if len(files) + len(attachments) > MAX_FILES or size > MAX_BYTES:
        return policy.Fault(
            "", 1, 1, f"{len(files)} files of {size:,} characters; {MAX_FILES} files and {MAX_BYTES >> 20} MiB are the limit"
        )
    return None


def _digest(files: Mapping[str, str], attachments: Mapping[str, str]) -> str:
    return hashlib.sha256(msgspec.json.encode([sorted(files.items()), sorted(attachments.items())])).hexdigest()[:16]


def _write(path: Path, data: bytes) -> None:
    """Atomic and durable, 0600."""
    part = path.with_suffix(".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
