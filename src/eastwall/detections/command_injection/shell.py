"""Whether a text, put into a command line, would run a command of its own: POSIX shells, and cmd.exe and PowerShell where they differ.

The text is cut at what separates commands (`;`, `|`, `&`, newline, substitutions), quotes and other noise that a shell removes are
removed, and each piece is judged as a simple command: a known program, then arguments of the kind it takes. Programs whose names are
English words (cat, find, more) need such an argument; "Tom & Jerry; cat lovers | friends" has none.
"""

from __future__ import annotations

import re

from msgspec import Struct

MAX_TEXT = 10_240
"""Characters analysed (the prefilter hands over pieces of at most 4,096)."""
MAX_PIECES = 200
"""Pieces analysed."""
MAX_WORDS = 64
"""Words of one command that are judged."""
ENOUGH = 4
"""Words of a language that make a text prose."""


def _listed(names: str) -> frozenset[str]:
    return frozenset(names.split())


PROGRAMS = _listed(
    "adduser apk apt docker kubectl yum dnf pip pip3 gdb strace tmux lua mysqladmin sqlite3 redis-cli apt-get arp attrib awk base64 bash bitsadmin busybox cacls certutil chgrp chmod chown chroot chsh cmd cp "
    "crontab csh cscript curl dd df dig dmesg dpkg du egrep env fgrep ftp gawk gcc getent getfacl grep gunzip gzip hexdump "
    "hostname icacls ifconfig insmod ipconfig iptables java kill killall ksh ln ls lsb_release lscpu lsmod lsof "
    "lynx mkdir mkfifo mknod mshta msiexec mv mysql mysqldump nbtstat nc ncat netcat netsh netstat nl nmap node nohup "
    "nslookup od openssl passwd perl php pkill powershell printenv printf psql ps pwd pwsh python python2 python3 rm rmdir "
    "rsync ruby rundll32 regsvr32 schtasks scp sed sh showmount socat ss ssh sshpass su sudo sysctl systeminfo systemctl "
    "tac tar taskkill tasklist tcpdump tcsh telnet tftp tracepath traceroute tracert uname unzip uptime useradd usermod vim "
    "wget whoami wmic wscript xargs xxd zsh iex invoke-expression invoke-webrequest get-childitem get-content "
)
"""Names of programs that are no English words."""
WORDS = _listed(
    "at bind shutdown break cat cd clear command copy cut date del dir echo ed erase eval exec exit export false file find finger "
    "fold free halt head history host id init install join kill last less link logname look mail man more mount move net "
    "nid nice paste ping poweroff read reboot reg ren rev route screen set sleep sort source split start stat strings tail "
    "tee test time timeout top touch tr true type ver vol wait wall watch w which who whereis write yes "
)
"""Names of programs that are words too, or too short to tell."""
FIRST = _listed(
    "bash cat chmod chown cmd dig dir head host id ifconfig ipconfig kill less ls more nc ncat net netstat nmap nslookup ping powershell ps rm sh sleep tail "
    "telnet touch tftp type uname whoami"
)
"""Those taken for a command when a value begins with them: with an argument that no prose has, and nothing else."""
LINE = FIRST | _listed("awk curl echo grep perl php python python3 ruby sed sudo wget")
"""The same for a later line of a value."""
_ONE_NAME = re.compile(r"/(?!(?:etc|bin|tmp|var|root|home|proc|dev|usr|opt|sys|flag|app|srv|mnt|boot|lib|run)$)[A-Za-z]+")
_LINE_START = re.compile(r"[('\"+]?\s?[\w/]")
_BIN_PATH = re.compile(r"/(?:usr/|local/|opt/)*s?bin/[\w.+?*-]+[)'\";]*", re.IGNORECASE)
_NUMERIC = _listed("sleep kill exit head tail timeout nice ping wait ")
"""Their argument may be a bare number."""
_WRAPPERS = _listed("%comspec% @ . sudo nohup exec eval env time command start nice builtin then do else call if while ! ")

_IFS = re.compile(r"\$\{?IFS[^}\s]{0,20}\}|\$IFS(?:\$\d)?|\$\{IFS\}(?:\$\d)?|%09|%20", re.IGNORECASE)
_BRACES = re.compile(r"\{([\w./~-]+(?:,[^{}\s,]*)+)\}")
_SEPARATOR = re.compile(r"\|\||&&|[;|&\n\r`]|\$\(|[<>]\(")
_NOISE = re.compile(r"\$(?=')|['\"\\^]|\$[@*]|\$\{[^}]{0,20}\}")
_PATH = re.compile(r"(?:[a-z]:)?(?:[/\\][\w.?*\[\]-]+)*[/\\]([\w.?*\[\]-]+)", re.IGNORECASE)
_BIN = re.compile(r"/?(?:usr/|opt/|local/)*s?bin/\S|/(?=\w*+[?*])[?\w*]++/[\w?*]|[a-z]:\\windows\\", re.IGNORECASE)
_ARGUMENT = re.compile(
    r"--?[A-Za-z][\w-]*(?:=\S*)?$|[/\\](?:[\w.?*-]|$)|~(?:/|$)|\.{1,2}(?:/|\\|$)|\$[\w({]|\d?>>?[/.&~]|<[/.~](?![a-z]+>)|\S*\*|[a-z]:(?:[/\\]|$)|[a-z]{2,6}://"
    r"|\d{1,3}(?:\.\d{1,3}){3}|%\w+%|(?:if|of)=\S|[+-][rwxst]{1,3}$",
    re.IGNORECASE,
)
_FILE = re.compile(
    r"[\w./-]+\.(?:txt|sh|php|conf|ini|log|env|pem|key|py|pl|exe|bat|ps1|xml|json|ya?ml|db|sql|bak|cgi|jsp|aspx?|dll|so|html?)",
    re.IGNORECASE,
)
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)+\.?(?::\d+)?")
_NETWORK = _listed(
    "curl dig ftp getent host lynx nc ncat netcat nmap nslookup ping scp socat ssh telnet tftp traceroute tracert wget whois"
)
_SUBCOMMANDS = {
    "service": _listed("apache2 nginx mysql ssh sshd iptables docker"),
    "net": _listed("user users localgroup group view share use start accounts"),
    "reg": _listed("query add save export"),
}
_SIGNED = _listed("echo id dir reboot sleep cat exit env date")
"""Behind `&&` and `||`, which prose does not use, these count with a plain word or none."""
_SEVERE = re.compile(
    r"/etc/(?:passwd|shadow|hosts|group|issue)|/dev/(?:tcp|udp)/|/bin/(?:ba|z|k|c|da)?sh\b|\|\s*(?:ba|z|da)?sh\b|\$\{?IFS|"
    r"\b(?:nc|ncat|netcat)\b[^\n]{0,100}\s-\w{0,8}e|/proc/self|win\.ini|rm\s+-\w*[rf]|cmd(?:\.exe)?\s*/c|powershell\S*\s+-",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"[A-Za-z\x80-\U0010ffff][A-Za-z'\x80-\U0010ffff]+[,.:!?]?")
_PLUSES = re.compile(r"(?:[;|]|&&)\+?[a-z]{2,20}\+\S", re.IGNORECASE)
"""A command behind a separator with `+` for its spaces, as in a query that is decoded later."""
_ASSEMBLED = re.compile(
    r"(?:^|[;|&`]|\$\()\s{0,8}(?:\w{1,20}=[^\s;]{1,40}(?:;|&&)\s{0,4}){1,4}[^\n]{0,80}\$\{?\w{1,20}\}?(?:\$\{?\w|\w{0,20}\s{1,4}[/-])"
)
_FENCE = re.compile(r"```[\w+#.-]{0,20}[ \t]*\r?\n[^`]*+[\s\S]*?(?:```|\Z)")
_TABLE = re.compile(r"(?:^|\n)[ \t]{0,8}\|?[ \t]{0,8}:?-{3,40}:?[ \t]{0,8}\|")
_ITEM = re.compile(r"(?m)^[ \t]{0,8}(?:[-*+]|\d{1,3}[.)]) `[^`\n]{1,400}`")
_TOOLS = _listed(
    "awk sed grep egrep perl php python python3 ruby node java lua bash zsh ksh sh curl wget tar gzip docker kubectl git vim mysql psql openssl ssh scp ftp telnet nmap rsync xargs gcc gdb tmux"
)
"""Programs that texts name without running them."""
_FILTERS = _listed("more less sort cut head tail tee tr fold paste split")
"""Programs that pass on what they read: alone they tell and change nothing, and shops have "T-shirts & more"."""
_TITLE = re.compile(r"\s*(?:[^\W\d_](?:[^\W_]|['\u2019-](?=[^\W_])){1,40}[+%!]?|[^\W_][+%]|\d{1,4}(?:[+%]|/\d{1,4}))\s+")
"""One word of a title: what stands before an ampersand between spaces."""
_NAMED = re.compile(r"\s*[^\W\d_]{1,20}['\u2019][^\W\d_]{2,20}\s{0,2}")
"""A name with an apostrophe within, or a word that lacks a letter."""
_WORDS_ONLY = re.compile(r"\s*(?:[-.A-Za-z][A-Za-z.#+-]+,?\s+)+")
_TOOLING = re.compile(
    r"\s{0,4}(?:[$#>] )?(?:RUN |CMD )?(?:sudo )?(?:apt-get|apt|yum|dnf|npm|npx|yarn|pnpm|pip3?|git|docker|kubectl|helm|terraform|make|cmake|cargo|go|mvn|gradle|brew|cd|mkdir|composer|bundle|rake|poetry"
    r"|conda|virtualenv)[ ]\S"
)
"""A script of tools that begins with its own command breaks out of nothing: documentation, a Dockerfile."""
_LOOP = re.compile(
    r"(?:^|[;|&\"'])\s{0,8}(?:for\s{1,4}(?:/[fldr]\s{0,4})?%{1,2}\w\s{1,4}in\s{0,4}\(.{1,100}\)\s{0,4}do\s|for\s{1,4}\w{1,20}\s{1,4}in\s{1,4}[^;\n]{1,100};\s{0,4}do\s|while\s{1,4}(?:true|:|\[[^\]]{1,80}\]|read\s[^;]{0,60})\s{0,4};\s{0,4}do\s)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"(['\"])(?:uname|whoami|ifconfig|ipconfig|netstat|tasklist|systeminfo|printenv|lsof|ls)\1")
"""A quoted command alone: nobody quotes a word that is none."""
_TERMINATED = re.compile(
    r"\s{0,4}['\")]{0,2}\s{0,4}(?:id|ls|ps|pwd|whoami|uname|ifconfig|ipconfig|netstat|tasklist|systeminfo|printenv|lsof|hostname)\s{0,4}(?:;|\|\|?|&&|&)\s{0,4}(?:\#.{0,40})?$"
)
"""A command alone, and a separator that keeps what follows away from it."""
_LED = re.compile(r"[\r\n]+[ \t]*(?:id|ls|ps|pwd|whoami|uname|ifconfig|ipconfig|netstat|tasklist|systeminfo|printenv|lsof)\s*")
"""A command on a line of its own, in a value that begins with a line break."""
_REDIRECT = re.compile(r"(?<=[\w'\"])(?=[<>][/.~&])")
_BLANK = "".join(c for c in map(chr, range(0x3001)) if c.isspace())
_LEFT, _RIGHT = _BLANK + "(){!+'\"", _BLANK + "(){}!'\"]\x00"
"""What stands around a simple command and is no part of it."""
_GLUED = re.compile(r"[\w=.-]$")
_CALL = re.compile(
    r"(?:\b|[;({=@])(?:system|exec|shell_exec|passthru|popen|proc_open|pcntl_exec|execSync|spawn|spawnSync|os\.system|os\.popen|check_output|getRuntime\(\)\.exec|child_process[.\w()'\"]*)"
    r"\s*\(\s*\[?\s*(?:\"([^\"]{1,300})|'([^']{1,300})|`([^`]{1,300}))",
    re.IGNORECASE,
)
_INCLUDE = re.compile(r"<!--\s*#\s*exec\s+(?:cmd|cgi)\s*=", re.IGNORECASE)
_FUNCTION = re.compile(r"\(\)\s*\{[^}]{0,40}\}\s*;")


class Piece(Struct, frozen=True):
    """What stands between two separators."""

    before: str
    """Separator in front; empty for the first piece and for what follows a closed substitution."""
    after: str
    """Separator behind; empty for the last."""
    text: str


def injection(text: str) -> str | None:
    """Why `text` would run a command (a clause of a sentence), or None. Never raises; work is bounded by `MAX_TEXT` and `MAX_PIECES`."""
    text = _without_markdown(text[:MAX_TEXT])
    if _INCLUDE.search(text):
        return "is a server-side include that runs a command"
    if _FUNCTION.search(text):
        return "defines a shell function and goes on behind it (CVE-2014-6271)"
    for match in _CALL.finditer(text):
        inner = match[1] or match[2] or match[3]
        if match.start() > 0 and _in_prose(text):
            break  # a text that names such a call
        if _command(inner, strict=False) or _bare(inner):
            return "calls a function that runs a command"
    text = text.replace("``", "").replace("$()", "")
    if "+" in text and (" " not in text or _PLUSES.search(text)):
        text = text.replace("+", " ")
    if _ASSEMBLED.search(text):
        return "runs a command whose name is put together from variables"
    if _LOOP.search(text):
        return "runs a command in a loop"
    if _TOOLING.match(text) and not _SEVERE.search(text):
        return None
    text = _BRACES.sub(lambda match: match[1].replace(",", " "), _IFS.sub(" ", text))
    pieces = _pieces(text)
    outside = _prose(pieces)
    if len(pieces) == 1:
        return "is a command" if _is_command_line(pieces[0].text, FIRST) or _QUOTED.fullmatch(text) else None
    severe = _SEVERE.search(text) is not None
    if outside >= ENOUGH and (not severe or _in_code_span(pieces)):
        return None
    for piece in pieces:
        if piece.before in ("\n", "\r"):
            runs = _is_command_line(piece.text, LINE)
        else:
            runs = (
                piece.before != ""
                and not (piece.before == "&" and _named_tools(pieces[0].text, piece.text))
                and (_command(piece.text, strict=True) or (outside <= 2 and _signed(piece)))
            )
        if runs:
            return f"runs a command behind {_name(piece.before)}"
    if _bare_commands(pieces) or _TERMINATED.match(text) or _LED.fullmatch(text) or _led(pieces):
        return "runs a command behind a separator"
    return "is a command" if _is_command_line(pieces[0].text, FIRST) else None


def _without_markdown(text: str) -> str:
    """The text without fenced blocks, rows of tables, and code spans that are items of a list: their signs separate no commands."""
    if "```" in text:
        text = _FENCE.sub(" ", text)
    if _TABLE.search(text):
        text = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("|"))
    return _ITEM.sub("- ", text) if "`" in text else text


def _pieces(text: str) -> list[Piece]:
    pieces: list[Piece] = []
    start, before = 0, ""
    for match in _SEPARATOR.finditer(text):
        _add(pieces, before, match[0], text[start : match.start()])
        start, before = match.end(), match[0]
        if len(pieces) >= MAX_PIECES:
            return pieces
    _add(pieces, before, "", text[start:])
    return pieces


def _add(pieces: list[Piece], before: str, after: str, text: str) -> None:
    inside, closing, outside = text.partition(")")
    if closing and before.endswith("("):
        pieces.append(Piece(before, ")", inside))
        before, text = "", outside
    pieces.append(Piece(before, after, text))


def _words(text: str) -> list[str]:
    """Words of a simple command without wrappers and assignments, noise removed from the first."""
    words = _REDIRECT.sub(" ", _trimmed(text.partition(" #")[0])).split(None, MAX_WORDS)[:MAX_WORDS]
    while len(words) > 1 and words[0].lower() in _WRAPPERS and words[1][0] != "-":
        del words[0]
    return words


def _trimmed(text: str) -> str:
    return text.lstrip(_LEFT).rstrip(_RIGHT)


def _program(word: str) -> str:
    """Name of the program a word runs, lower-case; empty when it is none we know."""
    plain = _NOISE.sub("", word) if "\\" not in word or not re.match(r"[a-z]:\\", word, re.IGNORECASE) else word
    plain = plain.rstrip("(){}").partition("<<<")[0].partition("<")[0]
    path = _PATH.fullmatch(plain)
    name = (path[1] if path else plain).lower().removesuffix(".exe").rstrip(")}'\"")
    return name if name in PROGRAMS or name in WORDS else ""


def _command(text: str, *, strict: bool) -> bool:
    """Whether a piece is a known program with arguments of its kind (`strict`), or at least a program that is no word."""
    words = _words(text)
    if not words:
        return False
    if _BIN.match(words[0]):
        return True
    program = _program(words[0])
    if not program:
        return False
    arguments = words[1:]
    if program in _NUMERIC and len(arguments) == 1 and arguments[0].isdigit():
        return True
    if program in _SUBCOMMANDS and arguments and arguments[0].lower() in _SUBCOMMANDS[program]:
        return True
    evidence = sum(1 for word in arguments if _is_argument(word, program))
    plain = sum(1 for word in arguments if _PLAIN.fullmatch(word))
    if program in PROGRAMS:
        return (evidence > 0 and plain <= evidence + 1) or plain == len(arguments) <= 1 or (not strict and not plain)
    return evidence > 0 and plain <= evidence


def _is_argument(word: str, program: str) -> bool:
    """A word that prose does not have: an option, a path, a variable, an address, a quoted string; a file or host where the program takes one."""
    plain = _NOISE.sub("", word)
    if _ARGUMENT.match(word) or _ARGUMENT.match(plain):
        return True
    if program in _NETWORK and _HOST.fullmatch(plain):
        return True
    if (program in PROGRAMS or program in FIRST) and _FILE.fullmatch(plain):
        return True
    return len(word) > 2 and word[0] in "'\"" and word[-1] == word[0]


def _signed(piece: Piece) -> bool:
    words = _words(piece.text)
    return piece.before in ("&&", "||") and 0 < len(words) <= 2 and _program(words[0]) in _SIGNED


def _bare(text: str) -> bool:
    words = _words(text)
    return len(words) == 1 and bool(_program(words[0]))


def _short(text: str) -> bool:
    """In a substitution a known program with a few words is a command: nobody writes prose there."""
    words = _words(text)
    return 0 < len(words) <= 3 and bool(_program(words[0]))


def _bare_commands(pieces: list[Piece]) -> bool:
    """`;id`, `a)|id|`: pieces behind separators that are nothing but a program's name."""
    if any(piece.before == "$(" and _short(piece.text) for piece in pieces) or _bare_in_backticks(pieces):
        return True
    behind = [piece for piece in pieces if piece.before and _trimmed(piece.text)]
    if not behind or not all(_bare(piece.text) and piece.before != "`" for piece in behind):
        # A table or a list of fields (`| id | name |`) has cells that are no programs.
        return False
    if any(piece.before in ("\r", "\n") for piece in behind):
        return False  # a column of words
    if all(_words(piece.text)[0].lower() in _FILTERS for piece in behind):
        return False
    if behind[0].text[:1].isspace() and (_TITLE if behind[0].before == "&" else _NAMED).fullmatch(pieces[0].text):
        return False
    first = pieces[0].text.strip(" '\"")
    if any(_program(_words(piece.text)[0]) in PROGRAMS for piece in behind):
        return behind[0].before not in ("&", "|") or not _named_tools(pieces[0].text, behind[0].text)
    # `name|id` is a list of fields, "Filter & Sort" a title; `a)|id`, `10.0.0.1;id`, `|id|` are neither.
    operand = first.rpartition("=")[2]
    odd = not operand or len(operand) == 1 or (" " not in operand and not operand.isalpha())
    closed = bool(pieces[-1].before) and not _trimmed(pieces[-1].text)
    return len(behind) <= 2 and (odd or (closed and " " not in first))


def _bare_in_backticks(pieces: list[Piece]) -> bool:
    """A program's name in backticks that are the whole value or stand against other text: Markdown sets names in backticks between words."""
    for index in range(1, len(pieces) - 1):
        piece = pieces[index]
        if piece.before == piece.after == "`" and _short(piece.text):
            alone = not any(_trimmed(other.text) for other in pieces if other is not piece)
            if alone or _GLUED.search(pieces[index - 1].text):
                return True
    return False


def _is_command_line(text: str, programs: frozenset[str]) -> bool:
    """A command at the start of a line: one of `programs` or a program's path, with arguments of its kind and nothing else."""
    if _LINE_START.match(text) is None:
        return False
    words = _trimmed(text.partition(" #")[0]).split(None, 13)
    if not words or len(words) > 12:
        return False
    if _BIN_PATH.fullmatch(words[0]):
        return _program(words[0]) != "" or any(_is_argument(word, "") for word in words[1:])
    if not words[0].removesuffix(".exe").isalnum() or _program(words[0]) not in programs:
        return False
    if len(words) == 1 or any(_PLAIN.fullmatch(word) for word in words[1:]):
        return False
    if words[0].lower() in WORDS and len(words) == 2 and _ONE_NAME.fullmatch(words[1]):
        return False  # "cat /dog"
    return (words[1].isdigit() or _is_argument(words[1], words[0].lower())) and _command(" ".join(words), strict=True)


def _led(pieces: list[Piece]) -> bool:
    """A value that begins with a separator and goes on with a program and a few words: nothing else is put together so."""
    if pieces[0].text.strip(" '\")") or pieces[1].before not in (";", "|", "&&", "||", "&") or len(pieces) > 4:
        return False
    if pieces[1].before == "&" and pieces[1].text[:1].isspace():
        return False  # "& Sons", "& more"
    words = _words(pieces[1].text)
    if not 0 < len(words) <= 6 or ("|" in (pieces[1].after, pieces[1].before) and pieces[1].text.endswith(" ")):
        return False  # a row of a table
    program = _program(words[0])
    return (
        program in PROGRAMS
        or words[0].lower().endswith(".exe")
        or (program != "" and len(words) == 2 and not _PLAIN.fullmatch(words[1]))
    )


def _named_tools(first: str, text: str) -> bool:
    """ "awk & sed vs python": names of tools beside each other, with words in front."""
    words = _words(text)
    return bool(words) and words[0].lower() in _TOOLS and _WORDS_ONLY.fullmatch(first) is not None and not _SEVERE.search(text)


def _in_prose(text: str) -> bool:
    """Whether a text holds a sentence, six plain words, and no break (`';`) at its beginning."""
    return (
        sum(1 for word in text.split(None, 40)[:40] if _PLAIN.fullmatch(word)) >= 6
        and re.match(r"[\w.]{0,40}\W{0,4};", text) is None
    )


def _prose(pieces: list[Piece]) -> int:
    """Words of a language in pieces that are no commands; a few of them say as much as all."""
    found = 0
    for piece in pieces:
        if not (piece.before and _command(piece.text, strict=False)):
            for word in piece.text.split():
                found += _PLAIN.fullmatch(word) is not None
                if found >= ENOUGH:
                    return found
    return found


def _in_code_span(pieces: list[Piece]) -> bool:
    """Every command stands inside a pair of backticks: Markdown's code span, in a text that is prose otherwise."""
    inside, spans = False, 0
    for piece in pieces:
        if piece.before == "`":
            inside = not inside
            spans += inside
        if not inside and piece.before and piece.before != "`" and _command(piece.text, strict=True):
            return False
    return spans > 0


def _name(separator: str) -> str:
    return {"\n": "a line break", "\r": "a line break", "`": "a backtick"}.get(separator, f"`{separator}`")
