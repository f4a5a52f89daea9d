# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be written of CPUs, memory and devices -> its canonical shape. Pure."""

from __future__ import annotations

import re
from typing import Any

from .option_text import At, Parser, duration, integer, keyed, matching, plain, size, strings


def microseconds(minimum: int, maximum: int = 10**6) -> Parser:
    """A whole number of them, or a duration such as 50ms."""
    number = integer(minimum, maximum)

    def parse(raw: Any, at: At) -> int | None:
        value = (plain(raw) or "").strip()
        if re.fullmatch("[+-]?[0-9]+", value) or isinstance(raw, bool):
            found: int | None = number(raw, at)
            return found
        time = duration(raw, at)
        return None if time is None else number(time // 1000, at)

    return parse


_PATH = matching("/.+", "a path on the node such as /dev/sda")


def _by_device(key: str, value: Parser) -> Parser:
    """[{path, key}] -> {path: value}."""
    entry = keyed({"path": _PATH, key: value}, required=("path", key))

    def parse(raw: Any, at: At) -> dict[str, int]:
        if not isinstance(raw, list):
            at.problem("is not valid", found=raw, expected=f"a list of mappings: path, {key}")
            return {}
        result: dict[str, int] = {}
        for i, item in enumerate(raw):
            found = entry(item, at.sub(i))
            if found is None or len(found) < 2:
                continue
            if found["path"] in result:
                at.sub(i).problem("names a device a second time", found=found["path"])
            result[found["path"]] = found[key]
        return result

    return parse


_blkio = keyed(
    {
        "weight": integer(10, 1000),
        "weight_device": _by_device("weight", integer(10, 1000)),
        "device_read_bps": _by_device("rate", size),
        "device_write_bps": _by_device("rate", size),
        "device_read_iops": _by_device("rate", integer(1)),
        "device_write_iops": _by_device("rate", integer(1)),
    }
)


def blkio_config(raw: Any, at: At) -> dict[str, Any] | None:
    """{"weight"?, "weight_device"?, "device_read_bps"?, ...}: the last five are path -> number."""
    found = _blkio(raw, at)
    return {key: value for key, value in (found or {}).items() if value} or None


def cgroup_rules(raw: Any, at: At) -> list[str] | None:
    found = set()
    for i, item in enumerate(strings(raw, at) or ()):
        rule = " ".join(item.split())
        match = re.fullmatch(r"([abc]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})", rule)
        if match is None:
            where = at.sub(i) if isinstance(raw, list) else at
            where.problem("is no rule", found=item, expected="such as c 188:* rmw")
            continue
        kind, major, minor, modes = match.groups()
        found.add(f"{kind} {major}:{minor} {''.join(c for c in 'rwm' if c in modes)}")
    return sorted(found)
