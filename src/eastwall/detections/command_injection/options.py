"""Argument injection (CWE-88): a value that a program takes for an option, because it begins with `-`, and that has it run or write something.

Only options with such an effect are looked for, by name and with their operand, and only as the beginning of a value: `--output=x` in
a text about command lines is none.
"""

from __future__ import annotations

import re

MAX_TEXT = 1_024

_OPTION = re.compile(
    r"\s{0,4}(?:"
    # run: ssh, tar, git, find, rsync, zip, curl and wget through their configuration, psql, sqlmap's targets
    r"-o\s{0,2}(?:ProxyCommand|LocalCommand|KnownHostsCommand|PermitLocalCommand|PKCS11Provider)\s{0,2}[= ]"
    r"|--(?:use-compress-program|checkpoint-action|to-command|rsh-command|rmt-command|info-script|new-volume-script)\s{0,2}[= ]"
    r"|--(?:upload-pack|receive-pack|exec|extcmd|open-files-in-pager|pager|editor|ext-diff|gpg-program)\s{0,2}[= ]\s{0,2}\S"
    r"|-(?:exec|execdir|ok|okdir)\s{1,4}\S{1,100}.{0,200}(?:;|\+)\s{0,4}$"
    r"|-(?:fprintf?|fls)\s{1,4}/"
    r"|--?(?:rsh|e)\s{0,2}[= ]\s{0,2}(?:sh|bash|/bin/)|--unzip-command\s{0,2}[= ]|-TT?\s{1,4}\S{0,40}(?:sh|id)\b|--proxy-command\s{0,2}[= ]"
    # write and send
    r"|--(?:output(?:-document|-file|-dir)?|post-file|upload-file|dump-header|config|cookie-jar|trace(?:-ascii)?|stderr|log-file|directory-prefix)\s{0,2}[= ]\s{0,2}(?:/|\.\./|~/|[a-z]:\\)"
    r"|-(?:o|O|K|T|D|oN|oX|oG)\s{0,2}/(?:var|tmp|etc|home|root|usr|opt|dev|proc|srv)/"
    r")",
)
_TRANSPORT = re.compile(r"\s{0,4}(?:ext::\s{0,4}\S|fd::\d|--?\w{0,20}=ext::)")


def takes_effect(text: str) -> str | None:
    """Why `text` is an option with an effect (a clause of a sentence), or None. Never raises; work is bounded by `MAX_TEXT`."""
    text = text[:MAX_TEXT]
    if _TRANSPORT.match(text):
        return "names a transport of git that runs a command"
    match = _OPTION.match(text)
    if match is None:
        return None
    return f"begins with the option `{match[0].split('=')[0].split()[0]}`, by which a program runs or writes what the caller says"
