"""Detection rates on public corpora, where they are at hand (see the reason of the skip). Floors, so that a change shows; not goals.

What is missed in them is mostly not an attack that can be told from a value: placeholders (`{file}`), bare words (`id`), sums (`5-4`).
"""

from __future__ import annotations

import base64
import csv
import re
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
import yaml
from tests.unit.detections.detection_cases import findings, in_query, request

from eastwall.model.call import Request

CORPORA = Path(__file__).resolve().parents[4] / "shared" / "corpora"
needs_corpora = pytest.mark.skipif(not CORPORA.is_dir(), reason="the public corpora are not at ../shared/corpora")
CLASSES = {"sqli": "sql-injection", "cmdi": "command-injection", "path-traversal": "path-traversal"}


@needs_corpora
def test_httpparams() -> None:
    total: Counter[str] = Counter()
    found: Counter[str] = Counter()
    wrong: list[str] = []
    with (CORPORA / "httpparams" / "payload_full.csv").open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            kind, value = row["attack_type"], row["payload"]
            ids = {finding.id for finding in findings(in_query(value))}
            total[kind] += 1
            found[kind] += CLASSES.get(kind) in ids
            if kind == "norm" and ids:
                wrong.append(value)
    shares = {kind: found[kind] / total[kind] for kind in CLASSES}
    print(f"\nhttpparams: detected {shares}, wrong {len(wrong)} of {total['norm']}")
    assert not wrong
    assert shares["sqli"] >= 0.998
    assert shares["cmdi"] >= 0.85
    assert shares["path-traversal"] >= 0.75


def gotestwaf(path: Path) -> list[tuple[str, str, str]]:
    """(payload, encoder, placeholder) of a test file."""
    # Go's YAML takes `\'` inside double quotes.
    case = yaml.safe_load(path.read_text("utf-8").replace("\\'", "'"))
    places = [place for place in case["placeholder"] if isinstance(place, str)]
    return [(str(payload), encoder, place) for payload in case["payload"] for encoder in case["encoder"] for place in places]


def placed(payload: str, encoder: str, place: str) -> Request | None:
    text = base64.b64encode(payload.encode()).decode().rstrip("=") if encoder.startswith("Base64") else payload
    if place == "URLParam":
        return request("GET", "/?a=" + quote(text, safe=""))
    if place == "URLPath":
        return request("GET", "/" + quote(text, safe=""))
    if place == "Header":
        return request("GET", "/", {"x-a": quote(text, safe="") if encoder == "URL" else text})
    if place == "HTMLForm":
        return request("POST", "/", {"content-type": "application/x-www-form-urlencoded"}, "a=" + quote(text, safe=""))
    if place == "HTMLMultipartForm":
        body = f'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n{quote(text, safe="") if encoder == "URL" else text}\r\n--b--\r\n'
        return request("POST", "/", {"content-type": "multipart/form-data; boundary=b"}, body)
    if place == "JSONRequest":
        return request("POST", "/", {"content-type": "application/json"}, msgspec.json.encode({"a": text}))
    return None


@needs_corpora
@pytest.mark.parametrize(
    ("files", "detection", "floor"),
    [
        (("owasp/sql-injection.yml", "community/community-sqli.yml"), "sql-injection", 0.9),
        (
            ("owasp/shell-injection.yml", "owasp/rce.yml", "owasp/rce-urlpath.yml", "community/community-rce.yml"),
            "command-injection",
            0.9,
        ),
        (("owasp/path-traversal.yml", "community/community-lfi.yml"), "path-traversal", 0.9),
        (tuple(f"community/community-{size}kb-sqli.yml" for size in (8, 16, 32, 64, 128)), "sql-injection", 0.9),
    ],
)
def test_gotestwaf_attacks(files: tuple[str, ...], detection: str, floor: float) -> None:
    hits, missed = 0, []
    for name in files:
        for payload, encoder, place in gotestwaf(CORPORA / "gotestwaf" / name):
            message = placed(payload, encoder, place)
            if message is None:
                continue
            if detection in {finding.id for finding in findings(message)}:
                hits += 1
            else:
                missed.append((re.sub(r"(.)\1{20,}", r"\1..", payload)[:80], encoder, place))
    print(f"\ngotestwaf {detection}: {hits} of {hits + len(missed)}; missed {missed}")
    assert hits + len(missed) > 0
    assert hits / (hits + len(missed)) >= floor


@needs_corpora
def test_gotestwaf_false_positives() -> None:
    messages = [placed(*case) for case in gotestwaf(CORPORA / "gotestwaf" / "false-pos" / "texts.yml")]
    wrong = [message for message in messages if message is not None and findings(message)]
    print(f"\ngotestwaf false positives: {len(wrong)} of {len(messages)}")
    assert not wrong
