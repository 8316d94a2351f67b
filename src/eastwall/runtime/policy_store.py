"""What was applied: policy files with their digest and time, and the modes that were set by hand.

    DIR/policy/current.json     the applied files, whole, and the files they refer to (key sets)
    DIR/policy/modes.json       modes set by hand since, by service
    DIR/policy/history/         the last applied sets, <time>-<digest>.json; each later than the one before, whatever the clock does

What is in force is what current.json says, whole: whatever else a crash left undone follows from it at the next start.
The later word wins: `eastwall mode` over a Service policy's `mode`, until policies are applied again that set it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from eastwall import policy
from eastwall.discovery.identity import compile_trust
from eastwall.learning.declare import Declared, read_declared
from eastwall.model.audit import Origin, Who
from eastwall.model.call import Mode
from eastwall.model.endpoint import Endpoint
from eastwall.model.finding import Detection
from eastwall.model.snapshot import ServiceScope, TrustConfig
from eastwall.policy.kinds import Service
from eastwall.policy.services import specs_of
from eastwall.runtime.durable import drop, prepare, put_in_place, write_whole
from eastwall.sources import kubernetes

HISTORY = 100
"""Applied sets that are kept."""
HISTORY_BYTES = 256 << 20
"""All of them together; the latest two stay in any case."""
MAX_NAMES = 50
"""Policies and files that a change lists of each sort."""
MAX_FILES = 1_000
MAX_BYTES = 16 << 20
"""All files of one set together."""
MAX_WARNINGS = 20
"""Faults of one specification that are told; the rest is counted."""


class Change(Struct, frozen=True, omit_defaults=True):
    """What a set changes against the one before: `Kind/name` of policies, at most `MAX_NAMES` of each sort, and how many there are."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    counts: tuple[int, int, int] = (0, 0, 0)
    """Added, changed, removed."""

    def __str__(self) -> str:
        said = [
            f"{mark}{', '.join(names)}{f' and {count - len(names)} more' if count > len(names) else ''}"
            for mark, names, count in zip(("+ ", "~ ", "- "), (self.added, self.changed, self.removed), self.counts, strict=True)
            if count
        ]
        return "; ".join(said) or "nothing"


class Past(Struct, frozen=True):
    """An applied set without its texts. The names are those of `Applied`."""

    time: float = 0.0
    digest: str = ""
    act: str = "apply"
    who: Who = Who("token")
    origin: Origin = Origin()
    count: int = 0
    change: Change = Change()


class Applied(Struct, frozen=True):
    """One applied set of policy files."""

    files: dict[str, str]
    """Name -> YAML text."""
    attachments: dict[str, str] = {}
    """Files the policies refer to (key sets, OpenAPI documents), by the path `policy.referenced_files` gives."""
    time: float = 0.0
    digest: str = ""
    """SHA-256 over names and texts, 16 hex digits."""
    act: str = "apply"
    """`apply` or `rollback`."""
    who: Who = Who("token")
    origin: Origin = Origin()
    count: int = 0
    """Number of policies."""
    change: Change = Change()
    """Against the set before."""


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


class _Modes(Struct, frozen=True):
    """Modes set by hand, as they are kept."""

    modes: dict[str, Mode]
    applied: tuple[float, str] | None = None
    """Time and digest of the set they were set over: of a later one its own words hold. None: written by a version that did not say."""


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
        self._history = directory / "history"
        self._modes_file = directory / "modes.json"
        self.modes: dict[str, Mode] = {}
        try:
            kept = _read_modes(self._modes_file)
            applied = msgspec.json.decode(self._current.read_bytes(), type=Applied) if self._current.exists() else Applied({})
        except msgspec.DecodeError as error:
            raise ValueError(
                f"the applied policies in `{directory}` cannot be read ({error}); delete the file and apply them again"
            ) from None
        self._parser = policy.Parser()
        policies, faults = self._parser.parse(applied.files)
        hard = [fault for fault in faults if not fault.warning]
        if hard:
            raise ValueError(
                f"the applied policies are not valid for this version: {hard[0]}; mend `{self._current}` or delete it"
            )
        self.state = compile_applied(applied, policies)
        if kept is not None:
            self.modes = kept.modes if kept.applied in (None, self._mark()) else _unspoken(kept.modes, policies)
        self._behind = True
        """The history may lack the set in force."""

    def _mark(self) -> tuple[float, str]:
        return self.state.applied.time, self.state.applied.digest

    def complete(self) -> None:
        """What a crash or a full disk left undone of the history: the set in force is its latest, and nothing in it is half written. Not
        when it is opened: another control may be at it."""
        if not self._behind:
            return
        with contextlib.suppress(OSError):  # no room: next time
            for part in (*self._directory.glob("*.part"), *self._history.glob("*.part")):
                drop(part)
            applied = self.state.applied
            newest = max(self._history.glob("*.json"), default=None)
            if applied.digest and (newest is None or _mark_of(newest) != self._mark()):
                self._history.mkdir(exist_ok=True, mode=0o700)
                write_whole(self._next(applied.digest, applied.time), msgspec.json.encode(applied))
            self._behind = False

    def _next(self, digest: str, now: float) -> Path:
        """The file of one more set: the latest, also where the clock went back."""
        last = max((int(path.stem.partition("-")[0]) for path in self._history.glob("[0-9]*-*.json")), default=0)
        return self._history / f"{max(int(now * 1000), last + 1):015d}-{digest}.json"

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
        policies, faults = self._parser.parse(files)
        state = None
        if all(fault.warning for fault in faults):
            written = sum(p.location != "builtin" for p in policies.policies)
            applied = Applied(dict(files), dict(attachments), digest=_digest(files, attachments), count=written)
            try:
                state = compile_applied(applied, policies)
                faults = [*faults, *state.warnings]
            except ValueError as error:
                faults = [*faults, _fault_of(str(error))]
        known = endpoints if state is None else with_declared(endpoints, state.declared)
        faults += policy.check(policies, services=services, endpoints=known, detections=detections, now=time.time())
        return (state if all(fault.warning for fault in faults) else None), sorted(faults)

    def change(self, state: PolicyState) -> Change:
        """What applying a checked set would change."""
        return _change(self.state.policies, state.policies)

    def apply(self, state: PolicyState, now: float, *, act: str = "apply", who: Who, origin: Origin) -> None:
        """Make a checked set the applied one. Raises OSError, and then the old one stays."""
        self.complete()
        applied = msgspec.structs.replace(
            state.applied, time=now, act=act, who=who, origin=origin, change=_change(self.state.policies, state.policies)
        )
        data = msgspec.json.encode(applied)
        self._history.mkdir(exist_ok=True, mode=0o700)
        # The room that it needs is taken before anything changes; from the moment that current.json is there the set is in force.
        entry = self._next(applied.digest, now)
        part = prepare(entry, data)
        try:
            write_whole(self._current, data)
        except OSError:
            drop(part)
            raise
        self.state = msgspec.structs.replace(state, applied=applied)
        modes = _unspoken(self.modes, state.policies)
        # Of what follows nothing is lost when it cannot be done: it follows from current.json at the next start.
        self._behind = True
        with contextlib.suppress(OSError):
            put_in_place(part, entry)
            self._behind = False
            self._forget()
            if modes != self.modes:
                self._save_modes(modes)
        self.modes = modes

    def history(self) -> list[Past]:
        """Applied sets that are kept, the latest first; the first is in force. What cannot be read is left out. Raises OSError."""
        found = []
        for path in sorted(self._history.glob("*.json"), reverse=True):
            with contextlib.suppress(msgspec.DecodeError):
                found.append(msgspec.json.decode(path.read_bytes(), type=Past))
        return found

    def earlier(self, which: str) -> Applied:
        """An applied set: by its digest or the beginning of it, or `-1`, `-2`, ...: so many sets back, each counted once, by when it was
        last in force. Raises LookupError, ValueError, OSError."""
        self.complete()
        digest = self._back(int(which)) if re.fullmatch(r"-[1-9][0-9]{0,3}", which) else which.lower()
        if not re.fullmatch(r"[0-9a-f]{4,16}", digest):
            raise ValueError(f"`{which}` is not a digest (at least 4 of its digits) and not a step back such as -1")
        paths = sorted(self._history.glob(f"*-{digest}*.json"), reverse=True)
        if not paths:
            raise LookupError(f"there is no applied set `{which}`; `eastwall policy history` lists them")
        if len({path.stem.rpartition("-")[2] for path in paths}) > 1:
            raise ValueError(f"more than one applied set begins with `{which}`; write more of its digest")
        try:
            return msgspec.json.decode(paths[0].read_bytes(), type=Applied)
        except msgspec.DecodeError as error:
            raise ValueError(f"`{paths[0]}` cannot be read ({error}); take another set") from None

    def _back(self, steps: int) -> str:
        digests = list(dict.fromkeys(path.stem.rpartition("-")[2] for path in sorted(self._history.glob("*.json"), reverse=True)))
        if -steps >= len(digests):
            known = max(0, len(digests) - 1)
            raise LookupError(
                f"there {'is no' if not known else f'are only {known}'} earlier set{'s' * (known > 0)}; `eastwall policy history` lists them"
            )
        return digests[-steps]

    def _forget(self) -> None:
        size = 0
        for number, old in enumerate(sorted(self._history.glob("*.json"), reverse=True)):
            size += old.stat().st_size
            if number >= HISTORY or (number > 1 and size > HISTORY_BYTES):
                old.unlink(missing_ok=True)

    def set_modes(self, names: Iterable[str], mode: Mode) -> None:
        """Set by hand. Raises OSError."""
        self._save_modes(self.modes | dict.fromkeys(names, mode))

    def scopes(self, defaults: Iterable[ServiceScope]) -> tuple[ServiceScope, ...]:
        """`defaults` (from the command line), then policies, then what was set by hand."""
        scopes = policy.scopes_of(self.state.policies, defaults)
        return tuple(msgspec.structs.replace(s, mode=self.modes.get(s.name, s.mode)) for s in scopes)

    def _save_modes(self, modes: dict[str, Mode]) -> None:
        write_whole(self._modes_file, msgspec.json.encode(_Modes(modes, self._mark())))
        self.modes = modes


def _mark_of(path: Path) -> tuple[float, str]:
    """Time and digest of a kept set; of one that cannot be read those of none. Raises OSError."""
    try:
        past = msgspec.json.decode(path.read_bytes(), type=Past)
    except msgspec.DecodeError:
        return 0.0, ""
    return past.time, past.digest


def _read_modes(path: Path) -> _Modes | None:
    """Raises msgspec.DecodeError."""
    if not path.exists():
        return None
    data = path.read_bytes()
    try:
        return msgspec.json.decode(data, type=_Modes)
    except msgspec.ValidationError:
        return _Modes(msgspec.json.decode(data, type=dict[str, Mode]))


def _unspoken(modes: Mapping[str, Mode], policies: policy.PolicySet) -> dict[str, Mode]:
    """Modes set by hand without those of services whose policy names one: the later word wins."""
    spoken = {p.name for p in policies.policies if isinstance(p.spec, Service) and p.spec.mode is not None}
    return {name: mode for name, mode in modes.items() if name not in spoken}


def _change(before: policy.PolicySet, after: policy.PolicySet) -> Change:
    old, new = ({f"{p.kind}/{p.name}": p for p in policies.policies} for policies in (before, after))
    added = sorted(new.keys() - old.keys())
    removed = sorted(old.keys() - new.keys())
    changed = sorted(k for k in new.keys() & old.keys() if (new[k].spec, new[k].labels) != (old[k].spec, old[k].labels))
    counts = (len(added), len(changed), len(removed))
    return Change(tuple(added[:MAX_NAMES]), tuple(changed[:MAX_NAMES]), tuple(removed[:MAX_NAMES]), counts)


def with_declared(endpoints: Sequence[Endpoint], declared: Mapping[str, Sequence[Endpoint]]) -> Sequence[Endpoint]:
    """Endpoints, and what specifications of a set that is not applied yet declare of services of which nothing is declared so far."""
    known = {(one.service, one.method, one.template) for one in endpoints}
    spoken = {one.service for one in endpoints if one.origin != "observed"}
    new = (one for found in declared.values() for one in found if one.service not in spoken)
    beside = [one for one in new if (one.service, one.method, one.template) not in known]
    return [*endpoints, *beside] if beside else endpoints


def compile_applied(applied: Applied, policies: policy.PolicySet) -> PolicyState:
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
