# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts, numbers, lists and mappings as a person may write them, for the option parsers. Pure.

Every parser has the shape `parse(raw, at) -> value | None`; None means "as if it were not written".
What is wrong goes to `at.problem(...)`, and the parser goes on with the rest. Scalars come as text
from otto.yaml and typed from Ansible; both are taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import Path, Problems, nearest, show_value
from .secret_names import sounds_secret

_NOTHING = object()


@dataclass(frozen=True)
class At:
    """Where in the file a parser stands, and whom it tells what is wrong there.

    environ: what a variable that is named without a value takes its value from.
    untrusted: somebody else wrote the file; a key may stand there only where it says so.
    """

    path: Path
    problems: Problems
    environ: Mapping[str, str] = field(default_factory=dict)
    untrusted: bool = False

    def sub(self, *keys: str | int) -> At:
        return At((*self.path, *keys), self.problems, self.environ, self.untrusted)

    def problem(
        self,
        message: str,
        *,
        found: Any = _NOTHING,
        expected: str = "",
        nearest: str = "",
        hint: str = "",
    ) -> None:
        self.problems.add(
            self.path,
            message,
            found="" if found is _NOTHING else self._shown(found),
            expected=expected,
            nearest=nearest,
            hint=hint,
        )

    def _shown(self, found: Any) -> str:
        """Without what came out of a variable that sounds secret."""
        shown = show_value(found)
        for name, value in self.environ.items():
            if len(value) > 3 and value in str(found) and sounds_secret(name):
                return "(hidden)"
        return shown


Parser = Callable[[Any, At], Any]


def plain(raw: Any) -> str | None:
    """The text of a scalar; None for a list, a mapping or nothing."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, str):
        return str(raw)  # a plain str, whatever Ansible has tagged it with
    if isinstance(raw, (int, float)):
        return str(raw)
    return None


# --- scalars -------------------------------------------------------------------------------------


def text(raw: Any, at: At) -> str | None:
    """Non-empty text on one line."""
    value = plain(raw)
    if value is None or not value.strip() or "\n" in value or "\0" in value:
        at.problem("is no text", found=raw, expected="text on one line")
        return None
    return value.strip()


def matching(pattern: str, expected: str) -> Parser:
    """Text that matches a regular expression as a whole."""

    def parse(raw: Any, at: At) -> str | None:
        value = plain(raw)
        if value is None or not re.fullmatch(pattern, value.strip()):
            at.problem("is not valid", found=raw, expected=expected)
            return None
        return value.strip()

    return parse


def one_of(*choices: str, hint: str = "") -> Parser:
    def parse(raw: Any, at: At) -> str | None:
        value = (plain(raw) or "").strip()
        if value not in choices:
            at.problem("is not valid", found=raw, expected=" or ".join(choices), hint=hint)
            return None
        return value

    return parse


def integer(minimum: int, maximum: int = 2**63 - 1) -> Parser:
    def parse(raw: Any, at: At) -> int | None:
        value = (plain(raw) or "").strip()
        if isinstance(raw, bool) or not re.fullmatch(r"[+-]?[0-9]+", value):
            at.problem("is no whole number", found=raw, expected="a whole number")
            return None
        if not minimum <= int(value) <= maximum:
            at.problem("is out of range", found=raw, expected=f"{minimum} to {maximum}")
            return None
        return int(value)

    return parse


def boolean(raw: Any, at: At) -> bool | None:
    value = (plain(raw) or "").strip().lower()
    if value in ("true", "yes", "on"):
        return True
    if value in ("false", "no", "off"):
        return False
    at.problem("is neither true nor false", found=raw, expected="true or false")
    return None


def cpus(raw: Any, at: At) -> float | None:
    value = (plain(raw) or "").strip()
    if isinstance(raw, bool) or not re.fullmatch(r"[0-9]+(\.[0-9]+)?|\.[0-9]+", value):
        at.problem("is no number of CPUs", found=raw, expected="a number such as 0.5 or 2")
        return None
    # The engine counts in billionths, and refuses less than a hundredth.
    if not 0.01 <= float(value) <= 4096:
        at.problem("is out of range", found=raw, expected="0.01 or more")
        return None
    return round(float(value), 9)


_UNITS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def size(raw: Any, at: At) -> int | None:
    """Bytes: a number, or one with b, k, m, g, t (also kb, kib, ...; powers of 1024)."""
    value = (plain(raw) or "").strip().lower()
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([bkmgt]?)(?:i?b)?", value)
    if isinstance(raw, bool) or not match:
        at.problem("is no size", found=raw, expected="a size such as 512m or 1.5g")
        return None
    return int(float(match.group(1)) * 1024 ** _UNITS[match.group(2)])


def limit(raw: Any, at: At) -> int | None:
    """A size, or -1 for no limit."""
    if (plain(raw) or "").strip() == "-1":
        return -1
    return size(raw, at)


_DURATION = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
    "w": 7 * 86400 * 10**9,
}


def duration(raw: Any, at: At) -> int | None:
    """Nanoseconds, of `1m30s`, `500ms`, `1.5h`."""
    value = (plain(raw) or "").strip()
    if value == "0":
        return 0
    part = r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h|d|w)"
    if not re.fullmatch(f"(?:{part})+", value):
        hint = f"write {value}s for seconds" if re.fullmatch(r"[0-9.]+", value) else ""
        at.problem("is no duration", found=raw, expected="such as 30s or 1m30s", hint=hint)
        return None
    return sum(round(float(n) * _DURATION[unit]) for n, unit in re.findall(part, value))


def seconds(nanoseconds: int) -> int:
    """Whole seconds, rounded up: the engine's StopTimeout has no fractions."""
    return math.ceil(nanoseconds / 10**9)


# --- lists and mappings --------------------------------------------------------------------------


def strings(raw: Any, at: At) -> list[str] | None:
    """A list of texts, or one text alone."""
    items = raw if isinstance(raw, list) else [raw]
    found = [text(item, at.sub(i) if isinstance(raw, list) else at) for i, item in enumerate(items)]
    return [item for item in found if item is not None]


def string_set(raw: Any, at: At) -> list[str] | None:
    """A list of texts whose order means nothing: sorted, each once."""
    return sorted(set(strings(raw, at) or ()))


def pairs(raw: Any, at: At, what: str) -> dict[str, tuple[Any, At]]:
    """Of a mapping, or a list of KEY=VALUE: key -> (value, or None where none is given; place)."""
    found: dict[str, tuple[Any, At]] = {}
    if isinstance(raw, Mapping):
        for key, value in raw.items():
            found[str(key)] = (value, at.sub(str(key)))
    elif isinstance(raw, list):
        for i, item in enumerate(raw):
            line = plain(item)
            if line is None:
                at.sub(i).problem("is no text", found=item, expected=f"{what}=value")
                continue
            key, equals, value = line.partition("=")
            if key in found:
                at.sub(i).problem(f"names {key} a second time", found=key)
            found[key] = (value if equals else None, at.sub(i))
    else:
        at.problem("is not valid", found=raw, expected=f"a mapping, or a list of {what}=value")
    return found


def keyed(parsers: Mapping[str, Parser], required: tuple[str, ...] = ()) -> Parser:
    """A mapping with these keys and no others; what is None is left out."""

    def parse(raw: Any, at: At) -> dict[str, Any] | None:
        if not isinstance(raw, Mapping):
            expected = "a mapping with " + ", ".join(sorted(parsers))
            at.problem("is not valid", found=raw, expected=expected)
            return None
        result: dict[str, Any] = {}
        for key, value in raw.items():
            if str(key).startswith("x-"):
                continue
            if str(key) not in parsers:
                near = nearest(str(key), parsers)
                at.sub(str(key)).problem("is no key that is known here", found=key, nearest=near)
            elif value is not None:
                parsed = parsers[str(key)](value, at.sub(str(key)))
                if parsed is not None:
                    result[str(key)] = parsed
        for key in required:
            if raw.get(key) is None:
                at.problem(f"has no {key}", found=raw, expected=f"a key {key}")
                return None
        return result

    return parse


def texts(raw: Any, at: At) -> dict[str, str]:
    """A mapping of options to texts."""
    result = {}
    for key, (value, where) in pairs(raw, at, "option").items():
        content = plain(value)
        if content is None:
            where.problem("is no text", found=value, expected="text or a number")
        else:
            result[key] = content
    return result


def refused(why: str, hint: str = "") -> Parser:
    """A key that is known and not done: said plainly, with what to use instead."""

    def parse(raw: Any, at: At) -> None:  # noqa: ARG001
        at.problem(why, hint=hint)

    return parse


def without_effect(parser: Parser) -> Parser:
    """A key that is read and says nothing here."""

    def parse(raw: Any, at: At) -> None:
        parser(raw, at)

    return parse
