# SPDX-License-Identifier: GPL-3.0-or-later
"""How things look: aligned tables, ages, colours. Text from nodes is never trusted here."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any, TextIO

from ansible_collections.otto.cluster.plugins.module_utils.errors import pasteable

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}


def clean(text: object, limit: int = 500) -> str:
    """One line that cannot move a cursor: control characters become spaces, long text is cut."""
    line = str(text)[: limit * 4]
    if not line.isprintable():
        line = "".join(character if character.isprintable() else " " for character in line)
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def of_service(service: str, text: str) -> str:
    """What an event says of a service, where its name stands before it already."""
    return text.removeprefix(f"{service}: ").removeprefix(f"{service} ") if service else text


def terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal that understands escapes."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def coloured(text: str, colour: str, stream: TextIO | None = None) -> str:
    """Text in a colour, where the stream is a terminal and NO_COLOR is not set."""
    stream = stream or sys.stdout
    if not colour or os.environ.get("NO_COLOR") or not terminal(stream):
        return text
    return f"\033[{_COLOURS[colour]}m{text}\033[0m"


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def table(header: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, nothing cut: a table that a script can read too.

    A cell may be "text\\tcolour"; the colour does not count for the width.
    """
    cells = [[cell.split("\t") for cell in row] for row in rows]
    if header is not None:
        cells.insert(0, [[name.upper(), "bold"] for name in header])
    columns = range(len(cells[0]) if cells else 0)
    widths = [max(width(row[i][0]) for row in cells) for i in columns]

    def line(row: Sequence[Sequence[str]]) -> str:
        parts = []
        for i in columns:
            text = row[i][0]
            padding = " " * (widths[i] - width(text))
            parts.append(coloured(text, row[i][1] if len(row[i]) > 1 else "") + padding)
        return "  ".join(parts).rstrip()

    return "\n".join(map(line, cells))


def age(seconds: float | None) -> str:
    """`now`, `12 s`, `3 min`, `5 h`, `2 d`; `never` for None."""
    if seconds is None:
        return "never"
    if seconds < 2:
        return "now"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds / 86400:.0f} d ago"


def size(count: float) -> str:
    """Bytes as `512 MiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def problem(where: str, message: str, cause: str = "", next: str = "") -> str:
    """What went wrong, on lines that belong together."""
    lines = [f"{where}: {clean(message, 300)}" if where else clean(message, 300)]
    if cause:
        lines.append(f"    cause     {clean(cause, 600)}")
    if next:
        lines.append(f"    next      {clean(pasteable(next), 2000)}")
    return "\n".join(lines)


def as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
