"""Rules of the user's own (policy kind `RulePack`) as one detector beside the built-in ones.

It runs on every message while there are rules: one automaton over what the message holds says "nothing" for nearly all, and only a hit makes
the values be walked with their places. Findings bear the rule's id, `pack-NAME/RULE`, so that policies can speak about each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from eastwall.detections import PHASES, Detector
from eastwall.detections.decoding import readings, unwrapped
from eastwall.detections.places import bearer, chunks, places, request_bytes, response_bytes, response_places
from eastwall.detections.texts import signs
from eastwall.discovery.content_rules import Budget, ContentRules, Hit
from eastwall.discovery.name_globs import GlobTable
from eastwall.model.call import Phase, Request, Response
from eastwall.model.content_rule import ContentRule
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding
from eastwall.model.operation import Operation
from eastwall.model.place import without_indices

DETECTOR = "rule-packs"
"""Id of the one detector that judges all rules; findings bear the rules' own."""
MAX_FINDINGS = 32
"""Findings per message. What is beyond is not told: the call has been judged by then."""
_TOKENS = 1_000
"""Tokens of which it is remembered which rules occur in them."""

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
        self._tokens: dict[str, frozenset[int]] = {}
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
        data = request_bytes(request, operation) + b"\n" + headers
        found = self.compiled.suspected(data)
        if signs(data):
            for layer, whole in unwrapped(data.decode("utf-8", "replace")):
                found |= self.compiled.suspected(layer.encode("utf-8", "replace")) - self._plain_only
                if not whole:  # what a limit cut off is looked at value by value
                    found |= self._of_phase[Phase.REQUEST] - self._plain_only
        token = bearer(request.headers)
        return found | self._in_token(token) if token else found

    def _in_token(self, token: str) -> frozenset[int]:
        """Rules that occur in the claims of a token, which comes again with each call of its bearer."""
        found = self._tokens.get(token)
        if found is None:
            text = "\n".join(text for _, text in readings("claim", token)[0])
            found = self.compiled.suspected(text.encode("utf-8", "replace")) - self._plain_only
            if len(self._tokens) >= _TOKENS:
                self._tokens.clear()
            self._tokens[token] = found
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
        if token := bearer(request.headers):
            yield from readings("claim", token)[0]

    def _judge(self, values: Iterable[tuple[str, str]], wanted: frozenset[int], phase: Phase) -> list[Finding]:
        found: dict[tuple[int, str], Finding] = {}
        budget = Budget()
        deeper = wanted - self._plain_only if phase is Phase.REQUEST else frozenset()
        for place, value in values:
            here = self._meant(wanted, place)
            for text in chunks(value):
                hits = [(place, hit) for hit in self.compiled.hits(text, here, budget)] if here else []
                if deeper and signs(text.encode("utf-8", "replace")):
                    for inside, layer in readings(place, text)[0]:
                        # A rule for a field is also about what is packed into it.
                        meant = deeper & (here if inside == place else here | self._meant(deeper, inside))
                        if meant:
                            hits += [(inside, hit) for hit in self.compiled.hits(layer, meant, budget)]
                for where, hit in hits:
                    if (hit.rule, where) not in found and len(found) < MAX_FINDINGS:
                        found[hit.rule, where] = _finding(self.rules[hit.rule], where, hit, phase)
        return list(found.values())

    def _meant(self, wanted: frozenset[int], place: str) -> frozenset[int]:
        return frozenset(n for n in wanted if not self._wheres[n] or any(one.covers(place) for one in self._wheres[n]))


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
        return self._names is None or self._names.get(without_indices(rest.removeprefix(".")).lower()) is not None


def _finding(rule: ContentRule, place: str, hit: Hit, phase: Phase) -> Finding:
    shown = " ".join("".join(c if c.isprintable() else " " for c in hit.part).split())[-120:]
    doubt = "" if hit.confirmed else "; there was too much to confirm in this message, so its pattern alone says it"
    return Finding(
        id=rule.id,
        severity=rule.severity,
        confidence=rule.confidence if hit.confirmed else "low",
        owasp=rule.owasp,
        where=place,
        message=f"the value of `{place}` is what rule `{rule.id}` looks for: {rule.title}{doubt}",
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
