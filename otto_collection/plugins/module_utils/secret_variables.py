# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service to write into a file, with variables in place of its secrets. Pure.

`POSTGRES_PASSWORD: x` becomes `POSTGRES_PASSWORD: ${POSTGRES_PASSWORD}`, and the password of an
address becomes `${DATABASE_URL_SECRET}`: what is printed holds none, and means the same once the
variables stand in `.env`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .masking import NAMED, is_reference, secret_spans, spans_of_words
from .secret_names import sounds_secret

Escape = Callable[[str], str]
"""What becomes of a text that stays."""


class Variables:
    """Gives names: one for each value, and no name to two values.

    values: variable -> what it holds, of all that was named until now.
    """

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def of_service(
        self, service: str, tree: Mapping[str, Any], escape: Escape = str
    ) -> dict[str, Any]:
        """The service's keys, its secrets by variable."""
        return {
            str(key): _Walk(self, service, escape).value(value, str(key), str(key) in NAMED)
            for key, value in tree.items()
        }

    def name(self, service: str, wished: str, value: str) -> str:
        """The variable for a value: as wished, with the service's name before it where that means
        something else already, and a number after it where that does, too."""
        base = re.sub(r"\W", "_", wished, flags=re.ASCII) or "SECRET"
        base = f"_{base}" if base[0].isdigit() else base
        prefixed = re.sub(r"\W", "_", f"{service}_{base}", flags=re.ASCII).upper()
        number = 1
        for found in (base, prefixed):
            if self.values.setdefault(found, value) == value:
                return found
        while self.values.setdefault(f"{prefixed}_{number}", value) != value:
            number += 1
        return f"{prefixed}_{number}"


class _Walk:
    def __init__(self, variables: Variables, service: str, escape: Escape) -> None:
        self._variables = variables
        self._service = service
        self._escape = escape

    def value(self, value: Any, name: str, named: bool) -> Any:
        """name: what the value is called. named: its keys are people's own."""
        if isinstance(value, str):
            return self._text(value, name)
        if isinstance(value, Mapping):
            return {key: self._entry(str(key), item, named) for key, item in value.items()}
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return self._list(value, name, named)
        if isinstance(value, list):
            return [self.value(item, name, named) for item in value]
        return value

    def _entry(self, key: str, item: Any, named: bool) -> Any:
        if named and isinstance(item, (str, int, float)) and sounds_secret(key):
            text = str(item)
            whole = not is_reference(text) and text and not isinstance(item, bool)
            return self._reference(key, text) if whole else self.value(item, key, named)
        return self.value(item, key, named or key in NAMED)

    def _list(self, items: list[str], name: str, named: bool) -> list[str]:
        if named:
            pairs = [item.partition("=") for item in items]
            return [
                f"{key}={self._entry(key, rest, named)}" if equals else self._text(key, key)
                for key, equals, rest in pairs
            ]
        found = dict(spans_of_words(items))
        return [self._text(item, name, found.get(index)) for index, item in enumerate(items)]

    def _text(self, text: str, name: str, spans: Any = None) -> str:
        parts: list[str] = []
        at = 0
        for start, end in secret_spans(text) if spans is None else spans:
            secret = self._reference(f"{name}_SECRET".upper(), text[start:end])
            parts += [self._escape(text[at:start]), secret]
            at = end
        return "".join([*parts, self._escape(text[at:])])

    def _reference(self, wished: str, value: str) -> str:
        return f"${{{self._variables.name(self._service, wished, value)}}}"
