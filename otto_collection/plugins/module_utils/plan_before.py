# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The target before this one, of which only what has the shape of a spec is taken. Pure.

It is read from the state directory, where the agent may write anything. It decides nothing but
whether a difference is told as a change of the file or as drift; it must not end an apply.
"""

from __future__ import annotations

from dataclasses import replace

from .model import Engine, NodeFiles, Spec, Target
from .option_table import OPTIONS
from .options import create_payload
from .plan_compare import hide
from .plan_objects import resolve

_UNLIKE = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What the sides of the options raise of a value that no parser has made."""


def believable(before: Target | None) -> Target | None:
    """The same target without the services that no file could have described."""
    if before is None:
        return None
    services = {name: spec for name, spec in before.services.items() if _is(before, name, spec)}
    return replace(before, services=services)


def _is(before: Target, name: str, spec: Spec) -> bool:
    try:
        whole = hide(
            resolve(before, name, spec, NodeFiles.directory), before.sensitive.get(name, ())
        )
        create_payload(whole)
        for option in OPTIONS.values():
            hash(tuple(option.side.expected(whole, {}, Engine()).items()))
    except _UNLIKE:
        return False
    return True
