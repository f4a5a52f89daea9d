# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors, made once where they are found and converted only at the edge (CLI, module, plugin).

A *problem* is one thing wrong with otto.yaml; parsers collect them and go on, so that a person
sees the whole page at once. An `OttoError` is what went wrong while doing.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Union

from .masking import found_at, in_text

Path = tuple[Union[str, int], ...]  # noqa: UP007  (nodes run it on Python 3.9)
"""Where a value stands: ("services", "web", "ports", 0)."""

_SHOWN = 80


def show_path(path: Sequence[str | int]) -> str:
    """`services.web.ports[0]`; a key that holds a dot or a bracket is quoted: `labels."a.b"`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        if not part or any(character in part for character in '.[]" \t\n'):
            part = '"' + _one_line(part).replace('"', '\\"') + '"'
        text += ("." if text else "") + part
    return text


def show_value(value: Any) -> str:
    """A value as the `found` of a problem: quoted text, or what kind of thing it is.

    Never call it with a secret.
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "an empty list"
    text = _one_line(str(value))
    if len(text) > _SHOWN:
        text = text[: _SHOWN - 3] + "..."
    return f'"{text}"' if isinstance(value, str) else text


def _one_line(text: str) -> str:
    """Text with everything that could move a terminal's cursor written as an escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def nearest(word: str, candidates: Iterable[str]) -> str:
    """The candidate that `word` was most likely meant to be; "" where none comes close."""
    known = list(candidates)
    by_folded = {candidate.lower(): candidate for candidate in reversed(known)}
    # A whole cluster file may stand in a key: difflib is quadratic, so long words are cut.
    found = difflib.get_close_matches(word[:64].lower(), list(by_folded), n=1, cutoff=0.6)
    return by_folded[found[0]] if found else ""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a file.

    path: where, within the file's tree; () is the file itself.
    message: one sentence, only where found/expected alone do not say it.
    found, expected, nearest, hint: one line each, "" where there is nothing to say.
    file, line: filled in by whoever knows them; line 0 is not known.
    outside: the file, links followed, that may be read once its place is allowed; "" for none.
    """

    path: Path
    message: str
    found: str = ""
    expected: str = ""
    nearest: str = ""
    hint: str = ""
    file: str = ""
    line: int = 0
    outside: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", in_text(self.message))
        object.__setattr__(self, "found", found_at(self.path, self.found))

    def __str__(self) -> str:
        where = self.file
        if self.line:
            where = f"{where or 'line'}:{self.line}"
        head = ": ".join(part for part in (where, show_path(self.path)) if part)
        lines = [head] if head else []
        if self.message:
            lines.append("    " + self.message)
        for word in ("found", "expected", "nearest", "hint"):
            text = getattr(self, word)
            if text:
                lines.append(f"    {word:<9} {text}")
        return "\n".join(lines)


class Problems:
    """Collector that parsers write to and go on. It keeps the order of arrival."""

    def __init__(self) -> None:
        self._all: list[Problem] = []

    def add(
        self,
        path: Sequence[str | int],
        message: str = "",
        *,
        found: str = "",
        expected: str = "",
        nearest: str = "",
        hint: str = "",
        line: int = 0,
        outside: str = "",
    ) -> None:
        """Note one problem. `found` is text to print: pass it through `show_value` first."""
        self._all.append(
            Problem(tuple(path), message, found, expected, nearest, hint, "", line, outside)
        )

    def extend(self, problems: Iterable[Problem]) -> None:
        self._all.extend(problems)

    def located(self, file: str, lines: Mapping[Path, int] | None = None) -> tuple[Problem, ...]:
        """All problems with file and line, in the order of the file.

        A path that is not in the file (a missing key) gets the line of its nearest parent.
        """
        known = lines or {}

        def locate(problem: Problem) -> Problem:
            line = problem.line
            path = problem.path
            while not line and path not in known and path:
                path = path[:-1]
            return replace(problem, file=problem.file or file, line=line or known.get(path, 0))

        return tuple(sorted((locate(problem) for problem in self._all), key=lambda p: p.line))

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __bool__(self) -> bool:
        return bool(self._all)


class ClusterFileError(Exception):
    """otto.yaml is not usable. `problems` holds all that is wrong; `str()` is the whole page."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        files = sorted({problem.file for problem in self.problems if problem.file})
        total = f"{count} problem{'' if count == 1 else 's'}"
        if files:
            total += " in " + ", ".join(files)
        return "\n".join([str(problem) for problem in self.problems] + [total])


def typed(command: str, *words: object) -> str:
    """A command for a person to paste: `typed("ls -l {}", path)`.

    Each word is filled in as a shell reads it back, and in one line: whoever chose a file's name
    chooses no command by it.
    """
    return command.format(*(_word(str(word)) for word in words))


def _word(text: str) -> str:
    if text.isprintable():
        return shlex.quote(text)
    # What moves a cursor or ends a line would show another command than is pasted.
    quoted = "".join(
        "\\" + character
        if character in "\\'"
        else character
        if character.isprintable()
        else "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
        for character in text
    )
    return f"$'{quoted}'"


def pasteable(next: str) -> str:
    """A command to type with its remark as a shell's comment: `ping pi   # is it on?`."""
    return re.sub(r"^(.*)   \((.+)\)$", r"\1   # \2", next)


class OttoError(Exception):
    """Something went wrong while doing.

    message: what failed. cause: why, as far as it is known. next: the command to type.
    """

    def __init__(self, message: str, cause: str = "", next: str = "") -> None:
        # What an engine, a registry or a program said may hold an address with a password.
        self.message, self.cause, self.next = map(in_text, (message, cause, next))
        super().__init__(self.message, self.cause, self.next)

    def __str__(self) -> str:
        lines = [self.message]
        if self.cause:
            lines.append("    cause     " + self.cause)
        if self.next:
            lines.append("    next      " + pasteable(self.next))
        return "\n".join(lines)
