"""Precision and recall of the detections of secrets in answers, on messages made up from seeds: tokens as their vendors publish the form, keys,
credentials of clouds, beside near misses: hashes, UUIDs, ULIDs, commit ids, pictures in base64, JWTs, signed links, placeholders, names
that begin like tokens, minified scripts.

A message counts as found when a finding of at least medium confidence stands at the right place. The values are made here, from the vendors' words, and
not from the rules. The last seed was not looked at while the rules were chosen. `score()` is what `bench.content` shows.
"""

from __future__ import annotations

import base64
import json
import random
import string
import sys
import uuid
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from timeit import repeat
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.decide_cost import SIZES, bodies
from eastwall import detections
from eastwall.detections.patterns import flags_of, read_patterns
from eastwall.detections.prefilter import Prefilter
from eastwall.discovery import automata
from eastwall.model.call import BodyState, Call, Peer, Phase, Request, Response
from eastwall.model.endpoint import Match
from eastwall.model.facts import Facts
from eastwall.model.identity import Identity, Strength
from eastwall.protocols.decode import Limits, decode_response

SEEDS = (1, 2)
HELD_OUT = 7_041_776
MESSAGES = 1_200
"""Per seed; half of them hold a secret."""
IDS = ("secret-disclosure", "private-key-disclosure", "cloud-credential-disclosure")
SURE = ("medium", "high")

HEX, LOWER, UPPER, DIGITS = "0123456789abcdef", string.ascii_lowercase, string.ascii_uppercase, string.digits
ALNUM = string.ascii_letters + DIGITS
URL64, BASE64 = ALNUM + "-_", ALNUM + "+/"
BASE62 = DIGITS + UPPER + LOWER
WORDS = "customer profile settings image service account session manager configuration default public preview token key value object".split()


class Maker:
    """Made-up secrets and near misses of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def of(self, letters: str, count: int) -> str:
        return "".join(self.random.choices(letters, k=count))

    def b64(self, count: int) -> str:
        return base64.b64encode(self.random.randbytes(count)).decode()

    def words(self) -> str:
        return "_".join(self.random.choices(WORDS, k=5))

    def checked(self, prefix: str) -> str:
        """GitHub's and npm's form: 30 random letters and their CRC-32 in base 62."""
        part = self.of(BASE62, 30)
        number, digits = zlib.crc32(part.encode()), ""
        while number:
            number, digit = divmod(number, 62)
            digits = BASE62[digit] + digits
        return prefix + part + digits.rjust(6, "0")

    def pem(self, label: str, start: bytes) -> str:
        data = base64.b64encode(start + self.random.randbytes(self.random.choice((118, 600, 1188)))).decode()
        lines = "\n".join(data[at : at + 64] for at in range(0, len(data), 64))
        return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"

    def secret(self) -> tuple[str, Any]:
        """(kind, value or object)"""
        of, pick = self.of, self.random.choice
        kinds: dict[str, Callable[[], Any]] = {
            "github": lambda: self.checked(pick(("ghp_", "gho_", "ghs_", "ghu_", "ghr_"))),
            "github-fine": lambda: f"github_pat_{of(ALNUM, 22)}_{of(ALNUM, 59)}",
            "npm": lambda: self.checked("npm_"),
            "gitlab": lambda: f"glpat-{of(URL64, 20)}",
            "slack": lambda: f"xoxb-{pick('123456789')}{of(DIGITS, 11)}-{pick('123456789')}{of(DIGITS, 12)}-{of(ALNUM, 24)}",
            "slack-webhook": lambda: f"https://hooks.slack.com/services/T{of(UPPER + DIGITS, 10)}/B{of(UPPER + DIGITS, 10)}/{of(ALNUM, 24)}",
            "stripe": lambda: f"{pick(('sk', 'rk'))}_live_{of(ALNUM, pick((24, 99)))}",
            "openai": lambda: f"sk-proj-{of(URL64, 74)}T3BlbkFJ{of(URL64, 74)}",
            "anthropic": lambda: f"sk-ant-api03-{of(URL64, 93)}AA",
            "google": lambda: f"AIza{of(URL64, 35)}",
            "sendgrid": lambda: f"SG.{of(URL64, 22)}.{of(URL64, 43)}",
            "huggingface": lambda: f"hf_{of(string.ascii_letters, 34)}",
            "digitalocean": lambda: f"dop_v1_{of(HEX, 64)}",
            "shopify": lambda: f"shpat_{of(HEX, 32)}",
            "pypi": lambda: f"pypi-AgEIcHlwaS5vcmc{of(URL64, 150)}",
            "vault": lambda: f"hvs.{of(URL64, 95)}",
            "postman": lambda: f"PMAK-{of(HEX, 24)}-{of(HEX, 34)}",
            "databricks": lambda: f"dapi{of(HEX, 32)}",
            "doppler": lambda: f"dp.pt.{of(ALNUM, 43)}",
            "linear": lambda: f"lin_api_{of(ALNUM, 40)}",
            "notion": lambda: f"ntn_{of(DIGITS, 11)}{of(ALNUM, 35)}",
            "grafana": lambda: f"glsa_{of(ALNUM, 32)}_{of(HEX, 8)}",
            "supabase": lambda: f"sbp_{of(HEX, 40)}",
            "replicate": lambda: f"r8_{of(ALNUM, 37)}",
            "figma": lambda: f"figd_{of(URL64, 40)}",
            "planetscale": lambda: f"pscale_tkn_{of(URL64, 43)}",
            "terraform": lambda: f"{of(ALNUM, 14)}.atlasv1.{of(URL64, 67)}",
            "azure-app": lambda: f"{of(ALNUM, 3)}{of(DIGITS, 1)}Q~{of(ALNUM + '_~.-', 34)}",
            "docker": lambda: f"dckr_pat_{of(URL64, 27)}",
            "age": lambda: f"AGE-SECRET-KEY-1{of('QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L', 58)}",
            "azure-storage": lambda: f"DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={base64.b64encode(self.random.randbytes(64)).decode()};EndpointSuffix=core.windows.net",
            "aws": lambda: {"AccessKeyId": f"{pick(('AKIA', 'ASIA'))}{of(UPPER + '234567', 16)}", "SecretAccessKey": of(BASE64, 40)},
            "aws-text": lambda: f"[default]\naws_access_key_id = AKIA{of(UPPER + '234567', 16)}\naws_secret_access_key = {of(BASE64, 40)}\n",
            "pem-rsa": lambda: self.pem(pick(("RSA PRIVATE KEY", "PRIVATE KEY")), b"0\x82\x04\xa4\x02\x01\x00"),
            "pem-ec": lambda: self.pem("EC PRIVATE KEY", b"0w\x02\x01\x01\x04 "),
            "pem-openssh": lambda: self.pem("OPENSSH PRIVATE KEY", b"openssh-key-v1\x00\x00\x00\x00\x04none"),
            "jwk": lambda: {"kty": "EC", "crv": "P-256", "x": of(URL64, 43), "y": of(URL64, 43), "d": of(URL64, 43)},
        }  # fmt: skip
        kind = pick(list(kinds))
        return kind, kinds[kind]()

    def near(self) -> tuple[str, Any]:
        """(kind, value or object)"""
        of, pick = self.of, self.random.choice
        signed = f"https://b.s3.amazonaws.com/k?X-Amz-Credential=AKIA{of(UPPER + '234567', 16)}%2F20240501%2Fx&X-Amz-Signature={of(HEX, 64)}"
        kinds: dict[str, Callable[[], Any]] = {
            "hash": lambda: of(HEX, pick((32, 40, 56, 64, 96, 128))),
            "uuid": lambda: str(uuid.UUID(int=self.random.getrandbits(128), version=4)),
            "ulid": lambda: "01" + of("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 24),
            "nanoid": lambda: of(URL64, pick((21, 32, 43))),
            "digest": lambda: f"sha256:{of(HEX, 64)}",
            "integrity": lambda: f"sha512-{self.b64(64)}",
            "picture": lambda: f"data:image/png;base64,iVBORw0KGgo{self.b64(pick((300, 3000, 9000)))}",
            "jwt": lambda: f"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{of(URL64, 80)}.{of(URL64, 43)}",
            "jwt-like": lambda: f"eyJ{of(URL64, 30)}.{of(URL64, 50)}",
            "signed-link": lambda: signed,
            "placeholder": lambda: pick(("AKIAIOSFODNN7EXAMPLE", "your-api-key", "sk_test_xxxxxxxxxxxxxxxxxxxxxxxx", "ghp_" + "x" * 36, "sk-proj-YOUR-API-KEY-GOES-HERE",
                                         "xoxb-your-token", "SG.xxxxxxxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "glpat-" + "0" * 20, "hf_" + "a" * 34,
                                         "AIzaSy" + "X" * 33, "npm_" + "0123456789" * 3 + "012345", "whsec_your_webhook_secret_here_please_now")),
            "pem-placeholder": lambda: f"-----BEGIN {pick(('RSA ', '', 'EC '))}PRIVATE KEY-----\n{pick(('MIIE...', '...', '<your key>', 'x' * 64))}\n-----END PRIVATE KEY-----",
            "certificate": lambda: self.pem("CERTIFICATE", b"0\x82\x03\xa4"),
            "public-key": lambda: self.pem("PUBLIC KEY", b"0\x82\x01\x22"),
            "jwk-public": lambda: {"kty": "RSA", "kid": of(HEX, 16), "use": "sig", "alg": "RS256", "n": of(URL64, 342), "e": "AQAB"},
            "publishable": lambda: f"pk_live_{of(ALNUM, 24)}",
            "names": lambda: pick(("prf_", "re_", "lip_", "tss_", "polar_at_", "pina_", "api_live.", "unkey_", "ion_", "rnd_", "hf_", "npm_", "sk_live_", "dvc_server_", "cog_")) + self.words(),
            "wrong-length": lambda: pick((f"ghp_{of(ALNUM, 20)}", f"AKIA{of(UPPER, 8)}", f"AIza{of(ALNUM, 20)}", f"SG.{of(ALNUM, 12)}.{of(ALNUM, 9)}", f"dop_v1_{of(HEX, 20)}")),
            "wrong-checksum": lambda: f"ghp_{of(BASE62, 36)}",
            "script": lambda: "!function(e,t){" + "".join(f"var {of(LOWER, 2)}=\"{of(ALNUM, 12)}\";" for _ in range(60)) + "}();",
            "order": lambda: f"{pick(('SK', 'RE', 'API', 'A3'))}-{of(DIGITS + UPPER, 12)}",
            "wallet": lambda: f"0x{of(HEX, 40)}",
            "etag": lambda: f'W/"{self.b64(20)}"',
            "connection": lambda: pick(("postgres://user:password@localhost/db", "redis://:${REDIS_PASSWORD}@cache:6379/0", "mongodb+srv://<username>:<password>@cluster0.example.net")),
            "aws-ids": lambda: {"accountId": of(DIGITS, 12), "arn": f"arn:aws:iam::{of(DIGITS, 12)}:role/app", "AccessKeyId": "AKIAIOSFODNN7EXAMPLE"},
            "secret-hash": lambda: {"secret_access_key_sha1": of(HEX, 40), "client_secret_set": True},
        }  # fmt: skip
        kind = pick(list(kinds))
        return kind, kinds[kind]()

    def message(self, value: Any) -> tuple[dict[str, str], bytes]:
        """(headers, body) of an answer that holds the value among ordinary things."""
        noise = {
            "id": self.random.randrange(10**6),
            "created": "2026-03-01T12:00:00Z",
            "etag": self.of(HEX, 32),
            "ref": self.of(URL64, 21),
        }
        where = (
            self.random.choice(("field", "nested", "list", "text", "page"))
            if isinstance(value, str)
            else self.random.choice(("field", "nested", "list"))
        )
        if where == "page":
            page = f"<html><body><h1>Settings</h1><script>window.config = {json.dumps({'a': 1, 'b': value})};</script><p>{self.of(LOWER, 40)}</p></body></html>"
            return {"content-type": "text/html"}, page.encode()
        if where == "text":
            body = {**noise, "note": f"please use this one from now on: {value} and tell nobody else about it"}
        elif where == "nested":
            body = {**noise, "data": {"settings": {"integration": {"value": value, "enabled": True}}}}
        elif where == "list":
            body = {**noise, "items": [{"name": "a", "value": "plain"}, {"name": "b", "value": value}]}
        else:
            body = {**noise, self.random.choice(("config", "extra", "k", "data")): value}
        return {"content-type": "application/json"}, json.dumps(body).encode()


class Judge:
    """The three detections, over answers."""

    def __init__(self) -> None:
        self.detectors = detections.Detectors(one for one in detections.load() if one.meta.id in IDS)
        self.prefilter = Prefilter(self.detectors)
        self.limits = Limits()
        self.request = Request("GET", "/settings", {}, authority="shop.example")
        self.nobody = Identity(actor="address:127.0.0.1", kind="address", strength=Strength.NONE, cls="anonymous")

    def found(self, headers: dict[str, str], body: bytes) -> bool:
        """Whether a finding of at least medium confidence is made."""
        response = Response(200, headers, body, BodyState.COMPLETE)
        operation = decode_response(response, self.request, self.limits)
        call = Call("0" * 26, "shop", 1.7e9, Peer("127.0.0.1"), self.request, response)
        facts = Facts(
            call=call,
            phase=Phase.RESPONSE,
            operation=operation,
            match=Match(endpoint=None),
            identity=self.nobody,
            suspects=self.prefilter.scan_response(response, operation),
        )
        findings, errors = detections.detect(facts, self.detectors)
        assert not errors
        return any(finding.confidence in SURE for finding in findings)


def judged(seed: int, judge: Judge) -> tuple[Counter[str], Counter[str]]:
    """(true and false positives and negatives, kinds that were judged wrongly)"""
    maker = Maker(seed)
    counts: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for at in range(MESSAGES):
        holds = at % 2 == 0
        kind, value = maker.secret() if holds else maker.near()
        found = judge.found(*maker.message(value))
        counts[("true" if found == holds else "false") + (" positive" if found else " negative")] += 1
        if found != holds:
            wrong[("missed " if holds else "wrongly ") + kind] += 1
    return counts, wrong


def _rates(counts: Counter[str]) -> tuple[float, float]:
    positive = counts["true positive"]
    return positive / max(1, positive + counts["false positive"]), positive / max(1, positive + counts["false negative"])


def score() -> dict[str, Any]:
    """`precision`, `recall` (tuning seeds), `held_out_precision`, `held_out_recall`, `messages`, and `wrong`: what was judged wrongly, by kind (of the
    held-out seed nothing is told)."""
    judge = Judge()
    tuned: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for seed in SEEDS:
        counts, mistakes = judged(seed, judge)
        tuned += counts
        wrong += mistakes
    held, _ = judged(HELD_OUT, judge)
    precision, recall = _rates(tuned)
    held_precision, held_recall = _rates(held)
    return {
        "precision": precision,
        "recall": recall,
        "held_out_precision": held_precision,
        "held_out_recall": held_recall,
        "messages": MESSAGES * (len(SEEDS) + 1),
        "wrong": dict(wrong),
    }


def scan_cost() -> dict[int, float]:
    """Microseconds that the rules alone, in one database, take for a clean answer, by its size in bytes."""
    folder = next(one.folder for one in detections.load() if one.meta.id == IDS[0])
    patterns = [pattern for _, pattern in read_patterns(Path(folder) / "patterns.yaml", ("secret",))]
    database = automata.build([p.pattern.encode() for p in patterns], [flags_of(p) for p in patterns], list(range(len(patterns))))
    costs = {}
    for size in SIZES.values():
        body = bodies(size)[1]
        number = max(50, 4_000_000 // len(body))
        costs[len(body)] = min(repeat(_scan(database.scan, body), number=number, repeat=5)) / number * 1e6
    return costs


def _scan(scan: Callable[..., Any], body: bytes) -> Callable[[], Any]:
    return lambda: scan(body, lambda *_: None)


def figures() -> dict[str, Any]:
    """For `bench.content`: `score`, and what the rules cost."""
    return {**score(), "scan_us": scan_cost()}


def main() -> int:
    """Print the table; 1 when a rate is below 0.95."""
    result = score()
    table = Table(title=f"Secrets in answers, {result['messages']} messages")
    for column in ("set", "precision", "recall"):
        table.add_column(column)
    table.add_row("seeds that rules were looked at with", f"{result['precision']:.3f}", f"{result['recall']:.3f}")
    table.add_row("held-out seed", f"{result['held_out_precision']:.3f}", f"{result['held_out_recall']:.3f}")
    console = Console()
    console.print(table)
    console.print("judged wrongly:", result["wrong"] or "nothing")
    console.print("rules alone, clean answer:", ", ".join(f"{size} B: {cost:.2f} us" for size, cost in scan_cost().items()))
    rates = (result[name] for name in ("precision", "recall", "held_out_precision", "held_out_recall"))
    return 0 if min(rates) >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
