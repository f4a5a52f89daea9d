# SPDX-License-Identifier: GPL-3.0-or-later
"""The board: power and throttling of a Raspberry Pi, wear of an eMMC, whether a reboot waits.

All of it from files that everybody may read. `vcgencmd` is not needed: it wants /dev/vcio.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from otto_agent.metrics_files import Tree, Values

# Bits of the firmware's answer; sixteen higher the same bit says that it was so before.
_THROTTLED = (
    (0, "undervoltage"),
    (1, "frequency_capped"),
    (2, "throttled"),
    (3, "temperature_limited"),
)


class Board:
    def __init__(self, tree: Tree, release: str = "") -> None:
        self._tree = tree
        self._release = release or os.uname().release

    def parts(self) -> tuple[Callable[[], Values], ...]:
        """Each may raise OSError, ValueError, IndexError or KeyError where it cannot be read."""
        return (self._throttled, self._power, self._wear, self._reboot)

    def _throttled(self) -> Values:
        values: Values = {}
        for path in self._tree.root.glob("sys/devices/platform/soc*/*firmware/get_throttled"):
            bits = int(path.read_text(), 16)
            for bit, name in _THROTTLED:
                values[name] = bits >> bit & 1
                values[name + "_occurred"] = bits >> (bit + 16) & 1
        return values

    def _power(self) -> Values:
        """The kernel's own watch over the supply, which newer ones have in place of the bits."""
        for directory in self._tree.root.glob("sys/class/hwmon/hwmon*"):
            if (directory / "name").read_text().strip() == "rpi_volt":
                return {"undervoltage": int((directory / "in0_lcrit_alarm").read_text())}
        return {}

    def _wear(self) -> Values:
        """The worst of the board's eMMCs. SD cards keep it to themselves."""
        values: Values = {}
        used = [life * 10 for path in self._emmc("life_time") for life in _hex(path) if life]
        if used:
            # Steps of ten: 1 is "up to 10 %", 11 "beyond what was promised".
            values["emmc_life_used_percent"] = max(used)
        spare = [level for path in self._emmc("pre_eol_info") for level in _hex(path) if level]
        if spare:
            values["emmc_pre_eol"] = max(spare)
        return values

    def _emmc(self, name: str) -> Iterator[Path]:
        return self._tree.root.glob(f"sys/class/block/mmcblk?/device/{name}")

    def _reboot(self) -> Values:
        """Asked for by a package, or a newer kernel of the same kind lies there."""
        if self._tree.at("run/reboot-required").exists():
            return {"reboot_required": 1}
        kernels = {path.name for path in self._tree.root.glob("lib/modules/*")}
        if self._release not in kernels:
            return {}  # not this machine's packages (a container), or it cannot be told
        kind = self._release.rpartition("-")[2]
        newest = max((name for name in kernels if name.rpartition("-")[2] == kind), key=_order)
        return {"reboot_required": int(newest != self._release)}


def _hex(path: Path) -> list[int]:
    with contextlib.suppress(OSError, ValueError):
        return [int(word, 16) for word in path.read_text().split()]
    return []


def _order(release: str) -> list[tuple[int, str]]:
    """6.1.0-10 comes after 6.1.0-9."""
    return [(int(digits or 0), rest) for digits, rest in re.findall(r"(\d+)|(\D+)", release)]
