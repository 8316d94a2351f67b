"""Source code and configuration files in answers (CWE-540, CWE-538): the file's form, and whether secrets stand in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from eastwall.detections.credentials import placeholder
from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="source-code-disclosure",
    title="Source code or configuration in an answer",
    severity="medium",
    confidence="high",
    audience="service-owner",
    phases=("response",),
    owasp=("API8:2023", "A05:2021"),
    cwe=("CWE-540", "CWE-538", "CWE-530"),
    attack=("T1213.003", "T1552.001"),
    stage="exfiltration",
    on_error="monitor",
    default_action="block",
    families=("source-code",),
)

MAX_FILE = 65_536
"""Characters of a file that are looked at."""


class File(Struct, frozen=True):
    """What kind of file an answer is."""

    kind: str
    secret: bool
    """It holds a password or key."""
    evidence: str
    certain: bool = True
    """Nothing but such a file looks so."""


_PHP = re.compile(r"<\?php\s|<\?=\s{0,4}\$")
_PHP_CODE = re.compile(
    r"\$\w{1,40}\s{0,3}(?:=|->|\[)|\b(?:function \w{1,60}|namespace [\w\\]{1,100};|use [\w\\]{1,100};|require(?:_once)?\b|echo\b|include\b|return\b|class \w{1,60})"
)
_SERVER_PAGE = re.compile(
    r"<%@\s{0,4}(?:page|Page|WebHandler|Control|Import|taglib)\s[^%>]{0,300}%>|<%\s{0,6}(?:Dim |Set |String |if\s?\(|for\s?\(|Response\.)[^%]{0,300}%>"
)
_GIT_CONFIG = re.compile(r"^\[core\]\s{0,8}\n(?:[^\n]{0,200}\n){0,12}?\s{0,8}(?:repositoryformatversion|bare) ?= ?")
_GIT_HEAD = re.compile(r"\Aref: refs/heads/[\w./-]{1,120}\s{0,2}\Z")
_VARIABLE = re.compile(r"^(?:export )?([A-Z][A-Z0-9_]{2,60})[ \t]{0,2}=[ \t]{0,2}([^\n]{0,300})$", re.MULTILINE)
_SECRET_NAME = re.compile(r"PASS(?:WORD|WD)?(?:$|_)|SECRET|TOKEN|API_?KEY|ACCESS_KEY|PRIVATE_KEY|APP_KEY|DSN|DATABASE_URL|_KEY$")
_ENV_NAME = re.compile(
    r"^(?:APP|DB|DATABASE|REDIS|MAIL|AWS|NODE|DJANGO|SECRET|JWT|POSTGRES|MYSQL|MONGO|STRIPE|RAILS|FLASK|SMTP|S3|GOOGLE|GITHUB|API|SESSION|CACHE|QUEUE|LOG)_"
)
_WEB_CONFIG = re.compile(r"<configuration>|<configuration [^>]{0,200}>")
_WEB_PARTS = re.compile(r"<(?:system\.web|system\.webServer|connectionStrings|appSettings)[\s>]")
_WEB_SECRET = re.compile(
    r"(?:Password|Pwd|User ID)=[^;\"]{3,100};?|<machineKey [^>]{0,300}(?:validation|decryption)Key=", re.IGNORECASE
)
_KUBECONFIG = re.compile(r"^(?:kind: Config\b|contexts:|current-context:)", re.MULTILINE)
_KUBE_SECRET = re.compile(r"^\s{2,20}(?:client-key-data|token|client-certificate-data|password): [\w+/=.-]{16}", re.MULTILINE)
_DOCKERFILE = re.compile(r"(?:^|\n)FROM [\w./:@${}-]{1,200}(?: AS [\w-]{1,60})?[ \t]{0,4}\r?\n", re.IGNORECASE)
_DOCKER_STEPS = re.compile(r"^(?:RUN|COPY|WORKDIR|CMD|ENTRYPOINT|ENV|EXPOSE|ADD|USER) \S", re.MULTILINE)
_PASSWD = re.compile(r"^root:[x*!]?:0:0:[^:\n]{0,80}:/[^:\n]{0,80}:/[^\n]{0,80}$", re.MULTILINE)
_SHADOW = re.compile(r"^\w{1,32}:\$[1-9a-z]{1,3}\$[^:\n]{8,200}:\d{0,6}:\d{0,6}:", re.MULTILINE)
_HTPASSWD = re.compile(r"[\w.@-]{1,64}:(?:\$apr1\$|\$2[aby]\$|\{SHA\})[^\s:]{8,120}")
_WIN_INI = re.compile(r"^; for 16-bit app support\s|^\[boot loader\]\s", re.MULTILINE)


def _php(text: str) -> File | None:
    found = _PHP.search(text)
    if found is None or len(_PHP_CODE.findall(text[found.start() : found.start() + 4096])) < 2:
        return None
    secret = re.search(
        r"(?:password|passwd|secret|api_?key)['\"]?\s{0,3}(?:=>|=|,)\s{0,3}['\"][^'\"\n]{4,100}['\"]", text, re.IGNORECASE
    )
    return File("PHP source", secret is not None, text[found.start() : found.start() + 60], found.start() == 0)


def _environment(text: str) -> File | None:
    variables = _VARIABLE.findall(text[:8192])
    if len(variables) < 3 or not any(_ENV_NAME.search(name) for name, _ in variables):
        return None
    lines = [line for line in text[:8192].split("\n") if line.strip() and not line.lstrip().startswith("#")]
    if len(variables) < 0.8 * len(lines):
        return None
    secret = any(
        _SECRET_NAME.search(name) and len(value.strip("\"' ")) >= 6 and not _stand_in(value) for name, value in variables
    )
    return File("an environment file (.env)", secret, ", ".join(name for name, _ in variables[:4]))


def _stand_in(value: str) -> bool:
    text = value.strip("\"' ")
    return (
        text.startswith(("${", "<", "{{"))
        or (len(text) >= 12 and placeholder(text))
        or text.lower() in ("secret", "password", "changeme")
    )


def _web_config(text: str) -> File | None:
    if _WEB_CONFIG.search(text) and (part := _WEB_PARTS.search(text)):
        return File("an ASP.NET configuration (web.config)", _WEB_SECRET.search(text) is not None, part[0])
    return None


def _kubeconfig(text: str) -> File | None:
    if len(_KUBECONFIG.findall(text)) >= 2 and "clusters:" in text:
        return File("a kubeconfig", _KUBE_SECRET.search(text) is not None, "kind: Config, clusters:, contexts:")
    return None


def _dockerfile(text: str) -> File | None:
    found = _DOCKERFILE.search(text[:4096])
    if found is None or len(_DOCKER_STEPS.findall(text)) < 2:
        return None
    # Before it stand comments and arguments only.
    if not all(not line.strip() or line.startswith(("#", "ARG ")) for line in text[: found.start()].split("\n")):
        return None
    return File("a Dockerfile", False, found[0].strip().rpartition("\n")[2])


def _git(text: str) -> File | None:
    config = _GIT_CONFIG.search(text[:4096])
    if config is not None:
        return File(
            "a Git configuration (.git/config)",
            re.search(r"://[^/\s:@]{1,64}:[^/\s@]{4,200}@", text) is not None,
            "[core] repositoryformatversion",
        )
    return File("a Git repository's HEAD", False, text.strip()) if _GIT_HEAD.search(text[:200]) else None


def _accounts(text: str) -> File | None:
    lines = [line for line in text[:8192].split("\n") if line.strip()]
    if _SHADOW.search(text) or (lines and all(_HTPASSWD.fullmatch(line.strip()) for line in lines[:50])):
        return File("a file of password hashes", True, "user:$...$****")
    if found := _PASSWD.search(text):
        return File("/etc/passwd", False, found[0])
    if found := _WIN_INI.search(text):
        return File("win.ini or boot.ini", False, found[0].strip())
    return None


def _server_page(text: str) -> File | None:
    found = _SERVER_PAGE.search(text)
    return File("the source of a server page (JSP, ASP)", False, found[0], found.start() < 200) if found else None


_KINDS: tuple[Callable[[str], File | None], ...] = (
    _php, _environment, _web_config, _kubeconfig, _dockerfile, _git, _accounts, _server_page,
)  # fmt: skip


def detect(facts: Facts) -> Sequence[Finding]:
    """One finding per place."""
    response = facts.call.response
    findings: dict[str, Finding] = {}
    for value, families in facts.suspects:
        if "source-code" not in families or value.place in findings or response is None or not value.place.startswith("body"):
            continue
        body = facts.operation.body
        place = "body" if facts.operation.body_kind == "xml" else value.place  # its form is that of the whole document
        if place in findings:
            continue
        whole = place == "body"
        if place != value.place:
            text = facts.operation.raw_body[:MAX_FILE].decode("utf-8", "replace")
        else:
            text = body[:MAX_FILE] if whole and type(body) is str else value.text
        found = file(text)
        if found is None:
            continue
        sure = META.confidence if whole and found.certain else "low"
        if whole and "html" in response.headers.get("content-type", "") and "<html" in value.text[:400].lower():
            sure = "low"  # a page that shows code
        findings[place] = Finding(
            id=META.id,
            severity="critical" if found.secret else "high" if found.kind == "/etc/passwd" else META.severity,
            confidence=sure,
            owasp=META.owasp,
            where=place,
            message=f"the answer holds {found.kind}{', with secrets' if found.secret else ''}",
            evidence=" ".join(found.evidence.split())[:120],
            phase="response",
        )
    if not findings and isinstance(facts.operation.body, dict) and _source_map(facts.operation.body) and facts.suspects:
        findings["body"] = Finding(
            id=META.id,
            severity="low",
            confidence=META.confidence,
            owasp=META.owasp,
            where="body.sourcesContent",
            message="the answer is a source map with the sources in it",
            evidence=f"version 3, {len(facts.operation.body['sources'])} sources",
            phase="response",
        )
    return tuple(findings.values())


def _source_map(body: dict[str, object]) -> bool:
    """A source map (ECMA-426) that carries the sources themselves."""
    content = body.get("sourcesContent")
    return (
        body.get("version") == 3
        and type(body.get("mappings")) is str
        and type(body.get("sources")) is list
        and type(content) is list
        and any(type(one) is str and len(one) > 40 for one in content[:50])
    )


def file(text: str) -> File | None:
    """What kind of source or configuration file a text is; None when it is none. Never raises, linear."""
    for kind in _KINDS:
        found = kind(text)
        if found is not None:
            return found
    return None
