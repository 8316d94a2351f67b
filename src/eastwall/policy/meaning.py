"""What can be wrong with the meaning of one policy that is well-formed, without knowing anything else."""

from __future__ import annotations

import ipaddress
import re

import msgspec

from eastwall.discovery.data_custom import problems
from eastwall.discovery.data_prefilter import CLASSES
from eastwall.policy import meaning_limits, meaning_rollout, rule_packs
from eastwall.policy.data_classes import custom_class
from eastwall.policy.kinds import (
    AccessPolicy,
    DataClass,
    DataPolicy,
    DetectionPolicy,
    Fault,
    Identities,
    LimitPolicy,
    Playbook,
    Policy,
    PolicyException,
    Quarantine,
    Rule,
    RulePack,
    SchemaPolicy,
    Service,
    ToolPolicy,
    Trust,
    TrustZone,
)
from eastwall.policy.meaning_data import data_policy
from eastwall.policy.meaning_playbooks import playbook_faults
from eastwall.policy.meaning_schema import schema_policy
from eastwall.policy.meaning_scope import Found, condition_faults, identity_faults, operation_faults
from eastwall.policy.meaning_segments import exception_faults, quarantine_faults, tool_faults, zone_faults
from eastwall.policy.patterns import parse_operation
from eastwall.policy.sizes import parse_size
from eastwall.policy.wording import shown

MAX_BODY = 64 << 20
"""Bytes; more of a body than this cannot be inspected inline."""
MAX_REASON = 300
_AGENT_KINDS = ("client", "workload", "user", "key", "agent")
CLASS_NAME = re.compile(r"[a-z][a-z0-9-]{0,38}[a-z0-9]")


def faults_of(policy: Policy) -> list[Fault]:
    """All faults of one policy's own values."""
    spec = policy.spec
    if isinstance(spec, DataClass):
        found = list(_data_class(policy.name, spec))
    elif isinstance(spec, RulePack):
        found = list(rule_packs.faults(policy.name, spec))
    elif isinstance(spec, Playbook):
        found = [
            *playbook_faults(spec),
            *identity_faults(spec.maintenance or Identities(), "spec.maintenance"),
            *_reason(spec.reason),
        ]
    else:
        found = list(_service(spec) if isinstance(spec, Service) else _rule(spec))
    faults = []
    for place, message, hint in found:
        line, column = policy.marks.get(place) or policy.marks.get("spec") or (1, 1)
        faults.append(Fault(policy.file, line, column, message, hint))
    return faults


def _rule(spec: Rule) -> Found:
    yield from operation_faults(spec.scope.operations, "spec.scope.operations")
    yield from condition_faults(spec.when, "spec.when")
    yield from _reason(spec.reason)
    yield from identity_faults(spec.scope.identities, "spec.scope.identities")
    yield from meaning_rollout.faults(spec)
    match spec:
        case LimitPolicy():
            yield from meaning_limits.faults(spec)
        case DataPolicy():
            for name, who in (("except", spec.exempt), ("detokenise", spec.detokenise), ("tokensFrom", spec.tokens_from)):
                if who is not None:
                    yield from identity_faults(who, f"spec.{name}")
            yield from data_policy(spec)
        case DetectionPolicy():
            if not spec.detections:
                yield "spec.detections", "`spec.detections` is empty, so the policy does nothing", 'write `["*"]` for all'
            if spec.thresholds:
                yield "spec.thresholds", "`spec.thresholds` is reserved, no detection takes one yet", "leave it out"
        case SchemaPolicy():
            yield from schema_policy(spec)
        case AccessPolicy():
            pass
        case TrustZone():
            yield from zone_faults(spec)
        case Quarantine():
            yield from quarantine_faults(spec)
        case PolicyException():
            yield from exception_faults(spec)
        case ToolPolicy():
            yield from tool_faults(spec)


def _reason(text: str) -> Found:
    if len(text) > MAX_REASON or not text.isprintable():
        yield "spec.reason", f"`spec.reason` must be one line of at most {MAX_REASON} characters", ""


def _data_class(name: str, spec: DataClass) -> Found:
    if not CLASS_NAME.fullmatch(name):
        yield (
            "metadata.name",
            f"data class {shown(name)} must be lower-case letters, digits and `-`, at most 40",
            "e.g. `badge-number`",
        )
    elif name in CLASSES:
        yield "metadata.name", f"there is a built-in data class `{name}`", "give yours another name"
    for place, message, hint in problems(custom_class(name, spec)):
        yield f"spec.{place}" if place else "spec", message, hint


def _service(spec: Service) -> Found:
    if spec.max_body:
        try:
            if parse_size(spec.max_body) > MAX_BODY:
                yield "spec.maxBody", f"`spec.maxBody` is at most {MAX_BODY >> 20}MiB", ""
        except ValueError as error:
            yield "spec.maxBody", str(error), ""
    for i, host in enumerate(spec.hosts):
        if not re.fullmatch(r"(\*\.)?[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:]+\](:[0-9]{1,5})?", host):
            yield f"spec.hosts[{i}]", f"`{host[:60]}` is not a host name", "write e.g. `orders.shop.svc` or `orders:8080`"
    for name, patterns in (("deprecated", spec.deprecated), ("admin", spec.admin)):
        for i, pattern in enumerate(patterns):
            try:
                parse_operation(pattern)
            except ValueError as error:
                yield f"spec.{name}[{i}]", str(error), "write e.g. `GET /v1/orders/{order_id}` or `* /v1/**`"
    for name, text in (("environment", spec.environment), *(("labels", f"{key}={value}") for key, value in spec.labels.items())):
        if len(text) > MAX_REASON or not text.isprintable():
            yield f"spec.{name}", f"`spec.{name}` must be one line of at most {MAX_REASON} characters", ""
    if spec.identity is not None:
        yield from _trust(spec.identity)


def _trust(trust: Trust) -> Found:
    for i, jwks in enumerate(trust.jwks):
        place = f"spec.identity.jwks[{i}]"
        if bool(jwks.file) == bool(jwks.inline):
            yield place, "a key set needs either `file` or `inline`", ""
        elif jwks.inline and (problem := jwks_problem(jwks.inline.encode())):
            yield f"{place}.inline", problem, ""
    for i, proxy in enumerate(trust.trusted_proxies):
        if "://" in proxy:
            continue
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            hint = "write e.g. `10.0.0.0/8`, or the URI SAN of a client certificate"
            yield (
                f"spec.identity.trustedProxies[{i}]",
                f"`{proxy[:60]}` is not a CIDR: {str(error).partition(chr(39) + ' ')[2] or error}",
                hint,
            )
    for name, headers in (
        ("apiKeyHeaders", trust.api_key_headers),
        ("tokenHeaders", trust.token_headers),
        ("userHeader", (trust.user_header,)),
        ("addressHeader", (trust.address_header,)),
        ("certificateHeader", (trust.certificate_header,)),
    ):
        for i, header in enumerate(headers):
            if header and not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_|~-]+", header):
                place = f"spec.identity.{name}" + (f"[{i}]" if name in ("apiKeyHeaders", "tokenHeaders") else "")
                yield place, f"`{header[:60]}` is not a header name", ""
            elif name == "tokenHeaders" and header.lower() == "authorization":
                yield f"spec.identity.tokenHeaders[{i}]", "`authorization` is read in any case", "leave it out"
    for i, agent in enumerate(trust.agents):
        kind, colon, _ = agent.partition(":")
        if not colon or kind not in _AGENT_KINDS:
            said = f"`{agent[:60]}` names no caller" if agent else "an empty text names no caller"
            yield (
                f"spec.identity.agents[{i}]",
                said,
                f"write e.g. `client:{agent[:40] or 'support-*'}`; kinds: {', '.join(_AGENT_KINDS)}",
            )


def jwks_problem(content: bytes) -> str:
    """What is wrong with a JWKS (RFC 7517), as one line; empty when it can be used."""
    try:
        tree = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        return f"the key set is not JSON: {error}"
    keys = tree.get("keys") if isinstance(tree, dict) else None
    if not isinstance(keys, list) or not keys:
        return "the key set has no `keys`"
    for i, key in enumerate(keys):
        if not isinstance(key, dict) or not isinstance(key.get("kty"), str):
            return f"key {i} of the key set has no `kty`"
        if key["kty"] != "oct" and any(name in key for name in ("d", "p", "q", "dp", "dq", "qi")):
            return f"key {i} of the key set is a private key"
    return ""
