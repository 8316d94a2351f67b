"""The picture of a real run for the README: `eastwall demo --once --record FILE.svg`."""

from __future__ import annotations

import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme

COLUMNS = 112
_THEME = TerminalTheme(
    (13, 19, 28),
    (214, 221, 230),
    [(38, 46, 58), (255, 107, 107), (94, 214, 136), (240, 196, 92), (104, 169, 255), (201, 146, 255), (86, 205, 222), (214, 221, 230)],
    [(110, 122, 138), (255, 134, 134), (126, 231, 162), (255, 216, 122), (140, 190, 255), (219, 176, 255), (130, 225, 238), (255, 255, 255)],
)  # fmt: skip
# No web fonts: a picture in a page may not load any, and a document of ours asks nobody for anything.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "font-family: Fira Code, monospace",
    'font-family: "Fira Code", "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace',
)


def recording_console() -> Console:
    """A terminal as wide as the picture that remembers what is printed on it."""
    return Console(
        record=True, width=COLUMNS, force_terminal=True, color_system="truecolor", highlight=False, legacy_windows=False
    )


def save(out: Console, path: Path, title: str) -> None:
    """Raises OSError."""
    svg = out.export_svg(title=title, theme=_THEME, code_format=_FORMAT, unique_id="eastwall-demo")
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", "utf-8")
