"""The rules of one service by the texts in their operations' paths: of thousands only a few are looked at when an operation is first called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eastwall.policy.rules import CompiledRule


class RuleIndex:
    """In the order of the policies."""

    __slots__ = ("_anywhere", "_at", "_by_text", "patterned", "rules")

    def __init__(self, rules: Iterable[CompiledRule]) -> None:
        self.rules = tuple(rules)
        self.patterned = any(rule.patterns for rule in self.rules)
        """Some rule looks at paths."""
        self._anywhere: list[int] = []
        self._by_text: dict[tuple[int, str], list[int]] = {}
        self._at: dict[int, list[int]] = {}
        for number, rule in enumerate(self.rules):
            if not rule.patterns:
                self._anywhere.append(number)
            for pattern in rule.patterns:
                # The last text tells most: paths begin alike (`/api/v1/...`).
                place = max((at for at, want in enumerate(pattern.folded) if isinstance(want, str)), default=-1)
                want = pattern.folded[place] if place >= 0 else None
                if isinstance(want, str):
                    self._by_text.setdefault((place, want), []).append(number)
                    self._at.setdefault(place, []).append(number)
                else:
                    self._anywhere.append(number)

    def for_template(self, template: Sequence[str | None]) -> list[CompiledRule]:
        """All that may be about some path of a template (`template_segments`, in lower case); perhaps others too."""
        found = set(self._anywhere)
        for place, text in enumerate(template):
            found.update(self._at.get(place, ()) if text is None else self._by_text.get((place, text), ()))
        return [self.rules[number] for number in sorted(found)]
