"""What can be wrong with the meaning of zones, quarantines, exceptions and tool policies."""

from __future__ import annotations

import re

from eastwall.policy.kinds import (
    Identities,
    Members,
    PolicyException,
    Quarantine,
    Scope,
    Taint,
    TaintSource,
    ToolPolicy,
    TrustZone,
)
from eastwall.policy.limits import parse_rate
from eastwall.policy.meaning_scope import Found, condition_faults, identity_faults, label_faults, operation_faults
from eastwall.policy.rollout import parse_within
from eastwall.policy.times import parse_end
from eastwall.policy.wording import shown

MAX_DOORS = 200
MAX_SOURCES = 50
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def zone_faults(spec: TrustZone) -> Found:
    members = spec.members
    if members == Members():
        yield "spec.members", "`spec.members` is empty, so nothing is in the zone", "name `services`, `namespaces` or others"
    for name in ("services", "namespaces", "labels", "agents"):
        for i, text in enumerate(getattr(members, name)):
            if not text:
                yield f"spec.members.{name}[{i}]", f"an empty text in `spec.members.{name}` selects nothing", ""
    yield from label_faults(members.labels, "spec.members.labels")
    yield from identity_faults(members.identities, "spec.members.identities")
    if members.identities.zones:
        yield "spec.members.identities.zones", "a zone's members cannot be told by zones", "say who they are"
    if len(spec.entrances) > MAX_DOORS:
        yield "spec.from", f"`spec.from` has {len(spec.entrances)} entries, at most {MAX_DOORS} are allowed", ""
    for i, one in enumerate(spec.entrances):
        place = f"spec.from[{i}]"
        if not (one.zones or one.operations or one.when) and one.identities == Identities():
            yield place, f"`{place}` lets everybody in", "name `zones` or `identities`, or write `default: allow` in place of it"
        yield from identity_faults(one.identities, f"{place}.identities")
        yield from operation_faults(one.operations, f"{place}.operations")
        yield from condition_faults(one.when, f"{place}.when")
    if spec.entrances and spec.default == "allow" and spec.inside == "allow":
        yield "spec.from", "`spec.from` does nothing where `default` is `allow`", "leave one of them out"
    if spec.egress_to and spec.egress == "allow":
        yield "spec.egressTo", "`spec.egressTo` does nothing where `egress` is `allow`", "write `egress: deny`"


def quarantine_faults(spec: Quarantine) -> Found:
    if spec.scope == Scope() and not spec.tools:
        yield "spec.scope", "this closes everything to everybody", "name `services`, `operations`, `identities` or `tools`"
    if bool(spec.until) == spec.indefinite:
        yield "spec.until", "a quarantine needs either `until` or `indefinite: true`", "write e.g. `until: 2026-12-01T08:00:00Z`"
    if spec.until:
        yield from _end(spec.until, "spec.until")
    if spec.issued_after:
        yield from _end(spec.issued_after, "spec.issuedAfter")
    if spec.maintenance is not None:
        yield from identity_faults(spec.maintenance, "spec.maintenance")
        if spec.maintenance == Identities():
            yield "spec.maintenance", "`spec.maintenance` selects everybody, so nothing is closed", ""
    if spec.rate:
        try:
            parse_rate(spec.rate)
        except ValueError as error:
            yield "spec.rate", str(error), ""
        if spec.maintenance is None:
            yield "spec.rate", "`spec.rate` is for those who may still enter, and nobody may", "name them in `maintenance`"
    yield from _empty(spec.tools, "spec.tools")


def exception_faults(spec: PolicyException) -> Found:
    yield from _end(spec.expires, "spec.expires")
    if not spec.policies and not spec.detections:
        yield "spec.policies", "this excuses nothing", "name `policies` or `detections`"
    yield from _empty(spec.policies, "spec.policies")
    yield from _empty(spec.detections, "spec.detections")
    if not spec.reason.strip():
        yield "spec.reason", "`spec.reason` is empty", "say why, in one sentence"
    if not spec.owner.strip() or len(spec.owner) > 100 or not spec.owner.isprintable():
        yield "spec.owner", "`spec.owner` must be one line of at most 100 characters", "write who answers for it"


def tool_faults(spec: ToolPolicy) -> Found:
    yield from _empty(spec.servers, "spec.servers")
    yield from _empty(spec.tools, "spec.tools")
    yield from identity_faults(spec.callers, "spec.callers")
    yield from condition_faults(spec.arguments, "spec.arguments", tools=True)
    for tool, digest in spec.pinned.items():
        if not _DIGEST.fullmatch(digest):
            yield f"spec.pinned.{tool}", f"{shown(digest)} is not a digest", "write `sha256:` and 64 hexadecimal digits"
    if spec.taint is not None:
        yield from _taint_faults(spec.taint)
    yield from _empty(spec.show, "spec.show")
    if spec.show and spec.approval != "operator" and (spec.taint is None or spec.taint.then != "operator"):
        yield "spec.show", "`spec.show` is for whoever approves calls, and nobody is asked", "write `approval: operator`"
    if spec.unlisted == "deny" and not spec.servers:
        yield "spec.unlisted", "`unlisted: deny` needs `servers`", "name the servers whose tools are listed"
    rules = spec.callers != Identities() or spec.arguments or spec.approval != "none" or spec.pinned or spec.unlisted == "deny"
    if not rules and not spec.tools and spec.taint is None:
        yield "spec", "this restricts nothing", "name `callers`, `arguments`, `approval`, `pinned`, `taint` or `unlisted: deny`"


def _taint_faults(taint: Taint) -> Found:
    if not 1 <= len(taint.sources) <= MAX_SOURCES:
        yield "spec.taint.sources", f"`spec.taint.sources` must have 1 to {MAX_SOURCES} entries, not {len(taint.sources)}", ""
    for i, source in enumerate(taint.sources):
        place = f"spec.taint.sources[{i}]"
        if source == TaintSource():
            yield place, f"`{place}` is any answer of any service", "name `data`, `tools`, `services` or `exposure`"
        for name in ("tools", "services"):
            yield from _empty(getattr(source, name), f"{place}.{name}")
    try:
        parse_within(taint.within)
    except ValueError as error:
        yield "spec.taint.within", str(error), ""


def _end(text: str, place: str) -> Found:
    try:
        parse_end(text)
    except ValueError as error:
        yield place, str(error), ""


def _empty(texts: tuple[str, ...], place: str) -> Found:
    for i, text in enumerate(texts):
        if not text:
            yield f"{place}[{i}]", f"an empty text in `{place}` selects nothing", ""
