# SPDX-License-Identifier: GPL-3.0-or-later
"""The host as every Linux shows it: processor, memory, network, temperature, times."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

from otto_agent.metrics_files import Tree, Values, interfaces

# Interfaces whose bytes are counted elsewhere already: the host's own traffic enters by the others.
_INNER = re.compile(r"^(lo|veth|docker|br-|virbr|vmnet|cni|flannel|cali|dummy|ifb|tunl|sit)")
# Sensors of the processor, best first; a disk's or a battery's temperature is not the host's.
_SENSORS = ("cpu", "x86_pkg", "soc", "k10temp", "coretemp", "zenpower", "acpitz")


class Host:
    """`cpu_percent` is 0 to 100 over all cores. `network_*_bytes` count up since boot."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._cpu: tuple[int, int] | None = None

    def parts(self) -> tuple[Callable[[], Values], ...]:
        """Each may raise OSError, ValueError, IndexError or KeyError where it cannot be read."""
        return (
            self._processor,
            self._load,
            self._memory,
            self._network,
            self._temperature,
            self._times,
        )

    def _processor(self) -> Values:
        lines = self._tree.read("proc/stat").splitlines()
        values: Values = {"cpu_count": sum(bool(re.match(r"cpu\d", line)) for line in lines)}
        # user nice system idle iowait irq softirq steal; guest time is in user already.
        ticks = [int(field) for field in lines[0].split()[1:9]]
        total, idle = sum(ticks), ticks[3] + (ticks[4] if len(ticks) > 4 else 0)
        before, self._cpu = self._cpu, (total, idle)
        if before is not None and total > before[0]:
            spent = total - before[0]
            # iowait may run backwards by a tick.
            busy = min(spent, max(0, spent - (idle - before[1])))
            values["cpu_percent"] = round(100.0 * busy / spent, 1)
        return values

    def _load(self) -> Values:
        one, five, fifteen = self._tree.read("proc/loadavg").split()[:3]
        return {"load_1m": float(one), "load_5m": float(five), "load_15m": float(fifteen)}

    def _memory(self) -> Values:
        kib = {}
        for line in self._tree.read("proc/meminfo").splitlines():
            name, _, rest = line.partition(":")
            words = rest.split()
            if words and words[-1] == "kB":
                kib[name] = int(words[0])
        values: Values = {}
        if "MemTotal" in kib:
            values["memory_total_bytes"] = kib["MemTotal"] * 1024
        if "MemAvailable" in kib:
            values["memory_available_bytes"] = kib["MemAvailable"] * 1024
            values["memory_bytes"] = (kib["MemTotal"] - kib["MemAvailable"]) * 1024
        if "SwapTotal" in kib and "SwapFree" in kib:
            values["swap_total_bytes"] = kib["SwapTotal"] * 1024
            values["swap_bytes"] = (kib["SwapTotal"] - kib["SwapFree"]) * 1024
        return values

    def _network(self) -> Values:
        received = sent = 0
        found = False
        for name, rx, tx in interfaces(self._tree.read("proc/net/dev")):
            if not _INNER.match(name):
                found, received, sent = True, received + rx, sent + tx
        return {"network_received_bytes": received, "network_sent_bytes": sent} if found else {}

    def _temperature(self) -> Values:
        found = sorted(
            self._sensors(),
            key=lambda sensor: next(
                (rank for rank, word in enumerate(_SENSORS) if word in sensor[0]), len(_SENSORS)
            ),
        )
        # A sensor that is switched off reads 0 or less than a frozen host could.
        for name, celsius in found:
            if -40.0 < celsius < 150.0 and celsius != 0.0 and any(w in name for w in _SENSORS):
                return {"temperature_celsius": celsius}
        return {}

    def _sensors(self) -> Iterator[tuple[str, float]]:
        for pattern, label, value in (
            ("sys/class/thermal/thermal_zone*", "type", "temp"),
            ("sys/class/hwmon/hwmon*", "name", "temp1_input"),
        ):
            for directory in sorted(self._tree.root.glob(pattern)):
                with contextlib.suppress(OSError, ValueError):
                    name = (directory / label).read_text().strip().lower()
                    yield name, int((directory / value).read_text()) / 1000.0

    def _times(self) -> Values:
        values: Values = {"uptime_seconds": float(self._tree.read("proc/uptime").split()[0])}
        for line in self._tree.read("proc/stat").splitlines():
            if line.startswith("btime "):
                values["boot_time_seconds"] = int(line.split()[1])
        return values
