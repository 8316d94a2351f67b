"""Whether a text, put into a search filter of LDAP (RFC 4515), would change the filter.

A service builds `(uid=VALUE)`; a value that closes the bracket and opens another makes a filter of its own. So the text is read as what
stands *inside* an item: an assertion value, then `)`, then further filters, of which the last may stay open. All of the text must read
so, and something in it must be LDAP's (`*`, a compound, an attribute of the standard schemas): `f(a)(b=c)` and `(a)(|b)` are no filters.
"""

from __future__ import annotations

import re

MAX_TEXT = 4_608
"""Characters analysed: a piece of the prefilter and its overlap."""
MAX_TOKENS = 400
MAX_VALUE = 128
"""Characters of the assertion value before the bracket that closes it."""

ATTRIBUTES = frozenset(
    # RFC 4519, RFC 2798 (inetOrgPerson), RFC 2307 (posix), Active Directory
    "objectclass objectcategory cn sn c l st o ou dc uid uidnumber gidnumber gid mail name givenname surname initials displayname title description department "
    "telephonenumber mobile member memberof memberuid uniquemember owner manager userpassword password jpegphoto employeenumber employeetype company "
    "homedirectory loginshell samaccountname samaccounttype useraccountcontrol userprincipalname serviceprincipalname distinguishedname dn objectsid objectguid "
    "admincount unicodepwd pwdlastset lastlogon lockouttime badpwdcount whencreated primarygroupid grouptype mailnickname proxyaddresses info comment "
    "street postalcode postaladdress physicaldeliveryofficename roomnumber seealso entrydn entryuuid modifytimestamp createtimestamp hassubordinates "
    "sshpublickey krbprincipalname ipserviceport ms-mcs-admpwd msds-allowedtodelegateto".split()
)
_ITEM = r"[A-Za-z0-9][A-Za-z0-9.;-]{0,60}"
_TOKEN = re.compile(
    rf"\s++|(?P<close>\))|(?P<open>\(\s{{0,8}}(?P<sign>[&|!]))|\(\s{{0,8}}(?P<name>{_ITEM})\s{{0,4}}(?P<rule>:[A-Za-z0-9.:-]{{0,60}})?(?P<compare>[~<>]?=)(?P<value>[^()\x00]{{0,400}})|(?P<null>\x00|\\00)"
)
_EXTENSIBLE = re.compile(rf"(?:^|[(\s*]){_ITEM}?(?::dn)?:\d{{1,4}}(?:\.\d{{1,10}}){{3,20}}:=")
_FIRST = re.compile(r"[()]")


def injection(text: str) -> str | None:
    """Why `text` would change a filter (a clause of a sentence), or None. Never raises; linear in the first `MAX_TEXT` characters."""
    text = text[:MAX_TEXT].strip(" \t\r\n")
    if _EXTENSIBLE.search(text):
        return "asks for a matching rule by its number"
    bracket = _FIRST.search(text)
    if bracket is None:
        return None
    value, rest = text[: bracket.start()], text[bracket.start() :]
    if rest[0] == "(" and value and value[-1] not in "*!&|":
        return None  # "f(x)", "Smith (John)"
    if len(value) > MAX_VALUE or "\n" in value or (not value and rest[0] == "(" and _whole(rest) is None):
        return None
    if rest[0] == "(" and not value:
        return "is a whole filter"
    return _closes(value, rest)


def _closes(value: str, rest: str) -> str | None:
    read = _read(rest)
    if read is None:
        return None
    filters, evidence, null, always, _ = read
    if null and rest[0] == ")" and not filters and value[-1:] == "*":
        return "closes the filter and cuts off the rest with a null byte"
    if not filters:
        return None
    if always:
        return "adds a filter that always holds"
    if evidence or null or value[-1:] == "*":
        return "closes the filter it is put in and adds another" if rest[0] == ")" else "adds a filter to the one it is put in"
    return None


def _whole(text: str) -> str | None:
    """A filter of its own: balanced, with an attribute of a known schema or a compound of items."""
    read = _read(text)
    if read is None:
        return None
    filters, evidence, _, _, depth = read
    if filters == 1 and "*" not in text and ":=" not in text:
        return None  # "(cn = common name)" selects one entry at most
    return "filter" if filters and evidence and depth == 0 else None


def _read(text: str) -> tuple[int, bool, bool, bool, int] | None:
    """(filters opened, whether something is LDAP's alone, holds a null byte, holds `(&)` or its like, open brackets at the end);
    None when the text is not made of filters."""
    position, filters, depth = 0, 0, 0
    evidence = null = always = False
    sign = ""
    for _ in range(MAX_TOKENS):
        if position >= len(text):
            break
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        kind = match.lastgroup
        position = match.end()
        if match["name"] is not None:
            filters, depth, sign = filters + 1, depth + 1, ""
            value = match["value"].strip()
            evidence = (
                evidence or match["name"].lower().partition(";")[0] in ATTRIBUTES or value == "*" or match["compare"] != "="
            )
            if "*" in value and ("**" not in value):
                evidence = True
        elif kind == "close":
            always = always or sign in ("&", "|")
            depth, sign = depth - 1, ""
        elif match["sign"] is not None:
            if sign and match["sign"] == "":
                return None
            filters, depth, sign = filters + 1, depth + 1, match["sign"]
        elif kind == "null":
            null = True
            break  # what follows is cut off
    # `*)(&`: the compound stays open at the end.
    if sign in ("&", "|"):
        always = True
    return filters, evidence, null, always, depth
