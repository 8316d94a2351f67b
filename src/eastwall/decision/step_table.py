"""What was done to which object: live, for the order of business flows (OWASP API6:2023)."""

from __future__ import annotations

from eastwall.discovery.shares import Shares

MAX_STEP_OBJECTS = 200_000
MAX_STEPS = 32
"""Operations remembered of one object."""
MAX_RUNNING = 20_000
"""Steps that are being carried out."""
MAX_RUNNING_OF_ONE = 256
"""The same, on objects of one maker."""
MAX_EARLY = 20_000
"""Objects of which a step was seen here and the making, elsewhere, was not heard of yet."""


class _AtLeast(dict[str, int]):
    """Steps of an object to which more may have been done: none is missing."""

    def __contains__(self, key: object) -> bool:
        return True


class StepTable:
    """What was done to objects that were seen being made. At most `limit` objects; when full, whoever made most loses the oldest one. An
    object that is not here is not judged: something may have been done to it that nobody saw."""

    def __init__(self, limit: int = MAX_STEP_OBJECTS) -> None:
        self._done: dict[int, dict[str, int]] = {}
        self._makers: dict[int, int] = {}
        self._shares = Shares()
        self._running: dict[int, dict[tuple[int, str], int]] = {}
        """Number of the object's maker -> (object, endpoint) -> how many at this moment."""
        self._early: dict[int, dict[str, int]] = {}
        self._limit = limit
        self.told: list[tuple[str, int, str]] | None = None
        """(`made`, `done` or `undone`, key, actor or endpoint) since other engines were told; None: nobody is told."""
        self.certain = True
        """Whether all that was done is known here at once."""

    def made(self, key: int, actor: str = "") -> None:
        """The object was made just now, by an actor."""
        self._tell("made", key, actor)

    def done(self, key: int, endpoint: str) -> None:
        """An operation was carried out on it."""
        self._tell("done", key, endpoint)

    def undone(self, key: int, endpoint: str) -> None:
        """An operation that counts as carried out on it has failed after all."""
        self._tell("undone", key, endpoint)

    def _tell(self, what: str, key: int, name: str) -> None:
        self.take(what, key, name)
        if self.told is not None:
            self.told.append((what, key, name))

    def take(self, what: str, key: int, name: str) -> None:
        """`made`, `done` or `undone`, told to nobody."""
        if what == "made":
            self._make(key, name)
            return
        steps = self._done.get(key)
        if steps is None:
            if self.told is None or what != "done":
                return
            # Another engine saw it being made, and will say so.
            if len(self._early) >= MAX_EARLY:
                del self._early[next(iter(self._early))]
            steps = self._early.setdefault(key, {})
        if what == "done":
            if name in steps or len(steps) < MAX_STEPS:
                steps[name] = steps.get(name, 0) + 1
        elif name in steps:
            steps[name] -= 1
            if not steps[name]:
                del steps[name]

    def _make(self, key: int, actor: str) -> None:
        if key in self._done:
            return
        shares = self._shares
        while shares.full(actor):
            self._drop(shares.oldest(shares.smallest(), self._makers.get))
        if len(self._done) >= self._limit:
            self._drop(shares.oldest(shares.largest(), self._makers.get))
        number = shares.number(actor)
        shares.charge(number, key)
        self._makers[key] = number
        self._done[key] = self._early.pop(key, {})

    def _drop(self, key: int) -> None:
        del self._done[key]
        number = self._makers.pop(key)
        running = self._running.get(number)
        if running is not None:
            for one in [one for one in running if one[0] == key]:
                del running[one]
            if not running:
                del self._running[number]
        self._shares.discharge(number)

    def begun(self, key: int, endpoint: str) -> None:
        """An operation on it is on its way to the service."""
        maker = self._makers.get(key)
        if maker is None:
            return
        running = self._running.get(maker)
        if running is None:
            if len(self._running) * MAX_RUNNING_OF_ONE >= MAX_RUNNING and sum(map(len, self._running.values())) >= MAX_RUNNING:
                del self._running[next(iter(self._running))]
            running = self._running[maker] = {}
        elif len(running) >= MAX_RUNNING_OF_ONE:
            del running[next(iter(running))]
        running[key, endpoint] = running.get((key, endpoint), 0) + 1

    def ended(self, key: int, endpoint: str) -> None:
        """It is not any more: it was answered, or never will be."""
        maker = self._makers.get(key)
        running = self._running.get(maker) if maker is not None else None
        if maker is None or running is None:
            return
        left = running.pop((key, endpoint), 0) - 1
        if left > 0:
            running[key, endpoint] = left
        elif not running:
            del self._running[maker]

    def running(self, key: int, endpoint: str) -> int:
        """How many times at this moment: of two calls at once (CWE-362) neither sees the other done."""
        maker = self._makers.get(key)
        running = self._running.get(maker) if maker is not None else None
        return running.get((key, endpoint), 0) if running is not None else 0

    def forget(self) -> None:
        """Something that was done elsewhere was not heard of: no object is known from its beginning any more."""
        self._done.clear()
        self._makers.clear()
        self._running.clear()
        self._early.clear()
        self._shares = Shares()

    def of(self, key: int) -> dict[str, int] | None:
        """Endpoint id -> how often; None for an object that is not known from its beginning."""
        steps = self._done.get(key)
        return steps if steps is None or self.certain else _AtLeast(steps)

    def __len__(self) -> int:
        return len(self._done)
