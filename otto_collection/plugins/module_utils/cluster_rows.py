# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table of rows, how a mapping is read by it, and what most rows of `cluster_tables` are made of.

A schema is what an editor is told; a reader takes (raw, at), reports a problem there, and returns
the value, or None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import nearest
from ansible_collections.otto.cluster.plugins.module_utils.option_text import (
    At,
    Parser,
    pairs,
    plain,
    strings,
    text,
)
from ansible_collections.otto.cluster.plugins.module_utils.reach import Reach, declared


@dataclass(frozen=True)
class Row:
    """One key of one part of the file. reach: what it may do on the control machine; every row says
    so, and one that does not is refused in a file of a stranger."""

    key: str
    parse: Parser
    schema: Mapping[str, Any]
    doc: str
    required: bool = False
    reach: Reach | None = None


def read_table(
    rows: Sequence[Row], raw: Any, at: At, elsewhere: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    """Values by key of a mapping; only what is written and valid. None if it is no mapping."""
    known = {row.key: row for row in rows}
    if not isinstance(raw, Mapping):
        needed = ", ".join(row.key for row in rows if row.required) or ", ".join(known)
        at.problem("is not valid", found=raw, expected=f"a mapping with {needed}")
        return None
    result: dict[str, Any] = {}
    for key, value in raw.items():
        if key.startswith("x-"):
            continue
        if key not in known:
            hint = (elsewhere or {}).get(key, "")
            at.sub(key).problem(
                "is no key that is known here",
                nearest="" if hint else nearest(key, known),
                hint=hint,
                expected="" if hint or nearest(key, known) else "one of " + ", ".join(known),
            )
            continue
        # `services:` with all of it commented out is no wish to remove everything.
        if value is None and key == "services":
            at.sub(key).problem(
                "is empty", expected="services", hint="write services: [] to run none at all"
            )
        if value is None and not known[key].required:
            continue
        reach = declared(known[key].reach)
        if at.untrusted and reach.refused:
            at.sub(key).problem(reach.refused, hint=reach.instead)
            continue
        parsed = known[key].parse(value, at.sub(key))
        if parsed is not None:
            result[key] = parsed
    for row in rows:
        if row.required and row.key not in raw:
            at.problem(f"has no {row.key}", expected=f"a key {row.key}", hint=row.doc)
    return result


# ---- names and schemas

NAME = "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}"
NAME_HELP = "letters, digits, _ . -, at most 63, the first a letter or digit"

TEXT = {"type": "string", "minLength": 1}
BOOLEAN = {"type": ["boolean", "string"]}
MAPPING = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
SCALAR = {"type": ["string", "number", "boolean", "null"]}
LABELS = {
    "anyOf": [
        {"type": "object", "additionalProperties": SCALAR},
        {"type": "array", "items": {"type": "string"}},
    ]
}


def pattern_of(pattern: str) -> dict[str, Any]:
    # A value may still hold a variable when an editor sees it.
    return {"type": "string", "pattern": rf"^(?:{pattern})$|\$"}


def whole_number(low: int, high: int) -> dict[str, Any]:
    return {
        "anyOf": [
            {"type": "integer", "minimum": low, "maximum": high},
            {"type": "string", "pattern": r"^[0-9]+$|\$"},
        ]
    }


# ---- readers


def read_labels(raw: Any, at: At) -> dict[str, str]:
    result: dict[str, str] = {}
    for key, (value, where) in pairs(raw, at, "label").items():
        content = "" if value is None else plain(value)
        if content is None or not key.strip():
            where.problem("is no label", found=value, expected="label: text")
        else:
            result[key] = content
    return result


def texts(raw: Any, at: At) -> dict[str, str]:
    """A mapping of text to text: driver_opts."""
    if not isinstance(raw, Mapping):
        at.problem("is not valid", found=raw, expected="a mapping")
        return {}
    return read_labels(raw, at)


def secret_text(raw: Any, at: At) -> str | None:
    """Text that may hold anything, and is never shown."""
    value = plain(raw)
    if value is None:
        at.problem("is no text", found=raw, expected="text")
    return value


def texts_list(raw: Any, at: At) -> list[str]:
    """One text or a list of them, in order."""
    return strings(raw, at) or []


def absolute(raw: Any, at: At) -> str | None:
    value = text(raw, at)
    if value is not None and not value.startswith("/"):
        at.problem("is a relative path", found=raw, expected="an absolute path on the node")
        return None
    return value


def mapping(raw: Any, at: At) -> Mapping[str, Any] | None:
    if not isinstance(raw, Mapping):
        at.problem("is not valid", found=raw, expected="a mapping")
        return None
    return raw


def listed(raw: Any, at: At) -> list[Any] | None:
    if not isinstance(raw, list):
        at.problem("is not valid", found=raw, expected="a list")
        return None
    return raw


def as_it_stands(raw: Any, at: At) -> Any:  # noqa: ARG001
    return raw
