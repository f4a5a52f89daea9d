# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that are set, and that a file of a stranger is not given. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import typed


class Withheld(str):
    """Stands among variables for one that is set, and that this file is not given.

    To use it is an error. Its text says so, should anything ever use it all the same: what is
    withheld is never empty.
    """

    __slots__ = ()

    def __new__(cls, name: str) -> Withheld:
        return super().__new__(cls, f"({name} is withheld)")


WITHHELD = "is set, and this file is not given it"


def withheld_hint(name: str) -> str:
    return typed(
        "--var {} gives it a variable of the environment; or write it into the file's .env", name
    )


def layered(*layers: Mapping[str, str]) -> dict[str, str]:
    """Variables laid over each other, the last one on top. What is withheld is so only where no
    layer has a value: it hides none."""
    result: dict[str, str] = {}
    for layer in layers:
        for name, value in layer.items():
            if not isinstance(value, Withheld) or name not in result:
                result[name] = value
    return result


def withheld(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that are there, each withheld."""
    return {name: Withheld(name) for name in environ}


def shown_names(environ: Mapping[str, str]) -> list[str]:
    """The names that an error may propose: those of what the file is given."""
    return [name for name, value in environ.items() if not isinstance(value, Withheld)]
