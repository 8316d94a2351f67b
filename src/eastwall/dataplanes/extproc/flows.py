"""Streams that are held piece by piece: what Envoy gave up of one direction and the inspector has not let go.

Envoy (body mode STREAMED) waits for the answer to each piece and passes on what the answer holds. What is held back is answered by
nothing and goes with a later piece; at the end of the message all of it must have gone.
"""

from __future__ import annotations

from eastwall.dataplanes.extproc.messages import CONTINUE, continue_with
from eastwall.model.call import BodyState, Phase
from eastwall.model.decision import Piece, Release


class Copy:
    """The beginning of a streamed message, copied as it passes."""

    __slots__ = ("_limit", "parts", "seen", "size", "state")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.parts: list[bytes] = []
        self.size = 0
        """Bytes kept."""
        self.seen = 0
        """Bytes that passed."""
        self.state = BodyState.NONE

    def take(self, piece: bytes, end: bool) -> None:
        self.seen += len(piece)
        room = self._limit - self.size
        if piece and room > 0:
            self.parts.append(piece[:room])
            self.size += len(self.parts[-1])
        self.state = BodyState.COMPLETE if end and self.seen == self.size else BodyState.TRUNCATED


class Flow:
    """One direction of a stream."""

    __slots__ = ("_call_id", "_held", "_piece", "_watched", "open", "phase")

    def __init__(self, call_id: str, phase: Phase, *, watched: bool) -> None:
        """`watched`: pieces have passed when they come here; nothing is held."""
        self._call_id = call_id
        self._watched = watched
        self._held = b""
        self._piece = b""
        self.phase = phase
        self.open = True
        """False: nobody is asked any more, and pieces pass."""

    def take(self, data: bytes, *, end: bool) -> Piece | None:
        """What to ask about this piece."""
        self._piece = data
        if not self.open:
            return None
        if not self._watched:
            self._held += data
        return Piece(self._call_id, self.phase, data, end, self._watched)

    def release(self, kind: str, release: Release) -> bytes:
        """The reply that lets go what is let go. Raises ValueError when it makes no sense."""
        if release.consumed > len(self._held):
            raise ValueError(f"{release.consumed} bytes are let go of {len(self._held)}")
        out = self._held[: release.consumed] if release.body is None else release.body
        self._held = self._held[release.consumed :]
        return self.passed(kind, out)

    def give_up(self, kind: str) -> bytes:
        """The reply that lets everything go, and all that will come."""
        self.open = False
        out, self._held = self._held, b""
        return self.passed(kind, out)

    def passed(self, kind: str, out: bytes) -> bytes:
        """The reply with which `out` goes on in the place of the piece."""
        if out == self._piece:
            return CONTINUE[kind]
        reply = continue_with(kind)
        mutation = getattr(reply, kind).response.body_mutation
        if out:
            mutation.body = out
        else:
            mutation.clear_body = True
        serialized: bytes = reply.SerializeToString()
        return serialized
