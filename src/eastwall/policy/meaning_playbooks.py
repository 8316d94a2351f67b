"""What can be wrong with a Playbook by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from eastwall.policy.durations import parse_duration
from eastwall.policy.kinds import Notify, Playbook, Step
from eastwall.policy.limits import parse_rate

Found = Iterator[tuple[str, str, str]]
"""(place, message, hint)"""

MAX_STEPS = 10
MAX_COUNT = 1_000
MAX_WITHIN = 86_400.0
MAX_LASTS = 30 * 86_400.0
SECRET = re.compile(r"[a-z][a-z0-9-]{0,39}")


def playbook_faults(spec: Playbook) -> Found:
    """All faults of its own values, but for its `maintenance` and `reason`."""
    on = spec.on
    if not (on.findings or on.stages or on.min_severity or on.policies):
        yield "spec.on", "`spec.on` names nothing that is to happen", "name `findings`, `stages`, `minSeverity` or `policies`"
    if not 1 <= on.count <= MAX_COUNT:
        yield "spec.on.count", f"`spec.on.count` must be 1 to {MAX_COUNT}, not {on.count}", ""
    yield from _duration(on.within, "spec.on.within", MAX_WITHIN)
    yield from _duration(spec.lasts, "spec.for", MAX_LASTS)
    if not 1 <= spec.max_per_hour <= 100:
        yield "spec.maxPerHour", f"`spec.maxPerHour` must be 1 to 100, not {spec.max_per_hour}", ""
    if not spec.steps:
        yield "spec.steps", "`spec.steps` is empty, so the playbook does nothing", ""
    if len(spec.steps) > MAX_STEPS:
        yield "spec.steps", f"{len(spec.steps)} steps, at most {MAX_STEPS} are allowed", ""
    for i, step in enumerate(spec.steps):
        yield from _step(spec, step, f"spec.steps[{i}]")


def _duration(text: str, place: str, most: float) -> Found:
    try:
        if parse_duration(text) > most:
            yield place, f"`{place}` is at most {most / 86_400:g}d", ""
    except ValueError as error:
        yield place, str(error), ""


def _step(spec: Playbook, step: Step, place: str) -> Found:
    named = [step.quarantine, step.limit, step.require_reauthentication or None, step.notify, step.snapshot or None]
    if sum(one is not None for one in named) != 1:
        yield (
            place,
            "a step is one of `quarantine`, `limit`, `requireReauthentication`, `notify` and `snapshot`",
            "make two steps of it",
        )
    counted = spec.on.per
    if step.quarantine is not None and spec.on.count > 1 and step.quarantine != counted:
        # Five callers with one finding each are no reason to close any of them.
        yield (
            f"{place}.quarantine",
            f"calls are counted per {counted}, so {counted} is what may be closed, not {step.quarantine}",
            f"write `per: {step.quarantine}`",
        )
    if step.quarantine == "identity" and counted != "identity" and spec.on.count == 1:
        # Only per identity it is asked how well the caller is proved.
        yield f"{place}.quarantine", "an identity is closed where calls are counted per identity", "write `per: identity`"
    if step.require_reauthentication and counted != "identity":
        yield f"{place}.requireReauthentication", "calls must be counted per identity for it", "write `per: identity`"
    if step.limit is not None:
        if spec.maintenance is not None and counted != "identity":
            yield (
                f"{place}.limit",
                f"a limit per {counted} would hold for `maintenance` too",
                "write `per: identity`, or `quarantine`",
            )
        try:
            parse_rate(step.limit.rate)
        except ValueError as error:
            yield f"{place}.limit.rate", str(error), ""
        if step.limit.burst is not None and not 1 <= step.limit.burst <= 1_000_000:
            yield f"{place}.limit.burst", f"`burst` must be 1 to 1000000, not {step.limit.burst}", ""
    if step.notify is not None:
        yield from _notify(step.notify, f"{place}.notify")


def _notify(spec: Notify, place: str) -> Found:
    if sum(map(bool, (spec.webhook, spec.webhook_secret, spec.syslog))) != 1:
        yield place, "name one of `webhook`, `webhookSecret` and `syslog`", ""
    for name, text in (("webhookSecret", spec.webhook_secret), ("bearerSecret", spec.bearer_secret)):
        if text and not SECRET.fullmatch(text):
            yield (
                f"{place}.{name}",
                "the name of a secret is lower-case letters, digits and `-`, at most 40",
                "the secret itself is not written here",
            )
    for name, text, check in (("webhook", spec.webhook, webhook_problem), ("syslog", spec.syslog, syslog_problem)):
        problem = _tried(check, text) if text else ""
        if problem:
            yield f"{place}.{name}", problem, ""
    if spec.syslog and (spec.bearer_secret or spec.format != "json"):
        yield place, "`bearerSecret` and `format` are of webhooks", ""


def _tried(check: Callable[[str], str], text: str) -> str:
    try:
        return check(text)
    except ValueError:
        return "that is not an address"


def webhook_problem(url: str) -> str:
    """What is wrong with a webhook's address; empty: nothing. Raises ValueError on what is no address at all."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return "a webhook's address begins with `https://` or `http://` and a host"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "a webhook's address is printable ASCII without spaces"
    if parts.username is not None or parts.password is not None:
        return (
            "no credentials belong into an address that is read by all who read policies: use `webhookSecret` or `bearerSecret`"
        )
    _ = parts.port
    return ""


def syslog_problem(address: str) -> str:
    """What is wrong with a syslog server's address; empty: nothing. Raises ValueError on what is no address at all."""
    parts = urlsplit(address)
    if parts.scheme not in ("udp", "tcp") or not parts.hostname or parts.port is None or parts.path or parts.query:
        return "a syslog server's address is `udp://HOST:PORT` or `tcp://HOST:PORT`"
    return ""
