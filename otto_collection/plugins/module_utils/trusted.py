# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether root may run what lies at a path: nobody but root can have put it there.

Needs the standard library alone and no other room: its text is also sent to nodes (`bundle_check`).
"""

from __future__ import annotations

import os
import stat

_LINKS = 40
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def distrust(found: os.stat_result) -> str:
    """Why others than root may write this; "" where they may not."""
    if found.st_uid != 0:
        return f"belongs to user {found.st_uid} and not to root"
    if found.st_mode & _OTHERS:
        return f"may be written by others than root (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def distrusted(path: str) -> str:
    """What on the way to a path, its end included, others than root may write; "" where nothing is.

    Every directory is looked at, and links are followed. Raises OSError where it leads nowhere.
    """
    here, rest, links = "/", [part for part in reversed(path.split("/")) if part], 0
    why = distrust(os.lstat(here))  # noqa: PTH116
    if why:
        return f"/ {why}"
    while rest:
        part = rest.pop()
        if part in (".", ".."):
            here = os.path.dirname(here) if part == ".." else here  # noqa: PTH120
            continue
        at = os.path.join(here, part)  # noqa: PTH118
        found = os.lstat(at)  # noqa: PTH116
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _LINKS:
                return f"{at} is one of too many links"
            to = os.readlink(at)  # noqa: PTH115
            here = "/" if to.startswith("/") else here
            rest += [one for one in reversed(to.split("/")) if one]
            continue
        why = distrust(found)
        if why:
            return f"{at} {why}"
        here = at
    return ""
