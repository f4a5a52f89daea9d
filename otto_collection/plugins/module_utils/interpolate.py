# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`$VAR` in a text, and the `.env` file that variables come from. Pure.

`$VAR`, `${VAR}`, `${VAR:-default}`, `${VAR-default}`, `${VAR:?message}`, `${VAR?message}`,
`${VAR:+other}`, `${VAR+other}` and `$$` mean what they mean in compose. Jinja braces mean nothing:
they stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ansible_collections.otto.cluster.plugins.module_utils.errors import (
    Problems,
    nearest,
    show_value,
    typed,
)
from ansible_collections.otto.cluster.plugins.module_utils.withheld import (
    WITHHELD,
    Withheld,
    layered,
    shown_names,
    withheld_hint,
)

MAX_EXPANDED = 8 * 1024 * 1024
"""Characters that variables may blow a file up to."""

_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_MAX_NESTED = 16


class CannotExpand(Exception):
    """quoted: `found` is a piece of the text itself, which may be a secret.

    what: the same for a text of which nothing at all is shown.
    """

    def __init__(
        self,
        message: str = "",
        found: str = "",
        expected: str = "",
        hint: str = "",
        near: str = "",
        quoted: bool = False,
        what: str = "",
    ) -> None:
        super().__init__(message)
        self.quoted = quoted
        self.message = message
        self.found = found
        self.expected = expected
        self.hint = hint
        self.nearest = near
        self.what = what or found


class _Piece(NamedTuple):
    """`${name operator argument}`; end is where the text goes on."""

    name: str
    operator: str
    argument: str
    end: int


def expand(text: str, environ: Mapping[str, str], depth: int = 0) -> str:
    """Text with its variables replaced, as compose does it. Raises CannotExpand."""
    if depth > _MAX_NESTED:
        raise CannotExpand(
            found=f"variables nested deeper than {_MAX_NESTED}", expected="a simpler default"
        )
    out: list[str] = []
    length = 0
    at = 0
    while True:
        dollar = text.find("$", at)
        if dollar < 0:
            out.append(text[at:])
            return "".join(out)
        out.append(text[at:dollar])
        if text.startswith("$$", dollar):
            out.append("$")
            at = dollar + 2
            continue
        piece = _piece(text, dollar)
        out.append(_resolve(piece, environ, depth))
        length += len(out[-1])
        if length > MAX_EXPANDED:
            raise CannotExpand(
                found=f"more than {MAX_EXPANDED} characters with all variables expanded",
                expected=f"at most {MAX_EXPANDED}",
            )
        at = piece.end


def _piece(text: str, dollar: int) -> _Piece:
    braced = text.startswith("{", dollar + 1)
    name = _NAME.match(text, dollar + 1 + braced)
    if name is None:
        raise CannotExpand(
            found=show_value(text[dollar : dollar + 12]),
            expected="$VAR, ${VAR}, ${VAR:-default} or $$",
            hint="$$ stands for a dollar sign",
            quoted=True,
            what="a dollar sign that begins no variable",
        )
    if not braced:
        return _Piece(name.group(), "", "", name.end())
    operator = next(
        (one for one in (":-", ":?", ":+", "-", "?", "+") if text.startswith(one, name.end())), ""
    )
    start = name.end() + len(operator)
    depth = 1
    at = start
    while at < len(text):
        if text.startswith("$$", at):
            at += 2
            continue
        if text[at] == "{":  # also one that is no variable's: a default may be JSON
            depth += 1
        if text[at] == "}":
            depth -= 1
            if not depth:
                break
        at += 1
    if depth or (not operator and at != start):
        raise CannotExpand(
            found=show_value(text[dollar : dollar + 32]),
            expected="${VAR}, ${VAR:-default}, ${VAR:?message} or ${VAR:+other}",
            hint="the closing brace is missing" if depth else "$$ stands for a dollar sign",
            quoted=True,
            what="a variable in braces that cannot be read",
        )
    return _Piece(name.group(), operator, text[start:at], at + 1)


def _resolve(piece: _Piece, environ: Mapping[str, str], depth: int) -> str:
    value = environ.get(piece.name)
    if isinstance(value, Withheld):
        raise CannotExpand(
            WITHHELD,
            found=f"${{{piece.name}}}",
            expected="a variable that the file is given",
            hint=withheld_hint(piece.name),
            what="a variable",
        )
    missing = not value if piece.operator.startswith(":") else value is None
    kind = piece.operator[-1:]
    if kind == "+":
        return "" if missing else expand(piece.argument, environ, depth + 1)
    if not missing:
        return value or ""
    if kind == "-":
        return expand(piece.argument, environ, depth + 1)
    near = nearest(piece.name, shown_names(environ))
    if kind == "?":
        said = expand(piece.argument, environ, depth + 1)
        raise CannotExpand(
            show_value(said)[1:-1] if said else "",
            found=f"${{{piece.name}}}, which is not set",
            expected="a value",
            hint=typed("export {0}=..., or write {0}=... into .env beside the file", piece.name),
            near=near,
            what=_UNSET,
        )
    raise CannotExpand(
        found=f"${{{piece.name}}}, which is not set",
        expected="a value",
        hint=typed(
            "export {0}=..., write it into .env beside the file, or say ${{{0}:-default}}",
            piece.name,
        ),
        near=near,
        what=_UNSET,
    )


_UNSET = "a variable that is not set"


# --- .env -----------------------------------------------------------------------------------

_ENV_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z0-9_][A-Za-z0-9_.-]*)[ \t]*[=:][ \t]*")
_ENV_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


_ENV_NAME = re.compile("[A-Za-z_][A-Za-z0-9_.-]*")
_GIVEN = "one of the file's own, or one that --var names"


def parse_env(
    text: str,
    environ: Mapping[str, str],
    problems: Problems,
    *,
    raw: bool = False,
    bare: bool = False,
) -> dict[str, str]:
    """Variables of the text of a `.env` file, as `source.read_env_file` describes it.

    Any file may be named as one, a file of passwords too: a problem says its line, and quotes none
    of it.
    """
    values: dict[str, str] = {}
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = text.count("\n", 0, at) + 1
        stripped = text[at:end].strip()
        if not stripped or stripped.startswith("#"):
            at = end + 1
            continue
        start = at + len(text[at:end]) - len(text[at:end].lstrip())
        match = _ENV_LINE.match(text, start)
        if match is None and bare and _ENV_NAME.fullmatch(stripped):
            given = environ.get(stripped)
            if isinstance(given, Withheld):
                problems.add((), WITHHELD, found="a variable", expected=_GIVEN, line=line)
            elif given is not None:
                values[stripped] = given
            at = end + 1
            continue
        if match is None:
            problems.add((), found="a line without KEY=", expected="KEY=value", line=line)
            at = end + 1
            continue
        name = match.group(1)
        begin = match.end()
        if raw:
            values[name] = text[match.end(1) : end].lstrip()[1:]
            at = end + 1
            continue
        value, end, wrong = _env_value(text, begin, end)
        if wrong:
            problems.add((), found=wrong, line=line)
        if value is None:
            return values
        if text[begin : begin + 1] != "'":
            try:
                value = expand(value, layered(values, environ))
            except CannotExpand as error:
                said = WITHHELD if error.message == WITHHELD else ""
                expected = _GIVEN if said else error.expected
                problems.add((), said, found=error.what, expected=expected, line=line)
        values[name] = value
        at = end + 1
    return values


def _env_value(text: str, begin: int, end: int) -> tuple[str | None, int, str]:
    """What stands at `begin`, its quotes and escapes undone; where its last line ends; what is
    wrong with it. None for one whose quote is never closed: nothing after it can be read."""
    quote = text[begin : begin + 1]
    if not quote or quote not in "'\"":
        return re.split(r"[ \t]#", text[begin:end], maxsplit=1)[0].strip(), end, ""
    close = _closing_quote(text, begin)
    if close < 0:
        return None, end, f"a {quote} that is not closed"
    value = text[begin + 1 : close]
    if quote == "'":
        value = value.replace("\\'", "'")
    else:
        value = re.sub(r"\\([nrt\"\\$])", lambda found: _ENV_ESCAPES[found.group(1)], value)
    end = text.find("\n", close)
    end = len(text) if end < 0 else end
    rest = text[close + 1 : end].strip()
    wrong = "text after the closing quote" if rest and not rest.startswith("#") else ""
    return value, end, wrong


def _closing_quote(text: str, begin: int) -> int:
    """Index of the quote that closes the one at `begin`, -1 where none does."""
    quote = text[begin]
    at = begin + 1
    while at < len(text):
        if text[at] == "\\" and (quote == '"' or text.startswith("\\'", at)):
            at += 2
            continue
        if text[at] == quote:
            return at
        at += 1
    return -1
