# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text that somebody else wrote, made fit to be shown. Pure."""

from __future__ import annotations

# Printable by Unicode, and seen as blanks: with them a text is laid out as another line.
_BLANKS = str.maketrans(dict.fromkeys("\u115f\u1160\u2800\u3164\uffa0", " "))


def one_line(text: str, limit: int) -> str:
    """One line that cannot move a cursor: control characters become spaces, long text is cut.

    limit: characters of the result.
    """
    line = text[: limit * 4].translate(_BLANKS)
    if not line.isprintable():
        line = "".join(character if character.isprintable() else " " for character in line)
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def lines(text: str, limit: int) -> str:
    """Like `one_line`, but the ends of lines and what a line begins with stay.

    limit: characters of the result.
    """
    kept = "".join(
        character if character.isprintable() or character == "\n" else " "
        for character in text[:limit].replace("\r\n", "\n").translate(_BLANKS)
    )
    return "\n".join(line.rstrip() for line in kept.split("\n"))
