"""Listings of directories and buckets in answers (CWE-548): the page's form, and entries in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from eastwall.model.facts import Facts
from eastwall.model.finding import Detection, Finding

META = Detection(
    id="directory-listing",
    title="Listing of a directory or bucket",
    severity="medium",
    confidence="high",
    audience="service-owner",
    phases=("response",),
    owasp=("API8:2023", "A05:2021"),
    cwe=("CWE-548",),
    attack=("T1083", "T1619"),
    stage="reconnaissance",
    on_error="monitor",
    default_action="report",
    families=("listing",),
)

MAX_PAGE = 65_536
"""Characters of a page that are looked at."""
_HEADS = (
    ("Apache or nginx", re.compile(r"<title>\s{0,20}Index of /[^<]{0,300}</title>|<h1>Index of /[^<]{0,300}</h1>", re.IGNORECASE)),
    ("Python's http.server", re.compile(r"<(?:title|h1)>Directory listing for /[^<]{0,300}</", re.IGNORECASE)),
    ("IIS", re.compile(r"\[To Parent Directory\]</a>", re.IGNORECASE)),
    ("Jetty or Tomcat", re.compile(r"<title>(?:Directory: /[^<]{0,300}|Directory Listing For \[?/[^<]{0,300})</title>", re.IGNORECASE)),
    ("serve-index or http-server", re.compile(r"<title>listing directory /[^<]{0,300}</title>|<title>Files within [^<]{0,300}</title>", re.IGNORECASE)),
    ("a Go file server", re.compile(r"\A\s{0,40}(?:<!doctype html>\s{0,10}<meta[^>]{0,80}>\s{0,10})?<pre>\s{0,4}<a href=\"[^\"]{1,200}\">", re.IGNORECASE)),
)  # fmt: skip
_ENTRY = re.compile(r"<a href=\"(?!https?://|#|javascript:|mailto:)[^\"?][^\"]{0,300}\"[^>]{0,120}>", re.IGNORECASE)


def detect(facts: Facts) -> Sequence[Finding]:
    """At most one finding."""
    response = facts.call.response
    if response is None or not 200 <= response.status < 300 or not any("listing" in families for _, families in facts.suspects):
        return ()
    body = facts.operation.body
    found = page(body[:MAX_PAGE]) if type(body) is str else bucket(body)
    if found is None:
        return ()
    where, entries, evidence = found
    return (
        Finding(
            id=META.id,
            severity=META.severity,
            # An object store answers so by design; a listing of files as a page does not.
            confidence="medium" if where.startswith("a bucket") else META.confidence,
            owasp=META.owasp,
            where="body",
            message=f"the answer is the listing of {where}, with {entries} entries",
            evidence=evidence[:120],
            phase="response",
        ),
    )


def page(text: str) -> tuple[str, int, str] | None:
    """(of what, entries, evidence) of a page that lists a directory; None when it is none. Never raises, linear."""
    for server, expression in _HEADS:
        head = expression.search(text)
        if head is None:
            continue
        entries = len(_ENTRY.findall(text))
        if entries >= 2 or (entries and server == "IIS"):
            return (
                f"a directory, as {server} makes it",
                entries,
                " ".join(re.sub(r"<[^>]{0,100}>", " ", head[0]).split()) or head[0],
            )
    return None


def bucket(tree: Any) -> tuple[str, int, str] | None:
    """The same of the answer of an object store: S3's ListBucketResult, Azure's EnumerationResults, Google's storage#objects."""
    if type(tree) is not dict:
        return None
    name = tree.get("Name")
    if type(name) is str and {"MaxKeys", "IsTruncated"} <= tree.keys() and "Contents" in tree:
        contents = tree["Contents"]
        items = contents if type(contents) is list else [contents]
        if all(type(item) is dict and "Key" in item and "LastModified" in item for item in items[:50]):
            return "a bucket", len(items), f"ListBucketResult {name}: {items[0].get('Key', '') if items else ''}"
    blobs = tree.get("Blobs")
    if type(blobs) is dict and "NextMarker" in tree and "Blob" in blobs:
        items = blobs["Blob"] if type(blobs["Blob"]) is list else [blobs["Blob"]]
        return "a bucket of blobs", len(items), f"EnumerationResults {tree.get('@ContainerName', '')}"
    if tree.get("kind") == "storage#objects" and type(tree.get("items")) is list:
        return "a bucket", len(tree["items"]), "storage#objects"
    return None
