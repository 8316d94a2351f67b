"""Facts -> Facts with how the message deviates from learned behaviour."""

from __future__ import annotations

from msgspec.structs import replace

from eastwall.decision.compile import LiveSnapshot
from eastwall.decision.state import LiveState
from eastwall.model.call import Phase
from eastwall.model.facts import Facts


def compare(facts: Facts, snapshot: LiveSnapshot, state: LiveState) -> Facts:
    """Ask every model of `behaviours`. Facts of ordinary calls are given back as they are."""
    look = state.watches.request if facts.phase is Phase.REQUEST else state.watches.response
    found = look(facts, snapshot.behaviours)
    return replace(facts, deviations=found) if found else facts
