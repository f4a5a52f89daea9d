# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the control plane keeps what it knows of a cluster."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed

_SOCKET_ROOM = 60
"""A control socket's path may have about 104 characters, of which ssh appends up to 42."""


@dataclass(frozen=True)
class StatePaths:
    """The files of one cluster."""

    root: Path
    """what OTTO_STATE names"""
    cluster: str

    @property
    def directory(self) -> Path:
        return self.root / self.cluster

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def lock(self) -> Path:
        """held while Ansible runs"""
        return self.directory / "lock"

    @property
    def up_lock(self) -> Path:
        """held as long as an `otto-run up` is the control plane"""
        return self.directory / "up.lock"

    @property
    def store(self) -> Path:
        return self.directory / "store.db"

    @property
    def log(self) -> Path:
        return self.directory / "otto-run.log"

    @property
    def runs(self) -> Path:
        """ansible-runner's directories, each gone when its run is over"""
        return self.directory / "runs"

    def node(self, node: str) -> Path:
        """State of a local node: its target and its agent's configuration."""
        return self.directory / "nodes" / node

    def make(self) -> None:
        """Create the directory, readable by its owner alone. Raises OttoError."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OttoError(
                f"Cannot write Otto's state to {self.directory}",
                cause=error.strerror or str(error),
                next="OTTO_STATE=<a directory of yours> otto-run ...",
            ) from error


def control_sockets(paths: StatePaths) -> Path:
    """A short private directory for this cluster's SSH control sockets, created.

    One per cluster, so that an interrupted run closes its own connections and nobody else's.
    """
    name = hashlib.sha256(str(paths.directory).encode()).hexdigest()[:8]
    directory = Path("~/.ansible/otto").expanduser() / name
    if len(str(directory)) > _SOCKET_ROOM:
        directory = Path("/tmp") / f"otto-{os.getuid()}-{name}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise OttoError(
            f"Cannot create {directory} for SSH's control sockets",
            cause=error.strerror or str(error),
            next=typed("ls -ld {}", directory.parent),
        ) from error
    # In /tmp anybody could have put it there first.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise OttoError(
            f"{directory} is not a private directory of yours",
            cause="SSH's control sockets would be open to others",
            next=typed("ls -ld {}", directory),
        )
    return directory
