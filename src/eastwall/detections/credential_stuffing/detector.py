"""Credential stuffing, spraying and brute force (OWASP API2:2023), judged at the next attempt from the failures before it."""

from __future__ import annotations

from collections.abc import Sequence

from eastwall.model.facts import Facts, LoginWindow
from eastwall.model.finding import Detection, Finding

SOURCE_ACCOUNTS = 8
"""Distinct accounts that failed from one source. A person has one or two; an office behind one address rarely has eight that all fail."""
SOURCE_ACCOUNTS_SHARED = 25
"""The same for a source that may be a shared exit (NAT): needed when most sign-ins of the endpoint succeed."""
SOURCE_FAILURES = 30
"""Failures from one source, whatever the accounts: a tool with one or few accounts."""
ACCOUNT_FAILURES = 10
"""Failures of one account. People stop, or reset the password, after three to six (OWASP ASVS 2.2.1 allows up to 100 an hour)."""
ACCOUNT_SOURCES = 4
"""Distinct sources that failed on one account: distributed guessing. A person has a phone, a laptop and perhaps an office."""
FAILURE_SHARE = 0.5
"""Failed / all sign-ins of the endpoint. Ordinary log-ins succeed far more often than they fail."""

META = Detection(
    id="credential-stuffing",
    title="Sign-in attempts that look like stuffing, spraying or guessing",
    severity="high",
    confidence="high",
    audience="both",
    phases=("request",),
    owasp=("API2:2023",),
    cwe=("CWE-307",),
    attack=("T1110.001", "T1110.003", "T1110.004"),
    stage="exploitation",
    on_error="monitor",
    default_action="block",
    needs=("login",),
)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding, for the strongest reason. It stops only attempts of the source or account that the reason names."""
    if facts.login is None:
        return ()
    reason = _reason(facts.login)
    if reason is None:
        return ()
    confidence, message = reason
    return [
        Finding(
            id=META.id,
            severity=META.severity,
            confidence=confidence,
            owasp=META.owasp,
            where="body",
            message=message,
            evidence=f"{facts.login.source_failures} failures of the source, {facts.login.account_failures} of the account",
        )
    ]


def _reason(login: LoginWindow) -> tuple[str, str] | None:
    window = f"within {login.window:g} seconds"
    mostly_failing = login.failure_share >= FAILURE_SHARE
    needed = SOURCE_ACCOUNTS if mostly_failing else SOURCE_ACCOUNTS_SHARED
    if login.source_accounts >= needed:
        return (
            "high",
            f"{login.source_accounts} different accounts failed to sign in from this source {window}: stuffing or spraying",
        )
    # Distributed: each source stays small, the account gives it away. Needs failures too, so that a person with four devices passes.
    if login.account_sources >= ACCOUNT_SOURCES and login.account_failures >= ACCOUNT_FAILURES:
        return (
            "high",
            f"this account failed {login.account_failures} times from {login.account_sources} sources {window}: distributed guessing",
        )
    if login.source_failures >= SOURCE_FAILURES and mostly_failing:
        return "high", f"{login.source_failures} sign-ins failed from this source {window}: brute force"
    if login.account_failures >= ACCOUNT_FAILURES:
        return "medium", f"this account failed {login.account_failures} times {window}: password guessing"
    return None
