# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes of values: what a document from outside may hold, and nothing else comes through. Pure.

A shape reads a value and returns one of its own making. A key that a `Record` does not name is
dropped and counted; a value of another type than its shape's is a `Misfit`. What went through a
shape once goes through it unchanged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.otto.cluster.plugins.plugin_utils.gate.words import lines, one_line

MOST_VALUES = 200_000
"""Values in one document, so that a small text with many of them is bounded too."""
_INTEGER = 2**53  # JSON's exactness ends here
_KEY = 60  # characters of a key in a message


class Misfit(ValueError):
    """What is wrong with a document: `report.errors[0].next: no text`."""


@dataclass
class Reading:
    """One document on its way through its shape. dropped: keys that nobody asked for."""

    dropped: int = 0
    values: int = 0

    def count(self, where: str) -> None:
        self.values += 1
        if self.values > MOST_VALUES:
            raise Misfit(f"{where}: more than {MOST_VALUES} values in one document")


class Shape(Protocol):
    def read(self, value: Any, where: str, reading: Reading) -> Any:
        """The value as it may be used. Raises Misfit."""


@dataclass(frozen=True)
class Line:
    """Text on one line, cleaned, cut at `limit` characters."""

    limit: int = 300

    def read(self, value: Any, where: str, reading: Reading) -> str:
        reading.count(where)
        if not isinstance(value, str):
            raise Misfit(f"{where}: no text")
        return one_line(value, self.limit)


@dataclass(frozen=True)
class Lines:
    """Text of several lines, cleaned, cut at `limit` characters."""

    limit: int = 4000

    def read(self, value: Any, where: str, reading: Reading) -> str:
        reading.count(where)
        if not isinstance(value, str):
            raise Misfit(f"{where}: no text")
        return lines(value, self.limit)


@dataclass(frozen=True)
class Listed:
    """Text of several lines; a mapping becomes a line for each of its keys, anything else none."""

    limit: int

    def read(self, value: Any, where: str, reading: Reading) -> str:
        reading.count(where)
        if isinstance(value, Mapping):
            value = "".join(f"{one_line(f'{key}: {item}', 400)}\n" for key, item in value.items())
        return lines(value, self.limit) if isinstance(value, str) else ""


@dataclass(frozen=True)
class Said:
    """Text, or what ansible-core 2.19 and newer send in its place: an object with the text in it.
    key: of the text within its `event`; "msg" where that is not there."""

    shape: Shape
    key: str = "msg"

    def read(self, value: Any, where: str, reading: Reading) -> Any:
        event = value.get("event") if isinstance(value, Mapping) else None
        if isinstance(event, Mapping):
            value = event.get(self.key) or event.get("msg")
        return self.shape.read(value, where, reading)


@dataclass(frozen=True)
class Text:
    """Text as it is, for what is written into a file and not shown. No surrogates, no NUL."""

    limit: int = 4000

    def read(self, value: Any, where: str, reading: Reading) -> str:
        reading.count(where)
        if not isinstance(value, str):
            raise Misfit(f"{where}: no text")
        if (
            len(value) > self.limit
            or "\0" in value
            or any("\ud800" <= c <= "\udfff" for c in value)
        ):
            raise Misfit(f"{where}: longer than {self.limit} characters, or no text in UTF-8")
        return str(value)


@dataclass(frozen=True)
class Pattern:
    """Text that fits a regular expression as a whole. what: what it is, for the message."""

    expression: str
    what: str

    def read(self, value: Any, where: str, reading: Reading) -> str:
        reading.count(where)
        if not isinstance(value, str) or not re.fullmatch(self.expression, value, re.ASCII):
            raise Misfit(f"{where}: no {self.what}")
        return str(value)


@dataclass(frozen=True)
class OneOf:
    """One of these texts."""

    words: tuple[str, ...]

    def read(self, value: Any, where: str, reading: Reading) -> str:
        reading.count(where)
        for word in self.words:
            if isinstance(value, str) and value == word:
                return word
        raise Misfit(f"{where}: none of {', '.join(word or 'nothing' for word in self.words)}")


@dataclass(frozen=True)
class Flag:
    def read(self, value: Any, where: str, reading: Reading) -> bool:
        reading.count(where)
        if not isinstance(value, bool):
            raise Misfit(f"{where}: neither true nor false")
        return value


@dataclass(frozen=True)
class Count:
    """A whole number from `least` to 2**53."""

    least: int = 0

    def read(self, value: Any, where: str, reading: Reading) -> int:
        reading.count(where)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Misfit(f"{where}: no whole number")
        if not self.least <= value <= _INTEGER:
            raise Misfit(f"{where}: not from {self.least} to {_INTEGER}")
        return int(value)


@dataclass(frozen=True)
class Number:
    """A finite number."""

    def read(self, value: Any, where: str, reading: Reading) -> float:
        reading.count(where)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Misfit(f"{where}: no number")
        if isinstance(value, int) and abs(value) > _INTEGER:
            raise Misfit(f"{where}: beyond {_INTEGER}")
        if not math.isfinite(value):
            raise Misfit(f"{where}: not finite")
        return value


@dataclass(frozen=True)
class Maybe:
    """None, or the shape."""

    shape: Shape

    def read(self, value: Any, where: str, reading: Reading) -> Any:
        return None if value is None else self.shape.read(value, where, reading)


@dataclass(frozen=True)
class Either:
    """The first of the shapes that fits."""

    shapes: tuple[Shape, ...]
    what: str

    def read(self, value: Any, where: str, reading: Reading) -> Any:
        for shape in self.shapes:
            try:
                return shape.read(value, where, reading)
            except Misfit:
                continue
        raise Misfit(f"{where}: no {self.what}")


@dataclass(frozen=True)
class ListOf:
    shape: Shape
    most: int = 2000

    def read(self, value: Any, where: str, reading: Reading) -> list[Any]:
        reading.count(where)
        if not isinstance(value, (list, tuple)):
            raise Misfit(f"{where}: no list")
        if len(value) > self.most:
            raise Misfit(f"{where}: more than {self.most} entries")
        return [
            self.shape.read(item, f"{where}[{index}]", reading) for index, item in enumerate(value)
        ]


@dataclass(frozen=True)
class MapOf:
    """A mapping whose keys are of one shape and whose values are of another."""

    key: Shape
    value: Shape
    most: int = 2000

    def read(self, value: Any, where: str, reading: Reading) -> dict[str, Any]:
        reading.count(where)
        if not isinstance(value, Mapping):
            raise Misfit(f"{where}: no mapping")
        if len(value) > self.most:
            raise Misfit(f"{where}: more than {self.most} entries")
        return {
            self.key.read(key, f"{where}, its key {_shown(key)}", reading): self.value.read(
                item, f"{where}.{_shown(key)}", reading
            )
            for key, item in value.items()
        }


@dataclass(frozen=True)
class Record:
    """A mapping of named fields. Those of `needed` have to be there; others are dropped."""

    fields: Mapping[str, Shape]
    needed: frozenset[str] = field(default_factory=frozenset)

    def read(self, value: Any, where: str, reading: Reading) -> dict[str, Any]:
        reading.count(where)
        if not isinstance(value, Mapping):
            raise Misfit(f"{where}: no mapping")
        reading.dropped += sum(1 for key in value if key not in self.fields)
        found = {
            name: shape.read(value[name], f"{where}.{name}", reading)
            for name, shape in self.fields.items()
            if name in value
        }
        missing = sorted(self.needed - found.keys())
        if missing:
            raise Misfit(f"{where}: without {', '.join(missing)}")
        return found


def all_of(**fields: Shape) -> Record:
    """A record that needs every one of its fields."""
    return Record(fields, frozenset(fields))


def _shown(key: Any) -> str:
    return one_line(str(key), _KEY)
