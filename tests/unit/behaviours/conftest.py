"""Whatever a watch finds in any test here, its gate (`Watch.asks`) must have let the call through: `Watches` would have spared it."""

from __future__ import annotations

from typing import Any

import pytest

from eastwall.behaviours import BEHAVIOURS, STRANGE, Watch, out_of_the_ordinary
from eastwall.model.call import Phase
from eastwall.model.facts import Facts


@pytest.fixture(autouse=True)
def gates(monkeypatch: pytest.MonkeyPatch) -> None:
    for behaviour in BEHAVIOURS:
        for phase, method in ((Phase.REQUEST, "request"), (Phase.RESPONSE, "response")):
            look = getattr(behaviour.watch, method)
            if look is not getattr(Watch, method):
                monkeypatch.setattr(behaviour.watch, method, _guarded(look, phase))


def _guarded(look: Any, phase: Phase) -> Any:
    def guarded(self: Any, facts: Facts, known: Any) -> Any:
        endpoint = facts.match.endpoint
        if endpoint is None:
            return look(self, facts, known)
        when = self.asks(phase, endpoint, known)
        asked = out_of_the_ordinary(facts) if when is STRANGE and phase is Phase.REQUEST else bool(when)
        found = look(self, facts, known)
        assert asked or not found, (
            f"{self.name}: {phase.name} of {endpoint.id} is not asked about ({when!r}), and would say {found}"
        )
        return found

    return guarded
