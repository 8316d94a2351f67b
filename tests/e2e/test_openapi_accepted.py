"""The exported OpenAPI documents in the hands of others: Prism serves them, schemathesis calls by them and checks every answer."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from tests.e2e.harness import free_port
from tests.e2e.test_real_software import prism, started, stop
from tests.unit.learning.shop_traffic import KEY, message, record, shop

from eastwall.discovery.shapes import shape
from eastwall.learning.learner import Learner
from eastwall.learning.openapi_export import openapi

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

__all__ = ["prism"]


def traffic() -> list[Any]:
    """What an API does that is hard to say: maps, forms told by a word, null, dates, words, forms as bodies, repeated parameters."""
    rng = random.Random(4)
    users = [f"{a}_{b}" for a in ("anna", "ben", "carla", "david", "elena") for b in "abcdefghijk"]
    records = shop(300)
    for n in range(120):
        card = {"type": "card", "amount": n, "number": "x y", "cvc": None}
        payments = [card, {"type": "iban", "amount": 2.5, "account": "x y"}]
        answer = {
            "payments": payments[: 1 + n % 2] if n % 3 else payments[1:],
            "scores": dict.fromkeys(rng.sample(users, 2), n),
            "made": f"2026-01-{1 + n % 28:02}T10:00:00Z",
            "state": ["new", "paid", None][n % 3],
            "next": None if n % 2 else f"https://shop.test/{n}",
        }
        query = (("page", str(n)), ("since", "2026-01-01"), ("tag", "a"), ("tag", "b"))
        records.append(
            record("GET", "/payments", user=f"u{n % 9}", answer=answer, query=query, template="/payments", time=2000.0 + n)
        )
        body = replace(message("POST", "/contact", {"mail": f"u{n}@shop.test", "age": str(n)}), body_kind="form")
        made = record("POST", "/contact", user=f"u{n % 9}", answer={"ok": True}, template="/contact", time=2000.0 + n)
        records.append(replace(made, request_fields=shape(body), body_kind="form"))
    return records


@pytest.mark.parametrize("version", ["3.1", "3.0"])
def test_prism_and_schemathesis_take_the_export(prism: Path, short_dir: Path, version: str) -> None:
    learner = Learner(KEY)
    learner.fold(traffic())
    document = openapi(learner.endpoints(), "shop", version)
    document["servers"] = [{"url": "http://127.0.0.1"}]
    file = short_dir / f"shop-{version}.json"
    file.write_text(json.dumps(document))
    port = free_port()
    server = started([str(prism), "mock", str(file), "-p", str(port), "--errors"], port, short_dir / f"prism-{version}.log")
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"authorization": "Bearer x"}, timeout=30) as client:
            answer = client.get("/payments", params={"page": 1, "since": "2026-01-01", "tag": ["a", "b"]})
            assert answer.status_code == 200, answer.text
            assert {"payments", "scores", "made"} <= answer.json().keys()
            assert client.get("/payments", params={"page": "x", "since": "2026-01-01", "tag": ["a", "b"]}).status_code == 422
            assert client.get("/orders/17").status_code == 200
            assert client.get("/orders/17", headers={"authorization": ""}).status_code == 401
        run = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"), "run", str(file), "--url", f"http://127.0.0.1:{port}", "--max-examples", "8",
                "--phases", "examples,coverage,fuzzing", "--mode", "positive", "--seed", "1", "--generation-deterministic", "--workers", "1",
                "--header", "authorization: Bearer x", "--checks",
                "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            ],
            capture_output=True, text=True, timeout=200, check=False, cwd=short_dir,
        )  # fmt: skip
        assert "Test cases:" in run.stdout or "generated" in run.stdout, run.stdout[-2000:] + run.stderr[-2000:]
        assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    finally:
        stop(server)
