"""What the content detections cost on clean JSON: the request's part of the work, step by step, beside libmodsecurity + CRS PL1 on the
same request."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace
from rich.table import Table

from bench.content_judge import SERVICE, Judge, asked
from bench.decide_cost import HEADERS, SIZES, bodies, decide_times
from bench.modsecurity import ModSecurity
from eastwall.decision.decide import decide
from eastwall.decision.state import LiveState
from eastwall.detections import detect
from eastwall.model.call import BodyState, Call, Peer, Phase, Request, Response
from eastwall.model.endpoint import Match
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity, Strength
from eastwall.protocols.decode import decode_request, decode_response

TARGETS = {"0.5": 25, "4": 80, "64": 1_000}
"""KB of JSON -> us, p50."""


def measure(judge: Judge, peer: ModSecurity | None) -> dict[str, Any]:
    """Medians in us. `content`: decoding, the prefilter and all detections on the request; `response`: the same on an answer of about
    twice the size (at most 64 KB); `decide`: the whole of both, with identity, data classes and policies, as `bench.decide_cost` has it."""
    figures: dict[str, Any] = {}
    for name, size in SIZES.items():
        body, answer = bodies(size)
        headers = {"host": SERVICE, **HEADERS, "content-length": str(len(body))}
        request = Request("POST", "/orders", headers, SERVICE, "http", body, BodyState.COMPLETE)
        response = Response(200, {"content-type": "application/json"}, answer, BodyState.COMPLETE)
        figures[f"decide_us_{name}"] = statistics.median(decide_times(size, 500 if size < 10_000 else 60)) * 1e6
        rounds = 2_000 if size < 10_000 else 300
        for step, work in steps(judge, request, response).items():
            figures[f"{step}_us_{name}"] = median(work, rounds)
        if peer is not None:
            message = asked(request)
            # A verdict is asked for, as of ours; nothing of the answer is given to it.
            figures[f"peer_us_{name}"] = median(lambda message=message: peer.refuses(*message), 40 if size < 10_000 else 7)  # type: ignore[misc]
            figures[f"times_cheaper_{name}"] = figures[f"peer_us_{name}"] / figures[f"content_us_{name}"]
    return figures


def steps(judge: Judge, request: Request, response: Response) -> dict[str, Callable[[], object]]:
    live = judge.live
    operation = decode_request(request, live.limits)
    answered = decode_response(response, request, live.limits, operation, None)
    call = Call("0" * 26, SERVICE, 1_800_000_000.0, Peer(address="127.0.0.1"), request)
    nobody = Identity(actor="address:127.0.0.1", kind="address", strength=Strength.NONE, cls="anonymous")
    scan_response = getattr(live.prefilter, "scan_response", None)

    def content() -> None:
        asked_for = decode_request(request, live.limits)
        suspects = live.prefilter.scan(request, asked_for)
        found, errors = detect(Facts(call, Phase.REQUEST, asked_for, Match(None), nobody, suspects), live.detectors)
        if found or errors:
            raise SystemExit(f"the bench's own request is not judged clean: {found} {errors}")

    def content_response() -> None:
        came = decode_response(response, request, live.limits, operation, None)
        suspects = scan_response(response, came) if scan_response is not None else ()
        later = replace(call, response=response, prior=prior)
        detect(Facts(later, Phase.RESPONSE, came, Match(None), nobody, suspects), live.detectors)

    prior = decide(call, live, LiveState())
    made: dict[str, Callable[[], object]] = {
        "decode": lambda: decode_request(request, live.limits),
        "prefilter": lambda: live.prefilter.scan(request, operation),
        "content": content,
        "response": content_response,
    }
    if scan_response is not None:
        made["prefilter_response"] = lambda: scan_response(response, answered)
    return made


def median(work: Callable[[], object], rounds: int) -> float:
    """us, after a warm-up of a fifth."""
    spent = []
    for _ in range(rounds + rounds // 5):
        begin = time.perf_counter()
        work()
        spent.append(time.perf_counter() - begin)
    return statistics.median(spent[rounds // 5 :]) * 1e6


def table(figures: dict[str, Any]) -> Table:
    shown = Table(
        "clean JSON, p50 us",
        "decoding",
        "prefilter",
        "content, request",
        "response",
        "decide, both",
        "CRS PL1, request",
        "times",
        box=None,
    )
    for name in SIZES:
        row = [figures[f"{step}_us_{name}"] for step in ("decode", "prefilter", "content", "response", "decide")]
        peer, times = figures.get(f"peer_us_{name}"), figures.get(f"times_cheaper_{name}")
        shown.add_row(
            f"{name} KB", *(f"{us:,.1f}" for us in row), f"{peer:,.0f}" if peer else "-", f"{times:,.0f}" if times else "-"
        )
    return shown
