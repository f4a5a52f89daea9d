# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of the host and of its containers, read from /proc and /sys: the door to the readers.

No call to Docker and no `docker stats`: cgroup files cost microseconds. A value that cannot be
read is absent, never 0. Units stand in the names; a name without one is a count, or 0 or 1 for no
or yes. Every name stands in `metrics_table.py`, with its source and when it is absent.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from otto_agent.metrics_board import Board
from otto_agent.metrics_clock import Clock, kernel_clock
from otto_agent.metrics_containers import Container, Containers
from otto_agent.metrics_disks import Disks, Space, space_of
from otto_agent.metrics_files import Tree, Values
from otto_agent.metrics_host import Host

__all__ = ["Container", "Reader", "Values"]


class Reader:
    """Reads one machine. Rates need two readings: the first one has none.

    root: the tree that holds proc/, sys/ and the rest. clock: seconds, monotonic. space: path ->
    its disk. kernel: what the kernel says of its clock; None where it does not tell.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
        space: Callable[[Path], Space] = space_of,
        kernel: Callable[[], Clock | None] = kernel_clock,
    ) -> None:
        self._tree = Tree(root)
        self._host = Host(self._tree)
        self._board = Board(self._tree)
        self._disks = Disks(self._tree, space)
        self._containers = Containers(self._tree, clock)
        self._kernel = kernel

    def host(
        self,
        docker_root: Path = Path("/var/lib/docker"),
        state_dir: Path = Path("/var/lib/otto"),
    ) -> Values:
        """docker_root, state_dir: where Docker and the agent keep their data; often on disks of
        their own."""
        values = self._disks.values(docker_root, state_dir)
        for part in (*self._host.parts(), *self._board.parts()):
            # A kernel without one of these files still has the others.
            with contextlib.suppress(OSError, ValueError, IndexError, KeyError):
                values.update(part())
        clock = self._kernel()
        if clock is not None:
            values.update(clock.values())
        return values

    def containers(self, containers: Iterable[Container]) -> dict[str, Values]:
        """By name. A container that does not run has a state and its restarts, and no numbers."""
        return self._containers.values(containers)

    def memory_cgroup_missing(self) -> bool:
        """Whether the kernel was started without the memory controller, as on a Raspberry Pi
        without `cgroup_enable=memory`: memory of containers can then not be read."""
        with contextlib.suppress(OSError):
            return "memory" not in self._tree.read("sys/fs/cgroup/cgroup.controllers").split()
        with contextlib.suppress(OSError):
            for line in self._tree.read("proc/cgroups").splitlines():
                fields = line.split()
                if fields and fields[0] == "memory":
                    return fields[-1] == "0"
            return True
        return False
