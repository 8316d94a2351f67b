"""What MCP servers say that their tools take: seen live in their answers to `tools/list`, for SchemaPolicies.

Servers may define a tool otherwise for each caller, or otherwise since an hour ago: what was told in the last `STANDS` seconds stands beside each
other, and arguments are good that fit any. A tool with more than `MAX_FORMS` forms is held against nothing. What is not known is not judged: an
engine that has just begun, or lost this, judges less.
"""

from __future__ import annotations

from typing import Any

import msgspec

from eastwall.discovery.input_schemas import InputSchema

STANDS = 86_400.0
"""Seconds for which a definition counts since it was told last."""
MAX_FORMS = 4
MAX_SCHEMA = 32 << 10
"""Bytes of one schema; a larger one is held against nothing."""
MAX_TOOLS = 2_000
MAX_BYTES = 16 << 20
"""Of all schemas together."""
AGAIN = 60.0
"""Seconds in which the same definition is not told again."""
Key = tuple[str, str, str]
"""(service, path of the server, tool)"""
Told = tuple[str, str, str, str, bytes, float]
"""(service, path, tool, digest of the definition, its `inputSchema` as JSON, when it was told)."""


class Form:
    """One definition of a tool."""

    __slots__ = ("_compiled", "_schema", "digest", "time")

    def __init__(self, digest: str, schema: bytes, time: float) -> None:
        self.digest, self._schema, self.time = digest, schema, time
        self._compiled: InputSchema | None = None

    @property
    def schema(self) -> InputSchema:
        if self._compiled is None:
            self._compiled = InputSchema(msgspec.json.decode(self._schema))
        return self._compiled

    @property
    def size(self) -> int:
        return len(self._schema)


class DefinedTools:
    """Definitions of tools; the tools that were told longest ago leave first."""

    def __init__(self) -> None:
        self._forms: dict[Key, dict[str, Form]] = {}
        self._varied: dict[Key, float] = {}
        """Tools with too many forms, and when that was seen."""
        self._bytes = 0
        self.told: list[Told] | None = None
        """Definitions since other engines were told; None: nobody is told."""

    def __len__(self) -> int:
        return len(self._forms)

    def note(self, service: str, path: str, tool: str, digest: str, schema: Any, time: float) -> None:
        """A server has defined a tool."""
        key = (service, path, tool)
        known = self._forms.get(key, {}).get(digest)
        if known is not None and abs(time - known.time) < AGAIN:
            return
        encoded = msgspec.json.encode(schema) if isinstance(schema, dict) else b"{}"
        told = (*key, digest, encoded if len(encoded) <= MAX_SCHEMA else b"{}", time)
        if self.told is not None:
            self.told.append(told)
        self.take(told)

    def take(self, told: Told) -> None:
        """`note`, told to nobody. Raises ValueError on what is no definition."""
        service, path, tool, digest, schema, time = told
        if len(schema) > MAX_SCHEMA or not schema.startswith(b"{"):
            raise ValueError("a definition of a tool that is none")
        key = (service, path, tool)
        forms = self._forms.pop(key, {})
        self._bytes -= sum(form.size for form in forms.values())
        before = forms.get(digest)
        forms[digest] = Form(digest, schema, max(time, before.time) if before is not None else time)
        newest = max(form.time for form in forms.values())
        forms = {name: form for name, form in forms.items() if form.time > newest - STANDS}
        if len(forms) > MAX_FORMS:
            self._vary(key, newest)
            return
        self._forms[key] = forms
        self._bytes += sum(form.size for form in forms.values())
        while len(self._forms) > MAX_TOOLS or self._bytes > MAX_BYTES:
            oldest = self._forms.pop(next(iter(self._forms)))
            self._bytes -= sum(form.size for form in oldest.values())

    def _vary(self, key: Key, time: float) -> None:
        self._varied.pop(key, None)
        if len(self._varied) >= MAX_TOOLS:
            del self._varied[next(iter(self._varied))]
        self._varied[key] = time

    def of(self, service: str, path: str, tool: str, time: float) -> list[Form]:
        """The definitions that stand, the latest first; none: nothing is known, or too much."""
        key = (service, path, tool)
        varied = self._varied.get(key)
        if varied is not None and abs(time - varied) < STANDS:
            return []
        forms = self._forms.get(key)
        if not forms:
            return []
        return sorted((form for form in forms.values() if form.time > time - STANDS), key=lambda form: -form.time)

    def forget(self) -> None:
        """What was told elsewhere was not heard of: another definition may stand."""
        self._forms.clear()
        self._bytes = 0
