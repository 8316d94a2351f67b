"""What Service policies say to the rest of Eastwall: scopes, and whom to trust."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath

import msgspec

from eastwall.model.call import Mode
from eastwall.model.snapshot import ServiceScope, TrustConfig, Workload
from eastwall.policy.kinds import Policy, PolicySet, Service
from eastwall.policy.meaning import jwks_problem
from eastwall.policy.sizes import parse_size

MODES = {"discover": Mode.DISCOVER, "monitor": Mode.MONITOR, "enforce": Mode.ENFORCE}


def _services(policies: PolicySet) -> Iterator[tuple[Policy, Service]]:
    for policy in policies.policies:
        if isinstance(policy.spec, Service):
            yield policy, policy.spec


def scopes_of(
    policies: PolicySet, defaults: Iterable[ServiceScope], base: ServiceScope | None = None
) -> tuple[ServiceScope, ...]:
    """How each service is treated: `defaults` (those of the command line) with what Service policies set laid over them, by name.

    Services that only a policy names follow, made from `base` (its mode is the one Eastwall was started with).
    """
    scopes = {scope.name: scope for scope in defaults}
    base = base or ServiceScope("")
    for policy, spec in _services(policies):
        scope = scopes.get(policy.name) or msgspec.structs.replace(base, name=policy.name)
        labels = {**dict(scope.labels), **policy.labels, **spec.labels}
        scopes[policy.name] = ServiceScope(
            name=policy.name,
            mode=MODES[spec.mode] if spec.mode is not None else scope.mode,
            fail=spec.fail or scope.fail,
            hosts=spec.hosts or scope.hosts,
            owner=spec.owner or scope.owner or labels.get("owner", "") or labels.get("team", ""),
            repository=spec.repository or scope.repository or labels.get("repository", ""),
            max_body=parse_size(spec.max_body) if spec.max_body else scope.max_body,
            over_limit=spec.over_limit or scope.over_limit,
            environment=spec.environment or scope.environment or labels.get("environment", ""),
            exposure=spec.exposure or scope.exposure,
            labels=tuple(sorted(labels.items())),
            deprecated=spec.deprecated or scope.deprecated,
            sensitivity=spec.admin or scope.sensitivity,
        )
    return tuple(scopes.values())


def _path(policy: Policy, name: str) -> str:
    """A path that a policy names, relative to the policy's own file."""
    return str(PurePosixPath(policy.file).parent / name)


def specs_of(policies: PolicySet) -> tuple[tuple[str, str, str], ...]:
    """(service, path, `file:line`) of the specifications that Service policies name, each once."""
    named = (
        (policy.name, _path(policy, name), policy.location)
        for policy, spec in _services(policies)
        for name in dict.fromkeys((spec.spec, *spec.specs))
        if name
    )
    return tuple(named)


def referenced_files(policies: PolicySet) -> tuple[str, ...]:
    """Files that policies refer to (key sets, specifications), as paths relative to where the policy files' names are."""
    trusts = [(policy, spec.identity) for policy, spec in _services(policies) if spec.identity]
    keys = (_path(policy, jwks.file) for policy, trust in trusts for jwks in trust.jwks if jwks.file)
    workloads = (_path(policy, trust.workloads) for policy, trust in trusts if trust.workloads)
    return tuple(dict.fromkeys([*keys, *workloads, *(path for _, path, _ in specs_of(policies))]))


WorkloadReader = Callable[[bytes, str], tuple[Workload, ...]]
"""(content, name of the file) -> workloads; raises `ValueError` with one line that names the file."""


def trust_of(
    policies: PolicySet,
    files: Mapping[str, bytes] | None = None,
    base: TrustConfig | None = None,
    read_workloads: WorkloadReader | None = None,
) -> TrustConfig:
    """Whom to believe about identity: the union of what all Service policies say; what none sets is as in `base`.

    `files`: content of `referenced_files`. `read_workloads` is given by the caller (`sources.kubernetes.read`), since files of other
    systems are read outside of the core. Raises `ValueError`, one line with file:line, on a missing or unusable key set or list of
    workloads, and when two services name different headers.
    """
    base = base or TrustConfig()
    jwks: list[tuple[str, bytes]] = list(base.jwks)
    lists: dict[str, list[str]] = {}
    headers: dict[str, tuple[str, str]] = {}
    workloads: dict[Workload, None] = dict.fromkeys(base.workloads)
    for policy, spec in _services(policies):
        trust = spec.identity
        if trust is None:
            continue
        for keys in trust.jwks:
            path = _path(policy, keys.file) if keys.file else ""
            content = (files or {}).get(path) if keys.file else keys.inline.encode()
            if content is None:
                raise ValueError(f"{policy.location}: the key set `{path}` cannot be read")
            if problem := jwks_problem(content):
                raise ValueError(f"{policy.location}: {f'`{path}`: ' if path else ''}{problem}")
            if (keys.issuer, content) not in jwks:
                jwks.append((keys.issuer, content))
        for name in (
            "audiences",
            "api_key_headers",
            "api_key_query",
            "trusted_proxies",
            "role_claims",
            "tenant_claims",
            "session_cookies",
            "token_headers",
            "agents",
        ):
            if values := getattr(trust, name):
                lists.setdefault(name, []).extend(values)
        if trust.workloads:
            workloads |= dict.fromkeys(_workloads(policy, trust.workloads, files or {}, read_workloads))
        for name in ("user_header", "address_header", "certificate_header"):
            if value := getattr(trust, name).lower():
                first, where = headers.setdefault(name, (value, policy.location))
                if first != value:
                    raise ValueError(
                        f"{policy.location}: `{value}` is another {name.replace('_', ' ')} than `{first}` at {where}; name one"
                    )
    # Header names are compared in lower case, as calls carry them.
    for name in ("api_key_headers", "token_headers"):
        if name in lists:
            lists[name] = [header.lower() for header in lists[name]]
    changes: dict[str, object] = {name: tuple(dict.fromkeys(values)) for name, values in lists.items()}
    changes |= {name: value for name, (value, _) in headers.items()}
    return msgspec.structs.replace(base, jwks=tuple(jwks), workloads=tuple(workloads), **changes)


def _workloads(
    policy: Policy, name: str, files: Mapping[str, bytes], read_workloads: WorkloadReader | None
) -> tuple[Workload, ...]:
    path = _path(policy, name)
    content = files.get(path)
    if content is None or read_workloads is None:
        raise ValueError(f"{policy.location}: the list of workloads `{path}` cannot be read")
    try:
        return read_workloads(content, f"`{path}`")
    except ValueError as error:
        raise ValueError(f"{policy.location}: {error}") from None
