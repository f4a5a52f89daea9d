# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of the host and of its containers, read from /proc and /sys.

No call to Docker and no `docker stats`: cgroup files cost microseconds. A value that cannot be
read is absent, never 0. Units stand in the names: bytes, seconds, celsius; `cpu_percent` of the
host is 0 to 100 over all its cores, that of a container is 100 for one full core (as
`docker stats` has it). `network_*_bytes` count up since boot (host) or since the start (container).
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

Value = Union[float, int, str]  # noqa: UP007 - evaluated, and nodes have Python 3.9
Values = dict[str, Value]

# Interfaces whose bytes are counted elsewhere already: the host's own traffic enters by the others.
_INNER = re.compile(r"^(lo|veth|docker|br-|virbr|vmnet|cni|flannel|cali|dummy|ifb|tunl|sit)")
# Sensors of the processor, best first; a disk's or a battery's temperature is not the host's.
_SENSORS = ("cpu", "x86_pkg", "soc", "k10temp", "coretemp", "zenpower", "acpitz")
_NO_LIMIT = 1 << 60  # cgroup v1 writes a number near 2^63 for "no limit"


@dataclass(frozen=True)
class Container:
    """What Docker knows of one container and the kernel does not.

    pid: of its first process, 0 when it does not run. own_network: false where it shares the
    network of the host or of another container, whose bytes would be counted as its own.
    """

    name: str
    id: str
    pid: int
    state: str
    health: str | None
    restarts: int
    own_network: bool

    @classmethod
    def from_inspect(cls, document: Any) -> Container:
        """From an engine's inspect document."""
        state = document["State"]
        mode = str(document.get("HostConfig", {}).get("NetworkMode", ""))
        return cls(
            name=str(document["Name"]).lstrip("/"),
            id=str(document["Id"]),
            pid=int(state.get("Pid") or 0),
            state=str(state.get("Status", "")),
            health=(state.get("Health") or {}).get("Status"),
            restarts=int(document.get("RestartCount") or 0),
            own_network=mode != "host" and not mode.startswith("container:"),
        )


class Reader:
    """Reads one machine. Rates need two readings: the first one has none.

    root: the tree that holds proc/ and sys/. clock: seconds, monotonic. space: path -> (total,
    used, free) in bytes for an ordinary user.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
        space: Callable[[Path], tuple[int, int, int]] | None = None,
    ) -> None:
        self._root = root
        self._clock = clock
        self._space = space or _space
        self._cpu: tuple[int, int] | None = None
        self._used: dict[str, tuple[float, int]] = {}
        self._mounts: dict[str, Path] | None = None

    # ---- the host

    def host(self, docker_root: Path = Path("/var/lib/docker")) -> Values:
        """docker_root: where Docker keeps its data; often a disk of its own."""
        values: Values = self._host_disks(docker_root)
        for part in (
            self._host_cpu,
            self._host_load,
            self._host_memory,
            self._host_network,
            self._host_temperature,
            self._host_times,
        ):
            # A kernel without one of these files still has the others.
            with contextlib.suppress(OSError, ValueError, IndexError, KeyError):
                values.update(part())
        return values

    def memory_cgroup_missing(self) -> bool:
        """Whether the kernel was started without the memory controller, as on a Raspberry Pi
        without `cgroup_enable=memory`: memory of containers can then not be read."""
        with contextlib.suppress(OSError):
            return "memory" not in self._read("sys/fs/cgroup/cgroup.controllers").split()
        with contextlib.suppress(OSError):
            for line in self._read("proc/cgroups").splitlines():
                fields = line.split()
                if fields and fields[0] == "memory":
                    return fields[-1] == "0"
            return True
        return False

    def _host_cpu(self) -> Values:
        lines = self._read("proc/stat").splitlines()
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

    def _host_load(self) -> Values:
        one, five, fifteen = self._read("proc/loadavg").split()[:3]
        return {"load_1m": float(one), "load_5m": float(five), "load_15m": float(fifteen)}

    def _host_memory(self) -> Values:
        kib = {}
        for line in self._read("proc/meminfo").splitlines():
            name, _, rest = line.partition(":")
            fields = rest.split()
            if fields and fields[-1] == "kB":
                kib[name] = int(fields[0])
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

    def _host_disks(self, docker_root: Path) -> Values:
        values: Values = {}
        for prefix, path in (
            ("disk", self._root),
            ("docker_disk", self._root / str(docker_root).lstrip("/")),
        ):
            # Docker's directory is closed to the agent's user, the numbers of its disk are not.
            with contextlib.suppress(OSError):
                total, used, free = self._space(path)
                values[prefix + "_total_bytes"] = total
                values[prefix + "_bytes"] = used
                values[prefix + "_free_bytes"] = free
        return values

    def _host_network(self) -> Values:
        received = sent = 0
        found = False
        for name, rx, tx in _interfaces(self._read("proc/net/dev")):
            if not _INNER.match(name):
                found, received, sent = True, received + rx, sent + tx
        return {"network_received_bytes": received, "network_sent_bytes": sent} if found else {}

    def _host_temperature(self) -> Values:
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
            for directory in sorted(self._root.glob(pattern)):
                with contextlib.suppress(OSError, ValueError):
                    name = (directory / label).read_text().strip().lower()
                    yield name, int((directory / value).read_text()) / 1000.0

    def _host_times(self) -> Values:
        values: Values = {"uptime_seconds": float(self._read("proc/uptime").split()[0])}
        for line in self._read("proc/stat").splitlines():
            if line.startswith("btime "):
                values["boot_time_seconds"] = int(line.split()[1])
        return values

    # ---- containers

    def containers(self, containers: Iterable[Container]) -> dict[str, Values]:
        """By name. A container that does not run has a state and its restarts, and no numbers."""
        values = {}
        known = set()
        for container in containers:
            known.add(container.id)
            values[container.name] = self._container(container)
        for gone in set(self._used) - known:
            del self._used[gone]
        return values

    def _container(self, container: Container) -> Values:
        values: Values = {"state": container.state, "restarts": container.restarts}
        if container.health:
            values["health"] = container.health
        if container.pid <= 0:
            return values
        try:
            groups = self._groups(container.pid)
        except OSError:
            return values  # it ended a moment ago
        if not any(container.id in path for path in groups.values()):
            return values  # the number was given to another process, or Docker runs elsewhere
        used = self._cpu_ns(groups)
        if used is not None:
            now = self._clock()
            before = self._used.get(container.id)
            self._used[container.id] = (now, used)
            if before is not None and now > before[0] and used >= before[1]:
                share = (used - before[1]) / 1e9 / (now - before[0])
                values["cpu_percent"] = round(100.0 * share, 1)
        values.update(self._memory(groups))
        if container.own_network:
            with contextlib.suppress(OSError, ValueError, IndexError):
                lines = self._read(f"proc/{container.pid}/net/dev")
                counted = [(rx, tx) for name, rx, tx in _interfaces(lines) if name != "lo"]
                if counted:
                    values["network_received_bytes"] = sum(rx for rx, _ in counted)
                    values["network_sent_bytes"] = sum(tx for _, tx in counted)
        return values

    def _groups(self, pid: int) -> dict[str, str]:
        """Controller -> path of its cgroup; "" is the unified hierarchy (v2)."""
        groups = {}
        for line in self._read(f"proc/{pid}/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                groups[controller] = path
        return groups

    def _file(self, groups: dict[str, str], controller: str, v1: str, v2: str) -> tuple[str, str]:
        """("v1" or "v2", text of the file there). Raises OSError where there is none."""
        if controller in groups:
            mount = self._mount_points().get(controller)
            if mount is None:
                raise FileNotFoundError(controller)
            return "v1", (mount / groups[controller].lstrip("/") / v1).read_text()
        if "" not in groups:
            raise FileNotFoundError(controller)
        mount = self._mount_points().get("", self._root / "sys/fs/cgroup")
        return "v2", (mount / groups[""].lstrip("/") / v2).read_text()

    def _cpu_ns(self, groups: dict[str, str]) -> int | None:
        try:
            version, text = self._file(groups, "cpuacct", "cpuacct.usage", "cpu.stat")
            if version == "v1":
                return int(text)
            return _fields(text)["usage_usec"] * 1000
        except (OSError, ValueError, KeyError):
            return None

    def _memory(self, groups: dict[str, str]) -> Values:
        """Memory in use without the part of the page cache that can be dropped at once, as
        `docker stats` counts it; the limit only where there is one."""
        values: Values = {}
        with contextlib.suppress(OSError, ValueError):
            version, text = self._file(groups, "memory", "memory.usage_in_bytes", "memory.current")
            used = int(text)
            _, text = self._file(groups, "memory", "memory.stat", "memory.stat")
            name = "total_inactive_file" if version == "v1" else "inactive_file"
            values["memory_bytes"] = max(0, used - _fields(text).get(name, 0))
        with contextlib.suppress(OSError, ValueError):
            _, text = self._file(groups, "memory", "memory.limit_in_bytes", "memory.max")
            if text.strip() != "max" and int(text) < _NO_LIMIT:
                values["memory_limit_bytes"] = int(text)
        return values

    def _mount_points(self) -> dict[str, Path]:
        """Controller -> where its hierarchy is mounted; "" for the unified one."""
        if self._mounts is None:
            mounts: dict[str, Path] = {}
            for line in self._read("proc/self/mountinfo").splitlines():
                before, _, after = line.partition(" - ")
                kind, _, options = after.split(" ", 2)
                where = self._root / before.split(" ")[4].lstrip("/")
                if kind == "cgroup2":
                    mounts.setdefault("", where)
                elif kind == "cgroup":
                    for controller in options.split(" ")[-1].split(","):
                        mounts.setdefault(controller, where)
            self._mounts = mounts
        return self._mounts

    def _read(self, path: str) -> str:
        return (self._root / path).read_text(encoding="utf-8", errors="replace")


def _interfaces(text: str) -> Iterator[tuple[str, int, int]]:
    """(name, received bytes, sent bytes) of each line of a net/dev file."""
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        fields = rest.split()
        yield name.strip(), int(fields[0]), int(fields[8])


def _fields(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def _space(path: Path) -> tuple[int, int, int]:
    state = os.statvfs(path)
    size = state.f_frsize
    return (
        state.f_blocks * size,
        (state.f_blocks - state.f_bfree) * size,
        state.f_bavail * size,
    )
