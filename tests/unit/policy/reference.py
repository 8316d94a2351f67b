"""The slow, obvious twin of `compile` and `evaluate`: scans all policies for every call, knows no inventory, caches nothing.

It gives (action, would, effects as text) and is written from docs/policy.md, not from the code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from eastwall.model.call import Mode
from eastwall.model.facts import Facts
from eastwall.model.finding import CONFIDENCES, SEVERITIES, Detection, Finding
from eastwall.model.identity import Identity, Strength
from eastwall.policy.conditions import Condition, ConditionError, request_operation
from eastwall.policy.kinds import AccessPolicy, DataPolicy, DetectionPolicy, Identities, LimitPolicy, Policy, PolicySet, Service
from eastwall.policy.limits import LimitTable, parse_rate
from eastwall.policy.patterns import readings

MODES = {"discover": Mode.DISCOVER, "monitor": Mode.MONITOR, "enforce": Mode.ENFORCE}
Stops = list[tuple[frozenset[str], str, str]]
"""(for which of the two outcomes: `now`, `then`; action; effect), in order of evaluation."""
LEVEL = {"none": Strength.NONE, "guessed": Strength.GUESSED, "asserted": Strength.ASSERTED, "verified": Strength.VERIFIED}


def views_of(mode: Mode) -> frozenset[str]:
    """An enforced policy counts for what is done and for what would be; a monitored one for the latter."""
    return frozenset(["now", "then"] if mode is Mode.ENFORCE else ["then"])


def glob(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def selected(who: Identities, identity: Identity, loosens: bool) -> bool:
    if who == Identities():
        return True
    least = LEVEL[who.strength or ("asserted" if loosens else "none")]

    def proved(kind: str, strength: Strength) -> bool:
        return strength >= least or (kind == "address" and who.strength is None)

    if who.actors and not any(glob(a, identity.actor) for a in who.actors):
        if not any(glob(a, f"{p.kind}:{p.name}") and proved(p.kind, p.strength) for p in identity.chain for a in who.actors):
            return False
    elif not proved(identity.kind, identity.strength):
        return False
    return all(
        (
            not who.classes or any(glob(c, identity.cls) for c in who.classes),
            not who.kinds or identity.kind in who.kinds,
            not who.roles or set(who.roles) & set(identity.roles),
            not who.scopes or set(who.scopes) & set(identity.scopes),
            not who.tenants or any(glob(t, identity.tenant) for t in who.tenants),
        )
    )


def path_fits(pattern: str, method: str, segments: Sequence[str], fold: bool) -> dict[str, str] | None:
    """Path parameters if the pattern covers the segments, else None."""
    wanted, _, path = pattern.partition(" ")
    if wanted not in ("*", method) and not (wanted == "GET" and method == "HEAD"):
        return None
    parts = [part for part in path.split("/") if part]
    rest = bool(parts) and parts[-1] == "**"
    parts = parts[:-1] if rest else parts
    if len(segments) < len(parts) or (len(segments) > len(parts) and not rest):
        return None
    params: dict[str, str] = {}
    for part, segment in zip(parts, segments, strict=False):
        form = re.sub(r"\\\{(\w+)\\\}", lambda m: f"(?P<{m[1]}>.+)", re.escape(part)).replace(r"\*", ".+")
        found = re.fullmatch(form, segment, re.DOTALL | (re.IGNORECASE if fold else 0))
        if found is None:
            return None
        params |= found.groupdict()
    return params


class Twin:
    def __init__(self, policies: PolicySet, mode: Mode, detections: Sequence[Detection], exposure: str = "") -> None:
        self.policies, self.mode, self.exposure = policies.policies, mode, exposure
        self.defaults = {d.id: d.default_action for d in detections}

    def evaluate(self, facts: Facts, findings: Sequence[Finding], limits: LimitTable) -> tuple[str, str, str]:
        stops: Stops = []
        if facts.call.response is None:
            self.access(facts, stops)
            if not any("now" in views for views, _, _ in stops):
                self.limits(facts, limits, stops)
        self.detections(facts, findings, stops)
        self.data(facts, stops)
        done = next(((action, effect) for views, action, effect in stops if "now" in views), ("allow", ""))
        return done[0], next((action for views, action, _ in stops if "then" in views), "allow"), done[1]

    def all(self, kind: type, **fields: str) -> list[tuple[Policy, object, Mode]]:
        found = []
        for policy in self.policies:
            spec = policy.spec
            if getattr(spec, "exposure", ()) and not isinstance(spec, Service) and self.exposure not in spec.exposure:  # type: ignore[union-attr]
                continue
            if isinstance(spec, Service) or not isinstance(spec, kind) or any(getattr(spec, k) != v for k, v in fields.items()):
                continue
            mode = min(MODES[spec.mode], self.mode)
            if mode is not Mode.DISCOVER:
                found.append((policy, spec, mode))
        return found

    def covers(self, spec: object, facts: Facts) -> dict[str, str] | None:
        scope = spec.scope  # type: ignore[attr-defined]
        if scope.services and not any(glob(name, facts.call.service) for name in scope.services):
            return None
        if not scope.operations:
            return {}
        asked = request_operation(facts)
        for way in readings(asked.path, asked.segments):
            for pattern in scope.operations:
                params = path_fits(pattern, facts.call.request.method, way, fold=True)
                if params is not None:
                    return params
        return None

    def admits(self, spec: object, facts: Facts) -> bool:
        operations = spec.scope.operations  # type: ignore[attr-defined]
        asked = request_operation(facts)
        return not operations or all(
            any(path_fits(p, facts.call.request.method, way, fold=False) is not None for p in operations)
            for way in readings(asked.path, asked.segments)
        )

    def applies(self, spec: object, mode: Mode, facts: Facts, stops: Stops) -> bool:
        params = self.covers(spec, facts)
        if params is None or not selected(spec.scope.identities, facts.identity, False):  # type: ignore[attr-defined]
            return False
        exempt = getattr(spec, "exempt", None)
        if exempt is not None and selected(exempt, facts.identity, True):
            return False
        clear = getattr(spec, "detokenise", None)
        if clear is not None and spec.direction == "response" and selected(clear, facts.identity, True):  # type: ignore[attr-defined]
            return False
        try:
            return all(Condition(text, reference=True).holds(facts, params) for text in spec.when)  # type: ignore[attr-defined]
        except ConditionError:
            if spec.on_error != "allow":  # type: ignore[attr-defined]
                held = Mode.MONITOR if spec.on_error == "monitor" else mode  # type: ignore[attr-defined]
                stops.append((views_of(min(mode, held)), "block", "503"))
            return False

    def access(self, facts: Facts, stops: Stops) -> None:
        for _, spec, mode in self.all(AccessPolicy, action="deny"):
            if self.applies(spec, mode, facts, stops):
                stops.append((views_of(mode), "block", "403"))
        for view in (Mode.ENFORCE, Mode.MONITOR):
            closed, opened, failed = False, False, False
            for _, spec, mode in self.all(AccessPolicy, action="allow"):
                params = self.covers(spec, facts)
                if mode < view or params is None:
                    continue
                closed = True
                try:
                    opened |= (
                        self.admits(spec, facts)
                        and selected(spec.scope.identities, facts.identity, True)  # type: ignore[attr-defined]
                        and all(Condition(text, reference=True).holds(facts, params) for text in spec.when)  # type: ignore[attr-defined]
                    )
                except ConditionError:
                    lets = spec.on_error == "allow" or (spec.on_error == "monitor" and view is Mode.ENFORCE)  # type: ignore[attr-defined]
                    opened, failed = opened or lets, failed or not lets
            if closed and not opened:
                stops.append((frozenset(["now" if view is Mode.ENFORCE else "then"]), "block", "503" if failed else "403"))

    def limits(self, facts: Facts, table: LimitTable, stops: Stops) -> None:
        for policy, spec, mode in self.all(LimitPolicy):
            assert isinstance(spec, LimitPolicy)
            if not self.applies(spec, mode, facts, stops):
                continue
            count, seconds = parse_rate(spec.rate)
            parts = {
                "identity": facts.identity.actor,
                "source": facts.call.peer.address,
                "tenant": facts.identity.tenant,
                "operation": facts.match.endpoint.id if facts.match.endpoint else f"{facts.call.service} ?",
                "service": facts.call.service,
            }
            key = (policy.name, *(parts[name] for name in sorted(spec.per)))
            burst = spec.burst or max(1, round(count / seconds))
            if not table.take(key, facts.call.time, seconds / count, burst)[0]:
                stops.append((views_of(mode), "limit", "429"))
                if mode is Mode.ENFORCE:
                    return

    def detections(self, facts: Facts, findings: Sequence[Finding], stops: Stops) -> None:
        if not findings:
            return
        speaking = [(p, s, m) for p, s, m in self.all(DetectionPolicy) if self.applies(s, m, facts, stops)]
        for found in findings:
            for view in (Mode.ENFORCE, Mode.MONITOR):
                about = [
                    (policy.name.startswith("builtin/"), spec)
                    for policy, spec, mode in speaking
                    if mode >= view
                    and isinstance(spec, DetectionPolicy)
                    and any(glob(name, found.id) for name in spec.detections)
                    and SEVERITIES.index(found.severity) >= SEVERITIES.index(spec.min_severity)
                    and CONFIDENCES.index(found.confidence) >= CONFIDENCES.index(spec.min_confidence)
                ]
                own = [spec for builtin, spec in about if not builtin] or [spec for _, spec in about]
                if any((self.defaults[found.id] if s.action == "default" else s.action) == "block" for s in own):
                    stops.append((frozenset(["now" if view is Mode.ENFORCE else "then"]), "block", "403"))

    def data(self, facts: Facts, stops: Stops) -> None:
        classes = {hit.data_class for hit in facts.data}
        direction = "request" if facts.call.response is None else "response"
        back: list[tuple[frozenset[str], str]] = []
        for _, spec, mode in self.all(DataPolicy, action="tokenise"):
            assert isinstance(spec, DataPolicy)
            found = self.turned(spec, direction, facts)
            if found:
                back.append((views_of(mode), ",".join(f"{name}:original" for name in sorted(found))))
                classes |= found
        applying = [
            (spec, mode)
            for _, spec, mode in self.all(DataPolicy, direction=direction)
            if isinstance(spec, DataPolicy)
            and not self.opened(spec, facts)
            and (classes & set(spec.classes) or self.formed(spec, facts))
            and self.applies(spec, mode, facts, stops)
        ]
        stops += [(views_of(mode), "block", "403") for spec, mode in applying if spec.action == "block"]
        order = ["truncate", "mask", "format", "tokenise", "hash", "redact", "drop"]
        for view in (Mode.ENFORCE, Mode.MONITOR):
            here = "now" if view is Mode.ENFORCE else "then"
            styles = {
                name: max(
                    (s.action for s, mode in applying if mode >= view and s.action in order and name in s.classes),
                    key=order.index,
                    default="",
                )
                for name in classes
            }
            words = {f"{name}:{style}" for name, style in styles.items() if style}
            words |= {word for views, text in back if here in views for word in text.split(",")}
            words |= {"rows" for s, mode in applying if mode >= view and s.action == "aggregate"}
            words |= {f"cut {s.items}" for s, mode in applying if mode >= view and s.action == "truncate" and s.items is not None}
            if words:
                stops.append((frozenset([here]), "redact", ",".join(sorted(words))))

    def turned(self, spec: DataPolicy, direction: str, facts: Facts) -> set[str]:
        """Classes whose tokens in the body are turned back for this caller."""
        who = spec.detokenise if direction == "response" else spec.tokens_from
        held = set(re.findall("ewt_([a-z-]+)_", facts.operation.raw_body.decode())) & set(spec.classes)
        params = self.covers(spec, facts)
        if who is None or not held or params is None or not self.admits(spec, facts) or not selected(who, facts.identity, True):
            return set()
        try:
            return held if all(Condition(text, reference=True).holds(facts, params) for text in spec.when) else set()
        except ConditionError:
            return set()

    def opened(self, spec: DataPolicy, facts: Facts) -> bool:
        where, _, name = spec.purpose_from.partition(":")
        if where == "header":
            return facts.identity.strength >= Strength.ASSERTED and facts.call.request.headers.get(name) in spec.purposes
        return (
            where == "claim" and facts.identity.strength is Strength.VERIFIED and facts.identity.claims.get(name) in spec.purposes
        )

    def formed(self, spec: DataPolicy, facts: Facts) -> bool:
        """Whether a policy without classes is about this body: in these tests a list of objects, at its top."""
        body = facts.operation.body
        if spec.classes or not isinstance(body, list):
            return False
        return spec.action == "aggregate" or (spec.items is not None and len(body) > spec.items)
