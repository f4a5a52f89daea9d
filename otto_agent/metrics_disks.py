# SPDX-License-Identifier: GPL-3.0-or-later
"""How full the disks are that the node lives from, and whether they still take writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from otto_agent.metrics_files import Mount, Tree, Values


@dataclass(frozen=True)
class Space:
    """Bytes and inodes of one file system; free: for an ordinary user. inodes: 0 where it makes
    them as they are needed (btrfs). device: its number, equal for equal file systems."""

    total: int
    used: int
    free: int
    inodes: int = 0
    inodes_free: int = 0
    device: int = 0


def space_of(path: Path) -> Space:
    """Docker's directory is closed to the agent's user, the numbers of its disk are not."""
    state = os.statvfs(path)
    size = state.f_frsize
    return Space(
        total=state.f_blocks * size,
        used=(state.f_blocks - state.f_bfree) * size,
        free=state.f_bavail * size,
        inodes=state.f_files,
        inodes_free=state.f_favail,
        device=path.stat().st_dev,
    )


class Disks:
    def __init__(self, tree: Tree, space: Callable[[Path], Space]) -> None:
        self._tree = tree
        self._space = space

    def values(self, docker_root: Path, state_dir: Path) -> Values:
        values: Values = {}
        mounts: list[Mount] = []
        with contextlib.suppress(OSError, IndexError):
            mounts.extend(self._tree.mounts())
        spaces = self._spaces({"disk": Path("/"), "docker": docker_root, "state": state_dir})
        for name, (path, space) in spaces.items():
            prefix = name if name == "disk" else name + "_disk"
            values[prefix + "_total_bytes"] = space.total
            values[prefix + "_bytes"] = space.used
            values[prefix + "_free_bytes"] = space.free
            if space.inodes:
                values[prefix + "_inodes_total"] = space.inodes
                values[prefix + "_inodes_free"] = space.inodes_free
            holding = [mount for mount in mounts if mount.holds(str(path))]
            if holding:
                # The longest path, and of equal ones the last: it lies on top. Not what statvfs
                # says: within its own unit the agent sees every disk read-only.
                mount = max(reversed(holding), key=lambda mount: len(mount.path))
                values[prefix + "_read_only"] = int("ro" in mount.options)
        return values

    def _spaces(self, paths: Mapping[str, Path]) -> dict[str, tuple[Path, Space]]:
        """Those that can be read and are not on a disk that was named before."""
        found: dict[str, tuple[Path, Space]] = {}
        for name, path in paths.items():
            with contextlib.suppress(OSError):
                space = self._space(self._tree.at(path))
                if space.device not in {other.device for _, other in found.values()}:
                    found[name] = (path, space)
        return found
