"""Serialised objects told by their own syntax: Java, .NET, PHP, Python's pickle, Ruby's Marshal, YAML tags, and the type hints of JSON and
XML binders. The head of each is parsed as far as it names what would be made; a word alone is nothing."""

from __future__ import annotations

import binascii
import io
import pickletools
import re
import zlib
from itertools import islice

from eastwall.detections.confirming import Verdict

MAX_TEXT = 10_240
"""Characters analysed."""
_HEAD = 4_096
"""Bytes decoded."""
_OPCODES = 400
"""Pickle opcodes read."""

_BASE64_HEAD = re.compile(
    r"(?:^|[\s=:,;\"'.|])((?:rO0AB|AAEAAAD/|/wEy|H4sIA|gA[I-X][A-Za-z0-9+/_-]|BA[gh]|Y[0-9A-Za-z+/]{2}|KF|gQ|T[zo]|YT|Qz|eJ)[A-Za-z0-9+/_-]{6,}={0,2})"
)
_HEX_JAVA = re.compile(r"(?:^|[^0-9a-f])ac\s?ed\s?00\s?05\s?7[0-9a-e]", re.IGNORECASE)
_PHP = re.compile(
    r"(?:^|[;{:|=\s\"'&])(?:O:\+?\d{1,6}:\"([\w\\]{1,200})\":\d{1,6}:\{|C:\+?\d{1,6}:\"([\w\\]{1,200})\":\d{1,9}:\{)"
)
_PHAR = re.compile(r"\s{0,9}phar://[^\s]{1,400}", re.IGNORECASE)
_YAML = re.compile(
    r"(?:^|[\s\[{,:(-])(?:!<tag:yaml\.org,2002:|!!|tag:yaml\.org,2002:)(python/(?:object|name|module|apply)[\w/.:]{0,120}|(?:java|javax|com|org|net|sun|ch|ognl|bsh|groovy)\.[\w.$]{3,160})"
    r"|(?:^|[\s\[{,:(-])!{1,2}(ruby/(?:object|hash|struct|class|module|regexp|sym|exception|array)[\w/.:-]{0,120})"
)
_NODE = re.compile(r"_\$\$ND_(?:FUNC|CC)\$\$_\s{0,9}(?:function|\(|async)")
_GADGETS = re.compile(
    r"(?:com\.sun\.(?:rowset|org\.apache|jndi|syndication)|javax\.(?:script|naming|management|swing|sql\.rowset)|java\.net\.(?:URL|Inet)|java\.lang\.(?:Class|Runtime|ProcessBuilder|ProcessImpl|AutoCloseable|Exception)"
    r"|java\.(?:beans|rmi|io|nio|util\.(?:logging|ServiceLoader|PriorityQueue|jar))\.?|org\.apache\.(?:commons\.(?:collections|beanutils|configuration|dbcp|proxy|jxpath|logging|io)|tomcat\.dbcp|ibatis|xalan|xbean|shiro|velocity|hadoop|openjpa|aries|activemq|catalina)"
    r"|org\.springframework\.(?:context|beans|jndi|aop|transaction|core|expression)|com\.mchange|ch\.qos\.logback|org\.(?:codehaus\.groovy|hibernate|mozilla|jboss|python|quartz|datanucleus|eclipse\.jetty|arrah)"
    r"|bsh|groovy\.|com\.zaxxer\.hikari|oracle\.jdbc|br\.com\.anteros|net\.sf\.ehcache|com\.(?:newrelic|caucho|ibatis|p6spy|pastdev|nqadmin)|sun\.(?:rmi|reflect|misc|print|awt|nio)|jdk\.(?:nashorn|internal)|jodd\.)[\w.$]*"
)
_NET_GADGETS = re.compile(
    r"(?:System\.(?:Windows\.(?:Data|Application|ResourceDictionary|Markup|Controls|Forms)|Diagnostics|Configuration\.Install|IO\.(?:FileInfo|FileSystemInfo|DirectoryInfo|FileSystemWatcher)|Activities|Workflow|Management"
    r"|Security\.(?:Principal|Claims|Cryptography)|Web\.(?:Security|UI)|Data\.(?:DataSet|Services|Design)|CodeDom|Reflection|Runtime\.Remoting|Drawing\.Design|Collections\.(?:Hashtable|Generic\.SortedSet)|AppDomain|Xaml|Messaging)"
    r"|Microsoft\.(?:VisualStudio|Exchange|IdentityModel|PowerShell|Win32|Build)|PresentationFramework|Amazon\.Runtime)[\w.`]*"
)
_XML = re.compile(
    r"<(?:java|object|void|new|class)\s[^<>]{0,200}class\s{0,9}=\s{0,9}[\"'](java\.(?:beans\.XMLDecoder|lang\.(?:Runtime|ProcessBuilder|Class|Thread)|io\.\w+|net\.\w+|util\.\w*Loader)|javax\.script\.[\w.]{1,60}|[\w.]{0,80}ProcessBuilder)"
    r"|<(dynamic-proxy|java\.util\.PriorityQueue|jdk\.nashorn\.[\w.]{3,80}|javax\.(?:imageio|naming|swing|crypto)\.[\w.$_-]{3,120}|com\.sun\.[\w.$_-]{3,120}|sun\.[\w.$_-]{5,120}|java\.lang\.ProcessBuilder|org\.(?:apache|codehaus|springframework)\.[\w.$_-]{5,120})[\s/>]"
    r"|class\s{0,9}=\s{0,9}[\"'](java\.beans\.EventHandler|java\.lang\.ProcessBuilder|[\w.]{1,80}Base64Data)[\"']"
    r"|(schemas\.microsoft\.com/clr/nsassem)/"
    r"|<object\s[^<>]{0,200}(?:ObjectDataProvider|MethodName)|<(ObjectDataProvider|ExpandedWrapperOf\w+)[\s/>]"
)
_PAIR = re.compile(
    r"[\"'](\$type|@type|@class|__type|class|_class|javaClass|py/object|py/reduce|py/type|py/function|py/repr|json_class|\^o|@c)[\"']\s{0,9}:\s{0,9}[\"\[{]\s{0,9}\"?([\w.$, =/+`\[\]:-]{1,200})"
)
_FIRST = re.compile(r"\s{0,9}\[\s{0,9}[\"']([\w.$]{5,160})[\"']\s{0,9},\s{0,9}[\[{\"]")


def serialised(text: str) -> Verdict | None:
    """Which serialised object `text` is or holds, or None. Never raises; linear in the first `MAX_TEXT` characters."""
    text = text[:MAX_TEXT]
    return _textual(text) or _binary(text) or _in_base64(text)


def hinted(name: str, value: str) -> Verdict | None:
    """Why the member `name: value` of an object makes a binder build an instance of a dangerous class, or None."""
    if name in ("py/object", "py/reduce", "py/type", "py/function", "py/repr"):
        return Verdict(f"is a hint to make an object of Python ({value[:60]})", value, "critical")
    match = _GADGETS.match(value.strip('[L;" ')) or _NET_GADGETS.match(value.strip())
    if match and (name != "class" or "." in value):
        return Verdict(f"is a hint to make an object of `{match[0][:80]}`", value, "critical")
    return None


def _textual(text: str) -> Verdict | None:
    match = _PHP.search(text)
    if match:
        return Verdict(f"is a serialised object of PHP, of class `{(match[1] or match[2])[:60]}`", text[match.start() :])
    if _PHAR.match(text):
        return Verdict("opens an archive of PHP, whose metadata is an object", text)
    match = _YAML.search(text)
    if match:
        return Verdict(f"is YAML that makes an object (`{(match[1] or match[2])[:60]}`)", text[match.start() :], "critical")
    match = _NODE.search(text)
    if match:
        return Verdict("is a serialised function of Node", text[match.start() :], "critical")
    match = _XML.search(text)
    if match:
        return Verdict(
            f"is XML that makes an object (`{next((part for part in match.groups() if part), 'object')[:60]}`)",
            text[match.start() :],
            "critical",
        )
    for match in _PAIR.finditer(text):
        verdict = hinted(match[1], match[2])
        if verdict is not None:
            return verdict
    match = _FIRST.match(text)
    if match and _GADGETS.match(match[1]):
        return Verdict(f"is a hint to make an object of `{match[1][:80]}`", text, "critical")
    if text[:1] in "c(\x80" or "\nc" in text[:200] or text[:1] == "c":
        verdict = _pickle(text.encode("latin-1", "replace"))
        if verdict is not None:
            return verdict
    return None


def _binary(text: str) -> Verdict | None:
    if _HEX_JAVA.search(text):
        return Verdict("is a serialised object of Java, in hexadecimal", text)
    if text.startswith("\xac\xed\x00\x05"):
        return Verdict("is a serialised object of Java", "\\xac\\xed\\x00\\x05")
    return None


def _in_base64(text: str) -> Verdict | None:
    for match in islice(_BASE64_HEAD.finditer(text), 16):
        data = _decoded(match[1])
        verdict = _told(data)
        if verdict is not None:
            return Verdict(f"{verdict.reason}, in Base64", match[1], verdict.severity, verdict.confidence)
    return None


def _decoded(text: str) -> bytes:
    text = text[:_HEAD].translate(str.maketrans("-_", "+/")).rstrip("=")
    text = text[: len(text) - (len(text) % 4 == 1)]
    try:
        data = binascii.a2b_base64(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
    if data[:2] == b"\x1f\x8b" or data[:1] == b"\x78":
        try:  # what is packed is read only as far as its head
            return zlib.decompressobj(47).decompress(data, _HEAD)
        except zlib.error:
            return data
    return data


def _told(data: bytes) -> Verdict | None:
    if data[:4] == b"\xac\xed\x00\x05" and len(data) > 4:
        return Verdict(f"is a serialised object of Java{_java_class(data)}", "")
    if data[:9] == b"\x00\x01\x00\x00\x00\xff\xff\xff\xff":
        return Verdict("is a serialised object of .NET (BinaryFormatter)", "")
    if data[:3] == b"\xff\x01\x32":
        return Verdict("is a view state that holds a serialised object of .NET", "")
    if data[:2] == b"\x04\x08" and data[2:3] in b"ouUeCcSd@I[{":
        return _marshal(data)
    if data[:1] in (b"\x80", b"c", b"(", b"]", b"}"):
        return _pickle(data)
    if data[:2] in (b"O:", b"C:", b"a:"):
        match = _PHP.search(data.decode("latin-1"))
        if match:
            return Verdict(f"is a serialised object of PHP, of class `{(match[1] or match[2])[:60]}`", "")
    return None


def _java_class(data: bytes) -> str:
    if data[4:6] == b"sr" and len(data) > 8:
        length = int.from_bytes(data[6:8], "big")
        name = data[8 : 8 + min(length, 120)].decode("ascii", "replace")
        return f", of class `{name}`" if name.replace(".", "").replace("$", "").isalnum() else ""
    return ""


def _marshal(data: bytes) -> Verdict | None:
    """Ruby's Marshal 4.8: `o`, `u`, `U`, `e`, `C` and `c`, `S` are objects and classes; strings, arrays and hashes are data unless one is inside."""
    if data[2:3] in b"ouUCcS":
        return Verdict("is a serialised object of Ruby", "")
    if re.search(rb"[ouUeC]:[\x06-\x7f][A-Z][\w:]{1,100}|c[\x06-\x7f][A-Z]\w{1,60}::[A-Z]", data[2:_HEAD]):
        return Verdict("is a serialised structure of Ruby that holds an object", "")
    return None


def _pickle(data: bytes) -> Verdict | None:
    """A pickle that names a callable. Opcodes are read, none is run."""
    named = ""
    strings: list[str] = []
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(data[:_HEAD]))):
            if count > _OPCODES:
                break
            if opcode.name in ("SHORT_BINUNICODE", "BINUNICODE", "UNICODE", "STRING", "SHORT_BINSTRING"):
                strings = [*strings[-1:], str(argument)[:60]]
            elif opcode.name in ("GLOBAL", "INST"):
                named = str(argument).replace(" ", ".")[:120]
            elif opcode.name == "STACK_GLOBAL" and strings:
                named = ".".join(strings)
            elif opcode.name in ("REDUCE", "BUILD", "OBJ", "NEWOBJ", "NEWOBJ_EX") and named:
                return Verdict(f"is a pickle of Python that calls `{named}`", "", "critical")
            if opcode.name == "INST":
                return Verdict(f"is a pickle of Python that calls `{named}`", "", "critical")
    except Exception:  # noqa: BLE001 - pickletools raises whatever its readers raise on what is no pickle
        strings = []
    if named and data[:1] in b"\x80c" and re.fullmatch(r"[a-z_][\w.]*\.\w+", named):
        return Verdict(f"begins a pickle of Python that names `{named}`", "", "high", "medium")
    return None
