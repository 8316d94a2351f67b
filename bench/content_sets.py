"""The sets that come with the project: held-out attacks, harmless answers, secrets in answers, values of data classes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from msgspec.structs import asdict

from bench import content_responses, content_secrets, data_classes, report
from bench.content_corpora import request
from bench.content_judge import Judge, Score, refused
from bench.content_places import FORM, JSON, PLACES, XML
from bench.modsecurity import ModSecurity
from eastwall.model.call import BodyState, Request, Response

CORPUS = Path(__file__).resolve().parent.parent / "tests" / "corpus"
RAW_QUERY = ("crlf_injection",)
"""Sets whose lines are percent-encoded already."""
BODIES = ("prototype_pollution", "unsafe_deserialization")
"""Sets in which a line of JSON is a whole body."""


def held_out(name: str, *, benign: bool = False) -> Iterator[tuple[str, Request]]:
    """(line, call) of a set of attacks written before the detection was improved, or of the harmless ones behind its `---benign`. A line
    `json:` is a JSON string, `query:`, `form:` and `body:` are a whole query, form or JSON body; others are values, put where this kind of
    attack is sent."""
    text = (CORPUS / "held_out" / f"{name}.txt").read_text("utf-8")
    lines = text.partition("\n---benign\n")[2 if benign else 0].split("\n")
    for number, line in enumerate(lines):
        if not line.strip() or (number == 0 and not benign and line.startswith("# ")):
            continue
        kind, colon, rest = line.partition(":")
        if colon and kind == "query":
            yield line, request("GET", "/items?" + quote(rest, safe="=&%+*()[]$.,;:@!'/?"))
        elif colon and kind == "form":
            yield line, request("POST", "/items", FORM, rest.encode())
        elif colon and kind == "body":
            yield line, request("POST", "/items", JSON, rest.encode())
        elif name in RAW_QUERY:
            yield line, request("GET", "/items?note=" + quote(line, safe="=&%+*()[]$.,;:@!'/?"))
        elif name == "xml_external_entity" and (not benign or line.startswith("<")):
            yield line, request("POST", "/items", XML, line.encode())
        elif name in BODIES and line.startswith(("{", "[")):
            yield line, request("POST", "/items", JSON, line.encode())
        else:
            value = json.loads(rest) if kind == "json" else line
            message = PLACES["JSON value"](value)
            assert message is not None
            yield line, message


def names() -> list[str]:
    """Sets of held-out attacks."""
    return sorted(path.stem for path in (CORPUS / "held_out").glob("*.txt"))


def score_held_out(judge: Judge, peers: dict[str, ModSecurity]) -> dict[str, Any]:
    """Each set, all of them, and the harmless ones of all."""
    groups = {name: [message for _, message in held_out(name)] for name in names()}
    everything = [message for messages in groups.values() for message in messages]
    harmless = [message for name in names() for _, message in held_out(name, benign=True)]
    figures: dict[str, Any] = {}
    for name, messages in {"all": everything, **groups, "harmless ones": harmless}.items():
        score = Score()
        for message in messages:
            score.add(judge.judge(message))
        figures[name] = {"eastwall": asdict(score), **{peer: asdict(refused(engine, messages)) for peer, engine in peers.items()}}
    return figures


def answers() -> Iterator[tuple[str, Response]]:
    """(name, answer) of `benign_responses.yaml`."""
    for case in yaml.safe_load((CORPUS / "benign_responses.yaml").read_text("utf-8")):
        given = case["response"]
        body = str(given.get("body", "")).encode()
        state = BodyState.COMPLETE if body else BodyState.NONE
        yield case["name"], Response(given.get("status", 200), given.get("headers", {}), body, state)


def score_answers(judge: Judge) -> dict[str, Any]:
    score = Score()
    for _, answer in answers():
        score.add(judge.judge(request("GET", "/items/1"), answer))
    return {"harmless answers": {"eastwall": asdict(score)}}


def secrets_and_data() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Precision and recall of secrets (held-out seed and the others) and of data classes (least of all classes), errors of frameworks in
    answers, and the targets."""
    secrets, errors = content_secrets.figures(), content_responses.figures()
    data = {"seeds": data_classes.measure((data_classes.SEEDS[0],)), "held out": data_classes.measure((data_classes.HELD_OUT,))}
    share = errors["errors_found"] / errors["errors"]
    targets = [report.target("errors of frameworks in answers, found", ">= 0.95", share, share >= 0.95)]
    for part, prefix in (("seeds", ""), ("held out", "held_out_")):
        for rate in ("precision", "recall"):
            value = secrets[f"{prefix}{rate}"]
            targets.append(report.target(f"secrets in answers, {rate}, {part}", ">= 0.95", value, value >= 0.95))
        for at, rate in enumerate(("precision", "recall")):
            value = min(data_classes.scores(count)[at] for count in data[part].values())
            targets.append(report.target(f"data classes, least {rate} of a class, {part}", ">= 0.95", value, value >= 0.95))
    return {"secrets": secrets, "errors in answers": errors, "data classes": data}, targets
