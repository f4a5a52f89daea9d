# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a key of otto.yaml reaches: what it leads Otto to do on the control machine. Pure.

Every key declares one. A file of a stranger (`--untrusted`) may set a key only if that says so; a
key that declares nothing is refused there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reach:
    """does: what happens on the control machine, for the docs; "" nothing, it is a value for nodes.

    refused: why a stranger's file may not set it, "" where it may. instead: what to type then.
    stranger: what such a file may do with it, for the docs.
    """

    does: str = ""
    stranger: str = "yes"
    refused: str = ""
    instead: str = ""


VALUE = Reach()
"""A value, for a node or an engine: nothing of it is opened or run on the control machine."""

FILE = Reach("a file is read", "beneath the folder of the file that names it")
VARIABLE = Reach("a variable of the environment is read", "variables that `--var` names")
UNDECLARED = Reach(
    stranger="no",
    refused="does not say how far it reaches, so no untrusted file may set it",
    instead="report it: this is a mistake in Otto",
)


def never(does: str, refused: str, instead: str) -> Reach:
    """A key that no file of a stranger may set."""
    return Reach(does, "no", refused, instead)


def given(does: str, option: str) -> Reach:
    """A key that may say only what the caller gave with an option of otto-run, and said here."""
    return Reach(does, f"what `{option}` gives")


def declared(reach: Reach | None) -> Reach:
    return UNDECLARED if reach is None else reach
