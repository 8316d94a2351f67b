"""Scanners that say their own name, or call home by a name of out-of-band testing (reconnaissance)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eastwall.detections.confirming import Verdict, confirm
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="scanner-user-agent",
    title="Security scanner by its own name",
    severity="medium",
    confidence="high",
    audience="security",
    phases=("request",),
    owasp=("API9:2023", "API8:2023"),
    cwe=("CWE-200",),
    attack=("T1595.002", "T1595.003"),
    stage="reconnaissance",
    on_error="monitor",
    default_action="block",
    families=("scanner",),
)

_TOOLS = re.compile(
    r"\b(sqlmap|nikto|nuclei|openvas(?:-?vt)?|greenbone|nessus|acunetix|netsparker|invicti|w3af|wpscan|joomscan|dirbuster|gobuster|feroxbuster|dirsearch|wfuzz|ffuf|fuzz faster u fool|masscan|zgrab|nmap scripting engine"
    r"|arachni|skipfish|whatweb|jaeles|jorgee|havij|zmeu|commix|xsser|qualys|detectify|appscan|webinspect|burp\s?suite|zaproxy|owasp zap|grendel-scan|vega/\d|sqlninja|absinthe|bbscan|morfeus|muieblackcat|paros/|pangolin"
    r"|metis|bsqlbf|prog\.customcrawler|core-project|hydra|patator|medusa|kiterunner|katana|httpx - open-source|naabu|subfinder|interactsh|gotestwaf|wafw00f|sitadel|xspear|dalfox|tplmap|nosqlmap|log4j-scan|projectdiscovery)\b",
    re.IGNORECASE,
)
_NASL = re.compile(r"(?<![\w-])[\w-]{3,80}+\.nasl\b", re.IGNORECASE)
_OUT_OF_BAND = re.compile(
    r"(?<![\w-])[\w-]{4,80}+(?:\.[\w-]{1,40}+){0,6}\.(?:burpcollaborator\.net|oastify\.com|oast\.(?:pro|live|site|online|fun|me)|interact\.sh|dnslog\.cn|ceye\.io|bxss\.me)\b",
    re.IGNORECASE,
)
PLACES = frozenset(
    (
        "header.user-agent",
        "header.from",
        "header.via",
        "header.referer",
        "header.x-scanner",
        "header.x-forwarded-host",
        "header.x-wvs-id",
    )
)
"""Where a client names itself."""


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    return confirm(facts, META, scanner)


def scanner(text: str, place: str = "header.user-agent") -> Verdict | None:
    """Which scanner the client says it is, or None. Elsewhere than in its name for itself such a word is what somebody writes about."""
    text = text[:2048]
    match = _OUT_OF_BAND.search(text) if place.startswith("header.") or " " not in text.strip() else None
    if match:
        return Verdict("calls home by a name of out-of-band testing", match[0], "high", "medium")
    if place not in PLACES:
        return None
    match = _TOOLS.search(text) or _NASL.search(text)
    return Verdict(f"is what the scanner `{match[0][:40].lower()}` calls itself", text) if match else None
