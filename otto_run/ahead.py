# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH connections opened while Ansible starts: it takes longest to start, and needs them at once.

Whatever goes wrong here is left to Ansible, which connects by itself and says what hinders it.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from ansible_collections.otto.cluster.plugins.module_utils.cluster import Node

from otto_run import ssh

PERSIST = 60
"""Seconds for which a connection that nobody uses stays open."""
_AT_MOST = 50  # as many as Ansible would open at once
_SHARED = ("-o", "ControlMaster=auto", "-o", f"ControlPersist={PERSIST}s")
SSH_ARGS = " ".join(_SHARED)
"""Ansible's `ssh_args` for the same."""


@contextlib.contextmanager
def opened(nodes: Iterable[Node], known_hosts: Path, sockets: Path) -> Iterator[None]:
    """Open what is not open yet, without waiting for it.

    sockets: Ansible's `control_path_dir`. Who does not answer by the end is not waited for longer.
    A node behind a jump host is left out: its host may take few newcomers at once.
    """
    begun = []
    try:
        for node in [each for each in nodes if not each.is_local and not each.jump][:_AT_MOST]:
            path = control_path(node, sockets)
            if not path.exists():
                with contextlib.suppress(OSError):
                    begun.append(_open(node, known_hosts, path))
        yield
    finally:
        for process in begun:
            process.kill()  # one that has connected went on as another process
            process.wait()


def control_path(node: Node, sockets: Path) -> Path:
    """The socket as Ansible names it where `control_path` is not set."""
    name = f"{node.host}-{node.port}-{node.user}"
    return sockets / hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:10]


def _open(node: Node, known_hosts: Path, path: Path) -> subprocess.Popen[bytes]:
    escaped = str(path).replace("%", "%%")
    return subprocess.Popen(
        [
            *("ssh", "-fN", *_SHARED, "-o", f'ControlPath="{escaped}"'),
            *ssh.options(node, known_hosts),
            ssh.destination(node),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
