"""Makes `detections/secret_disclosure/{rules.json,patterns.yaml}` from the rules that ship in the Kingfisher SDK.

    pip download --no-deps kingfisher-secret-scanner==1.5.0 && unzip -d sdk kingfisher_secret_scanner-*.whl
    PYTHONPATH=sdk:src python tools/secret_rules.py

Its catalogue is made of the rules of Betterleaks (MIT) and Veles (Apache-2.0); their notices are in `secret_disclosure/LICENSES.md`. Only the
rules are taken (expressions, entropies), nothing of the SDK runs in Eastwall, and above all no validation over the network.

Taken are rules whose token begins with (or holds, at a fixed place) letters that nothing else has, since those are what an automaton can skip
by: what only a word nearby tells (`adafruit ... [a-z0-9]{32}`) is a matter of fields' names, which is what the data class `secret` looks at.
Identifiers that are no secrets are left out. To renew: raise the version above, run, read the diff, run `tests/unit/detections`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

FOLDER = Path(__file__).parents[1] / "src/eastwall/detections/secret_disclosure"
VERSION = "1.5.0"
NOT_SECRET = re.compile(
    r"(?:-id|-id\.\d|-name|-name\.\d|-url\.\d|-url|-domain\.\d|-host\.\d|public-key|public-key\.\d|-repository|client-id)$|devcycle-(?:client|mobile)|posthog-project"
    r"|jwt|curl-|kubernetes-secret|gcp-application|gcp-service-account|private-key|generic-credential|mongodb-connection|credentials$|nuget|artifactory-jfrog"
    r"|aws-access-token|sidekiq|freemius|session-token|gitlab-session|incoming-mail-address|stripe-publishable|razorpay-key-id|feature-flag-client"
)
"""Identifiers, and kinds that Eastwall's own code reads better (JWT, PEM, connection strings, cloud credentials)."""
MEDIUM = ("gcp-api-key", "webhook", "slack-legacy-workspace", "infracost", "lichess")
"""Often meant to be seen, or of little worth."""
CONTEXTS = ("(?:=|>|:{1,3}=|", r"[\s\S]", "(?:.|", "(?s:")
"""What stands in rules that look for a word, and then for a value behind it."""
LEADS = (r"\b", "(?:^|[^A-Za-z0-9_-])", "(?x)", "(?s)")
TRAILS = (
    r"""(?:\\?['"\x60]|[\s;]|\\[nr]|$)""", r"(?:[\x60'\"\s;]|\\[nr]|$|\b)", "(?:[^A-Za-z0-9_-]|$)", "(?:$|[^A-Za-z0-9_-])", r"(?:[^\w-]|\z)",
    r"(?:[^\w\/+=-]|\z)", r"(?:[^a-zA-Z0-9+/]|\z)", r"\b",
)  # fmt: skip
OWN = (
    ("openai-project-key", "OpenAI API key", r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,160}", 3.5),
    ("anthropic-key", "Anthropic API key", r"sk-ant-(?:api|admin)[0-9]{2}-[A-Za-z0-9_-]{80,120}", 3.5),
    ("stripe-webhook-secret", "Stripe webhook secret", r"whsec_[A-Za-z0-9+/=]{32,64}", 3.5),
    ("gitlab-token", "GitLab token", r"gl(?:pat|rt|dt|ptt|soat|agent|oas|cbt|imt|ft)-[A-Za-z0-9_.-]{20,320}", 3.0),
    ("square-token", "Square access token", r"(?:sq0atp-|sq0csp-)[A-Za-z0-9_-]{22,60}", 3.0),
    ("terraform-cloud-token", "Terraform Cloud token", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70}", 3.5),
    ("azure-client-secret", "Azure client secret", r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}", 3.0),
    ("vault-service-token", "Vault service token", r"hvs\.[A-Za-z0-9_-]{90,120}", 3.5),
    ("airtable-personal-access-token", "Airtable personal access token", r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}", 3.5),
    ("heroku-api-key", "Heroku API key", r"HRKU-[0-9A-Za-z_-]{60}", 3.5),
    ("slack-webhook", "Slack webhook", r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{43,56}", 3.5),
    ("discord-webhook", "Discord webhook", r"https://(?:ptb\.|canary\.)?discord(?:app)?\.com/api/webhooks/[0-9]{17,20}/[A-Za-z0-9_-]{60,80}", 3.5),
)  # fmt: skip
"""What the catalogue lacks or splits too finely."""
HOLDS = {"terraform-cloud-token": ".atlasv1.", "azure-client-secret": "Q~"}
"""Letters within tokens that may begin with anything."""
REPLACED = re.compile(
    r"heroku|vault-service|openai-api-key|anthropic|gitlab-|square-access|hashicorp-tf|azure-ad-client|checkout|mailgun|salesforce-access|facebook-page|tableau"
)


def entropy(filter_: Any) -> float:
    """The entropy below which the catalogue drops a match; 0 where it names none."""
    if isinstance(filter_, dict):
        left = filter_.get("left")
        if (
            filter_.get("operator") in ("<=", "<")
            and isinstance(left, dict)
            and isinstance(left.get("callee"), dict)
            and left["callee"].get("value") == "entropy"
        ):
            return float(filter_["right"]["value"])
        return max((entropy(value) for value in filter_.values()), default=0.0)
    return max(map(entropy, filter_), default=0.0) if isinstance(filter_, list) else 0.0


def translated(pattern: str) -> str:
    """The token alone, as `re` and hyperscan take it: no words around it, scoped flags."""
    text = pattern.replace("[[:alnum:]]", "[A-Za-z0-9]").replace(r"\z", r"\Z").replace(r"\x60", "`")
    text = re.sub(r"\(\?P<\w+>", "(?:", text)
    caseless = text.startswith("(?i)")
    text = text.removeprefix("(?i)")
    changed = True
    while changed:
        before = text
        for lead in LEADS:
            text = text.removeprefix(lead)
        for trail in TRAILS:
            text = text.removesuffix(trail.replace(r"\z", r"\Z").replace(r"\x60", "`"))
        changed = text != before
    inner = text.find("(?i)")
    if inner >= 0:
        # From here to the end of the group: all such rules end with it.
        end = text.rindex(")") if text.startswith("(") and text.endswith(")") else len(text)
        text = f"{text[:inner]}(?i:{text[inner + 4 : end].replace('(?i)', '')}){text[end:]}"
    text = re.sub(r"(?<!\\)\((?!\?)", "(?:", text)
    return f"(?i:{text})" if caseless else text


def literals(pattern: str) -> list[str]:
    """What every match begins with; empty strings where it may begin with many things."""
    return sorted({head for head, _ in _heads(parser.parse(pattern))})


def _heads(tree: Any) -> list[tuple[str, bool]]:
    """(literal, whether the whole of the tree is it)"""
    heads = [("", True)]
    for code, value in tree:
        if not any(open_ for _, open_ in heads) or len(heads) > 24:
            break
        if code is codes.LITERAL:
            more = [(chr(value), True)]
        elif code is codes.SUBPATTERN:
            more = _heads(value[3])
        elif code is codes.BRANCH:
            more = [head for branch in value[1] for head in _heads(branch)]
        elif code is codes.IN and len(value) <= 4 and all(item[0] is codes.LITERAL for item in value):
            more = [(chr(item[1]), True) for item in value]
        else:
            more = [("", False)]
        heads = [(a + b, whole) if open_ else (a, False) for a, open_ in heads for b, whole in (more if open_ else [("", False)])]
    return list(dict.fromkeys(heads))


def usable(heads: list[str]) -> bool:
    """Whether an automaton can skip by them and no ordinary word begins like them."""
    return bool(heads) and all(len(head) >= 3 and (len(head) >= 4 or not head.isalpha()) for head in heads)


_FIRST = re.compile(r"(\[[^\]]+\]|\\[wd])\{(\d+)(?:,\d*)?\}")


def prefilter(pattern: str, heads: list[str]) -> str:
    """A shorter expression that hits whenever the rule does: its beginning, up to a dozen characters of the first repeat."""
    first = _FIRST.search(pattern)
    text = pattern
    if (
        first
        and int(first[2]) >= 1
        and not re.search(r"[()|]", re.sub(r"\\.|\[[^\]]*\]|\(\?(?:i)?:", "", pattern[: first.start()]))
    ):
        opened = len(re.findall(r"(?<!\\)\(\?i?:", pattern[: first.start()]))
        text = f"{pattern[: first.start()]}{first[1]}{{{min(12, int(first[2]))}}}" + ")" * opened
    if any(head.startswith("https://") for head in heads):
        return pattern  # every link begins so
    return text if min(map(len, heads), default=0) > 4 else rf"(?:^|[^0-9A-Za-z]){text}"


def rules() -> list[dict[str, Any]]:
    """Every rule that is taken, by id."""
    from kingfisher_sdk import Rules  # type: ignore[import-not-found]

    catalogue = Rules(confidence="low", cache=False)
    taken: dict[str, dict[str, Any]] = {}
    known: set[str] = set()
    for name, title, pattern, floor in OWN:
        taken[name] = {"id": name, "title": title, "pattern": pattern, "entropy": floor, "heads": literals(pattern)}
    for entry in sorted(catalogue.metadata(), key=lambda one: str(one["id"])):
        detail = catalogue.detail(entry["id"])
        name = str(detail["id"]).split(".", 1)[1].removeprefix("secrets/").removesuffix(".1").removesuffix(".2")
        source = str(detail["detection_regex"])
        if NOT_SECRET.search(name) or REPLACED.search(name) or any(part in source for part in CONTEXTS):
            continue
        try:
            pattern = translated(source)
            heads = literals(pattern)
        except (re.error, ValueError) as error:
            print(f"left out: {name}: {error}")
            continue
        if not usable(heads):
            print(f"left out: {name}: begins with {heads[:4]}")
            continue
        if detail["id"].startswith("veles") and any(head.startswith(other) for head in heads for other in known):
            continue
        known.update(heads)
        taken.setdefault(
            name,
            {
                "id": name,
                "title": _title(name),
                "pattern": pattern,
                "entropy": entropy(detail["betterleaks_filter"]) or 3.0,
                "heads": heads,
            },
        )
    for rule in taken.values():
        rule["heads"] = [head for head in rule["heads"] if head]
        if not rule["heads"]:
            rule["holds"] = HOLDS[rule["id"]]
        rule["severity"] = "medium" if any(word in rule["id"] for word in MEDIUM) else "high"
    return sorted(taken.values(), key=lambda rule: str(rule["id"]))


NAMES = {"api": "API", "pat": "personal access token", "ai": "AI", "oauth": "OAuth", "npm": "npm", "github": "GitHub", "gitlab": "GitLab", "gcp": "Google Cloud",
         "pypi": "PyPI", "url": "URL", "digitalocean": "DigitalOcean", "huggingface": "Hugging Face", "aws": "AWS", "openai": "OpenAI", "sendgrid": "SendGrid"}  # fmt: skip


def _title(name: str) -> str:
    words = [NAMES.get(word, word) for word in name.split("-")]
    return (
        words[0][0].upper() + words[0][1:] + " " + " ".join(words[1:])
        if words[0].islower() and words[0] != "npm"
        else " ".join(words)
    )


def main() -> None:
    """Write both files."""
    found = rules()
    head = {
        "source": "kingfisher-secret-scanner (Betterleaks, Veles) and Eastwall",
        "version": VERSION,
        "licences": "LICENSES.md",
    }
    lines = [json.dumps(rule, ensure_ascii=False) for rule in found]
    (FOLDER / "rules.json").write_text(json.dumps(head)[:-1] + ', "rules": [\n' + ",\n".join(lines) + "\n]}\n", "utf-8")
    entries = ["# Written by tools/secret_rules.py from rules.json: change that. One pattern a rule, in the case given.\n"]
    for rule in found:
        expression = prefilter(rule["pattern"], rule["heads"]) if rule["heads"] else rule["pattern"]
        entries.append(
            f"- pattern: {json.dumps(expression)}\n  family: secret\n  caseful: true\n"
            f"  detects: {json.dumps('detects what begins like a ' + rule['title'])}\n"
            "  does_not_detect: does not detect hashes, ids and words\n"
        )
    (FOLDER / "patterns.yaml").write_text("".join(entries), "utf-8")
    print(f"{len(found)} rules")


if __name__ == "__main__":
    main()
