# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of containers from their cgroups, of version 1 and 2, and from /proc."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otto_agent.metrics_files import Tree, Values, fields, interfaces

_NO_LIMIT = 1 << 60  # cgroup v1 writes a number near 2^63 for "no limit"
_ABSENT = (OSError, ValueError, IndexError, KeyError)


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


class Groups:
    """The cgroups of one process: one tree for each controller (v1), or one for all (v2)."""

    def __init__(self, tree: Tree, mounts: dict[str, Path], pid: int) -> None:
        self._mounts = mounts
        self._paths = {}
        for line in tree.read(f"proc/{pid}/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                self._paths[controller] = path

    def are_of(self, container: str) -> bool:
        return any(container in path for path in self._paths.values())

    def v1(self, controller: str) -> bool:
        return controller in self._paths

    def read(self, controller: str, v1: str, v2: str) -> str:
        """The text of the controller's file. Raises OSError where there is none."""
        key, name = (controller, v1) if self.v1(controller) else ("", v2)
        if key not in self._paths or key not in self._mounts:
            raise FileNotFoundError(controller)
        return (self._mounts[key] / self._paths[key].lstrip("/") / name).read_text()


class Containers:
    """`cpu_percent` is 100 for one full core, as `docker stats` has it. What counts up does so
    since the container's start."""

    def __init__(self, tree: Tree, clock: Callable[[], float]) -> None:
        self._tree = tree
        self._clock = clock
        self._used: dict[str, tuple[float, int]] = {}
        self._mounts: dict[str, Path] | None = None

    def values(self, containers: Iterable[Container]) -> dict[str, Values]:
        """See `Reader.containers`."""
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
            groups = Groups(self._tree, self._mount_points(), container.pid)
        except OSError:
            return values  # it ended a moment ago
        if not groups.are_of(container.id):
            return values  # the number was given to another process, or Docker runs elsewhere
        with contextlib.suppress(*_ABSENT):
            values.update(self._processor(container.id, groups))
        for part in (_throttling, _memory, _memory_limit, _oom_kills, _pids, _pids_limit, _disk):
            # Each controller may be missing, and the others are there.
            with contextlib.suppress(*_ABSENT):
                values.update(part(groups))
        if container.own_network:
            with contextlib.suppress(*_ABSENT):
                values.update(self._network(container.pid))
        return values

    def _processor(self, container: str, groups: Groups) -> Values:
        text = groups.read("cpuacct", "cpuacct.usage", "cpu.stat")
        used = int(text) if groups.v1("cpuacct") else fields(text)["usage_usec"] * 1000
        now = self._clock()
        before = self._used.get(container)
        self._used[container] = (now, used)
        if before is None or now <= before[0] or used < before[1]:
            return {}
        share = (used - before[1]) / 1e9 / (now - before[0])
        return {"cpu_percent": round(100.0 * share, 1)}

    def _network(self, pid: int) -> Values:
        found = interfaces(self._tree.read(f"proc/{pid}/net/dev"))
        counted = [(rx, tx) for name, rx, tx in found if name != "lo"]
        if not counted:
            return {}
        return {
            "network_received_bytes": sum(rx for rx, _ in counted),
            "network_sent_bytes": sum(tx for _, tx in counted),
        }

    def _mount_points(self) -> dict[str, Path]:
        """Controller -> where its hierarchy is mounted; "" for the unified one."""
        if self._mounts is None:
            mounts: dict[str, Path] = {}
            for mount in self._tree.mounts():
                if mount.kind == "cgroup2":
                    mounts.setdefault("", self._tree.at(mount.path))
                elif mount.kind == "cgroup":
                    for controller in mount.options:
                        mounts.setdefault(controller, self._tree.at(mount.path))
            self._mounts = mounts
        return self._mounts


def _throttling(groups: Groups) -> Values:
    """How long it wanted to run and its limit let it not."""
    found = fields(groups.read("cpu", "cpu.stat", "cpu.stat"))
    if not found["nr_periods"]:
        return {}  # it has no limit
    spent = found["throttled_time"] / 1e9 if groups.v1("cpu") else found["throttled_usec"] / 1e6
    return {"cpu_throttled_seconds": round(spent, 3)}


def _memory(groups: Groups) -> Values:
    """In use without the part of the page cache that can be dropped at once, as `docker stats`
    counts it."""
    used = int(groups.read("memory", "memory.usage_in_bytes", "memory.current"))
    name = "total_inactive_file" if groups.v1("memory") else "inactive_file"
    cache = fields(groups.read("memory", "memory.stat", "memory.stat")).get(name, 0)
    return {"memory_bytes": max(0, used - cache)}


def _memory_limit(groups: Groups) -> Values:
    limit = groups.read("memory", "memory.limit_in_bytes", "memory.max").strip()
    if limit == "max" or int(limit) >= _NO_LIMIT:
        return {}
    return {"memory_limit_bytes": int(limit)}


def _oom_kills(groups: Groups) -> Values:
    events = fields(groups.read("memory", "memory.oom_control", "memory.events"))
    return {"oom_kills": events["oom_kill"]}


def _pids(groups: Groups) -> Values:
    return {"pids": int(groups.read("pids", "pids.current", "pids.current"))}


def _pids_limit(groups: Groups) -> Values:
    limit = groups.read("pids", "pids.max", "pids.max").strip()
    return {} if limit == "max" else {"pids_limit": int(limit)}


def _disk(groups: Groups) -> Values:
    """Over all disks. v1: lines of `8:0 Read 4096`; v2: `8:0 rbytes=4096 wbytes=0 ...`."""
    text = groups.read("blkio", "blkio.throttle.io_service_bytes", "io.stat")
    read = written = 0
    if groups.v1("blkio"):
        rows = [line.split() for line in text.splitlines()]
        read = sum(int(row[2]) for row in rows if row[1:2] == ["Read"])
        written = sum(int(row[2]) for row in rows if row[1:2] == ["Write"])
    else:
        pairs = [word.partition("=") for word in text.split()]
        read = sum(int(value) for name, _, value in pairs if name == "rbytes")
        written = sum(int(value) for name, _, value in pairs if name == "wbytes")
    return {"disk_read_bytes": read, "disk_written_bytes": written}
