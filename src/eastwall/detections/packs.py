"""Rules of the user's own (policy kind `RulePack`) as one detector beside the built-in ones.

It runs on every message while there are rules: one automaton over what the message holds says "nothing" for nearly all, and only a hit makes
the values be walked with their places. Findings bear the rule's id, `pack-NAME/RULE`, so that policies can speak about each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from eastwall.detections import PHASES, Detector
from eastwall.detections.decoding import layers, unwrapped
from eastwall.detections.places import (
    chunks,
    joined,
    places,
    raw_request,
    response_bytes,
    response_places,
)
from eastwall.discovery.content_rules import ContentRules
from eastwall.discovery.name_globs import GlobTable
from eastwall.model.call import Phase, Request, Response
from eastwall.model.content_rule import ContentRule
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding
from eastwall.model.operation import Operation

DETECTOR = "rule-packs"
"""Id of the one detector that judges all rules; findings bear the rules' own."""
MAX_FINDINGS = 32
"""Findings per message. What is beyond is not told: the call has been judged by then."""
_INDEX = re.compile(r"\[[0-9]+\]")
_ENCODED = re.compile(r"%[0-9a-fA-F]{2}|%u[0-9a-fA-F]{4}|\\[ux]|&#|&[a-z]{2,6};|[A-Za-z0-9+/_-]{12}|[^\x00-\x7f]")
"""What may be a further encoding; broad, since the layers themselves are exact."""

InScope = Callable[[Facts], bool]


class Packs:
    """The rules of one snapshot, ready for calls."""

    def __init__(
        self, rules: Sequence[ContentRule], saved: bytes = b"", scope: Callable[[ContentRule], InScope | None] = lambda _: None
    ) -> None:
        """`saved`: see `ContentRules`. `scope` gives a rule's test of which calls it is about; None: all. Raises ValueError."""
        self.compiled = ContentRules(rules, saved)
        self.rules = self.compiled.rules
        self._scopes = tuple(scope(rule) for rule in self.rules)
        self._wheres = tuple(tuple(_Place(where) for where in rule.where) for rule in self.rules)
        self._of_phase = {
            phase: frozenset(n for n, rule in enumerate(self.rules) if phase.name.lower() in rule.phases) for phase in Phase
        }
        self._plain_only = frozenset(number for number, rule in enumerate(self.rules) if not rule.decoded)
        asked = [place for number in self._of_phase[Phase.REQUEST] for place in self._wheres[number]]
        # Headers that nobody executes are not looked at, but a rule that names one means it.
        self._named_headers = tuple(place for place in asked if place.kind == "header" and place.named)

    def detector(self) -> Detector:
        """For `Detectors`."""
        return Detector(meta=_META, detect=self.detect)

    def details(self) -> tuple[Detection, ...]:
        """What policies must know of each rule."""
        return tuple(detection(rule) for rule in self.rules)

    def detect(self, facts: Facts) -> Sequence[Finding]:
        """One finding per rule and place."""
        wanted = self._of_phase[facts.phase]
        if not wanted:
            return ()
        response = facts.call.response
        if facts.phase is Phase.REQUEST or response is None:
            hit = self._in_request(facts.call.request, facts.operation) & wanted
            values = self._request_places(facts.call.request, facts.operation)
        else:
            hit = self._in_response(response, facts.operation) & wanted
            values = response_places(response, facts.operation)
        hit = frozenset(number for number in hit if (test := self._scopes[number]) is None or test(facts))
        return self._judge(values, hit, facts.phase) if hit else ()

    def _in_request(self, request: Request, operation: Operation) -> frozenset[int]:
        headers = "\n".join(request.headers.values()).encode("utf-8", "replace")
        raw = raw_request(request, operation)
        if raw is not None:
            found = self.compiled.suspected(raw + b"\n" + headers)
            if found or not _ENCODED.search(request.path + (raw + headers).decode("utf-8", "replace")):
                return found
        text = joined(request, operation)
        found = self.compiled.suspected(text.encode("utf-8", "replace") + b"\n" + headers)
        for layer in unwrapped(text):
            found |= self.compiled.suspected(layer.encode("utf-8", "replace")) - self._plain_only
        return found

    def _in_response(self, response: Response, operation: Operation) -> frozenset[int]:
        headers = "\n".join(response.headers.values()).encode("utf-8", "replace")
        return self.compiled.suspected(headers + b"\n" + response_bytes(operation))

    def _request_places(self, request: Request, operation: Operation) -> Iterator[tuple[str, str]]:
        seen = set()
        for place, text in places(request, operation):
            seen.add(place)
            yield place, text
        for name, text in request.headers.items():
            place = f"header.{name}"
            if place not in seen and any(one.covers(place) for one in self._named_headers):
                yield place, text

    def _judge(self, values: Iterable[tuple[str, str]], wanted: frozenset[int], phase: Phase) -> list[Finding]:
        found: dict[tuple[int, str], Finding] = {}
        deeper = wanted - self._plain_only if phase is Phase.REQUEST else frozenset()
        for place, value in values:
            here = frozenset(n for n in wanted if not self._wheres[n] or any(one.covers(place) for one in self._wheres[n]))
            if not here:
                continue
            for text in chunks(value):
                hits = self.compiled.hits(text, here)
                if here & deeper and _ENCODED.search(text):
                    for layer in layers(text):
                        hits += self.compiled.hits(layer, here & deeper)
                for hit in hits:
                    key = (hit.rule, place)
                    if key not in found and len(found) < MAX_FINDINGS:
                        found[key] = _finding(self.rules[hit.rule], place, hit.part, phase)
        return list(found.values())


class _Place:
    """One entry of a rule's `where`."""

    __slots__ = ("_names", "kind")

    def __init__(self, where: str) -> None:
        self.kind, _, name = where.partition(":")
        self._names = GlobTable([(name.lower(), True)]) if name else None

    @property
    def named(self) -> bool:
        return self._names is not None

    def covers(self, place: str) -> bool:
        """Whether the value of a place is meant. Names are compared without regard to case, `[]` stands for every index."""
        if not place.startswith(self.kind):
            return False
        rest = place[len(self.kind) :]
        if rest[:1] not in ("", ".", "["):
            return False
        return self._names is None or self._names.get(_INDEX.sub("[]", rest.removeprefix(".")).lower()) is not None


def _finding(rule: ContentRule, place: str, part: str, phase: Phase) -> Finding:
    shown = " ".join("".join(c if c.isprintable() else " " for c in part).split())[-120:]
    return Finding(
        id=rule.id,
        severity=rule.severity,
        confidence=rule.confidence,
        owasp=rule.owasp,
        where=place,
        message=f"the value of `{place}` is what rule `{rule.id}` looks for: {rule.title}",
        evidence=shown,
        phase=phase.name.lower(),
    )


def detection(rule: ContentRule) -> Detection:
    """A rule as metadata of a detection."""
    return Detection(
        id=rule.id,
        title=rule.title,
        severity=rule.severity,
        confidence=rule.confidence,
        audience="both",
        phases=rule.phases,
        owasp=rule.owasp,
        cwe=rule.cwe,
        attack=rule.attack,
        stage="exploitation",
        on_error="monitor",
        default_action=rule.action,
    )


_META = Detection(
    id=DETECTOR,
    title="Rules of your own",
    severity="medium",
    confidence="medium",
    audience="both",
    phases=PHASES,
    owasp=(),
    cwe=(),
    attack=(),
    stage="exploitation",
    on_error="monitor",
)
