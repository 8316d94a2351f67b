"""What the detections of responses find and leave: errors of frameworks and databases (tests/corpus/error_responses.yaml), the detections' own cases, and
benign answers of well-known APIs (tests/corpus/benign_responses.yaml), each through the decoder and the prefilter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from eastwall import detections
from eastwall.detections.prefilter import Prefilter
from eastwall.model.call import BodyState, Call, Peer, Phase, Request, Response
from eastwall.model.endpoint import Match
from eastwall.model.facts import Facts
from eastwall.model.finding import Finding
from eastwall.model.identity import Identity, Strength
from eastwall.protocols.decode import Limits, decode_response

CORPUS = Path(__file__).parents[1] / "tests" / "corpus"


class Judge:
    """All detections that look at responses."""

    def __init__(self) -> None:
        self.detectors = detections.Detectors(one for one in detections.load() if "response" in one.meta.phases)
        self.prefilter = Prefilter(self.detectors)
        self.limits = Limits()
        self.nobody = Identity(actor="address:127.0.0.1", kind="address", strength=Strength.NONE, cls="anonymous")

    def findings(self, request: Request, response: Response) -> tuple[Finding, ...]:
        operation = decode_response(response, request, self.limits)
        facts = Facts(
            call=Call("0" * 26, "shop", 1.7e9, Peer("127.0.0.1"), request, response),
            phase=Phase.RESPONSE,
            operation=operation,
            match=Match(endpoint=None),
            identity=self.nobody,
            suspects=self.prefilter.scan_response(response, operation),
        )
        found, errors = detections.detect(facts, self.detectors)
        assert not errors
        return found


def _message(call: dict[str, Any], given: dict[str, Any]) -> tuple[Request, Response]:
    body = given.get("body", "").encode()
    asked = Request(call.get("method", "GET"), call.get("url", "/"), call.get("headers") or {}, authority="shop.example")
    state = BodyState.COMPLETE if body else BodyState.NONE
    return asked, Response(given.get("status", 200), given["headers"], body, state)


def figures() -> dict[str, Any]:
    """`errors` and `errors_found`; `benign`, `benign_quiet` (nothing at all), `benign_unsure` (low confidence only), and `wrong`: names."""
    judge = Judge()
    errors = yaml.safe_load((CORPUS / "error_responses.yaml").read_text("utf-8"))
    missed = []
    for entry in errors:
        found = judge.findings(
            *_message({}, {"status": entry["status"], "headers": {"content-type": entry["type"]}, "body": entry["body"]})
        )
        if not {finding.id for finding in found} >= set(entry["finds"]):
            missed.append(f"missed {entry['name']}")
    benign = yaml.safe_load((CORPUS / "benign_responses.yaml").read_text("utf-8"))
    quiet = unsure = 0
    wrong = []
    for entry in benign:
        found = judge.findings(*_message(entry.get("call", {}), entry["response"]))
        sure = [finding.id for finding in found if finding.confidence != "low"]
        quiet += not found
        unsure += bool(found) and not sure
        wrong += [f"{entry['name']}: {name}" for name in sure]
    return {
        "errors": len(errors),
        "errors_found": len(errors) - len(missed),
        "benign": len(benign),
        "benign_quiet": quiet,
        "benign_unsure": unsure,
        "wrong": missed + wrong,
    }


def main() -> int:
    """Print the figures; 1 when anything was judged wrongly."""
    found = figures()
    table = Table(title="Responses")
    for column in ("set", "answers", "as it should be", "low confidence only"):
        table.add_column(column)
    table.add_row("errors, debug pages", str(found["errors"]), str(found["errors_found"]), "")
    table.add_row("benign", str(found["benign"]), str(found["benign_quiet"]), str(found["benign_unsure"]))
    console = Console()
    console.print(table)
    console.print("judged wrongly:", found["wrong"] or "nothing")
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
