"""What a data-plane server calls for every call. Implemented by `runtime.engine.Engine`."""

from __future__ import annotations

from typing import Protocol

from eastwall.model.call import Call, Completion, Response
from eastwall.model.decision import Answer, Piece, Release


class Inspector(Protocol):
    """Synchronous, never blocks, never raises (an internal error follows the scope's fail mode and is counted).

    One thread calls it. The order per call is request, then response if the answer wanted it, then completed.
    """

    def request(self, call: Call) -> Answer:
        """Judge a request."""
        ...

    def response(self, call_id: str, response: Response) -> Answer:
        """Judge the response of a call whose request was judged here. An unknown id passes and is counted."""
        ...

    def piece(self, piece: Piece) -> Release:
        """Judge the events of a stream that end in this piece. Of one message, pieces come in order, after its headers."""
        ...

    def completed(self, completion: Completion) -> None:
        """The call is over; writes its record."""
        ...

    def tick(self, now: float) -> None:
        """Called at least every 50 ms and after each batch of messages: flush records, look for a new snapshot."""
        ...
