"""The operations that are known, by what patterns ask of them: of thousands only a few are looked at for each policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from eastwall.model.endpoint import Endpoint
from eastwall.policy.patterns import OperationPattern, compile_globs, may_match, method_matches, template_segments


class KnownOperations:
    """The known endpoints of some services."""

    __slots__ = ("_at", "_templates", "endpoints")

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.endpoints = list(endpoints)
        self._templates = [template_segments(one.template.lower()) for one in self.endpoints]
        self._at: dict[tuple[int, str | None], list[int]] = {}
        """(place, text there, None for a parameter) -> numbers of endpoints."""
        for number, template in enumerate(self._templates):
            for place, text in enumerate(template):
                self._at.setdefault((place, text), []).append(number)

    def matching(self, pattern: OperationPattern) -> list[Endpoint]:
        """Those of which some call may be in the pattern, in their order."""
        # The last text tells most: paths begin alike (`/api/v1/...`).
        for place in range(len(pattern.folded) - 1, -1, -1):
            want = pattern.folded[place]
            if isinstance(want, str):
                numbers: Iterable[int] = sorted({*self._at.get((place, want), ()), *self._at.get((place, None), ())})
                break
        else:
            numbers = range(len(self.endpoints))
        return [
            self.endpoints[number]
            for number in numbers
            if method_matches(pattern.method, self.endpoints[number].method)
            and may_match(pattern.folded, pattern.open, self._templates[number])
        ]


class KnownByService:
    """The known endpoints by the services of a scope: many policies have the same."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints
        self._of: dict[object, KnownOperations] = {}

    def of(self, services: tuple[str, ...]) -> KnownOperations:
        """Endpoints of the services (globs; empty: all)."""
        return self.where(services, compile_globs(services))

    def where(self, key: object, test: Callable[[str], bool] | None) -> KnownOperations:
        """Endpoints of the services that a test (None: all) is true for; `key` stands for the test."""
        found = self._of.get(key)
        if found is None:
            mine = [endpoint for endpoint in self._endpoints if test is None or test(endpoint.service)]
            found = self._of[key] = KnownOperations(mine)
        return found
