# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark itself does on the hosts, outside of every timed part.

It has an SSH connection of its own, so that it never warms up one of a contender's.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.workload import LABEL, Node

Result = TypeVar("Result")


class BenchError(Exception):
    """The benchmark cannot go on; the text says what, where and what to type next."""


@dataclass(frozen=True)
class Shell:
    """Runs commands as root on a node."""

    identity_file: Path
    known_hosts: Path
    control_directory: Path

    def run(self, node: Node, script: str, *, timeout: float = 600) -> str:
        """Output of a shell script on a node. Raises BenchError when it ends with an error."""
        command = [
            "ssh",
            *("-i", str(self.identity_file)),
            *("-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={self.known_hosts}"),
            *("-o", "StrictHostKeyChecking=accept-new"),
            *("-o", "ControlMaster=auto", "-o", "ControlPersist=60s"),
            *("-o", f"ControlPath={self.control_directory}/%h"),
            f"{node.user}@{node.address}",
            f"sudo -n sh -euc {shlex.quote(script)}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode != 0:
            raise BenchError(f"{node.id}: `{script}` failed: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def inspect(self, node: Node) -> list[dict[str, Any]]:
        """`docker inspect` of every container that a contender made on a node."""
        text = self.run(
            node,
            f"ids=$(docker ps -aq --filter label={LABEL}); "
            "if [ -n \"$ids\" ]; then docker inspect $ids; else echo '[]'; fi",
        )
        documents = json.loads(text)
        if not isinstance(documents, list):
            raise BenchError(f"{node.id}: docker inspect gave no list")
        return documents

    def remove(self, node: Node, maker: str) -> None:
        """Remove the containers with a contender's label, and no others."""
        self.run(
            node,
            f"ids=$(docker ps -aq --filter label={LABEL}={maker}); "
            'if [ -n "$ids" ]; then docker rm -fv $ids; fi',
        )


def on_all(nodes: Iterable[Node], action: Callable[[Node], Result]) -> dict[str, Result]:
    """Do something on every node at once. Node id -> result; raises the first error."""
    chosen = list(nodes)
    with ThreadPoolExecutor(max_workers=max(1, len(chosen))) as pool:
        return dict(zip((node.id for node in chosen), pool.map(action, chosen), strict=True))


def close_masters(control_directory: Path) -> None:
    """End the SSH connections whose control sockets lie anywhere below a directory."""
    for socket in control_directory.rglob("*"):
        if socket.is_socket():
            # A master that ended by itself meanwhile leaves a socket that nobody answers: the
            # next run makes its own, so a failure here means only that nothing is open.
            subprocess.run(
                ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "bench"],
                capture_output=True,
                check=False,
            )
